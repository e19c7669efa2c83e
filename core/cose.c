#include "core/cose.h"

#include "core/bytes.h"
#include "core/mem.h"

enum { TAG_SIGN1 = 18, TAG_SIGN = 98 };

/* {1: -7, 4: h'…8 bytes…'} up to the key id; the only protected header there is */
static const uint8_t protected_head[] = { 0xA2, 0x01, 0x26, 0x04, 0x48 };
_Static_assert(sizeof protected_head + PAG_KEY_ID_BYTES == PAG_COSE_PROTECTED_BYTES, "RFC 9052 3");

void pag_cose_protected(const uint8_t key_id[PAG_KEY_ID_BYTES], uint8_t out[PAG_COSE_PROTECTED_BYTES])
{
    memcpy(out, protected_head, sizeof protected_head);
    memcpy(out + sizeof protected_head, key_id, PAG_KEY_ID_BYTES);
}

/* Protected bucket and the empty unprotected map behind it. */
static enum pag_err read_headers(struct pag_cbor_reader *r, struct pag_span *key_id, struct pag_fail *why)
{
    struct pag_span bucket = { 0 };
    size_t pairs = 0;
    size_t at = r->at;
    enum pag_err err = pag_cbor_get_bytes(r, 0, SIZE_MAX, &bucket);
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "cose: protected header", at);
    }
    if (bucket.n != PAG_COSE_PROTECTED_BYTES ||
        memcmp(bucket.p, protected_head, sizeof protected_head) != 0) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "cose: protected header is not ES256 with a key id", at);
    }
    at = r->at;
    err = pag_cbor_get_map(r, SIZE_MAX, &pairs);
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "cose: unprotected header", at);
    }
    if (pairs != 0) {
        return pag_fail_set(why, PAG_E_SYNTAX, "cose: unprotected header is not empty", at);
    }
    *key_id = pag_span_of(bucket.p + sizeof protected_head, PAG_KEY_ID_BYTES);
    return PAG_OK;
}

static enum pag_err read_open(struct pag_cbor_reader *r, uint64_t tag, struct pag_fail *why)
{
    size_t count = 0;
    enum pag_err err = pag_cbor_get_tag(r, tag);
    if (err == PAG_OK) {
        err = pag_cbor_get_array(r, SIZE_MAX, &count);
    }
    if (err == PAG_OK && count != 4) {
        err = PAG_E_SYNTAX;
    }
    return err == PAG_OK ? PAG_OK : pag_fail_set(why, err, "cose: not a tagged array of four", r->at);
}

enum pag_err pag_cose_sign1_read(struct pag_span in, struct pag_cose_sign1 *out, struct pag_fail *why)
{
    struct pag_cbor_reader r = pag_cbor_read(in);
    struct pag_cose_sign1 found = { 0 };
    enum pag_err err = read_open(&r, TAG_SIGN1, why);
    if (err != PAG_OK) {
        return err;
    }
    err = read_headers(&r, &found.key_id, why);
    if (err != PAG_OK) {
        return err;
    }
    err = pag_cbor_get_bytes(&r, 1, SIZE_MAX, &found.payload);
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "cose: payload", r.at);
    }
    err = pag_cbor_get_bytes(&r, PAG_P256_SIG_BYTES, PAG_P256_SIG_BYTES, &found.signature);
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "cose: signature", r.at);
    }
    if (!pag_cbor_at_end(&r)) {
        return pag_fail_set(why, PAG_E_SYNTAX, "cose: bytes behind the object", r.at);
    }
    *out = found;
    return PAG_OK;
}

/* Feeds the head of a byte string and its content to the hash. */
static void hash_bytes(const struct pag_crypto *crypto, struct pag_sha256 *h, struct pag_span s)
{
    uint8_t head[9];
    struct pag_buf b = { .p = head, .n = 0, .cap = sizeof head };
    struct pag_cbor_writer w = pag_cbor_write(&b);
    pag_cbor_put_uint(&w, s.n);
    head[0] = (uint8_t)(head[0] | 0x40U); /* major type 0 -> 2 */
    crypto->sha256_add(h, pag_buf_span(&b));
    crypto->sha256_add(h, s);
}

void pag_cose_sign1_digest(const struct pag_crypto *crypto, const uint8_t key_id[PAG_KEY_ID_BYTES],
                           struct pag_span payload, uint8_t digest[PAG_SHA256_BYTES])
{
    static const char context[] = "\x84\x6ASignature1"; /* array(4), text(10) */
    uint8_t bucket[PAG_COSE_PROTECTED_BYTES];
    struct pag_sha256 h;
    pag_cose_protected(key_id, bucket);
    crypto->sha256_begin(&h);
    crypto->sha256_add(&h, pag_span_of(context, sizeof context - 1));
    hash_bytes(crypto, &h, pag_span_of(bucket, sizeof bucket));
    hash_bytes(crypto, &h, pag_span_of(NULL, 0)); /* external data */
    hash_bytes(crypto, &h, payload);
    crypto->sha256_end(&h, digest);
}

void pag_cose_sign_digest(const struct pag_crypto *crypto, const uint8_t key_id[PAG_KEY_ID_BYTES],
                          struct pag_span payload, uint8_t digest[PAG_SHA256_BYTES])
{
    static const char context[] = "\x85\x69Signature"; /* array(5), text(9) */
    uint8_t bucket[PAG_COSE_PROTECTED_BYTES];
    struct pag_sha256 h;
    pag_cose_protected(key_id, bucket);
    crypto->sha256_begin(&h);
    crypto->sha256_add(&h, pag_span_of(context, sizeof context - 1));
    hash_bytes(crypto, &h, pag_span_of(NULL, 0)); /* body's protected header */
    hash_bytes(crypto, &h, pag_span_of(bucket, sizeof bucket));
    hash_bytes(crypto, &h, pag_span_of(NULL, 0)); /* external data */
    hash_bytes(crypto, &h, payload);
    crypto->sha256_end(&h, digest);
}

