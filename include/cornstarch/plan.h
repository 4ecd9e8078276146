/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_PLAN_H
#define CORNSTARCH_PLAN_H
/*
 * How the ranks are divided: placement, data parallelism, stages per module
 * and their cuts, schedule. Decided from the graph, the recipe and costs,
 * without tensor data; the same answer everywhere. Immutable; saved as
 * plan.json, editable by hand and checked when loaded.
 */
#include "cornstarch/config.h"
#include "cornstarch/cost.h"
#include "cornstarch/graph.h"
#include "cornstarch/schedule.h"
#include "cornstarch/sim.h"

CS_BEGIN_DECLS

typedef struct cs_plan_module {
    char *name;      /* owned */
    int32_t pp;      /* stages */
    int32_t *cuts;   /* owned, [pp]: first layer of each stage, cuts[0] = 0 */
    int32_t *ranks;  /* owned, [pp]: rank of each stage inside a replica */
    double *stage_s; /* owned, [pp]: predicted compute of a microbatch */
} cs_plan_module;

typedef struct cs_plan_candidate {
    char *text; /* owned: "dp 1, vision pp 1, language_model pp 3" */
    double step_s;
} cs_plan_candidate;

typedef struct cs_plan {
    char recipe_hash[17];
    int32_t n_ranks, dp;
    cs_placement placement;    /* single or modality_parallel */
    cs_schedule_kind schedule; /* gpipe or 1f1b */
    int32_t n_microbatches;    /* per replica; it was predicted for */
    int32_t n_modules;
    cs_plan_module *modules; /* owned, in graph order */
    double predicted_step_s, predicted_bubble;
    int32_t n_runners_up;
    cs_plan_candidate *runners_up; /* owned */
    char *reason;                  /* owned */
} cs_plan;

/* What a typical step holds, per module: taken from the index. */
typedef struct cs_plan_input {
    const cs_config *config;
    const cs_graph *graph;
    const cs_cost_table *costs;
    int32_t n_ranks;
    int32_t n_cores;
    int32_t n_microbatches; /* of a step, over all replicas */
    const cs_work *work;    /* [n_modules], per microbatch */
} cs_plan_input;

/* auto: tries every (dp, stages per module) that fits n_ranks under the
 * recipe's placement, cuts by dynamic programming over frozen-aware cost,
 * simulates, keeps the best. manual: checks what the recipe says. file: loads
 * and checks, and predicts again. One rank is always `single`; `single` on more
 * is data parallel. A replica gets n_microbatches / dp, rounded up, at least
 * training.microbatches. Errors: ARG with wanted and got. */
CS_API CS_NODISCARD cs_status cs_plan_create(const cs_plan_input *input,
                                             cs_plan **out);
CS_API void cs_plan_destroy(cs_plan **plan);
CS_API CS_NODISCARD cs_status cs_plan_check(const cs_plan *plan,
                                            const cs_graph *graph);
CS_API CS_NODISCARD cs_status cs_plan_save(const cs_plan *plan,
                                           const char *path);
/* What cs_plan_save() writes. [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_plan_print_json(const cs_plan *plan,
                                                 char **out);
CS_API CS_NODISCARD cs_status cs_plan_load(const char *path,
                                           const cs_graph *graph,
                                           cs_plan **out);
/* Table for people. [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_plan_print(const cs_plan *plan,
                                            const cs_graph *graph, char **out);
/* Stages and edges of one replica. Stage order: modules in graph order, then
 * position. layer_range[2 * stage] = first, [2 * stage + 1] = last layer
 * (one past); [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_plan_stage_graph(const cs_plan *plan,
                                                  const cs_graph *graph,
                                                  cs_stage_graph *out,
                                                  int32_t **layer_range);
/* Stage costs of n microbatches ([stage * n + microbatch]) for the simulator.
 * work: [n_microbatches * n_modules], microbatch major. [out,own]. */
CS_API CS_NODISCARD cs_status
cs_plan_costs(const cs_plan *plan, const cs_graph *graph,
              const cs_cost_table *costs, const cs_work *work,
              int32_t n_microbatches, cs_stage_cost **out, double **edge_bytes);
/* One replica's step in virtual time: the given list (one of this plan's
 * stage graph), or with NULL the one that the plan would run. Links are those
 * of threads on one machine; dp replicas share the n_cores (0 = one per rank).
 * work: as above, for the list's microbatches. cs_sim_result_fini. */
CS_API CS_NODISCARD cs_status cs_plan_simulate(const cs_plan *plan,
                                               const cs_graph *graph,
                                               const cs_cost_table *costs,
                                               const cs_work *work,
                                               const cs_schedule *schedule,
                                               int32_t n_cores,
                                               cs_sim_result *out);

CS_END_DECLS
#endif
