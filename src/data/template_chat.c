/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conversation through a template in Jinja. The whole text is rendered once
 * and tokenised as Hugging Face does, special tokens found in what the template
 * wrote and never in what a turn says; placeholders are found in what turns say.
 *
 * Which tokens are learned: {% generation %} blocks say so, where a template has
 * them. Otherwise the turns before an answer are rendered with the opening of
 * an answer, and the turns up to the answer without: what lies between is the
 * answer, if the first text is a beginning of the second and both of the whole
 * (up to what a template writes at the very end). A template that writes earlier
 * turns differently once others follow is refused by name.
 */
#include "base/alloc.h"

#include "template.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

typedef struct chat {
    const csi_chat_format *format;
    const csi_turn *turns;
    int32_t n_turns;
    const csi_media_list *media;
    const char *where;
    csi_jinja_text text; /* the whole conversation */
    csi_span *labels;    /* owned: bytes that are learned, in order */
    int32_t n_labels;
    uint8_t *is_user; /* owned: of each byte */
    cs_token *tokens; /* owned */
    int64_t capacity;
    csi_draft *draft;
} chat;

/* ---- rendering ---- */

static cs_status make_context(const chat *c, int32_t n_turns, bool for_answer,
                              json_t **out)
{
    static const char *const ROLES[] = {[CSI_ROLE_SYSTEM] = "system",
                                        [CSI_ROLE_USER] = "user",
                                        [CSI_ROLE_ASSISTANT] = "assistant"};
    json_t *const context = json_object();
    json_t *const messages = json_array();
    const char *name = NULL;
    json_t *special = NULL;
    int failed = context == NULL || messages == NULL;

    for (int32_t i = 0; i < n_turns && failed == 0; i++) {
        json_t *const message = json_object();

        failed |= json_object_set_new(message, "role",
                                      json_string(ROLES[c->turns[i].role]));
        failed |= json_object_set_new(message, "content",
                                      json_stringn(c->turns[i].text,
                                                   c->turns[i].n_bytes));
        failed |= json_array_append_new(messages, message);
    }
    json_object_foreach(c->format->specials, name, special)
    {
        failed |= json_object_set_new(context, name,
                                      json_string(json_string_value(special)));
    }
    failed |= json_object_set_new(context, "add_generation_prompt",
                                  json_boolean(for_answer));
    failed |= json_object_set_new(context, "tools", json_null());
    failed |= json_object_set_new(context, "documents", json_null());
    failed |= json_object_set(context, "messages", messages);
    json_decref(messages);
    if (failed != 0) {
        json_decref(context);
        return CS_FAIL(CS_ERR_NOMEM, "%s: no memory for %" PRId32 " turns",
                       c->where, n_turns);
    }
    *out = context;
    return CS_OK;
}

static cs_status render(const chat *c, int32_t n_turns, bool for_answer,
                        csi_jinja_text *out)
{
    json_t *context = NULL;
    cs_status st = CS_OK;

    CS_TRY(make_context(c, n_turns, for_answer, &context));
    CS_TRY_GOTO(done, csi_jinja_render(c->format->jinja, context,
                                       (int64_t)time(NULL), out));
done:
    json_decref(context);
    return st;
}

/* ---- what is learned ---- */

static size_t common_prefix(const csi_jinja_text *a, const csi_jinja_text *b)
{
    const size_t n = a->n_bytes < b->n_bytes ? a->n_bytes : b->n_bytes;
    size_t i = 0;

    while (i < n && a->bytes[i] == b->bytes[i]) {
        i++;
    }
    return i;
}

/* Special tokens are not cut: back to where the one at `end` begins. */
static size_t token_border(const chat *c, size_t end)
{
    const csi_added_table *const table = &c->format->tokenizer->added_raw;

    for (int32_t i = 0; i < table->n_items; i++) {
        const size_t n = (size_t)table->items[i].n_pattern;
        const size_t first = end >= n ? end - n + 1 : 0;

        for (size_t at = first; at < end && at + n <= c->text.n_bytes; at++) {
            if (memcmp(c->text.bytes + at, table->items[i].pattern, n) == 0) {
                return at;
            }
        }
    }
    return end;
}

