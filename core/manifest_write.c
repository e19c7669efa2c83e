#include "core/bytes.h"
#include "core/manifest_fields.h"
#include "core/version.h"

/* ---- ranges of single fields, in the order of their keys ---- */

static enum pag_err bad(struct pag_fail *why, enum pag_manifest_key key)
{
    return pag_fail_set(why, PAG_E_RANGE, "manifest: field with this key", key);
}

static bool hardware_ok(const struct pag_manifest *m)
{
    if (m->hardware_n == 0 || m->hardware_n > PAG_HARDWARE_IDS_MAX) {
        return false;
    }
    for (size_t i = 0; i < m->hardware_n; i++) {
        if (m->hardware[i].n < PAG_HARDWARE_ID_MIN || m->hardware[i].n > PAG_HARDWARE_ID_MAX) {
            return false;
        }
    }
    return true;
}

static bool chip_ok(enum pag_chip chip)
{
    return chip == PAG_CHIP_POSIX || (chip >= PAG_CHIP_ESP8266 && chip <= PAG_CHIP_ESP32_S31);
}

/* A text member of cap bytes as a span; longer than cap - 1 if it has no end. */
static struct pag_span member_text(const char *text, size_t cap)
{
    struct pag_span s = pag_span_of(text, cap);
    s.n = pag_span_find(s, 0, 0);
    return s;
}

static bool transports_ok(const struct pag_manifest *m)
{
    if (m->transport_n > PAG_TRANSPORTS_MAX) {
        return false;
    }
    for (size_t i = 0; i < m->transport_n; i++) {
        if (m->transport[i].encoding > PAG_ENCODING_MAX || m->transport[i].size == 0) {
            return false;
        }
    }
    return true;
}

static bool conditions_ok(const struct pag_conditions *c)
{
    bool set[PAG_CONDITION_KEYS];
    for (size_t i = 0; i < PAG_CONDITION_KEYS; i++) {
        set[i] = (c->has >> i & 1U) != 0;
    }
    return c->has != 0 && c->has < 1U << PAG_CONDITION_KEYS &&
           (!set[0] || (c->battery_min_pct >= 1 && c->battery_min_pct <= 100)) &&
           (!set[1] || c->heap_min_kib > 0) && (!set[2] || c->rssi_min_dbm < 0) &&
           (!set[3] || c->agent_min > 0) && (!set[4] || c->loader_min > 0) &&
           (!set[5] || c->temp_max_c > 0) && (!set[6] || c->external_power);
}

static bool dependencies_ok(const struct pag_manifest *m)
{
    if (m->dependency_n > PAG_DEPENDENCIES_MAX) {
        return false;
    }
    for (size_t i = 0; i < m->dependency_n; i++) {
        const struct pag_dependency *d = &m->dependency[i];
        if (!pag_image_name_ok(member_text(d->image, sizeof d->image)) || d->min_sequence > d->max_sequence) {
            return false;
        }
    }
    return true;
}

static enum pag_err check_fields(const struct pag_manifest *m, struct pag_fail *why)
{
    if ((unsigned)m->kind > PAG_KIND_COMMAND) {
        return bad(why, PAG_MK_KIND);
    }
    if (!hardware_ok(m)) {
        return bad(why, PAG_MK_HARDWARE);
    }
    if (!chip_ok(m->chip)) {
        return bad(why, PAG_MK_CHIP);
    }
    if (!pag_image_name_ok(member_text(m->image, sizeof m->image))) {
        return bad(why, PAG_MK_IMAGE);
    }
    if (!pag_version_ok(member_text(m->version, sizeof m->version))) {
        return bad(why, PAG_MK_VERSION);
    }
    if (m->epoch > PAG_EPOCH_MAX) {
        return bad(why, PAG_MK_EPOCH);
    }
    if (m->sequence == 0) {
        return bad(why, PAG_MK_SEQUENCE);
    }
    if (m->size == 0) {
        return bad(why, PAG_MK_SIZE);
    }
    if (!transports_ok(m)) {
        return bad(why, PAG_MK_TRANSPORTS);
    }
    if (m->has_conditions && !conditions_ok(&m->conditions)) {
        return bad(why, PAG_MK_CONDITIONS);
    }
    if (m->has_stone && m->stone_epoch > PAG_EPOCH_MAX) {
        return bad(why, PAG_MK_STONE);
    }
    if (!dependencies_ok(m)) {
        return bad(why, PAG_MK_DEPENDENCIES);
    }
    return m->inner_scheme > PAG_INNER_SCHEME_MAX ? bad(why, PAG_MK_INNER) : PAG_OK;
}

