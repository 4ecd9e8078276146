/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_RNG_H
#define CS_BASE_RNG_H
/*
 * Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): a value is
 * a pure function of (seed, stream, index), so every layout draws the same.
 */
#include <stdint.h>

/* Four 32-bit words for counter (index, stream) under key seed. */
void csi_philox(uint64_t seed, uint64_t stream, uint64_t index,
                uint32_t out[4]);
uint32_t csi_rng_u32(uint64_t seed, uint64_t stream, uint64_t index);
double csi_rng_uniform(uint64_t seed, uint64_t stream,
                       uint64_t index); /* [0,1) */
/* Standard normal by Box-Muller on the pair that holds `index`. */
double csi_rng_normal(uint64_t seed, uint64_t stream, uint64_t index);
uint64_t csi_rng_below(uint64_t seed, uint64_t stream, uint64_t index,
                       uint64_t n); /* [0, n), n > 0 */
/* Stable 64-bit hash of a string (FNV-1a), for streams named by text. */
uint64_t csi_hash64(const char *text);
uint64_t csi_hash64_bytes(const void *bytes, uint64_t n_bytes);
/* Permutation of 0..n-1 (Fisher-Yates). */
void csi_rng_permute(uint64_t seed, uint64_t stream, int64_t *order, int64_t n);
#endif
