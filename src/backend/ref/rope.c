/* SPDX-License-Identifier: Apache-2.0 */
/* Reference: rotary position embedding. */
#include "ref.h"

#include <math.h>

#define KERNELS "kernels_rope.h"
#include "each_dtype.h"

cs_status csi_ref_rope(cs_backend *b, const cs_rope_args *a)
{
    (void)b;
    RUN_DTYPE("rope", a->dtype, rope, a);
}
