/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One encoder: stem, blocks, last norm.
 *
 * HF's hidden_states are 0: what the stem gives, k: what block k - 1 gives.
 * Where the recipe chooses one of them, the blocks above are not run and there
 * is no last norm; -1 (and the number of blocks) is last_hidden_state, through
 * the last norm where the HF model applies one to it. What is not run stays in
 * the graph as frozen parameters without a slot, so that an export is whole.
 */
#include "build_encoder.h"

#include "base/alloc.h"

#include <math.h>
#include <string.h>

static cs_layer *layer_at(const csi_builder *b, int32_t layer)
{
    return &b->graph->modules[b->module].layers[layer];
}

static cs_shape table_shape(const csi_encoder *e, int64_t n)
{
    return e->family.encoder->has_batch_axis ? CS_SHAPE(1, n, e->sizes.width)
                                             : CS_SHAPE(n, e->sizes.width);
}

static cs_status build_tables(csi_builder *b, const csi_encoder *e)
{
    const csi_family *f = &e->family;
    const csi_sizes *z = &e->sizes;
    const double std = z->init_std > 0.0 ? z->init_std : 0.02;

    if (f->outer[CS_SLOT_POSITION] != NULL) {
        CS_TRY(csi_builder_param(b, 0, CS_SLOT_POSITION,
                                 f->outer[CS_SLOT_POSITION],
                                 table_shape(e, z->max_positions),
                                 f->positions_are_fixed ? CS_INIT_SINUSOID
                                                        : CS_INIT_NORMAL,
                                 std));
    }
    if (f->outer[CS_SLOT_CLASS] != NULL) {
        CS_TRY(csi_builder_param(b, 0, CS_SLOT_CLASS, f->outer[CS_SLOT_CLASS],
                                 f->encoder->has_batch_axis
                                     ? CS_SHAPE(1, 1, z->width)
                                     : CS_SHAPE(z->width),
                                 CS_INIT_NORMAL, std));
    }
    return CS_OK;
}

/* Whether positions are stored for another number of patches. */
static bool has_other_grid(const csi_encoder *e)
{
    return e->picture != e->sizes.image_size &&
           e->picture / e->sizes.patch_size !=
               e->sizes.image_size / e->sizes.patch_size;
}

static cs_status build_stem(csi_builder *b, const csi_encoder *e)
{
    const csi_family *f = &e->family;
    const csi_sizes *z = &e->sizes;
    const char *const *n = f->outer;
    cs_layer *l = layer_at(b, 0);
    const bool is_patch = f->stem == CS_LAYER_PATCH_STEM;
    const int64_t p = is_patch ? z->patch_size : 3;
    const int64_t times = e->temporal_patch;
    const cs_shape shape = !is_patch ? CS_SHAPE(z->width, z->channels, p)
                           : f->encoder->temporal_key != NULL
                               ? CS_SHAPE(z->width, z->channels, times, p, p)
                               : CS_SHAPE(z->width, z->channels, p, p);

    l->kind = f->stem;
    l->kernel = (int32_t)p;
    l->channels = (int32_t)z->channels;
    l->in_dim = is_patch ? z->channels * times * p * p : z->channels;
    l->out_dim = z->width;
    l->n_positions = z->max_positions;
    l->activation = CS_ACT_GELU;
    l->norm = f->norm;
    l->norm_eps = z->norm_eps;
    if (has_other_grid(e)) {
        l->position_side = (int32_t)(z->image_size / z->patch_size);
        l->grid_side = (int32_t)(e->picture / z->patch_size);
    }
    CS_TRY(csi_builder_norm(b, 0, CS_SLOT_NORM2_W, CS_SLOT_NORM2_B, n,
                            z->width));
    CS_TRY(csi_builder_weight(b, 0, CS_SLOT_STEM1_W, n[CS_SLOT_STEM1_W], shape,
                              z->init_std));
    CS_TRY(csi_builder_vector(b, 0, CS_SLOT_STEM1_B, n[CS_SLOT_STEM1_B],
                              z->width, CS_INIT_ZEROS));
    CS_TRY(csi_builder_weight(b, 0, CS_SLOT_STEM2_W, n[CS_SLOT_STEM2_W],
                              CS_SHAPE(z->width, z->width, p), z->init_std));
    CS_TRY(csi_builder_vector(b, 0, CS_SLOT_STEM2_B, n[CS_SLOT_STEM2_B],
                              z->width, CS_INIT_ZEROS));
    return build_tables(b, e);
}

