/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator against closed forms, bounds and conservation laws: the step
 * of a pipeline, its bubble, what shared cores and links cost, what frozen
 * parts save.
 */
#include "cornstarch/sim.h"

#include "base/alloc.h"

#include "../schedule/graphs.h"
#include "support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_RANDOM = 400,
    MAX_MICROBATCHES = 16
};

#define TINY 1e-9

/* One simulation with all that it borrows. */
typedef struct run {
    cst_graph g;
    cs_schedule *schedule; /* owned */
    cs_stage_cost cost[CST_MAX_STAGES * MAX_MICROBATCHES];
    double edge_bytes[CST_MAX_STAGES * MAX_MICROBATCHES];
    double optimizer_s[CST_MAX_STAGES];
    cs_sim_input input;
    cs_sim_result result; /* owned */
} run;

/* Schedules r->g; costs are equal, links free, cores enough. */
static void prepare(run *r, cs_schedule_kind kind, int32_t m, cs_stage_cost c)
{
    assert_ok(cs_schedule_create(&r->g.graph, kind, m, true, &r->schedule));
    for (int32_t i = 0; i < CST_MAX_STAGES * MAX_MICROBATCHES; i++) {
        r->cost[i] = c;
        r->edge_bytes[i] = 1.0;
    }
    memset(r->optimizer_s, 0, sizeof r->optimizer_s);
    r->input = (cs_sim_input){.graph = &r->g.graph,
                              .schedule = r->schedule,
                              .cost = r->cost,
                              .edge_bytes = r->edge_bytes,
                              .link_bytes_per_s = INFINITY,
                              .optimizer_s = r->optimizer_s};
    r->result = (cs_sim_result){0};
}

static void simulate(run *r)
{
    cs_sim_result_fini(&r->result);
    assert_ok(cs_sim_run(&r->input, &r->result));
}

static void finish(run *r)
{
    cs_schedule_destroy(&r->schedule);
    cs_sim_result_fini(&r->result);
}

static void prepare_chain(run *r, cs_schedule_kind kind, int32_t p, int32_t m,
                          cs_stage_cost c)
{
    cst_graph_stages(&r->g, 1, &p);
    cst_graph_place(&r->g, CST_LAYOUT_OWN, 0);
    cst_graph_slots(&r->g, MAX_MICROBATCHES);
    prepare(r, kind, m, c);
}

/* --- closed forms ----------------------------------------------------- */

static void a_chain_has_the_bubble_of_the_textbook(void **state)
{
    static const cs_schedule_kind KINDS[] = {CS_SCHEDULE_1F1B,
                                             CS_SCHEDULE_GPIPE};
    /* The weight half is empty: a halved backward is better than the book. */
    const cs_stage_cost cost = {1.0, 2.0, 0.0};

    (void)state;
    for (int32_t i = 0; i < 2 * 8 * MAX_MICROBATCHES; i++) {
        const int32_t p = 1 + i / 2 % 8;
        const int32_t m = 1 + i / 16;
        run r;

        prepare_chain(&r, KINDS[i % 2], p, m, cost);
        simulate(&r);
        assert_near(r.result.step_s, 3.0 * (m + p - 1), TINY);
        assert_near(r.result.bubble, (p - 1.0) / (m + p - 1.0), TINY);
        for (int32_t s = 0; s < p; s++) {
            const int32_t depth = KINDS[i % 2] == CS_SCHEDULE_GPIPE ? m : p - s;

            assert_int_equal(r.result.peak_microbatches[s],
                             depth < m ? depth : m);
            assert_near(r.result.busy_s[s], 3.0 * m, TINY);
        }
        finish(&r);
    }
}

/* 2 ranks, 1 microbatch: F0 F1 B1, then W1 runs beside B0 W0. */
static void weight_halves_fill_the_bubble(void **state)
{
    run r;

    (void)state;
    prepare_chain(&r, CS_SCHEDULE_1F1B, 2, 1, (cs_stage_cost){1.0, 1.0, 1.0});
    simulate(&r);
    assert_near(r.result.step_s, 5.0, TINY);
    finish(&r);
}

