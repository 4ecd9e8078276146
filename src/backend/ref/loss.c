/* SPDX-License-Identifier: Apache-2.0 */
/* Reference: output head fused with cross-entropy. */
#include "ref.h"

#include <tgmath.h>

#define KERNELS "kernels_loss.h"
#include "each_dtype.h"

cs_status csi_ref_head_loss(cs_backend *b, const cs_head_loss_args *a)
{
    void *scratch = NULL;

    CS_TRY(csi_ref_scratch(b, "head_loss", a->vocab, a->dtype, &scratch));
    RUN_DTYPE("head_loss", a->dtype, head_loss, a, scratch);
}

cs_status csi_ref_head_loss_backward(cs_backend *b,
                                     const cs_head_loss_backward_args *a)
{
    const cs_head_loss_args *f = &a->forward;
    void *scratch = NULL;

    CS_TRY(csi_ref_scratch(b, "head_loss_backward", f->vocab + f->in, f->dtype,
                           &scratch));
    RUN_DTYPE("head_loss_backward", f->dtype, head_loss_backward, a, scratch);
}
