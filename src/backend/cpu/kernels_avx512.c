/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels for AVX512; compiled with the flags that this file's suffix
 * names, called only where cpu_features.c found the instructions.
 * Eight rows: enough sums in flight for two FMA units, and it
 * divides the blocks of attention.
 */
#include "cpu.h"
#include "vec_avx512.h"
#include "vec_math.h"

#include <math.h>

enum {
    MR = 8
};

#define KERNELS_NAME "avx512"

#include "kernels_attention.h"
#include "kernels_gemm.h"
#include "kernels_loss.h"
#include "kernels_pointwise.h"
#include "kernels_rows.h"
#include "kernels_table.h"

const csi_cpu_kernels *csi_cpu_kernels_avx512(void)
{
    return &table;
}
