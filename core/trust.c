#include "core/trust.h"

#include "core/bytes.h"
#include "core/cose.h"
#include "core/mem.h"
#include "core/trust_fields.h"

const struct pag_trust_key *pag_trust_release_key(const struct pag_trust_set *t,
                                                  const uint8_t id[PAG_KEY_ID_BYTES], uint32_t kind,
                                                  uint32_t epoch)
{
    for (size_t i = 0; i < t->release_n; i++) {
        const struct pag_trust_key *k = &t->release[i];
        if (memcmp(k->id, id, PAG_KEY_ID_BYTES) == 0) {
            bool allowed = kind < 32 && (k->kinds >> kind & 1U) != 0;
            return allowed && epoch >= k->epoch_min && epoch <= k->epoch_max ? k : NULL;
        }
    }
    return NULL;
}

static enum pag_err parse(struct pag_span cose, struct pag_trust_set *out, struct pag_cose_sign *envelope,
                          struct pag_fail *why)
{
    memset(out, 0, sizeof *out);
    if (cose.n > PAG_TRUST_MAX) {
        return pag_fail_set(why, PAG_E_RANGE, "trust set: longer than allowed, bytes", cose.n);
    }
    enum pag_err err = pag_cose_sign_read(cose, envelope, why);
    if (err == PAG_OK) {
        err = pag_trust_payload_get(envelope->payload, out, why);
    }
    if (err != PAG_OK) {
        memset(out, 0, sizeof *out);
    }
    return err;
}

enum pag_err pag_trust_parse(struct pag_span cose, struct pag_trust_set *out, struct pag_fail *why)
{
    struct pag_cose_sign envelope = { 0 };
    return parse(cose, out, &envelope, why);
}

static const struct pag_trust_key *root_of(const struct pag_trust_set *t, const uint8_t id[PAG_KEY_ID_BYTES])
{
    for (size_t i = 0; t != NULL && i < t->root_n; i++) {
        if (memcmp(t->root[i].id, id, PAG_KEY_ID_BYTES) == 0) {
            return &t->root[i];
        }
    }
    return NULL;
}

/* An id is the hash of its point: so distinct ids are distinct keys, and a key counts once (M16). */
static enum pag_err check_ids(const struct pag_crypto *crypto, const struct pag_trust_key *key, size_t n,
                              struct pag_fail *why)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t id[PAG_KEY_ID_BYTES];
        pag_key_id(crypto, key[i].point, id);
        if (memcmp(id, key[i].id, sizeof id) != 0) {
            return pag_fail_set(why, PAG_E_DIGEST, "trust set: key id does not belong to its point",
                                pag_u32be(key[i].id));
        }
    }
    return PAG_OK;
}

static enum pag_err check_all_ids(const struct pag_crypto *crypto, const struct pag_trust_set *t,
                                  struct pag_fail *why)
{
    enum pag_err err = check_ids(crypto, t->root, t->root_n, why);
    if (err == PAG_OK) {
        err = check_ids(crypto, t->release, t->release_n, why);
    }
    if (err == PAG_OK) {
        err = check_ids(crypto, t->delta, t->delta_n, why);
    }
    if (err == PAG_OK) {
        err = check_ids(crypto, t->freshness, t->freshness_n, why);
    }
    return err;
}

static enum pag_err check_chain(const struct pag_trust_set *old, const uint8_t old_digest[PAG_SHA256_BYTES],
                                const struct pag_trust_set *t, struct pag_fail *why)
{
    if (memcmp(t->product, old->product, PAG_PRODUCT_ID_BYTES) != 0) {
        return pag_fail_set(why, PAG_E_PRODUCT, "trust set: another product", pag_u32be(t->product));
    }
    if (t->version <= old->version) {
        return pag_fail_set(why, PAG_E_STALE, "trust set: version not above the one held", t->version);
    }
    if (t->version - old->version != 1) {
        return pag_fail_set(why, PAG_E_RANGE, "trust set: a version before this one is missing", t->version);
    }
    if (memcmp(t->previous, old_digest, PAG_SHA256_BYTES) != 0) {
        return pag_fail_set(why, PAG_E_DIGEST, "trust set: does not follow the one held", t->version);
    }
    return PAG_OK;
}

