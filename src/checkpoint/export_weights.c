/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of one part, in the order in which they are received: first a
 * list of them with names and sizes, then their data. */
#include "base/alloc.h"

#include "export.h"
#include "shards.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One tensor of the files to be written. */
typedef struct entry {
    int32_t param, piece;
    cs_dtype dtype;
    csi_file_tensor t; /* t.found: frozen, from the source; or NULL */
} entry;

/* Values of the parameter whose pieces are being written. */
typedef struct piece_writer {
    csi_exporter *x;
    const entry *entries;
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
    return CS_OK;
}

/* The part's tensors, sorted; `source` is NULL where it has none. */
static cs_status list_entries(const cs_graph *graph, const csi_part *part,
                              const cs_safetensors *source, entry *entries)
{
    int64_t n = 0;

    for (int32_t i = 0; i < graph->n_params; i++) {
        const int32_t n_pieces = csi_export_writes(graph, part, i)
                                     ? cs_param_file_count(&graph->params[i])
                                     : 0;
        for (int32_t k = 0; k < n_pieces; k++, n++) {
            CS_TRY(add_entry(graph, part, source, i, k, &entries[n]));
        }
    }
    qsort(entries, (size_t)n, sizeof *entries, compare_entries);
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
        /* It is received before anything else can fail. */
        w->x->next = e->param + 1;
        CS_TRY(csi_export_take(w->x, e->param, &w->values));
    } else {
        CS_TRY(csi_initial_values(graph, e->param, w->x->seed, &w->initial));
        w->values = w->initial;
    }
    return CS_OK;
}

/* One tensor of the file, in the layout that files have. */
static cs_status write_entry(void *context, int64_t i,
                             cs_safetensors_writer *file)
{
    piece_writer *w = context;
    const entry *e = &w->entries[i];
    const cs_graph *graph = w->x->set->graph;
    const cs_param *spec = &graph->params[e->param];
    const int64_t n_bytes =
        cs_shape_count(&e->t.shape) * (int64_t)cs_dtype_bytes(e->dtype);
    const void *stored = NULL;

    if (e->t.found != NULL) {
        return cs_safetensors_writer_write(file, e->t.name, e->t.found->data,
                                           n_bytes);
    }
    CS_TRY(take_values(w, e));
    stored = w->values;
    if (spec->layout != CS_LAYOUT_PLAIN) {
        if (w->stored == NULL) {
            w->stored = csi_aligned((size_t)n_bytes);
        }
        CS_CHECK(w->stored != NULL, CS_ERR_NOMEM, "%s: out of memory",
                 spec->global_name);
        cs_param_to_file(graph, spec, e->piece, sizeof(float), w->values,
                         w->stored);
        stored = w->stored;
    }
    return cs_safetensors_writer_write(file, e->t.name, stored, n_bytes);
}

static cs_status write_entries(csi_exporter *x, const entry *entries, int64_t n,
                               const char *folder)
{
    piece_writer w = {.x = x, .entries = entries, .param = -1};
    csi_shard_tensor *tensors = csi_calloc((size_t)n + 1, sizeof *tensors);
    cs_status st = CS_OK;

    CS_CHECK(tensors != NULL, CS_ERR_NOMEM, "%s: out of memory", folder);
    for (int64_t i = 0; i < n; i++) {
        tensors[i] = (csi_shard_tensor){
            .name = entries[i].t.name,
            .dtype = entries[i].dtype,
            .shape = entries[i].t.shape,
        };
        CS_TRY_GOTO(done, cs_shape_bytes(&tensors[i].shape, tensors[i].dtype,
                                         &tensors[i].n_bytes));
    }
    CS_TRY_GOTO(done, csi_shards_write(tensors, n, x->extras->max_shard_bytes,
                                       folder, write_entry, &w));
done:
    csi_free(tensors);
    csi_free(w.initial);
    csi_free(w.stored);
    return st;
}

cs_status csi_export_weights(csi_exporter *x, const csi_part *part,
                             const char *folder)
{
    const cs_graph *graph = x->set->graph;
    const int64_t n = count_entries(graph, part);
    cs_safetensors *source = NULL;
    cs_status st = CS_OK;
    entry *entries = csi_calloc((size_t)n + 1, sizeof *entries);

    CS_CHECK(entries != NULL, CS_ERR_NOMEM,
             "export: out of memory for %" PRId64 " tensors", n);
    if (part->source != NULL) {
        CS_TRY_GOTO(done, cs_safetensors_open_folder(part->source, &source));
    }
    CS_TRY_GOTO(done, list_entries(graph, part, source, entries));
    CS_TRY_GOTO(done, write_entries(x, entries, n, folder));
done:
    cs_safetensors_close(&source);
    csi_free(entries);
    return st;
}
