/* SPDX-License-Identifier: Apache-2.0 */
/* Llama (1 to 3): pre-norm decoder, RMS norm, rotary positions, gated MLP,
 * grouped key/value heads. Names and defaults as transformers' LlamaConfig. */
#include "family.h"

const csi_family csi_family_llama = {
    .id = "llama",
    .model_type = {"llama"},
    .architecture = "LlamaForCausalLM",
    .modality = CS_MODALITY_TEXT,
    .stem = CS_LAYER_EMBED,
    .norm = CS_NORM_RMS,
    .has_mlp_gate = true,
    .is_causal = true,
    .width = {"hidden_size", -1},
    .layers = {"num_hidden_layers", -1},
    .heads = {"num_attention_heads", -1},
    .kv_heads = {"num_key_value_heads", -2},
    .head_dim = {"head_dim", -2},
    .mlp_dim = {"intermediate_size", -1},
    .vocab = {"vocab_size", -1},
    .max_positions = {"max_position_embeddings", 2048},
    .activation_key = "hidden_act",
    .activation_default = "silu",
    .norm_eps_key = "rms_norm_eps",
    .norm_eps_default = 1e-6,
    .rope_key = "rope_theta",
    .rope_default = 10000.0,
    .attention_bias_key = "attention_bias",
    .mlp_bias_key = "mlp_bias",
    .fixed =
        {
            {"rope_scaling", "null", NULL},
            {"tie_word_embeddings", "false", NULL},
            {"attention_dropout", "0.0", "0"},
        },
    .block =
        {
            [CS_SLOT_NORM1_W] = "model.layers.%d.input_layernorm.weight",
            [CS_SLOT_Q_W] = "model.layers.%d.self_attn.q_proj.weight",
            [CS_SLOT_Q_B] = "model.layers.%d.self_attn.q_proj.bias",
            [CS_SLOT_K_W] = "model.layers.%d.self_attn.k_proj.weight",
            [CS_SLOT_K_B] = "model.layers.%d.self_attn.k_proj.bias",
            [CS_SLOT_V_W] = "model.layers.%d.self_attn.v_proj.weight",
            [CS_SLOT_V_B] = "model.layers.%d.self_attn.v_proj.bias",
            [CS_SLOT_O_W] = "model.layers.%d.self_attn.o_proj.weight",
            [CS_SLOT_O_B] = "model.layers.%d.self_attn.o_proj.bias",
            [CS_SLOT_NORM2_W] = "model.layers.%d.post_attention_layernorm"
                                ".weight",
            [CS_SLOT_GATE_W] = "model.layers.%d.mlp.gate_proj.weight",
            [CS_SLOT_GATE_B] = "model.layers.%d.mlp.gate_proj.bias",
            [CS_SLOT_UP_W] = "model.layers.%d.mlp.up_proj.weight",
            [CS_SLOT_UP_B] = "model.layers.%d.mlp.up_proj.bias",
            [CS_SLOT_DOWN_W] = "model.layers.%d.mlp.down_proj.weight",
            [CS_SLOT_DOWN_B] = "model.layers.%d.mlp.down_proj.bias",
        },
    .outer =
        {
            [CS_SLOT_EMBED] = "model.embed_tokens.weight",
            [CS_SLOT_NORM1_W] = "model.norm.weight",
            [CS_SLOT_HEAD_W] = "lm_head.weight",
        },
};