static void slow_links_delay_what_waits_for_them(void **state)
{
    run r;

    (void)state;
    prepare_chain(&r, CS_SCHEDULE_1F1B, 2, 1, (cs_stage_cost){1.0, 1.0, 0.0});
    r.input.link_latency_s = 0.25;
    r.input.link_bytes_per_s = 100.0;
    r.edge_bytes[0] = 50.0;
    simulate(&r);
    /* F0, 0.5 + 0.25 of link, F1 B1, link again, B0 */
    assert_near(r.result.step_s, 4.0 + 2 * 0.75, TINY);
    /* rank 0: 0F0 s0>0 ... : the send's event is the flight */
    assert_near(r.result.events[1].start_s, 1.0, TINY);
    assert_near(r.result.events[1].end_s, 1.75, TINY);
    /* A message of no bytes does not exist: nobody waits for it. */
    r.edge_bytes[0] = 0.0;
    simulate(&r);
    assert_near(r.result.step_s, 2.0, TINY);
    finish(&r);
}

/* Two messages at once share the sender's link one after the other. */
static void a_link_carries_one_message_at_a_time(void **state)
{
    run r;

    (void)state;
    prepare_chain(&r, CS_SCHEDULE_GPIPE, 2, 4, (cs_stage_cost){0.0, 0.0, 0.0});
    r.input.link_bytes_per_s = 1.0;
    for (int32_t i = 0; i < 4; i++) {
        r.edge_bytes[i] = 2.0;
    }
    simulate(&r);
    /* four activations of 2 s; four gradients follow the last of them */
    assert_near(r.result.step_s, 8.0 + 8.0, TINY);
    finish(&r);
}

static void slots_hold_a_fast_sender_back(void **state)
{
    run r;

    (void)state;
    cst_graph_stages(&r.g, 2, (const int32_t[]){1, 1});
    r.g.is_trainable[0] = false;
    cst_graph_place(&r.g, CST_LAYOUT_OWN, 0);
    for (int32_t n_slots = 1; n_slots <= 8; n_slots++) {
        cst_graph_slots(&r.g, n_slots);
        prepare(&r, CS_SCHEDULE_1F1B, 8, (cs_stage_cost){1.0, 3.0, 0.0});
        simulate(&r);
        /* Forward i is computed while i - slots - 1 is being received: the
         * language model takes microbatch k at 1 + 4 k. */
        const int32_t last = 7 - n_slots;
        const double sent_s = last >= 0 ? 1.0 + 4.0 * last : 8.0;
        const int64_t at = 2 * 7 + 1; /* s0>7 */

        assert_near(r.result.events[at].start_s, fmax(sent_s, 8.0), TINY);
        assert_near(r.result.step_s, 1.0 + 8 * 4.0, TINY);
        finish(&r);
    }
}

static void the_optimizer_waits_for_all_ranks(void **state)
{
    run r;

    (void)state;
    prepare_chain(&r, CS_SCHEDULE_1F1B, 3, 2, (cs_stage_cost){1.0, 1.0, 0.0});
    r.optimizer_s[1] = 5.0;
    r.optimizer_s[2] = 1.0;
    simulate(&r);
    assert_near(r.result.step_s, 2.0 * 4 + 5.0, TINY);
    assert_near(r.result.busy_s[2], 4.0 + 1.0, TINY);
    finish(&r);
}

static void shared_cores_slow_all_alike(void **state)
{
    run r;

    (void)state;
    /* Two encoders and the model, one forward each, two cores. */
    cst_graph_stages(&r.g, 4, (const int32_t[]){1, 1, 1, 1});
    memset(r.g.is_trainable, 0, sizeof r.g.is_trainable);
    cst_graph_place(&r.g, CST_LAYOUT_OWN, 0);
    prepare(&r, CS_SCHEDULE_1F1B, 1, (cs_stage_cost){1.0, 0.0, 0.0});
    r.cost[2].forward_s = 2.0;
    r.input.n_cores = 2;
    simulate(&r);
    /* Three encoders at 2/3: two are done at 1.5; the third has 1.0 left and
     * a core for itself; then the model. */
    assert_near(r.result.events[0].end_s, 1.5, TINY);
    assert_near(r.result.step_s, 1.5 + 1.0 + 1.0, TINY);
    r.input.n_cores = 3;
    simulate(&r);
    assert_near(r.result.step_s, 3.0, TINY);
    finish(&r);
}

