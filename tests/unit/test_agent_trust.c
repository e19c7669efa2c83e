/* Trust sets and tokens on a device: how long a step is, what ends, what a token says.
 * docs/spec/trust-set.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/agent_fake.h"

enum { OLD_N = 9000, NEW_N = 20001, ROOTS = PAG_TRUST_ROOTS_MAX, DAY_S = 86400 };
static uint8_t old_image[OLD_N];
static uint8_t new_image[NEW_N];

/* A watchdog that is fed by steps only and bites when verifying takes too long. */
static struct pag_crypto slow;
static unsigned since_fed, most_at_once, verified;

static enum pag_err slow_verify(const uint8_t point[PAG_P256_POINT_BYTES],
                                const uint8_t digest[PAG_SHA256_BYTES], const uint8_t sig[PAG_P256_SIG_BYTES])
{
    verified++;
    since_fed++;
    most_at_once = since_fed > most_at_once ? since_fed : most_at_once;
    return pag_crypto_openssl()->p256_verify(point, digest, sig);
}

static void feed(void *ctx)
{
    (void)ctx;
    since_fed = 0;
}

static int device(void **state)
{
    struct fake *f = fake_new(13);
    fake_image(old_image, OLD_N, 1);
    fake_image(new_image, NEW_N, 2);
    fake_factory(f, old_image, OLD_N);
    slow = *pag_crypto_openssl();
    slow.p256_verify = slow_verify;
    since_fed = 0;
    most_at_once = 0;
    verified = 0;
    f->port.crypto = &slow;
    f->port.feed_watchdog = feed;
    *state = f;
    return 0;
}

/* ---- sets with as many roots as there may be ---- */

static void sign_by(EVP_PKEY *const *root, size_t n, struct pag_span payload, struct pag_trust_signature *sig)
{
    uint8_t digest[PAG_SHA256_BYTES];
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pag_crypto_key_id(root[i], sig[i].key_id), PAG_OK);
        assert_int_equal(pag_trust_signing_digest(pag_crypto_openssl(), payload, sig[i].key_id, digest),
                         PAG_OK);
        assert_int_equal(pag_crypto_sign(root[i], digest, sig[i].sig), PAG_OK);
    }
}

/* A set of five roots, signed by them and by five old ones (old NULL: a first set). */
static size_t big_set(struct fake *f, uint32_t version, EVP_PKEY *const *old, EVP_PKEY *const *now,
                      struct pag_span previous, uint8_t out[PAG_TRUST_MAX])
{
    uint8_t payload[PAG_TRUST_MAX];
    struct pag_buf b = { payload, 0, sizeof payload };
    struct pag_buf cose = { out, 0, PAG_TRUST_MAX };
    struct pag_trust_signature sig[2 * ROOTS];
    struct pag_trust_set t = {
        .version = version, .root_threshold = ROOTS, .root_n = ROOTS, .release_threshold = 1, .release_n = 1
    };
    memcpy(t.product, f->set.product, sizeof t.product);
    for (size_t i = 0; i < ROOTS; i++) {
        fake_key(now[i], &t.root[i]);
    }
    fake_key(f->srv.release, &t.release[0]);
    t.release[0].kinds = 1U << PAG_KIND_FIRMWARE;
    if (previous.n > 0) {
        pag_sha256_of(pag_crypto_openssl(), previous, t.previous);
    }
    pag_trust_sort(&t);
    assert_int_equal(pag_trust_payload(&t, &b, NULL), PAG_OK);
    sign_by(now, ROOTS, pag_buf_span(&b), sig);
    if (old != NULL) {
        sign_by(old, ROOTS, pag_buf_span(&b), sig + ROOTS);
    }
    assert_int_equal(pag_trust_envelope(pag_buf_span(&b), sig, old != NULL ? 2 * ROOTS : ROOTS, &cose),
                     PAG_OK);
    return cose.n;
}