/* --- what does not run ---------------------------------------------------- */

/* Takes the parameters from `first` on out of the layers. */
static void retire_params(csi_builder *b, int32_t first)
{
    cs_graph *g = b->graph;

    for (int32_t i = first; i < g->n_params; i++) {
        cs_param *p = &g->params[i];
        if (p->slot < CS_SLOT_COUNT) {
            layer_at(b, p->layer)->param[p->slot] = -1;
        }
        p->slot = CS_SLOT_COUNT;
        p->is_trainable = false;
        p->is_product = false;
    }
}

/* Blocks [first, all) and the last norm, in the place of layer `layer`, which
 * is empty again afterwards. */
static cs_status keep_unused(csi_builder *b, const csi_encoder *e,
                             int32_t layer, int32_t first_block, bool norm_runs)
{
    const int32_t first = b->graph->n_params;

    for (int32_t i = first_block; i < (int32_t)e->sizes.layers; i++) {
        CS_TRY(csi_build_block(b, &e->family, &e->sizes, layer, i));
    }
    if (!norm_runs) {
        CS_TRY(csi_builder_norm(b, layer, CS_SLOT_NORM1_W, CS_SLOT_NORM1_B,
                                e->family.outer, e->sizes.width));
    }
    if (e->mask_token != NULL) {
        CS_TRY(csi_builder_param(b, layer, CS_SLOT_COUNT, e->mask_token,
                                 CS_SHAPE(1, e->sizes.width), CS_INIT_ZEROS,
                                 0.0));
    }
    retire_params(b, first);
    cs_layer *l = layer_at(b, layer);
    *l = (cs_layer){0};
    for (int s = 0; s < CS_SLOT_COUNT; s++) {
        l->param[s] = -1;
    }
    return CS_OK;
}

/* --- blocks --------------------------------------------------------------- */

/* Frequencies and axes of the pairs of a head, the same for all blocks. */
static cs_status make_axial(cs_module *m, const csi_encoder *e)
{
    const int32_t n = (int32_t)e->sizes.head_dim / 2;
    const int32_t half = n / 2;
    const bool is_dealt = e->family.encoder->axial == CSI_AXIAL_DEALT;

    m->rope_tables = csi_calloc((size_t)n, sizeof *m->rope_tables);
    m->rope_axis = csi_calloc((size_t)n, sizeof *m->rope_axis);
    CS_CHECK(m->rope_tables != NULL && m->rope_axis != NULL, CS_ERR_NOMEM,
             "rotary table");
    for (int32_t i = 0; i < n; i++) {
        const int32_t k = i % half;
        const int32_t step = is_dealt ? 2 * k + i / half : 2 * k;
        m->rope_axis[i] = (uint8_t)(i / half);
        m->rope_tables[i] = pow(e->rope_theta, -(double)step / n);
    }
    m->rope_axes = 2;
    return CS_OK;
}

static void set_axial(const cs_module *m, cs_layer *l)
{
    l->rotary_dim = l->head_dim;
    l->rope_axes = m->rope_axes;
    l->rope_frequency = m->rope_tables;
    l->rope_axis = m->rope_axis;
    l->rope_scale = 1.0;
}

static void set_layer_scale(csi_builder *b, const csi_encoder *e, int32_t layer)
{
    for (int s = CS_SLOT_SCALE1; s <= CS_SLOT_SCALE2; s++) {
        const int32_t i = layer_at(b, layer)->param[s];
        if (i >= 0) {
            b->graph->params[i].init = CS_INIT_CONSTANT;
            b->graph->params[i].init_std = e->layer_scale;
        }
    }
}

