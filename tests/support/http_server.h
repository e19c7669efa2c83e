#ifndef PAG_TESTS_SUPPORT_HTTP_SERVER_H
#define PAG_TESTS_SUPPORT_HTTP_SERVER_H

/* For tests/unit/test_http*.c, which define _GNU_SOURCE first. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "host/http.h"

/* A server of two threads on one port and a client that speaks raw bytes. */

enum { THREADS = 2, FILE_BYTES = 300000, REPLY_MAX = 1 << 20 };

static struct pag_http *http;
static struct pag_loop *loops[THREADS];
static struct pag_http_listener *listeners[THREADS];
static pthread_t threads[THREADS];
static uint16_t port;
static char folder[] = "/tmp/pag-http-XXXXXX";
static uint8_t content[FILE_BYTES];
static char reply[REPLY_MAX];
static atomic_uint file_done, file_whole;
static atomic_uint later_runs;

/* ---- handlers ---- */

static inline void handle_hello(struct pag_http_request *req)
{
    pag_http_reply(req, &(struct pag_http_reply){ .status = 200,
                                                  .content_type = "text/plain",
                                                  .body = pag_span_str("hello"),
                                                  .etag = "\"h1\"" });
}

static inline void handle_echo(struct pag_http_request *req)
{
    const char *text = pag_arena_printf(
        req->arena, "%.*s|%.*s|%.*s", (int)req->param[0].n, (const char *)req->param[0].p, (int)req->query.n,
        (const char *)req->query.p, (int)req->body.n, (const char *)req->body.p);
    pag_http_reply(req, &(struct pag_http_reply){ .status = 200, .body = pag_span_str(text) });
}

static inline void on_file_done(void *ctx, uint64_t first, uint64_t sent, bool complete)
{
    (void)ctx;
    (void)first;
    (void)sent;
    atomic_fetch_add(&file_done, 1);
    atomic_fetch_add(&file_whole, complete ? 1 : 0);
}

static inline void handle_file(struct pag_http_request *req)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "%s/blob", folder);
    pag_http_reply_file(req, &(struct pag_http_file){ .fd = open(path, O_RDONLY | O_CLOEXEC),
                                                      .bytes = FILE_BYTES,
                                                      .content_type = "application/octet-stream",
                                                      .etag = "\"f1\"",
                                                      .done = on_file_done });
}

static inline void handle_upload(struct pag_http_request *req)
{
    char hex[2 * PAG_SHA256_BYTES + 1] = { 0 };
    struct pag_buf b = { (uint8_t *)hex, 0, sizeof(hex) };
    char first[4] = { 0 };
    assert_int_equal(read(req->body_fd, first, 3), 3);
    (void)pag_buf_put_hex(&b, pag_span_of(req->body_sha256, PAG_SHA256_BYTES));
    const char *text =
        pag_arena_printf(req->arena, "%s %llu %s", first, (unsigned long long)req->body_bytes, hex);
    pag_http_reply(req, &(struct pag_http_reply){ .status = 201, .body = pag_span_str(text) });
}

struct later {
    struct pag_timer timer;
    struct pag_http_request *req;
};

static inline void reply_later(struct pag_loop *loop, struct pag_timer *t)
{
    (void)loop;
    struct later *l = t->ctx;
    atomic_fetch_add(&later_runs, 1);
    pag_http_reply(l->req, &(struct pag_http_reply){ .status = 200, .body = l->req->path });
}

static inline void handle_later(struct pag_http_request *req)
{
    struct later *l = pag_arena_alloc(req->arena, sizeof(*l));
    *l = (struct later){ .timer = { .on_fire = reply_later, .ctx = l }, .req = req };
    pag_loop_timer(req->loop, &l->timer, 150);
}

static inline void handle_bad_header(struct pag_http_request *req)
{
    struct pag_http_header h = { pag_span_str("X-Name"), pag_span_str("a\r\nSet-Cookie: x") };
    pag_http_reply(req, &(struct pag_http_reply){ .status = 200, .header = &h, .header_n = 1 });
}

