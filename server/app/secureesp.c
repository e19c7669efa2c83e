#include "server/app/secureesp.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/check_in.h"
#include "server/app/op.h"
#include "server/app/report.h"
#include "server/store/rows_dialect.h"
#include "server/store/rows_series.h"
#include "server/store/rows_sweep.h"

enum { COMMANDS_MAX = 100, STEP_TTL_S = 86400, DRAWS_MAX = 8, TRIM_ONE_IN = 64, FAILED_CODE = 1 };

/* One message on its way; in the call's arena. */
struct status {
    const struct pag_secureesp_status *in;
    void (*done)(struct pag_call *call, enum pag_err err);
    void *user;
    struct pag_check_in check;
    struct pag_check_reply reply;
};

/* What the writer has in its hands. */
struct visit {
    struct pag_store_tx *tx;
    struct pag_db *db;
    struct pag_op *op;
    const struct status *st;
    struct pag_device d;
    struct pag_sample last, now;
    bool has_last;
    struct pag_command *command;
    size_t command_n; /* newest first */
    struct pag_action a;
};

/* ---- the sample ---- */

static void unwrap(const struct visit *v, struct pag_sample *s, enum pag_series_field f)
{
    bool restarted = false;
    if ((s->given & (1U << f)) != 0 && v->has_last && (v->last.given & (1U << f)) != 0) {
        s->number[f] = pag_series_unwrap(v->last.number[f], s->at_ms - v->last.at_ms, (uint32_t)s->number[f],
                                         &restarted);
    }
}

static enum pag_err put_sample(struct visit *v)
{
    struct pag_dialect_row row;
    int64_t now = pag_store_tx_now(v->tx);
    enum pag_err err = pag_series_last(v->db, v->d.id, &v->last);
    v->has_last = err == PAG_OK;
    v->now = v->st->in->sample;
    v->now.at_ms = v->has_last && v->last.at_ms >= now ? v->last.at_ms + 1 : now;
    if (err != PAG_OK && err != PAG_E_NOT_FOUND) {
        return err;
    }
    unwrap(v, &v->now, PAG_SERIES_UPTIME);
    unwrap(v, &v->now, PAG_SERIES_MQTT);
    err = pag_series_put(v->db, v->d.id, &v->now, v->has_last ? &v->last : NULL);
    if (err == PAG_OK && pag_make_id31() % TRIM_ONE_IN == 0) {
        err = pag_dialect_of(v->db, v->d.product, &row);
        if (err == PAG_OK && row.series_rows > 0) {
            err = pag_series_trim(v->db, v->d.id, now - (int64_t)row.series_days * 86400000, row.series_rows);
        }
    }
    return err;
}

static enum pag_err tell_message(struct visit *v)
{
    const char *message = pag_secureesp_message(&v->now);
    if (message[0] == '\0' || (v->has_last && strcmp(message, pag_secureesp_message(&v->last)) == 0)) {
        return PAG_OK;
    }
    const struct pag_field field[] = { PAG_F_STR("message", message),
                                       PAG_F_STR("advice", pag_secureesp_advice(message)) };
    const struct pag_event_in event = { .type = "device.message",
                                        .product = v->d.product,
                                        .device = v->d.id,
                                        .actor = "device",
                                        .field = field,
                                        .field_n = 2 };
    return pag_store_event_add(v->tx, &event);
}

/* ---- commands ---- */

static bool is_open(const struct pag_command *c)
{
    return c->state == PAG_COMMAND_QUEUED || c->state == PAG_COMMAND_SENT;
}

/* Newest first. */
static enum pag_err list_commands(struct pag_db *db, struct pag_arena *arena, const char *device,
                                  struct pag_command **list, size_t *n)
{
    const struct pag_command_filter f = { .device = device, .limit = COMMANDS_MAX };
    return pag_command_list(db, arena, &f, list, n);
}

static enum pag_err load_commands(struct visit *v)
{
    return list_commands(v->db, v->op->call->arena, v->d.id, &v->command, &v->command_n);
}

/* The one on its way, NULL: none. */
static struct pag_command *on_its_way(struct pag_command *list, size_t n, int64_t now_ms)
{
    for (size_t i = n; i-- > 0;) {
        if (list[i].state == PAG_COMMAND_SENT && pag_command_state_at(&list[i], now_ms) == PAG_COMMAND_SENT) {
            return &list[i];
        }
    }
    return NULL;
}

static enum pag_err end_command(struct visit *v, struct pag_command *c, bool done, const char *text)
{
    struct pag_native_result result = { .id = c->id,
                                        .code = done ? 0 : FAILED_CODE,
                                        .text = pag_span_str(text) };
    c->state = done ? PAG_COMMAND_DONE : PAG_COMMAND_FAILED;
    (void)pag_text_copy(c->result, sizeof c->result, result.text);
    return pag_command_end(v->tx, v->op, v->d.id, &result);
}

