#ifndef PAG_SERVER_STORE_ROWS_BROKER_H
#define PAG_SERVER_STORE_ROWS_BROKER_H

#include "server/domain/broker_user.h"
#include "server/store/rows.h"

/* Clients of the broker with a password: migrations/0009. */

/* PAG_E_EXISTS: the name, the device or the topic is taken. */
enum pag_err pag_broker_account_insert(struct pag_db *db, const struct pag_broker_account *a);
/* A new hash for it. PAG_E_CONFLICT: it is gone. */
enum pag_err pag_broker_account_rehash(struct pag_db *db, const char *user, const char *hash);
/* *removed: whether there was one. */
enum pag_err pag_broker_account_delete(struct pag_db *db, const char *user, bool *removed);
/* Of one product (hex id), or of all (NULL), by name. */
enum pag_err pag_broker_account_list(struct pag_db *db, struct pag_arena *arena, const char *product,
                                     struct pag_broker_account **list, size_t *n);
/* PAG_E_NOT_FOUND. */
enum pag_err pag_broker_account_of_topic(struct pag_db *db, const char *topic,
                                         struct pag_broker_account *out);
enum pag_err pag_broker_account_of_device(struct pag_db *db, const char *device,
                                          struct pag_broker_account *out);

#endif
