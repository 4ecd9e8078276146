/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RMS and layer norm with a fused residual sum. The norm is taken of the sum
 * as it was stored (rounded), which is also what backward reads. See ref.h.
 */

static void NAME(norm_row)(const cs_norm_args *a, int64_t t, const STORE *s_D)
{
    const STORE *w_D = a->w_D;
    const STORE *b_D = a->kind == CS_NORM_LAYER ? a->b_D : NULL;
    const REAL offset = (REAL)a->weight_offset;
    STORE *y_D = (STORE *)a->y_TD + t * a->dim;
    REAL mean = 0;
    REAL square = 0;

    if (a->kind == CS_NORM_LAYER) {
        for (int64_t d = 0; d < a->dim; d++) {
            mean += LOAD(s_D[d]);
        }
        mean /= (REAL)a->dim;
    }
    for (int64_t d = 0; d < a->dim; d++) {
        const REAL centred = LOAD(s_D[d]) - mean;
        square += centred * centred;
    }
    const REAL rstd = 1 / sqrt(square / (REAL)a->dim + (REAL)a->eps);

    for (int64_t d = 0; d < a->dim; d++) {
        const REAL bias = b_D != NULL ? LOAD(b_D[d]) : 0;
        const REAL weight = LOAD(w_D[d]) + offset;
        y_D[d] = ROUND((LOAD(s_D[d]) - mean) * rstd * weight + bias);
    }
    if (a->mean_T != NULL) {
        ((REAL *)a->mean_T)[t] = mean;
    }
    if (a->rstd_T != NULL) {
        ((REAL *)a->rstd_T)[t] = rstd;
    }
}

static void NAME(norm)(const cs_norm_args *a)
{
    for (int64_t t = 0; t < a->rows; t++) {
        const STORE *x_D = (const STORE *)a->x_TD + t * a->dim;
        const STORE *s_D = x_D;

        if (a->r_TD != NULL) {
            const STORE *r_D = (const STORE *)a->r_TD + t * a->dim;
            STORE *sum_D = (STORE *)a->s_TD + t * a->dim;

            for (int64_t d = 0; d < a->dim; d++) {
                sum_D[d] = ROUND(LOAD(x_D[d]) + LOAD(r_D[d]));
            }
            s_D = sum_D;
        }
        NAME(norm_row)(a, t, s_D);
    }
}

/* With n = (s - mean) rstd and g = dy (w + offset):
 *   rms:   ds = rstd (g - n mean(g n))
 *   layer: ds = rstd (g - mean(g) - n mean(g n)) */
static void NAME(norm_backward)(const cs_norm_backward_args *a)
{
    const bool is_layer = a->kind == CS_NORM_LAYER;
    const STORE *w_D = a->w_D;
    const REAL offset = (REAL)a->weight_offset;
    REAL *dw_D = a->dw_D;
    REAL *db_D = a->db_D;

    for (int64_t t = 0; t < a->rows; t++) {
        const STORE *s_D = (const STORE *)a->s_TD + t * a->dim;
        const STORE *dy_D = (const STORE *)a->dy_TD + t * a->dim;
        const REAL mean = is_layer ? ((const REAL *)a->mean_T)[t] : 0;
        const REAL rstd = ((const REAL *)a->rstd_T)[t];
        REAL sum_g = 0;
        REAL sum_gn = 0;

        for (int64_t d = 0; d < a->dim; d++) {
            const REAL n = (LOAD(s_D[d]) - mean) * rstd;
            const REAL dy = LOAD(dy_D[d]);
            const REAL g = dy * (LOAD(w_D[d]) + offset);

            sum_g += g;
            sum_gn += g * n;
            if (dw_D != NULL) {
                dw_D[d] += dy * n;
            }
            if (db_D != NULL) {
                db_D[d] += dy;
            }
        }
        if (a->ds_TD == NULL) {
            continue;
        }
        const REAL mean_g = is_layer ? sum_g / (REAL)a->dim : 0;
        const REAL mean_gn = sum_gn / (REAL)a->dim;
        STORE *ds_D = (STORE *)a->ds_TD + t * a->dim;

        for (int64_t d = 0; d < a->dim; d++) {
            const REAL n = (LOAD(s_D[d]) - mean) * rstd;
            const REAL g = LOAD(dy_D[d]) * (LOAD(w_D[d]) + offset);
            const REAL old = a->accumulate ? LOAD(ds_D[d]) : 0;

            ds_D[d] = ROUND(old + rstd * (g - mean_g - n * mean_gn));
        }
    }
}
