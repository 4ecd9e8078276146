/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backward: one rule per record kind, walked from the last record to the
 * first. A value's gradient is written by its first contribution and added to
 * by later ones. Where a sum hands its gradient to two inputs, they share the
 * buffer: the branch input's backward reads it before the trunk adds to it;
 * only a branch whose gradient the weight half will read gets a copy.
 */
#include "record.h"

#include <string.h>

typedef cs_status (*backward_fn)(cs_tape *tape, csi_record *record);

/* x.grad (+)= the gradient in `grad`, a buffer of x's size. Shares the buffer
 * where that is safe. */
static cs_status pass_grad(cs_tape *tape, cs_value *x, void *grad,
                           cs_keep grad_where)
{
    bool accumulate = false;

    if (!x->needs_grad) {
        return CS_OK;
    }
    if (x->grad == NULL && !x->defers_grad) {
        x->grad = grad;
        x->grad_where = grad_where;
        return CS_OK;
    }
    CS_TRY(csi_tape_grad_buffer(tape, x, &accumulate));
    if (!accumulate) {
        memcpy(x->grad, grad, cs_tensor_bytes(&x->t));
        return CS_OK;
    }
    const cs_axpby_args args = {
        .dtype = tape->dtype,
        .count = cs_tensor_count(&x->t),
        .alpha = 1.0,
        .beta = 1.0,
        .a = x->grad,
        .b = grad,
        .y = x->grad,
    };
    return cs_op_axpby(tape->backend, &args);
}

static cs_status backward_layer(cs_tape *tape, csi_record *record)
{
    cs_value *x = record->x;

    if (x->grad != NULL && x->grad_where == CS_KEEP_TEMP) {
        CS_TRY(csi_tape_to_front(tape, &x->grad, cs_tensor_bytes(&x->t)));
    } else {
        csi_arena_rewind(tape->workspace, tape->base);
    }
    return CS_OK;
}

static cs_status backward_linear(cs_tape *tape, csi_record *record)
{
    cs_value *x = record->x;
    const int64_t rows = cs_tensor_rows(&x->t);
    const int64_t in = cs_tensor_columns(&record->w.w);
    const int64_t out = cs_tensor_rows(&record->w.w);
    void *dy = record->y->grad;

    if (record->u.linear.activation != CS_ACT_NONE) {
        const cs_activation_args act = {
            .dtype = tape->dtype,
            .count = rows * out,
            .activation = record->u.linear.activation,
            .x = record->u.linear.pre,
            .dy = record->y->grad,
        };
        cs_activation_args args = act;
        CS_TRY(cs_tape_alloc(tape,
                             record->w.grad != NULL ? CS_KEEP_PRODUCT
                                                    : CS_KEEP_TEMP,
                             cs_tensor_bytes(&record->y->t), &dy));
        args.y = dy;
        CS_TRY(cs_op_activation_backward(tape->backend, &args));
    }
    record->u.linear.dy = dy;
    if (record->b.grad != NULL) {
        const cs_linear_weight_args bias = {
            .dtype = tape->dtype,
            .rows = rows,
            .in = in,
            .out = out,
            .dy_TO = dy,
            .db_O = record->b.grad,
        };
        CS_TRY(cs_op_linear_weight(tape->backend, &bias));
    }
    if (!x->needs_grad) {
        return CS_OK;
    }
    cs_linear_input_args args = {
        .dtype = tape->dtype,
        .rows = rows,
        .in = in,
        .out = out,
        .dy_TO = dy,
        .w_OI = record->w.w.data,
    };
    CS_TRY(csi_tape_grad_buffer(tape, x, &args.accumulate));
    args.dx_TI = x->grad;
    return cs_op_linear_input(tape->backend, &args);
}

static cs_status backward_norm(cs_tape *tape, csi_record *record)
{
    cs_value *s = record->u.norm.s;
    cs_norm_backward_args args = {
        .dtype = tape->dtype,
        .kind = record->u.norm.kind,
        .rows = cs_tensor_count(&s->t) / record->u.norm.dim,
        .dim = record->u.norm.dim,
        .weight_offset = record->u.norm.weight_offset,
        .s_TD = s->t.data,
        .w_D = record->w.w.data,
        .mean_T = record->u.norm.mean,
        .rstd_T = record->u.norm.rstd,
        .dy_TD = record->y->grad,
        .dw_D = record->w.grad,
        .db_D = record->b.grad,
    };

    if (s->needs_grad) {
        CS_TRY(csi_tape_grad_buffer(tape, s, &args.accumulate));
        args.ds_TD = s->grad;
    }
    CS_TRY(cs_op_norm_backward(tape->backend, &args));
    if (record->r != NULL && s->needs_grad) {
        CS_TRY(pass_grad(tape, record->r, s->grad, s->grad_where));
        CS_TRY(pass_grad(tape, record->x, s->grad, s->grad_where));
    }
    return CS_OK;
}

static cs_status backward_rope(cs_tape *tape, csi_record *record)
{
    cs_rope_args args = record->u.rope;

    args.inverse = true;
    args.q_THK = record->x->grad;
    args.k_TGK = record->r->grad;
    return cs_op_rope(tape->backend, &args);
}

static cs_status backward_attention(cs_tape *tape, csi_record *record)
{
    cs_attention_backward_args args = {
        .forward = record->u.attention,
        .do_THK = record->y->grad,
    };

    CS_TRY(csi_tape_only_grad_buffer(tape, record->x, "q"));
    CS_TRY(csi_tape_only_grad_buffer(tape, record->r, "k"));
    CS_TRY(csi_tape_only_grad_buffer(tape, record->v, "v"));
    args.dq_THK = record->x->grad;
    args.dk_TGK = record->r->grad;
    args.dv_TGK = record->v->grad;
    return cs_op_attention_backward(tape->backend, &args);
}

