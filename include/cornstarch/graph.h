/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_GRAPH_H
#define CORNSTARCH_GRAPH_H
/*
 * The model as data: modules, layers, parameters with their stable names. It
 * knows nothing of ranks or devices and holds no weights. Encoders come first,
 * in recipe order (= rank order = mask kind order), the language model last.
 * Immutable after create.
 */
#include "cornstarch/config.h"
#include "cornstarch/shape.h"

CS_BEGIN_DECLS

typedef enum cs_modality {
    CS_MODALITY_TEXT,
    CS_MODALITY_VISION,
    CS_MODALITY_AUDIO
} cs_modality;

typedef enum cs_layer_kind {
    CS_LAYER_PATCH_STEM, /* patches x W + positions */
    CS_LAYER_CONV_STEM,  /* two 1-D convolutions + positions (Whisper) */
    CS_LAYER_BLOCK,      /* pre-norm transformer block */
    CS_LAYER_NORM,       /* an encoder's last norm, then pooling */
    CS_LAYER_PROJECTOR,  /* features -> language model width */
    CS_LAYER_EMBED,      /* token rows, encoder rows merged in */
    CS_LAYER_HEAD,       /* last norm, logits, loss */
    CS_LAYER_KIND_COUNT
} cs_layer_kind;

/* What a parameter is to its layer; a layer has each at most once. */
typedef enum cs_slot {
    CS_SLOT_NORM1_W,
    CS_SLOT_NORM1_B, /* also the only norm of NORM, HEAD */
    CS_SLOT_Q_W,
    CS_SLOT_Q_B,
    CS_SLOT_K_W,
    CS_SLOT_K_B,
    CS_SLOT_V_W,
    CS_SLOT_V_B,
    CS_SLOT_O_W,
    CS_SLOT_O_B,
    CS_SLOT_NORM2_W,
    CS_SLOT_NORM2_B,
    CS_SLOT_GATE_W,
    CS_SLOT_GATE_B,
    CS_SLOT_UP_W,
    CS_SLOT_UP_B, /* fc1 where there is no gate */
    CS_SLOT_DOWN_W,
    CS_SLOT_DOWN_B, /* fc2 */
    CS_SLOT_STEM1_W,
    CS_SLOT_STEM1_B, /* patch embedding, conv1 */
    CS_SLOT_STEM2_W,
    CS_SLOT_STEM2_B, /* conv2 */
    CS_SLOT_POSITION,
    CS_SLOT_EMBED,
    CS_SLOT_HEAD_W,
    CS_SLOT_PROJ1_W,
    CS_SLOT_PROJ1_B,
    CS_SLOT_PROJ2_W,
    CS_SLOT_PROJ2_B,
    CS_SLOT_QKV_W,
    CS_SLOT_QKV_B, /* fused: rows of q, then k, then v */
    CS_SLOT_GATE_UP_W,
    CS_SLOT_GATE_UP_B, /* fused: rows of gate, then up */
    CS_SLOT_Q_NORM_W,
    CS_SLOT_K_NORM_W, /* RMS over a head, or over all heads, by its shape */
    CS_SLOT_NORM3_W,
    CS_SLOT_NORM3_B, /* on attention's result, before the residual sum */
    CS_SLOT_NORM4_W,
    CS_SLOT_NORM4_B, /* on the MLP's result, before the residual sum */
    CS_SLOT_SCALE1,
    CS_SLOT_SCALE2, /* LayerScale of the two branches */
    CS_SLOT_ROUTER_W,
    CS_SLOT_EXPERT_GATE_W, /* [experts, mlp, in] */
    CS_SLOT_EXPERT_UP_W,
    CS_SLOT_EXPERT_DOWN_W, /* [experts, out, mlp] */
    CS_SLOT_CLASS,         /* class token of a stem */
    CS_SLOT_NEWLINE,       /* PROJECTOR: row at the end of a line of features */
    CS_SLOT_COUNT          /* as a parameter's slot: stored, never read */
} cs_slot;

