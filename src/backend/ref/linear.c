/* SPDX-License-Identifier: Apache-2.0 */
/* Reference: linear layers and the two halves of their backward. */
#include "base/checked.h"

#include "activation_math.h"
#include "ref.h"

enum {
    LANES = 8
};

#define KERNELS "kernels_activation.h"
#include "each_dtype.h"
#define KERNELS "kernels_linear.h"
#include "each_dtype.h"

cs_status csi_ref_linear(cs_backend *b, const cs_linear_args *a)
{
    (void)b;
    RUN_DTYPE("linear", a->dtype, linear, a);
}

cs_status csi_ref_linear_input(cs_backend *b, const cs_linear_input_args *a)
{
    (void)b;
    RUN_DTYPE("linear_input", a->dtype, linear_input, a);
}

cs_status csi_ref_linear_weight(cs_backend *b, const cs_linear_weight_args *a)
{
    (void)b;
    RUN_DTYPE("linear_weight", a->dtype, linear_weight, a);
}
