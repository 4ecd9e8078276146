/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How packets and payloads move (world.h draws it). Packets of one sender are
 * taken in the order in which they were sent: one MPI tag, a ring of receives
 * that is looked at in order. So equal tags keep their order.
 */
#include "base/alloc.h"
#include "base/clock.h"

#include "world.h"

#include <inttypes.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>

enum {
    TAG_PACKET = 1,
    TAG_PAYLOAD = 16,
    MAX_PAYLOAD_TAGS = 1 << 20,
    YIELDS = 200,
    SHORT_SLEEP_NS = 20 * 1000,
    SHORT_SLEEPS = 500,
    LONG_SLEEP_NS = 200 * 1000
};

/* For payloads under way when the world is aborted; a lost rank's never end. */
static const int64_t DRAIN_NS = 1000 * 1000 * 1000;

cs_status csi_mpi_check(int code, const char *call)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;

    if (code == MPI_SUCCESS) {
        return CS_OK;
    }
    (void)MPI_Error_string(code, text, &length);
    return CS_FAIL(CS_ERR_COMM, "%s: %s", call, text);
}

void csi_mpi_pause(int64_t *n_polls)
{
    const int64_t n = (*n_polls)++;

    if (n < YIELDS) {
        (void)sched_yield();
    } else {
        csi_sleep_ns(n < YIELDS + SHORT_SLEEPS ? SHORT_SLEEP_NS
                                               : LONG_SLEEP_NS);
    }
}

/* ---- pool and lists ---- */

static cs_status take_entry(csi_mpi_world *world, csi_mpi_entry **out)
{
    if (world->free_entries == NULL && world->n_blocks < CSI_MPI_MAX_BLOCKS) {
        csi_mpi_pool_block *const block = csi_calloc(1, sizeof *block);

        for (int32_t i = 0; block != NULL && i < CSI_MPI_POOL_BLOCK; i++) {
            block->entries[i].next = world->free_entries;
            world->free_entries = &block->entries[i];
        }
        if (block != NULL) {
            block->next = world->blocks;
            world->blocks = block;
            world->n_blocks++;
        }
    }
    csi_mpi_entry *const entry = world->free_entries;

    CS_CHECK(entry != NULL, CS_ERR_NOMEM,
             "no memory for one more message beside %d under way (at most %d)",
             world->n_blocks * CSI_MPI_POOL_BLOCK,
             CSI_MPI_MAX_BLOCKS * CSI_MPI_POOL_BLOCK);
    world->free_entries = entry->next;
    world->n_taken++;
    entry->next = NULL;
    entry->is_send = false;
    entry->is_stopped = false;
    for (int i = 0; i < CSI_MPI_PARTS; i++) {
        entry->parts[i] = MPI_REQUEST_NULL;
    }
    *out = entry;
    return CS_OK;
}

static void release_entry(csi_mpi_world *world, csi_mpi_entry *entry)
{
    entry->state = CSI_MPI_FREE;
    entry->next = world->free_entries;
    world->free_entries = entry;
    world->n_taken--;
}

void csi_mpi_free_pool(csi_mpi_world *world)
{
    while (world->blocks != NULL) {
        csi_mpi_pool_block *const next = world->blocks->next;

        csi_free(world->blocks);
        world->blocks = next;
    }
    world->free_entries = NULL;
}

static void append(csi_mpi_entry **list, csi_mpi_entry *entry)
{
    while (*list != NULL) {
        list = &(*list)->next;
    }
    entry->next = NULL;
    *list = entry;
}

static void unlink_entry(csi_mpi_entry **list, const csi_mpi_entry *entry)
{
    while (*list != NULL && *list != entry) {
        list = &(*list)->next;
    }
    if (*list != NULL) {
        *list = entry->next;
    }
}

static bool is_message(const csi_mpi_header *header)
{
    return header->kind == CSI_MPI_MESSAGE;
}

static bool has_few(const csi_mpi_header *header)
{
    return header->n_bytes <= CSI_MPI_FEW;
}

