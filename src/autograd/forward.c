/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forward ops of blocks: run, then record what backward needs. A value that
 * backward will read must have been kept by whoever made it; csi_tape_csi_tape_require_kept()
 * turns a wrong cs_keep into an error at record time.
 */
#include "record.h"

static cs_status alloc_real(cs_tape *tape, cs_keep keep, int64_t count,
                            void **out)
{
    return cs_tape_alloc(tape, keep, (size_t)count * cs_dtype_bytes(tape->real),
                         out);
}

cs_status cs_tape_linear(cs_tape *tape, cs_value *x, const cs_weight *w,
                         const cs_weight *b, cs_activation activation,
                         cs_keep keep, cs_value **y)
{
    const int64_t rows = cs_tensor_rows(&x->t);
    const int64_t in = cs_tensor_columns(&w->w);
    const int64_t out = cs_tensor_rows(&w->w);
    const bool trains = csi_tape_trains(tape, w);
    const bool records = tape->is_training &&
                         (x->needs_grad || trains || csi_tape_trains(tape, b));
    void *pre = NULL;
    cs_value *value = NULL;

    CS_CHECK(cs_tensor_columns(&x->t) == in, CS_ERR_SHAPE,
             "linear: x has %lld columns, w takes %lld",
             (long long)cs_tensor_columns(&x->t), (long long)in);
    CS_TRY(cs_tape_value(tape, rows, out, keep, &value));
    if (records && activation != CS_ACT_NONE) {
        CS_TRY(cs_tape_alloc(tape, CS_KEEP_SAVED, cs_tensor_bytes(&value->t),
                             &pre));
    }
    const cs_linear_args args = {
        .dtype = tape->dtype,
        .rows = rows,
        .in = in,
        .out = out,
        .x_TI = x->t.data,
        .w_OI = w->w.data,
        .b_O = b != NULL ? b->w.data : NULL,
        .activation = activation,
        .pre_TO = pre,
        .y_TO = value->t.data,
    };
    CS_TRY(cs_op_linear(tape->backend, &args));
    if (records) {
        csi_record *record = NULL;
        if (trains) {
            CS_TRY(csi_tape_require_kept(x, CS_KEEP_PRODUCT,
                                         "the input of a trainable product"));
        }
        CS_TRY(csi_tape_record(tape, CSI_RECORD_LINEAR, &record));
        record->x = x;
        record->y = value;
        record->w = *w;
        record->b = b != NULL ? *b : (cs_weight){0};
        record->u.linear.activation = activation;
        record->u.linear.pre = pre;
        value->needs_grad = true;
        value->defers_grad = trains && activation == CS_ACT_NONE;
    }
    *y = value;
    return CS_OK;
}

cs_status cs_tape_norm(cs_tape *tape, const cs_tape_norm_args *a, cs_value **s,
                       cs_value **y)
{
    const int64_t dim = a->dim > 0 ? a->dim : cs_tensor_columns(&a->x->t);
    const int64_t rows = cs_tensor_count(&a->x->t) / dim;
    const bool records =
        tape->is_training &&
        (a->x->needs_grad || (a->r != NULL && a->r->needs_grad) ||
         csi_tape_trains(tape, a->w) || csi_tape_trains(tape, a->b));
    cs_value *sum = a->x;
    cs_value *value = NULL;
    void *mean = NULL;
    void *rstd = NULL;

    CS_CHECK(cs_tensor_columns(&a->x->t) % dim == 0 &&
                 cs_tensor_count(&a->w->w) == dim,
             CS_ERR_SHAPE,
             "norm: x has %lld columns, groups have %lld, w has %lld",
             (long long)cs_tensor_columns(&a->x->t), (long long)dim,
             (long long)cs_tensor_count(&a->w->w));
    CS_CHECK(a->dim == 0 || a->r == NULL, CS_ERR_ARG,
             "norm: a norm of groups takes no residual");
    if (a->r != NULL) {
        CS_TRY(cs_tape_value(tape, rows, dim, a->keep_s, &sum));
    }
    CS_TRY(cs_tape_value(tape, cs_tensor_rows(&a->x->t),
                         cs_tensor_columns(&a->x->t), a->keep_y, &value));
    if (records) {
        CS_TRY(csi_tape_require_kept(sum, CS_KEEP_SAVED,
                                     "the input of a norm"));
        CS_TRY(alloc_real(tape, CS_KEEP_SAVED, rows, &mean));
        CS_TRY(alloc_real(tape, CS_KEEP_SAVED, rows, &rstd));
    }
    const cs_norm_args args = {
        .dtype = tape->dtype,
        .kind = a->kind,
        .rows = rows,
        .dim = dim,
        .eps = a->eps,
        .weight_offset = a->weight_offset,
        .x_TD = a->x->t.data,
        .r_TD = a->r != NULL ? a->r->t.data : NULL,
        .w_D = a->w->w.data,
        .b_D = a->b != NULL ? a->b->w.data : NULL,
        .s_TD = a->r != NULL ? sum->t.data : NULL,
        .y_TD = value->t.data,
        .mean_T = a->kind == CS_NORM_LAYER ? mean : NULL,
        .rstd_T = rstd,
    };
    CS_TRY(cs_op_norm(tape->backend, &args));
    if (records) {
        csi_record *record = NULL;
        CS_TRY(csi_tape_record(tape, CSI_RECORD_NORM, &record));
        record->x = a->x;
        record->r = a->r;
        record->y = value;
        record->w = *a->w;
        record->b = a->b != NULL ? *a->b : (cs_weight){0};
        record->u.norm.kind = a->kind;
        record->u.norm.weight_offset = a->weight_offset;
        record->u.norm.dim = dim;
        record->u.norm.s = sum;
        record->u.norm.mean = mean;
        record->u.norm.rstd = rstd;
        value->needs_grad = true;
        sum->needs_grad = sum->needs_grad || a->x->needs_grad ||
                          (a->r != NULL && a->r->needs_grad);
    }
    *s = sum;
    *y = value;
    return CS_OK;
}

