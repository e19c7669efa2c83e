#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/agent_fake.h"

enum { OLD_N = 9000, NEW_N = 150001 };
static uint8_t old_image[OLD_N];
static uint8_t new_image[NEW_N + 1];

static int device(void **state)
{
    struct fake *f = fake_new(7);
    fake_image(old_image, OLD_N, 1);
    fake_image(new_image, NEW_N, 2);
    fake_factory(f, old_image, OLD_N);
    *state = f;
    return 0;
}

static void a_plain_boot_writes_nothing(void **state)
{
    struct fake *f = *state;
    assert_true(fake_boot(f));
    fake_run(f, 5);
    assert_true(fake_boot(f));
    uint64_t before = f->ops;
    fake_run(f, 5);
    assert_true(fake_boot(f));
    fake_run(f, 5);
    assert_int_equal(f->ops, before);
}

static void a_signed_update_is_fetched_tried_and_confirmed(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_int_equal(fake_live(f, 400), 2);
    assert_int_equal(f->slot, 1);
    assert_memory_equal(f->area[PAG_AREA_SLOT_B], new_image, NEW_N);
    assert_false(fake_status(f).on_trial);
    assert_int_equal(fake_status(f).sequence, 2);
    assert_true(fake_said(f, PAG_REPORT_DOWNLOADING));
    assert_true(fake_said(f, PAG_REPORT_DOWNLOADED));
    assert_true(fake_said(f, PAG_REPORT_INSTALLING));
    assert_true(fake_said(f, PAG_REPORT_REBOOTING));
    assert_true(fake_said(f, PAG_REPORT_CONFIRMED));
    assert_false(fake_said(f, PAG_REPORT_REVERTED));
    assert_int_equal(f->srv.last.action_id, 77);
    assert_false(f->srv.seq_sank); /* the server drops what it thinks it has seen */
}

static void no_health_before_the_deadline_goes_back_and_is_not_tried_again(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->health = PAG_HEALTH_UNKNOWN;
    assert_in_range(fake_live(f, 3600), 3, 4);
    assert_int_equal(f->slot, 0);
    assert_true(fake_said(f, PAG_REPORT_REVERTED));
    assert_true(fake_said(f, PAG_REPORT_REJECTED)); /* the same release offered again */
    assert_false(fake_said(f, PAG_REPORT_CONFIRMED));
    assert_int_equal(fake_status(f).sequence, 1);
}

static void a_failed_self_test_goes_back_at_once(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->health = PAG_HEALTH_FAIL;
    assert_int_equal(fake_live(f, 300), 3);
    assert_int_equal(f->slot, 0);
    assert_true(fake_said(f, PAG_REPORT_REVERTED));
}

static void three_tries_that_die_go_back(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_true(fake_boot(f));
    fake_run(f, 300);
    assert_true(f->rebooted);
    for (int i = 0; i < 3; i++) { /* the image crashes before its agent starts */
        assert_true(fake_boot(f));
        assert_int_equal(f->slot, 1);
    }
    assert_int_equal(fake_live(f, 100), 1);
    assert_int_equal(f->slot, 0);
    assert_true(fake_said(f, PAG_REPORT_REVERTED));
}

static void wrong_chip(struct pag_manifest *m)
{
    m->chip = PAG_CHIP_ESP32;
}

static void wrong_product(struct pag_manifest *m)
{
    m->product[0] ^= 1;
}

static void lower_sequence(struct pag_manifest *m)
{
    m->sequence = 1;
}

static void what_does_not_fit_is_rejected_before_a_byte_is_asked_for(void **state)
{
    struct fake *f = *state;
    void (*const changes[])(struct pag_manifest *) = { wrong_chip, wrong_product, lower_sequence };
    static const enum pag_err codes[] = { PAG_E_HARDWARE, PAG_E_PRODUCT, PAG_E_ROLLBACK };
    for (size_t i = 0; i < 3; i++) {
        fake_release(f, new_image, NEW_N, 2, changes[i]);
        assert_int_equal(fake_live(f, 30), 1);
        assert_int_equal(f->srv.last_code, codes[i]);
        assert_true(fake_said(f, PAG_REPORT_REJECTED));
    }
    assert_int_equal(f->srv.blobs, 0);
}

