/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Language models from the config.json files that are published, with all
 * their keys: they load, have the parameters that their makers count, and the
 * windows, caps and rotary embeddings that they ask for. And what would change
 * the numbers and is not offered is refused by the name of its key.
 */
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/str.h"

#include "support/test.h"
#include "unit/graph/recipes.h"

#include <math.h>
#include <string.h>

static cs_status build_from_text(const char *config, const char *more,
                                 cs_graph **out)
{
    cst_tmpdir dir;
    csi_str model = {0};

    cst_tmpdir_make(&dir);
    (void)cst_write_text(&dir, "config.json", config);
    csi_str_addf(&model, "  language_model: {from: %s%s}\n", dir.path, more);
    assert_ok(csi_str_check(&model));
    const cs_status st = cst_recipe_graph(model.data, out);
    csi_str_fini(&model);
    cst_tmpdir_remove(&dir);
    return st;
}

static cs_graph *build(const char *config)
{
    cs_graph *graph = NULL;

    assert_ok(build_from_text(config, "", &graph));
    return graph;
}

/* --- published models -------------------------------------------------------- */

#define LLAMA_2_7B                                                          \
    "{\"_name_or_path\": \"meta-llama/Llama-2-7b-hf\", \"architectures\": " \
    "[\"LlamaForCausalLM\"], \"bos_token_id\": 1, \"eos_token_id\": 2, "    \
    "\"hidden_act\": \"silu\", \"hidden_size\": 4096, "                     \
    "\"initializer_range\": 0.02, \"intermediate_size\": 11008, "           \
    "\"max_position_embeddings\": 4096, \"model_type\": \"llama\", "        \
    "\"num_attention_heads\": 32, \"num_hidden_layers\": 32, "              \
    "\"num_key_value_heads\": 32, \"pretraining_tp\": 1, "                  \
    "\"rms_norm_eps\": 1e-05, \"rope_scaling\": null, "                     \
    "\"tie_word_embeddings\": false, \"torch_dtype\": \"float16\", "        \
    "\"transformers_version\": \"4.31.0.dev0\", \"use_cache\": true, "      \
    "\"vocab_size\": 32000}"
#define LLAMA_3_2_1B                                                          \
    "{\"architectures\": [\"LlamaForCausalLM\"], \"attention_bias\": false, " \
    "\"attention_dropout\": 0.0, \"bos_token_id\": 128000, "                  \
    "\"eos_token_id\": 128001, \"head_dim\": 64, \"hidden_act\": \"silu\", "  \
    "\"hidden_size\": 2048, \"initializer_range\": 0.02, "                    \
    "\"intermediate_size\": 8192, \"max_position_embeddings\": 131072, "      \
    "\"mlp_bias\": false, \"model_type\": \"llama\", "                        \
    "\"num_attention_heads\": 32, \"num_hidden_layers\": 16, "                \
    "\"num_key_value_heads\": 8, \"pretraining_tp\": 1, \"rms_norm_eps\": "   \
    "1e-05, \"rope_scaling\": {\"factor\": 32.0, \"high_freq_factor\": 4.0, " \
    "\"low_freq_factor\": 1.0, \"original_max_position_embeddings\": 8192, "  \
    "\"rope_type\": \"llama3\"}, \"rope_theta\": 500000.0, "                  \
    "\"tie_word_embeddings\": true, \"torch_dtype\": \"bfloat16\", "          \
    "\"use_cache\": true, \"vocab_size\": 128256}"
#define MISTRAL_7B_V1                                                        \
    "{\"architectures\": [\"MistralForCausalLM\"], \"bos_token_id\": 1, "    \
    "\"eos_token_id\": 2, \"hidden_act\": \"silu\", \"hidden_size\": 4096, " \
    "\"initializer_range\": 0.02, \"intermediate_size\": 14336, "            \
    "\"max_position_embeddings\": 32768, \"model_type\": \"mistral\", "      \
    "\"num_attention_heads\": 32, \"num_hidden_layers\": 32, "               \
    "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, \"rope_theta\": "  \
    "10000.0, \"sliding_window\": 4096, \"tie_word_embeddings\": false, "    \
    "\"torch_dtype\": \"bfloat16\", \"use_cache\": true, \"vocab_size\": "   \
    "32000}"
