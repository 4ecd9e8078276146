/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of a processor: defaults, preprocessor_config.json, recipe; and
 * that what would change them without being offered is refused. */
#include "cornstarch/data.h"

#include "base/alloc.h"

#include "test.h"

#include <stdio.h>
#include <string.h>

static cs_module vision_module(void)
{
    return (cs_module){.name = (char *)(uintptr_t) "vision",
                       .family = (char *)(uintptr_t) "siglip",
                       .modality = CS_MODALITY_VISION,
                       .image_size = 64,
                       .patch_size = 8,
                       .n_channels = 3,
                       .pool = 4};
}

static cs_module audio_module(void)
{
    return (cs_module){.name = (char *)(uintptr_t) "audio",
                       .family = (char *)(uintptr_t) "whisper",
                       .modality = CS_MODALITY_AUDIO,
                       .n_mels = 80,
                       .max_positions = 500,
                       .pool = 1};
}

static void a_vision_encoder_from_scratch_has_siglips_numbers(void **state)
{
    const cs_module module = vision_module();
    const cs_encoder_config config = {.pool = 4};
    cs_processor p;

    (void)state;
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_int_equal(p.modality, CS_MODALITY_VISION);
    assert_int_equal(p.image_size, 64);
    assert_int_equal(p.patch_size, 8);
    assert_int_equal(p.pool, 4);
    assert_int_equal(p.columns, 3 * 8 * 8);
    for (size_t c = 0; c < 3; c++) {
        assert_near(p.mean[c], 0.5, 0.0);
        assert_near(p.std[c], 0.5, 0.0);
    }
}

static void an_audio_encoder_has_whispers_numbers(void **state)
{
    const cs_module module = audio_module();
    const cs_encoder_config config = {.pool = 1};
    cs_processor p;

    (void)state;
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_int_equal(p.sampling_rate, 16000);
    assert_int_equal(p.n_fft, 400);
    assert_int_equal(p.hop, 160);
    assert_int_equal(p.columns, 80);
    /* 500 positions, each of two frames of 10 ms */
    assert_near(p.max_seconds, 10.0, 1e-12);
}

static void the_recipe_narrows_but_does_not_exceed_the_positions(void **state)
{
    const cs_module module = audio_module();
    cs_encoder_config config = {.processor = {.max_seconds = 4.0}};
    cs_processor p;

    (void)state;
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_near(p.max_seconds, 4.0, 0.0);
    config.processor.max_seconds = 11.0;
    assert_fails(cs_processor_init(&module, &config, &p), CS_ERR_ARG,
                 "max_seconds is 11, the model has positions for 10");
}

static void what_is_padded_is_also_cut_unless_the_recipe_says_no(void **state)
{
    cs_module module = audio_module();
    cs_encoder_config config = {.pool = 1};
    cs_processor p;

    (void)state;
    module.pads_audio = true;
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_int_equal(p.pad_frames, 1000);
    assert_false(p.drops_silence);
    assert_true(p.max_seconds > 1e6);
    config.processor.max_seconds = 4.0;
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_near(p.max_seconds, 4.0, 0.0);
    module.family = (char *)(uintptr_t) "qwen2_audio";
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_true(p.drops_silence);
    module.pads_audio = false;
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_int_equal(p.pad_frames, 0);
    assert_false(p.drops_silence);
}

static void a_file_that_is_part_of_another_is_read(void **state)
{
    cst_tmpdir dir;
    cs_module module = vision_module();
    const cs_encoder_config config = {.pool = 1};
    cs_processor p;

    (void)state;
    cst_tmpdir_make(&dir);
    module.source = dir.path;
    (void)cst_write_text(&dir, "processor_config.json",
                         "{\"image_processor\": {\"image_processor_type\": "
                         "\"ViTImageProcessor\", \"image_mean\": [0, 0, 0], "
                         "\"size\": 64}, \"processor_class\": \"X\"}");
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_string_equal(p.type, "ViTImageProcessor");
    assert_int_equal(p.resample, CS_RESAMPLE_BILINEAR);
    assert_near(p.mean[0], 0.0, 0.0);
    cst_tmpdir_remove(&dir);
}

static void the_recipes_image_size_keeps_the_share_of_the_crop(void **state)
{
    cst_tmpdir dir;
    cs_module module = vision_module();
    const cs_encoder_config config = {.processor = {.image_size = 64}};
    cs_processor p;

    (void)state;
    cst_tmpdir_make(&dir);
    module.source = dir.path;
    (void)cst_write_text(&dir, "preprocessor_config.json",
                         "{\"image_processor_type\": \"BitImageProcessor\", "
                         "\"size\": {\"shortest_edge\": 256}, "
                         "\"crop_size\": {\"height\": 224, \"width\": 224}}");
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_int_equal(p.image_size, 64);
    assert_int_equal(p.edge, 73);
    cst_tmpdir_remove(&dir);
}

