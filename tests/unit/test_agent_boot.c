/* What the loader and the agent make of weak records, wrong reads, rotten images and other loaders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/agent_fake.h"

enum { OLD_N = 9000, NEW_N = 60001, CELL = PAG_JOURNAL_CELL_BYTES, EPOCH = 5 };
static uint8_t old_image[OLD_N];
static uint8_t new_image[NEW_N];
static uint8_t newer_image[NEW_N];

/* Faults; set per test. */
static int cut_type;         /* power fails right after this record, 0: never */
static unsigned cut_nth;     /* the how many-th of them */
static unsigned wrong_reads; /* so many first reads of slot B's second sector go wrong */
static bool no_programs;     /* programs of the journal leave a bit up */
static unsigned journal_erases;

static enum pag_err program(void *ctx, enum pag_area area, uint32_t off, struct pag_span data)
{
    struct fake *f = ctx;
    struct pag_journal_record r;
    if (area == PAG_AREA_JOURNAL && no_programs) {
        return PAG_OK;
    }
    if (area == PAG_AREA_JOURNAL && pag_journal_cell_get(data.p, &r) && (int)r.type == cut_type &&
        off % FAKE_SECTOR >= 8 * CELL && --cut_nth == 0) {
        f->cut_at = f->ops + 1;
        f->cut_kind = FAKE_CUT_AFTER;
    }
    return fake_program(ctx, area, off, data);
}

static enum pag_err erase(void *ctx, enum pag_area area, uint32_t off, uint32_t n)
{
    journal_erases += area == PAG_AREA_JOURNAL;
    return fake_erase(ctx, area, off, n);
}

static enum pag_err read_flash(void *ctx, enum pag_area area, uint32_t off, uint8_t *out, uint32_t n)
{
    enum pag_err err = fake_read(ctx, area, off, out, n);
    if (wrong_reads > 0 && area == PAG_AREA_SLOT_B && off == FAKE_SECTOR && n > 1000) {
        wrong_reads--;
        out[7] ^= 1;
    }
    return err;
}

static int device(void **state)
{
    struct fake *f = fake_new(11);
    fake_image(old_image, OLD_N, 1);
    fake_image(new_image, NEW_N, 2);
    fake_image(newer_image, NEW_N, 3);
    fake_factory(f, old_image, OLD_N);
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->port.flash.program = program;
    f->port.flash.erase = erase;
    f->port.flash.read = read_flash;
    cut_type = 0;
    cut_nth = 1;
    wrong_reads = 0;
    no_programs = false;
    journal_erases = 0;
    *state = f;
    return 0;
}

static int gone(void **state)
{
    fake_free(*state);
    return 0;
}

static void cut_after(enum pag_journal_type type, unsigned nth)
{
    cut_type = (int)type;
    cut_nth = nth;
}

/* Fetches what is offered and resets into the trial. */
static void to_trial(struct fake *f)
{
    assert_true(fake_boot(f));
    fake_run(f, 100);
    assert_true(f->rebooted);
    assert_true(fake_boot(f));
    assert_true(f->boot.trial);
}

static void power_is_back(struct fake *f)
{
    assert_true(f->dead);
    f->dead = false;
    f->cut_at = 0;
    cut_type = 0;
}

static struct pag_journal journal(struct fake *f)
{
    static struct pag_journal_flash flash;
    struct pag_journal j;
    assert_int_equal(pag_boot_journal(&f->port, &flash, &j), PAG_OK);
    return j;
}

/* Address of the nth record of a type and slot behind the opening of the first sector, or NULL. */
static uint8_t *find(struct fake *f, enum pag_journal_type type, uint8_t slot, unsigned nth)
{
    for (uint32_t c = 8; c < PAG_JOURNAL_CELLS; c++) {
        struct pag_journal_record r;
        uint8_t *cell = f->area[PAG_AREA_JOURNAL] + (size_t)c * CELL;
        if (pag_journal_cell_get(cell, &r) && r.type == type && r.slot == slot && nth-- == 0) {
            return cell;
        }
    }
    return NULL;
}

static void digest_of(const uint8_t *image, uint32_t n, struct pag_journal_record *r)
{
    uint8_t digest[PAG_SHA256_BYTES];
    pag_sha256_of(pag_crypto_openssl(), pag_span_of(image, n), digest);
    memcpy(r->digest, digest, sizeof r->digest);
}

static void put(struct fake *f, struct pag_journal_record r)
{
    struct pag_journal j = journal(f);
    assert_int_equal(pag_journal_append(&j, &r), PAG_OK);
}

