/* SPDX-License-Identifier: Apache-2.0 */
/* The counted heap, its faults, arenas and hash maps. */
#include "base/alloc.h"
#include "base/arena.h"
#include "base/hash_map.h"

#include "support/test.h"

#include <stdio.h>
#include <string.h>

static void live_allocations_are_counted(void **state)
{
    (void)state;
    const int64_t live = csi_alloc_live();
    const int64_t made = csi_alloc_count();
    void *a = csi_malloc(10);
    void *b = csi_calloc(3, 4);
    void *c = csi_aligned(100);
    char *d = csi_strdup("word");

    assert_int_equal(csi_alloc_live() - live, 4);
    a = csi_realloc(a, 1000);
    assert_int_equal(csi_alloc_live() - live, 4);
    assert_int_equal(csi_alloc_count() - made, 5);
    assert_int_equal((uintptr_t)c % 64, 0);
    assert_string_equal(d, "word");
    assert_memory_equal(b, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
    csi_free(a);
    csi_free(b);
    csi_free(c);
    csi_free(d);
    csi_free(NULL);
    assert_int_equal(csi_alloc_live(), live);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    assert_null(csi_calloc(SIZE_MAX / 2, 3));
    assert_null(csi_aligned(SIZE_MAX - 3));
}

static void zero_bytes_are_a_valid_block(void **state)
{
    (void)state;
    void *a = csi_malloc(0);
    void *b = csi_calloc(0, 8);
    void *c = csi_aligned(0);

    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    csi_free(a);
    csi_free(b);
    csi_free(c);
}

static void the_nth_fallible_call_and_all_after_it_fail(void **state)
{
    (void)state;
    csi_fault_arm(2);
    void *a = csi_malloc(1);
    void *b = csi_malloc(1);
    const bool third = csi_fault_point();
    const int64_t n_seen = csi_fault_off();

    assert_non_null(a);
    assert_null(b);
    assert_true(third);
    assert_int_equal(n_seen, 3);
    assert_false(csi_fault_point());
    csi_free(a);
}

static void arena_blocks_are_aligned_and_apart(void **state)
{
    (void)state;
    csi_arena arena;
    unsigned char *blocks[100];

    csi_arena_init(&arena, 1000);
    for (size_t i = 0; i < 100; i++) {
        blocks[i] = csi_arena_alloc(&arena, i);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 64, 0);
        memset(blocks[i], (int)i, i);
    }
    for (size_t i = 0; i < 100; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_int_equal(blocks[i][j], i);
        }
    }
    csi_arena_fini(&arena);
}

static void arena_rewind_gives_the_same_memory_again(void **state)
{
    (void)state;
    csi_arena arena;

    csi_arena_init(&arena, 256);
    void *kept = csi_arena_strdup(&arena, "kept");
    const csi_arena_mark mark = csi_arena_save(&arena);
    void *first = csi_arena_alloc(&arena, 64);
    (void)csi_arena_alloc(&arena, 4096);
    assert_int_equal(arena.live_bytes, 64 + 64 + 4096);
    csi_arena_rewind(&arena, mark);
    assert_int_equal(arena.live_bytes, 64);
    assert_int_equal(arena.peak_bytes, 64 + 64 + 4096);
    assert_ptr_equal(csi_arena_alloc(&arena, 64), first);
    assert_string_equal(kept, "kept");
    csi_arena_fini(&arena);
}

static void arena_steady_state_allocates_nothing(void **state)
{
    (void)state;
    csi_arena arena;
    int64_t made = 0;

    csi_arena_init(&arena, 128);
    for (int step = 0; step < 4; step++) {
        for (size_t i = 1; i < 50; i++) {
            char *p = csi_arena_calloc(&arena, i * 10);
            assert_non_null(p);
            assert_int_equal(p[0], 0);
            memset(p, 0xff, i * 10);
        }
        csi_arena_reset(&arena);
        if (step == 0) {
            made = csi_alloc_count();
            assert_int_equal(csi_alloc_live() > 0, 1);
        }
    }
    assert_int_equal(csi_alloc_count(), made);
    assert_int_equal(arena.live_bytes, 0);
    csi_arena_fini(&arena);
}

