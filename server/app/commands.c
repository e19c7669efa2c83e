#include <string.h>

#include "core/bytes.h"
#include "core/command.h"
#include "server/app/devices.h"
#include "server/app/op.h"
#include "server/store/rows_dialect.h"
#include "server/store/rows_sweep.h"

enum { TTL_MAX_S = 30 * 86400, QUEUED_MAX = 64, DRAWS_MAX = 8 };

static enum pag_err command_event(struct pag_store_tx *tx, const struct pag_command *c, const char *type,
                                  bool audit)
{
    const struct pag_field field[] = { PAG_F_U64("command", c->id),
                                       PAG_F_STR("kind", pag_command_kind_word(c->kind)) };
    const struct pag_event_in event = { .type = type,
                                        .product = c->product,
                                        .device = c->device,
                                        .actor = c->actor,
                                        .field = field,
                                        .field_n = 2 };
    return audit ? pag_store_audit_add(tx, &event, c->device) : pag_store_event_add(tx, &event);
}

enum pag_err pag_command_event(struct pag_store_tx *tx, const struct pag_command *c, const char *type)
{
    return command_event(tx, c, type, false);
}

/* Ids are random: one that is taken is drawn again. */
enum pag_err pag_command_add(struct pag_db *db, struct pag_command *c)
{
    c->id = c->id != 0 ? c->id : pag_make_id31();
    enum pag_err err = pag_command_insert(db, c);
    for (int i = 0; i < DRAWS_MAX && err == PAG_E_EXISTS; i++) {
        c->id = pag_make_id31();
        err = pag_command_insert(db, c);
    }
    return err;
}

/* What a device does not understand is refused here, where a person reads why. */
static enum pag_err check_dialect(struct pag_op *op, struct pag_db *db, const struct pag_device *d)
{
    const struct pag_command *c = op->out;
    struct pag_dialect_row row;
    enum pag_err err = pag_dialect_of(db, d->product, &row);
    if (err != PAG_OK) {
        return err;
    }
    if (row.dialect == PAG_DIALECT_NONE) {
        if ((int)c->kind >= PAG_WORD_FIRMWARE) {
            return pag_refuse_field(op->call, "/kind",
                                    "only devices of a product with the dialect "
                                    "secureesp8266 know it");
        }
        return pag_command_check(c->kind, c->arg) == PAG_OK
                   ? PAG_OK
                   : pag_refuse_field(op->call, "/arg", "missing, too long, or not for this kind");
    }
    const char *word = pag_dialect_command(row.dialect, c->kind);
    if (row.dialect == PAG_DIALECT_TASMOTA) {
        if (word == NULL) {
            return pag_refuse_field(op->call, "/kind", "this device knows check, reboot and app");
        }
        return (c->arg.n > 0) == (word[0] == '\0')
                   ? PAG_OK
                   : pag_refuse_field(op->call, "/arg",
                                      "app wants a command as \"Power toggle\"; the others none");
    }
    if (word == NULL) {
        return pag_refuse_field(op->call, "/kind",
                                "this device knows firmware, flash, reboot, ca, cert, key and config");
    }
    return c->arg.n == 0 ? PAG_OK : pag_refuse_field(op->call, "/arg", "this device's commands have none");
}

/* Verifies with the device's eyes, so that what it would refuse is refused where a person reads why. */
static enum pag_err verify(struct pag_op *op, struct pag_db *db, const struct pag_device *d,
                           struct pag_signed_command *order, struct pag_fail *why)
{
    const struct pag_command_in *in = op->in;
    struct pag_trust_record row;
    uint8_t product[PAG_PRODUCT_ID_BYTES];
    uint32_t last = 0;
    struct pag_trust_set *set = pag_arena_alloc(op->call->arena, sizeof *set);
    enum pag_err err =
        set != NULL ? pag_trust_row(db, op->call->arena, d->product, 0, &row) : PAG_E_NO_MEMORY;
    if (err == PAG_E_NOT_FOUND) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "the product has no trust set yet", 0);
    }
    err = err == PAG_OK ? pag_trust_parse(row.cose, set, why) : err;
    err = err == PAG_OK ? pag_command_counter(db, d->id, &last) : err;
    err = err == PAG_OK ? pag_parse_hex(pag_span_str(d->product), product, sizeof product) : err;
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_signed_command_target target = {
        .product = product,
        .device = pag_span_str(d->id),
        .counter = last,
        .now_unix_s = (uint64_t)pag_app_now_ms(op->call->thread->app) / 1000,
    };
    uint32_t epoch = d->facts.epoch.source != PAG_ABSENT ? d->facts.epoch.value : 0;
    err = pag_signed_command_verify(op->call->thread->app->config.crypto, in->order, set, epoch, order, why);
    return err == PAG_OK ? pag_signed_command_admit(order, &target, why) : err;
}

