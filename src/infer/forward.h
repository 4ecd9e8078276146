/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_INFER_FORWARD_H
#define CS_INFER_FORWARD_H
/*
 * A forward pass (and its gradients) over tensors of a file, the way that
 * transformers calls a model. Its steps, one file each:
 *
 *     forward_tensors.c  tensors of the file as arrays
 *     forward_media.c    pixels and mel frames -> the encoders' input rows
 *     forward_input.c    rows of ids -> documents, as the index has samples
 *     forward_batch.c    documents -> the plan of one step, with its data
 *     forward_encoder.c  one encoder alone: item by item on one rank
 *     forward.c          everything else: ranks run the step
 *     forward_output.c   results -> the file
 */
#include "cornstarch/batch.h"
#include "cornstarch/infer.h"
#include "cornstarch/runtime.h"
#include "cornstarch/safetensors.h"

#include "base/arena.h"

#include "source.h"

/* The items of one encoder, in the order of the file. */
typedef struct csi_media {
    const char *name; /* of the tensor; NULL = there are none */
    int64_t n_items, columns;
    int64_t *row_begin;                /* [n_items + 1] */
    int32_t *grid_rows, *grid_columns; /* [n_items]; 0 = sound */
    float *rows;                       /* [row_begin[n_items], columns] */
} csi_media;

/* Everything lies in the arena. Tokens are those that attention_mask keeps,
 * document by document. */
typedef struct csi_forward_input {
    csi_arena arena;
    const char *path;           /* borrowed */
    const cs_graph *graph;      /* borrowed */
    cs_safetensors *file;       /* owned */
    csi_media *media;           /* [n_encoders] */
    const int64_t *placeholder; /* [n_encoders]: ids */
    bool is_flat;               /* input_ids is [T] */
    int64_t n_rows, row_tokens; /* [B, T]; B is 1 when flat */
    bool has_labels;
    cs_index_view view;
    int32_t *run_item;     /* [n_runs]: item of the file; -1 = text */
    int64_t *token_begin;  /* [n_samples + 1] */
    int32_t *ids, *labels; /* [tokens]: -1 in media rows; shifted */
    int32_t *position;     /* [tokens]: rotary, or row of a table */
    int64_t *place;        /* [tokens]: row * T + column */
    int64_t label_tokens;
} csi_forward_input;

/* Reads what the graph's modules can use; names every tensor that none of
 * them knows. Placeholder ids are in input->placeholder. */
CS_NODISCARD cs_status csi_forward_read(csi_forward_input *input,
                                        const csi_model_source *source,
                                        const cs_graph *graph,
                                        const char *path);
void csi_forward_input_fini(csi_forward_input *input);
/* csi_media of encoder `e`; fills nothing when the file has no items for it. */
CS_NODISCARD cs_status csi_forward_read_media(csi_forward_input *input,
                                              int32_t e, csi_media *out);
/* Zeroed memory of the input. */
CS_NODISCARD cs_status csi_forward_take(csi_arena *arena, int64_t count,
                                        size_t size, void *out);
/* Rows inside the encoder, and features, of one item. */
int64_t csi_encoder_rows(const cs_module *module, int64_t input_rows);
int64_t csi_feature_rows(const cs_module *module, int64_t encoder_rows);
/* The tensor `name` with a float type and n_dims dims. */
CS_NODISCARD cs_status csi_forward_floats(const csi_forward_input *input,
                                          const cs_safetensor *tensor,
                                          int32_t n_dims, float **out);
/* The language model's tensors, as [n_rows * row_tokens]; or NULL. */
typedef struct csi_forward_texts {
    int64_t *ids, *labels, *mask, *position;
} csi_forward_texts;
CS_NODISCARD cs_status csi_forward_read_texts(csi_forward_input *input,
                                              csi_forward_texts *out);
/* ARG names a tensor that the model has no use for. has_text: a language model
 * is there, else an encoder alone. */
CS_NODISCARD cs_status csi_forward_check_names(const csi_forward_input *input,
                                               bool has_text);
/* Integers of a tensor of i32, i64 or u8. */
CS_NODISCARD cs_status csi_forward_ints(csi_forward_input *input,
                                        const cs_safetensor *tensor,
                                        int64_t **out);

/* One step over all documents. */
typedef struct csi_forward_batch {
    csi_arena arena;
    cs_batch_plan *plan;      /* owned */
    cs_microbatch_data *data; /* [n_replicas * n_microbatches] */
} csi_forward_batch;

CS_NODISCARD cs_status csi_forward_batch_build(const csi_forward_input *input,
                                               const cs_config *config,
                                               int32_t n_replicas,
                                               csi_forward_batch *out);
void csi_forward_batch_fini(csi_forward_batch *batch);
/* What a microbatch holds on average, for the plan. [n_modules] */
void csi_forward_work(const cs_graph *graph, const cs_batch_plan *plan,
                      cs_work *work);

/* What there is to write. */
typedef struct csi_forward_result {
    const char *states_name; /* logits or last_hidden_state */
    const float *states;
    cs_shape states_shape;
    bool has_loss;
    double loss;
    int32_t n_sets; /* whose gradients are written; 0 = none */
    cs_param_set *const *sets;
    bool names_modules; /* grad.<module>.<name> */
} csi_forward_result;
CS_NODISCARD cs_status csi_forward_write(const csi_forward_result *result,
                                         const cs_graph *graph,
                                         const char *path, int64_t *n_tensors);

/* module 0 alone, up to its last hidden state. */
CS_NODISCARD cs_status csi_forward_encoder(const cs_forward_options *options,
                                           const csi_model_source *source,
                                           const csi_forward_input *input,
                                           cs_forward_result *result);
#endif
