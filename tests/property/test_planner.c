/* The planner against a plain restatement of its rules, over random small histories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "server/domain/planner.h"
#include "tests/support/draw.h"

enum { ROUNDS = 200000, RELEASES = 8 };

static uint64_t seed;
static uint64_t state;

static uint32_t below(uint32_t n)
{
    return draw(&state) % n;
}

struct world {
    struct pag_release release[RELEASES];
    struct pag_manifest manifest[RELEASES];
    struct pag_plan_release plan[RELEASES];
    struct pag_plan_permit permit[2];
    struct pag_device_image held[2];
    struct pag_catalog catalog;
    struct pag_device device;
    struct pag_plan_in in;
};

static void make_release(struct world *w, size_t i, bool native)
{
    struct pag_release *r = &w->release[i];
    struct pag_release_image *image = &r->image[0];
    struct pag_manifest *m = &w->manifest[i];
    r->sequence = (uint32_t)i + 1;
    (void)snprintf(r->version, sizeof r->version, "1.%zu", i);
    r->state = below(4) == 0 ? PAG_RELEASE_WITHDRAWN : PAG_RELEASE_PUBLISHED;
    r->image_n = 1;
    (void)snprintf(image->name, sizeof image->name, "firmware");
    image->chip = below(8) == 0 ? PAG_CHIP_ESP32 : PAG_CHIP_ESP8266;
    image->kind = PAG_IMAGE_ESP8266_ARDUINO;
    image->sha256[0] = (uint8_t)(i + 1);
    image->bytes = 1 + below(20000);
    image->flash_size_bytes = below(6) == 0 ? 4 << 20 : 1 << 20;
    image->gzip = below(8) == 0;
    image->has_embedded_key = below(2) == 0;
    image->embedded_key[0] = (uint8_t)below(3);
    image->has_signed_by = below(4) != 0;
    image->signed_by[0] = (uint8_t)below(3);
    m->sequence = r->sequence;
    m->epoch = below(3);
    m->trust_version_min = below(3);
    m->hardware_n = 1;
    m->hardware[0].n = 6;
    memcpy(m->hardware[0].id, below(8) == 0 ? "other1" : "d1mini", 6);
    m->has_stone = below(3) == 0;
    m->stone_sequence = below(6);
    m->expires_at = below(5) == 0 ? 500 : 0;
    w->plan[i].release = r;
    w->plan[i].manifest[0] = native && below(10) != 0 ? m : NULL;
}

static void make_world(struct world *w)
{
    memset(w, 0, sizeof *w);
    bool native = below(2) == 0;
    size_t n = below(RELEASES + 1);
    struct pag_facts *f = &w->device.facts;
    for (size_t i = 0; i < n; i++) {
        make_release(w, i, native);
    }
    w->catalog.product.chip = PAG_CHIP_ESP8266;
    w->catalog.product.settings.max_serves = 3;
    w->catalog.release = w->plan;
    w->catalog.release_n = n;
    for (size_t i = 0; i < 2; i++) {
        w->permit[i].from_sequence = below(RELEASES) + 1;
        w->permit[i].to_sequence = below(RELEASES) + 1;
        w->permit[i].expires_at = (uint64_t)below(2) * 500;
        w->held[i].sha256[0] = (uint8_t)(below(RELEASES) + 1);
        w->held[i].serves = below(5);
        w->held[i].blocked = below(3) == 0;
    }
    w->catalog.permit = w->permit;
    w->catalog.permit_n = 2;
    w->device.protocol = native ? PAG_PROTOCOL_NATIVE : PAG_PROTOCOL_HTTP_UPDATE;
    f->running.source = below(4) == 0 ? PAG_ABSENT : PAG_SAID;
    f->running.value[0] = (uint8_t)below(RELEASES + 2);
    f->trust_version = (struct pag_fact_u32){ PAG_SAID, below(3) };
    f->epoch = (struct pag_fact_u32){ PAG_SAID, below(3) };
    f->slot_bytes = (struct pag_fact_u32){ below(3) == 0 ? PAG_ABSENT : PAG_SAID, below(24000) };
    f->flash_bytes = (struct pag_fact_u32){ below(2) == 0 ? PAG_ABSENT : PAG_SAID, 1 << 20 };
    if (native) {
        f->hardware.source = PAG_SAID;
        memcpy(f->hardware.value, "d1mini", 7);
    }
    if (below(6) == 0) {
        (void)snprintf(w->device.pin, sizeof w->device.pin, "1.%u", below(RELEASES));
    }
    w->in = (struct pag_plan_in){ .catalog = &w->catalog,
                                  .device = &w->device,
                                  .image = w->held,
                                  .image_n = 2,
                                  .slot = "firmware",
                                  .now_unix_s = 1000 };
}

/* ---- the rules again, as one would say them ---- */

