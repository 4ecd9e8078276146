/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_NN_H
#define CORNSTARCH_NN_H
/*
 * Layer kinds: how a layer of the graph runs forward on a tape. One function
 * per kind, found in one table; backward follows from the tape. Knows nothing
 * of plans, stages or ranks.
 */
#include "cornstarch/autograd.h"
#include "cornstarch/graph.h"
#include "cornstarch/param.h"

CS_BEGIN_DECLS

/* Keys and values of one layer's past tokens, for generation. Owned by the
 * generator: [capacity, kv_heads * head_dim] of the tape's dtype. */
typedef struct cs_kv_cache {
    void *k, *v;
    int64_t n_tokens; /* before this forward */
} cs_kv_cache;

/* Logits [rows, vocab] of rows from first_row on; valid during the call. */
typedef cs_status (*cs_logits_fn)(void *context, int64_t first_row,
                                  int64_t rows, const float *logits);

/* What the layers of one module need to know about one microbatch. All
 * borrowed; must outlive the tape's use of them. */
typedef struct cs_nn_batch {
    int64_t rows; /* tokens, or encoder rows */
    /* attention: words and positions of the rows, tiles over them */
    cs_mask mask;
    const cs_tile_map *tiles;
    const cs_tile_map *window_tiles; /* of layers with a window, or NULL */
    /* with caches: mask of all keys (past and new), tiles rows x keys */
    cs_mask key_mask;
    cs_kv_cache *caches; /* per layer of the module; NULL = none */
    /* [rope_axes, rows]: rotary, or index into positions */
    const int32_t *position;
    /* [rows]: of a document that wants the long frequencies; NULL = none */
    const uint8_t *is_long;
    /* language model: documents of the microbatch, in order, and the label
     * tokens of each (balance loss); 0 = not known (generation) */
    int32_t n_documents;
    const int64_t *document_begin; /* [n_documents + 1] */
    const int64_t *document_labels;
    /* encoders */
    int64_t n_items;
    int64_t input_rows;
    const float *input;           /* [input_rows, columns] */
    const int64_t *input_begin;   /* [n_items + 1], frames before an item */
    const int64_t *encoder_begin; /* [n_items + 1] */
    int64_t kept_rows;
    const int32_t *keep_rows; /* [kept_rows]: encoder rows; NULL = all */
    int64_t pooled_rows;
    const int64_t *pool_begin; /* [pooled_rows + 1] over kept rows */
    int64_t feature_rows;      /* pooled rows, unless they are stacked: */
    /* [feature_rows * stack]: pooled row or -1; NULL when stack is 1 */
    const int32_t *stack_index;
    /* rows of the stem after class tokens are put in front: patch row or -1;
     * NULL = no class tokens */
    const int32_t *patch_index; /* [rows] */
    const int32_t *class_index; /* [rows]: 0 in class rows, else -1 */
    /* projector's rows where lines of features end in a row of their own:
     * [feature_rows] itself or -1, and 0 at ends of lines, else -1 */
    const int32_t *line_index, *newline_index;
    /* language model */
    const int32_t *ids; /* [rows], -1 in media rows */
    int32_t n_features;
    cs_value *const *features;         /* per encoder; NULL = absent */
    const int32_t *const *merge_index; /* per encoder [rows]: feature or -1 */
    cs_tape_loss_args loss;
    /* opt, [layers of the module]: where the balance losses of experts are
     * added up, layer by layer; NULL = in loss.loss_sum */
    double *balance_sums;
    /* logits of all rows beside the loss, chunk by chunk; NULL = none. Not in
     * training. */
    cs_logits_fn on_logits;
    void *logits_context;
    /* logits of some rows instead of the loss (generation) */
    const int32_t *logit_rows; /* [n_logit_rows] */
    int64_t n_logit_rows;      /* 0 = loss */
    cs_value *logits;          /* out: [n_logit_rows, vocab] */
} cs_nn_batch;

typedef struct cs_nn {
    cs_tape *tape;
    const cs_graph *graph;
    const cs_param_set *params;
    int32_t module;
    cs_nn_batch *batch;
} cs_nn;

/* Runs layers [first, last) of the module. x is the hidden state from the
 * layer before (NULL when first is 0); *out the hidden state after (NULL after
 * the head). `keep` is how long the result must live (TEMP: until the caller
 * has copied it). Errors name module and layer. */
CS_API CS_NODISCARD cs_status cs_nn_forward(const cs_nn *nn, int32_t first,
                                            int32_t last, cs_value *x,
                                            cs_value **out);
/* Whether anything in the layers [first, last) of the module is trainable. */
CS_API bool cs_nn_is_trainable(const cs_graph *graph, int32_t module,
                               int32_t first, int32_t last);

CS_END_DECLS
#endif
