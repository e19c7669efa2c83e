#ifndef PAG_CLI_FIRMWARE_H
#define PAG_CLI_FIRMWARE_H

#include "cli/cli.h"
#include "core/image.h"
#include "core/manifest.h"

/* An image file as it will be sent, read and checked by core/image: unpacked when it was gzip, unless a
 * signature is behind the packed bytes. */
struct pag_firmware {
    const char *file;
    const char *name;       /* of the image in the release: "firmware", "filesystem" … */
    struct pag_span bytes;  /* as sent */
    struct pag_span plain;  /* as the device runs it: unpacked, still with a signature behind it */
    struct pag_span packed; /* the gzip stream that the file was, or empty */
    struct pag_image image;
    uint8_t digest[PAG_SHA256_BYTES];
    char sha256[65];
    bool filesystem;
};

/* word: FILE, or NAME=FILE. */
int pag_firmware_read(struct pag_cli *cli, const char *word, struct pag_firmware *out);
/* Anew, after bytes have changed. */
void pag_firmware_digest(struct pag_firmware *f);
json_t *pag_firmware_json(const struct pag_firmware *f);
/* "esp8266 · meter 1.8.2 · 912.4 kB · sha256 3f9a7c…" in the arena. */
const char *pag_firmware_line(struct pag_cli *cli, const struct pag_firmware *f);

/*
 * What would brick or be refused later, each with the remedy: chip, project, hardware, size against the slot.
 * version may be NULL.
 */
int pag_firmware_fits(struct pag_cli *cli, const struct pag_firmware *f, const json_t *product);

/* Kind of payload for an image of a release. */
enum pag_payload_kind pag_firmware_kind(const struct pag_firmware *f);

#endif
