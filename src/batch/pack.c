/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which samples share a microbatch, and which replica computes it. Bins are
 * formed over the global batch, before anybody asks how many replicas there
 * are, so that the composition of microbatches is the same for every dp; only
 * then they are dealt.
 *
 * Packing is first-fit decreasing. "The first bin with room" comes from a
 * tournament tree over the bins: each inner node holds the largest room below
 * it, so a sample costs O(log n) and a large batch does not cost O(n^2).
 *
 * Dealing is longest-first to the least loaded replica, with at most
 * ceil(bins / replicas) bins each, because the number of microbatches is the
 * most that any replica has and all others run empty ones beside it.
 */
#include "memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A thing to place: big ones first, then in order. */
typedef struct piece {
    int64_t n_tokens;
    int64_t number;
} piece;

static int compare_pieces(const void *a, const void *b)
{
    const piece *const x = a;
    const piece *const y = b;

    if (x->n_tokens != y->n_tokens) {
        return x->n_tokens > y->n_tokens ? -1 : 1;
    }
    return (x->number > y->number) - (x->number < y->number);
}

typedef struct room_tree {
    int64_t n_leaves; /* a power of two */
    int64_t *room;    /* [2 * n_leaves]: node 1 is the root */
} room_tree;

static cs_status make_tree(csi_batch_memory *memory, int64_t n_bins,
                           int64_t room, room_tree *tree)
{
    tree->n_leaves = 1;
    while (tree->n_leaves < n_bins) {
        tree->n_leaves *= 2;
    }
    CS_TRY(csi_batch_alloc(memory, 2 * tree->n_leaves, sizeof *tree->room,
                           &tree->room));
    for (int64_t node = 0; node < 2 * tree->n_leaves; node++) {
        tree->room[node] = room;
    }
    return CS_OK;
}

static int64_t find_first(const room_tree *tree, int64_t n_tokens)
{
    int64_t node = 1;

    while (node < tree->n_leaves) {
        node *= 2;
        if (tree->room[node] < n_tokens) {
            node++;
        }
    }
    return node - tree->n_leaves;
}

static void set_room(room_tree *tree, int64_t bin, int64_t room)
{
    int64_t node = tree->n_leaves + bin;

    tree->room[node] = room;
    for (node /= 2; node >= 1; node /= 2) {
        const int64_t left = tree->room[2 * node];
        const int64_t right = tree->room[2 * node + 1];

        tree->room[node] = left > right ? left : right;
    }
}

/* bin[i] = the bin of sample i, numbered as they were opened. There are as
 * many leaves as samples, so a bin is always found. */
static cs_status first_fit(csi_batch_memory *memory, const piece *pieces,
                           int64_t n, int64_t cap, int64_t *bin)
{
    room_tree tree = {0};
    int64_t *n_members = NULL;

    CS_TRY(make_tree(memory, n, cap, &tree));
    CS_TRY(csi_batch_alloc(memory, tree.n_leaves, sizeof *n_members,
                           &n_members));
    memset(n_members, 0, (size_t)tree.n_leaves * sizeof *n_members);
    for (int64_t i = 0; i < n; i++) {
        const int64_t to = find_first(&tree, pieces[i].n_tokens);
        const int64_t room = tree.room[tree.n_leaves + to] - pieces[i].n_tokens;

        n_members[to]++;
        set_room(&tree, to, n_members[to] < CS_MASK_MAX_DOCUMENT ? room : -1);
        bin[pieces[i].number] = to;
    }
    return CS_OK;
}

