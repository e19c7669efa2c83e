#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): mkdtemp, memmem */
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

static void handle_hello(struct pag_http_request *req)
{
    pag_http_reply(req, &(struct pag_http_reply){ .status = 200,
                                                  .content_type = "text/plain",
                                                  .body = pag_span_str("hello"),
                                                  .etag = "\"h1\"" });
}

static void handle_echo(struct pag_http_request *req)
{
    const char *text = pag_arena_printf(
        req->arena, "%.*s|%.*s|%.*s", (int)req->param[0].n, (const char *)req->param[0].p, (int)req->query.n,
        (const char *)req->query.p, (int)req->body.n, (const char *)req->body.p);
    pag_http_reply(req, &(struct pag_http_reply){ .status = 200, .body = pag_span_str(text) });
}

static void on_file_done(void *ctx, uint64_t first, uint64_t sent, bool complete)
{
    (void)ctx;
    (void)first;
    (void)sent;
    atomic_fetch_add(&file_done, 1);
    atomic_fetch_add(&file_whole, complete ? 1 : 0);
}

static void handle_file(struct pag_http_request *req)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "%s/blob", folder);
    pag_http_reply_file(req, &(struct pag_http_file){ .fd = open(path, O_RDONLY | O_CLOEXEC),
                                                      .bytes = FILE_BYTES,
                                                      .content_type = "application/octet-stream",
                                                      .etag = "\"f1\"",
                                                      .done = on_file_done });
}

static void handle_upload(struct pag_http_request *req)
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

static void reply_later(struct pag_loop *loop, struct pag_timer *t)
{
    (void)loop;
    struct later *l = t->ctx;
    atomic_fetch_add(&later_runs, 1);
    pag_http_reply(l->req, &(struct pag_http_reply){ .status = 200, .body = l->req->path });
}

static void handle_later(struct pag_http_request *req)
{
    struct later *l = pag_arena_alloc(req->arena, sizeof(*l));
    *l = (struct later){ .timer = { .on_fire = reply_later, .ctx = l }, .req = req };
    pag_loop_timer(req->loop, &l->timer, 150);
}

static void handle_bad_header(struct pag_http_request *req)
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

static unsigned admit(struct pag_http_request *req)
{
    return req->route->needs == 7 ? 401 : 0;
}

/* ---- server ---- */

static void *thread_main(void *arg)
{
    (void)pag_loop_run(arg);
    return NULL;
}

static int start(void **state)
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

static int stop(void **state)
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

static int dial(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    size_t n = strlen(text);
    assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Reads until the server's FIN or, want > 0, that many bytes. Fails after 5 s and on RST. */
static size_t hear(int fd, size_t want)
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
static const char *ask(const char *text)
{
    int fd = dial();
    say(fd, text);
    (void)hear(fd, 0);
    (void)close(fd);
    return reply;
}

static void expect_status(const char *text, const char *status)
{
    const char *got = ask(text);
    if (strncmp(got, "HTTP/1.1 ", 9) != 0 || strncmp(got + 9, status, 3) != 0) {
        fail_msg("want %s, got %.60s\nfor %s", status, got, text);
    }
}

static const char *body_of(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

#define CLOSE11 "Host: a\r\nConnection: close\r\n"

/* ---- tests ---- */

static void a_reply_has_length_date_and_etag_and_then_fin(void **state)
{
    (void)state;
    const char *got = ask("GET /hello HTTP/1.1\r\n" CLOSE11 "\r\n");
    assert_non_null(strstr(got, "HTTP/1.1 200 OK\r\nDate: "));
    assert_non_null(strstr(got, " GMT\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nETag: \"h1\"\r\n"));
    assert_non_null(strstr(got, "Connection: close\r\n"));
    assert_null(strstr(got, "Transfer-Encoding"));
    assert_string_equal(body_of(got), "hello");
}

static void old_clients_get_their_reply_and_a_close(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "GET /hello HTTP/1.0\r\n\r\n",
        "GET /hello HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "GET /hello HTTP/1.0\r\nUser-Agent: ESP8266-http-Update\r\nConnection: close\r\nContent-Length: "
        "0\r\n\r\n",
    };
    for (size_t i = 0; i < 3; i++) {
        const char *got = ask(requests[i]);
        assert_non_null(strstr(got, "HTTP/1.1 200 OK\r\n"));
        assert_non_null(strstr(got, "Connection: close\r\n"));
        assert_string_equal(body_of(got), "hello");
    }
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    char text[8192] = "";
    size_t n = 0;
    for (int i = 0; i < 40; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n,
                              "POST /echo/p%d HTTP/1.1\r\nHost: a\r\n%s\r\nContent-Length: %d\r\n\r\n%s", i,
                              i == 39 ? "Connection: close" : "X: y", i % 2 == 0 ? 3 : 0,
                              i % 2 == 0 ? "abc" : "");
    }
    const char *got = ask(text);
    for (int i = 0; i < 40; i++) {
        char want[32];
        (void)snprintf(want, sizeof(want), "\r\n\r\np%d||%s", i, i % 2 == 0 ? "abc" : "");
        got = strstr(got, want);
        assert_non_null(got);
        got += 4;
    }
}

