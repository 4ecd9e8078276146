/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients of tied parameters. The head that reads the embedding's values has
 * a gradient of its own, so that the sum of the two is the same number whether
 * both lie on one rank or the stages exchange them:
 *
 *     total = gradient of the embedding + gradient of the head
 *
 * On one rank the embedding's item takes the total. On two ranks each sends
 * its own and keeps the sum: both then make the same update.
 */
#include "base/arena.h"

#include "internal.h"

enum {
    TIED_TAG = 1 << 30 /* above every edge's tags */
};

/* Rank of the replica that runs a layer. */
static int32_t rank_of(const cs_shard *shard, int32_t module, int32_t layer)
{
    for (int32_t i = 0; i < shard->stages.n_stages; i++) {
        const cs_shard_stage *stage = &shard->stage[i];
        if (stage->module == module && layer >= stage->first_layer &&
            layer < stage->last_layer) {
            return shard->stages.stages[i].rank;
        }
    }
    return -1;
}

static cs_status exchange(cs_runtime *rt, int32_t peer, int64_t tag,
                          const cs_param_state *item, void **theirs)
{
    const size_t n_bytes =
        (size_t)item->count * cs_dtype_bytes(rt->o.params->real);
    cs_request sent = {0};
    cs_request received = {0};

    csi_arena_reset(&rt->workspace);
    *theirs = csi_arena_alloc(&rt->workspace, n_bytes);
    CS_CHECK(*theirs != NULL, CS_ERR_NOMEM, "gradient of %s",
             item->spec->global_name);
    CS_TRY(cs_comm_send(rt->o.pipeline, peer, tag, item->grad, n_bytes, &sent));
    CS_TRY(cs_comm_recv(rt->o.pipeline, peer, tag, *theirs, n_bytes,
                        &received));
    CS_TRY(cs_comm_wait(rt->o.pipeline, &received));
    CS_TRY(cs_comm_wait(rt->o.pipeline, &sent));
    return CS_OK;
}

static cs_status reduce_pair(cs_runtime *rt, int32_t param)
{
    const cs_param *spec = &rt->graph->params[param];
    const cs_param *other = &rt->graph->params[spec->tied_to];
    cs_param_state *head = cs_param_find(rt->o.params, param);
    cs_param_state *table = cs_param_find(rt->o.params, spec->tied_to);
    cs_param_state *mine = table != NULL ? table : head;
    void *theirs = NULL;

    if (mine == NULL || mine->grad == NULL) {
        return CS_OK;
    }
    if (head != NULL && table != NULL) {
        theirs = head->grad;
    } else {
        const cs_param *far = table != NULL ? spec : other;
        CS_TRY(exchange(rt, rank_of(rt->shard, far->module, far->layer),
                        (int64_t)TIED_TAG + param, mine, &theirs));
    }
    const cs_axpby_args sum = {
        .dtype = rt->o.params->real,
        .count = mine->count,
        .alpha = 1.0,
        .beta = 1.0,
        .a = mine->grad,
        .b = theirs,
        .y = mine->grad,
    };
    return cs_op_axpby(rt->o.backend, &sum);
}

cs_status csi_action_reduce_tied(cs_runtime *rt, const cs_action *a)
{
    (void)a;
    for (int32_t i = 0; i < rt->graph->n_params; i++) {
        if (rt->graph->params[i].tied_to >= 0) {
            CS_TRY(reduce_pair(rt, i));
        }
    }
    return CS_OK;
}
