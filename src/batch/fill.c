/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One microbatch from its samples: where each begins, every token's mask word
 * and positions, and the routes of encoder rows. Items are listed per modality
 * in the order of their samples and runs; that order is the order of rows in
 * the encoder's batch and of its features, so a route is three row counters
 * and one destination:
 *
 *     tokens    | text | image 0    | text || image 0    | text |
 *                        ^llm_begin           ^llm_begin
 *     features         [ image 0    ][ image 0    ]
 *                        ^feature_begin = rows of the items before it
 */
#include "memory.h"

#include <inttypes.h>
#include <string.h>

/* An index comes from a file: nothing below may be led out of its arrays. */
static cs_status check_sample(const cs_index_view *index, int64_t sample)
{
    const cs_index_sample *const s = &index->samples[sample];
    int64_t n_tokens = 0;

    CS_CHECK(s->first_run >= 0 && s->n_runs > 0 &&
                 s->first_run <= index->n_runs - s->n_runs,
             CS_ERR_FORMAT,
             "index: sample %" PRId64 " has runs %" PRId64 " + %" PRId32
             " of %" PRId64,
             sample, s->first_run, s->n_runs, index->n_runs);
    for (int64_t r = s->first_run; r < s->first_run + s->n_runs; r++) {
        const cs_index_run *const run = &index->runs[r];

        CS_CHECK(run->modality >= -1 && run->modality < index->n_modalities &&
                     run->llm_rows >= 0 && run->encoder_rows >= 0 &&
                     run->input_rows >= 0 && run->grid_rows >= 0 &&
                     run->grid_columns >= 0 && run->tile_rows >= 0 &&
                     run->tile_columns >= 0 && r <= INT32_MAX,
                 CS_ERR_FORMAT,
                 "index: sample %" PRId64 ", run %" PRId64
                 " is out of range (modality %" PRId32 ", %" PRId32 " rows)",
                 sample, r, run->modality, run->llm_rows);
        n_tokens += run->llm_rows;
    }
    CS_CHECK(n_tokens == s->n_tokens, CS_ERR_FORMAT,
             "index: sample %" PRId64 " claims %" PRId32
             " tokens, its runs hold %" PRId64,
             sample, s->n_tokens, n_tokens);
    return CS_OK;
}

static cs_status measure(csi_batch_memory *memory, const cs_index_view *index,
                         cs_microbatch *mb)
{
    int64_t most_runs = 0;

    CS_TRY(csi_batch_alloc(memory, mb->n_samples + 1, sizeof *mb->token_begin,
                           &mb->token_begin));
    CS_TRY(csi_batch_alloc(memory, mb->n_samples, sizeof *mb->sample_labels,
                           &mb->sample_labels));
    CS_TRY(csi_batch_alloc(memory, index->n_modalities, sizeof *mb->modality,
                           &mb->modality));
    memset(mb->modality, 0, (size_t)index->n_modalities * sizeof *mb->modality);
    mb->token_begin[0] = 0;
    for (int32_t i = 0; i < mb->n_samples; i++) {
        CS_TRY(check_sample(index, mb->samples[i]));
        const cs_index_sample *const s = &index->samples[mb->samples[i]];

        mb->n_tokens += s->n_tokens;
        mb->label_tokens += s->label_tokens;
        mb->sample_labels[i] = s->label_tokens;
        mb->token_begin[i + 1] = mb->n_tokens;
        most_runs = s->n_runs > most_runs ? s->n_runs : most_runs;
        for (int64_t r = s->first_run; r < s->first_run + s->n_runs; r++) {
            if (index->runs[r].modality >= 0) {
                mb->modality[index->runs[r].modality].n_items++;
            }
        }
    }
    CS_CHECK(mb->n_tokens <= INT32_MAX, CS_ERR_ARG,
             "a microbatch of %" PRId64 " tokens is more than 2^31 - 1",
             mb->n_tokens);
    for (int32_t m = 0; m < index->n_modalities; m++) {
        CS_TRY(csi_batch_alloc(memory, mb->modality[m].n_items,
                               sizeof *mb->modality[m].items,
                               &mb->modality[m].items));
        mb->modality[m].n_items = 0;
    }
    return CS_OK;
}

static void add_item(cs_microbatch *mb, const cs_index_view *index,
                     int64_t sample, int64_t r, int64_t llm_begin)
{
    const cs_index_run *const run = &index->runs[r];
    cs_batch_modality *const modality = &mb->modality[run->modality];

    modality->items[modality->n_items++] = (cs_batch_item){
        .sample = sample,
        .run = (int32_t)r,
        .item = run->item,
        .input_begin = modality->input_rows,
        .encoder_begin = modality->encoder_rows,
        .feature_begin = modality->feature_rows,
        .llm_begin = llm_begin,
        .grid_rows = run->grid_rows,
        .grid_columns = run->grid_columns,
        .tile_rows = run->tile_rows,
        .tile_columns = run->tile_columns,
    };
    modality->input_rows += run->input_rows;
    modality->encoder_rows += run->encoder_rows;
    modality->feature_rows += run->llm_rows;
}

static cs_status fill_sample(csi_batch_memory *memory,
                             const cs_index_view *index,
                             cs_mask_policy attention, int32_t i,
                             cs_microbatch *mb)
{
    const cs_index_sample *const s = &index->samples[mb->samples[i]];
    const int64_t begin = mb->token_begin[i];
    const csi_arena_mark mark = csi_arena_save(&memory->arena);
    cs_mask_run *runs = NULL;
    int64_t at = begin;

    CS_TRY(csi_batch_alloc(memory, s->n_runs, sizeof *runs, &runs));
    for (int32_t r = 0; r < s->n_runs; r++) {
        const cs_index_run *const run = &index->runs[s->first_run + r];

        runs[r] = (cs_mask_run){
            .n_tokens = run->llm_rows,
            .modality = run->modality,
            .item = run->item,
            .branch = run->branch,
            .is_prompt = run->is_prompt != 0,
        };
        if (run->modality >= 0) {
            add_item(mb, index, mb->samples[i], s->first_run + r, at);
        }
        at += run->llm_rows;
    }
    CS_TRY(cs_mask_build(attention, index->n_modalities, (uint32_t)i + 1, runs,
                         s->n_runs, mb->word + begin));
    csi_arena_rewind(&memory->arena, mark);
    for (int64_t t = begin; t < at; t++) {
        mb->position[t] = (int32_t)t;
        mb->rope_position[t] = (int32_t)(t - begin);
    }
    return CS_OK;
}

cs_status csi_batch_fill(csi_batch_memory *memory, const cs_index_view *index,
                         cs_mask_policy attention, const int64_t *samples,
                         int32_t n_samples, cs_microbatch *out)
{
    *out = (cs_microbatch){.n_samples = n_samples};
    CS_TRY(csi_batch_alloc(memory, n_samples, sizeof *out->samples,
                           &out->samples));
    if (n_samples > 0) {
        memcpy(out->samples, samples, (size_t)n_samples * sizeof *samples);
    }
    CS_TRY(measure(memory, index, out));
    CS_TRY(csi_batch_alloc(memory, out->n_tokens, sizeof *out->word,
                           &out->word));
    CS_TRY(csi_batch_alloc(memory, out->n_tokens, sizeof *out->position,
                           &out->position));
    CS_TRY(csi_batch_alloc(memory, out->n_tokens, sizeof *out->rope_position,
                           &out->rope_position));
    for (int32_t i = 0; i < n_samples; i++) {
        CS_TRY(fill_sample(memory, index, attention, i, out));
    }
    return CS_OK;
}
