/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The least makespan of few blocks, by depth-first branch and bound: blocks by
 * falling cost, each to every rank that stays below the best makespan so far;
 * of ranks that are alike (same work, as full) only the first. Recursion is as
 * deep as there are blocks, at most CS_DISTRIBUTE_OPTIMAL_BLOCKS.
 */
#include "internal.h"

#include <string.h>

typedef struct tree_search {
    const csi_deal *deal;
    const int32_t *order; /* blocks by falling cost */
    int64_t nodes_left;
    double best;
    double *load;   /* [n_ranks] */
    int64_t *count; /* [n_ranks] */
    int32_t *now;   /* [n_blocks] */
    int32_t *owner; /* [n_blocks]: of the best */
} tree_search;

static bool is_like_an_earlier(const tree_search *s, int32_t rank)
{
    for (int32_t r = 0; r < rank; r++) {
        if (s->load[r] == s->load[rank] && s->count[r] == s->count[rank]) {
            return true;
        }
    }
    return false;
}

static void descend(tree_search *s, int64_t depth, double makespan)
{
    const csi_deal *deal = s->deal;

    if (depth == deal->n_blocks) {
        s->best = makespan;
        memcpy(s->owner, s->now, (size_t)deal->n_blocks * sizeof *s->owner);
        return;
    }
    const int32_t block = s->order[depth];
    for (int32_t r = 0; r < deal->n_ranks; r++) {
        const double load = s->load[r] + deal->cost[block];

        if (load >= s->best * (1.0 - CSI_ROUNDING) ||
            s->count[r] == deal->max_blocks || is_like_an_earlier(s, r)) {
            continue;
        }
        if (--s->nodes_left < 0 ||
            s->best <= deal->lowest * (1.0 + CSI_ROUNDING)) {
            return;
        }
        const double before = s->load[r];
        s->now[block] = r;
        s->load[r] = load;
        s->count[r]++;
        descend(s, depth + 1, load > makespan ? load : makespan);
        s->load[r] = before;
        s->count[r]--;
    }
}

cs_status csi_search(const csi_deal *deal, int64_t n_nodes, int32_t *owner,
                     double *makespan, bool *is_settled)
{
    tree_search s = {
        .deal = deal,
        .nodes_left = n_nodes,
        .best = *makespan,
        .owner = owner,
    };
    int32_t *order = NULL;

    CS_TRY(csi_sort_by_cost(deal, &order));
    CS_TRY(csi_take(deal->scratch, deal->n_ranks, sizeof *s.load, &s.load));
    CS_TRY(csi_take(deal->scratch, deal->n_ranks, sizeof *s.count, &s.count));
    CS_TRY(csi_take(deal->scratch, deal->n_blocks, sizeof *s.now, &s.now));
    memset(s.load, 0, (size_t)deal->n_ranks * sizeof *s.load);
    memset(s.count, 0, (size_t)deal->n_ranks * sizeof *s.count);
    s.order = order;
    descend(&s, 0, 0.0);
    *makespan = s.best;
    *is_settled = s.nodes_left >= 0;
    return CS_OK;
}

cs_status csi_deal_optimal(const csi_deal *deal, int32_t *owner)
{
    const int64_t n_nodes = 50000000; /* a second */
    double *load = NULL;
    bool is_settled = false;

    CS_CHECK(deal->n_blocks <= CS_DISTRIBUTE_OPTIMAL_BLOCKS, CS_ERR_ARG,
             "distribution: optimal takes at most %d blocks, got %lld",
             CS_DISTRIBUTE_OPTIMAL_BLOCKS, (long long)deal->n_blocks);
    CS_TRY(csi_take(deal->scratch, deal->n_ranks, sizeof *load, &load));
    CS_TRY(csi_deal_lpt(deal, owner));
    double makespan = csi_makespan(deal, owner, load);
    CS_TRY(csi_search(deal, n_nodes, owner, &makespan, &is_settled));
    CS_CHECK(is_settled, CS_ERR_ARG,
             "distribution: optimal is not settled after %lld steps: %lld "
             "blocks for %d ranks",
             (long long)n_nodes, (long long)deal->n_blocks, (int)deal->n_ranks);
    return CS_OK;
}