static void a_step_verifies_one_signature_at_most_also_of_ten_roots(void **state)
{
    struct fake *f = *state;
    EVP_PKEY *root[2 * ROOTS];
    for (size_t i = 0; i < 2 * ROOTS; i++) {
        root[i] = pag_crypto_key_new();
    }
    f->srv.trust_n = big_set(f, 1, NULL, root, (struct pag_span){ 0 }, f->srv.trust);
    pag_sha256_of(pag_crypto_openssl(), pag_span_of(f->srv.trust, f->srv.trust_n), f->set.trust_pin);
    f->srv.next_n = big_set(f, 2, root, root + ROOTS, pag_span_of(f->srv.trust, f->srv.trust_n), f->srv.next);
    f->srv.trust_version = 2;
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_int_equal(fake_live(f, 400), 2);
    assert_int_equal(fake_status(f).trust_version, 2);
    assert_true(fake_said(f, PAG_REPORT_CONFIRMED));
    assert_true(verified >= 15);
    assert_int_equal(most_at_once, 1);
    for (size_t i = 0; i < 2 * ROOTS; i++) {
        EVP_PKEY_free(root[i]);
    }
}

static void an_offer_with_token_and_permit_feeds_the_watchdog_between_signatures(void **state)
{
    struct fake *f = *state;
    fake_factory_as(f, old_image, OLD_N, 5, 0);
    f->srv.token = true;
    fake_release(f, new_image, NEW_N, 2, NULL);
    fake_permit(f, NULL);
    assert_int_equal(fake_live(f, 400), 2);
    assert_true(fake_said(f, PAG_REPORT_CONFIRMED));
    assert_int_equal(most_at_once, 1);
}

/* ---- the end of a set ---- */

static void sign_first_set(struct fake *f, uint64_t expires_s)
{
    struct pag_buf out = { f->srv.trust, 0, sizeof f->srv.trust };
    f->srv.trust_expires_s = expires_s;
    fake_sign_trust(f, 1, (struct pag_span){ 0 }, &out);
    f->srv.trust_n = out.n;
    pag_sha256_of(pag_crypto_openssl(), pag_buf_span(&out), f->set.trust_pin);
}

static void an_expired_set_installs_nothing_until_a_new_one_follows_it(void **state)
{
    struct fake *f = *state;
    f->set.build_time = 1700000000;
    sign_first_set(f, 1699999999);
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_int_equal(fake_live(f, 200), 1);
    assert_int_equal(f->srv.blobs, 0);
    assert_true(fake_said(f, PAG_REPORT_DEFERRED)); /* the release is not at fault */
    assert_false(fake_said(f, PAG_REPORT_REJECTED));
    assert_int_equal(fake_status(f).trust_version, 1);
    f->srv.trust_expires_s = 0;
    fake_rotate(f);
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_int_equal(fake_live(f, 400), 2);
    assert_true(fake_said(f, PAG_REPORT_CONFIRMED));
}

static void a_set_without_an_end_or_before_it_holds(void **state)
{
    struct fake *f = *state;
    f->set.build_time = 1700000000;
    sign_first_set(f, 1700100000);
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_int_equal(fake_live(f, 400), 2);
    assert_true(fake_said(f, PAG_REPORT_CONFIRMED));
}

static void the_time_of_a_token_ends_a_set(void **state)
{
    struct fake *f = *state;
    sign_first_set(f, 1750000000);
    f->srv.token = true; /* says 1800000000 */
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_int_equal(fake_live(f, 200), 1);
    assert_int_equal(f->srv.blobs, 0);
    assert_true(fake_said(f, PAG_REPORT_DEFERRED));
}

static void a_wrong_clock_of_the_board_ends_no_set(void **state)
{
    struct fake *f = *state;
    sign_first_set(f, 1750000000);
    f->unix_s = 4000000000; /* the network said so, nobody signed it */
    fake_release(f, new_image, NEW_N, 2, NULL);
    assert_int_equal(fake_live(f, 400), 2);
    assert_true(fake_said(f, PAG_REPORT_CONFIRMED));
}

/* ---- the clock floor ---- */

static void a_new_set_neither_raises_nor_resets_the_floor(void **state)
{
    struct fake *f = *state;
    f->set.build_time = 1700000000;
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.manifest[40] ^= 1; /* the set is learnt, nothing is accepted */
    assert_int_equal(fake_live(f, 30), 1);
    f->srv.trust_expires_s = 1900000000;
    fake_rotate(f);
    assert_int_equal(fake_live(f, 100), 1);
    assert_int_equal(fake_status(f).trust_version, 2);
    assert_in_range(fake_status(f).now_unix_s, 1700000000, 1700001000);
}

