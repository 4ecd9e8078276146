/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_OP_H
#define CORNSTARCH_OP_H
/*
 * Ops: each checks its arguments once, counts time and FLOPs on the backend,
 * and calls the backend's kernel. What an op computes, with shapes and types,
 * stands at its argument struct in backend.h. All are local to a rank.
 * Errors: ARG for null pointers and negative sizes, SHAPE for sizes that do
 * not fit together, DTYPE for element types that no kernel has.
 */
#include "cornstarch/backend.h"

CS_BEGIN_DECLS

CS_API CS_NODISCARD cs_status cs_op_linear(cs_backend *backend,
                                           const cs_linear_args *args);
CS_API CS_NODISCARD cs_status
cs_op_linear_input(cs_backend *backend, const cs_linear_input_args *args);
CS_API CS_NODISCARD cs_status
cs_op_linear_weight(cs_backend *backend, const cs_linear_weight_args *args);
CS_API CS_NODISCARD cs_status cs_op_activation(cs_backend *backend,
                                               const cs_activation_args *args);
CS_API CS_NODISCARD cs_status
cs_op_activation_backward(cs_backend *backend, const cs_activation_args *args);
CS_API CS_NODISCARD cs_status cs_op_gated(cs_backend *backend,
                                          const cs_gated_args *args);
CS_API CS_NODISCARD cs_status cs_op_gated_backward(cs_backend *backend,
                                                   const cs_gated_args *args);
CS_API CS_NODISCARD cs_status cs_op_norm(cs_backend *backend,
                                         const cs_norm_args *args);
CS_API CS_NODISCARD cs_status
cs_op_norm_backward(cs_backend *backend, const cs_norm_backward_args *args);
CS_API CS_NODISCARD cs_status cs_op_rope(cs_backend *backend,
                                         const cs_rope_args *args);
CS_API CS_NODISCARD cs_status cs_op_attention(cs_backend *backend,
                                              const cs_attention_args *args);
CS_API CS_NODISCARD cs_status
cs_op_attention_backward(cs_backend *backend,
                         const cs_attention_backward_args *args);
CS_API CS_NODISCARD cs_status cs_op_gather(cs_backend *backend,
                                           const cs_gather_args *args);
CS_API CS_NODISCARD cs_status
cs_op_scatter_add(cs_backend *backend, const cs_scatter_add_args *args);
CS_API CS_NODISCARD cs_status cs_op_pool(cs_backend *backend,
                                         const cs_pool_args *args);
CS_API CS_NODISCARD cs_status cs_op_pool_backward(cs_backend *backend,
                                                  const cs_pool_args *args);
CS_API CS_NODISCARD cs_status cs_op_im2col(cs_backend *backend,
                                           const cs_im2col_args *args);
CS_API CS_NODISCARD cs_status cs_op_im2col_backward(cs_backend *backend,
                                                    const cs_im2col_args *args);
CS_API CS_NODISCARD cs_status cs_op_mix(cs_backend *backend,
                                        const cs_mix_args *args);
CS_API CS_NODISCARD cs_status cs_op_mix_backward(cs_backend *backend,
                                                 const cs_mix_args *args);
CS_API CS_NODISCARD cs_status cs_op_scale(cs_backend *backend,
                                          const cs_scale_args *args);
CS_API CS_NODISCARD cs_status cs_op_scale_backward(cs_backend *backend,
                                                   const cs_scale_args *args);
CS_API CS_NODISCARD cs_status cs_op_route(cs_backend *backend,
                                          const cs_route_args *args);
CS_API CS_NODISCARD cs_status cs_op_route_backward(cs_backend *backend,
                                                   const cs_route_args *args);
CS_API CS_NODISCARD cs_status cs_op_axpby(cs_backend *backend,
                                          const cs_axpby_args *args);
CS_API CS_NODISCARD cs_status cs_op_head_loss(cs_backend *backend,
                                              const cs_head_loss_args *args);
CS_API CS_NODISCARD cs_status
cs_op_head_loss_backward(cs_backend *backend,
                         const cs_head_loss_backward_args *args);
CS_API CS_NODISCARD cs_status cs_op_adamw(cs_backend *backend,
                                          const cs_adamw_args *args);
/* Sum of squares of `count` reals in f64, fixed order. */
CS_API CS_NODISCARD cs_status cs_op_sum_squares(cs_backend *backend,
                                                cs_dtype dtype, const void *x,
                                                int64_t count, double *out);
/* y = (dst_dtype)x; any pair of f32 f64 bf16 f16. */
CS_API CS_NODISCARD cs_status cs_op_cast(cs_backend *backend,
                                         cs_dtype src_dtype, const void *x,
                                         cs_dtype dst_dtype, void *y,
                                         int64_t count);

CS_END_DECLS
#endif
