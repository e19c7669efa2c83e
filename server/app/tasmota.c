#include "server/app/tasmota.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/check_in.h"
#include "server/app/op.h"
#include "server/app/report.h"
#include "server/store/rows_sweep.h"

enum { COMMANDS_MAX = 100 };

/* One message on its way; in the call's arena. */
struct seen {
    const struct pag_tasmota_seen *in;
    struct pag_tasmota_next *out;
    struct pag_tasmota_version version;
    void (*done)(struct pag_call *call, enum pag_err err);
    void *user;
    struct pag_check_in check;
    struct pag_check_reply reply;
};

static void finish(struct pag_call *call, struct seen *s, enum pag_err err)
{
    call->done = s->done;
    call->user = s->user;
    call->done(call, err);
}

/* ---- the update ---- */

static enum pag_err move_action(struct pag_store_tx *tx, struct pag_op *op, struct pag_action *a,
                                enum pag_report_state to, const char *text)
{
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device d;
    enum pag_err err = pag_device_get(db, NULL, a->device, &d);
    a->state = to;
    a->changed_ms = pag_store_tx_now(tx);
    (void)pag_text_copy(a->text, sizeof a->text, pag_span_str(text));
    err = err == PAG_OK ? pag_action_update(db, a) : err;
    err = err == PAG_OK ? pag_settle_device(tx, op, &d, a) : err;
    return err == PAG_OK ? pag_action_event(tx, a) : err;
}

/* PAG_E_NOT_FOUND: no update is open. */
static enum pag_err open_action(struct pag_db *db, const char *device, struct pag_action *a)
{
    struct pag_device d;
    enum pag_err err = pag_device_get(db, NULL, device, &d);
    if (err == PAG_OK && d.open_action == 0) {
        return PAG_E_NOT_FOUND;
    }
    err = err == PAG_OK ? pag_action_get(db, d.open_action, a) : err;
    return err == PAG_OK && pag_action_final(a->state) ? PAG_E_NOT_FOUND : err;
}

/* After the check-in: what is still open is not what runs. */
static enum pag_err see_update(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct seen *s = op->data;
    struct pag_action a;
    enum pag_err err = open_action(pag_store_tx_db(tx), s->in->device, &a);
    if (err != PAG_OK) {
        return err == PAG_E_NOT_FOUND ? PAG_OK : err;
    }
    if (a.state == PAG_REPORT_REBOOTING) {
        struct pag_device d;
        err = pag_device_get(pag_store_tx_db(tx), NULL, s->in->device, &d);
        if (err != PAG_OK || d.online_ms <= a.changed_ms) {
            return err; /* said before the restart: it has not come back since */
        }
        const char *text = pag_arena_printf(op->call->arena, "restarted after the update and still runs %s",
                                            s->check.facts.version.value);
        return text != NULL ? move_action(tx, op, &a, PAG_REPORT_FAILED, text) : PAG_E_NO_MEMORY;
    }
    s->out->trigger = a.state == PAG_REPORT_OFFERED || a.state == PAG_REPORT_DOWNLOADING;
    return PAG_OK;
}

static void looked(struct pag_op *op, enum pag_err err)
{
    finish(op->call, op->data, err);
}

static void checked(struct pag_call *call, enum pag_err err)
{
    struct seen *s = call->user;
    bool more = err == PAG_OK && s->check.mode == PAG_CHECK_FIRMWARE;
    struct pag_op *op = more ? pag_arena_alloc(call->arena, sizeof *op) : NULL;
    if (op == NULL) {
        finish(call, s, more ? PAG_E_NO_MEMORY : err);
        return;
    }
    *op = (struct pag_op){ .call = call, .in = s, .data = s, .after = looked };
    pag_op_submit(op, see_update);
}

/* It is connected again before it restarts, and asked at once: the old version is no news then. */
static bool is_installing(struct pag_call *call, const struct pag_tasmota_seen *in, const char *version)
{
    struct pag_action a;
    return open_action(call->thread->db, in->device, &a) == PAG_OK && a.state == PAG_REPORT_INSTALLING &&
           strcmp(a.version, version) != 0;
}

