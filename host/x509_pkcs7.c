#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>

#include "host/x509_priv.h"

static bool has(PKCS7 *p7, const X509 *cert)
{
    STACK_OF(X509) *have = p7->d.sign->cert;
    for (int i = 0; i < sk_X509_num(have); i++) {
        if (X509_cmp(sk_X509_value(have, i), cert) == 0) {
            return true;
        }
    }
    return false;
}

static bool add_one(PKCS7 *p7, X509 *cert)
{
    return cert != NULL && (has(p7, cert) || PKCS7_add_certificate(p7, cert) == 1);
}

static bool add_pem(PKCS7 *p7, struct pag_span pem)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    bool fine = cert != NULL;
    while (fine && cert != NULL) {
        fine = add_one(p7, cert);
        X509_free(cert);
        cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    }
    X509_free(cert);
    BIO_free(bio);
    return fine;
}

static bool add(PKCS7 *p7, struct pag_span in)
{
    if (in.n == 0 || in.p[0] != 0x30) {
        return in.n > 0 && add_pem(p7, in);
    }
    X509 *cert = pag_x509_parse(in);
    bool fine = add_one(p7, cert);
    X509_free(cert);
    return fine;
}

static enum pag_err put(PKCS7 *p7, struct pag_buf *out)
{
    int n = i2d_PKCS7(p7, NULL);
    if (n <= 0) {
        return PAG_E_INTERNAL;
    }
    if ((size_t)n > out->cap - out->n) {
        return PAG_E_SPACE;
    }
    unsigned char *at = out->p + out->n;
    out->n += (size_t)i2d_PKCS7(p7, &at);
    return PAG_OK;
}

enum pag_err pag_x509_certs_only(const struct pag_span *in, size_t n, struct pag_buf *out)
{
    PKCS7 *p7 = PKCS7_new();
    enum pag_err err = PAG_E_NO_MEMORY;
    if (p7 != NULL && PKCS7_set_type(p7, NID_pkcs7_signed) == 1 &&
        PKCS7_content_new(p7, NID_pkcs7_data) == 1 && PKCS7_set_detached(p7, 1) == 1) {
        err = PAG_OK;
    }
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        err = add(p7, in[i]) ? PAG_OK : PAG_E_SYNTAX;
    }
    err = err == PAG_OK ? put(p7, out) : err;
    PKCS7_free(p7);
    ERR_clear_error();
    return err;
}
