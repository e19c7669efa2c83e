#include "agent/certificate.h"

#include "core/bytes.h"
#include "core/mem.h"

enum {
    TAG_INTEGER = 0x02,
    TAG_UTC_TIME = 0x17,
    TAG_TIME = 0x18,
    TAG_SEQUENCE = 0x30,
    TAG_VERSION = 0xA0,
    POINT_BYTES = 64,
    DAY_S = 86400,
};

/* Takes one element off in; false: its tag is another, or it is cut off. Lengths up to 65,535 as DER has
 * them. */
static bool take(struct pag_span *in, uint8_t tag, struct pag_span *content)
{
    if (in->n < 2 || in->p[0] != tag) {
        return false;
    }
    size_t head = 2;
    size_t n = in->p[1];
    if (n > 0x7F) {
        size_t octets = n & 0x7F;
        if (octets < 1 || octets > 2 || in->n < 2 + octets) {
            return false;
        }
        n = octets == 1 ? in->p[2] : (size_t)in->p[2] << 8 | in->p[3];
        head += octets;
    }
    if (n > in->n - head) {
        return false;
    }
    *content = pag_span_of(in->p + head, n);
    *in = pag_span_of(in->p + head + n, in->n - head - n);
    return true;
}

/* Two digits at p, at most max; false: they are none. */
static bool two(const uint8_t *p, uint32_t min, uint32_t max, uint32_t *out)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9') {
        return false;
    }
    *out = (uint32_t)(p[0] - '0') * 10 + (uint32_t)(p[1] - '0');
    return *out >= min && *out <= max;
}

/* Days since 1970 of a day of the Gregorian calendar, year >= 1970. March begins the year, so that the leap
 * day is its last. */
static uint32_t days(uint32_t year, uint32_t month, uint32_t day)
{
    uint32_t y = month > 2 ? year : year - 1;
    uint32_t m = month > 2 ? month - 3 : month + 9;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

/* RFC 5280 4.1.2.5: YYMMDDHHMMSSZ up to 2049, YYYYMMDDHHMMSSZ from 2050 on. */
static bool take_time(struct pag_span *in, uint64_t *out)
{
    struct pag_span t;
    uint32_t century = 0;
    uint32_t v[6]; /* year, month, day, hour, minute, second */
    static const uint8_t min[6] = { 0, 1, 1, 0, 0, 0 };
    static const uint8_t max[6] = { 99, 12, 31, 23, 59, 59 };
    bool is_short = take(in, TAG_UTC_TIME, &t);
    if (!is_short && (!take(in, TAG_TIME, &t) || t.n != 15 || !two(t.p, 19, 99, &century))) {
        return false;
    }
    const uint8_t *p = is_short ? t.p : t.p + 2;
    if (t.n != (is_short ? 13U : 15U) || p[12] != 'Z') {
        return false;
    }
    for (size_t i = 0; i < 6; i++) {
        if (!two(p + 2 * i, min[i], max[i], &v[i])) {
            return false;
        }
    }
    if (is_short) {
        century = v[0] < 50 ? 20 : 19;
    }
    uint32_t year = century * 100 + v[0];
    uint32_t day = days(year, v[1], v[2]);
    uint32_t next_month = v[1] == 12 ? days(year + 1, 1, 1) : days(year, v[1] + 1, 1);
    if (year < 1970 || day >= next_month) { /* no 31st of November */
        return false;
    }
    *out = (uint64_t)day * DAY_S + (uint64_t)v[3] * 3600 + (uint64_t)v[4] * 60 + v[5];
    return true;
}

enum pag_err pag_certificate_life(struct pag_span der, struct pag_certificate_life *out)
{
    struct pag_span certificate;
    struct pag_span tbs;
    struct pag_span validity;
    struct pag_span skipped;
    if (!take(&der, TAG_SEQUENCE, &certificate) || !take(&certificate, TAG_SEQUENCE, &tbs)) {
        return PAG_E_SYNTAX;
    }
    (void)take(&tbs, TAG_VERSION, &skipped);
    bool ok = take(&tbs, TAG_INTEGER, &skipped) && take(&tbs, TAG_SEQUENCE, &skipped) && /* signature */
              take(&tbs, TAG_SEQUENCE, &skipped) &&                                      /* issuer */
              take(&tbs, TAG_SEQUENCE, &validity) && take_time(&validity, &out->from_s) &&
              take_time(&validity, &out->until_s);
    return ok && out->from_s < out->until_s ? PAG_OK : PAG_E_SYNTAX;
}

/* A BIT STRING of a point in its plain form, as SubjectPublicKeyInfo ends with it; NULL: none. */
static const uint8_t *find_point(struct pag_span s)
{
    static const uint8_t before[] = { 0x03, 0x42, 0x00, 0x04 };
    for (size_t i = 0; i + sizeof before + POINT_BYTES <= s.n; i++) {
        if (memcmp(s.p + i, before, sizeof before) == 0) {
            return s.p + i + sizeof before;
        }
    }
    return NULL;
}

bool pag_certificate_of_request(struct pag_span der, struct pag_span csr)
{
    const uint8_t *has = find_point(der);
    const uint8_t *wants = find_point(csr);
    return has != NULL && wants != NULL && memcmp(has, wants, POINT_BYTES) == 0;
}
