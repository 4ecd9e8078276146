/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Summaries of token ranges and the exact count between two ranges. The count
 * goes by runs of equal word and consecutive positions: between two such runs
 * the rule depends on position(q) - position(k) alone, and pairs of a given
 * difference are counted by formula.
 */
#include "summary.h"

#include "base/checked.h"

enum {
    NO_MIN = 1 << 30 /* above every document and span */
};

static int32_t field(uint64_t word, int shift)
{
    return (int32_t)((word >> shift) & 0xffffU);
}

static int32_t min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t max_i32(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static csi_mask_summary nothing(void)
{
    return (csi_mask_summary){
        .document_min = NO_MIN,
        .document_max = 0,
        .span_min = NO_MIN,
        .span_max = 0,
        .position_min = INT32_MAX,
        .position_max = INT32_MIN,
        .sees_and = 0xffff,
    };
}

/* The summary of tokens that share one word. */
static csi_mask_summary of_word(uint64_t word, int32_t position_min,
                                int32_t position_max, int64_t n_tokens)
{
    const int32_t span = field(word, 32);
    csi_mask_summary s = nothing();

    s.n_tokens = n_tokens;
    if ((word >> 48) == 0) {
        s.has_dead = true;
        return s;
    }
    s.document_min = s.document_max = field(word, 48);
    s.position_min = position_min;
    s.position_max = position_max;
    s.sees_and = s.sees_or = (uint16_t)field(word, 16);
    s.kind_or = (uint16_t)field(word, 0);
    s.has_zero_kind = s.kind_or == 0;
    s.has_no_span = span == 0;
    if (span != 0) {
        s.span_min = s.span_max = span;
    }
    return s;
}

void csi_mask_merge(csi_mask_summary *into, const csi_mask_summary *other)
{
    into->n_tokens += other->n_tokens;
    into->document_min = min_i32(into->document_min, other->document_min);
    into->document_max = max_i32(into->document_max, other->document_max);
    into->span_min = min_i32(into->span_min, other->span_min);
    into->span_max = max_i32(into->span_max, other->span_max);
    into->position_min = min_i32(into->position_min, other->position_min);
    into->position_max = max_i32(into->position_max, other->position_max);
    into->sees_and = (uint16_t)(into->sees_and & other->sees_and);
    into->sees_or = (uint16_t)(into->sees_or | other->sees_or);
    into->kind_or = (uint16_t)(into->kind_or | other->kind_or);
    into->has_dead = into->has_dead || other->has_dead;
    into->has_no_span = into->has_no_span || other->has_no_span;
    into->has_zero_kind = into->has_zero_kind || other->has_zero_kind;
}

csi_mask_summary csi_mask_summarise(const csi_mask_range *range)
{
    const cs_mask *mask = range->mask;
    csi_mask_summary all = nothing();

    for (int64_t at = range->begin; at < range->end;) {
        const uint64_t word = mask->word[at];
        const int64_t first = at;
        int32_t low = mask->position[at];
        int32_t high = low;

        while (at < range->end && mask->word[at] == word) {
            low = min_i32(low, mask->position[at]);
            high = max_i32(high, mask->position[at]);
            at++;
        }
        const csi_mask_summary run = of_word(word, low, high, at - first);
        csi_mask_merge(&all, &run);
    }
    return all;
}

static bool is_live(const csi_mask_summary *s)
{
    return s->document_min <= s->document_max;
}

static bool all_causal(const csi_mask_summary *q, const csi_mask_summary *k,
                       int64_t window)
{
    return q->position_min >= k->position_max && !k->has_zero_kind &&
           (q->sees_and & k->kind_or) == k->kind_or &&
           (window <= 0 || (int64_t)q->position_max - k->position_min < window);
}

static bool none_causal(const csi_mask_summary *q, const csi_mask_summary *k,
                        int64_t window)
{
    return q->position_max < k->position_min ||
           (q->sees_or & k->kind_or) == 0 ||
           (window > 0 && (int64_t)q->position_min - k->position_max >= window);
}

csi_verdict csi_mask_decide(const csi_mask_summary *q,
                            const csi_mask_summary *k, int64_t window)
{
    if (!is_live(q) || !is_live(k) || q->document_max < k->document_min ||
        k->document_max < q->document_min) {
        return CSI_VERDICT_EMPTY;
    }
    const bool no_common_span =
        q->span_max < k->span_min || k->span_max < q->span_min;
    if (no_common_span && none_causal(q, k, window)) {
        return CSI_VERDICT_EMPTY;
    }
    const bool one_document = q->document_min == q->document_max &&
                              k->document_min == k->document_max &&
                              !q->has_dead && !k->has_dead;
    const bool one_span =
        q->span_min == q->span_max && k->span_min == k->span_max &&
        q->span_min == k->span_min && !q->has_no_span && !k->has_no_span;
    if (one_document && (one_span || all_causal(q, k, window))) {
        return CSI_VERDICT_FULL;
    }
    return CSI_VERDICT_OPEN;
}

/* Tokens [begin, end) of one word whose positions ascend by one. */
typedef struct token_run {
    int64_t begin, end;
    uint64_t word;
    int64_t position; /* of the first */
} token_run;

static token_run next_run(const csi_mask_range *range, int64_t begin)
{
    const cs_mask *mask = range->mask;
    int64_t at = begin + 1;

    while (at < range->end && mask->word[at] == mask->word[begin] &&
           mask->position[at] - (int64_t)mask->position[begin] == at - begin) {
        at++;
    }
    return (token_run){
        .begin = begin,
        .end = at,
        .word = mask->word[begin],
        .position = mask->position[begin],
    };
}

/* sum over i = 0 .. n-1 of i + offset, clamped to [0, m] */
static int64_t clamped_sum(int64_t n, int64_t offset, int64_t m)
{
    const int64_t first = csi_min_i64(n, csi_max_i64(0, 1 - offset));
    const int64_t full = csi_max_i64(first, csi_min_i64(n, m - offset));
    const int64_t rising = full - first;

    return rising * offset + (first + full - 1) * rising / 2 + (n - full) * m;
}

/* Pairs (i, j), i < n, j < m, with difference + i - j >= least. */
static int64_t pairs_at_least(int64_t n, int64_t m, int64_t difference,
                              int64_t least)
{
    return clamped_sum(n, difference - least + 1, m);
}

static int64_t count_between(const token_run *q, const token_run *k,
                             int64_t window)
{
    const int64_t n = q->end - q->begin;
    const int64_t m = k->end - k->begin;
    const int64_t difference = q->position - k->position;
    int64_t count = 0;

    if ((q->word >> 48) != (k->word >> 48) || (q->word >> 48) == 0) {
        return 0;
    }
    if (field(q->word, 32) != 0 && field(q->word, 32) == field(k->word, 32)) {
        return n * m;
    }
    if ((field(q->word, 16) & field(k->word, 0)) == 0) {
        return 0;
    }
    count = pairs_at_least(n, m, difference, 0);
    if (window > 0) {
        count -= pairs_at_least(n, m, difference, window);
    }
    return count;
}

int64_t csi_mask_count_pairs(const csi_mask_range *q, const csi_mask_range *k,
                             int64_t window, bool stop_early)
{
    int64_t visible = 0;
    int64_t looked_at = 0;

    for (int64_t q_at = q->begin; q_at < q->end;) {
        const token_run q_run = next_run(q, q_at);

        for (int64_t k_at = k->begin; k_at < k->end;) {
            const token_run k_run = next_run(k, k_at);

            visible += count_between(&q_run, &k_run, window);
            looked_at += (q_run.end - q_run.begin) * (k_run.end - k_run.begin);
            if (stop_early && visible > 0 && visible < looked_at) {
                return visible;
            }
            k_at = k_run.end;
        }
        q_at = q_run.end;
    }
    return visible;
}
