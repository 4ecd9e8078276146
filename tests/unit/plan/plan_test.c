/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans: what the planner and the recipe choose, what is refused, how it is
 * shown.
 */
#include "cornstarch/plan.h"

#include "base/alloc.h"
#include "base/rng.h"

#include "internal.h"
#include "planning.h"
#include "support/test.h"

#include <math.h>
#include <string.h>

/* --- the planner ------------------------------------------------------ */

static void one_rank_is_single(void **state)
{
    planning p = begin(CST_LISTEN_MODEL, "  plan: auto\n", 1);
    cs_plan *plan = create(&p);

    (void)state;
    assert_int_equal(plan->placement, CS_PLACEMENT_SINGLE);
    assert_int_equal(plan->dp, 1);
    assert_int_equal(plan->n_runners_up, 0);
    for (int32_t m = 0; m < 3; m++) {
        assert_int_equal(plan->modules[m].pp, 1);
        assert_int_equal(plan->modules[m].ranks[0], 0);
    }
    assert_true(plan->predicted_step_s > 0.0);
    assert_int_equal(strlen(plan->recipe_hash), 16);
    end(&p, &plan);
}

static void the_dear_module_gets_the_ranks(void **state)
{
    planning p = begin(CST_LISTEN_MODEL, "  placement: modality_parallel\n", 6);
    cs_plan *plan = NULL;

    (void)state;
    p.n_microbatches = 16;
    p.work[0] = (cs_work){.rows = 4, .pairs = 16, .feature_rows = 4};
    p.work[1] = (cs_work){.rows = 4, .pairs = 16, .feature_rows = 2};
    p.work[2] = (cs_work){.rows = 1e6, .pairs = 1e6};
    plan = create(&p);
    assert_int_equal(plan->placement, CS_PLACEMENT_MODALITY_PARALLEL);
    assert_int_equal(plan->modules[0].pp, 1);
    assert_int_equal(plan->modules[1].pp, 1);
    assert_int_equal(plan->modules[2].pp, 4);
    for (int32_t s = 0; s < 4; s++) {
        assert_int_equal(plan->modules[2].ranks[s], 2 + s);
    }
    assert_contains(plan->reason, "language_model is the bottleneck");
    cs_plan_destroy(&plan);

    p.work[0] = (cs_work){.rows = 1e6, .pairs = 1e6, .feature_rows = 4};
    p.work[2] = (cs_work){.rows = 4, .pairs = 16};
    plan = create(&p);
    assert_true(plan->modules[0].pp >= 3);
    assert_contains(plan->reason, "vision is the bottleneck");
    end(&p, &plan);
}

/* The planner's answer against every division and cut, simulated. */
static double simulate_manual(const planning *auto_plan, int32_t vision,
                              int32_t language)
{
    char parallel[128];

    assert_ok(csi_format(parallel, sizeof parallel,
                         "  plan: manual\n  modules: {vision: {pp: %d}, "
                         "language_model: {pp: %d}}\n",
                         vision, language));
    planning p = begin(CST_CAPTION_MODEL, parallel, vision + language);

    p.n_microbatches = auto_plan->n_microbatches;
    memcpy(p.work, auto_plan->work, sizeof p.work);
    cs_plan *plan = create(&p);
    const double step_s = plan->predicted_step_s;

    end(&p, &plan);
    return step_s;
}

static void no_division_is_faster_than_the_planners(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        planning p =
            begin(CST_CAPTION_MODEL, "  placement: modality_parallel\n", 5);
        double best = INFINITY;

        p.n_microbatches = 8;
        p.work[0] =
            (cs_work){.rows = 10.0 + 4000.0 * csi_rng_uniform(seed, 0, 0),
                      .pairs = 1e3,
                      .feature_rows = 50.0};
        p.work[1] =
            (cs_work){.rows = 10.0 + 4000.0 * csi_rng_uniform(seed, 0, 1),
                      .pairs = 1e4};
        cs_plan *plan = create(&p);

        for (int32_t vision = 1; vision <= 4; vision++) {
            best = fmin(best, simulate_manual(&p, vision, 5 - vision));
        }
        assert_near(plan->predicted_step_s * 1e6, best * 1e6, 1e-9);
        assert_int_equal(plan->n_runners_up, 3);
        for (int32_t i = 0; i < 3; i++) {
            assert_true(plan->runners_up[i].step_s >=
                        (i == 0 ? plan->predicted_step_s
                                : plan->runners_up[i - 1].step_s));
        }
        assert_contains(plan->runners_up[0].text, "dp 1, vision pp ");
        end(&p, &plan);
    }
}

