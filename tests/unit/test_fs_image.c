#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/fs_volume.h"
#include "core/bytes.h"

/* File systems of devices as bytes. What others read of them is in tests/system/test_fs_image.py. */

enum { BLOCK = 4096, SIZE = 16 * BLOCK };

struct bench {
    struct pag_arena_pool *pool;
    struct pag_arena *arena;
    struct pag_fs_shape shape;
    struct pag_fs_fault fault;
    struct pag_buf out;
};

static uint8_t image[SIZE];

static int set_up(void **state)
{
    static struct bench b;
    memset(&b, 0, sizeof b);
    b.pool = pag_arena_pool_new(1 << 16);
    b.arena = pag_arena_open(b.pool, 8 << 20);
    assert_non_null(b.arena);
    b.shape = (struct pag_fs_shape){ .size = SIZE, .block = BLOCK, .nvs_namespace = "pagurus" };
    b.out = (struct pag_buf){ image, 0, sizeof image };
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    pag_arena_close(b->arena);
    pag_arena_pool_free(b->pool);
    return 0;
}

static enum pag_err make(struct bench *b, enum pag_fs_format format, struct pag_fs_file *file, size_t n)
{
    b->shape.format = format;
    b->shape.page = 0;
    b->out.n = 0;
    pag_fs_shape_fill(&b->shape);
    return pag_fs_volume_make(b->arena, &b->shape, file, n, &b->out, &b->fault);
}

static struct pag_fs_file text(const char *path, const char *s)
{
    return (struct pag_fs_file){ path, pag_span_str(s) };
}

static uint32_t word(size_t at)
{
    return (uint32_t)image[at] | (uint32_t)image[at + 1] << 8 | (uint32_t)image[at + 2] << 16 |
           (uint32_t)image[at + 3] << 24;
}

static void littlefs_puts_the_longer_of_two_names_that_begin_alike_first(void **state)
{
    struct bench *b = *state;
    struct pag_fs_file file[] = { text("/ca.crt", "1"), text("/ca.crt.old", "2"), text("/b", "3") };
    assert_int_equal(make(b, PAG_FS_LITTLEFS, file, 3), PAG_OK);
    /* Names follow each other: superblock 4 + 4 + 8 + 4 + 24, then tag, name, tag, one byte. */
    assert_memory_equal(image + 8, "littlefs", 8);
    assert_memory_equal(image + 48, "b", 1);
    assert_memory_equal(image + 58, "ca.crt.old", 10);
    assert_memory_equal(image + 77, "ca.crt", 6);
    /* The CRC's tag: type 0x500, no id, up to the next multiple of 64 (tags are differences to the one
     * before). */
    uint32_t crc_tag = 0x500U << 20 | 0x3FFU << 10 | (128 - 92);
    uint32_t last_tag = 0x201U << 20 | 3U << 10 | 1;
    assert_int_equal(image[91], (crc_tag ^ last_tag) & 0xFFU);
}

static void littlefs_stores_64_bytes_in_the_entry_and_65_in_a_block(void **state)
{
    struct bench *b = *state;
    static uint8_t bytes[65];
    memset(bytes, 'x', sizeof bytes);
    struct pag_fs_file file[] = { { "/a", { bytes, 64 } } };
    assert_int_equal(make(b, PAG_FS_LITTLEFS, file, 1), PAG_OK);
    assert_int_equal(image[(size_t)2 * BLOCK], 0xFF);
    file[0].bytes.n = 65;
    assert_int_equal(make(b, PAG_FS_LITTLEFS, file, 1), PAG_OK);
    assert_memory_equal(image + (size_t)2 * BLOCK, bytes, 65);
    assert_int_equal(image[(size_t)2 * BLOCK + 65], 0xFF);
}

static void littlefs_blocks_point_back_by_powers_of_two(void **state)
{
    struct bench *b = *state;
    static uint8_t bytes[5 * BLOCK - 64];
    memset(bytes, 0xEE, sizeof bytes);
    struct pag_fs_file file[] = { { "/a", { bytes, sizeof bytes } } };
    assert_int_equal(make(b, PAG_FS_LITTLEFS, file, 1), PAG_OK);
    assert_int_equal(word((size_t)2 * BLOCK), 0xEEEEEEEEU);
    assert_int_equal(word((size_t)3 * BLOCK), 2);
    assert_int_equal(word((size_t)4 * BLOCK), 3);
    assert_int_equal(word((size_t)4 * BLOCK + 4), 2);
    assert_int_equal(word((size_t)5 * BLOCK), 4);
    assert_int_equal(word((size_t)6 * BLOCK), 5);
    assert_int_equal(word((size_t)6 * BLOCK + 4), 4);
    assert_int_equal(word((size_t)6 * BLOCK + 8), 2);
    assert_int_equal(word((size_t)6 * BLOCK + 12), 0xEEEEEEEEU);
}

