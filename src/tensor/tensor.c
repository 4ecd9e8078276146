/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views over somebody's memory: sizes and addresses, nothing else. Shapes were
 * checked where they were made, so the arithmetic here cannot overflow.
 */
#include "cornstarch/tensor.h"

#include <xxhash.h>

cs_tensor cs_tensor_1d(void *data, cs_dtype dtype, int64_t n)
{
    return (cs_tensor){
        .data = data,
        .dtype = dtype,
        .shape = {.n_dims = 1, .dim = {n}},
    };
}

cs_tensor cs_tensor_2d(void *data, cs_dtype dtype, int64_t rows,
                       int64_t columns)
{
    return (cs_tensor){
        .data = data,
        .dtype = dtype,
        .shape = {.n_dims = 2, .dim = {rows, columns}},
    };
}

int64_t cs_tensor_rows(const cs_tensor *t)
{
    return t->shape.n_dims > 0 ? t->shape.dim[0] : 1;
}

int64_t cs_tensor_columns(const cs_tensor *t)
{
    int64_t columns = 1;

    for (int32_t dim = 1; dim < t->shape.n_dims; dim++) {
        columns *= t->shape.dim[dim];
    }
    return columns;
}

int64_t cs_tensor_count(const cs_tensor *t)
{
    return cs_tensor_rows(t) * cs_tensor_columns(t);
}

size_t cs_tensor_bytes(const cs_tensor *t)
{
    return (size_t)cs_tensor_count(t) * cs_dtype_bytes(t->dtype);
}

cs_tensor cs_tensor_row_view(const cs_tensor *t, int64_t begin, int64_t end)
{
    const size_t row_bytes =
        (size_t)cs_tensor_columns(t) * cs_dtype_bytes(t->dtype);
    cs_tensor view = *t;

    if (t->data != NULL) {
        view.data = (char *)t->data + (size_t)begin * row_bytes;
    }
    view.shape.dim[0] = end - begin;
    return view;
}

double cs_tensor_get(const cs_tensor *t, int64_t index)
{
    return csi_dtype_get(t->data, t->dtype, index);
}

void cs_tensor_set(const cs_tensor *t, int64_t index, double value)
{
    csi_dtype_set(t->data, t->dtype, index, value);
}

void cs_tensor_checksum(const cs_tensor *t, char out[33])
{
    static const char digits[] = "0123456789abcdef";
    XXH128_canonical_t bytes;

    XXH128_canonicalFromHash(&bytes, XXH3_128bits(t->data, cs_tensor_bytes(t)));
    for (int i = 0; i < 16; i++) {
        out[2 * i] = digits[bytes.digest[i] >> 4];
        out[2 * i + 1] = digits[bytes.digest[i] & 15];
    }
    out[32] = '\0';
}
