#include <string.h>

#include "server/store/rows.h"

/* ---- actions ---- */

#define ACTION_COLUMNS                                                                                       \
    "id, device_id, product_id, release_id, image_id, version, manifest_digest, target, origin, state, "     \
    "is_open, "                                                                                              \
    "progress, code, text, created_ms, changed_ms, report_seq"

static void action_read(struct pag_q *q, struct pag_action *a)
{
    memset(a, 0, sizeof *a);
    a->id = (uint32_t)pag_q_get_int(q);
    pag_q_get_text(q, a->device, sizeof a->device);
    pag_q_get_text(q, a->product, sizeof a->product);
    pag_q_get_text(q, a->release, sizeof a->release);
    pag_q_get_text(q, a->image, sizeof a->image);
    pag_q_get_text(q, a->version, sizeof a->version);
    pag_q_get_blob(q, a->manifest_digest, sizeof a->manifest_digest);
    pag_q_get_blob(q, a->target, sizeof a->target);
    pag_q_get_blob(q, a->from, sizeof a->from);
    a->state = (enum pag_report_state)pag_q_get_int(q);
    q->col++; /* is_open follows from the state */
    a->progress_pct = (uint8_t)pag_q_get_int(q);
    a->code = (int32_t)pag_q_get_int(q);
    pag_q_get_text(q, a->text, sizeof a->text);
    a->created_ms = pag_q_get_int(q);
    a->changed_ms = pag_q_get_int(q);
    a->report_seq = (uint32_t)pag_q_get_int(q);
}