/* Takes the oldest entry of a list that a packet from `peer` fits. */
static csi_mpi_entry *take_match(csi_mpi_entry **list, int32_t peer,
                                 const csi_mpi_header *header)
{
    for (; *list != NULL; list = &(*list)->next) {
        csi_mpi_entry *const entry = *list;

        const csi_mpi_header *const own = &entry->packet.header;

        if (entry->peer == peer && own->group == header->group &&
            own->tag == header->tag && is_message(own) == is_message(header)) {
            *list = entry->next;
            return entry;
        }
    }
    return NULL;
}

/* ---- packets and payloads on their way ---- */

static cs_status send_packet(csi_mpi_world *world, csi_mpi_entry *entry,
                             size_t n_few)
{
    CSI_MPI_TRY(MPI_Isend(&entry->packet,
                          (int)(offsetof(csi_mpi_packet, few) + n_few),
                          MPI_BYTE, entry->peer, TAG_PACKET, world->comm,
                          &entry->parts[0]),
                "MPI_Isend");
    return CS_OK;
}

/* Answers that MPI has taken are free again. */
static cs_status sweep_answers(csi_mpi_world *world)
{
    csi_mpi_entry **list = &world->answers;

    while (*list != NULL) {
        csi_mpi_entry *const entry = *list;
        int done = 0;

        CSI_MPI_TRY(MPI_Test(&entry->parts[0], &done, MPI_STATUS_IGNORE),
                    "MPI_Test");
        if (done == 0) {
            return CS_OK; /* later ones are not out either */
        }
        *list = entry->next;
        release_entry(world, entry);
    }
    return CS_OK;
}

static cs_status answer(csi_mpi_world *world, int32_t peer, csi_mpi_kind kind,
                        const csi_mpi_header *header)
{
    csi_mpi_entry *entry = NULL;

    CS_TRY(take_entry(world, &entry));
    entry->state = CSI_MPI_ANSWER;
    entry->peer = peer;
    entry->packet.header = *header;
    entry->packet.header.kind = (int32_t)kind;
    append(&world->answers, entry);
    return send_packet(world, entry, 0);
}

/* MPI counts are ints: whole blocks and a rest. */
typedef struct payload {
    int n_blocks, n_rest;
    size_t rest_at;
} payload;

static payload cut(const csi_mpi_header *header)
{
    const int64_t n_blocks = header->n_bytes / CSI_MPI_BLOCK;

    return (payload){
        .n_blocks = (int)n_blocks,
        .n_rest = (int)(header->n_bytes % CSI_MPI_BLOCK),
        .rest_at = (size_t)(n_blocks * CSI_MPI_BLOCK),
    };
}

static cs_status send_payload(csi_mpi_world *world, csi_mpi_entry *entry)
{
    const csi_mpi_header *const h = &entry->packet.header;
    const payload p = cut(h);
    const char *const data = entry->source;

    if (p.n_blocks > 0) {
        CSI_MPI_TRY(MPI_Isend(data, p.n_blocks, world->block, entry->peer,
                              h->payload_tag, world->comm, &entry->parts[1]),
                    "MPI_Isend");
    }
    if (p.n_rest > 0) {
        CSI_MPI_TRY(MPI_Isend(data + p.rest_at, p.n_rest, MPI_BYTE, entry->peer,
                              h->payload_tag, world->comm, &entry->parts[2]),
                    "MPI_Isend");
    }
    return CS_OK;
}

static cs_status recv_payload(csi_mpi_world *world, csi_mpi_entry *entry)
{
    const payload p = cut(&entry->theirs);
    const int tag = entry->theirs.payload_tag;
    char *const data = entry->target;

    if (p.n_blocks > 0) {
        CSI_MPI_TRY(MPI_Irecv(data, p.n_blocks, world->block, entry->peer, tag,
                              world->comm, &entry->parts[1]),
                    "MPI_Irecv");
    }
    if (p.n_rest > 0) {
        CSI_MPI_TRY(MPI_Irecv(data + p.rest_at, p.n_rest, MPI_BYTE, entry->peer,
                              tag, world->comm, &entry->parts[2]),
                    "MPI_Irecv");
    }
    return CS_OK;
}