#define MISTRAL_7B_V3                                                       \
    "{\"attention_dropout\": 0.0, \"head_dim\": null, \"hidden_act\": "     \
    "\"silu\", \"hidden_size\": 4096, \"intermediate_size\": 14336, "       \
    "\"max_position_embeddings\": 32768, \"model_type\": \"mistral\", "     \
    "\"num_attention_heads\": 32, \"num_hidden_layers\": 32, "              \
    "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, \"rope_theta\": " \
    "1000000.0, \"sliding_window\": null, \"tie_word_embeddings\": false, " \
    "\"vocab_size\": 32768}"
#define MIXTRAL_8X7B                                                    \
    "{\"attention_dropout\": 0.0, \"hidden_act\": \"silu\", "           \
    "\"hidden_size\": 4096, \"intermediate_size\": 14336, "             \
    "\"max_position_embeddings\": 32768, \"model_type\": \"mixtral\", " \
    "\"num_attention_heads\": 32, \"num_experts_per_tok\": 2, "         \
    "\"num_hidden_layers\": 32, \"num_key_value_heads\": 8, "           \
    "\"num_local_experts\": 8, \"output_router_logits\": false, "       \
    "\"rms_norm_eps\": 1e-05, \"rope_theta\": 1000000.0, "              \
    "\"router_aux_loss_coef\": 0.02, \"sliding_window\": null, "        \
    "\"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", "   \
    "\"vocab_size\": 32000}"
#define QWEN2_5_0_5B                                                        \
    "{\"attention_dropout\": 0.0, \"bos_token_id\": 151643, "               \
    "\"eos_token_id\": 151643, \"hidden_act\": \"silu\", \"hidden_size\": " \
    "896, \"initializer_range\": 0.02, \"intermediate_size\": 4864, "       \
    "\"max_position_embeddings\": 32768, \"max_window_layers\": 24, "       \
    "\"model_type\": \"qwen2\", \"num_attention_heads\": 14, "              \
    "\"num_hidden_layers\": 24, \"num_key_value_heads\": 2, "               \
    "\"rms_norm_eps\": 1e-06, \"rope_theta\": 1000000.0, "                  \
    "\"sliding_window\": 32768, \"tie_word_embeddings\": true, "            \
    "\"torch_dtype\": \"bfloat16\", \"use_cache\": true, \"use_mrope\": "   \
    "false, \"use_sliding_window\": false, \"vocab_size\": 151936}"
#define QWEN3_0_6B                                                           \
    "{\"attention_bias\": false, \"attention_dropout\": 0.0, \"head_dim\": " \
    "128, \"hidden_act\": \"silu\", \"hidden_size\": 1024, "                 \
    "\"intermediate_size\": 3072, \"max_position_embeddings\": 40960, "      \
    "\"max_window_layers\": 28, \"model_type\": \"qwen3\", "                 \
    "\"num_attention_heads\": 16, \"num_hidden_layers\": 28, "               \
    "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-06, "                  \
    "\"rope_scaling\": null, \"rope_theta\": 1000000, \"sliding_window\": "  \
    "null, \"tie_word_embeddings\": true, \"use_cache\": true, "             \
    "\"use_sliding_window\": false, \"vocab_size\": 151936}"
#define QWEN3_30B_A3B                                                        \
    "{\"attention_bias\": false, \"attention_dropout\": 0.0, "               \
    "\"decoder_sparse_step\": 1, \"head_dim\": 128, \"hidden_act\": "        \
    "\"silu\", \"hidden_size\": 2048, \"intermediate_size\": 6144, "         \
    "\"max_position_embeddings\": 40960, \"max_window_layers\": 48, "        \
    "\"mlp_only_layers\": [], \"model_type\": \"qwen3_moe\", "               \
    "\"moe_intermediate_size\": 768, \"norm_topk_prob\": true, "             \
    "\"num_attention_heads\": 32, \"num_experts\": 128, "                    \
    "\"num_experts_per_tok\": 8, \"num_hidden_layers\": 48, "                \
    "\"num_key_value_heads\": 4, \"output_router_logits\": false, "          \
    "\"rms_norm_eps\": 1e-06, \"rope_scaling\": null, \"rope_theta\": "      \
    "1000000.0, \"router_aux_loss_coef\": 0.001, \"sliding_window\": null, " \
    "\"tie_word_embeddings\": false, \"use_sliding_window\": false, "        \
    "\"vocab_size\": 151936}"
