/* An ESP8266httpUpdate device asks; docs/spec/httpupdate.md, traps 7 to 13 and 23 of its users. */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): nftw */
#include "tests/support/app_fixture.h"

static const char mac[] = "aabbccddeeff";

static struct pag_check_in ask(const char *version, const uint8_t *md5)
{
    struct pag_check_in in = { .protocol = PAG_PROTOCOL_HTTP_UPDATE,
                               .proof = PAG_PROOF_SAID,
                               .mode = PAG_CHECK_FIRMWARE,
                               .device = mac,
                               .product = "meter",
                               .mac = mac };
    if (md5 != NULL) {
        in.facts.running_md5.source = PAG_SAID;
        memcpy(in.facts.running_md5.value, md5, 16);
    }
    in.facts.version.source = PAG_SAID;
    (void)snprintf(in.facts.version.value, sizeof in.facts.version.value, "%s", version);
    in.facts.slot_bytes = (struct pag_fact_u32){ PAG_SAID, 1 << 20 };
    in.facts.flash_bytes = (struct pag_fact_u32){ PAG_SAID, 4 << 20 };
    return in;
}

static enum pag_err check(struct fixture *f, const struct pag_check_in *in, struct pag_check_reply *out)
{
    pag_app_check_in(fixture_call(f), in, out);
    return fixture_wait(f);
}

static struct pag_device device(struct fixture *f)
{
    struct pag_device_row row;
    assert_int_equal(pag_app_device(fixture_call(f), mac, &row), PAG_OK);
    return row.device;
}

static enum pag_err nothing(struct pag_store_tx *tx, struct pag_intent *intent)
{
    (void)tx;
    (void)intent;
    return PAG_OK;
}

/* Returns when the transfer is in the store: the queue is first in, first out. */
static void transfer_of(struct fixture *f, uint32_t action, const uint8_t sha256[32], bool complete)
{
    struct pag_intent intent = { .apply = nothing };
    struct pag_transfer t = { .device = mac, .action_id = action, .version = "", .complete = complete };
    memcpy(t.sha256, sha256, sizeof t.sha256);
    pag_app_transfer(f->thread, &t);
    assert_int_equal(pag_store_apply(f->store, &intent), PAG_OK);
}

/* Of the bytes that the action wants. */
static void transfer(struct fixture *f, uint32_t action, bool complete)
{
    struct pag_device_row row;
    assert_int_equal(pag_app_device(fixture_call(f), mac, &row), PAG_OK);
    assert_int_equal(row.action.id, action);
    transfer_of(f, action, row.action.target, complete);
}

static void unknown_md5_is_offered_the_newest_release(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("0.9", (const uint8_t[16]){ 7 });
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    assert_string_equal(reply.version, "1.0.0");
    assert_memory_equal(reply.sha256, v1.sha256, 32);
    assert_memory_equal(reply.md5, v1.md5, 16);
    assert_true(reply.action_id > 0 && reply.action_id <= 0x7FFFFFFF);
    assert_int_equal(device(f).state, PAG_DEVICE_UPDATE_OFFERED);
}

static void poll_of_the_newest_image_writes_nothing(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("1.0.0", v1.md5);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    uint64_t before = pag_store_stats_get(f->store).intents;
    fixture_pass(f, 1000);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_NONE);
    assert_int_equal(reply.reason, PAG_PLAN_UP_TO_DATE);
    assert_int_equal(pag_store_stats_get(f->store).intents, before);
    assert_int_equal(device(f).state, PAG_DEVICE_UP_TO_DATE);
}

static void md5_of_a_rewritten_header_is_the_same_release(void **state)
{
    struct fixture *f = *state;
    static uint8_t file[FIXTURE_IMAGE_MAX];
    uint8_t md5[16];
    struct pag_release_image v1;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    size_t n = fixture_image(file, 4, 1);
    file[2] = 3;
    file[3] = 0x2F;
    pag_store_md5(pag_span_of(file, n), md5);
    struct pag_check_in in = ask("whatever", md5);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.reason, PAG_PLAN_UP_TO_DATE);
}

static void update_is_confirmed_by_a_later_request_only(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_release_image v2;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    fixture_release(f, "2.0.0", 2, &v2);
    struct pag_check_in in = ask("1.0.0", v1.md5);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    transfer(f, reply.action_id, true);
    assert_int_equal(device(f).state, PAG_DEVICE_UPDATING);
    in = ask("2.0.0", v2.md5);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    struct pag_device_row row;
    assert_int_equal(pag_app_device(fixture_call(f), mac, &row), PAG_OK);
    assert_int_equal(row.action.state, PAG_REPORT_CONFIRMED);
    assert_int_equal(row.device.state, PAG_DEVICE_UP_TO_DATE);
}

