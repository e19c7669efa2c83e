/* The gate of releases, reach, and what operators may see. */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): nftw */
#include "tests/support/app_fixture.h"

static uint8_t file[FIXTURE_IMAGE_MAX];

static enum pag_err upload(struct fixture *f, struct pag_span content)
{
    char id[PAG_ID_TEXT];
    struct pag_release_image image;
    fixture_draft(f, "1.0.0", id);
    return fixture_upload(f, id, "firmware", content, &image);
}

static void truncated_image_is_refused_with_the_place(void **state)
{
    struct fixture *f = *state;
    size_t n = fixture_image(file, 4, 1);
    assert_int_not_equal(upload(f, pag_span_of(file, n - 16)), PAG_OK);
    assert_string_equal(f->call.refusal.code, "image-refused");
}

static void image_for_more_flash_than_the_product_has_is_refused(void **state)
{
    struct fixture *f = *state;
    size_t n = fixture_image(file, 9, 1); /* 16 MiB */
    assert_int_equal(upload(f, pag_span_of(file, n)), PAG_E_HARDWARE);
    assert_string_equal(f->call.refusal.error[0].code, "flash-misfit");
}

static void image_without_boot_part_is_refused(void **state)
{
    struct fixture *f = *state;
    size_t n = fixture_part(file, 4, 1, 512);
    assert_int_equal(upload(f, pag_span_of(file, n)), PAG_E_HARDWARE);
    assert_string_equal(f->call.refusal.error[0].code, "no-boot-part");
}

static void image_with_a_private_key_inside_is_refused_and_not_kept(void **state)
{
    static const char key[] = "-----BEGIN EC PRIVATE KEY-----\n"
                              "MHcCAQEEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAoAoGCCqGSM49AwEH\n";
    struct fixture *f = *state;
    uint8_t sha[32];
    uint64_t bytes = 0;
    int fd = -1;
    size_t n = fixture_image(file, 4, 1);
    memcpy(file + 0x200, key, sizeof key);
    assert_int_equal(upload(f, pag_span_of(file, n)), PAG_E_DENIED);
    assert_string_equal(f->call.refusal.code, "private-key");
    pag_sha256_of(pag_crypto_openssl(), pag_span_of(file, n), sha);
    assert_int_equal(pag_store_blob_open(f->store, sha, &fd, &bytes), PAG_E_NOT_FOUND);
}

static void same_name_with_other_bytes_is_refused_and_the_same_bytes_are_fine(void **state)
{
    struct fixture *f = *state;
    char id[PAG_ID_TEXT];
    struct pag_release_image image;
    fixture_draft(f, "1.0.0", id);
    size_t n = fixture_image(file, 4, 1);
    assert_int_equal(fixture_upload(f, id, "firmware", pag_span_of(file, n), &image), PAG_OK);
    assert_int_equal(fixture_upload(f, id, "firmware", pag_span_of(file, n), &image), PAG_OK);
    n = fixture_image(file, 4, 2);
    assert_int_equal(fixture_upload(f, id, "firmware", pag_span_of(file, n), &image), PAG_E_EXISTS);
    assert_string_equal(f->call.refusal.code, "image-differs");
}

static void release_without_firmware_or_below_the_newest_is_refused(void **state)
{
    struct fixture *f = *state;
    char id[PAG_ID_TEXT];
    struct pag_release_image image;
    fixture_draft(f, "3.0.0", id);
    assert_int_equal(fixture_publish(f, id), PAG_E_CONDITION);
    assert_string_equal(f->call.refusal.error[0].code, "no-firmware");
    fixture_release(f, "2.0.0", 2, &image);
    fixture_draft(f, "1.0.0", id);
    size_t n = fixture_image(file, 4, 1);
    assert_int_equal(fixture_upload(f, id, "firmware", pag_span_of(file, n), &image), PAG_OK);
    assert_int_equal(fixture_publish(f, id), PAG_E_CONDITION);
    assert_string_equal(f->call.refusal.error[0].code, "downgrade");
}

static void version_exists_only_once(void **state)
{
    struct fixture *f = *state;
    struct pag_release_view view;
    char id[PAG_ID_TEXT];
    const struct pag_release_in in = { .product = "meter", .version = "1.0.0" };
    fixture_draft(f, "1.0.0", id);
    pag_app_release_create(fixture_call(f), &in, &view);
    assert_int_equal(fixture_wait(f), PAG_E_EXISTS);
    assert_string_equal(f->call.refusal.code, "version-exists");
}

static void reach_counts_who_updates_and_says_why_others_do_not(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image image;
    struct pag_check_reply reply;
    struct pag_reach reach;
    char id[PAG_ID_TEXT];
    fixture_release(f, "1.0.0", 1, &image);
    for (int i = 0; i < 3; i++) {
        char device[16];
        (void)snprintf(device, sizeof device, "aabbccddee%02d", i);
        struct pag_check_in in = { .protocol = PAG_PROTOCOL_HTTP_UPDATE,
                                   .proof = PAG_PROOF_SAID,
                                   .device = device,
                                   .product = "meter" };
        in.facts.slot_bytes = (struct pag_fact_u32){ PAG_SAID, i == 0 ? 100 : 1 << 20 };
        pag_app_check_in(fixture_call(f), &in, &reply);
        assert_int_equal(fixture_wait(f), PAG_OK);
    }
    fixture_draft(f, "2.0.0", id);
    size_t n = fixture_image(file, 4, 2);
    assert_int_equal(fixture_upload(f, id, "firmware", pag_span_of(file, n), &image), PAG_OK);
    assert_int_equal(pag_app_reach(fixture_call(f), id, &reach), PAG_OK);
    assert_int_equal(reach.total, 3);
    assert_int_equal(reach.will_update, 2);
    assert_int_equal(reach.blocked_n, 1);
    assert_string_equal(reach.blocked[0].reason, "free-space");
    assert_string_equal(reach.blocked[0].example, "aabbccddee00");
}

