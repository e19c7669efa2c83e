/* Configuration text, and records that survive a cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "agent/config.h"
#include "agent/twin_store.h"
#include "ports/posix/posix_port.h"
#include "tests/support/agent_fake.h"

static const char whole[] = "# a device\n"
                            "server = pagurus.example\r\n"
                            "port=9444\n"
                            "product=0011223344556677\n"
                            "hardware=d1mini\n"
                            "chip=esp8266\n"
                            "\n"
                            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
                            "mac=AA:BB:CC:DD:EE:FF\n"
                            "mqtt=off\n"
                            "trial_s=30";

static enum pag_err parse(const char *text, struct pag_settings *s, struct pag_fail *why)
{
    *why = (struct pag_fail){ 0 };
    pag_settings_default(s);
    return pag_settings_parse(pag_span_str(text), s, why);
}

static void a_whole_configuration_is_read(void **state)
{
    (void)state;
    struct pag_settings s;
    struct pag_fail why;
    assert_int_equal(parse(whole, &s, &why), PAG_OK);
    assert_string_equal(s.host, "pagurus.example");
    assert_int_equal(s.port, 9444);
    assert_string_equal(s.mac, "aabbccddeeff");
    assert_int_equal(s.chip, PAG_CHIP_ESP8266);
    assert_int_equal(s.hardware_n, 6);
    assert_true(s.mqtt_off);
    assert_int_equal(s.trial_s, 30);
    assert_int_equal(s.poll_s, 300);
    assert_true(pag_span_starts(s.ca, "-----BEGIN") && s.ca.p[s.ca.n - 2] == '-');
}

static void a_bad_line_is_named_by_its_number(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "nonsense",   "colour=red", "port=0",     "port=70000",  "port=1\nport=2",
        "mqtt=maybe", "chip=z80",   "mac=12",     "hardware=ab", "trust_pin=12",
        "trial_s=-1", "server=a b", "product=00", "server=",     "image=",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[100];
        struct pag_settings s;
        struct pag_fail why;
        (void)snprintf(text, sizeof text, "# one\n\n%s\n", bad[i]);
        assert_int_equal(parse(text, &s, &why), PAG_E_CONFIG);
        uint64_t line = strchr(bad[i], '\n') != NULL ? 4 : 3;
        if (why.detail != line) {
            fail_msg("%s: line %llu: %s", bad[i], (unsigned long long)why.detail, why.what);
        }
    }
}

static void what_is_missing_is_said(void **state)
{
    (void)state;
    struct pag_settings s;
    struct pag_fail why;
    assert_int_equal(parse("server=a\n", &s, &why), PAG_E_CONFIG);
    assert_string_equal(why.what, "configuration: product is missing");
    assert_int_equal(parse("-----BEGIN CERTIFICATE-----\n", &s, &why), PAG_E_CONFIG);
    assert_int_equal(why.detail, 1);
}

static void a_record_cut_anywhere_is_the_old_one_or_the_new_one(void **state)
{
    (void)state;
    struct fake *f = fake_new(3);
    uint8_t chunk[64];
    struct pag_buf work = { chunk, 0, sizeof chunk };
    static const char *const texts[] = { "first record", "the second, longer record", "third" };
    for (uint64_t cut = 1; cut < 12; cut++) {
        for (int kind = 0; kind < FAKE_CUT_KINDS; kind++) {
            struct pag_twin t;
            uint8_t out[64];
            struct pag_buf got = { out, 0, sizeof out };
            memset(f->area[PAG_AREA_CONFIG], 0xFF, 2 * FAKE_SECTOR);
            f->dead = false;
            f->ops = 0;
            f->cut_at = 0;
            assert_int_equal(pag_twin_open(&t, &f->port, PAG_AREA_CONFIG, work), PAG_OK);
            assert_int_equal(pag_twin_write(&t, pag_span_str(texts[0]), work), PAG_OK);
            assert_int_equal(pag_twin_write(&t, pag_span_str(texts[1]), work), PAG_OK);
            f->ops = 0;
            f->cut_at = cut;
            f->cut_kind = (enum fake_cut)kind;
            enum pag_err err = pag_twin_write(&t, pag_span_str(texts[2]), work);
            f->dead = false;
            f->cut_at = 0;
            assert_int_equal(pag_twin_open(&t, &f->port, PAG_AREA_CONFIG, work), PAG_OK);
            assert_int_equal(pag_twin_read(&t, &got), PAG_OK);
            bool old = pag_span_eq_str(pag_buf_span(&got), texts[1]);
            bool new = pag_span_eq_str(pag_buf_span(&got), texts[2]);
            assert_true(err == PAG_OK ? new : (old || new));
        }
    }
    fake_free(f);
}

/* Offset of the public point in a request: 0x04 after the bit string's header. */
static struct pag_span point_of(const struct pag_buf *csr)
{
    static const uint8_t before[] = { 0x03, 0x42, 0x00, 0x04 };
    for (size_t i = 0; i + sizeof before + 64 <= csr->n; i++) {
        if (memcmp(csr->p + i, before, sizeof before) == 0) {
            return pag_span_of(csr->p + i + sizeof before, 64);
        }
    }
    return (struct pag_span){ 0 };
}

static void a_request_made_again_with_a_kept_key_is_for_the_same_key(void **state)
{
    (void)state;
    uint8_t bytes[4][600];
    struct pag_buf key = { bytes[0], 0, 200 };
    struct pag_buf other = { bytes[1], 0, 200 };
    struct pag_buf first = { bytes[2], 0, 600 };
    struct pag_buf again = { bytes[3], 0, 600 };
    assert_int_equal(pag_posix_make_csr(NULL, "dev-1", &key, &first), PAG_OK);
    size_t n = key.n;
    assert_int_equal(pag_posix_make_csr(NULL, "dev-1", &key, &again), PAG_OK);
    assert_int_equal(key.n, n);
    assert_int_equal(point_of(&first).n, 64);
    assert_true(pag_span_eq(point_of(&first), point_of(&again)));
    again.n = 0;
    assert_int_equal(pag_posix_make_csr(NULL, "dev-1", &other, &again), PAG_OK);
    assert_false(pag_span_eq(point_of(&first), point_of(&again)));
    key.p[1] ^= 0x40;
    again.n = 0;
    assert_int_not_equal(pag_posix_make_csr(NULL, "dev-1", &key, &again), PAG_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_made_again_with_a_kept_key_is_for_the_same_key),
        cmocka_unit_test(a_whole_configuration_is_read),
        cmocka_unit_test(a_bad_line_is_named_by_its_number),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(a_record_cut_anywhere_is_the_old_one_or_the_new_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
