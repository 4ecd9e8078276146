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
#include <string.h>

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

static int64_t count_patches(const cs_processor *p)
{
    const int64_t side = p->image_size / p->patch_size;

    return side * side;
}

/* Samples with the silence that makes an even number of frames. */
static int64_t count_padded(const cs_processor *p, int64_t n_samples)
{
    return csi_round_up(n_samples, (int64_t)p->hop * 2);
}

static cs_media_size make_size(const cs_processor *p, int64_t input_rows,
                               int64_t encoder_rows)
{
    return (cs_media_size){.input_rows = input_rows,
                           .encoder_rows = encoder_rows,
                           .llm_rows = (encoder_rows + p->pool - 1) / p->pool};
}

static cs_status probe_map(const cs_processor *p, const csi_file_map *map,
                           const char *path, cs_media_size *out)
{
    if (p->modality == CS_MODALITY_VISION) {
        const csi_image_source source = image_source(map, path);
        csi_image_size ignored;

        CS_TRY(csi_image_probe(&source, &ignored));
        *out = make_size(p, count_patches(p), count_patches(p));
        out->grid_rows = p->image_size / p->patch_size;
        out->grid_columns = out->grid_rows;
        return CS_OK;
    }
    const csi_audio_source source = audio_source(p, map, path);
    csi_audio *sound = NULL;

    CS_TRY(csi_audio_open(&source, &sound));
    const int64_t n_frames = count_padded(p, csi_audio_count(sound)) / p->hop;
    csi_audio_close(&sound);
    *out = make_size(p, n_frames, n_frames / 2);
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

/* Square `rgb` into rows of (channel, row, column), patches in reading order;
 * a rest that makes no whole patch is left out, as a convolution does. */
static void cut_patches(const cs_processor *p, const uint8_t *rgb, float *rows)
{
    const int64_t patch = p->patch_size;
    const int64_t side = p->image_size / patch;
    float value[3][256];

    for (int64_t c = 0; c < 3; c++) {
        for (int64_t v = 0; v < 256; v++) {
            const float scaled = (float)((double)v * (1.0 / 255.0));

            value[c][v] = (scaled - (float)p->mean[c]) / (float)p->std[c];
        }
    }
    for (int64_t n = 0; n < side * side; n++) {
        const int64_t top = n / side * patch;
        const int64_t left = n % side * patch;

        for (int64_t i = 0; i < p->columns; i++) {
            const int64_t c = i / (patch * patch);
            const int64_t y = top + i / patch % patch;
            const int64_t x = left + i % patch;

            rows[n * p->columns + i] =
                value[c][rgb[(y * p->image_size + x) * 3 + c]];
        }
    }
}

static cs_status read_image(const cs_processor *p, const csi_file_map *map,
                            const char *path, float *rows)
{
    const csi_image_size wanted = {p->image_size, p->image_size};
    const size_t n_bytes = (size_t)p->image_size * (size_t)p->image_size * 3;
    uint8_t *rgb = NULL;
    uint8_t *square = NULL;
    csi_image_size size = {0, 0};
    cs_status st = CS_OK;

    CS_TRY(cs_image_decode(map->data, map->n_bytes, path, &rgb, &size.width,
                           &size.height));
    square = csi_malloc(n_bytes);
    CS_CHECK_GOTO(undo, square != NULL, CS_ERR_NOMEM,
                  "%s: no memory for %zu bytes of pixels", path, n_bytes);
    CS_TRY_GOTO(undo, csi_image_resize(rgb, size, square, wanted));
    cut_patches(p, square, rows);
undo:
    csi_free(square);
    csi_free(rgb);
    return st;
}

static cs_status read_frames(const cs_processor *p, csi_audio *sound,
                             const char *path, int64_t input_rows, float *rows)
{
    const csi_mel_options options = {p->sampling_rate, p->n_mels, p->n_fft,
                                     p->hop};
    const int64_t n_padded = count_padded(p, csi_audio_count(sound));

    CS_CHECK(n_padded / p->hop == input_rows, CS_ERR_FORMAT,
             "%s: the file changed: the index has %" PRId64
             " frames, now it has %" PRId64,
             path, input_rows, n_padded / p->hop);
    float *samples = csi_calloc((size_t)n_padded, sizeof *samples);
    CS_CHECK(samples != NULL, CS_ERR_NOMEM,
             "%s: no memory for %" PRId64 " samples", path, n_padded);
    cs_status st = CS_OK;
    CS_TRY_GOTO(undo, csi_audio_read(sound, samples));
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
    cs_status st = CS_OK;

    CS_TRY(csi_file_map_open(path, &map));
    if (processor->modality == CS_MODALITY_VISION) {
        CS_CHECK_GOTO(undo, input_rows == count_patches(processor),
                      CS_ERR_SHAPE,
                      "%s: %" PRId64 " rows asked for, a picture has %" PRId64,
                      path, input_rows, count_patches(processor));
        CS_TRY_GOTO(undo, read_image(processor, &map, path, rows));
    } else {
        CS_TRY_GOTO(undo, read_sound(processor, &map, path, input_rows, rows));
    }
undo:
    csi_file_map_close(&map);
    return st;
}
