/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BACKEND_REF_ACTIVATION_MATH_H
#define CS_BACKEND_REF_ACTIVATION_MATH_H
/* What kernels_activation.h needs: <tgmath.h> picks expf for float and exp for
 * double, so that one text serves every dtype. */
#include <tgmath.h>

#define SQRT_HALF          0.70710678118654752440
#define SQRT_2_OVER_PI     0.79788456080286535588
#define ONE_OVER_SQRT_2_PI 0.39894228040143267794
#define GELU_CUBIC         0.044715
#define QUICK_GELU         1.702
#endif
