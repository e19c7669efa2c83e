/* Runs every case of tests/vectors through core; read_vectors.py does the same without it. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/cbor.h"
#include "core/command.h"
#include "core/image.h"
#include "core/manifest.h"
#include "core/native.h"
#include "core/trust.h"
#include "core/version.h"
#include "host/crypto.h"

static json_t *load(const char *name)
{
    char path[64];
    json_error_t error;
    (void)snprintf(path, sizeof path, "tests/vectors/%s.json", name);
    json_t *root = json_load_file(path, 0, &error);
    assert_non_null(root);
    return root;
}

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

/* Bytes of a hex member in an allocation of exactly their length, so that a sanitizer sees one byte too far.
 */
static struct pag_span bytes_of(json_t *object, const char *key)
{
    struct pag_span hex = pag_span_str(text_of(object, key));
    uint8_t *p = malloc(hex.n / 2 + (hex.n == 0));
    assert_non_null(p);
    assert_int_equal(pag_parse_hex(hex, p, hex.n / 2), PAG_OK);
    return pag_span_of(p, hex.n / 2);
}

static void release(struct pag_span s)
{
    void *p = NULL; /* the allocation, without the const of a span */
    memcpy(&p, &s.p, sizeof p);
    free(p);
}

static int wrong;

static void expect(json_t *item, const char *key, enum pag_err got, const struct pag_fail *why)
{
    const char *want = text_of(item, key);
    if (strcmp(want, pag_err_word(got)) != 0) {
        json_t *name = json_object_get(item, "name");
        print_error("%s (%s): wanted %s, got %s: %s %llu\n",
                    name ? json_string_value(name) : text_of(item, "hex"), key, want, pag_err_word(got),
                    why && why->what ? why->what : "-", (unsigned long long)(why ? why->detail : 0));
        wrong++;
    }
}

static void expect_number(json_t *item, json_t *fields, const char *key, uint64_t got)
{
    json_t *want = json_object_get(fields, key);
    json_int_t number = json_is_boolean(want) ? json_is_true(want) : json_integer_value(want);
    if (want != NULL && (uint64_t)number != got) {
        print_error("%s: %s is %llu\n", text_of(item, "name"), key, (unsigned long long)got);
        wrong++;
    }
}

static void expect_text(json_t *item, json_t *fields, const char *key, const char *got)
{
    json_t *want = json_object_get(fields, key);
    if (want != NULL && strcmp(json_string_value(want), got) != 0) {
        print_error("%s: %s is %s\n", text_of(item, "name"), key, got);
        wrong++;
    }
}

static void expect_hex(json_t *item, json_t *fields, const char *key, const uint8_t *got, size_t n)
{
    uint8_t room[128];
    struct pag_buf hex = { .p = room, .n = 0, .cap = sizeof room - 1 };
    assert_int_equal(pag_buf_put_hex(&hex, pag_span_of(got, n)), PAG_OK);
    room[hex.n] = 0;
    expect_text(item, fields, key, (const char *)room);
}

static void expect_manifest(json_t *item, const struct pag_manifest *m)
{
    json_t *fields = json_object_get(item, "fields");
    expect_number(item, fields, "kind", m->kind);
    expect_number(item, fields, "chip", m->chip);
    expect_number(item, fields, "epoch", m->epoch);
    expect_number(item, fields, "sequence", m->sequence);
    expect_number(item, fields, "size", m->size);
    expect_number(item, fields, "issued_at", m->issued_at);
    expect_number(item, fields, "expires_at", m->expires_at);
    expect_number(item, fields, "trust_version_min", m->trust_version_min);
    expect_text(item, fields, "image", m->image);
    expect_text(item, fields, "version", m->version);
    expect_hex(item, fields, "product", m->product, sizeof m->product);
    expect_hex(item, fields, "digest", m->digest, sizeof m->digest);
}

/* What was read from payload bytes is written again as the same bytes, signature included. */
static enum pag_err keep_signature(void *ctx, const uint8_t digest[PAG_SHA256_BYTES],
                                   uint8_t out[PAG_P256_SIG_BYTES])
{
    (void)digest;
    memcpy(out, ctx, PAG_P256_SIG_BYTES);
    return PAG_OK;
}

