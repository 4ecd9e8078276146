/* SPDX-License-Identifier: Apache-2.0 */
/* EVA-CLIP vision tower (BAAI EVA-CLIP 8B and 18B, whose code comes with the
 * weights and calls itself CLIP): CLIP without the norm in front, patches with
 * bias, q and v with bias and k without, layer or RMS norms before or behind
 * attention and MLP. post_layernorm belongs to the pooled output. Its class
 * takes pictures of image_size only. */
#include "encoder.h"

#define LAYER "vision_model.encoder.layers.%d."

static const char *const PREFIXES[] = {
    "vision_model.",
    "",
    "vision_tower.vision_model.",
    "model.vision_tower.vision_model.",
    NULL,
};
static const char *const IGNORED[] = {
    "embeddings.position_ids",
    "text_model.",
    "visual_projection.",
    "text_projection.",
    "logit_scale",
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
    .switches =
        {
            {"q_bias", true, CSI_SLOT(Q_B)},
            {"k_bias", false, CSI_SLOT(K_B)},
            {"v_bias", true, CSI_SLOT(V_B)},
        },
    .rms_key = "use_rms_norm",
    .rms_value = "true",
    .post_norm_key = "post_layernorm",
    .norm_is_pooled = true,
};

const csi_family csi_family_evaclip = {
    .id = "evaclip",
    .model_type = {"evaclip", "evaclip_vision_model"},
    .architecture = "EvaCLIPVisionModel",
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
    .activation_default = "gelu",
    .norm_eps_key = "layer_norm_eps",
    .norm_eps_default = 1e-5,
    .fixed =
        {
            {"use_rope", "false", NULL},
            {"use_sub_ln", "false", NULL},
            {"use_swiglu_mlp", "false", NULL},
        },
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
            [CS_SLOT_STEM1_B] = "vision_model.embeddings.patch_embedding.bias",
            [CS_SLOT_POSITION] = "vision_model.embeddings.position_embedding"
                                 ".weight",
            [CS_SLOT_CLASS] = "vision_model.embeddings.class_embedding",
            [CS_SLOT_NORM1_W] = "vision_model.post_layernorm.weight",
            [CS_SLOT_NORM1_B] = "vision_model.post_layernorm.bias",
        },
    .encoder = &TRAITS,
};
