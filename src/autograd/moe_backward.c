/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both halves of backward of a mixture of experts. The input half goes back
 * through the experts and through the router; the weight half runs over
 * experts in ascending order and, inside of one, over rows: a weight's bits
 * do not depend on what the other experts are given.
 */
#include "moe.h"

#include <string.h>

static cs_status alloc_slots(cs_tape *tape, const csi_moe *m, bool defers,
                             int64_t columns, void **out)
{
    return cs_tape_alloc(tape, defers ? CS_KEEP_PRODUCT : CS_KEEP_TEMP,
                         (size_t)m->slots * (size_t)columns *
                             cs_dtype_bytes(tape->dtype),
                         out);
}

static cs_status alloc_weights(cs_tape *tape, const csi_moe *m, void **out)
{
    return cs_tape_alloc(tape, CS_KEEP_TEMP,
                         (size_t)m->slots * cs_dtype_bytes(tape->real), out);
}

/* dx (+)= dy W, each expert on its own rows. */
static cs_status product_input(cs_tape *tape, const csi_moe *m,
                               const csi_moe_product *p, void *dx,
                               bool accumulate)
{
    const size_t size = cs_dtype_bytes(tape->dtype);

    for (int32_t e = 0; e < m->args.experts; e++) {
        const int64_t begin = m->begin_E[e];
        const cs_linear_input_args args = {
            .dtype = tape->dtype,
            .rows = m->begin_E[e + 1] - begin,
            .in = p->in,
            .out = p->out,
            .dy_TO = (const char *)p->dy + (size_t)(begin * p->out) * size,
            .w_OI = cs_tensor_row_view(&p->w.w, e, e + 1).data,
            .dx_TI = (char *)dx + (size_t)(begin * p->in) * size,
            .accumulate = accumulate,
        };
        CS_TRY(cs_op_linear_input(tape->backend, &args));
    }
    return CS_OK;
}

/* dw += dy^T x, each expert on its own rows. */
static cs_status product_weight(cs_tape *tape, const csi_moe *m,
                                const csi_moe_product *p, const void *x)
{
    const size_t size = cs_dtype_bytes(tape->dtype);
    const size_t grad_bytes =
        (size_t)(p->in * p->out) * cs_dtype_bytes(tape->real);

    for (int32_t e = 0; e < m->args.experts; e++) {
        const int64_t begin = m->begin_E[e];
        const cs_linear_weight_args args = {
            .dtype = tape->dtype,
            .rows = m->begin_E[e + 1] - begin,
            .in = p->in,
            .out = p->out,
            .dy_TO = (const char *)p->dy + (size_t)(begin * p->out) * size,
            .x_TI = (const char *)x + (size_t)(begin * p->in) * size,
            .dw_OI = (char *)p->w.grad + (size_t)e * grad_bytes,
        };
        CS_TRY(cs_op_linear_weight(tape->backend, &args));
    }
    return CS_OK;
}

/* Gradients of the experts' results and of the router's weights. */
static cs_status split_slopes(cs_tape *tape, csi_moe *m, const void *dy,
                              void **dweight)
{
    if (m->needs_out) {
        CS_TRY(alloc_slots(tape, m, m->down.w.grad != NULL, m->columns,
                           &m->down.dy));
        memset(m->down.dy, 0,
               (size_t)(m->slots * m->columns) * cs_dtype_bytes(tape->dtype));
    }
    if (m->needs_choice) {
        CS_TRY(alloc_weights(tape, m, dweight));
    }
    const cs_mix_args args = {
        .dtype = tape->dtype,
        .dx_dtype = tape->dtype,
        .rows = m->rows,
        .columns = m->columns,
        .x_rows = m->slots,
        .k = m->args.top_k,
        .index_TK = m->slot_TK,
        .weight_TK = m->weight_TK,
        .x = m->needs_choice ? m->out_S : NULL,
        .dy_TD = dy,
        .dx = m->down.dy,
        .dweight_TK = *dweight,
    };
    return cs_op_mix_backward(tape->backend, &args);
}

static cs_status backward_hidden(cs_tape *tape, csi_moe *m)
{
    void *dh = NULL;

    CS_TRY(alloc_slots(tape, m, m->gate.w.grad != NULL, m->hidden,
                       &m->gate.dy));
    CS_TRY(alloc_slots(tape, m, m->up.w.grad != NULL, m->hidden, &m->up.dy));
    CS_TRY(alloc_slots(tape, m, false, m->hidden, &dh));
    CS_TRY(product_input(tape, m, &m->down, dh, false));
    const cs_gated_args args = {
        .dtype = tape->dtype,
        .count = m->slots * m->hidden,
        .activation = m->args.activation,
        .gate = m->gate_S,
        .up = m->up_S,
        .dy = dh,
        .dgate = m->gate.dy,
        .dup = m->up.dy,
    };
    return cs_op_gated_backward(tape->backend, &args);
}

