/* SPDX-License-Identifier: Apache-2.0 */
/* What is refused of masks that others wrote, and leaks planted in maps. */
#include "cornstarch/mask.h"

#include "mask_cases.h"
#include "test.h"

enum {
    N = 600
};

static uint64_t word[N];
static int32_t position[N];

static cs_mask make(void)
{
    cst_mask_fill(CST_MASK_PACKED_PICTURES, 3, N, word, position);
    return (cs_mask){N, word, position};
}

static void every_generated_mask_passes(void **state)
{
    const cs_mask mask = {N, word, position};
    const cs_mask none = {0};

    (void)state;
    for (int k = 0; k < CST_MASK_KIND_COUNT; k++) {
        cst_mask_fill((cst_mask_kind)k, 5, N, word, position);
        assert_ok(cs_mask_check(&mask, "m"));
    }
    word[7] = 0;
    position[7] = 100000;
    assert_ok(cs_mask_check(&mask, "m"));
    assert_ok(cs_mask_check(&none, "m"));
}

static void bad_words_are_named(void **state)
{
    const cs_mask mask = make();
    const uint64_t good = word[9];

    (void)state;
    word[9] = good & 0xffffffffffffU;
    assert_fails(cs_mask_check(&mask, "m.st"), CS_ERR_FORMAT,
                 "m.st: token 9: a word without document is 0, got 0x0000");
    word[9] = good & ~(uint64_t)0xffff;
    assert_fails(cs_mask_check(&mask, "m.st"), CS_ERR_FORMAT,
                 "token 9: wanted one bit of kind, got 0x0000");
    word[9] = good | 0xc000;
    assert_fails(cs_mask_check(&mask, "m.st"), CS_ERR_FORMAT, "one bit");
    word[9] = good;
    assert_ok(cs_mask_check(&mask, "m.st"));
}

static void repeated_positions_are_named(void **state)
{
    const cs_mask mask = make();

    (void)state;
    position[590] = 4;
    assert_fails(cs_mask_check(&mask, "m.st"), CS_ERR_FORMAT,
                 "m.st: tokens 4 and 590 both have position 4");
    position[590] = -1;
    assert_fails(cs_mask_check(&mask, "m.st"), CS_ERR_FORMAT,
                 "token 590: wanted a position of at least 0, got -1");
    position[590] = 599;
    position[599] = 590;
    assert_ok(cs_mask_check(&mask, "m.st"));
}

static void documents_are_counted(void **state)
{
    const cs_mask mask = {5, word, position};

    (void)state;
    word[0] = word[1] = cs_mask_word(65535, 0, 1, 1);
    word[2] = 0;
    word[3] = cs_mask_word(1, 0, 1, 1);
    word[4] = cs_mask_word(65535, 0, 1, 1);
    const cs_mask_counts counts = cs_mask_count(&mask);
    assert_int_equal(counts.n_documents, 2);
    assert_int_equal(counts.n_dead, 1);
}

static void true_maps_do_not_leak(void **state)
{
    const cs_mask mask = {N, word, position};
    cs_tile_map map = {0};
    cs_mask_leak leak = {0};

    (void)state;
    for (int k = 0; k < CST_MASK_KIND_COUNT; k++) {
        cst_mask_fill((cst_mask_kind)k, 6, N, word, position);
        assert_ok(cs_tile_map_build(&map, &mask, &mask, 0, 8, 16));
        assert_ok(cs_mask_find_leaks(&mask, &map, 0, &leak));
        assert_int_equal(leak.n_pairs, 0);
        assert_int_equal(leak.q, -1);
    }
    cs_tile_map_fini(&map);
}

/* A partial tile at the border of two documents called full. */
static void a_false_full_tile_is_a_leak(void **state)
{
    const cs_mask mask = {N, word, position};
    cs_tile_map map = {0};
    cs_mask_leak leak = {0};

    (void)state;
    for (int64_t t = 0; t < N; t++) {
        word[t] = cs_mask_word(t < 300 ? 1 : 2, 0, 1, 1);
        position[t] = (int32_t)t;
    }
    assert_ok(cs_tile_map_build(&map, &mask, &mask, 0, 8, 8));
    const int64_t row = 300 / 8; /* tokens 296..303 */
    assert_int_equal(map.row_begin[row + 1] - map.row_begin[row], 1);
    assert_int_equal(map.runs[map.row_begin[row]].last, row + 1);
    map.runs[map.row_begin[row]].tile_class = CS_TILE_FULL;
    assert_ok(cs_mask_find_leaks(&mask, &map, 0, &leak));
    /* 4 queries of document 2 with 300 keys of document 1, and 4 x 4 back */
    assert_int_equal(leak.n_pairs, 4 * 300 + 4 * 4);
    assert_int_equal(leak.q, 296);
    assert_int_equal(leak.k, 300);
    /* a full tile between two documents, each of one */
    map.runs[0].first = 40;
    map.runs[0].last = 41;
    map.runs[0].tile_class = CS_TILE_FULL;
    assert_ok(cs_mask_find_leaks(&mask, &map, 0, &leak));
    assert_int_equal(leak.n_pairs, 4 * 300 + 4 * 4 + 8 * 8);
    assert_int_equal(leak.q, 0);
    assert_int_equal(leak.k, 320);
    cs_tile_map_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(every_generated_mask_passes),
        CST_TEST(bad_words_are_named),
        CST_TEST(repeated_positions_are_named),
        CST_TEST(documents_are_counted),
        CST_TEST(true_maps_do_not_leak),
        CST_TEST(a_false_full_tile_is_a_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
