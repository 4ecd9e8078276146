/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second half of a processor of pictures: the recipe's words, the checks
 * against the model, and the preprocessor_config.json of an export.
 */
#include "image.h"
#include "processor.h"

#include <inttypes.h>
#include <math.h>

enum {
    MAX_EDGE = 8192 /* of fixed sizes; also keeps edge * side in 32 bits */
};

/* Pictures of one size: the recipe's image_size keeps the share that the
 * middle has of the whole. */
static cs_status end_fixed(const cs_module *module,
                           const cs_processor_config *recipe, cs_processor *p)
{
    CS_CHECK(recipe->min_pixels == 0 && recipe->max_pixels == 0,
             CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s.processor: min_pixels and "
             "max_pixels; %s takes pictures of one size",
             module->name, module->family);
    CS_CHECK(p->edge >= 1 && p->edge <= MAX_EDGE && p->image_size >= 1 &&
                 p->image_size <= MAX_EDGE && recipe->image_size <= MAX_EDGE,
             CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s: pictures of %" PRId32
             " pixels a side, wanted 1 to %d",
             module->name, p->edge, MAX_EDGE);
    if (recipe->image_size != 0 && p->resize != CS_RESIZE_TILES) {
        p->edge = (int32_t)lround((double)p->edge * (double)recipe->image_size /
                                  p->image_size);
        p->image_size = (int32_t)recipe->image_size;
    }
    CS_CHECK(p->image_size == module->image_size, CS_ERR_ARG,
             "model.encoders.%s: the processor makes pictures of %" PRId32
             " pixels a side, the model takes %" PRId32
             " (processor.image_size: %" PRId32 " changes that)",
             module->name, p->image_size, module->image_size,
             module->image_size);
    CS_CHECK(p->patch_size >= 1 && p->patch_size <= p->image_size, CS_ERR_SHAPE,
             "model.encoders.%s: patch_size %" PRId32
             ", wanted 1 to the image_size %" PRId32,
             module->name, p->patch_size, p->image_size);
    CS_CHECK(p->edge >= 1 && p->edge <= MAX_EDGE && p->merge == 1,
             CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s: pictures of %" PRId32
             " pixels a side in squares of %" PRId32 " patches",
             module->name, p->edge, p->merge);
    return CS_OK;
}

static cs_status end_longest(const cs_module *module,
                             const cs_processor_config *recipe, cs_processor *p)
{
    CS_CHECK(recipe->min_pixels == 0 && recipe->max_pixels == 0,
             CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s.processor: min_pixels and "
             "max_pixels; %s has image_size, the longest side",
             module->name, module->family);
    if (recipe->image_size != 0) {
        p->edge = (int32_t)recipe->image_size;
    }
    CS_CHECK(p->edge >= 1 && p->edge <= module->image_size &&
                 p->edge <= MAX_EDGE,
             CS_ERR_ARG,
             "model.encoders.%s: the processor makes pictures of up to %" PRId32
             " pixels a side, the model takes %" PRId32,
             module->name, p->edge, module->image_size);
    return CS_OK;
}

static cs_status end_area(const cs_module *module,
                          const cs_processor_config *recipe, cs_processor *p)
{
    CS_CHECK(recipe->image_size == 0, CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s.processor: image_size; %s has "
             "min_pixels and max_pixels",
             module->name, module->family);
    p->min_pixels = recipe->min_pixels > 0 ? recipe->min_pixels : p->min_pixels;
    p->max_pixels = recipe->max_pixels > 0 ? recipe->max_pixels : p->max_pixels;
    CS_CHECK(p->min_pixels >= 1 && p->min_pixels <= p->max_pixels &&
                 p->max_pixels <= CSI_IMAGE_MAX_PIXELS,
             CS_ERR_ARG,
             "model.encoders.%s: %" PRId64 " to %" PRId64
             " pixels, wanted a range within 1 to %d",
             module->name, p->min_pixels, p->max_pixels, CSI_IMAGE_MAX_PIXELS);
    return CS_OK;
}