/* Puts an image with a record of its own into a slot. */
static void install(struct fake *f, uint8_t slot, const uint8_t *image, uint32_t n, uint32_t epoch)
{
    struct pag_slot s = { .size = n, .sequence = 2, .epoch = epoch };
    uint8_t record[PAG_SLOT_FACTORY_BYTES];
    struct pag_buf b = { record, 0, sizeof record };
    uint8_t *area = f->area[slot == 0 ? PAG_AREA_SLOT_A : PAG_AREA_SLOT_B];
    pag_sha256_of(pag_crypto_openssl(), pag_span_of(image, n), s.digest);
    assert_int_equal(pag_slot_factory_put(&s, &b), PAG_OK);
    memset(area, 0xFF, FAKE_SLOT);
    memcpy(area, image, n);
    memcpy(area + FAKE_SLOT - FAKE_SECTOR, record, sizeof record);
}

static void rot(struct fake *f, enum pag_area area)
{
    f->area[area][5000] ^= 1;
}

/* B confirmed, power fails right after CHECKPOINT of it: the cell is weak. Then into the next download. */
static void into_the_update_after_a_weak_checkpoint(struct fake *f)
{
    to_trial(f);
    cut_after(PAG_JOURNAL_CHECKPOINT, 1);
    fake_run(f, 100);
    power_is_back(f);
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 1);
    fake_release(f, newer_image, NEW_N, 3, NULL);
    for (int i = 0; i < 100000 && find(f, PAG_JOURNAL_FETCH, 0, 0) == NULL; i++) {
        f->now_ms += pag_agent_step(&f->agent);
    }
    f->now_ms += pag_agent_step(&f->agent);
    assert_true(find(f, PAG_JOURNAL_FETCH, 0, 0) != NULL);
}

static void a_weak_checkpoint_is_made_good_before_the_way_back_is_erased(void **state)
{
    struct fake *f = *state;
    into_the_update_after_a_weak_checkpoint(f);
    find(f, PAG_JOURNAL_CHECKPOINT, 1, 0)[31] ^= 1; /* reads the other way now */
    struct pag_journal j = journal(f);
    assert_int_equal(j.checkpoint.slot, 1);
    assert_int_equal(j.checkpoint.sequence, 2);
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 1);
}

static void a_whole_image_that_no_record_names_any_more_is_booted_rather_than_nothing(void **state)
{
    struct fake *f = *state;
    into_the_update_after_a_weak_checkpoint(f);
    uint8_t *cell = NULL;
    while ((cell = find(f, PAG_JOURNAL_CHECKPOINT, 1, 0)) != NULL) {
        cell[31] ^= 1;
    }
    assert_int_equal(journal(f).checkpoint.slot, 0);
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 1);
    assert_memory_equal(f->area[PAG_AREA_SLOT_B], new_image, NEW_N);
}

/* A named by the checkpoint and rotten, B whole; last says what is known of B. */
static bool boots_b(struct fake *f, enum pag_journal_type last, uint8_t count, uint32_t epoch)
{
    struct pag_journal_record r = { .type = PAG_JOURNAL_CHECKPOINT, .sequence = 1 };
    memset(f->area[PAG_AREA_JOURNAL], 0xFF, 2 * (size_t)FAKE_SECTOR);
    install(f, 1, new_image, NEW_N, epoch);
    digest_of(old_image, OLD_N, &r);
    r.epoch = 3;
    put(f, r);
    r.type = last;
    r.slot = 1;
    r.count = count;
    r.sequence = 2;
    r.epoch = 0;
    digest_of(new_image, NEW_N, &r);
    put(f, r);
    return fake_boot(f);
}

static void an_image_below_the_floor_or_never_confirmed_is_booted_for_nothing(void **state)
{
    struct fake *f = *state;
    rot(f, PAG_AREA_SLOT_A);
    assert_true(boots_b(f, PAG_JOURNAL_FALLBACK, 0, 3));
    assert_int_equal(f->slot, 1);
    assert_false(boots_b(f, PAG_JOURNAL_FALLBACK, 0, 2));
    assert_false(boots_b(f, PAG_JOURNAL_FETCH, 0, 3));
    assert_false(boots_b(f, PAG_JOURNAL_STAGED, 0, 3));
    assert_false(boots_b(f, PAG_JOURNAL_REVERTED, 0, 3));
    assert_false(boots_b(f, PAG_JOURNAL_REVERT, 0, 3));
    assert_false(boots_b(f, PAG_JOURNAL_TRY, 3, 3));
}

static void a_trial_below_the_floor_is_gone_back_from(void **state)
{
    struct fake *f = *state;
    assert_true(boots_b(f, PAG_JOURNAL_TRY, 0, 3));
    assert_true(f->boot.trial);
    assert_true(boots_b(f, PAG_JOURNAL_TRY, 0, 2));
    assert_int_equal(f->slot, 0);
    assert_int_equal(journal(f).last.type, PAG_JOURNAL_REVERTED);
}

