/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Context parallelism as decided, before any kernel runs: how evenly each
 * distribution divides the predicted work (pairs of non-empty tiles), which
 * share of all_gather's keys the ranks need, and how long the tile map and the
 * distribution take to compute (CPU time of one thread, least of seven runs).
 * A rank of `balanced` takes at most twice the mean of the tokens.
 * One JSON object goes to stdout.
 *
 *     cp_bench
 */
#include "cornstarch/distribute.h"

#include "mask_cases.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

enum {
    N_SEEDS = 3,
    N_RUNS = 7,
    MOST_TOKENS = 1000000,
    MOST_RANKS = 1024,
    CAP_OF_MEAN = 2,
    KERNEL_BLOCK = 64
};

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static const cs_distribute_costs PAIRS = CS_DISTRIBUTE_COSTS_DEFAULT;

typedef struct result {
    double makespan, imbalance;
    int64_t needed, gathered;
} result;

typedef struct bench {
    uint64_t *word;
    int32_t *position;
    cs_mask mask;
    cs_tile_map map;
    cs_distribution *d;
    cs_rank_load loads[MOST_RANKS];
    int64_t n_cases;
    int64_t n_even, n_cells, n_packed; /* cells of the summary's means */
    double imbalance_sum, imbalance_worst;
    double log_zigzag, log_uniform, least_zigzag, least_uniform;
    double needed_sum, needed_worst, needed_worst_of_all;
    double map_s, dealt_map_s[2], small_s, large_s;
} bench;

static void need(cs_status st, const char *what)
{
    if (st != CS_OK) {
        (void)fprintf(stderr, "cp_bench: %s: ", what);
        cs_error_print(stderr, false);
        exit(1);
    }
}

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void make_mask(bench *b, cst_mask_kind kind, uint64_t seed, int64_t n,
                      int32_t block)
{
    cst_mask_fill(kind, seed, n, b->word, b->position);
    b->mask = (cs_mask){n, b->word, b->position};
    need(cs_tile_map_build(&b->map, &b->mask, &b->mask, 0, block, block),
         "tile map");
}

static cs_distribute_settings settings_of(const bench *b,
                                          cs_distribution_method method,
                                          int32_t n_ranks)
{
    const int64_t cap = (CAP_OF_MEAN * b->map.n_q_blocks + n_ranks - 1) /
                        n_ranks * b->map.q_block;

    return (cs_distribute_settings){
        .method = method,
        .n_ranks = n_ranks,
        .max_tokens = method == CS_DISTRIBUTE_BALANCED ? cap : 0,
        .costs = PAIRS,
    };
}

static result run(bench *b, cs_distribution_method method, int32_t n_ranks)
{
    const cs_distribute_settings s = settings_of(b, method, n_ranks);
    result r = {0};

    need(cs_distribution_build(b->d, &b->map, &s), "distribution");
    need(cs_distribution_measure(b->d, &b->map, &PAIRS, b->loads), "loads");
    for (int32_t i = 0; i < n_ranks; i++) {
        r.makespan = fmax(r.makespan, b->loads[i].work);
        r.needed += b->loads[i].needed_tokens;
        r.gathered += b->loads[i].gathered_tokens;
    }
    r.imbalance = cs_rank_load_imbalance(b->loads, n_ranks);
    return r;
}

static void count_cell(bench *b, cst_mask_kind kind, int32_t n_ranks,
                       const result *of)
{
    const result *balanced = &of[CS_DISTRIBUTE_BALANCED];
    const double zigzag =
        of[CS_DISTRIBUTE_ZIGZAG].makespan / balanced->makespan;
    const double uniform =
        of[CS_DISTRIBUTE_UNIFORM].makespan / balanced->makespan;
    const double needed = (double)balanced->needed / (double)balanced->gathered;

    b->n_cells++;
    b->log_zigzag += log(zigzag);
    b->log_uniform += log(uniform);
    b->least_zigzag = fmin(b->least_zigzag, zigzag);
    b->least_uniform = fmin(b->least_uniform, uniform);
    b->needed_worst_of_all = fmax(b->needed_worst_of_all, needed);
    if (b->mask.n_tokens / n_ranks >= 2048) {
        b->n_even++;
        b->imbalance_sum += balanced->imbalance;
        b->imbalance_worst = fmax(b->imbalance_worst, balanced->imbalance);
    }
    if (cst_mask_kind_is_packed(kind) && b->mask.n_tokens >= 16384) {
        b->n_packed++;
        b->needed_sum += needed;
        b->needed_worst = fmax(b->needed_worst, needed);
    }
}

