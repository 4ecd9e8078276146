/* SPDX-License-Identifier: Apache-2.0 */
/* Reference: gather, scatter-add, pooling, mixing and scaling of rows. */
#include "ref.h"

#define KERNELS "kernels_rows.h"
#include "each_dtype.h"

cs_status csi_ref_gather(cs_backend *b, const cs_gather_args *a)
{
    (void)b;
    RUN_DTYPE("gather", a->dtype, gather, a);
}

cs_status csi_ref_scatter_add(cs_backend *b, const cs_scatter_add_args *a)
{
    (void)b;
    CS_CHECK(a->dx_dtype == a->dtype || a->dx_dtype == cs_real_dtype(a->dtype),
             CS_ERR_DTYPE, "ref scatter_add: wanted dx as %s or %s, got %s",
             cs_dtype_name(a->dtype), cs_dtype_name(cs_real_dtype(a->dtype)),
             cs_dtype_name(a->dx_dtype));
    RUN_DTYPE("scatter_add", a->dtype, scatter_add, a);
}

cs_status csi_ref_pool(cs_backend *b, const cs_pool_args *a)
{
    (void)b;
    RUN_DTYPE("pool", a->dtype, pool, a);
}

cs_status csi_ref_pool_backward(cs_backend *b, const cs_pool_args *a)
{
    (void)b;
    RUN_DTYPE("pool_backward", a->dtype, pool_backward, a);
}

cs_status csi_ref_mix(cs_backend *b, const cs_mix_args *a)
{
    (void)b;
    RUN_DTYPE("mix", a->dtype, mix, a);
}

cs_status csi_ref_mix_backward(cs_backend *b, const cs_mix_args *a)
{
    (void)b;
    RUN_DTYPE("mix_backward", a->dtype, mix_backward, a);
}

cs_status csi_ref_scale(cs_backend *b, const cs_scale_args *a)
{
    (void)b;
    RUN_DTYPE("scale", a->dtype, scale, a);
}

cs_status csi_ref_scale_backward(cs_backend *b, const cs_scale_args *a)
{
    (void)b;
    RUN_DTYPE("scale_backward", a->dtype, scale_backward, a);
}
