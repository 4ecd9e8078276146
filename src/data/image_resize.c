/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pillow's (13) two-pass resampler, written anew from its definition, because the
 * published processors of every vision encoder mean exactly these numbers:
 * other resamplers differ at the edges (they clamp, this one renormalises)
 * and in rounding. Golden pictures made by Pillow hold it in place. Only the
 * window that is asked for is computed: a picture of one pixel's width whose
 * shorter side is to be 224 would otherwise be millions of pixels high.
 */
#include "base/alloc.h"
#include "base/checked.h"

#include "image.h"

#include <math.h>
#include <string.h>

enum {
    WEIGHT_BITS = 32 - 8 - 2
};

/* Consecutive positions of an output axis that exist in the picture. */
typedef struct stretch {
    int32_t first; /* in the whole picture */
    int32_t skip;  /* black positions of the window before it */
    int32_t count;
} stretch;

/* The weights that make one output position: `count` inputs from `first`. */
typedef struct filter_span {
    int32_t first, count;
} filter_span;

typedef struct filter {
    filter_span *spans; /* owned: [stretch.count] */
    int32_t *weights;   /* owned: [stretch.count][width] */
    int32_t width;
} filter;

typedef struct kernel {
    double support;
    double (*at)(double x);
} kernel;

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

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

static double sinc(double x)
{
    return x == 0.0 ? 1.0 : sin(x * M_PI) / (x * M_PI);
}

static double lanczos(double x)
{
    return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
}

/* CS_RESAMPLE_NEAREST is not a kernel. */
static const kernel KERNELS[] = {
    [CS_RESAMPLE_LANCZOS] = {3.0, lanczos},
    [CS_RESAMPLE_BILINEAR] = {1.0, bilinear},
    [CS_RESAMPLE_BICUBIC] = {2.0, bicubic},
};

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

static stretch find_stretch(int32_t origin, int32_t n_window, int32_t n_full)
{
    const int64_t first = csi_max_i64(origin, 0);
    const int64_t end = csi_min_i64((int64_t)origin + n_window, n_full);

    return (stretch){.first = (int32_t)first,
                     .skip = (int32_t)(first - origin),
                     .count = (int32_t)csi_max_i64(end - first, 0)};
}

static void filter_fini(filter *f)
{
    csi_free(f->spans);
    csi_free(f->weights);
    *f = (filter){0};
}

/* `scratch` holds one row of weights in double. */
static void fill_weights(filter *f, const kernel *k, double *scratch,
                         int32_t n_in, int32_t n_full, stretch part)
{
    const double scale = (double)n_in / n_full;
    const double widened = fmax(scale, 1.0);
    const double support = k->support * widened;

    for (int32_t i = 0; i < part.count; i++) {
        const double center = (part.first + i + 0.5) * scale;
        const double low = center - support + 0.5;
        const int32_t first = low > 0.0 ? (int32_t)low : 0;
        const int32_t last =
            (int32_t)fmin((double)n_in, center + support + 0.5);
        double sum = 0.0;

        for (int32_t j = first; j < last; j++) {
            scratch[j - first] = k->at((j - center + 0.5) * (1.0 / widened));
            sum += scratch[j - first];
        }
        for (int32_t j = 0; j < last - first; j++) {
            const double weight = sum != 0.0 ? scratch[j] / sum : scratch[j];

            f->weights[(int64_t)i * f->width + j] = to_fixed(weight);
        }
        f->spans[i] = (filter_span){first, last - first};
    }
}

