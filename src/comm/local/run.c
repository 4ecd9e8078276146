/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs one function on n rank threads. A rank that fails ends the waits of all
 * others, so the joins below always come back.
 */
#include "cornstarch/comm.h"

#include "base/alloc.h"
#include "base/thread.h"

typedef struct rank_job {
    csi_thread thread;
    cs_comm *comm; /* owned */
    cs_rank_fn body;
    void *arg;
} rank_job;

static cs_status run_rank(void *opaque)
{
    const rank_job *const job = opaque;

    cs_error_set_rank(job->comm->rank);
    const cs_status st = job->body(job->comm, job->arg);

    if (st != CS_OK) {
        cs_comm_abort(job->comm);
    }
    return st;
}

/* The failure that everybody hears of: the lowest rank that knows a cause. */
typedef struct verdict {
    cs_status status;
    cs_error error;
} verdict;

static void weigh(verdict *worst, cs_status status)
{
    const bool is_news =
        worst->status == CS_OK ||
        (worst->status == CS_ERR_PEER && status != CS_ERR_PEER);

    if (status != CS_OK && is_news) {
        worst->status = status;
        cs_error_get(&worst->error);
    }
}

static cs_status run_jobs(rank_job *jobs, int32_t n_ranks)
{
    verdict worst = {.status = CS_OK};

    for (int32_t r = 0; r < n_ranks && worst.status == CS_OK; r++) {
        weigh(&worst, csi_thread_start(&jobs[r].thread, run_rank, &jobs[r]));
        if (worst.status != CS_OK) {
            cs_comm_abort(jobs[r].comm);
        }
    }
    for (int32_t r = 0; r < n_ranks; r++) {
        weigh(&worst, csi_thread_join(&jobs[r].thread));
    }
    if (worst.status != CS_OK) {
        cs_error_set(&worst.error);
        return cs_pass_at(__FILE__, __LINE__, __func__, worst.status);
    }
    return CS_OK;
}

cs_status cs_comm_local_run(int32_t n_ranks, double timeout_s, cs_rank_fn body,
                            void *arg)
{
    CS_CHECK(n_ranks >= 1, CS_ERR_ARG, "cannot run on %d ranks", n_ranks);
    rank_job *const jobs = csi_calloc((size_t)n_ranks, sizeof *jobs);
    cs_comm **const comms = csi_calloc((size_t)n_ranks, sizeof(cs_comm *));
    cs_status st = CS_OK;

    CS_CHECK_GOTO(undo, jobs != NULL && comms != NULL, CS_ERR_NOMEM,
                  "no memory for %d rank threads", n_ranks);
    CS_TRY_GOTO(undo, cs_comm_local_create(n_ranks, timeout_s, comms));
    for (int32_t r = 0; r < n_ranks; r++) {
        jobs[r].comm = comms[r];
        jobs[r].body = body;
        jobs[r].arg = arg;
    }
    CS_TRY_GOTO(undo, run_jobs(jobs, n_ranks));
undo:
    for (int32_t r = 0; comms != NULL && r < n_ranks; r++) {
        cs_comm_destroy(&comms[r]);
    }
    csi_free(comms);
    csi_free(jobs);
    return st;
}
