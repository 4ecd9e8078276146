/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_SCHEDULE_GRAPHS_H
#define CST_SCHEDULE_GRAPHS_H
/*
 * Stage graphs for the tests of schedules and of the simulator: encoders of
 * any depth that meet in a language model, on ranks of one's choice. Nothing
 * is allocated: a graph lives in its case.
 */
#include "cornstarch/schedule.h"

#include "base/rng.h"

enum {
    CST_MAX_MODULES = 4,
    CST_MAX_STAGES = 16
};

typedef enum cst_layout {
    CST_LAYOUT_OWN,       /* every stage its own rank */
    CST_LAYOUT_ONE,       /* everything on rank 0 */
    CST_LAYOUT_COLOCATED, /* stage k of all encoders on rank k */
    CST_LAYOUT_PAIRS,     /* two neighbours per rank */
    CST_LAYOUT_RANDOM,    /* anything, ranks may feed each other both ways */
    CST_LAYOUT_COUNT
} cst_layout;

typedef struct cst_graph {
    cs_stage_graph graph;
    cs_stage stages[CST_MAX_STAGES];
    cs_edge edges[CST_MAX_STAGES];
    bool is_trainable[CST_MAX_STAGES];
} cst_graph;

/* Adds a module of `depth` stages; returns the first one's index. */
static inline int32_t cst_add_module(cst_graph *g, int32_t module,
                                     int32_t depth)
{
    const int32_t first = g->graph.n_stages;

    g->graph.stages = g->stages;
    g->graph.edges = g->edges;
    for (int32_t position = 0; position < depth; position++) {
        const int32_t stage = g->graph.n_stages++;

        g->stages[stage] = (cs_stage){.module = module, .position = position};
        if (position > 0) {
            g->edges[g->graph.n_edges++] =
                (cs_edge){.from = stage - 1, .to = stage, .n_slots = 2};
        }
    }
    return first;
}

/* `depths` of the encoders, then of the language model; all trainable. */
static inline void cst_graph_stages(cst_graph *g, int32_t n_modules,
                                    const int32_t *depths)
{
    int32_t ends[CST_MAX_MODULES] = {0};

    *g = (cst_graph){.graph = {0}};
    for (int32_t module = 0; module < n_modules; module++) {
        const int32_t first = cst_add_module(g, module, depths[module]);

        ends[module] = g->graph.n_stages - 1;
        for (int32_t encoder = 0; module == n_modules - 1 && encoder < module;
             encoder++) {
            g->edges[g->graph.n_edges++] =
                (cs_edge){.from = ends[encoder], .to = first, .n_slots = 2};
        }
    }
    for (int32_t stage = 0; stage < g->graph.n_stages; stage++) {
        g->is_trainable[stage] = true;
    }
}

static inline void cst_graph_slots(cst_graph *g, int32_t n_slots)
{
    for (int32_t edge = 0; edge < g->graph.n_edges; edge++) {
        g->edges[edge].n_slots = n_slots;
    }
}

/* Backward flags from is_trainable, as the model's graph decides them. */
static inline void cst_graph_flags(cst_graph *g)
{
    for (int32_t stage = 0; stage < g->graph.n_stages; stage++) {
        g->stages[stage].has_backward_weight = g->is_trainable[stage];
        g->stages[stage].has_backward_input = g->is_trainable[stage];
        for (int32_t edge = 0; edge < g->graph.n_edges; edge++) {
            if (g->edges[edge].to == stage &&
                g->stages[g->edges[edge].from].has_backward_input) {
                g->stages[stage].has_backward_input = true;
            }
        }
    }
    for (int32_t edge = 0; edge < g->graph.n_edges; edge++) {
        g->edges[edge].has_gradient =
            g->stages[g->edges[edge].from].has_backward_input;
    }
}

static inline void cst_graph_place(cst_graph *g, cst_layout layout,
                                   uint64_t seed)
{
    const int32_t llm = g->stages[g->graph.n_stages - 1].module;
    int32_t n_encoder_ranks = 0;
    int32_t n_ranks = 0;

    for (int32_t stage = 0; stage < g->graph.n_stages; stage++) {
        const cs_stage *const s = &g->stages[stage];

        if (s->module < llm && s->position >= n_encoder_ranks) {
            n_encoder_ranks = s->position + 1;
        }
    }
    for (int32_t stage = 0; stage < g->graph.n_stages; stage++) {
        cs_stage *const s = &g->stages[stage];

        switch (layout) {
        case CST_LAYOUT_ONE:
            s->rank = 0;
            break;
        case CST_LAYOUT_COLOCATED:
            s->rank = s->position + (s->module == llm ? n_encoder_ranks : 0);
            break;
        case CST_LAYOUT_PAIRS:
            s->rank = stage / 2;
            break;
        case CST_LAYOUT_RANDOM: /* the first ranks get one stage at least */
            s->rank = stage < 3
                          ? stage
                          : (int32_t)csi_rng_below(seed, 1, (uint64_t)stage, 3);
            break;
        default:
            s->rank = stage;
            break;
        }
        n_ranks = s->rank >= n_ranks ? s->rank + 1 : n_ranks;
    }
    g->graph.n_ranks = n_ranks;
    cst_graph_flags(g);
}

/* 0 to 3 encoders of 1 to 3 stages, a language model of 1 to 4, random frozen
 * stages, slots and layout: a function of the seed. */
static inline void cst_graph_random(cst_graph *g, uint64_t seed)
{
    const int32_t n_modules = 1 + (int32_t)csi_rng_below(seed, 0, 0, 4);
    int32_t depths[CST_MAX_MODULES] = {0};

    for (int32_t i = 0; i < n_modules; i++) {
        depths[i] = 1 + (int32_t)csi_rng_below(seed, 0, 1 + (uint64_t)i, 3);
    }
    depths[n_modules - 1] = 1 + (int32_t)csi_rng_below(seed, 0, 9, 4);
    cst_graph_stages(g, n_modules, depths);
    for (int32_t stage = 0; stage < g->graph.n_stages; stage++) {
        g->is_trainable[stage] =
            csi_rng_below(seed, 2, (uint64_t)stage, 2) == 1;
    }
    cst_graph_slots(g, 1 + (int32_t)csi_rng_below(seed, 0, 10, 3));
    cst_graph_place(g, (cst_layout)csi_rng_below(seed, 0, 11, CST_LAYOUT_COUNT),
                    seed);
}
#endif
