/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that are moved, summed or averaged, and windows of a 1-D convolution.
 * Sums into a shared row run over rows in ascending order; there the threads
 * share the columns instead.
 */
#include "base/checked.h"

#include "cpu.h"

#include <string.h>

enum {
    COLUMN_UNIT = 64 /* columns are dealt to threads in such steps */
};

typedef struct move_job {
    const csi_cpu_kernels *kernels;
    const void *args;
    float *buffer;
    size_t stride; /* floats per thread */
} move_job;

static const void *row_at(const void *data, int64_t row, int64_t columns,
                          bool is_bf16)
{
    return (const char *)data +
           (size_t)(row * columns) * csi_cpu_dtype_bytes(is_bf16);
}

static void *row_in(void *data, int64_t row, int64_t columns, bool is_bf16)
{
    return (char *)data +
           (size_t)(row * columns) * csi_cpu_dtype_bytes(is_bf16);
}

/* ---- gather, scatter ---- */

static void gather_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const move_job *j = arg;
    const cs_gather_args *a = j->args;
    const bool is_bf16 = a->dtype == CS_BF16;
    const size_t n_bytes = (size_t)a->columns * csi_cpu_dtype_bytes(is_bf16);

    (void)thread;
    for (int64_t t = begin; t < end; t++) {
        const int64_t from = a->index_T[t];
        void *y = row_in(a->y_TD, t, a->columns, is_bf16);

        if (from < 0) {
            if (!a->accumulate) {
                memset(y, 0, n_bytes);
            }
            continue;
        }
        const void *x = row_at(a->x, from, a->columns, is_bf16);
        if (a->accumulate) {
            j->kernels->move_row(y, x, is_bf16, true, 1.0F, a->columns);
        } else {
            memcpy(y, x, n_bytes);
        }
    }
}

static cs_status gather(cs_backend *backend, const cs_gather_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    move_job j = {.kernels = state->kernels, .args = a};

    if (!csi_cpu_is_ours(a->dtype)) {
        return state->ref.gather(backend, a);
    }
    csi_cpu_parallel(backend, a->rows, a->columns, gather_range, &j);
    return CS_OK;
}

static void scatter_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const move_job *j = arg;
    const cs_scatter_add_args *a = j->args;
    const bool from_bf16 = a->dtype == CS_BF16;
    const bool to_bf16 = a->dx_dtype == CS_BF16;
    const int64_t first = begin * COLUMN_UNIT;
    const int64_t n = csi_min_i64(end * COLUMN_UNIT, a->columns) - first;

    (void)thread;
    for (int64_t t = 0; t < a->rows; t++) {
        if (a->index_T[t] < 0) {
            continue;
        }
        const void *dy =
            (const char *)row_at(a->dy_TD, t, a->columns, from_bf16) +
            (size_t)first * csi_cpu_dtype_bytes(from_bf16);
        void *dx = (char *)row_in(a->dx, a->index_T[t], a->columns, to_bf16) +
                   (size_t)first * csi_cpu_dtype_bytes(to_bf16);

        if (to_bf16) {
            j->kernels->move_row(dx, dy, true, true, 1.0F, n);
        } else {
            j->kernels->add_row(dx, dy, from_bf16, n);
        }
    }
}

static cs_status scatter_add(cs_backend *backend, const cs_scatter_add_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    move_job j = {.kernels = state->kernels, .args = a};

    if (!csi_cpu_is_ours(a->dtype) || !csi_cpu_is_ours(a->dx_dtype) ||
        (a->dx_dtype == CS_BF16 && a->dtype != CS_BF16)) {
        return state->ref.scatter_add(backend, a);
    }
    csi_cpu_parallel(backend, (a->columns + COLUMN_UNIT - 1) / COLUMN_UNIT,
                     a->rows * COLUMN_UNIT, scatter_range, &j);
    return CS_OK;
}

/* ---- pool ---- */

