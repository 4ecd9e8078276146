/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CPU_VEC_AVX512_H
#define CS_CPU_VEC_AVX512_H
/*
 * Sixteen f32 lanes. The same names as vec_avx2.h, so that kernel sources are
 * written once. Tails are masked, never peeled: a lane's result does not
 * depend on where its row starts. Needs F, BW, DQ and VL.
 */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define CSI_INLINE static inline __attribute__((always_inline, unused))

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;
enum {
    VW = 16
};

CSI_INLINE vm vm_first(int n)
{
    return (vm)((1U << n) - 1U);
}

CSI_INLINE vf v_set(float x)
{
    return _mm512_set1_ps(x);
}
CSI_INLINE vf v_zero(void)
{
    return _mm512_setzero_ps();
}
CSI_INLINE vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
CSI_INLINE void v_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}
CSI_INLINE vf v_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(vm_first(n), p);
}
CSI_INLINE void v_store_n(float *p, vf x, int n)
{
    _mm512_mask_storeu_ps(p, vm_first(n), x);
}

CSI_INLINE vf v_from_bf16(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
/* Round to nearest even; a NaN keeps its sign and top bits and stays quiet. */
CSI_INLINE __m256i v_to_bf16(vf x)
{
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd =
        _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(bits,
                         _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
    const vm nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(
        _mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
}
CSI_INLINE vf v_load_bf16(const uint16_t *p)
{
    return v_from_bf16(_mm256_loadu_si256((const void *)p));
}
CSI_INLINE vf v_load_bf16_n(const uint16_t *p, int n)
{
    return v_from_bf16(_mm256_maskz_loadu_epi16(vm_first(n), p));
}
CSI_INLINE void v_store_bf16(uint16_t *p, vf x)
{
    _mm256_storeu_si256((void *)p, v_to_bf16(x));
}
CSI_INLINE void v_store_bf16_n(uint16_t *p, vf x, int n)
{
    _mm256_mask_storeu_epi16(p, vm_first(n), v_to_bf16(x));
}

CSI_INLINE vf v_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
CSI_INLINE vf v_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
CSI_INLINE vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
CSI_INLINE vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
CSI_INLINE vf v_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
CSI_INLINE vf v_abs(vf a)
{
    return _mm512_abs_ps(a);
}
CSI_INLINE vf v_copysign(vf a, vf sign)
{
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        _mm512_set1_epi32(INT32_MIN), _mm512_castps_si512(sign),
        _mm512_castps_si512(a), 0xca));
}
CSI_INLINE vf v_round(vf a)
{
    return _mm512_roundscale_ps(a,
                                _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* a * 2^n for whole n. */
CSI_INLINE vf v_scale2(vf a, vf n)
{
    return _mm512_scalef_ps(a, n);
}

CSI_INLINE vm v_lt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
CSI_INLINE vm v_gt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
CSI_INLINE vf v_select(vm m, vf yes, vf no)
{
    return _mm512_mask_blend_ps(m, no, yes);
}
/* Lanes whose bit (of the lowest VW) is set. */
CSI_INLINE vm vm_from_bits(uint64_t bits)
{
    return (vm)(bits & 0xffffU);
}

/* Fixed trees: halves are added until one lane is left. */
CSI_INLINE float v_sum(vf a)
{
    const __m256 h =
        _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 q =
        _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
CSI_INLINE float v_max_of(vf a)
{
    const __m256 h =
        _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 q =
        _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}

/* Which of VW queries see a key, from the halves of their mask words (see
 * mask.h); window <= 0 = none. Queries of document 0 must not be asked. */
CSI_INLINE uint64_t v_visible(uint32_t k_high, uint32_t k_low,
                              int32_t k_position, int32_t window,
                              const uint32_t *q_high, const uint32_t *q_low,
                              const int32_t *q_position)
{
    const vi q_word = _mm512_loadu_si512(q_high);
    const vi differ =
        _mm512_xor_si512(q_word, _mm512_set1_epi32((int32_t)k_high));
    const vi after = _mm512_sub_epi32(_mm512_loadu_si512(q_position),
                                      _mm512_set1_epi32(k_position));
    const vi sees = _mm512_srli_epi32(_mm512_loadu_si512(q_low), 16);
    const vm document =
        _mm512_cmplt_epu32_mask(differ, _mm512_set1_epi32(0x10000));
    vm span = 0;
    vm causal = _mm512_test_epi32_mask(sees, _mm512_set1_epi32((int32_t)k_low));

    if ((k_high & 0xffffU) != 0) {
        span = _mm512_cmpeq_epi32_mask(differ, _mm512_setzero_si512());
    }
    causal =
        (vm)(causal & _mm512_cmpge_epi32_mask(after, _mm512_setzero_si512()));
    if (window > 0) {
        causal =
            (vm)(causal &
                 _mm512_cmplt_epi32_mask(after, _mm512_set1_epi32(window)));
    }
    return (uint64_t)(span | (document & causal));
}

CSI_INLINE vm v_bit(vi a, int bit)
{
    return _mm512_test_epi32_mask(a, _mm512_set1_epi32(bit));
}
CSI_INLINE vi v_add_int(vi a, int b)
{
    return _mm512_add_epi32(a, _mm512_set1_epi32(b));
}

/* position * frequency[0 .. n) less the nearest multiple of pi / 2, and that
 * multiple. */
CSI_INLINE __m256 phase_half(const double *frequency, int n, double position,
                             __m256i *quadrant)
{
    const __mmask8 mask = (__mmask8)(n >= 8 ? 0xffU : (1U << n) - 1U);
    const __m512d x = _mm512_mul_pd(_mm512_maskz_loadu_pd(mask, frequency),
                                    _mm512_set1_pd(position));
    const __m512d times = _mm512_roundscale_pd(
        _mm512_mul_pd(x, _mm512_set1_pd(0.63661977236758134308)),
        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512d r =
        _mm512_fnmadd_pd(times, _mm512_set1_pd(1.5707963267948966192), x);
    r = _mm512_fnmadd_pd(times, _mm512_set1_pd(6.1232339957367658e-17), r);
    *quadrant = _mm512_cvtpd_epi32(times);
    return _mm512_cvtpd_ps(r);
}
CSI_INLINE vf v_phase(const double *frequency, int n, double position,
                      vi *quadrant)
{
    __m256i low;
    __m256i high = _mm256_setzero_si256();
    __m256 upper = _mm256_setzero_ps();
    const __m256 lower = phase_half(frequency, n, position, &low);

    if (n > 8) {
        upper = phase_half(frequency + 8, n - 8, position, &high);
    }
    *quadrant = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    return _mm512_insertf32x8(_mm512_castps256_ps512(lower), upper, 1);
}

/* Adds the squares of VW floats to eight f64 lanes, low half first. */
typedef __m512d vsquares;
CSI_INLINE vsquares v_squares_zero(void)
{
    return _mm512_setzero_pd();
}
CSI_INLINE vsquares v_squares_add(vsquares sum, vf x)
{
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return _mm512_fmadd_pd(high, high, _mm512_fmadd_pd(low, low, sum));
}
CSI_INLINE void v_squares_store(double lanes[8], vsquares sum)
{
    _mm512_storeu_pd(lanes, sum);
}

/* The first half of x to `low`, the second to `high`. */
CSI_INLINE void v_store_halves(float *low, float *high, vf x)
{
    _mm256_storeu_ps(low, _mm512_castps512_ps256(x));
    _mm256_storeu_ps(high, _mm512_extractf32x8_ps(x, 1));
}

/* In-register transposition of 16 x 16 floats. */
CSI_INLINE void v_transpose(vf r[VW])
{
    vf t[VW];
#pragma GCC unroll 8
    for (int i = 0; i < VW; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < VW; i += 4) {
        const __m512d a = _mm512_castps_pd(t[i]);
        const __m512d b = _mm512_castps_pd(t[i + 1]);
        const __m512d c = _mm512_castps_pd(t[i + 2]);
        const __m512d d = _mm512_castps_pd(t[i + 3]);
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
}
#endif