/* --- bounds and laws over random graphs ------------------------------- */

static double random_s(uint64_t seed, uint64_t i)
{
    return 0.1 + csi_rng_uniform(seed, 5, i);
}

static void prepare_random(run *r, uint64_t seed)
{
    const int32_t m = 1 + (int32_t)csi_rng_below(seed, 3, 1, MAX_MICROBATCHES);

    cst_graph_random(&r->g, seed);
    prepare(r, seed % 3 == 0 ? CS_SCHEDULE_GPIPE : CS_SCHEDULE_1F1B, m,
            (cs_stage_cost){0.0, 0.0, 0.0});
    for (int32_t i = 0; i < CST_MAX_STAGES * MAX_MICROBATCHES; i++) {
        r->cost[i].forward_s = random_s(seed, (uint64_t)i * 4);
        r->cost[i].backward_input_s = random_s(seed, (uint64_t)i * 4 + 1);
        r->cost[i].backward_weight_s = random_s(seed, (uint64_t)i * 4 + 2);
        r->edge_bytes[i] = random_s(seed, (uint64_t)i * 4 + 3);
    }
    for (int32_t i = 0; i < CST_MAX_STAGES; i++) {
        r->optimizer_s[i] = random_s(seed, 100000 + (uint64_t)i);
    }
    r->input.link_bytes_per_s = 3.0;
    r->input.link_latency_s = 0.05;
}

/* Work of all that is in the schedule, per rank. */
static void add_up_work(const run *r, double *work_s)
{
    const cs_stage_graph *const graph = &r->g.graph;
    const int32_t m = r->schedule->n_microbatches;

    for (int32_t rank = 0; rank < graph->n_ranks; rank++) {
        work_s[rank] = r->optimizer_s[rank];
    }
    for (int32_t i = 0; i < graph->n_stages * m; i++) {
        const cs_stage *const s = &graph->stages[i / m];
        const cs_stage_cost *const c = &r->cost[i];

        work_s[s->rank] += c->forward_s;
        work_s[s->rank] += s->has_backward_input ? c->backward_input_s : 0.0;
        work_s[s->rank] += s->has_backward_weight ? c->backward_weight_s : 0.0;
    }
}

/* Time that an edge costs at least; 0 inside a rank. */
static double flight_s(const run *r, int32_t edge, int32_t microbatch)
{
    const cs_edge *const e = &r->g.edges[edge];
    const int32_t m = r->schedule->n_microbatches;

    if (r->g.stages[e->from].rank == r->g.stages[e->to].rank) {
        return 0.0;
    }
    return r->input.link_latency_s +
           r->edge_bytes[edge * m + microbatch] / r->input.link_bytes_per_s;
}

/* Longest way of one microbatch up to the end and down again. */
static double critical_s(const run *r, int32_t microbatch)
{
    const cs_stage_graph *const graph = &r->g.graph;
    const int32_t m = r->schedule->n_microbatches;
    double up_s[CST_MAX_STAGES] = {0.0};
    double down_s[CST_MAX_STAGES] = {0.0};
    double longest_s = 0.0;

    for (int32_t stage = 0; stage < graph->n_stages; stage++) {
        for (int32_t e = 0; e < graph->n_edges; e++) {
            if (graph->edges[e].to == stage) {
                up_s[stage] = fmax(up_s[stage], up_s[graph->edges[e].from] +
                                                    flight_s(r, e, microbatch));
            }
        }
        up_s[stage] += r->cost[stage * m + microbatch].forward_s;
        longest_s = fmax(longest_s, up_s[stage]);
    }
    for (int32_t stage = graph->n_stages - 1; stage >= 0; stage--) {
        if (!graph->stages[stage].has_backward_input) {
            continue;
        }
        down_s[stage] = up_s[stage];
        for (int32_t e = 0; e < graph->n_edges; e++) {
            if (graph->edges[e].from == stage) {
                down_s[stage] =
                    fmax(down_s[stage], down_s[graph->edges[e].to] +
                                            flight_s(r, e, microbatch));
            }
        }
        down_s[stage] += r->cost[stage * m + microbatch].backward_input_s;
        longest_s = fmax(longest_s, down_s[stage]);
    }
    return longest_s;
}

