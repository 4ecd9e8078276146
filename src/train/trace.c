/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A traced step: every rank's events, gathered on rank 0, beside what the
 * simulator predicts for the very same lists and batch.
 */
#include "base/alloc.h"

#include "internal.h"

#include <string.h>

/* Per event as it travels; -1 in kind = padding. */
typedef struct packed_event {
    cs_action action;
    double start_s, end_s;
} packed_event;

static int64_t longest_list(const cs_schedule *schedule)
{
    int64_t longest = 0;

    for (int32_t r = 0; r < schedule->n_ranks; r++) {
        const int64_t n = schedule->begin[r + 1] - schedule->begin[r];
        longest = n > longest ? n : longest;
    }
    return longest;
}

static cs_status gather_events(csi_rank *r, int64_t per_rank,
                               packed_event **out)
{
    cs_status st = CS_OK;
    const size_t n_bytes = (size_t)per_rank * sizeof(packed_event);
    packed_event *mine = csi_calloc((size_t)per_rank, sizeof *mine);
    packed_event *all =
        csi_calloc((size_t)per_rank * (size_t)r->world->n_ranks, sizeof *all);

    CS_CHECK_GOTO(done, mine != NULL && all != NULL, CS_ERR_NOMEM,
                  "trace of %lld actions", (long long)per_rank);
    for (int64_t i = 0; i < per_rank; i++) {
        mine[i].action.kind = CS_ACTION_COUNT;
    }
    for (int64_t i = 0; i < r->result.n_events; i++) {
        const cs_trace_event *e = &r->result.events[i];
        mine[i] = (packed_event){
            .action = e->action,
            .start_s = (double)(e->start_ns - r->step_start_ns) * 1e-9,
            .end_s = (double)(e->end_ns - r->step_start_ns) * 1e-9,
        };
    }
    CS_TRY_GOTO(done, cs_comm_all_gather(r->world, mine, n_bytes, all));
    *out = all;
    all = NULL;
done:
    csi_free(mine);
    csi_free(all);
    return st;
}

static cs_status predict(csi_rank *r, const cs_batch_plan *plan,
                         const cs_schedule *schedule, cs_sim_result *out)
{
    const csi_run *run = r->run;
    cs_work *work = NULL;

    CS_TRY(csi_plan_work(run->graph, plan, &work));
    const cs_status st = cs_plan_simulate(run->plan, run->graph, run->costs,
                                          work, schedule, run->n_cores, out);
    csi_free(work);
    return st;
}

static void add_predicted(const cs_schedule *schedule, const cs_sim_result *sim,
                          cs_timeline_event *events, int64_t *n)
{
    for (int32_t rank = 0; rank < schedule->n_ranks; rank++) {
        for (int64_t i = schedule->begin[rank]; i < schedule->begin[rank + 1];
             i++) {
            events[(*n)++] = (cs_timeline_event){
                .kind = CS_TIMELINE_PREDICTED,
                .rank = rank,
                .action = schedule->actions[i],
                .start_s = sim->events[i].start_s,
                .end_s = sim->events[i].end_s,
            };
        }
    }
}

static cs_status keep(csi_run *run, int64_t step, int32_t n_ranks,
                      cs_timeline_event *events, int64_t n_events)
{
    struct csi_kept_trace *traces =
        csi_realloc(run->traces, (size_t)(run->n_traces + 1) * sizeof *traces);

    CS_CHECK(traces != NULL, CS_ERR_NOMEM, "trace");
    run->traces = traces;
    traces[run->n_traces++] = (struct csi_kept_trace){
        .timeline = {.step = step,
                     .n_ranks = n_ranks,
                     .n_events = n_events,
                     .events = events},
        .events = events,
    };
    return CS_OK;
}

cs_status csi_keep_trace(csi_rank *r, const cs_batch_plan *plan)
{
    const cs_schedule *schedule = NULL;
    packed_event *all = NULL;
    cs_timeline_event *events = NULL;
    cs_sim_result sim = {0};
    cs_status st = CS_OK;
    int64_t n = 0;

    CS_TRY(cs_runtime_schedule(r->runtime, plan->n_microbatches, true,
                               &schedule));
    const int64_t per_rank = longest_list(schedule);
    const int64_t n_all = per_rank * r->world->n_ranks;
    CS_TRY_GOTO(done, gather_events(r, per_rank, &all));
    if (!csi_is_main(r)) {
        goto done;
    }
    CS_TRY_GOTO(done, predict(r, plan, schedule, &sim));
    events =
        csi_calloc((size_t)(n_all + schedule->begin[schedule->n_ranks]) + 1,
                   sizeof *events);
    CS_CHECK_GOTO(done, events != NULL, CS_ERR_NOMEM, "trace");
    for (int64_t i = 0; i < n_all; i++) {
        if (all[i].action.kind != CS_ACTION_COUNT) {
            events[n++] = (cs_timeline_event){
                .kind = CS_TIMELINE_ACTUAL,
                .rank = (int32_t)(i / per_rank),
                .action = all[i].action,
                .start_s = all[i].start_s,
                .end_s = all[i].end_s,
            };
        }
    }
    add_predicted(schedule, &sim, events, &n);
    CS_TRY_GOTO(done, keep(r->run, plan->step, r->world->n_ranks, events, n));
    events = NULL;
done:
    csi_free(all);
    csi_free(events);
    cs_sim_result_fini(&sim);
    return st;
}

void csi_traces_fini(csi_run *run)
{
    for (int32_t i = 0; i < run->n_traces; i++) {
        csi_free(run->traces[i].events);
    }
    csi_free(run->traces);
    run->traces = NULL;
    run->n_traces = 0;
}
