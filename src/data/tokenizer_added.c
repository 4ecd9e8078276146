/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Added tokens: texts that are found before anything else looks at a text. Two
 * tables, because some are looked for as they are and some ("normalized") in
 * normalized text, in their own normal form. The longest at the leftmost place
 * wins; one that is not allowed there is passed over, not replaced by a shorter
 * one (so it is in Hugging Face's tokenizers).
 */
#include "base/json.h"

#include "tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static cs_status keep(cs_tokenizer *t, const char *where, const char *text,
                      size_t n, const char **out)
{
    char *const kept = csi_arena_alloc(&t->arena, n + 1);

    CS_CHECK(kept != NULL, CS_ERR_NOMEM, "%s: no memory for added tokens",
             where);
    memcpy(kept, text, n);
    kept[n] = '\0';
    *out = kept;
    return CS_OK;
}

/* What is looked for: the content, or its normal form. */
static cs_status make_pattern(cs_tokenizer *t, const char *where,
                              csi_added *added)
{
    cs_status st = CS_OK;
    csi_text buffers[2] = {{.n_bytes = 0}, {.n_bytes = 0}};
    csi_view view = {.bytes = added->content,
                     .n_bytes = (size_t)added->n_content};

    if (added->is_normalized) {
        CS_TRY_GOTO(done, csi_normalize(t, &view, buffers, &view));
    }
    CS_CHECK_GOTO(done, view.n_bytes > 0, CS_ERR_FORMAT,
                  "%s: added token '%.40s' is empty when normalized", where,
                  added->content);
    CS_TRY_GOTO(done,
                keep(t, where, view.bytes, view.n_bytes, &added->pattern));
    added->n_pattern = (int32_t)view.n_bytes;
done:
    csi_text_fini(&buffers[0]);
    csi_text_fini(&buffers[1]);
    return st;
}

static cs_status read_added(cs_tokenizer *t, const json_t *item,
                            const char *where, csi_added *out)
{
    csi_added added = {.is_normalized = true};
    const char *content = NULL;
    int64_t id = 0;
    int64_t in_vocab = 0;

    CS_TRY(csi_json_i64(item, "id", where, 0, CSI_MAX_TOKEN_ID, &id));
    CS_TRY(csi_json_string(item, "content", where, &content));
    CS_TRY(csi_json_opt_bool(item, "special", where, &added.is_special));
    added.is_normalized = !added.is_special;
    CS_TRY(csi_json_opt_bool(item, "normalized", where, &added.is_normalized));
    CS_TRY(csi_json_opt_bool(item, "single_word", where, &added.is_word));
    CS_TRY(csi_json_opt_bool(item, "lstrip", where, &added.strips_left));
    CS_TRY(csi_json_opt_bool(item, "rstrip", where, &added.strips_right));
    const size_t n = strlen(content);

    CS_CHECK(n > 0, CS_ERR_FORMAT, "%s: token %" PRId64 " is empty", where, id);
    CS_CHECK(n <= CSI_MAX_TEXT_BYTES && !t->tokens[id].is_added, CS_ERR_FORMAT,
             "%s: two added tokens have id %" PRId64, where, id);
    CS_CHECK(!csi_hash_map_get(t->vocab, content, n, &in_vocab) ||
                 in_vocab == id,
             CS_ERR_FORMAT,
             "%s: added token '%.40s' has id %" PRId64
             ", in the vocabulary %" PRId64,
             where, content, id, in_vocab);
    added.id = (int32_t)id;
    added.n_content = (int32_t)n;
    CS_TRY(keep(t, where, content, n, &added.content));
    CS_TRY(make_pattern(t, where, &added));
    CS_TRY(csi_tokenizer_place(t, where, added.id, content, n));
    const bool is_itself = added.n_pattern == added.n_content &&
                           memcmp(added.pattern, content, n) == 0;

    if (!is_itself) {
        t->tokens[id].bytes = NULL; /* decoded as it was found */
        CS_TRY(csi_tokenizer_place(t, where, added.id, added.pattern,
                                   (size_t)added.n_pattern));
    }
    t->tokens[id].is_added = true;
    t->tokens[id].is_skipped = added.is_special && is_itself;
    *out = added;
    return CS_OK;
}

