/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Family table + sizes -> layers and parameters. Every family with pre-norm
 * blocks is built by the one function below; what differs is in the table.
 *
 * Initial values. Products are normal with the config's initializer_range, or
 * 1/sqrt(fan in) where the config has none; those that write into the residual
 * stream are divided by sqrt(2 x layers) (Radford et al. 2019, section 2.3).
 * Biases are 0, norms 1.
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
        return CS_PARAM_NORM;
    case CS_SLOT_Q_B:
    case CS_SLOT_K_B:
    case CS_SLOT_V_B:
    case CS_SLOT_O_B:
    case CS_SLOT_GATE_B:
    case CS_SLOT_UP_B:
    case CS_SLOT_DOWN_B:
    case CS_SLOT_STEM1_B:
    case CS_SLOT_STEM2_B:
    case CS_SLOT_PROJ1_B:
    case CS_SLOT_PROJ2_B:
        return CS_PARAM_BIAS;
    case CS_SLOT_EMBED:
    case CS_SLOT_POSITION:
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

/* Names of block `index`, formatted into `text`; NULL where absent. */
static cs_status name_block(const csi_family *family, const csi_sizes *sizes,
                            int32_t index, char text[CS_SLOT_COUNT][128],
                            const char *names[CS_SLOT_COUNT])
{
    for (int s = 0; s < CS_SLOT_COUNT; s++) {
        const bool is_attention_bias = s == CS_SLOT_Q_B || s == CS_SLOT_K_B ||
                                       s == CS_SLOT_V_B || s == CS_SLOT_O_B;
        const bool is_mlp_bias =
            s == CS_SLOT_GATE_B || s == CS_SLOT_UP_B || s == CS_SLOT_DOWN_B;
        names[s] = NULL;
        if (family->block[s] == NULL ||
            (is_attention_bias && !sizes->has_attention_bias) ||
            (is_mlp_bias && !sizes->has_mlp_bias)) {
            continue;
        }
        const char *mark = strstr(family->block[s], "%d");
        CS_CHECK(mark != NULL, CS_ERR_INTERNAL, "%s: block name without %%d",
                 family->id);
        CS_TRY(csi_format(text[s], sizeof text[s], "%.*s%d%s",
                          (int)(mark - family->block[s]), family->block[s],
                          index, mark + 2));
        names[s] = text[s];
    }
    return CS_OK;
}

/* Inverse frequencies of the rotary pairs: theta^(-2 i / head_dim) (Su et al.
 * 2021, eq. 15), one table for all layers of the module. */
static cs_status set_rope(cs_module *m, cs_layer *l, double theta)
{
    const int32_t n = l->head_dim / 2;

    if (m->rope_tables == NULL) {
        m->rope_tables = csi_calloc((size_t)n, sizeof *m->rope_tables);
        CS_CHECK(m->rope_tables != NULL, CS_ERR_NOMEM, "rotary table");
        for (int32_t i = 0; i < n; i++) {
            m->rope_tables[i] = pow(theta, -2.0 * i / (double)l->head_dim);
        }
    }
    l->rotary_dim = l->head_dim;
    l->rope_axes = 1;
    l->rope_frequency = m->rope_tables;
    l->rope_scale = 1.0;
    return CS_OK;
}

