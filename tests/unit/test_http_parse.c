#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "host/http_parse.h"

unsigned pag_http_class_check(void); /* host/http_parse.c, for this test only */

enum { LIMIT = 16384, MESSAGE_MAX = 70000 };

/* What came of one message: refused with a status, waiting for more (status 0, incomplete), or taken. */
struct outcome {
    unsigned status;
    bool complete;
    size_t head_n;
    enum pag_http_method method;
    struct pag_http_meta meta;
    size_t headers;
    char path[256];
    char body[1024];
    size_t body_n;
    size_t used; /* of the input, when complete */
};

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525U + 1013904223U;
    return *x >> 8;
}

/* Feeds the message in pieces whose ends cut() chooses. */
static void feed(struct pag_span in, uint32_t *seed, struct outcome *o)
{
    static struct pag_http_request req;
    struct pag_http_scan scan = { 0 };
    struct pag_http_refusal no = { 0 };
    memset(o, 0, sizeof(*o));
    size_t have = seed == NULL ? in.n : 0;
    enum pag_err err = PAG_E_SHORT;
    while (err == PAG_E_SHORT) {
        if (seed != NULL && have < in.n) {
            size_t more = 1 + next_random(seed) % 40;
            have = in.n - have < more ? in.n : have + more;
        }
        err = pag_http_scan_head(&scan, pag_span_of(in.p, have), LIMIT, &o->head_n, &no);
        if (err == PAG_E_SHORT && have == in.n) {
            return;
        }
    }
    if (err == PAG_OK) {
        err = pag_http_parse_head(pag_span_of(in.p, o->head_n), &req, &o->meta, &no);
    }
    if (err != PAG_OK) {
        o->status = no.status;
        return;
    }
    o->method = req.method;
    o->headers = req.header_n;
    memcpy(o->path, req.path.p, req.path.n < sizeof(o->path) ? req.path.n : sizeof(o->path) - 1);
    size_t at = o->head_n;
    if (o->meta.framing != PAG_FRAME_CHUNKED) {
        o->used = at + (size_t)o->meta.content_length;
        o->complete = o->used <= in.n;
        return;
    }
    struct pag_http_chunks chunks = { 0 };
    while (at < in.n) {
        size_t end = seed == NULL ? in.n : at + 1 + next_random(seed) % 9;
        end = end > in.n ? in.n : end;
        struct pag_span piece = { in.p + at, end - at };
        struct pag_span data = { NULL, 1 };
        err = PAG_E_SHORT;
        while (err == PAG_E_SHORT && (piece.n > 0 || data.n > 0)) {
            err = pag_http_chunks_next(&chunks, &piece, &data);
            for (size_t i = 0; i < data.n && o->body_n < sizeof(o->body); i++) {
                o->body[o->body_n++] = (char)data.p[i];
            }
        }
        at = end - piece.n;
        if (err != PAG_E_SHORT) {
            o->complete = err == PAG_OK;
            o->status = err == PAG_OK ? 0 : 400;
            o->used = at;
            return;
        }
    }
}

static struct outcome outcome_of(const char *text)
{
    struct outcome o;
    feed(pag_span_str(text), NULL, &o);
    return o;
}

static void table_of_byte_classes_is_what_the_rules_say(void **state)
{
    (void)state;
    assert_int_equal(pag_http_class_check(), 0);
}

