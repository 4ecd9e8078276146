/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels that work row by row: norms, rotary embedding, moved and weighed rows. A row is
 * summed in four vectors side by side and a fixed tree, so its bits depend on
 * nothing but its values and its length. Included by kernels_<isa>.c.
 */
enum {
    SIDE_BY_SIDE = 4
};

CSI_INLINE float sum_of(const vf part[SIDE_BY_SIDE])
{
    return v_sum((part[0] + part[1]) + (part[2] + part[3]));
}

/* One vector of a row: centred on `mean`, squared when asked. */
CSI_INLINE vf row_term(const void *s, int64_t i, int n, float mean, bool square,
                       bool is_bf16)
{
    const vf x = v_get(s, i, n, is_bf16);

    if (!square) {
        return x;
    }
    /* lanes beyond the row read 0: they must stay 0 when centred */
    vf centred = x - v_set(mean);
    if (n < VW) {
        centred = v_select(vm_from_bits((1ULL << n) - 1ULL), centred, v_zero());
    }
    return centred * centred;
}

CSI_INLINE float row_sum(const void *s, int64_t first, int64_t dim, float mean,
                         bool square, bool is_bf16)
{
    vf part[SIDE_BY_SIDE] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t i = 0;

    for (; i + SIDE_BY_SIDE * VW <= dim; i += SIDE_BY_SIDE * VW) {
#pragma GCC unroll 4
        for (int j = 0; j < SIDE_BY_SIDE; j++) {
            part[j] +=
                row_term(s, first + i + j * VW, VW, mean, square, is_bf16);
        }
    }
    for (int j = 0; i < dim; i += VW, j++) {
        const int n = dim - i < VW ? (int)(dim - i) : VW;
        part[j] += row_term(s, first + i, n, mean, square, is_bf16);
    }
    return sum_of(part);
}

CSI_INLINE void add_lanes(const cs_norm_args *a, int64_t first, bool is_bf16,
                          int64_t i, int n)
{
    v_put(a->s_TD, first + i,
          v_get(a->x_TD, first + i, n, is_bf16) +
              v_get(a->r_TD, first + i, n, is_bf16),
          n, is_bf16);
}

/* A normalised row. */
typedef struct norm_row {
    const void *s;
    int64_t first;
    float mean, rstd;
} norm_row;

CSI_INLINE void norm_lanes(const cs_norm_args *a, const norm_row *row,
                           bool is_layer, bool is_bf16, int64_t i, int n)
{
    vf y = v_get(row->s, row->first + i, n, is_bf16);

    if (is_layer) {
        y -= v_set(row->mean);
    }
    y = y * v_set(row->rstd) *
        (v_get(a->w_D, i, n, is_bf16) + v_set((float)a->weight_offset));
    if (is_layer && a->b_D != NULL) {
        y += v_get(a->b_D, i, n, is_bf16);
    }
    v_put(a->y_TD, row->first + i, y, n, is_bf16);
}

CSI_INLINE void norm_rows(const cs_norm_args *a, int64_t begin, int64_t end,
                          bool is_layer, bool is_bf16)
{
    const float per = (float)a->dim;

    for (int64_t t = begin; t < end; t++) {
        norm_row row = {.s = a->x_TD, .first = t * a->dim};

        if (a->r_TD != NULL) {
            CSI_EACH(0, a->dim, add_lanes, a, row.first, is_bf16);
            row.s = a->s_TD;
        }
        if (is_layer) {
            row.mean =
                row_sum(row.s, row.first, a->dim, 0.0F, false, is_bf16) / per;
        }
        const float square =
            row_sum(row.s, row.first, a->dim, row.mean, true, is_bf16);
        row.rstd = 1.0F / sqrtf(square / per + (float)a->eps);
        CSI_EACH(0, a->dim, norm_lanes, a, &row, is_layer, is_bf16);
        if (a->mean_T != NULL) {
            ((float *)a->mean_T)[t] = row.mean;
        }
        if (a->rstd_T != NULL) {
            ((float *)a->rstd_T)[t] = row.rstd;
        }
    }
}

static void norm(const cs_norm_args *a, int64_t begin, int64_t end)
{
    if (a->kind == CS_NORM_LAYER) {
        if (a->dtype == CS_BF16) {
            norm_rows(a, begin, end, true, true);
        } else {
            norm_rows(a, begin, end, true, false);
        }
    } else if (a->dtype == CS_BF16) {
        norm_rows(a, begin, end, false, true);
    } else {
        norm_rows(a, begin, end, false, false);
    }
}

/* Sums of one row of norm_backward, and where its parameters' go. */
typedef struct slope_row {
    int64_t first;
    float mean, rstd, mean_g, mean_gn;
    float *dw, *db;
    vf g, gn;
} slope_row;

