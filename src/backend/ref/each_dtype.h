/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Includes the file named by KERNELS three times: once per dtype, with the
 * words that ref.h explains. No include guard: it is a macro that spans lines.
 */
#define STORE    float
#define REAL     float
#define LOAD(x)  (x)
#define ROUND(x) (x)
#define NAME(f)  f##_f32
#include KERNELS
#undef STORE
#undef REAL
#undef LOAD
#undef ROUND
#undef NAME

#define STORE    double
#define REAL     double
#define LOAD(x)  (x)
#define ROUND(x) (x)
#define NAME(f)  f##_f64
#include KERNELS
#undef STORE
#undef REAL
#undef LOAD
#undef ROUND
#undef NAME

#define STORE    uint16_t
#define REAL     float
#define LOAD(x)  csi_bf16_to_f32(x)
#define ROUND(x) csi_f32_to_bf16(x)
#define NAME(f)  f##_bf16
#include KERNELS
#undef STORE
#undef REAL
#undef LOAD
#undef ROUND
#undef NAME
#undef KERNELS
