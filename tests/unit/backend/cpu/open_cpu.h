/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_OPEN_CPU_H
#define CST_OPEN_CPU_H
/*
 * What the tests of the fast CPU backend share: opening it on a path of
 * instructions (skipping loudly without the module), and arrays of values.
 */
#include "cornstarch/backend.h"

#include "base/alloc.h"

#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Ends the test as skipped when the module is not built (presets bare, tsan).
 * Before anything is allocated: a skip does not come back. */
static inline void skip_without_module(void)
{
    static char why[CS_ERROR_MESSAGE_BYTES + 64];
    cs_backend *backend = NULL;

    if (cs_backend_create("cpu", 1, &backend) != CS_OK) {
        (void)snprintf(why, sizeof why, "cpu backend: %s", cs_error_message());
        cst_skip(why);
    }
    cs_backend_destroy(&backend);
}

/* Opens backend cpu with CORNSTARCH_CPU = path, "" = the best; NULL when
 * this machine has no such path. */
static inline cs_backend *open_cpu(const char *path, int32_t n_threads)
{
    cs_backend *backend = NULL;

    if (path[0] != '\0') {
        assert_int_equal(setenv("CORNSTARCH_CPU", path, 1), 0);
    } else {
        assert_int_equal(unsetenv("CORNSTARCH_CPU"), 0);
    }
    assert_ok(cs_backend_create("cpu", n_threads, &backend));
    (void)unsetenv("CORNSTARCH_CPU");
    if (strstr(backend->detail, path) == NULL) {
        print_message("SKIPPED here: no path '%s', the module took '%s'\n",
                      path, backend->detail);
        cs_backend_destroy(&backend);
    }
    return backend;
}

static inline cs_backend *open_ref(void)
{
    cs_backend *backend = NULL;

    assert_ok(cs_backend_create("ref", 1, &backend));
    return backend;
}

/* n values in -1 .. 1, the same for the same seed in every dtype. */
static inline void *make_values(cs_dtype dtype, int64_t n, uint32_t seed)
{
    void *data = csi_aligned((size_t)n * cs_dtype_bytes(dtype) + 64);
    uint32_t state = seed * 2654435761U + 12345U;

    assert_non_null(data);
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525U + 1013904223U;
        csi_dtype_set(data, dtype, i, (double)(state >> 8) / 8388608.0 - 1.0);
    }
    return data;
}

static inline void *copy_values(cs_dtype dtype, int64_t n, const void *from)
{
    void *data = csi_aligned((size_t)n * cs_dtype_bytes(dtype) + 64);

    assert_non_null(data);
    memcpy(data, from, (size_t)n * cs_dtype_bytes(dtype));
    return data;
}

/* Largest difference relative to the largest |b|; NaN counts as infinite,
 * equal infinities as equal. */
static inline double largest_error(cs_dtype dtype, int64_t n, const void *a,
                                   const void *b)
{
    double most = 1e-30;
    double error = 0.0;

    for (int64_t i = 0; i < n; i++) {
        const double x = csi_dtype_get(a, dtype, i);
        const double y = csi_dtype_get(b, dtype, i);

        if (isinf(y) && x == y) {
            continue;
        }
        if (!(fabs(x - y) < INFINITY)) {
            return INFINITY;
        }
        most = fabs(y) > most ? fabs(y) : most;
        error = fabs(x - y) > error ? fabs(x - y) : error;
    }
    return error / most;
}

/* Rounding of a stored result, and of f32 sums of a few thousand products. */
static inline double tolerance_of(cs_dtype dtype)
{
    return dtype == CS_BF16 ? 8e-3 : 2e-5;
}

static inline bool same_bits(cs_dtype dtype, int64_t n, const void *a,
                             const void *b)
{
    return memcmp(a, b, (size_t)n * cs_dtype_bytes(dtype)) == 0;
}
#endif
