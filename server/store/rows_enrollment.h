#ifndef PAG_SERVER_STORE_ROWS_ENROLLMENT_H
#define PAG_SERVER_STORE_ROWS_ENROLLMENT_H

#include "server/domain/enrollment.h"
#include "server/store/db.h"

/* Products whose devices may ask without a claim, and who waits. */

/* approval: false when the product (hex id) has no row. */
enum pag_err pag_enroll_profile_get(struct pag_db *db, const char *product, bool *approval);
enum pag_err pag_enroll_profile_put(struct pag_db *db, const char *product, bool approval, int64_t now_ms);

/* By the key of the request, or by id. PAG_E_NOT_FOUND. */
enum pag_err pag_enroll_request_by_key(struct pag_db *db, const uint8_t key[PAG_SHA256_BYTES],
                                       struct pag_enroll_request *out);
enum pag_err pag_enroll_request_get(struct pag_db *db, const char *id, struct pag_enroll_request *out);
enum pag_err pag_enroll_request_insert(struct pag_db *db, const struct pag_enroll_request *r);
/* state, actor, changed_ms. PAG_E_NOT_FOUND. */
enum pag_err pag_enroll_request_decide(struct pag_db *db, const struct pag_enroll_request *r);
enum pag_err pag_enroll_request_remove(struct pag_db *db, const char *id); /* none is fine */
/* Those that have not changed since. */
enum pag_err pag_enroll_request_forget(struct pag_db *db, int64_t before_ms);
/* Oldest first, at most PAG_REQUESTS_MAX; product "": all. */
enum pag_err pag_enroll_request_list(struct pag_db *db, struct pag_arena *arena, const char *product,
                                     struct pag_enroll_request **list, size_t *n);
/* How many wait, and how many of them came from that address. */
enum pag_err pag_enroll_request_count(struct pag_db *db, const char *product, const char *address,
                                      uint64_t *all, uint64_t *of_address);

#endif