static cs_status filter_init(filter *f, const kernel *k, int32_t n_in,
                             int32_t n_full, stretch part)
{
    const double widened = fmax((double)n_in / n_full, 1.0);
    const int32_t width = (int32_t)ceil(k->support * widened) * 2 + 1;
    const size_t n_out = (size_t)part.count;
    double *scratch = csi_calloc((size_t)width, sizeof *scratch);

    *f = (filter){.spans = csi_calloc(n_out, sizeof *f->spans),
                  .weights = csi_calloc(n_out * (size_t)width, sizeof(int32_t)),
                  .width = width};
    if (scratch == NULL || f->spans == NULL || f->weights == NULL) {
        csi_free(scratch);
        filter_fini(f);
        return CS_FAIL(CS_ERR_NOMEM,
                       "no memory for the weights of a resize from %d to %d",
                       n_in, n_full);
    }
    fill_weights(f, k, scratch, n_in, n_full, part);
    csi_free(scratch);
    return CS_OK;
}

/* Packed RGB with room between its rows. */
typedef struct pixels {
    const uint8_t *data;
    int64_t stride; /* bytes */
} pixels;

/* n_rows rows; the first pixel of `in` is input position `first`. */
static void resize_rows(const filter *f, int64_t n_out, pixels in,
                        int64_t first, int64_t n_rows, uint8_t *out,
                        int64_t out_stride)
{
    for (int64_t y = 0; y < n_rows; y++) {
        const uint8_t *const row = in.data + y * in.stride;
        uint8_t *const to = out + y * out_stride;

        for (int64_t x = 0; x < n_out; x++) {
            const filter_span span = f->spans[x];
            const int32_t *const weight = f->weights + x * f->width;
            const uint8_t *const from = row + (span.first - first) * 3;
            int32_t sum[3] = {1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1),
                              1 << (WEIGHT_BITS - 1)};

            for (int64_t j = 0; j < span.count; j++) {
                sum[0] += from[j * 3] * weight[j];
                sum[1] += from[j * 3 + 1] * weight[j];
                sum[2] += from[j * 3 + 2] * weight[j];
            }
            for (int64_t c = 0; c < 3; c++) {
                to[x * 3 + c] = from_fixed(sum[c]);
            }
        }
    }
}

/* n_out rows of n_bytes; the first row of `in` is input position `first`. */
static void resize_columns(const filter *f, int64_t n_out, pixels in,
                           int64_t first, int64_t n_bytes, uint8_t *out,
                           int64_t out_stride)
{
    for (int64_t y = 0; y < n_out; y++) {
        const filter_span span = f->spans[y];
        const int32_t *const weight = f->weights + y * f->width;
        const uint8_t *const from = in.data + (span.first - first) * in.stride;

        for (int64_t x = 0; x < n_bytes; x++) {
            int32_t sum = 1 << (WEIGHT_BITS - 1);

            for (int64_t j = 0; j < span.count; j++) {
                sum += from[j * in.stride + x] * weight[j];
            }
            out[y * out_stride + x] = from_fixed(sum);
        }
    }
}

/* Inputs that the filter reads, as one span. */
static filter_span all_inputs(const filter *f, int32_t n_out)
{
    const filter_span last = f->spans[n_out - 1];
    const int32_t first = f->spans[0].first;

    return (filter_span){first, last.first + last.count - first};
}

/* Where the picture begins in the window. */
static uint8_t *window_begin(const csi_image_resize_job *job, stretch across,
                             stretch down, uint8_t *out)
{
    return out + ((int64_t)down.skip * job->window.width + across.skip) * 3;
}

/* The order matters, because there are 8 bits between the passes: Pillow 13
 * shrinks the height first where that takes away more than twice as much as
 * the width. (Before 13 it did so above a hundred times the width only.) */
static bool is_height_first(const csi_image_resize_job *job)
{
    const int64_t rows = (int64_t)job->in_size.height - job->full.height;
    const int64_t columns = (int64_t)job->in_size.width - job->full.width;

    return rows > 0 && rows > 2 * columns;
}

