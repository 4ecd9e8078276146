/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collectives through one meeting point per group:
 *
 *     arrive (mutex)   each member leaves pointers; the last one starts all
 *     work (no mutex)  each member does its share on everybody's buffers
 *     leave (mutex)    nobody goes before the last share is done
 *
 * A sum is cut into one share per member; a share is added up in rank order
 * and written to all buffers, so all ranks hold the same bits in every run.
 */
#include "base/checked.h"

#include "local.h"

#include <inttypes.h>
#include <string.h>

/* What this rank asks for. */
typedef struct call {
    csi_collective kind;
    int64_t n_values;
    int32_t root;
    csi_offer offer;
} call;

static const char *name_of(csi_collective kind)
{
    static const char *const NAMES[] = {
        [CSI_BARRIER] = "barrier",
        [CSI_BROADCAST] = "broadcast",
        [CSI_ALL_REDUCE_F32] = "all_reduce of f32",
        [CSI_ALL_REDUCE_F64] = "all_reduce of f64",
        [CSI_ALL_GATHER] = "all_gather",
    };

    return NAMES[kind];
}

static void wake_members(const csi_group *group)
{
    for (int32_t i = 0; i < group->n_ranks; i++) {
        csi_cond_broadcast(&group->world->conds[group->members[i]]);
    }
}

/* All members must ask for the same thing. */
static cs_status check_same(const csi_group *group, const cs_comm *comm,
                            const call *c)
{
    CS_CHECK(group->kind == c->kind && group->n_values == c->n_values &&
                 group->root == c->root,
             CS_ERR_COMM,
             "rank %d calls %s (%" PRId64 " values, root %d), rank %d called "
             "%s (%" PRId64 " values, root %d)",
             csi_local_world_rank(comm), name_of(c->kind), c->n_values, c->root,
             group->members[group->first_rank], name_of(group->kind),
             group->n_values, group->root);
    return CS_OK;
}

static cs_status fail_late(const cs_comm *comm, const call *c)
{
    const csi_group *const group = csi_local_group(comm);
    const int32_t rank = csi_local_world_rank(comm);

    return csi_local_abort_self(group->world, rank,
                                CS_FAIL(CS_ERR_COMM,
                                        "rank %d waited %g s in %s: %d of %d "
                                        "ranks arrived",
                                        rank, comm->timeout_s, name_of(c->kind),
                                        group->n_arrived, group->n_ranks));
}

/* Returns OK when all members are there. From then on an abort is not looked
 * at: all members finish, and nobody's buffer goes while others work on it. */
static cs_status arrive_locked(cs_comm *comm, const call *c)
{
    csi_group *const group = csi_local_group(comm);
    csi_world *const world = group->world;
    const int32_t rank = csi_local_world_rank(comm);
    const int64_t deadline_ns = csi_local_deadline_ns(comm);
    const int64_t n_started = group->n_started;
    bool in_time = true;

    if (world->is_aborted) {
        return csi_local_fail_aborted(world, rank);
    }
    if (group->n_arrived == 0) {
        group->kind = c->kind;
        group->n_values = c->n_values;
        group->root = c->root;
        group->first_rank = comm->rank;
    }
    const cs_status st = check_same(group, comm, c);

    if (st != CS_OK) {
        return csi_local_abort_self(world, rank, st);
    }
    group->offers[comm->rank] = c->offer;
    group->n_arrived++;
    if (group->n_arrived == group->n_ranks) {
        group->n_arrived = 0;
        group->n_started++;
        wake_members(group);
    }
    while (group->n_started == n_started) {
        if (world->is_aborted) {
            return csi_local_fail_aborted(world, rank);
        }
        if (!in_time) {
            return fail_late(comm, c);
        }
        in_time = csi_cond_wait_until(&world->conds[rank], &world->mutex,
                                      deadline_ns);
    }
    return CS_OK;
}

/* The others' shares never block, so this wait always ends. */
static void leave_locked(cs_comm *comm)
{
    csi_group *const group = csi_local_group(comm);
    csi_world *const world = group->world;
    const int32_t rank = csi_local_world_rank(comm);
    const int64_t n_finished = group->n_finished;

    group->n_left++;
    if (group->n_left == group->n_ranks) {
        group->n_left = 0;
        group->n_finished++;
        wake_members(group);
    }
    while (group->n_finished == n_finished) {
        (void)csi_cond_wait_until(&world->conds[rank], &world->mutex,
                                  csi_local_deadline_ns(comm));
    }
}

enum {
    BLOCK_VALUES = 1024
};

