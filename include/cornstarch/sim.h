/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_SIM_H
#define CORNSTARCH_SIM_H
/*
 * Virtual time: runs the very action lists that the executor runs, with the
 * same rules (a SEND waits for a free slot, a RECV for data). Ranks may share
 * cores: when more ranks compute than there are cores, all slow down alike.
 * Pure and deterministic.
 */
#include "cornstarch/schedule.h"

CS_BEGIN_DECLS

/* Seconds of one stage for one microbatch. */
typedef struct cs_stage_cost {
    double forward_s, backward_input_s, backward_weight_s;
} cs_stage_cost;

typedef struct cs_sim_input {
    const cs_stage_graph *graph;
    const cs_schedule *schedule;
    const cs_stage_cost *cost; /* [n_stages * n_microbatches], stage major */
    const double *edge_bytes;  /* [n_edges * n_microbatches] */
    double link_bytes_per_s, link_latency_s;
    const double *optimizer_s; /* [n_ranks]: reduce + norm + step */
    int32_t n_cores;           /* 0 = one per rank */
} cs_sim_input;

typedef struct cs_sim_event {
    double start_s, end_s; /* waiting before start is not part of it */
} cs_sim_event;

typedef struct cs_sim_result {
    double step_s;
    double bubble; /* 1 - busy / (n_ranks * step_s) */
    int64_t n_events;
    cs_sim_event *events; /* owned, parallel to schedule->actions */
    int32_t n_ranks;
    double *busy_s;             /* owned, [n_ranks]: compute */
    int32_t *peak_microbatches; /* owned, [n_stages]: forwards not yet undone */
} cs_sim_result;

CS_API CS_NODISCARD cs_status cs_sim_run(const cs_sim_input *input,
                                         cs_sim_result *out);
CS_API void cs_sim_result_fini(cs_sim_result *result);
/* Timeline for a terminal of `width` columns. [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_sim_draw(const cs_sim_input *input,
                                          const cs_sim_result *result,
                                          int32_t width, char **out);

CS_END_DECLS
#endif
