/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_RUNTIME_H
#define CORNSTARCH_RUNTIME_H
/*
 * The executor: runs one rank's list of actions on real tensors. It sees a
 * shard and a batch plan, never a plan. The only place where decisions and
 * tensors meet.
 */
#include "cornstarch/batch.h"
#include "cornstarch/comm.h"
#include "cornstarch/nn.h"
#include "cornstarch/shard.h"

CS_BEGIN_DECLS

typedef struct cs_runtime cs_runtime;

/* What a module's layers need to know of one microbatch, derived from the
 * batch plan. Arrays live in the arena given to build; the memory of tile maps
 * is kept by rebuilds, until fini. */
struct csi_arena;
typedef struct cs_module_batch {
    cs_nn_batch nn; /* without tiles, data and features */
    cs_tile_map tiles, window_tiles;
} cs_module_batch;
CS_API CS_NODISCARD cs_status
cs_module_batch_build(const cs_graph *graph, int32_t module,
                      const cs_microbatch *microbatch,
                      const cs_backend *backend, struct csi_arena *arena,
                      cs_module_batch *out);
CS_API void cs_module_batch_fini(cs_module_batch *batch);
/* The nn batch with its tiles, for the caller to add data and features. */
CS_API cs_nn_batch cs_module_batch_nn(const cs_module_batch *batch);

/* What the runtime hands to its owner at the end of the list. */
typedef cs_status (*cs_step_hook_fn)(void *context, cs_action_kind kind);

typedef struct cs_runtime_options {
    const cs_shard *shard; /* borrowed, as all below: must outlive */
    cs_comm *pipeline;     /* the ranks of this replica */
    cs_comm *replicas;     /* same pipeline rank in every replica */
    cs_backend *backend;
    cs_param_set *params;
    cs_step_hook_fn hook; /* GRADIENT_NORM, OPTIMIZER_STEP, AGREE */
    void *hook_context;
} cs_runtime_options;

/* One executed action, for traces. */
typedef struct cs_trace_event {
    cs_action action;
    int64_t start_ns, end_ns; /* csi_clock_ns */
} cs_trace_event;

/* Data of one microbatch, as the loader gives it. */
typedef struct cs_microbatch_data {
    const int32_t *ids;
    const int32_t *labels;
    float *const *input;
} cs_microbatch_data;

/* Logits [rows, vocab] of rows of the replica's microbatch, from first_row on;
 * valid during the call. */
typedef cs_status (*cs_step_logits_fn)(void *context, int32_t microbatch,
                                       int64_t first_row, int64_t rows,
                                       const float *logits);

typedef struct cs_step_input {
    const cs_batch_plan *plan;
    const cs_microbatch_data *data; /* [n_microbatches] of this replica */
    bool is_training;
    bool trace;
    /* without training: called on the scoring rank for all rows; NULL = not */
    cs_step_logits_fn on_logits;
    void *logits_context;
} cs_step_input;

/* Of this rank and this replica; valid on the scoring rank only (else 0). */
typedef struct cs_step_result {
    double loss_sum; /* sum of nll over label tokens */
    /* [layers of the language model], on the rank that runs the layer: balance
     * losses of experts, in the unit of loss_sum */
    const double *balance_sums;
    int64_t n_correct;
    int64_t label_tokens;
    /* [n_samples of the replica in microbatch order]: evaluation only */
    int64_t n_samples;
    const double *sample_nll;     /* sum of nll per sample */
    const int64_t *sample_tokens; /* label tokens per sample */
    const int64_t *sample_index;  /* dataset index */
    /* trace of this rank */
    int64_t n_events;
    const cs_trace_event *events;
    int64_t bytes_sent;
} cs_step_result;

CS_API CS_NODISCARD cs_status
cs_runtime_create(const cs_runtime_options *options, cs_runtime **out);
CS_API void cs_runtime_destroy(cs_runtime **runtime);
/* Runs one step's whole list. Ranks: collective over the world. Results stay
 * valid until the next step. */
CS_API CS_NODISCARD cs_status cs_runtime_step(cs_runtime *runtime,
                                              const cs_step_input *input,
                                              cs_step_result *result);
/* Totals of the step under way, for hooks. [borrow] */
CS_API const cs_step_result *cs_runtime_result(const cs_runtime *runtime);
/* The action list of a step of n microbatches (cached). [borrow] */
CS_API CS_NODISCARD cs_status cs_runtime_schedule(cs_runtime *runtime,
                                                  int32_t n_microbatches,
                                                  bool is_training,
                                                  const cs_schedule **out);
/* Bytes of activations and messages: the tapes' of the last step, the largest
 * workspace so far, and the slots of messages. */
CS_API size_t cs_runtime_activation_bytes(const cs_runtime *runtime);
/* Largest saved + deferred bytes of one tape of a module in the last step. */
CS_API size_t cs_runtime_tape_bytes(const cs_runtime *runtime, int32_t module);

CS_END_DECLS
#endif