CSI_INLINE void slope_sums(const cs_norm_backward_args *a, slope_row *row,
                           bool is_bf16, int64_t i, int n)
{
    const vf dy = v_get(a->dy_TD, row->first + i, n, is_bf16);
    const vf g =
        dy * (v_get(a->w_D, i, n, is_bf16) + v_set((float)a->weight_offset));
    const vf x =
        (v_get(a->s_TD, row->first + i, n, is_bf16) - v_set(row->mean)) *
        v_set(row->rstd);

    row->g += g;
    row->gn = v_fma(g, x, row->gn);
    if (row->dw != NULL) {
        v_put(row->dw, i, v_fma(dy, x, v_get(row->dw, i, n, false)), n, false);
    }
    if (row->db != NULL) {
        v_put(row->db, i, dy + v_get(row->db, i, n, false), n, false);
    }
}

CSI_INLINE void slope_store(const cs_norm_backward_args *a,
                            const slope_row *row, bool is_bf16, int64_t i,
                            int n)
{
    const int64_t at = row->first + i;
    const vf w = v_get(a->w_D, i, n, is_bf16) + v_set((float)a->weight_offset);
    const vf g = v_get(a->dy_TD, at, n, is_bf16) * w;
    const vf x =
        (v_get(a->s_TD, at, n, is_bf16) - v_set(row->mean)) * v_set(row->rstd);
    vf ds =
        v_set(row->rstd) * (g - v_set(row->mean_g) - x * v_set(row->mean_gn));

    if (a->accumulate) {
        ds += v_get(a->ds_TD, at, n, is_bf16);
    }
    v_put(a->ds_TD, at, ds, n, is_bf16);
}

CSI_INLINE void slope_rows(const cs_norm_backward_args *a, int64_t begin,
                           int64_t end, slope_row row, bool is_bf16)
{
    const bool is_layer = a->kind == CS_NORM_LAYER;
    const float per = (float)a->dim;

    for (int64_t t = begin; t < end; t++) {
        row.first = t * a->dim;
        row.mean = is_layer ? ((const float *)a->mean_T)[t] : 0.0F;
        row.rstd = ((const float *)a->rstd_T)[t];
        row.g = v_zero();
        row.gn = v_zero();
        CSI_EACH(0, a->dim, slope_sums, a, &row, is_bf16);
        if (a->ds_TD == NULL) {
            continue;
        }
        row.mean_g = is_layer ? v_sum(row.g) / per : 0.0F;
        row.mean_gn = v_sum(row.gn) / per;
        CSI_EACH(0, a->dim, slope_store, a, &row, is_bf16);
    }
}

static void norm_backward(const cs_norm_backward_args *a, int64_t begin,
                          int64_t end, float *dw, float *db)
{
    const slope_row row = {.dw = dw, .db = db};

    if (a->dtype == CS_BF16) {
        slope_rows(a, begin, end, row, true);
    } else {
        slope_rows(a, begin, end, row, false);
    }
}

/* ---- rotary embedding ---- */

/* One row of positions against one table of frequencies. */
typedef struct rope_row {
    const double *frequency;
    double position;
    float *cos_sin;
} rope_row;

CSI_INLINE void table_lanes(const cs_rope_args *a, const rope_row *row,
                            int64_t i, int n)
{
    const int64_t half = a->rotary_dim / 2;
    const float scale = (float)a->scale;
    vf cosine;
    vf sine;

    v_cos_sin(row->frequency + i, n, row->position, &cosine, &sine);
    v_put(row->cos_sin, i, cosine * v_set(scale), n, false);
    v_put(row->cos_sin, half + i, sine * v_set(a->inverse ? -scale : scale), n,
          false);
}

/* Pairs of several axes: their angles are made one by one and then turned as
 * frequencies of position 1. */
static void make_table(const cs_rope_args *a, int64_t t, float *cos_sin,
                       double *angle)
{
    const bool is_long = a->long_frequency != NULL && a->is_long_T[t] != 0;
    rope_row row = {
        .frequency = is_long ? a->long_frequency : a->inverse_frequency,
        .position = (double)a->position_T[t],
        .cos_sin = cos_sin,
    };

    if (a->axis != NULL) {
        for (int64_t pair = 0; pair < a->rotary_dim / 2; pair++) {
            const int64_t at = a->axis[pair] * a->rows + t;

            angle[pair] = (double)a->position_T[at] * row.frequency[pair];
        }
        row.frequency = angle;
        row.position = 1.0;
    }
    CSI_EACH(0, a->rotary_dim / 2, table_lanes, a, &row);
}

CSI_INLINE void rotate_lanes(void *x, int64_t at, int64_t half,
                             const float *cos_sin, bool is_bf16, int64_t i,
                             int n)
{
    const vf p = v_get(x, at + i, n, is_bf16);
    const vf q = v_get(x, at + half + i, n, is_bf16);
    const vf cosine = v_get(cos_sin, i, n, false);
    const vf sine = v_get(cos_sin, half + i, n, false);

    v_put(x, at + i, p * cosine - q * sine, n, is_bf16);
    v_put(x, at + half + i, q * cosine + p * sine, n, is_bf16);
}

