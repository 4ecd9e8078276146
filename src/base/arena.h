/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_ARENA_H
#define CS_BASE_ARENA_H
/*
 * Bump allocation with marks, freed at once. Grows by chunks; after a reset
 * the chunks are kept (and merged into one), so that a steady state allocates
 * nothing. Every block is 64-byte aligned. Not thread-safe.
 */
#include "cornstarch/status.h"

#include <stddef.h>

typedef struct csi_arena_chunk csi_arena_chunk;

typedef struct csi_arena {
    csi_arena_chunk *first;   /* owned */
    csi_arena_chunk *current; /* borrowed from the list */
    size_t chunk_bytes;       /* smallest chunk; 0 = 64 KiB */
    size_t live_bytes;
    size_t peak_bytes;
} csi_arena;

typedef struct csi_arena_mark {
    csi_arena_chunk *chunk;
    size_t used;
    size_t live_bytes;
} csi_arena_mark;

void csi_arena_init(csi_arena *arena,
                    size_t chunk_bytes); /* allocates nothing */
void csi_arena_fini(csi_arena *arena);
/* NULL when memory is out. n_bytes 0 gives a valid pointer. */
void *csi_arena_alloc(csi_arena *arena, size_t n_bytes);
void *csi_arena_calloc(csi_arena *arena, size_t n_bytes);
char *csi_arena_strdup(csi_arena *arena, const char *text);
csi_arena_mark csi_arena_save(const csi_arena *arena);
void csi_arena_rewind(csi_arena *arena, csi_arena_mark mark);
/* Rewinds to empty. With more than one chunk they are replaced by one of the
 * total size (best effort: keeps the list when memory is out). */
void csi_arena_reset(csi_arena *arena);
#endif
