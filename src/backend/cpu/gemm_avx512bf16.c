/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The register tile on pairs of bf16: VDPBF16PS adds two products to each f32
 * sum. Twice the f32 rate on Zen 4; half of it on the Intel cores that have
 * two FMA units, so cpu_features.c decides who gets it. A packed word holds
 * depth elements 2p (low half) and 2p + 1.
 */
#include "cpu.h"
#include "vec_avx512.h"

#include <string.h>

enum {
    MR = 8,
    NR = 2 * VW
};

/* Words of two neighbours in memory: the transposition of f32 serves, since
 * it only moves 32-bit lanes. */
static void pack_across(float *dst, int32_t width, const csi_operand *x,
                        int64_t lane, int64_t count, int64_t d, int64_t n)
{
    const uint16_t *data = x->data;
    const int put = width < VW ? width : VW;

    for (int64_t p = 0; p < n; p += 2 * VW) {
        const int part = n - p < 2 * VW ? (int)(n - p) : 2 * VW;
        const __mmask32 mask =
            part == 2 * VW ? ~(__mmask32)0 : ((__mmask32)1 << part) - 1U;
        vf square[VW];

        for (int i = 0; i < VW; i++) {
            square[i] = v_zero();
        }
        for (int i = 0; i < VW && i < count; i++) {
            square[i] =
                _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask,
                                                             data +
                                                                 (lane + i) *
                                                                     x->ld +
                                                                 d + p));
        }
        v_transpose(square);
        for (int i = 0; 2 * i < part; i++) {
            v_store_n(dst + (p / 2 + i) * width, square[i], put);
        }
    }
}

static __m512i load_lanes(const uint16_t *data, int64_t count)
{
    const vm mask = count >= VW  ? (vm)0xffff
                    : count <= 0 ? (vm)0
                                 : vm_first((int)count);

    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, data));
}

static void pack_along(float *dst, int32_t width, const csi_operand *x,
                       int64_t lane, int64_t count, int64_t d, int64_t n)
{
    const uint16_t *data = x->data;
    const int put = width < VW ? width : VW;

    for (int64_t p = 0; p < n; p += 2) {
        const uint16_t *even = data + (d + p) * x->ld + lane;
        __m512i word = load_lanes(even, count);

        if (p + 1 < n) {
            const __m512i odd = load_lanes(even + x->ld, count);
            word = _mm512_or_si512(word, _mm512_slli_epi32(odd, 16));
        }
        v_store_n(dst + p / 2 * width, _mm512_castsi512_ps(word), put);
    }
}

static void pack(float *dst, int32_t width, const csi_operand *x, int64_t lanes,
                 int64_t lane, int64_t d, int64_t n)
{
    for (int32_t i = 0; i < width; i += VW) {
        if (x->depth_inner) {
            pack_across(dst + i, width, x, lane + i, lanes - lane - i, d, n);
        } else {
            pack_along(dst + i, width, x, lane + i, lanes - lane - i, d, n);
        }
    }
}

static void tile(const csi_tile *t)
{
    const float *a = t->a;
    const float *b = t->b;
    vf sum[MR][2];

#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
        sum[i][0] = v_zero();
        sum[i][1] = v_zero();
    }
    for (int64_t p = 0; p < t->k; p++) {
        const __m512bh b0 = (__m512bh)v_load(b);
        const __m512bh b1 = (__m512bh)v_load(b + VW);

#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            const __m512bh x = (__m512bh)v_set(a[i]);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, b0);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, b1);
        }
        a += t->a_step;
        b += NR;
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
        float *c = t->c + i * t->ldc;

        if (i < t->rows) {
            v_store(c, sum[i][0]);
            v_store(c + VW, sum[i][1]);
        }
    }
}

const csi_gemm_kernels *csi_cpu_gemm_avx512bf16(void)
{
    static const csi_gemm_kernels kernels = {.mr = MR,
                                             .nr = NR,
                                             .pair = 2,
                                             .pack = pack,
                                             .tile = tile};

    return &kernels;
}
