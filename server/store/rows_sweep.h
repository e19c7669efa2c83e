#ifndef PAG_SERVER_STORE_ROWS_SWEEP_H
#define PAG_SERVER_STORE_ROWS_SWEEP_H

#include "server/store/db.h"

/* Rows whose time has come. */

/* Open actions that were last changed before a time, oldest first: up to max ids. */
enum pag_err pag_sweep_actions(struct pag_db *db, int64_t before_ms, uint32_t *id, size_t max, size_t *n);
/* Commands without a result that have ended. */
enum pag_err pag_sweep_commands(struct pag_db *db, int64_t now_ms, uint32_t *id, size_t max, size_t *n);
/* Devices that are online and have a queued command. */
enum pag_err pag_sweep_command_devices(struct pag_db *db, struct pag_arena *arena, uint32_t limit,
                                       char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n);
/* Claims that ended before a time, and what was redeemed by then. */
enum pag_err pag_sweep_codes(struct pag_db *db, int64_t before_ms);
/* Tokens that ended or were revoked before a time. */
enum pag_err pag_sweep_tokens(struct pag_db *db, int64_t before_ms);

#endif
