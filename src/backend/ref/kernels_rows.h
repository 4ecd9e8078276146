/* SPDX-License-Identifier: Apache-2.0 */
/* Rows moved, summed and averaged. See ref.h. */

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
