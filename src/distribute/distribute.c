/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A distribution from a tile map: checks, the methods that look at no cost
 * (uniform, zigzag, random), and the lists that follow from who owns what.
 * Every array lives in one arena, results first, scratch behind them.
 */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/rng.h"
#include "base/str.h"

#include "internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *const method_names[CS_DISTRIBUTE_METHOD_COUNT] = {
    [CS_DISTRIBUTE_UNIFORM] = "uniform",   [CS_DISTRIBUTE_ZIGZAG] = "zigzag",
    [CS_DISTRIBUTE_RANDOM] = "random",     [CS_DISTRIBUTE_LPT] = "lpt",
    [CS_DISTRIBUTE_BALANCED] = "balanced", [CS_DISTRIBUTE_OPTIMAL] = "optimal",
};

const char *cs_distribution_method_name(cs_distribution_method method)
{
    if (method < 0 || method >= CS_DISTRIBUTE_METHOD_COUNT) {
        return "?";
    }
    return method_names[method];
}

cs_status cs_distribution_method_parse(const char *name,
                                       cs_distribution_method *out)
{
    for (int i = 0; i < CS_DISTRIBUTE_METHOD_COUNT; i++) {
        if (strcmp(name, method_names[i]) == 0) {
            *out = (cs_distribution_method)i;
            return CS_OK;
        }
    }
    const char *near =
        csi_str_nearest(name, method_names, CS_DISTRIBUTE_METHOD_COUNT);
    return CS_FAIL(CS_ERR_ARG,
                   "unknown distribution '%s', wanted uniform, zigzag, random, "
                   "lpt, balanced or optimal%s%s%s",
                   name, near != NULL ? "; did you mean '" : "",
                   near != NULL ? near : "", near != NULL ? "'?" : "");
}

int32_t cs_distribute_block(int64_t n_tokens, int32_t n_ranks)
{
    int32_t block = 128;

    while (block > 16 && n_tokens / n_ranks < (int64_t)block * 64) {
        block /= 2;
    }
    return block;
}

cs_status cs_distribution_create(cs_distribution **out)
{
    cs_distribution *d = csi_calloc(1, sizeof *d);
    csi_arena *arena = csi_calloc(1, sizeof *arena);

    if (d == NULL || arena == NULL) {
        csi_free(d);
        csi_free(arena);
        return CS_FAIL(CS_ERR_NOMEM, "distribution: out of memory");
    }
    csi_arena_init(arena, 0);
    d->arena = arena;
    *out = d;
    return CS_OK;
}

void cs_distribution_destroy(cs_distribution **d)
{
    if (*d == NULL) {
        return;
    }
    csi_arena_fini((*d)->arena);
    csi_free((*d)->arena);
    csi_free(*d);
    *d = NULL;
}

/* n_pieces contiguous pieces, the first ones larger by one block; piece p goes
 * to the rank that `fold` says: p, or back from the last after n_ranks. */
static void deal_pieces(int64_t n_blocks, int64_t n_pieces, int32_t n_ranks,
                        int32_t *owner)
{
    const int64_t size = n_blocks / n_pieces;
    const int64_t n_larger = n_blocks % n_pieces;
    int64_t at = 0;

    for (int64_t piece = 0; piece < n_pieces && at < n_blocks; piece++) {
        const int64_t end = at + size + (piece < n_larger ? 1 : 0);
        const int64_t rank = piece < n_ranks ? piece : 2 * n_ranks - 1 - piece;

        for (; at < end; at++) {
            owner[at] = (int32_t)rank;
        }
    }
}

void csi_deal_uniform(int64_t n_blocks, int32_t n_ranks, int32_t *owner)
{
    deal_pieces(n_blocks, n_ranks, n_ranks, owner);
}

void csi_deal_zigzag(int64_t n_blocks, int32_t n_ranks, int32_t *owner)
{
    deal_pieces(n_blocks, 2 * (int64_t)n_ranks, n_ranks, owner);
}

