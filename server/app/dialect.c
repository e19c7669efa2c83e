#include "server/app/dialect.h"

#include <string.h>

#include "core/bytes.h"
#include "host/seal.h"
#include "server/app/op.h"
#include "server/store/rows_dialect.h"

static struct pag_span bound_of(struct pag_arena *arena, const char *product, const char *device)
{
    return pag_span_str(pag_arena_printf(arena, "dialect/%s/%s", product, device));
}

static enum pag_err open_row(struct pag_call *call, const struct pag_dialect_row *row,
                             struct pag_dialect_settings *out)
{
    const struct pag_app_config *config = &call->thread->app->config;
    size_t n = row->config.n > PAG_SEAL_EXTRA ? row->config.n : PAG_SEAL_EXTRA;
    struct pag_buf plain = { pag_arena_alloc(call->arena, n), 0, n };
    struct pag_span bound = bound_of(call->arena, row->product, row->device);
    if (plain.p == NULL || bound.n == 0) {
        return PAG_E_NO_MEMORY;
    }
    if (!config->has_seal) {
        return PAG_E_UNSUPPORTED;
    }
    enum pag_err err = pag_unseal(config->seal, bound, row->config, &plain);
    *out = (struct pag_dialect_settings){ .dialect = row->dialect,
                                          .config = pag_buf_span(&plain),
                                          .key_kind = row->key_kind,
                                          .series_days = row->series_days,
                                          .series_rows = row->series_rows,
                                          .changed_ms = row->changed_ms };
    return err;
}

static enum pag_err read_one(struct pag_call *call, const char *product, const char *device,
                             struct pag_dialect_settings *out)
{
    struct pag_dialect_row row;
    enum pag_err err = pag_dialect_get(call->thread->db, call->arena, product, device, &row);
    *out = (struct pag_dialect_settings){ .series_days = PAG_SERIES_DAYS_DEFAULT,
                                          .series_rows = PAG_SERIES_ROWS_DEFAULT };
    if (err == PAG_E_NOT_FOUND) {
        return PAG_OK;
    }
    return err == PAG_OK ? open_row(call, &row, out) : err;
}

enum pag_err pag_app_dialect(struct pag_call *call, const char *product, const char *device,
                             struct pag_dialect_settings *of_product, struct pag_dialect_settings *of_device)
{
    struct pag_product p;
    struct pag_device d = { .product = "" };
    enum pag_err err = device != NULL ? pag_find_device(call, call->thread->db, device, &d) : PAG_OK;
    if (err == PAG_OK) {
        err = pag_find_product(call, call->thread->db, product != NULL ? product : d.product, &p);
    }
    if (err == PAG_OK && device != NULL && strcmp(d.product, p.id) != 0) {
        err = PAG_E_NOT_FOUND;
    }
    err = err == PAG_OK ? read_one(call, p.id, "", of_product) : err;
    return err == PAG_OK && device != NULL ? read_one(call, p.id, d.id, of_device) : err;
}

enum pag_err pag_app_dialect_of(struct pag_call *call, const char *product, enum pag_dialect *out)
{
    struct pag_dialect_row row;
    enum pag_err err = pag_dialect_of(call->thread->db, product, &row);
    *out = err == PAG_OK ? row.dialect : PAG_DIALECT_NONE;
    return err;
}

enum pag_err pag_app_dialect_used(struct pag_call *call, enum pag_dialect d, bool *used)
{
    return pag_dialect_used(call->thread->db, d, used);
}

/* ---- writing ---- */

static enum pag_err seal_config(struct pag_call *call, const struct pag_dialect_settings *s,
                                struct pag_dialect_row *row)
{
    const struct pag_app_config *config = &call->thread->app->config;
    size_t n = s->config.n + PAG_SEAL_EXTRA;
    struct pag_buf sealed = { pag_arena_alloc(call->arena, n), 0, n };
    struct pag_span bound = bound_of(call->arena, row->product, row->device);
    if (sealed.p == NULL || bound.n == 0) {
        return PAG_E_NO_MEMORY;
    }
    if (!config->has_seal) {
        return PAG_E_UNSUPPORTED;
    }
    enum pag_err err = pag_seal(config->seal, bound, s->config, &sealed);
    row->config = pag_buf_span(&sealed);
    return err;
}

static enum pag_err tell(struct pag_store_tx *tx, const struct pag_op *op, const struct pag_product *p,
                         const char *device)
{
    const struct pag_dialect_in *in = op->in;
    enum pag_dialect dialect = in->change != NULL ? in->change->dialect : PAG_DIALECT_NONE;
    const struct pag_field field[] = { PAG_F_STR("dialect", pag_dialect_word(dialect)),
                                       PAG_F_U64("removed", in->change == NULL) };
    const struct pag_event_in event = { .type = device[0] != '\0' ? "device.dialect" : "product.dialect",
                                        .product = p->id,
                                        .device = device,
                                        .actor = pag_actor_of(op->call),
                                        .field = field,
                                        .field_n = 2 };
    return pag_store_audit_add(tx, &event, device[0] != '\0' ? device : p->name);
}

static enum pag_err put(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_dialect_in *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device d = { .id = "" };
    struct pag_product p;
    struct pag_dialect_row row;
    memset(&row, 0, sizeof row);
    enum pag_err err = in->device != NULL ? pag_find_device(op->call, db, in->device, &d) : PAG_OK;
    if (err == PAG_OK) {
        err = pag_find_product(op->call, db, in->product != NULL ? in->product : d.product, &p);
    }
    if (err != PAG_OK) {
        return err;
    }
    memcpy(row.product, p.id, sizeof row.product);
    memcpy(row.device, d.id, sizeof row.device);
    if (in->change == NULL) {
        err = pag_dialect_remove(db, p.id, d.id);
    } else {
        row.dialect = in->change->dialect;
        row.key_kind = in->change->key_kind;
        row.series_days = in->change->series_days;
        row.series_rows = in->change->series_rows;
        row.changed_ms = pag_store_tx_now(tx);
        err = seal_config(op->call, in->change, &row);
        err = err == PAG_OK ? pag_dialect_put(db, &row) : err;
    }
    return err == PAG_OK ? tell(tx, op, &p, d.id) : err;
}

void pag_app_dialect_put(struct pag_call *call, const struct pag_dialect_in *in)
{
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        pag_op_submit(op, put);
    }
}
