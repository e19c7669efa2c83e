/* A product's devices and what they boot with: docs/spec/fs-image.md 5. */
#include <openssl/evp.h>
#include <string.h>

#include "cli/client.h"
#include "cli/fs_files.h"
#include "cli/out.h"
#include "core/bytes.h"
#include "host/fs.h"
#include "host/x509.h"

enum { DER_MAX = 8192, GUESS_TEXT = 2560, GUESS_CONFIG = 699, GUESS_CERT = 1536, GUESS_KEY = 1280 };

/* One fetch of a sketch's files, as the device itself does it. */
struct visit {
    struct pag_cli *cli;
    const struct pag_fs_source *s;
    struct pag_peer peer;
    const char *claim;
};

/* ---- forms ---- */

static struct pag_span kept(struct pag_cli *cli, struct pag_span s)
{
    uint8_t *p = pag_cli_alloc(cli, s.n + 1);
    if (s.n > 0) {
        memcpy(p, s.p, s.n);
    }
    return pag_span_of(p, s.n);
}

static bool is_pem(struct pag_span s)
{
    return s.n > 5 && memcmp(s.p, "-----", 5) == 0;
}

/* Either form to DER; n 0: it is neither. */
static struct pag_span der_of(struct pag_cli *cli, const char *const *labels, struct pag_span s)
{
    struct pag_buf der = { pag_cli_alloc(cli, DER_MAX), 0, DER_MAX };
    if (!is_pem(s)) {
        return s;
    }
    for (size_t i = 0; labels[i] != NULL; i++) {
        if (pag_x509_der_of_pem(labels[i], s, &der) == PAG_OK) {
            return pag_buf_span(&der);
        }
        der.n = 0;
    }
    return pag_span_of(NULL, 0);
}

static struct pag_span cert_der(struct pag_cli *cli, struct pag_span s)
{
    static const char *const labels[] = { "CERTIFICATE", NULL };
    return der_of(cli, labels, s);
}

static struct pag_span key_der(struct pag_cli *cli, struct pag_span s)
{
    static const char *const labels[] = { "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", NULL };
    return der_of(cli, labels, s);
}

static struct pag_span pem_of(struct pag_cli *cli, const char *label, struct pag_span der)
{
    struct pag_buf pem = { pag_cli_alloc(cli, (size_t)DER_MAX * 2), 0, (size_t)DER_MAX * 2 };
    return pag_x509_pem_of_der(label, der, &pem) == PAG_OK ? pag_buf_span(&pem) : pag_span_of(NULL, 0);
}

/* ---- certificate and key against each other and the device ---- */

static int no_pair(struct pag_cli *cli, const char *what)
{
    return pag_cli_fail(
        cli, PAG_EXIT_USAGE,
        "take the certificate and the key that were made for this device: pagurus enroll batch, "
        "or leave out --cert and --key to have new ones made",
        "%s", what);
}

static int pair_check(struct pag_cli *cli, const struct pag_enroll_for *who, struct pag_span cert,
                      struct pag_span key)
{
    struct pag_x509_info info;
    uint8_t digest[PAG_SHA256_BYTES];
    struct pag_span der = key_der(cli, key);
    const uint8_t *p = der.p;
    if (pag_x509_info(cert, &info) != PAG_OK) {
        return no_pair(cli, "the certificate is none");
    }
    EVP_PKEY *k = der.n > 0 ? d2i_AutoPrivateKey(NULL, &p, (long)der.n) : NULL;
    if (k == NULL) {
        return no_pair(cli, "the private key is none, or it is encrypted");
    }
    enum pag_err err = pag_x509_key_sha256(k, digest);
    EVP_PKEY_free(k);
    if (err != PAG_OK || memcmp(digest, info.key_sha256, sizeof digest) != 0) {
        return no_pair(cli, "certificate and key do not belong together");
    }
    if (strcmp(info.cn, who->mac) != 0) {
        return no_pair(cli, pag_cli_text(cli, "the certificate is that of \"%s\", and the image is for %s",
                                         info.cn, who->mac));
    }
    return PAG_EXIT_OK;
}

