#include "agent/config.h"

#include "core/bytes.h"
#include "core/image.h"
#include "core/mem.h"

enum value_type {
    VALUE_HOST,
    VALUE_TEXT,
    VALUE_U16,
    VALUE_U32,
    VALUE_HEX,
    VALUE_SWITCH, /* on, off */
    VALUE_MAC,
    VALUE_CHIP,
    VALUE_HARDWARE,
};

/* One row a key. at, room: member and its bytes. */
struct key {
    const char *name;
    uint8_t type; /* enum value_type */
    uint16_t at;
    uint16_t room;
    uint32_t min, max;
};

#define KEY(name_, type_, member_, min_, max_)                                                               \
    {                                                                                                        \
        .name = (name_), .type = (type_), .at = offsetof(struct pag_settings, member_),                      \
        .room = sizeof(((struct pag_settings *)0)->member_), .min = (min_), .max = (max_)                    \
    }

enum { YEAR_S = 31536000 };

/* clang-format off */
static const struct key keys[] = {
    KEY("server", VALUE_HOST, host, 0, 0),
    KEY("port", VALUE_U16, port, 1, UINT16_MAX),
    KEY("mqtt_host", VALUE_HOST, mqtt_host, 0, 0),
    KEY("mqtt_port", VALUE_U16, mqtt_port, 1, UINT16_MAX),
    KEY("mqtt", VALUE_SWITCH, mqtt_off, 0, 0),
    KEY("id", VALUE_TEXT, id, 0, 0),
    KEY("mac", VALUE_MAC, mac, 0, 0),
    KEY("image", VALUE_TEXT, image, 0, 0),
    KEY("claim", VALUE_TEXT, claim, 0, 0),
    KEY("product", VALUE_HEX, product, 0, 0),
    KEY("hardware", VALUE_HARDWARE, hardware, 0, 0),
    KEY("chip", VALUE_CHIP, chip, 0, 0),
    KEY("layout", VALUE_HEX, layout, 0, 0),
    KEY("trust_pin", VALUE_HEX, trust_pin, 0, 0),
    KEY("trust_pin_version", VALUE_U32, trust_pin_version, 1, UINT32_MAX),
    KEY("poll_s", VALUE_U32, poll_s, 1, YEAR_S),
    KEY("status_s", VALUE_U32, status_s, 0, YEAR_S),
    KEY("trial_s", VALUE_U32, trial_s, 1, 86400),
    KEY("backoff_min_s", VALUE_U32, backoff_min_s, 1, YEAR_S),
    KEY("backoff_max_s", VALUE_U32, backoff_max_s, 1, YEAR_S),
    KEY("trigger_gap_s", VALUE_U32, trigger_gap_s, 0, 86400),
    KEY("trigger_jitter_s", VALUE_U32, trigger_jitter_s, 0, 86400),
    KEY("lonely_reboot_s", VALUE_U32, lonely_reboot_s, 0, YEAR_S),
    KEY("fresh_every_s", VALUE_U32, fresh_every_s, 1, YEAR_S),
    KEY("fresh_window_s", VALUE_U32, fresh_window_s, 1, YEAR_S),
    KEY("download_s", VALUE_U32, download_s, 1, 86400),
    KEY("min_rate_bps", VALUE_U32, min_rate_bps, 0, 1U << 30),
    KEY("io_timeout_s", VALUE_U32, io_timeout_s, 1, 600),
    KEY("keepalive_s", VALUE_U16, keepalive_s, 1, 600),
};
/* clang-format on */

void pag_settings_default(struct pag_settings *s)
{
    memset(s, 0, sizeof *s);
    s->port = 8444;
    memcpy(s->image, "firmware", sizeof "firmware");
    s->trust_pin_version = 1;
    s->poll_s = 300;
    s->status_s = 60;
    s->trial_s = 600;
    s->backoff_min_s = 60;
    s->backoff_max_s = 86400;
    s->trigger_gap_s = 60;
    s->trigger_jitter_s = 300;
    s->lonely_reboot_s = 86400;
    s->fresh_every_s = 86400;
    s->fresh_window_s = 1209600;
    s->download_s = 3600;
    s->min_rate_bps = 256;
    s->io_timeout_s = 20;
    s->keepalive_s = 60;
}

static bool host_ok(struct pag_span v)
{
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
              c == '-' || c == ':')) {
            return false;
        }
    }
    return v.n > 0;
}

