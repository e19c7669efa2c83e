#include "core/bytes.h"
#include "core/image_parts.h"
#include "core/mem.h"

/* Offsets and sizes: docs/spec/image.md 2 and 3. */
enum {
    ESP8266_HEAD = 8,
    ESP32_HEAD = 24,
    APP_AT = 0x1000, /* of the application in an Arduino file */
    APP_LENGTH_AT = 0x1010,
    APP_CRC_AT = 0x1014,
    TRAILER_SIG_MIN = 128, /* RSA 1024 to 4096 bits */
    TRAILER_SIG_MAX = 512,
    DESC_AT = 32,
    DESC_BYTES = 256,
    SECTOR = 4096,
    SBV2_BLOCK = 1216,
    SBV2_CRC_AT = 1196,
    SBV2_MAGIC = 0xE7,
    SBV1_BYTES = 68,
};
static const uint32_t desc_magic = 0xABCD5432;

/* ---- ESP8266 ---- */

static uint32_t esp8266_flash_size(uint8_t id)
{
    static const uint16_t kib[] = { 512, 256, 1024, 2048, 4096, 2048, 4096, 0, 8192, 16384 };
    return id < sizeof kib / sizeof kib[0] ? (uint32_t)kib[id] * 1024 : 0;
}

/* CRC of eboot: polynomial 0x04C11DB7, most significant bit first, start ~0, no final xor. */
static uint32_t crc_eboot(uint32_t crc, struct pag_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (uint32_t)s.p[i] << 24;
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (crc & 0x80000000U) != 0 ? crc << 1 ^ 0x04C11DB7U : crc << 1;
        }
    }
    return crc;
}

/*
 * Builds of core 2.7 and later put the file's length and CRC into the first two words of the application; in
 * older ones code stands there. The length word tells them apart.
 */
static enum pag_err check_crc(struct pag_span file, struct pag_image *out, struct pag_fail *why)
{
    static const uint8_t zeros[8] = { 0 };
    if (pag_u32le(file.p + APP_LENGTH_AT) != out->payload_bytes) {
        return PAG_OK;
    }
    uint32_t crc = crc_eboot(UINT32_MAX, pag_span_of(file.p, APP_LENGTH_AT));
    crc = crc_eboot(crc, pag_span_of(zeros, sizeof zeros));
    size_t rest = (size_t)APP_LENGTH_AT + sizeof zeros;
    crc = crc_eboot(crc, pag_span_of(file.p + rest, out->payload_bytes - rest));
    if (crc != pag_u32le(file.p + APP_CRC_AT)) {
        return pag_fail_set(why, PAG_E_CHECKSUM, "image: CRC of the file, offset", APP_CRC_AT);
    }
    out->has_crc = true;
    return PAG_OK;
}

/* The build tool writes the two words after it made the checksum byte, which was made with zeros there. */
static uint8_t xor_of_words(struct pag_span file)
{
    uint8_t sum = 0;
    for (size_t at = APP_LENGTH_AT; at < APP_CRC_AT + 4 && at < file.n; at++) {
        sum = (uint8_t)(sum ^ file.p[at]);
    }
    return sum;
}

/* What follows the image: nothing, or signature and its length (Arduino signing). */
static enum pag_err take_trailer(struct pag_span file, size_t end, struct pag_image *out,
                                 struct pag_fail *why)
{
    size_t rest = file.n - end;
    out->payload_bytes = end;
    if (rest == 0) {
        return PAG_OK;
    }
    if (rest >= TRAILER_SIG_MIN + 4 && rest <= TRAILER_SIG_MAX + 4 &&
        pag_u32le(file.p + file.n - 4) == rest - 4) {
        out->trailer_bytes = rest;
        return PAG_OK;
    }
    return pag_fail_set(why, PAG_E_SYNTAX, "image: bytes behind the image are no signature, offset", end);
}

