#include "server/app/devices.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"

/* ---- showing ---- */

static void wanted(struct pag_call *call, const struct pag_catalog *c, struct pag_device_row *row,
                   struct pag_device_image *held, size_t n)
{
    const struct pag_plan_in in = { .catalog = c,
                                    .device = &row->device,
                                    .image = held,
                                    .image_n = n,
                                    .slot = "firmware",
                                    .now_unix_s = (uint64_t)pag_app_now_ms(call->thread->app) / 1000 };
    struct pag_plan plan;
    pag_plan_next(&in, &plan);
    if (plan.reason == PAG_PLAN_OFFER) {
        row->wanted_version = pag_arena_text(call->arena, pag_span_str(plan.release->release->version));
        row->wanted_release = pag_arena_text(call->arena, pag_span_str(plan.release->release->id));
    }
}

static enum pag_err complete(struct pag_call *call, struct pag_device_row *row)
{
    struct pag_db *db = call->thread->db;
    struct pag_device *d = &row->device;
    struct pag_device_image *held = NULL;
    size_t n = 0;
    enum pag_err err = pag_action_last(db, d->id, &row->action);
    row->has_action = err == PAG_OK;
    if (err == PAG_OK || err == PAG_E_NOT_FOUND) {
        err = pag_device_image_list(db, call->arena, d->id, &held, &n);
    }
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_catalog *c = pag_store_catalog(call->thread->reader, d->product);
    if (c != NULL) {
        row->product_name = pag_arena_text(call->arena, pag_span_str(c->product.name));
        wanted(call, c, row, held, n);
        int64_t quiet_ms = pag_app_now_ms(call->thread->app) - d->last_seen_ms;
        uint32_t poll_s = c->product.settings.poll_s != 0 ? c->product.settings.poll_s
                                                          : pag_app_shown(call->thread->app).poll_s;
        row->stale =
            d->revoked_ms == 0 && d->last_seen_ms > 0 && quiet_ms > pag_device_stale_after_ms(poll_s);
        /* Who only polls is there as long as it polls; whose broker has said that it went, once it polls
         * again. */
        bool polls =
            pag_protocol_polls(d->protocol) && d->last_seen_ms > 0 && d->last_poll_ms >= d->online_ms;
        d->online = d->online || (polls && !row->stale);
    }
    for (size_t i = 0; i < n; i++) {
        if (held[i].blocked) {
            held[row->blocked_n++] = held[i];
        }
    }
    row->blocked = held;
    return PAG_OK;
}

enum pag_err pag_app_device(struct pag_call *call, const char *id, struct pag_device_row *out)
{
    memset(out, 0, sizeof *out);
    enum pag_err err = pag_find_device(call, call->thread->db, id, &out->device);
    return err == PAG_OK ? complete(call, out) : err;
}

enum pag_err pag_app_devices(struct pag_call *call, const struct pag_device_query *q,
                             struct pag_device_list *out)
{
    struct pag_db *db = call->thread->db;
    struct pag_product p;
    struct pag_device *rows = NULL;
    struct pag_device_filter f = { .product = call->scope.product != NULL ? call->scope.product : "",
                                   .state = -1,
                                   .shown = pag_app_shown(call->thread->app),
                                   .version = q->version,
                                   .prefix = q->q,
                                   .after = q->after != NULL ? q->after : "",
                                   .limit = q->limit >= 1 && q->limit <= 1000 ? q->limit : 100 };
    memset(out, 0, sizeof *out);
    enum pag_err err = PAG_OK;
    if (q->product != NULL) {
        err = pag_find_product(call, db, q->product, &p);
        f.product = p.id;
    }
    if (err == PAG_OK && q->state != NULL) {
        enum pag_device_state state = PAG_DEVICE_NEW;
        err = pag_device_state_by_word(pag_span_str(q->state), &state);
        f.state = (int)state;
    }
    err = err == PAG_OK ? pag_device_list(db, call->arena, &f, &rows, &out->n) : err;
    err = err == PAG_OK ? pag_device_total(db, &f, &out->total) : err;
    if (err != PAG_OK) {
        return err;
    }
    out->item = pag_arena_alloc(call->arena, (out->n + 1) * sizeof *out->item);
    for (size_t i = 0; i < out->n && err == PAG_OK; i++) {
        if (out->item == NULL) {
            return PAG_E_NO_MEMORY;
        }
        out->item[i].device = rows[i];
        err = complete(call, &out->item[i]);
    }
    out->next = err == PAG_OK && out->n == f.limit ? rows[out->n - 1].id : NULL;
    return err;
}