static void the_same_question_has_the_same_answer(void **state)
{
    planning p = begin(CST_LISTEN_MODEL, "  placement: auto\n  zero: 0\n", 8);
    cs_plan *a = create(&p);
    cs_plan *b = create(&p);
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    assert_ok(cs_plan_save(a, cst_path(&dir, "a.json")));
    assert_ok(cs_plan_save(b, cst_path(&dir, "b.json")));
    char *x = cst_read(cst_path(&dir, "a.json"), NULL);
    char *y = cst_read(cst_path(&dir, "b.json"), NULL);

    assert_string_equal(x, y);
    cst_free(x);
    cst_free(y);
    cst_tmpdir_remove(&dir);
    cs_plan_destroy(&b);
    end(&p, &a);
}

static void replicas_are_weighed_against_stages(void **state)
{
    planning p = begin(CST_CAPTION_MODEL, "  placement: auto\n  zero: 0\n", 4);
    cs_plan *plan = create(&p);

    (void)state;
    /* equal microbatches and free memory: four whole replicas never wait */
    assert_int_equal(plan->dp, 4);
    assert_int_equal(plan->placement, CS_PLACEMENT_SINGLE);
    assert_int_equal(plan->n_microbatches, 2);
    assert_true(plan->n_runners_up >= 3);
    end(&p, &plan);

    p = begin(CST_CAPTION_MODEL, "  placement: auto\n", 4); /* zero 1 */
    plan = create(&p);
    assert_int_equal(plan->dp, 1);
    end(&p, &plan);

    p = begin(CST_CAPTION_MODEL, "  dp: 2\n  zero: 0\n", 4);
    plan = create(&p);
    assert_int_equal(plan->dp, 2);
    assert_int_equal(plan->placement, CS_PLACEMENT_MODALITY_PARALLEL);
    assert_int_equal(plan->n_microbatches, 4);
    end(&p, &plan);
}

static void the_faster_schedule_is_taken_when_open(void **state)
{
    planning p = begin(CST_CAPTION_MODEL, "  schedule: auto\n", 4);
    planning f = begin(CST_CAPTION_MODEL, "  schedule: 1f1b\n", 4);
    planning g = begin(CST_CAPTION_MODEL, "  schedule: gpipe\n", 4);
    cs_plan *open = create(&p);
    cs_plan *one = create(&f);
    cs_plan *pipe = create(&g);

    (void)state;
    assert_int_equal(one->schedule, CS_SCHEDULE_1F1B);
    assert_int_equal(pipe->schedule, CS_SCHEDULE_GPIPE);
    assert_near(open->predicted_step_s * 1e6,
                fmin(one->predicted_step_s, pipe->predicted_step_s) * 1e6,
                1e-9);
    assert_int_equal(open->schedule,
                     pipe->predicted_step_s < one->predicted_step_s
                         ? CS_SCHEDULE_GPIPE
                         : CS_SCHEDULE_1F1B);
    end(&p, &open);
    end(&f, &one);
    end(&g, &pipe);
}

static void fewer_cores_than_ranks_take_longer(void **state)
{
    planning p = begin(CST_CAPTION_MODEL, "  dp: 1\n", 4);
    double step_s[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        p.n_cores = 1 << i;
        cs_plan *plan = create(&p);

        step_s[i] = plan->predicted_step_s;
        cs_plan_destroy(&plan);
    }
    assert_true(step_s[0] > step_s[1] && step_s[1] > step_s[2]);
    cs_plan *none = NULL;

    end(&p, &none);
}