/* ---- which kind of device ---- */

static int read_flag(struct pag_cli *cli, const char *flag, struct pag_span *out)
{
    const char *file = pag_opt(cli, flag);
    struct pag_buf raw = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    if (file == NULL) {
        return PAG_EXIT_OK;
    }
    if (pag_fs_read(file, DER_MAX, &raw, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_USAGE, file, &why);
    }
    *out = kept(cli, pag_span_of(raw.p, raw.n));
    pag_fs_buf_free(&raw);
    return PAG_EXIT_OK;
}

static int identity_open(struct pag_cli *cli, struct pag_fs_source *s)
{
    int rc = read_flag(cli, "cert", &s->cert);
    rc = rc == PAG_EXIT_OK ? read_flag(cli, "key", &s->key) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if ((s->cert.n > 0) != (s->key.n > 0)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "give both, or neither", "--cert and --key go together");
    }
    if (s->cert.n > 0 && !s->sketch) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "its claim is in device.conf",
                            "a native device makes its own key: --cert and --key are for secureESP8266");
    }
    return s->cert.n > 0 ? pair_check(cli, &s->who, s->cert, s->key) : PAG_EXIT_OK;
}

int pag_fs_source_open(struct pag_cli *cli, struct pag_fs_source *s)
{
    json_t *reply = NULL;
    const char *path = pag_cli_text(cli, "/products/%s/dialect", pag_client_escape(cli, s->who.product));
    int rc = pag_client_get(cli, path, &reply);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    s->sketch = strcmp(pag_out_text(reply, "dialect"), "secureesp8266") == 0;
    if (s->sketch && s->nvs) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--format spiffs or littlefs, as the sketch mounts",
                            "secureESP8266 reads files, which NVS has not");
    }
    if (s->sketch && s->who.mac == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--mac 84:f3:eb:00:00:03, or --device of a known one",
                            "the image of a secureESP8266 sketch carries the key of one device: say which");
    }
    return identity_open(cli, s);
}

/* ---- fetching ---- */

static int fetch(struct visit *v, const char *file, struct pag_span *out)
{
    struct pag_answer a;
    const char *path =
        pag_cli_text(v->cli, "/secureesp8266/%s/%s", pag_client_escape(v->cli, v->s->who.product), file);
    struct pag_call call = { .method = "GET",
                             .path = v->claim != NULL ? pag_cli_text(v->cli, "%s?claim=%s", path,
                                                                     pag_client_escape(v->cli, v->claim))
                                                      : path,
                             .root = true,
                             .no_token = true,
                             .silent = true,
                             .peer = &v->peer,
                             .once = v->claim != NULL };
    int rc = pag_client_call(v->cli, &call, &a);
    if (a.status == 0) {
        return pag_cli_fail(v->cli, rc,
                            "--device-server HOST:PORT: a name in the server's certificate, and the "
                            "port that devices use",
                            "%s did not answer as the devices' server: %s", v->peer.base, a.error);
    }
    if (a.status != 200) {
        size_t n = a.body.n < 300 ? a.body.n : 300;
        while (n > 0 && a.body.p[n - 1] == '\n') {
            n--;
        }
        return pag_cli_fail(v->cli, pag_problem_exit(a.status), NULL, "%s%s: %ld %.*s", v->peer.base, path,
                            a.status, (int)n, n > 0 ? (const char *)a.body.p : "");
    }
    *out = kept(v->cli, a.body);
    return PAG_EXIT_OK;
}

static int claim_of(struct visit *v)
{
    json_t *reply = NULL;
    v->claim = pag_opt(v->cli, "code");
    if (v->claim != NULL) {
        return PAG_EXIT_OK;
    }
    int rc = pag_enroll_code(v->cli, &v->s->who, &reply);
    v->claim = rc == PAG_EXIT_OK ? pag_out_text(reply, "code") : NULL;
    return rc;
}

