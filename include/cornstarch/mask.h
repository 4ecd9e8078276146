/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_MASK_H
#define CORNSTARCH_MASK_H
/*
 * Which token may see which, as one 64-bit word per token instead of a T x T
 * matrix, and the tile map that kernels, cost and distribution read.
 *
 *     63..48 document   packed sample, from 1; 0 = no token
 *     47..32 span       island of bidirectional attention, from 1; 0 = none
 *     31..16 sees       set of kinds that this token sees causally
 *     15..0  kind       the one kind of this token: bit 0 text,
 *                       bit 1 + i modality i
 *
 *     visible(q, k) <=> document(q) = document(k) != 0
 *                       and ( span(q) = span(k) != 0
 *                             or ( position(q) >= position(k)
 *                                  and sees(q) & kind(k) != 0 ) )
 *
 * `position` is the order in the microbatch before any permutation. A window
 * W > 0 narrows the causal clause: position(q) - position(k) < W.
 * Pure functions; immutable objects may be shared freely between threads.
 */
#include "cornstarch/status.h"

CS_BEGIN_DECLS

enum {
    CS_MASK_MAX_DOCUMENT = 65535,
    CS_MASK_MAX_SPAN = 65535,
    CS_MASK_MAX_KINDS = 16,
    CS_MASK_TEXT = 1 /* kind bit of text */
};

typedef enum cs_mask_policy {
    CS_MASK_CAUSAL,  /* everything sees everything before it */
    CS_MASK_ISLANDS, /* an item sees itself; text sees all before */
    CS_MASK_ISLANDS_PER_MODALITY, /* all items of a modality are one span */
    CS_MASK_IMAGE_SEES_PROMPT,    /* islands, and items see what is before */
    CS_MASK_PREFIX_LM,            /* media and prompt are one span */
    CS_MASK_BRANCHES,             /* branches see the shared part, not others */
    CS_MASK_BIDIRECTIONAL,        /* encoders: each item is one document */
    CS_MASK_POLICY_COUNT
} cs_mask_policy;

/* Consecutive tokens of one sample that the policies treat alike. */
typedef struct cs_mask_run {
    int64_t n_tokens;
    int32_t modality; /* -1 text, else the encoder's index in the recipe */
    int32_t item;     /* index of the item within its modality, from 0 */
    int32_t branch;   /* 0 = shared part, else question number from 1 */
    bool is_prompt;   /* before the first answer (prefix_lm) */
} cs_mask_run;

/* A view of n tokens; owns nothing. */
typedef struct cs_mask {
    int64_t n_tokens;
    const uint64_t *word;
    const int32_t *position;
} cs_mask;

static inline uint64_t cs_mask_word(uint32_t document, uint32_t span,
                                    uint32_t sees, uint32_t kind)
{
    return ((uint64_t)document << 48) | ((uint64_t)span << 32) |
           ((uint64_t)sees << 16) | (uint64_t)kind;
}

static inline bool cs_mask_visible(uint64_t q, int32_t q_position, uint64_t k,
                                   int32_t k_position, int64_t window)
{
    const uint64_t differ = q ^ k;
    if ((differ >> 48) != 0 || (q >> 48) == 0) {
        return false;
    }
    if (((differ >> 32) & 0xffffU) == 0 && ((q >> 32) & 0xffffU) != 0) {
        return true;
    }
    return q_position >= k_position && ((q >> 16) & k & 0xffffU) != 0 &&
           (window <= 0 || (int64_t)q_position - k_position < window);
}

/* "islands", as in a recipe; "?" for a value that is no policy. */
CS_API const char *cs_mask_policy_name(cs_mask_policy policy);
CS_API CS_NODISCARD cs_status cs_mask_policy_parse(const char *name,
                                                   cs_mask_policy *out);

/* Words of one sample: writes sum(n_tokens) words for `document` (>= 1).
 * n_modalities is the number of encoders of the model. Errors: ARG when a
 * field overflows (document, span, kinds). */
CS_API CS_NODISCARD cs_status cs_mask_build(cs_mask_policy policy,
                                            int32_t n_modalities,
                                            uint32_t document,
                                            const cs_mask_run *runs,
                                            int64_t n_runs, uint64_t *word);

/* ---- tile map: per query block a sorted list of runs over key blocks ---- */

typedef enum cs_tile_class {
    CS_TILE_PARTIAL = 1, /* some pair hidden, some visible */
    CS_TILE_FULL = 2     /* every pair visible */
} cs_tile_class;

typedef struct cs_tile_run {
    int32_t first; /* key block */
    int32_t last;  /* one past the last key block */
    cs_tile_class tile_class;
} cs_tile_run;

typedef struct cs_tile_map {
    int64_t q_tokens, k_tokens;
    int32_t q_block, k_block; /* tokens per block; last may be short */
    int64_t n_q_blocks, n_k_blocks;
    int64_t *row_begin; /* [n_q_blocks + 1], owned: first run of a row */
    cs_tile_run *runs;  /* [row_begin[n_q_blocks]], owned; gaps are empty */
    int64_t n_full, n_partial, n_empty;   /* tiles */
    int64_t capacity_rows, capacity_runs; /* kept by rebuilds */
    void *work;                           /* owned: block summaries, private */
    int64_t work_bytes;
} cs_tile_map;

/* Builds into *map (zeroed or built before: memory is reused, so a steady
 * state allocates nothing). Exact, also for permuted tokens. O(T + runs) work
 * in the usual case, never O(T^2) memory. */
CS_API CS_NODISCARD cs_status cs_tile_map_build(cs_tile_map *map,
                                                const cs_mask *q,
                                                const cs_mask *k,
                                                int64_t window, int32_t q_block,
                                                int32_t k_block);
CS_API void cs_tile_map_fini(cs_tile_map *map);
/* Exact number of visible (q, k) pairs. */
CS_API int64_t cs_mask_visible_pairs(const cs_mask *q, const cs_mask *k,
                                     int64_t window);

/* ---- looking at masks from outside ---- */

/* What comes from a file: every token is of one kind or of no document (word
 * 0), positions are unique and not negative. Errors: FORMAT; `where` begins
 * the sentence, which names the token. */
CS_API CS_NODISCARD cs_status cs_mask_check(const cs_mask *mask,
                                            const char *where);

typedef struct cs_mask_counts {
    int64_t n_documents;
    int64_t n_dead; /* tokens of no document */
} cs_mask_counts;
CS_API cs_mask_counts cs_mask_count(const cs_mask *mask);

/* Pairs of different documents that a kernel would let through: all pairs of a
 * full tile are computed unseen, those of a partial one by cs_mask_visible. */
typedef struct cs_mask_leak {
    int64_t n_pairs;
    int64_t q, k; /* tokens of the first; -1 without any */
} cs_mask_leak;
/* `map` is square, of this mask and window. */
CS_API CS_NODISCARD cs_status cs_mask_find_leaks(const cs_mask *mask,
                                                 const cs_tile_map *map,
                                                 int64_t window,
                                                 cs_mask_leak *out);

/* ASCII picture of the mask (T <= max_side: one char a token; larger: blocks)
 * and the counts below it. [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_mask_print(const cs_mask *mask, int64_t window,
                                            int32_t max_side, char **out);

CS_END_DECLS
#endif
