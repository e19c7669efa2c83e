#include <string.h>

#include "core/bytes.h"
#include "server/app/image_check.h"
#include "server/app/op.h"
#include "server/app/release_view.h"
#include "server/app/strand.h"

enum { TRIES_MAX = 4 };

/* One publishing or withdrawing. */
struct change {
    bool publish;
    struct pag_strand strand;
    uint64_t generation; /* of the catalog that strand holds for */
    int tries;
};

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

/* What was found out about devices holds no more when something of the product has changed since. */
static enum pag_err still_holds(struct pag_store_tx *tx, const struct pag_op *op, const char *product)
{
    const struct change *c = op->data;
    const struct pag_catalog *now = NULL;
    enum pag_err err = pag_store_tx_catalog(tx, product, &now);
    bool moved = err == PAG_E_BUSY || (err == PAG_OK && now->generation != c->generation);
    return moved ? PAG_E_AGAIN : err;
}

static enum pag_err audit_strand(struct pag_store_tx *tx, const struct pag_op *op,
                                 const struct pag_release *r)
{
    const struct pag_publish_in *in = op->in;
    const struct change *c = op->data;
    if (c->strand.total == 0) {
        return PAG_OK;
    }
    const struct pag_field field[] = { PAG_F_STR("release", r->id), PAG_F_STR("version", r->version),
                                       PAG_F_U64("devices", c->strand.total),
                                       PAG_F_STR("first", c->strand.device[0].id),
                                       PAG_F_STR("reason", in->strand_anyway) };
    const struct pag_event_in event = { .type = "release.strands",
                                        .product = r->product,
                                        .actor = pag_actor_of(op->call),
                                        .field = field,
                                        .field_n = 5 };
    return pag_store_audit_add(tx, &event, r->id);
}

static enum pag_err publish(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_publish_in *in = op->in;
    struct pag_release_view *out = op->out;
    struct pag_release *r = &out->release;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_product p;
    struct pag_gate gate = { .n = 0 };
    enum pag_err err = pag_find_release(op->call, db, in->release, r);
    err = err == PAG_OK ? pag_product_get(db, r->product, &p) : err;
    if (err != PAG_OK) {
        return err;
    }
    if (r->state == PAG_RELEASE_PUBLISHED) {
        return pag_release_show(op->call, db, in->release, out);
    }
    err = still_holds(tx, op, p.id);
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_release *newest = newest_published(op->call, db, p.id, r->id, &err);
    if (err != PAG_OK) {
        return err;
    }
    pag_release_gate_publish(&p, r, newest, &gate);
    err = pag_signatures_gate(op->call, db, r, &gate);
    if (err != PAG_OK) {
        return err;
    }
    if (gate.n > 0) {
        return refuse_publish(op->call, &gate);
    }
    r->state = PAG_RELEASE_PUBLISHED;
    r->published_ms = pag_store_tx_now(tx);
    err = pag_release_update(db, r);
    pag_store_tx_dirty(tx, p.id);
    err = err == PAG_OK ? pag_rejudge_want(tx, p.id) : err;
    err = err == PAG_OK ? pag_release_audit(tx, op, r, "release.published") : err;
    err = err == PAG_OK ? audit_strand(tx, op, r) : err;
    return err == PAG_OK ? pag_release_show(op->call, db, in->release, out) : err;
}

static enum pag_err withdraw(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_release_view *out = op->out;
    struct pag_release *r = &out->release;
    const struct pag_publish_in *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = pag_find_release(op->call, db, in->release, r);
    if (err != PAG_OK || r->state == PAG_RELEASE_WITHDRAWN) {
        return err == PAG_OK ? pag_release_show(op->call, db, in->release, out) : err;
    }
    err = still_holds(tx, op, r->product);
    if (err != PAG_OK) {
        return err;
    }
    r->state = PAG_RELEASE_WITHDRAWN;
    r->withdrawn_ms = pag_store_tx_now(tx);
    err = pag_release_update(db, r);
    pag_store_tx_dirty(tx, r->product);
    err = err == PAG_OK ? pag_rejudge_want(tx, r->product) : err;
    err = err == PAG_OK ? pag_release_audit(tx, op, r, "release.withdrawn") : err;
    err = err == PAG_OK ? audit_strand(tx, op, r) : err;
    return err == PAG_OK ? pag_release_show(op->call, db, in->release, out) : err;
}

static void begin(struct pag_op *op);

static void changed(struct pag_op *op, enum pag_err err)
{
    struct change *c = op->data;
    if (err == PAG_E_AGAIN && ++c->tries < TRIES_MAX) {
        begin(op);
        return;
    }
    pag_rejudge_then_done(op, err == PAG_E_AGAIN ? PAG_E_BUSY : err);
}

static void begin(struct pag_op *op)
{
    const struct pag_publish_in *in = op->in;
    struct change *c = op->data;
    struct pag_call *call = op->call;
    struct pag_release *r = pag_arena_alloc(call->arena, sizeof *r);
    enum pag_err err = r != NULL ? pag_find_release(call, call->thread->db, in->release, r) : PAG_E_NO_MEMORY;
    err = err == PAG_OK ? pag_strand_find(call, r, c->publish, &c->strand, &c->generation) : err;
    if (err == PAG_OK && c->strand.total > 0 && in->strand_anyway == NULL) {
        err = pag_strand_refuse(call, r, c->publish, &c->strand);
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    op->after = changed;
    pag_op_submit(op, c->publish ? publish : withdraw);
}

static void start(struct pag_call *call, const struct pag_publish_in *in, struct pag_release_view *out,
                  bool is_publish)
{
    struct pag_op *op = pag_op_new(call, in, out);
    struct change *c = op != NULL ? pag_arena_alloc(call->arena, sizeof *c) : NULL;
    if (op != NULL && c == NULL) {
        call->done(call, PAG_E_NO_MEMORY);
    } else if (op != NULL) {
        c->publish = is_publish;
        op->data = c;
        begin(op);
    }
}

void pag_app_publish(struct pag_call *call, const struct pag_publish_in *in, struct pag_release_view *out)
{
    start(call, in, out, true);
}

void pag_app_withdraw(struct pag_call *call, const struct pag_publish_in *in, struct pag_release_view *out)
{
    start(call, in, out, false);
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
    struct pag_plan_release candidate;
    memset(out, 0, sizeof *out);
    if (rel == NULL || r == NULL) {
        return PAG_E_NO_MEMORY;
    }
    enum pag_err err = pag_find_release(call, call->thread->db, release, rel);
    err = err == PAG_OK ? pag_release_candidate(call->arena, rel, &candidate) : err;
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
