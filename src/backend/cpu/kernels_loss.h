/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of logits, a block of the vocabulary at a time. Included by
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

CSI_INLINE void loss_slope_lanes(float *logit, float lse, float scale,
                                 int64_t i, int n)
{
    v_put(logit, i,
          v_exp(v_get(logit, i, n, false) - v_set(lse)) * v_set(scale), n,
          false);
}

static void loss_row_backward(float *logit, int64_t n, float lse, float scale)
{
    CSI_EACH(0, n, loss_slope_lanes, logit, lse, scale);
}
