#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): mkdtemp */
#include "tests/support/http_server.h"

/* Connections: closing, late replies, slow and hostile clients. */

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

/* A client whose system takes few bytes that it has not read. */
static int dial_narrow(void)
{
    int small = 2048;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static bool comes_to(atomic_uint *value, unsigned want)
{
    for (int i = 0; i < 1000 && atomic_load(value) != want; i++) {
        (void)usleep(10000);
    }
    return atomic_load(value) == want;
}

static void a_reader_that_stalls_is_cut_off_and_told_of(void **state)
{
    (void)state;
    unsigned done = atomic_load(&file_done);
    unsigned whole = atomic_load(&file_whole);
    int fd = dial_narrow();
    /* more than any send buffer takes */
    for (int i = 0; i < 60; i++) {
        say(fd, "GET /file HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    (void)sleep(2);
    (void)close(fd);
    unsigned aborted = atomic_load(&file_done) - done - (atomic_load(&file_whole) - whole);
    assert_int_equal(aborted, 1);
}

static void a_reader_that_leaves_half_way_is_never_counted_as_complete(void **state)
{
    (void)state;
    for (int reset = 0; reset < 2; reset++) {
        unsigned done = atomic_load(&file_done);
        unsigned whole = atomic_load(&file_whole);
        int fd = dial_narrow();
        say(fd, "GET /file HTTP/1.1\r\nHost: a\r\n\r\n");
        (void)hear(fd, FILE_BYTES / 2); /* the kernel of the server has had all of it for long */
        struct linger hard = { .l_onoff = reset, .l_linger = 0 };
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        (void)close(fd);
        assert_true(comes_to(&file_done, done + 1));
        assert_int_equal(atomic_load(&file_whole), whole);
    }
}

static void a_file_counts_when_the_peer_has_it_and_the_connection_goes_on(void **state)
{
    (void)state;
    unsigned whole = atomic_load(&file_whole);
    int fd = dial();
    say(fd, "GET /file HTTP/1.1\r\nHost: a\r\n\r\n");
    (void)hear(fd, FILE_BYTES + 100);
    assert_true(comes_to(&file_whole, whole + 1)); /* without another request */
    say(fd, "GET /hello HTTP/1.1\r\n" CLOSE11 "\r\n");
    (void)hear(fd, 0);
    (void)close(fd);
    assert_non_null(strstr(reply, "\r\n\r\nhello"));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_upload_is_drained_so_that_the_reply_is_not_reset),
        cmocka_unit_test(a_reply_may_come_later_and_to_nobody),
        cmocka_unit_test(slow_heads_and_idle_connections_are_ended),
        cmocka_unit_test(a_slow_head_on_a_kept_connection_is_ended_too),
        cmocka_unit_test(a_reader_that_stalls_is_cut_off_and_told_of),
        cmocka_unit_test(a_reader_that_leaves_half_way_is_never_counted_as_complete),
        cmocka_unit_test(a_file_counts_when_the_peer_has_it_and_the_connection_goes_on),
        cmocka_unit_test(files_arrive_whole_on_a_kept_connection),
        cmocka_unit_test(too_many_connections_are_closed_at_once),
        cmocka_unit_test(clients_that_do_anything_leave_the_server_whole),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
