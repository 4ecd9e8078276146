/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products with a weight. Every element is one sum in ascending order; several
 * elements are summed side by side (LANES), which changes no result and keeps
 * the adder busy. See ref.h.
 */

/* sums[j] = dot of x with row first + j of w, for `n` <= LANES rows. */
static void NAME(dot_rows)(const STORE *x_I, const STORE *w_OI, int64_t in,
                           int64_t n, REAL sums[LANES])
{
    for (int64_t j = 0; j < LANES; j++) {
        sums[j] = 0;
    }
    if (n == LANES) {
        for (int64_t i = 0; i < in; i++) {
            const REAL x = LOAD(x_I[i]);
            for (int64_t j = 0; j < LANES; j++) {
                sums[j] += x * LOAD(w_OI[j * in + i]);
            }
        }
        return;
    }
    for (int64_t i = 0; i < in; i++) {
        const REAL x = LOAD(x_I[i]);
        for (int64_t j = 0; j < n; j++) {
            sums[j] += x * LOAD(w_OI[j * in + i]);
        }
    }
}

static void NAME(linear)(const cs_linear_args *a)
{
    const STORE *w_OI = a->w_OI;
    const STORE *b_O = a->b_O;
    REAL sums[LANES];

    for (int64_t t = 0; t < a->rows; t++) {
        const STORE *x_I = (const STORE *)a->x_TI + t * a->in;
        STORE *y_O = (STORE *)a->y_TO + t * a->out;
        STORE *pre_O = a->pre_TO;

        if (pre_O != NULL) {
            pre_O += t * a->out;
        }
        for (int64_t first = 0; first < a->out; first += LANES) {
            const int64_t n = csi_min_i64(LANES, a->out - first);

            NAME(dot_rows)(x_I, w_OI + first * a->in, a->in, n, sums);
            for (int64_t j = 0; j < n; j++) {
                const REAL bias = b_O != NULL ? LOAD(b_O[first + j]) : 0;
                const REAL pre = sums[j] + bias;

                if (pre_O != NULL) {
                    pre_O[first + j] = ROUND(pre);
                }
                y_O[first + j] = ROUND(NAME(activate)(a->activation, pre));
            }
        }
    }
}

static void NAME(linear_input)(const cs_linear_input_args *a)
{
    REAL sums[LANES];

    for (int64_t t = 0; t < a->rows; t++) {
        const STORE *dy_O = (const STORE *)a->dy_TO + t * a->out;
        STORE *dx_I = (STORE *)a->dx_TI + t * a->in;

        for (int64_t first = 0; first < a->in; first += LANES) {
            const int64_t n = csi_min_i64(LANES, a->in - first);

            for (int64_t j = 0; j < n; j++) {
                sums[j] = 0;
            }
            for (int64_t o = 0; o < a->out; o++) {
                const STORE *w = (const STORE *)a->w_OI + o * a->in + first;
                const REAL dy = LOAD(dy_O[o]);

                for (int64_t j = 0; j < n; j++) {
                    sums[j] += dy * LOAD(w[j]);
                }
            }
            for (int64_t j = 0; j < n; j++) {
                const REAL old = a->accumulate ? LOAD(dx_I[first + j]) : 0;
                dx_I[first + j] = ROUND(old + sums[j]);
            }
        }
    }
}

static void NAME(linear_weight)(const cs_linear_weight_args *a)
{
    for (int64_t t = 0; t < a->rows; t++) {
        const STORE *x_I = (const STORE *)a->x_TI + t * a->in;
        const STORE *dy_O = (const STORE *)a->dy_TO + t * a->out;
        REAL *db_O = a->db_O;

        for (int64_t o = 0; o < a->out; o++) {
            const REAL dy = LOAD(dy_O[o]);

            if (db_O != NULL) {
                db_O[o] += dy;
            }
            if (a->dw_OI != NULL) {
                REAL *dw_I = (REAL *)a->dw_OI + o * a->in;
                for (int64_t i = 0; i < a->in; i++) {
                    dw_I[i] += dy * LOAD(x_I[i]);
                }
            }
        }
    }
}
