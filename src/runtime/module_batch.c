/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batch plan -> what one module's layers need: words, positions, item borders,
 * where features go. The language model's words come ready from the plan; in
 * an encoder each item is one document whose rows see each other.
 */
#include "internal.h"

#include <string.h>

static cs_status take(csi_arena *arena, size_t n_bytes, void **out)
{
    *out = csi_arena_alloc(arena, n_bytes);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "%zu bytes for the step's plan",
             n_bytes);
    return CS_OK;
}

static cs_status fill_merge_index(csi_arena *arena, const cs_microbatch *mb,
                                  int32_t encoder, const int32_t **out)
{
    const cs_batch_modality *modality = &mb->modality[encoder];
    void *memory = NULL;

    CS_TRY(take(arena, (size_t)mb->n_tokens * sizeof(int32_t), &memory));
    int32_t *index = memory;
    for (int64_t t = 0; t < mb->n_tokens; t++) {
        index[t] = -1;
    }
    for (int64_t i = 0; i < modality->n_items; i++) {
        const cs_batch_item *item = &modality->items[i];
        const int64_t end = i + 1 < modality->n_items
                                ? modality->items[i + 1].feature_begin
                                : modality->feature_rows;
        CS_CHECK(item->llm_begin + end - item->feature_begin <= mb->n_tokens,
                 CS_ERR_INTERNAL, "an item's rows leave the microbatch");
        for (int64_t r = item->feature_begin; r < end; r++) {
            index[item->llm_begin + r - item->feature_begin] = (int32_t)r;
        }
    }
    *out = index;
    return CS_OK;
}

static cs_status build_language_model(csi_arena *arena, int32_t n_encoders,
                                      const cs_microbatch *mb,
                                      cs_module_batch *b)
{
    void *memory = NULL;

    b->rows = mb->n_tokens;
    b->mask = (cs_mask){mb->n_tokens, mb->word, mb->position};
    b->position = mb->rope_position;
    CS_TRY(take(arena, (size_t)(n_encoders + 1) * sizeof(void *), &memory));
    b->merge_index = memory;
    for (int32_t e = 0; e < n_encoders; e++) {
        CS_TRY(fill_merge_index(arena, mb, e, &b->merge_index[e]));
    }
    return CS_OK;
}

/* Feature j of an item averages its encoder rows [j pool, (j + 1) pool). */
static void fill_pool(const cs_batch_modality *modality, int32_t pool,
                      const int64_t *encoder_begin, int64_t *pool_begin)
{
    int64_t feature = 0;

    for (int64_t i = 0; i < modality->n_items; i++) {
        for (int64_t r = encoder_begin[i]; r < encoder_begin[i + 1];
             r += pool) {
            pool_begin[feature++] = r;
        }
    }
    pool_begin[feature] = modality->encoder_rows;
}

static cs_status build_encoder(csi_arena *arena, const cs_module *module,
                               int32_t index, const cs_batch_modality *modality,
                               cs_module_batch *b)
{
    const int64_t rows = modality->encoder_rows;
    const size_t n = (size_t)modality->n_items + 1;
    void *memory[6];

    CS_TRY(take(arena, n * sizeof(int64_t), &memory[0]));
    CS_TRY(take(arena, n * sizeof(int64_t), &memory[1]));
    CS_TRY(take(arena, ((size_t)modality->feature_rows + 1) * sizeof(int64_t),
                &memory[2]));
    CS_TRY(take(arena, (size_t)rows * sizeof(uint64_t), &memory[3]));
    CS_TRY(take(arena, (size_t)rows * sizeof(int32_t), &memory[4]));
    CS_TRY(take(arena, (size_t)rows * sizeof(int32_t), &memory[5]));
    int64_t *input_begin = memory[0];
    int64_t *encoder_begin = memory[1];
    uint64_t *word = memory[3];
    int32_t *order = memory[4];
    int32_t *position = memory[5];

    CS_CHECK(modality->n_items <= CS_MASK_MAX_DOCUMENT, CS_ERR_ARG,
             "%s: %lld items in one microbatch, at most %d", module->name,
             (long long)modality->n_items, CS_MASK_MAX_DOCUMENT);
    for (int64_t i = 0; i < modality->n_items; i++) {
        input_begin[i] = modality->items[i].input_begin;
        encoder_begin[i] = modality->items[i].encoder_begin;
    }
    input_begin[modality->n_items] = modality->input_rows;
    encoder_begin[modality->n_items] = rows;
    for (int64_t i = 0; i < modality->n_items; i++) {
        const uint64_t w =
            cs_mask_word((uint32_t)(i + 1), 1, 0, 1U << (index + 1));
        for (int64_t r = encoder_begin[i]; r < encoder_begin[i + 1]; r++) {
            word[r] = w;
            order[r] = (int32_t)r;
            position[r] = (int32_t)(r - encoder_begin[i]);
        }
    }
    fill_pool(modality, module->pool, encoder_begin, memory[2]);
    b->rows = rows;
    b->input_rows = modality->input_rows;
    b->feature_rows = modality->feature_rows;
    b->n_items = modality->n_items;
    b->mask = (cs_mask){rows, word, order};
    b->position = position;
    b->input_begin = input_begin;
    b->encoder_begin = encoder_begin;
    b->pool_begin = memory[2];
    return CS_OK;
}

cs_status cs_module_batch_build(const cs_graph *graph, int32_t module,
                                const cs_microbatch *mb,
                                const cs_backend *backend,
                                struct csi_arena *arena, cs_module_batch *out)
{
    if (module == cs_graph_language_model(graph)) {
        CS_TRY(build_language_model(arena, graph->n_modules - 1, mb, out));
    } else {
        CS_TRY(build_encoder(arena, &graph->modules[module], module,
                             &mb->modality[module], out));
    }
    return cs_tile_map_build(&out->tiles, &out->mask, &out->mask, 0,
                             backend->q_block, backend->k_block);
}

cs_nn_batch cs_module_batch_nn(const cs_module_batch *b)
{
    return (cs_nn_batch){
        .rows = b->rows,
        .mask = b->mask,
        .tiles = &b->tiles,
        .position = b->position,
        .n_items = b->n_items,
        .input_rows = b->input_rows,
        .input_begin = b->input_begin,
        .encoder_begin = b->encoder_begin,
        .feature_rows = b->feature_rows,
        .pooled_rows = b->feature_rows,
        .pool_begin = b->pool_begin,
        .merge_index = b->merge_index,
    };
}
