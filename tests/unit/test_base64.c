#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/base64.h"
#include "core/bytes.h"

static enum pag_err decoded(const char *text, struct pag_buf *out)
{
    out->n = 0;
    return pag_base64_decode(pag_span_str(text), out);
}

/* RFC 4648 10. */
static void every_length_is_read_and_written(void **state)
{
    static const char *const plain[] = { "", "f", "fo", "foo", "foob", "fooba", "foobar" };
    static const char *const coded[] = { "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" };
    (void)state;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        struct pag_buf out = { (uint8_t[16]){ 0 }, 0, 16 };
        struct pag_buf text = { (uint8_t[16]){ 0 }, 0, 16 };
        assert_int_equal(decoded(coded[i], &out), PAG_OK);
        assert_true(pag_span_eq_str(pag_buf_span(&out), plain[i]));
        assert_int_equal(pag_base64_lines(pag_span_str(plain[i]), &text), PAG_OK);
        assert_int_equal(text.n, i == 0 ? 0 : strlen(coded[i]) + 1);
        assert_memory_equal(text.p, coded[i], strlen(coded[i]));
    }
}

static void white_space_may_stand_anywhere(void **state)
{
    struct pag_buf out = { (uint8_t[16]){ 0 }, 0, 16 };
    (void)state;
    assert_int_equal(decoded(" Zm9v\r\nY\tg=\n= ", &out), PAG_OK);
    assert_true(pag_span_eq_str(pag_buf_span(&out), "foob"));
}

static void what_is_cut_or_foreign_is_refused_and_leaves_nothing(void **state)
{
    static const char *const wrong[] = { "Z", "Zg",     "Zg=",  "Zg===", "Zh==",  "Zm9=",
                                         "=", "Zg==Zg", "Zm_v", "Zm-v",  "Zm9v!", "Zm9v====" };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct pag_buf out = { (uint8_t[16]){ 0 }, 0, 16 };
        assert_int_equal(decoded(wrong[i], &out), PAG_E_SYNTAX);
        assert_int_equal(out.n, 0);
    }
}

static void a_text_that_does_not_fit_is_told(void **state)
{
    struct pag_buf out = { (uint8_t[16]){ 0 }, 0, 5 };
    (void)state;
    assert_int_equal(decoded("Zm9vYmFy", &out), PAG_E_SPACE);
    assert_int_equal(out.n, 0);
    assert_int_equal(decoded("Zm9vYmE=", &out), PAG_OK);
    assert_int_equal(pag_base64_lines(pag_span_str("foobar"), &out), PAG_E_SPACE);
}

static void a_line_has_64_characters(void **state)
{
    static const uint8_t zeros[97];
    struct pag_buf text = { (uint8_t[160]){ 0 }, 0, 160 };
    (void)state;
    assert_int_equal(pag_base64_lines(pag_span_of(zeros, sizeof zeros), &text), PAG_OK);
    assert_int_equal(text.n, 65 + 65 + 5);
    assert_int_equal(text.p[64], '\n');
    assert_int_equal(text.p[129], '\n');
    assert_int_equal(text.p[134], '\n');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_is_read_and_written),
        cmocka_unit_test(white_space_may_stand_anywhere),
        cmocka_unit_test(what_is_cut_or_foreign_is_refused_and_leaves_nothing),
        cmocka_unit_test(a_text_that_does_not_fit_is_told),
        cmocka_unit_test(a_line_has_64_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
