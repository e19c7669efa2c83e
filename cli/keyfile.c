#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): setrlimit, prctl */
#include "cli/keyfile.h"

#include <dirent.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/prompt.h"
#include "cli/settings.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "host/crypto.h"
#include "host/fs.h"
#include "host/signing.h"
#include "host/x509.h"

enum { PEM_MAX = 16384, SECURE_HEAP = 65536, PASSPHRASE_MIN = 8 };

/* Stands before the PEM block of a key that was made without a passphrase on purpose. */
static const char unprotected_mark[] = "Pagurus-Unprotected: made with --no-passphrase\n";

const char *pag_key_folder(struct pag_cli *cli)
{
    return pag_cli_text(cli, "%s/keys", pag_conf_dir(cli));
}

const char *pag_key_path(struct pag_cli *cli, const char *name, const char *ending)
{
    return pag_cli_text(cli, "%s/%s%s", pag_key_folder(cli), name, ending);
}

bool pag_key_exists(struct pag_cli *cli, const char *name)
{
    return pag_text_name_ok(name) && pag_fs_exists(pag_key_path(cli, name, ".pem"));
}

const char **pag_key_names(struct pag_cli *cli)
{
    struct dirent **found = NULL;
    int n = scandir(pag_key_folder(cli), &found, NULL, alphasort);
    const char **names = pag_cli_alloc(cli, ((size_t)(n > 0 ? n : 0) + 1) * sizeof *names);
    size_t kept = 0;
    for (int i = 0; i < n; i++) {
        size_t len = strlen(found[i]->d_name);
        if (len > 4 && strcmp(found[i]->d_name + len - 4, ".pem") == 0) {
            names[kept++] = pag_cli_text(cli, "%.*s", (int)(len - 4), found[i]->d_name);
        }
        free(found[i]);
    }
    free(found);
    return names;
}

const char *pag_key_id_text(struct pag_cli *cli, const uint8_t id[PAG_KEY_ID_BYTES])
{
    char hex[2 * PAG_KEY_ID_BYTES + 1];
    pag_text_hex(pag_span_of(id, PAG_KEY_ID_BYTES), hex);
    return pag_cli_text(cli, "%s", hex);
}

/* ---- secrets in memory ---- */

static void guard_memory(void)
{
    struct rlimit none = { 0, 0 };
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
    if (CRYPTO_secure_malloc_initialized() == 0) {
        (void)CRYPTO_secure_malloc_init(SECURE_HEAP, 16); /* locked by mlock */
    }
}

static char *secret_new(struct pag_cli *cli)
{
    char *s = OPENSSL_secure_zalloc(PAG_SECRET_MAX);
    if (s == NULL) {
        (void)pag_cli_fail(cli, PAG_EXIT_FAILED, "raise ulimit -l", "no locked memory for the passphrase");
    }
    return s;
}

static void secret_free(char *s)
{
    OPENSSL_secure_clear_free(s, PAG_SECRET_MAX);
}

static int from_file(struct pag_cli *cli, const char *file, char *secret)
{
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    if (pag_fs_private(file, &why) == PAG_E_DENIED) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, pag_cli_text(cli, "chmod 600 %s", file),
                            "%s holds a passphrase and others may read it", file);
    }
    if (pag_fs_read(file, PAG_SECRET_MAX - 1, &buf, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
    }
    size_t n = strcspn((const char *)buf.p, "\r\n");
    memcpy(secret, buf.p, n);
    secret[n] = 0;
    pag_fs_buf_free(&buf);
    return PAG_EXIT_OK;
}

/* A descriptor can be read once, but a run may open several keys: the first line is kept for all of them. */
static int from_fd(struct pag_cli *cli, char *secret)
{
    static char kept[PAG_SECRET_MAX];
    static bool read_already;
    uint64_t fd = 0;
    int rc = pag_opt_number(cli, "passphrase-fd", 0, &fd);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (!read_already && (fd > 1023 || pag_read_line((int)fd, kept, sizeof kept) != PAG_OK)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus … --passphrase-fd 3 3<passphrase.txt",
                            "nothing to read at descriptor %u", (unsigned)fd);
    }
    read_already = true;
    memcpy(secret, kept, sizeof kept);
    return PAG_EXIT_OK;
}

