/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distributions: reference vectors, and what must hold for every method, mask,
 * length and number of ranks.
 */
#include "cornstarch/distribute.h"

#include "base/alloc.h"
#include "base/rng.h"

#include "mask_cases.h"
#include "test.h"

#include <math.h>
#include <string.h>

enum {
    MAX_TOKENS = 16384,
    MAX_RANKS = 70
};

static const cs_distribute_costs PAIRS = CS_DISTRIBUTE_COSTS_DEFAULT;

/* A mask, its map and a distribution, reused. */
typedef struct world {
    uint64_t word[MAX_TOKENS];
    int32_t position[MAX_TOKENS];
    cs_mask mask;
    cs_tile_map map;
    cs_distribution *d;
    cs_rank_load loads[MAX_RANKS];
} world;

static world w;

static int begin(void **state)
{
    if (cst_begin(state) != 0) {
        return -1;
    }
    memset(&w, 0, sizeof w);
    return cs_distribution_create(&w.d) == CS_OK ? 0 : -1;
}

static int end(void **state)
{
    cs_distribution_destroy(&w.d);
    cs_tile_map_fini(&w.map);
    return cst_end(state);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

static void map_mask(int64_t n, int32_t block)
{
    w.mask = (cs_mask){n, w.word, w.position};
    assert_ok(cs_tile_map_build(&w.map, &w.mask, &w.mask, 0, block, block));
}

static void make_case(cst_mask_kind kind, uint64_t seed, int64_t n,
                      int32_t block)
{
    cst_mask_fill(kind, seed, n, w.word, w.position);
    map_mask(n, block);
}

static void make_one_document(int64_t n, uint32_t span, int32_t block)
{
    for (int64_t t = 0; t < n; t++) {
        w.word[t] = cs_mask_word(1, span, 1, 1);
        w.position[t] = (int32_t)t;
    }
    map_mask(n, block);
}

static cs_distribute_settings settings_of(cs_distribution_method method,
                                          int32_t n_ranks)
{
    return (cs_distribute_settings){.method = method,
                                    .n_ranks = n_ranks,
                                    .seed = 7,
                                    .costs = PAIRS};
}

static void build(cs_distribution_method method, int32_t n_ranks)
{
    const cs_distribute_settings s = settings_of(method, n_ranks);

    assert_ok(cs_distribution_build(w.d, &w.map, &s));
}

static double measure(void)
{
    double largest = 0.0;

    assert_ok(cs_distribution_measure(w.d, &w.map, &PAIRS, w.loads));
    for (int32_t r = 0; r < w.d->n_ranks; r++) {
        largest = fmax(largest, w.loads[r].work);
    }
    return largest;
}

static double makespan_of(cs_distribution_method method, int32_t n_ranks)
{
    build(method, n_ranks);
    return measure();
}

static int64_t needed_tokens(void)
{
    int64_t n = 0;

    for (int32_t r = 0; r < w.d->n_ranks; r++) {
        n += w.loads[r].needed_tokens;
    }
    return n;
}

/* ---- reference vectors ---- */

static void check_owner(const int32_t *wanted)
{
    for (int64_t b = 0; b < w.d->n_blocks; b++) {
        assert_int_equal(w.d->owner[b], wanted[b]);
    }
}

static void lpt_equals_the_reference_vectors(void **state)
{
    const int32_t causal[] = {0, 1, 2, 3, 3, 2, 1, 0};
    const int32_t full[] = {0, 1, 2, 3, 0, 1, 2, 3};
    /* from the end: 0 1 2 3 3 2 1 0 0 1 2 3 */
    const int32_t longer[] = {3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0};

    (void)state;
    make_one_document((int64_t)8 * 16, 0, 16);
    build(CS_DISTRIBUTE_LPT, 4);
    check_owner(causal);
    make_one_document((int64_t)12 * 16, 0, 16);
    build(CS_DISTRIBUTE_LPT, 4);
    check_owner(longer);
    make_one_document((int64_t)8 * 16, 1, 16);
    build(CS_DISTRIBUTE_LPT, 4);
    check_owner(full);
}

static void pieces_differ_by_one_block_larger_ones_first(void **state)
{
    const int32_t uniform[] = {0, 0, 0, 0, 1, 1, 1, 2, 2, 2};
    const int32_t zigzag[] = {0, 0, 1, 1, 2, 2, 2, 2, 1, 0};

    (void)state;
    make_one_document((int64_t)10 * 4 - 3, 0, 4);
    build(CS_DISTRIBUTE_UNIFORM, 3);
    check_owner(uniform);
    assert_int_equal(w.d->token_begin[3] - w.d->token_begin[2], 9);
    build(CS_DISTRIBUTE_ZIGZAG, 3); /* pieces of 2 2 2 2 1 1 blocks */
    check_owner(zigzag);
}

static void random_depends_on_the_seed_alone(void **state)
{
    static int32_t first[MAX_TOKENS];
    cs_distribute_settings s = settings_of(CS_DISTRIBUTE_RANDOM, 5);
    bool differs = false;

    (void)state;
    make_one_document(1000, 0, 4);
    assert_ok(cs_distribution_build(w.d, &w.map, &s));
    memcpy(first, w.d->owner, (size_t)w.d->n_blocks * sizeof *first);
    assert_ok(cs_distribution_build(w.d, &w.map, &s));
    check_owner(first);
    for (int32_t r = 0; r < 5; r++) {
        assert_int_equal(w.d->block_begin[r + 1] - w.d->block_begin[r], 50);
    }
    s.seed = 8;
    assert_ok(cs_distribution_build(w.d, &w.map, &s));
    for (int64_t b = 0; b < w.d->n_blocks; b++) {
        differs = differs || w.d->owner[b] != first[b];
    }
    assert_true(differs);
}

/* ---- what holds for all ---- */

/* Every token has one owner, lists ascend, lists and owner[] agree. */
static void check_partition(void)
{
    static bool seen[MAX_TOKENS];
    const cs_distribution *d = w.d;

    memset(seen, 0, sizeof seen);
    assert_int_equal(d->token_begin[0], 0);
    assert_int_equal(d->token_begin[d->n_ranks], d->n_tokens);
    assert_int_equal(d->block_begin[d->n_ranks], d->n_blocks);
    for (int32_t r = 0; r < d->n_ranks; r++) {
        for (int64_t i = d->token_begin[r]; i < d->token_begin[r + 1]; i++) {
            const int32_t t = d->token[i];

            assert_in_range(t, 0, d->n_tokens - 1);
            assert_false(seen[t]);
            seen[t] = true;
            assert_int_equal(d->owner[t / d->block], r);
            assert_true(i == d->token_begin[r] || d->token[i - 1] < t);
        }
        for (int64_t i = d->block_begin[r]; i < d->block_begin[r + 1]; i++) {
            assert_int_equal(d->owner[d->block_of[i]], r);
        }
    }
}

/* Needs by looking at every pair of tokens; block by block, as keys move. */
static void check_needs(void)
{
    const cs_distribution *d = w.d;
    uint64_t bits[MAX_TOKENS / 64 + 1];

    for (int32_t r = 0; r < d->n_ranks; r++) {
        const int64_t n = cs_distribution_needs(d, &w.map, r, bits);
        int64_t wanted = 0;

        for (int64_t b = 0; b < d->n_blocks; b++) {
            const int64_t key_begin = b * d->block;
            const int64_t key_end = key_begin + d->block < d->n_tokens
                                        ? key_begin + d->block
                                        : d->n_tokens;
            bool is_seen = false;

            for (int64_t i = d->token_begin[r]; i < d->token_begin[r + 1];
                 i++) {
                const int32_t q = d->token[i];

                for (int64_t k = key_begin; k < key_end && !is_seen; k++) {
                    is_seen = cs_mask_visible(w.word[q], w.position[q],
                                              w.word[k], w.position[k], 0);
                }
            }
            const bool is_needed = is_seen && d->owner[b] != r;
            assert_int_equal(bits[b / 64] >> (b % 64) & 1, is_needed ? 1 : 0);
            wanted += is_needed ? key_end - key_begin : 0;
        }
        assert_int_equal(n, wanted);
        assert_true(n <=
                    d->n_tokens - (d->token_begin[r + 1] - d->token_begin[r]));
    }
}

static void every_distribution_is_a_partition(void **state)
{
    static const int64_t lengths[] = {0, 1, 2, 15, 16, 17, 127, 509, 1021};
    static const int32_t ranks[] = {1, 2, 3, 4, 8, 13, 64};

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (size_t j = 0; j < sizeof ranks / sizeof ranks[0]; j++) {
            make_case((cst_mask_kind)((i + j) % CST_MASK_KIND_COUNT), i + j,
                      lengths[i], 16);
            for (int m = 0; m < CS_DISTRIBUTE_OPTIMAL; m++) {
                build((cs_distribution_method)m, ranks[j]);
                check_partition();
            }
            if (w.map.n_q_blocks <= 8) {
                build(CS_DISTRIBUTE_OPTIMAL, ranks[j]);
                check_partition();
            }
        }
    }
}

