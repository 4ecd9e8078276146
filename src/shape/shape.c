/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes: checked counts and one way to print them. */
#include "cornstarch/shape.h"

#include "base/checked.h"

#include <inttypes.h>

cs_status cs_shape_check(const cs_shape *shape)
{
    char text[CS_SHAPE_TEXT_BYTES];

    CS_CHECK(shape->n_dims >= 0 && shape->n_dims <= CS_MAX_DIMS, CS_ERR_SHAPE,
             "shape has %" PRId32 " dims, wanted 0..%d", shape->n_dims,
             (int)CS_MAX_DIMS);
    CS_CHECK(cs_shape_count(shape) >= 0, CS_ERR_SHAPE,
             "shape %s: wanted dims of 0 or more whose product fits 63 bits",
             cs_shape_print(shape, text));
    return CS_OK;
}

cs_status cs_shape_make(int32_t n_dims, const int64_t *dim, cs_shape *out)
{
    cs_shape shape = {.n_dims = n_dims};

    for (int32_t i = 0; i < n_dims && i < CS_MAX_DIMS; i++) {
        shape.dim[i] = dim[i];
    }
    CS_TRY(cs_shape_check(&shape));
    *out = shape;
    return CS_OK;
}

int64_t cs_shape_count(const cs_shape *shape)
{
    int64_t count = 1;
    bool is_empty = false;

    for (int32_t i = 0; i < shape->n_dims; i++) {
        if (shape->dim[i] < 0) {
            return -1;
        }
        is_empty = is_empty || shape->dim[i] == 0;
    }
    for (int32_t i = 0; i < shape->n_dims && !is_empty; i++) {
        if (!csi_mul_i64(&count, count, shape->dim[i])) {
            return -1;
        }
    }
    return is_empty ? 0 : count;
}

cs_status cs_shape_bytes(const cs_shape *shape, cs_dtype dtype, int64_t *out)
{
    char text[CS_SHAPE_TEXT_BYTES];
    int64_t n_bytes = 0;

    CS_TRY(cs_shape_check(shape));
    CS_CHECK(csi_mul_i64(&n_bytes, cs_shape_count(shape),
                         (int64_t)cs_dtype_bytes(dtype)),
             CS_ERR_SHAPE, "shape %s of %s: the size does not fit 63 bits",
             cs_shape_print(shape, text), cs_dtype_name(dtype));
    *out = n_bytes;
    return CS_OK;
}

bool cs_shape_equal(const cs_shape *a, const cs_shape *b)
{
    if (a->n_dims != b->n_dims) {
        return false;
    }
    for (int32_t i = 0; i < a->n_dims; i++) {
        if (a->dim[i] != b->dim[i]) {
            return false;
        }
    }
    return true;
}

const char *cs_shape_print(const cs_shape *shape,
                           char text[CS_SHAPE_TEXT_BYTES])
{
    size_t length = 1;

    /* Six numbers of 20 characters with separators fit. */
    text[0] = '[';
    for (int32_t i = 0; i < shape->n_dims && i < CS_MAX_DIMS; i++) {
        const int n_chars =
            snprintf(text + length, CS_SHAPE_TEXT_BYTES - length, "%s%" PRId64,
                     i == 0 ? "" : ", ", shape->dim[i]);
        length += n_chars > 0 ? (size_t)n_chars : 0;
    }
    text[length] = ']';
    text[length + 1] = '\0';
    return text;
}
