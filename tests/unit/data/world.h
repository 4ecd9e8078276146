/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_DATA_WORLD_H
#define CST_DATA_WORLD_H
/*
 * A small world for tests of data sets: a folder with a picture of 2 x 2
 * pixels and a recording of 0.1 s, a model of one vision encoder (4 rows per
 * picture), one audio encoder (5 rows for the recording) and a language model,
 * the byte tokenizer, and a recipe over train.json.
 */
#include "cornstarch/data.h"

#include "support/test.h"

#include <string.h>

typedef struct world {
    cst_tmpdir dir;
    char train[CST_PATH_BYTES], index[CST_PATH_BYTES], root[CST_PATH_BYTES];
    cs_config config;
    cs_encoder_config encoders[2];
    cs_dataset_config file;
    cs_module modules[3];
    cs_graph graph;
    cs_tokenizer *tokenizer;
    cs_dataset_options options;
} world;

enum {
    IMAGE_ROWS = 4,
    AUDIO_ROWS = 5,
    N_MELS = 8,
    BOS = 257,
    EOS = 256
};

static inline void put_u32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
}

/* 16 kHz, mono, 16 bits, n_samples of a ramp. */
static inline void write_wav(const cst_tmpdir *dir, const char *name,
                             uint32_t n_samples)
{
    static unsigned char wav[44 + 2 * 16000];

    memcpy(wav, "RIFF....WAVEfmt ", 16);
    put_u32(wav + 4, 36 + 2 * n_samples);
    put_u32(wav + 16, 16);
    put_u32(wav + 20, 1 | 1U << 16);
    put_u32(wav + 24, 16000);
    put_u32(wav + 28, 32000);
    put_u32(wav + 32, 2 | 16U << 16);
    memcpy(wav + 36, "data", 4);
    put_u32(wav + 40, 2 * n_samples);
    for (uint32_t i = 0; i < n_samples; i++) {
        const int value = (int)(i * 37 % 2000) - 1000;

        wav[44 + 2 * i] = (unsigned char)(value & 0xff);
        wav[45 + 2 * i] = (unsigned char)(value >> 8 & 0xff);
    }
    (void)cst_write_bytes(dir, name, wav, 44 + 2 * n_samples);
}

static inline void write_png(const cst_tmpdir *dir, const char *name)
{
    static const unsigned char PNG[] =
        {0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00,
         0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00,
         0x00, 0x02, 0x08, 0x02, 0x00, 0x00, 0x00, 0xfd, 0xd4, 0x9a, 0x73,
         0x00, 0x00, 0x00, 0x11, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63,
         0xf8, 0xcf, 0xc0, 0xc0, 0xf0, 0x1f, 0x8c, 0x80, 0x18, 0x00, 0x1d,
         0xf0, 0x03, 0xfd, 0xae, 0x3f, 0xe2, 0x38, 0x00, 0x00, 0x00, 0x00,
         0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

    (void)cst_write_bytes(dir, name, PNG, sizeof PNG);
}

static inline void name_part(char *to, const char *text)
{
    assert_true(strlen(text) < CST_PATH_BYTES);
    strcpy(to, text);
}

/* module names are literals: nobody frees this graph */
static inline void world_graph(world *w)
{
    static char vision[] = "vision";
    static char audio[] = "audio";
    static char siglip[] = "siglip";
    static char whisper[] = "whisper";
    static char language_model[] = "language_model";

    w->modules[0] = (cs_module){.name = vision,
                                .family = siglip,
                                .modality = CS_MODALITY_VISION,
                                .image_size = 4,
                                .patch_size = 2,
                                .n_channels = 3,
                                .pool = 1};
    w->modules[1] = (cs_module){.name = audio,
                                .family = whisper,
                                .modality = CS_MODALITY_AUDIO,
                                .n_mels = N_MELS,
                                .pool = 1};
    w->modules[2] = (cs_module){.name = language_model,
                                .modality = CS_MODALITY_TEXT,
                                .vocab = 260};
    w->graph = (cs_graph){.n_modules = 3,
                          .modules = w->modules,
                          .attention = CS_MASK_ISLANDS};
}

static inline void world_open(world *w)
{
    memset(w, 0, sizeof *w);
    cst_tmpdir_make(&w->dir);
    name_part(w->train, cst_path(&w->dir, "train.json"));
    name_part(w->index, cst_path(&w->dir, "index"));
    name_part(w->root, w->dir.path);
    write_png(&w->dir, "a.png");
    write_wav(&w->dir, "b.wav", 1600);
    world_graph(w);
    w->encoders[0] =
        (cs_encoder_config){.name = "vision", .placeholder = "<image>"};
    w->encoders[1] =
        (cs_encoder_config){.name = "audio", .placeholder = "<audio>"};
    w->config.model.n_encoders = 2;
    w->config.model.encoders = w->encoders;
    w->config.data.template_name = "auto";
    w->config.data.max_length = 1000;
    w->config.data.num_workers = 2;
    w->file = (cs_dataset_config){.path = w->train,
                                  .media_root = w->root,
                                  .weight = 1.0};
    assert_ok(cs_tokenizer_load(cst_source_path("examples/stamps/tokenizer"),
                                &w->tokenizer));
    w->options = (cs_dataset_options){.config = &w->config,
                                      .graph = &w->graph,
                                      .tokenizer = w->tokenizer,
                                      .files = &w->file,
                                      .n_files = 1,
                                      .index_folder = w->index,
                                      .quiet = true};
}

static inline void world_close(world *w)
{
    cs_tokenizer_destroy(&w->tokenizer);
    cst_tmpdir_remove(&w->dir);
}
#endif
