/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_COMM_H
#define CORNSTARCH_COMM_H
/*
 * Ranks talk through one table. Its providers: `local`, ranks are threads of
 * one process; `mpi`, ranks are processes that mpirun or srun started (a module
 * opened only there). Every wait has a deadline, an abort on one rank ends
 * every wait on all ranks with CS_ERR_PEER. Sums are taken in rank order, so
 * they are bitwise the same on every rank, in every run, with every provider.
 *
 * Collective calls must be made by all ranks of the communicator in the same
 * order. A communicator object belongs to one rank's thread.
 */
#include "cornstarch/tensor.h"

CS_BEGIN_DECLS

typedef struct cs_comm cs_comm;

/* A message under way. The buffer must stay valid until it is done. */
typedef struct cs_request {
    void *state; /* NULL = done */
} cs_request;

typedef struct cs_comm_ops {
    const char *name;
    cs_status (*split)(cs_comm *, int32_t color, int32_t key, cs_comm **out);
    cs_status (*barrier)(cs_comm *);
    cs_status (*broadcast)(cs_comm *, void *data, size_t n_bytes, int32_t root);
    /* in place sum; dtype f32 or f64 */
    cs_status (*all_reduce)(cs_comm *, void *data, int64_t count,
                            cs_dtype dtype);
    /* every rank gives n_bytes, all get n_ranks * n_bytes */
    cs_status (*all_gather)(cs_comm *, const void *data, size_t n_bytes,
                            void *out);
    cs_status (*send)(cs_comm *, int32_t to, int64_t tag, const void *data,
                      size_t n_bytes, cs_request *request);
    cs_status (*recv)(cs_comm *, int32_t from, int64_t tag, void *data,
                      size_t n_bytes, cs_request *request);
    cs_status (*test)(cs_comm *, cs_request *request, bool *done);
    cs_status (*wait)(cs_comm *, cs_request *request);
    void (*abort)(cs_comm *, const cs_error *error);
    bool (*is_aborted)(cs_comm *);
    /* NULL where ranks cannot be lost alone */
    void (*set_peer_timeout)(cs_comm *, double seconds);
    void (*destroy)(cs_comm *);
} cs_comm_ops;

struct cs_comm {
    const cs_comm_ops *ops;
    int32_t rank, n_ranks;
    double timeout_s;   /* of every wait */
    int64_t bytes_sent; /* messages and collectives, for statistics */
    void *state;
};

/* A world of n threads-as-ranks: comms[r] is rank r's. Destroy each. */
CS_API CS_NODISCARD cs_status cs_comm_local_create(int32_t n_ranks,
                                                   double timeout_s,
                                                   cs_comm **comms);
CS_API void cs_comm_destroy(cs_comm **comm);

/* Ranks: all of these but send, recv, test, wait and abort are collective. */
CS_API CS_NODISCARD cs_status cs_comm_split(cs_comm *comm, int32_t color,
                                            int32_t key, cs_comm **out);
CS_API CS_NODISCARD cs_status cs_comm_barrier(cs_comm *comm);
CS_API CS_NODISCARD cs_status cs_comm_broadcast(cs_comm *comm, void *data,
                                                size_t n_bytes, int32_t root);
CS_API CS_NODISCARD cs_status cs_comm_all_reduce(cs_comm *comm, void *data,
                                                 int64_t count, cs_dtype dtype);
CS_API CS_NODISCARD cs_status cs_comm_all_gather(cs_comm *comm,
                                                 const void *data,
                                                 size_t n_bytes, void *out);
/* Matching is by (from, to, tag); sizes must agree (COMM error naming both).
 * Message order between equal tags is kept. No allocation in steady state. */
CS_API CS_NODISCARD cs_status cs_comm_send(cs_comm *comm, int32_t to,
                                           int64_t tag, const void *data,
                                           size_t n_bytes, cs_request *request);
CS_API CS_NODISCARD cs_status cs_comm_recv(cs_comm *comm, int32_t from,
                                           int64_t tag, void *data,
                                           size_t n_bytes, cs_request *request);
CS_API CS_NODISCARD cs_status cs_comm_test(cs_comm *comm, cs_request *request,
                                           bool *done);
CS_API CS_NODISCARD cs_status cs_comm_wait(cs_comm *comm, cs_request *request);
/* Ends every wait of every rank of the world. */
CS_API void cs_comm_abort(cs_comm *comm);
/* Whether they have been ended, for a rank that waits for something else. */
CS_API bool cs_comm_is_aborted(cs_comm *comm);
/* Collective: all ranks return the status and the sentence of the lowest
 * failing rank (one that only reports CS_ERR_PEER counts last). Call with this
 * rank's own status. */
CS_API CS_NODISCARD cs_status cs_comm_agree(cs_comm *comm, cs_status status);

/* Runs body(comm, arg) on n rank threads and joins them; returns the status of
 * the lowest failing rank (a rank that only reports CS_ERR_PEER counts last).
 * A body that fails aborts the world. Rank threads have their rank set in the
 * error trail and the log. */
typedef cs_status (*cs_rank_fn)(cs_comm *comm, void *arg);
CS_API CS_NODISCARD cs_status cs_comm_local_run(int32_t n_ranks,
                                                double timeout_s,
                                                cs_rank_fn body, void *arg);

/* ---- ranks as processes ---- */

/* A timeout that never ends a wait: a process that is lost is noticed by its
 * missing signs of life. */
#define CS_COMM_FOREVER_S 3.2e7

/* What the environment says of how this process was started. */
typedef struct cs_launch {
    const char *launcher; /* "mpirun", "srun"; NULL = alone */
    int32_t n_processes;  /* started together; 1 = alone */
    int32_t process;      /* which of them this is */
} cs_launch;
CS_API cs_launch cs_comm_launch(void);

/* DEVICE, with the reason, where this program cannot join others. */
CS_API CS_NODISCARD cs_status cs_comm_processes_check(void);

/* Runs body(comm, arg) once in this process. `comm` joins all processes that
 * were started together, rank = process; alone it is a world of one. Its waits
 * have no deadline until timeout_s is set. A body that fails aborts the world;
 * returns, in all processes alike, the status and the sentence of the lowest
 * failing one (PEER counts last), when all have ended or are lost.
 * DEVICE: the module of MPI does not open, or MPI sees other processes than
 * the launcher. May be called again, one call after the other. */
CS_API CS_NODISCARD cs_status cs_comm_processes_run(cs_rank_fn body, void *arg);
/* The same for the first n_ranks processes; the others return OK at once. */
CS_API CS_NODISCARD cs_status cs_comm_processes_run_some(int32_t n_ranks,
                                                         double timeout_s,
                                                         cs_rank_fn body,
                                                         void *arg);
/* A process that gives no sign of life for so long is lost, and ends all
 * waits. 10 s until this is called; no effect where ranks are threads. */
CS_API void cs_comm_set_peer_timeout(cs_comm *comm, double seconds);
/* Whether this is the process that tells people what went wrong: the lowest
 * one that is not lost. True when alone. */
CS_API bool cs_comm_speaks(void);
/* Last call of a process, when everything is printed. Ends the processes that
 * are left when one of them was lost; then it does not return. */
CS_API void cs_comm_leave(int exit_status);

/* What the program asks of the module libcornstarch_mpi.so, which is found by
 * the name csi_mpi_module. */
typedef struct cs_comm_module {
    cs_status (*run)(const cs_launch *launch, int32_t n_ranks, double timeout_s,
                     cs_rank_fn body, void *arg, bool *speaks);
    void (*leave)(int exit_status, bool speaks);
} cs_comm_module;

CS_END_DECLS
#endif
