#include "core/bytes.h"

#include "core/mem.h"

/* ---- spans ---- */

struct pag_span pag_span_of(const void *p, size_t n)
{
    return (struct pag_span){ .p = p, .n = n };
}

struct pag_span pag_span_str(const char *text)
{
    struct pag_span s = { .p = (const uint8_t *)text, .n = 0 };
    if (text != NULL) {
        while (text[s.n] != '\0') {
            s.n++;
        }
    }
    return s;
}

bool pag_span_eq(struct pag_span a, struct pag_span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool pag_span_eq_str(struct pag_span a, const char *text)
{
    return pag_span_eq(a, pag_span_str(text));
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20U) : c;
}

bool pag_span_eq_nocase(struct pag_span a, const char *text)
{
    struct pag_span b = pag_span_str(text);
    if (a.n != b.n) {
        return false;
    }
    for (size_t i = 0; i < a.n; i++) {
        if (lower(a.p[i]) != lower(b.p[i])) {
            return false;
        }
    }
    return true;
}

bool pag_span_starts(struct pag_span a, const char *prefix)
{
    struct pag_span b = pag_span_str(prefix);
    if (b.n > a.n) {
        return false;
    }
    a.n = b.n;
    return pag_span_eq(a, b);
}

enum pag_err pag_span_sub(struct pag_span s, size_t off, size_t n, struct pag_span *out)
{
    if (off > s.n || n > s.n - off) {
        return PAG_E_RANGE;
    }
    *out = (struct pag_span){ .p = s.p == NULL ? NULL : s.p + off, .n = n };
    return PAG_OK;
}

size_t pag_span_find(struct pag_span s, size_t from, uint8_t c)
{
    for (size_t i = from; i < s.n; i++) {
        if (s.p[i] == c) {
            return i;
        }
    }
    return s.n;
}

bool pag_equal_ct(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a;
    const volatile uint8_t *y = b;
    uint8_t diff = 0;
    for (size_t i = 0; i < n; i++) {
        diff = (uint8_t)(diff | (x[i] ^ y[i]));
    }
    return diff == 0;
}

/* ---- numbers in memory ---- */

uint16_t pag_u16le(const uint8_t *p)
{
    return (uint16_t)(p[0] | (unsigned)p[1] << 8);
}

uint32_t pag_u32le(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint16_t pag_u16be(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

uint32_t pag_u32be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void pag_put_u16le(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void pag_put_u32le(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> 8 * i);
    }
}

void pag_put_u32be(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> (24 - 8 * i));
    }
}

/* ---- checked arithmetic ---- */

enum pag_err pag_size_add(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) {
        return PAG_E_RANGE;
    }
    *out = a + b;
    return PAG_OK;
}

/* By halves: the double-width product and the divider are library calls on small parts. */
enum pag_err pag_size_mul(size_t a, size_t b, size_t *out)
{
    enum { HALF_BITS = sizeof(size_t) * 4 };
    const size_t half = ((size_t)1 << HALF_BITS) - 1;
    size_t a_high = a >> HALF_BITS;
    size_t b_high = b >> HALF_BITS;
    if (a_high != 0 && b_high != 0) {
        return PAG_E_RANGE;
    }
    /* one of the two terms is 0, each fits */
    size_t cross = a_high * (b & half) + b_high * (a & half);
    if (cross > half) {
        return PAG_E_RANGE;
    }
    return pag_size_add(cross << HALF_BITS, (a & half) * (b & half), out);
}

enum pag_err pag_u32_add(uint32_t a, uint32_t b, uint32_t *out)
{
    if (a > UINT32_MAX - b) {
        return PAG_E_RANGE;
    }
    *out = a + b;
    return PAG_OK;
}

/* ---- appending ---- */

enum pag_err pag_buf_put(struct pag_buf *b, struct pag_span s)
{
    if (s.n > b->cap - b->n) {
        return PAG_E_SPACE;
    }
    if (s.n > 0) {
        memmove(b->p + b->n, s.p, s.n); /* s may lie further on in the same memory (core/cose.h) */
        b->n += s.n;
    }
    return PAG_OK;
}

