#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "server/api/mqtt/topic.h"
#include "server/domain/product.h"

static enum pag_err read_topic(const char *text, struct pag_topic *t)
{
    return pag_topic_read(pag_span_str(text), t);
}

static void our_topics_give_kind_and_device(void **state)
{
    (void)state;
    struct pag_topic t;
    assert_int_equal(read_topic("pg/v1/d/84f3eb000003/up/status", &t), PAG_OK);
    assert_int_equal(t.kind, PAG_TOPIC_STATUS);
    assert_true(pag_span_eq_str(t.device, "84f3eb000003"));
    assert_int_equal(read_topic("pg/v1/d/a/up/report", &t), PAG_OK);
    assert_int_equal(t.kind, PAG_TOPIC_REPORT);
    assert_int_equal(read_topic("pg/v1/d/a/up/result", &t), PAG_OK);
    assert_int_equal(t.kind, PAG_TOPIC_RESULT);
    assert_int_equal(read_topic("pg/v1/d/a/will", &t), PAG_OK);
    assert_int_equal(t.kind, PAG_TOPIC_WILL);
    assert_int_equal(read_topic("pg/v1/d/a/up/data/temp/1", &t), PAG_OK);
    assert_int_equal(t.kind, PAG_TOPIC_DATA);
    assert_true(pag_span_eq_str(t.rest, "data/temp/1"));
}

static void foreign_and_malformed_topics_are_told_apart(void **state)
{
    (void)state;
    struct pag_topic t;
    assert_int_equal(read_topic("home/kitchen", &t), PAG_E_NOT_FOUND);
    assert_int_equal(read_topic("pg/v1/d/a", &t), PAG_E_NOT_FOUND);
    assert_int_equal(read_topic("pg/v1/d/a/cmd", &t), PAG_E_NOT_FOUND);
    assert_int_equal(read_topic("pg/v1/d/a/up/else", &t), PAG_E_NOT_FOUND);
    assert_int_equal(read_topic("pg/v1/d/A!/up/status", &t), PAG_E_SYNTAX);
    assert_int_equal(read_topic("pg/v1/d//up/status", &t), PAG_E_SYNTAX);
    assert_int_equal(read_topic("pg/v1/d/a/up/data/\x1b[2J", &t), PAG_E_SYNTAX);
}

static void a_template_needs_the_id_as_one_whole_level(void **state)
{
    (void)state;
    assert_true(pag_product_template_ok(pag_span_str("/status/{id}")));
    assert_true(pag_product_template_ok(pag_span_str("home/{id}/state")));
    assert_true(pag_product_template_ok(pag_span_str(""))); /* none */
    assert_false(pag_product_template_ok(pag_span_str("home state/{id}")));
    assert_false(pag_product_template_ok(pag_span_str("home/state")));
    assert_false(pag_product_template_ok(pag_span_str("home/x{id}/state")));
    assert_false(pag_product_template_ok(pag_span_str("{id}/{id}")));
    assert_false(pag_product_template_ok(pag_span_str("home/+/{id}")));
    assert_false(pag_product_template_ok(pag_span_str("#/{id}")));
    assert_false(pag_product_template_ok(pag_span_str("$SYS/{id}")));
    assert_false(pag_product_template_ok(pag_span_str("pg/v1/d/{id}/cmd")));
}

static void a_template_matches_what_it_writes(void **state)
{
    (void)state;
    char text[PAG_TOPIC_MAX];
    struct pag_span id;
    const struct pag_span tmpl = pag_span_str("/will/{id}/will");
    assert_int_equal(pag_topic_template_put(tmpl, pag_span_str("ab12"), text), PAG_OK);
    assert_string_equal(text, "/will/ab12/will");
    assert_true(pag_topic_template_match(tmpl, pag_span_str(text), &id));
    assert_true(pag_span_eq_str(id, "ab12"));
    assert_false(pag_topic_template_match(tmpl, pag_span_str("/will/ab12"), &id));
    assert_false(pag_topic_template_match(tmpl, pag_span_str("/will/ab12/will/"), &id));
    assert_false(pag_topic_template_match(tmpl, pag_span_str("/will//will"), &id));
    assert_false(pag_topic_template_match(tmpl, pag_span_str("/will/+/will"), &id));
    assert_int_equal(pag_topic_template_put(pag_span_str("{id}/x"), pag_span_str("+"), text), PAG_OK);
    assert_string_equal(text, "+/x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_topics_give_kind_and_device),
        cmocka_unit_test(foreign_and_malformed_topics_are_told_apart),
        cmocka_unit_test(a_template_needs_the_id_as_one_whole_level),
        cmocka_unit_test(a_template_matches_what_it_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
