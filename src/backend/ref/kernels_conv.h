/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of a 1-D convolution as rows, item by item. See ref.h. */

static void NAME(im2col_item)(const cs_im2col_args *a, int64_t item)
{
    const int64_t n_in = a->in_begin[item + 1] - a->in_begin[item];
    const int64_t n_out = a->out_begin[item + 1] - a->out_begin[item];
    const int64_t width = a->channels * a->kernel;
    const STORE *x = (const STORE *)a->x + a->in_begin[item] * a->channels;
    STORE *cols = (STORE *)a->cols + a->out_begin[item] * width;

    for (int64_t t = 0; t < n_out; t++) {
        for (int64_t c = 0; c < a->channels; c++) {
            for (int32_t j = 0; j < a->kernel; j++) {
                const int64_t from = t * a->stride + j - a->pad;
                const bool inside = from >= 0 && from < n_in;

                cols[t * width + c * a->kernel + j] =
                    ROUND(inside ? LOAD(x[from * a->channels + c]) : 0);
            }
        }
    }
}

static void NAME(im2col)(const cs_im2col_args *a)
{
    for (int64_t item = 0; item < a->items; item++) {
        NAME(im2col_item)(a, item);
    }
}

/* Sum over the windows that row `row` of an item takes part in. */
static REAL NAME(col2im_sum)(const cs_im2col_args *a, const STORE *dcols,
                             int64_t n_out, int64_t row, int64_t c)
{
    const int64_t width = a->channels * a->kernel;
    REAL sum = 0;

    for (int32_t j = 0; j < a->kernel; j++) {
        const int64_t at = row + a->pad - j;

        if (at >= 0 && at % a->stride == 0 && at / a->stride < n_out) {
            const int64_t t = at / a->stride;
            sum += LOAD(dcols[t * width + c * a->kernel + j]);
        }
    }
    return sum;
}

static void NAME(im2col_backward)(const cs_im2col_args *a)
{
    const int64_t width = a->channels * a->kernel;

    for (int64_t item = 0; item < a->items; item++) {
        const int64_t n_in = a->in_begin[item + 1] - a->in_begin[item];
        const int64_t n_out = a->out_begin[item + 1] - a->out_begin[item];
        const STORE *dcols =
            (const STORE *)a->dcols + a->out_begin[item] * width;
        STORE *dx = (STORE *)a->dx + a->in_begin[item] * a->channels;

        for (int64_t row = 0; row < n_in; row++) {
            for (int64_t c = 0; c < a->channels; c++) {
                STORE *to = &dx[row * a->channels + c];
                const REAL old = a->accumulate ? LOAD(*to) : 0;

                *to = ROUND(old + NAME(col2im_sum)(a, dcols, n_out, row, c));
            }
        }
    }
}
