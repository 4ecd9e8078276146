/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks as threads: messages, collectives, splits, agreement, and what happens
 * when a rank fails, is late or goes away. Bodies run in rank threads and
 * return statuses; only the main thread asserts.
 */
#include "cornstarch/comm.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"

#include "support/test.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

enum {
    SEED = 7,
    PATIENCE_S = 20
};

static cs_status run(int32_t n_ranks, cs_rank_fn body, void *arg)
{
    return cs_comm_local_run(n_ranks, PATIENCE_S, body, arg);
}

static cs_status run_hasty(int32_t n_ranks, cs_rank_fn body, void *arg)
{
    return cs_comm_local_run(n_ranks, 0.05, body, arg);
}

/* --- messages --------------------------------------------------------- */

static cs_status send_now(cs_comm *comm, int32_t to, int64_t tag,
                          const void *data, size_t n_bytes)
{
    cs_request request = {0};

    CS_TRY(cs_comm_send(comm, to, tag, data, n_bytes, &request));
    CS_TRY(cs_comm_wait(comm, &request));
    return CS_OK;
}

static cs_status recv_now(cs_comm *comm, int32_t from, int64_t tag, void *data,
                          size_t n_bytes)
{
    cs_request request = {0};

    CS_TRY(cs_comm_recv(comm, from, tag, data, n_bytes, &request));
    CS_TRY(cs_comm_wait(comm, &request));
    return CS_OK;
}

static cs_status pass_a_ring(cs_comm *comm, void *arg)
{
    const int32_t n = comm->n_ranks;
    int64_t token = comm->rank;
    int64_t got = -1;
    cs_request out = {0};

    (void)arg;
    CS_TRY(cs_comm_send(comm, (comm->rank + 1) % n, 5, &token, sizeof token,
                        &out));
    CS_TRY(recv_now(comm, (comm->rank + n - 1) % n, 5, &got, sizeof got));
    CS_TRY(cs_comm_wait(comm, &out));
    CS_CHECK(got == (comm->rank + n - 1) % n, CS_ERR_INTERNAL,
             "rank %d got %" PRId64, comm->rank, got);
    CS_CHECK(comm->bytes_sent == (int64_t)sizeof token, CS_ERR_INTERNAL,
             "sent %" PRId64 " bytes", comm->bytes_sent);
    return CS_OK;
}

static void messages_arrive_where_they_are_sent(void **state)
{
    (void)state;
    assert_ok(run(1, pass_a_ring, NULL));
    assert_ok(run(2, pass_a_ring, NULL));
    assert_ok(run(5, pass_a_ring, NULL));
}

/* Rank 0 posts tags 0, 1, 1, 2; rank 1 takes 2, 1, 1, 0. */
static cs_status mix_tags(cs_comm *comm, void *arg)
{
    static const int64_t SENT[] = {0, 1, 1, 2};
    static const int64_t TAKEN[] = {2, 1, 1, 0};
    static const int32_t WANTED[] = {3, 1, 2, 0};
    int32_t values[4] = {0, 1, 2, 3};
    cs_request requests[4] = {{0}};

    (void)arg;
    for (int i = 0; i < 4; i++) {
        if (comm->rank == 0) {
            CS_TRY(cs_comm_send(comm, 1, SENT[i], &values[i], sizeof values[i],
                                &requests[i]));
        } else {
            CS_TRY(cs_comm_recv(comm, 0, TAKEN[i], &values[i], sizeof values[i],
                                &requests[i]));
        }
    }
    for (int i = 3; i >= 0; i--) {
        CS_TRY(cs_comm_wait(comm, &requests[i]));
    }
    for (int i = 0; i < 4 && comm->rank == 1; i++) {
        CS_CHECK(values[i] == WANTED[i], CS_ERR_INTERNAL,
                 "message %d has value %d, wanted %d", i, values[i], WANTED[i]);
    }
    return CS_OK;
}

static void tags_match_and_equal_tags_keep_their_order(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_ok(run(2, mix_tags, NULL));
    }
}

enum {
    STRESS_MESSAGES = 400,
    STRESS_RANKS = 5,
    STRESS_MAX_VALUES = 300
};

/* Message i goes from a to b with a tag and a length that all can compute. */
typedef struct stress_message {
    int32_t from, to;
    int64_t tag;
    int64_t n_values;
} stress_message;

