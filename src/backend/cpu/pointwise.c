/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Element-wise slots: a kernel over a range of elements per thread. Elements
 * do not know each other, so ranges may be cut anywhere.
 */
#include "base/checked.h"

#include "cpu.h"

#include <math.h>

enum {
    SUM_CHUNK = 65536 /* sums of squares are cut here: part of the numerics */
};

/* The kernel of one slot with its arguments. */
typedef struct job {
    const csi_cpu_kernels *kernels;
    const void *args;
} job;

#define RANGE(slot, args_type)                                      \
    static void slot##_range(void *arg, int64_t begin, int64_t end, \
                             int32_t thread)                        \
    {                                                               \
        const job *j = arg;                                         \
        (void)thread;                                               \
        j->kernels->slot(j->args, begin, end);                      \
    }                                                               \
    static cs_status slot(cs_backend *backend, const args_type *a)  \
    {                                                               \
        const csi_cpu_state *state = csi_cpu_state_of(backend);     \
        job j = {state->kernels, a};                                \
        if (!csi_cpu_is_ours(a->dtype)) {                           \
            return state->ref.slot(backend, a);                     \
        }                                                           \
        csi_cpu_parallel(backend, a->count, 1, slot##_range, &j);   \
        return CS_OK;                                               \
    }

RANGE(activation, cs_activation_args)
RANGE(activation_backward, cs_activation_args)
RANGE(gated, cs_gated_args)
RANGE(gated_backward, cs_gated_args)
RANGE(axpby, cs_axpby_args)

/* ---- cast ---- */

typedef struct cast_job {
    const csi_cpu_kernels *kernels;
    bool from_bf16, to_bf16;
    const void *x;
    void *y;
} cast_job;

static void cast_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const cast_job *j = arg;

    (void)thread;
    j->kernels->cast(j->from_bf16, j->x, j->to_bf16, j->y, begin, end);
}

static cs_status cast(cs_backend *backend, cs_dtype src_dtype, const void *x,
                      cs_dtype dst_dtype, void *y, int64_t count)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    cast_job j = {.kernels = state->kernels,
                  .from_bf16 = src_dtype == CS_BF16,
                  .to_bf16 = dst_dtype == CS_BF16,
                  .x = x,
                  .y = y};

    if (!csi_cpu_is_ours(src_dtype) || !csi_cpu_is_ours(dst_dtype)) {
        return state->ref.cast(backend, src_dtype, x, dst_dtype, y, count);
    }
    csi_cpu_parallel(backend, count, 1, cast_range, &j);
    return CS_OK;
}

/* ---- optimizer ---- */

typedef struct adamw_job {
    const csi_cpu_kernels *kernels;
    csi_adamw_step step;
    const cs_adamw_item *item;
} adamw_job;

static void adamw_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const adamw_job *j = arg;

    (void)thread;
    j->kernels->adamw(&j->step, j->item, begin, end);
}

static cs_status adamw(cs_backend *backend, const cs_adamw_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    const double step = (double)a->step;
    adamw_job j = {
        .kernels = state->kernels,
        .step = {.beta1 = (float)a->beta1,
                 .beta2 = (float)a->beta2,
                 .rest1 = (float)(1.0 - a->beta1),
                 .rest2 = (float)(1.0 - a->beta2),
                 .fix1 = (float)(1.0 / (1.0 - pow(a->beta1, step))),
                 .fix2 = (float)(1.0 / (1.0 - pow(a->beta2, step))),
                 .eps = (float)a->eps,
                 .grad_scale = (float)a->grad_scale},
    };

    if (a->dtype != CS_F32) {
        return state->ref.adamw(backend, a);
    }
    for (int64_t i = 0; i < a->n_items; i++) {
        j.item = &a->items[i];
        csi_cpu_parallel(backend, j.item->count, 4, adamw_range, &j);
    }
    return CS_OK;
}

/* ---- sum of squares ---- */

typedef struct sum_job {
    const csi_cpu_kernels *kernels;
    const float *x;
    int64_t count;
    double *chunk;
} sum_job;

static void sum_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const sum_job *j = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        j->chunk[i] =
            j->kernels->sum_squares(j->x, i * SUM_CHUNK,
                                    csi_min_i64((i + 1) * SUM_CHUNK, j->count));
    }
}

static cs_status sum_squares(cs_backend *backend, cs_dtype dtype, const void *x,
                             int64_t count, double *out)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    const int64_t n_chunks = (count + SUM_CHUNK - 1) / SUM_CHUNK;
    sum_job j = {.kernels = state->kernels, .x = x, .count = count};
    double sum = 0.0;

    if (dtype != CS_F32) {
        return state->ref.sum_squares(backend, dtype, x, count, out);
    }
    j.chunk =
        csi_backend_scratch(backend, (size_t)(n_chunks + 1) * sizeof *j.chunk);
    CS_CHECK(j.chunk != NULL, CS_ERR_NOMEM, "cpu sum_squares: scratch");
    csi_cpu_parallel(backend, n_chunks, SUM_CHUNK, sum_range, &j);
    for (int64_t i = 0; i < n_chunks; i++) {
        sum += j.chunk[i];
    }
    *out = sum;
    return CS_OK;
}

void csi_cpu_fill_pointwise(cs_op_table *ops)
{
    ops->activation = activation;
    ops->activation_backward = activation_backward;
    ops->gated = gated;
    ops->gated_backward = gated_backward;
    ops->axpby = axpby;
    ops->cast = cast;
    ops->adamw = adamw;
    ops->sum_squares = sum_squares;
}
