/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an encoder's layers need to know of its items. Each item is one
 * document whose rows see each other, and no step below crosses its borders:
 *
 *     patches   [p0 p1 p2 p3 p4]             input rows
 *     rows      [c  p0 p1 p2 p3 p4]          class token in front (class_rows)
 *     kept         [p0 p1 p2 p3 p4]          without feature_skip rows
 *     pooled       [ a     b    c ]          means of `pool` kept rows
 *     features     [ (a,b)  (c,0) ]          `stack` pooled rows side by side
 *
 * Kept rows beyond those that the item's features need are left out, because
 * the index says how many features there are.
 *
 * A picture in tiles is several such items to the encoder, all of it and then
 * its parts. Its features are the patches of the whole, and lines of patches
 * across the parts, the black border left out, each with a row at its end that
 * comes from no patch (an empty row until the projector fills it):
 *
 *     parts  [a0 a1  [b0 b1       lines  a0 a1 b0 b1 +
 *             a2 a3]  b2 b3]             a2 a3 b2 b3 +
 */
#include "base/checked.h"

#include "internal.h"

/* Counters and arrays while the items are walked, in their order. */
typedef struct filler {
    const cs_module *module;
    int32_t index;
    const cs_batch_modality *modality;
    int64_t *input_begin, *encoder_begin; /* [n_items + 1] */
    uint64_t *word;                       /* [rows] */
    int32_t *order, *position;            /* [rows], [axes, rows] */
    int32_t *patch, *class_row;           /* [rows], or NULL */
    int32_t *keep;                        /* [rows]: room for all */
    int64_t *pool_begin;                  /* [rows + 1] */
    int32_t *stack;                       /* [feature_rows * stack] */
    int32_t *line, *newline;              /* [feature_rows], or NULL */
    int64_t n_kept, n_pooled;
    int64_t n_documents; /* pictures, tiles or recordings so far */
} filler;

static int64_t at_least_1(int64_t n)
{
    return csi_max_i64(n, 1);
}

