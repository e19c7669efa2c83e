#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"
#include "server/app/release_view.h"

static const struct pag_release *newest_published(struct pag_call *call, struct pag_db *db,
                                                  const char *product, const char *except, enum pag_err *err)
{
    const struct pag_release_filter f = { .product = product,
                                          .state = PAG_RELEASE_PUBLISHED,
                                          .before_ms = INT64_MAX,
                                          .before_id = "",
                                          .limit = 1000 };
    struct pag_release *list = NULL;
    const struct pag_release *newest = NULL;
    size_t n = 0;
    *err = pag_release_list(db, call->arena, &f, &list, &n);
    for (size_t i = 0; *err == PAG_OK && i < n; i++) {
        if (strcmp(list[i].id, except) != 0 && (newest == NULL || list[i].sequence > newest->sequence)) {
            newest = &list[i];
        }
    }
    return newest;
}

static enum pag_err refuse_publish(struct pag_call *call, const struct pag_gate *gate)
{
    struct pag_refusal *r = &call->refusal;
    for (size_t i = 0; i < gate->n && r->error_n < PAG_REFUSAL_ERRORS_MAX; i++) {
        const char *detail = pag_arena_text(call->arena, pag_span_str(gate->finding[i].detail));
        r->error[r->error_n].pointer = gate->finding[i].pointer;
        r->error[r->error_n].code = gate->finding[i].code;
        r->error[r->error_n].detail = detail != NULL ? detail : "";
        r->error_n++;
    }
    return pag_refuse(call, PAG_E_CONDITION, "release-refused", r->error[0].detail);
}

static enum pag_err publish(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_release_view *out = op->out;
    struct pag_release *r = &out->release;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_product p;
    struct pag_gate gate = { .n = 0 };
    enum pag_err err = pag_find_release(op->call, db, op->in, r);
    err = err == PAG_OK ? pag_product_get(db, r->product, &p) : err;
    if (err != PAG_OK) {
        return err;
    }
    if (r->state == PAG_RELEASE_PUBLISHED) {
        return pag_release_show(op->call, db, op->in, out);
    }
    const struct pag_release *newest = newest_published(op->call, db, p.id, r->id, &err);
    if (err != PAG_OK) {
        return err;
    }
    pag_release_gate_publish(&p, r, newest, &gate);
    if (gate.n > 0) {
        return refuse_publish(op->call, &gate);
    }
    r->state = PAG_RELEASE_PUBLISHED;
    r->published_ms = pag_store_tx_now(tx);
    err = pag_release_update(db, r);
    pag_store_tx_dirty(tx, p.id);
    err = err == PAG_OK ? pag_rejudge_want(tx, p.id) : err;
    err = err == PAG_OK ? pag_release_audit(tx, op, r, "release.published") : err;
    return err == PAG_OK ? pag_release_show(op->call, db, op->in, out) : err;
}

static enum pag_err withdraw(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_release_view *out = op->out;
    struct pag_release *r = &out->release;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = pag_find_release(op->call, db, op->in, r);
    if (err != PAG_OK || r->state == PAG_RELEASE_WITHDRAWN) {
        return err == PAG_OK ? pag_release_show(op->call, db, op->in, out) : err;
    }
    r->state = PAG_RELEASE_WITHDRAWN;
    r->withdrawn_ms = pag_store_tx_now(tx);
    err = pag_release_update(db, r);
    pag_store_tx_dirty(tx, r->product);
    err = err == PAG_OK ? pag_rejudge_want(tx, r->product) : err;
    err = err == PAG_OK ? pag_release_audit(tx, op, r, "release.withdrawn") : err;
    return err == PAG_OK ? pag_release_show(op->call, db, op->in, out) : err;
}

void pag_app_publish(struct pag_call *call, const char *release, struct pag_release_view *out)
{
    struct pag_op *op = pag_op_new(call, release, out);
    if (op != NULL) {
        op->after = pag_rejudge_then_done;
        pag_op_submit(op, publish);
    }
}

void pag_app_withdraw(struct pag_call *call, const char *release, struct pag_release_view *out)
{
    struct pag_op *op = pag_op_new(call, release, out);
    if (op != NULL) {
        op->after = pag_rejudge_then_done;
        pag_op_submit(op, withdraw);
    }
}

/* ---- reach ---- */

enum { REACH_SCRATCH = 256 * 1024 }; /* what is held of one device */