int pag_key_passphrase(struct pag_cli *cli, const char *label, char secret[PAG_SECRET_MAX])
{
    if (pag_opt_on(cli, "passphrase-file")) {
        return from_file(cli, pag_opt(cli, "passphrase-file"), secret);
    }
    if (pag_opt_on(cli, "passphrase-fd")) {
        return from_fd(cli, secret);
    }
    return pag_prompt_secret(cli, "--passphrase-file FILE or --passphrase-fd N", label, secret,
                             PAG_SECRET_MAX);
}

static int new_passphrase(struct pag_cli *cli, const char *name, char *secret)
{
    int rc = pag_key_passphrase(cli, pag_cli_text(cli, "New passphrase for %s", name), secret);
    if (rc == PAG_EXIT_OK && strlen(secret) < PASSPHRASE_MIN) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "several words are easy to remember",
                            "a passphrase needs at least %d characters", PASSPHRASE_MIN);
    }
    if (rc != PAG_EXIT_OK || pag_opt_on(cli, "passphrase-file") || pag_opt_on(cli, "passphrase-fd")) {
        return rc;
    }
    char *again = secret_new(cli);
    rc = again == NULL
             ? PAG_EXIT_FAILED
             : pag_prompt_secret(cli, "--passphrase-file FILE", "The same again", again, PAG_SECRET_MAX);
    if (rc == PAG_EXIT_OK && strcmp(again, secret) != 0) {
        rc =
            pag_cli_fail(cli, PAG_EXIT_USAGE, "try again", "the two passphrases differ; nothing was written");
    }
    secret_free(again);
    return rc;
}

/* ---- reading ---- */

static int finish(struct pag_cli *cli, const char *name, struct pag_key *key, bool any)
{
    struct pag_public_info info;
    bool known = pag_signing_info(key->pkey, &info) == PAG_OK;
    key->name = name;
    key->rsa_bits = known && info.rsa ? info.bits : 0;
    if (known && (any || !info.rsa)) {
        memcpy(key->id, info.id, sizeof key->id);
        if (!info.rsa) {
            (void)pag_crypto_point(key->pkey, key->point);
        }
        return PAG_EXIT_OK;
    }
    pag_key_close(key);
    return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus key generate makes one",
                        known ? "%s is an RSA key, which signs images and no manifests"
                        : any ? "%s is neither a P-256 key nor RSA of 2048 to 4096 bits"
                              : "%s is no P-256 key",
                        name);
}

void pag_key_close(struct pag_key *key)
{
    EVP_PKEY_free(key->pkey);
    key->pkey = NULL;
}

static int no_key(struct pag_cli *cli, const char *name)
{
    return pag_cli_fail(
        cli, PAG_EXIT_NOT_FOUND,
        pag_cli_text(cli, "pagurus key list shows them; pagurus key generate %s makes one", name),
        "no key \"%s\" in %s", name, pag_key_folder(cli));
}

static int decrypt(struct pag_cli *cli, const char *name, struct pag_span pem, struct pag_key *key)
{
    struct pag_fail why = { PAG_OK, "", 0 };
    char *secret = secret_new(cli);
    int rc = secret == NULL ? PAG_EXIT_FAILED
                            : pag_key_passphrase(cli, pag_cli_text(cli, "Passphrase of %s", name), secret);
    if (rc == PAG_EXIT_OK && pag_signing_key_of_pem(pem, secret, &key->pkey, &why) != PAG_OK) {
        rc = pag_cli_fail(cli, PAG_EXIT_DENIED, "check the passphrase and try again", "key %s: %s", name,
                          why.what != NULL ? why.what : "cannot be opened");
    }
    secret_free(secret);
    return rc;
}

