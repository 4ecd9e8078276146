/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products in register tiles, in the layout of Goto & van de Geijn (2008):
 * both operands are packed into panels, converted to f32 on the way, and a
 * tile of MR x NR sums stays in registers over the whole depth. A sum is one
 * chain of fused multiply-adds in ascending depth, whatever the tile, so a
 * row's bits do not depend on how many rows there are.
 * Included by kernels_<isa>.c, which defines MR.
 */
enum {
    NR = 2 * VW,
    AHEAD = 8, /* rows of memory asked for in advance */
    CACHE_LINE = 64
};

/* Asks for n elements from `at` on. Addresses beyond an array do no harm. */
CSI_INLINE void prefetch_lanes(const csi_operand *x, int64_t at, int64_t n,
                               bool is_bf16)
{
    const size_t size = csi_cpu_dtype_bytes(is_bf16);
    const uintptr_t from = (uintptr_t)x->data + (uintptr_t)at * size;

    for (uintptr_t i = 0; i < (uintptr_t)n * size; i += CACHE_LINE) {
        _mm_prefetch((const char *)(from + i), _MM_HINT_T0);
    }
}

/* Lanes contiguous: a row of memory at a time through all panels, so that
 * every line and page is met once. */
CSI_INLINE void pack_along(float *dst, int32_t width, const csi_operand *x,
                           const csi_box *box, bool is_bf16)
{
    for (int64_t p = 0; p < box->n; p++) {
        const int64_t from = (box->d + p) * x->ld + box->lane;
        int64_t left = box->lanes - box->lane;
        float *to = dst + p * width;

        prefetch_lanes(x, from + AHEAD * x->ld, box->panels * width, is_bf16);
        for (int64_t j = 0; j < box->panels; j++) {
            for (int32_t i = 0; i < width; i += VW) {
                const int put = width - i < VW ? width - i : VW;
                const int64_t have = left - i < put ? left - i : put;
                vf v = v_zero();

                if (have == VW) {
                    v = v_get(x->data, from + j * width + i, VW, is_bf16);
                } else if (have > 0) {
                    v = v_get(x->data, from + j * width + i, (int)have,
                              is_bf16);
                }
                if (put == VW) {
                    v_store(to + i, v);
                } else {
                    v_store_n(to + i, v, put);
                }
            }
            left -= width;
            to += box->n * width;
        }
    }
}

/* VW lanes, depth inner: squares of VW x VW are transposed in registers.
 * Writes `put` lanes per depth row. */
CSI_INLINE void pack_across(float *dst, int32_t width, const csi_operand *x,
                            const csi_box *box, int put, bool is_bf16)
{
    const int64_t count = box->lanes - box->lane;

    for (int64_t p = 0; p < box->n; p += VW) {
        const int part = box->n - p < VW ? (int)(box->n - p) : VW;
        vf square[VW];

        for (int i = 0; i < VW; i++) {
            square[i] = v_zero();
        }
        for (int i = 0; i < VW && i < count; i++) {
            const int64_t from = (box->lane + i) * x->ld + box->d + p;
            square[i] = part == VW ? v_get(x->data, from, VW, is_bf16)
                                   : v_get(x->data, from, part, is_bf16);
        }
        v_transpose(square);
        for (int i = 0; i < part; i++) {
            if (put == VW) {
                v_store(dst + (p + i) * width, square[i]);
            } else {
                v_store_n(dst + (p + i) * width, square[i], put);
            }
        }
    }
}

/* The same for panels half a vector wide, two pieces of depth at a time: the
 * second fills the other half of the square. Packs what fills whole squares
 * and returns how much depth that was. */
CSI_INLINE int64_t pack_across_half(float *dst, const csi_operand *x,
                                    const csi_box *box, bool is_bf16)
{
    const int64_t half = VW / 2;
    const int64_t count = box->lanes - box->lane;
    int64_t p = 0;

    for (; p + 2 * VW <= box->n; p += 2 * VW) {
        vf square[VW];

        for (int i = 0; i < half; i++) {
            const int64_t from = (box->lane + i) * x->ld + box->d + p;

            square[i] = v_zero();
            square[half + i] = v_zero();
            prefetch_lanes(x, from + 4 * VW, 2 * VW, is_bf16);
            if (i < count) {
                square[i] = v_get(x->data, from, VW, is_bf16);
                square[half + i] = v_get(x->data, from + VW, VW, is_bf16);
            }
        }
        v_transpose(square);
        for (int i = 0; i < VW; i++) {
            v_store_halves(dst + (p + i) * half, dst + (p + VW + i) * half,
                           square[i]);
        }
    }
    return p;
}