/* Two replicas on one core take twice as long as each on its own. */
static void replicas_share_cores_too(void **state)
{
    planning p = begin(CST_CAPTION_MODEL,
                       "  placement: single\n  dp: 4\n  zero: 0\n", 4);
    double step_s[3];

    (void)state;
    p.work[1].rows = 1e6;
    for (int i = 0; i < 3; i++) {
        p.n_cores = 1 << i;
        cs_plan *plan = create(&p);

        step_s[i] = plan->predicted_step_s;
        cs_plan_destroy(&plan);
    }
    assert_near(step_s[0] / step_s[1], 2.0, 0.01);
    assert_near(step_s[1] / step_s[2], 2.0, 0.01);
    cs_plan *none = NULL;

    end(&p, &none);
}

static void a_replica_has_at_least_the_recipes_microbatches(void **state)
{
    planning p = begin(CST_CAPTION_MODEL, "  dp: 2\n  zero: 0\n", 4);

    (void)state;
    p.n_microbatches = 9;
    cs_plan *plan = create(&p);

    assert_int_equal(plan->n_microbatches, 5); /* rounded up */
    cs_plan_destroy(&plan);
    p.config->training.microbatches = 7;
    plan = create(&p);
    assert_int_equal(plan->n_microbatches, 7);
    end(&p, &plan);
}

/* The least period that the ranks can reach: grown until the stages that each
 * module then needs fit. */
static double least_period(const planning *p)
{
    const cs_plan_input input = input_of(p);
    csi_partition *partitions = NULL;
    double period = 1e-9;

    assert_ok(csi_partition_modules(&input, p->n_ranks, &partitions));
    int32_t wanted = p->n_ranks + 1;

    while (wanted > p->n_ranks) {
        wanted = 0;
        period *= 1.001;
        for (int32_t m = 0; m < p->graph->n_modules; m++) {
            int32_t pp = 1;

            while (pp < partitions[m].max_stages &&
                   partitions[m].worst[pp - 1] > period) {
                pp++;
            }
            wanted +=
                partitions[m].worst[pp - 1] > period ? p->n_ranks + 1 : pp;
        }
    }
    csi_partitions_free(&partitions, p->graph->n_modules);
    return period;
}

static void many_ranks_are_planned_in_bounded_time(void **state)
{
    planning p = begin(
        "  encoders:\n    near: {config: {model_type: siglip_vision_model, "
        "hidden_size: 8, intermediate_size: 8, num_hidden_layers: 90, "
        "num_attention_heads: 2, image_size: 8, patch_size: 4}, placeholder: "
        "\"<near>\"}\n    vision: {config: {model_type: siglip_vision_model, "
        "hidden_size: 8, intermediate_size: 8, num_hidden_layers: 90, "
        "num_attention_heads: 2, image_size: 8, patch_size: 4}, placeholder: "
        "\"<image>\"}\n    audio: {config: {model_type: whisper, d_model: 8, "
        "encoder_layers: 90, encoder_attention_heads: 2, encoder_ffn_dim: 8}, "
        "placeholder: \"<audio>\"}\n  language_model: {config: {model_type: "
        "llama, hidden_size: 16, intermediate_size: 16, num_hidden_layers: "
        "100, num_attention_heads: 4, vocab_size: 30}}\n",
        "  placement: modality_parallel\n", 200);
    cs_plan *plan = NULL;
    int32_t n_stages = 0;

    (void)state;
    p.n_microbatches = 64;
    p.work[3].rows = 2000.0;
    plan = create(&p);
    const double least = least_period(&p);
    double period = 0.0;

    for (int32_t m = 0; m < 4; m++) {
        n_stages += plan->modules[m].pp;
        for (int32_t s = 0; s < plan->modules[m].pp; s++) {
            period = fmax(period, plan->modules[m].stage_s[s]);
        }
    }
    assert_int_equal(n_stages, 200);
    assert_int_equal(plan->n_runners_up, CSI_PLAN_MAX_RUNNERS_UP);
    assert_true(period <= 1.1 * least);
    end(&p, &plan);
}

