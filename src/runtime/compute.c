/* SPDX-License-Identifier: Apache-2.0 */
/* Forward and the two halves of backward of one stage on one microbatch. */
#include "internal.h"

#include <string.h>

static bool is_scoring(const cs_runtime *rt, const cs_shard_stage *stage)
{
    return stage->is_last &&
           stage->module == cs_graph_language_model(rt->graph);
}

static void fill_batch(cs_runtime *rt, const cs_shard_stage *stage,
                       const cs_module_batch *m, const cs_microbatch_data *data,
                       csi_work *work)
{
    cs_nn_batch *b = &work->batch;

    *b = cs_module_batch_nn(m);
    if (stage->module != cs_graph_language_model(rt->graph)) {
        b->input = data->input != NULL ? data->input[stage->module] : NULL;
        return;
    }
    b->ids = data->ids;
    b->n_features = rt->n_encoders;
    b->features = work->features;
    b->loss = (cs_tape_loss_args){
        .labels = data->labels,
        .loss_scale = 1.0 / (double)rt->input->plan->label_tokens,
        .loss_sum = &rt->result.loss_sum,
        .n_correct = &rt->result.n_correct,
    };
    b->balance_sums = rt->balance_sums;
}

const cs_microbatch *csi_microbatch(const cs_runtime *rt, int32_t mb)
{
    const cs_batch_plan *plan = rt->input->plan;

    return &plan->microbatches[(int64_t)rt->shard->replica *
                                   plan->n_microbatches +
                               mb];
}

cs_status csi_module_batch_get(cs_runtime *rt, int32_t module, int32_t mb,
                               const cs_module_batch **out)
{
    csi_module_batch *b =
        &rt->modules[(int64_t)module * rt->capacity_microbatches + mb];

    if (!b->is_built) {
        CS_TRY(cs_module_batch_build(rt->graph, module, csi_microbatch(rt, mb),
                                     rt->o.backend, &rt->step, &b->batch));
        b->is_built = true;
    }
    *out = &b->batch;
    return CS_OK;
}

/* Sums of nll per sample, for evaluation. */
static void book_samples(cs_runtime *rt, const cs_microbatch *mb,
                         const int32_t *labels, const void *nll)
{
    for (int32_t s = 0; s < mb->n_samples; s++) {
        double sum = 0.0;
        int64_t n = 0;
        for (int64_t t = mb->token_begin[s]; t < mb->token_begin[s + 1]; t++) {
            sum += rt->o.params->real == CS_F64 ? ((const double *)nll)[t]
                                                : ((const float *)nll)[t];
            n += labels[t] != -100;
        }
        const int64_t at = rt->result.n_samples++;
        rt->sample_nll[at] = sum;
        rt->sample_tokens[at] = n;
        rt->sample_index[at] = mb->samples[s];
    }
}

/* Hands the output on: into the next stage's tape where that is ours, else
 * into memory that lives until it is sent. */
static cs_status hand_on(cs_runtime *rt, const cs_action *a, csi_work *work)
{
    const cs_stage_graph *g = &rt->shard->stages;
    bool has_remote = false;

    for (int32_t i = 0; i < g->n_edges; i++) {
        if (g->edges[i].from != a->stage) {
            continue;
        }
        if (!csi_edge_is_local(rt, i)) {
            has_remote = true;
            continue;
        }
        cs_value *input = NULL;
        CS_TRY(csi_edge_open_input(rt, i, a->microbatch, &input));
        memcpy(input->t.data, work->output->t.data, cs_tensor_bytes(&input->t));
    }
    if (has_remote && work->output->where == CS_KEEP_TEMP) {
        void *copy = NULL;
        const size_t n_bytes = cs_tensor_bytes(&work->output->t);
        CS_TRY(cs_tape_alloc(work->tape, CS_KEEP_SAVED, n_bytes, &copy));
        memcpy(copy, work->output->t.data, n_bytes);
        work->output->t.data = copy;
        work->output->where = CS_KEEP_SAVED;
    }
    return CS_OK;
}

/* Whose logits they are, for the step's owner. */
typedef struct logits_call {
    const cs_step_input *input;
    int32_t microbatch;
} logits_call;

static cs_status hand_logits(void *context, int64_t first_row, int64_t rows,
                             const float *logits)
{
    const logits_call *call = context;

    return call->input->on_logits(call->input->logits_context, call->microbatch,
                                  first_row, rows, logits);
}