#define GEMMA_2B                                                          \
    "{\"attention_bias\": false, \"attention_dropout\": 0.0, "            \
    "\"bos_token_id\": 2, \"eos_token_id\": 1, \"head_dim\": 256, "       \
    "\"hidden_act\": \"gelu\", \"hidden_activation\": null, "             \
    "\"hidden_size\": 2048, \"intermediate_size\": 16384, "               \
    "\"max_position_embeddings\": 8192, \"model_type\": \"gemma\", "      \
    "\"num_attention_heads\": 8, \"num_hidden_layers\": 18, "             \
    "\"num_key_value_heads\": 1, \"pad_token_id\": 0, \"rms_norm_eps\": " \
    "1e-06, \"rope_scaling\": null, \"rope_theta\": 10000.0, "            \
    "\"torch_dtype\": \"bfloat16\", \"vocab_size\": 256000}"
#define GEMMA_2_2B                                                           \
    "{\"attention_bias\": false, \"attention_dropout\": 0.0, "               \
    "\"attn_logit_softcapping\": 50.0, \"cache_implementation\": "           \
    "\"hybrid\", \"final_logit_softcapping\": 30.0, \"head_dim\": 256, "     \
    "\"hidden_act\": \"gelu_pytorch_tanh\", \"hidden_activation\": "         \
    "\"gelu_pytorch_tanh\", \"hidden_size\": 2304, \"intermediate_size\": "  \
    "9216, \"max_position_embeddings\": 8192, \"model_type\": \"gemma2\", "  \
    "\"num_attention_heads\": 8, \"num_hidden_layers\": 26, "                \
    "\"num_key_value_heads\": 4, \"query_pre_attn_scalar\": 256, "           \
    "\"rms_norm_eps\": 1e-06, \"rope_theta\": 10000.0, \"sliding_window\": " \
    "4096, \"torch_dtype\": \"float32\", \"vocab_size\": 256000}"
#define GEMMA_3_1B                                                          \
    "{\"attention_bias\": false, \"attention_dropout\": 0.0, "              \
    "\"attn_logit_softcapping\": null, \"cache_implementation\": "          \
    "\"hybrid\", \"eos_token_id\": [1, 106], \"final_logit_softcapping\": " \
    "null, \"head_dim\": 256, \"hidden_activation\": "                      \
    "\"gelu_pytorch_tanh\", \"hidden_size\": 1152, \"intermediate_size\": " \
    "6912, \"max_position_embeddings\": 32768, \"model_type\": "            \
    "\"gemma3_text\", \"num_attention_heads\": 4, \"num_hidden_layers\": "  \
    "26, \"num_key_value_heads\": 1, \"query_pre_attn_scalar\": 256, "      \
    "\"rms_norm_eps\": 1e-06, \"rope_local_base_freq\": 10000, "            \
    "\"rope_scaling\": null, \"rope_theta\": 1000000, \"sliding_window\": " \
    "512, \"sliding_window_pattern\": 6, \"vocab_size\": 262144}"
#define GEMMA_3_4B                                                          \
    "{\"architectures\": [\"Gemma3ForConditionalGeneration\"], "            \
    "\"boi_token_index\": 255999, \"eoi_token_index\": 256000, "            \
    "\"image_token_index\": 262144, \"mm_tokens_per_image\": 256, "         \
    "\"model_type\": \"gemma3\", \"text_config\": {\"hidden_size\": 2560, " \
    "\"intermediate_size\": 10240, \"model_type\": \"gemma3_text\", "       \
    "\"num_hidden_layers\": 34, \"rope_scaling\": {\"factor\": 8.0, "       \
    "\"rope_type\": \"linear\"}, \"sliding_window\": 1024}, "               \
    "\"vision_config\": {\"hidden_size\": 1152, \"image_size\": 896, "      \
    "\"model_type\": \"siglip_vision_model\"}}"
#define LONG_48                                                              \
    "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, " \
    "1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, "  \
    "2, 2]"
