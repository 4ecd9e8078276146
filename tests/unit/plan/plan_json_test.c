/* SPDX-License-Identifier: Apache-2.0 */
/* plan.json: what is written is read back, hand-made files are understood,
 * everything else is refused by a sentence that says where. */
#include "cornstarch/plan.h"

#include "base/alloc.h"

#include "internal.h"
#include "planning.h"
#include "support/test.h"

#include <string.h>

static void assert_equal_plans(const cs_plan *a, const cs_plan *b)
{
    assert_string_equal(a->recipe_hash, b->recipe_hash);
    assert_int_equal(a->n_ranks, b->n_ranks);
    assert_int_equal(a->dp, b->dp);
    assert_int_equal(a->placement, b->placement);
    assert_int_equal(a->schedule, b->schedule);
    assert_int_equal(a->n_microbatches, b->n_microbatches);
    assert_int_equal(a->n_modules, b->n_modules);
    for (int32_t m = 0; m < a->n_modules; m++) {
        const cs_plan_module *const x = &a->modules[m];
        const cs_plan_module *const y = &b->modules[m];
        const size_t n = (size_t)x->pp;

        assert_string_equal(x->name, y->name);
        assert_int_equal(x->pp, y->pp);
        assert_memory_equal(x->cuts, y->cuts, n * sizeof *x->cuts);
        assert_memory_equal(x->ranks, y->ranks, n * sizeof *x->ranks);
        assert_memory_equal(x->stage_s, y->stage_s, n * sizeof *x->stage_s);
    }
    assert_memory_equal(&a->predicted_step_s, &b->predicted_step_s,
                        sizeof a->predicted_step_s);
    assert_memory_equal(&a->predicted_bubble, &b->predicted_bubble,
                        sizeof a->predicted_bubble);
    assert_int_equal(a->n_runners_up, b->n_runners_up);
    for (int32_t i = 0; i < a->n_runners_up; i++) {
        assert_string_equal(a->runners_up[i].text, b->runners_up[i].text);
        assert_memory_equal(&a->runners_up[i].step_s, &b->runners_up[i].step_s,
                            sizeof a->runners_up[i].step_s);
    }
    assert_string_equal(a->reason, b->reason);
}

static void a_plan_is_read_as_it_was_written(void **state)
{
    static const char *const PARALLEL[] = {
        "  placement: modality_parallel\n",
        "  placement: auto\n  zero: 0\n  schedule: gpipe\n",
        "  plan: manual\n  modules: {vision: {pp: 3}, audio: {pp: 2}}\n",
    };
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    for (size_t i = 0; i < sizeof PARALLEL / sizeof PARALLEL[0]; i++) {
        planning p = begin(CST_LISTEN_MODEL, PARALLEL[i], 6);
        cs_plan *plan = create(&p);
        cs_plan *back = NULL;

        assert_ok(cs_plan_save(plan, cst_path(&dir, "plan.json")));
        assert_ok(cs_plan_load(cst_path(&dir, "plan.json"), p.graph, &back));
        assert_equal_plans(plan, back);
        cs_plan_destroy(&back);
        end(&p, &plan);
    }
    cst_tmpdir_remove(&dir);
}

/* Only what has no default; ranks in an order of one's own. */
#define BY_HAND(n_ranks, dp, placement, vision, language)                 \
    "{\"format\": \"cornstarch.plan\", \"version\": 1, \"recipe_hash\": " \
    "\"\",\n \"n_ranks\": " n_ranks ", \"dp\": " dp                       \
    ", \"placement\": \"" placement                                       \
    "\", \"schedule\": \"1f1b\", \"microbatches\": 4,\n \"modules\": ["   \
    "{\"name\": \"vision\", " vision                                      \
    "}, {\"name\": \"language_model\", " language "}]}"
#define VISION   "\"pp\": 2, \"cuts\": [0, 6], \"ranks\": [2, 0]"
#define LANGUAGE "\"pp\": 1, \"cuts\": [0], \"ranks\": [1]"

