/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ops that weigh: sums of weighted rows, weighted columns, routing. Where a
 * sum runs over rows the threads share the columns, so its order is the rows'
 * and no thread changes a bit.
 */
#include "base/checked.h"

#include "cpu.h"

#include <string.h>

enum {
    COLUMN_UNIT = 64 /* columns are dealt to threads in such steps */
};

typedef struct mix_job {
    const csi_cpu_kernels *kernels;
    const void *args;
    bool is_bf16;
    float *buffer; /* one row per thread; NULL where the result serves */
} mix_job;

static mix_job job_of(cs_backend *backend, const void *args, cs_dtype dtype)
{
    return (mix_job){.kernels = csi_cpu_state_of(backend)->kernels,
                     .args = args,
                     .is_bf16 = dtype == CS_BF16};
}

/* Element `at` of an array of f32 or bf16. */
static const void *at(const void *data, int64_t i, bool is_bf16)
{
    return (const char *)data + (size_t)i * csi_cpu_dtype_bytes(is_bf16);
}

static void *at_out(void *data, int64_t i, bool is_bf16)
{
    return (char *)data + (size_t)i * csi_cpu_dtype_bytes(is_bf16);
}

static int64_t column_units(int64_t columns)
{
    return (columns + COLUMN_UNIT - 1) / COLUMN_UNIT;
}

/* ---- mix ---- */

static void mix_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const mix_job *j = arg;
    const cs_mix_args *a = j->args;
    const float *weight_TK = a->weight_TK;

    for (int64_t t = begin; t < end; t++) {
        void *y = at_out(a->y_TD, t * a->columns, j->is_bf16);
        float *sum = j->is_bf16 ? j->buffer + thread * a->columns : y;

        memset(sum, 0, (size_t)a->columns * sizeof *sum);
        for (int64_t i = t * a->k; i < (t + 1) * a->k; i++) {
            if (a->index_TK[i] >= 0) {
                j->kernels->axpy_row(sum, false,
                                     at(a->x, a->index_TK[i] * a->columns,
                                        j->is_bf16),
                                     j->is_bf16, weight_TK[i], a->columns);
            }
        }
        if (j->is_bf16) {
            j->kernels->cast(false, sum, true, y, 0, a->columns);
        }
    }
}

static cs_status mix(cs_backend *backend, const cs_mix_args *a)
{
    mix_job j = job_of(backend, a, a->dtype);

    if (!csi_cpu_is_ours(a->dtype)) {
        return csi_cpu_state_of(backend)->ref.mix(backend, a);
    }
    if (j.is_bf16) {
        j.buffer = csi_backend_scratch(backend, (size_t)backend->n_threads *
                                                    (size_t)a->columns *
                                                    sizeof(float));
        CS_CHECK(j.buffer != NULL, CS_ERR_NOMEM, "cpu mix: scratch");
    }
    csi_cpu_parallel(backend, a->rows, a->k * a->columns, mix_range, &j);
    return CS_OK;
}

/* dx of columns [begin, end) in units. */
static void mix_dx_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const mix_job *j = arg;
    const cs_mix_args *a = j->args;
    const bool to_bf16 = a->dx_dtype == CS_BF16;
    const float *weight_TK = a->weight_TK;
    const int64_t first = begin * COLUMN_UNIT;
    const int64_t n = csi_min_i64(end * COLUMN_UNIT, a->columns) - first;

    (void)thread;
    for (int64_t i = 0; i < a->rows * a->k; i++) {
        const int64_t to = a->index_TK[i];

        if (to >= 0) {
            j->kernels->axpy_row(at_out(a->dx, to * a->columns + first,
                                        to_bf16),
                                 to_bf16,
                                 at(a->dy_TD, i / a->k * a->columns + first,
                                    j->is_bf16),
                                 j->is_bf16, weight_TK[i], n);
        }
    }
}

static void mix_dweight_range(void *arg, int64_t begin, int64_t end,
                              int32_t thread)
{
    const mix_job *j = arg;
    const cs_mix_args *a = j->args;
    float *dweight_TK = a->dweight_TK;

    (void)thread;
    for (int64_t i = begin * a->k; i < end * a->k; i++) {
        const int64_t from = a->index_TK[i];

        dweight_TK[i] =
            from < 0 ? 0.0F
                     : j->kernels->dot(at(a->x, from * a->columns, j->is_bf16),
                                       at(a->dy_TD, i / a->k * a->columns,
                                          j->is_bf16),
                                       j->is_bf16, a->columns);
    }
}

static cs_status mix_backward(cs_backend *backend, const cs_mix_args *a)
{
    mix_job j = job_of(backend, a, a->dtype);

    if (!csi_cpu_is_ours(a->dtype)) {
        return csi_cpu_state_of(backend)->ref.mix_backward(backend, a);
    }
    if (a->dx != NULL) {
        csi_cpu_parallel(backend, column_units(a->columns),
                         a->rows * a->k * COLUMN_UNIT, mix_dx_range, &j);
    }
    if (a->dweight_TK != NULL) {
        csi_cpu_parallel(backend, a->rows, a->k * a->columns, mix_dweight_range,
                         &j);
    }
    return CS_OK;
}

