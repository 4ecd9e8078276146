/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tile map: which key blocks a query block needs, as sorted runs.
 *
 * Over the key blocks stands a tree of summaries with fan-out 16. A query
 * block walks it from the root: a node that is empty as a whole is skipped, a
 * node that is full as a whole becomes one run, others are opened. Only leaves
 * that stay open are decided exactly, by runs of tokens. So a row costs
 * O(log T) nodes plus its partial tiles, whether tokens are packed documents,
 * one long document or permuted.
 *
 *     level 2        [ root ]
 *     level 1     [ 0 ][ 1 ] ...           nodes of 16 blocks
 *     level 0  [0][1][2] ...               key blocks
 */
#include "cornstarch/mask.h"

#include "base/alloc.h"
#include "base/checked.h"

#include "summary.h"

#include <inttypes.h>
#include <string.h>

enum {
    FAN_OUT = 16,
    MAX_LEVELS = 17, /* 16^16 = 2^64 leaves */
    COUNT_BLOCK = 64 /* tokens per block when only counting */
};

typedef struct tree {
    int32_t n_levels;
    int64_t n_nodes[MAX_LEVELS];
    const csi_mask_summary *level[MAX_LEVELS];
} tree;

/* One walk over the tree for one query block. */
typedef struct walk {
    const cs_mask *k;
    int64_t window;
    int32_t k_block;
    const tree *keys;
    csi_mask_summary q_summary;
    csi_mask_range q;
    cs_tile_map *map; /* NULL: count pairs only */
    int64_t row_first_run;
    int64_t n_runs;
    int64_t n_pairs;
} walk;

static int64_t count_tree_nodes(int64_t n_leaves)
{
    int64_t total = n_leaves;

    for (int64_t n = n_leaves; n > 1;) {
        n = (n + FAN_OUT - 1) / FAN_OUT;
        total += n;
    }
    return total;
}

/* Fills nodes[count_tree_nodes(n_leaves)]. */
static tree build_tree(const cs_mask *k, int32_t k_block, int64_t n_leaves,
                       csi_mask_summary *nodes)
{
    tree keys = {.n_levels = 1, .n_nodes = {n_leaves}, .level = {nodes}};
    csi_mask_summary *below = nodes;

    for (int64_t leaf = 0; leaf < n_leaves; leaf++) {
        const csi_mask_range range = {
            .mask = k,
            .begin = leaf * k_block,
            .end = csi_min_i64((leaf + 1) * k_block, k->n_tokens),
        };
        nodes[leaf] = csi_mask_summarise(&range);
    }
    for (int64_t n = n_leaves; n > 1;) {
        csi_mask_summary *level = below + n;
        const int64_t n_level = (n + FAN_OUT - 1) / FAN_OUT;

        for (int64_t child = 0; child < n; child++) {
            if (child % FAN_OUT == 0) {
                level[child / FAN_OUT] = below[child];
            } else {
                csi_mask_merge(&level[child / FAN_OUT], &below[child]);
            }
        }
        keys.n_nodes[keys.n_levels] = n_level;
        keys.level[keys.n_levels] = level;
        keys.n_levels++;
        below = level;
        n = n_level;
    }
    return keys;
}

static cs_status reserve(void **memory, int64_t *capacity, int64_t wanted,
                         size_t element_bytes)
{
    if (wanted <= *capacity) {
        return CS_OK;
    }
    const int64_t grown = wanted + wanted / 2;
    void *moved = csi_realloc(*memory, (size_t)grown * element_bytes);

    CS_CHECK(moved != NULL, CS_ERR_NOMEM,
             "tile map: %" PRId64 " elements of %zu bytes", grown,
             element_bytes);
    *memory = moved;
    *capacity = grown;
    return CS_OK;
}

static cs_status add_run(walk *w, int64_t first, int64_t last,
                         cs_tile_class tile_class)
{
    cs_tile_map *map = w->map;
    void *runs = map->runs;

    if (tile_class == CS_TILE_FULL) {
        map->n_full += last - first;
    } else {
        map->n_partial += last - first;
    }
    if (w->n_runs > w->row_first_run) {
        cs_tile_run *before = &map->runs[w->n_runs - 1];

        if (before->last == first && before->tile_class == tile_class) {
            before->last = (int32_t)last;
            return CS_OK;
        }
    }
    CS_TRY(reserve(&runs, &map->capacity_runs, w->n_runs + 1,
                   sizeof *map->runs));
    map->runs = runs;
    map->runs[w->n_runs++] = (cs_tile_run){
        .first = (int32_t)first,
        .last = (int32_t)last,
        .tile_class = tile_class,
    };
    return CS_OK;
}

/* A leaf that its summary left open. */
static cs_status decide_exactly(walk *w, int64_t leaf)
{
    const int64_t begin = leaf * w->k_block;
    const csi_mask_range k = {
        .mask = w->k,
        .begin = begin,
        .end = csi_min_i64(begin + w->k_block, w->k->n_tokens),
    };
    const int64_t visible =
        csi_mask_count_pairs(&w->q, &k, w->window, w->map != NULL);

    w->n_pairs += visible;
    if (w->map == NULL || visible == 0) {
        return CS_OK;
    }
    const bool all = visible == (w->q.end - w->q.begin) * (k.end - k.begin);
    CS_TRY(add_run(w, leaf, leaf + 1, all ? CS_TILE_FULL : CS_TILE_PARTIAL));
    return CS_OK;
}

/* Visits nodes in key order without a stack: (level, node) goes down to the
 * first child of an open node, else on to the next node, climbing while that
 * one begins a parent. */
