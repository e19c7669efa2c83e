#ifndef PAG_CORE_COMMAND_H
#define PAG_CORE_COMMAND_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/crypto.h"
#include "core/trust.h"

/*
 * Signed command: COSE_Sign1 (tag 18), ES256, payload a deterministic CBOR map. docs/spec/commands.md. For
 * one device, once, until an hour that it says: what takes something away from a device is believed in no
 * other form. Both ends enforce the length.
 */

enum {
    PAG_SIGNED_COMMAND_MAX = 256,
    PAG_SIGNED_COMMAND_ARG_MAX = 64, /* a claim fits; with the longest device id it is 252 bytes whole */
};

struct pag_signed_command { /* spans into the input */
    uint8_t product[PAG_PRODUCT_ID_BYTES];
    struct pag_span device; /* id, text */
    uint8_t kind;           /* enum pag_command_kind (core/native.h), one of the signed ones */
    uint32_t counter;       /* rises with each command of a device, never 0 */
    uint64_t expires_at;    /* Unix s, never 0 */
    struct pag_span arg;    /* may be empty */
    uint8_t key_id[PAG_KEY_ID_BYTES];
};

/* Is this kind of command (core/native.h) obeyed only when it is signed? */
bool pag_command_kind_signed(unsigned kind);

/*
 * Appends the signed object. c->key_id names the signer; sign and ctx as for manifests. Hosts only.
 * PAG_E_RANGE for a field that no reader would take, PAG_E_SPACE.
 */
enum pag_err pag_signed_command_sign(const struct pag_crypto *crypto, const struct pag_signed_command *c,
                                     enum pag_err (*sign)(void *ctx, const uint8_t digest[PAG_SHA256_BYTES],
                                                          uint8_t out[PAG_P256_SIG_BYTES]),
                                     void *ctx, struct pag_buf *out, struct pag_fail *why);

/* Parses strictly without checking the signature. Here and below *out is all zero after a failure; why may be
 * NULL. PAG_E_RANGE, PAG_E_SHORT, PAG_E_SYNTAX, PAG_E_UNSUPPORTED. */
enum pag_err pag_signed_command_parse(struct pag_span cose, struct pag_signed_command *out,
                                      struct pag_fail *why);

/*
 * Parses and verifies: the key is a release key of the set with the role of commands and an epoch range that
 * holds epoch, the device's security epoch in force. PAG_E_SIGNATURE otherwise; PAG_E_PRODUCT for a trust set
 * of another product; PAG_E_UNSUPPORTED for a release threshold above 1.
 */
enum pag_err pag_signed_command_verify(const struct pag_crypto *crypto, struct pag_span cose,
                                       const struct pag_trust_set *trust, uint32_t epoch,
                                       struct pag_signed_command *out, struct pag_fail *why);

/* What a verified command is judged against. */
struct pag_signed_command_target {
    const uint8_t *product; /* PAG_PRODUCT_ID_BYTES */
    struct pag_span device; /* own id */
    uint32_t counter;       /* highest ever taken, 0 none */
    uint64_t now_unix_s;    /* clock or clock floor, 0 unknown */
};
/* PAG_E_PRODUCT, PAG_E_DENIED another device, PAG_E_EXPIRED, PAG_E_STALE counter not above the last. */
enum pag_err pag_signed_command_admit(const struct pag_signed_command *c,
                                      const struct pag_signed_command_target *t, struct pag_fail *why);

#endif
