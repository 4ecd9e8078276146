/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From config.json and a recipe's choices to an encoder: published sizes, what
 * each family adds to its module, hidden layers, stacked rows, mergers, inner
 * configs of whole models, and what is refused.
 */
#include "cornstarch/zoo.h"

#include "base/alloc.h"

#include "support/test.h"
#include "unit/graph/recipes.h"

#include <math.h>
#include <string.h>

static cs_status build_keys(const char *keys, cs_graph **out)
{
    char model[2048];

    CS_TRY(csi_format(model, sizeof model,
                      "  encoders:\n    e: {placeholder: \"<e>\", %s}\n"
                      "  language_model: {config: " CST_LLAMA_CONFIG "}\n",
                      keys));
    return cst_recipe_graph(model, out);
}

static cs_graph *build(const char *keys)
{
    cs_graph *graph = NULL;

    assert_ok(build_keys(keys, &graph));
    return graph;
}

static const cs_param *param(const cs_graph *graph, const char *name)
{
    const int32_t i = cs_graph_find_param(graph, name);

    if (i < 0) {
        fail_msg("no parameter %s", name);
    }
    return &graph->params[i];
}

/* Elements of the encoder's parameters with (or without) a slot. */
static int64_t count(const cs_graph *g, bool is_run)
{
    int64_t n = 0;

    for (int32_t i = 0; i < g->n_params; i++) {
        const cs_param *p = &g->params[i];
        if (p->module == 0 && !p->in_projector &&
            (p->slot < CS_SLOT_COUNT) == is_run) {
            n += cs_shape_count(&p->shape);
        }
    }
    return n;
}

#define INTERN "model_type: intern_vit_6b, image_size: 448, patch_size: 14, "
#define EVA                                                            \
    "model_type: clip_vision_model, image_size: 224, patch_size: 14, " \
    "q_bias: true, k_bias: false, v_bias: true, "

/* Counts of the published checkpoints: num_parameters() of transformers'
 * classes, and of the references in tools/golden/zoo_encoder.py, without
 * pooling heads and mergers. */
static void published_sizes_are_met(void **state)
{
    static const struct {
        const char *config;
        int64_t count;
    } MODELS[] = {
        {"{model_type: vit}", 85798656}, /* vit-base-patch16-224 */
        {"{model_type: clip_vision_model, hidden_size: 1024, "
         "intermediate_size: 4096, num_hidden_layers: 24, "
         "num_attention_heads: 16, image_size: 336, patch_size: 14}",
         303507456}, /* clip-vit-large-patch14-336 */
        {"{model_type: dinov2, image_size: 518}", 86580480}, /* base */
        {"{model_type: dinov2, image_size: 518, hidden_size: 1536, "
         "num_hidden_layers: 40, num_attention_heads: 24, "
         "use_swiglu_ffn: true}",
         1136480768}, /* dinov2-giant */
        {"{" INTERN "hidden_size: 1024, intermediate_size: 4096, "
         "num_hidden_layers: 24, num_attention_heads: 16, qkv_bias: true, "
         "norm_type: layer_norm, qk_normalization: false}",
         304012288}, /* InternViT-300M-448px */
        {"{" INTERN "num_hidden_layers: 45}",
         5536496000}, /* InternViT-6B-448px-V1-5 */
        {"{" EVA "hidden_size: 4096, intermediate_size: 20480, "
         "num_hidden_layers: 32, num_attention_heads: 32, "
         "post_layernorm: false}",
         7521374208}, /* EVA-CLIP-8B's vision tower */
        {"{" EVA "hidden_size: 5120, intermediate_size: 25600, "
         "num_hidden_layers: 48, num_attention_heads: 40, "
         "post_layernorm: true, use_rms_norm: true}",
         17623121920},                                    /* EVA-CLIP-18B's */
        {"{model_type: pixtral}", 403489792},             /* Pixtral-12B's */
        {"{model_type: qwen2_vl_vision}", 631183360},     /* Qwen2-VL's */
        {"{model_type: qwen2_audio_encoder}", 636968960}, /* Qwen2-Audio's */
    };
    char keys[1024];

    (void)state;
    for (size_t i = 0; i < sizeof MODELS / sizeof MODELS[0]; i++) {
        assert_ok(csi_format(keys, sizeof keys, "config: %s",
                             MODELS[i].config));
        cs_graph *g = build(keys);

        if (count(g, true) + count(g, false) != MODELS[i].count) {
            fail_msg("%s: %lld parameters, wanted %lld", MODELS[i].config,
                     (long long)(count(g, true) + count(g, false)),
                     (long long)MODELS[i].count);
        }
        cs_graph_destroy(&g);
    }
}