static void pool_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const move_job *j = arg;
    const cs_pool_args *a = j->args;
    const bool is_bf16 = a->dtype == CS_BF16;
    float *sum = j->buffer + (size_t)thread * j->stride;

    for (int64_t g = begin; g < end; g++) {
        memset(sum, 0, (size_t)a->columns * sizeof *sum);
        for (int64_t t = a->begin[g]; t < a->begin[g + 1]; t++) {
            j->kernels->add_row(sum, row_at(a->x, t, a->columns, is_bf16),
                                is_bf16, a->columns);
        }
        j->kernels->divide_row(row_in(a->y, g, a->columns, is_bf16), sum,
                               (float)(a->begin[g + 1] - a->begin[g]), is_bf16,
                               a->columns);
    }
}

static cs_status pool(cs_backend *backend, const cs_pool_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    move_job j = {.kernels = state->kernels,
                  .args = a,
                  .stride = (size_t)a->columns};

    if (!csi_cpu_is_ours(a->dtype)) {
        return state->ref.pool(backend, a);
    }
    j.buffer =
        csi_backend_scratch(backend, (size_t)backend->n_threads * j.stride *
                                             sizeof *j.buffer +
                                         1);
    CS_CHECK(j.buffer != NULL, CS_ERR_NOMEM, "cpu pool: scratch");
    csi_cpu_parallel(backend, a->groups, 4 * a->columns, pool_range, &j);
    return CS_OK;
}

static void pool_backward_range(void *arg, int64_t begin, int64_t end,
                                int32_t thread)
{
    const move_job *j = arg;
    const cs_pool_args *a = j->args;
    const bool is_bf16 = a->dtype == CS_BF16;

    (void)thread;
    for (int64_t g = begin; g < end; g++) {
        const void *dy = row_at(a->dy, g, a->columns, is_bf16);
        const float n = (float)(a->begin[g + 1] - a->begin[g]);

        for (int64_t t = a->begin[g]; t < a->begin[g + 1]; t++) {
            j->kernels->move_row(row_in(a->dx, t, a->columns, is_bf16), dy,
                                 is_bf16, a->accumulate, n, a->columns);
        }
    }
}

static cs_status pool_backward(cs_backend *backend, const cs_pool_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    move_job j = {.kernels = state->kernels, .args = a};

    if (!csi_cpu_is_ours(a->dtype)) {
        return state->ref.pool_backward(backend, a);
    }
    csi_cpu_parallel(backend, a->groups, 4 * a->columns, pool_backward_range,
                     &j);
    return CS_OK;
}

/* ---- windows ---- */

/* Elements of the mean item's windows. */
static int64_t item_work(const cs_im2col_args *a)
{
    return a->items == 0
               ? 0
               : a->out_begin[a->items] / a->items * a->channels * a->kernel;
}

/* One output row; x may be NULL where the window leaves the item. */
static void copy_window_f32(float *to, const float *x, int64_t channels,
                            int32_t kernel)
{
    for (int64_t c = 0; c < channels; c++) {
        to[c * kernel] = x != NULL ? x[c] : 0.0F;
    }
}

static void copy_window_bf16(uint16_t *to, const uint16_t *x, int64_t channels,
                             int32_t kernel)
{
    for (int64_t c = 0; c < channels; c++) {
        to[c * kernel] = x != NULL ? x[c] : 0;
    }
}

static void im2col_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const move_job *job = arg;
    const cs_im2col_args *a = job->args;
    const bool is_bf16 = a->dtype == CS_BF16;
    const int64_t width = a->channels * a->kernel;

    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        const int64_t n_in = a->in_begin[item + 1] - a->in_begin[item];
        const int64_t n_out = a->out_begin[item + 1] - a->out_begin[item];

        for (int64_t i = 0; i < n_out * a->kernel; i++) {
            const int64_t t = i / a->kernel;
            const int64_t j = i % a->kernel;
            const int64_t row = t * a->stride + j - a->pad;
            void *to = row_in(a->cols, a->out_begin[item] + t, width, is_bf16);
            const void *x = NULL;

            if (row >= 0 && row < n_in) {
                x = row_at(a->x, a->in_begin[item] + row, a->channels, is_bf16);
            }
            if (is_bf16) {
                copy_window_bf16((uint16_t *)to + j, x, a->channels, a->kernel);
            } else {
                copy_window_f32((float *)to + j, x, a->channels, a->kernel);
            }
        }
    }
}

