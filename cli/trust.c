#include "cli/trust.h"

#include <openssl/evp.h>
#include <string.h>

#include "cli/client.h"
#include "cli/find.h"
#include "cli/out.h"
#include "cli/settings.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "host/crypto.h"
#include "host/fs.h"

enum { SIGNERS_MAX = 2 * PAG_TRUST_ROOTS_MAX };

static const char *copy_path(struct pag_cli *cli, const json_t *product, uint32_t version)
{
    return pag_cli_text(cli, "%s/trust/%s.%u.cose", pag_conf_dir(cli), pag_out_text(product, "id"),
                        (unsigned)version);
}

static int keep_copy(struct pag_cli *cli, const json_t *product, const struct pag_trust_view *v)
{
    struct pag_fail why = { PAG_OK, "", 0 };
    const char *path = copy_path(cli, product, v->set.version);
    if (pag_fs_mkdirs(pag_cli_text(cli, "%s/trust", pag_conf_dir(cli)), 0700, &why) != PAG_OK ||
        pag_fs_write(path, v->bytes, 0644, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, path, &why);
    }
    return PAG_EXIT_OK;
}

static void set_bytes(struct pag_cli *cli, struct pag_trust_view *v, struct pag_span bytes)
{
    uint8_t *copy = pag_cli_alloc(cli, bytes.n + 1);
    memcpy(copy, bytes.p, bytes.n);
    v->bytes = pag_span_of(copy, bytes.n);
    pag_sha256_of(pag_crypto_openssl(), v->bytes, v->digest);
}

static int refused(struct pag_cli *cli, const json_t *product, uint32_t version, const struct pag_fail *why)
{
    return pag_cli_fail(
        cli, PAG_EXIT_DENIED,
        "sign nothing; find out who changed it. The last good copies are in ~/.config/pagurus/trust",
        "trust set %u of %s does not follow from the one known here: %s", (unsigned)version,
        pag_out_text(product, "name"), why->what != NULL ? why->what : pag_err_word(why->code));
}

static int fetch(struct pag_cli *cli, const json_t *product, uint32_t version, struct pag_span *bytes)
{
    struct pag_answer a;
    struct pag_call call = { .method = "GET" };
    call.path = pag_cli_text(cli, "/products/%s/trust-sets/%u",
                             pag_client_escape(cli, pag_out_text(product, "name")), (unsigned)version);
    int rc = pag_client_call(cli, &call, &a);
    *bytes = a.body;
    return rc;
}

/* The newest copy on this machine; version 0 in the set when there is none. */
static int local_newest(struct pag_cli *cli, const json_t *product, uint32_t upto, struct pag_trust_view *out)
{
    for (uint32_t v = upto + 8; v > 0; v--) {
        struct pag_buf buf = { NULL, 0, 0 };
        struct pag_fail why = { PAG_OK, NULL, 0 };
        if (!pag_fs_exists(copy_path(cli, product, v)) ||
            pag_fs_read(copy_path(cli, product, v), PAG_TRUST_MAX, &buf, &why) != PAG_OK) {
            continue;
        }
        set_bytes(cli, out, pag_buf_span(&buf));
        pag_fs_buf_free(&buf);
        if (pag_trust_parse(out->bytes, &out->set, &why) != PAG_OK) {
            return refused(cli, product, v, &why);
        }
        return PAG_EXIT_OK;
    }
    return PAG_EXIT_OK;
}

static int follow(struct pag_cli *cli, const json_t *product, struct pag_trust_view *v)
{
    struct pag_span bytes;
    struct pag_fail why = { PAG_OK, NULL, 0 };
    struct pag_trust_set *next = pag_cli_alloc(cli, sizeof *next);
    uint32_t version = v->set.version + 1;
    int rc = fetch(cli, product, version, &bytes);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const struct pag_crypto *crypto = pag_crypto_openssl();
    enum pag_err err = version == 1 ? pag_trust_accept_first(crypto, bytes, NULL, next, &why)
                                    : pag_trust_accept_next(crypto, &v->set, v->digest, bytes, next, &why);
    if (err != PAG_OK) {
        return refused(cli, product, version, &why);
    }
    v->seen_first = v->seen_first || version == 1;
    v->set = *next;
    set_bytes(cli, v, bytes);
    return keep_copy(cli, product, v);
}

int pag_trust_load(struct pag_cli *cli, const json_t *product, struct pag_trust_view *out)
{
    uint64_t newest = pag_out_number(product, "trust_version");
    char hex[65];
    memset(out, 0, sizeof *out);
    int rc = local_newest(cli, product, (uint32_t)newest, out);
    if (rc == PAG_EXIT_OK && newest == 0 && out->set.version == 0) {
        return PAG_EXIT_NOT_FOUND;
    }
    if (rc == PAG_EXIT_OK && out->set.version > newest) {
        pag_cli_warn(
            cli,
            "the server has trust set %u of %s, this machine knows %u: send it with pagurus key trust push",
            (unsigned)newest, pag_out_text(product, "name"), (unsigned)out->set.version);
    }
    while (rc == PAG_EXIT_OK && out->set.version < newest) {
        rc = follow(cli, product, out);
    }
    if (rc == PAG_EXIT_OK && out->seen_first) {
        pag_text_hex(pag_span_of(out->digest, sizeof out->digest), hex);
        pag_cli_say(cli, "trust set %u of %s seen here for the first time: sha256 %s\n",
                    (unsigned)out->set.version, pag_out_text(product, "name"), hex);
    }
    return rc;
}

