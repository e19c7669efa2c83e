/* Properties of signed commands; PAG_SEED replays a run. */
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
#include "core/command.h"
#include "core/manifest.h"
#include "core/native.h"
#include "host/crypto.h"
#include "tests/support/draw.h"

enum { DEVICES = 3, COMMANDS = 40, DELIVERIES = 400, ROUNDS = 8 };

static uint64_t seed_state;
static EVP_PKEY *key;
static struct pag_trust_set trust;

static uint32_t next_random(void)
{
    return draw(&seed_state);
}

struct signed_bytes {
    uint8_t cose[PAG_SIGNED_COMMAND_MAX];
    size_t n;
    unsigned obeyed; /* by any device */
    char device[16];
};

static void make(struct signed_bytes *s, uint32_t counter, uint64_t expires_at)
{
    struct pag_buf out = { s->cose, 0, sizeof s->cose };
    (void)snprintf(s->device, sizeof s->device, "dev-%u", next_random() % DEVICES);
    struct pag_signed_command c = { .device = pag_span_str(s->device),
                                    .kind = (uint8_t)(PAG_COMMAND_RESET + next_random() % 3),
                                    .counter = counter,
                                    .expires_at = expires_at };
    if (c.kind == PAG_COMMAND_REENROLL && next_random() % 2) {
        c.arg = pag_span_str("ABCD-EFGH-JKLM");
    }
    memcpy(c.product, trust.product, sizeof c.product);
    memcpy(c.key_id, trust.release[0].id, sizeof c.key_id);
    assert_int_equal(pag_signed_command_sign(pag_crypto_openssl(), &c, pag_crypto_sign, key, &out, NULL),
                     PAG_OK);
    s->n = out.n;
    s->obeyed = 0;
}

static enum pag_err deliver(struct pag_span cose, const char *id, uint32_t *counter, uint64_t now)
{
    struct pag_signed_command c;
    const struct pag_signed_command_target t = {
        .product = trust.product, .device = pag_span_str(id), .counter = *counter, .now_unix_s = now
    };
    enum pag_err err = pag_signed_command_verify(pag_crypto_openssl(), cose, &trust, 0, &c, NULL);
    err = err == PAG_OK ? pag_signed_command_admit(&c, &t, NULL) : err;
    if (err == PAG_OK) {
        assert_true(c.counter > *counter);
        *counter = c.counter;
    }
    return err;
}

/* In any order, as often as one likes, to whom one likes, at any time. */
static void whoever_delivers_a_command_is_obeyed_at_most_once_by_the_device_it_names(void **state)
{
    static struct signed_bytes command[COMMANDS];
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t counter[DEVICES] = { 0 };
        uint64_t now = 1000;
        unsigned obeyed = 0;
        for (uint32_t i = 0; i < COMMANDS; i++) {
            make(&command[i], 1 + i, 1000 + next_random() % 500);
        }
        for (int i = 0; i < DELIVERIES; i++) {
            struct signed_bytes *s = &command[next_random() % COMMANDS];
            unsigned who = next_random() % DEVICES;
            char id[16];
            (void)snprintf(id, sizeof id, "dev-%u", who);
            now += next_random() % 3;
            if (deliver(pag_span_of(s->cose, s->n), id, &counter[who], now) == PAG_OK) {
                assert_string_equal(id, s->device);
                s->obeyed++;
                obeyed++;
            }
        }
        for (int i = 0; i < COMMANDS; i++) {
            assert_true(command[i].obeyed <= 1);
        }
        assert_true(obeyed > 0);
    }
}

static void no_change_of_any_byte_is_obeyed(void **state)
{
    struct signed_bytes s;
    (void)state;
    for (int round = 0; round < 20; round++) {
        make(&s, 1 + next_random() % 1000, 5000);
        for (int i = 0; i < 100; i++) {
            uint8_t bad[PAG_SIGNED_COMMAND_MAX];
            uint32_t counter = 0;
            size_t at = next_random() % s.n;
            memcpy(bad, s.cose, s.n);
            bad[at] = (uint8_t)(bad[at] ^ (1 + next_random() % 255));
            assert_int_not_equal(deliver(pag_span_of(bad, s.n), s.device, &counter, 0), PAG_OK);
            size_t cut = next_random() % s.n;
            assert_int_not_equal(deliver(pag_span_of(s.cose, cut), s.device, &counter, 0), PAG_OK);
        }
    }
}

static int keys(void **state)
{
    const char *seed = getenv("PAG_SEED");
    (void)state;
    seed_state = seed != NULL ? strtoull(seed, NULL, 0) : 20261121;
    print_message("PAG_SEED=%llu\n", (unsigned long long)seed_state);
    key = pag_crypto_key_new();
    memcpy(trust.product, "product1", sizeof trust.product);
    trust.release_threshold = 1;
    trust.release_n = 1;
    trust.release[0].kinds = 1U << PAG_KIND_COMMAND;
    trust.release[0].epoch_max = 65536;
    assert_int_equal(pag_crypto_key_id(key, trust.release[0].id), PAG_OK);
    return pag_crypto_point(key, trust.release[0].point) == PAG_OK ? 0 : -1;
}

static int close_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_delivers_a_command_is_obeyed_at_most_once_by_the_device_it_names),
        cmocka_unit_test(no_change_of_any_byte_is_obeyed),
    };
    return cmocka_run_group_tests(tests, keys, close_keys);
}