static cs_status run_passes(const csi_image_resize_job *job, const filter *x,
                            const filter *y, stretch across, stretch down,
                            uint8_t *out)
{
    const filter_span wide = all_inputs(x, across.count);
    const filter_span high = all_inputs(y, down.count);
    const bool is_first = is_height_first(job);
    const int64_t n_rows = is_first ? down.count : high.count;
    const int64_t stride = 3 * (int64_t)(is_first ? wide.count : across.count);
    const int64_t out_stride = (int64_t)job->window.width * 3;
    pixels in = {job->in, (int64_t)job->in_size.width * 3};
    uint8_t *const to = window_begin(job, across, down, out);
    uint8_t *const middle = csi_malloc((size_t)(n_rows * stride));
    const pixels half = {middle, stride};

    CS_CHECK(middle != NULL, CS_ERR_NOMEM, "no memory to resize %d x %d pixels",
             job->in_size.width, job->in_size.height);
    if (is_first) {
        in.data += (int64_t)wide.first * 3;
        resize_columns(y, down.count, in, 0, stride, middle, stride);
        resize_rows(x, across.count, half, wide.first, n_rows, to, out_stride);
    } else {
        in.data += high.first * in.stride;
        resize_rows(x, across.count, in, 0, n_rows, middle, stride);
        resize_columns(y, down.count, half, high.first, stride, to, out_stride);
    }
    csi_free(middle);
    return CS_OK;
}

static cs_status filter_window(const csi_image_resize_job *job, stretch across,
                               stretch down, uint8_t *out)
{
    const kernel *const k = &KERNELS[job->resample];
    filter x = {0}, y = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(undo, filter_init(&x, k, job->in_size.width, job->full.width,
                                  across));
    CS_TRY_GOTO(undo, filter_init(&y, k, job->in_size.height, job->full.height,
                                  down));
    CS_TRY_GOTO(undo, run_passes(job, &x, &y, across, down, out));
undo:
    filter_fini(&x);
    filter_fini(&y);
    return st;
}

/* The input positions of an axis, by steps that add up as Pillow's do. */
static cs_status find_nearest(int32_t n_in, int32_t n_full, stretch part,
                              int32_t **out)
{
    const double step = (double)n_in / n_full;
    double at = step * 0.5;
    int32_t *const from = csi_calloc((size_t)part.count, sizeof *from);

    CS_CHECK(from != NULL, CS_ERR_NOMEM, "no memory to resize %d to %d pixels",
             n_in, n_full);
    for (int64_t i = 0; i < (int64_t)part.first + part.count; i++) {
        if (i >= part.first) {
            from[i - part.first] = (int32_t)csi_min_i64((int64_t)at, n_in - 1);
        }
        at += step;
    }
    *out = from;
    return CS_OK;
}

static cs_status copy_window(const csi_image_resize_job *job, stretch across,
                             stretch down, uint8_t *out)
{
    int32_t *x = NULL;
    int32_t *y = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(undo,
                find_nearest(job->in_size.width, job->full.width, across, &x));
    CS_TRY_GOTO(undo,
                find_nearest(job->in_size.height, job->full.height, down, &y));
    for (int64_t i = 0; i < down.count; i++) {
        const uint8_t *const row =
            job->in + (int64_t)y[i] * job->in_size.width * 3;
        uint8_t *const to =
            window_begin(job, across, down, out) + i * job->window.width * 3;

        for (int64_t k = 0; k < across.count; k++) {
            memcpy(to + k * 3, row + (int64_t)x[k] * 3, 3);
        }
    }
undo:
    csi_free(x);
    csi_free(y);
    return st;
}

cs_status csi_image_resize(const csi_image_resize_job *job, uint8_t *out)
{
    const stretch across =
        find_stretch(job->left, job->window.width, job->full.width);
    const stretch down =
        find_stretch(job->top, job->window.height, job->full.height);

    memset(out, 0, (size_t)job->window.width * (size_t)job->window.height * 3);
    if (across.count == 0 || down.count == 0) {
        return CS_OK;
    }
    if (job->resample == CS_RESAMPLE_NEAREST) {
        return copy_window(job, across, down, out);
    }
    return filter_window(job, across, down, out);
}
