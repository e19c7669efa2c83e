#include "host/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A line longer than this loses its last fields; a value longer than VALUE_MAX input bytes is cut. */
enum { LINE_MAX_BYTES = 4000, LINE_SPARE = 96, VALUE_MAX = 512 };

struct pag_log {
    int fd;
    atomic_uint least; /* enum pag_log_level */
    atomic_bool json;
    struct pag_clock clock;
};

struct line {
    char text[LINE_MAX_BYTES];
    size_t n;
    bool full; /* nothing more is taken, so that a cut never falls inside an escape */
};

static const char *const level_upper[] = { "DEBUG", "INFO", "WARN", "ERROR" };
static const char *const level_lower[] = { "debug", "info", "warn", "error" };

struct pag_log *pag_log_new(int fd, enum pag_log_level least, bool json, struct pag_clock clock)
{
    struct pag_log *log = calloc(1, sizeof(*log));
    if (log != NULL) {
        log->fd = fd;
        log->clock = clock;
        pag_log_change(log, least, json);
    }
    return log;
}

void pag_log_change(struct pag_log *log, enum pag_log_level least, bool json)
{
    atomic_store_explicit(&log->least, (unsigned)least, memory_order_relaxed);
    atomic_store_explicit(&log->json, json, memory_order_relaxed);
}

void pag_log_free(struct pag_log *log)
{
    free(log);
}

static void put(struct line *l, const char *text, size_t n)
{
    if (l->full || n > sizeof(l->text) - LINE_SPARE - l->n) {
        l->full = true;
        return;
    }
    memcpy(l->text + l->n, text, n);
    l->n += n;
}

static void put_str(struct line *l, const char *text)
{
    put(l, text, strlen(text));
}

static size_t utf8_want(uint8_t lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return 2;
    }
    if ((lead & 0xf0) == 0xe0) {
        return 3;
    }
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

/* Reads one well-formed UTF-8 sequence (Unicode 15, table 3-7). Returns its length, 0 if there is none. */
static size_t utf8_read(const uint8_t *p, size_t n, uint32_t *code)
{
    size_t want = utf8_want(p[0]);
    if (want == 0 || want > n) {
        return 0;
    }
    static const uint8_t lead_mask[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    uint32_t c = p[0] & lead_mask[want];
    for (size_t i = 1; i < want; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (p[i] & 0x3fU);
    }
    if (c < least[want] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return 0;
    }
    *code = c;
    return want;
}

/* C0, DEL, C1, line and paragraph separators, and the marks that turn the direction of text. */
static bool is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f || c == 0xfeff;
}

static void put_code(struct line *l, uint32_t code)
{
    char text[8];
    int n = snprintf(text, sizeof(text), "\\u%04" PRIx32, code & 0xffffU);
    put(l, text, (size_t)n);
}

static void put_byte(struct line *l, uint8_t byte, bool json)
{
    char text[8];
    int n = snprintf(text, sizeof(text), json ? "\\ufffd" : "\\x%02x", (unsigned)byte);
    put(l, text, (size_t)n);
}

static void put_escaped(struct line *l, struct pag_span s, bool json)
{
    size_t end = s.n > VALUE_MAX ? VALUE_MAX : s.n;
    for (size_t i = 0; i < end;) {
        uint32_t code = 0;
        size_t len = utf8_read(s.p + i, s.n - i, &code);
        if (len == 0) {
            put_byte(l, s.p[i], json);
            i++;
            continue;
        }
        if (is_unsafe(code)) {
            put_code(l, code);
        } else if (code == '"' || code == '\\') {
            put(l, "\\", 1);
            put(l, (const char *)s.p + i, 1);
        } else {
            put(l, (const char *)s.p + i, len);
        }
        i += len;
    }
    if (end < s.n) {
        put_str(l, "...");
    }
}

static bool is_plain(struct pag_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '"' || s.p[i] == '=' || s.p[i] == '\\') {
            return false;
        }
    }
    return s.n > 0;
}

static void put_text_value(struct line *l, struct pag_span s, bool json)
{
    bool quote = json || !is_plain(s);
    if (quote) {
        put(l, "\"", 1);
    }
    put_escaped(l, s, json);
    if (quote) {
        put(l, "\"", 1);
    }
}

static void put_hex(struct line *l, struct pag_span s, bool json)
{
    static const char digits[] = "0123456789abcdef";
    const char *quote = json ? "\"" : "";
    put_str(l, quote);
    for (size_t i = 0; i < s.n && i < VALUE_MAX; i++) {
        char pair[2] = { digits[s.p[i] >> 4], digits[s.p[i] & 15] };
        put(l, pair, 2);
    }
    put_str(l, quote);
}

static void put_value(struct line *l, const struct pag_field *f, bool json)
{
    char number[24];
    const char *text = f->str == NULL ? "" : f->str;
    switch (f->type) {
    case PAG_FIELD_STR:
        put_text_value(l, (struct pag_span){ (const uint8_t *)text, strlen(text) }, json);
        break;
    case PAG_FIELD_SPAN:
        put_text_value(l, f->span, json);
        break;
    case PAG_FIELD_HEX:
        put_hex(l, f->span, json);
        break;
    case PAG_FIELD_U64:
        (void)snprintf(number, sizeof(number), "%" PRIu64, f->u64);
        put_str(l, number);
        break;
    case PAG_FIELD_I64:
        (void)snprintf(number, sizeof(number), "%" PRId64, f->i64);
        put_str(l, number);
        break;
    }
}

static void put_head(struct line *l, const struct pag_log *log, bool json, enum pag_log_level level,
                     const char *event)
{
    char when[25];
    pag_time_text(log->clock.now_unix_ms(log->clock.ctx), when);
    put_str(l, json ? "{\"t\":\"" : "");
    put_str(l, when);
    put_str(l, json ? "\",\"level\":\"" : " ");
    put_str(l, json ? level_lower[level] : level_upper[level]);
    put_str(l, json ? "\",\"event\":\"" : " ");
    put_str(l, event);
    put_str(l, json ? "\"" : "");
}

void pag_log_event(struct pag_log *log, enum pag_log_level level, const char *event,
                   const struct pag_field *fields, size_t n)
{
    if (log == NULL || level < atomic_load_explicit(&log->least, memory_order_relaxed)) {
        return;
    }
    bool json = atomic_load_explicit(&log->json, memory_order_relaxed); /* one form for the whole line */
    struct line l;
    l.n = 0;
    l.full = false;
    put_head(&l, log, json, level, event);
    for (size_t i = 0; i < n; i++) {
        size_t before = l.n;
        put_str(&l, json ? ",\"" : " ");
        put_str(&l, fields[i].key);
        put_str(&l, json ? "\":" : "=");
        put_value(&l, &fields[i], json);
        if (l.full) { /* the field does not fit: leave it out whole and say so */
            static const char cut_json[] = ",\"cut\":true";
            static const char cut_text[] = " cut=true";
            l.n = before;
            const char *mark = json ? cut_json : cut_text;
            memcpy(l.text + l.n, mark, strlen(mark));
            l.n += strlen(mark);
            break;
        }
    }
    if (json) {
        l.text[l.n++] = '}';
    }
    l.text[l.n++] = '\n';
    ssize_t done;
    do {
        done = write(log->fd, l.text, l.n);
    } while (done < 0 && errno == EINTR);
}
