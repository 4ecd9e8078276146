/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pillow's two-pass resampler, written anew from its definition, because the
 * published processors of every vision encoder mean exactly these numbers:
 * other resamplers differ at the edges (they clamp, this one renormalises)
 * and in rounding. Golden pictures made by Pillow hold it in place.
 */
#include "base/alloc.h"
#include "base/checked.h"

#include "image.h"

#include <math.h>

enum {
    WEIGHT_BITS = 32 - 8 - 2
};

/* The weights that make one output position: `count` inputs from `first`. */
typedef struct filter_span {
    int32_t first, count;
} filter_span;

typedef struct filter {
    filter_span *spans; /* owned: [n_out] */
    int32_t *weights;   /* owned: [n_out][width] */
    int32_t width;
} filter;

static double bicubic(double x)
{
    const double a = -0.5;

    x = fabs(x);
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    }
    if (x < 2.0) {
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    }
    return 0.0;
}

static int32_t to_fixed(double weight)
{
    const double scaled = weight * (1 << WEIGHT_BITS);

    return (int32_t)(scaled < 0.0 ? scaled - 0.5 : scaled + 0.5);
}

static uint8_t from_fixed(int32_t sum)
{
    const int32_t value = sum >> WEIGHT_BITS;

    return (uint8_t)(value < 0 ? 0 : (value > 255 ? 255 : value));
}

static void filter_fini(filter *f)
{
    csi_free(f->spans);
    csi_free(f->weights);
    *f = (filter){0};
}

/* `scratch` holds one row of weights in double. */
static void fill_weights(filter *f, double *scratch, int32_t n_in,
                         int32_t n_out)
{
    const double scale = (double)n_in / n_out;
    const double stretch = fmax(scale, 1.0);
    const double support = 2.0 * stretch;

    for (int32_t i = 0; i < n_out; i++) {
        const double center = (i + 0.5) * scale;
        const double low = center - support + 0.5;
        const int32_t first = low > 0.0 ? (int32_t)low : 0;
        const int32_t last =
            (int32_t)fmin((double)n_in, center + support + 0.5);
        double sum = 0.0;

        for (int32_t j = first; j < last; j++) {
            scratch[j - first] = bicubic((j - center + 0.5) * (1.0 / stretch));
            sum += scratch[j - first];
        }
        for (int32_t j = 0; j < last - first; j++) {
            const double weight = sum != 0.0 ? scratch[j] / sum : scratch[j];

            f->weights[(int64_t)i * f->width + j] = to_fixed(weight);
        }
        f->spans[i] = (filter_span){first, last - first};
    }
}

static cs_status filter_init(filter *f, int32_t n_in, int32_t n_out)
{
    const double stretch = fmax((double)n_in / n_out, 1.0);
    const int32_t width = (int32_t)ceil(2.0 * stretch) * 2 + 1;
    double *scratch = csi_calloc((size_t)width, sizeof *scratch);

    *f = (filter){.spans = csi_calloc((size_t)n_out, sizeof *f->spans),
                  .weights = csi_calloc((size_t)n_out * (size_t)width,
                                        sizeof(int32_t)),
                  .width = width};
    if (scratch == NULL || f->spans == NULL || f->weights == NULL) {
        csi_free(scratch);
        filter_fini(f);
        return CS_FAIL(CS_ERR_NOMEM,
                       "no memory for the weights of a resize from %d to %d",
                       n_in, n_out);
    }
    fill_weights(f, scratch, n_in, n_out);
    csi_free(scratch);
    return CS_OK;
}

static void resize_rows(const filter *f, const uint8_t *in,
                        csi_image_size in_size, uint8_t *out, int32_t n_out)
{
    for (int64_t y = 0; y < in_size.height; y++) {
        const uint8_t *const row = in + y * in_size.width * 3;

        for (int64_t x = 0; x < n_out; x++) {
            const filter_span span = f->spans[x];
            const int32_t *const weight = f->weights + x * f->width;
            int32_t sum[3] = {1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1),
                              1 << (WEIGHT_BITS - 1)};

            for (int32_t j = 0; j < span.count; j++) {
                const uint8_t *const pixel =
                    row + ((int64_t)span.first + j) * 3;

                sum[0] += pixel[0] * weight[j];
                sum[1] += pixel[1] * weight[j];
                sum[2] += pixel[2] * weight[j];
            }
            for (int64_t c = 0; c < 3; c++) {
                out[(y * n_out + x) * 3 + c] = from_fixed(sum[c]);
            }
        }
    }
}

static void resize_columns(const filter *f, const uint8_t *in, int32_t width,
                           uint8_t *out, int32_t n_out)
{
    const int64_t stride = (int64_t)width * 3;

    for (int64_t y = 0; y < n_out; y++) {
        const filter_span span = f->spans[y];
        const int32_t *const weight = f->weights + y * f->width;

        for (int64_t x = 0; x < stride; x++) {
            int32_t sum = 1 << (WEIGHT_BITS - 1);

            for (int32_t j = 0; j < span.count; j++) {
                sum += in[((int64_t)span.first + j) * stride + x] * weight[j];
            }
            out[y * stride + x] = from_fixed(sum);
        }
    }
}

cs_status csi_image_resize(const uint8_t *in, csi_image_size in_size,
                           uint8_t *out, csi_image_size out_size)
{
    filter across = {0}, down = {0};
    uint8_t *middle = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(undo, filter_init(&across, in_size.width, out_size.width));
    CS_TRY_GOTO(undo, filter_init(&down, in_size.height, out_size.height));
    middle = csi_malloc((size_t)in_size.height * (size_t)out_size.width * 3);
    CS_CHECK_GOTO(undo, middle != NULL, CS_ERR_NOMEM,
                  "no memory to resize %d x %d pixels", in_size.width,
                  in_size.height);
    resize_rows(&across, in, in_size, middle, out_size.width);
    resize_columns(&down, middle, out_size.width, out, out_size.height);
undo:
    csi_free(middle);
    filter_fini(&across);
    filter_fini(&down);
    return st;
}
