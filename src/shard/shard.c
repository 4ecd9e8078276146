/* SPDX-License-Identifier: Apache-2.0 */
/* From plan to one rank: its stages, its parameters, its place. */
#include "cornstarch/shard.h"

#include "base/alloc.h"
#include "base/str.h"

static bool holds_param(const cs_shard *s, const cs_param *p)
{
    for (int32_t i = 0; i < s->stages.n_stages; i++) {
        const cs_shard_stage *stage = &s->stage[i];
        if (stage->is_mine && stage->module == p->module &&
            p->layer >= stage->first_layer && p->layer < stage->last_layer) {
            return true;
        }
    }
    return false;
}

static void describe_stages(cs_shard *s, const int32_t *layer_range)
{
    const int32_t language_model = cs_graph_language_model(s->graph);

    for (int32_t i = 0; i < s->stages.n_stages; i++) {
        cs_shard_stage *stage = &s->stage[i];
        stage->module = s->stages.stages[i].module;
        const cs_module *m = &s->graph->modules[stage->module];
        stage->first_layer = layer_range[2 * i];
        stage->last_layer = layer_range[2 * i + 1];
        stage->is_mine = s->stages.stages[i].rank == s->pipeline_rank;
        stage->is_first = stage->first_layer == 0;
        stage->is_last = stage->last_layer == m->n_layers;
        if (!stage->is_mine) {
            continue;
        }
        if (stage->module == language_model) {
            s->embeds = s->embeds || stage->is_first;
            s->scores = s->scores || stage->is_last;
        } else if (stage->is_first) {
            s->encodes |= 1U << stage->module;
        }
    }
}

cs_status cs_shard_create(const cs_graph *graph, const cs_plan *plan,
                          int32_t rank, cs_shard **out)
{
    cs_status st = CS_OK;
    int32_t *layer_range = NULL;
    cs_shard *s = csi_calloc(1, sizeof *s);

    CS_CHECK(s != NULL, CS_ERR_NOMEM, "shard of rank %d", rank);
    CS_CHECK_GOTO(undo, rank >= 0 && rank < plan->n_ranks, CS_ERR_ARG,
                  "shard: rank wanted 0..%d, got %d", plan->n_ranks - 1, rank);
    s->graph = graph;
    s->rank = rank;
    s->n_ranks = plan->n_ranks;
    s->dp = plan->dp;
    s->n_pipeline_ranks = plan->n_ranks / plan->dp;
    s->replica = rank / s->n_pipeline_ranks;
    s->pipeline_rank = rank % s->n_pipeline_ranks;
    s->schedule = plan->schedule;
    CS_TRY_GOTO(undo,
                cs_plan_stage_graph(plan, graph, &s->stages, &layer_range));
    s->stage = csi_calloc((size_t)s->stages.n_stages, sizeof *s->stage);
    s->held = csi_calloc((size_t)graph->n_params, sizeof *s->held);
    CS_CHECK_GOTO(undo, s->stage != NULL && s->held != NULL, CS_ERR_NOMEM,
                  "shard of rank %d", rank);
    describe_stages(s, layer_range);
    for (int32_t i = 0; i < graph->n_params; i++) {
        s->held[i] = holds_param(s, &graph->params[i]);
    }
    csi_free(layer_range);
    *out = s;
    return CS_OK;

undo:
    csi_free(layer_range);
    cs_shard_destroy(&s);
    return st;
}

void cs_shard_destroy(cs_shard **shard)
{
    cs_shard *s = *shard;

    if (s == NULL) {
        return;
    }
    cs_stage_graph_fini(&s->stages);
    csi_free(s->stage);
    csi_free(s->held);
    csi_free(s);
    *shard = NULL;
}

cs_status cs_shard_print(const cs_shard *s, char **out)
{
    csi_str text = {0};
    int64_t count = 0;
    int64_t trainable = 0;
    char a[32];
    char b[32];

    for (int32_t i = 0; i < s->graph->n_params; i++) {
        if (s->held[i]) {
            const cs_param *p = &s->graph->params[i];
            count += cs_shape_count(&p->shape);
            trainable += p->is_trainable ? cs_shape_count(&p->shape) : 0;
        }
    }
    csi_str_addf(&text,
                 "rank %d of %d: replica %d of %d, pipeline rank %d of %d, %s "
                 "parameters, %s trainable\n",
                 s->rank, s->n_ranks, s->replica, s->dp, s->pipeline_rank,
                 s->n_pipeline_ranks, csi_human_count(a, (double)count),
                 csi_human_count(b, (double)trainable));
    for (int32_t i = 0; i < s->stages.n_stages; i++) {
        const cs_shard_stage *stage = &s->stage[i];
        const cs_stage *flags = &s->stages.stages[i];
        if (stage->is_mine) {
            csi_str_addf(&text, "  stage %d  %s layers %d..%d  forward%s%s\n",
                         i, s->graph->modules[stage->module].name,
                         stage->first_layer, stage->last_layer - 1,
                         flags->has_backward_input ? ", backward input" : "",
                         flags->has_backward_weight ? ", backward weight" : "");
        }
    }
    const cs_status st = csi_str_check(&text);

    if (st != CS_OK) {
        csi_str_fini(&text);
        return st;
    }
    *out = text.data;
    return CS_OK;
}
