/* SPDX-License-Identifier: Apache-2.0 */
/* Cases of ops that weigh: mixed rows, scaled columns, routing. */
#include "op_case.h"
#include "test.h"

/* --- mix: `rows` sums of `stride` weighted rows of `out`; option: gradient in
 *     the real type ------------------------------------------------------- */

enum {
    MIX_X,
    MIX_WEIGHT,
    MIX_Y,
    MIX_DY,
    MIX_DX,
    MIX_DWEIGHT
};

void op_mix_layout(op_run *r)
{
    const op_case *c = r->c;
    const int64_t n = c->rows * c->stride;

    op_in(r, MIX_X, r->dtype, c->out * c->in);
    op_in(r, MIX_WEIGHT, r->real, n);
    op_out(r, MIX_Y, r->dtype, c->rows * c->in);
    op_cotangent(r, MIX_DY, MIX_Y);
    op_gradient(r, MIX_DX, MIX_X, c->option ? r->real : r->dtype, true);
    op_gradient(r, MIX_DWEIGHT, MIX_WEIGHT, r->real, false);
    r->index = op_alloc(r, (size_t)n * sizeof *r->index);
    for (int64_t i = 0; i < n; i++) {
        r->index[i] = (int32_t)op_draw(r, 1, i, c->out + 1) - 1;
    }
}

cs_status op_mix_run(op_run *r)
{
    const op_case *c = r->c;
    const cs_mix_args args = {
        .dtype = r->dtype,
        .dx_dtype = r->array[MIX_DX].dtype,
        .rows = c->rows,
        .columns = c->in,
        .x_rows = c->out,
        .k = c->stride,
        .index_TK = r->index,
        .weight_TK = r->array[MIX_WEIGHT].data,
        .x = r->array[MIX_X].data,
        .y_TD = r->array[MIX_Y].data,
        .dy_TD = r->array[MIX_DY].data,
        .dx = r->array[MIX_DX].data,
        .dweight_TK = r->array[MIX_DWEIGHT].data,
    };

    CS_TRY(r->backend->ops.mix(r->backend, &args));
    if (r->with_backward) {
        CS_TRY(r->backend->ops.mix_backward(r->backend, &args));
    }
    return CS_OK;
}

/* --- scale: y = x * w by columns; option: only w has a gradient ------------ */

enum {
    SCALE_X,
    SCALE_W,
    SCALE_Y,
    SCALE_DY,
    SCALE_DX,
    SCALE_DW
};

void op_scale_layout(op_run *r)
{
    const op_case *c = r->c;

    op_in(r, SCALE_X, r->dtype, c->rows * c->in);
    op_in(r, SCALE_W, r->dtype, c->in);
    op_out(r, SCALE_Y, r->dtype, c->rows * c->in);
    op_cotangent(r, SCALE_DY, SCALE_Y);
    op_gradient(r, SCALE_DW, SCALE_W, r->real, true);
    if (!c->option) {
        op_gradient(r, SCALE_DX, SCALE_X, r->dtype, c->accumulate);
    }
}

cs_status op_scale_run(op_run *r)
{
    const op_case *c = r->c;
    const cs_scale_args args = {
        .dtype = r->dtype,
        .rows = c->rows,
        .columns = c->in,
        .x_TD = r->array[SCALE_X].data,
        .w_D = r->array[SCALE_W].data,
        .y_TD = r->array[SCALE_Y].data,
        .dy_TD = r->array[SCALE_DY].data,
        .dx_TD = r->array[SCALE_DX].data,
        .dw_D = r->array[SCALE_DW].data,
        .accumulate = c->accumulate,
    };

    CS_TRY(r->backend->ops.scale(r->backend, &args));
    if (r->with_backward) {
        CS_TRY(r->backend->ops.scale_backward(r->backend, &args));
    }
    return CS_OK;
}

/* --- route: `in` experts, `heads` of them chosen; option: their weights sum
 *     to 1; accumulate: the probabilities are read too (balance loss) ------- */

enum {
    ROUTE_LOGITS,
    ROUTE_P,
    ROUTE_EXPERT,
    ROUTE_WEIGHT,
    ROUTE_DWEIGHT,
    ROUTE_DP,
    ROUTE_DLOGITS
};

void op_route_layout(op_run *r)
{
    const op_case *c = r->c;

    op_in(r, ROUTE_LOGITS, r->dtype, c->rows * c->in);
    op_out(r, ROUTE_P, r->real, c->rows * c->in);
    op_out(r, ROUTE_EXPERT, CS_I32, c->rows * c->heads);
    op_out(r, ROUTE_WEIGHT, r->real, c->rows * c->heads);
    op_cotangent(r, ROUTE_DWEIGHT, ROUTE_WEIGHT);
    if (c->accumulate) {
        op_cotangent(r, ROUTE_DP, ROUTE_P);
    }
    op_gradient(r, ROUTE_DLOGITS, ROUTE_LOGITS, r->dtype, false);
}

cs_status op_route_run(op_run *r)
{
    const op_case *c = r->c;
    const cs_route_args args = {
        .dtype = r->dtype,
        .rows = c->rows,
        .experts = (int32_t)c->in,
        .top_k = c->heads,
        .normalises = c->option,
        .logits_TE = r->array[ROUTE_LOGITS].data,
        .p_TE = r->array[ROUTE_P].data,
        .expert_TK = r->array[ROUTE_EXPERT].data,
        .weight_TK = r->array[ROUTE_WEIGHT].data,
        .dweight_TK = r->array[ROUTE_DWEIGHT].data,
        .dp_TE = r->array[ROUTE_DP].data,
        .dlogits_TE = r->array[ROUTE_DLOGITS].data,
    };

    CS_TRY(r->backend->ops.route(r->backend, &args));
    if (r->with_backward) {
        CS_TRY(r->backend->ops.route_backward(r->backend, &args));
    }
    return CS_OK;
}
