#include "sim/net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/errno_text.h"

void pag_sim_net_init(struct pag_sim_net *net, struct pag_loop *loop)
{
    *net = (struct pag_sim_net){ .loop = loop };
}

void pag_sim_net_done(struct pag_sim_net *net)
{
    for (size_t i = 0; i < PAG_SIM_CONTEXTS_MAX; i++) {
        SSL_CTX_free(net->context[i].ctx);
    }
}

/* ---- contexts: one for each authority ---- */

static enum pag_err add_authorities(SSL_CTX *ctx, struct pag_span ca)
{
    BIO *bio = BIO_new_mem_buf(ca.p, (int)ca.n);
    X509 *x = NULL;
    size_t n = 0;
    if (bio != NULL && ca.n > 0 && ca.p[0] == 0x30) {
        x = d2i_X509_bio(bio, NULL);
        n += x != NULL && X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) == 1 ? 1 : 0;
        X509_free(x);
    } else {
        while (bio != NULL && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
            n += X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) == 1 ? 1 : 0;
            X509_free(x);
        }
    }
    BIO_free(bio);
    ERR_clear_error();
    return n > 0 ? PAG_OK : PAG_E_TLS;
}

static SSL_CTX *context_new(struct pag_span ca)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL || add_authorities(ctx, ca) != PAG_OK) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    /* The pinned CA may be an issuing one. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return ctx;
}

static SSL_CTX *context_of(struct pag_sim_net *net, struct pag_span ca)
{
    for (size_t i = 0; i < PAG_SIM_CONTEXTS_MAX; i++) {
        if (net->context[i].ctx != NULL && net->context[i].ca == ca.p && net->context[i].ca_n == ca.n) {
            return net->context[i].ctx;
        }
        if (net->context[i].ctx == NULL) {
            net->context[i].ctx = context_new(ca);
            net->context[i].ca = ca.p;
            net->context[i].ca_n = ca.n;
            return net->context[i].ctx;
        }
    }
    return NULL;
}

/* Why a call fails, kept until the next one does. */
static void because(struct pag_sim_net *net, const char *why)
{
    (void)snprintf(net->why, sizeof(net->why), "%s", why != NULL ? why : "connection closed");
}

/* ---- opening ---- */

/* Blocks the first time that a name is met. NULL: no such address. */
static const struct pag_sim_address *resolve(struct pag_sim_net *net, const char *host)
{
    for (uint32_t i = 0; i < net->resolved_n; i++) {
        if (strcmp(net->resolved[i].host, host) == 0) {
            return &net->resolved[i];
        }
    }
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0 || found == NULL) {
        return NULL;
    }
    /* A server may listen on 127.0.0.1 only while localhost has ::1 first. */
    const struct addrinfo *pick = found;
    for (const struct addrinfo *a = found; a != NULL && pick->ai_family != AF_INET; a = a->ai_next) {
        pick = a->ai_family == AF_INET ? a : pick;
    }
    struct pag_sim_address *out = &net->resolved[net->resolved_n % PAG_SIM_NAMES_MAX];
    net->resolved_n += net->resolved_n < PAG_SIM_NAMES_MAX - 1 ? 1 : 0; /* the last place is for all others */
    (void)snprintf(out->host, sizeof(out->host), "%s", host);
    memcpy(&out->address, pick->ai_addr, pick->ai_addrlen);
    out->bytes = pick->ai_addrlen;
    freeaddrinfo(found);
    return out;
}

static int connect_to(const struct pag_sim_address *address, uint16_t port)
{
    struct sockaddr_storage to = address->address;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (to.ss_family == AF_INET) {
        memcpy(&in, &to, sizeof(in));
        in.sin_port = htons(port);
        memcpy(&to, &in, sizeof(in));
    } else {
        memcpy(&in6, &to, sizeof(in6));
        in6.sin6_port = htons(port);
        memcpy(&to, &in6, sizeof(in6));
    }
    const int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, (const struct sockaddr *)&to, address->bytes) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static enum pag_err use_identity(SSL *ssl, const struct pag_net_trust *trust)
{
    if (trust->certificate.n == 0) {
        return PAG_OK;
    }
    const uint8_t *p = trust->certificate.p;
    X509 *x = d2i_X509(NULL, &p, (long)trust->certificate.n);
    p = trust->key.p;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &p, (long)trust->key.n);
    const bool ok =
        x != NULL && key != NULL && SSL_use_certificate(ssl, x) == 1 && SSL_use_PrivateKey(ssl, key) == 1;
    X509_free(x);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok ? PAG_OK : PAG_E_TLS;
}

