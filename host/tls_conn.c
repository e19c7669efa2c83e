#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "host/clock.h"
#include "host/tls_priv.h"

enum {
    DIRECT_BYTES = 8192,       /* from this size on a record is not copied but sent as it is */
    SMALL_RECORD_BYTES = 1400, /* fits a segment: a device can decrypt what it has */
    SMALL_UNTIL_BYTES = 16384, /* of a connection */
    KEY_UPDATES_MAX = 16,
};

struct pag_tls_conn {
    SSL *ssl;
    struct pag_tls *tls;
    struct pag_tls_io *io;
    int fd;
    unsigned key_updates;
    bool established;
    bool broken; /* fatal error: SSL_shutdown must not be called */
    bool send_failed;
    bool eof;              /* the socket is at its end */
    bool readable, ending; /* the socket may have bytes; the peer has sent its FIN */
    bool heard;            /* application data has come */
    uint64_t sent_bytes;
    uint8_t *backlog; /* records that the socket did not take */
    size_t backlog_n, backlog_at;
    struct pag_tls_peer peer;
};

/* ---- the way of records to and from the socket ---- */

static bool keep_backlog(struct pag_tls_conn *c, const uint8_t *p, size_t n)
{
    c->backlog = malloc(n);
    if (c->backlog == NULL) {
        return false;
    }
    memcpy(c->backlog, p, n);
    c->backlog_n = n;
    c->backlog_at = 0;
    return true;
}

/* Bytes taken; 0 when the socket is full or has failed. */
static size_t push(struct pag_tls_conn *c, const uint8_t *p, size_t n)
{
    size_t done = 0;
    while (done < n && !c->send_failed) {
        ssize_t r = send(c->fd, p + done, n - done, MSG_NOSIGNAL);
        if (r >= 0) {
            done += (size_t)r;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            c->send_failed = true;
        }
    }
    return done;
}

static void push_backlog(struct pag_tls_conn *c)
{
    if (c->backlog == NULL) {
        return;
    }
    c->backlog_at += push(c, c->backlog + c->backlog_at, c->backlog_n - c->backlog_at);
    if (c->backlog_at == c->backlog_n) {
        free(c->backlog);
        c->backlog = NULL;
        c->backlog_n = 0;
        c->backlog_at = 0;
    }
}

enum pag_err pag_tls_flush(struct pag_tls_conn *c)
{
    struct pag_tls_io *io = c->io;
    push_backlog(c);
    if (io->n > 0 && io->owner == c) { /* only filled while there is no backlog */
        size_t done = push(c, io->out, io->n);
        if (done < io->n && !c->send_failed && !keep_backlog(c, io->out + done, io->n - done)) {
            c->send_failed = true;
        }
        io->n = 0;
    }
    if (c->send_failed) {
        return PAG_E_CLOSED;
    }
    return c->backlog == NULL ? PAG_OK : PAG_E_AGAIN;
}

size_t pag_tls_backlog(const struct pag_tls_conn *c)
{
    return c->backlog_n - c->backlog_at;
}

static int bio_write(BIO *bio, const char *data, size_t n, size_t *done)
{
    struct pag_tls_conn *c = BIO_get_data(bio);
    const uint8_t *p = (const uint8_t *)data;
    BIO_clear_retry_flags(bio);
    *done = 0;
    if (c->backlog != NULL || n >= DIRECT_BYTES || n > PAG_TLS_OUT_BYTES - c->io->n) {
        if (pag_tls_flush(c) == PAG_E_AGAIN) {
            BIO_set_retry_write(bio);
            return 0;
        }
    }
    if (c->send_failed) {
        return 0;
    }
    if (n < DIRECT_BYTES) {
        memcpy(c->io->out + c->io->n, p, n);
        c->io->n += n;
        c->io->owner = c;
        *done = n;
        return 1;
    }
    *done = push(c, p, n);
    if (*done == 0 && !c->send_failed) {
        BIO_set_retry_write(bio);
    }
    return *done > 0;
}

