#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/prompt.h"
#include "cli/settings.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "host/fs.h"

enum { CANDIDATES_MAX = 8 };

struct candidate {
    const char *pem;
    char sha256[65];
    const char *subject;
    bool root; /* from /api/v1/ca/root.pem */
};

struct candidates {
    struct candidate list[CANDIDATES_MAX];
    size_t n;
};

/* ---- what the server shows ---- */

static void add_candidate(struct pag_cli *cli, struct candidates *c, const char *pem, bool root)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    char subject[256] = "";
    BIO *in = BIO_new_mem_buf(pem, -1);
    X509 *x = in == NULL ? NULL : PEM_read_bio_X509(in, NULL, NULL, NULL);
    if (x != NULL && c->n < CANDIDATES_MAX && X509_digest(x, EVP_sha256(), digest, &n) == 1) {
        struct candidate *one = &c->list[c->n++];
        (void)X509_NAME_oneline(X509_get_subject_name(x), subject, sizeof subject);
        one->pem = pem;
        one->root = root;
        one->subject = pag_cli_text(cli, "%s", subject);
        pag_text_hex(pag_span_of(digest, 32), one->sha256);
    }
    X509_free(x);
    BIO_free(in);
}

static bool is_busy(long status)
{
    return status == 429 || status == 502 || status == 503 || status == 504;
}

/*
 * Nothing is trusted yet: one call without a token and without checks fetches the public root and shows the
 * chain. What is pinned must then equal the fingerprint that a person or --trust-fingerprint gave.
 */
static int look(struct pag_cli *cli, struct candidates *c)
{
    struct pag_answer a;
    struct pag_call call = { .method = "GET", .path = "/ca/root.pem", .probe = true, .silent = true };
    int rc = pag_client_call(cli, &call, &a);
    if (rc != PAG_EXIT_OK && a.status == 0) {
        return a.curl != 0 ? pag_unreached_say(cli, &call, &a, rc) : rc;
    }
    if (is_busy(a.status)) {
        return pag_problem_say(cli, &call, &a);
    }
    if (a.status != 200) {
        return pag_unreached_not_console(cli);
    }
    for (size_t i = 0; pag_client_chain(cli, i) != NULL; i++) {
        add_candidate(cli, c, pag_client_chain(cli, i), false);
    }
    add_candidate(cli, c, pag_cli_text(cli, "%.*s", (int)a.body.n, (const char *)a.body.p), true);
    return PAG_EXIT_OK;
}

/* "AB:CD…" or "abcd…" against 64 lower-case digits. */
static bool same_fingerprint(const char *given, const char *sha256)
{
    char digits[65];
    size_t n = 0;
    for (const char *p = given; *p != 0 && n < sizeof digits; p++) {
        if (*p != ':' && *p != ' ') {
            digits[n++] = *p;
        }
    }
    return n == 64 && pag_span_eq_nocase(pag_span_of(digits, n), sha256);
}

static const struct candidate *root_of(const struct candidates *c)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->list[i].root) {
            return &c->list[i];
        }
    }
    return c->n > 0 ? &c->list[c->n - 1] : NULL;
}

static void show_candidates(const struct pag_cli *cli, const struct candidates *c)
{
    for (size_t i = 0; i < c->n; i++) {
        pag_cli_say(cli, "  %s %s\n    SHA-256 %s\n", c->list[i].root ? "root       " : "certificate",
                    c->list[i].subject, c->list[i].sha256);
    }
}

static int choose(struct pag_cli *cli, const struct candidates *c, const struct candidate **pin)
{
    const char *given = pag_opt(cli, "trust-fingerprint");
    if (root_of(c) == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_UNREACHABLE, "is this a Pagurus server?", "%s shows no certificate",
                            cli->set.server);
    }
    *pin = root_of(c);
    if (given == NULL) {
        pag_cli_say(cli, "%s is not known to this machine yet. It shows:\n", cli->set.server);
        show_candidates(cli, c);
        pag_cli_say(cli, "Compare with the fingerprint that pagurusd printed on its own machine.\n");
        if (!cli->in_tty || cli->no_input) {
            /* --yes must not answer this: nobody would have compared. */
            return pag_cli_fail(cli, PAG_EXIT_UNREACHABLE,
                                pag_cli_text(cli, "compare, then --trust-fingerprint %s", (*pin)->sha256),
                                "the certificate of %s is not trusted yet", cli->set.server);
        }
        bool yes = cli->yes;
        cli->yes = false;
        int rc = pag_prompt_yes(cli, "--trust-fingerprint SHA256", "Is it the same fingerprint?");
        cli->yes = yes;
        return rc;
    }
    for (size_t i = 0; i < c->n; i++) {
        if (same_fingerprint(given, c->list[i].sha256)) {
            *pin = &c->list[i];
            return PAG_EXIT_OK;
        }
    }
    show_candidates(cli, c);
    return pag_cli_fail(cli, PAG_EXIT_UNREACHABLE,
                        "read it again on the server; if it differs, somebody may sit in between",
                        "%s shows no certificate with that fingerprint", cli->set.server);
}

