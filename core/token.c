#include "core/bytes.h"
#include "core/cbor.h"
#include "core/cose.h"
#include "core/mem.h"
#include "core/trust.h"

/* Payload keys 1 to 8, all needed, no others. docs/spec/native.md, freshness token. */
enum {
    TOKEN_FORMAT = 1,
    TOKEN_KIND =
        8, /* one numbering with the payload kinds of manifests, so that neither passes for the other */
    TOKEN_KEYS = 8,
    TOKEN_VALID_MAX_S = 7 * 24 * 3600,
};

enum pag_err pag_token_sign(const struct pag_crypto *crypto, const struct pag_token *t,
                            enum pag_err (*sign)(void *ctx, const uint8_t digest[32], uint8_t out[64]),
                            void *ctx, struct pag_buf *out)
{
    if (t->valid_s == 0 || t->valid_s > TOKEN_VALID_MAX_S) {
        return PAG_E_RANGE;
    }
    const uint64_t tail[] = { t->server_time, t->trust_version, t->highest_sequence, t->valid_s };
    struct pag_buf payload = pag_cose_payload_room(out, PAG_TOKEN_MAX - PAG_COSE_SIGN1_OVERHEAD);
    struct pag_cbor_writer w = pag_cbor_write(&payload);
    pag_cbor_put_map(&w, TOKEN_KEYS);
    pag_cbor_put_uint(&w, 1);
    pag_cbor_put_uint(&w, TOKEN_FORMAT);
    pag_cbor_put_uint(&w, 2);
    pag_cbor_put_uint(&w, TOKEN_KIND);
    pag_cbor_put_uint(&w, 3);
    pag_cbor_put_bytes(&w, pag_span_of(t->product, sizeof t->product));
    pag_cbor_put_uint(&w, 4);
    pag_cbor_put_bytes(&w, pag_span_of(t->nonce, sizeof t->nonce));
    for (size_t i = 0; i < sizeof tail / sizeof tail[0]; i++) {
        pag_cbor_put_uint(&w, 5 + i);
        pag_cbor_put_uint(&w, tail[i]);
    }
    if (w.err != PAG_OK) {
        return w.err;
    }
    return pag_cose_sign1_make(crypto, t->key_id, pag_buf_span(&payload), sign, ctx, out);
}

static enum pag_err get_exact(struct pag_cbor_reader *r, uint64_t want)
{
    uint64_t v = 0;
    enum pag_err err = pag_cbor_get_uint(r, UINT64_MAX, &v);
    return err == PAG_OK && v != want ? PAG_E_UNSUPPORTED : err;
}

static enum pag_err get_fixed(struct pag_cbor_reader *r, uint8_t *out, size_t n)
{
    struct pag_span s = { 0 };
    enum pag_err err = pag_cbor_get_bytes(r, n, n, &s);
    if (err == PAG_OK) {
        memcpy(out, s.p, n);
    }
    return err;
}

static enum pag_err get_u32(struct pag_cbor_reader *r, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;
    enum pag_err err = pag_cbor_get_uint(r, max, &v);
    if (err == PAG_OK) {
        *out = (uint32_t)v;
    }
    return err;
}

static enum pag_err get_field(struct pag_cbor_reader *r, uint64_t key, struct pag_token *t)
{
    switch (key) {
    case 1:
        return get_exact(r, TOKEN_FORMAT);
    case 2:
        return get_exact(r, TOKEN_KIND);
    case 3:
        return get_fixed(r, t->product, sizeof t->product);
    case 4:
        return get_fixed(r, t->nonce, sizeof t->nonce);
    case 5:
        return pag_cbor_get_uint(r, UINT64_MAX, &t->server_time);
    case 6:
        return get_u32(r, UINT32_MAX, &t->trust_version);
    case 7:
        return get_u32(r, UINT32_MAX, &t->highest_sequence);
    case TOKEN_KEYS:
        return get_u32(r, TOKEN_VALID_MAX_S, &t->valid_s);
    default:
        return PAG_E_UNSUPPORTED;
    }
}

static enum pag_err read_payload(struct pag_span payload, struct pag_token *t, struct pag_fail *why)
{
    struct pag_cbor_reader r = pag_cbor_read(payload);
    struct pag_cbor_map map;
    uint64_t key = 0;
    size_t seen = 0;
    enum pag_err err = pag_cbor_map_begin(&r, TOKEN_KEYS, &map);
    while (err == PAG_OK && pag_cbor_map_next(&map, &key)) {
        err = get_field(&r, key, t);
        seen++;
    }
    if (err == PAG_OK) {
        err = map.err;
    }
    /* keys ascend and none is above 8: eight of them are all of them */
    if (err == PAG_OK && (seen != TOKEN_KEYS || !pag_cbor_at_end(&r))) {
        err = PAG_E_SYNTAX;
    }
    return err == PAG_OK ? PAG_OK : pag_fail_set(why, err, "token: field with this key", key);
}

static const struct pag_trust_key *freshness_key(const struct pag_trust_set *t, const uint8_t *id)
{
    for (size_t i = 0; i < t->freshness_n; i++) {
        if (memcmp(t->freshness[i].id, id, PAG_KEY_ID_BYTES) == 0) {
            return &t->freshness[i];
        }
    }
    return NULL;
}

enum pag_err pag_token_verify(const struct pag_crypto *crypto, struct pag_span cose,
                              const struct pag_trust_set *trust, const uint8_t nonce[PAG_NONCE_BYTES],
                              struct pag_token *out, struct pag_fail *why)
{
    struct pag_cose_sign1 envelope;
    struct pag_token t = { 0 };
    uint8_t digest[PAG_SHA256_BYTES];
    if (cose.n > PAG_TOKEN_MAX) {
        return pag_fail_set(why, PAG_E_RANGE, "token: longer than allowed, bytes", cose.n);
    }
    enum pag_err err = pag_cose_sign1_read(cose, &envelope, why);
    if (err == PAG_OK) {
        err = read_payload(envelope.payload, &t, why);
    }
    if (err != PAG_OK) {
        return err;
    }
    memcpy(t.key_id, envelope.key_id.p, PAG_KEY_ID_BYTES);
    const struct pag_trust_key *key = freshness_key(trust, t.key_id);
    pag_cose_sign1_digest(crypto, t.key_id, envelope.payload, digest);
    if (key == NULL || crypto->p256_verify(key->point, digest, envelope.signature.p) != PAG_OK) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "token: not signed by a freshness key",
                            pag_u32be(t.key_id));
    }
    if (memcmp(t.product, trust->product, PAG_PRODUCT_ID_BYTES) != 0) {
        return pag_fail_set(why, PAG_E_PRODUCT, "token: another product", pag_u32be(t.product));
    }
    if (!pag_equal_ct(t.nonce, nonce, PAG_NONCE_BYTES)) {
        return pag_fail_set(why, PAG_E_STALE, "token: for another nonce", 0);
    }
    *out = t;
    return PAG_OK;
}
