/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CPU_VEC_MATH_H
#define CS_CPU_VEC_MATH_H
/*
 * exp, tanh, erf and the activations on vectors, included after one of
 * vec_avx2.h and vec_avx512.h. Polynomials: Cephes (exp, tanh) and
 * N. Juffa's two-branch fit (erf); all within 2 ulp of the exact value
 * (tests/unit/backend_cpu/pointwise_test.c measures it). A NaN goes through: the
 * operand that may be one is the second of v_max and v_min.
 */
#include "cornstarch/backend.h"

CSI_INLINE vf v_exp(vf x)
{
    const vf bounded = v_min(v_set(89.0F), v_max(v_set(-104.0F), x));
    const vf n = v_round(bounded * v_set(1.44269504088896341F));
    vf r = v_fnma(n, v_set(0.693359375F), bounded);
    r = v_fnma(n, v_set(-2.12194440e-4F), r);
    vf p = v_set(1.9875691500e-4F);
    p = v_fma(p, r, v_set(1.3981999507e-3F));
    p = v_fma(p, r, v_set(8.3334519073e-3F));
    p = v_fma(p, r, v_set(4.1665795894e-2F));
    p = v_fma(p, r, v_set(1.6666665459e-1F));
    p = v_fma(p, r, v_set(5.0000001201e-1F));
    p = v_fma(p, r * r, r) + v_set(1.0F);
    return v_scale2(p, n);
}

CSI_INLINE vf v_tanh(vf x)
{
    const vf size = v_abs(x);
    const vf z = x * x;
    vf p = v_set(-5.70498872745e-3F);
    p = v_fma(p, z, v_set(2.06390887954e-2F));
    p = v_fma(p, z, v_set(-5.37397155531e-2F));
    p = v_fma(p, z, v_set(1.33314422036e-1F));
    p = v_fma(p, z, v_set(-3.33332819422e-1F));
    const vf small = v_fma(p * z, x, x);
    const vf large =
        v_set(1.0F) - v_set(2.0F) / (v_exp(v_set(2.0F) * size) + v_set(1.0F));
    return v_select(v_lt(size, v_set(0.625F)), small, v_copysign(large, x));
}

CSI_INLINE vf v_erf(vf x)
{
    const vf t = v_abs(x);
    const vf s = x * x;
    vf far = v_fma(v_set(-1.72853470e-5F), t, v_set(3.83197126e-4F));
    const vf odd = v_fma(v_set(-3.88396438e-3F), t, v_set(2.42546219e-2F));
    far = v_fma(far, s, odd);
    far = v_fma(far, t, v_set(-1.06777877e-1F));
    far = v_fma(far, t, v_set(-6.34846687e-1F));
    far = v_fma(far, t, v_set(-1.28717512e-1F));
    far = v_fma(far, t, v_zero() - t);
    /* beyond 4 the answer is 1, and the polynomial may not be trusted */
    far = v_select(v_gt(t, v_set(4.0F)), v_set(-104.0F), far);
    far = v_copysign(v_set(1.0F) - v_exp(far), x);
    vf near = v_set(-5.96761703e-4F);
    near = v_fma(near, s, v_set(4.99119423e-3F));
    near = v_fma(near, s, v_set(-2.67681349e-2F));
    near = v_fma(near, s, v_set(1.12819925e-1F));
    near = v_fma(near, s, v_set(-3.76125336e-1F));
    near = v_fma(near, s, v_set(1.28379166e-1F));
    near = v_fma(near, x, x);
    return v_select(v_gt(t, v_set(0.927734375F)), far, near);
}

CSI_INLINE vf v_sigmoid(vf x)
{
    return v_set(1.0F) / (v_set(1.0F) + v_exp(v_zero() - x));
}

/* cos and sin of VW angles position * frequency; the angle and its remainder
 * are formed in f64, so that long contexts keep their phase. */
CSI_INLINE void v_cos_sin(const double *frequency, int n, double position,
                          vf *cosine, vf *sine)
{
    vi quadrant;
    const vf r = v_phase(frequency, n, position, &quadrant);
    const vf z = r * r;
    vf s = v_set(-1.9515295891e-4F);
    s = v_fma(s, z, v_set(8.3321608736e-3F));
    s = v_fma(s, z, v_set(-1.6666654611e-1F));
    s = v_fma(s * z, r, r);
    vf c = v_set(2.443315711809948e-5F);
    c = v_fma(c, z, v_set(-1.388731625493765e-3F));
    c = v_fma(c, z, v_set(4.166664568298827e-2F));
    c = v_fma(c * z, z, v_fma(v_set(-0.5F), z, v_set(1.0F)));
    const vm swap = v_bit(quadrant, 1);
    const vm minus_sine = v_bit(quadrant, 2);
    const vm minus_cosine = v_bit(v_add_int(quadrant, 1), 2);
    const vf sin_part = v_select(swap, c, s);
    const vf cos_part = v_select(swap, s, c);
    *sine = v_select(minus_sine, v_zero() - sin_part, sin_part);
    *cosine = v_select(minus_cosine, v_zero() - cos_part, cos_part);
}

#define CSI_SQRT_HALF      0.70710678118654752F
#define CSI_SQRT_2_OVER_PI 0.79788456080286536F
#define CSI_INV_SQRT_2_PI  0.39894228040143268F
#define CSI_GELU_CUBIC     0.044715F
#define CSI_QUICK_GELU     1.702F

