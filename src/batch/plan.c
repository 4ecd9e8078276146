/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The batch plan of one step: takes samples, packs them, deals the bins to
 * replicas and fills each microbatch. All of it lies in the plan's arena,
 * which a rebuild rewinds: after the largest step nothing is allocated.
 */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/rng.h"

#include "memory.h"

#include <inttypes.h>
#include <math.h>

/* Large, so that batches of about one size fit the first chunk. */
enum {
    CHUNK_BYTES = 1 << 20
};

cs_status cs_batch_plan_create(cs_batch_plan **out)
{
    cs_batch_plan *plan = csi_calloc(1, sizeof *plan);

    CS_CHECK(plan != NULL, CS_ERR_NOMEM, "batch plan object");
    csi_batch_memory *const memory = csi_calloc(1, sizeof *memory);

    if (memory == NULL) {
        cs_batch_plan_destroy(&plan);
        return CS_FAIL(CS_ERR_NOMEM, "batch plan memory");
    }
    csi_arena_init(&memory->arena, CHUNK_BYTES);
    plan->arena = memory;
    *out = plan;
    return CS_OK;
}

void cs_batch_plan_destroy(cs_batch_plan **plan)
{
    cs_batch_plan *const p = *plan;

    if (p == NULL) {
        return;
    }
    csi_batch_memory *const memory = p->arena;

    if (memory != NULL) {
        csi_arena_fini(&memory->arena);
        csi_free(memory->order);
        csi_free(memory);
    }
    csi_free(p);
    *plan = NULL;
}

static cs_status check_settings(const cs_index_view *index,
                                const cs_batch_settings *settings)
{
    CS_CHECK(index->n_samples > 0, CS_ERR_ARG,
             "batch plan: the index has no samples");
    CS_CHECK(settings->global_batch_size > 0 &&
                 settings->global_batch_size <= INT32_MAX,
             CS_ERR_ARG,
             "batch plan: global_batch_size is %" PRId64 ", wanted 1..2^31 - 1",
             settings->global_batch_size);
    CS_CHECK(settings->max_tokens_per_microbatch > 0, CS_ERR_ARG,
             "batch plan: max_tokens_per_microbatch is %" PRId64
             ", wanted at least 1",
             settings->max_tokens_per_microbatch);
    CS_CHECK(settings->n_replicas > 0, CS_ERR_ARG,
             "batch plan: %" PRId32 " replicas, wanted at least 1",
             settings->n_replicas);
    return CS_OK;
}

/* One microbatch: the members of bin b, or nothing when b is negative. */
static cs_status fill_one(cs_batch_plan *plan, const cs_index_view *index,
                          const cs_batch_settings *settings,
                          const csi_batch_bins *bins, int32_t b,
                          cs_microbatch *mb)
{
    const int64_t begin = b < 0 ? 0 : bins->begin[b];
    const int32_t n = b < 0 ? 0 : (int32_t)(bins->begin[b + 1] - begin);
    int64_t *samples = NULL;

    CS_TRY(csi_batch_alloc(plan->arena, n, sizeof *samples, &samples));
    for (int32_t i = 0; i < n; i++) {
        samples[i] = plan->samples[bins->member[begin + i]];
    }
    CS_TRY(csi_batch_fill(plan->arena, index, settings->attention, samples, n,
                          mb));
    plan->n_tokens += mb->n_tokens;
    plan->label_tokens += mb->label_tokens;
    return CS_OK;
}

/* Bins keep their order within a replica; what is left is empty. */
static cs_status fill_all(cs_batch_plan *plan, const cs_index_view *index,
                          const cs_batch_settings *settings,
                          const csi_batch_bins *bins)
{
    const int64_t total = (int64_t)plan->n_replicas * plan->n_microbatches;
    int32_t b = 0;

    CS_TRY(csi_batch_alloc(plan->arena, total, sizeof *plan->microbatches,
                           &plan->microbatches));
    for (int64_t i = 0; i < total; i++) {
        const int32_t replica = (int32_t)(i / plan->n_microbatches);

        b = i % plan->n_microbatches == 0 ? 0 : b;
        while (b < bins->n_bins && bins->replica[b] != replica) {
            b++;
        }
        CS_TRY(fill_one(plan, index, settings, bins,
                        b < bins->n_bins ? b++ : -1, &plan->microbatches[i]));
        plan->microbatches[i].replica = replica;
    }
    return CS_OK;
}

