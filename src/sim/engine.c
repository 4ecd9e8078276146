/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop. Ranks that can go on are advanced until none can; then time
 * jumps to the next end of a computation or arrival of a message. Each action
 * costs O(log ranks).
 */
#include "engine.h"

#include "base/alloc.h"

#include <math.h>

static bool is_compute(cs_action_kind kind)
{
    return kind == CS_ACTION_FORWARD || kind == CS_ACTION_BACKWARD_INPUT ||
           kind == CS_ACTION_BACKWARD_WEIGHT;
}

static void push_ready(csi_sim *sim, int32_t rank)
{
    const int32_t n_ranks = sim->input->graph->n_ranks;

    sim->ready[(sim->ready_begin + sim->n_ready) % n_ranks] = rank;
    sim->n_ready++;
}

static int32_t pop_ready(csi_sim *sim)
{
    const int32_t rank = sim->ready[sim->ready_begin];

    sim->ready_begin = (sim->ready_begin + 1) % sim->input->graph->n_ranks;
    sim->n_ready--;
    return rank;
}

static const cs_action *action_of(const csi_sim *sim, int32_t rank)
{
    return &sim->input->schedule->actions[sim->ranks[rank].next];
}

static cs_sim_event *event_of(const csi_sim *sim, int32_t rank)
{
    return &sim->result->events[sim->ranks[rank].next];
}

/* Ends the rank's action at once and goes to the next. */
static void pass(csi_sim *sim, int32_t rank)
{
    *event_of(sim, rank) =
        (cs_sim_event){.start_s = sim->now_s, .end_s = sim->now_s};
    sim->ranks[rank].next++;
}

/* --- computing -------------------------------------------------------- */

static double cost_of(const csi_sim *sim, int32_t rank, const cs_action *a)
{
    const cs_sim_input *const input = sim->input;

    if (a->kind == CS_ACTION_OPTIMIZER_STEP) {
        return input->optimizer_s != NULL ? input->optimizer_s[rank] : 0.0;
    }
    const cs_stage_cost *const cost =
        &input->cost[(int64_t)a->stage * input->schedule->n_microbatches +
                     a->microbatch];

    switch (a->kind) {
    case CS_ACTION_FORWARD:
        return cost->forward_s;
    case CS_ACTION_BACKWARD_INPUT:
        return cost->backward_input_s;
    default:
        return cost->backward_weight_s;
    }
}

static void start_compute(csi_sim *sim, int32_t rank)
{
    const cs_action *const a = action_of(sim, rank);

    if (a->kind == CS_ACTION_FORWARD) {
        const int32_t n_live = ++sim->n_live[a->stage];

        if (n_live > sim->result->peak_microbatches[a->stage]) {
            sim->result->peak_microbatches[a->stage] = n_live;
        }
    }
    event_of(sim, rank)->start_s = sim->now_s;
    sim->n_computing++;
    csi_timer_push(&sim->computing, sim->work_s + cost_of(sim, rank, a), rank);
}

static void end_compute(csi_sim *sim, int32_t rank)
{
    const cs_action *const a = action_of(sim, rank);
    cs_sim_event *const event = event_of(sim, rank);

    event->end_s = sim->now_s;
    sim->result->busy_s[rank] += event->end_s - event->start_s;
    if (is_compute(a->kind) && a->kind == sim->last_kind[a->stage]) {
        sim->n_live[a->stage]--;
    }
    sim->n_computing--;
    sim->ranks[rank].next++;
    push_ready(sim, rank);
}

/* --- messages --------------------------------------------------------- */

typedef struct message {
    csi_sim_lane *lane;
    int32_t sender, receiver; /* ranks */
    int32_t n_slots;
    double n_bytes;
} message;

static message message_of(const csi_sim *sim, const cs_action *a)
{
    const cs_sim_input *const input = sim->input;
    const cs_edge *const edge = &input->graph->edges[a->edge];
    const bool is_gradient = a->kind == CS_ACTION_SEND_GRADIENT ||
                             a->kind == CS_ACTION_RECV_GRADIENT;
    const int32_t below = input->graph->stages[edge->from].rank;
    const int32_t above = input->graph->stages[edge->to].rank;
    const int64_t at =
        (int64_t)a->edge * input->schedule->n_microbatches + a->microbatch;

    return (message){
        .lane = &sim->lanes[(int64_t)a->edge * 2 + (is_gradient ? 1 : 0)],
        .sender = is_gradient ? above : below,
        .receiver = is_gradient ? below : above,
        .n_slots = edge->n_slots,
        .n_bytes = input->edge_bytes[at],
    };
}

