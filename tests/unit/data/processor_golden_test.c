/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every processor against Hugging Face's class of the same name: the cases of
 * tests/golden/processor/cases.json, each a preprocessor_config.json, a model,
 * a file, and what the class made of it. Also: what is printed reads back, and
 * what a header promises is what a read gives.
 */
#include "cornstarch/data.h"

#include "base/alloc.h"
#include "base/json.h"

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

static const char *text_of(const json_t *json, const char *key)
{
    const char *const text = json_string_value(json_object_get(json, key));

    assert_non_null(text);
    return text;
}

static int64_t number_of(const json_t *json, const char *key, int64_t absent)
{
    const json_t *const number = json_object_get(json, key);

    return number != NULL ? (int64_t)json_integer_value(number) : absent;
}

static bool flag_of(const json_t *json, const char *key)
{
    return json_is_true(json_object_get(json, key));
}

static cs_module module_of(const json_t *c, cs_modality modality,
                           const char *source)
{
    const json_t *const m = json_object_get(c, "module");

    return (cs_module){
        .name = (char *)(uintptr_t) "encoder",
        .family = (char *)(uintptr_t)text_of(m, "family"),
        .modality = modality,
        .source = (char *)(uintptr_t)source,
        .max_positions = number_of(m, "max_positions", 0),
        .image_size = (int32_t)number_of(m, "image_size", 0),
        .patch_size = (int32_t)number_of(m, "patch_size", 0),
        .merge = (int32_t)number_of(m, "merge", 1),
        .temporal_patch = (int32_t)number_of(m, "temporal_patch", 1),
        .is_any_size = flag_of(m, "is_any_size"),
        .is_tiled = flag_of(m, "is_tiled"),
        .class_rows = (int32_t)number_of(m, "class_rows", 0),
        .feature_skip = (int32_t)number_of(m, "feature_skip", 0),
        .n_channels = 3,
        .n_mels = (int32_t)number_of(m, "n_mels", 0),
        .pads_audio = flag_of(m, "pads_audio"),
        .pool = (int32_t)number_of(m, "pool", 1),
        .stack = 1,
    };
}

/* The case's processor; with `prints`, after a way through its own text. */
static void open_case(const json_t *c, cs_modality modality, bool prints,
                      cs_processor *p)
{
    const cs_encoder_config config = {.pool = 1};
    cst_tmpdir dir;
    char *text = json_dumps(json_object_get(c, "config"), 0);

    assert_non_null(text);
    cst_tmpdir_make(&dir);
    (void)cst_write_text(&dir, "preprocessor_config.json", text);
    csi_free(text);
    const cs_module module = module_of(c, modality, dir.path);
    assert_ok(cs_processor_init(&module, &config, p));
    if (prints) {
        assert_ok(cs_processor_print(p, &text));
        (void)cst_write_text(&dir, "preprocessor_config.json", text);
        csi_free(text);
        assert_ok(cs_processor_init(&module, &config, p));
    }
    cst_tmpdir_remove(&dir);
}

static float *read_case(const json_t *c, const cs_processor *p,
                        cs_media_size *size)
{
    const char *const path = golden_path(text_of(c, "file"));

    assert_ok(cs_media_probe(p, path, size));
    float *rows = calloc((size_t)(size->input_rows * p->columns), sizeof *rows);
    assert_non_null(rows);
    assert_ok(cs_media_read(p, path, size->input_rows, rows));
    return rows;
}

/* Of a picture [height][width][3] in patches, those of one tile or of all. */
typedef struct picture {
    const uint8_t *rgb;
    int64_t width, height, grid_columns;
} picture;

/* The pixel for column k of row n. */
static uint8_t wanted_pixel(const cs_processor *p, const picture *wanted,
                            int64_t n, int64_t k)
{
    const int64_t side = p->patch_size;
    const int64_t m = p->merge;
    const int64_t squares = wanted->grid_columns / m;
    const int64_t square = n / (m * m);
    const int64_t row = square / squares * m + n % (m * m) / m;
    const int64_t column = square % squares * m + n % m;
    const int64_t c = k / (p->temporal_patch * side * side);
    const int64_t y = row * side + k / side % side;
    const int64_t x = column * side + k % side;

    return wanted->rgb[(y * wanted->width + x) * 3 + c];
}

