/* SPDX-License-Identifier: Apache-2.0 */
/* InternLM2 (Cai et al. 2024; also the language model of InternVL2): Llama
 * with q, k, v fused head group by head group. Names and defaults as the code
 * that comes with the weights; transformers has no class of its own. */
#include "llama_names.h"

static const struct csi_decoder_traits TRAITS = {
    .prefixes = csi_language_prefixes,
    .ignored = csi_language_ignored,
    .rope_theta = 10000.0,
};

const csi_family csi_family_internlm2 = {
    .id = "internlm2",
    .model_type = {"internlm2"},
    .architecture = "InternLM2ForCausalLM",
    CSI_LLAMA_KIND,
    CSI_LLAMA_SIZES,
    .kv_heads = {"num_key_value_heads", -2},
    .max_positions = {"max_position_embeddings", 2048},
    .activation_key = "hidden_act",
    .activation_default = "silu",
    .norm_eps_default = 1e-6,
    .attention_bias_key = "bias",
    .bias_default = true,
    .block =
        {
            [CS_SLOT_NORM1_W] = CSI_LAYER "attention_norm.weight",
            [CS_SLOT_QKV_W] = CSI_LAYER "attention.wqkv.weight",
            [CS_SLOT_QKV_B] = CSI_LAYER "attention.wqkv.bias",
            [CS_SLOT_O_W] = CSI_LAYER "attention.wo.weight",
            [CS_SLOT_O_B] = CSI_LAYER "attention.wo.bias",
            [CS_SLOT_NORM2_W] = CSI_LAYER "ffn_norm.weight",
            [CS_SLOT_GATE_W] = CSI_LAYER "feed_forward.w1.weight",
            [CS_SLOT_UP_W] = CSI_LAYER "feed_forward.w3.weight",
            [CS_SLOT_DOWN_W] = CSI_LAYER "feed_forward.w2.weight",
        },
    .outer =
        {
            [CS_SLOT_EMBED] = "model.tok_embeddings.weight",
            [CS_SLOT_NORM1_W] = "model.norm.weight",
            [CS_SLOT_HEAD_W] = "output.weight",
        },
    .layout =
        {
            [CS_SLOT_QKV_W] = CS_LAYOUT_QKV_GROUPS,
            [CS_SLOT_QKV_B] = CS_LAYOUT_QKV_GROUPS,
        },
    .decoder = &TRAITS,
};
