/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker: the outside of a schedule (counts, ranges), then the walk, which
 * executes every action under the rules of the executor.
 */
#include "base/alloc.h"

#include "internal.h"

#include <inttypes.h>

cs_status csi_schedule_check_frame(const cs_stage_graph *graph,
                                   const cs_schedule *schedule)
{
    CS_TRY(cs_stage_graph_check(graph));
    CS_CHECK(schedule->n_ranks == graph->n_ranks, CS_ERR_ARG,
             "schedule has %d ranks, its stage graph has %d", schedule->n_ranks,
             graph->n_ranks);
    CS_CHECK(schedule->n_microbatches >= 1 &&
                 schedule->n_microbatches <= CSI_MAX_MICROBATCHES,
             CS_ERR_ARG, "schedule of %d microbatches, wanted 1 to %d",
             schedule->n_microbatches, CSI_MAX_MICROBATCHES);
    CS_CHECK(schedule->begin[0] == 0, CS_ERR_ARG,
             "schedule starts at action %" PRId64 ", wanted 0",
             schedule->begin[0]);
    for (int32_t rank = 0; rank < graph->n_ranks; rank++) {
        CS_CHECK(schedule->begin[rank] <= schedule->begin[rank + 1], CS_ERR_ARG,
                 "rank %d has a negative number of actions", rank);
    }
    return CS_OK;
}

cs_status cs_schedule_check(const cs_stage_graph *graph,
                            const cs_schedule *schedule, bool is_training)
{
    csi_topology topology = {0};
    int64_t *start = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_schedule_check_frame(graph, schedule));
    CS_TRY(csi_topology_init(graph, &topology));
    start = csi_calloc((size_t)schedule->begin[graph->n_ranks], sizeof *start);
    CS_CHECK_GOTO(undo, start != NULL, CS_ERR_NOMEM,
                  "no memory to check a schedule of %d ranks", graph->n_ranks);
    CS_TRY_GOTO(undo,
                csi_schedule_walk(&topology, schedule, is_training, start));
undo:
    csi_free(start);
    csi_topology_fini(&topology);
    return st;
}
