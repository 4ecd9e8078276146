/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_MASK_SUMMARY_H
#define CS_MASK_SUMMARY_H
/*
 * What can be said about a set of tokens without looking at each: ranges of
 * document, span and position, AND and OR of the kind sets. Two summaries
 * decide whether all, none or perhaps some pairs between them are visible, and
 * summaries of neighbours merge, which makes a tree over key blocks.
 */
#include "cornstarch/mask.h"

typedef struct csi_mask_summary {
    int64_t n_tokens;
    int32_t document_min, document_max; /* of live tokens; min > max: none */
    int32_t span_min, span_max;         /* of non-zero spans */
    int32_t position_min, position_max; /* of live tokens */
    uint16_t sees_and, sees_or;
    uint16_t kind_or;
    bool has_dead;      /* some token of document 0 */
    bool has_no_span;   /* some live token of span 0 */
    bool has_zero_kind; /* some live token that is of no kind */
} csi_mask_summary;

typedef enum csi_verdict {
    CSI_VERDICT_EMPTY,
    CSI_VERDICT_FULL,
    CSI_VERDICT_OPEN
} csi_verdict;

/* Tokens [begin, end) of a mask. */
typedef struct csi_mask_range {
    const cs_mask *mask;
    int64_t begin, end;
} csi_mask_range;

csi_mask_summary csi_mask_summarise(const csi_mask_range *range);
void csi_mask_merge(csi_mask_summary *into, const csi_mask_summary *other);
csi_verdict csi_mask_decide(const csi_mask_summary *q,
                            const csi_mask_summary *k, int64_t window);
/* Visible pairs between two ranges. With stop_early it returns as soon as one
 * pair is visible and one hidden (some count between, neither 0 nor all). */
int64_t csi_mask_count_pairs(const csi_mask_range *q, const csi_mask_range *k,
                             int64_t window, bool stop_early);
#endif
