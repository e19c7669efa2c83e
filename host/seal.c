#include "host/seal.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "core/bytes.h"
#include "host/fs.h"
#include "host/rand.h"

enum { NONCE = 12, TAG = 16, SECRET_MAX = 1 << 20 };

static bool begin(EVP_CIPHER_CTX *c, bool seal, const uint8_t *key, const uint8_t *nonce,
                  struct pag_span bound)
{
    int n = 0;
    return EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce, seal ? 1 : 0) == 1 &&
           (bound.n == 0 || EVP_CipherUpdate(c, NULL, &n, bound.p, (int)bound.n) == 1);
}

enum pag_err pag_seal(const uint8_t key[PAG_SEAL_KEY_BYTES], struct pag_span bound, struct pag_span secret,
                      struct pag_buf *out)
{
    int n = 0;
    int end = 0;
    if (secret.n > SECRET_MAX || bound.n > SECRET_MAX) {
        return PAG_E_LIMIT;
    }
    if (out->cap - out->n < secret.n + PAG_SEAL_EXTRA) {
        return PAG_E_SPACE;
    }
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    uint8_t *at = out->p + out->n;
    pag_rand_bytes(at, NONCE);
    bool fine = c != NULL && begin(c, true, key, at, bound) &&
                EVP_CipherUpdate(c, at + NONCE, &n, secret.p, (int)secret.n) == 1 &&
                EVP_CipherFinal_ex(c, at + NONCE + n, &end) == 1 &&
                EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, at + NONCE + secret.n) == 1;
    EVP_CIPHER_CTX_free(c);
    ERR_clear_error();
    out->n += fine ? secret.n + PAG_SEAL_EXTRA : 0;
    return fine ? PAG_OK : PAG_E_INTERNAL;
}

enum pag_err pag_unseal(const uint8_t key[PAG_SEAL_KEY_BYTES], struct pag_span bound, struct pag_span sealed,
                        struct pag_buf *out)
{
    uint8_t tag[TAG];
    int n = 0;
    int end = 0;
    if (sealed.n < PAG_SEAL_EXTRA || sealed.n > SECRET_MAX || bound.n > SECRET_MAX) {
        return PAG_E_DIGEST;
    }
    size_t secret_n = sealed.n - PAG_SEAL_EXTRA;
    if (out->cap - out->n < secret_n) {
        return PAG_E_SPACE;
    }
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    uint8_t *at = out->p + out->n;
    memcpy(tag, sealed.p + NONCE + secret_n, TAG);
    bool fine = c != NULL && begin(c, false, key, sealed.p, bound) &&
                EVP_CipherUpdate(c, at, &n, sealed.p + NONCE, (int)secret_n) == 1 &&
                EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1 &&
                EVP_CipherFinal_ex(c, at + n, &end) == 1;
    EVP_CIPHER_CTX_free(c);
    ERR_clear_error();
    if (!fine) {
        memset(at, 0, secret_n);
        return PAG_E_DIGEST;
    }
    out->n += secret_n;
    return PAG_OK;
}

static enum pag_err make(const char *path, uint8_t key[PAG_SEAL_KEY_BYTES], struct pag_fail *why)
{
    uint8_t text[2 * PAG_SEAL_KEY_BYTES + 1];
    struct pag_buf buf = { text, 0, sizeof text };
    pag_rand_bytes(key, PAG_SEAL_KEY_BYTES);
    (void)pag_buf_put_hex(&buf, pag_span_of(key, PAG_SEAL_KEY_BYTES));
    (void)pag_buf_put_u8(&buf, '\n');
    enum pag_err err = pag_fs_write(path, pag_buf_span(&buf), 0600, why);
    memset(text, 0, sizeof text);
    return err;
}

enum pag_err pag_seal_key_file(const char *path, uint8_t key[PAG_SEAL_KEY_BYTES], struct pag_fail *why)
{
    struct pag_buf text = { NULL, 0, 0 };
    if (!pag_fs_exists(path)) {
        return make(path, key, why);
    }
    enum pag_err err = pag_fs_private(path, why);
    err = err == PAG_OK ? pag_fs_read(path, 256, &text, why) : err;
    if (err == PAG_OK && (text.n < 2 * (size_t)PAG_SEAL_KEY_BYTES ||
                          pag_parse_hex(pag_span_of(text.p, 2 * (size_t)PAG_SEAL_KEY_BYTES), key,
                                        PAG_SEAL_KEY_BYTES) != PAG_OK)) {
        err = pag_fail_set(why, PAG_E_CONFIG, "not a key of 64 hex digits", text.n);
    }
    pag_fs_buf_free(&text);
    return err;
}