/* As it asks over HTTP, so that the two ways show one device. */
static enum pag_protocol protocol_of(struct pag_call *call, const struct pag_tasmota_seen *in)
{
    struct pag_device d;
    struct pag_product p;
    if (pag_device_get(call->thread->db, NULL, in->device, &d) == PAG_OK &&
        (d.protocol == PAG_PROTOCOL_HTTP_UPDATE || d.protocol == PAG_PROTOCOL_ESP32_UPDATE)) {
        return d.protocol;
    }
    bool known = pag_find_product(call, call->thread->db, in->product, &p) == PAG_OK;
    return known && p.chip != PAG_CHIP_ESP8266 ? PAG_PROTOCOL_ESP32_UPDATE : PAG_PROTOCOL_HTTP_UPDATE;
}

void pag_app_tasmota_seen(struct pag_call *call, const struct pag_tasmota_seen *in,
                          struct pag_tasmota_next *out)
{
    struct seen *s = pag_arena_alloc(call->arena, sizeof *s);
    if (s == NULL) {
        call->done(call, PAG_E_NO_MEMORY);
        return;
    }
    *s = (struct seen){ .in = in, .out = out, .done = call->done, .user = call->user };
    *out = (struct pag_tasmota_next){ .trigger = false };
    pag_tasmota_version_read(pag_span_str(in->version != NULL ? in->version : ""), &s->version);
    s->check.protocol = protocol_of(call, in);
    s->check.proof = PAG_PROOF_TOKEN; /* its password */
    s->check.has_auth = true;
    s->check.auth = PAG_LEGACY_TOKEN;
    s->check.device = in->device;
    s->check.product = in->product;
    s->check.mac = in->device;
    s->check.any_space = true; /* it goes by the minimal image then */
    s->check.mode = PAG_CHECK_VERSION;
    struct pag_fact_text *f = &s->check.facts.version;
    if (s->version.version.n > 0 && !s->version.stand_in &&
        pag_text_copy(f->value, sizeof f->value, s->version.version) == PAG_OK &&
        !is_installing(call, in, f->value)) {
        f->source = PAG_SAID;
        s->check.mode = PAG_CHECK_FIRMWARE;
    }
    call->done = checked;
    call->user = s;
    pag_app_check_in(call, &s->check, &s->reply);
}

/* ---- its own words ---- */

static enum pag_err apply_upgrade(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_tasmota_said *in = op->in;
    struct pag_action a;
    enum pag_err err = open_action(pag_store_tx_db(tx), in->device, &a);
    if (err != PAG_OK) {
        return err == PAG_E_NOT_FOUND ? PAG_OK : err;
    }
    switch (pag_tasmota_upgrade_read(pag_span_str(in->text))) {
    case PAG_TASMOTA_UPGRADE_NONE:
        return PAG_OK;
    case PAG_TASMOTA_UPGRADE_BEGUN:
        return a.state == PAG_REPORT_OFFERED ? move_action(tx, op, &a, PAG_REPORT_DOWNLOADING, in->text)
                                             : PAG_OK;
    case PAG_TASMOTA_UPGRADE_DONE: /* of a stand-in too: then the transfer that follows moves it on */
        return move_action(tx, op, &a, PAG_REPORT_REBOOTING, in->text);
    case PAG_TASMOTA_UPGRADE_FAILED:
    case PAG_TASMOTA_UPGRADE_REFUSED:
        return move_action(tx, op, &a, PAG_REPORT_FAILED, in->text);
    }
    return PAG_OK;
}

void pag_app_tasmota_upgrade(struct pag_call *call, const struct pag_tasmota_said *in)
{
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        PAG_COUNT(call->thread->app, reports);
        pag_op_submit(op, apply_upgrade);
    }
}

/* ---- commands ---- */

static enum pag_err apply_answer(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_tasmota_answer *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    const struct pag_command_filter f = { .device = in->device, .limit = COMMANDS_MAX };
    struct pag_command *list = NULL;
    size_t n = 0;
    int64_t now = pag_store_tx_now(tx);
    enum pag_err err = pag_command_list(db, op->call->arena, &f, &list, &n);
    for (size_t i = n; err == PAG_OK && i-- > 0;) { /* oldest first */
        const struct pag_command *c = &list[i];
        if (c->state == PAG_COMMAND_SENT && pag_command_state_at(c, now) == PAG_COMMAND_SENT &&
            (c->kind == PAG_COMMAND_CHECK) == in->check) {
            const struct pag_native_result result = { .id = c->id, .text = in->text };
            return pag_command_end(tx, op, in->device, &result);
        }
    }
    return err;
}

void pag_app_tasmota_answer(struct pag_call *call, const struct pag_tasmota_answer *in)
{
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        pag_op_submit(op, apply_answer);
    }
}
