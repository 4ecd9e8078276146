/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_COMM_MPI_WORLD_H
#define CS_COMM_MPI_WORLD_H
/*
 * Ranks as processes, over any MPI. The library only carries bytes; matching,
 * sums, deadlines and lost ranks are ours, as with threads. Nothing blocks
 * inside the library once a world is made: calls are nonblocking, waits poll.
 *
 * Three kinds of MPI messages, by MPI tag:
 *
 *     packet    what a message or a share of a collective is: group, 64-bit
 *               tag, size; its bytes, if they are few; or an answer to one
 *     payload   many bytes, from and to the callers' buffers
 *     control   signs of life, aborts, farewells
 *
 *     sender                           receiver
 *     OFFERED   -- packet -->          ARRIVED, until a receive wants it
 *               <-- go ------          few bytes are copied: DONE
 *     MOVING    -- payload ->          many are received: MOVING, DONE
 *
 * A send is done when its receiver has wanted it, as with threads; MPI holds a
 * caller's buffer only between go and the end of the payload, so that an abort
 * leaves nothing behind: a sender that has given up answers go with stop.
 *
 * Two threads drive a world: the rank's own, inside calls, and the watch, which
 * gives and wants signs of life while the rank computes. All of MPI is called
 * under the world's mutex (MPI_THREAD_SERIALIZED).
 */
#include "cornstarch/comm.h"

#include "base/thread.h"

#include <mpi.h>

enum {
    CSI_MPI_RING = 32,         /* packets that may arrive between polls */
    CSI_MPI_BLOCK = 1 << 20,   /* bytes: MPI counts are ints */
    CSI_MPI_POOL_BLOCK = 64,   /* entries */
    CSI_MPI_MAX_BLOCKS = 1024, /* of entries */
    CSI_MPI_PIECE = 1 << 18,   /* bytes of a sum that a rank adds at a time */
    CSI_MPI_FEW = 1 << 11,     /* bytes that travel in the packet */
    CSI_MPI_SMALL = 1 << 12    /* sums of so many bytes are added everywhere */
};

typedef enum csi_mpi_kind {
    CSI_MPI_MESSAGE,
    CSI_MPI_BARRIER,
    CSI_MPI_BROADCAST,
    CSI_MPI_ALL_REDUCE_F32,
    CSI_MPI_ALL_REDUCE_F64,
    CSI_MPI_ALL_GATHER,
    CSI_MPI_GO, /* answers: the serial is that of the packet */
    CSI_MPI_STOP
} csi_mpi_kind;

/* As it travels, in the machine's own byte order. */
typedef struct csi_mpi_header {
    int64_t group;
    int64_t tag;      /* of a message; number of a collective */
    int64_t n_bytes;  /* of the payload */
    int64_t n_values; /* of a collective, as its caller says */
    int64_t serial;   /* of a send, among its sender's */
    int32_t kind, root;
    int32_t payload_tag; /* MPI tag */
    int32_t padding;
} csi_mpi_header;

typedef struct csi_mpi_packet {
    csi_mpi_header header;
    char few[CSI_MPI_FEW]; /* travels as far as it is filled */
} csi_mpi_packet;

/* An entry of the pool is free or one of
 *   ARRIVED   a packet that no receive has wanted yet
 *   WANTED    a receive whose packet has not come
 *   OFFERED   a send whose go has not come
 *   MOVING    MPI has its packet or its payload
 *   DONE      the buffer is the caller's again
 *   REFUSED   a receive whose packet says something else (`theirs`)
 *   ANSWER    a go or stop on its way; nobody's */
typedef enum csi_mpi_state {
    CSI_MPI_FREE,
    CSI_MPI_ARRIVED,
    CSI_MPI_WANTED,
    CSI_MPI_OFFERED,
    CSI_MPI_MOVING,
    CSI_MPI_DONE,
    CSI_MPI_REFUSED,
    CSI_MPI_ANSWER
} csi_mpi_state;

enum {
    CSI_MPI_PARTS = 3 /* packet, whole blocks, rest */
};

