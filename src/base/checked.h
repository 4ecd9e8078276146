/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_CHECKED_H
#define CS_BASE_CHECKED_H
/* Size arithmetic that reports overflow: for every size from outside. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool csi_mul_i64(int64_t *out, int64_t a, int64_t b)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool csi_add_i64(int64_t *out, int64_t a, int64_t b)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline int64_t csi_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t csi_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Smallest multiple of `unit` that is >= n; n >= 0, unit > 0. */
static inline int64_t csi_round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}
#endif
