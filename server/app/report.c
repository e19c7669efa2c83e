#include "server/app/report.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/check_in.h"
#include "server/app/op.h"
#include "server/store/rows_sweep.h"

enum { DATA_TOPICS_MAX = 64, TOPIC_MAX = 128, PAYLOAD_MAX = 64 << 10, STATUS_MAX = 8 << 10 };

/* ---- actions ---- */

static enum pag_err remember(struct pag_store_tx *tx, struct pag_device *d, const struct pag_action *final)
{
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device_image h;
    memset(&h, 0, sizeof h);
    if (final->state == PAG_REPORT_CANCELLED) {
        return PAG_OK;
    }
    enum pag_err err = pag_device_image_get(db, d->id, final->target, &h);
    if (err == PAG_E_NOT_FOUND) {
        memcpy(h.device, d->id, sizeof h.device);
        memcpy(h.sha256, final->target, sizeof h.sha256);
        memcpy(h.version, final->version, sizeof h.version);
        d->images_held++;
        err = PAG_OK;
    }
    if (err == PAG_OK) {
        pag_history_outcome(&h, final, d->protocol == PAG_PROTOCOL_NATIVE, pag_store_tx_now(tx));
        err = pag_device_image_put(db, &h);
    }
    return err;
}

static void confirm(struct pag_device *d, const struct pag_action *a, int64_t now_ms)
{
    struct pag_facts said;
    memset(&said, 0, sizeof said);
    said.running.source = PAG_SAID;
    memcpy(said.running.value, a->target, sizeof said.running.value);
    said.version.source = PAG_SAID;
    memcpy(said.version.value, a->version, sizeof a->version);
    (void)pag_device_learn(d, &said, now_ms);
}

/* What it went back to is known from when the update was offered. */
static enum pag_err go_back(struct pag_store_tx *tx, struct pag_device *d, const struct pag_action *a)
{
    char version[PAG_VERSION_MAX + 1] = "";
    struct pag_device_origin origin = { .version = version };
    memcpy(origin.sha256, a->from, sizeof origin.sha256);
    enum pag_err err =
        pag_release_of_image(pag_store_tx_db(tx), d->product, a->from, version, &origin.sequence);
    if (err == PAG_OK || err == PAG_E_NOT_FOUND) {
        pag_device_went_back(d, a->target, &origin, pag_store_tx_now(tx));
        err = PAG_OK;
    }
    return err;
}

static void count_final(struct pag_app *app, enum pag_report_state s)
{
    if (s == PAG_REPORT_CONFIRMED) {
        PAG_COUNT(app, confirmed);
    } else if (s == PAG_REPORT_REVERTED) {
        PAG_COUNT(app, reverted);
    } else if (s == PAG_REPORT_FAILED || s == PAG_REPORT_REJECTED) {
        PAG_COUNT(app, failed);
    }
}

enum pag_err pag_settle_device(struct pag_store_tx *tx, struct pag_op *op, struct pag_device *d,
                               const struct pag_action *a)
{
    enum pag_device_state before = d->state;
    enum pag_err err = PAG_OK;
    if (pag_action_final(a->state)) {
        d->open_action = 0;
        err = remember(tx, d, a);
    }
    if (a->state == PAG_REPORT_CONFIRMED) {
        confirm(d, a, pag_store_tx_now(tx));
    } else if (err == PAG_OK && (a->state == PAG_REPORT_REVERTED || a->state == PAG_REPORT_FAILED)) {
        err = go_back(tx, d, a);
    }
    const struct pag_device_view view = {
        .device = d, .action = a, .plan_why = "", .up_to_date = a->state == PAG_REPORT_CONFIRMED
    };
    d->state = pag_device_judge(&view, d->why);
    if (err == PAG_OK) {
        err = pag_device_update(pag_store_tx_db(tx), d);
    }
    if (err == PAG_OK && d->state != before) {
        err = pag_device_event(tx, d, "device.state", "device");
    }
    (void)op;
    return err;
}

