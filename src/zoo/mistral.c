/* SPDX-License-Identifier: Apache-2.0 */
/* Mistral: Llama with a window in every block (until version 0.2), and
 * Mixtral: the same with experts for an MLP, two of eight per token (Jiang et
 * al. 2024). Names and defaults as transformers' MistralConfig and
 * MixtralConfig; names of experts as the checkpoints have them. */
#include "llama_names.h"

#define MOE CSI_LAYER "block_sparse_moe."

static const struct csi_decoder_traits MISTRAL = {
    .prefixes = csi_language_prefixes,
    .ignored = csi_language_ignored,
    .window_rule = CSI_WINDOW_ALL,
    .window = 4096,
    .rope_theta = 10000.0,
};

static const struct csi_decoder_traits MIXTRAL = {
    .prefixes = csi_language_prefixes,
    .ignored = csi_language_ignored,
    .window_rule = CSI_WINDOW_ALL,
    .rope_theta = 1000000.0,
    .experts = {"num_local_experts", 8, "num_experts"},
    .top_k = {"num_experts_per_tok", 2},
    .balance = 0.001,
};

const csi_family csi_family_mistral = {
    .id = "mistral",
    .model_type = {"mistral"},
    .architecture = "MistralForCausalLM",
    CSI_LLAMA_KIND,
    CSI_LLAMA_SIZES,
    .kv_heads = {"num_key_value_heads", 8},
    .head_dim = {"head_dim", -2},
    .max_positions = {"max_position_embeddings", 131072},
    .activation_key = "hidden_act",
    .activation_default = "silu",
    .norm_eps_default = 1e-6,
    .fixed =
        {
            {"attention_dropout", "0.0", "0"},
            {"layer_types", "null", NULL},
        },
    .block = {CSI_LLAMA_NORMS, CSI_LLAMA_PRODUCTS, CSI_LLAMA_MLP},
    .outer = {CSI_LLAMA_OUTER},
    .decoder = &MISTRAL,
};

const csi_family csi_family_mixtral = {
    .id = "mixtral",
    .model_type = {"mixtral"},
    .architecture = "MixtralForCausalLM",
    CSI_LLAMA_KIND,
    CSI_LLAMA_SIZES,
    .kv_heads = {"num_key_value_heads", 8},
    .head_dim = {"head_dim", -2},
    .max_positions = {"max_position_embeddings", 131072},
    .activation_key = "hidden_act",
    .activation_default = "silu",
    .norm_eps_default = 1e-5,
    .fixed =
        {
            {"attention_dropout", "0.0", "0"},
            {"router_jitter_noise", "0.0", "0"},
            {"layer_types", "null", NULL},
        },
    .block =
        {
            CSI_LLAMA_NORMS,
            CSI_LLAMA_PRODUCTS,
            [CS_SLOT_ROUTER_W] = MOE "gate.weight",
            [CS_SLOT_EXPERT_GATE_W] = MOE "experts.*.w1.weight",
            [CS_SLOT_EXPERT_UP_W] = MOE "experts.*.w3.weight",
            [CS_SLOT_EXPERT_DOWN_W] = MOE "experts.*.w2.weight",
        },
    .outer = {CSI_LLAMA_OUTER},
    .layout =
        {
            [CS_SLOT_EXPERT_GATE_W] = CS_LAYOUT_EXPERTS,
            [CS_SLOT_EXPERT_UP_W] = CS_LAYOUT_EXPERTS,
            [CS_SLOT_EXPERT_DOWN_W] = CS_LAYOUT_EXPERTS,
        },
    .decoder = &MIXTRAL,
};
