/* Signatures behind images, keys inside them: core/image_key and host/signing. */
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/image_key.h"
#include "host/crypto.h"
#include "host/signing.h"

enum { ROOM = 65536 };

struct keys {
    EVP_PKEY *rsa, *other, *ec;
    uint8_t image[ROOM];
    char pem[4096];
};

static int begin(void **state)
{
    struct keys *k = calloc(1, sizeof *k);
    k->rsa = pag_signing_rsa_new(2048);
    k->other = pag_signing_rsa_new(2048);
    k->ec = pag_crypto_key_new();
    for (size_t i = 0; i < ROOM; i++) {
        k->image[i] = (uint8_t)(i * 131 + (i >> 7));
    }
    *state = k;
    return k->rsa != NULL && k->other != NULL && k->ec != NULL ? 0 : -1;
}

static int end(void **state)
{
    struct keys *k = *state;
    EVP_PKEY_free(k->rsa);
    EVP_PKEY_free(k->other);
    EVP_PKEY_free(k->ec);
    free(k);
    return 0;
}

static size_t spki_of(const EVP_PKEY *key, uint8_t out[PAG_SPKI_MAX])
{
    struct pag_buf b = { out, 0, PAG_SPKI_MAX };
    assert_int_equal(pag_signing_spki(key, &b), PAG_OK);
    return b.n;
}

/* PEM text of a public key; bare: PKCS#1. */
static struct pag_span pem_of(struct keys *k, const EVP_PKEY *key, bool bare)
{
    char *text = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    if (bare) {
        uint8_t *der = NULL;
        int der_n = i2d_PublicKey(key, &der);
        assert_true(der_n > 0);
        assert_true(PEM_write_bio(bio, "RSA PUBLIC KEY", "", der, der_n) > 0);
        OPENSSL_free(der);
    } else {
        assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    }
    long n = BIO_get_mem_data(bio, &text);
    assert_in_range(n, 1, sizeof k->pem - 1);
    memcpy(k->pem, text, (size_t)n);
    BIO_free(bio);
    return pag_span_of(k->pem, (size_t)n);
}

static struct pag_span image_of(const struct keys *k)
{
    return pag_span_of(k->image, ROOM);
}

static void digest_of(struct pag_span s, uint8_t digest[PAG_SHA256_BYTES])
{
    pag_sha256_of(pag_crypto_openssl(), s, digest);
}

static void both_rsa_forms_verify_and_neither_passes_for_the_other(void **state)
{
    struct keys *k = *state;
    uint8_t digest[PAG_SHA256_BYTES];
    uint8_t spki[PAG_SPKI_MAX];
    struct pag_span key = pag_span_of(spki, spki_of(k->rsa, spki));
    digest_of(image_of(k), digest);
    for (int form = PAG_SIGNATURE_STANDARD; form <= PAG_SIGNATURE_LEGACY; form++) {
        uint8_t room[PAG_SIGNATURE_MAX];
        struct pag_buf sig = { room, 0, sizeof room };
        enum pag_signature_form other =
            form == PAG_SIGNATURE_LEGACY ? PAG_SIGNATURE_STANDARD : PAG_SIGNATURE_LEGACY;
        assert_int_equal(pag_signing_make(k->rsa, (enum pag_signature_form)form, digest, &sig), PAG_OK);
        assert_int_equal(sig.n, 256);
        assert_int_equal(pag_signing_check(key, (enum pag_signature_form)form, digest, pag_buf_span(&sig)),
                         PAG_OK);
        assert_int_equal(pag_signing_check(key, other, digest, pag_buf_span(&sig)), PAG_E_SIGNATURE);
    }
}

