/* SPDX-License-Identifier: Apache-2.0 */
/* Edges between stages: how large a message is, which value it becomes, and
 * the sends and receives themselves. A message without rows does not exist on
 * either side. */
#include "base/alloc.h"

#include "internal.h"

#include <string.h>

static const cs_edge *edge_of(const cs_runtime *rt, int32_t edge)
{
    return &rt->shard->stages.edges[edge];
}

bool csi_edge_is_local(const cs_runtime *rt, int32_t edge)
{
    const cs_edge *e = edge_of(rt, edge);
    const cs_stage *stages = rt->shard->stages.stages;

    return stages[e->from].rank == stages[e->to].rank;
}

cs_status csi_edge_size(cs_runtime *rt, int32_t edge, int32_t mb, int64_t *rows,
                        int64_t *columns)
{
    const cs_shard_stage *from = &rt->shard->stage[edge_of(rt, edge)->from];
    const int32_t language_model = cs_graph_language_model(rt->graph);
    const cs_microbatch *microbatch = csi_microbatch(rt, mb);

    if (from->module == language_model) {
        *rows = microbatch->n_tokens;
        *columns = rt->graph->modules[from->module].width;
        return CS_OK;
    }
    const cs_batch_modality *modality = &microbatch->modality[from->module];
    const cs_layer *last =
        &rt->graph->modules[from->module].layers[from->last_layer - 1];
    const bool is_pooled =
        last->kind == CS_LAYER_PROJECTOR || last->kind == CS_LAYER_NORM;
    *rows = is_pooled ? modality->feature_rows : modality->encoder_rows;
    *columns = last->out_dim;
    return CS_OK;
}

cs_value **csi_edge_input(cs_runtime *rt, int32_t edge, int32_t mb)
{
    const cs_edge *e = edge_of(rt, edge);
    const int32_t from = rt->shard->stage[e->from].module;
    const int32_t to = rt->shard->stage[e->to].module;
    csi_work *work = csi_work_of(rt, e->to, mb);

    return from == to ? &work->input : &work->features[from];
}

cs_status csi_edge_open_input(cs_runtime *rt, int32_t edge, int32_t mb,
                              cs_value **out)
{
    const cs_edge *e = edge_of(rt, edge);
    csi_work *work = csi_work_of(rt, e->to, mb);
    const cs_dtype dtype = rt->o.params->dtype;
    int64_t rows = 0;
    int64_t columns = 0;
    void *data = NULL;

    CS_TRY(csi_edge_size(rt, edge, mb, &rows, &columns));
    CS_TRY(csi_work_open(rt, work));
    CS_TRY(cs_tape_alloc(work->tape, CS_KEEP_PRODUCT,
                         (size_t)(rows * columns) * cs_dtype_bytes(dtype),
                         &data));
    CS_TRY(cs_tape_input(work->tape, cs_tensor_2d(data, dtype, rows, columns),
                         e->has_gradient, out));
    *csi_edge_input(rt, edge, mb) = *out;
    return CS_OK;
}

cs_status csi_edge_open_gradient(cs_runtime *rt, int32_t edge, int32_t mb,
                                 void **out)
{
    csi_work *work = csi_work_of(rt, edge_of(rt, edge)->from, mb);

    CS_CHECK(work->output != NULL, CS_ERR_INTERNAL,
             "a gradient arrived for an activation that was not made");
    CS_TRY(cs_tape_alloc(work->tape, CS_KEEP_PRODUCT,
                         cs_tensor_bytes(&work->output->t), out));
    work->output->grad = *out;
    work->output->grad_where = CS_KEEP_PRODUCT;
    return CS_OK;
}

/* Tags are unique within a step: (microbatch, edge, direction). */
static int64_t tag_of(const cs_runtime *rt, const cs_action *a, int direction)
{
    return ((int64_t)a->microbatch * rt->shard->stages.n_edges + a->edge) * 2 +
           direction;
}

static cs_status grow_message(csi_message *message, size_t n_bytes)
{
    if (n_bytes <= message->capacity) {
        return CS_OK;
    }
    csi_free(message->data);
    message->capacity = 0;
    message->data = csi_aligned(n_bytes);
    CS_CHECK(message->data != NULL, CS_ERR_NOMEM, "message of %zu bytes",
             n_bytes);
    message->capacity = n_bytes;
    return CS_OK;
}

