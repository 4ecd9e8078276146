/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generators, printer, parser, drawing: reference vectors, golden drawings,
 * and properties over random stage graphs. The checker has its own tests.
 */
#include "cornstarch/schedule.h"

#include "base/alloc.h"

#include "graphs.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

enum {
    N_RANDOM = 600
};

static cs_schedule *make(const cst_graph *g, cs_schedule_kind kind, int32_t m)
{
    cs_schedule *schedule = NULL;

    assert_ok(cs_schedule_create(&g->graph, kind, m, true, &schedule));
    assert_ok(cs_schedule_check(&g->graph, schedule, true));
    return schedule;
}

/* --- reference vectors ------------------------------------------------ */

/* Compute of one rank as letters: "FFFFBFBFBBBB". */
static void letters_of(const cs_schedule *schedule, int32_t rank, char *out)
{
    for (int64_t i = schedule->begin[rank]; i < schedule->begin[rank + 1];
         i++) {
        if (schedule->actions[i].kind == CS_ACTION_FORWARD) {
            *out++ = 'F';
        } else if (schedule->actions[i].kind == CS_ACTION_BACKWARD_INPUT) {
            *out++ = 'B';
        }
    }
    *out = '\0';
}

/* w F, then (B F) x (m - w), then w B. */
static void wanted_letters(int32_t w, int32_t m, char *out)
{
    w = w < m ? w : m;
    for (int32_t i = 0; i < w; i++) {
        *out++ = 'F';
    }
    for (int32_t i = 0; i < m - w; i++) {
        *out++ = 'B';
        *out++ = 'F';
    }
    for (int32_t i = 0; i < w; i++) {
        *out++ = 'B';
    }
    *out = '\0';
}

static void check_vectors(const cst_graph *g, const int32_t *warmups)
{
    char got[64];
    char wanted[64];

    for (int32_t m = 1; m <= 16; m++) {
        cs_schedule *schedule = make(g, CS_SCHEDULE_1F1B, m);

        for (int32_t rank = 0; rank < g->graph.n_ranks; rank++) {
            letters_of(schedule, rank, got);
            wanted_letters(warmups[rank], m, wanted);
            assert_string_equal(got, wanted);
        }
        cs_schedule_destroy(&schedule);
    }
}

static void one_encoder_and_three_stages_give_the_reference_order(void **state)
{
    cst_graph g;

    (void)state;
    cst_graph_stages(&g, 2, (const int32_t[]){1, 3});
    cst_graph_place(&g, CST_LAYOUT_OWN, 0);
    check_vectors(&g, (const int32_t[]){4, 3, 2, 1});
}

static void two_encoders_of_unequal_depth_give_the_reference_order(void **state)
{
    cst_graph g;

    (void)state;
    cst_graph_stages(&g, 3, (const int32_t[]){1, 2, 3});
    cst_graph_place(&g, CST_LAYOUT_OWN, 0);
    check_vectors(&g, (const int32_t[]){4, 5, 4, 3, 2, 1});
}

/* --- golden drawings -------------------------------------------------- */

typedef struct golden {
    const char *name;
    int32_t n_modules;
    int32_t depths[CST_MAX_MODULES];
    uint32_t frozen; /* bit s: stage s */
    cst_layout layout;
    cs_schedule_kind kind;
    int32_t m;
} golden;

static const golden GOLDENS[] = {
    {"chain_1f1b", 1, {4}, 0, CST_LAYOUT_OWN, CS_SCHEDULE_1F1B, 6},
    {"chain_gpipe", 1, {4}, 0, CST_LAYOUT_OWN, CS_SCHEDULE_GPIPE, 4},
    {"star_1f1b", 3, {1, 2, 3}, 0, CST_LAYOUT_OWN, CS_SCHEDULE_1F1B, 8},
    {"frozen_encoder", 3, {1, 2, 2}, 0x3, CST_LAYOUT_OWN, CS_SCHEDULE_1F1B, 6},
    {"frozen_model", 2, {2, 2}, 0xd, CST_LAYOUT_OWN, CS_SCHEDULE_1F1B, 6},
    {"colocated", 3, {2, 2, 2}, 0, CST_LAYOUT_COLOCATED, CS_SCHEDULE_1F1B, 5},
    {"one_rank", 3, {1, 1, 1}, 0, CST_LAYOUT_ONE, CS_SCHEDULE_1F1B, 3},
    {"few_microbatches", 2, {1, 3}, 0, CST_LAYOUT_OWN, CS_SCHEDULE_1F1B, 2},
};

