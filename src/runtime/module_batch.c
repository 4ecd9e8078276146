/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batch plan -> what one module's layers need: words, positions, borders of
 * documents and items, where features go. The language model's words come
 * ready from the plan; encoders have a file of their own.
 */
#include "internal.h"

#include <string.h>

cs_status csi_batch_take(csi_arena *arena, int64_t count, size_t n_bytes,
                         void **out)
{
    *out = csi_arena_alloc(arena, (size_t)count * n_bytes);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "%lld x %zu bytes for the step's plan",
             (long long)count, n_bytes);
    return CS_OK;
}

static cs_status fill_merge_index(csi_arena *arena, const cs_microbatch *mb,
                                  int32_t encoder, const int32_t **out)
{
    const cs_batch_modality *modality = &mb->modality[encoder];
    void *memory = NULL;

    CS_TRY(csi_batch_take(arena, mb->n_tokens, sizeof(int32_t), &memory));
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
                                      const cs_microbatch *mb, cs_nn_batch *b)
{
    void *memory = NULL;

    CS_TRY(csi_batch_take(arena, n_encoders + 1, sizeof(void *), &memory));
    const int32_t **merge_index = memory;
    for (int32_t e = 0; e < n_encoders; e++) {
        CS_TRY(fill_merge_index(arena, mb, e, &merge_index[e]));
    }
    *b = (cs_nn_batch){
        .rows = mb->n_tokens,
        .mask = {mb->n_tokens, mb->word, mb->position},
        .position = mb->rope_position,
        .n_documents = mb->n_samples,
        .document_begin = mb->token_begin,
        .document_labels = mb->sample_labels,
        .merge_index = merge_index,
    };
    return CS_OK;
}

/* Which rows are of a document that the module's rotary positions take for a
 * long one. */
static cs_status mark_long(csi_arena *arena, const cs_module *module,
                           cs_nn_batch *b)
{
    const int64_t after = cs_module_long_after(module);
    void *memory = NULL;

    if (after == 0) {
        return CS_OK;
    }
    CS_TRY(csi_batch_take(arena, b->rows, sizeof(uint8_t), &memory));
    uint8_t *is_long = memory;
    for (int32_t d = 0; d < b->n_documents; d++) {
        const int64_t begin = b->document_begin[d];
        const int64_t rows = b->document_begin[d + 1] - begin;
        memset(is_long + begin, rows > after, (size_t)rows);
    }
    b->is_long = is_long;
    return CS_OK;
}

cs_status cs_module_batch_build(const cs_graph *graph, int32_t module,
                                const cs_microbatch *mb,
                                const cs_backend *backend,
                                struct csi_arena *arena, cs_module_batch *out)
{
    if (module == cs_graph_language_model(graph)) {
        CS_TRY(build_language_model(arena, graph->n_modules - 1, mb, &out->nn));
        CS_TRY(mark_long(arena, &graph->modules[module], &out->nn));
    } else {
        CS_TRY(csi_encoder_batch(arena, &graph->modules[module], module,
                                 &mb->modality[module], &out->nn));
    }
    CS_TRY(cs_tile_map_build(&out->tiles, &out->nn.mask, &out->nn.mask, 0,
                             backend->q_block, backend->k_block));
    if (cs_module_window(&graph->modules[module]) > 0) {
        CS_TRY(cs_tile_map_build(&out->window_tiles, &out->nn.mask,
                                 &out->nn.mask,
                                 cs_module_window(&graph->modules[module]),
                                 backend->q_block, backend->k_block));
    }
    return CS_OK;
}

void cs_module_batch_fini(cs_module_batch *batch)
{
    cs_tile_map_fini(&batch->tiles);
    cs_tile_map_fini(&batch->window_tiles);
}

cs_nn_batch cs_module_batch_nn(const cs_module_batch *batch)
{
    cs_nn_batch nn = batch->nn;

    nn.tiles = &batch->tiles;
    nn.window_tiles = &batch->window_tiles;
    return nn;
}
