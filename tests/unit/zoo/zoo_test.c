/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a recipe's model section to a graph: shapes counted by hand, sizes of
 * published models, names, freezing, and what is refused.
 */
#include "cornstarch/zoo.h"

#include "base/alloc.h"

#include "support/test.h"
#include "unit/graph/recipes.h"

#include <string.h>

static cs_graph *build(const char *model)
{
    cs_graph *graph = NULL;

    assert_ok(cst_recipe_graph(model, &graph));
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

static void assert_shape(const cs_graph *graph, const char *name,
                         const char *wanted)
{
    char text[CS_SHAPE_TEXT_BYTES];

    assert_string_equal(cs_shape_print(&param(graph, name)->shape, text),
                        wanted);
}

/* --- sizes ------------------------------------------------------------ */

static void small_modules_have_the_counted_parameters(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);

    (void)state;
    /* stem 8*48+8, positions 4*8, block 4*(64+8) + 2*128+16+8 + 4*8, last norm
     * 16, projector 12*8+12 + 12*12+12 */
    assert_int_equal(cs_graph_param_count(g, 0, false),
                     392 + 32 + 4 * 600 + 16 + 264);
    /* conv 8*10*3+8 + 8*8*3+8, positions 20*8, block without key bias 592 */
    assert_int_equal(cs_graph_param_count(g, 1, false),
                     248 + 200 + 160 + 2 * 592 + 16 + 264);
    /* embed 360, block q 144 k 72 v 72 o 144, mlp 3*240, norms 24; norm 12,
     * head 360 */
    assert_int_equal(cs_graph_param_count(g, 2, false),
                     360 + 3 * 1176 + 12 + 360);
    assert_int_equal(g->n_modules, 3);
    assert_int_equal(g->modules[0].n_layers, CST_VISION_LAYERS);
    assert_int_equal(g->modules[1].n_layers, CST_AUDIO_LAYERS);
    assert_int_equal(g->modules[2].n_layers, CST_LLAMA_LAYERS);
    cs_graph_destroy(&g);
}

/* Counts of the published checkpoints, by transformers' num_parameters(). */
static void published_sizes_are_met(void **state)
{
    static const struct {
        const char *lm;
        int64_t count;
    } MODELS[] = {
        {"{model_type: llama, hidden_size: 4096, intermediate_size: 11008, "
         "num_hidden_layers: 32, num_attention_heads: 32, vocab_size: 32000}",
         6738415616}, /* Llama-2-7b */
        {"{model_type: llama, hidden_size: 2048, intermediate_size: 5632, "
         "num_hidden_layers: 22, num_attention_heads: 32, "
         "num_key_value_heads: 4, vocab_size: 32000}",
         1100048384}, /* TinyLlama-1.1B */
        {"{model_type: llama, hidden_size: 2048, intermediate_size: 8192, "
         "num_hidden_layers: 16, num_attention_heads: 32, "
         "num_key_value_heads: 8, head_dim: 64, vocab_size: 128256}",
         1235814400 + 262668288}, /* Llama-3.2-1B, its head not tied */
    };
    char model[512];

    (void)state;
    for (size_t i = 0; i < sizeof MODELS / sizeof MODELS[0]; i++) {
        assert_ok(csi_format(model, sizeof model,
                             "  language_model: {config: %s}\n", MODELS[i].lm));
        cs_graph *g = build(model);

        assert_int_equal(cs_graph_param_count(g, -1, false), MODELS[i].count);
        cs_graph_destroy(&g);
    }
}

static int64_t encoder_count(const char *config)
{
    char model[1024];

    assert_ok(csi_format(model, sizeof model,
                         "  encoders:\n    e: {config: %s, placeholder: "
                         "\"<e>\"}\n  language_model: "
                         "{config: " CST_LLAMA_CONFIG "}\n",
                         config));
    cs_graph *g = build(model);
    int64_t count = 0;

    for (int32_t i = 0; i < g->n_params; i++) {
        if (g->params[i].module == 0 && !g->params[i].in_projector) {
            count += cs_shape_count(&g->params[i].shape);
        }
    }
    cs_graph_destroy(&g);
    return count;
}

