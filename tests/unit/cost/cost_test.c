/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Costs: the frozen rules as a table, estimates against sums by hand, lines
 * fitted to measurements, profile.json.
 */
#include "cornstarch/cost.h"

#include "base/alloc.h"
#include "base/rng.h"

#include "internal.h"
#include "support/test.h"
#include "unit/graph/recipes.h"

#include <math.h>
#include <string.h>

static cs_graph *build(const char *model)
{
    cs_graph *graph = NULL;

    assert_ok(cst_recipe_graph(model, &graph));
    return graph;
}

static cs_cost_table *estimate(const cs_graph *graph, double flops_per_s)
{
    cs_cost_table *table = NULL;

    assert_ok(cs_cost_estimate(graph, flops_per_s, &table));
    return table;
}

/* --- frozen rules ----------------------------------------------------- */

static void the_frozen_rules_are_these(void **state)
{
    /* upstream, here, product -> input half, gives gradient, weight half */
    static const bool TABLE[][6] = {
        {0, 0, 0, 0, 0, 0}, /* frozen, nothing below: forward only */
        {0, 1, 0, 1, 0, 0}, /* only norms or biases */
        {0, 1, 1, 1, 0, 1}, /* the first that trains */
        {1, 0, 0, 1, 1, 0}, /* frozen above a trained projector */
        {1, 1, 0, 1, 1, 0}, /* norms above something trained */
        {1, 1, 1, 1, 1, 1}, /* everything */
    };

    (void)state;
    for (size_t i = 0; i < sizeof TABLE / sizeof TABLE[0]; i++) {
        const cs_frozen_rule rule =
            cs_frozen_rule_of(TABLE[i][0], TABLE[i][1], TABLE[i][2]);

        assert_int_equal(rule.runs_backward_input, TABLE[i][3]);
        assert_int_equal(rule.gives_input_gradient, TABLE[i][4]);
        assert_int_equal(rule.runs_backward_weight, TABLE[i][5]);
    }
}

/* --- closed forms ----------------------------------------------------- */

enum {
    BASE_NS = 5000 /* per layer and half that exists, in an estimate */
};

static void assert_flops(double seconds, double flops, int n_bases)
{
    assert_near(seconds * 1e9, flops + (double)n_bases * BASE_NS, 1e-9);
}