static enum pag_err set_text(struct pag_settings *s, const struct key *k, struct pag_span v)
{
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < 0x21 || v.p[i] > 0x7E) {
            return PAG_E_SYNTAX;
        }
    }
    if (v.n == 0 || (k->type == VALUE_HOST && !host_ok(v))) {
        return PAG_E_SYNTAX;
    }
    return pag_text_copy((char *)s + k->at, k->room, v);
}

static enum pag_err set_number(struct pag_settings *s, const struct key *k, struct pag_span v)
{
    uint32_t n = 0;
    enum pag_err err = pag_parse_u32(v, &n);
    if (err != PAG_OK) {
        return err;
    }
    if (n < k->min || n > k->max) {
        return PAG_E_RANGE;
    }
    uint16_t n16 = (uint16_t)n;
    if (k->type == VALUE_U16) {
        memcpy((uint8_t *)s + k->at, &n16, sizeof n16);
    } else {
        memcpy((uint8_t *)s + k->at, &n, sizeof n);
    }
    return PAG_OK;
}

static enum pag_err set_hardware(struct pag_settings *s, struct pag_span v)
{
    if (v.n < 4 || v.n > sizeof s->hardware) {
        return PAG_E_RANGE;
    }
    memset(s->hardware, 0, sizeof s->hardware);
    memcpy(s->hardware, v.p, v.n);
    s->hardware_n = (uint8_t)v.n;
    return PAG_OK;
}

static enum pag_err set_chip(struct pag_settings *s, struct pag_span v)
{
    enum pag_chip chip = pag_chip_by_name(v);
    if (chip == PAG_CHIP_UNKNOWN) {
        return PAG_E_NOT_FOUND;
    }
    s->chip = (uint8_t)chip;
    return PAG_OK;
}

static enum pag_err set_switch(struct pag_settings *s, struct pag_span v)
{
    if (!pag_span_eq_str(v, "on") && !pag_span_eq_str(v, "off")) {
        return PAG_E_SYNTAX;
    }
    s->mqtt_off = pag_span_eq_str(v, "off");
    return PAG_OK;
}

static enum pag_err set_value(struct pag_settings *s, const struct key *k, struct pag_span v)
{
    enum pag_err err = PAG_OK;
    switch ((enum value_type)k->type) {
    case VALUE_HOST:
    case VALUE_TEXT:
        return set_text(s, k, v);
    case VALUE_U16:
    case VALUE_U32:
        return set_number(s, k, v);
    case VALUE_HEX:
        err = pag_parse_hex(v, (uint8_t *)s + k->at, k->room);
        s->has_trust_pin = s->has_trust_pin || k->at == offsetof(struct pag_settings, trust_pin);
        s->has_layout = s->has_layout || k->at == offsetof(struct pag_settings, layout);
        return err;
    case VALUE_SWITCH:
        return set_switch(s, v);
    case VALUE_MAC:
        return pag_mac_text(v, s->mac);
    case VALUE_CHIP:
        return set_chip(s, v);
    case VALUE_HARDWARE:
        return set_hardware(s, v);
    }
    return PAG_E_INTERNAL;
}

static const char *wants_word(const struct key *k)
{
    switch ((enum value_type)k->type) {
    case VALUE_HOST:
        return "a name or an address without scheme and port";
    case VALUE_TEXT:
        return "printable characters without blanks, at most ";
    case VALUE_U16:
    case VALUE_U32:
        return "a whole number from ";
    case VALUE_HEX:
        return " hex digits";
    case VALUE_SWITCH:
        return "on or off";
    case VALUE_MAC:
        return "12 hex digits";
    case VALUE_CHIP:
        return "esp8266, esp32, esp32-s2, esp32-c3 … or posix";
    case VALUE_HARDWARE:
        return "4 to 16 characters";
    }
    return "";
}

static enum pag_err put_wants(const struct key *k, struct pag_buf *out)
{
    const char *word = wants_word(k);
    enum pag_err err = PAG_OK;
    if (k->type == VALUE_HEX) {
        err = pag_buf_put_dec(out, 2ULL * k->room);
        return err == PAG_OK ? pag_buf_put_str(out, word) : err;
    }
    err = pag_buf_put_str(out, word);
    if (err == PAG_OK && k->type == VALUE_TEXT) {
        err = pag_buf_put_dec(out, k->room - 1U);
    }
    if (err == PAG_OK && (k->type == VALUE_U16 || k->type == VALUE_U32)) {
        err = pag_buf_put_dec(out, k->min);
        err = err == PAG_OK ? pag_buf_put_str(out, " to ") : err;
        err = err == PAG_OK ? pag_buf_put_dec(out, k->max) : err;
    }
    return err;
}