/* Looks at the head of each record that comes. */
/* NOLINTNEXTLINE(readability-function-size): OpenSSL gives it seven parameters */
static void on_record(int is_written, int version, int type, const void *bytes, size_t n, SSL *ssl, void *ctx)
{
    struct pag_sim_conn *c = ctx;
    const uint8_t *head = bytes;
    (void)version;
    (void)ssl;
    if (is_written == 0 && type == SSL3_RT_HEADER && n == SSL3_RT_HEADER_LENGTH) {
        c->too_large = c->too_large || (uint32_t)(head[3] << 8 | head[4]) > c->record_max;
    }
}

static bool shape_it(struct pag_sim_conn *c, const struct pag_sim_shape *shape)
{
    static const struct {
        uint16_t bytes;
        uint8_t code;
    } fragments[] = { { 512, TLSEXT_max_fragment_length_512 },
                      { 1024, TLSEXT_max_fragment_length_1024 },
                      { 2048, TLSEXT_max_fragment_length_2048 },
                      { 4096, TLSEXT_max_fragment_length_4096 } };
    enum { OVERHEAD = 325 }; /* BearSSL's receive buffer is that much more than the largest payload */
    bool ok = !shape->tls12 || SSL_set_max_proto_version(c->ssl, TLS1_2_VERSION) == 1;
    for (size_t i = 0; i < sizeof(fragments) / sizeof(fragments[0]); i++) {
        if (fragments[i].bytes == shape->mfln) {
            ok = ok && SSL_set_tlsext_max_fragment_length(c->ssl, fragments[i].code) == 1;
        }
    }
    if (shape->record_max > 0) {
        c->record_max = shape->record_max + OVERHEAD;
        SSL_set_msg_callback(c->ssl, on_record);
        SSL_set_msg_callback_arg(c->ssl, c);
    }
    if (shape->blind) {
        SSL_set_verify(c->ssl, SSL_VERIFY_NONE, NULL);
    }
    if (shape->is_1970) {
        X509_VERIFY_PARAM_set_time(SSL_get0_param(c->ssl), 0);
    }
    return ok;
}

static enum pag_err prepare_tls(struct pag_sim_conn *c, const char *host, const struct pag_net_trust *trust)
{
    SSL_CTX *ctx = context_of(c->net, trust->ca);
    c->ssl = ctx != NULL ? SSL_new(ctx) : NULL;
    if (c->ssl == NULL) {
        return PAG_E_TLS;
    }
    X509_VERIFY_PARAM *param = SSL_get0_param(c->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1) {
        if (SSL_set1_host(c->ssl, host) != 1 || SSL_set_tlsext_host_name(c->ssl, host) != 1) {
            return PAG_E_TLS;
        }
    }
    ERR_clear_error();
    SSL_set_connect_state(c->ssl);
    return SSL_set_fd(c->ssl, c->watch.fd) == 1 ? use_identity(c->ssl, trust) : PAG_E_TLS;
}

static void on_event(struct pag_loop *loop, struct pag_watch *w, unsigned events)
{
    (void)events;
    struct pag_sim_conn *c = w->ctx;
    c->waiting = 0;
    pag_loop_unwatch(
        loop, w); /* armed again by the next PAG_E_AGAIN: an owner that is busy is not called in vain */
    if (c->wake != NULL) {
        c->wake(c->wake_ctx);
    }
}

