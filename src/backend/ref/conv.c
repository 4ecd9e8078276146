/* SPDX-License-Identifier: Apache-2.0 */
/* Reference: the rows of a 1-D convolution; the product itself is linear. */
#include "ref.h"

#define KERNELS "kernels_conv.h"
#include "each_dtype.h"

cs_status csi_ref_im2col(cs_backend *b, const cs_im2col_args *a)
{
    (void)b;
    RUN_DTYPE("im2col", a->dtype, im2col, a);
}

cs_status csi_ref_im2col_backward(cs_backend *b, const cs_im2col_args *a)
{
    (void)b;
    RUN_DTYPE("im2col_backward", a->dtype, im2col_backward, a);
}
