/* Renewal at two thirds of a certificate's life: real certificates, a server that is strict, power that
 * fails. */
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "agent/certificate.h"
#include "agent/inner.h"
#include "host/x509.h"
#include "ports/posix/posix_port.h"
#include "tests/support/agent_fake.h"

enum { IMAGE_N = 9000, CERTS_MAX = 16, DAY_S = 86400, LIFE_S = 90 * DAY_S };
static const uint64_t NOW_S = 1800000000; /* as the token of the fake server says */

static uint8_t image[IMAGE_N];
static struct pag_ca *root, *ca;
static struct pag_issued issued[CERTS_MAX];
static unsigned issued_n, newest_used, refused;
static uint64_t now_s;
static const char *wrong; /* how the server lies about the next certificate; NULL: it does not */

static unsigned shown(const struct fake *f)
{
    for (unsigned i = 0; i < issued_n; i++) {
        if (f->certificate_n == issued[i].der_n &&
            memcmp(f->certificate, issued[i].der, issued[i].der_n) == 0) {
            return i;
        }
    }
    return CERTS_MAX;
}

/* The key shown is that of the certificate shown. */
static bool whole(const struct fake *f)
{
    const unsigned char *at = f->key;
    struct pag_x509_info info;
    uint8_t sha256[PAG_SHA256_BYTES];
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)f->key_n);
    bool ok = key != NULL && pag_x509_key_sha256(key, sha256) == PAG_OK &&
              pag_x509_info(pag_span_of(f->certificate, f->certificate_n), &info) == PAG_OK &&
              memcmp(info.key_sha256, sha256, sizeof sha256) == 0;
    EVP_PKEY_free(key);
    return ok;
}

static void give(struct fake *f, struct pag_span csr)
{
    const uint8_t other[PAG_PRODUCT_ID_BYTES] = { 9 };
    const bool lies = wrong != NULL;
    struct pag_issued *c = &issued[issued_n];
    struct pag_cert_order order = {
        .cn = "enrolled-1", .product = f->set.product, .now = now_s, .lifetime_s = LIFE_S
    };
    uint8_t reply[PAG_NATIVE_MAX];
    struct pag_buf out = { reply, 0, sizeof reply };
    if (lies && strcmp(wrong, "ends no later") == 0) {
        order.lifetime_s = 3600;
    }
    EVP_PKEY *foreign = pag_crypto_key_new();
    assert_true(issued_n < CERTS_MAX);
    enum pag_err err = lies && strcmp(wrong, "another key") == 0
                           ? pag_ca_issue_device_key(ca, foreign, &order, c, NULL)
                           : pag_ca_issue_client(ca, csr, &order, c, NULL);
    assert_int_equal(err, PAG_OK);
    struct pag_native_enrolled e = { .device_id = pag_span_str("enrolled-1"),
                                     .certificate = pag_span_of(c->der, c->der_n),
                                     .issuer = pag_ca_der(ca),
                                     .product = pag_span_of(f->set.product, sizeof f->set.product) };
    if (lies && strcmp(wrong, "another device") == 0) {
        e.device_id = pag_span_str("enrolled-2");
    }
    if (lies && strcmp(wrong, "another product") == 0) {
        e.product = pag_span_of(other, sizeof other);
    }
    if (lies && strcmp(wrong, "cut off") == 0) {
        e.certificate.n -= 1;
        e.certificate.n /= 4;
    }
    issued_n += lies ? 0 : 1;
    assert_int_equal(pag_native_enrolled_put(&out, &e), PAG_OK);
    fake_answer(f, 200, "", out.p, out.n);
    EVP_PKEY_free(foreign);
}

/* A claim for the first one; then the newest certificate that has been used, or one that is newer still. */
static void on_enroll(struct fake *f, struct pag_span body)
{
    struct pag_native_enroll m;
    assert_int_equal(pag_native_enroll_get(body, &m), PAG_OK);
    if (issued_n == 0) {
        assert_true(m.claim.n > 0);
        give(f, m.csr);
        return;
    }
    unsigned by = shown(f);
    if (m.claim.n > 0 || by >= issued_n || by < newest_used || !whole(f)) {
        refused++;
        fake_answer(f, 403, "", NULL, 0);
        return;
    }
    give(f, m.csr);
}

