/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processors of pictures. Hugging Face has a class per family, but they differ
 * in four things only: how sizes follow (cs_resize), the filter, mean and
 * deviation, and what a size that is one number means. Hence one table.
 */
#include "processor.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    MAX_PATCH = 8192,
    MAX_PIXELS = 64 << 20
};

static const double CLIP_MEAN[3] = {0.48145466, 0.4578275, 0.40821073};
static const double CLIP_STD[3] = {0.26862954, 0.26130258, 0.27577711};
static const double HALF[3] = {0.5, 0.5, 0.5};

typedef struct image_type {
    const char *name;     /* image_processor_type */
    const char *old_name; /* feature_extractor_type of early files, or NULL */
    const char *families[4];
    cs_resize resize;
    cs_resample resample;
    const double *mean, *std;
    bool crops;
    bool number_is_square; /* "size": 224 */
} image_type;

/* The first fixed-size one is for families that are not named. */
static const image_type TYPES[] = {
    {"SiglipImageProcessor",
     NULL,
     {"siglip"},
     CS_RESIZE_EXACT,
     CS_RESAMPLE_BICUBIC,
     HALF,
     HALF,
     false,
     true},
    {"CLIPImageProcessor",
     "CLIPFeatureExtractor",
     {"clip", "evaclip", "intern_vit"},
     CS_RESIZE_SHORTEST,
     CS_RESAMPLE_BICUBIC,
     CLIP_MEAN,
     CLIP_STD,
     true,
     false},
    {"BitImageProcessor",
     NULL,
     {"dinov2"},
     CS_RESIZE_SHORTEST,
     CS_RESAMPLE_BICUBIC,
     CLIP_MEAN,
     CLIP_STD,
     true,
     false},
    {"ViTImageProcessor",
     "ViTFeatureExtractor",
     {"vit"},
     CS_RESIZE_EXACT,
     CS_RESAMPLE_BILINEAR,
     HALF,
     HALF,
     false,
     true},
    {"PixtralImageProcessor",
     NULL,
     {"pixtral"},
     CS_RESIZE_LONGEST,
     CS_RESAMPLE_BICUBIC,
     CLIP_MEAN,
     CLIP_STD,
     false,
     false},
    {"Qwen2VLImageProcessor",
     NULL,
     {"qwen2_vl"},
     CS_RESIZE_AREA,
     CS_RESAMPLE_BICUBIC,
     CLIP_MEAN,
     CLIP_STD,
     false,
     false},
    {"LlavaNextImageProcessor",
     NULL,
     {NULL},
     CS_RESIZE_TILES,
     CS_RESAMPLE_BICUBIC,
     CLIP_MEAN,
     CLIP_STD,
     true,
     false},
};

enum {
    N_TYPES = sizeof TYPES / sizeof TYPES[0]
};

static const char *const KEYS[] =
    {"do_resize", "size", "default_to_square", "resample", "do_center_crop",
     "crop_size", "do_rescale", "rescale_factor", "do_normalize", "image_mean",
     "image_std", "do_pad", "patch_size", "merge_size", "temporal_patch_size",
     "min_pixels", "max_pixels", "image_grid_pinpoints", "image_processor_type",
     "feature_extractor_type",
     /* no numbers: pictures are RGB here whatever they were */
     "do_convert_rgb", "processor_class", "data_format", "input_data_format",
     "return_tensors", "device", "disable_grouping", NULL};

static const image_type *find_family(const char *family)
{
    for (int i = 0; i < N_TYPES; i++) {
        for (int f = 0; f < 4 && TYPES[i].families[f] != NULL; f++) {
            if (strcmp(TYPES[i].families[f], family) == 0) {
                return &TYPES[i];
            }
        }
    }
    return &TYPES[0];
}

/* Names end in "Fast" (transformers 4) or "Pil" (5) for other implementations
 * of the same numbers. */
