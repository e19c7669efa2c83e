/* What a device does on each status: docs/spec/native.md 2, row by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/agent_fake.h"

enum { OLD_N = 9000, NEW_N = 150001 };
static uint8_t old_image[OLD_N];
static uint8_t new_image[NEW_N];

static int device(void **state)
{
    struct fake *f = fake_new(11);
    fake_image(old_image, OLD_N, 1);
    fake_image(new_image, NEW_N, 2);
    fake_factory(f, old_image, OLD_N);
    fake_release(f, new_image, NEW_N, 2, NULL);
    *state = f;
    return 0;
}

static int gone(void **state)
{
    fake_free(*state);
    return 0;
}

static struct pag_agent_figures figures(const struct fake *f)
{
    struct pag_agent_status s;
    pag_agent_status(&f->agent, &s);
    return s.figures;
}

static bool said(const struct fake *f, enum pag_report_state s)
{
    return (f->srv.states >> s & 1U) != 0;
}

/* Runs with status on requests that begin with on, times of them (0: all). */
static void run(struct fake *f, uint16_t status, const char *on, uint32_t times, uint32_t seconds)
{
    f->srv.status = status;
    f->srv.status_on = on;
    f->srv.status_times = times;
    assert_true(fake_boot(f));
    fake_run(f, seconds);
}

static void blob_400_or_413_gives_the_action_up_and_reports(void **state)
{
    struct fake *f = *state;
    static const uint16_t both[] = { 400, 413 };
    static const enum pag_err code[] = { PAG_E_SYNTAX, PAG_E_LIMIT };
    for (size_t i = 0; i < 2; i++) {
        f->srv.states = 0;
        f->srv.bad_answers = 0;
        run(f, both[i], "GET /v1/blob/", 0, 50);
        assert_true(said(f, PAG_REPORT_FAILED));
        assert_int_equal(f->srv.last_code, code[i]);
        fake_run(f, 400);
        assert_int_equal(f->srv.bad_answers, 1); /* the same bytes again help nobody */
    }
}

static void check_400_backs_off(void **state)
{
    struct fake *f = *state;
    f->set.lonely_reboot_s = 0;
    run(f, 400, NULL, 0, 86400);
    assert_in_range(figures(f).checks, 5, 20);
}

static void check_401_and_403_back_off_and_the_device_keeps_running(void **state)
{
    struct fake *f = *state;
    static const uint16_t both[] = { 401, 403 };
    f->set.lonely_reboot_s = 0;
    for (size_t i = 0; i < 2; i++) {
        run(f, both[i], NULL, 0, 86400);
        assert_in_range(figures(f).checks, 5, 20);
        assert_false(f->rebooted);
    }
}

static void blob_404_and_410_drop_the_offer_until_the_next_interval(void **state)
{
    struct fake *f = *state;
    static const uint16_t both[] = { 404, 410 };
    for (size_t i = 0; i < 2; i++) {
        f->srv.states = 0;
        f->srv.bad_answers = 0;
        run(f, both[i], "GET /v1/blob/", 1, 40); /* the next interval is a minute */
        assert_int_equal(f->srv.bad_answers, 1);
        assert_int_equal(figures(f).checks, 2); /* with the trust set's round */
        assert_false(said(f, PAG_REPORT_FAILED));
        if (i == 1) {
            fake_run(f, 100); /* offered again: taken again */
            assert_true(f->rebooted);
        } else {
            memset(f->area[PAG_AREA_TRUST], 0xFF, 2 * FAKE_SECTOR); /* begin the second round alike */
        }
    }
}

static void blob_409_drops_the_offer_and_checks_at_once_but_not_in_a_circle(void **state)
{
    struct fake *f = *state;
    run(f, 409, "GET /v1/blob/", 0, 40);
    assert_int_equal(figures(f).checks, 3); /* trust set's round, first, at once; then the gap binds */
    assert_int_equal(f->srv.bad_answers, 2);
    assert_false(said(f, PAG_REPORT_FAILED));
}

static void report_409_on_the_way_stops_the_download(void **state)
{
    struct fake *f = *state;
    run(f, 409, "POST /v1/report", 0, 50);
    assert_int_equal(f->srv.blobs, 0);
    assert_false(f->rebooted);
}

