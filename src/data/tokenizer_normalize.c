/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unicode NFC, which tokenizers of the Qwen kind ask for: one letter, one
 * spelling. Decomposed, marks sorted by class, composed again (UAX 15); each
 * letter carries how many letters it adds (+1) or has swallowed (-n), from which
 * the places in the text follow as in Hugging Face's NormalizedString: a letter
 * that was composed stands for the first of its parts.
 */
#include "base/alloc.h"

#include "tokenizer.h"

#include <utf8proc.h>

enum {
    MAX_PARTS = 32,        /* of one letter, decomposed */
    FIRST_COMPOSABLE = 768 /* no letter before it is the second of a pair */
};

typedef struct letter {
    int32_t code;
    int32_t change; /* 1 = added, 0 = replaces one, -n = and swallows n more */
    int32_t class;  /* canonical combining class */
} letter;

/* Walks the normal form along the text that it replaces. */
typedef struct writer {
    const csi_view *from;
    size_t at; /* bytes of `from` that are used up */
    csi_text *out;
} writer;

static void skip_letter(writer *w)
{
    int n = 0;

    if (w->at < w->from->n_bytes) {
        (void)csi_utf8_get(w->from->bytes + w->at, &n);
        w->at += (size_t)n;
    }
}

static void put(writer *w, const letter *l)
{
    csi_span span = {.begin = w->from->origin, .end = w->from->origin};
    utf8proc_uint8_t bytes[4];
    const utf8proc_ssize_t n = utf8proc_encode_char(l->code, bytes);

    if (l->change > 0 && w->at > 0) {
        span = csi_view_span(w->from, w->at - 1);
    } else if (l->change <= 0) {
        const size_t last = w->from->n_bytes - 1;

        span = csi_view_span(w->from, w->at < last ? w->at : last);
        for (int32_t i = l->change; i <= 0; i++) {
            skip_letter(w);
        }
    }
    csi_text_add(w->out, (const char *)bytes, (size_t)n, span);
}

/* The letters that wait: one starter with its marks. */
typedef struct cluster {
    letter *letters; /* owned */
    letter *sorted;  /* owned: room for as many */
    size_t n, capacity;
    bool has_starter;
    bool is_composed; /* the marks are in order, what composes has */
} cluster;

/* Counting sort, so that a run of a million marks costs no square; stable:
 * marks of one class keep their order. */
static void sort_marks(cluster *c, size_t first)
{
    size_t begin[257] = {0};

    for (size_t i = first; i < c->n; i++) {
        begin[(c->letters[i].class & 0xff) + 1]++;
    }
    for (size_t k = 0; k < 256; k++) {
        begin[k + 1] += begin[k];
    }
    for (size_t i = first; i < c->n; i++) {
        c->sorted[begin[c->letters[i].class & 0xff]++] = c->letters[i];
    }
    for (size_t i = first; i < c->n; i++) {
        c->letters[i] = c->sorted[i - first];
    }
}

/* One letter of two, or -1. */
static int32_t compose(int32_t first, int32_t second)
{
    utf8proc_int32_t pair[2] = {first, second};

    if (second < FIRST_COMPOSABLE) {
        return -1;
    }
    return utf8proc_normalize_utf32(pair, 2,
                                    UTF8PROC_STABLE | UTF8PROC_COMPOSE) == 1
               ? pair[0]
               : -1;
}

/* Orders the marks behind the starter and composes what can be. */
static void compose_cluster(cluster *c)
{
    letter *const letters = c->letters;
    const size_t first = c->has_starter ? 1 : 0;
    size_t kept = 1;
    int32_t last_class = -1; /* of the last mark that did not compose */

    if (c->is_composed) {
        return;
    }
    if (c->n > first + 1) {
        sort_marks(c, first);
    }
    for (size_t i = 1; c->has_starter && i < c->n; i++) {
        const int32_t code = letters[i].class > last_class
                                 ? compose(letters[0].code, letters[i].code)
                                 : -1;

        if (code >= 0) {
            letters[0].code = code;
            letters[0].change += letters[i].change - 1;
        } else {
            last_class = letters[i].class;
            letters[kept++] = letters[i];
        }
    }
    c->n = c->has_starter ? kept : c->n;
    c->is_composed = true;
}

static void flush(cluster *c, writer *w)
{
    compose_cluster(c);
    for (size_t i = 0; i < c->n; i++) {
        put(w, &c->letters[i]);
    }
    c->n = 0;
    c->has_starter = false;
    c->is_composed = false;
}

static cs_status reserve(cluster *c)
{
    const size_t capacity = 2 * c->capacity + 16;

    if (c->n < c->capacity) {
        return CS_OK;
    }
    letter *const letters = csi_realloc(c->letters, capacity * sizeof *letters);

    c->letters = letters != NULL ? letters : c->letters;
    csi_free(c->sorted);
    c->sorted = csi_malloc(capacity * sizeof *c->sorted);
    CS_CHECK(letters != NULL && c->sorted != NULL, CS_ERR_NOMEM,
             "tokenizer: no memory for %zu letters", capacity);
    c->capacity = capacity;
    return CS_OK;
}

static cs_status push(cluster *c, writer *w, letter added)
{
    if (added.class == 0 && c->has_starter) {
        /* Two starters compose only when nothing stands between them. */
        compose_cluster(c);
        const int32_t code =
            c->n == 1 ? compose(c->letters[0].code, added.code) : -1;

        if (code >= 0) {
            c->letters[0].code = code;
            c->letters[0].change += added.change - 1;
            c->is_composed = false;
            return CS_OK;
        }
    }
    if (added.class == 0) {
        flush(c, w);
        c->has_starter = true;
    }
    CS_TRY(reserve(c));
    c->letters[c->n++] = added;
    return CS_OK;
}

cs_status csi_normalize_nfc(const csi_view *view, csi_text *out)
{
    cs_status st = CS_OK;
    writer w = {.from = view, .out = out};
    cluster c = {.n = 0};
    utf8proc_int32_t parts[MAX_PARTS];
    int n_letter = 0;

    for (size_t at = 0; at < view->n_bytes; at += (size_t)n_letter) {
        const uint32_t code = csi_utf8_get(view->bytes + at, &n_letter);
        int boundary = 0;
        const utf8proc_ssize_t n =
            utf8proc_decompose_char((utf8proc_int32_t)code, parts, MAX_PARTS,
                                    UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
                                    &boundary);

        CS_CHECK_GOTO(done, n > 0 && n <= MAX_PARTS, CS_ERR_ARG,
                      "tokenizer: cannot normalise U+%04X", code);
        for (utf8proc_ssize_t i = 0; i < n; i++) {
            const utf8proc_property_t *const p =
                utf8proc_get_property(parts[i]);

            CS_TRY_GOTO(done, push(&c, &w,
                                   (letter){.code = parts[i],
                                            .change = i > 0,
                                            .class = p->combining_class}));
        }
    }
    flush(&c, &w);
    st = csi_text_check(out);
done:
    csi_free(c.letters);
    csi_free(c.sorted);
    return st;
}