static const image_type *find_name(const char *name)
{
    static const char *const ENDINGS[] = {"", "Fast", "Pil"};

    for (int i = 0; i < N_TYPES; i++) {
        const char *const names[] = {TYPES[i].name, TYPES[i].old_name};

        for (int k = 0; k < 6; k++) {
            const char *const known = names[k % 2];
            const size_t n = known != NULL ? strlen(known) : 0;

            if (n > 0 && strncmp(known, name, n) == 0 &&
                strcmp(name + n, ENDINGS[k / 2]) == 0) {
                return &TYPES[i];
            }
        }
    }
    return NULL;
}

static void use_type(const image_type *type, const cs_module *module,
                     cs_processor *p)
{
    p->type = type->name;
    p->resize = type->resize;
    p->resample = type->resample;
    p->edge = p->image_size = module->image_size;
    for (int c = 0; c < 3; c++) {
        p->mean[c] = type->mean[c];
        p->std[c] = type->std[c];
    }
}

void csi_vision_begin(const cs_module *module, cs_processor *p)
{
    use_type(find_family(module->family), module, p);
    p->patch_size = module->patch_size;
    p->merge = module->merge > 0 ? module->merge : 1;
    p->temporal_patch = module->temporal_patch > 0 ? module->temporal_patch : 1;
    p->rescale = 1.0 / 255.0;
    /* Qwen2-VL's: 4 to 1280 squares of 28 pixels */
    p->min_pixels = (int64_t)56 * 56;
    p->max_pixels = (int64_t)28 * 28 * 1280;
}

static cs_status read_triple(const csi_settings *s, const char *key,
                             double out[3])
{
    const json_t *const value = json_object_get(s->json, key);
    json_t *array = NULL;

    if (value == NULL || json_is_null(value)) {
        return CS_OK;
    }
    CS_TRY(csi_json_array(s->json, key, s->where, &array));
    CS_CHECK(json_array_size(array) == 3, CS_ERR_FORMAT,
             "%s: key '%s' has %zu numbers, wanted 3", s->where, key,
             json_array_size(array));
    for (size_t i = 0; i < 3; i++) {
        const json_t *const number = json_array_get(array, i);

        CS_CHECK(json_is_number(number) && isfinite(json_number_value(number)),
                 CS_ERR_FORMAT, "%s: key '%s': wanted finite numbers", s->where,
                 key);
        out[i] = json_number_value(number);
    }
    return CS_OK;
}

static cs_status read_colors(const csi_settings *s, cs_processor *p)
{
    bool rescales = true;
    bool normalises = true;

    CS_TRY(csi_json_opt_bool(s->json, "do_rescale", s->where, &rescales));
    CS_TRY(csi_json_opt_bool(s->json, "do_normalize", s->where, &normalises));
    CS_TRY(csi_json_opt_f64(s->json, "rescale_factor", s->where, &p->rescale));
    CS_CHECK(isfinite(p->rescale), CS_ERR_FORMAT,
             "%s: key 'rescale_factor': wanted a finite number", s->where);
    CS_TRY(read_triple(s, "image_mean", p->mean));
    CS_TRY(read_triple(s, "image_std", p->std));
    p->rescale = rescales ? p->rescale : 1.0;
    for (int c = 0; c < 3; c++) {
        p->mean[c] = normalises ? p->mean[c] : 0.0;
        p->std[c] = normalises ? p->std[c] : 1.0;
        CS_CHECK(p->std[c] > 0.0, CS_ERR_FORMAT,
                 "%s: image_std has %g, wanted numbers above 0", s->where,
                 p->std[c]);
    }
    return CS_OK;
}

/* A size in one of its spellings; 0 = not given. */
typedef struct size_value {
    int64_t number, height, width, shortest, longest;
} size_value;

