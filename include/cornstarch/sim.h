/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_SIM_H
#define CORNSTARCH_SIM_H
/*
 * Virtual time: runs the very action lists that the executor runs, with the
 * same rules (a SEND waits for a free slot, a RECV for data, GRADIENT_NORM and
 * AGREE for all ranks, a message of 0 bytes does not exist). Ranks may share
 * cores: when more ranks compute than there are cores, all slow down alike.
 * A rank's messages leave one after the other over its own link while the rank
 * goes on. Pure and deterministic.
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
    const double *edge_bytes;  /* [n_edges * n_microbatches], edge major */
    double link_bytes_per_s;   /* INFINITY: any size in no time */
    double link_latency_s;
    const double *optimizer_s; /* [n_ranks]: reduce + norm + step; NULL = 0 */
    int32_t n_cores;           /* 0 = one per rank */
} cs_sim_input;

/* Waiting before start is not part of it. A SEND lasts until its message has
 * arrived (the rank itself goes on at once), a RECV no time. */
typedef struct cs_sim_event {
    double start_s, end_s;
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

/* The schedule must pass cs_schedule_check; ARG with its sentence if not. */
CS_API CS_NODISCARD cs_status cs_sim_run(const cs_sim_input *input,
                                         cs_sim_result *out);
CS_API void cs_sim_result_fini(cs_sim_result *result);
/* Timeline for a terminal of `width` columns. [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_sim_draw(const cs_sim_input *input,
                                          const cs_sim_result *result,
                                          int32_t width, char **out);

CS_END_DECLS
#endif
