/* SPDX-License-Identifier: Apache-2.0 */
/* Cases of ops that move, sum or rotate rows. */
#include "op_case.h"
#include "test.h"

#include <math.h>

/* --- rope on q and k; heads x in (head_dim), `out` rotary dims; stride: axes
 *     of position; accumulate: some rows turn by the long table; option: no k */

enum {
    ROPE_Q,
    ROPE_K,
    ROPE_Q_OUT,
    ROPE_K_OUT,
    ROPE_DQ_OUT,
    ROPE_DK_OUT,
    ROPE_DQ,
    ROPE_DK
};

void op_rope_layout(op_run *r)
{
    const op_case *c = r->c;
    const int64_t n_q = c->rows * c->heads * c->in;
    const int64_t n_k = c->rows * c->kv_heads * c->in;

    op_in(r, ROPE_Q, r->dtype, n_q);
    op_in(r, ROPE_K, r->dtype, n_k);
    op_out(r, ROPE_Q_OUT, r->dtype, n_q);
    op_out(r, ROPE_K_OUT, r->dtype, n_k);
    op_cotangent(r, ROPE_DQ_OUT, ROPE_Q_OUT);
    op_cotangent(r, ROPE_DK_OUT, ROPE_K_OUT);
    op_gradient(r, ROPE_DQ, ROPE_Q, r->dtype, false);
    op_gradient(r, ROPE_DK, ROPE_K, r->dtype, false);
    const int64_t n_axes = c->stride > 0 ? c->stride : 1;
    r->position = op_alloc(r, (size_t)(n_axes * c->rows) * sizeof *r->position);
    for (int64_t t = 0; t < n_axes * c->rows; t++) {
        r->position[t] = (int32_t)op_draw(r, 1, t, 5000);
    }
    r->axis = op_alloc(r, (size_t)(c->out / 2));
    r->is_long = op_alloc(r, (size_t)c->rows);
    for (int64_t t = 0; t < c->rows; t++) {
        r->is_long[t] = (uint8_t)op_draw(r, 2, t, 2);
    }
    r->long_frequency =
        op_alloc(r, (size_t)(c->out / 2) * sizeof *r->frequency);
    r->frequency = op_alloc(r, (size_t)(c->out / 2) * sizeof *r->frequency);
    for (int64_t pair = 0; pair < c->out / 2; pair++) {
        r->frequency[pair] = pow(10000.0, -2.0 * (double)pair / (double)c->out);
        r->long_frequency[pair] = r->frequency[pair] / (1.0 + (double)pair);
        r->axis[pair] = (uint8_t)op_draw(r, 3, pair, n_axes);
    }
}

cs_status op_rope_run(op_run *r)
{
    const op_case *c = r->c;
    cs_rope_args args = {
        .dtype = r->dtype,
        .rows = c->rows,
        .q_heads = c->heads,
        .k_heads = c->kv_heads,
        .head_dim = (int32_t)c->in,
        .rotary_dim = (int32_t)c->out,
        .n_axes = c->stride,
        .position_T = r->position,
        .inverse_frequency = r->frequency,
        .axis = c->stride > 0 ? r->axis : NULL,
        .long_frequency = c->accumulate ? r->long_frequency : NULL,
        .is_long_T = c->accumulate ? r->is_long : NULL,
        .scale = c->scale,
        .q_THK = r->array[ROPE_Q_OUT].data,
        .k_TGK = c->option ? NULL : r->array[ROPE_K_OUT].data,
    };

    op_copy(r, ROPE_Q_OUT, ROPE_Q);
    op_copy(r, ROPE_K_OUT, ROPE_K);
    CS_TRY(r->backend->ops.rope(r->backend, &args));
    if (r->with_backward) {
        op_copy(r, ROPE_DQ, ROPE_DQ_OUT);
        op_copy(r, ROPE_DK, ROPE_DK_OUT);
        args.inverse = true;
        args.q_THK = r->array[ROPE_DQ].data;
        args.k_TGK = c->option ? NULL : r->array[ROPE_DK].data;
        CS_TRY(r->backend->ops.rope(r->backend, &args));
    }
    return CS_OK;
}

/* --- gather and its transpose; option: gradient in the real type --------- */

enum {
    GATHER_X,
    GATHER_Y0,
    GATHER_Y,
    GATHER_DY,
    GATHER_DX
};