static void arena_survives_a_failed_allocation(void **state)
{
    (void)state;
    csi_arena arena;

    csi_arena_init(&arena, 64);
    assert_non_null(csi_arena_alloc(&arena, 64));
    csi_fault_arm(1);
    assert_null(csi_arena_alloc(&arena, 64));
    (void)csi_fault_off();
    assert_non_null(csi_arena_alloc(&arena, 64));
    csi_fault_arm(1);
    csi_arena_reset(&arena); /* cannot merge: keeps the list */
    (void)csi_fault_off();
    assert_non_null(csi_arena_alloc(&arena, 64));
    assert_null(csi_arena_alloc(&arena, SIZE_MAX - 10));
    csi_arena_fini(&arena);
}

static void a_map_returns_what_was_put(void **state)
{
    (void)state;
    csi_hash_map *map = NULL;
    char key[32];
    int64_t value = 0;

    assert_ok(csi_hash_map_create(&map));
    for (int i = 0; i < 5000; i++) {
        const int n = snprintf(key, sizeof key, "key %d", i);
        assert_ok(csi_hash_map_put(map, key, (size_t)n, i));
    }
    for (int i = 0; i < 5000; i += 2) {
        const int n = snprintf(key, sizeof key, "key %d", i);
        assert_ok(csi_hash_map_put(map, key, (size_t)n, -i));
    }
    assert_int_equal(csi_hash_map_count(map), 5000);
    for (int i = 0; i < 5000; i++) {
        const int n = snprintf(key, sizeof key, "key %d", i);
        assert_true(csi_hash_map_get(map, key, (size_t)n, &value));
        assert_int_equal(value, i % 2 == 0 ? -i : i);
    }
    assert_false(csi_hash_map_get(map, "key 5000", 8, &value));
    csi_hash_map_destroy(&map);
    assert_null(map);
    csi_hash_map_destroy(&map);
}

static void keys_are_bytes_not_strings(void **state)
{
    (void)state;
    csi_hash_map *map = NULL;
    int64_t value = 0;

    assert_ok(csi_hash_map_create(&map));
    assert_ok(csi_hash_map_put(map, "a\0b", 3, 1));
    assert_ok(csi_hash_map_put(map, "a\0c", 3, 2));
    assert_ok(csi_hash_map_put(map, "", 0, 3));
    assert_true(csi_hash_map_get(map, "a\0c", 3, &value));
    assert_int_equal(value, 2);
    assert_true(csi_hash_map_get(map, "", 0, &value));
    assert_int_equal(value, 3);
    assert_false(csi_hash_map_get(map, "a", 1, &value));
    csi_hash_map_destroy(&map);
}

static cs_status fill_map(void *arg)
{
    (void)arg;
    csi_hash_map *map = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_hash_map_create(&map));
    for (int64_t i = 0; i < 100 && st == CS_OK; i++) {
        st = csi_hash_map_put(map, &i, sizeof i, i);
    }
    csi_hash_map_destroy(&map);
    return st;
}

static void a_map_survives_failing_allocations(void **state)
{
    (void)state;
    assert_in_range(cst_torture(fill_map, NULL), 4, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(live_allocations_are_counted),
        CST_TEST(sizes_that_overflow_are_refused),
        CST_TEST(zero_bytes_are_a_valid_block),
        CST_TEST(the_nth_fallible_call_and_all_after_it_fail),
        CST_TEST(arena_blocks_are_aligned_and_apart),
        CST_TEST(arena_rewind_gives_the_same_memory_again),
        CST_TEST(arena_steady_state_allocates_nothing),
        CST_TEST(arena_survives_a_failed_allocation),
        CST_TEST(a_map_returns_what_was_put),
        CST_TEST(keys_are_bytes_not_strings),
        CST_TEST(a_map_survives_failing_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
