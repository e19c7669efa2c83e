#include "server/app/image_check.h"

#include <string.h>

#include "core/bytes.h"
#include "host/signing.h"

enum pag_err pag_image_check_begin(struct pag_call *call, const char *product, const char *verify_key,
                                   struct pag_image_check *c)
{
    memset(c, 0, sizeof *c);
    c->found = pag_arena_alloc(call->arena, sizeof *c->found);
    if (c->found == NULL) {
        return PAG_E_NO_MEMORY;
    }
    if (verify_key != NULL) {
        c->said.known = true;
        c->said.none = strcmp(verify_key, "none") == 0;
        if (!c->said.none &&
            pag_parse_hex(pag_span_str(verify_key), c->said.id, sizeof c->said.id) != PAG_OK) {
            return pag_refuse_field(call, "/verify_key", "16 hex digits of a key id, or none");
        }
    }
    return pag_verify_keys(call->thread->db, call->arena, product, &c->known, &c->known_n);
}

const char *pag_verify_key_names(struct pag_arena *arena, const struct pag_verify_key *k, size_t n)
{
    const char *text = "";
    for (size_t i = 0; i < n && text != NULL; i++) {
        char hex[2 * PAG_KEY_ID_BYTES];
        struct pag_buf b = { (uint8_t *)hex, 0, sizeof hex };
        (void)pag_buf_put_hex(&b, pag_span_of(k[i].id, sizeof k[i].id));
        if (k[i].registered) {
            text =
                pag_arena_printf(arena, "%s%s%s (%.16s)", text, text[0] != '\0' ? ", " : "", k[i].name, hex);
        }
    }
    return text;
}

static size_t registered_of(const struct pag_image_check *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->known_n; i++) {
        n += c->known[i].registered;
    }
    return n;
}

static bool is_rsa_of(const struct pag_verify_key *k, size_t signature_n)
{
    struct pag_span number;
    return pag_spki_number(k->spki, &number) == PAG_OK && number.n == signature_n;
}

static enum pag_err refuse_trailer(struct pag_op *op, struct pag_image_check *c, size_t signature_n)
{
    bool right_size = false;
    for (size_t i = 0; i < c->known_n; i++) {
        right_size = right_size || (c->known[i].registered && is_rsa_of(&c->known[i], signature_n));
    }
    const char *names = pag_verify_key_names(op->call->arena, c->known, c->known_n);
    c->text =
        names == NULL
            ? NULL
            : pag_arena_printf(
                  op->call->arena,
                  right_size ? "The signature behind the image (RSA of %zu bits) is of none of the product's "
                               "signing keys: %s. Devices would refuse the image."
                             : "The signature behind the image is of an RSA key of %zu bits; the product's "
                               "signing keys are of another size: %s.",
                  signature_n * 8, names);
    return c->text != NULL ? PAG_E_SIGNATURE : PAG_E_NO_MEMORY;
}

enum pag_err pag_image_check_trailer(struct pag_op *op, struct pag_image_check *c, struct pag_span payload,
                                     struct pag_span signature, struct pag_release_image *image)
{
    uint8_t digest[PAG_SHA256_BYTES];
    pag_sha256_of(op->call->thread->app->config.crypto, payload, digest);
    image->trailer = true;
    for (size_t i = 0; i < 2 * c->known_n; i++) {
        const struct pag_verify_key *k = &c->known[i / 2];
        enum pag_signature_form form = i % 2 == 0 ? PAG_SIGNATURE_STANDARD : PAG_SIGNATURE_LEGACY;
        if (is_rsa_of(k, signature.n) && pag_signing_check(k->spki, form, digest, signature) == PAG_OK) {
            image->has_signed_by = true;
            memcpy(image->signed_by, k->id, sizeof image->signed_by);
            image->trailer_legacy = form == PAG_SIGNATURE_LEGACY;
            return PAG_OK;
        }
    }
    return registered_of(c) > 0 ? refuse_trailer(op, c, signature.n) : PAG_OK;
}

enum pag_err pag_image_check_keys(struct pag_op *op, struct pag_image_check *c, struct pag_span plain,
                                  struct pag_release_image *image)
{
    struct pag_fail why = { 0 };
    pag_image_keys_find(op->call->thread->app->config.crypto, plain, c->found);
    const struct pag_key_search search = {
        .payload = plain, .found = c->found, .known = c->known, .known_n = c->known_n, .said = c->said
    };
    enum pag_err err = pag_image_keys_choose(&search, image, &why);
    c->text = why.what;
    return err;
}

/* The key the image carries in another form than text or DER is one of those that are known. */
static enum pag_err keep_known(struct pag_db *db, const struct pag_image_check *c, const char *product,
                               const struct pag_release_image *image)
{
    for (size_t i = 0; image->has_embedded_key && i < c->known_n; i++) {
        const struct pag_verify_key *k = &c->known[i];
        if (memcmp(k->id, image->embedded_key, sizeof k->id) == 0) {
            return pag_image_key_insert(db, product, image->id, k->id, k->spki);
        }
    }
    return PAG_OK;
}

enum pag_err pag_image_check_keep(struct pag_db *db, const struct pag_image_check *c, const char *product,
                                  const struct pag_release_image *image)
{
    enum pag_err err = keep_known(db, c, product, image);
    for (size_t i = 0; err == PAG_OK && i < c->found->n && i < PAG_FOUND_KEYS_MAX; i++) {
        const struct pag_image_key *k = &c->found->key[i];
        err = pag_image_key_insert(db, product, image->id, k->id, pag_span_of(k->spki, k->spki_n));
    }
    if (err == PAG_OK && image->has_signed_by) {
        err = pag_image_signature_insert(db, image->id, image->signed_by);
    }
    return err;
}
