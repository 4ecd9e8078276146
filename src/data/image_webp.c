/* SPDX-License-Identifier: Apache-2.0 */
/* WebP, lossy and lossless; transparent pixels on white; no animations. */
#include "image.h"

#if CS_HAVE_WEBP

#    include "base/alloc.h"

#    include <inttypes.h>
#    include <webp/decode.h>

static cs_status read_features(const csi_image_source *source,
                               WebPBitstreamFeatures *out)
{
    const VP8StatusCode code =
        WebPGetFeatures(source->bytes, source->n_bytes, out);

    CS_CHECK(code == VP8_STATUS_OK, CS_ERR_FORMAT,
             "%s: broken WebP header (code %d of libwebp)", source->where,
             (int)code);
    CS_CHECK(out->has_animation == 0, CS_ERR_UNSUPPORTED,
             "unsupported: %s is an animation, wanted one picture",
             source->where);
    return CS_OK;
}

static cs_status read_size(const csi_image_source *source, csi_image_size *out)
{
    WebPBitstreamFeatures features;

    CS_TRY(read_features(source, &features));
    out->width = features.width;
    out->height = features.height;
    return CS_OK;
}

static cs_status read_with_alpha(const csi_image_source *source,
                                 csi_image_size size, uint8_t *rgb)
{
    const size_t n_pixels = (size_t)size.width * (size_t)size.height;
    uint8_t *rgba = csi_malloc(n_pixels * 4);

    CS_CHECK(rgba != NULL, CS_ERR_NOMEM,
             "%s: no memory for %zu pixels with alpha", source->where,
             n_pixels);
    const bool is_read =
        WebPDecodeRGBAInto(source->bytes, source->n_bytes, rgba, n_pixels * 4,
                           size.width * 4) != NULL;
    for (size_t i = 0; is_read && i < n_pixels; i++) {
        for (size_t c = 0; c < 3; c++) {
            rgb[i * 3 + c] =
                csi_image_on_white(rgba[i * 4 + c], rgba[i * 4 + 3]);
        }
    }
    csi_free(rgba);
    CS_CHECK(is_read, CS_ERR_FORMAT, "%s: broken or truncated WebP picture",
             source->where);
    return CS_OK;
}

static cs_status read_pixels(const csi_image_source *source,
                             csi_image_size size, uint8_t *rgb)
{
    const size_t n_rgb = (size_t)size.width * (size_t)size.height * 3;
    WebPBitstreamFeatures features;

    CS_TRY(read_features(source, &features));
    if (features.has_alpha != 0) {
        CS_TRY(read_with_alpha(source, size, rgb));
        return CS_OK;
    }
    CS_CHECK(WebPDecodeRGBInto(source->bytes, source->n_bytes, rgb, n_rgb,
                               size.width * 3) != NULL,
             CS_ERR_FORMAT, "%s: broken or truncated WebP picture",
             source->where);
    return CS_OK;
}

#else

static cs_status read_size(const csi_image_source *source, csi_image_size *out)
{
    (void)out;
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "unsupported: %s is a WebP picture, and this program was "
                   "built without libwebp",
                   source->where);
}

static cs_status read_pixels(const csi_image_source *source,
                             csi_image_size size, uint8_t *rgb)
{
    (void)size;
    (void)rgb;
    csi_image_size ignored;

    return read_size(source, &ignored);
}

#endif

const csi_image_format csi_image_webp = {.name = "WebP",
                                         .size = read_size,
                                         .pixels = read_pixels};