static void needs_are_exactly_what_is_visible(void **state)
{
    (void)state;
    for (int k = 0; k < CST_MASK_KIND_COUNT; k++) {
        make_case((cst_mask_kind)k, 3, 331, 8);
        for (int m = 0; m < CS_DISTRIBUTE_OPTIMAL; m++) {
            build((cs_distribution_method)m, 5);
            check_needs();
        }
    }
}

/* Words of no policy, tokens of no document, permuted tokens. */
static void needs_are_exact_for_random_words(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        int64_t order[211];
        const int64_t n = 211;
        uint64_t word[211];

        for (int64_t t = 0; t < n; t++) {
            const uint64_t i = (uint64_t)t / 7;
            word[t] = cs_mask_word((uint32_t)csi_rng_below(seed, 1, i, 3),
                                   (uint32_t)csi_rng_below(seed, 2, i, 3),
                                   (uint32_t)csi_rng_below(seed, 3, i, 4),
                                   (uint32_t)csi_rng_below(seed, 4, i, 4));
        }
        csi_rng_permute(seed, 5, order, n);
        for (int64_t t = 0; t < n; t++) {
            const int64_t from = seed % 2 == 0 ? order[t] : t;
            w.word[t] = word[from];
            w.position[t] = (int32_t)from;
        }
        map_mask(n, 4);
        for (int m = 0; m < CS_DISTRIBUTE_OPTIMAL; m++) {
            build((cs_distribution_method)m, 6);
            check_partition();
            check_needs();
        }
    }
}

