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

/* 2 * VW neighbours in depth as VW words; fewer where the depth ends. */
static vf load_words(const uint16_t *from, int64_t n)
{
    const __mmask32 mask = n >= 2 * VW ? ~(__mmask32)0
                           : n <= 0    ? (__mmask32)0
                                       : ((__mmask32)1 << n) - 1U;

    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, from));
}

/* Words of two neighbours in memory: the transposition of f32 serves, since
 * it only moves 32-bit lanes. */
static void pack_across(float *dst, int32_t width, const csi_operand *x,
                        int64_t lane, int64_t count, int64_t d, int64_t n)
{
    const uint16_t *data = x->data;

    for (int64_t p = 0; p < n; p += 2 * VW) {
        const int64_t words = n - p < 2 * VW ? (n - p + 1) / 2 : VW;
        vf square[VW];

        for (int i = 0; i < VW; i++) {
            square[i] = v_zero();
            if (i < count) {
                square[i] =
                    load_words(data + (lane + i) * x->ld + d + p, n - p);
            }
        }
        v_transpose(square);
        for (int64_t i = 0; i < words; i++) {
            v_store(dst + (p / 2 + i) * width, square[i]);
        }
    }
}

/* The same for panels of half a vector: a second piece of depth fills the
 * other half of the square. */
static void pack_across_half(float *dst, const csi_operand *x, int64_t lane,
                             int64_t count, int64_t d, int64_t n)
{
    const uint16_t *data = x->data;
    const int64_t half = VW / 2;

    for (int64_t p = 0; p < n; p += 4 * VW) {
        const int64_t words = n - p < 4 * VW ? (n - p + 1) / 2 : 2 * VW;
        float *to = dst + p / 2 * half;
        vf square[VW];

        for (int i = 0; i < half; i++) {
            const uint16_t *from = data + (lane + i) * x->ld + d + p;

            square[i] = v_zero();
            square[half + i] = v_zero();
            if (i < count) {
                square[i] = load_words(from, n - p);
                square[half + i] = load_words(from + 2 * VW, n - p - 2 * VW);
            }
        }
        v_transpose(square);
        for (int64_t i = 0; i < VW && i < words; i++) {
            const __m512 x16 = square[i];

            _mm256_storeu_ps(to + i * half, _mm512_castps512_ps256(x16));
            if (VW + i < words) {
                _mm256_storeu_ps(to + (VW + i) * half,
                                 _mm512_extractf32x8_ps(x16, 1));
            }
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

/* Lanes contiguous: two rows of memory at a time through all panels. */
static void pack_along(float *dst, int32_t width, const csi_operand *x,
                       const csi_box *box)
{
    const uint16_t *data = x->data;
    const int64_t words = (box->n + 1) / 2;

    for (int64_t p = 0; p < words; p++) {
        const uint16_t *even = data + (box->d + 2 * p) * x->ld + box->lane;
        const bool has_odd = 2 * p + 1 < box->n;
        int64_t left = box->lanes - box->lane;
        float *to = dst + p * width;

        for (int64_t j = 0; j < box->panels; j++) {
            for (int32_t i = 0; i < width; i += VW) {
                const int put = width - i < VW ? width - i : VW;
                const int64_t have = left - i < put ? left - i : put;
                const uint16_t *from = even + j * width + i;
                __m512i word = load_lanes(from, have);

                if (has_odd) {
                    const __m512i odd = load_lanes(from + x->ld, have);
                    word = _mm512_or_si512(word, _mm512_slli_epi32(odd, 16));
                }
                v_store_n(to + i, _mm512_castsi512_ps(word), put);
            }
            left -= width;
            to += words * width;
        }
    }
}

static void pack(float *dst, int32_t width, const csi_operand *x,
                 const csi_box *box)
{
    if (!x->depth_inner) {
        pack_along(dst, width, x, box);
        return;
    }
    for (int64_t j = 0; j < box->panels; j++) {
        const int64_t lane = box->lane + j * width;
        const int64_t count = box->lanes - lane;
        float *to = dst + j * width * ((box->n + 1) / 2);

        if (2 * width == VW) {
            pack_across_half(to, x, lane, count, box->d, box->n);
            continue;
        }
        for (int32_t i = 0; i < width; i += VW) {
            pack_across(to + i, width, x, lane + i, count - i, box->d, box->n);
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
            if (t->add) {
                sum[i][0] += v_load(c);
                sum[i][1] += v_load(c + VW);
            }
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
