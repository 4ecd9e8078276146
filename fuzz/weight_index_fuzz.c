/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a sharded model beside two true shards: whatever it says, the
 * folder opens whole or with a sentence, and nothing leaks. The folder lies in
 * memory, so that the fuzzer does not wear out a disk.
 */
#include "cornstarch/safetensors.h"

#include "base/alloc.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static char folder[64];

static void remove_folder(void)
{
    if (csi_dir_remove(folder) != CS_OK) {
        (void)fprintf(stderr, "%s\n", cs_error_message());
    }
}

static void write_shard(const char *name, const char *tensor)
{
    char path[128];
    cs_safetensors_writer *w = NULL;
    const cs_shape shape = CS_SHAPE(2);
    const float values[2] = {1.0F, 2.0F};

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    if (cs_safetensors_writer_create(path, NULL, 0, &w) != CS_OK ||
        cs_safetensors_writer_add(w, tensor, CS_F32, &shape) != CS_OK ||
        cs_safetensors_writer_write(w, tensor, values, sizeof values) !=
            CS_OK ||
        cs_safetensors_writer_commit(w) != CS_OK) {
        abort();
    }
    cs_safetensors_writer_destroy(&w);
}

static void make_folder(void)
{
    (void)snprintf(folder, sizeof folder, "/dev/shm/cornstarch-index-XXXXXX");
    if (mkdtemp(folder) == NULL || atexit(remove_folder) != 0) {
        abort();
    }
    write_shard("m-1.safetensors", "a");
    write_shard("m-2.safetensors", "b");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    cs_safetensors *file = NULL;
    char path[128];

    if (folder[0] == '\0') {
        make_folder();
    }
    const int64_t live = csi_alloc_live();

    (void)snprintf(path, sizeof path, "%s/model.safetensors.index.json",
                   folder);
    FILE *index = fopen(path, "wb");

    if (index == NULL || fwrite(data, 1, n_bytes, index) != n_bytes ||
        fclose(index) != 0) {
        abort();
    }
    if (cs_safetensors_open_folder(folder, &file) == CS_OK) {
        for (int64_t i = 0; i < cs_safetensors_count(file); i++) {
            const cs_safetensor *t = cs_safetensors_at(file, i);
            if (cs_safetensors_find(file, t->name) != t || t->n_bytes != 8) {
                abort();
            }
        }
        cs_safetensors_close(&file);
    } else if (cs_error_message()[0] == '\0') {
        abort();
    }
    if (csi_alloc_live() != live) {
        abort();
    }
    return 0;
}
