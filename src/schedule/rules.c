/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of a schedule, one function per kind of action: what it must find
 * done, what it waits for, what it leaves behind. Waiting is not an error;
 * everything else that does not fit is.
 */
#include "walk.h"

#include <inttypes.h>
#include <stdarg.h>

/* "rank 1, action 7 (BACKWARD_INPUT of stage 2, microbatch 3): ..." */
static CS_PRINTF(2, 3) cs_status
    reject(const csi_walk *w, const char *format, ...)
{
    char problem[CS_ERROR_MESSAGE_BYTES / 2];
    char text[CSI_ACTION_TEXT_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(problem, sizeof problem, format, args);
    va_end(args);
    return CS_FAIL(CS_ERR_ARG, "rank %d, action %" PRId64 " (%s): %s", w->rank,
                   w->next[w->rank] - w->schedule->begin[w->rank],
                   csi_action_describe(csi_walk_current(w), text), problem);
}

static bool is_message(cs_action_kind kind)
{
    return kind == CS_ACTION_SEND_ACTIVATION ||
           kind == CS_ACTION_RECV_ACTIVATION ||
           kind == CS_ACTION_SEND_GRADIENT || kind == CS_ACTION_RECV_GRADIENT;
}

/* --- fields: the action makes sense by itself ------------------------- */

static cs_status check_stage_field(const csi_walk *w, const cs_action *a)
{
    if (a->stage < 0 || a->stage >= w->graph->n_stages) {
        return reject(w, "stage %d is none of %d", a->stage,
                      w->graph->n_stages);
    }
    const int32_t home = w->graph->stages[a->stage].rank;

    if (home != w->rank) {
        return reject(w, "stage %d is on rank %d", a->stage, home);
    }
    return CS_OK;
}

static cs_status check_edge_field(const csi_walk *w, const cs_action *a)
{
    if (a->edge < 0 || a->edge >= w->graph->n_edges) {
        return reject(w, "edge %d is none of %d", a->edge, w->graph->n_edges);
    }
    const cs_edge *const edge = &w->graph->edges[a->edge];
    const int32_t below = w->graph->stages[edge->from].rank;
    const int32_t above = w->graph->stages[edge->to].rank;
    const bool at_below = a->kind == CS_ACTION_SEND_ACTIVATION ||
                          a->kind == CS_ACTION_RECV_GRADIENT;
    const int32_t home = at_below ? below : above;

    if (below == above) {
        return reject(w, "the edge stays on rank %d and has no messages",
                      below);
    }
    if (home != w->rank) {
        return reject(w, "this end of the edge is on rank %d", home);
    }
    if (csi_is_gradient_message(a->kind) && !edge->has_gradient) {
        return reject(w, "the edge carries no gradient");
    }
    return CS_OK;
}

static cs_status check_fields(const csi_walk *w, const cs_action *a)
{
    const bool of_microbatch = csi_is_compute(a->kind) || is_message(a->kind);
    const bool of_stage =
        csi_is_compute(a->kind) || a->kind == CS_ACTION_REDUCE_GRADIENTS;
    const bool is_backward = of_stage && a->kind != CS_ACTION_FORWARD;

    if ((int)a->kind < 0 || (int)a->kind >= (int)CS_ACTION_COUNT) {
        return reject(w, "%d is no kind of action", (int)a->kind);
    }
    if (of_microbatch && (a->microbatch < 0 || a->microbatch >= w->m)) {
        return reject(w, "microbatch %d is none of %d", a->microbatch, w->m);
    }
    if (of_stage) {
        CS_TRY(check_stage_field(w, a));
    }
    if (is_message(a->kind)) {
        CS_TRY(check_edge_field(w, a));
    }
    if (!w->is_training && a->kind != CS_ACTION_FORWARD &&
        a->kind != CS_ACTION_SEND_ACTIVATION &&
        a->kind != CS_ACTION_RECV_ACTIVATION && a->kind != CS_ACTION_AGREE) {
        return reject(w, "a schedule without training has none of these");
    }
    if (is_backward && !w->graph->stages[a->stage].has_backward_input) {
        return reject(w, "the stage has no backward");
    }
    return CS_OK;
}

/* --- compute ---------------------------------------------------------- */

static cs_status check_forward_inputs(const csi_walk *w, const cs_action *a)
{
    const csi_topology *const t = w->topology;

    for (int32_t i = t->in_begin[a->stage]; i < t->in_begin[a->stage + 1];
         i++) {
        const int32_t edge = t->in_edges[i];
        const int32_t from = w->graph->edges[edge].from;

        if (csi_edge_has_messages(w->graph, &w->graph->edges[edge])) {
            if (!csi_walk_lane(w, edge, false)->is_received[a->microbatch]) {
                return reject(w, "its input over edge %d has not been received",
                              edge);
            }
        } else if ((*csi_walk_did(w, from, a->microbatch) & CSI_DID_FORWARD) ==
                   0) {
            return reject(w, "the forward of stage %d has not run", from);
        }
    }
    return CS_OK;
}

static cs_status check_backward_inputs(const csi_walk *w, const cs_action *a)
{
    const csi_topology *const t = w->topology;

    for (int32_t i = t->out_begin[a->stage]; i < t->out_begin[a->stage + 1];
         i++) {
        const int32_t edge = t->out_edges[i];
        const int32_t to = w->graph->edges[edge].to;

        if (csi_edge_has_messages(w->graph, &w->graph->edges[edge])) {
            if (!csi_walk_lane(w, edge, true)->is_received[a->microbatch]) {
                return reject(w,
                              "its gradient over edge %d has not been received",
                              edge);
            }
        } else if ((*csi_walk_did(w, to, a->microbatch) &
                    CSI_DID_BACKWARD_INPUT) == 0) {
            return reject(w, "the backward of stage %d has not run", to);
        }
    }
    return CS_OK;
}

/* Gradients add up in microbatch order, in both halves: that is what makes
 * the bits the same in every schedule. */
static cs_status check_turn(const csi_walk *w, const cs_action *a,
                            int32_t *n_done)
{
    if (a->microbatch != *n_done) {
        return reject(w, "out of order: microbatch %d is next", *n_done);
    }
    (*n_done)++;
    return CS_OK;
}

static cs_status run_compute(const csi_walk *w, const cs_action *a)
{
    uint8_t *const did = csi_walk_did(w, a->stage, a->microbatch);
    uint8_t bit = CSI_DID_FORWARD;

    if (a->kind == CS_ACTION_BACKWARD_INPUT) {
        bit = CSI_DID_BACKWARD_INPUT;
    } else if (a->kind == CS_ACTION_BACKWARD_WEIGHT) {
        bit = CSI_DID_BACKWARD_WEIGHT;
    }
    if ((*did & bit) != 0) {
        return reject(w, "runs twice");
    }
    if (bit != CSI_DID_FORWARD && (*did & CSI_DID_FORWARD) == 0) {
        return reject(w, "its forward has not run");
    }
    switch (bit) {
    case CSI_DID_FORWARD:
        CS_TRY(check_forward_inputs(w, a));
        break;
    case CSI_DID_BACKWARD_INPUT:
        CS_TRY(check_backward_inputs(w, a));
        CS_TRY(check_turn(w, a, &w->n_backward_input[a->stage]));
        break;
    default:
        if (!w->graph->stages[a->stage].has_backward_weight) {
            return reject(w, "the stage has no weight gradients");
        }
        if ((*did & CSI_DID_BACKWARD_INPUT) == 0) {
            return reject(w, "its BACKWARD_INPUT has not run");
        }
        CS_TRY(check_turn(w, a, &w->n_backward_weight[a->stage]));
        break;
    }
    *did = (uint8_t)(*did | bit);
    w->clock[w->rank]++;
    return CS_OK;
}

/* --- messages --------------------------------------------------------- */

static void set_clock_after(const csi_walk *w, int64_t time)
{
    if (w->clock[w->rank] < time) {
        w->clock[w->rank] = time;
    }
}

static cs_status run_send(const csi_walk *w, const cs_action *a, bool *ran)
{
    const bool is_gradient = csi_is_gradient_message(a->kind);
    const cs_edge *const edge = &w->graph->edges[a->edge];
    const int32_t source = is_gradient ? edge->to : edge->from;
    const uint8_t bit = is_gradient ? CSI_DID_BACKWARD_INPUT : CSI_DID_FORWARD;
    csi_lane *const l = csi_walk_lane(w, a->edge, is_gradient);

    if (l->sent_at[a->microbatch] >= 0) {
        return reject(w, "is sent twice");
    }
    if ((*csi_walk_did(w, source, a->microbatch) & bit) == 0) {
        return reject(w, "the %s of stage %d has not run",
                      is_gradient ? "backward" : "forward", source);
    }
    if (l->n_sent - l->n_received >= edge->n_slots) {
        *ran = false;
        return CS_OK;
    }
    if (l->n_sent >= edge->n_slots) {
        set_clock_after(w, l->received_at[l->n_sent - edge->n_slots]);
    }
    l->sent_at[a->microbatch] = w->clock[w->rank];
    l->n_sent++;
    return CS_OK;
}

static cs_status run_recv(const csi_walk *w, const cs_action *a, bool *ran)
{
    csi_lane *const l =
        csi_walk_lane(w, a->edge, csi_is_gradient_message(a->kind));

    if (l->is_received[a->microbatch]) {
        return reject(w, "is received twice");
    }
    if (l->sent_at[a->microbatch] < 0) {
        *ran = false;
        return CS_OK;
    }
    set_clock_after(w, l->sent_at[a->microbatch]);
    l->is_received[a->microbatch] = 1;
    l->received_at[l->n_received] = w->clock[w->rank];
    l->n_received++;
    return CS_OK;
}

/* --- the step's own actions ------------------------------------------- */

static cs_status run_reduce(const csi_walk *w, const cs_action *a)
{
    if (w->is_reduced[a->stage]) {
        return reject(w, "runs twice");
    }
    if (w->n_backward_input[a->stage] < w->m) {
        return reject(w, "%d of %d backwards of the stage have run",
                      w->n_backward_input[a->stage], w->m);
    }
    w->is_reduced[a->stage] = 1;
    return CS_OK;
}

static cs_status check_all_reduced(const csi_walk *w)
{
    const csi_topology *const t = w->topology;

    for (int32_t i = t->rank_begin[w->rank]; i < t->rank_begin[w->rank + 1];
         i++) {
        const int32_t stage = t->rank_stages[i];

        if (w->graph->stages[stage].has_backward_input &&
            !w->is_reduced[stage]) {
            return reject(w, "the gradients of stage %d are not reduced",
                          stage);
        }
    }
    return CS_OK;
}

static cs_status run_step_action(const csi_walk *w, const cs_action *a)
{
    uint8_t *const did = &w->step_did[w->rank];

    switch (a->kind) {
    case CS_ACTION_REDUCE_GRADIENTS:
        return run_reduce(w, a);
    case CS_ACTION_REDUCE_TIED:
        CS_TRY(check_all_reduced(w));
        if (!csi_rank_has_tied(w->topology, w->rank)) {
            return reject(w, "the rank has no tied parameters");
        }
        *did |= CSI_DID_TIED;
        return CS_OK;
    case CS_ACTION_GRADIENT_NORM:
        CS_TRY(check_all_reduced(w));
        if (csi_rank_has_tied(w->topology, w->rank) &&
            (*did & CSI_DID_TIED) == 0) {
            return reject(w, "wants one REDUCE_TIED before it");
        }
        *did |= CSI_DID_NORM;
        return CS_OK;
    case CS_ACTION_OPTIMIZER_STEP:
        if ((*did & ~CSI_DID_TIED) != CSI_DID_NORM) {
            return reject(w, "wants one GRADIENT_NORM before it");
        }
        *did |= CSI_DID_OPTIMIZER;
        return CS_OK;
    default:
        if (w->is_training &&
            (*did & ~CSI_DID_TIED) != (CSI_DID_NORM | CSI_DID_OPTIMIZER)) {
            return reject(w, "wants one OPTIMIZER_STEP before it");
        }
        *did |= CSI_DID_AGREE;
        return CS_OK;
    }
}

/* The step's actions come last, in their order, each once. */
static cs_status check_phase(const csi_walk *w, const cs_action *a)
{
    const uint8_t did = w->step_did[w->rank];
    bool has_reduced = false;

    if ((did & CSI_DID_AGREE) != 0) {
        return reject(w, "comes after the rank's AGREE");
    }
    if ((a->kind == CS_ACTION_GRADIENT_NORM && (did & ~CSI_DID_TIED) != 0) ||
        (a->kind == CS_ACTION_REDUCE_TIED && did != 0)) {
        return reject(w, "runs twice, or too late");
    }
    for (int32_t i = w->topology->rank_begin[w->rank];
         i < w->topology->rank_begin[w->rank + 1]; i++) {
        has_reduced |= w->is_reduced[w->topology->rank_stages[i]] != 0;
    }
    const bool is_work = csi_is_compute(a->kind) || is_message(a->kind);

    if ((did != 0 || has_reduced) && is_work) {
        return reject(w, "comes after the end of the step has begun");
    }
    if (did != 0 && a->kind == CS_ACTION_REDUCE_GRADIENTS) {
        return reject(w, "comes after the rank's GRADIENT_NORM");
    }
    return CS_OK;
}

/* --- one action, and the end ------------------------------------------- */

cs_status csi_walk_run(const csi_walk *w, bool *ran)
{
    const cs_action *const a = csi_walk_current(w);

    *ran = true;
    CS_TRY(check_fields(w, a));
    CS_TRY(check_phase(w, a));
    if (csi_is_compute(a->kind)) {
        return run_compute(w, a);
    }
    switch (a->kind) {
    case CS_ACTION_SEND_ACTIVATION:
    case CS_ACTION_SEND_GRADIENT:
        return run_send(w, a, ran);
    case CS_ACTION_RECV_ACTIVATION:
    case CS_ACTION_RECV_GRADIENT:
        return run_recv(w, a, ran);
    default:
        return run_step_action(w, a);
    }
}

static cs_status missing(int32_t rank, const cs_action *action)
{
    char text[CSI_ACTION_TEXT_BYTES];

    return CS_FAIL(CS_ERR_ARG, "rank %d: %s is missing", rank,
                   csi_action_describe(action, text));
}

static cs_status check_stage_is_done(const csi_walk *w, int32_t stage)
{
    const cs_stage *const s = &w->graph->stages[stage];
    const bool has_backward = w->is_training && s->has_backward_input;
    const bool has_weight = w->is_training && s->has_backward_weight;
    cs_action lost = {.stage = stage, .edge = -1};

    for (int32_t i = 0; i < w->m; i++) {
        const uint8_t did = *csi_walk_did(w, stage, i);

        lost.microbatch = i;
        lost.kind = CS_ACTION_FORWARD;
        if ((did & CSI_DID_FORWARD) == 0) {
            return missing(s->rank, &lost);
        }
        lost.kind = CS_ACTION_BACKWARD_INPUT;
        if (has_backward && (did & CSI_DID_BACKWARD_INPUT) == 0) {
            return missing(s->rank, &lost);
        }
        lost.kind = CS_ACTION_BACKWARD_WEIGHT;
        if (has_weight && (did & CSI_DID_BACKWARD_WEIGHT) == 0) {
            return missing(s->rank, &lost);
        }
    }
    return CS_OK;
}

/* A message that was sent must be taken: it would keep its slot and meet the
 * next step. What is received was sent. */
static cs_status check_edge_is_done(const csi_walk *w, int32_t edge)
{
    const cs_edge *const e = &w->graph->edges[edge];
    const bool has_gradient = w->is_training && e->has_gradient;
    cs_action lost = {.stage = -1, .edge = edge};

    if (!csi_edge_has_messages(w->graph, e)) {
        return CS_OK;
    }
    for (int32_t i = 0; i < w->m; i++) {
        lost.microbatch = i;
        lost.kind = CS_ACTION_RECV_ACTIVATION;
        if (!csi_walk_lane(w, edge, false)->is_received[i]) {
            return missing(w->graph->stages[e->to].rank, &lost);
        }
        lost.kind = CS_ACTION_RECV_GRADIENT;
        if (has_gradient && !csi_walk_lane(w, edge, true)->is_received[i]) {
            return missing(w->graph->stages[e->from].rank, &lost);
        }
    }
    return CS_OK;
}

cs_status csi_walk_check_done(const csi_walk *w)
{
    const cs_action agree = {.kind = CS_ACTION_AGREE,
                             .stage = -1,
                             .microbatch = -1,
                             .edge = -1};

    for (int32_t stage = 0; stage < w->graph->n_stages; stage++) {
        CS_TRY(check_stage_is_done(w, stage));
    }
    for (int32_t edge = 0; edge < w->graph->n_edges; edge++) {
        CS_TRY(check_edge_is_done(w, edge));
    }
    for (int32_t rank = 0; rank < w->graph->n_ranks; rank++) {
        if ((w->step_did[rank] & CSI_DID_AGREE) == 0) {
            return missing(rank, &agree);
        }
    }
    return CS_OK;
}