/* ---- signing ---- */

static bool is_root(const struct pag_trust_set *set, const uint8_t id[PAG_KEY_ID_BYTES])
{
    for (size_t i = 0; set != NULL && i < set->root_n; i++) {
        if (memcmp(set->root[i].id, id, PAG_KEY_ID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

struct signing {
    const struct pag_trust_set *old;
    const struct pag_trust_set *set;
    struct pag_span payload;
    struct pag_trust_signature sig[SIGNERS_MAX];
    size_t n;
};

static int sign_with(struct pag_cli *cli, const char *name, struct signing *s)
{
    struct pag_key key;
    uint8_t digest[PAG_SHA256_BYTES];
    int rc = pag_key_open(cli, name, &key);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    struct pag_trust_signature *one = &s->sig[s->n];
    memcpy(one->key_id, key.id, sizeof one->key_id);
    enum pag_err err = pag_trust_signing_digest(pag_crypto_openssl(), s->payload, key.id, digest);
    if (err == PAG_OK) {
        err = pag_crypto_sign(key.pkey, digest, one->sig);
    }
    pag_key_close(&key);
    s->n++;
    return err == PAG_OK ? PAG_EXIT_OK : pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "%s could not sign", name);
}

static bool root_here(struct pag_cli *cli, const struct signing *s, const char *name)
{
    struct pag_key key;
    if (pag_key_public(cli, name, &key) != PAG_EXIT_OK) {
        return false;
    }
    bool wanted = is_root(s->old, key.id) || is_root(s->set, key.id);
    pag_key_close(&key);
    return wanted;
}

/* Every private key of this machine that is a root of the old or the new set. */
static int sign_all(struct pag_cli *cli, struct signing *s)
{
    int rc = PAG_EXIT_OK;
    for (const char **name = pag_key_names(cli); rc == PAG_EXIT_OK && *name != NULL && s->n < SIGNERS_MAX;
         name++) {
        if (root_here(cli, s, *name)) {
            rc = sign_with(cli, *name, s);
        }
    }
    return rc;
}

static int send_set(struct pag_cli *cli, const json_t *product, const struct pag_trust_view *v)
{
    struct pag_answer a;
    const char *file = pag_opt(cli, "output");
    struct pag_fail why = { PAG_OK, "", 0 };
    if (file != NULL) {
        if (pag_fs_write(file, v->bytes, 0644, &why) != PAG_OK) {
            return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
        }
        return PAG_EXIT_OK;
    }
    struct pag_call call = { .method = "PUT", .raw = v->bytes, .type = "application/cose" };
    call.path = pag_cli_text(cli, "/products/%s/trust-sets/%u",
                             pag_client_escape(cli, pag_out_text(product, "name")), (unsigned)v->set.version);
    return pag_client_call(cli, &call, &a);
}

int pag_trust_sign(struct pag_cli *cli, const json_t *product, const struct pag_trust_view *old,
                   const struct pag_trust_set *set, struct pag_trust_view *out)
{
    const struct pag_crypto *crypto = pag_crypto_openssl();
    struct pag_fail why = { PAG_OK, NULL, 0 };
    struct pag_buf payload = { pag_cli_alloc(cli, PAG_TRUST_MAX), 0, PAG_TRUST_MAX };
    struct pag_buf cose = { pag_cli_alloc(cli, PAG_TRUST_MAX), 0, PAG_TRUST_MAX };
    struct signing *s = pag_cli_alloc(cli, sizeof *s);
    struct pag_trust_set *sorted = pag_cli_alloc(cli, sizeof *sorted);
    *sorted = *set;
    pag_trust_sort(sorted);
    enum pag_err err = pag_trust_payload(sorted, &payload, &why);
    if (err != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "fewer keys, or other thresholds",
                            "the trust set cannot be made: %s",
                            why.what != NULL ? why.what : pag_err_word(err));
    }
    s->old = old == NULL ? NULL : &old->set;
    s->set = set;
    s->payload = pag_buf_span(&payload);
    int rc = sign_all(cli, s);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    memset(out, 0, sizeof *out);
    err = pag_trust_envelope(s->payload, s->sig, s->n, &cose);
    if (err == PAG_OK && old == NULL) {
        err = pag_trust_accept_first(crypto, pag_buf_span(&cose), NULL, &out->set, &why);
    } else if (err == PAG_OK) {
        err = pag_trust_accept_next(crypto, &old->set, old->digest, pag_buf_span(&cose), &out->set, &why);
    }
    if (err != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_DENIED, "the root keys must be on this machine: pagurus key list",
                            "%zu root(s) signed and devices would refuse it: %s", s->n,
                            why.what != NULL ? why.what : pag_err_word(err));
    }
    set_bytes(cli, out, pag_buf_span(&cose));
    rc = send_set(cli, product, out);
    return rc == PAG_EXIT_OK ? keep_copy(cli, product, out) : rc;
}
