#ifndef PAG_TYPES_H
#define PAG_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Read-only bytes that somebody else owns. p may be NULL only when n is 0. */
struct pag_span {
    const uint8_t *p;
    size_t n;
};

/* Bytes being filled. The memory is lent by the caller; n <= cap always holds. */
struct pag_buf {
    uint8_t *p;
    size_t n;
    size_t cap;
};

enum {
    PAG_SHA256_BYTES = 32,     /* FIPS 180-4 */
    PAG_P256_POINT_BYTES = 64, /* X || Y, big-endian, without the leading 0x04 (SEC 1 2.3.3) */
    PAG_P256_SIG_BYTES = 64,   /* r || s, big-endian (RFC 9053 2.1) */
    PAG_KEY_ID_BYTES = 8,      /* first bytes of SHA-256 of the DER SubjectPublicKeyInfo */
    PAG_PRODUCT_ID_BYTES = 8,
    PAG_DEVICE_ID_MAX = 64,   /* [0-9a-z-]{1,64}, usually the MAC as 12 hex digits */
    PAG_VERSION_MAX = 32,     /* version text, bytes without NUL */
    PAG_IMAGE_NAME_MAX = 16,  /* [a-z0-9-]{1,16} */
    PAG_HARDWARE_ID_MAX = 16, /* 4..16 bytes */
    PAG_HARDWARE_IDS_MAX = 4, /* members of a manifest's list */
    PAG_NONCE_BYTES = 16,
};

/* Chip numbers of manifest field 5 (docs/spec/manifest.md). POSIX is a process on a development machine. */
enum pag_chip {
    PAG_CHIP_UNKNOWN = 0,
    PAG_CHIP_ESP8266 = 1,
    PAG_CHIP_ESP32 = 2,
    PAG_CHIP_ESP32_S2 = 3,
    PAG_CHIP_ESP32_S3 = 4,
    PAG_CHIP_ESP32_C3 = 5,
    PAG_CHIP_ESP32_C6 = 6,
    PAG_CHIP_ESP32_H2 = 7,
    PAG_CHIP_ESP32_C2 = 8,
    PAG_CHIP_ESP32_C5 = 9,
    PAG_CHIP_ESP32_P4 = 10,
    PAG_CHIP_ESP32_C61 = 11,
    PAG_CHIP_ESP32_H21 = 12,
    PAG_CHIP_ESP32_H4 = 13,
    PAG_CHIP_ESP32_S31 = 14, /* last of the numbers in a row */
    PAG_CHIP_POSIX = 255,
};

#endif