typedef struct csi_mpi_entry {
    struct csi_mpi_entry *next;
    csi_mpi_state state;
    bool is_send;
    bool is_stopped;       /* a receive whose sender has given up */
    int32_t peer;          /* world rank */
    const void *source;    /* of a send */
    void *target;          /* of a receive */
    csi_mpi_header theirs; /* of a receive: the packet that it met */
    MPI_Request parts[CSI_MPI_PARTS];
    csi_mpi_packet packet; /* sent, arrived or wanted */
} csi_mpi_entry;

typedef struct csi_mpi_pool_block {
    struct csi_mpi_pool_block *next; /* owned */
    csi_mpi_entry entries[CSI_MPI_POOL_BLOCK];
} csi_mpi_pool_block;

typedef enum csi_mpi_control_kind {
    CSI_MPI_ALIVE,
    CSI_MPI_ABORT,
    CSI_MPI_FAREWELL
} csi_mpi_control_kind;

/* As it travels; a sign of life ends before the sentence. */
typedef struct csi_mpi_control {
    int32_t kind;
    int32_t rank;   /* whose error it is; -1 = outside any rank */
    int32_t status; /* of a farewell, an abort */
    char message[CS_ERROR_MESSAGE_BYTES];
} csi_mpi_control;

/* What is known of another process. */
typedef struct csi_mpi_peer {
    int64_t heard_ns; /* last sign of life */
    bool is_lost, has_left;
    int32_t process_id;                /* 0 = on another machine */
    csi_mpi_control farewell;          /* when it has left or is lost */
    MPI_Request alive, abort, parting; /* to it, under way */
    int32_t next_payload_tag;
} csi_mpi_peer;

typedef struct csi_mpi_group csi_mpi_group;

typedef struct csi_mpi_world {
    csi_mutex mutex; /* over everything here, and over MPI */
    csi_cond cond;   /* wakes the watch */
    MPI_Comm comm;   /* owned */
    MPI_Datatype block;
    int32_t rank, n_ranks;
    int32_t n_references; /* communicators alive */
    int32_t n_payload_tags;
    int64_t next_group;
    int64_t last_serial;
    csi_mpi_entry *wanted, *arrived; /* oldest first, as all lists */
    csi_mpi_entry *offered, *moving; /* sends; receives */
    csi_mpi_entry *answers;
    csi_mpi_pool_block *blocks; /* owned */
    int32_t n_blocks;
    int32_t n_taken;             /* entries in use */
    csi_mpi_entry *free_entries; /* borrowed from the blocks */
    csi_mpi_packet ring[CSI_MPI_RING];
    MPI_Request ring_requests[CSI_MPI_RING];
    int32_t ring_head;
    void *scratch; /* owned: others' shares of a sum */
    size_t scratch_bytes;
    /* abort and watch */
    csi_mpi_peer *peers; /* owned, [n_ranks] */
    csi_mpi_control control_in, alive, abort, parting;
    MPI_Request control_request;
    csi_thread watch;
    double peer_timeout_s;
    int64_t watched_ns; /* last round of the watch */
    int64_t aborted_ns;
    bool is_aborted, is_leaving, stops_watch;
    cs_error abort_error;
    int32_t aborting_rank;
} csi_mpi_world;

struct csi_mpi_group {
    csi_mpi_world *world; /* counted through the communicators */
    int64_t id;
    int64_t n_collectives;
    int32_t n_ranks;
    int32_t *members;        /* owned, [n_ranks]: world rank of each */
    csi_mpi_entry **entries; /* owned, [2 * n_ranks]: of a collective */
    int32_t n_entries;
};

csi_mpi_group *csi_mpi_group_of(const cs_comm *comm);
int64_t csi_mpi_deadline_ns(double wait_s);

/* COMM with the library's sentence unless code is MPI_SUCCESS. */
CS_NODISCARD cs_status csi_mpi_check(int code, const char *call);
#define CSI_MPI_TRY(call, name) CS_TRY(csi_mpi_check((call), (name)))

/* ---- engine.c; all of these want the mutex held ---- */