static void any_flipped_bit_of_digest_or_signature_is_refused(void **state)
{
    struct keys *k = *state;
    EVP_PKEY *const all[] = { k->rsa, k->ec };
    uint8_t digest[PAG_SHA256_BYTES];
    digest_of(image_of(k), digest);
    for (size_t i = 0; i < 2; i++) {
        uint8_t spki[PAG_SPKI_MAX];
        uint8_t room[PAG_SIGNATURE_MAX];
        struct pag_buf sig = { room, 0, sizeof room };
        struct pag_span key = pag_span_of(spki, spki_of(all[i], spki));
        assert_int_equal(pag_signing_make(all[i], PAG_SIGNATURE_STANDARD, digest, &sig), PAG_OK);
        for (size_t bit = 0; bit < sig.n * 8; bit += 37) {
            room[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_int_equal(pag_signing_check(key, PAG_SIGNATURE_STANDARD, digest, pag_buf_span(&sig)),
                             PAG_E_SIGNATURE);
            room[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
        digest[7] ^= 4;
        assert_int_equal(pag_signing_check(key, PAG_SIGNATURE_STANDARD, digest, pag_buf_span(&sig)),
                         PAG_E_SIGNATURE);
        digest[7] ^= 4;
        sig.n--;
        assert_int_equal(pag_signing_check(key, PAG_SIGNATURE_STANDARD, digest, pag_buf_span(&sig)),
                         PAG_E_SIGNATURE);
    }
}

static void the_legacy_form_is_of_rsa_alone(void **state)
{
    struct keys *k = *state;
    uint8_t digest[PAG_SHA256_BYTES] = { 1 };
    uint8_t room[PAG_SIGNATURE_MAX];
    struct pag_buf sig = { room, 0, sizeof room };
    assert_int_equal(pag_signing_make(k->ec, PAG_SIGNATURE_LEGACY, digest, &sig), PAG_E_CONFIG);
    assert_null(pag_signing_rsa_new(1024));
    assert_null(pag_signing_rsa_new(8192));
}

static void a_trailer_is_split_off_and_what_is_none_is_left(void **state)
{
    struct keys *k = *state;
    struct pag_span payload = { NULL, 0 };
    struct pag_span sig = { NULL, 0 };
    for (uint32_t n = 0; n < 1024; n++) {
        pag_put_u32le(k->image + 2000 - 4, n);
        bool can = n >= 128 && n <= 512;
        assert_int_equal(pag_image_trailer_split(pag_span_of(k->image, 2000), &payload, &sig), can);
        if (can) {
            assert_int_equal(sig.n, n);
            assert_int_equal(payload.n, 2000 - 4 - n);
            assert_ptr_equal(sig.p, payload.p + payload.n);
        }
    }
    pag_put_u32le(k->image, 256);
    for (size_t n = 0; n <= 3; n++) {
        assert_false(pag_image_trailer_split(pag_span_of(k->image, n), &payload, &sig));
    }
    assert_false(pag_image_trailer_split(pag_span_of(k->image, 4), &payload, &sig));
}

/* Puts text at 1000 and looks for keys. */
static bool find(struct keys *k, struct pag_span text, struct pag_image_key *found)
{
    size_t from = 0;
    memcpy(k->image + 1000, text.p, text.n);
    return pag_image_key_next(pag_crypto_openssl(), image_of(k), &from, found);
}

static void a_pem_key_in_the_data_is_found_with_the_id_of_its_key(void **state)
{
    struct keys *k = *state;
    struct pag_public_info info;
    struct pag_image_key found;
    EVP_PKEY *const all[] = { k->rsa, k->ec };
    for (size_t i = 0; i < 2; i++) {
        assert_true(find(k, pem_of(k, all[i], false), &found));
        assert_int_equal(pag_signing_info(all[i], &info), PAG_OK);
        assert_int_equal(found.at, 1000);
        assert_int_equal(found.form, PAG_IMAGE_KEY_PEM);
        assert_int_equal(found.rsa, info.rsa);
        assert_int_equal(found.bits, info.bits);
        assert_memory_equal(found.id, info.id, sizeof info.id);
    }
}

static void the_older_pem_form_has_the_same_id(void **state)
{
    struct keys *k = *state;
    struct pag_public_info info;
    struct pag_image_key found;
    assert_true(find(k, pem_of(k, k->rsa, true), &found));
    assert_int_equal(pag_signing_info(k->rsa, &info), PAG_OK);
    assert_memory_equal(found.id, info.id, sizeof info.id);
}

static void lines_may_end_as_they_like(void **state)
{
    struct keys *k = *state;
    struct pag_image_key found;
    struct pag_span pem = pem_of(k, k->rsa, false);
    char crlf[4096];
    size_t n = 0;
    for (size_t i = 0; i < pem.n; i++) {
        if (pem.p[i] == '\n') {
            crlf[n++] = '\r';
        }
        crlf[n++] = (char)pem.p[i];
    }
    assert_true(find(k, pag_span_of(crlf, n), &found));
}

static void a_der_key_is_found_and_a_damaged_one_is_not(void **state)
{
    struct keys *k = *state;
    struct pag_public_info info;
    struct pag_image_key found;
    uint8_t spki[PAG_SPKI_MAX];
    struct pag_span der = pag_span_of(spki, spki_of(k->rsa, spki));
    assert_true(find(k, der, &found));
    assert_int_equal(found.form, PAG_IMAGE_KEY_DER);
    assert_int_equal(pag_signing_info(k->rsa, &info), PAG_OK);
    assert_memory_equal(found.id, info.id, sizeof info.id);
    for (size_t i = 0; i < 33; i++) { /* heads of all parts, up to the modulus */
        spki[i] ^= 0x40;
        assert_false(find(k, der, &found) && memcmp(found.id, info.id, sizeof info.id) == 0);
        spki[i] ^= 0x40;
    }
}

static void every_key_is_found_one_after_the_other(void **state)
{
    struct keys *k = *state;
    struct pag_image_key found;
    uint8_t spki[PAG_SPKI_MAX];
    size_t from = 0;
    size_t n = spki_of(k->other, spki);
    struct pag_span pem = pem_of(k, k->rsa, false);
    memcpy(k->image + 10, pem.p, pem.n);
    memcpy(k->image + 5000, spki, n);
    memcpy(k->image + ROOM - n, spki, n);
    const size_t places[] = { 10, 5000, ROOM - n };
    for (size_t i = 0; i < 3; i++) {
        assert_true(pag_image_key_next(pag_crypto_openssl(), image_of(k), &from, &found));
        assert_int_equal(found.at, places[i]);
    }
    assert_false(pag_image_key_next(pag_crypto_openssl(), image_of(k), &from, &found));
}

static void a_key_cut_off_at_the_end_is_none(void **state)
{
    struct keys *k = *state;
    struct pag_image_key found;
    uint8_t spki[PAG_SPKI_MAX];
    size_t n = spki_of(k->rsa, spki);
    memcpy(k->image, spki, n);
    for (size_t cut = 0; cut < n; cut++) {
        size_t from = 0;
        assert_false(pag_image_key_next(pag_crypto_openssl(), pag_span_of(k->image, cut), &from, &found));
    }
}

static void a_known_modulus_is_found_in_either_byte_order(void **state)
{
    struct keys *k = *state;
    uint8_t spki[PAG_SPKI_MAX];
    struct pag_span number = { NULL, 0 };
    size_t at = 0;
    size_t n = spki_of(k->rsa, spki);
    assert_int_equal(pag_spki_number(pag_span_of(spki, n), &number), PAG_OK);
    assert_int_equal(number.n, 256);
    assert_false(pag_image_holds_number(image_of(k), number, &at));
    memcpy(k->image + ROOM - 256, number.p, 256);
    assert_true(pag_image_holds_number(image_of(k), number, &at));
    assert_int_equal(at, ROOM - 256);
    for (size_t i = 0; i < 256; i++) {
        k->image[i] = number.p[255 - i];
    }
    assert_true(pag_image_holds_number(pag_span_of(k->image, 300), number, &at));
    assert_int_equal(at, 0);
    assert_false(pag_image_holds_number(pag_span_of(k->image, 255), number, &at));
}

/* The public half of a key with another exponent. */
static EVP_PKEY *with_exponent(const EVP_PKEY *key, unsigned long exponent)
{
    BIGNUM *n = NULL;
    BIGNUM *e = BN_new();
    EVP_PKEY *made = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
    assert_int_equal(BN_set_word(e, exponent), 1);
    assert_int_equal(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n), 1);
    assert_int_equal(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e), 1);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &made, EVP_PKEY_PUBLIC_KEY, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(n);
    BN_free(e);
    return made;
}

static void a_key_with_which_everybody_signs_is_none(void **state)
{
    struct keys *k = *state;
    static const uint8_t info[] = { 0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                    0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 };
    uint8_t digest[PAG_SHA256_BYTES] = { 7 };
    uint8_t forged[256];
    memset(forged, 0xFF, sizeof forged);
    forged[0] = 0;
    forged[1] = 1;
    size_t at = sizeof forged - sizeof digest - sizeof info;
    forged[at - 1] = 0;
    memcpy(forged + at, info, sizeof info);
    memcpy(forged + at + sizeof info, digest, sizeof digest);
    const unsigned long bad[] = { 1, 2, 65536 };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t spki[PAG_SPKI_MAX];
        struct pag_public_info found;
        EVP_PKEY *weak = with_exponent(k->rsa, bad[i]);
        size_t n = spki_of(weak, spki);
        assert_int_not_equal(pag_signing_check(pag_span_of(spki, n), PAG_SIGNATURE_STANDARD, digest,
                                               pag_span_of(forged, sizeof forged)),
                             PAG_OK);
        assert_int_equal(pag_signing_info(weak, &found), PAG_E_UNSUPPORTED);
        EVP_PKEY_free(weak);
    }
    EVP_PKEY *three = with_exponent(k->rsa, 3);
    struct pag_public_info found;
    assert_int_equal(pag_signing_info(three, &found), PAG_OK);
    EVP_PKEY_free(three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_rsa_forms_verify_and_neither_passes_for_the_other, begin, end),
        cmocka_unit_test_setup_teardown(any_flipped_bit_of_digest_or_signature_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(the_legacy_form_is_of_rsa_alone, begin, end),
        cmocka_unit_test_setup_teardown(a_trailer_is_split_off_and_what_is_none_is_left, begin, end),
        cmocka_unit_test_setup_teardown(a_pem_key_in_the_data_is_found_with_the_id_of_its_key, begin, end),
        cmocka_unit_test_setup_teardown(the_older_pem_form_has_the_same_id, begin, end),
        cmocka_unit_test_setup_teardown(lines_may_end_as_they_like, begin, end),
        cmocka_unit_test_setup_teardown(a_der_key_is_found_and_a_damaged_one_is_not, begin, end),
        cmocka_unit_test_setup_teardown(every_key_is_found_one_after_the_other, begin, end),
        cmocka_unit_test_setup_teardown(a_key_cut_off_at_the_end_is_none, begin, end),
        cmocka_unit_test_setup_teardown(a_known_modulus_is_found_in_either_byte_order, begin, end),
        cmocka_unit_test_setup_teardown(a_key_with_which_everybody_signs_is_none, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