typedef enum cs_param_role {
    CS_PARAM_WEIGHT,
    CS_PARAM_BIAS,
    CS_PARAM_NORM,
    CS_PARAM_EMBEDDING
} cs_param_role;

typedef enum cs_init_kind {
    CS_INIT_ZEROS,
    CS_INIT_ONES,
    CS_INIT_NORMAL,   /* mean 0, std */
    CS_INIT_SINUSOID, /* Whisper's fixed positions */
    CS_INIT_CONSTANT  /* init_std everywhere (LayerScale) */
} cs_init_kind;

/* How files hold a parameter; what is in memory is always [out, in]. */
typedef enum cs_param_layout {
    CS_LAYOUT_PLAIN,
    CS_LAYOUT_TRANSPOSED, /* [in, out]: GPT-2's Conv1D */
    /* rows of QKV by key/value head: its queries, its key, its value
     * (InternLM2) */
    CS_LAYOUT_QKV_GROUPS,
    /* one tensor per expert; '*' in the name stands for its number */
    CS_LAYOUT_EXPERTS
} cs_param_layout;

typedef struct cs_param {
    char *name;            /* owned: Hugging Face name inside its folder */
    char *global_name;     /* owned: <module>.<name> */
    int32_t module, layer; /* indices; layer counts within the module */
    cs_slot slot;
    bool in_projector; /* stored in <encoder>/projector/ */
    cs_shape shape;
    cs_param_role role;
    cs_init_kind init;
    double init_std;
    bool is_trainable;
    bool is_product; /* weight of a matrix product: has a deferred half */
    cs_param_layout layout;
    /* The parameter whose values this one shares (a head tied to the
     * embedding), or -1. It has a gradient of its own, which is added to the
     * other's before the step; it is in no file. */
    int32_t tied_to;
} cs_param;

typedef struct cs_layer {
    cs_layer_kind kind;
    int32_t param[CS_SLOT_COUNT]; /* index into graph->params; -1 = absent */
    /* dimensions; those that do not apply are 0 */
    int64_t in_dim, out_dim, mlp_dim, vocab, n_positions;
    int32_t heads, kv_heads, head_dim;
    int32_t channels, kernel; /* stems: input columns; patch size or 3 */
    int32_t pool;             /* NORM: rows averaged per feature */
    int32_t stack;            /* NORM: rows side by side, in out_dim; 0 as 1 */
    cs_activation activation;
    cs_norm_kind norm;
    double norm_eps;
    double norm_offset; /* 1: RMS weights are 1 + w (Gemma); 0 usual */
    /* rotary embedding of the first rotary_dim columns of each head; 0 = none.
     * Frequencies of rotary_dim / 2 pairs, tables of the module. */
    int32_t rotary_dim;
    int32_t rope_axes;                /* axes of position; 1 usual */
    const double *rope_frequency;     /* radians per position */
    const double *rope_long;          /* for long documents, or NULL */
    int64_t rope_long_after;          /* rows of the longest short document */
    const uint8_t *rope_axis;         /* axis of each pair, NULL = 0 */
    double rope_scale;                /* of cos and sin; 1 usual */
    double attention_scale;           /* 0 = 1 / sqrt(head_dim) */
    double attention_softcap;         /* 0 = none */
    int64_t window;                   /* 0 = none; else as mask.h's window */
    double logit_softcap;             /* HEAD: 0 = none */
    double embed_scale;               /* EMBED: token rows times it; 0 = 1 */
    int32_t n_experts, top_k;         /* 0 = a dense MLP */
    bool normalises_top_k;            /* weights of the chosen sum to 1 */
    double balance_coefficient;       /* of the router's balance loss */
    int32_t position_side, grid_side; /* PATCH_STEM: stored positions are
                                         resampled to grid_side^2; 0 = not */
    bool pools_first;                 /* NORM: the mean comes before the norm */
    bool has_mlp_gate;
    bool is_causal;
} cs_layer;