static cs_status deal_random(const csi_deal *deal, uint64_t seed,
                             int32_t *owner)
{
    const uint64_t stream = csi_hash64("distribution");
    int64_t *order = NULL;

    CS_TRY(csi_take(deal->scratch, deal->n_blocks, sizeof *order, &order));
    csi_rng_permute(seed, stream, order, deal->n_blocks);
    for (int64_t i = 0; i < deal->n_blocks; i++) {
        owner[order[i]] = (int32_t)(i % deal->n_ranks);
    }
    return CS_OK;
}

static cs_status check_costs(const cs_distribute_costs *costs)
{
    const double values[] = {costs->full_pair, costs->partial_pair,
                             costs->token};

    for (int i = 0; i < 3; i++) {
        CS_CHECK(isfinite(values[i]) && values[i] >= 0.0, CS_ERR_ARG,
                 "distribution: wanted costs of at least 0, got %g", values[i]);
    }
    return CS_OK;
}

static cs_status check(const cs_tile_map *map,
                       const cs_distribute_settings *settings)
{
    const int32_t n_ranks = settings->n_ranks;
    const bool takes_cap = settings->method == CS_DISTRIBUTE_BALANCED ||
                           settings->method == CS_DISTRIBUTE_OPTIMAL;

    CS_CHECK(settings->method >= 0 &&
                 settings->method < CS_DISTRIBUTE_METHOD_COUNT,
             CS_ERR_ARG, "distribution: no method has number %d",
             (int)settings->method);
    CS_CHECK(n_ranks >= 1 && n_ranks <= CS_DISTRIBUTE_MAX_RANKS, CS_ERR_ARG,
             "distribution: wanted 1 to %d ranks, got %" PRId32,
             CS_DISTRIBUTE_MAX_RANKS, n_ranks);
    CS_CHECK(map->q_tokens == map->k_tokens && map->q_block == map->k_block,
             CS_ERR_ARG,
             "distribution: wanted a square tile map, got %" PRId64
             " queries in blocks of %" PRId32 " and %" PRId64
             " keys in blocks of %" PRId32,
             map->q_tokens, map->q_block, map->k_tokens, map->k_block);
    CS_CHECK(map->q_tokens <= INT32_MAX, CS_ERR_ARG,
             "distribution: %" PRId64 " tokens, at most %d fit", map->q_tokens,
             INT32_MAX);
    CS_CHECK(settings->max_tokens >= 0, CS_ERR_ARG,
             "distribution: wanted max_tokens of 0 or more, got %" PRId64,
             settings->max_tokens);
    CS_CHECK(settings->max_tokens == 0 || takes_cap, CS_ERR_ARG,
             "distribution: %s holds no cap, got max_tokens %" PRId64,
             cs_distribution_method_name(settings->method),
             settings->max_tokens);
    if (settings->max_tokens > 0) {
        const int64_t held = settings->max_tokens / map->q_block;

        CS_CHECK(held > map->n_q_blocks / n_ranks ||
                     held * n_ranks == map->n_q_blocks,
                 CS_ERR_ARG,
                 "distribution: %" PRId32 " ranks of at most %" PRId64
                 " tokens cannot hold %" PRId64 " blocks of %" PRId32 " tokens",
                 n_ranks, settings->max_tokens, map->n_q_blocks, map->q_block);
    }
    return check_costs(&settings->costs);
}

static bool uses_costs(cs_distribution_method method)
{
    return method == CS_DISTRIBUTE_BALANCED ||
           method == CS_DISTRIBUTE_OPTIMAL || method == CS_DISTRIBUTE_LPT;
}

