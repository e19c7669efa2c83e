#include "server/store/rows_sweep.h"

static enum pag_err ids(struct pag_q *q, uint32_t *id, size_t max, size_t *n)
{
    *n = 0;
    while (*n < max && pag_q_row(q)) {
        id[(*n)++] = (uint32_t)pag_q_get_int(q);
    }
    return pag_q_end(q);
}

enum pag_err pag_sweep_actions(struct pag_db *db, int64_t before_ms, uint32_t *id, size_t max, size_t *n)
{
    struct pag_q q = pag_q_of(
        db, "SELECT id FROM action WHERE is_open = 1 AND changed_ms < ? ORDER BY changed_ms LIMIT ?");
    pag_q_int(&q, before_ms);
    pag_q_int(&q, (int64_t)max);
    return ids(&q, id, max, n);
}

enum pag_err pag_sweep_commands(struct pag_db *db, int64_t now_ms, uint32_t *id, size_t max, size_t *n)
{
    struct pag_q q = pag_q_of(
        db, "SELECT id FROM command WHERE state < 2 AND expires_ms <= ? ORDER BY expires_ms LIMIT ?");
    pag_q_int(&q, now_ms);
    pag_q_int(&q, (int64_t)max);
    return ids(&q, id, max, n);
}

enum pag_err pag_sweep_command_devices(struct pag_db *db, struct pag_arena *arena, uint32_t limit,
                                       char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n)
{
    struct pag_q q =
        pag_q_of(db, "SELECT DISTINCT c.device_id FROM command c JOIN device d ON d.id = c.device_id "
                     "WHERE c.state < 2 AND c.state = 0 AND d.online = 1 LIMIT ?");
    *n = 0;
    *list = pag_arena_alloc(arena, limit * sizeof **list);
    pag_q_int(&q, limit);
    while (*list != NULL && *n < limit && pag_q_row(&q)) {
        pag_q_get_text(&q, (*list)[*n], sizeof **list);
        (*n)++;
    }
    enum pag_err err = pag_q_end(&q);
    return *list == NULL ? PAG_E_NO_MEMORY : err;
}

enum pag_err pag_command_open_count(struct pag_db *db, const char *device, int64_t now_ms, uint32_t *n)
{
    struct pag_q q =
        pag_q_of(db, "SELECT COUNT(*) FROM command WHERE device_id = ? AND state < 2 AND expires_ms > ?");
    pag_q_text(&q, device);
    pag_q_int(&q, now_ms);
    *n = pag_q_row(&q) ? (uint32_t)pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

enum pag_err pag_sweep_presence(struct pag_db *db, int64_t now_ms, int64_t *n)
{
    struct pag_q q =
        pag_q_of(db, "UPDATE device SET online = 0, online_ms = ?, revision = revision + 1 WHERE online = 1");
    pag_q_int(&q, now_ms);
    return pag_q_run(&q, n);
}

enum pag_err pag_sweep_events(struct pag_db *db, int64_t before_ms, uint32_t max, int64_t *n)
{
    struct pag_q q =
        pag_q_of(db, "DELETE FROM event WHERE seq IN (SELECT seq FROM event ORDER BY seq LIMIT ?) "
                     "AND at_ms < ? AND seq < (SELECT MAX(seq) FROM event)");
    pag_q_int(&q, max);
    pag_q_int(&q, before_ms);
    return pag_q_run(&q, n);
}

enum pag_err pag_sweep_codes(struct pag_db *db, int64_t before_ms)
{
    struct pag_q q = pag_q_of(db, "DELETE FROM enrollment_code WHERE expires_ms < ?");
    pag_q_int(&q, before_ms);
    enum pag_err err = pag_q_run(&q, NULL);
    struct pag_q redeemed = pag_q_of(db, "DELETE FROM enrollment WHERE at_ms < ?");
    pag_q_int(&redeemed, before_ms);
    enum pag_err more = pag_q_run(&redeemed, NULL);
    return err == PAG_OK ? more : err;
}

enum pag_err pag_sweep_tokens(struct pag_db *db, int64_t before_ms)
{
    struct pag_q q = pag_q_of(db, "DELETE FROM token WHERE (expires_ms > 0 AND expires_ms < ?) OR "
                                  "(revoked_ms > 0 AND revoked_ms < ?)");
    pag_q_int(&q, before_ms);
    pag_q_int(&q, before_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_rejudge_begin(struct pag_db *db, const char *product)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO rejudge (product_id, after_id) VALUES (?, '') "
                                  "ON CONFLICT (product_id) DO UPDATE SET after_id = ''");
    pag_q_text(&q, product);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_rejudge_next(struct pag_db *db, struct pag_rejudge *out)
{
    struct pag_q q = pag_q_of(db, "SELECT product_id, after_id FROM rejudge ORDER BY product_id LIMIT 1");
    if (pag_q_row(&q)) {
        pag_q_get_text(&q, out->product, sizeof out->product);
        pag_q_get_text(&q, out->after, sizeof out->after);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_rejudge_put(struct pag_db *db, const struct pag_rejudge *r, bool done)
{
    if (done) {
        struct pag_q q = pag_q_of(db, "DELETE FROM rejudge WHERE product_id = ?");
        pag_q_text(&q, r->product);
        return pag_q_run_one(&q);
    }
    struct pag_q q = pag_q_of(db, "UPDATE rejudge SET after_id = ? WHERE product_id = ?");
    pag_q_text(&q, r->after);
    pag_q_text(&q, r->product);
    return pag_q_run_one(&q);
}
