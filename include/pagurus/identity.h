#ifndef PAG_IDENTITY_H
#define PAG_IDENTITY_H

#include <stdint.h>

/*
 * The marked block an application embeds so that a bare .bin says what it is (docs/spec/image.md). 128 bytes,
 * 4-aligned, in read-only data. The server finds it by its magic at upload; there must be exactly one in an
 * image. Texts are ASCII, NUL padded, and may fill their field.
 *
 *     const struct pag_identity pag_identity
 *         __attribute__((used, aligned(4))) = PAG_IDENTITY("meter", "1.8.2", "d1mini");
 */
struct pag_identity {
    char magic[16];    /* PAG_IDENTITY_MAGIC */
    char product[32];  /* product name, [a-z0-9-]{1,32} */
    char version[32];  /* version text */
    char hardware[16]; /* hardware id, 4..16 bytes */
    uint32_t epoch;    /* security epoch, little-endian */
    uint8_t reserved[28];
};

/* Written with a break so that this header compiled into a tool is not itself a match. */
#define PAG_IDENTITY_MAGIC "\x7fPAGURUS-ID\x01\r\n\x1a"
/* NOLINTBEGIN(bugprone-macro-parentheses): an array takes a string literal without parentheses only */
#define PAG_IDENTITY(product_, version_, hardware_)                                                          \
    {                                                                                                        \
        .magic = PAG_IDENTITY_MAGIC, .product = product_, .version = version_, .hardware = hardware_         \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

_Static_assert(sizeof(struct pag_identity) == 128, "docs/spec/image.md, identity block");

#endif
