#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host/arena.h"

static struct pag_arena_pool *pool;

static int set_up(void **state)
{
    (void)state;
    pool = pag_arena_pool_new(64 * 1024);
    return pool == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    pag_arena_pool_free(pool);
    return 0;
}

static void memory_is_zeroed_and_aligned_also_after_reuse(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        struct pag_arena *a = pag_arena_open(pool, 1 << 20);
        for (size_t n = 1; n < 9000; n = n * 2 + 1) {
            uint8_t *p = pag_arena_alloc(a, n);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(p[i], 0);
            }
            memset(p, 0xa5, n);
        }
        pag_arena_close(a);
    }
}

static void ceiling_is_hard(void **state)
{
    (void)state;
    struct pag_arena *a = pag_arena_open(pool, 1000);
    assert_null(pag_arena_alloc(a, 1001));
    assert_null(pag_arena_alloc(a, SIZE_MAX));
    assert_null(pag_arena_alloc(a, SIZE_MAX - 8));
    assert_non_null(pag_arena_alloc(a, 500));
    assert_null(pag_arena_alloc(a, 500));
    assert_non_null(pag_arena_alloc(a, 480));
    assert_null(pag_arena_alloc(a, 16));
    assert_true(pag_arena_used(a) <= 1000);
    pag_arena_close(a);
}

static void a_large_block_does_not_end_the_small_one_in_use(void **state)
{
    (void)state;
    struct pag_arena *a = pag_arena_open(pool, 1 << 20);
    char *first = pag_arena_alloc(a, 16);
    char *large = pag_arena_alloc(a, 100000);
    char *second = pag_arena_alloc(a, 16);
    assert_non_null(large);
    assert_ptr_equal(second, first + 16);
    pag_arena_close(a);
}

static void texts_are_terminated_copies(void **state)
{
    (void)state;
    struct pag_arena *a = pag_arena_open(pool, 1 << 16);
    const uint8_t bytes[] = { 'a', 'b', 'c' };
    assert_string_equal(pag_arena_text(a, (struct pag_span){ bytes, 3 }), "abc");
    assert_string_equal(pag_arena_text(a, (struct pag_span){ NULL, 0 }), "");
    assert_null(pag_arena_text(a, (struct pag_span){ bytes, SIZE_MAX }));
    assert_string_equal(pag_arena_printf(a, "%d-%s", 42, "x"), "42-x");
    struct pag_span copy = pag_arena_copy(a, (struct pag_span){ bytes, 3 });
    assert_int_equal(copy.n, 3);
    assert_memory_equal(copy.p, bytes, 3);
    assert_null(pag_arena_printf(a, "%070000d", 1));
    pag_arena_close(a);
}

static void closing_nothing_is_fine(void **state)
{
    (void)state;
    pag_arena_close(NULL);
    pag_arena_pool_free(NULL);
}

/* Random allocations never overlap: each is filled with its own byte and checked at the end. */
static void allocations_do_not_overlap(void **state)
{
    (void)state;
    struct {
        uint8_t *p;
        size_t n;
    } piece[300];
    uint32_t x = 12345;
    struct pag_arena *a = pag_arena_open(pool, 8 << 20);
    for (size_t i = 0; i < 300; i++) {
        x = x * 1664525U + 1013904223U;
        piece[i].n = (x >> 8) % (i % 10 == 0 ? 20000 : 300);
        piece[i].p = pag_arena_raw(a, piece[i].n);
        assert_non_null(piece[i].p);
        memset(piece[i].p, (int)(i & 0xff), piece[i].n);
    }
    for (size_t i = 0; i < 300; i++) {
        for (size_t k = 0; k < piece[i].n; k++) {
            assert_int_equal(piece[i].p[k], i & 0xff);
        }
    }
    pag_arena_close(a);
}

static void a_text_is_whole_wherever_its_block_ends(void **state)
{
    (void)state;
    struct pag_arena *a = pag_arena_open(pool, 1 << 20);
    const char *texts[200];
    assert_non_null(a);
    for (int i = 0; i < 200;
         i++) { /* 16 to 300 bytes: several blocks, each left with less than the next text */
        texts[i] = pag_arena_printf(a, "%0*d", 16 + (i * 37) % 285, i);
    }
    for (int i = 0; i < 200; i++) {
        assert_non_null(texts[i]);
        assert_int_equal(strlen(texts[i]), 16 + (i * 37) % 285);
        assert_int_equal(strtol(texts[i], NULL, 10), i);
    }
    pag_arena_close(a);
}

/* A request's arena is lent to the store's writer while its thread opens others. */
static void *use_pool(void *shared)
{
    for (size_t i = 0; i < 3000; i++) {
        struct pag_arena *a = pag_arena_open(shared, 1 << 20);
        uint8_t *p = pag_arena_raw(a, 6000);
        uint8_t *q = pag_arena_raw(a, 6000);
        if (p == NULL || q == NULL) {
            return shared;
        }
        memset(p, (int)(i & 0xff), 6000);
        memset(q, 0xee, 6000);
        for (size_t k = 0; k < 6000; k++) {
            if (p[k] != (i & 0xff)) {
                return shared; /* another arena was given the same block */
            }
        }
        pag_arena_close(a);
    }
    return NULL;
}

static void arenas_of_one_pool_grow_on_several_threads(void **state)
{
    (void)state;
    pthread_t thread[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, use_pool, pool), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(thread[i], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_is_zeroed_and_aligned_also_after_reuse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ceiling_is_hard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_large_block_does_not_end_the_small_one_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(texts_are_terminated_copies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(allocations_do_not_overlap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_text_is_whole_wherever_its_block_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(arenas_of_one_pool_grow_on_several_threads, set_up, tear_down),
        cmocka_unit_test(closing_nothing_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
