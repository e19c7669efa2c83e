#include "sim/board.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "core/bytes.h"
#include "host/crypto.h"
#include "host/rand.h"
#include "ports/posix/posix_port.h"

enum {
    RSSI_DBM = -61,
    FREE_HEAP = 31000,
    CORRUPT_FROM = 512, /* bytes of a piece: of a body, not of a head */
};

/* ---- flash ---- */

static enum pag_err flash_erase(void *ctx, enum pag_area area, uint32_t off, uint32_t n)
{
    struct pag_sim_device *d = ctx;
    return pag_sim_flash_erase(&d->flash, area, off, n);
}

static enum pag_err flash_program(void *ctx, enum pag_area area, uint32_t off, struct pag_span data)
{
    struct pag_sim_device *d = ctx;
    return pag_sim_flash_program(&d->flash, area, off, data);
}

static enum pag_err flash_read(void *ctx, enum pag_area area, uint32_t off, uint8_t *out, uint32_t n)
{
    struct pag_sim_device *d = ctx;
    return pag_sim_flash_read(&d->flash, area, off, out, n);
}

/* ---- connections ---- */

/* A session belongs to the certificate that opened it: none while the device has none. */
static unsigned session_slot(const struct pag_sim_device *d, uint16_t port, const struct pag_net_trust *trust)
{
    if (trust == NULL || trust->certificate.n == 0) {
        return PAG_SIM_SESSIONS;
    }
    return port == d->world->options->port ? 0 : 1;
}

static enum pag_err net_open(void *ctx, const char *host, uint16_t port, const struct pag_net_trust *trust,
                             struct pag_conn *out)
{
    struct pag_sim_device *d = ctx;
    size_t i = 0;
    while (i < PAG_SIM_CONNS_MAX && d->conn[i] != NULL) {
        i++;
    }
    if (i == PAG_SIM_CONNS_MAX) {
        return PAG_E_NO_MEMORY;
    }
    const enum pag_err err = pag_sim_net_open(&d->world->net, host, port, trust, &d->shape, &d->conn[i]);
    (void)snprintf(d->last_where, sizeof(d->last_where), "%s:%u", host, (unsigned)port);
    (void)snprintf(d->last_why, sizeof(d->last_why), "%s", err == PAG_OK ? "" : d->world->net.why);
    if (err == PAG_OK) {
        d->conn[i]->session_slot = session_slot(d, port, trust);
        if (d->conn[i]->session_slot < PAG_SIM_SESSIONS) {
            pag_sim_conn_resume(d->conn[i], d->session[d->conn[i]->session_slot]);
        }
        pag_sim_conn_on_wake(d->conn[i], pag_sim_board_wake, d);
        out->p = d->conn[i];
    }
    return err;
}

static enum pag_err note(struct pag_sim_device *d, const struct pag_sim_conn *c, enum pag_err err)
{
    if (err != PAG_OK && err != PAG_E_AGAIN) {
        (void)snprintf(d->last_why, sizeof(d->last_why), "%s", d->world->net.why);
    }
    if (err != PAG_OK && c->turned_away) {
        d->denials++;
    }
    return err;
}

static enum pag_err net_ready(void *ctx, struct pag_conn *c)
{
    return note(ctx, c->p, pag_sim_conn_ready(c->p));
}

/* Flips a bit of what a download brings, once in a device's life. */
static void corrupt(struct pag_sim_device *d, uint8_t *out, size_t n)
{
    if (!d->corrupt_now || n < CORRUPT_FROM) {
        return;
    }
    d->corrupt_now = false;
    d->corruptions++;
    out[pag_sim_random(d->world, (uint32_t)n)] ^= (uint8_t)(1U << pag_sim_random(d->world, 8));
}

static enum pag_err net_read(void *ctx, struct pag_conn *c, uint8_t *out, size_t *n)
{
    const enum pag_err err = pag_sim_conn_read(c->p, out, n);
    if (err == PAG_OK) {
        corrupt(ctx, out, *n);
    }
    return note(ctx, c->p, err);
}

static enum pag_err net_write(void *ctx, struct pag_conn *c, const uint8_t *data, size_t *n)
{
    return note(ctx, c->p, pag_sim_conn_write(c->p, data, n));
}

static void forget(struct pag_sim_device *d, const struct pag_sim_conn *c)
{
    for (size_t i = 0; i < PAG_SIM_CONNS_MAX; i++) {
        d->conn[i] = d->conn[i] == c ? NULL : d->conn[i];
    }
}

static void keep_session(struct pag_sim_device *d, struct pag_sim_conn *c)
{
    SSL_SESSION *session = c->session_slot < PAG_SIM_SESSIONS ? pag_sim_conn_session(c) : NULL;
    if (session != NULL) {
        SSL_SESSION_free(d->session[c->session_slot]);
        d->session[c->session_slot] = session;
    }
}

