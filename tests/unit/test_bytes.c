#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/crypto.h"
#include "host/crypto.h"

static void a_sub_span_never_leaves_its_parent(void **state)
{
    (void)state;
    struct pag_span s = pag_span_str("abcdef");
    struct pag_span out = pag_span_str("kept");
    assert_int_equal(pag_span_sub(s, 2, 3, &out), PAG_OK);
    assert_true(pag_span_eq_str(out, "cde"));
    assert_int_equal(pag_span_sub(s, 6, 0, &out), PAG_OK);
    assert_int_equal(pag_span_sub(s, 7, 0, &out), PAG_E_RANGE);
    assert_int_equal(pag_span_sub(s, 2, 5, &out), PAG_E_RANGE);
    assert_int_equal(pag_span_sub(s, 1, SIZE_MAX, &out), PAG_E_RANGE);
    assert_int_equal(out.n, 0);
}

static void numbers_are_read_in_whole_or_not_at_all(void **state)
{
    (void)state;
    uint64_t v = 7;
    uint32_t w = 7;
    assert_int_equal(pag_parse_u64(pag_span_str("18446744073709551615"), &v), PAG_OK);
    assert_true(v == UINT64_MAX);
    assert_int_equal(pag_parse_u64(pag_span_str("18446744073709551616"), &v), PAG_E_RANGE);
    assert_int_equal(pag_parse_u64(pag_span_str("99999999999999999999999"), &v), PAG_E_RANGE);
    assert_int_equal(pag_parse_u64(pag_span_str(""), &v), PAG_E_SYNTAX);
    assert_int_equal(pag_parse_u64(pag_span_str("-1"), &v), PAG_E_SYNTAX);
    assert_int_equal(pag_parse_u64(pag_span_str("1 "), &v), PAG_E_SYNTAX);
    assert_true(v == UINT64_MAX);
    assert_int_equal(pag_parse_u32(pag_span_str("4294967295"), &w), PAG_OK);
    assert_int_equal(pag_parse_u32(pag_span_str("4294967296"), &w), PAG_E_RANGE);
    assert_int_equal(w, UINT32_MAX);
}

static void decimal_and_hex_are_written_without_a_divider(void **state)
{
    (void)state;
    uint8_t room[64];
    struct pag_buf b = { .p = room, .n = 0, .cap = sizeof room };
    assert_int_equal(pag_buf_put_dec(&b, 0), PAG_OK);
    assert_int_equal(pag_buf_put_u8(&b, ' '), PAG_OK);
    assert_int_equal(pag_buf_put_dec(&b, UINT64_MAX), PAG_OK);
    assert_int_equal(pag_buf_put_str(&b, " "), PAG_OK);
    assert_int_equal(pag_buf_put_dec(&b, 1000), PAG_OK);
    assert_int_equal(pag_buf_put_hex(&b, pag_span_of("\x0f\xa0", 2)), PAG_OK);
    assert_true(pag_span_eq_str(pag_buf_span(&b), "0 18446744073709551615 10000fa0"));
}

static void a_full_buffer_stays_as_it_was(void **state)
{
    (void)state;
    uint8_t room[4] = { 0 };
    struct pag_buf b = { .p = room, .n = 0, .cap = 3 };
    assert_int_equal(pag_buf_put_str(&b, "ab"), PAG_OK);
    assert_int_equal(pag_buf_put_str(&b, "cd"), PAG_E_SPACE);
    assert_int_equal(pag_buf_put_hex(&b, pag_span_of("a", 1)), PAG_E_SPACE);
    assert_int_equal(pag_buf_put_dec(&b, 10), PAG_E_SPACE);
    assert_int_equal(b.n, 2);
    assert_int_equal(pag_buf_put_dec(&b, 9), PAG_OK);
    assert_int_equal(room[3], 0);
}

static void hex_text_has_exactly_the_digits_asked_for(void **state)
{
    (void)state;
    uint8_t out[2] = { 1, 2 };
    assert_int_equal(pag_parse_hex(pag_span_str("0fA0"), out, 2), PAG_OK);
    assert_memory_equal(out, "\x0f\xa0", 2);
    assert_int_equal(pag_parse_hex(pag_span_str("0fA"), out, 2), PAG_E_SYNTAX);
    assert_int_equal(pag_parse_hex(pag_span_str("0fA0b"), out, 2), PAG_E_SYNTAX);
    assert_int_equal(pag_parse_hex(pag_span_str("11g1"), out, 2), PAG_E_SYNTAX);
    assert_memory_equal(out, "\x0f\xa0", 2);
}

static void a_copied_text_ends_with_nul_and_holds_none(void **state)
{
    (void)state;
    char out[4] = "xyz";
    assert_int_equal(pag_text_copy(out, sizeof out, pag_span_str("abcd")), PAG_E_SPACE);
    assert_int_equal(pag_text_copy(out, sizeof out, pag_span_of("a\0b", 3)), PAG_E_SYNTAX);
    assert_string_equal(out, "xyz");
    assert_int_equal(pag_text_copy(out, sizeof out, pag_span_str("abc")), PAG_OK);
    assert_string_equal(out, "abc");
}

static void a_mac_is_one_text_however_it_is_written(void **state)
{
    (void)state;
    static const char *const good[] = { "84:F3:EB:00:00:01", "84f3eb000001", "84-f3-eb-00-00-01" };
    static const char *const bad[] = {
        "84:F3-EB:00:00:01", "84f3eb00000", "84f3eb00000g", "84:F3:EB:00:00:0:", "", "84 f3 eb 00 00 01"
    };
    char out[13];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(pag_mac_text(pag_span_str(good[i]), out), PAG_OK);
        assert_string_equal(out, "84f3eb000001");
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(pag_mac_text(pag_span_str(bad[i]), out), PAG_E_SYNTAX);
    }
}

