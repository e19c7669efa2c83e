#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "sim/flash.h"

static const uint32_t areas[PAG_AREA_COUNT] = { 8192, 8192, 8192, 65536, 65536 };

struct pair {
    struct pag_sim_pool *pool;
    struct pag_sim_flash a, b;
};

static int two_devices(void **state)
{
    static struct pair p;
    p.pool = pag_sim_pool_new();
    assert_int_equal(pag_sim_flash_init(&p.a, p.pool, areas), PAG_OK);
    assert_int_equal(pag_sim_flash_init(&p.b, p.pool, areas), PAG_OK);
    *state = &p;
    return 0;
}

static int none(void **state)
{
    struct pair *p = *state;
    pag_sim_flash_free(&p->a);
    pag_sim_flash_free(&p->b);
    assert_int_equal(pag_sim_pool_count(p->pool), 0);
    pag_sim_pool_free(p->pool);
    return 0;
}

static enum pag_err put(struct pag_sim_flash *f, uint32_t off, const char *text)
{
    return pag_sim_flash_program(f, PAG_AREA_SLOT_A, off, pag_span_str(text));
}

static void new_flash_reads_as_erased(void **state)
{
    struct pair *p = *state;
    uint8_t out[4];
    assert_int_equal(pag_sim_flash_read(&p->a, PAG_AREA_SLOT_B, 65532, out, 4), PAG_OK);
    assert_memory_equal(out, "\xff\xff\xff\xff", 4);
    assert_int_equal(pag_sim_flash_read(&p->a, PAG_AREA_SLOT_B, 65533, out, 4), PAG_E_RANGE);
}

static void program_only_clears_bits_and_counts_who_wants_more(void **state)
{
    struct pair *p = *state;
    uint8_t out[4];
    assert_int_equal(put(&p->a, 4096, "\xf0\xf0\x0f\xff"), PAG_OK);
    assert_int_equal(p->a.bad_programs, 0);
    assert_int_equal(put(&p->a, 4096, "\x3c\x10\x0f\xff"), PAG_OK);
    assert_int_equal(p->a.bad_programs, 1);
    assert_int_equal(pag_sim_flash_read(&p->a, PAG_AREA_SLOT_A, 4096, out, 4), PAG_OK);
    assert_memory_equal(out, "\x30\x10\x0f\xff", 4);
}

static void same_content_of_two_devices_is_held_once(void **state)
{
    struct pair *p = *state;
    static uint8_t image[40000];
    for (size_t i = 0; i < sizeof(image); i++) {
        image[i] = (uint8_t)(i / 7 + i / PAG_SIM_SECTOR * 13);
    }
    assert_int_equal(pag_sim_flash_burn(&p->a, PAG_AREA_SLOT_A, pag_span_of(image, sizeof(image))), PAG_OK);
    const size_t one = pag_sim_pool_count(p->pool);
    assert_int_equal(pag_sim_flash_burn(&p->b, PAG_AREA_SLOT_B, pag_span_of(image, sizeof(image))), PAG_OK);
    assert_true(one >= 9 && pag_sim_pool_count(p->pool) <= one + 1);
}

static void writing_in_one_device_leaves_the_other_alone(void **state)
{
    struct pair *p = *state;
    uint8_t out[4];
    assert_int_equal(put(&p->a, 0, "same"), PAG_OK);
    assert_int_equal(put(&p->b, 0, "same"), PAG_OK);
    assert_int_equal(put(&p->a, 8192, "next"), PAG_OK);
    assert_int_equal(put(&p->b, 8192, "next"), PAG_OK);
    assert_int_equal(put(&p->a, 0, (const char[]){ 1, 1, 1, 1, 0 }), PAG_OK);
    assert_int_equal(pag_sim_flash_read(&p->b, PAG_AREA_SLOT_A, 0, out, 4), PAG_OK);
    assert_memory_equal(out, "same", 4);
}

static void shared_area_is_the_same_and_then_its_own(void **state)
{
    struct pair *p = *state;
    uint8_t out[4];
    assert_int_equal(put(&p->b, 4096, "lost"), PAG_OK);
    assert_int_equal(put(&p->a, 0, "text"), PAG_OK);
    assert_int_equal(pag_sim_flash_share(&p->b, &p->a, PAG_AREA_SLOT_A), PAG_OK);
    assert_int_equal(pag_sim_flash_read(&p->b, PAG_AREA_SLOT_A, 0, out, 4), PAG_OK);
    assert_memory_equal(out, "text", 4);
    assert_int_equal(pag_sim_flash_read(&p->b, PAG_AREA_SLOT_A, 4096, out, 4), PAG_OK);
    assert_memory_equal(out, "\xff\xff\xff\xff", 4);
    assert_int_equal(pag_sim_flash_erase(&p->b, PAG_AREA_SLOT_A, 0, 4096), PAG_OK);
    assert_int_equal(pag_sim_flash_read(&p->a, PAG_AREA_SLOT_A, 0, out, 4), PAG_OK);
    assert_memory_equal(out, "text", 4);
}

