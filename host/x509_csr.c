#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <string.h>

#include "host/crypto.h"
#include "host/unconst.h"
#include "host/x509_priv.h"

enum { CSR_MAX = 4096 };

/* The key as exactly the 91 bytes of RFC 5480 with a named curve and an uncompressed point: no second
 * encoding of one key, so that its hash is unique. OpenSSL has checked that the point is on the curve. */
static enum pag_err plain_p256(X509_REQ *req, uint8_t spki[PAG_P256_SPKI_BYTES], struct pag_fail *why)
{
    unsigned char *der = NULL;
    const EVP_PKEY *key = X509_REQ_get0_pubkey(req);
    if (key == NULL || pag_crypto_spki(key, spki) != PAG_OK) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "request's key is not a point of P-256", 0);
    }
    int n = i2d_X509_PUBKEY(X509_REQ_get_X509_PUBKEY(req), &der);
    bool same = n == PAG_P256_SPKI_BYTES && memcmp(der, spki, PAG_P256_SPKI_BYTES) == 0;
    OPENSSL_free(der);
    return same ? PAG_OK : pag_fail_set(why, PAG_E_UNSUPPORTED, "request's key is not in its plain form", 0);
}

/* Two encodings of one RSA key that OpenSSL reads as the same have one hash (pag_x509_key_sha256). */
static bool is_rsa2048(X509_REQ *req)
{
    const EVP_PKEY *key = X509_REQ_get0_pubkey(req);
    return key != NULL && EVP_PKEY_is_a(key, "RSA") == 1 && EVP_PKEY_get_bits(key) == PAG_X509_RSA_BITS;
}

static bool signed_with_sha2(const X509_REQ *req)
{
    switch (X509_REQ_get_signature_nid(req)) {
    case NID_ecdsa_with_SHA256:
    case NID_ecdsa_with_SHA384:
    case NID_ecdsa_with_SHA512:
    case NID_sha256WithRSAEncryption:
    case NID_sha384WithRSAEncryption:
    case NID_sha512WithRSAEncryption:
        return true;
    default:
        return false;
    }
}

static enum pag_err check(X509_REQ *req, bool rsa, struct pag_fail *why)
{
    uint8_t spki[PAG_P256_SPKI_BYTES];
    enum pag_err err = PAG_OK;
    if (rsa && EVP_PKEY_is_a(X509_REQ_get0_pubkey(req), "RSA") == 1) {
        err = is_rsa2048(req)
                  ? PAG_OK
                  : pag_fail_set(why, PAG_E_UNSUPPORTED, "request's RSA key is not of 2048 bits", 0);
    } else {
        err = plain_p256(req, spki, why);
    }
    if (err != PAG_OK) {
        return err;
    }
    if (!signed_with_sha2(req)) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "request is not signed with SHA-2",
                            (uint64_t)X509_REQ_get_signature_nid(req));
    }
    if (X509_REQ_verify(req, X509_REQ_get0_pubkey(req)) != 1) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "request is not signed by its own key", 0);
    }
    return PAG_OK;
}

enum pag_err pag_x509_csr_parse(struct pag_span csr, bool rsa, X509_REQ **out, struct pag_fail *why)
{
    uint8_t space[CSR_MAX];
    struct pag_buf der = { space, 0, sizeof space };
    if (csr.n > CSR_MAX) {
        return pag_fail_set(why, PAG_E_LIMIT, "request is longer than 4096 bytes", csr.n);
    }
    if (csr.n > 0 && csr.p[0] != 0x30) {
        if (pag_x509_der_of_pem("CERTIFICATE REQUEST", csr, &der) != PAG_OK) {
            return pag_fail_set(why, PAG_E_SYNTAX, "neither DER nor PEM of a certificate request", 0);
        }
        csr = (struct pag_span){ der.p, der.n };
    }
    const unsigned char *at = csr.p;
    X509_REQ *req = csr.n == 0 ? NULL : d2i_X509_REQ(NULL, &at, (long)csr.n);
    enum pag_err err = PAG_OK;
    if (req == NULL || at != csr.p + csr.n) {
        err = pag_fail_set(why, PAG_E_SYNTAX, "not a certificate request", 0);
    } else {
        err = check(req, rsa, why);
    }
    ERR_clear_error();
    if (err != PAG_OK) {
        X509_REQ_free(req);
        return err;
    }
    *out = req;
    return PAG_OK;
}

enum pag_err pag_x509_csr_key(struct pag_span csr, bool rsa, uint8_t key_sha256[PAG_SHA256_BYTES],
                              bool *is_rsa, struct pag_fail *why)
{
    X509_REQ *req = NULL;
    enum pag_err err = pag_x509_csr_parse(csr, rsa, &req, why);
    if (err == PAG_OK) {
        err = pag_x509_key_sha256(X509_REQ_get0_pubkey(req), key_sha256);
        *is_rsa = is_rsa2048(req);
    }
    X509_REQ_free(req);
    return err;
}

enum pag_err pag_x509_csr_check(struct pag_span csr, uint8_t key_sha256[PAG_SHA256_BYTES],
                                struct pag_fail *why)
{
    bool is_rsa = false;
    return pag_x509_csr_key(csr, false, key_sha256, &is_rsa, why);
}

enum pag_err pag_x509_csr_make(const EVP_PKEY *key, const char *cn, struct pag_buf *der)
{
    X509_REQ *req = X509_REQ_new();
    EVP_PKEY *mine = pag_unconst(key); /* OpenSSL takes a plain pointer and changes only the count */
    if (req == NULL) {
        return PAG_E_NO_MEMORY;
    }
    bool fine = X509_REQ_set_version(req, 0) == 1 && X509_REQ_set_pubkey(req, mine) == 1 &&
                X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(req), NID_commonName, MBSTRING_UTF8,
                                           (const unsigned char *)cn, -1, -1, 0) == 1 &&
                X509_REQ_sign(req, mine, EVP_sha256()) > 0;
    int n = fine ? i2d_X509_REQ(req, NULL) : -1;
    enum pag_err err = n > 0 ? PAG_OK : PAG_E_CONFIG;
    if (n > 0 && (size_t)n > der->cap - der->n) {
        err = PAG_E_SPACE;
    }
    if (err == PAG_OK) {
        unsigned char *at = der->p + der->n;
        der->n += (size_t)i2d_X509_REQ(req, &at);
    }
    X509_REQ_free(req);
    ERR_clear_error();
    return err;
}
