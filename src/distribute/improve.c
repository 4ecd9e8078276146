/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local search: the busiest rank gives a block to another rank and takes some
 * of that rank's blocks for it (none, one, or several cheaper ones), until it
 * is within the limit.
 *
 * Each rank's blocks hang in a list by falling cost, so what the taker gives
 * back is found by one walk over its list: each block that still fits into
 * what remains. Takers near the giver are asked first, because they see the
 * same keys; of the exchanges that bring both within the limit the one that
 * brings the fewest new keys is made. Without one, the exchange that leaves
 * the least excess. The busiest rank only ever loses work, so this ends; a
 * budget of steps ends it sooner where it is slow.
 */
#include "base/checked.h"

#include "internal.h"

#include <math.h>
#include <string.h>

enum {
    NONE = -1,
    MAX_BACK = 16, /* blocks that come back */
    MAX_TRIED = 4, /* blocks for which several may come back */
    STEPS_PER_BLOCK = 32
};

typedef struct search {
    const csi_deal *deal;
    double limit;
    double *load;   /* [n_ranks] */
    int64_t *count; /* [n_ranks] */
    int32_t *owner; /* [n_blocks] */
    int32_t *head;  /* [n_ranks]: dearest block of a rank */
    int32_t *next;  /* [n_blocks] */
    int64_t n_words;
    uint64_t *keys; /* [n_ranks][n_words]: own or seen */
    int64_t steps_left;
} search;

/* Block `give` for blocks back[n_back] of the taker. */
typedef struct exchange {
    int32_t taker, give;
    int32_t n_back;
    int32_t back[MAX_BACK];
    double excess; /* of the busier of the two over the limit, after */
    int64_t n_new; /* keys; only counted without excess */
} exchange;

static uint64_t *keys_of(const search *s, int32_t rank)
{
    return s->keys + (int64_t)rank * s->n_words;
}

static int64_t count_new(search *s, int32_t rank, int32_t block)
{
    s->steps_left -= s->n_words / 16;
    return csi_bits_count_new(keys_of(s, rank), s->deal->map, block);
}

static void hand_over(search *s, int32_t block, int32_t from, int32_t to)
{
    const double *cost = s->deal->cost;
    int32_t *link = &s->head[from];

    while (*link != block) {
        link = &s->next[*link];
    }
    *link = s->next[block];
    link = &s->head[to];
    while (*link != NONE && cost[*link] > cost[block]) {
        link = &s->next[*link];
    }
    s->next[block] = *link;
    *link = block;
    s->owner[block] = to;
    s->load[from] -= cost[block];
    s->load[to] += cost[block];
    s->count[from]--;
    s->count[to]++;
    csi_bits_set(keys_of(s, to), block, (int64_t)block + 1);
    csi_bits_see(keys_of(s, to), s->deal->map, block);
}

/* Keeps the better of *best and *e, which moves `moved` work. */
static void consider(search *s, int32_t giver, double moved, exchange *e,
                     exchange *best)
{
    const double after =
        fmax(s->load[giver] - moved, s->load[e->taker] + moved);
    const int64_t max_blocks = s->deal->max_blocks;

    e->excess = fmax(after - s->limit, 0.0);
    if (moved <= 0.0 || e->excess > best->excess ||
        s->count[e->taker] + 1 - e->n_back > max_blocks ||
        s->count[giver] - 1 + e->n_back > max_blocks) {
        return;
    }
    if (e->excess > 0.0) {
        if (e->excess < best->excess) {
            *best = *e;
        }
        return;
    }
    e->n_new = count_new(s, e->taker, e->give);
    for (int32_t i = 0; i < e->n_back; i++) {
        e->n_new += count_new(s, giver, e->back[i]);
    }
    if (best->excess > 0.0 || e->n_new < best->n_new) {
        *best = *e;
    }
}

/* What the giver takes for `give`: blocks of the taker from `first` on that
 * sum up to about what evens the two out. Returns the work that moves. */
static double take_back(search *s, int32_t first, double wanted, exchange *e)
{
    const double *cost = s->deal->cost;
    double rest = cost[e->give] - wanted;
    double moved = cost[e->give];

    e->n_back = 0;
    for (int32_t b = first; b != NONE && e->n_back < MAX_BACK && rest > 0.0;
         b = s->next[b]) {
        s->steps_left--;
        if (cost[b] > 0.0 && cost[b] <= rest) {
            e->back[e->n_back++] = b;
            rest -= cost[b];
            moved -= cost[b];
        }
    }
    return moved;
}

/* A block for none or for one. */
static void try_one(search *s, int32_t giver, int32_t taker, exchange *best)
{
    const double *cost = s->deal->cost;
    const double half = (s->load[giver] - s->load[taker]) / 2.0;
    exchange e = {.taker = taker};
    int32_t fitting = s->head[taker]; /* dearest that may come back */
    int32_t above = NONE;             /* the one before it */

    s->steps_left -= s->count[giver] + s->count[taker];
    for (e.give = s->head[giver]; e.give != NONE; e.give = s->next[e.give]) {
        const double price = cost[e.give];

        while (fitting != NONE && cost[fitting] > price - half) {
            above = fitting;
            fitting = s->next[fitting];
        }
        e.n_back = 0;
        consider(s, giver, price, &e, best);
        e.n_back = 1;
        if (fitting != NONE) {
            e.back[0] = fitting;
            consider(s, giver, price - cost[fitting], &e, best);
        }
        if (above != NONE) {
            e.back[0] = above;
            consider(s, giver, price - cost[above], &e, best);
        }
    }
}