enum pag_err pag_buf_put_str(struct pag_buf *b, const char *text)
{
    return pag_buf_put(b, pag_span_str(text));
}

enum pag_err pag_buf_put_u8(struct pag_buf *b, uint8_t v)
{
    return pag_buf_put(b, (struct pag_span){ .p = &v, .n = 1 });
}

/* By subtraction of powers of ten: 64-bit division is a library call that small parts lack. */
enum pag_err pag_buf_put_dec(struct pag_buf *b, uint64_t v)
{
    uint8_t digits[20];
    size_t n = 0;
    static const uint64_t powers[] = {
        10000000000000000000U,
        1000000000000000000U,
        100000000000000000U,
        10000000000000000U,
        1000000000000000U,
        100000000000000U,
        10000000000000U,
        1000000000000U,
        100000000000U,
        10000000000U,
        1000000000U,
        100000000U,
        10000000U,
        1000000U,
        100000U,
        10000U,
        1000U,
        100U,
        10U,
        1U,
    };
    for (size_t i = 0; i < sizeof powers / sizeof powers[0]; i++) {
        uint8_t digit = 0;
        uint64_t power = powers[i];
        while (v >= power) {
            v -= power;
            digit++;
        }
        if (digit != 0 || n != 0 || power == 1) {
            digits[n++] = (uint8_t)('0' + digit);
        }
    }
    return pag_buf_put(b, (struct pag_span){ .p = digits, .n = n });
}

enum pag_err pag_buf_put_hex(struct pag_buf *b, struct pag_span s)
{
    static const char hex[] = "0123456789abcdef";
    if (s.n > (b->cap - b->n) / 2) {
        return PAG_E_SPACE;
    }
    for (size_t i = 0; i < s.n; i++) {
        b->p[b->n++] = (uint8_t)hex[s.p[i] >> 4];
        b->p[b->n++] = (uint8_t)hex[s.p[i] & 15U];
    }
    return PAG_OK;
}

struct pag_span pag_buf_span(const struct pag_buf *b)
{
    return (struct pag_span){ .p = b->p, .n = b->n };
}

/* ---- text to numbers ---- */

enum pag_err pag_parse_u64(struct pag_span s, uint64_t *out)
{
    uint64_t v = 0;
    bool over = false;
    if (s.n == 0) {
        return PAG_E_SYNTAX;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return PAG_E_SYNTAX;
        }
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        over = over || v > UINT64_MAX / 10 || (v == UINT64_MAX / 10 && digit > UINT64_MAX % 10);
        v = (v << 3) + (v << 1) + digit;
    }
    if (over) {
        return PAG_E_RANGE;
    }
    *out = v;
    return PAG_OK;
}

enum pag_err pag_parse_u32(struct pag_span s, uint32_t *out)
{
    uint64_t v = 0;
    enum pag_err err = pag_parse_u64(s, &v);
    if (err != PAG_OK) {
        return err;
    }
    if (v > UINT32_MAX) {
        return PAG_E_RANGE;
    }
    *out = (uint32_t)v;
    return PAG_OK;
}

/* 16 when c is no hex digit */
static uint8_t hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return (uint8_t)(c - '0');
    }
    c = lower(c);
    if (c >= 'a' && c <= 'f') {
        return (uint8_t)(c - 'a' + 10);
    }
    return 16;
}

enum pag_err pag_parse_hex(struct pag_span s, uint8_t *out, size_t n)
{
    if (s.n % 2 != 0 || s.n / 2 != n) {
        return PAG_E_SYNTAX;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (hex_value(s.p[i]) > 15) {
            return PAG_E_SYNTAX;
        }
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)(hex_value(s.p[2 * i]) << 4 | hex_value(s.p[2 * i + 1]));
    }
    return PAG_OK;
}

enum pag_err pag_text_copy(char *dst, size_t cap, struct pag_span s)
{
    if (s.n >= cap) {
        return PAG_E_SPACE;
    }
    if (pag_span_find(s, 0, 0) != s.n) {
        return PAG_E_SYNTAX;
    }
    if (s.n > 0) {
        memcpy(dst, s.p, s.n);
    }
    dst[s.n] = '\0';
    return PAG_OK;
}

