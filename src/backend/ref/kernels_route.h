/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing of a mixture of experts, row by row. The k chosen are found one
 * after the other: `>` alone makes ties go to the lower number, and leaves a
 * valid choice where probabilities are not numbers. See ref.h.
 */

static void NAME(route_softmax)(const cs_route_args *a, int64_t t, REAL *p_E)
{
    const STORE *logit_E = (const STORE *)a->logits_TE + t * a->experts;
    REAL largest = LOAD(logit_E[0]);
    REAL total = 0;

    for (int32_t e = 1; e < a->experts; e++) {
        const REAL logit = LOAD(logit_E[e]);
        largest = logit > largest ? logit : largest;
    }
    for (int32_t e = 0; e < a->experts; e++) {
        p_E[e] = exp(LOAD(logit_E[e]) - largest);
        total += p_E[e];
    }
    for (int32_t e = 0; e < a->experts; e++) {
        p_E[e] /= total;
    }
}

/* The largest p of those not among the first n chosen. */
static int32_t NAME(route_next)(const cs_route_args *a, const REAL *p_E,
                                const int32_t *chosen, int32_t n)
{
    int32_t best = -1;

    for (int32_t e = 0; e < a->experts; e++) {
        bool is_taken = false;

        for (int32_t i = 0; i < n; i++) {
            is_taken = is_taken || chosen[i] == e;
        }
        if (!is_taken && (best < 0 || p_E[e] > p_E[best])) {
            best = e;
        }
    }
    return best;
}

static REAL NAME(route_divisor)(const cs_route_args *a, const REAL *p_E,
                                const int32_t *expert_K)
{
    REAL total = 0;

    for (int32_t j = 0; a->normalises && j < a->top_k; j++) {
        total += p_E[expert_K[j]];
    }
    return a->normalises ? total : 1;
}

static void NAME(route)(const cs_route_args *a)
{
    for (int64_t t = 0; t < a->rows; t++) {
        REAL *p_E = (REAL *)a->p_TE + t * a->experts;
        REAL *weight_K = (REAL *)a->weight_TK + t * a->top_k;
        int32_t *expert_K = a->expert_TK + t * a->top_k;

        NAME(route_softmax)(a, t, p_E);
        for (int32_t j = 0; j < a->top_k; j++) {
            expert_K[j] = NAME(route_next)(a, p_E, expert_K, j);
        }
        const REAL divisor = NAME(route_divisor)(a, p_E, expert_K);
        for (int32_t j = 0; j < a->top_k; j++) {
            weight_K[j] = p_E[expert_K[j]] / divisor;
        }
    }
}

/* With S = sum of the chosen p (1 unless normalised) and m = sum dweight
 * weight (0 unless normalised):
 *   dp[chosen j] += (dweight_j - m) / S,
 *   dlogit = p (dp - sum p dp). */
static void NAME(route_backward)(const cs_route_args *a, REAL *dp_E)
{
    for (int64_t t = 0; t < a->rows; t++) {
        const REAL *p_E = (const REAL *)a->p_TE + t * a->experts;
        const REAL *dweight_K = (const REAL *)a->dweight_TK + t * a->top_k;
        const int32_t *expert_K = a->expert_TK + t * a->top_k;
        const REAL divisor = NAME(route_divisor)(a, p_E, expert_K);
        STORE *dlogit_E = (STORE *)a->dlogits_TE + t * a->experts;
        REAL mean = 0;
        REAL total = 0;

        for (int32_t e = 0; e < a->experts; e++) {
            dp_E[e] = a->dp_TE != NULL
                          ? ((const REAL *)a->dp_TE)[t * a->experts + e]
                          : 0;
        }
        for (int32_t j = 0; a->normalises && j < a->top_k; j++) {
            mean += dweight_K[j] * p_E[expert_K[j]] / divisor;
        }
        for (int32_t j = 0; j < a->top_k; j++) {
            dp_E[expert_K[j]] += (dweight_K[j] - mean) / divisor;
        }
        for (int32_t e = 0; e < a->experts; e++) {
            total += p_E[e] * dp_E[e];
        }
        for (int32_t e = 0; e < a->experts; e++) {
            dlogit_E[e] = ROUND(p_E[e] * (dp_E[e] - total));
        }
    }
}
