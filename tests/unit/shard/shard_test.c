/* SPDX-License-Identifier: Apache-2.0 */
/* Shards: over all ranks of a replica every parameter is held once and every
 * stage run once; places and duties are what the plan says. */
#include "cornstarch/shard.h"

#include "base/alloc.h"

#include "support/test.h"
#include "unit/plan/planning.h"

#include <string.h>

static cs_shard *cut(const planning *p, const cs_plan *plan, int32_t rank)
{
    cs_shard *shard = NULL;

    assert_ok(cs_shard_create(p->graph, plan, rank, &shard));
    return shard;
}

static void check_replica(const planning *p, const cs_plan *plan,
                          int32_t replica)
{
    const int32_t n = plan->n_ranks / plan->dp;
    int32_t *const holders =
        csi_calloc((size_t)p->graph->n_params, sizeof *holders);
    int32_t n_embed = 0;
    int32_t n_score = 0;
    uint32_t encodes = 0;
    int32_t n_mine = 0;
    int32_t n_stages = 0;

    for (int32_t r = 0; r < n; r++) {
        cs_shard *s = cut(p, plan, replica * n + r);

        assert_int_equal(s->replica, replica);
        assert_int_equal(s->pipeline_rank, r);
        assert_int_equal(s->n_pipeline_ranks, n);
        assert_int_equal(s->dp, plan->dp);
        for (int32_t i = 0; i < p->graph->n_params; i++) {
            holders[i] += s->held[i];
        }
        for (int32_t i = 0; i < s->stages.n_stages; i++) {
            n_mine += s->stage[i].is_mine;
            assert_int_equal(s->stage[i].is_mine,
                             s->stages.stages[i].rank == r);
        }
        n_stages = s->stages.n_stages;
        n_embed += s->embeds;
        n_score += s->scores;
        assert_int_equal(encodes & s->encodes, 0);
        encodes |= s->encodes;
        cs_shard_destroy(&s);
    }
    for (int32_t i = 0; i < p->graph->n_params; i++) {
        assert_int_equal(holders[i], 1);
    }
    assert_int_equal(n_mine, n_stages);
    assert_int_equal(n_embed, 1);
    assert_int_equal(n_score, 1);
    assert_int_equal(encodes, (1U << (p->graph->n_modules - 1)) - 1U);
    csi_free(holders);
}

static void every_parameter_is_held_once_per_replica(void **state)
{
    static const struct {
        const char *model, *parallel;
        int32_t n_ranks;
    } CASES[] = {
        {CST_CAPTION_MODEL, "  plan: auto\n", 1},
        {CST_CAPTION_MODEL, "  plan: auto\n", 4},
        {CST_LISTEN_MODEL, "  plan: auto\n", 4},
        {CST_LISTEN_MODEL, "  plan: auto\n", 17},
        {CST_LISTEN_MODEL, "  zero: 0\n  dp: 3\n", 15},
        {CST_LISTEN_MODEL, "  placement: single\n  zero: 0\n", 3},
        {CST_LISTEN_MODEL,
         "  plan: manual\n  modules: {vision: {pp: 7}, audio: {pp: 5}, "
         "language_model: {pp: 5}}\n",
         17},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        planning p = begin(CASES[i].model, CASES[i].parallel, CASES[i].n_ranks);
        cs_plan *plan = create(&p);

        for (int32_t replica = 0; replica < plan->dp; replica++) {
            check_replica(&p, plan, replica);
        }
        end(&p, &plan);
    }
}

