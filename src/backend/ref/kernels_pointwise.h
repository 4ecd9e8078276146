/* SPDX-License-Identifier: Apache-2.0 */
/* Element-wise kernels on top of kernels_activation.h. See ref.h. */

/* d activate(x) / dx */
static REAL NAME(activate_slope)(cs_activation activation, REAL x)
{
    switch (activation) {
    case CS_ACT_GELU: {
        const REAL density = (REAL)ONE_OVER_SQRT_2_PI * exp((REAL)-0.5 * x * x);
        return (REAL)0.5 * (1 + erf(x * (REAL)SQRT_HALF)) + x * density;
    }
    case CS_ACT_GELU_TANH: {
        const REAL t =
            tanh((REAL)SQRT_2_OVER_PI * (x + (REAL)GELU_CUBIC * x * x * x));
        const REAL inner =
            (REAL)SQRT_2_OVER_PI * (1 + 3 * (REAL)GELU_CUBIC * x * x);
        return (REAL)0.5 * (1 + t) + (REAL)0.5 * x * (1 - t * t) * inner;
    }
    case CS_ACT_SILU: {
        const REAL s = 1 / (1 + exp(-x));
        return s * (1 + x * (1 - s));
    }
    case CS_ACT_RELU:
        return x > 0 ? 1 : 0;
    case CS_ACT_QUICK_GELU: {
        const REAL s = 1 / (1 + exp(-(REAL)QUICK_GELU * x));
        return s + (REAL)QUICK_GELU * x * s * (1 - s);
    }
    default:
        return 1;
    }
}

static void NAME(activation)(const cs_activation_args *a)
{
    const STORE *x = a->x;
    STORE *y = a->y;

    for (int64_t i = 0; i < a->count; i++) {
        y[i] = ROUND(NAME(activate)(a->activation, LOAD(x[i])));
    }
}

static void NAME(activation_backward)(const cs_activation_args *a)
{
    const STORE *x = a->x;
    const STORE *dy = a->dy;
    STORE *dx = a->y;

    for (int64_t i = 0; i < a->count; i++) {
        dx[i] = ROUND(LOAD(dy[i]) *
                      NAME(activate_slope)(a->activation, LOAD(x[i])));
    }
}

static void NAME(gated)(const cs_gated_args *a)
{
    const STORE *gate = a->gate;
    const STORE *up = a->up;
    STORE *y = a->y;

    for (int64_t i = 0; i < a->count; i++) {
        y[i] =
            ROUND(NAME(activate)(a->activation, LOAD(gate[i])) * LOAD(up[i]));
    }
}

static void NAME(gated_backward)(const cs_gated_args *a)
{
    const STORE *gate = a->gate;
    const STORE *up = a->up;
    const STORE *dy = a->dy;
    STORE *dgate = a->dgate;
    STORE *dup = a->dup;

    for (int64_t i = 0; i < a->count; i++) {
        const REAL g = LOAD(gate[i]);
        const REAL u = LOAD(up[i]);
        const REAL d = LOAD(dy[i]);

        dgate[i] = ROUND(d * u * NAME(activate_slope)(a->activation, g));
        dup[i] = ROUND(d * NAME(activate)(a->activation, g));
    }
}

static void NAME(axpby)(const cs_axpby_args *args)
{
    const STORE *a = args->a;
    const STORE *b = args->b;
    const REAL alpha = (REAL)args->alpha;
    const REAL beta = (REAL)args->beta;
    STORE *y = args->y;

    for (int64_t i = 0; i < args->count; i++) {
        const REAL added = b != NULL ? beta * LOAD(b[i]) : 0;
        y[i] = ROUND(alpha * LOAD(a[i]) + added);
    }
}
