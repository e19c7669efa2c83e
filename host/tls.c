#include "host/tls.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "host/tls_priv.h"

enum { TICKET_LIFE_S = 12 * 3600, CERT_LIST_BYTES = 16384 };

static const char ciphers12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
                                "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
static const char ciphers13[] = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";
static const char groups[] = "X25519:P-256:P-384:P-521";

/* A certificate beside those of other kinds of keys in ctx, with its own chain. */
static enum pag_err load_pair(SSL_CTX *ctx, const char *cert_file, const char *key_file, struct pag_fail *why)
{
    struct stat st;
    if (stat(key_file, &st) != 0) {
        return pag_fail_set(why, PAG_E_CONFIG, "TLS key file is missing", 0);
    }
    if ((st.st_mode & 077) != 0) {
        return pag_fail_set(why, PAG_E_CONFIG, "TLS key file is open to others, want mode 0600",
                            st.st_mode & 0777);
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1) {
        return pag_fail_set(why, PAG_E_CONFIG, "TLS certificate file is missing or not PEM", 0);
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1) {
        bool differs = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH ||
                       ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_TYPE_MISMATCH;
        return pag_fail_set(
            why, PAG_E_CONFIG,
            differs ? "TLS key does not belong to the certificate" : "TLS key file is not PEM", 0);
    }
    if (SSL_CTX_check_private_key(ctx) != 1) {
        return pag_fail_set(why, PAG_E_CONFIG, "TLS key does not belong to the certificate", 0);
    }
    if (X509_cmp_current_time(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx))) < 0) {
        return pag_fail_set(why, PAG_E_CONFIG, "TLS certificate has expired", 0);
    }
    return PAG_OK;
}

static enum pag_err load_identity(const struct pag_tls_config *c, SSL_CTX *ctx, struct pag_fail *why)
{
    struct stat st;
    enum pag_err err = load_pair(ctx, c->cert_file, c->key_file, why);
    bool rsa = c->rsa_cert_file != NULL && c->rsa_key_file != NULL && stat(c->rsa_cert_file, &st) == 0;
    return err == PAG_OK && rsa ? load_pair(ctx, c->rsa_cert_file, c->rsa_key_file, why) : err;
}

static bool set_protocol(SSL_CTX *ctx)
{
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                       SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                       SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_security_level(ctx, 2);
    SSL_CTX_set_max_cert_list(ctx, CERT_LIST_BYTES);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, ciphers12) == 1 && SSL_CTX_set_ciphersuites(ctx, ciphers13) == 1 &&
           SSL_CTX_set1_groups_list(ctx, groups) == 1 && SSL_CTX_set_max_early_data(ctx, 0) == 1 &&
           SSL_CTX_set_recv_max_early_data(ctx, 0) == 1 && SSL_CTX_set_num_tickets(ctx, 1) == 1;
}

static bool set_sessions(const struct pag_tls *tls, SSL_CTX *ctx)
{
    const struct pag_tls_config *c = &tls->config;
    size_t n = strlen(c->id_context);
    bool caches = c->session_cache > 0; /* OpenSSL takes 0 for unlimited */
    (void)SSL_CTX_set_session_cache_mode(ctx, caches ? SSL_SESS_CACHE_SERVER : SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_sess_set_cache_size(ctx, c->session_cache);
    (void)SSL_CTX_set_timeout(ctx, c->session_timeout_s);
    pag_tls_tickets_use(tls->tickets, ctx);
    return SSL_CTX_set_session_id_context(ctx, (const unsigned char *)c->id_context, (unsigned)n) == 1;
}

static enum pag_err context_new(struct pag_tls *tls, SSL_CTX **out, struct pag_fail *why)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || !set_protocol(ctx) || !set_sessions(tls, ctx)) {
        SSL_CTX_free(ctx);
        return pag_fail_set(why, PAG_E_TLS, "TLS context cannot be made", ERR_get_error());
    }
    enum pag_err err = load_identity(&tls->config, ctx, why);
    if (err == PAG_OK && tls->config.client_ca_file != NULL) {
        struct pag_tls_trust *trust = NULL;
        err = pag_tls_trust_new(tls->config.client_ca_file, &trust, why);
        if (err == PAG_OK) {
            pag_tls_trust_use(trust, ctx, tls);
        }
    }
    ERR_clear_error();
    if (err != PAG_OK) {
        SSL_CTX_free(ctx);
        return err;
    }
    *out = ctx;
    return PAG_OK;
}