cs_status csi_vision_end(const cs_module *module,
                         const cs_processor_config *recipe, cs_processor *p)
{
    CS_CHECK(recipe->sampling_rate == 0 && recipe->max_seconds == 0.0,
             CS_ERR_ARG,
             "model.encoders.%s.processor: sampling_rate and max_seconds are "
             "for sound, this encoder takes pictures",
             module->name);
    CS_CHECK(module->n_channels == 3, CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s: %" PRId32
             " colour channels, wanted 3",
             module->name, module->n_channels);
    CS_CHECK(p->patch_size >= 1 && p->patch_size <= MAX_EDGE &&
                 p->merge <= MAX_EDGE && p->temporal_patch <= MAX_EDGE,
             CS_ERR_SHAPE, "model.encoders.%s: patch_size %" PRId32,
             module->name, p->patch_size);
    if (p->resize == CS_RESIZE_AREA) {
        CS_TRY(end_area(module, recipe, p));
    } else if (p->resize == CS_RESIZE_LONGEST) {
        CS_TRY(end_longest(module, recipe, p));
    } else {
        CS_TRY(end_fixed(module, recipe, p));
    }
    if (p->resize == CS_RESIZE_TILES || module->is_tiled) {
        CS_TRY(csi_tiles_check(module, p));
    }
    p->columns = (int64_t)3 * p->temporal_patch * p->patch_size * p->patch_size;
    return CS_OK;
}

static void print_size(const cs_processor *p, csi_str *s)
{
    const bool is_exact = p->resize == CS_RESIZE_EXACT;

    if (p->resize == CS_RESIZE_AREA) {
        csi_str_addf(s,
                     "  \"size\": {\n    \"shortest_edge\": %" PRId64
                     ",\n    \"longest_edge\": %" PRId64 "\n  },\n"
                     "  \"min_pixels\": %" PRId64
                     ",\n  \"max_pixels\": %" PRId64
                     ",\n  \"patch_size\": %" PRId32
                     ",\n  \"merge_size\": %" PRId32
                     ",\n  \"temporal_patch_size\": %" PRId32 ",\n",
                     p->min_pixels, p->max_pixels, p->min_pixels, p->max_pixels,
                     p->patch_size, p->merge, p->temporal_patch);
    } else if (p->resize == CS_RESIZE_LONGEST) {
        csi_str_addf(s,
                     "  \"size\": {\n    \"longest_edge\": %" PRId32
                     "\n  },\n  \"patch_size\": {\n    \"height\": %" PRId32
                     ",\n    \"width\": %" PRId32 "\n  },\n",
                     p->edge, p->patch_size, p->patch_size);
    } else {
        csi_str_addf(s, "  \"size\": {\n    \"%s\": %" PRId32,
                     is_exact ? "height" : "shortest_edge", p->edge);
        if (is_exact) {
            csi_str_addf(s, ",\n    \"width\": %" PRId32, p->edge);
        }
        csi_str_add(s, "\n  },\n");
    }
}

static void print_crop(const cs_processor *p, csi_str *s)
{
    const bool crops = p->resize != CS_RESIZE_EXACT || p->edge != p->image_size;

    csi_str_addf(s, "  \"do_center_crop\": %s,\n", crops ? "true" : "false");
    if (crops) {
        csi_str_addf(s,
                     "  \"crop_size\": {\n    \"height\": %" PRId32
                     ",\n    \"width\": %" PRId32 "\n  },\n",
                     p->image_size, p->image_size);
    }
}

static void print_triple(csi_str *s, const char *key, const double v[3],
                         const char *end)
{
    csi_str_addf(s, "  \"%s\": [%.17g, %.17g, %.17g]%s\n", key, v[0], v[1],
                 v[2], end);
}

void csi_vision_print(const cs_processor *p, csi_str *s)
{
    csi_str_addf(s,
                 "{\n  \"image_processor_type\": \"%s\",\n"
                 "  \"do_convert_rgb\": true,\n  \"do_resize\": true,\n",
                 p->type);
    print_size(p, s);
    if (!csi_is_any_size(p->resize)) {
        print_crop(p, s);
    }
    if (p->resize == CS_RESIZE_TILES) {
        csi_tiles_print(p, s);
    }
    csi_str_addf(s,
                 "  \"resample\": %d,\n  \"do_rescale\": true,\n"
                 "  \"rescale_factor\": %.17g,\n  \"do_normalize\": true,\n",
                 (int)p->resample, p->rescale);
    print_triple(s, "image_mean", p->mean, ",");
    print_triple(s, "image_std", p->std, "");
    csi_str_add(s, "}\n");
}
