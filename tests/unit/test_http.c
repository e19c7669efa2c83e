#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): mkdtemp */
#include "tests/support/http_server.h"

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
    static char text[8192];
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
        cmocka_unit_test(query_and_escapes_are_decoded),
        cmocka_unit_test(bad_routes_and_addresses_are_configuration_errors),
        cmocka_unit_test(detach_closes_the_idle_and_frees_the_listener),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
