#include "server/app/broker_users.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"
#include "server/domain/dialect.h"
#include "server/domain/tasmota.h"
#include "server/store/rows_broker.h"
#include "server/store/rows_dialect.h"

enum pag_err pag_app_broker_users(struct pag_call *call, const char *product,
                                  struct pag_broker_account **list, size_t *n)
{
    struct pag_product p = { .id = "" };
    enum pag_err err = product != NULL ? pag_find_product(call, call->thread->db, product, &p) : PAG_OK;
    return err == PAG_OK ? pag_broker_account_list(call->thread->db, call->arena, p.id, list, n) : err;
}

enum pag_err pag_app_broker_user_of_topic(struct pag_call *call, struct pag_span topic,
                                          struct pag_broker_account *out)
{
    char name[PAG_BROKER_TOPIC_NAME_MAX + 1];
    enum pag_err err = pag_text_copy(name, sizeof name, topic);
    return err == PAG_OK ? pag_broker_account_of_topic(call->thread->db, name, out) : PAG_E_NOT_FOUND;
}

enum pag_err pag_app_broker_user_of_device(struct pag_call *call, const char *device,
                                           struct pag_broker_account *out)
{
    return pag_broker_account_of_device(call->thread->db, device, out);
}

/* ---- writing ---- */

static enum pag_err audit(struct pag_store_tx *tx, const struct pag_op *op,
                          const struct pag_broker_account *a, const char *type)
{
    const struct pag_field field[] = { PAG_F_STR("user", a->user), PAG_F_STR("topic", a->topic) };
    const struct pag_event_in event = { .type = type,
                                        .product = a->product,
                                        .device = a->device,
                                        .actor = pag_actor_of(op->call),
                                        .field = field,
                                        .field_n = 2 };
    return pag_store_audit_add(tx, &event, a->user);
}

/* product.name; PAG_E_NOT_FOUND with a refusal when there is no such product. */
static enum pag_err name_account(struct pag_op *op, struct pag_db *db, struct pag_broker_account *a)
{
    const struct pag_broker_user_in *in = op->in;
    struct pag_product p;
    enum pag_err err = pag_find_product(op->call, db, in->product, &p);
    if (err != PAG_OK) {
        return err;
    }
    const char *user = pag_arena_printf(op->call->arena, "%s.%s", p.name, in->name);
    memcpy(a->product, p.id, sizeof a->product);
    return user != NULL ? pag_text_copy(a->user, sizeof a->user, pag_span_str(user)) : PAG_E_NO_MEMORY;
}

/* A Tasmota is known by its MAC; a device that has a certificate needs no password. */
static enum pag_err check_device(struct pag_op *op, struct pag_db *db, struct pag_broker_account *a)
{
    const struct pag_broker_user_in *in = op->in;
    const char *device = in->device != NULL ? in->device : in->name;
    char mac[13];
    struct pag_device d;
    struct pag_dialect_row row;
    bool is_mac = pag_mac_text(pag_span_str(device), mac) == PAG_OK;
    enum pag_err err = pag_dialect_of(db, a->product, &row);
    if (err != PAG_OK) {
        return err;
    }
    bool tasmota = row.dialect == PAG_DIALECT_TASMOTA;
    if (tasmota && !is_mac) {
        return pag_refuse_field(op->call, "/device", "must be the MAC of the Tasmota");
    }
    (void)pag_text_copy(a->device, sizeof a->device, pag_span_str(is_mac ? mac : device));
    if (!pag_device_id_ok(pag_span_str(a->device))) {
        return pag_refuse_field(op->call, "/device", "must be 1 to 64 of a-z, 0-9 and -");
    }
    if (in->topic != NULL) {
        (void)pag_text_copy(a->topic, sizeof a->topic, pag_span_str(in->topic));
    } else if (tasmota) {
        pag_tasmota_name_of(mac, a->topic);
    }
    err = pag_device_get(db, NULL, a->device, &d);
    if (err == PAG_E_NOT_FOUND) {
        return PAG_OK; /* recorded when it comes */
    }
    if (err == PAG_OK && strcmp(d.product, a->product) != 0) {
        return pag_refuse_field(op->call, "/device", "belongs to another product");
    }
    if (err == PAG_OK && d.revoked_ms != 0) {
        return pag_refuse(op->call, PAG_E_CONFLICT, "conflict", "The device is revoked.");
    }
    if (err == PAG_OK && d.cert_serial_n > 0) {
        return pag_refuse(op->call, PAG_E_CONFLICT, "conflict",
                          "The device has a certificate: a password would be a weaker way to be it.");
    }
    return err;
}

