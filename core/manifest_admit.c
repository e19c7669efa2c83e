#include "core/bytes.h"
#include "core/manifest.h"
#include "core/mem.h"

static bool hardware_listed(const struct pag_manifest *m, const struct pag_hardware_id *own)
{
    struct pag_span id = pag_span_of(own->id, own->n);
    for (size_t i = 0; i < m->hardware_n; i++) {
        if (pag_span_eq(id, pag_span_of(m->hardware[i].id, m->hardware[i].n))) {
            return true;
        }
    }
    return false;
}

/* Fields 2 to 6 and 20: is it meant for this slot of this device at all. */
static enum pag_err admit_identity(const struct pag_manifest *m, const struct pag_manifest_target *t,
                                   struct pag_fail *why)
{
    if (m->kind != t->kind) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "admit: payload of another kind", m->kind);
    }
    if (memcmp(m->product, t->product, PAG_PRODUCT_ID_BYTES) != 0) {
        return pag_fail_set(why, PAG_E_PRODUCT, "admit: another product", pag_u32be(m->product));
    }
    if (!hardware_listed(m, &t->hardware)) {
        return pag_fail_set(why, PAG_E_HARDWARE, "admit: own hardware id is not listed", m->hardware_n);
    }
    if (m->chip != t->chip) {
        return pag_fail_set(why, PAG_E_HARDWARE, "admit: another chip", m->chip);
    }
    if (!pag_span_eq_str(pag_span_str(m->image), t->image)) {
        return pag_fail_set(why, PAG_E_NOT_FOUND, "admit: no slot for an image of that name", 0);
    }
    if (m->has_layout && (!t->has_layout || memcmp(m->layout, t->layout, sizeof m->layout) != 0)) {
        return pag_fail_set(why, PAG_E_HARDWARE, "admit: another flash layout", pag_u32be(m->layout));
    }
    return PAG_OK;
}

/* A permit names one image exactly; it lets devices down from any sequence up to its own "from". */
static bool permitted(const struct pag_manifest *m, const struct pag_manifest_target *t)
{
    const struct pag_manifest *p = t->permit;
    return p != NULL && p->kind == PAG_KIND_ROLLBACK_PERMIT && p->sequence == m->sequence &&
           p->epoch == m->epoch && memcmp(p->digest, m->digest, PAG_SHA256_BYTES) == 0 &&
           memcmp(p->product, t->product, PAG_PRODUCT_ID_BYTES) == 0 && p->chip == t->chip &&
           hardware_listed(p, &t->hardware) && pag_span_eq_str(pag_span_str(p->image), t->image) &&
           t->sequence <= p->stone_sequence && (t->now_unix_s == 0 || t->now_unix_s <= p->expires_at);
}

/* Fields 19, 9, 11, 10 and 17: is it later than what is installed. */
static enum pag_err admit_order(const struct pag_manifest *m, const struct pag_manifest_target *t,
                                struct pag_fail *why)
{
    if (m->trust_version_min > t->trust_version) {
        return pag_fail_set(why, PAG_E_STALE, "admit: trust set of this version needed first",
                            m->trust_version_min);
    }
    if (m->epoch < t->epoch) {
        return pag_fail_set(why, PAG_E_ROLLBACK, "admit: security epoch below the one in force", m->epoch);
    }
    if (memcmp(m->digest, t->installed, PAG_SHA256_BYTES) == 0) {
        return pag_fail_set(why, PAG_E_EXISTS, "admit: this image is installed", m->sequence);
    }
    if (m->sequence <= t->sequence && !permitted(m, t)) {
        return pag_fail_set(why, PAG_E_ROLLBACK, "admit: sequence not above the installed one", m->sequence);
    }
    if (m->sequence > t->sequence && m->sequence - t->sequence > PAG_SEQUENCE_STEP_MAX) {
        return pag_fail_set(why, PAG_E_RANGE, "admit: sequence too far ahead", m->sequence);
    }
    if (m->has_stone && (t->sequence < m->stone_sequence || t->epoch < m->stone_epoch)) {
        return pag_fail_set(why, PAG_E_STALE, "admit: stepping stone with this sequence needed first",
                            m->stone_sequence);
    }
    return PAG_OK;
}

/* Condition of bit i (key i + 1) against what was measured. */
static bool condition_met(size_t i, const struct pag_conditions *want, const struct pag_conditions *is)
{
    switch (i) {
    case 0:
        return is->battery_min_pct >= want->battery_min_pct;
    case 1:
        return is->heap_min_kib >= want->heap_min_kib;
    case 2:
        return is->rssi_min_dbm >= want->rssi_min_dbm;
    case 3:
        return is->agent_min >= want->agent_min;
    case 4:
        return is->loader_min >= want->loader_min;
    case 5:
        return is->temp_max_c <= want->temp_max_c;
    case 6:
        return is->external_power;
    default:
        return false;
    }
}

static enum pag_err admit_conditions(const struct pag_manifest *m, const struct pag_manifest_target *t,
                                     struct pag_fail *why)
{
    if (!m->has_conditions) {
        return PAG_OK;
    }
    for (size_t i = 0; i < 8; i++) {
        if ((m->conditions.has >> i & 1U) == 0) {
            continue;
        }
        bool known = t->state != NULL && (t->state->has >> i & 1U) != 0;
        if (!known || !condition_met(i, &m->conditions, t->state)) {
            return pag_fail_set(why, PAG_E_CONDITION, "admit: condition with this key not met", i + 1);
        }
    }
    return PAG_OK;
}

static bool dependency_met(const struct pag_dependency *d, const struct pag_manifest_target *t)
{
    for (size_t i = 0; i < t->other_n; i++) {
        const struct pag_manifest_installed *o = &t->other[i];
        if (pag_span_eq_str(pag_span_str(d->image), o->image)) {
            return o->sequence >= d->min_sequence && o->sequence <= d->max_sequence;
        }
    }
    return false;
}

enum pag_err pag_manifest_admit(const struct pag_manifest *m, const struct pag_manifest_target *t,
                                struct pag_fail *why)
{
    enum pag_err err = admit_identity(m, t, why);
    if (err == PAG_OK) {
        err = admit_order(m, t, why);
    }
    if (err != PAG_OK) {
        return err;
    }
    if (m->expires_at != 0 && t->now_unix_s > m->expires_at) {
        return pag_fail_set(why, PAG_E_EXPIRED, "admit: manifest has expired", m->expires_at);
    }
    err = admit_conditions(m, t, why);
    if (err != PAG_OK) {
        return err;
    }
    for (size_t i = 0; i < m->dependency_n; i++) {
        if (!dependency_met(&m->dependency[i], t)) {
            return pag_fail_set(why, PAG_E_CONFLICT, "admit: dependency of this index not met", i);
        }
    }
    if (m->size > t->slot_bytes) {
        return pag_fail_set(why, PAG_E_SPACE, "admit: larger than the slot", m->size);
    }
    return PAG_OK;
}
