#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "host/arena.h"
#include "server/api/mqtt/inbox.h"
#include "server/api/rest/fields.h"
#include "server/api/rest/problem.h"
#include "server/api/rest/render.h"

static json_t *parse(const char *text)
{
    return json_loads(text, 0, NULL);
}

static bool read_two(struct pag_arena *a, const char *text, struct pag_problem *p, json_t **name,
                     json_t **size)
{
    const struct pag_json_field fields[] = {
        { .name = "name", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 4, .out = name },
        { .name = "size", .type = PAG_JSON_UINT, .nullable = true, .min = 2, .max = 9, .out = size },
    };
    json_t *body = parse(text);
    bool ok = pag_fields_read(a, body, "", fields, 2, p);
    json_decref(body);
    return ok;
}

static void fields_that_fit_are_taken(void **state)
{
    struct pag_problem p = { .code = PAG_PROBLEM_INVALID_FIELD };
    json_t *name = NULL;
    json_t *size = NULL;
    assert_true(read_two(*state, "{\"name\":\"ab\",\"size\":9}", &p, &name, &size));
    assert_true(read_two(*state, "{\"name\":\"ab\",\"size\":null}", &p, &name, &size));
    assert_true(read_two(*state, "{\"name\":\"ab\"}", &p, &name, &size));
    assert_null(size);
}

static void every_wrong_field_is_named(void **state)
{
    struct pag_problem p = { .code = PAG_PROBLEM_INVALID_FIELD };
    json_t *name = NULL;
    json_t *size = NULL;
    assert_false(read_two(*state, "{\"size\":10,\"sise\":1}", &p, &name, &size));
    assert_int_equal(p.code, PAG_PROBLEM_UNKNOWN_FIELD);
    assert_int_equal(p.error_n, 3);
    assert_string_equal(p.error[0].pointer, "/name");
    assert_string_equal(p.error[1].pointer, "/size");
    assert_string_equal(p.error[2].pointer, "/sise");
    assert_string_equal(p.error[2].code, "unknown-field");
}

static void numbers_outside_and_other_kinds_are_refused(void **state)
{
    const char *const wrong[] = { "{\"name\":\"abcde\"}",
                                  "{\"name\":\"\"}",
                                  "{\"name\":1}",
                                  "{\"name\":null}",
                                  "{\"name\":\"a\",\"size\":1}",
                                  "{\"name\":\"a\",\"size\":-1}",
                                  "[]",
                                  "{\"name\":\"a\",\"size\":2.0}" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct pag_problem p = { .code = PAG_PROBLEM_INVALID_FIELD };
        json_t *name = NULL;
        json_t *size = NULL;
        assert_false(read_two(*state, wrong[i], &p, &name, &size));
        assert_int_equal(p.code, PAG_PROBLEM_INVALID_FIELD);
        assert_int_equal(p.error_n, 1);
    }
}

static void a_problem_carries_all_members_of_the_contract(void **state)
{
    struct pag_problem p = { .code = PAG_PROBLEM_VERSION_EXISTS, .detail = "meter 1.0.0 <b>\xff" };
    pag_problem_add(&p, "/version", "version-exists", "taken");
    struct pag_span text = pag_problem_render(*state, &p, "r1");
    json_t *o = json_loadb((const char *)text.p, text.n, 0, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "type")), "urn:pagurus:problem:version-exists");
    assert_int_equal(json_integer_value(json_object_get(o, "status")), 409);
    assert_string_equal(json_string_value(json_object_get(o, "detail")), "meter 1.0.0 <b>\xEF\xBF\xBD");
    assert_string_equal(json_string_value(json_object_get(o, "request_id")), "r1");
    assert_true(json_string_length(json_object_get(o, "help")) > 0);
    assert_int_equal(json_array_size(json_object_get(o, "errors")), 1);
    json_decref(o);
}

static void every_code_has_a_row(void **state)
{
    (void)state;
    for (int i = 0; i < PAG_PROBLEM_COUNT; i++) {
        const struct pag_problem_row *row = pag_problem_row((enum pag_problem_code)i);
        assert_non_null(row->code);
        assert_true(row->status >= 400 && row->status <= 507);
        assert_true(strlen(row->title) > 0 && strlen(row->help) > 0);
    }
    for (int err = 0; err >= PAG_E_INTERNAL; err--) {
        assert_true(pag_problem_of((enum pag_err)err) < PAG_PROBLEM_COUNT);
    }
}

static void a_device_is_shown_with_what_is_known_only(void **state)
{
    struct pag_device d = { .id = "84f3eb000001", .state = PAG_DEVICE_NEW, .tags = "a,b" };
    struct pag_device_image image[2] = { { .version = "1.0.0" },
                                         { .version = "1.1.0", .blocked = true, .reason = "came back" } };
    struct pag_render_device v = { .device = &d, .product = "meter", .image = image, .image_n = 2 };
    (void)state;
    json_t *o = pag_render_device(&v);
    json_t *running = json_object_get(o, "running");
    assert_true(json_is_null(json_object_get(running, "version")));
    assert_true(json_is_null(json_object_get(running, "sha256")));
    assert_true(json_is_null(json_object_get(o, "wanted")));
    assert_true(json_is_null(json_object_get(o, "certificate")));
    assert_true(json_is_null(json_object_get(o, "pin")));
    assert_int_equal(json_array_size(json_object_get(o, "tags")), 2);
    assert_int_equal(json_array_size(json_object_get(o, "blocked")), 1);
    assert_string_equal(json_string_value(json_object_get(o, "state")), "new");
    json_decref(o);
}

static void presence_has_two_words(void **state)
{
    bool online = false;
    (void)state;
    assert_int_equal(pag_inbox_presence(pag_span_str("Online"), &online), PAG_OK);
    assert_true(online);
    assert_int_equal(pag_inbox_presence(pag_span_str(""), &online), PAG_OK);
    assert_false(online);
    assert_int_equal(pag_inbox_presence(pag_span_str("maybe"), &online), PAG_E_SYNTAX);
}

static struct pag_arena_pool *pool;

static int arena_up(void **state)
{
    pool = pag_arena_pool_new(65536);
    *state = pag_arena_open(pool, 1 << 20);
    return *state == NULL;
}

static int arena_down(void **state)
{
    pag_arena_close(*state);
    pag_arena_pool_free(pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_that_fit_are_taken),
        cmocka_unit_test(every_wrong_field_is_named),
        cmocka_unit_test(numbers_outside_and_other_kinds_are_refused),
        cmocka_unit_test(a_problem_carries_all_members_of_the_contract),
        cmocka_unit_test(every_code_has_a_row),
        cmocka_unit_test(a_device_is_shown_with_what_is_known_only),
        cmocka_unit_test(presence_has_two_words),
    };
    return cmocka_run_group_tests(tests, arena_up, arena_down);
}