static void a_plan_by_hand_is_used_as_it_is(void **state)
{
    cst_tmpdir dir;
    char parallel[CST_PATH_BYTES + 64];

    (void)state;
    cst_tmpdir_make(&dir);
    const char *const path =
        cst_write_text(&dir, "plan.json",
                       BY_HAND("3", "1", "modality_parallel", VISION,
                               LANGUAGE));

    assert_ok(csi_format(parallel, sizeof parallel, "  plan: %s\n", path));
    planning p = begin(CST_CAPTION_MODEL, parallel, 3);
    cs_plan *plan = create(&p);
    char hash[17];

    assert_int_equal(plan->modules[0].cuts[1], 6);
    assert_int_equal(plan->modules[0].ranks[0], 2);
    assert_int_equal(plan->modules[1].ranks[0], 1);
    assert_int_equal(plan->n_microbatches, 8); /* of this run */
    assert_true(plan->predicted_step_s > 0.0);
    cs_config_hash(p.config, hash);
    assert_string_equal(plan->recipe_hash, hash);
    cs_plan_destroy(&plan);

    p.n_ranks = 2;
    const cs_plan_input input = input_of(&p);

    assert_fails(cs_plan_create(&input, &plan), CS_ERR_ARG,
                 "is for 3 ranks, got 2");
    end(&p, &plan);

    (void)cst_write_text(&dir, "plan.json",
                         BY_HAND("6", "2", "modality_parallel", VISION,
                                 LANGUAGE));
    p = begin(CST_CAPTION_MODEL, parallel, 6);
    const cs_plan_input replicated = input_of(&p);

    assert_fails(cs_plan_create(&replicated, &plan), CS_ERR_UNSUPPORTED,
                 "parallel.zero 1 with dp 2");
    end(&p, &plan);
    cst_tmpdir_remove(&dir);
}

static void single_plans_may_have_many_stages(void **state)
{
    const char *const text =
        BY_HAND("1", "1", "single",
                "\"pp\": 2, \"cuts\": [0, 6], \"ranks\": [0, 0]",
                "\"pp\": 1, \"cuts\": [0], \"ranks\": [0]");
    planning p = begin(CST_CAPTION_MODEL, "  plan: auto\n", 1);
    cs_plan *plan = NULL;

    (void)state;
    assert_ok(csi_plan_parse(text, strlen(text), "p.json", p.graph, &plan));
    assert_int_equal(plan->modules[0].pp, 2);
    end(&p, &plan);
}

/* --- refusals --------------------------------------------------------- */

