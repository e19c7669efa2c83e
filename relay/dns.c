#include "relay/dns.h"

#include <string.h>

#include "core/bytes.h"

enum {
    CLASS_MASK = 0x7FFF, /* the top bit is "cache flush" in answers, "unicast, please" in questions */
    ASK_UNICAST = 0x8000,
    LABEL_MAX = 63,
    LABELS_MAX = 128,
};

static enum pag_err label_put(struct pag_dns_name *out, struct pag_span label)
{
    if (out->n + label.n + 1 > PAG_DNS_NAME_MAX) {
        return PAG_E_SYNTAX;
    }
    if (out->n > 0) {
        out->text[out->n++] = '.';
    } else {
        out->first = label.n;
    }
    for (size_t i = 0; i < label.n; i++) {
        uint8_t c = label.p[i];
        out->text[out->n++] = (char)(c >= 0x20 && c != 0x7F ? c : '?');
    }
    out->text[out->n] = '\0';
    return PAG_OK;
}

/* Where a pointer at i leads: strictly before lowest, so that every name ends. */
static enum pag_err pointer_read(struct pag_span p, size_t i, size_t lowest, size_t *to)
{
    if (i + 1 >= p.n) {
        return PAG_E_SHORT;
    }
    size_t place = (size_t)(p.p[i] & 0x3FU) << 8 | p.p[i + 1];
    if (place >= lowest) {
        return PAG_E_SYNTAX;
    }
    *to = place;
    return PAG_OK;
}

enum pag_err pag_dns_name_read(struct pag_span p, size_t *at, struct pag_dns_name *out)
{
    size_t i = *at;
    size_t behind = 0; /* 0: no pointer yet */
    size_t lowest = *at;
    memset(out, 0, sizeof *out);
    for (unsigned labels = 0; labels < LABELS_MAX; labels++) {
        struct pag_span label;
        enum pag_err err = PAG_OK;
        if (i >= p.n) {
            return PAG_E_SHORT;
        }
        uint8_t len = p.p[i];
        if (len == 0) {
            *at = behind != 0 ? behind : i + 1;
            return PAG_OK;
        }
        if (len >= 0xC0) {
            behind = behind != 0 ? behind : i + 2;
            err = pointer_read(p, i, lowest, &i);
            lowest = i;
        } else {
            bool fits = len <= LABEL_MAX && pag_span_sub(p, i + 1, len, &label) == PAG_OK;
            err = fits ? label_put(out, label) : PAG_E_SYNTAX;
            i += 1U + len;
        }
        if (err != PAG_OK) {
            return err;
        }
    }
    return PAG_E_SYNTAX;
}

enum pag_err pag_dns_record_read(struct pag_span p, size_t *at, struct pag_dns_record *out)
{
    struct pag_span fixed;
    enum pag_err err = pag_dns_name_read(p, at, &out->name);
    if (err != PAG_OK || pag_span_sub(p, *at, 10, &fixed) != PAG_OK) {
        return err != PAG_OK ? err : PAG_E_SHORT;
    }
    out->type = pag_u16be(fixed.p);
    out->class = pag_u16be(fixed.p + 2) & CLASS_MASK;
    out->ttl = pag_u32be(fixed.p + 4);
    out->at = *at + 10;
    if (pag_span_sub(p, out->at, pag_u16be(fixed.p + 8), &out->data) != PAG_OK) {
        return PAG_E_SHORT;
    }
    *at = out->at + out->data.n;
    return PAG_OK;
}

enum pag_err pag_dns_name_in(struct pag_span p, const struct pag_dns_record *r, size_t skip,
                             struct pag_dns_name *out)
{
    size_t at = r->at + skip;
    struct pag_span upto = { p.p, r->at + r->data.n };
    return skip < r->data.n ? pag_dns_name_read(upto, &at, out) : PAG_E_SHORT;
}

static enum pag_err name_put(struct pag_buf *b, const char *dotted)
{
    enum pag_err err = PAG_OK;
    struct pag_span s = pag_span_str(dotted);
    for (size_t at = 0; err == PAG_OK && at < s.n;) {
        size_t end = pag_span_find(s, at, '.');
        if (end == at || end - at > LABEL_MAX) {
            return PAG_E_SYNTAX;
        }
        err = pag_buf_put_u8(b, (uint8_t)(end - at));
        err = err == PAG_OK ? pag_buf_put(b, (struct pag_span){ s.p + at, end - at }) : err;
        at = end + 1;
    }
    return err == PAG_OK ? pag_buf_put_u8(b, 0) : err;
}

static enum pag_err u16_put(struct pag_buf *b, uint16_t v)
{
    uint8_t two[2] = { (uint8_t)(v >> 8), (uint8_t)v };
    return pag_buf_put(b, pag_span_of(two, sizeof two));
}

enum pag_err pag_dns_question(struct pag_buf *b, const char *instance, const char *rest, uint16_t type)
{
    size_t before = b->n;
    enum pag_err err = PAG_OK;
    if (instance != NULL) {
        struct pag_span label = pag_span_str(instance);
        err = label.n <= LABEL_MAX ? pag_buf_put_u8(b, (uint8_t)label.n) : PAG_E_SYNTAX;
        err = err == PAG_OK ? pag_buf_put(b, label) : err;
    }
    err = err == PAG_OK ? name_put(b, rest) : err;
    err = err == PAG_OK ? u16_put(b, type) : err;
    err = err == PAG_OK ? u16_put(b, PAG_DNS_IN | ASK_UNICAST) : err;
    b->n = err == PAG_OK ? b->n : before;
    return err;
}

enum pag_err pag_dns_head(struct pag_buf *b, uint16_t id)
{
    static const uint8_t rest[PAG_DNS_HEADER - 2];
    b->n = 0;
    enum pag_err err = u16_put(b, id);
    return err == PAG_OK ? pag_buf_put(b, pag_span_of(rest, sizeof rest)) : err;
}
