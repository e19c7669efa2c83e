#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "relay/tasmota.h"

/*
 * Settings of Tasmota as its web page gives them out: docs/spec/tasmota.md 5. A file of drivers follows the
 * settings when there is one; then a header of 16 bytes stands before each part, the settings included.
 */

enum {
    XOR = 0x5a,
    SETTINGS = 4096,
    HEADER = 16,
    AT_SIZE = 2,
    AT_VERSION = 8,
    AT_CRC16 = 14,
    AT_CHIP = 0xf36,
    AT_CRC32 = SETTINGS - 4,
    OLD_SIGN = 0xa5,
};
enum { VERSION_6 = 0x06000000, VERSION_CRC16_LAST = 0x0606000a };

struct dump {
    struct pag_span file;
    size_t plain; /* bytes at the front that are not covered */
    size_t at;    /* of the settings */
};

static uint8_t byte_at(const struct dump *d, size_t i)
{
    uint8_t cover = i < d->plain ? 0 : (uint8_t)(XOR + i);
    return d->file.p[i] ^ cover;
}

static uint32_t number_at(const struct dump *d, size_t at, size_t n)
{
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) {
        v |= (uint32_t)byte_at(d, at + i) << (8 * i);
    }
    return v;
}

/* CRC-32 whose register begins at 0. */
static uint32_t crc32_of(const struct dump *d, size_t at, size_t n)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = byte_at(d, at + i);
        crc = pag_crc32(crc, pag_span_of(&c, 1));
    }
    return crc;
}

static uint16_t crc16_of(const struct dump *d, size_t n)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        bool own = i == AT_CRC16 || i == AT_CRC16 + 1;
        crc += own ? 0 : (uint32_t)byte_at(d, i) * (uint32_t)(i + 1);
    }
    return (uint16_t)crc;
}

/* Each is ".drvset" and a number; what the device does with it is left out when its sum is wrong. */
static bool read_driver(const struct dump *d, size_t *at, struct pag_tasmota_dump *out)
{
    static const char name[] = "/.drvset";
    unsigned driver = 0;
    size_t from = *at;
    if (d->file.n - from < HEADER) {
        return false;
    }
    for (size_t i = 0; i < 8; i++) {
        if (byte_at(d, from + i) != (uint8_t)name[i]) {
            return false;
        }
    }
    for (size_t i = 8; i < 11; i++) {
        uint8_t c = byte_at(d, from + i);
        driver = c >= '0' && c <= '9' ? driver * 10 + c - '0' : driver;
    }
    size_t n = number_at(d, from + 14, 2);
    size_t room = n / HEADER * HEADER + HEADER;
    if (room > d->file.n - from - HEADER) {
        return false;
    }
    from += HEADER;
    bool whole = driver == 0 || (n > 4 && crc32_of(d, from + 4, n - 4) == number_at(d, from, 4));
    out->drivers++;
    out->damaged += whole ? 0 : 1;
    *at = from + room;
    return true;
}

static enum pag_err read_settings(const struct dump *d, struct pag_tasmota_dump *out, const char **why)
{
    size_t n = d->file.n - d->at < SETTINGS ? d->file.n - d->at : SETTINGS;
    size_t said = number_at(d, d->at + AT_SIZE, 2);
    bool ok = false;
    out->version = number_at(d, d->at + AT_VERSION, 4);
    if (out->version <= VERSION_6) { /* before 6.0 there was no sum */
        ok = byte_at(d, d->at) == OLD_SIGN;
    } else if (out->version > VERSION_CRC16_LAST) {
        ok = n == SETTINGS && said == SETTINGS &&
             crc32_of(d, d->at, SETTINGS - 4) == number_at(d, d->at + AT_CRC32, 4);
    } else {
        ok = said > AT_CRC16 + 1 && said <= n && crc16_of(d, said) == number_at(d, AT_CRC16, 2);
    }
    *why = "its checksum is wrong: it is no Tasmota configuration, or it is damaged";
    out->chip = n > AT_CHIP ? byte_at(d, d->at + AT_CHIP) : 0;
    return ok ? PAG_OK : PAG_E_DIGEST;
}

enum pag_err pag_tasmota_dump_read(struct pag_span file, struct pag_tasmota_dump *out, const char **why)
{
    static const char first[] = "/.settings";
    struct dump d = { .file = file, .plain = 2 };
    memset(out, 0, sizeof *out);
    *why = "it is no Tasmota configuration";
    if (file.n < AT_CRC16 + 2 || file.n > PAG_TASMOTA_FILE_MAX) {
        return PAG_E_SYNTAX;
    }
    if (file.n > SETTINGS) {
        d.plain = HEADER + 2;
        d.at = HEADER;
        bool named = memcmp(file.p, first, sizeof first - 1) == 0;
        size_t said = number_at(&d, 14, 2);
        if (!named || file.n < HEADER + SETTINGS) {
            return PAG_E_SYNTAX;
        }
        if (said != (file.n & 0xffff)) {
            *why = "it was cut off: it is shorter or longer than it says";
            return PAG_E_DIGEST;
        }
    }
    enum pag_err err = read_settings(&d, out, why);
    size_t at = d.at + SETTINGS;
    while (err == PAG_OK && at < file.n) {
        if (!read_driver(&d, &at, out)) {
            *why = "the drivers' part of it is damaged";
            err = PAG_E_DIGEST;
        }
    }
    return err;
}

/* ---- versions and chips ---- */

void pag_tasmota_number_text(uint32_t version, char out[PAG_TASMOTA_VERSION_MAX])
{
    unsigned build = version & 0xff;
    int n = snprintf(out, PAG_TASMOTA_VERSION_MAX, "%u.%u.%u", version >> 24, (version >> 16) & 0xff,
                     (version >> 8) & 0xff);
    if (build != 0 && n > 0) {
        (void)snprintf(out + n, PAG_TASMOTA_VERSION_MAX - (size_t)n, ".%u", build);
    }
}

uint32_t pag_tasmota_number(const char *text)
{
    uint32_t v = 0;
    unsigned parts = 0;
    while (parts < 4 && *text >= '0' && *text <= '9') {
        uint32_t part = 0;
        while (*text >= '0' && *text <= '9' && part < 256) {
            part = part * 10 + (uint32_t)(*text++ - '0');
        }
        if (part > 255) {
            return 0;
        }
        v = v << 8 | part;
        parts++;
        text += *text == '.';
    }
    return parts < 3 ? 0 : v << (8 * (4 - parts));
}

static const char *const chips[] = { "ESP8266",  "ESP32",    "ESP32-S3", "ESP32-S2", "ESP32-C3",
                                     "ESP32-C2", "ESP32-C6", "ESP32-P4", "ESP32-C5" };

const char *pag_tasmota_chip(uint8_t chip)
{
    return chip < sizeof chips / sizeof chips[0] ? chips[chip] : NULL;
}

int pag_tasmota_chip_of(const char *hardware)
{
    if (strncmp(hardware, "ESP82", 5) == 0) {
        return 0;
    }
    for (int i = 2; i < (int)(sizeof chips / sizeof chips[0]); i++) {
        if (strncmp(hardware, chips[i], strlen(chips[i])) == 0) {
            return i;
        }
    }
    return strncmp(hardware, "ESP32", 5) == 0 ? 1 : -1;
}
