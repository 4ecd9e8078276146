/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims about published sizes: the builder's parameters are those that were
 * published, and more than 10,000 combinations of encoders, projectors and
 * language models build, fit together and have costs, without any weights.
 */
#include "cornstarch/cost.h"
#include "cornstarch/zoo.h"

#include "support/test.h"
#include "unit/graph/recipes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_PRESETS = 256,
    WANTED_COMBINATIONS = 10000,
    ROUNDED = 1000000
};

static const double RATE = 1e12;

typedef struct preset_list {
    int32_t n;
    cs_zoo_preset preset[MAX_PRESETS];
    cs_zoo_size size[MAX_PRESETS];
} preset_list;

/* Presets of one modality. */
static void list_presets(cs_modality modality, preset_list *out)
{
    cs_zoo_preset p;
    cs_zoo_size size;

    out->n = 0;
    for (int32_t i = 0; cs_zoo_preset_get(i, &p); i++) {
        assert_ok(cs_zoo_preset_size(&p, &size));
        if (size.modality == modality) {
            assert_true(out->n < MAX_PRESETS);
            out->preset[out->n] = p;
            out->size[out->n++] = size;
        }
    }
}

static preset_list languages;
static preset_list visions;
static preset_list audios;

static int make_lists(void **state)
{
    (void)state;
    list_presets(CS_MODALITY_TEXT, &languages);
    list_presets(CS_MODALITY_VISION, &visions);
    list_presets(CS_MODALITY_AUDIO, &audios);
    return 0;
}

/* --- sizes ------------------------------------------------------------ */

static void check_sizes(const preset_list *list)
{
    for (int32_t i = 0; i < list->n; i++) {
        const cs_zoo_preset *p = &list->preset[i];
        const int64_t wanted = p->n_published - p->n_left_out;
        const int64_t got = list->size[i].n_params;
        const int64_t slack =
            p->n_published % ROUNDED == 0 ? p->n_published / 100 : 0;

        if (llabs(got - wanted) > slack) {
            fail_msg("%s: %lld parameters, published %lld", p->name,
                     (long long)got, (long long)wanted);
        }
        assert_true(p->source[0] != '\0' && p->n_left_out >= 0);
    }
}

static void parameters_are_as_published(void **state)
{
    (void)state;
    assert_true(languages.n >= 50 && visions.n >= 30 && audios.n >= 8);
    check_sizes(&languages);
    check_sizes(&visions);
    check_sizes(&audios);
}

/* Most figures are exact: the check above would see one bias too many. */
static void few_figures_are_rounded(void **state)
{
    cs_zoo_preset p;
    int32_t n = 0;
    int32_t n_rounded = 0;

    (void)state;
    for (; cs_zoo_preset_get(n, &p); n++) {
        n_rounded += p.n_published % ROUNDED == 0;
    }
    assert_true(n_rounded * 8 < n);
}

static void every_family_has_a_preset(void **state)
{
    const preset_list *lists[] = {&languages, &visions, &audios};
    cs_zoo_family f;

    (void)state;
    for (int32_t i = 0; cs_zoo_get(i, &f); i++) {
        bool has = false;
        for (int k = 0; k < 3; k++) {
            for (int32_t p = 0; p < lists[k]->n; p++) {
                has |= strcmp(lists[k]->size[p].family, f.id) == 0;
            }
        }
        if (!has) {
            fail_msg("no preset of family %s", f.id);
        }
    }
}

static void names_are_unique(void **state)
{
    cs_zoo_preset a;
    cs_zoo_preset b;

    (void)state;
    for (int32_t i = 0; cs_zoo_preset_get(i, &a); i++) {
        for (int32_t k = 0; k < i && cs_zoo_preset_get(k, &b); k++) {
            assert_string_not_equal(a.name, b.name);
        }
    }
    assert_false(cs_zoo_preset_get(-1, &a));
}

/* --- combinations ----------------------------------------------------- */

