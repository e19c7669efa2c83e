#include "server/domain/product.h"

#include <string.h>

#include "core/bytes.h"
#include "server/domain/words.h"

static const char *const auths[] = { "certificate", "token", "none" };

const char *pag_legacy_auth_word(enum pag_legacy_auth a)
{
    return a <= PAG_LEGACY_NONE ? auths[a] : "certificate";
}

enum pag_err pag_legacy_auth_by_word(struct pag_span word, enum pag_legacy_auth *out)
{
    for (int i = PAG_LEGACY_CERTIFICATE; i <= PAG_LEGACY_NONE; i++) {
        if (pag_span_eq_str(word, auths[i])) {
            *out = (enum pag_legacy_auth)i;
            return PAG_OK;
        }
    }
    return PAG_E_SYNTAX;
}

void pag_product_settings_default(struct pag_product_settings *out)
{
    memset(out, 0, sizeof *out);
    out->poll_s = 300;
    out->legacy_auth = PAG_LEGACY_CERTIFICATE;
    out->max_serves = 3;
}

enum pag_err pag_core_read(struct pag_span text, uint32_t *core)
{
    uint32_t part[3] = { 0 };
    size_t n = 0;
    for (size_t at = 0; at <= text.n; n++) {
        size_t end = pag_span_find(text, at, '.');
        struct pag_span digits = { text.p + at, end - at };
        if (n == 3 || digits.n > 2 || pag_parse_u32(digits, &part[n]) != PAG_OK) {
            return PAG_E_SYNTAX;
        }
        at = end + 1;
    }
    if (n < 2 || part[0] == 0) {
        return PAG_E_SYNTAX;
    }
    *core = PAG_CORE(part[0], part[1], part[2]);
    return PAG_OK;
}

void pag_core_text(uint32_t core, char out[PAG_CORE_TEXT])
{
    struct pag_words w = pag_words_into(out, PAG_CORE_TEXT);
    if (core == 0) {
        return;
    }
    pag_words_num(&w, core / 10000 % 100);
    pag_words_put(&w, ".");
    pag_words_num(&w, core / 100 % 100);
    pag_words_put(&w, ".");
    pag_words_num(&w, core % 100);
}

bool pag_product_name_ok(struct pag_span name)
{
    if (name.n == 0 || name.n > PAG_VERSION_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return false;
        }
    }
    return true;
}

/* Products are asked for by either: nobody's name may be another's id. */
static bool is_id(const char *name)
{
    uint8_t id[(PAG_PRODUCT_HEX - 1) / 2];
    return strlen(name) == PAG_PRODUCT_HEX - 1 && pag_parse_hex(pag_span_str(name), id, sizeof id) == PAG_OK;
}

bool pag_product_has_hardware(const struct pag_product *p, struct pag_span hardware)
{
    for (size_t i = 0; i < p->hardware_n; i++) {
        if (pag_span_eq_str(hardware, p->hardware[i])) {
            return true;
        }
    }
    return false;
}

static bool level_ok(struct pag_span level)
{
    for (size_t i = 0; i < level.n; i++) {
        uint8_t c = level.p[i];
        if (c < 0x21 || c > 0x7E || c == '+' || c == '#' || c == '{' || c == '}') {
            return false;
        }
    }
    return true;
}

bool pag_product_template_ok(struct pag_span tmpl)
{
    size_t ids = 0;
    if (tmpl.n == 0) {
        return true;
    }
    if (tmpl.n >= PAG_TEMPLATE_MAX || pag_span_starts(tmpl, "$") || pag_span_starts(tmpl, "pg/")) {
        return false;
    }
    for (size_t at = 0; at <= tmpl.n;) {
        size_t end = pag_span_find(tmpl, at, '/');
        struct pag_span level = pag_span_of(tmpl.p + at, end - at);
        bool is_id = pag_span_eq_str(level, "{id}");
        if (!is_id && !level_ok(level)) {
            return false;
        }
        ids += is_id;
        at = end + 1;
    }
    return ids == 1;
}

size_t pag_product_templates(const struct pag_product *list, size_t n, const char **text, size_t max)
{
    size_t used = 0;
    for (size_t i = 0; i < 3 * n; i++) {
        const struct pag_product_settings *s = &list[i / 3].settings;
        const char *const one[] = { s->topic_command, s->topic_status, s->topic_will };
        size_t k = 0;
        while (k < used && strcmp(text[k], one[i % 3]) != 0) {
            k++;
        }
        if (k < used || one[i % 3][0] == '\0') {
            continue;
        }
        if (used == max) {
            return max + 1;
        }
        text[used++] = one[i % 3];
    }
    return used;
}

static bool hardware_ok(const char *h)
{
    struct pag_span s = pag_span_str(h);
    if (s.n < 4) {
        return false; /* manifests carry 4 to 16 bytes */
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] >= 0x7F || s.p[i] == ',' || s.p[i] == '"' || s.p[i] == '\\') {
            return false;
        }
    }
    return true;
}

static enum pag_err settings_check(const struct pag_product_settings *s, struct pag_fail *why)
{
    if (s->poll_s < 10 || s->poll_s > 604800) {
        return pag_fail_set(why, PAG_E_RANGE, "settings.poll_s must be 10 to 604800", s->poll_s);
    }
    if (s->max_serves < 1 || s->max_serves > 100) {
        return pag_fail_set(why, PAG_E_RANGE, "settings.max_serves must be 1 to 100", s->max_serves);
    }
    if (s->legacy_auth > PAG_LEGACY_NONE) {
        return pag_fail_set(why, PAG_E_SYNTAX, "settings.legacy_auth must be certificate, token or none", 0);
    }
    if (!pag_product_template_ok(pag_span_str(s->topic_command)) ||
        !pag_product_template_ok(pag_span_str(s->topic_status)) ||
        !pag_product_template_ok(pag_span_str(s->topic_will))) {
        return pag_fail_set(why, PAG_E_SYNTAX,
                            "settings.topics must hold {id} as one whole level, no wildcards or spaces, and "
                            "not begin with $ or "
                            "pg/",
                            0);
    }
    return PAG_OK;
}

enum pag_err pag_product_check(const struct pag_product *p, struct pag_fail *why)
{
    if (!pag_product_name_ok(pag_span_str(p->name))) {
        return pag_fail_set(why, PAG_E_SYNTAX, "name must be 1 to 32 of a-z, 0-9 and -", 0);
    }
    if (is_id(p->name)) {
        return pag_fail_set(why, PAG_E_SYNTAX, "name must not be 16 hex digits, as the id of a product is",
                            0);
    }
    if (p->chip == PAG_CHIP_UNKNOWN) {
        return pag_fail_set(why, PAG_E_SYNTAX, "chip is not one we know", 0);
    }
    if (p->hardware_n == 0 || p->hardware_n > PAG_PRODUCT_HARDWARE_MAX) {
        return pag_fail_set(why, PAG_E_RANGE, "hardware must name 1 to 8 boards", p->hardware_n);
    }
    for (size_t i = 0; i < p->hardware_n; i++) {
        if (!hardware_ok(p->hardware[i])) {
            return pag_fail_set(why, PAG_E_SYNTAX, "hardware must be 4 to 16 printable characters each", i);
        }
    }
    if (p->slot_bytes != 0 && p->flash_bytes != 0 && p->slot_bytes > p->flash_bytes) {
        return pag_fail_set(why, PAG_E_RANGE, "slot_bytes must not be above flash_bytes", p->slot_bytes);
    }
    return settings_check(&p->settings, why);
}
