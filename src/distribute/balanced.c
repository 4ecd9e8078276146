/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Balanced: within 2 % of the least makespan that can be found (1 % where a
 * search can find it, and never above zigzag or uniform), the fewest keys.
 *
 *     limit = 1.01 x the lower bound (mean or dearest block), or what zigzag or
 *             uniform reach, if that is less
 *     1. contiguous ranges within the limit, cut where few keys are cut off
 *     2. else ranges of equal shares, repaired towards the limit
 *     3. else, where the repairs end too far above it, also LPT, repaired,
 *        zigzag, uniform and, for few blocks, a search; of those that are near
 *        enough to the best of them, the one with the fewest keys
 */
#include "internal.h"

#include <math.h>
#include <string.h>

enum {
    SHARES = 0,
    ZIGZAG,
    UNIFORM,
    LPT,
    SEARCH,
    N_CANDIDATES,
    SEARCH_NODES = 20000 /* a fraction of a millisecond */
};

#define SLACK     0.01 /* that ranges may take, and of few blocks */
#define TOLERANCE 0.02 /* of many blocks */

typedef struct candidate {
    int32_t *owner;
    double makespan;
} candidate;

static cs_status count_moved(const csi_deal *deal, const int32_t *owner,
                             int64_t *out)
{
    csi_hands hands = {0};
    uint64_t *bits = NULL;
    int64_t n = 0;

    CS_TRY(csi_hands_of(deal->scratch, owner, deal->n_blocks, deal->n_ranks,
                        &hands));
    CS_TRY(csi_take(deal->scratch, csi_bits_words(deal->n_blocks), sizeof *bits,
                    &bits));
    for (int32_t r = 0; r < deal->n_ranks; r++) {
        n += csi_bits_needed(bits, deal->map, hands.block + hands.begin[r],
                             hands.begin[r + 1] - hands.begin[r]);
    }
    *out = n;
    return CS_OK;
}

/* How far above the best a makespan may be. */
static double tolerance(const csi_deal *deal)
{
    return deal->n_blocks <= CS_DISTRIBUTE_OPTIMAL_BLOCKS ? SLACK : TOLERANCE;
}

static cs_status choose(const csi_deal *deal, const candidate *c,
                        int32_t *owner)
{
    const candidate *chosen = NULL;
    double least = HUGE_VAL;
    int64_t fewest = 0;

    for (int i = 0; i < N_CANDIDATES; i++) {
        least = fmin(least, c[i].makespan);
    }
    const double limit = fmin(least * (1.0 + tolerance(deal)),
                              fmin(c[ZIGZAG].makespan, c[UNIFORM].makespan));
    for (int i = 0; i < N_CANDIDATES; i++) {
        int64_t n = 0;

        if (c[i].makespan > limit * (1.0 + CSI_ROUNDING)) {
            continue;
        }
        CS_TRY(count_moved(deal, c[i].owner, &n));
        if (chosen == NULL || n < fewest) {
            chosen = &c[i];
            fewest = n;
        }
    }
    if (chosen != NULL && chosen->owner != owner) {
        memcpy(owner, chosen->owner, (size_t)deal->n_blocks * sizeof *owner);
    }
    return CS_OK;
}

/* Step 3. The shares are in `owner`; zigzag and uniform are known too. */
static cs_status compare(const csi_deal *deal, double limit, candidate *c,
                         double *load, int32_t *owner)
{
    bool is_settled = false;

    for (int i = LPT; i < N_CANDIDATES; i++) {
        CS_TRY(csi_take(deal->scratch, deal->n_blocks, sizeof *c[i].owner,
                        &c[i].owner));
    }
    CS_TRY(csi_deal_lpt(deal, c[LPT].owner));
    CS_TRY(csi_improve(deal, limit, c[LPT].owner));
    c[LPT].makespan = csi_makespan(deal, c[LPT].owner, load);
    c[SEARCH].makespan = HUGE_VAL;
    if (deal->n_blocks <= CS_DISTRIBUTE_OPTIMAL_BLOCKS) {
        c[SEARCH].makespan = c[LPT].makespan;
        memcpy(c[SEARCH].owner, c[LPT].owner,
               (size_t)deal->n_blocks * sizeof *c[SEARCH].owner);
        CS_TRY(csi_search(deal, SEARCH_NODES, c[SEARCH].owner,
                          &c[SEARCH].makespan, &is_settled));
    }
    return choose(deal, c, owner);
}

cs_status csi_deal_balanced(const csi_deal *deal, int32_t *owner)
{
    candidate c[N_CANDIDATES] = {{.owner = owner}};
    double *load = NULL;
    bool is_within = false;
    int64_t start = 0;

    CS_TRY(csi_take(deal->scratch, deal->n_ranks, sizeof *load, &load));
    for (int i = ZIGZAG; i <= UNIFORM; i++) {
        CS_TRY(csi_take(deal->scratch, deal->n_blocks, sizeof *c[i].owner,
                        &c[i].owner));
    }
    csi_deal_zigzag(deal->n_blocks, deal->n_ranks, c[ZIGZAG].owner);
    csi_deal_uniform(deal->n_blocks, deal->n_ranks, c[UNIFORM].owner);
    c[ZIGZAG].makespan = csi_makespan(deal, c[ZIGZAG].owner, load);
    c[UNIFORM].makespan = csi_makespan(deal, c[UNIFORM].owner, load);
    const double simple = fmin(c[ZIGZAG].makespan, c[UNIFORM].makespan);
    const double limit = fmin(deal->lowest * (1.0 + SLACK), simple);

    CS_TRY(csi_deal_ranges(deal, limit, owner, &is_within, &start));
    if (is_within) {
        return CS_OK;
    }
    CS_TRY(csi_deal_shares(deal, start, owner));
    CS_TRY(csi_improve(deal, limit, owner));
    c[SHARES].makespan = csi_makespan(deal, owner, load);
    if (c[SHARES].makespan <= limit * (1.0 + CSI_ROUNDING) ||
        c[SHARES].makespan <=
            fmin(deal->lowest * (1.0 + tolerance(deal)), c[ZIGZAG].makespan)) {
        return CS_OK;
    }
    return compare(deal, limit, c, load, owner);
}
