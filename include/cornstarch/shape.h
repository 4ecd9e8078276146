/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_SHAPE_H
#define CORNSTARCH_SHAPE_H
/*
 * Element types, shapes and slices: what a tensor looks like, without any
 * tensor. A slice is a box of index ranges; checkpoints and shards are cut,
 * compared and glued with the small algebra below. Values only: nothing here
 * owns memory, so everything may be copied and shared between threads.
 */
#include "cornstarch/status.h"

#include <stddef.h>
#include <string.h>

CS_BEGIN_DECLS

enum {
    CS_MAX_DIMS = 6,
    CS_SHAPE_TEXT_BYTES = 160
};

/* Formulas that the model's description and the kernels both name. */
typedef enum cs_activation {
    CS_ACT_NONE,
    CS_ACT_GELU,      /* exact, erf */
    CS_ACT_GELU_TANH, /* tanh approximation */
    CS_ACT_SILU,
    CS_ACT_RELU,
    CS_ACT_QUICK_GELU, /* x * sigmoid(1.702 x) */
    CS_ACT_COUNT
} cs_activation;

typedef enum cs_norm_kind {
    CS_NORM_RMS,
    CS_NORM_LAYER
} cs_norm_kind;

typedef enum cs_dtype {
    CS_F32,
    CS_F64,
    CS_BF16,
    CS_F16,
    CS_I32,
    CS_I64,
    CS_U64,
    CS_U8,
    CS_DTYPE_COUNT
} cs_dtype;

/* Bytes of one element; 0 for a value that is no dtype. */
CS_API size_t cs_dtype_bytes(cs_dtype dtype);
CS_API const char *cs_dtype_name(cs_dtype dtype);        /* "bf16"; "?" */
CS_API const char *cs_dtype_safetensors(cs_dtype dtype); /* "BF16"; "?" */
CS_API bool cs_dtype_is_float(cs_dtype dtype);
/* "bf16" -> CS_BF16. */
CS_API CS_NODISCARD cs_status cs_dtype_parse(const char *name, cs_dtype *out);
/* "BF16" -> CS_BF16; false when the name is none of ours. */
CS_API bool cs_dtype_from_safetensors(const char *name, cs_dtype *out);

/* Zero dims is a scalar: one element. */
typedef struct cs_shape {
    int32_t n_dims;
    int64_t dim[CS_MAX_DIMS];
} cs_shape;

/* CS_SHAPE(3, 4) is the shape [3, 4]. */
#define CS_SHAPE(...)                                                  \
    ((cs_shape){.n_dims = (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / \
                                    sizeof(int64_t)),                  \
                .dim = {__VA_ARGS__}})

/* Checks that there are 0..6 dims, none negative, and that the product fits. */
CS_API CS_NODISCARD cs_status cs_shape_make(int32_t n_dims, const int64_t *dim,
                                            cs_shape *out);
CS_API CS_NODISCARD cs_status cs_shape_check(const cs_shape *shape);
/* Elements of a valid shape; -1 when a dim is negative or the product does
 * not fit (so that the answer can be tested, not trusted). */
CS_API int64_t cs_shape_count(const cs_shape *shape);
/* Bytes of all elements, checked. */
CS_API CS_NODISCARD cs_status cs_shape_bytes(const cs_shape *shape,
                                             cs_dtype dtype, int64_t *out);
CS_API bool cs_shape_equal(const cs_shape *a, const cs_shape *b);
/* "[3, 4]"; returns text. */
CS_API const char *cs_shape_print(const cs_shape *shape,
                                  char text[CS_SHAPE_TEXT_BYTES]);

/* Index ranges [begin, end) in every dim. Empty when any range is empty. */
typedef struct cs_slice {
    int32_t n_dims;
    int64_t begin[CS_MAX_DIMS];
    int64_t end[CS_MAX_DIMS];
} cs_slice;

CS_API cs_slice cs_slice_whole(const cs_shape *shape);
/* Part `index` of `n_parts` along `dim`. Parts differ by at most one; the
 * first ones are the larger ones. */
CS_API cs_slice cs_slice_split(const cs_slice *slice, int32_t dim,
                               int32_t n_parts, int32_t index);
CS_API cs_shape cs_slice_shape(const cs_slice *slice);
CS_API int64_t cs_slice_count(const cs_slice *slice);
CS_API bool cs_slice_equal(const cs_slice *a, const cs_slice *b);
/* Whether `inner` lies in `outer`; an empty inner lies everywhere. */
CS_API bool cs_slice_contains(const cs_slice *outer, const cs_slice *inner);
/* False (and *out untouched) when nothing is common. */
CS_API bool cs_slice_intersect(const cs_slice *a, const cs_slice *b,
                               cs_slice *out);
/* Where the global index `at` lies in a row-major buffer that holds `slice`:
 * an offset in elements. `at` must be inside. */
CS_API int64_t cs_slice_offset(const cs_slice *slice,
                               const int64_t at[CS_MAX_DIMS]);
/* "[0:4, 8:16]"; returns text. */
CS_API const char *cs_slice_print(const cs_slice *slice,
                                  char text[CS_SHAPE_TEXT_BYTES]);
/* Whether the n slices cover `whole` once: no hole, no overlap. */
CS_API CS_NODISCARD cs_status cs_slices_tile(const cs_slice *whole,
                                             const cs_slice *slices,
                                             int64_t n_slices);

/* Copies `part` (global indices, inside both slices) from a row-major buffer
 * that holds src_slice to one that holds dst_slice. */
CS_API CS_NODISCARD cs_status csi_slice_copy(const void *src,
                                             const cs_slice *src_slice,
                                             void *dst,
                                             const cs_slice *dst_slice,
                                             const cs_slice *part,
                                             int64_t element_bytes);

/* Round to nearest even; a NaN stays a NaN (its sign and top bits kept). */
static inline uint16_t csi_f32_to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)((bits >> 16) | 0x0040u);
    }
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float csi_bf16_to_f32(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* IEEE half precision: subnormals kept, overflow becomes infinity. */
CS_API uint16_t csi_f32_to_f16(float x);
CS_API float csi_f16_to_f32(uint16_t half);
/* Element i of a buffer as a number, and back (floats and integers). */
CS_API double csi_dtype_get(const void *data, cs_dtype dtype, int64_t i);
CS_API void csi_dtype_set(void *data, cs_dtype dtype, int64_t i, double x);
/* Converts between two float types, n elements. src and dst do not overlap. */
CS_API CS_NODISCARD cs_status csi_dtype_convert(const void *src, cs_dtype from,
                                                void *dst, cs_dtype to,
                                                int64_t n);

CS_END_DECLS
#endif
