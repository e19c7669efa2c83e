/* Properties of core's readers and helpers; PAG_SEED replays a run. */
#include <openssl/evp.h>
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
#include "core/manifest.h"
#include "core/native.h"
#include "core/trust.h"
#include "core/version.h"
#include "host/crypto.h"
#include "tests/support/draw.h"

static uint64_t seed_state;

static uint32_t next_random(void)
{
    return draw(&seed_state);
}

static void fill_random(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)next_random();
    }
}

/* ---- objects ---- */

static EVP_PKEY *release_key;
static EVP_PKEY *root_key;

static struct pag_manifest random_manifest(void)
{
    struct pag_manifest m;
    memset(&m, 0, sizeof m);
    m.kind = (enum pag_payload_kind)(next_random() % 6); /* permits have rules of their own */
    fill_random(m.product, sizeof m.product);
    m.hardware_n = (uint8_t)(1 + next_random() % PAG_HARDWARE_IDS_MAX);
    for (size_t i = 0; i < m.hardware_n; i++) {
        m.hardware[i].n = (uint8_t)(4 + next_random() % 13);
        fill_random(m.hardware[i].id, m.hardware[i].n);
    }
    m.chip = (enum pag_chip)(1 + next_random() % 14);
    (void)snprintf(m.image, sizeof m.image, "img-%u", next_random() % 1000);
    (void)snprintf(m.version, sizeof m.version, "%u.%u", next_random() % 100, next_random());
    m.has_build = next_random() % 2;
    if (m.has_build) {
        fill_random(m.build, sizeof m.build);
    }
    m.epoch = next_random() % 65537;
    m.sequence = 1 + next_random();
    fill_random(m.digest, sizeof m.digest);
    m.size = 1 + next_random();
    m.issued_at = next_random();
    m.expires_at = next_random() % 2 ? 0 : m.issued_at + next_random();
    m.transport_n = (uint8_t)(next_random() % 2);
    if (m.transport_n != 0) {
        m.transport[0].encoding = (uint8_t)(next_random() % 4);
        m.transport[0].size = 1 + next_random();
        fill_random(m.transport[0].digest, sizeof m.transport[0].digest);
    }
    m.has_conditions = next_random() % 2;
    if (m.has_conditions) {
        m.conditions = (struct pag_conditions){ .has = 5, .battery_min_pct = 40, .rssi_min_dbm = -70 };
    }
    m.has_stone = next_random() % 2;
    m.stone_sequence = m.has_stone ? next_random() : 0;
    m.trust_version_min = next_random();
    m.has_layout = next_random() % 2;
    m.has_set = next_random() % 2;
    m.inner_scheme = (uint8_t)(next_random() % 4);
    if (m.inner_scheme != 0) {
        fill_random(m.inner_key, sizeof m.inner_key);
    }
    assert_int_equal(pag_crypto_key_id(release_key, m.key_id), PAG_OK);
    return m;
}

static struct pag_span sign_manifest(const struct pag_manifest *m, uint8_t room[PAG_MANIFEST_MAX])
{
    memset(room, 0xEE, PAG_MANIFEST_MAX);
    struct pag_buf out = { .p = room, .n = 0, .cap = PAG_MANIFEST_MAX };
    struct pag_fail why = { 0 };
    enum pag_err err = pag_manifest_sign(pag_crypto_openssl(), m, pag_crypto_sign, release_key, &out, &why);
    if (err != PAG_OK) {
        print_error("%s %s %llu\n", pag_err_word(err), why.what, (unsigned long long)why.detail);
    }
    assert_int_equal(err, PAG_OK);
    return pag_buf_span(&out);
}

/* Unsigned set of version 1 that lists the two keys for the product of m. */
static void trust_for(const struct pag_manifest *m, struct pag_trust_set *t)
{
    memset(t, 0, sizeof *t);
    t->version = 1;
    memcpy(t->product, m->product, sizeof t->product);
    t->root_threshold = 1;
    t->root_n = 1;
    t->release_threshold = 1;
    t->release_n = 1;
    t->release[0].kinds = 0xFF;
    t->release[0].epoch_max = 65536;
    assert_int_equal(pag_crypto_point(root_key, t->root[0].point), PAG_OK);
    assert_int_equal(pag_crypto_key_id(root_key, t->root[0].id), PAG_OK);
    assert_int_equal(pag_crypto_point(release_key, t->release[0].point), PAG_OK);
    assert_int_equal(pag_crypto_key_id(release_key, t->release[0].id), PAG_OK);
}