static void net_close(void *ctx, struct pag_conn *c)
{
    if (c->p != NULL) {
        keep_session(ctx, c->p);
    }
    forget(ctx, c->p);
    pag_sim_conn_close(c->p, false);
    c->p = NULL;
}

void pag_sim_board_cut(struct pag_sim_device *d)
{
    for (size_t i = 0; i < PAG_SIM_CONNS_MAX; i++) {
        pag_sim_conn_close(d->conn[i], true);
        d->conn[i] = NULL;
    }
    for (size_t i = 0; i < PAG_SIM_SESSIONS; i++) {
        SSL_SESSION_free(d->session[i]);
        d->session[i] = NULL;
    }
}

void pag_sim_board_wake(void *device)
{
    struct pag_sim_device *d = device;
    pag_loop_timer(d->world->loop, &d->timer, 0);
}

/* ---- the rest ---- */

static uint32_t now_ms(void *ctx)
{
    const struct pag_sim_device *d = ctx;
    return (uint32_t)pag_loop_now_ms(d->world->loop);
}

static uint64_t now_unix_s(void *ctx)
{
    (void)ctx;
    const struct pag_clock clock = pag_clock_system();
    return clock.now_unix_ms(clock.ctx) / 1000;
}

static void random_bytes(void *ctx, uint8_t *out, size_t n)
{
    (void)ctx;
    pag_rand_bytes(out, n);
}

static void feed_watchdog(void *ctx)
{
    (void)ctx;
}

static void log_event(void *ctx, const char *event, const char *text, int64_t value)
{
    struct pag_sim_device *d = ctx;
    if (d->world->options->verbose) {
        (void)fprintf(stderr, "%s %s %s %lld\n", d->id, event, text != NULL ? text : "", (long long)value);
    }
}

static int32_t rssi_dbm(void *ctx)
{
    (void)ctx;
    return RSSI_DBM;
}

static uint32_t free_heap(void *ctx)
{
    (void)ctx;
    return FREE_HEAP;
}

void pag_sim_board_init(struct pag_port *port, struct pag_sim_device *d)
{
    *port = (struct pag_port){
        .ctx = d,
        .flash = { .sector_bytes = PAG_SIM_SECTOR,
                   .erase = flash_erase,
                   .program = flash_program,
                   .read = flash_read },
        .net = { .open = net_open,
                 .ready = net_ready,
                 .read = net_read,
                 .write = net_write,
                 .close = net_close },
        .crypto = pag_crypto_openssl(),
        .now_ms = now_ms,
        .now_unix_s = now_unix_s,
        .random = random_bytes,
        .make_csr = pag_posix_make_csr,
        .feed_watchdog = feed_watchdog,
        .log = log_event,
        .rssi_dbm = rssi_dbm,
        .free_heap = free_heap,
    };
    for (int area = 0; area < PAG_AREA_COUNT; area++) {
        port->flash.area_bytes[area] = d->flash.area_sectors[area] * PAG_SIM_SECTOR;
    }
}

/* ---- a certificate of nobody ---- */

static bool name_it(X509_NAME *name, const char *text)
{
    X509_NAME_ENTRY_free(X509_NAME_delete_entry(name, 0));
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)text, -1, -1, 0) == 1;
}

static bool fill(X509 *x, EVP_PKEY *own, EVP_PKEY *issuer, const char *id)
{
    enum { VERSION_3 = 2, DAY_S = 86400 };
    X509_NAME *name = X509_get_subject_name(x);
    return X509_set_version(x, VERSION_3) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(x), -DAY_S) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(x), (long)365 * DAY_S) != NULL &&
           X509_set_pubkey(x, own) == 1 && name_it(name, "somebody else") &&
           X509_set_issuer_name(x, name) == 1 && name_it(name, id) && X509_sign(x, issuer, EVP_sha256()) > 0;
}

static enum pag_err take_der(struct pag_buf *out, int n, uint8_t *der)
{
    const enum pag_err err = n > 0 ? pag_buf_put(out, pag_span_of(der, (size_t)n)) : PAG_E_NO_MEMORY;
    OPENSSL_free(der);
    return err;
}

enum pag_err pag_sim_board_foreign(const char *id, struct pag_buf *certificate, struct pag_buf *key)
{
    EVP_PKEY *own = pag_crypto_key_new();
    EVP_PKEY *issuer = pag_crypto_key_new();
    X509 *x = X509_new();
    uint8_t *der = NULL;
    enum pag_err err = PAG_E_NO_MEMORY;
    if (own != NULL && issuer != NULL && x != NULL && fill(x, own, issuer, id)) {
        const int n = i2d_X509(x, &der);
        err = take_der(certificate, n, der);
    }
    if (err == PAG_OK) {
        der = NULL;
        const int n = i2d_PrivateKey(own, &der);
        err = take_der(key, n, der);
    }
    X509_free(x);
    EVP_PKEY_free(own);
    EVP_PKEY_free(issuer);
    return err;
}