static void third_return_on_the_old_image_blocks_the_device_until_retry(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_release_image v2;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    fixture_release(f, "2.0.0", 2, &v2);
    struct pag_check_in in = ask("1", v1.md5);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(check(f, &in, &reply), PAG_OK);
        assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
        transfer(f, reply.action_id, true);
    }
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_NONE);
    struct pag_device d = device(f);
    assert_int_equal(d.state, PAG_DEVICE_BLOCKED);
    assert_non_null(strstr(d.why, "not offered again until retry"));
    pag_app_device_retry(fixture_call(f), mac);
    assert_int_equal(fixture_wait(f), PAG_OK);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
}

static void only_whole_downloads_count_as_serves(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("0", NULL);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(check(f, &in, &reply), PAG_OK);
        assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
        if (i % 2 == 0) { /* else it got nothing at all */
            transfer(f, reply.action_id, false);
        }
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(check(f, &in, &reply), PAG_OK);
        assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
        transfer(f, reply.action_id, true);
    }
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_NONE);
    assert_int_equal(device(f).state, PAG_DEVICE_BLOCKED);
}

static void image_above_free_space_or_flash_is_not_offered(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("0", NULL);
    in.facts.slot_bytes.value = (uint32_t)(v1.bytes + 4095) / 4096 * 4096 - 1;
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.reason, PAG_PLAN_FREE_SPACE);
    in = ask("0", NULL);
    in.facts.flash_bytes.value = 1 << 20;
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.reason, PAG_PLAN_FLASH_SIZE);
    assert_int_equal(device(f).state, PAG_DEVICE_BLOCKED);
}

static void file_system_request_never_gets_a_sketch(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("0", NULL);
    in.mode = PAG_CHECK_FILESYSTEM;
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_NO_IMAGE);
}

/* A release with a sketch and a file system. */
static void release_of_both(struct fixture *f, const char *version, uint8_t fill,
                            struct pag_release_image *sketch, struct pag_release_image *fs)
{
    static uint8_t file[FIXTURE_IMAGE_MAX];
    char id[PAG_ID_TEXT];
    fixture_draft(f, version, id);
    size_t n = fixture_image(file, 4, fill);
    assert_int_equal(fixture_upload(f, id, "firmware", pag_span_of(file, n), sketch), PAG_OK);
    memset(file, fill, sizeof file);
    assert_int_equal(fixture_upload(f, id, "filesystem", pag_span_of(file, 4096), fs), PAG_OK);
    assert_int_equal(fixture_publish(f, id), PAG_OK);
}

static struct pag_check_in ask_fs(const char *version, const uint8_t *md5)
{
    struct pag_check_in in = ask(version, md5);
    in.mode = PAG_CHECK_FILESYSTEM;
    return in;
}

static void file_system_sent_whole_is_done_when_the_device_asks_again(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_release_image fs1;
    struct pag_check_reply reply;
    struct pag_device_row row;
    release_of_both(f, "1.0.0", 1, &v1, &fs1);
    struct pag_check_in sketch = ask("1.0.0", v1.md5);
    struct pag_check_in in = ask_fs("", v1.md5);
    assert_int_equal(check(f, &sketch, &reply), PAG_OK);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    assert_memory_equal(reply.sha256, fs1.sha256, 32);
    uint32_t action = reply.action_id;
    transfer(f, action, false); /* it broke: the same again */
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    assert_int_equal(reply.action_id, action);
    transfer(f, action, true);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_NONE);
    assert_int_equal(pag_app_device(fixture_call(f), mac, &row), PAG_OK);
    assert_int_equal(row.action.state, PAG_REPORT_CONFIRMED);
    assert_int_equal(row.device.state, PAG_DEVICE_UP_TO_DATE);
    assert_string_equal(row.device.facts.version.value, "1.0.0");
    for (int i = 0; i < 5; i++) { /* for ever */
        assert_int_equal(check(f, &in, &reply), PAG_OK);
        assert_int_equal(reply.reason, PAG_PLAN_UP_TO_DATE);
        assert_int_equal(check(f, &sketch, &reply), PAG_OK);
        assert_int_equal(reply.reason, PAG_PLAN_UP_TO_DATE);
    }
}

