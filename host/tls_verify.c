#define _DEFAULT_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): timegm */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/bytes.h"
#include "host/clock.h"
#include "host/tls_priv.h"

enum { CACHE_ROWS = 4096, CACHE_WAYS = 2, DEPTH_MAX = 3, CERT_BYTES_MAX = 8192, ISSUING_MAX = 4 };

struct cached {
    uint8_t fingerprint[PAG_SHA256_BYTES];
    uint64_t until_s; /* end of the chain's validity, Unix s; 0: empty */
};

struct pag_tls_trust {
    X509_STORE *store;
    X509 *issuing[ISSUING_MAX]; /* the only certificates that may have signed a leaf */
    size_t issuing_n;
    struct pag_tls *tls;
    pthread_mutex_t lock; /* guards rows */
    struct cached rows[CACHE_ROWS][CACHE_WAYS];
};

static uint64_t now_s(void)
{
    struct pag_clock clock = pag_clock_system();
    return clock.now_unix_ms(clock.ctx) / 1000;
}

static uint64_t unix_s(const ASN1_TIME *t)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1) {
        return 0;
    }
    time_t s = timegm(&tm);
    return s < 0 ? 0 : (uint64_t)s;
}

/* ---- the trust anchor file ---- */

static enum pag_err read_anchors(struct pag_tls_trust *t, BIO *in, struct pag_fail *why)
{
    for (;;) {
        X509 *cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
        if (cert == NULL) {
            break;
        }
        bool ok = X509_STORE_add_cert(t->store, cert) == 1;
        /* A root beside an authority may sign authorities, no leaf. */
        if (t->issuing_n == 0 || (t->issuing_n < ISSUING_MAX && X509_get_pathlen(cert) == 0)) {
            t->issuing[t->issuing_n++] = cert;
        } else {
            X509_free(cert);
        }
        if (!ok) {
            return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for client CA certificates", 0);
        }
    }
    ERR_clear_error(); /* the end of a PEM file is an error to OpenSSL */
    if (t->issuing_n == 0) {
        return pag_fail_set(why, PAG_E_CONFIG, "client CA file has no certificate", 0);
    }
    return PAG_OK;
}

enum pag_err pag_tls_trust_new(const char *ca_file, struct pag_tls_trust **out, struct pag_fail *why)
{
    struct pag_tls_trust *t = calloc(1, sizeof(*t));
    if (t == NULL || pthread_mutex_init(&t->lock, NULL) != 0) {
        free(t);
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for client CA", 0);
    }
    t->store = X509_STORE_new();
    BIO *in = BIO_new_file(ca_file, "r");
    enum pag_err err = in == NULL         ? pag_fail_set(why, PAG_E_CONFIG, "client CA file is missing", 0)
                       : t->store == NULL ? pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for client CA", 0)
                                          : read_anchors(t, in, why);
    BIO_free(in);
    ERR_clear_error();
    if (err != PAG_OK) {
        pag_tls_trust_free(t);
        return err;
    }
    *out = t;
    return PAG_OK;
}

void pag_tls_trust_free(struct pag_tls_trust *t)
{
    if (t == NULL) {
        return;
    }
    X509_STORE_free(t->store);
    for (size_t i = 0; i < t->issuing_n; i++) {
        X509_free(t->issuing[i]);
    }
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- cache of chains found valid ---- */

static bool cache_has(struct pag_tls_trust *t, const uint8_t fp[PAG_SHA256_BYTES])
{
    struct cached *row = t->rows[pag_u32le(fp) % CACHE_ROWS];
    bool has = false;
    uint64_t now = now_s();
    (void)pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < CACHE_WAYS; i++) {
        has = has || (row[i].until_s > now && memcmp(row[i].fingerprint, fp, PAG_SHA256_BYTES) == 0);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return has;
}

static void cache_put(struct pag_tls_trust *t, const uint8_t fp[PAG_SHA256_BYTES], uint64_t until_s)
{
    struct cached *row = t->rows[pag_u32le(fp) % CACHE_ROWS];
    (void)pthread_mutex_lock(&t->lock);
    row[1] = row[0];
    row[0].until_s = until_s;
    memcpy(row[0].fingerprint, fp, PAG_SHA256_BYTES);
    (void)pthread_mutex_unlock(&t->lock);
}

/* ---- one certificate ---- */

static bool read_cn(X509 *cert, struct pag_tls_peer *peer)
{
    const X509_NAME *name = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0) {
        return false;
    }
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    struct pag_span cn = { ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value) };
    return pag_device_id_ok(cn) && pag_text_copy(peer->cn, sizeof(peer->cn), cn) == PAG_OK;
}

/* "urn:pagurus:<product>:<device>"; another URN is none of ours and passes. */
static bool take_uri(struct pag_span uri, struct pag_tls_peer *peer)
{
    static const char scheme[] = "urn:pagurus:";
    size_t skip = sizeof(scheme) - 1;
    if (!pag_span_starts(uri, scheme)) {
        return true;
    }
    uri = (struct pag_span){ uri.p + skip, uri.n - skip };
    size_t colon = pag_span_find(uri, 0, ':');
    struct pag_span product = { uri.p, colon };
    if (colon == uri.n || colon == 0 || colon >= sizeof(peer->product) || peer->product[0] != '\0') {
        return false;
    }
    for (size_t i = 0; i < colon; i++) {
        bool is_hex =
            (product.p[i] >= '0' && product.p[i] <= '9') || (product.p[i] >= 'a' && product.p[i] <= 'f');
        if (!is_hex) {
            return false;
        }
    }
    struct pag_span device = { uri.p + colon + 1, uri.n - colon - 1 };
    return pag_span_eq_str(device, peer->cn) &&
           pag_text_copy(peer->product, sizeof(peer->product), product) == PAG_OK;
}