enum pag_err pag_sim_net_open(struct pag_sim_net *net, const char *host, uint16_t port,
                              const struct pag_net_trust *trust, const struct pag_sim_shape *shape,
                              struct pag_sim_conn **out)
{
    const struct pag_sim_address *address = resolve(net, host);
    if (address == NULL) {
        because(net, "no machine is known by that name");
        return PAG_E_IO;
    }
    struct pag_sim_conn *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return PAG_E_NO_MEMORY;
    }
    c->net = net;
    c->watch = (struct pag_watch){ .fd = connect_to(address, port), .on_event = on_event, .ctx = c };
    if (c->watch.fd < 0) {
        because(net, pag_errno_text(errno));
        free(c);
        return PAG_E_IO;
    }
    enum pag_err err = trust != NULL ? prepare_tls(c, host, trust) : PAG_OK;
    if (err == PAG_OK && c->ssl != NULL && shape != NULL && !shape_it(c, shape)) {
        err = PAG_E_TLS;
    }
    if (err != PAG_OK) {
        because(net, "the CA, or the device's own certificate or key, is not usable");
        pag_sim_conn_close(c, true);
        return err;
    }
    net->stats.opened++;
    *out = c;
    return PAG_OK;
}

void pag_sim_conn_on_wake(struct pag_sim_conn *c, void (*wake)(void *ctx), void *ctx)
{
    c->wake = wake;
    c->wake_ctx = ctx;
}

void pag_sim_conn_resume(struct pag_sim_conn *c, SSL_SESSION *session)
{
    if (c->ssl != NULL && session != NULL) {
        (void)SSL_set_session(c->ssl, session);
    }
}

SSL_SESSION *pag_sim_conn_session(struct pag_sim_conn *c)
{
    SSL_SESSION *session = c->ssl != NULL && c->saw_bytes ? SSL_get1_session(c->ssl) : NULL;
    if (session != NULL && SSL_SESSION_is_resumable(session) != 1) {
        SSL_SESSION_free(session);
        session = NULL;
    }
    return session;
}

/* ---- moving bytes ---- */

static enum pag_err wait_for(struct pag_sim_conn *c, unsigned events)
{
    /* A read and a write may wait at once; the latter must not take away the former. */
    c->waiting |= events;
    if (pag_loop_watch(c->net->loop, &c->watch, c->waiting) != PAG_OK) {
        return PAG_E_IO;
    }
    return PAG_E_AGAIN;
}

static enum pag_err broken(struct pag_sim_conn *c, enum pag_err err)
{
    pag_loop_unwatch(c->net->loop, &c->watch);
    /* TLS 1.3: the server judges our certificate after we think that all is well, and its alert may be lost.
     */
    c->turned_away = c->ssl != NULL && c->state != PAG_SIM_CONNECTING && !c->saw_bytes;
    c->net->stats.refused += c->turned_away ? 1 : 0;
    c->state = PAG_SIM_BROKEN;
    return err;
}

/* number: errno of the call, 0: it was not the system. */
static void because_of_tls(struct pag_sim_conn *c, int why, bool handshake, int number)
{
    const long verdict = SSL_get_verify_result(c->ssl);
    if (handshake && verdict != X509_V_OK) {
        because(c->net, X509_verify_cert_error_string(verdict));
    } else if (why == SSL_ERROR_SSL) {
        because(c->net, ERR_reason_error_string(ERR_peek_last_error()));
    } else {
        because(c->net, number != 0 ? pag_errno_text(number) : NULL);
    }
}

/* A device without the room for a record gives up. */
static enum pag_err no_room(struct pag_sim_conn *c)
{
    because(c->net, "a TLS record is larger than the device's memory");
    ERR_clear_error();
    (void)broken(c, PAG_E_TLS);
    c->turned_away = false;
    return PAG_E_TLS;
}

/* What an SSL call that did not succeed means. */
static enum pag_err tls_verdict(struct pag_sim_conn *c, int result, bool handshake)
{
    if (c->too_large) {
        return no_room(c);
    }
    const int why = SSL_get_error(c->ssl, result);
    const int saved = errno;
    if (why == SSL_ERROR_WANT_READ) {
        return wait_for(c, PAG_LOOP_READ);
    }
    if (why == SSL_ERROR_WANT_WRITE) {
        return wait_for(c, PAG_LOOP_WRITE);
    }
    if (why == SSL_ERROR_ZERO_RETURN) {
        return broken(c, PAG_E_CLOSED);
    }
    because_of_tls(c, why, handshake, why == SSL_ERROR_SYSCALL ? saved : 0);
    const bool alert = why == SSL_ERROR_SSL && (handshake || !c->saw_bytes);
    ERR_clear_error();
    if (alert) {
        return broken(c, PAG_E_TLS);
    }
    return broken(c, handshake || (why == SSL_ERROR_SYSCALL && saved != 0) ? PAG_E_IO : PAG_E_CLOSED);
}