enum pag_err pag_manifest_check(const struct pag_manifest *m, struct pag_fail *why)
{
    if (m->expires_at != 0 && m->expires_at < m->issued_at) {
        return pag_fail_set(why, PAG_E_RANGE, "manifest: expires before it is issued", m->expires_at);
    }
    if (m->kind != PAG_KIND_ROLLBACK_PERMIT) {
        return PAG_OK;
    }
    if (!m->has_stone || m->stone_sequence <= m->sequence) {
        return pag_fail_set(why, PAG_E_RANGE, "permit: must lead from a higher sequence to a lower one",
                            m->stone_sequence);
    }
    if (m->expires_at == 0) {
        return pag_fail_set(why, PAG_E_RANGE, "permit: must expire", 0);
    }
    if (m->transport_n != 0 || m->has_conditions || m->dependency_n != 0) {
        return pag_fail_set(why, PAG_E_RANGE, "permit: has no transports, conditions or dependencies", 0);
    }
    return PAG_OK;
}

/* ---- writing ---- */

static void put_hardware(struct pag_cbor_writer *w, const struct pag_manifest *m)
{
    pag_cbor_put_uint(w, PAG_MK_HARDWARE);
    pag_cbor_put_array(w, m->hardware_n);
    for (size_t i = 0; i < m->hardware_n; i++) {
        pag_cbor_put_bytes(w, pag_span_of(m->hardware[i].id, m->hardware[i].n));
    }
}

static void put_bytes(struct pag_cbor_writer *w, enum pag_manifest_key key, const uint8_t *p, size_t n)
{
    pag_cbor_put_uint(w, key);
    pag_cbor_put_bytes(w, pag_span_of(p, n));
}

static void put_number(struct pag_cbor_writer *w, enum pag_manifest_key key, uint64_t v)
{
    pag_cbor_put_uint(w, key);
    pag_cbor_put_uint(w, v);
}

static void put_transports(struct pag_cbor_writer *w, const struct pag_manifest *m)
{
    pag_cbor_put_uint(w, PAG_MK_TRANSPORTS);
    pag_cbor_put_array(w, m->transport_n);
    for (size_t i = 0; i < m->transport_n; i++) {
        const struct pag_transport *t = &m->transport[i];
        pag_cbor_put_array(w, 4);
        pag_cbor_put_uint(w, t->encoding);
        pag_cbor_put_bytes(w, pag_span_of(t->base, sizeof t->base));
        pag_cbor_put_bytes(w, pag_span_of(t->digest, sizeof t->digest));
        pag_cbor_put_uint(w, t->size);
    }
}

static void put_conditions(struct pag_cbor_writer *w, const struct pag_conditions *c)
{
    const int64_t value[PAG_CONDITION_KEYS - 1] = { c->battery_min_pct, c->heap_min_kib, c->rssi_min_dbm,
                                                    c->agent_min,       c->loader_min,   c->temp_max_c };
    size_t pairs = 0;
    for (size_t i = 0; i < PAG_CONDITION_KEYS; i++) {
        pairs += c->has >> i & 1U;
    }
    pag_cbor_put_uint(w, PAG_MK_CONDITIONS);
    pag_cbor_put_map(w, pairs);
    for (size_t i = 0; i < PAG_CONDITION_KEYS; i++) {
        if ((c->has >> i & 1U) == 0) {
            continue;
        }
        pag_cbor_put_uint(w, i + 1);
        if (i + 1 == PAG_CONDITION_KEYS) {
            pag_cbor_put_bool(w, c->external_power);
        } else {
            pag_cbor_put_int(w, value[i]);
        }
    }
}

