/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between rank threads. A message has two ends; the one posted first
 * waits in the mailbox of the receiving rank, the one posted second finds it
 * and copies. Ends are matched by (group, from, to, tag), oldest first.
 *
 *     POSTED --- match, by the second poster ---> COPYING ---> DONE
 *        \-- abort, timeout, destroy: unlinked and freed
 *
 * Entries come from a pool that only grows to the largest number ever in
 * flight: the steady state allocates nothing.
 */
#include "base/alloc.h"

#include "local.h"

#include <inttypes.h>
#include <string.h>

/* NULL when memory is out or too many messages are under way. */
static csi_entry *take_entry(csi_world *world)
{
    if (world->free_entries == NULL && world->n_blocks < CSI_POOL_MAX_BLOCKS) {
        csi_pool_block *const block = csi_calloc(1, sizeof *block);

        if (block == NULL) {
            return NULL;
        }
        block->next = world->blocks;
        world->blocks = block;
        world->n_blocks++;
        for (int32_t i = 0; i < CSI_POOL_BLOCK; i++) {
            block->entries[i].next = world->free_entries;
            world->free_entries = &block->entries[i];
        }
    }
    csi_entry *const entry = world->free_entries;

    if (entry != NULL) {
        world->free_entries = entry->next;
    }
    return entry;
}

static void release_entry(csi_world *world, csi_entry *entry)
{
    entry->next = world->free_entries;
    world->free_entries = entry;
}

static csi_entry **list_of(csi_world *world, const csi_entry *entry,
                           bool want_sends)
{
    csi_mailbox *const mailbox =
        &world->mailboxes[entry->group->members[entry->to]];

    return want_sends ? &mailbox->sends : &mailbox->receives;
}

static void append(csi_entry **list, csi_entry *entry)
{
    while (*list != NULL) {
        list = &(*list)->next;
    }
    entry->next = NULL;
    *list = entry;
}

static void unlink_entry(csi_entry **list, const csi_entry *entry)
{
    while (*list != NULL && *list != entry) {
        list = &(*list)->next;
    }
    if (*list != NULL) {
        *list = entry->next;
    }
}

/* Takes the oldest counterpart of `entry` out of its list; NULL if none. */
static csi_entry *take_counterpart(csi_world *world, const csi_entry *entry)
{
    csi_entry **list = list_of(world, entry, !entry->is_send);

    for (; *list != NULL; list = &(*list)->next) {
        csi_entry *const other = *list;

        if (other->group == entry->group && other->from == entry->from &&
            other->to == entry->to && other->tag == entry->tag) {
            *list = other->next;
            return other;
        }
    }
    return NULL;
}

/* World rank of the one who posted `entry`. */
static int32_t owner_of(const csi_entry *entry)
{
    return entry->group->members[entry->is_send ? entry->from : entry->to];
}

static void copy_message(csi_world *world, csi_entry *mine, csi_entry *other)
{
    const csi_entry *const send = mine->is_send ? mine : other;
    const csi_entry *const recv = mine->is_send ? other : mine;

    mine->state = CSI_ENTRY_COPYING;
    other->state = CSI_ENTRY_COPYING;
    world->n_busy++;
    csi_mutex_unlock(&world->mutex);
    if (send->n_bytes > 0) {
        memcpy(recv->target, send->source, send->n_bytes);
    }
    csi_mutex_lock(&world->mutex);
    mine->state = CSI_ENTRY_DONE;
    other->state = CSI_ENTRY_DONE;
    csi_cond_broadcast(&world->conds[owner_of(other)]);
    csi_local_end_busy(world);
}

static cs_status fail_sizes(csi_world *world, const csi_entry *mine,
                            const csi_entry *other)
{
    const csi_entry *const send = mine->is_send ? mine : other;
    const csi_entry *const recv = mine->is_send ? other : mine;
    const int32_t *const members = mine->group->members;

    return csi_local_abort_self(world, owner_of(mine),
                                CS_FAIL(CS_ERR_COMM,
                                        "message with tag %" PRId64
                                        ": rank %d sends %zu bytes, rank "
                                        "%d expects %zu",
                                        send->tag, members[send->from],
                                        send->n_bytes, members[send->to],
                                        recv->n_bytes));
}

static cs_status post_locked(csi_world *world, const csi_entry *wanted,
                             cs_request *request)
{
    if (world->is_aborted) {
        return csi_local_fail_aborted(world, owner_of(wanted));
    }
    csi_entry *const entry = take_entry(world);

    CS_CHECK(entry != NULL, CS_ERR_NOMEM,
             "no memory for one more message beside %d under way (at most %d)",
             world->n_blocks * CSI_POOL_BLOCK,
             CSI_POOL_MAX_BLOCKS * CSI_POOL_BLOCK);
    *entry = *wanted;
    csi_entry *const other = take_counterpart(world, entry);

    if (other == NULL) {
        append(list_of(world, entry, entry->is_send), entry);
    } else if (other->n_bytes != entry->n_bytes) {
        /* The other end stays: its owner withdraws it when it wakes. */
        append(list_of(world, other, other->is_send), other);
        const cs_status st = fail_sizes(world, entry, other);

        release_entry(world, entry);
        return st;
    } else {
        copy_message(world, entry, other);
    }
    request->state = entry;
    return CS_OK;
}

