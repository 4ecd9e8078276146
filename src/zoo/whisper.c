/* SPDX-License-Identifier: Apache-2.0 */
/* Whisper's encoder: two convolutions over log-mel frames (the second halves
 * their number), fixed sinusoids, pre-norm encoder; keys have no bias. A
 * recording has as many rows as it has sound, unless its processor pads it to
 * 30 s as that of a pretrained checkpoint does.
 * Names as the state dict of transformers' WhisperEncoder. */
#include "encoder.h"

/* WhisperEncoder; a whole WhisperForConditionalGeneration, WhisperModel */
static const char *const PREFIXES[] = {"", "model.encoder.", "encoder.", NULL};
static const char *const IGNORED[] = {"decoder.", "model.decoder.", "proj_out.",
                                      NULL};
static const struct csi_encoder_traits TRAITS = {
    .prefixes = PREFIXES,
    .ignored = IGNORED,
};

const csi_family csi_family_whisper = {
    .id = "whisper",
    .model_type = {"whisper"},
    .architecture = "WhisperEncoder",
    .modality = CS_MODALITY_AUDIO,
    .stem = CS_LAYER_CONV_STEM,
    .norm = CS_NORM_LAYER,
    .positions_are_fixed = true,
    .width = {"d_model", 384},
    .layers = {"encoder_layers", 4},
    .heads = {"encoder_attention_heads", 6},
    .mlp_dim = {"encoder_ffn_dim", 1536},
    .max_positions = {"max_source_positions", 1500},
    .channels = {"num_mel_bins", 80},
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
