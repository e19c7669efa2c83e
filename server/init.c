#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): explicit_bzero, O_CLOEXEC */
#include "server/init.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "host/crypto.h"
#include "host/fs.h"
#include "host/x509.h"

enum { PEM_MAX = 8192, SERVICE_S = 5 * 31557600, PASSPHRASE_MIN = 8, PASSPHRASE_MAX = 255 };

#define UNCONFIRMED "ca/root-export.unconfirmed"

/* ---- where things are ---- */

enum pag_err pag_paths_of(const char *data, struct pag_paths *out)
{
    const struct {
        char *to;
        const char *name;
    } map[] = {
        { out->root_pem, "ca/root.pem" },
        { out->root_export, "root-export.pem" },
        { out->device_ca_pem, "ca/device-ca.pem" },
        { out->device_ca_key, "ca/device-ca.key" },
        { out->device_anchor, "ca/device-anchor.pem" },
        { out->device_old_pem, "ca/device-ca.old.pem" },
        { out->device_old_key, "ca/device-ca.old.key" },
        { out->server_ca_pem, "ca/server-ca.pem" },
        { out->server_ca_key, "ca/server-ca.key" },
        { out->operator_ca_pem, "ca/operator-ca.pem" },
        { out->operator_ca_key, "ca/operator-ca.key" },
        { out->operator_anchor, "ca/operator-anchor.pem" },
        { out->server_pem, "tls/server.pem" },
        { out->server_key, "tls/server.key" },
        { out->server_rsa_pem, "tls/server-rsa.pem" },
        { out->server_rsa_key, "tls/server-rsa.key" },
        { out->svc_pem, "tls/svc.pem" },
        { out->svc_key, "tls/svc.key" },
        { out->freshness_key, "keys/freshness.key" },
        { out->ports_json, "run/ports.json" },
        { out->broker_dir, "mosquitto" },
        { out->device_crl, "mosquitto/device-ca.crl.pem" },
        { out->blobs_dir, "blobs" },
        { out->spool_dir, "spool" },
        { out->database, "pagurus.db" },
    };
    size_t n = strlen(data);
    if (n == 0 || n >= sizeof out->data) {
        return PAG_E_CONFIG;
    }
    memset(out, 0, sizeof *out);
    memcpy(out->data, data, n + 1);
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++) {
        if (pag_fs_join(map[i].to, sizeof out->root_pem, data, map[i].name) != PAG_OK) {
            return PAG_E_CONFIG;
        }
    }
    return PAG_OK;
}

bool pag_init_done(const struct pag_paths *paths)
{
    return pag_fs_exists(paths->root_pem) && pag_fs_exists(paths->device_ca_key) &&
           pag_fs_exists(paths->server_pem);
}

enum { FILES = 17 };

/* Every file that init makes, in no order. */
static void files_of(const struct pag_paths *p, const char *out[FILES])
{
    const char *const files[FILES] = { p->root_pem,        p->root_export,     p->device_ca_pem,
                                       p->device_ca_key,   p->device_anchor,   p->server_ca_pem,
                                       p->server_ca_key,   p->operator_ca_pem, p->operator_ca_key,
                                       p->operator_anchor, p->server_pem,      p->server_key,
                                       p->svc_pem,         p->svc_key,         p->freshness_key,
                                       p->server_rsa_pem,  p->server_rsa_key };
    memcpy((void *)out, files, sizeof files);
}

static enum pag_err refuse_second(const struct pag_paths *paths, char found[320], struct pag_fail *why)
{
    const char *files[FILES];
    files_of(paths, files);
    int at = 0;
    while (at < FILES && !pag_fs_exists(files[at])) {
        at++;
    }
    if (at == FILES) {
        return PAG_OK;
    }
    if (found != NULL) {
        memcpy(found, files[at], strlen(files[at]) + 1);
    }
    return pag_fail_set(why, PAG_E_EXISTS, "this folder holds an installation already", 0);
}