/* Work by counting tiles anew, with three costs that differ. */
static void work_is_that_of_the_tiles(void **state)
{
    const cs_distribute_costs costs = {.full_pair = 1.0,
                                       .partial_pair = 3.0,
                                       .token = 7.0};
    double sum = 0.0;
    double wanted = 0.0;

    (void)state;
    make_case(CST_MASK_EMBEDDED, 4, 509, 16);
    build(CS_DISTRIBUTE_BALANCED, 3);
    assert_ok(cs_distribution_measure(w.d, &w.map, &costs, w.loads));
    for (int32_t r = 0; r < 3; r++) {
        sum += w.loads[r].work;
        assert_int_equal(w.loads[r].gathered_tokens, 509 - w.loads[r].n_tokens);
    }
    for (int64_t q = 0; q < 509; q += 16) {
        for (int64_t k = 0; k < 509; k += 16) {
            const int64_t q_end = q + 16 < 509 ? q + 16 : 509;
            const int64_t k_end = k + 16 < 509 ? k + 16 : 509;
            const double pairs = (double)((q_end - q) * (k_end - k));
            int64_t visible = 0;

            for (int64_t i = q; i < q_end; i++) {
                for (int64_t j = k; j < k_end; j++) {
                    visible += cs_mask_visible(w.word[i], (int32_t)i, w.word[j],
                                               (int32_t)j, 0)
                                   ? 1
                                   : 0;
                }
            }
            wanted += visible == 0               ? 0.0
                      : (double)visible == pairs ? pairs
                                                 : 3.0 * pairs;
        }
    }
    assert_near(sum, wanted + 7.0 * 509.0, 1e-12);
}