/* Bytes that follow a lead byte, 4 when it is none; *low, *high: bounds of the first of them (RFC 3629 4). */
static size_t utf8_tail(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (lead < 0x80) {
        return 0;
    }
    if (lead >= 0xC2 && lead <= 0xDF) {
        return 1;
    }
    if (lead >= 0xE0 && lead <= 0xEF) {
        *low = lead == 0xE0 ? 0xA0 : 0x80;
        *high = lead == 0xED ? 0x9F : 0xBF;
        return 2;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        *low = lead == 0xF0 ? 0x90 : 0x80;
        *high = lead == 0xF4 ? 0x8F : 0xBF;
        return 3;
    }
    return 4;
}

/* Bytes of the character at the start of s, which is not empty; 0 when it is malformed. */
static size_t utf8_length(struct pag_span s)
{
    uint8_t low = 0;
    uint8_t high = 0;
    size_t tail = utf8_tail(s.p[0], &low, &high);
    if (tail > 3 || tail >= s.n) {
        return 0;
    }
    for (size_t i = 1; i <= tail; i++) {
        if (s.p[i] < low || s.p[i] > high) {
            return 0;
        }
        low = 0x80;
        high = 0xBF;
    }
    return tail + 1;
}

bool pag_utf8_ok(struct pag_span s)
{
    while (s.n > 0) {
        size_t length = utf8_length(s);
        if (length == 0) {
            return false;
        }
        s = (struct pag_span){ .p = s.p + length, .n = s.n - length };
    }
    return true;
}

/* ---- sums ---- */

uint32_t pag_crc32(uint32_t crc, struct pag_span s)
{
    /* by nibble: 64 bytes of table instead of 1 KiB */
    static const uint32_t table[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
    };
    crc = ~crc;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= s.p[i];
        crc = crc >> 4 ^ table[crc & 15U];
        crc = crc >> 4 ^ table[crc & 15U];
    }
    return ~crc;
}

uint32_t pag_hash32(struct pag_span s, uint32_t salt)
{
    uint8_t salt_bytes[4];
    pag_put_u32le(salt_bytes, salt);
    uint32_t h = 2166136261U;
    for (size_t i = 0; i < sizeof salt_bytes; i++) {
        h = (h ^ salt_bytes[i]) * 16777619U;
    }
    for (size_t i = 0; i < s.n; i++) {
        h = (h ^ s.p[i]) * 16777619U;
    }
    /* FNV's low bit is only a parity, so h % 10000 of two salts would be related: mix (MurmurHash3 fmix32) */
    h = (h ^ h >> 16) * 0x85EBCA6BU;
    h = (h ^ h >> 13) * 0xC2B2AE35U;
    return h ^ h >> 16;
}

/* ---- identifiers ---- */

static bool name_ok(struct pag_span s, size_t max)
{
    if (s.n == 0 || s.n > max) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return false;
        }
    }
    return true;
}

bool pag_device_id_ok(struct pag_span s)
{
    return name_ok(s, PAG_DEVICE_ID_MAX);
}

bool pag_image_name_ok(struct pag_span s)
{
    return name_ok(s, PAG_IMAGE_NAME_MAX);
}

enum pag_err pag_mac_text(struct pag_span s, char out[13])
{
    char text[13] = { 0 };
    bool spaced = s.n == 17 && (s.p[2] == ':' || s.p[2] == '-');
    if (s.n != 12 && !spaced) {
        return PAG_E_SYNTAX;
    }
    size_t at = 0;
    for (size_t n = 0; n < 12; n++) {
        bool gap = spaced && n > 0 && n % 2 == 0;
        if (gap && s.p[at++] != s.p[2]) {
            return PAG_E_SYNTAX;
        }
        if (hex_value(s.p[at]) > 15) {
            return PAG_E_SYNTAX;
        }
        text[n] = (char)lower(s.p[at++]);
    }
    memcpy(out, text, sizeof text);
    return PAG_OK;
}
