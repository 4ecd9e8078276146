/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tile map and the pair count against the rule itself, pair by pair, over
 * random packed microbatches of every policy, in order and permuted.
 */
#include "cornstarch/mask.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"

#include "mask_cases.h"
#include "test.h"

#include <string.h>

enum {
    MAX_TOKENS = 3000
};

typedef struct batch {
    uint64_t seed;
    uint64_t drawn;
    int64_t n;
    uint64_t word[MAX_TOKENS];
    int32_t position[MAX_TOKENS];
} batch;

static int64_t draw(batch *b, int64_t n)
{
    return (int64_t)csi_rng_below(b->seed, 1, b->drawn++, (uint64_t)n);
}

static void add_document(batch *b, cs_mask_policy policy, uint32_t document,
                         int64_t longest_run)
{
    cs_mask_run runs[8] = {0};
    const int64_t n_runs = 1 + draw(b, 8);
    int64_t n = 0;

    for (int64_t i = 0; i < n_runs; i++) {
        runs[i].modality = (int32_t)draw(b, 3) - 1;
        runs[i].item = (int32_t)i;
        runs[i].n_tokens = draw(b, longest_run);
        runs[i].branch = (int32_t)draw(b, 3);
        runs[i].is_prompt = i < 3;
        if (b->n + n + runs[i].n_tokens > MAX_TOKENS) {
            runs[i].n_tokens = 0;
        }
        n += runs[i].n_tokens;
    }
    assert_ok(cs_mask_build(policy, 2, document, runs, n_runs, b->word + b->n));
    b->n += n;
}

static void fill(batch *b, uint64_t seed, cs_mask_policy policy, bool permute)
{
    static int64_t order[MAX_TOKENS];
    static uint64_t word[MAX_TOKENS];
    const int64_t wanted = 1 + (int64_t)csi_rng_below(seed, 2, 0, 500);
    uint32_t document = 1;

    b->seed = seed;
    b->drawn = 0;
    b->n = 0;
    const int64_t longest_run = draw(b, 2) == 0 ? 12 : 150;
    while (b->n < wanted) {
        add_document(b, policy, document++, longest_run);
        if (draw(b, 4) == 0) {
            for (int64_t i = draw(b, 30); i > 0 && b->n < MAX_TOKENS; i--) {
                b->word[b->n++] = 0;
            }
        }
    }
    for (int64_t t = 0; t < b->n; t++) {
        order[t] = t;
    }
    if (permute) {
        csi_rng_permute(seed, 3, order, b->n);
    }
    memcpy(word, b->word, sizeof word);
    for (int64_t t = 0; t < b->n; t++) {
        b->word[t] = word[order[t]];
        b->position[t] = (int32_t)order[t];
    }
}

