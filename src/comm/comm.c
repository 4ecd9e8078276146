/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doors of a communicator: arguments are checked and bytes are counted
 * here once, so that a provider only moves data. Agreement is built on sums
 * and one broadcast, so that every provider has it and it allocates nothing.
 */
#include "cornstarch/comm.h"

#include <inttypes.h>
#include <string.h>

#define CHECK_SLOT(comm, slot)                               \
    CS_CHECK((comm)->ops->slot != NULL, CS_ERR_UNSUPPORTED,  \
             "unsupported: communicator '%s' has no " #slot, \
             (comm)->ops->name)

void cs_comm_destroy(cs_comm **comm)
{
    if (comm != NULL && *comm != NULL) {
        (*comm)->ops->destroy(*comm);
        *comm = NULL;
    }
}

cs_status cs_comm_split(cs_comm *comm, int32_t color, int32_t key,
                        cs_comm **out)
{
    CHECK_SLOT(comm, split);
    CS_TRY(comm->ops->split(comm, color, key, out));
    return CS_OK;
}

cs_status cs_comm_barrier(cs_comm *comm)
{
    CHECK_SLOT(comm, barrier);
    CS_TRY(comm->ops->barrier(comm));
    return CS_OK;
}

cs_status cs_comm_broadcast(cs_comm *comm, void *data, size_t n_bytes,
                            int32_t root)
{
    CHECK_SLOT(comm, broadcast);
    CS_CHECK(root >= 0 && root < comm->n_ranks, CS_ERR_ARG,
             "broadcast: root %d is no rank of %d", root, comm->n_ranks);
    CS_TRY(comm->ops->broadcast(comm, data, n_bytes, root));
    if (root == comm->rank) {
        comm->bytes_sent += (int64_t)n_bytes;
    }
    return CS_OK;
}

cs_status cs_comm_all_reduce(cs_comm *comm, void *data, int64_t count,
                             cs_dtype dtype)
{
    CHECK_SLOT(comm, all_reduce);
    CS_CHECK(dtype == CS_F32 || dtype == CS_F64, CS_ERR_DTYPE,
             "all_reduce sums f32 or f64, got %s", cs_dtype_name(dtype));
    CS_CHECK(count >= 0, CS_ERR_ARG, "all_reduce of %" PRId64 " values", count);
    CS_TRY(comm->ops->all_reduce(comm, data, count, dtype));
    comm->bytes_sent += count * (int64_t)cs_dtype_bytes(dtype);
    return CS_OK;
}

cs_status cs_comm_all_gather(cs_comm *comm, const void *data, size_t n_bytes,
                             void *out)
{
    CHECK_SLOT(comm, all_gather);
    CS_TRY(comm->ops->all_gather(comm, data, n_bytes, out));
    comm->bytes_sent += (int64_t)n_bytes;
    return CS_OK;
}

cs_status cs_comm_send(cs_comm *comm, int32_t to, int64_t tag, const void *data,
                       size_t n_bytes, cs_request *request)
{
    CHECK_SLOT(comm, send);
    CS_CHECK(to >= 0 && to < comm->n_ranks, CS_ERR_ARG,
             "send: %d is no rank of %d", to, comm->n_ranks);
    CS_TRY(comm->ops->send(comm, to, tag, data, n_bytes, request));
    comm->bytes_sent += (int64_t)n_bytes;
    return CS_OK;
}

cs_status cs_comm_recv(cs_comm *comm, int32_t from, int64_t tag, void *data,
                       size_t n_bytes, cs_request *request)
{
    CHECK_SLOT(comm, recv);
    CS_CHECK(from >= 0 && from < comm->n_ranks, CS_ERR_ARG,
             "recv: %d is no rank of %d", from, comm->n_ranks);
    CS_TRY(comm->ops->recv(comm, from, tag, data, n_bytes, request));
    return CS_OK;
}

cs_status cs_comm_test(cs_comm *comm, cs_request *request, bool *done)
{
    if (request->state == NULL) {
        *done = true;
        return CS_OK;
    }
    CHECK_SLOT(comm, test);
    CS_TRY(comm->ops->test(comm, request, done));
    return CS_OK;
}

cs_status cs_comm_wait(cs_comm *comm, cs_request *request)
{
    if (request->state == NULL) {
        return CS_OK;
    }
    CHECK_SLOT(comm, wait);
    CS_TRY(comm->ops->wait(comm, request));
    return CS_OK;
}

void cs_comm_set_peer_timeout(cs_comm *comm, double seconds)
{
    if (comm->ops->set_peer_timeout != NULL) {
        comm->ops->set_peer_timeout(comm, seconds);
    }
}

void cs_comm_abort(cs_comm *comm)
{
    cs_error error;

    cs_error_get(&error);
    comm->ops->abort(comm, &error);
}

bool cs_comm_is_aborted(cs_comm *comm)
{
    return comm->ops->is_aborted(comm);
}

/* What travels of an error: no frames, which point into one process. */
typedef struct agreed_error {
    cs_status status;
    int32_t rank;
    char message[CS_ERROR_MESSAGE_BYTES];
} agreed_error;

/* Lowest rank whose `failed` is true; at least one rank must have failed.
 * Bisection: every rank counts the failures below the middle alike. */
static cs_status find_lowest_failing(cs_comm *comm, bool failed, int32_t *out)
{
    int32_t begin = 0;
    int32_t end = comm->n_ranks;

    while (end - begin > 1) {
        const int32_t middle = begin + (end - begin) / 2;
        const bool is_below = comm->rank >= begin && comm->rank < middle;
        double n_failed = failed && is_below ? 1.0 : 0.0;

        CS_TRY(cs_comm_all_reduce(comm, &n_failed, 1, CS_F64));
        if (n_failed > 0.0) {
            end = middle;
        } else {
            begin = middle;
        }
    }
    *out = begin;
    return CS_OK;
}

cs_status cs_comm_agree(cs_comm *comm, cs_status status)
{
    const bool has_cause = status != CS_OK && status != CS_ERR_PEER;
    /* Failures that explain themselves, and all failures. */
    double counts[2] = {has_cause ? 1.0 : 0.0, status != CS_OK ? 1.0 : 0.0};
    cs_error own;
    int32_t origin = 0;

    cs_error_get(&own);
    CS_TRY(cs_comm_all_reduce(comm, counts, 2, CS_F64));
    if (counts[1] == 0.0) {
        return CS_OK;
    }
    CS_TRY(find_lowest_failing(comm,
                               counts[0] > 0.0 ? has_cause : status != CS_OK,
                               &origin));
    agreed_error agreed = {.status = status, .rank = own.rank};

    memcpy(agreed.message, own.message, sizeof agreed.message);
    CS_TRY(cs_comm_broadcast(comm, &agreed, sizeof agreed, origin));
    if (origin != comm->rank) {
        own = (cs_error){.status = agreed.status, .rank = agreed.rank};
        memcpy(own.message, agreed.message, sizeof own.message);
    }
    cs_error_set(&own);
    return cs_pass_at(__FILE__, __LINE__, __func__, agreed.status);
}
