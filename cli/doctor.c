#include <curl/curl.h>
#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/keyfile.h"
#include "cli/settings.h"
#include "cli/text.h"
#include "host/fs.h"

enum { SKEW_WARN_S = 30, SKEW_FAIL_S = 300, EXPIRY_WARN_S = 14 * 86400 };

struct findings {
    struct pag_cli *cli;
    json_t *list;
    unsigned failed;
};

/* state: "ok", "warn" or "fail"; fix may be NULL. */
static void add(struct findings *f, const char *check, const char *state, const char *why, const char *fix)
{
    json_t *one = json_pack("{s:s, s:s, s:s, s:s?}", "check", check, "state", state, "why", why, "fix", fix);
    if (one != NULL) {
        (void)json_array_append_new(f->list, one);
    }
    f->failed += strcmp(state, "fail") == 0;
}

static int ask(struct findings *f, const char *path, bool root, struct pag_answer *a)
{
    struct pag_call call = {
        .method = "GET", .path = path, .root = root, .no_token = root, .silent = true, .once = true
    };
    return pag_client_call(f->cli, &call, a);
}

/* ---- connection ---- */

static void check_clock(struct findings *f, const struct pag_answer *a)
{
    time_t theirs = curl_getdate(a->date, NULL);
    int64_t ours = (int64_t)(f->cli->clock.now_unix_ms(f->cli->clock.ctx) / 1000);
    int64_t skew = theirs < 0 ? 0 : (int64_t)theirs - ours;
    int64_t size = skew < 0 ? -skew : skew;
    if (theirs < 0) {
        add(f, "clock", "warn", "the server sent no date to compare with", NULL);
        return;
    }
    const char *state = size >= SKEW_FAIL_S ? "fail" : size >= SKEW_WARN_S ? "warn" : "ok";
    add(f, "clock", state, pag_cli_text(f->cli, "the server's clock is %lld s off this one", (long long)skew),
        size >= SKEW_WARN_S ? "turn on time synchronisation on both machines (timedatectl set-ntp true)"
                            : NULL);
}

static const char *host_of(struct pag_cli *cli)
{
    const char *host = strstr(cli->set.server, "://") + 3;
    size_t n = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":/");
    return host[0] == '[' ? pag_cli_text(cli, "%.*s", (int)n - 1, host + 1)
                          : pag_cli_text(cli, "%.*s", (int)n, host);
}

static void check_expiry(struct findings *f, const char *name, int64_t left_s)
{
    const char *what = pag_cli_text(f->cli, "certificate %s", name);
    if (left_s <= 0) {
        add(f, what, "fail", "has expired",
            "pagurusd renew-server-cert on the server, then send pagurusd a HUP");
    } else if (left_s < EXPIRY_WARN_S) {
        add(f, what, "warn", pag_cli_text(f->cli, "expires in %lld days", (long long)(left_s / 86400)),
            "pagurusd renew-server-cert on the server, then send pagurusd a HUP");
    } else {
        add(f, what, "ok", pag_cli_text(f->cli, "valid for %lld days", (long long)(left_s / 86400)), NULL);
    }
}

/* Names and end of the certificate that the handshake really showed. */
static void check_leaf(struct findings *f)
{
    int days = 0;
    int seconds = 0;
    const char *pem = pag_client_chain(f->cli, 0);
    BIO *in = pem == NULL ? NULL : BIO_new_mem_buf(pem, -1);
    X509 *x = in == NULL ? NULL : PEM_read_bio_X509(in, NULL, NULL, NULL);
    if (x != NULL) {
        const char *host = host_of(f->cli);
        bool named = X509_check_ip_asc(x, host, 0) == 1 || X509_check_host(x, host, 0, 0, NULL) == 1;
        add(f, "TLS name", named ? "ok" : "fail",
            pag_cli_text(f->cli, "the certificate %s %s", named ? "covers" : "does not cover", host),
            named ? NULL
                  : pag_cli_text(
                        f->cli,
                        "add %s to [server] names in pagurusd.ini, then pagurusd renew-server-cert and a HUP",
                        host));
        if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)) == 1) {
            check_expiry(f, "of the console", (int64_t)days * 86400 + seconds);
        }
    }
    X509_free(x);
    BIO_free(in);
}