static void device_ids_have_an_alphabet_that_no_topic_or_path_knows(void **state)
{
    (void)state;
    char longest[66];
    memset(longest, 'a', sizeof longest - 1);
    longest[65] = 0;
    assert_true(pag_device_id_ok(pag_span_str("84f3eb000001")));
    assert_true(pag_device_id_ok(pag_span_of(longest, 64)));
    assert_false(pag_device_id_ok(pag_span_of(longest, 65)));
    assert_false(pag_device_id_ok(pag_span_str("")));
    for (const char *c = "#+/.$ A\n"; *c != '\0'; c++) {
        assert_false(pag_device_id_ok(pag_span_of(c, 1)));
    }
    assert_true(pag_image_name_ok(pag_span_str("firmware")));
    assert_false(pag_image_name_ok(pag_span_of(longest, 17)));
}

static void sums_give_the_published_values(void **state)
{
    (void)state;
    struct pag_span nine = pag_span_str("123456789");
    assert_int_equal(pag_crc32(0, nine), 0xCBF43926);
    uint32_t half = pag_crc32(0, pag_span_of("1234", 4));
    assert_int_equal(pag_crc32(half, pag_span_of("56789", 5)), 0xCBF43926);
    assert_int_not_equal(pag_hash32(nine, 1), pag_hash32(nine, 2));
    /* pinned: buckets of running rollouts depend on it */
    assert_int_equal(pag_hash32(pag_span_str("84f3eb000001"), 42), 0x8C13D5A9);
}

static void text_is_compared_as_it_says(void **state)
{
    (void)state;
    assert_true(pag_span_eq_nocase(pag_span_str("Content-LENGTH"), "content-length"));
    assert_false(pag_span_eq_nocase(pag_span_str("a["), "a{"));
    assert_true(pag_span_starts(pag_span_str("abc"), "ab"));
    assert_false(pag_span_starts(pag_span_str("a"), "ab"));
    assert_int_equal(pag_span_find(pag_span_str("a.b.c"), 2, '.'), 3);
    assert_int_equal(pag_span_find(pag_span_str("abc"), 0, 'x'), 3);
    assert_true(pag_equal_ct("abc", "abc", 3));
    assert_false(pag_equal_ct("abc", "abd", 3));
}

static void each_error_has_its_own_word(void **state)
{
    (void)state;
    for (int a = PAG_OK; a >= PAG_E_INTERNAL; a--) {
        assert_string_not_equal(pag_err_word((enum pag_err)a), "unknown");
        for (int b = PAG_OK; b > a; b--) {
            assert_string_not_equal(pag_err_word((enum pag_err)a), pag_err_word((enum pag_err)b));
        }
    }
    assert_string_equal(pag_err_word((enum pag_err) - 99), "unknown");
    assert_string_equal(pag_err_word(PAG_E_SIGNATURE), "signature");
    assert_string_equal(pag_err_word(PAG_E_TLS), "tls");
}

static void the_crypto_of_the_host_signs_what_it_verifies(void **state)
{
    (void)state;
    const struct pag_crypto *crypto = pag_crypto_openssl();
    uint8_t point[PAG_P256_POINT_BYTES];
    uint8_t id[PAG_KEY_ID_BYTES];
    uint8_t again[PAG_KEY_ID_BYTES];
    uint8_t spki[PAG_P256_SPKI_BYTES];
    uint8_t digest[PAG_SHA256_BYTES];
    uint8_t sig[PAG_P256_SIG_BYTES];
    EVP_PKEY *key = pag_crypto_key_new();
    assert_non_null(key);
    assert_int_equal(pag_crypto_point(key, point), PAG_OK);
    assert_int_equal(pag_crypto_key_id(key, id), PAG_OK);
    assert_int_equal(pag_crypto_spki(key, spki), PAG_OK);
    pag_sha256_of(crypto, pag_span_of(spki, sizeof spki), digest);
    memcpy(again, digest, sizeof again);
    assert_memory_equal(id, again, sizeof id);
    assert_int_equal(pag_crypto_sign(key, digest, sig), PAG_OK);
    assert_int_equal(crypto->p256_verify(point, digest, sig), PAG_OK);
    sig[63] ^= 1;
    assert_int_equal(crypto->p256_verify(point, digest, sig), PAG_E_SIGNATURE);
    sig[63] ^= 1;
    point[0] ^= 1; /* off the curve */
    assert_int_equal(crypto->p256_verify(point, digest, sig), PAG_E_SIGNATURE);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sub_span_never_leaves_its_parent),
        cmocka_unit_test(numbers_are_read_in_whole_or_not_at_all),
        cmocka_unit_test(decimal_and_hex_are_written_without_a_divider),
        cmocka_unit_test(a_full_buffer_stays_as_it_was),
        cmocka_unit_test(hex_text_has_exactly_the_digits_asked_for),
        cmocka_unit_test(a_copied_text_ends_with_nul_and_holds_none),
        cmocka_unit_test(a_mac_is_one_text_however_it_is_written),
        cmocka_unit_test(device_ids_have_an_alphabet_that_no_topic_or_path_knows),
        cmocka_unit_test(sums_give_the_published_values),
        cmocka_unit_test(text_is_compared_as_it_says),
        cmocka_unit_test(each_error_has_its_own_word),
        cmocka_unit_test(the_crypto_of_the_host_signs_what_it_verifies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
