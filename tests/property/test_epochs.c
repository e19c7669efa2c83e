/* Devices on their way through a history of releases with changing signing keys, against every way there is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "server/domain/epochs.h"
#include "server/domain/planner.h"
#include "tests/support/draw.h"

enum { ROUNDS = 100000, RELEASES = 9, KEYS = 5 };

static uint64_t seed;
static uint64_t state;

static uint32_t below(uint32_t n)
{
    return n > 0 ? draw(&state) % n : 0;
}

struct world {
    struct pag_release release[RELEASES];
    struct pag_plan_release plan[RELEASES];
    struct pag_catalog catalog;
    struct pag_device device;
    struct pag_plan_in in;
    size_t n;
};

/* A key as its first byte; 0: none. */
static uint8_t inside(const struct world *w, size_t i)
{
    return w->release[i].image[0].has_embedded_key ? w->release[i].image[0].embedded_key[0] : 0;
}

static void set_keys(struct pag_release_image *image, uint8_t signer, uint8_t embedded)
{
    image->has_signed_by = signer != 0;
    image->signed_by[0] = signer;
    image->has_embedded_key = embedded != 0;
    image->embedded_key[0] = embedded;
}

/* tidy: each release is signed with the key that the one before has; else anything may be anywhere. */
static void make_world(struct world *w, bool tidy)
{
    uint8_t key = 1;
    memset(w, 0, sizeof *w);
    w->n = 2 + below(RELEASES - 1);
    for (size_t i = 0; i < w->n; i++) {
        struct pag_release *r = &w->release[i];
        struct pag_release_image *image = &r->image[0];
        r->sequence = (uint32_t)i + 1;
        (void)snprintf(r->id, sizeof r->id, "rel_%zu", i);
        (void)snprintf(r->version, sizeof r->version, "1.%zu", i);
        r->state = !tidy && below(5) == 0 ? PAG_RELEASE_WITHDRAWN : PAG_RELEASE_PUBLISHED;
        r->image_n = 1;
        (void)snprintf(image->name, sizeof image->name, "firmware");
        image->kind = PAG_IMAGE_ESP8266_ARDUINO;
        image->chip = PAG_CHIP_ESP8266;
        image->sha256[0] = (uint8_t)(i + 1);
        image->bytes = 1000;
        uint8_t next = below(3) == 0 && key < KEYS ? (uint8_t)(key + 1) : key;
        if (tidy) {
            set_keys(image, key, next);
            key = next;
        } else {
            set_keys(image, (uint8_t)below(KEYS), (uint8_t)below(KEYS));
        }
        w->plan[i].release = r;
    }
    w->catalog.product.chip = PAG_CHIP_ESP8266;
    w->catalog.product.settings.max_serves = 3;
    w->catalog.release = w->plan;
    w->catalog.release_n = w->n;
    w->device.protocol = PAG_PROTOCOL_HTTP_UPDATE;
    w->in = (struct pag_plan_in){ .catalog = &w->catalog, .device = &w->device, .slot = "firmware" };
}

static void run(struct world *w, size_t i)
{
    w->device.facts.running.source = PAG_LEARNED;
    w->device.facts.running.value[0] = (uint8_t)(i + 1);
    (void)pag_epochs_learn(&w->catalog, &w->device);
}

static bool can_follow(const struct world *w, size_t from, size_t to)
{
    const struct pag_release *r = &w->release[to];
    uint8_t key = inside(w, from);
    return to > from && r->state == PAG_RELEASE_PUBLISHED &&
           (key == 0 || (r->image[0].has_signed_by && r->image[0].signed_by[0] == key));
}

/* The farthest that any way leads, tried one by one; from when there is none. */
static size_t farthest(const struct world *w, size_t from)
{
    size_t best = from;
    for (size_t to = from + 1; to < w->n; to++) {
        if (can_follow(w, from, to)) {
            size_t end = farthest(w, to);
            best = end > best ? end : best;
        }
    }
    return best;
}

static size_t newest(const struct world *w)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < w->n; i++) {
        best = w->release[i].state == PAG_RELEASE_PUBLISHED ? i : best;
    }
    return best;
}

/* Whether a release between with another key than that at from could have been taken on a way to goal. */
static bool left_out(const struct world *w, size_t from, size_t to, size_t goal)
{
    for (size_t i = from + 1; i < to; i++) {
        if (can_follow(w, from, i) && inside(w, i) != inside(w, from) &&
            (i == goal || farthest(w, i) == goal)) {
            return true;
        }
    }
    return false;
}

static void say(const struct world *w, size_t start, size_t at)
{
    print_error("seed %llu: from %zu, at %zu of %zu:", (unsigned long long)seed, start, at, w->n);
    for (size_t i = 0; i < w->n; i++) {
        print_error(" %zu(signed %d, has %d%s)", i, w->release[i].image[0].signed_by[0], inside(w, i),
                    w->release[i].state == PAG_RELEASE_WITHDRAWN ? ", withdrawn" : "");
    }
    print_error("\n");
}

