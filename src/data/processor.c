/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of a processor: what the model's shape demands, then what the
 * source folder's preprocessor_config.json says, then what the recipe says. A
 * setting that would change the numbers and that is not offered here is
 * refused, so that a pretrained encoder never sees other inputs than it knows.
 */
#include "cornstarch/data.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    MAX_CONFIG_BYTES = 64 * 1024,
    BICUBIC = 3, /* Pillow's number for it */
    WHISPER_RATE = 16000,
    MAX_FFT = 1 << 16
};

static const double RESCALE = 1.0 / 255.0;
static const double MAX_SECONDS = 30.0;

/* `wanted` is what this program does; a file that says otherwise is refused. */
static cs_status want_flag(const json_t *json, const char *key,
                           const char *where, bool wanted)
{
    bool value = wanted;

    CS_TRY(csi_json_opt_bool(json, key, where, &value));
    CS_CHECK(value == wanted, CS_ERR_UNSUPPORTED,
             "unsupported: %s: key '%s' is %s, wanted %s", where, key,
             value ? "true" : "false", wanted ? "true" : "false");
    return CS_OK;
}

static cs_status want_number(const json_t *json, const char *key,
                             const char *where, double wanted)
{
    double value = wanted;

    CS_TRY(csi_json_opt_f64(json, key, where, &value));
    CS_CHECK(fabs(value - wanted) <= 1e-9, CS_ERR_UNSUPPORTED,
             "unsupported: %s: key '%s' is %g, wanted %g", where, key, value,
             wanted);
    return CS_OK;
}

static cs_status read_triple(const json_t *json, const char *key,
                             const char *where, double out[3])
{
    json_t *array = NULL;

    if (json_object_get(json, key) == NULL) {
        return CS_OK;
    }
    CS_TRY(csi_json_array(json, key, where, &array));
    CS_CHECK(json_array_size(array) == 3, CS_ERR_FORMAT,
             "%s: key '%s' has %zu numbers, wanted 3", where, key,
             json_array_size(array));
    for (size_t i = 0; i < 3; i++) {
        const json_t *const number = json_array_get(array, i);

        CS_CHECK(json_is_number(number) && isfinite(json_number_value(number)),
                 CS_ERR_FORMAT, "%s: key '%s': wanted finite numbers", where,
                 key);
        out[i] = json_number_value(number);
    }
    return CS_OK;
}

/* "size" as {"height": n, "width": n} or n. */
static cs_status read_image_size(const json_t *json, const char *where,
                                 int32_t *image_size)
{
    const json_t *const size = json_object_get(json, "size");
    int64_t height = *image_size;
    int64_t width = *image_size;

    if (size == NULL) {
        return CS_OK;
    }
    if (json_is_object(size)) {
        CS_CHECK(json_object_get(size, "shortest_edge") == NULL,
                 CS_ERR_UNSUPPORTED,
                 "unsupported: %s: size by 'shortest_edge', wanted 'height' "
                 "and 'width'",
                 where);
        CS_TRY(csi_json_i64(size, "height", where, 1, 1 << 15, &height));
        CS_TRY(csi_json_i64(size, "width", where, 1, 1 << 15, &width));
    } else {
        CS_TRY(csi_json_i64(json, "size", where, 1, 1 << 15, &height));
        width = height;
    }
    CS_CHECK(height == width, CS_ERR_UNSUPPORTED,
             "unsupported: %s: pictures of %" PRId64 " x %" PRId64
             ", wanted squares",
             where, width, height);
    *image_size = (int32_t)height;
    return CS_OK;
}

static cs_status read_vision(const json_t *json, const char *where,
                             cs_processor *p)
{
    bool is_normalised = true;

    CS_TRY(want_flag(json, "do_resize", where, true));
    CS_TRY(want_flag(json, "do_rescale", where, true));
    CS_TRY(want_flag(json, "do_center_crop", where, false));
    CS_TRY(want_flag(json, "do_pad", where, false));
    CS_TRY(want_number(json, "resample", where, BICUBIC));
    CS_TRY(want_number(json, "rescale_factor", where, RESCALE));
    CS_TRY(read_image_size(json, where, &p->image_size));
    CS_TRY(csi_json_opt_bool(json, "do_normalize", where, &is_normalised));
    for (int32_t c = 0; c < 3 && !is_normalised; c++) {
        p->mean[c] = 0.0;
        p->std[c] = 1.0;
    }
    if (is_normalised) {
        CS_TRY(read_triple(json, "image_mean", where, p->mean));
        CS_TRY(read_triple(json, "image_std", where, p->std));
    }
    for (int32_t c = 0; c < 3; c++) {
        CS_CHECK(p->std[c] > 0.0, CS_ERR_FORMAT,
                 "%s: image_std has %g, wanted numbers above 0", where,
                 p->std[c]);
    }
    return CS_OK;
}

