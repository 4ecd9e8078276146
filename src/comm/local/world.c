/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worlds, groups and their communicators: who is alive, who is in which
 * group, and how an abort ends everything. A world lives as long as one of
 * its communicators.
 */
#include "base/alloc.h"
#include "base/clock.h"

#include "local.h"

#include <stdlib.h>

csi_group *csi_local_group(const cs_comm *comm)
{
    return comm->state;
}

int32_t csi_local_world_rank(const cs_comm *comm)
{
    return csi_local_group(comm)->members[comm->rank];
}

int64_t csi_local_deadline_ns(const cs_comm *comm)
{
    /* A year is for ever, and keeps the sum inside 64 bits. */
    const double longest_s = 3.2e7;
    const double wait_s =
        comm->timeout_s < longest_s ? comm->timeout_s : longest_s;

    return csi_clock_ns() + (int64_t)(wait_s * 1e9);
}

void csi_local_wake_all(csi_world *world)
{
    for (int32_t rank = 0; rank < world->n_ranks; rank++) {
        csi_cond_broadcast(&world->conds[rank]);
    }
}

void csi_local_end_busy(csi_world *world)
{
    world->n_busy--;
    if (world->is_aborted && world->n_busy == 0) {
        csi_local_wake_all(world);
    }
}

void csi_local_abort_locked(csi_world *world, int32_t world_rank,
                            const cs_error *error)
{
    if (world->is_aborted) {
        return;
    }
    world->is_aborted = true;
    world->aborting_rank = world_rank;
    world->abort_error = *error;
    csi_local_wake_all(world);
}

/* Copies are short and their threads never block: no deadline needed. */
static void wait_until_idle(csi_world *world, int32_t world_rank)
{
    while (world->n_busy > 0) {
        (void)csi_cond_wait_until(&world->conds[world_rank], &world->mutex,
                                  csi_clock_ns() + 1000000000);
    }
}

cs_status csi_local_fail_aborted(csi_world *world, int32_t world_rank)
{
    const char *const message = world->abort_error.message;

    wait_until_idle(world, world_rank);
    return CS_FAIL(CS_ERR_PEER, "rank %d: %s", world->aborting_rank,
                   message[0] != '\0' ? message : "ended the run");
}

cs_status csi_local_abort_self(csi_world *world, int32_t world_rank,
                               cs_status status)
{
    cs_error error;

    cs_error_get(&error);
    csi_local_abort_locked(world, world_rank, &error);
    wait_until_idle(world, world_rank);
    return status;
}

static void abort_world(cs_comm *comm, const cs_error *error)
{
    csi_world *const world = csi_local_group(comm)->world;
    const int32_t world_rank = csi_local_world_rank(comm);

    csi_mutex_lock(&world->mutex);
    csi_local_abort_locked(world, world_rank, error);
    wait_until_idle(world, world_rank);
    csi_mutex_unlock(&world->mutex);
}

static bool is_aborted(cs_comm *comm)
{
    csi_world *const world = csi_local_group(comm)->world;

    csi_mutex_lock(&world->mutex);
    const bool answer = world->is_aborted;

    csi_mutex_unlock(&world->mutex);
    return answer;
}

static void free_group(csi_group *group)
{
    if (group == NULL) {
        return;
    }
    csi_free(group->members);
    csi_free(group->offers);
    csi_free(group);
}

static void free_world(csi_world *world)
{
    if (world == NULL) {
        return;
    }
    for (int32_t rank = 0; world->conds != NULL && rank < world->n_ranks;
         rank++) {
        csi_cond_fini(&world->conds[rank]);
    }
    while (world->blocks != NULL) {
        csi_pool_block *const next = world->blocks->next;

        csi_free(world->blocks);
        world->blocks = next;
    }
    csi_mutex_fini(&world->mutex);
    csi_free(world->conds);
    csi_free(world->mailboxes);
    csi_free(world);
}

static void destroy_comm(cs_comm *comm)
{
    csi_group *const group = csi_local_group(comm);
    csi_world *const world = group->world;

    csi_mutex_lock(&world->mutex);
    csi_local_cancel(comm);
    const bool group_is_dead = --group->n_references == 0;
    const bool world_is_dead = --world->n_references == 0;

    csi_mutex_unlock(&world->mutex);
    csi_free(comm);
    if (group_is_dead) {
        free_group(group);
    }
    if (world_is_dead) {
        free_world(world);
    }
}