enum pag_err pag_action_insert(struct pag_db *db, const struct pag_action *a)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO action (" ACTION_COLUMNS
                                  ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    pag_q_int(&q, a->id);
    pag_q_text(&q, a->device);
    pag_q_text(&q, a->product);
    pag_q_text(&q, a->release);
    pag_q_text(&q, a->image);
    pag_q_text(&q, a->version);
    pag_q_blob(&q, a->manifest_digest, sizeof a->manifest_digest);
    pag_q_blob(&q, a->target, sizeof a->target);
    pag_q_blob(&q, a->from, sizeof a->from);
    pag_q_int(&q, a->state);
    pag_q_int(&q, !pag_action_final(a->state));
    pag_q_int(&q, a->progress_pct);
    pag_q_int(&q, a->code);
    pag_q_text(&q, a->text);
    pag_q_int(&q, a->created_ms);
    pag_q_int(&q, a->changed_ms);
    pag_q_int(&q, a->report_seq);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_action_update(struct pag_db *db, const struct pag_action *a)
{
    struct pag_q q =
        pag_q_of(db, "UPDATE action SET state = ?, is_open = ?, progress = ?, code = ?, text = ?, "
                     "changed_ms = ?, report_seq = ? WHERE id = ? AND is_open = 1");
    pag_q_int(&q, a->state);
    pag_q_int(&q, !pag_action_final(a->state));
    pag_q_int(&q, a->progress_pct);
    pag_q_int(&q, a->code);
    pag_q_text(&q, a->text);
    pag_q_int(&q, a->changed_ms);
    pag_q_int(&q, a->report_seq);
    pag_q_int(&q, a->id);
    return pag_q_run_one(&q);
}

enum pag_err pag_action_get(struct pag_db *db, uint32_t id, struct pag_action *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " ACTION_COLUMNS " FROM action WHERE id = ?");
    pag_q_int(&q, id);
    if (pag_q_row(&q)) {
        action_read(&q, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_action_last(struct pag_db *db, const char *device, struct pag_action *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " ACTION_COLUMNS " FROM action WHERE device_id = ? "
                                  "ORDER BY created_ms DESC, is_open DESC, changed_ms DESC LIMIT 1");
    pag_q_text(&q, device);
    if (pag_q_row(&q)) {
        action_read(&q, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

/* ---- images of a device ---- */

static void held_read(struct pag_q *q, struct pag_device_image *h)
{
    pag_q_get_text(q, h->device, sizeof h->device);
    pag_q_get_blob(q, h->sha256, sizeof h->sha256);
    pag_q_get_text(q, h->version, sizeof h->version);
    h->serves = (uint32_t)pag_q_get_int(q);
    h->failures = (uint32_t)pag_q_get_int(q);
    h->blocked = pag_q_get_int(q) != 0;
    pag_q_get_text(q, h->reason, sizeof h->reason);
    h->changed_ms = pag_q_get_int(q);
    h->held_ms = pag_q_get_int(q);
}

enum pag_err pag_device_image_put(struct pag_db *db, const struct pag_device_image *h)
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO device_image (device_id, sha256, version, serves, failures, blocked, "
                     "reason, changed_ms, held_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                     "ON CONFLICT (device_id, sha256) DO UPDATE SET version = excluded.version, "
                     "serves = excluded.serves, failures = excluded.failures, blocked = excluded.blocked, "
                     "reason = excluded.reason, changed_ms = excluded.changed_ms, "
                     "held_ms = excluded.held_ms");
    pag_q_text(&q, h->device);
    pag_q_blob(&q, h->sha256, sizeof h->sha256);
    pag_q_text(&q, h->version);
    pag_q_int(&q, h->serves);
    pag_q_int(&q, h->failures);
    pag_q_int(&q, h->blocked);
    pag_q_text(&q, h->reason);
    pag_q_int(&q, h->changed_ms);
    pag_q_int(&q, h->held_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_device_image_get(struct pag_db *db, const char *device,
                                  const uint8_t sha256[PAG_SHA256_BYTES], struct pag_device_image *out)
{
    struct pag_q q = pag_q_of(
        db, "SELECT device_id, sha256, version, serves, failures, blocked, reason, changed_ms, held_ms "
            "FROM device_image WHERE device_id = ? AND sha256 = ?");
    pag_q_text(&q, device);
    pag_q_blob(&q, sha256, PAG_SHA256_BYTES);
    if (pag_q_row(&q)) {
        held_read(&q, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_device_image_list(struct pag_db *db, struct pag_arena *arena, const char *device,
                                   struct pag_device_image **list, size_t *n)
{
    struct pag_q q = pag_q_of(
        db, "SELECT device_id, sha256, version, serves, failures, blocked, reason, changed_ms, held_ms "
            "FROM device_image WHERE device_id = ? ORDER BY changed_ms DESC LIMIT 256");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, device);
    while (pag_q_row(&q)) {
        struct pag_device_image *h = pag_list_grow(arena, &items, n, &cap, sizeof *h);
        if (h == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        held_read(&q, h);
    }
    *list = items;
    return pag_q_end(&q);
}

enum pag_err pag_device_image_clear(struct pag_db *db, const char *device)
{
    struct pag_q q = pag_q_of(db, "DELETE FROM device_image WHERE device_id = ?");
    pag_q_text(&q, device);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_device_image_forgive(struct pag_db *db, const char *device,
                                      const uint8_t sha256[PAG_SHA256_BYTES])
{
    struct pag_q q = pag_q_of(db, "UPDATE device_image SET serves = 0 WHERE device_id = ? AND sha256 = ?");
    pag_q_text(&q, device);
    pag_q_blob(&q, sha256, PAG_SHA256_BYTES);
    return pag_q_run(&q, NULL);
}

/* ---- commands ---- */

#define COMMAND_COLUMNS                                                                                      \
    "id, device_id, product_id, kind, arg, state, created_ms, expires_ms, sent_ms, done_ms, code, result, "  \
    "actor, tries, signed_bytes, counter"

static void command_read(struct pag_q *q, struct pag_arena *arena, struct pag_command *c)
{
    memset(c, 0, sizeof *c);
    c->id = (uint32_t)pag_q_get_int(q);
    pag_q_get_text(q, c->device, sizeof c->device);
    pag_q_get_text(q, c->product, sizeof c->product);
    c->kind = (enum pag_command_kind)pag_q_get_int(q);
    c->arg = pag_q_get_span(q, arena);
    c->state = (enum pag_command_state)pag_q_get_int(q);
    c->created_ms = pag_q_get_int(q);
    c->expires_ms = pag_q_get_int(q);
    c->sent_ms = pag_q_get_int(q);
    c->done_ms = pag_q_get_int(q);
    c->code = (int32_t)pag_q_get_int(q);
    pag_q_get_text(q, c->result, sizeof c->result);
    pag_q_get_text(q, c->actor, sizeof c->actor);
    c->tries = (uint32_t)pag_q_get_int(q);
    c->order = pag_q_get_span(q, arena);
    c->counter = (uint32_t)pag_q_get_int(q);
}

enum pag_err pag_command_insert(struct pag_db *db, const struct pag_command *c)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO command (" COMMAND_COLUMNS
                                  ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    pag_q_int(&q, c->id);
    pag_q_text(&q, c->device);
    pag_q_text(&q, c->product);
    pag_q_int(&q, c->kind);
    pag_q_span(&q, c->arg);
    pag_q_int(&q, c->state);
    pag_q_int(&q, c->created_ms);
    pag_q_int(&q, c->expires_ms);
    pag_q_int(&q, c->sent_ms);
    pag_q_int(&q, c->done_ms);
    pag_q_int(&q, c->code);
    pag_q_text(&q, c->result);
    pag_q_text(&q, c->actor);
    pag_q_int(&q, c->tries);
    pag_q_span(&q, c->order);
    pag_q_int(&q, c->counter);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_command_get(struct pag_db *db, struct pag_arena *arena, uint32_t id, struct pag_command *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " COMMAND_COLUMNS " FROM command WHERE id = ?");
    pag_q_int(&q, id);
    if (pag_q_row(&q)) {
        command_read(&q, arena, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_command_update(struct pag_db *db, const struct pag_command *c)
{
    struct pag_q q = pag_q_of(db, "UPDATE command SET state = ?, sent_ms = ?, done_ms = ?, code = ?, result "
                                  "= ?, tries = ? WHERE id = ?");
    pag_q_int(&q, c->state);
    pag_q_int(&q, c->sent_ms);
    pag_q_int(&q, c->done_ms);
    pag_q_int(&q, c->code);
    pag_q_text(&q, c->result);
    pag_q_int(&q, c->tries);
    pag_q_int(&q, c->id);
    return pag_q_run_one(&q);
}

enum pag_err pag_command_list(struct pag_db *db, struct pag_arena *arena, const struct pag_command_filter *f,
                              struct pag_command **list, size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT " COMMAND_COLUMNS " FROM command WHERE device_id = ? AND (? = 0 OR "
                                  "(created_ms, id) < (SELECT c.created_ms, c.id FROM command c "
                                  "WHERE c.id = ?)) ORDER BY created_ms DESC, id DESC LIMIT ?");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, f->device);
    pag_q_int(&q, f->after);
    pag_q_int(&q, f->after);
    pag_q_int(&q, f->limit);
    while (pag_q_row(&q)) {
        struct pag_command *c = pag_list_grow(arena, &items, n, &cap, sizeof *c);
        if (c == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        command_read(&q, arena, c);
    }
    *list = items;
    return pag_q_end(&q);
}

enum pag_err pag_command_total(struct pag_db *db, const char *device, uint64_t *total)
{
    struct pag_q q = pag_q_of(db, "SELECT COUNT(*) FROM command WHERE device_id = ?");
    pag_q_text(&q, device);
    *total = pag_q_row(&q) ? (uint64_t)pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

enum pag_err pag_command_counter(struct pag_db *db, const char *device, uint32_t *counter)
{
    struct pag_q q = pag_q_of(db, "SELECT COALESCE(MAX(counter), 0) FROM command WHERE device_id = ?");
    pag_q_text(&q, device);
    *counter = pag_q_row(&q) ? (uint32_t)pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

enum pag_err pag_command_waiting(struct pag_db *db, struct pag_arena *arena, const char *device,
                                 int64_t now_ms, struct pag_command *list, size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT " COMMAND_COLUMNS " FROM command WHERE device_id = ? AND state < 2 "
                                  "AND expires_ms > ? ORDER BY created_ms, id");
    size_t room = *n;
    *n = 0;
    pag_q_text(&q, device);
    pag_q_int(&q, now_ms);
    while (*n < room && pag_q_row(&q)) {
        command_read(&q, arena, &list[*n]);
        *n += pag_command_due(&list[*n], now_ms) ? 1 : 0;
    }
    return pag_q_end(&q);
}

enum pag_err pag_command_count_queued(struct pag_db *db, const char *device, uint32_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT COUNT(*) FROM command WHERE device_id = ? AND state = 0");
    pag_q_text(&q, device);
    *n = pag_q_row(&q) ? (uint32_t)pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

/* ---- what devices say ---- */

enum pag_err pag_status_put(struct pag_db *db, const char *device, struct pag_span json, int64_t now_ms)
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO device_status (device_id, json, at_ms) VALUES (?, ?, ?) "
                     "ON CONFLICT (device_id) DO UPDATE SET json = excluded.json, at_ms = excluded.at_ms");
    pag_q_text(&q, device);
    pag_q_span(&q, json);
    pag_q_int(&q, now_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_status_get(struct pag_db *db, struct pag_arena *arena, const char *device,
                            struct pag_span *json, int64_t *at_ms)
{
    struct pag_q q = pag_q_of(db, "SELECT json, at_ms FROM device_status WHERE device_id = ?");
    pag_q_text(&q, device);
    if (pag_q_row(&q)) {
        *json = pag_q_get_span(&q, arena);
        *at_ms = pag_q_get_int(&q);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_data_put(struct pag_db *db, const char *device, const char *topic, struct pag_span payload,
                          int64_t now_ms, uint32_t max)
{
    int64_t changed = 0;
    struct pag_q q =
        pag_q_of(db, "UPDATE device_data SET at_ms = ?, payload = ? WHERE device_id = ? AND topic = ?");
    pag_q_int(&q, now_ms);
    pag_q_span(&q, payload);
    pag_q_text(&q, device);
    pag_q_text(&q, topic);
    enum pag_err err = pag_q_run(&q, &changed);
    if (err != PAG_OK || changed > 0) {
        return err;
    }
    struct pag_q more =
        pag_q_of(db, "INSERT INTO device_data (device_id, topic, at_ms, payload) SELECT ?, ?, ?, ? "
                     "WHERE (SELECT COUNT(*) FROM device_data WHERE device_id = ?) < ?");
    pag_q_text(&more, device);
    pag_q_text(&more, topic);
    pag_q_int(&more, now_ms);
    pag_q_span(&more, payload);
    pag_q_text(&more, device);
    pag_q_int(&more, max);
    err = pag_q_run(&more, &changed);
    return err == PAG_OK && changed == 0 ? PAG_E_LIMIT : err;
}

enum pag_err pag_data_list(struct pag_db *db, struct pag_arena *arena, const char *device,
                           struct pag_datum **list, size_t *n)
{
    struct pag_q q = pag_q_of(
        db, "SELECT topic, at_ms, payload FROM device_data WHERE device_id = ? ORDER BY topic LIMIT 256");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, device);
    while (pag_q_row(&q)) {
        struct pag_datum *d = pag_list_grow(arena, &items, n, &cap, sizeof *d);
        if (d == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        d->topic = pag_q_get_str(&q, arena);
        d->at_ms = pag_q_get_int(&q);
        d->payload = pag_q_get_span(&q, arena);
    }
    *list = items;
    return pag_q_end(&q);
}
