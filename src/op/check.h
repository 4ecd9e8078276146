/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_OP_CHECK_H
#define CS_OP_CHECK_H
/* Argument checks that ops share, and the stopwatch around a kernel. */
#include "cornstarch/op.h"

#include "base/clock.h"

#include <inttypes.h>

static inline bool csi_op_float(cs_dtype dtype)
{
    return dtype == CS_F32 || dtype == CS_F64 || dtype == CS_BF16;
}

#define CHECK_DTYPE(a, op)                           \
    CS_CHECK(csi_op_float((a)->dtype), CS_ERR_DTYPE, \
             op ": wanted f32, f64 or bf16, got %s", \
             cs_dtype_name((a)->dtype))

#define CHECK_SIZE(value, min, op, what)                              \
    CS_CHECK((value) >= (min), CS_ERR_SHAPE,                          \
             op ": " what " wanted at least %d, got %" PRId64, (min), \
             (int64_t)(value))

#define CHECK_PTR(pointer, op, what) \
    CS_CHECK((pointer) != NULL, CS_ERR_ARG, op ": " what " is null")

/* Runs one kernel and books its time and work. */
#define CALL(backend, slot, args, family, flops)               \
    do {                                                       \
        const double call_start = csi_clock_s();               \
        CS_TRY((backend)->ops.slot((backend), (args)));        \
        (backend)->op_s[family] += csi_clock_s() - call_start; \
        (backend)->op_flops[family] += (flops);                \
    } while (0)

#endif
