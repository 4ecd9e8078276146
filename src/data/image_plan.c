/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes of pictures, as Hugging Face's processors compute them, roundings
 * included, and the cut into patches. The size of a picture alone decides, so
 * that an index made from headers can be trusted by whoever allocates from it.
 */
#include "base/checked.h"

#include "image.h"

#include <inttypes.h>
#include <math.h>

/* Qwen2-VL refuses pictures that are more than this times longer than wide. */
static const double MAX_ASPECT = 200.0;

static int32_t floor_half(int32_t n)
{
    return n >= 0 ? n / 2 : -((1 - n) / 2);
}

/* The shorter side becomes `edge`; the other one is cut to an integer. */
static csi_image_size fit_shortest(csi_image_size in, int32_t edge)
{
    const int32_t shorter = in.width <= in.height ? in.width : in.height;
    const int32_t longer = in.width <= in.height ? in.height : in.width;
    const int32_t other =
        (int32_t)((double)((int64_t)edge * longer) / (double)shorter);

    return in.width <= in.height ? (csi_image_size){edge, other}
                                 : (csi_image_size){other, edge};
}

static cs_status fit_longest(const cs_processor *p, csi_image_size in,
                             const char *where, csi_image_size *out)
{
    const double ratio = fmax((double)in.height / (double)p->edge,
                              (double)in.width / (double)p->edge);
    csi_image_size size = in;

    if (ratio > 1.0) {
        size.height = (int32_t)floor((double)in.height / ratio);
        size.width = (int32_t)floor((double)in.width / ratio);
    }
    CS_CHECK(size.height > 0 && size.width > 0, CS_ERR_FORMAT,
             "%s: a picture of %" PRId32 " x %" PRId32
             " pixels is too narrow to fit into %" PRId32 " a side",
             where, in.width, in.height, p->edge);
    out->height = (int32_t)csi_round_up(size.height, p->patch_size);
    out->width = (int32_t)csi_round_up(size.width, p->patch_size);
    return CS_OK;
}

static cs_status fit_area(const cs_processor *p, csi_image_size in,
                          const char *where, csi_image_size *out)
{
    const double unit = (double)p->patch_size * (double)p->merge;
    const double height = in.height;
    const double width = in.width;
    double rows = rint(height / unit) * unit;
    double columns = rint(width / unit) * unit;

    CS_CHECK(fmax(height, width) / fmin(height, width) <= MAX_ASPECT,
             CS_ERR_FORMAT,
             "%s: a picture of %" PRId32 " x %" PRId32
             " pixels, wanted sides within a factor of %g",
             where, in.width, in.height, MAX_ASPECT);
    if (rows * columns > (double)p->max_pixels) {
        const double shrink = sqrt(height * width / (double)p->max_pixels);

        rows = fmax(unit, floor(height / shrink / unit) * unit);
        columns = fmax(unit, floor(width / shrink / unit) * unit);
    } else if (rows * columns < (double)p->min_pixels) {
        const double grow = sqrt((double)p->min_pixels / (height * width));

        rows = ceil(height * grow / unit) * unit;
        columns = ceil(width * grow / unit) * unit;
    }
    CS_CHECK(rows >= unit && columns >= unit &&
                 rows <= (double)CSI_IMAGE_MAX_SIDE &&
                 columns <= (double)CSI_IMAGE_MAX_SIDE &&
                 rows * columns <= (double)CSI_IMAGE_MAX_PIXELS,
             CS_ERR_FORMAT,
             "%s: becomes a picture of %.0f x %.0f pixels, wanted at least one "
             "square of patches and at most %d pixels",
             where, columns, rows, CSI_IMAGE_MAX_PIXELS);
    *out = (csi_image_size){(int32_t)columns, (int32_t)rows};
    return CS_OK;
}

int32_t csi_image_patches(const cs_processor *p, int32_t n)
{
    return n / p->patch_size;
}

cs_status csi_image_plan_make(const cs_processor *p, csi_image_size size,
                              const char *where, csi_image_plan *out)
{
    csi_image_plan plan = {.full = {p->edge, p->edge}};

    if (p->resize == CS_RESIZE_TILES) {
        return csi_image_plan_tiles(p, size, where, out);
    }
    if (p->resize == CS_RESIZE_SHORTEST) {
        plan.full = fit_shortest(size, p->edge);
    } else if (p->resize == CS_RESIZE_LONGEST) {
        CS_TRY(fit_longest(p, size, where, &plan.full));
    } else if (p->resize == CS_RESIZE_AREA) {
        CS_TRY(fit_area(p, size, where, &plan.full));
    }
    plan.window = plan.full;
    if (p->resize == CS_RESIZE_EXACT || p->resize == CS_RESIZE_SHORTEST) {
        plan.window = (csi_image_size){p->image_size, p->image_size};
        plan.left = floor_half(plan.full.width - p->image_size);
        plan.top = floor_half(plan.full.height - p->image_size);
    }
    plan.grid_rows = csi_image_patches(p, plan.window.height);
    plan.grid_columns = csi_image_patches(p, plan.window.width);
    *out = plan;
    return CS_OK;
}

/* What each byte becomes, in the order of float operations of the published
 * processors. */
static void fill_values(const cs_processor *p, float value[3][256])
{
    for (int64_t c = 0; c < 3; c++) {
        for (int64_t v = 0; v < 256; v++) {
            const float scaled = (float)((double)v * p->rescale);

            value[c][v] = (scaled - (float)p->mean[c]) / (float)p->std[c];
        }
    }
}

void csi_image_cut(const cs_processor *p, const uint8_t *rgb, int64_t width,
                   int64_t grid_rows, int64_t grid_columns, float *rows)
{
    const int64_t side = p->patch_size;
    const int64_t merge = p->merge;
    const int64_t n = grid_rows * grid_columns;
    const int64_t per_line = grid_columns / merge;
    float value[3][256];

    fill_values(p, value);
    for (int64_t i = 0; i < n; i++) {
        const int64_t square = i / (merge * merge);
        const int64_t inside = i % (merge * merge);
        const int64_t top = (square / per_line * merge + inside / merge) * side;
        const int64_t left =
            (square % per_line * merge + inside % merge) * side;
        float *to = rows + i * p->columns;

        for (int64_t k = 0; k < p->columns; k++) {
            const int64_t c = k / (p->temporal_patch * side * side);
            const int64_t y = top + k / side % side;
            const int64_t x = left + k % side;

            to[k] = value[c][rgb[(y * width + x) * 3 + c]];
        }
    }
}
