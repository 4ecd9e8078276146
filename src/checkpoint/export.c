/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RUN/model: rank 0 writes, the others send. What travels is known to all
 * before the first message: trainable parameters in graph order, each from its
 * owner. When rank 0 fails midway (a full disk) it goes on receiving, so that
 * nobody waits, and the agreement at the end gives all ranks its sentence.
 *
 *     frozen, source has one file    the file, byte for byte
 *     frozen                         tensors with the source's bytes and dtype
 *     frozen, no source              initial values again, f32
 *     trainable                      f32 from the master
 */
#include "export.h"

#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/checked.h"
#include "base/file.h"

#include "gather.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char WEIGHTS_FILE[] = "model.safetensors";
typedef struct exporter {
    const cs_param_set *set;
    uint64_t seed;
    cs_comm *replica;
    const cs_export_extras *extras;
    char *temporary;  /* owned; FOLDER.tmp */
    int32_t *owner;   /* owned */
    void *buffer;     /* owned; largest trainable one, in the real type */
    float *converted; /* owned; the same as f32, where real is not f32 */
    int32_t next;     /* trainable parameters before it have been received */
} exporter;

/* ---- weights ---- */

/* One tensor of the file to be written. */
typedef struct entry {
    int32_t param;
    cs_dtype dtype;
    const cs_safetensor *tensor; /* frozen, from the source; or NULL */
} entry;

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
    return x->param < y->param ? -1 : 1;
}

/* Values of a parameter that is held here, in the set's real type. */
static cs_status own_values(exporter *x, int32_t param, const void **out)
{
    const cs_param_set *set = x->set;
    const cs_param_state *item = cs_param_find(set, param);

    *out = item->master;
    if (item->master == NULL) { /* a bf16 set without training */
        CS_TRY(csi_dtype_convert(item->working.data, set->dtype, x->buffer,
                                 set->real, item->count));
        *out = x->buffer;
    }
    return CS_OK;
}

static cs_status receive_values(exporter *x, int32_t param)
{
    const cs_shape *shape = &x->set->graph->params[param].shape;
    cs_request request = {0};

    CS_TRY(cs_comm_recv(x->replica, x->owner[param], param, x->buffer,
                        (size_t)cs_shape_count(shape) *
                            cs_dtype_bytes(x->set->real),
                        &request));
    CS_TRY(cs_comm_wait(x->replica, &request));
    return CS_OK;
}

static cs_status send_values(exporter *x, int32_t param)
{
    const cs_shape *shape = &x->set->graph->params[param].shape;
    const void *values = NULL;
    cs_request request = {0};

    CS_TRY(own_values(x, param, &values));
    CS_TRY(cs_comm_send(x->replica, 0, param, values,
                        (size_t)cs_shape_count(shape) *
                            cs_dtype_bytes(x->set->real),
                        &request));
    CS_TRY(cs_comm_wait(x->replica, &request));
    return CS_OK;
}

/* The trainable parameter's values as f32, from here or from its owner. */
static cs_status take_values(exporter *x, int32_t param, const void **out)
{
    const cs_param_set *set = x->set;
    const void *values = x->buffer;

    if (x->owner[param] == 0) {
        CS_TRY(own_values(x, param, &values));
    } else {
        CS_TRY(receive_values(x, param));
    }
    if (set->real != CS_F32) {
        CS_TRY(csi_dtype_convert(values, set->real, x->converted, CS_F32,
                                 cs_shape_count(&set->graph->params[param]
                                                     .shape)));
        values = x->converted;
    }
    *out = values;
    return CS_OK;
}

static cs_status write_entry(exporter *x, const entry *e,
                             cs_safetensors_writer *file)
{
    const cs_param *spec = &x->set->graph->params[e->param];
    const void *values = NULL;
    float *initial = NULL;

    if (e->tensor != NULL) {
        return cs_safetensors_writer_write(file, spec->name, e->tensor->data,
                                           e->tensor->n_bytes);
    }
    if (spec->is_trainable) {
        CS_TRY(take_values(x, e->param, &values));
    } else {
        CS_TRY(csi_initial_values(x->set->graph, e->param, x->seed, &initial));
        values = initial;
    }
    const cs_status st =
        cs_safetensors_writer_write(file, spec->name, values,
                                    cs_shape_count(&spec->shape) *
                                        (int64_t)sizeof(float));

    csi_free(initial);
    CS_TRY(st);
    return CS_OK;
}

