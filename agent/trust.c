#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

/*
 * While a set is being accepted scratch holds: the new set's bytes, the old set's bytes, the old set, how far
 * the check is; the new set then takes the place of the old bytes. It stays so from step to step: the
 * exchange is not forgotten before the end, so nobody else takes scratch.
 */
enum { POLL_MS = 20, NEW_AT = 0, OLD_RAW_AT = PAG_TRUST_MAX, OLD_AT = 2 * PAG_TRUST_MAX };
enum { CHECK_AT = (OLD_AT + sizeof(struct pag_trust_set) + 7) & ~7U };
_Static_assert(CHECK_AT + sizeof(struct pag_trust_check) <= PAG_AGENT_SCRATCH_BYTES,
               "two sets, a new one and the check fit");
_Static_assert(sizeof(struct pag_trust_set) <= PAG_TRUST_MAX, "a parsed set fits where its bytes were");

enum pag_err pag_in_trust_get(const struct pag_inner *a, struct pag_buf *raw, struct pag_trust_set *out)
{
    raw->n = 0;
    enum pag_err err = pag_twin_read(&a->trust_twin, raw);
    return err == PAG_OK ? pag_trust_parse(pag_buf_span(raw), out, NULL) : err;
}

static enum pag_err ask(struct pag_inner *a)
{
    char path[64];
    uint32_t version = a->trust_version > 0 ? a->trust_version + 1 : a->set->trust_pin_version;
    struct pag_buf b = { (uint8_t *)path, 0, sizeof path - 1 };
    enum pag_err err = pag_buf_put_str(&b, "/v1/trust/");
    err = err == PAG_OK ? pag_buf_put_hex(&b, pag_span_of(a->set->product, sizeof a->set->product)) : err;
    err = err == PAG_OK ? pag_buf_put_str(&b, "/") : err;
    err = err == PAG_OK ? pag_buf_put_dec(&b, version) : err;
    path[b.n] = 0;
    return err == PAG_OK ? pag_in_ask(a, &(struct pag_in_request){ .method = "GET", .path = path }) : err;
}

static struct pag_trust_check *check_in(const struct pag_inner *a)
{
    return (struct pag_trust_check *)(void *)(a->scratch + CHECK_AT);
}

/* Everything that takes no signature. */
static enum pag_err begin(struct pag_inner *a, const char **what)
{
    struct pag_span cose = pag_span_of(a->scratch + NEW_AT, a->x.body_n);
    struct pag_trust_set *next = (struct pag_trust_set *)(void *)(a->scratch + OLD_RAW_AT);
    struct pag_trust_check *c = check_in(a);
    const uint8_t *bound_to = a->set->trust_pin;
    uint8_t digest[PAG_SHA256_BYTES];
    struct pag_fail why = { 0 };
    *c = (struct pag_trust_check){ .out = next };
    enum pag_err err = PAG_OK;
    if (cose.n > PAG_TRUST_MAX) { /* its end would lie where the old one is read to */
        err = pag_fail_set(&why, PAG_E_SPACE, "trust set too large", cose.n);
    }
    if (err == PAG_OK && a->trust_version > 0) {
        struct pag_buf raw = pag_in_scratch(a, OLD_RAW_AT, PAG_TRUST_MAX);
        struct pag_trust_set *old = (struct pag_trust_set *)(void *)(a->scratch + OLD_AT);
        err = pag_in_trust_get(a, &raw, old);
        pag_sha256_of(a->port->crypto, pag_buf_span(&raw), digest);
        c->old = old;
        bound_to = digest;
    }
    if (err == PAG_OK) {
        err = pag_trust_check_begin(c, a->port->crypto, bound_to, cose, &why);
    }
    if (err == PAG_OK && memcmp(next->product, a->set->product, sizeof next->product) != 0) {
        err = pag_fail_set(&why, PAG_E_PRODUCT, "trust set of another product", 0);
    }
    *what = why.what != NULL ? why.what : "trust set refused";
    return err;
}

static enum pag_err keep(struct pag_inner *a, const char **what)
{
    struct pag_span cose = pag_span_of(a->scratch + NEW_AT, a->x.body_n);
    uint32_t version = check_in(a)->out->version;
    struct pag_buf chunk = pag_in_scratch(a, OLD_RAW_AT, PAG_TRUST_MAX);
    *what = "trust set cannot be stored";
    enum pag_err err = pag_twin_write(&a->trust_twin, cose, chunk);
    if (err == PAG_OK) {
        a->trust_version = version;
        pag_in_log(a, "agent.trust", NULL, version);
    }
    return err;
}

/* One signature a step: on the slowest chips one takes most of a second. PAG_E_AGAIN until the set is stored.
 */
static enum pag_err check(struct pag_inner *a, const char **what)
{
    struct pag_fail why = { 0 };
    enum pag_err err = pag_trust_check_step(check_in(a), a->port->crypto, &why);
    *what = why.what;
    return err == PAG_OK ? keep(a, what) : err;
}

/* Asks, reads the answer, checks it: one piece of that. */
static enum pag_err advance(struct pag_inner *a, const char **what)
{
    if (a->entered) {
        a->entered = false;
        a->checking_trust = false;
        *what = "no trust_pin: updates are off";
        enum pag_err err = a->trust_version > 0 || a->set->has_trust_pin ? ask(a) : PAG_E_CONFIG;
        return err == PAG_OK ? PAG_E_AGAIN : err;
    }
    if (a->checking_trust) {
        return check(a, what);
    }
    *what = "trust set: no answer";
    enum pag_err err = pag_in_answer(a);
    if (err == PAG_OK) {
        err = pag_in_judge(a, what);
    }
    if (err == PAG_OK) {
        err = begin(a, what);
    }
    a->checking_trust = err == PAG_OK;
    return err == PAG_OK ? PAG_E_AGAIN : err;
}

uint32_t pag_in_state_trust(struct pag_inner *a)
{
    const char *what = "";
    enum pag_err err = advance(a, &what);
    if (err == PAG_E_AGAIN) {
        return a->checking_trust ? 0 : POLL_MS;
    }
    if (err == PAG_E_CONFLICT) {
        return pag_in_drop(a, err, what);
    }
    if (err != PAG_OK) {
        (void)pag_in_fail(a, err, what);
        pag_in_forget(a, false);
        pag_in_back_off(a);
        return 0;
    }
    pag_in_forget(a, true);
    /* One set a round: the next one, or the check again, whose offer the new set may now admit. */
    pag_in_enter(a, a->trust_version < a->trust_wanted ? PAG_AGENT_TRUST : PAG_AGENT_POLL);
    return 0;
}
