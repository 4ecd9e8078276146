/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedules: create by name of the generator, destroy, and the words for
 * actions. A generator only says how far each stage runs ahead; order.c and
 * complete.c make the lists.
 */
#include "base/alloc.h"

#include "internal.h"

#include <string.h>

const char *cs_action_name(cs_action_kind kind)
{
    static const char *const NAMES[CS_ACTION_COUNT] = {
        [CS_ACTION_FORWARD] = "FORWARD",
        [CS_ACTION_BACKWARD_INPUT] = "BACKWARD_INPUT",
        [CS_ACTION_BACKWARD_WEIGHT] = "BACKWARD_WEIGHT",
        [CS_ACTION_SEND_ACTIVATION] = "SEND_ACTIVATION",
        [CS_ACTION_RECV_ACTIVATION] = "RECV_ACTIVATION",
        [CS_ACTION_SEND_GRADIENT] = "SEND_GRADIENT",
        [CS_ACTION_RECV_GRADIENT] = "RECV_GRADIENT",
        [CS_ACTION_REDUCE_GRADIENTS] = "REDUCE_GRADIENTS",
        [CS_ACTION_REDUCE_TIED] = "REDUCE_TIED",
        [CS_ACTION_GRADIENT_NORM] = "GRADIENT_NORM",
        [CS_ACTION_OPTIMIZER_STEP] = "OPTIMIZER_STEP",
        [CS_ACTION_AGREE] = "AGREE",
    };
    const int at = (int)kind;

    return at >= 0 && at < (int)CS_ACTION_COUNT ? NAMES[at] : "?";
}

const char *csi_action_describe(const cs_action *action,
                                char text[CSI_ACTION_TEXT_BYTES])
{
    const char *const name = cs_action_name(action->kind);
    const bool on_edge = action->edge >= 0;
    const int32_t place = on_edge ? action->edge : action->stage;
    const char *const kind = on_edge ? "edge" : "stage";

    if (place < 0) {
        (void)snprintf(text, CSI_ACTION_TEXT_BYTES, "%s", name);
    } else if (action->microbatch < 0) {
        (void)snprintf(text, CSI_ACTION_TEXT_BYTES, "%s of %s %d", name, kind,
                       place);
    } else {
        (void)snprintf(text, CSI_ACTION_TEXT_BYTES,
                       "%s of %s %d, microbatch %d", name, kind, place,
                       action->microbatch);
    }
    return text;
}

cs_status csi_schedule_new(int32_t n_ranks, int32_t n_microbatches,
                           const int64_t *begin, cs_schedule **out)
{
    cs_schedule *schedule = csi_calloc(1, sizeof *schedule);

    CS_CHECK(schedule != NULL, CS_ERR_NOMEM, "no memory for a schedule");
    schedule->n_ranks = n_ranks;
    schedule->n_microbatches = n_microbatches;
    schedule->begin = csi_calloc((size_t)n_ranks + 1, sizeof *begin);
    schedule->actions =
        csi_calloc((size_t)begin[n_ranks], sizeof *schedule->actions);
    if (schedule->begin == NULL || schedule->actions == NULL) {
        cs_schedule_destroy(&schedule);
        return CS_FAIL(CS_ERR_NOMEM, "no memory for a schedule of %d ranks",
                       n_ranks);
    }
    memcpy(schedule->begin, begin, ((size_t)n_ranks + 1) * sizeof *begin);
    *out = schedule;
    return CS_OK;
}

void cs_schedule_destroy(cs_schedule **schedule)
{
    if (schedule != NULL && *schedule != NULL) {
        csi_free((*schedule)->begin);
        csi_free((*schedule)->actions);
        csi_free(*schedule);
        *schedule = NULL;
    }
}

typedef void (*warmup_fn)(const csi_topology *topology, int32_t n_microbatches,
                          int32_t *warmup);

static cs_status find_generator(cs_schedule_kind kind, warmup_fn *out)
{
    switch (kind) {
    case CS_SCHEDULE_GPIPE:
        *out = csi_warmup_gpipe;
        return CS_OK;
    case CS_SCHEDULE_1F1B:
        *out = csi_warmup_1f1b;
        return CS_OK;
    case CS_SCHEDULE_INTERLEAVED:
    case CS_SCHEDULE_ZERO_BUBBLE:
    case CS_SCHEDULE_AUTO:
        break;
    }
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "unsupported: schedule '%s'; offered are gpipe and 1f1b",
                   kind == CS_SCHEDULE_INTERLEAVED   ? "interleaved"
                   : kind == CS_SCHEDULE_ZERO_BUBBLE ? "zero_bubble"
                                                     : "auto");
}

cs_status cs_schedule_create(const cs_stage_graph *graph, cs_schedule_kind kind,
                             int32_t n_microbatches, bool is_training,
                             cs_schedule **out)
{
    warmup_fn generator = NULL;
    csi_topology topology = {0};
    csi_order order = {0};
    int32_t *warmup = NULL;
    cs_status st = CS_OK;

    CS_TRY(find_generator(kind, &generator));
    CS_TRY(cs_stage_graph_check(graph));
    CS_CHECK(n_microbatches >= 1 && n_microbatches <= CSI_MAX_MICROBATCHES,
             CS_ERR_ARG, "schedule of %d microbatches, wanted 1 to %d",
             n_microbatches, CSI_MAX_MICROBATCHES);
    CS_TRY(csi_topology_init(graph, &topology));
    warmup = csi_calloc((size_t)graph->n_stages, sizeof *warmup);
    CS_CHECK_GOTO(undo, warmup != NULL, CS_ERR_NOMEM,
                  "no memory for a schedule of %d stages", graph->n_stages);
    generator(&topology, n_microbatches, warmup);
    CS_TRY_GOTO(undo, csi_order_init(&topology, warmup, n_microbatches,
                                     is_training, &order));
    CS_TRY_GOTO(undo, csi_schedule_complete(&topology, &order, out));
undo:
    csi_free(warmup);
    csi_order_fini(&order);
    csi_topology_fini(&topology);
    return st;
}