/* --- rows ------------------------------------------------------------------ */

#define CLIP                                                                \
    "config: {model_type: clip_vision_model, hidden_size: 8, "              \
    "intermediate_size: 16, num_hidden_layers: 4, num_attention_heads: 2, " \
    "image_size: 8, patch_size: 4}"
#define SIGLIP "config: " CST_VISION_CONFIG

static void class_rows_are_kept_or_dropped(void **state)
{
    cs_graph *g = build(CLIP);

    (void)state;
    assert_int_equal(g->modules[0].class_rows, 1);
    assert_int_equal(g->modules[0].feature_skip, 0);
    assert_int_equal(g->modules[0].max_positions, 5);
    assert_int_equal(param(g, "e.vision_model.embeddings.class_embedding")
                         ->role,
                     CS_PARAM_EMBEDDING);
    cs_graph_destroy(&g);
    g = build(CLIP ", feature_select: default");
    assert_int_equal(g->modules[0].feature_skip, 1);
    cs_graph_destroy(&g);
    g = build(SIGLIP ", feature_select: default");
    assert_int_equal(g->modules[0].class_rows, 0);
    assert_int_equal(g->modules[0].feature_skip, 0);
    cs_graph_destroy(&g);
}

static void stacked_rows_widen_what_the_projector_takes(void **state)
{
    cs_graph *g = build(SIGLIP ", pool: 2, stack: 3");
    char text[CS_SHAPE_TEXT_BYTES];

    (void)state;
    assert_int_equal(g->modules[0].pool, 2);
    assert_int_equal(g->modules[0].stack, 3);
    assert_int_equal(g->modules[0].layers[5].out_dim, 24);
    assert_string_equal(cs_shape_print(&param(g, "e.projector.linear_1.weight")
                                            ->shape,
                                       text),
                        "[12, 24]");
    assert_contains(g->modules[0].projector_config, "\"in_features\": 24");
    cs_graph_destroy(&g);
}

static void a_merger_normalises_and_stacks_in_the_layer_before(void **state)
{
    cs_graph *g = build("config: {model_type: qwen2_vl_vision, depth: 2, "
                        "embed_dim: 8, num_heads: 2, patch_size: 2}, "
                        "projector: {type: merger}");
    const cs_module *m = &g->modules[0];
    char text[CS_SHAPE_TEXT_BYTES];

    (void)state;
    assert_int_equal(m->stack, 4);
    assert_int_equal(m->merge, 2);
    assert_int_equal(m->temporal_patch, 2);
    assert_int_equal(m->layers[0].in_dim, 3 * 2 * 2 * 2);
    assert_int_equal(m->max_positions, 0);
    assert_true(m->is_any_size);
    assert_int_equal(param(g, "e.projector.ln_q.weight")->layer, 3);
    assert_true(m->layers[3].param[CS_SLOT_NORM2_W] >= 0);
    assert_int_equal(m->layers[3].param[CS_SLOT_NORM1_W], -1);
    assert_string_equal(cs_shape_print(&param(g, "e.projector.mlp.0.weight")
                                            ->shape,
                                       text),
                        "[32, 32]");
    assert_string_equal(cs_shape_print(&param(g, "e.projector.mlp.2.weight")
                                            ->shape,
                                       text),
                        "[12, 32]");
    cs_graph_destroy(&g);
    /* of any other encoder four rows in reading order */
    g = build(SIGLIP ", projector: {type: merger}");
    assert_int_equal(g->modules[0].stack, 4);
    assert_true(g->modules[0].layers[5].param[CS_SLOT_NORM1_W] >= 0);
    cs_graph_destroy(&g);
}

