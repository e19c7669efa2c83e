#include "core/bytes.h"
#include "core/cbor.h"
#include "core/mem.h"
#include "core/trust_fields.h"

/* ---- rules ---- */

/* Lists are sorted strictly by id, and a point stands once in a list (M16). */
static bool point_among(const struct pag_trust_key *key, size_t n, const uint8_t *point)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(key[i].point, point, PAG_P256_POINT_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static bool keys_ok(const struct pag_trust_key *key, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (memcmp(key[i - 1].id, key[i].id, PAG_KEY_ID_BYTES) >= 0 || point_among(key, i, key[i].point)) {
            return false;
        }
    }
    return true;
}

static bool release_keys_ok(const struct pag_trust_set *t)
{
    for (size_t i = 0; i < t->release_n; i++) {
        const struct pag_trust_key *k = &t->release[i];
        if (k->kinds == 0 || k->kinds > PAG_TRUST_KINDS_ALL || k->epoch_min > k->epoch_max ||
            k->epoch_max > PAG_TRUST_EPOCH_MAX) {
            return false;
        }
    }
    return keys_ok(t->release, t->release_n);
}

static bool is_zero(const uint8_t *p, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++) {
        any = (uint8_t)(any | p[i]);
    }
    return any == 0;
}

enum pag_err pag_trust_check(const struct pag_trust_set *t, struct pag_fail *why)
{
    if (t->version == 0) {
        return pag_fail_set(why, PAG_E_RANGE, "trust set: version 0", 0);
    }
    if (t->root_n > PAG_TRUST_ROOTS_MAX || t->root_threshold == 0 || t->root_threshold > t->root_n) {
        return pag_fail_set(why, PAG_E_RANGE, "trust set: root threshold", t->root_threshold);
    }
    if (t->release_n > PAG_TRUST_KEYS_MAX || t->release_threshold == 0 ||
        t->release_threshold > PAG_TRUST_RELEASE_THRESHOLD_MAX) {
        return pag_fail_set(why, PAG_E_RANGE, "trust set: release threshold", t->release_threshold);
    }
    if (t->delta_n > PAG_TRUST_ONLINE_MAX || t->freshness_n > PAG_TRUST_ONLINE_MAX) {
        return pag_fail_set(why, PAG_E_RANGE, "trust set: too many online keys", 0);
    }
    if (!keys_ok(t->root, t->root_n)) {
        return pag_fail_set(why, PAG_E_SYNTAX, "trust set: list not sorted, or a key twice", PAG_TK_ROOTS);
    }
    if (!release_keys_ok(t)) {
        return pag_fail_set(why, PAG_E_SYNTAX, "trust set: list not sorted, a key twice, or a bad role",
                            PAG_TK_RELEASES);
    }
    if (!keys_ok(t->delta, t->delta_n) || !keys_ok(t->freshness, t->freshness_n)) {
        return pag_fail_set(why, PAG_E_SYNTAX, "trust set: list not sorted, or a key twice", PAG_TK_DELTAS);
    }
    if ((t->version == 1) != is_zero(t->previous, sizeof t->previous)) {
        return pag_fail_set(why, PAG_E_SYNTAX, "trust set: version 1 and only it follows no other",
                            t->version);
    }
    return PAG_OK;
}

/* ---- reading ---- */

static enum pag_err get_u32(struct pag_cbor_reader *r, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;
    enum pag_err err = pag_cbor_get_uint(r, max, &v);
    if (err == PAG_OK) {
        *out = (uint32_t)v;
    }
    return err;
}