#define PHI_3_MINI_128K(type)                                                \
    "{\"architectures\": [\"Phi3ForCausalLM\"], \"attention_dropout\": "     \
    "0.0, \"auto_map\": {\"AutoConfig\": \"configuration_phi3.Phi3Config\"}" \
    ", \"embd_pdrop\": 0.0, \"attention_bias\": false, \"hidden_act\": "     \
    "\"silu\", \"hidden_size\": 3072, \"intermediate_size\": 8192, "         \
    "\"max_position_embeddings\": 131072, \"model_type\": \"phi3\", "        \
    "\"num_attention_heads\": 32, \"num_hidden_layers\": 32, "               \
    "\"num_key_value_heads\": 32, \"original_max_position_embeddings\": "    \
    "4096, \"pad_token_id\": 32000, \"resid_pdrop\": 0.0, "                  \
    "\"rms_norm_eps\": 1e-05, \"rope_scaling\": {\"long_factor\": " LONG_48  \
    ", \"short_factor\": " LONG_48 ", \"type\": \"" type                     \
    "\"}, \"rope_theta\": 10000.0, \"sliding_window\": 262144, "             \
    "\"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", "        \
    "\"vocab_size\": 32064}"
#define INTERNLM2_7B                                                      \
    "{\"architectures\": [\"InternLM2ForCausalLM\"], "                    \
    "\"attn_implementation\": \"eager\", \"auto_map\": {\"AutoConfig\": " \
    "\"configuration_internlm2.InternLM2Config\"}, \"bias\": false, "     \
    "\"hidden_act\": \"silu\", \"hidden_size\": 4096, "                   \
    "\"initializer_range\": 0.02, \"intermediate_size\": 14336, "         \
    "\"max_position_embeddings\": 32768, \"model_type\": \"internlm2\", " \
    "\"num_attention_heads\": 32, \"num_hidden_layers\": 32, "            \
    "\"num_key_value_heads\": 8, \"pad_token_id\": 2, \"rms_norm_eps\": " \
    "1e-05, \"rope_scaling\": {\"factor\": 2.0, \"type\": \"dynamic\"}, " \
    "\"rope_theta\": 1000000, \"tie_word_embeddings\": false, "           \
    "\"torch_dtype\": \"bfloat16\", \"vocab_size\": 92544}"
#define GPT2                                                                \
    "{\"activation_function\": \"gelu_new\", \"architectures\": "           \
    "[\"GPT2LMHeadModel\"], \"attn_pdrop\": 0.1, \"bos_token_id\": 50256, " \
    "\"embd_pdrop\": 0.1, \"eos_token_id\": 50256, \"initializer_range\": " \
    "0.02, \"layer_norm_epsilon\": 1e-05, \"model_type\": \"gpt2\", "       \
    "\"n_ctx\": 1024, \"n_embd\": 768, \"n_head\": 12, \"n_layer\": 12, "   \
    "\"n_positions\": 1024, \"resid_pdrop\": 0.1, \"summary_activation\": " \
    "null, \"summary_first_dropout\": 0.1, \"task_specific_params\": "      \
    "{\"text-generation\": {\"do_sample\": true}}, \"vocab_size\": 50257}"
#define LLAVA_1_5_7B                                                      \
    "{\"architectures\": [\"LlavaForConditionalGeneration\"], "           \
    "\"image_token_index\": 32000, \"model_type\": \"llava\", "           \
    "\"text_config\": {\"_name_or_path\": \"lmsys/vicuna-7b-v1.5\", "     \
    "\"max_position_embeddings\": 4096, \"model_type\": \"llama\", "      \
    "\"rms_norm_eps\": 1e-05, \"torch_dtype\": \"float16\", "             \
    "\"vocab_size\": 32064}, \"vision_config\": {\"hidden_size\": 1024, " \
    "\"model_type\": \"clip_vision_model\"}}"

