#ifndef PAG_SERVER_DOMAIN_FILE_H
#define PAG_SERVER_DOMAIN_FILE_H

#include "server/domain/release.h"

/* Images by the names of files: docs/spec/legacy-http.md 4. Pure. */

/* An image that is no form of the firmware: a smaller stand-in ("minimal", "safeboot"), or a part that only a
 * cable writes ("bootloader", "partitions", "boot-app0"); packed ones end in "-gz". */
bool pag_image_is_side(const char *name);
/* Parts that no header of ours is in. */
bool pag_image_is_raw(const char *name);

/*
 * Whether an image answers to a file name: the name it was released with, "<image name>.bin" (".bin.gz" when
 * packed), or a name that ends in "-minimal.bin" or "-safeboot.bin" for these, or has them before a dot
 * ("-minimal.ino.bin"). any: every other name that ends in ".bin" (".bin.gz") is the firmware, and so is the
 * empty one (".gz").
 */
bool pag_image_answers(const struct pag_release_image *image, const char *file, bool any);

/* 1 to 64 of letters, digits and "._+-", not beginning with a dot. */
bool pag_file_name_ok(struct pag_span name);

#endif
