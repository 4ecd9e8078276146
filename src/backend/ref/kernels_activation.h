/* SPDX-License-Identifier: Apache-2.0 */
/* Activation functions of one number; linear uses them too. See ref.h. */

static REAL NAME(activate)(cs_activation activation, REAL x)
{
    switch (activation) {
    case CS_ACT_GELU:
        return (REAL)0.5 * x * (1 + erf(x * (REAL)SQRT_HALF));
    case CS_ACT_GELU_TANH:
        return (REAL)0.5 * x *
               (1 + tanh((REAL)SQRT_2_OVER_PI *
                         (x + (REAL)GELU_CUBIC * x * x * x)));
    case CS_ACT_SILU:
        return x / (1 + exp(-x));
    case CS_ACT_RELU:
        return x > 0 ? x : 0;
    case CS_ACT_QUICK_GELU:
        return x / (1 + exp(-(REAL)QUICK_GELU * x));
    default:
        return x;
    }
}
