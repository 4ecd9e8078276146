/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_ZOO_FAMILY_H
#define CS_ZOO_FAMILY_H
/*
 * What a model family is: which config.json keys give its sizes, which names
 * its parameters have, which function each part is. A new family is one more
 * constant of this type and a line in registry.c. What only encoders or only
 * decoders differ in hangs below it (encoder.h, decoder.h).
 */
#include "cornstarch/graph.h"

/* A size: the config.json key and the value of an absent key; -1 = the key is
 * required, -2 = derived (kv_heads = heads, head_dim = width / heads,
 * mlp_dim = 4 width). */
typedef struct csi_size_key {
    const char *name;
    int64_t fallback;
    const char *other_name; /* a second spelling, or NULL */
} csi_size_key;

/* A key whose value must be this (as JSON text) or absent. */
typedef struct csi_fixed_key {
    const char *name;
    const char *value;
    const char *value2; /* a second accepted value, or NULL */
} csi_fixed_key;

enum {
    CSI_FAMILY_FIXED_KEYS = 12,
    CSI_FAMILY_DROPOUTS = 4
};

struct csi_encoder_traits;
struct csi_decoder_traits;

typedef struct csi_family {
    const char *id;
    const char *model_type[3]; /* accepted values of model_type */
    const char *architecture;  /* transformers class that loads the export */
    cs_modality modality;
    cs_layer_kind stem;
    cs_norm_kind norm;
    double norm_offset; /* RMS weights are this + w; they begin as 1 - this */
    bool has_mlp_gate, is_causal;
    bool norms_each_head;     /* norms of q and k: of a head, else of all */
    bool positions_are_fixed; /* sinusoids, never trained */

    csi_size_key width, layers, heads, kv_heads, head_dim, mlp_dim;
    csi_size_key vocab, max_positions;
    csi_size_key image_size, patch_size, channels;
    const char *activation_key, *activation_default;
    bool gelu_is_tanh;        /* "gelu" means the tanh form (Gemma) */
    const char *norm_eps_key; /* NULL = norm_eps_default always */
    double norm_eps_default;
    const char *attention_bias_key, *mlp_bias_key; /* optional switches */
    bool bias_default;                             /* of an absent switch */
    csi_fixed_key fixed[CSI_FAMILY_FIXED_KEYS];
    /* Dropout that published configurations ask for: training runs without
     * it, and says so. */
    const char *dropout[CSI_FAMILY_DROPOUTS];

    /* Names: of a block with %d for its index; of stem, last norm, head by
     * their own slots. NULL = the family has no such parameter. Biases named
     * under a switch exist only when the switch is on. Experts have '*' for
     * their number; where a family has both, each block has either experts or
     * a dense MLP. */
    const char *block[CS_SLOT_COUNT];
    const char *outer[CS_SLOT_COUNT];
    cs_param_layout layout[CS_SLOT_COUNT];    /* in files, of blocks */
    const struct csi_encoder_traits *encoder; /* NULL = a language model */
    const struct csi_decoder_traits *decoder; /* NULL = an encoder */
} csi_family;

const csi_family *csi_family_find(const char *model_type);
#endif
