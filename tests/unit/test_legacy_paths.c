/* Names of files, tags and mounts: what is read out of an address, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "server/api/legacy_http/filename.h"
#include "server/api/legacy_http/headers.h"
#include "server/api/legacy_http/tag.h"
#include "server/api/legacy_http/webtools.h"
#include "server/domain/mount.h"

static struct pag_file_request read_ok(const char *rest, const char *query)
{
    struct pag_file_request r;
    assert_int_equal(pag_file_request_read(pag_span_str(rest), false, pag_span_str(query), &r), PAG_OK);
    return r;
}

static void a_file_is_the_last_segment(void **state)
{
    (void)state;
    assert_string_equal(read_ok("firmware.bin", "").name, "firmware.bin");
    assert_string_equal(read_ok("a/b/firmware.bin", "").name, "firmware.bin");
    assert_string_equal(read_ok("a%2Db.bin", "").name, "a-b.bin");
    assert_string_equal(read_ok("", "").name, "");
    assert_int_equal(read_ok("x/manifest.json", "").what, PAG_FILE_MANIFEST);
    assert_int_equal(read_ok("firmware.bin.md5", "").what, PAG_FILE_MD5);
    assert_string_equal(read_ok("firmware.bin.md5", "").name, "firmware.bin");
}

static void a_mac_is_found_where_people_put_it(void **state)
{
    (void)state;
    assert_string_equal(read_ok("24A160010203/f.bin", "").mac, "24a160010203");
    assert_string_equal(read_ok("x/24:a1:60:1:2:3/f.bin", "").mac, "24a160010203");
    assert_string_equal(read_ok("f.bin", "a=1&mac=24-A1-60-01-02-03").mac, "24a160010203");
    assert_string_equal(read_ok("f.bin", "id=24a1.6001.0203&mac=000000000001").mac, "24a160010203");
    assert_string_equal(read_ok("24a160010203", "").mac, "");
    assert_string_equal(read_ok("f.bin", "id=7").mac, "");
}

static void what_is_no_file_name_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "..",    ".x",     "a b.bin", "a%00.bin",    "a%2Fb.bin",         "/",      "a/",   "x.key",
        "x.crt", "ca.pem", "x.der",   "config.json", "a/b/c/d/e/f/g/h/i", "%2e%2e", ".md5", "a.bin%"
    };
    struct pag_file_request r = { .what = PAG_FILE_MANIFEST };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_not_equal(pag_file_request_read(pag_span_str(bad[i]), false, pag_span_str(""), &r),
                             PAG_OK);
    }
    char longest[70];
    memset(longest, 'a', sizeof longest);
    assert_int_equal(pag_file_request_read(pag_span_of(longest, 64), false, pag_span_str(""), &r), PAG_OK);
    assert_int_not_equal(pag_file_request_read(pag_span_of(longest, 65), false, pag_span_str(""), &r),
                         PAG_OK);
    assert_int_equal(pag_file_request_read(pag_span_str(".md5"), true, pag_span_str(""), &r), PAG_OK);
    assert_int_equal(r.what, PAG_FILE_MD5);
    assert_string_equal(r.name, "");
}

static void a_tag_is_found_anywhere_and_read_three_ways(void **state)
{
    (void)state;
    struct pag_span tag;
    char text[PAG_DEVICE_ID_MAX + 1];
    assert_true(pag_tag_of(pag_span_str("tag=1.0"), &tag) && pag_span_eq_str(tag, "1.0"));
    assert_true(pag_tag_of(pag_span_str("x&y=tag=3&tag=a+b%2B"), &tag) && pag_span_eq_str(tag, "a+b%2B"));
    assert_true(pag_tag_of(pag_span_str("?tag=1"), &tag) && pag_span_eq_str(tag, "1"));
    assert_false(pag_tag_of(pag_span_str("tag="), &tag));
    assert_false(pag_tag_of(pag_span_str("xtag=1&Tag=2"), &tag));
    tag = pag_span_str("a+b%2B%zz%");
    assert_true(pag_tag_read(tag, PAG_TAG_RAW, text));
    assert_string_equal(text, "a+b%2B%zz%");
    assert_true(pag_tag_read(tag, PAG_TAG_ESCAPES, text));
    assert_string_equal(text, "a+b+%zz%");
    assert_true(pag_tag_read(tag, PAG_TAG_PLUS, text));
    assert_string_equal(text, "a b+%zz%");
    assert_false(pag_tag_read(pag_span_str("a%00"), PAG_TAG_ESCAPES, text));
    assert_false(pag_tag_read(pag_span_str("a%0A"), PAG_TAG_PLUS, text));
    assert_false(pag_tag_read(pag_span_str("\xC3\xA4"), PAG_TAG_RAW, text));
}

static void a_mount_takes_whole_segments(void **state)
{
    (void)state;
    struct pag_mount m = { .path = "/ota/x.bin", .kind = PAG_MOUNT_FILES };
    struct pag_span rest;
    assert_true(pag_mount_takes(&m, pag_span_str("/ota/x.bin"), &rest) && rest.n == 0);
    assert_true(pag_mount_takes(&m, pag_span_str("/ota/x.bin/a/b"), &rest) && pag_span_eq_str(rest, "a/b"));
    assert_true(pag_mount_takes(&m, pag_span_str("/ota/x.bin.md5"), &rest) && pag_span_eq_str(rest, ".md5"));
    assert_false(pag_mount_takes(&m, pag_span_str("/ota/x.bin.php"), &rest));
    assert_false(pag_mount_takes(&m, pag_span_str("/ota/x.bi"), &rest));
    m.kind = PAG_MOUNT_HTTPUPDATE;
    assert_false(pag_mount_takes(&m, pag_span_str("/ota/x.bin.md5"), &rest));
    m = (struct pag_mount){ .path = "/", .kind = PAG_MOUNT_FILES };
    assert_true(pag_mount_takes(&m, pag_span_str("/a/b"), &rest) && pag_span_eq_str(rest, "a/b"));
}

static void an_image_answers_to_its_names(void **state)
{
    (void)state;
    struct pag_release_image i = { .name = "firmware", .file = "http-x.bin" };
    assert_true(pag_image_answers(&i, "firmware.bin", false));
    assert_true(pag_image_answers(&i, "http-x.bin", false));
    assert_false(pag_image_answers(&i, "other.bin", false));
    assert_true(pag_image_answers(&i, "other.bin", true));
    assert_false(pag_image_answers(&i, "other-minimal.bin", true));
    assert_false(pag_image_answers(&i, "other-minimal.ino.bin", true));
    assert_true(pag_image_answers(&i, "other-minimalist.bin", true));
    assert_false(pag_image_answers(&i, "firmware.bin.gz", true));
    i = (struct pag_release_image){ .name = "minimal-gz", .gzip = true };
    assert_true(pag_image_answers(&i, "tasmota-minimal.bin.gz", false));
    assert_true(pag_image_answers(&i, "minimal.bin.gz", false));
    assert_false(pag_image_answers(&i, "tasmota-minimal.bin", false));
    assert_false(pag_image_answers(&i, "tasmotaminimal.bin.gz", false));
    /* Tasmota puts it before the first dot, whatever follows */
    assert_true(pag_image_answers(&i, "tasmota-minimal.ino.bin.gz", false));
    assert_true(pag_image_answers(&i, "tasmota-minimal.4.0.bin.gz", false));
    assert_true(pag_image_answers(&i, "tasmota-13.4.0-minimal.4.0-DE.bin.gz", false));
    assert_false(pag_image_answers(&i, "tasmota-minimalist.bin.gz", false));
    assert_true(pag_image_is_side("minimal-gz") && pag_image_is_side("bootloader"));
    assert_false(pag_image_is_side("firmware-gz") || pag_image_is_side("filesystem"));
}

static void every_chip_has_the_name_that_installers_know(void **state)
{
    (void)state;
    assert_string_equal(pag_webtools_family(PAG_CHIP_ESP32_C3), "ESP32-C3");
    assert_string_equal(pag_webtools_family(PAG_CHIP_ESP8266), "ESP8266");
    assert_null(pag_webtools_family(PAG_CHIP_POSIX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_the_last_segment),
        cmocka_unit_test(a_mac_is_found_where_people_put_it),
        cmocka_unit_test(what_is_no_file_name_is_refused),
        cmocka_unit_test(a_tag_is_found_anywhere_and_read_three_ways),
        cmocka_unit_test(a_mount_takes_whole_segments),
        cmocka_unit_test(an_image_answers_to_its_names),
        cmocka_unit_test(every_chip_has_the_name_that_installers_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