static void check_projector(const cs_graph *g, int32_t encoder,
                            cs_projector_type type, int64_t width)
{
    const cs_module *m = &g->modules[encoder];
    const cs_layer *last = &m->layers[m->n_layers - 1];
    const cs_layer *before = &m->layers[m->n_layers - 2];

    assert_int_equal(last->kind, CS_LAYER_PROJECTOR);
    assert_int_equal(last->in_dim, m->width * m->stack);
    assert_int_equal(last->in_dim, before->out_dim);
    assert_int_equal(last->out_dim, width);
    assert_int_equal(last->mlp_dim, type == CS_PROJECTOR_LINEAR   ? 0
                                    : type == CS_PROJECTOR_MERGER ? last->in_dim
                                                                  : width);
    assert_true(m->stack == 1 || type == CS_PROJECTOR_MERGER);
}

/* What the projectors hold, by their widths. */
static int64_t projector_params(const cs_graph *g, int32_t encoder,
                                cs_projector_type type)
{
    const cs_module *m = &g->modules[encoder];
    const cs_layer *l = &m->layers[m->n_layers - 1];
    const int64_t norm = type == CS_PROJECTOR_MERGER ? 2 * m->width : 0;

    return type == CS_PROJECTOR_LINEAR
               ? l->in_dim * l->out_dim + l->out_dim
               : norm + l->in_dim * l->mlp_dim + l->mlp_dim +
                     l->mlp_dim * l->out_dim + l->out_dim;
}

static int64_t count_params(const cs_graph *g)
{
    int64_t n = 0;

    for (int32_t i = 0; i < g->n_params; i++) {
        n += g->params[i].tied_to < 0 ? cs_shape_count(&g->params[i].shape) : 0;
    }
    return n;
}

/* Multiply-adds per row that the language model's products make. */
static double product_params(const cs_graph *g)
{
    const int32_t lm = cs_graph_language_model(g);
    double n = 0.0;

    for (int32_t i = 0; i < g->n_params; i++) {
        const cs_param *p = &g->params[i];
        const cs_layer *l = &g->modules[lm].layers[p->layer];
        const bool is_expert = p->slot == CS_SLOT_EXPERT_GATE_W ||
                               p->slot == CS_SLOT_EXPERT_UP_W ||
                               p->slot == CS_SLOT_EXPERT_DOWN_W;
        if (p->module == lm && p->shape.n_dims >= 2 &&
            (l->kind == CS_LAYER_BLOCK || l->kind == CS_LAYER_HEAD)) {
            n += (double)cs_shape_count(&p->shape) *
                 (is_expert ? (double)l->top_k / l->n_experts : 1.0);
        }
    }
    return n;
}

/* Every module costs something, and the language model as much as its
 * products say. */
static void check_costs(const cs_graph *g)
{
    const cs_work work = {1000.0, 0.0, 1000.0};
    cs_cost_table *costs = NULL;

    assert_ok(cs_cost_estimate(g, RATE, &costs));
    for (int32_t m = 0; m < g->n_modules; m++) {
        const cs_range_cost c =
            cs_cost_range(costs, g, m, 0, g->modules[m].n_layers, false, work);
        assert_true(isfinite(c.forward_s) && c.forward_s > 0.0);
        assert_true(isfinite(c.backward_input_s) && c.backward_input_s > 0.0);
        assert_true(isfinite(c.backward_weight_s) && c.backward_weight_s > 0.0);
    }
    const int32_t lm = cs_graph_language_model(g);
    double flops = 0.0;
    for (int32_t i = 0; i < g->modules[lm].n_layers; i++) {
        flops += costs->layer[lm][i].forward.row_s * RATE;
    }
    assert_near(flops / (2.0 * product_params(g)), 1.0, 1e-9);
    cs_cost_destroy(&costs);
}

typedef struct part {
    const cs_zoo_preset *preset;
    const cs_zoo_size *size;
    cs_projector_type projector;
} part;

