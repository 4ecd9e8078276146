/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that work row by row or element by element. */
#include "check.h"

cs_status cs_op_activation(cs_backend *backend, const cs_activation_args *a)
{
    CHECK_DTYPE(a, "activation");
    CHECK_SIZE(a->count, 0, "activation", "count");
    CALL(backend, activation, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_activation_backward(cs_backend *backend,
                                    const cs_activation_args *a)
{
    CHECK_DTYPE(a, "activation_backward");
    CHECK_SIZE(a->count, 0, "activation_backward", "count");
    CHECK_PTR(a->dy, "activation_backward", "dy");
    CALL(backend, activation_backward, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_gated(cs_backend *backend, const cs_gated_args *a)
{
    CHECK_DTYPE(a, "gated");
    CHECK_SIZE(a->count, 0, "gated", "count");
    CALL(backend, gated, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_gated_backward(cs_backend *backend, const cs_gated_args *a)
{
    CHECK_DTYPE(a, "gated_backward");
    CHECK_SIZE(a->count, 0, "gated_backward", "count");
    CHECK_PTR(a->dy, "gated_backward", "dy");
    CALL(backend, gated_backward, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

static cs_status check_offset(cs_norm_kind kind, double offset)
{
    CS_CHECK(kind == CS_NORM_RMS || offset == 0.0, CS_ERR_ARG,
             "norm: a weight offset of %g wanted an rms norm", offset);
    return CS_OK;
}

cs_status cs_op_norm(cs_backend *backend, const cs_norm_args *a)
{
    CHECK_DTYPE(a, "norm");
    CHECK_SIZE(a->rows, 0, "norm", "rows");
    CHECK_SIZE(a->dim, 1, "norm", "dim");
    CHECK_PTR(a->w_D, "norm", "w");
    CS_TRY(check_offset(a->kind, a->weight_offset));
    CS_CHECK(a->r_TD == NULL || a->s_TD != NULL, CS_ERR_ARG,
             "norm: a residual needs a place for the sum");
    if (a->rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->x_TD, "norm", "x");
    CHECK_PTR(a->y_TD, "norm", "y");
    CALL(backend, norm, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_norm_backward(cs_backend *backend,
                              const cs_norm_backward_args *a)
{
    CHECK_DTYPE(a, "norm_backward");
    CHECK_SIZE(a->rows, 0, "norm_backward", "rows");
    CHECK_SIZE(a->dim, 1, "norm_backward", "dim");
    CS_TRY(check_offset(a->kind, a->weight_offset));
    if (a->rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->s_TD, "norm_backward", "s");
    CHECK_PTR(a->rstd_T, "norm_backward", "rstd");
    CHECK_PTR(a->dy_TD, "norm_backward", "dy");
    CS_CHECK(a->kind == CS_NORM_RMS || a->mean_T != NULL, CS_ERR_ARG,
             "norm_backward: mean is null");
    CALL(backend, norm_backward, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

static cs_status check_index(const int32_t *index, int64_t rows, int64_t x_rows,
                             const char *op)
{
    CS_CHECK(index != NULL || rows == 0, CS_ERR_ARG, "%s: index is null", op);
    for (int64_t t = 0; t < rows; t++) {
        CS_CHECK(index[t] >= -1 && index[t] < x_rows, CS_ERR_ARG,
                 "%s: index of row %" PRId64 " wanted -1..%" PRId64 ", got %d",
                 op, t, x_rows - 1, index[t]);
    }
    return CS_OK;
}

cs_status cs_op_gather(cs_backend *backend, const cs_gather_args *a)
{
    CHECK_DTYPE(a, "gather");
    CHECK_SIZE(a->rows, 0, "gather", "rows");
    CS_TRY(check_index(a->index_T, a->rows, a->x_rows, "gather"));
    CALL(backend, gather, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_scatter_add(cs_backend *backend, const cs_scatter_add_args *a)
{
    CHECK_DTYPE(a, "scatter_add");
    CS_CHECK(a->dx_dtype == a->dtype || a->dx_dtype == cs_real_dtype(a->dtype),
             CS_ERR_DTYPE, "scatter_add: %s rows into %s",
             cs_dtype_name(a->dtype), cs_dtype_name(a->dx_dtype));
    CS_TRY(check_index(a->index_T, a->rows, a->x_rows, "scatter_add"));
    CALL(backend, scatter_add, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_pool(cs_backend *backend, const cs_pool_args *a)
{
    CHECK_DTYPE(a, "pool");
    CHECK_SIZE(a->groups, 0, "pool", "groups");
    CALL(backend, pool, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_pool_backward(cs_backend *backend, const cs_pool_args *a)
{
    CHECK_DTYPE(a, "pool_backward");
    CHECK_SIZE(a->groups, 0, "pool_backward", "groups");
    CALL(backend, pool_backward, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_im2col(cs_backend *backend, const cs_im2col_args *a)
{
    CHECK_DTYPE(a, "im2col");
    CHECK_SIZE(a->items, 0, "im2col", "items");
    CHECK_SIZE(a->stride, 1, "im2col", "stride");
    CALL(backend, im2col, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_im2col_backward(cs_backend *backend, const cs_im2col_args *a)
{
    CHECK_DTYPE(a, "im2col_backward");
    CHECK_SIZE(a->items, 0, "im2col_backward", "items");
    CALL(backend, im2col_backward, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_axpby(cs_backend *backend, const cs_axpby_args *a)
{
    CHECK_DTYPE(a, "axpby");
    CHECK_SIZE(a->count, 0, "axpby", "count");
    CALL(backend, axpby, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_adamw(cs_backend *backend, const cs_adamw_args *a)
{
    CS_CHECK(a->dtype == CS_F32 || a->dtype == CS_F64, CS_ERR_DTYPE,
             "adamw: wanted f32 or f64, got %s", cs_dtype_name(a->dtype));
    CS_CHECK(a->step >= 1, CS_ERR_ARG,
             "adamw: step wanted at least 1, got %" PRId64, a->step);
    CALL(backend, adamw, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_sum_squares(cs_backend *backend, cs_dtype dtype, const void *x,
                            int64_t count, double *out)
{
    CS_CHECK(dtype == CS_F32 || dtype == CS_F64, CS_ERR_DTYPE,
             "sum_squares: wanted f32 or f64, got %s", cs_dtype_name(dtype));
    CS_TRY(backend->ops.sum_squares(backend, dtype, x, count, out));
    return CS_OK;
}

cs_status cs_op_cast(cs_backend *backend, cs_dtype src_dtype, const void *x,
                     cs_dtype dst_dtype, void *y, int64_t count)
{
    CS_CHECK(cs_dtype_is_float(src_dtype) && cs_dtype_is_float(dst_dtype),
             CS_ERR_DTYPE, "cast: %s to %s", cs_dtype_name(src_dtype),
             cs_dtype_name(dst_dtype));
    CS_TRY(backend->ops.cast(backend, src_dtype, x, dst_dtype, y, count));
    return CS_OK;
}
