/* SPDX-License-Identifier: Apache-2.0 */
/* Element types, shapes, and the laws of slices. */
#include "cornstarch/shape.h"

#include "base/rng.h"

#include "support/test.h"

#include <math.h>
#include <string.h>

static void every_dtype_has_a_size_and_two_names(void **state)
{
    (void)state;
    for (int i = 0; i < CS_DTYPE_COUNT; i++) {
        const cs_dtype dtype = (cs_dtype)i;
        cs_dtype back = CS_DTYPE_COUNT;
        assert_true(cs_dtype_bytes(dtype) >= 1);
        assert_ok(cs_dtype_parse(cs_dtype_name(dtype), &back));
        assert_int_equal(back, dtype);
        assert_true(cs_dtype_from_safetensors(cs_dtype_safetensors(dtype),
                                              &back));
        assert_int_equal(back, dtype);
    }
    cs_dtype dtype = CS_F32;
    assert_fails(cs_dtype_parse("F32", &dtype), CS_ERR_DTYPE, "'F32'");
    assert_false(cs_dtype_from_safetensors("f32", &dtype));
    assert_int_equal(cs_dtype_bytes(CS_DTYPE_COUNT), 0);
    assert_string_equal(cs_dtype_name((cs_dtype)-1), "?");
}

static float from_bits(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t to_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void bf16_rounds_to_nearest_even_and_keeps_nan(void **state)
{
    (void)state;
    static const struct {
        uint32_t f32;
        uint16_t bf16;
    } CASES[] = {
        {0x3f800000u, 0x3f80}, {0x3f808000u, 0x3f80}, /* tie: even below */
        {0x3f818000u, 0x3f82},                        /* tie: even above */
        {0x3f808001u, 0x3f81}, {0x3f807fffu, 0x3f80},
        {0xbf808001u, 0xbf81}, {0x7f7fffffu, 0x7f80}, /* overflows */
        {0x7f800000u, 0x7f80}, {0xff800000u, 0xff80},
        {0x7f800001u, 0x7fc0}, {0x7fffffffu, 0x7fff}, /* NaN stays NaN */
        {0xffc12345u, 0xffc1}, {0x80000000u, 0x8000},
        {0x00000001u, 0x0000}, {0x00008001u, 0x0001},
    };

    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(csi_f32_to_bf16(from_bits(CASES[i].f32)),
                         CASES[i].bf16);
    }
    for (uint32_t half = 0; half <= 0xffff; half++) {
        const float x = csi_bf16_to_f32((uint16_t)half);
        const uint16_t back = csi_f32_to_bf16(x);
        assert_true(back == half || (isnan(x) && back == (half | 0x40)));
    }
}

/* Half precision by the definition of the format. */
static double f16_value(uint16_t half)
{
    const int exponent = half >> 10 & 31;
    const int mantissa = half & 1023;
    const double sign = (half & 0x8000) != 0 ? -1 : 1;

    if (exponent == 31) {
        return mantissa != 0 ? NAN : sign * INFINITY;
    }
    return exponent == 0 ? sign * ldexp(mantissa, -24)
                         : sign * ldexp(1024 + mantissa, exponent - 25);
}

static void every_f16_value_is_exact_both_ways(void **state)
{
    (void)state;
    for (uint32_t half = 0; half <= 0xffff; half++) {
        const double wanted = f16_value((uint16_t)half);
        const float x = csi_f16_to_f32((uint16_t)half);
        if (isnan(wanted)) {
            assert_true(isnan(x));
            assert_true(isnan(csi_f16_to_f32(csi_f32_to_f16(x))));
        } else {
            assert_true((double)x == wanted);
            assert_int_equal(csi_f32_to_f16(x), half);
        }
    }
}