static void check_combination(const part *encoders, int32_t n, int32_t language)
{
    static char name[2][8] = {"first", "second"};
    cs_encoder_config e[2];
    cs_graph *g = NULL;
    int64_t wanted = languages.size[language].n_params;

    for (int32_t i = 0; i < n; i++) {
        e[i] = (cs_encoder_config){
            .name = name[i],
            .preset = encoders[i].preset->name,
            .feature_layer = -1,
            .pool = 1,
            .projector = {.type = encoders[i].projector},
        };
    }
    const cs_config config = {
        .model =
            {
                .n_encoders = n,
                .encoders = e,
                .language_model = {.preset = languages.preset[language].name},
            },
    };
    assert_ok(cs_zoo_build(&config, &g));
    const int32_t lm = cs_graph_language_model(g);
    assert_int_equal(g->n_modules, n + 1);
    assert_int_equal(lm, n);
    for (int32_t i = 0; i < n; i++) {
        assert_string_equal(g->modules[i].family, encoders[i].size->family);
        check_projector(g, i, encoders[i].projector, g->modules[lm].width);
        wanted += encoders[i].size->n_params +
                  projector_params(g, i, encoders[i].projector);
    }
    if (count_params(g) != wanted) {
        fail_msg("%s with %s: %lld parameters, wanted %lld",
                 encoders[0].preset->name, languages.preset[language].name,
                 (long long)count_params(g), (long long)wanted);
    }
    check_costs(g);
    cs_graph_destroy(&g);
}

/* One encoder with each projector, before each language model. */
static int64_t check_single(const preset_list *list)
{
    static const cs_projector_type TYPES[] = {CS_PROJECTOR_MLP,
                                              CS_PROJECTOR_LINEAR,
                                              CS_PROJECTOR_MERGER};
    int64_t n = 0;

    for (int32_t i = 0; i < list->n; i++) {
        for (int32_t k = 0; k < languages.n; k++) {
            for (int t = 0; t < 3; t++, n++) {
                const part p = {&list->preset[i], &list->size[i], TYPES[t]};
                check_combination(&p, 1, k);
            }
        }
    }
    return n;
}

/* The language models that are the first of their family. */
static bool is_first(int32_t language)
{
    for (int32_t i = 0; i < language; i++) {
        if (strcmp(languages.size[i].family, languages.size[language].family) ==
            0) {
            return false;
        }
    }
    return true;
}

/* A vision and an audio encoder before one language model of each family. */
static int64_t check_pairs(void)
{
    int64_t n = 0;

    for (int32_t k = 0; k < languages.n; k++) {
        for (int32_t i = 0; i < visions.n && is_first(k); i++) {
            for (int32_t j = 0; j < audios.n; j++, n++) {
                const part p[] = {{&visions.preset[i], &visions.size[i],
                                   CS_PROJECTOR_MLP},
                                  {&audios.preset[j], &audios.size[j],
                                   CS_PROJECTOR_LINEAR}};
                check_combination(p, 2, k);
            }
        }
    }
    return n;
}

static void more_than_10000_combinations_build(void **state)
{
    int64_t n = 0;

    (void)state;
    n += check_single(&visions);
    n += check_single(&audios);
    n += check_pairs();
    print_message("%lld combinations\n", (long long)n);
    assert_true(n > WANTED_COMBINATIONS);
}

/* --- in recipes ------------------------------------------------------- */

static void a_recipe_names_presets(void **state)
{
    cs_graph *g = NULL;

    (void)state;
    assert_ok(cst_recipe_graph(
        "  encoders:\n    eye: {preset: siglip-base-patch16-224, placeholder: "
        "\"<e>\"}\n  language_model: {preset: llama-3.2-1b}\n",
        &g));
    assert_string_equal(g->modules[0].family, "siglip");
    assert_null(g->modules[0].source);
    assert_contains(g->modules[1].hf_config, "\"llama3\"");
    assert_contains(g->modules[1].hf_config, "LlamaForCausalLM");
    cs_graph_destroy(&g);
    assert_fails(cst_recipe_graph("  language_model: {preset: llama-9}\n", &g),
                 CS_ERR_ARG,
                 "model language_model: there is no preset 'llama-9'");
    assert_fails(cst_recipe_graph("  language_model: {preset: whisper-tiny}\n",
                                  &g),
                 CS_ERR_ARG,
                 "whisper-tiny, config of language_model: model_type "
                 "'whisper' is an encoder");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(parameters_are_as_published),
        CST_TEST(few_figures_are_rounded),
        CST_TEST(every_family_has_a_preset),
        CST_TEST(names_are_unique),
        CST_TEST(more_than_10000_combinations_build),
        CST_TEST(a_recipe_names_presets),
    };

    return cmocka_run_group_tests(tests, make_lists, NULL);
}
