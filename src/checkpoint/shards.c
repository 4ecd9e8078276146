/* SPDX-License-Identifier: Apache-2.0 */
/* The cut of a model into files is known before the first byte, because the
 * names say how many there are. */
#include "shards.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include <inttypes.h>
#include <string.h>

const char csi_weights_file[] = "model.safetensors";

static const char INDEX_FILE[] = "model.safetensors.index.json";
static const int64_t DEFAULT_SHARD_BYTES = 5000000000;

enum {
    FILE_NAME_BYTES = 64
};

typedef struct shard_list {
    csi_shard_tensor *tensors; /* borrowed */
    int64_t n, n_bytes;
    int32_t n_shards;
    const char *folder;
    csi_shard_write_fn write;
    void *context;
} shard_list;

/* Cuts the list where a file would become too large. */
static void cut_shards(shard_list *list, int64_t max_bytes)
{
    int64_t in_shard = 0;

    list->n_shards = list->n > 0 ? 1 : 0;
    for (int64_t i = 0; i < list->n; i++) {
        const int64_t n_bytes = list->tensors[i].n_bytes;
        if (in_shard > 0 && n_bytes > max_bytes - in_shard) {
            list->n_shards++;
            in_shard = 0;
        }
        in_shard += n_bytes;
        list->n_bytes += n_bytes;
        list->tensors[i].shard = list->n_shards - 1;
    }
}

/* "model-00001-of-00003.safetensors" */
static cs_status name_shard(const shard_list *list, int32_t shard,
                            char out[FILE_NAME_BYTES])
{
    if (list->n_shards == 1) {
        return csi_format(out, FILE_NAME_BYTES, "%s", csi_weights_file);
    }
    return csi_format(out, FILE_NAME_BYTES, "model-%05d-of-%05d.safetensors",
                      shard + 1, list->n_shards);
}

static cs_status write_shard(const shard_list *list, int32_t shard,
                             const char *path)
{
    const cs_safetensors_pair metadata = {"format", "pt"};
    cs_safetensors_writer *file = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_safetensors_writer_create(path, &metadata, 1, &file));
    for (int64_t i = 0; i < list->n; i++) {
        const csi_shard_tensor *t = &list->tensors[i];
        if (t->shard == shard) {
            CS_TRY_GOTO(done, cs_safetensors_writer_add(file, t->name, t->dtype,
                                                        &t->shape));
        }
    }
    for (int64_t i = 0; i < list->n; i++) {
        if (list->tensors[i].shard == shard) {
            CS_TRY_GOTO(done, list->write(list->context, i, file));
        }
    }
    CS_TRY_GOTO(done, cs_safetensors_writer_commit(file));
done:
    cs_safetensors_writer_destroy(&file);
    return st;
}

static cs_status print_index(const shard_list *list, csi_str *text)
{
    char name[FILE_NAME_BYTES];

    csi_str_addf(text,
                 "{\n  \"metadata\": {\n    \"total_size\": %" PRId64
                 "\n  },\n  \"weight_map\": {",
                 list->n_bytes);
    for (int64_t i = 0; i < list->n; i++) {
        CS_TRY(name_shard(list, list->tensors[i].shard, name));
        csi_str_add(text, i > 0 ? ",\n    \"" : "\n    \"");
        csi_str_add_json(text, list->tensors[i].name);
        csi_str_addf(text, "\": \"%s\"", name);
    }
    csi_str_add(text, "\n  }\n}\n");
    return csi_str_check(text);
}

static cs_status write_index(const shard_list *list)
{
    csi_str text = {0};
    char *path = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, print_index(list, &text));
    CS_TRY_GOTO(done, csi_path_join(list->folder, INDEX_FILE, &path));
    CS_TRY_GOTO(done, csi_file_write(path, text.data, text.length));
done:
    csi_free(path);
    csi_str_fini(&text);
    return st;
}

cs_status csi_shards_write(csi_shard_tensor *tensors, int64_t n,
                           int64_t max_bytes, const char *folder,
                           csi_shard_write_fn write, void *context)
{
    shard_list list = {
        .tensors = tensors,
        .n = n,
        .folder = folder,
        .write = write,
        .context = context,
    };

    cut_shards(&list, max_bytes > 0 ? max_bytes : DEFAULT_SHARD_BYTES);
    for (int32_t shard = 0; shard < list.n_shards; shard++) {
        char name[FILE_NAME_BYTES];
        char *path = NULL;
        CS_TRY(name_shard(&list, shard, name));
        CS_TRY(csi_path_join(folder, name, &path));
        const cs_status st = write_shard(&list, shard, path);
        csi_free(path);
        CS_TRY(st);
    }
    return list.n_shards > 1 ? write_index(&list) : CS_OK;
}