/* ---- how good ---- */

static void balanced_is_never_worse_than_the_others(void **state)
{
    static const int64_t lengths[] = {4096, 8192, 5003};
    static const int32_t ranks[] = {2, 3, 8, 16, 64};

    (void)state;
    for (int k = 0; k < CST_MASK_KIND_COUNT; k++) {
        for (size_t i = 0; i < 3; i++) {
            for (size_t j = 0; j < sizeof ranks / sizeof ranks[0]; j++) {
                const int32_t n = ranks[j];
                make_case((cst_mask_kind)k, 11, lengths[i],
                          cs_distribute_block(lengths[i], n));
                const double uniform = makespan_of(CS_DISTRIBUTE_UNIFORM, n);
                const double zigzag = makespan_of(CS_DISTRIBUTE_ZIGZAG, n);
                const double lpt = makespan_of(CS_DISTRIBUTE_LPT, n);
                const int64_t lpt_needs = needed_tokens();
                const double balanced = makespan_of(CS_DISTRIBUTE_BALANCED, n);

                assert_true(balanced <= uniform * (1.0 + 1e-9));
                assert_true(balanced <= zigzag * (1.0 + 1e-9));
                assert_true(balanced <= lpt * 1.02 * (1.0 + 1e-9));
                assert_true(needed_tokens() <= lpt_needs || balanced < lpt);
                if (lengths[i] / n >= 2048) {
                    assert_true(cs_rank_load_imbalance(w.loads, n) <= 1.02);
                }
            }
        }
    }
}

static void balanced_moves_few_keys_of_packed_documents(void **state)
{
    static const cst_mask_kind kinds[] = {CST_MASK_PACKED_CAUSAL,
                                          CST_MASK_MULTIMODAL_PACKED,
                                          CST_MASK_PACKED_PICTURES};

    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        for (int k = 0; k < 3; k++) {
            for (int32_t n = 2; n <= 16; n *= 2) {
                int64_t gathered = 0;

                make_case(kinds[k], seed, 16384, cs_distribute_block(16384, n));
                (void)makespan_of(CS_DISTRIBUTE_BALANCED, n);
                for (int32_t r = 0; r < n; r++) {
                    gathered += w.loads[r].gathered_tokens;
                }
                assert_true(needed_tokens() * 10 <= gathered * 3);
            }
        }
    }
}

/* Bidirectional documents of 3, 5 and 4 units: 25 = 16 + 9, so that two ranks
 * need no key of each other if the third goes with the first. */
static void balanced_begins_where_fewest_documents_are_cut(void **state)
{
    (void)state;
    for (int64_t t = 0; t < 768; t++) {
        w.word[t] = cs_mask_word(t < 192 ? 1 : t < 512 ? 2 : 3, 1, 0, 2);
        w.position[t] = (int32_t)t;
    }
    map_mask(768, 16);
    build(CS_DISTRIBUTE_BALANCED, 2);
    (void)measure();
    assert_true(cs_rank_load_imbalance(w.loads, 2) <= 1.01);
    assert_int_equal(needed_tokens(), 0);
}

/* Ranks at most twice the mean of the tokens; share of all_gather's keys. */
static double needed_share_with_cap(int32_t n_ranks)
{
    cs_distribute_settings s = settings_of(CS_DISTRIBUTE_BALANCED, n_ranks);
    int64_t gathered = 0;

    s.max_tokens =
        (2 * w.map.n_q_blocks + n_ranks - 1) / n_ranks * (int64_t)w.map.q_block;
    assert_ok(cs_distribution_build(w.d, &w.map, &s));
    (void)measure();
    for (int32_t r = 0; r < n_ranks; r++) {
        gathered += w.loads[r].gathered_tokens;
    }
    return (double)needed_tokens() / (double)gathered;
}

