/* SPDX-License-Identifier: Apache-2.0 */
/* Files to encoder rows: probed sizes hold, rows are those of Hugging Face's
 * processors, every stamp of the installed package is read. */
#include "cornstarch/data.h"

#include "base/alloc.h"
#include "base/file.h"

#include "mel.h"
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *golden_path(const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof path, "tests/golden/processor/%s", name);
    return cst_source_path(path);
}

static cs_processor vision(int32_t side, int32_t patch, int32_t pool)
{
    return (cs_processor){.modality = CS_MODALITY_VISION,
                          .pool = pool,
                          .stack = 1,
                          .type = "SiglipImageProcessor",
                          .resize = CS_RESIZE_EXACT,
                          .resample = CS_RESAMPLE_BICUBIC,
                          .edge = side,
                          .image_size = side,
                          .patch_size = patch,
                          .merge = 1,
                          .temporal_patch = 1,
                          .rescale = 1.0 / 255.0,
                          .mean = {0.5, 0.5, 0.5},
                          .std = {0.5, 0.5, 0.5},
                          .columns = (int64_t)3 * patch * patch};
}

static cs_processor audio(int32_t pool)
{
    return (cs_processor){.modality = CS_MODALITY_AUDIO,
                          .pool = pool,
                          .stack = 1,
                          .sampling_rate = 16000,
                          .n_mels = 80,
                          .n_fft = 400,
                          .hop = 160,
                          .max_seconds = 30.0,
                          .columns = 80};
}

static void a_picture_has_its_patches_as_rows(void **state)
{
    const cs_processor p = vision(24, 8, 4);
    cs_media_size size;

    (void)state;
#if !CS_HAVE_PNG
    cst_skip("built without libpng");
#endif
    assert_ok(cs_media_probe(&p, golden_path("rgb.png"), &size));
    assert_int_equal(size.input_rows, 9);
    assert_int_equal(size.encoder_rows, 9);
    assert_int_equal(size.llm_rows, 3);
}

static void siglips_pixel_values_in_channel_row_column_order(void **state)
{
    enum {
        SIDE = 24,
        PATCH = 8,
        ROWS = 9,
        COLUMNS = 3 * PATCH * PATCH
    };
    const cs_processor p = vision(SIDE, PATCH, 1);
    float rows[ROWS * COLUMNS];
    size_t n_bytes = 0;

    (void)state;
#if !CS_HAVE_PNG
    cst_skip("built without libpng");
#endif
    char *golden = cst_read(golden_path("siglip_61x45_24.f32"), &n_bytes);
    assert_int_equal(n_bytes, sizeof rows);
    assert_ok(cs_media_read(&p, golden_path("siglip_61x45.png"), ROWS, rows));
    for (size_t n = 0; n < ROWS; n++) {
        for (size_t i = 0; i < COLUMNS; i++) {
            const size_t c = i / (PATCH * PATCH);
            const size_t y = n / 3 * PATCH + i / PATCH % PATCH;
            const size_t x = n % 3 * PATCH + i % PATCH;
            float wanted = 0.0F;

            memcpy(&wanted,
                   golden + ((c * SIDE + y) * SIDE + x) * sizeof wanted,
                   sizeof wanted);
            assert_near(rows[n * COLUMNS + i], wanted, 1e-6);
        }
    }
    cst_free(golden);
}

static void pixels_beyond_the_last_whole_patch_are_left_out(void **state)
{
    const cs_processor p = vision(26, 8, 1);
    float *rows = calloc(9 * 192, sizeof *rows);
    cs_media_size size;

    (void)state;
#if !CS_HAVE_PNG
    cst_skip("built without libpng");
#endif
    assert_non_null(rows);
    assert_ok(cs_media_probe(&p, golden_path("rgb.png"), &size));
    assert_int_equal(size.input_rows, 9);
    assert_ok(cs_media_read(&p, golden_path("rgb.png"), 9, rows));
    free(rows);
}

static void a_recording_has_even_frames_and_pooled_rows(void **state)
{
    static const struct {
        const char *name;
        int64_t input, encoder, llm;
    } CASES[] = {{"mono16k.wav", 26, 13, 4}, /* 4000 samples -> 4160 */
                 {"stereo44k.wav", 6, 3, 1}, /* 800 -> 960 */
                 {"stereo.ogg", 20, 10, 3}}; /* 2903 -> 3200 */
    const cs_processor p = audio(4);

    (void)state;
#if !(CS_HAVE_SNDFILE && CS_HAVE_KISSFFT)
    cst_skip("built without sound libraries");
#endif
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *const path = golden_path(CASES[i].name);
        cs_media_size size;

        assert_ok(cs_media_probe(&p, path, &size));
        assert_int_equal(size.input_rows, CASES[i].input);
        assert_int_equal(size.encoder_rows, CASES[i].encoder);
        assert_int_equal(size.llm_rows, CASES[i].llm);
        float *rows =
            calloc((size_t)(size.input_rows * p.columns), sizeof *rows);
        assert_non_null(rows);
        assert_ok(cs_media_read(&p, path, size.input_rows, rows));
        for (int64_t k = 0; k < size.input_rows * p.columns; k++) {
            assert_true(isfinite(rows[k]));
        }
        free(rows);
    }
}