static void head_gets_the_head_of_get(void **state)
{
    (void)state;
    const char *got = ask("HEAD /file HTTP/1.1\r\n" CLOSE11 "\r\n");
    assert_non_null(strstr(got, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(got, "Content-Length: 300000\r\n"));
    assert_non_null(strstr(got, "Accept-Ranges: bytes\r\n"));
    assert_string_equal(body_of(got), "");
    got = ask("HEAD /file HTTP/1.1\r\nRange: bytes=10-\r\n" CLOSE11 "\r\n");
    assert_non_null(strstr(got, "HTTP/1.1 206 "));
    assert_non_null(strstr(got, "Content-Range: bytes 10-299999/300000\r\n"));
}

static void conditions_are_answered(void **state)
{
    (void)state;
    expect_status("GET /hello HTTP/1.1\r\nIf-None-Match: \"h1\"\r\n" CLOSE11 "\r\n", "304");
    assert_string_equal(body_of(reply), "");
    assert_non_null(strstr(reply, "ETag: \"h1\"\r\n"));
    assert_null(strstr(reply, "Content-Length"));
    expect_status("GET /hello HTTP/1.1\r\nIf-None-Match: \"a,b\" ,W/\"h1\"\r\n" CLOSE11 "\r\n", "304");
    expect_status("GET /hello HTTP/1.1\r\nIf-None-Match: *\r\n" CLOSE11 "\r\n", "304");
    expect_status("GET /hello HTTP/1.1\r\nIf-None-Match: \"h\", \"1\"\r\n" CLOSE11 "\r\n", "200");
    expect_status("GET /hello HTTP/1.1\r\nIf-Match: \"h1\"\r\n" CLOSE11 "\r\n", "200");
    expect_status("GET /hello HTTP/1.1\r\nIf-Match: W/\"h1\"\r\n" CLOSE11 "\r\n", "412");
    expect_status("GET /file HTTP/1.1\r\nIf-Match: \"other\"\r\n" CLOSE11 "\r\n", "412");
    expect_status("GET /file HTTP/1.1\r\nIf-None-Match: \"f1\"\r\nRange: bytes=0-1\r\n" CLOSE11 "\r\n",
                  "304");
}

struct range_case {
    const char *fields, *status;
    size_t first, n; /* of the body; n 0: no body is looked at */
};

static void ranges_follow_the_rules(void **state)
{
    (void)state;
    static const struct range_case cases[] = {
        { "Range: bytes=0-65535\r\n", "206", 0, 65536 },
        { "Range: bytes=299990-\r\n", "206", 299990, 10 },
        { "Range: bytes=0-300000\r\n", "206", 0, 300000 },
        { "Range: bytes=10-99999999999999999999999\r\n", "206", 10, 299990 },
        { "Range: bytes=-5\r\n", "206", 299995, 5 },
        { "Range: bytes=-400000\r\n", "206", 0, 300000 },
        { "Range: bytes=300000-\r\n", "416", 0, 0 },
        { "Range: bytes=99999999999999999999999-\r\n", "416", 0, 0 },
        { "Range: bytes=-0\r\n", "416", 0, 0 },
        { "Range: bytes=0-1,3-4\r\n", "200", 0, 300000 },
        { "Range: bytes=5-4\r\n", "200", 0, 300000 },
        { "Range: bytes=a-b\r\n", "200", 0, 300000 },
        { "Range: bytes=-\r\n", "200", 0, 300000 },
        { "Range: lines=0-1\r\n", "200", 0, 300000 },
        { "Range: bytes=0-1\r\nRange: bytes=2-3\r\n", "200", 0, 300000 },
        { "Range: bytes=7-9\r\nIf-Range: \"f1\"\r\n", "206", 7, 3 },
        { "Range: bytes=7-9\r\nIf-Range: \"old\"\r\n", "200", 0, 300000 },
        { "Range: bytes=7-9\r\nIf-Range: Sat, 29 Oct 1994 19:43:31 GMT\r\n", "200", 0, 300000 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text), "GET /file HTTP/1.1\r\n%s" CLOSE11 "\r\n", cases[i].fields);
        int fd = dial();
        say(fd, text);
        size_t n = hear(fd, 0);
        (void)close(fd);
        if (strncmp(reply + 9, cases[i].status, 3) != 0) {
            fail_msg("%s: %.30s", cases[i].fields, reply);
        }
        const char *body = body_of(reply);
        size_t body_n = n - (size_t)(body - reply);
        assert_int_equal(body_n, cases[i].n);
        assert_memory_equal(body, content + cases[i].first, body_n);
        assert_true(cases[i].n > 0 || strstr(reply, "Content-Range: bytes */300000\r\n") != NULL);
    }
    const char *got = ask("GET /file HTTP/1.0\r\nRange: bytes=0-1\r\n\r\n");
    assert_non_null(strstr(got, "200 OK"));
    assert_null(strstr(got, "Accept-Ranges"));
}

