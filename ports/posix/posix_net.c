#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): GNU functions */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ports/posix/posix_port.h"

enum { YOUNGER_S = 24 * 3600 };

static struct pag_posix *self(void *ctx)
{
    return ctx;
}

static struct pag_posix_conn *conn_of(struct pag_conn *c)
{
    return c->p;
}

/* ---- TLS ---- */

static X509 *read_certificate(struct pag_span in)
{
    const unsigned char *der = in.p;
    if (in.n == 0 || in.n > 8192) {
        return NULL;
    }
    if (in.p[0] == 0x30) {
        return d2i_X509(NULL, &der, (long)in.n);
    }
    BIO *bio = BIO_new_mem_buf(in.p, (int)in.n);
    X509 *cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    return cert;
}

/* The pinned authority and nothing else; it may be an issuing one. */
static bool pin(SSL_CTX *tls, struct pag_span ca)
{
    X509 *cert = read_certificate(ca);
    X509_STORE *store = SSL_CTX_get_cert_store(tls);
    bool ok = cert != NULL && X509_STORE_add_cert(store, cert) == 1 &&
              X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1;
    X509_free(cert);
    return ok;
}

static bool identify(SSL_CTX *tls, const struct pag_net_trust *trust)
{
    if (trust->certificate.n == 0) {
        return true;
    }
    const unsigned char *p = trust->key.p;
    X509 *cert = read_certificate(trust->certificate);
    EVP_PKEY *key = trust->key.n > 0 ? d2i_AutoPrivateKey(NULL, &p, (long)trust->key.n) : NULL;
    bool ok = cert != NULL && key != NULL && SSL_CTX_use_certificate(tls, cert) == 1 &&
              SSL_CTX_use_PrivateKey(tls, key) == 1 && SSL_CTX_check_private_key(tls) == 1;
    X509_free(cert);
    EVP_PKEY_free(key);
    return ok;
}

static bool name_peer(SSL *ssl, const char *host)
{
    uint8_t address[16];
    bool literal = inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
    if (literal) {
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    }
    char name[256]; /* the macro wants it writable */
    int n = snprintf(name, sizeof name, "%s", host);
    return n > 0 && n < (int)sizeof name && SSL_set1_host(ssl, name) == 1 &&
           SSL_set_tlsext_host_name(ssl, name) == 1;
}

/* A certificate may be a day younger than the floor: the floor is only what has passed for sure. */
static int judge_date(int ok, X509_STORE_CTX *chain)
{
    if (ok == 1 || X509_STORE_CTX_get_error(chain) != X509_V_ERR_CERT_NOT_YET_VALID) {
        return ok;
    }
    time_t latest = X509_VERIFY_PARAM_get_time(X509_STORE_CTX_get0_param(chain)) + YOUNGER_S;
    if (X509_cmp_time(X509_get0_notBefore(X509_STORE_CTX_get_current_cert(chain)), &latest) >= 0) {
        return 0;
    }
    X509_STORE_CTX_set_error(chain, X509_V_OK);
    return 1;
}

/* A clock behind what has passed for sure is wrong or was never set: then dates are judged at the floor. */
static void verify_peer(SSL *ssl, uint64_t clock_floor)
{
    bool behind = (uint64_t)time(NULL) < clock_floor;
    SSL_set_verify(ssl, SSL_VERIFY_PEER, behind ? judge_date : NULL);
    if (behind) {
        X509_VERIFY_PARAM_set_time(SSL_get0_param(ssl), (time_t)clock_floor);
    }
}

static SSL *new_tls(int fd, const char *host, const struct pag_net_trust *trust)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    SSL *ssl = NULL;
    if (tls != NULL && SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1 && pin(tls, trust->ca) &&
        identify(tls, trust)) {
        SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        ssl = SSL_new(tls);
    }
    if (ssl != NULL) {
        verify_peer(ssl, trust->clock_floor);
    }
    if (ssl != NULL && (!name_peer(ssl, host) || SSL_set_fd(ssl, fd) != 1)) {
        SSL_free(ssl);
        ssl = NULL;
    }
    SSL_CTX_free(tls);
    return ssl;
}

/* ---- sockets ---- */

/* Name look-up may take longer than PAG_PORT_BLOCK_MS; addresses and localhost do not. */
static int start_connect(const char *host, uint16_t port)
{
    char service[6];
    struct addrinfo hints = { .ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_NUMERICSERV };
    struct addrinfo *list = NULL;
    (void)snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &hints, &list) != 0) {
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static void drop(struct pag_posix_conn *c)
{
    if (c->ssl != NULL) {
        if (c->secured) {
            (void)SSL_shutdown(c->ssl);
        }
        SSL_free(c->ssl);
    }
    if (c->fd >= 0) {
        close(c->fd);
    }
    *c = (struct pag_posix_conn){ .fd = -1 };
    ERR_clear_error();
}

static enum pag_err net_open(void *ctx, const char *host, uint16_t port, const struct pag_net_trust *trust,
                             struct pag_conn *out)
{
    struct pag_posix *p = self(ctx);
    struct pag_posix_conn *c = NULL;
    for (size_t i = 0; i < PAG_POSIX_CONNS && c == NULL; i++) {
        c = p->conn[i].fd < 0 ? &p->conn[i] : NULL;
    }
    if (c == NULL) {
        return PAG_E_NO_MEMORY;
    }
    c->fd = start_connect(host, port);
    if (c->fd < 0) {
        return PAG_E_IO;
    }
    int one = 1;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (trust != NULL) {
        c->ssl = new_tls(c->fd, host, trust);
        if (c->ssl == NULL) {
            drop(c);
            return PAG_E_TLS;
        }
    }
    out->p = c;
    return PAG_OK;
}

static enum pag_err tcp_ready(struct pag_posix_conn *c)
{
    struct pollfd w = { .fd = c->fd, .events = POLLOUT };
    if (c->connected) {
        return PAG_OK;
    }
    if (poll(&w, 1, 0) <= 0) {
        return PAG_E_AGAIN;
    }
    int code = 0;
    socklen_t n = sizeof code;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &code, &n) != 0 || code != 0) {
        return PAG_E_IO;
    }
    c->connected = true;
    return PAG_OK;
}