/*
 * *known: the server can be checked with what there is (--ca, pinned before, the system's store) and is a
 * console. Where only that can be meant (--ca, http), or something else answers, not to be is said.
 */
static int known_already(struct pag_cli *cli, bool only, bool *known)
{
    struct pag_answer a;
    struct pag_call call = {
        .method = "GET", .path = "/healthz", .root = true, .no_token = true, .silent = true, .once = !only
    };
    int rc = pag_client_call(cli, &call, &a);
    *known = rc == PAG_EXIT_OK && a.body.n >= 2 && memcmp(a.body.p, "ok", 2) == 0;
    if (*known || (a.status == 0 && !only)) {
        return PAG_EXIT_OK;
    }
    if (a.status == 0) {
        return a.curl != 0 ? pag_unreached_say(cli, &call, &a, rc) : rc;
    }
    return is_busy(a.status) ? pag_problem_say(cli, &call, &a) : pag_unreached_not_console(cli);
}

static int pin_server(struct pag_cli *cli, const char *name, const char **ca)
{
    struct candidates *c = pag_cli_alloc(cli, sizeof *c);
    const struct candidate *pin = NULL;
    struct pag_fail why = { PAG_OK, "", 0 };
    *ca = cli->set.ca;
    bool plain = strncmp(cli->set.server, "http://", 7) == 0;
    bool known = false;
    int rc = PAG_EXIT_OK;
    if (plain || !pag_opt_on(cli, "trust-fingerprint")) {
        rc = known_already(cli, plain || pag_opt_on(cli, "ca") || getenv("PAGURUS_CA") != NULL, &known);
    }
    if (rc != PAG_EXIT_OK || known) {
        return rc;
    }
    rc = look(cli, c);
    if (rc == PAG_EXIT_OK) {
        rc = choose(cli, c, &pin);
    }
    if (rc != PAG_EXIT_OK || pin == NULL) {
        return rc;
    }
    const char *dir = pag_cli_text(cli, "%s/ca", pag_conf_dir(cli));
    *ca = pag_cli_text(cli, "%s/%s.pem", dir, name);
    if (pag_fs_mkdirs(dir, 0700, &why) != PAG_OK ||
        pag_fs_write(*ca, pag_span_str(pin->pem), 0644, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, *ca, &why);
    }
    cli->set.ca = *ca;
    return PAG_EXIT_OK;
}

/* ---- token ---- */

static int ask_token(struct pag_cli *cli)
{
    char token[PAG_SECRET_MAX] = "";
    if (pag_opt_on(cli, "token-stdin") || pag_opt_on(cli, "token-file") || getenv("PAGURUS_TOKEN") != NULL ||
        getenv("PAGURUS_TOKEN_FILE") != NULL) {
        return pag_conf_token(cli);
    }
    int rc = pag_prompt_secret(cli, "--token-stdin or --token-file FILE",
                               "Token (pagurusd setup-token makes one)", token, sizeof token);
    if (rc == PAG_EXIT_OK) {
        cli->set.token = pag_cli_text(cli, "%s", token);
        memset(token, 0, sizeof token);
        rc = pag_conf_token(cli);
    }
    return rc;
}

