/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_MASK_CASES_H
#define CST_MASK_CASES_H
/*
 * Masks of the shapes that multimodal training meets, by seed: for the tests
 * of the distributions and for bench/cp_bench. After the generators of the
 * paper's evaluation (github.com/cornstarch-org/cornstarch, November 2024);
 * its blockwise causal mask became packed documents, and packed documents with
 * several pictures are ours.
 *
 *   packed_causal        documents of n/64 .. n/16 tokens, causal
 *   prefix_lm            10 % .. 100 % see each other, the rest is causal
 *   prefix_lm_document   prefix-LM block, islands, a tail that sees all before
 *   embedded             causal head, then islands and text in turns
 *   multimodal_packed    four documents, each of one of the three above
 *   packed_pictures      documents of n/64 .. n/16 tokens: pictures and text
 */
#include "cornstarch/mask.h"

typedef enum cst_mask_kind {
    CST_MASK_PACKED_CAUSAL,
    CST_MASK_PREFIX_LM,
    CST_MASK_PREFIX_LM_DOCUMENT,
    CST_MASK_EMBEDDED,
    CST_MASK_MULTIMODAL_PACKED,
    CST_MASK_PACKED_PICTURES,
    CST_MASK_KIND_COUNT
} cst_mask_kind;

/* Tokens are appended at `at`; documents and spans count up. */
typedef struct cst_mask_writer {
    uint64_t state;
    int64_t n, at;
    uint32_t document, span;
    uint64_t *word;
} cst_mask_writer;

static inline const char *cst_mask_kind_name(cst_mask_kind kind)
{
    static const char *const names[CST_MASK_KIND_COUNT] = {
        "packed_causal", "prefix_lm",         "prefix_lm_document",
        "embedded",      "multimodal_packed", "packed_pictures",
    };

    return names[kind];
}

static inline bool cst_mask_kind_is_packed(cst_mask_kind kind)
{
    return kind == CST_MASK_PACKED_CAUSAL ||
           kind == CST_MASK_MULTIMODAL_PACKED ||
           kind == CST_MASK_PACKED_PICTURES;
}

/* In [low, high], by splitmix64. */
static inline int64_t cst_mask_draw(cst_mask_writer *w, int64_t low,
                                    int64_t high)
{
    uint64_t z = w->state += 0x9e3779b97f4a7c15U;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    z ^= z >> 31;
    return high <= low ? low : low + (int64_t)(z % (uint64_t)(high - low + 1));
}

static inline void cst_mask_put(cst_mask_writer *w, int64_t n_tokens,
                                uint64_t word)
{
    for (int64_t i = 0; i < n_tokens && w->at < w->n; i++) {
        w->word[w->at++] = word;
    }
}

static inline void cst_mask_text(cst_mask_writer *w, int64_t n_tokens)
{
    cst_mask_put(w, n_tokens, cs_mask_word(w->document, 0, 3, CS_MASK_TEXT));
}

static inline void cst_mask_island(cst_mask_writer *w, int64_t n_tokens)
{
    cst_mask_put(w, n_tokens, cs_mask_word(w->document, ++w->span, 0, 2));
}

static inline void cst_mask_prefix_lm(cst_mask_writer *w, int64_t n)
{
    const int64_t prefix = n * cst_mask_draw(w, 10, 100) / 100;

    cst_mask_put(w, prefix,
                 cs_mask_word(w->document, ++w->span, 3, CS_MASK_TEXT));
    cst_mask_text(w, n - prefix);
}

static inline void cst_mask_prefix_lm_document(cst_mask_writer *w, int64_t n)
{
    const int64_t end = w->at + n;
    const int64_t tail = w->at + n * 9 / 10;

    cst_mask_prefix_lm(w, n * cst_mask_draw(w, 10, 40) / 100);
    while (w->at < tail) {
        const int64_t wanted = n * cst_mask_draw(w, 5, 30) / 100 + 1;

        cst_mask_island(w, wanted < tail - w->at ? wanted : tail - w->at);
    }
    cst_mask_text(w, end - w->at);
}

static inline void cst_mask_embedded(cst_mask_writer *w, int64_t n)
{
    const int64_t end = w->at + n;

    cst_mask_text(w, n * cst_mask_draw(w, 10, 30) / 100);
    for (bool is_text = false; w->at < end; is_text = !is_text) {
        const int64_t wanted = n * cst_mask_draw(w, 2, 15) / 100 + 1;
        const int64_t taken = wanted < end - w->at ? wanted : end - w->at;

        if (is_text) {
            cst_mask_text(w, taken);
        } else {
            cst_mask_island(w, taken);
        }
    }
}

static inline void cst_mask_pack(cst_mask_writer *w)
{
    for (int pack = 4; pack > 0; pack--) {
        const int64_t left = w->n - w->at;
        const int64_t n = pack == 1 ? left
                                    : left * cst_mask_draw(w, 50, 150) /
                                          (100 * (int64_t)pack);

        w->span = 0;
        switch (cst_mask_draw(w, 0, 2)) {
        case 0:
            cst_mask_prefix_lm(w, n);
            break;
        case 1:
            cst_mask_prefix_lm_document(w, n);
            break;
        default:
            cst_mask_embedded(w, n);
            break;
        }
        w->document++;
    }
}

static inline void cst_mask_documents(cst_mask_writer *w, bool has_pictures)
{
    while (w->at < w->n) {
        const int64_t length = cst_mask_draw(w, w->n / 64 + 1, w->n / 16 + 1);
        const int64_t left = w->n - w->at;
        const int64_t end = w->at + (length < left ? length : left);

        w->span = 0;
        while (has_pictures && w->at < end) {
            const int64_t text = cst_mask_draw(w, 1, length / 8 + 1);
            const int64_t picture = cst_mask_draw(w, 1, length / 3 + 1);

            cst_mask_text(w, text < end - w->at ? text : end - w->at);
            cst_mask_island(w, picture < end - w->at ? picture : end - w->at);
        }
        cst_mask_text(w, end - w->at);
        w->document++;
    }
}

/* Writes n words and positions 0 .. n-1. */
static inline void cst_mask_fill(cst_mask_kind kind, uint64_t seed, int64_t n,
                                 uint64_t *word, int32_t *position)
{
    cst_mask_writer w = {
        .state = seed * 1000003U + (uint64_t)kind,
        .n = n,
        .document = 1,
        .word = word,
    };

    switch (kind) {
    case CST_MASK_PREFIX_LM:
        cst_mask_prefix_lm(&w, n);
        break;
    case CST_MASK_PREFIX_LM_DOCUMENT:
        cst_mask_prefix_lm_document(&w, n);
        break;
    case CST_MASK_EMBEDDED:
        cst_mask_embedded(&w, n);
        break;
    case CST_MASK_MULTIMODAL_PACKED:
        cst_mask_pack(&w);
        break;
    case CST_MASK_PACKED_CAUSAL:
    case CST_MASK_PACKED_PICTURES:
    case CST_MASK_KIND_COUNT:
        cst_mask_documents(&w, kind == CST_MASK_PACKED_PICTURES);
        break;
    }
    for (int64_t t = 0; t < n; t++) {
        position[t] = (int32_t)t;
    }
}
#endif