static cs_status read_audio(const json_t *json, const char *where,
                            cs_processor *p)
{
    int64_t n_mels = p->n_mels, n_fft = p->n_fft, hop = p->hop;
    int64_t rate = p->sampling_rate;

    CS_TRY(want_flag(json, "do_normalize", where, false));
    CS_TRY(want_number(json, "dither", where, 0.0));
    CS_TRY(want_number(json, "padding_value", where, 0.0));
    CS_TRY(csi_json_opt_i64(json, "feature_size", where, 1, 1024, &n_mels));
    CS_TRY(csi_json_opt_i64(json, "n_fft", where, 2, MAX_FFT, &n_fft));
    CS_TRY(csi_json_opt_i64(json, "hop_length", where, 1, MAX_FFT, &hop));
    CS_TRY(csi_json_opt_i64(json, "sampling_rate", where, 1, 1 << 20, &rate));
    CS_CHECK(n_mels == p->n_mels, CS_ERR_FORMAT,
             "%s: feature_size is %" PRId64 ", the model takes %" PRId32
             " mel bands",
             where, n_mels, p->n_mels);
    CS_CHECK(n_fft % 2 == 0 && 4 * hop > n_fft, CS_ERR_UNSUPPORTED,
             "unsupported: %s: n_fft %" PRId64 " with hop_length %" PRId64
             ", wanted an even n_fft below four hops",
             where, n_fft, hop);
    p->n_fft = (int32_t)n_fft;
    p->hop = (int32_t)hop;
    p->sampling_rate = (int32_t)rate;
    return CS_OK;
}

/* A folder without the file is fine: the defaults hold. */
static cs_status read_folder(const char *folder, cs_processor *p)
{
    char *path = NULL;
    json_t *json = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_path_join(folder, "preprocessor_config.json", &path));
    if (csi_file_exists(path)) {
        CS_TRY_GOTO(undo, csi_json_load(path, MAX_CONFIG_BYTES, &json));
        CS_CHECK_GOTO(undo, json_is_object(json), CS_ERR_FORMAT,
                      "%s: wanted an object", path);
        if (p->modality == CS_MODALITY_VISION) {
            CS_TRY_GOTO(undo, read_vision(json, path, p));
        } else {
            CS_TRY_GOTO(undo, read_audio(json, path, p));
        }
    }
undo:
    json_decref(json);
    csi_free(path);
    return st;
}

static cs_status finish_vision(const cs_module *module,
                               const cs_processor_config *recipe,
                               cs_processor *p)
{
    CS_CHECK(recipe->sampling_rate == 0 && recipe->max_seconds == 0.0,
             CS_ERR_ARG,
             "model.encoders.%s.processor: sampling_rate and max_seconds are "
             "for sound, this encoder takes pictures",
             module->name);
    CS_CHECK(recipe->min_pixels == 0 && recipe->max_pixels == 0,
             CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s.processor: min_pixels and "
             "max_pixels; %s takes pictures of one size",
             module->name, module->family);
    if (recipe->image_size != 0) {
        p->image_size = (int32_t)recipe->image_size;
    }
    CS_CHECK(p->image_size == module->image_size, CS_ERR_ARG,
             "model.encoders.%s: the processor makes pictures of %" PRId32
             " pixels a side, the model takes %" PRId32,
             module->name, p->image_size, module->image_size);
    CS_CHECK(module->n_channels == 3, CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s: %" PRId32
             " colour channels, wanted 3",
             module->name, module->n_channels);
    CS_CHECK(p->patch_size >= 1 && p->patch_size <= p->image_size, CS_ERR_SHAPE,
             "model.encoders.%s: patch_size %" PRId32
             ", wanted 1 to the image_size %" PRId32,
             module->name, p->patch_size, p->image_size);
    p->columns = (int64_t)3 * p->patch_size * p->patch_size;
    return CS_OK;
}