/* Key and certificate for a claim; the server forgets the key with this. */
static int identity(struct visit *v, struct pag_span *cert, struct pag_span *key)
{
    const char *mac = v->s->who.mac;
    if (v->s->cert.n > 0) {
        *cert = v->s->cert;
        *key = v->s->key;
        return PAG_EXIT_OK;
    }
    int rc = claim_of(v);
    rc = rc == PAG_EXIT_OK ? fetch(v, pag_cli_text(v->cli, "%s.key", mac), key) : rc;
    rc = rc == PAG_EXIT_OK ? fetch(v, pag_cli_text(v->cli, "%s.crt", mac), cert) : rc;
    v->claim = NULL;
    return rc == PAG_EXIT_OK ? pair_check(v->cli, &v->s->who, *cert, *key) : rc;
}

static int open_visit(struct visit *v)
{
    const char *host = NULL;
    uint32_t port = 0;
    int rc = pag_enroll_server(v->cli, &host, &port);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    bool v6 = strchr(host, ':') != NULL;
    v->peer.base =
        pag_cli_text(v->cli, "https://%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", (unsigned)port);
    return pag_enroll_root(v->cli, &v->peer.ca);
}

static int sketch_files(struct pag_cli *cli, const struct pag_fs_source *s, struct pag_fs_files *f)
{
    struct visit v = { .cli = cli, .s = s };
    struct pag_span cert = { NULL, 0 };
    struct pag_span key = { NULL, 0 };
    struct pag_span config = { NULL, 0 };
    int rc = open_visit(&v);
    rc = rc == PAG_EXIT_OK ? identity(&v, &cert, &key) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    struct pag_span cert_bytes = cert_der(cli, cert);
    struct pag_span key_bytes = key_der(cli, key);
    v.peer.cert = is_pem(cert) ? cert : pem_of(cli, "CERTIFICATE", cert);
    v.peer.key = is_pem(key) ? key : pem_of(cli, "PRIVATE KEY", key);
    rc = fetch(&v, "config.json", &config);
    if (rc == PAG_EXIT_OK) {
        pag_fs_files_add(f, "/config.json", config);
        pag_fs_files_add(f, "/ca.der", cert_der(cli, v.peer.ca));
        pag_fs_files_add(f, "/ca.crt", v.peer.ca);
        pag_fs_files_add(f, pag_cli_text(cli, "/%s.crt.der", s->who.mac), cert_bytes);
        pag_fs_files_add(f, pag_cli_text(cli, "/%s.key.der", s->who.mac), key_bytes);
        f->secret = f->private_key = true;
    }
    return rc;
}

int pag_fs_source_files(struct pag_cli *cli, const struct pag_fs_source *s, struct pag_fs_files *f)
{
    const char *text = NULL;
    if (s->sketch) {
        return sketch_files(cli, s, f);
    }
    int rc = pag_enroll_text(cli, &s->who, &text);
    if (rc == PAG_EXIT_OK) {
        pag_fs_files_add(f, "/device.conf", pag_span_str(text));
        f->secret = true;
    }
    return rc;
}

void pag_fs_source_guess(struct pag_cli *cli, const struct pag_fs_source *s, struct pag_fs_files *f)
{
    const uint8_t *zeros = pag_cli_alloc(cli, GUESS_TEXT);
    if (!s->sketch) {
        pag_fs_files_add(f, "/device.conf", pag_span_of(zeros, GUESS_TEXT));
        return;
    }
    pag_fs_files_add(f, "/config.json", pag_span_of(zeros, GUESS_CONFIG));
    pag_fs_files_add(f, "/ca.der", pag_span_of(zeros, GUESS_CERT));
    pag_fs_files_add(f, "/ca.crt", pag_span_of(zeros, GUESS_CERT));
    pag_fs_files_add(f, pag_cli_text(cli, "/%s.crt.der", s->who.mac), pag_span_of(zeros, GUESS_CERT));
    pag_fs_files_add(f, pag_cli_text(cli, "/%s.key.der", s->who.mac), pag_span_of(zeros, GUESS_KEY));
}