static void routes_are_chosen_by_path_and_method(void **state)
{
    (void)state;
    assert_string_equal(body_of(ask("GET /x/a%2fb?q=1?2 HTTP/1.1\r\n" CLOSE11 "\r\n")), "a%2fb|q=1?2|");
    assert_string_equal(body_of(ask("GET /x/fixed HTTP/1.1\r\n" CLOSE11 "\r\n")), "hello");
    assert_string_equal(body_of(ask("GET /rest/a/b/c HTTP/1.1\r\n" CLOSE11 "\r\n")), "a/b/c||");
    assert_string_equal(body_of(ask("GET http://a/x/y?z HTTP/1.1\r\n" CLOSE11 "\r\n")), "y|z|");
    assert_string_equal(body_of(ask("GET / HTTP/1.1\r\n" CLOSE11 "\r\n")), "hello");
    expect_status("GET /x/ HTTP/1.1\r\n" CLOSE11 "\r\n", "404");
    expect_status("GET /hello/ HTTP/1.1\r\n" CLOSE11 "\r\n", "404");
    expect_status("GET /nothing HTTP/1.1\r\n" CLOSE11 "\r\n", "404");
    expect_status("POST /x/a HTTP/1.1\r\n" CLOSE11 "\r\n", "405");
    assert_non_null(strstr(reply, "Allow: GET, HEAD, PUT, DELETE\r\n"));
    expect_status("OPTIONS / HTTP/1.1\r\n" CLOSE11 "\r\n", "501");
}

static void bodies_arrive_whole_in_both_codings(void **state)
{
    (void)state;
    assert_string_equal(body_of(ask("POST /echo/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE11
                                    "\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nT: v\r\n\r\n")),
                        "a||hello world");
    /* byte by byte, with the next request right behind */
    static const char text[] =
        "POST /echo/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        "POST /echo/b HTTP/1.1\r\n" CLOSE11 "Content-Length: 2\r\n\r\nde";
    int fd = dial();
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        assert_int_equal(send(fd, text + i, 1, MSG_NOSIGNAL), 1);
        (void)usleep(300);
    }
    (void)hear(fd, 0);
    (void)close(fd);
    assert_non_null(strstr(reply, "\r\n\r\na||abc"));
    assert_non_null(strstr(reply, "\r\n\r\nb||de"));
}