/* What is read of one device is let go before the next: a fleet does not have to fit a request's arena. */
static void reach_of_many_devices_with_a_history_needs_little_memory(void **state)
{
    enum { FLEET = 60 };
    struct fixture *f = *state;
    struct pag_release_image image;
    struct pag_reach reach;
    char id[PAG_ID_TEXT];
    fixture_release(f, "1.0.0", 1, &image);
    for (int i = 0; i < FLEET; i++) {
        char device[16];
        struct pag_check_reply reply;
        (void)snprintf(device, sizeof device, "aabbccddee%02d", i);
        struct pag_check_in in = { .protocol = PAG_PROTOCOL_HTTP_UPDATE,
                                   .proof = PAG_PROOF_SAID,
                                   .device = device,
                                   .product = "meter" };
        in.facts.slot_bytes = (struct pag_fact_u32){ PAG_SAID, 1 << 20 };
        pag_app_check_in(fixture_call(f), &in, &reply);
        assert_int_equal(fixture_wait(f), PAG_OK);
        assert_true(reply.action_id != 0);
        struct pag_transfer sent = {
            .device = device, .action_id = reply.action_id, .version = "1.0.0", .complete = true
        };
        memcpy(sent.sha256, image.sha256, sizeof sent.sha256);
        pag_app_transfer(f->thread, &sent);
    }
    fixture_draft(f, "2.0.0", id);
    size_t n = fixture_image(file, 4, 2);
    assert_int_equal(fixture_upload(f, id, "firmware", pag_span_of(file, n), &image), PAG_OK);
    struct pag_call *call = fixture_call(f);
    struct pag_arena *whole = call->arena;
    call->arena = pag_arena_open(f->pool, 96 * 1024);
    assert_int_equal(pag_app_reach(call, id, &reach), PAG_OK);
    pag_arena_close(call->arena);
    call->arena = whole;
    assert_int_equal(reach.total, FLEET);
}

static void token_of_one_product_does_not_see_another(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image image;
    struct pag_release_view view;
    fixture_release(f, "1.0.0", 1, &image);
    struct pag_call *call = fixture_call(f);
    call->scope.product = "0123456789abcdef";
    assert_int_equal(pag_app_release(call, image.release, &view), PAG_E_NOT_FOUND);
}

static void deleted_and_expired_tokens_are_refused(void **state)
{
    struct fixture *f = *state;
    struct pag_token_out out;
    struct pag_actor actor;
    char id[13];
    const struct pag_token_in in = { .name = "ci", .role = PAG_ROLE_RELEASER, .ttl_s = 3600 };
    pag_app_token_create(fixture_call(f), &in, &out);
    assert_int_equal(fixture_wait(f), PAG_OK);
    assert_int_equal(pag_app_token_of(fixture_call(f), pag_span_str(out.text), &actor), PAG_OK);
    assert_string_equal(actor.actor, "token:ci");
    memcpy(id, out.row.id, sizeof id);
    pag_app_token_delete(fixture_call(f), id);
    assert_int_equal(fixture_wait(f), PAG_OK);
    assert_int_equal(pag_app_token_of(fixture_call(f), pag_span_str(out.text), &actor),
                     PAG_E_UNAUTHENTICATED);
    pag_app_token_create(fixture_call(f), &in, &out);
    assert_int_equal(fixture_wait(f), PAG_OK);
    fixture_pass(f, 3600ULL * 1000);
    assert_int_equal(pag_app_token_of(fixture_call(f), pag_span_str(out.text), &actor), PAG_E_EXPIRED);
}

static void private_key_is_not_stored(void **state)
{
    struct fixture *f = *state;
    struct pag_public_key out;
    struct pag_public_key *list = NULL;
    size_t n = 9;
    const struct pag_key_in in = { .name = "k",
                                   .use = "release",
                                   .pem = pag_span_str("-----BEGIN PRIVATE KEY-----\nAA\n") };
    pag_app_key_put(fixture_call(f), &in, &out);
    assert_int_equal(fixture_wait(f), PAG_E_DENIED);
    assert_string_equal(f->call.refusal.code, "private-key");
    assert_int_equal(pag_app_keys(fixture_call(f), &list, &n), PAG_OK);
    assert_int_equal(n, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(truncated_image_is_refused_with_the_place),
        TEST(image_for_more_flash_than_the_product_has_is_refused),
        TEST(image_without_boot_part_is_refused),
        TEST(image_with_a_private_key_inside_is_refused_and_not_kept),
        TEST(same_name_with_other_bytes_is_refused_and_the_same_bytes_are_fine),
        TEST(release_without_firmware_or_below_the_newest_is_refused),
        TEST(version_exists_only_once),
        TEST(reach_counts_who_updates_and_says_why_others_do_not),
        TEST(reach_of_many_devices_with_a_history_needs_little_memory),
        TEST(token_of_one_product_does_not_see_another),
        TEST(deleted_and_expired_tokens_are_refused),
        TEST(private_key_is_not_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
