/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs without AVX2: f32 products by oneDNN, which still has kernels for
 * them, everything else by the reference.
 */
#include "cpu.h"
#include "onednn.h"

#include <string.h>

static void add_bias(const cs_linear_args *a, float *to)
{
    const float *b_O = a->b_O;

    for (int64_t t = 0; b_O != NULL && t < a->rows; t++) {
        for (int64_t o = 0; o < a->out; o++) {
            to[t * a->out + o] += b_O[o];
        }
    }
}

static cs_status linear(cs_backend *backend, const cs_linear_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    const size_t n_bytes = (size_t)(a->rows * a->out) * sizeof(float);

    if (a->dtype != CS_F32) {
        return state->ref.linear(backend, a);
    }
    const csi_product p = {
        .m = a->rows,
        .n = a->out,
        .k = a->in,
        .a = {a->x_TI, a->in, false, true},
        .b = {a->w_OI, a->in, false, true},
        .end = {.c = a->y_TO, .ldc = a->out},
    };

    if (n_bytes == 0) {
        return CS_OK;
    }
    CS_TRY(csi_onednn_sgemm(backend, &p));
    add_bias(a, a->y_TO);
    if (a->pre_TO != NULL) {
        memcpy(a->pre_TO, a->y_TO, n_bytes);
    }
    if (a->activation != CS_ACT_NONE) {
        const cs_activation_args act = {.dtype = CS_F32,
                                        .count = a->rows * a->out,
                                        .activation = a->activation,
                                        .x = a->y_TO,
                                        .y = a->y_TO};
        CS_TRY(backend->ops.activation(backend, &act));
    }
    return CS_OK;
}

static cs_status linear_input(cs_backend *backend,
                              const cs_linear_input_args *a)
{
    if (a->dtype != CS_F32) {
        return csi_cpu_state_of(backend)->ref.linear_input(backend, a);
    }
    const csi_product p = {
        .m = a->rows,
        .n = a->in,
        .k = a->out,
        .a = {a->dy_TO, a->out, false, true},
        .b = {a->w_OI, a->in, false, false},
        .end = {.c = a->dx_TI, .ldc = a->in, .accumulate = a->accumulate},
    };

    if (a->rows > 0) {
        CS_TRY(csi_onednn_sgemm(backend, &p));
    }
    return CS_OK;
}

static cs_status linear_weight(cs_backend *backend,
                               const cs_linear_weight_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);

    if (a->dtype != CS_F32) {
        return state->ref.linear_weight(backend, a);
    }
    const csi_product p = {
        .m = a->out,
        .n = a->in,
        .k = a->rows,
        .a = {a->dy_TO, a->out, false, false},
        .b = {a->x_TI, a->in, false, false},
        .end = {.c = a->dw_OI, .ldc = a->in, .accumulate = true},
    };
    cs_linear_weight_args bias = *a;

    bias.dw_OI = NULL;
    CS_TRY(state->ref.linear_weight(backend, &bias));
    if (a->dw_OI != NULL && a->rows > 0) {
        CS_TRY(csi_onednn_sgemm(backend, &p));
    }
    return CS_OK;
}

void csi_cpu_fill_plain(cs_op_table *ops)
{
    ops->linear = linear;
    ops->linear_input = linear_input;
    ops->linear_weight = linear_weight;
}