static void a_whole_image_other_than_the_one_the_record_names_is_not_taken_for_it(void **state)
{
    struct fake *f = *state;
    assert_true(boots_b(f, PAG_JOURNAL_TRY, 0, 3));
    assert_true(f->boot.trial);
    struct pag_journal_record again = journal(f).last;
    install(f, 1, newer_image, NEW_N, 3);
    put(f, again);
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 0);
    /* the same of the confirmed image */
    assert_true(boots_b(f, PAG_JOURNAL_FALLBACK, 0, 3));
    assert_int_equal(f->slot, 0);
    install(f, 0, newer_image, NEW_N, 3);
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 1);
}

static void the_image_before_is_found_behind_a_fallback_that_is_out_of_date(void **state)
{
    struct fake *f = *state;
    to_trial(f);
    fake_run(f, 100);
    assert_true(journal(f).has_fallback);
    fake_release(f, newer_image, NEW_N, 3, NULL);
    to_trial(f);
    cut_after(PAG_JOURNAL_CONFIRM, 2);
    fake_run(f, 100);
    power_is_back(f);
    assert_int_equal(journal(f).fallback.slot, 0);
    rot(f, PAG_AREA_SLOT_A);
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 1);
    assert_memory_equal(f->area[PAG_AREA_SLOT_B], new_image, NEW_N);
}

static void one_wrong_read_in_the_loader_ends_no_trial_and_no_confirmed_image(void **state)
{
    struct fake *f = *state;
    assert_true(fake_boot(f));
    fake_run(f, 100);
    wrong_reads = 1;
    assert_true(fake_boot(f));
    assert_true(f->boot.trial);
    assert_int_equal(wrong_reads, 0);
    fake_run(f, 100);
    wrong_reads = 1;
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 1);
    assert_int_equal(wrong_reads, 0);
}

static void an_image_that_is_readable_again_is_booted_again(void **state)
{
    struct fake *f = *state;
    to_trial(f);
    fake_run(f, 100);
    f->srv.offering = false;
    wrong_reads = 2;
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 0);
    uint64_t ops = f->ops;
    fake_run(f, 100);
    assert_int_equal(f->ops, ops); /* the fallback writes nothing of itself */
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 1);
}

static void a_fallback_is_the_confirmed_image_once_the_other_slot_is_written_over(void **state)
{
    struct fake *f = *state;
    to_trial(f);
    fake_run(f, 100);
    assert_int_equal(journal(f).checkpoint.slot, 1);
    fake_release(f, newer_image, NEW_N, 3, NULL);
    wrong_reads = 2;
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 0);
    cut_after(PAG_JOURNAL_FETCH, 1);
    fake_run(f, 100);
    power_is_back(f);
    assert_int_equal(journal(f).last.slot, 1);
    assert_int_equal(journal(f).checkpoint.slot, 0);
}

/* Power fails after CONFIRM b, before the server knows; the loader then finds B rotten: A must confirm
 * nothing. */
static void a_fallback_does_not_report_the_other_image_confirmed(void **state)
{
    struct fake *f = *state;
    to_trial(f);
    cut_after(PAG_JOURNAL_CONFIRM, 2);
    fake_run(f, 100);
    power_is_back(f);
    f->srv.offering = false;
    f->srv.states = 0;
    rot(f, PAG_AREA_SLOT_B);
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 0);
    fake_run(f, 100);
    assert_int_equal(f->srv.states >> PAG_REPORT_CONFIRMED & 1U, 0);
}

static void of_the_epoch(struct pag_manifest *m)
{
    m->epoch = EPOCH;
}

static void the_floor_rises_in_the_power_up_that_confirms(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, of_the_epoch);
    to_trial(f);
    fake_run(f, 100);
    assert_non_null(find(f, PAG_JOURNAL_EPOCH, 1, 0));
    assert_null(find(f, PAG_JOURNAL_EPOCH, 1, 1));
    assert_int_equal(journal(f).epoch, EPOCH);
}

static void the_floor_rises_later_when_power_fails_before_epoch(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, of_the_epoch);
    to_trial(f);
    cut_after(PAG_JOURNAL_CONFIRM, 2);
    fake_run(f, 100);
    power_is_back(f);
    assert_int_equal(journal(f).epoch, 0);
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 1);
    fake_run(f, 100);
    assert_int_equal(journal(f).epoch, EPOCH);
    assert_int_equal(f->srv.states >> PAG_REPORT_CONFIRMED & 1U, 1);
    assert_int_equal(journal(f).checkpoint.slot, 1);
}