/* x.grad (+)= the sum of its slots' gradients, rounded once. */
static cs_status add_slots(cs_tape *tape, const csi_moe *m, const void *dx_S,
                           cs_value *x, bool accumulate)
{
    void *ones = NULL;
    void *sum = x->grad;

    CS_TRY(alloc_weights(tape, m, &ones));
    for (int64_t i = 0; i < m->slots; i++) {
        csi_dtype_set(ones, tape->real, i, 1.0);
    }
    if (accumulate) {
        CS_TRY(cs_tape_alloc(tape, CS_KEEP_TEMP, cs_tensor_bytes(&x->t), &sum));
    }
    const cs_mix_args mix = {
        .dtype = tape->dtype,
        .rows = m->rows,
        .columns = m->columns,
        .x_rows = m->slots,
        .k = m->args.top_k,
        .index_TK = m->slot_TK,
        .weight_TK = ones,
        .x = dx_S,
        .y_TD = sum,
    };
    const cs_axpby_args add = {
        .dtype = tape->dtype,
        .count = m->rows * m->columns,
        .alpha = 1.0,
        .beta = 1.0,
        .a = x->grad,
        .b = sum,
        .y = x->grad,
    };
    CS_TRY(cs_op_mix(tape->backend, &mix));
    if (accumulate) {
        CS_TRY(cs_op_axpby(tape->backend, &add));
    }
    return CS_OK;
}

static cs_status backward_experts(cs_tape *tape, csi_moe *m, cs_value *x,
                                  bool accumulate)
{
    void *dx_S = NULL;

    CS_TRY(backward_hidden(tape, m));
    if (!x->needs_grad) {
        return CS_OK;
    }
    CS_TRY(alloc_slots(tape, m, false, m->columns, &dx_S));
    CS_TRY(product_input(tape, m, &m->gate, dx_S, false));
    CS_TRY(product_input(tape, m, &m->up, dx_S, true));
    CS_TRY(add_slots(tape, m, dx_S, x, accumulate));
    return CS_OK;
}

/* The experts have written x.grad, if it is needed. */
static cs_status backward_router(cs_tape *tape, csi_moe *m, cs_value *x,
                                 const void *dweight)
{
    const size_t n_bytes =
        (size_t)(m->rows * m->args.experts) * cs_dtype_bytes(tape->dtype);
    void *dp = NULL;

    if (m->args.coefficient > 0.0) {
        CS_TRY(csi_moe_balance_slopes(tape, m, &dp));
    }
    CS_TRY(cs_tape_alloc(tape,
                         m->router.grad != NULL ? CS_KEEP_PRODUCT
                                                : CS_KEEP_TEMP,
                         n_bytes, &m->dlogits_TE));
    const cs_route_args route = {
        .dtype = tape->dtype,
        .rows = m->rows,
        .experts = m->args.experts,
        .top_k = m->args.top_k,
        .normalises = m->args.normalises,
        .p_TE = m->p_TE,
        .expert_TK = m->expert_TK,
        .weight_TK = m->weight_TK,
        .dweight_TK = dweight,
        .dp_TE = dp,
        .dlogits_TE = m->dlogits_TE,
    };
    CS_TRY(cs_op_route_backward(tape->backend, &route));
    if (!x->needs_grad) {
        return CS_OK;
    }
    const cs_linear_input_args input = {
        .dtype = tape->dtype,
        .rows = m->rows,
        .in = m->columns,
        .out = m->args.experts,
        .dy_TO = m->dlogits_TE,
        .w_OI = m->router.w.data,
        .dx_TI = x->grad,
        .accumulate = true,
    };
    return cs_op_linear_input(tape->backend, &input);
}

cs_status csi_backward_moe(cs_tape *tape, csi_record *record)
{
    csi_moe *m = record->u.moe;
    cs_value *x = record->x;
    void *dweight = NULL;
    bool accumulate = false;

    if (x->needs_grad) {
        CS_TRY(csi_tape_grad_buffer(tape, x, &accumulate));
    }
    const csi_arena_mark mark = csi_arena_save(tape->workspace);
    CS_TRY(split_slopes(tape, m, record->y->grad, &dweight));
    if (m->needs_hidden) {
        CS_TRY(backward_experts(tape, m, x, accumulate));
    }
    if (m->needs_choice) {
        CS_TRY(backward_router(tape, m, x, dweight));
    }
    csi_arena_rewind(tape->workspace, mark);
    m->has_slopes = true;
    return CS_OK;
}

static cs_status router_weight(cs_tape *tape, const csi_moe *m,
                               const cs_value *x)
{
    const cs_linear_weight_args args = {
        .dtype = tape->dtype,
        .rows = m->rows,
        .in = m->columns,
        .out = m->args.experts,
        .dy_TO = m->dlogits_TE,
        .x_TI = x->t.data,
        .dw_OI = m->router.grad,
    };
    return cs_op_linear_weight(tape->backend, &args);
}

cs_status csi_backward_moe_weight(cs_tape *tape, csi_record *record)
{
    const csi_moe *m = record->u.moe;
    const csi_arena_mark mark = csi_arena_save(tape->workspace);
    void *x_S = NULL;

    if (!m->has_slopes) {
        return CS_OK;
    }
    if (m->down.w.grad != NULL) {
        CS_TRY(product_weight(tape, m, &m->down, m->h_S));
    }
    if (m->gate.w.grad != NULL || m->up.w.grad != NULL) {
        CS_TRY(csi_moe_gather(tape, m, record->x, &x_S));
    }
    if (m->gate.w.grad != NULL) {
        CS_TRY(product_weight(tape, m, &m->gate, x_S));
    }
    if (m->up.w.grad != NULL) {
        CS_TRY(product_weight(tape, m, &m->up, x_S));
    }
    if (m->router.grad != NULL) {
        CS_TRY(router_weight(tape, m, record->x));
    }
    csi_arena_rewind(tape->workspace, mark);
    return CS_OK;
}
