/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A picture of a mask for people: rows are queries, columns are keys, in the
 * order in which the tokens lie.
 *
 *     #....     '#' all pairs visible, '.' none, '+' some (blocks only)
 *     ##...
 */
#include "cornstarch/mask.h"

#include "base/str.h"

#include <inttypes.h>

static void add_counts(csi_str *text, const cs_mask *mask, int64_t window)
{
    const int64_t n = mask->n_tokens;
    const int64_t visible = cs_mask_visible_pairs(mask, mask, window);
    const cs_mask_counts counts = cs_mask_count(mask);

    csi_str_addf(text,
                 "%" PRId64 " tokens, %" PRId64 " documents, %" PRId64
                 " of no document; %" PRId64 " of %" PRId64
                 " pairs visible (%.1f %%)\n",
                 n, counts.n_documents, counts.n_dead, visible, n * n,
                 n > 0 ? 100.0 * (double)visible / ((double)n * (double)n)
                       : 0.0);
}

static void add_tokens(csi_str *text, const cs_mask *mask, int64_t window)
{
    for (int64_t q = 0; q < mask->n_tokens; q++) {
        for (int64_t k = 0; k < mask->n_tokens; k++) {
            const bool visible =
                cs_mask_visible(mask->word[q], mask->position[q], mask->word[k],
                                mask->position[k], window);
            csi_str_add_bytes(text, visible ? "#" : ".", 1);
        }
        csi_str_add_bytes(text, "\n", 1);
    }
}

static cs_status add_blocks(csi_str *text, const cs_mask *mask, int64_t window,
                            int32_t max_side)
{
    const int64_t wanted = (mask->n_tokens + max_side - 1) / max_side;
    const int32_t block = (int32_t)(wanted < INT32_MAX ? wanted : INT32_MAX);
    cs_status st = CS_OK;
    cs_tile_map map = {0};

    CS_TRY_GOTO(undo,
                cs_tile_map_build(&map, mask, mask, window, block, block));
    for (int64_t row = 0; row < map.n_q_blocks; row++) {
        int64_t column = 0;

        for (int64_t i = map.row_begin[row]; i < map.row_begin[row + 1]; i++) {
            const cs_tile_run *run = &map.runs[i];
            const bool is_full = run->tile_class == CS_TILE_FULL;

            for (; column < run->first; column++) {
                csi_str_add_bytes(text, ".", 1);
            }
            for (; column < run->last; column++) {
                csi_str_add_bytes(text, is_full ? "#" : "+", 1);
            }
        }
        for (; column < map.n_k_blocks; column++) {
            csi_str_add_bytes(text, ".", 1);
        }
        csi_str_add_bytes(text, "\n", 1);
    }
    csi_str_addf(text,
                 "one character is %" PRId32 " tokens; tiles: %" PRId64
                 " full, %" PRId64 " partial, %" PRId64 " empty\n",
                 block, map.n_full, map.n_partial, map.n_empty);

undo:
    cs_tile_map_fini(&map);
    return st;
}

cs_status cs_mask_print(const cs_mask *mask, int64_t window, int32_t max_side,
                        char **out)
{
    csi_str text = {0};
    cs_status st = CS_OK;

    CS_CHECK(max_side > 0, CS_ERR_ARG,
             "mask picture: wanted a side of at least 1, got %" PRId32,
             max_side);
    if (mask->n_tokens <= max_side) {
        add_tokens(&text, mask, window);
    } else {
        CS_TRY_GOTO(undo, add_blocks(&text, mask, window, max_side));
    }
    add_counts(&text, mask, window);
    CS_TRY_GOTO(undo, csi_str_check(&text));
    *out = text.data;
    return CS_OK;

undo:
    csi_str_fini(&text);
    return st;
}
