/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BACKEND_REF_H
#define CS_BACKEND_REF_H
/*
 * The reference kernels: plain loops in a fixed order that read like their
 * formulas. Each family is written once, in kernels_<family>.h, and compiled
 * for f32, f64 and bf16 by each_dtype.h:
 *
 *     STORE     element type in memory: float, double, uint16_t
 *     REAL      type of sums and statistics: float, double, float
 *     LOAD(x)   STORE -> REAL
 *     ROUND(x)  REAL -> STORE, the one rounding
 *     NAME(f)   f with the dtype's suffix
 */
#include "cornstarch/backend.h"

/* Runs f_<dtype>(...), which returns nothing, and returns from the caller. */
#define RUN_DTYPE(name, selected, f, ...)                                     \
    do {                                                                      \
        switch (selected) {                                                   \
        case CS_F32:                                                          \
            f##_f32(__VA_ARGS__);                                             \
            return CS_OK;                                                     \
        case CS_F64:                                                          \
            f##_f64(__VA_ARGS__);                                             \
            return CS_OK;                                                     \
        case CS_BF16:                                                         \
            f##_bf16(__VA_ARGS__);                                            \
            return CS_OK;                                                     \
        default:                                                              \
            return CS_FAIL(CS_ERR_DTYPE,                                      \
                           "ref %s: wanted f32, f64 or bf16, got %s", (name), \
                           cs_dtype_name(selected));                          \
        }                                                                     \
    } while (0)

/* Scratch of n elements of the real type of dtype, or a NOMEM error. */
cs_status csi_ref_scratch(cs_backend *backend, const char *name, int64_t n,
                          cs_dtype dtype, void **out);

cs_status csi_ref_linear(cs_backend *b, const cs_linear_args *a);
cs_status csi_ref_linear_input(cs_backend *b, const cs_linear_input_args *a);
cs_status csi_ref_linear_weight(cs_backend *b, const cs_linear_weight_args *a);
cs_status csi_ref_activation(cs_backend *b, const cs_activation_args *a);
cs_status csi_ref_activation_backward(cs_backend *b,
                                      const cs_activation_args *a);
cs_status csi_ref_gated(cs_backend *b, const cs_gated_args *a);
cs_status csi_ref_gated_backward(cs_backend *b, const cs_gated_args *a);
cs_status csi_ref_norm(cs_backend *b, const cs_norm_args *a);
cs_status csi_ref_norm_backward(cs_backend *b, const cs_norm_backward_args *a);
cs_status csi_ref_rope(cs_backend *b, const cs_rope_args *a);
cs_status csi_ref_attention(cs_backend *b, const cs_attention_args *a);
cs_status csi_ref_attention_backward(cs_backend *b,
                                     const cs_attention_backward_args *a);
cs_status csi_ref_gather(cs_backend *b, const cs_gather_args *a);
cs_status csi_ref_scatter_add(cs_backend *b, const cs_scatter_add_args *a);
cs_status csi_ref_pool(cs_backend *b, const cs_pool_args *a);
cs_status csi_ref_pool_backward(cs_backend *b, const cs_pool_args *a);
cs_status csi_ref_im2col(cs_backend *b, const cs_im2col_args *a);
cs_status csi_ref_im2col_backward(cs_backend *b, const cs_im2col_args *a);
cs_status csi_ref_mix(cs_backend *b, const cs_mix_args *a);
cs_status csi_ref_mix_backward(cs_backend *b, const cs_mix_args *a);
cs_status csi_ref_scale(cs_backend *b, const cs_scale_args *a);
cs_status csi_ref_scale_backward(cs_backend *b, const cs_scale_args *a);
cs_status csi_ref_route(cs_backend *b, const cs_route_args *a);
cs_status csi_ref_route_backward(cs_backend *b, const cs_route_args *a);
cs_status csi_ref_axpby(cs_backend *b, const cs_axpby_args *a);
cs_status csi_ref_head_loss(cs_backend *b, const cs_head_loss_args *a);
cs_status csi_ref_head_loss_backward(cs_backend *b,
                                     const cs_head_loss_backward_args *a);
cs_status csi_ref_adamw(cs_backend *b, const cs_adamw_args *a);
cs_status csi_ref_sum_squares(cs_backend *b, cs_dtype dtype, const void *x,
                              int64_t count, double *out);
cs_status csi_ref_cast(cs_backend *b, cs_dtype src_dtype, const void *x,
                       cs_dtype dst_dtype, void *y, int64_t count);
#endif
