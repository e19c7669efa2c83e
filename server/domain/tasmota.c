#include "server/domain/tasmota.h"

#include <string.h>

#include "core/bytes.h"

enum { DISCOVERY_MAC = 12 };

static const char *const prefixes[PAG_TASMOTA_PREFIXES] = { "cmnd", "stat", "tele" };

/* Next level of s from *at on; false when there is none left. */
static bool level_next(struct pag_span s, size_t *at, struct pag_span *level)
{
    if (*at > s.n) {
        return false;
    }
    size_t end = pag_span_find(s, *at, '/');
    *level = (struct pag_span){ s.p + *at, end - *at };
    *at = end + 1;
    return true;
}

static bool level_ok(struct pag_span level)
{
    for (size_t i = 0; i < level.n; i++) {
        uint8_t c = level.p[i];
        if (c <= 0x20 || c > 0x7E || c == '+' || c == '#' || c == '%' || c == '{' || c == '}') {
            return false;
        }
    }
    return level.n > 0;
}

bool pag_tasmota_full_topic_ok(struct pag_span text)
{
    unsigned prefix = 0;
    unsigned name = 0;
    unsigned id = 0;
    struct pag_span level;
    size_t at = 0;
    if (text.n < 2 || text.n > PAG_TASMOTA_FULL_TOPIC_MAX || text.p[text.n - 1] != '/' || text.p[0] == '$' ||
        pag_span_starts(text, "pg/") || pag_span_starts(text, "tasmota/")) {
        return false;
    }
    struct pag_span body = { text.p, text.n - 1 };
    while (level_next(body, &at, &level)) {
        bool token = true;
        if (pag_span_eq_str(level, "%prefix%")) {
            prefix++;
        } else if (pag_span_eq_str(level, "%topic%")) {
            name++;
        } else if (pag_span_eq_str(level, "%id%")) {
            id++;
        } else {
            token = false;
        }
        if (!token && !level_ok(level)) {
            return false;
        }
    }
    return prefix == 1 && name == 1 && id <= 1;
}

bool pag_tasmota_url_ok(struct pag_span text)
{
    if (text.n > PAG_TASMOTA_URL_MAX ||
        !(pag_span_starts(text, "http://") || pag_span_starts(text, "https://"))) {
        return false;
    }
    for (size_t i = 0; i < text.n; i++) {
        struct pag_span rest = { text.p + i, text.n - i };
        if (text.p[i] <= 0x20 || text.p[i] > 0x7E || text.p[i] == '"' || text.p[i] == '\\') {
            return false;
        }
        if (text.p[i] == '%' && !pag_span_starts(rest, "%d") && !pag_span_starts(rest, "%04d")) {
            return false;
        }
    }
    return true;
}

bool pag_tasmota_name_ok(struct pag_span text)
{
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        bool fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                    c == '-';
        if (!fine) {
            return false;
        }
    }
    return text.n > 0 && text.n <= PAG_TASMOTA_NAME_MAX;
}

static char upper(char c)
{
    if (c >= 'a' && c <= 'z') {
        return (char)(c - 'a' + 'A');
    }
    return c;
}

void pag_tasmota_name_of(const char *mac, char out[PAG_TASMOTA_NAME_MAX + 1])
{
    size_t at = sizeof "tasmota_" - 1;
    (void)pag_text_copy(out, PAG_TASMOTA_NAME_MAX + 1, pag_span_str("tasmota_"));
    for (size_t i = 6; i < DISCOVERY_MAC; i++) {
        out[at++] = upper(mac[i]);
    }
    out[at] = '\0';
}

static enum pag_err put_upper(struct pag_buf *buf, const char *text)
{
    enum pag_err err = PAG_OK;
    for (; *text != '\0' && err == PAG_OK; text++) {
        err = pag_buf_put_u8(buf, (uint8_t)upper(*text));
    }
    return err;
}

static enum pag_err put_level(struct pag_buf *buf, struct pag_span level, const struct pag_tasmota_place *at)
{
    if (pag_span_eq_str(level, "%prefix%")) {
        return pag_buf_put_str(buf, prefixes[at->prefix]);
    }
    if (pag_span_eq_str(level, "%topic%")) {
        return pag_buf_put_str(buf, at->name);
    }
    return pag_span_eq_str(level, "%id%") ? put_upper(buf, at->id) : pag_buf_put(buf, level);
}

