#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include <pagurus/identity.h>

#include "core/bytes.h"
#include "sim/flash.h"

enum { APP_AT = 0x1000, MAGIC = 0xE9, SEGMENTS_MAX = 16 };

/* ESP32: header, first segment's header, application descriptor (docs/spec/image.md). */
enum { HEAD32 = 24, HASH_AT = 23, DESC_AT = 32, DESC_VERSION_AT = 48, DESC_MIN = 288 };
static const uint32_t desc_magic = 0xABCD5432;

static bool is_esp32(struct pag_span image)
{
    return image.n >= DESC_MIN && image.p[0] == MAGIC && pag_u32le(image.p + DESC_AT) == desc_magic;
}

/* Header over the segments to the XOR byte's block of 16, and the digest behind it. 0: no image. */
static uint32_t esp32_bytes(struct pag_span image)
{
    size_t at = HEAD32;
    for (unsigned left = image.p[1]; left > 0 && left <= SEGMENTS_MAX; left--) {
        if (image.n - at < 8 || pag_u32le(image.p + at + 4) > image.n - at - 8) {
            return 0;
        }
        at += 8 + pag_u32le(image.p + at + 4);
    }
    at = ((at + 16) & ~(size_t)15) + (image.p[HASH_AT] == 1 ? PAG_SHA256_BYTES : 0);
    return at <= image.n ? (uint32_t)at : 0;
}

/* sketch-size: from the header at 0x1000 over the segments to the XOR byte's block of 16. 0: no image. */
static uint32_t sketch_bytes(struct pag_span image)
{
    if (image.n < APP_AT + 16 || image.p[0] != MAGIC || image.p[APP_AT] != MAGIC ||
        image.p[APP_AT + 1] > SEGMENTS_MAX) {
        return 0;
    }
    size_t at = APP_AT + 8;
    for (unsigned left = image.p[APP_AT + 1]; left > 0; left--) {
        if (image.n - at < 8 || pag_u32le(image.p + at + 4) > image.n - at - 8) {
            return 0;
        }
        at += 8 + pag_u32le(image.p + at + 4);
    }
    at = (at + 16) & ~(size_t)15;
    return at <= image.n ? (uint32_t)at : 0;
}

static void find_version(struct pag_span image, char out[PAG_VERSION_MAX + 1])
{
    out[0] = '\0';
    static const char magic[17] = PAG_IDENTITY_MAGIC;
    for (size_t at = 0; at + sizeof(struct pag_identity) <= image.n; at += 4) {
        if (memcmp(image.p + at, magic, 16) == 0) {
            memcpy(out, image.p + at + offsetof(struct pag_identity, version), PAG_VERSION_MAX);
            out[PAG_VERSION_MAX] = '\0';
            return;
        }
    }
}

enum pag_err pag_sim_sketch_of(struct pag_span image, struct pag_sim_sketch *out)
{
    *out = (struct pag_sim_sketch){ 0 };
    out->esp32 = is_esp32(image);
    const uint32_t bytes = out->esp32 ? esp32_bytes(image) : sketch_bytes(image);
    if (bytes == 0) {
        return PAG_E_NOT_FOUND;
    }
    image.n = bytes;
    if (EVP_Digest(image.p, image.n, out->sha256, NULL, EVP_sha256(), NULL) != 1 ||
        EVP_Digest(image.p, image.n, out->md5, NULL, EVP_md5(), NULL) != 1) {
        return PAG_E_NO_MEMORY;
    }
    find_version(image, out->version);
    memcpy(out->app_sha256, out->sha256, sizeof(out->sha256));
    if (out->esp32 && image.p[HASH_AT] == 1) {
        memcpy(out->app_sha256, image.p + bytes - PAG_SHA256_BYTES, PAG_SHA256_BYTES);
    }
    if (out->esp32 && out->version[0] == '\0') {
        memcpy(out->version, image.p + DESC_VERSION_AT, PAG_VERSION_MAX);
        out->version[PAG_VERSION_MAX] = '\0';
    }
    out->bytes = bytes;
    return PAG_OK;
}

enum pag_err pag_sim_flash_sketch(struct pag_sim_flash *f, enum pag_area area, struct pag_sim_sketch *out)
{
    *out = (struct pag_sim_sketch){ 0 };
    const uint32_t n = f->area_sectors[area] * PAG_SIM_SECTOR;
    uint8_t *bytes = malloc(n);
    if (bytes == NULL) {
        return PAG_E_NO_MEMORY;
    }
    enum pag_err err = pag_sim_flash_read(f, area, 0, bytes, n);
    if (err == PAG_OK) {
        err = pag_sim_sketch_of(pag_span_of(bytes, n), out);
    }
    free(bytes);
    return err;
}
