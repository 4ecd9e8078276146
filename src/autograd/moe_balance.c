/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balance loss of a mixture of experts, document by document, so that no
 * packing changes it. With n rows of a document, c_e of its choices, p of its
 * rows:
 *
 *     loss = coefficient * labels * experts * sum_e c_e / n * mean p_e
 *
 * The choices are constants: dloss / dp = coefficient * labels * experts *
 * c_e / n / n on every row of the document (times the loss scale).
 */
#include "moe.h"

#include <string.h>

static cs_status alloc_counts(cs_tape *tape, const csi_moe *m, double **out)
{
    void *p = NULL;

    CS_TRY(cs_tape_alloc(tape, CS_KEEP_TEMP,
                         (size_t)m->args.experts * sizeof(double), &p));
    *out = p;
    return CS_OK;
}

/* What each expert's mean probability in document d weighs, per row; all 0
 * where the document has no rows. */
static void share_of(const csi_moe *m, int32_t d, double *share_E)
{
    const cs_tape_moe_args *a = &m->args;
    const int64_t begin = a->document_begin[d];
    const int64_t end = a->document_begin[d + 1];
    const double n = (double)(end - begin);

    memset(share_E, 0, (size_t)a->experts * sizeof *share_E);
    for (int64_t i = begin * a->top_k; i < end * a->top_k; i++) {
        share_E[m->expert_TK[i]] += 1.0;
    }
    for (int32_t e = 0; begin < end && e < a->experts; e++) {
        share_E[e] *= a->coefficient * (double)a->document_labels[d] *
                      (double)a->experts / n / n;
    }
}

cs_status csi_moe_add_balance(cs_tape *tape, const csi_moe *m, double *sum)
{
    const cs_tape_moe_args *a = &m->args;
    double *share_E = NULL;
    double total = 0.0;

    CS_TRY(alloc_counts(tape, m, &share_E));
    for (int32_t d = 0; d < a->n_documents; d++) {
        share_of(m, d, share_E);
        for (int64_t t = a->document_begin[d]; t < a->document_begin[d + 1];
             t++) {
            for (int32_t e = 0; e < a->experts; e++) {
                total += share_E[e] *
                         csi_dtype_get(m->p_TE, tape->real, t * a->experts + e);
            }
        }
    }
    *sum += total;
    return CS_OK;
}

cs_status csi_moe_balance_slopes(cs_tape *tape, const csi_moe *m, void **dp_TE)
{
    const cs_tape_moe_args *a = &m->args;
    const size_t row_bytes = (size_t)a->experts * cs_dtype_bytes(tape->real);
    double *share_E = NULL;
    void *dp = NULL;

    CS_TRY(alloc_counts(tape, m, &share_E));
    CS_TRY(cs_tape_alloc(tape, CS_KEEP_TEMP, (size_t)m->rows * row_bytes, &dp));
    memset(dp, 0, (size_t)m->rows * row_bytes);
    for (int32_t d = 0; d < a->n_documents; d++) {
        const int64_t begin = a->document_begin[d];
        char *first = (char *)dp + (size_t)begin * row_bytes;

        if (begin == a->document_begin[d + 1]) {
            continue;
        }
        share_of(m, d, share_E);
        for (int32_t e = 0; e < a->experts; e++) {
            csi_dtype_set(first, tape->real, e, share_E[e] * a->loss_scale);
        }
        for (int64_t t = begin + 1; t < a->document_begin[d + 1]; t++) {
            memcpy((char *)dp + (size_t)t * row_bytes, first, row_bytes);
        }
    }
    *dp_TE = dp;
    return CS_OK;
}