static cs_status finish_audio(const cs_module *module,
                              const cs_processor_config *recipe,
                              cs_processor *p)
{
    CS_CHECK(recipe->image_size == 0 && recipe->min_pixels == 0 &&
                 recipe->max_pixels == 0,
             CS_ERR_ARG,
             "model.encoders.%s.processor: image_size, min_pixels and "
             "max_pixels are for pictures, this encoder takes sound",
             module->name);
    if (recipe->sampling_rate != 0) {
        p->sampling_rate = (int32_t)recipe->sampling_rate;
    }
    CS_CHECK(p->sampling_rate == WHISPER_RATE, CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s: sampling_rate %" PRId32
             ", wanted %d",
             module->name, p->sampling_rate, WHISPER_RATE);
    CS_CHECK(p->n_mels >= 1, CS_ERR_SHAPE,
             "model.encoders.%s: %" PRId32 " mel bands, wanted at least 1",
             module->name, p->n_mels);
    const double fits =
        module->max_positions > 0
            ? (double)module->max_positions * 2.0 * p->hop / p->sampling_rate
            : INFINITY;
    CS_CHECK(recipe->max_seconds <= fits, CS_ERR_ARG,
             "model.encoders.%s.processor: max_seconds is %g, the model has "
             "positions for %g",
             module->name, recipe->max_seconds, fits);
    p->max_seconds = recipe->max_seconds > 0.0 ? recipe->max_seconds
                                               : fmin(MAX_SECONDS, fits);
    p->columns = p->n_mels;
    return CS_OK;
}

cs_status cs_processor_init(const cs_module *module,
                            const cs_encoder_config *config, cs_processor *out)
{
    cs_processor p = {.modality = module->modality,
                      .pool = module->pool > 0 ? module->pool : 1};

    CS_CHECK(module->modality == CS_MODALITY_VISION ||
                 module->modality == CS_MODALITY_AUDIO,
             CS_ERR_ARG, "%s: a processor is for pictures or sound",
             module->name);
    if (module->modality == CS_MODALITY_VISION) {
        p.image_size = module->image_size;
        p.patch_size = module->patch_size;
        for (int32_t c = 0; c < 3; c++) {
            p.mean[c] = 0.5;
            p.std[c] = 0.5;
        }
    } else {
        p.n_mels = module->n_mels;
        p.n_fft = 400;
        p.hop = 160;
        p.sampling_rate = WHISPER_RATE;
    }
    if (module->source != NULL) {
        CS_TRY(read_folder(module->source, &p));
    }
    if (module->modality == CS_MODALITY_VISION) {
        CS_TRY(finish_vision(module, &config->processor, &p));
    } else {
        CS_TRY(finish_audio(module, &config->processor, &p));
    }
    *out = p;
    return CS_OK;
}

static void print_vision(const cs_processor *p, csi_str *s)
{
    csi_str_addf(s,
                 "{\n  \"image_processor_type\": \"SiglipImageProcessor\",\n"
                 "  \"do_convert_rgb\": true,\n  \"do_resize\": true,\n"
                 "  \"size\": {\n    \"height\": %" PRId32
                 ",\n    \"width\": %" PRId32 "\n  },\n"
                 "  \"resample\": %d,\n  \"do_rescale\": true,\n"
                 "  \"rescale_factor\": %.17g,\n  \"do_normalize\": true,\n",
                 p->image_size, p->image_size, BICUBIC, RESCALE);
    csi_str_addf(s, "  \"image_mean\": [%.17g, %.17g, %.17g],\n", p->mean[0],
                 p->mean[1], p->mean[2]);
    csi_str_addf(s, "  \"image_std\": [%.17g, %.17g, %.17g]\n}\n", p->std[0],
                 p->std[1], p->std[2]);
}

static void print_audio(const cs_processor *p, csi_str *s)
{
    csi_str_addf(s,
                 "{\n  \"feature_extractor_type\": "
                 "\"WhisperFeatureExtractor\",\n"
                 "  \"feature_size\": %" PRId32
                 ",\n  \"sampling_rate\": %" PRId32 ",\n",
                 p->n_mels, p->sampling_rate);
    csi_str_addf(s,
                 "  \"hop_length\": %" PRId32 ",\n  \"n_fft\": %" PRId32
                 ",\n  \"chunk_length\": %.0f,\n",
                 p->hop, p->n_fft, ceil(p->max_seconds));
    csi_str_add(s, "  \"padding_side\": \"right\",\n"
                   "  \"padding_value\": 0.0,\n  \"dither\": 0.0,\n"
                   "  \"return_attention_mask\": false\n}\n");
}

cs_status cs_processor_print(const cs_processor *processor, char **out)
{
    csi_str s = {0};

    if (processor->modality == CS_MODALITY_VISION) {
        print_vision(processor, &s);
    } else {
        print_audio(processor, &s);
    }
    const cs_status st = csi_str_check(&s);
    if (st != CS_OK) {
        csi_str_fini(&s);
        CS_TRY(st);
    }
    *out = s.data;
    return CS_OK;
}
