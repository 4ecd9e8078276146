/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collectives out of packets and payloads. Each rank numbers the collectives
 * of a group; a share carries the number and what its sender calls, so that
 * ranks that call different things learn it.
 *
 * A sum is added up in rank order. A small one is added by every rank from
 * everybody's values; of a large one each rank adds its share and gives it to
 * all:
 *
 *     values   | share 0 | share 1 | share 2 |     of every rank
 *     phase 1  each share to its rank, which adds in the order 0, 1, 2
 *     phase 2  each sum from its rank to all
 */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/clock.h"

#include "world.h"

#include <inttypes.h>
#include <string.h>

static const char *name_of(int32_t kind)
{
    static const char *const NAMES[] = {
        [CSI_MPI_MESSAGE] = "a message",
        [CSI_MPI_BARRIER] = "barrier",
        [CSI_MPI_BROADCAST] = "broadcast",
        [CSI_MPI_ALL_REDUCE_F32] = "all_reduce of f32",
        [CSI_MPI_ALL_REDUCE_F64] = "all_reduce of f64",
        [CSI_MPI_ALL_GATHER] = "all_gather",
    };
    const bool is_known = kind >= 0 && kind <= CSI_MPI_ALL_GATHER;

    return is_known ? NAMES[kind] : "nothing known";
}

/* One collective of one rank; what all its shares say. */
typedef struct call {
    cs_comm *comm;
    csi_mpi_group *group;
    csi_mpi_world *world;
    csi_mpi_header header;
    int64_t deadline_ns;
} call;

static call begin(cs_comm *comm, csi_mpi_kind kind, int64_t n_values,
                  int32_t root)
{
    csi_mpi_group *const group = csi_mpi_group_of(comm);

    return (call){
        .comm = comm,
        .group = group,
        .world = group->world,
        .header = {.group = group->id,
                   .tag = group->n_collectives++,
                   .n_values = n_values,
                   .kind = (int32_t)kind,
                   .root = root},
        .deadline_ns = csi_mpi_deadline_ns(comm->timeout_s),
    };
}

/* ---- one phase: post shares, wait for all of them ---- */

static cs_status post_locked(const call *c, int32_t peer, const void *source,
                             void *target, int64_t n_bytes)
{
    csi_mpi_world *const world = c->world;
    const int32_t world_peer = c->group->members[peer];
    csi_mpi_header header = c->header;
    csi_mpi_entry *entry = NULL;
    cs_status st = CS_OK;

    header.n_bytes = n_bytes;
    if (target == NULL) {
        st = csi_mpi_post_send(world, world_peer, &header, source, &entry);
    } else {
        st = csi_mpi_post_recv(world, world_peer, &header, target, &entry);
    }
    if (entry != NULL) {
        c->group->entries[c->group->n_entries++] = entry;
    }
    return st;
}

/* A share without bytes goes from and to this. */
static char nothing[1];

static cs_status send_share(const call *c, int32_t to, const void *data,
                            int64_t n_bytes)
{
    csi_mutex_lock(&c->world->mutex);
    const cs_status st =
        post_locked(c, to, n_bytes > 0 ? data : nothing, NULL, n_bytes);

    csi_mutex_unlock(&c->world->mutex);
    return st;
}

static cs_status recv_share(const call *c, int32_t from, void *data,
                            int64_t n_bytes)
{
    csi_mutex_lock(&c->world->mutex);
    const cs_status st =
        post_locked(c, from, NULL, n_bytes > 0 ? data : nothing, n_bytes);

    csi_mutex_unlock(&c->world->mutex);
    return st;
}

static cs_status fail_different(const call *c, const csi_mpi_entry *entry)
{
    const csi_mpi_header *const theirs = &entry->theirs;

    return csi_mpi_abort_self(c->world,
                              CS_FAIL(CS_ERR_COMM,
                                      "rank %d calls %s (%" PRId64
                                      " values, root %d), rank %d called %s "
                                      "(%" PRId64 " values, root %d)",
                                      c->world->rank, name_of(c->header.kind),
                                      c->header.n_values, c->header.root,
                                      entry->peer, name_of(theirs->kind),
                                      theirs->n_values, theirs->root));
}

static cs_status fail_late(const call *c)
{
    int32_t n_arrived = 1;

    for (int32_t i = 0; i < c->group->n_entries; i++) {
        const csi_mpi_entry *const entry = c->group->entries[i];

        n_arrived += !entry->is_send && entry->state != CSI_MPI_WANTED;
    }
    return csi_mpi_abort_self(c->world,
                              CS_FAIL(CS_ERR_COMM,
                                      "rank %d waited %g s in %s: %d of %d "
                                      "ranks arrived",
                                      c->world->rank, c->comm->timeout_s,
                                      name_of(c->header.kind), n_arrived,
                                      c->group->n_ranks));
}

