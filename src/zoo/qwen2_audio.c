/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen2-Audio's encoder: Whisper's, with the mean of every two rows before the
 * last norm. Names and defaults as transformers' Qwen2AudioEncoder. */
#include "encoder.h"

/* Qwen2AudioEncoder; a whole Qwen2AudioForConditionalGeneration */
static const char *const PREFIXES[] = {"", "audio_tower.", "model.audio_tower.",
                                       NULL};
static const char *const IGNORED[] = {
    "language_model.",        "model.language_model.",        "lm_head.",
    "multi_modal_projector.", "model.multi_modal_projector.", NULL,
};
static const struct csi_encoder_traits TRAITS = {
    .prefixes = PREFIXES,
    .ignored = IGNORED,
    .pool_before_norm = 2,
};

const csi_family csi_family_qwen2_audio = {
    .id = "qwen2_audio",
    .model_type = {"qwen2_audio_encoder", "qwen2_audio"},
    .architecture = "Qwen2AudioEncoder",
    .modality = CS_MODALITY_AUDIO,
    .stem = CS_LAYER_CONV_STEM,
    .norm = CS_NORM_LAYER,
    .positions_are_fixed = true,
    .width = {"d_model", 1280},
    .layers = {"encoder_layers", 32},
    .heads = {"encoder_attention_heads", 20},
    .mlp_dim = {"encoder_ffn_dim", 5120},
    .max_positions = {"max_source_positions", 1500},
    .channels = {"num_mel_bins", 128},
    .activation_key = "activation_function",
    .activation_default = "gelu",
    .norm_eps_default = 1e-5,
    .fixed =
        {
            {"scale_embedding", "false", NULL},
        },
    .dropout = {"dropout", "attention_dropout", "activation_dropout",
                "encoder_layerdrop"},
    .block =
        {
            [CS_SLOT_NORM1_W] = "layers.%d.self_attn_layer_norm.weight",
            [CS_SLOT_NORM1_B] = "layers.%d.self_attn_layer_norm.bias",
            [CS_SLOT_Q_W] = "layers.%d.self_attn.q_proj.weight",
            [CS_SLOT_Q_B] = "layers.%d.self_attn.q_proj.bias",
            [CS_SLOT_K_W] = "layers.%d.self_attn.k_proj.weight",
            [CS_SLOT_V_W] = "layers.%d.self_attn.v_proj.weight",
            [CS_SLOT_V_B] = "layers.%d.self_attn.v_proj.bias",
            [CS_SLOT_O_W] = "layers.%d.self_attn.out_proj.weight",
            [CS_SLOT_O_B] = "layers.%d.self_attn.out_proj.bias",
            [CS_SLOT_NORM2_W] = "layers.%d.final_layer_norm.weight",
            [CS_SLOT_NORM2_B] = "layers.%d.final_layer_norm.bias",
            [CS_SLOT_UP_W] = "layers.%d.fc1.weight",
            [CS_SLOT_UP_B] = "layers.%d.fc1.bias",
            [CS_SLOT_DOWN_W] = "layers.%d.fc2.weight",
            [CS_SLOT_DOWN_B] = "layers.%d.fc2.bias",
        },
    .outer =
        {
            [CS_SLOT_STEM1_W] = "conv1.weight",
            [CS_SLOT_STEM1_B] = "conv1.bias",
            [CS_SLOT_STEM2_W] = "conv2.weight",
            [CS_SLOT_STEM2_B] = "conv2.bias",
            [CS_SLOT_POSITION] = "embed_positions.weight",
            [CS_SLOT_NORM1_W] = "layer_norm.weight",
            [CS_SLOT_NORM1_B] = "layer_norm.bias",
        },
    .encoder = &TRAITS,
};