/* Behind the last byte of a turn; 0 = the template does not write it. */
static size_t behind_turn(const chat *c, int32_t turn)
{
    size_t end = c->text.n_bytes;

    while (end > 0 && c->text.marks[end - 1] != turn + 1) {
        end--;
    }
    return end;
}

static cs_status refuse(const chat *c, int32_t turn)
{
    return CS_FAIL(CS_ERR_ARG,
                   "%s: the chat template writes the turns before turn "
                   "%" PRId32 " differently when it follows, so that its words "
                   "cannot be told from theirs: wanted {%% generation %%} in "
                   "the template, or another data.template",
                   c->where, turn + 1);
}

static bool is_blank_of_template(const csi_jinja_text *text, size_t at)
{
    return text->marks[at] == 0 && strchr(" \t\r\n", text->bytes[at]) != NULL;
}

/* The bytes of an answer and of what ends it, without the template's blanks
 * behind that (nobody has to say them). */
static cs_status find_answer(const chat *c, int32_t turn, csi_span *out)
{
    csi_jinja_text before = {.n_bytes = 0};
    csi_jinja_text with = {.n_bytes = 0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, render(c, turn, true, &before));
    CS_TRY_GOTO(done, render(c, turn + 1, false, &with));
    size_t end = common_prefix(&with, &c->text);

    if (end < c->text.n_bytes) {
        end = token_border(c, end);
    }
    if (common_prefix(&before, &c->text) < before.n_bytes ||
        end < before.n_bytes || end < behind_turn(c, turn)) {
        st = refuse(c, turn);
        goto done;
    }
    while (end > before.n_bytes && is_blank_of_template(&c->text, end - 1)) {
        end--;
    }
    *out = (csi_span){.begin = (int32_t)before.n_bytes, .end = (int32_t)end};
done:
    csi_jinja_text_fini(&before);
    csi_jinja_text_fini(&with);
    return st;
}

static cs_status find_labels(chat *c)
{
    if (c->format->train_on_prompt) {
        c->labels[c->n_labels++] =
            (csi_span){.begin = 0, .end = (int32_t)c->text.n_bytes};
        return CS_OK;
    }
    if (csi_jinja_has_generation(c->format->jinja)) {
        for (int32_t i = 0; i < c->text.n_spans; i++) {
            c->labels[c->n_labels++] = c->text.spans[i];
        }
        return CS_OK;
    }
    for (int32_t i = 0; i < c->n_turns; i++) {
        if (c->turns[i].role == CSI_ROLE_ASSISTANT) {
            CS_TRY(find_answer(c, i, &c->labels[c->n_labels]));
            c->n_labels++;
        }
    }
    return CS_OK;
}

/* ---- tokens ---- */

static bool is_learned(const chat *c, int32_t begin, int32_t end)
{
    for (int32_t i = 0; i < c->n_labels; i++) {
        if (begin < c->labels[i].end &&
            (end > c->labels[i].begin || begin >= c->labels[i].begin)) {
            return true;
        }
    }
    return false;
}

/* Tokens of bytes [begin, end), which hold no placeholder. */
static cs_status put_text(chat *c, size_t begin, size_t end)
{
    csi_draft *const d = c->draft;
    const csi_encode_options options = {.parse_special = true,
                                        .is_user = c->is_user + begin,
                                        .place = d->place};
    csi_id_sink sink = {.tokens = c->tokens, .capacity = c->capacity};

    if (begin == end) {
        return CS_OK;
    }
    CS_TRY(csi_tokenizer_run(c->format->tokenizer, c->text.bytes + begin,
                             end - begin, &options, &sink));
    if (sink.count > c->capacity) {
        csi_free(c->tokens);
        c->tokens = csi_malloc((size_t)sink.count * sizeof *c->tokens);
        c->capacity = c->tokens != NULL ? sink.count : 0;
        CS_CHECK(c->tokens != NULL, CS_ERR_NOMEM,
                 "%s: no memory for %" PRId64 " tokens", c->where, sink.count);
        return put_text(c, begin, end);
    }
    for (int64_t i = 0; i < sink.count; i++) {
        const bool is_label =
            is_learned(c, (int32_t)begin + sink.tokens[i].begin,
                       (int32_t)begin + sink.tokens[i].end);

        d->is_prompt =
            d->is_prompt && (!is_label || c->format->train_on_prompt);
        CS_TRY(csi_draft_id(c->format, d, sink.tokens[i].id, is_label));
    }
    d->place = CSI_PLACE_INSIDE;
    return CS_OK;
}

