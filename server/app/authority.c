#include <string.h>

#include "host/x509.h"
#include "server/app/enroll.h"
#include "server/app/op.h"

enum { WEEK_MS = 7 * 86400 * 1000 };

/* What an operator asks about the authorities, and what is kept of what became of them. */

enum pag_err pag_app_certificate_state(struct pag_call *call, struct pag_certificate_state *out)
{
    const struct pag_app *app = call->thread->app;
    const struct pag_ca *ca = pag_app_ca(app);
    const char *product = call->scope.product != NULL ? call->scope.product : "";
    struct pag_cert_ending ending = { 0, 0 };
    int64_t now = pag_app_now_ms(app);
    memset(out, 0, sizeof *out);
    /* Whatever was issued with more days than is usual is found when its third is as near. */
    enum pag_err err = pag_cert_ending(call->thread->db, product, now,
                                       (int64_t)app->config.device_lifetime_s * 1000, &ending);
    if (err == PAG_OK && ca != NULL && product[0] == '\0') {
        err = pag_cert_of_others(call->thread->db, pag_ca_info(ca)->key_sha256, now, &out->old);
    }
    if (err == PAG_OK) {
        err = pag_clone_count(call->thread->db, product, now - WEEK_MS, &out->suspected);
    }
    out->due = ending.due;
    out->expired = ending.expired;
    return err;
}

static enum pag_err note(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_ca_event_in *in = op->in;
    const struct pag_field field[] = { PAG_F_STR("kind", in->kind) };
    const struct pag_event_in event = { .type = in->retired ? "ca.retired" : "ca.rolled",
                                        .actor = pag_actor_of(op->call),
                                        .field = field,
                                        .field_n = 1 };
    return pag_store_audit_add(tx, &event, in->kind);
}

void pag_app_ca_event(struct pag_call *call, const struct pag_ca_event_in *in)
{
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        pag_op_submit(op, note);
    }
}
