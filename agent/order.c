#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

/*
 * Signed commands: docs/spec/commands.md. The counter is in flash before anything is done, so that a cut
 * loses a command rather than obeying it twice; what ends the device's identity is carried out when the
 * server has the answer, or has not taken it for UNDO_MS.
 */

enum { UNDO_MS = 120000 };
_Static_assert(2 * PAG_TRUST_MAX <= PAG_AGENT_SCRATCH_BYTES, "a set's bytes and the set");
_Static_assert(sizeof(struct pag_trust_set) <= PAG_TRUST_MAX, "the set where bytes would lie");
_Static_assert((int)PAG_SIGNED_COMMAND_ARG_MAX <= (int)PAG_CLAIM_MAX, "a claim that is taken can be kept");

void pag_in_order_take(struct pag_inner *a, const struct pag_native_command *c)
{
    if (c->id == 0 || a->result.has || a->order.n > 0 || a->undo != 0 || pag_in_seen_before(a, c->id)) {
        return;
    }
    a->fig.commands++;
    if (c->order.n == 0) {
        pag_in_log(a, "agent.command", "unsigned", c->kind);
        pag_in_answered(a, c->id, PAG_E_SIGNATURE, "command: of a kind that must be signed");
        return;
    }
    if (c->order.n > sizeof a->order.cose) { /* the wire's limit is the same */
        pag_in_answered(a, c->id, PAG_E_RANGE, "command: too long");
        return;
    }
    a->order.n = (uint16_t)c->order.n;
    a->order.kind = c->kind;
    a->order.id = c->id;
    memcpy(a->order.cose, c->order.p, c->order.n);
}

static enum pag_err verify(struct pag_inner *a, struct pag_signed_command *c, struct pag_fail *why)
{
    struct pag_buf raw = pag_in_scratch(a, 0, PAG_TRUST_MAX);
    struct pag_trust_set *set = (struct pag_trust_set *)(void *)(a->scratch + PAG_TRUST_MAX);
    if (a->trust_version == 0 || pag_in_trust_get(a, &raw, set) != PAG_OK) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "command: there is no trust set", 0);
    }
    const struct pag_signed_command_target t = {
        .product = a->set->product,
        .device = pag_span_str(a->id),
        .counter = a->counter,
        .now_unix_s = pag_in_now_s(a),
    };
    enum pag_err err = pag_signed_command_verify(a->port->crypto, pag_span_of(a->order.cose, a->order.n), set,
                                                 a->j.epoch, c, why);
    err = err == PAG_OK ? pag_signed_command_admit(c, &t, why) : err;
    if (err == PAG_OK && c->kind != a->order.kind) {
        err = pag_fail_set(why, PAG_E_CONFLICT, "command: another kind than its envelope says", c->kind);
    }
    return err;
}

/* What this device could never carry out is refused before it counts. */
static enum pag_err possible(const struct pag_inner *a, const struct pag_signed_command *c,
                             struct pag_fail *why)
{
    bool asks = a->hooks != NULL && a->hooks->on_command != NULL;
    if (c->kind == PAG_COMMAND_RESET && !asks) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "command: the application knows no commands", 0);
    }
    if (c->kind != PAG_COMMAND_REENROLL) {
        return PAG_OK;
    }
    if (a->own_certificate) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "command: the certificate is built in", 0);
    }
    if (c->arg.n > 0 ? !pag_utf8_ok(c->arg) : a->set->claim[0] == 0) {
        return pag_fail_set(why, PAG_E_CONFIG, "command: no claim to enrol with", 0);
    }
    return PAG_OK;
}

/* The record anew with counter and claim; drop: without the identity. */
static enum pag_err keep(struct pag_inner *a, bool drop, const struct pag_span *claim)
{
    struct pag_in_identity in = { 0 };
    struct pag_buf from = pag_in_scratch(a, 0, PAG_IN_TAIL);
    struct pag_buf to = pag_in_scratch(a, PAG_IN_TAIL, PAG_IN_TAIL);
    if (a->config_twin.has && pag_in_identity_get(a, &from, &in) != PAG_OK) {
        return PAG_E_IO; /* never overwrite what cannot be read */
    }
    if (drop) {
        in.id = in.certificate = in.key = in.mqtt_host = (struct pag_span){ 0 };
        in.mqtt_port = 0;
    }
    in.claim = claim != NULL ? *claim : in.claim;
    in.floor_s = pag_in_floor(a);
    in.token_s = a->token_s;
    return pag_in_identity_put(a, &in, &to);
}

static enum pag_err record(struct pag_inner *a, const struct pag_signed_command *c, struct pag_fail *why)
{
    uint32_t before = a->counter;
    a->counter = c->counter;
    if (keep(a, false, &c->arg) == PAG_OK) {
        return PAG_OK;
    }
    a->counter = before;
    return pag_fail_set(why, PAG_E_IO, "command: its counter cannot be kept", c->counter);
}

static enum pag_err ask_application(struct pag_inner *a, const struct pag_signed_command *c)
{
    struct pag_buf text = { a->result.text, 0, sizeof a->result.text };
    if (c->kind == PAG_COMMAND_REENROLL || a->hooks == NULL || a->hooks->on_command == NULL) {
        return PAG_OK;
    }
    const struct pag_agent_command out = { c->kind, a->order.id, c->arg };
    enum pag_err err = a->hooks->on_command(a->hooks_ctx, &out, &text);
    a->result.text_n = (uint8_t)(pag_utf8_ok(pag_buf_span(&text)) ? text.n : 0);
    return err;
}

static void judge(struct pag_inner *a)
{
    struct pag_signed_command c = { 0 };
    struct pag_fail why = { 0 }; /* says nothing in builds that save the texts */
    a->result.text_n = 0;
    enum pag_err err = verify(a, &c, &why);
    err = err == PAG_OK ? possible(a, &c, &why) : err;
    err = err == PAG_OK ? record(a, &c, &why) : err;
    err = err == PAG_OK ? ask_application(a, &c) : err;
    pag_in_log(a, "agent.command", pag_err_word(err), a->order.kind);
    pag_in_answered(a, a->order.id, err, why.what);
    if (err == PAG_OK) {
        a->undo = c.kind;
        a->undo_ms = a->now_ms;
    }
    a->order.n = 0;
}

/* True: the device restarts now. */
static bool carry_out(struct pag_inner *a)
{
    static const struct pag_span none = { 0 };
    enum pag_err err = PAG_OK;
    if (a->undo != PAG_COMMAND_RESET) {
        err = keep(a, true, a->undo == PAG_COMMAND_WIPE ? &none : NULL);
    }
    if (err != PAG_OK) { /* flash that fails may not fail the next time */
        a->undo_ms = a->now_ms;
        (void)pag_in_fail(a, err, "command: identity cannot be given up");
        return false;
    }
    a->undo = 0;
    pag_in_enter(a, PAG_AGENT_REBOOT);
    return true;
}

bool pag_in_order_step(struct pag_inner *a)
{
    if (a->order.n > 0 && !a->result.has) {
        judge(a);
        return true;
    }
    bool told = !a->result.has || pag_in_passed(a, a->undo_ms, UNDO_MS);
    return a->undo != 0 && told && pag_in_may_reboot(a) && carry_out(a);
}
