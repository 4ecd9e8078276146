/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids back to text: the tokens' texts, through the steps of the decoder. A step
 * maps a list of texts to a list of texts (they lie one after another in one
 * buffer); byte-level tokens are bytes already and need none.
 */
#include "base/alloc.h"

#include "tokenizer.h"

#include <inttypes.h>
#include <string.h>

/* Texts one after another; ends[i] is where the i-th ends. */
typedef struct text_list {
    csi_str text;
    size_t *ends; /* owned */
    int64_t n, capacity;
} text_list;

static void fini(text_list *list)
{
    csi_str_fini(&list->text);
    csi_free(list->ends);
    *list = (text_list){.n = 0};
}

/* What was appended since the last text becomes one. */
static cs_status end_text(text_list *list)
{
    if (list->n == list->capacity) {
        const int64_t capacity = 2 * list->capacity + 64;
        size_t *const grown =
            csi_realloc(list->ends, (size_t)capacity * sizeof *grown);

        CS_CHECK(grown != NULL, CS_ERR_NOMEM,
                 "tokenizer: no memory for %" PRId64 " texts", capacity);
        list->ends = grown;
        list->capacity = capacity;
    }
    list->ends[list->n++] = list->text.length;
    return CS_OK;
}

static const char *get(const text_list *list, int64_t i, size_t *n_bytes)
{
    const size_t begin = i > 0 ? list->ends[i - 1] : 0;

    *n_bytes = list->ends[i] - begin;
    return csi_str_get(&list->text) + begin;
}

static void put_replaced(csi_str *out, const char *text, size_t n,
                         const char *from, const char *to)
{
    const size_t n_from = strlen(from);
    size_t at = 0;

    while (at < n) {
        if (at + n_from <= n && memcmp(text + at, from, n_from) == 0) {
            csi_str_add(out, to);
            at += n_from;
        } else {
            csi_str_add_bytes(out, text + at++, 1);
        }
    }
}

static int hex_value(char c)
{
    static const char DIGITS[] = "0123456789abcdef";
    const char *const found =
        c != '\0' ? strchr(DIGITS, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;

    return found != NULL ? (int)(found - DIGITS) : -1;
}

/* The byte that "<0x0A>" stands for, or -1. */
static int byte_of(const char *text, size_t n)
{
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' ||
        hex_value(text[3]) < 0 || hex_value(text[4]) < 0) {
        return -1;
    }
    return hex_value(text[3]) * 16 + hex_value(text[4]);
}

/* Bytes in a row become text together; when they are no UTF-8, each of them is
 * one U+FFFD. */
static cs_status flush_bytes(csi_str *bytes, text_list *out)
{
    const char *const text = csi_str_get(bytes);

    if (bytes->length == 0) {
        return csi_str_check(bytes);
    }
    if (csi_utf8_valid(text, bytes->length)) {
        csi_str_add_bytes(&out->text, text, bytes->length);
    } else {
        for (size_t i = 0; i < bytes->length; i++) {
            csi_str_add(&out->text, "\xef\xbf\xbd");
        }
    }
    csi_str_clear(bytes);
    return end_text(out);
}

static cs_status join_bytes(const text_list *in, text_list *out)
{
    cs_status st = CS_OK;
    csi_str bytes = {0};
    size_t n = 0;

    for (int64_t i = 0; i < in->n; i++) {
        const char *const text = get(in, i, &n);
        const int byte = byte_of(text, n);

        if (byte >= 0) {
            const char c = (char)byte;

            csi_str_add_bytes(&bytes, &c, 1);
            continue;
        }
        CS_TRY_GOTO(done, flush_bytes(&bytes, out));
        csi_str_add_bytes(&out->text, text, n);
        CS_TRY_GOTO(done, end_text(out));
    }
    CS_TRY_GOTO(done, flush_bytes(&bytes, out));
done:
    csi_str_fini(&bytes);
    return st;
}