cs_status csi_mpi_advance(csi_mpi_world *world, csi_mpi_entry *entry)
{
    int done = 0;

    if (entry->state == CSI_MPI_MOVING) {
        CSI_MPI_TRY(MPI_Testall(CSI_MPI_PARTS, entry->parts, &done,
                                MPI_STATUSES_IGNORE),
                    "MPI_Testall");
        if (done != 0) {
            unlink_entry(&world->moving, entry);
            entry->state = CSI_MPI_DONE;
        }
    }
    return CS_OK;
}

/* ---- both ends ---- */

/* A receive meets its packet. Few bytes are with it; nobody waits for the go
 * of a collective's few. */
static cs_status meet(csi_mpi_world *world, csi_mpi_entry *entry,
                      const csi_mpi_packet *packet)
{
    const csi_mpi_header *const mine = &entry->packet.header;
    const csi_mpi_header *const theirs = &packet->header;

    entry->theirs = *theirs;
    if (mine->kind != theirs->kind || mine->n_bytes != theirs->n_bytes ||
        mine->n_values != theirs->n_values || mine->root != theirs->root) {
        entry->state = CSI_MPI_REFUSED;
        return CS_OK;
    }
    if (!has_few(theirs)) {
        entry->state = CSI_MPI_MOVING;
        append(&world->moving, entry);
        CS_TRY(recv_payload(world, entry));
        return answer(world, entry->peer, CSI_MPI_GO, theirs);
    }
    entry->state = CSI_MPI_DONE;
    if (theirs->n_bytes > 0) {
        memcpy(entry->target, packet->few, (size_t)theirs->n_bytes);
    }
    return is_message(theirs) ? answer(world, entry->peer, CSI_MPI_GO, theirs)
                              : CS_OK;
}

cs_status csi_mpi_post_send(csi_mpi_world *world, int32_t peer,
                            const csi_mpi_header *header, const void *data,
                            csi_mpi_entry **out)
{
    csi_mpi_peer *const to = &world->peers[peer];
    const bool few = has_few(header);
    csi_mpi_entry *entry = NULL;

    CS_TRY(take_entry(world, &entry));
    entry->is_send = true;
    entry->peer = peer;
    entry->source = data;
    entry->packet.header = *header;
    entry->packet.header.serial = ++world->last_serial;
    if (few && header->n_bytes > 0) {
        memcpy(entry->packet.few, data, (size_t)header->n_bytes);
    }
    if (!few) {
        entry->packet.header.payload_tag = TAG_PAYLOAD + to->next_payload_tag;
        to->next_payload_tag =
            (to->next_payload_tag + 1) % world->n_payload_tags;
    }
    if (few && !is_message(header)) {
        entry->state = CSI_MPI_MOVING;
        append(&world->moving, entry);
    } else {
        entry->state = CSI_MPI_OFFERED;
        append(&world->offered, entry);
    }
    *out = entry;
    return send_packet(world, entry, few ? (size_t)header->n_bytes : 0);
}

cs_status csi_mpi_post_recv(csi_mpi_world *world, int32_t peer,
                            const csi_mpi_header *header, void *data,
                            csi_mpi_entry **out)
{
    csi_mpi_entry *entry = NULL;
    cs_status st = CS_OK;

    CS_TRY(take_entry(world, &entry));
    entry->state = CSI_MPI_WANTED;
    entry->peer = peer;
    entry->target = data;
    entry->packet.header = *header;
    *out = entry;
    csi_mpi_entry *const arrival = take_match(&world->arrived, peer, header);

    if (arrival != NULL) {
        st = meet(world, entry, &arrival->packet);
        release_entry(world, arrival);
    } else {
        append(&world->wanted, entry);
    }
    return st;
}

/* ---- ends that are given up ---- */

