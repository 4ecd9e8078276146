/* SPDX-License-Identifier: Apache-2.0 */
/* Pixtral's vision tower: pictures of any size, patches without bias, an RMS
 * norm in front, rotary positions by row and column, pre-norm blocks with a
 * gated MLP, nothing behind. Names and defaults as transformers'
 * PixtralVisionConfig. */
#include "encoder.h"

#define LAYER "transformer.layers.%d."

/* PixtralVisionModel; inside LLaVA or Mistral 3 */
static const char *const PREFIXES[] = {"", "vision_tower.",
                                       "model.vision_tower.", NULL};
static const char *const IGNORED[] = {
    "language_model.",        "model.language_model.",        "lm_head.",
    "multi_modal_projector.", "model.multi_modal_projector.", NULL,
};
static const struct csi_encoder_traits TRAITS = {
    .prefixes = PREFIXES,
    .ignored = IGNORED,
    .axial = CSI_AXIAL_DEALT,
    .is_any_size = true,
};

const csi_family csi_family_pixtral = {
    .id = "pixtral",
    .model_type = {"pixtral", "pixtral_vision_model"},
    .architecture = "PixtralVisionModel",
    .modality = CS_MODALITY_VISION,
    .stem = CS_LAYER_PATCH_STEM,
    .norm = CS_NORM_RMS,
    .has_mlp_gate = true,
    .width = {"hidden_size", 1024},
    .layers = {"num_hidden_layers", 24},
    .heads = {"num_attention_heads", 16},
    .head_dim = {"head_dim", -2},
    .mlp_dim = {"intermediate_size", 4096},
    .image_size = {"image_size", 1024},
    .patch_size = {"patch_size", 16},
    .channels = {"num_channels", 3},
    .activation_key = "hidden_act",
    .activation_default = "gelu",
    .norm_eps_default = 1e-5,
    .dropout = {"attention_dropout"},
    .block =
        {
            [CS_SLOT_NORM1_W] = LAYER "attention_norm.weight",
            [CS_SLOT_Q_W] = LAYER "attention.q_proj.weight",
            [CS_SLOT_K_W] = LAYER "attention.k_proj.weight",
            [CS_SLOT_V_W] = LAYER "attention.v_proj.weight",
            [CS_SLOT_O_W] = LAYER "attention.o_proj.weight",
            [CS_SLOT_NORM2_W] = LAYER "ffn_norm.weight",
            [CS_SLOT_GATE_W] = LAYER "feed_forward.gate_proj.weight",
            [CS_SLOT_UP_W] = LAYER "feed_forward.up_proj.weight",
            [CS_SLOT_DOWN_W] = LAYER "feed_forward.down_proj.weight",
        },
    .outer =
        {
            [CS_SLOT_STEM1_W] = "patch_conv.weight",
            [CS_SLOT_NORM2_W] = "ln_pre.weight",
        },
    .encoder = &TRAITS,
};