static void every_flipped_bit_of_a_manifest_is_refused(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    for (size_t i = 0; i < f->srv.manifest_n * 8; i += 7) {
        f->srv.manifest[i / 8] ^= (uint8_t)(1U << (i % 8));
        assert_int_equal(fake_live(f, 3), 1);
        f->srv.manifest[i / 8] ^= (uint8_t)(1U << (i % 8));
    }
    assert_int_equal(f->srv.blobs, 0);
}

static void a_cut_connection_is_resumed_where_it_was(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.cut_after = 30000;
    assert_int_equal(fake_live(f, 1000), 2);
    assert_true(fake_said(f, PAG_REPORT_CONFIRMED));
    assert_memory_equal(f->area[PAG_AREA_SLOT_B], new_image, NEW_N);
    assert_true(f->srv.blobs >= 5);
}

static void a_wrong_byte_is_found_in_flash_and_given_up_after_three_downloads(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.flip_at = 70000;
    assert_int_equal(fake_live(f, 3000), 1);
    assert_true(fake_said(f, PAG_REPORT_FAILED));
    assert_false(fake_said(f, PAG_REPORT_REBOOTING));
    assert_int_equal(f->srv.blobs, 9); /* three pieces, three times, and never again */
    assert_int_equal(f->slot, 0);
}

static void more_bytes_than_were_signed_are_not_read(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.too_long = true;
    assert_int_equal(fake_live(f, 300), 1);
    assert_int_equal(fake_status(f).figures.fetched_bytes, 0);
}

static void a_redirect_is_refused(void **state)
{
    struct fake *f = *state;
    f->srv.status = 302;
    assert_int_equal(fake_live(f, 20), 1);
    assert_string_equal(fake_status(f).last_what, "redirect_refused");
    assert_int_equal(fake_status(f).last_error, PAG_E_DENIED);
}

static void checks_back_off_while_the_server_is_away(void **state)
{
    struct fake *f = *state;
    f->down = true;
    f->set.lonely_reboot_s = 0;
    assert_true(fake_boot(f));
    fake_run(f, 86400);
    assert_in_range(fake_status(f).figures.checks, 5, 20); /* 1 min doubling to a day */
}

static void a_lonely_device_reboots(void **state)
{
    struct fake *f = *state;
    f->down = true;
    assert_true(fake_boot(f));
    fake_run(f, 2 * 86400);
    assert_true(f->rebooted);
}

static void a_token_sets_the_clock_floor_and_no_token_makes_stale(void **state)
{
    struct fake *f = *state;
    f->srv.token = true;
    assert_true(fake_boot(f));
    fake_run(f, 200);
    assert_true(fake_status(f).has_trust || fake_status(f).now_unix_s == 0);
    f->set.fresh_window_s = 1000;
    f->srv.token = false;
    fake_run(f, 2000);
    assert_true(fake_status(f).stale);
}

static void a_rotated_key_is_learnt_through_the_chain_before_the_offer_is_judged(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.offering = false;
    assert_int_equal(fake_live(f, 100), 1);
    assert_false(fake_status(f).has_trust); /* nothing was to be judged */
    fake_rotate(f);
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_int_equal(fake_live(f, 400), 2);
    assert_int_equal(fake_status(f).trust_version, 2);
    assert_true(fake_said(f, PAG_REPORT_CONFIRMED));
}

static void a_set_that_the_pin_does_not_name_is_refused(void **state)
{
    struct fake *f = *state;
    f->set.trust_pin[5] ^= 1;
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_int_equal(fake_live(f, 300), 1);
    assert_false(fake_status(f).has_trust);
    assert_int_equal(f->srv.blobs, 0);
}

static void a_forged_next_set_is_refused_and_the_old_one_stays(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.manifest[40] ^= 1; /* refused, but the first set is learnt */
    assert_int_equal(fake_live(f, 30), 1);
    assert_int_equal(fake_status(f).trust_version, 1);
    fake_rotate(f);
    f->srv.next[f->srv.next_n - 1] ^= 1;
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_int_equal(fake_live(f, 300), 1);
    assert_int_equal(fake_status(f).trust_version, 1);
    assert_int_equal(f->srv.blobs, 0);
}

