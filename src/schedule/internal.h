/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_SCHEDULE_INTERNAL_H
#define CS_SCHEDULE_INTERNAL_H
/*
 * What the files of this folder share: the stage graph with its edges sorted
 * by stage, the order of compute that a generator asks for, and the walk that
 * executes a schedule on paper.
 */
#include "cornstarch/schedule.h"

/* Larger numbers are mistakes; the products below stay far inside 64 bits. */
enum {
    CSI_MAX_STAGES = 1 << 16,
    CSI_MAX_RANKS = 1 << 16,
    CSI_MAX_EDGES = 1 << 20,
    CSI_MAX_MICROBATCHES = 1 << 16,
    CSI_ACTION_TEXT_BYTES = 128
};

/* Edges by stage and stages by rank, each list ascending. */
typedef struct csi_topology {
    const cs_stage_graph *graph; /* borrowed */
    int32_t *in_begin;           /* owned, [n_stages + 1] into in_edges */
    int32_t *in_edges;           /* owned, [n_edges] */
    int32_t *out_begin;          /* owned, [n_stages + 1] into out_edges */
    int32_t *out_edges;          /* owned, [n_edges] */
    int32_t *rank_begin;         /* owned, [n_ranks + 1] into rank_stages */
    int32_t *rank_stages;        /* owned, [n_stages] */
} csi_topology;

/* The graph must have passed cs_stage_graph_check and must outlive it. */
CS_NODISCARD cs_status csi_topology_init(const cs_stage_graph *graph,
                                         csi_topology *out);
void csi_topology_fini(csi_topology *topology);

static inline bool csi_edge_has_messages(const cs_stage_graph *graph,
                                         const cs_edge *edge)
{
    return graph->stages[edge->from].rank != graph->stages[edge->to].rank;
}

static inline bool csi_rank_has_tied(const csi_topology *t, int32_t rank)
{
    bool has_tied = false;

    for (int32_t i = t->rank_begin[rank]; i < t->rank_begin[rank + 1]; i++) {
        has_tied = has_tied || t->graph->stages[t->rank_stages[i]].has_tied;
    }
    return has_tied;
}

/* How many forwards each stage runs before its first backward; the rest of
 * one-forward-one-backward follows from it. [out, n_stages] */
void csi_warmup_gpipe(const csi_topology *topology, int32_t n_microbatches,
                      int32_t *warmup);
void csi_warmup_1f1b(const csi_topology *topology, int32_t n_microbatches,
                     int32_t *warmup);

/* The forwards and backwards of one rank in order: [n_stages of the rank * m *
 * (1 or 2)] actions with kind FORWARD or BACKWARD_INPUT. */
typedef struct csi_order {
    int32_t n_microbatches;
    bool is_training;
    int64_t *begin;     /* owned, [n_ranks + 1] */
    cs_action *actions; /* owned */
} csi_order;

CS_NODISCARD cs_status csi_order_init(const csi_topology *topology,
                                      const int32_t *warmup,
                                      int32_t n_microbatches, bool is_training,
                                      csi_order *out);
void csi_order_fini(csi_order *order);

/* Puts messages, weight halves and the step's actions around the order. */
CS_NODISCARD cs_status csi_schedule_complete(const csi_topology *topology,
                                             const csi_order *order,
                                             cs_schedule **out);

/* An empty schedule with room for the actions that begin[n_ranks] counts. */
CS_NODISCARD cs_status csi_schedule_new(int32_t n_ranks, int32_t n_microbatches,
                                        const int64_t *begin,
                                        cs_schedule **out);

/* "BACKWARD_INPUT of stage 2, microbatch 3"; returns text. */
const char *csi_action_describe(const cs_action *action,
                                char text[CSI_ACTION_TEXT_BYTES]);

/* The graph is sound, the schedule has its ranks and sane counts. */
CS_NODISCARD cs_status csi_schedule_check_frame(const cs_stage_graph *graph,
                                                const cs_schedule *schedule);

/* Executes the lists on paper. Compute takes one unit of time, messages none.
 * Fails with the sentence of cs_schedule_check. `start` [n actions] gets the
 * time at which each action runs. */
CS_NODISCARD cs_status csi_schedule_walk(const csi_topology *topology,
                                         const cs_schedule *schedule,
                                         bool is_training, int64_t *start);
#endif