static void sketch_request_after_a_file_system_ends_it_and_gets_its_own(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_release_image v2;
    struct pag_release_image fs1;
    struct pag_release_image fs2;
    struct pag_check_reply reply;
    release_of_both(f, "1.0.0", 1, &v1, &fs1);
    release_of_both(f, "2.0.0", 2, &v2, &fs2);
    struct pag_check_in in = ask_fs("", v1.md5);
    struct pag_check_in sketch = ask("1.0.0", v1.md5);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_memory_equal(reply.sha256, fs2.sha256, 32);
    transfer(f, reply.action_id, true);
    assert_int_equal(check(f, &sketch, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    assert_memory_equal(reply.sha256, v2.sha256, 32);
    transfer(f, reply.action_id, true);
    assert_int_equal(check(f, &in, &reply), PAG_OK); /* the sketch is under way; nothing is due here */
    assert_int_equal(reply.verdict, PAG_CHECK_NONE);
    assert_int_not_equal(device(f).open_action, 0);
    sketch = ask("2.0.0", v2.md5);
    assert_int_equal(check(f, &sketch, &reply), PAG_OK);
    assert_int_equal(device(f).state, PAG_DEVICE_UP_TO_DATE);
}

static void file_system_that_breaks_on_the_way_is_offered_until_it_arrives(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_release_image v2;
    struct pag_release_image fs1;
    struct pag_release_image fs2;
    struct pag_check_reply reply;
    release_of_both(f, "1.0.0", 1, &v1, &fs1);
    release_of_both(f, "2.0.0", 2, &v2, &fs2);
    struct pag_check_in in = ask_fs("", v1.md5);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(check(f, &in, &reply), PAG_OK);
        assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
        assert_memory_equal(reply.sha256, fs2.sha256, 32);
        transfer(f, reply.action_id, false);
    }
}

static void bare_mac_is_refused_where_a_certificate_is_asked_for(void **state)
{
    struct fixture *f = *state;
    struct pag_check_reply reply;
    struct pag_product out;
    const struct pag_settings_patch patch = { .to = { .legacy_auth = PAG_LEGACY_CERTIFICATE },
                                              .set = PAG_SETTING_LEGACY_AUTH };
    pag_app_product_settings(fixture_call(f), "meter", &patch, &out);
    assert_int_equal(fixture_wait(f), PAG_OK);
    struct pag_check_in in = ask("0", NULL);
    assert_int_equal(check(f, &in, &reply), PAG_E_UNAUTHENTICATED);
}

static void withdrawn_release_is_offered_no_more(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_release_view view;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("0", NULL);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    pag_app_withdraw(fixture_call(f), &(struct pag_publish_in){ .release = v1.release }, &view);
    assert_int_equal(fixture_wait(f), PAG_OK);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_NONE);
    assert_int_equal(device(f).open_action, 0);
}

static void image_is_given_only_to_a_device_it_is_for(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    uint64_t bytes = 0;
    int fd = -1;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("0", NULL);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(pag_app_blob_open(fixture_call(f), mac, v1.sha256, &fd, &bytes), PAG_OK);
    assert_int_equal(bytes, v1.bytes);
    (void)close(fd);
    assert_int_equal(pag_app_blob_open(fixture_call(f), "stranger", v1.sha256, &fd, &bytes), PAG_E_NOT_FOUND);
    assert_int_equal(pag_app_blob_open(fixture_call(f), mac, (const uint8_t[32]){ 1 }, &fd, &bytes),
                     PAG_E_NOT_FOUND);
}

static size_t events_of(struct fixture *f, const char *type)
{
    struct pag_event *list = NULL;
    size_t n = 0;
    size_t found = 0;
    int64_t next = 0;
    assert_int_equal(pag_app_events(fixture_call(f), 0, 1000, &list, &n, &next), PAG_OK);
    for (size_t i = 0; i < n; i++) {
        found += strcmp(list[i].type, type) == 0;
    }
    return found;
}

