/* A device gets out of what it is held in: unreadable flash, a server that gives a byte now and then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "agent/inner.h"
#include "agent/twin_store.h"
#include "tests/support/agent_fake.h"

enum { OLD_N = 9000, NEW_N = 80001 };
static uint8_t old_image[OLD_N];
static uint8_t new_image[NEW_N];
static uint32_t last_byte_ms;
static enum pag_area bad_area;
static unsigned wrong_reads;

static int device(void **state)
{
    struct fake *f = fake_new(13);
    fake_image(old_image, OLD_N, 1);
    fake_image(new_image, NEW_N, 2);
    fake_factory(f, old_image, OLD_N);
    last_byte_ms = 0;
    wrong_reads = 0;
    *state = f;
    return 0;
}

static void enrolling(struct fake *f)
{
    f->set.certificate = (struct pag_span){ 0 };
    f->set.key = (struct pag_span){ 0 };
    memcpy(f->set.mac, "84f3eb000003", sizeof "84f3eb000003");
    memcpy(f->set.claim, "ABCD-EFGH", sizeof "ABCD-EFGH");
}

static void onto_trial(struct fake *f)
{
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_true(fake_boot(f));
    fake_run(f, 300);
    assert_true(f->rebooted);
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 1);
}

static enum pag_err unreadable(void *ctx, enum pag_area area, uint32_t off, uint8_t *out, uint32_t n)
{
    return area == bad_area ? PAG_E_IO : fake_read(ctx, area, off, out, n);
}

static void a_trial_that_cannot_read_its_flash_ends(void **state)
{
    struct fake *f = *state;
    static const enum pag_area areas[] = { PAG_AREA_CONFIG, PAG_AREA_JOURNAL };
    for (size_t i = 0; i < 2; i++) {
        f->port.flash.read = fake_read;
        memset(f->area[PAG_AREA_JOURNAL], 0xFF, 2 * FAKE_SECTOR);
        onto_trial(f);
        bad_area = areas[i];
        f->port.flash.read = unreadable;
        fake_run(f, f->set.trial_s + 60);
        assert_true(f->rebooted);
    }
}

static void a_trial_that_does_not_find_its_identity_ends(void **state)
{
    struct fake *f = *state;
    enrolling(f);
    onto_trial(f);
    memset(f->area[PAG_AREA_CONFIG], 0xFF, 2 * FAKE_SECTOR);
    fake_run(f, f->set.trial_s + 60);
    assert_true(f->rebooted);
    f->now_ms += 10;
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 0);
}

static enum pag_err dribble(void *ctx, struct pag_conn *c, uint8_t *out, size_t *n)
{
    struct fake *f = ctx;
    if (f->rx_at > 60) {
        if (f->now_ms - last_byte_ms < 19000) {
            return PAG_E_AGAIN;
        }
        *n = 1;
    }
    enum pag_err err = fake_net_read(ctx, c, out, n);
    last_byte_ms = err == PAG_OK ? f->now_ms : last_byte_ms;
    return err;
}

static void dribbling(struct fake *f)
{
    static char raw[3000];
    int n = snprintf(raw, sizeof raw, "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n");
    memset(raw + n, 'a', 2000);
    f->srv.raw = raw;
    f->port.net.read = dribble;
}

static void a_trial_on_a_server_that_dribbles_ends(void **state)
{
    struct fake *f = *state;
    onto_trial(f);
    dribbling(f);
    fake_run(f, f->set.trial_s + 60);
    assert_true(f->rebooted);
    f->now_ms += 10;
    assert_true(fake_boot(f));
    assert_int_equal(f->slot, 0);
}

static void an_answer_that_dribbles_has_an_end(void **state)
{
    struct fake *f = *state;
    dribbling(f);
    assert_true(fake_boot(f));
    fake_run(f, 5 * f->set.io_timeout_s);
    assert_int_equal(fake_status(f).last_error, PAG_E_TIMEOUT);
}

static void a_broker_name_too_long_costs_no_claim(void **state)
{
    struct fake *f = *state;
    enrolling(f);
    f->srv.broker = "a-broker-in-a-very-long-domain.with-many-labels.in-a-cluster.somewhere.example.com";
    assert_true(fake_boot(f));
    fake_run(f, 100);
    assert_true(fake_status(f).enrolled);
    assert_true(fake_boot(f));
    fake_run(f, 100);
    assert_true(fake_status(f).enrolled);
    assert_int_equal(f->srv.enrolled, 1);
    assert_int_equal(f->keys_made, 1);
}

static void no_key_is_made_over_a_record_that_is_not_understood(void **state)
{
    struct fake *f = *state;
    static const uint8_t other[] = { 0x61, 'x' };
    struct pag_twin t;
    uint8_t room[64];
    struct pag_buf chunk = { room, 0, sizeof room };
    enrolling(f);
    assert_int_equal(pag_twin_open(&t, &f->port, PAG_AREA_CONFIG, chunk), PAG_OK);
    assert_int_equal(pag_twin_write(&t, pag_span_of(other, sizeof other), chunk), PAG_OK);
    static uint8_t before[2 * FAKE_SECTOR];
    memcpy(before, f->area[PAG_AREA_CONFIG], sizeof before);
    assert_true(fake_boot(f));
    fake_run(f, 100);
    assert_int_equal(f->keys_made, 0);
    assert_int_equal(f->srv.enrolled, 0);
    assert_memory_equal(f->area[PAG_AREA_CONFIG], before, sizeof before);
}

/* One bit once, in the wrong_reads-th read of the identity's content. */
static enum pag_err misread(void *ctx, enum pag_area area, uint32_t off, uint8_t *out, uint32_t n)
{
    enum pag_err err = fake_read(ctx, area, off, out, n);
    if (area == PAG_AREA_CONFIG && n > 16 && wrong_reads > 0 && --wrong_reads == 0) {
        out[3] ^= 1;
    }
    return err;
}

