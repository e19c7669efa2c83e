#include "core/base64.h"

#include "core/bytes.h"

static const char symbols[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
enum { LINE_BYTES = 48 };

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int pag_base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

struct reading {
    uint32_t bits;
    unsigned n, padding; /* symbols of this group */
};

static enum pag_err take(struct reading *r, uint8_t c, struct pag_buf *out)
{
    int v = pag_base64_digit(c);
    if (c == '=') {
        r->padding++;
        return r->n < 2 || r->n + r->padding > 4 ? PAG_E_SYNTAX : PAG_OK;
    }
    if (v < 0 || r->padding > 0) {
        return PAG_E_SYNTAX;
    }
    r->bits = (r->bits << 6U) | (uint32_t)v;
    if (++r->n < 4) {
        return PAG_OK;
    }
    const uint8_t three[] = { (uint8_t)(r->bits >> 16U), (uint8_t)(r->bits >> 8U), (uint8_t)r->bits };
    r->n = 0;
    r->bits = 0;
    return pag_buf_put(out, pag_span_of(three, sizeof three));
}

static enum pag_err finish(const struct reading *r, struct pag_buf *out)
{
    uint8_t rest[2];
    if (r->n == 0 && r->padding == 0) {
        return PAG_OK;
    }
    if (r->n + r->padding != 4) {
        return PAG_E_SYNTAX;
    }
    if (r->n == 2) {
        rest[0] = (uint8_t)(r->bits >> 4U);
        return (r->bits & 15U) != 0 ? PAG_E_SYNTAX : pag_buf_put(out, pag_span_of(rest, 1));
    }
    rest[0] = (uint8_t)(r->bits >> 10U);
    rest[1] = (uint8_t)(r->bits >> 2U);
    return (r->bits & 3U) != 0 ? PAG_E_SYNTAX : pag_buf_put(out, pag_span_of(rest, 2));
}

enum pag_err pag_base64_decode(struct pag_span in, struct pag_buf *out)
{
    struct reading r = { 0, 0, 0 };
    enum pag_err err = PAG_OK;
    size_t before = out->n;
    for (size_t i = 0; err == PAG_OK && i < in.n; i++) {
        err = is_blank(in.p[i]) ? PAG_OK : take(&r, in.p[i], out);
    }
    err = err == PAG_OK ? finish(&r, out) : err;
    if (err != PAG_OK) {
        out->n = before;
    }
    return err;
}

enum pag_err pag_base64_lines(struct pag_span in, struct pag_buf *out)
{
    enum pag_err err = PAG_OK;
    for (size_t i = 0; err == PAG_OK && i < in.n; i += 3) {
        size_t left = in.n - i < 3 ? in.n - i : 3;
        uint32_t bits = (uint32_t)in.p[i] << 16U;
        bits |= left > 1 ? (uint32_t)in.p[i + 1] << 8U : 0;
        bits |= left > 2 ? in.p[i + 2] : 0U;
        const uint8_t four[] = { (uint8_t)symbols[bits >> 18U], (uint8_t)symbols[(bits >> 12U) & 63U],
                                 left > 1 ? (uint8_t)symbols[(bits >> 6U) & 63U] : (uint8_t)'=',
                                 left > 2 ? (uint8_t)symbols[bits & 63U] : (uint8_t)'=' };
        err = pag_buf_put(out, pag_span_of(four, sizeof four));
        bool ends = (i + 3) % LINE_BYTES == 0 || i + 3 >= in.n;
        err = err == PAG_OK && ends ? pag_buf_put_u8(out, '\n') : err;
    }
    return err;
}
