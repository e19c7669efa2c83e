#ifndef PAG_HOST_SIGNING_H
#define PAG_HOST_SIGNING_H

#include <openssl/types.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Signatures over image files with keys that devices in the field have compiled in: RSA of 2048 to 4096 bits
 * and ECDSA P-256, SHA-256 throughout. On OpenSSL 3, thread-safe. Formats: docs/spec/legacy-signatures.md.
 */

enum pag_signature_form {
    /* As "openssl dgst -sha256 -sign" writes it: RSASSA-PKCS1-v1_5 with DigestInfo, or DER of r and s.
     * Arduino core 2.6 and newer check the RSA form. */
    PAG_SIGNATURE_STANDARD,
    /* RSA alone: PKCS#1 v1.5 padding of type 1 right around the 32 bytes of the digest. Arduino core 2.5. */
    PAG_SIGNATURE_LEGACY,
};

enum { PAG_SIGNATURE_MAX = 512, PAG_RSA_BITS_MIN = 2048, PAG_RSA_BITS_MAX = 4096 };

struct pag_public_info {
    bool rsa;                     /* else ECDSA P-256 */
    uint32_t bits;                /* of the modulus; 256 for P-256 */
    uint8_t id[PAG_KEY_ID_BYTES]; /* first bytes of SHA-256 of the SubjectPublicKeyInfo */
};

/* Public key of PEM or DER SubjectPublicKeyInfo; the caller frees it with EVP_PKEY_free. NULL: it is neither,
 * or of a kind that signs no images. */
EVP_PKEY *pag_signing_public(struct pag_span key);
/* What a key is. PAG_E_UNSUPPORTED: neither RSA of an allowed size nor P-256. */
enum pag_err pag_signing_info(const EVP_PKEY *key, struct pag_public_info *out);
/* DER SubjectPublicKeyInfo, appended. PAG_E_SPACE, PAG_E_UNSUPPORTED. */
enum pag_err pag_signing_spki(const EVP_PKEY *key, struct pag_buf *out);
/* The same from PEM or DER text of a key. PAG_E_SYNTAX when it is none. */
enum pag_err pag_signing_read(struct pag_span key, struct pag_public_info *info, struct pag_buf *spki);

/* signature over a file whose SHA-256 is digest. PAG_E_SIGNATURE; PAG_E_SYNTAX when key is no public key. */
enum pag_err pag_signing_check(struct pag_span key, enum pag_signature_form form,
                               const uint8_t digest[PAG_SHA256_BYTES], struct pag_span signature);
/* The other side. out: appended. PAG_E_CONFIG: no private part, or the form is not of this kind of key. */
enum pag_err pag_signing_make(EVP_PKEY *key, enum pag_signature_form form,
                              const uint8_t digest[PAG_SHA256_BYTES], struct pag_buf *out);

/* New RSA key, exponent 65537. NULL: bits are not allowed, or it failed. */
EVP_PKEY *pag_signing_rsa_new(uint32_t bits);
/* Private key of PEM (PKCS#8, or the older forms that openssl genrsa and ecparam write). As
 * pag_x509_key_of_pem, for these kinds. */
enum pag_err pag_signing_key_of_pem(struct pag_span pem, const char *passphrase, EVP_PKEY **out,
                                    struct pag_fail *why);

#endif
