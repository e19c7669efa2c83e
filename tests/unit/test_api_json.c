#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "server/api/json.h"
#include "server/api/mqtt/status.h"

static enum pag_err parse(const char *text)
{
    const struct pag_json_limits limits = { 64, 3 };
    json_t *v = NULL;
    enum pag_err err = pag_json_parse(pag_span_str(text), limits, &v, NULL);
    if (err == PAG_OK) {
        json_decref(v);
    }
    return err;
}

static void hostile_json_is_refused_by_kind(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"a\":[1,{}]}"), PAG_OK);
    assert_int_equal(parse("{\"a\":\"[[[[[[\"}"), PAG_OK);
    assert_int_equal(parse("[[[[1]]]]"), PAG_E_LIMIT);
    assert_int_equal(parse("{\"a\":1,\"a\":2}"), PAG_E_SYNTAX);
    assert_int_equal(parse("{\"a\":1} x"), PAG_E_SYNTAX);
    assert_int_equal(parse("{\"a\":\"\\u0000\"}"), PAG_E_SYNTAX);
    assert_int_equal(parse("{\"a\":\"\\ud800\"}"), PAG_E_SYNTAX);
    assert_int_equal(parse("\"\xff\""), PAG_E_SYNTAX);
    assert_int_equal(parse(""), PAG_E_SYNTAX);
    assert_int_equal(parse("[99999999999999999999]"), PAG_E_SYNTAX);
    assert_int_equal(parse("                                                                 1"),
                     PAG_E_LIMIT);
}

static void bytes_that_are_no_utf8_become_replacement_characters(void **state)
{
    (void)state;
    json_t *v = pag_json_text(pag_span_str("a\xff\xc3\xa4\xc0\x80z"));
    assert_non_null(v);
    assert_string_equal(json_string_value(v), "a\xEF\xBF\xBD\xC3\xA4\xEF\xBF\xBD\xEF\xBF\xBDz");
    json_decref(v);
}

static void status_takes_what_it_knows_and_keeps_the_rest(void **state)
{
    (void)state;
    struct pag_status s;
    const char text[] =
        "{\"version\":\"1.2.0\",\"rssi\":-61,\"free_heap\":20480,\"uptime_ms\":12,\"lux\":[1,2]}";
    assert_int_equal(pag_status_read(pag_span_str(text), &s, NULL), PAG_OK);
    assert_string_equal(s.version, "1.2.0");
    assert_true(s.has_rssi && s.rssi_dbm == -61);
    assert_true(s.has_heap && s.free_heap == 20480);
    assert_true(s.has_uptime && s.uptime_ms == 12);
    assert_int_equal(json_object_size(s.object), 5);
    json_decref(s.object);
}

static void status_values_of_a_wrong_kind_are_left_out(void **state)
{
    (void)state;
    struct pag_status s;
    const char text[] = "{\"version\":{\"a\":1},\"rssi\":\"-61\",\"free_heap\":-1,\"uptime_ms\":1.5}";
    assert_int_equal(pag_status_read(pag_span_str(text), &s, NULL), PAG_OK);
    assert_string_equal(s.version, "");
    assert_false(s.has_rssi || s.has_heap || s.has_uptime);
    json_decref(s.object);
    assert_int_equal(pag_status_read(pag_span_str("[1]"), &s, NULL), PAG_E_SYNTAX);
    assert_int_equal(pag_status_read(pag_span_str("[[[[[[[[[1]]]]]]]]]"), &s, NULL), PAG_E_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_json_is_refused_by_kind),
        cmocka_unit_test(bytes_that_are_no_utf8_become_replacement_characters),
        cmocka_unit_test(status_takes_what_it_knows_and_keeps_the_rest),
        cmocka_unit_test(status_values_of_a_wrong_kind_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