static int64_t count_tile(const cs_mask *q, const cs_mask *k, int64_t window,
                          const int64_t range[4])
{
    int64_t visible = 0;

    for (int64_t i = range[0]; i < range[1]; i++) {
        for (int64_t j = range[2]; j < range[3]; j++) {
            visible += cs_mask_visible(q->word[i], q->position[i], k->word[j],
                                       k->position[j], window)
                           ? 1
                           : 0;
        }
    }
    return visible;
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The class that the map gives a tile: 0 empty. Also checks the row's order. */
static int class_of(const cs_tile_map *map, int64_t row, int64_t column)
{
    int found = 0;

    for (int64_t i = map->row_begin[row]; i < map->row_begin[row + 1]; i++) {
        const cs_tile_run *run = &map->runs[i];

        assert_true(run->first < run->last);
        if (i > map->row_begin[row]) {
            const cs_tile_run *before = &map->runs[i - 1];
            assert_true(before->last < run->first ||
                        (before->last == run->first &&
                         before->tile_class != run->tile_class));
        }
        if (run->first <= column && column < run->last) {
            found = (int)run->tile_class;
        }
    }
    return found;
}

static void check_map(const cs_tile_map *map, const cs_mask *q,
                      const cs_mask *k, int64_t window)
{
    int64_t n_of_class[3] = {0};
    int64_t pairs = 0;

    for (int64_t row = 0; row < map->n_q_blocks; row++) {
        for (int64_t column = 0; column < map->n_k_blocks; column++) {
            const int64_t range[4] = {
                row * map->q_block,
                min_i64((row + 1) * map->q_block, q->n_tokens),
                column * map->k_block,
                min_i64((column + 1) * map->k_block, k->n_tokens),
            };
            const int64_t all = (range[1] - range[0]) * (range[3] - range[2]);
            const int64_t visible = count_tile(q, k, window, range);
            const int wanted = visible == 0     ? 0
                               : visible == all ? CS_TILE_FULL
                                                : CS_TILE_PARTIAL;

            assert_int_equal(class_of(map, row, column), wanted);
            n_of_class[wanted]++;
            pairs += visible;
        }
    }
    assert_int_equal(map->n_empty, n_of_class[0]);
    assert_int_equal(map->n_partial, n_of_class[CS_TILE_PARTIAL]);
    assert_int_equal(map->n_full, n_of_class[CS_TILE_FULL]);
    assert_int_equal(cs_mask_visible_pairs(q, k, window), pairs);
}

static void map_is_exact(bool permute)
{
    static const int64_t windows[] = {0, 1, 17, 64};
    static const int32_t blocks[][2] = {{64, 64}, {16, 32}, {5, 3}};
    static batch b;
    cs_tile_map map = {0};

    for (uint64_t seed = 1; seed <= 3 * CS_MASK_POLICY_COUNT; seed++) {
        fill(&b, seed, (cs_mask_policy)(seed % CS_MASK_POLICY_COUNT), permute);
        const cs_mask all = {b.n, b.word, b.position};
        const int64_t half = b.n / 2;
        const cs_mask part = {b.n - half, b.word + half, b.position + half};
        const int64_t window = windows[seed % 4];
        const int32_t *block = blocks[seed % 3];

        assert_ok(cs_tile_map_build(&map, &all, &all, window, block[0],
                                    block[1]));
        check_map(&map, &all, &all, window);
        assert_ok(cs_tile_map_build(&map, &part, &all, window, block[0],
                                    block[1]));
        check_map(&map, &part, &all, window);
    }
    cs_tile_map_fini(&map);
}

static void map_is_exact_in_order(void **state)
{
    (void)state;
    map_is_exact(false);
}

static void map_is_exact_for_permuted_tokens(void **state)
{
    (void)state;
    map_is_exact(true);
}

/* Words that no policy writes: any field, tokens of no kind, two kinds. */
static void map_is_exact_for_arbitrary_words(void **state)
{
    static batch b;
    cs_tile_map map = {0};

    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        b.seed = seed;
        b.drawn = 0;
        b.n = 200;
        for (int64_t t = 0; t < b.n; t++) {
            if (t > 0 && draw(&b, 4) != 0) {
                b.word[t] = b.word[t - 1];
                b.position[t] = b.position[t - 1] + 1;
                continue;
            }
            b.word[t] =
                cs_mask_word((uint32_t)draw(&b, 2), (uint32_t)draw(&b, 3),
                             (uint32_t)draw(&b, 4), (uint32_t)draw(&b, 4));
            b.position[t] = (int32_t)(t * 10 + draw(&b, 40));
        }
        const cs_mask all = {b.n, b.word, b.position};
        const int64_t window = draw(&b, 2) == 0 ? 0 : 1 + draw(&b, 300);

        assert_ok(cs_tile_map_build(&map, &all, &all, window, 8, 4));
        check_map(&map, &all, &all, window);
    }
    cs_tile_map_fini(&map);
}

/* Masks of training, lengths that no block divides, tokens dealt to ranks. */
static void map_is_exact_for_prime_lengths(void **state)
{
    static const int64_t primes[] = {1, 2, 3, 13, 61, 127, 251, 509};
    static const int32_t blocks[][2] = {{1, 1}, {7, 16}, {64, 32}, {128, 128}};
    static batch b;
    static int64_t order[MAX_TOKENS];
    static uint64_t word[MAX_TOKENS];
    cs_tile_map map = {0};

    (void)state;
    for (size_t i = 0; i < sizeof primes / sizeof primes[0]; i++) {
        for (int k = 0; k < CST_MASK_KIND_COUNT; k++) {
            const int32_t *block = blocks[(i + (size_t)k) % 4];
            const int64_t n = primes[i];

            cst_mask_fill((cst_mask_kind)k, i, n, word, b.position);
            memcpy(b.word, word, sizeof word);
            const cs_mask mask = {n, b.word, b.position};
            assert_ok(cs_tile_map_build(&map, &mask, &mask, k * 5, block[0],
                                        block[1]));
            check_map(&map, &mask, &mask, k * 5);
            csi_rng_permute(i, 9, order, n);
            for (int64_t t = 0; t < n; t++) {
                b.word[t] = word[order[t]];
                b.position[t] = (int32_t)order[t];
            }
            assert_ok(cs_tile_map_build(&map, &mask, &mask, 0, block[0],
                                        block[1]));
            check_map(&map, &mask, &mask, 0);
        }
    }
    cs_tile_map_fini(&map);
}

