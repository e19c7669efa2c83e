/* The agent and commands that must be signed: docs/spec/commands.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "agent/inner.h"
#include "core/command.h"
#include "tests/support/agent_fake.h"

enum { IMAGE_N = 9000, NOW_S = 1800000000, NEXT_CHECK_S = 400 };
static uint8_t image[IMAGE_N];
static unsigned obeyed; /* times the application was asked */
static uint8_t last_kind;

static int device(void **state)
{
    struct fake *f = fake_new(11);
    fake_image(image, IMAGE_N, 1);
    fake_factory(f, image, IMAGE_N);
    f->unix_s = NOW_S;
    obeyed = 0;
    *state = f;
    return 0;
}

/* One that got its certificate by a claim. */
static int enrolled(void **state)
{
    (void)device(state);
    struct fake *f = *state;
    f->set.certificate = f->set.key = (struct pag_span){ 0 };
    memcpy(f->set.claim, "FIRST-CLAIM", sizeof "FIRST-CLAIM");
    memcpy(f->set.mac, "84f3eb000001", sizeof "84f3eb000001");
    return 0;
}

static int gone(void **state)
{
    fake_free(*state);
    return 0;
}

static enum pag_err on_command(void *ctx, const struct pag_agent_command *command, struct pag_buf *text)
{
    (void)ctx;
    obeyed++;
    last_kind = command->kind;
    return pag_buf_put_str(text, "as you wish");
}

static void boot(struct fake *f)
{
    static const struct pag_agent_hooks hooks = { .self_test = fake_health, .on_command = on_command };
    assert_true(fake_boot(f));
    pag_agent_set_hooks(&f->agent, &hooks, f);
}

static struct pag_signed_command order_of(const struct fake *f, const char *id, uint8_t kind)
{
    struct pag_signed_command c = {
        .device = pag_span_str(id), .kind = kind, .counter = 100, .expires_at = NOW_S + 600
    };
    memcpy(c.product, f->set.product, sizeof c.product);
    return c;
}

/* What the server hands over with the next check; the envelope says kind. */
static void hand_over(struct fake *f, uint32_t id, uint8_t kind, const struct pag_signed_command *c)
{
    uint8_t cose[PAG_SIGNED_COMMAND_MAX];
    struct pag_buf out = { cose, 0, sizeof cose };
    struct pag_buf b = { f->srv.commands, 0, sizeof f->srv.commands };
    struct pag_signed_command made = c != NULL ? *c : (struct pag_signed_command){ 0 };
    if (c != NULL) {
        assert_int_equal(pag_crypto_key_id(f->srv.release, made.key_id), PAG_OK);
        assert_int_equal(
            pag_signed_command_sign(pag_crypto_openssl(), &made, pag_crypto_sign, f->srv.release, &out, NULL),
            PAG_OK);
    }
    const struct pag_native_command m = { .kind = kind, .id = id, .order = pag_buf_span(&out) };
    assert_int_equal(pag_native_command_put(&b, &m), PAG_OK);
    f->srv.commands_n = b.n;
}

static void expect_refused(struct fake *f, uint32_t id, enum pag_err err)
{
    boot(f);
    fake_run(f, 150);
    assert_false(f->rebooted);
    assert_int_equal(f->srv.result_id, id);
    assert_int_equal(f->srv.result_code, err);
    assert_int_equal(obeyed, 0);
}

static void a_signed_reset_is_obeyed_and_the_device_restarts(void **state)
{
    struct fake *f = *state;
    struct pag_signed_command c = order_of(f, "dev-1", PAG_COMMAND_RESET);
    hand_over(f, 5, PAG_COMMAND_RESET, &c);
    boot(f);
    fake_run(f, 150);
    assert_true(f->rebooted);
    assert_int_equal(obeyed, 1);
    assert_int_equal(last_kind, PAG_COMMAND_RESET);
    assert_int_equal(f->srv.results, 1);
    assert_int_equal(f->srv.result_id, 5);
    assert_int_equal(f->srv.result_code, PAG_OK);
}

