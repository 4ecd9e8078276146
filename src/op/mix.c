/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that weigh: sums of weighted rows, weighted columns, routing. */
#include "check.h"

static cs_status check_mix(const cs_mix_args *a, const char *op)
{
    CHECK_DTYPE(a, "mix");
    CHECK_SIZE(a->rows, 0, "mix", "rows");
    CHECK_SIZE(a->columns, 1, "mix", "columns");
    CHECK_SIZE(a->k, 1, "mix", "k");
    CS_CHECK(a->rows == 0 || (a->index_TK != NULL && a->weight_TK != NULL),
             CS_ERR_ARG, "%s: index or weight is null", op);
    for (int64_t i = 0; i < a->rows * a->k; i++) {
        CS_CHECK(a->index_TK[i] >= -1 && a->index_TK[i] < a->x_rows, CS_ERR_ARG,
                 "%s: index %" PRId64 " of row %" PRId64 " wanted -1..%" PRId64
                 ", got %d",
                 op, i % a->k, i / a->k, a->x_rows - 1, a->index_TK[i]);
    }
    return CS_OK;
}

cs_status cs_op_mix(cs_backend *backend, const cs_mix_args *a)
{
    CS_TRY(check_mix(a, "mix"));
    if (a->rows == 0) {
        return CS_OK;
    }
    CS_CHECK(a->x != NULL || a->x_rows == 0, CS_ERR_ARG, "mix: x is null");
    CHECK_PTR(a->y_TD, "mix", "y");
    CALL(backend, mix, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_mix_backward(cs_backend *backend, const cs_mix_args *a)
{
    CS_TRY(check_mix(a, "mix_backward"));
    CS_CHECK(a->dx == NULL || a->dx_dtype == a->dtype ||
                 a->dx_dtype == cs_real_dtype(a->dtype),
             CS_ERR_DTYPE, "mix_backward: %s rows into %s",
             cs_dtype_name(a->dtype), cs_dtype_name(a->dx_dtype));
    if (a->rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->dy_TD, "mix_backward", "dy");
    CS_CHECK(a->dweight_TK == NULL || a->x != NULL || a->x_rows == 0,
             CS_ERR_ARG, "mix_backward: x is null");
    CALL(backend, mix_backward, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_scale(cs_backend *backend, const cs_scale_args *a)
{
    CHECK_DTYPE(a, "scale");
    CHECK_SIZE(a->rows, 0, "scale", "rows");
    CHECK_SIZE(a->columns, 1, "scale", "columns");
    if (a->rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->x_TD, "scale", "x");
    CHECK_PTR(a->w_D, "scale", "w");
    CHECK_PTR(a->y_TD, "scale", "y");
    CALL(backend, scale, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_scale_backward(cs_backend *backend, const cs_scale_args *a)
{
    CHECK_DTYPE(a, "scale_backward");
    CHECK_SIZE(a->rows, 0, "scale_backward", "rows");
    CHECK_SIZE(a->columns, 1, "scale_backward", "columns");
    if (a->rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->dy_TD, "scale_backward", "dy");
    CS_CHECK(a->dx_TD == NULL || a->w_D != NULL, CS_ERR_ARG,
             "scale_backward: w is null");
    CS_CHECK(a->dw_D == NULL || a->x_TD != NULL, CS_ERR_ARG,
             "scale_backward: x is null");
    CALL(backend, scale_backward, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

static cs_status check_route(const cs_route_args *a)
{
    CHECK_DTYPE(a, "route");
    CHECK_SIZE(a->rows, 0, "route", "rows");
    CHECK_SIZE(a->experts, 1, "route", "experts");
    CS_CHECK(a->top_k >= 1 && a->top_k <= a->experts, CS_ERR_SHAPE,
             "route: top_k wanted 1..%d, got %d", a->experts, a->top_k);
    return CS_OK;
}

cs_status cs_op_route(cs_backend *backend, const cs_route_args *a)
{
    CS_TRY(check_route(a));
    if (a->rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->logits_TE, "route", "logits");
    CHECK_PTR(a->p_TE, "route", "p");
    CHECK_PTR(a->expert_TK, "route", "expert");
    CHECK_PTR(a->weight_TK, "route", "weight");
    CALL(backend, route, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}

cs_status cs_op_route_backward(cs_backend *backend, const cs_route_args *a)
{
    CS_TRY(check_route(a));
    if (a->rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->p_TE, "route_backward", "p");
    CHECK_PTR(a->expert_TK, "route_backward", "expert");
    CHECK_PTR(a->dweight_TK, "route_backward", "dweight");
    CHECK_PTR(a->dlogits_TE, "route_backward", "dlogits");
    for (int64_t i = 0; i < a->rows * a->top_k; i++) {
        CS_CHECK(a->expert_TK[i] >= 0 && a->expert_TK[i] < a->experts,
                 CS_ERR_ARG,
                 "route_backward: choice %" PRId64 " of row %" PRId64
                 " wanted 0..%d, got %d",
                 i % a->top_k, i / a->top_k, a->experts - 1, a->expert_TK[i]);
    }
    CALL(backend, route_backward, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}
