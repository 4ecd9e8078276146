/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CPU_VEC_AVX2_H
#define CS_CPU_VEC_AVX2_H
/*
 * Eight f32 lanes. The same names as vec_avx512.h, so that kernel sources are
 * written once. Tails are masked, those of 16-bit elements go through a small
 * buffer. Needs AVX2 and FMA.
 */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define CSI_INLINE static inline __attribute__((always_inline, unused))

typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm;
enum {
    VW = 8
};

CSI_INLINE vf v_set(float x)
{
    return _mm256_set1_ps(x);
}
CSI_INLINE vf v_zero(void)
{
    return _mm256_setzero_ps();
}
CSI_INLINE vf v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
CSI_INLINE void v_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x);
}
/* All bits set in the first n lanes. */
CSI_INLINE vi vi_first(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
CSI_INLINE vf v_load_n(const float *p, int n)
{
    return _mm256_maskload_ps(p, vi_first(n));
}
CSI_INLINE void v_store_n(float *p, vf x, int n)
{
    _mm256_maskstore_ps(p, vi_first(n), x);
}

CSI_INLINE vf v_load_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(
        _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}
/* Round to nearest even; a NaN keeps its sign and top bits and stays quiet. */
CSI_INLINE void v_store_bf16(uint16_t *p, vf x)
{
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd =
        _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(bits,
                         _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i half =
        _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    _mm_storeu_si128((void *)p,
                     _mm_packus_epi32(_mm256_castsi256_si128(half),
                                      _mm256_extracti128_si256(half, 1)));
}
CSI_INLINE vf v_load_bf16_n(const uint16_t *p, int n)
{
    uint16_t lanes[VW] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return v_load_bf16(lanes);
}
CSI_INLINE void v_store_bf16_n(uint16_t *p, vf x, int n)
{
    uint16_t lanes[VW];
    v_store_bf16(lanes, x);
    memcpy(p, lanes, (size_t)n * sizeof *p);
}

CSI_INLINE vf v_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
CSI_INLINE vf v_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
CSI_INLINE vf v_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
CSI_INLINE vf v_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
CSI_INLINE vf v_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}
CSI_INLINE vf v_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a);
}
CSI_INLINE vf v_copysign(vf a, vf sign)
{
    const vf bit = _mm256_set1_ps(-0.0F);
    return _mm256_or_ps(_mm256_andnot_ps(bit, a), _mm256_and_ps(bit, sign));
}
CSI_INLINE vf v_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* a * 2^n for whole n in -252 .. 254: two steps, so that the result may be
 * subnormal. */
CSI_INLINE vf v_scale2(vf a, vf n)
{
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(whole, 1);
    const __m256i rest = _mm256_sub_epi32(whole, half);
    const __m256i bias = _mm256_set1_epi32(127);
    const vf x =
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias),
                                              23));
    const vf y =
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias),
                                              23));
    return _mm256_mul_ps(_mm256_mul_ps(a, x), y);
}

CSI_INLINE vm v_lt(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
CSI_INLINE vm v_gt(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}
CSI_INLINE vf v_select(vm m, vf yes, vf no)
{
    return _mm256_blendv_ps(no, yes, m);
}
/* Lanes whose bit (of the lowest VW) is set. */
CSI_INLINE vm vm_from_bits(uint64_t bits)
{
    const vi bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const vi have = _mm256_set1_epi32((int32_t)(bits & 0xffU));
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(have, bit),
                                                  bit));
}

