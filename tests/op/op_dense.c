/* SPDX-License-Identifier: Apache-2.0 */
/* Cases of matrix products, element-wise ops, norms and the loss. */
#include "op_case.h"
#include "test.h"

/* --- linear: y = act(x W^T + b) and both halves of its backward --------- */

enum {
    LINEAR_X,
    LINEAR_W,
    LINEAR_B,
    LINEAR_Y,
    LINEAR_PRE,
    LINEAR_DY,
    LINEAR_DX,
    LINEAR_DW,
    LINEAR_DB,
    LINEAR_DPRE
};

void op_linear_layout(op_run *r)
{
    const op_case *c = r->c;
    const int64_t n = c->rows * c->out;

    op_in(r, LINEAR_X, r->dtype, c->rows * c->in);
    op_in(r, LINEAR_W, r->dtype, c->out * c->in);
    op_in(r, LINEAR_B, r->dtype, c->out);
    op_out(r, LINEAR_Y, r->dtype, n);
    op_out(r, LINEAR_PRE, r->dtype, n);
    op_cotangent(r, LINEAR_DY, LINEAR_Y);
    op_gradient(r, LINEAR_DX, LINEAR_X, r->dtype, c->accumulate);
    op_gradient(r, LINEAR_DW, LINEAR_W, r->real, true);
    if (c->option) {
        op_gradient(r, LINEAR_DB, LINEAR_B, r->real, true);
    }
    op_out(r, LINEAR_DPRE, r->dtype, n);
}

static cs_status run_linear_backward(op_run *r)
{
    const op_case *c = r->c;
    const cs_op_table *ops = &r->backend->ops;
    const cs_activation_args slope = {
        .dtype = r->dtype,
        .count = c->rows * c->out,
        .activation = c->activation,
        .x = r->array[LINEAR_PRE].data,
        .dy = r->array[LINEAR_DY].data,
        .y = r->array[LINEAR_DPRE].data,
    };
    const cs_linear_input_args input = {
        .dtype = r->dtype,
        .rows = c->rows,
        .in = c->in,
        .out = c->out,
        .dy_TO = r->array[LINEAR_DPRE].data,
        .w_OI = r->array[LINEAR_W].data,
        .dx_TI = r->array[LINEAR_DX].data,
        .accumulate = c->accumulate,
    };
    const cs_linear_weight_args weight = {
        .dtype = r->dtype,
        .rows = c->rows,
        .in = c->in,
        .out = c->out,
        .dy_TO = r->array[LINEAR_DPRE].data,
        .x_TI = r->array[LINEAR_X].data,
        .dw_OI = r->array[LINEAR_DW].data,
        .db_O = r->array[LINEAR_DB].data,
    };

    CS_TRY(ops->activation_backward(r->backend, &slope));
    CS_TRY(ops->linear_input(r->backend, &input));
    CS_TRY(ops->linear_weight(r->backend, &weight));
    return CS_OK;
}

cs_status op_linear_run(op_run *r)
{
    const op_case *c = r->c;
    const cs_linear_args args = {
        .dtype = r->dtype,
        .rows = c->rows,
        .in = c->in,
        .out = c->out,
        .x_TI = r->array[LINEAR_X].data,
        .w_OI = r->array[LINEAR_W].data,
        .b_O = c->option ? r->array[LINEAR_B].data : NULL,
        .activation = c->activation,
        .pre_TO = r->array[LINEAR_PRE].data,
        .y_TO = r->array[LINEAR_Y].data,
    };

    CS_TRY(r->backend->ops.linear(r->backend, &args));
    if (r->with_backward) {
        CS_TRY(run_linear_backward(r));
    }
    return CS_OK;
}

/* --- activation ---------------------------------------------------------- */

enum {
    ACT_X,
    ACT_Y,
    ACT_DY,
    ACT_DX
};

void op_activation_layout(op_run *r)
{
    const int64_t n = r->c->rows * r->c->in;

    op_in(r, ACT_X, r->dtype, n);
    op_out(r, ACT_Y, r->dtype, n);
    op_cotangent(r, ACT_DY, ACT_Y);
    op_gradient(r, ACT_DX, ACT_X, r->dtype, false);
}

cs_status op_activation_run(op_run *r)
{
    cs_activation_args args = {
        .dtype = r->dtype,
        .count = r->c->rows * r->c->in,
        .activation = r->c->activation,
        .x = r->array[ACT_X].data,
        .y = r->array[ACT_Y].data,
    };

    CS_TRY(r->backend->ops.activation(r->backend, &args));
    if (r->with_backward) {
        args.dy = r->array[ACT_DY].data;
        args.y = r->array[ACT_DX].data;
        if (r->c->option) { /* dx in dy's place */
            op_copy(r, ACT_DX, ACT_DY);
            args.dy = args.y;
        }
        CS_TRY(r->backend->ops.activation_backward(r->backend, &args));
    }
    return CS_OK;
}