/* Where the text of a question begins, its frame included. */
static cs_status find_branch(const chat *c, int32_t turn, size_t *out)
{
    csi_jinja_text before = {.n_bytes = 0};
    cs_status st = CS_OK;

    if (turn == 0) {
        *out = 0;
        while (*out < c->text.n_bytes && c->text.marks[*out] != 1) {
            ++*out;
        }
        return CS_OK;
    }
    CS_TRY_GOTO(done, render(c, turn, false, &before));
    *out = common_prefix(&before, &c->text);
    if (*out < before.n_bytes) {
        *out = token_border(c, *out);
    }
    if (*out < behind_turn(c, turn - 1)) {
        st = refuse(c, turn);
    }
done:
    csi_jinja_text_fini(&before);
    return st;
}

/* From one border (a question's begin) to the next: text and items. */
static cs_status put_part(chat *c, size_t begin, size_t end)
{
    const csi_chat_format *const f = c->format;
    size_t at = begin;

    while (at < end) {
        const int32_t m = c->is_user[at] != 0
                              ? csi_chat_match(f, c->text.bytes + at, end - at)
                              : -1;

        if (m < 0) {
            at++;
            continue;
        }
        CS_CHECK(c->draft->n_items[m] < c->media[m].n_paths, CS_ERR_ARG,
                 "%s: the chat template writes a %s twice", c->where,
                 f->modality[m].placeholder);
        CS_TRY(put_text(c, begin, at));
        CS_TRY(csi_draft_media(f, c->draft, m,
                               c->media[m].paths[c->draft->n_items[m]]));
        at += strlen(f->modality[m].placeholder);
        begin = at;
    }
    return put_text(c, begin, end);
}

static cs_status put_all(chat *c)
{
    const bool has_branches = c->format->attention == CS_MASK_BRANCHES;
    size_t begin = 0;

    for (int32_t i = 0; i < c->n_turns && has_branches; i++) {
        size_t end = 0;

        if (c->turns[i].role != CSI_ROLE_USER) {
            continue;
        }
        CS_TRY(find_branch(c, i, &end));
        if (end < begin) {
            return refuse(c, i);
        }
        CS_TRY(put_part(c, begin, end));
        c->draft->branch++;
        begin = end;
    }
    CS_TRY(put_part(c, begin, c->text.n_bytes));
    for (int32_t m = 0; m < c->format->n_modalities; m++) {
        CS_CHECK(c->draft->n_items[m] == c->media[m].n_paths, CS_ERR_ARG,
                 "%s: the chat template leaves out a %s", c->where,
                 c->format->modality[m].placeholder);
    }
    return CS_OK;
}

static cs_status prepare(chat *c, bool for_answer)
{
    CS_TRY(render(c, c->n_turns, for_answer, &c->text));
    const size_t n_labels = (size_t)c->n_turns + (size_t)c->text.n_spans + 1;

    c->labels = csi_malloc(n_labels * sizeof *c->labels);
    c->is_user = csi_malloc(c->text.n_bytes + 1);
    CS_CHECK(c->labels != NULL && c->is_user != NULL, CS_ERR_NOMEM,
             "%s: no memory for %zu bytes", c->where, c->text.n_bytes);
    for (size_t i = 0; i < c->text.n_bytes; i++) {
        c->is_user[i] = c->text.marks[i] != 0;
    }
    return for_answer ? CS_OK : find_labels(c);
}

cs_status csi_chat_render(const csi_chat_format *format, const csi_turn *turns,
                          int32_t n_turns, const csi_media_list *media,
                          bool for_answer, const char *where, csi_draft *draft)
{
    chat c = {.format = format,
              .turns = turns,
              .n_turns = n_turns,
              .media = media,
              .where = where,
              .draft = draft};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, prepare(&c, for_answer));
    CS_TRY_GOTO(done, put_all(&c));
done:
    csi_jinja_text_fini(&c.text);
    csi_free(c.labels);
    csi_free(c.is_user);
    csi_free(c.tokens);
    return st;
}