static bool check_reachable(struct findings *f)
{
    struct pag_answer a;
    int rc = ask(f, "/healthz", true, &a);
    if (rc == PAG_EXIT_OK) {
        add(f, "server", "ok", pag_cli_text(f->cli, "%s answers", f->cli->set.server), NULL);
        check_clock(f, &a);
        if (strncmp(f->cli->set.server, "https://", 8) == 0) {
            check_leaf(f);
        }
        return true;
    }
    bool tls = strstr(a.error, "ertificate") != NULL || strstr(a.error, "SSL") != NULL;
    if (tls) {
        struct pag_answer probe;
        struct pag_call call = {
            .method = "GET", .path = "/healthz", .root = true, .probe = true, .silent = true, .once = true
        };
        (void)pag_client_call(f->cli, &call, &probe);
        check_leaf(f);
    }
    add(f, tls ? "TLS" : "server", "fail",
        a.status != 0 ? pag_cli_text(f->cli, "/healthz says %ld", a.status) : a.error,
        tls ? pag_cli_text(f->cli, "pagurus login %s shows the fingerprint to compare, and pins it",
                           f->cli->set.server)
            : "is pagurusd running, the address right, the port open in the firewall?");
    return false;
}

/* ---- what the server says of itself ---- */

static void check_ready(struct findings *f)
{
    struct pag_answer a;
    const char *name = NULL;
    json_t *v = NULL;
    (void)ask(f, "/readyz", true, &a);
    json_object_foreach(json_object_get(a.json, "checks"), name, v)
    {
        const char *state = json_string_value(v) != NULL ? json_string_value(v) : "?";
        bool ok = strcmp(state, "ok") == 0;
        add(f, pag_cli_text(f->cli, "ready: %s", name), ok ? "ok" : "fail", state,
            ok ? NULL : "the log of pagurusd says why");
    }
}

static void check_broker(struct findings *f, const json_t *status)
{
    const char *state = pag_out_text(status, "broker.state");
    bool connected = json_is_true(pag_out_at(status, "broker.connected"));
    if (strcmp(state, "off") == 0) {
        add(f, "broker", "warn", "MQTT is switched off: devices learn of updates only when they poll",
            "mode = managed in [mqtt] of pagurusd.ini");
    } else if (!connected) {
        add(f, "broker", "fail",
            pag_cli_text(f->cli, "%s, not connected. %s", state, pag_out_text(status, "broker.last_error")),
            "is mosquitto installed and its port free? the broker's log is in the data folder");
    } else {
        add(f, "broker", "ok",
            pag_cli_text(f->cli, "%s on port %llu", state,
                         (unsigned long long)pag_out_number(status, "broker.port")),
            NULL);
    }
}

static void check_certificates(struct findings *f, const json_t *status)
{
    size_t i = 0;
    const json_t *c = NULL;
    int64_t now = (int64_t)(f->cli->clock.now_unix_ms(f->cli->clock.ctx) / 1000);
    json_array_foreach(json_object_get(status, "certificates"), i, c)
    {
        int64_t end = 0;
        if (pag_text_unix(pag_out_text(c, "not_after"), &end) == PAG_OK) {
            check_expiry(f, pag_out_text(c, "name"), end - now);
        }
    }
}

static void check_status(struct findings *f)
{
    struct pag_answer a;
    int rc = ask(f, "/status", false, &a);
    if (rc != PAG_EXIT_OK || a.json == NULL) {
        add(f, "token", "fail", a.status == 401 ? "the token is not accepted" : "the status cannot be read",
            "pagurus login stores a new token; pagurusd setup-token makes one");
        return;
    }
    const char *theirs = pag_out_text(a.json, "version");
    bool same = strcmp(theirs, PAGURUS_VERSION) == 0;
    add(f, "token", "ok", "accepted", NULL);
    add(f, "version", same ? "ok" : "warn",
        pag_cli_text(f->cli, "client %s, server %s", PAGURUS_VERSION, theirs),
        same ? NULL : "update the older of the two");
    bool exported = json_is_true(json_object_get(a.json, "root_exported"));
    add(f, "root key", exported ? "ok" : "fail",
        exported ? "exported, and confirmed to be in a safe place"
                 : "the export of the root key is not confirmed",
        exported ? NULL
                 : "move root-export.pem from the data folder to a safe place, then pagurusd "
                   "confirm-root-export there");
    check_broker(f, a.json);
    check_certificates(f, a.json);
    size_t i = 0;
    const json_t *w = NULL;
    json_array_foreach(json_object_get(a.json, "warnings"), i, w)
    {
        if (json_is_string(w)) {
            add(f, "server says", "warn", json_string_value(w), NULL);
        }
    }
}

static void count_devices(struct findings *f, const char *what, uint64_t n, const char *state,
                          const char *remedy)
{
    add(f, what, n == 0 ? "ok" : state, pag_cli_text(f->cli, "%llu device(s)", (unsigned long long)n),
        n == 0 ? NULL : remedy);
}

