/* SPDX-License-Identifier: Apache-2.0 */
/* Llama (1 to 3.x): pre-norm decoder, RMS norm, rotary positions with their
 * stretchings, gated MLP, grouped key/value heads. Names and defaults as
 * transformers' LlamaConfig. */
#include "llama_names.h"

const char *const csi_language_prefixes[] = {"", "language_model.", NULL};
const char *const csi_language_ignored[] = {"vision_tower.",
                                            "multi_modal_projector.",
                                            "vision_model.",
                                            "audio_tower.",
                                            "image_newline",
                                            NULL};

static const struct csi_decoder_traits TRAITS = {
    .prefixes = csi_language_prefixes,
    .ignored = csi_language_ignored,
    .rope_theta = 10000.0,
};

const csi_family csi_family_llama = {
    .id = "llama",
    .model_type = {"llama"},
    .architecture = "LlamaForCausalLM",
    CSI_LLAMA_KIND,
    CSI_LLAMA_SIZES,
    .kv_heads = {"num_key_value_heads", -2},
    .head_dim = {"head_dim", -2},
    .max_positions = {"max_position_embeddings", 2048},
    .activation_key = "hidden_act",
    .activation_default = "silu",
    .norm_eps_default = 1e-6,
    .attention_bias_key = "attention_bias",
    .mlp_bias_key = "mlp_bias",
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
            CSI_LLAMA_MLP,
            [CS_SLOT_GATE_B] = CSI_LAYER "mlp.gate_proj.bias",
            [CS_SLOT_UP_B] = CSI_LAYER "mlp.up_proj.bias",
            [CS_SLOT_DOWN_B] = CSI_LAYER "mlp.down_proj.bias",
        },
    .outer = {CSI_LLAMA_OUTER},
    .decoder = &TRAITS,
};
