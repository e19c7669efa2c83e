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
#include "sim/saved.h"

enum { SLOT = 4 * PAG_SIM_SECTOR, SECTORS = 2, ROUNDS = 20000 };

static uint32_t seed_of(void)
{
    const char *text = getenv("PAG_SEED");
    uint32_t seed = 20260101;
    if (text != NULL) {
        (void)pag_parse_u32(pag_span_str(text), &seed);
    }
    (void)fprintf(stderr, "PAG_SEED=%u\n", (unsigned)seed);
    return seed != 0 ? seed : 1;
}

static uint32_t next(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

static void put_map(struct pag_cbor_writer *w, uint32_t sectors, uint32_t first)
{
    uint8_t map[SLOT / PAG_SIM_SECTOR * 4] = { 0 };
    pag_put_u32le(map, first);
    pag_cbor_put_bytes(w, pag_span_of(map, (size_t)sectors * 4));
}

/* A native and a legacy device on two sectors; slot A of both begins with sector a. */
static struct pag_buf two_devices(uint32_t a)
{
    enum { ROOM = 16384 };
    static uint8_t sector[PAG_SIM_SECTOR];
    struct pag_buf out = { malloc(ROOM), 0, ROOM };
    struct pag_cbor_writer w = pag_cbor_write(&out);
    pag_cbor_put_array(&w, 6);
    pag_cbor_put_text(&w, pag_span_str("pagurus-sim devices 1"));
    pag_cbor_put_uint(&w, SLOT);
    pag_cbor_put_bytes(&w, pag_span_str("01234567"));
    pag_cbor_put_array(&w, SECTORS);
    for (int i = 0; i < SECTORS; i++) {
        memset(sector, i, sizeof(sector));
        pag_cbor_put_bytes(&w, pag_span_of(sector, sizeof(sector)));
    }
    pag_cbor_put_array(&w, 2);
    for (int i = 0; i < 2; i++) {
        pag_cbor_put_array(&w, 8 + PAG_AREA_COUNT);
        pag_cbor_put_text(&w, pag_span_str(i == 0 ? "crash" : "loop"));
        pag_cbor_put_text(&w, pag_span_str("5ccf7f010000"));
        pag_cbor_put_text(&w, pag_span_str("kitchen-1"));
        pag_cbor_put_bytes(&w, pag_span_str(""));
        pag_cbor_put_bytes(&w, pag_span_str("certificate"));
        pag_cbor_put_bytes(&w, pag_span_str("key"));
        pag_cbor_put_text(&w, pag_span_str("localhost"));
        pag_cbor_put_uint(&w, 8883);
        for (int area = 0; area < PAG_AREA_COUNT; area++) {
            put_map(&w, area < PAG_AREA_SLOT_A ? 2 : SLOT / PAG_SIM_SECTOR, area == PAG_AREA_SLOT_A ? a : 0);
        }
    }
    pag_cbor_put_uint(&w, 1);
    assert_int_equal(w.err, PAG_OK);
    return out;
}

static void use(const struct pag_sim_saved *s)
{
    static const uint32_t areas[PAG_AREA_COUNT] = { 2 * PAG_SIM_SECTOR, 2 * PAG_SIM_SECTOR,
                                                    2 * PAG_SIM_SECTOR, SLOT, SLOT };
    struct pag_sim_pool *pool = pag_sim_pool_new();
    struct pag_sim_sector **cache = calloc(s->sector_n + 1U, sizeof(struct pag_sim_sector *));
    assert_non_null(pool);
    assert_non_null(cache);
    for (uint32_t i = 0; i < s->device_n; i++) {
        struct pag_sim_flash f;
        assert_int_equal(pag_sim_flash_init(&f, pool, areas), PAG_OK);
        assert_int_equal(pag_sim_saved_flash(s, &s->device[i], cache, &f), PAG_OK);
        pag_sim_flash_free(&f);
    }
    pag_sim_saved_forget(s, cache, pool);
    assert_int_equal(pag_sim_pool_count(pool), 0);
    pag_sim_pool_free(pool);
    free(cache);
}

static void what_was_written_is_read_field_by_field(void **state)
{
    (void)state;
    struct pag_buf file = two_devices(SECTORS);
    struct pag_sim_saved s;
    assert_int_equal(pag_sim_saved_parse(pag_buf_span(&file), &s), PAG_OK);
    assert_int_equal(s.device_n, 2);
    assert_int_equal(s.legacy_n, 1);
    assert_int_equal(s.sector_n, SECTORS);
    assert_int_equal(s.device[0].fault, PAG_SIM_CRASH);
    assert_int_equal(s.device[1].fault, PAG_SIM_LOOP);
    assert_true(pag_span_eq_str(s.device[1].key, "key"));
    assert_int_equal(s.device[1].mqtt_port, 8883);
    use(&s);
    pag_sim_saved_free(&s);
    free(file.p);
}

static void a_map_that_points_past_the_sectors_is_refused(void **state)
{
    (void)state;
    struct pag_buf file = two_devices(SECTORS + 1);
    struct pag_sim_saved s;
    assert_int_equal(pag_sim_saved_parse(pag_buf_span(&file), &s), PAG_E_RANGE);
    free(file.p);
}

static void a_file_cut_short_anywhere_is_refused(void **state)
{
    (void)state;
    struct pag_buf file = two_devices(1);
    struct pag_sim_saved s;
    for (size_t n = 0; n < file.n; n++) {
        assert_int_not_equal(pag_sim_saved_parse(pag_span_of(file.p, n), &s), PAG_OK);
    }
    free(file.p);
}

/* Those that are still taken can be used without reading or writing outside (under ASan). */
static void random_damage_is_refused_or_harmless(void **state)
{
    (void)state;
    uint32_t x = seed_of();
    struct pag_buf file = two_devices(1);
    uint32_t taken = 0;
    for (int round = 0; round < ROUNDS; round++) {
        const size_t at = next(&x) % file.n;
        const uint8_t was = file.p[at];
        file.p[at] = (uint8_t)next(&x);
        struct pag_sim_saved s;
        if (pag_sim_saved_parse(pag_buf_span(&file), &s) == PAG_OK) {
            taken++;
            if (s.slot_bytes == SLOT) {
                use(&s);
            }
            pag_sim_saved_free(&s);
        }
        file.p[at] = was;
    }
    assert_in_range(taken, 1, ROUNDS - 1);
    free(file.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_field_by_field),
        cmocka_unit_test(a_map_that_points_past_the_sectors_is_refused),
        cmocka_unit_test(a_file_cut_short_anywhere_is_refused),
        cmocka_unit_test(random_damage_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