/* One look at all shares of a phase. */
static cs_status look(const call *c, bool is_late, bool *done)
{
    csi_mpi_world *const world = c->world;

    CS_TRY(csi_mpi_progress(world));
    *done = true;
    for (int32_t i = 0; i < c->group->n_entries; i++) {
        csi_mpi_entry *const entry = c->group->entries[i];

        CS_TRY(csi_mpi_advance(world, entry));
        if (entry->state == CSI_MPI_REFUSED) {
            return fail_different(c, entry);
        }
        *done = *done && entry->state == CSI_MPI_DONE;
    }
    if (!*done && world->is_aborted) {
        return csi_mpi_fail_aborted(world);
    }
    return !*done && is_late ? fail_late(c) : CS_OK;
}

static cs_status wait_for_shares(const call *c)
{
    int64_t n_polls = 0;
    cs_status st = CS_OK;
    bool done = false;

    while (!done && st == CS_OK) {
        const bool is_late = n_polls > 0 && csi_clock_ns() > c->deadline_ns;

        csi_mutex_lock(&c->world->mutex);
        st = look(c, is_late, &done);
        csi_mutex_unlock(&c->world->mutex);
        if (!done && st == CS_OK) {
            csi_mpi_pause(&n_polls);
        }
    }
    return st;
}

/* Ends a phase whose posting returned `st`. No entry outlives it. */
static cs_status end_phase(const call *c, cs_status st)
{
    csi_mpi_group *const group = c->group;

    if (st == CS_OK) {
        st = wait_for_shares(c);
    }
    csi_mutex_lock(&c->world->mutex);
    for (int32_t i = 0; i < group->n_entries; i++) {
        csi_mpi_finish(c->world, group->entries[i]);
    }
    group->n_entries = 0;
    csi_mutex_unlock(&c->world->mutex);
    return st;
}

/* ---- everybody to everybody, root to everybody ---- */

/* Rank r's bytes arrive at out + r * stride. */
static cs_status post_exchange(const call *c, const void *data, char *out,
                               int64_t n_bytes, size_t stride)
{
    for (int32_t r = 0; r < c->group->n_ranks; r++) {
        if (r != c->comm->rank) {
            CS_TRY(recv_share(c, r, out + (size_t)r * stride, n_bytes));
        }
    }
    for (int32_t r = 0; r < c->group->n_ranks; r++) {
        if (r != c->comm->rank) {
            CS_TRY(send_share(c, r, data, n_bytes));
        }
    }
    return CS_OK;
}

cs_status csi_mpi_barrier(cs_comm *comm)
{
    const call c = begin(comm, CSI_MPI_BARRIER, 0, 0);

    CS_TRY(end_phase(&c, post_exchange(&c, nothing, nothing, 0, 0)));
    return CS_OK;
}

cs_status csi_mpi_all_gather(cs_comm *comm, const void *data, size_t n_bytes,
                             void *out)
{
    const call c = begin(comm, CSI_MPI_ALL_GATHER, (int64_t)n_bytes, 0);
    char *const own = (char *)out + (size_t)comm->rank * n_bytes;

    if (n_bytes > 0 && data != own) {
        memcpy(own, data, n_bytes);
    }
    CS_TRY(end_phase(&c,
                     post_exchange(&c, own, out, (int64_t)n_bytes, n_bytes)));
    return CS_OK;
}

static cs_status post_broadcast(const call *c, void *data)
{
    const int64_t n_bytes = c->header.n_values;

    if (c->comm->rank != c->header.root) {
        return recv_share(c, c->header.root, data, n_bytes);
    }
    for (int32_t r = 0; r < c->group->n_ranks; r++) {
        if (r != c->comm->rank) {
            CS_TRY(send_share(c, r, data, n_bytes));
        }
    }
    return CS_OK;
}

cs_status csi_mpi_broadcast(cs_comm *comm, void *data, size_t n_bytes,
                            int32_t root)
{
    const call c = begin(comm, CSI_MPI_BROADCAST, (int64_t)n_bytes, root);

    CS_TRY(end_phase(&c, post_broadcast(&c, data)));
    return CS_OK;
}

/* ---- sums ---- */

/* Memory for n_bytes of every rank; grows, is kept. */
static cs_status reserve(const call *c, size_t n_bytes)
{
    csi_mpi_world *const world = c->world;
    const size_t wanted = (size_t)c->group->n_ranks * n_bytes;

    if (wanted > world->scratch_bytes) {
        void *const larger = csi_aligned(wanted);

        CS_CHECK(larger != NULL, CS_ERR_NOMEM, "no memory for %zu bytes of %s",
                 wanted, name_of(c->header.kind));
        csi_free(world->scratch);
        world->scratch = larger;
        world->scratch_bytes = wanted;
    }
    return CS_OK;
}

static size_t value_bytes(const call *c)
{
    return c->header.kind == CSI_MPI_ALL_REDUCE_F32 ? sizeof(float)
                                                    : sizeof(double);
}

/* target = part of rank 0 + part of rank 1 + ...; this rank's part is what
 * target holds. */