static void remove_all(const struct pag_paths *paths)
{
    const char *files[FILES];
    char mark[320];
    files_of(paths, files);
    for (int i = 0; i < FILES; i++) {
        (void)pag_fs_remove(files[i], NULL);
    }
    if (pag_fs_join(mark, sizeof mark, paths->data, UNCONFIRMED) == PAG_OK) {
        (void)pag_fs_remove(mark, NULL);
    }
}

static enum pag_err make_folders(const struct pag_paths *paths, struct pag_fail *why)
{
    static const char *const names[] = { "ca", "tls", "keys", "run", "mosquitto", "blobs", "spool" };
    enum pag_err err = pag_fs_mkdirs(paths->data, 0700, why);
    if (err == PAG_OK && chmod(paths->data, 0700) != 0) {
        err = pag_fail_set(why, PAG_E_DENIED, "cannot close the data folder to others", (uint64_t)errno);
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0] && err == PAG_OK; i++) {
        char path[320];
        err = pag_fs_join(path, sizeof path, paths->data, names[i]);
        err = err != PAG_OK ? err : pag_fs_mkdirs(path, 0700, why);
    }
    return err;
}

/* ---- writing certificates ---- */

/* One or two DER certificates as a PEM file. */
static enum pag_err write_pem(const char *path, struct pag_span first, struct pag_span second,
                              struct pag_fail *why)
{
    struct pag_buf pem = { malloc(PEM_MAX), 0, PEM_MAX };
    enum pag_err err = pem.p == NULL ? PAG_E_NO_MEMORY : pag_x509_pem_of_der("CERTIFICATE", first, &pem);
    if (err == PAG_OK && second.n > 0) {
        err = pag_x509_pem_of_der("CERTIFICATE", second, &pem);
    }
    err = err == PAG_OK ? pag_fs_write(path, (struct pag_span){ pem.p, pem.n }, 0644, why)
                        : pag_fail_set(why, err, "cannot encode certificate", 0);
    free(pem.p);
    return err;
}

static const struct pag_span nothing = { NULL, 0 };

/* Where one authority's files go; anchor may be NULL. */
struct ca_files {
    const char *pem, *key, *anchor;
};

enum pag_err pag_init_write_anchors(const char *path, const struct pag_ca *ca, const struct pag_ca *old,
                                    uint64_t now, struct pag_fail *why)
{
    uint8_t space[2][PAG_CERT_DER_MAX];
    struct pag_buf der[2] = { { space[0], 0, sizeof space[0] }, { space[1], 0, sizeof space[1] } };
    enum pag_err err = pag_ca_anchor(ca, now, &der[0], why);
    if (err == PAG_OK && old != NULL) {
        err = pag_ca_anchor(old, now, &der[1], why);
    }
    return err != PAG_OK ? err
                         : write_pem(path, (struct pag_span){ der[0].p, der[0].n },
                                     (struct pag_span){ der[1].p, der[1].n }, why);
}

enum pag_err pag_init_write_ca(const struct pag_paths *paths, const char *path, struct pag_span der,
                               struct pag_fail *why)
{
    struct pag_buf pem = { NULL, 0, 0 };
    struct pag_buf root = { (uint8_t[PAG_CERT_DER_MAX]){ 0 }, 0, PAG_CERT_DER_MAX };
    enum pag_err err = pag_fs_read(paths->root_pem, PEM_MAX, &pem, why);
    if (err == PAG_OK) {
        err = pag_x509_der_of_pem("CERTIFICATE", (struct pag_span){ pem.p, pem.n }, &root);
    }
    pag_fs_buf_free(&pem);
    return err != PAG_OK ? err : write_pem(path, der, (struct pag_span){ root.p, root.n }, why);
}

/* Makes an authority and writes it; *out is the caller's. */
static enum pag_err make_ca(const struct pag_ca *root, enum pag_ca_kind kind, const struct ca_files *files,
                            uint64_t now, struct pag_ca **out, struct pag_fail *why)
{
    enum pag_err err = pag_ca_issuing_new(root, kind, now, out, why);
    if (err == PAG_OK) {
        err = write_pem(files->pem, pag_ca_der(*out), pag_ca_der(root), why);
    }
    if (err == PAG_OK) {
        err = pag_ca_key_save(*out, files->key, NULL, why);
    }
    if (err == PAG_OK && files->anchor != NULL) {
        err = pag_init_write_anchors(files->anchor, *out, NULL, now, why);
    }
    return err;
}

