/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker against planted faults: schedules written as text with one thing
 * wrong, each refused with the sentence that says what; and random schedules
 * with one action lost, repeated or moved.
 */
#include "cornstarch/schedule.h"

#include "base/alloc.h"

#include "graphs.h"
#include "support/test.h"

#include <string.h>

/* Encoder stage 0 on rank 0; language model stages 1 and 2 on rank 1 (edge 0
 * inside the rank), edge 1 from the encoder. All trainable. */
static void make_graph(cst_graph *g, int32_t n_slots)
{
    cst_graph_stages(g, 2, (const int32_t[]){1, 2});
    cst_graph_place(g, CST_LAYOUT_OWN, 0);
    g->stages[2].rank = 1;
    g->graph.n_ranks = 2;
    cst_graph_slots(g, n_slots);
}

static void assert_verdict(const cst_graph *g, const char *text,
                           bool is_training, const char *sentence)
{
    cs_schedule *schedule = NULL;

    assert_ok(cs_schedule_parse(&g->graph, text, "text", &schedule));
    if (sentence == NULL) {
        assert_ok(cs_schedule_check(&g->graph, schedule, is_training));
    } else {
        assert_fails(cs_schedule_check(&g->graph, schedule, is_training),
                     CS_ERR_ARG, sentence);
    }
    cs_schedule_destroy(&schedule);
}

#define RANK0     "0: 0F0 s1>0 0F1 s1>1 r1<0 0B0 0W0 r1<1 0B1 0W1 R0 N O A\n"
#define RANK0_T   "0: 0F0 s1>0 0F1 s1>1 r1<0 0B0 0W0 r1<1 0B1 0W1 R0 T N O A\n"
#define RANK1_MB0 "r1>0 1F0 2F0 2B0 2W0 1B0 s1<0 1W0 "
#define RANK1_MB1 "r1>1 1F1 2F1 2B1 2W1 1B1 s1<1 1W1 "
#define RANK1_END "R1 R2 N O A\n"
#define RANK1     "1: " RANK1_MB0 RANK1_MB1 RANK1_END

