/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text through the sieves (tokenizer.h) to ids and offsets. Pieces go depth
 * first through the steps of the pre-tokenizer, so one text costs a handful of
 * buffers however many pieces it has.
 */
#include "base/alloc.h"

#include "tokenizer.h"

#include <string.h>

typedef struct encoding {
    const cs_tokenizer *t;
    const csi_encode_options *options;
    csi_id_sink *sink;
    csi_view text; /* the repaired text */
    csi_text normal[2];
    csi_text spaced[CSI_MAX_STEPS];      /* of steps that change text */
    csi_matcher *matcher[CSI_MAX_STEPS]; /* of steps that cut */
    csi_bpe_scratch scratch;
} encoding;

static cs_status run_step(encoding *e, int32_t level, const csi_view *view);

/* ---- steps that cut ---- */

/* A part that waits for its neighbour, because it may grow. */
typedef struct cutter {
    encoding *e;
    int32_t level;
    const csi_view *view;
    size_t begin, end; /* begin == end: nothing waits */
    bool is_match;     /* what waits is a match */
} cutter;

static cs_status hand_on(cutter *c)
{
    if (c->begin < c->end) {
        const csi_view part = csi_view_slice(c->view, c->begin, c->end);

        CS_TRY(run_step(c->e, c->level + 1, &part));
    }
    c->begin = c->end;
    return CS_OK;
}

/* The next part of the text, a match or what lies between two. */
static cs_status take_part(cutter *c, size_t begin, size_t end, bool is_match)
{
    const csi_pre *const step = &c->e->t->pre[c->level];
    bool joins = false;

    if (begin == end) {
        return CS_OK;
    }
    is_match = is_match != step->is_inverted;
    switch (step->behavior) {
    case CSI_SPLIT_ISOLATED:
        break;
    case CSI_SPLIT_REMOVED:
        if (is_match) {
            CS_TRY(hand_on(c));
            c->begin = c->end = end;
            return CS_OK;
        }
        break;
    case CSI_SPLIT_CONTIGUOUS:
        joins = is_match == c->is_match;
        break;
    case CSI_SPLIT_WITH_PREVIOUS:
        joins = is_match && !c->is_match;
        break;
    case CSI_SPLIT_WITH_NEXT:
        joins = !is_match && c->is_match;
        break;
    }
    if (!joins || c->begin == c->end) {
        CS_TRY(hand_on(c));
        c->begin = begin;
    }
    c->end = end;
    c->is_match = is_match;
    return CS_OK;
}

static cs_status cut_view(encoding *e, int32_t level, const csi_view *view)
{
    const csi_pre *const step = &e->t->pre[level];
    cutter c = {.e = e, .level = level, .view = view};
    size_t at = 0;

    if (e->matcher[level] == NULL) {
        CS_TRY(csi_matcher_create(step->pattern, &e->matcher[level]));
    }
    while (at < view->n_bytes) {
        size_t begin = 0;
        size_t end = 0;

        CS_TRY(csi_pattern_find(step->pattern, e->matcher[level], view->bytes,
                                view->n_bytes, at, &begin, &end));
        if (end == 0) {
            break;
        }
        CS_TRY(take_part(&c, at, begin, false));
        CS_TRY(take_part(&c, begin, end, true));
        at = end;
    }
    CS_TRY(take_part(&c, at, view->n_bytes, false));
    return hand_on(&c);
}

/* ---- steps that change text ---- */

/* Whether a space goes before this piece. */
static bool wants_prefix(const csi_pre *step, const csi_view *view)
{
    const size_t n = strlen(step->space);
    const bool has_one =
        view->n_bytes >= n && memcmp(view->bytes, step->space, n) == 0;

    if (has_one || view->place == CSI_PLACE_INSIDE) {
        return false;
    }
    return step->prefix == CSI_PREFIX_ALWAYS ||
           (step->prefix == CSI_PREFIX_FIRST && view->place == CSI_PLACE_START);
}

static cs_status space_view(encoding *e, int32_t level, const csi_view *view)
{
    const csi_pre *const step = &e->t->pre[level];
    csi_text *const to = &e->spaced[level];
    const size_t n = strlen(step->space);
    csi_view now = *view;
    csi_text spaced = {.n_bytes = 0};
    cs_status st = CS_OK;

    if (strcmp(step->space, " ") != 0) {
        csi_text_clear(to, view->spans != NULL);
        csi_text_replace(to, view, " ", 1, step->space, n);
        CS_TRY(csi_text_check(to));
        now = csi_text_view(to, view);
    }
    if (!wants_prefix(step, &now)) {
        return run_step(e, level + 1, &now);
    }
    csi_text_clear(&spaced, view->spans != NULL);
    csi_text_prepend(&spaced, &now, step->space, n);
    CS_TRY_GOTO(done, csi_text_check(&spaced));
    now = csi_text_view(&spaced, view);
    CS_TRY_GOTO(done, run_step(e, level + 1, &now));
done:
    csi_text_fini(&spaced);
    return st;
}

