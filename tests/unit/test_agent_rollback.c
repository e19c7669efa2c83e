/* Release 10 of epoch 2 is installed; what leads down, and what does not (security M2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/agent_fake.h"

enum { OLD_N = 9000, NEW_N = 80001, INSTALLED = 10, EPOCH = 2 };
static uint8_t old_image[OLD_N];
static uint8_t new_image[NEW_N];

static int device(void **state)
{
    struct fake *f = fake_new(5);
    fake_image(old_image, OLD_N, 1);
    fake_image(new_image, NEW_N, 2);
    fake_factory_as(f, old_image, OLD_N, INSTALLED, EPOCH);
    *state = f;
    return 0;
}

static int gone(void **state)
{
    fake_free(*state);
    return 0;
}

static bool said(const struct fake *f, enum pag_report_state s)
{
    return (f->srv.states >> s & 1U) != 0;
}

static void of_the_epoch(struct pag_manifest *m)
{
    m->epoch = EPOCH;
}

static void below_the_epoch(struct pag_manifest *m)
{
    m->epoch = EPOCH - 1;
}

static void of_another_image(struct pag_manifest *m)
{
    m->digest[0] ^= 1;
}

static void from_nine(struct pag_manifest *m)
{
    m->stone_sequence = INSTALLED - 1;
}

static void assert_refused(struct fake *f)
{
    assert_int_equal(fake_live(f, 50), 1);
    assert_true(said(f, PAG_REPORT_REJECTED));
    assert_int_equal(f->srv.last_code, PAG_E_ROLLBACK);
    assert_int_equal(f->srv.blobs, 0);
    assert_int_equal(f->slot, 0);
}

static void nine_is_refused(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 9, of_the_epoch);
    assert_refused(f);
}

static void ten_again_is_nothing_to_do(void **state)
{
    struct fake *f = *state;
    fake_release(f, old_image, OLD_N, INSTALLED, of_the_epoch);
    assert_int_equal(fake_live(f, 50), 1);
    assert_int_equal(f->srv.blobs, 0);
    assert_false(said(f, PAG_REPORT_REJECTED) || said(f, PAG_REPORT_FAILED));
    assert_true(said(f, PAG_REPORT_CONFIRMED)); /* the server has missed it */
}

static void eight_with_a_permit_is_installed(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 8, of_the_epoch);
    fake_permit(f, NULL);
    assert_int_equal(fake_live(f, 400), 2);
    assert_int_equal(f->slot, 1);
    assert_true(said(f, PAG_REPORT_CONFIRMED));
}

static void a_permit_does_not_lead_below_the_epoch(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 8, below_the_epoch);
    fake_permit(f, NULL);
    assert_refused(f);
}

static void a_permit_for_another_image_or_from_elsewhere_is_none(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 8, of_the_epoch);
    fake_permit(f, of_another_image);
    assert_refused(f);
    f->srv.states = 0;
    fake_permit(f, from_nine);
    assert_refused(f);
}

static void a_forged_permit_is_none(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 8, of_the_epoch);
    fake_permit(f, NULL);
    f->srv.permit[f->srv.permit_n - 1] ^= 1;
    assert_refused(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nine_is_refused, device, gone),
        cmocka_unit_test_setup_teardown(ten_again_is_nothing_to_do, device, gone),
        cmocka_unit_test_setup_teardown(eight_with_a_permit_is_installed, device, gone),
        cmocka_unit_test_setup_teardown(a_permit_does_not_lead_below_the_epoch, device, gone),
        cmocka_unit_test_setup_teardown(a_permit_for_another_image_or_from_elsewhere_is_none, device, gone),
        cmocka_unit_test_setup_teardown(a_forged_permit_is_none, device, gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
