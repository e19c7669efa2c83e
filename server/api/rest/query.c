#include "server/api/rest/query.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "core/bytes.h"

enum { MAC_BYTES = 16, LIMIT_MAX = 1000 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t base64url_put(char *out, struct pag_span in)
{
    size_t n = 0;
    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        uint32_t v = (uint32_t)in.p[i] << 16;
        v |= left > 1 ? (uint32_t)in.p[i + 1] << 8 : 0;
        v |= left > 2 ? in.p[i + 2] : 0;
        size_t digits = left >= 3 ? 4 : left + 1;
        for (size_t d = 0; d < digits; d++) {
            out[n++] = alphabet[(v >> (18 - 6 * d)) & 63];
        }
    }
    return n;
}

static int digit_of(uint8_t c)
{
    const char *at = c != 0 ? memchr(alphabet, c, sizeof alphabet - 1) : NULL;
    return at != NULL ? (int)(at - alphabet) : -1;
}

/* Canonical form only: no length that encodes nothing, left-over bits zero. */
static enum pag_err base64url_get(struct pag_span in, uint8_t *out, size_t cap, size_t *n)
{
    uint32_t v = 0;
    size_t used = 0;
    if (in.n % 4 == 1 || in.n / 4 * 3 + in.n % 4 * 3 / 4 > cap) {
        return PAG_E_SYNTAX;
    }
    for (size_t i = 0; i < in.n; i++) {
        int d = digit_of(in.p[i]);
        if (d < 0) {
            return PAG_E_SYNTAX;
        }
        v = (v << 6) | (uint32_t)d;
        if (i % 4 != 0) {
            out[used++] = (uint8_t)(v >> (6 - 2 * (i % 4)));
        }
    }
    uint32_t rest = in.n % 4 == 2 ? v & 15U : in.n % 4 == 3 ? v & 3U : 0;
    *n = used;
    return rest == 0 ? PAG_OK : PAG_E_SYNTAX;
}

static bool mac_of(const uint8_t key[PAG_CURSOR_KEY_BYTES], struct pag_span query, struct pag_span position,
                   uint8_t out[MAC_BYTES])
{
    uint8_t full[PAG_SHA256_BYTES];
    uint8_t text[2 * PAG_SHA256_BYTES];
    unsigned n = 0;
    /* Two fixed-size digests: no way to move bytes from the query into the position. */
    bool ok = EVP_Digest(query.n > 0 ? query.p : text, query.n, text, NULL, EVP_sha256(), NULL) == 1 &&
              EVP_Digest(position.n > 0 ? position.p : text, position.n, text + PAG_SHA256_BYTES, NULL,
                         EVP_sha256(), NULL) == 1 &&
              HMAC(EVP_sha256(), key, PAG_CURSOR_KEY_BYTES, text, sizeof text, full, &n) != NULL;
    if (ok) {
        memcpy(out, full, MAC_BYTES);
    }
    return ok;
}

const char *pag_cursor_make(struct pag_arena *arena, const uint8_t key[PAG_CURSOR_KEY_BYTES],
                            struct pag_span query, struct pag_span position)
{
    uint8_t mac[MAC_BYTES];
    if (position.n > PAG_CURSOR_POSITION_MAX || !mac_of(key, query, position, mac)) {
        return NULL;
    }
    char *text = pag_arena_alloc(arena, position.n * 2 + 2 * (size_t)MAC_BYTES + 8);
    if (text == NULL) {
        return NULL;
    }
    size_t n = base64url_put(text, position);
    text[n++] = '.';
    n += base64url_put(text + n, pag_span_of(mac, sizeof mac));
    text[n] = '\0';
    return text;
}

enum pag_err pag_cursor_read(struct pag_arena *arena, const uint8_t key[PAG_CURSOR_KEY_BYTES],
                             struct pag_span query, struct pag_span cursor, struct pag_span *position)
{
    uint8_t place[PAG_CURSOR_POSITION_MAX];
    uint8_t mac[MAC_BYTES];
    uint8_t expected[MAC_BYTES];
    size_t place_n = 0;
    size_t mac_n = 0;
    size_t dot = pag_span_find(cursor, 0, '.');
    if (dot == cursor.n) {
        return PAG_E_SYNTAX;
    }
    struct pag_span left = { cursor.p, dot };
    struct pag_span right = { cursor.p + dot + 1, cursor.n - dot - 1 };
    if (base64url_get(left, place, sizeof place, &place_n) != PAG_OK ||
        base64url_get(right, mac, sizeof mac, &mac_n) != PAG_OK || mac_n != MAC_BYTES) {
        return PAG_E_SYNTAX;
    }
    if (!mac_of(key, query, pag_span_of(place, place_n), expected)) {
        return PAG_E_INTERNAL;
    }
    if (!pag_equal_ct(mac, expected, MAC_BYTES)) {
        return PAG_E_SYNTAX;
    }
    struct pag_span copy = pag_arena_copy(arena, pag_span_of(place, place_n));
    if (copy.p == NULL && place_n > 0) {
        return PAG_E_NO_MEMORY;
    }
    *position = copy;
    return PAG_OK;
}

enum pag_err pag_limit_read(struct pag_span text, uint32_t def, uint32_t *out)
{
    uint32_t v = def;
    if (text.n > 0) {
        enum pag_err err = pag_parse_u32(text, &v);
        if (err != PAG_OK) {
            return err;
        }
    }
    if (v < 1 || v > LIMIT_MAX) {
        return PAG_E_RANGE;
    }
    *out = v;
    return PAG_OK;
}
