/* SPDX-License-Identifier: Apache-2.0 */
/* Reference: residual + RMS or layer norm. */
#include "ref.h"

#include <tgmath.h>

#define KERNELS "kernels_norm.h"
#include "each_dtype.h"

cs_status csi_ref_norm(cs_backend *b, const cs_norm_args *a)
{
    (void)b;
    RUN_DTYPE("norm", a->dtype, norm, a);
}

cs_status csi_ref_norm_backward(cs_backend *b, const cs_norm_backward_args *a)
{
    (void)b;
    RUN_DTYPE("norm_backward", a->dtype, norm_backward, a);
}
