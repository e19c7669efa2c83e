#include "server/app/ask.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/issuing.h"
#include "server/store/rows_enrollment.h"

/* One that asks; in the call's arena. */
struct ask {
    struct pag_issuing i;
    struct pag_enroll_request row;
};

/* ---- the request, and what is known of it ---- */

static enum pag_err prepare(struct pag_call *call, const struct pag_ask_in *in, struct ask *a)
{
    struct pag_fail why = { 0 };
    struct pag_issuing *i = &a->i;
    bool allowed = false;
    enum pag_err err = pag_find_product(call, call->thread->db, in->product, &i->product);
    err = err == PAG_OK ? pag_enroll_profile_get(call->thread->db, i->product.id, &allowed) : err;
    if (err == PAG_OK && !allowed) {
        return PAG_E_UNAUTHENTICATED;
    }
    if (err == PAG_OK &&
        (pag_claim_device_id(in->mac, i->id) != PAG_OK || pag_mac_text(in->mac, i->mac) != PAG_OK)) {
        err = pag_refuse(call, PAG_E_RANGE, NULL, "The device is not named by a MAC.");
    }
    if (err != PAG_OK) {
        return err;
    }
    err = pag_x509_csr_key(in->csr, true, i->key, &i->rsa, &why);
    return err == PAG_OK ? pag_issuing_check(call, i, i->id, in->csr) : pag_refuse(call, err, NULL, why.what);
}

static enum pag_err wait(struct pag_call *call)
{
    call->refusal.retry_s = PAG_REQUEST_WAIT_S;
    return PAG_E_AGAIN;
}

/* Who has no claim gets nothing that belongs to a device in service. */
static enum pag_err check_service(struct pag_call *call, struct pag_db *db, const struct pag_issuing *i,
                                  int64_t now_ms)
{
    bool live = false;
    bool same = false;
    enum pag_err err = pag_cert_live(db, i->id, i->key, now_ms, &live, &same);
    return err == PAG_OK && live && !same
               ? pag_refuse(call, PAG_E_DENIED, NULL, "The device is in service with another key.")
               : err;
}

/* ---- waiting ---- */

static enum pag_err begin_waiting(struct pag_store_tx *tx, struct pag_op *op)
{
    struct ask *a = op->data;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_enroll_request there;
    uint64_t waiting = 0;
    uint64_t neighbours = 0;
    int64_t now = pag_store_tx_now(tx);
    enum pag_err err = pag_enroll_request_forget(db, now - PAG_REQUEST_KEEP_MS);
    err = err == PAG_OK ? pag_enroll_request_by_key(db, a->i.key, &there) : err;
    if (err != PAG_E_NOT_FOUND) {
        return err; /* it came twice at once */
    }
    err = pag_enroll_request_count(db, a->row.product, a->row.address, &waiting, &neighbours);
    if (err == PAG_OK && (waiting >= PAG_REQUESTS_MAX || neighbours >= PAG_REQUESTS_ADDRESS_MAX)) {
        op->call->refusal.retry_s = 3600;
        return pag_refuse(op->call, PAG_E_LIMIT, "rate-limited",
                          "Too many devices wait for this product's owner.");
    }
    a->row.created_ms = a->row.changed_ms = now;
    err = err == PAG_OK ? pag_enroll_request_insert(db, &a->row) : err;
    const struct pag_field field[] = { PAG_F_STR("id", a->row.id), PAG_F_STR("mac", a->i.mac),
                                       PAG_F_STR("address", a->row.address) };
    const struct pag_event_in event = { .type = "enrollment.waiting",
                                        .product = a->row.product,
                                        .actor = "device",
                                        .field = field,
                                        .field_n = 3 };
    return err == PAG_OK ? pag_store_event_add(tx, &event) : err;
}

static void waits(struct pag_op *op, enum pag_err err)
{
    op->call->done(op->call, err == PAG_OK ? wait(op->call) : err);
}

/* ---- approved ---- */

static enum pag_err keep(struct pag_store_tx *tx, struct pag_op *op)
{
    struct ask *a = op->data;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_enroll_request now_there;
    enum pag_err err = pag_enroll_request_get(db, a->row.id, &now_there);
    if (err == PAG_OK && now_there.state != PAG_REQUEST_APPROVED) {
        return pag_refuse(op->call, PAG_E_DENIED, NULL, "An operator has refused this device.");
    }
    err = err == PAG_OK ? check_service(op->call, db, &a->i, pag_store_tx_now(tx)) : err;
    return err == PAG_OK ? pag_issuing_keep(tx, op, &a->i) : err;
}

static void kept(struct pag_op *op, enum pag_err err)
{
    struct pag_enroll_out *out = op->out;
    const struct ask *a = op->data;
    if (err == PAG_OK) {
        PAG_COUNT(op->call->thread->app, enrolled);
        err = pag_issuing_answer(op->call, &a->i, &out->enrolled);
    }
    op->call->done(op->call, err);
}

/* The answer may be lost: what was approved is answered alike until it is forgotten. */
static enum pag_err issued_before(struct pag_call *call, struct pag_issuing *i)
{
    const struct pag_cert_filter mine = { .device = i->id, .product = "" };
    struct pag_cert_row *row = NULL;
    size_t n = 0;
    enum pag_err err = pag_cert_list(call->thread->db, call->arena, &mine, 16, &row, &n);
    for (size_t k = 0; err == PAG_OK && k < n && !i->repeated; k++) {
        if (row[k].revoked_ms == 0 && memcmp(row[k].key, i->key, sizeof i->key) == 0) {
            err = pag_cert_get(call->thread->db, call->arena, row[k].serial, row[k].serial_n, &i->row);
            i->repeated = err == PAG_OK;
        }
    }
    return err;
}