static void published_encoders_are_met(void **state)
{
    (void)state;
    /* siglip-so400m-patch14: 428225600 with pooling head (15238352) and 729
     * positions; here without the head, 256 positions. */
    assert_int_equal(
        encoder_count("{model_type: siglip_vision_model, hidden_size: 1152, "
                      "intermediate_size: 4304, num_hidden_layers: 27, "
                      "num_attention_heads: 16, image_size: 224, "
                      "patch_size: 14}"),
        428225600 - 15238352 - (729 - 256) * 1152);
    /* siglip-base-patch16-224 is the default of every key */
    assert_int_equal(encoder_count("{model_type: siglip_vision_model}"),
                     85797120);
    /* the encoder of whisper-small */
    assert_int_equal(encoder_count("{model_type: whisper, d_model: 768, "
                                   "encoder_layers: 12, "
                                   "encoder_attention_heads: 12, "
                                   "encoder_ffn_dim: 3072}"),
                     88154112);
}

static void sizes_of_a_whole_siglip_are_those_of_its_vision_part(void **state)
{
    (void)state;
    assert_int_equal(
        encoder_count("{model_type: siglip, vision_config: {hidden_size: 8, "
                      "intermediate_size: 16, num_hidden_layers: 4, "
                      "num_attention_heads: 2, image_size: 8, patch_size: 4}}"),
        392 + 32 + 4 * 600 + 16);
}

/* --- names and shapes ------------------------------------------------- */

static void names_and_shapes_are_hugging_faces(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);

    (void)state;
    assert_shape(g, "vision.vision_model.embeddings.patch_embedding.weight",
                 "[8, 3, 4, 4]");
    assert_shape(g, "vision.vision_model.embeddings.position_embedding.weight",
                 "[4, 8]");
    assert_shape(g, "vision.vision_model.encoder.layers.3.mlp.fc1.weight",
                 "[16, 8]");
    assert_shape(g, "vision.projector.linear_1.weight", "[12, 8]");
    assert_shape(g, "audio.conv1.weight", "[8, 10, 3]");
    assert_shape(g, "audio.layers.1.self_attn.out_proj.weight", "[8, 8]");
    assert_shape(g, "language_model.model.layers.2.self_attn.k_proj.weight",
                 "[6, 12]");
    assert_shape(g, "language_model.model.layers.0.mlp.down_proj.weight",
                 "[12, 20]");
    assert_shape(g, "language_model.lm_head.weight", "[30, 12]");
    assert_int_equal(
        cs_graph_find_param(g, "audio.layers.0.self_attn.k_proj.bias"), -1);
    cs_graph_destroy(&g);
}

static void matrix_products_are_known_as_such(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);

    (void)state;
    assert_true(param(g, "vision.projector.linear_1.weight")->is_product);
    assert_true(param(g, "language_model.model.layers.0.mlp.up_proj.weight")
                    ->is_product);
    assert_false(param(g, "language_model.lm_head.weight")->is_product);
    assert_false(param(g, "language_model.model.embed_tokens.weight")
                     ->is_product);
    assert_false(param(g, "vision.projector.linear_1.bias")->is_product);
    assert_false(param(g, "language_model.model.norm.weight")->is_product);
    cs_graph_destroy(&g);
}

static void residual_writers_start_smaller(void **state)
{
    cs_graph *g = build(CST_CAPTION_MODEL);

    (void)state;
    const double q =
        param(g, "language_model.model.layers.0.self_attn.q_proj.weight")
            ->init_std;
    const double o =
        param(g, "language_model.model.layers.0.self_attn.o_proj.weight")
            ->init_std;

    assert_near(q * q * 12.0, 1.0, 1e-12);
    assert_near(o * o * 12.0 * 2.0 * 3.0, 1.0, 1e-12);
    cs_graph_destroy(&g);
}

