#ifndef PAG_CORE_TRUST_H
#define PAG_CORE_TRUST_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/cose.h"
#include "core/crypto.h"

/*
 * Trust set: which keys may sign what for a product; a chain of versions, each signed by enough roots of the
 * old and of the new set (TUF 5.3). COSE_Sign (tag 98). docs/spec/trust-set.md. At most PAG_TRUST_MAX bytes.
 */

enum {
    PAG_TRUST_MAX = 1536,
    PAG_TRUST_ROOTS_MAX = 5,
    PAG_TRUST_KEYS_MAX = 6,   /* release keys */
    PAG_TRUST_ONLINE_MAX = 2, /* delta keys, freshness keys: each */
};

struct pag_trust_key {
    uint8_t id[PAG_KEY_ID_BYTES];
    uint8_t point[PAG_P256_POINT_BYTES];
    uint32_t kinds;     /* release keys: bit k allows payload kind k */
    uint32_t epoch_min; /* release keys: epochs of manifests it may sign */
    uint32_t epoch_max;
};

struct pag_trust_set {
    uint32_t version;
    uint8_t product[PAG_PRODUCT_ID_BYTES];
    uint8_t root_threshold;
    uint8_t root_n;
    struct pag_trust_key root[PAG_TRUST_ROOTS_MAX];
    uint8_t release_threshold;
    uint8_t release_n;
    struct pag_trust_key release[PAG_TRUST_KEYS_MAX];
    uint8_t delta_n;
    struct pag_trust_key delta[PAG_TRUST_ONLINE_MAX];
    uint8_t freshness_n;
    struct pag_trust_key freshness[PAG_TRUST_ONLINE_MAX];
    uint64_t expires_at;                /* Unix s, 0 = never */
    uint8_t previous[PAG_SHA256_BYTES]; /* SHA-256 of the previous set's bytes; zeros for version 1 */
};

/* Parses the payload strictly; no signature is checked. Here and below *out is all zero after a failure. */
enum pag_err pag_trust_parse(struct pag_span cose, struct pag_trust_set *out, struct pag_fail *why);

/*
 * First set of a device: signed by at least its own root_threshold of its own roots, and its SHA-256 equals
 * pinned (NULL: not pinned; only for tools that show a set).
 */
enum pag_err pag_trust_accept_first(const struct pag_crypto *crypto, struct pag_span cose,
                                    const uint8_t pinned[PAG_SHA256_BYTES], struct pag_trust_set *out,
                                    struct pag_fail *why);

/*
 * Next set: version = old + 1, same product, previous = SHA-256 of the old bytes, >= threshold distinct roots
 * of old and of new signed it. old_digest: SHA-256 of the old set's bytes. PAG_E_STALE for a version <=
 * old's.
 */
enum pag_err pag_trust_accept_next(const struct pag_crypto *crypto, const struct pag_trust_set *old,
                                   const uint8_t old_digest[PAG_SHA256_BYTES], struct pag_span cose,
                                   struct pag_trust_set *out, struct pag_fail *why);

/*
 * The same in pieces, for devices on which one verification takes long. begin checks everything but the
 * signatures; then each step verifies one at most and returns PAG_E_AGAIN until the last. A set is accepted
 * when a step has returned PAG_OK, not before, although *out is filled.
 */
struct pag_trust_check {
    const struct pag_trust_set *old; /* NULL: a first set */
    struct pag_trust_set *out;
    struct pag_cose_sign envelope; /* spans into the set's bytes */
    uint8_t at;                    /* signers looked at */
    uint8_t by_old, by_new;        /* roots of the old and of the new set that signed */
};

/*
 * c: old and out set by the caller, the rest zero. bound_to: SHA-256 of the old set's bytes; for a first set
 * the pinned digest, or NULL. cose: the new set's bytes. What c points to and cose stay where they are until
 * the last step. Errors as above.
 */
enum pag_err pag_trust_check_begin(struct pag_trust_check *c, const struct pag_crypto *crypto,
                                   const uint8_t *bound_to, struct pag_span cose, struct pag_fail *why);
enum pag_err pag_trust_check_step(struct pag_trust_check *c, const struct pag_crypto *crypto,
                                  struct pag_fail *why);

/* The release key with that id that may sign this kind at this epoch, or NULL. */
const struct pag_trust_key *pag_trust_release_key(const struct pag_trust_set *t,
                                                  const uint8_t id[PAG_KEY_ID_BYTES], uint32_t kind,
                                                  uint32_t epoch);

/* Puts the four lists into the order by key id that the format demands. */
void pag_trust_sort(struct pag_trust_set *t);

/* Makes the unsigned payload from sorted lists; sign with pag_trust_signer_add for each root, then
 * pag_trust_finish. Hosts only. */
enum pag_err pag_trust_payload(const struct pag_trust_set *t, struct pag_buf *payload, struct pag_fail *why);
/* The digest that root key_id must sign: SHA-256 of Sig_structure "Signature" (RFC 9052 4.4) for that signer.
 */
enum pag_err pag_trust_signing_digest(const struct pag_crypto *crypto, struct pag_span payload,
                                      const uint8_t key_id[PAG_KEY_ID_BYTES],
                                      uint8_t digest[PAG_SHA256_BYTES]);
struct pag_trust_signature {
    uint8_t key_id[PAG_KEY_ID_BYTES];
    uint8_t sig[PAG_P256_SIG_BYTES];
};
/* Puts the whole COSE_Sign object. Signatures are sorted by key id. */
enum pag_err pag_trust_envelope(struct pag_span payload, const struct pag_trust_signature *sigs, size_t n,
                                struct pag_buf *out);

/* ---- freshness token (COSE_Sign1 by a freshness key of the set); docs/spec/native.md ---- */
enum { PAG_TOKEN_MAX = 192 };
struct pag_token {
    uint8_t product[PAG_PRODUCT_ID_BYTES];
    uint8_t nonce[PAG_NONCE_BYTES];
    uint64_t server_time; /* Unix s */
    uint32_t trust_version;
    uint32_t highest_sequence;
    uint32_t valid_s;
    uint8_t key_id[PAG_KEY_ID_BYTES];
};
enum pag_err pag_token_sign(const struct pag_crypto *crypto, const struct pag_token *t,
                            enum pag_err (*sign)(void *ctx, const uint8_t digest[32], uint8_t out[64]),
                            void *ctx, struct pag_buf *out);
/* Checks key, signature, product and nonce. PAG_E_STALE for another nonce. */
enum pag_err pag_token_verify(const struct pag_crypto *crypto, struct pag_span cose,
                              const struct pag_trust_set *trust, const uint8_t nonce[PAG_NONCE_BYTES],
                              struct pag_token *out, struct pag_fail *why);

#endif
