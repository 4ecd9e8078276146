/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Element-wise kernels: one read, one write, each lane on its own. Included
 * by kernels_<isa>.c.
 */

CSI_INLINE void activate_lanes(cs_activation activation,
                               const cs_activation_args *a, bool is_bf16,
                               int64_t i, int n)
{
    v_put(a->y, i, v_activate(activation, v_get(a->x, i, n, is_bf16)), n,
          is_bf16);
}

CSI_INLINE void activate_range(cs_activation activation,
                               const cs_activation_args *a, int64_t begin,
                               int64_t end)
{
    if (a->dtype == CS_BF16) {
        CSI_EACH(begin, end, activate_lanes, activation, a, true);
    } else {
        CSI_EACH(begin, end, activate_lanes, activation, a, false);
    }
}

static void activation_forward(const cs_activation_args *a, int64_t begin,
                               int64_t end)
{
    CSI_EACH_ACTIVATION(a->activation, activate_range, a, begin, end);
}

CSI_INLINE void slope_lanes(cs_activation activation,
                            const cs_activation_args *a, bool is_bf16,
                            int64_t i, int n)
{
    vf value;
    const vf slope =
        v_activate_slope(activation, v_get(a->x, i, n, is_bf16), &value);

    v_put(a->y, i, v_get(a->dy, i, n, is_bf16) * slope, n, is_bf16);
}

CSI_INLINE void slope_range(cs_activation activation,
                            const cs_activation_args *a, int64_t begin,
                            int64_t end)
{
    if (a->dtype == CS_BF16) {
        CSI_EACH(begin, end, slope_lanes, activation, a, true);
    } else {
        CSI_EACH(begin, end, slope_lanes, activation, a, false);
    }
}

static void activation_backward(const cs_activation_args *a, int64_t begin,
                                int64_t end)
{
    CSI_EACH_ACTIVATION(a->activation, slope_range, a, begin, end);
}

CSI_INLINE void gated_lanes(cs_activation activation, const cs_gated_args *a,
                            bool is_bf16, int64_t i, int n)
{
    const vf gate = v_activate(activation, v_get(a->gate, i, n, is_bf16));

    v_put(a->y, i, gate * v_get(a->up, i, n, is_bf16), n, is_bf16);
}

CSI_INLINE void gated_range(cs_activation activation, const cs_gated_args *a,
                            int64_t begin, int64_t end)
{
    if (a->dtype == CS_BF16) {
        CSI_EACH(begin, end, gated_lanes, activation, a, true);
    } else {
        CSI_EACH(begin, end, gated_lanes, activation, a, false);
    }
}

static void gated_forward(const cs_gated_args *a, int64_t begin, int64_t end)
{
    CSI_EACH_ACTIVATION(a->activation, gated_range, a, begin, end);
}

CSI_INLINE void gated_slope_lanes(cs_activation activation,
                                  const cs_gated_args *a, bool is_bf16,
                                  int64_t i, int n)
{
    vf value;
    const vf slope =
        v_activate_slope(activation, v_get(a->gate, i, n, is_bf16), &value);
    const vf up = v_get(a->up, i, n, is_bf16);
    const vf dy = v_get(a->dy, i, n, is_bf16);

    v_put(a->dgate, i, dy * up * slope, n, is_bf16);
    v_put(a->dup, i, dy * value, n, is_bf16);
}

CSI_INLINE void gated_slope_range(cs_activation activation,
                                  const cs_gated_args *a, int64_t begin,
                                  int64_t end)
{
    if (a->dtype == CS_BF16) {
        CSI_EACH(begin, end, gated_slope_lanes, activation, a, true);
    } else {
        CSI_EACH(begin, end, gated_slope_lanes, activation, a, false);
    }
}

static void gated_backward(const cs_gated_args *a, int64_t begin, int64_t end)
{
    CSI_EACH_ACTIVATION(a->activation, gated_slope_range, a, begin, end);
}

CSI_INLINE void axpby_lanes(const cs_axpby_args *a, bool has_b, bool is_bf16,
                            int64_t i, int n)
{
    vf y = v_set((float)a->alpha) * v_get(a->a, i, n, is_bf16);

    if (has_b) {
        y += v_set((float)a->beta) * v_get(a->b, i, n, is_bf16);
    }
    v_put(a->y, i, y, n, is_bf16);
}

static void axpby(const cs_axpby_args *a, int64_t begin, int64_t end)
{
    const bool has_b = a->b != NULL;

    if (a->dtype == CS_BF16) {
        if (has_b) {
            CSI_EACH(begin, end, axpby_lanes, a, true, true);
        } else {
            CSI_EACH(begin, end, axpby_lanes, a, false, true);
        }
    } else if (has_b) {
        CSI_EACH(begin, end, axpby_lanes, a, true, false);
    } else {
        CSI_EACH(begin, end, axpby_lanes, a, false, false);
    }
}

CSI_INLINE void cast_lanes(bool from_bf16, const void *x, bool to_bf16, void *y,
                           int64_t i, int n)
{
    v_put(y, i, v_get(x, i, n, from_bf16), n, to_bf16);
}

static void cast(bool from_bf16, const void *x, bool to_bf16, void *y,
                 int64_t begin, int64_t end)
{
    if (from_bf16) {
        if (to_bf16) {
            CSI_EACH(begin, end, cast_lanes, true, x, true, y);
        } else {
            CSI_EACH(begin, end, cast_lanes, true, x, false, y);
        }
    } else if (to_bf16) {
        CSI_EACH(begin, end, cast_lanes, false, x, true, y);
    } else {
        CSI_EACH(begin, end, cast_lanes, false, x, false, y);
    }
}

CSI_INLINE void adamw_lanes(const csi_adamw_step *step,
                            const cs_adamw_item *item, int64_t i, int n)
{
    const vf beta1 = v_set(step->beta1);
    const vf beta2 = v_set(step->beta2);
    const vf rest1 = v_set(step->rest1);
    const vf rest2 = v_set(step->rest2);
    const vf g = v_get(item->grad, i, n, false) * v_set(step->grad_scale);
    const vf m = beta1 * v_get(item->m, i, n, false) + rest1 * g;
    const vf v = beta2 * v_get(item->v, i, n, false) + rest2 * g * g;
    const vf old = v_get(item->master, i, n, false);
    const vf root = v_sqrt(v * v_set(step->fix2)) + v_set(step->eps);
    const vf update =
        m * v_set(step->fix1) / root + v_set((float)item->weight_decay) * old;
    const vf master = old - v_set((float)item->learning_rate) * update;

    v_put(item->m, i, m, n, false);
    v_put(item->v, i, v, n, false);
    v_put(item->master, i, master, n, false);
    if (item->working != NULL) {
        v_put(item->working, i, master, n, true);
    }
}

static void adamw(const csi_adamw_step *step, const cs_adamw_item *item,
                  int64_t begin, int64_t end)
{
    CSI_EACH(begin, end, adamw_lanes, step, item);
}

static double sum_squares(const float *x, int64_t begin, int64_t end)
{
    vsquares sum = v_squares_zero();
    double lanes[8];
    int64_t i = begin;

    for (; i + VW <= end; i += VW) {
        sum = v_squares_add(sum, v_load(x + i));
    }
    if (i < end) {
        sum = v_squares_add(sum, v_load_n(x + i, (int)(end - i)));
    }
    v_squares_store(lanes, sum);
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}
