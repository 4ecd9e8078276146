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
 *     tied to another                nowhere: it is the other
 *
 * export_weights.c writes the files of one part.
 */
#include "export.h"

#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/checked.h"
#include "base/file.h"

#include "gather.h"
#include "shards.h"

#include <inttypes.h>
#include <string.h>

/* ---- values ---- */

bool csi_export_writes(const cs_graph *graph, const csi_part *part, int32_t i)
{
    return csi_part_has(graph, part, i) && graph->params[i].tied_to < 0;
}

bool csi_export_sends(const cs_graph *graph, int32_t i)
{
    return graph->params[i].is_trainable && graph->params[i].tied_to < 0;
}

/* Values of a parameter that is held here, in the set's real type. */
static cs_status own_values(csi_exporter *x, int32_t param, const void **out)
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

static cs_status receive_values(csi_exporter *x, int32_t param)
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

static cs_status send_values(csi_exporter *x, int32_t param)
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
cs_status csi_export_take(csi_exporter *x, int32_t param, const void **out)
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

/* ---- a part ---- */

/* Whether the source's one file is just what would be written: it holds every
 * tensor of the part under our name, and no other. */
static cs_status is_exact(const cs_graph *graph, const csi_part *part,
                          const cs_safetensors *source, bool *out)
{
    int64_t n = 0;
    bool same = true;

    for (int32_t i = 0; i < graph->n_params && same; i++) {
        const int32_t n_pieces = csi_export_writes(graph, part, i)
                                     ? cs_param_file_count(&graph->params[i])
                                     : 0;
        for (int32_t k = 0; k < n_pieces; k++, n++) {
            csi_file_tensor t;
            CS_TRY(csi_part_find(graph, part, source, i, k, &t));
            same =
                same && t.found != NULL && strcmp(t.found->name, t.name) == 0;
        }
    }
    *out = same && n == cs_safetensors_count(source);
    return CS_OK;
}

/* Whether nothing of the part is trained and its source is one file that may
 * be copied. */
static cs_status is_copy(const cs_graph *graph, const csi_part *part, bool *out)
{
    cs_safetensors *source = NULL;
    char *path = NULL;

    *out = part->source != NULL;
    for (int32_t i = 0; i < graph->n_params; i++) {
        *out = *out &&
               !(csi_part_has(graph, part, i) && graph->params[i].is_trainable);
    }
    if (*out) {
        CS_TRY(csi_path_join(part->source, csi_weights_file, &path));
        *out = csi_file_exists(path);
        csi_free(path);
    }
    if (!*out) {
        return CS_OK;
    }
    CS_TRY(cs_safetensors_open_folder(part->source, &source));
    const cs_status st = is_exact(graph, part, source, out);

    cs_safetensors_close(&source);
    CS_TRY(st);
    return CS_OK;
}

static cs_status write_part(csi_exporter *x, const csi_part *part)
{
    const cs_graph *graph = x->set->graph;
    cs_status st = CS_OK;
    char *name = NULL;
    char *folder = NULL;
    bool copies = false;

    CS_TRY_GOTO(done, csi_part_folder(graph, part, &name));
    CS_TRY_GOTO(done, csi_path_join(x->temporary, name, &folder));
    CS_TRY_GOTO(done, csi_dir_create(folder));
    CS_TRY_GOTO(done, csi_export_write_extras(graph, part, x->extras, folder));
    CS_TRY_GOTO(done, is_copy(graph, part, &copies));
    if (copies) {
        CS_TRY_GOTO(done,
                    csi_copy_into(part->source, folder, csi_weights_file));
    } else {
        CS_TRY_GOTO(done, csi_export_weights(x, part, folder));
    }
done:
    csi_free(name);
    csi_free(folder);
    return st;
}

/* ---- the ranks together ---- */

static cs_status write_all(csi_exporter *x)
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
static cs_status drain(csi_exporter *x)
{
    const cs_graph *graph = x->set->graph;

    for (int32_t i = x->next; i < graph->n_params; i++) {
        if (csi_export_sends(graph, i) && x->owner[i] != 0) {
            CS_TRY(receive_values(x, i));
        }
    }
    return CS_OK;
}

static cs_status send_all(csi_exporter *x)
{
    const cs_graph *graph = x->set->graph;

    for (int32_t i = 0; i < graph->n_params; i++) {
        if (csi_export_sends(graph, i) && x->owner[i] == x->replica->rank) {
            CS_TRY(send_values(x, i));
        }
    }
    return CS_OK;
}

static cs_status run_rank(csi_exporter *x)
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
static cs_status prepare(csi_exporter *x, const char *folder)
{
    const cs_graph *graph = x->set->graph;
    const size_t n_path = strlen(folder) + sizeof ".tmp";
    int64_t largest = 1;

    for (int32_t i = 0; i < graph->n_params; i++) {
        if (csi_export_sends(graph, i)) {
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
static cs_status check_owners(const csi_exporter *x)
{
    const cs_graph *graph = x->set->graph;

    for (int32_t i = 0; i < graph->n_params; i++) {
        CS_CHECK(x->owner[i] >= 0 || !csi_export_sends(graph, i), CS_ERR_ARG,
                 "export: none of the %d ranks holds %s", x->replica->n_ranks,
                 graph->params[i].global_name);
    }
    return CS_OK;
}

static cs_status run_export(csi_exporter *x, const char *folder)
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
    csi_exporter x = {
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