static void the_floor_rises_also_when_the_outcome_was_told_long_ago(void **state)
{
    struct fake *f = *state;
    struct pag_journal_record r = { .type = PAG_JOURNAL_CHECKPOINT, .slot = 1, .sequence = 2 };
    f->srv.offering = false;
    install(f, 1, new_image, NEW_N, EPOCH);
    digest_of(new_image, NEW_N, &r);
    put(f, r);
    assert_true(fake_boot(f));
    fake_run(f, 100);
    assert_int_equal(journal(f).epoch, EPOCH);
    assert_int_equal(journal(f).last.type, PAG_JOURNAL_CHECKPOINT);
    assert_int_equal(f->srv.states >> PAG_REPORT_CONFIRMED & 1U, 0);
    uint64_t ops = f->ops;
    assert_true(fake_boot(f));
    fake_run(f, 5);
    assert_int_equal(f->ops, ops);
}

static void an_outcome_is_told_only_on_a_record_of_the_same_power_up(void **state)
{
    struct fake *f = *state;
    to_trial(f);
    cut_after(PAG_JOURNAL_CONFIRM, 2);
    fake_run(f, 100);
    power_is_back(f);
    uint32_t aux = journal(f).last.aux;
    assert_true(fake_boot(f));
    for (int i = 0; i < 100000 && (f->srv.states >> PAG_REPORT_CONFIRMED & 1U) == 0; i++) {
        f->now_ms += pag_agent_step(&f->agent);
    }
    uint8_t *again = find(f, PAG_JOURNAL_CONFIRM, 1, 2); /* a, b, and b once more */
    struct pag_journal_record r;
    assert_non_null(again);
    assert_true(pag_journal_cell_get(again, &r));
    assert_int_equal(r.count, 1);
    assert_int_equal(r.aux, aux);
}

/* A vendor's loader has started the armed slot by itself. */
static void start_b(struct fake *f)
{
    static const struct pag_agent_hooks hooks = { .self_test = fake_health };
    f->slot = 1;
    f->rebooted = false;
    f->open = false;
    assert_int_equal(
        pag_agent_init(&f->agent, &f->port, &f->set, (struct pag_buf){ f->scratch, 0, sizeof f->scratch }),
        PAG_OK);
    pag_agent_set_hooks(&f->agent, &hooks, f);
}

static void an_image_started_by_a_loader_that_knows_no_journal_is_on_trial(void **state)
{
    struct fake *f = *state;
    assert_true(fake_boot(f));
    fake_run(f, 100);
    assert_int_equal(journal(f).last.type, PAG_JOURNAL_TRY);
    assert_int_equal(journal(f).last.count, 0);
    start_b(f);
    f->health = PAG_HEALTH_UNKNOWN;
    fake_run(f, 60);
    assert_int_equal(journal(f).last.type, PAG_JOURNAL_TRY);
    assert_int_equal(journal(f).last.count, 1);
    f->health = PAG_HEALTH_FAIL;
    fake_run(f, 60);
    assert_true(f->rebooted);
    assert_int_equal(journal(f).last.type, PAG_JOURNAL_REVERT);
    assert_int_equal(journal(f).last.slot, 1);
}

static void a_journal_that_takes_no_record_is_left_alone_after_a_few_attempts(void **state)
{
    struct fake *f = *state;
    to_trial(f);
    no_programs = true;
    journal_erases = 0;
    fake_run(f, 300);
    assert_true(f->rebooted);
    assert_in_range(journal_erases, 1, 8);
    /* and where the loader could not write TRY either */
    journal_erases = 0;
    no_programs = false;
    put(f, (struct pag_journal_record){ .type = PAG_JOURNAL_TRY, .slot = 1, .sequence = 2 });
    no_programs = true;
    start_b(f);
    fake_run(f, 300);
    assert_true(f->rebooted);
    assert_in_range(journal_erases, 1, 8);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, device, gone)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_weak_checkpoint_is_made_good_before_the_way_back_is_erased),
        TEST(a_whole_image_that_no_record_names_any_more_is_booted_rather_than_nothing),
        TEST(an_image_below_the_floor_or_never_confirmed_is_booted_for_nothing),
        TEST(a_trial_below_the_floor_is_gone_back_from),
        TEST(a_whole_image_other_than_the_one_the_record_names_is_not_taken_for_it),
        TEST(the_image_before_is_found_behind_a_fallback_that_is_out_of_date),
        TEST(one_wrong_read_in_the_loader_ends_no_trial_and_no_confirmed_image),
        TEST(an_image_that_is_readable_again_is_booted_again),
        TEST(a_fallback_is_the_confirmed_image_once_the_other_slot_is_written_over),
        TEST(a_fallback_does_not_report_the_other_image_confirmed),
        TEST(the_floor_rises_in_the_power_up_that_confirms),
        TEST(the_floor_rises_later_when_power_fails_before_epoch),
        TEST(the_floor_rises_also_when_the_outcome_was_told_long_ago),
        TEST(an_outcome_is_told_only_on_a_record_of_the_same_power_up),
        TEST(an_image_started_by_a_loader_that_knows_no_journal_is_on_trial),
        TEST(a_journal_that_takes_no_record_is_left_alone_after_a_few_attempts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
