/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_ZOO_FAMILY_H
#define CS_ZOO_FAMILY_H
/*
 * What a model family is: which config.json keys give its sizes, which names
 * its parameters have, which function each part is. A new family is one more
 * constant of this type and a line in registry.c.
 */
#include "cornstarch/graph.h"

/* A size: the config.json key and the value of an absent key; -1 = the key is
 * required, -2 = derived (kv_heads = heads, head_dim = width / heads). */
typedef struct csi_size_key {
    const char *name;
    int64_t fallback;
} csi_size_key;

/* A key whose value must be this (as JSON text) or absent. */
typedef struct csi_fixed_key {
    const char *name;
    const char *value;
    const char *value2; /* a second accepted value, or NULL */
} csi_fixed_key;

enum {
    CSI_FAMILY_FIXED_KEYS = 8,
    CSI_FAMILY_PREFIXES = 3
};

typedef struct csi_family {
    const char *id;
    const char *model_type[3]; /* accepted values of model_type */
    const char *architecture;  /* transformers class that loads the export */
    cs_modality modality;
    cs_layer_kind stem;
    cs_norm_kind norm;
    bool has_mlp_gate, is_causal;
    bool positions_are_fixed; /* sinusoids, never trained */

    csi_size_key width, layers, heads, kv_heads, head_dim, mlp_dim;
    csi_size_key vocab, max_positions;
    csi_size_key image_size, patch_size, channels;
    const char *activation_key, *activation_default;
    const char *norm_eps_key; /* NULL = norm_eps_default always */
    double norm_eps_default;
    const char *rope_key; /* NULL = no rotary embedding */
    double rope_default;
    const char *attention_bias_key, *mlp_bias_key; /* optional switches */
    csi_fixed_key fixed[CSI_FAMILY_FIXED_KEYS];

    /* Names: of a block with %d for its index; of stem, last norm, head by
     * their own slots. NULL = the family has no such parameter. Biases named
     * under a switch exist only when the switch is on. */
    const char *block[CS_SLOT_COUNT];
    const char *outer[CS_SLOT_COUNT];
    /* How the names of a checkpoint may begin, NULL-terminated, the table's own
     * way first; all NULL = only that way. */
    const char *prefix[CSI_FAMILY_PREFIXES + 1];
} csi_family;

extern const csi_family csi_family_llama;
extern const csi_family csi_family_siglip;
extern const csi_family csi_family_whisper;

const csi_family *csi_family_find(const char *model_type);
#endif
