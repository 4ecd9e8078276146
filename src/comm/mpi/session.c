/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The module's door: MPI is started by the first run and ended by leave. Only
 * starting, making a world and ending may block inside the library; a process
 * that dies there is the launcher's to notice.
 */
#include "base/clock.h"

#include "world.h"

typedef struct session {
    bool is_started;
    bool is_damaged; /* a rank is lost, or MPI still holds buffers */
} session;

static session the_session;

static cs_status start(const cs_launch *launch)
{
    int level = 0;
    int n_processes = 0;
    int process = 0;

    if (!the_session.is_started) {
        CSI_MPI_TRY(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level),
                    "MPI_Init_thread");
        the_session.is_started = true;
        CS_CHECK(level >= MPI_THREAD_SERIALIZED, CS_ERR_DEVICE,
                 "this MPI library offers thread level %d, wanted %d "
                 "(MPI_THREAD_SERIALIZED)",
                 level, MPI_THREAD_SERIALIZED);
        CSI_MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN),
                    "MPI_Comm_set_errhandler");
    }
    CSI_MPI_TRY(MPI_Comm_size(MPI_COMM_WORLD, &n_processes), "MPI_Comm_size");
    CSI_MPI_TRY(MPI_Comm_rank(MPI_COMM_WORLD, &process), "MPI_Comm_rank");
    CS_CHECK(n_processes == launch->n_processes && process == launch->process,
             CS_ERR_DEVICE,
             "%s started %d processes, this MPI library sees %d: they are not "
             "of one kind (srun wants --mpi=pmix or --mpi=pmi2)",
             launch->launcher, launch->n_processes, n_processes);
    return CS_OK;
}

/* The lowest process that lives speaks for all. */
static bool is_lowest_alive(const csi_mpi_world *world)
{
    for (int32_t r = 0; r < world->rank; r++) {
        if (!world->peers[r].is_lost) {
            return false;
        }
    }
    return true;
}

static bool has_damage(const csi_mpi_world *world)
{
    bool is_damaged = world->n_taken > 0;

    for (int32_t r = 0; r < world->n_ranks; r++) {
        is_damaged = is_damaged || world->peers[r].is_lost;
    }
    return is_damaged;
}

static cs_status run_in(cs_comm *comm, cs_rank_fn body, void *arg, bool *speaks)
{
    csi_mpi_world *const world = csi_mpi_group_of(comm)->world;

    CS_TRY(csi_mpi_watch_start(world));
    cs_error_set_rank(comm->rank);
    csi_mpi_find_neighbours(comm);
    cs_status st = body(comm, arg);

    if (st != CS_OK) {
        cs_comm_abort(comm);
    }
    st = csi_mpi_part(world, st);
    csi_mpi_watch_stop(world);
    *speaks = is_lowest_alive(world);
    the_session.is_damaged = the_session.is_damaged || has_damage(world);
    return st;
}

static cs_status run(const cs_launch *launch, int32_t n_ranks, double timeout_s,
                     cs_rank_fn body, void *arg, bool *speaks)
{
    cs_comm *comm = NULL;

    CS_TRY(start(launch));
    CS_TRY(csi_mpi_world_create(n_ranks, timeout_s, &comm));
    if (comm == NULL) {
        return CS_OK;
    }
    const cs_status st = run_in(comm, body, arg, speaks);

    cs_comm_destroy(&comm);
    return st;
}

/* A job without one of its ranks cannot be ended in common; whoever printed
 * the sentence has time to have done so. */
static void leave(int exit_status, bool speaks)
{
    enum {
        TIME_TO_PRINT_NS = 500 * 1000 * 1000
    };
    int is_ended = 0;

    if (!the_session.is_started) {
        return;
    }
    if (the_session.is_damaged) {
        csi_sleep_ns(speaks ? TIME_TO_PRINT_NS / 5 : TIME_TO_PRINT_NS);
        (void)MPI_Abort(MPI_COMM_WORLD, exit_status);
    }
    if (MPI_Finalized(&is_ended) == MPI_SUCCESS && is_ended == 0) {
        (void)MPI_Finalize();
    }
}

const cs_comm_module *csi_mpi_module(void);

const cs_comm_module *csi_mpi_module(void)
{
    static const cs_comm_module MODULE = {.run = run, .leave = leave};

    return &MODULE;
}
