#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/text.h"
#include "core/bytes.h"

static void the_nearest_word_is_within_a_third_of_it(void **state)
{
    static const char *const names[] = { "device", "release", "context", "doctor" };
    (void)state;
    assert_string_equal(pag_text_nearest("devcie", names, 4), "device");
    assert_string_equal(pag_text_nearest("docter", names, 4), "doctor");
    assert_null(pag_text_nearest("xyz", names, 4));
    assert_null(pag_text_nearest("", names, 4));
}

static void distance_counts_swaps_as_one_and_gives_up_on_long_words(void **state)
{
    char longer[100];
    (void)state;
    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(pag_text_distance("", ""), 0);
    assert_int_equal(pag_text_distance("list", "lits"), 1);
    assert_int_equal(pag_text_distance("kitten", "sitting"), 3);
    assert_int_equal(pag_text_distance("abc", ""), 3);
    assert_int_equal(pag_text_distance(longer, longer), 63);
}

static void durations_have_units_and_limits(void **state)
{
    uint64_t ms = 7;
    (void)state;
    assert_int_equal(pag_text_duration("90", &ms), PAG_OK);
    assert_int_equal(ms, 90000);
    assert_int_equal(pag_text_duration("7d", &ms), PAG_OK);
    assert_int_equal(ms, 604800000);
    assert_int_equal(pag_text_duration("250ms", &ms), PAG_OK);
    assert_int_equal(ms, 250);
    assert_int_equal(pag_text_duration("99999999999999d", &ms), PAG_E_RANGE);
    assert_int_equal(pag_text_duration("5 m", &ms), PAG_E_SYNTAX);
    assert_int_equal(pag_text_duration("-5m", &ms), PAG_E_SYNTAX);
    assert_int_equal(pag_text_duration("", &ms), PAG_E_SYNTAX);
    assert_int_equal(ms, 250);
}

static void sizes_read_as_people_write_them(void **state)
{
    char text[24];
    (void)state;
    pag_text_bytes(999, text);
    assert_string_equal(text, "999 B");
    pag_text_bytes(912400, text);
    assert_string_equal(text, "912.4 kB");
    pag_text_bytes(999999, text);
    assert_string_equal(text, "1.0 MB");
    pag_text_bytes(UINT64_MAX, text);
    assert_non_null(strstr(text, " TB"));
}

static void clean_text_drives_no_terminal(void **state)
{
    char out[64];
    (void)state;
    (void)pag_text_clean("a\x1b[31mb\nc", out, sizeof out);
    assert_string_equal(out, "a\\x1b[31mb\\x0ac");
    (void)pag_text_clean("gr\xc3\xbc\xc3\x9f", out, sizeof out);
    assert_string_equal(out, "gr\xc3\xbc\xc3\x9f");
    (void)pag_text_clean("\xc2\x9b"
                         "2J",
                         out, sizeof out); /* C1: CSI in one character */
    assert_string_equal(out, "\\xc2\\x9b2J");
    (void)pag_text_clean("\xe2\x80\xae", out, sizeof out); /* right-to-left override */
    assert_string_equal(out, "\\xe2\\x80\\xae");
    (void)pag_text_clean("\xff\xc3", out, sizeof out);
    assert_string_equal(out, "\\xff\\xc3");
}

static void clean_text_never_passes_its_buffer_nor_cuts_a_character(void **state)
{
    static const char text[] = "x\xe2\x82\xac\x01y\xf0\x9f\xa6\x80";
    (void)state;
    for (size_t cap = 1; cap < 32; cap++) {
        char out[40];
        memset(out, '#', sizeof out);
        size_t n = pag_text_clean(text, out, cap);
        assert_true(n < cap);
        assert_int_equal(out[n], 0);
        assert_int_equal(out[cap], '#');
        assert_true(pag_utf8_ok(pag_span_of(out, n)));
    }
}

static void times_are_read_strictly(void **state)
{
    int64_t s = 5;
    (void)state;
    assert_int_equal(pag_text_unix("1970-01-02T00:00:00.000Z", &s), PAG_OK);
    assert_int_equal(s, 86400);
    assert_int_equal(pag_text_unix("2026-02-29", &s), PAG_E_SYNTAX);
    assert_int_equal(pag_text_unix("yesterday", &s), PAG_E_SYNTAX);
    assert_int_equal(s, 86400);
}

static void names_of_keys_and_contexts_are_safe_file_names(void **state)
{
    (void)state;
    assert_true(pag_text_name_ok("ci-2026.release_a"));
    assert_false(pag_text_name_ok(""));
    assert_false(pag_text_name_ok(".hidden"));
    assert_false(pag_text_name_ok("-o"));
    assert_false(pag_text_name_ok("a/b"));
    assert_false(pag_text_name_ok("a b"));
}

static void digests_are_written_in_base64(void **state)
{
    char out[92];
    (void)state;
    pag_text_base64(pag_span_str("sha"), out);
    assert_string_equal(out, "c2hh");
    pag_text_base64(pag_span_str("digest"), out);
    assert_string_equal(out, "ZGlnZXN0");
    pag_text_base64(pag_span_str("a"), out);
    assert_string_equal(out, "YQ==");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_word_is_within_a_third_of_it),
        cmocka_unit_test(distance_counts_swaps_as_one_and_gives_up_on_long_words),
        cmocka_unit_test(durations_have_units_and_limits),
        cmocka_unit_test(sizes_read_as_people_write_them),
        cmocka_unit_test(clean_text_drives_no_terminal),
        cmocka_unit_test(clean_text_never_passes_its_buffer_nor_cuts_a_character),
        cmocka_unit_test(times_are_read_strictly),
        cmocka_unit_test(names_of_keys_and_contexts_are_safe_file_names),
        cmocka_unit_test(digests_are_written_in_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
