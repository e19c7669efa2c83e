#include "core/image.h"

#include "core/bytes.h"
#include "core/image_parts.h"
#include "core/mem.h"

enum { ESP_BOOT_V2_MAGIC = 0xEA, CHECKSUM_SEED = 0xEF, SEGMENT_HEAD = 8, ALIGN = 16 };

struct chip_name {
    enum pag_chip chip;
    const char *name;
};

static const struct chip_name chip_names[] = {
    { PAG_CHIP_ESP8266, "esp8266" },     { PAG_CHIP_ESP32, "esp32" },
    { PAG_CHIP_ESP32_S2, "esp32-s2" },   { PAG_CHIP_ESP32_S3, "esp32-s3" },
    { PAG_CHIP_ESP32_C3, "esp32-c3" },   { PAG_CHIP_ESP32_C6, "esp32-c6" },
    { PAG_CHIP_ESP32_H2, "esp32-h2" },   { PAG_CHIP_ESP32_C2, "esp32-c2" },
    { PAG_CHIP_ESP32_C5, "esp32-c5" },   { PAG_CHIP_ESP32_P4, "esp32-p4" },
    { PAG_CHIP_ESP32_C61, "esp32-c61" }, { PAG_CHIP_ESP32_H21, "esp32-h21" },
    { PAG_CHIP_ESP32_H4, "esp32-h4" },   { PAG_CHIP_ESP32_S31, "esp32-s31" },
    { PAG_CHIP_POSIX, "posix" },
};

const char *pag_chip_name(enum pag_chip chip)
{
    for (size_t i = 0; i < sizeof chip_names / sizeof chip_names[0]; i++) {
        if (chip_names[i].chip == chip) {
            return chip_names[i].name;
        }
    }
    return "unknown";
}

enum pag_chip pag_chip_by_name(struct pag_span name)
{
    for (size_t i = 0; i < sizeof chip_names / sizeof chip_names[0]; i++) {
        if (pag_span_eq_str(name, chip_names[i].name)) {
            return chip_names[i].chip;
        }
    }
    return PAG_CHIP_UNKNOWN;
}

void pag_image_text(char *dst, const uint8_t *field, size_t n)
{
    size_t used = pag_span_find(pag_span_of(field, n), 0, 0);
    memset(dst, 0, n + 1);
    for (size_t i = 0; i < used; i++) {
        if (field[i] < ' ' || field[i] > '~') {
            return;
        }
    }
    memcpy(dst, field, used);
}

static uint8_t xor_bytes(uint8_t sum, struct pag_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        sum = (uint8_t)(sum ^ s.p[i]);
    }
    return sum;
}

enum pag_err pag_image_walk(struct pag_span file, struct pag_image_walk *w, size_t *end, struct pag_fail *why)
{
    uint8_t sum = CHECKSUM_SEED;
    size_t at = w->base + w->head_bytes;
    if (w->limit > file.n || w->limit < at) {
        return pag_fail_set(why, PAG_E_SHORT, "image: header cut off, offset", w->base);
    }
    file.n = w->limit;
    uint8_t count = file.p[w->base + 1];
    if (count == 0 || count > PAG_ESP_SEGMENTS_MAX) {
        return pag_fail_set(why, PAG_E_SYNTAX, "image: number of segments, offset", w->base + 1);
    }
    for (uint8_t i = 0; i < count; i++) {
        struct pag_span head = { 0 };
        struct pag_span data = { 0 };
        if (pag_span_sub(file, at, SEGMENT_HEAD, &head) != PAG_OK ||
            pag_span_sub(file, at + SEGMENT_HEAD, pag_u32le(head.p + 4), &data) != PAG_OK) {
            return pag_fail_set(why, PAG_E_SHORT, "image: segment reaches beyond the end, offset", at);
        }
        sum = xor_bytes(sum, data);
        at += SEGMENT_HEAD + data.n;
    }
    size_t used = at - w->base;
    size_t last = w->base + (used | (ALIGN - 1));
    if (last >= file.n) {
        return pag_fail_set(why, PAG_E_SHORT, "image: checksum byte is beyond the end, offset", last);
    }
    w->patched = file.p[last] != sum;
    if (w->patched && (file.p[last] ^ w->patch) != sum) {
        return pag_fail_set(why, PAG_E_CHECKSUM, "image: checksum byte, offset", last);
    }
    *end = last + 1;
    return PAG_OK;
}

static enum pag_err read_one(const struct pag_crypto *crypto, struct pag_span file, struct pag_image *out,
                             struct pag_fail *why)
{
    if (file.n >= 4 && memcmp(file.p,
                              "\x7f"
                              "ELF",
                              4) == 0) {
        return pag_image_elf_read(file, out, why);
    }
    if (file.p[0] == ESP_BOOT_V2_MAGIC) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "image: boot format V2 (0xEA), offset", 0);
    }
    if (file.p[0] != PAG_ESP_MAGIC) {
        return pag_fail_set(why, PAG_E_MAGIC, "image: not a firmware image, first byte", file.p[0]);
    }
    return pag_image_is_esp32(file) ? pag_image_esp32_read(crypto, file, out, why)
                                    : pag_image_esp8266_read(file, out, why);
}

enum pag_err pag_image_read(const struct pag_crypto *crypto, struct pag_span file, struct pag_image *out,
                            struct pag_fail *why)
{
    memset(out, 0, sizeof *out);
    if (file.n < 2) {
        return pag_fail_set(why, PAG_E_SHORT, "image: too short, bytes", file.n);
    }
    if (file.p[0] == 0x1F && file.p[1] == 0x8B) {
        out->gzip = true;
        return PAG_OK;
    }
    enum pag_err err = read_one(crypto, file, out, why);
    if (err == PAG_OK) {
        err = pag_image_identity_find(pag_span_of(file.p, out->payload_bytes), out, why);
    }
    if (err != PAG_OK) {
        memset(out, 0, sizeof *out);
    }
    return err;
}
