/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_SIM_ENGINE_H
#define CS_SIM_ENGINE_H
/*
 * Virtual time for a checked schedule. A rank is always in one place:
 *
 *     READY ---> COMPUTING (heap by work) ---> READY
 *       |------> FLYING (heap by time): its message is under way ---> READY
 *       |------> waiting for a send, a slot or all ranks; whoever provides it
 *       |        puts the rank back to READY
 *       +------> finished
 *
 * Shared cores: "work" is a clock that runs at min(1, cores / computing ranks)
 * of time. A computation ends when that clock has gone on by its cost, so that
 * a change of speed needs no look at those who compute.
 */
#include "cornstarch/sim.h"

typedef struct csi_timer {
    double key;
    int32_t rank;
} csi_timer;

/* Smallest key first, then smallest rank. */
typedef struct csi_timer_heap {
    csi_timer *timers; /* owned, [n_ranks] */
    int32_t n;
} csi_timer_heap;

void csi_timer_push(csi_timer_heap *heap, double key, int32_t rank);
int32_t csi_timer_pop(csi_timer_heap *heap); /* heap must not be empty */

/* Messages of one edge in one direction. */
typedef struct csi_sim_lane {
    int32_t n_under_way;
    int32_t awaited; /* microbatch that the receiver waits for; -1 */
    bool sender_waits;
    double *arrival_s; /* borrowed, [m]; negative = not sent */
} csi_sim_lane;

typedef struct csi_sim_rank {
    int64_t next; /* action to run */
    double link_free_s;
} csi_sim_rank;

typedef struct csi_sim {
    const cs_sim_input *input; /* borrowed */
    cs_sim_result *result;     /* borrowed, its arrays allocated */
    double now_s, work_s;
    int32_t n_computing;
    int32_t n_met[2];          /* ranks at GRADIENT_NORM, at AGREE */
    csi_sim_rank *ranks;       /* owned, [n_ranks] */
    csi_sim_lane *lanes;       /* owned, [n_edges * 2] */
    double *arrivals_s;        /* owned: of all lanes */
    cs_action_kind *last_kind; /* owned, [n_stages]: ends a microbatch */
    int32_t *n_live;           /* owned, [n_stages] */
    int32_t *ready;            /* owned, ring of n_ranks */
    int32_t ready_begin, n_ready;
    csi_timer_heap computing, flying;
} csi_sim;

CS_NODISCARD cs_status csi_sim_init(csi_sim *sim, const cs_sim_input *input,
                                    cs_sim_result *result);
void csi_sim_fini(csi_sim *sim);
/* To the end of all lists. */
CS_NODISCARD cs_status csi_sim_play(csi_sim *sim);
#endif