static void planted_faults_are_named(void **state)
{
    static const struct {
        const char *text, *sentence;
    } CASES[] = {
        {RANK0 RANK1, NULL},
        /* lost */
        {RANK0 "1: r1>0 1F0 2F0 2B0 2W0 1B0 s1<0 " RANK1_MB1 RANK1_END,
         "out of order: microbatch 0 is next"},
        {RANK0 "1: " RANK1_MB0 "r1>1 1F1 2F1 2B1 1B1 s1<1 1W1 " RANK1_END,
         "rank 1: BACKWARD_WEIGHT of stage 2, microbatch 1 is missing"},
        {RANK0 "1: " RANK1_MB0 "r1>1 1F1 2F1 2B1 2W1 1B1 1W1 " RANK1_END,
         "deadlock: rank 0 waits at action 7 (RECV_GRADIENT of edge 1, "
         "microbatch 1) for a message that is not sent"},
        {RANK0 "1: 1F0 " RANK1_MB1 RANK1_END,
         "rank 1, action 0 (FORWARD of stage 1, microbatch 0): its input over "
         "edge 1 has not been received"},
        {"0: 0F0 s1>0 0F1 s1>1 r1<0 0B0 0W0 0B1 0W1 R0 N O A\n" RANK1,
         "rank 0, action 7 (BACKWARD_INPUT of stage 0, microbatch 1): its "
         "gradient over edge 1 has not been received"},
        {RANK0 "1: r1>0 2F0",
         "(FORWARD of stage 2, microbatch 0): the forward of stage 1 has not"},
        {RANK0 "1: r1>0 1F0 2B0", "its forward has not run"},
        {RANK0 "1: r1>0 1F0 2F0 1B0",
         "(BACKWARD_INPUT of stage 1, microbatch 0): the backward of stage 2 "
         "has not run"},
        {RANK0 "1: r1>0 1F0 2F0 2W0", "its BACKWARD_INPUT has not run"},
        {RANK0 "1: " RANK1_MB0 RANK1_MB1 "R1 R2 N O\n",
         "rank 1: AGREE is missing"},
        {RANK0 "1: " RANK1_MB0 RANK1_MB1 "R1 N O A\n",
         "(GRADIENT_NORM): the gradients of stage 2 are not reduced"},
        {RANK0 "1: " RANK1_MB0 RANK1_MB1 "R1 R2 O A\n",
         "(OPTIMIZER_STEP): wants one GRADIENT_NORM before it"},
        {RANK0 "1: " RANK1_MB0 RANK1_MB1 "R1 R2 N A\n",
         "(AGREE): wants one OPTIMIZER_STEP before it"},
        /* repeated */
        {RANK0 "1: r1>0 1F0 1F0",
         "rank 1, action 2 (FORWARD of stage 1, microbatch 0): runs twice"},
        {RANK0 "1: r1>0 r1>0", "is received twice"},
        {"0: 0F0 s1>0 s1>0\n" RANK1, "is sent twice"},
        {RANK0 "1: " RANK1_MB0 RANK1_MB1 "R1 R1\n",
         "(REDUCE_GRADIENTS of stage 1): runs twice"},
        {RANK0 "1: " RANK1_MB0 RANK1_MB1 "R1 R2 N N O A\n", "runs twice"},
        {RANK0 "1: " RANK1_MB0 RANK1_MB1 "R1 R2 N O O A\n",
         "(OPTIMIZER_STEP): wants one GRADIENT_NORM before it"},
        {RANK0 "1: " RANK1_MB0 RANK1_MB1 "R1 R2 N O A A\n",
         "comes after the rank's AGREE"},
        /* moved */
        {RANK0 "1: r1>0 1F0 2F0 r1>1 1F1 2F1 2B1",
         "(BACKWARD_INPUT of stage 2, microbatch 1): out of order: microbatch "
         "0 is next"},
        {RANK0 "1: r1>0 1F0 2F0 2B0 1B0 s1<0 1W0 r1>1 1F1 2F1 2B1 2W1 2W0",
         "(BACKWARD_WEIGHT of stage 2, microbatch 1): out of order: microbatch "
         "0 is next"},
        {RANK0 "1: r1>0 1F0 2F0 2B0 s1<0",
         "(SEND_GRADIENT of edge 1, microbatch 0): the backward of stage 1 has "
         "not run"},
        {"0: s1>0\n" RANK1, "the forward of stage 0 has not run"},
        {RANK0 "1: " RANK1_MB0 "R1 " RANK1_MB1 RANK1_END,
         "(REDUCE_GRADIENTS of stage 1): 1 of 2 backwards of the stage"},
        {RANK0 "1: " RANK1_MB0 "r1>1 1F1 2F1 2B1 1B1 s1<1 1W1 R1 2W1 R2 N O A",
         "comes after the end of the step has begun"},
        {RANK0 "1: " RANK1_MB0 RANK1_MB1 "R2 R1 N O A\n", NULL},
        /* misplaced */
        {"0: 1F0\n" RANK1, "stage 1 is on rank 1"},
        {"0: r1>0\n" RANK1, "this end of the edge is on rank 1"},
        {"0: 0F0 s0>0\n" RANK1, "the edge stays on rank 1 and has no messages"},
        /* both wait for the other */
        {"0: 0F0 s1>0 r1<0 0B0 0W0 0F1 s1>1 r1<1 0B1 0W1 R0 N O A\n"
         "1: r1>0 1F0 2F0 r1>1 1F1 2F1 2B0 2W0 1B0 s1<0 1W0 2B1 2W1 1B1 s1<1 "
         "1W1 " RANK1_END,
         "deadlock: rank 0 waits at action 2 (RECV_GRADIENT of edge 1, "
         "microbatch 0) for a message that is not sent; rank 1 waits at action "
         "3 (RECV_ACTIVATION of edge 1, microbatch 1) for a message that is "
         "not sent"},
    };
    cst_graph g;

    (void)state;
    make_graph(&g, 2);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_verdict(&g, CASES[i].text, true, CASES[i].sentence);
    }
}

/* Stages 0 (rank 0) and 2 (rank 1) hold the ends of tied parameters. */
static void tied_gradients_are_added_once_after_the_reductions(void **state)
{
    static const struct {
        const char *text, *sentence;
    } CASES[] = {
        {RANK0_T "1: " RANK1_MB0 RANK1_MB1 "R1 R2 T N O A\n", NULL},
        {RANK0_T "1: " RANK1_MB0 RANK1_MB1 "R1 R2 N O A\n",
         "(GRADIENT_NORM): wants one REDUCE_TIED before it"},
        {RANK0_T "1: " RANK1_MB0 RANK1_MB1 "R1 T R2 N O A\n",
         "(REDUCE_TIED): the gradients of stage 2 are not reduced"},
        {RANK0_T "1: " RANK1_MB0 RANK1_MB1 "R1 R2 T T N O A\n",
         "(REDUCE_TIED): runs twice"},
        {RANK0_T "1: " RANK1_MB0 RANK1_MB1 "R1 R2 N T O A\n",
         "(GRADIENT_NORM): wants one REDUCE_TIED before it"},
    };
    cst_graph g;

    (void)state;
    make_graph(&g, 2);
    g.stages[0].has_tied = true;
    g.stages[2].has_tied = true;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_verdict(&g, CASES[i].text, true, CASES[i].sentence);
    }
    g.stages[2].has_tied = false;
    assert_verdict(&g, CASES[0].text, true, "the rank has no tied parameters");
}

