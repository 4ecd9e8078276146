/* SPDX-License-Identifier: Apache-2.0 */
/* Reference: activations, gated activations, sums of two arrays. */
#include "activation_math.h"
#include "ref.h"

#define KERNELS "kernels_activation.h"
#include "each_dtype.h"
#define KERNELS "kernels_pointwise.h"
#include "each_dtype.h"

cs_status csi_ref_activation(cs_backend *b, const cs_activation_args *a)
{
    (void)b;
    RUN_DTYPE("activation", a->dtype, activation, a);
}

cs_status csi_ref_activation_backward(cs_backend *b,
                                      const cs_activation_args *a)
{
    (void)b;
    RUN_DTYPE("activation_backward", a->dtype, activation_backward, a);
}

cs_status csi_ref_gated(cs_backend *b, const cs_gated_args *a)
{
    (void)b;
    RUN_DTYPE("gated", a->dtype, gated, a);
}

cs_status csi_ref_gated_backward(cs_backend *b, const cs_gated_args *a)
{
    (void)b;
    RUN_DTYPE("gated_backward", a->dtype, gated_backward, a);
}

cs_status csi_ref_axpby(cs_backend *b, const cs_axpby_args *a)
{
    (void)b;
    RUN_DTYPE("axpby", a->dtype, axpby, a);
}
