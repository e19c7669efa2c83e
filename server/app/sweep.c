#include "server/app/sweep.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"
#include "server/store/rows_dialect.h"
#include "server/store/rows_series.h"
#include "server/store/rows_sweep.h"

enum { AT_ONCE = 100, EVENTS_AT_ONCE = 1000, ROUNDS_MAX = 200, CODE_DAYS = 7, TOKEN_DAYS = 30 };

static const int64_t day_ms = 86400000;

static enum pag_err release_device(struct pag_store_tx *tx, const struct pag_action *a)
{
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device d;
    enum pag_err err = pag_device_get(db, NULL, a->device, &d);
    if (err != PAG_OK || d.open_action != a->id) {
        return err == PAG_E_NOT_FOUND ? PAG_OK : err;
    }
    d.open_action = 0;
    if (d.revoked_ms == 0) {
        d.state = PAG_DEVICE_NEW;
        (void)pag_text_copy(
            d.why, sizeof d.why,
            pag_span_str("The update went silent and was given up. It is offered again when the "
                         "device asks."));
    }
    err = pag_device_update(db, &d);
    return err == PAG_OK ? pag_device_event(tx, &d, "device.state", "system") : err;
}

static enum pag_err give_up(struct pag_store_tx *tx, uint32_t id)
{
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_action a;
    enum pag_err err = pag_action_get(db, id, &a);
    if (err != PAG_OK || pag_action_final(a.state)) {
        return err;
    }
    a.state = PAG_REPORT_CANCELLED;
    a.changed_ms = pag_store_tx_now(tx);
    (void)pag_text_copy(a.text, sizeof a.text, pag_span_str("Given up: no sign of it for too long."));
    err = pag_action_update(db, &a);
    err = err == PAG_OK ? pag_action_event(tx, &a) : err;
    return err == PAG_OK ? release_device(tx, &a) : err;
}

static enum pag_err expire(struct pag_store_tx *tx, struct pag_arena *arena, uint32_t id)
{
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_command c;
    struct pag_device d;
    enum pag_err err = pag_command_get(db, arena, id, &c);
    if (err != PAG_OK) {
        return err;
    }
    c.state = PAG_COMMAND_EXPIRED;
    c.done_ms = pag_store_tx_now(tx);
    err = pag_command_update(db, &c);
    if (err == PAG_OK && pag_device_get(db, NULL, c.device, &d) == PAG_OK && d.commands_queued > 0) {
        d.commands_queued--;
        err = pag_device_update(db, &d);
    }
    const struct pag_field field[] = { PAG_F_U64("command", c.id),
                                       PAG_F_STR("kind", pag_command_kind_word(c.kind)) };
    const struct pag_event_in event = { .type = "command.expired",
                                        .product = c.product,
                                        .device = c.device,
                                        .actor = "system",
                                        .field = field,
                                        .field_n = 2 };
    return err == PAG_OK ? pag_store_event_add(tx, &event) : err;
}

static enum pag_err forget(struct pag_db *db, int64_t now_ms)
{
    enum pag_err err = pag_sweep_codes(db, now_ms - CODE_DAYS * day_ms);
    err = err == PAG_OK ? pag_sweep_tokens(db, now_ms - TOKEN_DAYS * day_ms) : err;
    return err == PAG_OK ? pag_answer_sweep(db, now_ms - day_ms) : err;
}

/* Devices that speak keep their own series short; these have fallen silent. */
static enum pag_err forget_series(struct pag_store_tx *tx, struct pag_op *op, bool *more)
{
    char(*id)[PAG_DEVICE_ID_MAX + 1] = NULL;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_dialect_row row;
    struct pag_device d;
    size_t n = 0;
    int64_t now = pag_store_tx_now(tx);
    enum pag_err err = pag_series_outdated(db, op->call->arena, now, AT_ONCE, &id, &n);
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        err = pag_device_get(db, NULL, id[i], &d);
        err = err == PAG_OK ? pag_dialect_of(db, d.product, &row) : err;
        err = err == PAG_OK
                  ? pag_series_trim(db, d.id, now - (int64_t)row.series_days * day_ms, row.series_rows)
                  : err;
    }
    *more = *more || n == AT_ONCE;
    return err;
}