static int bio_read(BIO *bio, char *data, size_t n, size_t *done)
{
    struct pag_tls_conn *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *done = 0;
    if (c->key_updates > KEY_UPDATES_MAX) {
        return 0; /* or SSL_read would go on for as long as they come */
    }
    if (!c->readable) {
        BIO_set_retry_read(bio);
        return 0;
    }
    ssize_t r;
    do {
        r = recv(c->fd, data, n, 0);
    } while (r < 0 && errno == EINTR);
    if (r < 0 && errno == EAGAIN) {
        c->readable = false;
        BIO_set_retry_read(bio);
    } else if (r > 0 && (size_t)r < n) {
        c->readable = c->ending;
    }
    c->eof = r == 0 && n > 0;
    *done = r > 0 ? (size_t)r : 0;
    return r > 0;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)num;
    (void)ptr;
    if (cmd == BIO_CTRL_EOF) {
        const struct pag_tls_conn *c = BIO_get_data(bio);
        return c->eof;
    }
    return cmd == BIO_CTRL_FLUSH; /* the thread flushes when it turns away */
}

BIO_METHOD *pag_tls_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pagurus socket");
    if (m != NULL && (BIO_meth_set_write_ex(m, bio_write) != 1 || BIO_meth_set_read_ex(m, bio_read) != 1 ||
                      BIO_meth_set_ctrl(m, bio_ctrl) != 1)) {
        BIO_meth_free(m);
        return NULL;
    }
    return m;
}

/* ---- connections ---- */

/* NOLINTNEXTLINE(readability-function-size): OpenSSL's signature */
static void on_message(int sent, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
    (void)version;
    (void)arg;
    const uint8_t *bytes = p;
    if (!sent && type == SSL3_RT_HANDSHAKE && n > 0 && bytes[0] == SSL3_MT_KEY_UPDATE) {
        struct pag_tls_conn *c = SSL_get_app_data(ssl);
        c->key_updates++;
    }
}

struct pag_tls_conn *pag_tls_conn_new(struct pag_tls *tls, int fd, struct pag_tls_io *io)
{
    struct pag_tls_conn *c = calloc(1, sizeof(*c));
    BIO *bio = BIO_new(tls->bio);
    if (c != NULL) {
        (void)pthread_mutex_lock(&tls->lock);
        c->ssl = SSL_new(tls->ctx); /* holds the context on */
        (void)pthread_mutex_unlock(&tls->lock);
    }
    if (c == NULL || bio == NULL || c->ssl == NULL) {
        BIO_free(bio);
        pag_tls_conn_free(c);
        return NULL;
    }
    c->tls = tls;
    c->fd = fd;
    c->io = io;
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    SSL_set_bio(c->ssl, bio, bio);
    (void)SSL_set_app_data(c->ssl, c);
    (void)SSL_set_max_send_fragment(c->ssl, tls->config.record_bytes);
    SSL_set_accept_state(c->ssl);
    return c;
}

