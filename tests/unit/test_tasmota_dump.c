#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "relay/tasmota.h"

enum { SETTINGS = 4096 };

/* Bit by bit, as the firmware does it. */
static uint32_t sum_of(const uint8_t *p, size_t n)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int j = 0; j < 8; j++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320 : 0);
        }
    }
    return ~crc;
}

/* Without an end: the field has zeros behind it. */
static void put_text(uint8_t *p, const char *text)
{
    for (size_t i = 0; text[i] != 0; i++) {
        p[i] = (uint8_t)text[i];
    }
}

static void put(uint8_t *p, uint32_t v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

static void cover(uint8_t *p, size_t n)
{
    for (size_t i = n > SETTINGS ? 18 : 2; i < n; i++) {
        p[i] ^= (uint8_t)(0x5a + i);
    }
}

static void settings(uint8_t s[SETTINGS], uint32_t version, uint8_t chip)
{
    memset(s, 0, SETTINGS);
    put(s, 4617, 2);
    put(s + 2, SETTINGS, 2);
    put(s + 8, version, 4);
    s[0xf36] = chip;
    put_text(s + 600, "kitchen");
    put(s + SETTINGS - 4, sum_of(s, SETTINGS - 4), 4);
}

static enum pag_err read(const uint8_t *p, size_t n, struct pag_tasmota_dump *d)
{
    const char *why = NULL;
    enum pag_err err = pag_tasmota_dump_read(pag_span_of(p, n), d, &why);
    assert_non_null(why);
    return err;
}

static void a_configuration_says_its_version_and_chip(void **state)
{
    uint8_t s[SETTINGS];
    struct pag_tasmota_dump d;
    (void)state;
    settings(s, 0x0d040002, 2);
    cover(s, sizeof s);
    assert_int_equal(read(s, sizeof s, &d), PAG_OK);
    assert_int_equal(d.version, 0x0d040002);
    assert_string_equal(pag_tasmota_chip(d.chip), "ESP32-S3");
    assert_int_equal(d.drivers, 0);
}

static void every_single_changed_byte_is_noticed(void **state)
{
    uint8_t s[SETTINGS];
    struct pag_tasmota_dump d;
    (void)state;
    settings(s, 0x0d040000, 0);
    cover(s, sizeof s);
    for (size_t i = 0; i < sizeof s; i++) {
        s[i] ^= 0x10;
        assert_int_not_equal(read(s, sizeof s, &d), PAG_OK);
        s[i] ^= 0x10;
    }
    assert_int_equal(read(s, sizeof s, &d), PAG_OK);
}

static void every_shorter_file_is_refused(void **state)
{
    uint8_t s[SETTINGS];
    struct pag_tasmota_dump d;
    (void)state;
    settings(s, 0x0d040000, 0);
    cover(s, sizeof s);
    for (size_t n = 0; n < sizeof s; n++) {
        assert_int_not_equal(read(s, n, &d), PAG_OK);
    }
}

/* Header, settings, and driver 12 with 28 bytes of its own behind its sum. */
static size_t with_driver(uint8_t *p, uint32_t sum_off)
{
    enum { DATA = 28, ROOM = 48, ALL = 16 + SETTINGS + 16 + ROOM };
    uint8_t *driver = p + 16 + SETTINGS;
    memset(p, 0, ALL);
    put_text(p, "/.settings");
    put(p + 14, ALL & 0xffff, 2);
    settings(p + 16, 0x0d040000, 0);
    put_text(driver, "/.drvset012");
    put(driver + 14, DATA + 4, 2);
    memset(driver + 20, 'd', DATA);
    put(driver + 16, sum_of(driver + 20, DATA) + sum_off, 4);
    cover(p, ALL);
    return ALL;
}

static void files_of_drivers_follow(void **state)
{
    uint8_t p[5000];
    struct pag_tasmota_dump d;
    (void)state;
    size_t n = with_driver(p, 0);
    assert_int_equal(read(p, n, &d), PAG_OK);
    assert_int_equal(d.drivers, 1);
    assert_int_equal(d.damaged, 0);
}

static void a_driver_that_the_device_leaves_out_is_counted(void **state)
{
    uint8_t p[5000];
    struct pag_tasmota_dump d;
    (void)state;
    size_t n = with_driver(p, 1);
    assert_int_equal(read(p, n, &d), PAG_OK);
    assert_int_equal(d.damaged, 1);
}

static void a_file_of_drivers_that_is_cut_or_not_one_is_refused(void **state)
{
    uint8_t p[5000];
    struct pag_tasmota_dump d;
    (void)state;
    size_t n = with_driver(p, 0);
    assert_int_equal(read(p, n - 16, &d), PAG_E_DIGEST);
    p[2] ^= 1;
    assert_int_equal(read(p, n, &d), PAG_E_SYNTAX);
    p[2] ^= 1;
    p[16 + SETTINGS + 3] ^= 1; /* of the driver's name */
    assert_int_equal(read(p, n, &d), PAG_E_DIGEST);
}

static void versions_are_numbers_and_texts(void **state)
{
    char text[PAG_TASMOTA_VERSION_MAX];
    (void)state;
    pag_tasmota_number_text(0x0d040000, text);
    assert_string_equal(text, "13.4.0");
    pag_tasmota_number_text(0xffffffff, text);
    assert_string_equal(text, "255.255.255.255");
    assert_int_equal(pag_tasmota_number("13.4.0(tasmota)"), 0x0d040000);
    assert_int_equal(pag_tasmota_number("9.5.0.8(lite)"), 0x09050008);
    assert_int_equal(pag_tasmota_number("13.4"), 0);
    assert_int_equal(pag_tasmota_number("13.999.0"), 0);
    assert_int_equal(pag_tasmota_number(""), 0);
}

static void hardware_is_known_by_what_the_device_says(void **state)
{
    (void)state;
    assert_int_equal(pag_tasmota_chip_of("ESP8266EX"), 0);
    assert_int_equal(pag_tasmota_chip_of("ESP8285N08"), 0);
    assert_int_equal(pag_tasmota_chip_of("ESP32-D0WD-V3 v3.1"), 1);
    assert_int_equal(pag_tasmota_chip_of("ESP32-S3 v0.2"), 2);
    assert_int_equal(pag_tasmota_chip_of("ESP32-C3"), 4);
    assert_int_equal(pag_tasmota_chip_of(""), -1);
    assert_null(pag_tasmota_chip(99));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_says_its_version_and_chip),
        cmocka_unit_test(every_single_changed_byte_is_noticed),
        cmocka_unit_test(every_shorter_file_is_refused),
        cmocka_unit_test(files_of_drivers_follow),
        cmocka_unit_test(a_driver_that_the_device_leaves_out_is_counted),
        cmocka_unit_test(a_file_of_drivers_that_is_cut_or_not_one_is_refused),
        cmocka_unit_test(versions_are_numbers_and_texts),
        cmocka_unit_test(hardware_is_known_by_what_the_device_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
