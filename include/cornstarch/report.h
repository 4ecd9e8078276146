/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_REPORT_H
#define CORNSTARCH_REPORT_H
/*
 * What people look at: trace.json for Perfetto, TensorBoard event files, and
 * report.html, one self-contained file with loss curves, the timeline of a
 * step (predicted and actual), and samples with their pictures. Reads files of
 * the run folder; knows nothing of training.
 */
#include "cornstarch/schedule.h"

CS_BEGIN_DECLS

typedef enum cs_timeline_kind {
    CS_TIMELINE_ACTUAL,
    CS_TIMELINE_PREDICTED,
    CS_TIMELINE_COUNT
} cs_timeline_kind;

/* One action on one rank in one step; times from the step's start. */
typedef struct cs_timeline_event {
    cs_timeline_kind kind;
    int32_t rank;
    cs_action action;
    double start_s, end_s;
} cs_timeline_event;

typedef struct cs_timeline {
    int64_t step;
    int32_t n_ranks;
    int64_t n_events;
    const cs_timeline_event *events; /* borrowed */
    int32_t n_stages;
    const char *const *stage_name; /* "vision 0", "language_model 2" */
    int32_t n_edges;
    const int32_t *edge_from, *edge_to; /* stages */
} cs_timeline;

/* trace.json: Chrome traceEvents; pid = rank, tid 0 actual compute, 1
 * predicted, 2 communication (send/recv/reduce); flow arrows from a send to
 * its receive; args: action, module, stage, microbatch. Written atomically. */
CS_API CS_NODISCARD cs_status cs_trace_save(const cs_timeline *timelines,
                                            int32_t n_timelines,
                                            const char *path);
/* Where the time of a step went, per rank, in per cent that sum to 100:
 * compute by module, waiting, communication, optimizer, other. [out,own]. */
CS_API CS_NODISCARD cs_status cs_timeline_table(const cs_timeline *timeline,
                                                char **out);

/* ---- TensorBoard event files (TFRecord + CRC32C), one per run ---- */
typedef struct cs_tensorboard cs_tensorboard;
CS_API CS_NODISCARD cs_status cs_tensorboard_create(const char *folder,
                                                    cs_tensorboard **out);
CS_API CS_NODISCARD cs_status cs_tensorboard_scalar(cs_tensorboard *board,
                                                    const char *tag,
                                                    int64_t step, double value);
CS_API void cs_tensorboard_destroy(cs_tensorboard **board);

/* ---- report.html ---- */
typedef struct cs_report_sample {
    const char *id;
    const char *image_path; /* embedded; NULL = none */
    const char *audio_path; /* embedded; NULL = none */
    const char *prompt, *answer, *generated;
} cs_report_sample;

/* One row of a table of evaluations: "right picture", 1.23 +- 0.04, n. */
typedef struct cs_report_row {
    const char *group, *name; /* "heldout", "vision: somebody else's" */
    double loss, stderr_;
    int64_t n_samples;
} cs_report_row;

typedef struct cs_report_input {
    const char *run_folder; /* metrics.jsonl is read; report.html written */
    const char *title;
    const char *recipe_text, *model_text, *plan_text, *machine_text;
    const cs_timeline *timeline; /* NULL = none */
    int32_t n_samples;
    const cs_report_sample *samples;
    int32_t n_rows;
    const cs_report_row *rows;
} cs_report_input;
CS_API CS_NODISCARD cs_status cs_report_write(const cs_report_input *input);

CS_END_DECLS
#endif