static void bad_plans_are_refused(void **state)
{
    static const struct {
        const char *text;
        cs_status status;
        const char *part;
    } CASES[] = {
        {"", CS_ERR_FORMAT, "p.json"},
        {"null", CS_ERR_FORMAT, "p.json"},
        {"{\"format\": \"cornstarch.plan\", \"version\": 2}", CS_ERR_FORMAT,
         "wanted version 1"},
        {"{\"format\": \"cornstarch.plan\", \"version\": 1}", CS_ERR_FORMAT,
         "'recipe_hash' is missing"},
        {BY_HAND("3", "1, \"plcement\": 3", "modality_parallel", VISION,
                 LANGUAGE),
         CS_ERR_FORMAT, "unknown key 'plcement'; did you mean 'placement'?"},
        {BY_HAND("0", "1", "modality_parallel", VISION, LANGUAGE),
         CS_ERR_FORMAT, "key 'n_ranks': wanted 1.."},
        {BY_HAND("3", "2", "modality_parallel", VISION, LANGUAGE),
         CS_ERR_FORMAT, "p.json: plan: dp wanted a divisor of 3 ranks, got 2"},
        {BY_HAND("4", "1", "modality_parallel", VISION, LANGUAGE),
         CS_ERR_FORMAT, "3 stages want 3 ranks per replica, got 4"},
        {BY_HAND("3", "1", "colocated", VISION, LANGUAGE), CS_ERR_UNSUPPORTED,
         "key 'placement': wanted single, modality_parallel"},
        {BY_HAND("3", "1", "single", VISION, LANGUAGE), CS_ERR_FORMAT,
         "placement single has 1 rank per replica, got 3"},
        {BY_HAND("3", "1", "modality_parallel",
                 "\"pp\": 2, \"cuts\": [0, 7], \"ranks\": [2, 0]", LANGUAGE),
         CS_ERR_FORMAT, "vision: cut 1 wanted 1..6"},
        {BY_HAND("3", "1", "modality_parallel",
                 "\"pp\": 2, \"cuts\": [1, 6], \"ranks\": [2, 0]", LANGUAGE),
         CS_ERR_FORMAT, "vision: cut 0 wanted 0..0"},
        {BY_HAND("3", "1", "modality_parallel",
                 "\"pp\": 2, \"cuts\": [0, 0], \"ranks\": [2, 0]", LANGUAGE),
         CS_ERR_FORMAT, "vision: cut 1 wanted 1..6"},
        {BY_HAND("3", "1", "modality_parallel",
                 "\"pp\": 2, \"cuts\": [0], \"ranks\": [2, 0]", LANGUAGE),
         CS_ERR_FORMAT, "module vision: key 'cuts': wanted 2 numbers"},
        {BY_HAND("3", "1", "modality_parallel",
                 "\"pp\": 2, \"cuts\": [0, 1e3], \"ranks\": [2, 0]", LANGUAGE),
         CS_ERR_FORMAT, "key 'cuts': wanted integers from 0"},
        {BY_HAND("3", "1", "modality_parallel",
                 "\"pp\": 2, \"cuts\": [0, 6], \"ranks\": [2, 3]", LANGUAGE),
         CS_ERR_FORMAT, "rank of stage 1 wanted 0..2, got 3"},
        {BY_HAND("3", "1", "modality_parallel",
                 "\"pp\": 2, \"cuts\": [0, 6], \"ranks\": [2, 1]", LANGUAGE),
         CS_ERR_FORMAT, "rank 1 has two stages"},
        {BY_HAND("3", "1", "modality_parallel",
                 "\"pp\": 8, \"cuts\": [0, 6], \"ranks\": [2, 1]", LANGUAGE),
         CS_ERR_FORMAT, "key 'pp': wanted 1..7, got 8"},
        {BY_HAND("3", "1", "modality_parallel", VISION ", \"tp\": 2", LANGUAGE),
         CS_ERR_UNSUPPORTED, "module vision: tp 2, cp 1"},
        {BY_HAND("3", "1", "modality_parallel",
                 VISION ", \"recompute\": \"full\"", LANGUAGE),
         CS_ERR_UNSUPPORTED, "key 'recompute': wanted none, got 'full'"},
        {BY_HAND("3", "1", "modality_parallel", VISION ", \"stage_s\": [1, -1]",
                 LANGUAGE),
         CS_ERR_FORMAT, "key 'stage_s': wanted numbers from 0"},
        {"{\"format\": \"cornstarch.plan\", \"version\": 1, \"recipe_hash\": "
         "\"zz\"}",
         CS_ERR_FORMAT, "wanted 16 hexadecimal digits, got 'zz'"},
        {"{\"format\": \"cornstarch.plan\", \"version\": 1, \"recipe_hash\": "
         "\"\", \"n_ranks\": 1, \"dp\": 1, \"placement\": \"single\", "
         "\"schedule\": \"gpipe\", \"microbatches\": 1, \"modules\": [{}]}",
         CS_ERR_FORMAT, "the model has 2 modules, got 1"},
    };
    planning p = begin(CST_CAPTION_MODEL, "  plan: auto\n", 1);
    cs_plan *plan = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_fails(csi_plan_parse(CASES[i].text, strlen(CASES[i].text),
                                    "p.json", p.graph, &plan),
                     CASES[i].status, CASES[i].part);
        assert_null(plan);
    }
    end(&p, &plan);
}

