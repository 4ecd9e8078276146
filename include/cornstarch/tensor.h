/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_TENSOR_H
#define CORNSTARCH_TENSOR_H
/*
 * A tensor is a small value: pointer, dtype, sizes. It is contiguous, row
 * major, owns nothing and is copied freely. Its memory belongs to a parameter
 * set, a tape, a channel, a workspace or the caller.
 */
#include "cornstarch/shape.h"
#include "cornstarch/status.h"

CS_BEGIN_DECLS

typedef struct cs_tensor {
    void *data; /* borrowed */
    cs_dtype dtype;
    cs_shape shape;
} cs_tensor;

CS_API cs_tensor cs_tensor_1d(void *data, cs_dtype dtype, int64_t n);
CS_API cs_tensor cs_tensor_2d(void *data, cs_dtype dtype, int64_t rows,
                              int64_t columns);
CS_API int64_t cs_tensor_rows(const cs_tensor *t);    /* dim[0] */
CS_API int64_t cs_tensor_columns(const cs_tensor *t); /* product of the rest */
CS_API int64_t cs_tensor_count(const cs_tensor *t);
CS_API size_t cs_tensor_bytes(const cs_tensor *t);
/* Rows [begin, end) of t. */
CS_API cs_tensor cs_tensor_row_view(const cs_tensor *t, int64_t begin,
                                    int64_t end);
/* Element as double, whatever the dtype; for tests and printing. */
CS_API double cs_tensor_get(const cs_tensor *t, int64_t index);
CS_API void cs_tensor_set(const cs_tensor *t, int64_t index, double value);
/* XXH3-128 of the bytes as 32 hex digits. */
CS_API void cs_tensor_checksum(const cs_tensor *t, char out[33]);

CS_END_DECLS
#endif