static enum pag_err get_u8(struct pag_cbor_reader *r, uint8_t *out)
{
    uint32_t v = 0;
    enum pag_err err = get_u32(r, UINT8_MAX, &v);
    if (err == PAG_OK) {
        *out = (uint8_t)v;
    }
    return err;
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

/* [id, point], and for release keys [id, point, kinds, epoch min, epoch max]. */
static enum pag_err get_key(struct pag_cbor_reader *r, struct pag_trust_key *key, bool release)
{
    size_t parts = 0;
    enum pag_err err = pag_cbor_get_array(r, 5, &parts);
    if (err == PAG_OK && parts != (release ? 5U : 2U)) {
        err = PAG_E_SYNTAX;
    }
    if (err == PAG_OK) {
        err = get_fixed(r, key->id, sizeof key->id);
    }
    if (err == PAG_OK) {
        err = get_fixed(r, key->point, sizeof key->point);
    }
    if (err != PAG_OK || !release) {
        return err;
    }
    err = get_u32(r, PAG_TRUST_KINDS_ALL, &key->kinds);
    if (err == PAG_OK) {
        err = get_u32(r, PAG_TRUST_EPOCH_MAX, &key->epoch_min);
    }
    if (err == PAG_OK) {
        err = get_u32(r, PAG_TRUST_EPOCH_MAX, &key->epoch_max);
    }
    return err;
}

static enum pag_err get_keys(struct pag_cbor_reader *r, struct pag_trust_key *key, size_t max, uint8_t *n,
                             bool release)
{
    size_t count = 0;
    enum pag_err err = pag_cbor_get_array(r, max, &count);
    for (size_t i = 0; i < count && err == PAG_OK; i++) {
        err = get_key(r, &key[i], release);
    }
    *n = (uint8_t)count;
    return err;
}

static enum pag_err get_format(struct pag_cbor_reader *r)
{
    uint64_t v = 0;
    enum pag_err err = pag_cbor_get_uint(r, UINT64_MAX, &v);
    return err == PAG_OK && v != PAG_TRUST_FORMAT ? PAG_E_UNSUPPORTED : err;
}

static enum pag_err get_field(struct pag_cbor_reader *r, uint64_t key, struct pag_trust_set *t)
{
    switch (key) {
    case PAG_TK_FORMAT:
        return get_format(r);
    case PAG_TK_VERSION:
        return get_u32(r, UINT32_MAX, &t->version);
    case PAG_TK_PRODUCT:
        return get_fixed(r, t->product, sizeof t->product);
    case PAG_TK_ROOT_THRESHOLD:
        return get_u8(r, &t->root_threshold);
    case PAG_TK_ROOTS:
        return get_keys(r, t->root, PAG_TRUST_ROOTS_MAX, &t->root_n, false);
    case PAG_TK_RELEASE_THRESHOLD:
        return get_u8(r, &t->release_threshold);
    case PAG_TK_RELEASES:
        return get_keys(r, t->release, PAG_TRUST_KEYS_MAX, &t->release_n, true);
    case PAG_TK_DELTAS:
        return get_keys(r, t->delta, PAG_TRUST_ONLINE_MAX, &t->delta_n, false);
    case PAG_TK_FRESHNESS:
        return get_keys(r, t->freshness, PAG_TRUST_ONLINE_MAX, &t->freshness_n, false);
    case PAG_TK_EXPIRES:
        return pag_cbor_get_uint(r, UINT64_MAX, &t->expires_at);
    case PAG_TK_PREVIOUS:
        return get_fixed(r, t->previous, sizeof t->previous);
    default:
        return key < PAG_TK_CRITICAL ? PAG_E_UNSUPPORTED : pag_cbor_skip(r);
    }
}

enum pag_err pag_trust_payload_get(struct pag_span payload, struct pag_trust_set *t, struct pag_fail *why)
{
    const uint32_t needed = (1U << (PAG_TK_PREVIOUS + 1)) - (1U << PAG_TK_FORMAT);
    struct pag_cbor_reader r = pag_cbor_read(payload);
    struct pag_cbor_map map;
    uint32_t seen = 0;
    uint64_t key = 0;
    enum pag_err err = pag_cbor_map_begin(&r, PAG_TRUST_MAX, &map);
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "trust set: payload is not a map", 0);
    }
    while (pag_cbor_map_next(&map, &key)) {
        err = get_field(&r, key, t);
        if (err != PAG_OK) {
            return pag_fail_set(why, err, "trust set: field with this key", key);
        }
        seen |= key < 32 ? 1U << key : 0;
    }
    if (map.err != PAG_OK) {
        return pag_fail_set(why, map.err, "trust set: keys of the payload, offset", r.at);
    }
    if (!pag_cbor_at_end(&r)) {
        return pag_fail_set(why, PAG_E_SYNTAX, "trust set: bytes behind the payload", r.at);
    }
    if ((needed & ~seen) != 0) {
        return pag_fail_set(why, PAG_E_SYNTAX, "trust set: keys missing, as bits", needed & ~seen);
    }
    return pag_trust_check(t, why);
}

