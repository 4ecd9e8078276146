/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Equal shares of the work, in order: a start for repairs, about half of the
 * ranks above the mean and half below.
 *
 * Without a cap these are contiguous ranges. With one, a range of light blocks
 * would be over-full before it has its share. So blocks lighter than the mean
 * of a full rank are dealt beside the heavy ones, both in order: a rank takes
 * light blocks as long as the heavy ones that still fit could make up its
 * share, then heavy ones.
 *
 *     light  |0000|11112222|33|            rank 0 takes few heavy blocks, rank
 *     heavy       |00|1|2|333|4444|5555|   3 more, ranks 4 and 5 no light ones
 */
#include "internal.h"

#include <math.h>

typedef struct cursor {
    int32_t *block;
    int64_t n, at;
} cursor;

typedef struct shares {
    const csi_deal *deal;
    int32_t *owner;
    cursor light, heavy;
    double done; /* work dealt so far */
} shares;

static int64_t left(const cursor *c)
{
    return c->n - c->at;
}

static double next_cost(const shares *s, const cursor *c)
{
    return s->deal->cost[c->block[c->at]];
}

static void take(shares *s, cursor *c, int32_t rank)
{
    s->done += next_cost(s, c);
    s->owner[c->block[c->at++]] = rank;
}

/* `until`: the work of all ranks up to this one. */
static void fill(shares *s, int32_t rank, double until, int64_t room)
{
    while (left(&s->light) > 0 && room > 0) {
        const double heavy = left(&s->heavy) > 0 ? next_cost(s, &s->heavy) : 0;
        const double reach =
            s->done + next_cost(s, &s->light) + heavy * (double)(room - 1);

        if (left(&s->heavy) > 0 && reach < until) {
            break;
        }
        take(s, &s->light, rank);
        room--;
    }
    while (left(&s->heavy) > 0 && room > 0 &&
           s->done + next_cost(s, &s->heavy) / 2.0 <= until) {
        take(s, &s->heavy, rank);
        room--;
    }
}

/* What is left goes where there is room. */
static void deal_rest(shares *s, cursor *c, int64_t *room)
{
    for (int32_t rank = s->deal->n_ranks - 1; left(c) > 0 && rank >= 0;) {
        if (room[rank] == 0) {
            rank--;
            continue;
        }
        take(s, c, rank);
        room[rank]--;
    }
}

cs_status csi_deal_shares(const csi_deal *deal, int64_t start, int32_t *owner)
{
    const double light = deal->mean / (double)deal->max_blocks;
    shares s = {.deal = deal, .owner = owner};
    int64_t *room = NULL;

    CS_TRY(csi_take(deal->scratch, deal->n_ranks, sizeof *room, &room));
    CS_TRY(csi_take(deal->scratch, deal->n_blocks, sizeof(int32_t),
                    &s.light.block));
    CS_TRY(csi_take(deal->scratch, deal->n_blocks, sizeof(int32_t),
                    &s.heavy.block));
    for (int64_t i = 0; i < deal->n_blocks; i++) {
        const int64_t b = (start + i) % deal->n_blocks;
        cursor *c = deal->cost[b] < light ? &s.light : &s.heavy;

        c->block[c->n++] = (int32_t)b;
    }
    for (int32_t rank = 0; rank < deal->n_ranks; rank++) {
        const int64_t before = s.light.at + s.heavy.at;

        fill(&s, rank, deal->mean * (rank + 1), deal->max_blocks);
        room[rank] = deal->max_blocks - (s.light.at + s.heavy.at - before);
    }
    deal_rest(&s, &s.light, room);
    deal_rest(&s, &s.heavy, room);
    return CS_OK;
}
