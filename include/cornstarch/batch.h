/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_BATCH_H
#define CORNSTARCH_BATCH_H
/*
 * From the index (what each sample holds) to the batch plan of a step: which
 * samples, in which microbatches, every token's word and position, where
 * encoder rows go. A pure function of (index, settings, step): every rank
 * computes the same without communication, and the composition never depends
 * on dp, tp, cp or pp. Sizes of all messages come from here.
 */
#include "cornstarch/mask.h"

CS_BEGIN_DECLS

/* Consecutive tokens of a sample: text, or the rows of one item. 56 bytes on
 * disk. */
typedef struct cs_index_run {
    int32_t modality;     /* -1 text, else encoder index */
    int32_t item;         /* index within its modality in this sample */
    int32_t llm_rows;     /* tokens in the language model */
    int32_t encoder_rows; /* rows inside the encoder (after its stem) */
    int32_t input_rows;   /* patches or mel frames that enter the stem */
    /* patches of a picture: grid_rows * grid_columns = input_rows; 0 = none */
    int32_t grid_rows, grid_columns;
    /* of a picture in tiles (cs_module's is_tiled); the grid is then that of
     * the tiles' patches without their black border */
    int32_t tile_rows, tile_columns;
    int32_t label_tokens; /* shifted labels that fall into this run */
    int32_t branch;       /* see cs_mask_run */
    int32_t is_prompt;
    uint64_t content_hash; /* of the item's file bytes; 0 for text */
} cs_index_run;
_Static_assert(sizeof(cs_index_run) == 56, "on disk");

typedef struct cs_index_sample {
    int64_t offset, n_bytes; /* of its JSON text in the data file */
    int64_t first_run;
    int32_t n_runs;
    int32_t n_tokens; /* sum of llm_rows */
    int32_t label_tokens;
    int32_t dataset; /* which file of the recipe's list */
    uint64_t hash;   /* of the JSON text */
} cs_index_sample;
_Static_assert(sizeof(cs_index_sample) == 48, "on disk");

/* A view of an opened index file (or of arrays in tests). */
typedef struct cs_index_view {
    int64_t n_samples, n_runs;
    const cs_index_sample *samples;
    const cs_index_run *runs;
    int32_t n_modalities;
} cs_index_view;

typedef struct cs_batch_settings {
    uint64_t seed;
    bool shuffle, packing;
    int64_t global_batch_size;
    int64_t max_tokens_per_microbatch;
    int32_t min_microbatches; /* per replica */
    int32_t n_replicas;       /* dp */
    cs_mask_policy attention;
} cs_batch_settings;

/* One item (picture, recording) of a microbatch, in the order in which its
 * encoder packs items and its rows arrive at the language model. */
typedef struct cs_batch_item {
    int64_t sample; /* index in the dataset */
    int32_t run;    /* index in view->runs */
    int32_t item;
    int64_t input_begin, encoder_begin, feature_begin; /* rows before it */
    int64_t llm_begin; /* first destination row in the microbatch */
    /* as in the index */
    int32_t grid_rows, grid_columns, tile_rows, tile_columns;
} cs_batch_item;

typedef struct cs_batch_modality {
    int64_t n_items;
    cs_batch_item *items;
    int64_t input_rows, encoder_rows, feature_rows;
} cs_batch_modality;

typedef struct cs_microbatch {
    int32_t replica;
    int32_t n_samples;
    int64_t *samples;       /* dataset indices */
    int64_t *token_begin;   /* [n_samples + 1] */
    int64_t *sample_labels; /* [n_samples]: label tokens of each */
    int64_t n_tokens;
    int64_t label_tokens;
    uint64_t *word;              /* [n_tokens] */
    int32_t *position;           /* [n_tokens], unique */
    int32_t *rope_position;      /* [n_tokens], restarts per document */
    cs_batch_modality *modality; /* [n_modalities] */
} cs_microbatch;

/* Everything lives in one arena of the plan; rebuilds reuse it. */
typedef struct cs_batch_plan {
    int64_t step; /* from 1 */
    double epoch; /* after this step */
    int32_t n_modalities, n_replicas;
    int32_t n_microbatches; /* per replica */
    cs_microbatch
        *microbatches; /* [n_replicas * n_microbatches], replica major */
    int64_t n_samples; /* kept */
    int64_t *samples;  /* [n_samples] in order of the epoch */
    int64_t n_dropped;
    int64_t n_tokens, label_tokens; /* of the global batch */
    uint64_t sample_hash;           /* of the ids, in order */
    void *arena;                    /* owned */
} cs_batch_plan;

CS_API CS_NODISCARD cs_status cs_batch_plan_create(cs_batch_plan **out);
CS_API void cs_batch_plan_destroy(cs_batch_plan **plan);
/* Plans step `step` (from 1) into *plan. Samples in `dropped` (sorted dataset
 * indices that cannot be decoded) are left out. An epoch is a permutation of
 * the index; a batch may span two epochs. Bins: first-fit decreasing under the
 * token cap, then samples and bins in a fixed order; m = max(min_microbatches,
 * most bins over replicas); extra microbatches are empty. Errors: ARG when a
 * sample alone exceeds the cap (named), or a mask field overflows. */
CS_API CS_NODISCARD cs_status
cs_batch_plan_build(cs_batch_plan *plan, const cs_index_view *index,
                    const cs_batch_settings *settings, int64_t step,
                    const int64_t *dropped, int64_t n_dropped);
/* Consecutive samples [first, first + count) of the index, unshuffled, packed
 * the same way for one replica: evaluation. */
CS_API CS_NODISCARD cs_status
cs_batch_plan_range(cs_batch_plan *plan, const cs_index_view *index,
                    const cs_batch_settings *settings, int64_t first,
                    int64_t count);
/* Steps in n epochs, rounded up. */
CS_API int64_t cs_batch_steps(const cs_index_view *index,
                              const cs_batch_settings *settings, double epochs);

CS_END_DECLS
#endif