static void keys_of_the_other_modality_are_refused(void **state)
{
    const cs_module vision = vision_module();
    const cs_module audio = audio_module();
    const cs_encoder_config rate = {.processor = {.sampling_rate = 16000}};
    const cs_encoder_config size = {.processor = {.image_size = 64}};
    cs_processor p;

    (void)state;
    assert_fails(cs_processor_init(&vision, &rate, &p), CS_ERR_ARG,
                 "model.encoders.vision.processor: sampling_rate");
    assert_fails(cs_processor_init(&audio, &size, &p), CS_ERR_ARG,
                 "model.encoders.audio.processor: image_size");
}

static void sizes_that_the_model_does_not_take_are_refused(void **state)
{
    cs_module module = vision_module();
    const cs_encoder_config big = {.processor = {.image_size = 128}};
    const cs_encoder_config pixels = {.processor = {.max_pixels = 9}};
    const cs_encoder_config none = {.pool = 1};
    cs_processor p;

    (void)state;
    assert_fails(cs_processor_init(&module, &big, &p), CS_ERR_ARG,
                 "pictures of 128 pixels a side, the model takes 64");
    assert_fails(cs_processor_init(&module, &pixels, &p), CS_ERR_UNSUPPORTED,
                 "unsupported: ");
    module.n_channels = 1;
    assert_fails(cs_processor_init(&module, &none, &p), CS_ERR_UNSUPPORTED,
                 "1 colour channels, wanted 3");
}

static void rates_that_whisper_does_not_know_are_refused(void **state)
{
    const cs_module module = audio_module();
    const cs_encoder_config config = {.processor = {.sampling_rate = 8000}};
    cs_processor p;

    (void)state;
    assert_fails(cs_processor_init(&module, &config, &p), CS_ERR_UNSUPPORTED,
                 "sampling_rate 8000, wanted 16000");
}

static void the_source_folder_is_read(void **state)
{
    cst_tmpdir dir;
    cs_module module = vision_module();
    const cs_encoder_config config = {.pool = 1};
    cs_processor p;

    (void)state;
    cst_tmpdir_make(&dir);
    module.source = dir.path;
    (void)cst_write_text(&dir, "preprocessor_config.json",
                         "{\"image_mean\": [0.1, 0.2, 0.3], \"image_std\": "
                         "[1, 2, 3], \"size\": {\"height\": 64, \"width\": "
                         "64}, \"resample\": 3}");
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_near(p.mean[2], 0.3, 0.0);
    assert_near(p.std[1], 2.0, 0.0);
    (void)cst_write_text(&dir, "preprocessor_config.json",
                         "{\"do_normalize\": false}");
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_near(p.mean[0], 0.0, 0.0);
    assert_near(p.std[0], 1.0, 0.0);
    cst_tmpdir_remove(&dir);
}

static void settings_that_are_not_offered_are_refused(void **state)
{
    static const struct {
        const char *json;
        cs_status status;
        const char *part;
    } CASES[] = {
        {"{\"resample\": 4}", CS_ERR_UNSUPPORTED, "resample 4, wanted 0"},
        {"{\"do_pad\": true}", CS_ERR_UNSUPPORTED, "do_pad"},
        {"{\"size_divisor\": 32}", CS_ERR_UNSUPPORTED, "'size_divisor'"},
        {"{\"image_processor_type\": \"ConvNextImageProcessor\"}",
         CS_ERR_UNSUPPORTED, "image_processor_type 'ConvNextImageProcessor'"},
        {"{\"image_processor_type\": \"PixtralImageProcessor\"}",
         CS_ERR_UNSUPPORTED, "because siglip takes pictures of one size"},
        {"{\"size\": {\"longest_edge\": 64}}", CS_ERR_UNSUPPORTED,
         "longest_edge"},
        {"{\"size\": {\"max_height\": 64}}", CS_ERR_UNSUPPORTED, "max_height"},
        {"{\"size\": {\"shortest_edge\": 9000}, \"do_center_crop\": true, "
         "\"crop_size\": 64}",
         CS_ERR_UNSUPPORTED, "9000 pixels a side, wanted 1 to 8192"},
        {"{\"do_resize\": false}", CS_ERR_UNSUPPORTED, "do_resize"},
        {"{\"size\": {\"shortest_edge\": 64}}", CS_ERR_UNSUPPORTED,
         "shortest_edge"},
        {"{\"size\": {\"height\": 64, \"width\": 32}}", CS_ERR_UNSUPPORTED,
         "32 x 64, wanted squares"},
        {"{\"size\": 32}", CS_ERR_ARG, "32 pixels a side, the model takes 64"},
        {"{\"image_mean\": [1, 2]}", CS_ERR_FORMAT, "2 numbers, wanted 3"},
        {"{\"image_std\": [1, 0, 1]}", CS_ERR_FORMAT, "numbers above 0"},
        {"[]", CS_ERR_FORMAT, "wanted an object"},
    };
    cst_tmpdir dir;
    cs_module module = vision_module();
    const cs_encoder_config config = {.pool = 1};
    cs_processor p;

    (void)state;
    cst_tmpdir_make(&dir);
    module.source = dir.path;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        (void)cst_write_text(&dir, "preprocessor_config.json", CASES[i].json);
        assert_fails(cs_processor_init(&module, &config, &p), CASES[i].status,
                     CASES[i].part);
    }
    cst_tmpdir_remove(&dir);
}