static void cancel(MPI_Request *request)
{
    int done = 0;

    if (*request != MPI_REQUEST_NULL) {
        (void)MPI_Cancel(request);
        for (int i = 0; i < YIELDS && done == 0; i++) {
            (void)MPI_Test(request, &done, MPI_STATUS_IGNORE);
        }
    }
}

/* A receive whose sender has stopped is cancelled. Progress is made too: the
 * other side waits for answers. */
static cs_status drain_once(csi_mpi_world *world, bool is_late)
{
    csi_mpi_entry *next = NULL;

    CS_TRY(csi_mpi_progress(world));
    for (csi_mpi_entry *entry = world->moving; entry != NULL; entry = next) {
        next = entry->next;
        if (!entry->is_send && (entry->is_stopped || is_late)) {
            cancel(&entry->parts[1]);
            cancel(&entry->parts[2]);
        }
        CS_TRY(csi_mpi_advance(world, entry));
    }
    (void)sched_yield();
    return CS_OK;
}

/* Until MPI holds no buffer, or no longer than a lost rank may keep it. */
void csi_mpi_drain(csi_mpi_world *world)
{
    const int64_t begin_ns =
        world->is_aborted ? world->aborted_ns : csi_clock_ns();
    bool is_late = false;
    cs_error error;

    cs_error_get(&error);
    while (world->moving != NULL && !is_late) {
        is_late = csi_clock_ns() - begin_ns > DRAIN_NS;
        if (drain_once(world, is_late) != CS_OK) {
            break;
        }
    }
    cs_error_set(&error);
}

/* What cannot be drained stays taken: MPI may still look at it. */
void csi_mpi_finish(csi_mpi_world *world, csi_mpi_entry *entry)
{
    if (entry->state == CSI_MPI_WANTED) {
        unlink_entry(&world->wanted, entry);
    } else if (entry->state == CSI_MPI_ARRIVED) {
        unlink_entry(&world->arrived, entry);
    } else if (entry->state == CSI_MPI_OFFERED) {
        unlink_entry(&world->offered, entry);
        entry->state = CSI_MPI_MOVING; /* its packet, at most */
        append(&world->moving, entry);
    }
    if (entry->state == CSI_MPI_MOVING) {
        csi_mpi_drain(world);
    }
    if (entry->state != CSI_MPI_MOVING) {
        release_entry(world, entry);
    }
}

/* Of one group, or of all. */
static void finish_entries(csi_mpi_world *world, const int64_t *group)
{
    for (csi_mpi_pool_block *block = world->blocks; block != NULL;
         block = block->next) {
        for (int32_t i = 0; i < CSI_MPI_POOL_BLOCK; i++) {
            csi_mpi_entry *const entry = &block->entries[i];

            if (entry->state != CSI_MPI_FREE &&
                entry->state != CSI_MPI_ANSWER &&
                (group == NULL || entry->packet.header.group == *group)) {
                csi_mpi_finish(world, entry);
            }
        }
    }
}

void csi_mpi_finish_group(csi_mpi_world *world, int64_t group)
{
    finish_entries(world, &group);
}

void csi_mpi_finish_all(csi_mpi_world *world)
{
    finish_entries(world, NULL);
    for (int64_t n_polls = 0; world->answers != NULL && n_polls < 2 * YIELDS;) {
        if (csi_mpi_progress(world) != CS_OK) {
            return;
        }
        csi_mpi_pause(&n_polls);
    }
}

/* ---- arriving ---- */

static cs_status post_ring(csi_mpi_world *world, int32_t at)
{
    CSI_MPI_TRY(MPI_Irecv(&world->ring[at], sizeof world->ring[at], MPI_BYTE,
                          MPI_ANY_SOURCE, TAG_PACKET, world->comm,
                          &world->ring_requests[at]),
                "MPI_Irecv");
    return CS_OK;
}