static void pool_and_inputs_reach_the_module(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);

    (void)state;
    assert_int_equal(g->modules[0].patch_size, 4);
    assert_int_equal(g->modules[0].image_size, 8);
    assert_int_equal(g->modules[0].n_channels, 3);
    assert_int_equal(g->modules[0].pool, 1);
    assert_int_equal(g->modules[1].pool, 2);
    assert_int_equal(g->modules[1].n_mels, 10);
    assert_int_equal(g->modules[2].vocab, 30);
    assert_int_equal(g->modules[0].layers[0].in_dim, 48);
    assert_true(g->modules[2].layers[1].is_causal);
    assert_false(g->modules[0].layers[1].is_causal);
    cs_graph_destroy(&g);
}

static void every_family_is_listed(void **state)
{
    cs_zoo_family family;
    bool has_llama = false;
    int32_t n = 0;

    (void)state;
    while (cs_zoo_get(n, &family)) {
        has_llama |= strcmp(family.id, "llama") == 0 &&
                     family.modality == CS_MODALITY_TEXT;
        n++;
    }
    assert_true(n >= 3 && has_llama);
    assert_false(cs_zoo_get(-1, &family));
}

/* --- freezing --------------------------------------------------------- */

static void freezing_a_module_leaves_its_projector(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);

    (void)state;
    assert_int_equal(cs_graph_param_count(g, 0, true), 264);
    assert_int_equal(cs_graph_param_count(g, 2, true), 0);
    /* fixed sinusoids are nobody's to train */
    assert_int_equal(cs_graph_param_count(g, 1, true),
                     cs_graph_param_count(g, 1, false) - 160);
    cs_graph_destroy(&g);
}

static void patterns_freeze_what_they_match(void **state)
{
    cs_graph *g =
        build("  language_model: {config: " CST_LLAMA_CONFIG
              ", freeze: [\"layers\\\\.[01]\\\\.\", embed_tokens]}\n");

    (void)state;
    assert_int_equal(cs_graph_param_count(g, 0, true), 1176 + 12 + 360);
    assert_false(param(g, "language_model.model.layers.1.mlp.up_proj.weight")
                     ->is_trainable);
    assert_true(param(g, "language_model.model.layers.2.mlp.up_proj.weight")
                    ->is_trainable);
    cs_graph_destroy(&g);
}

/* --- refusals --------------------------------------------------------- */

