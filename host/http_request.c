#include <string.h>

#include "core/bytes.h"
#include "host/http_priv.h"

struct pag_span pag_http_header_get(const struct pag_http_request *req, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < req->header_n; i++) {
        if (req->header[i].name.n == n && pag_span_eq_nocase(req->header[i].name, name)) {
            struct pag_span value = req->header[i].value;
            return value;
        }
    }
    return (struct pag_span){ NULL, 0 };
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that an escape at i stands for, -1 when it is none. */
static int escaped_byte(struct pag_span in, size_t i)
{
    int high = i + 2 < in.n ? hex_digit(in.p[i + 1]) : -1;
    int low = i + 2 < in.n ? hex_digit(in.p[i + 2]) : -1;
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Percent-decodes into the arena. refuse_slash: an escaped '/' would join two segments. */
static enum pag_err decode(struct pag_http_request *req, struct pag_span in, bool refuse_slash,
                           struct pag_span *out)
{
    uint8_t *to = pag_arena_raw(req->arena, in.n);
    size_t n = 0;
    if (to == NULL) {
        return PAG_E_NO_MEMORY;
    }
    for (size_t i = 0; i < in.n; i++) {
        bool escaped = in.p[i] == '%';
        int c = escaped ? escaped_byte(in, i) : in.p[i];
        if (c <= 0 || (c == '/' && refuse_slash)) {
            return PAG_E_SYNTAX;
        }
        to[n++] = (uint8_t)c;
        i += escaped ? 2 : 0;
    }
    *out = (struct pag_span){ to, n };
    return PAG_OK;
}

enum pag_err pag_http_decode(struct pag_http_request *req, struct pag_span in, struct pag_span *out)
{
    return decode(req, in, true, out);
}

bool pag_http_query_get(struct pag_http_request *req, const char *name, struct pag_span *value)
{
    size_t at = 0;
    while (at < req->query.n) {
        size_t end = pag_span_find(req->query, at, '&');
        struct pag_span pair = { req->query.p + at, end - at };
        size_t equals = pag_span_find(pair, 0, '=');
        struct pag_span key = { pair.p, equals };
        struct pag_span raw = { pair.p + equals, 0 };
        if (equals < pair.n) {
            raw = (struct pag_span){ pair.p + equals + 1, pair.n - equals - 1 };
        }
        struct pag_span plain = key;
        bool escaped = pag_span_find(key, 0, '%') < key.n;
        if ((!escaped || decode(req, key, false, &plain) == PAG_OK) && pag_span_eq_str(plain, name)) {
            return decode(req, raw, false, value) == PAG_OK;
        }
        at = end + 1;
    }
    return false;
}
