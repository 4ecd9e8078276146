/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reference: AdamW (Loshchilov & Hutter 2019, algorithm 2) and the sum of
 * squares for the gradient norm. Only real types: each is written out, since
 * a template for two would be longer.
 */
#include "ref.h"

#include <math.h>

static void update_f32(const cs_adamw_args *a, const cs_adamw_item *item)
{
    const float beta1 = (float)a->beta1;
    const float beta2 = (float)a->beta2;
    const float rest1 = (float)(1.0 - a->beta1);
    const float rest2 = (float)(1.0 - a->beta2);
    const float fix1 = (float)(1.0 / (1.0 - pow(a->beta1, (double)a->step)));
    const float fix2 = (float)(1.0 / (1.0 - pow(a->beta2, (double)a->step)));
    const float *grad = item->grad;
    float *master = item->master;
    float *m = item->m;
    float *v = item->v;
    uint16_t *working = item->working;

    for (int64_t i = 0; i < item->count; i++) {
        const float g = grad[i] * (float)a->grad_scale;

        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * g * g;
        const float update =
            m[i] * fix1 / (sqrtf(v[i] * fix2) + (float)a->eps) +
            (float)item->weight_decay * master[i];
        master[i] -= (float)item->learning_rate * update;
        if (working != NULL) {
            working[i] = csi_f32_to_bf16(master[i]);
        }
    }
}

static void update_f64(const cs_adamw_args *a, const cs_adamw_item *item)
{
    const double fix1 = 1.0 / (1.0 - pow(a->beta1, (double)a->step));
    const double fix2 = 1.0 / (1.0 - pow(a->beta2, (double)a->step));
    const double *grad = item->grad;
    double *master = item->master;
    double *m = item->m;
    double *v = item->v;
    uint16_t *working = item->working;

    for (int64_t i = 0; i < item->count; i++) {
        const double g = grad[i] * a->grad_scale;

        m[i] = a->beta1 * m[i] + (1.0 - a->beta1) * g;
        v[i] = a->beta2 * v[i] + (1.0 - a->beta2) * g * g;
        const double update = m[i] * fix1 / (sqrt(v[i] * fix2) + a->eps) +
                              item->weight_decay * master[i];
        master[i] -= item->learning_rate * update;
        if (working != NULL) {
            working[i] = csi_f32_to_bf16((float)master[i]);
        }
    }
}

cs_status csi_ref_adamw(cs_backend *b, const cs_adamw_args *a)
{
    (void)b;
    CS_CHECK(a->dtype == CS_F32 || a->dtype == CS_F64, CS_ERR_DTYPE,
             "ref adamw: wanted f32 or f64, got %s", cs_dtype_name(a->dtype));
    for (int64_t i = 0; i < a->n_items; i++) {
        if (a->dtype == CS_F32) {
            update_f32(a, &a->items[i]);
        } else {
            update_f64(a, &a->items[i]);
        }
    }
    return CS_OK;
}

cs_status csi_ref_sum_squares(cs_backend *b, cs_dtype dtype, const void *x,
                              int64_t count, double *out)
{
    double sum = 0.0;

    (void)b;
    CS_CHECK(dtype == CS_F32 || dtype == CS_F64, CS_ERR_DTYPE,
             "ref sum_squares: wanted f32 or f64, got %s",
             cs_dtype_name(dtype));
    for (int64_t i = 0; i < count; i++) {
        const double value = dtype == CS_F32 ? (double)((const float *)x)[i]
                                             : ((const double *)x)[i];
        sum += value * value;
    }
    *out = sum;
    return CS_OK;
}
