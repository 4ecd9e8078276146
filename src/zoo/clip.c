/* SPDX-License-Identifier: Apache-2.0 */
/* CLIP vision tower: patches without bias, a class token, learned positions, a
 * layer norm in front of pre-norm blocks. Features are its last_hidden_state,
 * which the post_layernorm of the pooled output does not touch. Names and
 * defaults as transformers' CLIPVisionConfig. */
#include "encoder.h"

#define LAYER "vision_model.encoder.layers.%d."

/* transformers 4 and the hub; transformers 5; inside LLaVA */
static const char *const PREFIXES[] = {
    "vision_model.",
    "",
    "vision_tower.vision_model.",
    "model.vision_tower.vision_model.",
    "vision_tower.",
    "model.vision_tower.",
    NULL,
};
static const char *const IGNORED[] = {
    "embeddings.position_ids",
    "text_model.",
    "visual_projection.",
    "text_projection.",
    "logit_scale",
    "image_newline",
    "model.image_newline",
    "language_model.",
    "model.language_model.",
    "lm_head.",
    "multi_modal_projector.",
    "model.multi_modal_projector.",
    NULL,
};
static const struct csi_encoder_traits TRAITS = {
    .prefixes = PREFIXES,
    .ignored = IGNORED,
    .resamples = true,
    .norm_is_pooled = true,
};

const csi_family csi_family_clip = {
    .id = "clip",
    .model_type = {"clip_vision_model", "clip"},
    .architecture = "CLIPVisionModel",
    .modality = CS_MODALITY_VISION,
    .stem = CS_LAYER_PATCH_STEM,
    .norm = CS_NORM_LAYER,
    .width = {"hidden_size", 768},
    .layers = {"num_hidden_layers", 12},
    .heads = {"num_attention_heads", 12},
    .mlp_dim = {"intermediate_size", 3072},
    .image_size = {"image_size", 224},
    .patch_size = {"patch_size", 32},
    .channels = {"num_channels", 3},
    .activation_key = "hidden_act",
    .activation_default = "quick_gelu",
    .norm_eps_key = "layer_norm_eps",
    .norm_eps_default = 1e-5,
    .dropout = {"attention_dropout", "dropout"},
    .block =
        {
            [CS_SLOT_NORM1_W] = LAYER "layer_norm1.weight",
            [CS_SLOT_NORM1_B] = LAYER "layer_norm1.bias",
            [CS_SLOT_Q_W] = LAYER "self_attn.q_proj.weight",
            [CS_SLOT_Q_B] = LAYER "self_attn.q_proj.bias",
            [CS_SLOT_K_W] = LAYER "self_attn.k_proj.weight",
            [CS_SLOT_K_B] = LAYER "self_attn.k_proj.bias",
            [CS_SLOT_V_W] = LAYER "self_attn.v_proj.weight",
            [CS_SLOT_V_B] = LAYER "self_attn.v_proj.bias",
            [CS_SLOT_O_W] = LAYER "self_attn.out_proj.weight",
            [CS_SLOT_O_B] = LAYER "self_attn.out_proj.bias",
            [CS_SLOT_NORM2_W] = LAYER "layer_norm2.weight",
            [CS_SLOT_NORM2_B] = LAYER "layer_norm2.bias",
            [CS_SLOT_UP_W] = LAYER "mlp.fc1.weight",
            [CS_SLOT_UP_B] = LAYER "mlp.fc1.bias",
            [CS_SLOT_DOWN_W] = LAYER "mlp.fc2.weight",
            [CS_SLOT_DOWN_B] = LAYER "mlp.fc2.bias",
        },
    .outer =
        {
            [CS_SLOT_STEM1_W] = "vision_model.embeddings.patch_embedding"
                                ".weight",
            [CS_SLOT_POSITION] = "vision_model.embeddings.position_embedding"
                                 ".weight",
            [CS_SLOT_CLASS] = "vision_model.embeddings.class_embedding",
            [CS_SLOT_NORM1_W] = "vision_model.post_layernorm.weight",
            [CS_SLOT_NORM1_B] = "vision_model.post_layernorm.bias",
            [CS_SLOT_NORM2_W] = "vision_model.pre_layrnorm.weight",
            [CS_SLOT_NORM2_B] = "vision_model.pre_layrnorm.bias",
        },
    .encoder = &TRAITS,
};