static void drawings_are_the_golden_ones(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof GOLDENS / sizeof GOLDENS[0]; i++) {
        const golden *const c = &GOLDENS[i];
        char path[CST_PATH_BYTES];
        cst_graph g;
        char *text = NULL;

        cst_graph_stages(&g, c->n_modules, c->depths);
        for (int32_t stage = 0; stage < g.graph.n_stages; stage++) {
            g.is_trainable[stage] = (c->frozen >> stage & 1U) == 0;
        }
        cst_graph_place(&g, c->layout, 0);
        cs_schedule *schedule = make(&g, c->kind, c->m);

        assert_ok(cs_schedule_draw(&g.graph, schedule, &text));
        (void)snprintf(path, sizeof path, "%s/%s.txt",
                       cst_source_path("tests/golden/schedules"), c->name);
        if (getenv("CORNSTARCH_UPDATE_GOLDEN") != NULL) {
            FILE *const file = fopen(path, "w");

            assert_non_null(file);
            (void)fputs(text, file);
            assert_int_equal(fclose(file), 0);
        }
        size_t n_bytes = 0;
        char *const wanted = cst_read(path, &n_bytes);

        assert_string_equal(text, wanted);
        cst_free(wanted);
        csi_free(text);
        cs_schedule_destroy(&schedule);
    }
}

/* --- properties ------------------------------------------------------- */

static cs_schedule_kind kind_of(uint64_t seed)
{
    return csi_rng_below(seed, 3, 0, 2) == 0 ? CS_SCHEDULE_GPIPE
                                             : CS_SCHEDULE_1F1B;
}

static int32_t microbatches_of(uint64_t seed)
{
    return 1 + (int32_t)csi_rng_below(seed, 3, 1, 16);
}

static void every_random_schedule_passes_the_checker(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < N_RANDOM; seed++) {
        cst_graph g;

        cst_graph_random(&g, seed);
        for (int training = 0; training < 2; training++) {
            cs_schedule *schedule = NULL;

            assert_ok(cs_schedule_create(&g.graph, kind_of(seed),
                                         microbatches_of(seed), training == 1,
                                         &schedule));
            assert_ok(cs_schedule_check(&g.graph, schedule, training == 1));
            cs_schedule_destroy(&schedule);
        }
    }
}

static int64_t count_kind(const cs_schedule *schedule, int32_t n_ranks,
                          cs_action_kind kind)
{
    int64_t n = 0;

    for (int64_t i = 0; i < schedule->begin[n_ranks]; i++) {
        n += schedule->actions[i].kind == kind ? 1 : 0;
    }
    return n;
}

/* What nobody needs does not exist. */
static void frozen_stages_have_no_backward_and_no_messages(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < N_RANDOM; seed++) {
        cst_graph g;
        int64_t n_backward = 0;
        int64_t n_weight = 0;
        int64_t n_gradient = 0;
        int64_t n_activation = 0;

        cst_graph_random(&g, seed);
        const int32_t m = microbatches_of(seed);
        cs_schedule *schedule = make(&g, kind_of(seed), m);

        for (int32_t stage = 0; stage < g.graph.n_stages; stage++) {
            n_backward += g.stages[stage].has_backward_input ? 1 : 0;
            n_weight += g.is_trainable[stage] ? 1 : 0;
        }
        for (int32_t edge = 0; edge < g.graph.n_edges; edge++) {
            const cs_edge *const e = &g.edges[edge];

            if (g.stages[e->from].rank != g.stages[e->to].rank) {
                n_activation++;
                n_gradient += e->has_gradient ? 1 : 0;
            }
        }
        const int32_t n = g.graph.n_ranks;

        assert_int_equal(count_kind(schedule, n, CS_ACTION_FORWARD),
                         m * g.graph.n_stages);
        assert_int_equal(count_kind(schedule, n, CS_ACTION_BACKWARD_INPUT),
                         m * n_backward);
        assert_int_equal(count_kind(schedule, n, CS_ACTION_BACKWARD_WEIGHT),
                         m * n_weight);
        assert_int_equal(count_kind(schedule, n, CS_ACTION_SEND_ACTIVATION),
                         m * n_activation);
        assert_int_equal(count_kind(schedule, n, CS_ACTION_RECV_GRADIENT),
                         m * n_gradient);
        assert_int_equal(count_kind(schedule, n, CS_ACTION_REDUCE_GRADIENTS),
                         n_backward);
        assert_int_equal(count_kind(schedule, n, CS_ACTION_AGREE), n);
        cs_schedule_destroy(&schedule);
    }
}

