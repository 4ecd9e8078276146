/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_ZOO_LLAMA_NAMES_H
#define CS_ZOO_LLAMA_NAMES_H
/* Keys and names that most language models share with Llama, as parts of
 * their tables. */
#include "decoder.h"

#define CSI_LAYER "model.layers.%d."

#define CSI_LLAMA_SIZES                                                \
    .width = {"hidden_size", -1}, .layers = {"num_hidden_layers", -1}, \
    .heads = {"num_attention_heads", -1},                              \
    .mlp_dim = {"intermediate_size", -1}, .vocab = {"vocab_size", -1}, \
    .norm_eps_key = "rms_norm_eps"

#define CSI_LLAMA_KIND                                                         \
    .modality = CS_MODALITY_TEXT, .stem = CS_LAYER_EMBED, .norm = CS_NORM_RMS, \
    .has_mlp_gate = true, .is_causal = true

#define CSI_LLAMA_PRODUCTS                               \
    [CS_SLOT_Q_W] = CSI_LAYER "self_attn.q_proj.weight", \
    [CS_SLOT_K_W] = CSI_LAYER "self_attn.k_proj.weight", \
    [CS_SLOT_V_W] = CSI_LAYER "self_attn.v_proj.weight", \
    [CS_SLOT_O_W] = CSI_LAYER "self_attn.o_proj.weight"

#define CSI_LLAMA_QKV_BIASES                           \
    [CS_SLOT_Q_B] = CSI_LAYER "self_attn.q_proj.bias", \
    [CS_SLOT_K_B] = CSI_LAYER "self_attn.k_proj.bias", \
    [CS_SLOT_V_B] = CSI_LAYER "self_attn.v_proj.bias"

#define CSI_LLAMA_O_BIAS [CS_SLOT_O_B] = CSI_LAYER "self_attn.o_proj.bias"

#define CSI_LLAMA_MLP                                    \
    [CS_SLOT_GATE_W] = CSI_LAYER "mlp.gate_proj.weight", \
    [CS_SLOT_UP_W] = CSI_LAYER "mlp.up_proj.weight",     \
    [CS_SLOT_DOWN_W] = CSI_LAYER "mlp.down_proj.weight"

#define CSI_LLAMA_NORMS                                     \
    [CS_SLOT_NORM1_W] = CSI_LAYER "input_layernorm.weight", \
    [CS_SLOT_NORM2_W] = CSI_LAYER "post_attention_layernorm.weight"

#define CSI_HEAD_NORMS                                        \
    [CS_SLOT_Q_NORM_W] = CSI_LAYER "self_attn.q_norm.weight", \
    [CS_SLOT_K_NORM_W] = CSI_LAYER "self_attn.k_norm.weight"

/* Gemma 2 and 3: a norm before and one behind each branch. */
#define CSI_GEMMA_NORMS                                               \
    [CS_SLOT_NORM1_W] = CSI_LAYER "input_layernorm.weight",           \
    [CS_SLOT_NORM3_W] = CSI_LAYER "post_attention_layernorm.weight",  \
    [CS_SLOT_NORM2_W] = CSI_LAYER "pre_feedforward_layernorm.weight", \
    [CS_SLOT_NORM4_W] = CSI_LAYER "post_feedforward_layernorm.weight"

#define CSI_LLAMA_OUTER                            \
    [CS_SLOT_EMBED] = "model.embed_tokens.weight", \
    [CS_SLOT_NORM1_W] = "model.norm.weight",       \
    [CS_SLOT_HEAD_W] = "lm_head.weight"

/* A language model's own folder, or inside a vision-language model. */
extern const char *const csi_language_prefixes[];
extern const char *const csi_language_ignored[];
#endif