static void trained_blocks_cost_one_forward_per_half(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = estimate(g, 1e9);
    const cs_work work = {.rows = 100.0, .pairs = 5000.0};
    const double rows = 2.0 * 100.0 * (144 + 72 + 72 + 144 + 720);
    const double pairs = 4.0 * 5000.0 * 12.0;
    const cs_range_cost c = cs_cost_range(t, g, 1, 1, 3, true, work);

    (void)state;
    assert_flops(c.forward_s, 2.0 * (rows + pairs), 2);
    assert_flops(c.backward_input_s, 2.0 * (rows + 2.5 * pairs), 2);
    assert_flops(c.backward_weight_s, 2.0 * rows, 2);
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

static void frozen_layers_cost_what_lies_below_them_asks_for(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);
    cs_cost_table *t = estimate(g, 1e9);
    const cs_work work = {.rows = 64.0, .pairs = 256.0, .feature_rows = 16.0};
    cs_range_cost c = cs_cost_range(t, g, 0, 0, 6, false, work);

    (void)state;
    assert_true(c.forward_s > 0.0); /* frozen encoder below its projector */
    assert_near(c.backward_input_s, 0.0, 0.0);
    assert_near(c.backward_weight_s, 0.0, 0.0);

    c = cs_cost_range(t, g, 0, 6, 7, false, work); /* projector: no dx of its
                                                      first product */
    assert_flops(c.forward_s, 2.0 * 16.0 * (96.0 + 144.0), 1);
    assert_flops(c.backward_input_s, 2.0 * 16.0 * 144.0 + 0.6 * BASE_NS, 0);
    assert_flops(c.backward_weight_s, 2.0 * 16.0 * (96.0 + 144.0), 1);

    c = cs_cost_range(t, g, 2, 1, 2, true, work); /* frozen decoder block */
    assert_flops(c.backward_input_s,
                 2.0 * 64.0 * 1152.0 + 2.5 * 4.0 * 256.0 * 12.0, 1);
    assert_near(c.backward_weight_s, 0.0, 0.0);

    c = cs_cost_range(t, g, 2, 1, 2, false, work); /* nothing below trains */
    assert_near(c.backward_input_s, 0.0, 0.0);

    c = cs_cost_range(t, g, 2, 4, 5, true, work); /* frozen head: logits again
                                                     and dx */
    assert_flops(c.backward_input_s,
                 2.0 * 2.0 * 64.0 * 360.0 + 2.0 / 3.0 * BASE_NS, 0);
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

static void a_trained_head_pays_its_weights_in_the_input_half(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = estimate(g, 1e9);
    const cs_work work = {.rows = 10.0};
    const cs_range_cost c = cs_cost_range(t, g, 1, 4, 5, true, work);

    (void)state;
    assert_flops(c.backward_input_s, 3.0 * 2.0 * 10.0 * 360.0, 1);
    assert_near(c.backward_weight_s, 0.0, 0.0);
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

static void the_first_trained_block_gives_no_gradient_down(void **state)
{
    cs_graph *g = build("  language_model: {config: " CST_LLAMA_CONFIG
                        ", freeze: [embed_tokens]}\n");
    cs_cost_table *t = estimate(g, 1e9);
    const cs_work work = {.rows = 10.0};
    const cs_range_cost c = cs_cost_range(t, g, 0, 0, 2, false, work);
    /* of 1152 products per row, q, k and v (288) give nothing down */
    const double share = (1152.0 - 288.0) / 1152.0;

    (void)state;
    assert_flops(c.backward_input_s, share * (2.0 * 10.0 * 1152.0 + BASE_NS),
                 0);
    assert_flops(c.backward_weight_s, 2.0 * 10.0 * 1152.0, 1);
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

static void partly_frozen_products_cost_their_part(void **state)
{
    cs_graph *g = build("  language_model: {config: " CST_LLAMA_CONFIG
                        ", freeze: [mlp]}\n");
    cs_cost_table *t = estimate(g, 1e9);
    const cs_work work = {.rows = 10.0};
    const cs_range_cost c = cs_cost_range(t, g, 0, 1, 2, true, work);

    (void)state;
    assert_flops(c.backward_weight_s,
                 432.0 / 1152.0 * (2.0 * 10.0 * 1152.0 + BASE_NS), 0);
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

static void ranges_add_up_whatever_the_cut(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);
    cs_cost_table *t = estimate(g, 1e9);
    const cs_work work = {.rows = 40.0, .pairs = 300.0, .feature_rows = 20.0};

    (void)state;
    for (int32_t m = 0; m < g->n_modules; m++) {
        const int32_t n = g->modules[m].n_layers;
        const bool below = m == 2;
        const cs_range_cost all = cs_cost_range(t, g, m, 0, n, below, work);

        for (int32_t cut = 1; cut < n; cut++) {
            bool upstream = below;

            for (int32_t i = 0; i < g->n_params; i++) {
                const cs_param *const p = &g->params[i];
                upstream |= p->module == m && p->layer < cut && p->is_trainable;
            }
            const cs_range_cost a = cs_cost_range(t, g, m, 0, cut, below, work);
            const cs_range_cost b =
                cs_cost_range(t, g, m, cut, n, upstream, work);

            assert_near(a.forward_s + b.forward_s, all.forward_s, 1e-15);
            assert_near(a.backward_input_s + b.backward_input_s,
                        all.backward_input_s, 1e-15);
            assert_near(a.backward_weight_s + b.backward_weight_s,
                        all.backward_weight_s, 1e-15);
        }
    }
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

static void no_rows_cost_nothing(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = estimate(g, 1e9);
    const cs_range_cost c =
        cs_cost_range(t, g, 0, 0, CST_VISION_LAYERS, false, (cs_work){0});

    (void)state;
    assert_near(c.forward_s + c.backward_input_s + c.backward_weight_s, 0.0,
                0.0);
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

static void an_estimate_needs_a_rate(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = NULL;

    (void)state;
    assert_fails(cs_cost_estimate(g, 0.0, &t), CS_ERR_ARG, "flops_per_s");
    assert_fails(cs_cost_estimate(g, (double)NAN, &t), CS_ERR_ARG,
                 "flops_per_s");
    t = estimate(g, 5e10);
    assert_string_equal(t->source, "estimate at 50 GFLOP/s");
    assert_false(t->is_measured);
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

/* --- fitting ---------------------------------------------------------- */

enum {
    MAX_SAMPLES = 256
};

typedef struct samples {
    int32_t n;
    cs_cost_sample at[MAX_SAMPLES];
} samples;

static double at_line(const cs_cost_line *line, double rows, double pairs)
{
    return line->base_s + line->row_s * rows + line->pair_s * pairs;
}

/* Measures every layer at the given rows; pairs are causal. */
static void measure(const cs_graph *g, const cs_layer_cost *truth,
                    const double *rows, int32_t n_rows, samples *out)
{
    out->n = 0;
    for (int32_t m = 0; m < g->n_modules; m++) {
        for (int32_t i = 0; i < g->modules[m].n_layers; i++) {
            const bool has_pairs =
                g->modules[m].layers[i].kind == CS_LAYER_BLOCK;

            for (int32_t r = 0; r < n_rows; r++) {
                const double t = rows[r];
                const double pairs = has_pairs ? t * (t + 1.0) / 2.0 : 0.0;

                out->at[out->n++] = (cs_cost_sample){
                    .module = m,
                    .layer = i,
                    .rows = t,
                    .pairs = pairs,
                    .forward_s = at_line(&truth->forward, t, pairs),
                    .backward_input_s =
                        at_line(&truth->backward_input, t, pairs),
                    .backward_weight_s =
                        at_line(&truth->backward_weight, t, pairs),
                    .saved_bytes = 100.0 * t,
                    .spread = 0.01,
                };
            }
        }
    }
}

static const cs_layer_cost TRUTH = {
    .forward = {1e-5, 2e-7, 3e-10},
    .backward_input = {2e-5, 3e-7, 7e-10},
    .backward_weight = {0.0, 2.5e-7, 0.0},
};

static cs_status fit(const cs_graph *g, const samples *s, cs_cost_table **out)
{
    return cs_cost_fit(g, CS_PRECISION_F32, s->at, s->n, "test", out);
}

static void assert_line(const cs_cost_line *got, double base_s, double row_s,
                        double pair_s)
{
    assert_near(got->base_s * 1e6, base_s * 1e6, 1e-6);
    assert_near(got->row_s * 1e9, row_s * 1e9, 1e-6);
    assert_near(got->pair_s * 1e12, pair_s * 1e12, 1e-6);
}

static void three_sizes_give_the_lines_back(void **state)
{
    static const double ROWS[] = {64.0, 256.0, 1024.0};
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = NULL;
    samples s;

    (void)state;
    measure(g, &TRUTH, ROWS, 3, &s);
    assert_ok(fit(g, &s, &t));
    assert_true(t->is_measured);
    for (int32_t m = 0; m < 2; m++) {
        for (int32_t i = 0; i < g->modules[m].n_layers; i++) {
            const cs_layer_cost *const c = &t->layer[m][i];
            const bool block = g->modules[m].layers[i].kind == CS_LAYER_BLOCK;

            assert_line(&c->forward, 1e-5, 2e-7, block ? 3e-10 : 0.0);
            assert_line(&c->backward_input, 2e-5, 3e-7, block ? 7e-10 : 0.0);
            assert_line(&c->backward_weight, 0.0, 2.5e-7, 0.0);
        }
    }
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

static void two_sizes_of_a_block_give_rows_and_pairs(void **state)
{
    static const double ROWS[] = {100.0, 400.0};
    const cs_layer_cost truth = {.forward = {0.0, 2e-7, 3e-10}};
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = NULL;
    samples s;

    (void)state;
    measure(g, &truth, ROWS, 2, &s);
    assert_ok(fit(g, &s, &t));
    assert_line(&t->layer[1][1].forward, 0.0, 2e-7, 3e-10);
    assert_line(&t->layer[1][1].backward_input, 0.0, 0.0, 0.0);
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

static void one_size_gives_seconds_per_row(void **state)
{
    static const double ROWS[] = {100.0};
    const cs_layer_cost truth = {.forward = {1e-5, 0.0, 0.0}};
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = NULL;
    samples s;

    (void)state;
    measure(g, &truth, ROWS, 1, &s);
    assert_ok(fit(g, &s, &t));
    assert_line(&t->layer[1][1].forward, 0.0, 1e-7, 0.0);
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

/* Times that fall with the rows must not become a negative slope. */
static void no_coefficient_is_negative_and_none_fits_better(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = NULL;
    samples s;

    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        static const double ROWS[] = {32.0, 128.0, 512.0, 700.0};
        double error = 0.0;
        double wiggled = INFINITY;

        measure(g, &TRUTH, ROWS, 4, &s);
        for (int32_t i = 0; i < s.n; i++) {
            s.at[i].forward_s =
                1e-4 * (0.2 + csi_rng_uniform(seed, 1, (uint64_t)i));
        }
        assert_ok(fit(g, &s, &t));
        const cs_cost_line line = t->layer[1][2].forward;

        assert_true(line.base_s >= 0.0 && line.row_s >= 0.0 &&
                    line.pair_s >= 0.0);
        /* no small feasible change of one coefficient does better */
        for (int k = 0; k < 7; k++) {
            cs_cost_line l = line;
            double sum = 0.0;

            l.base_s += k == 1 ? 1e-7 : k == 2 ? -1e-7 : 0.0;
            l.row_s += k == 3 ? 1e-10 : k == 4 ? -1e-10 : 0.0;
            l.pair_s += k == 5 ? 1e-13 : k == 6 ? -1e-13 : 0.0;
            for (int32_t i = 0; i < s.n; i++) {
                const cs_cost_sample *const p = &s.at[i];
                if (p->module == 1 && p->layer == 2) {
                    const double e =
                        at_line(&l, p->rows, p->pairs) / p->forward_s - 1.0;
                    sum += e * e;
                }
            }
            if (k == 0) {
                error = sum;
            } else if (l.base_s >= 0.0 && l.row_s >= 0.0 && l.pair_s >= 0.0) {
                wiggled = fmin(wiggled, sum);
            }
        }
        assert_true(error <= wiggled + 1e-9);
        cs_cost_destroy(&t);
    }
    cs_graph_destroy(&g);
}

static void equal_layers_share_a_measurement(void **state)
{
    static const double ROWS[] = {64.0, 256.0, 1024.0};
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = NULL;
    samples all;
    samples some = {0};

    (void)state;
    measure(g, &TRUTH, ROWS, 3, &all);
    for (int32_t i = 0; i < all.n; i++) {
        const cs_cost_sample *const p = &all.at[i];
        if (g->modules[p->module].layers[p->layer].kind != CS_LAYER_BLOCK ||
            p->layer == 2) {
            some.at[some.n++] = *p;
        }
    }
    assert_ok(fit(g, &some, &t));
    assert_line(&t->layer[0][4].forward, 1e-5, 2e-7, 3e-10);
    assert_line(&t->layer[1][3].forward, 1e-5, 2e-7, 3e-10);
    cs_cost_destroy(&t);
    some.n -= 3; /* the head has no equal */
    assert_fails(fit(g, &some, &t), CS_ERR_ARG,
                 "nothing measured for language_model layer 4");
    cs_graph_destroy(&g);
}

static void nonsense_is_no_measurement(void **state)
{
    static const double ROWS[] = {64.0, 256.0};
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = NULL;
    samples s;

    (void)state;
    measure(g, &TRUTH, ROWS, 2, &s);
    s.at[3].forward_s = -1.0;
    assert_fails(fit(g, &s, &t), CS_ERR_ARG, "cost sample 3");
    s.at[3].forward_s = (double)INFINITY;
    assert_fails(fit(g, &s, &t), CS_ERR_ARG, "cost sample 3");
    s.at[3].forward_s = 1.0;
    s.at[4].layer = 70;
    assert_fails(fit(g, &s, &t), CS_ERR_ARG,
                 "vision has 7 layers, got layer 70");
    s.at[4].module = -1;
    assert_fails(fit(g, &s, &t), CS_ERR_ARG, "module -1 of 2");
    s.n = 0;
    assert_fails(fit(g, &s, &t), CS_ERR_ARG, "no samples");
    assert_null(t);
    cs_graph_destroy(&g);
}

/* --- profile.json ----------------------------------------------------- */

static void a_profile_is_read_as_it_was_written(void **state)
{
    static const double ROWS[] = {63.0, 255.5, 1024.0};
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = NULL;
    cs_cost_table *back = NULL;
    cst_tmpdir dir;
    samples s;

    (void)state;
    cst_tmpdir_make(&dir);
    measure(g, &TRUTH, ROWS, 3, &s);
    assert_ok(cs_cost_fit(g, CS_PRECISION_BF16, s.at, s.n, "test", &t));
    assert_ok(cs_cost_save(t, g, "cpu avx512", "abc",
                           cst_path(&dir, "profile.json")));
    assert_ok(cs_cost_load(cst_path(&dir, "profile.json"), g, &back));
    assert_string_equal(back->source, "profile.json, cpu avx512, commit abc");
    assert_int_equal(back->precision, CS_PRECISION_BF16);
    assert_int_equal(back->n_samples, t->n_samples);
    assert_memory_equal(back->samples, t->samples,
                        (size_t)t->n_samples * sizeof *t->samples);
    for (int32_t m = 0; m < 2; m++) {
        assert_memory_equal(back->layer[m], t->layer[m],
                            (size_t)g->modules[m].n_layers * sizeof **t->layer);
    }
    cs_cost_destroy(&t);
    cs_cost_destroy(&back);
    cst_tmpdir_remove(&dir);
    cs_graph_destroy(&g);
}

static void an_estimate_is_no_profile(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = estimate(g, 1e9);

    (void)state;
    assert_fails(cs_cost_save(t, g, "m", "c", "/nonexistent/p.json"),
                 CS_ERR_ARG, "only measured costs");
    cs_cost_destroy(&t);
    cs_graph_destroy(&g);
}

#define HEAD                                                \
    "{\"format\": \"cornstarch.profile\", \"version\": 1, " \
    "\"machine\": \"m\", \"commit\": \"c\", \"entries\": ["
#define ENTRY(module, layer, tp, precision, tokens, forward, recompute)  \
    "{\"module\": \"" module "\", \"layer\": " layer ", \"tp\": " tp     \
    ", \"cp\": 1, \"precision\": \"" precision "\", \"tokens\": " tokens \
    ", \"visible_pairs\": 0, \"recompute\": " recompute                  \
    ", \"forward_s\": " forward ", \"backward_input_s\": 1, "            \
    "\"backward_weight_s\": 1, \"recompute_s\": 0, \"saved_bytes\": 1, " \
    "\"spread\": 0}"

static void bad_profiles_are_refused(void **state)
{
    static const struct {
        const char *text;
        cs_status status;
        const char *part;
    } CASES[] = {
        {"", CS_ERR_FORMAT, "p.json"},
        {"[1]", CS_ERR_FORMAT, "p.json"},
        {"{\"format\": \"cornstarch.plan\", \"version\": 1}", CS_ERR_FORMAT,
         "wanted format 'cornstarch.profile'"},
        {HEAD "]}", CS_ERR_FORMAT, "key 'entries': wanted 1.."},
        {HEAD "7]}", CS_ERR_FORMAT, "entry 0"},
        {HEAD ENTRY("video", "0", "1", "f32", "1", "1", "false") "]}",
         CS_ERR_FORMAT, "entry 0: the model has no module 'video'"},
        {HEAD ENTRY("vision", "7", "1", "f32", "1", "1", "false") "]}",
         CS_ERR_FORMAT, "key 'layer': wanted 0..6, got 7"},
        {HEAD ENTRY("vision", "0", "2", "f32", "1", "1", "false") "]}",
         CS_ERR_UNSUPPORTED, "tp, cp or recompute"},
        {HEAD ENTRY("vision", "0", "1", "f32", "1", "1", "true") "]}",
         CS_ERR_UNSUPPORTED, "tp, cp or recompute"},
        {HEAD ENTRY("vision", "0", "1", "f16", "1", "1", "false") "]}",
         CS_ERR_FORMAT, "wanted f32 or bf16, got 'f16'"},
        {HEAD ENTRY("vision", "0", "1", "f32", "1", "1",
                    "false") ", " ENTRY("vision", "0", "1", "bf16", "1", "1",
                                        "false") "]}",
         CS_ERR_FORMAT, "entry 1: key 'precision'"},
        {HEAD ENTRY("vision", "0", "1", "f32", "0", "1", "false") "]}",
         CS_ERR_FORMAT, "key 'tokens': wanted at least 1, got 0"},
        {HEAD ENTRY("vision", "0", "1", "f32", "1", "-2", "false") "]}",
         CS_ERR_FORMAT, "key 'forward_s': wanted at least 0, got -2"},
        {HEAD ENTRY("vision", "0", "1", "f32", "1", "1", "false") "]}",
         CS_ERR_FORMAT, "p.json: costs: nothing measured for vision layer 1"},
    };
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_fails(csi_cost_parse(CASES[i].text, strlen(CASES[i].text),
                                    "p.json", g, &t),
                     CASES[i].status, CASES[i].part);
        assert_null(t);
    }
    assert_fails(cs_cost_load("/nonexistent/p.json", g, &t), CS_ERR_IO,
                 "/nonexistent/p.json");
    cs_graph_destroy(&g);
}

static void the_fuzzers_seeds_are_what_their_names_say(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);
    cs_cost_table *t = NULL;

    (void)state;
    assert_ok(cs_cost_load(cst_source_path("fuzz/corpus/plan/profile.json"), g,
                           &t));
    assert_line(&t->layer[1][2].forward, 1e-5, 1e-6, 0.0);
    cs_cost_destroy(&t);
    assert_fails(cs_cost_load(cst_source_path("fuzz/corpus/plan/"
                                              "profile_short.json"),
                              g, &t),
                 CS_ERR_FORMAT, "nothing measured for vision layer 1");
    cs_graph_destroy(&g);
}

/* --- torture ---------------------------------------------------------- */

typedef struct torture_case {
    const cs_graph *graph;
    const char *path;
    samples samples;
} torture_case;

static cs_status measure_save_and_load(void *arg)
{
    const torture_case *const c = arg;
    cs_cost_table *t = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, fit(c->graph, &c->samples, &t));
    CS_TRY_GOTO(done, cs_cost_save(t, c->graph, "m", "c", c->path));
    cs_cost_destroy(&t);
    CS_TRY_GOTO(done, cs_cost_load(c->path, c->graph, &t));
    cs_cost_destroy(&t);
    CS_TRY_GOTO(done, cs_cost_estimate(c->graph, 1e9, &t));
done:
    cs_cost_destroy(&t);
    return st;
}

static void every_allocation_and_file_call_may_fail(void **state)
{
    static const double ROWS[] = {64.0};
    cst_tmpdir dir;
    torture_case c = {0};
    cs_graph *g = build(CST_CAPTION_MODEL);

    (void)state;
    cst_tmpdir_make(&dir);
    c.graph = g;
    c.path = cst_path(&dir, "profile.json");
    measure(g, &TRUTH, ROWS, 1, &c.samples);
    cst_torture(measure_save_and_load, &c);
    cst_tmpdir_remove(&dir);
    cs_graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(the_frozen_rules_are_these),
        CST_TEST(trained_blocks_cost_one_forward_per_half),
        CST_TEST(frozen_layers_cost_what_lies_below_them_asks_for),
        CST_TEST(a_trained_head_pays_its_weights_in_the_input_half),
        CST_TEST(the_first_trained_block_gives_no_gradient_down),
        CST_TEST(partly_frozen_products_cost_their_part),
        CST_TEST(ranges_add_up_whatever_the_cut),
        CST_TEST(no_rows_cost_nothing),
        CST_TEST(an_estimate_needs_a_rate),
        CST_TEST(three_sizes_give_the_lines_back),
        CST_TEST(two_sizes_of_a_block_give_rows_and_pairs),
        CST_TEST(one_size_gives_seconds_per_row),
        CST_TEST(no_coefficient_is_negative_and_none_fits_better),
        CST_TEST(equal_layers_share_a_measurement),
        CST_TEST(nonsense_is_no_measurement),
        CST_TEST(a_profile_is_read_as_it_was_written),
        CST_TEST(an_estimate_is_no_profile),
        CST_TEST(bad_profiles_are_refused),
        CST_TEST(the_fuzzers_seeds_are_what_their_names_say),
        CST_TEST(every_allocation_and_file_call_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
