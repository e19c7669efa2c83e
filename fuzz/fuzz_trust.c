/* Parsing, accepting as first and as next, and tokens; a stranger's bytes must never be accepted as next. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/trust.h"
#include "host/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct pag_trust_set set;
    static struct pag_trust_set next;
    struct pag_fail why;
    struct pag_token token;
    uint8_t room[PAG_TRUST_MAX];
    uint8_t nonce[PAG_NONCE_BYTES] = { 0 };
    uint8_t digest[PAG_SHA256_BYTES] = { 1 };
    struct pag_buf out = { .p = room, .n = 0, .cap = sizeof room };
    struct pag_span in = pag_span_of(data, n);
    if (pag_trust_parse(in, &set, &why) == PAG_OK) {
        if (pag_trust_payload(&set, &out, &why) != PAG_OK) {
            abort();
        }
        (void)pag_trust_accept_first(pag_crypto_openssl(), in, NULL, &set, &why);
    }
    memset(&set, 0, sizeof set);
    set.root_threshold = 1;
    if (pag_trust_accept_next(pag_crypto_openssl(), &set, digest, in, &next, &why) == PAG_OK ||
        pag_token_verify(pag_crypto_openssl(), in, &set, nonce, &token, &why) == PAG_OK) {
        abort();
    }
    return 0;
}