static void sum_f32(const csi_group *group, int64_t begin, int64_t end)
{
    float sums[BLOCK_VALUES];

    for (int64_t at = begin; at < end; at += BLOCK_VALUES) {
        const int64_t n = csi_min_i64(BLOCK_VALUES, end - at);

        for (int32_t r = 0; r < group->n_ranks; r++) {
            const float *const from = (float *)group->offers[r].target + at;

            for (int64_t i = 0; i < n; i++) {
                sums[i] = r == 0 ? from[i] : sums[i] + from[i];
            }
        }
        for (int32_t r = 0; r < group->n_ranks; r++) {
            memcpy((float *)group->offers[r].target + at, sums,
                   (size_t)n * sizeof *sums);
        }
    }
}

static void sum_f64(const csi_group *group, int64_t begin, int64_t end)
{
    double sums[BLOCK_VALUES];

    for (int64_t at = begin; at < end; at += BLOCK_VALUES) {
        const int64_t n = csi_min_i64(BLOCK_VALUES, end - at);

        for (int32_t r = 0; r < group->n_ranks; r++) {
            const double *const from = (double *)group->offers[r].target + at;

            for (int64_t i = 0; i < n; i++) {
                sums[i] = r == 0 ? from[i] : sums[i] + from[i];
            }
        }
        for (int32_t r = 0; r < group->n_ranks; r++) {
            memcpy((double *)group->offers[r].target + at, sums,
                   (size_t)n * sizeof *sums);
        }
    }
}

static void gather(const csi_group *group, char *out, size_t n_bytes)
{
    for (int32_t r = 0; n_bytes > 0 && r < group->n_ranks; r++) {
        const void *const source = group->offers[r].source;
        char *const target = out + (size_t)r * n_bytes;

        if (source != target) { /* a rank may gather in place */
            memcpy(target, source, n_bytes);
        }
    }
}

/* This rank's share of the work, on everybody's buffers. */
static void work(const cs_comm *comm, const call *c)
{
    const csi_group *const group = csi_local_group(comm);
    const int64_t begin = c->n_values * comm->rank / comm->n_ranks;
    const int64_t end = c->n_values * (comm->rank + 1) / comm->n_ranks;

    switch (c->kind) {
    case CSI_BARRIER:
        break;
    case CSI_BROADCAST:
        if (comm->rank != c->root && c->n_values > 0) {
            memcpy(c->offer.target, group->offers[c->root].target,
                   (size_t)c->n_values);
        }
        break;
    case CSI_ALL_REDUCE_F32:
        sum_f32(group, begin, end);
        break;
    case CSI_ALL_REDUCE_F64:
        sum_f64(group, begin, end);
        break;
    case CSI_ALL_GATHER:
        gather(group, c->offer.target, (size_t)c->n_values);
        break;
    }
}

static cs_status meet(cs_comm *comm, const call *c)
{
    csi_world *const world = csi_local_group(comm)->world;

    csi_mutex_lock(&world->mutex);
    const cs_status st = arrive_locked(comm, c);

    if (st == CS_OK) {
        csi_mutex_unlock(&world->mutex);
        work(comm, c);
        csi_mutex_lock(&world->mutex);
        leave_locked(comm);
    }
    csi_mutex_unlock(&world->mutex);
    return st;
}

cs_status csi_local_barrier(cs_comm *comm)
{
    CS_TRY(meet(comm, &(call){.kind = CSI_BARRIER}));
    return CS_OK;
}

cs_status csi_local_broadcast(cs_comm *comm, void *data, size_t n_bytes,
                              int32_t root)
{
    CS_TRY(meet(comm, &(call){.kind = CSI_BROADCAST,
                              .n_values = (int64_t)n_bytes,
                              .root = root,
                              .offer = {.target = data}}));
    return CS_OK;
}

cs_status csi_local_all_reduce(cs_comm *comm, void *data, int64_t count,
                               cs_dtype dtype)
{
    CS_TRY(meet(comm, &(call){.kind = dtype == CS_F32 ? CSI_ALL_REDUCE_F32
                                                      : CSI_ALL_REDUCE_F64,
                              .n_values = count,
                              .offer = {.target = data}}));
    return CS_OK;
}

cs_status csi_local_all_gather(cs_comm *comm, const void *data, size_t n_bytes,
                               void *out)
{
    CS_TRY(meet(comm, &(call){.kind = CSI_ALL_GATHER,
                              .n_values = (int64_t)n_bytes,
                              .offer = {.source = data, .target = out}}));
    return CS_OK;
}