static void rows_and_columns_turn_halves_of_a_head(void **state)
{
    cs_graph *g = build("config: {model_type: pixtral, hidden_size: 16, "
                        "intermediate_size: 8, num_hidden_layers: 1, "
                        "num_attention_heads: 2, rope_theta: 100.0}");
    const cs_layer *l = &g->modules[0].layers[1];

    (void)state;
    /* frequencies 100^(-i/4): 0 and 2 by row, 1 and 3 by column */
    assert_int_equal(l->rotary_dim, 8);
    assert_int_equal(l->rope_axes, 2);
    assert_int_equal(g->modules[0].rope_axes, 2);
    for (int i = 0; i < 4; i++) {
        static const int STEP[] = {0, 2, 1, 3};
        assert_int_equal(l->rope_axis[i], i / 2);
        assert_near(l->rope_frequency[i], pow(100.0, -STEP[i] / 4.0), 1e-12);
    }
    cs_graph_destroy(&g);
    g = build("config: {model_type: qwen2_vl_vision, depth: 1, embed_dim: 16, "
              "num_heads: 2, rope_parameters: {rope_type: axial, rope_theta: "
              "100.0}}");
    l = &g->modules[0].layers[1];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(l->rope_axis[i], i / 2);
        assert_near(l->rope_frequency[i], pow(100.0, -(i % 2) / 2.0), 1e-12);
    }
    cs_graph_destroy(&g);
}

static void layer_scale_starts_as_its_config_says(void **state)
{
    cs_graph *g =
        build("config: {model_type: dinov2, hidden_size: 8, "
              "num_hidden_layers: 1, num_attention_heads: 2, image_size: 28, "
              "layerscale_value: 0.25}");
    const cs_param *p = param(g, "e.encoder.layer.0.layer_scale2.lambda1");

    (void)state;
    assert_int_equal(p->init, CS_INIT_CONSTANT);
    assert_float_equal(p->init_std, 0.25, 0.0);
    assert_int_equal(p->role, CS_PARAM_NORM);
    /* stored, trained by nobody */
    assert_int_equal(param(g, "e.embeddings.mask_token")->slot, CS_SLOT_COUNT);
    assert_false(param(g, "e.embeddings.mask_token")->is_trainable);
    cs_graph_destroy(&g);
}

static void pictures_of_another_size_have_resampled_positions(void **state)
{
    cs_graph *g = build(CLIP ", processor: {image_size: 16}");
    const cs_module *m = &g->modules[0];

    (void)state;
    assert_int_equal(m->image_size, 16);
    assert_int_equal(m->max_positions, 17);
    assert_int_equal(m->layers[0].position_side, 2);
    assert_int_equal(m->layers[0].grid_side, 4);
    assert_int_equal(param(g, "e.vision_model.embeddings.position_embedding."
                              "weight")
                         ->shape.dim[0],
                     5);
    cs_graph_destroy(&g);
}

static void what_an_encoder_does_is_printed(void **state)
{
    cs_graph *g = build(CLIP ", processor: {image_size: 16}, feature_select: "
                             "default, feature_layer: -2, pool: 2, stack: 4");
    char *text = NULL;

    (void)state;
    assert_ok(cs_graph_print(g, true, &text));
    assert_contains(text, "class token dropped");
    assert_contains(text, "positions of 2 x 2 for 4 x 4");
    assert_contains(text, "norm       8 -> 32 pool 2 stack 4");
    assert_contains(text, "not used");
    csi_free(text);
    cs_graph_destroy(&g);
}

/* --- hidden layers --------------------------------------------------------- */