/* Renumbers the bins by their first member and lists the members. */
static cs_status list_members(csi_batch_memory *memory, const int64_t *bin,
                              int64_t n, csi_batch_bins *out)
{
    int64_t *number = NULL; /* bin as opened -> final number */

    CS_TRY(csi_batch_alloc(memory, n, sizeof *number, &number));
    CS_TRY(csi_batch_alloc(memory, n + 1, sizeof *out->begin, &out->begin));
    CS_TRY(csi_batch_alloc(memory, n, sizeof *out->member, &out->member));
    for (int64_t i = 0; i < n; i++) {
        number[i] = -1;
    }
    memset(out->begin, 0, (size_t)(n + 1) * sizeof *out->begin);
    for (int64_t i = 0; i < n; i++) {
        if (number[bin[i]] < 0) {
            number[bin[i]] = out->n_bins++;
        }
        out->begin[number[bin[i]] + 1]++;
    }
    for (int32_t b = 0; b < out->n_bins; b++) {
        out->begin[b + 1] += out->begin[b];
    }
    int64_t *next = NULL;

    CS_TRY(csi_batch_alloc(memory, out->n_bins, sizeof *next, &next));
    memcpy(next, out->begin, (size_t)out->n_bins * sizeof *next);
    for (int64_t i = 0; i < n; i++) {
        out->member[next[number[bin[i]]]++] = i;
    }
    return CS_OK;
}

static cs_status deal(csi_batch_memory *memory, const int64_t *n_tokens,
                      int32_t n_replicas, csi_batch_bins *bins)
{
    const int32_t most = (bins->n_bins + n_replicas - 1) / n_replicas;
    piece *pieces = NULL;
    piece *load = NULL; /* per replica: tokens, bins */

    CS_TRY(csi_batch_alloc(memory, bins->n_bins, sizeof *bins->replica,
                           &bins->replica));
    CS_TRY(csi_batch_alloc(memory, bins->n_bins, sizeof *pieces, &pieces));
    CS_TRY(csi_batch_alloc(memory, n_replicas, sizeof *load, &load));
    memset(load, 0, (size_t)n_replicas * sizeof *load);
    for (int32_t b = 0; b < bins->n_bins; b++) {
        pieces[b] = (piece){.number = b};
        for (int64_t i = bins->begin[b]; i < bins->begin[b + 1]; i++) {
            pieces[b].n_tokens += n_tokens[bins->member[i]];
        }
    }
    qsort(pieces, (size_t)bins->n_bins, sizeof *pieces, compare_pieces);
    for (int32_t b = 0; b < bins->n_bins; b++) {
        int32_t to = -1;

        for (int32_t r = 0; r < n_replicas; r++) {
            if (load[r].number < most &&
                (to < 0 || load[r].n_tokens < load[to].n_tokens)) {
                to = r;
            }
        }
        load[to].n_tokens += pieces[b].n_tokens;
        load[to].number++;
        bins->replica[pieces[b].number] = to;
    }
    bins->most_per_replica = most;
    return CS_OK;
}

cs_status csi_batch_pack(csi_batch_memory *memory, const cs_index_view *index,
                         const cs_batch_settings *settings,
                         const csi_batch_taken *taken, csi_batch_bins *out)
{
    const int64_t n = taken->n_samples;
    piece *pieces = NULL;
    int64_t *n_tokens = NULL;
    int64_t *bin = NULL;

    *out = (csi_batch_bins){.n_bins = 0};
    CS_TRY(csi_batch_alloc(memory, n, sizeof *pieces, &pieces));
    CS_TRY(csi_batch_alloc(memory, n, sizeof *n_tokens, &n_tokens));
    CS_TRY(csi_batch_alloc(memory, n, sizeof *bin, &bin));
    for (int64_t i = 0; i < n; i++) {
        n_tokens[i] = index->samples[taken->samples[i]].n_tokens;
        CS_CHECK(n_tokens[i] > 0 &&
                     n_tokens[i] <= settings->max_tokens_per_microbatch,
                 CS_ERR_ARG,
                 "sample %" PRId64 " has %" PRId64
                 " tokens, a microbatch holds 1..%" PRId64
                 " (data.max_tokens_per_microbatch)",
                 taken->samples[i], n_tokens[i],
                 settings->max_tokens_per_microbatch);
        pieces[i] = (piece){.n_tokens = n_tokens[i], .number = i};
        bin[i] = i;
    }
    if (settings->packing) {
        qsort(pieces, (size_t)n, sizeof *pieces, compare_pieces);
        CS_TRY(first_fit(memory, pieces, n, settings->max_tokens_per_microbatch,
                         bin));
    }
    CS_TRY(list_members(memory, bin, n, out));
    return deal(memory, n_tokens, settings->n_replicas, out);
}
