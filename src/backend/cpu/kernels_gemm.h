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
    NR = 2 * VW
};

/* Asks for a line. An address beyond the array does no harm. */
CSI_INLINE void prefetch_element(const csi_operand *x, int64_t at, bool is_bf16)
{
    _mm_prefetch((const char *)((uintptr_t)x->data +
                                (uintptr_t)at * csi_cpu_dtype_bytes(is_bf16)),
                 _MM_HINT_T0);
}

/* The panels of `box` from one row of memory: element `from` is the first of
 * box->lanes that exist. */
CSI_INLINE void pack_row(float *to, int32_t width, const csi_operand *x,
                         int64_t from, const csi_box *box, bool is_bf16)
{
    for (int64_t j = 0; j < box->panels; j++) {
        for (int32_t i = 0; i < width; i += VW) {
            const int put = width - i < VW ? width - i : VW;
            const int64_t left = box->lanes - j * width - i;
            const int64_t have = left < put ? left : put;
            const int64_t at = from + j * width + i;
            vf v = v_zero();

            if (have == VW) {
                v = v_get(x->data, at, VW, is_bf16);
            } else if (have > 0) {
                v = v_get(x->data, at, (int)have, is_bf16);
            }
            if (put == VW) {
                v_store(to + i, v);
            } else {
                v_store_n(to + i, v, put);
            }
        }
        to += box->n * width;
    }
}

/* Lanes contiguous: a row of memory at a time through all panels, so that
 * every line and page is met once. */
CSI_INLINE void pack_along(float *dst, int32_t width, const csi_operand *x,
                           const csi_box *box, bool is_bf16)
{
    const int64_t step = box->n * width;
    const int64_t count = box->lanes - box->lane;
    /* pairs of half-vector panels that are whole */
    const int64_t whole =
        count / VW < box->panels / 2 ? count / VW : box->panels / 2;
    const int64_t pairs = 2 * width == VW ? whole : 0;
    const csi_box rest = {.lanes = count - pairs * VW,
                          .panels = box->panels - 2 * pairs,
                          .n = box->n};

    for (int64_t p = 0; p < box->n; p++) {
        const int64_t from = (box->d + p) * x->ld + box->lane;
        float *to = dst + p * width;

        for (int64_t j = 0; j < pairs; j++) {
            v_store_halves(to, to + step,
                           v_get(x->data, from + j * VW, VW, is_bf16));
            to += 2 * step;
        }
        pack_row(to, width, x, from + pairs * VW, &rest, is_bf16);
    }
}

/* VW lanes, depth inner: squares of VW x VW are transposed in registers.
 * Writes `put` lanes per depth row. Here where a square is not whole. */
CSI_INLINE void pack_edge(float *dst, int32_t width, const csi_operand *x,
                          const csi_box *box, int put, bool is_bf16)
{
    const int64_t count = box->lanes - box->lane;
    const int part = box->n < VW ? (int)box->n : VW;
    vf square[VW];

    for (int i = 0; i < VW; i++) {
        const int64_t from = (box->lane + i) * x->ld + box->d;

        square[i] = v_zero();
        if (i < count) {
            square[i] = part == VW ? v_get(x->data, from, VW, is_bf16)
                                   : v_get(x->data, from, part, is_bf16);
        }
    }
    v_transpose(square);
    for (int i = 0; i < part; i++) {
        v_store_n(dst + i * width, square[i], put);
    }
}

/* The same where it is. The next panel's lines are asked for: its rows are
 * too short for the hardware to notice. */
CSI_INLINE void pack_square(float *dst, int32_t width, const csi_operand *x,
                            const csi_box *box, int put, bool is_bf16)
{
    const int64_t first = box->lane * x->ld + box->d;
    vf square[VW];

#pragma GCC unroll 16
    for (int i = 0; i < VW; i++) {
        square[i] = v_get(x->data, first + i * x->ld, VW, is_bf16);
        prefetch_element(x, first + (i + width) * x->ld, is_bf16);
    }
    v_transpose(square);
#pragma GCC unroll 16
    for (int i = 0; i < VW; i++) {
        if (put == VW) {
            v_store(dst + i * width, square[i]);
        } else {
            v_store_n(dst + i * width, square[i], put);
        }
    }
}