static const struct pag_release *running_of(const struct world *w)
{
    uint8_t first = w->device.facts.running.value[0];
    bool known = w->device.facts.running.source == PAG_SAID && first >= 1 && first <= w->catalog.release_n;
    return known ? &w->release[first - 1] : NULL;
}

static bool history_allows(const struct world *w, size_t i)
{
    for (size_t k = 0; k < 2; k++) {
        bool mine = w->held[k].sha256[0] == i + 1;
        bool loops = w->device.protocol != PAG_PROTOCOL_NATIVE && w->held[k].serves >= 3;
        if (mine && (w->held[k].blocked || loops)) {
            return false;
        }
    }
    return true;
}

static bool fits(const struct world *w, size_t i)
{
    const struct pag_facts *f = &w->device.facts;
    const struct pag_release_image *image = &w->release[i].image[0];
    bool native = w->device.protocol == PAG_PROTOCOL_NATIVE;
    uint64_t takes = native ? image->bytes : (image->bytes + 4095) & ~(uint64_t)4095;
    if (image->chip != PAG_CHIP_ESP8266 ||
        (f->slot_bytes.source == PAG_SAID && takes > f->slot_bytes.value)) {
        return false;
    }
    return f->flash_bytes.source != PAG_SAID || image->flash_size_bytes <= f->flash_bytes.value;
}

static const uint8_t *key_in(const struct pag_release *r)
{
    return r->image[0].has_embedded_key ? r->image[0].embedded_key : NULL;
}

static bool same_key(const uint8_t *a, const uint8_t *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || a[0] == b[0]);
}

static bool takes(const uint8_t *key, const struct pag_release *r)
{
    const struct pag_release_image *image = &r->image[0];
    return key == NULL || (image->has_signed_by && image->signed_by[0] == key[0]);
}

/* The highest release that can be reached from release `from` by steps that verify; 0: none above it. */
static uint32_t farthest(const struct world *w, const uint8_t *key, uint32_t from)
{
    uint32_t most = 0;
    for (size_t i = from; i < w->catalog.release_n; i++) {
        const struct pag_release *r = &w->release[i];
        if (r->state != PAG_RELEASE_PUBLISHED || r->image[0].chip != PAG_CHIP_ESP8266 || !takes(key, r)) {
            continue;
        }
        uint32_t on = farthest(w, key_in(r), r->sequence);
        most = r->sequence > most ? r->sequence : most;
        most = on > most ? on : most;
    }
    return most;
}

/* Signed for what runs, on the way to the farthest, and no release left out that brings another key. */
static bool keys_allow(const struct world *w, size_t i)
{
    const struct pag_release *from = running_of(w);
    const struct pag_release *to = &w->release[i];
    if (from == NULL) {
        return true;
    }
    const uint8_t *key = key_in(from);
    if (!takes(key, to)) {
        return false;
    }
    if (w->device.pin[0] != '\0') {
        return true;
    }
    uint32_t goal = farthest(w, key, from->sequence);
    for (size_t k = from->sequence; k <= i; k++) {
        const struct pag_release *r = &w->release[k];
        bool way = r->state == PAG_RELEASE_PUBLISHED && r->image[0].chip == PAG_CHIP_ESP8266 &&
                   takes(key, r) && (r->sequence == goal || farthest(w, key_in(r), r->sequence) == goal);
        if (k == i) {
            return way;
        }
        if (way && !same_key(key_in(r), key)) {
            return false;
        }
    }
    return false;
}

