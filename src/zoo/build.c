/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A graph under construction: parameters and layers, one after the other.
 */
#include "build.h"

#include "base/alloc.h"
#include "base/checked.h"
#include "base/str.h"

#include <math.h>
#include <string.h>

static cs_status grow_params(csi_builder *b)
{
    cs_graph *g = b->graph;
    if (g->n_params < b->capacity_params) {
        return CS_OK;
    }
    const int32_t capacity = b->capacity_params * 2 + 64;
    cs_param *params =
        csi_realloc(g->params, (size_t)capacity * sizeof *params);
    CS_CHECK(params != NULL, CS_ERR_NOMEM, "parameter table of %d", capacity);
    g->params = params;
    b->capacity_params = capacity;
    return CS_OK;
}

static cs_param_role role_of(cs_slot slot)
{
    switch (slot) {
    case CS_SLOT_NORM1_W:
    case CS_SLOT_NORM1_B:
    case CS_SLOT_NORM2_W:
    case CS_SLOT_NORM2_B:
    case CS_SLOT_NORM3_W:
    case CS_SLOT_NORM3_B:
    case CS_SLOT_NORM4_W:
    case CS_SLOT_NORM4_B:
    case CS_SLOT_Q_NORM_W:
    case CS_SLOT_K_NORM_W:
    case CS_SLOT_SCALE1:
    case CS_SLOT_SCALE2:
        return CS_PARAM_NORM;
    case CS_SLOT_Q_B:
    case CS_SLOT_K_B:
    case CS_SLOT_V_B:
    case CS_SLOT_O_B:
    case CS_SLOT_QKV_B:
    case CS_SLOT_GATE_B:
    case CS_SLOT_UP_B:
    case CS_SLOT_DOWN_B:
    case CS_SLOT_GATE_UP_B:
    case CS_SLOT_STEM1_B:
    case CS_SLOT_STEM2_B:
    case CS_SLOT_PROJ1_B:
    case CS_SLOT_PROJ2_B:
        return CS_PARAM_BIAS;
    case CS_SLOT_EMBED:
    case CS_SLOT_POSITION:
    case CS_SLOT_CLASS:
    case CS_SLOT_NEWLINE:
        return CS_PARAM_EMBEDDING;
    default:
        return CS_PARAM_WEIGHT;
    }
}

cs_status csi_builder_param(csi_builder *b, int32_t layer, cs_slot slot,
                            const char *name, cs_shape shape, cs_init_kind init,
                            double init_std)
{
    CS_TRY(grow_params(b));
    cs_graph *g = b->graph;
    cs_module *module = &g->modules[b->module];
    cs_layer *l = &module->layers[layer];
    cs_param *p = &g->params[g->n_params];
    csi_str global = {0};

    *p = (cs_param){.module = b->module, .layer = layer, .slot = slot};
    g->n_params++;
    if (slot < CS_SLOT_COUNT) {
        l->param[slot] = g->n_params - 1;
    }
    p->in_projector = l->kind == CS_LAYER_PROJECTOR;
    csi_str_addf(&global, "%s.%s%s", module->name,
                 p->in_projector ? "projector." : "", name);
    p->name = csi_strdup(name);
    p->global_name = global.data;
    CS_CHECK(p->name != NULL && !global.failed, CS_ERR_NOMEM,
             "parameter name %s", name);
    p->shape = shape;
    p->role = role_of(slot);
    p->init = init;
    p->init_std = init_std;
    p->is_trainable = init != CS_INIT_SINUSOID;
    p->is_product = p->role == CS_PARAM_WEIGHT && slot != CS_SLOT_HEAD_W;
    p->tied_to = -1;
    return CS_OK;
}

cs_status csi_builder_weight(csi_builder *b, int32_t layer, cs_slot slot,
                             const char *name, cs_shape shape, double std)
{
    if (name == NULL) {
        return CS_OK;
    }
    const int64_t fan_in =
        cs_shape_count(&shape) / csi_max_i64(shape.dim[0], 1);
    CS_TRY(csi_builder_param(b, layer, slot, name, shape, CS_INIT_NORMAL,
                             std > 0.0 ? std : 1.0 / sqrt((double)fan_in)));
    return CS_OK;
}

cs_status csi_builder_vector(csi_builder *b, int32_t layer, cs_slot slot,
                             const char *name, int64_t n, cs_init_kind init)
{
    if (name == NULL) {
        return CS_OK;
    }
    CS_TRY(csi_builder_param(b, layer, slot, name, CS_SHAPE(n), init, 0.0));
    return CS_OK;
}

cs_status csi_builder_norm(csi_builder *b, int32_t layer, cs_slot slot_w,
                           cs_slot slot_b, const char *const *names,
                           int64_t dim)
{
    CS_TRY(csi_builder_vector(b, layer, slot_w, names[slot_w], dim,
                              CS_INIT_ONES));
    CS_TRY(csi_builder_vector(b, layer, slot_b, names[slot_b], dim,
                              CS_INIT_ZEROS));
    return CS_OK;
}

cs_status csi_builder_layers(cs_module *module, int64_t n_layers)
{
    module->layers = csi_calloc((size_t)n_layers, sizeof *module->layers);
    CS_CHECK(module->layers != NULL, CS_ERR_NOMEM, "%lld layers of %s",
             (long long)n_layers, module->name);
    module->n_layers = (int32_t)n_layers;
    module->stack = 1;
    module->merge = 1;
    module->temporal_patch = 1;
    module->rope_axes = 1;
    for (int32_t i = 0; i < module->n_layers; i++) {
        for (int s = 0; s < CS_SLOT_COUNT; s++) {
            module->layers[i].param[s] = -1;
        }
    }
    return CS_OK;
}
