/* SPDX-License-Identifier: Apache-2.0 */
/* Phi-3, 3.5 and 4 (mini): Llama with fused q, k, v and fused gate and up, a
 * window in every block, rotary positions on a part of each head, and longrope
 * factors for long documents. Names and defaults as transformers' Phi3Config,
 * which reads "su" and "yarn" as longrope. */
#include "llama_names.h"

static const struct csi_decoder_traits TRAITS = {
    .prefixes = csi_language_prefixes,
    .ignored = csi_language_ignored,
    .window_rule = CSI_WINDOW_ALL,
    .rope_theta = 10000.0,
    .rope_original = 4096,
    .yarn_is_long = true,
};

const csi_family csi_family_phi3 = {
    .id = "phi3",
    .model_type = {"phi3"},
    .architecture = "Phi3ForCausalLM",
    CSI_LLAMA_KIND,
    CSI_LLAMA_SIZES,
    .kv_heads = {"num_key_value_heads", -2},
    .head_dim = {"head_dim", -2},
    .max_positions = {"max_position_embeddings", 4096},
    .activation_key = "hidden_act",
    .activation_default = "silu",
    .norm_eps_default = 1e-5,
    .fixed =
        {
            {"attention_dropout", "0.0", "0"},
            {"embd_pdrop", "0.0", "0"},
            {"resid_pdrop", "0.0", "0"},
            {"attention_bias", "false", NULL},
            {"mlp_bias", "false", NULL},
            {"lm_head_bias", "false", NULL},
        },
    .block =
        {
            CSI_LLAMA_NORMS,
            [CS_SLOT_QKV_W] = CSI_LAYER "self_attn.qkv_proj.weight",
            [CS_SLOT_O_W] = CSI_LAYER "self_attn.o_proj.weight",
            [CS_SLOT_GATE_UP_W] = CSI_LAYER "mlp.gate_up_proj.weight",
            [CS_SLOT_DOWN_W] = CSI_LAYER "mlp.down_proj.weight",
        },
    .outer = {CSI_LLAMA_OUTER},
    .decoder = &TRAITS,
};
