#include <pagurus/identity.h>

#include "core/bytes.h"
#include "core/image_parts.h"
#include "core/mem.h"
#include "core/version.h"

enum { MAGIC_BYTES = 16, MASK = 0x55 };

/*
 * PAG_IDENTITY_MAGIC with every byte changed, and the change itself out of the compiler's sight: a program
 * that links this reader must not hold the magic a second time.
 */
static const uint8_t masked_magic[MAGIC_BYTES] = {
    0x7F ^ MASK, 'P' ^ MASK, 'A' ^ MASK, 'G' ^ MASK,  'U' ^ MASK,  'R' ^ MASK,  'U' ^ MASK,  'S' ^ MASK,
    '-' ^ MASK,  'I' ^ MASK, 'D' ^ MASK, 0x01 ^ MASK, '\r' ^ MASK, '\n' ^ MASK, 0x1A ^ MASK, 0x00 ^ MASK,
};
static const volatile uint8_t magic_mask = MASK;

static bool magic_at(const uint8_t *p, uint8_t mask)
{
    for (size_t i = 0; i < MAGIC_BYTES; i++) {
        if ((p[i] ^ mask) != masked_magic[i]) {
            return false;
        }
    }
    return true;
}

static size_t find_magic(struct pag_span s, size_t from)
{
    uint8_t mask = magic_mask;
    size_t at = pag_span_find(s, from, 0x7F);
    while (at < s.n && s.n - at >= MAGIC_BYTES && !magic_at(s.p + at, mask)) {
        at = pag_span_find(s, at + 1, 0x7F);
    }
    return at < s.n && s.n - at >= MAGIC_BYTES ? at : s.n;
}

static bool product_ok(const char *text)
{
    struct pag_span s = pag_span_str(text);
    return s.n <= 32 && pag_device_id_ok(s); /* the same alphabet, shorter */
}

enum pag_err pag_image_identity_find(struct pag_span payload, struct pag_image *out, struct pag_fail *why)
{
    size_t at = find_magic(payload, 0);
    if (at == payload.n) {
        return PAG_OK;
    }
    size_t second = find_magic(payload, at + 1);
    if (second != payload.n) {
        return pag_fail_set(why, PAG_E_SYNTAX, "identity: a second block, offset", second);
    }
    if (payload.n - at < sizeof(struct pag_identity)) {
        return pag_fail_set(why, PAG_E_SHORT, "identity: block cut off, offset", at);
    }
    const uint8_t *block = payload.p + at;
    pag_image_text(out->project, block + offsetof(struct pag_identity, product), 32);
    pag_image_text(out->version, block + offsetof(struct pag_identity, version), 32);
    pag_image_text(out->hardware, block + offsetof(struct pag_identity, hardware), 16);
    out->identity_epoch = pag_u32le(block + offsetof(struct pag_identity, epoch));
    if (!product_ok(out->project)) {
        return pag_fail_set(why, PAG_E_SYNTAX, "identity: product name, offset", at);
    }
    if (!pag_version_ok(pag_span_str(out->version))) {
        return pag_fail_set(why, PAG_E_SYNTAX, "identity: version text, offset", at);
    }
    if (pag_span_str(out->hardware).n < 4) {
        return pag_fail_set(why, PAG_E_SYNTAX, "identity: hardware id, offset", at);
    }
    out->has_identity = true;
    return PAG_OK;
}
