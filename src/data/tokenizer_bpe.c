/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-pair encoding of one piece: of all neighbouring pairs that the merge
 * table knows, the one of lowest rank (leftmost among equals) becomes one
 * symbol, until no pair is left. Pairs wait in a heap and symbols are a linked
 * list, so a piece of n bytes costs O(n log n), also when somebody feeds a
 * megabyte without a space. A pair whose symbols have changed since it was
 * pushed is stale and dropped when it comes up.
 */
#include "base/alloc.h"

#include "tokenizer.h"

#include <string.h>

typedef struct csi_bpe_symbol {
    int32_t id;         /* -1 = merged into its left neighbour */
    int32_t prev, next; /* -1 = end */
} symbol;

typedef struct csi_bpe_pair {
    uint64_t order; /* rank, then position */
    int32_t left_id, right_id, merged_id;
} pair;

void csi_bpe_scratch_fini(csi_bpe_scratch *scratch)
{
    csi_free(scratch->symbols);
    csi_free(scratch->heap);
    *scratch = (csi_bpe_scratch){.capacity = 0};
}

/* At most n - 1 pairs at first and two more per merge: 3 n in all. */
static cs_status reserve(csi_bpe_scratch *scratch, size_t n_bytes)
{
    if (scratch->capacity >= n_bytes) {
        return CS_OK;
    }
    CS_CHECK(n_bytes <= INT32_MAX / 4, CS_ERR_ARG,
             "tokenizer: a text of %zu bytes is more than %d", n_bytes,
             INT32_MAX / 4);
    symbol *const symbols =
        csi_realloc(scratch->symbols, n_bytes * sizeof *symbols);

    CS_CHECK(symbols != NULL, CS_ERR_NOMEM,
             "tokenizer: no memory for %zu symbols", n_bytes);
    scratch->symbols = symbols;

    pair *const heap = csi_realloc(scratch->heap, 3 * n_bytes * sizeof *heap);

    CS_CHECK(heap != NULL, CS_ERR_NOMEM, "tokenizer: no memory for %zu pairs",
             3 * n_bytes);
    scratch->heap = heap;
    scratch->capacity = n_bytes;
    return CS_OK;
}

static void push(pair *heap, size_t *n_heap, pair added)
{
    size_t at = (*n_heap)++;

    while (at > 0 && heap[(at - 1) / 2].order > added.order) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = added;
}

static pair pop(pair *heap, size_t *n_heap)
{
    const pair first = heap[0];
    const pair moved = heap[--*n_heap];
    size_t at = 0;

    for (size_t child = 1; child < *n_heap; child = 2 * at + 1) {
        if (child + 1 < *n_heap && heap[child + 1].order < heap[child].order) {
            child++;
        }
        if (moved.order <= heap[child].order) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
    return first;
}

static void push_pair(const cs_tokenizer *tokenizer, csi_bpe_scratch *scratch,
                      size_t *n_heap, int32_t left)
{
    const symbol *const symbols = scratch->symbols;
    const int32_t right = left < 0 ? -1 : symbols[left].next;

    if (right < 0) {
        return;
    }
    const int32_t key[2] = {symbols[left].id, symbols[right].id};
    int64_t merge = 0;

    if (csi_hash_map_get(tokenizer->merges, key, sizeof key, &merge)) {
        const uint64_t rank = (uint64_t)merge >> 32;

        push(scratch->heap, n_heap,
             (pair){.order = rank << 32 | (uint64_t)left,
                    .left_id = key[0],
                    .right_id = key[1],
                    .merged_id = (int32_t)(merge & INT32_MAX)});
    }
}

static void merge_all(const cs_tokenizer *tokenizer, csi_bpe_scratch *scratch,
                      int32_t n)
{
    symbol *const symbols = scratch->symbols;
    size_t n_heap = 0;

    for (int32_t at = 0; at + 1 < n; at++) {
        push_pair(tokenizer, scratch, &n_heap, at);
    }
    while (n_heap > 0) {
        const pair best = pop(scratch->heap, &n_heap);
        const int32_t left = (int32_t)(best.order & INT32_MAX);
        const int32_t right = symbols[left].next;

        if (symbols[left].id != best.left_id || right < 0 ||
            symbols[right].id != best.right_id) {
            continue;
        }
        symbols[left].id = best.merged_id;
        symbols[left].next = symbols[right].next;
        symbols[right].id = -1;
        if (symbols[right].next >= 0) {
            symbols[symbols[right].next].prev = left;
        }
        push_pair(tokenizer, scratch, &n_heap, symbols[left].prev);
        push_pair(tokenizer, scratch, &n_heap, left);
    }
}

cs_status csi_bpe_encode(const cs_tokenizer *tokenizer,
                         csi_bpe_scratch *scratch, const char *piece,
                         size_t n_bytes, csi_id_sink *sink)
{
    const unsigned char *const bytes = (const unsigned char *)piece;
    int64_t whole = 0;

    if (tokenizer->is_whole_first &&
        csi_hash_map_get(tokenizer->vocab, piece, n_bytes, &whole)) {
        csi_id_sink_add(sink, (int32_t)whole);
        return CS_OK;
    }
    if (csi_hash_map_count(tokenizer->merges) == 0) {
        for (size_t i = 0; i < n_bytes; i++) {
            csi_id_sink_add(sink, tokenizer->byte_id[bytes[i]]);
        }
        return CS_OK;
    }
    CS_TRY(reserve(scratch, n_bytes));
    const int32_t n = (int32_t)n_bytes;

    for (int32_t i = 0; i < n; i++) {
        scratch->symbols[i] = (symbol){.id = tokenizer->byte_id[bytes[i]],
                                       .prev = i - 1,
                                       .next = i + 1 < n ? i + 1 : -1};
    }
    merge_all(tokenizer, scratch, n);
    for (int32_t i = 0; i >= 0; i = scratch->symbols[i].next) {
        csi_id_sink_add(sink, scratch->symbols[i].id);
    }
    return CS_OK;
}
