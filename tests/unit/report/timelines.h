/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_REPORT_TIMELINES_H
#define CST_REPORT_TIMELINES_H
/*
 * A step made by hand for the tests of this folder: a vision stage feeds a
 * language model stage, `n_replicas` pairs of ranks, `n_microbatches` each,
 * actual and predicted. Nothing is allocated.
 */
#include "cornstarch/report.h"

enum {
    CST_MAX_EVENTS = 512
};

typedef struct cst_step {
    cs_timeline timeline;
    cs_timeline_event events[CST_MAX_EVENTS];
    double at_s[8]; /* how far each rank is */
} cst_step;

static const char *const CST_STAGES[] = {"vision 0", "language_model 0"};
static const int32_t CST_FROM[] = {0};
static const int32_t CST_TO[] = {1};

/* The next action of a rank, right after its last one. */
static inline void cst_add(cst_step *s, cs_timeline_kind kind, int32_t rank,
                           cs_action action, double length_s)
{
    s->events[s->timeline.n_events++] = (cs_timeline_event){
        .kind = kind,
        .rank = rank,
        .action = action,
        .start_s = s->at_s[rank],
        .end_s = s->at_s[rank] + length_s,
    };
    s->at_s[rank] += length_s;
}

static inline cs_action cst_compute(cs_action_kind kind, int32_t stage,
                                    int32_t microbatch)
{
    return (cs_action){kind, stage, microbatch, -1};
}

static inline cs_action cst_message(cs_action_kind kind, int32_t microbatch)
{
    return (cs_action){kind, -1, microbatch, 0};
}

static inline void cst_add_vision(cst_step *s, cs_timeline_kind kind,
                                  int32_t rank, int32_t n_microbatches)
{
    for (int32_t m = 0; m < n_microbatches; m++) {
        cst_add(s, kind, rank, cst_compute(CS_ACTION_FORWARD, 0, m), 2e-3);
        cst_add(s, kind, rank, cst_message(CS_ACTION_SEND_ACTIVATION, m), 1e-3);
    }
    for (int32_t m = 0; m < n_microbatches; m++) {
        cst_add(s, kind, rank, cst_message(CS_ACTION_RECV_GRADIENT, m), 3e-3);
        cst_add(s, kind, rank, cst_compute(CS_ACTION_BACKWARD_INPUT, 0, m),
                1e-3);
        cst_add(s, kind, rank, cst_compute(CS_ACTION_BACKWARD_WEIGHT, 0, m),
                1e-3);
    }
}

static inline void cst_add_language(cst_step *s, cs_timeline_kind kind,
                                    int32_t rank, int32_t n_microbatches)
{
    for (int32_t m = 0; m < n_microbatches; m++) {
        cst_add(s, kind, rank, cst_message(CS_ACTION_RECV_ACTIVATION, m), 3e-3);
        cst_add(s, kind, rank, cst_compute(CS_ACTION_FORWARD, 1, m), 2e-3);
        cst_add(s, kind, rank, cst_compute(CS_ACTION_BACKWARD_INPUT, 1, m),
                2e-3);
        cst_add(s, kind, rank, cst_message(CS_ACTION_SEND_GRADIENT, m), 1e-3);
    }
    cst_add(s, kind, rank, cst_compute(CS_ACTION_REDUCE_GRADIENTS, 1, -1),
            1e-3);
}

/* n_replicas <= 4. Ranks 2r and 2r + 1 are replica r. */
static inline void cst_make_step(cst_step *s, int64_t step, int32_t n_replicas,
                                 int32_t n_microbatches)
{
    *s = (cst_step){.timeline = {.step = step,
                                 .n_ranks = 2 * n_replicas,
                                 .n_stages = 2,
                                 .stage_name = CST_STAGES,
                                 .n_edges = 1,
                                 .edge_from = CST_FROM,
                                 .edge_to = CST_TO}};
    s->timeline.events = s->events;
    for (int32_t r = 0; r < n_replicas; r++) {
        cst_add_vision(s, CS_TIMELINE_ACTUAL, 2 * r, n_microbatches);
        cst_add_language(s, CS_TIMELINE_ACTUAL, 2 * r + 1, n_microbatches);
        for (int32_t k = 0; k < 2; k++) {
            const int32_t rank = 2 * r + k;
            const cs_action step_end[] = {
                {CS_ACTION_GRADIENT_NORM, -1, -1, -1},
                {CS_ACTION_OPTIMIZER_STEP, -1, -1, -1},
                {CS_ACTION_AGREE, -1, -1, -1},
            };
            for (int i = 0; i < 3; i++) {
                cst_add(s, CS_TIMELINE_ACTUAL, rank, step_end[i], 1e-3);
            }
            s->at_s[rank] = 0.0;
        }
    }
    cst_add_vision(s, CS_TIMELINE_PREDICTED, 0, n_microbatches);
    cst_add_language(s, CS_TIMELINE_PREDICTED, 1, n_microbatches);
}
#endif