CS_NODISCARD cs_status csi_mpi_engine_start(csi_mpi_world *world);
/* Withdraws what the library waits for on behalf of the world. */
void csi_mpi_engine_stop(csi_mpi_world *world);
/* Takes what has arrived; never waits. */
CS_NODISCARD cs_status csi_mpi_progress(csi_mpi_world *world);
/* Posts one end of a message; of the header, serial and payload tag are filled
 * in. *out is set even when it fails, if there is something to finish. */
CS_NODISCARD cs_status csi_mpi_post_send(csi_mpi_world *world, int32_t peer,
                                         const csi_mpi_header *header,
                                         const void *data, csi_mpi_entry **out);
CS_NODISCARD cs_status csi_mpi_post_recv(csi_mpi_world *world, int32_t peer,
                                         const csi_mpi_header *header,
                                         void *data, csi_mpi_entry **out);
/* DONE, if MPI has finished with what is moving. */
CS_NODISCARD cs_status csi_mpi_advance(csi_mpi_world *world,
                                       csi_mpi_entry *entry);
/* Ends the life of an entry, whatever its state: what MPI holds is cancelled
 * and waited for, for a short while. */
void csi_mpi_finish(csi_mpi_world *world, csi_mpi_entry *entry);
/* Waits, for a short while, until MPI holds nobody's buffer: after an abort,
 * before any call returns. */
void csi_mpi_drain(csi_mpi_world *world);
/* Ends what a communicator that goes away has left, both ends. */
void csi_mpi_finish_group(csi_mpi_world *world, int64_t group);
void csi_mpi_finish_all(csi_mpi_world *world); /* and waits for answers */
void csi_mpi_free_pool(csi_mpi_world *world);

/* ---- waiting ---- */

/* Sleeps a little longer at each call of one wait. */
void csi_mpi_pause(int64_t *n_polls);

/* ---- watch.c; these want the mutex held ---- */

CS_NODISCARD cs_status csi_mpi_post_control(csi_mpi_world *world);
void csi_mpi_take_control(csi_mpi_world *world, int32_t source);
/* Ends every wait, here and with a message everywhere; the first one wins. */
void csi_mpi_abort_locked(csi_mpi_world *world, const cs_error *error);
/* Aborts with this thread's error; returns status. */
cs_status csi_mpi_abort_self(csi_mpi_world *world, cs_status status);
/* PEER with the sentence of the rank that aborted. */
cs_status csi_mpi_fail_aborted(csi_mpi_world *world);
/* Without the mutex: the thread that gives and wants signs of life. */
CS_NODISCARD cs_status csi_mpi_watch_start(csi_mpi_world *world);
void csi_mpi_watch_stop(csi_mpi_world *world);
/* Ranks on this machine, whose end is seen at once; without this, by missing
 * signs of life. Collective. */
void csi_mpi_find_neighbours(cs_comm *comm);
/* Without the mutex: waits for all that live; the status and the sentence that
 * all return. */
cs_status csi_mpi_part(csi_mpi_world *world, cs_status status);

/* ---- the provider's table ---- */

cs_status csi_mpi_send(cs_comm *comm, int32_t to, int64_t tag, const void *data,
                       size_t n_bytes, cs_request *request);
cs_status csi_mpi_recv(cs_comm *comm, int32_t from, int64_t tag, void *data,
                       size_t n_bytes, cs_request *request);
cs_status csi_mpi_test(cs_comm *comm, cs_request *request, bool *done);
cs_status csi_mpi_wait(cs_comm *comm, cs_request *request);
cs_status csi_mpi_barrier(cs_comm *comm);
cs_status csi_mpi_broadcast(cs_comm *comm, void *data, size_t n_bytes,
                            int32_t root);
cs_status csi_mpi_all_reduce(cs_comm *comm, void *data, int64_t count,
                             cs_dtype dtype);
cs_status csi_mpi_all_gather(cs_comm *comm, const void *data, size_t n_bytes,
                             void *out);

/* world.c: a world of the first n_ranks processes; collective over all that
 * were started. *out is NULL in the others. */
CS_NODISCARD cs_status csi_mpi_world_create(int32_t n_ranks, double timeout_s,
                                            cs_comm **out);
#endif
