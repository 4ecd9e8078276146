/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers against the published vectors, and their laws. */
#include "base/rng.h"

#include "support/test.h"

#include <math.h>

static void philox_matches_the_vectors_of_random123(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed, stream, index;
        uint32_t wanted[4];
    } CASES[] = {
        {0, 0, 0, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}},
        {UINT64_MAX,
         UINT64_MAX,
         UINT64_MAX,
         {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}},
        {0x299f31d0a4093822u,
         0x0370734413198a2eu,
         0x85a308d3243f6a88u,
         {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}},
    };

    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        uint32_t got[4];
        csi_philox(CASES[i].seed, CASES[i].stream, CASES[i].index, got);
        assert_memory_equal(got, CASES[i].wanted, sizeof got);
    }
}

static void words_are_the_four_of_their_block(void **state)
{
    (void)state;
    uint32_t block[4];

    csi_philox(9, 5, 3, block);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(csi_rng_u32(9, 5, 12 + i), block[i]);
    }
}

static void uniform_and_normal_have_their_moments(void **state)
{
    (void)state;
    enum {
        N = 100000
    };
    double sum = 0;
    double normal_sum = 0;
    double normal_squares = 0;
    double normal_fourth = 0;

    for (uint64_t i = 0; i < N; i++) {
        const double u = csi_rng_uniform(1, 2, i);
        const double z = csi_rng_normal(1, 2, i);
        assert_true(u >= 0 && u < 1);
        sum += u;
        normal_sum += z;
        normal_squares += z * z;
        normal_fourth += z * z * z * z;
    }
    assert_near(sum / N, 0.5, 5e-3);
    assert_near(normal_sum / N, 0, 1.5e-2);
    assert_near(normal_squares / N, 1, 2e-2);
    assert_near(normal_fourth / N, 3, 5e-2);
}

static void neighbours_of_a_normal_pair_are_independent(void **state)
{
    (void)state;
    enum {
        N = 50000
    };
    double product = 0;

    for (uint64_t i = 0; i < N; i++) {
        product +=
            csi_rng_normal(3, 0, 2 * i) * csi_rng_normal(3, 0, 2 * i + 1);
    }
    assert_near(product / N, 0, 2e-2);
}

static void below_reaches_every_value_and_no_other(void **state)
{
    (void)state;
    int64_t seen[7] = {0};

    for (uint64_t i = 0; i < 7000; i++) {
        const uint64_t value = csi_rng_below(1, 2, i, 7);
        assert_in_range(value, 0, 6);
        seen[value]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_in_range(seen[i], 850, 1150);
    }
    assert_int_equal(csi_rng_below(1, 2, 3, 1), 0);
}

static void a_permutation_holds_every_index_once(void **state)
{
    (void)state;
    enum {
        N = 1000
    };
    int64_t order[N];
    int64_t other[N];
    bool seen[N] = {false};
    int64_t n_fixed = 0;
    int64_t n_same = 0;

    csi_rng_permute(1, 2, order, N);
    csi_rng_permute(1, 3, other, N);
    for (int64_t i = 0; i < N; i++) {
        assert_in_range(order[i], 0, N - 1);
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
        n_fixed += order[i] == i;
        n_same += order[i] == other[i];
    }
    assert_in_range(n_fixed, 0, 10);
    assert_in_range(n_same, 0, 10);
    csi_rng_permute(1, 3, order, N);
    assert_memory_equal(order, other, sizeof order);
}

static void hashes_are_fnv_1a(void **state)
{
    (void)state;
    assert_true(csi_hash64("") == 0xcbf29ce484222325u);
    assert_true(csi_hash64("a") == 0xaf63dc4c8601ec8cu);
    assert_true(csi_hash64("foobar") == 0x85944171f73967e8u);
    assert_true(csi_hash64_bytes("foobar", 6) == csi_hash64("foobar"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(philox_matches_the_vectors_of_random123),
        CST_TEST(words_are_the_four_of_their_block),
        CST_TEST(uniform_and_normal_have_their_moments),
        CST_TEST(neighbours_of_a_normal_pair_are_independent),
        CST_TEST(below_reaches_every_value_and_no_other),
        CST_TEST(a_permutation_holds_every_index_once),
        CST_TEST(hashes_are_fnv_1a),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