static bool read_san(X509 *cert, struct pag_tls_peer *peer)
{
    bool ok = true;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; ok && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI) {
            const ASN1_STRING *uri = name->d.uniformResourceIdentifier;
            ok = take_uri((struct pag_span){ ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri) },
                          peer);
        }
    }
    GENERAL_NAMES_free(names);
    return ok;
}

bool pag_tls_peer_read(X509 *cert, struct pag_tls_peer *peer)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    int serial_n = ASN1_STRING_length(serial);
    unsigned fp_n = 0;
    if (!read_cn(cert, peer) || !read_san(cert, peer) || serial_n < 1 ||
        (size_t)serial_n > sizeof(peer->serial) ||
        X509_digest(cert, EVP_sha256(), peer->fingerprint, &fp_n) != 1) {
        return false;
    }
    memcpy(peer->serial, ASN1_STRING_get0_data(serial), (size_t)serial_n);
    peer->serial_n = (uint8_t)serial_n;
    peer->not_after = unix_s(X509_get0_notAfter(cert));
    peer->has_certificate = true;
    return true;
}

/* ---- verification of a client's chain ---- */

static bool leaf_is_fit(X509 *leaf)
{
    uint32_t flags = X509_get_extension_flags(leaf);
    uint32_t uses = X509_get_extended_key_usage(leaf); /* all ones when absent: not enough */
    /* X509_check_ca alone says no when CA:TRUE comes with a key usage that signs nothing. */
    bool is_ca = (flags & EXFLAG_CA) != 0 || X509_check_ca(leaf) != 0;
    return (flags & EXFLAG_XKUSAGE) != 0 && (uses & XKU_SSL_CLIENT) != 0 && !is_ca &&
           i2d_X509(leaf, NULL) <= CERT_BYTES_MAX;
}

static bool chain_is_ours(const struct pag_tls_trust *t, X509_STORE_CTX *xs, uint64_t *until_s)
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(xs);
    bool ours = false;
    for (size_t i = 0; sk_X509_num(chain) >= 2 && i < t->issuing_n; i++) {
        ours = ours || X509_cmp(sk_X509_value(chain, 1), t->issuing[i]) == 0;
    }
    if (!ours) {
        return false;
    }
    *until_s = UINT64_MAX;
    for (int i = 0; i < sk_X509_num(chain); i++) {
        uint64_t end = unix_s(X509_get0_notAfter(sk_X509_value(chain, i)));
        *until_s = end < *until_s ? end : *until_s;
    }
    return true;
}

static int refuse(X509_STORE_CTX *xs, int error)
{
    X509_STORE_CTX_set_error(xs, error);
    return 0;
}

static int on_verify(X509_STORE_CTX *xs, void *arg)
{
    struct pag_tls_trust *t = arg;
    X509 *leaf = X509_STORE_CTX_get0_cert(xs);
    struct pag_tls_peer peer = { 0 };
    uint64_t until_s = 0;
    if (leaf == NULL || !leaf_is_fit(leaf)) {
        return refuse(xs, X509_V_ERR_INVALID_PURPOSE);
    }
    if (!pag_tls_peer_read(leaf, &peer)) {
        return refuse(xs, X509_V_ERR_SUBJECT_ISSUER_MISMATCH);
    }
    if (cache_has(t, peer.fingerprint)) {
        X509_STORE_CTX_set_error(xs, X509_V_OK);
    } else {
        if (X509_verify_cert(xs) != 1) {
            return 0; /* the error is set */
        }
        if (!chain_is_ours(t, xs, &until_s)) {
            return refuse(xs, X509_V_ERR_CERT_UNTRUSTED);
        }
        cache_put(t, peer.fingerprint, until_s);
    }
    return pag_tls_admits(t->tls, &peer) ? 1 : refuse(xs, X509_V_ERR_CERT_REVOKED);
}

/* ---- one context ---- */

static void trust_index_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
    (void)parent;
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    pag_tls_trust_free(ptr);
}

static CRYPTO_ONCE index_once = CRYPTO_ONCE_STATIC_INIT;
static int trust_index;

static void index_make(void)
{
    trust_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, trust_index_free);
}

void pag_tls_trust_use(struct pag_tls_trust *t, SSL_CTX *ctx, struct pag_tls *tls)
{
    (void)CRYPTO_THREAD_run_once(&index_once, index_make);
    t->tls = tls;
    (void)SSL_CTX_set_ex_data(ctx, trust_index, t);
    (void)SSL_CTX_set1_verify_cert_store(ctx, t->store);
    for (size_t i = 0; i < t->issuing_n; i++) {
        (void)SSL_CTX_add_client_CA(ctx, t->issuing[i]);
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_verify_depth(ctx, DEPTH_MAX);
    SSL_CTX_set_cert_verify_callback(ctx, on_verify, t);
}
