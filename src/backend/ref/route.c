/* SPDX-License-Identifier: Apache-2.0 */
/* Reference: top-k routing of a mixture of experts. */
#include "ref.h"

#include <tgmath.h>

#define KERNELS "kernels_route.h"
#include "each_dtype.h"

cs_status csi_ref_route(cs_backend *b, const cs_route_args *a)
{
    (void)b;
    RUN_DTYPE("route", a->dtype, route, a);
}

cs_status csi_ref_route_backward(cs_backend *b, const cs_route_args *a)
{
    void *scratch = NULL;

    CS_TRY(csi_ref_scratch(b, "route_backward", a->experts, a->dtype,
                           &scratch));
    RUN_DTYPE("route_backward", a->dtype, route_backward, a, scratch);
}
