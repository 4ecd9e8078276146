/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_SCHEDULE_H
#define CORNSTARCH_SCHEDULE_H
/*
 * A schedule is data: one list of actions per pipeline rank over a DAG of
 * stages. A generator writes it, the checker proves it, the simulator runs it
 * in virtual time, the executor runs it for real, the printer draws it. It is
 * a pure function of the stage graph and the number of microbatches. Ranks
 * here are the ranks of one data-parallel replica; replicas run equal lists.
 * Immutable after create.
 */
#include "cornstarch/config.h"
#include "cornstarch/status.h"

CS_BEGIN_DECLS

typedef enum cs_action_kind {
    CS_ACTION_FORWARD,
    CS_ACTION_BACKWARD_INPUT,  /* input gradients, and all but products */
    CS_ACTION_BACKWARD_WEIGHT, /* weight gradients of matrix products */
    CS_ACTION_SEND_ACTIVATION, /* asynchronous; waits for a free slot */
    CS_ACTION_RECV_ACTIVATION, /* waits for data */
    CS_ACTION_SEND_GRADIENT,
    CS_ACTION_RECV_GRADIENT,
    CS_ACTION_REDUCE_GRADIENTS, /* over data-parallel replicas */
    CS_ACTION_REDUCE_TIED,      /* of tied parameters, between their stages */
    CS_ACTION_GRADIENT_NORM,    /* over all ranks */
    CS_ACTION_OPTIMIZER_STEP,
    CS_ACTION_AGREE, /* status of all ranks, end of the step */
    CS_ACTION_COUNT
} cs_action_kind;

typedef struct cs_action {
    cs_action_kind kind;
    int32_t stage;      /* of compute and reduce actions; -1 otherwise */
    int32_t microbatch; /* -1 for actions of the whole step */
    int32_t edge;       /* of messages; -1 otherwise */
} cs_action;

/* Consecutive layers of one module on one rank. */
typedef struct cs_stage {
    int32_t module;   /* index in the graph: encoders, then language model */
    int32_t position; /* index among the stages of its module */
    int32_t rank;
    /* Frozen-awareness, decided by the graph (DESIGN section 4): */
    bool has_backward_input;  /* anything trainable here or upstream */
    bool has_backward_weight; /* a trainable matrix product here */
    bool has_tied; /* a trained parameter here shares values with another */
} cs_stage;

/* Activations flow from -> to; gradients back if `has_gradient`. Edges inside
 * one rank carry no messages. */
typedef struct cs_edge {
    int32_t from, to; /* stages */
    int32_t n_slots;  /* messages in flight per direction, >= 1 */
    bool has_gradient;
} cs_edge;

/* Stages are topologically ordered: encoders in recipe order, then the
 * language model. */
typedef struct cs_stage_graph {
    int32_t n_ranks, n_stages, n_edges;
    cs_stage *stages; /* owned */
    cs_edge *edges;   /* owned */
} cs_stage_graph;

CS_API void cs_stage_graph_fini(cs_stage_graph *graph);
CS_API CS_NODISCARD cs_status cs_stage_graph_copy(const cs_stage_graph *from,
                                                  cs_stage_graph *to);
/* Topological order, ranks (each holds a stage), slots and backward flags make
 * sense: has_gradient = the lower stage has a backward; every stage above one
 * with a backward has one too; only the last stage makes its own gradient. */
CS_API CS_NODISCARD cs_status cs_stage_graph_check(const cs_stage_graph *graph);

typedef struct cs_schedule {
    int32_t n_ranks, n_microbatches;
    int64_t *begin;     /* owned, [n_ranks + 1]: actions of a rank */
    cs_action *actions; /* owned */
} cs_schedule;

/* One whole training step: forwards, backwards, messages, then per rank
 * REDUCE_GRADIENTS (one per stage with a backward; a stage that trains nothing
 * itself has nothing to reduce), REDUCE_TIED (one per rank with such a stage),
 * GRADIENT_NORM, OPTIMIZER_STEP, AGREE.  1f1b:
 * warm-up forwards of a stage = its depth in ranks to the end of the language
 * model, capped at the number of microbatches (reference vectors: 1 encoder
 * stage + 3 LLM stages: rank r runs 4-r F, then (B F) x (m-4+r), then 4-r B).
 * A stage without backward is forward-only and runs ahead until its slots are
 * full. A rank that holds several stages runs, per microbatch, its forwards in
 * stage order and its backwards in reverse, as far as their inputs are there.
 * `is_training` false: forwards, messages and AGREE only. */
CS_API CS_NODISCARD cs_status cs_schedule_create(const cs_stage_graph *graph,
                                                 cs_schedule_kind kind,
                                                 int32_t n_microbatches,
                                                 bool is_training,
                                                 cs_schedule **out);
CS_API void cs_schedule_destroy(cs_schedule **schedule);

/* Proof by construction of a run: every receive has its send, slots suffice
 * (no deadlock), each microbatch once forward and once backward per stage as
 * the stage's flags say, halves in order, weight gradients in microbatch
 * order, step actions once and last. Errors: ARG with rank and action. */
CS_API CS_NODISCARD cs_status cs_schedule_check(const cs_stage_graph *graph,
                                                const cs_schedule *schedule,
                                                bool is_training);

/* Text, one line per rank: "0: 0F0 s0>0 0F1 ..."; the grammar is described in
 * docs/formats.md. Parse reads what print writes (and hand-written text);
 * errors of form are FORMAT with line and word. */
CS_API CS_NODISCARD cs_status cs_schedule_print(const cs_stage_graph *graph,
                                                const cs_schedule *schedule,
                                                char **out);
CS_API CS_NODISCARD cs_status cs_schedule_parse(const cs_stage_graph *graph,
                                                const char *text,
                                                const char *where,
                                                cs_schedule **out);
/* Drawing: compute actions per rank in unit time, "F0 F1 B0 ...". */
CS_API CS_NODISCARD cs_status cs_schedule_draw(const cs_stage_graph *graph,
                                               const cs_schedule *schedule,
                                               char **out);
CS_API const char *cs_action_name(cs_action_kind kind); /* "FORWARD" */

CS_END_DECLS
#endif