static csi_mpi_entry *find_serial(csi_mpi_entry *list, int32_t peer,
                                  int64_t serial, bool is_send)
{
    for (; list != NULL; list = list->next) {
        const int64_t own =
            is_send ? list->packet.header.serial : list->theirs.serial;

        if (list->peer == peer && list->is_send == is_send && own == serial) {
            return list;
        }
    }
    return NULL;
}

/* A send that is wanted starts, unless it has been given up. */
static cs_status take_go(csi_mpi_world *world, int32_t source,
                         const csi_mpi_header *header)
{
    csi_mpi_entry *const entry =
        find_serial(world->offered, source, header->serial, true);

    if (entry != NULL && (!world->is_aborted || has_few(header))) {
        unlink_entry(&world->offered, entry);
        entry->state = CSI_MPI_MOVING;
        append(&world->moving, entry);
        return has_few(header) ? CS_OK : send_payload(world, entry);
    }
    return has_few(header) ? CS_OK
                           : answer(world, source, CSI_MPI_STOP, header);
}

static cs_status take_packet(csi_mpi_world *world, int32_t source,
                             const csi_mpi_packet *packet)
{
    const csi_mpi_header *const header = &packet->header;
    csi_mpi_entry *entry = NULL;

    world->peers[source].heard_ns = csi_clock_ns();
    if (header->kind == CSI_MPI_GO) {
        return take_go(world, source, header);
    }
    if (header->kind == CSI_MPI_STOP) {
        entry = find_serial(world->moving, source, header->serial, false);
        if (entry != NULL) {
            entry->is_stopped = true;
        }
        return CS_OK;
    }
    if (world->is_aborted) {
        return CS_OK; /* nobody will want it */
    }
    entry = take_match(&world->wanted, source, header);
    if (entry != NULL) {
        return meet(world, entry, packet);
    }
    CS_TRY(take_entry(world, &entry));
    entry->state = CSI_MPI_ARRIVED;
    entry->peer = source;
    entry->packet.header = *header;
    if (has_few(header)) {
        memcpy(entry->packet.few, packet->few, (size_t)header->n_bytes);
    }
    append(&world->arrived, entry);
    return CS_OK;
}

cs_status csi_mpi_progress(csi_mpi_world *world)
{
    MPI_Status status;
    int done = 0;

    CSI_MPI_TRY(MPI_Test(&world->control_request, &done, &status), "MPI_Test");
    if (done != 0) {
        csi_mpi_take_control(world, status.MPI_SOURCE);
        CS_TRY(csi_mpi_post_control(world));
    }
    for (;;) {
        const int32_t at = world->ring_head;

        CSI_MPI_TRY(MPI_Test(&world->ring_requests[at], &done, &status),
                    "MPI_Test");
        if (done == 0) {
            return sweep_answers(world);
        }
        CS_TRY(take_packet(world, status.MPI_SOURCE, &world->ring[at]));
        CS_TRY(post_ring(world, at));
        world->ring_head = (at + 1) % CSI_MPI_RING;
    }
}

/* How many MPI tags payloads have: those under way to one rank must differ.
 * Every library in use has many more than the 32767 that MPI promises. */
static cs_status count_payload_tags(csi_mpi_world *world)
{
    int *limit = NULL;
    int found = 0;

    CSI_MPI_TRY(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &limit, &found),
                "MPI_Comm_get_attr");
    const int n = found != 0 ? *limit - TAG_PAYLOAD : 32767 - TAG_PAYLOAD;

    world->n_payload_tags = n < MAX_PAYLOAD_TAGS ? n : MAX_PAYLOAD_TAGS;
    return CS_OK;
}

cs_status csi_mpi_engine_start(csi_mpi_world *world)
{
    CS_TRY(count_payload_tags(world));
    for (int32_t i = 0; i < CSI_MPI_RING; i++) {
        CS_TRY(post_ring(world, i));
    }
    return csi_mpi_post_control(world);
}

void csi_mpi_engine_stop(csi_mpi_world *world)
{
    for (int32_t i = 0; i < CSI_MPI_RING; i++) {
        cancel(&world->ring_requests[i]);
    }
    cancel(&world->control_request);
}