/* Rank 0 sends both microbatches before rank 1 takes them the other way
 * round: two slots are enough, one is a deadlock. */
static void a_missing_slot_is_a_deadlock(void **state)
{
    static const char TEXT[] =
        RANK0 "1: r1>1 r1>0 1F0 2F0 2B0 2W0 1B0 s1<0 1W0 1F1 2F1 2B1 2W1 1B1 "
              "s1<1 1W1 " RANK1_END;
    cst_graph g;

    (void)state;
    make_graph(&g, 2);
    assert_verdict(&g, TEXT, true, NULL);
    make_graph(&g, 1);
    assert_verdict(&g, TEXT, true,
                   "deadlock: rank 0 waits at action 3 (SEND_ACTIVATION of "
                   "edge 1, microbatch 1) for one of 1 slots; rank 1 waits at "
                   "action 0 (RECV_ACTIVATION of edge 1, microbatch 1)");
}

static void frozen_stages_must_not_be_trained(void **state)
{
    cst_graph g;

    (void)state;
    make_graph(&g, 2);
    g.is_trainable[0] = false;
    cst_graph_flags(&g);
    assert_verdict(&g, RANK0 "1: r1>0 1F0 2F0 2B0 2W0 1B0 s1<0", true,
                   "(RECV_GRADIENT of edge 1, microbatch 0): the edge carries "
                   "no gradient");
    assert_verdict(&g, "0: 0F0 s1>0 0F1 s1>1 0B0\n1:", true,
                   "(BACKWARD_INPUT of stage 0, microbatch 0): the stage has "
                   "no backward");
    g.is_trainable[0] = true;
    g.is_trainable[1] = false;
    cst_graph_flags(&g);
    assert_verdict(&g, RANK0 RANK1, true,
                   "(BACKWARD_WEIGHT of stage 1, microbatch 0): the stage has "
                   "no weight gradients");
}

static void evaluation_has_no_backward(void **state)
{
    cst_graph g;

    (void)state;
    make_graph(&g, 2);
    assert_verdict(&g, "0: 0F0 s1>0 A\n1: r1>0 1F0 2F0 A", false, NULL);
    assert_verdict(&g, "0: 0F0 s1>0 A\n1: r1>0 1F0 2F0 2B0 A", false,
                   "a schedule without training has none of these");
    assert_verdict(&g, "0: 0F0 s1>0 A\n1: r1>0 1F0 2F0 N A", false,
                   "a schedule without training has none of these");
    assert_verdict(&g, "0: 0F0 s1>0 A\n1: r1>0 1F0 2F0 A", true,
                   "wants one OPTIMIZER_STEP");
}

/* The same actions without [at], or with it twice, or with it moved. */
static void drop(cs_schedule *s, int64_t at)
{
    for (int64_t i = at; i + 1 < s->begin[s->n_ranks]; i++) {
        s->actions[i] = s->actions[i + 1];
    }
    for (int32_t rank = 0; rank < s->n_ranks; rank++) {
        s->begin[rank + 1] -= s->begin[rank + 1] > at ? 1 : 0;
    }
}

static void move(cs_schedule *s, int64_t from, int64_t to)
{
    const cs_action action = s->actions[from];

    for (int64_t i = from; i < to; i++) {
        s->actions[i] = s->actions[i + 1];
    }
    s->actions[to] = action;
}

static int32_t rank_of(const cs_schedule *s, int64_t at)
{
    int32_t rank = 0;

    while (s->begin[rank + 1] <= at) {
        rank++;
    }
    return rank;
}

static int64_t find_compute_of(const cs_stage_graph *graph,
                               const cs_schedule *s, int64_t at)
{
    const cs_action *const a = &s->actions[at];
    const bool is_gradient = a->kind == CS_ACTION_RECV_GRADIENT;
    const cs_edge *const edge = &graph->edges[a->edge];

    for (int64_t i = at;; i++) {
        const cs_action *const b = &s->actions[i];

        if (b->microbatch == a->microbatch &&
            b->stage == (is_gradient ? edge->from : edge->to) &&
            b->kind ==
                (is_gradient ? CS_ACTION_BACKWARD_INPUT : CS_ACTION_FORWARD)) {
            return i;
        }
    }
}

/* Plants one fault, a function of the seed; false: there is none of this sort
 * in this schedule. */