static void tiles_that_are_not_offered_are_refused(void **state)
{
    static const char NEXT[] = "LlavaNextImageProcessor";
    const struct {
        const char *type, *json;
        cs_status status;
        const char *part;
    } CASES[] = {
        {NEXT, "", CS_ERR_FORMAT, "key 'image_grid_pinpoints' is missing"},
        {NEXT, ", \"image_grid_pinpoints\": []", CS_ERR_UNSUPPORTED,
         "has 0 sizes, wanted 1 to 64"},
        {NEXT, ", \"image_grid_pinpoints\": [[64]]", CS_ERR_FORMAT,
         "wanted pairs of height and width"},
        {NEXT, ", \"image_grid_pinpoints\": [[64, 96]]", CS_ERR_UNSUPPORTED,
         "96 pixels, wanted multiples of the tiles' 64"},
        {NEXT, ", \"image_grid_pinpoints\": [[16384, 16384]]",
         CS_ERR_UNSUPPORTED, "pictures of more than"},
        {NEXT, ", \"size\": {\"shortest_edge\": 96}", CS_ERR_UNSUPPORTED,
         "size 96 with crop_size 64, wanted the same for tiles"},
        {"CLIPImageProcessor", "", CS_ERR_UNSUPPORTED,
         "because the model takes pictures in tiles"},
    };
    cst_tmpdir dir;
    cs_module module = vision_module();
    const cs_encoder_config config = {.pool = 1};
    cs_processor p;
    char text[256];

    (void)state;
    cst_tmpdir_make(&dir);
    module.source = dir.path;
    module.is_tiled = true;
    module.pool = 1;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        (void)snprintf(text, sizeof text,
                       "{\"image_processor_type\": "
                       "\"%s\", \"crop_size\": 64%s}",
                       CASES[i].type, CASES[i].json);
        (void)cst_write_text(&dir, "preprocessor_config.json", text);
        assert_fails(cs_processor_init(&module, &config, &p), CASES[i].status,
                     CASES[i].part);
    }
    (void)cst_write_text(&dir, "preprocessor_config.json",
                         "{\"image_processor_type\": "
                         "\"LlavaNextImageProcessor\", "
                         "\"image_grid_pinpoints\": [[64, 128]]}");
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_int_equal(p.tiling[0].columns, 2);
    module.stack = 4;
    assert_fails(cs_processor_init(&module, &config, &p), CS_ERR_UNSUPPORTED,
                 "with pictures in tiles");
    module.is_tiled = false;
    assert_fails(cs_processor_init(&module, &config, &p), CS_ERR_UNSUPPORTED,
                 "because the model takes pictures whole");
    cst_tmpdir_remove(&dir);
}