static void a_file_that_changed_since_the_probe_is_refused(void **state)
{
    const cs_processor pictures = vision(24, 8, 1);
    const cs_processor sounds = audio(1);
    float row[1];

    (void)state;
#if !(CS_HAVE_SNDFILE && CS_HAVE_PNG)
    cst_skip("built without libraries");
#endif
    assert_fails(cs_media_read(&sounds, golden_path("mono16k.wav"), 28, row),
                 CS_ERR_FORMAT, "the index has 28 rows, now it has 26");
    assert_fails(cs_media_read(&pictures, golden_path("rgb.png"), 8, row),
                 CS_ERR_FORMAT, "the index has 8 rows, now it has 9");
}

static void a_file_that_is_not_there_is_named(void **state)
{
    const cs_processor p = vision(24, 8, 1);
    cs_media_size size;
    float row[1];

    (void)state;
    assert_fails(cs_media_probe(&p, "/nowhere/x.png", &size), CS_ERR_IO,
                 "/nowhere/x.png");
    assert_fails(cs_media_read(&p, "/nowhere/x.png", 9, row), CS_ERR_IO,
                 "/nowhere/x.png");
}

static cs_status read_body(void *arg)
{
    const cs_processor *const p = arg;
    const char *const path =
        golden_path(p->modality == CS_MODALITY_VISION ? "rgba.png"
                                                      : "mono16k.wav");
    cs_media_size size;
    float rows[26 * 192];

    CS_TRY(cs_media_probe(p, path, &size));
    CS_TRY(cs_media_read(p, path, size.input_rows, rows));
    return CS_OK;
}

static void failing_allocations_are_reported_and_leak_nothing(void **state)
{
    cs_processor pictures = vision(24, 8, 1);
    cs_processor sounds = audio(1);

    (void)state;
#if !(CS_HAVE_SNDFILE && CS_HAVE_PNG && CS_HAVE_KISSFFT)
    cst_skip("built without libraries");
#endif
    assert_true(cst_torture(read_body, &pictures) >= 8);
    assert_true(cst_torture(read_body, &sounds) >= 8);
}

static int64_t read_stamps(const cs_processor *p, const char *folder,
                           const char *ending, int64_t limit)
{
    char **names = NULL;
    int64_t count = 0, n_read = 0;

    assert_ok(csi_dir_list(folder, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        const size_t length = strlen(names[i]);
        cs_media_size size;
        char *path = NULL;

        if (n_read < limit && length > strlen(ending) &&
            strcmp(names[i] + length - strlen(ending), ending) == 0) {
            assert_ok(csi_path_join(folder, names[i], &path));
            assert_ok(cs_media_probe(p, path, &size));
            float *rows =
                calloc((size_t)(size.input_rows * p->columns), sizeof *rows);
            assert_non_null(rows);
            assert_ok(cs_media_read(p, path, size.input_rows, rows));
            free(rows);
            csi_free(path);
            n_read++;
        }
        csi_free(names[i]);
    }
    csi_free(names);
    return n_read;
}

static void installed_stamps_are_read(void **state)
{
    static const char FOLDER[] = "/usr/share/tuxpaint/stamps/food/fruit";
    const cs_processor pictures = vision(64, 8, 4);
    const cs_processor sounds = audio(4);

    (void)state;
    if (!csi_dir_exists(FOLDER)) {
        cst_skip("the package tuxpaint-stamps-default is not installed");
    }
    assert_true(read_stamps(&pictures, FOLDER, ".png", 20) > 0);
    assert_true(read_stamps(&sounds, FOLDER, "_desc_fr.ogg", 20) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_picture_has_its_patches_as_rows),
        CST_TEST(siglips_pixel_values_in_channel_row_column_order),
        CST_TEST(pixels_beyond_the_last_whole_patch_are_left_out),
        CST_TEST(a_recording_has_even_frames_and_pooled_rows),
        CST_TEST(a_file_that_changed_since_the_probe_is_refused),
        CST_TEST(a_file_that_is_not_there_is_named),
        CST_TEST(failing_allocations_are_reported_and_leak_nothing),
        CST_TEST(installed_stamps_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