static void a_large_chunked_body_is_followed_by_the_next_request(void **state)
{
    (void)state;
    static char text[120000];
    size_t n = (size_t)snprintf(text, sizeof(text),
                                "POST /echo/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 60; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "5dc\r\n%01500d\r\n", i);
    }
    n += (size_t)snprintf(text + n, sizeof(text) - n, "0\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n,
                              "POST /echo/b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d", i);
    }
    n += (size_t)snprintf(text + n, sizeof(text) - n, "GET /hello HTTP/1.1\r\n" CLOSE11 "\r\n");
    int fd = dial();
    assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), (ssize_t)n);
    (void)hear(fd, 0);
    (void)close(fd);
    assert_non_null(strstr(reply, "Content-Length: 90003\r\n"));
    assert_non_null(strstr(reply, "b||19"));
    assert_string_equal(reply + strlen(reply) - 5, "hello");
}

static void uploads_are_spooled_and_hashed(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "POST /upload HTTP/1.1\r\n" CLOSE11 "Content-Length: 3\r\n\r\nabc");
    (void)hear(fd, 0);
    (void)close(fd);
    assert_string_equal(body_of(reply),
                        "abc 3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(body_of(ask("POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE11
                                    "\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")),
                        "abc 3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void expect_continue_is_answered_before_the_body(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "POST /echo/a HTTP/1.1\r\n" CLOSE11 "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    (void)hear(fd, 25);
    assert_string_equal(reply, "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "abc");
    (void)hear(fd, 0);
    (void)close(fd);
    assert_string_equal(body_of(reply), "a||abc");
    /* refused before the body: no 100 */
    expect_status("POST /secret HTTP/1.1\r\n" CLOSE11 "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
                  "401");
}

static void admission_refuses_without_a_body(void **state)
{
    (void)state;
    const char *got = ask("GET /secret HTTP/1.1\r\n" CLOSE11 "\r\n");
    assert_non_null(strstr(got, "HTTP/1.1 401 Unauthorized\r\n"));
    assert_non_null(strstr(got, "Content-Length: 0\r\n"));
    assert_string_equal(body_of(got), "");
}

static void limits_are_refused_with_their_status(void **state)
{
    (void)state;
    static char text[20000];
    expect_status("POST /echo/a HTTP/1.1\r\n" CLOSE11 "Content-Length: 100001\r\n\r\n", "413");
    expect_status("GET /hello HTTP/1.1\r\n" CLOSE11 "Content-Length: 1\r\n\r\nx", "413");
    expect_status("POST /echo/a HTTP/1.1\r\n" CLOSE11 "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
                  "415");
    (void)snprintf(text, sizeof(text), "GET /%09000d HTTP/1.1\r\n" CLOSE11 "\r\n", 0);
    expect_status(text, "414");
    (void)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nX: %09000d\r\n" CLOSE11 "\r\n", 0);
    expect_status(text, "431");
    expect_status("GET / HTTP/1.1\r\n\r\n", "400");
    expect_status("GET / HTTP/3.0\r\n\r\n", "505");
    expect_status("POST /echo/a HTTP/1.1\r\n" CLOSE11 "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400");
    expect_status("GET /bad-header HTTP/1.1\r\n" CLOSE11 "\r\n", "500");
    assert_null(strstr(reply, "Set-Cookie"));
}

static void after_a_refusal_nothing_of_the_connection_is_read_as_a_request(void **state)
{
    (void)state;
    const char *got =
        ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            "0\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(got, "HTTP/1.1 400 "));
    assert_null(strstr(got + 9, "HTTP/1.1 "));
}

static void a_refused_upload_is_drained_so_that_the_reply_is_not_reset(void **state)
{
    (void)state;
    static char junk[60000];
    memset(junk, 'x', sizeof(junk));
    int fd = dial();
    say(fd, "POST /secret HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        assert_int_equal(send(fd, junk, sizeof(junk), MSG_NOSIGNAL), (ssize_t)sizeof(junk));
    }
    (void)hear(fd, 0); /* fails on RST */
    (void)close(fd);
    assert_non_null(strstr(reply, "HTTP/1.1 401 "));
}

