/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_ZOO_ENCODER_H
#define CS_ZOO_ENCODER_H
/*
 * What encoder families differ in beyond the tables that all families share
 * (family.h), and the one step that turns a table and a config.json into the
 * table and the sizes of just this model.
 */
#include "sizes.h"

extern const csi_family csi_family_vit;
extern const csi_family csi_family_clip;
extern const csi_family csi_family_siglip;
extern const csi_family csi_family_dinov2;
extern const csi_family csi_family_intern_vit;
extern const csi_family csi_family_evaclip;
extern const csi_family csi_family_pixtral;
extern const csi_family csi_family_qwen2_vl;
extern const csi_family csi_family_whisper;
extern const csi_family csi_family_qwen2_audio;

/* A set of slots of a block. */
#define CSI_SLOT(name) (UINT64_C(1) << CS_SLOT_##name)
_Static_assert(CS_SLOT_COUNT <= 64, "slots fit a word");

/* Slots that exist only where a key of config.json is true. */
typedef struct csi_switch {
    const char *key;
    bool fallback; /* of an absent key */
    uint64_t slots;
} csi_switch;

/* Rotary embedding by row and column: the first half of a head's pairs turns
 * by the row, the second by the column. */
typedef enum csi_axial {
    CSI_AXIAL_NONE,
    CSI_AXIAL_SHARED, /* both halves by theta^(-4 i / head_dim) (Qwen2-VL) */
    CSI_AXIAL_DEALT   /* frequencies theta^(-2 i / head_dim) dealt out: even
                         ones to rows, odd ones to columns (Pixtral) */
} csi_axial;

enum {
    CSI_ENCODER_SWITCHES = 4
};

struct csi_encoder_traits {
    /* as cs_module's; NULL-terminated */
    const char *const *prefixes, *const *ignored, *const *merger_prefixes;
    csi_switch switches[CSI_ENCODER_SWITCHES];
    /* Norms are RMS (without biases) where this key has this value (as JSON
     * text), and layer norms elsewhere; NULL: as the table says. An absent key
     * means rms_fallback. */
    const char *rms_key, *rms_value;
    bool rms_fallback;
    /* Where true, a block's norms stand behind attention and MLP. */
    const char *post_norm_key;
    /* The width of the MLP is this key's number times the width. */
    const char *mlp_ratio_key;
    /* Where true, the MLP is silu(gate) * up with two thirds of the width
     * (rounded up to a multiple of 8) and these fused names. */
    const char *gated_key, *gate_up_w, *gate_up_b, *gated_down_w, *gated_down_b;
    const char *layer_scale_key; /* initial value of LayerScale */
    double layer_scale;
    const char *mask_token_key, *mask_token; /* stored [1, width], never used */
    csi_axial axial;
    const char *merge_key, *temporal_key; /* default 2 */
    int32_t pool_before_norm; /* rows averaged before the last norm */
    bool is_any_size;
    bool has_batch_axis; /* tables of class and positions are [1, n, width] */
    bool resamples;      /* positions, for pictures of another size */
    /* last_hidden_state does not go through the last norm, which belongs to a
     * pooled output */
    bool norm_is_pooled;
};

/* One encoder as its config.json makes it. */
typedef struct csi_encoder {
    csi_family family; /* the table, with only the names that exist here */
    csi_sizes sizes;
    double layer_scale, rope_theta;
    const char *mask_token; /* NULL = none */
    int32_t class_rows, merge, temporal_patch;
    int64_t picture; /* pixels a side that come in; image_size is the stored */
} csi_encoder;

/* Errors as csi_sizes_read. `picture` 0 = as the config says. */
CS_NODISCARD cs_status csi_encoder_read(const csi_family *family,
                                        const json_t *config, const char *where,
                                        int64_t picture, csi_encoder *out);

extern const csi_family csi_family_clip;
extern const csi_family csi_family_dinov2;
extern const csi_family csi_family_evaclip;
extern const csi_family csi_family_intern_vit;
extern const csi_family csi_family_pixtral;
extern const csi_family csi_family_qwen2_audio;
extern const csi_family csi_family_qwen2_vl;
extern const csi_family csi_family_siglip;
extern const csi_family csi_family_vit;
extern const csi_family csi_family_whisper;
#endif
