/* SPDX-License-Identifier: Apache-2.0 */
/* The graph object: look-ups, counts, checks, work, printing. */
#include "cornstarch/graph.h"

#include "base/alloc.h"

#include "recipes.h"
#include "support/test.h"

#include <string.h>

static cs_graph *build(const char *model)
{
    cs_graph *graph = NULL;

    assert_ok(cst_recipe_graph(model, &graph));
    return graph;
}

static void names_are_found(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);

    (void)state;
    assert_int_equal(cs_graph_find_module(g, "audio"), 1);
    assert_int_equal(cs_graph_find_module(g, "video"), -1);
    assert_int_equal(cs_graph_language_model(g), 2);
    for (int32_t i = 0; i < g->n_params; i++) {
        assert_int_equal(cs_graph_find_param(g, g->params[i].global_name), i);
    }
    assert_int_equal(cs_graph_find_param(g, "audio.nothing"), -1);
    cs_graph_destroy(&g);
}

static void layers_point_at_their_parameters(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);
    int32_t n = 0;

    (void)state;
    for (int32_t m = 0; m < g->n_modules; m++) {
        for (int32_t i = 0; i < g->modules[m].n_layers; i++) {
            for (int s = 0; s < CS_SLOT_COUNT; s++) {
                const int32_t p = g->modules[m].layers[i].param[s];

                if (p >= 0) {
                    assert_int_equal(g->params[p].module, m);
                    assert_int_equal(g->params[p].layer, i);
                    assert_int_equal(g->params[p].slot, s);
                    assert_int_equal(p, n); /* module, layer, slot order */
                    n++;
                }
            }
        }
    }
    assert_int_equal(n, g->n_params);
    cs_graph_destroy(&g);
}

static void counts_add_up(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);
    int64_t all = 0;
    int64_t trainable = 0;

    (void)state;
    for (int32_t m = 0; m < g->n_modules; m++) {
        all += cs_graph_param_count(g, m, false);
        trainable += cs_graph_param_count(g, m, true);
    }
    assert_int_equal(cs_graph_param_count(g, -1, false), all);
    assert_int_equal(cs_graph_param_count(g, -1, true), trainable);
    assert_true(trainable < all);
    cs_graph_destroy(&g);
}

static void graphs_that_do_not_fit_are_refused(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);
    char *const name = g->params[3].global_name;

    (void)state;
    g->params[3].global_name = g->params[0].global_name;
    assert_fails(cs_graph_check(g), CS_ERR_INTERNAL, "two parameters");
    g->params[3].global_name = name;

    g->modules[0].layers[2].in_dim = 9;
    assert_fails(cs_graph_check(g), CS_ERR_SHAPE,
                 "vision layer 2 takes width 9, the layer before gives 8");
    g->modules[0].layers[2].in_dim = 8;

    g->modules[0].layers[CST_VISION_LAYERS - 1].out_dim = 13;
    assert_fails(cs_graph_check(g), CS_ERR_SHAPE,
                 "vision.projector gives width 13, the language model has 12");
    g->modules[0].layers[CST_VISION_LAYERS - 1].out_dim = 12;

    g->params[0].shape.dim[0] = 0;
    assert_fails(cs_graph_check(g), CS_ERR_SHAPE, "is empty or too large");
    g->params[0].shape.dim[0] = 8;
    assert_ok(cs_graph_check(g));
    cs_graph_destroy(&g);
}

/* --- work ------------------------------------------------------------- */

static void work_of_a_block_is_two_per_weight_and_row(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);
    const cs_layer *const block = &g->modules[1].layers[1];

    (void)state;
    /* q 144, k 72, v 72, o 144, three of 240 */
    assert_near(cs_layer_forward_flops(block, 10.0, 0.0),
                2.0 * 10.0 * (144 + 72 + 72 + 144 + 3 * 240), 1e-15);
    /* scores and values: two products of width 12 */
    assert_near(cs_layer_forward_flops(block, 0.0, 7.0), 2.0 * 2.0 * 7.0 * 12.0,
                1e-15);
    cs_graph_destroy(&g);
}

static void work_of_the_ends_is_that_of_their_products(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);
    const cs_layer *const vision = g->modules[0].layers;
    const cs_layer *const audio = g->modules[1].layers;
    const cs_layer *const language = g->modules[2].layers;

    (void)state;
    assert_near(cs_layer_forward_flops(&vision[0], 1.0, 5.0), 2.0 * 48 * 8,
                1e-15);
    assert_near(cs_layer_forward_flops(&vision[5], 1.0, 0.0), 0.0, 0.0);
    assert_near(cs_layer_forward_flops(&vision[6], 1.0, 0.0),
                2.0 * (8 * 12 + 12 * 12), 1e-15);
    /* the first convolution has two frames per row of the second */
    assert_near(cs_layer_forward_flops(&audio[0], 1.0, 0.0),
                2.0 * (2 * 10 * 8 * 3 + 8 * 8 * 3), 1e-15);
    assert_near(cs_layer_forward_flops(&language[0], 1.0, 0.0), 0.0, 0.0);
    assert_near(cs_layer_forward_flops(&language[4], 1.0, 0.0), 2.0 * 12 * 30,
                1e-15);
    cs_graph_destroy(&g);
}

/* --- print ------------------------------------------------------------ */

static void the_tree_shows_modules_and_layers(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);
    char *text = NULL;

    (void)state;
    assert_ok(cs_graph_print(g, false, &text));
    assert_contains(text, "attention islands");
    assert_contains(text, "vision  siglip");
    assert_contains(text, "audio  whisper");
    assert_contains(text, "language_model  llama");
    assert_contains(text, " 0 conv_stem  10 -> 8");
    assert_contains(text, " 4 head       12 -> 30");
    assert_null(strstr(text, "lm_head.weight"));
    csi_free(text);
    assert_ok(cs_graph_print(g, true, &text));
    assert_contains(text, "lm_head.weight");
    assert_contains(text, "frozen");
    csi_free(text);
    cs_graph_destroy(&g);
}

static cs_status print_once(void *arg)
{
    char *text = NULL;
    const cs_status st = cs_graph_print(arg, true, &text);

    csi_free(text);
    return st;
}

static cs_status check_once(void *arg)
{
    return cs_graph_check(arg);
}

static void every_allocation_may_fail(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);

    (void)state;
    cst_torture(print_once, g);
    cst_torture(check_once, g);
    cs_graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(names_are_found),
        CST_TEST(layers_point_at_their_parameters),
        CST_TEST(counts_add_up),
        CST_TEST(graphs_that_do_not_fit_are_refused),
        CST_TEST(work_of_a_block_is_two_per_weight_and_row),
        CST_TEST(work_of_the_ends_is_that_of_their_products),
        CST_TEST(the_tree_shows_modules_and_layers),
        CST_TEST(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