static enum pag_err again(struct visit *v, struct pag_command *c)
{
    c->state = PAG_COMMAND_QUEUED;
    c->code = PAG_FETCH_NONE;
    enum pag_err err = pag_command_update(v->db, c);
    return err == PAG_OK ? pag_command_event(v->tx, c, "command.queued") : err;
}

/* What this message proves about it. *ended: it has its result. */
static enum pag_err judge_command(struct visit *v, struct pag_command *c, bool *ended)
{
    char why[PAG_WHY_MAX + 1];
    *ended = false;
    switch (pag_secureesp_evidence(c, &v->now, why)) {
    case PAG_EVIDENCE_NONE:
        return PAG_OK;
    case PAG_EVIDENCE_DONE:
        *ended = true;
        return end_command(v, c, true, c->code == PAG_FETCH_CURRENT ? "nothing newer" : "");
    case PAG_EVIDENCE_FAILED:
        *ended = true;
        return end_command(v, c, false, why);
    case PAG_EVIDENCE_LOST:
        if (c->tries < PAG_SECUREESP_TRIES_MAX) {
            return again(v, c);
        }
        *ended = true;
        return end_command(v, c, false, why);
    }
    return PAG_OK;
}

/* ---- the update ---- */

/* "ERROR[12]: …": the device's own number. */
static int32_t code_of(const char *message)
{
    const char *at = message;
    uint32_t n = 0;
    while (*at != '\0' && *at != '[') {
        at++;
    }
    const char *end = *at == '[' ? at + 1 : at;
    while (*end >= '0' && *end <= '9') {
        end++;
    }
    bool ok = end > at + 1 && *end == ']' &&
              pag_parse_u32(pag_span_of(at + 1, (size_t)(end - at - 1)), &n) == PAG_OK && n <= 10000;
    return ok ? (int32_t)n : 0;
}

static enum pag_err move_action(struct visit *v, enum pag_report_state to, const char *text)
{
    v->a.state = to;
    v->a.changed_ms = pag_store_tx_now(v->tx);
    v->a.code = to == PAG_REPORT_FAILED ? code_of(text) : v->a.code;
    (void)pag_text_copy(v->a.text, sizeof v->a.text, pag_span_str(text));
    enum pag_err err = pag_action_update(v->db, &v->a);
    err = err == PAG_OK ? pag_settle_device(v->tx, v->op, &v->d, &v->a) : err;
    return err == PAG_OK ? pag_action_event(v->tx, &v->a) : err;
}

enum pag_err pag_secureesp_queue(struct pag_store_tx *tx, struct pag_device *d, enum pag_command_kind kind)
{
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_command c;
    memset(&c, 0, sizeof c);
    memcpy(c.device, d->id, sizeof c.device);
    memcpy(c.product, d->product, sizeof c.product);
    memcpy(c.actor, "system", sizeof "system");
    c.kind = kind;
    c.created_ms = pag_store_tx_now(tx);
    c.expires_ms = c.created_ms + (int64_t)STEP_TTL_S * 1000;
    d->commands_queued++;
    enum pag_err err = pag_command_add(db, &c);
    err = err == PAG_OK ? pag_device_update(db, d) : err;
    return err == PAG_OK ? pag_command_event(tx, &c, "command.queued") : err;
}

enum pag_err pag_secureesp_tell(struct pag_store_tx *tx, struct pag_arena *arena, struct pag_device *d)
{
    struct pag_command *list = NULL;
    size_t n = 0;
    if (d->protocol != PAG_PROTOCOL_SECUREESP || !d->online || d->open_action != 0) {
        return PAG_OK;
    }
    enum pag_err err = list_commands(pag_store_tx_db(tx), arena, d->id, &list, &n);
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        if (is_open(&list[i]) &&
            pag_command_state_at(&list[i], pag_store_tx_now(tx)) != PAG_COMMAND_EXPIRED) {
            return PAG_OK; /* the status after it brings the update about */
        }
    }
    return err == PAG_OK ? pag_secureesp_queue(tx, d, (enum pag_command_kind)PAG_WORD_FIRMWARE) : err;
}

static const struct pag_command *failed_since(const struct visit *v, int64_t since_ms, uint32_t *n)
{
    const struct pag_command *newest = NULL;
    *n = 0;
    for (size_t i = v->command_n; i-- > 0;) {
        const struct pag_command *c = &v->command[i];
        if ((int)c->kind == PAG_WORD_FIRMWARE && c->state == PAG_COMMAND_FAILED &&
            c->created_ms >= since_ms) {
            newest = c;
            (*n)++;
        }
    }
    return newest;
}

