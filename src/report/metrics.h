/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_REPORT_METRICS_H
#define CS_REPORT_METRICS_H
/* metrics.jsonl as flat tables of numbers, row after row; NAN = not told. */
#include "cornstarch/status.h"

#include <stddef.h>

enum {
    CSI_METRIC_STEP,
    CSI_METRIC_LOSS,
    CSI_METRIC_LEARNING_RATE,
    CSI_METRIC_GRAD_NORM,
    CSI_METRIC_TOKENS_PER_S,
    CSI_METRIC_STEP_S,
    CSI_METRIC_FLOPS_PER_S,
    CSI_METRIC_SMOOTH, /* made here: the smoothed loss */
    CSI_METRIC_COUNT
};

enum {
    CSI_EVAL_STEP,
    CSI_EVAL_LOSS,
    CSI_EVAL_STDERR,
    CSI_EVAL_COUNT
};

enum {
    CSI_MAX_EVAL_SETS = 16
};

typedef struct csi_table {
    double *values; /* owned, [n][n_columns] */
    int64_t n, capacity;
    int32_t n_columns;
} csi_table;

typedef struct csi_eval_set {
    char *name; /* owned */
    csi_table table;
} csi_eval_set;

typedef struct csi_metrics {
    csi_table steps;
    int32_t n_sets;
    csi_eval_set sets[CSI_MAX_EVAL_SETS];
    /* Over every line, also of steps that were done twice. */
    double train_s, tokens;
    double skipped_samples; /* the last that was told; NAN = never */
    int64_t n_bad_lines;    /* not JSON, or not of this file */
    bool is_missing;        /* no such file */
    bool is_too_long;       /* left unread */
} csi_metrics;

/* Lines that make no sense are counted and left out; a step that comes again
 * (after a resume) replaces what came from it on. Very long runs keep every
 * second, fourth, ... step. */
CS_NODISCARD cs_status csi_metrics_parse(const char *text, size_t n_bytes,
                                         const char *where, csi_metrics *out);
/* The file, if it is there and no larger than 256 MiB. */
CS_NODISCARD cs_status csi_metrics_load(const char *path, csi_metrics *out);
void csi_metrics_fini(csi_metrics *metrics);
/* Median over the finite values of a column; NAN when there is none. */
CS_NODISCARD cs_status csi_table_median(const csi_table *table, int32_t column,
                                        double *out);
#endif