static enum pag_err write_server(const struct pag_paths *paths, const struct pag_ca *ca,
                                 const struct pag_cert_order *order, bool rsa, struct pag_fail *why)
{
    struct pag_issued issued;
    const char *pem_file = rsa ? paths->server_rsa_pem : paths->server_pem;
    EVP_PKEY *key = pag_x509_key_new(rsa);
    if (key == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "cannot make a key", 0);
    }
    enum pag_err err = pag_ca_issue_server(ca, key, order, &issued, why);
    /* Key first: a crash between the two leaves a pair that does not match and is refused at start, and
     * renewing again heals it. */
    if (err == PAG_OK) {
        err = pag_x509_key_save(key, rsa ? paths->server_rsa_key : paths->server_key, NULL, why);
    }
    if (err == PAG_OK) {
        err = write_pem(pem_file, (struct pag_span){ issued.der, issued.der_n }, pag_ca_der(ca), why);
    }
    EVP_PKEY_free(key);
    return err;
}

static enum pag_err make_server(const struct pag_paths *paths, const struct pag_ca *ca,
                                const struct pag_config_names *names, uint64_t now, uint64_t lifetime_s,
                                struct pag_fail *why)
{
    const char *list[PAG_CONFIG_NAMES_MAX];
    for (size_t i = 0; i < names->n; i++) {
        list[i] = names->name[i];
    }
    const struct pag_cert_order order = {
        .now = now, .lifetime_s = lifetime_s, .names = list, .names_n = names->n
    };
    enum pag_err err = write_server(paths, ca, &order, true, why);
    return err != PAG_OK ? err : write_server(paths, ca, &order, false, why);
}

static enum pag_err make_service(const struct pag_paths *paths, const struct pag_ca *device_ca, uint64_t now,
                                 struct pag_fail *why)
{
    const struct pag_cert_order order = { .cn = "svc-pagurusd", .now = now, .lifetime_s = SERVICE_S };
    struct pag_issued issued;
    EVP_PKEY *key = pag_crypto_key_new();
    if (key == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "cannot make a key", 0);
    }
    enum pag_err err = pag_ca_issue_client_key(device_ca, key, &order, &issued, why);
    if (err == PAG_OK) {
        err = pag_x509_key_save(key, paths->svc_key, NULL, why);
    }
    if (err == PAG_OK) { /* alone: whoever checks it trusts the device authority itself */
        err = write_pem(paths->svc_pem, (struct pag_span){ issued.der, issued.der_n }, nothing, why);
    }
    EVP_PKEY_free(key);
    return err;
}

static enum pag_err make_freshness(const struct pag_paths *paths, struct pag_fail *why)
{
    EVP_PKEY *key = pag_crypto_key_new();
    if (key == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "cannot make a key", 0);
    }
    enum pag_err err = pag_x509_key_save(key, paths->freshness_key, NULL, why);
    EVP_PKEY_free(key);
    return err;
}

/* ---- the root and its export ---- */

static enum pag_err write_root(const struct pag_paths *paths, const struct pag_ca *root,
                               const char *passphrase, struct pag_fail *why)
{
    static const char note[] =
        "The root key leaves this machine: move root-export.pem to a safe place, then confirm.\n";
    char mark[320];
    enum pag_err err = pag_fs_join(mark, sizeof mark, paths->data, UNCONFIRMED);
    if (err == PAG_OK) {
        err = pag_fs_write(mark, (struct pag_span){ (const uint8_t *)note, sizeof note - 1 }, 0600, why);
    }
    if (err == PAG_OK) {
        err = write_pem(paths->root_pem, pag_ca_der(root), nothing, why);
    }
    return err != PAG_OK ? err : pag_ca_key_save(root, paths->root_export, passphrase, why);
}