static cs_status backward_gated(cs_tape *tape, csi_record *record)
{
    cs_gated_args args = {
        .dtype = tape->dtype,
        .count = cs_tensor_count(&record->y->t),
        .activation = record->u.activation,
        .gate = record->x->t.data,
        .up = record->r->t.data,
        .dy = record->y->grad,
    };

    CS_TRY(csi_tape_only_grad_buffer(tape, record->x, "a gate"));
    CS_TRY(csi_tape_only_grad_buffer(tape, record->r, "a gated value"));
    args.dgate = record->x->grad;
    args.dup = record->r->grad;
    return cs_op_gated_backward(tape->backend, &args);
}

static cs_status backward_add(cs_tape *tape, csi_record *record)
{
    const cs_value *y = record->y;

    CS_TRY(pass_grad(tape, record->r, y->grad, y->grad_where));
    CS_TRY(pass_grad(tape, record->x, y->grad, y->grad_where));
    return CS_OK;
}

static cs_status backward_multiply(cs_tape *tape, csi_record *record)
{
    bool accumulate = false;
    cs_axpby_args args = {
        .dtype = tape->dtype,
        .count = cs_tensor_count(&record->y->t),
        .alpha = record->u.factor,
        .beta = 1.0,
        .a = record->y->grad,
    };

    CS_TRY(csi_tape_grad_buffer(tape, record->x, &accumulate));
    args.b = accumulate ? record->x->grad : NULL;
    args.y = record->x->grad;
    return cs_op_axpby(tape->backend, &args);
}

static cs_status backward_scale(cs_tape *tape, csi_record *record)
{
    cs_value *x = record->x;
    cs_scale_args args = {
        .dtype = tape->dtype,
        .rows = cs_tensor_rows(&x->t),
        .columns = cs_tensor_columns(&x->t),
        .x_TD = x->t.data,
        .w_D = record->w.w.data,
        .dy_TD = record->y->grad,
        .dw_D = record->w.grad,
    };

    if (x->needs_grad) {
        CS_TRY(csi_tape_grad_buffer(tape, x, &args.accumulate));
        args.dx_TD = x->grad;
    }
    return cs_op_scale_backward(tape->backend, &args);
}

static const backward_fn BACKWARD[CSI_RECORD_COUNT] = {
    [CSI_RECORD_LAYER] = backward_layer,
    [CSI_RECORD_LINEAR] = backward_linear,
    [CSI_RECORD_NORM] = backward_norm,
    [CSI_RECORD_ROPE] = backward_rope,
    [CSI_RECORD_ATTENTION] = backward_attention,
    [CSI_RECORD_GATED] = backward_gated,
    [CSI_RECORD_ADD] = backward_add,
    [CSI_RECORD_EMBED] = csi_backward_embed,
    [CSI_RECORD_GATHER] = csi_backward_gather,
    [CSI_RECORD_MULTIPLY] = backward_multiply,
    [CSI_RECORD_SCALE] = backward_scale,
    [CSI_RECORD_MIXED] = csi_backward_mixed,
    [CSI_RECORD_POOL] = csi_backward_pool,
    [CSI_RECORD_IM2COL] = csi_backward_im2col,
    [CSI_RECORD_MOE] = csi_backward_moe,
    [CSI_RECORD_LOSS] = csi_backward_loss,
};

/* Records without an output gradient contribute nothing; layer borders and
 * the loss start from nothing. Rope works on its inputs' gradients. */
static bool has_work(const csi_record *record)
{
    switch (record->kind) {
    case CSI_RECORD_LAYER:
    case CSI_RECORD_LOSS:
        return true;
    case CSI_RECORD_ROPE:
        return record->x->grad != NULL && record->r->grad != NULL;
    default:
        return record->y->grad != NULL;
    }
}

cs_status cs_tape_backward_input(cs_tape *tape, cs_value *output)
{
    CS_CHECK(output == NULL || output->grad != NULL, CS_ERR_ARG,
             "backward: the output has no gradient");
    cs_tape_begin(tape);
    for (csi_record *r = tape->last; r != NULL; r = r->previous) {
        if (has_work(r)) {
            CS_TRY(BACKWARD[r->kind](tape, r));
        }
    }
    return CS_OK;
}

static cs_status linear_weight(cs_tape *tape, const csi_record *record)
{
    const cs_linear_weight_args args = {
        .dtype = tape->dtype,
        .rows = cs_tensor_rows(&record->x->t),
        .in = cs_tensor_columns(&record->w.w),
        .out = cs_tensor_rows(&record->w.w),
        .dy_TO = record->u.linear.dy,
        .x_TI = record->x->t.data,
        .dw_OI = record->w.grad,
    };

    if (record->w.grad == NULL || record->u.linear.dy == NULL) {
        return CS_OK;
    }
    return cs_op_linear_weight(tape->backend, &args);
}

cs_status cs_tape_backward_weight(cs_tape *tape)
{
    for (csi_record *r = tape->last; r != NULL; r = r->previous) {
        if (r->kind == CSI_RECORD_LINEAR) {
            CS_TRY(linear_weight(tape, r));
        } else if (r->kind == CSI_RECORD_MOE) {
            CS_TRY(csi_backward_moe_weight(tape, r));
        }
    }
    return CS_OK;
}