static int open_pem(struct pag_cli *cli, const char *name, struct pag_span pem, struct pag_key *key)
{
    struct pag_fail why = { PAG_OK, "", 0 };
    const char *text = (const char *)pem.p; /* pag_fs_read ends it with a NUL */
    if (strstr(text, "BEGIN ENCRYPTED PRIVATE KEY") != NULL) {
        return decrypt(cli, name, pem, key);
    }
    if (!pag_span_starts(pem, unprotected_mark)) {
        return pag_cli_fail(
            cli, PAG_EXIT_USAGE,
            "pagurus key import NAME FILE protects it; --no-passphrase there says that you mean it",
            "key %s has no passphrase", name);
    }
    if (pag_signing_key_of_pem(pem, NULL, &key->pkey, &why) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "key %s: %s", name,
                            why.what != NULL ? why.what : "not a private key");
    }
    return PAG_EXIT_OK;
}

static int open_kind(struct pag_cli *cli, const char *name, struct pag_key *key, bool any)
{
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    memset(key, 0, sizeof *key);
    guard_memory();
    if (!pag_key_exists(cli, name)) {
        return no_key(cli, name);
    }
    const char *path = pag_key_path(cli, name, ".pem");
    if (pag_fs_private(path, &why) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, pag_cli_text(cli, "chmod 600 %s", path),
                            "%s is a private key and others may read it", path);
    }
    if (pag_fs_read(path, PEM_MAX, &buf, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, path, &why);
    }
    int rc = open_pem(cli, name, pag_buf_span(&buf), key);
    pag_fs_buf_free(&buf); /* wipes */
    return rc == PAG_EXIT_OK ? finish(cli, name, key, any) : rc;
}

int pag_key_open(struct pag_cli *cli, const char *name, struct pag_key *key)
{
    return open_kind(cli, name, key, false);
}

int pag_key_open_any(struct pag_cli *cli, const char *name, struct pag_key *key)
{
    return open_kind(cli, name, key, true);
}

static int public_kind(struct pag_cli *cli, const char *name, struct pag_key *key, bool any)
{
    struct pag_buf buf = { NULL, 0, 0 };
    memset(key, 0, sizeof *key);
    bool local = pag_key_exists(cli, name);
    const char *path = local ? pag_key_path(cli, name, ".pub") : name;
    if (!local && !pag_fs_exists(name)) {
        return no_key(cli, name);
    }
    if (pag_fs_read(path, PEM_MAX, &buf, NULL) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "%s cannot be read", path);
    }
    BIO *in = BIO_new_mem_buf(buf.p, (int)buf.n);
    key->pkey = in == NULL ? NULL : PEM_read_bio_PUBKEY(in, NULL, NULL, NULL);
    BIO_free(in);
    pag_fs_buf_free(&buf);
    if (key->pkey == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus key public NAME prints one",
                            "%s holds no public key", path);
    }
    return finish(cli, name, key, any);
}

int pag_key_public(struct pag_cli *cli, const char *name, struct pag_key *key)
{
    return public_kind(cli, name, key, false);
}

int pag_key_public_any(struct pag_cli *cli, const char *name, struct pag_key *key)
{
    return public_kind(cli, name, key, true);
}

/* ---- writing ---- */

const char *pag_key_spki_pem(struct pag_cli *cli, const struct pag_key *key)
{
    char *data = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    const char *text = "";
    if (out != NULL && PEM_write_bio_PUBKEY(out, key->pkey) == 1) {
        long n = BIO_get_mem_data(out, &data);
        text = pag_cli_text(cli, "%.*s", (int)n, data);
    }
    BIO_free(out);
    return text;
}

static int write_pem(struct pag_cli *cli, const char *name, struct pag_span pem, bool plain)
{
    struct pag_fail why = { PAG_OK, "", 0 };
    const char *path = pag_key_path(cli, name, ".pem");
    size_t mark = plain ? sizeof unprotected_mark - 1 : 0;
    uint8_t *whole = OPENSSL_secure_zalloc(mark + pem.n + 1);
    enum pag_err err = whole == NULL ? PAG_E_NO_MEMORY : pag_fs_mkdirs(pag_key_folder(cli), 0700, &why);
    if (err == PAG_OK) {
        memcpy(whole, unprotected_mark, mark);
        memcpy(whole + mark, pem.p, pem.n);
        err = pag_fs_write(path, pag_span_of(whole, mark + pem.n), 0600, &why);
    }
    OPENSSL_secure_clear_free(whole, mark + pem.n + 1);
    if (err != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, path, &why);
    }
    return PAG_EXIT_OK;
}

