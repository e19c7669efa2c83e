#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "host/clock.h"
#include "host/tls_priv.h"

enum { KEYS = 3, NAME_BYTES = 16, IV_BYTES = 16 };

struct ticket_key {
    uint8_t name[NAME_BYTES];
    uint8_t aes[32];
    uint8_t hmac[32];
    uint64_t made_ms; /* 0: empty */
};

struct pag_tls_tickets {
    pthread_mutex_t lock;
    uint64_t life_ms;            /* a key seals for a life and opens for two more */
    struct ticket_key key[KEYS]; /* newest first */
    EVP_CIPHER *cipher;
};

static bool key_make(struct ticket_key *k, uint64_t now_ms)
{
    k->made_ms = now_ms;
    return RAND_bytes(k->name, sizeof(k->name)) == 1 && RAND_priv_bytes(k->aes, sizeof(k->aes)) == 1 &&
           RAND_priv_bytes(k->hmac, sizeof(k->hmac)) == 1;
}

static uint64_t now(void)
{
    struct pag_clock clock = pag_clock_system();
    return clock.now_ms(clock.ctx) + 1;
}

struct pag_tls_tickets *pag_tls_tickets_new(uint32_t life_s)
{
    struct pag_tls_tickets *t = calloc(1, sizeof(*t));
    if (t == NULL || pthread_mutex_init(&t->lock, NULL) != 0) {
        free(t);
        return NULL;
    }
    t->life_ms = (uint64_t)life_s * 1000;
    t->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (t->cipher == NULL || !key_make(&t->key[0], now())) {
        pag_tls_tickets_free(t);
        return NULL;
    }
    return t;
}

void pag_tls_tickets_free(struct pag_tls_tickets *t)
{
    if (t == NULL) {
        return;
    }
    OPENSSL_cleanse(t->key, sizeof(t->key));
    EVP_CIPHER_free(t->cipher);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

/* A copy of the key that seals now, or of the one with that name. */
static bool key_get(struct pag_tls_tickets *t, const uint8_t *name, struct ticket_key *out, bool *newest)
{
    bool found = false;
    uint64_t now_ms = now();
    (void)pthread_mutex_lock(&t->lock);
    if (now_ms - t->key[0].made_ms >= t->life_ms) {
        struct ticket_key fresh;
        if (key_make(&fresh, now_ms)) { /* else the old one serves on */
            memmove(&t->key[1], &t->key[0], sizeof(t->key[0]) * (KEYS - 1));
            t->key[0] = fresh;
        }
    }
    for (size_t i = 0; i < KEYS && !found; i++) {
        const struct ticket_key *k = &t->key[i];
        bool alive = k->made_ms != 0 && now_ms - k->made_ms < t->life_ms * KEYS;
        found = alive && (name == NULL || memcmp(name, k->name, NAME_BYTES) == 0);
        if (found) {
            *out = *k;
            *newest = i == 0;
        }
    }
    (void)pthread_mutex_unlock(&t->lock);
    return found;
}

static bool mac_begin(EVP_MAC_CTX *mac, struct ticket_key *k)
{
    static char digest[] = "SHA256";
    OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->hmac, sizeof(k->hmac)),
                            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                            OSSL_PARAM_construct_end() };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 0 unknown key, 1 fine, 2 fine but issue a new ticket, -1 error. */
static int on_ticket(SSL *ssl, unsigned char name[NAME_BYTES], unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int sealing)
{
    struct pag_tls_tickets *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ticket_key k;
    bool newest = false;
    if (!key_get(t, sealing ? NULL : name, &k, &newest)) {
        return sealing ? -1 : 0;
    }
    int answer = newest ? 1 : 2;
    if (sealing) {
        memcpy(name, k.name, NAME_BYTES);
        if (RAND_bytes(iv, IV_BYTES) != 1 || EVP_EncryptInit_ex2(cipher, t->cipher, k.aes, iv, NULL) != 1) {
            answer = -1;
        }
    } else if (EVP_DecryptInit_ex2(cipher, t->cipher, k.aes, iv, NULL) != 1) {
        answer = -1;
    }
    if (!mac_begin(mac, &k)) {
        answer = -1;
    }
    OPENSSL_cleanse(&k, sizeof(k));
    return answer;
}

void pag_tls_tickets_use(struct pag_tls_tickets *t, SSL_CTX *ctx)
{
    (void)SSL_CTX_set_app_data(ctx, t);
    (void)SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}
