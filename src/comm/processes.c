/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks as processes: who started this one, and the module that lets them
 * talk. The launchers say in the environment how many processes there are:
 *
 *     Open MPI's mpirun   OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_RANK
 *     MPICH, srun (PMI)   PMI_SIZE, PMI_RANK
 *     srun                SLURM_STEP_NUM_TASKS, SLURM_PROCID
 *
 * A process that was started alone never opens the module.
 */
#include "cornstarch/comm.h"

#include "base/module.h"
#include "base/thread.h"

#include <stdlib.h>

#define MODULE_NAME "libcornstarch_mpi.so"

enum {
    MAX_PROCESSES = 1 << 20
};

static csi_mutex opening = CSI_MUTEX_INIT;
static const cs_comm_module *module; /* NULL until it is needed */
static atomic_bool was_run;
static atomic_bool speaks;

/* A number from 0 to below `limit`; -1 for anything else. */
static int32_t number_of(const char *name, int32_t limit)
{
    const char *const text = getenv(name);
    char *end = NULL;
    long value = -1;

    if (text != NULL && text[0] >= '0' && text[0] <= '9') {
        value = strtol(text, &end, 10);
    }
    return end != NULL && *end == '\0' && value < limit ? (int32_t)value : -1;
}

cs_launch cs_comm_launch(void)
{
    static const char *const LAUNCHERS[][3] = {
        {"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
        {"mpirun", "PMI_SIZE", "PMI_RANK"},
        {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},
    };

    for (size_t i = 0; i < sizeof LAUNCHERS / sizeof LAUNCHERS[0]; i++) {
        const int32_t n = number_of(LAUNCHERS[i][1], MAX_PROCESSES);
        const int32_t rank = number_of(LAUNCHERS[i][2], n);
        if (n >= 1 && rank >= 0) { /* the innermost launcher */
            return (cs_launch){
                .launcher = n > 1 ? LAUNCHERS[i][0] : NULL,
                .n_processes = n,
                .process = rank,
            };
        }
    }
    return (cs_launch){.n_processes = 1};
}

static cs_status open_module(void)
{
    const cs_comm_module *(*entry)(void) = NULL;
    void *handle = NULL;

    if (module == NULL) {
        CS_TRY(csi_module_open(MODULE_NAME, true, &handle));
        CS_TRY(csi_module_find(handle, MODULE_NAME, "csi_mpi_module", &entry,
                               sizeof entry));
        module = entry();
    }
    return CS_OK;
}

cs_status cs_comm_processes_check(void)
{
    csi_mutex_lock(&opening);
    const cs_status st = open_module();

    csi_mutex_unlock(&opening);
    return st;
}

static cs_status find_module(const cs_launch *launch)
{
    CS_CHECK(cs_comm_processes_check() == CS_OK, CS_ERR_DEVICE,
             "%s started %d processes, and this program cannot join them: %s",
             launch->launcher, launch->n_processes, cs_error_message());
    return CS_OK;
}

static cs_status run_alone(double timeout_s, cs_rank_fn body, void *arg)
{
    cs_comm *world[1] = {NULL};

    CS_TRY(cs_comm_local_create(1, timeout_s, world));
    const cs_status st = body(world[0], arg);

    cs_comm_destroy(&world[0]);
    return st;
}

cs_status cs_comm_processes_run_some(int32_t n_ranks, double timeout_s,
                                     cs_rank_fn body, void *arg)
{
    const cs_launch launch = cs_comm_launch();
    bool speaks_now = launch.process == 0;

    CS_CHECK(n_ranks >= 1 && n_ranks <= launch.n_processes, CS_ERR_ARG,
             "cannot run on %d ranks: %d processes were started", n_ranks,
             launch.n_processes);
    if (launch.n_processes == 1) {
        return run_alone(timeout_s, body, arg);
    }
    CS_TRY(find_module(&launch));
    const cs_status st =
        module->run(&launch, n_ranks, timeout_s, body, arg, &speaks_now);

    atomic_store(&speaks, speaks_now);
    atomic_store(&was_run, true);
    return st;
}

cs_status cs_comm_processes_run(cs_rank_fn body, void *arg)
{
    return cs_comm_processes_run_some(cs_comm_launch().n_processes,
                                      CS_COMM_FOREVER_S, body, arg);
}

bool cs_comm_speaks(void)
{
    return atomic_load(&was_run) ? atomic_load(&speaks)
                                 : cs_comm_launch().process == 0;
}

void cs_comm_leave(int exit_status)
{
    if (module != NULL) {
        module->leave(exit_status, cs_comm_speaks());
    }
}