/* false: waits for a slot. */
static bool send(csi_sim *sim, int32_t rank, const cs_action *a)
{
    const message msg = message_of(sim, a);
    csi_sim_rank *const r = &sim->ranks[rank];

    if (msg.n_bytes == 0.0) {
        pass(sim, rank);
        return true;
    }
    if (msg.lane->n_under_way >= msg.n_slots) {
        msg.lane->sender_waits = true;
        return false;
    }
    const double start_s = fmax(sim->now_s, r->link_free_s);
    const double sent_s = start_s + msg.n_bytes / sim->input->link_bytes_per_s;
    const double arrival_s = sent_s + sim->input->link_latency_s;

    r->link_free_s = sent_s;
    *event_of(sim, rank) =
        (cs_sim_event){.start_s = start_s, .end_s = arrival_s};
    r->next++;
    msg.lane->n_under_way++;
    msg.lane->arrival_s[a->microbatch] = arrival_s;
    if (msg.lane->awaited == a->microbatch) {
        msg.lane->awaited = -1;
        csi_timer_push(&sim->flying, arrival_s, msg.receiver);
    }
    return true;
}

/* false: waits for the message, which is under way or not yet sent. */
static bool recv(csi_sim *sim, int32_t rank, const cs_action *a)
{
    const message msg = message_of(sim, a);
    const double arrival_s = msg.lane->arrival_s[a->microbatch];

    if (msg.n_bytes == 0.0) {
        pass(sim, rank);
        return true;
    }
    if (arrival_s < 0.0) {
        msg.lane->awaited = a->microbatch;
        return false;
    }
    if (arrival_s > sim->now_s) {
        csi_timer_push(&sim->flying, arrival_s, rank);
        return false;
    }
    pass(sim, rank);
    msg.lane->n_under_way--;
    if (msg.lane->sender_waits) {
        msg.lane->sender_waits = false;
        push_ready(sim, msg.sender);
    }
    return true;
}

/* --- all ranks -------------------------------------------------------- */

/* The last rank to come lets all go on, itself included. */
static void meet(csi_sim *sim, cs_action_kind kind)
{
    const int32_t n_ranks = sim->input->graph->n_ranks;
    int32_t *const n_met = &sim->n_met[kind == CS_ACTION_AGREE ? 1 : 0];

    if (++*n_met < n_ranks) {
        return;
    }
    for (int32_t rank = 0; rank < n_ranks; rank++) {
        pass(sim, rank);
        push_ready(sim, rank);
    }
}

static void advance(csi_sim *sim, int32_t rank)
{
    bool goes_on = true;

    while (goes_on &&
           sim->ranks[rank].next < sim->input->schedule->begin[rank + 1]) {
        const cs_action *const a = action_of(sim, rank);

        switch (a->kind) {
        case CS_ACTION_SEND_ACTIVATION:
        case CS_ACTION_SEND_GRADIENT:
            goes_on = send(sim, rank, a);
            break;
        case CS_ACTION_RECV_ACTIVATION:
        case CS_ACTION_RECV_GRADIENT:
            goes_on = recv(sim, rank, a);
            break;
        case CS_ACTION_REDUCE_TIED:
        case CS_ACTION_REDUCE_GRADIENTS: /* its time is the optimizer's */
            pass(sim, rank);
            break;
        case CS_ACTION_GRADIENT_NORM:
        case CS_ACTION_AGREE:
            meet(sim, a->kind);
            goes_on = false;
            break;
        default:
            start_compute(sim, rank);
            goes_on = false;
            break;
        }
    }
}

/* How fast the work clock runs. */
static double speed_of(const csi_sim *sim)
{
    const int32_t n_cores = sim->input->n_cores;

    return n_cores > 0 && sim->n_computing > n_cores
               ? (double)n_cores / sim->n_computing
               : 1.0;
}

