/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_SCHEDULE_WALK_H
#define CS_SCHEDULE_WALK_H
/* A walk through a schedule on paper: its state, shared by the engine (walk.c)
 * and the rules of the single actions (rules.c). */
#include "internal.h"

/* What has run for one (stage, microbatch), or of the step on one rank. */
enum {
    CSI_DID_FORWARD = 1,
    CSI_DID_BACKWARD_INPUT = 2,
    CSI_DID_BACKWARD_WEIGHT = 4,
    CSI_DID_TIED = 8,
    CSI_DID_NORM = 1,
    CSI_DID_OPTIMIZER = 2,
    CSI_DID_AGREE = 4
};

/* Messages of one edge in one direction. */
typedef struct csi_lane {
    int32_t n_sent, n_received;
    int64_t *sent_at;     /* borrowed, [m] by microbatch; -1 = not sent */
    int64_t *received_at; /* borrowed, [m] by order of receiving */
    uint8_t *is_received; /* borrowed, [m] by microbatch */
} csi_lane;

typedef struct csi_walk {
    const csi_topology *topology; /* borrowed */
    const cs_stage_graph *graph;  /* borrowed */
    const cs_schedule *schedule;  /* borrowed */
    bool is_training;
    int64_t *start;             /* borrowed, [n actions] */
    int32_t m;                  /* microbatches */
    uint8_t *did;               /* owned, [n_stages * m] */
    int32_t *n_backward_input;  /* owned, [n_stages] */
    int32_t *n_backward_weight; /* owned, [n_stages] */
    uint8_t *is_reduced;        /* owned, [n_stages] */
    uint8_t *step_did;          /* owned, [n_ranks] */
    csi_lane *lanes;            /* owned, [n_edges * 2]: activation, gradient */
    int64_t *times;             /* owned: of all lanes */
    uint8_t *flags;             /* owned: of all lanes */
    int64_t *next;              /* owned, [n_ranks]: action to run */
    int64_t *clock;             /* owned, [n_ranks] */
    int32_t rank;               /* the one being advanced */
} csi_walk;

static inline uint8_t *csi_walk_did(const csi_walk *w, int32_t stage,
                                    int32_t microbatch)
{
    return &w->did[(int64_t)stage * w->m + microbatch];
}

static inline csi_lane *csi_walk_lane(const csi_walk *w, int32_t edge,
                                      bool is_gradient)
{
    return &w->lanes[(int64_t)edge * 2 + (is_gradient ? 1 : 0)];
}

/* The next action of the rank that is being advanced. */
static inline const cs_action *csi_walk_current(const csi_walk *w)
{
    return &w->schedule->actions[w->next[w->rank]];
}

/* Runs that action, or finds that it has to wait (`ran` false), or that it
 * breaks a rule: ARG "rank 1, action 7 (BACKWARD_INPUT of ...): ...". */
CS_NODISCARD cs_status csi_walk_run(const csi_walk *w, bool *ran);
/* After the last action: what is missing. */
CS_NODISCARD cs_status csi_walk_check_done(const csi_walk *w);

static inline bool csi_is_compute(cs_action_kind kind)
{
    return kind == CS_ACTION_FORWARD || kind == CS_ACTION_BACKWARD_INPUT ||
           kind == CS_ACTION_BACKWARD_WEIGHT;
}

static inline bool csi_is_gradient_message(cs_action_kind kind)
{
    return kind == CS_ACTION_SEND_GRADIENT || kind == CS_ACTION_RECV_GRADIENT;
}
#endif
