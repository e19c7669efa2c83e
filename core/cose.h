#ifndef PAG_CORE_COSE_H
#define PAG_CORE_COSE_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/cbor.h"
#include "core/crypto.h"

/*
 * The two COSE shapes of Pagurus (RFC 9052), byte for byte: protected header {1: -7, 4: key id}, unprotected
 * map empty, external data empty. Anything else is refused, so no unsigned field is ever read (M13).
 */

struct pag_cose_sign1 {        /* tag 18; spans into the input */
    struct pag_span key_id;    /* PAG_KEY_ID_BYTES */
    struct pag_span payload;   /* content of the byte string */
    struct pag_span signature; /* r||s */
};

/* in must be one object and nothing else. PAG_E_SHORT, PAG_E_SYNTAX, PAG_E_UNSUPPORTED for another alg. */
enum pag_err pag_cose_sign1_read(struct pag_span in, struct pag_cose_sign1 *out, struct pag_fail *why);

/* SHA-256 of Sig_structure "Signature1" (RFC 9052 4.4): what is signed. Streams; no copy of the payload. */
void pag_cose_sign1_digest(const struct pag_crypto *crypto, const uint8_t key_id[PAG_KEY_ID_BYTES],
                           struct pag_span payload, uint8_t digest[PAG_SHA256_BYTES]);

enum {
    PAG_COSE_SIGN1_HEAD = 20,     /* most bytes before a payload below 64 KiB */
    PAG_COSE_SIGN1_OVERHEAD = 86, /* most bytes around it */
};

/*
 * Room for a payload of at most max bytes inside out, where pag_cose_sign1_put can close around it without a
 * second buffer. Empty when out has no room.
 */
struct pag_buf pag_cose_payload_room(const struct pag_buf *out, size_t max);

/* Digest, signature and object around payload, which may lie in such a room. What sign returns is passed on.
 */
enum pag_err pag_cose_sign1_make(const struct pag_crypto *crypto, const uint8_t key_id[PAG_KEY_ID_BYTES],
                                 struct pag_span payload,
                                 enum pag_err (*sign)(void *ctx, const uint8_t digest[PAG_SHA256_BYTES],
                                                      uint8_t out[PAG_P256_SIG_BYTES]),
                                 void *ctx, struct pag_buf *out);

/* Appends the object; nothing is appended on PAG_E_SPACE. */
enum pag_err pag_cose_sign1_put(struct pag_buf *out, const uint8_t key_id[PAG_KEY_ID_BYTES],
                                struct pag_span payload, const uint8_t sig[PAG_P256_SIG_BYTES]);

/* ---- COSE_Sign, tag 98, several signers ---- */
enum { PAG_COSE_SIGNERS_MAX = 10 };

struct pag_cose_sign {
    struct pag_span payload;
    struct pag_cbor_reader signers; /* at the first of n */
    size_t n;
};

/* Checks the whole object, signers sorted strictly by key id, and nothing behind it. */
enum pag_err pag_cose_sign_read(struct pag_span in, struct pag_cose_sign *out, struct pag_fail *why);

/* One signer; call n times on an object that pag_cose_sign_read accepted. */
enum pag_err pag_cose_signer_next(struct pag_cbor_reader *signers, struct pag_span *key_id,
                                  struct pag_span *sig);

/* SHA-256 of Sig_structure "Signature" for that signer. */
void pag_cose_sign_digest(const struct pag_crypto *crypto, const uint8_t key_id[PAG_KEY_ID_BYTES],
                          struct pag_span payload, uint8_t digest[PAG_SHA256_BYTES]);

/* Protected header of that signer into 13 bytes. */
enum { PAG_COSE_PROTECTED_BYTES = 13 };
void pag_cose_protected(const uint8_t key_id[PAG_KEY_ID_BYTES], uint8_t out[PAG_COSE_PROTECTED_BYTES]);

#endif
