/* SPDX-License-Identifier: Apache-2.0 */
/* Reference: conversion between float types. */
#include "ref.h"

cs_status csi_ref_cast(cs_backend *b, cs_dtype src_dtype, const void *x,
                       cs_dtype dst_dtype, void *y, int64_t count)
{
    (void)b;
    CS_TRY(csi_dtype_convert(x, src_dtype, y, dst_dtype, count));
    return CS_OK;
}
