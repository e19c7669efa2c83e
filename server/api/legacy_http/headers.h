#ifndef PAG_SERVER_API_LEGACY_HTTP_HEADERS_H
#define PAG_SERVER_API_LEGACY_HTTP_HEADERS_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/http.h"

/*
 * What an ESP8266httpUpdate client says about itself in its x-ESP8266-* headers, cores 2.3 to 3.x, and what
 * HTTPUpdate of the ESP32 says in x-ESP32-*. docs/spec/httpupdate.md 2. Pure: no I/O. Nothing in here proves
 * who the client is.
 */

enum pag_legacy_mode {
    PAG_LEGACY_SKETCH,
    PAG_LEGACY_FILESYSTEM, /* "spiffs", also said for LittleFS */
    PAG_LEGACY_VERSION,    /* asks only which version is current */
};

/* Arduino core generation as far as headers show it. */
enum pag_legacy_core {
    PAG_LEGACY_CORE_UNKNOWN,
    PAG_LEGACY_CORE_2_3, /* no sketch MD5 */
    PAG_LEGACY_CORE_2_4, /* sketch MD5, no chip id: 2.4 or 2.5 */
    PAG_LEGACY_CORE_2_6, /* chip id: 2.6 or newer; gzip cannot be told from here */
};

struct pag_legacy_request {
    bool esp32;
    bool tasmota; /* the version text is "13.4.0(tasmota)": version is what stands before the bracket */
    enum pag_legacy_mode mode;
    enum pag_legacy_core core;
    char mac[13]; /* 12 lower-case hex digits of the station MAC, or "" */
    bool has_chip_id;
    uint32_t chip_id;
    bool has_md5;
    uint8_t md5[16];         /* of the running sketch as it lies in flash; of an ESP32 that says no MD5 the
                                first half of the SHA-256 at its end */
    uint32_t sketch_bytes;   /* 0: not said */
    uint32_t free_bytes;     /* room for the next sketch, 0: not said */
    uint32_t flash_bytes;    /* of the real flash chip, 0: not said */
    struct pag_span version; /* as the application gave it, at most 64 bytes, printable; empty: not said */
    struct pag_span sdk;     /* as above */
};

/*
 * Reads the headers (names in any case, first of duplicates). why may be NULL.
 * PAG_E_NOT_FOUND: not a client of this kind (neither mode nor station MAC). PAG_E_SYNTAX: a MAC or mode that
 * no such client sends, or two different MACs. PAG_E_CONFLICT: chip id and MAC are of two devices. Other
 * values that do not parse count as not said: old cores send empty ones when memory is short. The spans point
 * into the headers.
 */
enum pag_err pag_legacy_headers_read(const struct pag_http_header *header, size_t n,
                                     struct pag_legacy_request *out, struct pag_fail *why);

/*
 * 12 lower-case hex digits of a MAC in any of the ways sketches write it: AA:BB:…, aa-bb-…, aabb.ccdd.eeff,
 * aabbccddeeff, a:b:c:1:2:3 without leading zeros. PAG_E_SYNTAX.
 */
enum pag_err pag_legacy_mac(struct pag_span text, char out[13]);

/* Bytes that an image of n bytes takes in flash: whole sectors of 4096. UINT64_MAX on overflow. */
uint64_t pag_legacy_flash_bytes(uint64_t n);

#endif