/* A rank with several stages: forwards up, backwards down, per microbatch. */
static void one_rank_runs_stages_up_and_down(void **state)
{
    static const char WANTED[] = "0: 0F0 1F0 2F0 2B0 2W0 1B0 1W0 0B0 0W0 "
                                 "0F1 1F1 2F1 2B1 2W1 1B1 1W1 0B1 0W1 "
                                 "R0 R1 R2 N O A\n";
    cst_graph g;
    char *text = NULL;

    (void)state;
    cst_graph_stages(&g, 3, (const int32_t[]){1, 1, 1});
    cst_graph_place(&g, CST_LAYOUT_ONE, 0);
    cs_schedule *schedule = make(&g, CS_SCHEDULE_1F1B, 2);

    assert_ok(cs_schedule_print(&g.graph, schedule, &text));
    assert_string_equal(text, WANTED);
    csi_free(text);
    cs_schedule_destroy(&schedule);
}

static void tied_gradients_are_added_after_the_reductions(void **state)
{
    static const char WANTED[] = "0: 0F0 1F0 2F0 2B0 2W0 1B0 1W0 0B0 0W0 "
                                 "R0 R1 R2 T N O A\n";
    cst_graph g;
    char *text = NULL;

    (void)state;
    cst_graph_stages(&g, 3, (const int32_t[]){1, 1, 1});
    cst_graph_place(&g, CST_LAYOUT_ONE, 0);
    g.stages[2].has_tied = true;
    cs_schedule *schedule = make(&g, CS_SCHEDULE_1F1B, 1);

    assert_ok(cs_schedule_print(&g.graph, schedule, &text));
    assert_string_equal(text, WANTED);
    csi_free(text);
    cs_schedule_destroy(&schedule);
}

static void messages_stand_around_their_compute(void **state)
{
    static const char WANTED[] =
        "0: 0F0 s0>0 0F1 s0>1 r0<0 0B0 0W0 r0<1 0B1 0W1 R0 N O A\n"
        "1: r0>0 1F0 1B0 s0<0 1W0 r0>1 1F1 1B1 s0<1 1W1 R1 N O A\n";
    cst_graph g;
    char *text = NULL;

    (void)state;
    cst_graph_stages(&g, 2, (const int32_t[]){1, 1});
    cst_graph_place(&g, CST_LAYOUT_OWN, 0);
    cs_schedule *schedule = make(&g, CS_SCHEDULE_1F1B, 2);

    assert_ok(cs_schedule_print(&g.graph, schedule, &text));
    assert_string_equal(text, WANTED);
    csi_free(text);
    cs_schedule_destroy(&schedule);
}

static void evaluation_is_forwards_messages_and_agree(void **state)
{
    static const char WANTED[] = "0: 0F0 s0>0 0F1 s0>1 A\n"
                                 "1: r0>0 1F0 r0>1 1F1 A\n";
    cst_graph g;
    cs_schedule *schedule = NULL;
    char *text = NULL;

    (void)state;
    cst_graph_stages(&g, 2, (const int32_t[]){1, 1});
    cst_graph_place(&g, CST_LAYOUT_OWN, 0);
    assert_ok(cs_schedule_create(&g.graph, CS_SCHEDULE_1F1B, 2, false,
                                 &schedule));
    assert_ok(cs_schedule_print(&g.graph, schedule, &text));
    assert_string_equal(text, WANTED);
    csi_free(text);
    cs_schedule_destroy(&schedule);
}

static void what_is_printed_parses_back(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < N_RANDOM; seed++) {
        cst_graph g;
        cs_schedule *back = NULL;
        char *text = NULL;

        cst_graph_random(&g, seed);
        cs_schedule *schedule = make(&g, kind_of(seed), microbatches_of(seed));
        const int32_t n = schedule->n_ranks;

        assert_ok(cs_schedule_print(&g.graph, schedule, &text));
        assert_ok(cs_schedule_parse(&g.graph, text, "text", &back));
        assert_int_equal(back->n_ranks, n);
        assert_int_equal(back->n_microbatches, schedule->n_microbatches);
        assert_memory_equal(back->begin, schedule->begin,
                            (size_t)(n + 1) * sizeof *back->begin);
        assert_memory_equal(back->actions, schedule->actions,
                            (size_t)schedule->begin[n] * sizeof *back->actions);
        csi_free(text);
        cs_schedule_destroy(&back);
        cs_schedule_destroy(&schedule);
    }
}