static void one_wrong_read_costs_no_identity(void **state)
{
    struct fake *f = *state;
    enrolling(f);
    assert_true(fake_boot(f));
    fake_run(f, 100);
    f->port.flash.read = misread;
    for (unsigned i = 1; i < 5; i++) {
        wrong_reads = i;
        assert_true(fake_boot(f));
        fake_run(f, 20);
        assert_true(fake_status(f).enrolled);
    }
    assert_int_equal(f->srv.enrolled, 1);
}

static void a_device_that_cannot_enrol_reboots_when_lonely(void **state)
{
    struct fake *f = *state;
    enrolling(f);
    f->srv.status = 410;
    assert_true(fake_boot(f));
    fake_run(f, 86400 + 60);
    assert_true(f->rebooted);
}

static void a_busy_server_does_not_make_a_good_image_go_back(void **state)
{
    struct fake *f = *state;
    onto_trial(f);
    f->srv.status = 503;
    f->srv.retry_after_s = 900;
    f->srv.status_times = 3;
    fake_run(f, 300);
    assert_false(f->rebooted);
    assert_false(fake_status(f).on_trial);
    assert_int_equal(f->slot, 1);
}

static void cancel(struct fake *f, uint32_t action_id)
{
    struct pag_native_command c = { .kind = PAG_COMMAND_CANCEL, .id = action_id };
    uint8_t arg[10];
    struct pag_buf text = { arg, 0, sizeof arg };
    struct pag_buf b = { f->srv.commands, 0, sizeof f->srv.commands };
    assert_int_equal(pag_buf_put_dec(&text, action_id), PAG_OK);
    c.arg = pag_buf_span(&text);
    assert_int_equal(pag_native_command_put(&b, &c), PAG_OK);
    f->srv.commands_n = b.n;
    struct pag_native_command got;
    assert_int_equal(pag_native_command_get(pag_span_of(b.p, b.n), &got), PAG_OK);
    f->srv.commands_n = 0;
    pag_in_command((struct pag_inner *)f->agent.opaque, &got);
}

