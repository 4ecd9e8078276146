/* SPDX-License-Identifier: Apache-2.0 */
/* A language model's layers: embedding, blocks, head. */
#include "base/alloc.h"

#include "build.h"
#include "decoder.h"

#include <string.h>

/* Rotary tables of the module, one after the other: of all blocks, of those in
 * long documents, of those with a window. */
enum {
    TABLE_ALL,
    TABLE_LONG,
    TABLE_LOCAL,
    N_TABLES
};

static cs_status make_tables(const csi_decoder *d, cs_module *m)
{
    const size_t n = (size_t)d->rope.dim / 2;

    if (n == 0) {
        return CS_OK;
    }
    m->rope_tables = csi_calloc(n * N_TABLES, sizeof *m->rope_tables);
    CS_CHECK(m->rope_tables != NULL, CS_ERR_NOMEM, "rotary tables");
    csi_rope_fill(&d->rope, false, m->rope_tables + TABLE_ALL * n);
    if (d->rope.type == CSI_ROPE_LONG) {
        csi_rope_fill(&d->rope, true, m->rope_tables + TABLE_LONG * n);
    }
    if (d->local_rope.dim > 0) {
        CS_CHECK(d->local_rope.dim == d->rope.dim, CS_ERR_UNSUPPORTED,
                 "unsupported: %s: %d rotary columns of blocks with a window, "
                 "%d of others",
                 m->name, d->local_rope.dim, d->rope.dim);
        csi_rope_fill(&d->local_rope, false, m->rope_tables + TABLE_LOCAL * n);
    }
    return CS_OK;
}

static void set_rope(const csi_decoder *d, const cs_module *m, bool is_local,
                     cs_layer *l)
{
    const csi_rope *r = is_local ? &d->local_rope : &d->rope;
    const size_t n = (size_t)d->rope.dim / 2;

    l->rotary_dim = r->dim;
    if (r->dim == 0) {
        return;
    }
    l->rope_axes = 1;
    l->rope_frequency = m->rope_tables + (is_local ? TABLE_LOCAL * n : 0);
    l->rope_scale = r->scale;
    if (r->type == CSI_ROPE_LONG) {
        l->rope_long = m->rope_tables + TABLE_LONG * n;
        l->rope_long_after = (int64_t)r->original;
    }
}

static cs_status build_block(csi_builder *b, const csi_decoder *d,
                             int32_t index)
{
    cs_module *m = &b->graph->modules[b->module];
    cs_layer *l = &m->layers[index + 1];
    const bool has_window = (d->block[index] & CSI_BLOCK_WINDOW) != 0;
    const bool has_experts = (d->block[index] & CSI_BLOCK_EXPERTS) != 0;
    csi_sizes sizes = d->sizes;

    if (has_experts) {
        sizes.experts = d->experts;
        sizes.mlp_dim = d->expert_dim;
    }
    CS_TRY(csi_build_block(b, d->family, &sizes, index + 1, index));
    set_rope(d, m, has_window && d->local_rope.dim > 0, l);
    l->window = has_window ? d->window : 0;
    l->attention_scale = d->attention_scale;
    l->attention_softcap = d->attention_softcap;
    if (has_experts) {
        l->n_experts = (int32_t)d->experts;
        l->top_k = (int32_t)d->top_k;
        l->normalises_top_k = d->normalises_top_k;
        l->balance_coefficient = d->balance;
    }
    return CS_OK;
}

static cs_status build_embedding(csi_builder *b, const csi_decoder *d)
{
    const csi_sizes *z = &d->sizes;
    const char *const *names = d->family->outer;
    cs_layer *l = &b->graph->modules[b->module].layers[0];
    const double std = z->init_std > 0.0 ? z->init_std : 0.02;

    l->kind = CS_LAYER_EMBED;
    l->vocab = z->vocab;
    l->out_dim = z->width;
    l->embed_scale = d->embed_scale;
    CS_TRY(csi_builder_weight(b, 0, CS_SLOT_EMBED, names[CS_SLOT_EMBED],
                              CS_SHAPE(z->vocab, z->width), std));
    if (names[CS_SLOT_POSITION] != NULL) {
        l->n_positions = z->max_positions;
        CS_TRY(csi_builder_weight(b, 0, CS_SLOT_POSITION,
                                  names[CS_SLOT_POSITION],
                                  CS_SHAPE(z->max_positions, z->width), std));
    }
    return CS_OK;
}

static cs_status build_head(csi_builder *b, const csi_decoder *d)
{
    const csi_sizes *z = &d->sizes;
    const csi_family *f = d->family;
    cs_module *m = &b->graph->modules[b->module];
    const int32_t last = m->n_layers - 1;
    cs_layer *l = &m->layers[last];

    l->kind = CS_LAYER_HEAD;
    l->in_dim = z->width;
    l->vocab = z->vocab;
    l->norm = f->norm;
    l->norm_eps = z->norm_eps;
    l->norm_offset = f->norm_offset;
    l->logit_softcap = d->logit_softcap;
    CS_TRY(csi_builder_norm(b, last, CS_SLOT_NORM1_W, CS_SLOT_NORM1_B, f->outer,
                            z->width));
    if (f->norm_offset == 1.0) {
        b->graph->params[l->param[CS_SLOT_NORM1_W]].init = CS_INIT_ZEROS;
    }
    CS_TRY(csi_builder_weight(b, last, CS_SLOT_HEAD_W, f->outer[CS_SLOT_HEAD_W],
                              CS_SHAPE(z->vocab, z->width), z->init_std));
    if (d->is_tied) {
        cs_param *head = &b->graph->params[l->param[CS_SLOT_HEAD_W]];
        head->tied_to = m->layers[0].param[CS_SLOT_EMBED];
    }
    return CS_OK;
}

cs_status csi_build_language_model(csi_builder *b, const csi_decoder *d)
{
    cs_module *m = &b->graph->modules[b->module];

    CS_TRY(csi_builder_layers(m, d->sizes.layers + 2));
    m->width = d->sizes.width;
    m->vocab = d->sizes.vocab;
    m->max_positions = d->sizes.max_positions;
    m->name_prefixes = d->family->decoder->prefixes;
    m->ignored_names = d->family->decoder->ignored;
    CS_TRY(make_tables(d, m));
    CS_TRY(build_embedding(b, d));
    for (int32_t i = 0; i < (int32_t)d->sizes.layers; i++) {
        CS_TRY(build_block(b, d, i));
    }
    return build_head(b, d);
}
