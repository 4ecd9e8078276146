/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pixels and mel frames as transformers' processors give them -> input rows:
 *
 *     pixel_values [N, C, H, W]      patches of each picture; with image_sizes
 *                                    [N, 2] only its top left h x w
 *     pixel_values [patches, D]      rows as they are; image_grid_thw [N, 3]
 *                                    says whose
 *     input_features [N, mels, T]    T frames of each recording
 */
#include "base/alloc.h"
#include "base/checked.h"

#include "forward.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    NAME_BYTES = 256
};

static int64_t blocks(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

int64_t csi_encoder_rows(const cs_module *module, int64_t input_rows)
{
    return module->modality == CS_MODALITY_AUDIO
               ? blocks(input_rows, 2)
               : input_rows + module->class_rows;
}

int64_t csi_feature_rows(const cs_module *module, int64_t encoder_rows)
{
    const int64_t kept = encoder_rows - module->feature_skip;
    const int64_t pooled = blocks(kept, csi_max_i64(module->pool, 1));

    return blocks(pooled, csi_max_i64(module->stack, 1));
}

/* `<encoder>.<name>`, or the bare name where no other encoder of its kind
 * could mean it. NULL when there is neither. */
static const cs_safetensor *find_tensor(const csi_forward_input *input,
                                        int32_t e, const char *name)
{
    const cs_graph *graph = input->graph;
    char full[NAME_BYTES];
    int32_t n_alike = 0;
    const int n =
        snprintf(full, sizeof full, "%s.%s", graph->modules[e].name, name);
    const cs_safetensor *found = n > 0 && (size_t)n < sizeof full
                                     ? cs_safetensors_find(input->file, full)
                                     : NULL;

    for (int32_t i = 0; i < graph->n_modules - 1; i++) {
        n_alike += graph->modules[i].modality == graph->modules[e].modality;
    }
    return found == NULL && n_alike == 1
               ? cs_safetensors_find(input->file, name)
               : found;
}

static cs_status fail_shape(const csi_forward_input *input,
                            const cs_safetensor *tensor, const char *wanted)
{
    char got[CS_SHAPE_TEXT_BYTES];

    return CS_FAIL(CS_ERR_SHAPE, "%s: tensor '%s': wanted %s, got %s",
                   input->path, tensor->name, wanted,
                   cs_shape_print(&tensor->shape, got));
}

static cs_status begin_media(csi_forward_input *input,
                             const cs_safetensor *tensor, int64_t n_items,
                             int64_t columns, csi_media *out)
{
    *out = (csi_media){.name = tensor->name,
                       .n_items = n_items,
                       .columns = columns};
    CS_TRY(csi_forward_take(&input->arena, n_items + 1, sizeof(int64_t),
                            &out->row_begin));
    CS_TRY(csi_forward_take(&input->arena, n_items, sizeof(int32_t),
                            &out->grid_rows));
    CS_TRY(csi_forward_take(&input->arena, n_items, sizeof(int32_t),
                            &out->grid_columns));
    return CS_OK;
}

/* [N, n] integers beside the pictures, or NULL. */
static cs_status read_sizes(csi_forward_input *input, int32_t e,
                            const char *name, int64_t n_items, int64_t n,
                            int64_t **out)
{
    const cs_safetensor *tensor = find_tensor(input, e, name);
    char wanted[64];

    if (tensor == NULL) {
        return CS_OK;
    }
    if (tensor->shape.n_dims != 2 || tensor->shape.dim[1] != n ||
        (n_items >= 0 && tensor->shape.dim[0] != n_items)) {
        (void)snprintf(wanted, sizeof wanted, "[%" PRId64 ", %" PRId64 "]",
                       n_items, n);
        return fail_shape(input, tensor, n_items < 0 ? "[N, 3]" : wanted);
    }
    return csi_forward_ints(input, tensor, out);
}

/* ---- pictures ---- */

/* Where the picture's patch number n begins: squares of merge x merge patches
 * in reading order, and so the patches in them. */
static void place_patch(const cs_module *m, int64_t grid_columns, int64_t n,
                        int64_t *row, int64_t *column)
{
    const int64_t merge = csi_max_i64(m->merge, 1);
    const int64_t square = n / (merge * merge);
    const int64_t inside = n % (merge * merge);
    const int64_t per_row = grid_columns / merge;

    *row = square / per_row * merge + inside / merge;
    *column = square % per_row * merge + inside % merge;
}

/* Columns of a patch: (channel, time, y, x). */
static void cut_patch(const cs_module *m, const float *picture,
                      const cs_shape *shape, int64_t top, int64_t left,
                      float *row)
{
    const int64_t p = m->patch_size;
    const int64_t times = csi_max_i64(m->temporal_patch, 1);
    const int64_t height = shape->dim[2];
    const int64_t width = shape->dim[3];

    for (int64_t c = 0; c < shape->dim[1]; c++) {
        for (int64_t t = 0; t < times; t++) {
            for (int64_t y = 0; y < p; y++) {
                const float *from =
                    picture + (c * height + top + y) * width + left;
                memcpy(row, from, (size_t)p * sizeof *row);
                row += p;
            }
        }
    }
}

static cs_status check_picture(const csi_forward_input *input,
                               const cs_module *m, const cs_safetensor *tensor,
                               int64_t item, int64_t height, int64_t width)
{
    /* A rest that makes no whole patch is left out, as a convolution does. */
    const int64_t unit =
        m->is_any_size ? (int64_t)m->patch_size * csi_max_i64(m->merge, 1) : 1;

    CS_CHECK(height > 0 && width > 0 && height <= tensor->shape.dim[2] &&
                 width <= tensor->shape.dim[3] && height % unit == 0 &&
                 width % unit == 0,
             CS_ERR_SHAPE,
             "%s: picture %" PRId64 " of '%s' is %" PRId64 " x %" PRId64
             ", wanted multiples of %" PRId64 " up to %" PRId64 " x %" PRId64,
             input->path, item, tensor->name, height, width, unit,
             tensor->shape.dim[2], tensor->shape.dim[3]);
    return CS_OK;
}

static cs_status measure_pictures(const csi_forward_input *input,
                                  const cs_module *m,
                                  const cs_safetensor *tensor,
                                  const int64_t *sizes, csi_media *out)
{
    for (int64_t i = 0; i < out->n_items; i++) {
        const int64_t height =
            sizes != NULL ? sizes[2 * i] : tensor->shape.dim[2];
        const int64_t width =
            sizes != NULL ? sizes[2 * i + 1] : tensor->shape.dim[3];
        CS_TRY(check_picture(input, m, tensor, i, height, width));
        out->grid_rows[i] = (int32_t)(height / m->patch_size);
        out->grid_columns[i] = (int32_t)(width / m->patch_size);
        out->row_begin[i + 1] = out->row_begin[i] + (int64_t)out->grid_rows[i] *
                                                        out->grid_columns[i];
    }
    return CS_OK;
}

/* The part that comes in whole pictures of one size must have the model's. */
static cs_status check_fixed_size(const csi_forward_input *input,
                                  const cs_module *m,
                                  const cs_safetensor *tensor)
{
    char wanted[96];

    CS_CHECK(!m->is_tiled, CS_ERR_UNSUPPORTED,
             "unsupported: %s: tensor '%s': pictures in tiles, of %s",
             input->path, tensor->name, m->name);
    if (tensor->shape.n_dims == 4 && tensor->shape.dim[1] == m->n_channels &&
        (m->is_any_size || (tensor->shape.dim[2] == m->image_size &&
                            tensor->shape.dim[3] == m->image_size))) {
        return CS_OK;
    }
    if (m->is_any_size) {
        (void)snprintf(wanted, sizeof wanted, "[N, %d, H, W]", m->n_channels);
    } else {
        (void)snprintf(wanted, sizeof wanted, "[N, %d, %d, %d]", m->n_channels,
                       m->image_size, m->image_size);
    }
    return fail_shape(input, tensor, wanted);
}

static cs_status read_pictures(csi_forward_input *input, int32_t e,
                               const cs_safetensor *tensor, csi_media *out)
{
    const cs_module *m = &input->graph->modules[e];
    int64_t *sizes = NULL;
    float *pixels = NULL;

    CS_TRY(check_fixed_size(input, m, tensor));
    CS_TRY(begin_media(input, tensor, tensor->shape.dim[0], m->layers[0].in_dim,
                       out));
    if (m->is_any_size) {
        CS_TRY(read_sizes(input, e, "image_sizes", out->n_items, 2, &sizes));
    }
    CS_TRY(measure_pictures(input, m, tensor, sizes, out));
    CS_TRY(csi_forward_take(&input->arena,
                            out->row_begin[out->n_items] * out->columns,
                            sizeof *out->rows, &out->rows));
    CS_TRY(csi_forward_floats(input, tensor, 4, &pixels));
    const int64_t picture =
        cs_shape_count(&tensor->shape) / csi_max_i64(out->n_items, 1);

    for (int64_t i = 0; i < out->n_items; i++) {
        const int64_t n = out->row_begin[i + 1] - out->row_begin[i];
        for (int64_t k = 0; k < n; k++) {
            int64_t row = 0;
            int64_t column = 0;
            place_patch(m, out->grid_columns[i], k, &row, &column);
            cut_patch(m, pixels + i * picture, &tensor->shape,
                      row * m->patch_size, column * m->patch_size,
                      out->rows + (out->row_begin[i] + k) * out->columns);
        }
    }
    csi_free(pixels);
    return CS_OK;
}

/* Rows that are patches already. */
static cs_status read_patches(csi_forward_input *input, int32_t e,
                              const cs_safetensor *tensor, csi_media *out)
{
    const cs_module *m = &input->graph->modules[e];
    const cs_safetensor *grid_tensor = find_tensor(input, e, "image_grid_thw");
    const int64_t columns = m->layers[0].in_dim;
    const int64_t merge = csi_max_i64(m->merge, 1);
    int64_t *grid = NULL;
    float *rows = NULL;

    CS_CHECK(tensor->shape.dim[1] == columns, CS_ERR_SHAPE,
             "%s: tensor '%s': wanted %" PRId64 " columns, got %" PRId64,
             input->path, tensor->name, columns, tensor->shape.dim[1]);
    CS_TRY(read_sizes(input, e, "image_grid_thw", -1, 3, &grid));
    CS_CHECK(grid_tensor != NULL && grid != NULL, CS_ERR_FORMAT,
             "%s: '%s' holds patches, wanted image_grid_thw beside it",
             input->path, tensor->name);
    CS_TRY(begin_media(input, tensor, grid_tensor->shape.dim[0], columns, out));
    for (int64_t i = 0; i < out->n_items; i++) {
        const int64_t *thw = &grid[3 * i];
        CS_CHECK(thw[0] == 1, CS_ERR_UNSUPPORTED,
                 "unsupported: %s: item %" PRId64 " of '%s' has %" PRId64
                 " frames, wanted 1 (a picture)",
                 input->path, i, grid_tensor->name, thw[0]);
        CS_CHECK(thw[1] > 0 && thw[2] > 0 && thw[1] <= INT32_MAX / thw[2] &&
                     thw[1] % merge == 0 && thw[2] % merge == 0,
                 CS_ERR_FORMAT,
                 "%s: item %" PRId64 " of '%s' is %" PRId64 " x %" PRId64
                 " patches, wanted multiples of %" PRId64,
                 input->path, i, grid_tensor->name, thw[1], thw[2], merge);
        out->grid_rows[i] = (int32_t)thw[1];
        out->grid_columns[i] = (int32_t)thw[2];
        out->row_begin[i + 1] = out->row_begin[i] + thw[1] * thw[2];
    }
    CS_CHECK(out->row_begin[out->n_items] == tensor->shape.dim[0],
             CS_ERR_FORMAT,
             "%s: tensor '%s' has %" PRId64 " rows, '%s' wants %" PRId64,
             input->path, tensor->name, tensor->shape.dim[0], grid_tensor->name,
             out->row_begin[out->n_items]);
    CS_TRY(csi_forward_floats(input, tensor, 2, &rows));
    const cs_status st =
        csi_forward_take(&input->arena, cs_shape_count(&tensor->shape),
                         sizeof *out->rows, &out->rows);
    if (st == CS_OK) {
        memcpy(out->rows, rows,
               (size_t)cs_shape_count(&tensor->shape) * sizeof *rows);
    }
    csi_free(rows);
    return st;
}

/* ---- sound ---- */

static cs_status read_sound(csi_forward_input *input, int32_t e,
                            const cs_safetensor *tensor, csi_media *out)
{
    const cs_module *m = &input->graph->modules[e];
    const cs_shape *shape = &tensor->shape;
    float *mel = NULL;
    char wanted[96];

    if (shape->n_dims != 3 || shape->dim[1] != m->n_mels || shape->dim[2] < 2 ||
        shape->dim[2] % 2 != 0 || shape->dim[2] / 2 > m->max_positions) {
        (void)snprintf(wanted, sizeof wanted,
                       "[N, %d, an even number up to %" PRId64 "]", m->n_mels,
                       2 * m->max_positions);
        return fail_shape(input, tensor, wanted);
    }
    const int64_t n_frames = shape->dim[2];

    CS_TRY(begin_media(input, tensor, shape->dim[0], m->n_mels, out));
    CS_TRY(csi_forward_take(&input->arena, cs_shape_count(shape),
                            sizeof *out->rows, &out->rows));
    CS_TRY(csi_forward_floats(input, tensor, 3, &mel));
    for (int64_t i = 0; i < out->n_items; i++) {
        const float *from = mel + i * m->n_mels * n_frames;
        float *to = out->rows + i * n_frames * m->n_mels;
        for (int64_t c = 0; c < m->n_mels; c++) {
            for (int64_t t = 0; t < n_frames; t++) {
                to[t * m->n_mels + c] = from[c * n_frames + t];
            }
        }
        out->row_begin[i + 1] = out->row_begin[i] + n_frames;
    }
    csi_free(mel);
    return CS_OK;
}

cs_status csi_forward_read_media(csi_forward_input *input, int32_t e,
                                 csi_media *out)
{
    const bool is_sound =
        input->graph->modules[e].modality == CS_MODALITY_AUDIO;
    const cs_safetensor *tensor =
        find_tensor(input, e, is_sound ? "input_features" : "pixel_values");
    cs_status st = CS_OK;

    if (tensor == NULL) {
        return CS_OK;
    }
    if (is_sound) {
        st = read_sound(input, e, tensor, out);
    } else if (tensor->shape.n_dims == 2) {
        st = read_patches(input, e, tensor, out);
    } else {
        st = read_pictures(input, e, tensor, out);
    }
    CS_TRY(st);
    CS_CHECK(out->row_begin[out->n_items] <= INT32_MAX, CS_ERR_ARG,
             "%s: tensor '%s' has more than 2^31 - 1 rows", input->path,
             tensor->name);
    return CS_OK;
}
