/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From run-up lengths to the order of forwards and backwards on every rank.
 *
 * The order of one stage is fixed by its run-up w: w forwards, then backward
 * and forward in turn, then the rest of the backwards. A rank with one stage
 * has nothing left to decide. A rank with several takes, among what is ready,
 * the oldest turn, in a turn backwards before forwards, and then backwards from
 * the last stage and forwards from the first: which is, per microbatch,
 * forwards in stage order and backwards in reverse.
 *
 * "Ready" is found by running all ranks in lock-step, one forward or backward
 * per round, with the same rules as the executor (data there, slot free). So
 * the lists have one run without a deadlock; and as nothing in them depends on
 * timing, they have none in any run.
 */
#include "base/alloc.h"
#include "base/str.h"

#include "internal.h"

typedef struct progress {
    int32_t n_forward;  /* done before this round */
    int32_t n_backward; /* done before this round */
} progress;

typedef struct lockstep {
    const csi_topology *topology; /* borrowed */
    const int32_t *warmup;        /* borrowed */
    int32_t n_microbatches;
    bool is_training;
    progress *done; /* owned, [n_stages] */
    cs_action
        *picked; /* owned, [n_ranks]: of this round; microbatch -1: none */
} lockstep;

static bool has_backward(const lockstep *l, int32_t stage)
{
    return l->is_training &&
           l->topology->graph->stages[stage].has_backward_input;
}

/* Whether the next action in the stage's own order is a forward. */
static bool wants_forward(const lockstep *l, int32_t stage)
{
    const progress *const p = &l->done[stage];
    const bool may_run_ahead = !has_backward(l, stage) ||
                               p->n_forward - p->n_backward < l->warmup[stage];

    return p->n_forward < l->n_microbatches && may_run_ahead;
}

static bool forward_is_ready(const lockstep *l, int32_t stage)
{
    const csi_topology *const t = l->topology;
    const cs_stage_graph *const graph = t->graph;
    const int32_t microbatch = l->done[stage].n_forward;

    for (int32_t i = t->in_begin[stage]; i < t->in_begin[stage + 1]; i++) {
        const cs_edge *const edge = &graph->edges[t->in_edges[i]];

        if (l->done[edge->from].n_forward <= microbatch) {
            return false;
        }
    }
    for (int32_t i = t->out_begin[stage]; i < t->out_begin[stage + 1]; i++) {
        const cs_edge *const edge = &graph->edges[t->out_edges[i]];

        if (csi_edge_has_messages(graph, edge) &&
            microbatch - l->done[edge->to].n_forward >= edge->n_slots) {
            return false;
        }
    }
    return true;
}

static bool backward_is_ready(const lockstep *l, int32_t stage)
{
    const csi_topology *const t = l->topology;
    const cs_stage_graph *const graph = t->graph;
    const int32_t microbatch = l->done[stage].n_backward;

    if (l->done[stage].n_forward <= microbatch) {
        return false;
    }
    for (int32_t i = t->out_begin[stage]; i < t->out_begin[stage + 1]; i++) {
        const cs_edge *const edge = &graph->edges[t->out_edges[i]];

        if (l->done[edge->to].n_backward <= microbatch) {
            return false;
        }
    }
    for (int32_t i = t->in_begin[stage]; i < t->in_begin[stage + 1]; i++) {
        const cs_edge *const edge = &graph->edges[t->in_edges[i]];

        if (edge->has_gradient && csi_edge_has_messages(graph, edge) &&
            microbatch - l->done[edge->from].n_backward >= edge->n_slots) {
            return false;
        }
    }
    return true;
}

/* The next action of a stage if it is ready; microbatch -1 otherwise. */
static cs_action next_of(const lockstep *l, int32_t stage)
{
    const progress *const p = &l->done[stage];
    cs_action action = {.kind = CS_ACTION_FORWARD,
                        .stage = stage,
                        .microbatch = -1,
                        .edge = -1};

    if (wants_forward(l, stage)) {
        if (forward_is_ready(l, stage)) {
            action.microbatch = p->n_forward;
        }
    } else if (has_backward(l, stage) && p->n_backward < l->n_microbatches &&
               backward_is_ready(l, stage)) {
        action.kind = CS_ACTION_BACKWARD_INPUT;
        action.microbatch = p->n_backward;
    }
    return action;
}

/* Which turn of one-forward-one-backward an action belongs to: turn k runs
 * backward k and then forward k + w, the run-up has negative turns. */
static int32_t turn_of(const lockstep *l, const cs_action *a)
{
    return a->kind == CS_ACTION_FORWARD ? a->microbatch - l->warmup[a->stage]
                                        : a->microbatch;
}

/* Whether `a` goes before `b` on a rank where both are ready. */
static bool goes_first(const lockstep *l, const cs_action *a,
                       const cs_action *b)
{
    const int32_t turn_a = turn_of(l, a);
    const int32_t turn_b = turn_of(l, b);

    if (turn_a != turn_b) {
        return turn_a < turn_b;
    }
    if (a->kind != b->kind) {
        return a->kind == CS_ACTION_BACKWARD_INPUT;
    }
    return (a->stage < b->stage) == (a->kind == CS_ACTION_FORWARD);
}

