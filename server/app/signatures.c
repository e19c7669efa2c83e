#include <string.h>

#include "core/bytes.h"
#include "host/signing.h"
#include "server/app/check_in.h"
#include "server/app/image_check.h"
#include "server/app/release_view.h"

/* ---- whose signature is it ---- */

static const struct pag_verify_key *signer_of(const struct pag_verify_key *k, size_t n,
                                              const uint8_t digest[PAG_SHA256_BYTES],
                                              struct pag_span signature)
{
    for (size_t i = 0; i < n; i++) {
        if (pag_signing_check(k[i].spki, PAG_SIGNATURE_STANDARD, digest, signature) == PAG_OK) {
            return &k[i];
        }
    }
    return NULL;
}

static enum pag_err refuse(struct pag_call *call, const struct pag_verify_key *k, size_t n)
{
    const char *names = pag_verify_key_names(call->arena, k, n);
    if (names == NULL) {
        return PAG_E_NO_MEMORY;
    }
    if (names[0] == '\0') {
        return pag_refuse(call, PAG_E_SIGNATURE, "signature-refused",
                          "The product has no signing key; POST /keys with use arduino registers one.");
    }
    return pag_refuse(call, PAG_E_SIGNATURE, "signature-refused",
                      pag_arena_printf(call->arena,
                                       "The signature over this image is of none of the product's signing "
                                       "keys: %s.",
                                       names));
}

static const struct pag_release_image *image_named(const struct pag_release *r, const char *name)
{
    for (size_t i = 0; i < r->image_n; i++) {
        if (strcmp(r->image[i].name, name) == 0) {
            return &r->image[i];
        }
    }
    return NULL;
}

static enum pag_err find_image(struct pag_call *call, struct pag_db *db, const char *release,
                               const char *name, struct pag_release *r,
                               const struct pag_release_image **image)
{
    enum pag_err err = pag_find_release(call, db, release, r);
    *image = err == PAG_OK ? image_named(r, name) : NULL;
    return err == PAG_OK && *image == NULL
               ? pag_refuse(call, PAG_E_NOT_FOUND, "not-found", "The release has no such image.")
               : err;
}

/* ---- keeping one ---- */

static enum pag_err keep(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_signature_in *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_detached *d = op->out;
    const struct pag_release_image *image = NULL;
    struct pag_release r;
    enum pag_err err = find_image(op->call, db, in->release, in->name, &r, &image);
    d->created_ms = pag_store_tx_now(tx);
    err = err == PAG_OK ? pag_detached_put(db, image->id, d) : err;
    pag_store_tx_dirty(tx, r.product);
    return err == PAG_OK ? pag_release_audit(tx, op, &r, "release.signature") : err;
}

void pag_app_signature_put(struct pag_call *call, const struct pag_signature_in *in, struct pag_detached *out)
{
    struct pag_op *op = pag_op_new(call, in, out);
    const struct pag_release_image *image = NULL;
    struct pag_verify_key *known = NULL;
    struct pag_release r;
    size_t known_n = 0;
    if (op == NULL) {
        return;
    }
    enum pag_err err = find_image(call, call->thread->db, in->release, in->name, &r, &image);
    err = err == PAG_OK ? pag_verify_keys(call->thread->db, call->arena, r.product, &known, &known_n) : err;
    if (err == PAG_OK && in->signature.n > PAG_SIGNATURE_BYTES_MAX) {
        err = pag_refuse(call, PAG_E_SIGNATURE, "signature-refused", "A signature has at most 512 bytes.");
    }
    if (err == PAG_OK) {
        const struct pag_verify_key *k = signer_of(known, known_n, image->sha256, in->signature);
        err = k != NULL ? PAG_OK : refuse(call, known, known_n);
        if (k != NULL) {
            memcpy(out->key, k->id, sizeof out->key);
            out->signature = in->signature;
        }
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    pag_op_submit(op, keep);
}

/* ---- giving them out ---- */

enum pag_err pag_app_signatures(struct pag_call *call, const char *release, const char *name,
                                struct pag_detached **list, size_t *n)
{
    struct pag_release r;
    const struct pag_release_image *image = NULL;
    enum pag_err err = find_image(call, call->thread->db, release, name, &r, &image);
    return err == PAG_OK ? pag_detached_list(call->thread->db, call->arena, image->id, list, n) : err;
}

enum pag_err pag_app_file_signature(struct pag_call *call, const char *device, const char *product,
                                    const uint8_t sha256[PAG_SHA256_BYTES], struct pag_span *signature)
{
    struct pag_db *db = call->thread->db;
    const struct pag_catalog *c = pag_store_catalog(call->thread->reader, product);
    struct pag_detached found;
    struct pag_device d;
    const uint8_t *key = NULL;
    if (c == NULL) {
        return PAG_E_NOT_FOUND;
    }
    if (device != NULL && pag_device_get(db, NULL, device, &d) == PAG_OK && d.has_verify_key) {
        key = d.verify_key;
    }
    enum pag_err err = pag_detached_of_file(db, call->arena, c->product.id, sha256, key, &found);
    if (err == PAG_E_NOT_FOUND && key != NULL) {
        err = pag_detached_of_file(db, call->arena, c->product.id, sha256, NULL, &found);
    }
    if (err == PAG_OK) {
        *signature = found.signature;
    }
    return err;
}

enum pag_err pag_app_blob_signature(struct pag_call *call, const char *device,
                                    const uint8_t sha256[PAG_SHA256_BYTES], struct pag_span *signature)
{
    struct pag_device d;
    enum pag_err err = pag_device_get(call->thread->db, NULL, device, &d);
    err = err == PAG_OK ? pag_blob_entitled(call, &d, sha256) : err;
    return err == PAG_OK ? pag_app_file_signature(call, device, d.product, sha256, signature) : err;
}

/* ---- before publishing ---- */

static enum pag_err gate_image(struct pag_call *call, struct pag_db *db, const struct pag_release *r,
                               const struct pag_release_image *image, struct pag_gate *gate)
{
    struct pag_verify_key *known = NULL;
    struct pag_detached *list = NULL;
    size_t known_n = 0;
    size_t n = 0;
    enum pag_err err = pag_verify_keys(db, call->arena, r->product, &known, &known_n);
    err = err == PAG_OK ? pag_detached_list(db, call->arena, image->id, &list, &n) : err;
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        if (signer_of(known, known_n, image->sha256, list[i].signature) == NULL) {
            pag_release_gate_signature(image, gate);
        }
    }
    return err;
}

enum pag_err pag_signatures_gate(struct pag_call *call, struct pag_db *db, const struct pag_release *r,
                                 struct pag_gate *gate)
{
    enum pag_err err = PAG_OK;
    for (size_t i = 0; err == PAG_OK && i < r->image_n; i++) {
        if (r->image[i].detached_n > 0) {
            err = gate_image(call, db, r, &r->image[i], gate);
        }
    }
    return err;
}