static void no_step_beats_its_critical_path_or_busiest_rank(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < N_RANDOM; seed++) {
        double work_s[CST_MAX_STAGES];
        double total_s = 0.0;
        run r;

        prepare_random(&r, seed);
        simulate(&r);
        add_up_work(&r, work_s);
        for (int32_t rank = 0; rank < r.g.graph.n_ranks; rank++) {
            assert_near(r.result.busy_s[rank], work_s[rank], TINY);
            assert_true(r.result.step_s >= work_s[rank] - TINY);
            total_s += work_s[rank];
        }
        for (int32_t i = 0; i < r.schedule->n_microbatches; i++) {
            assert_true(r.result.step_s >= critical_s(&r, i) - TINY);
        }
        assert_near(r.result.bubble,
                    1.0 - total_s / (r.g.graph.n_ranks * r.result.step_s),
                    TINY);
        finish(&r);
    }
}

/* One core does all the work there is, never more at a time. */
static void one_core_takes_the_sum_of_all_work(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < N_RANDOM; seed++) {
        double work_s[CST_MAX_STAGES];
        double total_s = 0.0;
        run r;

        prepare_random(&r, seed);
        r.input.link_bytes_per_s = INFINITY;
        r.input.link_latency_s = 0.0;
        r.input.n_cores = 1;
        simulate(&r);
        add_up_work(&r, work_s);
        for (int32_t rank = 0; rank < r.g.graph.n_ranks; rank++) {
            total_s += work_s[rank];
        }
        assert_near(r.result.step_s, total_s, 1e-7);
        r.input.n_cores = 0;
        const double shared_s = r.result.step_s;

        simulate(&r);
        assert_true(r.result.step_s <= shared_s + TINY);
        finish(&r);
    }
}

static bool takes_time(cs_action_kind kind)
{
    return kind == CS_ACTION_FORWARD || kind == CS_ACTION_BACKWARD_INPUT ||
           kind == CS_ACTION_BACKWARD_WEIGHT ||
           kind == CS_ACTION_OPTIMIZER_STEP;
}

typedef struct edge_in_time {
    double time_s;
    int32_t change; /* of the number of computing ranks */
} edge_in_time;

static int compare_edges(const void *a_opaque, const void *b_opaque)
{
    const edge_in_time *const a = a_opaque;
    const edge_in_time *const b = b_opaque;

    if (a->time_s != b->time_s) {
        return a->time_s < b->time_s ? -1 : 1;
    }
    return a->change - b->change;
}

/* Work done by `n_cores` cores, read off the events alone. */
static double delivered_s(const run *r, int32_t n_cores)
{
    edge_in_time *const edges =
        csi_calloc((size_t)r->result.n_events * 2, sizeof *edges);
    int64_t n = 0;
    int32_t n_computing = 0;
    double sum_s = 0.0;

    for (int64_t i = 0; i < r->result.n_events; i++) {
        if (takes_time(r->schedule->actions[i].kind)) {
            edges[n++] = (edge_in_time){r->result.events[i].start_s, 1};
            edges[n++] = (edge_in_time){r->result.events[i].end_s, -1};
        }
    }
    qsort(edges, (size_t)n, sizeof *edges, compare_edges);
    for (int64_t i = 0; i + 1 < n; i++) {
        n_computing += edges[i].change;
        sum_s += (n_computing < n_cores ? n_computing : n_cores) *
                 (edges[i + 1].time_s - edges[i].time_s);
    }
    csi_free(edges);
    return sum_s;
}