static void empty_masks_give_empty_maps(void **state)
{
    const uint64_t word = cs_mask_word(1, 0, 1, 1);
    const int32_t position = 0;
    const cs_mask none = {0};
    const cs_mask one = {1, &word, &position};
    cs_tile_map map = {0};

    (void)state;
    assert_ok(cs_tile_map_build(&map, &none, &one, 0, 64, 64));
    assert_int_equal(map.n_q_blocks, 0);
    assert_int_equal(map.row_begin[0], 0);
    assert_ok(cs_tile_map_build(&map, &one, &none, 0, 64, 64));
    assert_int_equal(map.row_begin[1], 0);
    assert_int_equal(cs_mask_visible_pairs(&one, &none, 0), 0);
    assert_ok(cs_tile_map_build(&map, &one, &one, 0, 64, 64));
    assert_int_equal(map.n_full, 1);
    assert_fails(cs_tile_map_build(&map, &one, &one, 0, 0, 64), CS_ERR_ARG,
                 "got 0");
    cs_tile_map_fini(&map);
}

static void a_rebuild_allocates_nothing(void **state)
{
    static batch b;
    cs_tile_map map = {0};

    (void)state;
    fill(&b, 5, CS_MASK_ISLANDS, false);
    const cs_mask all = {b.n, b.word, b.position};
    assert_ok(cs_tile_map_build(&map, &all, &all, 0, 16, 16));
    const int64_t before = csi_alloc_count();
    assert_ok(cs_tile_map_build(&map, &all, &all, 0, 16, 16));
    assert_int_equal(csi_alloc_count(), before);
    cs_tile_map_fini(&map);
}

static cs_status build_small(void *arg)
{
    const cs_mask *mask = arg;
    cs_tile_map map = {0};
    const cs_status st = cs_tile_map_build(&map, mask, mask, 0, 4, 4);

    cs_tile_map_fini(&map);
    CS_TRY(st);
    return CS_OK;
}

static void a_failed_build_leaves_nothing(void **state)
{
    static batch b;

    (void)state;
    fill(&b, 6, CS_MASK_BRANCHES, false);
    cs_mask all = {b.n, b.word, b.position};
    assert_true(cst_torture(build_small, &all) > 2);
}

/* A million packed tokens: the answer is known in closed form, and the time
 * is printed; a dense grid would be 244 million tiles and take seconds. */
static void a_million_tokens_are_counted(void **state)
{
    const int64_t n = 1000000;
    uint64_t *word = csi_malloc((size_t)n * sizeof *word);
    int32_t *position = csi_malloc((size_t)n * sizeof *position);
    cs_tile_map map = {0};

    (void)state;
    assert_non_null(word);
    assert_non_null(position);
    for (int64_t length = 1000; length <= n; length *= 1000) {
        for (int64_t t = 0; t < n; t++) {
            word[t] = cs_mask_word((uint32_t)(1 + t / length), 0, 1, 1);
            position[t] = (int32_t)t;
        }
        const cs_mask all = {n, word, position};
        const int64_t begin_ns = csi_clock_ns();

        assert_ok(cs_tile_map_build(&map, &all, &all, 0, 64, 64));
        const int64_t end_ns = csi_clock_ns();
        print_message("documents of %ld tokens: %.1f ms, %ld runs\n",
                      (long)length, (double)(end_ns - begin_ns) * 1e-6,
                      (long)map.row_begin[map.n_q_blocks]);
        assert_int_equal(cs_mask_visible_pairs(&all, &all, 0),
                         n / length * (length * (length + 1) / 2));
    }
    assert_int_equal(map.n_partial, map.n_q_blocks);
    assert_int_equal(map.n_full, map.n_q_blocks * (map.n_q_blocks - 1) / 2);
    cs_tile_map_fini(&map);
    csi_free(word);
    csi_free(position);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(map_is_exact_in_order),
        CST_TEST(map_is_exact_for_permuted_tokens),
        CST_TEST(map_is_exact_for_arbitrary_words),
        CST_TEST(map_is_exact_for_prime_lengths),
        CST_TEST(empty_masks_give_empty_maps),
        CST_TEST(a_rebuild_allocates_nothing),
        CST_TEST(a_failed_build_leaves_nothing),
        CST_TEST(a_million_tokens_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
