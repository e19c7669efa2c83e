#include "agent/certificate.h"
#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

/*
 * The next certificate at two thirds of the present one's life, for a new key, asked for over the present
 * one. Nothing is written before the new certificate is there; then one record takes the place of the other,
 * and a cut leaves either whole. The server takes the old one until the new one has been used, so what goes
 * wrong on the way costs a try and no more.
 *
 * Key and request wait behind the outgoing request while the connection is opened, because the present
 * identity is read into the tail for that, and in the tail from then on, out of the answer's way.
 */
enum { CSR_MAX = 448, POLL_MS = 20, TRIES = 32 /* in a life */, WAIT_MAX_S = 86400 };
enum { BLOCK = CSR_MAX + PAG_IN_KEY_MAX + 8 };
enum { LATE_AT = PAG_AGENT_SCRATCH_BYTES - BLOCK, EARLY_AT = PAG_IN_REQUEST_MAX - BLOCK };
enum { BODY_AT = PAG_IN_REQUEST_MAX / 2, BODY_MAX = EARLY_AT - BODY_AT };
_Static_assert((int)LATE_AT >= (int)PAG_IN_BODY_MAX, "an answer does not overwrite key and request");
_Static_assert((int)BODY_MAX >= CSR_MAX + 128, "a request fits before key and request");

void pag_in_renew_plan(struct pag_inner *a, struct pag_span certificate)
{
    struct pag_certificate_life life;
    struct pag_in_renewal *r = &a->renewal;
    memset(r, 0, sizeof *r);
    if (pag_certificate_life(certificate, &life) != PAG_OK || life.until_s - life.from_s > UINT32_MAX) {
        return;
    }
    r->life_s = (uint32_t)(life.until_s - life.from_s);
    r->at_s = life.until_s - r->life_s / 3;
}

bool pag_in_renew_due(const struct pag_inner *a)
{
    const struct pag_in_renewal *r = &a->renewal;
    return r->at_s != 0 && a->has_record && !a->own_certificate && !a->trial && a->contact_ever &&
           pag_in_now_s(a) >= r->at_s && pag_in_passed(a, r->since_ms, r->wait_ms);
}

void pag_in_renew_begin(struct pag_inner *a)
{
    a->renewal.active = true;
    pag_in_forget(a, false);
    pag_in_enter(a, PAG_AGENT_ENROLL);
}

/* Length in front, as in enroll.c: request, then key. */
static struct pag_buf part(const struct pag_inner *a, uint32_t block, bool key)
{
    uint32_t at = block + (key ? (uint32_t)CSR_MAX : 0);
    return pag_in_scratch(a, at + 4, (key ? (uint32_t)PAG_IN_KEY_MAX : CSR_MAX - 4));
}

static struct pag_span kept(const struct pag_inner *a, uint32_t block, bool key)
{
    struct pag_buf b = part(a, block, key);
    return pag_span_of(b.p, pag_u16le(b.p - 4));
}

static enum pag_err ask(struct pag_inner *a)
{
    struct pag_buf key = part(a, EARLY_AT, true);
    struct pag_buf csr = part(a, EARLY_AT, false);
    enum pag_err err = a->port->make_csr(a->port->ctx, a->id, &key, &csr);
    if (err != PAG_OK) {
        return err;
    }
    pag_put_u32le(key.p - 4, (uint32_t)key.n);
    pag_put_u32le(csr.p - 4, (uint32_t)csr.n);
    struct pag_native_enroll m = {
        .csr = pag_buf_span(&csr),
        .mac = pag_span_str(a->set->mac),
        .chip = a->set->chip,
        .hardware = pag_span_of(a->set->hardware, a->set->hardware_n),
        .version = pag_span_str(a->set->version),
    };
    struct pag_buf body = pag_in_scratch(a, BODY_AT, BODY_MAX);
    err = pag_native_enroll_put(&body, &m);
    if (err == PAG_OK) {
        err = pag_in_ask(a, &(struct pag_in_request){
                                .method = "POST", .path = "/v1/enroll", .body = pag_buf_span(&body) });
    }
    return err == PAG_OK && a->x.request_n > EARLY_AT ? PAG_E_SPACE : err;
}