/* --- gated: y = act(gate) * up ------------------------------------------- */

enum {
    GATED_GATE,
    GATED_UP,
    GATED_Y,
    GATED_DY,
    GATED_DGATE,
    GATED_DUP
};

void op_gated_layout(op_run *r)
{
    const int64_t n = r->c->rows * r->c->in;

    op_in(r, GATED_GATE, r->dtype, n);
    op_in(r, GATED_UP, r->dtype, n);
    op_out(r, GATED_Y, r->dtype, n);
    op_cotangent(r, GATED_DY, GATED_Y);
    op_gradient(r, GATED_DGATE, GATED_GATE, r->dtype, false);
    op_gradient(r, GATED_DUP, GATED_UP, r->dtype, false);
}

cs_status op_gated_run(op_run *r)
{
    const cs_gated_args args = {
        .dtype = r->dtype,
        .count = r->c->rows * r->c->in,
        .activation = r->c->activation,
        .gate = r->array[GATED_GATE].data,
        .up = r->array[GATED_UP].data,
        .y = r->array[GATED_Y].data,
        .dy = r->array[GATED_DY].data,
        .dgate = r->array[GATED_DGATE].data,
        .dup = r->array[GATED_DUP].data,
    };

    CS_TRY(r->backend->ops.gated(r->backend, &args));
    if (r->with_backward) {
        CS_TRY(r->backend->ops.gated_backward(r->backend, &args));
    }
    return CS_OK;
}

/* --- norm; scale: offset of w; option: with a residual branch ------------- */

enum {
    NORM_X,
    NORM_R,
    NORM_W,
    NORM_B,
    NORM_S,
    NORM_Y,
    NORM_MEAN,
    NORM_RSTD,
    NORM_DY,
    NORM_DX,
    NORM_DR,
    NORM_DW,
    NORM_DB
};

void op_norm_layout(op_run *r)
{
    const op_case *c = r->c;
    const int64_t n = c->rows * c->in;

    op_in(r, NORM_X, r->dtype, n);
    op_in(r, NORM_W, r->dtype, c->in);
    op_out(r, NORM_Y, r->dtype, n);
    op_out(r, NORM_RSTD, r->real, c->rows);
    op_cotangent(r, NORM_DY, NORM_Y);
    op_gradient(r, NORM_DX, NORM_X, r->dtype, c->accumulate);
    op_gradient(r, NORM_DW, NORM_W, r->real, true);
    if (c->norm == CS_NORM_LAYER) {
        op_in(r, NORM_B, r->dtype, c->in);
        op_out(r, NORM_MEAN, r->real, c->rows);
        op_gradient(r, NORM_DB, NORM_B, r->real, true);
    }
    if (c->option) {
        op_in(r, NORM_R, r->dtype, n);
        op_out(r, NORM_S, r->dtype, n);
        op_gradient(r, NORM_DR, NORM_R, r->dtype, c->accumulate);
    }
}

static cs_status run_norm_backward(op_run *r, int ds, bool with_weights)
{
    const cs_norm_backward_args args = {
        .dtype = r->dtype,
        .kind = r->c->norm,
        .rows = r->c->rows,
        .dim = r->c->in,
        .weight_offset = r->c->scale,
        .s_TD = r->array[r->c->option ? NORM_S : NORM_X].data,
        .w_D = r->array[NORM_W].data,
        .mean_T = r->array[NORM_MEAN].data,
        .rstd_T = r->array[NORM_RSTD].data,
        .dy_TD = r->array[NORM_DY].data,
        .ds_TD = r->array[ds].data,
        .dw_D = with_weights ? r->array[NORM_DW].data : NULL,
        .db_D = with_weights ? r->array[NORM_DB].data : NULL,
        .accumulate = r->c->accumulate,
    };

    CS_TRY(r->backend->ops.norm_backward(r->backend, &args));
    return CS_OK;
}

