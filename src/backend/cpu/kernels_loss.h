/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of logits: of the head, a block of the vocabulary at a time; of
 * routers. Included by
 * kernels_<isa>.c. */

CSI_INLINE float exp_one(float x)
{
    float lanes[VW];

    v_store(lanes, v_exp(v_set(x)));
    return lanes[0];
}

static float largest_of(const float *x, int64_t n)
{
    vf most = v_set(-INFINITY);
    int64_t i = 0;

    for (; i + VW <= n; i += VW) {
        most = v_max(most, v_load(x + i));
    }
    float largest = v_max_of(most);
    for (; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    return largest;
}

static void loss_row(csi_loss_row *row, const float *logit, int64_t n,
                     int64_t v0)
{
    const float most = largest_of(logit, n);
    vf sum = v_zero();
    float rest = 0.0F;
    int64_t i = 0;

    if (most > row->largest) {
        int64_t at = 0;

        while (at + 1 < n && logit[at] != most) {
            at++;
        }
        row->best = v0 + at;
        row->total *= exp_one(row->largest - most);
        row->largest = most;
    }
    const vf base = v_set(row->largest);
    for (; i + VW <= n; i += VW) {
        sum += v_exp(v_load(logit + i) - base);
    }
    if (i < n) {
        float lanes[VW];

        v_store(lanes, v_exp(v_load_n(logit + i, (int)(n - i)) - base));
        for (int64_t j = 0; j < n - i; j++) {
            rest += lanes[j];
        }
    }
    row->total += v_sum(sum) + rest;
}

CSI_INLINE void cap_lanes(float *logit, float softcap, int64_t i, int n)
{
    const vf cap = v_set(softcap);

    v_put(logit, i, cap * v_tanh(v_get(logit, i, n, false) / cap), n, false);
}

static void cap_row(float *logit, int64_t n, float softcap)
{
    CSI_EACH(0, n, cap_lanes, logit, softcap);
}

CSI_INLINE void loss_slope_lanes(float *logit, float lse, float scale,
                                 float softcap, int64_t i, int n)
{
    const vf x = v_get(logit, i, n, false);
    vf slope = v_exp(x - v_set(lse)) * v_set(scale);

    if (softcap > 0.0F) {
        const vf ratio = x / v_set(softcap);
        slope = slope * v_fnma(ratio, ratio, v_set(1.0F));
    }
    v_put(logit, i, slope, n, false);
}

static void loss_row_backward(float *logit, int64_t n, float lse, float scale,
                              float softcap)
{
    if (softcap > 0.0F) {
        CSI_EACH(0, n, loss_slope_lanes, logit, lse, scale, softcap);
    } else {
        CSI_EACH(0, n, loss_slope_lanes, logit, lse, scale, 0.0F);
    }
}

/* ---- probabilities of a router ---- */

CSI_INLINE void load_lanes(float *p, const void *x, bool is_bf16, int64_t i,
                           int n)
{
    v_put(p, i, v_get(x, i, n, is_bf16), n, false);
}

CSI_INLINE void exp_lanes(float *p, float largest, int64_t i, int n)
{
    v_put(p, i, v_exp(v_get(p, i, n, false) - v_set(largest)), n, false);
}

CSI_INLINE void divide_p_lanes(float *p, float total, int64_t i, int n)
{
    v_put(p, i, v_get(p, i, n, false) / v_set(total), n, false);
}

static void softmax_row(float *p, const void *x, bool is_bf16, int64_t n)
{
    float total = 0.0F;

    if (is_bf16) {
        CSI_EACH(0, n, load_lanes, p, x, true);
    } else {
        CSI_EACH(0, n, load_lanes, p, x, false);
    }
    const float largest = largest_of(p, n);
    CSI_EACH(0, n, exp_lanes, p, largest);
    for (int64_t i = 0; i < n; i++) {
        total += p[i];
    }
    CSI_EACH(0, n, divide_p_lanes, p, total);
}
