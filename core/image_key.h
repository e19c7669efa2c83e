#ifndef PAG_CORE_IMAGE_KEY_H
#define PAG_CORE_IMAGE_KEY_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/crypto.h"

/*
 * Signatures behind an image as Arduino's signing puts them, and the public key inside an image with which
 * the image checks its successor. Formats: docs/spec/legacy-signatures.md. Nothing is allocated, work is
 * linear in the bytes given.
 */

enum {
    PAG_TRAILER_SIG_MIN = 128, /* RSA of 1024 … */
    PAG_TRAILER_SIG_MAX = 512, /* … to 4096 bits */
    PAG_SPKI_MAX = 576,        /* DER of an RSA key of 4096 bits has 550 bytes */
};

/*
 * Takes a file apart into payload, signature and the u32 that says how long the signature is. False, and
 * nothing is set, when the last word cannot be such a length. That it can be does not prove that it is one.
 */
bool pag_image_trailer_split(struct pag_span file, struct pag_span *payload, struct pag_span *signature);

enum pag_image_key_form {
    PAG_IMAGE_KEY_PEM, /* "-----BEGIN PUBLIC KEY-----", or the RSA form of PKCS#1 */
    PAG_IMAGE_KEY_DER, /* SubjectPublicKeyInfo; that of a certificate looks the same */
};

struct pag_image_key {
    enum pag_image_key_form form;
    size_t at;                    /* offset of its first byte in the payload */
    bool rsa;                     /* else ECDSA P-256 */
    uint32_t bits;                /* of the modulus; 256 for P-256 */
    uint8_t id[PAG_KEY_ID_BYTES]; /* first bytes of SHA-256 of spki */
    uint8_t spki[PAG_SPKI_MAX];   /* DER SubjectPublicKeyInfo, in the one form that OpenSSL writes */
    size_t spki_n;
};

/*
 * The next public key of payload at or behind *from; *from is moved behind its head, so that calling again
 * finds the rest. False: no more. What only looks like a key is passed over.
 */
bool pag_image_key_next(const struct pag_crypto *crypto, struct pag_span payload, size_t *from,
                        struct pag_image_key *out);

/*
 * The number that makes a key, out of its DER SubjectPublicKeyInfo: the modulus of RSA without leading
 * zeros, X||Y of P-256. PAG_E_SYNTAX, PAG_E_UNSUPPORTED.
 */
enum pag_err pag_spki_number(struct pag_span spki, struct pag_span *number);

/*
 * Whether payload holds a key's number somewhere: most significant byte first (BearSSL, DER) or last.
 * *at: where, may be NULL.
 */
bool pag_image_holds_number(struct pag_span payload, struct pag_span number, size_t *at);

#endif