static cs_status build_blocks(csi_builder *b, const csi_encoder *e, int32_t n)
{
    cs_module *m = &b->graph->modules[b->module];
    const bool is_axial = e->family.encoder->axial != CSI_AXIAL_NONE;

    if (is_axial) {
        CS_TRY(make_axial(m, e));
    }
    for (int32_t i = 0; i < n; i++) {
        CS_TRY(csi_build_block(b, &e->family, &e->sizes, i + 1, i));
        set_layer_scale(b, e, i + 1);
        if (is_axial) {
            set_axial(m, layer_at(b, i + 1));
        }
    }
    return CS_OK;
}

/* --- the encoder ---------------------------------------------------------- */

/* Number of blocks below the chosen hidden state. */
static cs_status count_blocks(const cs_module *m, const csi_encoder *e,
                              int32_t layer, int32_t *n)
{
    const int32_t all = (int32_t)e->sizes.layers;
    const int32_t index = layer < 0 ? all + 1 + layer : layer;

    CS_CHECK(index >= 0 && index <= all, CS_ERR_ARG,
             "model.encoders.%s.feature_layer: wanted %d to %d, got %d",
             m->name, -(all + 1), all, layer);
    *n = index;
    return CS_OK;
}

static void describe(cs_module *m, const csi_encoder *e,
                     const csi_feature_choice *choice)
{
    const csi_sizes *z = &e->sizes;

    m->width = z->width;
    m->max_positions = z->max_positions;
    if (has_other_grid(e)) {
        const int64_t side = e->picture / z->patch_size;
        m->max_positions = side * side + e->class_rows;
    }
    m->patch_size = (int32_t)z->patch_size;
    m->image_size = (int32_t)e->picture;
    m->n_channels =
        m->modality == CS_MODALITY_VISION ? (int32_t)z->channels : 0;
    m->n_mels = m->modality == CS_MODALITY_AUDIO ? (int32_t)z->channels : 0;
    m->class_rows = e->class_rows;
    m->feature_skip = choice->drops_class ? e->class_rows : 0;
    m->is_any_size = e->family.encoder->is_any_size;
    m->merge = e->merge;
    m->temporal_patch = e->temporal_patch;
    m->stack = choice->stack;
    m->name_prefixes = e->family.encoder->prefixes;
    m->ignored_names = e->family.encoder->ignored;
}

cs_status csi_build_encoder(csi_builder *b, const csi_encoder *e,
                            const csi_feature_choice *choice)
{
    cs_module *m = &b->graph->modules[b->module];
    const struct csi_encoder_traits *t = e->family.encoder;
    int32_t n_blocks = 0;

    CS_TRY(count_blocks(m, e, choice->layer, &n_blocks));
    CS_TRY(csi_builder_layers(m, (int64_t)n_blocks + 3));
    describe(m, e, choice);
    CS_TRY(build_stem(b, e));
    CS_TRY(build_blocks(b, e, n_blocks));

    const bool is_last = n_blocks == (int32_t)e->sizes.layers;
    const bool norm_runs = is_last && !t->norm_is_pooled;
    const bool pools_first = norm_runs && t->pool_before_norm > 1;
    const int32_t last = n_blocks + 1;
    CS_CHECK(!pools_first || choice->pool == 1, CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s.pool: %s averages %d rows itself "
             "(stack lays more of them side by side)",
             m->name, m->family, t->pool_before_norm);
    m->pool = pools_first ? t->pool_before_norm : choice->pool;
    CS_TRY(keep_unused(b, e, last, n_blocks, norm_runs));
    cs_layer *norm = layer_at(b, last);
    norm->kind = CS_LAYER_NORM;
    norm->in_dim = m->width;
    norm->out_dim = m->width * choice->stack;
    norm->norm = e->family.norm;
    norm->norm_eps = e->sizes.norm_eps;
    norm->pool = m->pool;
    norm->pools_first = pools_first;
    norm->stack = choice->stack;
    if (norm_runs) {
        CS_TRY(csi_builder_norm(b, last, CS_SLOT_NORM1_W, CS_SLOT_NORM1_B,
                                e->family.outer, m->width));
    }
    return CS_OK;
}
