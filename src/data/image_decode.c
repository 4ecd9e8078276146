/* SPDX-License-Identifier: Apache-2.0 */
/* Which decoder a file needs, and the bounds that hold for all of them. */
#include "cornstarch/data.h"

#include "base/alloc.h"

#include "image.h"

#include <inttypes.h>
#include <string.h>

static const csi_image_format *find_format(const csi_image_source *source)
{
    static const uint8_t PNG[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const uint8_t JPEG[] = {0xff, 0xd8, 0xff};
    const uint8_t *const p = source->bytes;

    if (source->n_bytes >= sizeof PNG && memcmp(p, PNG, sizeof PNG) == 0) {
        return &csi_image_png;
    }
    if (source->n_bytes >= sizeof JPEG && memcmp(p, JPEG, sizeof JPEG) == 0) {
        return &csi_image_jpeg;
    }
    if (source->n_bytes >= 12 && memcmp(p, "RIFF", 4) == 0 &&
        memcmp(p + 8, "WEBP", 4) == 0) {
        return &csi_image_webp;
    }
    return NULL;
}

static cs_status read_size(const csi_image_source *source,
                           const csi_image_format **format, csi_image_size *out)
{
    csi_image_size size = {0, 0};

    *format = find_format(source);
    CS_CHECK(*format != NULL, CS_ERR_FORMAT,
             "%s: wanted a PNG, JPEG or WebP picture, got %zu bytes that start "
             "as none of them",
             source->where, source->n_bytes);
    CS_TRY((*format)->size(source, &size));
    CS_CHECK(size.width > 0 && size.height > 0, CS_ERR_FORMAT,
             "%s: %s picture of %" PRId32 " x %" PRId32 " pixels, wanted at "
             "least 1 x 1",
             source->where, (*format)->name, size.width, size.height);
    CS_CHECK(size.width <= CSI_IMAGE_MAX_SIDE &&
                 size.height <= CSI_IMAGE_MAX_SIDE &&
                 (int64_t)size.width * size.height <= CSI_IMAGE_MAX_PIXELS,
             CS_ERR_FORMAT,
             "%s: %s picture of %" PRId32 " x %" PRId32 " pixels, wanted at "
             "most %d a side and %d in all",
             source->where, (*format)->name, size.width, size.height,
             CSI_IMAGE_MAX_SIDE, CSI_IMAGE_MAX_PIXELS);
    *out = size;
    return CS_OK;
}

cs_status csi_image_probe(const csi_image_source *source, csi_image_size *out)
{
    const csi_image_format *format = NULL;

    CS_TRY(read_size(source, &format, out));
    return CS_OK;
}

cs_status cs_image_decode(const void *bytes, size_t n_bytes, const char *where,
                          uint8_t **rgb, int32_t *width, int32_t *height)
{
    const csi_image_source source = {bytes, n_bytes, where};
    const csi_image_format *format = NULL;
    csi_image_size size = {0, 0};

    CS_TRY(read_size(&source, &format, &size));
    const size_t n_rgb = (size_t)size.width * (size_t)size.height * 3;
    uint8_t *pixels = csi_malloc(n_rgb);
    CS_CHECK(pixels != NULL, CS_ERR_NOMEM,
             "%s: no memory for %zu bytes of pixels", where, n_rgb);
    const cs_status st = format->pixels(&source, size, pixels);
    if (st != CS_OK) {
        csi_free(pixels);
        CS_TRY(st);
    }
    *rgb = pixels;
    *width = size.width;
    *height = size.height;
    return CS_OK;
}