/* ---- writing ---- */

static void put_keys(struct pag_cbor_writer *w, enum pag_trust_field field, const struct pag_trust_key *key,
                     size_t n)
{
    bool release = field == PAG_TK_RELEASES;
    pag_cbor_put_uint(w, field);
    pag_cbor_put_array(w, n);
    for (size_t i = 0; i < n; i++) {
        pag_cbor_put_array(w, release ? 5 : 2);
        pag_cbor_put_bytes(w, pag_span_of(key[i].id, PAG_KEY_ID_BYTES));
        pag_cbor_put_bytes(w, pag_span_of(key[i].point, PAG_P256_POINT_BYTES));
        if (release) {
            pag_cbor_put_uint(w, key[i].kinds);
            pag_cbor_put_uint(w, key[i].epoch_min);
            pag_cbor_put_uint(w, key[i].epoch_max);
        }
    }
}

static void put_number(struct pag_cbor_writer *w, enum pag_trust_field field, uint64_t v)
{
    pag_cbor_put_uint(w, field);
    pag_cbor_put_uint(w, v);
}

static void sort_keys(struct pag_trust_key *key, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        for (size_t j = i; j > 0 && memcmp(key[j - 1].id, key[j].id, PAG_KEY_ID_BYTES) > 0; j--) {
            struct pag_trust_key swap = key[j];
            key[j] = key[j - 1];
            key[j - 1] = swap;
        }
    }
}

void pag_trust_sort(struct pag_trust_set *t)
{
    sort_keys(t->root, t->root_n);
    sort_keys(t->release, t->release_n);
    sort_keys(t->delta, t->delta_n);
    sort_keys(t->freshness, t->freshness_n);
}

enum pag_err pag_trust_payload(const struct pag_trust_set *t, struct pag_buf *payload, struct pag_fail *why)
{
    enum pag_err err = pag_trust_check(t, why);
    if (err != PAG_OK) {
        return err;
    }
    size_t start = payload->n;
    struct pag_cbor_writer w = pag_cbor_write(payload);
    pag_cbor_put_map(&w, PAG_TK_PREVIOUS);
    put_number(&w, PAG_TK_FORMAT, PAG_TRUST_FORMAT);
    put_number(&w, PAG_TK_VERSION, t->version);
    pag_cbor_put_uint(&w, PAG_TK_PRODUCT);
    pag_cbor_put_bytes(&w, pag_span_of(t->product, sizeof t->product));
    put_number(&w, PAG_TK_ROOT_THRESHOLD, t->root_threshold);
    put_keys(&w, PAG_TK_ROOTS, t->root, t->root_n);
    put_number(&w, PAG_TK_RELEASE_THRESHOLD, t->release_threshold);
    put_keys(&w, PAG_TK_RELEASES, t->release, t->release_n);
    put_keys(&w, PAG_TK_DELTAS, t->delta, t->delta_n);
    put_keys(&w, PAG_TK_FRESHNESS, t->freshness, t->freshness_n);
    put_number(&w, PAG_TK_EXPIRES, t->expires_at);
    pag_cbor_put_uint(&w, PAG_TK_PREVIOUS);
    pag_cbor_put_bytes(&w, pag_span_of(t->previous, sizeof t->previous));
    if (w.err != PAG_OK) {
        payload->n = start;
        return pag_fail_set(why, w.err, "trust set: no room for the payload", payload->cap);
    }
    return PAG_OK;
}