/* Up to n_start letters `from` off the start, n_stop off the end. */
static void put_stripped(csi_str *out, const char *text, size_t n,
                         const csi_decode *step)
{
    const size_t n_letter = strlen(step->from);

    for (int32_t i = 0; i < step->n_start && n >= n_letter &&
                        memcmp(text, step->from, n_letter) == 0;
         i++) {
        text += n_letter;
        n -= n_letter;
    }
    for (int32_t i = 0; i < step->n_stop && n >= n_letter &&
                        memcmp(text + n - n_letter, step->from, n_letter) == 0;
         i++) {
        n -= n_letter;
    }
    csi_str_add_bytes(out, text, n);
}

static cs_status run_step(const csi_decode *step, const text_list *in,
                          text_list *out)
{
    size_t n = 0;

    if (step->kind == CSI_DECODE_BYTE_FALLBACK) {
        return join_bytes(in, out);
    }
    for (int64_t i = 0; i < in->n; i++) {
        const char *const text = get(in, i, &n);

        if (step->kind == CSI_DECODE_FUSE) {
            csi_str_add_bytes(&out->text, text, n);
            if (i + 1 < in->n) {
                continue;
            }
        } else if (step->kind == CSI_DECODE_STRIP) {
            put_stripped(&out->text, text, n, step);
        } else {
            put_replaced(&out->text, text, n, step->from,
                         step->drops_first && i == 0 ? "" : step->to);
        }
        CS_TRY(end_text(out));
    }
    return CS_OK;
}

static cs_status collect(const cs_tokenizer *t, const int32_t *ids,
                         int64_t count, bool skip_special, text_list *out)
{
    for (int64_t i = 0; i < count; i++) {
        CS_CHECK(ids[i] >= 0 && ids[i] < t->size &&
                     t->tokens[ids[i]].bytes != NULL,
                 CS_ERR_ARG,
                 "tokenizer: id %" PRId32 " at place %" PRId64
                 " is no token (there are %" PRId32 ")",
                 ids[i], i, t->size);
        const csi_token *const token = &t->tokens[ids[i]];

        if (!skip_special || !token->is_skipped) {
            csi_str_add_bytes(&out->text, token->bytes, (size_t)token->n_bytes);
            CS_TRY(end_text(out));
        }
    }
    return csi_str_check(&out->text);
}

cs_status csi_tokenizer_decode(const cs_tokenizer *tokenizer,
                               const int32_t *ids, int64_t count,
                               bool skip_special, char **text, size_t *n_bytes)
{
    cs_status st = CS_OK;
    text_list list = {.n = 0};
    text_list next = {.n = 0};
    csi_str repaired = {0};

    CS_TRY_GOTO(done, collect(tokenizer, ids, count, skip_special, &list));
    for (int32_t i = 0; i < tokenizer->n_decode; i++) {
        CS_TRY_GOTO(done, run_step(&tokenizer->decode[i], &list, &next));
        CS_TRY_GOTO(done, csi_str_check(&next.text));
        const text_list kept = list;

        list = next;
        next = kept;
        csi_str_clear(&next.text);
        next.n = 0;
    }
    csi_str_add(&repaired, ""); /* so that it is there when it is empty */
    csi_utf8_repair(&repaired, csi_str_get(&list.text), list.text.length);
    CS_TRY_GOTO(done, csi_str_check(&repaired));
    *n_bytes = repaired.length;
    *text = csi_malloc(repaired.length + 1);
    CS_CHECK_GOTO(done, *text != NULL, CS_ERR_NOMEM,
                  "tokenizer: no memory for %zu bytes", repaired.length);
    memcpy(*text, csi_str_get(&repaired), repaired.length + 1);
done:
    fini(&list);
    fini(&next);
    csi_str_fini(&repaired);
    return st;
}

cs_status cs_tokenizer_decode(const cs_tokenizer *tokenizer, const int32_t *ids,
                              int64_t count, bool skip_special, char **text)
{
    size_t n_bytes = 0;

    CS_TRY(csi_tokenizer_decode(tokenizer, ids, count, skip_special, text,
                                &n_bytes));
    return CS_OK;
}