static enum pag_err looked_at(void *ctx, const char *host, uint16_t port, const struct pag_net_trust *trust,
                              struct pag_conn *out)
{
    struct fake *f = fake_of(ctx);
    enum pag_err err = fake_open(ctx, host, port, trust, out);
    if (err == PAG_OK && f->certificate_n > 0) {
        unsigned by = shown(f);
        assert_true(whole(f)); /* old or new, never one's key with the other's certificate */
        assert_true(by < issued_n && by >= newest_used);
        newest_used = by;
    }
    return err;
}

static int device(void **state)
{
    struct fake *f = fake_new(21);
    fake_image(image, IMAGE_N, 1);
    fake_factory(f, image, IMAGE_N);
    f->set.certificate = (struct pag_span){ 0 };
    f->set.key = (struct pag_span){ 0 };
    memcpy(f->set.mac, "84f3eb000003", sizeof "84f3eb000003");
    memcpy(f->set.claim, "ABCD-EFGH", sizeof "ABCD-EFGH");
    f->port.make_csr = pag_posix_make_csr;
    f->port.net.open = looked_at;
    f->srv.on_enroll = on_enroll;
    issued_n = newest_used = refused = 0;
    wrong = NULL;
    if (pag_ca_root_new("Test", NOW_S - 400 * DAY_S, &root, NULL) != PAG_OK ||
        pag_ca_issuing_new(root, PAG_CA_DEVICE, NOW_S - 400 * DAY_S, &ca, NULL) != PAG_OK) {
        return -1;
    }
    *state = f;
    return 0;
}

static int gone(void **state)
{
    fake_free(*state);
    pag_ca_free(ca);
    pag_ca_free(root);
    return 0;
}

static struct pag_agent_status status(const struct fake *f)
{
    struct pag_agent_status s;
    pag_agent_status(&f->agent, &s);
    return s;
}

/* Enrolled age_s ago; it has learnt no time since. */
static void enrolled(struct fake *f, uint64_t age_s)
{
    now_s = NOW_S - age_s;
    assert_true(fake_boot(f));
    fake_run(f, 30);
    assert_true(status(f).enrolled);
    assert_int_equal(issued_n, 1);
    now_s = NOW_S;
}

static void before_two_thirds_nothing_is_renewed(void **state)
{
    struct fake *f = *state;
    enrolled(f, LIFE_S / 3 * 2 - 3 * DAY_S);
    f->srv.token = true;
    assert_true(fake_boot(f));
    fake_run(f, 3600);
    assert_int_equal(issued_n, 1);
}

static void without_a_clock_nothing_is_renewed(void **state)
{
    struct fake *f = *state;
    enrolled(f, LIFE_S);
    f->srv.token = false;
    assert_true(fake_boot(f));
    fake_run(f, 7200);
    assert_int_equal(issued_n, 1);
    f->unix_s = NOW_S; /* the board has learnt it */
    fake_run(f, 600);
    assert_int_equal(issued_n, 2);
}

static void at_two_thirds_a_new_key_gets_the_next_certificate(void **state)
{
    struct fake *f = *state;
    enrolled(f, LIFE_S / 3 * 2 + DAY_S);
    f->srv.token = true;
    assert_true(fake_boot(f));
    fake_run(f, 3600);
    assert_int_equal(issued_n, 2);
    assert_int_equal(newest_used, 1);
    assert_memory_not_equal(issued[0].info.key_sha256, issued[1].info.key_sha256, PAG_SHA256_BYTES);
    assert_true(fake_boot(f));
    fake_run(f, 3600); /* the record is what it shows after a restart, and is not renewed again */
    assert_int_equal(shown(f), 1);
    assert_int_equal(issued_n, 2);
    assert_int_equal(refused, 0);
}

