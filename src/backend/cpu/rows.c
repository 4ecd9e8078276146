/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Norms and rotary embedding: a kernel over a range of rows per thread.
 * Sums over rows (gradients of norm weights) are taken per thread and then
 * added in the order of the threads.
 */
#include "cpu.h"

#include <string.h>

/* A kernel over rows, with one buffer of floats per thread. */
typedef struct rows_job {
    const csi_cpu_kernels *kernels;
    const void *args;
    float *buffer;
    size_t stride; /* floats per thread */
    float *dw, *db;
} rows_job;

static void norm_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const rows_job *j = arg;

    (void)thread;
    j->kernels->norm(j->args, begin, end);
}

static cs_status norm(cs_backend *backend, const cs_norm_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    rows_job j = {.kernels = state->kernels, .args = a};

    if (!csi_cpu_is_ours(a->dtype)) {
        return state->ref.norm(backend, a);
    }
    csi_cpu_parallel(backend, a->rows, 2 * a->dim, norm_range, &j);
    return CS_OK;
}

static void norm_backward_range(void *arg, int64_t begin, int64_t end,
                                int32_t thread)
{
    const rows_job *j = arg;
    const cs_norm_backward_args *a = j->args;
    float *mine = j->buffer + (size_t)thread * j->stride;

    if (thread == 0) {
        j->kernels->norm_backward(a, begin, end, j->dw, j->db);
        return;
    }
    memset(mine, 0, j->stride * sizeof *mine);
    j->kernels->norm_backward(a, begin, end, j->dw != NULL ? mine : NULL,
                              j->db != NULL ? mine + a->dim : NULL);
}

static cs_status norm_backward(cs_backend *backend,
                               const cs_norm_backward_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    const size_t threads = (size_t)backend->n_threads;
    rows_job j = {.kernels = state->kernels,
                  .args = a,
                  .stride = 2 * (size_t)a->dim,
                  .dw = a->dw_D,
                  .db = a->db_D};

    if (!csi_cpu_is_ours(a->dtype)) {
        return state->ref.norm_backward(backend, a);
    }
    j.buffer =
        csi_backend_scratch(backend, threads * j.stride * sizeof *j.buffer + 1);
    CS_CHECK(j.buffer != NULL, CS_ERR_NOMEM, "cpu norm_backward: scratch");
    csi_cpu_parallel(backend, a->rows, 2 * a->dim, norm_backward_range, &j);
    /* a thread without rows has no range and wrote nothing */
    for (size_t i = 1; i < threads && a->rows > 1; i++) {
        const float *part = j.buffer + i * j.stride;
        const int64_t begin = a->rows * (int64_t)i / (int64_t)threads;
        const int64_t end = a->rows * (int64_t)(i + 1) / (int64_t)threads;

        if (begin == end) {
            continue;
        }
        if (j.dw != NULL) {
            state->kernels->add_row(j.dw, part, false, a->dim);
        }
        if (j.db != NULL) {
            state->kernels->add_row(j.db, part + a->dim, false, a->dim);
        }
    }
    return CS_OK;
}

static void rope_range(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const rows_job *j = arg;

    j->kernels->rope(j->args, begin, end,
                     j->buffer + (size_t)thread * j->stride);
}

static cs_status rope(cs_backend *backend, const cs_rope_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    rows_job j = {.kernels = state->kernels,
                  .args = a,
                  .stride = csi_cpu_rope_floats(a)};

    if (!csi_cpu_is_ours(a->dtype)) {
        return state->ref.rope(backend, a);
    }
    j.buffer = csi_backend_scratch(backend, (size_t)backend->n_threads *
                                                j.stride * sizeof *j.buffer);
    CS_CHECK(j.buffer != NULL, CS_ERR_NOMEM, "cpu rope: scratch");
    csi_cpu_parallel(backend, a->rows,
                     (int64_t)(a->q_heads + a->k_heads) * a->head_dim,
                     rope_range, &j);
    return CS_OK;
}

void csi_cpu_fill_rows(cs_op_table *ops)
{
    ops->norm = norm;
    ops->norm_backward = norm_backward;
    ops->rope = rope;
}