static stress_message stress_at(int64_t round, int64_t i)
{
    const uint64_t at = (uint64_t)(round * STRESS_MESSAGES + i) * 4;

    return (stress_message){
        .from = (int32_t)csi_rng_below(SEED, 0, at, STRESS_RANKS),
        .to = (int32_t)csi_rng_below(SEED, 0, at + 1, STRESS_RANKS),
        .tag = (int64_t)csi_rng_below(SEED, 0, at + 2, 3) - 1,
        .n_values = (int64_t)csi_rng_below(SEED, 0, at + 3, STRESS_MAX_VALUES),
    };
}

typedef struct stress_state {
    cs_request *requests; /* owned */
    int32_t *values;      /* owned */
} stress_state;

static cs_status post_stress(cs_comm *comm, int64_t round, stress_state *s,
                             bool sends)
{
    for (int64_t i = 0; i < STRESS_MESSAGES; i++) {
        const stress_message m = stress_at(round, i);
        const size_t n_bytes = (size_t)m.n_values * sizeof(int32_t);
        int32_t *const at =
            s->values + (sends ? i : i + STRESS_MESSAGES) * STRESS_MAX_VALUES;
        cs_request *const request =
            &s->requests[sends ? i : i + STRESS_MESSAGES];

        for (int64_t k = 0; k < m.n_values; k++) {
            at[k] = sends ? (int32_t)(round * 7919 + i * 31 + k) : -1;
        }
        if (sends && m.from == comm->rank) {
            CS_TRY(cs_comm_send(comm, m.to, m.tag, at, n_bytes, request));
        } else if (!sends && m.to == comm->rank) {
            CS_TRY(cs_comm_recv(comm, m.from, m.tag, at, n_bytes, request));
        }
    }
    return CS_OK;
}

static cs_status finish_stress(cs_comm *comm, int64_t round, stress_state *s)
{
    for (int64_t i = 0; i < 2 * STRESS_MESSAGES; i++) {
        bool done = false;

        if (i % 3 == 0) {
            CS_TRY(cs_comm_test(comm, &s->requests[i], &done));
        }
        CS_TRY(cs_comm_wait(comm, &s->requests[i]));
    }
    for (int64_t i = 0; i < STRESS_MESSAGES; i++) {
        const stress_message m = stress_at(round, i);
        const int32_t *const got =
            s->values + (i + STRESS_MESSAGES) * STRESS_MAX_VALUES;

        for (int64_t k = 0; m.to == comm->rank && k < m.n_values; k++) {
            CS_CHECK(got[k] == (int32_t)(round * 7919 + i * 31 + k),
                     CS_ERR_INTERNAL,
                     "round %" PRId64 " message %" PRId64 " value %" PRId64
                     " is %d",
                     round, i, k, got[k]);
        }
    }
    return CS_OK;
}

static cs_status stress_rounds(cs_comm *comm, stress_state *s)
{
    for (int64_t round = 0; round < 6; round++) {
        const bool sends_first = (comm->rank + round) % 2 == 0;

        CS_TRY(post_stress(comm, round, s, sends_first));
        CS_TRY(post_stress(comm, round, s, !sends_first));
        CS_TRY(finish_stress(comm, round, s));
    }
    return CS_OK;
}

static cs_status stress(cs_comm *comm, void *arg)
{
    stress_state s = {
        .requests = csi_calloc(2 * STRESS_MESSAGES, sizeof(cs_request)),
        .values = csi_calloc((size_t)2 * STRESS_MESSAGES * STRESS_MAX_VALUES,
                             sizeof(int32_t)),
    };
    cs_status st = CS_ERR_NOMEM;

    (void)arg;
    if (s.requests != NULL && s.values != NULL) {
        st = stress_rounds(comm, &s);
    }
    csi_free(s.requests);
    csi_free(s.values);
    return st;
}

static void random_messages_all_arrive_whole(void **state)
{
    (void)state;
    assert_ok(run(STRESS_RANKS, stress, NULL));
}

static cs_status disagree_on_size(cs_comm *comm, void *arg)
{
    char data[16] = {0};

    (void)arg;
    if (comm->rank == 0) {
        return send_now(comm, 1, 3, data, 16);
    }
    return recv_now(comm, 0, 3, data, 8);
}

static void sizes_that_differ_are_refused(void **state)
{
    (void)state;
    assert_fails(run(2, disagree_on_size, NULL), CS_ERR_COMM,
                 "message with tag 3: rank 0 sends 16 bytes, rank 1 expects 8");
}

