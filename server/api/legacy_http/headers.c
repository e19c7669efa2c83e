#include "server/api/legacy_http/headers.h"

#include <string.h>

#include "core/bytes.h"

enum { TEXT_MAX = 64, SECTOR = 4096 };

struct pag_legacy_in {
    const struct pag_http_header *header;
    size_t n;
    bool esp32;
};

static struct pag_span find(const struct pag_http_header *header, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (pag_span_eq_nocase(header[i].name, name)) {
            return header[i].value;
        }
    }
    return (struct pag_span){ NULL, 0 };
}

static uint32_t number_or_zero(struct pag_span s)
{
    uint32_t v = 0;
    return s.n > 0 && pag_parse_u32(s, &v) == PAG_OK ? v : 0;
}

static struct pag_span text_or_empty(struct pag_span s)
{
    const struct pag_span none = { NULL, 0 };
    if (s.n > TEXT_MAX) {
        return none;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x20 || s.p[i] > 0x7E) {
            return none;
        }
    }
    return s;
}

static enum pag_err read_mode(struct pag_span s, enum pag_legacy_mode *mode)
{
    if (s.n == 0 || pag_span_eq_nocase(s, "sketch")) {
        *mode = PAG_LEGACY_SKETCH;
    } else if (pag_span_eq_nocase(s, "spiffs")) {
        *mode = PAG_LEGACY_FILESYSTEM;
    } else if (pag_span_eq_nocase(s, "version")) {
        *mode = PAG_LEGACY_VERSION;
    } else {
        return PAG_E_SYNTAX;
    }
    return PAG_OK;
}

/* The chip id is the low 24 bits of the station MAC. */
static bool chip_id_of_mac(const char mac[13], uint32_t chip_id)
{
    uint8_t low[3];
    if (pag_parse_hex(pag_span_of(mac + 6, 6), low, sizeof low) != PAG_OK) {
        return false;
    }
    return chip_id == (((uint32_t)low[0] << 16) | ((uint32_t)low[1] << 8) | low[2]);
}

static enum pag_legacy_core guess_core(bool md5_header, bool chip_header, bool is_esp8266)
{
    if (!is_esp8266) {
        return PAG_LEGACY_CORE_UNKNOWN;
    }
    if (chip_header) {
        return PAG_LEGACY_CORE_2_6;
    }
    return md5_header ? PAG_LEGACY_CORE_2_4 : PAG_LEGACY_CORE_2_3;
}

/* Five ways: see the header. Separators are of one kind; a group has one or two digits, or four with dots. */
enum pag_err pag_legacy_mac(struct pag_span text, char out[13])
{
    char digits[13] = { 0 };
    struct pag_buf b = { (uint8_t *)digits, 0, 12 };
    if (pag_mac_text(text, out) == PAG_OK) {
        return PAG_OK;
    }
    uint8_t separator = 0;
    for (size_t i = 0; i < text.n && separator == 0; i++) {
        separator = text.p[i] == ':' || text.p[i] == '-' || text.p[i] == '.' ? text.p[i] : 0;
    }
    size_t width = separator == '.' ? 4 : 2;
    size_t groups = 0;
    for (size_t at = 0; separator != 0 && at <= text.n; groups++) {
        size_t end = pag_span_find(text, at, separator);
        struct pag_span group = { text.p + at, end - at };
        if (group.n == 0 || group.n > width || (separator == '.' && group.n != width) || b.n + width > 12) {
            return PAG_E_SYNTAX;
        }
        (void)pag_buf_put(&b, pag_span_of("00", width - group.n));
        (void)pag_buf_put(&b, group);
        at = end + 1;
    }
    return b.n == 12 ? pag_mac_text(pag_span_of(digits, 12), out) : PAG_E_SYNTAX;
}

/* "x-ESP8266-" or "x-ESP32-" and the rest of the name. */
static struct pag_span find_of(const struct pag_legacy_in *in, const char *rest)
{
    char name[40];
    struct pag_buf b = { (uint8_t *)name, 0, sizeof name - 1 };
    (void)pag_buf_put_str(&b, in->esp32 ? "x-ESP32-" : "x-ESP8266-");
    (void)pag_buf_put_str(&b, rest);
    name[b.n] = '\0';
    return find(in->header, in->n, name);
}

/* Two of them that say two devices: somebody between has added his own. */
static bool two_devices(const struct pag_legacy_in *in, const char *mac)
{
    for (size_t i = 0; i < in->n; i++) {
        char other[13];
        if (pag_span_eq_nocase(in->header[i].name, in->esp32 ? "x-ESP32-STA-MAC" : "x-ESP8266-STA-MAC") &&
            pag_legacy_mac(in->header[i].value, other) == PAG_OK && memcmp(other, mac, sizeof other) != 0) {
            return true;
        }
    }
    return false;
}

