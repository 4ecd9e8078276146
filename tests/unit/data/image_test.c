/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures: the numbers are Pillow's, hostile files end in one sentence. */
#include "cornstarch/data.h"

#include "base/alloc.h"
#include "base/file.h"

#include "image.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The picture of tools/golden/processor.py. */
static uint8_t *make_picture(int32_t width, int32_t height)
{
    uint8_t *rgb = malloc((size_t)width * (size_t)height * 3);
    uint32_t noise = 7;
    size_t i = 0;

    assert_non_null(rgb);
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            for (int32_t c = 0; c < 3; c++) {
                noise = noise * 1664525U + 1013904223U;
                const int32_t value = x * 5 + y * 3 + c * 40 +
                                      ((x / 4 + y / 4) & 1) * 90 +
                                      (int32_t)((noise >> 16) % 32U);

                rgb[i++] = (uint8_t)(value % 256);
            }
        }
    }
    return rgb;
}

static char *read_golden(const char *name, size_t *n_bytes)
{
    char path[256];

    (void)snprintf(path, sizeof path, "tests/golden/processor/%s", name);
    return cst_read(cst_source_path(path), n_bytes);
}

static void resize_is_pillows_bit_for_bit(void **state)
{
    static const struct {
        int32_t width, height, side;
    } CASES[] = {{37, 23, 32},
                 {300, 190, 48},
                 {7, 12, 40},
                 {40, 64, 40},
                 {513, 9, 16}};

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const csi_image_size in = {CASES[i].width, CASES[i].height};
        const csi_image_size out = {CASES[i].side, CASES[i].side};
        const size_t n = (size_t)out.width * (size_t)out.height * 3;
        char name[64];
        size_t n_wanted = 0;
        uint8_t *rgb = make_picture(in.width, in.height);
        uint8_t *got = malloc(n);

        (void)snprintf(name, sizeof name, "resize_%dx%d_%d.rgb", in.width,
                       in.height, out.width);
        char *wanted = read_golden(name, &n_wanted);
        assert_non_null(got);
        const csi_image_resize_job job = {.in = rgb,
                                          .in_size = in,
                                          .full = out,
                                          .window = out,
                                          .resample = CS_RESAMPLE_BICUBIC};

        assert_ok(csi_image_resize(&job, got));
        assert_int_equal(n_wanted, n);
        assert_memory_equal(got, wanted, n);
        cst_free(wanted);
        free(rgb);
        free(got);
    }
}

static void check_decodes(const char *name)
{
    char golden[80];
    size_t n_bytes = 0, n_wanted = 0;
    uint8_t *rgb = NULL;
    int32_t width = 0, height = 0;

    (void)snprintf(golden, sizeof golden, "%s.rgb", name);
    char *bytes = read_golden(name, &n_bytes);
    char *wanted = read_golden(golden, &n_wanted);
    assert_ok(cs_image_decode(bytes, n_bytes, name, &rgb, &width, &height));
    assert_int_equal(width, 19);
    assert_int_equal(height, 13);
    assert_int_equal(n_wanted, 19 * 13 * 3);
    if (memcmp(rgb, wanted, n_wanted) != 0) {
        fail_msg("%s: pixels differ from Pillow's", name);
    }
    csi_free(rgb);
    cst_free(bytes);
    cst_free(wanted);
}

static void png_of_every_kind_is_what_pillow_reads(void **state)
{
    static const char *const NAMES[] = {"rgb.png",
                                        "rgba.png",
                                        "gray.png",
                                        "bits.png",
                                        "gray16.png",
                                        "palette.png",
                                        "interlaced.png",
                                        "palette_transparent.png"};

    (void)state;
#if !CS_HAVE_PNG
    cst_skip("built without libpng");
#endif
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        check_decodes(NAMES[i]);
    }
}

static void jpeg_gray_and_progressive_too_is_what_pillow_reads(void **state)
{
    (void)state;
#if !CS_HAVE_JPEG
    cst_skip("built without libturbojpeg");
#endif
    check_decodes("rgb.jpg");
    check_decodes("gray.jpg");
    check_decodes("progressive.jpg");
}

static void webp_with_and_without_alpha_is_what_pillow_reads(void **state)
{
    (void)state;
#if !CS_HAVE_WEBP
    cst_skip("built without libwebp");
#endif
    check_decodes("lossless.webp");
    check_decodes("alpha.webp");
    check_decodes("lossy.webp");
}

static cs_status decode_and_drop(const void *bytes, size_t n_bytes)
{
    uint8_t *rgb = NULL;
    int32_t width = 0, height = 0;

    CS_TRY(cs_image_decode(bytes, n_bytes, "x", &rgb, &width, &height));
    csi_free(rgb);
    return CS_OK;
}

static void cmyk_is_refused(void **state)
{
    size_t n_bytes = 0;
    char *bytes = read_golden("cmyk.jpg", &n_bytes);

    (void)state;
#if !CS_HAVE_JPEG
    cst_skip("built without libturbojpeg");
#endif
    assert_fails(decode_and_drop(bytes, n_bytes), CS_ERR_UNSUPPORTED, "CMYK");
    cst_free(bytes);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    assert_fails(decode_and_drop("GIF89a............", 18), CS_ERR_FORMAT,
                 "x: wanted a PNG, JPEG or WebP picture, got 18 bytes");
    assert_fails(decode_and_drop(NULL, 0), CS_ERR_FORMAT, "got 0 bytes");
}