static void published_models_have_the_published_parameters(void **state)
{
    static const struct {
        const char *name, *config;
        int64_t parameters;
    } CASES[] = {
        {"Llama-2-7b", LLAMA_2_7B, 6738415616},
        {"Llama-3.2-1B", LLAMA_3_2_1B, 1235814400},
        {"Mistral-7B-v0.1", MISTRAL_7B_V1, 7241732096},
        {"Mistral-7B-v0.3", MISTRAL_7B_V3, 7248023552},
        {"Mixtral-8x7B", MIXTRAL_8X7B, 46702792704},
        {"Qwen2.5-0.5B", QWEN2_5_0_5B, 494032768},
        {"Qwen3-0.6B", QWEN3_0_6B, 596049920},
        {"Qwen3-30B-A3B", QWEN3_30B_A3B, 30532122624},
        {"gemma-2b", GEMMA_2B, 2506172416},
        {"gemma-2-2b", GEMMA_2_2B, 2614341888},
        {"gemma-3-1b", GEMMA_3_1B, 999885952},
        {"gemma-3-4b", GEMMA_3_4B, 3880263168},
        {"Phi-3-mini-128k", PHI_3_MINI_128K("longrope"), 3821079552},
        {"internlm2-7b", INTERNLM2_7B, 7737708544},
        {"gpt2", GPT2, 124439808},
        {"llava-1.5-7b's vicuna", LLAVA_1_5_7B, 6738939904},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cs_graph *g = build(CASES[i].config);
        const int64_t n = cs_graph_param_count(g, -1, false);
        if (n != CASES[i].parameters) {
            fail_msg("%s: wanted %lld parameters, got %lld", CASES[i].name,
                     (long long)CASES[i].parameters, (long long)n);
        }
        cs_graph_destroy(&g);
    }
}

/* --- what they ask for --------------------------------------------------------- */

/* Windows of blocks, one letter each: w, or . for none. */
static void assert_windows(const cs_graph *g, const char *wanted,
                           int64_t window)
{
    const cs_module *m = &g->modules[g->n_modules - 1];

    for (int32_t i = 0; wanted[i] != '\0'; i++) {
        assert_int_equal(m->layers[i + 1].window,
                         wanted[i] == 'w' ? window : 0);
    }
    assert_int_equal(cs_module_window(m),
                     strchr(wanted, 'w') != NULL ? window : 0);
}

static void windows_are_where_the_model_has_them(void **state)
{
    (void)state;
    static const struct {
        const char *config, *windows;
        int64_t window;
    } CASES[] = {
        {LLAMA_2_7B, "....", 0},
        {MISTRAL_7B_V1, "wwww", 4096},
        {MISTRAL_7B_V3, "....", 0},
        {QWEN2_5_0_5B, "........................", 0},
        {GEMMA_2_2B, "w.w.w.w.", 4096},
        {GEMMA_3_1B, "wwwww.wwwww.w", 512},
        {GEMMA_3_4B, "wwwww.wwwww.w", 1024},
        /* a window longer than any document is none */
        {PHI_3_MINI_128K("longrope"), "....", 0},
    };

    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cs_graph *g = build(CASES[i].config);
        assert_windows(g, CASES[i].windows, CASES[i].window);
        cs_graph_destroy(&g);
    }
}

static const cs_layer *block(const cs_graph *g, int32_t index)
{
    return &g->modules[g->n_modules - 1].layers[index + 1];
}

static void rotary_embeddings_are_stretched_as_asked(void **state)
{
    (void)state;
    cs_graph *g = build(LLAMA_3_2_1B);
    const cs_layer *l = block(g, 0);

    assert_near(l->rope_frequency[0], 1.0, 0.0);
    /* pair 31 turns once in 3.3 million positions: a long wave */
    assert_near(l->rope_frequency[31], pow(500000.0, -62.0 / 64.0) / 32.0,
                1e-12);
    cs_graph_destroy(&g);

    g = build(GEMMA_3_4B);
    assert_near(block(g, 0)->rope_frequency[64], 0.01, 1e-12);
    assert_near(block(g, 5)->rope_frequency[64], 1e-3 / 8.0, 1e-12);
    cs_graph_destroy(&g);

    g = build(PHI_3_MINI_128K("su"));
    l = block(g, 0);
    assert_int_equal(l->rope_long_after, 4096);
    assert_int_equal(cs_module_long_after(&g->modules[0]), 4096);
    assert_near(l->rope_scale, sqrt(1.0 + log(32.0) / log(4096.0)), 1e-12);
    assert_near(l->rope_long[30], pow(10000.0, -60.0 / 96.0) / 2.0, 1e-12);
    cs_graph_destroy(&g);

    g = build(GPT2);
    assert_int_equal(block(g, 0)->rotary_dim, 0);
    assert_int_equal(g->modules[0].layers[0].n_positions, 1024);
    cs_graph_destroy(&g);
}