/* A block, one of the dearest, for several. */
static void try_several(search *s, int32_t giver, int32_t taker, exchange *best)
{
    const double *cost = s->deal->cost;
    const double half = (s->load[giver] - s->load[taker]) / 2.0;
    exchange e = {.taker = taker};
    int32_t n_tried = 0;
    double last = -1.0;

    for (e.give = s->head[giver]; e.give != NONE && n_tried < MAX_TRIED;
         e.give = s->next[e.give]) {
        if (cost[e.give] != last) {
            const double moved = take_back(s, s->head[taker], half, &e);

            consider(s, giver, moved, &e, best);
            n_tried++;
        }
        last = cost[e.give];
    }
}

/* Asks the ranks that have at most max_load, the nearest first. */
static void ask(search *s, int32_t giver, double max_load, exchange *best)
{
    const int32_t n_ranks = s->deal->n_ranks;

    for (int32_t distance = 1;
         distance < n_ranks && best->excess > 0.0 && s->steps_left > 0;
         distance++) {
        for (int32_t side = -1; side <= 1; side += 2) {
            const int32_t taker = giver + side * distance;

            if (taker < 0 || taker >= n_ranks || s->load[taker] > max_load) {
                continue;
            }
            try_one(s, giver, taker, best);
            if (best->excess > 0.0) {
                try_several(s, giver, taker, best);
            }
        }
    }
}

/* Makes one exchange; false when none helps. First those ranks are asked that
 * have room for all of the excess, then all that have less than the giver. */
static bool relieve(search *s, int32_t giver)
{
    const double load = s->load[giver];
    const double with_room = 2.0 * s->limit - load;
    exchange best = {
        .give = NONE,
        .excess = (load - s->limit) * (1.0 - CSI_ROUNDING),
    };

    ask(s, giver, with_room, &best);
    if (best.give == NONE) {
        ask(s, giver, load * (1.0 - CSI_ROUNDING), &best);
    }
    if (best.give == NONE) {
        return false;
    }
    hand_over(s, best.give, giver, best.taker);
    for (int32_t i = 0; i < best.n_back; i++) {
        hand_over(s, best.back[i], best.taker, giver);
    }
    return true;
}

static int32_t busiest(const search *s)
{
    int32_t most = 0;

    for (int32_t r = 1; r < s->deal->n_ranks; r++) {
        most = s->load[r] > s->load[most] ? r : most;
    }
    return most;
}

static cs_status prepare(search *s)
{
    const csi_deal *deal = s->deal;
    csi_arena *scratch = deal->scratch;
    int32_t *order = NULL;

    CS_TRY(csi_sort_by_cost(deal, &order));
    CS_TRY(csi_take(scratch, deal->n_ranks, sizeof *s->load, &s->load));
    CS_TRY(csi_take(scratch, deal->n_ranks, sizeof *s->count, &s->count));
    CS_TRY(csi_take(scratch, deal->n_ranks, sizeof *s->head, &s->head));
    CS_TRY(csi_take(scratch, deal->n_blocks, sizeof *s->next, &s->next));
    CS_TRY(csi_take(scratch, deal->n_ranks * s->n_words, sizeof *s->keys,
                    &s->keys));
    memset(s->keys, 0, (size_t)(deal->n_ranks * s->n_words) * sizeof *s->keys);
    for (int32_t r = 0; r < deal->n_ranks; r++) {
        s->head[r] = NONE;
        s->load[r] = 0.0;
        s->count[r] = 0;
    }
    for (int64_t i = deal->n_blocks; i-- > 0;) { /* cheapest first */
        const int32_t block = order[i];
        const int32_t rank = s->owner[block];

        s->next[block] = s->head[rank];
        s->head[rank] = block;
        s->load[rank] += deal->cost[block];
        s->count[rank]++;
        csi_bits_set(keys_of(s, rank), block, (int64_t)block + 1);
        csi_bits_see(keys_of(s, rank), deal->map, block);
    }
    return CS_OK;
}

cs_status csi_improve(const csi_deal *deal, double limit, int32_t *owner)
{
    search s = {
        .deal = deal,
        .limit = limit,
        .owner = owner,
        .n_words = csi_bits_words(deal->n_blocks),
        .steps_left = STEPS_PER_BLOCK * (deal->n_blocks + deal->n_ranks),
    };
    const csi_arena_mark mark = csi_arena_save(deal->scratch);
    const cs_status st = prepare(&s);

    while (st == CS_OK && s.steps_left > 0) {
        const int32_t giver = busiest(&s);

        s.steps_left -= deal->n_ranks;
        if (s.load[giver] <= limit || !relieve(&s, giver)) {
            break;
        }
    }
    csi_arena_rewind(deal->scratch, mark);
    CS_TRY(st);
    return CS_OK;
}
