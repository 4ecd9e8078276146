/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_IMAGE_H
#define CS_DATA_IMAGE_H
/*
 * Pictures of hostile origin to plain RGB. A decoder is two functions per
 * format: the size from the header, and the pixels. Sizes are bounded before
 * anything is allocated. Formats are told by their first bytes, never by the
 * name of the file. Stateless: any thread.
 */
#include "cornstarch/data.h"

#include <stddef.h>

enum {
    CSI_IMAGE_MAX_SIDE = 32768,
    CSI_IMAGE_MAX_PIXELS = 64 << 20
};

typedef struct csi_image_source {
    const uint8_t *bytes; /* borrowed */
    size_t n_bytes;
    const char *where; /* borrowed: what errors call it */
} csi_image_source;

typedef struct csi_image_size {
    int32_t width, height;
} csi_image_size;

/* One format. `rgb` has room for width * height * 3 bytes, as sized. */
typedef struct csi_image_format {
    const char *name;
    cs_status (*size)(const csi_image_source *source, csi_image_size *out);
    cs_status (*pixels)(const csi_image_source *source, csi_image_size size,
                        uint8_t *rgb);
} csi_image_format;

extern const csi_image_format csi_image_png;
extern const csi_image_format csi_image_jpeg;
extern const csi_image_format csi_image_webp;

/* Width and height from the header alone, within the bounds above. */
CS_NODISCARD cs_status csi_image_probe(const csi_image_source *source,
                                       csi_image_size *out);

/* One colour value `c` with opacity `alpha` on white, rounded to nearest. */
static inline uint8_t csi_image_on_white(uint8_t c, uint8_t alpha)
{
    const unsigned sum = (unsigned)c * alpha + 255U * (255U - alpha);

    return (uint8_t)((sum + 127U) / 255U);
}

/* One resize: all of `in` becomes `full`, of which the window at (left, top)
 * is computed and nothing else. What lies outside of `full` is black. */
typedef struct csi_image_resize_job {
    const uint8_t *in; /* packed RGB */
    csi_image_size in_size, full, window;
    int32_t left, top; /* of the window in `full`; may be negative */
    cs_resample resample;
} csi_image_resize_job;

/*
 * Pillow's resize, bit for bit: antialiased (the kernel is widened when
 * shrinking), horizontal then vertical pass, 8 bits between them, 22-bit
 * fixed-point weights; nearest takes one pixel. `out` is packed RGB of the
 * window's size.
 */
CS_NODISCARD cs_status csi_image_resize(const csi_image_resize_job *job,
                                        uint8_t *out);

/* What a processor makes of a picture of `size`: from the header alone. */
typedef struct csi_image_plan {
    csi_image_size full;   /* after resizing */
    csi_image_size window; /* what the encoder sees of it */
    int32_t left, top;     /* of the window in `full` */
    /* as in cs_index_run; in tiles, the window is all of them */
    int32_t grid_rows, grid_columns, tile_rows, tile_columns;
} csi_image_plan;

/* FORMAT when the shape cannot be processed (`where` is named). */
CS_NODISCARD cs_status csi_image_plan_make(const cs_processor *processor,
                                           csi_image_size size,
                                           const char *where,
                                           csi_image_plan *out);
/* LLaVA-NeXT's: the tiling that wastes least, what of it the picture fills. */
CS_NODISCARD cs_status csi_image_plan_tiles(const cs_processor *processor,
                                            csi_image_size size,
                                            const char *where,
                                            csi_image_plan *out);
/* Whole patches in a line of `n` pixels; a rest is left out, as a convolution
 * does. */
int32_t csi_image_patches(const cs_processor *processor, int32_t n);
/* Packed RGB, `width` pixels a line -> rows [grid patches][columns]. */
void csi_image_cut(const cs_processor *processor, const uint8_t *rgb,
                   int64_t width, int64_t grid_rows, int64_t grid_columns,
                   float *rows);
#endif
