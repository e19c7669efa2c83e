#include "agent/inner.h"
#include "core/bytes.h"

/*
 * The key is stored before the server is asked for a certificate, and kept until the certificate is stored
 * with it: an answer that is lost, or a cut anywhere, is followed by the same request with the same key,
 * which the server answers the same for ten minutes. Key and request stay in the tail of scratch meanwhile;
 * nothing else uses scratch then.
 */
enum { CSR_MAX = 448, POLL_MS = 20, WAIT_MS = 1000, STATUS_GONE = 410 };
enum { KEY_AT = PAG_AGENT_SCRATCH_BYTES - PAG_IN_KEY_MAX - 8, CSR_AT = KEY_AT - CSR_MAX };
enum { RECORD_MAX = 1400 }; /* id, key, host, claim: a record that waits for its certificate */
_Static_assert((int)CSR_AT >= (int)PAG_IN_REQUEST_MAX + RECORD_MAX, "a record fits between request and CSR");
_Static_assert((int)CSR_AT >= (int)PAG_IN_BODY_MAX, "a reply does not overwrite key and request");

/* Two bytes before each say its length. */
static struct pag_span kept(const struct pag_inner *a, uint32_t at)
{
    return pag_span_of(a->scratch + at + 4, pag_u16le(a->scratch + at));
}

/* The record into scratch from at, which has room for one without a certificate; all empty: there is none. */
static enum pag_err pending(struct pag_inner *a, uint32_t at, struct pag_in_identity *in)
{
    struct pag_buf record = pag_in_scratch(a, at, RECORD_MAX);
    *in = (struct pag_in_identity){ 0 };
    return a->config_twin.has ? pag_in_identity_get(a, &record, in) : PAG_OK;
}

/* A claim that came with a signed command goes before the one of the settings. */
static struct pag_span claim_of(const struct pag_inner *a, const struct pag_in_identity *in)
{
    return in->claim.n > 0 ? in->claim : pag_span_str(a->set->claim);
}

/* The claim stays with the key: a cut asks again with both. */
static enum pag_err keep_key(struct pag_inner *a, struct pag_span key, struct pag_span claim)
{
    struct pag_in_identity in = {
        .key = key, .claim = claim, .floor_s = pag_in_floor(a), .token_s = a->token_s
    };
    struct pag_buf record = pag_in_scratch(a, RECORD_MAX, RECORD_MAX);
    return pag_in_identity_put(a, &in, &record);
}

static enum pag_err make_key(struct pag_inner *a)
{
    struct pag_buf key = pag_in_scratch(a, KEY_AT + 4, PAG_IN_KEY_MAX);
    struct pag_buf csr = pag_in_scratch(a, CSR_AT + 4, CSR_MAX - 4);
    struct pag_in_identity in;
    /* A record that cannot be read may hold the key that the claim was spent on: never write over it. */
    enum pag_err err = pending(a, 0, &in);
    if (err == PAG_OK && claim_of(a, &in).n == 0) {
        err = PAG_E_CONFIG;
    }
    if (err == PAG_OK) { /* of an enrolment that was cut or is to be done again; may be empty */
        err = pag_buf_put(&key, in.key);
    }
    bool old = key.n > 0;
    if (err == PAG_OK) {
        err = a->port->make_csr(a->port->ctx, a->id, &key, &csr);
    }
    if (err == PAG_OK && !old) {
        err = keep_key(a, pag_buf_span(&key), in.claim);
    }
    if (err == PAG_OK) {
        pag_put_u32le(a->scratch + KEY_AT, (uint32_t)key.n);
        pag_put_u32le(a->scratch + CSR_AT, (uint32_t)csr.n);
    }
    return err;
}

static enum pag_err ask(struct pag_inner *a)
{
    struct pag_in_identity in;
    enum pag_err err = pending(a, PAG_IN_REQUEST_MAX, &in); /* behind the request */
    struct pag_native_enroll m = {
        .claim = claim_of(a, &in),
        .csr = kept(a, CSR_AT),
        .mac = pag_span_str(a->set->mac),
        .chip = a->set->chip,
        .hardware = pag_span_of(a->set->hardware, a->set->hardware_n),
        .version = pag_span_str(a->set->version),
    };
    struct pag_buf body = pag_in_scratch(a, PAG_IN_REQUEST_MAX / 2, PAG_IN_REQUEST_MAX / 2);
    err = err == PAG_OK ? pag_native_enroll_put(&body, &m) : err;
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
    if (m.mqtt_host.n > PAG_HOST_MAX) { /* the certificate counts; the broker is looked for at the server */
        pag_in_log(a, "agent.broker_ignored", "name too long", (int64_t)m.mqtt_host.n);
        m.mqtt_host.n = 0;
        m.mqtt_port = 0;
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

static uint32_t begin(struct pag_inner *a)
{
    enum pag_err err = make_key(a);
    if (err != PAG_OK) {
        (void)wait_and_retry(a, err, "enrolment: no claim, or no key could be made and kept");
        a->entered = true;
        return WAIT_MS;
    }
    a->entered = false;
    return 0;
}

uint32_t pag_in_state_enroll(struct pag_inner *a)
{
    if (a->renewal.active) {
        return pag_in_renew(a);
    }
    const char *what = "enrolment: no answer";
    if (a->x.phase == PAG_IN_X_IDLE) {
        if (a->claim_gone || !pag_in_passed(a, a->due_ms, a->due_after)) {
            return WAIT_MS;
        }
        if (a->entered) {
            return begin(a);
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
        /* withdrawn, used up or expired: asking goes on with another claim, after a restart */
        a->claim_gone = a->x.phase == PAG_IN_X_DONE && a->x.reply.status == STATUS_GONE;
        what = a->claim_gone ? "claim: used up, expired or withdrawn" : what;
        return wait_and_retry(a, err, what);
    }
    pag_in_log(a, "agent.enrolled", a->id, 0);
    pag_in_forget(a, false); /* the next connection carries the certificate */
    a->fails = 0;
    pag_in_due(a, 0);
    pag_in_enter(a, PAG_AGENT_IDLE);
    return 0;
}
