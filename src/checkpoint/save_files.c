/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of one rank as files: one per module, one for the optimizer. */
#include "cornstarch/safetensors.h"

#include "base/alloc.h"

#include "parts.h"
#include "save.h"

#include <inttypes.h>
#include <string.h>

const char csi_optimizer_file[] = "optimizer";

enum {
    MOMENT_NAME_BYTES = 512
};

bool csi_save_writes(const csi_save_job *job, int32_t i)
{
    const cs_graph *graph = job->set->graph;
    const csi_part part = csi_part_at(graph, csi_part_of(graph, i));

    return graph->params[i].tied_to < 0 &&
           (graph->params[i].is_trainable ||
            (part.source == NULL && job->frozen_step == 0));
}

cs_dtype csi_save_dtype(const csi_save_job *job, int32_t i)
{
    return job->set->graph->params[i].is_trainable ? job->set->real
                                                   : job->set->dtype;
}

cs_status csi_save_file_name(const char *what, int32_t rank,
                             char out[CSI_FILE_NAME_BYTES])
{
    CS_TRY(csi_format(out, CSI_FILE_NAME_BYTES, "%s.%d.safetensors", what,
                      rank));
    return CS_OK;
}

/* Tensors of a file as a list: first declared, then written. */
typedef struct output {
    const char *name; /* borrowed, or in `moment` */
    char moment[MOMENT_NAME_BYTES];
    const cs_shape *shape;
    cs_dtype dtype;
    const void *values;
} output;

static cs_status write_file(const csi_save_job *job, const char *what,
                            const output *outputs, int32_t n,
                            csi_stored_file *out)
{
    cs_status st = CS_OK;
    char name[CSI_FILE_NAME_BYTES];
    csi_str path = {0};
    cs_safetensors_writer *file = NULL;

    CS_TRY(csi_save_file_name(what, job->rank, name));
    csi_str_addf(&path, "%s/%s", job->temporary, name);
    CS_TRY_GOTO(done, csi_str_check(&path));
    CS_TRY_GOTO(done, cs_safetensors_writer_create(path.data, NULL, 0, &file));
    for (int32_t i = 0; i < n; i++) {
        CS_TRY_GOTO(done, cs_safetensors_writer_add(file, outputs[i].name,
                                                    outputs[i].dtype,
                                                    outputs[i].shape));
    }
    for (int32_t i = 0; i < n; i++) {
        CS_TRY_GOTO(done, cs_safetensors_writer_write(
                              file, outputs[i].name, outputs[i].values,
                              cs_shape_count(outputs[i].shape) *
                                  (int64_t)cs_dtype_bytes(outputs[i].dtype)));
    }
    CS_TRY_GOTO(done, cs_safetensors_writer_commit(file));
    CS_TRY_GOTO(done, csi_stored_file_measure(job->temporary, name, out));
done:
    cs_safetensors_writer_destroy(&file);
    csi_str_fini(&path);
    return st;
}

static bool is_mine(const csi_save_job *job, int32_t i)
{
    return job->owner[i] == job->rank && csi_save_writes(job, i);
}

/* Trainable ones first: theirs is the wider type. */
static int32_t list_module(const csi_save_job *job, int32_t module,
                           output *outputs)
{
    const cs_graph *graph = job->set->graph;
    int32_t n = 0;

    for (int trainable = 1; trainable >= 0; trainable--) {
        for (int32_t i = 0; i < graph->n_params; i++) {
            const cs_param *p = &graph->params[i];
            if (p->module != module || !is_mine(job, i) ||
                p->is_trainable != (trainable == 1)) {
                continue;
            }
            outputs[n++] = (output){
                .name = p->global_name,
                .shape = &p->shape,
                .dtype = csi_save_dtype(job, i),
                .values = job->values[job->set->item_of[i]][0],
            };
        }
    }
    return n;
}

static cs_status list_moments(const csi_save_job *job, output *outputs,
                              int32_t *n_outputs)
{
    const cs_graph *graph = job->set->graph;
    int32_t n = 0;

    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *p = &graph->params[i];
        for (int k = 0; k < 2 && p->is_trainable && is_mine(job, i); k++) {
            output *o = &outputs[n++];
            *o = (output){
                .shape = &p->shape,
                .dtype = job->set->real,
                .values = job->values[job->set->item_of[i]][1 + k],
            };
            CS_TRY(csi_format(o->moment, sizeof o->moment, "%s/%s",
                              k == 0 ? "m" : "v", p->global_name));
            o->name = o->moment;
        }
    }
    *n_outputs = n;
    return CS_OK;
}