static void a_reply_may_come_later_and_to_nobody(void **state)
{
    (void)state;
    assert_string_equal(body_of(ask("GET /later HTTP/1.1\r\n" CLOSE11 "\r\n")), "/later");
    unsigned before = atomic_load(&later_runs);
    int fd = dial();
    say(fd, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    (void)usleep(50000);
    struct linger hard = { .l_onoff = 1, .l_linger = 0 };
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)); /* RST */
    (void)close(fd);
    for (int i = 0; i < 100 && atomic_load(&later_runs) == before; i++) {
        (void)usleep(10000);
    }
    assert_int_equal(atomic_load(&later_runs), before + 1);
    expect_status("GET /hello HTTP/1.1\r\n" CLOSE11 "\r\n", "200");
    /* half-closed clients still get it, and pipelined bytes wait */
    fd = dial();
    say(fd, "GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\n" CLOSE11 "\r\n");
    (void)shutdown(fd, SHUT_WR);
    (void)hear(fd, 0);
    (void)close(fd);
    assert_non_null(strstr(reply, "\r\n\r\n/later"));
    assert_string_equal(reply + strlen(reply) - 5, "hello");
}

static double elapsed_s(const struct timespec *since)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)(t.tv_sec - since->tv_sec) + (double)(t.tv_nsec - since->tv_nsec) / 1e9;
}

