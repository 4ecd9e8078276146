/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen 2 and 2.5: Llama with biases on q, k, v and, where switched on, a window
 * in the upper blocks. Qwen 3: no biases, norms of each head's q and k. Qwen 3
 * with experts: some blocks may stay dense. Names and defaults as
 * transformers' Qwen2Config, Qwen3Config, Qwen3MoeConfig. */
#include "llama_names.h"

static const struct csi_decoder_traits QWEN2 = {
    .prefixes = csi_language_prefixes,
    .ignored = csi_language_ignored,
    .window_rule = CSI_WINDOW_UPPER,
    .window = 4096,
    .window_switch = "use_sliding_window",
    .pattern = {"max_window_layers", 28},
    .reads_layer_types = true,
    .rope_theta = 10000.0,
};

static const struct csi_decoder_traits QWEN3_MOE = {
    .prefixes = csi_language_prefixes,
    .ignored = csi_language_ignored,
    .window_rule = CSI_WINDOW_ALL,
    .window = 4096,
    .window_switch = "use_sliding_window",
    .rope_theta = 10000.0,
    .experts = {"num_experts", 128, "num_local_experts"},
    .top_k = {"num_experts_per_tok", 8},
    .expert_dim = {"moe_intermediate_size", 768},
    .normalises_key = "norm_topk_prob",
    .has_dense_blocks = true,
    .balance = 0.001,
};

const csi_family csi_family_qwen2 = {
    .id = "qwen2",
    .model_type = {"qwen2"},
    .architecture = "Qwen2ForCausalLM",
    CSI_LLAMA_KIND,
    CSI_LLAMA_SIZES,
    .kv_heads = {"num_key_value_heads", 32},
    .head_dim = {"head_dim", -2},
    .max_positions = {"max_position_embeddings", 32768},
    .activation_key = "hidden_act",
    .activation_default = "silu",
    .norm_eps_default = 1e-6,
    .fixed =
        {
            {"attention_dropout", "0.0", "0"},
            {"use_mrope", "false", NULL},
        },
    .block =
        {
            CSI_LLAMA_NORMS,
            CSI_LLAMA_PRODUCTS,
            CSI_LLAMA_QKV_BIASES,
            CSI_LLAMA_MLP,
        },
    .outer = {CSI_LLAMA_OUTER},
    .decoder = &QWEN2,
};

const csi_family csi_family_qwen3 = {
    .id = "qwen3",
    .model_type = {"qwen3"},
    .architecture = "Qwen3ForCausalLM",
    CSI_LLAMA_KIND,
    CSI_LLAMA_SIZES,
    .norms_each_head = true,
    .kv_heads = {"num_key_value_heads", 32},
    .head_dim = {"head_dim", 128},
    .max_positions = {"max_position_embeddings", 32768},
    .activation_key = "hidden_act",
    .activation_default = "silu",
    .norm_eps_default = 1e-6,
    .attention_bias_key = "attention_bias",
    .fixed =
        {
            {"attention_dropout", "0.0", "0"},
        },
    .block =
        {
            CSI_LLAMA_NORMS,
            CSI_LLAMA_PRODUCTS,
            CSI_LLAMA_QKV_BIASES,
            CSI_LLAMA_O_BIAS,
            CSI_HEAD_NORMS,
            CSI_LLAMA_MLP,
        },
    .outer = {CSI_LLAMA_OUTER},
    .decoder = &QWEN2,
};

const csi_family csi_family_qwen3_moe = {
    .id = "qwen3_moe",
    .model_type = {"qwen3_moe"},
    .architecture = "Qwen3MoeForCausalLM",
    CSI_LLAMA_KIND,
    CSI_LLAMA_SIZES,
    .norms_each_head = true,
    .kv_heads = {"num_key_value_heads", 4},
    .head_dim = {"head_dim", -2},
    .max_positions = {"max_position_embeddings", 32768},
    .activation_key = "hidden_act",
    .activation_default = "silu",
    .norm_eps_default = 1e-6,
    .attention_bias_key = "attention_bias",
    .fixed =
        {
            {"attention_dropout", "0.0", "0"},
        },
    .block =
        {
            CSI_LLAMA_NORMS,
            CSI_LLAMA_PRODUCTS,
            CSI_LLAMA_QKV_BIASES,
            CSI_LLAMA_O_BIAS,
            CSI_HEAD_NORMS,
            CSI_LLAMA_MLP,
            [CS_SLOT_ROUTER_W] = CSI_LAYER "mlp.gate.weight",
            [CS_SLOT_EXPERT_GATE_W] =
                CSI_LAYER "mlp.experts.*.gate_proj.weight",
            [CS_SLOT_EXPERT_UP_W] = CSI_LAYER "mlp.experts.*.up_proj.weight",
            [CS_SLOT_EXPERT_DOWN_W] =
                CSI_LAYER "mlp.experts.*.down_proj.weight",
        },
    .outer = {CSI_LLAMA_OUTER},
    .layout =
        {
            [CS_SLOT_EXPERT_GATE_W] = CS_LAYOUT_EXPERTS,
            [CS_SLOT_EXPERT_UP_W] = CS_LAYOUT_EXPERTS,
            [CS_SLOT_EXPERT_DOWN_W] = CS_LAYOUT_EXPERTS,
        },
    .decoder = &QWEN3_MOE,
};