static void a_device_s_request_is_read(void **state)
{
    (void)state;
    struct outcome o =
        outcome_of("GET /fw.php?tag=1.0+abc?x=\"q\"&\x80 HTTP/1.0\r\n"
                   "Host: 10.0.0.1:8080\r\nUser-Agent: ESP8266-http-Update\r\nConnection: close\r\n"
                   "x-ESP8266-sketch-md5:\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(o.status, 0);
    assert_true(o.complete);
    assert_int_equal(o.method, PAG_HTTP_GET);
    assert_string_equal(o.path, "/fw.php");
    assert_int_equal(o.headers, 5);
    assert_false(o.meta.keep_alive);
}

struct accepted {
    const char *text;
    bool keep;
};

static void unusual_but_clear_requests_are_taken(void **state)
{
    (void)state;
    static const struct accepted cases[] = {
        { "GET / HTTP/1.0\r\n\r\n", false },
        { "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false },
        { "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true },
        { "GET / HTTP/1.1\r\nHost:\r\n\r\n", true },
        { "GET / HTTP/1.1\r\nhOST: [::1]:80\r\nConnection: Close\r\n\r\n", false },
        { "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, \tclose , y\r\n\r\n", false },
        { "GET / HTTP/1.1\r\nHost: a\r\nConnection: enclosed\r\n\r\n", true },
        { "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", true },
        { "GET http://a.example:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", true },
        { "GET http://a.example HTTP/1.1\r\nHost: a\r\n\r\n", true },
        { "GET /a|b{c}\"<>\\^`' HTTP/1.1\r\nHost: a\r\n\r\n", true },
        { "GET / HTTP/1.1\r\nHost: a\r\nX:\t \tv w\t \r\n\r\n", true },
        { "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\r\n\r\n", true },
        { "GET / HTTP/1.1\r\nHost: a\r\nContent-Encoding: identity\r\n\r\n", true },
        { "DELETE / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", true },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct outcome o = outcome_of(cases[i].text);
        if (o.status != 0 || !o.complete || o.meta.keep_alive != cases[i].keep) {
            fail_msg("case %zu: status %u", i, o.status);
        }
    }
}

struct refused {
    unsigned status;
    const char *text;
};

static void what_can_be_read_in_two_ways_is_refused(void **state)
{
    (void)state;
    static const struct refused cases[] = {
        { 400, "GET / HTTP/1.1\r\n\r\n" },                       /* no Host */
        { 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n" }, /* two */
        { 400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n" },
        { 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n" },
        { 400, "GET / HTTP/1.1\r\nHost: u@b\r\n\r\n" },
        { 400, "GET / HTTP/1.1\r\nHost: a\r\nX : v\r\n\r\n" }, /* blank before the colon */
        { 400, "GET / HTTP/1.1\r\nHost: a\r\n X: v\r\n\r\n" }, /* folded */
        { 400, "GET / HTTP/1.1\r\nHost: a\r\nX: v\r\n\tw\r\n\r\n" },
        { 400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n" },
        { 400, "GET / HTTP/1.1\nHost: a\n\n" }, /* bare LF */
        { 400, "GET / HTTP/1.1\r\nHost: a\n\r\n" },
        { 400, "GET / HTTP/1.1\r\nHost: a\rX: v\r\n\r\n" }, /* bare CR */
        { 400, "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n" },
        { 400, "GET / HTTP/1.1\r\nHost: a\r\n: v\r\n\r\n" },
        { 400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n" },
        { 400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n" },
        { 400, "GET / HTTP/1.1\r\nHost: a\r\nX\xe4: v\r\n\r\n" },
        { 400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n" },
        { 400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "GET x HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "GET /\r\n\r\n" }, /* HTTP/0.9 */
        { 400, "G<T / HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "\x16\x03\x01\x02" }, /* TLS on the plain port */
        { 400, "GET / http/1.1\r\nHost: a\r\n\r\n" },
        { 400, "GET / HTTP/1\r\nHost: a\r\n\r\n" },
        { 505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n" },
        { 505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n" },
        { 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" },
        { 501, "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 501, "get / HTTP/1.1\r\nHost: a\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n" },
        { 400,
          "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" },
        { 400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" },
        { 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n" },
        { 415, "POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n\r\n" },
        { 417, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct outcome o = outcome_of(cases[i].text);
        if (o.status != cases[i].status) {
            fail_msg("case %zu: status %u, want %u:\n%s", i, o.status, cases[i].status, cases[i].text);
        }
    }
}

static const char chunked_head[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n";

static void chunked_bodies_are_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *text, *body;
    } cases[] = {
        { "0\r\n\r\n", "" },
        { "5\r\nhello\r\n0\r\n\r\n", "hello" },
        { "5\r\nhello\r\n6;x=y\r\n world\r\n000\r\nTrailer: v\r\nOther: w\r\n\r\n", "hello world" },
        { "0000000A\r\n0123456789\r\n0;last\r\n\r\n", "0123456789" },
        { "a\r\n\r\n0\r\n\r\n234\r\n0\r\n\r\n", "\r\n0\r\n\r\n234" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "%s%sGET", chunked_head, cases[i].text);
        struct outcome o = outcome_of(text);
        assert_true(o.complete);
        assert_int_equal(o.body_n, strlen(cases[i].body));
        assert_memory_equal(o.body, cases[i].body, o.body_n);
        assert_int_equal(o.used, strlen(text) - 3);
    }
}

static void bad_chunks_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "\r\n",
        "g\r\n",
        "0x5\r\nhello\r\n",
        "-1\r\n",
        "+5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\rX",
        "123456789\r\n",
        "000000005\r\nhello\r\n",
        ";x\r\n",
        "5;\x01\r\nhello\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "0\r\nX: \x02\r\n\r\n",
        "0\r\n X: v\r\n\r\n",
        "0\r\nX\nY: v\r\n\r\n",
        "0\r\n\rX",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "%s%s", chunked_head, cases[i]);
        struct outcome o = outcome_of(text);
        if (o.status != 400) {
            fail_msg("case %zu was not refused: %s", i, cases[i]);
        }
    }
}

static void limits_have_their_own_statuses(void **state)
{
    (void)state;
    static char text[MESSAGE_MAX];
    struct outcome o;
    int n = snprintf(text, sizeof(text), "GET /%08100d HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    feed(pag_span_of(text, (size_t)n), NULL, &o);
    assert_true(o.complete);
    n = snprintf(text, sizeof(text), "GET /%08300d HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    feed(pag_span_of(text, (size_t)n), NULL, &o);
    assert_int_equal(o.status, 414);
    n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\nX: %08300d\r\n\r\n", 0);
    feed(pag_span_of(text, (size_t)n), NULL, &o);
    assert_int_equal(o.status, 431);
    n = snprintf(text, sizeof(text),
                 "GET / HTTP/1.1\r\nHost: a\r\nX: %08000d\r\nY: %08000d\r\nZ: %0500d\r\n\r\n", 0, 0, 0);
    feed(pag_span_of(text, (size_t)n), NULL, &o);
    assert_int_equal(o.status, 431);
    for (int headers = 64; headers <= 65; headers++) {
        n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 1; i < headers; i++) {
            n += snprintf(text + n, sizeof(text) - (size_t)n, "X%d: v\r\n", i);
        }
        n += snprintf(text + n, sizeof(text) - (size_t)n, "\r\n");
        feed(pag_span_of(text, (size_t)n), NULL, &o);
        assert_int_equal(o.status, headers == 64 ? 0 : 431);
    }
    memset(text, 'a', sizeof(text)); /* never a line end */
    feed(pag_span_of(text, 8191), NULL, &o);
    assert_int_equal(o.status, 0);
    feed(pag_span_of(text, 8192), NULL, &o);
    assert_int_equal(o.status, 414);
}

/* ---- request smuggling: 2 framing fields, each spelled in many ways, before and after each other ---- */

static const char *const lengths[] = {
    "Content-Length: 6",
    "Content-Length:6",
    "content-length: 6",
    "Content-Length : 6",
    "Content-Length: 6 ",
    "Content-Length: +6",
    "Content-Length: 0x6",
    "Content-Length: 6, 6",
    " Content-Length: 6",
    "Content-Length: 06",
    "Content_Length: 6",
    "Content-Length\t: 6",
    "Content-Length: \x0b"
    "6",
};

static const char *const encodings[] = {
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "transfer-encoding:chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "Transfer-Encoding: \x0b"
    "chunked",
    "Transfer-Encoding:\tchunked",
    " Transfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding\x80: chunked",
};

static void no_pair_of_framing_fields_gets_through(void **state)
{
    (void)state;
    unsigned cases = 0;
    for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
        for (size_t e = 0; e < sizeof(encodings) / sizeof(encodings[0]); e++) {
            for (int order = 0; order < 2; order++) {
                char text[512];
                (void)snprintf(text, sizeof(text), "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n%s\r\n\r\n0\r\n\r\nG",
                               order == 0 ? lengths[l] : encodings[e],
                               order == 0 ? encodings[e] : lengths[l]);
                struct outcome o = outcome_of(text);
                /* "Content_Length" is just another name: then the encoding alone decides */
                bool alone = strchr(lengths[l], '_') != NULL;
                bool chunked = e < 3 || e == 9;
                if (alone && chunked ? o.status != 0 || o.meta.framing != PAG_FRAME_CHUNKED
                                     : o.status != 400) {
                    fail_msg("taken with status %u:\n%s", o.status, text);
                }
                cases++;
            }
        }
    }
    assert_true(cases >= 400);
}

/* ---- properties ---- */

static const char *const seeds[] = {
    "GET /a/b?c=d HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"x\"\r\n\r\n",
    "POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n3\r\nabc\r\n0\r\nT: "
    "v\r\n\r\nGET",
    "GET / HTTP/1.0\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "\r\nHEAD / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
};

static void how_bytes_are_cut_does_not_change_the_outcome(void **state)
{
    (void)state;
    static const char alphabet[] = "\r\n :;,\t0159aAfxHG/\x80\x01";
    const char *given = getenv("PAG_SEED");
    uint32_t x = given != NULL ? (uint32_t)strtoul(given, NULL, 10) : 20261121U;
    print_message("seed %u\n", x);
    for (unsigned round = 0; round < 60000; round++) {
        uint8_t text[512];
        struct pag_span from = pag_span_str(seeds[next_random(&x) % (sizeof(seeds) / sizeof(seeds[0]))]);
        size_t n = from.n;
        memcpy(text, from.p, n);
        for (unsigned m = next_random(&x) % 3; m > 0; m--) {
            size_t at = next_random(&x) % n;
            if (next_random(&x) % 4 == 0) {
                memmove(text + at, text + at + 1, n - at - 1);
                n--;
            } else {
                text[at] = (uint8_t)alphabet[next_random(&x) % (sizeof(alphabet) - 1)];
            }
        }
        struct outcome whole;
        struct outcome cut;
        feed(pag_span_of(text, n), NULL, &whole);
        feed(pag_span_of(text, n), &x, &cut);
        if (memcmp(&whole, &cut, sizeof(whole)) != 0) {
            fail_msg("round %u: %u/%u: %.*s", round, whole.status, cut.status, (int)n, (const char *)text);
        }
    }
}

static void every_truncation_waits_for_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
        struct outcome whole = outcome_of(seeds[i]);
        assert_true(whole.complete);
        for (size_t n = 0; n < whole.used; n++) {
            struct outcome o;
            feed(pag_span_of(seeds[i], n), NULL, &o);
            assert_int_equal(o.status, 0);
            assert_false(o.complete);
        }
    }
}

/* NULL: refused; else its query, and that the connection ends. */
static const char *spaced(const char *head)
{
    static struct pag_http_request req;
    static char query[128];
    struct pag_http_meta meta;
    struct pag_http_refusal no = { 0 };
    if (pag_http_parse_head_spaced(pag_span_str(head), &req, &meta, &no) != PAG_OK) {
        assert_true(no.status >= 400);
        return NULL;
    }
    assert_false(meta.keep_alive);
    memcpy(query, req.query.p, req.query.n);
    query[req.query.n] = '\0';
    return query;
}

static void spaces_in_a_query_are_taken_where_they_are_let_through(void **state)
{
    (void)state;
    assert_string_equal(spaced("GET /tag/x?tag=My build 1 HTTP/1.0\r\n\r\n"), "tag=My build 1");
    assert_string_equal(spaced("GET /tag/x?tag=My  build HTTP/1.1\r\nHost: a\r\n\r\n"), "tag=My  build");
    assert_string_equal(spaced("HEAD /t?tag=a HTTP/1.0 b HTTP/1.0\r\n\r\n"), "tag=a HTTP/1.0 b");
    assert_string_equal(spaced("GET /t?tag=a b HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), "tag=a b");
    assert_int_equal(outcome_of("GET /tag/x?tag=My build 1 HTTP/1.0\r\n\r\n").status, 400);
}

static void what_spaces_could_hide_is_refused(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "GET /tag x?tag=1 HTTP/1.0\r\n\r\n",  /* in the path */
        "GET  /t?tag=1 HTTP/1.0\r\n\r\n",     /* before it */
        "GET /t?tag=a b\r\n\r\n",             /* no version */
        "GET /t?tag=a b HTTP/2.0\r\n\r\n",    /* another one */
        "GET /t?tag=a\tb c HTTP/1.0\r\n\r\n", /* other blanks */
        "GET /t?tag=a\rb c HTTP/1.0\r\n\r\n",
        "POST /t?tag=a b HTTP/1.0\r\n\r\n",                     /* not only read */
        "GET /t?tag=a b HTTP/1.0\r\nContent-Length: 3\r\n\r\n", /* a body */
        "GET /t?tag=a b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        assert_null(spaced(heads[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spaces_in_a_query_are_taken_where_they_are_let_through),
        cmocka_unit_test(what_spaces_could_hide_is_refused),
        cmocka_unit_test(table_of_byte_classes_is_what_the_rules_say),
        cmocka_unit_test(a_device_s_request_is_read),
        cmocka_unit_test(unusual_but_clear_requests_are_taken),
        cmocka_unit_test(what_can_be_read_in_two_ways_is_refused),
        cmocka_unit_test(chunked_bodies_are_decoded),
        cmocka_unit_test(bad_chunks_are_refused),
        cmocka_unit_test(limits_have_their_own_statuses),
        cmocka_unit_test(no_pair_of_framing_fields_gets_through),
        cmocka_unit_test(how_bytes_are_cut_does_not_change_the_outcome),
        cmocka_unit_test(every_truncation_waits_for_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
