/*
 * The request parser. The first 4 bytes choose where the rest is cut.
 * - Whole and in pieces, the outcome is the same.
 * - What is accepted, http-parser accepts with the same method, target, headers, body and length, except for
 * what peer_is_stricter() lists (docs/spec/http.md).
 */
#include <http_parser.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "host/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 16384, BODY_MAX = 65536 };

struct outcome {
    unsigned status;
    bool complete;
    struct pag_http_meta meta;
    size_t used;
    size_t body_n;
    uint8_t body[BODY_MAX];
};

static struct pag_http_request request; /* of the whole feed */
static struct outcome whole, cut;

#define REQUIRE(x)                                                                                           \
    do {                                                                                                     \
        if (!(x)) {                                                                                          \
            (void)fprintf(stderr, "fuzz_http: line %d: %s\n", __LINE__, #x);                                 \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static size_t piece(uint32_t *seed, size_t left, size_t most)
{
    if (seed == NULL) {
        return left;
    }
    *seed = *seed * 1664525U + 1013904223U;
    size_t n = 1 + (*seed >> 8) % most;
    return n < left ? n : left;
}

static void feed_body(struct pag_span in, size_t at, uint32_t *seed, struct outcome *o)
{
    struct pag_http_chunks chunks = { 0 };
    enum pag_err err = PAG_E_SHORT;
    while (err == PAG_E_SHORT && at < in.n) {
        struct pag_span part = { in.p + at, piece(seed, in.n - at, 9) };
        size_t end = at + part.n;
        struct pag_span content = { NULL, 1 };
        while (err == PAG_E_SHORT && (part.n > 0 || content.n > 0)) {
            err = pag_http_chunks_next(&chunks, &part, &content);
            REQUIRE(content.n <= in.n && o->body_n + content.n <= BODY_MAX);
            memcpy(o->body + o->body_n, content.p, content.n);
            o->body_n += content.n;
        }
        at = end - part.n;
    }
    o->used = at;
    o->complete = err == PAG_OK;
    o->status = err == PAG_E_SYNTAX ? 400 : 0;
}

static void feed(struct pag_span in, uint32_t *seed, struct pag_http_request *req, struct outcome *o)
{
    struct pag_http_scan scan = { 0 };
    struct pag_http_refusal no = { 0 };
    size_t head_n = 0;
    size_t have = 0;
    enum pag_err err = PAG_E_SHORT;
    memset(o, 0, offsetof(struct outcome, body));
    while (err == PAG_E_SHORT && have < in.n) {
        have += piece(seed, in.n - have, 40);
        err = pag_http_scan_head(&scan, pag_span_of(in.p, have), LIMIT, &head_n, &no);
    }
    if (err == PAG_OK) {
        err = pag_http_parse_head(pag_span_of(in.p, head_n), req, &o->meta, &no);
    }
    if (err != PAG_OK) {
        o->status = no.status;
        REQUIRE(err == PAG_E_SHORT || no.status >= 400);
        return;
    }
    if (o->meta.framing == PAG_FRAME_CHUNKED) {
        feed_body(in, head_n, seed, o);
        return;
    }
    o->complete = o->meta.content_length <= in.n - head_n;
    o->used = o->complete ? head_n + (size_t)o->meta.content_length : 0;
    o->body_n = o->complete ? (size_t)o->meta.content_length : 0;
    memcpy(o->body, in.p + head_n, o->body_n);
}

/* ---- http-parser ---- */

struct peer {
    size_t url_n, headers, body_n;
    bool in_value, done;
    struct pag_span url;
    size_t name_n[PAG_HTTP_HEADERS_MAX + 16], value_n[PAG_HTTP_HEADERS_MAX + 16];
    const char *name[PAG_HTTP_HEADERS_MAX + 16], *value[PAG_HTTP_HEADERS_MAX + 16];
    uint8_t body[BODY_MAX];
    size_t own_headers; /* before the body: later ones are trailers */
};

static struct peer peer;

static int on_url(http_parser *p, const char *at, size_t n)
{
    (void)p;
    peer.url = pag_span_of(at, n);
    return 0;
}

static int on_field(http_parser *p, const char *at, size_t n)
{
    (void)p;
    if (peer.headers < sizeof(peer.name) / sizeof(peer.name[0])) {
        peer.name[peer.headers] = at;
        peer.name_n[peer.headers] = n;
        peer.value[peer.headers] = NULL;
        peer.value_n[peer.headers] = 0;
        peer.headers++;
    }
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t n)
{
    (void)p;
    if (peer.headers > 0) {
        peer.value[peer.headers - 1] = at;
        peer.value_n[peer.headers - 1] = n;
    }
    return 0;
}

static int on_headers(http_parser *p)
{
    (void)p;
    peer.own_headers = peer.headers;
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
    (void)p;
    memcpy(peer.body + peer.body_n, at, n);
    peer.body_n += n;
    return 0;
}

static int on_complete(http_parser *p)
{
    peer.done = true;
    http_parser_pause(p, 1);
    return 0;
}

static struct pag_span trimmed(const char *p, size_t n)
{
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t')) {
        n--;
    }
    return pag_span_of(p, n);
}

static void compare_headers(void)
{
    REQUIRE(peer.own_headers == request.header_n);
    for (size_t i = 0; i < request.header_n; i++) {
        REQUIRE(pag_span_eq(request.header[i].name, pag_span_of(peer.name[i], peer.name_n[i])));
        REQUIRE(pag_span_eq(request.header[i].value, trimmed(peer.value[i], peer.value_n[i])));
    }
}

/* http-parser 2.9.4 takes "Transfer-Encoding-X" for Transfer-Encoding, and so on. */
static bool has_longer_name(const char *prefix)
{
    size_t n = strlen(prefix);
    for (size_t i = 0; i < request.header_n; i++) {
        struct pag_span name = request.header[i].name;
        if (name.n > n && pag_span_eq_nocase(pag_span_of(name.p, n), prefix)) {
            return true;
        }
    }
    return false;
}

/* Blanks behind a value may be tabs (RFC 9110 5.6.3); http-parser takes none behind a length. */
static bool has_tab_behind(const char *name)
{
    for (size_t i = 0; i < request.header_n; i++) {
        const struct pag_http_header *h = &request.header[i];
        const uint8_t *at = h->value.p + h->value.n; /* its line ends in the same buffer */
        while (*at == ' ') {
            at++;
        }
        if (pag_span_eq_nocase(h->name, name) && *at == '\t') {
            return true;
        }
    }
    return false;
}

/* Accepted here, refused by http-parser 2.9 for a reason that cannot make two readings of one message. */
static bool peer_is_stricter(const http_parser *p)
{
    /* Trailer fields are dropped unread here, and parsed like headers there. */
    bool in_trailer = whole.meta.framing == PAG_FRAME_CHUNKED && peer.own_headers > 0;
    switch (HTTP_PARSER_ERRNO(p)) {
    case HPE_INVALID_URL: /* bytes from 0x80 on and odd authorities: devices send targets unescaped */
    case HPE_INVALID_HOST:
    case HPE_INVALID_PORT:
    case HPE_INVALID_PATH:
    case HPE_INVALID_QUERY_STRING:
    case HPE_INVALID_FRAGMENT:
        return true;
    case HPE_INVALID_HEADER_TOKEN:
        return whole.meta.framing == PAG_FRAME_CHUNKED &&
               peer.own_headers > 0; /* a trailer line without a colon */
    case HPE_INVALID_TRANSFER_ENCODING:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_CONTENT_LENGTH:
        return in_trailer || has_longer_name("transfer-encoding") || has_longer_name("content-length") ||
               has_tab_behind("content-length");
    default:
        return false;
    }
}

static void compare_with_peer(struct pag_span in)
{
    static const http_parser_settings settings = { .on_url = on_url,
                                                   .on_header_field = on_field,
                                                   .on_header_value = on_value,
                                                   .on_headers_complete = on_headers,
                                                   .on_body = on_body,
                                                   .on_message_complete = on_complete };
    http_parser p;
    memset(&peer, 0, offsetof(struct peer, body));
    peer.own_headers = 0;
    http_parser_init(&p, HTTP_REQUEST);
    size_t used = http_parser_execute(&p, &settings, (const char *)in.p, whole.used);
    if (!peer.done) {
        if (!peer_is_stricter(&p)) {
            (void)fprintf(stderr, "http-parser: %s\n", http_errno_description(HTTP_PARSER_ERRNO(&p)));
        }
        REQUIRE(peer_is_stricter(&p));
        return;
    }
    /* Paused at the last LF, which then counts as not consumed yet. */
    REQUIRE(used == whole.used || used + 1 == whole.used);
    REQUIRE(strcmp(http_method_str((enum http_method)p.method), request.method == PAG_HTTP_GET    ? "GET"
                                                                : request.method == PAG_HTTP_HEAD ? "HEAD"
                                                                : request.method == PAG_HTTP_POST ? "POST"
                                                                : request.method == PAG_HTTP_PUT  ? "PUT"
                                                                : request.method == PAG_HTTP_PATCH
                                                                    ? "PATCH"
                                                                    : "DELETE") == 0);
    REQUIRE(p.http_major == 1 && p.http_minor == request.minor);
    REQUIRE(pag_span_eq(peer.url, request.target));
    compare_headers();
    REQUIRE(peer.body_n == whole.body_n && memcmp(peer.body, whole.body, whole.body_n) == 0);
}

/* Where spaces in a query are let through, nothing else may change, and nothing may follow. */
static void compare_with_spaced(struct pag_span in)
{
    static struct pag_http_request strict;
    static struct pag_http_request spaced;
    struct pag_http_scan scan = { 0 };
    struct pag_http_refusal no = { 0 };
    struct pag_http_meta a, b;
    size_t head_n = 0;
    if (pag_http_scan_head(&scan, in, LIMIT, &head_n, &no) != PAG_OK) {
        return;
    }
    struct pag_span head = pag_span_of(in.p, head_n);
    enum pag_err one = pag_http_parse_head(head, &strict, &a, &no);
    enum pag_err two = pag_http_parse_head_spaced(head, &spaced, &b, &no);
    if (one == PAG_OK) {
        REQUIRE(two == PAG_OK && pag_span_eq(strict.target, spaced.target) && strict.minor == spaced.minor);
        REQUIRE(a.framing == b.framing && a.content_length == b.content_length &&
                a.keep_alive == b.keep_alive && a.expect_continue == b.expect_continue);
    } else if (two == PAG_OK) {
        REQUIRE(memchr(spaced.query.p, ' ', spaced.query.n) != NULL);
        REQUIRE(memchr(spaced.path.p, ' ', spaced.path.n) == NULL);
        REQUIRE(b.framing != PAG_FRAME_CHUNKED && b.content_length == 0 && !b.keep_alive);
        REQUIRE(memchr(spaced.target.p, '\n', spaced.target.n) == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pag_http_request scratch;
    if (size < 4 || size > BODY_MAX) {
        return 0;
    }
    uint32_t seed = pag_u32le(data);
    struct pag_span in = pag_span_of(data + 4, size - 4);
    compare_with_spaced(in);
    feed(in, NULL, &request, &whole);
    feed(in, &seed, &scratch, &cut);
    REQUIRE(whole.status == cut.status && whole.complete == cut.complete && whole.used == cut.used);
    REQUIRE(whole.body_n == cut.body_n && memcmp(whole.body, cut.body, whole.body_n) == 0);
    if (whole.complete) {
        REQUIRE(request.path.n > 0 && request.path.p[0] == '/');
        compare_with_peer(in);
    }
    return 0;
}