/* Fixed trees: halves are added until one lane is left. */
CSI_INLINE float v_sum(vf a)
{
    const __m128 q =
        _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
CSI_INLINE float v_max_of(vf a)
{
    const __m128 q =
        _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
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
    const vi zero = _mm256_setzero_si256();
    const vi differ = _mm256_xor_si256(_mm256_loadu_si256((const void *)q_high),
                                       _mm256_set1_epi32((int32_t)k_high));
    const vi after =
        _mm256_sub_epi32(_mm256_loadu_si256((const void *)q_position),
                         _mm256_set1_epi32(k_position));
    const vi sees =
        _mm256_and_si256(_mm256_srli_epi32(_mm256_loadu_si256((const void *)
                                                                  q_low),
                                           16),
                         _mm256_set1_epi32((int32_t)k_low));
    const vi document = _mm256_cmpeq_epi32(_mm256_srli_epi32(differ, 16), zero);
    vi span = zero;
    vi hidden = _mm256_or_si256(_mm256_cmpeq_epi32(sees, zero),
                                _mm256_cmpgt_epi32(zero, after));

    if ((k_high & 0xffffU) != 0) {
        span = _mm256_cmpeq_epi32(differ, zero);
    }
    if (window > 0) {
        hidden =
            _mm256_or_si256(hidden,
                            _mm256_cmpgt_epi32(after,
                                               _mm256_set1_epi32(window - 1)));
    }
    const vi seen =
        _mm256_or_si256(span, _mm256_andnot_si256(hidden, document));
    return (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(seen));
}

CSI_INLINE vm v_bit(vi a, int bit)
{
    const vi want = _mm256_set1_epi32(bit);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(a, want),
                                                  want));
}
CSI_INLINE vi v_add_int(vi a, int b)
{
    return _mm256_add_epi32(a, _mm256_set1_epi32(b));
}

/* position * frequency[0 .. n) less the nearest multiple of pi / 2, and that
 * multiple. */
CSI_INLINE __m128 phase_half(const double *frequency, int n, double position,
                             __m128i *quadrant)
{
    double lanes[4] = {0};
    memcpy(lanes, frequency, (size_t)(n < 4 ? n : 4) * sizeof lanes[0]);
    const __m256d x =
        _mm256_mul_pd(_mm256_loadu_pd(lanes), _mm256_set1_pd(position));
    const __m256d times =
        _mm256_round_pd(_mm256_mul_pd(x,
                                      _mm256_set1_pd(0.63661977236758134308)),
                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256d r =
        _mm256_fnmadd_pd(times, _mm256_set1_pd(1.5707963267948966192), x);
    r = _mm256_fnmadd_pd(times, _mm256_set1_pd(6.1232339957367658e-17), r);
    *quadrant = _mm256_cvtpd_epi32(times);
    return _mm256_cvtpd_ps(r);
}
CSI_INLINE vf v_phase(const double *frequency, int n, double position,
                      vi *quadrant)
{
    __m128i low;
    __m128i high = _mm_setzero_si128();
    __m128 upper = _mm_setzero_ps();
    const __m128 lower = phase_half(frequency, n, position, &low);

    if (n > 4) {
        upper = phase_half(frequency + 4, n - 4, position, &high);
    }
    *quadrant = _mm256_set_m128i(high, low);
    return _mm256_set_m128(upper, lower);
}

/* Adds the squares of VW floats to eight f64 lanes. */
typedef struct vsquares {
    __m256d low, high;
} vsquares;
CSI_INLINE vsquares v_squares_zero(void)
{
    return (vsquares){_mm256_setzero_pd(), _mm256_setzero_pd()};
}
CSI_INLINE vsquares v_squares_add(vsquares sum, vf x)
{
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    return (vsquares){_mm256_fmadd_pd(low, low, sum.low),
                      _mm256_fmadd_pd(high, high, sum.high)};
}
CSI_INLINE void v_squares_store(double lanes[8], vsquares sum)
{
    _mm256_storeu_pd(lanes, sum.low);
    _mm256_storeu_pd(lanes + 4, sum.high);
}

/* The first half of x to `low`, the second to `high`. */
CSI_INLINE void v_store_halves(float *low, float *high, vf x)
{
    _mm_storeu_ps(low, _mm256_castps256_ps128(x));
    _mm_storeu_ps(high, _mm256_extractf128_ps(x, 1));
}

/* In-register transposition of 8 x 8 floats. */
CSI_INLINE void v_transpose(vf r[VW])
{
    vf t[VW];
#pragma GCC unroll 4
    for (int i = 0; i < VW; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < VW; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < VW; i++) {
        r[i] = t[i];
    }
}
#endif
