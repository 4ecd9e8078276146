/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_COMM_LOCAL_LOCAL_H
#define CS_COMM_LOCAL_LOCAL_H
/*
 * Ranks as threads. One world has one mutex; each rank sleeps on its own
 * condition. Data moves outside the mutex, straight from the sender's buffer
 * to the receiver's, and `n_busy` counts the copies under way: after an abort
 * no call returns before it is zero, so that whoever unwinds may free its
 * buffers at once.
 *
 *     world (mutex, conditions, mailboxes, abort)
 *       +-- group 0: all ranks         -- one cs_comm per member
 *       +-- group k: made by a split   -- one cs_comm per member
 */
#include "cornstarch/comm.h"

#include "base/thread.h"

/* A posted message end, owned by the world's pool. States:
 *   POSTED  in its mailbox list, waiting for its counterpart
 *   COPYING matched; one of the two threads copies, buffers must stay
 *   DONE    the owner may reuse its buffer; freed by its test or wait */
typedef enum csi_entry_state {
    CSI_ENTRY_POSTED,
    CSI_ENTRY_COPYING,
    CSI_ENTRY_DONE
} csi_entry_state;

typedef struct csi_group csi_group;

typedef struct csi_entry {
    struct csi_entry *next;
    const csi_group *group; /* borrowed */
    int32_t from, to;       /* ranks of the group */
    int64_t tag;
    const void *source; /* of a send; NULL in a receive */
    void *target;       /* of a receive; NULL in a send */
    size_t n_bytes;
    bool is_send;
    csi_entry_state state;
} csi_entry;

enum {
    CSI_POOL_BLOCK = 64,
    CSI_POOL_MAX_BLOCKS = 1024
};

typedef struct csi_pool_block {
    struct csi_pool_block *next; /* owned */
    csi_entry entries[CSI_POOL_BLOCK];
} csi_pool_block;

/* What waits for a counterpart at one receiving rank, oldest first. */
typedef struct csi_mailbox {
    csi_entry *sends;
    csi_entry *receives;
} csi_mailbox;

typedef struct csi_world {
    csi_mutex mutex; /* over everything here and in the groups */
    int32_t n_ranks;
    int32_t n_references;   /* communicators alive */
    csi_cond *conds;        /* owned, [n_ranks] */
    csi_mailbox *mailboxes; /* owned, [n_ranks] by receiving world rank */
    csi_pool_block *blocks; /* owned */
    int32_t n_blocks;
    csi_entry *free_entries; /* borrowed from the blocks */
    int32_t n_busy;
    bool is_aborted;
    int32_t aborting_rank;
    cs_error abort_error;
} csi_world;

/* What one member brings to a collective. */
typedef struct csi_offer {
    const void *source;
    void *target;
} csi_offer;

typedef enum csi_collective {
    CSI_BARRIER,
    CSI_BROADCAST,
    CSI_ALL_REDUCE_F32,
    CSI_ALL_REDUCE_F64,
    CSI_ALL_GATHER
} csi_collective;

struct csi_group {
    csi_world *world; /* counted through the communicators */
    int32_t n_ranks;
    int32_t n_references;
    int32_t *members;  /* owned, [n_ranks]: world rank of each */
    csi_offer *offers; /* owned, [n_ranks] */
    /* The collective under way: its first caller says what it is. */
    csi_collective kind;
    int64_t n_values; /* count or bytes */
    int32_t root;
    int32_t first_rank;
    int32_t n_arrived, n_left;
    int64_t n_started, n_finished; /* generations */
};

csi_group *csi_local_group(const cs_comm *comm);
int32_t csi_local_world_rank(const cs_comm *comm);
int64_t csi_local_deadline_ns(const cs_comm *comm);

/* All of these want the mutex held. */
void csi_local_wake_all(csi_world *world);
/* Ends every wait; the first abort of a world wins. */
void csi_local_abort_locked(csi_world *world, int32_t world_rank,
                            const cs_error *error);
/* PEER with the sentence of the rank that aborted; waits for n_busy == 0. */
cs_status csi_local_fail_aborted(csi_world *world, int32_t world_rank);
/* Aborts with this thread's error and waits for n_busy == 0; returns status. */
cs_status csi_local_abort_self(csi_world *world, int32_t world_rank,
                               cs_status status);
/* Ends one copy. */
void csi_local_end_busy(csi_world *world);
/* Withdraws what this communicator still has posted. */
void csi_local_cancel(const cs_comm *comm);

cs_status csi_local_send(cs_comm *comm, int32_t to, int64_t tag,
                         const void *data, size_t n_bytes, cs_request *request);
cs_status csi_local_recv(cs_comm *comm, int32_t from, int64_t tag, void *data,
                         size_t n_bytes, cs_request *request);
cs_status csi_local_test(cs_comm *comm, cs_request *request, bool *done);
cs_status csi_local_wait(cs_comm *comm, cs_request *request);

cs_status csi_local_barrier(cs_comm *comm);
cs_status csi_local_broadcast(cs_comm *comm, void *data, size_t n_bytes,
                              int32_t root);
cs_status csi_local_all_reduce(cs_comm *comm, void *data, int64_t count,
                               cs_dtype dtype);
cs_status csi_local_all_gather(cs_comm *comm, const void *data, size_t n_bytes,
                               void *out);
cs_status csi_local_split(cs_comm *comm, int32_t color, int32_t key,
                          cs_comm **out);
#endif