cs_status op_norm_run(op_run *r)
{
    const cs_norm_args args = {
        .dtype = r->dtype,
        .kind = r->c->norm,
        .rows = r->c->rows,
        .dim = r->c->in,
        .eps = 1e-5,
        .weight_offset = r->c->scale,
        .x_TD = r->array[NORM_X].data,
        .r_TD = r->array[NORM_R].data,
        .w_D = r->array[NORM_W].data,
        .b_D = r->array[NORM_B].data,
        .s_TD = r->array[NORM_S].data,
        .y_TD = r->array[NORM_Y].data,
        .mean_T = r->array[NORM_MEAN].data,
        .rstd_T = r->array[NORM_RSTD].data,
    };

    CS_TRY(r->backend->ops.norm(r->backend, &args));
    if (r->with_backward) {
        CS_TRY(run_norm_backward(r, NORM_DX, true));
        if (r->c->option) { /* the sum's gradient is both branches' */
            CS_TRY(run_norm_backward(r, NORM_DR, false));
        }
    }
    return CS_OK;
}

/* --- axpby; option: without b -------------------------------------------- */

enum {
    AXPBY_A,
    AXPBY_B,
    AXPBY_Y
};

void op_axpby_layout(op_run *r)
{
    const int64_t n = r->c->rows * r->c->in;

    op_in(r, AXPBY_A, r->dtype, n);
    op_in(r, AXPBY_B, r->dtype, n);
    op_out(r, AXPBY_Y, r->dtype, n);
}

cs_status op_axpby_run(op_run *r)
{
    cs_axpby_args args = {
        .dtype = r->dtype,
        .count = r->c->rows * r->c->in,
        .alpha = 0.75,
        .beta = -1.25,
        .a = r->array[AXPBY_A].data,
        .b = r->c->option ? NULL : r->array[AXPBY_B].data,
        .y = r->array[AXPBY_Y].data,
    };

    if (r->c->accumulate) { /* y in b's place */
        op_copy(r, AXPBY_Y, AXPBY_B);
        args.b = args.y;
    }
    CS_TRY(r->backend->ops.axpby(r->backend, &args));
    return CS_OK;
}

/* --- head + cross-entropy: rows x in x vocab; option: all rows ignored --- */

enum {
    HEAD_X,
    HEAD_W,
    HEAD_NLL,
    HEAD_LSE,
    HEAD_SUM,
    HEAD_CORRECT,
    HEAD_DNLL,
    HEAD_DX,
    HEAD_DW
};

#define HEAD_SCALE 0.125

void op_head_loss_layout(op_run *r)
{
    const op_case *c = r->c;

    op_in(r, HEAD_X, r->dtype, c->rows * c->in);
    op_in(r, HEAD_W, r->dtype, c->out * c->in);
    op_out(r, HEAD_NLL, r->real, c->rows);
    op_out(r, HEAD_LSE, r->real, c->rows);
    op_out(r, HEAD_SUM, CS_F64, 1);
    op_out(r, HEAD_CORRECT, CS_I64, 1);
    op_cotangent(r, HEAD_DNLL, HEAD_NLL);
    r->array[HEAD_DNLL].is_uniform = true;
    r->array[HEAD_DNLL].fill = HEAD_SCALE;
    r->array[HEAD_SUM].is_uniform = true;
    r->array[HEAD_SUM].fill = 3;
    r->array[HEAD_CORRECT].is_uniform = true;
    r->array[HEAD_CORRECT].fill = 5;
    op_gradient(r, HEAD_DX, HEAD_X, r->dtype, false);
    op_gradient(r, HEAD_DW, HEAD_W, r->real, true);
    r->index = op_alloc(r, (size_t)c->rows * sizeof *r->index);
    for (int64_t t = 0; t < c->rows; t++) {
        const bool is_ignored = c->option || op_draw(r, 1, t, 4) == 0;
        r->index[t] = is_ignored ? -100 : (int32_t)op_draw(r, 2, t, c->out);
    }
}

cs_status op_head_loss_run(op_run *r)
{
    const op_case *c = r->c;
    const cs_head_loss_backward_args args = {
        .forward =
            {
                .dtype = r->dtype,
                .rows = c->rows,
                .in = c->in,
                .vocab = c->out,
                .softcap = c->softcap,
                .x_TI = r->array[HEAD_X].data,
                .w_VI = r->array[HEAD_W].data,
                .label_T = r->index,
                .nll_T = r->array[HEAD_NLL].data,
                .lse_T = r->array[HEAD_LSE].data,
                .loss_sum = r->array[HEAD_SUM].data,
                .n_correct = r->array[HEAD_CORRECT].data,
            },
        .scale = HEAD_SCALE,
        .dx_TI = r->array[HEAD_DX].data,
        .dw_VI = r->array[HEAD_DW].data,
    };

    CS_TRY(r->backend->ops.head_loss(r->backend, &args.forward));
    if (r->with_backward) {
        CS_TRY(r->backend->ops.head_loss_backward(r->backend, &args));
    }
    return CS_OK;
}
