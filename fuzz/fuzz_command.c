/* What is read as a signed command is written again as the same bytes: there is one form of each. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/command.h"
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
    static const struct pag_signed_command nothing;
    struct pag_signed_command c;
    struct pag_fail why;
    uint8_t room[PAG_SIGNED_COMMAND_MAX];
    uint8_t sig[PAG_P256_SIG_BYTES];
    struct pag_buf out = { .p = room, .n = 0, .cap = sizeof room };
    struct pag_span in = pag_span_of(data, n);
    if (pag_signed_command_parse(in, &c, &why) != PAG_OK) {
        if (memcmp(&c, &nothing, sizeof c) != 0) {
            abort();
        }
        return 0;
    }
    memcpy(sig, data + n - sizeof sig, sizeof sig);
    if (pag_signed_command_sign(pag_crypto_openssl(), &c, keep_signature, sig, &out, &why) != PAG_OK ||
        !pag_span_eq(pag_buf_span(&out), in)) {
        abort();
    }
    return 0;
}