static int keep(struct pag_cli *cli, const char *name, const char *ca)
{
    struct pag_contexts *all = pag_cli_alloc(cli, sizeof *all);
    struct pag_fail why = { PAG_OK, "", 0 };
    const char *dir = pag_cli_text(cli, "%s/tokens", pag_conf_dir(cli));
    const char *file = pag_cli_text(cli, "%s/%s", dir, name);
    int rc = pag_contexts_read_own(cli, all);
    struct pag_context *c = rc == PAG_EXIT_OK ? pag_contexts_add(all, name) : NULL;
    if (rc != PAG_EXIT_OK || c == NULL) {
        return rc != PAG_EXIT_OK
                   ? rc
                   : pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus context remove", "too many contexts");
    }
    bool first = !pag_fs_exists(file);
    if (pag_fs_mkdirs(dir, 0700, &why) != PAG_OK ||
        pag_fs_write(file, pag_span_str(pag_cli_text(cli, "%s\n", cli->set.token)), 0600, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
    }
    *c = (struct pag_context){ .name = name, .server = cli->set.server, .ca = ca, .token_file = file };
    all->current = name;
    rc = pag_contexts_write(cli, all);
    if (rc != PAG_EXIT_OK && first) {
        (void)pag_fs_remove(file, NULL); /* no context names it */
    }
    return rc;
}

/* The name of a new context when none is given: the host of the address. */
static const char *name_of(struct pag_cli *cli)
{
    const char *given = pag_opt(cli, "context") != NULL ? pag_opt(cli, "context") : pag_opt(cli, "name");
    const char *host = strstr(cli->set.server, "://") + 3;
    char *name = pag_cli_text(cli, "%.*s", (int)strcspn(host, "/"), host);
    for (char *p = name; *p != 0; p++) {
        if (*p == ':') {
            *p = '-';
        }
    }
    return given != NULL ? given : pag_text_name_ok(name) ? name : "default";
}

static int set_server(struct pag_cli *cli)
{
    const char *url = pag_word(cli, 0);
    if (url == NULL) {
        int rc = pag_conf_load(cli);
        return rc == PAG_EXIT_OK ? pag_conf_need_server(cli) : rc;
    }
    cli->set.server = pag_conf_url(cli, url);
    cli->set.ca = pag_conf_file(cli, pag_opt(cli, "ca") != NULL ? pag_opt(cli, "ca") : getenv("PAGURUS_CA"));
    cli->set_loaded = true;
    if (cli->set.server == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE,
                            "write it as https://host:8443; http only to this machine itself",
                            "\"%s\" is no server address", url);
    }
    return PAG_EXIT_OK;
}

int pag_cmd_login(struct pag_cli *cli)
{
    const char *ca = NULL;
    json_t *who = NULL;
    int rc = set_server(cli);
    const char *name = rc == PAG_EXIT_OK ? name_of(cli) : "";
    if (rc == PAG_EXIT_OK && !pag_text_name_ok(name)) {
        rc = pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "\"%s\" cannot name a context", name);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pin_server(cli, name, &ca);
    }
    if (rc == PAG_EXIT_OK) {
        rc = ask_token(cli);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_client_get(cli, "/whoami", &who);
    }
    if (rc == PAG_EXIT_OK) {
        rc = keep(cli, name, ca);
    }
    if (rc != PAG_EXIT_OK || pag_out_json(cli, who)) {
        return rc;
    }
    pag_cli_say(cli, "signed in to %s as %s (%s), context %s\n", cli->set.server, pag_out_text(who, "actor"),
                pag_out_text(who, "role"), name);
    return rc;
}

int pag_cmd_logout(struct pag_cli *cli)
{
    struct pag_contexts *all = pag_cli_alloc(cli, sizeof *all);
    int rc = pag_conf_load(cli);
    if (rc == PAG_EXIT_OK) {
        rc = pag_contexts_read_own(cli, all);
    }
    struct pag_context *c = rc == PAG_EXIT_OK ? pag_contexts_find(all, cli->set.context) : NULL;
    if (rc == PAG_EXIT_OK && (c == NULL || c->token_file == NULL)) {
        pag_cli_say(cli, "not signed in\n");
        return PAG_EXIT_OK;
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const char *own = pag_cli_text(cli, "%s/tokens/", pag_conf_dir(cli));
    if (strncmp(c->token_file, own, strlen(own)) == 0) {
        (void)pag_fs_remove(c->token_file, NULL);
    }
    c->token_file = NULL;
    rc = pag_contexts_write(cli, all);
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli,
                    "signed out of %s; the token itself stays valid until pagurus api DELETE /tokens/ID\n",
                    c->name);
    }
    return rc;
}

static const struct pag_column who_lines[] = {
    { "actor", "actor", PAG_CELL_TEXT },
    { "role", "role", PAG_CELL_TEXT },
    { "token", "token.name", PAG_CELL_TEXT },
    { "expires", "token.expires_at", PAG_CELL_TIME },
    { NULL, NULL, PAG_CELL_TEXT },
};

int pag_cmd_whoami(struct pag_cli *cli)
{
    json_t *who = NULL;
    int rc = pag_client_get(cli, "/whoami", &who);
    return rc == PAG_EXIT_OK ? pag_out_object(cli, who, who_lines) : rc;
}
