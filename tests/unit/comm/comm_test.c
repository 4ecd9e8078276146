/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks as threads or as processes: messages, and what happens when a rank
 * fails, is late or goes away. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"

#include "runs.h"

#include <inttypes.h>
#include <string.h>

/* --- messages --------------------------------------------------------- */

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

/* Sizes on both sides of what providers treat apart, all under way at once. */
static cs_status pass_sizes(cs_comm *comm, uint8_t *data)
{
    static const size_t SIZES[] = {0,       1,       2047,
                                   2048,    2049,    4096,
                                   1 << 16, 1 << 20, (1 << 20) + 1,
                                   3000001};
    enum {
        N = sizeof SIZES / sizeof SIZES[0]
    };
    const int32_t peer = 1 - comm->rank;
    cs_request requests[2 * N] = {{0}};
    uint8_t *at = data;

    for (int i = 0; i < N; i++) {
        memset(at, 16 * i + comm->rank + 1, SIZES[i]);
        CS_TRY(cs_comm_send(comm, peer, -i, at, SIZES[i], &requests[2 * i]));
        at += SIZES[i];
        CS_TRY(cs_comm_recv(comm, peer, -i, at, SIZES[i],
                            &requests[2 * i + 1]));
        at += SIZES[i];
    }
    for (int i = 2 * N - 1; i >= 0; i--) {
        CS_TRY(cs_comm_wait(comm, &requests[i]));
    }
    at = data;
    for (int i = 0; i < N; i++) {
        at += SIZES[i];
        for (size_t k = 0; k < SIZES[i]; k++) {
            CS_CHECK(at[k] == 16 * i + peer + 1, CS_ERR_INTERNAL,
                     "byte %zu of %zu is %d", k, SIZES[i], at[k]);
        }
        at += SIZES[i];
    }
    return CS_OK;
}

static cs_status pass_all_sizes(cs_comm *comm, void *arg)
{
    uint8_t *const data = csi_calloc(12, 1 << 20);

    (void)arg;
    CS_CHECK(data != NULL, CS_ERR_NOMEM, "data");
    const cs_status st = pass_sizes(comm, data);

    csi_free(data);
    return st;
}

static void messages_of_all_sizes_arrive_whole(void **state)
{
    (void)state;
    assert_ok(run(2, pass_all_sizes, NULL));
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
    assert_run_fails(2, run(2, disagree_on_size, NULL), CS_ERR_COMM,
                     "message with tag 3: rank 0 sends 16 bytes, rank 1 "
                     "expects 8");
}

static cs_status talk_to_nobody(cs_comm *comm, void *arg)
{
    (void)arg;
    return send_now(comm, comm->n_ranks, 0, NULL, 0);
}

static void ranks_outside_the_world_are_refused(void **state)
{
    (void)state;
    assert_run_fails(2, run(2, talk_to_nobody, NULL), CS_ERR_ARG,
                     "2 is no rank of 2");
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
    char sentence[128];

    (void)state;
    (void)snprintf(sentence, sizeof sentence,
                   "rank 1 waited %g s for a message from rank 0 (tag 42, 4 "
                   "bytes)",
                   SHORT_TIME_S);
    assert_run_fails(2, run_hasty(2, wait_in_vain, NULL), CS_ERR_COMM,
                     sentence);
}

static cs_status miss_the_barrier(cs_comm *comm, void *arg)
{
    (void)arg;
    return comm->rank == 2 ? CS_OK : cs_comm_barrier(comm);
}

static void a_missing_rank_ends_a_collective(void **state)
{
    (void)state;
    assert_run_fails(3, run_hasty(3, miss_the_barrier, NULL), CS_ERR_COMM,
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
    assert_run_fails(2, run(2, call_different_collectives, NULL), CS_ERR_COMM,
                     "all_reduce of f64");
    if (is_here(0) || is_here(1)) {
        assert_contains(cs_error_message(), "barrier");
    }
}

typedef struct abort_report {
    bool is_peer[8];
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
    report->is_peer[comm->rank] = st == CS_ERR_PEER && request.state == NULL;
    (void)snprintf(report->sentence[comm->rank], 128, "%s", cs_error_message());
    return st;
}

static void an_abort_wakes_everybody_with_the_sentence(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        abort_report report = {0};

        assert_run_fails(6, run(6, fail_or_wait, &report), CS_ERR_NUMERIC,
                         "loss is nan");
        for (int32_t r = 0; r < 6; r++) {
            if (r != 3 && is_here(r)) {
                assert_true(report.is_peer[r]);
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
        assert_run_fails(4, run(4, fail_with_messages_under_way, NULL),
                         CS_ERR_IO, "disk is full");
    }
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
    assert_run_fails(3, run(3, fail_on_two, NULL), CS_ERR_SHAPE,
                     "bad shape on 2");
    cs_error_get(&error);
    if (!on_processes() || cs_comm_launch().process < 3) {
        assert_int_equal(error.rank, 2);
    }
    assert_fails(run(0, fail_on_two, NULL), CS_ERR_ARG, "0 ranks");
    assert_fails(run_for(2, 0.0, fail_on_two, NULL), CS_ERR_ARG, "timeout");
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
    if (is_here(0)) {
        assert_int_equal(n_allocations[0], n_allocations[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(messages_arrive_where_they_are_sent),
        CST_TEST(tags_match_and_equal_tags_keep_their_order),
        CST_TEST(messages_of_all_sizes_arrive_whole),
        CST_TEST(random_messages_all_arrive_whole),
        CST_TEST(sizes_that_differ_are_refused),
        CST_TEST(ranks_outside_the_world_are_refused),
        CST_TEST(a_late_message_names_ranks_tag_and_seconds),
        CST_TEST(a_missing_rank_ends_a_collective),
        CST_TEST(different_collectives_are_refused),
        CST_TEST(an_abort_wakes_everybody_with_the_sentence),
        CST_TEST(buffers_may_be_freed_after_an_abort),
        CST_TEST(a_run_returns_the_cause_not_its_echo),
        CST_TEST(the_steady_state_allocates_nothing),
    };

    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);

    cs_comm_leave(n_failed);
    return n_failed;
}