static struct pag_span sign_trust(const struct pag_trust_set *t, uint8_t room[PAG_TRUST_MAX])
{
    memset(room, 0xEE, PAG_TRUST_MAX);
    uint8_t payload_room[PAG_TRUST_MAX];
    uint8_t digest[PAG_SHA256_BYTES];
    struct pag_buf payload = { .p = payload_room, .n = 0, .cap = sizeof payload_room };
    struct pag_buf out = { .p = room, .n = 0, .cap = PAG_TRUST_MAX };
    struct pag_trust_signature sig;
    memcpy(sig.key_id, t->root[0].id, sizeof sig.key_id);
    assert_int_equal(pag_trust_payload(t, &payload, NULL), PAG_OK);
    assert_int_equal(
        pag_trust_signing_digest(pag_crypto_openssl(), pag_buf_span(&payload), sig.key_id, digest), PAG_OK);
    assert_int_equal(pag_crypto_sign(root_key, digest, sig.sig), PAG_OK);
    assert_int_equal(pag_trust_envelope(pag_buf_span(&payload), &sig, 1, &out), PAG_OK);
    return pag_buf_span(&out);
}

/* Input in an allocation of exactly its length, so that a sanitizer sees one byte too far. */
static uint8_t *exact_copy(struct pag_span s, size_t n)
{
    uint8_t *p = malloc(n + (n == 0));
    assert_non_null(p);
    memcpy(p, s.p, n);
    return p;
}

/* ---- properties ---- */

static void a_manifest_reads_back_as_it_was_written(void **state)
{
    (void)state;
    for (int run = 0; run < 300; run++) {
        struct pag_manifest m = random_manifest();
        struct pag_manifest is;
        struct pag_trust_set trust;
        uint8_t room[PAG_MANIFEST_MAX];
        struct pag_span cose = sign_manifest(&m, room);
        trust_for(&m, &trust);
        assert_int_equal(pag_manifest_verify(pag_crypto_openssl(), cose, &trust, &is, NULL), PAG_OK);
        assert_memory_equal(&m, &is, sizeof m);
    }
}