static void shared_cores_deliver_all_the_work_and_no_more(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < N_RANDOM; seed++) {
        double work_s[CST_MAX_STAGES];
        double total_s = 0.0;
        run r;

        prepare_random(&r, seed);
        r.input.n_cores = 1 + (int32_t)(seed % 3);
        simulate(&r);
        add_up_work(&r, work_s);
        for (int32_t rank = 0; rank < r.g.graph.n_ranks; rank++) {
            total_s += work_s[rank];
        }
        assert_near(delivered_s(&r, r.input.n_cores), total_s, 1e-7);
        finish(&r);
    }
}

/* When a message arrived: the end of its SEND. */
static double arrival_s(const run *r, const cs_action *recv)
{
    const cs_action_kind wanted = recv->kind == CS_ACTION_RECV_ACTIVATION
                                      ? CS_ACTION_SEND_ACTIVATION
                                      : CS_ACTION_SEND_GRADIENT;

    for (int64_t i = 0; i < r->result.n_events; i++) {
        const cs_action *const a = &r->schedule->actions[i];

        if (a->kind == wanted && a->edge == recv->edge &&
            a->microbatch == recv->microbatch) {
            return r->result.events[i].end_s;
        }
    }
    return INFINITY;
}

static void events_keep_the_order_and_the_messages(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < N_RANDOM / 4; seed++) {
        run r;

        prepare_random(&r, seed);
        r.input.n_cores = (int32_t)(seed % 4);
        simulate(&r);
        for (int32_t rank = 0; rank < r.g.graph.n_ranks; rank++) {
            double clock_s = 0.0;

            for (int64_t i = r.schedule->begin[rank];
                 i < r.schedule->begin[rank + 1]; i++) {
                const cs_action *const a = &r.schedule->actions[i];
                const cs_sim_event *const e = &r.result.events[i];

                assert_true(e->start_s >= clock_s && e->end_s >= e->start_s);
                if (takes_time(a->kind)) {
                    clock_s = e->end_s;
                }
                if (a->kind == CS_ACTION_RECV_ACTIVATION ||
                    a->kind == CS_ACTION_RECV_GRADIENT) {
                    assert_true(e->start_s >= arrival_s(&r, a));
                    clock_s = e->end_s;
                }
            }
        }
        finish(&r);
    }
}

static void equal_inputs_give_equal_bits(void **state)
{
    run r;

    (void)state;
    prepare_random(&r, 11);
    r.input.n_cores = 2;
    simulate(&r);
    cs_sim_result first = r.result;

    r.result = (cs_sim_result){0};
    simulate(&r);
    assert_memory_equal(first.events, r.result.events,
                        (size_t)first.n_events * sizeof *first.events);
    cs_sim_result_fini(&first);
    finish(&r);
}

/* Freezing an encoder takes its backward away and what hangs on it. */
static void a_frozen_encoder_makes_the_step_shorter(void **state)
{
    double step_s[2];

    (void)state;
    for (int frozen = 0; frozen < 2; frozen++) {
        run r;

        cst_graph_stages(&r.g, 2, (const int32_t[]){2, 2});
        r.g.is_trainable[0] = frozen == 0;
        r.g.is_trainable[1] = frozen == 0;
        cst_graph_place(&r.g, CST_LAYOUT_OWN, 0);
        prepare(&r, CS_SCHEDULE_1F1B, 8, (cs_stage_cost){1.0, 1.0, 1.0});
        simulate(&r);
        step_s[frozen] = r.result.step_s;
        if (frozen == 1) {
            assert_int_equal(r.result.peak_microbatches[0], 1);
            assert_near(r.result.busy_s[0], 8.0, TINY);
        }
        finish(&r);
    }
    assert_true(step_s[1] < step_s[0]);
}

/* --- drawing, refusal, memory ----------------------------------------- */

