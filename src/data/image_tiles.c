/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LLaVA-NeXT's pictures: of the given tilings the one in which the picture
 * keeps most of its pixels, the picture as large as fits into it, black around
 * it. Its features are cut back to the picture's shape before lines of them
 * are joined; how many are left follows from the sizes alone, roundings as in
 * the published processor.
 */
#include "base/checked.h"

#include "image.h"

#include <inttypes.h>
#include <math.h>

/* Pixels of the picture that are left in a canvas, at most its own. */
static int64_t count_useful(csi_image_size picture, csi_image_size canvas)
{
    const double scale = fmin((double)canvas.width / picture.width,
                              (double)canvas.height / picture.height);
    const int64_t width = (int64_t)(picture.width * scale);
    const int64_t height = (int64_t)(picture.height * scale);

    return csi_min_i64(width * height, (int64_t)picture.width * picture.height);
}

static csi_image_size canvas_of(const cs_processor *p, int32_t tiling)
{
    return (csi_image_size){p->tiling[tiling].columns * p->image_size,
                            p->tiling[tiling].rows * p->image_size};
}

/* Most useful pixels, then least waste, then the first. */
static int32_t choose_tiling(const cs_processor *p, csi_image_size picture)
{
    int64_t most_useful = -1;
    int64_t least_waste = 0;
    int32_t best = 0;

    for (int32_t i = 0; i < p->n_tilings; i++) {
        const csi_image_size canvas = canvas_of(p, i);
        const int64_t useful = count_useful(picture, canvas);
        const int64_t waste = (int64_t)canvas.width * canvas.height - useful;

        if (useful > most_useful ||
            (useful == most_useful && waste < least_waste)) {
            most_useful = useful;
            least_waste = waste;
            best = i;
        }
    }
    return best;
}

static csi_image_size fit_canvas(csi_image_size picture, csi_image_size canvas)
{
    const double across = (double)canvas.width / picture.width;
    const double down = (double)canvas.height / picture.height;
    csi_image_size fit = canvas;

    if (across < down) {
        fit.height =
            (int32_t)fmin(ceil(picture.height * across), canvas.height);
    } else {
        fit.width = (int32_t)fmin(ceil(picture.width * down), canvas.width);
    }
    return fit;
}

/* What is left of `n` lines when the picture fills `filled` of them: the same
 * is taken from both ends. The seven digits are the published ones. */
static int32_t cut_border(int32_t n, double filled)
{
    const int32_t whole = (int32_t)(rint(filled * 1e7) / 1e7);

    return n - (n - whole) / 2 * 2;
}

cs_status csi_image_plan_tiles(const cs_processor *p, csi_image_size size,
                               const char *where, csi_image_plan *out)
{
    const int32_t best = choose_tiling(p, size);
    const csi_image_size canvas = canvas_of(p, best);
    const csi_image_size full = fit_canvas(size, canvas);
    const int32_t side = csi_image_patches(p, p->image_size);
    csi_image_plan plan = {.full = full,
                           .window = canvas,
                           .left = -((canvas.width - full.width) / 2),
                           .top = -((canvas.height - full.height) / 2),
                           .grid_rows = p->tiling[best].rows * side,
                           .grid_columns = p->tiling[best].columns * side,
                           .tile_rows = p->tiling[best].rows,
                           .tile_columns = p->tiling[best].columns};
    const double high = plan.grid_rows;
    const double wide = plan.grid_columns;

    CS_CHECK(full.width > 0 && full.height > 0, CS_ERR_FORMAT,
             "%s: a picture of %" PRId32 " x %" PRId32
             " pixels does not fit into tiles",
             where, size.width, size.height);
    if ((double)size.width / size.height > wide / high) {
        plan.grid_rows =
            cut_border(plan.grid_rows, size.height * (wide / size.width));
    } else {
        plan.grid_columns =
            cut_border(plan.grid_columns, size.width * (high / size.height));
    }
    *out = plan;
    return CS_OK;
}