static cs_status talk_to_nobody(cs_comm *comm, void *arg)
{
    (void)arg;
    return send_now(comm, comm->n_ranks, 0, NULL, 0);
}

static void ranks_outside_the_world_are_refused(void **state)
{
    (void)state;
    assert_fails(run(2, talk_to_nobody, NULL), CS_ERR_ARG, "2 is no rank of 2");
}

/* --- late and lost ranks ---------------------------------------------- */

static cs_status wait_in_vain(cs_comm *comm, void *arg)
{
    char data[4];

    (void)arg;
    return comm->rank == 1 ? recv_now(comm, 0, 42, data, sizeof data) : CS_OK;
}

static void a_late_message_names_ranks_tag_and_seconds(void **state)
{
    (void)state;
    assert_fails(run_hasty(2, wait_in_vain, NULL), CS_ERR_COMM,
                 "rank 1 waited 0.05 s for a message from rank 0 (tag 42, 4 "
                 "bytes)");
}

static cs_status miss_the_barrier(cs_comm *comm, void *arg)
{
    (void)arg;
    return comm->rank == 2 ? CS_OK : cs_comm_barrier(comm);
}

static void a_missing_rank_ends_a_collective(void **state)
{
    (void)state;
    assert_fails(run_hasty(3, miss_the_barrier, NULL), CS_ERR_COMM,
                 "in barrier: 2 of 3 ranks arrived");
}

static cs_status call_different_collectives(cs_comm *comm, void *arg)
{
    double value = 0.0;

    (void)arg;
    return comm->rank == 0 ? cs_comm_barrier(comm)
                           : cs_comm_all_reduce(comm, &value, 1, CS_F64);
}

static void different_collectives_are_refused(void **state)
{
    (void)state;
    assert_fails(run(2, call_different_collectives, NULL), CS_ERR_COMM,
                 "all_reduce of f64");
    assert_contains(cs_error_message(), "barrier");
}

typedef struct abort_report {
    atomic_int n_peer;
    char sentence[8][128];
} abort_report;

/* Rank 3 fails; the others wait in four different ways. Those in a collective
 * are in the same one: a mismatch would be an error of its own. */
static cs_status fail_or_wait(cs_comm *comm, void *arg)
{
    abort_report *const report = arg;
    char data[8] = {0};
    double value = 1.0;
    cs_status st = CS_OK;
    bool done = false;
    cs_request request = {0};

    if (comm->rank == 3) {
        return CS_FAIL(CS_ERR_NUMERIC, "loss is nan");
    }
    switch (comm->rank) {
    case 0:
        st = recv_now(comm, 1, 9, data, sizeof data);
        break;
    case 1:
        st = send_now(comm, 2, 8, data, sizeof data);
        break;
    case 4:
        st = cs_comm_recv(comm, 0, 1, data, sizeof data, &request);
        while (st == CS_OK && !done) {
            csi_sleep_ns(100000);
            st = cs_comm_test(comm, &request, &done);
        }
        break;
    default:
        st = cs_comm_all_reduce(comm, &value, 1, CS_F64);
        break;
    }
    if (st == CS_ERR_PEER && request.state == NULL) {
        atomic_fetch_add(&report->n_peer, 1);
    }
    (void)snprintf(report->sentence[comm->rank], 128, "%s", cs_error_message());
    return st;
}

static void an_abort_wakes_everybody_with_the_sentence(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        abort_report report = {0};

        assert_fails(run(6, fail_or_wait, &report), CS_ERR_NUMERIC,
                     "loss is nan");
        assert_int_equal(atomic_load(&report.n_peer), 5);
        for (int32_t r = 0; r < 6; r++) {
            if (r != 3) {
                assert_string_equal(report.sentence[r], "rank 3: loss is nan");
            }
        }
    }
}

static cs_status fail_with_messages_under_way(cs_comm *comm, void *arg)
{
    enum {
        N = 40,
        BYTES = 1 << 16
    };
    char *const data = csi_calloc(2 * N, BYTES);
    cs_request requests[2 * N] = {{0}};
    cs_status st = CS_OK;

    (void)arg;
    for (int i = 0; i < N && st == CS_OK; i++) {
        const int32_t peer = (comm->rank + i) % comm->n_ranks;

        st = cs_comm_send(comm, peer, i, data + (size_t)2 * (size_t)i * BYTES,
                          BYTES, &requests[2 * i]);
        if (st == CS_OK) {
            st = cs_comm_recv(comm, peer, i,
                              data + ((size_t)2 * (size_t)i + 1) * BYTES, BYTES,
                              &requests[2 * i + 1]);
        }
        if (st == CS_OK && comm->rank == 1 && i == N / 2) {
            st = CS_FAIL(CS_ERR_IO, "disk is full");
            cs_comm_abort(comm);
        }
    }
    for (int i = 0; i < 2 * N && st == CS_OK; i++) {
        st = cs_comm_wait(comm, &requests[i]);
    }
    /* Most messages are still posted or being copied by other ranks: after
     * the first failure nobody may touch these buffers. */
    csi_free(data);
    return st;
}

