/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plan means: its stage graph and flags, its costs, and cuts against
 * brute force.
 */
#include "cornstarch/plan.h"

#include "base/alloc.h"
#include "base/rng.h"

#include "internal.h"
#include "planning.h"
#include "support/test.h"

#include <math.h>
#include <string.h>

/* --- stage graphs ----------------------------------------------------- */

static void assert_stage(const cs_stage *s, int32_t module, int32_t position,
                         int32_t rank, bool input_half, bool weight_half)
{
    assert_int_equal(s->module, module);
    assert_int_equal(s->position, position);
    assert_int_equal(s->rank, rank);
    assert_int_equal(s->has_backward_input, input_half);
    assert_int_equal(s->has_backward_weight, weight_half);
}

static void all_trainable_stages_have_both_halves(void **state)
{
    planning p = begin(CST_CAPTION_MODEL,
                       "  plan: manual\n  modules: {vision: {pp: 2}, "
                       "language_model: {pp: 3, cuts: [0, 2, 4]}}\n",
                       5);
    cs_plan *plan = create(&p);
    cs_stage_graph g = {0};
    int32_t *range = NULL;

    (void)state;
    assert_ok(cs_plan_stage_graph(plan, p.graph, &g, &range));
    assert_ok(cs_stage_graph_check(&g));
    assert_int_equal(g.n_stages, 5);
    assert_int_equal(g.n_ranks, 5);
    assert_stage(&g.stages[0], 0, 0, 0, true, true);
    assert_stage(&g.stages[1], 0, 1, 1, true, true);
    assert_stage(&g.stages[2], 1, 0, 2, true, true);
    assert_stage(&g.stages[3], 1, 1, 3, true, true);
    /* the head alone: no product with a half of its own */
    assert_stage(&g.stages[4], 1, 2, 4, true, false);
    assert_int_equal(range[0], 0);
    assert_int_equal(range[3], CST_VISION_LAYERS);
    assert_int_equal(range[4], 0);
    assert_int_equal(range[5], 2);
    assert_int_equal(range[8], 4);
    assert_int_equal(range[9], CST_LLAMA_LAYERS);
    assert_int_equal(g.n_edges, 4);
    for (int32_t e = 0; e < g.n_edges; e++) {
        assert_true(g.edges[e].has_gradient);
        assert_int_equal(g.edges[e].n_slots, 2);
    }
    csi_free(range);
    cs_stage_graph_fini(&g);
    end(&p, &plan);
}

static const cs_edge *find_edge(const cs_stage_graph *g, int32_t from,
                                int32_t to)
{
    for (int32_t e = 0; e < g->n_edges; e++) {
        if (g->edges[e].from == from && g->edges[e].to == to) {
            return &g->edges[e];
        }
    }
    fail_msg("no edge from stage %d to %d", from, to);
    return NULL;
}

static void frozen_parts_have_no_backward_of_their_own(void **state)
{
    planning p =
        begin(CST_LISTEN_MODEL,
              "  plan: manual\n  modules: {vision: {pp: 2, cuts: [0, 6]}, "
              "audio: {pp: 2, cuts: [0, 3]}, "
              "language_model: {pp: 2, cuts: [0, 3]}}\n",
              6);
    cs_plan *plan = create(&p);
    cs_stage_graph g = {0};
    int32_t *range = NULL;

    (void)state;
    assert_ok(cs_plan_stage_graph(plan, p.graph, &g, &range));
    assert_ok(cs_stage_graph_check(&g));
    assert_stage(&g.stages[0], 0, 0, 0, false, false); /* frozen encoder */
    assert_stage(&g.stages[1], 0, 1, 1, true, true);   /* its projector */
    assert_stage(&g.stages[2], 1, 0, 2, true, true);
    assert_stage(&g.stages[3], 1, 1, 3, true, true);
    assert_stage(&g.stages[4], 2, 0, 4, true, false); /* frozen, but between */
    assert_stage(&g.stages[5], 2, 1, 5, true, false);
    assert_int_equal(g.n_edges, 5);
    assert_false(find_edge(&g, 0, 1)->has_gradient);
    assert_int_equal(find_edge(&g, 0, 1)->n_slots, 4);
    assert_true(find_edge(&g, 1, 4)->has_gradient);
    assert_true(find_edge(&g, 3, 4)->has_gradient);
    assert_true(find_edge(&g, 4, 5)->has_gradient);
    csi_free(range);
    cs_stage_graph_fini(&g);
    end(&p, &plan);
}