enum pag_err pag_image_esp8266_read(struct pag_span file, struct pag_image *out, struct pag_fail *why)
{
    struct pag_image_walk walk = { .base = 0, .head_bytes = ESP8266_HEAD, .limit = file.n };
    bool arduino = file.n > APP_AT && file.p[APP_AT] == PAG_ESP_MAGIC;
    size_t end = 0;
    if (arduino) {
        walk.limit = APP_AT;
    }
    enum pag_err err = pag_image_walk(file, &walk, &end, why);
    if (err == PAG_OK && arduino) {
        walk = (struct pag_image_walk){ .base = APP_AT, .head_bytes = ESP8266_HEAD, .limit = file.n };
        walk.patch = xor_of_words(file);
        err = pag_image_walk(file, &walk, &end, why);
    }
    if (err == PAG_OK) {
        err = take_trailer(file, end, out, why);
    }
    if (err != PAG_OK) {
        return err;
    }
    out->kind = arduino ? PAG_IMAGE_ESP8266_ARDUINO : PAG_IMAGE_ESP8266_PLAIN;
    out->chip = PAG_CHIP_ESP8266;
    out->flash_mode = file.p[2];
    out->flash_size_bytes = esp8266_flash_size(file.p[3] >> 4);
    out->entry = pag_u32le(file.p + (arduino ? APP_AT : 0) + 4);
    if (out->flash_mode > 3) {
        return pag_fail_set(why, PAG_E_RANGE, "image: flash mode, offset", 2);
    }
    err = arduino && end > APP_CRC_AT + 4 ? check_crc(file, out, why) : PAG_OK;
    if (err == PAG_OK && walk.patched && !out->has_crc) {
        err = pag_fail_set(why, PAG_E_CHECKSUM, "image: checksum byte, offset", end - 1);
    }
    return err;
}

/* ---- ESP32 family ---- */

static enum pag_chip esp32_chip(uint16_t id)
{
    static const struct {
        uint8_t id;
        uint8_t chip;
    } chips[] = {
        { 0x00, PAG_CHIP_ESP32 },     { 0x02, PAG_CHIP_ESP32_S2 },  { 0x05, PAG_CHIP_ESP32_C3 },
        { 0x09, PAG_CHIP_ESP32_S3 },  { 0x0C, PAG_CHIP_ESP32_C2 },  { 0x0D, PAG_CHIP_ESP32_C6 },
        { 0x10, PAG_CHIP_ESP32_H2 },  { 0x12, PAG_CHIP_ESP32_P4 },  { 0x14, PAG_CHIP_ESP32_C61 },
        { 0x17, PAG_CHIP_ESP32_C5 },  { 0x19, PAG_CHIP_ESP32_H21 }, { 0x1C, PAG_CHIP_ESP32_H4 },
        { 0x20, PAG_CHIP_ESP32_S31 },
    };
    for (size_t i = 0; i < sizeof chips / sizeof chips[0]; i++) {
        if (chips[i].id == id) {
            return (enum pag_chip)chips[i].chip;
        }
    }
    return PAG_CHIP_UNKNOWN;
}

static bool has_desc(struct pag_span file)
{
    return file.n >= DESC_AT + DESC_BYTES && pag_u32le(file.p + DESC_AT) == desc_magic;
}

bool pag_image_is_esp32(struct pag_span file)
{
    struct pag_image_walk walk = { .base = 0, .head_bytes = ESP32_HEAD, .limit = file.n };
    size_t end = 0;
    if (file.n < ESP32_HEAD || has_desc(file)) {
        return file.n >= ESP32_HEAD;
    }
    /* Images of old frameworks have no description: then the longer header must make sense as a whole. */
    return esp32_chip(pag_u16le(file.p + 12)) != PAG_CHIP_UNKNOWN && file.p[23] <= 1 &&
           pag_image_walk(file, &walk, &end, NULL) == PAG_OK;
}

static void take_desc(struct pag_span file, struct pag_image *out)
{
    const uint8_t *desc = file.p + DESC_AT;
    out->secure_version = pag_u32le(desc + 4);
    pag_image_text(out->version, desc + 16, 32);
    pag_image_text(out->project, desc + 48, 32);
    pag_image_text(out->idf_version, desc + 112, 32);
    memcpy(out->elf_sha256, desc + 144, sizeof out->elf_sha256);
}

/* Secure Boot V2: the first block of the sector behind the padded image; CRC and digest, not the signature.
 */
