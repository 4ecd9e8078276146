/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Head and cross-entropy one row at a time: one row of logits exists. The
 * logits are not rounded. An ignored row has nll 0 and lse 0. See ref.h.
 */

static void NAME(logits_row)(const cs_head_loss_args *a, int64_t t,
                             REAL *logit_V)
{
    const STORE *x_I = (const STORE *)a->x_TI + t * a->in;
    const STORE *w_VI = a->w_VI;

    for (int64_t v = 0; v < a->vocab; v++) {
        REAL sum = 0;

        for (int64_t i = 0; i < a->in; i++) {
            sum += LOAD(x_I[i]) * LOAD(w_VI[v * a->in + i]);
        }
        if (a->softcap > 0) {
            sum = (REAL)a->softcap * tanh(sum / (REAL)a->softcap);
        }
        logit_V[v] = sum;
    }
}

static void NAME(head_loss)(const cs_head_loss_args *a, REAL *logit_V)
{
    REAL *nll_T = a->nll_T;
    REAL *lse_T = a->lse_T;

    for (int64_t t = 0; t < a->rows; t++) {
        const int32_t label = a->label_T[t];
        int64_t best = 0;
        REAL total = 0;

        nll_T[t] = 0;
        lse_T[t] = 0;
        if (label < 0) {
            continue;
        }
        NAME(logits_row)(a, t, logit_V);
        for (int64_t v = 1; v < a->vocab; v++) {
            best = logit_V[v] > logit_V[best] ? v : best;
        }
        for (int64_t v = 0; v < a->vocab; v++) {
            total += exp(logit_V[v] - logit_V[best]);
        }
        lse_T[t] = logit_V[best] + log(total);
        nll_T[t] = lse_T[t] - logit_V[label];
        *a->loss_sum += (double)nll_T[t];
        if (a->n_correct != NULL && best == label) {
            *a->n_correct += 1;
        }
    }
}

static void NAME(head_loss_backward)(const cs_head_loss_backward_args *args,
                                     REAL *scratch)
{
    const cs_head_loss_args *a = &args->forward;
    const STORE *w_VI = a->w_VI;
    REAL *dlogit_V = scratch;
    REAL *sum_I = scratch + a->vocab;
    REAL *dw_VI = args->dw_VI;

    for (int64_t t = 0; t < a->rows; t++) {
        const STORE *x_I = (const STORE *)a->x_TI + t * a->in;
        const int32_t label = a->label_T[t];

        for (int64_t i = 0; i < a->in; i++) {
            sum_I[i] = 0;
        }
        if (label >= 0) {
            NAME(logits_row)(a, t, dlogit_V);
        }
        for (int64_t v = 0; label >= 0 && v < a->vocab; v++) {
            const REAL p = exp(dlogit_V[v] - ((const REAL *)a->lse_T)[t]);
            const REAL ratio =
                a->softcap > 0 ? dlogit_V[v] / (REAL)a->softcap : 0;
            const REAL slope = (REAL)args->scale * (1 - ratio * ratio);
            const REAL d = (p - (v == label ? 1 : 0)) * slope;

            for (int64_t i = 0; i < a->in; i++) {
                sum_I[i] += d * LOAD(w_VI[v * a->in + i]);
            }
            for (int64_t i = 0; dw_VI != NULL && i < a->in; i++) {
                dw_VI[v * a->in + i] += d * LOAD(x_I[i]);
            }
        }
        if (args->dx_TI != NULL) {
            STORE *dx_I = (STORE *)args->dx_TI + t * a->in;
            for (int64_t i = 0; i < a->in; i++) {
                dx_I[i] = ROUND(sum_I[i]);
            }
        }
    }
}
