/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_PLAN_INTERNAL_H
#define CS_PLAN_INTERNAL_H
/* What the makers of plans (search, recipe, file) share. */
#include "cornstarch/plan.h"

enum {
    CSI_PLAN_MAX_RANKS = 65536,
    CSI_PLAN_MAX_MICROBATCHES = 65536,
    CSI_PLAN_MAX_RUNNERS_UP = 5
};

/* --- life ------------------------------------------------------------- */

/* Modules with names, no stages yet; ranks and microbatches as given. */
CS_NODISCARD cs_status csi_plan_new(const cs_graph *graph, int32_t n_ranks,
                                    int32_t dp, cs_plan **out);
/* Room for `pp` stages; cuts 0, ranks 0. */
CS_NODISCARD cs_status csi_plan_add_stages(cs_plan_module *module, int32_t pp);
/* Ranks in module order, one stage each; all 0 when the plan is `single`. */
void csi_plan_place(cs_plan *plan);

const char *csi_placement_name(cs_placement placement);
const char *csi_schedule_name(cs_schedule_kind kind);
/* "3 (vision, audio, language_model)" style list of module names. */
CS_NODISCARD cs_status csi_plan_list_modules(const cs_graph *graph, char **out);

/* --- what is trainable ------------------------------------------------ */

/* Whether anything before `layer` is trainable: lower layers of the module,
 * and for the language model every encoder. */
bool csi_trainable_upstream(const cs_graph *graph, int32_t module,
                            int32_t layer);
bool csi_trainable_within(const cs_graph *graph, int32_t module, int32_t first,
                          int32_t last);

/* --- cutting ---------------------------------------------------------- */

/* For 1..max_stages stages of a chain: the least possible cost of the dearest
 * stage, and the cuts that reach it. */
typedef struct csi_partition {
    int32_t n_layers, max_stages;
    double *worst;   /* owned, [max_stages]: for 1, 2, ... stages */
    int32_t *choice; /* owned, [max_stages][n_layers + 1]: last cut */
} csi_partition;

CS_NODISCARD cs_status csi_partition_init(const double *layer_s,
                                          int32_t n_layers, int32_t max_stages,
                                          csi_partition *out);
void csi_partition_fini(csi_partition *partition);
void csi_partition_cuts(const csi_partition *partition, int32_t n_stages,
                        int32_t *cuts);
/* One per module of the graph, for a microbatch of input->work. [out,own]
 * csi_partitions_free. */
CS_NODISCARD cs_status csi_partition_modules(const cs_plan_input *input,
                                             int32_t max_stages,
                                             csi_partition **out);
void csi_partitions_free(csi_partition **partitions, int32_t n_modules);

/* --- predicting ------------------------------------------------------- */

/* Simulates a step of the plan; sets predicted_*, stage_s. */
CS_NODISCARD cs_status csi_plan_predict(const cs_plan_input *input,
                                        cs_plan *plan);
/* Predicts under the recipe's schedule, or under each offered one when the
 * recipe leaves it open, and keeps the fastest (1f1b when equal). */
CS_NODISCARD cs_status csi_plan_choose_schedule(const cs_plan_input *input,
                                                cs_plan *plan);
/* Why this plan: sets reason from the predictions. */
CS_NODISCARD cs_status csi_plan_explain(const cs_graph *graph,
                                        const char *source, cs_plan *plan);
int32_t csi_microbatches_of_replica(const cs_plan_input *input, int32_t dp);

/* --- makers ----------------------------------------------------------- */

CS_NODISCARD cs_status csi_plan_search(const cs_plan_input *input,
                                       cs_plan **out);
CS_NODISCARD cs_status csi_plan_manual(const cs_plan_input *input,
                                       cs_plan **out);
/* From text, for cs_plan_load and fuzzing. */
CS_NODISCARD cs_status csi_plan_parse(const char *text, size_t n_bytes,
                                      const char *where, const cs_graph *graph,
                                      cs_plan **out);
#endif
