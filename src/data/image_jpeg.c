/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JPEG through TurboJPEG, with the accurate inverse transform and smooth
 * chroma upsampling, which is what Pillow's decoder uses. Gray becomes RGB.
 * CMYK is refused: whether its inks are inverted is a guess. A file that ends
 * early is refused, where the library would invent gray pixels.
 */
#include "image.h"

#if CS_HAVE_JPEG

#    include <inttypes.h>
#    include <string.h>
#    include <turbojpeg.h>

static cs_status read_header(tjhandle handle, const csi_image_source *source,
                             csi_image_size *out)
{
    int width = 0, height = 0, subsampling = 0, color = 0;

    CS_CHECK(source->n_bytes <= INT32_MAX, CS_ERR_FORMAT,
             "%s: JPEG file of %zu bytes, wanted at most 2 GiB", source->where,
             source->n_bytes);
    const int rc = tjDecompressHeader3(handle, source->bytes,
                                       (unsigned long)source->n_bytes, &width,
                                       &height, &subsampling, &color);
    CS_CHECK(rc == 0, CS_ERR_FORMAT, "%s: broken JPEG header: %s",
             source->where, tjGetErrorStr2(handle));
    CS_CHECK(color != TJCS_CMYK && color != TJCS_YCCK, CS_ERR_UNSUPPORTED,
             "unsupported: %s is a CMYK picture, wanted RGB or gray",
             source->where);
    out->width = width;
    out->height = height;
    return CS_OK;
}

static cs_status read_size(const csi_image_source *source, csi_image_size *out)
{
    tjhandle handle = tjInitDecompress();

    CS_CHECK(handle != NULL, CS_ERR_NOMEM, "%s: no memory for a JPEG decoder",
             source->where);
    const cs_status st = read_header(handle, source, out);
    (void)tjDestroy(handle);
    CS_TRY(st);
    return CS_OK;
}

/* Warnings are about details (extra bytes between markers), except the one
 * that says that pixels are missing. */
static bool is_fatal(tjhandle handle)
{
    return tjGetErrorCode(handle) != TJERR_WARNING ||
           strstr(tjGetErrorStr2(handle), "remature end") != NULL;
}

static cs_status read_pixels(const csi_image_source *source,
                             csi_image_size size, uint8_t *rgb)
{
    tjhandle handle = tjInitDecompress();

    CS_CHECK(handle != NULL, CS_ERR_NOMEM, "%s: no memory for a JPEG decoder",
             source->where);
    cs_status st = CS_OK;
    const int rc =
        tjDecompress2(handle, source->bytes, (unsigned long)source->n_bytes,
                      rgb, size.width, size.width * 3, size.height, TJPF_RGB,
                      TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS);
    if (rc != 0 && is_fatal(handle)) {
        st = CS_FAIL(CS_ERR_FORMAT, "%s: broken JPEG picture: %s",
                     source->where, tjGetErrorStr2(handle));
    }
    (void)tjDestroy(handle);
    return st;
}

#else

static cs_status read_size(const csi_image_source *source, csi_image_size *out)
{
    (void)out;
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "unsupported: %s is a JPEG picture, and this program was "
                   "built without libturbojpeg",
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

const csi_image_format csi_image_jpeg = {.name = "JPEG",
                                         .size = read_size,
                                         .pixels = read_pixels};
