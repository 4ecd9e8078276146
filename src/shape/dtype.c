/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Element types: one table, and conversions between the float types through
 * f32 (exact for the narrow ones). Half precision is done in integers, so that
 * the result does not depend on what the compiler or the CPU offers.
 */
#include "cornstarch/shape.h"

#include <inttypes.h>

typedef struct dtype_info {
    const char *name;
    const char *safetensors;
    size_t n_bytes;
    bool is_float;
} dtype_info;

static const dtype_info DTYPES[] = {
    {"f32", "F32", 4, true},   {"f64", "F64", 8, true},
    {"bf16", "BF16", 2, true}, {"f16", "F16", 2, true},
    {"i32", "I32", 4, false},  {"i64", "I64", 8, false},
    {"u64", "U64", 8, false},  {"u8", "U8", 1, false},
};

_Static_assert(sizeof DTYPES / sizeof DTYPES[0] == CS_DTYPE_COUNT && CS_U8 == 7,
               "one row for each cs_dtype, in its order");

static bool is_known(cs_dtype dtype)
{
    const int at = (int)dtype;

    return at >= 0 && at < (int)CS_DTYPE_COUNT;
}

size_t cs_dtype_bytes(cs_dtype dtype)
{
    return is_known(dtype) ? DTYPES[dtype].n_bytes : 0;
}

const char *cs_dtype_name(cs_dtype dtype)
{
    return is_known(dtype) ? DTYPES[dtype].name : "?";
}

const char *cs_dtype_safetensors(cs_dtype dtype)
{
    return is_known(dtype) ? DTYPES[dtype].safetensors : "?";
}

bool cs_dtype_is_float(cs_dtype dtype)
{
    return is_known(dtype) && DTYPES[dtype].is_float;
}

cs_status cs_dtype_parse(const char *name, cs_dtype *out)
{
    for (int i = 0; i < (int)CS_DTYPE_COUNT; i++) {
        if (strcmp(name, DTYPES[i].name) == 0) {
            *out = (cs_dtype)i;
            return CS_OK;
        }
    }
    return CS_FAIL(CS_ERR_DTYPE,
                   "element type '%s': wanted one of f32, f64, bf16, f16, i32, "
                   "i64, u64, u8",
                   name);
}

bool cs_dtype_from_safetensors(const char *name, cs_dtype *out)
{
    for (int i = 0; i < (int)CS_DTYPE_COUNT; i++) {
        if (strcmp(name, DTYPES[i].safetensors) == 0) {
            *out = (cs_dtype)i;
            return true;
        }
    }
    return false;
}

/* Shifts right by n in 1..31, to the nearest, ties to even. */
static uint32_t shift_round(uint32_t value, uint32_t n)
{
    const uint32_t half = 1u << (n - 1);
    const uint32_t rest = value & ((half << 1) - 1);
    const uint32_t kept = value >> n;

    return kept + (rest > half || (rest == half && (kept & 1u) != 0));
}

uint16_t csi_f32_to_f16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;

    if (magnitude > 0x7f800000u) { /* NaN: made quiet, top bits kept */
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x03ffu));
    }
    if (magnitude >= 0x47800000u) { /* 65536 and more, infinity */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude >= 0x38800000u) { /* 2^-14: normal; a carry is right */
        return (uint16_t)(sign | shift_round(magnitude - 0x38000000u, 13));
    }
    if (magnitude < 0x33000000u) { /* below half of the smallest, 2^-25 */
        return (uint16_t)sign;
    }
    const uint32_t exponent = magnitude >> 23; /* 102..112 */
    const uint32_t mantissa = (magnitude & 0x007fffffu) | 0x00800000u;

    return (uint16_t)(sign | shift_round(mantissa, 126 - exponent));
}

float csi_f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = half >> 10 & 0x1fu;
    const uint32_t mantissa = half & 0x03ffu;
    uint32_t bits;
    float x;

    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24, exact */
        x = (float)mantissa * 0x1p-24f;
        return sign != 0 ? -x : x;
    }
    if (exponent == 0x1fu) {
        bits = sign | 0x7f800000u | mantissa << 13;
    } else {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    }
    memcpy(&x, &bits, sizeof x);
    return x;
}

double csi_dtype_get(const void *data, cs_dtype dtype, int64_t i)
{
    switch (dtype) {
    case CS_F32:
        return (double)((const float *)data)[i];
    case CS_F64:
        return ((const double *)data)[i];
    case CS_BF16:
        return (double)csi_bf16_to_f32(((const uint16_t *)data)[i]);
    case CS_F16:
        return (double)csi_f16_to_f32(((const uint16_t *)data)[i]);
    case CS_I32:
        return (double)((const int32_t *)data)[i];
    case CS_I64:
        return (double)((const int64_t *)data)[i];
    case CS_U64:
        return (double)((const uint64_t *)data)[i];
    case CS_U8:
        return (double)((const uint8_t *)data)[i];
    default:
        return 0;
    }
}

