/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_TRAIN_INTERNAL_H
#define CS_TRAIN_INTERNAL_H
/*
 * A run in two objects: csi_run is what all ranks share and none changes once
 * they have started; csi_rank is one rank's own.
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/data.h"
#include "cornstarch/optim.h"
#include "cornstarch/plan.h"
#include "cornstarch/report.h"
#include "cornstarch/runtime.h"
#include "cornstarch/train.h"

#include "base/thread.h"

/* Result of one evaluation set. */
typedef struct csi_evaluation {
    double loss, stderr_;
    int64_t n_samples;
} csi_evaluation;

typedef struct csi_run {
    const cs_train_options *options;
    cs_comm *processes; /* borrowed; NULL = this one is alone */
    const cs_config *config;
    cs_graph *graph; /* owned, as all below */
    cs_tokenizer *tokenizer;
    cs_dataset *train;
    cs_dataset **eval; /* [config->data.n_eval] */
    cs_cost_table *costs;
    cs_plan *plan;
    cs_batch_settings settings;
    int64_t n_steps;
    int32_t n_threads, n_cores;
    char recipe_hash[17];
    char *metrics_path;
    char *folder;       /* run folder */
    int64_t start_step; /* resume: steps done before */
    /* written by rank 0 only, read after the ranks have ended */
    cs_train_result result;
    struct csi_kept_trace {
        cs_timeline timeline;      /* arrays owned */
        cs_timeline_event *events; /* owned */
    } * traces;                    /* owned */
    int32_t n_traces;
    csi_evaluation *evaluations; /* owned, [n_eval]: the last ones */
    double *step_s;              /* owned, [n_step_s]: of every step run */
    int64_t n_step_s;
    bool has_evaluations;
} csi_run;

typedef struct csi_rank {
    csi_run *run;      /* borrowed */
    cs_comm *world;    /* borrowed */
    cs_comm *pipeline; /* owned, as all below */
    cs_comm *replicas;
    cs_shard *shard;
    cs_backend *backend;
    cs_param_set *params;
    cs_runtime *runtime;
    cs_optim *optim;
    cs_loader *loader;
    cs_loader **eval_loader; /* [n_eval]; NULL outside the first replica */
    cs_batch_plan *plan[2];  /* of this step and of the next */
    cs_batch_plan *eval_plan;
    cs_checkpoint_writer *writer;
    cs_tensorboard *tensorboard; /* rank 0 */
    cs_microbatch_data *data;
    int32_t data_capacity;
    const cs_loaded_microbatch *loaded;      /* of this step; borrowed */
    const cs_loaded_microbatch *next_loaded; /* of the next step; borrowed */
    uint8_t *bad;                            /* [global_batch_size] */
    float *flags; /* [global_batch_size + 2]: the agreement */
    cs_train_state state;
    /* of the step under way */
    cs_step_sums sums;
    cs_step_result result;
    double learning_rate;
    bool is_finite;
    int64_t step_start_ns;
    double step_s;
    bool wants_stop, wants_save; /* agreed */
    int stop_signal;             /* agreed: why it wants to stop */
    bool stopped_early;
    bool has_bad_evaluation; /* agreed: a sample of it cannot be read */
} csi_rank;

static inline bool csi_is_main(const csi_rank *r)
{
    return r->world->rank == 0;
}

/* setup.c */
CS_NODISCARD cs_status csi_run_create(csi_run *run,
                                      const cs_train_options *options);
void csi_run_destroy(csi_run *run);
/* Rows and visible pairs of every module in every microbatch of replica 0:
 * [microbatch * n_modules + module]. [out,own] csi_free. */
CS_NODISCARD cs_status csi_plan_work(const cs_graph *graph,
                                     const cs_batch_plan *plan, cs_work **out);

/* processes.c: what several processes have to agree on; nothing to do for one.
 * Processes: all of these are collective. */
bool csi_is_first_process(const csi_run *run); /* not collective */
/* Program, recipe and options; index; plan: the same everywhere, else ARG. */
CS_NODISCARD cs_status csi_processes_check_start(const csi_run *run);
CS_NODISCARD cs_status csi_processes_check_data(const csi_run *run);
CS_NODISCARD cs_status csi_processes_check_plan(const csi_run *run);
/* Process 0 works alone first: it writes what the others then find. */
CS_NODISCARD cs_status csi_processes_in_turn(csi_run *run,
                                             cs_status (*work)(csi_run *run));
/* run->n_cores: of all processes together. */
CS_NODISCARD cs_status csi_processes_count_cores(csi_run *run);
CS_NODISCARD cs_status csi_processes_share_result(csi_run *run);

/* rank.c */
CS_NODISCARD cs_status csi_rank_main(cs_comm *world, void *run);

/* step.c */
CS_NODISCARD cs_status csi_step_hook(void *rank, cs_action_kind kind);
/* Waits for the load under way, exchanges what failed and who wants to stop;
 * reloads without the bad samples. Ranks: collective over the world. */
CS_NODISCARD cs_status csi_finish_load(csi_rank *r, cs_batch_plan *plan);
/* Plans step `step` into slot `slot` and starts loading it. */
CS_NODISCARD cs_status csi_begin_load(csi_rank *r, int slot, int64_t step);
/* loaded -> what the runtime takes. */
CS_NODISCARD cs_status csi_take_data(csi_rank *r, const cs_batch_plan *plan,
                                     const cs_loaded_microbatch *loaded);

/* evaluate.c: all sets; ranks: collective over the world. */
CS_NODISCARD cs_status csi_evaluate(csi_rank *r);
/* Whether the last evaluation improved the metric `name` ("set.eval_loss");
 * ARG when no set has that name. */
CS_NODISCARD cs_status csi_find_metric(const csi_rank *r, const char *name,
                                       double *value);

/* metrics.c (rank 0) */
CS_NODISCARD cs_status csi_write_step(csi_rank *r, const cs_batch_plan *plan);
CS_NODISCARD cs_status csi_write_evaluation(csi_rank *r, int32_t set);
/* Of all steps but the first; 0 when there are none. */
double csi_median_step_s(const csi_run *run);

/* trace.c: ranks: collective over the world. */
CS_NODISCARD cs_status csi_keep_trace(csi_rank *r, const cs_batch_plan *plan);
void csi_traces_fini(csi_run *run);

/* finish.c */
CS_NODISCARD cs_status csi_export(csi_rank *r);
CS_NODISCARD cs_status csi_write_report(csi_run *run);

/* signal.c */
int csi_signal_stop(void);       /* signal number or 0 */
bool csi_signal_take_save(void); /* SIGUSR1 since the last call */
void csi_signal_reset(void);
/* Between these, signals are noted; elsewhere they end the process. */
void csi_signal_begin(void);
void csi_signal_end(void);
#endif