static enum pag_err apply_report(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_report_in *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_action a;
    struct pag_action next;
    struct pag_device d;
    struct pag_fail why = { 0 };
    enum pag_report_verdict verdict = PAG_REPORT_DUPLICATE;
    enum pag_err err = pag_action_get(db, in->report.action_id, &a);
    if (err == PAG_OK && strcmp(a.device, in->device) != 0) {
        err = PAG_E_NOT_FOUND;
    }
    if (err == PAG_OK) {
        err = pag_action_report(&a, &in->report, pag_store_tx_now(tx), &next, &verdict, &why);
        op->call->refusal.detail = why.what;
    }
    if (err != PAG_OK || verdict != PAG_REPORT_APPLY) {
        return err;
    }
    err = pag_device_get(db, NULL, a.device, &d);
    err = err == PAG_OK ? pag_action_update(db, &next) : err;
    err = err == PAG_OK ? pag_settle_device(tx, op, &d, &next) : err;
    err = err == PAG_OK ? pag_action_event(tx, &next) : err;
    if (err == PAG_OK) {
        count_final(op->call->thread->app, next.state);
    }
    return err;
}

void pag_app_report(struct pag_call *call, const struct pag_report_in *in)
{
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        PAG_COUNT(call->thread->app, reports);
        pag_store_touch(call->thread->reader, in->device, pag_app_now_ms(call->thread->app), false);
        pag_op_submit(op, apply_report);
    }
}

/* ---- a transfer without reports ---- */

struct transfer {
    struct pag_call call;
    struct pag_arena *arena;
    char device[PAG_DEVICE_ID_MAX + 1];
    char version[PAG_VERSION_MAX + 1];
    struct pag_transfer said;
};

/* The loop breaker counts what the device has got, not what it was offered. */
static enum pag_err count_serve(struct pag_store_tx *tx, const struct pag_transfer *t, struct pag_device *d)
{
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device_image h;
    enum pag_err err = pag_device_image_get(db, d->id, t->sha256, &h);
    if (err == PAG_E_NOT_FOUND) {
        memset(&h, 0, sizeof h);
        memcpy(h.device, d->id, sizeof h.device);
        memcpy(h.sha256, t->sha256, sizeof h.sha256);
        (void)pag_text_copy(h.version, sizeof h.version, pag_span_str(t->version));
        d->images_held++;
        err = PAG_OK;
    }
    if (err == PAG_OK) {
        pag_history_served(&h, pag_store_tx_now(tx));
        err = pag_device_image_put(db, &h);
    }
    return err;
}

/* PAG_E_NOT_FOUND: there is no action that these bytes move on. */
static enum pag_err moved_action(struct pag_db *db, const struct pag_transfer *t, struct pag_action *a)
{
    enum pag_err err = t->action_id != 0 ? pag_action_get(db, t->action_id, a) : PAG_E_NOT_FOUND;
    if (err == PAG_OK && (strcmp(a->device, t->device) != 0 || pag_action_final(a->state) ||
                          memcmp(a->target, t->sha256, sizeof a->target) != 0)) {
        err = PAG_E_NOT_FOUND;
    }
    return err;
}

/* It installs by itself, or it waits to be told. */
static enum pag_report_state has_it_all(const struct pag_device *d)
{
    return d->protocol == PAG_PROTOCOL_SECUREESP ? PAG_REPORT_DOWNLOADED : PAG_REPORT_INSTALLING;
}

static enum pag_err apply_transfer(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_transfer *t = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_action a;
    struct pag_device d;
    enum pag_err err = pag_device_get(db, NULL, t->device, &d);
    if (err == PAG_OK && t->complete) {
        err = count_serve(tx, t, &d);
    }
    if (err != PAG_OK) {
        return err;
    }
    if (t->looked) {
        return PAG_OK;
    }
    err = moved_action(db, t, &a);
    if (err != PAG_OK) {
        return err == PAG_E_NOT_FOUND && t->complete ? pag_device_update(db, &d) : err;
    }
    bool whole = a.state == PAG_REPORT_INSTALLING || a.state == PAG_REPORT_DOWNLOADED;
    if (whole && !t->complete) {
        return PAG_OK; /* of an earlier try, told late */
    }
    if (a.state == PAG_REPORT_INSTALLING && d.protocol == PAG_PROTOCOL_SECUREESP) {
        return pag_device_update(db, &d); /* fetched once more after flash */
    }
    a.state = t->complete ? has_it_all(&d) : PAG_REPORT_DOWNLOADING;
    a.progress_pct = t->complete ? 100 : a.progress_pct;
    a.changed_ms = pag_store_tx_now(tx);
    err = pag_action_update(db, &a);
    err = err == PAG_OK ? pag_settle_device(tx, op, &d, &a) : err;
    return err == PAG_OK ? pag_action_event(tx, &a) : err;
}