static int write_public(struct pag_cli *cli, const char *name, const EVP_PKEY *pkey)
{
    struct pag_fail why = { PAG_OK, "could not be encoded", 0 };
    char *data = NULL;
    const char *path = pag_key_path(cli, name, ".pub");
    BIO *out = BIO_new(BIO_s_mem());
    enum pag_err err = PAG_E_NO_MEMORY;
    if (out != NULL && PEM_write_bio_PUBKEY(out, pkey) == 1) {
        long n = BIO_get_mem_data(out, &data);
        err = pag_fs_write(path, pag_span_of(data, (size_t)n), 0644, &why);
    }
    BIO_free(out);
    return err == PAG_OK ? PAG_EXIT_OK : pag_cli_fail_file(cli, PAG_EXIT_FAILED, path, &why);
}

int pag_key_save(struct pag_cli *cli, const char *name, const EVP_PKEY *pkey)
{
    struct pag_buf pem = { NULL, 0, 0 };
    bool plain = pag_opt_on(cli, "no-passphrase");
    guard_memory();
    if (!pag_text_name_ok(name)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "letters, digits, . _ -", "\"%s\" cannot name a key", name);
    }
    if (pag_key_exists(cli, name)) {
        return pag_cli_fail(cli, PAG_EXIT_CONFLICT, "take another name; a key is never overwritten",
                            "there is a key \"%s\" already", name);
    }
    char *secret = secret_new(cli);
    int rc = secret == NULL ? PAG_EXIT_FAILED : plain ? PAG_EXIT_OK : new_passphrase(cli, name, secret);
    if (rc == PAG_EXIT_OK && pag_x509_key_pem(pkey, plain ? NULL : secret, &pem) != PAG_OK) {
        rc = pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "the key could not be encoded");
    }
    secret_free(secret);
    if (rc == PAG_EXIT_OK) {
        rc = write_pem(cli, name, pag_buf_span(&pem), plain);
    }
    pag_fs_buf_free(&pem);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    rc = write_public(cli, name, pkey);
    if (rc != PAG_EXIT_OK) {
        /* Half a key would take the name and could not be listed; nobody has used this one yet. */
        (void)pag_fs_remove(pag_key_path(cli, name, ".pem"), NULL);
    }
    return rc;
}

static int make(struct pag_cli *cli, const char *name, uint32_t rsa_bits, struct pag_key *key)
{
    memset(key, 0, sizeof *key);
    guard_memory();
    key->pkey = rsa_bits != 0 ? pag_signing_rsa_new(rsa_bits) : pag_crypto_key_new();
    if (key->pkey == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "no key could be made");
    }
    int rc = finish(cli, name, key, true);
    if (rc == PAG_EXIT_OK) {
        rc = pag_key_save(cli, name, key->pkey);
    }
    if (rc != PAG_EXIT_OK) {
        pag_key_close(key);
    }
    return rc;
}

int pag_key_make(struct pag_cli *cli, const char *name, struct pag_key *key)
{
    return make(cli, name, 0, key);
}

int pag_key_make_rsa(struct pag_cli *cli, const char *name, uint32_t bits, struct pag_key *key)
{
    return make(cli, name, bits, key);
}

int pag_key_register(struct pag_cli *cli, const struct pag_key *key, const char *use)
{
    struct pag_answer a;
    json_t *body = pag_cli_keep(
        cli, json_pack("{s:s, s:s, s:s}", "name", key->name, "pem", pag_key_spki_pem(cli, key), "use", use));
    if (strcmp(use, "arduino") == 0 && pag_opt_on(cli, "product")) {
        (void)json_object_set_new(body, "product", json_string(pag_opt(cli, "product")));
    }
    struct pag_call call = { .method = "POST", .path = "/keys", .body = body, .silent = true };
    int rc = pag_client_call(cli, &call, &a);
    if (rc == PAG_EXIT_OK || a.status == 409) {
        return PAG_EXIT_OK;
    }
    return a.status != 0 ? pag_problem_say(cli, &call, &a)
           : a.curl != 0 ? pag_unreached_say(cli, &call, &a, rc)
                         : rc; /* said already: no server, no token */
}
