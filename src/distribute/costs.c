/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a block costs, from its row of the tile map. Costs are per pair of a
 * tile rather than per tile, so that short tiles at the end cost what they
 * are and block sizes compare.
 */
#include "base/checked.h"

#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct priced {
    double cost;
    int32_t block;
} priced;

cs_status csi_take(csi_arena *arena, int64_t count, size_t element_bytes,
                   void *out)
{
    void *taken = csi_arena_alloc(arena, (size_t)count * element_bytes);

    CS_CHECK(taken != NULL, CS_ERR_NOMEM,
             "distribution: no memory for %lld elements of %zu bytes",
             (long long)count, element_bytes);
    memcpy(out, &taken, sizeof taken);
    return CS_OK;
}

cs_status csi_hands_of(csi_arena *arena, const int32_t *owner, int64_t n_blocks,
                       int32_t n_ranks, csi_hands *out)
{
    csi_hands h = {0};

    CS_TRY(csi_take(arena, n_ranks + 1, sizeof *h.begin, &h.begin));
    CS_TRY(csi_take(arena, n_blocks, sizeof *h.block, &h.block));
    memset(h.begin, 0, (size_t)(n_ranks + 1) * sizeof *h.begin);
    for (int64_t b = 0; b < n_blocks; b++) {
        h.begin[owner[b]]++;
    }
    for (int32_t r = 1; r <= n_ranks; r++) { /* now: one past each hand */
        h.begin[r] += h.begin[r - 1];
    }
    for (int64_t b = n_blocks; b-- > 0;) {
        h.block[--h.begin[owner[b]]] = (int32_t)b;
    }
    *out = h;
    return CS_OK;
}

int64_t csi_block_tokens(const cs_tile_map *map, int64_t block)
{
    return csi_min_i64(map->q_block, map->q_tokens - block * map->q_block);
}

double csi_block_cost(const cs_tile_map *map, const cs_distribute_costs *costs,
                      int64_t block)
{
    const double n_tokens = (double)csi_block_tokens(map, block);
    int64_t full = 0;
    int64_t partial = 0;

    for (int64_t i = map->row_begin[block]; i < map->row_begin[block + 1];
         i++) {
        const cs_tile_run *run = &map->runs[i];
        const int64_t end =
            csi_min_i64((int64_t)run->last * map->k_block, map->k_tokens);
        const int64_t keys = end - (int64_t)run->first * map->k_block;

        if (run->tile_class == CS_TILE_FULL) {
            full += keys;
        } else {
            partial += keys;
        }
    }
    return n_tokens * ((double)full * costs->full_pair +
                       (double)partial * costs->partial_pair + costs->token);
}

int64_t csi_block_tiles(const cs_tile_map *map, int64_t block)
{
    int64_t n = 0;

    for (int64_t i = map->row_begin[block]; i < map->row_begin[block + 1];
         i++) {
        n += map->runs[i].last - map->runs[i].first;
    }
    return n;
}

double csi_makespan(const csi_deal *deal, const int32_t *owner, double *load)
{
    double largest = 0.0;

    memset(load, 0, (size_t)deal->n_ranks * sizeof *load);
    if (deal->max_blocks < deal->n_blocks) { /* count first */
        for (int64_t b = 0; b < deal->n_blocks; b++) {
            load[owner[b]] += 1.0;
        }
        for (int32_t r = 0; r < deal->n_ranks; r++) {
            if (load[r] > (double)deal->max_blocks) {
                return HUGE_VAL;
            }
            load[r] = 0.0;
        }
    }
    for (int64_t b = 0; b < deal->n_blocks; b++) {
        load[owner[b]] += deal->cost[b];
    }
    for (int32_t r = 0; r < deal->n_ranks; r++) {
        largest = load[r] > largest ? load[r] : largest;
    }
    return largest;
}

static int by_falling_cost(const void *a, const void *b)
{
    const priced *x = a;
    const priced *y = b;

    if (x->cost != y->cost) {
        return x->cost > y->cost ? -1 : 1;
    }
    return (x->block > y->block) - (x->block < y->block);
}

cs_status csi_sort_by_cost(const csi_deal *deal, int32_t **out)
{
    priced *list = NULL;
    int32_t *order = NULL;

    CS_TRY(csi_take(deal->scratch, deal->n_blocks, sizeof *order, &order));
    CS_TRY(csi_take(deal->scratch, deal->n_blocks, sizeof *list, &list));
    for (int64_t b = 0; b < deal->n_blocks; b++) {
        list[b] = (priced){deal->cost[b], (int32_t)b};
    }
    qsort(list, (size_t)deal->n_blocks, sizeof *list, by_falling_cost);
    for (int64_t b = 0; b < deal->n_blocks; b++) {
        order[b] = list[b].block;
    }
    *out = order;
    return CS_OK;
}
