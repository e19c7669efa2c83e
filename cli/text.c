#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): timegm */
#include "cli/text.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/bytes.h"

enum { LONGEST = 63 };

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Cost of turning a[..i] into b[..j] out of the rows before (Damerau, optimal string alignment). */
static unsigned step(const char *a, const char *b, size_t i, size_t j, unsigned (*row)[LONGEST + 1])
{
    unsigned cost = a[i - 1] == b[j - 1] ? 0 : 1;
    const unsigned *up = row[(i - 1) % 3];
    unsigned d = least(least(up[j], row[i % 3][j - 1]) + 1, up[j - 1] + cost);
    if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d = least(d, row[(i - 2) % 3][j - 2] + 1);
    }
    return d;
}

unsigned pag_text_distance(const char *a, const char *b)
{
    size_t n = strlen(a);
    size_t m = strlen(b);
    if (n > LONGEST || m > LONGEST) {
        return LONGEST;
    }
    unsigned row[3][LONGEST + 1];
    for (size_t j = 0; j <= m; j++) {
        row[0][j] = (unsigned)j;
    }
    for (size_t i = 1; i <= n; i++) {
        row[i % 3][0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            row[i % 3][j] = step(a, b, i, j, row);
        }
    }
    return row[n % 3][m];
}

const char *pag_text_nearest(const char *word, const char *const *names, size_t n)
{
    unsigned limit = (unsigned)(strlen(word) / 3);
    unsigned best = limit < 2 ? 3 : limit + 1;
    const char *found = NULL;
    for (size_t i = 0; i < n; i++) {
        unsigned d = pag_text_distance(word, names[i]);
        if (d < best && d < strlen(names[i])) {
            best = d;
            found = names[i];
        }
    }
    return found;
}

void pag_text_bytes(uint64_t bytes, char out[24])
{
    static const char *const unit[] = { "B", "kB", "MB", "GB", "TB" };
    if (bytes < 1000) {
        (void)snprintf(out, 24, "%u B", (unsigned)bytes);
        return;
    }
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 999.95 && u < 4) {
        v /= 1000;
        u++;
    }
    (void)snprintf(out, 24, "%.1f %s", v, unit[u]);
}

enum pag_err pag_text_duration(const char *text, uint64_t *ms)
{
    size_t digits = strspn(text, "0123456789");
    uint64_t n = 0;
    enum pag_err err = pag_parse_u64(pag_span_of(text, digits), &n);
    if (err != PAG_OK) {
        return err;
    }
    const char *unit = text + digits;
    uint64_t factor = 0;
    if (strcmp(unit, "ms") == 0) {
        factor = 1;
    } else if (strcmp(unit, "") == 0 || strcmp(unit, "s") == 0) {
        factor = 1000;
    } else if (strcmp(unit, "m") == 0) {
        factor = 60000;
    } else if (strcmp(unit, "h") == 0) {
        factor = 3600000;
    } else if (strcmp(unit, "d") == 0) {
        factor = 86400000;
    } else {
        return PAG_E_SYNTAX;
    }
    if (n > 3155760000000ULL / factor) {
        return PAG_E_RANGE;
    }
    *ms = n * factor;
    return PAG_OK;
}

enum pag_err pag_text_unix(const char *rfc3339, int64_t *unix_s)
{
    struct tm tm;
    memset(&tm, 0, sizeof tm);
    const char *end = strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end == NULL || (*end != 'Z' && *end != '.')) {
        return PAG_E_SYNTAX;
    }
    *unix_s = (int64_t)timegm(&tm);
    return PAG_OK;
}

void pag_text_local(const char *rfc3339, char out[40])
{
    int64_t s = 0;
    struct tm tm;
    time_t t = 0;
    if (pag_text_unix(rfc3339, &s) != PAG_OK) {
        (void)pag_text_clean(rfc3339, out, 40);
        return;
    }
    t = (time_t)s;
    if (localtime_r(&t, &tm) == NULL || strftime(out, 40, "%Y-%m-%d %H:%M:%S %Z", &tm) == 0) {
        (void)pag_text_clean(rfc3339, out, 40);
    }
}

/* Length of the well-formed character at p, 0 when it must be escaped. */
static size_t safe_char(const unsigned char *p)
{
    if (p[0] < 0x20 || p[0] == 0x7f) {
        return 0;
    }
    if (p[0] < 0x80) {
        return 1;
    }
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    for (size_t i = 1; i < n; i++) {
        if (p[i] == 0) {
            return 0;
        }
    }
    if (!pag_utf8_ok(pag_span_of(p, n))) {
        return 0;
    }
    if (p[0] == 0xc2 && p[1] < 0xa0) { /* C1 controls */
        return 0;
    }
    /* Bidirectional overrides U+202A..202E and U+2066..2069 can make a text read as another. */
    if (p[0] == 0xe2 &&
        ((p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae) || (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9))) {
        return 0;
    }
    return n;
}

size_t pag_text_clean(const char *text, char *out, size_t cap)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t at = 0;
    while (*p != 0) {
        size_t n = safe_char(p);
        size_t need = n != 0 ? n : 4;
        if (at + need >= cap) {
            break;
        }
        if (n != 0) {
            memcpy(out + at, p, n);
        } else {
            (void)snprintf(out + at, cap - at, "\\x%02x", (unsigned)*p);
        }
        at += need;
        p += n != 0 ? n : 1;
    }
    out[at] = 0;
    return at;
}

size_t pag_text_columns(const char *text)
{
    size_t n = 0;
    for (const char *p = text; *p != 0; p++) {
        n += ((unsigned char)*p & 0xc0) != 0x80;
    }
    return n;
}

void pag_text_hex(struct pag_span bytes, char *out)
{
    static const char digit[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.n; i++) {
        out[2 * i] = digit[bytes.p[i] >> 4];
        out[2 * i + 1] = digit[bytes.p[i] & 15];
    }
    out[2 * bytes.n] = 0;
}

void pag_text_base64(struct pag_span bytes, char out[92])
{
    out[0] = 0;
    if (bytes.n <= 64) {
        (void)EVP_EncodeBlock((unsigned char *)out, bytes.p, (int)bytes.n);
    }
}

bool pag_text_name_ok(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strlen(name);
    return n >= 1 && n <= 64 && strspn(name, allowed) == n && name[0] != '.' && name[0] != '-';
}