static enum pag_err check_signed(struct pag_op *op, struct pag_db *db, const struct pag_device *d)
{
    const struct pag_command_in *in = op->in;
    struct pag_command *c = op->out;
    struct pag_signed_command order = { 0 };
    struct pag_fail why = { 0 };
    const struct pag_fact_u32 *can = &d->facts.capabilities;
    if (d->protocol != PAG_PROTOCOL_NATIVE) {
        return pag_refuse_field(op->call, "/kind",
                                "this device checks no signatures; it believes its channel");
    }
    if (can->source != PAG_ABSENT && (can->value & PAG_CAP_SIGNED_COMMANDS) == 0) {
        return pag_refuse_field(op->call, "/kind", "this device's agent does not know signed commands");
    }
    enum pag_err err = verify(op, db, d, &order, &why);
    if (err == PAG_OK && order.kind != (uint8_t)c->kind) {
        err = pag_fail_set(&why, PAG_E_CONFLICT, "command: another kind was signed", order.kind);
    }
    if (err == PAG_E_NO_MEMORY || (err != PAG_OK && why.what == NULL)) {
        return err;
    }
    if (err != PAG_OK) {
        return pag_refuse_field(op->call, "/signed", why.what);
    }
    int64_t now = pag_app_now_ms(op->call->thread->app);
    if (order.expires_at > (uint64_t)now / 1000 + TTL_MAX_S) {
        return pag_refuse_field(op->call, "/signed", "command: ends later than in 30 days");
    }
    c->order = in->order;
    c->counter = order.counter;
    c->expires_ms = (int64_t)order.expires_at * 1000;
    return PAG_OK;
}

static enum pag_err queue(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_command_in *in = op->in;
    struct pag_command *c = op->out;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device d;
    enum pag_err err = pag_find_device(op->call, db, in->device, &d);
    if (err != PAG_OK) {
        return err;
    }
    if (d.revoked_ms != 0) {
        return pag_refuse(op->call, PAG_E_CONFLICT, "conflict", "The device is revoked.");
    }
    bool is_signed = pag_command_kind_signed(c->kind);
    err = check_dialect(op, db, &d);
    err = err == PAG_OK && is_signed ? check_signed(op, db, &d) : err;
    if (err != PAG_OK) {
        return err;
    }
    uint32_t open = 0;
    err = pag_command_open_count(db, d.id, pag_store_tx_now(tx), &open);
    if (err != PAG_OK) {
        return err;
    }
    if (open >= QUEUED_MAX) {
        return pag_refuse(op->call, PAG_E_LIMIT, "conflict",
                          "64 commands are waiting for this device already.");
    }
    memcpy(c->device, d.id, sizeof c->device);
    memcpy(c->product, d.product, sizeof c->product);
    c->created_ms = pag_store_tx_now(tx);
    c->expires_ms = is_signed ? c->expires_ms : c->created_ms + (int64_t)in->ttl_s * 1000;
    d.commands_queued++;
    err = pag_command_add(db, c);
    err = err == PAG_OK ? pag_device_update(db, &d) : err;
    return err == PAG_OK ? command_event(tx, c, "command.queued", true) : err;
}

