#include "server/store/rows_broker.h"

#include <string.h>

#define SELECT_ACCOUNT                                                                                       \
    "SELECT u.name, u.product_id, u.device_id, u.topic, u.hash, u.created_ms, CASE WHEN d.id IS NOT NULL "   \
    "AND (d.revoked_ms <> 0 OR d.product_id <> u.product_id OR length(d.cert_serial) > 0) THEN 1 ELSE 0 "    \
    "END FROM broker_user u LEFT JOIN device d ON d.id = u.device_id "

static void read_row(struct pag_q *q, struct pag_broker_account *a)
{
    memset(a, 0, sizeof *a);
    pag_q_get_text(q, a->user, sizeof a->user);
    pag_q_get_text(q, a->product, sizeof a->product);
    pag_q_get_text(q, a->device, sizeof a->device);
    pag_q_get_text(q, a->topic, sizeof a->topic);
    pag_q_get_text(q, a->hash, sizeof a->hash);
    a->created_ms = pag_q_get_int(q);
    a->refused = pag_q_get_int(q) != 0;
}

enum pag_err pag_broker_account_insert(struct pag_db *db, const struct pag_broker_account *a)
{
    int64_t changed = 0;
    struct pag_q q = pag_q_of(db, "INSERT INTO broker_user (name, product_id, device_id, topic, hash, "
                                  "created_ms) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
    pag_q_text(&q, a->user);
    pag_q_text(&q, a->product);
    pag_q_text(&q, a->device);
    pag_q_text(&q, a->topic);
    pag_q_text(&q, a->hash);
    pag_q_int(&q, a->created_ms);
    enum pag_err err = pag_q_run(&q, &changed);
    return err == PAG_OK && changed == 0 ? PAG_E_EXISTS : err;
}

enum pag_err pag_broker_account_rehash(struct pag_db *db, const char *user, const char *hash)
{
    struct pag_q q = pag_q_of(db, "UPDATE broker_user SET hash = ? WHERE name = ?");
    pag_q_text(&q, hash);
    pag_q_text(&q, user);
    return pag_q_run_one(&q);
}

enum pag_err pag_broker_account_delete(struct pag_db *db, const char *user, bool *removed)
{
    int64_t changed = 0;
    struct pag_q q = pag_q_of(db, "DELETE FROM broker_user WHERE name = ?");
    pag_q_text(&q, user);
    enum pag_err err = pag_q_run(&q, &changed);
    *removed = changed > 0;
    return err;
}

static enum pag_err count(struct pag_db *db, size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT COUNT(*) FROM broker_user");
    *n = pag_q_row(&q) ? (size_t)pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

enum pag_err pag_broker_account_list(struct pag_db *db, struct pag_arena *arena, const char *product,
                                     struct pag_broker_account **list, size_t *n)
{
    size_t most = 0;
    enum pag_err err = count(db, &most);
    *n = 0;
    *list = err == PAG_OK ? pag_arena_alloc(arena, (most + 1) * sizeof **list) : NULL;
    if (*list == NULL) {
        return err != PAG_OK ? err : PAG_E_NO_MEMORY;
    }
    struct pag_q q = pag_q_of(db, SELECT_ACCOUNT "WHERE u.product_id = ? OR ? = '' ORDER BY u.name");
    pag_q_text(&q, product);
    pag_q_text(&q, product);
    while (*n < most && pag_q_row(&q)) {
        read_row(&q, &(*list)[(*n)++]);
    }
    return pag_q_end(&q);
}

static enum pag_err one(struct pag_q *q, struct pag_broker_account *out)
{
    if (pag_q_row(q)) {
        read_row(q, out);
    }
    enum pag_err err = pag_q_end(q);
    return err == PAG_OK && !q->any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_broker_account_of_topic(struct pag_db *db, const char *topic, struct pag_broker_account *out)
{
    struct pag_q q = pag_q_of(db, SELECT_ACCOUNT "WHERE u.topic = ? AND u.topic <> ''");
    pag_q_text(&q, topic);
    return one(&q, out);
}

enum pag_err pag_broker_account_of_device(struct pag_db *db, const char *device,
                                          struct pag_broker_account *out)
{
    struct pag_q q = pag_q_of(db, SELECT_ACCOUNT "WHERE u.device_id = ?");
    pag_q_text(&q, device);
    return one(&q, out);
}