static enum pag_err next_step(struct visit *v)
{
    uint32_t failed = 0;
    const struct pag_command *last = failed_since(v, v->a.created_ms, &failed);
    switch (pag_secureesp_step(&v->a, failed)) {
    case PAG_STEP_WAIT:
        return PAG_OK;
    case PAG_STEP_FIRMWARE:
        return pag_secureesp_queue(v->tx, &v->d, (enum pag_command_kind)PAG_WORD_FIRMWARE);
    case PAG_STEP_FLASH:
        return pag_secureesp_queue(v->tx, &v->d, (enum pag_command_kind)PAG_WORD_FLASH);
    case PAG_STEP_REBOOT:
        return pag_secureesp_queue(v->tx, &v->d, PAG_COMMAND_REBOOT);
    case PAG_STEP_GIVE_UP:
        return move_action(v, PAG_REPORT_FAILED, last != NULL ? last->result : "it does not fetch the image");
    }
    return PAG_OK;
}

static enum pag_err came_back_old(struct visit *v)
{
    const char *message = pag_secureesp_message(&v->now);
    return move_action(v, PAG_REPORT_FAILED,
                       message[0] != '\0' ? message : "rebooted after flash and runs the old image");
}

/* After the check-in: an action that is still open is not what runs. */
static enum pag_err see_update(struct visit *v, const struct pag_command *ended)
{
    if (v->d.open_action == 0) {
        return PAG_OK;
    }
    enum pag_err err = pag_action_get(v->db, v->d.open_action, &v->a);
    if (err != PAG_OK) {
        return err == PAG_E_NOT_FOUND ? PAG_OK : err;
    }
    if (ended != NULL && ended->state == PAG_COMMAND_DONE) {
        enum pag_report_state to = pag_secureesp_reached(ended->kind, v->a.state);
        err = to != v->a.state ? move_action(v, to, "") : PAG_OK;
    }
    if (err == PAG_OK && ended != NULL && ended->state == PAG_COMMAND_FAILED &&
        (v->a.state == PAG_REPORT_DOWNLOADED || v->a.state == PAG_REPORT_INSTALLING)) {
        return move_action(v, PAG_REPORT_FAILED, ended->result);
    }
    if (err == PAG_OK && v->a.state == PAG_REPORT_REBOOTING && ended != NULL &&
        ended->kind == PAG_COMMAND_REBOOT) {
        return came_back_old(v);
    }
    for (size_t i = 0; i < v->command_n; i++) {
        if (is_open(&v->command[i]) &&
            pag_command_state_at(&v->command[i], v->now.at_ms) != PAG_COMMAND_EXPIRED) {
            return err; /* one after the other */
        }
    }
    return err == PAG_OK ? next_step(v) : err;
}

static enum pag_err apply_status(struct pag_store_tx *tx, struct pag_op *op)
{
    struct visit *v = pag_arena_alloc(op->call->arena, sizeof *v);
    bool ended = false;
    if (v == NULL) {
        return PAG_E_NO_MEMORY;
    }
    v->tx = tx;
    v->db = pag_store_tx_db(tx);
    v->op = op;
    v->st = op->data;
    const char *id = v->st->in->device;
    enum pag_err err = pag_device_get(v->db, NULL, id, &v->d);
    err = err == PAG_OK ? put_sample(v) : err;
    err = err == PAG_OK ? tell_message(v) : err;
    err = err == PAG_OK ? load_commands(v) : err;
    struct pag_command *c = err == PAG_OK ? on_its_way(v->command, v->command_n, v->now.at_ms) : NULL;
    if (c != NULL) {
        err = judge_command(v, c, &ended);
    }
    if (err == PAG_OK && ended) { /* its row has changed with the command's end */
        err = pag_device_get(v->db, NULL, id, &v->d);
    }
    err = err == PAG_OK ? see_update(v, ended ? c : NULL) : err;
    const struct pag_status_in said = { .device = id, .json = v->st->in->json, .version = "" };
    return err == PAG_OK ? pag_status_keep(tx, &said) : err;
}

static void finish(struct pag_call *call, struct status *st, enum pag_err err)
{
    call->done = st->done;
    call->user = st->user;
    call->done(call, err);
}

/* The message is kept, whatever becomes of the certificate. */
static void renewed(struct pag_call *call, enum pag_err err)
{
    struct status *st = call->user;
    if (err != PAG_OK) {
        pag_log_warn(call->thread->app->config.log, "secureesp.not_renewed",
                     PAG_F_STR("device", st->in->device), PAG_F_STR("error", pag_err_word(err)));
    }
    finish(call, st, PAG_OK);
}

static void stored(struct pag_op *op, enum pag_err err)
{
    struct status *st = op->data;
    if (err != PAG_OK) {
        finish(op->call, st, err);
        return;
    }
    op->call->done = renewed;
    op->call->user = st;
    pag_secureesp_renew(op->call, st->in->device);
}

