/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What attention does between its products, on one block of scores stored key
 * by key: the lanes of a vector are queries, so that the largest score and
 * the sum run down the keys without leaving their lane. Included by
 * kernels_<isa>.c.
 */

static void visible(const csi_words *q, int64_t query, const csi_words *k,
                    int64_t key, int64_t keys, int32_t window, uint64_t *seen)
{
    for (int64_t i = 0; i < keys; i++) {
        const int64_t at = key + i;
        uint64_t bits = 0;

        for (int64_t j = 0; j < CSI_CPU_BLOCK; j += VW) {
            bits |= v_visible(k->high[at], k->low[at], k->position[at], window,
                              q->high + query + j, q->low + query + j,
                              q->position + query + j)
                    << j;
        }
        seen[i] = bits;
    }
}

CSI_INLINE vf score_of(const csi_scores *b, const float *s, bool capped)
{
    const vf x = v_load(s) * v_set(b->scale);

    if (capped) {
        const vf cap = v_set(b->softcap);
        return cap * v_tanh(x / cap);
    }
    return x;
}

CSI_INLINE vm seen_by(const csi_scores *b, int64_t key, int64_t lane)
{
    return vm_from_bits(b->seen[key] >> lane);
}

/* Scores of one vector of queries against all keys of the block. */
CSI_INLINE vf softmax_lanes(const csi_scores *b, int64_t lane, float *largest,
                            float *total, bool masked, bool capped)
{
    const vf none = v_set(-INFINITY);
    const vf before = v_load(largest + lane);
    float *s = b->s + lane;
    vf most = before;

    for (int64_t key = 0; key < b->keys; key++) {
        vf x = score_of(b, s + key * CSI_CPU_BLOCK_STRIDE, capped);

        if (capped) {
            v_store(s + key * CSI_CPU_BLOCK_STRIDE, x);
        }
        if (masked) {
            x = v_select(seen_by(b, key, lane), x, none);
        }
        most = v_max(most, x);
    }
    const vf base = v_select(v_gt(most, none), most, v_zero());
    const vf factor = v_exp(before - base);
    vf sum = v_zero();

    for (int64_t key = 0; key < b->keys; key++) {
        float *at = s + key * CSI_CPU_BLOCK_STRIDE;
        const vf x = capped ? v_load(at) : score_of(b, at, false);
        vf p = v_exp(x - base);

        if (masked) {
            p = v_select(seen_by(b, key, lane), p, v_zero());
        }
        sum += p;
        v_store(at, p);
    }
    v_store(total + lane, v_fma(v_load(total + lane), factor, sum));
    v_store(largest + lane, most);
    return factor;
}

static void softmax(const csi_scores *b, float *largest, float *total,
                    float *factor)
{
    for (int64_t lane = 0; lane < b->queries; lane += VW) {
        vf f;

        if (b->softcap > 0.0F) {
            f = b->seen != NULL
                    ? softmax_lanes(b, lane, largest, total, true, true)
                    : softmax_lanes(b, lane, largest, total, false, true);
        } else {
            f = b->seen != NULL
                    ? softmax_lanes(b, lane, largest, total, true, false)
                    : softmax_lanes(b, lane, largest, total, false, false);
        }
        v_store(factor + lane, f);
    }
}

static void rescale(float *sum, int64_t stride, const float *factor,
                    int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        if (factor[i] == 1.0F) {
            continue;
        }
        for (int64_t j = 0; j < stride; j += VW) {
            float *at = sum + i * stride + j;
            v_store(at, v_load(at) * v_set(factor[i]));
        }
    }
}

CSI_INLINE void softmax_backward_lanes(const csi_scores *b, int64_t lane,
                                       const float *lse, const float *delta,
                                       float *dp, bool masked, bool capped)
{
    const vf base = v_load(lse + lane);
    const vf less = v_load(delta + lane);
    const vf scale = v_set(b->scale);

    for (int64_t key = 0; key < b->keys; key++) {
        const int64_t at = key * CSI_CPU_BLOCK_STRIDE + lane;
        const vf x = score_of(b, b->s + at, capped);
        vf p = v_exp(x - base);
        vf ds = p * (v_load(dp + at) - less) * scale;

        if (capped) {
            const vf ratio = x / v_set(b->softcap);
            ds = ds * v_fnma(ratio, ratio, v_set(1.0F));
        }
        if (masked) {
            const vm seen = seen_by(b, key, lane);
            p = v_select(seen, p, v_zero());
            ds = v_select(seen, ds, v_zero());
        }
        v_store(b->s + at, p);
        v_store(dp + at, ds);
    }
}

static void softmax_backward(const csi_scores *b, const float *lse,
                             const float *delta, float *dp)
{
    for (int64_t lane = 0; lane < b->queries; lane += VW) {
        if (b->softcap > 0.0F) {
            if (b->seen != NULL) {
                softmax_backward_lanes(b, lane, lse, delta, dp, true, true);
            } else {
                softmax_backward_lanes(b, lane, lse, delta, dp, false, true);
            }
        } else if (b->seen != NULL) {
            softmax_backward_lanes(b, lane, lse, delta, dp, true, false);
        } else {
            softmax_backward_lanes(b, lane, lse, delta, dp, false, false);
        }
    }
}

CSI_INLINE void divide_lanes(void *o, const float *sum, float divisor,
                             bool is_bf16, int64_t i, int n)
{
    vf x = v_zero();

    if (divisor != 0.0F) {
        x = v_get(sum, i, n, false) / v_set(divisor);
    }
    v_put(o, i, x, n, is_bf16);
}

static void divide_row(void *o, const float *sum, float divisor, bool is_bf16,
                       int64_t n)
{
    if (is_bf16) {
        CSI_EACH(0, n, divide_lanes, o, sum, divisor, true);
    } else {
        CSI_EACH(0, n, divide_lanes, o, sum, divisor, false);
    }
}

CSI_INLINE void dot_lanes(const void *x, const void *y, vf *sum, bool is_bf16,
                          int64_t i, int n)
{
    *sum = v_fma(v_get(x, i, n, is_bf16), v_get(y, i, n, is_bf16), *sum);
}

static float dot(const void *x, const void *y, bool is_bf16, int64_t n)
{
    vf sum = v_zero();

    if (is_bf16) {
        CSI_EACH(0, n, dot_lanes, x, y, &sum, true);
    } else {
        CSI_EACH(0, n, dot_lanes, x, y, &sum, false);
    }
    return v_sum(sum);
}