cs_status csi_build_block(csi_builder *b, const csi_family *family,
                          const csi_sizes *z, int32_t layer, int32_t index)
{
    char text[CS_SLOT_COUNT][128];
    const char *n[CS_SLOT_COUNT];
    const int64_t d = z->width;
    const int64_t q = z->heads * z->head_dim;
    const int64_t kv = z->kv_heads * z->head_dim;
    const double out_std =
        (z->init_std > 0.0 ? z->init_std : 0.0) / sqrt(2.0 * (double)z->layers);
    const double scale = 1.0 / sqrt(2.0 * (double)z->layers);
    cs_layer *l = &b->graph->modules[b->module].layers[layer];

    CS_TRY(name_block(family, z, index, text, n));
    l->kind = CS_LAYER_BLOCK;
    l->in_dim = d;
    l->out_dim = d;
    l->mlp_dim = z->mlp_dim;
    l->heads = (int32_t)z->heads;
    l->kv_heads = (int32_t)z->kv_heads;
    l->head_dim = (int32_t)z->head_dim;
    l->activation = z->activation;
    l->norm = family->norm;
    l->norm_eps = z->norm_eps;
    if (z->rope_theta > 0.0) {
        CS_TRY(set_rope(&b->graph->modules[b->module], l, z->rope_theta));
    }
    l->has_mlp_gate = family->has_mlp_gate;
    l->is_causal = family->is_causal;

    CS_TRY(csi_builder_norm(b, layer, CS_SLOT_NORM1_W, CS_SLOT_NORM1_B, n, d));
    CS_TRY(csi_builder_weight(b, layer, CS_SLOT_Q_W, n[CS_SLOT_Q_W],
                              CS_SHAPE(q, d), z->init_std));
    CS_TRY(csi_builder_vector(b, layer, CS_SLOT_Q_B, n[CS_SLOT_Q_B], q,
                              CS_INIT_ZEROS));
    CS_TRY(csi_builder_weight(b, layer, CS_SLOT_K_W, n[CS_SLOT_K_W],
                              CS_SHAPE(kv, d), z->init_std));
    CS_TRY(csi_builder_vector(b, layer, CS_SLOT_K_B, n[CS_SLOT_K_B], kv,
                              CS_INIT_ZEROS));
    CS_TRY(csi_builder_weight(b, layer, CS_SLOT_V_W, n[CS_SLOT_V_W],
                              CS_SHAPE(kv, d), z->init_std));
    CS_TRY(csi_builder_vector(b, layer, CS_SLOT_V_B, n[CS_SLOT_V_B], kv,
                              CS_INIT_ZEROS));
    CS_TRY(csi_builder_weight(b, layer, CS_SLOT_O_W, n[CS_SLOT_O_W],
                              CS_SHAPE(d, q),
                              out_std > 0.0 ? out_std
                                            : scale / sqrt((double)q)));
    CS_TRY(csi_builder_vector(b, layer, CS_SLOT_O_B, n[CS_SLOT_O_B], d,
                              CS_INIT_ZEROS));
    CS_TRY(csi_builder_norm(b, layer, CS_SLOT_NORM2_W, CS_SLOT_NORM2_B, n, d));
    if (family->has_mlp_gate) {
        CS_TRY(csi_builder_weight(b, layer, CS_SLOT_GATE_W, n[CS_SLOT_GATE_W],
                                  CS_SHAPE(z->mlp_dim, d), z->init_std));
        CS_TRY(csi_builder_vector(b, layer, CS_SLOT_GATE_B, n[CS_SLOT_GATE_B],
                                  z->mlp_dim, CS_INIT_ZEROS));
    }
    CS_TRY(csi_builder_weight(b, layer, CS_SLOT_UP_W, n[CS_SLOT_UP_W],
                              CS_SHAPE(z->mlp_dim, d), z->init_std));
    CS_TRY(csi_builder_vector(b, layer, CS_SLOT_UP_B, n[CS_SLOT_UP_B],
                              z->mlp_dim, CS_INIT_ZEROS));
    CS_TRY(csi_builder_weight(b, layer, CS_SLOT_DOWN_W, n[CS_SLOT_DOWN_W],
                              CS_SHAPE(d, z->mlp_dim),
                              out_std > 0.0
                                  ? out_std
                                  : scale / sqrt((double)z->mlp_dim)));
    CS_TRY(csi_builder_vector(b, layer, CS_SLOT_DOWN_B, n[CS_SLOT_DOWN_B], d,
                              CS_INIT_ZEROS));
    return CS_OK;
}

cs_status csi_build_language_model(csi_builder *b, const csi_family *family,
                                   const csi_sizes *z)
{
    cs_module *m = &b->graph->modules[b->module];
    const int32_t last = (int32_t)z->layers + 1;

    CS_TRY(csi_builder_layers(m, z->layers + 2));
    m->width = z->width;
    m->vocab = z->vocab;
    m->max_positions = z->max_positions;
    cs_layer *embed = &m->layers[0];
    embed->kind = CS_LAYER_EMBED;
    embed->vocab = z->vocab;
    embed->out_dim = z->width;
    CS_TRY(csi_builder_weight(b, 0, CS_SLOT_EMBED, family->outer[CS_SLOT_EMBED],
                              CS_SHAPE(z->vocab, z->width),
                              z->init_std > 0.0 ? z->init_std : 0.02));
    for (int32_t i = 0; i < (int32_t)z->layers; i++) {
        CS_TRY(csi_build_block(b, family, z, i + 1, i));
    }
    cs_layer *head = &m->layers[last];
    head->kind = CS_LAYER_HEAD;
    head->in_dim = z->width;
    head->vocab = z->vocab;
    head->norm = family->norm;
    head->norm_eps = z->norm_eps;
    CS_TRY(csi_builder_norm(b, last, CS_SLOT_NORM1_W, CS_SLOT_NORM1_B,
                            family->outer, z->width));
    CS_TRY(csi_builder_weight(b, last, CS_SLOT_HEAD_W,
                              family->outer[CS_SLOT_HEAD_W],
                              CS_SHAPE(z->vocab, z->width), z->init_std));
    return CS_OK;
}
