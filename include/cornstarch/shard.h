/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_SHARD_H
#define CORNSTARCH_SHARD_H
/*
 * What one rank holds and with whom it talks: its stages, its parameters, its
 * place in the replica. Cut out of a plan; knows nothing of how the plan was
 * found. Immutable after create.
 */
#include "cornstarch/plan.h"

CS_BEGIN_DECLS

/* One stage of the replica; those with is_mine are run here. */
typedef struct cs_shard_stage {
    int32_t module, first_layer, last_layer; /* [first, last) */
    bool is_mine;
    bool is_first, is_last; /* of its module */
} cs_shard_stage;

typedef struct cs_shard {
    const cs_graph *graph; /* borrowed: must outlive the shard */
    int32_t rank, n_ranks; /* in the world */
    int32_t dp, replica;
    int32_t pipeline_rank, n_pipeline_ranks; /* in the replica */
    cs_schedule_kind schedule;
    cs_stage_graph stages; /* owned */
    cs_shard_stage *stage; /* owned, [stages.n_stages] */
    bool *held;            /* owned, [graph->n_params] */
    bool embeds, scores;   /* has the LLM's first / last layer */
    uint32_t encodes;      /* bit i: has the stem of encoder i */
} cs_shard;

/* World rank = replica * (n_ranks / dp) + rank inside the replica. */
CS_API CS_NODISCARD cs_status cs_shard_create(const cs_graph *graph,
                                              const cs_plan *plan, int32_t rank,
                                              cs_shard **out);
CS_API void cs_shard_destroy(cs_shard **shard);
CS_API CS_NODISCARD cs_status cs_shard_print(const cs_shard *shard, char **out);

CS_END_DECLS
#endif