static const cs_comm_ops LOCAL_OPS = {
    .name = "local",
    .split = csi_local_split,
    .barrier = csi_local_barrier,
    .broadcast = csi_local_broadcast,
    .all_reduce = csi_local_all_reduce,
    .all_gather = csi_local_all_gather,
    .send = csi_local_send,
    .recv = csi_local_recv,
    .test = csi_local_test,
    .wait = csi_local_wait,
    .abort = abort_world,
    .is_aborted = is_aborted,
    .destroy = destroy_comm,
};

static csi_group *new_group(csi_world *world, int32_t n_ranks)
{
    csi_group *const group = csi_calloc(1, sizeof *group);

    if (group == NULL) {
        return NULL;
    }
    group->world = world;
    group->n_ranks = n_ranks;
    group->members = csi_calloc((size_t)n_ranks, sizeof *group->members);
    group->offers = csi_calloc((size_t)n_ranks, sizeof *group->offers);
    if (group->members == NULL || group->offers == NULL) {
        free_group(group);
        return NULL;
    }
    return group;
}

/* A communicator that is not yet counted in its group and world. */
static cs_comm *new_comm(csi_group *group, int32_t rank, double timeout_s)
{
    cs_comm *const comm = csi_calloc(1, sizeof *comm);

    if (comm != NULL) {
        comm->ops = &LOCAL_OPS;
        comm->rank = rank;
        comm->n_ranks = group != NULL ? group->n_ranks : 0;
        comm->timeout_s = timeout_s;
        comm->state = group;
    }
    return comm;
}

static csi_world *new_world(int32_t n_ranks)
{
    csi_world *const world = csi_calloc(1, sizeof *world);

    if (world == NULL) {
        return NULL;
    }
    csi_mutex_init(&world->mutex);
    world->n_ranks = n_ranks;
    world->conds = csi_calloc((size_t)n_ranks, sizeof *world->conds);
    for (int32_t rank = 0; world->conds != NULL && rank < n_ranks; rank++) {
        csi_cond_init(&world->conds[rank]);
    }
    world->mailboxes = csi_calloc((size_t)n_ranks, sizeof *world->mailboxes);
    if (world->conds == NULL || world->mailboxes == NULL) {
        free_world(world);
        return NULL;
    }
    return world;
}

cs_status cs_comm_local_create(int32_t n_ranks, double timeout_s,
                               cs_comm **comms)
{
    CS_CHECK(n_ranks >= 1 && n_ranks <= 4096, CS_ERR_ARG,
             "a world has 1 to 4096 ranks, got %d", n_ranks);
    CS_CHECK(timeout_s > 0.0, CS_ERR_ARG,
             "a world's timeout is above 0 seconds, got %g", timeout_s);
    csi_world *const world = new_world(n_ranks);
    csi_group *const group = world != NULL ? new_group(world, n_ranks) : NULL;
    int32_t n_made = 0;

    while (group != NULL && n_made < n_ranks) {
        comms[n_made] = new_comm(group, n_made, timeout_s);
        if (comms[n_made] == NULL) {
            break;
        }
        group->members[n_made] = n_made;
        n_made++;
    }
    if (group == NULL || n_made < n_ranks) {
        while (n_made > 0) {
            csi_free(comms[--n_made]);
            comms[n_made] = NULL;
        }
        free_group(group);
        free_world(world);
        return CS_FAIL(CS_ERR_NOMEM, "no memory for a world of %d ranks",
                       n_ranks);
    }
    group->n_references = n_ranks;
    world->n_references = n_ranks;
    return CS_OK;
}

/* One rank's wish in a split. */
typedef struct split_wish {
    int32_t color, key, rank;
} split_wish;

static int compare_wishes(const void *a_opaque, const void *b_opaque)
{
    const split_wish *const a = a_opaque;
    const split_wish *const b = b_opaque;

    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    return a->rank < b->rank ? -1 : 1;
}

