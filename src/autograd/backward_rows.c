/* SPDX-License-Identifier: Apache-2.0 */
/* Backward of ops that move rows (embedding, gather, merge, mixing, pooling,
 * convolution input) and of the loss. */
#include "record.h"

#include <string.h>

cs_status csi_backward_embed(cs_tape *tape, csi_record *record)
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

/* A row that is read several times gets the sum of its readers' gradients. */
cs_status csi_backward_gather(cs_tape *tape, csi_record *record)
{
    cs_value *x = record->x;
    bool accumulate = false;
    cs_scatter_add_args args = {
        .dtype = tape->dtype,
        .dx_dtype = tape->dtype,
        .rows = cs_tensor_count(&record->y->t) / cs_tensor_columns(&x->t),
        .columns = cs_tensor_columns(&x->t),
        .x_rows = cs_tensor_rows(&x->t),
        .index_T = record->u.index,
        .dy_TD = record->y->grad,
    };

    CS_TRY(csi_tape_grad_buffer(tape, x, &accumulate));
    if (!accumulate) {
        memset(x->grad, 0, cs_tensor_bytes(&x->t));
    }
    args.dx = x->grad;
    return cs_op_scatter_add(tape->backend, &args);
}

/* The table's gradient; what x was before the sum has the same gradient as
 * the sum. */
cs_status csi_backward_mixed(cs_tape *tape, csi_record *record)
{
    cs_mix_args args = record->u.mix;

    args.dx_dtype = tape->real;
    args.dy_TD = record->y->grad;
    args.dx = record->w.grad;
    return cs_op_mix_backward(tape->backend, &args);
}

cs_status csi_backward_pool(cs_tape *tape, csi_record *record)
{
    cs_pool_args args = record->u.pool;

    CS_TRY(csi_tape_grad_buffer(tape, record->x, &args.accumulate));
    args.dy = record->y->grad;
    args.dx = record->x->grad;
    return cs_op_pool_backward(tape->backend, &args);
}

cs_status csi_backward_im2col(cs_tape *tape, csi_record *record)
{
    cs_im2col_args args = record->u.im2col;

    CS_TRY(csi_tape_grad_buffer(tape, record->x, &args.accumulate));
    args.dcols = record->y->grad;
    args.dx = record->x->grad;
    return cs_op_im2col_backward(tape->backend, &args);
}

cs_status csi_backward_loss(cs_tape *tape, csi_record *record)
{
    cs_head_loss_backward_args args = {
        .forward = record->u.loss.args,
        .scale = record->u.loss.scale,
        .dw_VI = record->w.grad,
    };

    if (record->x->needs_grad) {
        CS_TRY(csi_tape_only_grad_buffer(tape, record->x, "the head's input"));
        args.dx_TI = record->x->grad;
    }
    return cs_op_head_loss_backward(tape->backend, &args);
}
