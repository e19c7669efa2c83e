#include "server/domain/device.h"

#include <string.h>

#include "core/bytes.h"

static const char *const protocols[] = { "unknown",       "native",      "esp8266-http-update",
                                         "secureesp8266", "push-espota", "push-esphome",
                                         "push-web",      "push-wled",   "esp32-http-update",
                                         "http-files" };
static const char *const proofs[] = { "none", "said", "token", "certificate" };
static const char *const states[PAG_DEVICE_STATES] = { "new",      "up_to_date", "update_offered", "updating",
                                                       "on_trial", "failed",     "reverted",       "blocked",
                                                       "stale",    "revoked" };

const char *pag_protocol_word(enum pag_protocol p)
{
    return p < sizeof protocols / sizeof protocols[0] ? protocols[p] : protocols[0];
}

const char *pag_proof_word(enum pag_proof p)
{
    return p <= PAG_PROOF_CERTIFICATE ? proofs[p] : proofs[0];
}

enum pag_proof pag_proof_least(enum pag_legacy_auth auth)
{
    switch (auth) {
    case PAG_LEGACY_CERTIFICATE:
        break;
    case PAG_LEGACY_TOKEN:
        return PAG_PROOF_TOKEN;
    case PAG_LEGACY_NONE:
        return PAG_PROOF_SAID;
    }
    return PAG_PROOF_CERTIFICATE;
}

const char *pag_device_state_word(enum pag_device_state s)
{
    return s < PAG_DEVICE_STATES ? states[s] : states[0];
}

enum pag_err pag_device_state_by_word(struct pag_span word, enum pag_device_state *out)
{
    for (int i = 0; i < PAG_DEVICE_STATES; i++) {
        if (pag_span_eq_str(word, states[i])) {
            *out = (enum pag_device_state)i;
            return PAG_OK;
        }
    }
    return PAG_E_SYNTAX;
}

enum { STALE_POLLS = 3, STALE_SLACK_MS = 10000 };

int64_t pag_device_stale_after_ms(uint32_t poll_s)
{
    return (int64_t)poll_s * 1000 * STALE_POLLS + STALE_SLACK_MS;
}

/* ---- learning ---- */

static bool learn_u32(struct pag_fact_u32 *have, const struct pag_fact_u32 *said)
{
    if (said->source == PAG_ABSENT || (said->source == have->source && said->value == have->value)) {
        return false;
    }
    *have = *said;
    return true;
}

static bool learn_bytes(enum pag_source *have, uint8_t *value, enum pag_source said, const uint8_t *new_value,
                        size_t n)
{
    if (said == PAG_ABSENT || (said == *have && memcmp(value, new_value, n) == 0)) {
        return false;
    }
    *have = said;
    memcpy(value, new_value, n);
    return true;
}

static bool learn_text(struct pag_fact_text *have, const struct pag_fact_text *said)
{
    if (said->source == PAG_ABSENT ||
        (said->source == have->source && strcmp(said->value, have->value) == 0)) {
        return false;
    }
    *have = *said;
    return true;
}

bool pag_device_learn(struct pag_device *d, const struct pag_facts *said, int64_t now_ms)
{
    struct pag_facts *f = &d->facts;
    bool running = learn_bytes(&f->running.source, f->running.value, said->running.source,
                               said->running.value, sizeof f->running.value);
    running |= learn_bytes(&f->running_md5.source, f->running_md5.value, said->running_md5.source,
                           said->running_md5.value, sizeof f->running_md5.value);
    running |= learn_text(&f->version, &said->version);
    bool other = learn_u32(&f->chip, &said->chip);
    other |= learn_text(&f->hardware, &said->hardware);
    other |= learn_u32(&f->sequence, &said->sequence);
    other |= learn_u32(&f->slot, &said->slot);
    other |= learn_u32(&f->boot_state, &said->boot_state);
    other |= learn_u32(&f->trust_version, &said->trust_version);
    other |= learn_u32(&f->epoch, &said->epoch);
    other |= learn_u32(&f->slot_bytes, &said->slot_bytes);
    other |= learn_u32(&f->flash_bytes, &said->flash_bytes);
    other |= learn_u32(&f->sketch_bytes, &said->sketch_bytes);
    other |= learn_u32(&f->boot_count, &said->boot_count);
    other |= learn_u32(&f->capabilities, &said->capabilities);
    other |= learn_bytes(&f->last_failed.source, f->last_failed.value, said->last_failed.source,
                         said->last_failed.value, sizeof f->last_failed.value);
    if (running) {
        d->running_since_ms = now_ms;
    }
    return running || other;
}

void pag_device_went_back(struct pag_device *d, const uint8_t target[PAG_SHA256_BYTES],
                          const struct pag_device_origin *origin, int64_t now_ms)
{
    static const uint8_t unknown[PAG_SHA256_BYTES];
    struct pag_facts *f = &d->facts;
    if (f->running.source == PAG_ABSENT || memcmp(f->running.value, target, sizeof f->running.value) != 0) {
        return;
    }
    bool known = memcmp(origin->sha256, unknown, sizeof unknown) != 0;
    memset(&f->running_md5, 0, sizeof f->running_md5);
    memset(&f->version, 0, sizeof f->version);
    memcpy(f->running.value, origin->sha256, sizeof f->running.value);
    f->running.source = known ? PAG_LEARNED : PAG_ABSENT;
    if (pag_text_copy(f->version.value, sizeof f->version.value, pag_span_str(origin->version)) == PAG_OK) {
        f->version.source = origin->version[0] != '\0' ? PAG_LEARNED : PAG_ABSENT;
    }
    f->sequence = (struct pag_fact_u32){ origin->sequence != 0 ? PAG_LEARNED : PAG_ABSENT, origin->sequence };
    f->slot = (struct pag_fact_u32){ PAG_ABSENT, 0 };
    f->boot_state = (struct pag_fact_u32){ PAG_LEARNED, 2 };
    d->running_since_ms = now_ms;
}
