#ifndef PAG_SERVER_STORE_ROWS_RELAY_H
#define PAG_SERVER_STORE_ROWS_RELAY_H

#include "server/domain/neighbour.h"
#include "server/store/db.h"

/* Devices that relays push to. */

/* PAG_E_NOT_FOUND. */
enum pag_err pag_neighbour_get(struct pag_db *db, const char *device, struct pag_neighbour *out);
enum pag_err pag_neighbour_put(struct pag_db *db, const struct pag_neighbour *n);
/* Those of a product (hex id) after a device id, by id, in arena. *n: at most so many, then how many. */
enum pag_err pag_neighbour_list(struct pag_db *db, struct pag_arena *arena, const char *product,
                                const char *after, struct pag_neighbour **list, size_t *n);
/* It is no relay's neighbour any more; never was: PAG_OK. */
enum pag_err pag_neighbour_remove(struct pag_db *db, const char *device);

#endif