void op_gather_layout(op_run *r)
{
    const op_case *c = r->c;

    op_in(r, GATHER_X, r->dtype, c->out * c->in);
    op_in(r, GATHER_Y0, r->dtype, c->rows * c->in);
    op_out(r, GATHER_Y, r->dtype, c->rows * c->in);
    op_cotangent(r, GATHER_DY, GATHER_Y);
    op_gradient(r, GATHER_DX, GATHER_X, c->option ? r->real : r->dtype, true);
    r->index = op_alloc(r, (size_t)c->rows * sizeof *r->index);
    for (int64_t t = 0; t < c->rows; t++) {
        r->index[t] = (int32_t)op_draw(r, 1, t, c->out + 1) - 1;
    }
}

cs_status op_gather_run(op_run *r)
{
    const op_case *c = r->c;
    const cs_gather_args args = {
        .dtype = r->dtype,
        .rows = c->rows,
        .columns = c->in,
        .x_rows = c->out,
        .index_T = r->index,
        .x = r->array[GATHER_X].data,
        .y_TD = r->array[GATHER_Y].data,
        .accumulate = c->accumulate,
    };
    const cs_scatter_add_args transpose = {
        .dtype = r->dtype,
        .dx_dtype = r->array[GATHER_DX].dtype,
        .rows = c->rows,
        .columns = c->in,
        .x_rows = c->out,
        .index_T = r->index,
        .dy_TD = r->array[GATHER_DY].data,
        .dx = r->array[GATHER_DX].data,
    };

    op_copy(r, GATHER_Y, GATHER_Y0);
    CS_TRY(r->backend->ops.gather(r->backend, &args));
    if (r->with_backward) {
        CS_TRY(r->backend->ops.scatter_add(r->backend, &transpose));
    }
    return CS_OK;
}

/* --- mean pooling: `rows` groups of 0..out rows -------------------------- */

enum {
    POOL_X,
    POOL_Y,
    POOL_DY,
    POOL_DX
};

void op_pool_layout(op_run *r)
{
    const op_case *c = r->c;

    r->begin = op_boundaries(r, c->rows, c->out);
    op_in(r, POOL_X, r->dtype, r->begin[c->rows] * c->in);
    op_out(r, POOL_Y, r->dtype, c->rows * c->in);
    op_cotangent(r, POOL_DY, POOL_Y);
    op_gradient(r, POOL_DX, POOL_X, r->dtype, c->accumulate);
}

cs_status op_pool_run(op_run *r)
{
    const op_case *c = r->c;
    const cs_pool_args args = {
        .dtype = r->dtype,
        .groups = c->rows,
        .columns = c->in,
        .begin = r->begin,
        .x = r->array[POOL_X].data,
        .y = r->array[POOL_Y].data,
        .dy = r->array[POOL_DY].data,
        .dx = r->array[POOL_DX].data,
        .accumulate = c->accumulate,
    };

    CS_TRY(r->backend->ops.pool(r->backend, &args));
    if (r->with_backward) {
        CS_TRY(r->backend->ops.pool_backward(r->backend, &args));
    }
    return CS_OK;
}

/* --- im2col: `rows` items of 0..24 rows, `in` channels, `out` kernel ----- */

enum {
    COLS_X,
    COLS_Y,
    COLS_DY,
    COLS_DX
};

void op_im2col_layout(op_run *r)
{
    const op_case *c = r->c;

    r->begin = op_boundaries(r, c->rows, 24);
    r->out_begin = op_alloc(r, (size_t)(c->rows + 1) * sizeof *r->out_begin);
    for (int64_t item = 0; item < c->rows; item++) {
        const int64_t room =
            r->begin[item + 1] - r->begin[item] + 2 * c->pad - c->out;

        r->out_begin[item + 1] =
            r->out_begin[item] + (room >= 0 ? room / c->stride + 1 : 0);
    }
    op_in(r, COLS_X, r->dtype, r->begin[c->rows] * c->in);
    op_out(r, COLS_Y, r->dtype, r->out_begin[c->rows] * c->in * c->out);
    op_cotangent(r, COLS_DY, COLS_Y);
    op_gradient(r, COLS_DX, COLS_X, r->dtype, c->accumulate);
}

cs_status op_im2col_run(op_run *r)
{
    const op_case *c = r->c;
    const cs_im2col_args args = {
        .dtype = r->dtype,
        .items = c->rows,
        .in_begin = r->begin,
        .out_begin = r->out_begin,
        .channels = c->in,
        .kernel = (int32_t)c->out,
        .stride = c->stride,
        .pad = c->pad,
        .x = r->array[COLS_X].data,
        .cols = r->array[COLS_Y].data,
        .dcols = r->array[COLS_DY].data,
        .dx = r->array[COLS_DX].data,
        .accumulate = c->accumulate,
    };

    CS_TRY(r->backend->ops.im2col(r->backend, &args));
    if (r->with_backward) {
        CS_TRY(r->backend->ops.im2col_backward(r->backend, &args));
    }
    return CS_OK;
}
