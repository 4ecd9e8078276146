/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of chunks, filled in order:
 *
 *     first -> [header|aaaa bbb   ] -> [header|cc        ] -> [header|     ]
 *                                        ^ current              spare
 *
 * Chunks after `current` are empty. Space left at the end of a chunk is lost
 * until the next rewind; a reset merges the list, so it is lost once.
 */
#include "base/arena.h"

#include "base/alloc.h"

#include <string.h>

enum {
    UNIT_BYTES = 64,
    DEFAULT_CHUNK_BYTES = 64 * 1024
};

struct csi_arena_chunk {
    csi_arena_chunk *next; /* owned */
    size_t capacity;       /* bytes after the header */
    size_t used;
    char unused[UNIT_BYTES - 3 * sizeof(size_t)]; /* keeps blocks aligned */
};

_Static_assert(sizeof(csi_arena_chunk) == UNIT_BYTES,
               "blocks start on a 64-byte line");

static csi_arena_chunk *create_chunk(size_t capacity)
{
    if (capacity > SIZE_MAX - sizeof(csi_arena_chunk)) {
        return NULL;
    }
    csi_arena_chunk *chunk = csi_aligned(sizeof *chunk + capacity);

    if (chunk != NULL) {
        chunk->next = NULL;
        chunk->capacity = capacity;
        chunk->used = 0;
    }
    return chunk;
}

static void destroy_chunks(csi_arena_chunk *chunk)
{
    while (chunk != NULL) {
        csi_arena_chunk *const next = chunk->next;
        csi_free(chunk);
        chunk = next;
    }
}

void csi_arena_init(csi_arena *arena, size_t chunk_bytes)
{
    *arena = (csi_arena){.chunk_bytes = chunk_bytes};
}

void csi_arena_fini(csi_arena *arena)
{
    destroy_chunks(arena->first);
    *arena = (csi_arena){.chunk_bytes = arena->chunk_bytes};
}

/* A chunk with room for n_bytes, found after `current` or appended. */
static csi_arena_chunk *find_room(csi_arena *arena, size_t n_bytes)
{
    csi_arena_chunk *last = NULL;
    csi_arena_chunk *chunk =
        arena->current != NULL ? arena->current : arena->first;

    for (; chunk != NULL; chunk = chunk->next) {
        if (chunk->capacity - chunk->used >= n_bytes) {
            return chunk;
        }
        last = chunk;
    }
    size_t capacity = arena->chunk_bytes;

    if (capacity == 0) {
        capacity = DEFAULT_CHUNK_BYTES;
    }
    chunk = create_chunk(capacity > n_bytes ? capacity : n_bytes);
    if (chunk == NULL) {
        return NULL;
    }
    if (last == NULL) {
        arena->first = chunk;
    } else {
        last->next = chunk;
    }
    return chunk;
}

void *csi_arena_alloc(csi_arena *arena, size_t n_bytes)
{
    if (n_bytes > SIZE_MAX - UNIT_BYTES) {
        return NULL;
    }
    const size_t rounded =
        (n_bytes + !n_bytes + UNIT_BYTES - 1) / UNIT_BYTES * UNIT_BYTES;
    csi_arena_chunk *const chunk = find_room(arena, rounded);

    if (chunk == NULL) {
        return NULL;
    }
    void *const block = (char *)(chunk + 1) + chunk->used;

    chunk->used += rounded;
    arena->current = chunk;
    arena->live_bytes += rounded;
    if (arena->live_bytes > arena->peak_bytes) {
        arena->peak_bytes = arena->live_bytes;
    }
    return block;
}

void *csi_arena_calloc(csi_arena *arena, size_t n_bytes)
{
    void *const block = csi_arena_alloc(arena, n_bytes);

    if (block != NULL) {
        memset(block, 0, n_bytes);
    }
    return block;
}

char *csi_arena_strdup(csi_arena *arena, const char *text)
{
    const size_t n_bytes = strlen(text) + 1;
    char *const copy = csi_arena_alloc(arena, n_bytes);

    if (copy != NULL) {
        memcpy(copy, text, n_bytes);
    }
    return copy;
}

csi_arena_mark csi_arena_save(const csi_arena *arena)
{
    return (csi_arena_mark){
        .chunk = arena->current,
        .used = arena->current != NULL ? arena->current->used : 0,
        .live_bytes = arena->live_bytes,
    };
}

void csi_arena_rewind(csi_arena *arena, csi_arena_mark mark)
{
    csi_arena_chunk *chunk = mark.chunk != NULL ? mark.chunk : arena->first;

    arena->current = chunk;
    if (chunk != NULL) {
        chunk->used = mark.chunk != NULL ? mark.used : 0;
        for (chunk = chunk->next; chunk != NULL; chunk = chunk->next) {
            chunk->used = 0;
        }
    }
    arena->live_bytes = mark.live_bytes;
}

void csi_arena_reset(csi_arena *arena)
{
    size_t total = 0;

    csi_arena_rewind(arena, (csi_arena_mark){.chunk = NULL});
    if (arena->first == NULL || arena->first->next == NULL) {
        return;
    }
    for (const csi_arena_chunk *c = arena->first; c != NULL; c = c->next) {
        total += c->capacity;
    }
    csi_arena_chunk *const merged = create_chunk(total);

    if (merged != NULL) {
        destroy_chunks(arena->first);
        arena->first = arena->current = merged;
    }
}
