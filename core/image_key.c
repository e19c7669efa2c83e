#include "core/image_key.h"

#include "core/base64.h"
#include "core/bytes.h"
#include "core/mem.h"

/* ---- signature behind an image ---- */

bool pag_image_trailer_split(struct pag_span file, struct pag_span *payload, struct pag_span *signature)
{
    if (file.n < 4) {
        return false;
    }
    size_t n = pag_u32le(file.p + file.n - 4);
    if (n < PAG_TRAILER_SIG_MIN || n > PAG_TRAILER_SIG_MAX || file.n - 4 <= n) {
        return false;
    }
    *payload = pag_span_of(file.p, file.n - 4 - n);
    *signature = pag_span_of(file.p + payload->n, n);
    return true;
}

/* ---- DER, as far as public keys need it ---- */

enum { SEQUENCE = 0x30, INTEGER = 0x02, BIT_STRING = 0x03 };

static const uint8_t rsa_algorithm[] = { 0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86,
                                         0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00 };
static const uint8_t p256_algorithm[] = { 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01,
                                          0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07 };

/* Takes tag, length and value off the front; only the shortest form of a length counts. */
static bool take(struct pag_span *s, uint8_t tag, struct pag_span *value)
{
    if (s->n < 2 || s->p[0] != tag) {
        return false;
    }
    size_t head = 2;
    size_t n = s->p[1];
    if (n == 0x81 && s->n >= 3 && s->p[2] >= 0x80) {
        head = 3;
        n = s->p[2];
    } else if (n == 0x82 && s->n >= 4 && s->p[2] != 0) {
        head = 4;
        n = pag_u16be(s->p + 2);
    } else if (n >= 0x80) {
        return false;
    }
    if (s->n - head < n) {
        return false;
    }
    *value = pag_span_of(s->p + head, n);
    *s = pag_span_of(s->p + head + n, s->n - head - n);
    return true;
}

/* A positive number in its shortest form, without the zero in front of a set top bit. */
static bool take_number(struct pag_span *s, struct pag_span *number)
{
    struct pag_span v;
    if (!take(s, INTEGER, &v) || v.n == 0 || v.p[0] >= 0x80) {
        return false;
    }
    if (v.p[0] == 0) {
        if (v.n < 2 || v.p[1] < 0x80) {
            return false;
        }
        v = pag_span_of(v.p + 1, v.n - 1);
    }
    *number = v;
    return true;
}

/* RSAPublicKey of RFC 8017 A.1.1, and nothing behind it. */
static bool read_rsa(struct pag_span body, struct pag_span *modulus)
{
    struct pag_span inside;
    struct pag_span exponent;
    return take(&body, SEQUENCE, &inside) && body.n == 0 && take_number(&inside, modulus) &&
           take_number(&inside, &exponent) && inside.n == 0 && modulus->n >= PAG_TRAILER_SIG_MIN &&
           modulus->n <= PAG_TRAILER_SIG_MAX && exponent.n <= 4 && (modulus->p[modulus->n - 1] & 1) != 0;
}

static bool starts(struct pag_span s, const uint8_t *with, size_t n)
{
    return s.n >= n && memcmp(s.p, with, n) == 0;
}

struct spki {
    size_t n; /* of the whole */
    bool rsa;
    struct pag_span number;
};

/* The SubjectPublicKeyInfo at the front of s. */
static bool read_spki(struct pag_span s, struct spki *out)
{
    struct pag_span rest = s;
    struct pag_span inside;
    struct pag_span bits;
    if (!take(&rest, SEQUENCE, &inside)) {
        return false;
    }
    out->n = s.n - rest.n;
    out->rsa = starts(inside, rsa_algorithm, sizeof rsa_algorithm);
    size_t skip = out->rsa ? sizeof rsa_algorithm : sizeof p256_algorithm;
    if (!out->rsa && !starts(inside, p256_algorithm, sizeof p256_algorithm)) {
        return false;
    }
    inside = pag_span_of(inside.p + skip, inside.n - skip);
    if (!take(&inside, BIT_STRING, &bits) || inside.n != 0 || bits.n < 2 || bits.p[0] != 0) {
        return false;
    }
    bits = pag_span_of(bits.p + 1, bits.n - 1);
    if (out->rsa) {
        return read_rsa(bits, &out->number);
    }
    out->number = pag_span_of(bits.p + 1, PAG_P256_POINT_BYTES);
    return bits.n == 1 + PAG_P256_POINT_BYTES && bits.p[0] == 4;
}

enum pag_err pag_spki_number(struct pag_span spki, struct pag_span *number)
{
    struct spki s;
    if (spki.n < 2 || spki.p[0] != SEQUENCE) {
        return PAG_E_SYNTAX;
    }
    if (!read_spki(spki, &s)) {
        return PAG_E_UNSUPPORTED;
    }
    if (s.n != spki.n) {
        return PAG_E_SYNTAX;
    }
    *number = s.number;
    return PAG_OK;
}

