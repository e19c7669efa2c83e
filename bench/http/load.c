#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): MSG_TRUNC on TCP, SOCK_NONBLOCK */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/*
 * Load generator of `make bench-http`: one thread, epoll, a fixed number of connections for a fixed time.
 *
 *     load MODE PORT PATH STATUS SECONDS CONNECTIONS [CERT KEY TLS-VERSION]
 *
 * MODE keep: plain, connections are kept. tls: the same over TLS. handshake: a full handshake and one request
 * a connection. resume: the same with a session of before. Prints {"n":…,"bytes":…,"errors":…,"resumed":…};
 * n counts replies with STATUS, read to their last byte.
 */

enum { CONNS_MAX = 256, HEAD_MAX = 4096, BUFFER = 262144 };

struct conn {
    int fd;
    SSL *ssl;
    bool connected; /* TCP and TLS are up, the request is out */
    char head[HEAD_MAX];
    size_t head_n;
    bool in_body;
    unsigned long long left; /* of the body */
};

struct load {
    bool tls, fresh, resume; /* fresh: a connection for each request */
    struct sockaddr_in to;
    char request[512];
    size_t request_n;
    unsigned status;
    SSL_CTX *ctx;
    SSL_SESSION *session;
    int epoll_fd;
    unsigned long long n, bytes, errors, resumed;
    struct conn conn[CONNS_MAX];
    char buffer[BUFFER];
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void conn_open(struct load *l, struct conn *c)
{
    const int one = 1;
    memset(c, 0, sizeof(*c));
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(c->fd, (struct sockaddr *)&l->to, sizeof(l->to)) != 0 && errno != EINPROGRESS) {
        l->errors++;
    }
    if (l->tls) {
        c->ssl = SSL_new(l->ctx);
        (void)SSL_set_fd(c->ssl, c->fd);
        if (l->resume && l->session != NULL) {
            (void)SSL_set_session(c->ssl, l->session);
        }
        SSL_set_connect_state(c->ssl);
    }
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
    (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev);
}