static void caps_and_scales_are_read(void **state)
{
    (void)state;
    cs_graph *g = build(GEMMA_2_2B);
    const cs_module *m = &g->modules[0];

    assert_near(m->layers[1].attention_softcap, 50.0, 0.0);
    assert_near(m->layers[1].attention_scale, 1.0 / 16.0, 1e-15);
    assert_near(m->layers[27].logit_softcap, 30.0, 0.0);
    assert_near(m->layers[0].embed_scale, 48.0, 0.0);
    assert_near(m->layers[1].norm_offset, 1.0, 0.0);
    assert_int_equal(m->layers[1].activation, CS_ACT_GELU_TANH);
    cs_graph_destroy(&g);

    g = build(GEMMA_2B); /* "gelu" of the first releases is the tanh form */
    assert_int_equal(block(g, 0)->activation, CS_ACT_GELU_TANH);
    cs_graph_destroy(&g);
}

#define TINY_MOE(more)                                          \
    "{\"model_type\": \"qwen3_moe\", \"hidden_size\": 8, "      \
    "\"intermediate_size\": 12, \"moe_intermediate_size\": 6, " \
    "\"num_hidden_layers\": 4, \"num_attention_heads\": 2, "    \
    "\"num_key_value_heads\": 1, \"num_experts\": 4, "          \
    "\"num_experts_per_tok\": 2, \"vocab_size\": 10" more "}"

/* Experts of blocks, one letter each: e, or . for a dense MLP. */
static void assert_experts(const char *config, const char *wanted,
                           double balance)
{
    cs_graph *g = build(config);

    for (int32_t i = 0; wanted[i] != '\0'; i++) {
        const cs_layer *l = block(g, i);
        assert_int_equal(l->n_experts, wanted[i] == 'e' ? 4 : 0);
        assert_int_equal(l->mlp_dim, wanted[i] == 'e' ? 6 : 12);
        assert_true((l->param[CS_SLOT_ROUTER_W] >= 0) == (wanted[i] == 'e'));
        assert_true((l->param[CS_SLOT_UP_W] >= 0) == (wanted[i] == '.'));
        assert_near(l->balance_coefficient, wanted[i] == 'e' ? balance : 0.0,
                    1e-15);
    }
    cs_graph_destroy(&g);
}

static void experts_are_where_the_model_has_them(void **state)
{
    (void)state;
    assert_experts(TINY_MOE(""), "eeee", 0.0);
    assert_experts(TINY_MOE(", \"decoder_sparse_step\": 2"), ".e.e", 0.0);
    assert_experts(TINY_MOE(", \"mlp_only_layers\": [0, 3]"), ".ee.", 0.0);
    /* asked for only with the routers' logits; shared by the blocks */
    assert_experts(TINY_MOE(", \"mlp_only_layers\": [0, 3], "
                            "\"router_aux_loss_coef\": 0.5, "
                            "\"output_router_logits\": true"),
                   ".ee.", 0.25);
}

#define TINY_QWEN(more)                                        \
    "{\"model_type\": \"qwen2\", \"hidden_size\": 8, "         \
    "\"intermediate_size\": 12, \"num_hidden_layers\": 3, "    \
    "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, " \
    "\"vocab_size\": 10" more "}"

static void layer_types_win_over_the_rule(void **state)
{
    (void)state;
    cs_graph *g = build(TINY_QWEN(", \"use_sliding_window\": true, "
                                  "\"sliding_window\": 7, "
                                  "\"max_window_layers\": 1"));

    assert_windows(g, ".ww", 7);
    cs_graph_destroy(&g);
    g = build(TINY_QWEN(
        ", \"use_sliding_window\": true, \"sliding_window\": 7, "
        "\"max_window_layers\": 1, \"layer_types\": [\"sliding_attention\", "
        "\"full_attention\", \"full_attention\"]"));
    assert_windows(g, "w..", 7);
    cs_graph_destroy(&g);
}