cs_status csi_save_write_files(const csi_save_job *job, csi_stored_file **files,
                               int32_t *n_files)
{
    const cs_graph *graph = job->set->graph;
    cs_status st = CS_OK;
    int32_t n = 0;
    int32_t n_outputs = 0;
    csi_stored_file *list =
        csi_calloc((size_t)graph->n_modules + 1, sizeof *list);
    output *outputs =
        csi_calloc(2 * (size_t)graph->n_params + 1, sizeof *outputs);

    CS_CHECK_GOTO(done, list != NULL && outputs != NULL, CS_ERR_NOMEM,
                  "%s: out of memory", job->temporary);
    for (int32_t m = 0; m < graph->n_modules; m++) {
        n_outputs = list_module(job, m, outputs);
        if (n_outputs > 0) {
            CS_TRY_GOTO(done, write_file(job, graph->modules[m].name, outputs,
                                         n_outputs, &list[n]));
            n++;
        }
    }
    CS_TRY_GOTO(done, list_moments(job, outputs, &n_outputs));
    if (n_outputs > 0) {
        CS_TRY_GOTO(done, write_file(job, csi_optimizer_file, outputs,
                                     n_outputs, &list[n]));
        n++;
    }
    *files = list;
    *n_files = n;
    list = NULL;
done:
    csi_free(list);
    csi_free(outputs);
    return st;
}

/* ---- what all ranks wrote, from what rank 0 knows ---- */

static cs_status describe_slices(const csi_save_job *job, csi_manifest *m,
                                 const char *what, int32_t i,
                                 csi_stored_tensor *t)
{
    char name[CSI_FILE_NAME_BYTES];

    t->slices = csi_arena_calloc(&m->arena, sizeof *t->slices);
    CS_CHECK(t->slices != NULL, CS_ERR_NOMEM, "%s: out of memory",
             job->temporary);
    CS_TRY(csi_save_file_name(what, job->owner[i], name));
    t->n_slices = 1;
    t->slices[0].slice = cs_slice_whole(&t->shape);
    t->slices[0].file = csi_manifest_find_file(m, name);
    CS_CHECK(t->slices[0].file >= 0, CS_ERR_INTERNAL,
             "%s: rank %d wrote no file %s for %s", job->temporary,
             job->owner[i], name, t->name);
    return CS_OK;
}

static cs_status describe_tensor(const csi_save_job *job, csi_manifest *m,
                                 int32_t i)
{
    const cs_graph *graph = job->set->graph;
    const cs_param *p = &graph->params[i];
    const csi_part part = csi_part_at(graph, csi_part_of(graph, i));
    csi_stored_tensor *t = &m->tensors.tensors[m->tensors.n++];

    *t = (csi_stored_tensor){
        .name = p->global_name,
        .shape = p->shape,
        .dtype = csi_save_dtype(job, i),
    };
    if (csi_save_writes(job, i)) {
        CS_TRY(describe_slices(job, m, graph->modules[p->module].name, i, t));
    } else if (part.source != NULL) {
        t->source = part.source;
    } else {
        t->ref_step = job->frozen_step;
    }
    if (p->is_trainable) {
        csi_stored_tensor *o = &m->optimizer.tensors[m->optimizer.n++];
        *o = (csi_stored_tensor){
            .name = p->global_name,
            .shape = p->shape,
            .dtype = job->set->real,
        };
        CS_TRY(describe_slices(job, m, csi_optimizer_file, i, o));
    }
    return CS_OK;
}

cs_status csi_save_describe(const csi_save_job *job,
                            const csi_stored_file *files, int32_t n_files,
                            csi_manifest *out)
{
    const cs_graph *graph = job->set->graph;
    const size_t n = (size_t)graph->n_params;
    cs_status st = CS_OK;
    csi_manifest m;

    csi_manifest_init(&m);
    m.step = job->state.step;
    m.recipe_hash = job->recipe_hash;
    m.plan_hash = job->plan_hash;
    m.files = csi_arena_calloc(&m.arena, (size_t)n_files * sizeof *m.files);
    m.tensors.tensors =
        csi_arena_calloc(&m.arena, n * sizeof *m.tensors.tensors);
    m.optimizer.tensors =
        csi_arena_calloc(&m.arena, n * sizeof *m.optimizer.tensors);
    CS_CHECK_GOTO(undo,
                  m.files != NULL && m.tensors.tensors != NULL &&
                      m.optimizer.tensors != NULL,
                  CS_ERR_NOMEM, "%s: out of memory", job->temporary);
    memcpy(m.files, files, (size_t)n_files * sizeof *files);
    m.n_files = n_files;
    for (int32_t i = 0; i < graph->n_params; i++) {
        if (graph->params[i].tied_to < 0) {
            CS_TRY_GOTO(undo, describe_tensor(job, &m, i));
        }
    }
    *out = m;
    return CS_OK;
undo:
    csi_manifest_fini(&m);
    return st;
}
