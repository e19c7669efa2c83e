#ifndef PAG_CLI_RELAY_IMAGE_H
#define PAG_CLI_RELAY_IMAGE_H

#include "cli/cli.h"

/*
 * The image of an item of GET /relay/work (docs/spec/rest.md), fetched once into folder and checked: the
 * bytes are those of its manifest, and a release key of the product's trust set has signed that.
 * PAG_EXIT_DENIED: they are not; *why says so, and it must not be pushed. Other codes: not to be had now.
 * Nothing is printed.
 */
struct pag_relay_image {
    struct pag_buf bytes; /* release with pag_fs_buf_free */
    enum pag_chip chip;
};
int pag_relay_image_get(struct pag_cli *cli, const char *folder, const json_t *product, const json_t *item,
                        struct pag_relay_image *out, const char **why);

#endif
