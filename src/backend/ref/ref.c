/* SPDX-License-Identifier: Apache-2.0 */
/* The reference backend's table: complete, so that others may override. */
#include "ref.h"

cs_status csi_ref_scratch(cs_backend *backend, const char *name, int64_t n,
                          cs_dtype dtype, void **out)
{
    const size_t n_bytes =
        (size_t)(n > 0 ? n : 1) * cs_dtype_bytes(cs_real_dtype(dtype));
    void *scratch = csi_backend_scratch(backend, n_bytes);

    CS_CHECK(scratch != NULL, CS_ERR_NOMEM, "ref %s: scratch of %zu bytes",
             name, n_bytes);
    *out = scratch;
    return CS_OK;
}

void csi_ref_fill(cs_backend *backend)
{
    backend->ops = (cs_op_table){
        .linear = csi_ref_linear,
        .linear_input = csi_ref_linear_input,
        .linear_weight = csi_ref_linear_weight,
        .activation = csi_ref_activation,
        .activation_backward = csi_ref_activation_backward,
        .gated = csi_ref_gated,
        .gated_backward = csi_ref_gated_backward,
        .norm = csi_ref_norm,
        .norm_backward = csi_ref_norm_backward,
        .rope = csi_ref_rope,
        .attention = csi_ref_attention,
        .attention_backward = csi_ref_attention_backward,
        .gather = csi_ref_gather,
        .scatter_add = csi_ref_scatter_add,
        .pool = csi_ref_pool,
        .pool_backward = csi_ref_pool_backward,
        .im2col = csi_ref_im2col,
        .im2col_backward = csi_ref_im2col_backward,
        .mix = csi_ref_mix,
        .mix_backward = csi_ref_mix_backward,
        .scale = csi_ref_scale,
        .scale_backward = csi_ref_scale_backward,
        .route = csi_ref_route,
        .route_backward = csi_ref_route_backward,
        .axpby = csi_ref_axpby,
        .head_loss = csi_ref_head_loss,
        .head_loss_backward = csi_ref_head_loss_backward,
        .adamw = csi_ref_adamw,
        .sum_squares = csi_ref_sum_squares,
        .cast = csi_ref_cast,
        .destroy = NULL,
    };
}
