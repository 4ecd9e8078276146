/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen2-VL's vision tower: pictures of any size in patches of two equal frames,
 * that come in blocks of merge x merge; rotary positions by row and column,
 * pre-norm blocks with fused q, k, v. Its merger is a projector (projector.c).
 * Names and defaults as transformers' Qwen2VLVisionConfig. */
#include "encoder.h"

#define LAYER "blocks.%d."

/* The tower alone; transformers 4 and the hub; transformers 5 */
static const char *const PREFIXES[] = {"", "visual.", "model.visual.", NULL};
static const char *const MERGER_PREFIXES[] = {
    "", "merger.", "visual.merger.", "model.visual.merger.", NULL,
};
static const char *const IGNORED[] = {
    "merger.",     "model.embed_tokens.",   "model.layers.",
    "model.norm.", "model.language_model.", "lm_head.",
    NULL,
};
static const struct csi_encoder_traits TRAITS = {
    .prefixes = PREFIXES,
    .ignored = IGNORED,
    .merger_prefixes = MERGER_PREFIXES,
    .mlp_ratio_key = "mlp_ratio",
    .axial = CSI_AXIAL_SHARED,
    .merge_key = "spatial_merge_size",
    .temporal_key = "temporal_patch_size",
    .is_any_size = true,
};

const csi_family csi_family_qwen2_vl = {
    .id = "qwen2_vl",
    .model_type = {"qwen2_vl_vision", "qwen2_vl"},
    .architecture = "Qwen2VisionTransformerPretrainedModel",
    .modality = CS_MODALITY_VISION,
    .stem = CS_LAYER_PATCH_STEM,
    .norm = CS_NORM_LAYER,
    .width = {"embed_dim", 1280},
    .layers = {"depth", 32},
    .heads = {"num_heads", 16},
    .patch_size = {"patch_size", 14},
    .channels = {"in_channels", 3},
    .activation_key = "hidden_act",
    .activation_default = "quick_gelu",
    .norm_eps_default = 1e-6,
    .block =
        {
            [CS_SLOT_NORM1_W] = LAYER "norm1.weight",
            [CS_SLOT_NORM1_B] = LAYER "norm1.bias",
            [CS_SLOT_QKV_W] = LAYER "attn.qkv.weight",
            [CS_SLOT_QKV_B] = LAYER "attn.qkv.bias",
            [CS_SLOT_O_W] = LAYER "attn.proj.weight",
            [CS_SLOT_O_B] = LAYER "attn.proj.bias",
            [CS_SLOT_NORM2_W] = LAYER "norm2.weight",
            [CS_SLOT_NORM2_B] = LAYER "norm2.bias",
            [CS_SLOT_UP_W] = LAYER "mlp.fc1.weight",
            [CS_SLOT_UP_B] = LAYER "mlp.fc1.bias",
            [CS_SLOT_DOWN_W] = LAYER "mlp.fc2.weight",
            [CS_SLOT_DOWN_B] = LAYER "mlp.fc2.bias",
        },
    .outer =
        {
            [CS_SLOT_STEM1_W] = "patch_embed.proj.weight",
        },
    .encoder = &TRAITS,
};
