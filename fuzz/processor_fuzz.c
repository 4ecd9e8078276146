/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a preprocessor_config.json of every kind of model: refused, or
 * a processor whose print reads back as itself and whose sizes are bounded,
 * for the most extreme pictures too.
 */
#include "base/alloc.h"
#include "base/file.h"

#include "data/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static char folder[64];
static char path[128];

static void make_folder(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/processor_fuzz.%d",
                   (int)getpid());
    (void)snprintf(path, sizeof path, "%s/preprocessor_config.json", folder);
    if (csi_dir_create(folder) != CS_OK) {
        abort();
    }
}

static void remove_folder(void)
{
    (void)unlink(path);
    (void)rmdir(folder);
}

static void write_file(const void *data, size_t n_bytes)
{
    FILE *const file = fopen(path, "wb");

    if (file == NULL || fwrite(data, 1, n_bytes, file) != n_bytes) {
        abort();
    }
    (void)fclose(file);
}

static void check_sizes(const cs_processor *p)
{
    static const csi_image_size SIZES[] = {{1, 1},
                                           {1, 32768},
                                           {32768, 1},
                                           {32768, 2048},
                                           {7, 9}};

    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        csi_image_plan plan;

        if (csi_image_plan_make(p, SIZES[i], "fuzz", &plan) == CS_OK &&
            (plan.window.width < 1 || plan.window.height < 1 ||
             plan.full.width < 1 || plan.full.height < 1 ||
             (int64_t)plan.window.width * plan.window.height > (int64_t)1
                                                                   << 28 ||
             plan.grid_rows < 0 || plan.grid_columns < 0 ||
             plan.grid_rows % p->merge != 0 ||
             plan.grid_columns % p->merge != 0)) {
            abort();
        }
    }
}

static void try_module(const cs_module *module, const void *data,
                       size_t n_bytes)
{
    const cs_encoder_config config = {.pool = 1};
    cs_processor p;
    cs_processor again;
    char *text = NULL;
    char *twice = NULL;

    write_file(data, n_bytes);
    if (cs_processor_init(module, &config, &p) != CS_OK) {
        return;
    }
    if (p.modality == CS_MODALITY_VISION) {
        check_sizes(&p);
    }
    if (cs_processor_print(&p, &text) != CS_OK) {
        abort();
    }
    write_file(text, strlen(text));
    if (cs_processor_init(module, &config, &again) != CS_OK ||
        cs_processor_print(&again, &twice) != CS_OK ||
        strcmp(text, twice) != 0) {
        abort();
    }
    csi_free(text);
    csi_free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static char clip[] = "clip", pixtral[] = "pixtral", qwen[] = "qwen2_vl",
                whisper[] = "whisper", name[] = "encoder";

    if (folder[0] == '\0') {
        make_folder();
        (void)atexit(remove_folder);
    }
    const cs_module modules[] = {
        {.name = name,
         .family = clip,
         .modality = CS_MODALITY_VISION,
         .image_size = 28,
         .patch_size = 7,
         .n_channels = 3,
         .source = folder},
        {.name = name,
         .family = pixtral,
         .modality = CS_MODALITY_VISION,
         .image_size = 1024,
         .patch_size = 4,
         .n_channels = 3,
         .is_any_size = true,
         .source = folder},
        {.name = name,
         .family = qwen,
         .modality = CS_MODALITY_VISION,
         .patch_size = 4,
         .merge = 2,
         .temporal_patch = 2,
         .n_channels = 3,
         .is_any_size = true,
         .source = folder},
        {.name = name,
         .family = clip,
         .modality = CS_MODALITY_VISION,
         .image_size = 28,
         .patch_size = 7,
         .n_channels = 3,
         .is_tiled = true,
         .source = folder},
        {.name = name,
         .family = whisper,
         .modality = CS_MODALITY_AUDIO,
         .n_mels = 80,
         .max_positions = 50,
         .pads_audio = true,
         .source = folder},
    };

    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        try_module(&modules[i], data, n_bytes);
    }
    return 0;
}
