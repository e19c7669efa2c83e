#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "server/store/tx.h"

enum { PEM_MAX = 8192 };

enum pag_err pag_public_key_id(struct pag_span pem, uint8_t sha256[PAG_SHA256_BYTES])
{
    if (pem.n == 0 || pem.n > PEM_MAX) {
        return PAG_E_SYNTAX;
    }
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    uint8_t *der = NULL;
    int n = key != NULL ? i2d_PUBKEY(key, &der) : -1;
    bool hashed = n > 0 && EVP_Digest(der, (size_t)n, sha256, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return hashed ? PAG_OK : PAG_E_SYNTAX;
}