static cs_status write_entries(exporter *x, const entry *entries, int32_t n,
                               const char *path)
{
    const cs_safetensors_pair metadata = {"format", "pt"};
    cs_safetensors_writer *file = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_safetensors_writer_create(path, &metadata, 1, &file));
    for (int32_t i = 0; i < n; i++) {
        const cs_param *spec = &x->set->graph->params[entries[i].param];
        CS_TRY_GOTO(done,
                    cs_safetensors_writer_add(file, spec->name,
                                              entries[i].dtype, &spec->shape));
    }
    for (int32_t i = 0; i < n; i++) {
        const int32_t param = entries[i].param;
        /* A trainable one is received before anything else can fail. */
        x->next =
            x->set->graph->params[param].is_trainable ? param + 1 : x->next;
        CS_TRY_GOTO(done, write_entry(x, &entries[i], file));
    }
    CS_TRY_GOTO(done, cs_safetensors_writer_commit(file));
done:
    cs_safetensors_writer_destroy(&file);
    return st;
}

/* Lists the part's tensors; `source` is NULL where it has none. */
static int32_t list_entries(const cs_graph *graph, const csi_part *part,
                            const cs_safetensors *source, entry *entries)
{
    int32_t n = 0;

    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *spec = &graph->params[i];
        const cs_safetensor *tensor = NULL;
        if (!csi_part_has(graph, part, i)) {
            continue;
        }
        if (source != NULL && !spec->is_trainable) {
            tensor = csi_part_find(graph, part, source, i);
        }
        entries[n++] = (entry){
            .param = i,
            .dtype = tensor != NULL ? tensor->dtype : CS_F32,
            .tensor = tensor,
        };
    }
    qsort(entries, (size_t)n, sizeof *entries, compare_entries);
    return n;
}

static cs_status write_weights(exporter *x, const csi_part *part,
                               const char *path)
{
    const cs_graph *graph = x->set->graph;
    cs_status st = CS_OK;
    cs_safetensors *source = NULL;
    entry *entries = csi_calloc((size_t)graph->n_params, sizeof *entries);

    CS_CHECK(entries != NULL, CS_ERR_NOMEM, "%s: out of memory", path);
    if (part->source != NULL) {
        CS_TRY_GOTO(done, cs_safetensors_open_folder(part->source, &source));
    }
    const int32_t n = list_entries(graph, part, source, entries);

    CS_TRY_GOTO(done, write_entries(x, entries, n, path));
done:
    cs_safetensors_close(&source);
    csi_free(entries);
    return st;
}

/* Whether the source calls its tensors as we do. */
static cs_status has_our_names(const cs_graph *graph, const csi_part *part,
                               bool *out)
{
    cs_safetensors *source = NULL;

    CS_TRY(cs_safetensors_open_folder(part->source, &source));
    *out = true;
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_safetensor *tensor =
            csi_part_has(graph, part, i) ? csi_part_find(graph, part, source, i)
                                         : NULL;
        *out = *out && (tensor == NULL ||
                        strcmp(tensor->name, graph->params[i].name) == 0);
    }
    cs_safetensors_close(&source);
    return CS_OK;
}

/* Whether nothing of the part is trained and its source is one file, with the
 * names that the class of the export expects. */
static cs_status is_copy(const cs_graph *graph, const csi_part *part, bool *out)
{
    char *path = NULL;

    *out = part->source != NULL;
    for (int32_t i = 0; i < graph->n_params; i++) {
        *out = *out &&
               !(csi_part_has(graph, part, i) && graph->params[i].is_trainable);
    }
    if (*out) {
        CS_TRY(csi_path_join(part->source, WEIGHTS_FILE, &path));
        *out = csi_file_exists(path);
        csi_free(path);
    }
    return *out ? has_our_names(graph, part, out) : CS_OK;
}

static cs_status write_part(exporter *x, const csi_part *part)
{
    const cs_graph *graph = x->set->graph;
    cs_status st = CS_OK;
    char *name = NULL;
    char *folder = NULL;
    char *path = NULL;
    bool copies = false;

    CS_TRY_GOTO(done, csi_part_folder(graph, part, &name));
    CS_TRY_GOTO(done, csi_path_join(x->temporary, name, &folder));
    CS_TRY_GOTO(done, csi_dir_create(folder));
    CS_TRY_GOTO(done, csi_export_write_extras(graph, part, x->extras, folder));
    CS_TRY_GOTO(done, is_copy(graph, part, &copies));
    if (copies) {
        CS_TRY_GOTO(done, csi_copy_into(part->source, folder, WEIGHTS_FILE));
    } else {
        CS_TRY_GOTO(done, csi_path_join(folder, WEIGHTS_FILE, &path));
        CS_TRY_GOTO(done, write_weights(x, part, path));
    }
done:
    csi_free(name);
    csi_free(folder);
    csi_free(path);
    return st;
}

