/* Token buckets: bursts, rates, neighbours, and what is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "host/bucket.h"

static const struct pag_bucket_rate a_second = { 3600, 20 };

static unsigned taken(struct pag_buckets *b, const char *key, unsigned tries, uint64_t now_ms)
{
    unsigned n = 0;
    for (unsigned i = 0; i < tries; i++) {
        n += pag_bucket_take(b, pag_span_str(key), a_second, 1, now_ms).ok ? 1 : 0;
    }
    return n;
}

static void a_burst_then_the_rate(void **state)
{
    struct pag_buckets *b = pag_buckets_new();
    (void)state;
    assert_int_equal(taken(b, "a", 100, 1000), 20);
    assert_int_equal(taken(b, "a", 100, 1999), 0);
    assert_int_equal(taken(b, "a", 100, 2000), 1);
    assert_int_equal(taken(b, "a", 100, 7000), 5);
    assert_int_equal(taken(b, "a", 100, 3600000), 20);
    pag_buckets_free(b);
}

static void one_key_does_not_cost_another(void **state)
{
    struct pag_buckets *b = pag_buckets_new();
    char key[16];
    (void)state;
    assert_int_equal(taken(b, "loud", 1000, 1), 20);
    for (unsigned i = 0; i < 2000; i++) {
        (void)snprintf(key, sizeof key, "quiet-%u", i);
        assert_int_equal(taken(b, key, 3, 1), 3);
    }
    assert_int_equal(taken(b, "loud", 10, 1), 0);
    pag_buckets_free(b);
}

static void refusals_are_told_once_an_hour_with_their_number(void **state)
{
    struct pag_buckets *b = pag_buckets_new();
    struct pag_bucket_verdict v;
    (void)state;
    (void)taken(b, "a", 20, 5);
    v = pag_bucket_take(b, pag_span_str("a"), a_second, 1, 5);
    assert_false(v.ok);
    assert_true(v.tell);
    assert_int_equal(v.refused, 1);
    assert_int_equal(v.wait_s, 2);
    for (int i = 0; i < 7; i++) {
        v = pag_bucket_take(b, pag_span_str("a"), a_second, 1, 6);
        assert_false(v.tell);
    }
    (void)taken(b, "a", 20, 3600005);
    v = pag_bucket_take(b, pag_span_str("a"), a_second, 1, 3600005);
    assert_true(v.tell);
    assert_int_equal(v.refused, 8);
    pag_buckets_free(b);
}

static void bytes_are_counted_by_their_cost_and_zero_is_no_limit(void **state)
{
    struct pag_buckets *b = pag_buckets_new();
    const struct pag_bucket_rate bytes = { 65536, 65536 };
    const struct pag_bucket_rate none = { 0, 0 };
    (void)state;
    assert_true(pag_bucket_take(b, pag_span_str("a"), bytes, 65000, 1).ok);
    assert_false(pag_bucket_take(b, pag_span_str("a"), bytes, 1000, 1).ok);
    assert_true(pag_bucket_take(b, pag_span_str("a"), bytes, 500, 1).ok);
    assert_true(pag_bucket_take(b, pag_span_str("a"), bytes, 30000, 1800001).ok);
    assert_true(pag_bucket_take(b, pag_span_str("a"), none, 1U << 30, 1).ok);
    pag_buckets_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_then_the_rate),
        cmocka_unit_test(one_key_does_not_cost_another),
        cmocka_unit_test(refusals_are_told_once_an_hour_with_their_number),
        cmocka_unit_test(bytes_are_counted_by_their_cost_and_zero_is_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
