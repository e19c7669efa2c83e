#include "host/http_parse.h"

/* Chunked transfer coding, RFC 9112 7.1. */

enum { LINE_MAX_BYTES = 4096, SIZE_DIGITS_MAX = 8 };

enum state {
    S_SIZE,    /* hex digits */
    S_EXT,     /* chunk extension, dropped */
    S_SIZE_LF, /* LF after the size line */
    S_DATA,
    S_DATA_CR,
    S_DATA_LF,
    S_LAST_LF, /* LF after the size line of the last chunk */
    S_TRAILER, /* first byte of a trailer line or the CR of the end */
    S_FIELD,   /* inside a trailer line */
    S_FIELD_LF,
    S_END_LF,
    S_DONE,
    S_BAD,
};

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum state size_byte(struct pag_http_chunks *c, uint8_t b)
{
    int digit = hex_digit(b);
    if (digit >= 0) {
        if (c->digits == SIZE_DIGITS_MAX) {
            return S_BAD;
        }
        c->digits++;
        c->left = c->left << 4 | (uint64_t)digit;
        return S_SIZE;
    }
    if (c->digits == 0) {
        return S_BAD;
    }
    if (b == ';') {
        return S_EXT;
    }
    return b == '\r' ? (c->left == 0 ? S_LAST_LF : S_SIZE_LF) : S_BAD;
}

/* Bytes of an extension or a trailer line: no controls, bounded. */
static enum state skipped_byte(struct pag_http_chunks *c, uint8_t b, enum state stay, enum state after)
{
    if (b == '\r') {
        return after;
    }
    bool is_control = (b < ' ' && b != '\t') || b == 0x7f;
    return is_control || ++c->trailer_n > LINE_MAX_BYTES ? S_BAD : stay;
}

static enum state trailer_byte(struct pag_http_chunks *c, uint8_t b)
{
    if (b == '\r') {
        return S_END_LF;
    }
    struct pag_span one = { &b, 1 };
    c->trailer_n++;
    return pag_http_is_token(one) ? S_FIELD : S_BAD;
}

/* One byte outside chunk data. */
static enum state step(struct pag_http_chunks *c, uint8_t b)
{
    switch ((enum state)c->state) {
    case S_SIZE:
        return size_byte(c, b);
    case S_EXT:
        return skipped_byte(c, b, S_EXT, c->left == 0 ? S_LAST_LF : S_SIZE_LF);
    case S_SIZE_LF:
        return b == '\n' ? S_DATA : S_BAD;
    case S_DATA_CR:
        return b == '\r' ? S_DATA_LF : S_BAD;
    case S_DATA_LF:
        c->digits = 0;
        return b == '\n' ? S_SIZE : S_BAD;
    case S_LAST_LF:
        c->trailer_n = 0;
        return b == '\n' ? S_TRAILER : S_BAD;
    case S_TRAILER:
        return trailer_byte(c, b);
    case S_FIELD:
        return skipped_byte(c, b, S_FIELD, S_FIELD_LF);
    case S_FIELD_LF:
        return b == '\n' ? S_TRAILER : S_BAD;
    case S_END_LF:
        return b == '\n' ? S_DONE : S_BAD;
    case S_DATA:
    case S_DONE:
    case S_BAD:
        break;
    }
    return S_BAD;
}

enum pag_err pag_http_chunks_next(struct pag_http_chunks *c, struct pag_span *in, struct pag_span *data)
{
    *data = (struct pag_span){ in->p, 0 };
    while (in->n > 0 && c->state != S_DATA && c->state != S_DONE && c->state != S_BAD) {
        c->state = step(c, in->p[0]);
        in->p++;
        in->n--;
    }
    if (c->state == S_DONE) {
        return PAG_OK;
    }
    if (c->state == S_BAD) {
        return PAG_E_SYNTAX;
    }
    if (c->state == S_DATA) {
        size_t n = in->n < c->left ? in->n : (size_t)c->left;
        *data = (struct pag_span){ in->p, n };
        in->p += n;
        in->n -= n;
        c->left -= n;
        if (c->left == 0) {
            c->state = S_DATA_CR;
        }
    }
    return PAG_E_SHORT;
}
