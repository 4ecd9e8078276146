/* SPDX-License-Identifier: Apache-2.0 */
/* Which ranks run on this machine: the end of their processes is seen without
 * waiting for signs of life. */
#include "base/alloc.h"
#include "base/rng.h"

#include "world.h"

typedef struct address {
    uint64_t machine;
    int32_t process_id, padding;
} address;

static void note(csi_mpi_world *world, const address *all)
{
    csi_mutex_lock(&world->mutex);
    for (int32_t r = 0; r < world->n_ranks; r++) {
        if (r != world->rank && all[r].machine == all[world->rank].machine &&
            csi_process_lives(all[r].process_id)) {
            world->peers[r].process_id = all[r].process_id;
        }
    }
    csi_mutex_unlock(&world->mutex);
}

/* A rank that has failed already is nothing that matters here: its abort ends
 * the waits of the body. */
void csi_mpi_find_neighbours(cs_comm *comm)
{
    const double timeout_s = comm->timeout_s;
    char name[CSI_MACHINE_NAME_BYTES];
    address *const all = csi_calloc((size_t)comm->n_ranks, sizeof *all);

    csi_machine_name(name);
    const address own = {
        .machine = csi_hash64(name),
        .process_id = csi_process_id(),
    };
    comm->timeout_s = CS_COMM_FOREVER_S;
    if (all != NULL &&
        cs_comm_all_gather(comm, &own, sizeof own, all) == CS_OK) {
        note(csi_mpi_group_of(comm)->world, all);
    }
    comm->timeout_s = timeout_s;
    comm->bytes_sent = 0;
    cs_error_clear();
    csi_free(all);
}
