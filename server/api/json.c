#include "server/api/json.h"

#include <stdlib.h>
#include <string.h>

#include "host/clock.h"

/*
 * Depth of arrays and objects, measured before jansson recurses. Only brackets outside of strings count; a
 * text that is not JSON is refused by the parser later.
 */
static bool depth_ok(struct pag_span text, size_t limit)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > limit) {
                return false;
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
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

/* Length of the valid UTF-8 sequence at s[i], 0 when there is none (overlong and surrogates are not valid).
 */
static size_t utf8_step(struct pag_span s, size_t i)
{
    static const struct {
        uint8_t mask, lead;
        uint8_t more;
        uint32_t least;
    } forms[] = {
        { 0x80, 0x00, 0, 0 }, { 0xE0, 0xC0, 1, 0x80 }, { 0xF0, 0xE0, 2, 0x800 }, { 0xF8, 0xF0, 3, 0x10000 }
    };
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
        if ((s.p[i] & forms[f].mask) != forms[f].lead || s.n - i <= forms[f].more) {
            continue;
        }
        uint32_t code = s.p[i] & (uint8_t)~forms[f].mask;
        for (size_t k = 1; k <= forms[f].more; k++) {
            if ((s.p[i + k] & 0xC0) != 0x80) {
                return 0;
            }
            code = (code << 6) | (s.p[i + k] & 0x3FU);
        }
        bool valid = code >= forms[f].least && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
        return valid ? (size_t)forms[f].more + 1 : 0;
    }
    return 0;
}

json_t *pag_json_text(struct pag_span s)
{
    json_t *value = json_stringn(s.n > 0 ? (const char *)s.p : "", s.n);
    if (value != NULL || s.n > SIZE_MAX / 3) {
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
            memcpy(clean + n, "\xEF\xBF\xBD", 3); /* U+FFFD */
            n += 3;
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