static void a_person_may_write_a_schedule(void **state)
{
    static const char TEXT[] = "# two ranks, one microbatch\n\n"
                               "  1: r0>0 1F0 1B0\ts0<0  1W0 R1 N O A # llm\r\n"
                               "0: 0F0 s0>0 r0<0 0B0 0W0 R0 N O A";
    cst_graph g;
    cs_schedule *schedule = NULL;

    (void)state;
    cst_graph_stages(&g, 2, (const int32_t[]){1, 1});
    cst_graph_place(&g, CST_LAYOUT_OWN, 0);
    assert_ok(cs_schedule_parse(&g.graph, TEXT, "my.txt", &schedule));
    assert_ok(cs_schedule_check(&g.graph, schedule, true));
    cs_schedule_destroy(&schedule);
}

static void bad_text_names_line_and_word(void **state)
{
    static const struct {
        const char *text, *sentence;
    } CASES[] = {
        {"0: 0F0\n1: 1X0", "my.txt:2: '1X0' is no action"},
        {"0: 2F0\n1: 1F0", "my.txt:1: '2F0' is no action of 2 stages"},
        {"0: 0F0 s1>0\n1:", "'s1>0' is no action of 2 stages and 1 edges"},
        {"0: 0F0 s0=0\n1:", "'s0=0' is no action"},
        {"0: 0F\n1:", "'0F' is no action"},
        {"0: 0F0x\n1:", "'0F0x' is no action"},
        {"0: 0F99999999999999999999\n1:", "is no action"},
        {"0: 0F0 NN\n1:", "'NN' is no action"},
        {"0: 0F0 R\n1:", "'R' is no action"},
        {"0: 0F0\n1F0", "my.txt:2: '1F0': wanted a rank below 2 and a colon"},
        {"0: 0F0\n2: 1F0", "my.txt:2: '2:': wanted a rank below 2"},
        {"0: 0F0\n0: 0F1", "my.txt:2: a second line for rank 0"},
        {"0: 0F0\n", "my.txt: no line for rank 1"},
        {"0: N\n1: N", "no action names a microbatch"},
        {"", "no line for rank 0"},
        {"0: 0000000000000000000000000000000000000000000000000000000000000F0",
         "a word of 63 characters"},
    };
    cst_graph g;

    (void)state;
    cst_graph_stages(&g, 2, (const int32_t[]){1, 1});
    cst_graph_place(&g, CST_LAYOUT_OWN, 0);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cs_schedule *schedule = NULL;

        assert_fails(cs_schedule_parse(&g.graph, CASES[i].text, "my.txt",
                                       &schedule),
                     CS_ERR_FORMAT, CASES[i].sentence);
        assert_null(schedule);
    }
}

/* --- what is refused -------------------------------------------------- */

static void unknown_generators_are_unsupported(void **state)
{
    cst_graph g;
    cs_schedule *schedule = NULL;

    (void)state;
    cst_graph_stages(&g, 1, (const int32_t[]){1});
    cst_graph_place(&g, CST_LAYOUT_OWN, 0);
    assert_fails(cs_schedule_create(&g.graph, CS_SCHEDULE_INTERLEAVED, 2, true,
                                    &schedule),
                 CS_ERR_UNSUPPORTED, "unsupported: schedule 'interleaved'");
    assert_fails(cs_schedule_create(&g.graph, CS_SCHEDULE_ZERO_BUBBLE, 2, true,
                                    &schedule),
                 CS_ERR_UNSUPPORTED, "unsupported: schedule 'zero_bubble'");
    assert_fails(cs_schedule_create(&g.graph, CS_SCHEDULE_AUTO, 2, true,
                                    &schedule),
                 CS_ERR_UNSUPPORTED, "unsupported: schedule 'auto'");
    assert_fails(cs_schedule_create(&g.graph, CS_SCHEDULE_1F1B, 0, true,
                                    &schedule),
                 CS_ERR_ARG, "schedule of 0 microbatches");
    assert_null(schedule);
}