static void modules_must_be_named_in_the_models_order(void **state)
{
    const char *const text =
        "{\"format\": \"cornstarch.plan\", \"version\": 1, \"recipe_hash\": "
        "\"\", \"n_ranks\": 1, \"dp\": 1, \"placement\": \"single\", "
        "\"schedule\": \"gpipe\", \"microbatches\": 1, \"modules\": ["
        "{\"name\": \"language_model\", \"pp\": 1, \"cuts\": [0], "
        "\"ranks\": [0]}, {\"name\": \"vision\", \"pp\": 1, \"cuts\": [0], "
        "\"ranks\": [0]}]}";
    planning p = begin(CST_CAPTION_MODEL, "  plan: auto\n", 1);
    cs_plan *plan = NULL;

    (void)state;
    assert_fails(csi_plan_parse(text, strlen(text), "p.json", p.graph, &plan),
                 CS_ERR_FORMAT,
                 "wanted module vision here, got language_model");
    end(&p, &plan);
}

static void the_fuzzers_seeds_are_what_their_names_say(void **state)
{
    static const struct {
        const char *name;
        const char *sentence; /* NULL = a good plan */
    } SEEDS[] = {
        {"three_ranks.json", NULL},
        {"single.json", NULL},
        {"replicas.json", NULL},
        {"idle_rank.json", "3 stages want 3 ranks per replica, got 4"},
    };
    planning p = begin(CST_CAPTION_MODEL, "  plan: auto\n", 1);
    cs_plan *plan = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof SEEDS / sizeof SEEDS[0]; i++) {
        char path[64];

        assert_ok(csi_format(path, sizeof path, "fuzz/corpus/plan/%s",
                             SEEDS[i].name));
        if (SEEDS[i].sentence != NULL) {
            assert_fails(cs_plan_load(cst_source_path(path), p.graph, &plan),
                         CS_ERR_FORMAT, SEEDS[i].sentence);
        } else {
            assert_ok(cs_plan_load(cst_source_path(path), p.graph, &plan));
            cs_plan_destroy(&plan);
        }
    }
    end(&p, &plan);
}

/* Every prefix of a good file is refused, none crashes. */
static void truncated_files_are_refused(void **state)
{
    const char *const text =
        BY_HAND("3", "1", "modality_parallel", VISION, LANGUAGE);
    planning p = begin(CST_CAPTION_MODEL, "  plan: auto\n", 1);
    cs_plan *plan = NULL;

    (void)state;
    for (size_t n = 0; n < strlen(text); n++) {
        assert_fails(csi_plan_parse(text, n, "p.json", p.graph, &plan),
                     CS_ERR_FORMAT, "p.json");
    }
    end(&p, &plan);
}

/* --- torture ---------------------------------------------------------- */

typedef struct torture_case {
    const cs_plan *plan;
    const cs_graph *graph;
    const char *path;
} torture_case;

static cs_status save_and_load(void *arg)
{
    const torture_case *const c = arg;
    cs_plan *plan = NULL;

    CS_TRY(cs_plan_save(c->plan, c->path));
    CS_TRY(cs_plan_load(c->path, c->graph, &plan));
    cs_plan_destroy(&plan);
    return CS_OK;
}

static void every_allocation_and_file_call_may_fail(void **state)
{
    planning p = begin(CST_LISTEN_MODEL, "  placement: modality_parallel\n", 5);
    cs_plan *plan = create(&p);
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    torture_case c = {.plan = plan,
                      .graph = p.graph,
                      .path = cst_path(&dir, "plan.json")};
    cst_torture(save_and_load, &c);
    cst_tmpdir_remove(&dir);
    end(&p, &plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_plan_is_read_as_it_was_written),
        CST_TEST(a_plan_by_hand_is_used_as_it_is),
        CST_TEST(single_plans_may_have_many_stages),
        CST_TEST(bad_plans_are_refused),
        CST_TEST(modules_must_be_named_in_the_models_order),
        CST_TEST(the_fuzzers_seeds_are_what_their_names_say),
        CST_TEST(truncated_files_are_refused),
        CST_TEST(every_allocation_and_file_call_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