static void audio_settings_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        const char *json;
        cs_status status;
        const char *part;
    } CASES[] = {
        {"{\"feature_size\": 128}", CS_ERR_FORMAT,
         "feature_size is 128, the model takes 80"},
        {"{\"n_fft\": 401}", CS_ERR_UNSUPPORTED, "n_fft 401"},
        {"{\"n_fft\": 640}", CS_ERR_UNSUPPORTED, "n_fft 640"},
        {"{\"dither\": 0.1}", CS_ERR_UNSUPPORTED, "dither"},
        {"{\"do_normalize\": true}", CS_ERR_UNSUPPORTED, "do_normalize"},
        {"{\"sampling_rate\": 8000}", CS_ERR_UNSUPPORTED, "8000"},
        {"{\"chunk_length\": 0}", CS_ERR_FORMAT,
         "'chunk_length' is 0, wanted above 0 to 3600"},
        {"{\"padding_side\": \"left\"}", CS_ERR_UNSUPPORTED, "padding_side"},
        {"{\"padding\": true}", CS_ERR_UNSUPPORTED,
         "'padding' is true, wanted false"},
        {"{\"feature_extractor_type\": \"Wav2Vec2FeatureExtractor\"}",
         CS_ERR_UNSUPPORTED, "Wav2Vec2FeatureExtractor"},
        {"{\"fmax\": 8000}", CS_ERR_UNSUPPORTED, "key 'fmax'"},
    };
    cst_tmpdir dir;
    cs_module module = audio_module();
    const cs_encoder_config config = {.pool = 1};
    cs_processor p;

    (void)state;
    cst_tmpdir_make(&dir);
    module.source = dir.path;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        (void)cst_write_text(&dir, "preprocessor_config.json", CASES[i].json);
        assert_fails(cs_processor_init(&module, &config, &p), CASES[i].status,
                     CASES[i].part);
    }
    cst_tmpdir_remove(&dir);
}

static void check_round_trip(cs_module module, const cs_processor *printed)
{
    const cs_encoder_config config = {.pool = 1};
    cst_tmpdir dir;
    char *text = NULL;
    cs_processor p;

    cst_tmpdir_make(&dir);
    assert_ok(cs_processor_print(printed, &text));
    (void)cst_write_text(&dir, "preprocessor_config.json", text);
    csi_free(text);
    module.source = dir.path;
    assert_ok(cs_processor_init(&module, &config, &p));
    assert_int_equal(p.image_size, printed->image_size);
    assert_int_equal(p.n_mels, printed->n_mels);
    assert_int_equal(p.n_fft, printed->n_fft);
    assert_int_equal(p.hop, printed->hop);
    assert_memory_equal(p.mean, printed->mean, sizeof p.mean);
    assert_memory_equal(p.std, printed->std, sizeof p.std);
    cst_tmpdir_remove(&dir);
}

static void what_is_printed_reads_back(void **state)
{
    const cs_encoder_config config = {.pool = 1};
    cs_module vision = vision_module();
    cs_module audio = audio_module();
    cs_processor p;

    (void)state;
    assert_ok(cs_processor_init(&vision, &config, &p));
    p.mean[1] = 0.48145466;
    p.std[2] = 1.0 / 3.0;
    check_round_trip(vision, &p);
    assert_ok(cs_processor_init(&audio, &config, &p));
    check_round_trip(audio, &p);
}

static cs_status init_and_print(void *arg)
{
    const cs_module *const module = arg;
    const cs_encoder_config config = {.pool = 1};
    cs_processor p;
    char *text = NULL;

    CS_TRY(cs_processor_init(module, &config, &p));
    CS_TRY(cs_processor_print(&p, &text));
    csi_free(text);
    return CS_OK;
}

static void failing_allocations_are_reported_and_leak_nothing(void **state)
{
    cst_tmpdir dir;
    cs_module module = vision_module();

    (void)state;
    cst_tmpdir_make(&dir);
    module.source = dir.path;
    (void)cst_write_text(&dir, "preprocessor_config.json",
                         "{\"image_mean\": [0.1, 0.2, 0.3]}");
    assert_true(cst_torture(init_and_print, &module) >= 3);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_vision_encoder_from_scratch_has_siglips_numbers),
        CST_TEST(an_audio_encoder_has_whispers_numbers),
        CST_TEST(the_recipe_narrows_but_does_not_exceed_the_positions),
        CST_TEST(what_is_padded_is_also_cut_unless_the_recipe_says_no),
        CST_TEST(a_file_that_is_part_of_another_is_read),
        CST_TEST(the_recipes_image_size_keeps_the_share_of_the_crop),
        CST_TEST(keys_of_the_other_modality_are_refused),
        CST_TEST(sizes_that_the_model_does_not_take_are_refused),
        CST_TEST(rates_that_whisper_does_not_know_are_refused),
        CST_TEST(the_source_folder_is_read),
        CST_TEST(settings_that_are_not_offered_are_refused),
        CST_TEST(tiles_that_are_not_offered_are_refused),
        CST_TEST(audio_settings_that_do_not_fit_are_refused),
        CST_TEST(what_is_printed_reads_back),
        CST_TEST(failing_allocations_are_reported_and_leak_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
