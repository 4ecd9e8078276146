/* SPDX-License-Identifier: Apache-2.0 */
/* Forward ops that move rows (embedding, gather, merge, mixing, pooling,
 * convolution input)
 * and the loss. */
#include "record.h"

static cs_status gather(cs_tape *tape, const cs_tensor *x, const int32_t *index,
                        const cs_tensor *y, bool accumulate)
{
    const cs_gather_args args = {
        .dtype = tape->dtype,
        .rows = cs_tensor_rows(y),
        .columns = cs_tensor_columns(y),
        .x_rows = cs_tensor_rows(x),
        .index_T = index,
        .x = x->data,
        .y_TD = y->data,
        .accumulate = accumulate,
    };
    CS_CHECK(cs_tensor_columns(x) == cs_tensor_columns(y), CS_ERR_SHAPE,
             "gather: rows of %lld columns into %lld",
             (long long)cs_tensor_columns(x), (long long)cs_tensor_columns(y));
    return cs_op_gather(tape->backend, &args);
}

static cs_status record_embed(cs_tape *tape, cs_value *y,
                              const cs_weight *table, const int32_t *index)
{
    csi_record *record = NULL;

    CS_TRY(csi_tape_record(tape, CSI_RECORD_EMBED, &record));
    record->y = y;
    record->w = *table;
    record->u.index = index;
    y->needs_grad = true;
    return CS_OK;
}

cs_status cs_tape_embed(cs_tape *tape, const cs_weight *table,
                        const int32_t *index, int64_t rows, cs_keep keep,
                        cs_value **y)
{
    cs_value *value = NULL;

    CS_TRY(cs_tape_value(tape, rows, cs_tensor_columns(&table->w), keep,
                         &value));
    CS_TRY(gather(tape, &table->w, index, &value->t, false));
    if (csi_tape_trains(tape, table)) {
        CS_TRY(record_embed(tape, value, table, index));
    }
    *y = value;
    return CS_OK;
}

cs_status cs_tape_add_embed(cs_tape *tape, cs_value *x, const cs_weight *table,
                            const int32_t *index)
{
    CS_TRY(gather(tape, &table->w, index, &x->t, true));
    if (csi_tape_trains(tape, table)) {
        CS_TRY(record_embed(tape, x, table, index));
    }
    return CS_OK;
}

cs_status cs_tape_merge(cs_tape *tape, cs_value *x, cs_value *features,
                        const int32_t *index)
{
    csi_record *record = NULL;

    CS_TRY(gather(tape, &features->t, index, &x->t, true));
    if (features->needs_grad) {
        CS_TRY(csi_tape_record(tape, CSI_RECORD_GATHER, &record));
        record->x = features;
        record->y = x;
        record->u.index = index;
        x->needs_grad = true;
    }
    return CS_OK;
}

cs_status cs_tape_gather(cs_tape *tape, cs_value *x, const int32_t *index,
                         int64_t rows, int64_t group, cs_keep keep,
                         cs_value **y)
{
    const int64_t columns = cs_tensor_columns(&x->t);
    cs_value *value = NULL;

    CS_CHECK(group >= 1, CS_ERR_SHAPE,
             "gather: group wanted at least 1, got %lld", (long long)group);
    CS_TRY(cs_tape_value(tape, rows, group * columns, keep, &value));
    const cs_tensor one_by_one =
        cs_tensor_2d(value->t.data, tape->dtype, rows * group, columns);
    CS_TRY(gather(tape, &x->t, index, &one_by_one, false));
    if (x->needs_grad) {
        csi_record *record = NULL;
        CS_TRY(csi_tape_record(tape, CSI_RECORD_GATHER, &record));
        record->x = x;
        record->y = value;
        record->u.index = index;
        value->needs_grad = true;
    }
    *y = value;
    return CS_OK;
}