cs_status cs_tape_rope(cs_tape *tape, const cs_rope_args *a, cs_value *q,
                       cs_value *k)
{
    cs_rope_args args = *a;

    args.dtype = tape->dtype;
    args.rows = cs_tensor_rows(&q->t);
    args.inverse = false;
    args.q_THK = q->t.data;
    args.k_TGK = k->t.data;
    CS_TRY(cs_op_rope(tape->backend, &args));
    if (q->needs_grad || k->needs_grad) {
        csi_record *record = NULL;
        CS_TRY(csi_tape_record(tape, CSI_RECORD_ROPE, &record));
        record->x = q;
        record->r = k;
        record->u.rope = args;
    }
    return CS_OK;
}

cs_status cs_tape_attention(cs_tape *tape, const cs_attention_args *a,
                            cs_value *q, cs_value *k, cs_value *v, cs_keep keep,
                            cs_value **o)
{
    const int64_t rows = cs_tensor_rows(&q->t);
    const bool records = q->needs_grad || k->needs_grad || v->needs_grad;
    cs_attention_args args = *a;
    cs_value *value = NULL;

    CS_TRY(cs_tape_value(tape, rows, cs_tensor_columns(&q->t), keep, &value));
    args.dtype = tape->dtype;
    args.q_rows = rows;
    args.k_rows = cs_tensor_rows(&k->t);
    args.q_THK = q->t.data;
    args.k_TGK = k->t.data;
    args.v_TGK = v->t.data;
    args.o_THK = value->t.data;
    args.lse_HT = NULL;
    if (records) {
        CS_TRY(csi_tape_require_kept(q, CS_KEEP_SAVED, "q"));
        CS_TRY(csi_tape_require_kept(k, CS_KEEP_SAVED, "k"));
        CS_TRY(csi_tape_require_kept(v, CS_KEEP_SAVED, "v"));
        CS_TRY(csi_tape_require_kept(value, CS_KEEP_SAVED,
                                     "the output of attention"));
        CS_TRY(alloc_real(tape, CS_KEEP_SAVED, rows * a->heads, &args.lse_HT));
    }
    CS_TRY(cs_op_attention(tape->backend, &args));
    if (records) {
        csi_record *record = NULL;
        CS_TRY(csi_tape_record(tape, CSI_RECORD_ATTENTION, &record));
        record->x = q;
        record->r = k;
        record->v = v;
        record->y = value;
        record->u.attention = args;
        value->needs_grad = true;
    }
    *o = value;
    return CS_OK;
}