/* A plan that cannot be built is left empty: it is never half of one. */
static void clear(cs_batch_plan *plan)
{
    csi_batch_memory *const memory = plan->arena;

    csi_arena_reset(&memory->arena);
    *plan = (cs_batch_plan){.arena = memory};
}

static cs_status assemble(cs_batch_plan *plan, const cs_index_view *index,
                          const cs_batch_settings *settings,
                          const csi_batch_taken *taken)
{
    csi_batch_bins bins = {0};

    CS_TRY(csi_batch_pack(plan->arena, index, settings, taken, &bins));
    plan->n_modalities = index->n_modalities;
    plan->n_replicas = settings->n_replicas;
    plan->n_microbatches =
        (int32_t)csi_max_i64(1, csi_max_i64(settings->min_microbatches,
                                            bins.most_per_replica));
    plan->samples = taken->samples;
    plan->n_samples = taken->n_samples;
    plan->n_dropped = taken->n_dropped;
    plan->sample_hash =
        csi_hash64_bytes(taken->samples, (uint64_t)taken->n_samples *
                                             (uint64_t)sizeof *taken->samples);
    return fill_all(plan, index, settings, &bins);
}

cs_status cs_batch_plan_build(cs_batch_plan *plan, const cs_index_view *index,
                              const cs_batch_settings *settings, int64_t step,
                              const int64_t *dropped, int64_t n_dropped)
{
    cs_status st = CS_OK;
    csi_batch_taken taken = {0};

    CS_TRY(check_settings(index, settings));
    CS_CHECK(step >= 1, CS_ERR_ARG,
             "batch plan: step %" PRId64 ", wanted at least 1", step);
    clear(plan);
    CS_TRY_GOTO(undo, csi_batch_take_step(plan->arena, index, settings, step,
                                          dropped, n_dropped, &taken));
    CS_TRY_GOTO(undo, assemble(plan, index, settings, &taken));
    plan->step = step;
    plan->epoch = (double)step * (double)settings->global_batch_size /
                  (double)index->n_samples;
    return CS_OK;

undo:
    clear(plan);
    return st;
}

cs_status cs_batch_plan_range(cs_batch_plan *plan, const cs_index_view *index,
                              const cs_batch_settings *settings, int64_t first,
                              int64_t count)
{
    cs_status st = CS_OK;
    csi_batch_taken taken = {.n_samples = count};
    cs_batch_settings alone = *settings;

    alone.n_replicas = 1;
    CS_TRY(check_settings(index, &alone));
    CS_CHECK(first >= 0 && count >= 0 && count <= INT32_MAX &&
                 first <= index->n_samples - count,
             CS_ERR_ARG,
             "batch plan: samples %" PRId64 " + %" PRId64
             ", the index has %" PRId64,
             first, count, index->n_samples);
    clear(plan);
    CS_TRY_GOTO(undo, csi_batch_alloc(plan->arena, count, sizeof *taken.samples,
                                      &taken.samples));
    for (int64_t i = 0; i < count; i++) {
        taken.samples[i] = first + i;
    }
    CS_TRY_GOTO(undo, assemble(plan, index, &alone, &taken));
    return CS_OK;

undo:
    clear(plan);
    return st;
}

int64_t cs_batch_steps(const cs_index_view *index,
                       const cs_batch_settings *settings, double epochs)
{
    /* 1e-9 forgives 0.1 * 30 = 3.0000000000000004. */
    const double steps = ceil(epochs * (double)index->n_samples /
                                  (double)settings->global_batch_size -
                              1e-9);

    return steps > 0.0 ? (int64_t)steps : 0;
}