static void layers_above_the_chosen_one_are_kept_and_not_run(void **state)
{
    static const struct {
        const char *layer;
        int32_t n_blocks;
        bool norm_runs;
    } CASES[] = {
        {"-1", 4, true}, {"4", 4, true},  {"-2", 3, false},
        {"1", 1, false}, {"0", 0, false}, {"-5", 0, false},
    };
    cs_graph *all = build(SIGLIP);

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char keys[512];

        assert_ok(csi_format(keys, sizeof keys, SIGLIP ", feature_layer: %s",
                             CASES[i].layer));
        cs_graph *g = build(keys);
        const cs_module *m = &g->modules[0];
        const cs_layer *norm = &m->layers[m->n_layers - 2];

        assert_int_equal(m->n_layers, CASES[i].n_blocks + 3);
        assert_int_equal(norm->kind, CS_LAYER_NORM);
        assert_int_equal(norm->param[CS_SLOT_NORM1_W] >= 0, CASES[i].norm_runs);
        assert_int_equal(count(g, true) + count(g, false), count(all, true));
        assert_int_equal(count(g, false), (4 - CASES[i].n_blocks) * 600 +
                                              (CASES[i].norm_runs ? 0 : 16));
        for (int32_t k = 0; k < g->n_params; k++) {
            assert_true(g->params[k].slot < CS_SLOT_COUNT ||
                        !g->params[k].is_trainable);
        }
        cs_graph_destroy(&g);
    }
    cs_graph_destroy(&all);
}

static void a_norm_of_the_pooled_output_is_not_run(void **state)
{
    cs_graph *g = build(CLIP);
    const cs_param *p = param(g, "e.vision_model.post_layernorm.weight");

    (void)state;
    assert_int_equal(p->slot, CS_SLOT_COUNT);
    assert_false(p->is_trainable);
    assert_int_equal(g->modules[0].layers[5].param[CS_SLOT_NORM1_W], -1);
    assert_true(g->modules[0].layers[0].param[CS_SLOT_NORM2_W] >= 0);
    cs_graph_destroy(&g);
}

/* --- whole models ---------------------------------------------------------- */

