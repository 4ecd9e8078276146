/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The weights of one part as files: one, or shards with an index when they are
 * larger than a file shall be. A list of tensors is made first, so that names,
 * sizes and the cut into files are known before the first byte.
 */
#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include "export.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char csi_weights_file[] = "model.safetensors";

static const char INDEX_FILE[] = "model.safetensors.index.json";
static const int64_t DEFAULT_SHARD_BYTES = 5000000000;

enum {
    FILE_NAME_BYTES = 64
};

/* One tensor of the files to be written. */
typedef struct entry {
    int32_t param, piece;
    cs_dtype dtype;
    int64_t n_bytes;
    int32_t shard;
    csi_file_tensor t; /* t.found: frozen, from the source; or NULL */
} entry;

typedef struct entry_list {
    entry *entries; /* owned */
    int64_t n;
    int32_t n_shards;
    int64_t n_bytes;
} entry_list;

/* Values of the parameter whose pieces are being written. */
typedef struct piece_writer {
    csi_exporter *x;
    int32_t param;      /* -1 = none yet */
    const void *values; /* of param, as memory holds it; f32 */
    float *initial;     /* owned: values of a frozen one without source */
    float *stored;      /* owned: a piece as files hold it */
} piece_writer;

/* Wider types first, as the file wants it; else in graph order, so that the
 * trainable ones (all f32) come in the order in which they are sent. */
static int compare_entries(const void *a, const void *b)
{
    const entry *x = a;
    const entry *y = b;
    const size_t x_bytes = cs_dtype_bytes(x->dtype);
    const size_t y_bytes = cs_dtype_bytes(y->dtype);

    if (x_bytes != y_bytes) {
        return x_bytes > y_bytes ? -1 : 1;
    }
    if (x->param != y->param) {
        return x->param < y->param ? -1 : 1;
    }
    return x->piece < y->piece ? -1 : x->piece > y->piece;
}

static int64_t count_entries(const cs_graph *graph, const csi_part *part)
{
    int64_t n = 0;

    for (int32_t i = 0; i < graph->n_params; i++) {
        if (csi_export_writes(graph, part, i)) {
            n += cs_param_file_count(&graph->params[i]);
        }
    }
    return n;
}

static cs_status add_entry(const cs_graph *graph, const csi_part *part,
                           const cs_safetensors *source, int32_t i, int32_t k,
                           entry *e)
{
    const bool is_kept = source != NULL && !graph->params[i].is_trainable;

    e->param = i;
    e->piece = k;
    CS_TRY(csi_part_find(graph, part, is_kept ? source : NULL, i, k, &e->t));
    e->dtype = e->t.found != NULL ? e->t.found->dtype : CS_F32;
    CS_TRY(cs_shape_bytes(&e->t.shape, e->dtype, &e->n_bytes));
    return CS_OK;
}

/* Cuts the sorted list where a file would become too large. */
static void cut_shards(entry_list *list, int64_t max_bytes)
{
    int64_t in_shard = 0;

    list->n_shards = list->n > 0 ? 1 : 0;
    for (int64_t e = 0; e < list->n; e++) {
        const int64_t n_bytes = list->entries[e].n_bytes;
        if (in_shard > 0 && n_bytes > max_bytes - in_shard) {
            list->n_shards++;
            in_shard = 0;
        }
        in_shard += n_bytes;
        list->n_bytes += n_bytes;
        list->entries[e].shard = list->n_shards - 1;
    }
}

/* The part's tensors, sorted; `source` is NULL where it has none. */
static cs_status list_entries(const csi_exporter *x, const csi_part *part,
                              const cs_safetensors *source, entry_list *list)
{
    const cs_graph *graph = x->set->graph;
    const int64_t limit = x->extras->max_shard_bytes;
    const int64_t n = count_entries(graph, part);

    list->entries = csi_calloc((size_t)n + 1, sizeof *list->entries);
    CS_CHECK(list->entries != NULL, CS_ERR_NOMEM,
             "export: out of memory for %" PRId64 " tensors", n);
    for (int32_t i = 0; i < graph->n_params; i++) {
        const int32_t n_pieces = csi_export_writes(graph, part, i)
                                     ? cs_param_file_count(&graph->params[i])
                                     : 0;
        for (int32_t k = 0; k < n_pieces; k++) {
            CS_TRY(add_entry(graph, part, source, i, k,
                             &list->entries[list->n]));
            list->n++;
        }
    }
    qsort(list->entries, (size_t)list->n, sizeof *list->entries,
          compare_entries);
    cut_shards(list, limit > 0 ? limit : DEFAULT_SHARD_BYTES);
    return CS_OK;
}

/* ---- values ---- */

/* Values of e's parameter, as memory holds them. */
static cs_status take_values(piece_writer *w, const entry *e)
{
    const cs_graph *graph = w->x->set->graph;

    if (w->param == e->param) {
        return CS_OK;
    }
    csi_free(w->initial);
    csi_free(w->stored);
    w->initial = NULL;
    w->stored = NULL;
    w->param = e->param;
    if (csi_export_sends(graph, e->param)) {
        CS_TRY(csi_export_take(w->x, e->param, &w->values));
    } else {
        CS_TRY(csi_initial_values(graph, e->param, w->x->seed, &w->initial));
        w->values = w->initial;
    }
    return CS_OK;
}