static void conn_close(struct conn *c)
{
    if (c->ssl != NULL) {
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    if (c->fd >= 0) {
        (void)close(c->fd);
    }
    c->fd = -1;
}

static void request(struct load *l, struct conn *c)
{
    bool ok = c->ssl != NULL ? SSL_write(c->ssl, l->request, (int)l->request_n) == (int)l->request_n
                             : send(c->fd, l->request, l->request_n, MSG_NOSIGNAL) == (ssize_t)l->request_n;
    l->errors += ok ? 0 : 1;
}

/* 1: up, 0: not yet, -1: failed. */
static int bring_up(struct load *l, struct conn *c)
{
    if (c->ssl != NULL) {
        int r = SSL_do_handshake(c->ssl);
        if (r != 1) {
            int reason = SSL_get_error(c->ssl, r);
            return reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE ? 0 : -1;
        }
        l->resumed += SSL_session_reused(c->ssl) == 1 ? 1 : 0;
    } else {
        int error = 0;
        socklen_t n = sizeof(error);
        struct sockaddr_in peer;
        socklen_t peer_n = sizeof(peer);
        (void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
        if (error != 0) {
            return -1;
        }
        if (getpeername(c->fd, (struct sockaddr *)&peer, &peer_n) != 0) {
            return 0;
        }
    }
    c->connected = true;
    request(l, c);
    return 1;
}

/* >0 bytes, 0 nothing now, -1 end. Plain bodies are thrown away by the kernel. */
static ssize_t take(struct load *l, struct conn *c)
{
    if (c->ssl != NULL) {
        int r = SSL_read(c->ssl, l->buffer, BUFFER);
        if (r > 0) {
            return r;
        }
        int reason = SSL_get_error(c->ssl, r);
        return reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
    size_t want = c->in_body && c->left < BUFFER ? (size_t)c->left : BUFFER;
    ssize_t r = recv(c->fd, l->buffer, want, c->in_body ? MSG_TRUNC : 0);
    if (r > 0) {
        return r;
    }
    return r < 0 && errno == EAGAIN ? 0 : -1;
}

/* Looks for the end of the head in what came; returns how many of the n bytes are body, -1: not yet or bad.
 */
static ssize_t read_head(struct load *l, struct conn *c, size_t n)
{
    if (c->head_n + n >= HEAD_MAX) {
        n = HEAD_MAX - 1 - c->head_n;
    }
    size_t before = c->head_n;
    memcpy(c->head + c->head_n, l->buffer, n);
    c->head_n += n;
    c->head[c->head_n] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (end == NULL) {
        return -1;
    }
    unsigned status = (unsigned)strtoul(c->head + sizeof("HTTP/1.1"), NULL, 10);
    l->errors += status == l->status ? 0 : 1;
    char *length = status == 304 ? NULL : strstr(c->head, "Content-Length: ");
    c->left = length == NULL ? 0 : strtoull(length + sizeof("Content-Length: ") - 1, NULL, 10);
    c->in_body = true;
    return (ssize_t)(before + n) - (end + 4 - c->head);
}

/* True when a reply is complete. */
static bool take_reply(struct load *l, struct conn *c, size_t n)
{
    l->bytes += n;
    if (!c->in_body) {
        size_t came = n;
        ssize_t body = read_head(l, c, n);
        if (body < 0) {
            return false;
        }
        n = (size_t)body + (came > HEAD_MAX - 1 ? came - (HEAD_MAX - 1) : 0);
    }
    c->left -= n < c->left ? n : c->left;
    if (c->left > 0) {
        return false;
    }
    c->in_body = false;
    c->head_n = 0;
    return true;
}

static void replace(struct load *l, struct conn *c, bool failed)
{
    l->errors += failed ? 1 : 0;
    if (l->resume && c->ssl != NULL && !failed) {
        SSL_SESSION *s = SSL_get1_session(c->ssl);
        if (s != NULL && SSL_SESSION_is_resumable(s) == 1) {
            SSL_SESSION_free(l->session);
            l->session = s;
        } else {
            SSL_SESSION_free(s);
        }
    }
    conn_close(c);
    conn_open(l, c);
}

/* Takes what is there. False when the connection was replaced or nothing is left. */
static bool read_some(struct load *l, struct conn *c)
{
    ssize_t r = take(l, c);
    if (r < 0) {
        replace(l, c, true);
    }
    if (r <= 0) {
        return false;
    }
    if (!take_reply(l, c, (size_t)r)) {
        return true;
    }
    l->n++;
    if (l->fresh) {
        replace(l, c, false);
        return false;
    }
    request(l, c);
    return true;
}

static void on_ready(struct load *l, struct conn *c)
{
    ERR_clear_error();
    int up = c->connected ? 1 : bring_up(l, c);
    if (up < 0) {
        replace(l, c, true);
    }
    while (up > 0 && read_some(l, c)) {
    }
}

static bool set_up_tls(struct load *l, char **argv)
{
    int version = strcmp(argv[9], "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    l->ctx = SSL_CTX_new(TLS_client_method());
    (void)SSL_CTX_set_min_proto_version(l->ctx, version);
    (void)SSL_CTX_set_max_proto_version(l->ctx, version);
    (void)SSL_CTX_set_ciphersuites(l->ctx, "TLS_AES_128_GCM_SHA256");
    (void)SSL_CTX_set_cipher_list(l->ctx, "ECDHE-ECDSA-AES128-GCM-SHA256");
    (void)SSL_CTX_set1_groups_list(l->ctx, "X25519:P-256");
    (void)SSL_CTX_set_read_ahead(l->ctx, 1);
    if (version == TLS1_2_VERSION) {
        (void)SSL_CTX_set_options(l->ctx, SSL_OP_NO_TICKET); /* by session id, as BearSSL on an ESP8266 */
    }
    return SSL_CTX_use_certificate_file(l->ctx, argv[7], SSL_FILETYPE_PEM) == 1 &&
           SSL_CTX_use_PrivateKey_file(l->ctx, argv[8], SSL_FILETYPE_PEM) == 1;
}

/* Another request than GET PATH: the bytes of a file, sent as they are. */
static bool read_request(struct load *l, const char *path)
{
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        return false;
    }
    l->request_n = fread(l->request, 1, sizeof(l->request), in);
    bool whole = l->request_n > 0 && fgetc(in) == EOF;
    return fclose(in) == 0 && whole;
}

int main(int argc, char **argv)
{
    static struct load load;
    struct load *l = &load;
    if (argc < 7 || (strcmp(argv[1], "keep") != 0 && argc != 10)) {
        (void)fprintf(stderr, "usage: load keep|tls|handshake|resume PORT PATH STATUS SECONDS CONNECTIONS "
                              "[CERT KEY 1.2|1.3]\n");
        return 2;
    }
    l->tls = strcmp(argv[1], "keep") != 0;
    l->resume = strcmp(argv[1], "resume") == 0;
    l->fresh = l->resume || strcmp(argv[1], "handshake") == 0;
    l->to = (struct sockaddr_in){ .sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10)) };
    l->to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    l->status = (unsigned)strtoul(argv[4], NULL, 10);
    const char *etag = getenv("ETAG");
    l->request_n = (size_t)snprintf(
        l->request, sizeof(l->request), "GET %s HTTP/1.1\r\nHost: localhost\r\n%s%s%s\r\n", argv[3],
        etag == NULL ? "" : "If-None-Match: ", etag == NULL ? "" : etag, etag == NULL ? "" : "\r\n");
    if (getenv("REQUEST") != NULL && !read_request(l, getenv("REQUEST"))) {
        (void)fprintf(stderr, "load: $REQUEST is not a readable file of at most %zu bytes\n",
                      sizeof(l->request));
        return 2;
    }
    double ends = now() + strtod(argv[5], NULL);
    size_t conns = strtoul(argv[6], NULL, 10);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (conns == 0 || conns > CONNS_MAX || (l->tls && !set_up_tls(l, argv))) {
        (void)fprintf(stderr, "load: bad number of connections or bad certificate\n");
        return 2;
    }
    for (size_t i = 0; i < conns; i++) {
        conn_open(l, &l->conn[i]);
    }
    while (now() < ends) {
        struct epoll_event ev[64];
        int n = epoll_wait(l->epoll_fd, ev, 64, 100);
        for (int i = 0; i < n; i++) {
            on_ready(l, ev[i].data.ptr);
        }
    }
    (void)printf("{\"n\":%llu,\"bytes\":%llu,\"errors\":%llu,\"resumed\":%llu}\n", l->n, l->bytes, l->errors,
                 l->resumed);
    for (size_t i = 0; i < conns; i++) {
        conn_close(&l->conn[i]);
    }
    SSL_SESSION_free(l->session);
    SSL_CTX_free(l->ctx);
    (void)close(l->epoll_fd);
    return 0;
}
