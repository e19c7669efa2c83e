#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): memmem */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "host/crypto.h"
#include "host/fs.h"
#include "host/unconst.h"
#include "host/x509_priv.h"

enum { ITERATIONS = 600000, KEY_FILE_MAX = 16384 };

enum pag_err pag_x509_drain(BIO *bio, struct pag_buf *out)
{
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    if (n < 0 || (size_t)n > out->cap - out->n) {
        return PAG_E_SPACE;
    }
    memcpy(out->p + out->n, p, (size_t)n);
    out->n += (size_t)n;
    return PAG_OK;
}

enum pag_err pag_x509_drain_new(BIO *bio, struct pag_buf *out)
{
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    struct pag_buf buf = { NULL, 0, (size_t)(n < 0 ? 0 : n) + 1 };
    buf.p = calloc(1, buf.cap);
    if (buf.p == NULL) {
        return PAG_E_NO_MEMORY;
    }
    memcpy(buf.p, p, buf.cap - 1);
    buf.n = buf.cap - 1;
    *out = buf;
    return PAG_OK;
}

static bool write_encrypted(BIO *bio, const EVP_PKEY *key, const char *passphrase)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    X509_ALGOR *pbe = PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), ITERATIONS, NULL, 0, NULL, NID_hmacWithSHA256);
    X509_SIG *p8 = NULL;
    if (info != NULL && pbe != NULL) {
        p8 = PKCS8_set0_pbe(passphrase, (int)strlen(passphrase), info, pbe); /* owns pbe when it worked */
    }
    bool fine = p8 != NULL && PEM_write_bio_PKCS8(bio, p8) == 1;
    if (p8 == NULL) {
        X509_ALGOR_free(pbe);
    }
    X509_SIG_free(p8);
    PKCS8_PRIV_KEY_INFO_free(info);
    return fine;
}

enum pag_err pag_x509_key_pem(const EVP_PKEY *key, const char *passphrase, struct pag_buf *out)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    if (bio == NULL) {
        return PAG_E_NO_MEMORY;
    }
    bool fine = passphrase != NULL ? write_encrypted(bio, key, passphrase)
                                   : PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
    enum pag_err err = fine ? pag_x509_drain_new(bio, out) : PAG_E_CONFIG;
    BIO_free(bio);
    ERR_clear_error();
    return err;
}

enum pag_err pag_x509_key_save(const EVP_PKEY *key, const char *path, const char *passphrase,
                               struct pag_fail *why)
{
    struct pag_buf pem = { NULL, 0, 0 };
    enum pag_err err = pag_x509_key_pem(key, passphrase, &pem);
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "cannot encode private key", 0);
    }
    err = pag_fs_write(path, (struct pag_span){ pem.p, pem.n }, 0600, why);
    pag_fs_buf_free(&pem);
    return err;
}

/* Never asks on a terminal, which OpenSSL does without a callback. */
static int give_passphrase(char *out, int cap, int writing, void *ctx)
{
    (void)writing;
    const char *passphrase = ctx;
    size_t n = passphrase == NULL ? 0 : strlen(passphrase);
    if (passphrase == NULL || n > (size_t)cap) {
        return -1;
    }
    memcpy(out, passphrase, n); /* NOLINT(bugprone-not-null-terminated-result): the length is returned */
    return (int)n;
}

enum pag_err pag_x509_private_of_pem(struct pag_span pem, const char *passphrase, EVP_PKEY **out,
                                     struct pag_fail *why)
{
    BIO *bio = pem.n > KEY_FILE_MAX ? NULL : BIO_new_mem_buf(pem.p, (int)pem.n);
    if (bio == NULL) {
        return pag_fail_set(why, PAG_E_LIMIT, "too long for a private key", pem.n);
    }
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, pag_unconst(passphrase));
    BIO_free(bio);
    ERR_clear_error();
    if (key == NULL) {
        static const char mark[] = "ENCRYPTED";
        bool encrypted = memmem(pem.p, pem.n, mark, sizeof mark - 1) != NULL;
        return encrypted ? pag_fail_set(why, PAG_E_DENIED, "private key: wrong passphrase, or damaged", 0)
                         : pag_fail_set(why, PAG_E_CONFIG, "not a private key in PEM", 0);
    }
    *out = key;
    return PAG_OK;
}

enum pag_err pag_x509_key_of_pem(struct pag_span pem, const char *passphrase, EVP_PKEY **out,
                                 struct pag_fail *why)
{
    uint8_t spki[PAG_P256_SPKI_BYTES];
    EVP_PKEY *key = NULL;
    enum pag_err err = pag_x509_private_of_pem(pem, passphrase, &key, why);
    if (err != PAG_OK) {
        return err;
    }
    if (pag_crypto_spki(key, spki) != PAG_OK) {
        EVP_PKEY_free(key);
        return pag_fail_set(why, PAG_E_CONFIG, "private key is not of the curve P-256", 0);
    }
    *out = key;
    return PAG_OK;
}

enum pag_err pag_x509_key_load(const char *path, const char *passphrase, EVP_PKEY **out, struct pag_fail *why)
{
    struct pag_buf pem = { NULL, 0, 0 };
    enum pag_err err = pag_fs_private(path, why);
    if (err == PAG_OK) {
        err = pag_fs_read(path, KEY_FILE_MAX, &pem, why);
    }
    if (err == PAG_OK) {
        err = pag_x509_key_of_pem((struct pag_span){ pem.p, pem.n }, passphrase, out, why);
    }
    pag_fs_buf_free(&pem);
    return err;
}

EVP_PKEY *pag_x509_key_new(bool rsa)
{
    EVP_PKEY *key = rsa ? EVP_RSA_gen(PAG_X509_RSA_BITS) : pag_crypto_key_new();
    ERR_clear_error();
    return key;
}

void pag_x509_key_free(EVP_PKEY *key)
{
    EVP_PKEY_free(key);
}

enum pag_err pag_x509_key_sha256(const EVP_PKEY *key, uint8_t out[PAG_SHA256_BYTES])
{
    unsigned char *spki = NULL;
    int n = i2d_PUBKEY(key, &spki);
    if (n > 0) {
        (void)SHA256(spki, (size_t)n, out);
    }
    OPENSSL_free(spki);
    ERR_clear_error();
    return n > 0 ? PAG_OK : PAG_E_CONFIG;
}
