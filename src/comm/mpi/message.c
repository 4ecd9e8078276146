/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between ranks: the ends that the caller sees, and their waits. */
#include "base/clock.h"

#include "world.h"

#include <inttypes.h>

static csi_mpi_header header_of(const cs_comm *comm, int64_t tag,
                                size_t n_bytes)
{
    return (csi_mpi_header){
        .group = csi_mpi_group_of(comm)->id,
        .tag = tag,
        .n_bytes = (int64_t)n_bytes,
        .kind = CSI_MPI_MESSAGE,
    };
}

/* What every call does first. */
static cs_status begin(csi_mpi_world *world)
{
    CS_TRY(csi_mpi_progress(world));
    return world->is_aborted ? csi_mpi_fail_aborted(world) : CS_OK;
}

cs_status csi_mpi_send(cs_comm *comm, int32_t to, int64_t tag, const void *data,
                       size_t n_bytes, cs_request *request)
{
    csi_mpi_group *const group = csi_mpi_group_of(comm);
    csi_mpi_world *const world = group->world;
    const csi_mpi_header header = header_of(comm, tag, n_bytes);
    csi_mpi_entry *entry = NULL;

    request->state = NULL;
    csi_mutex_lock(&world->mutex);
    cs_status st = begin(world);

    if (st == CS_OK) {
        st =
            csi_mpi_post_send(world, group->members[to], &header, data, &entry);
    }
    csi_mutex_unlock(&world->mutex);
    CS_TRY(st);
    request->state = entry;
    return CS_OK;
}

cs_status csi_mpi_recv(cs_comm *comm, int32_t from, int64_t tag, void *data,
                       size_t n_bytes, cs_request *request)
{
    csi_mpi_group *const group = csi_mpi_group_of(comm);
    csi_mpi_world *const world = group->world;
    const csi_mpi_header header = header_of(comm, tag, n_bytes);
    csi_mpi_entry *entry = NULL;

    request->state = NULL;
    csi_mutex_lock(&world->mutex);
    cs_status st = begin(world);

    if (st == CS_OK) {
        st = csi_mpi_post_recv(world, group->members[from], &header, data,
                               &entry);
    }
    csi_mutex_unlock(&world->mutex);
    CS_TRY(st);
    request->state = entry;
    return CS_OK;
}

static cs_status fail_sizes(csi_mpi_world *world, const csi_mpi_entry *entry)
{
    return csi_mpi_abort_self(world,
                              CS_FAIL(CS_ERR_COMM,
                                      "message with tag %" PRId64
                                      ": rank %d sends %" PRId64
                                      " bytes, rank %d expects %" PRId64,
                                      entry->packet.header.tag, entry->peer,
                                      entry->theirs.n_bytes, world->rank,
                                      entry->packet.header.n_bytes));
}

static cs_status fail_late(csi_mpi_world *world, const csi_mpi_entry *entry,
                           double timeout_s)
{
    return csi_mpi_abort_self(world,
                              CS_FAIL(CS_ERR_COMM,
                                      "rank %d waited %g s %s rank %d (tag "
                                      "%" PRId64 ", %" PRId64 " bytes)",
                                      world->rank, timeout_s,
                                      entry->is_send ? "to send a message to"
                                                     : "for a message from",
                                      entry->peer, entry->packet.header.tag,
                                      entry->packet.header.n_bytes));
}

/* One look at a message; done or failed, its entry's life ends. */
static cs_status look(csi_mpi_world *world, cs_request *request,
                      const double *late_s, bool *done)
{
    csi_mpi_entry *const entry = request->state;
    cs_status st = csi_mpi_progress(world);

    if (st == CS_OK) {
        st = csi_mpi_advance(world, entry);
    }
    *done = st == CS_OK && entry->state == CSI_MPI_DONE;
    if (st == CS_OK && entry->state == CSI_MPI_REFUSED) {
        st = fail_sizes(world, entry);
    } else if (st == CS_OK && !*done && world->is_aborted) {
        st = csi_mpi_fail_aborted(world);
    } else if (st == CS_OK && !*done && late_s != NULL) {
        st = fail_late(world, entry, *late_s);
    }
    if (*done || st != CS_OK) {
        csi_mpi_finish(world, entry);
        request->state = NULL;
    }
    return st;
}

cs_status csi_mpi_test(cs_comm *comm, cs_request *request, bool *done)
{
    csi_mpi_world *const world = csi_mpi_group_of(comm)->world;
    bool is_done = false;

    csi_mutex_lock(&world->mutex);
    const cs_status st = look(world, request, NULL, &is_done);

    csi_mutex_unlock(&world->mutex);
    CS_TRY(st);
    *done = is_done;
    return CS_OK;
}

cs_status csi_mpi_wait(cs_comm *comm, cs_request *request)
{
    csi_mpi_world *const world = csi_mpi_group_of(comm)->world;
    const int64_t deadline_ns = csi_mpi_deadline_ns(comm->timeout_s);
    int64_t n_polls = 0;
    bool done = false;

    while (!done) {
        const bool is_late = n_polls > 0 && csi_clock_ns() > deadline_ns;

        csi_mutex_lock(&world->mutex);
        const cs_status st =
            look(world, request, is_late ? &comm->timeout_s : NULL, &done);

        csi_mutex_unlock(&world->mutex);
        CS_TRY(st);
        if (!done) {
            csi_mpi_pause(&n_polls);
        }
    }
    return CS_OK;
}
