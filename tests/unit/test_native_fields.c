/* docs/spec/native.md 1: a field that may be left out is refused when it is zero. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/native.h"

/* Every message below ends in an optional number that is 1: with it read, with 0 in its place refused. */
static void read_whole_then_zeroed(struct pag_buf *b, enum pag_err (*get)(struct pag_span in))
{
    assert_int_equal(get(pag_buf_span(b)), PAG_OK);
    assert_int_equal(b->p[b->n - 1], 1);
    b->p[b->n - 1] = 0;
    assert_int_not_equal(get(pag_buf_span(b)), PAG_OK);
}

static enum pag_err get_check(struct pag_span in)
{
    struct pag_native_check m;
    return pag_native_check_get(in, &m);
}

static enum pag_err get_offer(struct pag_span in)
{
    struct pag_native_offer m;
    return pag_native_offer_get(in, &m);
}

static enum pag_err get_enrolled(struct pag_span in)
{
    struct pag_native_enrolled m;
    return pag_native_enrolled_get(in, &m);
}

static void capabilities_of_zero_are_left_out(void **state)
{
    static const uint8_t digest[PAG_SHA256_BYTES] = { 1 };
    uint8_t room[256];
    struct pag_buf b = { room, 0, sizeof room };
    (void)state;
    struct pag_native_check m = { .running_digest = { digest, sizeof digest },
                                  .hardware = pag_span_str("meter"),
                                  .capabilities = 1 };
    assert_int_equal(pag_native_check_put(&b, &m), PAG_OK);
    read_whole_then_zeroed(&b, get_check);
}

static void the_numbers_of_an_offer_are_left_out_when_zero(void **state)
{
    uint8_t room[64];
    struct pag_buf b = { room, 0, sizeof room };
    (void)state;
    assert_int_equal(pag_native_offer_put(&b, &(struct pag_native_offer){ .poll_s = 1 }), PAG_OK);
    read_whole_then_zeroed(&b, get_offer);
    b.n = 0;
    assert_int_equal(pag_native_offer_put(&b, &(struct pag_native_offer){ .trust_version = 1 }), PAG_OK);
    read_whole_then_zeroed(&b, get_offer);
}

static void the_numbers_of_an_enrolment_are_left_out_when_zero(void **state)
{
    uint8_t room[128];
    struct pag_buf b = { room, 0, sizeof room };
    (void)state;
    struct pag_native_enrolled m = { .device_id = pag_span_str("dev-1"),
                                     .certificate = pag_span_str("c"),
                                     .issuer = pag_span_str("i"),
                                     .product = pag_span_str("product1"),
                                     .mqtt_port = 1 };
    assert_int_equal(pag_native_enrolled_put(&b, &m), PAG_OK);
    read_whole_then_zeroed(&b, get_enrolled);
    b.n = 0;
    m.mqtt_port = 0;
    m.trust_version = 1;
    assert_int_equal(pag_native_enrolled_put(&b, &m), PAG_OK);
    read_whole_then_zeroed(&b, get_enrolled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capabilities_of_zero_are_left_out),
        cmocka_unit_test(the_numbers_of_an_offer_are_left_out_when_zero),
        cmocka_unit_test(the_numbers_of_an_enrolment_are_left_out_when_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
