/* SPDX-License-Identifier: Apache-2.0 */
/* GPT-2: layer norms, learned positions, tanh GELU, biases everywhere, the
 * head tied to the embedding; its products are stored as [in, out], q, k and v
 * in one. Names and defaults as transformers' GPT2Config; the hub's names have
 * no "transformer." in front. */
#include "decoder.h"

#define LAYER "transformer.h.%d."

static const char *const PREFIXES[] = {"transformer.", "", NULL};
static const struct csi_decoder_traits TRAITS = {
    .prefixes = PREFIXES,
    .ties_embedding = true,
};

const csi_family csi_family_gpt2 = {
    .id = "gpt2",
    .model_type = {"gpt2"},
    .architecture = "GPT2LMHeadModel",
    .modality = CS_MODALITY_TEXT,
    .stem = CS_LAYER_EMBED,
    .norm = CS_NORM_LAYER,
    .is_causal = true,
    .width = {"n_embd", 768, "hidden_size"},
    .layers = {"n_layer", 12, "num_hidden_layers"},
    .heads = {"n_head", 12, "num_attention_heads"},
    .mlp_dim = {"n_inner", -2},
    .vocab = {"vocab_size", 50257},
    .max_positions = {"n_positions", 1024, "max_position_embeddings"},
    .activation_key = "activation_function",
    .activation_default = "gelu_new",
    .norm_eps_key = "layer_norm_epsilon",
    .norm_eps_default = 1e-5,
    .fixed =
        {
            {"scale_attn_weights", "true", NULL},
            {"scale_attn_by_inverse_layer_idx", "false", NULL},
            {"reorder_and_upcast_attn", "false", NULL},
            {"add_cross_attention", "false", NULL},
        },
    .dropout = {"embd_pdrop", "attn_pdrop", "resid_pdrop"},
    .block =
        {
            [CS_SLOT_NORM1_W] = LAYER "ln_1.weight",
            [CS_SLOT_NORM1_B] = LAYER "ln_1.bias",
            [CS_SLOT_QKV_W] = LAYER "attn.c_attn.weight",
            [CS_SLOT_QKV_B] = LAYER "attn.c_attn.bias",
            [CS_SLOT_O_W] = LAYER "attn.c_proj.weight",
            [CS_SLOT_O_B] = LAYER "attn.c_proj.bias",
            [CS_SLOT_NORM2_W] = LAYER "ln_2.weight",
            [CS_SLOT_NORM2_B] = LAYER "ln_2.bias",
            [CS_SLOT_UP_W] = LAYER "mlp.c_fc.weight",
            [CS_SLOT_UP_B] = LAYER "mlp.c_fc.bias",
            [CS_SLOT_DOWN_W] = LAYER "mlp.c_proj.weight",
            [CS_SLOT_DOWN_B] = LAYER "mlp.c_proj.bias",
        },
    .outer =
        {
            [CS_SLOT_EMBED] = "transformer.wte.weight",
            [CS_SLOT_POSITION] = "transformer.wpe.weight",
            [CS_SLOT_NORM1_W] = "transformer.ln_f.weight",
            [CS_SLOT_NORM1_B] = "transformer.ln_f.bias",
            [CS_SLOT_HEAD_W] = "lm_head.weight",
        },
    .layout =
        {
            [CS_SLOT_QKV_W] = CS_LAYOUT_TRANSPOSED,
            [CS_SLOT_O_W] = CS_LAYOUT_TRANSPOSED,
            [CS_SLOT_UP_W] = CS_LAYOUT_TRANSPOSED,
            [CS_SLOT_DOWN_W] = CS_LAYOUT_TRANSPOSED,
        },
    .decoder = &TRAITS,
};
