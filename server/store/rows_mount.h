#ifndef PAG_SERVER_STORE_ROWS_MOUNT_H
#define PAG_SERVER_STORE_ROWS_MOUNT_H

#include "server/domain/mount.h"
#include "server/store/rows.h"

/* Rows of the table mount: as in rows.h. */

/* PAG_E_EXISTS: the path belongs to a product already. */
enum pag_err pag_mount_insert(struct pag_db *db, const struct pag_mount *m);
/* PAG_E_NOT_FOUND: not of this product (hex id). */
enum pag_err pag_mount_delete(struct pag_db *db, const char *product, const char *path);
/* Of one product (hex id), by path. */
enum pag_err pag_mount_list(struct pag_db *db, struct pag_arena *arena, const char *product,
                            struct pag_mount **list, size_t *n);
/* The product (hex id) whose mount this path lies below, or beside as .md5 and such: the longest.
 * PAG_E_NOT_FOUND: nobody's. */
enum pag_err pag_mount_owner(struct pag_db *db, const char *path, char product[PAG_PRODUCT_HEX]);

#endif
