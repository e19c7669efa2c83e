#include "server/app/op.h"

#include <string.h>

#include "core/bytes.h"
#include "host/rand.h"

int64_t pag_app_now_ms(const struct pag_app *app)
{
    return (int64_t)app->config.clock.now_unix_ms(app->config.clock.ctx);
}

struct pag_shown pag_app_shown(const struct pag_app *app)
{
    return (struct pag_shown){ .now_ms = pag_app_now_ms(app),
                               .poll_s = __atomic_load_n(&app->config.poll_s, __ATOMIC_RELAXED) };
}

struct pag_op *pag_op_new(struct pag_call *call, const void *in, void *out)
{
    struct pag_op *op = in != NULL ? pag_arena_alloc(call->arena, sizeof *op) : NULL;
    if (op == NULL) {
        call->done(call, PAG_E_NO_MEMORY);
        return NULL;
    }
    op->call = call;
    op->in = in;
    op->out = out;
    return op;
}

enum { ONCE_MS = 86400000 };

/* Rolled back with the change when that is refused, so a call that changed nothing may be made again. */
static enum pag_err take_key(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_idempotent *once = op->call->once;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_answer a = { .token = once->token,
                            .route = once->route,
                            .key = once->key,
                            .body = { (const uint8_t *)"", 0 },
                            .at_ms = pag_store_tx_now(tx) };
    memcpy(a.body_sha256, once->body_sha256, sizeof a.body_sha256);
    enum pag_err err = pag_answer_sweep(db, a.at_ms - ONCE_MS);
    err = err == PAG_OK ? pag_answer_take(db, &a) : err;
    return err == PAG_E_EXISTS ? pag_refuse(op->call, PAG_E_CONFLICT, "conflict",
                                            "A call with this Idempotency-Key is being carried out.")
                               : err;
}

static enum pag_err apply(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct pag_op *op = intent->ctx;
    enum pag_err err = op->call->once != NULL ? take_key(tx, op) : PAG_OK;
    return err == PAG_OK ? op->apply(tx, op) : err;
}

static void finish(struct pag_op *op, enum pag_err err)
{
    if (op->after != NULL) {
        op->after(op, err);
    } else {
        op->call->done(op->call, err);
    }
}

static void submitted(struct pag_intent *intent, enum pag_err err)
{
    struct pag_op *op = intent->ctx;
    if (err == PAG_OK) {
        op->call->once = NULL;
    }
    finish(op, err);
}

void pag_op_submit(struct pag_op *op, enum pag_err (*step)(struct pag_store_tx *tx, struct pag_op *op))
{
    struct pag_app_thread *t = op->call->thread;
    op->apply = step;
    op->intent = (struct pag_intent){ .apply = apply, .done = submitted, .loop = t->loop, .ctx = op };
    enum pag_err err = pag_store_submit(t->app->config.store, &op->intent);
    if (err != PAG_OK) {
        op->call->refusal.retry_s = 5;
        finish(op, err);
    }
}

static enum pag_err run_work(struct pag_work *work)
{
    struct pag_op *op = work->ctx;
    return op->run(op);
}

static void worked(struct pag_work *work, enum pag_err err)
{
    struct pag_op *op = work->ctx;
    void (*after)(struct pag_op *, enum pag_err) = op->after;
    op->after = NULL;
    after(op, err);
}

void pag_op_work(struct pag_op *op, enum pag_err (*run)(struct pag_op *op),
                 void (*after)(struct pag_op *op, enum pag_err err))
{
    struct pag_app_thread *t = op->call->thread;
    op->run = run;
    op->after = after;
    op->work = (struct pag_work){ .run = run_work, .done = worked, .loop = t->loop, .ctx = op };
    enum pag_err err = pag_store_work(t->app->config.store, &op->work);
    if (err != PAG_OK) {
        op->call->refusal.retry_s = 5;
        op->call->done(op->call, err);
    }
}

enum pag_err pag_refuse(struct pag_call *call, enum pag_err err, const char *code, const char *detail)
{
    call->refusal.code = code;
    call->refusal.detail = detail;
    return err;
}