enum pag_err pag_settings_wants(struct pag_span key, struct pag_buf *out)
{
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (pag_span_eq_str(key, keys[i].name)) {
            return put_wants(&keys[i], out);
        }
    }
    return PAG_E_NOT_FOUND;
}

static struct pag_span trim(struct pag_span s)
{
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r')) {
        s.n--;
    }
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    return s;
}

/* One line that is not part of a PEM block. */
static enum pag_err take_line(struct pag_settings *s, struct pag_span line, uint32_t *seen, const char **what)
{
    size_t eq = pag_span_find(line, 0, '=');
    if (eq >= line.n) {
        *what = "configuration: not key=value";
        return PAG_E_CONFIG;
    }
    struct pag_span name = trim(pag_span_of(line.p, eq));
    struct pag_span value = trim(pag_span_of(line.p + eq + 1, line.n - eq - 1));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (!pag_span_eq_str(name, keys[i].name)) {
            continue;
        }
        *what = (*seen >> i & 1U) != 0 ? "configuration: key given twice"
                                       : "configuration: value is not possible";
        bool twice = (*seen >> i & 1U) != 0;
        *seen |= (uint32_t)1 << i;
        return !twice && set_value(s, &keys[i], value) == PAG_OK ? PAG_OK : PAG_E_CONFIG;
    }
    *what = "configuration: unknown key";
    return PAG_E_CONFIG;
}

_Static_assert(sizeof keys / sizeof keys[0] <= 32, "seen is a 32-bit set");

static const char pem_begin[] = "-----BEGIN CERTIFICATE-----";
static const char pem_end[] = "-----END CERTIFICATE-----";

struct reading {
    struct pag_span text;
    uint32_t seen; /* bit i: keys[i] was given */
    size_t pem_at; /* start of the block being read; text.n: none */
    const char *what;
};

/* Lines of a certificate. true: the line was one. */
static bool take_pem(struct reading *r, struct pag_settings *s, struct pag_span line, size_t at, size_t end)
{
    if (pag_span_eq_str(line, pem_begin)) {
        if (r->pem_at < r->text.n || s->ca.n > 0) {
            r->what = "configuration: a second certificate";
        }
        r->pem_at = at;
        return true;
    }
    if (r->pem_at == r->text.n) {
        return false;
    }
    if (pag_span_eq_str(line, pem_end)) {
        s->ca = pag_span_of(r->text.p + r->pem_at, (end < r->text.n ? end + 1 : end) - r->pem_at);
        r->pem_at = r->text.n;
    }
    return true;
}

enum pag_err pag_settings_parse(struct pag_span text, struct pag_settings *s, struct pag_fail *why)
{
    struct reading r = { .text = text, .pem_at = text.n };
    uint64_t line_no = 0;
    for (size_t at = 0; at < text.n && r.what == NULL;) {
        size_t end = pag_span_find(text, at, '\n');
        struct pag_span line = trim(pag_span_of(text.p + at, end - at));
        const char *what = NULL;
        line_no++;
        bool plain = !take_pem(&r, s, line, at, end) && line.n > 0 && line.p[0] != '#';
        if (plain && take_line(s, line, &r.seen, &what) != PAG_OK) {
            r.what = what;
        }
        at = end + 1;
    }
    if (r.what == NULL && r.pem_at < text.n) {
        r.what = "configuration: certificate without end";
    }
    return r.what != NULL ? pag_fail_set(why, PAG_E_CONFIG, r.what, line_no) : pag_settings_check(s, why);
}

enum pag_err pag_settings_check(const struct pag_settings *s, struct pag_fail *why)
{
    static const uint8_t none[PAG_PRODUCT_ID_BYTES];
    const char *id = s->id[0] != 0 ? s->id : s->mac;
    const char *what = NULL;
    if (s->host[0] == 0) {
        what = "configuration: server is missing";
    } else if (memcmp(s->product, none, sizeof none) == 0) {
        what = "configuration: product is missing";
    } else if (s->hardware_n < 4 || s->hardware_n > PAG_HARDWARE_ID_MAX) {
        what = "configuration: hardware is missing";
    } else if (s->chip == PAG_CHIP_UNKNOWN) {
        what = "configuration: chip is missing";
    } else if (!pag_image_name_ok(pag_span_str(s->image))) {
        what = "configuration: image is not a name";
    } else if (!pag_device_id_ok(pag_span_str(id))) {
        what = "configuration: id or mac is missing";
    }
    return what == NULL ? PAG_OK : pag_fail_set(why, PAG_E_CONFIG, what, 0);
}