static void slow_heads_and_idle_connections_are_ended(void **state)
{
    (void)state;
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    int silent = dial();
    int slow = dial();
    say(slow, "GET / HTTP/1.1\r\nX: ");
    size_t n = hear(slow, 0);
    assert_non_null(strstr(reply, "HTTP/1.1 408 "));
    assert_true(n > 0);
    assert_int_equal(hear(silent, 0), 0);
    assert_true(elapsed_s(&t) > 0.3 && elapsed_s(&t) < 3);
    (void)close(silent);
    (void)close(slow);
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    int idle = dial();
    say(idle, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    (void)hear(idle, 0); /* the reply, then FIN after idle_ms */
    assert_true(elapsed_s(&t) > 1.3 && elapsed_s(&t) < 4);
    (void)close(idle);
}

static void a_slow_head_on_a_kept_connection_is_ended_too(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    (void)hear(fd, 100);
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n");
    (void)hear(fd, 0);
    (void)close(fd);
    assert_non_null(strstr(reply, "HTTP/1.1 408 "));
    assert_true(elapsed_s(&t) > 0.3 && elapsed_s(&t) < 1.2); /* header_ms, not idle_ms */
}

static void a_reader_that_stalls_is_cut_off_and_told_of(void **state)
{
    (void)state;
    unsigned done = atomic_load(&file_done);
    unsigned whole = atomic_load(&file_whole);
    int small = 2048;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    /* more than any send buffer takes */
    for (int i = 0; i < 60; i++) {
        say(fd, "GET /file HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    (void)sleep(2);
    (void)close(fd);
    unsigned aborted = atomic_load(&file_done) - done - (atomic_load(&file_whole) - whole);
    assert_int_equal(aborted, 1);
}

static void files_arrive_whole_on_a_kept_connection(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /file HTTP/1.1\r\nHost: a\r\n\r\nGET /file HTTP/1.1\r\n" CLOSE11 "\r\n");
    size_t n = hear(fd, 0);
    (void)close(fd);
    assert_memory_equal(body_of(reply), content, FILE_BYTES);
    assert_memory_equal(reply + n - FILE_BYTES, content, FILE_BYTES);
}

static void too_many_connections_are_closed_at_once(void **state)
{
    (void)state;
    int fds[160];
    size_t closed = 0;
    for (size_t i = 0; i < 160; i++) {
        fds[i] = dial();
    }
    (void)usleep(100000);
    for (size_t i = 0; i < 160; i++) {
        char c;
        closed += recv(fds[i], &c, 1, MSG_DONTWAIT) == 0 ? 1 : 0;
        (void)close(fds[i]);
    }
    assert_true(closed >= 32); /* 64 a thread of 160 */
    (void)usleep(100000);
    expect_status("GET /hello HTTP/1.1\r\n" CLOSE11 "\r\n", "200");
    struct pag_http_stats s = pag_http_stats_get(http);
    assert_true(s.refused_limit >= 32);
    assert_true(s.requests > 0 && s.status_class[2] > 0 && s.bytes_sent > 0);
}

/* ---- clients that do anything at any time ---- */

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525U + 1013904223U;
    return *x >> 8;
}

static void misbehave(uint32_t *x)
{
    static const char *const texts[] = {
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /file HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /later HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /hello HTTP/1.0\r\n\r\n",
        "POST /echo/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST /echo/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        "POST /secret HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        "GET / HTTP/1.1\n\n",
    };
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        (void)close(fd);
        return;
    }
    for (uint32_t turns = next_random(x) % 6; turns > 0; turns--) {
        char junk[5000];
        const char *text = texts[next_random(x) % (sizeof(texts) / sizeof(texts[0]))];
        size_t n = strlen(text);
        n = next_random(x) % 4 == 0 ? next_random(x) % n : n; /* sometimes cut */
        (void)send(fd, text, n, MSG_NOSIGNAL);
        uint32_t then = next_random(x) % 5;
        if (then == 0) {
            (void)usleep(next_random(x) % 2000);
        } else if (then == 1) {
            (void)recv(fd, junk, sizeof(junk), MSG_DONTWAIT);
        } else if (then == 2 && next_random(x) % 3 == 0) {
            (void)shutdown(fd, SHUT_WR);
        }
    }
    struct linger hard = { .l_onoff = 1, .l_linger = 0 };
    if (next_random(x) % 2 == 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    }
    (void)close(fd);
}

static void *misbehave_main(void *arg)
{
    uint32_t *x = arg;
    for (int i = 0; i < 1500; i++) {
        misbehave(x);
    }
    return NULL;
}

static void clients_that_do_anything_leave_the_server_whole(void **state)
{
    (void)state;
    const char *given = getenv("PAG_SEED");
    uint32_t seed = given != NULL ? (uint32_t)strtoul(given, NULL, 10) : 20261121U;
    print_message("seed %u\n", seed);
    pthread_t clients[3];
    uint32_t seeds[3] = { seed, seed + 1, seed + 2 };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&clients[i], NULL, misbehave_main, &seeds[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        (void)pthread_join(clients[i], NULL);
    }
    for (int i = 0; i < 500 && pag_http_stats_get(http).open > 0; i++) {
        (void)usleep(10000);
    }
    assert_int_equal(pag_http_stats_get(http).open, 0);
    expect_status("GET /hello HTTP/1.1\r\n" CLOSE11 "\r\n", "200");
}

static void query_and_escapes_are_decoded(void **state)
{
    (void)state;
    struct pag_arena_pool *pool = pag_arena_pool_new(0);
    struct pag_http_request req = { .arena = pag_arena_open(pool, 4096),
                                    .query =
                                        pag_span_str("tag=1.0+abc&&x%3Dy=%41%42&empty&bad=%zz&nul=%00") };
    struct pag_span v;
    assert_true(pag_http_query_get(&req, "tag", &v) && pag_span_eq_str(v, "1.0+abc"));
    assert_true(pag_http_query_get(&req, "x=y", &v) && pag_span_eq_str(v, "AB"));
    assert_true(pag_http_query_get(&req, "empty", &v) && v.n == 0);
    assert_false(pag_http_query_get(&req, "bad", &v));
    assert_false(pag_http_query_get(&req, "nul", &v));
    assert_false(pag_http_query_get(&req, "absent", &v));
    assert_int_equal(pag_http_decode(&req, pag_span_str("a%20b"), &v), PAG_OK);
    assert_true(pag_span_eq_str(v, "a b"));
    assert_int_equal(pag_http_decode(&req, pag_span_str("a%2fb"), &v), PAG_E_SYNTAX);
    assert_int_equal(pag_http_decode(&req, pag_span_str("a%00"), &v), PAG_E_SYNTAX);
    assert_int_equal(pag_http_decode(&req, pag_span_str("a%2"), &v), PAG_E_SYNTAX);
    pag_arena_close(req.arena);
    pag_arena_pool_free(pool);
}

static void bad_routes_and_addresses_are_configuration_errors(void **state)
{
    (void)state;
    static const char *const patterns[] = { "no-slash", "/{a...}/b", "/{a}/{b}/{c}/{d}/{e}" };
    for (size_t i = 0; i < 3; i++) {
        const struct pag_http_route r = { PAG_HTTP_GET, patterns[i], 0, PAG_BODY_NONE, 0, handle_hello };
        struct pag_http *h = NULL;
        struct pag_fail why = { 0 };
        assert_int_equal(pag_http_new(&(struct pag_http_config){ .routes = &r, .route_n = 1 }, &h, &why),
                         PAG_E_CONFIG);
        assert_string_equal(why.what, "bad route");
    }
    struct pag_loop *loop = pag_loop_new(pag_clock_system());
    struct pag_http_listener *l = NULL;
    struct pag_fail why = { 0 };
    assert_int_equal(pag_http_attach(http, loop, "localhost", 0, NULL, &l, &why), PAG_E_CONFIG);
    pag_loop_free(loop);
}

static void stop_it(struct pag_loop *loop, struct pag_timer *t)
{
    (void)t;
    pag_loop_stop(loop);
}

static void detach_closes_the_idle_and_frees_the_listener(void **state)
{
    (void)state;
    struct pag_http *h = NULL;
    struct pag_http_listener *l = NULL;
    struct pag_loop *loop = pag_loop_new(pag_clock_system());
    const struct pag_http_config config = { .routes = routes, .route_n = 1 };
    assert_int_equal(pag_http_new(&config, &h, NULL), PAG_OK);
    assert_int_equal(pag_http_attach(h, loop, "127.0.0.1", 0, NULL, &l, NULL), PAG_OK);
    uint16_t saved = port;
    port = pag_http_port(l);
    int fd = dial();
    port = saved;
    struct pag_timer t = { .on_fire = stop_it };
    pag_loop_timer(loop, &t, 50);
    assert_int_equal(pag_loop_run(loop), PAG_OK);
    assert_int_equal(pag_http_stats_get(h).open, 1);
    pag_http_detach(l, 10);
    pag_loop_timer(loop, &t, 100);
    assert_int_equal(pag_loop_run(loop), PAG_OK);
    assert_int_equal(hear(fd, 0), 0);
    assert_int_equal(pag_http_stats_get(h).open, 0);
    assert_int_equal(pag_http_stats_get(h).accepted, 1);
    (void)close(fd);
    pag_http_free(h);
    pag_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_has_length_date_and_etag_and_then_fin),
        cmocka_unit_test(old_clients_get_their_reply_and_a_close),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(head_gets_the_head_of_get),
        cmocka_unit_test(conditions_are_answered),
        cmocka_unit_test(ranges_follow_the_rules),
        cmocka_unit_test(routes_are_chosen_by_path_and_method),
        cmocka_unit_test(bodies_arrive_whole_in_both_codings),
        cmocka_unit_test(a_large_chunked_body_is_followed_by_the_next_request),
        cmocka_unit_test(uploads_are_spooled_and_hashed),
        cmocka_unit_test(expect_continue_is_answered_before_the_body),
        cmocka_unit_test(admission_refuses_without_a_body),
        cmocka_unit_test(limits_are_refused_with_their_status),
        cmocka_unit_test(after_a_refusal_nothing_of_the_connection_is_read_as_a_request),
        cmocka_unit_test(a_refused_upload_is_drained_so_that_the_reply_is_not_reset),
        cmocka_unit_test(a_reply_may_come_later_and_to_nobody),
        cmocka_unit_test(slow_heads_and_idle_connections_are_ended),
        cmocka_unit_test(a_slow_head_on_a_kept_connection_is_ended_too),
        cmocka_unit_test(a_reader_that_stalls_is_cut_off_and_told_of),
        cmocka_unit_test(files_arrive_whole_on_a_kept_connection),
        cmocka_unit_test(too_many_connections_are_closed_at_once),
        cmocka_unit_test(clients_that_do_anything_leave_the_server_whole),
        cmocka_unit_test(query_and_escapes_are_decoded),
        cmocka_unit_test(bad_routes_and_addresses_are_configuration_errors),
        cmocka_unit_test(detach_closes_the_idle_and_frees_the_listener),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
