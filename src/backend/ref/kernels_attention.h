/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention row by row over a list of visible keys; see attention.c for the
 * scratch and ref.h for the words.
 */

/* Sums of backward: one row of dq, all of dk and dv. */
typedef struct NAME(grads) {
    REAL *dq_K;
    REAL *dk_TGK;
    REAL *dv_TGK;
} NAME(grads);

static REAL NAME(logit)(const cs_attention_args *a, const STORE *q_K,
                        const STORE *k_K)
{
    REAL sum = 0;

    for (int32_t d = 0; d < a->head_dim; d++) {
        sum += LOAD(q_K[d]) * LOAD(k_K[d]);
    }
    sum *= (REAL)a->scale;
    if (a->softcap > 0) {
        sum = (REAL)a->softcap * tanh(sum / (REAL)a->softcap);
    }
    return sum;
}

/* One query row and one head. p has room for seen->n numbers, sum_K for
 * head_dim. */
static void NAME(attend)(const cs_attention_args *a, const csi_visible *seen,
                         int64_t t, int32_t head, REAL *p, REAL *sum_K)
{
    const int32_t group = head / (a->heads / a->kv_heads);
    const int64_t q_at = (t * a->heads + head) * a->head_dim;
    const STORE *q_K = (const STORE *)a->q_THK + q_at;
    STORE *o_K = (STORE *)a->o_THK + q_at;
    REAL largest = -(REAL)INFINITY;
    REAL total = 0;

    for (int64_t i = 0; i < seen->n; i++) {
        const int64_t k_at =
            ((int64_t)seen->key[i] * a->kv_heads + group) * a->head_dim;

        p[i] = NAME(logit)(a, q_K, (const STORE *)a->k_TGK + k_at);
        largest = p[i] > largest ? p[i] : largest;
    }
    for (int32_t d = 0; d < a->head_dim; d++) {
        sum_K[d] = 0;
    }
    for (int64_t i = 0; i < seen->n; i++) {
        const int64_t v_at =
            ((int64_t)seen->key[i] * a->kv_heads + group) * a->head_dim;
        const STORE *v_K = (const STORE *)a->v_TGK + v_at;
        const REAL weight = exp(p[i] - largest);

        total += weight;
        for (int32_t d = 0; d < a->head_dim; d++) {
            sum_K[d] += weight * LOAD(v_K[d]);
        }
    }
    for (int32_t d = 0; d < a->head_dim; d++) {
        o_K[d] = ROUND(seen->n > 0 ? sum_K[d] / total : 0);
    }
    if (a->lse_HT != NULL) {
        ((REAL *)a->lse_HT)[head * a->q_rows + t] =
            seen->n > 0 ? largest + log(total) : -(REAL)INFINITY;
    }
}

static void NAME(attention)(const cs_attention_args *a, csi_visible *seen,
                            void *scratch)
{
    REAL *sum_K = scratch;
    REAL *p = sum_K + a->head_dim;

    for (int64_t t = 0; t < a->q_rows; t++) {
        list_visible(a, t, seen);
        for (int32_t head = 0; head < a->heads; head++) {
            NAME(attend)(a, seen, t, head, p, sum_K);
        }
    }
}

/* With p = exp(logit - lse) and delta = sum(do o):
 *   dv += p do,  dlogit = p (do v - delta),
 *   dq += dlogit cap' scale k,  dk += dlogit cap' scale q. */
static void NAME(attend_backward)(const cs_attention_backward_args *args,
                                  const csi_visible *seen, int64_t t,
                                  int32_t head, NAME(grads) * sum)
{
    const cs_attention_args *a = &args->forward;
    const int32_t group = head / (a->heads / a->kv_heads);
    const int64_t q_at = (t * a->heads + head) * a->head_dim;
    const STORE *q_K = (const STORE *)a->q_THK + q_at;
    const STORE *o_K = (const STORE *)a->o_THK + q_at;
    const STORE *do_K = (const STORE *)args->do_THK + q_at;
    const REAL lse = ((const REAL *)a->lse_HT)[head * a->q_rows + t];
    STORE *dq_K = (STORE *)args->dq_THK + q_at;
    REAL delta = 0;

    for (int32_t d = 0; d < a->head_dim; d++) {
        delta += LOAD(do_K[d]) * LOAD(o_K[d]);
        sum->dq_K[d] = 0;
    }
    for (int64_t i = 0; i < seen->n; i++) {
        const int64_t k_at =
            ((int64_t)seen->key[i] * a->kv_heads + group) * a->head_dim;
        const STORE *k_K = (const STORE *)a->k_TGK + k_at;
        const STORE *v_K = (const STORE *)a->v_TGK + k_at;
        const REAL capped = NAME(logit)(a, q_K, k_K);
        const REAL p = exp(capped - lse);
        REAL dp = 0;

        for (int32_t d = 0; d < a->head_dim; d++) {
            dp += LOAD(do_K[d]) * LOAD(v_K[d]);
            sum->dv_TGK[k_at + d] += p * LOAD(do_K[d]);
        }
        REAL dlogit = p * (dp - delta) * (REAL)a->scale;
        if (a->softcap > 0) {
            const REAL ratio = capped / (REAL)a->softcap;
            dlogit *= 1 - ratio * ratio;
        }
        for (int32_t d = 0; d < a->head_dim; d++) {
            sum->dq_K[d] += dlogit * LOAD(k_K[d]);
            sum->dk_TGK[k_at + d] += dlogit * LOAD(q_K[d]);
        }
    }
    for (int32_t d = 0; d < a->head_dim; d++) {
        dq_K[d] = ROUND(sum->dq_K[d]);
    }
}

static void NAME(attention_backward)(const cs_attention_backward_args *args,
                                     csi_visible *seen, void *scratch)
{
    const cs_attention_args *a = &args->forward;
    const int64_t n = a->k_rows * a->kv_heads * a->head_dim;
    REAL *real = scratch;
    NAME(grads)
    sum = {
        .dq_K = real,
        .dk_TGK = real + a->head_dim,
        .dv_TGK = real + a->head_dim + n,
    };
    STORE *dk_TGK = args->dk_TGK;
    STORE *dv_TGK = args->dv_TGK;

    for (int64_t i = 0; i < 2 * n; i++) {
        sum.dk_TGK[i] = 0;
    }
    for (int64_t t = 0; t < a->q_rows; t++) {
        list_visible(a, t, seen);
        for (int32_t head = 0; head < a->heads; head++) {
            NAME(attend_backward)(args, seen, t, head, &sum);
        }
    }
    for (int64_t i = 0; i < n; i++) {
        dk_TGK[i] = ROUND(sum.dk_TGK[i]);
        dv_TGK[i] = ROUND(sum.dv_TGK[i]);
    }
}
