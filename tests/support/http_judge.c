#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "host/http_parse.h"

/*
 * What the request parser makes of messages, for tests/system/test_http_core.py, which asks h11 the same.
 * In: 4 bytes length (little-endian) and the message, again and again. Out: a line each,
 *
 *     refuse STATUS | more | take USED METHOD TARGET-HEX BODY-HEX (NAME-HEX VALUE-HEX)…
 */

enum { MESSAGE_MAX = 65536, LIMIT = 16384 };

static uint8_t message[MESSAGE_MAX];
static uint8_t body[MESSAGE_MAX];
static struct pag_http_request request;

static void put_hex(struct pag_span s)
{
    (void)putchar(' ');
    (void)printf(s.n == 0 ? "-" : "");
    for (size_t i = 0; i < s.n; i++) {
        (void)printf("%02x", s.p[i]);
    }
}

static const char *method_text(enum pag_http_method m)
{
    switch (m) {
    case PAG_HTTP_GET:
        return "GET";
    case PAG_HTTP_HEAD:
        return "HEAD";
    case PAG_HTTP_POST:
        return "POST";
    case PAG_HTTP_PUT:
        return "PUT";
    case PAG_HTTP_PATCH:
        return "PATCH";
    case PAG_HTTP_DELETE:
        return "DELETE";
    }
    return "?";
}

static enum pag_err read_body(const struct pag_http_meta *meta, struct pag_span *rest, size_t *body_n)
{
    struct pag_http_chunks chunks = { 0 };
    struct pag_span data = { NULL, 1 };
    enum pag_err err = PAG_E_SHORT;
    *body_n = 0;
    if (meta->framing != PAG_FRAME_CHUNKED) {
        if (rest->n < meta->content_length) {
            return PAG_E_SHORT;
        }
        *body_n = (size_t)meta->content_length;
        memcpy(body, rest->p, *body_n);
        *rest = pag_span_of(rest->p + *body_n, rest->n - *body_n);
        return PAG_OK;
    }
    while (err == PAG_E_SHORT && (rest->n > 0 || data.n > 0)) {
        err = pag_http_chunks_next(&chunks, rest, &data);
        memcpy(body + *body_n, data.p, data.n);
        *body_n += data.n;
    }
    return err;
}

static void judge(struct pag_span in)
{
    struct pag_http_scan scan = { 0 };
    struct pag_http_refusal no = { .status = 400 };
    struct pag_http_meta meta;
    size_t head_n = 0;
    size_t body_n = 0;
    struct pag_span rest = { in.p, 0 };
    enum pag_err err = pag_http_scan_head(&scan, in, LIMIT, &head_n, &no);
    if (err == PAG_OK) {
        err = pag_http_parse_head(pag_span_of(in.p, head_n), &request, &meta, &no);
    }
    if (err == PAG_OK) {
        rest = pag_span_of(in.p + head_n, in.n - head_n);
        err = read_body(&meta, &rest, &body_n);
    }
    if (err != PAG_OK) {
        (void)printf(err == PAG_E_SHORT ? "more\n" : "refuse %u\n", no.status);
        return;
    }
    (void)printf("take %zu %s", in.n - rest.n, method_text(request.method));
    put_hex(request.target);
    put_hex(pag_span_of(body, body_n));
    for (size_t i = 0; i < request.header_n; i++) {
        put_hex(request.header[i].name);
        put_hex(request.header[i].value);
    }
    (void)putchar('\n');
}

int main(void)
{
    uint8_t head[4];
    while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
        size_t n = pag_u32le(head);
        if (n > MESSAGE_MAX || fread(message, 1, n, stdin) != n) {
            return 1;
        }
        judge(pag_span_of(message, n));
    }
    return 0;
}
