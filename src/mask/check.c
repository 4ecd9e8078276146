/* SPDX-License-Identifier: Apache-2.0 */
/* Masks that others wrote: are the words words, and does a document leak into
 * another one through a tile map? */
#include "cornstarch/mask.h"

#include "base/alloc.h"
#include "base/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t document_of(const cs_mask *mask, int64_t t)
{
    return mask->word[t] >> 48;
}

static cs_status check_word(uint64_t word, int64_t t, const char *where)
{
    const unsigned kind = (unsigned)(word & 0xffffU);

    if (word == 0) {
        return CS_OK;
    }
    CS_CHECK(word >> 48 != 0, CS_ERR_FORMAT,
             "%s: token %" PRId64 ": a word without document is 0, got "
             "0x%016" PRIx64,
             where, t, word);
    CS_CHECK(__builtin_popcount(kind) == 1, CS_ERR_FORMAT,
             "%s: token %" PRId64 ": wanted one bit of kind, got 0x%04x in "
             "0x%016" PRIx64,
             where, t, kind, word);
    return CS_OK;
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a;
    const int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Position and token in one number, sorted: equal positions are neighbours. */
static cs_status check_unique(const cs_mask *mask, const char *where)
{
    const int64_t n = mask->n_tokens;
    int64_t *sorted = csi_malloc((size_t)n * sizeof *sorted);
    cs_status st = CS_OK;

    CS_CHECK(sorted != NULL, CS_ERR_NOMEM,
             "%s: no memory to sort %" PRId64 " positions", where, n);
    for (int64_t t = 0; t < n; t++) {
        sorted[t] = ((int64_t)mask->position[t] << 32) | t;
    }
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    for (int64_t i = 1; i < n; i++) {
        CS_CHECK_GOTO(done, sorted[i] >> 32 != sorted[i - 1] >> 32,
                      CS_ERR_FORMAT,
                      "%s: tokens %" PRId64 " and %" PRId64
                      " both have position %" PRId64,
                      where, sorted[i - 1] & UINT32_MAX, sorted[i] & UINT32_MAX,
                      sorted[i] >> 32);
    }
done:
    csi_free(sorted);
    return st;
}

cs_status cs_mask_check(const cs_mask *mask, const char *where)
{
    bool ascends = true;

    CS_CHECK(mask->n_tokens <= INT32_MAX, CS_ERR_FORMAT,
             "%s: %" PRId64 " tokens, at most %d can have a position", where,
             mask->n_tokens, INT32_MAX);
    for (int64_t t = 0; t < mask->n_tokens; t++) {
        CS_TRY(check_word(mask->word[t], t, where));
        CS_CHECK(mask->position[t] >= 0, CS_ERR_FORMAT,
                 "%s: token %" PRId64 ": wanted a position of at least 0, got "
                 "%" PRId32,
                 where, t, mask->position[t]);
        ascends =
            ascends && (t == 0 || mask->position[t - 1] < mask->position[t]);
    }
    if (!ascends) {
        CS_TRY(check_unique(mask, where));
    }
    return CS_OK;
}

cs_mask_counts cs_mask_count(const cs_mask *mask)
{
    uint64_t found[(CS_MASK_MAX_DOCUMENT + 1) / 64] = {0};
    cs_mask_counts counts = {0};

    for (int64_t t = 0; t < mask->n_tokens; t++) {
        const uint64_t document = document_of(mask, t);
        const uint64_t bit = (uint64_t)1 << (document % 64);

        if (document == 0) {
            counts.n_dead++;
        } else if ((found[document / 64] & bit) == 0) {
            found[document / 64] |= bit;
            counts.n_documents++;
        }
    }
    return counts;
}

typedef struct leak_search {
    const cs_mask *mask;
    int64_t window;
    const int32_t *same_until; /* [n]: where the token's document ends */
    int64_t q_begin, q_end;
    cs_mask_leak found;
} leak_search;

static void look_at_pairs(leak_search *s, int64_t k_begin, int64_t k_end,
                          bool is_full)
{
    const cs_mask *m = s->mask;

    for (int64_t q = s->q_begin; q < s->q_end; q++) {
        for (int64_t k = k_begin; k < k_end; k++) {
            const uint64_t document = document_of(m, q);
            const bool is_allowed =
                document != 0 && document == document_of(m, k);

            if (is_allowed ||
                (!is_full &&
                 !cs_mask_visible(m->word[q], m->position[q], m->word[k],
                                  m->position[k], s->window))) {
                continue;
            }
            if (s->found.n_pairs++ == 0) {
                s->found.q = q;
                s->found.k = k;
            }
        }
    }
}

static void look_at_run(leak_search *s, int64_t k_begin, int64_t k_end,
                        bool is_full)
{
    const uint64_t document = document_of(s->mask, s->q_begin);
    const bool is_one_document = document != 0 &&
                                 s->same_until[s->q_begin] >= s->q_end &&
                                 s->same_until[k_begin] >= k_end &&
                                 document_of(s->mask, k_begin) == document;

    if (!is_one_document) {
        look_at_pairs(s, k_begin, k_end, is_full);
    }
}

cs_status cs_mask_find_leaks(const cs_mask *mask, const cs_tile_map *map,
                             int64_t window, cs_mask_leak *out)
{
    const int64_t n = mask->n_tokens;
    int32_t *same_until = csi_malloc(((size_t)n + 1) * sizeof *same_until);
    leak_search s = {.mask = mask,
                     .window = window,
                     .same_until = same_until,
                     .found = {.q = -1, .k = -1}};

    CS_CHECK(same_until != NULL, CS_ERR_NOMEM,
             "mask: no memory to look for leaks among %" PRId64 " tokens", n);
    for (int64_t t = n; t-- > 0;) {
        const bool goes_on =
            t + 1 < n && document_of(mask, t) == document_of(mask, t + 1);
        same_until[t] = goes_on ? same_until[t + 1] : (int32_t)(t + 1);
    }
    for (int64_t row = 0; row < map->n_q_blocks; row++) {
        s.q_begin = row * map->q_block;
        s.q_end = csi_min_i64(s.q_begin + map->q_block, n);
        for (int64_t i = map->row_begin[row]; i < map->row_begin[row + 1];
             i++) {
            const cs_tile_run *run = &map->runs[i];
            look_at_run(&s, (int64_t)run->first * map->k_block,
                        csi_min_i64((int64_t)run->last * map->k_block, n),
                        run->tile_class == CS_TILE_FULL);
        }
    }
    csi_free(same_until);
    *out = s.found;
    return CS_OK;
}
