/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a plan to the stage graph that schedules run over, and to its costs.
 * The graph of the model alone decides which backward exists: a stage has an
 * input half where anything in it or upstream of it is trainable, a weight half
 * where a matrix product of its own is.
 */
#include "cornstarch/plan.h"

#include "base/alloc.h"

#include "internal.h"

/* Slots of an edge. With gradients, a stage is never more than its run-up of
 * one ahead of the next; one more keeps the sender from waiting. A forward-only
 * stage has no run-up: four smooth out microbatches of unequal size. */
enum {
    GRADIENT_SLOTS = 2,
    FORWARD_ONLY_SLOTS = 4
};

bool csi_trainable_within(const cs_graph *graph, int32_t module, int32_t first,
                          int32_t last)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *const p = &graph->params[i];

        if (p->is_trainable && p->module == module && p->layer >= first &&
            p->layer < last) {
            return true;
        }
    }
    return false;
}

bool csi_trainable_upstream(const cs_graph *graph, int32_t module,
                            int32_t layer)
{
    if (module == cs_graph_language_model(graph)) {
        for (int32_t m = 0; m < module; m++) {
            if (csi_trainable_within(graph, m, 0, graph->modules[m].n_layers)) {
                return true;
            }
        }
    }
    return csi_trainable_within(graph, module, 0, layer);
}

static bool trains_product(const cs_graph *graph, int32_t module, int32_t first,
                           int32_t last)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *const p = &graph->params[i];

        if (p->is_trainable && p->is_product && p->module == module &&
            p->layer >= first && p->layer < last) {
            return true;
        }
    }
    return false;
}

/* Whether one end of a trained pair of tied parameters is here. */
static bool has_tied(const cs_graph *graph, int32_t module, int32_t first,
                     int32_t last)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *const p = &graph->params[i];

        if (p->tied_to < 0 || p->module != module || !p->is_trainable) {
            continue;
        }
        const int32_t other = graph->params[p->tied_to].layer;

        if ((p->layer >= first && p->layer < last) ||
            (other >= first && other < last)) {
            return true;
        }
    }
    return false;
}

static void add_edge(cs_stage_graph *g, int32_t from, int32_t to)
{
    const bool has_gradient = g->stages[from].has_backward_input;

    g->edges[g->n_edges++] = (cs_edge){
        .from = from,
        .to = to,
        .n_slots = has_gradient ? GRADIENT_SLOTS : FORWARD_ONLY_SLOTS,
        .has_gradient = has_gradient,
    };
}

/* Appends the stages of one module and the edges between them. */
static void add_module(const cs_plan *plan, const cs_graph *graph,
                       int32_t module, cs_stage_graph *g, int32_t *layer_range)
{
    const cs_plan_module *const m = &plan->modules[module];

    for (int32_t s = 0; s < m->pp; s++) {
        const int32_t stage = g->n_stages++;
        const int32_t first = m->cuts[s];
        const int32_t last =
            s + 1 < m->pp ? m->cuts[s + 1] : graph->modules[module].n_layers;

        layer_range[2 * stage] = first;
        layer_range[2 * stage + 1] = last;
        g->stages[stage] = (cs_stage){
            .module = module,
            .position = s,
            .rank = m->ranks[s],
            .has_backward_input = csi_trainable_upstream(graph, module, last),
            .has_backward_weight = trains_product(graph, module, first, last),
            .has_tied = has_tied(graph, module, first, last),
        };
        if (s > 0) {
            add_edge(g, stage - 1, stage);
        }
    }
}

