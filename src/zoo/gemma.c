/* SPDX-License-Identifier: Apache-2.0 */
/* Gemma: RMS weights are 1 + w, token rows times sqrt(width), the head tied to
 * them, GeGLU. Gemma 2: norms behind each branch too, caps on the logits of
 * attention and head, every other block within a window. Gemma 3 text: no
 * caps, norms of each head's q and k, five blocks with a window (and a rotary
 * base of their own) to one without. Names and defaults as transformers'
 * GemmaConfig, Gemma2Config, Gemma3TextConfig. */
#include "llama_names.h"

static const struct csi_decoder_traits GEMMA = {
    .prefixes = csi_language_prefixes,
    .ignored = csi_language_ignored,
    .rope_theta = 10000.0,
    .scales_embedding = true,
    .ties_embedding = true,
};

static const struct csi_decoder_traits GEMMA2 = {
    .prefixes = csi_language_prefixes,
    .ignored = csi_language_ignored,
    .window_rule = CSI_WINDOW_PATTERN,
    .window = 4096,
    .pattern = {"_sliding_window_pattern", 2},
    .reads_layer_types = true,
    .rope_theta = 10000.0,
    .attention_scalar_key = "query_pre_attn_scalar",
    .attention_scalar = 256.0,
    .has_softcaps = true,
    .attention_softcap = 50.0,
    .logit_softcap = 30.0,
    .scales_embedding = true,
    .ties_embedding = true,
};

static const struct csi_decoder_traits GEMMA3 = {
    .prefixes = csi_language_prefixes,
    .ignored = csi_language_ignored,
    .window_rule = CSI_WINDOW_PATTERN,
    .window = 4096,
    .pattern = {"sliding_window_pattern", 6},
    .reads_layer_types = true,
    .rope_theta = 1000000.0,
    .local_rope_theta = 10000.0,
    .local_rope_key = "rope_local_base_freq",
    .attention_scalar_key = "query_pre_attn_scalar",
    .attention_scalar = 256.0,
    .has_softcaps = true,
    .scales_embedding = true,
    .ties_embedding = true,
};

const csi_family csi_family_gemma = {
    .id = "gemma",
    .model_type = {"gemma"},
    .architecture = "GemmaForCausalLM",
    CSI_LLAMA_KIND,
    CSI_LLAMA_SIZES,
    .norm_offset = 1.0,
    .kv_heads = {"num_key_value_heads", 16},
    .head_dim = {"head_dim", 256},
    .max_positions = {"max_position_embeddings", 8192},
    .activation_key = "hidden_act",
    .activation_default = "gelu_pytorch_tanh",
    .gelu_is_tanh = true,
    .norm_eps_default = 1e-6,
    .attention_bias_key = "attention_bias",
    .fixed =
        {
            {"attention_dropout", "0.0", "0"},
            {"hidden_activation", "null", "\"gelu_pytorch_tanh\""},
            {"use_bidirectional_attention", "null", "false"},
        },
    .block =
        {
            CSI_LLAMA_NORMS,
            CSI_LLAMA_PRODUCTS,
            CSI_LLAMA_QKV_BIASES,
            CSI_LLAMA_O_BIAS,
            CSI_LLAMA_MLP,
        },
    .outer = {CSI_LLAMA_OUTER},
    .decoder = &GEMMA,
};

const csi_family csi_family_gemma2 = {
    .id = "gemma2",
    .model_type = {"gemma2"},
    .architecture = "Gemma2ForCausalLM",
    CSI_LLAMA_KIND,
    CSI_LLAMA_SIZES,
    .norm_offset = 1.0,
    .kv_heads = {"num_key_value_heads", 4},
    .head_dim = {"head_dim", 256},
    .max_positions = {"max_position_embeddings", 8192},
    .activation_key = "hidden_activation",
    .activation_default = "gelu_pytorch_tanh",
    .norm_eps_default = 1e-6,
    .attention_bias_key = "attention_bias",
    .fixed =
        {
            {"attention_dropout", "0.0", "0"},
            {"use_bidirectional_attention", "null", "false"},
        },
    .block =
        {
            CSI_GEMMA_NORMS,
            CSI_LLAMA_PRODUCTS,
            CSI_LLAMA_QKV_BIASES,
            CSI_LLAMA_O_BIAS,
            CSI_LLAMA_MLP,
        },
    .outer = {CSI_LLAMA_OUTER},
    .decoder = &GEMMA2,
};

/* The text_config of published models has only what differs from the class. */
const csi_family csi_family_gemma3 = {
    .id = "gemma3",
    .model_type = {"gemma3_text"},
    .architecture = "Gemma3ForCausalLM",
    CSI_LLAMA_KIND,
    .width = {"hidden_size", 2304},
    .layers = {"num_hidden_layers", 26},
    .heads = {"num_attention_heads", 8},
    .mlp_dim = {"intermediate_size", 9216},
    .vocab = {"vocab_size", 262208},
    .norms_each_head = true,
    .norm_offset = 1.0,
    .kv_heads = {"num_key_value_heads", 4},
    .head_dim = {"head_dim", 256},
    .max_positions = {"max_position_embeddings", 131072},
    .activation_key = "hidden_activation",
    .activation_default = "gelu_pytorch_tanh",
    .norm_eps_key = "rms_norm_eps",
    .norm_eps_default = 1e-6,
    .attention_bias_key = "attention_bias",
    .fixed =
        {
            {"attention_dropout", "0.0", "0"},
            {"use_bidirectional_attention", "null", "false"},
        },
    .block =
        {
            CSI_GEMMA_NORMS,
            CSI_LLAMA_PRODUCTS,
            CSI_LLAMA_QKV_BIASES,
            CSI_LLAMA_O_BIAS,
            CSI_HEAD_NORMS,
            CSI_LLAMA_MLP,
        },
    .outer = {CSI_LLAMA_OUTER},
    .decoder = &GEMMA3,
};