static cs_status walk_keys(walk *w)
{
    const tree *keys = w->keys;
    int32_t level = keys->n_levels - 1;
    int64_t node = 0;
    int64_t leaves_per_node = 1;

    for (int32_t i = 0; i < level; i++) {
        leaves_per_node *= FAN_OUT;
    }
    while (node < keys->n_nodes[level]) {
        const csi_mask_summary *k = &keys->level[level][node];
        const csi_verdict verdict =
            csi_mask_decide(&w->q_summary, k, w->window);

        if (verdict == CSI_VERDICT_OPEN && level > 0) {
            level--;
            node *= FAN_OUT;
            leaves_per_node /= FAN_OUT;
            continue;
        }
        if (verdict == CSI_VERDICT_OPEN) {
            CS_TRY(decide_exactly(w, node));
        } else if (verdict == CSI_VERDICT_FULL) {
            w->n_pairs += (w->q.end - w->q.begin) * k->n_tokens;
            if (w->map != NULL) {
                CS_TRY(add_run(w, node * leaves_per_node,
                               csi_min_i64((node + 1) * leaves_per_node,
                                           keys->n_nodes[0]),
                               CS_TILE_FULL));
            }
        }
        node++;
        while (level < keys->n_levels - 1 && node % FAN_OUT == 0) {
            level++;
            node /= FAN_OUT;
            leaves_per_node *= FAN_OUT;
        }
    }
    return CS_OK;
}

static cs_status walk_all(walk *w, int64_t n_q_blocks, int32_t q_block)
{
    for (int64_t row = 0; row < n_q_blocks; row++) {
        w->q.begin = row * q_block;
        w->q.end = csi_min_i64(w->q.begin + q_block, w->q.mask->n_tokens);
        w->q_summary = csi_mask_summarise(&w->q);
        w->row_first_run = w->n_runs;
        if (w->map != NULL) {
            w->map->row_begin[row] = w->n_runs;
        }
        CS_TRY(walk_keys(w));
    }
    if (w->map != NULL) {
        w->map->row_begin[n_q_blocks] = w->n_runs;
    }
    return CS_OK;
}

static cs_status prepare(cs_tile_map *map, const cs_mask *q, const cs_mask *k,
                         int32_t q_block, int32_t k_block)
{
    const int64_t n_q_blocks = (q->n_tokens + q_block - 1) / q_block;
    const int64_t n_k_blocks = (k->n_tokens + k_block - 1) / k_block;
    void *rows = map->row_begin;

    CS_CHECK(n_k_blocks <= INT32_MAX, CS_ERR_ARG,
             "tile map: %" PRId64 " key blocks, at most %d fit", n_k_blocks,
             INT32_MAX);
    CS_TRY(reserve(&rows, &map->capacity_rows, n_q_blocks + 1,
                   sizeof *map->row_begin));
    map->row_begin = rows;
    CS_TRY(reserve(&map->work, &map->work_bytes,
                   count_tree_nodes(n_k_blocks) *
                       (int64_t)sizeof(csi_mask_summary),
                   1));
    map->q_tokens = q->n_tokens;
    map->k_tokens = k->n_tokens;
    map->q_block = q_block;
    map->k_block = k_block;
    map->n_q_blocks = n_q_blocks;
    map->n_k_blocks = n_k_blocks;
    map->n_full = 0;
    map->n_partial = 0;
    map->n_empty = 0;
    return CS_OK;
}

cs_status cs_tile_map_build(cs_tile_map *map, const cs_mask *q,
                            const cs_mask *k, int64_t window, int32_t q_block,
                            int32_t k_block)
{
    CS_CHECK(q_block > 0 && k_block > 0, CS_ERR_ARG,
             "tile map: wanted blocks of at least 1 token, got %" PRId32
             " and %" PRId32,
             q_block, k_block);
    CS_TRY(prepare(map, q, k, q_block, k_block));
    const tree keys = build_tree(k, k_block, map->n_k_blocks, map->work);
    walk w = {
        .q = {.mask = q},
        .k = k,
        .window = window,
        .k_block = k_block,
        .keys = &keys,
        .map = map,
    };

    CS_TRY(walk_all(&w, map->n_q_blocks, q_block));
    map->n_empty =
        map->n_q_blocks * map->n_k_blocks - map->n_full - map->n_partial;
    return CS_OK;
}

void cs_tile_map_fini(cs_tile_map *map)
{
    csi_free(map->row_begin);
    csi_free(map->runs);
    csi_free(map->work);
    memset(map, 0, sizeof *map);
}

int64_t cs_mask_visible_pairs(const cs_mask *q, const cs_mask *k,
                              int64_t window)
{
    const int64_t n_leaves = (k->n_tokens + COUNT_BLOCK - 1) / COUNT_BLOCK;
    const int64_t n_q_blocks = (q->n_tokens + COUNT_BLOCK - 1) / COUNT_BLOCK;
    csi_mask_summary small[FAN_OUT + 1];
    csi_mask_summary *nodes = small;

    if (n_leaves > FAN_OUT) {
        nodes = csi_calloc((size_t)count_tree_nodes(n_leaves), sizeof *nodes);
    }
    if (nodes == NULL) { /* slower, but this cannot fail */
        const csi_mask_range all_q = {.mask = q, .end = q->n_tokens};
        const csi_mask_range all_k = {.mask = k, .end = k->n_tokens};

        return csi_mask_count_pairs(&all_q, &all_k, window, false);
    }
    const tree keys = build_tree(k, COUNT_BLOCK, n_leaves, nodes);
    walk w = {
        .q = {.mask = q},
        .k = k,
        .window = window,
        .k_block = COUNT_BLOCK,
        .keys = &keys,
    };
    cs_status st = walk_all(&w, n_q_blocks, COUNT_BLOCK);

    (void)st; /* only a map's memory can fail */
    if (nodes != small) {
        csi_free(nodes);
    }
    return w.n_pairs;
}
