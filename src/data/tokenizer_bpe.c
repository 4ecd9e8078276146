/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-pair encoding of one piece: its letters (or bytes) are symbols; of all neighbouring pairs that the merge
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
    int32_t n_bytes;    /* of the piece */
} symbol;

typedef struct csi_bpe_pair {
    uint64_t order; /* rank, then position */
    int32_t left_id, right_id, merged_id;
} pair;

void csi_bpe_scratch_fini(csi_bpe_scratch *scratch)
{
    csi_free(scratch->symbols);
    csi_free(scratch->heap);
    csi_str_fini(&scratch->letters);
    *scratch = (csi_bpe_scratch){.capacity = 0};
}

/* At most n - 1 pairs at first and two more per merge: 3 n in all. */
static cs_status reserve(csi_bpe_scratch *scratch, size_t n_bytes)
{
    if (scratch->capacity >= n_bytes) {
        return CS_OK;
    }
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
        symbols[left].n_bytes += symbols[right].n_bytes;
        symbols[left].next = symbols[right].next;
        symbols[right].id = -1;
        if (symbols[right].next >= 0) {
            symbols[symbols[right].next].prev = left;
        }
        push_pair(tokenizer, scratch, &n_heap, symbols[left].prev);
        push_pair(tokenizer, scratch, &n_heap, left);
    }
}

/* Symbols of a piece in the making. */
typedef struct builder {
    const cs_tokenizer *tokenizer;
    symbol *symbols;
    int32_t n;
    int32_t unknown_bytes; /* of unknown letters that wait; 0 = none */
} builder;

static void add_symbol(builder *b, int32_t id, int32_t n_bytes)
{
    b->symbols[b->n] = (symbol){.id = id,
                                .prev = b->n - 1,
                                .next = b->n + 1,
                                .n_bytes = n_bytes};
    b->n++;
}

static void flush_unknown(builder *b)
{
    if (b->unknown_bytes > 0) {
        add_symbol(b, b->tokenizer->unknown, b->unknown_bytes);
        b->unknown_bytes = 0;
    }
}

/* A letter that is no token: its bytes, if all of them are tokens, else the
 * unknown token, else nothing. Unknown letters that wait come behind such
 * bytes, as in Hugging Face's model. */
static void add_unknown(builder *b, const char *letter, int32_t n_bytes)
{
    const cs_tokenizer *const t = b->tokenizer;
    const unsigned char *const bytes = (const unsigned char *)letter;
    bool has_bytes = t->has_byte_fallback;

    for (int32_t i = 0; i < n_bytes && has_bytes; i++) {
        has_bytes = t->byte_id[bytes[i]] >= 0;
    }
    if (has_bytes) {
        for (int32_t i = 0; i < n_bytes; i++) {
            add_symbol(b, t->byte_id[bytes[i]], 1);
        }
        return;
    }
    if (t->unknown >= 0) {
        if (!t->fuses_unknown) {
            flush_unknown(b);
        }
        b->unknown_bytes += n_bytes;
    }
}

static void split_letters(builder *b, const csi_view *piece)
{
    int64_t id = 0;
    int n = 0;

    for (size_t at = 0; at < piece->n_bytes; at += (size_t)n) {
        (void)csi_utf8_get(piece->bytes + at, &n);
        if (csi_hash_map_get(b->tokenizer->vocab, piece->bytes + at, (size_t)n,
                             &id)) {
            flush_unknown(b);
            add_symbol(b, (int32_t)id, n);
        } else {
            add_unknown(b, piece->bytes + at, n);
        }
    }
    flush_unknown(b);
}

static void split_bytes(builder *b, const csi_view *piece)
{
    for (size_t i = 0; i < piece->n_bytes; i++) {
        add_symbol(b, b->tokenizer->byte_id[(unsigned char)piece->bytes[i]], 1);
    }
}

/* Whether the whole piece is a token, as the vocabulary writes it. */
static cs_status find_whole(const cs_tokenizer *t, csi_bpe_scratch *scratch,
                            const csi_view *piece, int64_t *id, bool *is_token)
{
    csi_str *const letters = &scratch->letters;

    if (!t->is_byte_level) {
        *is_token =
            csi_hash_map_get(t->vocab, piece->bytes, piece->n_bytes, id);
        return CS_OK;
    }
    csi_str_clear(letters);
    for (size_t i = 0; i < piece->n_bytes; i++) {
        csi_str_add(letters,
                    t->alphabet.letter[(unsigned char)piece->bytes[i]]);
    }
    CS_TRY(csi_str_check(letters));
    *is_token =
        csi_hash_map_get(t->vocab, csi_str_get(letters), letters->length, id);
    return CS_OK;
}

/* Bytes [begin, begin + n) of the piece, as places in the text given. */
static csi_span span_of(const csi_view *piece, size_t begin, size_t n)
{
    return (csi_span){.begin = csi_view_span(piece, begin).begin,
                      .end = csi_view_span(piece, begin + n - 1).end};
}

cs_status csi_bpe_encode(const cs_tokenizer *tokenizer,
                         csi_bpe_scratch *scratch, const csi_view *piece,
                         csi_id_sink *sink)
{
    int64_t whole = 0;
    bool is_token = false;
    size_t at = 0;

    if (tokenizer->is_whole_first) {
        CS_TRY(find_whole(tokenizer, scratch, piece, &whole, &is_token));
    }
    if (is_token) {
        csi_id_sink_add(sink, (int32_t)whole,
                        span_of(piece, 0, piece->n_bytes));
        return CS_OK;
    }
    CS_TRY(reserve(scratch, piece->n_bytes));
    builder b = {.tokenizer = tokenizer, .symbols = scratch->symbols};

    if (tokenizer->is_byte_level) {
        split_bytes(&b, piece);
    } else {
        split_letters(&b, piece);
    }
    if (b.n == 0) {
        return CS_OK;
    }
    b.symbols[b.n - 1].next = -1;
    merge_all(tokenizer, scratch, b.n);
    for (int32_t i = 0; i >= 0; i = scratch->symbols[i].next) {
        const size_t n = (size_t)scratch->symbols[i].n_bytes;

        csi_id_sink_add(sink, scratch->symbols[i].id, span_of(piece, at, n));
        at += n;
    }
    return CS_OK;
}
