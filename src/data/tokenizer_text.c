/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that remembers where each of its bytes came from, so that offsets
 * survive normalization. Two changes of text are enough for the tokenizers
 * here: something put in front, which stands for the first letter, and a
 * replacement, which stands for the last letter that it replaces (so it is in
 * Hugging Face's NormalizedString).
 */
#include "base/alloc.h"

#include "tokenizer.h"

#include <string.h>

void csi_text_fini(csi_text *text)
{
    csi_free(text->bytes);
    csi_free(text->spans);
    *text = (csi_text){.n_bytes = 0};
}

void csi_text_clear(csi_text *text, bool has_spans)
{
    if (has_spans && !text->has_spans) {
        csi_text_fini(text); /* the spans have no memory yet */
    }
    text->n_bytes = 0;
    text->has_spans = has_spans;
    text->failure = CS_OK;
}

static bool reserve(csi_text *t, size_t n_more)
{
    if (t->failure != CS_OK || n_more > CSI_MAX_TEXT_BYTES * 4U - t->n_bytes) {
        t->failure = t->failure != CS_OK ? t->failure : CS_ERR_ARG;
        return false;
    }
    if (t->capacity - t->n_bytes >= n_more) {
        return true;
    }
    const size_t capacity = 2 * (t->n_bytes + n_more) + 64;
    char *const bytes = csi_realloc(t->bytes, capacity);

    t->failure = bytes != NULL ? CS_OK : CS_ERR_NOMEM;
    t->bytes = bytes != NULL ? bytes : t->bytes;
    if (t->has_spans && bytes != NULL) {
        csi_span *const spans = csi_realloc(t->spans, capacity * sizeof *spans);

        t->failure = spans != NULL ? CS_OK : CS_ERR_NOMEM;
        t->spans = spans != NULL ? spans : t->spans;
    }
    t->capacity = t->failure == CS_OK ? capacity : t->capacity;
    return t->failure == CS_OK;
}

void csi_text_add(csi_text *text, const char *bytes, size_t n_bytes,
                  csi_span span)
{
    if (n_bytes == 0 || !reserve(text, n_bytes)) {
        return;
    }
    memcpy(text->bytes + text->n_bytes, bytes, n_bytes);
    for (size_t i = 0; text->has_spans && i < n_bytes; i++) {
        text->spans[text->n_bytes + i] = span;
    }
    text->n_bytes += n_bytes;
}

void csi_text_copy(csi_text *text, const csi_view *from, size_t begin,
                   size_t end)
{
    const size_t n = end - begin;

    if (n == 0 || from->bytes == NULL || !reserve(text, n)) {
        return;
    }
    memcpy(text->bytes + text->n_bytes, from->bytes + begin, n);
    if (text->has_spans && from->spans != NULL) {
        memcpy(text->spans + text->n_bytes, from->spans + begin,
               n * sizeof *text->spans);
    }
    text->n_bytes += n;
}

cs_status csi_text_check(const csi_text *text)
{
    CS_CHECK(text->failure != CS_ERR_NOMEM, CS_ERR_NOMEM,
             "tokenizer: no memory for a text");
    CS_CHECK(text->failure == CS_OK, text->failure,
             "tokenizer: a text is longer than %u bytes when normalized",
             CSI_MAX_TEXT_BYTES * 4U);
    return CS_OK;
}

csi_view csi_text_view(const csi_text *text, const csi_view *like)
{
    return (csi_view){.bytes = text->bytes,
                      .spans = text->has_spans ? text->spans : NULL,
                      .n_bytes = text->n_bytes,
                      .origin = like->origin,
                      .place = like->place};
}

csi_view csi_view_slice(const csi_view *view, size_t begin, size_t end)
{
    csi_view slice = {.bytes = view->bytes + begin,
                      .spans = view->spans != NULL ? view->spans + begin : NULL,
                      .n_bytes = end - begin,
                      .origin = view->origin,
                      .place =
                          begin == 0 ? view->place : CSI_PLACE_AFTER_TOKEN};

    if (view->spans != NULL && begin < end) {
        slice.origin = view->spans[begin].begin;
    }
    return slice;
}

csi_span csi_view_span(const csi_view *view, size_t at)
{
    return view->spans != NULL ? view->spans[at] : (csi_span){.begin = 0};
}

void csi_text_prepend(csi_text *out, const csi_view *view, const char *prefix,
                      size_t n_prefix)
{
    if (view->n_bytes > 0) {
        csi_text_add(out, prefix, n_prefix, csi_view_span(view, 0));
        csi_text_copy(out, view, 0, view->n_bytes);
    }
}

void csi_text_replace(csi_text *out, const csi_view *view, const char *from,
                      size_t n_from, const char *to, size_t n_to)
{
    size_t kept = 0; /* bytes before it are written */
    size_t at = 0;

    while (n_from > 0 && at + n_from <= view->n_bytes) {
        const char *const found =
            memchr(view->bytes + at, from[0], view->n_bytes - at - n_from + 1);

        if (found == NULL) {
            break;
        }
        at = (size_t)(found - view->bytes);
        if (memcmp(found, from, n_from) != 0) {
            at++;
            continue;
        }
        csi_text_copy(out, view, kept, at);
        at += n_from;
        csi_text_add(out, to, n_to, csi_view_span(view, at - 1));
        kept = at;
    }
    csi_text_copy(out, view, kept, view->n_bytes);
}

static bool is_ascii(const csi_view *view)
{
    for (size_t i = 0; i < view->n_bytes; i++) {
        if ((unsigned char)view->bytes[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

cs_status csi_normalize(const cs_tokenizer *tokenizer, const csi_view *view,
                        csi_text buffers[2], csi_view *out)
{
    csi_view now = *view;

    for (int32_t i = 0; i < tokenizer->n_normal; i++) {
        const csi_normal *const step = &tokenizer->normal[i];
        csi_text *const to = &buffers[i % 2];

        if ((step->kind == CSI_NORMAL_NFC && is_ascii(&now)) ||
            (step->kind == CSI_NORMAL_PREPEND &&
             now.place == CSI_PLACE_INSIDE)) {
            csi_text_clear(to, now.spans != NULL);
            csi_text_copy(to, &now, 0, now.n_bytes);
        } else if (step->kind == CSI_NORMAL_NFC) {
            csi_text_clear(to, now.spans != NULL);
            CS_TRY(csi_normalize_nfc(&now, to));
        } else if (step->kind == CSI_NORMAL_PREPEND) {
            csi_text_clear(to, now.spans != NULL);
            csi_text_prepend(to, &now, step->to, step->n_to);
        } else {
            csi_text_clear(to, now.spans != NULL);
            csi_text_replace(to, &now, step->from, step->n_from, step->to,
                             step->n_to);
        }
        CS_TRY(csi_text_check(to));
        now = csi_text_view(to, &now);
    }
    *out = now;
    return CS_OK;
}