/* Follows the offers to their end; every one must verify and leave out no key. */
static size_t travel(struct world *w, size_t start, struct pag_plan *last)
{
    size_t at = start;
    size_t goal = farthest(w, start);
    for (size_t hops = 0; hops <= w->n; hops++) {
        run(w, at);
        pag_plan_next(&w->in, last);
        if (last->reason != PAG_PLAN_OFFER) {
            return at;
        }
        size_t to = last->release->release->sequence - 1;
        bool fine =
            can_follow(w, at, to) && !left_out(w, at, to, goal) && (to == goal || farthest(w, to) == goal);
        if (!fine) {
            say(w, start, to);
        }
        assert_true(fine);
        at = to;
    }
    fail_msg("a device is sent in circles");
    return at;
}

static void in_a_tidy_history_every_device_arrives_through_every_key(void **unused)
{
    static struct world w;
    (void)unused;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct pag_plan last;
        make_world(&w, true);
        size_t start = below((uint32_t)w.n);
        size_t end = travel(&w, start, &last);
        if (end != w.n - 1 || last.reason != PAG_PLAN_UP_TO_DATE) {
            say(&w, start, end);
        }
        assert_int_equal(end, w.n - 1);
        assert_int_equal(last.reason, PAG_PLAN_UP_TO_DATE);
    }
}

static void in_any_history_a_device_comes_as_far_as_any_way_leads_or_says_why_not(void **unused)
{
    static struct world w;
    uint32_t arrived = 0;
    uint32_t stuck = 0;
    uint32_t missing = 0;
    (void)unused;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct pag_plan last;
        char why[PAG_WHY_MAX + 1];
        make_world(&w, false);
        size_t start = below((uint32_t)w.n);
        size_t goal = farthest(&w, start);
        size_t end = travel(&w, start, &last);
        size_t top = newest(&w);
        if (end != goal) {
            say(&w, start, end);
        }
        assert_int_equal(end, goal);
        if (top == SIZE_MAX || top <= end) {
            arrived++;
            continue;
        }
        stuck++;
        pag_plan_sentence(&last, why);
        assert_int_equal(last.reason, PAG_PLAN_KEY);
        assert_int_equal(last.release->release->sequence, top + 1);
        assert_non_null(strstr(why, w.release[top].version));
        if (last.bridge != NULL) { /* what it names is withdrawn, and its return opens the way */
            missing++;
            size_t b = last.bridge->release->sequence - 1;
            assert_int_equal(w.release[b].state, PAG_RELEASE_WITHDRAWN);
            for (size_t i = 0; i < w.n; i++) {
                w.release[i].state = PAG_RELEASE_PUBLISHED;
            }
            assert_true(farthest(&w, b) >= top);
            assert_true(farthest(&w, end) >= top);
        }
    }
    print_message("seed %llu: %u arrived, %u cannot, %u of them for a withdrawn release\n",
                  (unsigned long long)seed, arrived, stuck, missing);
    assert_in_range(arrived, ROUNDS / 10, ROUNDS);
    assert_in_range(stuck, ROUNDS / 50, ROUNDS);
    assert_in_range(missing, ROUNDS / 500, ROUNDS);
}

/* What is said before a change is what is found after it. */
static void who_is_said_to_be_cut_off_is_cut_off(void **unused)
{
    static struct world w;
    uint32_t cut = 0;
    (void)unused;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        make_world(&w, below(2) == 0);
        size_t start = below((uint32_t)w.n);
        size_t which = below((uint32_t)w.n);
        bool publish = below(2) == 0;
        struct pag_release *r = &w.release[which];
        enum pag_release_state after = publish ? PAG_RELEASE_PUBLISHED : PAG_RELEASE_WITHDRAWN;
        run(&w, start);
        const struct pag_epochs_in now = { .upto = 0 };
        const struct pag_epochs_in then = { .extra = publish ? &w.plan[which] : NULL,
                                            .without = publish ? NULL : r->id };
        bool before = pag_epochs_open(&w.in, &now);
        bool said = pag_epochs_open(&w.in, &then);
        size_t top = newest(&w);
        assert_int_equal(before, top == SIZE_MAX || top <= start || farthest(&w, start) == top);
        r->state = after;
        top = newest(&w);
        bool open = top == SIZE_MAX || top <= start || farthest(&w, start) == top;
        assert_int_equal(said, open);
        cut += before && !open;
    }
    assert_in_range(cut, ROUNDS / 200, ROUNDS);
}

int main(void)
{
    const char *given = getenv("PAG_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    state = seed;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_a_tidy_history_every_device_arrives_through_every_key),
        cmocka_unit_test(in_any_history_a_device_comes_as_far_as_any_way_leads_or_says_why_not),
        cmocka_unit_test(who_is_said_to_be_cut_off_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
