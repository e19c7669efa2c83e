#include "core/command.h"

#include "core/bytes.h"
#include "core/cbor.h"
#include "core/cose.h"
#include "core/manifest.h"
#include "core/mem.h"
#include "core/native.h"

/* Payload keys, docs/spec/commands.md 1. All but the last are needed. */
enum {
    KEY_FORMAT = 1,
    KEY_KIND, /* of the payload: PAG_KIND_COMMAND, so that no manifest or token passes for one */
    KEY_PRODUCT,
    KEY_DEVICE,
    KEY_COMMAND,
    KEY_COUNTER,
    KEY_EXPIRES,
    KEY_ARG,
    KEYS_NEEDED = KEY_EXPIRES,
    FORMAT = 1,
};

bool pag_command_kind_signed(unsigned kind)
{
    return kind >= PAG_COMMAND_RESET && kind <= PAG_COMMAND_REENROLL;
}

/* Rules of single fields; writer and reader both call it. */
static enum pag_err check(const struct pag_signed_command *c, struct pag_fail *why)
{
    if (!pag_device_id_ok(c->device)) {
        return pag_fail_set(why, PAG_E_RANGE, "command: not a device id, bytes", c->device.n);
    }
    if (!pag_command_kind_signed(c->kind)) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "command: not a kind that is signed", c->kind);
    }
    if (c->counter == 0) {
        return pag_fail_set(why, PAG_E_RANGE, "command: counter is 0", 0);
    }
    if (c->expires_at == 0) {
        return pag_fail_set(why, PAG_E_RANGE, "command: has no end", 0);
    }
    if (c->arg.n > (c->kind == PAG_COMMAND_REENROLL ? PAG_SIGNED_COMMAND_ARG_MAX : 0)) {
        return pag_fail_set(why, PAG_E_RANGE, "command: argument too long for this kind", c->arg.n);
    }
    return PAG_OK;
}

/* ---- writing ---- */

static void put_payload(struct pag_cbor_writer *w, const struct pag_signed_command *c)
{
    pag_cbor_put_map(w, c->arg.n > 0 ? KEY_ARG : KEYS_NEEDED);
    pag_cbor_put_uint(w, KEY_FORMAT);
    pag_cbor_put_uint(w, FORMAT);
    pag_cbor_put_uint(w, KEY_KIND);
    pag_cbor_put_uint(w, PAG_KIND_COMMAND);
    pag_cbor_put_uint(w, KEY_PRODUCT);
    pag_cbor_put_bytes(w, pag_span_of(c->product, sizeof c->product));
    pag_cbor_put_uint(w, KEY_DEVICE);
    pag_cbor_put_text(w, c->device);
    pag_cbor_put_uint(w, KEY_COMMAND);
    pag_cbor_put_uint(w, c->kind);
    pag_cbor_put_uint(w, KEY_COUNTER);
    pag_cbor_put_uint(w, c->counter);
    pag_cbor_put_uint(w, KEY_EXPIRES);
    pag_cbor_put_uint(w, c->expires_at);
    if (c->arg.n > 0) {
        pag_cbor_put_uint(w, KEY_ARG);
        pag_cbor_put_bytes(w, c->arg);
    }
}

enum pag_err pag_signed_command_sign(const struct pag_crypto *crypto, const struct pag_signed_command *c,
                                     enum pag_err (*sign)(void *ctx, const uint8_t digest[PAG_SHA256_BYTES],
                                                          uint8_t out[PAG_P256_SIG_BYTES]),
                                     void *ctx, struct pag_buf *out, struct pag_fail *why)
{
    struct pag_buf payload = pag_cose_payload_room(out, PAG_SIGNED_COMMAND_MAX - PAG_COSE_SIGN1_OVERHEAD);
    struct pag_cbor_writer w = pag_cbor_write(&payload);
    enum pag_err err = check(c, why);
    if (err != PAG_OK) {
        return err;
    }
    put_payload(&w, c);
    if (w.err != PAG_OK) {
        return pag_fail_set(why, w.err, "command: longer than allowed, bytes", PAG_SIGNED_COMMAND_MAX);
    }
    return pag_cose_sign1_make(crypto, c->key_id, pag_buf_span(&payload), sign, ctx, out);
}

/* ---- reading ---- */

static enum pag_err get_exact(struct pag_cbor_reader *r, uint64_t want)
{
    uint64_t v = 0;
    enum pag_err err = pag_cbor_get_uint(r, UINT64_MAX, &v);
    return err == PAG_OK && v != want ? PAG_E_UNSUPPORTED : err;
}

static enum pag_err get_product(struct pag_cbor_reader *r, struct pag_signed_command *c)
{
    struct pag_span s = { 0 };
    enum pag_err err = pag_cbor_get_bytes(r, sizeof c->product, sizeof c->product, &s);
    if (err == PAG_OK) {
        memcpy(c->product, s.p, sizeof c->product);
    }
    return err;
}

static enum pag_err get_numbers(struct pag_cbor_reader *r, uint64_t key, struct pag_signed_command *c)
{
    uint64_t v = 0;
    if (key == KEY_EXPIRES) {
        return pag_cbor_get_uint(r, UINT64_MAX, &c->expires_at);
    }
    enum pag_err err = pag_cbor_get_uint(r, key == KEY_COMMAND ? UINT8_MAX : UINT32_MAX, &v);
    if (key == KEY_COMMAND) {
        c->kind = (uint8_t)v;
    } else {
        c->counter = (uint32_t)v;
    }
    return err;
}