static void a_rank_knows_its_place(void **state)
{
    planning p = begin(CST_LISTEN_MODEL,
                       "  plan: manual\n  zero: 0\n  modules: {vision: {pp: 2, "
                       "cuts: [0, 4]}, language_model: {pp: 2, cuts: [0, 3]}}"
                       "\n",
                       10);
    cs_plan *plan = create(&p);
    cs_shard *s = cut(&p, plan, 5 + 1); /* second replica, vision's second */

    (void)state;
    assert_int_equal(s->rank, 6);
    assert_int_equal(s->n_ranks, 10);
    assert_int_equal(s->dp, 2);
    assert_int_equal(s->replica, 1);
    assert_int_equal(s->pipeline_rank, 1);
    assert_int_equal(s->schedule, CS_SCHEDULE_1F1B);
    assert_false(s->embeds);
    assert_false(s->scores);
    assert_int_equal(s->encodes, 0);
    assert_int_equal(s->stages.n_stages, 5);
    assert_false(s->stage[1].is_first);
    assert_true(s->stage[1].is_last);
    assert_int_equal(s->stage[1].first_layer, 4);
    assert_int_equal(s->stage[1].last_layer, CST_VISION_LAYERS);
    assert_false(s->held[cs_graph_find_param(
        p.graph, "vision.vision_model.encoder.layers.2.mlp.fc1.weight")]);
    assert_true(s->held[cs_graph_find_param(
        p.graph, "vision.vision_model.encoder.layers.3.mlp.fc1.weight")]);
    assert_true(s->held
                    [cs_graph_find_param(p.graph,
                                         "vision.projector.linear_1.weight")]);
    cs_shard_destroy(&s);

    s = cut(&p, plan, 2);
    assert_int_equal(s->encodes, 2); /* the audio stem */
    cs_shard_destroy(&s);
    s = cut(&p, plan, 3);
    assert_true(s->embeds);
    assert_false(s->scores);
    cs_shard_destroy(&s);
    s = cut(&p, plan, 9);
    assert_true(s->scores);
    assert_false(s->embeds);
    cs_shard_destroy(&s);
    end(&p, &plan);
}

static void a_rank_that_is_not_there_is_refused(void **state)
{
    planning p = begin(CST_CAPTION_MODEL, "  plan: auto\n", 2);
    cs_plan *plan = create(&p);
    cs_shard *s = NULL;

    (void)state;
    assert_fails(cs_shard_create(p.graph, plan, 2, &s), CS_ERR_ARG,
                 "rank wanted 0..1, got 2");
    assert_fails(cs_shard_create(p.graph, plan, -1, &s), CS_ERR_ARG,
                 "rank wanted 0..1, got -1");
    assert_null(s);
    end(&p, &plan);
}

static void a_shard_is_printed(void **state)
{
    planning p = begin(CST_LISTEN_MODEL, "  plan: auto\n", 3);
    cs_plan *plan = create(&p);
    cs_shard *s = cut(&p, plan, 0);
    char *text = NULL;

    (void)state;
    assert_ok(cs_shard_print(s, &text));
    assert_contains(text, "rank 0 of 3: replica 0 of 1, pipeline rank 0 of 3");
    assert_contains(text, "stage 0  vision layers 0..6  forward, backward "
                          "input, backward weight");
    assert_null(strstr(text, "language_model"));
    csi_free(text);
    cs_shard_destroy(&s);
    end(&p, &plan);
}

typedef struct torture_case {
    const cs_graph *graph;
    const cs_plan *plan;
} torture_case;

static cs_status create_and_print(void *arg)
{
    const torture_case *const c = arg;
    cs_shard *s = NULL;
    char *text = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, cs_shard_create(c->graph, c->plan, 1, &s));
    CS_TRY_GOTO(done, cs_shard_print(s, &text));
done:
    csi_free(text);
    cs_shard_destroy(&s);
    return st;
}

static void every_allocation_may_fail(void **state)
{
    planning p = begin(CST_LISTEN_MODEL, "  plan: auto\n", 4);
    cs_plan *plan = create(&p);
    torture_case c = {.graph = p.graph, .plan = plan};

    (void)state;
    cst_torture(create_and_print, &c);
    end(&p, &plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(every_parameter_is_held_once_per_replica),
        CST_TEST(a_rank_knows_its_place),
        CST_TEST(a_rank_that_is_not_there_is_refused),
        CST_TEST(a_shard_is_printed),
        CST_TEST(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
