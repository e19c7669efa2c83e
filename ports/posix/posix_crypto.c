/* SHA256_Init and its kin are deprecated, yet only they run in a context that the caller places. */
#define OPENSSL_SUPPRESS_DEPRECATED 1

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <string.h>

#include "ports/posix/posix_port.h"

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct pag_sha256), "core/crypto.h reserves the room");

enum { HALF = PAG_P256_SIG_BYTES / 2 };

static void sha_begin(struct pag_sha256 *h)
{
    SHA256_CTX c;
    (void)SHA256_Init(&c);
    memcpy(h, &c, sizeof c);
}

static void sha_add(struct pag_sha256 *h, struct pag_span data)
{
    if (data.n > 0) {
        SHA256_CTX c;
        memcpy(&c, h, sizeof c);
        (void)SHA256_Update(&c, data.p, data.n);
        memcpy(h, &c, sizeof c);
    }
}

static void sha_end(struct pag_sha256 *h, uint8_t out[PAG_SHA256_BYTES])
{
    SHA256_CTX c;
    memcpy(&c, h, sizeof c);
    (void)SHA256_Final(out, &c);
}

static EVP_PKEY *public_key(const uint8_t point[PAG_P256_POINT_BYTES])
{
    uint8_t octets[1 + PAG_P256_POINT_BYTES];
    char group[] = "prime256v1";
    EVP_PKEY *key = NULL;
    octets[0] = 4; /* uncompressed, SEC 1 2.3.3 */
    memcpy(octets + 1, point, PAG_P256_POINT_BYTES);
    OSSL_PARAM params[3];
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, octets, sizeof octets);
    params[2] = OSSL_PARAM_construct_end();
    EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    bool ok = make != NULL && EVP_PKEY_fromdata_init(make) == 1 &&
              EVP_PKEY_fromdata(make, &key, EVP_PKEY_PUBLIC_KEY, params) == 1;
    EVP_PKEY_CTX_free(make);
    return ok ? key : NULL;
}

/* r||s as the DER that EVP wants; the caller frees. 0: not possible. */
static int der_signature(const uint8_t sig[PAG_P256_SIG_BYTES], uint8_t **der)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(sig, HALF, NULL);
    BIGNUM *s = BN_bin2bn(sig + HALF, HALF, NULL);
    int n = 0;
    if (pair != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(pair, r, s) == 1) {
        n = i2d_ECDSA_SIG(pair, der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(pair);
    return n > 0 ? n : 0;
}

static enum pag_err verify(const uint8_t point[PAG_P256_POINT_BYTES], const uint8_t digest[PAG_SHA256_BYTES],
                           const uint8_t sig[PAG_P256_SIG_BYTES])
{
    enum pag_err err = PAG_E_SIGNATURE;
    uint8_t *der = NULL;
    int der_n = der_signature(sig, &der);
    EVP_PKEY *key = public_key(point);
    EVP_PKEY_CTX *check = key != NULL ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    if (der_n > 0 && check != NULL && EVP_PKEY_verify_init(check) == 1 &&
        EVP_PKEY_verify(check, der, (size_t)der_n, digest, PAG_SHA256_BYTES) == 1) {
        err = PAG_OK;
    }
    EVP_PKEY_CTX_free(check);
    EVP_PKEY_free(key);
    OPENSSL_free(der);
    return err;
}

const struct pag_crypto *pag_posix_crypto(void)
{
    static const struct pag_crypto crypto = { sha_begin, sha_add, sha_end, verify };
    return &crypto;
}

static enum pag_err put_der(struct pag_buf *out, int n, uint8_t *der)
{
    enum pag_err err = PAG_E_INTERNAL;
    if (n > 0) {
        err = out->cap - out->n >= (size_t)n ? PAG_OK : PAG_E_SPACE;
    }
    if (err == PAG_OK) {
        memcpy(out->p + out->n, der, (size_t)n);
        out->n += (size_t)n;
    }
    if (der != NULL && n > 0) {
        OPENSSL_cleanse(der, (size_t)n);
    }
    OPENSSL_free(der);
    return err;
}

/* The key given, or a new one; NULL. */
static EVP_PKEY *key_of(const struct pag_buf *key_der)
{
    const uint8_t *p = key_der->p;
    return key_der->n == 0 ? EVP_EC_gen("P-256") : d2i_AutoPrivateKey(NULL, &p, (long)key_der->n);
}

enum pag_err pag_posix_make_csr(void *ctx, const char *id, struct pag_buf *key_der, struct pag_buf *csr_der)
{
    (void)ctx;
    uint8_t *key_bytes = NULL;
    uint8_t *csr_bytes = NULL;
    enum pag_err err = PAG_E_INTERNAL;
    EVP_PKEY *key = key_of(key_der);
    X509_REQ *req = X509_REQ_new();
    X509_NAME *name = X509_NAME_new();
    if (key != NULL && req != NULL && name != NULL &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)id, -1, -1, 0) == 1 &&
        X509_REQ_set_subject_name(req, name) == 1 && X509_REQ_set_version(req, 0) == 1 &&
        X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_sign(req, key, EVP_sha256()) > 0) {
        err = PAG_OK;
        if (key_der->n == 0) {
            int key_n = i2d_PrivateKey(key, &key_bytes);
            err = put_der(key_der, key_n, key_bytes);
        }
        if (err == PAG_OK) {
            int csr_n = i2d_X509_REQ(req, &csr_bytes);
            err = put_der(csr_der, csr_n, csr_bytes);
        }
    }
    X509_NAME_free(name);
    X509_REQ_free(req);
    EVP_PKEY_free(key);
    return err;
}