static enum pag_err apply(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_sweep_in *in = op->in;
    struct pag_sweep_out *out = op->out;
    struct pag_db *db = pag_store_tx_db(tx);
    int64_t now = pag_store_tx_now(tx);
    uint32_t id[AT_ONCE];
    size_t n = 0;
    enum pag_err err =
        in->silence_ms > 0 ? pag_sweep_actions(db, now - in->silence_ms, id, AT_ONCE, &n) : PAG_OK;
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        err = give_up(tx, id[i]);
        out->actions++;
    }
    out->more = n == AT_ONCE;
    n = 0;
    err = err == PAG_OK ? pag_sweep_commands(db, now, id, AT_ONCE, &n) : err;
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        err = expire(tx, op->call->arena, id[i]);
        out->commands++;
    }
    out->more = out->more || n == AT_ONCE;
    int64_t events = 0;
    if (err == PAG_OK && in->events_ms > 0) {
        err = pag_sweep_events(db, now - in->events_ms, EVENTS_AT_ONCE, &events);
    }
    out->events = (uint32_t)events;
    out->more = out->more || events == EVENTS_AT_ONCE;
    err = err == PAG_OK ? forget_series(tx, op, &out->more) : err;
    return err == PAG_OK ? forget(db, now) : err;
}

static enum pag_err judge(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_sweep_out *out = op->out;
    return pag_rejudge_some(tx, op->call->thread->app, &out->judging);
}

/* One transaction each, so that others get their turn. */
static void judged(struct pag_op *op, enum pag_err err)
{
    struct pag_sweep_out *out = op->out;
    if (err == PAG_OK && out->judging && ++out->rounds < ROUNDS_MAX) {
        pag_op_submit(op, judge);
        return;
    }
    out->more = out->more || out->judging;
    op->call->done(op->call, err);
}

static void swept(struct pag_op *op, enum pag_err err)
{
    if (err != PAG_OK) {
        op->call->done(op->call, err);
        return;
    }
    op->after = judged;
    pag_op_submit(op, judge);
}

void pag_app_sweep(struct pag_call *call, const struct pag_sweep_in *in, struct pag_sweep_out *out)
{
    memset(out, 0, sizeof *out);
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        op->after = swept;
        pag_op_submit(op, apply);
    }
}

/* ---- limits ---- */

struct limited {
    struct pag_call call;
    char device[PAG_DEVICE_ID_MAX + 1];
    char what[16];
    uint64_t refused;
};

static enum pag_err write_limited(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct limited *l = op->in;
    struct pag_device d;
    enum pag_err err = pag_device_get(pag_store_tx_db(tx), NULL, l->device, &d);
    if (err != PAG_OK) { /* whoever is not known fills no table */
        return err == PAG_E_NOT_FOUND ? PAG_OK : err;
    }
    const struct pag_field field[] = { PAG_F_STR("what", l->what), PAG_F_U64("refused", l->refused) };
    const struct pag_event_in event = { .type = "device.limited",
                                        .product = d.product,
                                        .device = d.id,
                                        .actor = "system",
                                        .field = field,
                                        .field_n = 2 };
    return pag_store_event_add(tx, &event);
}

static void limited_done(struct pag_call *call, enum pag_err err)
{
    (void)err;
    pag_arena_close(call->arena);
}

void pag_app_limited(struct pag_app_thread *thread, const struct pag_limited *what)
{
    struct pag_arena *arena = pag_arena_open(thread->pool, 1 << 14);
    struct limited *l = arena != NULL ? pag_arena_alloc(arena, sizeof *l) : NULL;
    if (l == NULL || pag_text_copy(l->device, sizeof l->device, pag_span_str(what->device)) != PAG_OK ||
        pag_text_copy(l->what, sizeof l->what, pag_span_str(what->what)) != PAG_OK) {
        pag_arena_close(arena);
        return;
    }
    l->refused = what->refused;
    l->call = (struct pag_call){ .thread = thread, .arena = arena, .done = limited_done };
    struct pag_op *op = pag_op_new(&l->call, l, NULL);
    if (op != NULL) {
        pag_op_submit(op, write_limited);
    }
}