static cs_status run_step(encoding *e, int32_t level, const csi_view *view)
{
    if (view->n_bytes == 0) {
        return CS_OK;
    }
    if (level == e->t->n_pre) {
        CS_TRY(csi_bpe_encode(e->t, &e->scratch, view, e->sink));
        return CS_OK;
    }
    return e->t->pre[level].kind == CSI_PRE_SPLIT ? cut_view(e, level, view)
                                                  : space_view(e, level, view);
}

/* ---- added tokens around them ---- */

static cs_status take_normal(void *context, const csi_view *view,
                             const csi_cut *cut)
{
    encoding *const e = context;

    if (cut->id < 0) {
        const csi_view part = csi_view_slice(view, cut->begin, cut->end);

        return run_step(e, 0, &part);
    }
    const csi_span span = {
        .begin = csi_view_span(view, cut->begin).begin,
        .end = csi_view_span(view, cut->end - 1).end,
    };

    csi_id_sink_add(e->sink, cut->id, span);
    return CS_OK;
}

static cs_status take_raw(void *context, const csi_view *view,
                          const csi_cut *cut)
{
    encoding *const e = context;
    csi_view part = csi_view_slice(view, cut->begin, cut->end);

    if (cut->id >= 0) {
        return take_normal(context, view, cut);
    }
    CS_TRY(csi_normalize(e->t, &part, e->normal, &part));
    CS_TRY(csi_added_cut(e->t, &e->t->added_normal, &part, e->options,
                         take_normal, e));
    return CS_OK;
}

/* ---- offsets ---- */

/* Spans of a text by itself: of each byte, its whole letter. */
static cs_status make_spans(const char *text, size_t n_bytes, csi_span **out)
{
    csi_span *const spans = csi_malloc((n_bytes + 1) * sizeof *spans);
    int n = 0;

    CS_CHECK(spans != NULL, CS_ERR_NOMEM, "tokenizer: no memory for offsets");
    for (size_t at = 0; at < n_bytes; at += (size_t)n) {
        (void)csi_utf8_get(text + at, &n);
        for (int i = 0; i < n; i++) {
            spans[at + (size_t)i] =
                (csi_span){.begin = (int32_t)at, .end = (int32_t)at + n};
        }
    }
    *out = spans;
    return CS_OK;
}

/* One letter on, or back, in a text. */
static size_t step_letter(const csi_view *text, size_t at, int direction)
{
    do {
        at += (size_t)(ptrdiff_t)direction;
    } while (at > 0 && at < text->n_bytes &&
             ((unsigned char)text->bytes[at] & 0xc0U) == 0x80);
    return at;
}

/* Blanks at both ends of a token's own text. Of a byte-level token only 0x20
 * counts: its other bytes are written as letters. */
static void count_spaces(const csi_view *value, bool is_bytes, int32_t *leading,
                         int32_t *trailing)
{
    size_t at = 0;
    int n = 0;

    *leading = *trailing = 0;
    if (is_bytes) {
        while (at < value->n_bytes && value->bytes[at] == ' ') {
            at++;
        }
        *leading = (int32_t)at;
        for (at = value->n_bytes; at > 0 && value->bytes[at - 1] == ' '; at--) {
            ++*trailing;
        }
        return;
    }
    while (at < value->n_bytes &&
           csi_is_space(csi_utf8_get(value->bytes + at, &n))) {
        at += (size_t)n;
        ++*leading;
    }
    at = value->n_bytes;
    while (at > 0) {
        at = step_letter(value, at, -1);
        if (!csi_is_space(csi_utf8_get(value->bytes + at, &n))) {
            break;
        }
        ++*trailing;
    }
}

/* Post-processor ByteLevel with trim_offsets: blanks at the ends of a token's
 * own text are taken off its place, letter by letter; a single one before the
 * first token may be a prefix space that is in no text. */
