#ifndef PAG_CORE_CRYPTO_H
#define PAG_CORE_CRYPTO_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * The crypto that core needs, supplied by whoever embeds it: OpenSSL on hosts (host/crypto.h), BearSSL or
 * mbedTLS in a device SDK. Nothing cryptographic is implemented in core.
 */

/* Room for one running SHA-256, placed by the caller, no interior pointers. OpenSSL 112 B, BearSSL 112 B,
 * mbedTLS 108 B. */
struct pag_sha256 {
    uint64_t opaque[16];
};

struct pag_crypto {
    void (*sha256_begin)(struct pag_sha256 *h);
    void (*sha256_add)(struct pag_sha256 *h, struct pag_span data);
    void (*sha256_end)(struct pag_sha256 *h, uint8_t out[PAG_SHA256_BYTES]);

    /*
     * ECDSA P-256 over a SHA-256 digest (FIPS 186-5). point: X||Y. sig: r||s. PAG_OK only when valid;
     * PAG_E_SIGNATURE otherwise, also for a point off the curve and for r or s of 0 or >= n.
     */
    enum pag_err (*p256_verify)(const uint8_t point[PAG_P256_POINT_BYTES],
                                const uint8_t digest[PAG_SHA256_BYTES],
                                const uint8_t sig[PAG_P256_SIG_BYTES]);
};

/* One-shot SHA-256. */
void pag_sha256_of(const struct pag_crypto *c, struct pag_span data, uint8_t out[PAG_SHA256_BYTES]);

/*
 * Key id of a P-256 point: first 8 bytes of SHA-256 of its DER SubjectPublicKeyInfo (RFC 5480; the 26-byte
 * prefix is constant for uncompressed P-256 points).
 */
void pag_key_id(const struct pag_crypto *c, const uint8_t point[PAG_P256_POINT_BYTES],
                uint8_t out[PAG_KEY_ID_BYTES]);

#endif
