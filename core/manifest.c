#include "core/manifest.h"

#include "core/bytes.h"
#include "core/cose.h"
#include "core/manifest_fields.h"
#include "core/mem.h"

enum { PAYLOAD_MAX = PAG_MANIFEST_MAX - PAG_COSE_SIGN1_OVERHEAD };

enum pag_err pag_manifest_sign(const struct pag_crypto *crypto, const struct pag_manifest *m,
                               pag_sign_fn sign, void *ctx, struct pag_buf *out, struct pag_fail *why)
{
    struct pag_buf payload = pag_cose_payload_room(out, PAYLOAD_MAX);
    enum pag_err err = pag_manifest_payload_put(&payload, m, why);
    if (err != PAG_OK) {
        return err;
    }
    err = pag_cose_sign1_make(crypto, m->key_id, pag_buf_span(&payload), sign, ctx, out);
    return err == PAG_OK ? PAG_OK : pag_fail_set(why, err, "manifest: signing failed", 0);
}

static enum pag_err parse(struct pag_span cose, struct pag_manifest *out, struct pag_cose_sign1 *envelope,
                          struct pag_fail *why)
{
    memset(out, 0, sizeof *out);
    if (cose.n > PAG_MANIFEST_MAX) {
        return pag_fail_set(why, PAG_E_RANGE, "manifest: longer than allowed, bytes", cose.n);
    }
    enum pag_err err = pag_cose_sign1_read(cose, envelope, why);
    if (err != PAG_OK) {
        return err;
    }
    err = pag_manifest_payload_get(envelope->payload, out, why);
    if (err != PAG_OK) {
        memset(out, 0, sizeof *out);
        return err;
    }
    memcpy(out->key_id, envelope->key_id.p, PAG_KEY_ID_BYTES);
    return PAG_OK;
}

enum pag_err pag_manifest_parse(struct pag_span cose, struct pag_manifest *out, struct pag_fail *why)
{
    struct pag_cose_sign1 envelope = { 0 };
    return parse(cose, out, &envelope, why);
}

static enum pag_err check_signature(const struct pag_crypto *crypto, const struct pag_cose_sign1 *envelope,
                                    const struct pag_trust_set *trust, const struct pag_manifest *m,
                                    struct pag_fail *why)
{
    uint8_t digest[PAG_SHA256_BYTES];
    if (trust->release_threshold != 1) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED,
                            "manifest: trust set wants more than one release signature",
                            trust->release_threshold);
    }
    if (!pag_equal_ct(m->product, trust->product, PAG_PRODUCT_ID_BYTES)) {
        return pag_fail_set(why, PAG_E_PRODUCT, "manifest: trust set is for another product", trust->version);
    }
    const struct pag_trust_key *key = pag_trust_release_key(trust, m->key_id, m->kind, m->epoch);
    if (key == NULL) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "manifest: key is not trusted for this kind and epoch",
                            pag_u32be(m->key_id));
    }
    pag_cose_sign1_digest(crypto, m->key_id, envelope->payload, digest);
    if (crypto->p256_verify(key->point, digest, envelope->signature.p) != PAG_OK) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "manifest: signature is wrong", pag_u32be(m->key_id));
    }
    return PAG_OK;
}

enum pag_err pag_manifest_verify(const struct pag_crypto *crypto, struct pag_span cose,
                                 const struct pag_trust_set *trust, struct pag_manifest *out,
                                 struct pag_fail *why)
{
    struct pag_cose_sign1 envelope = { 0 };
    enum pag_err err = parse(cose, out, &envelope, why);
    if (err != PAG_OK) {
        return err;
    }
    err = check_signature(crypto, &envelope, trust, out, why);
    if (err != PAG_OK) {
        memset(out, 0, sizeof *out);
    }
    return err;
}
