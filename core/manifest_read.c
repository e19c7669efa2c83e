#include "core/bytes.h"
#include "core/manifest_fields.h"
#include "core/mem.h"
#include "core/version.h"

/* Keys that every manifest has; bit k = key k. */
static const uint32_t needed_keys = 1U << PAG_MK_FORMAT | 1U << PAG_MK_KIND | 1U << PAG_MK_PRODUCT |
                                    1U << PAG_MK_HARDWARE | 1U << PAG_MK_CHIP | 1U << PAG_MK_IMAGE |
                                    1U << PAG_MK_VERSION | 1U << PAG_MK_EPOCH | 1U << PAG_MK_SEQUENCE |
                                    1U << PAG_MK_DIGEST | 1U << PAG_MK_SIZE | 1U << PAG_MK_ISSUED |
                                    1U << PAG_MK_EXPIRES | 1U << PAG_MK_TRUST | 1U << PAG_MK_INNER;

static enum pag_err get_u32(struct pag_cbor_reader *r, uint32_t min, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;
    enum pag_err err = pag_cbor_get_uint(r, max, &v);
    if (err != PAG_OK) {
        return err;
    }
    if (v < min) {
        return PAG_E_RANGE;
    }
    *out = (uint32_t)v;
    return PAG_OK;
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

static enum pag_err get_format(struct pag_cbor_reader *r)
{
    uint64_t v = 0;
    enum pag_err err = pag_cbor_get_uint(r, UINT64_MAX, &v);
    if (err == PAG_OK && v != PAG_MANIFEST_FORMAT) {
        err = PAG_E_UNSUPPORTED;
    }
    return err;
}

static enum pag_err get_kind(struct pag_cbor_reader *r, struct pag_manifest *m)
{
    uint32_t v = 0;
    enum pag_err err = get_u32(r, 0, PAG_KIND_COMMAND, &v);
    if (err == PAG_OK) {
        m->kind = (enum pag_payload_kind)v;
    }
    return err;
}

static enum pag_err get_chip(struct pag_cbor_reader *r, struct pag_manifest *m)
{
    uint32_t v = 0;
    enum pag_err err = get_u32(r, PAG_CHIP_ESP8266, PAG_CHIP_POSIX, &v);
    if (err == PAG_OK && v > PAG_CHIP_ESP32_S31 && v != PAG_CHIP_POSIX) {
        err = PAG_E_RANGE;
    }
    if (err == PAG_OK) {
        m->chip = (enum pag_chip)v;
    }
    return err;
}

static enum pag_err get_hardware(struct pag_cbor_reader *r, struct pag_manifest *m)
{
    size_t n = 0;
    enum pag_err err = pag_cbor_get_array(r, PAG_HARDWARE_IDS_MAX, &n);
    if (err == PAG_OK && n == 0) {
        err = PAG_E_RANGE;
    }
    for (size_t i = 0; i < n && err == PAG_OK; i++) {
        struct pag_span s = { 0 };
        err = pag_cbor_get_bytes(r, PAG_HARDWARE_ID_MIN, PAG_HARDWARE_ID_MAX, &s);
        if (err == PAG_OK) {
            m->hardware[i].n = (uint8_t)s.n;
            memcpy(m->hardware[i].id, s.p, s.n);
        }
    }
    m->hardware_n = (uint8_t)n;
    return err;
}

static enum pag_err get_image_name(struct pag_cbor_reader *r, char out[PAG_IMAGE_NAME_MAX + 1])
{
    struct pag_span s = { 0 };
    enum pag_err err = pag_cbor_get_text(r, 1, PAG_IMAGE_NAME_MAX, &s);
    if (err != PAG_OK) {
        return err;
    }
    return pag_image_name_ok(s) ? pag_text_copy(out, PAG_IMAGE_NAME_MAX + 1, s) : PAG_E_RANGE;
}

static enum pag_err get_version(struct pag_cbor_reader *r, struct pag_manifest *m)
{
    struct pag_span s = { 0 };
    enum pag_err err = pag_cbor_get_text(r, 1, PAG_VERSION_MAX, &s);
    if (err != PAG_OK) {
        return err;
    }
    return pag_version_ok(s) ? pag_text_copy(m->version, sizeof m->version, s) : PAG_E_RANGE;
}

static enum pag_err get_tuple(struct pag_cbor_reader *r, size_t min, size_t max, size_t *n)
{
    enum pag_err err = pag_cbor_get_array(r, max, n);
    return err == PAG_OK && *n < min ? PAG_E_RANGE : err;
}

static enum pag_err get_transport(struct pag_cbor_reader *r, struct pag_transport *t)
{
    size_t n = 0;
    uint32_t encoding = 0;
    enum pag_err err = get_tuple(r, 4, 4, &n);
    if (err == PAG_OK) {
        err = get_u32(r, 0, PAG_ENCODING_MAX, &encoding);
    }
    if (err == PAG_OK) {
        err = get_fixed(r, t->base, sizeof t->base);
    }
    if (err == PAG_OK) {
        err = get_fixed(r, t->digest, sizeof t->digest);
    }
    if (err == PAG_OK) {
        err = get_u32(r, 1, UINT32_MAX, &t->size);
    }
    t->encoding = (uint8_t)encoding;
    return err;
}

static enum pag_err get_transports(struct pag_cbor_reader *r, struct pag_manifest *m)
{
    size_t n = 0;
    enum pag_err err = get_tuple(r, 1, PAG_TRANSPORTS_MAX, &n);
    for (size_t i = 0; i < n && err == PAG_OK; i++) {
        err = get_transport(r, &m->transport[i]);
    }
    m->transport_n = (uint8_t)n;
    return err;
}

static enum pag_err get_condition(struct pag_cbor_reader *r, uint64_t key, struct pag_conditions *c)
{
    uint32_t v = 0;
    int64_t rssi = 0;
    enum pag_err err = PAG_OK;
    switch (key) {
    case 1:
        err = get_u32(r, 1, 100, &v);
        c->battery_min_pct = (uint8_t)v;
        break;
    case 2:
        err = get_u32(r, 1, UINT16_MAX, &v);
        c->heap_min_kib = (uint16_t)v;
        break;
    case 3:
        err = pag_cbor_get_int(r, &rssi);
        if (err == PAG_OK && (rssi > -1 || rssi < INT8_MIN)) {
            err = PAG_E_RANGE;
        }
        if (err == PAG_OK) {
            c->rssi_min_dbm = (int8_t)rssi;
        }
        break;
    case 4:
        err = get_u32(r, 1, UINT32_MAX, &c->agent_min);
        break;
    case 5:
        err = get_u32(r, 1, UINT32_MAX, &c->loader_min);
        break;
    case 6:
        err = get_u32(r, 1, UINT8_MAX, &v);
        c->temp_max_c = (uint8_t)v;
        break;
    case PAG_CONDITION_KEYS:
        err = pag_cbor_get_bool(r, &c->external_power);
        if (err == PAG_OK && !c->external_power) {
            err = PAG_E_RANGE; /* the one way to say "no" is to leave it out */
        }
        break;
    default:
        return PAG_E_UNSUPPORTED; /* a condition this build cannot judge is never met */
    }
    c->has = (uint8_t)(c->has | 1U << (key - 1));
    return err;
}

static enum pag_err get_conditions(struct pag_cbor_reader *r, struct pag_manifest *m)
{
    struct pag_cbor_map map;
    uint64_t key = 0;
    enum pag_err err = pag_cbor_map_begin(r, PAG_CONDITION_KEYS, &map);
    while (err == PAG_OK && pag_cbor_map_next(&map, &key)) {
        err = get_condition(r, key, &m->conditions);
    }
    if (err == PAG_OK) {
        err = map.err;
    }
    if (err == PAG_OK && m->conditions.has == 0) {
        err = PAG_E_RANGE;
    }
    m->has_conditions = true;
    return err;
}

static enum pag_err get_stone(struct pag_cbor_reader *r, struct pag_manifest *m)
{
    size_t n = 0;
    enum pag_err err = get_tuple(r, 2, 2, &n);
    if (err == PAG_OK) {
        err = get_u32(r, 0, UINT32_MAX, &m->stone_sequence);
    }
    if (err == PAG_OK) {
        err = get_u32(r, 0, PAG_EPOCH_MAX, &m->stone_epoch);
    }
    m->has_stone = true;
    return err;
}

static enum pag_err get_dependencies(struct pag_cbor_reader *r, struct pag_manifest *m)
{
    size_t n = 0;
    enum pag_err err = get_tuple(r, 1, PAG_DEPENDENCIES_MAX, &n);
    for (size_t i = 0; i < n && err == PAG_OK; i++) {
        struct pag_dependency *d = &m->dependency[i];
        size_t parts = 0;
        err = get_tuple(r, 3, 3, &parts);
        if (err == PAG_OK) {
            err = get_image_name(r, d->image);
        }
        if (err == PAG_OK) {
            err = get_u32(r, 0, UINT32_MAX, &d->min_sequence);
        }
        if (err == PAG_OK) {
            err = get_u32(r, d->min_sequence, UINT32_MAX, &d->max_sequence);
        }
    }
    m->dependency_n = (uint8_t)n;
    return err;
}

static enum pag_err get_inner(struct pag_cbor_reader *r, struct pag_manifest *m)
{
    size_t n = 0;
    uint32_t scheme = 0;
    enum pag_err err = get_tuple(r, 1, 2, &n);
    if (err == PAG_OK) {
        err = get_u32(r, 0, PAG_INNER_SCHEME_MAX, &scheme);
    }
    if (err == PAG_OK && (scheme != 0) != (n == 2)) {
        err = PAG_E_SYNTAX;
    }
    if (err == PAG_OK && n == 2) {
        err = get_fixed(r, m->inner_key, sizeof m->inner_key);
    }
    m->inner_scheme = (uint8_t)scheme;
    return err;
}

/* Keys of structured values. */
static enum pag_err get_group(struct pag_cbor_reader *r, uint64_t key, struct pag_manifest *m)
{
    switch (key) {
    case PAG_MK_HARDWARE:
        return get_hardware(r, m);
    case PAG_MK_TRANSPORTS:
        return get_transports(r, m);
    case PAG_MK_CONDITIONS:
        return get_conditions(r, m);
    case PAG_MK_STONE:
        return get_stone(r, m);
    case PAG_MK_DEPENDENCIES:
        return get_dependencies(r, m);
    case PAG_MK_INNER:
        return get_inner(r, m);
    default:
        return key < PAG_MK_CRITICAL ? PAG_E_UNSUPPORTED : pag_cbor_skip(r);
    }
}

static enum pag_err get_field(struct pag_cbor_reader *r, uint64_t key, struct pag_manifest *m)
{
    switch (key) {
    case PAG_MK_FORMAT:
        return get_format(r);
    case PAG_MK_KIND:
        return get_kind(r, m);
    case PAG_MK_PRODUCT:
        return get_fixed(r, m->product, sizeof m->product);
    case PAG_MK_CHIP:
        return get_chip(r, m);
    case PAG_MK_IMAGE:
        return get_image_name(r, m->image);
    case PAG_MK_VERSION:
        return get_version(r, m);
    case PAG_MK_BUILD:
        m->has_build = true;
        return get_fixed(r, m->build, sizeof m->build);
    case PAG_MK_EPOCH:
        return get_u32(r, 0, PAG_EPOCH_MAX, &m->epoch);
    case PAG_MK_SEQUENCE:
        return get_u32(r, 1, UINT32_MAX, &m->sequence);
    case PAG_MK_DIGEST:
        return get_fixed(r, m->digest, sizeof m->digest);
    case PAG_MK_SIZE:
        return get_u32(r, 1, UINT32_MAX, &m->size);
    case PAG_MK_ISSUED:
        return pag_cbor_get_uint(r, UINT64_MAX, &m->issued_at);
    case PAG_MK_EXPIRES:
        return pag_cbor_get_uint(r, UINT64_MAX, &m->expires_at);
    case PAG_MK_TRUST:
        return get_u32(r, 0, UINT32_MAX, &m->trust_version_min);
    case PAG_MK_LAYOUT:
        m->has_layout = true;
        return get_fixed(r, m->layout, sizeof m->layout);
    case PAG_MK_SET:
        m->has_set = true;
        return get_fixed(r, m->set, sizeof m->set);
    default:
        return get_group(r, key, m);
    }
}

enum pag_err pag_manifest_payload_get(struct pag_span payload, struct pag_manifest *m, struct pag_fail *why)
{
    struct pag_cbor_reader r = pag_cbor_read(payload);
    struct pag_cbor_map map;
    uint32_t seen = 0;
    uint64_t key = 0;
    enum pag_err err = pag_cbor_map_begin(&r, PAG_MANIFEST_MAX, &map);
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "manifest: payload is not a map", 0);
    }
    while (pag_cbor_map_next(&map, &key)) {
        err = get_field(&r, key, m);
        if (err != PAG_OK) {
            return pag_fail_set(why, err, "manifest: field with this key", key);
        }
        seen |= key < 32 ? 1U << key : 0;
    }
    if (map.err != PAG_OK) {
        return pag_fail_set(why, map.err, "manifest: keys of the payload, offset", r.at);
    }
    if (!pag_cbor_at_end(&r)) {
        return pag_fail_set(why, PAG_E_SYNTAX, "manifest: bytes behind the payload", r.at);
    }
    uint32_t missing = needed_keys & ~seen;
    if (missing != 0) {
        uint64_t first = 0;
        while ((missing >> first & 1U) == 0) {
            first++;
        }
        return pag_fail_set(why, PAG_E_SYNTAX, "manifest: key missing", first);
    }
    return pag_manifest_check(m, why);
}