/* Every plan of every rank count gives schedules that pass the checker. */
static void every_plan_can_be_scheduled(void **state)
{
    static const char *const MODELS[] = {CST_CAPTION_MODEL, CST_LISTEN_MODEL};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (int32_t n_ranks = 3; n_ranks <= 12; n_ranks++) {
            planning p =
                begin(MODELS[i], "  placement: modality_parallel\n", n_ranks);
            cs_plan *plan = create(&p);
            cs_stage_graph g = {0};
            int32_t *range = NULL;

            assert_ok(cs_plan_check(plan, p.graph));
            assert_ok(cs_plan_stage_graph(plan, p.graph, &g, &range));
            for (int32_t mb = 1; mb <= 9; mb += 4) {
                for (int kind = CS_SCHEDULE_GPIPE; kind <= CS_SCHEDULE_1F1B;
                     kind++) {
                    cs_schedule *schedule = NULL;

                    assert_ok(cs_schedule_create(&g, (cs_schedule_kind)kind, mb,
                                                 true, &schedule));
                    assert_ok(cs_schedule_check(&g, schedule, true));
                    cs_schedule_destroy(&schedule);
                }
            }
            csi_free(range);
            cs_stage_graph_fini(&g);
            end(&p, &plan);
        }
    }
}

/* --- manual ----------------------------------------------------------- */

static void a_manual_plan_is_what_the_recipe_says(void **state)
{
    planning p = begin(CST_CAPTION_MODEL,
                       "  plan: manual\n  zero: 0\n  modules: {vision: {pp: 2, "
                       "cuts: [0, 3]}, language_model: {pp: 1}}\n",
                       6);
    cs_plan *plan = create(&p);

    (void)state;
    assert_int_equal(plan->dp, 2);
    assert_int_equal(plan->n_microbatches, 4);
    assert_int_equal(plan->modules[0].pp, 2);
    assert_int_equal(plan->modules[0].cuts[1], 3);
    assert_int_equal(plan->modules[1].pp, 1);
    assert_int_equal(plan->modules[1].ranks[0], 2);
    assert_true(plan->predicted_step_s > 0.0);
    end(&p, &plan);

    p = begin(CST_CAPTION_MODEL,
              "  plan: manual\n  modules: {vision: {pp: 1}}\n", 1);
    plan = create(&p);
    assert_int_equal(plan->placement, CS_PLACEMENT_SINGLE);
    end(&p, &plan);
}

/* --- refusals --------------------------------------------------------- */

