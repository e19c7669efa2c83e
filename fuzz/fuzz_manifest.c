/* What is read as a manifest is written again as the same bytes (unknown keys from 64 on aside). */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/manifest.h"
#include "host/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static enum pag_err keep_signature(void *ctx, const uint8_t digest[PAG_SHA256_BYTES],
                                   uint8_t out[PAG_P256_SIG_BYTES])
{
    (void)digest;
    memcpy(out, ctx, PAG_P256_SIG_BYTES);
    return PAG_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct pag_manifest m;
    struct pag_manifest again;
    struct pag_fail why;
    uint8_t room[PAG_MANIFEST_MAX];
    uint8_t sig[PAG_P256_SIG_BYTES];
    struct pag_buf out = { .p = room, .n = 0, .cap = sizeof room };
    struct pag_span in = pag_span_of(data, n);
    if (pag_manifest_parse(in, &m, &why) != PAG_OK) {
        return 0;
    }
    memcpy(sig, data + n - sizeof sig, sizeof sig);
    if (pag_manifest_sign(pag_crypto_openssl(), &m, keep_signature, sig, &out, &why) != PAG_OK || out.n > n ||
        pag_manifest_parse(pag_buf_span(&out), &again, &why) != PAG_OK || memcmp(&m, &again, sizeof m) != 0) {
        abort();
    }
    if (out.n == n && !pag_span_eq(pag_buf_span(&out), in)) {
        abort();
    }
    return 0;
}
