#ifndef PAG_HOST_CRYPTO_H
#define PAG_HOST_CRYPTO_H

#include <openssl/types.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/crypto.h"

/* The crypto of core/crypto.h on OpenSSL 3. Thread-safe; the struct is static and constant. */
const struct pag_crypto *pag_crypto_openssl(void);

/*
 * ECDSA P-256 signer in the shape of pag_sign_fn (core/manifest.h): ctx is an EVP_PKEY * with the private
 * key, which the caller keeps. out: r||s. PAG_E_CONFIG when the key is not P-256 or has no private part.
 */
enum pag_err pag_crypto_sign(void *ctx, const uint8_t digest[PAG_SHA256_BYTES],
                             uint8_t out[PAG_P256_SIG_BYTES]);

/* New P-256 key from the library's random source. The caller frees it with EVP_PKEY_free. NULL: failed. */
EVP_PKEY *pag_crypto_key_new(void);

/* Public key of a point; the caller frees it with EVP_PKEY_free. NULL when it is not on the curve. */
EVP_PKEY *pag_crypto_key_of_point(const uint8_t point[PAG_P256_POINT_BYTES]);

/* X||Y of a P-256 key, public part is enough. PAG_E_CONFIG for keys of another kind or curve. */
enum pag_err pag_crypto_point(const EVP_PKEY *key, uint8_t point[PAG_P256_POINT_BYTES]);

/* Key id (core/crypto.h) of a P-256 key. PAG_E_CONFIG as above. */
enum pag_err pag_crypto_key_id(const EVP_PKEY *key, uint8_t id[PAG_KEY_ID_BYTES]);

enum { PAG_P256_SPKI_BYTES = 91 };

/* DER SubjectPublicKeyInfo of a P-256 key (RFC 5480). PAG_E_CONFIG as above. */
enum pag_err pag_crypto_spki(const EVP_PKEY *key, uint8_t out[PAG_P256_SPKI_BYTES]);

#endif