static cs_status post(const cs_comm *comm, const csi_entry *wanted,
                      cs_request *request)
{
    csi_world *const world = csi_local_group(comm)->world;

    request->state = NULL;
    csi_mutex_lock(&world->mutex);
    const cs_status st = post_locked(world, wanted, request);

    csi_mutex_unlock(&world->mutex);
    return st;
}

cs_status csi_local_send(cs_comm *comm, int32_t to, int64_t tag,
                         const void *data, size_t n_bytes, cs_request *request)
{
    const csi_entry wanted = {.group = csi_local_group(comm),
                              .from = comm->rank,
                              .to = to,
                              .tag = tag,
                              .source = data,
                              .n_bytes = n_bytes,
                              .is_send = true};

    CS_TRY(post(comm, &wanted, request));
    return CS_OK;
}

cs_status csi_local_recv(cs_comm *comm, int32_t from, int64_t tag, void *data,
                         size_t n_bytes, cs_request *request)
{
    const csi_entry wanted = {.group = csi_local_group(comm),
                              .from = from,
                              .to = comm->rank,
                              .tag = tag,
                              .target = data,
                              .n_bytes = n_bytes,
                              .is_send = false};

    CS_TRY(post(comm, &wanted, request));
    return CS_OK;
}

/* Ends the life of a request whose entry is POSTED or DONE. */
static void finish(csi_world *world, cs_request *request)
{
    csi_entry *const entry = request->state;

    if (entry->state == CSI_ENTRY_POSTED) {
        unlink_entry(list_of(world, entry, entry->is_send), entry);
    }
    release_entry(world, entry);
    request->state = NULL;
}

cs_status csi_local_test(cs_comm *comm, cs_request *request, bool *done)
{
    csi_world *const world = csi_local_group(comm)->world;
    const csi_entry *const entry = request->state;
    cs_status st = CS_OK;

    csi_mutex_lock(&world->mutex);
    if (world->is_aborted && entry->state != CSI_ENTRY_DONE) {
        st = csi_local_fail_aborted(world, csi_local_world_rank(comm));
    }
    /* The abort may have let a copy end: then the message is there. */
    const bool is_done = entry->state == CSI_ENTRY_DONE;

    if (is_done || st != CS_OK) {
        finish(world, request);
    }
    csi_mutex_unlock(&world->mutex);
    if (is_done) {
        st = CS_OK;
    }
    if (st == CS_OK) {
        *done = is_done;
    }
    return st;
}

static cs_status fail_late(cs_comm *comm, const csi_entry *entry)
{
    const int32_t *const members = entry->group->members;
    csi_world *const world = entry->group->world;
    const int32_t rank = owner_of(entry);

    return csi_local_abort_self(
        world, rank,
        CS_FAIL(CS_ERR_COMM,
                "rank %d waited %g s %s rank %d (tag %" PRId64 ", %zu bytes)",
                rank, comm->timeout_s,
                entry->is_send ? "to send a message to" : "for a message from",
                members[entry->is_send ? entry->to : entry->from], entry->tag,
                entry->n_bytes));
}

static cs_status wait_locked(cs_comm *comm, const csi_entry *entry)
{
    csi_world *const world = entry->group->world;
    const int32_t rank = csi_local_world_rank(comm);
    const int64_t deadline_ns = csi_local_deadline_ns(comm);
    bool in_time = true;

    while (entry->state != CSI_ENTRY_DONE) {
        if (entry->state == CSI_ENTRY_POSTED && world->is_aborted) {
            return csi_local_fail_aborted(world, rank);
        }
        if (entry->state == CSI_ENTRY_POSTED && !in_time) {
            return fail_late(comm, entry);
        }
        /* A copy under way ends soon, whatever the deadline says. */
        in_time = csi_cond_wait_until(&world->conds[rank], &world->mutex,
                                      in_time ? deadline_ns
                                              : csi_local_deadline_ns(comm));
    }
    return CS_OK;
}

cs_status csi_local_wait(cs_comm *comm, cs_request *request)
{
    csi_world *const world = csi_local_group(comm)->world;

    csi_mutex_lock(&world->mutex);
    const cs_status st = wait_locked(comm, request->state);

    finish(world, request);
    csi_mutex_unlock(&world->mutex);
    return st;
}

static void cancel_in(csi_world *world, csi_entry **list, const cs_comm *comm)
{
    while (*list != NULL) {
        csi_entry *const entry = *list;
        const int32_t poster = entry->is_send ? entry->from : entry->to;

        if (entry->group == csi_local_group(comm) && poster == comm->rank) {
            *list = entry->next;
            release_entry(world, entry);
        } else {
            list = &entry->next;
        }
    }
}

void csi_local_cancel(const cs_comm *comm)
{
    csi_world *const world = csi_local_group(comm)->world;

    for (int32_t rank = 0; rank < world->n_ranks; rank++) {
        cancel_in(world, &world->mailboxes[rank].sends, comm);
        cancel_in(world, &world->mailboxes[rank].receives, comm);
    }
}