static void buffers_may_be_freed_after_an_abort(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        assert_fails(run(4, fail_with_messages_under_way, NULL), CS_ERR_IO,
                     "disk is full");
    }
}

/* --- collectives ------------------------------------------------------ */

enum {
    MAX_RANKS = 7,
    N_VALUES = 3001
};

typedef struct sums {
    float f32[MAX_RANKS][N_VALUES];
    double f64[MAX_RANKS][N_VALUES];
} sums;

static float value_f32(int32_t rank, int64_t i)
{
    return (float)csi_rng_normal(SEED, (uint64_t)rank, (uint64_t)i);
}

static cs_status reduce_both(cs_comm *comm, void *arg)
{
    sums *const s = arg;
    float *const f32 = s->f32[comm->rank];
    double *const f64 = s->f64[comm->rank];

    for (int64_t i = 0; i < N_VALUES; i++) {
        f32[i] = value_f32(comm->rank, i);
        f64[i] = csi_rng_normal(SEED + 1, (uint64_t)comm->rank, (uint64_t)i);
    }
    CS_TRY(cs_comm_all_reduce(comm, f32, N_VALUES, CS_F32));
    CS_TRY(cs_comm_all_reduce(comm, f64, N_VALUES, CS_F64));
    CS_TRY(cs_comm_all_reduce(comm, f64, 0, CS_F64));
    return CS_OK;
}

static void sums_are_in_rank_order_bit_for_bit(void **state)
{
    sums *const s = csi_calloc(1, sizeof *s);

    (void)state;
    for (int32_t n = 1; n <= MAX_RANKS; n++) {
        assert_ok(run(n, reduce_both, s));
        for (int64_t i = 0; i < N_VALUES; i++) {
            float f32 = value_f32(0, i);
            double f64 = csi_rng_normal(SEED + 1, 0, (uint64_t)i);

            for (int32_t r = 1; r < n; r++) {
                f32 += value_f32(r, i);
                f64 += csi_rng_normal(SEED + 1, (uint64_t)r, (uint64_t)i);
            }
            for (int32_t r = 0; r < n; r++) {
                assert_memory_equal(&s->f32[r][i], &f32, sizeof f32);
                assert_memory_equal(&s->f64[r][i], &f64, sizeof f64);
            }
        }
    }
    csi_free(s);
}

static cs_status reduce_integers(cs_comm *comm, void *arg)
{
    int64_t value = 1;

    (void)arg;
    return cs_comm_all_reduce(comm, &value, 1, CS_I64);
}

static void only_floats_are_summed(void **state)
{
    (void)state;
    assert_fails(run(2, reduce_integers, NULL), CS_ERR_DTYPE, "got i64");
}

static cs_status gather_and_broadcast(cs_comm *comm, void *arg)
{
    int32_t all[MAX_RANKS] = {0};
    int32_t mine = comm->rank * 10;
    int64_t big[100];

    (void)arg;
    CS_TRY(cs_comm_all_gather(comm, &mine, sizeof mine, all));
    for (int32_t r = 0; r < comm->n_ranks; r++) {
        CS_CHECK(all[r] == r * 10, CS_ERR_INTERNAL, "gathered %d", all[r]);
    }
    all[comm->rank] = comm->rank + 1;
    CS_TRY(cs_comm_all_gather(comm, &all[comm->rank], sizeof mine, all));
    for (int32_t r = 0; r < comm->n_ranks; r++) {
        CS_CHECK(all[r] == r + 1, CS_ERR_INTERNAL, "gathered %d", all[r]);
    }
    for (int32_t root = 0; root < comm->n_ranks; root++) {
        for (int i = 0; i < 100; i++) {
            big[i] = comm->rank * 1000 + i;
        }
        CS_TRY(cs_comm_broadcast(comm, big, sizeof big, root));
        for (int i = 0; i < 100; i++) {
            CS_CHECK(big[i] == root * 1000 + i, CS_ERR_INTERNAL,
                     "broadcast gave %" PRId64, big[i]);
        }
        CS_TRY(cs_comm_barrier(comm));
    }
    return CS_OK;
}

