#include "server/api/json.h"

#include <stdlib.h>
#include <string.h>

#include "host/clock.h"

/* Where a string that begins at text[at] ends: the closing quote, or the end of text. */
static size_t string_end(struct pag_span text, size_t at)
{
    for (at++; at < text.n && text.p[at] != '"'; at++) {
        at += text.p[at] == '\\' ? 1 : 0;
    }
    return at;
}

/*
 * Depth of arrays and objects, measured before jansson recurses. Only brackets outside of strings count; a
 * text that is not JSON is refused by the parser later.
 */
static bool depth_ok(struct pag_span text, size_t limit)
{
    size_t depth = 0;
    for (size_t i = 0; i < text.n && depth <= limit; i++) {
        uint8_t c = text.p[i];
        if (c == '"') {
            i = string_end(text, i);
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return depth <= limit;
}

enum pag_err pag_json_parse(struct pag_span text, struct pag_json_limits limits, json_t **out,
                            struct pag_fail *why)
{
    if (text.n > limits.bytes) {
        return pag_fail_set(why, PAG_E_LIMIT, "JSON is too large", text.n);
    }
    if (!depth_ok(text, limits.depth)) {
        return pag_fail_set(why, PAG_E_LIMIT, "JSON is nested too deeply", limits.depth);
    }
    json_error_t error;
    json_t *value =
        json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (value == NULL) {
        return pag_fail_set(why, PAG_E_SYNTAX, "JSON does not parse",
                            error.position > 0 ? (uint64_t)error.position : 0);
    }
    *out = value;
    return PAG_OK;
}

struct pag_span pag_json_dump(struct pag_arena *arena, json_t *value)
{
    struct pag_span out = { NULL, 0 };
    if (value == NULL) {
        return out;
    }
    size_t n = json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    char *text = n > 0 ? pag_arena_alloc(arena, n) : NULL;
    if (text != NULL) {
        json_dumpb(value, text, n, JSON_COMPACT | JSON_ENCODE_ANY);
        out = (struct pag_span){ (const uint8_t *)text, n };
    }
    json_decref(value);
    return out;
}

/* Bytes that follow a lead byte; 4: not a lead byte. */
static size_t utf8_more(uint8_t lead)
{
    if (lead < 0x80) {
        return 0;
    }
    if (lead >= 0xC2 && lead <= 0xDF) {
        return 1;
    }
    if ((lead & 0xF0) == 0xE0) {
        return 2;
    }
    return lead >= 0xF0 && lead <= 0xF4 ? 3 : 4;
}

/* Length of the valid UTF-8 sequence at s[i], 0 when there is none (overlong and surrogates are not valid).
 */
static size_t utf8_step(struct pag_span s, size_t i)
{
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    static const uint8_t lead_bits[] = { 0x7F, 0x1F, 0x0F, 0x07 };
    size_t more = utf8_more(s.p[i]);
    if (more > 3 || s.n - i <= more) {
        return 0;
    }
    uint32_t code = s.p[i] & lead_bits[more];
    for (size_t k = 1; k <= more; k++) {
        if ((s.p[i + k] & 0xC0) != 0x80) {
            return 0;
        }
        code = (code << 6) | (s.p[i + k] & 0x3FU);
    }
    bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    return code >= least[more] && code <= 0x10FFFF && !surrogate ? more + 1 : 0;
}

json_t *pag_json_text(struct pag_span s)
{
    json_t *value = json_stringn(s.n > 0 ? (const char *)s.p : "", s.n);
    if (value != NULL || s.n == 0 || s.n > SIZE_MAX / 3) {
        return value;
    }
    char *clean = malloc(3 * s.n);
    if (clean == NULL) {
        return NULL;
    }
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        size_t step = utf8_step(s, i);
        if (step == 0) {
            clean[n++] = (char)0xEF; /* U+FFFD */
            clean[n++] = (char)0xBF;
            clean[n++] = (char)0xBD;
            i++;
            continue;
        }
        memcpy(clean + n, s.p + i, step);
        n += step;
        i += step;
    }
    value = json_stringn(clean, n);
    free(clean);
    return value;
}

json_t *pag_json_str(const char *s)
{
    if (s == NULL) {
        return json_null();
    }
    return pag_json_text((struct pag_span){ (const uint8_t *)s, strlen(s) });
}

json_t *pag_json_hex(struct pag_span s)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * 64];
    if (s.n == 0 || s.n > 64) {
        return json_null();
    }
    for (size_t i = 0; i < s.n; i++) {
        text[2 * i] = digits[s.p[i] >> 4];
        text[2 * i + 1] = digits[s.p[i] & 15];
    }
    return json_stringn(text, 2 * s.n);
}

json_t *pag_json_time(uint64_t unix_ms)
{
    char text[25];
    if (unix_ms == 0) {
        return json_null();
    }
    pag_time_text(unix_ms, text);
    return json_string(text);
}
