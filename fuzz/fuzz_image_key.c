/* Keys inside images and signatures behind them: whatever the bytes are, what is found is there, and OpenSSL
 * gives it the same id. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/image_key.h"
#include "host/crypto.h"
#include "host/signing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(int holds)
{
    if (!holds) {
        abort();
    }
}

static void check_trailer(struct pag_span file)
{
    struct pag_span payload = { NULL, 0 };
    struct pag_span signature = { NULL, 0 };
    if (pag_image_trailer_split(file, &payload, &signature)) {
        require(payload.n + signature.n + 4 == file.n && signature.p == file.p + payload.n);
        require(payload.n > 0 && signature.n >= PAG_TRAILER_SIG_MIN && signature.n <= PAG_TRAILER_SIG_MAX);
        require(pag_u32le(file.p + file.n - 4) == signature.n);
    }
}

static void check_key(struct pag_span file, const struct pag_image_key *k)
{
    struct pag_public_info info;
    struct pag_span number = { NULL, 0 };
    struct pag_span spki = pag_span_of(k->spki, k->spki_n);
    require(k->at < file.n && k->spki_n <= sizeof k->spki);
    require(pag_spki_number(spki, &number) == PAG_OK);
    require(number.n * 8 == (k->rsa ? k->bits : 512));
    require(k->form != PAG_IMAGE_KEY_DER || pag_image_holds_number(file, number, NULL));
    if (pag_signing_read(spki, &info, NULL) == PAG_OK) {
        require(info.rsa == k->rsa && memcmp(info.id, k->id, sizeof info.id) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct pag_span file = pag_span_of(data, n);
    struct pag_image_key key;
    size_t from = 0;
    size_t before = 0;
    check_trailer(file);
    while (pag_image_key_next(pag_crypto_openssl(), file, &from, &key)) {
        require(from > before);
        before = from;
        check_key(file, &key);
    }
    require(from == n);
    return 0;
}