CSI_INLINE void rotate_heads(const cs_rope_args *a, void *x, int64_t t,
                             int32_t heads, const float *cos_sin, bool is_bf16)
{
    const int64_t half = a->rotary_dim / 2;

    for (int64_t head = 0; x != NULL && head < heads; head++) {
        const int64_t at = (t * heads + head) * a->head_dim;
        CSI_EACH(0, half, rotate_lanes, x, at, half, cos_sin, is_bf16);
    }
}

static void rope(const cs_rope_args *a, int64_t begin, int64_t end,
                 float *table)
{
    double *angle = (void *)table;
    float *cos_sin = table + a->rotary_dim;

    for (int64_t t = begin; t < end; t++) {
        make_table(a, t, cos_sin, angle);
        if (a->dtype == CS_BF16) {
            rotate_heads(a, a->q_THK, t, a->q_heads, cos_sin, true);
            rotate_heads(a, a->k_TGK, t, a->k_heads, cos_sin, true);
        } else {
            rotate_heads(a, a->q_THK, t, a->q_heads, cos_sin, false);
            rotate_heads(a, a->k_TGK, t, a->k_heads, cos_sin, false);
        }
    }
}

/* ---- moved rows ---- */

CSI_INLINE void add_row_lanes(float *y, const void *x, bool is_bf16, int64_t i,
                              int n)
{
    v_put(y, i, v_get(y, i, n, false) + v_get(x, i, n, is_bf16), n, false);
}

static void add_row(float *y, const void *x, bool x_is_bf16, int64_t n)
{
    if (x_is_bf16) {
        CSI_EACH(0, n, add_row_lanes, y, x, true);
    } else {
        CSI_EACH(0, n, add_row_lanes, y, x, false);
    }
}

CSI_INLINE void move_row_lanes(void *y, const void *x, bool accumulate,
                               float divisor, bool is_bf16, int64_t i, int n)
{
    vf value = v_get(x, i, n, is_bf16) / v_set(divisor);

    if (accumulate) {
        value = v_get(y, i, n, is_bf16) + value;
    }
    v_put(y, i, value, n, is_bf16);
}

static void move_row(void *y, const void *x, bool is_bf16, bool accumulate,
                     float divisor, int64_t n)
{
    if (is_bf16) {
        CSI_EACH(0, n, move_row_lanes, y, x, accumulate, divisor, true);
    } else {
        CSI_EACH(0, n, move_row_lanes, y, x, accumulate, divisor, false);
    }
}

/* ---- weighed rows ---- */

CSI_INLINE void axpy_lanes(void *y, bool y_is_bf16, const void *x,
                           bool x_is_bf16, float factor, int64_t i, int n)
{
    v_put(y, i,
          v_fma(v_set(factor), v_get(x, i, n, x_is_bf16),
                v_get(y, i, n, y_is_bf16)),
          n, y_is_bf16);
}

static void axpy_row(void *y, bool y_is_bf16, const void *x, bool x_is_bf16,
                     float factor, int64_t n)
{
    if (y_is_bf16) {
        CSI_EACH(0, n, axpy_lanes, y, true, x, true, factor);
    } else if (x_is_bf16) {
        CSI_EACH(0, n, axpy_lanes, y, false, x, true, factor);
    } else {
        CSI_EACH(0, n, axpy_lanes, y, false, x, false, factor);
    }
}

CSI_INLINE void multiply_lanes(void *y, const void *x, const void *w,
                               bool is_bf16, bool accumulate, int64_t i, int n)
{
    vf value = v_get(x, i, n, is_bf16) * v_get(w, i, n, is_bf16);

    if (accumulate) {
        value += v_get(y, i, n, is_bf16);
    }
    v_put(y, i, value, n, is_bf16);
}

static void multiply_row(void *y, const void *x, const void *w, bool is_bf16,
                         bool accumulate, int64_t n)
{
    if (is_bf16) {
        CSI_EACH(0, n, multiply_lanes, y, x, w, true, accumulate);
    } else {
        CSI_EACH(0, n, multiply_lanes, y, x, w, false, accumulate);
    }
}

CSI_INLINE void multiply_add_lanes(float *y, const void *x, const void *w,
                                   bool is_bf16, int64_t i, int n)
{
    v_put(y, i,
          v_fma(v_get(x, i, n, is_bf16), v_get(w, i, n, is_bf16),
                v_get(y, i, n, false)),
          n, false);
}

static void multiply_add_row(float *y, const void *x, const void *w,
                             bool is_bf16, int64_t n)
{
    if (is_bf16) {
        CSI_EACH(0, n, multiply_add_lanes, y, x, w, true);
    } else {
        CSI_EACH(0, n, multiply_add_lanes, y, x, w, false);
    }
}
