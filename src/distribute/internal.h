/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DISTRIBUTE_INTERNAL_H
#define CS_DISTRIBUTE_INTERNAL_H
/*
 * Dealing as a problem of numbers: blocks with costs, ranks with a cap. An
 * assignment is owner[n_blocks]; its makespan is the work of the busiest rank.
 */
#include "cornstarch/distribute.h"

#include "base/arena.h"

/* Sums in another order differ in their last bits. */
#define CSI_ROUNDING 1e-9

typedef struct csi_deal {
    const cs_tile_map *map;
    csi_arena *scratch;
    int64_t n_blocks;
    int32_t n_ranks;
    int64_t max_blocks; /* of a rank */
    const double *cost; /* [n_blocks] */
    double dearest;     /* block */
    double mean;        /* work of a rank */
    double lowest;      /* no makespan is below: mean or dearest block */
} csi_deal;

/* Blocks by owner: those of rank r, ascending, from begin[r] on. */
typedef struct csi_hands {
    int64_t *begin; /* [n_ranks + 1] */
    int32_t *block; /* [n_blocks] */
} csi_hands;

/* In the arena; NOMEM names what it was for. */
cs_status csi_take(csi_arena *arena, int64_t count, size_t element_bytes,
                   void *out);
cs_status csi_hands_of(csi_arena *arena, const int32_t *owner, int64_t n_blocks,
                       int32_t n_ranks, csi_hands *out);

/* ---- costs.c ---- */

int64_t csi_block_tokens(const cs_tile_map *map, int64_t block);
double csi_block_cost(const cs_tile_map *map, const cs_distribute_costs *costs,
                      int64_t block);
/* Non-empty tiles of a row. */
int64_t csi_block_tiles(const cs_tile_map *map, int64_t block);
/* Infinite when a rank has more than max_blocks. load[n_ranks] is filled. */
double csi_makespan(const csi_deal *deal, const int32_t *owner, double *load);
/* Blocks by falling cost, equal ones by number. */
cs_status csi_sort_by_cost(const csi_deal *deal, int32_t **out);

/* ---- one file each ---- */

void csi_deal_uniform(int64_t n_blocks, int32_t n_ranks, int32_t *owner);
void csi_deal_zigzag(int64_t n_blocks, int32_t n_ranks, int32_t *owner);
/* Longest processing time first; a full rank takes no more. */
cs_status csi_deal_lpt(const csi_deal *deal, int32_t *owner);
/* Contiguous ranges within `limit` that cut the fewest keys off. *start is the
 * block where the best order of blocks begins; where no ranges are within the
 * limit, *is_within is false and owner means nothing. */
cs_status csi_deal_ranges(const csi_deal *deal, double limit, int32_t *owner,
                          bool *is_within, int64_t *start);
/* Equal shares of the work in order from block `start` on, as contiguous as
 * the cap allows. */
cs_status csi_deal_shares(const csi_deal *deal, int64_t start, int32_t *owner);
/* Moves and exchanges blocks until no rank has more than `limit` or nothing
 * helps; where several do, the one that brings the fewest new keys. */
cs_status csi_improve(const csi_deal *deal, double limit, int32_t *owner);
/* Searches for a makespan below *makespan, which `owner` has, in at most
 * n_nodes steps; *is_settled: it is the least. */
cs_status csi_search(const csi_deal *deal, int64_t n_nodes, int32_t *owner,
                     double *makespan, bool *is_settled);
cs_status csi_deal_balanced(const csi_deal *deal, int32_t *owner);
cs_status csi_deal_optimal(const csi_deal *deal, int32_t *owner);

/* ---- needs.c: sets of key blocks ---- */

int64_t csi_bits_words(int64_t n_blocks);
void csi_bits_set(uint64_t *bits, int64_t first, int64_t last);
/* Adds those that a row of the map sees. */
void csi_bits_see(uint64_t *bits, const cs_tile_map *map, int64_t row);
/* How many the row sees that are not in the set. */
int64_t csi_bits_count_new(const uint64_t *bits, const cs_tile_map *map,
                           int64_t row);
/* Key blocks that others own and some query of these blocks sees. */
int64_t csi_bits_needed(uint64_t *bits, const cs_tile_map *map,
                        const int32_t *blocks, int64_t n);
#endif