static cs_status read_size(const csi_settings *s, const char *key,
                           size_value *out)
{
    static const char *const NAMES[] = {"height", "width", "shortest_edge",
                                        "longest_edge", NULL};
    const json_t *const size = json_object_get(s->json, key);
    int64_t *const values[] = {&out->height, &out->width, &out->shortest,
                               &out->longest};

    *out = (size_value){0};
    if (!json_is_object(size)) {
        return csi_json_opt_i64(s->json, key, s->where, 1, MAX_PIXELS,
                                &out->number);
    }
    const csi_settings inner = {size, s->where};

    CS_TRY(csi_settings_check_keys(&inner, NAMES));
    for (int i = 0; NAMES[i] != NULL; i++) {
        CS_TRY(csi_json_opt_i64(size, NAMES[i], s->where, 1, MAX_PIXELS,
                                values[i]));
    }
    return CS_OK;
}

/* One side of a square; 0 = not given. */
static cs_status read_square(const csi_settings *s, const char *key,
                             int64_t *out)
{
    size_value size;

    CS_TRY(read_size(s, key, &size));
    CS_CHECK(size.height == size.width, CS_ERR_UNSUPPORTED,
             "unsupported: %s: %s of %" PRId64 " x %" PRId64
             " pixels, wanted squares",
             s->where, key, size.width, size.height);
    *out = size.number > 0 ? size.number : size.height;
    return CS_OK;
}

static cs_status read_fixed(const csi_settings *s, const image_type *type,
                            cs_processor *p)
{
    bool is_square = type->number_is_square;
    bool crops = type->crops;
    size_value size;
    int64_t crop = 0;

    CS_TRY(csi_json_opt_bool(s->json, "default_to_square", s->where,
                             &is_square));
    CS_TRY(csi_json_opt_bool(s->json, "do_center_crop", s->where, &crops));
    if (type->resize != CS_RESIZE_TILES) {
        CS_TRY(csi_settings_want_flag(s, "do_pad", false));
    }
    CS_TRY(read_size(s, "size", &size));
    CS_CHECK(size.longest == 0, CS_ERR_UNSUPPORTED,
             "unsupported: %s: size by 'longest_edge', wanted 'height' and "
             "'width' or 'shortest_edge'",
             s->where);
    if (size.number > 0) {
        p->resize = is_square ? CS_RESIZE_EXACT : CS_RESIZE_SHORTEST;
        p->edge = (int32_t)size.number;
    } else if (size.shortest > 0) {
        p->resize = CS_RESIZE_SHORTEST;
        p->edge = (int32_t)size.shortest;
    } else if (size.height > 0 || size.width > 0) {
        CS_CHECK(size.height == size.width, CS_ERR_UNSUPPORTED,
                 "unsupported: %s: pictures of %" PRId64 " x %" PRId64
                 ", wanted squares",
                 s->where, size.width, size.height);
        p->resize = CS_RESIZE_EXACT;
        p->edge = (int32_t)size.height;
    }
    CS_CHECK(crops || p->resize == CS_RESIZE_EXACT, CS_ERR_UNSUPPORTED,
             "unsupported: %s: size by 'shortest_edge' without do_center_crop "
             "makes pictures of any shape, the model takes squares",
             s->where);
    CS_TRY(read_square(s, "crop_size", &crop));
    p->image_size = crops && crop > 0 ? (int32_t)crop : p->edge;
    return CS_OK;
}

static cs_status want_same(const csi_settings *s, const char *key,
                           int64_t value, int64_t model)
{
    CS_CHECK(value == 0 || value == model, CS_ERR_FORMAT,
             "%s: key '%s' is %" PRId64 ", the model takes %" PRId64, s->where,
             key, value, model);
    return CS_OK;
}

static cs_status read_patches(const csi_settings *s, cs_processor *p)
{
    int64_t patch = 0, merge = 0, temporal = 0;

    CS_TRY(csi_settings_want_flag(s, "do_center_crop", false));
    CS_TRY(read_square(s, "patch_size", &patch));
    CS_TRY(want_same(s, "patch_size", patch, p->patch_size));
    CS_TRY(csi_json_opt_i64(s->json, "merge_size", s->where, 1, MAX_PATCH,
                            &merge));
    CS_TRY(want_same(s, "merge_size", merge, p->merge));
    CS_TRY(csi_json_opt_i64(s->json, "temporal_patch_size", s->where, 1,
                            MAX_PATCH, &temporal));
    return want_same(s, "temporal_patch_size", temporal, p->temporal_patch);
}