static enum pag_err check_pin(const struct pag_crypto *crypto, struct pag_span cose, const uint8_t *pinned,
                              struct pag_fail *why)
{
    uint8_t digest[PAG_SHA256_BYTES];
    if (pinned == NULL) {
        return PAG_OK;
    }
    pag_sha256_of(crypto, cose, digest);
    return pag_equal_ct(digest, pinned, sizeof digest)
               ? PAG_OK
               : pag_fail_set(why, PAG_E_DIGEST, "trust set: not the pinned one", pag_u32be(digest));
}

enum pag_err pag_trust_check_begin(struct pag_trust_check *c, const struct pag_crypto *crypto,
                                   const uint8_t *bound_to, struct pag_span cose, struct pag_fail *why)
{
    enum pag_err err = parse(cose, c->out, &c->envelope, why);
    if (err == PAG_OK) {
        err = c->old == NULL ? check_pin(crypto, cose, bound_to, why)
                             : check_chain(c->old, bound_to, c->out, why);
    }
    if (err == PAG_OK) {
        err = check_all_ids(crypto, c->out, why);
    }
    if (err != PAG_OK) {
        memset(c->out, 0, sizeof *c->out);
    }
    return err;
}

/*
 * One signer. A signature by a listed root that does not verify refuses the whole set; signers that neither
 * set lists are passed over. Signers are sorted strictly by id, so none counts twice.
 */
static enum pag_err check_signer(struct pag_trust_check *c, const struct pag_crypto *crypto,
                                 struct pag_fail *why)
{
    struct pag_span id = { 0 };
    struct pag_span sig = { 0 };
    uint8_t digest[PAG_SHA256_BYTES];
    enum pag_err err = pag_cose_signer_next(&c->envelope.signers, &id, &sig);
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "trust set: signer of this index", c->at);
    }
    c->at++;
    const struct pag_trust_key *in_old = root_of(c->old, id.p);
    const struct pag_trust_key *in_new = root_of(c->out, id.p);
    const struct pag_trust_key *key = in_old != NULL ? in_old : in_new;
    if (key == NULL) {
        return PAG_E_AGAIN;
    }
    pag_cose_sign_digest(crypto, id.p, c->envelope.payload, digest);
    if (crypto->p256_verify(key->point, digest, sig.p) != PAG_OK) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "trust set: signature of this root is wrong",
                            pag_u32be(id.p));
    }
    c->by_old = (uint8_t)(c->by_old + (in_old != NULL));
    c->by_new = (uint8_t)(c->by_new + (in_new != NULL));
    return PAG_E_AGAIN;
}

static enum pag_err count_signers(const struct pag_trust_check *c, struct pag_fail *why)
{
    if (c->by_new < c->out->root_threshold) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "trust set: too few of its own roots signed", c->by_new);
    }
    if (c->old != NULL && c->by_old < c->old->root_threshold) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "trust set: too few roots of the set before signed",
                            c->by_old);
    }
    return PAG_OK;
}

enum pag_err pag_trust_check_step(struct pag_trust_check *c, const struct pag_crypto *crypto,
                                  struct pag_fail *why)
{
    enum pag_err err = c->at < c->envelope.n ? check_signer(c, crypto, why) : count_signers(c, why);
    if (err != PAG_OK && err != PAG_E_AGAIN) {
        memset(c->out, 0, sizeof *c->out);
    }
    return err;
}