enum pag_err pag_app_device_history(struct pag_call *call, const struct pag_history_query *q,
                                    struct pag_event **list, size_t *n, uint64_t *total)
{
    struct pag_device d;
    enum pag_err err = pag_find_device(call, call->thread->db, q->device, &d);
    const struct pag_event_page page = { .device = q->device,
                                         .before = q->before,
                                         .limit = q->limit >= 1 && q->limit <= 1000 ? q->limit : 100 };
    struct pag_db *db = call->thread->db;
    err = err == PAG_OK ? pag_event_of_device(db, call->arena, &page, list, n) : err;
    return err == PAG_OK ? pag_event_total_of_device(db, q->device, total) : err;
}

enum pag_err pag_app_device_data(struct pag_call *call, const char *id, struct pag_device_data *out)
{
    struct pag_db *db = call->thread->db;
    struct pag_device d;
    struct pag_datum *rows = NULL;
    memset(out, 0, sizeof *out);
    enum pag_err err = pag_find_device(call, db, id, &d);
    err = err == PAG_OK ? pag_status_get(db, call->arena, id, &out->status, &out->status_ms) : err;
    if (err != PAG_OK && (err != PAG_E_NOT_FOUND || call->refusal.code != NULL)) {
        return err;
    }
    err = pag_data_list(db, call->arena, id, &rows, &out->n);
    out->datum = err == PAG_OK ? pag_arena_alloc(call->arena, (out->n + 1) * sizeof *out->datum) : NULL;
    if (out->datum == NULL) {
        return err != PAG_OK ? err : PAG_E_NO_MEMORY;
    }
    for (size_t i = 0; i < out->n; i++) {
        out->datum[i] = (struct pag_device_datum){ rows[i].topic, rows[i].at_ms, rows[i].payload };
    }
    return PAG_OK;
}

enum pag_err pag_app_device_ids(struct pag_call *call, const char *product, const char *after, uint32_t limit,
                                char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n)
{
    const struct pag_device_filter f = { .product = product,
                                         .after = after != NULL ? after : "",
                                         .limit = limit };
    return pag_device_ids(call->thread->db, call->arena, &f, list, n);
}

/* ---- changing ---- */

struct device_in {
    const char *id;
    const struct pag_device_patch *patch;
    const char *reason;
};

static enum pag_err audit(struct pag_store_tx *tx, const struct pag_op *op, const struct pag_device *d,
                          const char *type, const char *text)
{
    const struct pag_field field[] = { PAG_F_STR("text", text), PAG_F_STR("name", d->name),
                                       PAG_F_STR("pin", d->pin),
                                       PAG_F_HEX("serial", pag_span_of(d->cert_serial, d->cert_serial_n)) };
    const struct pag_event_in event = { .type = type,
                                        .product = d->product,
                                        .device = d->id,
                                        .actor = pag_actor_of(op->call),
                                        .field = field,
                                        .field_n = 4 };
    return pag_store_audit_add(tx, &event, d->id);
}

bool pag_device_tags_ok(struct pag_span tags)
{
    size_t run = 0;
    for (size_t i = 0; i < tags.n; i++) {
        uint8_t c = tags.p[i];
        bool word =
            (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == ':';
        if (!word && (c != ',' || run == 0)) {
            return false;
        }
        run = word ? run + 1 : 0;
        if (run > 32) {
            return false;
        }
    }
    return tags.n <= 1024 && (tags.n == 0 || run > 0);
}

bool pag_device_name_ok(struct pag_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x20 || s.p[i] == 0x7F) {
            return false;
        }
    }
    return s.n <= PAG_NAME_MAX && pag_utf8_ok(s);
}

static enum pag_err apply_patch(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct device_in *in = op->in;
    struct pag_device_row *out = op->out;
    struct pag_device *d = &out->device;
    enum pag_err err = pag_find_device(op->call, pag_store_tx_db(tx), in->id, d);
    if (err != PAG_OK) {
        return err;
    }
    if (in->patch->name != NULL) {
        (void)pag_text_copy(d->name, sizeof d->name, pag_span_str(in->patch->name));
    }
    if (in->patch->pin != NULL) {
        (void)pag_text_copy(d->pin, sizeof d->pin, pag_span_str(in->patch->pin));
    }
    d->tags = in->patch->tags != NULL ? in->patch->tags : d->tags;
    err = pag_device_update(pag_store_tx_db(tx), d);
    return err == PAG_OK ? audit(tx, op, d, "device.changed", d->tags) : err;
}

