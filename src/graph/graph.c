/* SPDX-License-Identifier: Apache-2.0 */
/* The graph object: destroy, look up, count, check, estimate work. */
#include "cornstarch/graph.h"

#include "base/alloc.h"
#include "base/hash_map.h"

#include <inttypes.h>
#include <string.h>

void cs_graph_destroy(cs_graph **graph)
{
    cs_graph *g = *graph;

    if (g == NULL) {
        return;
    }
    for (int32_t i = 0; i < g->n_modules && g->modules != NULL; i++) {
        cs_module *m = &g->modules[i];
        csi_free(m->name);
        csi_free(m->family);
        csi_free(m->layers);
        csi_free(m->hf_config);
        csi_free(m->rope_tables);
        csi_free(m->rope_axis);
        csi_free(m->projector_config);
        csi_free(m->source);
        csi_free(m->projector_source);
    }
    for (int32_t i = 0; i < g->n_params; i++) {
        csi_free(g->params[i].name);
        csi_free(g->params[i].global_name);
    }
    csi_free(g->modules);
    csi_free(g->params);
    csi_free(g);
    *graph = NULL;
}

int32_t cs_graph_find_param(const cs_graph *graph, const char *global)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        if (strcmp(graph->params[i].global_name, global) == 0) {
            return i;
        }
    }
    return -1;
}