static void add_f32(const call *c, float *target, int64_t n, size_t stride)
{
    enum {
        BLOCK = 1024
    };
    float sums[BLOCK];

    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t count = csi_min_i64(BLOCK, n - at);

        for (int32_t r = 0; r < c->group->n_ranks; r++) {
            const float *const from =
                r == c->comm->rank
                    ? target + at
                    : (float *)c->world->scratch + (size_t)r * stride + at;

            for (int64_t i = 0; i < count; i++) {
                sums[i] = r == 0 ? from[i] : sums[i] + from[i];
            }
        }
        memcpy(target + at, sums, (size_t)count * sizeof *sums);
    }
}

static void add_f64(const call *c, double *target, int64_t n, size_t stride)
{
    enum {
        BLOCK = 1024
    };
    double sums[BLOCK];

    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t count = csi_min_i64(BLOCK, n - at);

        for (int32_t r = 0; r < c->group->n_ranks; r++) {
            const double *const from =
                r == c->comm->rank
                    ? target + at
                    : (double *)c->world->scratch + (size_t)r * stride + at;

            for (int64_t i = 0; i < count; i++) {
                sums[i] = r == 0 ? from[i] : sums[i] + from[i];
            }
        }
        memcpy(target + at, sums, (size_t)count * sizeof *sums);
    }
}

/* stride: values between the parts of two ranks. */
static void add(const call *c, void *target, int64_t n, size_t stride)
{
    if (c->header.kind == CSI_MPI_ALL_REDUCE_F32) {
        add_f32(c, target, n, stride);
    } else {
        add_f64(c, target, n, stride);
    }
}

static cs_status reduce_small(const call *c, void *data)
{
    const int64_t n = c->header.n_values;
    const size_t n_bytes = (size_t)n * value_bytes(c);

    CS_TRY(reserve(c, n_bytes));
    CS_TRY(end_phase(c, post_exchange(c, data, c->world->scratch,
                                      (int64_t)n_bytes, n_bytes)));
    add(c, data, n, (size_t)n);
    return CS_OK;
}

/* The values that a rank adds of n. */
typedef struct share {
    int64_t begin, n;
} share;

static share share_of(const call *c, int64_t n, int32_t rank)
{
    const int64_t begin = n * rank / c->group->n_ranks;

    return (share){begin, n * (rank + 1) / c->group->n_ranks - begin};
}

static cs_status post_parts(const call *c, char *data, int64_t n, size_t stride)
{
    const size_t size = value_bytes(c);
    const share own = share_of(c, n, c->comm->rank);

    for (int32_t r = 0; r < c->group->n_ranks; r++) {
        const share theirs = share_of(c, n, r);

        if (r != c->comm->rank && own.n > 0) {
            CS_TRY(recv_share(c, r,
                              (char *)c->world->scratch +
                                  (size_t)r * stride * size,
                              own.n * (int64_t)size));
        }
        if (r != c->comm->rank && theirs.n > 0) {
            CS_TRY(send_share(c, r, data + (size_t)theirs.begin * size,
                              theirs.n * (int64_t)size));
        }
    }
    return CS_OK;
}

static cs_status post_sums(const call *c, char *data, int64_t n)
{
    const size_t size = value_bytes(c);
    const share own = share_of(c, n, c->comm->rank);

    for (int32_t r = 0; r < c->group->n_ranks; r++) {
        const share theirs = share_of(c, n, r);

        if (r != c->comm->rank && theirs.n > 0) {
            CS_TRY(recv_share(c, r, data + (size_t)theirs.begin * size,
                              theirs.n * (int64_t)size));
        }
        if (r != c->comm->rank && own.n > 0) {
            CS_TRY(send_share(c, r, data + (size_t)own.begin * size,
                              own.n * (int64_t)size));
        }
    }
    return CS_OK;
}

static cs_status reduce_large(const call *c, char *data)
{
    const size_t size = value_bytes(c);
    const size_t piece = CSI_MPI_PIECE / size;
    const int64_t round = (int64_t)piece * c->group->n_ranks;

    CS_TRY(reserve(c, CSI_MPI_PIECE));
    for (int64_t at = 0; at < c->header.n_values; at += round) {
        const int64_t n = csi_min_i64(round, c->header.n_values - at);
        char *const values = data + (size_t)at * size;
        const share own = share_of(c, n, c->comm->rank);

        CS_TRY(end_phase(c, post_parts(c, values, n, piece)));
        add(c, values + (size_t)own.begin * size, own.n, piece);
        CS_TRY(end_phase(c, post_sums(c, values, n)));
    }
    return CS_OK;
}

cs_status csi_mpi_all_reduce(cs_comm *comm, void *data, int64_t count,
                             cs_dtype dtype)
{
    const call c =
        begin(comm,
              dtype == CS_F32 ? CSI_MPI_ALL_REDUCE_F32 : CSI_MPI_ALL_REDUCE_F64,
              count, 0);

    if (count * (int64_t)value_bytes(&c) <= CSI_MPI_SMALL) {
        return reduce_small(&c, data);
    }
    return reduce_large(&c, data);
}