/* --- work and its picture --------------------------------------------------- */

static void a_row_costs_its_experts_and_its_window(void **state)
{
    (void)state;
    cs_graph *g = build(TINY_MOE(", \"mlp_only_layers\": [0], "
                                 "\"use_sliding_window\": true, "
                                 "\"sliding_window\": 3"));
    const cs_layer *dense = block(g, 0);
    const cs_layer *experts = block(g, 1);
    char *text = NULL;

    /* q, o 8 x 8, k, v 4 x 8; dense 3 of 12 x 8; a router of 4 x 8 and two of
     * the four experts' 3 of 6 x 8 */
    assert_near(cs_layer_forward_flops(dense, 1.0, 0.0), 2.0 * (192 + 288), 0);
    assert_near(cs_layer_forward_flops(experts, 1.0, 0.0),
                2.0 * (192 + 32 + 288), 0);
    assert_near(cs_layer_pairs(dense, 10.0, 55.0), 30.0, 0);
    assert_near(cs_layer_pairs(dense, 2.0, 3.0), 3.0, 0);
    assert_near(cs_layer_pairs(&g->modules[0].layers[0], 2.0, 3.0), 0.0, 0);
    assert_ok(cs_graph_print(g, true, &text));
    assert_contains(text, "mlp 6 heads 2:1 head_dim 4 experts 2 of 4 window 3");
    csi_free(text);
    cs_graph_destroy(&g);
    g = build(PHI_3_MINI_128K("longrope"));
    assert_ok(cs_graph_print(g, false, &text));
    assert_contains(text, "head_dim 96 long after 4096");
    csi_free(text);
    cs_graph_destroy(&g);
    g = build(GEMMA_2_2B);
    assert_ok(cs_graph_print(g, true, &text));
    assert_contains(text, "window 4096 cap 50");
    assert_contains(text, "tied");
    csi_free(text);
    cs_graph_destroy(&g);
}

/* --- tied heads ------------------------------------------------------------------ */

static void a_tied_head_freezes_with_the_embedding(void **state)
{
    (void)state;
    cs_graph *g = NULL;
    const char *const tied = TINY_QWEN(", \"tie_word_embeddings\": true");

    assert_ok(build_from_text(tied, "", &g));
    const cs_param *head = &g->params[g->n_params - 1];
    assert_int_equal(head->slot, CS_SLOT_HEAD_W);
    assert_int_equal(head->tied_to,
                     cs_graph_find_param(g, "language_model.model.embed_tokens"
                                            ".weight"));
    assert_true(head->is_trainable);
    cs_graph_destroy(&g);
    assert_ok(build_from_text(tied, ", freeze: [embed_tokens]", &g));
    assert_false(g->params[g->n_params - 1].is_trainable);
    cs_graph_destroy(&g);
    assert_ok(build_from_text(tied, ", freeze: [lm_head]", &g));
    assert_true(g->params[g->n_params - 1].is_trainable);
    cs_graph_destroy(&g);
}

/* --- refused ------------------------------------------------------------------------ */

