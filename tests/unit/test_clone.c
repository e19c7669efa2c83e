#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/domain/clone.h"

static enum pag_clone_sign counted(struct pag_clone_trace *t, uint64_t until, uint32_t counter)
{
    const struct pag_clone_sight s = {
        .certificate_until = until, .address = 7, .has_counter = true, .counter = counter, .now_ms = 1000
    };
    return pag_clone_look(t, &s);
}

static enum pag_clone_sign from(struct pag_clone_trace *t, uint32_t address, int64_t now_ms)
{
    const struct pag_clone_sight s = { .certificate_until = 100, .address = address, .now_ms = now_ms };
    return pag_clone_look(t, &s);
}

static void a_counter_that_rises_or_stays_is_one_device(void **state)
{
    (void)state;
    struct pag_clone_trace t = { 0 };
    for (uint32_t n = 0; n < 100; n++) {
        assert_int_equal(counted(&t, 100, n / 2), PAG_CLONE_NONE);
    }
}

static void a_counter_that_goes_back_is_told_each_time(void **state)
{
    (void)state;
    struct pag_clone_trace t = { 0 };
    assert_int_equal(counted(&t, 100, 50), PAG_CLONE_NONE);
    assert_int_equal(counted(&t, 100, 20), PAG_CLONE_COUNTER);
    assert_int_equal(counted(&t, 100, 51), PAG_CLONE_NONE);
    assert_int_equal(counted(&t, 100, 21), PAG_CLONE_COUNTER);
}

static void a_device_that_was_wiped_and_has_a_new_certificate_counts_from_the_beginning(void **state)
{
    (void)state;
    struct pag_clone_trace t = { 0 };
    assert_int_equal(counted(&t, 100, 50), PAG_CLONE_NONE);
    assert_int_equal(counted(&t, 200, 1), PAG_CLONE_NONE);
    assert_int_equal(counted(&t, 200, 2), PAG_CLONE_NONE);
}

static void a_replaced_certificate_that_comes_back_is_told(void **state)
{
    (void)state;
    struct pag_clone_trace t = { 0 };
    assert_int_equal(counted(&t, 100, 1), PAG_CLONE_NONE);
    assert_int_equal(counted(&t, 200, 2), PAG_CLONE_NONE);
    assert_int_equal(counted(&t, 100, 3), PAG_CLONE_CERTIFICATE);
    assert_int_equal(counted(&t, 200, 3), PAG_CLONE_NONE);
}

static void two_addresses_in_quick_turn_are_told_and_slow_ones_are_not(void **state)
{
    (void)state;
    struct pag_clone_trace quick = { 0 };
    struct pag_clone_trace slow = { 0 };
    enum pag_clone_sign last = PAG_CLONE_NONE;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(from(&slow, 1 + (uint32_t)(i % 2), 1000 + (int64_t)i * PAG_CLONE_TURN_MS),
                         PAG_CLONE_NONE);
        last = from(&quick, 1 + (uint32_t)(i % 2), 1000 + i * 1000);
    }
    assert_int_equal(last, PAG_CLONE_ADDRESSES);
}

static void a_device_that_moves_on_and_on_is_not_two(void **state)
{
    (void)state;
    struct pag_clone_trace t = { 0 };
    for (uint32_t i = 1; i < 100; i++) {
        assert_int_equal(from(&t, i, 1000 + (int64_t)i * 100), PAG_CLONE_NONE);
        assert_int_equal(from(&t, i, 1050 + (int64_t)i * 100), PAG_CLONE_NONE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_that_rises_or_stays_is_one_device),
        cmocka_unit_test(a_counter_that_goes_back_is_told_each_time),
        cmocka_unit_test(a_device_that_was_wiped_and_has_a_new_certificate_counts_from_the_beginning),
        cmocka_unit_test(a_replaced_certificate_that_comes_back_is_told),
        cmocka_unit_test(two_addresses_in_quick_turn_are_told_and_slow_ones_are_not),
        cmocka_unit_test(a_device_that_moves_on_and_on_is_not_two),
    };
    return cmocka_run_group_tests_name("clone", tests, NULL, NULL);
}