/* How many groups of `size` cover n. */
static int64_t blocks(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

static cs_status allocate(csi_arena *arena, filler *f)
{
    const int64_t rows = f->modality->encoder_rows;
    const int64_t n = f->modality->n_items + 1;
    const int64_t most_kept = csi_max_i64(rows, f->modality->feature_rows);
    void *memory[12] = {NULL};

    CS_TRY(csi_batch_take(arena, n, sizeof(int64_t), &memory[0]));
    CS_TRY(csi_batch_take(arena, n, sizeof(int64_t), &memory[1]));
    CS_TRY(csi_batch_take(arena, rows, sizeof(uint64_t), &memory[2]));
    CS_TRY(csi_batch_take(arena, rows, sizeof(int32_t), &memory[3]));
    CS_TRY(csi_batch_take(arena, rows * at_least_1(f->module->rope_axes),
                          sizeof(int32_t), &memory[4]));
    if (f->module->class_rows > 0) {
        CS_TRY(csi_batch_take(arena, rows, sizeof(int32_t), &memory[5]));
        CS_TRY(csi_batch_take(arena, rows, sizeof(int32_t), &memory[6]));
    }
    CS_TRY(csi_batch_take(arena, most_kept, sizeof(int32_t), &memory[7]));
    CS_TRY(csi_batch_take(arena, most_kept + 1, sizeof(int64_t), &memory[8]));
    for (int i = 10; i < 12 && f->module->is_tiled; i++) {
        CS_TRY(csi_batch_take(arena, f->modality->feature_rows, sizeof(int32_t),
                              &memory[i]));
    }
    if (f->module->stack > 1) {
        CS_TRY(csi_batch_take(arena,
                              f->modality->feature_rows * f->module->stack,
                              sizeof(int32_t), &memory[9]));
    }
    f->input_begin = memory[0];
    f->encoder_begin = memory[1];
    f->word = memory[2];
    f->order = memory[3];
    f->position = memory[4];
    f->patch = memory[5];
    f->class_row = memory[6];
    f->keep = memory[7];
    f->pool_begin = memory[8];
    f->stack = memory[9];
    f->line = memory[10];
    f->newline = memory[11];
    return CS_OK;
}

/* Row and column of patch p of a picture. Patches come in squares of
 * merge x merge, squares and the patches in them in reading order. */
static void place_patch(const cs_batch_item *item, int64_t merge, int64_t p,
                        int64_t at[2])
{
    const int64_t square = p / (merge * merge);
    const int64_t inside = p % (merge * merge);
    const int64_t squares_per_row = item->grid_columns / merge;

    at[0] = square / squares_per_row * merge + inside / merge;
    at[1] = square % squares_per_row * merge + inside % merge;
}

static cs_status check_grid(const filler *f, const cs_batch_item *item,
                            int64_t n_patches)
{
    const int64_t merge = at_least_1(f->module->merge);

    CS_CHECK((int64_t)item->grid_rows * item->grid_columns == n_patches &&
                 item->grid_rows % merge == 0 &&
                 item->grid_columns % merge == 0,
             CS_ERR_FORMAT,
             "%s: an item of %lld patches in %d x %d squares of %lld",
             f->module->name, (long long)n_patches, item->grid_rows,
             item->grid_columns, (long long)merge);
    return CS_OK;
}

/* One axis: the row's number in its item. Two: row and column of its patch. */
static cs_status fill_positions(filler *f, const cs_batch_item *item,
                                int64_t begin, int64_t end)
{
    const int64_t rows = f->modality->encoder_rows;
    const int64_t first_patch = begin + f->module->class_rows;
    int64_t at[2] = {0, 0};

    if (f->module->rope_axes < 2) {
        for (int64_t r = begin; r < end; r++) {
            f->position[r] = (int32_t)(r - begin);
        }
        return CS_OK;
    }
    CS_TRY(check_grid(f, item, end - first_patch));
    for (int64_t r = begin; r < end; r++) {
        if (r >= first_patch) {
            place_patch(item, at_least_1(f->module->merge), r - first_patch,
                        at);
        }
        f->position[r] = (int32_t)at[0];
        f->position[rows + r] = (int32_t)at[1];
    }
    return CS_OK;
}

/* One document of rows [begin, end), the patches of which start at input row
 * `input`. */
static cs_status fill_rows(filler *f, int64_t input, int64_t begin, int64_t end)
{
    const int64_t document = ++f->n_documents;
    const int64_t first_patch = begin + f->module->class_rows;

    CS_CHECK(document <= CS_MASK_MAX_DOCUMENT, CS_ERR_ARG,
             "%s: more than %d pictures or recordings in one microbatch",
             f->module->name, CS_MASK_MAX_DOCUMENT);
    for (int64_t r = begin; r < end; r++) {
        f->word[r] =
            cs_mask_word((uint32_t)document, 1, 0, 1U << (f->index + 1));
        f->order[r] = (int32_t)r;
        if (f->patch != NULL) {
            const bool is_class = r < first_patch;

            f->patch[r] = is_class ? -1 : (int32_t)(input + r - first_patch);
            f->class_row[r] = is_class ? 0 : -1;
        }
    }
    return CS_OK;
}

/* Rows [begin, end) of the item -> its n_features features, the first of which
 * is `feature`. */
static cs_status fill_features(filler *f, int64_t begin, int64_t end,
                               int64_t feature, int64_t n_features)
{
    const int64_t pool = at_least_1(f->module->pool);
    const int64_t stack = at_least_1(f->module->stack);
    const int64_t n_kept = csi_min_i64(end - begin - f->module->feature_skip,
                                       n_features * stack * pool);
    const int64_t n_pooled = blocks(n_kept, pool);

    CS_CHECK(n_kept > 0 && blocks(n_pooled, stack) == n_features, CS_ERR_FORMAT,
             "%s: an item of %lld rows gives %lld features, the index has %lld",
             f->module->name, (long long)(end - begin),
             (long long)blocks(n_pooled, stack), (long long)n_features);
    for (int64_t k = 0; k < n_pooled; k++) {
        f->pool_begin[f->n_pooled + k] = f->n_kept + k * pool;
    }
    for (int64_t k = 0; k < n_kept; k++) {
        f->keep[f->n_kept + k] = (int32_t)(begin + f->module->feature_skip + k);
    }
    for (int64_t k = 0; f->stack != NULL && k < n_features * stack; k++) {
        f->stack[feature * stack + k] =
            k < n_pooled ? (int32_t)(f->n_pooled + k) : -1;
    }
    f->n_kept += n_kept;
    f->n_pooled += n_pooled;
    return CS_OK;
}

/* A row that becomes a feature as it is; row -1 is the end of a line. */
static void keep_row(filler *f, int64_t row)
{
    const int64_t k = f->n_kept++;

    f->keep[k] = (int32_t)row;
    f->line[k] = row >= 0 ? (int32_t)k : -1;
    f->newline[k] = row >= 0 ? -1 : 0;
    f->pool_begin[f->n_pooled++] = k;
}

/* Features of a picture in tiles of side x side patches; `rows` of the encoder
 * per tile. */
static void fill_lines(filler *f, const cs_batch_item *item, int64_t side,
                       int64_t rows)
{
    const int64_t first = item->encoder_begin + f->module->class_rows;
    const int64_t top = (item->tile_rows * side - item->grid_rows) / 2;
    const int64_t left = (item->tile_columns * side - item->grid_columns) / 2;

    for (int64_t p = 0; p < side * side; p++) {
        keep_row(f, first + p);
    }
    for (int64_t y = top; y < top + item->grid_rows; y++) {
        for (int64_t x = left; x < left + item->grid_columns; x++) {
            const int64_t tile = y / side * item->tile_columns + x / side;

            keep_row(f, first + (tile + 1) * rows + y % side * side + x % side);
        }
        keep_row(f, -1);
    }
}

static cs_status fill_tiles(filler *f, const cs_batch_item *item,
                            int64_t n_inputs, int64_t n_rows,
                            int64_t n_features)
{
    const int64_t side = f->module->image_size / f->module->patch_size;
    const int64_t rows = side * side + f->module->class_rows;
    const int64_t n_tiles = 1 + (int64_t)item->tile_rows * item->tile_columns;
    const int64_t wanted =
        side * side + item->grid_rows * ((int64_t)item->grid_columns + 1);

    CS_CHECK(item->tile_rows >= 1 && item->tile_columns >= 1 &&
                 n_inputs == n_tiles * side * side &&
                 n_rows == n_tiles * rows && n_features == wanted &&
                 item->grid_rows <= item->tile_rows * side &&
                 item->grid_columns <= item->tile_columns * side,
             CS_ERR_FORMAT,
             "%s: an item of %lld rows and %lld features in %d x %d tiles",
             f->module->name, (long long)n_rows, (long long)n_features,
             item->tile_rows, item->tile_columns);
    for (int64_t t = 0; t < n_tiles; t++) {
        const int64_t begin = item->encoder_begin + t * rows;

        CS_TRY(fill_rows(f, item->input_begin + t * side * side, begin,
                         begin + rows));
        CS_TRY(fill_positions(f, item, begin, begin + rows));
    }
    fill_lines(f, item, side, rows);
    return CS_OK;
}

static cs_status fill_item(filler *f, int64_t i)
{
    const cs_batch_modality *m = f->modality;
    const cs_batch_item *item = &m->items[i];
    const cs_batch_item *next = i + 1 < m->n_items ? &m->items[i + 1] : NULL;
    const int64_t begin = item->encoder_begin;
    const int64_t end = next != NULL ? next->encoder_begin : m->encoder_rows;
    const int64_t n_inputs =
        (next != NULL ? next->input_begin : m->input_rows) - item->input_begin;
    const int64_t n_features =
        (next != NULL ? next->feature_begin : m->feature_rows) -
        item->feature_begin;

    f->input_begin[i] = item->input_begin;
    f->encoder_begin[i] = begin;
    if (f->module->is_tiled) {
        return fill_tiles(f, item, n_inputs, end - begin, n_features);
    }
    CS_CHECK(f->module->class_rows == 0 ||
                 end - begin - f->module->class_rows == n_inputs,
             CS_ERR_FORMAT,
             "%s: an item's %lld rows are not its patches and %d class tokens",
             f->module->name, (long long)(end - begin), f->module->class_rows);
    CS_TRY(fill_rows(f, item->input_begin, begin, end));
    CS_TRY(fill_positions(f, item, begin, end));
    return fill_features(f, begin, end, item->feature_begin, n_features);
}

cs_status csi_encoder_batch(csi_arena *arena, const cs_module *module,
                            int32_t index, const cs_batch_modality *modality,
                            cs_nn_batch *out)
{
    const int64_t rows = modality->encoder_rows;
    filler f = {.module = module, .index = index, .modality = modality};

    CS_CHECK(rows <= INT32_MAX && modality->input_rows <= INT32_MAX &&
                 modality->feature_rows <=
                     INT32_MAX / at_least_1(module->stack),
             CS_ERR_ARG, "%s: %lld rows in one microbatch are too many",
             module->name, (long long)rows);
    CS_TRY(allocate(arena, &f));
    for (int64_t i = 0; i < modality->n_items; i++) {
        CS_TRY(fill_item(&f, i));
    }
    f.input_begin[modality->n_items] = modality->input_rows;
    f.encoder_begin[modality->n_items] = rows;
    f.pool_begin[f.n_pooled] = f.n_kept;
    *out = (cs_nn_batch){
        .rows = rows,
        .mask = {rows, f.word, f.order},
        .position = f.position,
        .n_items = modality->n_items,
        .input_rows = modality->input_rows,
        .input_begin = f.input_begin,
        .encoder_begin = f.encoder_begin,
        .kept_rows = f.n_kept,
        .keep_rows = f.n_kept < rows || module->is_tiled ? f.keep : NULL,
        .pooled_rows = f.n_pooled,
        .pool_begin = f.pool_begin,
        .feature_rows = modality->feature_rows,
        .stack_index = f.stack,
        .patch_index = f.patch,
        .class_index = f.class_row,
        .line_index = f.line,
        .newline_index = f.newline,
    };
    return CS_OK;
}
