#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

/*
 * While a set is being accepted scratch holds: the new set's bytes, the old set's bytes, the old set; the new
 * set then takes the place of the old bytes.
 */
enum { POLL_MS = 20, NEW_AT = 0, OLD_RAW_AT = PAG_TRUST_MAX, OLD_AT = 2 * PAG_TRUST_MAX };
_Static_assert(OLD_AT + sizeof(struct pag_trust_set) <= PAG_AGENT_SCRATCH_BYTES,
               "two sets and a new one fit");
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

static enum pag_err accept(struct pag_inner *a, const char **what)
{
    struct pag_span cose = pag_span_of(a->scratch + NEW_AT, a->x.body_n);
    struct pag_trust_set *next = (struct pag_trust_set *)(void *)(a->scratch + OLD_RAW_AT);
    struct pag_trust_set *old = (struct pag_trust_set *)(void *)(a->scratch + OLD_AT);
    struct pag_fail why = { 0 };
    enum pag_err err = PAG_E_SPACE;
    *what = "trust set too large";
    if (cose.n > PAG_TRUST_MAX) {
        return err;
    }
    if (a->trust_version == 0) {
        err = pag_trust_accept_first(a->port->crypto, cose, a->set->trust_pin, next, &why);
    } else {
        uint8_t digest[PAG_SHA256_BYTES];
        struct pag_buf raw = pag_in_scratch(a, OLD_RAW_AT, PAG_TRUST_MAX);
        err = pag_in_trust_get(a, &raw, old);
        if (err == PAG_OK) {
            pag_sha256_of(a->port->crypto, pag_buf_span(&raw), digest);
            err = pag_trust_accept_next(a->port->crypto, old, digest, cose, next, &why);
        }
    }
    *what = why.what != NULL ? why.what : "trust set refused";
    if (err == PAG_OK && memcmp(next->product, a->set->product, sizeof next->product) != 0) {
        *what = "trust set of another product";
        err = PAG_E_PRODUCT;
    }
    if (err != PAG_OK) {
        return err;
    }
    uint32_t version = next->version;
    struct pag_buf chunk = pag_in_scratch(a, OLD_RAW_AT, PAG_TRUST_MAX);
    *what = "trust set cannot be stored";
    err = pag_twin_write(&a->trust_twin, cose, chunk);
    if (err == PAG_OK) {
        a->trust_version = version;
        pag_in_log(a, "agent.trust", NULL, version);
    }
    return err;
}

uint32_t pag_in_state_trust(struct pag_inner *a)
{
    const char *what = "trust set: no answer";
    enum pag_err err = PAG_E_CONFIG;
    if (a->entered) {
        a->entered = false;
        what = "no trust_pin: updates are off";
        err = a->trust_version > 0 || a->set->has_trust_pin ? ask(a) : PAG_E_CONFIG;
        if (err == PAG_OK) {
            return 0;
        }
    } else {
        err = pag_in_answer(a);
        if (err == PAG_E_AGAIN) {
            return POLL_MS;
        }
        if (err == PAG_OK) {
            err = pag_in_judge(a, &what);
        }
        if (err == PAG_OK) {
            err = accept(a, &what);
        }
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