static void f16_rounds_to_the_nearest_even(void **state)
{
    (void)state;
    /* Between each two neighbours: the middle, and just beside it. */
    for (uint16_t half = 0; half < 0x7bff; half++) {
        const uint16_t next = (uint16_t)(half + 1);
        const float middle = (float)((f16_value(half) + f16_value(next)) / 2);
        const uint32_t bits = to_bits(middle);
        assert_int_equal(csi_f32_to_f16(middle), half % 2 == 0 ? half : next);
        assert_int_equal(csi_f32_to_f16(from_bits(bits - 1)), half);
        assert_int_equal(csi_f32_to_f16(from_bits(bits + 1)), next);
        assert_int_equal(csi_f32_to_f16(-middle),
                         (half % 2 == 0 ? half : next) | 0x8000);
    }
    assert_int_equal(csi_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(csi_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(csi_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(csi_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(csi_f32_to_f16(1e-30f), 0);
}

static void elements_are_set_got_and_converted(void **state)
{
    (void)state;
    for (int i = 0; i < CS_DTYPE_COUNT; i++) {
        uint64_t room[3] = {0};
        csi_dtype_set(room, (cs_dtype)i, 2, 93);
        assert_true(csi_dtype_get(room, (cs_dtype)i, 2) == 93);
        assert_true(csi_dtype_get(room, (cs_dtype)i, 1) == 0);
    }
    static const cs_dtype FLOATS[] = {CS_F32, CS_F64, CS_BF16, CS_F16};
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 4; j++) {
            double a[2] = {0};
            double b[2] = {0};
            csi_dtype_set(a, FLOATS[i], 0, -1.5);
            csi_dtype_set(a, FLOATS[i], 1, 0.25);
            assert_ok(csi_dtype_convert(a, FLOATS[i], b, FLOATS[j], 2));
            assert_true(csi_dtype_get(b, FLOATS[j], 0) == -1.5);
            assert_true(csi_dtype_get(b, FLOATS[j], 1) == 0.25);
        }
    }
    int32_t whole = 1;
    float real = 0;
    assert_fails(csi_dtype_convert(&whole, CS_I32, &real, CS_F32, 1),
                 CS_ERR_DTYPE, "i32 to f32");
}

static void shapes_are_counted_with_care(void **state)
{
    (void)state;
    char text[CS_SHAPE_TEXT_BYTES];
    const int64_t huge = INT64_C(1) << 32;
    const int64_t dims[7] = {3, -1, huge, huge, 0, 1, 1};
    int64_t n_bytes = 0;
    cs_shape shape = {0};

    assert_int_equal(cs_shape_count(&shape), 1);
    assert_string_equal(cs_shape_print(&shape, text), "[]");
    assert_int_equal(cs_shape_count(&CS_SHAPE(3, 4, 5)), 60);
    assert_string_equal(cs_shape_print(&CS_SHAPE(3, 4), text), "[3, 4]");
    assert_int_equal(cs_shape_count(&CS_SHAPE(huge, huge)), -1);
    assert_int_equal(cs_shape_count(&CS_SHAPE(huge, huge, 0)), 0);
    assert_int_equal(cs_shape_count(&CS_SHAPE(0, -1)), -1);
    assert_fails(cs_shape_make(2, dims, &shape), CS_ERR_SHAPE, "[3, -1]");
    assert_fails(cs_shape_make(2, dims + 2, &shape), CS_ERR_SHAPE, "63 bits");
    assert_fails(cs_shape_make(7, dims, &shape), CS_ERR_SHAPE, "7 dims");
    assert_fails(cs_shape_make(-1, dims, &shape), CS_ERR_SHAPE, "-1 dims");
    assert_ok(cs_shape_make(1, dims, &shape));
    assert_ok(cs_shape_bytes(&shape, CS_F64, &n_bytes));
    assert_int_equal(n_bytes, 24);
    assert_fails(cs_shape_bytes(&CS_SHAPE(INT64_MAX / 4), CS_F64, &n_bytes),
                 CS_ERR_SHAPE, "does not fit 63 bits");
    assert_true(cs_shape_equal(&CS_SHAPE(3, 4), &CS_SHAPE(3, 4)));
    assert_false(cs_shape_equal(&CS_SHAPE(3, 4), &CS_SHAPE(4, 3)));
    assert_false(cs_shape_equal(&CS_SHAPE(3), &CS_SHAPE(3, 1)));
    const cs_shape longest = CS_SHAPE(INT64_MIN, INT64_MIN, INT64_MIN,
                                      INT64_MIN, INT64_MIN, INT64_MIN);
    assert_int_equal(strlen(cs_shape_print(&longest, text)),
                     6 * 20 + 5 * 2 + 2);
}

static void slices_intersect_where_both_are(void **state)
{
    (void)state;
    const cs_slice a = {.n_dims = 2, .begin = {0, 2}, .end = {4, 6}};
    const cs_slice b = {.n_dims = 2, .begin = {2, 0}, .end = {8, 4}};
    const cs_slice beside = {.n_dims = 2, .begin = {4, 2}, .end = {8, 6}};
    const cs_slice empty = {.n_dims = 2, .begin = {9, 9}, .end = {9, 12}};
    const cs_slice line = {.n_dims = 1, .begin = {0}, .end = {9}};
    const cs_slice wanted = {.n_dims = 2, .begin = {2, 2}, .end = {4, 4}};
    cs_slice common = {0};
    char text[CS_SHAPE_TEXT_BYTES];

    assert_true(cs_slice_intersect(&a, &b, &common));
    assert_true(cs_slice_equal(&common, &wanted));
    assert_string_equal(cs_slice_print(&common, text), "[2:4, 2:4]");
    assert_false(cs_slice_intersect(&a, &beside, &common));
    assert_false(cs_slice_intersect(&a, &line, &common));
    assert_true(cs_slice_equal(&common, &wanted));
    assert_true(cs_slice_contains(&a, &wanted));
    assert_false(cs_slice_contains(&wanted, &a));
    assert_true(cs_slice_contains(&a, &empty));
    assert_int_equal(cs_slice_count(&empty), 0);
    assert_int_equal(cs_slice_offset(&a, (int64_t[CS_MAX_DIMS]){1, 3}), 5);
}

static void parts_of_a_split_tile_the_whole(void **state)
{
    (void)state;
    const cs_slice whole = cs_slice_whole(&CS_SHAPE(3, 10, 2));
    cs_slice parts[12];

    for (int32_t n = 1; n <= 12; n++) {
        for (int32_t i = 0; i < n; i++) {
            parts[i] = cs_slice_split(&whole, 1, n, i);
            const cs_shape shape = cs_slice_shape(&parts[i]);
            assert_in_range(shape.dim[1], 10 / n, 10 / n + 1);
        }
        assert_ok(cs_slices_tile(&whole, parts, n));
    }
    parts[1] = parts[0];
    assert_fails(cs_slices_tile(&whole, parts, 12), CS_ERR_SHAPE, "overlap");
    assert_fails(cs_slices_tile(&whole, parts, 1), CS_ERR_SHAPE,
                 "1 slices cover 6 of 60 elements");
    parts[0].end[0] = 4;
    assert_fails(cs_slices_tile(&whole, parts, 1), CS_ERR_SHAPE,
                 "slice [0:4, 0:1, 0:2] does not lie in [0:3, 0:10, 0:2]");
}

/* A random box in `whole`, seldom empty. */
static cs_slice random_box(const cs_slice *whole, uint64_t seed)
{
    cs_slice box = {.n_dims = whole->n_dims};

    for (int32_t i = 0; i < whole->n_dims; i++) {
        const int64_t n = whole->end[i];
        const int64_t begin =
            (int64_t)csi_rng_below(seed, 1, (uint64_t)i, (uint64_t)n);
        box.begin[i] = begin;
        box.end[i] =
            begin + 1 +
            (int64_t)csi_rng_below(seed, 2, (uint64_t)i, (uint64_t)(n - begin));
    }
    return box;
}

static void copies_move_exactly_the_common_part(void **state)
{
    (void)state;
    enum {
        N = 4 * 5 * 3 * 6
    };
    const cs_slice whole = cs_slice_whole(&CS_SHAPE(4, 5, 3, 6));

    for (uint64_t seed = 0; seed < 300; seed++) {
        int32_t src[N];
        int32_t dst[N];
        cs_slice from = random_box(&whole, 3 * seed);
        const cs_slice to = random_box(&whole, 3 * seed + 1);
        cs_slice part;
        int64_t n_moved = 0;
        if (seed % 3 == 0) {
            from = whole;
        }
        for (int64_t i = 0; i < N; i++) {
            src[i] = (int32_t)i;
            dst[i] = -1;
        }
        if (!cs_slice_intersect(&from, &to, &part)) {
            continue;
        }
        assert_ok(csi_slice_copy(src, &from, dst, &to, &part, sizeof src[0]));
        for (int64_t i = 0; i < N; i++) {
            n_moved += dst[i] != -1;
        }
        assert_int_equal(n_moved, cs_slice_count(&part));
        for (int64_t i = 0; i < N; i++) {
            const int64_t at[CS_MAX_DIMS] = {i / 90, i / 18 % 5, i / 6 % 3,
                                             i % 6};
            cs_slice one = {.n_dims = 4};
            for (int32_t d = 0; d < 4; d++) {
                one.begin[d] = at[d];
                one.end[d] = at[d] + 1;
            }
            if (cs_slice_contains(&part, &one)) {
                assert_int_equal(dst[cs_slice_offset(&to, at)],
                                 cs_slice_offset(&from, at));
            }
        }
    }
}

static void split_then_glued_is_the_whole(void **state)
{
    (void)state;
    const cs_slice whole = cs_slice_whole(&CS_SHAPE(6, 7));
    uint16_t source[42];
    uint16_t glued[42] = {0};

    for (int i = 0; i < 42; i++) {
        source[i] = (uint16_t)(i + 1);
    }
    for (int32_t i = 0; i < 6; i++) {
        const cs_slice half = cs_slice_split(&whole, 0, 2, i / 3);
        const cs_slice part = cs_slice_split(&half, 1, 3, i % 3);
        uint16_t held[42];
        assert_ok(csi_slice_copy(source, &whole, held, &part, &part, 2));
        assert_ok(csi_slice_copy(held, &part, glued, &whole, &part, 2));
    }
    assert_memory_equal(glued, source, sizeof source);
}

static void a_copy_outside_of_its_buffers_is_refused(void **state)
{
    (void)state;
    const cs_slice whole = cs_slice_whole(&CS_SHAPE(4));
    const cs_slice half = cs_slice_split(&whole, 0, 2, 0);
    uint8_t src[4] = {1, 2, 3, 4};
    uint8_t dst[4] = {0};

    assert_fails(csi_slice_copy(src, &half, dst, &whole, &whole, 1),
                 CS_ERR_SHAPE, "copy of [0:4]: the source holds [0:2]");
    assert_fails(csi_slice_copy(src, &whole, dst, &half, &whole, 1),
                 CS_ERR_SHAPE, "copy of [0:4]: the destination holds [0:2]");
    assert_int_equal(dst[0], 0);
    const cs_slice scalar = {0};
    assert_ok(csi_slice_copy(src, &scalar, dst, &scalar, &scalar, 1));
    assert_int_equal(dst[0], 1);
    assert_int_equal(dst[1], 0);
}

/* Long runs are converted in blocks: every half there is, and floats around
 * the places where rounding, NaN and overflow are decided. */
static void blocks_convert_as_single_elements(void **state)
{
    (void)state;
    enum {
        N = 1 << 16
    };
    static uint16_t half[N];
    static float wide[N];
    static uint16_t back[N];

    for (int i = 0; i < N; i++) {
        half[i] = (uint16_t)i;
    }
    for (int k = 0; k < 2; k++) {
        const cs_dtype from = k == 0 ? CS_F16 : CS_BF16;
        assert_ok(csi_dtype_convert(half, from, wide, CS_F32, N));
        for (int i = 0; i < N; i++) {
            const float wanted =
                k == 0 ? csi_f16_to_f32(half[i]) : csi_bf16_to_f32(half[i]);
            assert_memory_equal(&wide[i], &wanted, sizeof wanted);
        }
    }
    for (int i = 0; i < N; i++) {
        const uint32_t bits =
            (uint32_t)i << 16 |
            (i % 3 == 0 ? 0x8000u : (uint32_t)i * 40503u >> 16);
        memcpy(&wide[i], &bits, sizeof bits);
    }
    assert_ok(csi_dtype_convert(wide, CS_F32, back, CS_BF16, N));
    for (int i = 0; i < N; i++) {
        assert_int_equal(back[i], csi_f32_to_bf16(wide[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(every_dtype_has_a_size_and_two_names),
        CST_TEST(bf16_rounds_to_nearest_even_and_keeps_nan),
        CST_TEST(every_f16_value_is_exact_both_ways),
        CST_TEST(f16_rounds_to_the_nearest_even),
        CST_TEST(elements_are_set_got_and_converted),
        CST_TEST(blocks_convert_as_single_elements),
        CST_TEST(shapes_are_counted_with_care),
        CST_TEST(slices_intersect_where_both_are),
        CST_TEST(parts_of_a_split_tile_the_whole),
        CST_TEST(copies_move_exactly_the_common_part),
        CST_TEST(split_then_glued_is_the_whole),
        CST_TEST(a_copy_outside_of_its_buffers_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
