/* A device gets out of what it is held in: unreadable flash, a server that gives a byte now and then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

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

static int gone(void **state)
{
    fake_free(*state);
    return 0;
}

static struct pag_agent_status status(const struct fake *f)
{
    struct pag_agent_status s;
    pag_agent_status(&f->agent, &s);
    return s;
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
    assert_int_equal(status(f).last_error, PAG_E_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_trial_that_cannot_read_its_flash_ends, device, gone),
        cmocka_unit_test_setup_teardown(a_trial_that_does_not_find_its_identity_ends, device, gone),
        cmocka_unit_test_setup_teardown(a_trial_on_a_server_that_dribbles_ends, device, gone),
        cmocka_unit_test_setup_teardown(an_answer_that_dribbles_has_an_end, device, gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