enum pag_err pag_tasmota_topic_put(struct pag_span full_topic, const struct pag_tasmota_place *at,
                                   char out[PAG_TASMOTA_TOPIC_MAX])
{
    struct pag_buf buf = { (uint8_t *)out, 0, PAG_TASMOTA_TOPIC_MAX - 1 };
    struct pag_span body = { full_topic.p, full_topic.n - 1 };
    struct pag_span level;
    size_t cursor = 0;
    enum pag_err err = PAG_OK;
    while (err == PAG_OK && level_next(body, &cursor, &level)) {
        err = put_level(&buf, level, at);
        err = err == PAG_OK ? pag_buf_put_u8(&buf, '/') : err;
    }
    err = err == PAG_OK ? pag_buf_put_str(&buf, at->leaf) : err;
    out[buf.n] = '\0';
    return err;
}

static bool prefix_read(struct pag_span level, enum pag_tasmota_prefix *out)
{
    for (unsigned i = 0; i < PAG_TASMOTA_PREFIXES; i++) {
        if (pag_span_eq_str(level, prefixes[i])) {
            *out = (enum pag_tasmota_prefix)i;
            return true;
        }
    }
    return false;
}

bool pag_tasmota_topic_match(struct pag_span full_topic, struct pag_span topic, struct pag_tasmota_topic *out)
{
    struct pag_span body = { full_topic.p, full_topic.n - 1 };
    struct pag_tasmota_topic t = { .prefix = PAG_TASMOTA_CMND };
    struct pag_span want;
    struct pag_span have;
    size_t at_want = 0;
    size_t at_have = 0;
    while (level_next(body, &at_want, &want)) {
        if (!level_next(topic, &at_have, &have)) {
            return false;
        }
        bool fits = pag_span_eq(want, have) || pag_span_eq_str(want, "%id%");
        if (pag_span_eq_str(want, "%prefix%")) {
            fits = prefix_read(have, &t.prefix);
        } else if (pag_span_eq_str(want, "%topic%")) {
            fits = pag_tasmota_name_ok(have);
            t.name = have;
        }
        if (!fits) {
            return false;
        }
    }
    if (at_have >= topic.n) {
        return false;
    }
    t.leaf = (struct pag_span){ topic.p + at_have, topic.n - at_have };
    *out = t;
    return true;
}

bool pag_tasmota_discovery_match(struct pag_span topic, char mac[13], struct pag_span *leaf)
{
    static const char head[] = "tasmota/discovery/";
    size_t at = sizeof head - 1;
    if (!pag_span_starts(topic, head) || topic.n < at + DISCOVERY_MAC + 2 ||
        topic.p[at + DISCOVERY_MAC] != '/') {
        return false;
    }
    struct pag_span digits = { topic.p + at, DISCOVERY_MAC };
    struct pag_span rest = { topic.p + at + DISCOVERY_MAC + 1, topic.n - at - DISCOVERY_MAC - 1 };
    if (pag_mac_text(digits, mac) != PAG_OK ||
        !(pag_span_eq_str(rest, "config") || pag_span_eq_str(rest, "sensors"))) {
        return false;
    }
    *leaf = rest;
    return true;
}

void pag_tasmota_version_read(struct pag_span text, struct pag_tasmota_version *out)
{
    static const char *const stand_ins[] = { "minimal", "tasmota-minimal", "safeboot", "tasmota-safeboot",
                                             "tasmota32-safeboot" };
    size_t open = pag_span_find(text, 0, '(');
    out->version = (struct pag_span){ text.p, open };
    out->variant = (struct pag_span){ text.p, 0 };
    out->stand_in = false;
    if (open < text.n && text.p[text.n - 1] == ')') {
        out->variant = (struct pag_span){ text.p + open + 1, text.n - open - 2 };
    }
    for (size_t i = 0; i < sizeof stand_ins / sizeof stand_ins[0]; i++) {
        out->stand_in |= pag_span_eq_str(out->variant, stand_ins[i]);
    }
}

enum pag_tasmota_upgrade pag_tasmota_upgrade_read(struct pag_span text)
{
    if (pag_span_starts(text, "Version ")) {
        return PAG_TASMOTA_UPGRADE_BEGUN;
    }
    if (pag_span_starts(text, "Successful")) {
        return PAG_TASMOTA_UPGRADE_DONE;
    }
    if (pag_span_starts(text, "Failed")) {
        return PAG_TASMOTA_UPGRADE_FAILED;
    }
    return pag_span_starts(text, "1 or >") ? PAG_TASMOTA_UPGRADE_REFUSED : PAG_TASMOTA_UPGRADE_NONE;
}
