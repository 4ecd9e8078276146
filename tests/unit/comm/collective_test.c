/* SPDX-License-Identifier: Apache-2.0 */
/* Collectives, splits, agreement; memory in the steady state and in failures. */
#include "base/alloc.h"
#include "base/rng.h"

#include "runs.h"

#include <inttypes.h>
#include <string.h>

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
                if (is_here(r)) {
                    assert_memory_equal(&s->f32[r][i], &f32, sizeof f32);
                    assert_memory_equal(&s->f64[r][i], &f64, sizeof f64);
                }
            }
        }
    }
    csi_free(s);
}

enum {
    MANY_VALUES = 300007 /* several rounds of pieces, and a rest */
};

static float cheap_value(int32_t rank, int64_t i)
{
    return (float)((i * 7919 + rank * 104729) % 10007) / 7.0F;
}

static cs_status reduce_many(cs_comm *comm, void *arg)
{
    float *const values = csi_calloc(MANY_VALUES, sizeof *values);
    cs_status st = CS_OK;

    (void)arg;
    CS_CHECK(values != NULL, CS_ERR_NOMEM, "values");
    for (int64_t i = 0; i < MANY_VALUES; i++) {
        values[i] = cheap_value(comm->rank, i);
    }
    CS_TRY_GOTO(done, cs_comm_all_reduce(comm, values, MANY_VALUES, CS_F32));
    for (int64_t i = 0; i < MANY_VALUES; i++) {
        float wanted = cheap_value(0, i);
        for (int32_t r = 1; r < comm->n_ranks; r++) {
            wanted += cheap_value(r, i);
        }
        CS_CHECK_GOTO(done, values[i] == wanted, CS_ERR_INTERNAL,
                      "value %" PRId64 " is %g, wanted %g", i, values[i],
                      wanted);
    }
done:
    csi_free(values);
    return st;
}

static void sums_of_many_values_are_whole(void **state)
{
    (void)state;
    for (int32_t n = 1; n <= 4; n++) {
        assert_ok(run(n, reduce_many, NULL));
    }
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
    assert_run_fails(2, run(2, reduce_integers, NULL), CS_ERR_DTYPE, "got i64");
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

/* --- memory ------------------------------------------------------------ */

static cs_status tortured_body(void *arg)
{
    (void)arg;
    CS_TRY(cs_comm_local_run(3, PATIENCE_S, split_in_two, NULL));
    return CS_OK;
}

static void every_failing_allocation_is_survived(void **state)
{
    (void)state;
    if (on_processes()) {
        cst_skip("faults are planted in one process");
    }
    (void)cst_torture(tortured_body, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(sums_are_in_rank_order_bit_for_bit),
        CST_TEST(sums_of_many_values_are_whole),
        CST_TEST(only_floats_are_summed),
        CST_TEST(gather_and_broadcast_reach_every_rank),
        CST_TEST(a_split_orders_by_key_and_keeps_messages_apart),
        CST_TEST(a_world_lives_as_long_as_its_last_communicator),
        CST_TEST(agreement_gives_all_the_lowest_ranks_sentence),
        CST_TEST(a_lost_peer_is_nobodys_cause),
        CST_TEST(every_failing_allocation_is_survived),
    };

    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);

    cs_comm_leave(n_failed);
    return n_failed;
}
