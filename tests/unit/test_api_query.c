#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "host/arena.h"
#include "server/api/metrics/writer.h"
#include "server/api/rest/query.h"

static const uint8_t key[PAG_CURSOR_KEY_BYTES] = { 1, 2, 3 };

static void a_cursor_gives_back_its_position_for_its_query_only(void **state)
{
    struct pag_arena *a = *state;
    const struct pag_span query = pag_span_str("GET /devices product=meter");
    for (size_t n = 0; n < 9; n++) {
        struct pag_span place = pag_span_of("84f3eb000003", n);
        struct pag_span back;
        const char *text = pag_cursor_make(a, key, query, place);
        assert_non_null(text);
        assert_int_equal(pag_cursor_read(a, key, query, pag_span_str(text), &back), PAG_OK);
        assert_true(pag_span_eq(place, back));
        assert_int_equal(pag_cursor_read(a, key, pag_span_str("GET /devices"), pag_span_str(text), &back),
                         PAG_E_SYNTAX);
    }
}

static void every_altered_cursor_is_refused(void **state)
{
    struct pag_arena *a = *state;
    const struct pag_span query = pag_span_str("q");
    const char *text = pag_cursor_make(a, key, query, pag_span_str("device-17"));
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        struct pag_span copy = pag_arena_copy(a, pag_span_str(text));
        struct pag_span back;
        char *bytes = pag_arena_text(a, copy);
        bytes[i] = bytes[i] == 'A' ? 'B' : 'A';
        assert_int_equal(pag_cursor_read(a, key, query, pag_span_str(bytes), &back), PAG_E_SYNTAX);
        assert_int_equal(pag_cursor_read(a, key, query, pag_span_of(text, i), &back), PAG_E_SYNTAX);
    }
}

static void limits_are_one_to_a_thousand(void **state)
{
    (void)state;
    uint32_t v = 0;
    assert_int_equal(pag_limit_read(pag_span_str(""), 100, &v), PAG_OK);
    assert_int_equal(v, 100);
    assert_int_equal(pag_limit_read(pag_span_str("1000"), 100, &v), PAG_OK);
    assert_int_equal(v, 1000);
    assert_int_equal(pag_limit_read(pag_span_str("0"), 100, &v), PAG_E_RANGE);
    assert_int_equal(pag_limit_read(pag_span_str("1001"), 100, &v), PAG_E_RANGE);
    assert_int_equal(pag_limit_read(pag_span_str("-1"), 100, &v), PAG_E_SYNTAX);
}

static void metrics_escape_what_people_wrote(void **state)
{
    (void)state;
    uint8_t room[256];
    struct pag_metrics m = { .out = { room, 0, sizeof room } };
    const struct pag_metric_label label[] = { { "product", pag_span_str("a\"b\\c\nd\x1b") },
                                              { "state", pag_span_str("new") } };
    pag_metrics_family(&m, "x_total", "counter", "Things.");
    pag_metrics_put(&m, "x_total", label, 2, 7);
    pag_metrics_put_milli(&m, "y_seconds", 12034);
    assert_int_equal(m.err, PAG_OK);
    assert_true(pag_span_eq_str(pag_buf_span(&m.out),
                                "# HELP x_total Things.\n# TYPE x_total counter\n"
                                "x_total{product=\"a\\\"b\\\\c\\nd?\",state=\"new\"} 7\ny_seconds 12.034\n"));
    m.out.cap = m.out.n + 3;
    pag_metrics_put(&m, "z", NULL, 0, 12345);
    assert_int_equal(m.err, PAG_E_SPACE);
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
        cmocka_unit_test(a_cursor_gives_back_its_position_for_its_query_only),
        cmocka_unit_test(every_altered_cursor_is_refused),
        cmocka_unit_test(limits_are_one_to_a_thousand),
        cmocka_unit_test(metrics_escape_what_people_wrote),
    };
    return cmocka_run_group_tests(tests, arena_up, arena_down);
}
