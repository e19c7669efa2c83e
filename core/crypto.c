#include "core/crypto.h"

#include "core/bytes.h"
#include "core/mem.h"

void pag_sha256_of(const struct pag_crypto *c, struct pag_span data, uint8_t out[PAG_SHA256_BYTES])
{
    struct pag_sha256 h;
    c->sha256_begin(&h);
    c->sha256_add(&h, data);
    c->sha256_end(&h, out);
}

void pag_key_id(const struct pag_crypto *c, const uint8_t point[PAG_P256_POINT_BYTES],
                uint8_t out[PAG_KEY_ID_BYTES])
{
    /* SubjectPublicKeyInfo of an uncompressed P-256 point (RFC 5480 2), up to and with the 0x04 of SEC
     * 1 2.3.3 */
    static const uint8_t prefix[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48,
                                      0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48,
                                      0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04 };
    uint8_t digest[PAG_SHA256_BYTES];
    struct pag_sha256 h;
    c->sha256_begin(&h);
    c->sha256_add(&h, pag_span_of(prefix, sizeof prefix));
    c->sha256_add(&h, pag_span_of(point, PAG_P256_POINT_BYTES));
    c->sha256_end(&h, digest);
    memcpy(out, digest, PAG_KEY_ID_BYTES);
}
