/* SPDX-License-Identifier: Apache-2.0 */
/* DINOv2: ViT with LayerScale on both branches, an MLP that is gated in the
 * giant, and positions that are resampled bicubically for pictures of another
 * size than they were trained for. Its mask token belongs to pretraining: kept
 * and not used. Names and defaults as the hub's checkpoints and Dinov2Config. */
#include "encoder.h"

#define LAYER "encoder.layer.%d."

/* Dinov2Model; inside a classifier */
static const char *const PREFIXES[] = {"", "dinov2.", NULL};
static const char *const IGNORED[] = {"classifier.", NULL};
static const struct csi_encoder_traits TRAITS = {
    .prefixes = PREFIXES,
    .ignored = IGNORED,
    .switches =
        {
            {"qkv_bias", true, CSI_SLOT(Q_B) | CSI_SLOT(K_B) | CSI_SLOT(V_B)},
        },
    .mlp_ratio_key = "mlp_ratio",
    .gated_key = "use_swiglu_ffn",
    .gate_up_w = LAYER "mlp.weights_in.weight",
    .gate_up_b = LAYER "mlp.weights_in.bias",
    .gated_down_w = LAYER "mlp.weights_out.weight",
    .gated_down_b = LAYER "mlp.weights_out.bias",
    .layer_scale_key = "layerscale_value",
    .layer_scale = 1.0,
    .mask_token_key = "use_mask_token",
    .mask_token = "embeddings.mask_token",
    .has_batch_axis = true,
    .resamples = true,
};

const csi_family csi_family_dinov2 = {
    .id = "dinov2",
    .model_type = {"dinov2"},
    .architecture = "Dinov2Model",
    .modality = CS_MODALITY_VISION,
    .stem = CS_LAYER_PATCH_STEM,
    .norm = CS_NORM_LAYER,
    .width = {"hidden_size", 768},
    .layers = {"num_hidden_layers", 12},
    .heads = {"num_attention_heads", 12},
    .image_size = {"image_size", 224},
    .patch_size = {"patch_size", 14},
    .channels = {"num_channels", 3},
    .activation_key = "hidden_act",
    .activation_default = "gelu",
    .norm_eps_key = "layer_norm_eps",
    .norm_eps_default = 1e-6,
    .dropout = {"hidden_dropout_prob", "attention_probs_dropout_prob",
                "drop_path_rate"},
    .block =
        {
            [CS_SLOT_NORM1_W] = LAYER "norm1.weight",
            [CS_SLOT_NORM1_B] = LAYER "norm1.bias",
            [CS_SLOT_Q_W] = LAYER "attention.attention.query.weight",
            [CS_SLOT_Q_B] = LAYER "attention.attention.query.bias",
            [CS_SLOT_K_W] = LAYER "attention.attention.key.weight",
            [CS_SLOT_K_B] = LAYER "attention.attention.key.bias",
            [CS_SLOT_V_W] = LAYER "attention.attention.value.weight",
            [CS_SLOT_V_B] = LAYER "attention.attention.value.bias",
            [CS_SLOT_O_W] = LAYER "attention.output.dense.weight",
            [CS_SLOT_O_B] = LAYER "attention.output.dense.bias",
            [CS_SLOT_NORM2_W] = LAYER "norm2.weight",
            [CS_SLOT_NORM2_B] = LAYER "norm2.bias",
            [CS_SLOT_UP_W] = LAYER "mlp.fc1.weight",
            [CS_SLOT_UP_B] = LAYER "mlp.fc1.bias",
            [CS_SLOT_DOWN_W] = LAYER "mlp.fc2.weight",
            [CS_SLOT_DOWN_B] = LAYER "mlp.fc2.bias",
            [CS_SLOT_SCALE1] = LAYER "layer_scale1.lambda1",
            [CS_SLOT_SCALE2] = LAYER "layer_scale2.lambda1",
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