static void transfer_done(struct pag_call *call, enum pag_err err)
{
    struct transfer *t = call->user;
    if (err != PAG_OK && err != PAG_E_NOT_FOUND) {
        pag_log_warn(call->thread->app->config.log, "transfer.lost", PAG_F_STR("device", t->device),
                     PAG_F_STR("error", pag_err_word(err)));
    }
    if (t->said.followed && t->said.complete) {
        pag_serve_ended(call->thread->app, t->device, t->said.sha256, err == PAG_OK);
    }
    pag_arena_close(t->arena);
}

bool pag_app_transfer_begins(struct pag_app_thread *thread, const struct pag_transfer *t, uint32_t serves)
{
    return pag_serve_begins(thread->app, t->device, t->sha256, serves);
}

void pag_app_transfer(struct pag_app_thread *thread, const struct pag_transfer *said)
{
    struct pag_arena *arena = pag_arena_open(thread->pool, 1 << 16);
    struct transfer *t = arena != NULL ? pag_arena_alloc(arena, sizeof *t) : NULL;
    bool ok = t != NULL && pag_text_copy(t->device, sizeof t->device, pag_span_str(said->device)) == PAG_OK &&
              pag_text_copy(t->version, sizeof t->version, pag_span_str(said->version)) == PAG_OK;
    if (said->followed && (!ok || !said->complete)) { /* nothing of it will be on record */
        pag_serve_ended(thread->app, said->device, said->sha256, false);
    }
    if (!ok) {
        pag_arena_close(arena);
        return;
    }
    t->arena = arena;
    t->said = *said;
    t->said.device = t->device;
    t->said.version = t->version;
    t->call = (struct pag_call){ .thread = thread, .arena = arena, .done = transfer_done, .user = t };
    struct pag_op *op = pag_op_new(&t->call, &t->said, NULL);
    if (op != NULL) {
        pag_op_submit(op, apply_transfer);
    }
}

/* ---- results of commands ---- */

struct result_in {
    const char *device;
    const struct pag_native_result *result;
};

static void take_result(struct pag_command *c, struct pag_span text)
{
    size_t n = text.n < PAG_COMMAND_RESULT_MAX ? text.n : PAG_COMMAND_RESULT_MAX;
    while (n > 0 && !pag_utf8_ok(pag_span_of(text.p, n))) {
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        c->result[i] = (char)(text.p[i] < 0x20 || text.p[i] == 0x7F ? ' ' : text.p[i]);
    }
    c->result[n] = '\0';
}

enum pag_err pag_command_end(struct pag_store_tx *tx, struct pag_op *op, const char *device,
                             const struct pag_native_result *result)
{
    const struct result_in room = { device, result };
    const struct result_in *in = &room;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_command c;
    struct pag_device d;
    enum pag_err err = pag_command_get(db, op->call->arena, in->result->id, &c);
    if (err == PAG_OK && strcmp(c.device, in->device) != 0) {
        err = PAG_E_NOT_FOUND;
    }
    if (err != PAG_OK || (c.state != PAG_COMMAND_QUEUED && c.state != PAG_COMMAND_SENT)) {
        return err;
    }
    c.state = in->result->code == 0 ? PAG_COMMAND_DONE : PAG_COMMAND_FAILED;
    c.code = in->result->code;
    c.done_ms = pag_store_tx_now(tx);
    take_result(&c, in->result->text);
    err = pag_command_update(db, &c);
    if (err == PAG_OK) {
        err = pag_device_get(db, NULL, c.device, &d);
        d.commands_queued -= err == PAG_OK && d.commands_queued > 0;
        err = err == PAG_OK ? pag_device_update(db, &d) : err;
    }
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_field field[] = { PAG_F_U64("command", c.id),
                                       PAG_F_STR("kind", pag_command_kind_word(c.kind)),
                                       PAG_F_I64("code", c.code), PAG_F_STR("text", c.result) };
    const struct pag_event_in event = { .type =
                                            c.state == PAG_COMMAND_DONE ? "command.done" : "command.failed",
                                        .product = c.product,
                                        .device = c.device,
                                        .actor = "device",
                                        .field = field,
                                        .field_n = 4 };
    return pag_store_event_add(tx, &event);
}

static enum pag_err apply_result(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct result_in *in = op->in;
    return pag_command_end(tx, op, in->device, in->result);
}

void pag_app_command_result(struct pag_call *call, const char *device, const struct pag_native_result *result)
{
    struct result_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        in->device = device;
        in->result = result;
        pag_op_submit(op, apply_result);
    }
}

/* ---- status, data, presence ---- */