/* ---- the ranks together ---- */

static cs_status write_all(exporter *x)
{
    const cs_graph *graph = x->set->graph;

    CS_TRY(csi_dir_remove(x->temporary));
    CS_TRY(csi_dir_create(x->temporary));
    for (int32_t k = 0; k < csi_part_count(graph); k++) {
        const csi_part part = csi_part_at(graph, k);
        if (!csi_part_is_empty(graph, &part)) {
            CS_TRY(write_part(x, &part));
        }
    }
    CS_TRY(csi_write_text(x->temporary, "cornstarch.json",
                          x->extras->cornstarch_json));
    return CS_OK;
}

/* What rank 0 has not received yet: it is still being sent. */
static cs_status drain(exporter *x)
{
    const cs_graph *graph = x->set->graph;

    for (int32_t i = x->next; i < graph->n_params; i++) {
        if (graph->params[i].is_trainable && x->owner[i] != 0) {
            CS_TRY(receive_values(x, i));
        }
    }
    return CS_OK;
}

static cs_status send_all(exporter *x)
{
    const cs_graph *graph = x->set->graph;

    for (int32_t i = 0; i < graph->n_params; i++) {
        if (graph->params[i].is_trainable && x->owner[i] == x->replica->rank) {
            CS_TRY(send_values(x, i));
        }
    }
    return CS_OK;
}

static cs_status run_rank(exporter *x)
{
    if (x->replica->rank != 0) {
        return send_all(x);
    }
    const cs_status st = write_all(x);

    if (st != CS_OK && st != CS_ERR_PEER && st != CS_ERR_COMM) {
        cs_error error;
        cs_error_get(&error);
        CS_TRY(drain(x));
        cs_error_set(&error);
    }
    return st;
}

/* Allocations of one rank; same checks on all. */
static cs_status prepare(exporter *x, const char *folder)
{
    const cs_graph *graph = x->set->graph;
    const size_t n_path = strlen(folder) + sizeof ".tmp";
    int64_t largest = 1;

    for (int32_t i = 0; i < graph->n_params; i++) {
        if (graph->params[i].is_trainable) {
            largest =
                csi_max_i64(largest, cs_shape_count(&graph->params[i].shape));
        }
    }
    x->temporary = csi_malloc(n_path);
    x->buffer = csi_aligned((size_t)largest * cs_dtype_bytes(x->set->real));
    x->converted = csi_aligned((size_t)largest * sizeof *x->converted);
    CS_CHECK(x->temporary != NULL && x->buffer != NULL && x->converted != NULL,
             CS_ERR_NOMEM, "%s: out of memory for %" PRId64 " values", folder,
             largest);
    (void)snprintf(x->temporary, n_path, "%s.tmp", folder);
    return CS_OK;
}

/* All trainable parameters must be somewhere; every rank finds the same. */
static cs_status check_owners(const exporter *x)
{
    const cs_graph *graph = x->set->graph;

    for (int32_t i = 0; i < graph->n_params; i++) {
        CS_CHECK(x->owner[i] >= 0 || !graph->params[i].is_trainable, CS_ERR_ARG,
                 "export: none of the %d ranks holds %s", x->replica->n_ranks,
                 graph->params[i].global_name);
    }
    return CS_OK;
}

static cs_status run_export(exporter *x, const char *folder)
{
    const bool is_writer = x->replica->rank == 0;

    CS_TRY(cs_comm_agree(x->replica, prepare(x, folder)));
    CS_TRY(csi_find_owners(x->set, true, x->replica, &x->owner));
    CS_TRY(check_owners(x));
    cs_status st = cs_comm_agree(x->replica, run_rank(x));

    if (st == CS_OK) {
        st = cs_comm_agree(x->replica,
                           is_writer ? csi_dir_replace(x->temporary, folder)
                                     : CS_OK);
    }
    if (st != CS_OK && is_writer) {
        cs_error error;
        cs_error_get(&error);
        if (csi_dir_remove(x->temporary) != CS_OK) {
            cs_log(CS_LOG_WARN, "checkpoint", "%s", cs_error_message());
        }
        cs_error_set(&error);
    }
    CS_TRY(st);
    return CS_OK;
}

cs_status cs_model_export(const cs_param_set *set, uint64_t seed,
                          cs_comm *replica, const cs_export_extras *extras,
                          const char *folder)
{
    exporter x = {
        .set = set,
        .seed = seed,
        .replica = replica,
        .extras = extras,
    };
    const cs_status st = run_export(&x, folder);

    csi_free(x.temporary);
    csi_free(x.owner);
    csi_free(x.buffer);
    csi_free(x.converted);
    CS_TRY(st);
    return CS_OK;
}
