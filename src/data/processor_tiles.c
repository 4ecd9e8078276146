/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What LLaVA-NeXT's processor adds to one of a fixed size: the sizes that a
 * picture may be brought to, each a whole number of tiles.
 */
#include "image.h"
#include "processor.h"

#include <inttypes.h>

static const char KEY[] = "image_grid_pinpoints";

/* Tiles in one side of a canvas. */
static cs_status read_side(const csi_settings *s, const json_t *pair, size_t i,
                           const cs_processor *p, int32_t *out)
{
    const json_t *const number = json_array_get(pair, i);
    const int64_t pixels = json_integer_value(number);

    CS_CHECK(json_is_integer(number) && pixels > 0 &&
                 pixels <= CSI_IMAGE_MAX_SIDE && pixels % p->image_size == 0,
             CS_ERR_UNSUPPORTED,
             "unsupported: %s: key '%s': %" PRId64
             " pixels, wanted multiples of the tiles' %" PRId32,
             s->where, KEY, pixels, p->image_size);
    *out = (int32_t)(pixels / p->image_size);
    return CS_OK;
}

static cs_status read_pair(const csi_settings *s, const json_t *pair,
                           cs_processor *p)
{
    const int32_t n = p->n_tilings;

    CS_CHECK(json_is_array(pair) && json_array_size(pair) == 2, CS_ERR_FORMAT,
             "%s: key '%s': wanted pairs of height and width", s->where, KEY);
    CS_TRY(read_side(s, pair, 0, p, &p->tiling[n].rows));
    CS_TRY(read_side(s, pair, 1, p, &p->tiling[n].columns));
    CS_CHECK((int64_t)p->tiling[n].rows * p->tiling[n].columns * p->image_size *
                     p->image_size <=
                 CSI_IMAGE_MAX_PIXELS,
             CS_ERR_UNSUPPORTED,
             "unsupported: %s: key '%s': pictures of more than %d pixels",
             s->where, KEY, CSI_IMAGE_MAX_PIXELS);
    p->n_tilings++;
    return CS_OK;
}

cs_status csi_tiles_read(const csi_settings *s, bool is_tiled, cs_processor *p)
{
    const json_t *const value = json_object_get(s->json, KEY);
    json_t *pairs = NULL;

    p->n_tilings = 0;
    if (!is_tiled) {
        CS_CHECK(value == NULL || json_is_null(value), CS_ERR_UNSUPPORTED,
                 "unsupported: %s: key '%s' of %s", s->where, KEY, p->type);
        return CS_OK;
    }
    CS_CHECK(p->edge == p->image_size, CS_ERR_UNSUPPORTED,
             "unsupported: %s: size %" PRId32 " with crop_size %" PRId32
             ", wanted the same for tiles",
             s->where, p->edge, p->image_size);
    p->resize = CS_RESIZE_TILES;
    CS_TRY(csi_json_array(s->json, KEY, s->where, &pairs));
    CS_CHECK(json_array_size(pairs) >= 1 &&
                 json_array_size(pairs) <= CS_MAX_TILINGS,
             CS_ERR_UNSUPPORTED,
             "unsupported: %s: key '%s' has %zu sizes, wanted 1 to %d",
             s->where, KEY, json_array_size(pairs), CS_MAX_TILINGS);
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        CS_TRY(read_pair(s, json_array_get(pairs, i), p));
    }
    return CS_OK;
}

cs_status csi_tiles_check(const cs_module *module, const cs_processor *p)
{
    CS_CHECK(p->n_tilings > 0, CS_ERR_FORMAT,
             "model.encoders.%s: pictures in tiles, and no "
             "preprocessor_config.json that says which",
             module->name);
    CS_CHECK(p->pool == 1 && p->stack == 1 && p->feature_skip == p->class_rows,
             CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s: pool, stack or feature_select: "
             "full with pictures in tiles",
             module->name);
    return CS_OK;
}

void csi_tiles_print(const cs_processor *p, csi_str *s)
{
    csi_str_addf(s, "  \"do_pad\": true,\n  \"%s\": [", KEY);
    for (int32_t i = 0; i < p->n_tilings; i++) {
        csi_str_addf(s, "%s[%" PRId32 ", %" PRId32 "]", i > 0 ? ", " : "",
                     p->tiling[i].rows * p->image_size,
                     p->tiling[i].columns * p->image_size);
    }
    csi_str_add(s, "],\n");
}
