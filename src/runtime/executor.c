/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter: for each action of this rank's list, its handler. It never
 * looks at tensor values; what it does next was decided before the step.
 */
#include "base/clock.h"

#include "internal.h"

#include <stdio.h>
#include <string.h>

typedef cs_status (*handler_fn)(cs_runtime *rt, const cs_action *action);

static const handler_fn HANDLERS[CS_ACTION_COUNT] = {
    [CS_ACTION_FORWARD] = csi_action_forward,
    [CS_ACTION_BACKWARD_INPUT] = csi_action_backward_input,
    [CS_ACTION_BACKWARD_WEIGHT] = csi_action_backward_weight,
    [CS_ACTION_SEND_ACTIVATION] = csi_action_send_activation,
    [CS_ACTION_RECV_ACTIVATION] = csi_action_recv_activation,
    [CS_ACTION_SEND_GRADIENT] = csi_action_send_gradient,
    [CS_ACTION_RECV_GRADIENT] = csi_action_recv_gradient,
    [CS_ACTION_REDUCE_GRADIENTS] = csi_action_reduce,
    [CS_ACTION_REDUCE_TIED] = csi_action_reduce_tied,
    [CS_ACTION_GRADIENT_NORM] = csi_action_hook,
    [CS_ACTION_OPTIMIZER_STEP] = csi_action_hook,
    [CS_ACTION_AGREE] = csi_action_hook,
};

/* Says which action failed, in front of the sentence of what went wrong. */
static cs_status name_action(cs_runtime *rt, const cs_action *a, cs_status st)
{
    const int32_t stage = csi_action_owner(rt, a);
    cs_error error;
    char sentence[CS_ERROR_MESSAGE_BYTES];

    if (st == CS_OK || st == CS_ERR_PEER || stage < 0) {
        return st;
    }
    cs_error_get(&error);
    memcpy(sentence, error.message, sizeof sentence);
    (void)snprintf(error.message, sizeof error.message,
                   "%s of %s stage %d, microbatch %d: %.800s",
                   cs_action_name(a->kind),
                   rt->graph->modules[rt->shard->stage[stage].module].name,
                   stage, a->microbatch, sentence);
    cs_error_set(&error);
    return st;
}

static cs_status run_action(cs_runtime *rt, const cs_action *a)
{
    const int32_t stage = csi_action_owner(rt, a);

    CS_TRY(name_action(rt, a, HANDLERS[a->kind](rt, a)));
    if (stage >= 0) {
        csi_work *work = csi_work_of(rt, stage, a->microbatch);
        work->n_left--;
        if (work->n_left == 0 && work->tape != NULL) {
            csi_work_close(rt, stage, work);
        }
    }
    return CS_OK;
}

static void count_actions(cs_runtime *rt, const cs_action *actions, int64_t n)
{
    const int64_t n_works =
        (int64_t)rt->shard->stages.n_stages * rt->n_microbatches;

    for (int64_t i = 0; i < n_works; i++) {
        rt->works[i].n_left = 0;
    }
    for (int64_t i = 0; i < n; i++) {
        const int32_t stage = csi_action_owner(rt, &actions[i]);
        if (stage >= 0) {
            csi_work_of(rt, stage, actions[i].microbatch)->n_left++;
        }
    }
}

cs_status csi_execute(cs_runtime *rt, const cs_schedule *schedule)
{
    const int32_t rank = rt->shard->pipeline_rank;
    const cs_action *actions = &schedule->actions[schedule->begin[rank]];
    const int64_t n = schedule->begin[rank + 1] - schedule->begin[rank];

    count_actions(rt, actions, n);
    for (int64_t i = 0; i < n; i++) {
        const int64_t start = csi_clock_ns();
        CS_TRY(run_action(rt, &actions[i]));
        if (rt->input->trace) {
            rt->events[rt->result.n_events++] = (cs_trace_event){
                .action = actions[i],
                .start_ns = start,
                .end_ns = csi_clock_ns(),
            };
        }
    }
    CS_TRY(csi_works_finish(rt));
    return csi_channels_finish(rt);
}