static void what_is_not_offered_is_refused_by_its_key(void **state)
{
    static const struct {
        const char *config;
        cs_status status;
        const char *part;
    } CASES[] = {
        {TINY_QWEN(", \"attention_dropout\": 0.1"), CS_ERR_UNSUPPORTED,
         "attention_dropout"},
        {TINY_QWEN(", \"use_mrope\": true"), CS_ERR_UNSUPPORTED, "use_mrope"},
        {TINY_QWEN(", \"quantization_config\": {\"bits\": 4}"),
         CS_ERR_UNSUPPORTED, "quantization_config"},
        {TINY_QWEN(", \"rope_scaling\": {\"type\": \"mrope\", "
                   "\"mrope_section\": [1, 1]}"),
         CS_ERR_UNSUPPORTED, "rope_type 'mrope'"},
        {TINY_QWEN(", \"rope_scaling\": {\"type\": \"linear\"}"), CS_ERR_FORMAT,
         "factor"},
        {TINY_QWEN(", \"rope_scaling\": {\"type\": \"linear\", \"factor\": "
                   "0}"),
         CS_ERR_FORMAT, "'factor': wanted a number above 0"},
        {TINY_QWEN(", \"rope_scaling\": 3"), CS_ERR_FORMAT,
         "'rope_scaling': wanted an object"},
        {TINY_QWEN(", \"rope_scaling\": {\"type\": \"longrope\", "
                   "\"short_factor\": [1.0], \"long_factor\": [1.0, 1.0]}"),
         CS_ERR_FORMAT, "'short_factor': wanted 2 numbers, got 1"},
        {TINY_QWEN(", \"rope_scaling\": {\"type\": \"longrope\", "
                   "\"short_factor\": [1.0, \"x\"], \"long_factor\": [1, 1]}"),
         CS_ERR_FORMAT, "'short_factor': element 1"},
        {TINY_QWEN(", \"rope_parameters\": {\"rope_type\": \"llama3\", "
                   "\"factor\": 8.0, \"low_freq_factor\": 4.0, "
                   "\"high_freq_factor\": 1.0}"),
         CS_ERR_FORMAT, "low_freq_factor < high_freq_factor"},
        {TINY_QWEN(", \"layer_types\": [\"full_attention\"]"), CS_ERR_FORMAT,
         "'layer_types': wanted a list of 3"},
        {TINY_QWEN(", \"layer_types\": [\"full_attention\", "
                   "\"chunked_attention\", \"full_attention\"]"),
         CS_ERR_UNSUPPORTED, "chunked_attention"},
        {TINY_QWEN(", \"layer_types\": [\"full_attention\", "
                   "\"sliding_attention\", \"full_attention\"]"),
         CS_ERR_FORMAT, "there is no sliding_window"},
        {"{\"model_type\": \"mixtral\", \"hidden_size\": 8, "
         "\"intermediate_size\": 8, \"num_hidden_layers\": 1, "
         "\"num_attention_heads\": 8, \"head_dim\": 2, \"vocab_size\": 9, "
         "\"num_experts_per_tok\": 9}",
         CS_ERR_FORMAT, "num_experts_per_tok <= num_local_experts"},
        {TINY_MOE(", \"mlp_only_layers\": [4]"), CS_ERR_FORMAT,
         "'mlp_only_layers': element 0: wanted 0..3"},
        {TINY_MOE(", \"router_aux_loss_coef\": -1"), CS_ERR_FORMAT,
         "router_aux_loss_coef"},
        {"{\"model_type\": \"gpt2\", \"scale_attn_by_inverse_layer_idx\": "
         "true}",
         CS_ERR_UNSUPPORTED, "scale_attn_by_inverse_layer_idx"},
        {"{\"model_type\": \"mixtral\", \"router_jitter_noise\": 0.1}",
         CS_ERR_UNSUPPORTED, "router_jitter_noise"},
        {"{\"model_type\": \"gemma3_text\", \"use_bidirectional_attention\": "
         "true}",
         CS_ERR_UNSUPPORTED, "use_bidirectional_attention"},
        {"{\"model_type\": \"gemma3_text\", \"sliding_window_pattern\": 0}",
         CS_ERR_FORMAT, "sliding_window_pattern"},
        {"{\"model_type\": \"llava\", \"text_config\": 3}", CS_ERR_FORMAT,
         "'text_config': wanted an object"},
        {"{\"model_type\": \"llava\", \"text_config\": {}}", CS_ERR_FORMAT,
         "model_type"},
        {"{\"model_type\": \"opt\"}", CS_ERR_UNSUPPORTED, "model_type 'opt'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cs_graph *g = NULL;
        assert_fails(build_from_text(CASES[i].config, "", &g), CASES[i].status,
                     CASES[i].part);
        assert_null(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(published_models_have_the_published_parameters),
        CST_TEST(windows_are_where_the_model_has_them),
        CST_TEST(rotary_embeddings_are_stretched_as_asked),
        CST_TEST(caps_and_scales_are_read),
        CST_TEST(experts_are_where_the_model_has_them),
        CST_TEST(layer_types_win_over_the_rule),
        CST_TEST(a_row_costs_its_experts_and_its_window),
        CST_TEST(a_tied_head_freezes_with_the_embedding),
        CST_TEST(what_is_not_offered_is_refused_by_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
