/* SPDX-License-Identifier: Apache-2.0 */
/* Worlds, groups and their communicators; splits. A world lives as long as
 * one of its communicators. */
#include "world.h"

#include "base/alloc.h"
#include "base/checked.h"

#include <stdlib.h>

static const double PEER_TIMEOUT_S = 10.0;

csi_mpi_group *csi_mpi_group_of(const cs_comm *comm)
{
    return comm->state;
}

/* ---- groups and communicators ---- */

static void free_group(csi_mpi_group *group)
{
    if (group != NULL) {
        csi_free(group->members);
        csi_free(group->entries);
        csi_free(group);
    }
}

static csi_mpi_group *new_group(csi_mpi_world *world, int32_t n_ranks)
{
    csi_mpi_group *const group = csi_calloc(1, sizeof *group);

    if (group == NULL) {
        return NULL;
    }
    group->world = world;
    group->n_ranks = n_ranks;
    group->members = csi_calloc((size_t)n_ranks, sizeof *group->members);
    group->entries = csi_calloc(2 * (size_t)n_ranks, sizeof(csi_mpi_entry *));
    if (group->members == NULL || group->entries == NULL) {
        free_group(group);
        return NULL;
    }
    return group;
}

static void free_world(csi_mpi_world *world)
{
    if (world == NULL) {
        return;
    }
    csi_mpi_engine_stop(world);
    /* What could not be drained, MPI may still look at. */
    if (world->n_taken == 0) {
        csi_mpi_free_pool(world);
    }
    csi_cond_fini(&world->cond);
    csi_mutex_fini(&world->mutex);
    csi_free(world->peers);
    csi_free(world->scratch);
    csi_free(world);
}

static void destroy_comm(cs_comm *comm)
{
    csi_mpi_group *const group = csi_mpi_group_of(comm);
    csi_mpi_world *const world = group->world;

    csi_mutex_lock(&world->mutex);
    csi_mpi_finish_group(world, group->id);
    const bool is_last = --world->n_references == 0;

    csi_mutex_unlock(&world->mutex);
    free_group(group);
    csi_free(comm);
    if (is_last) {
        free_world(world);
    }
}

static void abort_world(cs_comm *comm, const cs_error *error)
{
    csi_mpi_world *const world = csi_mpi_group_of(comm)->world;

    csi_mutex_lock(&world->mutex);
    csi_mpi_abort_locked(world, error);
    csi_mpi_drain(world);
    csi_mutex_unlock(&world->mutex);
}

static bool is_aborted(cs_comm *comm)
{
    csi_mpi_world *const world = csi_mpi_group_of(comm)->world;

    csi_mutex_lock(&world->mutex);
    const bool answer = world->is_aborted;

    csi_mutex_unlock(&world->mutex);
    return answer;
}

static void set_peer_timeout(cs_comm *comm, double seconds)
{
    csi_mpi_world *const world = csi_mpi_group_of(comm)->world;

    csi_mutex_lock(&world->mutex);
    world->peer_timeout_s = seconds;
    csi_cond_broadcast(&world->cond);
    csi_mutex_unlock(&world->mutex);
}

/* ---- splits ---- */

/* One rank's wish. */
typedef struct split_wish {
    int32_t color, key, rank, padding;
    int64_t next_group; /* numbers from here on are free in its process */
} split_wish;

static int compare_wishes(const void *a_opaque, const void *b_opaque)
{
    const split_wish *const a = a_opaque;
    const split_wish *const b = b_opaque;

    if (a->color != b->color) {
        return a->color < b->color ? -1 : 1;
    }
    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    return (a->rank > b->rank) - (a->rank < b->rank);
}

/* Fills in a group whose wishes are sorted by color, key, rank. Its number is
 * one that no process of the parent has used; colors count from there. */
static void settle(const cs_comm *comm, const split_wish *wishes, int32_t color,
                   csi_mpi_group *group, int32_t *rank)
{
    const csi_mpi_group *const parent = csi_mpi_group_of(comm);
    csi_mpi_world *const world = parent->world;
    int64_t first = 0;
    int64_t n_colors = 0;
    int32_t n = 0;

    for (int32_t i = 0; i < parent->n_ranks; i++) {
        first = csi_max_i64(first, wishes[i].next_group);
        n_colors += i == 0 || wishes[i].color != wishes[i - 1].color;
        if (wishes[i].color == color) {
            group->id = n_colors - 1;
            *rank = wishes[i].rank == comm->rank ? n : *rank;
            group->members[n++] = parent->members[wishes[i].rank];
        }
    }
    group->id += first;
    group->n_ranks = n;
    csi_mutex_lock(&world->mutex);
    world->next_group = first + n_colors;
    world->n_references++;
    csi_mutex_unlock(&world->mutex);
}