static void expect_same_bytes(json_t *item, struct pag_span cose, const struct pag_manifest *m)
{
    uint8_t room[PAG_MANIFEST_MAX];
    struct pag_buf out = { .p = room, .n = 0, .cap = sizeof room };
    uint8_t sig[PAG_P256_SIG_BYTES];
    memcpy(sig, cose.p + cose.n - sizeof sig, sizeof sig);
    enum pag_err err = pag_manifest_sign(pag_crypto_openssl(), m, keep_signature, sig, &out, NULL);
    bool extension = strstr(text_of(item, "name"), "key 64") != NULL;
    if (!extension && (err != PAG_OK || !pag_span_eq(pag_buf_span(&out), cose))) {
        print_error("%s: written anew it differs (%s)\n", text_of(item, "name"), pag_err_word(err));
        wrong++;
    }
}

static void run_manifests(json_t *group)
{
    struct pag_trust_set trust;
    struct pag_fail why = { 0 };
    size_t i;
    json_t *item;
    struct pag_span set = bytes_of(group, "trust");
    assert_int_equal(pag_trust_accept_first(pag_crypto_openssl(), set, NULL, &trust, &why), PAG_OK);
    json_array_foreach(json_object_get(group, "cases"), i, item)
    {
        struct pag_manifest m;
        struct pag_span cose = bytes_of(item, "hex");
        if (json_object_get(item, "parse") != NULL) {
            enum pag_err err = pag_manifest_parse(cose, &m, &why);
            expect(item, "parse", err, &why);
            if (err == PAG_OK) {
                expect_manifest(item, &m);
                expect_same_bytes(item, cose, &m);
            }
        }
        expect(item, "verify", pag_manifest_verify(pag_crypto_openssl(), cose, &trust, &m, &why), &why);
        release(cose);
    }
    release(set);
}

static void manifests_are_read_as_the_vectors_say(void **state)
{
    (void)state;
    json_t *root = load("manifest");
    wrong = 0;
    run_manifests(root);
    run_manifests(json_object_get(root, "narrow"));
    assert_int_equal(wrong, 0);
    json_decref(root);
}

static enum pag_err run_trust(json_t *item, struct pag_trust_set *set, struct pag_fail *why)
{
    const struct pag_crypto *crypto = pag_crypto_openssl();
    uint8_t digest[PAG_SHA256_BYTES];
    struct pag_span cose = bytes_of(item, "hex");
    enum pag_err err = PAG_OK;
    if (strcmp(text_of(item, "op"), "next") == 0) {
        struct pag_trust_set old;
        struct pag_span before = bytes_of(item, "old");
        assert_int_equal(pag_trust_accept_first(crypto, before, NULL, &old, why), PAG_OK);
        pag_sha256_of(crypto, before, digest);
        err = pag_trust_accept_next(crypto, &old, digest, cose, set, why);
        release(before);
    } else if (json_object_get(item, "pinned") != NULL) {
        struct pag_span pinned = bytes_of(item, "pinned");
        err = pag_trust_accept_first(crypto, cose, pinned.p, set, why);
        release(pinned);
    } else {
        err = pag_trust_accept_first(crypto, cose, NULL, set, why);
    }
    release(cose);
    return err;
}

static void trust_sets_are_accepted_as_the_vectors_say(void **state)
{
    (void)state;
    json_t *root = load("trust");
    json_t *item;
    size_t i;
    struct pag_fail why = { 0 };
    struct pag_trust_set set;
    wrong = 0;
    json_array_foreach(json_object_get(root, "cases"), i, item)
    {
        enum pag_err err = run_trust(item, &set, &why);
        expect(item, "error", err, &why);
        expect_number(item, item, "version", set.version);
    }
    struct pag_span first = bytes_of(root, "trust");
    assert_int_equal(pag_trust_accept_first(pag_crypto_openssl(), first, NULL, &set, &why), PAG_OK);
    json_array_foreach(json_object_get(root, "tokens"), i, item)
    {
        struct pag_token token;
        struct pag_span cose = bytes_of(item, "hex");
        struct pag_span nonce = bytes_of(item, "nonce");
        expect(item, "error", pag_token_verify(pag_crypto_openssl(), cose, &set, nonce.p, &token, &why),
               &why);
        release(cose);
        release(nonce);
    }
    release(first);
    assert_int_equal(wrong, 0);
    json_decref(root);
}

