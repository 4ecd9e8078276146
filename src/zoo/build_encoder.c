/* SPDX-License-Identifier: Apache-2.0 */
/* An encoder's layers: stem, blocks, last norm; and its projector. */
#include "build_encoder.h"

static cs_status build_stem(csi_builder *b, const csi_family *family,
                            const csi_sizes *z)
{
    const char *const *n = family->outer;
    cs_layer *l = &b->graph->modules[b->module].layers[0];
    const bool is_patch = family->stem == CS_LAYER_PATCH_STEM;
    const int64_t p = is_patch ? z->patch_size : 3;

    l->kind = family->stem;
    l->kernel = (int32_t)p;
    l->channels = (int32_t)z->channels;
    l->in_dim = is_patch ? z->channels * p * p : z->channels;
    l->out_dim = z->width;
    l->n_positions = z->max_positions;
    l->activation = CS_ACT_GELU;
    CS_TRY(csi_builder_weight(b, 0, CS_SLOT_STEM1_W, n[CS_SLOT_STEM1_W],
                              is_patch ? CS_SHAPE(z->width, z->channels, p, p)
                                       : CS_SHAPE(z->width, z->channels, p),
                              z->init_std));
    CS_TRY(csi_builder_vector(b, 0, CS_SLOT_STEM1_B, n[CS_SLOT_STEM1_B],
                              z->width, CS_INIT_ZEROS));
    CS_TRY(csi_builder_weight(b, 0, CS_SLOT_STEM2_W, n[CS_SLOT_STEM2_W],
                              CS_SHAPE(z->width, z->width, p), z->init_std));
    CS_TRY(csi_builder_vector(b, 0, CS_SLOT_STEM2_B, n[CS_SLOT_STEM2_B],
                              z->width, CS_INIT_ZEROS));
    CS_TRY(csi_builder_param(b, 0, CS_SLOT_POSITION, n[CS_SLOT_POSITION],
                             CS_SHAPE(z->max_positions, z->width),
                             family->positions_are_fixed ? CS_INIT_SINUSOID
                                                         : CS_INIT_NORMAL,
                             z->init_std > 0.0 ? z->init_std : 0.02));
    return CS_OK;
}

cs_status csi_build_encoder(csi_builder *b, const csi_family *family,
                            const csi_sizes *z, int32_t pool)
{
    cs_module *m = &b->graph->modules[b->module];
    const int32_t last = (int32_t)z->layers + 1;

    CS_TRY(csi_builder_layers(m, z->layers + 3));
    m->width = z->width;
    m->max_positions = z->max_positions;
    m->image_size = (int32_t)z->image_size;
    m->patch_size = (int32_t)z->patch_size;
    m->n_channels =
        m->modality == CS_MODALITY_VISION ? (int32_t)z->channels : 0;
    m->n_mels = m->modality == CS_MODALITY_AUDIO ? (int32_t)z->channels : 0;
    m->pool = pool;
    CS_TRY(build_stem(b, family, z));
    for (int32_t i = 0; i < (int32_t)z->layers; i++) {
        CS_TRY(csi_build_block(b, family, z, i + 1, i));
    }
    cs_layer *norm = &m->layers[last];
    norm->kind = CS_LAYER_NORM;
    norm->in_dim = z->width;
    norm->out_dim = z->width;
    norm->norm = family->norm;
    norm->norm_eps = z->norm_eps;
    norm->pool = pool;
    CS_TRY(csi_builder_norm(b, last, CS_SLOT_NORM1_W, CS_SLOT_NORM1_B,
                            family->outer, z->width));
    return CS_OK;
}

cs_status csi_build_projector(csi_builder *b, cs_projector_type type,
                              cs_activation activation, int64_t in,
                              int64_t hidden, int64_t out)
{
    cs_module *m = &b->graph->modules[b->module];
    const int32_t layer = m->n_layers - 1;
    cs_layer *l = &m->layers[layer];
    const bool is_mlp = type == CS_PROJECTOR_MLP;

    l->kind = CS_LAYER_PROJECTOR;
    l->in_dim = in;
    l->out_dim = out;
    l->mlp_dim = is_mlp ? hidden : 0;
    l->activation = is_mlp ? activation : CS_ACT_NONE;
    const int64_t first_out = is_mlp ? hidden : out;
    CS_TRY(csi_builder_weight(b, layer, CS_SLOT_PROJ1_W,
                              is_mlp ? "linear_1.weight" : "linear.weight",
                              CS_SHAPE(first_out, in), 0.0));
    CS_TRY(csi_builder_vector(b, layer, CS_SLOT_PROJ1_B,
                              is_mlp ? "linear_1.bias" : "linear.bias",
                              first_out, CS_INIT_ZEROS));
    if (is_mlp) {
        CS_TRY(csi_builder_weight(b, layer, CS_SLOT_PROJ2_W, "linear_2.weight",
                                  CS_SHAPE(out, hidden), 0.0));
        CS_TRY(csi_builder_vector(b, layer, CS_SLOT_PROJ2_B, "linear_2.bias",
                                  out, CS_INIT_ZEROS));
    }
    return CS_OK;
}