/* act(x); `a` is a constant wherever this is inlined. */
CSI_INLINE vf v_activate(cs_activation a, vf x)
{
    const vf half = v_set(0.5F);
    const vf one = v_set(1.0F);

    switch (a) {
    case CS_ACT_GELU:
        return half * x * (one + v_erf(x * v_set(CSI_SQRT_HALF)));
    case CS_ACT_GELU_TANH: {
        const vf inner = v_fma(v_set(CSI_GELU_CUBIC) * x * x, x, x);
        return half * x * (one + v_tanh(v_set(CSI_SQRT_2_OVER_PI) * inner));
    }
    case CS_ACT_SILU:
        return x * v_sigmoid(x);
    case CS_ACT_RELU:
        return v_max(v_zero(), x);
    case CS_ACT_QUICK_GELU:
        return x * v_sigmoid(v_set(CSI_QUICK_GELU) * x);
    default:
        return x;
    }
}

/* act(x) and its slope. */
CSI_INLINE vf v_activate_slope(cs_activation a, vf x, vf *value)
{
    const vf half = v_set(0.5F);
    const vf one = v_set(1.0F);

    switch (a) {
    case CS_ACT_GELU: {
        const vf share = half * (one + v_erf(x * v_set(CSI_SQRT_HALF)));
        const vf density =
            v_set(CSI_INV_SQRT_2_PI) * v_exp(v_set(-0.5F) * x * x);
        *value = x * share;
        return v_fma(x, density, share);
    }
    case CS_ACT_GELU_TANH: {
        const vf square = x * x;
        const vf inner = v_fma(v_set(CSI_GELU_CUBIC) * square, x, x);
        const vf t = v_tanh(v_set(CSI_SQRT_2_OVER_PI) * inner);
        const vf slope = v_set(CSI_SQRT_2_OVER_PI) *
                         v_fma(v_set(3.0F * CSI_GELU_CUBIC), square, one);
        *value = half * x * (one + t);
        return v_fma(half * x * v_fnma(t, t, one), slope, half * (one + t));
    }
    case CS_ACT_SILU: {
        const vf s = v_sigmoid(x);
        *value = x * s;
        return s * v_fma(x, one - s, one);
    }
    case CS_ACT_RELU:
        *value = v_max(v_zero(), x);
        return v_select(v_gt(x, v_zero()), one, v_zero());
    case CS_ACT_QUICK_GELU: {
        const vf scaled = v_set(CSI_QUICK_GELU) * x;
        const vf s = v_sigmoid(scaled);
        *value = x * s;
        return s * v_fma(scaled, one - s, one);
    }
    default:
        *value = x;
        return one;
    }
}

/* Lanes i .. i + n - 1 of an f32 or bf16 array; n is the constant VW, or less
 * in a tail. */
CSI_INLINE vf v_get(const void *p, int64_t i, int n, bool is_bf16)
{
    if (is_bf16) {
        const uint16_t *at = (const uint16_t *)p + i;
        return n == VW ? v_load_bf16(at) : v_load_bf16_n(at, n);
    }
    const float *at = (const float *)p + i;
    return n == VW ? v_load(at) : v_load_n(at, n);
}

CSI_INLINE void v_put(void *p, int64_t i, vf x, int n, bool is_bf16)
{
    if (is_bf16) {
        uint16_t *at = (uint16_t *)p + i;
        if (n == VW) {
            v_store_bf16(at, x);
        } else {
            v_store_bf16_n(at, x, n);
        }
        return;
    }
    float *at = (float *)p + i;
    if (n == VW) {
        v_store(at, x);
    } else {
        v_store_n(at, x, n);
    }
}

/* Runs `body(..., i, n)` over [begin, end) in steps of VW, the tail masked. */
#define CSI_EACH(begin, end, body, ...)                   \
    do {                                                  \
        int64_t csi_i = (begin);                          \
        for (; csi_i + VW <= (end); csi_i += VW) {        \
            body(__VA_ARGS__, csi_i, VW);                 \
        }                                                 \
        if (csi_i < (end)) {                              \
            body(__VA_ARGS__, csi_i, (int)((end)-csi_i)); \
        }                                                 \
    } while (0)

/* Calls body with the activation as a constant. */
#define CSI_EACH_ACTIVATION(activation, body, ...) \
    do {                                           \
        switch (activation) {                      \
        case CS_ACT_GELU:                          \
            body(CS_ACT_GELU, __VA_ARGS__);        \
            break;                                 \
        case CS_ACT_GELU_TANH:                     \
            body(CS_ACT_GELU_TANH, __VA_ARGS__);   \
            break;                                 \
        case CS_ACT_SILU:                          \
            body(CS_ACT_SILU, __VA_ARGS__);        \
            break;                                 \
        case CS_ACT_RELU:                          \
            body(CS_ACT_RELU, __VA_ARGS__);        \
            break;                                 \
        case CS_ACT_QUICK_GELU:                    \
            body(CS_ACT_QUICK_GELU, __VA_ARGS__);  \
            break;                                 \
        default:                                   \
            body(CS_ACT_NONE, __VA_ARGS__);        \
            break;                                 \
        }                                          \
    } while (0)
#endif
