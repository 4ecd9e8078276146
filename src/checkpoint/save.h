/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_SAVE_H
#define CS_CHECKPOINT_SAVE_H
/*
 * One save, as a job that any thread of the rank can run: it talks to no
 * other rank but through the folder step-N.tmp.
 *
 *     each rank     module and optimizer files, then rank-R.json (a record)
 *     rank 0        waits for all records, writes state.json, manifest.json,
 *                   renames step-N.tmp to step-N, replaces `latest`, removes
 *                   old steps
 *     on failure    step-N.tmp is renamed to step-N.failed: the others find
 *                   their folder gone and stop; finish() agrees and removes it
 */
#include "cornstarch/checkpoint.h"

#include "manifest.h"

#include <stdatomic.h>

typedef struct csi_save_job {
    const cs_param_set *set; /* borrowed, as all up to recipe_hash */
    const int32_t *owner;    /* [graph parameters]: rank, -1 = nobody */
    int32_t rank, n_ranks;
    double timeout_s;
    /* The rank goes away: others have little time left for their records. */
    atomic_bool is_left;
    atomic_bool is_done; /* its thread has nothing left to do */
    /* per item: values, first and second moment; NULL = not written here */
    const void *(*values)[3];
    char *recipe_hash; /* owned, as all below */
    char *plan_hash;
    char *checkpoints, *temporary, *failed, *final;
    cs_train_state state; /* with its own copy of dropped */
    int32_t keep;
    int64_t keep_step;
    int64_t frozen_step; /* step that holds frozen tensors without source; 0 =
                            they are written now */
} csi_save_job;

/* Whether graph parameter i is written into this step's files at all. */
bool csi_save_writes(const csi_save_job *job, int32_t i);
/* Type of its stored values. */
cs_dtype csi_save_dtype(const csi_save_job *job, int32_t i);
/* "language_model.3.safetensors", "optimizer.3.safetensors". */
CS_NODISCARD cs_status csi_save_file_name(const char *what, int32_t rank,
                                          char out[CSI_FILE_NAME_BYTES]);
extern const char csi_optimizer_file[];

/* Runs the whole job; called once on every rank that began the save. */
CS_NODISCARD cs_status csi_save_run(const csi_save_job *job);
/* Ends it for all ranks when it could not even be started. */
void csi_save_give_up(const csi_save_job *job);

/* Files of this rank. *files: [out,own] csi_free. */
CS_NODISCARD cs_status csi_save_write_files(const csi_save_job *job,
                                            csi_stored_file **files,
                                            int32_t *n_files);
/* Fills the manifest's tables from graph and owners, its files from `files`,
 * which it copies. */
CS_NODISCARD cs_status csi_save_describe(const csi_save_job *job,
                                         const csi_stored_file *files,
                                         int32_t n_files, csi_manifest *out);
#endif