static void erase_forgets_also_the_sector_being_written(void **state)
{
    struct pair *p = *state;
    uint8_t out[4];
    assert_int_equal(put(&p->a, 0, "text"), PAG_OK);
    assert_int_equal(pag_sim_flash_erase(&p->a, PAG_AREA_SLOT_A, 0, 4096), PAG_OK);
    assert_int_equal(pag_sim_flash_read(&p->a, PAG_AREA_SLOT_A, 0, out, 4), PAG_OK);
    assert_memory_equal(out, "\xff\xff\xff\xff", 4);
}

static void power_cut_leaves_half_an_operation_and_nothing_works_after(void **state)
{
    struct pair *p = *state;
    uint8_t out[8];
    p->a.cut_in = 2;
    p->a.cut_keep = 128;
    assert_int_equal(put(&p->a, 0, "whole..."), PAG_OK);
    assert_int_equal(put(&p->a, 8, "halfgone"), PAG_E_IO);
    assert_int_equal(put(&p->a, 16, "nothing."), PAG_E_IO);
    assert_int_equal(pag_sim_flash_read(&p->a, PAG_AREA_SLOT_A, 0, out, 8), PAG_E_IO);
    p->a.dead = false;
    assert_int_equal(pag_sim_flash_read(&p->a, PAG_AREA_SLOT_A, 8, out, 8), PAG_OK);
    assert_memory_equal(out, "half\xff\xff\xff\xff", 8);
}

static void power_cut_in_an_erase_leaves_the_rest_of_the_sector(void **state)
{
    struct pair *p = *state;
    uint8_t out[4];
    assert_int_equal(put(&p->a, 0, "head"), PAG_OK);
    assert_int_equal(put(&p->a, 4092, "tail"), PAG_OK);
    p->a.cut_in = 1;
    p->a.cut_keep = 100;
    assert_int_equal(pag_sim_flash_erase(&p->a, PAG_AREA_SLOT_A, 0, 4096), PAG_E_IO);
    p->a.dead = false;
    assert_int_equal(pag_sim_flash_read(&p->a, PAG_AREA_SLOT_A, 0, out, 4), PAG_OK);
    assert_memory_equal(out, "\xff\xff\xff\xff", 4);
    assert_int_equal(pag_sim_flash_read(&p->a, PAG_AREA_SLOT_A, 4092, out, 4), PAG_OK);
    assert_memory_equal(out, "tail", 4);
}

static void misaligned_operations_are_refused(void **state)
{
    struct pair *p = *state;
    assert_int_equal(put(&p->a, 2, "text"), PAG_E_RANGE);
    assert_int_equal(put(&p->a, 0, "abc"), PAG_E_RANGE);
    assert_int_equal(pag_sim_flash_erase(&p->a, PAG_AREA_SLOT_A, 4, 4096), PAG_E_RANGE);
    assert_int_equal(pag_sim_flash_erase(&p->a, PAG_AREA_SLOT_A, 61440, 8192), PAG_E_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(new_flash_reads_as_erased, two_devices, none),
        cmocka_unit_test_setup_teardown(program_only_clears_bits_and_counts_who_wants_more, two_devices,
                                        none),
        cmocka_unit_test_setup_teardown(same_content_of_two_devices_is_held_once, two_devices, none),
        cmocka_unit_test_setup_teardown(writing_in_one_device_leaves_the_other_alone, two_devices, none),
        cmocka_unit_test_setup_teardown(shared_area_is_the_same_and_then_its_own, two_devices, none),
        cmocka_unit_test_setup_teardown(erase_forgets_also_the_sector_being_written, two_devices, none),
        cmocka_unit_test_setup_teardown(power_cut_leaves_half_an_operation_and_nothing_works_after,
                                        two_devices, none),
        cmocka_unit_test_setup_teardown(power_cut_in_an_erase_leaves_the_rest_of_the_sector, two_devices,
                                        none),
        cmocka_unit_test_setup_teardown(misaligned_operations_are_refused, two_devices, none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
