/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels for AVX2; compiled with the flags that this file's suffix
 * names, called only where cpu_features.c found the instructions.
 * Six rows: twelve sums and their operands fill sixteen registers.
 */
#include "cpu.h"
#include "vec_avx2.h"
#include "vec_math.h"

#include <math.h>

enum {
    MR = 6
};

#define KERNELS_NAME "avx2"

#include "kernels_attention.h"
#include "kernels_gemm.h"
#include "kernels_loss.h"
#include "kernels_pointwise.h"
#include "kernels_rows.h"
#include "kernels_table.h"

const csi_cpu_kernels *csi_cpu_kernels_avx2(void)
{
    return &table;
}