static enum pag_err add(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_broker_user_out *out = op->out;
    struct pag_broker_account *a = &out->account;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = name_account(op, db, a);
    err = err == PAG_OK ? check_device(op, db, a) : err;
    if (err != PAG_OK) {
        return err;
    }
    a->created_ms = pag_store_tx_now(tx);
    (void)pag_text_copy(a->hash, sizeof a->hash, pag_span_str(out->secret.hash));
    err = pag_broker_account_insert(db, a);
    if (err == PAG_E_EXISTS) {
        return pag_refuse(op->call, err, "conflict",
                          "This name, this device or this topic has a user of the broker already.");
    }
    return err == PAG_OK ? audit(tx, op, a, "broker.user_added") : err;
}

static enum pag_err not_there(struct pag_op *op)
{
    return pag_refuse(op->call, PAG_E_NOT_FOUND, "not-found", "The product has no such user of the broker.");
}

static enum pag_err find_account(struct pag_op *op, struct pag_db *db, struct pag_broker_account *a)
{
    struct pag_broker_account *list = NULL;
    struct pag_broker_account named = { .user = "" };
    size_t n = 0;
    enum pag_err err = name_account(op, db, &named);
    err = err == PAG_OK ? pag_broker_account_list(db, op->call->arena, named.product, &list, &n) : err;
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        if (strcmp(list[i].user, named.user) == 0) {
            *a = list[i];
            return PAG_OK;
        }
    }
    return err == PAG_OK ? not_there(op) : err;
}

static enum pag_err renew(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_broker_user_out *out = op->out;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = find_account(op, db, &out->account);
    err = err == PAG_OK ? pag_broker_account_rehash(db, out->account.user, out->secret.hash) : err;
    return err == PAG_OK ? audit(tx, op, &out->account, "broker.user_changed") : err;
}

static enum pag_err remove_one(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_broker_account a;
    bool removed = false;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = find_account(op, db, &a);
    err = err == PAG_OK ? pag_broker_account_delete(db, a.user, &removed) : err;
    return err == PAG_OK ? audit(tx, op, &a, "broker.user_removed") : err;
}

static void submit(struct pag_call *call, const struct pag_broker_user_in *in,
                   struct pag_broker_user_out *out,
                   enum pag_err (*step)(struct pag_store_tx *tx, struct pag_op *op))
{
    memset(out, 0, sizeof *out);
    enum pag_err err = pag_broker_secret_make(&out->secret);
    if (!pag_broker_user_name_ok(pag_span_str(in->name))) {
        err = pag_refuse_field(call, "/name", "must be 1 to 31 of a-z, 0-9 and -");
    } else if (in->topic != NULL &&
               (!pag_tasmota_name_ok(pag_span_str(in->topic)) || strcmp(in->topic, "pg") == 0)) {
        err = pag_refuse_field(call, "/topic", "must be 1 to 32 of A-Z, a-z, 0-9, _ and -, and not pg");
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        pag_op_submit(op, step);
    }
}

void pag_app_broker_user_add(struct pag_call *call, const struct pag_broker_user_in *in,
                             struct pag_broker_user_out *out)
{
    submit(call, in, out, add);
}

void pag_app_broker_user_renew(struct pag_call *call, const struct pag_broker_user_in *in,
                               struct pag_broker_user_out *out)
{
    submit(call, in, out, renew);
}

void pag_app_broker_user_remove(struct pag_call *call, const struct pag_broker_user_in *in)
{
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        pag_op_submit(op, remove_one);
    }
}