static void nothing_trainable_below_means_no_backward(void **state)
{
    planning p =
        begin("  encoders:\n    vision: {config: " CST_VISION_CONFIG
              ", freeze: true, placeholder: \"<image>\", projector: {freeze: "
              "true}}\n  language_model: {config: " CST_LLAMA_CONFIG
              ", freeze: [embed, \"layers\\\\.0\"]}\n",
              "  plan: manual\n  modules: {language_model: {pp: 2, cuts: [0, "
              "2]}}\n",
              3);
    cs_plan *plan = create(&p);
    cs_stage_graph g = {0};
    int32_t *range = NULL;

    (void)state;
    assert_ok(cs_plan_stage_graph(plan, p.graph, &g, &range));
    assert_stage(&g.stages[0], 0, 0, 0, false, false);
    assert_stage(&g.stages[1], 1, 0, 1, false, false);
    assert_stage(&g.stages[2], 1, 1, 2, true, true);
    assert_false(find_edge(&g, 1, 2)->has_gradient);
    csi_free(range);
    cs_stage_graph_fini(&g);
    end(&p, &plan);
}

/* Each encoder counts, the last one too. */
static void one_trainable_encoder_makes_the_model_pass_gradients(void **state)
{
    static const char *const MODELS[] =
        {"  encoders:\n    vision: {config: " CST_VISION_CONFIG
         ", freeze: true, placeholder: \"<v>\", projector: {freeze: true}}\n"
         "    audio: {config: " CST_AUDIO_CONFIG
         ", placeholder: \"<a>\"}\n  language_model: {config: " CST_LLAMA_CONFIG
         ", freeze: true}\n",
         "  encoders:\n    vision: {config: " CST_VISION_CONFIG
         ", placeholder: \"<v>\"}\n"
         "    audio: {config: " CST_AUDIO_CONFIG
         ", freeze: true, placeholder: \"<a>\", projector: {freeze: true}}\n"
         "  language_model: {config: " CST_LLAMA_CONFIG ", freeze: true}\n"};

    (void)state;
    for (int32_t i = 0; i < 2; i++) {
        planning p = begin(MODELS[i], "  placement: modality_parallel\n", 3);
        cs_plan *plan = create(&p);
        cs_stage_graph g = {0};
        int32_t *range = NULL;

        assert_ok(cs_plan_stage_graph(plan, p.graph, &g, &range));
        assert_int_equal(g.stages[0].has_backward_input, i == 1);
        assert_int_equal(g.stages[1].has_backward_input, i == 0);
        assert_true(g.stages[2].has_backward_input);
        assert_false(g.stages[2].has_backward_weight);
        csi_free(range);
        cs_stage_graph_fini(&g);
        end(&p, &plan);
    }
}

/* --- costs ------------------------------------------------------------ */

static void stage_costs_add_up_and_edges_carry_rows(void **state)
{
    planning p =
        begin(CST_LISTEN_MODEL,
              "  plan: manual\n  modules: {vision: {pp: 3, cuts: [0, 5, 6]}}\n",
              5);
    cs_plan *plan = create(&p);
    const cs_work work[] = {{64, 640, 32}, {80, 800, 40}, {50, 1000, 0},
                            {0, 0, 0},     {20, 100, 10}, {70, 900, 0}};
    cs_stage_cost *cost = NULL;
    double *bytes = NULL;

    (void)state;
    assert_ok(cs_plan_costs(plan, p.graph, p.costs, work, 2, &cost, &bytes));
    for (int32_t mb = 0; mb < 2; mb++) {
        const cs_range_cost vision =
            cs_cost_range(p.costs, p.graph, 0, 0, CST_VISION_LAYERS, false,
                          work[3 * mb]);
        double forward = 0.0;
        double input_half = 0.0;

        for (int32_t s = 0; s < 3; s++) {
            forward += cost[2 * s + mb].forward_s;
            input_half += cost[2 * s + mb].backward_input_s;
        }
        assert_near(forward, vision.forward_s, 1e-15);
        assert_near(input_half, vision.backward_input_s, 1e-15);
    }
    assert_near(cost[1].forward_s, 0.0, 0.0); /* no picture, no work */
    assert_true(cost[2 * 4].backward_input_s > 0.0);
    assert_near(cost[2 * 4].backward_weight_s, 0.0, 0.0); /* frozen model */
    /* edges: 0-1 hidden rows, 1-2 and 2-4 features, 3-4 audio features */
    assert_near(bytes[0], 64.0 * 8.0 * 4.0, 0.0);
    assert_near(bytes[1], 0.0, 0.0);
    assert_near(bytes[2], 32.0 * 8.0 * 4.0, 0.0);
    assert_near(bytes[4], 32.0 * 12.0 * 4.0, 0.0);
    assert_near(bytes[6], 40.0 * 12.0 * 4.0, 0.0);
    assert_near(bytes[7], 10.0 * 12.0 * 4.0, 0.0);
    csi_free(cost);
    csi_free(bytes);
    p.costs->precision = CS_PRECISION_BF16;
    assert_ok(cs_plan_costs(plan, p.graph, p.costs, work, 2, &cost, &bytes));
    assert_near(bytes[6], 40.0 * 12.0 * 2.0, 0.0);
    csi_free(cost);
    csi_free(bytes);
    end(&p, &plan);
}