/* Largest difference in units of a byte, before rescaling. */
static double compare_rows(const cs_processor *p, const picture *wanted,
                           const float *rows, int64_t n_rows)
{
    double worst = 0.0;

    for (int64_t n = 0; n < n_rows; n++) {
        for (int64_t k = 0; k < p->columns; k++) {
            const int64_t c = k / (p->temporal_patch * p->patch_size *
                                   (int64_t)p->patch_size);
            const double got =
                ((double)rows[n * p->columns + k] * p->std[c] + p->mean[c]) /
                p->rescale;

            worst = fmax(worst, fabs(got - wanted_pixel(p, wanted, n, k)));
        }
    }
    return worst;
}

static int64_t element(const json_t *c, const char *key, size_t i)
{
    const json_t *const list = json_object_get(c, key);

    return list != NULL ? (int64_t)json_integer_value(json_array_get(list, i))
                        : 0;
}

static double check_vision(const json_t *c, bool prints)
{
    const int64_t n_tiles = 1 + element(c, "tiles", 0) * element(c, "tiles", 1);
    const int64_t per_tile = element(c, "grid", 0) * element(c, "grid", 1);
    picture wanted = {.width = element(c, "size", 0),
                      .height = element(c, "size", 1),
                      .grid_columns = element(c, "grid", 1)};
    cs_processor p;
    cs_media_size size;
    size_t n_bytes = 0;
    double worst = 0.0;

    open_case(c, CS_MODALITY_VISION, prints, &p);
    float *rows = read_case(c, &p, &size);
    char *bytes = cst_read(golden_path(text_of(c, "wanted")), &n_bytes);

    assert_int_equal(size.tile_rows, element(c, "tiles", 0));
    assert_int_equal(size.tile_columns, element(c, "tiles", 1));
    assert_int_equal(size.input_rows, n_tiles * per_tile);
    assert_int_equal(n_bytes, n_tiles * 3 * wanted.width * wanted.height);
    if (n_tiles == 1) {
        assert_int_equal(size.grid_rows, element(c, "grid", 0));
        assert_int_equal(size.grid_columns, element(c, "grid", 1));
    } else {
        assert_int_equal(size.llm_rows, number_of(c, "features", -1));
        assert_int_equal(size.encoder_rows, n_tiles * (per_tile + 1));
    }
    for (int64_t t = 0; t < n_tiles; t++) {
        wanted.rgb =
            (const uint8_t *)bytes + t * 3 * wanted.width * wanted.height;
        worst = fmax(worst,
                     compare_rows(&p, &wanted, rows + t * per_tile * p.columns,
                                  per_tile));
    }
    free(rows);
    cst_free(bytes);
    return worst;
}

static void each_vision_case(bool prints)
{
    json_t *cases = NULL;
    const json_t *c = NULL;
    size_t i = 0;
    double worst = 0.0;

#if !CS_HAVE_PNG
    cst_skip("built without libpng");
#endif
    assert_ok(csi_json_load(golden_path("cases.json"), 1 << 20, &cases));
    const json_t *const list = json_object_get(cases, "vision");
    assert_true(json_array_size(list) >= 50);
    json_array_foreach(list, i, c)
    {
        const double differs = check_vision(c, prints);

        if (differs > 1.001) {
            print_message("%s, %s: %g\n", text_of(c, "name"),
                          text_of(c, "file"), differs);
        }
        worst = fmax(worst, differs);
    }
    print_message("largest difference of a pixel: %g / 255\n", worst);
    assert_true(worst <= 1.001);
    json_decref(cases);
}