cs_status csi_action_forward(cs_runtime *rt, const cs_action *a)
{
    const cs_shard_stage *stage = &rt->shard->stage[a->stage];
    const cs_microbatch *mb = csi_microbatch(rt, a->microbatch);
    const cs_microbatch_data *data = &rt->input->data[a->microbatch];
    csi_work *work = csi_work_of(rt, a->stage, a->microbatch);
    const cs_module_batch *m = NULL;

    CS_TRY(csi_module_batch_get(rt, stage->module, a->microbatch, &m));
    if (m->nn.rows == 0) {
        return CS_OK;
    }
    csi_arena_reset(&rt->workspace);
    CS_TRY(csi_work_open(rt, work));
    cs_tape_begin(work->tape);
    fill_batch(rt, stage, m, data, work);
    if (is_scoring(rt, stage)) {
        rt->result.label_tokens += mb->label_tokens;
    }
    if (is_scoring(rt, stage) && !rt->input->is_training) {
        work->batch.loss.nll =
            csi_arena_alloc(&rt->step, (size_t)mb->n_tokens * sizeof(double));
        CS_CHECK(work->batch.loss.nll != NULL, CS_ERR_NOMEM,
                 "losses of %lld "
                 "tokens",
                 (long long)mb->n_tokens);
    }
    logits_call call = {rt->input, a->microbatch};
    if (is_scoring(rt, stage) && !rt->input->is_training &&
        rt->input->on_logits != NULL) {
        work->batch.on_logits = hand_logits;
        work->batch.logits_context = &call;
    }
    const cs_nn nn = {
        .tape = work->tape,
        .graph = rt->graph,
        .params = rt->o.params,
        .module = stage->module,
        .batch = &work->batch,
    };
    CS_TRY(cs_nn_forward(&nn, stage->first_layer, stage->last_layer,
                         work->input, &work->output));
    if (work->output != NULL) {
        return hand_on(rt, a, work);
    }
    if (!rt->input->is_training) {
        book_samples(rt, mb, data->labels, work->batch.loss.nll);
    }
    return CS_OK;
}

cs_status csi_action_backward_input(cs_runtime *rt, const cs_action *a)
{
    const cs_stage_graph *g = &rt->shard->stages;
    csi_work *work = csi_work_of(rt, a->stage, a->microbatch);

    if (work->tape == NULL) {
        return CS_OK; /* no rows */
    }
    csi_arena_reset(&rt->workspace);
    CS_TRY(cs_tape_backward_input(work->tape, work->output));
    for (int32_t i = 0; i < g->n_edges; i++) {
        if (g->edges[i].to != a->stage || !g->edges[i].has_gradient ||
            !csi_edge_is_local(rt, i)) {
            continue;
        }
        const cs_value *input = *csi_edge_input(rt, i, a->microbatch);
        void *grad = NULL;
        if (input == NULL) {
            continue;
        }
        CS_CHECK(input->grad != NULL, CS_ERR_INTERNAL,
                 "stage %d, microbatch %d: no gradient for its input", a->stage,
                 a->microbatch);
        CS_TRY(csi_edge_open_gradient(rt, i, a->microbatch, &grad));
        memcpy(grad, input->grad, cs_tensor_bytes(&input->t));
    }
    return CS_OK;
}

cs_status csi_action_backward_weight(cs_runtime *rt, const cs_action *a)
{
    csi_work *work = csi_work_of(rt, a->stage, a->microbatch);

    if (work->tape == NULL) {
        return CS_OK;
    }
    csi_arena_reset(&rt->workspace);
    CS_TRY(cs_tape_backward_weight(work->tape));
    return CS_OK;
}

cs_status csi_action_reduce(cs_runtime *rt, const cs_action *a)
{
    const cs_shard_stage *stage = &rt->shard->stage[a->stage];
    const cs_param_set *params = rt->o.params;

    if (rt->shard->dp == 1) {
        return CS_OK;
    }
    for (int32_t i = 0; i < params->n; i++) {
        const cs_param_state *item = &params->items[i];
        if (item->grad != NULL && item->spec->module == stage->module &&
            item->spec->layer >= stage->first_layer &&
            item->spec->layer < stage->last_layer) {
            CS_TRY(cs_comm_all_reduce(rt->o.replicas, item->grad, item->count,
                                      params->real));
        }
    }
    return CS_OK;
}

cs_status csi_action_hook(cs_runtime *rt, const cs_action *a)
{
    return rt->o.hook != NULL ? rt->o.hook(rt->o.hook_context, a->kind) : CS_OK;
}