static bool verifies(const struct world *w, size_t i)
{
    const struct pag_facts *f = &w->device.facts;
    const struct pag_release *from = running_of(w);
    const struct pag_release_image *image = &w->release[i].image[0];
    const struct pag_manifest *m = w->plan[i].manifest[0];
    uint32_t at = from != NULL ? from->sequence : 0;
    if (w->device.protocol == PAG_PROTOCOL_NATIVE) {
        return m != NULL && m->hardware[0].id[0] == 'd' && m->expires_at == 0 &&
               m->trust_version_min <= f->trust_version.value && m->epoch >= f->epoch.value &&
               (!m->has_stone || at >= m->stone_sequence);
    }
    return !image->gzip && keys_allow(w, i);
}

static bool permitted(const struct world *w, uint32_t from, uint32_t to)
{
    for (size_t k = 0; k < 2; k++) {
        if (w->permit[k].from_sequence == from && w->permit[k].to_sequence == to &&
            w->permit[k].expires_at == 0) {
            return true;
        }
    }
    return false;
}

static bool leads_there(const struct world *w, size_t i)
{
    const struct pag_release *from = running_of(w);
    const struct pag_release *to = &w->release[i];
    bool pinned = w->device.pin[0] != '\0';
    if (pinned && strcmp(w->device.pin, to->version) != 0) {
        return false;
    }
    if (from == NULL || to->sequence > from->sequence) {
        return true;
    }
    if (from == to) {
        return false;
    }
    if (w->device.protocol != PAG_PROTOCOL_NATIVE) {
        return pinned;
    }
    return (pinned || from->state == PAG_RELEASE_WITHDRAWN) && permitted(w, from->sequence, to->sequence);
}

static const struct pag_release *best(const struct world *w)
{
    const struct pag_release *found = NULL;
    for (size_t i = 0; i < w->catalog.release_n; i++) {
        if (w->release[i].state == PAG_RELEASE_PUBLISHED && leads_there(w, i) && fits(w, i) &&
            verifies(w, i) && history_allows(w, i)) {
            found = &w->release[i];
        }
    }
    return found;
}

static void offer_is_the_newest_that_all_rules_allow(void **unused)
{
    static struct world w;
    uint32_t offers = 0;
    (void)unused;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct pag_plan plan;
        char why[PAG_WHY_MAX + 1];
        make_world(&w);
        pag_plan_next(&w.in, &plan);
        const struct pag_release *wanted = best(&w);
        const struct pag_release *got = plan.reason == PAG_PLAN_OFFER ? plan.release->release : NULL;
        if (got != wanted) {
            print_error("seed %llu round %u: offered %s, expected %s (reason %s)\n", (unsigned long long)seed,
                        round, got != NULL ? got->version : "nothing",
                        wanted != NULL ? wanted->version : "nothing", pag_plan_reason_word(plan.reason));
        }
        assert_ptr_equal(got, wanted);
        pag_plan_sentence(&plan, why);
        assert_true(why[0] != '\0');
        offers += got != NULL;
    }
    print_message("seed %llu: %u offers in %d worlds\n", (unsigned long long)seed, offers, ROUNDS);
    assert_in_range(offers, ROUNDS / 20, ROUNDS); /* the worlds are not all hopeless */
}

int main(void)
{
    const char *given = getenv("PAG_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    state = seed;
    const struct CMUnitTest tests[] = { cmocka_unit_test(offer_is_the_newest_that_all_rules_allow) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
