/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files to encoder rows. A probe maps the file and looks at its header; a
 * read decodes it. Both derive sizes by the same function, so that an index
 * made from headers can be trusted by whoever allocates from it.
 */
#include "cornstarch/data.h"

#include "base/alloc.h"
#include "base/checked.h"
#include "base/file.h"

#include "audio.h"
#include "image.h"
#include "mel.h"

#include <inttypes.h>

enum {
    /* Frames of silence that the rows of a sound depend on: two convolutions
     * of width 3, the second one over every other frame. */
    SEEN_SILENCE = 2
};

static csi_image_source image_source(const csi_file_map *map, const char *path)
{
    return (csi_image_source){map->data, map->n_bytes, path};
}

static csi_audio_source audio_source(const cs_processor *p,
                                     const csi_file_map *map, const char *path)
{
    return (csi_audio_source){map->data, map->n_bytes, path, p->sampling_rate,
                              p->max_seconds};
}

static int64_t blocks(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* A rest of rows makes a feature of its own, but where the silence after a
 * sound was left out it would have been pooled with it, and is left out. */
static cs_media_size make_size(const cs_processor *p, int64_t input_rows,
                               int64_t encoder_rows)
{
    const int64_t kept = csi_max_i64(encoder_rows - p->feature_skip, 0);
    const int64_t pooled =
        p->drops_silence ? kept / p->pool : blocks(kept, p->pool);

    return (cs_media_size){.input_rows = input_rows,
                           .encoder_rows = encoder_rows,
                           .llm_rows = blocks(pooled, p->stack)};
}

static cs_media_size size_sound(const cs_processor *p, int64_t n_samples)
{
    if (p->pad_frames == 0) {
        const int64_t frames =
            csi_round_up(n_samples, (int64_t)p->hop * 2) / p->hop;

        return make_size(p, frames, frames / 2);
    }
    if (!p->drops_silence) {
        return make_size(p, p->pad_frames, p->pad_frames / 2);
    }
    const int64_t sound = csi_min_i64(blocks(n_samples, p->hop), p->pad_frames);

    return make_size(p, csi_min_i64(sound + SEEN_SILENCE, p->pad_frames),
                     blocks(sound, 2));
}

static cs_media_size size_picture(const cs_processor *p,
                                  const csi_image_plan *plan)
{
    const int64_t side = csi_image_patches(p, p->image_size);
    const bool is_tiled = plan->tile_rows > 0;
    const int64_t n =
        is_tiled ? side * side : (int64_t)plan->grid_rows * plan->grid_columns;
    cs_media_size size = make_size(p, n, n + p->class_rows);

    if (is_tiled) {
        const int64_t n_tiles =
            1 + (int64_t)plan->tile_rows * plan->tile_columns;

        size.input_rows *= n_tiles;
        size.encoder_rows *= n_tiles;
        size.llm_rows += plan->grid_rows * ((int64_t)plan->grid_columns + 1);
    }
    size.grid_rows = plan->grid_rows;
    size.grid_columns = plan->grid_columns;
    size.tile_rows = plan->tile_rows;
    size.tile_columns = plan->tile_columns;
    return size;
}

static cs_status probe_map(const cs_processor *p, const csi_file_map *map,
                           const char *path, cs_media_size *out)
{
    if (p->modality == CS_MODALITY_VISION) {
        const csi_image_source source = image_source(map, path);
        csi_image_plan plan;
        csi_image_size size;

        CS_TRY(csi_image_probe(&source, &size));
        CS_TRY(csi_image_plan_make(p, size, path, &plan));
        *out = size_picture(p, &plan);
        return CS_OK;
    }
    const csi_audio_source source = audio_source(p, map, path);
    csi_audio *sound = NULL;

    CS_TRY(csi_audio_open(&source, &sound));
    *out = size_sound(p, csi_audio_count(sound));
    csi_audio_close(&sound);
    return CS_OK;
}

cs_status cs_media_probe(const cs_processor *processor, const char *path,
                         cs_media_size *out)
{
    csi_file_map map;

    CS_TRY(csi_file_map_open(path, &map));
    const cs_status st = probe_map(processor, &map, path, out);
    csi_file_map_close(&map);
    CS_TRY(st);
    return CS_OK;
}

static cs_status check_rows(const char *path, int64_t wanted, int64_t got)
{
    CS_CHECK(wanted == got, CS_ERR_FORMAT,
             "%s: the file changed: the index has %" PRId64
             " rows, now it has %" PRId64,
             path, wanted, got);
    return CS_OK;
}

/* One window of a decoded picture into rows; tiles each in turn. */
static cs_status read_window(const cs_processor *p, const uint8_t *rgb,
                             csi_image_size size, const csi_image_plan *plan,
                             float *rows)
{
    const size_t n_bytes =
        (size_t)plan->window.width * (size_t)plan->window.height * 3;
    const int64_t width = plan->window.width;
    const csi_image_resize_job job = {.in = rgb,
                                      .in_size = size,
                                      .full = plan->full,
                                      .window = plan->window,
                                      .left = plan->left,
                                      .top = plan->top,
                                      .resample = p->resample};
    const int64_t side = csi_image_patches(p, p->image_size);
    uint8_t *seen = csi_malloc(n_bytes);
    cs_status st = CS_OK;

    CS_CHECK(seen != NULL, CS_ERR_NOMEM, "no memory for %zu bytes of pixels",
             n_bytes);
    CS_TRY_GOTO(undo, csi_image_resize(&job, seen));
    if (plan->tile_rows == 0) {
        csi_image_cut(p, seen, width, plan->grid_rows, plan->grid_columns,
                      rows);
    }
    for (int64_t t = 0; t < (int64_t)plan->tile_rows * plan->tile_columns;
         t++) {
        const int64_t top = t / plan->tile_columns * p->image_size;
        const int64_t left = t % plan->tile_columns * p->image_size;

        csi_image_cut(p, seen + (top * width + left) * 3, width, side, side,
                      rows + t * side * side * p->columns);
    }
undo:
    csi_free(seen);
    return st;
}

static cs_status read_image(const cs_processor *p, const csi_file_map *map,
                            const char *path, int64_t input_rows, float *rows)
{
    const csi_image_size square = {p->image_size, p->image_size};
    const int32_t side = csi_image_patches(p, p->image_size);
    const csi_image_plan whole = {.full = square,
                                  .window = square,
                                  .grid_rows = side,
                                  .grid_columns = side};
    uint8_t *rgb = NULL;
    csi_image_size size = {0, 0};
    csi_image_plan plan;
    cs_status st = CS_OK;

    CS_TRY(cs_image_decode(map->data, map->n_bytes, path, &rgb, &size.width,
                           &size.height));
    CS_TRY_GOTO(undo, csi_image_plan_make(p, size, path, &plan));
    CS_TRY_GOTO(undo, check_rows(path, input_rows,
                                 size_picture(p, &plan).input_rows));
    if (plan.tile_rows > 0) {
        CS_TRY_GOTO(undo, read_window(p, rgb, size, &whole, rows));
        rows += (int64_t)side * side * p->columns;
    }
    CS_TRY_GOTO(undo, read_window(p, rgb, size, &plan, rows));
undo:
    csi_free(rgb);
    return st;
}

static cs_status read_frames(const cs_processor *p, csi_audio *sound,
                             const char *path, int64_t input_rows, float *rows)
{
    const csi_mel_options options = {p->sampling_rate, p->n_mels, p->n_fft,
                                     p->hop};
    const int64_t n_sound = csi_audio_count(sound);
    const int64_t n_padded = input_rows * p->hop;

    CS_TRY(check_rows(path, input_rows, size_sound(p, n_sound).input_rows));
    float *samples = csi_calloc((size_t)n_padded, sizeof *samples);
    CS_CHECK(samples != NULL, CS_ERR_NOMEM,
             "%s: no memory for %" PRId64 " samples", path, n_padded);
    cs_status st = CS_OK;
    CS_TRY_GOTO(undo,
                csi_audio_read(sound, samples, csi_min_i64(n_sound, n_padded)));
    CS_TRY_GOTO(undo, csi_mel_spectrogram(&options, samples, n_padded, rows));
undo:
    csi_free(samples);
    return st;
}

static cs_status read_sound(const cs_processor *p, const csi_file_map *map,
                            const char *path, int64_t input_rows, float *rows)
{
    const csi_audio_source source = audio_source(p, map, path);
    csi_audio *sound = NULL;

    CS_TRY(csi_audio_open(&source, &sound));
    const cs_status st = read_frames(p, sound, path, input_rows, rows);
    csi_audio_close(&sound);
    CS_TRY(st);
    return CS_OK;
}

cs_status cs_media_read(const cs_processor *processor, const char *path,
                        int64_t input_rows, float *rows)
{
    csi_file_map map;

    CS_TRY(csi_file_map_open(path, &map));
    const cs_status st =
        processor->modality == CS_MODALITY_VISION
            ? read_image(processor, &map, path, input_rows, rows)
            : read_sound(processor, &map, path, input_rows, rows);
    csi_file_map_close(&map);
    CS_TRY(st);
    return CS_OK;
}