static void every_block_of_an_empty_spiffs_has_the_magic_of_its_chip(void **state)
{
    struct bench *b = *state;
    for (unsigned esp32 = 0; esp32 < 2; esp32++) {
        b->shape.esp32 = esp32 == 1;
        assert_int_equal(make(b, PAG_FS_SPIFFS, NULL, 0), PAG_OK);
        for (uint32_t i = 0; i < SIZE / BLOCK; i++) {
            uint32_t magic = (0x20140529U ^ 256U ^ (esp32 == 1 ? SIZE / BLOCK - i : 0U)) & 0xFFFFU;
            assert_int_equal(word((size_t)i * BLOCK + 252), magic | 0xFFFF0000U);
        }
    }
}

static void nvs_pages_are_full_but_the_last_and_the_rest_is_erased(void **state)
{
    struct bench *b = *state;
    static uint8_t bytes[9000];
    struct pag_fs_file file[] = { { "/value", { bytes, sizeof bytes } } };
    assert_int_equal(make(b, PAG_FS_NVS, file, 1), PAG_OK);
    assert_int_equal(word(0), 0xFFFFFFFCU);
    assert_int_equal(word(BLOCK), 0xFFFFFFFCU);
    assert_int_equal(word((size_t)2 * BLOCK), 0xFFFFFFFEU);
    assert_int_equal(word((size_t)2 * BLOCK + 4), 2);
    for (size_t i = (size_t)3 * BLOCK; i < SIZE; i++) {
        assert_int_equal(image[i], 0xFF);
    }
}

static void a_blob_at_every_fill_of_a_page_takes_no_more_than_is_there(void **state)
{
    struct bench *b = *state;
    static uint8_t bytes[4100];
    for (size_t n = 3600; n <= sizeof bytes; n++) {
        struct pag_fs_file file[] = { { "/a", { bytes, n } }, { "/b", { bytes, 33 } } };
        assert_int_equal(make(b, PAG_FS_NVS, file, 2), PAG_OK);
        /* Entries written: namespace, then of each blob heads, rows and index; nothing lost at the page's
         * end. */
        size_t written = 0;
        for (size_t page = 0; page < 3; page++) {
            for (size_t i = 0; i < 126; i++) {
                unsigned marks = image[page * BLOCK + 32 + i / 4] >> (i % 4 * 2) & 3U;
                assert_true(marks == 2 || marks == 3);
                written += marks == 2 ? 1 : 0;
            }
        }
        size_t rows = (n + 31) / 32;
        assert_in_range(written, 1 + 1 + rows + 1 + 1 + 2 + 1, 1 + 2 + rows + 1 + 2 + 2 + 1);
    }
}

static void a_file_that_is_a_folder_too_is_refused_but_on_spiffs(void **state)
{
    struct bench *b = *state;
    struct pag_fs_file file[] = { text("/a/b", ""), text("/a-b", ""), text("/a", "") };
    assert_int_equal(make(b, PAG_FS_LITTLEFS, file, 3), PAG_E_EXISTS);
    assert_string_equal(b->fault.path, "/a");
    assert_int_equal(make(b, PAG_FS_NVS, file, 3), PAG_E_EXISTS);
    assert_int_equal(make(b, PAG_FS_SPIFFS, file, 3), PAG_OK);
    file[1].path = "/a";
    assert_int_equal(make(b, PAG_FS_SPIFFS, file, 3), PAG_E_EXISTS);
}

static void paths_that_are_none_are_refused(void **state)
{
    static const char *const paths[] = { "", "a", "/", "//a", "/a/", "/a//b", "/.", "/a/..", "/../a" };
    struct bench *b = *state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        for (int format = PAG_FS_LITTLEFS; format <= PAG_FS_NVS; format++) {
            struct pag_fs_file file[] = { text(paths[i], "x") };
            assert_int_equal(make(b, (enum pag_fs_format)format, file, 1), PAG_E_SYNTAX);
        }
    }
}

