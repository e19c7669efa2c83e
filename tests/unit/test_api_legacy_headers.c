#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "server/api/legacy_http/headers.h"

#define H(n, v)                                                                                              \
    {                                                                                                        \
        { (const uint8_t *)(n), sizeof(n) - 1 },                                                             \
        {                                                                                                    \
            (const uint8_t *)(v), sizeof(v) - 1                                                              \
        }                                                                                                    \
    }
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void a_core_2_3_request_is_read(void **state)
{
    (void)state;
    const struct pag_http_header h[] = {
        H("Host", "10.0.0.2:8080"),
        H("User-Agent", "ESP8266-http-Update"),
        H("x-ESP8266-STA-MAC", "5C:CF:7F:5E:7F:74"),
        H("x-ESP8266-free-space", "450560"),
        H("x-ESP8266-sketch-size", "512000"),
        H("x-ESP8266-chip-size", "4194304"),
        H("x-ESP8266-sdk-version", "1.5.3(aec24ac9)"),
        H("x-ESP8266-mode", "sketch"),
        H("x-ESP8266-version", "1.0+abc"),
    };
    struct pag_legacy_request r;
    assert_int_equal(pag_legacy_headers_read(h, COUNT(h), &r, NULL), PAG_OK);
    assert_string_equal(r.mac, "5ccf7f5e7f74");
    assert_int_equal(r.core, PAG_LEGACY_CORE_2_3);
    assert_int_equal(r.mode, PAG_LEGACY_SKETCH);
    assert_false(r.has_md5);
    assert_int_equal(r.free_bytes, 450560);
    assert_int_equal(r.sketch_bytes, 512000);
    assert_int_equal(r.flash_bytes, 4194304);
    assert_true(pag_span_eq_str(r.version, "1.0+abc"));
}

static void header_names_match_in_any_case(void **state)
{
    (void)state;
    const struct pag_http_header h[] = {
        H("X-ESP8266-STA-mac", "5c:cf:7f:5e:7f:74"),
        H("x-esp8266-SKETCH-MD5", "00112233445566778899aabbccddeeff"),
        H("x-esp8266-mode", "spiffs"),
    };
    struct pag_legacy_request r;
    assert_int_equal(pag_legacy_headers_read(h, COUNT(h), &r, NULL), PAG_OK);
    assert_string_equal(r.mac, "5ccf7f5e7f74");
    assert_int_equal(r.mode, PAG_LEGACY_FILESYSTEM);
    assert_true(r.has_md5);
    assert_int_equal(r.md5[15], 0xFF);
    assert_int_equal(r.core, PAG_LEGACY_CORE_2_4);
}

static void the_chip_id_is_the_low_half_of_the_mac(void **state)
{
    (void)state;
    struct pag_http_header h[] = {
        H("x-ESP8266-Chip-ID", "6193012"), /* 0x5E7F74 */
        H("x-ESP8266-STA-MAC", "5C:CF:7F:5E:7F:74"),
    };
    struct pag_legacy_request r;
    assert_int_equal(pag_legacy_headers_read(h, COUNT(h), &r, NULL), PAG_OK);
    assert_true(r.has_chip_id);
    assert_int_equal(r.core, PAG_LEGACY_CORE_2_6);

    h[0].value = pag_span_str("6193013");
    assert_int_equal(pag_legacy_headers_read(h, COUNT(h), &r, NULL), PAG_E_CONFLICT);
}

static void an_empty_md5_counts_as_not_said(void **state)
{
    (void)state;
    const struct pag_http_header h[] = {
        H("x-ESP8266-STA-MAC", "5C:CF:7F:5E:7F:74"),
        H("x-ESP8266-sketch-md5", ""),
        H("x-ESP8266-free-space", "4294967296"),
        H("x-ESP8266-version", "a\x01b"),
    };
    struct pag_legacy_request r;
    assert_int_equal(pag_legacy_headers_read(h, COUNT(h), &r, NULL), PAG_OK);
    assert_false(r.has_md5);
    assert_int_equal(r.core, PAG_LEGACY_CORE_2_4);
    assert_int_equal(r.free_bytes, 0);
    assert_int_equal(r.version.n, 0);
}

static void a_browser_is_not_such_a_client(void **state)
{
    (void)state;
    const struct pag_http_header h[] = { H("User-Agent", "Mozilla/5.0") };
    struct pag_legacy_request r;
    assert_int_equal(pag_legacy_headers_read(h, COUNT(h), &r, NULL), PAG_E_NOT_FOUND);
}

static void a_mode_or_mac_that_no_client_sends_is_refused(void **state)
{
    (void)state;
    const struct pag_http_header mode[] = { H("x-ESP8266-mode", "eeprom") };
    const struct pag_http_header mac[] = { H("x-ESP8266-STA-MAC", "5C:CF:7F:5E:7F") };
    struct pag_legacy_request r;
    assert_int_equal(pag_legacy_headers_read(mode, 1, &r, NULL), PAG_E_SYNTAX);
    assert_int_equal(pag_legacy_headers_read(mac, 1, &r, NULL), PAG_E_SYNTAX);
}

static void flash_is_taken_in_whole_sectors(void **state)
{
    (void)state;
    assert_int_equal(pag_legacy_flash_bytes(0), 0);
    assert_int_equal(pag_legacy_flash_bytes(1), 4096);
    assert_int_equal(pag_legacy_flash_bytes(4096), 4096);
    assert_int_equal(pag_legacy_flash_bytes(4097), 8192);
    assert_true(pag_legacy_flash_bytes(UINT64_MAX) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_core_2_3_request_is_read),
        cmocka_unit_test(header_names_match_in_any_case),
        cmocka_unit_test(the_chip_id_is_the_low_half_of_the_mac),
        cmocka_unit_test(an_empty_md5_counts_as_not_said),
        cmocka_unit_test(a_browser_is_not_such_a_client),
        cmocka_unit_test(a_mode_or_mac_that_no_client_sends_is_refused),
        cmocka_unit_test(flash_is_taken_in_whole_sectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