/* Memory of one split, owned by the caller of split_with. */
typedef struct split_memory {
    split_wish *wishes; /* [n_ranks] of the parent */
    csi_group **groups; /* [n_ranks]: made by the leader of each color */
    cs_comm *comm;
} split_memory;

static cs_status allocate_split(const cs_comm *comm, split_memory *memory)
{
    const size_t n = (size_t)comm->n_ranks;

    memory->wishes = csi_calloc(n, sizeof *memory->wishes);
    memory->groups = csi_calloc(n, sizeof(csi_group *));
    memory->comm = new_comm(NULL, 0, comm->timeout_s);
    CS_CHECK(memory->wishes != NULL && memory->groups != NULL &&
                 memory->comm != NULL,
             CS_ERR_NOMEM, "no memory to split a communicator of %d ranks",
             comm->n_ranks);
    return CS_OK;
}

/* Moves the wishes of this color to the front, in the order of the new ranks;
 * returns how many there are. */
static int32_t pick_members(split_wish *wishes, int32_t n, int32_t color)
{
    int32_t n_members = 0;

    for (int32_t i = 0; i < n; i++) {
        if (wishes[i].color == color) {
            wishes[n_members++] = wishes[i];
        }
    }
    qsort(wishes, (size_t)n_members, sizeof *wishes, compare_wishes);
    return n_members;
}

/* References of all members at once, so that none dies before the last one
 * has learnt of the group. `sign` -1 takes them back. */
static void count_members(csi_group *group, int32_t sign)
{
    csi_mutex_lock(&group->world->mutex);
    group->n_references += sign * group->n_ranks;
    group->world->n_references += sign * group->n_ranks;
    csi_mutex_unlock(&group->world->mutex);
}

/* The new rank 0 of a color makes the group, everybody learns its address.
 * An all_gather succeeds on all ranks or on none. */
static cs_status share_groups(cs_comm *comm, split_memory *memory,
                              int32_t n_members)
{
    const csi_group *const parent = csi_local_group(comm);
    csi_group *own = NULL;
    cs_status st = CS_OK;

    if (memory->wishes[0].rank == comm->rank) {
        own = new_group(parent->world, n_members);
        if (own == NULL) {
            st = CS_FAIL(CS_ERR_NOMEM, "no memory for a group of %d ranks",
                         n_members);
        }
    }
    if (own != NULL) {
        for (int32_t i = 0; i < n_members; i++) {
            own->members[i] = parent->members[memory->wishes[i].rank];
        }
        count_members(own, 1);
    }
    st = cs_comm_agree(comm, st);
    if (st == CS_OK) {
        st =
            cs_comm_all_gather(comm, &own, sizeof(csi_group *), memory->groups);
    }
    if (st != CS_OK && own != NULL) {
        count_members(own, -1);
        free_group(own);
    }
    return st;
}

static cs_status split_with(cs_comm *comm, int32_t color, int32_t key,
                            split_memory *memory)
{
    const split_wish wish = {.color = color, .key = key, .rank = comm->rank};

    CS_TRY(cs_comm_all_gather(comm, &wish, sizeof wish, memory->wishes));
    const int32_t n_members =
        pick_members(memory->wishes, comm->n_ranks, color);

    CS_TRY(share_groups(comm, memory, n_members));
    cs_comm *const made = memory->comm;

    while (memory->wishes[made->rank].rank != comm->rank) {
        made->rank++;
    }
    made->n_ranks = n_members;
    made->state = memory->groups[memory->wishes[0].rank];
    return CS_OK;
}

cs_status csi_local_split(cs_comm *comm, int32_t color, int32_t key,
                          cs_comm **out)
{
    split_memory memory = {0};
    /* Nobody enters the exchange unless all can finish it. */
    cs_status st = cs_comm_agree(comm, allocate_split(comm, &memory));

    if (st == CS_OK) {
        st = split_with(comm, color, key, &memory);
    }
    csi_free(memory.wishes);
    csi_free(memory.groups);
    if (st != CS_OK) {
        csi_free(memory.comm);
        return cs_pass_at(__FILE__, __LINE__, __func__, st);
    }
    *out = memory.comm;
    return CS_OK;
}