static void a_whole_models_file_holds_its_encoder(void **state)
{
    static const struct {
        const char *config, *family, *type;
    } CASES[] = {
        {"{model_type: llava, vision_config: {model_type: clip_vision_model, "
         "hidden_size: 8, num_attention_heads: 2}}",
         "clip", "\"clip_vision_model\""},
        {"{model_type: clip, vision_config: {hidden_size: 8, "
         "num_attention_heads: 2}}",
         "clip", "\"clip_vision_model\""},
        {"{model_type: clip, vision_config: {hidden_size: 8, "
         "num_attention_heads: 2, k_bias: false}}",
         "evaclip", "\"clip_vision_model\""},
        {"{model_type: mistral3, vision_config: {model_type: pixtral, "
         "hidden_size: 8, num_attention_heads: 2}}",
         "pixtral", "\"pixtral\""},
        {"{model_type: qwen2_vl, hidden_size: 99, vision_config: {embed_dim: "
         "16, num_heads: 2, in_chans: 3}}",
         "qwen2_vl", "\"qwen2_vl_vision\""},
        {"{model_type: qwen2_vl, vision_config: {model_type: qwen2_vl, "
         "embed_dim: 16, num_heads: 2}}",
         "qwen2_vl", "\"qwen2_vl_vision\""},
        {"{model_type: qwen2_audio, audio_config: {d_model: 8, "
         "encoder_attention_heads: 2}}",
         "qwen2_audio", "\"qwen2_audio_encoder\""},
        {"{model_type: internvl_chat, vision_config: {model_type: "
         "intern_vit_6b, hidden_size: 8, num_attention_heads: 2}}",
         "intern_vit", "\"intern_vit_6b\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char keys[512];

        assert_ok(csi_format(keys, sizeof keys, "config: %s", CASES[i].config));
        cs_graph *g = build(keys);

        assert_string_equal(g->modules[0].family, CASES[i].family);
        assert_contains(g->modules[0].hf_config, CASES[i].type);
        cs_graph_destroy(&g);
    }
}

/* --- refusals -------------------------------------------------------------- */

#define SMALL "hidden_size: 8, num_attention_heads: 2, "

static void what_is_not_offered_is_refused_by_name(void **state)
{
    static const struct {
        const char *keys;
        cs_status status;
        const char *part;
    } CASES[] = {
        {SIGLIP ", feature_layer: 5", CS_ERR_ARG,
         "model.encoders.e.feature_layer: wanted -5 to 4, got 5"},
        {SIGLIP ", feature_layer: -6", CS_ERR_ARG, "wanted -5 to 4, got -6"},
        {SIGLIP ", processor: {image_size: 3}", CS_ERR_ARG,
         "wanted patch_size 4 to 32768"},
        {"config: {model_type: evaclip, " SMALL "}, processor: {image_size: "
         "448}",
         CS_ERR_UNSUPPORTED, "evaclip takes its image_size, 224"},
        {"config: {model_type: evaclip, " SMALL "use_rope: true}",
         CS_ERR_UNSUPPORTED, "'use_rope'"},
        {"config: {model_type: intern_vit_6b, " SMALL "norm_type: group_norm}",
         CS_ERR_UNSUPPORTED, "'norm_type'"},
        {"config: {model_type: intern_vit_6b, " SMALL "use_moe: true}",
         CS_ERR_UNSUPPORTED, "'use_moe'"},
        {"config: {model_type: qwen2_5_vl, vision_config: {depth: 1}}",
         CS_ERR_UNSUPPORTED, "'qwen2_5_vl'"},
        {"config: {model_type: x, vision_config: {}, audio_config: {}}",
         CS_ERR_UNSUPPORTED, "both vision_config and audio_config"},
        {"config: {model_type: pixtral, " SMALL "rope_parameters: {rope_type: "
         "yarn}}",
         CS_ERR_UNSUPPORTED, "rope_type 'yarn'"},
        {"config: {model_type: pixtral, hidden_size: 12, num_attention_heads: "
         "2}",
         CS_ERR_FORMAT, "multiple of 4 (two axes), got 6"},
        {"config: {model_type: dinov2, " SMALL "mlp_ratio: 0}", CS_ERR_FORMAT,
         "'mlp_ratio'"},
        {"config: {model_type: dinov2, " SMALL "mlp_ratio: 1e9}", CS_ERR_FORMAT,
         "'mlp_ratio'"},
        {"config: {model_type: qwen2_vl_vision, embed_dim: 8, num_heads: 2, "
         "spatial_merge_size: 0}",
         CS_ERR_FORMAT, "'spatial_merge_size'"},
        {"config: {model_type: qwen2_audio_encoder, d_model: 8, "
         "encoder_attention_heads: 2}, pool: 2",
         CS_ERR_UNSUPPORTED, "qwen2_audio averages 2 rows itself"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cs_graph *g = NULL;

        assert_fails(build_keys(CASES[i].keys, &g), CASES[i].status,
                     CASES[i].part);
        assert_null(g);
    }
}

static cs_status build_and_destroy(void *arg)
{
    cs_graph *g = NULL;
    const cs_status st = cs_zoo_build(arg, &g);

    cs_graph_destroy(&g);
    return st;
}

static void every_allocation_may_fail(void **state)
{
    cs_config *config = NULL;
    char model[1024];

    (void)state;
    assert_ok(csi_format(model, sizeof model,
                         "  encoders:\n    e: {placeholder: \"<e>\", from: %s, "
                         "feature_layer: -2, projector: {type: merger}}\n"
                         "  language_model: {config: " CST_LLAMA_CONFIG "}\n",
                         cst_source_path("tests/golden/zoo/encoder/"
                                         "qwen2_vl_whole")));
    assert_ok(cst_recipe_parse(model, "  plan: auto\n", &config));
    cst_torture(build_and_destroy, config);
    cs_config_destroy(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(published_sizes_are_met),
        CST_TEST(class_rows_are_kept_or_dropped),
        CST_TEST(stacked_rows_widen_what_the_projector_takes),
        CST_TEST(a_merger_normalises_and_stacks_in_the_layer_before),
        CST_TEST(rows_and_columns_turn_halves_of_a_head),
        CST_TEST(layer_scale_starts_as_its_config_says),
        CST_TEST(pictures_of_another_size_have_resampled_positions),
        CST_TEST(what_an_encoder_does_is_printed),
        CST_TEST(layers_above_the_chosen_one_are_kept_and_not_run),
        CST_TEST(a_norm_of_the_pooled_output_is_not_run),
        CST_TEST(a_whole_models_file_holds_its_encoder),
        CST_TEST(what_is_not_offered_is_refused_by_name),
        CST_TEST(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