/* Panels half a vector wide, two pieces of depth at a time: the second fills
 * the other half of the square. */
CSI_INLINE void pack_square_half(float *dst, const csi_operand *x,
                                 const csi_box *box, bool is_bf16)
{
    const int64_t first = box->lane * x->ld + box->d;
    const int64_t half = VW / 2;
    vf square[VW];

#pragma GCC unroll 8
    for (int i = 0; i < VW / 2; i++) {
        const int64_t from = first + i * x->ld;

        square[i] = v_get(x->data, from, VW, is_bf16);
        square[VW / 2 + i] = v_get(x->data, from + VW, VW, is_bf16);
        prefetch_element(x, from + half * x->ld, is_bf16);
        prefetch_element(x, from + half * x->ld + VW, is_bf16);
    }
    v_transpose(square);
#pragma GCC unroll 16
    for (int i = 0; i < VW; i++) {
        v_store_halves(dst + i * half, dst + (VW + i) * half, square[i]);
    }
}

/* One panel. */
CSI_INLINE void pack_panel(float *dst, int32_t width, const csi_operand *x,
                           const csi_box *box, bool is_bf16)
{
    csi_box at = *box;
    int64_t done = 0;

    if (2 * width == VW && box->lanes - box->lane >= width) {
        for (; done + 2 * VW <= box->n; done += 2 * VW) {
            at.d = box->d + done;
            pack_square_half(dst + done * width, x, &at, is_bf16);
        }
    }
    for (int32_t i = 0; i < width; i += VW) {
        const int put = width - i < VW ? width - i : VW;

        at.lane = box->lane + i;
        for (int64_t p = done; p < box->n; p += VW) {
            float *to = dst + p * width + i;

            at.d = box->d + p;
            at.n = box->n - p;
            if (at.n < VW || at.lanes - at.lane < VW) {
                pack_edge(to, width, x, &at, put, is_bf16);
            } else if (put == VW) {
                pack_square(to, width, x, &at, VW, is_bf16);
            } else {
                pack_square(to, width, x, &at, put, is_bf16);
            }
        }
    }
}

CSI_INLINE void pack_depth_inner(float *dst, int32_t width,
                                 const csi_operand *x, const csi_box *box,
                                 bool is_bf16)
{
    csi_box panel = *box;

    for (int64_t j = 0; j < box->panels; j++) {
        panel.lane = box->lane + j * width;
        pack_panel(dst + j * width * box->n, width, x, &panel, is_bf16);
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

CSI_INLINE void tile_store(const csi_tile *t, vf sum[MR][2])
{
    const int64_t rows = t->rows;
    const int64_t ldc = t->ldc;
    const bool add = t->add;

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
    const int64_t a_step = t->a_step;
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
            const vf x = v_set(a[i]);
            sum[i][0] = v_fma(x, b0, sum[i][0]);
            sum[i][1] = v_fma(x, b1, sum[i][1]);
        }
        a += a_step;
        b += NR;
    }
    tile_store(t, sum);
}

/* The same sums where a's rows lie in memory as they are. */
static void tile_rows(const csi_tile *t)
{
    const float *row[MR];
    const float *b = t->b;
    vf sum[MR][2];

#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
        row[i] = t->a + i * t->a_step;
        sum[i][0] = v_zero();
        sum[i][1] = v_zero();
    }
    for (int64_t p = 0; p < t->k; p++) {
        const vf b0 = v_load(b);
        const vf b1 = v_load(b + VW);

#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            const vf x = v_set(row[i][p]);
            sum[i][0] = v_fma(x, b0, sum[i][0]);
            sum[i][1] = v_fma(x, b1, sum[i][1]);
        }
        b += NR;
    }
    tile_store(t, sum);
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