void pag_tls_conn_free(struct pag_tls_conn *c)
{
    if (c == NULL) {
        return;
    }
    if (c->io != NULL && c->io->owner == c) {
        c->io->n = 0; /* never sent to the next one */
        c->io->owner = NULL;
    }
    if (c->established && !c->heard) {
        (void)atomic_fetch_add_explicit(&c->tls->probes, 1, memory_order_relaxed);
    }
    if (c->ssl != NULL && c->broken) { /* the session must not be resumed */
        SSL_set_shutdown(c->ssl, SSL_get_shutdown(c->ssl) & ~SSL_SENT_SHUTDOWN);
    } else if (c->ssl != NULL) {
        /* SSL_free forgets the sessions of connections that were not shut down; a device that just drops its
         * socket may resume (RFC 8446 4.6.1 leaves it to us, and TLS 1.2 to RFC 5246 7.2.1). */
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(c->ssl);
    free(c->backlog);
    free(c);
}

static enum pag_err broken(struct pag_tls_conn *c)
{
    c->broken = true;
    ERR_clear_error();
    return PAG_E_TLS;
}

/* A resumed session brings its certificate along; whether it still counts is asked again. */
static bool read_peer(struct pag_tls_conn *c)
{
    struct pag_clock clock = pag_clock_system();
    X509 *cert = SSL_get0_peer_certificate(c->ssl);
    c->peer.resumed = SSL_session_reused(c->ssl) == 1;
    if (cert == NULL) {
        return true;
    }
    bool resumed = c->peer.resumed;
    if (!pag_tls_peer_read(cert, &c->peer)) {
        return false;
    }
    return !resumed ||
           (c->peer.not_after > clock.now_unix_ms(clock.ctx) / 1000 && pag_tls_admits(c->tls, &c->peer));
}

static enum pag_err handshake_failed(struct pag_tls_conn *c, int reason)
{
    unsigned long code = ERR_peek_error();
    bool left = reason == SSL_ERROR_ZERO_RETURN || (reason == SSL_ERROR_SYSCALL && code == 0) ||
                ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    OSSL_HANDSHAKE_STATE at = SSL_get_state(c->ssl);
    bool answered = at != TLS_ST_BEFORE && at != TLS_ST_SR_CLNT_HELLO;
    /* A client that only looked (certificate check, maximum fragment probe) has done nothing wrong. */
    _Atomic uint64_t *counter = left && answered ? &c->tls->probes : &c->tls->failed;
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    (void)broken(c);
    return left ? PAG_E_CLOSED : PAG_E_TLS;
}

enum pag_err pag_tls_handshake(struct pag_tls_conn *c)
{
    ERR_clear_error();
    int r = SSL_do_handshake(c->ssl);
    if (r != 1) {
        int reason = SSL_get_error(c->ssl, r);
        if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) {
            return pag_tls_flush(c) == PAG_E_CLOSED ? handshake_failed(c, SSL_ERROR_SYSCALL) : PAG_E_AGAIN;
        }
        return handshake_failed(c, reason);
    }
    if (!read_peer(c)) {
        (void)atomic_fetch_add_explicit(&c->tls->failed, 1, memory_order_relaxed);
        (void)SSL_CTX_remove_session(SSL_get_SSL_CTX(c->ssl), SSL_get0_session(c->ssl));
        return broken(c);
    }
    c->established = true;
    if (SSL_version(c->ssl) == TLS1_3_VERSION) {
        SSL_set_msg_callback(c->ssl, on_message);
    }
    _Atomic uint64_t *counter = c->peer.resumed ? &c->tls->resumed : &c->tls->full;
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    return PAG_OK;
}

const struct pag_tls_peer *pag_tls_conn_peer(const struct pag_tls_conn *c)
{
    return &c->peer;
}

static enum pag_err io_result(struct pag_tls_conn *c, int r)
{
    int reason = SSL_get_error(c->ssl, r);
    if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) {
        return PAG_E_AGAIN;
    }
    if (reason == SSL_ERROR_ZERO_RETURN || reason == SSL_ERROR_SYSCALL) {
        return PAG_E_CLOSED; /* also without close_notify: lengths are said in HTTP, and devices just drop */
    }
    return broken(c);
}

enum pag_err pag_tls_read(struct pag_tls_conn *c, uint8_t *buf, size_t n, size_t *got)
{
    ERR_clear_error();
    int r = SSL_read_ex(c->ssl, buf, n, got);
    if (c->key_updates > KEY_UPDATES_MAX) {
        return broken(c);
    }
    if (r == 1) {
        c->heard = true;
        return PAG_OK;
    }
    return io_result(c, r);
}

bool pag_tls_has_input(const struct pag_tls_conn *c)
{
    return c->readable || SSL_has_pending(c->ssl) == 1;
}

void pag_tls_readable(struct pag_tls_conn *c, bool ending)
{
    c->readable = true;
    c->ending = ending;
}

size_t pag_tls_record_bytes(const struct pag_tls_conn *c)
{
    size_t most = c->tls->config.record_bytes;
    bool small = c->sent_bytes < SMALL_UNTIL_BYTES && most > SMALL_RECORD_BYTES;
    return small ? SMALL_RECORD_BYTES : most;
}

enum pag_err pag_tls_write(struct pag_tls_conn *c, const uint8_t *p, size_t n, size_t *done)
{
    ERR_clear_error();
    int r = SSL_write_ex(c->ssl, p, n, done);
    if (r == 1) {
        c->sent_bytes += *done;
        return PAG_OK;
    }
    return io_result(c, r);
}

void pag_tls_shutdown(struct pag_tls_conn *c)
{
    if (!c->broken && c->established) {
        ERR_clear_error();
        (void)SSL_shutdown(c->ssl);
    }
}