static void bad_models_are_refused(void **state)
{
    static const struct {
        const char *model;
        cs_status status;
        const char *part;
    } CASES[] = {
        {"  language_model: {config: {model_type: lama}}\n", CS_ERR_UNSUPPORTED,
         "config of language_model: model_type 'lama'"},
        {"  language_model: {config: {model_type: llama}}\n", CS_ERR_FORMAT,
         "'hidden_size'"},
        {"  language_model: {config: {model_type: whisper}}\n", CS_ERR_ARG,
         "is an encoder, wanted a language model"},
        {"  encoders:\n    v: {config: {model_type: llama}, placeholder: "
         "\"<v>\"}\n  language_model: {config: " CST_LLAMA_CONFIG "}\n",
         CS_ERR_ARG, "is a language model, wanted an encoder"},
        {"  language_model: {config: {model_type: llama, hidden_size: 10, "
         "intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 4, "
         "vocab_size: 9}}\n",
         CS_ERR_FORMAT, "width 10 is not a multiple of 4 heads"},
        {"  language_model: {config: {model_type: llama, hidden_size: 16, "
         "intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 4, "
         "num_key_value_heads: 3, vocab_size: 9}}\n",
         CS_ERR_FORMAT, "4 heads are not a multiple of 3"},
        {"  language_model: {config: {model_type: llama, hidden_size: 12, "
         "intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 4, "
         "vocab_size: 9}}\n",
         CS_ERR_FORMAT, "head_dim wanted an even number"},
        {"  language_model: {config: {model_type: llama, hidden_size: 16, "
         "intermediate_size: 8, num_hidden_layers: 5000000, "
         "num_attention_heads: 4, vocab_size: 9}}\n",
         CS_ERR_FORMAT, "num_hidden_layers"},
        {"  language_model: {config: {model_type: llama, hidden_size: 16, "
         "intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 4, "
         "vocab_size: 9, hidden_act: mish}}\n",
         CS_ERR_UNSUPPORTED, "activation 'mish'"},
        {"  language_model: {config: {model_type: llama, hidden_size: 16, "
         "intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 4, "
         "vocab_size: 9, rope_scaling: {factor: 8}}}\n",
         CS_ERR_UNSUPPORTED, "rope_type 'default': key 'factor'"},
        {"  language_model: {config: {model_type: llama, hidden_size: 16, "
         "intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 4, "
         "vocab_size: 9, quantization_config: {bits: 4}}}\n",
         CS_ERR_UNSUPPORTED, "quantization_config"},
        {"  encoders:\n    v: {config: {model_type: siglip_vision_model, "
         "image_size: 3, patch_size: 4}, placeholder: \"<v>\"}\n"
         "  language_model: {config: " CST_LLAMA_CONFIG "}\n",
         CS_ERR_FORMAT, "image_size 3 is less than patch_size 4"},
        {"  language_model: {config: " CST_LLAMA_CONFIG
         ", freeze: [layers, nothing_like_this]}\n",
         CS_ERR_ARG, "'nothing_like_this' matches no parameter"},
        {"  language_model: {config: " CST_LLAMA_CONFIG
         ", freeze: [\"lay(ers\"]}\n",
         CS_ERR_ARG, "is not a regular expression"},
        {"  language_model: {from: /nonexistent/lm}\n", CS_ERR_IO,
         "/nonexistent/lm/config.json"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cs_graph *g = NULL;

        assert_fails(cst_recipe_graph(CASES[i].model, &g), CASES[i].status,
                     CASES[i].part);
        assert_null(g);
    }
}

/* --- folders ---------------------------------------------------------- */

static cs_status build_from(const cst_tmpdir *dir, const char *projector,
                            cs_graph **out)
{
    char model[2048];

    CS_TRY(csi_format(model, sizeof model,
                      "  encoders:\n    v: {from: %s, placeholder: \"<v>\", "
                      "projector: {from: %s}}\n"
                      "  language_model: {config: " CST_LLAMA_CONFIG "}\n",
                      dir->path, projector));
    return cst_recipe_graph(model, out);
}

static void write_vision(const cst_tmpdir *dir)
{
    (void)cst_write_text(
        dir, "config.json",
        "{\"model_type\": \"siglip_vision_model\", \"hidden_size\": 8,\n"
        " \"intermediate_size\": 16, \"num_hidden_layers\": 4,\n"
        " \"num_attention_heads\": 2, \"image_size\": 8, \"patch_size\": 4}");
}

static void a_bad_folder_is_refused_by_its_path(void **state)
{
    static const struct {
        const char *config;
        const char *part;
    } CASES[] = {
        {"{\"hidden_size\": 8}", "config.json: key 'model_type' is missing"},
        {"[]", "config.json: wanted a JSON object"},
        {"{", "config.json:1:"},
        {"{\"model_type\": \"siglip\", \"vision_config\": 3}",
         "config.json: key 'vision_config': wanted an object"},
        {"{\"model_type\": \"siglip\", \"hidden_size\": \"8\"}",
         "config.json: key 'hidden_size': wanted integer, got string"},
    };
    cst_tmpdir dir;
    cs_graph *g = NULL;

    (void)state;
    cst_tmpdir_make(&dir);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        (void)cst_write_text(&dir, "config.json", CASES[i].config);
        assert_fails(build_from(&dir, "null", &g), CS_ERR_FORMAT,
                     CASES[i].part);
    }
    cst_tmpdir_remove(&dir);
}