void pag_app_command(struct pag_call *call, const struct pag_command_in *in, struct pag_command *out)
{
    memset(out, 0, sizeof *out);
    unsigned kind = pag_command_kind_by_word(pag_span_str(in->kind));
    enum pag_err err = PAG_OK;
    if (kind == 0) {
        err = pag_refuse_field(
            call, "/kind",
            "check, reboot, identify, config, app, reset, wipe, re-enroll, firmware, flash, ca, cert "
            "or key");
    } else if (in->arg.n > 0 && pag_command_check((enum pag_command_kind)kind, in->arg) != PAG_OK) {
        err = pag_refuse_field(call, "/arg", "missing, too long, or not for this kind");
    }
    if (err == PAG_OK && pag_command_kind_signed(kind) != (in->order.n > 0)) {
        err = pag_refuse_field(call, "/signed",
                               in->order.n > 0 ? "this kind is not signed"
                                               : "this kind takes something away from the device: it must be "
                                                 "signed (pagurus device reset, wipe and re-enroll do it)");
    }
    if (in->ttl_s < 1 || in->ttl_s > TTL_MAX_S) {
        err = pag_refuse_field(call, "/ttl_s", "1 to 2592000");
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    out->id = pag_make_id31();
    out->kind = (enum pag_command_kind)kind;
    out->arg = in->arg;
    (void)pag_text_copy(out->actor, sizeof out->actor, pag_span_str(pag_actor_of(call)));
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        PAG_COUNT(call->thread->app, commands);
        pag_op_submit(op, queue);
    }
}

enum pag_err pag_app_command_counter(struct pag_call *call, const char *device, uint32_t *counter)
{
    return pag_command_counter(call->thread->db, device, counter);
}

enum pag_err pag_app_commands(struct pag_call *call, const struct pag_command_query *q,
                              struct pag_command **list, size_t *n, uint64_t *total)
{
    struct pag_device d;
    const struct pag_command_filter f = { .device = q->device,
                                          .after = q->after,
                                          .limit = q->limit >= 1 && q->limit <= 1000 ? q->limit : 100 };
    enum pag_err err = pag_find_device(call, call->thread->db, q->device, &d);
    err = err == PAG_OK ? pag_command_list(call->thread->db, call->arena, &f, list, n) : err;
    err = err == PAG_OK ? pag_command_total(call->thread->db, q->device, total) : err;
    int64_t now = pag_app_now_ms(call->thread->app);
    for (size_t i = 0; err == PAG_OK && i < *n; i++) {
        (*list)[i].state = pag_command_state_at(&(*list)[i], now);
    }
    return err;
}

enum pag_err pag_app_commands_due(struct pag_call *call, const char *device, struct pag_command *list,
                                  size_t *n)
{
    return pag_command_waiting(call->thread->db, call->arena, device, pag_app_now_ms(call->thread->app), list,
                               n);
}

enum pag_err pag_app_command_devices(struct pag_call *call, uint32_t limit,
                                     char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n)
{
    return pag_sweep_command_devices(call->thread->db, call->arena, limit, list, n);
}

enum pag_err pag_app_command_waiting(struct pag_call *call, uint32_t id, struct pag_command *out)
{
    enum pag_err err = pag_command_get(call->thread->db, call->arena, id, out);
    bool waiting = err == PAG_OK && out->state == PAG_COMMAND_QUEUED &&
                   pag_command_state_at(out, pag_app_now_ms(call->thread->app)) == PAG_COMMAND_QUEUED;
    return err == PAG_OK && !waiting ? PAG_E_NOT_FOUND : err;
}

struct sent_in {
    uint32_t id;
};

static enum pag_err sent(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct sent_in *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_command c;
    enum pag_err err = pag_command_get(db, op->call->arena, in->id, &c);
    return err == PAG_OK ? pag_command_handed_over(tx, &c) : err;
}

enum pag_err pag_command_handed_over(struct pag_store_tx *tx, struct pag_command *c)
{
    bool first = c->state == PAG_COMMAND_QUEUED;
    if (!first && c->state != PAG_COMMAND_SENT) {
        return PAG_OK;
    }
    c->state = PAG_COMMAND_SENT;
    c->sent_ms = pag_store_tx_now(tx);
    c->tries++;
    enum pag_err err = pag_command_update(pag_store_tx_db(tx), c);
    return err == PAG_OK && first ? command_event(tx, c, "command.sent", false) : err;
}

void pag_app_command_sent(struct pag_call *call, uint32_t id)
{
    struct sent_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        in->id = id;
        pag_op_submit(op, sent);
    }
}