void csi_dtype_set(void *data, cs_dtype dtype, int64_t i, double x)
{
    switch (dtype) {
    case CS_F32:
        ((float *)data)[i] = (float)x;
        break;
    case CS_F64:
        ((double *)data)[i] = x;
        break;
    case CS_BF16:
        ((uint16_t *)data)[i] = csi_f32_to_bf16((float)x);
        break;
    case CS_F16:
        ((uint16_t *)data)[i] = csi_f32_to_f16((float)x);
        break;
    case CS_I32:
        ((int32_t *)data)[i] = (int32_t)x;
        break;
    case CS_I64:
        ((int64_t *)data)[i] = (int64_t)x;
        break;
    case CS_U64:
        ((uint64_t *)data)[i] = (uint64_t)x;
        break;
    case CS_U8:
        ((uint8_t *)data)[i] = (uint8_t)x;
        break;
    default:
        break;
    }
}

/* The three conversions that loading waits for, written for the vectoriser:
 * blocks of a known length, no branches. */
enum {
    BLOCK = 64
};

static void bf16_to_f32_block(const uint16_t *restrict src, float *restrict dst)
{
    for (int i = 0; i < BLOCK; i++) {
        dst[i] = csi_bf16_to_f32(src[i]);
    }
}

static void f32_to_bf16_block(const float *restrict src, uint16_t *restrict dst)
{
    uint32_t bits[BLOCK];

    memcpy(bits, src, sizeof bits);
    for (int i = 0; i < BLOCK; i++) {
        const uint32_t rounded =
            (bits[i] + 0x7fffu + ((bits[i] >> 16) & 1u)) >> 16;
        const uint32_t quiet = (bits[i] >> 16) | 0x0040u;
        const bool is_nan = (bits[i] & 0x7fffffffu) > 0x7f800000u;

        dst[i] = (uint16_t)(is_nan ? quiet : rounded);
    }
}

static void f16_to_f32_block(const uint16_t *restrict src, float *restrict dst)
{
    float small[BLOCK]; /* of a subnormal: mantissa * 2^-24, exact */
    uint32_t bits[BLOCK];

    for (int i = 0; i < BLOCK; i++) {
        small[i] = (float)(int32_t)(src[i] & 0x7fff) * 0x1p-24f;
    }
    memcpy(bits, small, sizeof bits);
    for (int i = 0; i < BLOCK; i++) {
        const int32_t magnitude = src[i] & 0x7fff;
        const uint32_t is_small = 0u - (uint32_t)(magnitude < 0x0400);
        const uint32_t is_special = 0u - (uint32_t)(magnitude > 0x7bff);
        const uint32_t large = ((uint32_t)magnitude << 13) + 0x38000000u +
                               (is_special & 0x38000000u);

        bits[i] = (bits[i] & is_small) | (large & ~is_small) |
                  (uint32_t)(src[i] & 0x8000) << 16;
    }
    memcpy(dst, bits, sizeof bits);
}

/* How many elements the blocks of a conversion have done; 0 = has none. */
static int64_t convert_blocks(const void *src, cs_dtype from, void *dst,
                              cs_dtype to, int64_t n)
{
    const int64_t end = n / BLOCK * BLOCK;

    if (from == CS_BF16 && to == CS_F32) {
        for (int64_t i = 0; i < end; i += BLOCK) {
            bf16_to_f32_block((const uint16_t *)src + i, (float *)dst + i);
        }
    } else if (from == CS_F32 && to == CS_BF16) {
        for (int64_t i = 0; i < end; i += BLOCK) {
            f32_to_bf16_block((const float *)src + i, (uint16_t *)dst + i);
        }
    } else if (from == CS_F16 && to == CS_F32) {
        for (int64_t i = 0; i < end; i += BLOCK) {
            f16_to_f32_block((const uint16_t *)src + i, (float *)dst + i);
        }
    } else {
        return 0;
    }
    return end;
}

cs_status csi_dtype_convert(const void *src, cs_dtype from, void *dst,
                            cs_dtype to, int64_t n)
{
    CS_CHECK(cs_dtype_is_float(from) && cs_dtype_is_float(to), CS_ERR_DTYPE,
             "cannot convert %s to %s: wanted two float types",
             cs_dtype_name(from), cs_dtype_name(to));
    if (from == to) {
        memcpy(dst, src, (size_t)n * cs_dtype_bytes(from));
        return CS_OK;
    }
    for (int64_t i = convert_blocks(src, from, dst, to, n); i < n; i++) {
        csi_dtype_set(dst, to, i, csi_dtype_get(src, from, i));
    }
    return CS_OK;
}