static void check_device_certificates(struct findings *f)
{
    struct pag_answer a;
    if (ask(f, "/ca", false, &a) != PAG_EXIT_OK || a.json == NULL) {
        return;
    }
    count_devices(f, "certificates to renew", pag_out_number(a.json, "device_certificates.due"), "warn",
                  "two thirds of their lives are over: EST simplereenroll, a claim, or pagurus device key");
    count_devices(f, "certificates that ended", pag_out_number(a.json, "device_certificates.expired"), "warn",
                  "these devices are let in nowhere: pagurus enroll code create --mac MAC for each");
    count_devices(f, "copies suspected", pag_out_number(a.json, "device_certificates.clone_suspected"),
                  "warn", "pagurus event list names them (device.clone_suspected); revoke what is not yours");
}

static void check_products(struct findings *f)
{
    struct pag_answer a;
    size_t i = 0;
    const json_t *p = NULL;
    if (ask(f, "/products?limit=1000", false, &a) != PAG_EXIT_OK) {
        return;
    }
    json_array_foreach(json_object_get(a.json, "items"), i, p)
    {
        const char *name = pag_out_text(p, "name");
        uint64_t version = pag_out_number(p, "trust_version");
        add(f, pag_cli_text(f->cli, "trust set of %s", name), version > 0 ? "ok" : "fail",
            version > 0 ? pag_cli_text(f->cli, "version %llu", (unsigned long long)version)
                        : "none: devices would believe no signature",
            version > 0
                ? NULL
                : pag_cli_text(f->cli, "pagurus key trust create --product %s --root R --release K", name));
    }
}

/* ---- this machine ---- */

static void check_private(struct findings *f, const char *path, const char *what)
{
    struct pag_fail why = { PAG_OK, "", 0 };
    bool ok = pag_fs_private(path, &why) == PAG_OK;
    add(f, what, ok ? "ok" : "fail",
        ok ? "only you can read it" : pag_cli_text(f->cli, "%s can be read by others", path),
        ok ? NULL : pag_cli_text(f->cli, "chmod 600 %s", path));
}

static void check_folder(struct findings *f, const char *folder, const char *ending, const char *noun)
{
    struct dirent **found = NULL;
    int n = scandir(folder, &found, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = found[i]->d_name;
        size_t len = strlen(name);
        size_t tail = strlen(ending);
        if (name[0] != '.' && len > tail && strcmp(name + len - tail, ending) == 0) {
            check_private(f, pag_cli_text(f->cli, "%s/%s", folder, name),
                          pag_cli_text(f->cli, "%s %s", noun, name));
        }
        free(found[i]);
    }
    free(found);
}

static void show(struct findings *f)
{
    size_t i = 0;
    const json_t *one = NULL;
    char line[512];
    json_array_foreach(f->list, i, one)
    {
        const char *state = pag_out_text(one, "state");
        const char *color = strcmp(state, "ok") == 0     ? "\033[32m"
                            : strcmp(state, "warn") == 0 ? "\033[33m"
                                                         : "\033[31m";
        bool on = f->cli->color_out;
        (void)pag_text_clean(
            pag_cli_text(f->cli, "%s: %s", pag_out_text(one, "check"), pag_out_text(one, "why")), line,
            sizeof line);
        (void)printf("%s%-4s%s %s\n", on ? color : "", state, on ? "\033[0m" : "", line);
        if (pag_out_text(one, "fix")[0] != 0) {
            (void)pag_text_clean(pag_out_text(one, "fix"), line, sizeof line);
            (void)printf("     fix: %s\n", line);
        }
    }
}

int pag_cmd_doctor(struct pag_cli *cli)
{
    struct findings f = { .cli = cli, .list = pag_cli_keep(cli, json_array()) };
    int rc = pag_conf_load(cli);
    if (rc == PAG_EXIT_OK) {
        rc = pag_conf_need_server(cli);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    check_folder(&f, pag_key_folder(cli), ".pem", "key");
    check_folder(&f, pag_cli_text(cli, "%s/tokens", pag_conf_dir(cli)), "", "token");
    if (check_reachable(&f)) {
        check_ready(&f);
        if (pag_conf_token(cli) == PAG_EXIT_OK) {
            check_status(&f);
            check_products(&f);
            check_device_certificates(&f);
        } else {
            add(&f, "token", "fail", "not signed in", pag_cli_text(cli, "pagurus login %s", cli->set.server));
        }
    }
    json_t *doc = pag_cli_keep(cli, json_pack("{s:b, s:O}", "ok", f.failed == 0, "findings", f.list));
    if (cli->jsonl) {
        (void)pag_out_items(cli, f.list, NULL);
    } else if (!pag_out_json(cli, doc)) {
        show(&f);
    }
    return f.failed == 0 ? PAG_EXIT_OK : PAG_EXIT_FAILED;
}