/* Where repairs and the choice among candidates count keys: twice the share
 * would be moved otherwise, and 0.97. */
static void repairs_and_choices_count_keys(void **state)
{
    (void)state;
    make_case(CST_MASK_PACKED_PICTURES, 2, 16384, 128);
    assert_true(needed_share_with_cap(2) <= 0.2);
    make_case(CST_MASK_PREFIX_LM, 2, 4096, 16);
    assert_true(needed_share_with_cap(16) <= 0.8);
}

/* Masks that uniform or zigzag divide without any rest. */
static void balanced_is_perfect_where_simple_methods_are(void **state)
{
    (void)state;
    for (int32_t n = 2; n <= 16; n *= 2) {
        make_one_document(8192, 1, 16);
        assert_near(makespan_of(CS_DISTRIBUTE_BALANCED, n),
                    makespan_of(CS_DISTRIBUTE_UNIFORM, n), 1e-9);
        make_one_document(8192, 0, 16);
        assert_true(makespan_of(CS_DISTRIBUTE_BALANCED, n) <=
                    makespan_of(CS_DISTRIBUTE_ZIGZAG, n) * (1.0 + 1e-9));
    }
}

/* Ranges end between documents where the balance allows it. */
static void balanced_cuts_between_documents(void **state)
{
    (void)state;
    for (int64_t t = 0; t < 4096; t++) {
        w.word[t] = cs_mask_word((uint32_t)(1 + t / 256), 0, 1, 1);
        w.position[t] = (int32_t)t;
    }
    map_mask(4096, 16);
    build(CS_DISTRIBUTE_BALANCED, 4);
    (void)measure();
    assert_int_equal(needed_tokens(), 0);
}

static void balanced_is_near_the_optimum(void **state)
{
    int32_t n_compared = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        for (int k = 0; k < CST_MASK_KIND_COUNT; k++) {
            for (int32_t n = 2; n <= 4; n++) {
                make_case((cst_mask_kind)k, seed, 16 * (8 + (int64_t)seed), 16);
                const double best = makespan_of(CS_DISTRIBUTE_OPTIMAL, n);
                const double got = makespan_of(CS_DISTRIBUTE_BALANCED, n);

                assert_true(got >= best * (1.0 - 1e-9));
                assert_true(got <= best * 1.01 * (1.0 + 1e-9));
                n_compared++;
            }
        }
    }
    assert_int_equal(n_compared, 12 * CST_MASK_KIND_COUNT * 3);
}

/* All assignments of nine blocks to three ranks. */
static void optimal_is_the_least_of_all(void **state)
{
    (void)state;
    for (int k = 0; k < CST_MASK_KIND_COUNT; k++) {
        double best = HUGE_VAL;

        make_case((cst_mask_kind)k, 5, 141, 16);
        const double got = makespan_of(CS_DISTRIBUTE_OPTIMAL, 3);
        for (int32_t code = 0; code < 19683; code++) {
            int32_t rest = code;

            for (int64_t b = 0; b < 9; b++) {
                w.d->owner[b] = rest % 3;
                rest /= 3;
            }
            double load[3] = {0};
            for (int64_t b = 0; b < 9; b++) {
                const int64_t q = b == 8 ? 13 : 16;
                for (int64_t i = w.map.row_begin[b]; i < w.map.row_begin[b + 1];
                     i++) {
                    const int64_t end_key = w.map.runs[i].last * (int64_t)16;
                    const int64_t keys = (end_key < 141 ? end_key : 141) -
                                         w.map.runs[i].first * (int64_t)16;
                    load[w.d->owner[b]] += (double)(q * keys);
                }
            }
            best = fmin(best, fmax(load[0], fmax(load[1], load[2])));
        }
        assert_near(got, best, 1e-12);
    }
}

