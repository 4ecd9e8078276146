/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learned positions of a square of patches, read for a square of another side:
 * bicubic interpolation (Keys 1981, a = -0.75) between the 16 nearest places,
 * corners not aligned, edges repeated, no smoothing when the square shrinks. It
 * is what torch.nn.functional.interpolate(mode="bicubic") computes, as a sum
 * over rows of the stored table, so that its gradient is one too.
 */
#include "layer.h"

#include <math.h>

enum {
    TAPS = 4,
    PLACES = TAPS * TAPS
};

/* Stored places around place `i` of `to`, and their weights. */
typedef struct taps {
    int32_t at[TAPS];
    double weight[TAPS];
} taps;

/* Keys' kernel at distance x. */
static double cubic(double x)
{
    static const double A = -0.75;

    x = fabs(x);
    if (x <= 1.0) {
        return ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    }
    return x < 2.0 ? ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A : 0.0;
}

static taps find_taps(int32_t i, int32_t from, int32_t to)
{
    const double center = (i + 0.5) * from / to - 0.5;
    const double base = floor(center);
    taps t;

    for (int k = 0; k < TAPS; k++) {
        const double at = base + k - 1;
        t.at[k] = (int32_t)fmin(fmax(at, 0.0), from - 1.0);
        t.weight[k] = cubic(center - at);
    }
    return t;
}

static void set_weight(void *weight, cs_dtype dtype, int64_t i, double value)
{
    if (dtype == CS_F64) {
        ((double *)weight)[i] = value;
    } else {
        ((float *)weight)[i] = (float)value;
    }
}

/* A row before the squares begin (a class token) has its own position. */
static void fill_row(const cs_layer *l, int32_t n_class, int32_t position,
                     int32_t index[PLACES], double weight[PLACES])
{
    for (int k = 0; k < PLACES; k++) {
        index[k] = 0;
        weight[k] = 0.0;
    }
    if (position < n_class) {
        index[0] = position;
        weight[0] = 1.0;
        return;
    }
    const int32_t patch = position - n_class;
    const taps y =
        find_taps(patch / l->grid_side, l->position_side, l->grid_side);
    const taps x =
        find_taps(patch % l->grid_side, l->position_side, l->grid_side);
    for (int k = 0; k < PLACES; k++) {
        index[k] = n_class + y.at[k / TAPS] * l->position_side + x.at[k % TAPS];
        weight[k] = y.weight[k / TAPS] * x.weight[k % TAPS];
    }
}

cs_status csi_add_resampled(const csi_layer_run *run, cs_value *x,
                            const cs_weight *table)
{
    const cs_layer *l = run->layer;
    const cs_nn_batch *batch = run->nn->batch;
    cs_tape *tape = run->nn->tape;
    const cs_dtype real = cs_tape_dtype(tape) == CS_F64 ? CS_F64 : CS_F32;
    const int32_t n_class = run->nn->graph->modules[run->nn->module].class_rows;
    const size_t n = (size_t)batch->rows * PLACES;
    void *index = NULL;
    void *weight = NULL;

    CS_TRY(cs_tape_alloc(tape, CS_KEEP_SAVED, n * sizeof(int32_t), &index));
    CS_TRY(cs_tape_alloc(tape, CS_KEEP_SAVED, n * cs_dtype_bytes(real),
                         &weight));
    for (int64_t r = 0; r < batch->rows; r++) {
        double row[PLACES];
        fill_row(l, n_class, batch->position[r], (int32_t *)index + r * PLACES,
                 row);
        for (int k = 0; k < PLACES; k++) {
            set_weight(weight, real, r * PLACES + k, row[k]);
        }
    }
    return cs_tape_add_mixed(tape, x, table, PLACES, index, weight);
}
