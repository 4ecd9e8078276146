/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation and bookkeeping of a rank's parameters. */
#include "cornstarch/param.h"

#include "base/alloc.h"

#include <string.h>

static cs_status alloc_zeroed(int64_t count, cs_dtype dtype, const char *name,
                              void **out)
{
    const size_t n_bytes = (size_t)count * cs_dtype_bytes(dtype);
    void *p = csi_aligned(n_bytes);

    CS_CHECK(p != NULL, CS_ERR_NOMEM, "%s: %zu bytes", name, n_bytes);
    memset(p, 0, n_bytes);
    *out = p;
    return CS_OK;
}

static cs_status create_item(cs_param_set *set, cs_param_state *item,
                             const cs_param *spec, bool is_training)
{
    const char *name = spec->global_name;

    item->spec = spec;
    item->count = cs_shape_count(&spec->shape);
    item->working.dtype = set->dtype;
    item->working.shape = spec->shape;
    const cs_param_state *twin = cs_param_find(set, spec->tied_to);
    if (twin != NULL) {
        item->is_alias = true;
        item->working.data = twin->working.data;
        item->master = twin->master;
        return twin->grad != NULL
                   ? alloc_zeroed(item->count, set->real, name, &item->grad)
                   : CS_OK;
    }
    CS_TRY(alloc_zeroed(item->count, set->dtype, name, &item->working.data));
    if (set->dtype == set->real) {
        item->master = item->working.data;
    }
    if (!is_training || !spec->is_trainable) {
        return CS_OK;
    }
    if (item->master == NULL) {
        CS_TRY(alloc_zeroed(item->count, set->real, name, &item->master));
    }
    CS_TRY(alloc_zeroed(item->count, set->real, name, &item->grad));
    CS_TRY(alloc_zeroed(item->count, set->real, name, &item->m));
    CS_TRY(alloc_zeroed(item->count, set->real, name, &item->v));
    return CS_OK;
}

cs_status cs_param_set_create(const cs_graph *graph, const bool *held,
                              cs_dtype dtype, bool is_training,
                              cs_param_set **out)
{
    cs_status st = CS_OK;
    const size_t n_params = (size_t)graph->n_params;
    cs_param_set *set = csi_calloc(1, sizeof *set);

    CS_CHECK(set != NULL, CS_ERR_NOMEM, "parameter set");
    set->graph = graph;
    set->dtype = dtype;
    set->real = dtype == CS_F64 ? CS_F64 : CS_F32;
    set->items = csi_calloc(n_params, sizeof *set->items);
    set->item_of = csi_calloc(n_params, sizeof *set->item_of);
    CS_CHECK_GOTO(undo, set->items != NULL && set->item_of != NULL,
                  CS_ERR_NOMEM, "parameter set of %zu", n_params);
    for (int32_t i = 0; i < graph->n_params; i++) {
        set->item_of[i] = -1;
        if (held[i]) {
            cs_param_state *item = &set->items[set->n];
            set->item_of[i] = set->n++;
            CS_TRY_GOTO(undo,
                        create_item(set, item, &graph->params[i], is_training));
        }
    }
    *out = set;
    return CS_OK;

undo:
    cs_param_set_destroy(&set);
    return st;
}

void cs_param_set_destroy(cs_param_set **set)
{
    cs_param_set *s = *set;

    if (s == NULL) {
        return;
    }
    for (int32_t i = 0; i < s->n; i++) {
        cs_param_state *item = &s->items[i];
        csi_free(item->grad);
        if (item->is_alias) {
            continue;
        }
        if (item->master != item->working.data) {
            csi_free(item->master);
        }
        csi_free(item->working.data);
        csi_free(item->m);
        csi_free(item->v);
    }
    csi_free(s->items);
    csi_free(s->item_of);
    csi_free(s);
    *set = NULL;
}

void cs_param_set_zero_grads(cs_param_set *set)
{
    for (int32_t i = 0; i < set->n; i++) {
        if (set->items[i].grad != NULL) {
            memset(set->items[i].grad, 0,
                   (size_t)set->items[i].count * cs_dtype_bytes(set->real));
        }
    }
}

cs_param_state *cs_param_find(const cs_param_set *set, int32_t graph_param)
{
    if (graph_param < 0 || set->item_of[graph_param] < 0) {
        return NULL;
    }
    return &set->items[set->item_of[graph_param]];
}

cs_param_bytes cs_param_set_bytes(const cs_param_set *set)
{
    cs_param_bytes bytes = {0};
    const int64_t real = (int64_t)cs_dtype_bytes(set->real);

    for (int32_t i = 0; i < set->n; i++) {
        const cs_param_state *item = &set->items[i];
        bytes.grads += item->grad != NULL ? item->count * real : 0;
        if (item->is_alias) {
            continue;
        }
        bytes.working += item->count * (int64_t)cs_dtype_bytes(set->dtype);
        if (item->master != NULL && item->master != item->working.data) {
            bytes.master += item->count * real;
        }
        bytes.optimizer += item->m != NULL ? 2 * item->count * real : 0;
    }
    return bytes;
}
