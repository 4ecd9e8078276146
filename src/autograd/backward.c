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

/* The buffer of x's gradient; *accumulate says whether it holds something. */
static cs_status grad_buffer(cs_tape *tape, cs_value *x, bool *accumulate)
{
    *accumulate = x->grad != NULL;
    if (x->grad == NULL) {
        x->grad_where = x->defers_grad ? CS_KEEP_PRODUCT : CS_KEEP_TEMP;
        CS_TRY(cs_tape_alloc(tape, x->grad_where, cs_tensor_bytes(&x->t),
                             &x->grad));
    }
    return CS_OK;
}

/* The same for ops whose backward overwrites: a second reader's share would
 * be lost. */
static cs_status only_grad_buffer(cs_tape *tape, cs_value *x, const char *what)
{
    bool accumulate = false;

    CS_CHECK(x->grad == NULL, CS_ERR_INTERNAL,
             "backward: %s may have one reader, it has more", what);
    return grad_buffer(tape, x, &accumulate);
}

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
    CS_TRY(grad_buffer(tape, x, &accumulate));
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
    CS_TRY(grad_buffer(tape, x, &args.accumulate));
    args.dx_TI = x->grad;
    return cs_op_linear_input(tape->backend, &args);
}

static cs_status backward_norm(cs_tape *tape, csi_record *record)
{
    cs_value *s = record->u.norm.s;
    cs_norm_backward_args args = {
        .dtype = tape->dtype,
        .kind = record->u.norm.kind,
        .rows = cs_tensor_rows(&s->t),
        .dim = cs_tensor_columns(&s->t),
        .s_TD = s->t.data,
        .w_D = record->w.w.data,
        .mean_T = record->u.norm.mean,
        .rstd_T = record->u.norm.rstd,
        .dy_TD = record->y->grad,
        .dw_D = record->w.grad,
        .db_D = record->b.grad,
    };

    if (s->needs_grad) {
        CS_TRY(grad_buffer(tape, s, &args.accumulate));
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

    CS_TRY(only_grad_buffer(tape, record->x, "q"));
    CS_TRY(only_grad_buffer(tape, record->r, "k"));
    CS_TRY(only_grad_buffer(tape, record->v, "v"));
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

    CS_TRY(only_grad_buffer(tape, record->x, "a gate"));
    CS_TRY(only_grad_buffer(tape, record->r, "a gated value"));
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

static cs_status backward_embed(cs_tape *tape, csi_record *record)
{
    const cs_scatter_add_args args = {
        .dtype = tape->dtype,
        .dx_dtype = tape->real,
        .rows = cs_tensor_rows(&record->y->t),
        .columns = cs_tensor_columns(&record->y->t),
        .x_rows = cs_tensor_rows(&record->w.w),
        .index_T = record->u.index,
        .dy_TD = record->y->grad,
        .dx = record->w.grad,
    };
    return cs_op_scatter_add(tape->backend, &args);
}

static cs_status backward_merge(cs_tape *tape, csi_record *record)
{
    cs_value *features = record->x;
    bool accumulate = false;
    cs_scatter_add_args args = {
        .dtype = tape->dtype,
        .dx_dtype = tape->dtype,
        .rows = cs_tensor_rows(&record->y->t),
        .columns = cs_tensor_columns(&record->y->t),
        .x_rows = cs_tensor_rows(&features->t),
        .index_T = record->u.index,
        .dy_TD = record->y->grad,
    };

    CS_TRY(grad_buffer(tape, features, &accumulate));
    if (!accumulate) {
        memset(features->grad, 0, cs_tensor_bytes(&features->t));
    }
    args.dx = features->grad;
    return cs_op_scatter_add(tape->backend, &args);
}

static cs_status backward_pool(cs_tape *tape, csi_record *record)
{
    cs_pool_args args = record->u.pool;

    CS_TRY(grad_buffer(tape, record->x, &args.accumulate));
    args.dy = record->y->grad;
    args.dx = record->x->grad;
    return cs_op_pool_backward(tape->backend, &args);
}

static cs_status backward_im2col(cs_tape *tape, csi_record *record)
{
    cs_im2col_args args = record->u.im2col;

    CS_TRY(grad_buffer(tape, record->x, &args.accumulate));
    args.dcols = record->y->grad;
    args.dx = record->x->grad;
    return cs_op_im2col_backward(tape->backend, &args);
}

static cs_status backward_loss(cs_tape *tape, csi_record *record)
{
    cs_head_loss_backward_args args = {
        .forward = record->u.loss.args,
        .scale = record->u.loss.scale,
        .dw_VI = record->w.grad,
    };

    if (record->x->needs_grad) {
        CS_TRY(only_grad_buffer(tape, record->x, "the head's input"));
        args.dx_TI = record->x->grad;
    }
    return cs_op_head_loss_backward(tape->backend, &args);
}

static const backward_fn BACKWARD[CSI_RECORD_COUNT] = {
    [CSI_RECORD_LAYER] = backward_layer,
    [CSI_RECORD_LINEAR] = backward_linear,
    [CSI_RECORD_NORM] = backward_norm,
    [CSI_RECORD_ROPE] = backward_rope,
    [CSI_RECORD_ATTENTION] = backward_attention,
    [CSI_RECORD_GATED] = backward_gated,
    [CSI_RECORD_ADD] = backward_add,
    [CSI_RECORD_EMBED] = backward_embed,
    [CSI_RECORD_MERGE] = backward_merge,
    [CSI_RECORD_POOL] = backward_pool,
    [CSI_RECORD_IM2COL] = backward_im2col,
    [CSI_RECORD_LOSS] = backward_loss,
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

cs_status cs_tape_backward_weight(cs_tape *tape)
{
    for (csi_record *r = tape->last; r != NULL; r = r->previous) {
        if (r->kind != CSI_RECORD_LINEAR || r->w.grad == NULL ||
            r->u.linear.dy == NULL) {
            continue;
        }
        const cs_linear_weight_args args = {
            .dtype = tape->dtype,
            .rows = cs_tensor_rows(&r->x->t),
            .in = cs_tensor_columns(&r->w.w),
            .out = cs_tensor_rows(&r->w.w),
            .dy_TO = r->u.linear.dy,
            .x_TI = r->x->t.data,
            .dw_OI = r->w.grad,
        };
        CS_TRY(cs_op_linear_weight(tape->backend, &args));
    }
    return CS_OK;
}
