/* SPDX-License-Identifier: Apache-2.0 */
/* InternViT (OpenGVLab, 300M and 6B, whose code comes with the weights): ViT
 * with LayerScale and fused q, k, v; 300M has layer norms and biases, 6B has
 * RMS norms and normalises queries and keys over all heads. No last norm.
 * Positions are resampled bicubically for pictures of another size. */
#include "encoder.h"

#define LAYER "encoder.layers.%d."

/* InternVisionModel; inside InternVL */
static const char *const PREFIXES[] = {"", "vision_model.", NULL};
static const char *const IGNORED[] = {"language_model.", "mlp1.", "qllama.",
                                      NULL};
static const struct csi_encoder_traits TRAITS = {
    .prefixes = PREFIXES,
    .ignored = IGNORED,
    .switches =
        {
            {"qkv_bias", false, CSI_SLOT(QKV_B)},
            {"qk_normalization", true, CSI_SLOT(Q_NORM_W) | CSI_SLOT(K_NORM_W)},
        },
    .rms_key = "norm_type",
    .rms_value = "\"rms_norm\"",
    .rms_fallback = true,
    .layer_scale_key = "initializer_factor",
    .layer_scale = 0.1,
    .has_batch_axis = true,
    .resamples = true,
};

const csi_family csi_family_intern_vit = {
    .id = "intern_vit",
    .model_type = {"intern_vit_6b", "intern_vit"},
    .architecture = "InternVisionModel",
    .modality = CS_MODALITY_VISION,
    .stem = CS_LAYER_PATCH_STEM,
    .norm = CS_NORM_RMS,
    .width = {"hidden_size", 3200},
    .layers = {"num_hidden_layers", 48},
    .heads = {"num_attention_heads", 25},
    .mlp_dim = {"intermediate_size", 12800},
    .image_size = {"image_size", 224},
    .patch_size = {"patch_size", 14},
    .channels = {"num_channels", 3},
    .activation_key = "hidden_act",
    .activation_default = "gelu",
    .norm_eps_key = "layer_norm_eps",
    .norm_eps_default = 1e-6,
    .fixed =
        {
            {"use_moe", "false", NULL},
        },
    .dropout = {"dropout", "attention_dropout", "drop_path_rate"},
    .block =
        {
            [CS_SLOT_NORM1_W] = LAYER "norm1.weight",
            [CS_SLOT_NORM1_B] = LAYER "norm1.bias",
            [CS_SLOT_QKV_W] = LAYER "attn.qkv.weight",
            [CS_SLOT_QKV_B] = LAYER "attn.qkv.bias",
            [CS_SLOT_Q_NORM_W] = LAYER "attn.q_norm.weight",
            [CS_SLOT_K_NORM_W] = LAYER "attn.k_norm.weight",
            [CS_SLOT_O_W] = LAYER "attn.proj.weight",
            [CS_SLOT_O_B] = LAYER "attn.proj.bias",
            [CS_SLOT_NORM2_W] = LAYER "norm2.weight",
            [CS_SLOT_NORM2_B] = LAYER "norm2.bias",
            [CS_SLOT_UP_W] = LAYER "mlp.fc1.weight",
            [CS_SLOT_UP_B] = LAYER "mlp.fc1.bias",
            [CS_SLOT_DOWN_W] = LAYER "mlp.fc2.weight",
            [CS_SLOT_DOWN_B] = LAYER "mlp.fc2.bias",
            [CS_SLOT_SCALE1] = LAYER "ls1",
            [CS_SLOT_SCALE2] = LAYER "ls2",
        },
    .outer =
        {
            [CS_SLOT_STEM1_W] = "embeddings.patch_embedding.weight",
            [CS_SLOT_STEM1_B] = "embeddings.patch_embedding.bias",
            [CS_SLOT_POSITION] = "embeddings.position_embedding",
            [CS_SLOT_CLASS] = "embeddings.class_embedding",
        },
    .encoder = &TRAITS,
};
