#ifndef PAG_HOST_SEAL_H
#define PAG_HOST_SEAL_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Secrets at rest: AES-256-GCM with a key that lives in a file of its own, so that a copy of the database
 * alone opens nothing. nonce 12 || ciphertext || tag 16. Thread-safe.
 */
enum { PAG_SEAL_KEY_BYTES = 32, PAG_SEAL_EXTRA = 28 };

/* bound: what it belongs to; opening it for anything else fails. out: appended. PAG_E_SPACE. */
enum pag_err pag_seal(const uint8_t key[PAG_SEAL_KEY_BYTES], struct pag_span bound, struct pag_span secret,
                      struct pag_buf *out);
/* out: appended; n - PAG_SEAL_EXTRA bytes. PAG_E_DIGEST: another key, another owner, or damaged. */
enum pag_err pag_unseal(const uint8_t key[PAG_SEAL_KEY_BYTES], struct pag_span bound, struct pag_span sealed,
                        struct pag_buf *out);

/* The key in a private file (hex), made when it is missing. Errors of host/fs.h; PAG_E_CONFIG: no such key.
 */
enum pag_err pag_seal_key_file(const char *path, uint8_t key[PAG_SEAL_KEY_BYTES], struct pag_fail *why);

#endif
