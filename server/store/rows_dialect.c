#include "server/store/rows_dialect.h"

#include <string.h>

#include "core/bytes.h"

enum pag_err pag_dialect_put(struct pag_db *db, const struct pag_dialect_row *r)
{
    struct pag_q q = pag_q_of(
        db, "INSERT INTO dialect (product_id, device_id, name, config, key_kind, series_days, series_rows, "
            "changed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (product_id, device_id) DO UPDATE SET "
            "name = excluded.name, config = excluded.config, key_kind = excluded.key_kind, series_days = "
            "excluded.series_days, series_rows = excluded.series_rows, changed_ms = excluded.changed_ms");
    pag_q_text(&q, r->product);
    pag_q_text(&q, r->device);
    pag_q_text(&q, pag_dialect_word(r->dialect));
    pag_q_span(&q, r->config);
    pag_q_int(&q, r->key_kind);
    pag_q_int(&q, r->series_days);
    pag_q_int(&q, r->series_rows);
    pag_q_int(&q, r->changed_ms);
    return pag_q_run(&q, NULL);
}

static enum pag_dialect dialect_read(struct pag_q *q)
{
    char word[24];
    pag_q_get_text(q, word, sizeof word);
    return pag_dialect_by_word(pag_span_str(word));
}

static void row_read(struct pag_q *q, struct pag_dialect_row *r)
{
    memset(r, 0, sizeof *r);
    pag_q_get_text(q, r->product, sizeof r->product);
    pag_q_get_text(q, r->device, sizeof r->device);
    r->dialect = dialect_read(q);
    r->key_kind = (enum pag_device_key_kind)pag_q_get_int(q);
    r->series_days = (uint32_t)pag_q_get_int(q);
    r->series_rows = (uint32_t)pag_q_get_int(q);
    r->changed_ms = pag_q_get_int(q);
}

#define DIALECT_COLUMNS "product_id, device_id, name, key_kind, series_days, series_rows, changed_ms"

enum pag_err pag_dialect_get(struct pag_db *db, struct pag_arena *arena, const char *product,
                             const char *device, struct pag_dialect_row *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " DIALECT_COLUMNS
                                  ", config FROM dialect WHERE product_id = ? AND device_id = ?");
    pag_q_text(&q, product);
    pag_q_text(&q, device);
    if (pag_q_row(&q)) {
        row_read(&q, out);
        out->config = pag_q_get_span(&q, arena);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_dialect_of(struct pag_db *db, const char *product, struct pag_dialect_row *out)
{
    struct pag_q q =
        pag_q_of(db, "SELECT " DIALECT_COLUMNS " FROM dialect WHERE product_id = ? AND device_id = ''");
    memset(out, 0, sizeof *out);
    pag_q_text(&q, product);
    if (pag_q_row(&q)) {
        row_read(&q, out);
    }
    return pag_q_end(&q);
}

enum pag_err pag_dialect_remove(struct pag_db *db, const char *product, const char *device)
{
    struct pag_q q = pag_q_of(db, "DELETE FROM dialect WHERE product_id = ? AND device_id = ?");
    pag_q_text(&q, product);
    pag_q_text(&q, device);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_dialect_used(struct pag_db *db, enum pag_dialect d, bool *used)
{
    struct pag_q q = pag_q_of(db, "SELECT 1 FROM dialect WHERE device_id = '' AND name = ? LIMIT 1");
    pag_q_text(&q, pag_dialect_word(d));
    *used = pag_q_row(&q);
    return pag_q_end(&q);
}

/* ---- keys ---- */

enum pag_err pag_sealed_key_put(struct pag_db *db, const struct pag_sealed_key *k)
{
    struct pag_q q = pag_q_of(
        db, "INSERT INTO sealed_key (device_id, serial, claim, sealed, made_ms) VALUES (?, ?, ?, ?, ?) ON "
            "CONFLICT (device_id) DO UPDATE SET serial = excluded.serial, claim = excluded.claim, sealed = "
            "excluded.sealed, made_ms = excluded.made_ms");
    pag_q_text(&q, k->device);
    pag_q_blob(&q, k->serial, k->serial_n);
    pag_q_span(&q, k->claim);
    pag_q_span(&q, k->sealed);
    pag_q_int(&q, k->made_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_sealed_key_get(struct pag_db *db, struct pag_arena *arena, const char *device,
                                struct pag_sealed_key *out)
{
    struct pag_q q =
        pag_q_of(db, "SELECT device_id, serial, claim, sealed, made_ms FROM sealed_key WHERE device_id = ?");
    pag_q_text(&q, device);
    if (pag_q_row(&q)) {
        memset(out, 0, sizeof *out);
        pag_q_get_text(&q, out->device, sizeof out->device);
        out->serial_n = pag_q_get_bytes(&q, out->serial, sizeof out->serial);
        out->claim = pag_q_get_span(&q, arena);
        out->sealed = pag_q_get_span(&q, arena);
        out->made_ms = pag_q_get_int(&q);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_sealed_key_erase(struct pag_db *db, const struct pag_sealed_key *k)
{
    struct pag_q q = pag_q_of(
        db, "UPDATE sealed_key SET sealed = ? WHERE device_id = ? AND serial = ? AND length(sealed) > 0");
    pag_q_blob(&q, "", 0);
    pag_q_text(&q, k->device);
    pag_q_blob(&q, k->serial, k->serial_n);
    return pag_q_run_one(&q);
}
