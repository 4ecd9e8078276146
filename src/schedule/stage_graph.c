/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage graphs: copy, check, and the edges sorted by stage that every other
 * file here walks over. The check is strict, because whatever it lets through
 * becomes messages that somebody waits for.
 */
#include "base/alloc.h"

#include "internal.h"

#include <string.h>

void cs_stage_graph_fini(cs_stage_graph *graph)
{
    if (graph != NULL) {
        csi_free(graph->stages);
        csi_free(graph->edges);
        *graph = (cs_stage_graph){0};
    }
}

cs_status cs_stage_graph_copy(const cs_stage_graph *from, cs_stage_graph *to)
{
    cs_stage_graph copy = *from;

    copy.stages = csi_calloc((size_t)from->n_stages, sizeof *copy.stages);
    copy.edges = csi_calloc((size_t)from->n_edges, sizeof *copy.edges);
    if (copy.stages == NULL || copy.edges == NULL) {
        cs_stage_graph_fini(&copy);
        return CS_FAIL(CS_ERR_NOMEM, "no memory for a graph of %d stages",
                       from->n_stages);
    }
    if (from->n_stages > 0) {
        memcpy(copy.stages, from->stages,
               (size_t)from->n_stages * sizeof *copy.stages);
    }
    if (from->n_edges > 0) {
        memcpy(copy.edges, from->edges,
               (size_t)from->n_edges * sizeof *copy.edges);
    }
    *to = copy;
    return CS_OK;
}

static cs_status check_counts(const cs_stage_graph *graph)
{
    CS_CHECK(graph->n_ranks >= 1 && graph->n_ranks <= CSI_MAX_RANKS, CS_ERR_ARG,
             "stage graph: %d ranks, wanted 1 to %d", graph->n_ranks,
             CSI_MAX_RANKS);
    CS_CHECK(graph->n_stages >= 1 && graph->n_stages <= CSI_MAX_STAGES,
             CS_ERR_ARG, "stage graph: %d stages, wanted 1 to %d",
             graph->n_stages, CSI_MAX_STAGES);
    CS_CHECK(graph->n_edges >= 0 && graph->n_edges <= CSI_MAX_EDGES, CS_ERR_ARG,
             "stage graph: %d edges, wanted 0 to %d", graph->n_edges,
             CSI_MAX_EDGES);
    return CS_OK;
}

static cs_status check_stage(const cs_stage_graph *graph, int32_t stage)
{
    const cs_stage *const s = &graph->stages[stage];

    CS_CHECK(s->rank >= 0 && s->rank < graph->n_ranks, CS_ERR_ARG,
             "stage %d: rank %d is none of %d", stage, s->rank, graph->n_ranks);
    CS_CHECK(s->module >= 0 && s->position >= 0, CS_ERR_ARG,
             "stage %d: module %d, position %d: both must be at least 0", stage,
             s->module, s->position);
    CS_CHECK(stage == 0 || s->module >= graph->stages[stage - 1].module,
             CS_ERR_ARG,
             "stage %d belongs to module %d but comes after one of module %d",
             stage, s->module, graph->stages[stage - 1].module);
    CS_CHECK(s->has_backward_input || !s->has_backward_weight, CS_ERR_ARG,
             "stage %d has weight gradients but no backward", stage);
    return CS_OK;
}

static cs_status check_edge(const cs_stage_graph *graph, int32_t edge)
{
    const cs_edge *const e = &graph->edges[edge];

    CS_CHECK(e->from >= 0 && e->from < e->to && e->to < graph->n_stages,
             CS_ERR_ARG,
             "edge %d goes from stage %d to %d, wanted upwards among %d", edge,
             e->from, e->to, graph->n_stages);
    CS_CHECK(e->n_slots >= 1, CS_ERR_ARG,
             "edge %d has %d slots, wanted 1 or "
             "more",
             edge, e->n_slots);
    const bool below = graph->stages[e->from].has_backward_input;
    const bool above = graph->stages[e->to].has_backward_input;

    CS_CHECK(e->has_gradient == below, CS_ERR_ARG,
             "edge %d %s a gradient, but stage %d has %s backward", edge,
             e->has_gradient ? "carries" : "does not carry", e->from,
             below ? "a" : "no");
    CS_CHECK(above || !below, CS_ERR_ARG,
             "stage %d has a backward but stage %d above it has none", e->from,
             e->to);
    return CS_OK;
}

/* Outgoing edges ascend by target: equal ones are neighbours. */
static cs_status check_outgoing(const csi_topology *t, int32_t stage)
{
    const cs_stage_graph *const graph = t->graph;
    const int32_t begin = t->out_begin[stage];
    const int32_t end = t->out_begin[stage + 1];

    /* Only the end of the language model makes its own gradient. */
    CS_CHECK(begin < end || stage == graph->n_stages - 1 ||
                 !graph->stages[stage].has_backward_input,
             CS_ERR_ARG,
             "stage %d has a backward but no edge brings its gradient", stage);
    for (int32_t i = begin + 1; i < end; i++) {
        const int32_t edge = t->out_edges[i];
        const int32_t before = t->out_edges[i - 1];

        CS_CHECK(graph->edges[edge].to != graph->edges[before].to, CS_ERR_ARG,
                 "edges %d and %d are the same", before, edge);
    }
    return CS_OK;
}

