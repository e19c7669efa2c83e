#ifndef PAG_CLI_FIND_H
#define PAG_CLI_FIND_H

#include "cli/cli.h"

/*
 * What people type to what the API wants: ids, unique prefixes, device names, MACs, versions. Not found is
 * PAG_EXIT_NOT_FOUND with the nearest name; several is PAG_EXIT_USAGE with some of them.
 */
int pag_find_device(struct pag_cli *cli, const char *text, json_t **device);
/* text: release id, or version (with --product when several products have it). */
int pag_find_release(struct pag_cli *cli, const char *text, json_t **release);
int pag_find_product(struct pag_cli *cli, const char *name, json_t **product);
/* 8 bytes out of "prd_<16 hex>". */
int pag_find_product_id(struct pag_cli *cli, const json_t *product, uint8_t id[PAG_PRODUCT_ID_BYTES]);
/* Image of that name in a release, NULL when it has none; part of release. */
const json_t *pag_find_image(const json_t *release, const char *name);
/* All items of a list of the API, following its cursors up to 10,000. */
int pag_find_all(struct pag_cli *cli, const char *path, json_t **items);

#endif