/* LPT weighs a block by its tiles, as the paper does. */
static cs_status price_blocks(csi_deal *deal,
                              const cs_distribute_settings *settings)
{
    const bool by_tiles = settings->method == CS_DISTRIBUTE_LPT;
    double *cost = NULL;
    double sum = 0.0;

    CS_TRY(csi_take(deal->scratch, deal->n_blocks, sizeof *cost, &cost));
    for (int64_t b = 0; b < deal->n_blocks; b++) {
        cost[b] = by_tiles ? (double)csi_block_tiles(deal->map, b)
                           : csi_block_cost(deal->map, &settings->costs, b);
        sum += cost[b];
        deal->dearest = fmax(deal->dearest, cost[b]);
    }
    deal->cost = cost;
    deal->mean = sum / deal->n_ranks;
    deal->lowest = fmax(deal->dearest, deal->mean);
    return CS_OK;
}

static cs_status deal_blocks(csi_deal *deal,
                             const cs_distribute_settings *settings,
                             int32_t *owner)
{
    if (uses_costs(settings->method)) {
        CS_TRY(price_blocks(deal, settings));
        if (deal->lowest == 0.0) { /* nothing to balance but tokens */
            csi_deal_uniform(deal->n_blocks, deal->n_ranks, owner);
            return CS_OK;
        }
    }
    switch (settings->method) {
    case CS_DISTRIBUTE_UNIFORM:
        csi_deal_uniform(deal->n_blocks, deal->n_ranks, owner);
        return CS_OK;
    case CS_DISTRIBUTE_ZIGZAG:
        csi_deal_zigzag(deal->n_blocks, deal->n_ranks, owner);
        return CS_OK;
    case CS_DISTRIBUTE_RANDOM:
        return deal_random(deal, settings->seed, owner);
    case CS_DISTRIBUTE_LPT:
        return csi_deal_lpt(deal, owner);
    case CS_DISTRIBUTE_BALANCED:
        return csi_deal_balanced(deal, owner);
    case CS_DISTRIBUTE_OPTIMAL:
    case CS_DISTRIBUTE_METHOD_COUNT:
        break;
    }
    return csi_deal_optimal(deal, owner);
}

/* Block and token lists, once owner[] is known. */
static cs_status list_tokens(cs_distribution *d)
{
    csi_hands hands = {0};
    int64_t at = 0;

    CS_TRY(csi_hands_of(d->arena, d->owner, d->n_blocks, d->n_ranks, &hands));
    for (int32_t r = 0; r < d->n_ranks; r++) {
        d->token_begin[r] = at;
        for (int64_t i = hands.begin[r]; i < hands.begin[r + 1]; i++) {
            const int64_t begin = (int64_t)hands.block[i] * d->block;
            const int64_t end = csi_min_i64(begin + d->block, d->n_tokens);

            for (int64_t t = begin; t < end; t++) {
                d->token[at++] = (int32_t)t;
            }
        }
    }
    d->token_begin[d->n_ranks] = at;
    d->block_begin = hands.begin;
    d->block_of = hands.block;
    return CS_OK;
}

cs_status cs_distribution_build(cs_distribution *d, const cs_tile_map *map,
                                const cs_distribute_settings *settings)
{
    csi_arena *arena = d->arena;

    CS_TRY(check(map, settings));
    csi_arena_reset(arena);
    *d = (cs_distribution){
        .n_tokens = map->q_tokens,
        .n_blocks = map->n_q_blocks,
        .block = map->q_block,
        .n_ranks = settings->n_ranks,
        .arena = arena,
    };
    csi_deal deal = {
        .map = map,
        .scratch = arena,
        .n_blocks = d->n_blocks,
        .n_ranks = d->n_ranks,
        .max_blocks = settings->max_tokens > 0
                          ? settings->max_tokens / map->q_block
                          : INT64_MAX,
    };

    CS_TRY(csi_take(arena, d->n_blocks, sizeof *d->owner, &d->owner));
    CS_TRY(csi_take(arena, (int64_t)d->n_ranks + 1, sizeof *d->token_begin,
                    &d->token_begin));
    CS_TRY(csi_take(arena, d->n_tokens, sizeof *d->token, &d->token));
    CS_TRY(deal_blocks(&deal, settings, d->owner));
    return list_tokens(d);
}