static enum pag_err accept_set(struct pag_trust_check *c, const struct pag_crypto *crypto,
                               const uint8_t *bound_to, struct pag_span cose, struct pag_fail *why)
{
    enum pag_err err = pag_trust_check_begin(c, crypto, bound_to, cose, why);
    if (err == PAG_OK) {
        do {
            err = pag_trust_check_step(c, crypto, why);
        } while (err == PAG_E_AGAIN);
    }
    return err;
}

enum pag_err pag_trust_accept_first(const struct pag_crypto *crypto, struct pag_span cose,
                                    const uint8_t pinned[PAG_SHA256_BYTES], struct pag_trust_set *out,
                                    struct pag_fail *why)
{
    struct pag_trust_check c = { .out = out };
    return accept_set(&c, crypto, pinned, cose, why);
}

enum pag_err pag_trust_accept_next(const struct pag_crypto *crypto, const struct pag_trust_set *old,
                                   const uint8_t old_digest[PAG_SHA256_BYTES], struct pag_span cose,
                                   struct pag_trust_set *out, struct pag_fail *why)
{
    struct pag_trust_check c = { .old = old, .out = out };
    return accept_set(&c, crypto, old_digest, cose, why);
}

enum pag_err pag_trust_signing_digest(const struct pag_crypto *crypto, struct pag_span payload,
                                      const uint8_t key_id[PAG_KEY_ID_BYTES],
                                      uint8_t digest[PAG_SHA256_BYTES])
{
    if (payload.n == 0 || payload.n > PAG_TRUST_MAX) {
        return PAG_E_RANGE;
    }
    pag_cose_sign_digest(crypto, key_id, payload, digest);
    return PAG_OK;
}

/* Index of the signature with the least key id above *last (any, if last is NULL); n when there is none. */
static size_t next_signature(const struct pag_trust_signature *sigs, size_t n, const uint8_t *last)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        bool above = last == NULL || memcmp(sigs[i].key_id, last, PAG_KEY_ID_BYTES) > 0;
        if (above && (best == n || memcmp(sigs[i].key_id, sigs[best].key_id, PAG_KEY_ID_BYTES) < 0)) {
            best = i;
        }
    }
    return best;
}

static void put_signatures(struct pag_cbor_writer *w, const struct pag_trust_signature *sigs, size_t n)
{
    const uint8_t *last = NULL;
    pag_cbor_put_array(w, n);
    for (size_t i = 0; i < n && w->err == PAG_OK; i++) {
        uint8_t bucket[PAG_COSE_PROTECTED_BYTES];
        size_t at = next_signature(sigs, n, last);
        if (at == n) {
            w->err = PAG_E_RANGE; /* a key id twice */
            return;
        }
        last = sigs[at].key_id;
        pag_cose_protected(last, bucket);
        pag_cbor_put_array(w, 3);
        pag_cbor_put_bytes(w, pag_span_of(bucket, sizeof bucket));
        pag_cbor_put_map(w, 0);
        pag_cbor_put_bytes(w, pag_span_of(sigs[at].sig, PAG_P256_SIG_BYTES));
    }
}

enum pag_err pag_trust_envelope(struct pag_span payload, const struct pag_trust_signature *sigs, size_t n,
                                struct pag_buf *out)
{
    enum { TAG_SIGN = 98 };
    if (payload.n == 0 || n > PAG_COSE_SIGNERS_MAX) {
        return PAG_E_RANGE;
    }
    size_t start = out->n;
    struct pag_cbor_writer w = pag_cbor_write(out);
    pag_cbor_put_tag(&w, TAG_SIGN);
    pag_cbor_put_array(&w, 4);
    pag_cbor_put_bytes(&w, pag_span_of(NULL, 0));
    pag_cbor_put_map(&w, 0);
    pag_cbor_put_bytes(&w, payload);
    put_signatures(&w, sigs, n);
    if (w.err == PAG_OK && out->n - start > PAG_TRUST_MAX) {
        w.err = PAG_E_SPACE;
    }
    if (w.err != PAG_OK) {
        out->n = start;
    }
    return w.err;
}
