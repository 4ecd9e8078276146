/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_COMM_RUNS_H
#define CST_COMM_RUNS_H
/*
 * Runs of n ranks. Bodies run in rank threads and return statuses; only the
 * main thread asserts. Started by mpirun (tests/mpi/unit_comm.sh) the same
 * bodies run in processes: all of them call every test, the first n ranks take
 * part in a run of n.
 */
#include "cornstarch/comm.h"

#include "support/test.h"

enum {
    SEED = 7,
    PATIENCE_S = 20
};

static inline bool on_processes(void)
{
    return cs_comm_launch().n_processes > 1;
}

/* Whether this process has rank `rank` of a run. */
static inline bool is_here(int32_t rank)
{
    return !on_processes() || rank == cs_comm_launch().process;
}

static inline cs_status run_for(int32_t n_ranks, double timeout_s,
                                cs_rank_fn body, void *arg)
{
    return on_processes()
               ? cs_comm_processes_run_some(n_ranks, timeout_s, body, arg)
               : cs_comm_local_run(n_ranks, timeout_s, body, arg);
}

static inline cs_status run(int32_t n_ranks, cs_rank_fn body, void *arg)
{
    return run_for(n_ranks, PATIENCE_S, body, arg);
}

/* Processes do not start a run at the same moment. */
#define SHORT_TIME_S (on_processes() ? 0.5 : 0.05)

static inline cs_status run_hasty(int32_t n_ranks, cs_rank_fn body, void *arg)
{
    return run_for(n_ranks, SHORT_TIME_S, body, arg);
}

/* All who take part in a run of n_ranks hear of the same failure. */
#define assert_run_fails(n_ranks, st, code, text)                      \
    do {                                                               \
        const cs_status run_status = (st);                             \
        if (!on_processes() || cs_comm_launch().process < (n_ranks)) { \
            assert_fails(run_status, code, text);                      \
        } else {                                                       \
            assert_ok(run_status);                                     \
        }                                                              \
    } while (0)

/* --- messages that are waited for -------------------------------------- */

static inline cs_status send_now(cs_comm *comm, int32_t to, int64_t tag,
                                 const void *data, size_t n_bytes)
{
    cs_request request = {0};

    CS_TRY(cs_comm_send(comm, to, tag, data, n_bytes, &request));
    CS_TRY(cs_comm_wait(comm, &request));
    return CS_OK;
}

static inline cs_status recv_now(cs_comm *comm, int32_t from, int64_t tag,
                                 void *data, size_t n_bytes)
{
    cs_request request = {0};

    CS_TRY(cs_comm_recv(comm, from, tag, data, n_bytes, &request));
    CS_TRY(cs_comm_wait(comm, &request));
    return CS_OK;
}

#endif