static void strangers_beyond_the_limit_are_not_recorded_and_one_event_an_hour_says_so(void **state)
{
    enum { LIMIT = 5 };
    struct fixture *f = *state;
    struct pag_check_reply reply;
    struct pag_summary all;
    fixture_close(f);
    f->unproven_devices = LIMIT;
    fixture_open(f, NULL);
    for (int i = 0; i < LIMIT + 20; i++) {
        char other[13];
        (void)snprintf(other, sizeof other, "b0000000%04d", i);
        struct pag_check_in in = ask("1", (const uint8_t[16]){ 1 });
        in.device = other;
        in.mac = other;
        assert_int_equal(check(f, &in, &reply), i < LIMIT ? PAG_OK : PAG_E_NOT_FOUND);
    }
    assert_int_equal(pag_app_summary(fixture_call(f), &all), PAG_OK);
    assert_int_equal(all.devices, LIMIT);
    assert_int_equal(events_of(f, "product.full"), 1);
    struct pag_check_in known = ask("1", (const uint8_t[16]){ 1 });
    known.device = "b00000000000";
    known.mac = known.device;
    assert_int_equal(check(f, &known, &reply), PAG_OK);
    known.device = "c00000000000"; /* one that proves who it is has nothing to do with it */
    known.mac = known.device;
    known.proof = PAG_PROOF_TOKEN;
    assert_int_equal(check(f, &known, &reply), PAG_OK);
    fixture_pass(f, 3600000);
    known.device = "c00000000001";
    known.proof = PAG_PROOF_SAID;
    assert_int_equal(check(f, &known, &reply), PAG_E_NOT_FOUND);
    assert_int_equal(events_of(f, "product.full"), 2);
}

static void only_looking_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    struct pag_device_row row;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("0", NULL);
    in.only_look = true;
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    assert_int_equal(pag_app_device(fixture_call(f), mac, &row), PAG_E_NOT_FOUND);
}

static void other_bytes_do_not_move_an_action_on(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    struct pag_device_row row;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("0", NULL);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    transfer_of(f, reply.action_id, (const uint8_t[32]){ 1 }, true);
    assert_int_equal(pag_app_device(fixture_call(f), mac, &row), PAG_OK);
    assert_int_equal(row.action.state, PAG_REPORT_OFFERED);
    transfer(f, reply.action_id, true);
    assert_int_equal(pag_app_device(fixture_call(f), mac, &row), PAG_OK);
    assert_int_equal(row.action.state, PAG_REPORT_INSTALLING);
}

static void offered_image_is_gone_when_its_release_is_withdrawn(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    struct pag_release_view view;
    uint64_t bytes = 0;
    int fd = -1;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("0", NULL);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    pag_app_withdraw(fixture_call(f), &(struct pag_publish_in){ .release = v1.release }, &view);
    assert_int_equal(fixture_wait(f), PAG_OK);
    assert_int_equal(pag_app_blob_open(fixture_call(f), mac, v1.sha256, &fd, &bytes), PAG_E_EXPIRED);
}

static void last_seen_is_on_disk_after_a_while(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    struct pag_check_in in = ask("1.0.0", v1.md5);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    fixture_pass(f, 60000);
    assert_int_equal(check(f, &in, &reply), PAG_OK);
    int64_t wanted = (int64_t)f->now_ms;
    fixture_close(f);
    fixture_open(f, NULL);
    assert_int_equal(device(f).last_poll_ms, wanted);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unknown_md5_is_offered_the_newest_release),
        TEST(poll_of_the_newest_image_writes_nothing),
        TEST(md5_of_a_rewritten_header_is_the_same_release),
        TEST(update_is_confirmed_by_a_later_request_only),
        TEST(third_return_on_the_old_image_blocks_the_device_until_retry),
        TEST(only_whole_downloads_count_as_serves),
        TEST(image_above_free_space_or_flash_is_not_offered),
        TEST(file_system_request_never_gets_a_sketch),
        TEST(file_system_sent_whole_is_done_when_the_device_asks_again),
        TEST(sketch_request_after_a_file_system_ends_it_and_gets_its_own),
        TEST(file_system_that_breaks_on_the_way_is_offered_until_it_arrives),
        TEST(bare_mac_is_refused_where_a_certificate_is_asked_for),
        TEST(withdrawn_release_is_offered_no_more),
        TEST(image_is_given_only_to_a_device_it_is_for),
        TEST(strangers_beyond_the_limit_are_not_recorded_and_one_event_an_hour_says_so),
        TEST(only_looking_leaves_nothing_behind),
        TEST(other_bytes_do_not_move_an_action_on),
        TEST(offered_image_is_gone_when_its_release_is_withdrawn),
        TEST(last_seen_is_on_disk_after_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
