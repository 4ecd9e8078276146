/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_TRAIN_H
#define CORNSTARCH_TRAIN_H
/* A whole training run, from recipe to run folder. */
#include "cornstarch/batch.h"
#include "cornstarch/comm.h"
#include "cornstarch/config.h"
#include "cornstarch/data.h"
#include "cornstarch/plan.h"

CS_BEGIN_DECLS

typedef struct cs_train_options {
    const cs_config *config; /* borrowed */
    const char *run_folder;
    int32_t n_ranks;     /* threads as ranks, or processes */
    int32_t n_threads;   /* per rank; 0 = 1 if several ranks, else all cores */
    const char *backend; /* "auto", "ref", "cpu" */
    bool resume;
    int64_t resume_step; /* 0 = latest */
    bool overwrite;
    bool is_dry_run;
    bool quiet;
    FILE *progress; /* lines for people; NULL = none */
    /* Joins the processes that train together, one rank each (borrowed, from
     * cs_comm_processes_run); NULL or a world of one: ranks are threads. */
    cs_comm *processes;
} cs_train_options;

typedef struct cs_train_result {
    int64_t steps;
    double first_loss, last_loss;
    double train_s;
    double median_step_s; /* without the first step */
    double start_s;       /* process start to the start of the first step */
    double product_s, attention_s; /* in kernels, summed over ranks */
    int64_t peak_rss_bytes;
    int64_t skipped_samples; /* could not be decoded; data.bad_sample: skip */
    int stopped_by_signal;   /* 0 = ran to the end */
    bool stopped_early;
} cs_train_result;

/* Runs to the end (or to a signal, after saving). The run folder is empty, or
 * resume or overwrite is asked; else ARG. Starts the rank threads itself.
 * Processes: collective; all get the same result, process 0 writes the run
 * folder. ARG when they differ in program, recipe, data or plan. */
CS_API CS_NODISCARD cs_status cs_train(const cs_train_options *options,
                                       cs_train_result *result);
/* From signal handlers: SIGUSR1 saves and goes on, others end the run after a
 * clean save; where no step is running, so that there is nothing to save, they
 * end the process as if they were not handled. Async-signal-safe. */
CS_API void cs_train_on_signal(int signal_number);

/* Builds the indexes that are missing or stale. counts[0]: data.train;
 * counts[1 + i]: data.eval[i]. */
CS_API CS_NODISCARD cs_status cs_train_index(const cs_config *config,
                                             bool quiet,
                                             cs_dataset_counts *counts);

/* What training would do with a recipe on n ranks: graph, the first step's
 * batch with its work ([microbatch * n_modules + module]), costs, plan. */
typedef struct cs_planned {
    cs_graph *graph; /* owned, as all below */
    cs_batch_plan *batch;
    cs_work *work;
    cs_cost_table *costs;
    cs_plan *plan;
} cs_planned;
CS_API CS_NODISCARD cs_status cs_train_plan(const cs_config *config,
                                            int32_t n_ranks, cs_planned *out);
CS_API void cs_planned_fini(cs_planned *planned);

/* Measures every layer of the recipe's model on this machine (one rank) and
 * writes profile.json. */
CS_API CS_NODISCARD cs_status cs_profile(const cs_config *config,
                                         const char *backend, int32_t n_threads,
                                         const char *path, char **table);

CS_END_DECLS
#endif