static void a_floor_ahead_of_the_time_asks_once_a_day(void **state)
{
    struct fake *f = *state;
    enrolled(f, 0);
    f->set.build_time = (uint32_t)(NOW_S + LIFE_S - DAY_S);
    assert_true(fake_boot(f));
    now_s = NOW_S + 60;
    fake_run(f, 80000);
    assert_int_equal(issued_n, 2);
}

static void a_cut_anywhere_leaves_the_old_identity_or_the_new_one(void **state)
{
    struct fake *f = *state;
    uint8_t *before[PAG_AREA_COUNT];
    unsigned cuts = 0;
    enrolled(f, LIFE_S / 3 * 2 + DAY_S);
    f->srv.token = true;
    for (int i = 0; i < PAG_AREA_COUNT; i++) {
        before[i] = malloc(f->port.flash.area_bytes[i]);
        memcpy(before[i], f->area[i], f->port.flash.area_bytes[i]);
    }
    bool cut = true;
    for (uint64_t at = 1; cut; at++) {
        for (int kind = 0; kind < FAKE_CUT_KINDS; kind++) {
            for (int i = 0; i < PAG_AREA_COUNT; i++) {
                memcpy(f->area[i], before[i], f->port.flash.area_bytes[i]);
                memset(f->weak[i], 0, f->port.flash.area_bytes[i]);
            }
            issued_n = 1;
            newest_used = 0;
            f->ops = 0;
            f->cut_at = at;
            f->cut_kind = (enum fake_cut)kind;
            cut = !fake_boot(f);
            if (!cut) {
                fake_run(f, 120);
                cut = f->dead;
            }
            cuts += cut;
            f->cut_at = 0;
            assert_true(fake_boot(f));
            fake_run(f, 120);
            assert_true(status(f).enrolled);
            assert_in_range(issued_n, 2, 3);
            assert_int_equal(newest_used, issued_n - 1);
        }
    }
    assert_true(cuts > 10 * (unsigned)FAKE_CUT_KINDS);
    assert_int_equal(refused, 0);
    for (int i = 0; i < PAG_AREA_COUNT; i++) {
        free(before[i]);
    }
}

static void an_answer_that_is_lost_costs_a_day_and_no_identity(void **state)
{
    struct fake *f = *state;
    enrolled(f, LIFE_S / 3 * 2 + DAY_S);
    f->srv.token = true;
    f->srv.status = 503;
    f->srv.status_on = "POST /v1/enroll";
    f->srv.bad_answers = 0;
    assert_true(fake_boot(f));
    fake_run(f, 5 * DAY_S);
    assert_in_range(f->srv.bad_answers, 4, 6);
    assert_int_equal(newest_used, 0);
    assert_in_range(status(f).contact_age_s, 0, 600); /* it goes on as it was */
    f->srv.status = 0;
    fake_run(f, 2 * DAY_S);
    assert_int_equal(newest_used, 1);
}

static void a_certificate_that_would_strand_it_is_not_kept(void **state)
{
    struct fake *f = *state;
    static const char *const lies[] = { "another key", "another device", "another product", "ends no later",
                                        "cut off" };
    enrolled(f, LIFE_S / 3 * 2 + DAY_S);
    f->srv.token = true;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        wrong = lies[i];
        assert_true(fake_boot(f));
        fake_run(f, 3600);
        assert_int_equal(shown(f), 0);
        assert_in_range(status(f).contact_age_s, 0, 600);
    }
    wrong = NULL;
    assert_true(fake_boot(f));
    fake_run(f, 3600);
    assert_int_equal(shown(f), 1);
}