static bool take_key(const struct pag_crypto *crypto, struct pag_span der, struct pag_image_key *out)
{
    struct spki s;
    uint8_t digest[PAG_SHA256_BYTES];
    if (!read_spki(der, &s) || s.n > sizeof out->spki) {
        return false;
    }
    if (out->spki != der.p) {
        memcpy(out->spki, der.p, s.n);
    }
    out->spki_n = s.n;
    out->rsa = s.rsa;
    out->bits = s.rsa ? (uint32_t)(s.number.n * 8) : 256;
    pag_sha256_of(crypto, pag_span_of(out->spki, s.n), digest);
    memcpy(out->id, digest, sizeof out->id);
    return true;
}

/* ---- PEM ---- */

/* Puts the head of a SubjectPublicKeyInfo before the RSAPublicKey of n bytes at the front of der. */
static size_t wrap_rsa(uint8_t *der, size_t n, size_t cap)
{
    enum { HEAD = 4 + sizeof rsa_algorithm + 5 };
    if (n < 0x100 || n + HEAD > cap) { /* below 2048 bits other lengths would be needed */
        return 0;
    }
    memmove(der + HEAD, der, n);
    size_t inside = n + HEAD - 4;
    uint8_t *p = der;
    *p++ = SEQUENCE;
    *p++ = 0x82;
    *p++ = (uint8_t)(inside >> 8);
    *p++ = (uint8_t)inside;
    memcpy(p, rsa_algorithm, sizeof rsa_algorithm);
    p += sizeof rsa_algorithm;
    *p++ = BIT_STRING;
    *p++ = 0x82;
    *p++ = (uint8_t)((n + 1) >> 8);
    *p++ = (uint8_t)(n + 1);
    *p = 0;
    return n + HEAD;
}

static bool pem_at(const struct pag_crypto *crypto, struct pag_span s, struct pag_image_key *out)
{
    static const char plain[] = "-----BEGIN PUBLIC KEY-----";
    static const char pkcs1[] = "-----BEGIN RSA PUBLIC KEY-----";
    bool bare = pag_span_starts(s, pkcs1);
    if (!bare && !pag_span_starts(s, plain)) {
        return false;
    }
    size_t head = bare ? sizeof pkcs1 - 1 : sizeof plain - 1;
    struct pag_span body = { s.p + head, pag_span_find(s, head, '-') - head }; /* up to the last line */
    struct pag_buf der = { out->spki, 0, sizeof out->spki };
    size_t n = pag_base64_decode(body, &der) == PAG_OK ? der.n : 0;
    if (bare) {
        n = wrap_rsa(out->spki, n, sizeof out->spki);
    }
    out->form = PAG_IMAGE_KEY_PEM;
    return n > 0 && take_key(crypto, pag_span_of(out->spki, n), out) && out->spki_n == n;
}

static bool der_at(const struct pag_crypto *crypto, struct pag_span s, struct pag_image_key *out)
{
    out->form = PAG_IMAGE_KEY_DER;
    return take_key(crypto, s, out);
}

bool pag_image_key_next(const struct pag_crypto *crypto, struct pag_span payload, size_t *from,
                        struct pag_image_key *out)
{
    for (size_t at = *from; at < payload.n; at++) {
        uint8_t c = payload.p[at];
        if (c != '-' && c != SEQUENCE) {
            continue;
        }
        struct pag_span rest = pag_span_of(payload.p + at, payload.n - at);
        if (c == '-' ? pem_at(crypto, rest, out) : der_at(crypto, rest, out)) {
            out->at = at;
            *from = at + 1;
            return true;
        }
    }
    *from = payload.n;
    return false;
}

/* ---- a known key ---- */

static bool reversed_at(const uint8_t *p, struct pag_span number)
{
    for (size_t i = 0; i < number.n; i++) {
        if (p[i] != number.p[number.n - 1 - i]) {
            return false;
        }
    }
    return true;
}

bool pag_image_holds_number(struct pag_span payload, struct pag_span number, size_t *at)
{
    if (number.n == 0 || number.n > payload.n) {
        return false;
    }
    uint8_t first = number.p[0];
    uint8_t last = number.p[number.n - 1];
    size_t i = 0;
    bool found = false;
    for (; i <= payload.n - number.n && !found; i++) {
        uint8_t c = payload.p[i];
        found = (c == first && memcmp(payload.p + i, number.p, number.n) == 0) ||
                (c == last && reversed_at(payload.p + i, number));
    }
    if (found && at != NULL) {
        *at = i - 1;
    }
    return found;
}
