/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which samples a step trains on. The samples of all epochs form one endless
 * line; step s takes places [(s - 1) * B, s * B). Place p lies in epoch p / N
 * and is number p % N of that epoch's permutation, which is a pure function of
 * (seed, epoch), so that any step can be planned alone. The last permutation
 * is kept: steps of one epoch that follow each other compute it once.
 */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/rng.h"

#include "memory.h"

#include <inttypes.h>
#include <string.h>

cs_status csi_batch_alloc(csi_batch_memory *memory, int64_t count,
                          size_t n_bytes, void *out)
{
    int64_t total = 0;
    void *block = NULL;

    if (csi_mul_i64(&total, count, (int64_t)n_bytes)) {
        block = csi_arena_alloc(&memory->arena, (size_t)total);
    }
    CS_CHECK(block != NULL, CS_ERR_NOMEM,
             "batch plan: no memory for %" PRId64 " x %zu bytes", count,
             n_bytes);
    memcpy(out, &block, sizeof block);
    return CS_OK;
}

static cs_status order_epoch(csi_batch_memory *memory, int64_t n, int64_t epoch,
                             const cs_batch_settings *settings)
{
    if (memory->order_n == n && memory->order_epoch == epoch &&
        memory->order_seed == settings->seed) {
        return CS_OK;
    }
    if (memory->order_capacity < n) {
        int64_t *const grown =
            csi_realloc(memory->order, (size_t)n * sizeof *grown);

        CS_CHECK(grown != NULL, CS_ERR_NOMEM,
                 "batch plan: no memory for the order of %" PRId64 " samples",
                 n);
        memory->order = grown;
        memory->order_capacity = n;
    }
    csi_rng_permute(settings->seed, csi_hash64("epoch") + (uint64_t)epoch,
                    memory->order, n);
    memory->order_n = n;
    memory->order_epoch = epoch;
    memory->order_seed = settings->seed;
    return CS_OK;
}

/* The sample at a place of the endless line. */
static cs_status find_sample(csi_batch_memory *memory, int64_t n, int64_t place,
                             const cs_batch_settings *settings, int64_t *out)
{
    if (!settings->shuffle) {
        *out = place % n;
        return CS_OK;
    }
    CS_TRY(order_epoch(memory, n, place / n, settings));
    *out = memory->order[place % n];
    return CS_OK;
}

static bool is_dropped(const int64_t *dropped, int64_t n_dropped,
                       int64_t sample)
{
    int64_t low = 0;
    int64_t high = n_dropped;

    while (low < high) {
        const int64_t middle = low + (high - low) / 2;

        if (dropped[middle] < sample) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < n_dropped && dropped[low] == sample;
}

cs_status csi_batch_take_step(csi_batch_memory *memory,
                              const cs_index_view *index,
                              const cs_batch_settings *settings, int64_t step,
                              const int64_t *dropped, int64_t n_dropped,
                              csi_batch_taken *out)
{
    int64_t end = 0;

    *out = (csi_batch_taken){.n_samples = 0};
    CS_CHECK(csi_mul_i64(&end, step, settings->global_batch_size), CS_ERR_ARG,
             "batch plan: step %" PRId64 " x global_batch_size %" PRId64
             " overflows",
             step, settings->global_batch_size);
    CS_TRY(csi_batch_alloc(memory, settings->global_batch_size,
                           sizeof *out->samples, &out->samples));
    for (int64_t place = end - settings->global_batch_size; place < end;
         place++) {
        int64_t sample = 0;

        CS_TRY(find_sample(memory, index->n_samples, place, settings, &sample));
        if (is_dropped(dropped, n_dropped, sample)) {
            out->n_dropped++;
        } else {
            out->samples[out->n_samples++] = sample;
        }
    }
    return CS_OK;
}
