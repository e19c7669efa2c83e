/* Which report of an action counts (numbers rise, by signed difference), and what an outcome means for the
 * image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
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

static struct pag_device_image after(enum pag_report_state state, int32_t code, const char *text, int times)
{
    struct pag_device_image h;
    struct pag_action a = fresh();
    memset(&h, 0, sizeof h);
    memcpy(h.version, "2.0.0", sizeof "2.0.0");
    a.state = state;
    a.code = code;
    assert_int_equal(pag_text_copy(a.text, sizeof a.text, pag_span_str(text)), PAG_OK);
    for (int i = 0; i < times; i++) {
        pag_history_outcome(&h, &a, true, 1000);
    }
    return h;
}

static void a_reason_that_stays_blocks_at_once_and_another_at_the_third_time(void **state)
{
    (void)state;
    static const int32_t stays[] = { PAG_E_SIGNATURE, PAG_E_PRODUCT, PAG_E_HARDWARE, PAG_E_ROLLBACK,
                                     PAG_E_BLOCKED,   PAG_E_SYNTAX,  PAG_E_MAGIC,    PAG_E_UNSUPPORTED };
    static const int32_t passes[] = {
        PAG_OK, PAG_E_IO, PAG_E_DIGEST, PAG_E_STALE, PAG_E_LIMIT, PAG_E_TIMEOUT
    };
    for (size_t i = 0; i < sizeof stays / sizeof stays[0]; i++) {
        assert_true(after(PAG_REPORT_REJECTED, stays[i], "", 1).blocked);
        assert_true(after(PAG_REPORT_FAILED, stays[i], "", 1).blocked);
    }
    for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++) {
        assert_false(after(PAG_REPORT_REJECTED, passes[i], "", PAG_FAILURES_MAX - 1).blocked);
        assert_true(after(PAG_REPORT_REJECTED, passes[i], "", PAG_FAILURES_MAX).blocked);
    }
    assert_false(after(PAG_REPORT_CANCELLED, PAG_E_SIGNATURE, "", 9).blocked);
}

static void what_the_device_said_stands_in_the_reason_and_is_cut_between_characters(void **state)
{
    (void)state;
    char text[PAG_WHY_MAX + 1] = "";
    struct pag_device_image h = after(PAG_REPORT_REJECTED, PAG_E_SIGNATURE, "no key of mine", 1);
    assert_string_equal(h.reason, "2.0.0 was refused by the device; not offered again until retry. It said: "
                                  "no key of mine");
    for (size_t pad = 0; pad < 3;
         pad++) { /* each way that the end can fall into a character of three bytes */
        memset(text, 'x', pad);
        for (size_t i = pad; i + 3 <= PAG_WHY_MAX; i += 3) {
            memcpy(text + i, "\xE2\x82\xAC", 4);
        }
        h = after(PAG_REPORT_REJECTED, PAG_E_SIGNATURE, text, 1);
        assert_true(strlen(h.reason) > 190);
        assert_true(pag_utf8_ok(pag_span_str(h.reason)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rising_number_counts_and_the_same_again_does_not),
        cmocka_unit_test(a_report_overtaken_by_a_newer_one_is_dropped),
        cmocka_unit_test(numbers_wrap),
        cmocka_unit_test(a_first_number_in_the_upper_half_counts),
        cmocka_unit_test(a_report_without_a_number_leaves_the_last_one_standing),
        cmocka_unit_test(a_reason_that_stays_blocks_at_once_and_another_at_the_third_time),
        cmocka_unit_test(what_the_device_said_stands_in_the_reason_and_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