static enum pag_err get_field(struct pag_cbor_reader *r, uint64_t key, struct pag_signed_command *c)
{
    switch (key) {
    case KEY_FORMAT:
        return get_exact(r, FORMAT);
    case KEY_KIND:
        return get_exact(r, PAG_KIND_COMMAND);
    case KEY_PRODUCT:
        return get_product(r, c);
    case KEY_DEVICE:
        return pag_cbor_get_text(r, 1, PAG_DEVICE_ID_MAX, &c->device);
    case KEY_COMMAND:
    case KEY_COUNTER:
    case KEY_EXPIRES:
        return get_numbers(r, key, c);
    case KEY_ARG:
        return pag_cbor_get_bytes(r, 1, PAG_SIGNED_COMMAND_ARG_MAX, &c->arg);
    default:
        return PAG_E_UNSUPPORTED;
    }
}

static enum pag_err read_payload(struct pag_span payload, struct pag_signed_command *c, struct pag_fail *why)
{
    struct pag_cbor_reader r = pag_cbor_read(payload);
    struct pag_cbor_map map;
    uint64_t key = 0;
    size_t seen = 0;
    enum pag_err err = pag_cbor_map_begin(&r, KEY_ARG, &map);
    while (err == PAG_OK && pag_cbor_map_next(&map, &key)) {
        err = get_field(&r, key, c);
        seen++;
    }
    if (err == PAG_OK) {
        err = map.err;
    }
    /* keys ascend and none is above 8: without the last, seven are all that is needed */
    size_t needed = KEYS_NEEDED + (c->arg.n > 0 ? 1U : 0U);
    if (err == PAG_OK && (seen != needed || !pag_cbor_at_end(&r))) {
        err = PAG_E_SYNTAX;
    }
    return err == PAG_OK ? check(c, why) : pag_fail_set(why, err, "command: field with this key", key);
}

static enum pag_err read_all(struct pag_span cose, struct pag_signed_command *c,
                             struct pag_cose_sign1 *envelope, struct pag_fail *why)
{
    if (cose.n > PAG_SIGNED_COMMAND_MAX) {
        return pag_fail_set(why, PAG_E_RANGE, "command: longer than allowed, bytes", cose.n);
    }
    enum pag_err err = pag_cose_sign1_read(cose, envelope, why);
    if (err == PAG_OK) {
        err = read_payload(envelope->payload, c, why);
    }
    if (err == PAG_OK) {
        memcpy(c->key_id, envelope->key_id.p, PAG_KEY_ID_BYTES);
    }
    return err;
}

enum pag_err pag_signed_command_parse(struct pag_span cose, struct pag_signed_command *out,
                                      struct pag_fail *why)
{
    struct pag_cose_sign1 envelope = { 0 };
    memset(out, 0, sizeof *out);
    enum pag_err err = read_all(cose, out, &envelope, why);
    if (err != PAG_OK) {
        memset(out, 0, sizeof *out);
    }
    return err;
}

static enum pag_err check_signature(const struct pag_crypto *crypto, const struct pag_cose_sign1 *envelope,
                                    const struct pag_trust_set *trust, uint32_t epoch, struct pag_fail *why)
{
    uint8_t digest[PAG_SHA256_BYTES];
    const uint8_t *id = envelope->key_id.p;
    if (trust->release_threshold != 1) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "command: set wants more than one signature",
                            trust->release_threshold);
    }
    const struct pag_trust_key *key = pag_trust_release_key(trust, id, PAG_KIND_COMMAND, epoch);
    if (key == NULL) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "command: key is not one of those for commands",
                            pag_u32be(id));
    }
    pag_cose_sign1_digest(crypto, id, envelope->payload, digest);
    return crypto->p256_verify(key->point, digest, envelope->signature.p) == PAG_OK
               ? PAG_OK
               : pag_fail_set(why, PAG_E_SIGNATURE, "command: signature does not hold", pag_u32be(id));
}

enum pag_err pag_signed_command_verify(const struct pag_crypto *crypto, struct pag_span cose,
                                       const struct pag_trust_set *trust, uint32_t epoch,
                                       struct pag_signed_command *out, struct pag_fail *why)
{
    struct pag_cose_sign1 envelope = { 0 };
    memset(out, 0, sizeof *out);
    enum pag_err err = read_all(cose, out, &envelope, why);
    if (err == PAG_OK && memcmp(out->product, trust->product, PAG_PRODUCT_ID_BYTES) != 0) {
        err = pag_fail_set(why, PAG_E_PRODUCT, "command: another product", pag_u32be(out->product));
    }
    if (err == PAG_OK) {
        err = check_signature(crypto, &envelope, trust, epoch, why);
    }
    if (err != PAG_OK) {
        memset(out, 0, sizeof *out);
    }
    return err;
}

enum pag_err pag_signed_command_admit(const struct pag_signed_command *c,
                                      const struct pag_signed_command_target *t, struct pag_fail *why)
{
    if (memcmp(c->product, t->product, PAG_PRODUCT_ID_BYTES) != 0) {
        return pag_fail_set(why, PAG_E_PRODUCT, "command: another product", pag_u32be(c->product));
    }
    if (!pag_span_eq(c->device, t->device)) {
        return pag_fail_set(why, PAG_E_DENIED, "command: for another device", 0);
    }
    if (t->now_unix_s > c->expires_at) {
        return pag_fail_set(why, PAG_E_EXPIRED, "command: has expired", c->expires_at);
    }
    if (c->counter <= t->counter) {
        return pag_fail_set(why, PAG_E_STALE, "command: counter not above the last", t->counter);
    }
    return PAG_OK;
}
