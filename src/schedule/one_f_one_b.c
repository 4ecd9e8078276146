/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One forward, one backward (PipeDream-Flush, Narayanan et al. 2021), over a
 * DAG: a stage runs as many forwards ahead as there are ranks from it to the
 * end of the language model, itself included. Branches that meet in the
 * language model therefore arrive in lock-step whatever their own depth.
 *
 *     encoder 0    | F0 F1 F2 F3          B0 F4 B1 F5 B2 B3 B4 B5
 *     language 0   |    F0 F1 F2       B0 F3 B1 F4 ...
 *     language 1   |       F0 F1    B0 F2 B1 F3 ...
 *     language 2   |          F0 B0 F1 B1 F2 ...
 *
 * Depth counts ranks, not stages: neighbours on one rank follow each other at
 * once and need no run-up between them.
 */
#include "base/checked.h"

#include "internal.h"

void csi_warmup_1f1b(const csi_topology *topology, int32_t n_microbatches,
                     int32_t *warmup)
{
    const cs_stage_graph *const graph = topology->graph;

    /* Depths first, from the end, because stages are topologically ordered. */
    for (int32_t stage = graph->n_stages - 1; stage >= 0; stage--) {
        warmup[stage] = 1;
        for (int32_t i = topology->out_begin[stage];
             i < topology->out_begin[stage + 1]; i++) {
            const cs_edge *const edge = &graph->edges[topology->out_edges[i]];
            const int32_t depth =
                warmup[edge->to] + (csi_edge_has_messages(graph, edge) ? 1 : 0);

            warmup[stage] = depth > warmup[stage] ? depth : warmup[stage];
        }
    }
    for (int32_t stage = 0; stage < graph->n_stages; stage++) {
        warmup[stage] = (int32_t)csi_min_i64(warmup[stage], n_microbatches);
    }
}
