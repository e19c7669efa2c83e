/* Whatever the bytes are, the reader stays inside them and says what is wrong. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "core/image.h"
#include "host/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct pag_image image;
    struct pag_fail why = { 0 };
    enum pag_err err = pag_image_read(pag_crypto_openssl(), pag_span_of(data, n), &image, &why);
    if (err != PAG_OK && (why.what == NULL || why.code != err)) {
        abort();
    }
    if (err == PAG_OK && !image.gzip && image.payload_bytes + image.trailer_bytes != n) {
        abort();
    }
    return 0;
}