static enum pag_err connected(struct pag_sim_conn *c)
{
    int failed = 0;
    socklen_t n = sizeof(failed);
    struct sockaddr_storage peer;
    socklen_t peer_n = sizeof(peer);
    if (getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &failed, &n) != 0 || failed != 0) {
        because(c->net, pag_errno_text(failed));
        return broken(c, PAG_E_IO);
    }
    /* SO_ERROR is also 0 while the connect is under way. */
    if (getpeername(c->watch.fd, (struct sockaddr *)&peer, &peer_n) != 0) {
        return wait_for(c, PAG_LOOP_WRITE);
    }
    c->state = c->ssl != NULL ? PAG_SIM_HANDSHAKE : PAG_SIM_OPEN;
    return PAG_OK;
}

enum pag_err pag_sim_conn_ready(struct pag_sim_conn *c)
{
    if (c->state == PAG_SIM_CONNECTING) {
        const enum pag_err err = connected(c);
        if (err != PAG_OK) {
            return err;
        }
    }
    if (c->state == PAG_SIM_HANDSHAKE) {
        ERR_clear_error();
        const int result = SSL_do_handshake(c->ssl);
        if (result != 1 || c->too_large) {
            return tls_verdict(c, result, true);
        }
        c->net->stats.handshakes++;
        c->net->stats.resumed += SSL_session_reused(c->ssl) != 0 ? 1 : 0;
        c->state = PAG_SIM_OPEN;
    }
    return c->state == PAG_SIM_OPEN ? PAG_OK : PAG_E_IO;
}

static enum pag_err plain_verdict(struct pag_sim_conn *c, ssize_t moved, unsigned events)
{
    if (moved == 0) {
        because(c->net, NULL);
        return broken(c, PAG_E_CLOSED);
    }
    if (errno == EAGAIN || errno == EINTR) {
        return wait_for(c, events);
    }
    because(c->net, pag_errno_text(errno));
    return broken(c, PAG_E_IO);
}

enum pag_err pag_sim_conn_read(struct pag_sim_conn *c, uint8_t *out, size_t *n)
{
    const enum pag_err err = pag_sim_conn_ready(c);
    if (err != PAG_OK) {
        return err;
    }
    size_t got = 0;
    if (c->ssl != NULL) {
        ERR_clear_error();
        errno = 0;
        const int result = SSL_read_ex(c->ssl, out, *n, &got);
        if (result != 1 || c->too_large) {
            return tls_verdict(c, result, false);
        }
    } else {
        const ssize_t moved = recv(c->watch.fd, out, *n, 0);
        if (moved <= 0) {
            return plain_verdict(c, moved, PAG_LOOP_READ);
        }
        got = (size_t)moved;
    }
    c->saw_bytes = true;
    c->net->stats.read_bytes += got;
    *n = got;
    return PAG_OK;
}

enum pag_err pag_sim_conn_write(struct pag_sim_conn *c, const uint8_t *data, size_t *n)
{
    const enum pag_err err = pag_sim_conn_ready(c);
    if (err != PAG_OK) {
        return err;
    }
    size_t put = 0;
    if (c->ssl != NULL) {
        ERR_clear_error();
        errno = 0;
        const int result = SSL_write_ex(c->ssl, data, *n, &put);
        if (result != 1) {
            return tls_verdict(c, result, false);
        }
    } else {
        const ssize_t moved = send(c->watch.fd, data, *n, MSG_NOSIGNAL);
        if (moved < 0) {
            return plain_verdict(c, moved, PAG_LOOP_WRITE);
        }
        put = (size_t)moved;
    }
    c->net->stats.written_bytes += put;
    *n = put;
    return PAG_OK;
}

void pag_sim_conn_close(struct pag_sim_conn *c, bool abrupt)
{
    if (c == NULL) {
        return;
    }
    pag_loop_unwatch(c->net->loop, &c->watch);
    if (c->ssl != NULL && !abrupt && c->state == PAG_SIM_OPEN) {
        (void)SSL_shutdown(c->ssl);
    }
    SSL_free(c->ssl);
    ERR_clear_error();
    close(c->watch.fd);
    free(c);
}