enum pag_err pag_status_keep(struct pag_store_tx *tx, const struct pag_status_in *in)
{
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device d;
    enum pag_err err = pag_device_get(db, NULL, in->device, &d);
    if (err == PAG_OK) {
        err = pag_status_put(db, in->device, in->json, pag_store_tx_now(tx));
    }
    if (err == PAG_OK && !in->retained && !d.online) {
        err = pag_device_online(db, in->device, true, pag_store_tx_now(tx));
        d.online = true;
        err = err == PAG_OK ? pag_device_event(tx, &d, "device.online", "device") : err;
    }
    return err;
}

static enum pag_err apply_status(struct pag_store_tx *tx, struct pag_op *op)
{
    return pag_status_keep(tx, op->in);
}

void pag_app_status_in(struct pag_call *call, const struct pag_status_in *in)
{
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op == NULL) {
        return;
    }
    if (in->json.n > STATUS_MAX) {
        call->done(call, PAG_E_LIMIT);
        return;
    }
    PAG_COUNT(call->thread->app, status);
    if (!in->retained) {
        pag_store_touch(call->thread->reader, in->device, pag_app_now_ms(call->thread->app), false);
    }
    pag_op_submit(op, apply_status);
}

struct data_in {
    const char *device, *topic;
    struct pag_span payload;
};

static enum pag_err apply_data(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct data_in *in = op->in;
    return pag_data_put(pag_store_tx_db(tx), in->device, in->topic, in->payload, pag_store_tx_now(tx),
                        DATA_TOPICS_MAX);
}

void pag_app_data_in(struct pag_call *call, const char *device, const char *topic, struct pag_span payload)
{
    struct data_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op == NULL) {
        return;
    }
    struct pag_span t = pag_span_str(topic);
    if (t.n == 0 || t.n > TOPIC_MAX || payload.n > PAYLOAD_MAX || !pag_utf8_ok(t)) {
        call->done(call, t.n == 0 || !pag_utf8_ok(t) ? PAG_E_SYNTAX : PAG_E_LIMIT);
        return;
    }
    in->device = device;
    in->topic = topic;
    in->payload = payload;
    PAG_COUNT(call->thread->app, data);
    pag_store_touch(call->thread->reader, device, pag_app_now_ms(call->thread->app), false);
    pag_op_submit(op, apply_data);
}

struct presence_in {
    const char *device;
    bool online;
};

static enum pag_err apply_presence(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct presence_in *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device d;
    enum pag_err err = pag_device_get(db, NULL, in->device, &d);
    if (err != PAG_OK || d.online == in->online) {
        return err;
    }
    err = pag_device_online(db, in->device, in->online, pag_store_tx_now(tx));
    return err == PAG_OK ? pag_device_event(tx, &d, in->online ? "device.online" : "device.offline", "device")
                         : err;
}

void pag_app_presence(struct pag_call *call, const char *device, bool online)
{
    struct presence_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        in->device = device;
        in->online = online;
        pag_op_submit(op, apply_presence);
    }
}

static enum pag_err apply_unknown(struct pag_store_tx *tx, struct pag_op *op)
{
    int64_t n = 0;
    (void)op;
    enum pag_err err = pag_sweep_presence(pag_store_tx_db(tx), pag_store_tx_now(tx), &n);
    const struct pag_field field[] = { PAG_F_I64("devices", n) };
    const struct pag_event_in event = {
        .type = "presence.unknown", .actor = "system", .field = field, .field_n = 1
    };
    return err == PAG_OK && n > 0 ? pag_store_event_add(tx, &event) : err;
}

static void unknown_done(struct pag_call *call, enum pag_err err)
{
    if (err != PAG_OK) {
        pag_log_error(call->thread->app->config.log, "presence.not_forgotten",
                      PAG_F_STR("error", pag_err_word(err)));
    }
    pag_arena_close(call->arena);
}

void pag_app_presence_unknown(struct pag_app_thread *thread)
{
    struct pag_arena *arena = pag_arena_open(thread->pool, 1 << 14);
    struct pag_call *call = arena != NULL ? pag_arena_alloc(arena, sizeof *call) : NULL;
    if (call == NULL) {
        pag_arena_close(arena);
        return;
    }
    *call = (struct pag_call){ .thread = thread, .arena = arena, .done = unknown_done };
    struct pag_op *op = pag_op_new(call, call, NULL);
    if (op != NULL) {
        pag_op_submit(op, apply_unknown);
    }
}