/* Cut at every length: never a picture, never a crash. */
static void truncated_files_are_refused(void **state)
{
    static const char *const NAMES[] = {"rgb.png", "rgb.jpg", "lossless.webp",
                                        "palette_transparent.png",
                                        "alpha.webp"};

    (void)state;
#if !(CS_HAVE_PNG && CS_HAVE_JPEG && CS_HAVE_WEBP)
    cst_skip("built without some picture library");
#endif
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        size_t n_bytes = 0;
        char *bytes = read_golden(NAMES[i], &n_bytes);

        /* a JPEG without its last marker still has all its pixels */
        for (size_t n = 0; n + 16 < n_bytes; n++) {
            char *cut = malloc(n + 1);

            assert_non_null(cut);
            memcpy(cut, bytes, n);
            if (decode_and_drop(cut, n) != CS_ERR_FORMAT) {
                fail_msg("%s cut to %zu bytes is not refused", NAMES[i], n);
            }
            free(cut);
        }
        cst_free(bytes);
    }
}

static void put_u32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 24);
    p[1] = (uint8_t)(value >> 16);
    p[2] = (uint8_t)(value >> 8);
    p[3] = (uint8_t)value;
}

static void huge_claims_are_refused_before_allocation(void **state)
{
    size_t n_bytes = 0;
    uint8_t *bytes = (uint8_t *)read_golden("rgb.png", &n_bytes);
    const csi_image_source source = {bytes, n_bytes, "big.png"};
    csi_image_size size;

    (void)state;
#if !CS_HAVE_PNG
    cst_skip("built without libpng");
#endif
    put_u32(bytes + 16, 30000);
    put_u32(bytes + 20, 30000);
    assert_fails(csi_image_probe(&source, &size), CS_ERR_FORMAT,
                 "30000 x 30000 pixels, wanted at most 32768 a side");
    put_u32(bytes + 16, 0xffffffffU);
    assert_fails(csi_image_probe(&source, &size), CS_ERR_FORMAT, "pixels");
    put_u32(bytes + 16, 0);
    assert_fails(csi_image_probe(&source, &size), CS_ERR_FORMAT,
                 "wanted at least 1 x 1");
    cst_free(bytes);
}

/* 8000 x 8000 pixels in a file that inflates to at most a megabyte. */
static void a_bomb_with_a_good_checksum_is_refused(void **state)
{
    static const uint8_t BOMB[] = {0x89, 'P',  'N',  'G',  '\r', '\n', 0x1a,
                                   '\n', 0,    0,    0,    13,   'I',  'H',
                                   'D',  'R',  0,    0,    0x1f, 0x40, 0,
                                   0,    0x1f, 0x40, 8,    2,    0,    0,
                                   0,    0x89, 0x93, 0x3a, 0xa3, 0,    0,
                                   0,    4,    'I',  'D',  'A',  'T',  0x78,
                                   0xda, 0xec, 0xc1, 0,    0,    0,    0};

    (void)state;
#if !CS_HAVE_PNG
    cst_skip("built without libpng");
#endif
    assert_fails(decode_and_drop(BOMB, sizeof BOMB), CS_ERR_FORMAT,
                 "more pixels than the file's bytes can hold");
}

static void transparent_is_white_and_half_is_half(void **state)
{
    (void)state;
    assert_int_equal(csi_image_on_white(0, 0), 255);
    assert_int_equal(csi_image_on_white(17, 255), 17);
    assert_int_equal(csi_image_on_white(0, 128), 127);
}

static cs_status decode_body(void *arg)
{
    const csi_image_source *const source = arg;

    CS_TRY(decode_and_drop(source->bytes, source->n_bytes));
    return CS_OK;
}

static void failing_allocations_are_reported_and_leak_nothing(void **state)
{
    size_t n_bytes = 0;
    uint8_t *bytes =
        (uint8_t *)read_golden("palette_transparent.png", &n_bytes);
    csi_image_source source = {bytes, n_bytes, "x"};

    (void)state;
#if !CS_HAVE_PNG
    cst_skip("built without libpng");
#endif
    assert_true(cst_torture(decode_body, &source) >= 4);
    cst_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(resize_is_pillows_bit_for_bit),
        CST_TEST(png_of_every_kind_is_what_pillow_reads),
        CST_TEST(jpeg_gray_and_progressive_too_is_what_pillow_reads),
        CST_TEST(webp_with_and_without_alpha_is_what_pillow_reads),
        CST_TEST(cmyk_is_refused),
        CST_TEST(other_files_are_refused),
        CST_TEST(truncated_files_are_refused),
        CST_TEST(huge_claims_are_refused_before_allocation),
        CST_TEST(a_bomb_with_a_good_checksum_is_refused),
        CST_TEST(transparent_is_white_and_half_is_half),
        CST_TEST(failing_allocations_are_reported_and_leak_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
