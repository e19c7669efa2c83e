#include "sim/stranger.h"

#include <openssl/evp.h>
#include <string.h>

#include "core/bytes.h"
#include "core/trust.h"
#include "host/crypto.h"

enum { EPOCH_MAX = 65536 };

static enum pag_err take_key(EVP_PKEY *key, struct pag_trust_key *out)
{
    const enum pag_err err = key != NULL ? pag_crypto_point(key, out->point) : PAG_E_NO_MEMORY;
    if (err == PAG_OK) {
        pag_key_id(pag_crypto_openssl(), out->point, out->id);
    }
    return err;
}

static enum pag_err sign_set(const struct pag_trust_set *set, EVP_PKEY *root, struct pag_buf *out)
{
    uint8_t bytes[PAG_TRUST_MAX];
    uint8_t digest[PAG_SHA256_BYTES];
    struct pag_buf payload = { bytes, 0, sizeof(bytes) };
    struct pag_trust_signature sig = { 0 };
    memcpy(sig.key_id, set->root[0].id, sizeof(sig.key_id));
    enum pag_err err = pag_trust_payload(set, &payload, NULL);
    if (err == PAG_OK) {
        err = pag_trust_signing_digest(pag_crypto_openssl(), pag_buf_span(&payload), sig.key_id, digest);
    }
    if (err == PAG_OK) {
        err = pag_crypto_sign(root, digest, sig.sig);
    }
    return err == PAG_OK ? pag_trust_envelope(pag_buf_span(&payload), &sig, 1, out) : err;
}

enum pag_err pag_sim_stranger_set(const uint8_t product[PAG_PRODUCT_ID_BYTES], struct pag_buf *out)
{
    EVP_PKEY *root = pag_crypto_key_new();
    EVP_PKEY *release = pag_crypto_key_new();
    struct pag_trust_set set = {
        .version = 1, .root_threshold = 1, .root_n = 1, .release_threshold = 1, .release_n = 1
    };
    memcpy(set.product, product, sizeof(set.product));
    set.release[0].kinds = 1;
    set.release[0].epoch_max = EPOCH_MAX;
    enum pag_err err = take_key(root, &set.root[0]);
    if (err == PAG_OK) {
        err = take_key(release, &set.release[0]);
    }
    if (err == PAG_OK) {
        err = sign_set(&set, root, out);
    }
    EVP_PKEY_free(root);
    EVP_PKEY_free(release);
    return err;
}
