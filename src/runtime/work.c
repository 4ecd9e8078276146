/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a stage's work on a microbatch, and of its tape:
 *
 *     none --open--> running --close--> over --sends done--> none
 *
 * open: the first action that needs the tape (a receive or a forward).
 * close: the last action of the list that belongs to this work. A tape goes
 * back to the pool only when nobody reads its memory any more.
 */
#include "base/alloc.h"

#include "internal.h"

static cs_status add_tape(cs_runtime *rt)
{
    if (rt->n_tapes == rt->tape_capacity) {
        const int32_t capacity = rt->tape_capacity * 2 + 8;
        cs_tape **tapes =
            csi_realloc(rt->free_tapes, (size_t)capacity * sizeof(cs_tape *));
        CS_CHECK(tapes != NULL, CS_ERR_NOMEM, "table of %d tapes", capacity);
        rt->free_tapes = tapes;
        rt->tape_capacity = capacity;
    }
    CS_TRY(cs_tape_create(rt->o.backend, &rt->workspace, rt->o.params->dtype,
                          &rt->free_tapes[rt->n_free]));
    rt->n_free++;
    rt->n_tapes++;
    return CS_OK;
}

static cs_status free_if_done(cs_runtime *rt, csi_work *work)
{
    bool all_done = true;

    for (int32_t i = 0; i < work->n_requests; i++) {
        bool done = false;
        CS_TRY(cs_comm_test(rt->o.pipeline, &work->requests[i], &done));
        all_done = all_done && done;
    }
    if (all_done) {
        rt->free_tapes[rt->n_free++] = work->tape;
        work->tape = NULL;
        work->n_requests = 0;
        work->is_over = false;
    }
    return CS_OK;
}

cs_status csi_work_open(cs_runtime *rt, csi_work *work)
{
    if (work->tape != NULL) {
        return CS_OK;
    }
    if (rt->n_free == 0) {
        const int64_t n =
            (int64_t)rt->shard->stages.n_stages * rt->n_microbatches;
        for (int64_t i = 0; i < n; i++) {
            if (rt->works[i].is_over) {
                CS_TRY(free_if_done(rt, &rt->works[i]));
            }
        }
    }
    if (rt->n_free == 0) {
        CS_TRY(add_tape(rt));
    }
    work->tape = rt->free_tapes[--rt->n_free];
    work->input = NULL;
    work->output = NULL;
    work->n_requests = 0;
    for (int32_t e = 0; e < rt->n_encoders; e++) {
        work->features[e] = NULL;
    }
    cs_tape_reset(work->tape, rt->input->is_training);
    return CS_OK;
}

int32_t csi_action_owner(const cs_runtime *rt, const cs_action *a)
{
    switch (a->kind) {
    case CS_ACTION_FORWARD:
    case CS_ACTION_BACKWARD_INPUT:
    case CS_ACTION_BACKWARD_WEIGHT:
        return a->stage;
    case CS_ACTION_SEND_ACTIVATION:
    case CS_ACTION_RECV_GRADIENT:
        return rt->shard->stages.edges[a->edge].from;
    case CS_ACTION_RECV_ACTIVATION:
    case CS_ACTION_SEND_GRADIENT:
        return rt->shard->stages.edges[a->edge].to;
    default:
        return -1;
    }
}

cs_status csi_work_close(cs_runtime *rt, int32_t stage, csi_work *work)
{
    const int32_t module = rt->shard->stage[stage].module;
    const size_t n_bytes =
        cs_tape_saved_bytes(work->tape) + cs_tape_deferred_bytes(work->tape);

    if (n_bytes > rt->tape_bytes[module]) {
        rt->tape_bytes[module] = n_bytes;
    }
    work->is_over = true;
    return free_if_done(rt, work);
}

cs_status csi_works_finish(cs_runtime *rt)
{
    const int64_t n = (int64_t)rt->shard->stages.n_stages * rt->n_microbatches;

    for (int64_t i = 0; i < n; i++) {
        csi_work *work = &rt->works[i];
        if (work->tape == NULL) {
            continue;
        }
        CS_CHECK(work->is_over, CS_ERR_INTERNAL,
                 "stage %lld, microbatch %lld: work left at the end of the "
                 "step",
                 (long long)(i / rt->n_microbatches),
                 (long long)(i % rt->n_microbatches));
        for (int32_t r = 0; r < work->n_requests; r++) {
            CS_TRY(cs_comm_wait(rt->o.pipeline, &work->requests[r]));
        }
        CS_TRY(free_if_done(rt, work));
    }
    return CS_OK;
}