static void bench_cell(bench *b, cst_mask_kind kind, uint64_t seed,
                       int64_t n_tokens, int32_t n_ranks)
{
    const int32_t block = cs_distribute_block(n_tokens, n_ranks);
    result of[CS_DISTRIBUTE_OPTIMAL];

    make_mask(b, kind, seed, n_tokens, block);
    printf("%s\n    {\"mask\": \"%s\", \"seed\": %d, \"n_tokens\": %lld, "
           "\"n_ranks\": %d, \"block_tokens\": %d",
           b->n_cases++ > 0 ? "," : "", cst_mask_kind_name(kind), (int)seed,
           (long long)n_tokens, (int)n_ranks, (int)block);
    for (int m = 0; m < CS_DISTRIBUTE_OPTIMAL; m++) {
        of[m] = run(b, (cs_distribution_method)m, n_ranks);
        printf(", \"%s\": {\"imbalance\": %.4f, \"needed_bytes_ratio\": %.4f}",
               cs_distribution_method_name((cs_distribution_method)m),
               of[m].imbalance, (double)of[m].needed / (double)of[m].gathered);
    }
    printf("}");
    count_cell(b, kind, n_ranks, of);
}

/* ---- time ---- */

static double time_map(bench *b, const cs_mask *q, const cs_mask *k)
{
    double least = HUGE_VAL;

    for (int i = 0; i < N_RUNS; i++) {
        const double start = now_s();

        need(cs_tile_map_build(&b->map, q, k, 0, KERNEL_BLOCK, KERNEL_BLOCK),
             "tile map");
        least = fmin(least, now_s() - start);
    }
    return least;
}

/* Tokens permuted as 8 ranks own them by `lpt`, which scatters them: queries
 * alone (what kernels get that hold keys in order), then keys too. */
static void time_dealt_map(bench *b, cst_mask_kind kind, double seconds[2])
{
    const int64_t n = MOST_TOKENS;
    uint64_t *word = malloc((size_t)n * sizeof *word);
    int32_t *position = malloc((size_t)n * sizeof *position);
    const cs_distribute_settings s = settings_of(b, CS_DISTRIBUTE_LPT, 8);

    if (word == NULL || position == NULL) {
        (void)fprintf(stderr, "cp_bench: out of memory\n");
        exit(1);
    }
    make_mask(b, kind, 1, n, 128);
    need(cs_distribution_build(b->d, &b->map, &s), "distribution");
    for (int64_t i = 0; i < n; i++) {
        word[i] = b->word[b->d->token[i]];
        position[i] = b->position[b->d->token[i]];
    }
    const cs_mask dealt = {n, word, position};
    seconds[0] = time_map(b, &dealt, &b->mask);
    seconds[1] = time_map(b, &dealt, &dealt);
    free(word);
    free(position);
}

static double time_balanced(bench *b, cst_mask_kind kind, int64_t n_tokens,
                            int32_t n_ranks)
{
    double least = HUGE_VAL;

    make_mask(b, kind, 1, n_tokens, cs_distribute_block(n_tokens, n_ranks));
    const cs_distribute_settings s =
        settings_of(b, CS_DISTRIBUTE_BALANCED, n_ranks);
    for (int i = 0; i < N_RUNS; i++) {
        const double start = now_s();

        need(cs_distribution_build(b->d, &b->map, &s), "distribution");
        least = fmin(least, now_s() - start);
    }
    return least;
}