cs_status cs_tape_gated(cs_tape *tape, cs_value *gate, cs_value *up,
                        cs_activation activation, cs_keep keep, cs_value **y)
{
    const bool records = gate->needs_grad || up->needs_grad;
    cs_value *value = NULL;

    CS_TRY(cs_tape_value(tape, cs_tensor_rows(&up->t),
                         cs_tensor_columns(&up->t), keep, &value));
    const cs_gated_args args = {
        .dtype = tape->dtype,
        .count = cs_tensor_count(&up->t),
        .activation = activation,
        .gate = gate->t.data,
        .up = up->t.data,
        .y = value->t.data,
    };
    CS_TRY(cs_op_gated(tape->backend, &args));
    if (records) {
        csi_record *record = NULL;
        CS_TRY(csi_tape_require_kept(gate, CS_KEEP_SAVED, "the gate"));
        CS_TRY(csi_tape_require_kept(up, CS_KEEP_SAVED, "the gated value"));
        CS_TRY(csi_tape_record(tape, CSI_RECORD_GATED, &record));
        record->x = gate;
        record->r = up;
        record->y = value;
        record->u.activation = activation;
        value->needs_grad = true;
    }
    *y = value;
    return CS_OK;
}

cs_status cs_tape_add(cs_tape *tape, cs_value *a, cs_value *b, cs_keep keep,
                      cs_value **y)
{
    cs_value *value = NULL;

    CS_TRY(cs_tape_value(tape, cs_tensor_rows(&a->t), cs_tensor_columns(&a->t),
                         keep, &value));
    const cs_axpby_args args = {
        .dtype = tape->dtype,
        .count = cs_tensor_count(&a->t),
        .alpha = 1.0,
        .beta = 1.0,
        .a = a->t.data,
        .b = b->t.data,
        .y = value->t.data,
    };
    CS_TRY(cs_op_axpby(tape->backend, &args));
    if (a->needs_grad || b->needs_grad) {
        csi_record *record = NULL;
        CS_TRY(csi_tape_record(tape, CSI_RECORD_ADD, &record));
        record->x = a;
        record->r = b;
        record->y = value;
        value->needs_grad = true;
    }
    *y = value;
    return CS_OK;
}

cs_status cs_tape_multiply(cs_tape *tape, cs_value *x, double factor,
                           cs_keep keep, cs_value **y)
{
    cs_value *value = NULL;

    CS_TRY(cs_tape_value(tape, cs_tensor_rows(&x->t), cs_tensor_columns(&x->t),
                         keep, &value));
    const cs_axpby_args args = {
        .dtype = tape->dtype,
        .count = cs_tensor_count(&x->t),
        .alpha = factor,
        .a = x->t.data,
        .y = value->t.data,
    };
    CS_TRY(cs_op_axpby(tape->backend, &args));
    if (x->needs_grad) {
        csi_record *record = NULL;
        CS_TRY(csi_tape_record(tape, CSI_RECORD_MULTIPLY, &record));
        record->x = x;
        record->y = value;
        record->u.factor = factor;
        value->needs_grad = true;
    }
    *y = value;
    return CS_OK;
}

cs_status cs_tape_scale(cs_tape *tape, cs_value *x, const cs_weight *w,
                        cs_keep keep, cs_value **y)
{
    const bool trains = csi_tape_trains(tape, w);
    cs_value *value = NULL;

    CS_CHECK(cs_tensor_count(&w->w) == cs_tensor_columns(&x->t), CS_ERR_SHAPE,
             "scale: x has %lld columns, w has %lld",
             (long long)cs_tensor_columns(&x->t),
             (long long)cs_tensor_count(&w->w));
    CS_TRY(cs_tape_value(tape, cs_tensor_rows(&x->t), cs_tensor_columns(&x->t),
                         keep, &value));
    const cs_scale_args args = {
        .dtype = tape->dtype,
        .rows = cs_tensor_rows(&x->t),
        .columns = cs_tensor_columns(&x->t),
        .x_TD = x->t.data,
        .w_D = w->w.data,
        .y_TD = value->t.data,
    };
    CS_TRY(cs_op_scale(tape->backend, &args));
    if (x->needs_grad || trains) {
        csi_record *record = NULL;
        if (trains) {
            CS_TRY(csi_tape_require_kept(x, CS_KEEP_SAVED,
                                         "the input of a trainable scale"));
        }
        CS_TRY(csi_tape_record(tape, CSI_RECORD_SCALE, &record));
        record->x = x;
        record->y = value;
        record->w = *w;
        value->needs_grad = true;
    }
    *y = value;
    return CS_OK;
}
