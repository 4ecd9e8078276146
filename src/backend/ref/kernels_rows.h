/* SPDX-License-Identifier: Apache-2.0 */
/* Rows moved, mixed, scaled, summed and averaged. See ref.h. */

static void NAME(gather)(const cs_gather_args *a)
{
    for (int64_t t = 0; t < a->rows; t++) {
        const int64_t from = a->index_T[t];
        const STORE *x =
            (const STORE *)a->x + (from >= 0 ? from : 0) * a->columns;
        STORE *y = (STORE *)a->y_TD + t * a->columns;

        for (int64_t c = 0; c < a->columns; c++) {
            const REAL value = from >= 0 ? LOAD(x[c]) : 0;
            y[c] = ROUND(a->accumulate ? LOAD(y[c]) + value : value);
        }
    }
}

static void NAME(scatter_add)(const cs_scatter_add_args *a)
{
    for (int64_t t = 0; t < a->rows; t++) {
        const int64_t to = a->index_T[t];
        const STORE *dy = (const STORE *)a->dy_TD + t * a->columns;

        if (to < 0) {
            continue;
        }
        if (a->dx_dtype == a->dtype) {
            STORE *dx = (STORE *)a->dx + to * a->columns;
            for (int64_t c = 0; c < a->columns; c++) {
                dx[c] = ROUND(LOAD(dx[c]) + LOAD(dy[c]));
            }
        } else {
            REAL *dx = (REAL *)a->dx + to * a->columns;
            for (int64_t c = 0; c < a->columns; c++) {
                dx[c] += LOAD(dy[c]);
            }
        }
    }
}

static void NAME(pool)(const cs_pool_args *a)
{
    const STORE *x = a->x;

    for (int64_t g = 0; g < a->groups; g++) {
        const int64_t n = a->begin[g + 1] - a->begin[g];
        STORE *y = (STORE *)a->y + g * a->columns;

        for (int64_t c = 0; c < a->columns; c++) {
            REAL sum = 0;

            for (int64_t t = a->begin[g]; t < a->begin[g + 1]; t++) {
                sum += LOAD(x[t * a->columns + c]);
            }
            y[c] = ROUND(n > 0 ? sum / (REAL)n : 0);
        }
    }
}

static void NAME(pool_backward)(const cs_pool_args *a)
{
    for (int64_t g = 0; g < a->groups; g++) {
        const int64_t n = a->begin[g + 1] - a->begin[g];
        const STORE *dy = (const STORE *)a->dy + g * a->columns;

        for (int64_t t = a->begin[g]; t < a->begin[g + 1]; t++) {
            STORE *dx = (STORE *)a->dx + t * a->columns;

            for (int64_t c = 0; c < a->columns; c++) {
                const REAL old = a->accumulate ? LOAD(dx[c]) : 0;
                dx[c] = ROUND(old + LOAD(dy[c]) / (REAL)n);
            }
        }
    }
}

static void NAME(mix)(const cs_mix_args *a)
{
    const STORE *x = a->x;
    const REAL *weight_TK = a->weight_TK;

    for (int64_t t = 0; t < a->rows; t++) {
        const int32_t *index_K = a->index_TK + t * a->k;
        STORE *y = (STORE *)a->y_TD + t * a->columns;

        for (int64_t c = 0; c < a->columns; c++) {
            REAL sum = 0;

            for (int64_t j = 0; j < a->k; j++) {
                if (index_K[j] >= 0) {
                    sum += weight_TK[t * a->k + j] *
                           LOAD(x[index_K[j] * a->columns + c]);
                }
            }
            y[c] = ROUND(sum);
        }
    }
}

/* One pair of mix_backward: row `from` of x, row t of dy. */
static void NAME(mix_pair_backward)(const cs_mix_args *a, int64_t t, int64_t j,
                                    int64_t from)
{
    const STORE *dy = (const STORE *)a->dy_TD + t * a->columns;
    const REAL weight = ((const REAL *)a->weight_TK)[t * a->k + j];

    if (a->dweight_TK != NULL) {
        const STORE *x = (const STORE *)a->x + from * a->columns;
        REAL dot = 0;

        for (int64_t c = 0; c < a->columns; c++) {
            dot += LOAD(x[c]) * LOAD(dy[c]);
        }
        ((REAL *)a->dweight_TK)[t * a->k + j] = dot;
    }
    if (a->dx == NULL) {
        return;
    }
    if (a->dx_dtype == a->dtype) {
        STORE *dx = (STORE *)a->dx + from * a->columns;
        for (int64_t c = 0; c < a->columns; c++) {
            dx[c] = ROUND(LOAD(dx[c]) + weight * LOAD(dy[c]));
        }
    } else {
        REAL *dx = (REAL *)a->dx + from * a->columns;
        for (int64_t c = 0; c < a->columns; c++) {
            dx[c] += weight * LOAD(dy[c]);
        }
    }
}

static void NAME(mix_backward)(const cs_mix_args *a)
{
    for (int64_t t = 0; t < a->rows; t++) {
        for (int64_t j = 0; j < a->k; j++) {
            const int64_t from = a->index_TK[t * a->k + j];

            if (from >= 0) {
                NAME(mix_pair_backward)(a, t, j, from);
            } else if (a->dweight_TK != NULL) {
                ((REAL *)a->dweight_TK)[t * a->k + j] = 0;
            }
        }
    }
}

static void NAME(scale)(const cs_scale_args *a)
{
    const STORE *w_D = a->w_D;

    for (int64_t t = 0; t < a->rows; t++) {
        const STORE *x_D = (const STORE *)a->x_TD + t * a->columns;
        STORE *y_D = (STORE *)a->y_TD + t * a->columns;

        for (int64_t d = 0; d < a->columns; d++) {
            y_D[d] = ROUND(LOAD(x_D[d]) * LOAD(w_D[d]));
        }
    }
}

static void NAME(scale_backward)(const cs_scale_args *a)
{
    const STORE *w_D = a->w_D;
    REAL *dw_D = a->dw_D;

    for (int64_t t = 0; t < a->rows; t++) {
        const STORE *dy_D = (const STORE *)a->dy_TD + t * a->columns;

        if (dw_D != NULL) {
            const STORE *x_D = (const STORE *)a->x_TD + t * a->columns;
            for (int64_t d = 0; d < a->columns; d++) {
                dw_D[d] += LOAD(dy_D[d]) * LOAD(x_D[d]);
            }
        }
        if (a->dx_TD != NULL) {
            STORE *dx_D = (STORE *)a->dx_TD + t * a->columns;
            for (int64_t d = 0; d < a->columns; d++) {
                const REAL old = a->accumulate ? LOAD(dx_D[d]) : 0;
                dx_D[d] = ROUND(old + LOAD(dy_D[d]) * LOAD(w_D[d]));
            }
        }
    }
}
