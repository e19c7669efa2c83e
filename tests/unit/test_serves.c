#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): nftw */
#include "server/app/serves.h"
#include "tests/support/app_fixture.h"

static const uint8_t one[PAG_SHA256_BYTES] = { 1 };
static const uint8_t two[PAG_SHA256_BYTES] = { 2 };

static void what_is_on_its_way_counts_at_once(void **state)
{
    struct pag_app *app = ((struct fixture *)*state)->app;
    assert_int_equal(pag_serve_total(app, "a", one, 0), 0);
    assert_true(pag_serve_begins(app, "a", one, 0));
    assert_int_equal(pag_serve_total(app, "a", one, 0), 1);
    assert_true(pag_serve_begins(app, "a", one, 0));
    assert_int_equal(pag_serve_total(app, "a", one, 0), 2);
    assert_int_equal(pag_serve_total(app, "a", two, 0), 0);
    assert_int_equal(pag_serve_total(app, "b", one, 0), 0);
}

static void what_was_given_up_does_not_count(void **state)
{
    struct pag_app *app = ((struct fixture *)*state)->app;
    assert_true(pag_serve_begins(app, "a", one, 2));
    assert_int_equal(pag_serve_total(app, "a", one, 2), 3);
    pag_serve_ended(app, "a", one, false);
    assert_int_equal(pag_serve_total(app, "a", one, 2), 2);
}

/* Whoever has read the row before it was written must not miss it; whoever reads it now must not count twice.
 */
static void a_written_one_counts_once_for_old_and_new_readers(void **state)
{
    struct pag_app *app = ((struct fixture *)*state)->app;
    assert_true(pag_serve_begins(app, "a", one, 1));
    pag_serve_ended(app, "a", one, true);
    assert_int_equal(pag_serve_total(app, "a", one, 1), 2);
    assert_int_equal(pag_serve_total(app, "a", one, 2), 2);
}

/* "pagurus device retry" sets the row to 0. */
static void after_a_moment_the_row_alone_decides(void **state)
{
    struct fixture *f = *state;
    assert_true(pag_serve_begins(f->app, "a", one, 2));
    pag_serve_ended(f->app, "a", one, true);
    fixture_pass(f, PAG_SERVE_LINGER_MS + 1);
    assert_int_equal(pag_serve_total(f->app, "a", one, 0), 0);
}

static void what_is_forgotten_counts_no_more_but_what_is_on_its_way(void **state)
{
    struct pag_app *app = ((struct fixture *)*state)->app;
    assert_true(pag_serve_begins(app, "a", one, 2));
    pag_serve_ended(app, "a", one, true);
    assert_true(pag_serve_begins(app, "a", two, 2));
    assert_true(pag_serve_begins(app, "b", one, 2));
    pag_serve_forget(app, "a");
    assert_int_equal(pag_serve_total(app, "a", one, 0), 0);
    assert_int_equal(pag_serve_total(app, "a", two, 0), 1);
    assert_int_equal(pag_serve_total(app, "b", one, 0), 3);
}

static void what_stays_open_is_not_forgotten(void **state)
{
    struct fixture *f = *state;
    assert_true(pag_serve_begins(f->app, "a", one, 0));
    fixture_pass(f, 100 * PAG_SERVE_LINGER_MS);
    assert_int_equal(pag_serve_total(f->app, "a", one, 0), 1);
}

static void a_full_table_refuses_and_harms_nobody(void **state)
{
    struct pag_app *app = ((struct fixture *)*state)->app;
    char device[16];
    unsigned followed = 0;
    for (unsigned i = 0; i < 8 * PAG_SERVE_SLOTS; i++) {
        (void)snprintf(device, sizeof device, "d%u", i);
        followed += pag_serve_begins(app, device, one, 0);
        assert_true(pag_serve_total(app, device, one, 0) <= 1);
    }
    assert_true(followed <= PAG_SERVE_SLOTS && followed > PAG_SERVE_SLOTS / 2);
    pag_serve_ended(app, "stranger", one, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_on_its_way_counts_at_once, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(what_was_given_up_does_not_count, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_written_one_counts_once_for_old_and_new_readers, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(after_a_moment_the_row_alone_decides, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(what_is_forgotten_counts_no_more_but_what_is_on_its_way,
                                        fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(what_stays_open_is_not_forgotten, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_full_table_refuses_and_harms_nobody, fixture_set_up,
                                        fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
