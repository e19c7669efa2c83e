#include "agent/inner.h"
#include "core/bytes.h"

/*
 * Key and request stay in the tail of scratch while the server is asked, so that a lost answer is asked for
 * again with the same key (the server answers the same for ten minutes). Nothing else uses scratch then.
 */
enum { CSR_MAX = 448, POLL_MS = 20 };
enum { KEY_AT = PAG_AGENT_SCRATCH_BYTES - PAG_IN_KEY_MAX - 8, CSR_AT = KEY_AT - CSR_MAX };
_Static_assert((int)CSR_AT >= (int)PAG_IN_BODY_MAX, "a reply does not overwrite key and request");

/* Two bytes before each say its length. */
static struct pag_span kept(const struct pag_inner *a, uint32_t at)
{
    return pag_span_of(a->scratch + at + 4, pag_u16le(a->scratch + at));
}

static enum pag_err make_key(struct pag_inner *a)
{
    struct pag_buf key = pag_in_scratch(a, KEY_AT + 4, PAG_IN_KEY_MAX);
    struct pag_buf csr = pag_in_scratch(a, CSR_AT + 4, CSR_MAX - 4);
    enum pag_err err = a->port->make_csr(a->port->ctx, a->id, &key, &csr);
    if (err == PAG_OK) {
        pag_put_u32le(a->scratch + KEY_AT, (uint32_t)key.n);
        pag_put_u32le(a->scratch + CSR_AT, (uint32_t)csr.n);
    }
    return err;
}

static enum pag_err ask(struct pag_inner *a)
{
    struct pag_native_enroll m = {
        .claim = pag_span_str(a->set->claim),
        .csr = kept(a, CSR_AT),
        .mac = pag_span_str(a->set->mac),
        .chip = a->set->chip,
        .hardware = pag_span_of(a->set->hardware, a->set->hardware_n),
        .version = pag_span_str(a->set->version),
    };
    struct pag_buf body = pag_in_scratch(a, PAG_IN_REQUEST_MAX / 2, PAG_IN_REQUEST_MAX / 2);
    enum pag_err err = pag_native_enroll_put(&body, &m);
    if (err != PAG_OK) {
        return err;
    }
    return pag_in_ask(
        a, &(struct pag_in_request){ .method = "POST", .path = "/v1/enroll", .body = pag_buf_span(&body) });
}

static enum pag_err keep(struct pag_inner *a)
{
    struct pag_native_enrolled m;
    enum pag_err err = pag_native_enrolled_get(pag_span_of(a->scratch, a->x.body_n), &m);
    if (err != PAG_OK || !pag_device_id_ok(m.device_id)) {
        return PAG_E_SYNTAX;
    }
    if (!pag_span_eq(m.product, pag_span_of(a->set->product, sizeof a->set->product))) {
        return PAG_E_PRODUCT;
    }
    /* The record is put together behind the reply, which is at most half of what is left. */
    struct pag_in_identity in = {
        .id = m.device_id,
        .certificate = m.certificate,
        .key = kept(a, KEY_AT),
        .mqtt_host = m.mqtt_host,
        .mqtt_port = m.mqtt_port,
        .floor_s = pag_in_floor(a),
    };
    uint32_t at = (a->x.body_n + 7) & ~7U;
    if (at >= CSR_AT) {
        return PAG_E_SPACE;
    }
    struct pag_buf buf = pag_in_scratch(a, at, CSR_AT - at);
    err = pag_in_identity_put(a, &in, &buf);
    return err == PAG_OK ? pag_in_identity_load(a) : err;
}

static uint32_t wait_and_retry(struct pag_inner *a, enum pag_err err, const char *what)
{
    (void)pag_in_fail(a, err, what);
    pag_in_forget(a, false);
    pag_in_back_off(a);
    pag_in_enter(a, PAG_AGENT_ENROLL); /* back_off has set the time, ENROLL waits for it */
    a->entered = false;
    return POLL_MS;
}

uint32_t pag_in_state_enroll(struct pag_inner *a)
{
    const char *what = "enrolment: no answer";
    if (a->entered) {
        a->entered = false;
        enum pag_err err = a->set->claim[0] == 0 ? PAG_E_CONFIG : make_key(a);
        if (err != PAG_OK) {
            (void)pag_in_fail(a, err, "enrolment: no claim, or no key could be made");
            a->entered = true;
            return 1000;
        }
        pag_in_due(a, 0);
    }
    if (a->x.phase == PAG_IN_X_IDLE) {
        if (!pag_in_passed(a, a->due_ms, a->due_after)) {
            return 1000;
        }
        enum pag_err err = ask(a);
        return err == PAG_OK ? 0 : wait_and_retry(a, err, "enrolment: request too large");
    }
    enum pag_err err = pag_in_answer(a);
    if (err == PAG_E_AGAIN) {
        return POLL_MS;
    }
    if (err == PAG_OK) {
        err = pag_in_judge(a, &what);
    }
    if (err == PAG_OK) {
        what = "enrolment: answer not usable";
        err = keep(a);
    }
    if (err != PAG_OK) {
        return wait_and_retry(a, err, what);
    }
    pag_in_log(a, "agent.enrolled", a->id, 0);
    pag_in_forget(a, false); /* the next connection carries the certificate */
    a->fails = 0;
    pag_in_due(a, 0);
    pag_in_enter(a, PAG_AGENT_IDLE);
    return 0;
}
