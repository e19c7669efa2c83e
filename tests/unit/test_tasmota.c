#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "server/api/mqtt/tasmota.h"

static struct pag_span s(const char *text)
{
    return pag_span_str(text);
}

static void full_topics_have_prefix_and_topic_once_as_whole_levels(void **state)
{
    static const char *const good[] = { "%prefix%/%topic%/", "home/%topic%/%prefix%/",
                                        "%prefix%/%id%/%topic%/", "home/x/%prefix%/%topic%/" };
    static const char *const bad[] = { "",
                                       "/",
                                       "%prefix%/",
                                       "%topic%/",
                                       "%prefix%/%topic%",
                                       "%prefix%/%topic%/%topic%/",
                                       "x%prefix%/%topic%/",
                                       "%prefix%/%topic%x/",
                                       "%prefix%//%topic%/",
                                       "%prefix%/+/%topic%/",
                                       "%prefix%/#/%topic%/",
                                       "home{1}/%prefix%/%topic%/",
                                       "%prefix%/%topic%/}/",
                                       "$x/%prefix%/%topic%/",
                                       "pg/%prefix%/%topic%/",
                                       "tasmota/%prefix%/%topic%/",
                                       "%prefix%/%topic%/%id%/%id%/",
                                       "%prefix%/%hostname%/%topic%/" };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(pag_tasmota_full_topic_ok(s(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(pag_tasmota_full_topic_ok(s(bad[i])));
    }
}

static void what_is_put_is_matched_again(void **state)
{
    static const char *const full[] = { "%prefix%/%topic%/", "home/%topic%/%prefix%/",
                                        "a/%id%/%topic%/%prefix%/" };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (int p = 0; p < PAG_TASMOTA_PREFIXES; p++) {
            char topic[PAG_TASMOTA_TOPIC_MAX];
            struct pag_tasmota_topic t;
            const struct pag_tasmota_place at = { (enum pag_tasmota_prefix)p, "plug_1", "dc4f22001234",
                                                  "STATUS2" };
            assert_int_equal(pag_tasmota_topic_put(s(full[i]), &at, topic), PAG_OK);
            assert_true(pag_tasmota_topic_match(s(full[i]), s(topic), &t));
            assert_int_equal(t.prefix, p);
            assert_true(pag_span_eq_str(t.name, "plug_1"));
            assert_true(pag_span_eq_str(t.leaf, "STATUS2"));
        }
    }
}

static void other_topics_are_not_matched(void **state)
{
    static const char *const other[] = { "",
                                         "tele",
                                         "tele/plug",
                                         "tele/plug/",
                                         "tole/plug/STATE",
                                         "/tele/plug/STATE",
                                         "tele//STATE",
                                         "tele/a b/STATE",
                                         "tele/+/STATE",
                                         "pg/v1/d/x/up/status" };
    struct pag_tasmota_topic t;
    (void)state;
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        assert_false(pag_tasmota_topic_match(s("%prefix%/%topic%/"), s(other[i]), &t));
    }
}

static void discovery_names_a_mac(void **state)
{
    char mac[13];
    struct pag_span leaf;
    (void)state;
    assert_true(pag_tasmota_discovery_match(s("tasmota/discovery/DC4F22001234/config"), mac, &leaf));
    assert_string_equal(mac, "dc4f22001234");
    assert_false(pag_tasmota_discovery_match(s("tasmota/discovery/DC4F2200123/config"), mac, &leaf));
    assert_false(pag_tasmota_discovery_match(s("tasmota/discovery/DC4F22001234/"), mac, &leaf));
    assert_false(pag_tasmota_discovery_match(s("tasmota/discovery/DC4F22001234/other"), mac, &leaf));
    assert_false(pag_tasmota_discovery_match(s("tasmota/discovery/XX4F22001234/config"), mac, &leaf));
}