static void a_projectors_folder_says_what_it_is(void **state)
{
    cst_tmpdir vision;
    cst_tmpdir projector;
    cs_graph *g = NULL;

    (void)state;
    cst_tmpdir_make(&vision);
    cst_tmpdir_make(&projector);
    write_vision(&vision);
    (void)cst_write_text(
        &projector, "config.json",
        "{\"format\": \"cornstarch.projector\", \"version\": 1,\n"
        " \"type\": \"mlp\", \"in_features\": 8, \"hidden_size\": 40,\n"
        " \"out_features\": 12, \"activation\": \"relu\"}");
    assert_ok(build_from(&vision, projector.path, &g));
    assert_shape(g, "v.projector.linear_1.weight", "[40, 8]");
    assert_int_equal(g->modules[0].layers[6].activation, CS_ACT_RELU);
    assert_string_equal(g->modules[0].source, vision.path);
    assert_string_equal(g->modules[0].projector_source, projector.path);
    assert_contains(g->modules[0].projector_config, "\"hidden_size\": 40");
    cs_graph_destroy(&g);

    (void)cst_write_text(
        &projector, "config.json",
        "{\"format\": \"cornstarch.projector\", \"version\": 1,\n"
        " \"type\": \"linear\", \"in_features\": 8, \"hidden_size\": 0,\n"
        " \"out_features\": 14, \"activation\": \"gelu\"}");
    assert_fails(build_from(&vision, projector.path, &g), CS_ERR_FORMAT,
                 "'out_features': wanted 12, got 14");
    (void)cst_write_text(
        &projector, "config.json",
        "{\"format\": \"cornstarch.projector\", \"version\": 1,\n"
        " \"type\": \"conv\", \"in_features\": 8, \"hidden_size\": 0,\n"
        " \"out_features\": 12, \"activation\": \"gelu\"}");
    assert_fails(build_from(&vision, projector.path, &g), CS_ERR_UNSUPPORTED,
                 "'type': wanted mlp, linear or merger, got 'conv'");
    cst_tmpdir_remove(&projector);
    cst_tmpdir_remove(&vision);
}

static void an_export_names_its_class(void **state)
{
    cs_graph *g = build(CST_LISTEN_MODEL);

    (void)state;
    assert_contains(g->modules[0].hf_config, "\"SiglipVisionModel\"");
    assert_contains(g->modules[0].hf_config, "\"vision_use_head\": false");
    assert_contains(g->modules[2].hf_config, "\"LlamaForCausalLM\"");
    assert_contains(g->modules[2].hf_config, "\"vocab_size\": 30");
    cs_graph_destroy(&g);
}

/* --- torture ---------------------------------------------------------- */

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

    (void)state;
    assert_ok(cst_recipe_parse(CST_LISTEN_MODEL, "  plan: auto\n", &config));
    cst_torture(build_and_destroy, config);
    cs_config_destroy(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(small_modules_have_the_counted_parameters),
        CST_TEST(published_sizes_are_met),
        CST_TEST(published_encoders_are_met),
        CST_TEST(sizes_of_a_whole_siglip_are_those_of_its_vision_part),
        CST_TEST(names_and_shapes_are_hugging_faces),
        CST_TEST(matrix_products_are_known_as_such),
        CST_TEST(residual_writers_start_smaller),
        CST_TEST(pool_and_inputs_reach_the_module),
        CST_TEST(every_family_is_listed),
        CST_TEST(freezing_a_module_leaves_its_projector),
        CST_TEST(patterns_freeze_what_they_match),
        CST_TEST(bad_models_are_refused),
        CST_TEST(a_bad_folder_is_refused_by_its_path),
        CST_TEST(a_projectors_folder_says_what_it_is),
        CST_TEST(an_export_names_its_class),
        CST_TEST(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
