/*
 * The rules of a boot with two slots, each by its name (I1..I15: docs/porting/flash.md), watched at every
 * flash operation and every jump while power fails, cells stay weak and bits stick, in the agent and in the
 * loader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/agent_fake.h"

enum { OLDER_N = 5000, OLD_N = 9000, NEW_N = 70001, BOOTS_MAX = 8, SEAL = FAKE_SLOT - FAKE_SECTOR };
enum { OLD_EPOCH = 1, NEW_EPOCH = 2, CELL = PAG_JOURNAL_CELL_BYTES };
static uint8_t old_image[OLD_N];
static uint8_t new_image[NEW_N];
static uint8_t blank[PAG_AREA_COUNT][FAKE_SLOT];
static char where[96]; /* which fault is being tried */

/* What has been written for good so far. */
struct law {
    bool complete_once, confirm_b, epoch, reverted;
    uint32_t floor, tried;
    uint32_t image_erases;
    bool cut_in_loader;
};

static uint64_t seed(void)
{
    const char *text = getenv("PAG_SEED");
    uint64_t v = 20260102;
    if (text != NULL) {
        (void)pag_parse_u64(pag_span_str(text), &v);
    }
    print_message("PAG_SEED=%llu\n", (unsigned long long)v);
    return v;
}

static void hold(bool ok, const char *rule)
{
    if (!ok) {
        fail_msg("%s: %s", where, rule);
    }
}

static bool sector_complete(const struct fake *f, uint32_t sector)
{
    static const uint32_t cells[] = { 0, 7 };
    for (size_t i = 0; i < 2; i++) {
        struct pag_journal_record r;
        if (pag_journal_cell_get(f->area[PAG_AREA_JOURNAL] + sector * FAKE_SECTOR + cells[i] * CELL, &r) &&
            r.type == PAG_JOURNAL_CHECKPOINT) {
            return true;
        }
    }
    return false;
}

static void on_record(struct law *law, const struct pag_journal_record *r)
{
    hold(r->epoch >= law->floor, "I5: the floor has sunk");
    law->floor = r->epoch;
    if (r->type == PAG_JOURNAL_TRY) {
        hold(!law->reverted || r->sequence > 2, "I8: an image that was gone back from is tried again");
        law->tried |= 1U << (r->count & 31);
    }
    law->confirm_b |= r->type == PAG_JOURNAL_CONFIRM && r->count == 1;
    law->reverted |= r->type == PAG_JOURNAL_REVERTED;
    if (r->type == PAG_JOURNAL_EPOCH) {
        hold(law->confirm_b, "I6: EPOCH before CONFIRM b");
        law->epoch = true;
    }
}

static void watch_journal(struct fake *f, struct law *law, uint32_t off, struct pag_span data, bool whole)
{
    struct pag_journal_record r;
    bool complete = sector_complete(f, 0) || sector_complete(f, 1);
    hold(complete || !law->complete_once, "I10: no complete sector of the journal");
    law->complete_once |= complete;
    bool stands = whole && data.p != NULL && data.n == CELL &&
                  memcmp(f->area[PAG_AREA_JOURNAL] + off, data.p, CELL) == 0;
    if (stands && off % FAKE_SECTOR >= 6 * CELL && off % FAKE_SECTOR != 7 * CELL &&
        pag_journal_cell_get(data.p, &r)) {
        on_record(law, &r);
    }
}

static void watch(struct fake *f, enum pag_area area, uint32_t off, struct pag_span data, bool whole)
{
    struct law *law = f->watch_ctx;
    if (area == PAG_AREA_JOURNAL) {
        watch_journal(f, law, off, data, whole);
        return;
    }
    if (area != PAG_AREA_SLOT_A && area != PAG_AREA_SLOT_B) {
        return;
    }
    law->image_erases += data.p == NULL;
    hold(area == PAG_AREA_SLOT_B, "I12: the only good image is written over");
    hold(!law->confirm_b, "I12: the confirmed image is written over");
    hold(off >= SEAL || memcmp(f->area[area] + SEAL, blank[area] + SEAL, PAG_SLOT_FACTORY_BYTES) != 0,
         "seal: an image is written under the manifest of another");
}

static void of_the_new_epoch(struct pag_manifest *m)
{
    m->epoch = NEW_EPOCH;
}

static void of_another_chip(struct pag_manifest *m)
{
    m->epoch = NEW_EPOCH;
    m->chip = PAG_CHIP_ESP32;
}

static void of_another_product(struct pag_manifest *m)
{
    m->product[3] ^= 1;
}

