/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_DISTRIBUTE_H
#define CORNSTARCH_DISTRIBUTE_H
/*
 * Context parallelism, the deciding half: which rank computes which tokens,
 * by the attention work that the mask gives them, and whose keys it needs.
 *
 *     words --> tile map, block x block --> cs_distribution --> loads, needs
 *
 * Blocks of consecutive tokens are dealt whole; a block is a row of the tile
 * map. Any number of tokens and ranks; a rank may get none. Pure functions:
 * every rank computes the same. A built distribution is immutable.
 */
#include "cornstarch/mask.h"

CS_BEGIN_DECLS

enum {
    CS_DISTRIBUTE_MAX_RANKS = 65536,
    CS_DISTRIBUTE_OPTIMAL_BLOCKS = 24 /* most that `optimal` takes */
};

typedef enum cs_distribution_method {
    CS_DISTRIBUTE_UNIFORM,  /* n contiguous pieces, larger ones first */
    CS_DISTRIBUTE_ZIGZAG,   /* 2n pieces; rank r gets r and 2n - 1 - r */
    CS_DISTRIBUTE_RANDOM,   /* a seeded permutation of blocks, dealt in turn */
    CS_DISTRIBUTE_LPT,      /* dearest block to the least loaded rank (Graham
                               1969), by non-empty tiles: the paper's */
    CS_DISTRIBUTE_BALANCED, /* least makespan, then fewest keys to move */
    CS_DISTRIBUTE_OPTIMAL,  /* least makespan, by search; few blocks only */
    CS_DISTRIBUTE_METHOD_COUNT
} cs_distribution_method;

/* Work in any one unit, best in measured seconds. */
typedef struct cs_distribute_costs {
    double full_pair;    /* a pair of a full tile */
    double partial_pair; /* a pair of a partial tile, visible or not */
    double token;        /* linear work of one token */
} cs_distribute_costs;

/* Attention alone, in pairs of the tiles that a kernel visits. */
#define CS_DISTRIBUTE_COSTS_DEFAULT                         \
    {                                                       \
        .full_pair = 1.0, .partial_pair = 1.0, .token = 0.0 \
    }

typedef struct cs_distribute_settings {
    cs_distribution_method method;
    int32_t n_ranks;
    uint64_t seed;             /* of random */
    int64_t max_tokens;        /* of a rank, balanced and optimal; 0 = any */
    cs_distribute_costs costs; /* of balanced and optimal */
} cs_distribute_settings;

typedef struct cs_distribution {
    int64_t n_tokens, n_blocks;
    int32_t block; /* tokens; the last may be short */
    int32_t n_ranks;
    int32_t *owner;       /* [n_blocks]: rank */
    int64_t *block_begin; /* [n_ranks + 1] */
    int32_t *block_of;    /* [n_blocks]: those of rank r, ascending, from
                             block_begin[r] on */
    int64_t *token_begin; /* [n_ranks + 1] */
    int32_t *token;       /* [n_tokens]: the same, token by token */
    void *arena;          /* owned: all of the above, reused by rebuilds */
} cs_distribution;

/* What one rank has to do. Bytes are rows times what a key and its value take,
 * so the ratio of the two counts is that of the bytes. */
typedef struct cs_rank_load {
    int64_t n_tokens;
    double work;             /* in the unit of the costs */
    int64_t needed_tokens;   /* keys of others that its queries can see */
    int64_t gathered_tokens; /* keys of others: what all_gather brings */
} cs_rank_load;

/* "balanced", as in a recipe; "?" for a value that is no method. */
CS_API const char *cs_distribution_method_name(cs_distribution_method method);
CS_API CS_NODISCARD cs_status
cs_distribution_method_parse(const char *name, cs_distribution_method *out);

/* Tokens per block: a power of two from 16 to 128, the largest that leaves a
 * rank 64 blocks to balance with. */
CS_API int32_t cs_distribute_block(int64_t n_tokens, int32_t n_ranks);

CS_API CS_NODISCARD cs_status cs_distribution_create(cs_distribution **out);
CS_API void cs_distribution_destroy(cs_distribution **d);
/* Deals the blocks of `map`, which is square: queries are keys, blocks equal.
 * Memory is reused, so a steady state allocates nothing.
 *
 * balanced: the makespan is at most 1.02 times the best one found, and at most
 * that of zigzag and of uniform (where max_tokens allows them); up to
 * CS_DISTRIBUTE_OPTIMAL_BLOCKS blocks a search looks for the least and 1.01
 * holds. Twice the mean is a good max_tokens.
 * Errors: ARG for a map that is not square, n_ranks or costs out of range,
 * max_tokens too small to hold the tokens or given to other methods, and more
 * than CS_DISTRIBUTE_OPTIMAL_BLOCKS blocks for optimal. */
CS_API CS_NODISCARD cs_status
cs_distribution_build(cs_distribution *d, const cs_tile_map *map,
                      const cs_distribute_settings *settings);

/* Sets a bit in bits[(n_blocks + 63) / 64] for each key block that the queries
 * of `rank` can see and others own; clears the rest. Returns the tokens in
 * those blocks. `map` is the one of the build. */
CS_API int64_t cs_distribution_needs(const cs_distribution *d,
                                     const cs_tile_map *map, int32_t rank,
                                     uint64_t *bits);
/* Fills loads[n_ranks]. Exact: work and needs come from the tile map. */
CS_API CS_NODISCARD cs_status
cs_distribution_measure(const cs_distribution *d, const cs_tile_map *map,
                        const cs_distribute_costs *costs, cs_rank_load *loads);
/* Largest work over mean work; 1 when there is none. */
CS_API double cs_rank_load_imbalance(const cs_rank_load *loads,
                                     int32_t n_ranks);

CS_END_DECLS
#endif