enum pag_err pag_refuse_field(struct pag_call *call, const char *pointer, const char *detail)
{
    struct pag_refusal *r = &call->refusal;
    if (r->error_n < PAG_REFUSAL_ERRORS_MAX) {
        r->error[r->error_n].pointer = pointer;
        r->error[r->error_n].code = "invalid-field";
        r->error[r->error_n].detail = detail;
        r->error_n++;
    }
    return pag_refuse(call, PAG_E_RANGE, "invalid-field", detail);
}

enum pag_err pag_refuse_scoped(struct pag_call *call)
{
    return pag_scope_sees(&call->scope, "")
               ? PAG_OK
               : pag_refuse(call, PAG_E_DENIED, "forbidden", "The token is for one product only.");
}

enum pag_err pag_find_product(struct pag_call *call, struct pag_db *db, const char *name,
                              struct pag_product *out)
{
    struct pag_span s = pag_span_str(name);
    const char *key = pag_span_starts(s, "prd_") ? name + 4 : name;
    enum pag_err err = s.n == 0 ? PAG_E_NOT_FOUND : pag_product_get(db, key, out);
    if (err == PAG_OK && !pag_scope_sees(&call->scope, out->id)) {
        err = PAG_E_NOT_FOUND;
    }
    return err == PAG_E_NOT_FOUND ? pag_refuse(call, err, "not-found", "There is no such product.") : err;
}

enum pag_err pag_find_release(struct pag_call *call, struct pag_db *db, const char *id,
                              struct pag_release *out)
{
    enum pag_err err = pag_release_get(db, call->arena, id, out);
    if (err == PAG_OK && !pag_scope_sees(&call->scope, out->product)) {
        err = PAG_E_NOT_FOUND;
    }
    return err == PAG_E_NOT_FOUND ? pag_refuse(call, err, "not-found", "There is no such release.") : err;
}

enum pag_err pag_find_device(struct pag_call *call, struct pag_db *db, const char *id, struct pag_device *out)
{
    enum pag_err err = pag_device_get(db, call->arena, id, out);
    if (err == PAG_OK && !pag_scope_sees(&call->scope, out->product)) {
        err = PAG_E_NOT_FOUND;
    }
    return err == PAG_E_NOT_FOUND ? pag_refuse(call, err, "not-found", "There is no such device.") : err;
}

void pag_make_id(char out[PAG_ID_TEXT], const char *prefix, size_t n)
{
    size_t at = strlen(prefix);
    for (size_t i = 0; i < at; i++) {
        out[i] = prefix[i];
    }
    pag_rand_hex(out + at, n);
}

uint32_t pag_make_id31(void)
{
    return pag_rand_below(0x7FFFFFFFU) + 1;
}

const char *pag_actor_of(const struct pag_call *call)
{
    return call->scope.actor != NULL ? call->scope.actor : "system";
}

enum pag_err pag_device_event(struct pag_store_tx *tx, const struct pag_device *d, const char *type,
                              const char *actor)
{
    const struct pag_field field[] = { PAG_F_STR("state", pag_device_state_word(d->state)),
                                       PAG_F_STR("why", d->why),
                                       PAG_F_STR("version", d->facts.version.value) };
    const struct pag_event_in event = {
        .type = type, .product = d->product, .device = d->id, .actor = actor, .field = field, .field_n = 3
    };
    return pag_store_event_add(tx, &event);
}

static const char *const action_types[] = { "action.offered",    "action.downloading", "action.downloaded",
                                            "action.installing", "action.rebooting",   "action.confirmed",
                                            "action.failed",     "action.reverted",    "action.deferred",
                                            "action.rejected",   "action.cancelled" };

enum pag_err pag_action_event(struct pag_store_tx *tx, const struct pag_action *a)
{
    const struct pag_field field[] = {
        PAG_F_U64("action", a->id),       PAG_F_STR("release", a->release),
        PAG_F_STR("version", a->version), PAG_F_U64("progress", a->progress_pct),
        PAG_F_I64("code", a->code),       PAG_F_STR("text", a->text)
    };
    const struct pag_event_in event = { .type = action_types[a->state],
                                        .product = a->product,
                                        .device = a->device,
                                        .actor = "device",
                                        .field = field,
                                        .field_n = 6 };
    return pag_store_event_add(tx, &event);
}