static void what_was_obeyed_is_never_obeyed_again(void **state)
{
    struct fake *f = *state;
    struct pag_signed_command c = order_of(f, "dev-1", PAG_COMMAND_RESET);
    hand_over(f, 5, PAG_COMMAND_RESET, &c);
    boot(f);
    fake_run(f, 150);
    assert_true(f->rebooted);
    obeyed = 0;
    hand_over(f, 6, PAG_COMMAND_RESET, &c); /* under another number, after a restart */
    expect_refused(f, 6, PAG_E_STALE);
    c.counter--;
    hand_over(f, 7, PAG_COMMAND_RESET, &c);
    expect_refused(f, 7, PAG_E_STALE);
    c.counter += 2;
    hand_over(f, 8, PAG_COMMAND_RESET, &c);
    boot(f);
    fake_run(f, 150);
    assert_true(f->rebooted && obeyed == 1);
}

static void without_a_signature_nothing_is_taken_away(void **state)
{
    struct fake *f = *state;
    static const uint8_t kinds[] = { PAG_COMMAND_RESET, PAG_COMMAND_WIPE, PAG_COMMAND_REENROLL };
    for (size_t i = 0; i < sizeof kinds; i++) {
        hand_over(f, (uint32_t)(10 + i), kinds[i], NULL);
        expect_refused(f, (uint32_t)(10 + i), PAG_E_SIGNATURE);
    }
}

static void each_wrong_field_is_refused_with_its_reason(void **state)
{
    struct fake *f = *state;
    struct pag_signed_command c = order_of(f, "dev-2", PAG_COMMAND_WIPE);
    hand_over(f, 20, PAG_COMMAND_WIPE, &c);
    expect_refused(f, 20, PAG_E_DENIED);
    c = order_of(f, "dev-1", PAG_COMMAND_WIPE);
    c.product[0] ^= 1;
    hand_over(f, 21, PAG_COMMAND_WIPE, &c);
    expect_refused(f, 21, PAG_E_PRODUCT);
    c = order_of(f, "dev-1", PAG_COMMAND_WIPE);
    c.expires_at = NOW_S - 1;
    hand_over(f, 22, PAG_COMMAND_WIPE, &c);
    expect_refused(f, 22, PAG_E_EXPIRED);
    c = order_of(f, "dev-1", PAG_COMMAND_WIPE);
    hand_over(f, 23, PAG_COMMAND_RESET, &c); /* signed for one, sent as the other */
    expect_refused(f, 23, PAG_E_CONFLICT);
    hand_over(f, 24, PAG_COMMAND_IDENTIFY, &c);
    expect_refused(f, 24, PAG_E_CONFLICT);
    c = order_of(f, "dev-1", PAG_COMMAND_REENROLL); /* its certificate is built in */
    hand_over(f, 25, PAG_COMMAND_REENROLL, &c);
    expect_refused(f, 25, PAG_E_UNSUPPORTED);
}

static void a_key_that_the_set_does_not_name_is_refused(void **state)
{
    struct fake *f = *state;
    struct pag_signed_command c = order_of(f, "dev-1", PAG_COMMAND_WIPE);
    EVP_PKEY *right = f->srv.release;
    f->srv.release = pag_crypto_key_new();
    hand_over(f, 30, PAG_COMMAND_WIPE, &c);
    EVP_PKEY_free(f->srv.release);
    f->srv.release = right;
    expect_refused(f, 30, PAG_E_SIGNATURE);
}

static void every_flipped_bit_of_a_command_is_refused(void **state)
{
    struct fake *f = *state;
    struct pag_signed_command c = order_of(f, "dev-1", PAG_COMMAND_WIPE);
    hand_over(f, 40, PAG_COMMAND_WIPE, &c);
    struct pag_native_command m;
    assert_int_equal(pag_native_command_get(pag_span_of(f->srv.commands, f->srv.commands_n), &m), PAG_OK);
    uint8_t cose[PAG_SIGNED_COMMAND_MAX];
    size_t n = m.order.n;
    memcpy(cose, m.order.p, n);
    f->srv.commands_n = 0;
    boot(f);
    fake_run(f, 5); /* the trust set is there */
    for (size_t i = 0; i < n * 8; i++) {
        struct pag_inner *a = (struct pag_inner *)f->agent.opaque;
        cose[i / 8] ^= (uint8_t)(1U << i % 8);
        const struct pag_native_command bad = { .kind = PAG_COMMAND_WIPE,
                                                .id = (uint32_t)(1000 + i),
                                                .order = pag_span_of(cose, n) };
        a->result.has = false;
        pag_in_command(a, &bad);
        fake_run(f, 1);
        assert_true(a->result.id == bad.id && a->result.code != PAG_OK);
        assert_int_equal(obeyed, 0);
        cose[i / 8] ^= (uint8_t)(1U << i % 8);
    }
}

