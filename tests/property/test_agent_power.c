/* Power fails at every flash operation of a whole update: the device always boots, old or new, and gets
 * there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/agent_fake.h"

enum { OLD_N = 9000, NEW_N = 90001, BOOTS_MAX = 8, DOUBLE_CUTS = 300 };
static uint8_t old_image[OLD_N];
static uint8_t new_image[NEW_N];

static uint64_t seed(void)
{
    const char *text = getenv("PAG_SEED");
    uint64_t v = 20260101;
    if (text != NULL) {
        (void)pag_parse_u64(pag_span_str(text), &v);
    }
    print_message("PAG_SEED=%llu\n", (unsigned long long)v);
    return v;
}

static uint8_t blank[PAG_AREA_COUNT][FAKE_SLOT];

static void keep(const struct fake *f)
{
    for (int a = 0; a < PAG_AREA_COUNT; a++) {
        memcpy(blank[a], f->area[a], f->port.flash.area_bytes[a]);
    }
}

/* A new device with an update waiting, as keep() saw it. */
static void reset(struct fake *f)
{
    for (int a = 0; a < PAG_AREA_COUNT; a++) {
        memcpy(f->area[a], blank[a], f->port.flash.area_bytes[a]);
        memset(f->weak[a], 0, f->port.flash.area_bytes[a]);
    }
    f->read_seed = f->seed;
    f->ops = 0;
    f->cut_at = 0;
    f->srv.states = 0;
    f->srv.report_n = 0;
    f->now_ms = 0;
}

static struct fake *device(uint64_t from)
{
    struct fake *f = fake_new(from);
    fake_image(old_image, OLD_N, 1);
    fake_image(new_image, NEW_N, 2);
    fake_factory(f, old_image, OLD_N);
    fake_release(f, new_image, NEW_N, 2, NULL);
    keep(f);
    return f;
}

/* One power-up after the cut. False: a brick. */
static bool boots_something_whole(struct fake *f)
{
    if (!fake_boot(f)) {
        return f->dead; /* the second cut fell into the loader */
    }
    const uint8_t *image = f->slot == 0 ? old_image : new_image;
    size_t n = f->slot == 0 ? OLD_N : NEW_N;
    return memcmp(f->area[f->slot == 0 ? PAG_AREA_SLOT_A : PAG_AREA_SLOT_B], image, n) == 0;
}

/* Runs until nothing more happens; counts boots. */
static bool gets_there(struct fake *f, uint32_t wanted)
{
    for (int i = 0; i < BOOTS_MAX; i++) {
        if (!boots_something_whole(f)) {
            return false;
        }
        if (!f->dead) {
            fake_run(f, 4000);
        }
        f->now_ms += 1000;
        if (!f->dead && !f->rebooted && (f->srv.states >> wanted & 1U) != 0) {
            return true;
        }
    }
    return false;
}

static uint64_t operations_of_an_update(struct fake *f, uint32_t wanted)
{
    reset(f);
    assert_true(gets_there(f, wanted));
    return f->ops;
}

static void sweep(struct fake *f, uint32_t wanted)
{
    uint64_t ops = operations_of_an_update(f, wanted);
    assert_true(ops > 40);
    for (uint64_t i = 1; i <= ops; i++) {
        for (int kind = 0; kind < FAKE_CUT_KINDS; kind++) {
            reset(f);
            f->cut_at = i;
            f->cut_kind = (enum fake_cut)kind;
            if (!gets_there(f, wanted)) {
                fail_msg("cut at operation %llu of %llu, kind %d", (unsigned long long)i,
                         (unsigned long long)ops, kind);
            }
        }
    }
    print_message("%llu operations, %d kinds of cut\n", (unsigned long long)ops, FAKE_CUT_KINDS);
}

static void a_cut_anywhere_still_ends_confirmed_on_the_new_image(void **state)
{
    (void)state;
    struct fake *f = device(seed());
    sweep(f, PAG_REPORT_CONFIRMED);
    assert_int_equal(f->slot, 1);
    fake_free(f);
}

static void a_cut_anywhere_of_a_bad_update_still_ends_back_on_the_old_image(void **state)
{
    (void)state;
    struct fake *f = device(seed());
    f->health = PAG_HEALTH_FAIL;
    sweep(f, PAG_REPORT_REVERTED);
    assert_int_equal(f->slot, 0);
    fake_free(f);
}

