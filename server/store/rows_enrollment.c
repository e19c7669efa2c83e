#include "server/store/rows_enrollment.h"

#include <string.h>

#include "server/store/rows.h"

enum pag_err pag_enroll_profile_get(struct pag_db *db, const char *product, bool *approval)
{
    struct pag_q q = pag_q_of(db, "SELECT approval FROM enrollment_profile WHERE product_id = ?");
    pag_q_text(&q, product);
    *approval = pag_q_row(&q) && pag_q_get_int(&q) != 0;
    return pag_q_end(&q);
}

enum pag_err pag_enroll_profile_put(struct pag_db *db, const char *product, bool approval, int64_t now_ms)
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO enrollment_profile (product_id, approval, changed_ms) VALUES (?, ?, ?) "
                     "ON CONFLICT (product_id) DO UPDATE SET approval = excluded.approval, "
                     "changed_ms = excluded.changed_ms");
    pag_q_text(&q, product);
    pag_q_int(&q, approval);
    pag_q_int(&q, now_ms);
    return pag_q_run(&q, NULL);
}

#define REQUEST_COLUMNS "id, key_sha256, product_id, device_id, address, state, actor, created_ms, changed_ms"

static void read_request(struct pag_q *q, struct pag_enroll_request *r)
{
    memset(r, 0, sizeof *r);
    pag_q_get_text(q, r->id, sizeof r->id);
    pag_q_get_blob(q, r->key, sizeof r->key);
    pag_q_get_text(q, r->product, sizeof r->product);
    pag_q_get_text(q, r->device, sizeof r->device);
    pag_q_get_text(q, r->address, sizeof r->address);
    r->state = (enum pag_request_state)pag_q_get_int(q);
    pag_q_get_text(q, r->actor, sizeof r->actor);
    r->created_ms = pag_q_get_int(q);
    r->changed_ms = pag_q_get_int(q);
}

static enum pag_err one(struct pag_q *q, struct pag_enroll_request *out)
{
    if (pag_q_row(q)) {
        read_request(q, out);
    }
    enum pag_err err = pag_q_end(q);
    return err == PAG_OK && !q->any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_enroll_request_by_key(struct pag_db *db, const uint8_t key[PAG_SHA256_BYTES],
                                       struct pag_enroll_request *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " REQUEST_COLUMNS " FROM enrollment_request WHERE key_sha256 = ?");
    pag_q_blob(&q, key, PAG_SHA256_BYTES);
    return one(&q, out);
}

enum pag_err pag_enroll_request_get(struct pag_db *db, const char *id, struct pag_enroll_request *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " REQUEST_COLUMNS " FROM enrollment_request WHERE id = ?");
    pag_q_text(&q, id);
    return one(&q, out);
}

enum pag_err pag_enroll_request_insert(struct pag_db *db, const struct pag_enroll_request *r)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO enrollment_request (" REQUEST_COLUMNS
                                  ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    pag_q_text(&q, r->id);
    pag_q_blob(&q, r->key, sizeof r->key);
    pag_q_text(&q, r->product);
    pag_q_text(&q, r->device);
    pag_q_text(&q, r->address);
    pag_q_int(&q, r->state);
    pag_q_text(&q, r->actor);
    pag_q_int(&q, r->created_ms);
    pag_q_int(&q, r->changed_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_enroll_request_decide(struct pag_db *db, const struct pag_enroll_request *r)
{
    struct pag_q q =
        pag_q_of(db, "UPDATE enrollment_request SET state = ?, actor = ?, changed_ms = ? WHERE id = ?");
    pag_q_int(&q, r->state);
    pag_q_text(&q, r->actor);
    pag_q_int(&q, r->changed_ms);
    pag_q_text(&q, r->id);
    enum pag_err err = pag_q_run_one(&q);
    return err == PAG_E_CONFLICT ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_enroll_request_remove(struct pag_db *db, const char *id)
{
    struct pag_q q = pag_q_of(db, "DELETE FROM enrollment_request WHERE id = ?");
    pag_q_text(&q, id);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_enroll_request_forget(struct pag_db *db, int64_t before_ms)
{
    struct pag_q q = pag_q_of(db, "DELETE FROM enrollment_request WHERE changed_ms < ?");
    pag_q_int(&q, before_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_enroll_request_list(struct pag_db *db, struct pag_arena *arena, const char *product,
                                     struct pag_enroll_request **list, size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT " REQUEST_COLUMNS " FROM enrollment_request "
                                  "WHERE (? = '' OR product_id = ?) ORDER BY created_ms, id LIMIT ?");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, product);
    pag_q_text(&q, product);
    pag_q_int(&q, PAG_REQUESTS_MAX);
    while (pag_q_row(&q)) {
        struct pag_enroll_request *r = pag_list_grow(arena, &items, n, &cap, sizeof *r);
        if (r == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        read_request(&q, r);
    }
    *list = items;
    return pag_q_end(&q);
}

enum pag_err pag_enroll_request_count(struct pag_db *db, const char *product, const char *address,
                                      uint64_t *all, uint64_t *of_address)
{
    struct pag_q q = pag_q_of(db, "SELECT COUNT(*), COUNT(CASE WHEN address = ? THEN 1 END) "
                                  "FROM enrollment_request WHERE product_id = ?");
    pag_q_text(&q, address);
    pag_q_text(&q, product);
    if (pag_q_row(&q)) {
        *all = (uint64_t)pag_q_get_int(&q);
        *of_address = (uint64_t)pag_q_get_int(&q);
    }
    return pag_q_end(&q);
}
