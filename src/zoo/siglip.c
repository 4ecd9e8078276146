/* SPDX-License-Identifier: Apache-2.0 */
/* SigLIP vision tower: patches, learned positions, pre-norm encoder, last
 * layer norm. Features are its last_hidden_state; the pooling head that the
 * contrastive model adds is not part of a multimodal language model. Names
 * and defaults as transformers' SiglipVisionConfig. Pictures of another size
 * have positions as the class makes them with interpolate_pos_encoding. */
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
    "head.",
    "embeddings.position_ids",
    "text_model.",
    "logit_scale",
    "logit_bias",
    "language_model.",
    "lm_head.",
    "model.language_model.",
    "multi_modal_projector.",
    "model.multi_modal_projector.",
    NULL,
};
static const struct csi_encoder_traits TRAITS = {
    .prefixes = PREFIXES,
    .ignored = IGNORED,
    .resamples = true,
};

const csi_family csi_family_siglip = {
    .id = "siglip",
    .model_type = {"siglip_vision_model", "siglip"},
    .architecture = "SiglipVisionModel",
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
    .activation_default = "gelu_pytorch_tanh",
    .norm_eps_key = "layer_norm_eps",
    .norm_eps_default = 1e-6,
    .dropout = {"attention_dropout"},
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
            [CS_SLOT_NORM1_W] = "vision_model.post_layernorm.weight",
            [CS_SLOT_NORM1_B] = "vision_model.post_layernorm.bias",
        },
    .encoder = &TRAITS,
};
