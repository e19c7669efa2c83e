#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base64.h"

/* What is read, written again, is read the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t a[1 << 16];
    static uint8_t b[1 << 16];
    static uint8_t text[1 << 17];
    struct pag_buf read = { a, 0, sizeof a };
    struct pag_buf again = { b, 0, sizeof b };
    struct pag_buf put = { text, 0, sizeof text };
    enum pag_err err = pag_base64_decode((struct pag_span){ data, size }, &read);
    if (err != PAG_OK && read.n != 0) {
        abort();
    }
    if (err != PAG_OK) {
        return 0;
    }
    if (pag_base64_lines((struct pag_span){ a, read.n }, &put) != PAG_OK ||
        pag_base64_decode((struct pag_span){ text, put.n }, &again) != PAG_OK || again.n != read.n ||
        memcmp(a, b, read.n) != 0) {
        abort();
    }
    return 0;
}
