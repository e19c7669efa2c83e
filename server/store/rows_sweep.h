#ifndef PAG_SERVER_STORE_ROWS_SWEEP_H
#define PAG_SERVER_STORE_ROWS_SWEEP_H

#include "server/domain/device.h"
#include "server/store/db.h"

/* Rows whose time has come. */

/* Open actions that were last changed before a time, oldest first: up to max ids. */
enum pag_err pag_sweep_actions(struct pag_db *db, int64_t before_ms, uint32_t *id, size_t max, size_t *n);
/* Commands without a result that have ended. */
enum pag_err pag_sweep_commands(struct pag_db *db, int64_t now_ms, uint32_t *id, size_t max, size_t *n);
/* Devices that are online and have a queued command. */
enum pag_err pag_sweep_command_devices(struct pag_db *db, struct pag_arena *arena, uint32_t limit,
                                       char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n);
/* Commands of a device without a result that have not ended. */
enum pag_err pag_command_open_count(struct pag_db *db, const char *device, int64_t now_ms, uint32_t *n);
/* Nobody is known to be connected any more. *n: how many were. */
enum pag_err pag_sweep_presence(struct pag_db *db, int64_t now_ms, int64_t *n);
/* Events from before a time, the oldest first, at most max; never the newest of all: numbers go on from it.
 */
enum pag_err pag_sweep_events(struct pag_db *db, int64_t before_ms, uint32_t max, int64_t *n);
/* Claims that ended before a time, and what was redeemed by then. */
enum pag_err pag_sweep_codes(struct pag_db *db, int64_t before_ms);
/* Tokens that ended or were revoked before a time. */
enum pag_err pag_sweep_tokens(struct pag_db *db, int64_t before_ms);

/* ---- devices to be judged anew, because what their product publishes has changed ---- */

struct pag_rejudge {
    char product[PAG_PRODUCT_HEX];
    char after[PAG_DEVICE_ID_MAX + 1]; /* the last that was judged; "" : none yet */
};
/* From the start, also when it is under way. */
enum pag_err pag_rejudge_begin(struct pag_db *db, const char *product);
/* Any that is to be done. PAG_E_NOT_FOUND: none. */
enum pag_err pag_rejudge_next(struct pag_db *db, struct pag_rejudge *out);
/* Keeps r->after, or with done forgets the product. */
enum pag_err pag_rejudge_put(struct pag_db *db, const struct pag_rejudge *r, bool done);

#endif