static void put_dependencies(struct pag_cbor_writer *w, const struct pag_manifest *m)
{
    pag_cbor_put_uint(w, PAG_MK_DEPENDENCIES);
    pag_cbor_put_array(w, m->dependency_n);
    for (size_t i = 0; i < m->dependency_n; i++) {
        const struct pag_dependency *d = &m->dependency[i];
        pag_cbor_put_array(w, 3);
        pag_cbor_put_text(w, pag_span_str(d->image));
        pag_cbor_put_uint(w, d->min_sequence);
        pag_cbor_put_uint(w, d->max_sequence);
    }
}

static void put_inner(struct pag_cbor_writer *w, const struct pag_manifest *m)
{
    pag_cbor_put_uint(w, PAG_MK_INNER);
    pag_cbor_put_array(w, m->inner_scheme != 0 ? 2 : 1);
    pag_cbor_put_uint(w, m->inner_scheme);
    if (m->inner_scheme != 0) {
        pag_cbor_put_bytes(w, pag_span_of(m->inner_key, sizeof m->inner_key));
    }
}

/* Keys 1 to 12. */
static void put_identity(struct pag_cbor_writer *w, const struct pag_manifest *m)
{
    put_number(w, PAG_MK_FORMAT, PAG_MANIFEST_FORMAT);
    put_number(w, PAG_MK_KIND, m->kind);
    put_bytes(w, PAG_MK_PRODUCT, m->product, sizeof m->product);
    put_hardware(w, m);
    put_number(w, PAG_MK_CHIP, m->chip);
    pag_cbor_put_uint(w, PAG_MK_IMAGE);
    pag_cbor_put_text(w, pag_span_str(m->image));
    pag_cbor_put_uint(w, PAG_MK_VERSION);
    pag_cbor_put_text(w, pag_span_str(m->version));
    if (m->has_build) {
        put_bytes(w, PAG_MK_BUILD, m->build, sizeof m->build);
    }
    put_number(w, PAG_MK_EPOCH, m->epoch);
    put_number(w, PAG_MK_SEQUENCE, m->sequence);
    put_bytes(w, PAG_MK_DIGEST, m->digest, sizeof m->digest);
    put_number(w, PAG_MK_SIZE, m->size);
}

/* Keys 13 to 22. */
static void put_terms(struct pag_cbor_writer *w, const struct pag_manifest *m)
{
    if (m->transport_n != 0) {
        put_transports(w, m);
    }
    put_number(w, PAG_MK_ISSUED, m->issued_at);
    put_number(w, PAG_MK_EXPIRES, m->expires_at);
    if (m->has_conditions) {
        put_conditions(w, &m->conditions);
    }
    if (m->has_stone) {
        pag_cbor_put_uint(w, PAG_MK_STONE);
        pag_cbor_put_array(w, 2);
        pag_cbor_put_uint(w, m->stone_sequence);
        pag_cbor_put_uint(w, m->stone_epoch);
    }
    if (m->dependency_n != 0) {
        put_dependencies(w, m);
    }
    put_number(w, PAG_MK_TRUST, m->trust_version_min);
    if (m->has_layout) {
        put_bytes(w, PAG_MK_LAYOUT, m->layout, sizeof m->layout);
    }
    if (m->has_set) {
        put_bytes(w, PAG_MK_SET, m->set, sizeof m->set);
    }
    put_inner(w, m);
}

enum pag_err pag_manifest_payload_put(struct pag_buf *out, const struct pag_manifest *m, struct pag_fail *why)
{
    enum { ALWAYS = 15 };
    enum pag_err err = check_fields(m, why);
    if (err == PAG_OK) {
        err = pag_manifest_check(m, why);
    }
    if (err != PAG_OK) {
        return err;
    }
    size_t pairs = (size_t)ALWAYS + m->has_build + (m->transport_n != 0) + m->has_conditions + m->has_stone +
                   (m->dependency_n != 0) + m->has_layout + m->has_set;
    struct pag_cbor_writer w = pag_cbor_write(out);
    pag_cbor_put_map(&w, pairs);
    put_identity(&w, m);
    put_terms(&w, m);
    return w.err == PAG_OK ? PAG_OK
                           : pag_fail_set(why, w.err, "manifest: longer than allowed, bytes", out->cap);
}
