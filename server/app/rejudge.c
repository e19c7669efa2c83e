#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"
#include "server/store/rows_sweep.h"

/*
 * What is published decides which state a device shows, also before it asks again. Everything happens inside
 * intents, device by device with what the writer sees, so that no check-in is overtaken; what is left when
 * the process ends is found again (table rejudge).
 */
enum { AT_ONCE = 100, ROUNDS_MAX = 20, ARENA_BYTES = 4 << 20 };

struct judging {
    struct pag_store_tx *tx;
    struct pag_db *db;
    struct pag_arena *arena;
    const struct pag_catalog *catalog;
    int64_t now_ms;
};

static bool is_published(const struct pag_catalog *c, const char *release)
{
    for (size_t i = 0; i < c->release_n; i++) {
        if (strcmp(c->release[i].release->id, release) == 0) {
            return c->release[i].release->state == PAG_RELEASE_PUBLISHED;
        }
    }
    return false;
}

/* An offer of what was withdrawn ends, unless the device has the whole image already. */
static enum pag_err end_withdrawn(const struct judging *j, struct pag_device *d, struct pag_action *a)
{
    bool early = a->state == PAG_REPORT_OFFERED || a->state == PAG_REPORT_DEFERRED ||
                 a->state == PAG_REPORT_DOWNLOADING;
    if (!early || is_published(j->catalog, a->release)) {
        return PAG_OK;
    }
    a->state = PAG_REPORT_CANCELLED;
    a->changed_ms = j->now_ms;
    (void)pag_text_copy(a->text, sizeof a->text, pag_span_str("The release was withdrawn."));
    d->open_action = 0;
    enum pag_err err = pag_action_update(j->db, a);
    return err == PAG_OK ? pag_action_event(j->tx, a) : err;
}

static enum pag_err judge_with(const struct judging *j, struct pag_device *d, const struct pag_action *action)
{
    struct pag_device_image *held = NULL;
    struct pag_plan plan;
    size_t n = 0;
    char why[PAG_WHY_MAX + 1];
    enum pag_err err = d->images_held > 0 ? pag_device_image_list(j->db, j->arena, d->id, &held, &n) : PAG_OK;
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_plan_in in = { .catalog = j->catalog,
                                    .device = d,
                                    .image = held,
                                    .image_n = n,
                                    .slot = "firmware",
                                    .now_unix_s = (uint64_t)j->now_ms / 1000 };
    pag_plan_next(&in, &plan);
    pag_plan_sentence(&plan, why);
    bool offer = plan.reason == PAG_PLAN_OFFER;
    bool quiet = pag_plan_is_quiet(plan.reason);
    const struct pag_release *r = offer ? plan.release->release : NULL;
    const struct pag_device_view view = { .device = d,
                                          .action = d->open_action != 0 || !quiet ? action : NULL,
                                          .blocked = plan.history,
                                          .plan_why = offer ? "" : why,
                                          .up_to_date = quiet,
                                          .due_version = offer ? r->version : NULL,
                                          .due_sha256 = offer ? r->image[plan.image].sha256 : NULL };
    d->state = pag_device_judge(&view, d->why);
    return offer ? pag_secureesp_tell(j->tx, j->arena, d) : PAG_OK;
}

static enum pag_err judge_one(const struct judging *j, struct pag_device *d)
{
    const struct pag_device before = *d;
    struct pag_action action;
    /* Who has never asked is new; who is revoked stays so. */
    if (d->revoked_ms != 0 || d->protocol == PAG_PROTOCOL_UNKNOWN) {
        return PAG_OK;
    }
    enum pag_err err = d->open_action != 0 ? pag_action_get(j->db, d->open_action, &action)
                                           : pag_action_last(j->db, d->id, &action);
    bool any = err == PAG_OK;
    if (any && d->open_action != 0) {
        err = end_withdrawn(j, d, &action);
    }
    if (err == PAG_OK || err == PAG_E_NOT_FOUND) {
        err = judge_with(j, d, any ? &action : NULL);
    }
    bool moved = d->state != before.state || d->open_action != before.open_action;
    if (err != PAG_OK || (!moved && strcmp(d->why, before.why) == 0)) {
        return err;
    }
    err = pag_device_update(j->db, d);
    return err == PAG_OK && d->state != before.state ? pag_device_event(j->tx, d, "device.state", "system")
                                                     : err;
}

static enum pag_err judge_page(const struct judging *j, struct pag_rejudge *r, bool *done)
{
    const struct pag_device_filter f = {
        .product = r->product, .state = -1, .after = r->after, .limit = AT_ONCE
    };
    struct pag_device *list = NULL;
    size_t n = 0;
    enum pag_err err = pag_device_list(j->db, j->arena, &f, &list, &n);
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        err = judge_one(j, &list[i]);
    }
    *done = n < AT_ONCE;
    if (n > 0) {
        memcpy(r->after, list[n - 1].id, sizeof r->after);
    }
    return err == PAG_OK ? pag_rejudge_put(j->db, r, *done) : err;
}

enum pag_err pag_rejudge_want(struct pag_store_tx *tx, const char *product)
{
    return pag_rejudge_begin(pag_store_tx_db(tx), product);
}

enum pag_err pag_rejudge_some(struct pag_store_tx *tx, struct pag_app *app, bool *more)
{
    struct pag_rejudge r;
    struct judging j = { .tx = tx, .db = pag_store_tx_db(tx), .now_ms = pag_store_tx_now(tx) };
    bool done = false;
    *more = false;
    enum pag_err err = pag_rejudge_next(j.db, &r);
    if (err == PAG_E_NOT_FOUND) {
        return PAG_OK;
    }
    err = err == PAG_OK ? pag_store_tx_catalog(tx, r.product, &j.catalog) : err;
    if (err == PAG_E_BUSY) { /* published in this group: its catalog comes with the commit */
        *more = true;
        return PAG_OK;
    }
    j.arena = err == PAG_OK ? pag_arena_open(app->pool, ARENA_BYTES) : NULL;
    if (err != PAG_OK || j.arena == NULL) {
        return err != PAG_OK ? err : PAG_E_NO_MEMORY;
    }
    err = judge_page(&j, &r, &done);
    pag_arena_close(j.arena);
    if (err == PAG_OK && done) {
        err = pag_rejudge_next(j.db, &r);
        *more = err == PAG_OK;
        return err == PAG_E_NOT_FOUND ? PAG_OK : err;
    }
    *more = err == PAG_OK;
    return err;
}

/* ---- right after a change ---- */

struct after_change {
    struct pag_op op;
    struct pag_op *change;
    unsigned rounds;
    bool more;
};

static enum pag_err apply_some(struct pag_store_tx *tx, struct pag_op *op)
{
    struct after_change *c = op->data;
    return pag_rejudge_some(tx, op->call->thread->app, &c->more);
}

static void judged(struct pag_op *op, enum pag_err err)
{
    struct after_change *c = op->data;
    if (err == PAG_OK && c->more && ++c->rounds < ROUNDS_MAX) {
        pag_op_submit(op, apply_some);
        return;
    }
    op->call->done(op->call, PAG_OK);
}

void pag_rejudge_then_done(struct pag_op *op, enum pag_err err)
{
    struct after_change *c = err == PAG_OK ? pag_arena_alloc(op->call->arena, sizeof *c) : NULL;
    if (c == NULL) {
        op->call->done(op->call, err);
        return;
    }
    c->op.call = op->call;
    c->op.data = c;
    c->op.after = judged;
    c->change = op;
    pag_op_submit(&c->op, apply_some);
}
