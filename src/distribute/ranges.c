/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contiguous ranges of blocks, one per rank in order: neighbours in a document
 * see the same keys, so ranges need few keys of others.
 *
 * First the least makespan, by bisection: ranges filled greedily up to a limit
 * reach the end or do not. Then, among all ranges within the limit, the cuts
 * that separate queries from the fewest keys, by dynamic programming over
 * where range r may end:
 *
 *     best[r][end] = min over begin, range [begin, end) within the limit,
 *                    of best[r - 1][begin] + price[begin]
 *
 * The price of a cut is an estimate: how far back the rows of about one range
 * to its right see, and how far forward those to its left. The minimum runs
 * over a sliding window, so a rank costs what its window is wide.
 *
 * Ranges may begin anywhere between two documents and go on from the end to the
 * first block. With few documents it matters which of them are cut, so every
 * such beginning is tried; with many, any will do.
 */
#include "base/checked.h"

#include "internal.h"

#include <math.h>
#include <string.h>

/* The least value among the entries that are still inside. */
typedef struct window_min {
    int64_t *at;
    double *value;
    int64_t head, tail;
} window_min;

enum {
    MAX_STARTS = 8
};

typedef struct ranges {
    const csi_deal *deal;
    int64_t start; /* block at place 0; places are counted below */
    double *sum;   /* [n_blocks + 1]: cost of the places before */
    double *price; /* [n_blocks + 1]: of a cut before the block */
    window_min window;
    int64_t *end;        /* [n_ranks + 1]: the greedy cuts */
    int64_t *low, *high; /* [n_ranks + 1]: where cuts are looked for */
    double *best[2];     /* [widest window] */
    int32_t *from;       /* of all windows: begin of the best range */
    int64_t *from_begin; /* [n_ranks + 2] */
} ranges;

static void push(window_min *w, int64_t at, double value)
{
    while (w->tail > w->head && w->value[w->tail - 1] > value) {
        w->tail--;
    }
    w->at[w->tail] = at;
    w->value[w->tail] = value;
    w->tail++;
}

static void drop_before(window_min *w, int64_t at)
{
    while (w->head < w->tail && w->at[w->head] < at) {
        w->head++;
    }
}

static int64_t block_at(const ranges *r, int64_t place)
{
    const int64_t block = r->start + place;

    return block < r->deal->n_blocks ? block : block - r->deal->n_blocks;
}

static void start_at(ranges *r, int64_t start)
{
    r->start = start;
    r->sum[0] = 0.0;
    for (int64_t i = 0; i < r->deal->n_blocks; i++) {
        r->sum[i + 1] = r->sum[i] + r->deal->cost[block_at(r, i)];
    }
}

static bool fits(const ranges *r, int64_t begin, int64_t end, double limit)
{
    return end - begin <= r->deal->max_blocks &&
           r->sum[end] - r->sum[begin] <= limit * (1.0 + CSI_ROUNDING);
}