static void bench_time(bench *b, cst_mask_kind kind)
{
    make_mask(b, kind, 1, MOST_TOKENS, KERNEL_BLOCK);
    const double map_s = time_map(b, &b->mask, &b->mask);
    double dealt_s[2] = {0.0, 0.0};
    time_dealt_map(b, kind, dealt_s);
    const double small_s = time_balanced(b, kind, 65536, 64);
    const double large_s = time_balanced(b, kind, 1000000, 1024);

    printf(",\n    {\"mask\": \"%s\", \"tile_map_1m_tokens_s\": %.6f, "
           "\"tile_map_1m_dealt_queries_s\": %.6f, "
           "\"tile_map_1m_dealt_tokens_s\": %.6f, "
           "\"balanced_64k_tokens_64_ranks_s\": %.6f, "
           "\"balanced_1m_tokens_1024_ranks_s\": %.6f}",
           cst_mask_kind_name(kind), map_s, dealt_s[0], dealt_s[1], small_s,
           large_s);
    b->map_s = fmax(b->map_s, map_s);
    for (int i = 0; i < 2; i++) {
        b->dealt_map_s[i] = fmax(b->dealt_map_s[i], dealt_s[i]);
    }
    b->small_s = fmax(b->small_s, small_s);
    b->large_s = fmax(b->large_s, large_s);
}

static void print_summary(const bench *b)
{
    printf("\n  ],\n  \"summary\": {\"work\": \"predicted\", "
           "\"balanced_imbalance_mean\": %.4f, "
           "\"balanced_imbalance_worst\": %.4f, ",
           b->imbalance_sum / (double)b->n_even, b->imbalance_worst);
    printf("\"speedup_over_zigzag\": %.3f, \"least_over_zigzag\": %.4f, "
           "\"speedup_over_uniform\": %.3f, \"least_over_uniform\": %.4f, ",
           exp(b->log_zigzag / (double)b->n_cells), b->least_zigzag,
           exp(b->log_uniform / (double)b->n_cells), b->least_uniform);
    printf("\"needed_bytes_ratio\": %.4f, \"needed_bytes_ratio_worst\": %.4f, "
           "\"needed_bytes_ratio_worst_of_all_masks\": %.4f, ",
           b->needed_sum / (double)b->n_packed, b->needed_worst,
           b->needed_worst_of_all);
    printf("\"tile_map_1m_tokens_s\": %.6f, "
           "\"tile_map_1m_dealt_queries_s\": %.6f, "
           "\"tile_map_1m_dealt_tokens_s\": %.6f, "
           "\"balanced_64k_tokens_64_ranks_s\": %.6f, "
           "\"balanced_1m_tokens_1024_ranks_s\": %.6f}}\n",
           b->map_s, b->dealt_map_s[0], b->dealt_map_s[1], b->small_s,
           b->large_s);
}

int main(void)
{
    static const int64_t tokens[] = {4096, 16384, 65536, 262144};
    static const int32_t ranks[] = {2, 4, 8, 16, 64};
    static bench b = {.least_zigzag = HUGE_VAL, .least_uniform = HUGE_VAL};

    b.word = malloc(MOST_TOKENS * sizeof *b.word);
    b.position = malloc(MOST_TOKENS * sizeof *b.position);
    if (b.word == NULL || b.position == NULL) {
        (void)fprintf(stderr, "cp_bench: out of memory\n");
        return 1;
    }
    need(cs_distribution_create(&b.d), "distribution");
    printf("{\"cases\": [");
    for (int kind = 0; kind < CST_MASK_KIND_COUNT; kind++) {
        for (size_t t = 0; t < N_OF(tokens); t++) {
            for (size_t r = 0; r < N_OF(ranks); r++) {
                for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
                    bench_cell(&b, (cst_mask_kind)kind, seed, tokens[t],
                               ranks[r]);
                }
            }
        }
    }
    for (int kind = 0; kind < CST_MASK_KIND_COUNT; kind++) {
        bench_time(&b, (cst_mask_kind)kind);
    }
    print_summary(&b);
    cs_distribution_destroy(&b.d);
    cs_tile_map_fini(&b.map);
    free(b.word);
    free(b.position);
    return 0;
}