typedef struct cs_module {
    char *name; /* owned: recipe key or "language_model" */
    char *
        family; /* owned: HF model_type without suffix: siglip, whisper, llama */
    cs_modality modality;
    int32_t n_layers;
    cs_layer *layers;       /* owned */
    int64_t width;          /* of its own hidden states */
    int64_t vocab;          /* language model */
    int64_t max_positions;  /* rows per item / tokens per document; 0 = any */
    char *hf_config;        /* owned: config.json text for export */
    char *projector_config; /* owned: projector/config.json, or NULL */
    char *source;           /* owned: folder with weights, or NULL = random */
    char *projector_source; /* owned or NULL */
    /* Beginnings that the names in `source` may have, all of them the same:
     * the first is that of our own names. NULL = only ours. Static. */
    const char *const *name_prefixes;
    /* Beginnings of names in `source` that are known and not used, such as
     * pooling heads and text towers: of the whole name, or of what follows the
     * prefix. NULL-terminated, or NULL = none. Static. */
    const char *const *ignored_names;
    /* As name_prefixes, for the projector's names in projector_source. */
    const char *const *projector_prefixes;
    /* what its processor must produce */
    int32_t image_size, patch_size, n_channels; /* vision */
    int32_t n_mels;                             /* audio */
    int32_t class_rows;   /* rows before an item's patches: 0 or 1 */
    int32_t feature_skip; /* first rows of an item that give no feature */
    int32_t pool;     /* encoder rows per feature row (rounded up per item) */
    int32_t stack;    /* neighbouring rows laid side by side per feature row; an
                      item's last one is filled with zeros */
    bool pads_audio;  /* sound to max_positions rows (pretrained Whisper) */
    bool is_any_size; /* images keep their shape: a grid per item */
    bool is_tiled; /* an image is several of image_size: all of it, then parts;
                      features are lines that end in a row of their own */
    int32_t merge; /* side of the blocks that patches come in; 1 */
    int32_t temporal_patch; /* times an image is repeated in a patch; 1 */
    int32_t rope_axes;      /* axes of position: 1, or 2 (row, column) */
    double *rope_tables;    /* owned: what the layers' frequencies point to */
    uint8_t *rope_axis;     /* owned, or NULL */
} cs_module;

typedef struct cs_graph {
    int32_t n_modules;  /* encoders + 1 */
    cs_module *modules; /* owned */
    int32_t n_params;
    cs_param *params; /* owned, in module, layer, slot order */
    cs_mask_policy attention;
} cs_graph;

CS_API void cs_graph_destroy(cs_graph **graph);
CS_API int32_t cs_graph_find_param(const cs_graph *graph, const char *global);
CS_API int32_t cs_graph_find_module(const cs_graph *graph, const char *name);
CS_API int32_t cs_graph_language_model(const cs_graph *graph); /* the last */
/* Elements of a module (-1: all modules), tied ones once. */
CS_API int64_t cs_graph_param_count(const cs_graph *graph, int32_t module,
                                    bool trainable_only);
/* The window of those of its layers that have one, and the rows after which a
 * document is long to them; 0 = none. */
CS_API int64_t cs_module_window(const cs_module *module);
CS_API int64_t cs_module_long_after(const cs_module *module);
/* Names unique, shapes agree from layer to layer, heads divide, products fit
 * their layers, at most one window per module. */
CS_API CS_NODISCARD cs_status cs_graph_check(const cs_graph *graph);
/* Indented tree of modules, layers, parameters. [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_graph_print(const cs_graph *graph,
                                             bool with_params, char **out);
/* Visible (query, key) pairs of one layer, given those of `rows` rows without
 * a window: a window leaves each row at most so many keys. */
CS_API double cs_layer_pairs(const cs_layer *layer, double rows, double pairs);
/* Forward multiply-add FLOPs of one layer for `rows` rows and `pairs` visible
 * (query, key) pairs. */
CS_API double cs_layer_forward_flops(const cs_layer *layer, double rows,
                                     double pairs);

CS_END_DECLS
#endif