static int compare_added(const void *a, const void *b)
{
    const csi_added *const x = a;
    const csi_added *const y = b;
    const int first =
        (unsigned char)x->pattern[0] - (unsigned char)y->pattern[0];

    if (first != 0) {
        return first;
    }
    if (x->n_pattern != y->n_pattern) {
        return x->n_pattern > y->n_pattern ? -1 : 1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

static cs_status sort_table(csi_added_table *table, const char *where)
{
    qsort(table->items, (size_t)table->n_items, sizeof *table->items,
          compare_added);
    for (int32_t i = 0; i < table->n_items; i++) {
        const csi_added *const item = &table->items[i];

        table->begin[(unsigned char)item->pattern[0] + 1]++;
        if (i > 0) {
            const csi_added *const before = item - 1;

            CS_CHECK(before->n_pattern != item->n_pattern ||
                         memcmp(before->pattern, item->pattern,
                                (size_t)item->n_pattern) != 0,
                     CS_ERR_FORMAT,
                     "%s: added tokens %" PRId32 " and %" PRId32
                     " are both '%.40s'",
                     where, before->id, item->id, item->pattern);
        }
    }
    for (int byte = 0; byte < 256; byte++) {
        table->begin[byte + 1] += table->begin[byte];
    }
    return CS_OK;
}

cs_status csi_tokenizer_read_added(cs_tokenizer *t, const json_t *added,
                                   const char *where)
{
    const size_t n = json_array_size(added);
    csi_added_table *const tables[2] = {&t->added_raw, &t->added_normal};
    bool needs_words = false;

    for (int i = 0; i < 2; i++) {
        tables[i]->items =
            csi_arena_alloc(&t->arena, n * sizeof *tables[i]->items);
        CS_CHECK(tables[i]->items != NULL, CS_ERR_NOMEM,
                 "%s: no memory for %zu added tokens", where, n);
    }
    for (size_t i = 0; i < n; i++) {
        csi_added item;

        CS_TRY(read_added(t, json_array_get(added, i), where, &item));
        csi_added_table *const table = tables[item.is_normalized ? 1 : 0];

        table->items[table->n_items++] = item;
        needs_words = needs_words || item.is_word;
    }
    CS_TRY(sort_table(&t->added_raw, where));
    CS_TRY(sort_table(&t->added_normal, where));
    if (needs_words) {
        CS_TRY(csi_pattern_create("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
                                  "\\x{200c}\\x{200d}]",
                                  where, &t->word));
    }
    return CS_OK;
}

/* ---- finding them ---- */

static const csi_added *find_longest(const csi_added_table *table,
                                     const char *text, size_t n_bytes)
{
    const unsigned char first = (unsigned char)text[0];

    for (int32_t i = table->begin[first]; i < table->begin[first + 1]; i++) {
        const csi_added *const item = &table->items[i];

        if ((size_t)item->n_pattern <= n_bytes &&
            memcmp(item->pattern, text, (size_t)item->n_pattern) == 0) {
            return item;
        }
    }
    return NULL;
}

/* Begin of the letter that ends at `at`. */
static size_t step_back(const char *text, size_t at)
{
    at--;
    while (at > 0 && ((unsigned char)text[at] & 0xc0U) == 0x80) {
        at--;
    }
    return at;
}

static cs_status is_word_letter(const cs_tokenizer *t, const char *letter,
                                bool *out)
{
    cs_status st = CS_OK;
    csi_matcher *matcher = NULL;
    size_t begin = 0;
    size_t end = 0;
    int n = 0;

    (void)csi_utf8_get(letter, &n);
    CS_TRY(csi_matcher_create(t->word, &matcher));
    CS_TRY_GOTO(done, csi_pattern_find(t->word, matcher, letter, (size_t)n, 0,
                                       &begin, &end));
    *out = end > 0;
done:
    csi_matcher_destroy(&matcher);
    return st;
}

static cs_status stands_alone(const cs_tokenizer *t, const csi_view *view,
                              size_t begin, size_t end, bool *out)
{
    bool before = false;
    bool behind = false;

    if (begin > 0) {
        CS_TRY(is_word_letter(t, view->bytes + step_back(view->bytes, begin),
                              &before));
    }
    if (end < view->n_bytes) {
        CS_TRY(is_word_letter(t, view->bytes + end, &behind));
    }
    *out = !before && !behind;
    return CS_OK;
}

/* Over the blanks before `at`, no further than `least`. */
static size_t strip_left(const csi_view *view, size_t at, size_t least)
{
    int n = 0;

    while (at > least) {
        const size_t before = step_back(view->bytes, at);

        if (!csi_is_space(csi_utf8_get(view->bytes + before, &n))) {
            break;
        }
        at = before;
    }
    return at > least ? at : least;
}

static size_t strip_right(const csi_view *view, size_t at)
{
    int n = 0;

    while (at < view->n_bytes &&
           csi_is_space(csi_utf8_get(view->bytes + at, &n))) {
        at += (size_t)n;
    }
    return at;
}

/* Whether a user wrote a byte that this part of the view came from. */
static bool is_written_by_user(const csi_view *view, const uint8_t *is_user,
                               const csi_cut *cut)
{
    for (size_t i = cut->begin; is_user != NULL && i < cut->end; i++) {
        for (int32_t k = view->spans[i].begin; k < view->spans[i].end; k++) {
            if (is_user[k] != 0) {
                return true;
            }
        }
    }
    return false;
}

static cs_status is_allowed(const cs_tokenizer *t, const csi_view *view,
                            const csi_encode_options *options,
                            const csi_added *item, const csi_cut *cut,
                            bool *out)
{
    *out =
        !item->is_special || (options->parse_special &&
                              !is_written_by_user(view, options->is_user, cut));
    if (*out && item->is_word) {
        CS_TRY(stands_alone(t, view, cut->begin, cut->end, out));
    }
    return CS_OK;
}

cs_status csi_added_cut(const cs_tokenizer *tokenizer,
                        const csi_added_table *table, const csi_view *view,
                        const csi_encode_options *options, csi_cut_fn fn,
                        void *context)
{
    size_t done = 0; /* bytes before it are handed out */
    size_t at = 0;

    while (table->n_items > 0 && at < view->n_bytes) {
        const csi_added *const item =
            find_longest(table, view->bytes + at, view->n_bytes - at);
        bool allowed = false;

        if (item == NULL) {
            at++;
            continue;
        }
        csi_cut cut = {.id = item->id,
                       .begin = at,
                       .end = at + (size_t)item->n_pattern};

        at = cut.end;
        CS_TRY(is_allowed(tokenizer, view, options, item, &cut, &allowed));
        if (!allowed) {
            continue;
        }
        if (item->strips_left) {
            cut.begin = strip_left(view, cut.begin, done);
        }
        if (item->strips_right) {
            cut.end = strip_right(view, cut.end);
        }
        if (done < cut.begin) {
            CS_TRY(fn(context, view,
                      &(csi_cut){.id = -1, .begin = done, .end = cut.begin}));
        }
        CS_TRY(fn(context, view, &cut));
        done = cut.end;
    }
    if (done < view->n_bytes) {
        CS_TRY(fn(context, view,
                  &(csi_cut){.id = -1, .begin = done, .end = view->n_bytes}));
    }
    return CS_OK;
}