static void trim_token(const encoding *e, int64_t index, cs_token *token)
{
    const csi_token *const entry = &e->t->tokens[token->id];
    csi_view value = {.bytes = entry->bytes, .n_bytes = (size_t)entry->n_bytes};
    size_t end = (size_t)token->end;
    int32_t leading = 0;
    int32_t trailing = 0;

    if (entry->is_added) { /* with the blanks that it swallowed */
        value =
            csi_view_slice(&e->text, (size_t)token->begin, (size_t)token->end);
    }
    count_spaces(&value, !entry->is_added, &leading, &trailing);
    if (e->t->trims_after_prefix && leading == 1 &&
        (index == 0 || token->begin == 0)) {
        leading = 0;
    }
    while (leading-- > 0 && token->begin < token->end) {
        token->begin = (int32_t)step_letter(&e->text, (size_t)token->begin, 1);
    }
    while (trailing > 0 && end > 0) {
        end = step_letter(&e->text, end, -1);
        trailing--;
    }
    if (trailing == 0) {
        token->end = (int32_t)end > token->begin ? (int32_t)end : token->begin;
    }
}

/* Places in the repaired text to places in what was given. */
static cs_status map_back(const char *raw, size_t n_raw, const csi_view *text,
                          cs_token *tokens, int64_t count)
{
    int32_t *const place = csi_malloc((text->n_bytes + 1) * sizeof *place);
    size_t at = 0;
    size_t to = 0;

    CS_CHECK(place != NULL, CS_ERR_NOMEM, "tokenizer: no memory for offsets");
    while (at < n_raw) {
        const int n = csi_utf8_scan(raw + at, n_raw - at);
        const size_t n_to = n > 0 ? (size_t)n : 3;

        for (size_t i = 0; i < n_to; i++) {
            place[to + i] = (int32_t)at;
        }
        to += n_to;
        at += (size_t)(n > 0 ? n : -n);
    }
    place[to] = (int32_t)at;
    for (int64_t i = 0; i < count; i++) {
        tokens[i].begin = place[tokens[i].begin];
        tokens[i].end = place[tokens[i].end];
    }
    csi_free(place);
    return CS_OK;
}

/* ---- all of it ---- */

static cs_status run_all(encoding *e)
{
    const int64_t first = e->sink->count;

    CS_TRY(csi_added_cut(e->t, &e->t->added_raw, &e->text, e->options, take_raw,
                         e));
    if (e->sink->tokens != NULL && e->t->trims_offsets) {
        for (int64_t i = first; i < e->sink->count && i < e->sink->capacity;
             i++) {
            trim_token(e, i - first, &e->sink->tokens[i]);
        }
    }
    return CS_OK;
}

static void fini(encoding *e)
{
    csi_text_fini(&e->normal[0]);
    csi_text_fini(&e->normal[1]);
    for (int32_t i = 0; i < CSI_MAX_STEPS; i++) {
        csi_text_fini(&e->spaced[i]);
        csi_matcher_destroy(&e->matcher[i]);
    }
    csi_bpe_scratch_fini(&e->scratch);
}

cs_status csi_tokenizer_run(const cs_tokenizer *tokenizer, const char *text,
                            size_t n_bytes, const csi_encode_options *options,
                            csi_id_sink *sink)
{
    cs_status st = CS_OK;
    csi_str repaired = {0};
    csi_span *spans = NULL;
    const int64_t first = sink->count;
    const bool is_valid = csi_utf8_valid(text, n_bytes);
    encoding e = {.t = tokenizer, .options = options, .sink = sink};

    CS_CHECK(n_bytes <= CSI_MAX_TEXT_BYTES, CS_ERR_ARG,
             "tokenizer: a text of %zu bytes is more than %d", n_bytes,
             CSI_MAX_TEXT_BYTES);
    CS_CHECK(is_valid || options->is_user == NULL, CS_ERR_ARG,
             "tokenizer: a text with marks is not valid UTF-8");
    if (!is_valid) {
        csi_utf8_repair(&repaired, text, n_bytes);
        CS_TRY_GOTO(done, csi_str_check(&repaired));
    }
    e.text = (csi_view){.bytes = is_valid ? text : csi_str_get(&repaired),
                        .n_bytes = is_valid ? n_bytes : repaired.length,
                        .place = options->place};
    if (sink->tokens != NULL || options->is_user != NULL) {
        CS_TRY_GOTO(done, make_spans(e.text.bytes, e.text.n_bytes, &spans));
        e.text.spans = spans;
    }
    CS_TRY_GOTO(done, run_all(&e));
    if (!is_valid && sink->tokens != NULL) {
        const int64_t last =
            sink->count < sink->capacity ? sink->count : sink->capacity;

        CS_TRY_GOTO(done, map_back(text, n_bytes, &e.text, sink->tokens + first,
                                   last - first));
    }
done:
    fini(&e);
    csi_free(spans);
    csi_str_fini(&repaired);
    return st;
}