static void gather_and_broadcast_reach_every_rank(void **state)
{
    (void)state;
    for (int32_t n = 1; n <= MAX_RANKS; n++) {
        assert_ok(run(n, gather_and_broadcast, NULL));
    }
}

/* --- split ------------------------------------------------------------ */

static cs_status talk_in_halves(cs_comm *comm, cs_comm *half)
{
    double sum = comm->rank;
    double wanted = 0.0;
    int32_t got = -1;
    const int32_t mine = comm->rank;
    const int32_t peer = half->n_ranks - 1 - half->rank;
    cs_request request = {0};

    for (int32_t r = comm->rank % 2; r < comm->n_ranks; r += 2) {
        wanted += r;
    }
    /* The same tag in both halves, and half ranks against the world's order. */
    CS_TRY(cs_comm_send(half, peer, 1, &mine, sizeof mine, &request));
    CS_TRY(recv_now(half, peer, 1, &got, sizeof got));
    CS_TRY(cs_comm_wait(half, &request));
    CS_TRY(cs_comm_all_reduce(half, &sum, 1, CS_F64));
    CS_CHECK(sum == wanted && got % 2 == comm->rank % 2, CS_ERR_INTERNAL,
             "half of rank %d sums to %g and hears rank %d", comm->rank, sum,
             got);
    return CS_OK;
}

static cs_status split_in_two(cs_comm *comm, void *arg)
{
    cs_comm *half = NULL;

    (void)arg;
    CS_TRY(cs_comm_split(comm, comm->rank % 2, -comm->rank, &half));
    const int32_t n_below = (comm->n_ranks - 1 - comm->rank) / 2;
    cs_status st = CS_OK;

    if (half->rank != n_below) {
        st = CS_FAIL(CS_ERR_INTERNAL, "rank %d is rank %d of its half",
                     comm->rank, half->rank);
    } else {
        st = talk_in_halves(comm, half);
    }
    cs_comm_destroy(&half);
    return st;
}

static void a_split_orders_by_key_and_keeps_messages_apart(void **state)
{
    (void)state;
    for (int32_t n = 2; n <= MAX_RANKS; n++) {
        assert_ok(run(n, split_in_two, NULL));
    }
}

/* A half outlives the communicators that it was made from. */
static void a_world_lives_as_long_as_its_last_communicator(void **state)
{
    cs_comm *world[1] = {NULL};
    cs_comm *part = NULL;

    (void)state;
    assert_ok(cs_comm_local_create(1, PATIENCE_S, world));
    assert_ok(cs_comm_split(world[0], 0, 0, &part));
    cs_comm_destroy(&world[0]);
    assert_null(world[0]);
    assert_ok(cs_comm_barrier(part));
    cs_comm_destroy(&part);
    cs_comm_destroy(&part);
    cs_comm_destroy(NULL);
}

/* --- agreement -------------------------------------------------------- */

typedef struct wish {
    uint32_t failing; /* bit r: rank r fails */
    uint32_t peers;   /* bit r: with PEER */
    int32_t lowest;
    cs_status wanted;
} wish;

static cs_status agree(cs_comm *comm, void *arg)
{
    const wish *const w = arg;
    cs_status mine = CS_OK;
    char sentence[64];

    if ((w->peers >> comm->rank & 1U) != 0) {
        mine = CS_FAIL(CS_ERR_PEER, "cause %d", comm->rank);
    } else if ((w->failing >> comm->rank & 1U) != 0) {
        mine = CS_FAIL(comm->rank % 2 == 0 ? CS_ERR_FORMAT : CS_ERR_IO,
                       "cause %d", comm->rank);
    }
    const cs_status st = cs_comm_agree(comm, mine);

    (void)snprintf(sentence, sizeof sentence, "cause %d", w->lowest);
    const bool same_sentence =
        st == CS_OK || strcmp(cs_error_message(), sentence) == 0;

    /* Anything but an agreed answer is a failure that the test sees. */
    CS_CHECK(st == w->wanted && same_sentence, CS_ERR_INTERNAL,
             "rank %d agreed on %s: %s", comm->rank, cs_status_name(st),
             cs_error_message());
    return CS_OK;
}

