/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a stage's work on a microbatch, and of its tape:
 *
 *     none --open--> running --close--> none
 *
 * open: the first action that needs the tape (a receive or a forward).
 * close: the last action of the list that belongs to this work. A tape is the
 * first that is free: the same list gives every work the same tape again, so
 * that no arena grows when a step is repeated.
 */
#include "base/alloc.h"

#include "internal.h"

static cs_status add_tape(cs_runtime *rt)
{
    if (rt->n_tapes == rt->tape_capacity) {
        const int32_t capacity = rt->tape_capacity * 2 + 8;
        csi_tape_slot *tapes =
            csi_realloc(rt->tapes, (size_t)capacity * sizeof *tapes);
        CS_CHECK(tapes != NULL, CS_ERR_NOMEM, "table of %d tapes", capacity);
        rt->tapes = tapes;
        rt->tape_capacity = capacity;
    }
    csi_tape_slot *slot = &rt->tapes[rt->n_tapes];
    *slot = (csi_tape_slot){0};
    CS_TRY(cs_tape_create(rt->o.backend, &rt->workspace, rt->o.params->dtype,
                          &slot->tape));
    rt->n_tapes++;
    return CS_OK;
}

cs_status csi_work_open(cs_runtime *rt, csi_work *work)
{
    int32_t i = 0;

    if (work->tape != NULL) {
        return CS_OK;
    }
    while (i < rt->n_tapes && rt->tapes[i].is_used) {
        i++;
    }
    if (i == rt->n_tapes) {
        CS_TRY(add_tape(rt));
    }
    rt->tapes[i].is_used = true;
    work->tape = rt->tapes[i].tape;
    work->input = NULL;
    work->output = NULL;
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

static void release_tape(cs_runtime *rt, csi_work *work)
{
    for (int32_t i = 0; i < rt->n_tapes; i++) {
        if (rt->tapes[i].tape == work->tape) {
            rt->tapes[i].is_used = false;
        }
    }
    work->tape = NULL;
}

void csi_work_close(cs_runtime *rt, int32_t stage, csi_work *work)
{
    const int32_t module = rt->shard->stage[stage].module;
    const size_t n_bytes =
        cs_tape_saved_bytes(work->tape) + cs_tape_deferred_bytes(work->tape);

    if (n_bytes > rt->tape_bytes[module]) {
        rt->tape_bytes[module] = n_bytes;
    }
    release_tape(rt, work);
}

static int64_t count_works(const cs_runtime *rt)
{
    return (int64_t)rt->shard->stages.n_stages * rt->n_microbatches;
}

cs_status csi_works_finish(const cs_runtime *rt)
{
    for (int64_t i = 0; i < count_works(rt); i++) {
        CS_CHECK(rt->works[i].tape == NULL, CS_ERR_INTERNAL,
                 "stage %lld, microbatch %lld: work left at the end of the "
                 "step",
                 (long long)(i / rt->n_microbatches),
                 (long long)(i % rt->n_microbatches));
    }
    return CS_OK;
}

void csi_works_abandon(cs_runtime *rt)
{
    for (int64_t i = 0; i < count_works(rt); i++) {
        if (rt->works[i].tape != NULL) {
            release_tape(rt, &rt->works[i]);
        }
    }
}
