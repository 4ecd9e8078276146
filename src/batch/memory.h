/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BATCH_MEMORY_H
#define CS_BATCH_MEMORY_H
/*
 * What the files of this folder share: the memory behind a plan, and the
 * steps of building one, in the order in which they run.
 *
 *     take   (epoch.c)  which samples the step trains on
 *     pack   (pack.c)   which of them share a microbatch, who computes it
 *     fill   (fill.c)   words, positions, routes of one microbatch
 */
#include "cornstarch/batch.h"

#include "base/arena.h"

/* Behind cs_batch_plan.arena. */
typedef struct csi_batch_memory {
    csi_arena arena; /* owned: all that the plan points to */
    int64_t *order;  /* owned: the permutation of one epoch */
    int64_t order_capacity;
    int64_t order_n; /* samples that `order` permutes; 0 = none yet */
    int64_t order_epoch;
    uint64_t order_seed;
} csi_batch_memory;

/* Samples of one step, in order of the epoch. */
typedef struct csi_batch_taken {
    int64_t n_samples, n_dropped;
    int64_t *samples; /* in the arena */
} csi_batch_taken;

/* Which sample sits in which bin: bin b holds member[begin[b] .. begin[b+1]),
 * indices into the samples of the step, rising; bins by their first member. */
typedef struct csi_batch_bins {
    int32_t n_bins;
    int32_t most_per_replica;
    int64_t *begin;   /* [n_bins + 1] */
    int64_t *member;  /* [n_samples] */
    int32_t *replica; /* [n_bins] */
} csi_batch_bins;

/* count * n_bytes from the arena; NOMEM names the plan. */
CS_NODISCARD cs_status csi_batch_alloc(csi_batch_memory *memory, int64_t count,
                                       size_t n_bytes, void *out);

CS_NODISCARD cs_status csi_batch_take_step(csi_batch_memory *memory,
                                           const cs_index_view *index,
                                           const cs_batch_settings *settings,
                                           int64_t step, const int64_t *dropped,
                                           int64_t n_dropped,
                                           csi_batch_taken *out);

CS_NODISCARD cs_status csi_batch_pack(csi_batch_memory *memory,
                                      const cs_index_view *index,
                                      const cs_batch_settings *settings,
                                      const csi_batch_taken *taken,
                                      csi_batch_bins *out);

/* samples: n dataset indices, copied. Writes all of *out but its replica. */
CS_NODISCARD cs_status csi_batch_fill(csi_batch_memory *memory,
                                      const cs_index_view *index,
                                      cs_mask_policy attention,
                                      const int64_t *samples, int32_t n_samples,
                                      cs_microbatch *out);
#endif