int32_t cs_graph_find_module(const cs_graph *graph, const char *name)
{
    for (int32_t i = 0; i < graph->n_modules; i++) {
        if (strcmp(graph->modules[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

int32_t cs_graph_language_model(const cs_graph *graph)
{
    return graph->n_modules - 1;
}

int64_t cs_graph_param_count(const cs_graph *graph, int32_t module,
                             bool trainable_only)
{
    int64_t count = 0;

    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *p = &graph->params[i];
        if (p->tied_to < 0 && (module < 0 || p->module == module) &&
            (p->is_trainable || !trainable_only)) {
            count += cs_shape_count(&p->shape);
        }
    }
    return count;
}

int64_t cs_module_window(const cs_module *module)
{
    int64_t window = 0;

    for (int32_t i = 0; i < module->n_layers; i++) {
        window =
            module->layers[i].window > 0 ? module->layers[i].window : window;
    }
    return window;
}

int64_t cs_module_long_after(const cs_module *module)
{
    int64_t rows = 0;

    for (int32_t i = 0; i < module->n_layers; i++) {
        rows = module->layers[i].rope_long != NULL
                   ? module->layers[i].rope_long_after
                   : rows;
    }
    return rows;
}

static cs_status check_names(const cs_graph *graph)
{
    csi_hash_map *seen = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_hash_map_create(&seen));
    for (int32_t i = 0; i < graph->n_params; i++) {
        const char *name = graph->params[i].global_name;
        int64_t other = 0;
        CS_CHECK_GOTO(done, !csi_hash_map_get(seen, name, strlen(name), &other),
                      CS_ERR_INTERNAL, "two parameters are called %s", name);
        CS_TRY_GOTO(done, csi_hash_map_put(seen, name, strlen(name), i));
    }
done:
    csi_hash_map_destroy(&seen);
    return st;
}

/* Rows of a layer's product; one that it does not have passes. */
static cs_status check_rows(const cs_graph *graph, const cs_layer *l,
                            cs_slot slot, int64_t rows)
{
    if (l->param[slot] < 0) {
        return CS_OK;
    }
    const cs_param *p = &graph->params[l->param[slot]];

    CS_CHECK(p->shape.dim[0] == rows, CS_ERR_SHAPE,
             "parameter %s: wanted %" PRId64 " rows, got %" PRId64,
             p->global_name, rows, p->shape.dim[0]);
    return CS_OK;
}

static cs_status check_layer(const cs_graph *graph, const cs_module *m,
                             int32_t index)
{
    const cs_layer *l = &m->layers[index];
    const int64_t q = (int64_t)l->heads * l->head_dim;
    const int64_t kv = (int64_t)l->kv_heads * l->head_dim;

    if (l->kind != CS_LAYER_BLOCK) {
        return CS_OK;
    }
    CS_CHECK(l->kv_heads > 0 && l->heads % l->kv_heads == 0, CS_ERR_SHAPE,
             "%s layer %d: %d heads are not a multiple of %d key/value heads",
             m->name, index, l->heads, l->kv_heads);
    CS_CHECK(l->rotary_dim <= l->head_dim &&
                 (l->rotary_dim == 0 || l->rope_frequency != NULL),
             CS_ERR_SHAPE, "%s layer %d: %d rotary columns of a head of %d",
             m->name, index, l->rotary_dim, l->head_dim);
    CS_CHECK(l->window == 0 || l->window == cs_module_window(m),
             CS_ERR_UNSUPPORTED,
             "unsupported: %s: windows of %" PRId64 " and %" PRId64
             " in one module",
             m->name, l->window, cs_module_window(m));
    CS_CHECK(l->top_k <= l->n_experts, CS_ERR_SHAPE,
             "%s layer %d: %d of %d experts", m->name, index, l->top_k,
             l->n_experts);
    CS_TRY(check_rows(graph, l, CS_SLOT_Q_W, q));
    CS_TRY(check_rows(graph, l, CS_SLOT_QKV_W, q + 2 * kv));
    CS_TRY(check_rows(graph, l, CS_SLOT_O_W, l->out_dim));
    CS_TRY(check_rows(graph, l, CS_SLOT_UP_W, l->mlp_dim));
    CS_TRY(check_rows(graph, l, CS_SLOT_GATE_UP_W, 2 * l->mlp_dim));
    CS_TRY(check_rows(graph, l, CS_SLOT_ROUTER_W, l->n_experts));
    CS_TRY(check_rows(graph, l, CS_SLOT_EXPERT_UP_W, l->n_experts));
    return CS_OK;
}

static cs_status check_module(const cs_graph *graph, int32_t index)
{
    const cs_module *m = &graph->modules[index];
    const cs_module *lm = &graph->modules[graph->n_modules - 1];
    int64_t width = 0;

    CS_CHECK(m->n_layers >= 3, CS_ERR_FORMAT, "module %s has %d layers",
             m->name, m->n_layers);
    for (int32_t i = 0; i < m->n_layers; i++) {
        const cs_layer *l = &m->layers[i];
        CS_CHECK(i == 0 || l->in_dim == width, CS_ERR_SHAPE,
                 "%s layer %d takes width %" PRId64 ", the layer before gives "
                 "%" PRId64,
                 m->name, i, l->in_dim, width);
        width = l->out_dim;
        CS_TRY(check_layer(graph, m, i));
    }
    if (m->modality != CS_MODALITY_TEXT) {
        CS_CHECK(width == lm->width, CS_ERR_SHAPE,
                 "%s.projector gives width %" PRId64 ", the language model has "
                 "%" PRId64,
                 m->name, width, lm->width);
    }
    return CS_OK;
}

cs_status cs_graph_check(const cs_graph *graph)
{
    CS_TRY(check_names(graph));
    for (int32_t i = 0; i < graph->n_modules; i++) {
        CS_TRY(check_module(graph, i));
    }
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *p = &graph->params[i];
        CS_CHECK(cs_shape_count(&p->shape) > 0, CS_ERR_SHAPE,
                 "parameter %s is empty or too large", p->global_name);
        CS_CHECK(p->tied_to < 0 ||
                     (p->tied_to < i &&
                      cs_shape_equal(&p->shape,
                                     &graph->params[p->tied_to].shape)),
                 CS_ERR_SHAPE, "parameter %s is tied to one of another shape",
                 p->global_name);
    }
    return CS_OK;
}

double cs_layer_pairs(const cs_layer *l, double rows, double pairs)
{
    const double most = rows * (double)l->window;

    if (l->kind != CS_LAYER_BLOCK) {
        return 0.0;
    }
    return l->window > 0 && most < pairs ? most : pairs;
}

double cs_layer_forward_flops(const cs_layer *l, double rows, double pairs)
{
    const double in = (double)l->in_dim;
    const double out = (double)l->out_dim;
    const double q = (double)l->heads * l->head_dim;
    const double kv = (double)l->kv_heads * l->head_dim;
    const double mlp = (double)l->mlp_dim;
    const double experts = l->n_experts > 0 ? (double)l->top_k : 1.0;

    switch (l->kind) {
    case CS_LAYER_PATCH_STEM:
        return 2.0 * rows * in * out;
    case CS_LAYER_CONV_STEM:
        return 2.0 * rows * l->kernel * (2.0 * in * out + out * out);
    case CS_LAYER_BLOCK:
        return 2.0 * rows *
                   (in * (2.0 * q + 2.0 * kv) + in * l->n_experts +
                    in * mlp * experts * (l->has_mlp_gate ? 3.0 : 2.0)) +
               4.0 * pairs * q;
    case CS_LAYER_PROJECTOR:
        return 2.0 * rows * (mlp > 0.0 ? in * mlp + mlp * out : in * out);
    case CS_LAYER_HEAD:
        return 2.0 * rows * in * (double)l->vocab;
    default:
        return 0.0;
    }
}
