/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products, and the head whose logits never exist whole. */
#include "check.h"

static double product_flops(int64_t rows, int64_t in, int64_t out)
{
    return 2.0 * (double)rows * (double)in * (double)out;
}

cs_status cs_op_linear(cs_backend *backend, const cs_linear_args *a)
{
    CHECK_DTYPE(a, "linear");
    CHECK_SIZE(a->rows, 0, "linear", "rows");
    CHECK_SIZE(a->in, 1, "linear", "in");
    CHECK_SIZE(a->out, 1, "linear", "out");
    if (a->rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->x_TI, "linear", "x");
    CHECK_PTR(a->w_OI, "linear", "w");
    CHECK_PTR(a->y_TO, "linear", "y");
    CALL(backend, linear, a, CS_OP_PRODUCT,
         product_flops(a->rows, a->in, a->out));
    return CS_OK;
}

cs_status cs_op_linear_input(cs_backend *backend, const cs_linear_input_args *a)
{
    CHECK_DTYPE(a, "linear_input");
    CHECK_SIZE(a->rows, 0, "linear_input", "rows");
    CHECK_SIZE(a->in, 1, "linear_input", "in");
    CHECK_SIZE(a->out, 1, "linear_input", "out");
    if (a->rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->dy_TO, "linear_input", "dy");
    CHECK_PTR(a->w_OI, "linear_input", "w");
    CHECK_PTR(a->dx_TI, "linear_input", "dx");
    CALL(backend, linear_input, a, CS_OP_PRODUCT,
         product_flops(a->rows, a->in, a->out));
    return CS_OK;
}

cs_status cs_op_linear_weight(cs_backend *backend,
                              const cs_linear_weight_args *a)
{
    CHECK_DTYPE(a, "linear_weight");
    CHECK_SIZE(a->rows, 0, "linear_weight", "rows");
    CHECK_SIZE(a->in, 1, "linear_weight", "in");
    CHECK_SIZE(a->out, 1, "linear_weight", "out");
    if (a->rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->dy_TO, "linear_weight", "dy");
    CS_CHECK(a->x_TI != NULL || a->dw_OI == NULL, CS_ERR_ARG,
             "linear_weight: x is null");
    CALL(backend, linear_weight, a, CS_OP_PRODUCT,
         a->dw_OI != NULL ? product_flops(a->rows, a->in, a->out) : 0.0);
    return CS_OK;
}

static cs_status check_head(const cs_head_loss_args *a)
{
    CHECK_DTYPE(a, "head_loss");
    CHECK_SIZE(a->rows, 0, "head_loss", "rows");
    CHECK_SIZE(a->in, 1, "head_loss", "in");
    CHECK_SIZE(a->vocab, 1, "head_loss", "vocabulary");
    CHECK_PTR(a->w_VI, "head_loss", "w");
    CHECK_PTR(a->loss_sum, "head_loss", "loss_sum");
    for (int64_t t = 0; t < a->rows; t++) {
        CS_CHECK(a->label_T[t] == -100 ||
                     (a->label_T[t] >= 0 && a->label_T[t] < a->vocab),
                 CS_ERR_ARG,
                 "head_loss: label of row %" PRId64
                 " wanted -100 or 0..%" PRId64 ", got %d",
                 t, a->vocab - 1, a->label_T[t]);
    }
    return CS_OK;
}

cs_status cs_op_head_loss(cs_backend *backend, const cs_head_loss_args *a)
{
    CS_TRY(check_head(a));
    if (a->rows == 0) {
        return CS_OK;
    }
    CALL(backend, head_loss, a, CS_OP_PRODUCT,
         product_flops(a->rows, a->in, a->vocab));
    return CS_OK;
}

cs_status cs_op_head_loss_backward(cs_backend *backend,
                                   const cs_head_loss_backward_args *a)
{
    CS_TRY(check_head(&a->forward));
    if (a->forward.rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->forward.lse_T, "head_loss_backward", "lse");
    CALL(backend, head_loss_backward, a, CS_OP_PRODUCT,
         product_flops(a->forward.rows, a->forward.in, a->forward.vocab) *
             (1.0 + (a->dx_TI != NULL) + (a->dw_VI != NULL)));
    return CS_OK;
}
