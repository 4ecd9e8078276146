/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_INFER_INTERNAL_H
#define CS_INFER_INTERNAL_H
#include "cornstarch/infer.h"
#include "cornstarch/plan.h"
#include "cornstarch/runtime.h"

#include "base/arena.h"

#include "source.h"

struct cs_model {
    csi_model_source source; /* owned, as all below */
    cs_config *config;       /* of the source */
    cs_graph *graph;
    cs_tokenizer *tokenizer;
    cs_backend *backend;
    cs_param_set *params;
    char *index_folder;
    /* one rank, for evaluation */
    cs_comm *world, *pipeline, *replicas;
    cs_plan *plan;
    cs_shard *shard;
    cs_runtime *runtime;
    csi_arena workspace;
};
#endif