static cs_status im2col(cs_backend *backend, const cs_im2col_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    move_job j = {.kernels = state->kernels, .args = a};

    if (!csi_cpu_is_ours(a->dtype)) {
        return state->ref.im2col(backend, a);
    }
    csi_cpu_parallel(backend, a->items, item_work(a), im2col_range, &j);
    return CS_OK;
}

static void add_window(float *sum, const void *dcols, bool is_bf16,
                       int64_t channels, int32_t kernel)
{
    if (is_bf16) {
        const uint16_t *from = dcols;
        for (int64_t c = 0; c < channels; c++) {
            sum[c] += csi_bf16_to_f32(from[c * kernel]);
        }
        return;
    }
    const float *from = dcols;
    for (int64_t c = 0; c < channels; c++) {
        sum[c] += from[c * kernel];
    }
}

/* The sum over the windows that row `row` of an item takes part in. */
static void sum_windows(const cs_im2col_args *a, int64_t item, int64_t row,
                        float *sum)
{
    const bool is_bf16 = a->dtype == CS_BF16;
    const int64_t n_out = a->out_begin[item + 1] - a->out_begin[item];
    const int64_t width = a->channels * a->kernel;

    memset(sum, 0, (size_t)a->channels * sizeof *sum);
    for (int32_t j = 0; j < a->kernel; j++) {
        const int64_t at = row + a->pad - j;

        if (at >= 0 && at % a->stride == 0 && at / a->stride < n_out) {
            const int64_t t = a->out_begin[item] + at / a->stride;
            const char *dcols = row_at(a->dcols, t, width, is_bf16);

            add_window(sum, dcols + (size_t)j * csi_cpu_dtype_bytes(is_bf16),
                       is_bf16, a->channels, a->kernel);
        }
    }
}

static void im2col_backward_range(void *arg, int64_t begin, int64_t end,
                                  int32_t thread)
{
    const move_job *j = arg;
    const cs_im2col_args *a = j->args;
    const bool is_bf16 = a->dtype == CS_BF16;
    float *sum = j->buffer + (size_t)thread * j->stride;
    const csi_epilogue store = {.ldc = a->channels,
                                .is_bf16 = is_bf16,
                                .c = a->dx,
                                .accumulate = a->accumulate};

    for (int64_t item = begin; item < end; item++) {
        const int64_t n_in = a->in_begin[item + 1] - a->in_begin[item];

        for (int64_t row = 0; row < n_in; row++) {
            sum_windows(a, item, row, sum);
            j->kernels->finish(&store, sum, a->channels,
                               a->in_begin[item] + row, 0, 1, a->channels);
        }
    }
}

static cs_status im2col_backward(cs_backend *backend, const cs_im2col_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    move_job j = {.kernels = state->kernels,
                  .args = a,
                  .stride = (size_t)a->channels};

    if (!csi_cpu_is_ours(a->dtype)) {
        return state->ref.im2col_backward(backend, a);
    }
    j.buffer =
        csi_backend_scratch(backend, (size_t)backend->n_threads * j.stride *
                                             sizeof *j.buffer +
                                         1);
    CS_CHECK(j.buffer != NULL, CS_ERR_NOMEM, "cpu im2col_backward: scratch");
    csi_cpu_parallel(backend, a->items, item_work(a), im2col_backward_range,
                     &j);
    return CS_OK;
}

void csi_cpu_fill_moves(cs_op_table *ops)
{
    ops->gather = gather;
    ops->scatter_add = scatter_add;
    ops->pool = pool;
    ops->pool_backward = pool_backward;
    ops->im2col = im2col;
    ops->im2col_backward = im2col_backward;
}
