/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_TINY_MODEL_H
#define CST_TINY_MODEL_H
/*
 * A model of ten parameters, made by hand, with everything that the code
 * under test tells apart: an encoder with fixed positions, a projector, a
 * language model. Layer l of the pipeline order holds parameters
 * [TINY_STAGE[l], TINY_STAGE[l + 1]), so that ranks can share it in any way.
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/safetensors.h"

#include "base/alloc.h"

#include "test.h"

enum {
    TINY_PARAMS = 10,
    TINY_MAX_COUNT = 1024,
    TINY_SEED = 7
};

typedef struct tiny_spec {
    int32_t module;
    bool in_projector;
    const char *name;
    cs_shape shape;
    cs_init_kind init;
} tiny_spec;

static const tiny_spec TINY[TINY_PARAMS] = {
    {0, false, "stem.weight", {4, {4, 3, 2, 2}}, CS_INIT_NORMAL},
    {0, false, "positions.weight", {2, {5, 4}}, CS_INIT_SINUSOID},
    {0, false, "norm.weight", {1, {4}}, CS_INIT_ONES},
    {0, false, "norm.bias", {1, {4}}, CS_INIT_ZEROS},
    {0, true, "linear.weight", {2, {6, 4}}, CS_INIT_NORMAL},
    {0, true, "linear.bias", {1, {6}}, CS_INIT_ZEROS},
    {1, false, "embed.weight", {2, {10, 6}}, CS_INIT_NORMAL},
    {1, false, "layers.0.up.weight", {2, {8, 6}}, CS_INIT_NORMAL},
    {1, false, "norm.weight", {1, {6}}, CS_INIT_ONES},
    {1, false, "lm_head.weight", {2, {10, 6}}, CS_INIT_NORMAL},
};

typedef struct tiny_options {
    bool freeze_vision, freeze_projector, freeze_language_model, freeze_embed;
    const char *vision_from, *projector_from, *language_model_from;
} tiny_options;

static inline char *tiny_copy(const char *text)
{
    return text != NULL ? csi_strdup(text) : NULL;
}

static inline cs_graph *tiny_graph(const tiny_options *o)
{
    cs_graph *g = csi_calloc(1, sizeof *g);

    g->n_modules = 2;
    g->modules = csi_calloc(2, sizeof *g->modules);
    g->modules[0] = (cs_module){
        .name = tiny_copy("vision"),
        .family = tiny_copy("siglip"),
        .modality = CS_MODALITY_VISION,
        .source = tiny_copy(o->vision_from),
        .projector_source = tiny_copy(o->projector_from),
        .hf_config = tiny_copy("{\"vision\": 1}\n"),
        .projector_config = tiny_copy("{\"projector\": 1}\n"),
    };
    g->modules[1] = (cs_module){
        .name = tiny_copy("language_model"),
        .family = tiny_copy("llama"),
        .source = tiny_copy(o->language_model_from),
        .hf_config = tiny_copy("{\"language_model\": 1}\n"),
    };
    g->params = csi_calloc(TINY_PARAMS, sizeof *g->params);
    g->n_params = TINY_PARAMS;
    for (int32_t i = 0; i < TINY_PARAMS; i++) {
        char global[128];
        const tiny_spec *s = &TINY[i];
        const bool frozen = s->in_projector  ? o->freeze_projector
                            : s->module == 0 ? o->freeze_vision
                                             : o->freeze_language_model;
        (void)snprintf(global, sizeof global, "%s.%s%s",
                       g->modules[s->module].name,
                       s->in_projector ? "projector." : "", s->name);
        g->params[i] = (cs_param){
            .name = tiny_copy(s->name),
            .global_name = tiny_copy(global),
            .module = s->module,
            .in_projector = s->in_projector,
            .shape = s->shape,
            .init = s->init,
            .init_std = 0.5,
            .is_trainable = !frozen && s->init != CS_INIT_SINUSOID &&
                            !(o->freeze_embed && i == 6),
            .tied_to = -1,
        };
    }
    return g;
}

/* The parameters of rank `rank` of `n_ranks`: an even cut in graph order. */
static inline cs_status tiny_set(const cs_graph *g, int32_t rank,
                                 int32_t n_ranks, cs_dtype dtype,
                                 cs_param_set **out)
{
    bool held[TINY_PARAMS] = {false};

    for (int32_t i = 0; i < TINY_PARAMS; i++) {
        held[i] = i * n_ranks / TINY_PARAMS == rank;
    }
    CS_TRY(cs_param_set_create(g, held, dtype, true, out));
    return CS_OK;
}

/* Gives every trainable parameter and its optimizer state values that say
 * what they are, as training would. */
static inline cs_status tiny_train(cs_param_set *set, double salt)
{
    for (int32_t k = 0; k < set->n; k++) {
        cs_param_state *p = &set->items[k];
        const double at = salt + (double)(p->spec - set->graph->params);
        double values[TINY_MAX_COUNT];
        for (int64_t i = 0; i < p->count; i++) {
            const double x = at + 0.001 * (double)(i + 1) / 3.0;
            values[i] = (double)(float)x;
            if (p->m != NULL) {
                csi_dtype_set(p->m, set->real, i, x * 0.1);
                csi_dtype_set(p->v, set->real, i, x * x);
            }
        }
        if (p->spec->is_trainable) {
            CS_TRY(cs_param_store(set, k, CS_F64, values));
        }
    }
    return CS_OK;
}

/* Whether two sets agree bitwise in all that one of them holds. */
static inline cs_status tiny_compare(const cs_param_set *got,
                                     const cs_param_set *wanted)
{
    for (int32_t k = 0; k < got->n; k++) {
        const cs_param_state *a = &got->items[k];
        const cs_param_state *b =
            cs_param_find(wanted, (int32_t)(a->spec - got->graph->params));
        const size_t n = (size_t)a->count * cs_dtype_bytes(got->real);
        CS_CHECK(b != NULL && memcmp(a->working.data, b->working.data,
                                     cs_tensor_bytes(&a->working)) == 0,
                 CS_ERR_INTERNAL, "%s differs", a->spec->global_name);
        CS_CHECK(a->master == NULL || memcmp(a->master, b->master, n) == 0,
                 CS_ERR_INTERNAL, "master of %s differs", a->spec->global_name);
        CS_CHECK(a->m == NULL ||
                     (memcmp(a->m, b->m, n) == 0 && memcmp(a->v, b->v, n) == 0),
                 CS_ERR_INTERNAL, "optimizer state of %s differs",
                 a->spec->global_name);
    }
    return CS_OK;
}

#endif