static enum pag_err check_signature_sector(const struct pag_crypto *crypto, struct pag_span file, size_t at,
                                           struct pag_fail *why)
{
    uint8_t digest[PAG_SHA256_BYTES];
    const uint8_t *block = file.p + at;
    if (block[0] != SBV2_MAGIC) {
        return pag_fail_set(why, PAG_E_SYNTAX, "image: signature sector without its magic, offset", at);
    }
    if (pag_crc32(0, pag_span_of(block, SBV2_CRC_AT)) != pag_u32le(block + SBV2_CRC_AT)) {
        return pag_fail_set(why, PAG_E_CHECKSUM, "image: CRC of the signature block, offset",
                            at + SBV2_CRC_AT);
    }
    pag_sha256_of(crypto, pag_span_of(file.p, at), digest);
    if (memcmp(digest, block + 4, sizeof digest) != 0) {
        return pag_fail_set(why, PAG_E_CHECKSUM, "image: digest in the signature block, offset", at + 4);
    }
    return PAG_OK;
}

/* Signatures of the ESP32 family are installed with the image, so they count as payload. */
static enum pag_err check_tail(const struct pag_crypto *crypto, struct pag_span file, size_t end,
                               struct pag_fail *why)
{
    _Static_assert(SBV2_BLOCK <= SECTOR, "a block fits its sector");
    size_t rest = file.n - end;
    size_t padded = end + ((SECTOR - end % SECTOR) % SECTOR);
    if (rest == 0 || (rest == SBV1_BYTES && pag_u32le(file.p + end) == 0)) {
        return PAG_OK;
    }
    if (file.n > padded && file.n - padded == SECTOR) {
        return check_signature_sector(crypto, file, padded, why);
    }
    return pag_fail_set(why, PAG_E_SYNTAX, "image: bytes behind the image are no signature, offset", end);
}

static enum pag_err check_hash(const struct pag_crypto *crypto, struct pag_span file, size_t *end,
                               struct pag_image *out, struct pag_fail *why)
{
    uint8_t digest[PAG_SHA256_BYTES];
    if (file.p[23] > 1) {
        return pag_fail_set(why, PAG_E_SYNTAX, "image: hash flag, offset", 23);
    }
    if (file.p[23] == 0) {
        return PAG_OK;
    }
    if (file.n - *end < PAG_SHA256_BYTES) {
        return pag_fail_set(why, PAG_E_SHORT, "image: appended hash cut off, offset", *end);
    }
    pag_sha256_of(crypto, pag_span_of(file.p, *end), digest);
    if (memcmp(digest, file.p + *end, sizeof digest) != 0) {
        return pag_fail_set(why, PAG_E_CHECKSUM, "image: appended hash, offset", *end);
    }
    *end += sizeof digest;
    out->has_hash = true;
    return PAG_OK;
}

enum pag_err pag_image_esp32_read(const struct pag_crypto *crypto, struct pag_span file,
                                  struct pag_image *out, struct pag_fail *why)
{
    struct pag_image_walk walk = { .base = 0, .head_bytes = ESP32_HEAD, .limit = file.n };
    size_t end = 0;
    out->kind = PAG_IMAGE_ESP32;
    out->chip = esp32_chip(pag_u16le(file.p + 12));
    if (out->chip == PAG_CHIP_UNKNOWN) {
        return pag_fail_set(why, PAG_E_HARDWARE, "image: unknown chip id", pag_u16le(file.p + 12));
    }
    enum pag_err err = pag_image_walk(file, &walk, &end, why);
    if (err == PAG_OK) {
        err = check_hash(crypto, file, &end, out, why);
    }
    if (err == PAG_OK) {
        err = check_tail(crypto, file, end, why);
    }
    if (err != PAG_OK) {
        return err;
    }
    uint8_t size_id = file.p[3] >> 4;
    uint16_t rev_max = pag_u16le(file.p + 17);
    out->flash_mode = file.p[2];
    out->flash_size_bytes = size_id <= 7 ? (uint32_t)1 << (20 + size_id) : 0;
    out->chip_rev_min = pag_u16le(file.p + 15);
    out->chip_rev_max = rev_max == UINT16_MAX ? 0 : rev_max;
    out->entry = pag_u32le(file.p + 4);
    out->payload_bytes = file.n;
    if (has_desc(file)) {
        take_desc(file, out);
    }
    return PAG_OK;
}