static enum pag_err tls_result(const struct pag_posix_conn *c, int result)
{
    int why = SSL_get_error(c->ssl, result);
    int code = errno;
    unsigned long detail = ERR_peek_error();
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        return PAG_E_AGAIN;
    }
    if (why == SSL_ERROR_ZERO_RETURN) {
        return PAG_E_CLOSED;
    }
    if (why == SSL_ERROR_SSL) {
        return ERR_GET_REASON(detail) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? PAG_E_CLOSED : PAG_E_TLS;
    }
    return code == ECONNRESET || code == EPIPE || code == 0 ? PAG_E_CLOSED : PAG_E_IO;
}

static enum pag_err net_ready(void *ctx, struct pag_conn *conn)
{
    (void)ctx;
    struct pag_posix_conn *c = conn_of(conn);
    enum pag_err err = tcp_ready(c);
    if (err != PAG_OK || c->ssl == NULL || c->secured) {
        return err;
    }
    errno = 0;
    int result = SSL_connect(c->ssl);
    if (result != 1) {
        return tls_result(c, result);
    }
    c->secured = true;
    return PAG_OK;
}

static enum pag_err tcp_result(ssize_t moved)
{
    if (moved == 0) {
        return PAG_E_CLOSED;
    }
    if (errno == EAGAIN || errno == EINTR) {
        return PAG_E_AGAIN;
    }
    return errno == ECONNRESET || errno == EPIPE ? PAG_E_CLOSED : PAG_E_IO;
}

static enum pag_err net_read(void *ctx, struct pag_conn *conn, uint8_t *out, size_t *n)
{
    (void)ctx;
    struct pag_posix_conn *c = conn_of(conn);
    size_t want = *n < INT_MAX ? *n : INT_MAX;
    errno = 0;
    if (c->ssl != NULL) {
        int moved = SSL_read(c->ssl, out, (int)want);
        if (moved <= 0) {
            return tls_result(c, moved);
        }
        *n = (size_t)moved;
        return PAG_OK;
    }
    ssize_t moved = recv(c->fd, out, want, 0);
    if (moved <= 0) {
        return tcp_result(moved);
    }
    *n = (size_t)moved;
    return PAG_OK;
}

static enum pag_err net_write(void *ctx, struct pag_conn *conn, const uint8_t *data, size_t *n)
{
    (void)ctx;
    struct pag_posix_conn *c = conn_of(conn);
    size_t want = *n < INT_MAX ? *n : INT_MAX;
    errno = 0;
    if (c->ssl != NULL) {
        int moved = SSL_write(c->ssl, data, (int)want);
        if (moved <= 0) {
            return tls_result(c, moved);
        }
        *n = (size_t)moved;
        return PAG_OK;
    }
    ssize_t moved = send(c->fd, data, want, MSG_NOSIGNAL);
    if (moved <= 0) {
        return tcp_result(moved);
    }
    *n = (size_t)moved;
    return PAG_OK;
}

static void net_close(void *ctx, struct pag_conn *conn)
{
    (void)ctx;
    if (conn->p != NULL) {
        drop(conn_of(conn));
        conn->p = NULL;
    }
}

void pag_posix_net(struct pag_port *port)
{
    port->net = (struct pag_net){ net_open, net_ready, net_read, net_write, net_close };
}

void pag_posix_net_close_all(struct pag_posix *p)
{
    for (size_t i = 0; i < PAG_POSIX_CONNS; i++) {
        drop(&p->conn[i]);
    }
}

void pag_posix_wait(struct pag_posix *p, uint32_t ms)
{
    struct pollfd w[PAG_POSIX_CONNS];
    nfds_t n = 0;
    for (size_t i = 0; i < PAG_POSIX_CONNS; i++) {
        const struct pag_posix_conn *c = &p->conn[i];
        if (c->ssl != NULL && SSL_pending(c->ssl) > 0) {
            return;
        }
        short events = POLLOUT;
        if (c->connected) {
            events = POLLIN;
        }
        w[n++] = (struct pollfd){ .fd = c->fd, .events = events }; /* poll skips a negative fd */
    }
    (void)poll(w, n, ms < INT_MAX ? (int)ms : INT_MAX);
}