static char *copy_text(const char *text)
{
    return text == NULL ? NULL : strdup(text);
}

static void free_text(const char *text)
{
    free((void *)(uintptr_t)text); /* NOLINT(performance-no-int-to-ptr): our own copy */
}

static enum pag_err take_config(struct pag_tls *tls, const struct pag_tls_config *config,
                                struct pag_fail *why)
{
    struct pag_tls_config *c = &tls->config;
    *c = *config;
    c->cert_file = copy_text(config->cert_file);
    c->key_file = copy_text(config->key_file);
    c->rsa_cert_file = copy_text(config->rsa_cert_file);
    c->rsa_key_file = copy_text(config->rsa_key_file);
    c->client_ca_file = copy_text(config->client_ca_file);
    c->id_context = copy_text(config->id_context == NULL ? "pagurus" : config->id_context);
    if (c->cert_file == NULL || c->key_file == NULL || c->id_context == NULL ||
        (c->client_ca_file == NULL) != (config->client_ca_file == NULL)) {
        return pag_fail_set(why, PAG_E_CONFIG, "TLS certificate and key are not configured", 0);
    }
    if (strlen(c->id_context) > SSL_MAX_SID_CTX_LENGTH) {
        return pag_fail_set(why, PAG_E_CONFIG, "TLS listener name is longer than 32 bytes", 0);
    }
    if (c->record_bytes != 0 && (c->record_bytes < 512 || c->record_bytes > 16384)) {
        return pag_fail_set(why, PAG_E_CONFIG, "TLS record size must be 512 to 16384", c->record_bytes);
    }
    c->record_bytes = c->record_bytes == 0 ? 16384 : c->record_bytes;
    c->session_timeout_s = c->session_timeout_s == 0 ? 7200 : c->session_timeout_s;
    return PAG_OK;
}

enum pag_err pag_tls_new(const struct pag_tls_config *config, struct pag_tls **out, struct pag_fail *why)
{
    struct pag_tls *tls = calloc(1, sizeof(*tls));
    if (tls == NULL || pthread_mutex_init(&tls->lock, NULL) != 0) {
        free(tls);
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for TLS", 0);
    }
    enum pag_err err = take_config(tls, config, why);
    if (err == PAG_OK) {
        tls->tickets = pag_tls_tickets_new(TICKET_LIFE_S);
        tls->bio = pag_tls_bio_method();
        err = tls->tickets == NULL || tls->bio == NULL
                  ? pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for TLS", 0)
                  : context_new(tls, &tls->ctx, why);
    }
    if (err != PAG_OK) {
        pag_tls_free(tls);
        return err;
    }
    *out = tls;
    return PAG_OK;
}

enum pag_err pag_tls_reload(struct pag_tls *tls, struct pag_fail *why)
{
    SSL_CTX *fresh = NULL;
    enum pag_err err = context_new(tls, &fresh, why);
    if (err != PAG_OK) {
        return err;
    }
    (void)pthread_mutex_lock(&tls->lock);
    SSL_CTX *old = tls->ctx;
    tls->ctx = fresh;
    (void)pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(old); /* live connections hold it on */
    return PAG_OK;
}

void pag_tls_free(struct pag_tls *tls)
{
    if (tls == NULL) {
        return;
    }
    SSL_CTX_free(tls->ctx);
    pag_tls_tickets_free(tls->tickets);
    BIO_meth_free(tls->bio);
    free_text(tls->config.cert_file);
    free_text(tls->config.key_file);
    free_text(tls->config.rsa_cert_file);
    free_text(tls->config.rsa_key_file);
    free_text(tls->config.client_ca_file);
    free_text(tls->config.id_context);
    (void)pthread_mutex_destroy(&tls->lock);
    free(tls);
}

bool pag_tls_admits(const struct pag_tls *tls, const struct pag_tls_peer *peer)
{
    return tls->config.admit == NULL || tls->config.admit(tls->config.admit_ctx, peer);
}

struct pag_tls_stats pag_tls_stats_get(const struct pag_tls *tls)
{
    return (struct pag_tls_stats){ .full = atomic_load_explicit(&tls->full, memory_order_relaxed),
                                   .resumed = atomic_load_explicit(&tls->resumed, memory_order_relaxed),
                                   .failed = atomic_load_explicit(&tls->failed, memory_order_relaxed),
                                   .probes = atomic_load_explicit(&tls->probes, memory_order_relaxed) };
}