static void report_400_on_the_way_does_not_stop_an_update(void **state)
{
    struct fake *f = *state;
    run(f, 400, "POST /v1/report", 0, 100);
    assert_true(f->rebooted);
}

static void trust_409_checks_at_once(void **state)
{
    struct fake *f = *state;
    run(f, 409, "GET /v1/trust", 1, 40);
    assert_int_equal(f->srv.bad_answers, 1);
    assert_true(f->rebooted); /* the second round went through */
}

static void enroll_410_stops_asking_until_a_restart(void **state)
{
    struct fake *f = *state;
    f->set.certificate = (struct pag_span){ 0 };
    f->set.key = (struct pag_span){ 0 };
    memcpy(f->set.mac, "84f3eb000003", sizeof "84f3eb000003");
    memcpy(f->set.claim, "ABCD-EFGH", sizeof "ABCD-EFGH");
    run(f, 410, "POST /v1/enroll", 0, 86400);
    assert_int_equal(f->srv.bad_answers, 1);
    run(f, 0, NULL, 0, 30);
    assert_int_equal(f->srv.enrolled, 1);
    assert_int_equal(f->keys_made, 1);
}

static void blob_416_forgets_the_offset_and_starts_anew(void **state)
{
    struct fake *f = *state;
    f->srv.cut_after = 40000;
    assert_true(fake_boot(f));
    for (int i = 0; i < 100000 && f->srv.blobs < 2; i++) { /* the second one asks for the rest */
        f->now_ms += pag_agent_step(&f->agent);
    }
    f->srv.cut_after = 0;
    f->srv.status = 416;
    f->srv.status_on = "GET /v1/blob/";
    f->srv.status_times = 1;
    uint32_t before = figures(f).fetched_bytes;
    fake_run(f, 300);
    assert_true(f->rebooted);
    assert_int_equal(f->srv.bad_answers, 1);
    assert_true(figures(f).fetched_bytes - before >= NEW_N);
    assert_memory_equal(f->area[PAG_AREA_SLOT_B], new_image, NEW_N);
}

static void check_429_and_503_wait_as_long_as_the_server_says(void **state)
{
    struct fake *f = *state;
    static const uint16_t both[] = { 429, 503 };
    f->srv.retry_after_s = 7200;
    for (size_t i = 0; i < 2; i++) {
        run(f, both[i], "POST /v1/check", 0, 7100);
        assert_int_equal(figures(f).checks, 1);
        fake_run(f, 200);
        assert_int_equal(figures(f).checks, 2);
    }
}

static void a_blob_that_is_503_for_long_is_put_off(void **state)
{
    struct fake *f = *state;
    f->srv.retry_after_s = 600;
    run(f, 503, "GET /v1/blob/", 1, 590);
    assert_int_equal(f->srv.bad_answers, 1);
    assert_int_equal(f->srv.blobs, 0);
    fake_run(f, 300);
    assert_true(f->rebooted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blob_400_or_413_gives_the_action_up_and_reports, device, gone),
        cmocka_unit_test_setup_teardown(check_400_backs_off, device, gone),
        cmocka_unit_test_setup_teardown(check_401_and_403_back_off_and_the_device_keeps_running, device,
                                        gone),
        cmocka_unit_test_setup_teardown(blob_404_and_410_drop_the_offer_until_the_next_interval, device,
                                        gone),
        cmocka_unit_test_setup_teardown(blob_409_drops_the_offer_and_checks_at_once_but_not_in_a_circle,
                                        device, gone),
        cmocka_unit_test_setup_teardown(report_409_on_the_way_stops_the_download, device, gone),
        cmocka_unit_test_setup_teardown(report_400_on_the_way_does_not_stop_an_update, device, gone),
        cmocka_unit_test_setup_teardown(trust_409_checks_at_once, device, gone),
        cmocka_unit_test_setup_teardown(enroll_410_stops_asking_until_a_restart, device, gone),
        cmocka_unit_test_setup_teardown(blob_416_forgets_the_offset_and_starts_anew, device, gone),
        cmocka_unit_test_setup_teardown(check_429_and_503_wait_as_long_as_the_server_says, device, gone),
        cmocka_unit_test_setup_teardown(a_blob_that_is_503_for_long_is_put_off, device, gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