CSI_INLINE void pack_depth_inner(float *dst, int32_t width,
                                 const csi_operand *x, const csi_box *box,
                                 bool is_bf16)
{
    csi_box part = *box;

    for (int64_t j = 0; j < box->panels; j++) {
        float *to = dst + j * width * box->n;
        int64_t done = 0;

        part.lane = box->lane + j * width;
        part.d = box->d;
        part.n = box->n;
        if (2 * width == VW) {
            done = pack_across_half(to, x, &part, is_bf16);
        }
        part.d += done;
        part.n -= done;
        for (int32_t i = 0; i < width; i += VW) {
            const int put = width - i < VW ? width - i : VW;

            pack_across(to + done * width + i, width, x, &part, put, is_bf16);
            part.lane += VW;
        }
    }
}

static void pack(float *dst, int32_t width, const csi_operand *x,
                 const csi_box *box)
{
    if (x->depth_inner) {
        if (x->is_bf16) {
            pack_depth_inner(dst, width, x, box, true);
        } else {
            pack_depth_inner(dst, width, x, box, false);
        }
    } else if (x->is_bf16) {
        pack_along(dst, width, x, box, true);
    } else {
        pack_along(dst, width, x, box, false);
    }
}

/* The sums of a tile; `across` and `down` are the steps of a from row to row
 * and along the depth. */
CSI_INLINE void tile_sums(const csi_tile *t, int64_t across, int64_t down)
{
    const int64_t rows = t->rows;
    const int64_t ldc = t->ldc;
    const bool add = t->add;
    const float *a = t->a;
    const float *b = t->b;
    vf sum[MR][2];

#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
        sum[i][0] = v_zero();
        sum[i][1] = v_zero();
    }
    for (int64_t p = 0; p < t->k; p++) {
        const vf b0 = v_load(b);
        const vf b1 = v_load(b + VW);

#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            const vf x = v_set(a[i * across]);
            sum[i][0] = v_fma(x, b0, sum[i][0]);
            sum[i][1] = v_fma(x, b1, sum[i][1]);
        }
        a += down;
        b += NR;
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
        float *c = t->c + i * ldc;

        if (i < rows) {
            if (add) {
                sum[i][0] += v_load(c);
                sum[i][1] += v_load(c + VW);
            }
            v_store(c, sum[i][0]);
            v_store(c + VW, sum[i][1]);
        }
    }
}

static void tile(const csi_tile *t)
{
    tile_sums(t, 1, t->a_step);
}

static void tile_rows(const csi_tile *t)
{
    tile_sums(t, CSI_CPU_BLOCK_STRIDE, 1);
}

CSI_INLINE void finish_lanes(cs_activation activation, const csi_epilogue *end,
                             const float *from, int64_t at, int64_t column,
                             int n, bool is_bf16)
{
    vf y = v_get(from, 0, n, false);

    if (end->bias != NULL) {
        y += v_get(end->bias, column, n, is_bf16);
    }
    if (end->pre != NULL) {
        v_put(end->pre, at, y, n, is_bf16);
    }
    y = v_activate(activation, y);
    if (end->accumulate) {
        y += v_get(end->c, at, n, is_bf16);
    }
    v_put(end->c, at, y, n, is_bf16);
}

/* A place in the result: `rows` x `columns` at (row, column). */
typedef struct finish_box {
    const float *tile;
    int64_t stride, row, column, rows, columns;
} finish_box;

CSI_INLINE void finish_box_as(cs_activation activation, const csi_epilogue *end,
                              const finish_box *box, bool is_bf16)
{
    for (int64_t i = 0; i < box->rows; i++) {
        const float *from = box->tile + i * box->stride;
        const int64_t at = (box->row + i) * end->ldc + box->column;

        for (int64_t j = 0; j < box->columns; j += VW) {
            const int64_t left = box->columns - j;

            if (left >= VW) {
                finish_lanes(activation, end, from + j, at + j, box->column + j,
                             VW, is_bf16);
            } else {
                finish_lanes(activation, end, from + j, at + j, box->column + j,
                             (int)left, is_bf16);
            }
        }
    }
}

static void finish(const csi_epilogue *end, const float *sums, int64_t stride,
                   int64_t row, int64_t column, int64_t rows, int64_t columns)
{
    const finish_box box = {.tile = sums,
                            .stride = stride,
                            .row = row,
                            .column = column,
                            .rows = rows,
                            .columns = columns};

    if (end->is_bf16) {
        CSI_EACH_ACTIVATION(end->activation, finish_box_as, end, &box, true);
    } else {
        CSI_EACH_ACTIVATION(end->activation, finish_box_as, end, &box, false);
    }
}