static cs_status read_any_size(const csi_settings *s, cs_processor *p)
{
    size_value size;

    CS_TRY(read_patches(s, p));
    CS_TRY(read_size(s, "size", &size));
    if (p->resize == CS_RESIZE_AREA) {
        CS_CHECK(size.number == 0 && size.height == 0 && size.width == 0,
                 CS_ERR_UNSUPPORTED,
                 "unsupported: %s: size wants 'shortest_edge' and "
                 "'longest_edge', in pixels of a picture",
                 s->where);
        p->min_pixels = size.shortest > 0 ? size.shortest : p->min_pixels;
        p->max_pixels = size.longest > 0 ? size.longest : p->max_pixels;
        CS_TRY(csi_json_opt_i64(s->json, "min_pixels", s->where, 1, MAX_PIXELS,
                                &p->min_pixels));
        return csi_json_opt_i64(s->json, "max_pixels", s->where, 1, MAX_PIXELS,
                                &p->max_pixels);
    }
    CS_CHECK(size.shortest == 0 && size.height == size.width,
             CS_ERR_UNSUPPORTED,
             "unsupported: %s: size wants 'longest_edge' alone", s->where);
    const int64_t edge = size.longest > 0  ? size.longest
                         : size.height > 0 ? size.height
                                           : size.number;

    p->edge = edge > 0 ? (int32_t)edge : p->edge;
    return CS_OK;
}

cs_status csi_vision_read(const csi_settings *s, const cs_module *module,
                          cs_processor *p)
{
    const image_type *type = find_family(module->family);
    const char *name = NULL;
    int64_t resample = 0;

    CS_TRY(csi_json_opt_string(s->json, "feature_extractor_type", s->where,
                               &name));
    CS_TRY(csi_json_opt_string(s->json, "image_processor_type", s->where,
                               &name));
    type = name != NULL ? find_name(name) : type;
    CS_CHECK(type != NULL, CS_ERR_UNSUPPORTED,
             "unsupported: %s: image_processor_type '%.60s'", s->where, name);
    CS_CHECK(csi_is_any_size(type->resize) == module->is_any_size,
             CS_ERR_UNSUPPORTED,
             "unsupported: %s: %s, because %s takes pictures of %s", s->where,
             type->name, module->family,
             module->is_any_size ? "any size" : "one size");
    CS_CHECK((type->resize == CS_RESIZE_TILES) == module->is_tiled,
             CS_ERR_UNSUPPORTED,
             "unsupported: %s: %s, because the model takes pictures %s",
             s->where, type->name, module->is_tiled ? "in tiles" : "whole");
    CS_TRY(csi_settings_check_keys(s, KEYS));
    use_type(type, module, p);
    CS_TRY(csi_settings_want_flag(s, "do_resize", true));
    resample = (int64_t)p->resample;
    CS_TRY(csi_json_opt_i64(s->json, "resample", s->where, 0, 5, &resample));
    CS_CHECK(resample <= CS_RESAMPLE_BICUBIC, CS_ERR_UNSUPPORTED,
             "unsupported: %s: resample %" PRId64
             ", wanted 0 (nearest), 1 (Lanczos), 2 (bilinear) or 3 (bicubic)",
             s->where, resample);
    p->resample = (cs_resample)resample;
    CS_TRY(read_colors(s, p));
    if (csi_is_any_size(type->resize)) {
        return read_any_size(s, p);
    }
    CS_TRY(read_fixed(s, type, p));
    return csi_tiles_read(s, type->resize == CS_RESIZE_TILES, p);
}
