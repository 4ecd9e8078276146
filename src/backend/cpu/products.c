/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear layers as products of lanes x depth matrices; bias, activation and
 * rounding happen while a register tile is written, so nothing is touched
 * twice. What is neither f32 nor bf16 goes to the reference.
 */
#include "base/checked.h"

#include "cpu.h"
#include "onednn.h"

enum {
    BIAS_COLUMNS = 64 /* of one thread's share of a bias gradient */
};

/* Whether oneDNN computes this product: bf16 on AMX. */
static bool by_onednn(const csi_cpu_state *state, const csi_product *p)
{
    return state->dnnl != NULL && p->a.is_bf16 && p->b.is_bf16;
}

size_t csi_cpu_product_bytes(cs_backend *backend, const csi_product *p)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);

    return by_onednn(state, p) ? csi_onednn_bytes(state->dnnl, p)
                               : csi_cpu_gemm_bytes(backend, p);
}

cs_status csi_cpu_product(cs_backend *backend, const csi_product *p, void *work)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);

    if (p->m == 0 || p->n == 0) {
        return CS_OK;
    }
    if (by_onednn(state, p)) {
        CS_TRY(csi_onednn_product(backend, state->dnnl, p, work));
        return CS_OK;
    }
    csi_cpu_gemm(backend, p, work);
    return CS_OK;
}

static cs_status run(cs_backend *backend, const csi_product *p,
                     const char *name)
{
    void *work =
        csi_backend_scratch(backend, csi_cpu_product_bytes(backend, p));

    CS_CHECK(work != NULL, CS_ERR_NOMEM, "cpu %s: scratch", name);
    CS_TRY(csi_cpu_product(backend, p, work));
    return CS_OK;
}

static cs_status linear(cs_backend *backend, const cs_linear_args *a)
{
    if (!csi_cpu_is_ours(a->dtype)) {
        return csi_cpu_state_of(backend)->ref.linear(backend, a);
    }
    const bool is_bf16 = a->dtype == CS_BF16;
    const csi_product p = {
        .m = a->rows,
        .n = a->out,
        .k = a->in,
        .a = {a->x_TI, a->in, is_bf16, true},
        .b = {a->w_OI, a->in, is_bf16, true},
        .end = {.c = a->y_TO,
                .ldc = a->out,
                .is_bf16 = is_bf16,
                .activation = a->activation,
                .bias = a->b_O,
                .pre = a->pre_TO},
    };

    return run(backend, &p, "linear");
}

static cs_status linear_input(cs_backend *backend,
                              const cs_linear_input_args *a)
{
    if (!csi_cpu_is_ours(a->dtype)) {
        return csi_cpu_state_of(backend)->ref.linear_input(backend, a);
    }
    const bool is_bf16 = a->dtype == CS_BF16;
    const csi_product p = {
        .m = a->rows,
        .n = a->in,
        .k = a->out,
        .a = {a->dy_TO, a->out, is_bf16, true},
        .b = {a->w_OI, a->in, is_bf16, false},
        .end = {.c = a->dx_TI,
                .ldc = a->in,
                .is_bf16 = is_bf16,
                .accumulate = a->accumulate},
    };

    return run(backend, &p, "linear_input");
}

/* db of one block of columns, rows in ascending order. */
static void add_bias(const csi_cpu_kernels *kernels,
                     const cs_linear_weight_args *a, int64_t begin, int64_t n)
{
    const bool is_bf16 = a->dtype == CS_BF16;
    const size_t size = csi_cpu_dtype_bytes(is_bf16);
    float *db = (float *)a->db_O + begin;

    for (int64_t t = 0; t < a->rows; t++) {
        const char *dy =
            (const char *)a->dy_TO + (size_t)(t * a->out + begin) * size;
        kernels->add_row(db, dy, is_bf16, n);
    }
}

typedef struct bias_job {
    const csi_cpu_kernels *kernels;
    const cs_linear_weight_args *a;
} bias_job;

static void add_bias_range(void *arg, int64_t begin, int64_t end,
                           int32_t thread)
{
    const bias_job *job = arg;
    const int64_t last = csi_min_i64(end * BIAS_COLUMNS, job->a->out);

    (void)thread;
    add_bias(job->kernels, job->a, begin * BIAS_COLUMNS,
             last - begin * BIAS_COLUMNS);
}

static cs_status linear_weight(cs_backend *backend,
                               const cs_linear_weight_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);

    if (!csi_cpu_is_ours(a->dtype)) {
        return state->ref.linear_weight(backend, a);
    }
    const bool is_bf16 = a->dtype == CS_BF16;

    if (a->db_O != NULL) {
        bias_job job = {state->kernels, a};
        csi_cpu_parallel(backend, (a->out + BIAS_COLUMNS - 1) / BIAS_COLUMNS,
                         a->rows * BIAS_COLUMNS, add_bias_range, &job);
    }
    if (a->dw_OI == NULL || a->rows == 0) {
        return CS_OK;
    }
    const csi_product p = {
        .m = a->out,
        .n = a->in,
        .k = a->rows,
        .a = {a->dy_TO, a->out, is_bf16, false},
        .b = {a->x_TI, a->in, is_bf16, false},
        .end = {.c = a->dw_OI, .ldc = a->in, .accumulate = true},
    };

    return run(backend, &p, "linear_weight");
}

void csi_cpu_fill_products(cs_op_table *ops)
{
    ops->linear = linear;
    ops->linear_input = linear_input;
    ops->linear_weight = linear_weight;
}