/* The export holds the certificate too, so that it is of use alone. */
static enum pag_err complete_export(const struct pag_paths *paths, const struct pag_ca *root,
                                    struct pag_fail *why)
{
    uint8_t space[PEM_MAX - 1024];
    struct pag_buf pem = { space, 0, sizeof space };
    struct pag_buf key = { NULL, 0, 0 };
    enum pag_err err = pag_fs_read(paths->root_export, PEM_MAX, &key, why);
    if (err == PAG_OK) {
        err = pag_x509_pem_of_der("CERTIFICATE", pag_ca_der(root), &pem);
    }
    if (err == PAG_OK && key.n <= pem.cap - pem.n) {
        memcpy(pem.p + pem.n, key.p, key.n);
        pem.n += key.n;
        err = pag_fs_write(paths->root_export, (struct pag_span){ pem.p, pem.n }, 0600, why);
    }
    pag_fs_buf_free(&key);
    return err;
}

enum pag_root_export pag_init_root_state(const struct pag_paths *paths)
{
    char mark[320];
    if (pag_fs_join(mark, sizeof mark, paths->data, UNCONFIRMED) != PAG_OK || !pag_fs_exists(mark)) {
        return PAG_ROOT_CONFIRMED;
    }
    return pag_fs_exists(paths->root_export) ? PAG_ROOT_STILL_HERE : PAG_ROOT_UNCONFIRMED;
}

enum pag_err pag_init_root_confirm(const struct pag_paths *paths, bool keep, struct pag_fail *why)
{
    char mark[320];
    if (!keep && pag_fs_exists(paths->root_export)) {
        return pag_fail_set(why, PAG_E_CONFLICT,
                            "root-export.pem is still in the data folder: move it away first", 0);
    }
    enum pag_err err = pag_fs_join(mark, sizeof mark, paths->data, UNCONFIRMED);
    return err != PAG_OK ? err : pag_fs_remove(mark, why);
}

/* ---- init ---- */

static enum pag_err make_authorities(const struct pag_paths *p, const struct pag_ca *root,
                                     const struct pag_init_order *order, const struct pag_config_names *names,
                                     struct pag_fail *why)
{
    const struct ca_files device = { p->device_ca_pem, p->device_ca_key, p->device_anchor };
    const struct ca_files server = { p->server_ca_pem, p->server_ca_key, NULL };
    const struct ca_files people = { p->operator_ca_pem, p->operator_ca_key, p->operator_anchor };
    struct pag_ca *device_ca = NULL;
    struct pag_ca *server_ca = NULL;
    struct pag_ca *operator_ca = NULL;
    enum pag_err err = make_ca(root, PAG_CA_DEVICE, &device, order->now, &device_ca, why);
    if (err == PAG_OK) {
        err = make_ca(root, PAG_CA_SERVER, &server, order->now, &server_ca, why);
    }
    if (err == PAG_OK) {
        err = make_ca(root, PAG_CA_OPERATOR, &people, order->now, &operator_ca, why);
    }
    if (err == PAG_OK) {
        err = make_service(p, device_ca, order->now, why);
    }
    if (err == PAG_OK) { /* last: pag_init_done looks for it */
        err = make_server(p, server_ca, names, order->now, order->server_s, why);
    }
    pag_ca_free(device_ca);
    pag_ca_free(server_ca);
    pag_ca_free(operator_ca);
    return err;
}

static enum pag_err make_all(const struct pag_paths *paths, const struct pag_init_order *order,
                             struct pag_init_result *result, struct pag_fail *why)
{
    struct pag_ca *root = NULL;
    const char *organisation = order->organisation != NULL ? order->organisation : "Pagurus";
    enum pag_err err = pag_ca_root_new(organisation, order->now, &root, why);
    if (err == PAG_OK) {
        err = write_root(paths, root, order->passphrase, why);
    }
    if (err == PAG_OK) {
        err = complete_export(paths, root, why);
    }
    if (err == PAG_OK) {
        err = make_freshness(paths, why);
    }
    if (err == PAG_OK) {
        err = make_authorities(paths, root, order, &result->names, why);
    }
    pag_ca_free(root);
    return err;
}