/* Waits only while all slots hold messages that have not arrived. */
static cs_status send(cs_runtime *rt, const cs_action *a, int direction,
                      int32_t to_stage, const cs_tensor *t, const void *data)
{
    csi_channel *channel = &rt->channels[2 * a->edge + direction];
    const int32_t n_slots = edge_of(rt, a->edge)->n_slots;
    csi_message *message = &channel->slots[channel->n_sent % n_slots];
    const size_t n_bytes = cs_tensor_bytes(t);

    CS_TRY(cs_comm_wait(rt->o.pipeline, &message->request));
    CS_TRY(grow_message(message, n_bytes));
    memcpy(message->data, data, n_bytes);
    CS_TRY(cs_comm_send(rt->o.pipeline, rt->shard->stages.stages[to_stage].rank,
                        tag_of(rt, a, direction), message->data, n_bytes,
                        &message->request));
    channel->n_sent++;
    return CS_OK;
}

cs_status csi_channels_finish(cs_runtime *rt)
{
    const cs_stage_graph *g = &rt->shard->stages;

    for (int32_t i = 0; i < 2 * g->n_edges; i++) {
        for (int32_t s = 0; s < g->edges[i / 2].n_slots; s++) {
            CS_TRY(cs_comm_wait(rt->o.pipeline,
                                &rt->channels[i].slots[s].request));
        }
    }
    return CS_OK;
}

static cs_status receive(cs_runtime *rt, const cs_action *a, int direction,
                         int32_t from_stage, const cs_tensor *t, void *data)
{
    cs_request request = {0};

    CS_TRY(cs_comm_recv(rt->o.pipeline,
                        rt->shard->stages.stages[from_stage].rank,
                        tag_of(rt, a, direction), data, cs_tensor_bytes(t),
                        &request));
    return cs_comm_wait(rt->o.pipeline, &request);
}

cs_status csi_action_send_activation(cs_runtime *rt, const cs_action *a)
{
    const cs_edge *e = edge_of(rt, a->edge);
    const csi_work *work = csi_work_of(rt, e->from, a->microbatch);
    int64_t rows = 0;
    int64_t columns = 0;

    CS_TRY(csi_edge_size(rt, a->edge, a->microbatch, &rows, &columns));
    if (rows == 0) {
        return CS_OK;
    }
    return send(rt, a, 0, e->to, &work->output->t, work->output->t.data);
}

cs_status csi_action_recv_activation(cs_runtime *rt, const cs_action *a)
{
    int64_t rows = 0;
    int64_t columns = 0;
    cs_value *value = NULL;

    CS_TRY(csi_edge_size(rt, a->edge, a->microbatch, &rows, &columns));
    if (rows == 0) {
        return CS_OK;
    }
    CS_TRY(csi_edge_open_input(rt, a->edge, a->microbatch, &value));
    return receive(rt, a, 0, edge_of(rt, a->edge)->from, &value->t,
                   value->t.data);
}

cs_status csi_action_send_gradient(cs_runtime *rt, const cs_action *a)
{
    const cs_edge *e = edge_of(rt, a->edge);
    const cs_value *value = *csi_edge_input(rt, a->edge, a->microbatch);
    int64_t rows = 0;
    int64_t columns = 0;

    CS_TRY(csi_edge_size(rt, a->edge, a->microbatch, &rows, &columns));
    if (rows == 0) {
        return CS_OK;
    }
    CS_CHECK(value != NULL && value->grad != NULL, CS_ERR_INTERNAL,
             "stage %d, microbatch %d: no gradient to send", e->to,
             a->microbatch);
    return send(rt, a, 1, e->from, &value->t, value->grad);
}

cs_status csi_action_recv_gradient(cs_runtime *rt, const cs_action *a)
{
    const cs_edge *e = edge_of(rt, a->edge);
    int64_t rows = 0;
    int64_t columns = 0;
    void *grad = NULL;

    CS_TRY(csi_edge_size(rt, a->edge, a->microbatch, &rows, &columns));
    if (rows == 0) {
        return CS_OK;
    }
    CS_TRY(csi_edge_open_gradient(rt, a->edge, a->microbatch, &grad));
    return receive(rt, a, 1, e->to,
                   &csi_work_of(rt, e->from, a->microbatch)->output->t, grad);
}