static void step_to(struct fake *f, enum pag_agent_state s)
{
    for (int i = 0; i < 100000 && fake_status(f).state != s; i++) {
        f->now_ms += pag_agent_step(&f->agent);
    }
    assert_int_equal(fake_status(f).state, s);
}

static void a_cancel_of_what_was_refused_does_not_hit_the_next(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 1, NULL); /* too old: refused */
    f->srv.action_id = 70;
    assert_true(fake_boot(f));
    step_to(f, PAG_AGENT_REPORT);
    cancel(f, 70);
    assert_int_equal(((struct pag_inner *)f->agent.opaque)->result.code, PAG_E_NOT_FOUND);
    fake_run(f, 10);
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.states = 0;
    fake_run(f, 300);
    assert_true(f->rebooted);
    assert_int_equal(f->srv.states >> PAG_REPORT_CANCELLED & 1U, 0);
}

static void a_cancel_stops_its_own_download(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_true(fake_boot(f));
    step_to(f, PAG_AGENT_FETCH);
    cancel(f, 77);
    f->srv.offering = false;
    fake_run(f, 300);
    assert_false(f->rebooted);
    assert_int_equal(f->srv.states >> PAG_REPORT_CANCELLED & 1U, 1);
}

static void a_word_of_the_far_future_does_not_lock_out(void **state)
{
    struct fake *f = *state;
    f->set.build_time = 1750000000;
    assert_true(fake_boot(f));
    fake_run(f, 5);
    struct pag_inner *a = (struct pag_inner *)f->agent.opaque;
    pag_in_raise_floor(a, UINT64_MAX);
    assert_in_range(pag_in_floor(a), 1750000000, 2400000000U);
    uint64_t max_s = pag_in_floor(a);
    f->now_ms += 1000000;
    (void)pag_agent_step(&f->agent);
    assert_int_equal(pag_in_floor(a), max_s);
}

static void a_frozen_device_without_a_clock_becomes_stale_over_resets(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 1, NULL); /* refused, but brings the trust set */
    f->srv.token = true;
    f->unix_s = 0;
    assert_true(fake_boot(f));
    fake_run(f, 600);
    assert_false(fake_status(f).stale);
    f->down = true;
    for (int day = 0; day < 20; day++) {
        fake_run(f, 90000);
        assert_true(f->rebooted);
        f->now_ms += 10;
        assert_true(fake_boot(f));
    }
    fake_run(f, 10);
    assert_true(fake_status(f).stale);
}

static void offers_whose_bytes_never_come_cost_no_flash(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.status = 404;
    f->srv.status_on = "GET /v1/blob/";
    assert_true(fake_boot(f));
    fake_run(f, 30);
    uint64_t before = f->ops;
    for (uint32_t i = 0; i < 20; i++) {
        fake_release(f, new_image, NEW_N - i % 2, 3 - i % 2, NULL);
        fake_run(f, 60);
    }
    assert_in_range(f->ops - before, 0, 2); /* numbers of reports: a cell of the journal for fifteen */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_trial_that_cannot_read_its_flash_ends, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_trial_that_does_not_find_its_identity_ends, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_trial_on_a_server_that_dribbles_ends, device, fake_gone),
        cmocka_unit_test_setup_teardown(an_answer_that_dribbles_has_an_end, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_broker_name_too_long_costs_no_claim, device, fake_gone),
        cmocka_unit_test_setup_teardown(no_key_is_made_over_a_record_that_is_not_understood, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(one_wrong_read_costs_no_identity, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_device_that_cannot_enrol_reboots_when_lonely, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_busy_server_does_not_make_a_good_image_go_back, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_cancel_of_what_was_refused_does_not_hit_the_next, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(a_cancel_stops_its_own_download, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_word_of_the_far_future_does_not_lock_out, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_frozen_device_without_a_clock_becomes_stale_over_resets, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(offers_whose_bytes_never_come_cost_no_flash, device, fake_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
