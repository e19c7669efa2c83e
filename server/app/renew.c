#include <string.h>

#include "core/bytes.h"
#include "server/app/clones.h"
#include "server/app/enroll.h"
#include "server/app/issuing.h"

/* A device that shows its certificate gets the next one. */

enum { DAY_MS = 86400000 };

/* By the authority that is in force: after a roll-over the same key gets another certificate. */
static bool is_current(const struct pag_call *call, const struct pag_cert_row *row)
{
    struct pag_x509_info info;
    const struct pag_ca *ca = pag_app_ca(call->thread->app);
    return ca != NULL && pag_x509_info(row->der, &info) == PAG_OK &&
           strcmp(info.issuer, pag_ca_info(ca)->subject) == 0;
}

/* What it was given lately: the same key's certificate again, or too many. */
static enum pag_err look_back(struct pag_call *call, struct pag_issuing *i)
{
    const struct pag_cert_filter mine = { .device = i->id, .product = "" };
    int64_t now = pag_app_now_ms(call->thread->app);
    struct pag_cert_row *row = NULL;
    size_t n = 0;
    size_t today = 0;
    enum pag_err err = pag_cert_list(call->thread->db, call->arena, &mine, PAG_RENEWALS_A_DAY + 1, &row, &n);
    for (size_t k = 0; err == PAG_OK && k < n; k++) {
        bool same = row[k].revoked_ms == 0 && memcmp(row[k].key, i->key, sizeof i->key) == 0;
        if (same && now - row[k].issued_ms <= PAG_CLAIM_REPEAT_MS) {
            err = pag_cert_get(call->thread->db, call->arena, row[k].serial, row[k].serial_n, &i->row);
            i->repeated = err == PAG_OK && is_current(call, &i->row);
        }
        if (i->repeated) {
            return PAG_OK;
        }
        today += now - row[k].issued_ms < DAY_MS ? 1 : 0;
    }
    if (err == PAG_OK && today > PAG_RENEWALS_A_DAY) {
        call->refusal.retry_s = 3600;
        return pag_refuse(call, PAG_E_LIMIT, "rate-limited",
                          "The device has had too many certificates today.");
    }
    return err;
}

/* One whose successor has been used is its device's past: whoever has it now gets no further one with it. */
static enum pag_err check_superseded(struct pag_call *call, const struct pag_renew_in *in)
{
    struct pag_device d;
    const struct pag_tls_peer *p = in->peer;
    const struct pag_seen_in shown = { .device = in->device.device, .certificate_until = p->not_after };
    enum pag_err err = pag_device_get(call->thread->db, NULL, in->device.device, &d);
    bool newest =
        err == PAG_OK && d.cert_serial_n == p->serial_n && memcmp(d.cert_serial, p->serial, p->serial_n) == 0;
    if (err != PAG_OK || newest || !pag_app_superseded(call->thread, &shown)) {
        return err;
    }
    return pag_refuse(call, PAG_E_DENIED, NULL,
                      "The next certificate is in use already: this one renews nothing.");
}

static enum pag_err prepare(struct pag_call *call, const struct pag_renew_in *in, struct pag_issuing *i)
{
    struct pag_fail why = { 0 };
    enum pag_err err = pag_x509_csr_key(in->csr, true, i->key, &i->rsa, &why);
    if (err != PAG_OK) {
        return pag_refuse(call, err, NULL, why.what);
    }
    err = check_superseded(call, in);
    if (err != PAG_OK) {
        return err;
    }
    memcpy(i->id, in->device.device, sizeof i->id);
    err = pag_product_get(call->thread->db, in->device.product, &i->product);
    err = err == PAG_OK ? pag_issuing_check(call, i, i->id, in->csr) : err;
    err = err == PAG_OK ? look_back(call, i) : err;
    if (err != PAG_OK || i->repeated) {
        return err;
    }
    return pag_issuing_make(call, i, i->id, in->csr, call->thread->app->config.device_lifetime_s);
}

static enum pag_err keep(struct pag_store_tx *tx, struct pag_op *op)
{
    return pag_issuing_keep(tx, op, op->data);
}

static void kept(struct pag_op *op, enum pag_err err)
{
    struct pag_enroll_out *out = op->out;
    if (err == PAG_OK) {
        err = pag_issuing_answer(op->call, op->data, &out->enrolled);
    }
    op->call->done(op->call, err);
}

void pag_app_renew(struct pag_call *call, const struct pag_renew_in *in, struct pag_enroll_out *out)
{
    struct pag_issuing *i = pag_arena_alloc(call->arena, sizeof *i);
    struct pag_op *op = pag_op_new(call, i, out);
    if (op == NULL) {
        return;
    }
    op->data = i;
    op->after = kept;
    enum pag_err err = prepare(call, in, i);
    if (err != PAG_OK) {
        call->done(call, err);
    } else if (i->repeated) {
        kept(op, PAG_OK);
    } else {
        pag_op_submit(op, keep);
    }
}