static void of_a_huge_size(struct pag_manifest *m)
{
    m->size = FAKE_SLOT;
}

/* A device that had an update before: the other slot is sealed. */
static struct fake *device(struct law *law)
{
    static uint8_t older[OLDER_N];
    struct fake *f = fake_new(seed());
    fake_image(older, OLDER_N, 3);
    fake_image(old_image, OLD_N, 1);
    fake_image(new_image, NEW_N, 2);
    fake_factory_as(f, older, OLDER_N, 0, 0);
    memcpy(f->area[PAG_AREA_SLOT_B], f->area[PAG_AREA_SLOT_A], FAKE_SLOT);
    memset(f->area[PAG_AREA_SLOT_A], 0xFF, FAKE_SLOT);
    fake_factory_as(f, old_image, OLD_N, 1, OLD_EPOCH);
    fake_release(f, new_image, NEW_N, 2, of_the_new_epoch);
    f->watch = watch;
    f->watch_ctx = law;
    for (int a = 0; a < PAG_AREA_COUNT; a++) {
        memcpy(blank[a], f->area[a], f->port.flash.area_bytes[a]);
    }
    return f;
}

static void reset(struct fake *f, uint64_t fault)
{
    struct law *law = f->watch_ctx;
    *law = (struct law){ .floor = 0 };
    for (int a = 0; a < PAG_AREA_COUNT; a++) {
        memcpy(f->area[a], blank[a], f->port.flash.area_bytes[a]);
        memset(f->weak[a], 0, f->port.flash.area_bytes[a]);
    }
    f->read_seed = f->seed + fault;
    f->ops = 0;
    f->cut_at = 0;
    f->stuck_at = 0;
    f->srv.states = 0;
    f->srv.offering = true;
    f->now_ms = 0;
}

/* One power-up, and what must hold at the jump. False: power failed in the loader. */
static bool boots(struct fake *f)
{
    struct law *law = f->watch_ctx;
    bool jumped = fake_boot(f);
    law->cut_in_loader |= f->dead && f->loader_ops > 0;
    if (!jumped) {
        hold(f->dead, "I3: nothing to boot");
        return false;
    }
    bool b = f->slot == 1;
    const uint8_t *image = b ? new_image : old_image;
    hold(memcmp(f->area[b ? PAG_AREA_SLOT_B : PAG_AREA_SLOT_A], image, b ? NEW_N : OLD_N) == 0,
         "I1, I4: an image that is not whole is jumped to");
    if (f->boot.trial) {
        hold(f->boot.try_n >= 1 && f->boot.try_n <= 3 && (law->tried >> f->boot.try_n & 1U) != 0,
             "I2: a trial without TRY n written before");
    } else {
        hold(!b || law->confirm_b, "I4: the new image boots unconfirmed without being on trial");
    }
    hold(b || !law->confirm_b, "I4: the old image boots after CONFIRM b");
    hold(!law->epoch || f->boot.image.epoch >= law->floor, "I5: an image below the floor boots");
    return true;
}

static bool said(const struct fake *f, uint32_t states)
{
    return (f->srv.states & states) != 0;
}

/* Until one of the reports came that end an update. */
static bool settles(struct fake *f, uint32_t wanted)
{
    for (int i = 0; i < BOOTS_MAX; i++) {
        if (boots(f)) {
            fake_run(f, 4000);
        }
        f->now_ms += 1000;
        if (!f->dead && !f->rebooted && said(f, wanted)) {
            return true;
        }
    }
    return false;
}

static void a_plain_boot_is_silent(struct fake *f)
{
    f->srv.offering = false;
    fake_run(f, 600);
    for (int i = 0; i < 2; i++) {
        uint64_t before = f->ops;
        hold(boots(f), "I3: no boot at rest");
        fake_run(f, 5);
        hold(f->ops == before, "I7: a plain boot writes");
    }
}

static void sweep(struct fake *f, uint32_t wanted)
{
    struct law *law = f->watch_ctx;
    unsigned in_loader = 0;
    reset(f, 0);
    hold(settles(f, wanted), "I3: does not settle");
    uint64_t ops = f->ops;
    for (uint64_t i = 1; i <= ops; i++) {
        for (int kind = 0; kind < FAKE_CUT_KINDS; kind++) {
            (void)snprintf(where, sizeof where, "cut at %llu of %llu, kind %d", (unsigned long long)i,
                           (unsigned long long)ops, kind);
            reset(f, i * 31 + (uint64_t)kind);
            f->cut_at = i;
            f->cut_kind = (enum fake_cut)kind;
            hold(settles(f, wanted), "I3: does not settle");
            in_loader += law->cut_in_loader;
            a_plain_boot_is_silent(f);
        }
    }
    print_message("%llu operations, %d kinds of cut, %u of them in the loader\n", (unsigned long long)ops,
                  FAKE_CUT_KINDS, in_loader);
    assert_true(in_loader > 0);
}