/* Jumps to the next end of a computation or arrival; one of them exists. */
static void jump(csi_sim *sim)
{
    const double speed = speed_of(sim);
    const double end_s =
        sim->computing.n > 0
            ? sim->now_s +
                  fmax(sim->computing.timers[0].key - sim->work_s, 0.0) / speed
            : INFINITY;
    const double arrival_s =
        sim->flying.n > 0 ? sim->flying.timers[0].key : INFINITY;

    if (end_s <= arrival_s) {
        sim->work_s = sim->computing.timers[0].key;
        sim->now_s = end_s;
        end_compute(sim, csi_timer_pop(&sim->computing));
    } else {
        sim->work_s += (arrival_s - sim->now_s) * speed;
        sim->now_s = arrival_s;
        push_ready(sim, csi_timer_pop(&sim->flying));
    }
}

cs_status csi_sim_play(csi_sim *sim)
{
    const cs_schedule *const schedule = sim->input->schedule;

    for (int32_t rank = 0; rank < schedule->n_ranks; rank++) {
        push_ready(sim, rank);
    }
    while (sim->n_ready > 0 || sim->computing.n > 0 || sim->flying.n > 0) {
        if (sim->n_ready > 0) {
            advance(sim, pop_ready(sim));
        } else {
            jump(sim);
        }
    }
    for (int32_t rank = 0; rank < schedule->n_ranks; rank++) {
        CS_CHECK(sim->ranks[rank].next == schedule->begin[rank + 1],
                 CS_ERR_INTERNAL,
                 "simulator: rank %d of a checked schedule "
                 "stands still",
                 rank);
    }
    return CS_OK;
}

/* --- life ------------------------------------------------------------- */

static void init_lanes(csi_sim *sim)
{
    const int64_t m = sim->input->schedule->n_microbatches;

    for (int64_t i = 0; i < (int64_t)sim->input->graph->n_edges * 2; i++) {
        sim->lanes[i].awaited = -1;
        sim->lanes[i].arrival_s = sim->arrivals_s + i * m;
        for (int64_t k = 0; k < m; k++) {
            sim->lanes[i].arrival_s[k] = -1.0;
        }
    }
}

/* A microbatch is held until its last half is done. */
static void find_last_kinds(csi_sim *sim)
{
    const cs_schedule *const schedule = sim->input->schedule;

    for (int64_t i = 0; i < schedule->begin[schedule->n_ranks]; i++) {
        const cs_action *const a = &schedule->actions[i];

        if (is_compute(a->kind) && a->kind > sim->last_kind[a->stage]) {
            sim->last_kind[a->stage] = a->kind;
        }
    }
}

cs_status csi_sim_init(csi_sim *sim, const cs_sim_input *input,
                       cs_sim_result *result)
{
    const size_t n_ranks = (size_t)input->graph->n_ranks;
    const size_t n_stages = (size_t)input->graph->n_stages;
    const size_t n_lanes = (size_t)input->graph->n_edges * 2;
    const size_t m = (size_t)input->schedule->n_microbatches;

    *sim = (csi_sim){.input = input, .result = result};
    sim->ranks = csi_calloc(n_ranks, sizeof *sim->ranks);
    sim->lanes = csi_calloc(n_lanes, sizeof *sim->lanes);
    sim->arrivals_s = csi_calloc(n_lanes * m, sizeof *sim->arrivals_s);
    sim->last_kind = csi_calloc(n_stages, sizeof *sim->last_kind);
    sim->n_live = csi_calloc(n_stages, sizeof *sim->n_live);
    sim->ready = csi_calloc(n_ranks, sizeof *sim->ready);
    sim->computing.timers = csi_calloc(n_ranks, sizeof(csi_timer));
    sim->flying.timers = csi_calloc(n_ranks, sizeof(csi_timer));
    CS_CHECK(sim->ranks != NULL && sim->lanes != NULL &&
                 sim->arrivals_s != NULL && sim->last_kind != NULL &&
                 sim->n_live != NULL && sim->ready != NULL &&
                 sim->computing.timers != NULL && sim->flying.timers != NULL,
             CS_ERR_NOMEM, "no memory to simulate %zu ranks", n_ranks);
    init_lanes(sim);
    find_last_kinds(sim);
    for (size_t rank = 0; rank < n_ranks; rank++) {
        sim->ranks[rank].next = input->schedule->begin[rank];
    }
    return CS_OK;
}

void csi_sim_fini(csi_sim *sim)
{
    csi_free(sim->ranks);
    csi_free(sim->lanes);
    csi_free(sim->arrivals_s);
    csi_free(sim->last_kind);
    csi_free(sim->n_live);
    csi_free(sim->ready);
    csi_free(sim->computing.timers);
    csi_free(sim->flying.timers);
    *sim = (csi_sim){0};
}