static cs_status split(cs_comm *comm, int32_t color, int32_t key, cs_comm **out)
{
    const csi_mpi_group *const parent = csi_mpi_group_of(comm);
    const split_wish wish = {
        .color = color,
        .key = key,
        .rank = comm->rank,
        .next_group = parent->world->next_group,
    };
    split_wish *const wishes =
        csi_calloc((size_t)parent->n_ranks, sizeof *wishes);
    csi_mpi_group *group = new_group(parent->world, parent->n_ranks);
    cs_comm *made = csi_calloc(1, sizeof *made);
    cs_status st = CS_OK;

    if (wishes == NULL || group == NULL || made == NULL) {
        st = CS_FAIL(CS_ERR_NOMEM,
                     "no memory to split a communicator of %d ranks",
                     comm->n_ranks);
    }
    /* Nobody enters the exchange unless all can finish it. */
    CS_TRY_GOTO(undo, cs_comm_agree(comm, st));
    CS_CHECK_GOTO(undo, wishes != NULL && group != NULL && made != NULL,
                  CS_ERR_INTERNAL, "agreed in spite of a failure");
    CS_TRY_GOTO(undo, cs_comm_all_gather(comm, &wish, sizeof wish, wishes));
    qsort(wishes, (size_t)parent->n_ranks, sizeof *wishes, compare_wishes);
    *made = *comm;
    made->rank = 0;
    made->bytes_sent = 0;
    settle(comm, wishes, color, group, &made->rank);
    made->n_ranks = group->n_ranks;
    made->state = group;
    *out = made;
    group = NULL;
    made = NULL;
undo:
    csi_free(wishes);
    csi_free(made);
    free_group(group);
    return st;
}

static const cs_comm_ops MPI_OPS = {
    .name = "mpi",
    .split = split,
    .barrier = csi_mpi_barrier,
    .broadcast = csi_mpi_broadcast,
    .all_reduce = csi_mpi_all_reduce,
    .all_gather = csi_mpi_all_gather,
    .send = csi_mpi_send,
    .recv = csi_mpi_recv,
    .test = csi_mpi_test,
    .wait = csi_mpi_wait,
    .abort = abort_world,
    .is_aborted = is_aborted,
    .set_peer_timeout = set_peer_timeout,
    .destroy = destroy_comm,
};

/* ---- worlds ---- */

static cs_status init_world(csi_mpi_world *world, MPI_Comm handle)
{
    int rank = 0;
    int n_ranks = 0;

    csi_mutex_init(&world->mutex);
    csi_cond_init(&world->cond);
    world->comm = handle;
    world->control_request = MPI_REQUEST_NULL;
    for (int i = 0; i < CSI_MPI_RING; i++) {
        world->ring_requests[i] = MPI_REQUEST_NULL;
    }
    world->peer_timeout_s = PEER_TIMEOUT_S;
    world->next_group = 1;
    world->n_references = 1;
    CSI_MPI_TRY(MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN),
                "MPI_Comm_set_errhandler");
    CSI_MPI_TRY(MPI_Comm_rank(handle, &rank), "MPI_Comm_rank");
    CSI_MPI_TRY(MPI_Comm_size(handle, &n_ranks), "MPI_Comm_size");
    CSI_MPI_TRY(MPI_Type_contiguous(CSI_MPI_BLOCK, MPI_BYTE, &world->block),
                "MPI_Type_contiguous");
    CSI_MPI_TRY(MPI_Type_commit(&world->block), "MPI_Type_commit");
    world->rank = rank;
    world->n_ranks = n_ranks;
    world->alive.kind = CSI_MPI_ALIVE;
    world->peers = csi_calloc((size_t)n_ranks, sizeof *world->peers);
    CS_CHECK(world->peers != NULL, CS_ERR_NOMEM, "a world of %d ranks",
             n_ranks);
    for (int32_t r = 0; r < n_ranks; r++) {
        world->peers[r].alive = MPI_REQUEST_NULL;
        world->peers[r].abort = MPI_REQUEST_NULL;
        world->peers[r].parting = MPI_REQUEST_NULL;
    }
    return csi_mpi_engine_start(world);
}

/* The communicator of a new world's group of all ranks. */
static cs_status new_root(csi_mpi_world *world, double timeout_s, cs_comm **out)
{
    cs_comm *const comm = csi_calloc(1, sizeof *comm);
    csi_mpi_group *const group = new_group(world, world->n_ranks);

    if (comm == NULL || group == NULL) {
        csi_free(comm);
        free_group(group);
        return CS_FAIL(CS_ERR_NOMEM, "a world of %d ranks", world->n_ranks);
    }
    for (int32_t r = 0; r < world->n_ranks; r++) {
        group->members[r] = r;
    }
    *comm = (cs_comm){
        .ops = &MPI_OPS,
        .rank = world->rank,
        .n_ranks = world->n_ranks,
        .timeout_s = timeout_s,
        .state = group,
    };
    *out = comm;
    return CS_OK;
}

cs_status csi_mpi_world_create(int32_t n_ranks, double timeout_s, cs_comm **out)
{
    cs_status st = CS_OK;
    MPI_Comm handle = MPI_COMM_NULL;
    int rank = 0;

    CS_CHECK(timeout_s > 0.0, CS_ERR_ARG,
             "a world's timeout is above 0 seconds, got %g", timeout_s);
    CSI_MPI_TRY(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
    CSI_MPI_TRY(MPI_Comm_split(MPI_COMM_WORLD,
                               rank < n_ranks ? 0 : MPI_UNDEFINED, rank,
                               &handle),
                "MPI_Comm_split");
    if (handle == MPI_COMM_NULL) {
        *out = NULL;
        return CS_OK;
    }
    csi_mpi_world *world = csi_calloc(1, sizeof *world);
    CS_CHECK(world != NULL, CS_ERR_NOMEM, "a world of %d ranks", n_ranks);
    CS_TRY_GOTO(undo, init_world(world, handle));
    CS_TRY_GOTO(undo, new_root(world, timeout_s, out));
    return CS_OK;
undo:
    free_world(world);
    return st;
}