static void a_cap_on_tokens_is_kept(void **state)
{
    (void)state;
    for (int k = 0; k < CST_MASK_KIND_COUNT; k++) {
        for (int32_t n = 2; n <= 16; n *= 2) {
            cs_distribute_settings s = settings_of(CS_DISTRIBUTE_BALANCED, n);

            make_case((cst_mask_kind)k, 2, 4096, 16);
            for (int percent = 100; percent <= 200; percent += 25) {
                s.max_tokens = 4096 * (int64_t)percent / (100 * n);
                assert_ok(cs_distribution_build(w.d, &w.map, &s));
                check_partition();
                (void)measure();
                for (int32_t r = 0; r < n; r++) {
                    assert_true(w.loads[r].n_tokens <= s.max_tokens);
                }
                if (percent >= 150) {
                    assert_true(cs_rank_load_imbalance(w.loads, n) <= 1.06);
                }
            }
        }
    }
}

static void linear_work_evens_out_the_tokens(void **state)
{
    cs_distribute_settings s = settings_of(CS_DISTRIBUTE_BALANCED, 8);

    (void)state;
    make_one_document(8192, 0, 32);
    s.costs.token = 1e6; /* attention costs next to nothing */
    assert_ok(cs_distribution_build(w.d, &w.map, &s));
    (void)measure();
    for (int32_t r = 0; r < 8; r++) {
        assert_in_range(w.loads[r].n_tokens, 1024 - 32, 1024 + 32);
    }
}

static void masks_without_work_are_dealt_evenly(void **state)
{
    (void)state;
    memset(w.word, 0, sizeof w.word);
    for (int32_t t = 0; t < 1000; t++) {
        w.position[t] = t;
    }
    map_mask(1000, 16);
    build(CS_DISTRIBUTE_BALANCED, 4);
    (void)measure();
    for (int32_t r = 0; r < 4; r++) {
        assert_in_range(w.loads[r].n_tokens, 232, 256);
        assert_int_equal(w.loads[r].needed_tokens, 0);
    }
    assert_true(cs_rank_load_imbalance(w.loads, 4) == 1.0);
}

static void blocks_leave_ranks_enough_to_balance(void **state)
{
    (void)state;
    assert_int_equal(cs_distribute_block(65536, 8), 128);
    assert_int_equal(cs_distribute_block(65536, 16), 64);
    assert_int_equal(cs_distribute_block(65536, 32), 32);
    assert_int_equal(cs_distribute_block(65536, 64), 16);
    assert_int_equal(cs_distribute_block(1, 64), 16);
}

/* ---- bad input, memory ---- */

static void bad_settings_are_refused(void **state)
{
    cs_distribute_settings s = settings_of(CS_DISTRIBUTE_BALANCED, 4);
    cs_distribution_method method = CS_DISTRIBUTE_LPT;

    (void)state;
    make_one_document(512, 0, 16);
    s.n_ranks = 0;
    assert_fails(cs_distribution_build(w.d, &w.map, &s), CS_ERR_ARG, "got 0");
    s.n_ranks = 4;
    s.max_tokens = 127;
    assert_fails(cs_distribution_build(w.d, &w.map, &s), CS_ERR_ARG,
                 "at most 127 tokens");
    s.max_tokens = -1;
    assert_fails(cs_distribution_build(w.d, &w.map, &s), CS_ERR_ARG, "got -1");
    s.max_tokens = 128;
    assert_ok(cs_distribution_build(w.d, &w.map, &s));
    s.method = CS_DISTRIBUTE_ZIGZAG;
    assert_fails(cs_distribution_build(w.d, &w.map, &s), CS_ERR_ARG,
                 "zigzag holds no cap");
    s = settings_of(CS_DISTRIBUTE_METHOD_COUNT, 4);
    assert_fails(cs_distribution_build(w.d, &w.map, &s), CS_ERR_ARG,
                 "no method");
    s = settings_of(CS_DISTRIBUTE_OPTIMAL, 4);
    assert_fails(cs_distribution_build(w.d, &w.map, &s), CS_ERR_ARG,
                 "at most 24 blocks, got 32");
    s = settings_of(CS_DISTRIBUTE_BALANCED, 4);
    s.costs.token = NAN;
    assert_fails(cs_distribution_build(w.d, &w.map, &s), CS_ERR_ARG, "nan");
    assert_ok(cs_tile_map_build(&w.map, &w.mask, &w.mask, 0, 16, 32));
    s.costs.token = 0.0;
    assert_fails(cs_distribution_build(w.d, &w.map, &s), CS_ERR_ARG, "square");
    assert_fails(cs_distribution_method_parse("balance", &method), CS_ERR_ARG,
                 "did you mean 'balanced'");
    assert_int_equal(method, CS_DISTRIBUTE_LPT);
    for (int m = 0; m < CS_DISTRIBUTE_METHOD_COUNT; m++) {
        assert_ok(cs_distribution_method_parse(
            cs_distribution_method_name((cs_distribution_method)m), &method));
        assert_int_equal(method, m);
    }
}