/* The largest end of a range from `begin` that fits. */
static int64_t furthest(const ranges *r, int64_t begin, double limit)
{
    int64_t good = begin;
    int64_t bad = r->deal->n_blocks + 1;

    while (bad - good > 1) {
        const int64_t middle = good + (bad - good) / 2;

        if (fits(r, begin, middle, limit)) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    return good;
}

/* Fills end[] greedily; do the ranges reach the last block? */
static bool fill_greedily(const ranges *r, double limit, int64_t *end)
{
    end[0] = 0;
    for (int32_t rank = 0; rank < r->deal->n_ranks; rank++) {
        end[rank + 1] = furthest(r, end[rank], limit);
    }
    return end[r->deal->n_ranks] == r->deal->n_blocks;
}

/* Within 0.1 % of the least; leaves its cuts in end[]. */
static double least_makespan(const ranges *r)
{
    double low = r->deal->lowest;
    double high = low;

    if (fill_greedily(r, low, r->end)) {
        return low;
    }
    high += r->deal->dearest; /* without a cap this is enough */
    while (!fill_greedily(r, high, r->end)) {
        high *= 2.0;
    }
    while (high - low > 1e-3 * r->deal->lowest) {
        const double middle = low + (high - low) / 2.0;

        if (fill_greedily(r, middle, r->end)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    (void)fill_greedily(r, high, r->end);
    return high;
}

/* Keys that a cut before each block separates from queries near to it. */
static void price_cuts(ranges *r, int64_t reach)
{
    const cs_tile_map *map = r->deal->map;
    const int64_t n = r->deal->n_blocks;
    window_min *w = &r->window;

    /* To the left: the least first key of rows b .. b + reach - 1. Rows come
     * in falling order, so they are numbered from the end. */
    w->head = w->tail = 0;
    r->price[n] = 0.0;
    for (int64_t b = n; b-- > 0;) {
        const int64_t i = map->row_begin[b];
        const bool is_empty = i == map->row_begin[b + 1];

        push(w, n - b, is_empty ? (double)b : (double)map->runs[i].first);
        drop_before(w, n - b - reach + 1);
        const double least = w->value[w->head];
        r->price[b] = least < (double)b ? (double)b - least : 0.0;
    }
    /* To the right: the greatest last key of rows b - reach .. b - 1. */
    w->head = w->tail = 0;
    for (int64_t b = 1; b < n; b++) {
        const int64_t i = map->row_begin[b];
        const bool is_empty = i == map->row_begin[b - 1];

        push(w, b, is_empty ? -(double)b : -(double)map->runs[i - 1].last);
        drop_before(w, b - reach + 1);
        const double most = -w->value[w->head];
        r->price[b] += most > (double)b ? most - (double)b : 0.0;
    }
}

/* Where each cut may lie: between the greedy fillings from both ends, and not
 * further than `reach` from the cuts in end[], which keeps one solution. */
static void bound_cuts(const ranges *r, double limit, int64_t reach)
{
    const int32_t n_ranks = r->deal->n_ranks;
    const int64_t n = r->deal->n_blocks;
    int64_t at = n;

    (void)fill_greedily(r, limit, r->high);
    r->low[n_ranks] = n;
    for (int32_t rank = n_ranks; rank-- > 0;) {
        int64_t bad = csi_max_i64(-1, at - r->deal->max_blocks - 1);
        int64_t good = at;

        while (good - bad > 1) {
            const int64_t middle = bad + (good - bad) / 2;

            if (fits(r, middle, at, limit)) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        at = good;
        r->low[rank] = csi_max_i64(at, r->end[rank] - reach);
    }
    for (int32_t rank = 0; rank <= n_ranks; rank++) {
        r->high[rank] = csi_min_i64(r->high[rank], r->end[rank] + reach);
        r->low[rank] = csi_min_i64(r->low[rank], r->end[rank]);
        r->high[rank] = csi_max_i64(r->high[rank], r->end[rank]);
    }
    r->low[0] = r->high[0] = 0;
}

/* best[rank] from best[rank - 1]. */
static void extend(ranges *r, int32_t rank, double limit)
{
    window_min *w = &r->window;
    const double *before = r->best[(rank + 1) % 2];
    double *best = r->best[rank % 2];
    int32_t *from = r->from + r->from_begin[rank];
    int64_t next = r->low[rank - 1];

    w->head = w->tail = 0;
    for (int64_t end = r->low[rank]; end <= r->high[rank]; end++) {
        for (; next <= csi_min_i64(end, r->high[rank - 1]); next++) {
            push(w, next,
                 before[next - r->low[rank - 1]] + r->price[block_at(r, next)]);
        }
        while (w->head < w->tail && !fits(r, w->at[w->head], end, limit)) {
            w->head++;
        }
        const bool is_found = w->head < w->tail;
        best[end - r->low[rank]] = is_found ? w->value[w->head] : HUGE_VAL;
        from[end - r->low[rank]] = is_found ? (int32_t)w->at[w->head] : 0;
    }
}

/* Leaves the cuts in end[] and their price in *price. */
static cs_status choose_cuts(ranges *r, double limit, int64_t reach,
                             double *price)
{
    const int32_t n_ranks = r->deal->n_ranks;
    csi_arena *scratch = r->deal->scratch;
    int64_t widest = 1;

    bound_cuts(r, limit, reach);
    r->from_begin[0] = 0;
    for (int32_t rank = 0; rank <= n_ranks; rank++) {
        const int64_t width = r->high[rank] - r->low[rank] + 1;

        widest = csi_max_i64(widest, width);
        r->from_begin[rank + 1] = r->from_begin[rank] + width;
    }
    CS_TRY(csi_take(scratch, widest, sizeof(double), &r->best[0]));
    CS_TRY(csi_take(scratch, widest, sizeof(double), &r->best[1]));
    CS_TRY(csi_take(scratch, r->from_begin[n_ranks + 1], sizeof *r->from,
                    &r->from));
    r->best[0][0] = 0.0;
    for (int32_t rank = 1; rank <= n_ranks; rank++) {
        extend(r, rank, limit);
    }
    *price = r->best[n_ranks % 2][0];
    for (int32_t rank = n_ranks; rank > 0; rank--) {
        const int64_t at = r->from_begin[rank] + r->end[rank] - r->low[rank];

        r->end[rank - 1] = r->from[at];
    }
    return CS_OK;
}

static cs_status prepare(const csi_deal *deal, ranges *r)
{
    const int64_t n = deal->n_blocks + 1;
    const int64_t n_ends = (int64_t)deal->n_ranks + 2;

    *r = (ranges){.deal = deal};
    CS_TRY(csi_take(deal->scratch, n, sizeof *r->sum, &r->sum));
    CS_TRY(csi_take(deal->scratch, n, sizeof *r->price, &r->price));
    CS_TRY(csi_take(deal->scratch, n, sizeof(int64_t), &r->window.at));
    CS_TRY(csi_take(deal->scratch, n, sizeof(double), &r->window.value));
    CS_TRY(csi_take(deal->scratch, n_ends, sizeof *r->end, &r->end));
    CS_TRY(csi_take(deal->scratch, n_ends, sizeof *r->low, &r->low));
    CS_TRY(csi_take(deal->scratch, n_ends, sizeof *r->high, &r->high));
    CS_TRY(csi_take(deal->scratch, n_ends, sizeof *r->from_begin,
                    &r->from_begin));
    return CS_OK;
}

/* Blocks before which a document begins and none goes on, but for the block
 * above, which two may share (the price of the cut counts that); the first
 * block alone where there are too many. */
static int32_t find_starts(ranges *r, int64_t starts[MAX_STARTS])
{
    const cs_tile_map *map = r->deal->map;
    const int64_t n = r->deal->n_blocks;
    int64_t *first = r->window.at; /* least key of this row and those below */
    int64_t last = 0; /* greatest key of the rows above, but for the next */
    int32_t n_starts = 1;

    first[n] = n;
    for (int64_t b = n; b-- > 0;) {
        const int64_t i = map->row_begin[b];
        const bool is_empty = i == map->row_begin[b + 1];

        first[b] = is_empty ? first[b + 1]
                            : csi_min_i64(first[b + 1], map->runs[i].first);
    }
    starts[0] = 0;
    for (int64_t b = 1; b < n; b++) {
        if (b > 1 && map->row_begin[b - 1] > map->row_begin[b - 2]) {
            last = csi_max_i64(last, map->runs[map->row_begin[b - 1] - 1].last);
        }
        if (last > b || first[b] < b - 1) {
            continue;
        }
        if (n_starts == MAX_STARTS) {
            return 1;
        }
        starts[n_starts++] = b;
    }
    return n_starts;
}

/* What cuts at equal shares would cost. */
static double price_of_shares(const ranges *r)
{
    const double share = r->deal->mean * (1.0 - CSI_ROUNDING);
    double price = 0.0;
    int64_t at = 0;

    for (int32_t rank = 0; rank < r->deal->n_ranks; rank++) {
        while (at < r->deal->n_blocks && r->sum[at] < share * rank) {
            at++;
        }
        price += r->price[block_at(r, at)];
    }
    return price;
}

cs_status csi_deal_ranges(const csi_deal *deal, double limit, int32_t *owner,
                          bool *is_within, int64_t *start)
{
    const int64_t per_rank = deal->n_blocks / deal->n_ranks + 1;
    const int64_t reach = 8 * per_rank + 64;
    double least[2] = {HUGE_VAL, HUGE_VAL}; /* by is_within */
    int64_t starts[MAX_STARTS];
    ranges r;

    CS_TRY(prepare(deal, &r));
    const int32_t n_starts = find_starts(&r, starts);
    price_cuts(&r, per_rank);
    *is_within = false;
    for (int32_t i = 0; i < n_starts; i++) {
        double price = 0.0;

        start_at(&r, starts[i]);
        const bool fits_in = least_makespan(&r) <= limit;
        if (fits_in) {
            CS_TRY(choose_cuts(&r, limit, reach, &price));
        } else {
            price = price_of_shares(&r);
        }
        if (price >= least[fits_in] || (*is_within && !fits_in)) {
            continue;
        }
        least[fits_in] = price;
        *is_within = fits_in;
        *start = starts[i];
        for (int32_t rank = 0; rank < deal->n_ranks; rank++) {
            for (int64_t at = r.end[rank]; at < r.end[rank + 1]; at++) {
                owner[block_at(&r, at)] = rank;
            }
        }
    }
    return CS_OK;
}