static void what_cannot_be_is_refused(void **state)
{
    static const struct {
        const char *parallel;
        int32_t n_ranks;
        cs_status status;
        const char *part;
    } CASES[] = {
        {"  placement: modality_parallel\n", 2, CS_ERR_ARG,
         "wanted 3 to 17 ranks (vision, audio, language_model; dp 1), got 2"},
        {"  placement: modality_parallel\n", 18, CS_ERR_ARG,
         "wanted 3 to 17 ranks"},
        {"  placement: modality_parallel\n  dp: 2\n  zero: 0\n", 4, CS_ERR_ARG,
         "wanted 6 to 34 ranks"},
        {"  dp: 3\n  zero: 0\n", 4, CS_ERR_ARG,
         "parallel.dp: wanted a divisor of 4 ranks, got 3"},
        {"  dp: 2\n", 6, CS_ERR_UNSUPPORTED,
         "unsupported: parallel.zero 1 with dp 2: set parallel.zero: 0"},
        {"  placement: single\n", 2, CS_ERR_UNSUPPORTED,
         "set parallel.zero: 0"},
        {"  placement: single\n  dp: 1\n  zero: 0\n", 2, CS_ERR_ARG,
         "wanted 1 ranks for dp 1, got 2"},
        {"  plan: manual\n  modules: {vision: {pp: 2}}\n", 3, CS_ERR_ARG,
         "4 stages and dp 1 want 4 ranks, got 3"},
        {"  plan: manual\n  modules: {vision: {pp: 2}}\n", 1, CS_ERR_ARG,
         "4 stages and dp 1 want 4 ranks, got 1"},
        {"  plan: manual\n  modules: {vision: {pp: 8}}\n", 10, CS_ERR_ARG,
         "parallel.modules.vision.pp: wanted 1..7 (it has 7 layers), got 8"},
        {"  plan: manual\n  modules: {vision: {pp: 2, cuts: [0, 7]}}\n", 4,
         CS_ERR_ARG, "vision: cut 1 wanted 1..6"},
        {"  plan: manual\n  modules: {vision: {pp: 1}}\n", 6,
         CS_ERR_UNSUPPORTED, "parallel.zero 1 with dp 2"},
        {"  plan: manual\n  placement: single\n  modules: {vision: {pp: 2}}\n",
         1, CS_ERR_ARG, "placement single wants one stage per module"},
        {"  plan: nowhere/plan.json\n", 3, CS_ERR_IO, "nowhere/plan.json"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        planning p =
            begin(CST_LISTEN_MODEL, CASES[i].parallel, CASES[i].n_ranks);
        const cs_plan_input input = input_of(&p);
        cs_plan *plan = NULL;

        assert_fails(cs_plan_create(&input, &plan), CASES[i].status,
                     CASES[i].part);
        assert_null(plan);
        end(&p, &plan);
    }
}

/* --- print ------------------------------------------------------------ */

static void the_table_shows_stages_and_reasons(void **state)
{
    planning p = begin(CST_LISTEN_MODEL, "  placement: modality_parallel\n", 5);
    cs_plan *plan = create(&p);
    char *text = NULL;

    (void)state;
    assert_ok(cs_plan_print(plan, p.graph, &text));
    assert_contains(text, "plan  5 ranks, dp 1, modality_parallel, 1f1b, 8 "
                          "microbatches per replica");
    assert_contains(text, "vision");
    assert_contains(text, "forward, input, weight");
    assert_contains(text, "why  ");
    assert_contains(text, "is the bottleneck");
    assert_contains(text, "next ");
    assert_contains(text, " %");
    csi_free(text);
    end(&p, &plan);
}

/* --- torture ---------------------------------------------------------- */

static cs_status make_and_print(void *arg)
{
    const planning *const p = arg;
    const cs_plan_input input = input_of(p);
    cs_plan *plan = NULL;
    char *text = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, cs_plan_create(&input, &plan));
    CS_TRY_GOTO(done, cs_plan_print(plan, p->graph, &text));
done:
    csi_free(text);
    cs_plan_destroy(&plan);
    return st;
}

static void every_allocation_may_fail(void **state)
{
    static const char *const PARALLEL[] = {
        "  placement: auto\n  zero: 0\n  schedule: auto\n",
        "  plan: manual\n  modules: {vision: {pp: 2}, audio: {pp: 1}}\n",
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        planning p = begin(CST_LISTEN_MODEL, PARALLEL[i], 4);
        cs_plan *none = NULL;

        p.n_microbatches = 2;
        cst_torture(make_and_print, &p);
        end(&p, &none);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(one_rank_is_single),
        CST_TEST(the_dear_module_gets_the_ranks),
        CST_TEST(no_division_is_faster_than_the_planners),
        CST_TEST(the_same_question_has_the_same_answer),
        CST_TEST(replicas_are_weighed_against_stages),
        CST_TEST(the_faster_schedule_is_taken_when_open),
        CST_TEST(fewer_cores_than_ranks_take_longer),
        CST_TEST(replicas_share_cores_too),
        CST_TEST(a_replica_has_at_least_the_recipes_microbatches),
        CST_TEST(many_ranks_are_planned_in_bounded_time),
        CST_TEST(every_plan_can_be_scheduled),
        CST_TEST(a_manual_plan_is_what_the_recipe_says),
        CST_TEST(what_cannot_be_is_refused),
        CST_TEST(the_table_shows_stages_and_reasons),
        CST_TEST(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