static void too_many_files_and_too_large_values_are_refused(void **state)
{
    struct bench *b = *state;
    static struct pag_fs_file many[PAG_FS_FILES_MAX + 1];
    static char name[PAG_FS_FILES_MAX + 1][8];
    for (size_t i = 0; i <= PAG_FS_FILES_MAX; i++) {
        (void)snprintf(name[i], sizeof name[i], "/%zu", i);
        many[i] = text(name[i], "");
    }
    assert_int_equal(make(b, PAG_FS_LITTLEFS, many, PAG_FS_FILES_MAX + 1), PAG_E_LIMIT);
    assert_int_equal(make(b, PAG_FS_LITTLEFS, many, PAG_FS_FILES_MAX), PAG_OK);
    static uint8_t large[508001];
    struct pag_fs_file one[] = { { "/v", { large, sizeof large } } };
    assert_int_equal(make(b, PAG_FS_NVS, one, 1), PAG_E_RANGE);
    one[0].bytes.n--;
    assert_int_equal(make(b, PAG_FS_NVS, one, 1), PAG_E_SPACE);
}

static void what_is_missing_is_enough_and_no_block_too_much(void **state)
{
    struct bench *b = *state;
    static uint8_t bytes[SIZE * 2];
    /* Blocks over 16. LittleFS: 33 of the file, 2 of the root, 2 spare. SPIFFS: 530 pages, 15 a block, 2
     * spare. NVS: 33 pages of entries, 1 spare. */
    static const uint64_t missing[] = { 21, 22, 18 };
    for (int format = PAG_FS_LITTLEFS; format <= PAG_FS_NVS; format++) {
        struct pag_fs_file file[] = { { "/large", { bytes, sizeof bytes } }, text("/small", "s") };
        b->shape.size = SIZE;
        assert_int_equal(make(b, (enum pag_fs_format)format, file, 2), PAG_E_SPACE);
        assert_string_equal(b->fault.path, "/large");
        assert_int_equal(b->fault.missing, missing[format] * BLOCK);
        assert_int_equal(b->out.n, 0);
        b->shape.size = SIZE + (uint32_t)b->fault.missing;
        assert_int_equal(make(b, (enum pag_fs_format)format, file, 2), PAG_OK);
        assert_int_equal(b->out.n, b->shape.size);
        b->shape.size -= BLOCK;
        assert_int_equal(make(b, (enum pag_fs_format)format, file, 2), PAG_E_SPACE);
        assert_int_equal(b->fault.missing, BLOCK);
        b->out = (struct pag_buf){ image, 0, sizeof image };
    }
}

static void layouts_are_good_shapes_and_their_names_differ(void **state)
{
    struct bench *b = *state;
    for (const struct pag_fs_layout *l = pag_fs_layouts(); l->name != NULL; l++) {
        assert_ptr_equal(pag_fs_layout_of(l->name), l);
        for (int format = PAG_FS_LITTLEFS; format <= PAG_FS_NVS; format++) {
            struct pag_fs_shape s = { .format = (enum pag_fs_format)format,
                                      .size = l->size,
                                      .esp32 = l->esp32 };
            if (l->nvs != (format == PAG_FS_NVS)) {
                continue;
            }
            pag_fs_shape_fill(&s);
            assert_int_equal(s.block, l->block);
            assert_int_equal(pag_fs_shape_check(&s, &b->fault), PAG_OK);
        }
    }
    assert_null(pag_fs_layout_of("4m4m"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(littlefs_puts_the_longer_of_two_names_that_begin_alike_first, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(littlefs_stores_64_bytes_in_the_entry_and_65_in_a_block, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(littlefs_blocks_point_back_by_powers_of_two, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_block_of_an_empty_spiffs_has_the_magic_of_its_chip, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nvs_pages_are_full_but_the_last_and_the_rest_is_erased, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_blob_at_every_fill_of_a_page_takes_no_more_than_is_there, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_a_folder_too_is_refused_but_on_spiffs, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(paths_that_are_none_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_files_and_too_large_values_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_missing_is_enough_and_no_block_too_much, set_up, tear_down),
        cmocka_unit_test_setup_teardown(layouts_are_good_shapes_and_their_names_differ, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
