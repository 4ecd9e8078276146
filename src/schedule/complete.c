/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the order of forwards and backwards to whole action lists, the same way
 * for every generator, so that none repeats the logic of messages:
 *
 *     F  ->  RECV_ACTIVATION per incoming edge, FORWARD, SEND_ACTIVATION per
 *            outgoing edge
 *     B  ->  RECV_GRADIENT per outgoing edge, BACKWARD_INPUT, SEND_GRADIENT
 *            per incoming edge, BACKWARD_WEIGHT
 *
 * Only edges between ranks carry messages. The weight half comes after the
 * sends: nobody waits for it.
 */
#include "base/alloc.h"

#include "internal.h"

typedef struct writer {
    const csi_topology *topology; /* borrowed */
    cs_action *at;                /* borrowed; NULL while only counting */
    int64_t n;
} writer;

static void put(writer *w, cs_action_kind kind, int32_t stage,
                int32_t microbatch, int32_t edge)
{
    if (w->at != NULL) {
        w->at[w->n] = (cs_action){.kind = kind,
                                  .stage = stage,
                                  .microbatch = microbatch,
                                  .edge = edge};
    }
    w->n++;
}

static void put_messages(writer *w, cs_action_kind kind, const int32_t *edges,
                         int32_t n_edges, int32_t microbatch)
{
    const cs_stage_graph *const graph = w->topology->graph;
    const bool is_gradient =
        kind == CS_ACTION_SEND_GRADIENT || kind == CS_ACTION_RECV_GRADIENT;

    for (int32_t i = 0; i < n_edges; i++) {
        const cs_edge *const edge = &graph->edges[edges[i]];

        if (csi_edge_has_messages(graph, edge) &&
            (edge->has_gradient || !is_gradient)) {
            put(w, kind, -1, microbatch, edges[i]);
        }
    }
}

static void put_compute(writer *w, const cs_action *action)
{
    const csi_topology *const t = w->topology;
    const int32_t stage = action->stage;
    const int32_t microbatch = action->microbatch;
    const int32_t *const in = t->in_edges + t->in_begin[stage];
    const int32_t *const out = t->out_edges + t->out_begin[stage];
    const int32_t n_in = t->in_begin[stage + 1] - t->in_begin[stage];
    const int32_t n_out = t->out_begin[stage + 1] - t->out_begin[stage];

    if (action->kind == CS_ACTION_FORWARD) {
        put_messages(w, CS_ACTION_RECV_ACTIVATION, in, n_in, microbatch);
        put(w, CS_ACTION_FORWARD, stage, microbatch, -1);
        put_messages(w, CS_ACTION_SEND_ACTIVATION, out, n_out, microbatch);
        return;
    }
    put_messages(w, CS_ACTION_RECV_GRADIENT, out, n_out, microbatch);
    put(w, CS_ACTION_BACKWARD_INPUT, stage, microbatch, -1);
    put_messages(w, CS_ACTION_SEND_GRADIENT, in, n_in, microbatch);
    if (t->graph->stages[stage].has_backward_weight) {
        put(w, CS_ACTION_BACKWARD_WEIGHT, stage, microbatch, -1);
    }
}

static void put_step(writer *w, int32_t rank, bool is_training)
{
    const csi_topology *const t = w->topology;

    for (int32_t i = t->rank_begin[rank];
         is_training && i < t->rank_begin[rank + 1]; i++) {
        const int32_t stage = t->rank_stages[i];

        if (t->graph->stages[stage].has_backward_input) {
            put(w, CS_ACTION_REDUCE_GRADIENTS, stage, -1, -1);
        }
    }
    if (is_training && csi_rank_has_tied(t, rank)) {
        put(w, CS_ACTION_REDUCE_TIED, -1, -1, -1);
    }
    if (is_training) {
        put(w, CS_ACTION_GRADIENT_NORM, -1, -1, -1);
        put(w, CS_ACTION_OPTIMIZER_STEP, -1, -1, -1);
    }
    put(w, CS_ACTION_AGREE, -1, -1, -1);
}

/* Writes, or with at == NULL counts, the whole list of one rank. */
static int64_t put_rank(const csi_topology *topology, const csi_order *order,
                        int32_t rank, cs_action *at)
{
    writer w = {.topology = topology, .at = at};

    for (int64_t i = order->begin[rank]; i < order->begin[rank + 1]; i++) {
        put_compute(&w, &order->actions[i]);
    }
    put_step(&w, rank, order->is_training);
    return w.n;
}

cs_status csi_schedule_complete(const csi_topology *topology,
                                const csi_order *order, cs_schedule **out)
{
    const int32_t n_ranks = topology->graph->n_ranks;
    int64_t *const begin = csi_calloc((size_t)n_ranks + 1, sizeof *begin);
    cs_schedule *schedule = NULL;
    cs_status st = CS_OK;

    CS_CHECK_GOTO(undo, begin != NULL, CS_ERR_NOMEM,
                  "no memory for a schedule of %d ranks", n_ranks);
    for (int32_t rank = 0; rank < n_ranks; rank++) {
        begin[rank + 1] = begin[rank] + put_rank(topology, order, rank, NULL);
    }
    CS_TRY_GOTO(undo, csi_schedule_new(n_ranks, order->n_microbatches, begin,
                                       &schedule));
    for (int32_t rank = 0; rank < n_ranks; rank++) {
        (void)put_rank(topology, order, rank, schedule->actions + begin[rank]);
    }
    *out = schedule;
undo:
    csi_free(begin);
    return st;
}
