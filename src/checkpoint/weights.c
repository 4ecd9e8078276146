/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values at the start of a run: from a folder where there is one, from the
 * seed otherwise. Everything wrong with a folder is said in one error, because
 * a wrong folder is wrong in many tensors at once.
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/hash_map.h"
#include "base/str.h"

#include "parts.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_NAMES_SHOWN = 8
};

/* Collects "'name' is missing" up to a limit and counts the rest. */
typedef struct complaints {
    csi_str text;
    int64_t count;
} complaints;

static void complain(complaints *c, const cs_param *spec,
                     const cs_safetensor *got)
{
    char wanted_text[CS_SHAPE_TEXT_BYTES];
    char got_text[CS_SHAPE_TEXT_BYTES];

    if (c->count++ >= MAX_NAMES_SHOWN) {
        return;
    }
    csi_str_add(&c->text, c->count > 1 ? "; " : "");
    if (got == NULL) {
        csi_str_addf(&c->text, "'%s' is missing", spec->name);
    } else {
        csi_str_addf(&c->text, "'%s' is %s, wanted %s", spec->name,
                     cs_shape_print(&got->shape, got_text),
                     cs_shape_print(&spec->shape, wanted_text));
    }
}

/* Whether the parameter takes its initial value although its part has a
 * source: fixed positions are often not stored. */
static bool may_be_missing(const cs_param *spec)
{
    return spec->init == CS_INIT_SINUSOID;
}

/* Every parameter of the part that is held here (item_of NULL: anywhere), in
 * name and shape. */
static cs_status check_source(const cs_graph *graph, const int32_t *item_of,
                              const csi_part *part,
                              const cs_safetensors *source)
{
    complaints c = {0};
    cs_status st = CS_OK;

    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *spec = &graph->params[i];
        if ((item_of != NULL && item_of[i] < 0) ||
            !csi_part_has(graph, part, i)) {
            continue;
        }
        const cs_safetensor *got = csi_part_find(graph, part, source, i);
        if (got == NULL ? !may_be_missing(spec)
                        : !cs_shape_equal(&got->shape, &spec->shape)) {
            complain(&c, spec, got);
        }
    }
    if (c.count > 0) {
        if (c.count > MAX_NAMES_SHOWN) {
            csi_str_addf(&c.text, "; and %" PRId64 " more",
                         c.count - MAX_NAMES_SHOWN);
        }
        st = CS_FAIL(CS_ERR_FORMAT,
                     "%s: %" PRId64 " of the tensors of %s do not fit: %s",
                     cs_safetensors_path(source), c.count,
                     graph->modules[part->module].name, csi_str_get(&c.text));
    }
    csi_str_fini(&c.text);
    return st;
}

static cs_status collect_names(const cs_graph *graph, const csi_part *part,
                               const cs_safetensors *source,
                               csi_hash_map *names)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_safetensor *tensor =
            csi_part_has(graph, part, i) ? csi_part_find(graph, part, source, i)
                                         : NULL;
        if (tensor != NULL) {
            CS_TRY(csi_hash_map_put(names, tensor->name, strlen(tensor->name),
                                    i));
        }
    }
    return CS_OK;
}

/* Tensors of the folder that the model has no place for, on the log. */
static cs_status warn_of_unexpected(const cs_graph *graph, const csi_part *part,
                                    const cs_safetensors *source)
{
    cs_status st = CS_OK;
    csi_str text = {0};
    csi_hash_map *names = NULL;
    int64_t count = 0;

    CS_TRY(csi_hash_map_create(&names));
    CS_TRY_GOTO(done, collect_names(graph, part, source, names));
    for (int64_t i = 0; i < cs_safetensors_count(source); i++) {
        const char *name = cs_safetensors_at(source, i)->name;
        int64_t param = 0;
        if (csi_hash_map_get(names, name, strlen(name), &param)) {
            continue;
        }
        if (count++ < MAX_NAMES_SHOWN) {
            csi_str_addf(&text, "%s%s", count > 1 ? ", " : "", name);
        }
    }
    CS_TRY_GOTO(done, csi_str_check(&text));
    if (count > 0) {
        cs_log(CS_LOG_WARN, "checkpoint",
               "%s: %" PRId64 " tensors that %s does not use: %s%s",
               cs_safetensors_path(source), count,
               graph->modules[part->module].name, csi_str_get(&text),
               count > MAX_NAMES_SHOWN ? ", ..." : "");
    }
done:
    csi_str_fini(&text);
    csi_hash_map_destroy(&names);
    return st;
}

static cs_status load_item(cs_param_set *set, int32_t item,
                           const cs_safetensor *tensor)
{
    const cs_param_state *p = &set->items[item];
    cs_status st = CS_OK;
    void *staged = csi_aligned((size_t)p->count * cs_dtype_bytes(set->real));

    CS_CHECK(staged != NULL, CS_ERR_NOMEM, "%s: out of memory for its values",
             p->spec->global_name);
    CS_TRY_GOTO(done, cs_safetensors_read(tensor, NULL, set->real, staged));
    CS_TRY_GOTO(done, cs_param_store(set, item, set->real, staged));
done:
    csi_free(staged);
    return st;
}

static cs_status load_from(cs_param_set *set, const csi_part *part,
                           const cs_safetensors *source, uint64_t seed)
{
    const cs_graph *graph = set->graph;

    CS_TRY(check_source(graph, set->item_of, part, source));
    for (int32_t i = 0, is_first = 1; i < graph->n_params; i++) {
        const int32_t item = set->item_of[i];
        if (!csi_part_has(graph, part, i)) {
            continue;
        }
        /* Of all ranks, the one that holds the first tensor speaks. */
        if (is_first && item >= 0) {
            CS_TRY(warn_of_unexpected(graph, part, source));
        }
        is_first = 0;
        if (item < 0) {
            continue;
        }
        const cs_safetensor *tensor = csi_part_find(graph, part, source, i);
        if (tensor == NULL) {
            cs_param_init(set, item, seed);
        } else {
            CS_TRY(load_item(set, item, tensor));
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
        const cs_status st = check_source(graph, NULL, &part, source);
        cs_safetensors_close(&source);
        CS_TRY(st);
    }
    return CS_OK;
}