static void command_config(struct fake *f, uint8_t kind, uint32_t id)
{
    struct pag_native_command c = { .kind = kind, .id = id };
    struct pag_buf b = { f->srv.commands, 0, sizeof f->srv.commands };
    assert_int_equal(pag_native_command_put(&b, &c), PAG_OK);
    f->srv.commands_n = b.n;
}

static void a_command_in_an_answer_is_done_once_and_its_result_sent(void **state)
{
    struct fake *f = *state;
    command_config(f, PAG_COMMAND_REBOOT, 5);
    assert_true(fake_boot(f));
    fake_run(f, 100);
    assert_true(f->rebooted);
    assert_int_equal(fake_status(f).figures.commands, 1);
    assert_int_equal(f->srv.report_n, 1);
}

static void newly_signed(struct pag_manifest *m)
{
    m->issued_at++;
}

static void numbers_of_reports_rise_over_resets_and_a_revert(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.cut_after = 20000; /* resets in the middle of a piece, between two records of the journal */
    for (int i = 0; i < 4; i++) {
        assert_true(fake_boot(f));
        fake_run(f, 2);
        assert_false(f->srv.seq_sank);
    }
    f->srv.cut_after = 0;
    f->health = PAG_HEALTH_FAIL;
    assert_int_not_equal(fake_live(f, 1000), 1000);
    assert_true(fake_said(f, PAG_REPORT_REVERTED));
    assert_true(fake_said(f, PAG_REPORT_REJECTED));
    assert_false(f->srv.seq_sank);
    fake_release(f, new_image, NEW_N, 3, newly_signed); /* the same bytes, newly signed */
    f->health = PAG_HEALTH_PASS;
    assert_int_not_equal(fake_live(f, 300), 1000);
    assert_true(fake_said(f, PAG_REPORT_CONFIRMED));
    assert_false(f->srv.seq_sank);
}

static void the_sixteenth_report_on_one_record_has_a_new_number(void **state)
{
    struct fake *f = *state;
    fake_release(f, new_image, NEW_N, 2, wrong_chip);
    assert_int_equal(fake_live(f, 60 * 40), 1);
    assert_true(f->srv.report_n > 30);
    assert_false(f->srv.seq_sank);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_of_reports_rise_over_resets_and_a_revert, device, fake_gone),
        cmocka_unit_test_setup_teardown(the_sixteenth_report_on_one_record_has_a_new_number, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(a_plain_boot_writes_nothing, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_signed_update_is_fetched_tried_and_confirmed, device, fake_gone),
        cmocka_unit_test_setup_teardown(no_health_before_the_deadline_goes_back_and_is_not_tried_again,
                                        device, fake_gone),
        cmocka_unit_test_setup_teardown(a_failed_self_test_goes_back_at_once, device, fake_gone),
        cmocka_unit_test_setup_teardown(three_tries_that_die_go_back, device, fake_gone),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_rejected_before_a_byte_is_asked_for, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(every_flipped_bit_of_a_manifest_is_refused, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_cut_connection_is_resumed_where_it_was, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_wrong_byte_is_found_in_flash_and_given_up_after_three_downloads,
                                        device, fake_gone),
        cmocka_unit_test_setup_teardown(more_bytes_than_were_signed_are_not_read, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_redirect_is_refused, device, fake_gone),
        cmocka_unit_test_setup_teardown(checks_back_off_while_the_server_is_away, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_lonely_device_reboots, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_token_sets_the_clock_floor_and_no_token_makes_stale, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(a_rotated_key_is_learnt_through_the_chain_before_the_offer_is_judged,
                                        device, fake_gone),
        cmocka_unit_test_setup_teardown(a_set_that_the_pin_does_not_name_is_refused, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_forged_next_set_is_refused_and_the_old_one_stays, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(a_command_in_an_answer_is_done_once_and_its_result_sent, device,
                                        fake_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