cs_status cs_tape_add_mixed(cs_tape *tape, cs_value *x, const cs_weight *table,
                            int32_t k, const int32_t *index, const void *weight)
{
    const csi_arena_mark mark = csi_arena_save(tape->workspace);
    void *sum = NULL;

    CS_CHECK(cs_tensor_columns(&x->t) == cs_tensor_columns(&table->w),
             CS_ERR_SHAPE, "add_mixed: rows of %lld columns into %lld",
             (long long)cs_tensor_columns(&table->w),
             (long long)cs_tensor_columns(&x->t));
    CS_TRY(cs_tape_alloc(tape, CS_KEEP_TEMP, cs_tensor_bytes(&x->t), &sum));
    const cs_mix_args mix = {
        .dtype = tape->dtype,
        .dx_dtype = tape->real,
        .rows = cs_tensor_rows(&x->t),
        .columns = cs_tensor_columns(&x->t),
        .x_rows = cs_tensor_rows(&table->w),
        .k = k,
        .index_TK = index,
        .weight_TK = weight,
        .x = table->w.data,
        .y_TD = sum,
    };
    const cs_axpby_args add = {
        .dtype = tape->dtype,
        .count = cs_tensor_count(&x->t),
        .alpha = 1.0,
        .beta = 1.0,
        .a = x->t.data,
        .b = sum,
        .y = x->t.data,
    };
    CS_TRY(cs_op_mix(tape->backend, &mix));
    CS_TRY(cs_op_axpby(tape->backend, &add));
    csi_arena_rewind(tape->workspace, mark);
    if (csi_tape_trains(tape, table)) {
        csi_record *record = NULL;
        CS_TRY(csi_tape_record(tape, CSI_RECORD_MIXED, &record));
        record->y = x;
        record->w = *table;
        record->u.mix = mix;
        x->needs_grad = true;
    }
    return CS_OK;
}

cs_status cs_tape_pool(cs_tape *tape, cs_value *x, const int64_t *begin,
                       int64_t groups, cs_keep keep, cs_value **y)
{
    cs_value *value = NULL;

    CS_TRY(cs_tape_value(tape, groups, cs_tensor_columns(&x->t), keep, &value));
    const cs_pool_args args = {
        .dtype = tape->dtype,
        .groups = groups,
        .columns = cs_tensor_columns(&x->t),
        .begin = begin,
        .x = x->t.data,
        .y = value->t.data,
    };
    CS_TRY(cs_op_pool(tape->backend, &args));
    if (x->needs_grad) {
        csi_record *record = NULL;
        CS_TRY(csi_tape_record(tape, CSI_RECORD_POOL, &record));
        record->x = x;
        record->y = value;
        record->u.pool = args;
        value->needs_grad = true;
    }
    *y = value;
    return CS_OK;
}

cs_status cs_tape_im2col(cs_tape *tape, const cs_im2col_args *a, cs_value *x,
                         cs_keep keep, cs_value **cols)
{
    cs_im2col_args args = *a;
    cs_value *value = NULL;

    CS_TRY(cs_tape_value(tape, a->out_begin[a->items],
                         a->channels * (int64_t)a->kernel, keep, &value));
    args.dtype = tape->dtype;
    args.x = x->t.data;
    args.cols = value->t.data;
    CS_TRY(cs_op_im2col(tape->backend, &args));
    if (x->needs_grad) {
        csi_record *record = NULL;
        CS_TRY(csi_tape_record(tape, CSI_RECORD_IM2COL, &record));
        record->x = x;
        record->y = value;
        record->u.im2col = args;
        value->needs_grad = true;
    }
    *cols = value;
    return CS_OK;
}

cs_status cs_tape_head_loss(cs_tape *tape, cs_value *x, const cs_weight *w,
                            const cs_tape_loss_args *a)
{
    const int64_t rows = cs_tensor_rows(&x->t);
    const bool records = x->needs_grad || csi_tape_trains(tape, w);
    const cs_keep keep = records ? CS_KEEP_SAVED : CS_KEEP_TEMP;
    const size_t n_bytes = (size_t)rows * cs_dtype_bytes(tape->real);
    void *nll = a->nll;
    void *lse = NULL;

    CS_TRY(cs_tape_alloc(tape, keep, n_bytes, &lse));
    if (nll == NULL) {
        CS_TRY(cs_tape_alloc(tape, CS_KEEP_TEMP, n_bytes, &nll));
    }
    const cs_head_loss_args args = {
        .dtype = tape->dtype,
        .rows = rows,
        .in = cs_tensor_columns(&x->t),
        .vocab = cs_tensor_rows(&w->w),
        .x_TI = x->t.data,
        .w_VI = w->w.data,
        .softcap = a->softcap,
        .label_T = a->labels,
        .nll_T = nll,
        .lse_T = lse,
        .loss_sum = a->loss_sum,
        .n_correct = a->n_correct,
    };
    CS_TRY(cs_op_head_loss(tape->backend, &args));
    if (records) {
        csi_record *record = NULL;
        CS_CHECK(x->where >= CS_KEEP_SAVED, CS_ERR_INTERNAL,
                 "the input of the head is needed by backward but was not "
                 "kept");
        CS_TRY(csi_tape_record(tape, CSI_RECORD_LOSS, &record));
        record->x = x;
        record->w = *w;
        record->u.loss.args = args;
        record->u.loss.scale = a->loss_scale;
    }
    return CS_OK;
}
