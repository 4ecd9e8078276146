/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Longest processing time first: blocks by falling cost, each to the rank with
 * the least so far, equal ranks by number. At most 4/3 - 1/(3 n) of the best
 * (Graham, Bounds on multiprocessing timing anomalies, 1969, theorem 3).
 * Ranks wait in a binary heap; one that is full leaves it.
 */
#include "internal.h"

#include <string.h>

typedef struct heap {
    int32_t n;
    int32_t *rank;
    double *load; /* [n_ranks], by rank */
} heap;

static bool comes_before(const heap *h, int32_t a, int32_t b)
{
    return h->load[a] < h->load[b] || (h->load[a] == h->load[b] && a < b);
}

static void sift_down(heap *h)
{
    int32_t at = 0;

    for (;;) {
        int32_t child = 2 * at + 1;

        if (child + 1 < h->n &&
            comes_before(h, h->rank[child + 1], h->rank[child])) {
            child++;
        }
        if (child >= h->n || comes_before(h, h->rank[at], h->rank[child])) {
            return;
        }
        const int32_t moved = h->rank[at];
        h->rank[at] = h->rank[child];
        h->rank[child] = moved;
        at = child;
    }
}

cs_status csi_deal_lpt(const csi_deal *deal, int32_t *owner)
{
    const int32_t n_ranks = deal->n_ranks;
    heap h = {.n = n_ranks};
    int32_t *order = NULL;
    int64_t *count = NULL;

    CS_TRY(csi_sort_by_cost(deal, &order));
    CS_TRY(csi_take(deal->scratch, n_ranks, sizeof *h.rank, &h.rank));
    CS_TRY(csi_take(deal->scratch, n_ranks, sizeof *h.load, &h.load));
    CS_TRY(csi_take(deal->scratch, n_ranks, sizeof *count, &count));
    for (int32_t r = 0; r < n_ranks; r++) {
        h.rank[r] = r;
        h.load[r] = 0.0;
        count[r] = 0;
    }
    for (int64_t i = 0; i < deal->n_blocks; i++) {
        const int32_t rank = h.rank[0];

        owner[order[i]] = rank;
        h.load[rank] += deal->cost[order[i]];
        count[rank]++;
        if (count[rank] == deal->max_blocks) {
            h.rank[0] = h.rank[--h.n];
        }
        sift_down(&h);
    }
    return CS_OK;
}
