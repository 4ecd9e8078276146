/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_ZOO_DECODER_H
#define CS_ZOO_DECODER_H
/*
 * What language model families differ in beyond the tables that all families
 * share (family.h): windows, rotary positions, caps and scales, experts; and
 * one language model as its config.json makes it.
 */
#include "sizes.h"

/* Which blocks attend within a window, where no layer_types say so. */
typedef enum csi_window_rule {
    CSI_WINDOW_NONE,
    CSI_WINDOW_ALL,
    CSI_WINDOW_UPPER,  /* from block `pattern` on (Qwen2) */
    CSI_WINDOW_PATTERN /* all but each pattern-th (Gemma 2 and 3) */
} csi_window_rule;

struct csi_decoder_traits {
    const char *const *prefixes, *const *ignored; /* as cs_module's */

    const char *window_switch; /* key that turns windows on; NULL = on */
    csi_size_key pattern;
    int64_t window; /* of an absent sliding_window; 0 = none */
    csi_window_rule window_rule;
    bool reads_layer_types;

    bool yarn_is_long;       /* "yarn" means longrope here (Phi-3) */
    double rope_theta;       /* of an absent key; 0 = no rotary positions */
    double local_rope_theta; /* > 0: blocks with a window have their own */
    const char *local_rope_key;
    int64_t rope_original; /* positions of pretraining, where not said */

    const char *attention_scalar_key;        /* scale = scalar^-1/2 */
    double attention_scalar;                 /* of an absent key */
    double attention_softcap, logit_softcap; /* of absent keys; 0 = none */
    bool has_softcaps;
    bool scales_embedding; /* by sqrt(width) */
    bool ties_embedding;   /* absent tie_word_embeddings */

    bool has_dense_blocks; /* mlp_only_layers, decoder_sparse_step */
    csi_size_key experts, top_k, expert_dim; /* expert_dim: else mlp_dim */
    const char *normalises_key;              /* NULL = always */
    double balance; /* of an absent router_aux_loss_coef */
};

typedef enum csi_rope_type {
    CSI_ROPE_DEFAULT, /* also dynamic: the same up to max_position_embeddings */
    CSI_ROPE_LINEAR,
    CSI_ROPE_LLAMA3,
    CSI_ROPE_YARN,
    CSI_ROPE_LONG
} csi_rope_type;

/* One rotary embedding. */
typedef struct csi_rope {
    csi_rope_type type;
    int32_t dim; /* columns of a head that turn, even; 0 = none */
    double theta, factor;
    double original;  /* positions of pretraining */
    double scale;     /* of cos and sin */
    double low, high; /* llama3: frequency factors; yarn: slow and fast beta */
    bool truncates;   /* yarn: whole pairs bound the ramp */
    const json_t *short_factor, *long_factor; /* borrowed; longrope */
} csi_rope;

/* A block of this model. */
enum {
    CSI_BLOCK_WINDOW = 1,
    CSI_BLOCK_EXPERTS = 2
};

typedef struct csi_decoder {
    const csi_family *family;
    csi_sizes sizes;
    csi_rope rope, local_rope; /* local: of blocks with a window, or dim 0 */
    int64_t window;
    double attention_scale, attention_softcap, logit_softcap, embed_scale;
    bool is_tied;
    int64_t experts, top_k, expert_dim;
    bool normalises_top_k;
    double balance;                /* coefficient of a block with experts */
    uint8_t block[CSI_MAX_LAYERS]; /* CSI_BLOCK_ bits */
} csi_decoder;

/* Errors as csi_sizes_read. `config` must outlive *out. */
CS_NODISCARD cs_status csi_decoder_read(const csi_family *family,
                                        const json_t *config, const char *where,
                                        csi_decoder *out);
/* Replaces the config of a whole model by that of its language model. Any
 * other stays. */
CS_NODISCARD cs_status csi_inner_text(json_t **config, const char *where);
/* Rotary embeddings of the model: out[0], and out[1] of blocks with a window
 * where they have their own. */
CS_NODISCARD cs_status csi_rope_read(const csi_family *family,
                                     const json_t *config, const char *where,
                                     const csi_sizes *sizes, csi_rope out[2]);
/* Frequencies of the dim / 2 pairs, radians per position. */
void csi_rope_fill(const csi_rope *rope, bool is_long, double *table);

extern const csi_family csi_family_gemma;
extern const csi_family csi_family_gemma2;
extern const csi_family csi_family_gemma3;
extern const csi_family csi_family_gpt2;
extern const csi_family csi_family_internlm2;
extern const csi_family csi_family_llama;
extern const csi_family csi_family_mistral;
extern const csi_family csi_family_mixtral;
extern const csi_family csi_family_phi3;
extern const csi_family csi_family_qwen2;
extern const csi_family csi_family_qwen3;
extern const csi_family csi_family_qwen3_moe;
#endif