/* --- cutting ---------------------------------------------------------- */

enum {
    MAX_CHAIN = 9
};

/* Least dearest stage over all cuts of layers [first, n) into `stages`. */
static double brute_force(const double *layer_s, int32_t first, int32_t n,
                          int32_t stages)
{
    double best = INFINITY;
    double sum = 0.0;

    if (stages == 1) {
        for (int32_t i = first; i < n; i++) {
            sum += layer_s[i];
        }
        return sum;
    }
    for (int32_t end = first + 1; end <= n - stages + 1; end++) {
        sum += layer_s[end - 1];
        best = fmin(best, fmax(sum, brute_force(layer_s, end, n, stages - 1)));
    }
    return best;
}

static void cuts_are_as_good_as_trying_all(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        const int32_t n = 1 + (int32_t)csi_rng_below(seed, 0, 0, MAX_CHAIN);
        double layer_s[MAX_CHAIN];
        int32_t cuts[MAX_CHAIN];
        csi_partition partition;

        for (int32_t i = 0; i < n; i++) {
            layer_s[i] = (double)csi_rng_below(seed, 1, (uint64_t)i, 6);
        }
        assert_ok(csi_partition_init(layer_s, n, n + 3, &partition));
        assert_int_equal(partition.max_stages, n);
        for (int32_t stages = 1; stages <= n; stages++) {
            double worst = 0.0;

            csi_partition_cuts(&partition, stages, cuts);
            assert_int_equal(cuts[0], 0);
            for (int32_t s = 0; s < stages; s++) {
                const int32_t end = s + 1 < stages ? cuts[s + 1] : n;
                double sum = 0.0;

                assert_true(cuts[s] < end);
                for (int32_t i = cuts[s]; i < end; i++) {
                    sum += layer_s[i];
                }
                worst = fmax(worst, sum);
            }
            assert_near(worst, brute_force(layer_s, 0, n, stages), 1e-12);
            assert_near(partition.worst[stages - 1], worst, 1e-12);
        }
        csi_partition_fini(&partition);
    }
}

/* Frozen layers below trainable ones cost a third: cuts must show it. */
static void cuts_know_what_is_frozen(void **state)
{
    planning frozen =
        begin("  language_model: {config: {model_type: llama, hidden_size: 64, "
              "intermediate_size: 128, num_hidden_layers: 8, "
              "num_attention_heads: 4, "
              "vocab_size: 8}, freeze: [embed, \"layers\\\\.[0-5]\\\\.\"]}\n",
              "  plan: manual\n  modules: {language_model: {pp: 2}}\n", 2);
    cs_plan *plan = NULL;

    (void)state;
    frozen.work[0] = (cs_work){.rows = 1000.0, .pairs = 1000.0};
    plan = create(&frozen);
    /* six frozen blocks cost 1 each, two trained ones almost 3 each */
    assert_int_equal(plan->modules[0].cuts[1], 7);
    end(&frozen, &plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(all_trainable_stages_have_both_halves),
        CST_TEST(frozen_parts_have_no_backward_of_their_own),
        CST_TEST(nothing_trainable_below_means_no_backward),
        CST_TEST(one_trainable_encoder_makes_the_model_pass_gradients),
        CST_TEST(stage_costs_add_up_and_edges_carry_rows),
        CST_TEST(cuts_are_as_good_as_trying_all),
        CST_TEST(cuts_know_what_is_frozen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