/* Parsed, verified and judged as a device does; what was read is written again as the same bytes. */
static enum pag_err run_command(json_t *item, const struct pag_trust_set *set, struct pag_fail *why)
{
    struct pag_signed_command c;
    uint8_t room[PAG_SIGNED_COMMAND_MAX];
    uint8_t sig[PAG_P256_SIG_BYTES];
    struct pag_buf out = { .p = room, .n = 0, .cap = sizeof room };
    struct pag_span cose = bytes_of(item, "hex");
    const char *device = json_string_value(json_object_get(item, "device"));
    const struct pag_signed_command_target t = {
        .product = set->product,
        .device = pag_span_str(device != NULL ? device : "84f3eb000001"),
        .counter = (uint32_t)json_integer_value(json_object_get(item, "counter")),
        .now_unix_s = (uint64_t)json_integer_value(json_object_get(item, "now")),
    };
    uint32_t epoch = (uint32_t)json_integer_value(json_object_get(item, "epoch"));
    enum pag_err err = pag_signed_command_verify(pag_crypto_openssl(), cose, set, epoch, &c, why);
    if (err == PAG_OK) {
        memcpy(sig, cose.p + cose.n - sizeof sig, sizeof sig);
        assert_int_equal(pag_signed_command_sign(pag_crypto_openssl(), &c, keep_signature, sig, &out, why),
                         PAG_OK);
        assert_true(pag_span_eq(cose, pag_buf_span(&out)));
        err = pag_signed_command_admit(&c, &t, why);
    }
    release(cose);
    return err;
}

static void signed_commands_are_obeyed_as_the_vectors_say(void **state)
{
    (void)state;
    json_t *root = load("command");
    json_t *item;
    size_t i;
    struct pag_fail why = { 0 };
    struct pag_trust_set set;
    wrong = 0;
    json_array_foreach(json_object_get(root, "cases"), i, item)
    {
        struct pag_span trust = bytes_of(json_object_get(root, "trust"), text_of(item, "set"));
        assert_int_equal(pag_trust_accept_first(pag_crypto_openssl(), trust, NULL, &set, &why), PAG_OK);
        expect(item, "error", run_command(item, &set, &why), &why);
        release(trust);
    }
    assert_int_equal(wrong, 0);
    json_decref(root);
}

union message {
    struct pag_native_check check;
    struct pag_native_command command;
    struct pag_native_result result;
    struct pag_native_offer offer;
    struct pag_native_report report;
    struct pag_native_enroll enroll;
    struct pag_native_enrolled enrolled;
};

/* Reads in as that message and writes it to out again. */
#define TRY(name_)                                                                                           \
    if (strcmp(type, #name_) == 0) {                                                                         \
        enum pag_err err = pag_native_##name_##_get(in, &m.name_);                                           \
        return err == PAG_OK ? pag_native_##name_##_put(out, &m.name_) : err;                                \
    }

static enum pag_err run_native(const char *type, struct pag_span in, struct pag_buf *out)
{
    union message m;
    TRY(check)
    TRY(command)
    TRY(result)
    TRY(offer)
    TRY(report)
    TRY(enroll)
    TRY(enrolled)
    fail_msg("no such message: %s", type);
    return PAG_E_INTERNAL;
}

static void native_messages_are_read_and_written_as_the_vectors_say(void **state)
{
    (void)state;
    json_t *root = load("native");
    json_t *item;
    size_t i;
    wrong = 0;
    json_array_foreach(json_object_get(root, "cases"), i, item)
    {
        uint8_t room[PAG_NATIVE_MAX];
        struct pag_buf out = { .p = room, .n = 0, .cap = sizeof room };
        struct pag_span in = bytes_of(item, "hex");
        enum pag_err err = run_native(text_of(item, "type"), in, &out);
        expect(item, "error", err, NULL);
        bool extension = strstr(text_of(item, "name"), "key 64") != NULL;
        if (err == PAG_OK && !extension && !pag_span_eq(pag_buf_span(&out), in)) {
            print_error("%s: written anew it differs\n", text_of(item, "name"));
            wrong++;
        }
        release(in);
    }
    assert_int_equal(wrong, 0);
    json_decref(root);
}

static struct pag_span image_of(json_t *parts)
{
    size_t n = 0;
    size_t at = 0;
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part)
    {
        n += strlen(json_string_value(json_array_get(part, 0))) / 2 *
             (size_t)json_integer_value(json_array_get(part, 1));
    }
    uint8_t *p = malloc(n + (n == 0));
    assert_non_null(p);
    json_array_foreach(parts, i, part)
    {
        struct pag_span hex = pag_span_str(json_string_value(json_array_get(part, 0)));
        for (json_int_t k = 0; k < json_integer_value(json_array_get(part, 1)); k++) {
            assert_int_equal(pag_parse_hex(hex, p + at, hex.n / 2), PAG_OK);
            at += hex.n / 2;
        }
    }
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the span is the allocation; release() frees it */
    return pag_span_of(p, n);
}