enum pag_err pag_cose_sign1_put(struct pag_buf *out, const uint8_t key_id[PAG_KEY_ID_BYTES],
                                struct pag_span payload, const uint8_t sig[PAG_P256_SIG_BYTES])
{
    uint8_t bucket[PAG_COSE_PROTECTED_BYTES];
    size_t start = out->n;
    struct pag_cbor_writer w = pag_cbor_write(out);
    pag_cose_protected(key_id, bucket);
    pag_cbor_put_tag(&w, TAG_SIGN1);
    pag_cbor_put_array(&w, 4);
    pag_cbor_put_bytes(&w, pag_span_of(bucket, sizeof bucket));
    pag_cbor_put_map(&w, 0);
    pag_cbor_put_bytes(&w, payload);
    pag_cbor_put_bytes(&w, pag_span_of(sig, PAG_P256_SIG_BYTES));
    if (w.err != PAG_OK) {
        out->n = start;
    }
    return w.err;
}

struct pag_buf pag_cose_payload_room(const struct pag_buf *out, size_t max)
{
    size_t left = out->cap - out->n;
    if (left < PAG_COSE_SIGN1_OVERHEAD) {
        return (struct pag_buf){ 0 };
    }
    left -= PAG_COSE_SIGN1_OVERHEAD;
    return (
        struct pag_buf){ .p = out->p + out->n + PAG_COSE_SIGN1_HEAD, .n = 0, .cap = left < max ? left : max };
}

enum pag_err pag_cose_sign1_make(const struct pag_crypto *crypto, const uint8_t key_id[PAG_KEY_ID_BYTES],
                                 struct pag_span payload,
                                 enum pag_err (*sign)(void *ctx, const uint8_t digest[PAG_SHA256_BYTES],
                                                      uint8_t out[PAG_P256_SIG_BYTES]),
                                 void *ctx, struct pag_buf *out)
{
    uint8_t digest[PAG_SHA256_BYTES];
    uint8_t sig[PAG_P256_SIG_BYTES];
    pag_cose_sign1_digest(crypto, key_id, payload, digest);
    enum pag_err err = sign(ctx, digest, sig);
    return err == PAG_OK ? pag_cose_sign1_put(out, key_id, payload, sig) : err;
}

/* ---- several signers ---- */

static enum pag_err read_signer(struct pag_cbor_reader *r, struct pag_span *key_id, struct pag_span *sig,
                                struct pag_fail *why)
{
    size_t count = 0;
    enum pag_err err = pag_cbor_get_array(r, SIZE_MAX, &count);
    if (err == PAG_OK && count != 3) {
        err = PAG_E_SYNTAX;
    }
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "cose: signer is not an array of three", r->at);
    }
    err = read_headers(r, key_id, why);
    if (err != PAG_OK) {
        return err;
    }
    err = pag_cbor_get_bytes(r, PAG_P256_SIG_BYTES, PAG_P256_SIG_BYTES, sig);
    return err == PAG_OK ? PAG_OK : pag_fail_set(why, err, "cose: signature", r->at);
}

enum pag_err pag_cose_signer_next(struct pag_cbor_reader *signers, struct pag_span *key_id,
                                  struct pag_span *sig)
{
    return read_signer(signers, key_id, sig, NULL);
}

/* Body: empty protected header, empty unprotected map, payload, count of signers. */
static enum pag_err read_body(struct pag_cbor_reader *r, struct pag_cose_sign *out, struct pag_fail *why)
{
    struct pag_span none = { 0 };
    size_t pairs = 0;
    enum pag_err err = pag_cbor_get_bytes(r, 0, 0, &none);
    if (err == PAG_OK) {
        err = pag_cbor_get_map(r, 0, &pairs);
    }
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "cose: header of the body is not empty", r->at);
    }
    err = pag_cbor_get_bytes(r, 1, SIZE_MAX, &out->payload);
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "cose: payload", r->at);
    }
    err = pag_cbor_get_array(r, PAG_COSE_SIGNERS_MAX, &out->n);
    return err == PAG_OK ? PAG_OK : pag_fail_set(why, err, "cose: signers", r->at);
}

enum pag_err pag_cose_sign_read(struct pag_span in, struct pag_cose_sign *out, struct pag_fail *why)
{
    struct pag_cbor_reader r = pag_cbor_read(in);
    struct pag_cose_sign found = { 0 };
    struct pag_span last = { 0 };
    enum pag_err err = read_open(&r, TAG_SIGN, why);
    if (err == PAG_OK) {
        err = read_body(&r, &found, why);
    }
    found.signers = r;
    for (size_t i = 0; i < found.n && err == PAG_OK; i++) {
        struct pag_span id = { 0 };
        struct pag_span sig = { 0 };
        err = read_signer(&r, &id, &sig, why);
        if (err == PAG_OK && last.n != 0 && memcmp(last.p, id.p, id.n) >= 0) {
            err = pag_fail_set(why, PAG_E_SYNTAX, "cose: signers not sorted, or one twice", i);
        }
        last = id;
    }
    if (err == PAG_OK && !pag_cbor_at_end(&r)) {
        err = pag_fail_set(why, PAG_E_SYNTAX, "cose: bytes behind the object", r.at);
    }
    if (err == PAG_OK) {
        *out = found;
    }
    return err;
}
