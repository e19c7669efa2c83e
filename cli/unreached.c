#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): strcasestr */
#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#include "cli/client.h"

/* What a call that got no answer means to somebody who has mistaken a port, a name or a file. */

#define CONSOLE "https://HOST:8443, unless console.port of the server says otherwise"

struct reason {
    const char *what;
    const char *fix;
};

static const char *host_of(struct pag_cli *cli)
{
    const char *host = strstr(cli->set.server, "://") + 3;
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
    return pag_cli_text(cli, "%.*s", (int)n, host);
}

/* The server's address without its scheme. */
static const char *place_of(const struct pag_cli *cli)
{
    return strstr(cli->set.server, "://") + 3;
}

static bool is_plain(const struct pag_cli *cli)
{
    return strncmp(cli->set.server, "http://", 7) == 0;
}

static struct reason of_certificate(struct pag_cli *cli, const struct pag_answer *a)
{
    const char *server = cli->set.server;
    const char *look = pag_cli_text(
        cli, "pagurus login %s, without --ca, shows the fingerprint to compare, and pins it", server);
    if (strcasestr(a->error, "subject name") != NULL) {
        return (struct reason){ pag_cli_text(cli, "the certificate of %s is not for the name %s", server,
                                             host_of(cli)),
                                pag_cli_text(cli,
                                             "use a name that it is for; or add %s to server.names and run "
                                             "pagurusd renew-server-cert on the server",
                                             host_of(cli)) };
    }
    if (strcasestr(a->error, "expired") != NULL || strcasestr(a->error, "not yet valid") != NULL) {
        return (struct reason){
            pag_cli_text(cli, "the certificate of %s is not valid today: %s", server, a->error),
            "compare the clocks; pagurusd renew-server-cert on the server makes a new one"
        };
    }
    if (cli->set.ca != NULL) {
        return (struct reason){
            pag_cli_text(cli, "the certificate of %s is not signed by the CA in %s", server, cli->set.ca),
            pag_cli_text(cli, "take ca/root.pem out of the server's data folder; or %s", look)
        };
    }
    return (struct reason){ pag_cli_text(cli,
                                         "the certificate of %s is not signed by any authority that this "
                                         "machine trusts",
                                         server),
                            look };
}

static bool wants_certificate(const struct pag_answer *a)
{
    return strcasestr(a->error, "certificate required") != NULL ||
           strcasestr(a->error, "handshake failure") != NULL;
}

static struct reason of_tls(struct pag_cli *cli, const struct pag_answer *a)
{
    static const char *const not_tls[] = { "wrong version number", "packet length too long",
                                           "record layer failure", "http request" };
    for (size_t i = 0; i < sizeof not_tls / sizeof not_tls[0]; i++) {
        if (strcasestr(a->error, not_tls[i]) != NULL) {
            return (struct reason){ pag_cli_text(cli,
                                                 "the port at %s does not speak TLS; it is plain HTTP or "
                                                 "something else",
                                                 place_of(cli)),
                                    "give the port of the console: " CONSOLE };
        }
    }
    if (strcasestr(a->error, "EVP lib") != NULL || strcasestr(a->error, "signature") != NULL) {
        return of_certificate(cli, a); /* a CA of the same name with another key */
    }
    return (struct reason){ pag_cli_text(cli, "no TLS with %s: %s", place_of(cli), a->error),
                            "give the port of the console: " CONSOLE };
}

static struct reason of_connection(struct pag_cli *cli, const struct pag_answer *a)
{
    if (a->os_errno == ECONNREFUSED) {
        return (struct reason){ pag_cli_text(cli, "nothing listens at %s", place_of(cli)),
                                "is pagurusd running there, and is this the port of its console? " CONSOLE };
    }
    return (struct reason){ pag_cli_text(cli, "%s cannot be reached: %s", place_of(cli), a->error),
                            "check address and network; pagurus doctor looks closer" };
}

static struct reason reason_of(struct pag_cli *cli, const struct pag_call *call, const struct pag_answer *a,
                               int rc)
{
    if (rc == PAG_EXIT_TIMEOUT) {
        return (struct reason){ pag_cli_text(cli, "%s %s: %s", call->method, call->path, a->error),
                                "give it longer with --timeout 2m; what was asked for may still happen" };
    }
    if (wants_certificate(a)) {
        return (struct reason){ pag_cli_text(cli,
                                             "%s wants a client certificate: it is not the console of a "
                                             "Pagurus server",
                                             place_of(cli)),
                                "give the port of the console: " CONSOLE };
    }
    if (a->curl == CURLE_COULDNT_RESOLVE_HOST) {
        return (struct reason){ pag_cli_text(cli, "no machine is known as %s", host_of(cli)),
                                "check the name, or give the address" };
    }
    if (a->curl == CURLE_COULDNT_CONNECT) {
        return of_connection(cli, a);
    }
    if (a->curl == CURLE_PEER_FAILED_VERIFICATION) {
        return of_certificate(cli, a);
    }
    if (a->curl == CURLE_SSL_CONNECT_ERROR) {
        return of_tls(cli, a);
    }
    if (is_plain(cli) && a->curl != CURLE_OPERATION_TIMEDOUT) {
        return (struct reason){ pag_cli_text(cli, "%s does not answer plain HTTP; it probably speaks TLS",
                                             place_of(cli)),
                                pag_cli_text(cli, "https://%s", place_of(cli)) };
    }
    if (a->curl == CURLE_SEND_ERROR || a->curl == CURLE_RECV_ERROR || a->curl == CURLE_GOT_NOTHING) {
        return (
            struct reason){ pag_cli_text(cli,
                                         "%s ended the connection without an answer; if it does so again, "
                                         "it is not the console of a Pagurus server",
                                         place_of(cli)),
                            "try again, or give the port of the console: " CONSOLE };
    }
    return (struct reason){ pag_cli_text(cli, "%s %s: %s", call->method, call->path, a->error),
                            pag_cli_text(cli, "is pagurusd running at %s? pagurus doctor looks closer",
                                         cli->set.server) };
}

int pag_unreached_say(struct pag_cli *cli, const struct pag_call *call, const struct pag_answer *a, int rc)
{
    struct reason r = reason_of(cli, call, a, rc);
    return pag_cli_fail(cli, rc, r.fix, "%s", r.what);
}

int pag_unreached_not_console(struct pag_cli *cli)
{
    return pag_cli_fail(cli, PAG_EXIT_UNREACHABLE,
                        "devices have a port of their own; give that of the console: " CONSOLE,
                        "what answers at %s is not the console of a Pagurus server", cli->set.server);
}
