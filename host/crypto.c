/* SHA256_Init and its kin are deprecated, yet only they run in a context that the caller places. */
#define OPENSSL_SUPPRESS_DEPRECATED 1

#include "host/crypto.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <string.h>

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct pag_sha256), "core/crypto.h reserves the room");

enum { HALF = PAG_P256_SIG_BYTES / 2, SIG_DER_MAX = 72 };

static void sha256_begin(struct pag_sha256 *h)
{
    (void)SHA256_Init((SHA256_CTX *)h);
}

static void sha256_add(struct pag_sha256 *h, struct pag_span data)
{
    if (data.n > 0) {
        (void)SHA256_Update((SHA256_CTX *)h, data.p, data.n);
    }
}

static void sha256_end(struct pag_sha256 *h, uint8_t out[PAG_SHA256_BYTES])
{
    (void)SHA256_Final(out, (SHA256_CTX *)h);
}

EVP_PKEY *pag_crypto_key_of_point(const uint8_t point[PAG_P256_POINT_BYTES])
{
    uint8_t sec1[1 + PAG_P256_POINT_BYTES] = { POINT_CONVERSION_UNCOMPRESSED };
    char group[] = SN_X9_62_prime256v1;
    memcpy(sec1 + 1, point, PAG_P256_POINT_BYTES);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, sec1, sizeof sec1),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        key = NULL;
    }
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* DER of r||s; 0 when it cannot be made */
static size_t sig_to_der(const uint8_t sig[PAG_P256_SIG_BYTES], uint8_t der[SIG_DER_MAX])
{
    int n = 0;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(sig, HALF, NULL);
    BIGNUM *s = BN_bin2bn(sig + HALF, HALF, NULL);
    if (pair != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = NULL;
        s = NULL;
        n = i2d_ECDSA_SIG(pair, NULL);
        if (n > 0 && n <= SIG_DER_MAX) {
            n = i2d_ECDSA_SIG(pair, &der);
        } else {
            n = 0;
        }
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return n > 0 ? (size_t)n : 0;
}

static enum pag_err p256_verify(const uint8_t point[PAG_P256_POINT_BYTES],
                                const uint8_t digest[PAG_SHA256_BYTES], const uint8_t sig[PAG_P256_SIG_BYTES])
{
    enum pag_err err = PAG_E_SIGNATURE;
    uint8_t der[SIG_DER_MAX];
    size_t der_n = sig_to_der(sig, der);
    EVP_PKEY *key = pag_crypto_key_of_point(point);
    EVP_PKEY_CTX *ctx = key == NULL ? NULL : EVP_PKEY_CTX_new(key, NULL);
    if (der_n > 0 && ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 &&
        EVP_PKEY_verify(ctx, der, der_n, digest, PAG_SHA256_BYTES) == 1) {
        err = PAG_OK;
    }
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
    return err;
}

const struct pag_crypto *pag_crypto_openssl(void)
{
    static const struct pag_crypto crypto = {
        .sha256_begin = sha256_begin,
        .sha256_add = sha256_add,
        .sha256_end = sha256_end,
        .p256_verify = p256_verify,
    };
    return &crypto;
}

static bool key_is_p256(const EVP_PKEY *key)
{
    char group[32] = { 0 };
    size_t n = 0;
    return key != NULL && EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
           EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, &n) == 1 &&
           strcmp(group, SN_X9_62_prime256v1) == 0;
}

static enum pag_err sig_from_der(const uint8_t *der, size_t der_n, uint8_t out[PAG_P256_SIG_BYTES])
{
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)der_n);
    enum pag_err err = PAG_E_INTERNAL;
    if (pair != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, HALF) == HALF &&
        BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + HALF, HALF) == HALF) {
        err = PAG_OK;
    }
    ECDSA_SIG_free(pair);
    return err;
}

enum pag_err pag_crypto_sign(void *ctx, const uint8_t digest[PAG_SHA256_BYTES],
                             uint8_t out[PAG_P256_SIG_BYTES])
{
    EVP_PKEY *key = ctx;
    uint8_t der[SIG_DER_MAX];
    size_t der_n = sizeof der;
    if (!key_is_p256(key)) {
        return PAG_E_CONFIG;
    }
    EVP_PKEY_CTX *op = EVP_PKEY_CTX_new(key, NULL);
    enum pag_err err = PAG_E_CONFIG;
    if (op != NULL && EVP_PKEY_sign_init(op) == 1 &&
        EVP_PKEY_sign(op, der, &der_n, digest, PAG_SHA256_BYTES) == 1) {
        err = sig_from_der(der, der_n, out);
    }
    EVP_PKEY_CTX_free(op);
    return err;
}

EVP_PKEY *pag_crypto_key_new(void)
{
    return EVP_EC_gen(SN_X9_62_prime256v1);
}

enum pag_err pag_crypto_point(const EVP_PKEY *key, uint8_t point[PAG_P256_POINT_BYTES])
{
    if (!key_is_p256(key)) {
        return PAG_E_CONFIG;
    }
    BIGNUM *x = NULL;
    BIGNUM *y = NULL;
    uint8_t both[PAG_P256_POINT_BYTES];
    enum pag_err err = PAG_E_CONFIG;
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) == 1 &&
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y) == 1 &&
        BN_bn2binpad(x, both, HALF) == HALF && BN_bn2binpad(y, both + HALF, HALF) == HALF) {
        memcpy(point, both, sizeof both);
        err = PAG_OK;
    }
    BN_free(x);
    BN_free(y);
    return err;
}

enum pag_err pag_crypto_key_id(const EVP_PKEY *key, uint8_t id[PAG_KEY_ID_BYTES])
{
    uint8_t point[PAG_P256_POINT_BYTES];
    enum pag_err err = pag_crypto_point(key, point);
    if (err == PAG_OK) {
        pag_key_id(pag_crypto_openssl(), point, id);
    }
    return err;
}

enum pag_err pag_crypto_spki(const EVP_PKEY *key, uint8_t out[PAG_P256_SPKI_BYTES])
{
    uint8_t point[PAG_P256_POINT_BYTES];
    enum pag_err err = pag_crypto_point(key, point);
    if (err != PAG_OK) {
        return err;
    }
    /* A key that came with a compressed point or explicit parameters is brought to the one form first. */
    EVP_PKEY *plain = pag_crypto_key_of_point(point);
    if (plain == NULL) {
        return PAG_E_CONFIG;
    }
    err = PAG_E_CONFIG;
    if (i2d_PUBKEY(plain, NULL) == PAG_P256_SPKI_BYTES) {
        err = i2d_PUBKEY(plain, &out) == PAG_P256_SPKI_BYTES ? PAG_OK : PAG_E_CONFIG;
    }
    EVP_PKEY_free(plain);
    return err;
}