static void the_rules_hold_when_power_fails_in_a_good_update(void **state)
{
    (void)state;
    struct law law;
    struct fake *f = device(&law);
    sweep(f, 1U << PAG_REPORT_CONFIRMED);
    assert_int_equal(f->slot, 1);
    assert_int_equal(law.floor, NEW_EPOCH);
    fake_free(f);
}

static void the_rules_hold_when_power_fails_in_an_update_that_is_gone_back_from(void **state)
{
    (void)state;
    struct law law;
    struct fake *f = device(&law);
    f->health = PAG_HEALTH_FAIL;
    sweep(f, 1U << PAG_REPORT_REVERTED);
    assert_int_equal(f->slot, 0);
    assert_int_equal(law.floor, OLD_EPOCH);
    fake_free(f);
}

static void the_rules_hold_when_a_bit_sticks(void **state)
{
    (void)state;
    struct law law;
    struct fake *f = device(&law);
    uint32_t wanted = 1U << PAG_REPORT_CONFIRMED | 1U << PAG_REPORT_FAILED;
    unsigned confirmed = 0;
    reset(f, 0);
    hold(settles(f, wanted), "I3: does not settle");
    uint64_t ops = f->ops;
    for (uint64_t i = 1; i <= ops; i++) {
        for (uint64_t bit = 0; bit < 4; bit++) {
            (void)snprintf(where, sizeof where, "a bit sticks at %llu of %llu", (unsigned long long)i,
                           (unsigned long long)ops);
            reset(f, i * 4 + bit);
            f->stuck_at = i;
            hold(settles(f, wanted), "I3: does not settle");
            confirmed += said(f, 1U << PAG_REPORT_CONFIRMED);
        }
    }
    print_message("%llu operations, %u updates confirmed all the same\n", (unsigned long long)ops, confirmed);
    assert_true(confirmed > ops * 3);
    fake_free(f);
}

/* Clears the first bit that is set, as leaking cells do. */
static void rot(struct fake *f, uint32_t off)
{
    uint8_t *cell = f->area[PAG_AREA_SLOT_B] + off;
    while (*cell == 0) {
        cell++;
    }
    *cell &= (uint8_t)(*cell - 1);
}

static void an_image_that_rots_after_it_was_armed_is_not_jumped_to(void **state)
{
    (void)state;
    struct law law;
    struct fake *f = device(&law);
    static const uint32_t at[] = { 0, 40000, NEW_N - 1 - 64 };
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(where, sizeof where, "rot at %u", at[i]);
        reset(f, i);
        assert_true(boots(f));
        fake_run(f, 4000);
        assert_true(f->rebooted);
        rot(f, at[i]);
        assert_true(boots(f));
        hold(f->slot == 0 && !f->boot.trial, "I1: not gone back from");
        fake_run(f, 4000);
        hold(said(f, 1U << PAG_REPORT_REVERTED), "I3: does not settle");
    }
    fake_free(f);
}

static void a_bad_manifest_is_refused_before_any_erase(void **state)
{
    (void)state;
    static void (*const bad[])(struct pag_manifest *) = { of_another_chip, of_another_product,
                                                          of_a_huge_size };
    struct law law;
    struct fake *f = device(&law);
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(where, sizeof where, "bad manifest %zu", i);
        fake_release(f, new_image, NEW_N, 2, i < 3 ? bad[i] : of_the_new_epoch);
        f->srv.manifest[f->srv.manifest_n - 1] ^= i == 3; /* not signed by the key */
        reset(f, i);
        hold(settles(f, 1U << PAG_REPORT_REJECTED), "I3: does not settle");
        hold(law.image_erases == 0, "I15: something was erased for a manifest that is refused");
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rules_hold_when_power_fails_in_a_good_update),
        cmocka_unit_test(the_rules_hold_when_power_fails_in_an_update_that_is_gone_back_from),
        cmocka_unit_test(the_rules_hold_when_a_bit_sticks),
        cmocka_unit_test(an_image_that_rots_after_it_was_armed_is_not_jumped_to),
        cmocka_unit_test(a_bad_manifest_is_refused_before_any_erase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
