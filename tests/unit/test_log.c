#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/log.h"

static uint64_t fixed_ms(void *ctx)
{
    (void)ctx;
    return 1772363050123U; /* 2026-03-01T11:04:10.123Z */
}

static const struct pag_clock fixed_clock = { .now_ms = fixed_ms, .now_unix_ms = fixed_ms };

/* Writes one event into a pipe and returns what one read gives. */
static const char *line_of(bool json, enum pag_log_level level, const struct pag_field *f, size_t n)
{
    static char text[8192];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct pag_log *log = pag_log_new(ends[1], PAG_LOG_INFO, json, fixed_clock);
    pag_log_event(log, level, "rollout.paused", f, n);
    pag_log_free(log);
    (void)close(ends[1]);
    ssize_t got = read(ends[0], text, sizeof(text) - 1);
    (void)close(ends[0]);
    assert_true(got >= 0);
    text[got] = '\0';
    return text;
}

#define SPAN(s)                                                                                              \
    (struct pag_span)                                                                                        \
    {                                                                                                        \
        (const uint8_t *)(s), sizeof(s) - 1                                                                  \
    }

static void text_line_has_time_level_event_and_fields(void **state)
{
    (void)state;
    const struct pag_field f[] = { PAG_F_STR("rollout", "ro_17"), PAG_F_U64("failures", 3),
                                   PAG_F_I64("delta", -4), PAG_F_HEX("digest", SPAN("\x01\xff")) };
    assert_string_equal(line_of(false, PAG_LOG_WARN, f, 4),
                        "2026-03-01T11:04:10.123Z WARN rollout.paused rollout=ro_17 failures=3 delta=-4 "
                        "digest=01ff\n");
}

static void json_line_is_one_object(void **state)
{
    (void)state;
    const struct pag_field f[] = { PAG_F_STR("name", "a\"b\\c"), PAG_F_U64("n", UINT64_MAX) };
    assert_string_equal(
        line_of(true, PAG_LOG_ERROR, f, 2),
        "{\"t\":\"2026-03-01T11:04:10.123Z\",\"level\":\"error\",\"event\":\"rollout.paused\","
        "\"name\":\"a\\\"b\\\\c\",\"n\":18446744073709551615}\n");
}

static void a_value_cannot_start_a_line_or_drive_a_terminal(void **state)
{
    (void)state;
    /* ESC, CR LF, DEL, C1 CSI as UTF-8, raw byte 0x9b, right-to-left override, NUL */
    struct pag_field f = PAG_F_SPAN("v", SPAN("a\x1b[2J\r\nERROR\x7f\xc2\x9b\x9b\xe2\x80\xae\0z"));
    assert_string_equal(line_of(false, PAG_LOG_INFO, &f, 1),
                        "2026-03-01T11:04:10.123Z INFO rollout.paused "
                        "v=\"a\\u001b[2J\\u000d\\u000aERROR\\u007f\\u009b\\x9b\\u202e\\u0000z\"\n");
    assert_non_null(strstr(line_of(true, PAG_LOG_INFO, &f, 1), "\\u009b\\ufffd\\u202e\\u0000z\"}\n"));
}

static void text_beyond_ascii_passes_and_bad_utf8_does_not(void **state)
{
    (void)state;
    struct pag_field f = PAG_F_STR("v", "gr\xc3\xbc\xc3\x9f \xf0\x9f\xa6\x80 \xc0\xaf \xed\xa0\x80 \xe2\x82");
    assert_non_null(
        strstr(line_of(false, PAG_LOG_INFO, &f, 1),
               "v=\"gr\xc3\xbc\xc3\x9f \xf0\x9f\xa6\x80 \\xc0\\xaf \\xed\\xa0\\x80 \\xe2\\x82\"\n"));
}

static void below_the_least_level_nothing_is_written(void **state)
{
    (void)state;
    assert_string_equal(line_of(false, PAG_LOG_DEBUG, NULL, 0), "");
    pag_log_event(NULL, PAG_LOG_ERROR, "no.log", NULL, 0);
}

static void long_values_are_cut_and_too_many_fields_are_left_out(void **state)
{
    (void)state;
    static char big[2000];
    memset(big, 1, sizeof(big) - 1);
    struct pag_field f[8];
    for (size_t i = 0; i < 8; i++) {
        f[i] = PAG_F_STR("v", big);
    }
    const char *line = line_of(true, PAG_LOG_INFO, f, 8);
    size_t n = strlen(line);
    assert_true(n <= 4096);
    assert_non_null(strstr(line, "...\""));
    assert_string_equal(line + n - strlen(",\"cut\":true}\n"), ",\"cut\":true}\n");
}

static void time_text_is_rfc3339(void **state)
{
    (void)state;
    char text[25];
    pag_time_text(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    pag_time_text(951782399999U, text);
    assert_string_equal(text, "2000-02-28T23:59:59.999Z");
    pag_time_text(951782400000U, text);
    assert_string_equal(text, "2000-02-29T00:00:00.000Z");
    pag_time_text(UINT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void macros_pass_the_fields(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct pag_log *log = pag_log_new(ends[1], PAG_LOG_DEBUG, false, fixed_clock);
    pag_log_warn(log, "x.y", PAG_F_STR("a", "b"), PAG_F_U64("n", 1));
    pag_log_free(log);
    char text[128] = { 0 };
    assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
    assert_string_equal(text, "2026-03-01T11:04:10.123Z WARN x.y a=b n=1\n");
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_line_has_time_level_event_and_fields),
        cmocka_unit_test(json_line_is_one_object),
        cmocka_unit_test(a_value_cannot_start_a_line_or_drive_a_terminal),
        cmocka_unit_test(text_beyond_ascii_passes_and_bad_utf8_does_not),
        cmocka_unit_test(below_the_least_level_nothing_is_written),
        cmocka_unit_test(long_values_are_cut_and_too_many_fields_are_left_out),
        cmocka_unit_test(time_text_is_rfc3339),
        cmocka_unit_test(macros_pass_the_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
