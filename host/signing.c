#include "host/signing.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "core/bytes.h"
#include "core/image_key.h"
#include "host/crypto.h"
#include "host/x509.h"

enum { PUBLIC_MAX = 8192 };

enum pag_err pag_signing_spki(const EVP_PKEY *key, struct pag_buf *out)
{
    uint8_t *der = NULL;
    int n = i2d_PUBKEY(key, &der);
    enum pag_err err = PAG_E_UNSUPPORTED;
    if (n > 0) {
        err = pag_buf_put(out, pag_span_of(der, (size_t)n));
    }
    OPENSSL_free(der);
    return err;
}

/* With 1 everybody could sign; an even one is no key. */
static bool exponent_ok(const EVP_PKEY *key)
{
    BIGNUM *e = NULL;
    bool ok =
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_odd(e) == 1 && BN_is_one(e) == 0;
    BN_free(e);
    return ok;
}

enum pag_err pag_signing_info(const EVP_PKEY *key, struct pag_public_info *out)
{
    uint8_t room[PAG_SPKI_MAX];
    uint8_t digest[PAG_SHA256_BYTES];
    uint8_t point[PAG_P256_POINT_BYTES];
    struct pag_buf spki = { room, 0, sizeof room };
    int bits = key != NULL ? EVP_PKEY_get_bits(key) : 0;
    bool rsa = key != NULL && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
    /* OpenSSL counts significant bits: a modulus of 2048 bits may not start with zeros. */
    bool fine =
        rsa ? bits >= PAG_RSA_BITS_MIN && bits <= PAG_RSA_BITS_MAX && bits % 8 == 0 && exponent_ok(key)
            : key != NULL && pag_crypto_point(key, point) == PAG_OK;
    if (!fine || pag_signing_spki(key, &spki) != PAG_OK) {
        return PAG_E_UNSUPPORTED;
    }
    pag_sha256_of(pag_crypto_openssl(), pag_buf_span(&spki), digest);
    out->rsa = rsa;
    out->bits = (uint32_t)bits;
    memcpy(out->id, digest, sizeof out->id);
    return PAG_OK;
}

static EVP_PKEY *read_public(struct pag_span key)
{
    if (key.n == 0 || key.n > PUBLIC_MAX) {
        return NULL;
    }
    if (key.p[0] == 0x30) {
        const uint8_t *p = key.p;
        EVP_PKEY *found = d2i_PUBKEY(NULL, &p, (long)key.n);
        if (found != NULL && p != key.p + key.n) {
            EVP_PKEY_free(found);
            found = NULL;
        }
        return found;
    }
    BIO *bio = BIO_new_mem_buf(key.p, (int)key.n);
    EVP_PKEY *found = bio != NULL ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    return found;
}

EVP_PKEY *pag_signing_public(struct pag_span key)
{
    struct pag_public_info info;
    EVP_PKEY *found = read_public(key);
    ERR_clear_error();
    if (found != NULL && pag_signing_info(found, &info) != PAG_OK) {
        EVP_PKEY_free(found);
        found = NULL;
    }
    return found;
}

enum pag_err pag_signing_read(struct pag_span key, struct pag_public_info *info, struct pag_buf *spki)
{
    EVP_PKEY *found = pag_signing_public(key);
    enum pag_err err = found != NULL ? pag_signing_info(found, info) : PAG_E_SYNTAX;
    err = err == PAG_OK && spki != NULL ? pag_signing_spki(found, spki) : err;
    EVP_PKEY_free(found);
    return err;
}

/* Without a digest set, PKCS#1 v1.5 is padding alone: just the legacy form. */
static bool set_form(EVP_PKEY_CTX *ctx, bool rsa, enum pag_signature_form form)
{
    if (!rsa) {
        return form == PAG_SIGNATURE_STANDARD && EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0;
    }
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) > 0 &&
           (form == PAG_SIGNATURE_LEGACY || EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0);
}

enum pag_err pag_signing_check(struct pag_span key, enum pag_signature_form form,
                               const uint8_t digest[PAG_SHA256_BYTES], struct pag_span signature)
{
    EVP_PKEY *public = pag_signing_public(key);
    if (public == NULL) {
        return PAG_E_SYNTAX;
    }
    enum pag_err err = PAG_E_SIGNATURE;
    bool rsa = EVP_PKEY_get_base_id(public) == EVP_PKEY_RSA;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(public, NULL);
    if (ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 && set_form(ctx, rsa, form) &&
        EVP_PKEY_verify(ctx, signature.p, signature.n, digest, PAG_SHA256_BYTES) == 1) {
        err = PAG_OK;
    }
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(public);
    ERR_clear_error();
    return err;
}

enum pag_err pag_signing_make(EVP_PKEY *key, enum pag_signature_form form,
                              const uint8_t digest[PAG_SHA256_BYTES], struct pag_buf *out)
{
    struct pag_public_info info;
    uint8_t room[PAG_SIGNATURE_MAX];
    size_t n = sizeof room;
    enum pag_err err = PAG_E_CONFIG;
    if (pag_signing_info(key, &info) != PAG_OK) {
        return PAG_E_CONFIG;
    }
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    if (ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 && set_form(ctx, info.rsa, form) &&
        EVP_PKEY_sign(ctx, room, &n, digest, PAG_SHA256_BYTES) == 1) {
        err = pag_buf_put(out, pag_span_of(room, n));
    }
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return err;
}

EVP_PKEY *pag_signing_rsa_new(uint32_t bits)
{
    bool allowed = bits >= PAG_RSA_BITS_MIN && bits <= PAG_RSA_BITS_MAX && bits % 256 == 0;
    return allowed ? EVP_RSA_gen(bits) : NULL;
}

enum pag_err pag_signing_key_of_pem(struct pag_span pem, const char *passphrase, EVP_PKEY **out,
                                    struct pag_fail *why)
{
    struct pag_public_info info;
    EVP_PKEY *key = NULL;
    enum pag_err err = pag_x509_private_of_pem(pem, passphrase, &key, why);
    if (err == PAG_OK && pag_signing_info(key, &info) != PAG_OK) {
        EVP_PKEY_free(key);
        return pag_fail_set(why, PAG_E_CONFIG,
                            "private key is neither RSA of 2048 to 4096 bits nor of the curve P-256", 0);
    }
    if (err == PAG_OK) {
        *out = key;
    }
    return err;
}