static void agreement_gives_all_the_lowest_ranks_sentence(void **state)
{
    enum {
        N = 6
    };

    (void)state;
    for (uint32_t failing = 0; failing < 1U << N; failing++) {
        wish w = {.failing = failing, .wanted = CS_OK};

        if (failing != 0) {
            w.lowest = __builtin_ctz(failing);
            w.wanted = w.lowest % 2 == 0 ? CS_ERR_FORMAT : CS_ERR_IO;
        }
        assert_ok(run(N, agree, &w));
    }
}

static void a_lost_peer_is_nobodys_cause(void **state)
{
    (void)state;
    assert_ok(run(4, agree,
                  &(wish){.failing = 0x9,
                          .peers = 0x1,
                          .lowest = 3,
                          .wanted = CS_ERR_IO}));
    assert_ok(run(4, agree,
                  &(wish){.failing = 0x6,
                          .peers = 0x6,
                          .lowest = 1,
                          .wanted = CS_ERR_PEER}));
}

/* --- running, memory -------------------------------------------------- */

static cs_status fail_on_two(cs_comm *comm, void *arg)
{
    (void)arg;
    if (comm->rank == 0) {
        return cs_comm_barrier(comm);
    }
    CS_CHECK(comm->rank != 2, CS_ERR_SHAPE, "bad shape on %d", cs_error_rank());
    return CS_OK;
}

static void a_run_returns_the_cause_not_its_echo(void **state)
{
    cs_error error;

    (void)state;
    assert_fails(run(3, fail_on_two, NULL), CS_ERR_SHAPE, "bad shape on 2");
    cs_error_get(&error);
    assert_int_equal(error.rank, 2);
    assert_fails(run(0, fail_on_two, NULL), CS_ERR_ARG, "0 ranks");
    assert_fails(cs_comm_local_run(2, 0.0, fail_on_two, NULL), CS_ERR_ARG,
                 "timeout");
}

static cs_status repeat_step(cs_comm *comm, void *arg)
{
    int64_t *const n_allocations = arg;
    double value = 1.0;

    for (int i = 0; i < 30; i++) {
        if (i == 10 && comm->rank == 0) {
            n_allocations[0] = csi_alloc_count();
        }
        CS_TRY(cs_comm_barrier(comm));
        comm->bytes_sent = 0;
        CS_TRY(pass_a_ring(comm, NULL));
        CS_TRY(cs_comm_all_reduce(comm, &value, 1, CS_F64));
        CS_TRY(cs_comm_agree(comm, CS_OK));
    }
    if (comm->rank == 0) {
        n_allocations[1] = csi_alloc_count();
    }
    return CS_OK;
}

static void the_steady_state_allocates_nothing(void **state)
{
    int64_t n_allocations[2] = {0, -1};

    (void)state;
    assert_ok(run(4, repeat_step, n_allocations));
    assert_int_equal(n_allocations[0], n_allocations[1]);
}

static cs_status tortured_body(void *arg)
{
    (void)arg;
    CS_TRY(cs_comm_local_run(3, PATIENCE_S, split_in_two, NULL));
    return CS_OK;
}

static void every_failing_allocation_is_survived(void **state)
{
    (void)state;
    (void)cst_torture(tortured_body, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(messages_arrive_where_they_are_sent),
        CST_TEST(tags_match_and_equal_tags_keep_their_order),
        CST_TEST(random_messages_all_arrive_whole),
        CST_TEST(sizes_that_differ_are_refused),
        CST_TEST(ranks_outside_the_world_are_refused),
        CST_TEST(a_late_message_names_ranks_tag_and_seconds),
        CST_TEST(a_missing_rank_ends_a_collective),
        CST_TEST(different_collectives_are_refused),
        CST_TEST(an_abort_wakes_everybody_with_the_sentence),
        CST_TEST(buffers_may_be_freed_after_an_abort),
        CST_TEST(sums_are_in_rank_order_bit_for_bit),
        CST_TEST(only_floats_are_summed),
        CST_TEST(gather_and_broadcast_reach_every_rank),
        CST_TEST(a_split_orders_by_key_and_keeps_messages_apart),
        CST_TEST(a_world_lives_as_long_as_its_last_communicator),
        CST_TEST(agreement_gives_all_the_lowest_ranks_sentence),
        CST_TEST(a_lost_peer_is_nobodys_cause),
        CST_TEST(a_run_returns_the_cause_not_its_echo),
        CST_TEST(the_steady_state_allocates_nothing),
        CST_TEST(every_failing_allocation_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