static cs_status check_topology(const csi_topology *t)
{
    for (int32_t rank = 0; rank < t->graph->n_ranks; rank++) {
        CS_CHECK(t->rank_begin[rank] < t->rank_begin[rank + 1], CS_ERR_ARG,
                 "rank %d of %d holds no stage", rank, t->graph->n_ranks);
    }
    for (int32_t stage = 0; stage < t->graph->n_stages; stage++) {
        CS_TRY(check_outgoing(t, stage));
    }
    return CS_OK;
}

cs_status cs_stage_graph_check(const cs_stage_graph *graph)
{
    csi_topology topology = {0};

    CS_TRY(check_counts(graph));
    for (int32_t stage = 0; stage < graph->n_stages; stage++) {
        CS_TRY(check_stage(graph, stage));
    }
    for (int32_t edge = 0; edge < graph->n_edges; edge++) {
        CS_TRY(check_edge(graph, edge));
    }
    CS_TRY(csi_topology_init(graph, &topology));
    const cs_status st = check_topology(&topology);

    csi_topology_fini(&topology);
    return st;
}

/* Counting sort of items 0 .. n_items-1 by key_of(item): begin gets the first
 * place of each key, items the sorted items. */
typedef int32_t (*key_fn)(const cs_stage_graph *graph, int32_t item);

static void sort_by_key(const cs_stage_graph *graph, key_fn key_of,
                        int32_t n_items, int32_t n_keys, int32_t *begin,
                        int32_t *items)
{
    for (int32_t item = 0; item < n_items; item++) {
        begin[key_of(graph, item) + 1]++;
    }
    for (int32_t key = 0; key < n_keys; key++) {
        begin[key + 1] += begin[key];
    }
    /* Backwards, so that each bucket fills from its end down. */
    for (int32_t item = n_items - 1; item >= 0; item--) {
        const int32_t key = key_of(graph, item);

        items[--begin[key + 1]] = item;
    }
    /* begin[key + 1] is now where `key` starts; shift it into place. */
    for (int32_t key = 0; key < n_keys; key++) {
        begin[key] = begin[key + 1];
    }
    begin[n_keys] = n_items;
}

static int32_t edge_target(const cs_stage_graph *graph, int32_t edge)
{
    return graph->edges[edge].to;
}

static int32_t edge_source(const cs_stage_graph *graph, int32_t edge)
{
    return graph->edges[edge].from;
}

static int32_t stage_rank(const cs_stage_graph *graph, int32_t stage)
{
    return graph->stages[stage].rank;
}

/* Sorts the edges of one stage by target; such lists are short. */
static void sort_targets(const cs_stage_graph *graph, int32_t *edges, int32_t n)
{
    for (int32_t i = 1; i < n; i++) {
        const int32_t edge = edges[i];
        int32_t at = i;

        while (at > 0 &&
               graph->edges[edges[at - 1]].to > graph->edges[edge].to) {
            edges[at] = edges[at - 1];
            at--;
        }
        edges[at] = edge;
    }
}

cs_status csi_topology_init(const cs_stage_graph *graph, csi_topology *out)
{
    const size_t n_stages = (size_t)graph->n_stages;
    const size_t n_edges = (size_t)graph->n_edges;
    const size_t n_ranks = (size_t)graph->n_ranks;
    csi_topology t = {
        .graph = graph,
        .in_begin = csi_calloc(n_stages + 1, sizeof *t.in_begin),
        .in_edges = csi_calloc(n_edges, sizeof *t.in_edges),
        .out_begin = csi_calloc(n_stages + 1, sizeof *t.out_begin),
        .out_edges = csi_calloc(n_edges, sizeof *t.out_edges),
        .rank_begin = csi_calloc(n_ranks + 1, sizeof *t.rank_begin),
        .rank_stages = csi_calloc(n_stages, sizeof *t.rank_stages),
    };

    if (t.in_begin == NULL || t.in_edges == NULL || t.out_begin == NULL ||
        t.out_edges == NULL || t.rank_begin == NULL || t.rank_stages == NULL) {
        csi_topology_fini(&t);
        return CS_FAIL(CS_ERR_NOMEM, "no memory for a graph of %d stages",
                       graph->n_stages);
    }
    sort_by_key(graph, edge_target, graph->n_edges, graph->n_stages, t.in_begin,
                t.in_edges);
    sort_by_key(graph, edge_source, graph->n_edges, graph->n_stages,
                t.out_begin, t.out_edges);
    sort_by_key(graph, stage_rank, graph->n_stages, graph->n_ranks,
                t.rank_begin, t.rank_stages);
    for (int32_t stage = 0; stage < graph->n_stages; stage++) {
        sort_targets(graph, t.out_edges + t.out_begin[stage],
                     t.out_begin[stage + 1] - t.out_begin[stage]);
    }
    *out = t;
    return CS_OK;
}

void csi_topology_fini(csi_topology *topology)
{
    csi_free(topology->in_begin);
    csi_free(topology->in_edges);
    csi_free(topology->out_begin);
    csi_free(topology->out_edges);
    csi_free(topology->rank_begin);
    csi_free(topology->rank_stages);
    *topology = (csi_topology){0};
}
