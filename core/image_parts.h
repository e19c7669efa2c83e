#ifndef PAG_CORE_IMAGE_PARTS_H
#define PAG_CORE_IMAGE_PARTS_H

#include "core/image.h"

/* Readers of one format each; *out is zero before. file: as given to pag_image_read. */
enum pag_err pag_image_elf_read(struct pag_span file, struct pag_image *out, struct pag_fail *why);
enum pag_err pag_image_esp32_read(const struct pag_crypto *crypto, struct pag_span file,
                                  struct pag_image *out, struct pag_fail *why);
enum pag_err pag_image_esp8266_read(struct pag_span file, struct pag_image *out, struct pag_fail *why);

/* True when the bytes are laid out as an ESP32 image (24-byte header), not as one for ESP8266. */
bool pag_image_is_esp32(struct pag_span file);

/*
 * Walks the segments of the image at base: the first head at base + head_bytes, none beyond limit. *end:
 * behind the checksum byte, which is verified; patch: a difference that is allowed in it, patched: it was
 * needed.
 */
struct pag_image_walk {
    size_t base;
    size_t head_bytes;
    size_t limit;
    uint8_t patch;
    bool patched;
};
enum pag_err pag_image_walk(struct pag_span file, struct pag_image_walk *w, size_t *end,
                            struct pag_fail *why);

/* Looks for the marked block in payload and takes its texts. None is PAG_OK; two are PAG_E_SYNTAX. */
enum pag_err pag_image_identity_find(struct pag_span payload, struct pag_image *out, struct pag_fail *why);

/* NUL-padded field of n bytes as text into dst[n + 1]; "" unless all of it is printable ASCII. */
void pag_image_text(char *dst, const uint8_t *field, size_t n);

enum {
    PAG_ESP_MAGIC = 0xE9,
    PAG_ESP_SEGMENTS_MAX = 16,
};

#endif
