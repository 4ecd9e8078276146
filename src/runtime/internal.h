/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_RUNTIME_INTERNAL_H
#define CS_RUNTIME_INTERNAL_H
/* The executor's state, shared by its handlers. */
#include "cornstarch/runtime.h"

#include "base/arena.h"

/* A module's view of one microbatch, built when first wanted in a step. */
typedef struct csi_module_batch {
    bool is_built;
    cs_module_batch batch;
} csi_module_batch;

/* One stage's work on one microbatch. */
typedef struct csi_work {
    cs_tape *tape;       /* NULL before it starts and after it ends */
    cs_value *input;     /* from the stage before; NULL for first stages */
    cs_value **features; /* [n_encoders]: language model's first stage */
    cs_value *output;
    cs_nn_batch batch;
    int32_t n_left; /* actions of the list that still belong to it */
} csi_work;

/* A message that was sent. Its bytes are a copy, so that tapes live as long
 * as the list says and not as long as a receiver is busy. */
typedef struct csi_message {
    void *data; /* owned */
    size_t capacity;
    cs_request request;
} csi_message;

/* What one edge sends in one direction: slot n_sent % n_slots is the oldest. */
typedef struct csi_channel {
    csi_message *slots; /* owned, [n_slots] */
    int64_t n_sent;     /* in this step */
} csi_channel;

typedef struct csi_tape_slot {
    cs_tape *tape; /* owned */
    bool is_used;
} csi_tape_slot;

typedef struct csi_cached_schedule {
    int32_t n_microbatches;
    bool is_training;
    cs_schedule *schedule; /* owned */
} csi_cached_schedule;

enum {
    CSI_MAX_SCHEDULES = 64
};

struct cs_runtime {
    cs_runtime_options o;
    const cs_graph *graph;
    const cs_shard *shard;
    int32_t n_encoders;
    csi_arena workspace;  /* temporaries of one action */
    csi_arena step;       /* derived arrays of one step */
    csi_tape_slot *tapes; /* owned: as many as were ever used at once */
    int32_t n_tapes, tape_capacity;
    /* of the current step */
    const cs_step_input *input;
    int32_t n_microbatches, capacity_microbatches;
    csi_work *works;           /* [n_stages * n_microbatches] */
    csi_module_batch *modules; /* [n_modules * n_microbatches] */
    csi_channel *channels;     /* [2 * n_edges]: activation, gradient */
    cs_step_result result;
    double *balance_sums; /* [layers of the language model] */
    double *sample_nll;
    int64_t *sample_tokens, *sample_index;
    int64_t sample_capacity;
    cs_trace_event *events;
    int64_t event_capacity;
    size_t *tape_bytes; /* [n_modules] */
    csi_cached_schedule schedules[CSI_MAX_SCHEDULES];
    int32_t n_schedules;
};

static inline csi_work *csi_work_of(cs_runtime *rt, int32_t stage, int32_t mb)
{
    return &rt->works[(int64_t)stage * rt->n_microbatches + mb];
}

/* The replica's own microbatch `mb`. */
const cs_microbatch *csi_microbatch(const cs_runtime *rt, int32_t mb);
CS_NODISCARD cs_status csi_module_batch_get(cs_runtime *rt, int32_t module,
                                            int32_t mb,
                                            const cs_module_batch **out);
/* Memory of the step: count items of n_bytes each. */
CS_NODISCARD cs_status csi_batch_take(csi_arena *arena, int64_t count,
                                      size_t n_bytes, void **out);
/* The part of a module batch that is of an encoder. */
CS_NODISCARD cs_status csi_encoder_batch(csi_arena *arena,
                                         const cs_module *module, int32_t index,
                                         const cs_batch_modality *modality,
                                         cs_nn_batch *out);
/* The stage whose work an action belongs to; -1 for actions of the step. */
int32_t csi_action_owner(const cs_runtime *rt, const cs_action *a);
/* Gives the work a tape if it has none. */
CS_NODISCARD cs_status csi_work_open(cs_runtime *rt, csi_work *work);
/* Ends the work and frees its tape. */
void csi_work_close(cs_runtime *rt, int32_t stage, csi_work *work);
/* Every work of the step must have ended. */
CS_NODISCARD cs_status csi_works_finish(const cs_runtime *rt);
/* Frees the tapes of a step that failed. */
void csi_works_abandon(cs_runtime *rt);
/* Waits for every message of the step. */
CS_NODISCARD cs_status csi_channels_finish(cs_runtime *rt);
/* Rows and columns of a message on an edge; 0 rows = no message. */
CS_NODISCARD cs_status csi_edge_size(cs_runtime *rt, int32_t edge, int32_t mb,
                                     int64_t *rows, int64_t *columns);
/* The input value that an edge's activation becomes in the receiving work. */
cs_value **csi_edge_input(cs_runtime *rt, int32_t edge, int32_t mb);
/* Makes that value, with memory that lives as long as it is needed. */
CS_NODISCARD cs_status csi_edge_open_input(cs_runtime *rt, int32_t edge,
                                           int32_t mb, cs_value **out);
/* Room for the gradient of an edge's activation in the sending work. */
CS_NODISCARD cs_status csi_edge_open_gradient(cs_runtime *rt, int32_t edge,
                                              int32_t mb, void **out);
bool csi_edge_is_local(const cs_runtime *rt, int32_t edge);

CS_NODISCARD cs_status csi_action_forward(cs_runtime *rt, const cs_action *a);
CS_NODISCARD cs_status csi_action_backward_input(cs_runtime *rt,
                                                 const cs_action *a);
CS_NODISCARD cs_status csi_action_backward_weight(cs_runtime *rt,
                                                  const cs_action *a);
CS_NODISCARD cs_status csi_action_send_activation(cs_runtime *rt,
                                                  const cs_action *a);
CS_NODISCARD cs_status csi_action_recv_activation(cs_runtime *rt,
                                                  const cs_action *a);
CS_NODISCARD cs_status csi_action_send_gradient(cs_runtime *rt,
                                                const cs_action *a);
CS_NODISCARD cs_status csi_action_recv_gradient(cs_runtime *rt,
                                                const cs_action *a);
CS_NODISCARD cs_status csi_action_reduce(cs_runtime *rt, const cs_action *a);
CS_NODISCARD cs_status csi_action_reduce_tied(cs_runtime *rt,
                                              const cs_action *a);
/* Runs this rank's list. */
CS_NODISCARD cs_status csi_execute(cs_runtime *rt, const cs_schedule *schedule);
CS_NODISCARD cs_status csi_action_hook(cs_runtime *rt, const cs_action *a);
#endif