static void broken_graphs_are_refused(void **state)
{
    cst_graph good;

    (void)state;
    cst_graph_stages(&good, 3, (const int32_t[]){1, 1, 2});
    cst_graph_place(&good, CST_LAYOUT_OWN, 0);
    good.graph.stages = good.stages;
    assert_ok(cs_stage_graph_check(&good.graph));
#define REFUSED(change, sentence)                                           \
    do {                                                                    \
        cst_graph g = good;                                                 \
        g.graph.stages = g.stages;                                          \
        g.graph.edges = g.edges;                                            \
        change;                                                             \
        assert_fails(cs_stage_graph_check(&g.graph), CS_ERR_ARG, sentence); \
    } while (0)
    REFUSED(g.graph.n_ranks = 0, "0 ranks");
    REFUSED(g.graph.n_stages = 0, "0 stages");
    REFUSED(g.graph.n_edges = -1, "-1 edges");
    REFUSED(g.stages[2].rank = 4, "stage 2: rank 4 is none of 4");
    REFUSED(g.stages[3].rank = 2, "rank 3 of 4 holds no stage");
    REFUSED(g.stages[0].module = 1;
            g.stages[1].module = 0,
            "stage 1 belongs to module 0 but comes after one of module 1");
    REFUSED(g.stages[3].position = -1, "position -1");
    REFUSED(g.stages[3].has_backward_input = false,
            "stage 3 has weight gradients but no backward");
    REFUSED(g.edges[0].from = 3, "goes from stage 3 to 3");
    REFUSED(g.edges[0].n_slots = 0, "edge 0 has 0 slots");
    REFUSED(g.edges[0].has_gradient = false,
            "edge 0 does not carry a gradient, but stage 2 has a backward");
    REFUSED(g.stages[3].has_backward_input = false;
            g.stages[3].has_backward_weight = false,
            "stage 2 has a backward but stage 3 above it has none");
    REFUSED(g.graph.n_edges = 2,
            "stage 1 has a backward but no edge brings its gradient");
    REFUSED(g.edges[2] = g.edges[1]; g.stages[1].has_backward_input = false;
            g.stages[1].has_backward_weight = false,
            "edges 1 and 2 are the same");
#undef REFUSED
}

static void a_copied_graph_is_its_own(void **state)
{
    cst_graph g;
    cs_stage_graph copy = {0};

    (void)state;
    cst_graph_random(&g, 3);
    assert_ok(cs_stage_graph_copy(&g.graph, &copy));
    assert_true(copy.stages != g.stages && copy.edges != g.edges);
    assert_memory_equal(copy.stages, g.stages,
                        (size_t)g.graph.n_stages * sizeof *copy.stages);
    assert_memory_equal(copy.edges, g.edges,
                        (size_t)g.graph.n_edges * sizeof *copy.edges);
    cs_stage_graph_fini(&copy);
    cs_stage_graph_fini(&copy);
    cs_stage_graph_fini(NULL);
    assert_null(copy.stages);
}

static cs_status tortured_life(void *arg)
{
    const cst_graph *const g = arg;
    cs_schedule *schedule = NULL;
    cs_schedule *back = NULL;
    cs_stage_graph copy = {0};
    char *text = NULL;
    char *drawing = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(undo, cs_stage_graph_copy(&g->graph, &copy));
    CS_TRY_GOTO(undo, cs_schedule_create(&copy, CS_SCHEDULE_1F1B, 4, true,
                                         &schedule));
    CS_TRY_GOTO(undo, cs_schedule_check(&copy, schedule, true));
    CS_TRY_GOTO(undo, cs_schedule_draw(&copy, schedule, &drawing));
    CS_TRY_GOTO(undo, cs_schedule_print(&copy, schedule, &text));
    CS_TRY_GOTO(undo, cs_schedule_parse(&copy, text, "text", &back));
undo:
    csi_free(text);
    csi_free(drawing);
    cs_schedule_destroy(&schedule);
    cs_schedule_destroy(&back);
    cs_stage_graph_fini(&copy);
    return st;
}

static void every_failing_allocation_is_survived(void **state)
{
    cst_graph g;

    (void)state;
    cst_graph_stages(&g, 3, (const int32_t[]){2, 2, 2});
    cst_graph_place(&g, CST_LAYOUT_COLOCATED, 0);
    (void)cst_torture(tortured_life, &g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(one_encoder_and_three_stages_give_the_reference_order),
        CST_TEST(two_encoders_of_unequal_depth_give_the_reference_order),
        CST_TEST(drawings_are_the_golden_ones),
        CST_TEST(every_random_schedule_passes_the_checker),
        CST_TEST(frozen_stages_have_no_backward_and_no_messages),
        CST_TEST(one_rank_runs_stages_up_and_down),
        CST_TEST(tied_gradients_are_added_after_the_reductions),
        CST_TEST(messages_stand_around_their_compute),
        CST_TEST(evaluation_is_forwards_messages_and_agree),
        CST_TEST(what_is_printed_parses_back),
        CST_TEST(a_person_may_write_a_schedule),
        CST_TEST(bad_text_names_line_and_word),
        CST_TEST(unknown_generators_are_unsupported),
        CST_TEST(broken_graphs_are_refused),
        CST_TEST(a_copied_graph_is_its_own),
        CST_TEST(every_failing_allocation_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