static void every_flipped_bit_of_a_manifest_is_refused(void **state)
{
    (void)state;
    size_t flips = 0;
    while (flips < 4000) {
        struct pag_manifest m = random_manifest();
        struct pag_manifest is;
        struct pag_trust_set trust;
        uint8_t room[PAG_MANIFEST_MAX];
        struct pag_span cose = sign_manifest(&m, room);
        trust_for(&m, &trust);
        for (size_t bit = 0; bit < cose.n * 8; bit++, flips++) {
            room[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_int_not_equal(pag_manifest_verify(pag_crypto_openssl(), cose, &trust, &is, NULL), PAG_OK);
            assert_int_equal(is.sequence, 0);
            room[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
    }
    (void)printf("%zu flips refused\n", flips);
}

static void every_flipped_bit_of_a_trust_set_is_refused(void **state)
{
    (void)state;
    struct pag_manifest m = random_manifest();
    struct pag_trust_set trust;
    struct pag_trust_set is;
    uint8_t room[PAG_TRUST_MAX];
    trust_for(&m, &trust);
    struct pag_span cose = sign_trust(&trust, room);
    assert_int_equal(pag_trust_accept_first(pag_crypto_openssl(), cose, NULL, &is, NULL), PAG_OK);
    assert_memory_equal(&trust, &is, sizeof is);
    for (size_t bit = 0; bit < cose.n * 8; bit++) {
        room[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_not_equal(pag_trust_accept_first(pag_crypto_openssl(), cose, NULL, &is, NULL), PAG_OK);
        assert_int_equal(is.version, 0);
        room[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void objects_cut_at_any_byte_fail_cleanly(void **state)
{
    (void)state;
    struct pag_manifest m = random_manifest();
    struct pag_trust_set trust;
    uint8_t room[PAG_MANIFEST_MAX];
    uint8_t trust_room[PAG_TRUST_MAX];
    trust_for(&m, &trust);
    struct pag_span cose = sign_manifest(&m, room);
    struct pag_span set = sign_trust(&trust, trust_room);
    for (size_t n = 0; n < cose.n; n++) {
        uint8_t *cut = exact_copy(cose, n);
        assert_int_equal(pag_manifest_parse(pag_span_of(cut, n), &m, NULL), PAG_E_SHORT);
        assert_int_equal(pag_cbor_check(pag_span_of(cut, n)), PAG_E_SHORT);
        free(cut);
    }
    for (size_t n = 0; n < set.n; n++) {
        uint8_t *cut = exact_copy(set, n);
        assert_int_equal(pag_trust_parse(pag_span_of(cut, n), &trust, NULL), PAG_E_SHORT);
        free(cut);
    }
}

static void a_token_serves_its_own_nonce_only(void **state)
{
    (void)state;
    struct pag_manifest m = random_manifest();
    struct pag_trust_set trust;
    trust_for(&m, &trust);
    trust.freshness_n = 1;
    trust.freshness[0] = trust.root[0];
    struct pag_token t = {
        .server_time = next_random(), .trust_version = 1, .highest_sequence = 7, .valid_s = 60
    };
    struct pag_token is;
    uint8_t room[PAG_TOKEN_MAX];
    struct pag_buf out = { .p = room, .n = 0, .cap = sizeof room };
    memcpy(t.product, m.product, sizeof t.product);
    memcpy(t.key_id, trust.root[0].id, sizeof t.key_id);
    fill_random(t.nonce, sizeof t.nonce);
    assert_int_equal(pag_token_sign(pag_crypto_openssl(), &t, pag_crypto_sign, root_key, &out), PAG_OK);
    struct pag_span cose = pag_buf_span(&out);
    assert_int_equal(pag_token_verify(pag_crypto_openssl(), cose, &trust, t.nonce, &is, NULL), PAG_OK);
    assert_memory_equal(&t, &is, sizeof t);
    for (size_t bit = 0; bit < cose.n * 8; bit++) {
        room[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_not_equal(pag_token_verify(pag_crypto_openssl(), cose, &trust, t.nonce, &is, NULL),
                             PAG_OK);
        room[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    t.nonce[3] ^= 1;
    assert_int_equal(pag_token_verify(pag_crypto_openssl(), cose, &trust, t.nonce, &is, NULL), PAG_E_STALE);
}

static void a_native_check_reads_back_and_fails_cleanly_when_cut(void **state)
{
    (void)state;
    for (int run = 0; run < 100; run++) {
        uint8_t bytes[96];
        uint8_t room[256];
        struct pag_buf out = { .p = room, .n = 0, .cap = sizeof room };
        fill_random(bytes, sizeof bytes);
        struct pag_native_check m = { .running_digest = { bytes, 32 },
                                      .version = pag_span_str("1.2.3"),
                                      .sequence = next_random(),
                                      .slot = next_random() & 1,
                                      .boot_state = (uint8_t)(next_random() % 3),
                                      .hardware = { bytes + 32, 4 + next_random() % 13 },
                                      .boot_count = next_random(),
                                      .has_nonce = next_random() & 1 };
        m.nonce = m.has_nonce ? pag_span_of(bytes + 64, 16) : m.nonce;
        struct pag_native_check is;
        assert_int_equal(pag_native_check_put(&out, &m), PAG_OK);
        assert_int_equal(pag_native_check_get(pag_buf_span(&out), &is), PAG_OK);
        assert_true(pag_span_eq(is.running_digest, m.running_digest) && pag_span_eq(is.hardware, m.hardware));
        assert_true(is.sequence == m.sequence && is.boot_count == m.boot_count &&
                    is.has_nonce == m.has_nonce);
        for (size_t n = 0; n < out.n; n++) {
            uint8_t *cut = exact_copy(pag_buf_span(&out), n);
            assert_int_equal(pag_native_check_get(pag_span_of(cut, n), &is), PAG_E_SHORT);
            assert_null(is.running_digest.p);
            free(cut);
        }
        for (size_t cap = 0; cap < out.n; cap++) {
            struct pag_buf small = { .p = room, .n = 0, .cap = cap };
            assert_int_equal(pag_native_check_put(&small, &m), PAG_E_SPACE);
            assert_int_equal(small.n, 0);
        }
    }
}

static void cbor_numbers_read_back_as_they_were_written(void **state)
{
    (void)state;
    for (int run = 0; run < 20000; run++) {
        uint8_t room[9];
        struct pag_buf out = { .p = room, .n = 0, .cap = sizeof room };
        struct pag_cbor_writer w = pag_cbor_write(&out);
        uint64_t wide = ((uint64_t)next_random() << 32 | next_random()) >> (next_random() % 64);
        int64_t want = (int64_t)wide;
        want = next_random() % 2 ? want : -1 - want;
        pag_cbor_put_int(&w, want);
        assert_int_equal(pag_cbor_check(pag_buf_span(&out)), PAG_OK);
        struct pag_cbor_reader r = pag_cbor_read(pag_buf_span(&out));
        int64_t got = 0;
        assert_int_equal(pag_cbor_get_int(&r, &got), PAG_OK);
        assert_true(got == want && pag_cbor_at_end(&r));
    }
}

static size_t edgy(void)
{
    size_t wide = (size_t)next_random() << 32 | next_random();
    switch (next_random() % 5) {
    case 0:
        return SIZE_MAX - next_random() % 4;
    case 1:
        return (size_t)1 << next_random() % 64;
    case 2:
        return (((size_t)1 << next_random() % 64) - 1) + next_random() % 3;
    case 3:
        return wide >> next_random() % 64;
    default:
        return next_random() % 4;
    }
}

static void checked_arithmetic_agrees_with_wider_numbers(void **state)
{
    (void)state;
    __extension__ typedef unsigned __int128 wide;
    for (int run = 0; run < 300000; run++) {
        size_t a = edgy();
        size_t b = edgy();
        size_t out = 77;
        wide sum = (wide)a + b;
        wide product = (wide)a * b;
        assert_int_equal(pag_size_add(a, b, &out), sum > SIZE_MAX ? PAG_E_RANGE : PAG_OK);
        assert_true(out == (sum > SIZE_MAX ? 77 : (size_t)sum));
        out = 77;
        assert_int_equal(pag_size_mul(a, b, &out), product > SIZE_MAX ? PAG_E_RANGE : PAG_OK);
        assert_true(out == (product > SIZE_MAX ? 77 : (size_t)product));
        uint32_t small = 77;
        uint64_t both = (uint64_t)(uint32_t)a + (uint32_t)b;
        assert_int_equal(pag_u32_add((uint32_t)a, (uint32_t)b, &small),
                         both > UINT32_MAX ? PAG_E_RANGE : PAG_OK);
        assert_true(small == (both > UINT32_MAX ? 77 : (uint32_t)both));
    }
}

static struct pag_span random_version(char room[40])
{
    static const char *const tail[] = { "", "-rc.1", "-rc.10", "-a", "+x", "-1", ".g", ".h", "0", "-", "a1" };
    static const char *const head[] = { "", "v", "B-", "C-", "x", "01" };
    int n = snprintf(room, 40, "%s%u.%u.%u%s", head[next_random() % 6], next_random() % 3, next_random() % 12,
                     next_random() % 2, tail[next_random() % 11]);
    return pag_span_of(room, (size_t)n);
}

static void versions_of_one_scheme_are_in_total_order(void **state)
{
    (void)state;
    unsigned compared = 0;
    for (int run = 0; run < 200000; run++) {
        char room[3][40];
        struct pag_span a = random_version(room[0]);
        struct pag_span b = random_version(room[1]);
        struct pag_span c = random_version(room[2]);
        int ab = 0, ba = 0, bc = 0, ac = 0;
        if (pag_version_compare(a, b, &ab) != PAG_OK || pag_version_compare(b, c, &bc) != PAG_OK) {
            continue;
        }
        compared++;
        assert_int_equal(pag_version_compare(b, a, &ba), PAG_OK);
        assert_int_equal(ab, -ba);
        assert_int_equal(pag_version_compare(a, c, &ac), PAG_OK);
        assert_true(!(ab <= 0 && bc <= 0) || ac <= 0);
        assert_true(!(ab < 0 && bc <= 0) || ac < 0);
        assert_true(!(ab == 0 && bc == 0) || ac == 0);
    }
    assert_true(compared > 1000);
}

int main(void)
{
    const char *seed = getenv("PAG_SEED");
    seed_state = seed != NULL ? strtoull(seed, NULL, 10) : 20261121;
    (void)printf("PAG_SEED=%llu\n", (unsigned long long)seed_state);
    release_key = pag_crypto_key_new();
    root_key = pag_crypto_key_new();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_reads_back_as_it_was_written),
        cmocka_unit_test(every_flipped_bit_of_a_manifest_is_refused),
        cmocka_unit_test(every_flipped_bit_of_a_trust_set_is_refused),
        cmocka_unit_test(objects_cut_at_any_byte_fail_cleanly),
        cmocka_unit_test(a_token_serves_its_own_nonce_only),
        cmocka_unit_test(a_native_check_reads_back_and_fails_cleanly_when_cut),
        cmocka_unit_test(cbor_numbers_read_back_as_they_were_written),
        cmocka_unit_test(checked_arithmetic_agrees_with_wider_numbers),
        cmocka_unit_test(versions_of_one_scheme_are_in_total_order),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    EVP_PKEY_free(release_key);
    EVP_PKEY_free(root_key);
    return failed;
}