struct reach {
    struct pag_call *call;
    struct pag_plan_in in;
    const struct pag_plan_release *candidate;
    struct pag_reach *out;
    enum pag_err err;
    uint32_t count[PAG_PLAN_REASONS];
    char example[PAG_PLAN_REASONS][PAG_DEVICE_ID_MAX + 1];
    char sentence[PAG_PLAN_REASONS][PAG_WHY_MAX + 1];
};

/* One device; what is read of it lives in scratch. */
static enum pag_err reach_in(struct reach *r, const struct pag_device *d, struct pag_arena *scratch)
{
    struct pag_device_image *image = NULL;
    struct pag_plan plan;
    size_t n = 0;
    enum pag_err err = PAG_OK;
    if (d->images_held > 0) {
        err = pag_device_image_list(r->call->thread->db, scratch, d->id, &image, &n);
    }
    if (err != PAG_OK) {
        return err;
    }
    r->in.device = d;
    r->in.image = image;
    r->in.image_n = n;
    enum pag_plan_reason reason = pag_plan_judge(&r->in, r->candidate, &plan);
    r->out->total++;
    if (reason == PAG_PLAN_OFFER) {
        r->out->will_update++;
    } else if (reason == PAG_PLAN_UP_TO_DATE) {
        r->out->up_to_date++;
    } else if (r->count[reason]++ == 0) {
        memcpy(r->example[reason], d->id, sizeof r->example[reason]);
        pag_plan_sentence(&plan, r->sentence[reason]);
    }
    return PAG_OK;
}

static bool reach_one(void *ctx, const struct pag_device *d)
{
    struct reach *r = ctx;
    struct pag_arena *scratch = pag_arena_open(r->call->thread->pool, REACH_SCRATCH);
    r->err = scratch != NULL ? reach_in(r, d, scratch) : PAG_E_NO_MEMORY;
    pag_arena_close(scratch);
    return r->err == PAG_OK;
}

static enum pag_err reach_groups(struct reach *r)
{
    struct pag_arena *arena = r->call->arena;
    r->out->blocked = pag_arena_alloc(arena, PAG_PLAN_REASONS * sizeof *r->out->blocked);
    if (r->out->blocked == NULL) {
        return PAG_E_NO_MEMORY;
    }
    for (int i = 0; i < PAG_PLAN_REASONS; i++) {
        if (r->count[i] == 0) {
            continue;
        }
        struct pag_reach_group *g = &r->out->blocked[r->out->blocked_n++];
        g->reason = pag_plan_reason_word((enum pag_plan_reason)i);
        g->text = pag_arena_text(arena, pag_span_str(r->sentence[i]));
        g->count = r->count[i];
        g->example = pag_arena_text(arena, pag_span_str(r->example[i]));
    }
    return PAG_OK;
}

enum pag_err pag_app_reach(struct pag_call *call, const char *release, struct pag_reach *out)
{
    struct pag_release *rel = pag_arena_alloc(call->arena, sizeof *rel);
    struct reach *r = pag_arena_alloc(call->arena, sizeof *r);
    struct pag_plan_release candidate = { .release = rel };
    memset(out, 0, sizeof *out);
    if (rel == NULL || r == NULL) {
        return PAG_E_NO_MEMORY;
    }
    enum pag_err err = pag_find_release(call, call->thread->db, release, rel);
    for (size_t i = 0; err == PAG_OK && i < rel->image_n; i++) {
        struct pag_manifest *m = rel->manifest[i].n > 0 ? pag_arena_alloc(call->arena, sizeof *m) : NULL;
        if (m != NULL && pag_manifest_parse(rel->manifest[i], m, NULL) == PAG_OK) {
            candidate.manifest[i] = m;
        }
    }
    if (err != PAG_OK) {
        return err;
    }
    r->call = call;
    r->out = out;
    r->candidate = &candidate;
    r->in.catalog = pag_store_catalog(call->thread->reader, rel->product);
    r->in.slot = "firmware";
    r->in.now_unix_s = (uint64_t)pag_app_now_ms(call->thread->app) / 1000;
    if (r->in.catalog == NULL) {
        return PAG_E_NOT_FOUND;
    }
    err = pag_device_walk(call->thread->db, rel->product, reach_one, r);
    err = err == PAG_OK ? r->err : err;
    return err == PAG_OK ? reach_groups(r) : err;
}
