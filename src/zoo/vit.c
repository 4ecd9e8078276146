/* SPDX-License-Identifier: Apache-2.0 */
/* ViT as transformers' ViTModel without its pooler: patches, a class token,
 * learned positions, pre-norm blocks, last layer norm. Names and defaults as
 * the hub's checkpoints and ViTConfig. */
#include "encoder.h"

#define LAYER "encoder.layer.%d."

/* ViTModel; inside a classifier */
static const char *const PREFIXES[] = {"", "vit.", NULL};
static const char *const IGNORED[] = {"pooler.", "classifier.",
                                      "embeddings.mask_token", "decoder.",
                                      NULL};
static const struct csi_encoder_traits TRAITS = {
    .prefixes = PREFIXES,
    .ignored = IGNORED,
    .switches =
        {
            {"qkv_bias", true, CSI_SLOT(Q_B) | CSI_SLOT(K_B) | CSI_SLOT(V_B)},
        },
    .has_batch_axis = true,
    .resamples = true,
};

const csi_family csi_family_vit = {
    .id = "vit",
    .model_type = {"vit"},
    .architecture = "ViTModel",
    .modality = CS_MODALITY_VISION,
    .stem = CS_LAYER_PATCH_STEM,
    .norm = CS_NORM_LAYER,
    .width = {"hidden_size", 768},
    .layers = {"num_hidden_layers", 12},
    .heads = {"num_attention_heads", 12},
    .mlp_dim = {"intermediate_size", 3072},
    .image_size = {"image_size", 224},
    .patch_size = {"patch_size", 16},
    .channels = {"num_channels", 3},
    .activation_key = "hidden_act",
    .activation_default = "gelu",
    .norm_eps_key = "layer_norm_eps",
    .norm_eps_default = 1e-12,
    .dropout = {"hidden_dropout_prob", "attention_probs_dropout_prob"},
    .block =
        {
            [CS_SLOT_NORM1_W] = LAYER "layernorm_before.weight",
            [CS_SLOT_NORM1_B] = LAYER "layernorm_before.bias",
            [CS_SLOT_Q_W] = LAYER "attention.attention.query.weight",
            [CS_SLOT_Q_B] = LAYER "attention.attention.query.bias",
            [CS_SLOT_K_W] = LAYER "attention.attention.key.weight",
            [CS_SLOT_K_B] = LAYER "attention.attention.key.bias",
            [CS_SLOT_V_W] = LAYER "attention.attention.value.weight",
            [CS_SLOT_V_B] = LAYER "attention.attention.value.bias",
            [CS_SLOT_O_W] = LAYER "attention.output.dense.weight",
            [CS_SLOT_O_B] = LAYER "attention.output.dense.bias",
            [CS_SLOT_NORM2_W] = LAYER "layernorm_after.weight",
            [CS_SLOT_NORM2_B] = LAYER "layernorm_after.bias",
            [CS_SLOT_UP_W] = LAYER "intermediate.dense.weight",
            [CS_SLOT_UP_B] = LAYER "intermediate.dense.bias",
            [CS_SLOT_DOWN_W] = LAYER "output.dense.weight",
            [CS_SLOT_DOWN_B] = LAYER "output.dense.bias",
        },
    .outer =
        {
            [CS_SLOT_STEM1_W] = "embeddings.patch_embeddings.projection"
                                ".weight",
            [CS_SLOT_STEM1_B] = "embeddings.patch_embeddings.projection.bias",
            [CS_SLOT_POSITION] = "embeddings.position_embeddings",
            [CS_SLOT_CLASS] = "embeddings.cls_token",
            [CS_SLOT_NORM1_W] = "layernorm.weight",
            [CS_SLOT_NORM1_B] = "layernorm.bias",
        },
    .encoder = &TRAITS,
};