static void patched(struct pag_op *op, enum pag_err err)
{
    const struct device_in *in = op->in;
    if (err == PAG_OK) {
        err = pag_app_device(op->call, in->id, op->out);
    }
    op->call->done(op->call, err);
}

void pag_app_device_patch(struct pag_call *call, const char *id, const struct pag_device_patch *patch,
                          struct pag_device_row *out)
{
    enum pag_err err = PAG_OK;
    if (patch->name != NULL && !pag_device_name_ok(pag_span_str(patch->name))) {
        err = pag_refuse_field(call, "/name", "at most 64 bytes without control characters");
    }
    if (patch->tags != NULL && !pag_device_tags_ok(pag_span_str(patch->tags))) {
        err = pag_refuse_field(call, "/tags", "each 1 to 32 of a-z, 0-9 and -_.:");
    }
    if (patch->pin != NULL && patch->pin[0] != '\0' && pag_span_str(patch->pin).n > PAG_VERSION_MAX) {
        err = pag_refuse_field(call, "/pin", "at most 32 characters");
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    struct device_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        *in = (struct device_in){ .id = id, .patch = patch };
        op->after = patched;
        pag_op_submit(op, apply_patch);
    }
}

static enum pag_err revoke(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct device_in *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device d;
    struct pag_cert_row *cert = NULL;
    struct pag_action a;
    size_t n = 0;
    int64_t now = pag_store_tx_now(tx);
    enum pag_err err = pag_find_device(op->call, db, in->id, &d);
    if (err != PAG_OK || d.revoked_ms != 0) {
        return err;
    }
    err = pag_cert_list(db, op->call->arena, &(struct pag_cert_filter){ .device = in->id, .product = "" },
                        1000, &cert, &n);
    for (size_t i = 0; i < n; i++) {
        pag_store_tx_deny(tx, cert[i].serial, cert[i].serial_n);
    }
    err = err == PAG_OK ? pag_cert_revoke(db, in->id, now) : err;
    if (err == PAG_OK && d.open_action != 0 && pag_action_get(db, d.open_action, &a) == PAG_OK) {
        a.state = PAG_REPORT_CANCELLED;
        a.changed_ms = now;
        d.open_action = 0;
        err = pag_action_update(db, &a);
        err = err == PAG_OK ? pag_action_event(tx, &a) : err;
    }
    d.revoked_ms = now;
    d.online = false;
    const struct pag_device_view view = { .device = &d, .plan_why = "" };
    d.state = pag_device_judge(&view, d.why);
    err = err == PAG_OK ? pag_device_update(db, &d) : err;
    return err == PAG_OK ? audit(tx, op, &d, "device.revoked", in->reason) : err;
}

void pag_app_device_revoke(struct pag_call *call, const char *id, const char *reason)
{
    struct device_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        *in = (struct device_in){ .id = id, .reason = reason != NULL ? reason : "" };
        pag_op_submit(op, revoke);
    }
}

static enum pag_err retry(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct device_in *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device d;
    enum pag_err err = pag_find_device(op->call, db, in->id, &d);
    err = err == PAG_OK ? pag_device_image_clear(db, in->id) : err;
    if (err != PAG_OK) {
        return err;
    }
    d.images_held = 0;
    /* What the device keeps off by itself it will say again. */
    memset(&d.facts.last_failed, 0, sizeof d.facts.last_failed);
    if (d.state == PAG_DEVICE_BLOCKED || d.state == PAG_DEVICE_FAILED || d.state == PAG_DEVICE_REVERTED) {
        d.state = PAG_DEVICE_NEW;
        (void)pag_text_copy(d.why, sizeof d.why, pag_span_str("To be judged at the next check."));
    }
    err = pag_device_update(db, &d);
    return err == PAG_OK ? audit(tx, op, &d, "device.retry", "") : err;
}

static void retried(struct pag_op *op, enum pag_err err)
{
    const struct device_in *in = op->in;
    if (err == PAG_OK) {
        pag_serve_forget(op->call->thread->app, in->id);
    }
    op->call->done(op->call, err);
}

void pag_app_device_retry(struct pag_call *call, const char *id)
{
    struct device_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        *in = (struct device_in){ .id = id };
        op->after = retried;
        pag_op_submit(op, retry);
    }
}