static void flash_that_takes_nothing_keeps_the_old_identity(void **state)
{
    struct fake *f = *state;
    enrolled(f, LIFE_S / 3 * 2 + DAY_S);
    f->srv.token = true;
    assert_true(fake_boot(f));
    uint64_t first = f->ops;
    fake_run(f, 120);
    uint64_t last = f->ops;
    assert_int_equal(shown(f), 1);
    for (uint64_t at = first + 1; at <= last; at++) {
        issued_n = newest_used = 0;
        memset(f->area[PAG_AREA_CONFIG], 0xFF, 2 * FAKE_SECTOR);
        f->srv.token = false;
        f->stuck_at = 0;
        enrolled(f, LIFE_S / 3 * 2 + DAY_S);
        f->srv.token = true;
        f->ops = first;
        assert_true(fake_boot(f));
        f->ops = first;
        f->stuck_at = at;
        fake_run(f, 120);
        assert_in_range(status(f).contact_age_s, 0, 600);
        assert_true(fake_boot(f));
        fake_run(f, 120);
        assert_int_equal(newest_used, issued_n - 1);
        assert_in_range(issued_n, 2, 3);
    }
}

/* ---- dates ---- */

static void the_dates_are_those_that_a_library_reads(void **state)
{
    struct fake *f = *state;
    static const uint64_t starts[] = { 951782400 /* 2000-02-29 */,
                                       1709164800 /* 2024-02-29 */,
                                       1735689599,
                                       1800000000,
                                       2524607999 /* the last second of 2049 */,
                                       4107542400 };
    EVP_PKEY *key = pag_crypto_key_new();
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        struct pag_ca *r = NULL;
        struct pag_certificate_life life;
        assert_int_equal(pag_ca_root_new("Test", starts[i], &r, NULL), PAG_OK);
        const struct pag_x509_info *info = pag_ca_info(r);
        assert_int_equal(pag_certificate_life(pag_ca_der(r), &life), PAG_OK);
        assert_int_equal(life.from_s, info->not_before);
        assert_int_equal(life.until_s, info->not_after);
        struct pag_span der = pag_ca_der(r);
        for (size_t n = 0; n < 60; n++) {
            assert_int_equal(pag_certificate_life(pag_span_of(der.p, n), &life), PAG_E_SYNTAX);
        }
        pag_ca_free(r);
    }
    uint8_t der[PAG_CERT_DER_MAX];
    struct pag_certificate_life life;
    struct pag_ca *r = NULL;
    assert_int_equal(pag_ca_root_new("Test", 1795996800 /* 2026-11-30 */, &r, NULL), PAG_OK);
    struct pag_span good = pag_ca_der(r);
    memcpy(der, good.p, good.n);
    for (size_t i = 0; i + 6 < good.n; i++) {
        if (memcmp(der + i, "261129", 6) == 0 || memcmp(der + i, "261130", 6) == 0) {
            memcpy(der + i, "261131", 6);
            assert_int_equal(pag_certificate_life(pag_span_of(der, good.n), &life), PAG_E_SYNTAX);
        }
    }
    assert_memory_not_equal(der, good.p, good.n);
    pag_ca_free(r);
    EVP_PKEY_free(key);
    (void)f;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(before_two_thirds_nothing_is_renewed, device, gone),
        cmocka_unit_test_setup_teardown(without_a_clock_nothing_is_renewed, device, gone),
        cmocka_unit_test_setup_teardown(at_two_thirds_a_new_key_gets_the_next_certificate, device, gone),
        cmocka_unit_test_setup_teardown(a_floor_ahead_of_the_time_asks_once_a_day, device, gone),
        cmocka_unit_test_setup_teardown(a_cut_anywhere_leaves_the_old_identity_or_the_new_one, device, gone),
        cmocka_unit_test_setup_teardown(an_answer_that_is_lost_costs_a_day_and_no_identity, device, gone),
        cmocka_unit_test_setup_teardown(a_certificate_that_would_strand_it_is_not_kept, device, gone),
        cmocka_unit_test_setup_teardown(flash_that_takes_nothing_keeps_the_old_identity, device, gone),
        cmocka_unit_test_setup_teardown(the_dates_are_those_that_a_library_reads, device, gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