static bool plant(const cs_stage_graph *graph, cs_schedule *s, uint64_t seed)
{
    const int64_t n = s->begin[s->n_ranks];
    const int64_t at = (int64_t)csi_rng_below(seed, 7, 0, (uint64_t)n);
    const cs_action *const a = &s->actions[at];
    const int32_t rank = rank_of(s, at);

    switch (csi_rng_below(seed, 7, 1, 3)) {
    case 0:
        drop(s, at);
        return true;
    case 1: /* repeat: overwrites the next action of the rank */
        if (at + 1 == s->begin[rank + 1]) {
            return false;
        }
        s->actions[at + 1] = *a;
        return true;
    default: /* a message that comes after its compute is of no use */
        if (a->kind != CS_ACTION_RECV_ACTIVATION &&
            a->kind != CS_ACTION_RECV_GRADIENT) {
            return false;
        }
        move(s, at, find_compute_of(graph, s, at));
        return true;
    }
}

static void random_faults_are_all_refused(void **state)
{
    int n_planted = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        cst_graph g;
        cs_schedule *s = NULL;

        cst_graph_random(&g, seed);
        assert_ok(cs_schedule_create(&g.graph, CS_SCHEDULE_1F1B,
                                     1 + (int32_t)(seed % 7), true, &s));
        if (plant(&g.graph, s, seed)) {
            n_planted++;
            assert_int_equal(cs_schedule_check(&g.graph, s, true), CS_ERR_ARG);
        }
        cs_schedule_destroy(&s);
    }
    assert_true(n_planted > 1000);
}

static void the_frame_of_a_schedule_is_checked(void **state)
{
    cst_graph g;
    cst_graph other;
    cs_schedule *s = NULL;

    (void)state;
    make_graph(&g, 2);
    cst_graph_stages(&other, 1, (const int32_t[]){3});
    cst_graph_place(&other, CST_LAYOUT_OWN, 0);
    assert_ok(cs_schedule_parse(&g.graph, RANK0 RANK1, "text", &s));
    assert_fails(cs_schedule_check(&other.graph, s, true), CS_ERR_ARG,
                 "schedule has 2 ranks, its stage graph has 3");
    s->n_microbatches = 3;
    assert_fails(cs_schedule_check(&g.graph, s, true), CS_ERR_ARG,
                 "2 of 3 backwards of the stage have run");
    s->n_microbatches = 1;
    assert_fails(cs_schedule_check(&g.graph, s, true), CS_ERR_ARG,
                 "microbatch 1 is none of 1");
    s->n_microbatches = 0;
    assert_fails(cs_schedule_check(&g.graph, s, true), CS_ERR_ARG,
                 "schedule of 0 microbatches");
    s->n_microbatches = 2;
    s->actions[0].kind = CS_ACTION_COUNT;
    assert_fails(cs_schedule_check(&g.graph, s, true), CS_ERR_ARG,
                 "12 is no kind of action");
    s->begin[1] = 1000;
    assert_fails(cs_schedule_check(&g.graph, s, true), CS_ERR_ARG,
                 "rank 1 has a negative number of actions");
    s->begin[0] = 1;
    assert_fails(cs_schedule_check(&g.graph, s, true), CS_ERR_ARG,
                 "starts at action 1");
    cs_schedule_destroy(&s);
}

/* Too few slots for a shortcut around three ranks: nobody can make a list. */
static void a_graph_without_a_schedule_is_refused(void **state)
{
    cst_graph g;
    cs_schedule *s = NULL;

    (void)state;
    cst_graph_stages(&g, 1, (const int32_t[]){5});
    g.edges[g.graph.n_edges++] = (cs_edge){.from = 0, .to = 4};
    cst_graph_slots(&g, 1);
    cst_graph_place(&g, CST_LAYOUT_OWN, 0);
    assert_fails(cs_schedule_create(&g.graph, CS_SCHEDULE_1F1B, 9, true, &s),
                 CS_ERR_ARG, "edge 4 (stage 0 to 4) has 1 activation slots");
    cst_graph_slots(&g, 3);
    assert_ok(cs_schedule_create(&g.graph, CS_SCHEDULE_1F1B, 9, true, &s));
    assert_ok(cs_schedule_check(&g.graph, s, true));
    cs_schedule_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(planted_faults_are_named),
        CST_TEST(tied_gradients_are_added_once_after_the_reductions),
        cmocka_unit_test(tied_gradients_are_added_once_after_the_reductions),
        CST_TEST(a_missing_slot_is_a_deadlock),
        CST_TEST(frozen_stages_must_not_be_trained),
        CST_TEST(evaluation_has_no_backward),
        CST_TEST(random_faults_are_all_refused),
        CST_TEST(the_frame_of_a_schedule_is_checked),
        CST_TEST(a_graph_without_a_schedule_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
