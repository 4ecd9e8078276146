/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Philox4x32-10 after Salmon, Moraes, Dror, Shaw: "Parallel random numbers:
 * as easy as 1, 2, 3" (SC 2011). The counter is (index, stream), the key is
 * the seed, so a value depends on nothing that ran before it.
 */
#include "base/rng.h"

#include <math.h>

enum {
    N_ROUNDS = 10
};

static const uint32_t MULTIPLIER_0 = 0xd2511f53u;
static const uint32_t MULTIPLIER_1 = 0xcd9e8d57u;
static const uint32_t WEYL_0 = 0x9e3779b9u;
static const uint32_t WEYL_1 = 0xbb67ae85u;
static const double TWO_PI = 6.283185307179586476925;

void csi_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4])
{
    uint32_t key_0 = (uint32_t)seed;
    uint32_t key_1 = (uint32_t)(seed >> 32);
    uint32_t c_0 = (uint32_t)index;
    uint32_t c_1 = (uint32_t)(index >> 32);
    uint32_t c_2 = (uint32_t)stream;
    uint32_t c_3 = (uint32_t)(stream >> 32);

    for (int round = 0; round < N_ROUNDS; round++) {
        const uint64_t p_0 = (uint64_t)MULTIPLIER_0 * c_0;
        const uint64_t p_1 = (uint64_t)MULTIPLIER_1 * c_2;
        c_0 = (uint32_t)(p_1 >> 32) ^ c_1 ^ key_0;
        c_1 = (uint32_t)p_1;
        c_2 = (uint32_t)(p_0 >> 32) ^ c_3 ^ key_1;
        c_3 = (uint32_t)p_0;
        key_0 += WEYL_0;
        key_1 += WEYL_1;
    }
    out[0] = c_0;
    out[1] = c_1;
    out[2] = c_2;
    out[3] = c_3;
}

uint32_t csi_rng_u32(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t words[4];

    csi_philox(seed, stream, index / 4, words);
    return words[index % 4];
}

static uint64_t join_words(uint32_t low, uint32_t high)
{
    return (uint64_t)high << 32 | low;
}

/* 53 bits of a word pair as a number in [0, 1). */
static double unit_interval(uint32_t low, uint32_t high)
{
    return (double)(join_words(low, high) >> 11) * 0x1p-53;
}

double csi_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t words[4];

    csi_philox(seed, stream, index / 2, words);
    return index % 2 == 0 ? unit_interval(words[0], words[1])
                          : unit_interval(words[2], words[3]);
}

double csi_rng_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t words[4];

    csi_philox(seed, stream, index / 2, words);
    /* 1 - u is in (0, 1], so that the logarithm is finite. */
    const double radius =
        sqrt(-2.0 * log(1.0 - unit_interval(words[0], words[1])));
    const double angle = TWO_PI * unit_interval(words[2], words[3]);

    return index % 2 == 0 ? radius * cos(angle) : radius * sin(angle);
}

uint64_t csi_rng_below(uint64_t seed, uint64_t stream, uint64_t index,
                       uint64_t n)
{
    __extension__ typedef unsigned __int128 uint128;
    uint32_t words[4];

    /* The high half of a 64 x 64 bit product; the bias is below n / 2^64. */
    csi_philox(seed, stream, index, words);
    return (uint64_t)(((uint128)join_words(words[0], words[1]) * n) >> 64);
}

uint64_t csi_hash64_bytes(const void *bytes, uint64_t n_bytes)
{
    const unsigned char *const p = bytes;
    uint64_t hash = 0xcbf29ce484222325u;

    for (uint64_t i = 0; i < n_bytes; i++) {
        hash = (hash ^ p[i]) * 0x100000001b3u;
    }
    return hash;
}

uint64_t csi_hash64(const char *text)
{
    uint64_t n_bytes = 0;

    while (text[n_bytes] != '\0') {
        n_bytes++;
    }
    return csi_hash64_bytes(text, n_bytes);
}

void csi_rng_permute(uint64_t seed, uint64_t stream, int64_t *order, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        order[i] = i;
    }
    for (int64_t i = n - 1; i > 0; i--) {
        const uint64_t pick =
            csi_rng_below(seed, stream, (uint64_t)i, (uint64_t)i + 1);
        const int64_t kept = order[i];
        order[i] = order[pick];
        order[pick] = kept;
    }
}
