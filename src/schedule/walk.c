/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executes action lists on paper, with the rules of the executor: a RECV waits
 * for its message, a SEND waits for a free slot of its edge, everything else
 * runs at once but must find its inputs. All ranks are advanced until nobody
 * can go on: either all lists are done, or who still waits is a deadlock. The
 * result does not depend on the order in which ranks are advanced, because
 * each message has one sender, one receiver and one place in both lists.
 *
 * Time is counted on the way (compute 1, messages 0), for the drawing.
 */
#include "walk.h"

#include "base/alloc.h"
#include "base/str.h"

#include <inttypes.h>

static int64_t position_of(const csi_walk *w, int32_t rank)
{
    return w->next[rank] - w->schedule->begin[rank];
}

/* Runs one rank until it waits or is done. */
static cs_status advance(csi_walk *w, int32_t rank, bool *moved)
{
    bool ran = true;

    w->rank = rank;
    while (w->next[rank] < w->schedule->begin[rank + 1]) {
        CS_TRY(csi_walk_run(w, &ran));
        if (!ran) {
            break;
        }
        const int64_t end = w->clock[rank];
        const bool took_time = csi_is_compute(csi_walk_current(w)->kind);

        w->start[w->next[rank]] = took_time ? end - 1 : end;
        w->next[rank]++;
        *moved = true;
    }
    return CS_OK;
}

/* The sentence names everybody who waits, as far as it has room. */
static cs_status fail_deadlock(csi_walk *w)
{
    char text[CSI_ACTION_TEXT_BYTES];
    csi_str who = {0};

    for (int32_t rank = 0; rank < w->graph->n_ranks; rank++) {
        if (w->next[rank] == w->schedule->begin[rank + 1]) {
            continue;
        }
        w->rank = rank;
        const cs_action *const a = csi_walk_current(w);
        const csi_lane *const l =
            csi_walk_lane(w, a->edge, csi_is_gradient_message(a->kind));
        const bool is_send = a->kind == CS_ACTION_SEND_ACTIVATION ||
                             a->kind == CS_ACTION_SEND_GRADIENT;

        csi_str_addf(&who, "%srank %d waits at action %" PRId64 " (%s) ",
                     who.length > 0 ? "; " : "", rank, position_of(w, rank),
                     csi_action_describe(a, text));
        if (is_send) {
            csi_str_addf(&who, "for one of %d slots",
                         l->n_sent - l->n_received);
        } else {
            csi_str_add(&who, "for a message that is not sent");
        }
    }
    cs_status st = csi_str_check(&who);

    if (st == CS_OK) {
        st = CS_FAIL(CS_ERR_ARG, "deadlock: %s", csi_str_get(&who));
    }
    csi_str_fini(&who);
    return st;
}

static cs_status advance_all(csi_walk *w, bool *moved)
{
    *moved = false;
    for (int32_t rank = 0; rank < w->graph->n_ranks; rank++) {
        CS_TRY(advance(w, rank, moved));
    }
    return CS_OK;
}

static cs_status run_all(csi_walk *w)
{
    bool moved = true;

    while (moved) {
        CS_TRY(advance_all(w, &moved));
    }
    for (int32_t rank = 0; rank < w->graph->n_ranks; rank++) {
        if (w->next[rank] < w->schedule->begin[rank + 1]) {
            return fail_deadlock(w);
        }
    }
    return CS_OK;
}

static void fini_walk(csi_walk *w)
{
    csi_free(w->did);
    csi_free(w->n_backward_input);
    csi_free(w->n_backward_weight);
    csi_free(w->is_reduced);
    csi_free(w->step_did);
    csi_free(w->lanes);
    csi_free(w->times);
    csi_free(w->flags);
    csi_free(w->next);
    csi_free(w->clock);
}

static void init_lanes(csi_walk *w)
{
    const int64_t m = w->m;

    for (int64_t i = 0; i < (int64_t)w->graph->n_edges * 2; i++) {
        w->lanes[i].sent_at = w->times + 2 * i * m;
        w->lanes[i].received_at = w->times + (2 * i + 1) * m;
        w->lanes[i].is_received = w->flags + i * m;
        for (int64_t k = 0; k < m; k++) {
            w->lanes[i].sent_at[k] = -1;
        }
    }
}

static cs_status init_walk(csi_walk *w)
{
    const size_t n_stages = (size_t)w->graph->n_stages;
    const size_t n_ranks = (size_t)w->graph->n_ranks;
    const size_t n_lanes = (size_t)w->graph->n_edges * 2;
    const size_t m = (size_t)w->m;

    w->did = csi_calloc(n_stages * m, sizeof *w->did);
    w->n_backward_input = csi_calloc(n_stages, sizeof *w->n_backward_input);
    w->n_backward_weight = csi_calloc(n_stages, sizeof *w->n_backward_weight);
    w->is_reduced = csi_calloc(n_stages, sizeof *w->is_reduced);
    w->step_did = csi_calloc(n_ranks, sizeof *w->step_did);
    w->lanes = csi_calloc(n_lanes, sizeof *w->lanes);
    w->times = csi_calloc(n_lanes * m * 2, sizeof *w->times);
    w->flags = csi_calloc(n_lanes * m, sizeof *w->flags);
    w->next = csi_calloc(n_ranks, sizeof *w->next);
    w->clock = csi_calloc(n_ranks, sizeof *w->clock);
    CS_CHECK(w->did != NULL && w->n_backward_input != NULL &&
                 w->n_backward_weight != NULL && w->is_reduced != NULL &&
                 w->step_did != NULL && w->lanes != NULL && w->times != NULL &&
                 w->flags != NULL && w->next != NULL && w->clock != NULL,
             CS_ERR_NOMEM, "no memory to check a schedule of %zu ranks",
             n_ranks);
    init_lanes(w);
    for (size_t rank = 0; rank < n_ranks; rank++) {
        w->next[rank] = w->schedule->begin[rank];
    }
    return CS_OK;
}

cs_status csi_schedule_walk(const csi_topology *topology,
                            const cs_schedule *schedule, bool is_training,
                            int64_t *start)
{
    csi_walk w = {
        .topology = topology,
        .graph = topology->graph,
        .schedule = schedule,
        .is_training = is_training,
        .m = schedule->n_microbatches,
    };

    w.start = start;
    cs_status st = init_walk(&w);

    if (st == CS_OK) {
        st = run_all(&w);
    }
    if (st == CS_OK) {
        st = csi_walk_check_done(&w);
    }
    fini_walk(&w);
    return st;
}
