#include "server/api/legacy_http/headers.h"

#include <string.h>

#include "core/bytes.h"

enum { TEXT_MAX = 64, SECTOR = 4096 };

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

enum pag_err pag_legacy_headers_read(const struct pag_http_header *header, size_t n,
                                     struct pag_legacy_request *out, struct pag_fail *why)
{
    struct pag_legacy_request r = { .mode = PAG_LEGACY_SKETCH };
    struct pag_span mode = find(header, n, "x-ESP8266-mode");
    struct pag_span mac = find(header, n, "x-ESP8266-STA-MAC");
    struct pag_span md5 = find(header, n, "x-ESP8266-sketch-md5");
    struct pag_span chip_id = find(header, n, "x-ESP8266-Chip-ID");

    if (mode.p == NULL && mac.p == NULL) {
        return pag_fail_set(why, PAG_E_NOT_FOUND, "no x-ESP8266 headers", 0);
    }
    if (read_mode(mode, &r.mode) != PAG_OK) {
        return pag_fail_set(why, PAG_E_SYNTAX, "x-ESP8266-mode is none of sketch, spiffs, version", mode.n);
    }
    if (mac.n > 0 && pag_mac_text(mac, r.mac) != PAG_OK) {
        return pag_fail_set(why, PAG_E_SYNTAX, "x-ESP8266-STA-MAC is not a MAC address", mac.n);
    }
    r.has_chip_id = chip_id.n > 0 && pag_parse_u32(chip_id, &r.chip_id) == PAG_OK;
    if (r.has_chip_id && r.mac[0] != '\0' && !chip_id_of_mac(r.mac, r.chip_id)) {
        return pag_fail_set(why, PAG_E_CONFLICT, "x-ESP8266-Chip-ID is not of this MAC", r.chip_id);
    }
    r.has_md5 = md5.n == 2 * sizeof r.md5 && pag_parse_hex(md5, r.md5, sizeof r.md5) == PAG_OK;
    r.core = guess_core(md5.p != NULL, chip_id.p != NULL, mac.p != NULL);
    r.sketch_bytes = number_or_zero(find(header, n, "x-ESP8266-sketch-size"));
    r.free_bytes = number_or_zero(find(header, n, "x-ESP8266-free-space"));
    r.flash_bytes = number_or_zero(find(header, n, "x-ESP8266-chip-size"));
    r.version = text_or_empty(find(header, n, "x-ESP8266-version"));
    r.sdk = text_or_empty(find(header, n, "x-ESP8266-sdk-version"));
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