static void a_wipe_leaves_no_identity_but_the_counter(void **state)
{
    struct fake *f = *state;
    boot(f);
    fake_run(f, 30);
    assert_int_equal(f->srv.enrolled, 1);
    struct pag_signed_command c = order_of(f, "enrolled-1", PAG_COMMAND_WIPE);
    hand_over(f, 50, PAG_COMMAND_WIPE, &c);
    fake_run(f, NEXT_CHECK_S);
    assert_true(f->rebooted && obeyed == 1);
    assert_int_equal(f->srv.result_code, PAG_OK);
    f->srv.commands_n = 0;
    boot(f);
    fake_run(f, 30);
    struct pag_inner *a = (struct pag_inner *)f->agent.opaque;
    assert_false(a->enrolled);
    assert_int_equal(a->counter, 100);
    assert_true(f->srv.turned_away > 0); /* the first claim is spent */
    assert_int_equal(f->keys_made, 2);
}

static void a_device_enrols_anew_with_the_claim_that_was_signed(void **state)
{
    struct fake *f = *state;
    boot(f);
    fake_run(f, 30);
    assert_string_equal(f->srv.claim, "FIRST-CLAIM");
    struct pag_signed_command c = order_of(f, "enrolled-1", PAG_COMMAND_REENROLL);
    c.arg = pag_span_str("SECOND-CLAIM");
    hand_over(f, 60, PAG_COMMAND_REENROLL, &c);
    fake_run(f, NEXT_CHECK_S);
    assert_true(f->rebooted);
    f->srv.commands_n = 0;
    f->srv.claim_used = false; /* a new one */
    boot(f);
    fake_run(f, 30);
    assert_int_equal(f->srv.enrolled, 2);
    assert_string_equal(f->srv.claim, "SECOND-CLAIM");
    assert_int_equal(f->keys_made, 2);
    hand_over(f, 61, PAG_COMMAND_REENROLL, &c);
    fake_run(f, NEXT_CHECK_S);
    assert_false(f->rebooted);
    assert_int_equal(f->srv.result_code, PAG_E_STALE); /* the counter is older than the certificate */
}

static void a_cut_at_any_write_never_makes_it_twice(void **state)
{
    struct fake *f = *state;
    unsigned lost = 0;
    unsigned cuts = 0;
    for (uint64_t cut = 1; cut < 12; cut++) {
        for (int kind = 0; kind < FAKE_CUT_KINDS; kind++) {
            struct pag_signed_command c = order_of(f, "dev-1", PAG_COMMAND_RESET);
            struct pag_inner *a = (struct pag_inner *)f->agent.opaque;
            f->srv.commands_n = 0;
            f->cut_at = 0;
            boot(f);
            fake_run(f, 5);
            c.counter = a->counter + 1;
            obeyed = 0;
            hand_over(f, 70, PAG_COMMAND_RESET, &c);
            f->cut_at = f->ops + cut;
            f->cut_kind = (enum fake_cut)kind;
            fake_run(f, NEXT_CHECK_S);
            unsigned before = obeyed;
            cuts += f->dead;
            f->cut_at = 0;
            hand_over(f, 71, PAG_COMMAND_RESET, &c);
            boot(f);
            fake_run(f, 150);
            assert_true(obeyed <= 1);
            lost += obeyed == before && obeyed == 0;
        }
    }
    assert_true(cuts > 10); /* power did fail in it */
    assert_true(lost > 0);  /* what is lost is allowed: at most once, never twice */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_signed_reset_is_obeyed_and_the_device_restarts, device, gone),
        cmocka_unit_test_setup_teardown(what_was_obeyed_is_never_obeyed_again, device, gone),
        cmocka_unit_test_setup_teardown(without_a_signature_nothing_is_taken_away, device, gone),
        cmocka_unit_test_setup_teardown(each_wrong_field_is_refused_with_its_reason, device, gone),
        cmocka_unit_test_setup_teardown(a_key_that_the_set_does_not_name_is_refused, device, gone),
        cmocka_unit_test_setup_teardown(every_flipped_bit_of_a_command_is_refused, device, gone),
        cmocka_unit_test_setup_teardown(a_wipe_leaves_no_identity_but_the_counter, enrolled, gone),
        cmocka_unit_test_setup_teardown(a_device_enrols_anew_with_the_claim_that_was_signed, enrolled, gone),
        cmocka_unit_test_setup_teardown(a_cut_at_any_write_never_makes_it_twice, device, gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