static void checked(struct pag_call *call, enum pag_err err)
{
    struct status *st = call->user;
    struct pag_op *op = err == PAG_OK ? pag_arena_alloc(call->arena, sizeof *op) : NULL;
    if (op == NULL) {
        finish(call, st, err != PAG_OK ? err : PAG_E_NO_MEMORY);
        return;
    }
    *op = (struct pag_op){ .call = call, .in = st, .data = st, .after = stored };
    PAG_COUNT(call->thread->app, status);
    pag_op_submit(op, apply_status);
}

void pag_app_secureesp_status(struct pag_call *call, const struct pag_secureesp_status *in)
{
    struct status *st = pag_arena_alloc(call->arena, sizeof *st);
    struct pag_span name;
    struct pag_span version;
    if (st == NULL) {
        call->done(call, PAG_E_NO_MEMORY);
        return;
    }
    *st = (struct status){ .in = in, .done = call->done, .user = call->user };
    st->check.protocol = PAG_PROTOCOL_SECUREESP;
    st->check.proof = PAG_PROOF_CERTIFICATE; /* the broker lets a device write to its own topics only */
    st->check.device = in->device;
    st->check.mac = in->device;
    pag_secureesp_image(pag_span_str(pag_sample_word(&in->sample, PAG_SERIES_IMAGE)), &name, &version);
    struct pag_fact_text *f = &st->check.facts.version;
    if (version.n > 0 && pag_text_copy(f->value, sizeof f->value, version) == PAG_OK) {
        f->source = PAG_SAID;
    }
    char mac[13];
    if (pag_mac_text(pag_span_str(in->device), mac) != PAG_OK) {
        st->check.mac = NULL;
    }
    call->done = checked;
    call->user = st;
    pag_app_check_in(call, &st->check, &st->reply);
}

/* ---- fetches ---- */

struct fetched {
    struct pag_call call;
    char device[PAG_DEVICE_ID_MAX + 1];
    enum pag_command_kind kind;
    int32_t code;
};

static enum pag_err apply_fetched(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct fetched *f = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_command *list = NULL;
    size_t n = 0;
    enum pag_err err = list_commands(db, op->call->arena, f->device, &list, &n);
    struct pag_command *c = err == PAG_OK ? on_its_way(list, n, pag_store_tx_now(tx)) : NULL;
    const char *word = c != NULL ? pag_dialect_command(PAG_DIALECT_SECUREESP, c->kind) : NULL;
    const char *mine = pag_dialect_command(PAG_DIALECT_SECUREESP, f->kind);
    if (word == NULL || mine == NULL || strcmp(word, mine) != 0) {
        return err;
    }
    c->code = f->code;
    return pag_command_update(db, c);
}

static void fetched_done(struct pag_call *call, enum pag_err err)
{
    const struct fetched *f = call->user;
    if (err != PAG_OK) {
        pag_log_warn(call->thread->app->config.log, "secureesp.fetch_not_kept",
                     PAG_F_STR("device", f->device), PAG_F_STR("error", pag_err_word(err)));
    }
    pag_arena_close(call->arena);
}

void pag_app_secureesp_fetched(struct pag_app_thread *thread, const char *device, enum pag_command_kind kind,
                               int32_t code)
{
    struct pag_arena *arena = pag_arena_open(thread->pool, 1 << 20);
    struct fetched *f = arena != NULL ? pag_arena_alloc(arena, sizeof *f) : NULL;
    if (f == NULL || pag_text_copy(f->device, sizeof f->device, pag_span_str(device)) != PAG_OK) {
        pag_arena_close(arena);
        return;
    }
    f->kind = kind;
    f->code = code;
    f->call = (struct pag_call){ .thread = thread, .arena = arena, .done = fetched_done, .user = f };
    struct pag_op *op = pag_op_new(&f->call, f, NULL);
    if (op != NULL) {
        pag_op_submit(op, apply_fetched);
    }
}

enum pag_err pag_app_secureesp_due(struct pag_call *call, const char *device, struct pag_command *out)
{
    struct pag_command *list = NULL;
    size_t n = 0;
    int64_t now = pag_app_now_ms(call->thread->app);
    enum pag_err err = list_commands(call->thread->db, call->arena, device, &list, &n);
    if (err != PAG_OK) {
        return err;
    }
    if (on_its_way(list, n, now) != NULL) {
        return PAG_E_NOT_FOUND;
    }
    for (size_t i = n; i-- > 0;) {
        if (list[i].state == PAG_COMMAND_QUEUED &&
            pag_command_state_at(&list[i], now) == PAG_COMMAND_QUEUED) {
            *out = list[i];
            return PAG_OK;
        }
    }
    return PAG_E_NOT_FOUND;
}
