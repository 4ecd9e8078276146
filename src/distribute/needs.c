/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose keys a rank needs: the union of the key blocks that its rows of the
 * tile map list, less its own. A set is one bit per key block, so that a run
 * of a row costs a word per 64 blocks.
 */
#include "base/alloc.h"

#include "internal.h"

#include <string.h>

int64_t csi_bits_words(int64_t n_blocks)
{
    return (n_blocks + 63) / 64;
}

/* Bits `first` and above, of the word that holds `first`. */
static uint64_t from_bit(int64_t first)
{
    return ~(uint64_t)0 << (first % 64);
}

/* Bits below `last`, of the word that holds bit last - 1. */
static uint64_t below_bit(int64_t last)
{
    return ~(uint64_t)0 >> (63 - (last - 1) % 64);
}

void csi_bits_set(uint64_t *bits, int64_t first, int64_t last)
{
    const int64_t low = first / 64;
    const int64_t high = (last - 1) / 64;

    if (low == high) {
        bits[low] |= from_bit(first) & below_bit(last);
        return;
    }
    bits[low] |= from_bit(first);
    for (int64_t w = low + 1; w < high; w++) {
        bits[w] = ~(uint64_t)0;
    }
    bits[high] |= below_bit(last);
}

static int64_t count_clear(const uint64_t *bits, int64_t first, int64_t last)
{
    const int64_t low = first / 64;
    const int64_t high = (last - 1) / 64;
    int64_t n = 0;

    for (int64_t w = low; w <= high; w++) {
        uint64_t clear = ~bits[w];

        clear &= w == low ? from_bit(first) : ~(uint64_t)0;
        clear &= w == high ? below_bit(last) : ~(uint64_t)0;
        n += __builtin_popcountll(clear);
    }
    return n;
}

void csi_bits_see(uint64_t *bits, const cs_tile_map *map, int64_t row)
{
    for (int64_t i = map->row_begin[row]; i < map->row_begin[row + 1]; i++) {
        csi_bits_set(bits, map->runs[i].first, map->runs[i].last);
    }
}

int64_t csi_bits_count_new(const uint64_t *bits, const cs_tile_map *map,
                           int64_t row)
{
    int64_t n = 0;

    for (int64_t i = map->row_begin[row]; i < map->row_begin[row + 1]; i++) {
        n += count_clear(bits, map->runs[i].first, map->runs[i].last);
    }
    return n;
}

int64_t csi_bits_needed(uint64_t *bits, const cs_tile_map *map,
                        const int32_t *blocks, int64_t n)
{
    const int64_t n_words = csi_bits_words(map->n_k_blocks);
    int64_t count = 0;

    memset(bits, 0, (size_t)n_words * sizeof *bits);
    for (int64_t i = 0; i < n; i++) {
        csi_bits_see(bits, map, blocks[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        bits[blocks[i] / 64] &= ~((uint64_t)1 << (blocks[i] % 64));
    }
    for (int64_t w = 0; w < n_words; w++) {
        count += __builtin_popcountll(bits[w]);
    }
    return count;
}

int64_t cs_distribution_needs(const cs_distribution *d, const cs_tile_map *map,
                              int32_t rank, uint64_t *bits)
{
    const int64_t begin = d->block_begin[rank];
    const int64_t count = csi_bits_needed(bits, map, d->block_of + begin,
                                          d->block_begin[rank + 1] - begin);
    const int64_t last = d->n_blocks - 1;
    int64_t n_tokens = count * d->block;

    if (last >= 0 && (bits[last / 64] >> (last % 64) & 1) != 0) {
        n_tokens -= d->block - csi_block_tokens(map, last);
    }
    return n_tokens;
}

cs_status cs_distribution_measure(const cs_distribution *d,
                                  const cs_tile_map *map,
                                  const cs_distribute_costs *costs,
                                  cs_rank_load *loads)
{
    uint64_t *bits =
        csi_calloc((size_t)csi_bits_words(d->n_blocks) + 1, sizeof *bits);

    CS_CHECK(bits != NULL, CS_ERR_NOMEM,
             "distribution: no memory for a set of %lld key blocks",
             (long long)d->n_blocks);
    for (int32_t r = 0; r < d->n_ranks; r++) {
        cs_rank_load load = {
            .n_tokens = d->token_begin[r + 1] - d->token_begin[r],
            .needed_tokens = cs_distribution_needs(d, map, r, bits),
        };

        load.gathered_tokens = d->n_tokens - load.n_tokens;
        for (int64_t i = d->block_begin[r]; i < d->block_begin[r + 1]; i++) {
            load.work += csi_block_cost(map, costs, d->block_of[i]);
        }
        loads[r] = load;
    }
    csi_free(bits);
    return CS_OK;
}

double cs_rank_load_imbalance(const cs_rank_load *loads, int32_t n_ranks)
{
    double sum = 0.0;
    double largest = 0.0;

    for (int32_t r = 0; r < n_ranks; r++) {
        sum += loads[r].work;
        largest = loads[r].work > largest ? loads[r].work : largest;
    }
    return sum > 0.0 ? largest * n_ranks / sum : 1.0;
}