/* "13.4.0(tasmota)": digits and dots, then a name in brackets. A stand-in has the version of what it stands
 * in for, so its own says nothing. */
static void take_version(struct pag_legacy_request *r, struct pag_span text)
{
    size_t open = pag_span_find(text, 0, '(');
    r->version = text;
    if (text.n == 0 || open == 0 || open == text.n || text.p[text.n - 1] != ')') {
        return;
    }
    for (size_t i = 0; i < open; i++) {
        if (text.p[i] != '.' && (text.p[i] < '0' || text.p[i] > '9')) {
            return;
        }
    }
    struct pag_span variant = { text.p + open + 1, text.n - open - 2 };
    bool stand_in = pag_span_eq_str(variant, "minimal") || pag_span_eq_str(variant, "tasmota-minimal") ||
                    pag_span_eq_str(variant, "safeboot") || pag_span_eq_str(variant, "tasmota-safeboot");
    r->tasmota = true;
    r->version = stand_in ? (struct pag_span){ NULL, 0 } : (struct pag_span){ text.p, open };
}

static void take_identity(struct pag_legacy_request *r, struct pag_span md5, struct pag_span sha256)
{
    uint8_t digest[PAG_SHA256_BYTES];
    r->has_md5 = md5.n == 2 * sizeof r->md5 && pag_parse_hex(md5, r->md5, sizeof r->md5) == PAG_OK;
    if (!r->has_md5 && sha256.n == 2 * sizeof digest &&
        pag_parse_hex(sha256, digest, sizeof digest) == PAG_OK) {
        r->has_md5 = true;
        memcpy(r->md5, digest, sizeof r->md5);
    }
}

enum pag_err pag_legacy_headers_read(const struct pag_http_header *header, size_t n,
                                     struct pag_legacy_request *out, struct pag_fail *why)
{
    struct pag_legacy_request r = { .mode = PAG_LEGACY_SKETCH };
    struct pag_legacy_in in = { header, n, false };
    in.esp32 = find_of(&in, "mode").p == NULL && find_of(&in, "STA-MAC").p == NULL;
    struct pag_span mode = find_of(&in, "mode");
    struct pag_span mac = find_of(&in, "STA-MAC");
    struct pag_span md5 = find_of(&in, "sketch-md5");
    struct pag_span chip_id = find_of(&in, "Chip-ID");

    if (mode.p == NULL && mac.p == NULL) {
        return pag_fail_set(why, PAG_E_NOT_FOUND, "no x-ESP8266 or x-ESP32 headers", 0);
    }
    r.esp32 = in.esp32;
    if (read_mode(mode, &r.mode) != PAG_OK) {
        return pag_fail_set(why, PAG_E_SYNTAX, "the mode is none of sketch, spiffs, version", mode.n);
    }
    if (mac.n > 0 && pag_legacy_mac(mac, r.mac) != PAG_OK) {
        return pag_fail_set(why, PAG_E_SYNTAX, "the STA-MAC is not a MAC address", mac.n);
    }
    if (mac.n > 0 && two_devices(&in, r.mac)) {
        return pag_fail_set(why, PAG_E_SYNTAX, "two different STA-MACs", 0);
    }
    r.has_chip_id = !r.esp32 && chip_id.n > 0 && pag_parse_u32(chip_id, &r.chip_id) == PAG_OK;
    if (r.has_chip_id && r.mac[0] != '\0' && !chip_id_of_mac(r.mac, r.chip_id)) {
        return pag_fail_set(why, PAG_E_CONFLICT, "the Chip-ID is not of this MAC", r.chip_id);
    }
    take_identity(&r, md5, find_of(&in, "sketch-sha256"));
    r.core = guess_core(md5.p != NULL, chip_id.p != NULL, mac.p != NULL && !r.esp32);
    r.sketch_bytes = number_or_zero(find_of(&in, "sketch-size"));
    r.free_bytes = number_or_zero(find_of(&in, "free-space"));
    r.flash_bytes = number_or_zero(find_of(&in, "chip-size"));
    take_version(&r, text_or_empty(find_of(&in, "version")));
    r.sdk = text_or_empty(find_of(&in, "sdk-version"));
    *out = r;
    return PAG_OK;
}

uint64_t pag_legacy_flash_bytes(uint64_t n)
{
    if (n > UINT64_MAX - SECTOR) {
        return UINT64_MAX;
    }
    return (n + SECTOR - 1) / SECTOR * SECTOR;
}