/* What a lying server might strand the device with is not taken. */
static enum pag_err judge(const struct pag_inner *a, const struct pag_native_enrolled *m)
{
    struct pag_certificate_life life;
    if (!pag_span_eq_str(m->device_id, a->id) || pag_certificate_life(m->certificate, &life) != PAG_OK ||
        !pag_certificate_of_request(m->certificate, kept(a, LATE_AT, false))) {
        return PAG_E_SYNTAX;
    }
    if (!pag_span_eq(m->product, pag_span_of(a->set->product, sizeof a->set->product))) {
        return PAG_E_PRODUCT;
    }
    return life.until_s > a->renewal.at_s + a->renewal.life_s / 3 ? PAG_OK : PAG_E_STALE;
}

/* The record as it is, but for certificate and key. Old and new one are put together behind the answer. */
static enum pag_err keep(struct pag_inner *a)
{
    struct pag_native_enrolled m;
    struct pag_in_identity in = { 0 };
    enum pag_err err = pag_native_enrolled_get(pag_span_of(a->scratch, a->x.body_n), &m);
    err = err == PAG_OK ? judge(a, &m) : err;
    if (err != PAG_OK) {
        return err;
    }
    memmove(a->scratch, m.certificate.p, m.certificate.n);
    uint32_t at = ((uint32_t)m.certificate.n + 7) & ~7U;
    uint32_t old_n = (a->config_twin.n + 7) & ~7U;
    if (old_n >= LATE_AT - at) {
        return PAG_E_SPACE;
    }
    struct pag_buf old = pag_in_scratch(a, at, old_n);
    struct pag_buf new = pag_in_scratch(a, at + old_n, LATE_AT - at - old_n);
    err = pag_in_identity_get(a, &old, &in);
    if (err != PAG_OK) {
        return err;
    }
    in.certificate = pag_span_of(a->scratch, m.certificate.n);
    in.key = kept(a, LATE_AT, true);
    in.floor_s = pag_in_floor(a);
    in.token_s = a->token_s;
    err = pag_in_identity_put(a, &in, &new);
    if (err == PAG_OK) {
        pag_in_renew_plan(a, in.certificate);
    }
    return err;
}

static uint32_t leave(struct pag_inner *a)
{
    a->renewal.active = false;
    pag_in_forget(a, false); /* the next connection shows what is in the record */
    memset(a->scratch + EARLY_AT, 0, BLOCK);
    memset(a->scratch + LATE_AT, 0, BLOCK);
    pag_in_enter(a, PAG_AGENT_IDLE);
    return 0;
}

/* Once in a thirty-second part of the life, at most daily, not before the server says; after success too, or
 * a clock floor that is ahead of the time would ask on and on. */
static void wait_for_next(struct pag_inner *a)
{
    struct pag_in_renewal *r = &a->renewal;
    uint32_t s = r->life_s / TRIES < WAIT_MAX_S ? r->life_s / TRIES : WAIT_MAX_S;
    s = s > a->set->backoff_min_s ? s : a->set->backoff_min_s;
    s = s > a->retry_after_s ? s : a->retry_after_s;
    a->retry_after_s = 0;
    r->since_ms = a->now_ms;
    r->wait_ms = pag_in_ms(s) + pag_in_random(a, pag_in_ms(s) / 8 + 1);
}

static uint32_t give_up(struct pag_inner *a, enum pag_err err, const char *what)
{
    (void)pag_in_fail(a, err, what);
    wait_for_next(a);
    return leave(a);
}

uint32_t pag_in_renew(struct pag_inner *a)
{
    const char *what = "renewal: no key or request could be made";
    enum pag_err err = PAG_OK;
    if (a->x.phase == PAG_IN_X_IDLE) {
        a->entered = false;
        err = ask(a);
        return err == PAG_OK ? 0 : give_up(a, err, what);
    }
    bool opening = a->x.phase == PAG_IN_X_OPEN;
    what = "renewal: no answer";
    err = pag_in_answer(a);
    if (opening && a->x.phase == PAG_IN_X_READY) {
        memcpy(a->scratch + LATE_AT, a->scratch + EARLY_AT, BLOCK);
    }
    if (err == PAG_E_AGAIN) {
        return POLL_MS;
    }
    if (err == PAG_OK) {
        err = pag_in_judge(a, &what);
    }
    if (err == PAG_OK) {
        what = "renewal: answer not usable, or not kept";
        err = keep(a);
    }
    if (err != PAG_OK) {
        return give_up(a, err, what);
    }
    wait_for_next(a);
    pag_in_log(a, "agent.renewed", a->id, (int64_t)a->renewal.at_s);
    return leave(a);
}