static cs_action pick(const lockstep *l, int32_t rank)
{
    const csi_topology *const t = l->topology;
    cs_action best = {.microbatch = -1};

    for (int32_t i = t->rank_begin[rank]; i < t->rank_begin[rank + 1]; i++) {
        const cs_action action = next_of(l, t->rank_stages[i]);

        if (action.microbatch >= 0 &&
            (best.microbatch < 0 || goes_first(l, &action, &best))) {
            best = action;
        }
    }
    return best;
}

static void add_full_edge(csi_str *s, int32_t edge, const cs_edge *e,
                          const char *what)
{
    csi_str_addf(s, "%sedge %d (stage %d to %d) has %d %s slots",
                 s->length > 0 ? ", " : "", edge, e->from, e->to, e->n_slots,
                 what);
}

/* Nothing is ready and something is left: edges have too few slots. */
static cs_status fail_stuck(const lockstep *l)
{
    const cs_stage_graph *const graph = l->topology->graph;
    csi_str full = {0};

    for (int32_t i = 0; i < graph->n_edges; i++) {
        const cs_edge *const e = &graph->edges[i];
        const progress *const below = &l->done[e->from];
        const progress *const above = &l->done[e->to];

        if (!csi_edge_has_messages(graph, e)) {
            continue;
        }
        if (below->n_forward - above->n_forward >= e->n_slots) {
            add_full_edge(&full, i, e, "activation");
        }
        if (e->has_gradient &&
            above->n_backward - below->n_backward >= e->n_slots) {
            add_full_edge(&full, i, e, "gradient");
        }
    }
    cs_status st = csi_str_check(&full);

    if (st == CS_OK) {
        st = CS_FAIL(CS_ERR_ARG, "no schedule with so few slots: %s, all full",
                     csi_str_get(&full));
    }
    csi_str_fini(&full);
    return st;
}

/* One action per rank; `n_left` counts down. */
static cs_status run_round(lockstep *l, const csi_order *order,
                           int64_t *n_written, int64_t *n_left)
{
    const cs_stage_graph *const graph = l->topology->graph;
    bool is_stuck = true;

    for (int32_t rank = 0; rank < graph->n_ranks; rank++) {
        l->picked[rank] = pick(l, rank);
    }
    for (int32_t rank = 0; rank < graph->n_ranks; rank++) {
        const cs_action *const action = &l->picked[rank];

        if (action->microbatch < 0) {
            continue;
        }
        progress *const p = &l->done[action->stage];

        if (action->kind == CS_ACTION_FORWARD) {
            p->n_forward++;
        } else {
            p->n_backward++;
        }
        order->actions[order->begin[rank] + n_written[rank]] = *action;
        n_written[rank]++;
        (*n_left)--;
        is_stuck = false;
    }
    if (is_stuck) {
        return fail_stuck(l);
    }
    return CS_OK;
}

static int64_t count_actions(const lockstep *l, int32_t rank)
{
    const csi_topology *const t = l->topology;
    int64_t n = 0;

    for (int32_t i = t->rank_begin[rank]; i < t->rank_begin[rank + 1]; i++) {
        n += has_backward(l, t->rank_stages[i]) ? 2 : 1;
    }
    return n * l->n_microbatches;
}

static cs_status fill_order(lockstep *l, csi_order *order, int64_t *n_written)
{
    const int32_t n_ranks = l->topology->graph->n_ranks;

    for (int32_t rank = 0; rank < n_ranks; rank++) {
        order->begin[rank + 1] = order->begin[rank] + count_actions(l, rank);
    }
    int64_t n_left = order->begin[n_ranks];

    order->actions = csi_calloc((size_t)n_left, sizeof *order->actions);
    CS_CHECK(order->actions != NULL, CS_ERR_NOMEM,
             "no memory for a schedule of %d microbatches", l->n_microbatches);
    while (n_left > 0) {
        CS_TRY(run_round(l, order, n_written, &n_left));
    }
    return CS_OK;
}

cs_status csi_order_init(const csi_topology *topology, const int32_t *warmup,
                         int32_t n_microbatches, bool is_training,
                         csi_order *out)
{
    const size_t n_ranks = (size_t)topology->graph->n_ranks;
    lockstep l = {
        .topology = topology,
        .warmup = warmup,
        .n_microbatches = n_microbatches,
        .is_training = is_training,
        .done = csi_calloc((size_t)topology->graph->n_stages, sizeof *l.done),
        .picked = csi_calloc(n_ranks, sizeof *l.picked),
    };
    csi_order order = {
        .n_microbatches = n_microbatches,
        .is_training = is_training,
        .begin = csi_calloc(n_ranks + 1, sizeof *order.begin),
    };
    int64_t *const n_written = csi_calloc(n_ranks, sizeof *n_written);
    cs_status st = CS_OK;

    CS_CHECK_GOTO(undo,
                  l.done != NULL && l.picked != NULL && order.begin != NULL &&
                      n_written != NULL,
                  CS_ERR_NOMEM, "no memory for a schedule of %zu ranks",
                  n_ranks);
    CS_TRY_GOTO(undo, fill_order(&l, &order, n_written));
    *out = order;
    order = (csi_order){0};
undo:
    csi_order_fini(&order);
    csi_free(l.done);
    csi_free(l.picked);
    csi_free(n_written);
    return st;
}

void csi_order_fini(csi_order *order)
{
    csi_free(order->begin);
    csi_free(order->actions);
    *order = (csi_order){0};
}