static void a_rebuild_allocates_nothing(void **state)
{
    (void)state;
    make_case(CST_MASK_PREFIX_LM, 9, 4096, 16);
    build(CS_DISTRIBUTE_BALANCED, 61);
    build(CS_DISTRIBUTE_BALANCED, 61);
    const int64_t before = csi_alloc_count();
    build(CS_DISTRIBUTE_BALANCED, 61);
    build(CS_DISTRIBUTE_LPT, 61);
    assert_int_equal(csi_alloc_count(), before);
}

static cs_status build_all(void *arg)
{
    cs_distribution *d = NULL;
    cs_status st = CS_OK;

    (void)arg;
    CS_TRY_GOTO(done, cs_distribution_create(&d));
    for (int m = 0; m < CS_DISTRIBUTE_OPTIMAL; m++) {
        const cs_distribute_settings s =
            settings_of((cs_distribution_method)m, 50);

        CS_TRY_GOTO(done, cs_distribution_build(d, &w.map, &s));
    }
    CS_TRY_GOTO(done, cs_distribution_measure(d, &w.map, &PAIRS, w.loads));
done:
    cs_distribution_destroy(&d);
    return st;
}

static void a_failed_build_leaves_nothing(void **state)
{
    (void)state;
    make_case(CST_MASK_EMBEDDED, 9, 2048, 16);
    assert_true(cst_torture(build_all, NULL) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(lpt_equals_the_reference_vectors),
        WORLD_TEST(pieces_differ_by_one_block_larger_ones_first),
        WORLD_TEST(random_depends_on_the_seed_alone),
        WORLD_TEST(every_distribution_is_a_partition),
        WORLD_TEST(needs_are_exactly_what_is_visible),
        WORLD_TEST(needs_are_exact_for_random_words),
        WORLD_TEST(work_is_that_of_the_tiles),
        WORLD_TEST(balanced_is_never_worse_than_the_others),
        WORLD_TEST(balanced_moves_few_keys_of_packed_documents),
        WORLD_TEST(repairs_and_choices_count_keys),
        WORLD_TEST(balanced_is_perfect_where_simple_methods_are),
        WORLD_TEST(balanced_cuts_between_documents),
        WORLD_TEST(balanced_begins_where_fewest_documents_are_cut),
        WORLD_TEST(balanced_is_near_the_optimum),
        WORLD_TEST(optimal_is_the_least_of_all),
        WORLD_TEST(a_cap_on_tokens_is_kept),
        WORLD_TEST(linear_work_evens_out_the_tokens),
        WORLD_TEST(masks_without_work_are_dealt_evenly),
        WORLD_TEST(blocks_leave_ranks_enough_to_balance),
        WORLD_TEST(bad_settings_are_refused),
        WORLD_TEST(a_rebuild_allocates_nothing),
        WORLD_TEST(a_failed_build_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