static void grant(struct pag_op *op, const struct pag_ask_in *in)
{
    struct pag_call *call = op->call;
    struct ask *a = op->data;
    enum pag_err err = issued_before(call, &a->i);
    if (err == PAG_OK && a->i.repeated) {
        kept(op, PAG_OK);
        return;
    }
    err = err == PAG_OK
              ? pag_issuing_make(call, &a->i, a->i.id, in->csr, call->thread->app->config.device_lifetime_s)
              : err;
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    op->after = kept;
    pag_op_submit(op, keep);
}

static void begin(struct pag_op *op, const struct pag_ask_in *in)
{
    struct ask *a = op->data;
    pag_make_id(a->row.id, "req_", 8);
    memcpy(a->row.key, a->i.key, sizeof a->row.key);
    memcpy(a->row.product, a->i.product.id, sizeof a->row.product);
    memcpy(a->row.device, a->i.id, sizeof a->row.device);
    (void)pag_text_copy(a->row.address, sizeof a->row.address, pag_span_str(in->address));
    op->after = waits;
    pag_op_submit(op, begin_waiting);
}

void pag_app_ask(struct pag_call *call, const struct pag_ask_in *in, struct pag_enroll_out *out)
{
    struct ask *a = pag_arena_alloc(call->arena, sizeof *a);
    struct pag_op *op = pag_op_new(call, a, out);
    if (op == NULL) {
        return;
    }
    op->data = a;
    enum pag_err err = prepare(call, in, a);
    err =
        err == PAG_OK ? check_service(call, call->thread->db, &a->i, pag_app_now_ms(call->thread->app)) : err;
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    err = pag_enroll_request_by_key(call->thread->db, a->i.key, &a->row);
    if (err == PAG_E_NOT_FOUND) {
        begin(op, in);
        return;
    }
    bool mine =
        err == PAG_OK && strcmp(a->row.device, a->i.id) == 0 && strcmp(a->row.product, a->i.product.id) == 0;
    if (err == PAG_OK && (!mine || a->row.state == PAG_REQUEST_DENIED)) {
        err = pag_refuse(call, PAG_E_DENIED, NULL,
                         mine ? "An operator has refused this device."
                              : "This key has asked as another device.");
    } else if (err == PAG_OK && a->row.state == PAG_REQUEST_APPROVED) {
        grant(op, in);
        return;
    }
    call->done(call, err == PAG_OK ? wait(call) : err);
}

/* ---- operators ---- */

enum pag_err pag_app_asks(struct pag_call *call, struct pag_enroll_request **list, size_t *n)
{
    return pag_enroll_request_list(call->thread->db, call->arena,
                                   call->scope.product != NULL ? call->scope.product : "", list, n);
}

static enum pag_err decide(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_ask_decision *in = op->in;
    struct pag_enroll_request r;
    enum pag_err err = pag_enroll_request_get(pag_store_tx_db(tx), in->id, &r);
    if (err != PAG_OK || !pag_scope_sees(&op->call->scope, r.product)) {
        return err != PAG_OK ? err : PAG_E_NOT_FOUND;
    }
    r.state = in->approve ? PAG_REQUEST_APPROVED : PAG_REQUEST_DENIED;
    r.changed_ms = pag_store_tx_now(tx);
    (void)pag_text_copy(r.actor, sizeof r.actor, pag_span_str(pag_actor_of(op->call)));
    err = pag_enroll_request_decide(pag_store_tx_db(tx), &r);
    const struct pag_field field[] = { PAG_F_STR("mac", r.device), PAG_F_STR("address", r.address) };
    const struct pag_event_in event = { .type = in->approve ? "enrollment.approved" : "enrollment.denied",
                                        .product = r.product,
                                        .actor = pag_actor_of(op->call),
                                        .field = field,
                                        .field_n = 2 };
    return err == PAG_OK ? pag_store_audit_add(tx, &event, r.id) : err;
}

void pag_app_ask_decide(struct pag_call *call, const struct pag_ask_decision *in)
{
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        pag_op_submit(op, decide);
    }
}

enum pag_err pag_app_ask_allowed(struct pag_call *call, const char *product, bool *allowed)
{
    struct pag_product p;
    enum pag_err err = pag_find_product(call, call->thread->db, product, &p);
    return err == PAG_OK ? pag_enroll_profile_get(call->thread->db, p.id, allowed) : err;
}

static enum pag_err allow(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_ask_allow *in = op->in;
    struct pag_product p;
    enum pag_err err = pag_find_product(op->call, pag_store_tx_db(tx), in->product, &p);
    err = err == PAG_OK ? pag_enroll_profile_put(pag_store_tx_db(tx), p.id, in->allow, pag_store_tx_now(tx))
                        : err;
    const struct pag_field field[] = { PAG_F_U64("approval", in->allow) };
    const struct pag_event_in event = { .type = "product.enrollment",
                                        .product = p.id,
                                        .actor = pag_actor_of(op->call),
                                        .field = field,
                                        .field_n = 1 };
    return err == PAG_OK ? pag_store_audit_add(tx, &event, p.id) : err;
}

void pag_app_ask_allow(struct pag_call *call, const struct pag_ask_allow *in)
{
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        pag_op_submit(op, allow);
    }
}