/* One tensor of the file, in the layout that files have. */
static cs_status write_entry(piece_writer *w, const entry *e,
                             cs_safetensors_writer *file)
{
    const cs_graph *graph = w->x->set->graph;
    const cs_param *spec = &graph->params[e->param];
    const void *stored = NULL;

    if (e->t.found != NULL) {
        return cs_safetensors_writer_write(file, e->t.name, e->t.found->data,
                                           e->n_bytes);
    }
    CS_TRY(take_values(w, e));
    stored = w->values;
    if (spec->layout != CS_LAYOUT_PLAIN) {
        if (w->stored == NULL) {
            w->stored = csi_aligned((size_t)e->n_bytes);
        }
        CS_CHECK(w->stored != NULL, CS_ERR_NOMEM, "%s: out of memory",
                 spec->global_name);
        cs_param_to_file(graph, spec, e->piece, sizeof(float), w->values,
                         w->stored);
        stored = w->stored;
    }
    return cs_safetensors_writer_write(file, e->t.name, stored, e->n_bytes);
}

/* ---- files ---- */

/* "model-00001-of-00003.safetensors" */
static cs_status name_shard(const entry_list *list, int32_t shard,
                            char out[FILE_NAME_BYTES])
{
    if (list->n_shards == 1) {
        return csi_format(out, FILE_NAME_BYTES, "%s", csi_weights_file);
    }
    return csi_format(out, FILE_NAME_BYTES, "model-%05d-of-%05d.safetensors",
                      shard + 1, list->n_shards);
}

static cs_status write_shard(piece_writer *w, const entry_list *list,
                             int32_t shard, const char *path)
{
    const cs_safetensors_pair metadata = {"format", "pt"};
    cs_safetensors_writer *file = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_safetensors_writer_create(path, &metadata, 1, &file));
    for (int64_t i = 0; i < list->n; i++) {
        const entry *e = &list->entries[i];
        if (e->shard == shard) {
            CS_TRY_GOTO(done, cs_safetensors_writer_add(file, e->t.name,
                                                        e->dtype, &e->t.shape));
        }
    }
    for (int64_t i = 0; i < list->n; i++) {
        const entry *e = &list->entries[i];
        if (e->shard != shard) {
            continue;
        }
        /* A trainable one is received before anything else can fail. */
        if (csi_export_sends(w->x->set->graph, e->param)) {
            w->x->next = e->param + 1;
        }
        CS_TRY_GOTO(done, write_entry(w, e, file));
    }
    CS_TRY_GOTO(done, cs_safetensors_writer_commit(file));
done:
    cs_safetensors_writer_destroy(&file);
    return st;
}

static cs_status write_index(const entry_list *list, const char *folder)
{
    csi_str text = {0};
    char name[FILE_NAME_BYTES];
    cs_status st = CS_OK;

    csi_str_addf(&text,
                 "{\n  \"metadata\": {\n    \"total_size\": %" PRId64
                 "\n  },\n  \"weight_map\": {",
                 list->n_bytes);
    for (int64_t i = 0; i < list->n; i++) {
        const entry *e = &list->entries[i];
        CS_TRY_GOTO(done, name_shard(list, e->shard, name));
        csi_str_add(&text, i > 0 ? ",\n    \"" : "\n    \"");
        csi_str_add_json(&text, e->t.name);
        csi_str_addf(&text, "\": \"%s\"", name);
    }
    csi_str_add(&text, "\n  }\n}\n");
    CS_TRY_GOTO(done, csi_str_check(&text));
    CS_TRY_GOTO(done, csi_write_text(folder, INDEX_FILE, text.data));
done:
    csi_str_fini(&text);
    return st;
}

static cs_status write_files(csi_exporter *x, const entry_list *list,
                             const char *folder)
{
    piece_writer w = {.x = x, .param = -1};
    char name[FILE_NAME_BYTES];
    char *path = NULL;
    cs_status st = CS_OK;

    for (int32_t shard = 0; shard < list->n_shards; shard++) {
        CS_TRY_GOTO(done, name_shard(list, shard, name));
        CS_TRY_GOTO(done, csi_path_join(folder, name, &path));
        CS_TRY_GOTO(done, write_shard(&w, list, shard, path));
        csi_free(path);
        path = NULL;
    }
    if (list->n_shards > 1) {
        CS_TRY_GOTO(done, write_index(list, folder));
    }
done:
    csi_free(path);
    csi_free(w.initial);
    csi_free(w.stored);
    return st;
}

cs_status csi_export_weights(csi_exporter *x, const csi_part *part,
                             const char *folder)
{
    cs_safetensors *source = NULL;
    entry_list list = {0};
    cs_status st = CS_OK;

    if (part->source != NULL) {
        CS_TRY(cs_safetensors_open_folder(part->source, &source));
    }
    CS_TRY_GOTO(done, list_entries(x, part, source, &list));
    CS_TRY_GOTO(done, write_files(x, &list, folder));
done:
    cs_safetensors_close(&source);
    csi_free(list.entries);
    return st;
}