static void expect_image(json_t *item, const struct pag_image *m)
{
    static const char *const kinds[] = { "esp8266-arduino", "esp8266-plain", "esp32", "elf", "filesystem" };
    json_t *fields = json_object_get(item, "fields");
    expect_text(item, fields, "kind", kinds[m->kind]);
    expect_text(item, fields, "chip", pag_chip_name(m->chip));
    expect_number(item, fields, "payload_bytes", m->payload_bytes);
    expect_number(item, fields, "trailer_bytes", m->trailer_bytes);
    expect_number(item, fields, "flash_size_bytes", m->flash_size_bytes);
    expect_number(item, fields, "flash_mode", m->flash_mode);
    expect_number(item, fields, "has_crc", m->has_crc);
    expect_number(item, fields, "has_hash", m->has_hash);
    expect_number(item, fields, "has_identity", m->has_identity);
    expect_number(item, fields, "gzip", m->gzip);
    expect_number(item, fields, "identity_epoch", m->identity_epoch);
    expect_number(item, fields, "secure_version", m->secure_version);
    expect_number(item, fields, "chip_rev_max", m->chip_rev_max);
    expect_text(item, fields, "project", m->project);
    expect_text(item, fields, "version", m->version);
    expect_text(item, fields, "hardware", m->hardware);
    expect_text(item, fields, "idf_version", m->idf_version);
}

static void images_are_read_as_the_vectors_say(void **state)
{
    (void)state;
    json_t *root = load("image");
    json_t *item;
    size_t i;
    wrong = 0;
    json_array_foreach(json_object_get(root, "cases"), i, item)
    {
        struct pag_image image;
        struct pag_fail why = { 0 };
        struct pag_span file = image_of(json_object_get(item, "parts"));
        enum pag_err err = pag_image_read(pag_crypto_openssl(), file, &image, &why);
        expect(item, "error", err, &why);
        if (err == PAG_OK) {
            expect_image(item, &image);
        } else {
            assert_non_null(why.what);
        }
        release(file);
    }
    assert_int_equal(wrong, 0);
    json_decref(root);
}

static void versions_compare_as_the_vectors_say(void **state)
{
    (void)state;
    static const char *const words[] = { "semver", "secure", "plain" };
    json_t *root = load("version");
    json_t *item;
    const char *text;
    size_t i;
    json_array_foreach(json_object_get(root, "order"), i, item)
    {
        int order = 7;
        const char *a = text_of(item, "a");
        const char *b = text_of(item, "b");
        json_t *want = json_object_get(item, "order");
        enum pag_err err = pag_version_compare(pag_span_str(a), pag_span_str(b), &order);
        assert_int_equal(err, json_is_null(want) ? PAG_E_CONFLICT : PAG_OK);
        if (err == PAG_OK && order != json_integer_value(want)) {
            fail_msg("%s against %s gives %d", a, b, order);
        }
    }
    json_object_foreach(json_object_get(root, "scheme"), text, item)
    {
        assert_string_equal(words[pag_version_scheme_of(pag_span_str(text))], json_string_value(item));
    }
    json_object_foreach(json_object_get(root, "ok"), text, item)
    {
        assert_int_equal(pag_version_ok(pag_span_str(text)), json_is_true(item));
    }
    json_decref(root);
}

static void cbor_is_checked_as_the_vectors_say(void **state)
{
    (void)state;
    json_t *root = load("cbor");
    json_t *item;
    size_t i;
    wrong = 0;
    json_array_foreach(json_object_get(root, "cases"), i, item)
    {
        struct pag_span in = bytes_of(item, "hex");
        expect(item, "error", pag_cbor_check(in), NULL);
        release(in);
    }
    assert_int_equal(wrong, 0);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cbor_is_checked_as_the_vectors_say),
        cmocka_unit_test(manifests_are_read_as_the_vectors_say),
        cmocka_unit_test(trust_sets_are_accepted_as_the_vectors_say),
        cmocka_unit_test(signed_commands_are_obeyed_as_the_vectors_say),
        cmocka_unit_test(native_messages_are_read_and_written_as_the_vectors_say),
        cmocka_unit_test(images_are_read_as_the_vectors_say),
        cmocka_unit_test(versions_compare_as_the_vectors_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