static void the_floor_of_a_token_outlives_a_rotated_set_and_a_reset(void **state)
{
    struct fake *f = *state;
    f->srv.token = true;
    assert_true(fake_boot(f));
    fake_run(f, 200);
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.manifest[40] ^= 1;
    assert_int_equal(fake_live(f, 200), 1);
    assert_true(fake_status(f).now_unix_s >= 1800000000);
    f->srv.token = false;
    fake_rotate(f);
    assert_int_equal(fake_live(f, 200), 1);
    assert_int_equal(fake_status(f).trust_version, 2);
    assert_true(fake_status(f).now_unix_s >= 1800000000);
}

/* ---- what a token says ---- */

/* Boots with the set learnt and a check with a nonce still to come. */
static void learn_set(struct fake *f)
{
    fake_release(f, new_image, NEW_N, 2, NULL);
    f->srv.manifest[40] ^= 1;
    assert_int_equal(fake_live(f, 30), 1);
    assert_true(fake_status(f).has_trust);
    f->srv.offering = false;
    f->srv.token = true;
}

static void a_token_that_comes_after_its_time_is_not_taken(void **state)
{
    struct fake *f = *state;
    learn_set(f);
    f->srv.token_valid_s = 10;
    f->set.io_timeout_s = 20;
    uint32_t checks = f->srv.checks;
    assert_true(fake_boot(f));
    for (int i = 0; i < 1000 && f->srv.checks == checks; i++) {
        f->now_ms += pag_agent_step(&f->agent);
    }
    assert_int_equal(f->srv.checks, checks + 1);
    f->now_ms += 15000; /* the answer was so long on its way */
    fake_run(f, 5);
    assert_int_equal(fake_status(f).now_unix_s, 0);
    assert_string_equal(fake_status(f).last_what, "token: no longer valid");
    fake_run(f, 200); /* asked again, at once answered */
    assert_true(fake_status(f).now_unix_s >= 1800000000);
}

static void a_token_is_asked_for_again_when_its_time_is_over(void **state)
{
    struct fake *f = *state;
    learn_set(f);
    f->srv.token_valid_s = 600;
    f->set.poll_s = 60;
    assert_true(fake_boot(f));
    fake_run(f, 100);
    uint32_t before = f->srv.nonces;
    fake_run(f, 7200);
    assert_in_range(f->srv.nonces - before, 9, 13);
}

static void a_token_that_knows_an_older_set_than_the_device_is_not_taken(void **state)
{
    struct fake *f = *state;
    learn_set(f);
    f->srv.offering = true;
    f->srv.token = false;
    fake_rotate(f);
    assert_int_equal(fake_live(f, 100), 1);
    assert_int_equal(fake_status(f).trust_version, 2);
    f->srv.token = true;
    f->srv.offering = false;
    f->srv.token_trust_version = 1;
    assert_true(fake_boot(f));
    fake_run(f, 100);
    assert_int_equal(fake_status(f).now_unix_s, 0);
    assert_string_equal(fake_status(f).last_what, "token: of a server that knows an older trust set");
}

static void a_token_that_knows_a_newer_set_than_the_offer_has_it_fetched(void **state)
{
    struct fake *f = *state;
    learn_set(f);
    fake_rotate(f);
    f->srv.trust_version = 1; /* what the offer says */
    f->srv.token_trust_version = 2;
    assert_true(fake_boot(f));
    fake_run(f, 100);
    assert_int_equal(fake_status(f).trust_version, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_step_verifies_one_signature_at_most_also_of_ten_roots, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(an_offer_with_token_and_permit_feeds_the_watchdog_between_signatures,
                                        device, fake_gone),
        cmocka_unit_test_setup_teardown(an_expired_set_installs_nothing_until_a_new_one_follows_it, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(a_set_without_an_end_or_before_it_holds, device, fake_gone),
        cmocka_unit_test_setup_teardown(the_time_of_a_token_ends_a_set, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_wrong_clock_of_the_board_ends_no_set, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_new_set_neither_raises_nor_resets_the_floor, device, fake_gone),
        cmocka_unit_test_setup_teardown(the_floor_of_a_token_outlives_a_rotated_set_and_a_reset, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(a_token_that_comes_after_its_time_is_not_taken, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_token_is_asked_for_again_when_its_time_is_over, device, fake_gone),
        cmocka_unit_test_setup_teardown(a_token_that_knows_an_older_set_than_the_device_is_not_taken, device,
                                        fake_gone),
        cmocka_unit_test_setup_teardown(a_token_that_knows_a_newer_set_than_the_offer_has_it_fetched, device,
                                        fake_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
