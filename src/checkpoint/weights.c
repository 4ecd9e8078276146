/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values at the start of a run: from a folder where there is one, from the
 * seed otherwise. What a folder must hold is checked in source.c first, so
 * that reading only reads.
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/log.h"

#include "base/alloc.h"

#include "source.h"

#include <inttypes.h>

/* One tensor as it is: from the map if it lies there as its type wants. */
static cs_status load_plain(cs_param_set *set, int32_t item,
                            const cs_safetensor *tensor)
{
    const cs_param_state *p = &set->items[item];
    const size_t each = cs_dtype_bytes(tensor->dtype);
    void *staged = NULL;
    cs_status st = CS_OK;

    if ((uintptr_t)tensor->data % (uintptr_t)each == 0) {
        return cs_param_store(set, item, tensor->dtype, tensor->data);
    }
    staged = csi_aligned((size_t)p->count * each);
    CS_CHECK(staged != NULL, CS_ERR_NOMEM, "%s: out of memory for its values",
             p->spec->global_name);
    CS_TRY_GOTO(done, cs_safetensors_read(tensor, NULL, tensor->dtype, staged));
    CS_TRY_GOTO(done, cs_param_store(set, item, tensor->dtype, staged));
done:
    csi_free(staged);
    return st;
}

/* The pieces of graph parameter i, brought into the layout of memory. */
static cs_status gather_pieces(const cs_param_set *set, const csi_part *part,
                               const cs_safetensors *source, int32_t i,
                               void *piece, void *values)
{
    const cs_param *spec = &set->graph->params[i];

    for (int32_t k = 0; k < cs_param_file_count(spec); k++) {
        csi_file_tensor t;
        CS_TRY(csi_part_find(set->graph, part, source, i, k, &t));
        CS_CHECK(t.found != NULL, CS_ERR_INTERNAL,
                 "%s: '%s' was there, and is not", cs_safetensors_path(source),
                 t.name);
        CS_TRY(cs_safetensors_read(t.found, NULL, set->real, piece));
        cs_param_from_file(set->graph, spec, k, cs_dtype_bytes(set->real),
                           piece, values);
    }
    return CS_OK;
}

static cs_status load_pieces(cs_param_set *set, const csi_part *part,
                             const cs_safetensors *source, int32_t i,
                             int32_t item)
{
    const cs_param *spec = &set->graph->params[i];
    const size_t n_bytes =
        (size_t)set->items[item].count * cs_dtype_bytes(set->real);
    void *values = csi_aligned(n_bytes);
    void *piece = csi_aligned(n_bytes / (size_t)cs_param_file_count(spec));
    cs_status st = CS_OK;

    CS_CHECK_GOTO(done, values != NULL && piece != NULL, CS_ERR_NOMEM,
                  "%s: out of memory for its values", spec->global_name);
    CS_TRY_GOTO(done, gather_pieces(set, part, source, i, piece, values));
    CS_TRY_GOTO(done, cs_param_store(set, item, set->real, values));
done:
    csi_free(values);
    csi_free(piece);
    return st;
}

/* Values of an item; a tied one has those of the parameter it is tied to. */
static cs_status load_item(cs_param_set *set, const csi_part *part,
                           const cs_safetensors *source, int32_t item,
                           uint64_t seed)
{
    const cs_graph *graph = set->graph;
    const cs_param *spec = set->items[item].spec;
    const int32_t i =
        spec->tied_to >= 0 ? spec->tied_to : (int32_t)(spec - graph->params);
    csi_file_tensor t;

    if (set->items[item].is_alias) {
        return CS_OK;
    }
    if (graph->params[i].layout != CS_LAYOUT_PLAIN) {
        return load_pieces(set, part, source, i, item);
    }
    CS_TRY(csi_part_find(graph, part, source, i, 0, &t));
    if (t.found == NULL) { /* allowed, or the check would have found it */
        cs_param_init(set, item, seed);
        return CS_OK;
    }
    return load_plain(set, item, t.found);
}

/* Of all ranks, the one that holds the first parameter of a part speaks. */
static bool holds_first(const cs_param_set *set, const csi_part *part)
{
    for (int32_t i = 0; i < set->graph->n_params; i++) {
        if (csi_part_has(set->graph, part, i)) {
            return set->item_of[i] >= 0;
        }
    }
    return false;
}

static cs_status load_from(cs_param_set *set, const csi_part *part,
                           const cs_safetensors *source, uint64_t seed)
{
    CS_TRY(csi_source_check(set->graph, set->item_of, part, source));
    CS_TRY(csi_source_check_tied(set->graph, set->item_of, part, source));
    if (holds_first(set, part)) {
        CS_TRY(csi_source_warn(set->graph, part, source));
        cs_log(CS_LOG_DEBUG, "checkpoint", "reading %s (%" PRId64 " tensors)",
               cs_safetensors_path(source), cs_safetensors_count(source));
    }
    for (int32_t k = 0; k < set->n; k++) {
        const int32_t i = (int32_t)(set->items[k].spec - set->graph->params);
        if (csi_part_has(set->graph, part, i)) {
            CS_TRY(load_item(set, part, source, k, seed));
        }
    }
    return CS_OK;
}

static bool holds_any(const cs_param_set *set, const csi_part *part)
{
    for (int32_t i = 0; i < set->graph->n_params; i++) {
        if (set->item_of[i] >= 0 && csi_part_has(set->graph, part, i)) {
            return true;
        }
    }
    return false;
}

static void init_part(cs_param_set *set, const csi_part *part, uint64_t seed)
{
    for (int32_t i = 0; i < set->graph->n_params; i++) {
        if (set->item_of[i] >= 0 && csi_part_has(set->graph, part, i)) {
            cs_param_init(set, set->item_of[i], seed);
        }
    }
}

cs_status cs_weights_load(cs_param_set *set, uint64_t seed)
{
    for (int32_t k = 0; k < csi_part_count(set->graph); k++) {
        const csi_part part = csi_part_at(set->graph, k);
        cs_safetensors *source = NULL;
        if (!holds_any(set, &part)) {
            continue;
        }
        if (part.source == NULL) {
            init_part(set, &part, seed);
            continue;
        }
        CS_TRY(cs_safetensors_open_folder(part.source, &source));
        const cs_status st = load_from(set, &part, source, seed);
        cs_safetensors_close(&source);
        CS_TRY(st);
    }
    return CS_OK;
}

cs_status cs_weights_check(const cs_graph *graph)
{
    for (int32_t k = 0; k < csi_part_count(graph); k++) {
        const csi_part part = csi_part_at(graph, k);
        cs_safetensors *source = NULL;
        if (part.source == NULL) {
            continue;
        }
        CS_TRY(cs_safetensors_open_folder(part.source, &source));
        const cs_status st = csi_source_check(graph, NULL, &part, source);
        cs_safetensors_close(&source);
        CS_TRY(st);
    }
    return CS_OK;
}
