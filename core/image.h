#ifndef PAG_CORE_IMAGE_H
#define PAG_CORE_IMAGE_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/crypto.h"

/*
 * Reads firmware images as they are built for ESP8266 (Arduino two-image .bin, or a plain one) and the ESP32
 * family, and ELF executables of the posix port. Formats: docs/spec/image.md; sources: esptool bin_image.py,
 * ESP-IDF esp_app_format.h, Arduino elf2bin.py and signing.py.
 */

enum pag_image_kind {
    PAG_IMAGE_ESP8266_ARDUINO, /* eboot at 0, application at 0x1000 */
    PAG_IMAGE_ESP8266_PLAIN,   /* one image at 0 */
    PAG_IMAGE_ESP32,
    PAG_IMAGE_ELF,
    PAG_IMAGE_FILESYSTEM, /* no header of ours: only what the operator says */
};

struct pag_image {
    enum pag_image_kind kind;
    enum pag_chip chip;
    uint8_t flash_mode;        /* 0 QIO 1 QOUT 2 DIO 3 DOUT … (header byte 2) */
    uint32_t flash_size_bytes; /* from the size id of the header, 0 when unknown */
    uint16_t chip_rev_min;     /* ESP32: major*100+minor; 65535-style "any" given as 0 */
    uint16_t chip_rev_max;     /* ESP32: 0 = no limit */
    uint32_t secure_version;   /* ESP32 esp_app_desc */
    uint32_t entry;
    size_t payload_bytes; /* image without signature trailer, as installed */
    size_t trailer_bytes; /* 0, or signature + u32 length (ESP8266 signing.py) */
    bool has_hash;        /* ESP32 appended SHA-256 present (and verified) */
    bool has_crc;         /* Arduino length/CRC words at 0x1010 present (and verified) */
    bool has_identity;    /* our marked block was found */
    bool gzip;            /* the bytes given are a gzip stream; the caller unpacks and reads again */
    uint32_t identity_epoch;
    char project[33];       /* identity block, else esp_app_desc project_name, else "" */
    char version[33];       /* identity block, else esp_app_desc version, else "" */
    char hardware[17];      /* identity block, else "" */
    char idf_version[33];   /* ESP32 only, else "" */
    uint8_t elf_sha256[32]; /* ESP32 esp_app_desc, zeros otherwise */
};

/*
 * Reads and fully checks file. why (may be NULL) names the byte check that failed and its offset.
 * PAG_E_MAGIC not an image; PAG_E_SHORT truncated; PAG_E_CHECKSUM XOR byte, CRC or appended hash wrong;
 * PAG_E_SYNTAX. A gzip stream gives PAG_OK with only .gzip set. Never reads outside file; work is linear in
 * file.n.
 */
enum pag_err pag_image_read(const struct pag_crypto *crypto, struct pag_span file, struct pag_image *out,
                            struct pag_fail *why);

/* Short lower-case name ("esp8266", "esp32-c3", "posix"); "unknown" for others. */
const char *pag_chip_name(enum pag_chip chip);
/* PAG_CHIP_UNKNOWN when no chip has that name. */
enum pag_chip pag_chip_by_name(struct pag_span name);

#endif