static void hex_of(const uint8_t digest[PAG_SHA256_BYTES], char out[65])
{
    for (size_t i = 0; i < PAG_SHA256_BYTES; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
}

static enum pag_err fingerprint(const char *path, char out[65], struct pag_fail *why)
{
    struct pag_buf pem = { NULL, 0, 0 };
    struct pag_x509_info info;
    enum pag_err err = pag_fs_read(path, PEM_MAX, &pem, why);
    if (err == PAG_OK) {
        err = pag_x509_info((struct pag_span){ pem.p, pem.n }, &info);
    }
    if (err == PAG_OK) {
        hex_of(info.fingerprint, out);
    }
    pag_fs_buf_free(&pem);
    return err;
}

static enum pag_err check_order(const struct pag_init_order *order, struct pag_init_result *result,
                                struct pag_fail *why)
{
    size_t n = order->passphrase == NULL ? 0 : strlen(order->passphrase);
    if (n < PASSPHRASE_MIN || n > PASSPHRASE_MAX) {
        return pag_fail_set(why, PAG_E_CONFIG, "the passphrase needs 8 to 255 bytes", n);
    }
    if (pag_config_names_of(order->names == NULL ? "" : order->names, true, &result->names) != PAG_OK) {
        return pag_fail_set(why, PAG_E_CONFIG,
                            "names: not a comma-separated list of host names and addresses", 0);
    }
    return PAG_OK;
}

static enum pag_err init_at(const struct pag_paths *paths, const struct pag_init_order *order,
                            struct pag_init_result *out, struct pag_fail *why)
{
    enum pag_err err = make_folders(paths, why);
    if (err == PAG_OK) {
        err = make_all(paths, order, out, why);
    }
    if (err == PAG_OK) {
        err = fingerprint(paths->root_pem, out->root_sha256, why);
    }
    if (err == PAG_OK) {
        err = fingerprint(paths->server_pem, out->server_sha256, why);
    }
    if (err != PAG_OK) {
        remove_all(paths);
        return err;
    }
    memcpy(out->root_export, paths->root_export, sizeof out->root_export);
    return PAG_OK;
}

enum pag_err pag_init(const struct pag_init_order *order, struct pag_init_result *out, char found[320],
                      struct pag_fail *why)
{
    struct pag_paths *paths = malloc(sizeof *paths); /* too large for a stack */
    memset(out, 0, sizeof *out);
    enum pag_err err = paths != NULL ? check_order(order, out, why) : PAG_E_NO_MEMORY;
    if (err == PAG_OK && pag_paths_of(order->data, paths) != PAG_OK) {
        err = pag_fail_set(why, PAG_E_CONFIG, "the data folder's path is too long", 0);
    }
    if (err == PAG_OK) {
        err = refuse_second(paths, found, why);
    }
    err = err == PAG_OK ? init_at(paths, order, out, why) : err;
    free(paths);
    return err;
}

static void take_name(void *ctx, const char *name)
{
    (void)pag_config_names_add(ctx, name);
}

enum pag_err pag_init_names(const struct pag_paths *paths, const char *configured,
                            struct pag_config_names *out)
{
    struct pag_buf pem = { NULL, 0, 0 };
    struct pag_buf der = { (uint8_t[PAG_CERT_DER_MAX]){ 0 }, 0, PAG_CERT_DER_MAX };
    enum pag_err err = pag_config_names_of(configured, false, out);
    if (err != PAG_OK || out->n > 0) {
        return err;
    }
    if (pag_fs_read(paths->server_pem, PEM_MAX, &pem, NULL) == PAG_OK &&
        pag_x509_der_of_pem("CERTIFICATE", (struct pag_span){ pem.p, pem.n }, &der) == PAG_OK) {
        (void)pag_x509_dns_names((struct pag_span){ der.p, der.n }, take_name, out);
    }
    pag_fs_buf_free(&pem);
    return PAG_OK;
}

enum pag_err pag_init_renew_server(const struct pag_paths *paths, const char *names, uint64_t now,
                                   uint64_t lifetime_s, struct pag_fail *why)
{
    struct pag_config_names list;
    struct pag_ca *ca = NULL;
    if (pag_init_names(paths, names, &list) != PAG_OK) {
        return pag_fail_set(why, PAG_E_CONFIG,
                            "names: not a comma-separated list of host names and addresses", 0);
    }
    pag_config_names_detect(&list);
    enum pag_err err = pag_ca_load(paths->server_ca_pem, paths->server_ca_key, NULL, &ca, why);
    if (err == PAG_OK) {
        err = make_server(paths, ca, &list, now, lifetime_s, why);
    }
    pag_ca_free(ca);
    return err;
}

enum pag_err pag_init_renew_service(const struct pag_paths *paths, uint64_t now, struct pag_fail *why)
{
    struct pag_ca *ca = NULL;
    enum pag_err err = pag_ca_load(paths->device_ca_pem, paths->device_ca_key, NULL, &ca, why);
    if (err == PAG_OK) {
        err = make_service(paths, ca, now, why);
    }
    pag_ca_free(ca);
    return err;
}

/* ---- passphrase ---- */

/* First line of fd, without its end. */
static enum pag_err read_line(int fd, char out[256], struct pag_fail *why)
{
    size_t n = 0;
    char c = 0;
    while (n < PASSPHRASE_MAX) {
        ssize_t got = read(fd, &c, 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0 || c == '\n' || c == '\0') {
            break;
        }
        out[n++] = c;
    }
    if (n > 0 && out[n - 1] == '\r') {
        n--;
    }
    out[n] = '\0';
    if (n < PASSPHRASE_MIN) {
        explicit_bzero(out, 256);
        return pag_fail_set(why, PAG_E_CONFIG, "the passphrase needs at least 8 bytes", n);
    }
    return PAG_OK;
}

static enum pag_err ask(int tty, const char *prompt, char out[256], struct pag_fail *why)
{
    struct termios before;
    bool quiet = tcgetattr(tty, &before) == 0;
    if (quiet) {
        struct termios silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        quiet = tcsetattr(tty, TCSAFLUSH, &silent) == 0;
    }
    (void)dprintf(tty, "%s", prompt);
    enum pag_err err = read_line(tty, out, why);
    if (quiet) {
        (void)tcsetattr(tty, TCSAFLUSH, &before);
    }
    (void)dprintf(tty, "\n");
    return err;
}

static enum pag_err ask_twice(char out[256], struct pag_fail *why)
{
    char again[256] = "";
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "no terminal to ask on: use --passphrase-file", 0);
    }
    enum pag_err err = ask(tty, "Passphrase for the root key export: ", out, why);
    if (err == PAG_OK) {
        err = ask(tty, "Once more: ", again, why);
    }
    if (err == PAG_OK && strcmp(out, again) != 0) {
        err = pag_fail_set(why, PAG_E_CONFIG, "the two passphrases differ", 0);
    }
    explicit_bzero(again, sizeof again);
    (void)close(tty);
    return err;
}

/* N of "fd:N", -1 when it is not of that form. */
static int descriptor_of(const char *path)
{
    char *end = NULL;
    if (strncmp(path, "fd:", 3) != 0 || path[3] < '0' || path[3] > '9') {
        return -1;
    }
    long n = strtol(path + 3, &end, 10);
    return *end == '\0' && n <= 65535 ? (int)n : -1;
}

enum pag_err pag_init_passphrase(const char *path, char out[256], struct pag_fail *why)
{
    memset(out, 0, 256);
    if (path == NULL) {
        return ask_twice(out, why);
    }
    if (strcmp(path, "-") == 0) {
        return read_line(STDIN_FILENO, out, why);
    }
    if (strncmp(path, "fd:", 3) == 0) {
        int number = descriptor_of(path);
        return number < 0 ? pag_fail_set(why, PAG_E_CONFIG, "fd: wants a number", 0)
                          : read_line(number, out, why);
    }
    enum pag_err err = pag_fs_private(path, why);
    if (err != PAG_OK) {
        return err;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return pag_fail_set(why, PAG_E_IO, "cannot open passphrase file", (uint64_t)errno);
    }
    err = read_line(fd, out, why);
    (void)close(fd);
    return err;
}