static const struct pag_http_route routes[] = {
    { PAG_HTTP_GET, "/", 0, PAG_BODY_NONE, 0, handle_hello },
    { PAG_HTTP_GET, "/hello", 0, PAG_BODY_NONE, 0, handle_hello },
    { PAG_HTTP_GET, "/x/{id}", 0, PAG_BODY_NONE, 0, handle_echo },
    { PAG_HTTP_GET, "/x/fixed", 0, PAG_BODY_NONE, 0, handle_hello },
    { PAG_HTTP_PUT | PAG_HTTP_DELETE, "/x/{id}", 0, PAG_BODY_MEMORY, 100000, handle_echo },
    { PAG_HTTP_POST, "/echo/{a}", 0, PAG_BODY_MEMORY, 100000, handle_echo },
    { PAG_HTTP_GET, "/rest/{path...}", 0, PAG_BODY_NONE, 0, handle_echo },
    { PAG_HTTP_GET, "/file", 0, PAG_BODY_NONE, 0, handle_file },
    { PAG_HTTP_POST, "/upload", 0, PAG_BODY_FILE, 2000000, handle_upload },
    { PAG_HTTP_GET, "/later", 0, PAG_BODY_NONE, 0, handle_later },
    { PAG_HTTP_GET, "/bad-header", 0, PAG_BODY_NONE, 0, handle_bad_header },
    { PAG_HTTP_GET | PAG_HTTP_POST, "/secret", 7, PAG_BODY_MEMORY, 1000000, handle_hello },
};

static inline unsigned admit(struct pag_http_request *req)
{
    return req->route->needs == 7 ? 401 : 0;
}

/* ---- server ---- */

static inline void *thread_main(void *arg)
{
    (void)pag_loop_run(arg);
    return NULL;
}

static inline int start(void **state)
{
    (void)state;
    for (size_t i = 0; i < FILE_BYTES; i++) {
        content[i] = (uint8_t)(i * 2654435761U >> 13);
    }
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    char path[64];
    (void)snprintf(path, sizeof(path), "%s/blob", folder);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(content, 1, FILE_BYTES, f) != FILE_BYTES || fclose(f) != 0) {
        return 1;
    }
    const struct pag_http_config config = { .routes = routes,
                                            .route_n = sizeof(routes) / sizeof(routes[0]),
                                            .admit = admit,
                                            .spool_dir = folder,
                                            .header_ms = 400,
                                            .idle_ms = 1500,
                                            .write_ms = 700,
                                            .connections_max = 64 };
    if (pag_http_new(&config, &http, NULL) != PAG_OK) {
        return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        loops[i] = pag_loop_new(pag_clock_system());
        if (pag_http_attach(http, loops[i], "127.0.0.1", port, NULL, &listeners[i], NULL) != PAG_OK) {
            return 1;
        }
        port = pag_http_port(listeners[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, thread_main, loops[i]) != 0) {
            return 1;
        }
    }
    return 0;
}

static inline int stop(void **state)
{
    (void)state;
    for (int i = 0; i < THREADS; i++) {
        pag_loop_stop(loops[i]);
        (void)pthread_join(threads[i], NULL);
    }
    pag_http_free(http);
    for (int i = 0; i < THREADS; i++) {
        pag_loop_free(loops[i]);
    }
    char path[64];
    (void)snprintf(path, sizeof(path), "%s/blob", folder);
    (void)unlink(path);
    return rmdir(folder);
}

/* ---- client ---- */

static inline int dial(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static inline void say(int fd, const char *text)
{
    size_t n = strlen(text);
    assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Reads until the server's FIN or, want > 0, that many bytes. Fails after 5 s and on RST. */
static inline size_t hear(int fd, size_t want)
{
    size_t n = 0;
    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        assert_int_equal(poll(&p, 1, 5000), 1);
        ssize_t r = recv(fd, reply + n, sizeof(reply) - 1 - n, 0);
        assert_true(r >= 0);
        n += (size_t)r;
        if (r == 0 || (want > 0 && n >= want)) {
            reply[n] = '\0';
            return n;
        }
    }
}

/* One request on its own connection, up to the FIN. */
static inline const char *ask(const char *text)
{
    int fd = dial();
    say(fd, text);
    (void)hear(fd, 0);
    (void)close(fd);
    return reply;
}

static inline void expect_status(const char *text, const char *status)
{
    const char *got = ask(text);
    if (strncmp(got, "HTTP/1.1 ", 9) != 0 || strncmp(got + 9, status, 3) != 0) {
        fail_msg("want %s, got %.60s\nfor %s", status, got, text);
    }
}

static inline const char *body_of(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

#define CLOSE11 "Host: a\r\nConnection: close\r\n"

static inline double elapsed_s(const struct timespec *since)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)(t.tv_sec - since->tv_sec) + (double)(t.tv_nsec - since->tv_nsec) / 1e9;
}

#endif