cs_status cs_plan_stage_graph(const cs_plan *plan, const cs_graph *graph,
                              cs_stage_graph *out, int32_t **layer_range)
{
    cs_stage_graph g = {.n_ranks = plan->n_ranks / plan->dp};
    size_t n_stages = 0;
    int32_t end = 0;

    for (int32_t m = 0; m < plan->n_modules; m++) {
        n_stages += (size_t)plan->modules[m].pp;
    }
    int32_t *const range = csi_calloc(2 * n_stages, sizeof *range);
    g.stages = csi_calloc(n_stages, sizeof *g.stages);
    g.edges = csi_calloc(n_stages, sizeof *g.edges);
    if (range == NULL || g.stages == NULL || g.edges == NULL) {
        csi_free(range);
        cs_stage_graph_fini(&g);
        return CS_FAIL(CS_ERR_NOMEM, "no memory for %zu stages", n_stages);
    }
    for (int32_t m = 0; m < plan->n_modules; m++) {
        add_module(plan, graph, m, &g, range);
    }
    const int32_t meet =
        g.n_stages - plan->modules[cs_graph_language_model(graph)].pp;

    for (int32_t m = 0; m < cs_graph_language_model(graph); m++) {
        end += plan->modules[m].pp;
        add_edge(&g, end - 1, meet);
    }
    *out = g;
    *layer_range = range;
    return CS_OK;
}

/* --- costs ------------------------------------------------------------ */

static double edge_bytes_of(const cs_graph *graph, const cs_cost_table *costs,
                            const cs_stage *from, int32_t last_layer,
                            const cs_work *work)
{
    const cs_layer *const l =
        &graph->modules[from->module].layers[last_layer - 1];
    const bool is_pooled =
        l->kind == CS_LAYER_NORM || l->kind == CS_LAYER_PROJECTOR;
    const cs_work *const w = &work[from->module];
    const double element_bytes =
        costs->precision == CS_PRECISION_BF16 ? 2.0 : 4.0;

    return (is_pooled ? w->feature_rows : w->rows) * (double)l->out_dim *
           element_bytes;
}

cs_status cs_plan_costs(const cs_plan *plan, const cs_graph *graph,
                        const cs_cost_table *costs, const cs_work *work,
                        int32_t n_microbatches, cs_stage_cost **out,
                        double **edge_bytes)
{
    const size_t n = (size_t)n_microbatches;
    cs_stage_graph g = {0};
    int32_t *range = NULL;

    CS_TRY(cs_plan_stage_graph(plan, graph, &g, &range));
    cs_stage_cost *const cost =
        csi_calloc((size_t)g.n_stages * n, sizeof *cost);
    double *const bytes = csi_calloc((size_t)g.n_edges * n + 1, sizeof *bytes);
    cs_status st = CS_OK;

    CS_CHECK_GOTO(undo, cost != NULL && bytes != NULL, CS_ERR_NOMEM,
                  "no memory for costs of %d stages, %d microbatches",
                  g.n_stages, n_microbatches);
    for (int32_t s = 0; s < g.n_stages; s++) {
        const int32_t module = g.stages[s].module;
        const bool upstream =
            csi_trainable_upstream(graph, module, range[2 * s]);

        for (size_t i = 0; i < n; i++) {
            const cs_range_cost c =
                cs_cost_range(costs, graph, module, range[2 * s],
                              range[2 * s + 1], upstream,
                              work[i * (size_t)graph->n_modules +
                                   (size_t)module]);

            cost[(size_t)s * n + i] =
                (cs_stage_cost){c.forward_s, c.backward_input_s,
                                c.backward_weight_s};
        }
    }
    for (int32_t e = 0; e < g.n_edges; e++) {
        const int32_t from = g.edges[e].from;

        for (size_t i = 0; i < n; i++) {
            bytes[(size_t)e * n + i] =
                edge_bytes_of(graph, costs, &g.stages[from],
                              range[2 * from + 1],
                              &work[i * (size_t)graph->n_modules]);
        }
    }
    csi_free(range);
    cs_stage_graph_fini(&g);
    *out = cost;
    *edge_bytes = bytes;
    return CS_OK;

undo:
    csi_free(cost);
    csi_free(bytes);
    csi_free(range);
    cs_stage_graph_fini(&g);
    return st;
}