static void a_stand_in_is_told_from_the_real_one(void **state)
{
    struct pag_tasmota_version v;
    (void)state;
    pag_tasmota_version_read(s("13.4.0(tasmota-DE)"), &v);
    assert_true(pag_span_eq_str(v.version, "13.4.0") && !v.stand_in);
    pag_tasmota_version_read(s("13.4.0(minimal)"), &v);
    assert_true(v.stand_in);
    pag_tasmota_version_read(s("13.4.0(safeboot)"), &v);
    assert_true(v.stand_in);
    pag_tasmota_version_read(s("13.4.0"), &v);
    assert_true(pag_span_eq_str(v.version, "13.4.0") && !v.stand_in);
    pag_tasmota_version_read(s("("), &v);
    assert_int_equal(v.version.n, 0);
}

static void its_words_on_an_update_are_understood(void **state)
{
    (void)state;
    assert_int_equal(pag_tasmota_upgrade_read(s("Version 8.1.0 from http://x/y.bin")),
                     PAG_TASMOTA_UPGRADE_BEGUN);
    assert_int_equal(pag_tasmota_upgrade_read(s("Successful. Restarting")), PAG_TASMOTA_UPGRADE_DONE);
    assert_int_equal(pag_tasmota_upgrade_read(s("Failed Wrong HTTP code")), PAG_TASMOTA_UPGRADE_FAILED);
    assert_int_equal(pag_tasmota_upgrade_read(s("1 or >8.1.0 to upgrade")), PAG_TASMOTA_UPGRADE_REFUSED);
    assert_int_equal(pag_tasmota_upgrade_read(s("")), PAG_TASMOTA_UPGRADE_NONE);
}

static void an_url_is_a_format_of_the_device(void **state)
{
    (void)state;
    assert_true(pag_tasmota_url_ok(s("http://h/%d/%04d/t.bin")));
    assert_false(pag_tasmota_url_ok(s("http://h/%s")));
    assert_false(pag_tasmota_url_ok(s("http://h/%")));
    assert_false(pag_tasmota_url_ok(s("http://h/%05d")));
    assert_false(pag_tasmota_url_ok(s("ftp://h/t.bin")));
    assert_false(pag_tasmota_url_ok(s("http://h/a b")));
}

static void a_text_is_cut_at_a_whole_character(void **state)
{
    char out[PAG_TASMOTA_TEXT_MAX + 1];
    char json[700] = "{\"Upgrade\":\"";
    struct pag_buf b = { (uint8_t *)json, 12, sizeof json - 1 };
    (void)state;
    assert_int_equal(pag_buf_put_u8(&b, 'x'), PAG_OK);
    for (int i = 0; i < 150; i++) {
        assert_int_equal(pag_buf_put_str(&b, "\xC3\xA9"), PAG_OK);
    }
    assert_int_equal(pag_buf_put_str(&b, "\"}"), PAG_OK);
    assert_int_equal(pag_tasmota_text_read(pag_buf_span(&b), NULL, "Upgrade", out), PAG_OK);
    assert_int_equal(pag_span_str(out).n, 199);
    assert_true(pag_utf8_ok(pag_span_str(out)));
    assert_int_equal(pag_tasmota_text_read(s("{\"Upgrade\":7}"), NULL, "Upgrade", out), PAG_OK);
    assert_string_equal(out, "");
    assert_int_not_equal(pag_tasmota_text_read(s("[]"), NULL, "Upgrade", out), PAG_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_topics_have_prefix_and_topic_once_as_whole_levels),
        cmocka_unit_test(what_is_put_is_matched_again),
        cmocka_unit_test(other_topics_are_not_matched),
        cmocka_unit_test(discovery_names_a_mac),
        cmocka_unit_test(a_stand_in_is_told_from_the_real_one),
        cmocka_unit_test(its_words_on_an_update_are_understood),
        cmocka_unit_test(an_url_is_a_format_of_the_device),
        cmocka_unit_test(a_text_is_cut_at_a_whole_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
