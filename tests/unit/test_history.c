/* Which report of an action counts: numbers rise, by signed difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "server/domain/history.h"

static const uint8_t target[PAG_SHA256_BYTES] = { 1, 2, 3 };

static enum pag_report_verdict verdict_of(struct pag_action *a, enum pag_report_state s, uint8_t pct,
                                          uint32_t seq)
{
    struct pag_native_report r = { .action_id = 7, .state = (uint8_t)s, .progress_pct = pct, .seq = seq };
    r.running_digest = (struct pag_span){ target, sizeof target };
    struct pag_action next = *a;
    struct pag_fail why = { 0 };
    enum pag_report_verdict v = PAG_REPORT_LATE;
    assert_int_equal(pag_action_report(a, &r, 1000, &next, &v, &why), PAG_OK);
    if (v == PAG_REPORT_APPLY) {
        *a = next;
    }
    return v;
}

static struct pag_action fresh(void)
{
    struct pag_action a = { .state = PAG_REPORT_OFFERED };
    memcpy(a.target, target, sizeof target);
    return a;
}

static void a_rising_number_counts_and_the_same_again_does_not(void **state)
{
    (void)state;
    struct pag_action a = fresh();
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 10, 17), PAG_REPORT_APPLY);
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 20, 17), PAG_REPORT_DUPLICATE);
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 20, 18), PAG_REPORT_APPLY);
    assert_int_equal(a.report_seq, 18);
}

static void a_report_overtaken_by_a_newer_one_is_dropped(void **state)
{
    (void)state;
    struct pag_action a = fresh();
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 50, 20), PAG_REPORT_APPLY);
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 25, 19), PAG_REPORT_DUPLICATE);
    assert_int_equal(verdict_of(&a, PAG_REPORT_FAILED, 0, 18), PAG_REPORT_DUPLICATE);
    assert_int_equal(a.progress_pct, 50);
}

static void numbers_wrap(void **state)
{
    (void)state;
    struct pag_action a = fresh();
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 10, UINT32_MAX - 14), PAG_REPORT_APPLY);
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 20, 1), PAG_REPORT_APPLY);
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 30, UINT32_MAX), PAG_REPORT_DUPLICATE);
    assert_int_equal(verdict_of(&a, PAG_REPORT_CONFIRMED, 100, 16), PAG_REPORT_APPLY);
}

static void a_first_number_in_the_upper_half_counts(void **state)
{
    (void)state;
    struct pag_action a = fresh();
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 10, 0x90000000U), PAG_REPORT_APPLY);
}

static void a_report_without_a_number_leaves_the_last_one_standing(void **state)
{
    (void)state;
    struct pag_action a = fresh();
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 10, 33), PAG_REPORT_APPLY);
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 20, 0), PAG_REPORT_APPLY);
    assert_int_equal(verdict_of(&a, PAG_REPORT_DOWNLOADING, 30, 33), PAG_REPORT_DUPLICATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rising_number_counts_and_the_same_again_does_not),
        cmocka_unit_test(a_report_overtaken_by_a_newer_one_is_dropped),
        cmocka_unit_test(numbers_wrap),
        cmocka_unit_test(a_first_number_in_the_upper_half_counts),
        cmocka_unit_test(a_report_without_a_number_leaves_the_last_one_standing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