/* printed.json holds the texts that transformers was seen to load, giving the
 * same numbers (tools/golden/processor_cases.py). */
static void what_is_printed_is_what_transformers_loads(void **state)
{
    static const struct {
        const char *kind;
        cs_modality modality;
    } KINDS[] = {{"vision", CS_MODALITY_VISION}, {"audio", CS_MODALITY_AUDIO}};
    json_t *cases = NULL;
    json_t *printed = NULL;

    (void)state;
    assert_ok(csi_json_load(golden_path("cases.json"), 1 << 20, &cases));
    assert_ok(csi_json_load(golden_path("printed.json"), 1 << 20, &printed));
    for (size_t k = 0; k < 2; k++) {
        const json_t *c = NULL;
        size_t i = 0;

        json_array_foreach(json_object_get(cases, KINDS[k].kind), i, c)
        {
            cs_processor p;
            char *text = NULL;

            open_case(c, KINDS[k].modality, false, &p);
            assert_ok(cs_processor_print(&p, &text));
            assert_string_equal(text, text_of(printed, text_of(c, "name")));
            csi_free(text);
        }
    }
    json_decref(cases);
    json_decref(printed);
}

static void
pictures_become_what_hugging_faces_classes_make_of_them(void **state)
{
    (void)state;
    each_vision_case(false);
}

static void a_printed_processor_of_pictures_is_the_same(void **state)
{
    (void)state;
    each_vision_case(true);
}

static double check_audio(const json_t *c, bool prints)
{
    cs_processor p;
    cs_media_size size;
    size_t n_bytes = 0;
    double worst = 0.0;
    const int64_t every = number_of(c, "every", 1);

    open_case(c, CS_MODALITY_AUDIO, prints, &p);
    float *rows = read_case(c, &p, &size);
    char *wanted = cst_read(golden_path(text_of(c, "wanted")), &n_bytes);

    assert_int_equal(size.input_rows, number_of(c, "frames", -1));
    assert_int_equal(size.encoder_rows, number_of(c, "rows", -1));
    assert_int_equal(size.llm_rows, number_of(c, "features", -1));
    assert_int_equal(n_bytes / sizeof(float),
                     (size.input_rows + every - 1) / every * p.columns);
    for (size_t i = 0; i < n_bytes / sizeof(float); i++) {
        const int64_t at =
            (int64_t)i / p.columns * every * p.columns + (int64_t)i % p.columns;
        float value = 0.0F;

        memcpy(&value, wanted + i * sizeof value, sizeof value);
        worst = fmax(worst, fabs((double)rows[at] - (double)value));
    }
    free(rows);
    cst_free(wanted);
    return worst;
}

static void each_audio_case(bool prints)
{
    json_t *cases = NULL;
    const json_t *c = NULL;
    size_t i = 0;
    double worst = 0.0;

#if !(CS_HAVE_SNDFILE && CS_HAVE_KISSFFT)
    cst_skip("built without sound libraries");
#endif
    assert_ok(csi_json_load(golden_path("cases.json"), 1 << 20, &cases));
    const json_t *const list = json_object_get(cases, "audio");
    assert_true(json_array_size(list) >= 5);
    json_array_foreach(list, i, c)
    {
        worst = fmax(worst, check_audio(c, prints));
    }
    print_message("largest difference of a log-mel value: %g\n", worst);
    assert_true(worst <= 1e-4);
    json_decref(cases);
}

static void sounds_become_what_hugging_faces_classes_make_of_them(void **state)
{
    (void)state;
    each_audio_case(false);
}

static void a_printed_processor_of_sound_is_the_same(void **state)
{
    (void)state;
    each_audio_case(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(what_is_printed_is_what_transformers_loads),
        CST_TEST(pictures_become_what_hugging_faces_classes_make_of_them),
        CST_TEST(a_printed_processor_of_pictures_is_the_same),
        CST_TEST(sounds_become_what_hugging_faces_classes_make_of_them),
        CST_TEST(a_printed_processor_of_sound_is_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
