/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotary embedding. The angle is formed in f64, so that long contexts keep
 * their phase; the rotation is done in REAL. See ref.h.
 */

static void NAME(rotate_pair)(const cs_rope_args *a, int64_t t, int64_t pair,
                              STORE *x_THK, int32_t heads, REAL cosine,
                              REAL sine)
{
    STORE *x = x_THK + t * heads * a->head_dim + pair;

    for (int32_t head = 0; head < heads; head++) {
        STORE *first = x + (int64_t)head * a->head_dim;
        STORE *second = first + a->rotary_dim / 2;
        const REAL p = LOAD(*first);
        const REAL q = LOAD(*second);

        *first = ROUND(p * cosine - q * sine);
        *second = ROUND(q * cosine + p * sine);
    }
}

/* position x frequency of one pair of one row. */
static double NAME(rope_angle)(const cs_rope_args *a, int64_t t, int64_t pair)
{
    const bool is_long = a->long_frequency != NULL && a->is_long_T[t] != 0;
    const double *frequency =
        is_long ? a->long_frequency : a->inverse_frequency;
    const int64_t axis = a->axis != NULL ? a->axis[pair] : 0;

    return (double)a->position_T[axis * a->rows + t] * frequency[pair];
}

static void NAME(rope)(const cs_rope_args *a)
{
    const double sign = a->inverse ? -1.0 : 1.0;

    for (int64_t t = 0; t < a->rows; t++) {
        for (int64_t pair = 0; pair < a->rotary_dim / 2; pair++) {
            const double angle = NAME(rope_angle)(a, t, pair);
            const REAL cosine = (REAL)(cos(angle) * a->scale);
            const REAL sine = (REAL)(sin(angle) * a->scale * sign);

            if (a->q_THK != NULL) {
                NAME(rotate_pair)
                (a, t, pair, a->q_THK, a->q_heads, cosine, sine);
            }
            if (a->k_TGK != NULL) {
                NAME(rotate_pair)
                (a, t, pair, a->k_TGK, a->k_heads, cosine, sine);
            }
        }
    }
}