static void the_timeline_is_drawn(void **state)
{
    run r;
    char *text = NULL;

    (void)state;
    prepare_chain(&r, CS_SCHEDULE_1F1B, 2, 2, (cs_stage_cost){1.0, 1.0, 1.0});
    r.optimizer_s[0] = 1.0;
    simulate(&r);
    assert_near(r.result.step_s, 9.0, TINY);
    assert_ok(cs_sim_draw(&r.input, &r.result, 18, &text));
    assert_contains(text, "bubble 27.8 %");
    assert_contains(text, "rank 0   |FFFF..BBWW..BBWWOO|  78 %\n");
    assert_contains(text, "rank 1   |..FFBBWWFFBBWW....|  67 %\n");
    csi_free(text);
    assert_fails(cs_sim_draw(&r.input, &r.result, 3, &text), CS_ERR_ARG,
                 "drawing of 3 columns");
    finish(&r);
}

static void numbers_that_make_no_sense_are_refused(void **state)
{
    run r;

    (void)state;
    prepare_chain(&r, CS_SCHEDULE_1F1B, 2, 2, (cs_stage_cost){1.0, 1.0, 1.0});
#define REFUSED(change, undo, sentence)                                      \
    do {                                                                     \
        change;                                                              \
        assert_fails(cs_sim_run(&r.input, &r.result), CS_ERR_ARG, sentence); \
        undo;                                                                \
    } while (0)
    REFUSED(r.cost[3].forward_s = NAN, r.cost[3].forward_s = 1.0,
            "stage 1, microbatch 1 costs nan, 1, 1 s");
    REFUSED(r.cost[0].backward_weight_s = -1.0,
            r.cost[0].backward_weight_s = 1.0,
            "stage 0, microbatch 0 costs 1, 1, -1 s");
    REFUSED(r.edge_bytes[1] = INFINITY, r.edge_bytes[1] = 1.0,
            "edge 0, microbatch 1 carries inf bytes");
    REFUSED(r.optimizer_s[1] = -2.0, r.optimizer_s[1] = 0.0,
            "the optimizer of rank 1 takes -2 s");
    REFUSED(r.input.link_bytes_per_s = 0.0, r.input.link_bytes_per_s = 1.0,
            "a link moves 0 bytes per second");
    REFUSED(r.input.link_latency_s = -1.0, r.input.link_latency_s = 0.0,
            "a link's latency is -1 s");
    REFUSED(r.input.n_cores = -1, r.input.n_cores = 0, "-1 cores");
    REFUSED(r.schedule->actions[0].microbatch = 1,
            r.schedule->actions[0].microbatch = 0,
            "(SEND_ACTIVATION of edge 0, microbatch 0): the forward of stage "
            "0 has not run");
#undef REFUSED
    r.input.optimizer_s = NULL;
    simulate(&r);
    finish(&r);
}

static cs_status tortured_run(void *arg)
{
    run *const r = arg;
    cs_sim_result result = {0};
    char *text = NULL;

    CS_TRY(cs_sim_run(&r->input, &result));
    const cs_status st = cs_sim_draw(&r->input, &result, 40, &text);

    csi_free(text);
    cs_sim_result_fini(&result);
    return st;
}

static void every_failing_allocation_is_survived(void **state)
{
    run r;

    (void)state;
    prepare_random(&r, 5);
    (void)cst_torture(tortured_run, &r);
    finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_chain_has_the_bubble_of_the_textbook),
        CST_TEST(weight_halves_fill_the_bubble),
        CST_TEST(slow_links_delay_what_waits_for_them),
        CST_TEST(a_link_carries_one_message_at_a_time),
        CST_TEST(slots_hold_a_fast_sender_back),
        CST_TEST(the_optimizer_waits_for_all_ranks),
        CST_TEST(shared_cores_slow_all_alike),
        CST_TEST(no_step_beats_its_critical_path_or_busiest_rank),
        CST_TEST(one_core_takes_the_sum_of_all_work),
        CST_TEST(shared_cores_deliver_all_the_work_and_no_more),
        CST_TEST(events_keep_the_order_and_the_messages),
        CST_TEST(equal_inputs_give_equal_bits),
        CST_TEST(a_frozen_encoder_makes_the_step_shorter),
        CST_TEST(the_timeline_is_drawn),
        CST_TEST(numbers_that_make_no_sense_are_refused),
        CST_TEST(every_failing_allocation_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