static void two_cuts_anywhere_never_brick(void **state)
{
    (void)state;
    struct fake *f = device(seed());
    uint64_t ops = operations_of_an_update(f, PAG_REPORT_CONFIRMED);
    uint64_t r = f->seed;
    for (int n = 0; n < DOUBLE_CUTS; n++) {
        r = r * 6364136223846793005ULL + 1442695040888963407ULL;
        uint64_t first = 1 + (r >> 33) % ops;
        uint64_t second = first + 1 + (r >> 20) % 12;
        reset(f);
        f->cut_at = first;
        f->cut_kind = (enum fake_cut)((r >> 50) % FAKE_CUT_KINDS);
        if (!boots_something_whole(f)) {
            fail_msg("first cut at %llu", (unsigned long long)first);
        }
        while (!f->dead && f->ops < first) {
            fake_run(f, 4000);
            if (!f->dead && !boots_something_whole(f)) {
                fail_msg("first cut at %llu", (unsigned long long)first);
            }
        }
        f->cut_at = second;
        f->cut_kind = (enum fake_cut)((r >> 40) % FAKE_CUT_KINDS);
        if (!gets_there(f, PAG_REPORT_CONFIRMED)) {
            fail_msg("cuts at %llu and %llu", (unsigned long long)first, (unsigned long long)second);
        }
    }
    fake_free(f);
}

static void a_resumed_download_costs_at_most_one_mark(void **state)
{
    (void)state;
    struct fake *f = device(seed());
    uint64_t ops = operations_of_an_update(f, PAG_REPORT_CONFIRMED);
    for (uint64_t i = 5; i <= ops; i += 3) {
        reset(f);
        f->cut_at = i;
        f->cut_kind = FAKE_CUT_HALF;
        assert_true(fake_boot(f));
        fake_run(f, 4000);
        struct pag_agent_status before;
        pag_agent_status(&f->agent, &before);
        if (!f->dead || !fake_boot(f)) {
            continue;
        }
        fake_run(f, 4000);
        struct pag_agent_status after;
        pag_agent_status(&f->agent, &after);
        assert_true(before.figures.fetched_bytes + after.figures.fetched_bytes <=
                    NEW_N + 65536 + FAKE_SECTOR);
    }
    fake_free(f);
}

/* ---- enrolment ---- */

static struct fake *unenrolled(uint64_t from)
{
    struct fake *f = device(from);
    f->set.certificate = (struct pag_span){ 0 };
    f->set.key = (struct pag_span){ 0 };
    memcpy(f->set.mac, "84f3eb000003", sizeof "84f3eb000003");
    memcpy(f->set.claim, "ABCD-EFGH", sizeof "ABCD-EFGH");
    f->srv.offering = false;
    return f;
}

/* Power comes back until the device checks in under its certificate. */
static bool enrols(struct fake *f)
{
    for (int i = 0; i < BOOTS_MAX; i++) {
        if (!boots_something_whole(f)) {
            return false;
        }
        if (!f->dead) {
            fake_run(f, 30);
        }
        f->now_ms += 1000;
        if (!f->dead && f->srv.checks > 0) {
            return true;
        }
    }
    return false;
}

static void a_cut_anywhere_of_the_enrolment_does_not_burn_the_claim(void **state)
{
    (void)state;
    struct fake *f = unenrolled(seed());
    reset(f);
    assert_true(enrols(f));
    uint64_t ops = f->ops;
    for (uint64_t i = 1; i <= ops; i++) {
        for (int kind = 0; kind < FAKE_CUT_KINDS; kind++) {
            uint8_t digest[PAG_SHA256_BYTES];
            reset(f);
            f->srv.claim_used = false;
            f->srv.checks = 0;
            f->srv.turned_away = 0;
            f->cut_at = i;
            f->cut_kind = (enum fake_cut)kind;
            if (!enrols(f) || f->srv.turned_away != 0) {
                fail_msg("cut at operation %llu of %llu, kind %d", (unsigned long long)i,
                         (unsigned long long)ops, kind);
            }
            pag_sha256_of(f->port.crypto, pag_span_of(f->key, f->key_n), digest);
            assert_memory_equal(digest, f->certificate, sizeof digest); /* the key of this certificate */
        }
    }
    print_message("%llu operations of an enrolment\n", (unsigned long long)ops);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_anywhere_still_ends_confirmed_on_the_new_image),
        cmocka_unit_test(a_cut_anywhere_of_a_bad_update_still_ends_back_on_the_old_image),
        cmocka_unit_test(two_cuts_anywhere_never_brick),
        cmocka_unit_test(a_resumed_download_costs_at_most_one_mark),
        cmocka_unit_test(a_cut_anywhere_of_the_enrolment_does_not_burn_the_claim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