/* ---- scale ---- */

static void scale_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const mix_job *j = arg;
    const cs_scale_args *a = j->args;

    (void)thread;
    for (int64_t t = begin; t < end; t++) {
        j->kernels->multiply_row(at_out(a->y_TD, t * a->columns, j->is_bf16),
                                 at(a->x_TD, t * a->columns, j->is_bf16),
                                 a->w_D, j->is_bf16, false, a->columns);
    }
}

static cs_status scale(cs_backend *backend, const cs_scale_args *a)
{
    mix_job j = job_of(backend, a, a->dtype);

    if (!csi_cpu_is_ours(a->dtype)) {
        return csi_cpu_state_of(backend)->ref.scale(backend, a);
    }
    csi_cpu_parallel(backend, a->rows, a->columns, scale_range, &j);
    return CS_OK;
}

static void scale_dx_range(void *arg, int64_t begin, int64_t end,
                           int32_t thread)
{
    const mix_job *j = arg;
    const cs_scale_args *a = j->args;

    (void)thread;
    for (int64_t t = begin; t < end; t++) {
        j->kernels->multiply_row(at_out(a->dx_TD, t * a->columns, j->is_bf16),
                                 at(a->dy_TD, t * a->columns, j->is_bf16),
                                 a->w_D, j->is_bf16, a->accumulate, a->columns);
    }
}

/* dw of columns [begin, end) in units. */
static void scale_dw_range(void *arg, int64_t begin, int64_t end,
                           int32_t thread)
{
    const mix_job *j = arg;
    const cs_scale_args *a = j->args;
    const int64_t first = begin * COLUMN_UNIT;
    const int64_t n = csi_min_i64(end * COLUMN_UNIT, a->columns) - first;

    (void)thread;
    for (int64_t t = 0; t < a->rows; t++) {
        j->kernels->multiply_add_row((float *)a->dw_D + first,
                                     at(a->dy_TD, t * a->columns + first,
                                        j->is_bf16),
                                     at(a->x_TD, t * a->columns + first,
                                        j->is_bf16),
                                     j->is_bf16, n);
    }
}

static cs_status scale_backward(cs_backend *backend, const cs_scale_args *a)
{
    mix_job j = job_of(backend, a, a->dtype);

    if (!csi_cpu_is_ours(a->dtype)) {
        return csi_cpu_state_of(backend)->ref.scale_backward(backend, a);
    }
    if (a->dw_D != NULL) {
        csi_cpu_parallel(backend, column_units(a->columns),
                         a->rows * COLUMN_UNIT, scale_dw_range, &j);
    }
    if (a->dx_TD != NULL) {
        csi_cpu_parallel(backend, a->rows, a->columns, scale_dx_range, &j);
    }
    return CS_OK;
}

/* ---- route ---- */

/* The largest p of those not among the first n chosen, ties to the lower. */
static int32_t next_expert(const float *p_E, int32_t experts,
                           const int32_t *chosen, int32_t n)
{
    int32_t best = -1;

    for (int32_t e = 0; e < experts; e++) {
        bool is_taken = false;

        if (best >= 0 && !(p_E[e] > p_E[best])) {
            continue;
        }
        for (int32_t i = 0; i < n; i++) {
            is_taken = is_taken || chosen[i] == e;
        }
        best = is_taken ? best : e;
    }
    return best;
}

static void route_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const mix_job *j = arg;
    const cs_route_args *a = j->args;

    (void)thread;
    for (int64_t t = begin; t < end; t++) {
        float *p_E = (float *)a->p_TE + t * a->experts;
        float *weight_K = (float *)a->weight_TK + t * a->top_k;
        int32_t *expert_K = a->expert_TK + t * a->top_k;
        float total = 0.0F;

        j->kernels->softmax_row(p_E,
                                at(a->logits_TE, t * a->experts, j->is_bf16),
                                j->is_bf16, a->experts);
        for (int32_t i = 0; i < a->top_k; i++) {
            expert_K[i] = next_expert(p_E, a->experts, expert_K, i);
            total += p_E[expert_K[i]];
        }
        for (int32_t i = 0; i < a->top_k; i++) {
            weight_K[i] = p_E[expert_K[i]] / (a->normalises ? total : 1.0F);
        }
    }
}

static cs_status route(cs_backend *backend, const cs_route_args *a)
{
    mix_job j = job_of(backend, a, a->dtype);

    if (!csi_cpu_is_ours(a->dtype)) {
        return csi_cpu_state_of(backend)->ref.route(backend, a);
    }
    csi_cpu_parallel(backend, a->rows, 2 * (int64_t)a->experts * a->top_k,
                     route_range, &j);
    return CS_OK;
}

void csi_cpu_fill_mix(cs_op_table *ops)
{
    ops->mix = mix;
    ops->mix_backward = mix_backward;
    ops->scale = scale;
    ops->scale_backward = scale_backward;
    ops->route = route;
}
