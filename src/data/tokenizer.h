/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_TOKENIZER_H
#define CS_DATA_TOKENIZER_H
/*
 * Inside of a tokenizer. Text goes through these sieves, as in Hugging Face's
 * tokenizers, of which ids and offsets are those:
 *
 *     bytes --repair--> UTF-8 --added tokens--> --normalizer--> --added tokens
 *           that are looked for in normal text--> --pre-tokenizer--> pieces
 *           --merges--> ids --decoder--> text
 *
 * Files: tokenizer_read.c and tokenizer_steps.c (tokenizer.json),
 * tokenizer_model.c (vocabulary, merges), tokenizer_added.c, tokenizer_text.c
 * and tokenizer_normalize.c, tokenizer_pattern.c and tokenizer_split.c,
 * tokenizer_bpe.c, tokenizer_encode.c, tokenizer_decode.c, tokenizer.c.
 * Immutable after load: share freely.
 */
#include "cornstarch/data.h"

#include "base/arena.h"
#include "base/hash_map.h"
#include "base/json.h"
#include "base/str.h"

enum {
    CSI_MAX_TOKEN_ID = (1 << 24) - 1,
    CSI_MAX_STEPS = 8, /* of a normalizer, a pre-tokenizer, a decoder */
    CSI_MAX_TEXT_BYTES = INT32_MAX / 8
};

/* ---- text with the places that it came from ---- */

/* Bytes [begin, end) of the text that was given. */
typedef struct csi_span {
    int32_t begin, end;
} csi_span;

/* Where a text stands, which decides whether a prefix space is put before it:
 * at the very start, behind a special token or an item, or inside of text that
 * was cut for other reasons (never a prefix). */
typedef enum csi_place {
    CSI_PLACE_START,
    CSI_PLACE_AFTER_TOKEN,
    CSI_PLACE_INSIDE
} csi_place;

/* Borrowed text. spans[n_bytes]: where each byte came from; NULL = nobody asks
 * for offsets. */
typedef struct csi_view {
    const char *bytes;
    const csi_span *spans;
    size_t n_bytes;
    int32_t origin; /* where it begins in the text that was given */
    csi_place place;
} csi_view;

/* A growing text. A failed append is remembered: check once, at the end. */
typedef struct csi_text {
    char *bytes;     /* owned */
    csi_span *spans; /* owned; not used when has_spans is false */
    size_t n_bytes, capacity;
    bool has_spans;
    cs_status failure; /* NOMEM or ARG (too long) */
} csi_text;

void csi_text_fini(csi_text *text);
/* Empty, memory kept. */
void csi_text_clear(csi_text *text, bool has_spans);
/* All bytes come from `span`. */
void csi_text_add(csi_text *text, const char *bytes, size_t n_bytes,
                  csi_span span);
/* Bytes [begin, end) of a view, each with its own span. */
void csi_text_copy(csi_text *text, const csi_view *from, size_t begin,
                   size_t end);
CS_NODISCARD cs_status csi_text_check(const csi_text *text);
csi_view csi_text_view(const csi_text *text, const csi_view *like);
csi_view csi_view_slice(const csi_view *view, size_t begin, size_t end);
csi_span csi_view_span(const csi_view *view, size_t at);

/* Bytes of the well-formed UTF-8 sequence at bytes, or minus those of the
 * longest start of one (at least 1): what one U+FFFD stands for. n > 0. */
int csi_utf8_scan(const char *bytes, size_t n);
/* The character at bytes, which is valid UTF-8; *n_bytes is its length. */
uint32_t csi_utf8_get(const char *bytes, int *n_bytes);
/* Unicode White_Space. */
bool csi_is_space(uint32_t code);
/* Ill-formed sequences become U+FFFD (as Python's errors="replace"). */
void csi_utf8_repair(csi_str *out, const char *bytes, size_t n_bytes);

/* ---- normalizer ---- */

typedef enum csi_normal_kind {
    CSI_NORMAL_NFC,
    CSI_NORMAL_PREPEND, /* `to` before every text */
    CSI_NORMAL_REPLACE  /* every `from` becomes `to` */
} csi_normal_kind;

typedef struct csi_normal {
    csi_normal_kind kind;
    const char *from, *to; /* in the arena */
    size_t n_from, n_to;
} csi_normal;

/* Unicode NFC; view is valid UTF-8. Appends to out. */
CS_NODISCARD cs_status csi_normalize_nfc(const csi_view *view, csi_text *out);
void csi_text_replace(csi_text *out, const csi_view *view, const char *from,
                      size_t n_from, const char *to, size_t n_to);
void csi_text_prepend(csi_text *out, const csi_view *view, const char *prefix,
                      size_t n_prefix);
/* *out lies in one of the two buffers or is the view itself. */
CS_NODISCARD cs_status csi_normalize(const cs_tokenizer *tokenizer,
                                     const csi_view *view, csi_text buffers[2],
                                     csi_view *out);

/* ---- pre-tokenizer ---- */

typedef struct csi_pattern csi_pattern; /* pcre2 or literal; immutable */
typedef struct csi_matcher csi_matcher; /* working memory of one thread */

/* A regular expression of tokenizer.json, that is, of Oniguruma: what pcre2
 * would read differently is UNSUPPORTED. */
CS_NODISCARD cs_status csi_pattern_create(const char *regex, const char *where,
                                          csi_pattern **out);
CS_NODISCARD cs_status csi_pattern_create_literal(const char *text,
                                                  csi_pattern **out);
void csi_pattern_destroy(csi_pattern **pattern);
CS_NODISCARD cs_status csi_matcher_create(const csi_pattern *pattern,
                                          csi_matcher **out);
void csi_matcher_destroy(csi_matcher **matcher);
/* The first match at or behind `at` that is not empty; *end = 0: none. */
CS_NODISCARD cs_status csi_pattern_find(const csi_pattern *pattern,
                                        csi_matcher *matcher, const char *text,
                                        size_t n_bytes, size_t at,
                                        size_t *begin, size_t *end);
/* Oniguruma's regular expression in pcre2's words (tokenizer_pattern.c). */
CS_NODISCARD cs_status csi_pattern_translate(const char *regex,
                                             const char *where, csi_str *out);

typedef enum csi_behavior { /* what becomes of a match */
    CSI_SPLIT_ISOLATED,
    CSI_SPLIT_REMOVED,
    CSI_SPLIT_CONTIGUOUS,
    CSI_SPLIT_WITH_PREVIOUS,
    CSI_SPLIT_WITH_NEXT
} csi_behavior;

typedef enum csi_prefix {
    CSI_PREFIX_NEVER,
    CSI_PREFIX_FIRST, /* at the very start of the text only */
    CSI_PREFIX_ALWAYS
} csi_prefix;

typedef enum csi_pre_kind {
    CSI_PRE_SPLIT,
    CSI_PRE_SPACE /* blanks become `space`, one is put in front */
} csi_pre_kind;

typedef struct csi_pre {
    csi_pre_kind kind;
    csi_pattern *pattern; /* owned; SPLIT */
    csi_behavior behavior;
    bool is_inverted;
    csi_prefix prefix; /* SPACE */
    const char *space; /* in the arena; " " = blanks stay */
} csi_pre;

/* ---- decoder ---- */

typedef enum csi_decode_kind {
    CSI_DECODE_REPLACE,
    CSI_DECODE_BYTE_FALLBACK,
    CSI_DECODE_FUSE,
    CSI_DECODE_STRIP,
    CSI_DECODE_METASPACE
} csi_decode_kind;

typedef struct csi_decode {
    csi_decode_kind kind;
    const char *from, *to; /* in the arena; STRIP: from is one letter */
    int32_t n_start, n_stop;
    bool drops_first; /* METASPACE: no blanks from the first token */
} csi_decode;

/* ---- tokens ---- */

typedef struct csi_token {
    const char *bytes; /* what it decodes to; NULL = no token has this id */
    int32_t n_bytes;
    bool is_added;   /* found in text before anything else looks at it */
    bool is_skipped; /* a special token that decodes to its own name */
} csi_token;

typedef struct csi_added {
    const char *content, *pattern; /* in the arena; pattern is looked for */
    int32_t n_content, n_pattern;
    int32_t id;
    bool is_special, is_word, strips_left, strips_right, is_normalized;
} csi_added;

/* By first byte of the pattern, long ones first. */
typedef struct csi_added_table {
    csi_added *items; /* in the arena */
    int32_t n_items;
    int32_t begin[257];
} csi_added_table;

/* GPT-2's alphabet: bytes as letters, as vocabularies write them. */
typedef struct csi_alphabet {
    char letter[256][3]; /* UTF-8, NUL-terminated */
    int16_t byte_of[512];
} csi_alphabet;

struct cs_tokenizer {
    csi_arena arena;
    int32_t size;         /* largest id + 1 */
    csi_token *tokens;    /* [size], in the arena */
    int32_t byte_id[256]; /* byte-level: of each byte; else of <0x..>, or -1 */
    csi_hash_map *merges; /* owned: (left id, right id) -> rank, merged id */
    csi_hash_map *vocab;  /* owned: token as the file writes it -> id */
    csi_alphabet alphabet;
    bool is_byte_level;
    bool is_whole_first; /* HF ignore_merges: a piece that is a token is one */
    bool has_byte_fallback, fuses_unknown;
    int32_t unknown; /* id; -1 = unknown letters vanish */
    csi_normal normal[CSI_MAX_STEPS];
    int32_t n_normal;
    csi_pre pre[CSI_MAX_STEPS];
    int32_t n_pre;
    csi_decode decode[CSI_MAX_STEPS]; /* none when byte-level */
    int32_t n_decode;
    csi_added_table added_raw, added_normal;
    csi_pattern *word; /* owned: one letter of a word; NULL = not needed */
    bool trims_offsets, trims_after_prefix; /* post-processor ByteLevel */
    int32_t *before, *after; /* in the arena: what it puts around a text */
    int32_t n_before, n_after;
    int32_t bos, eos;         /* -1 = none */
    char *chat_template;      /* owned: Jinja; NULL = none */
    char *json, *config_json; /* owned: the files, for save; config or NULL */
    size_t json_bytes, config_bytes;
    bool has_template_file; /* chat_template is a file of its own */
    uint64_t hash;          /* of all files */
};

/* From the texts of tokenizer.json and tokenizer_config.json (NULL = none);
 * errors call them where and where_config. */
CS_NODISCARD cs_status csi_tokenizer_parse(const char *json, size_t n_bytes,
                                           const char *where,
                                           const char *config_json,
                                           size_t config_bytes,
                                           const char *where_config,
                                           cs_tokenizer **out);

CS_NODISCARD cs_status csi_tokenizer_read(cs_tokenizer *tokenizer,
                                          const char *where);
CS_NODISCARD cs_status csi_tokenizer_read_config(cs_tokenizer *tokenizer,
                                                 const char *where);
CS_NODISCARD cs_status csi_tokenizer_read_model(cs_tokenizer *tokenizer,
                                                const json_t *root,
                                                const char *where);
CS_NODISCARD cs_status csi_tokenizer_read_normalizer(cs_tokenizer *tokenizer,
                                                     const json_t *root,
                                                     const char *where);
CS_NODISCARD cs_status csi_tokenizer_read_pre(cs_tokenizer *tokenizer,
                                              const json_t *root,
                                              const char *where);
CS_NODISCARD cs_status csi_tokenizer_read_decoder(cs_tokenizer *tokenizer,
                                                  const json_t *root,
                                                  const char *where);
CS_NODISCARD cs_status csi_tokenizer_read_post(cs_tokenizer *tokenizer,
                                               const json_t *root,
                                               const char *where);
/* After model and normalizer. */
CS_NODISCARD cs_status csi_tokenizer_read_added(cs_tokenizer *tokenizer,
                                                const json_t *added,
                                                const char *where);
/* Gives an id its text (letters are turned into bytes when byte-level). */
CS_NODISCARD cs_status csi_tokenizer_place(cs_tokenizer *tokenizer,
                                           const char *where, int32_t id,
                                           const char *text, size_t n_bytes);
/* UNSUPPORTED when a flag is true. */
CS_NODISCARD cs_status csi_tokenizer_refuse_flag(const json_t *object,
                                                 const char *key,
                                                 const char *where);
/* Steps of a Sequence under `list`, or the one object itself. */
CS_NODISCARD cs_status csi_tokenizer_steps(const json_t *object,
                                           const char *list, const char *where,
                                           const json_t *steps[CSI_MAX_STEPS],
                                           int32_t *n_steps);

/* ---- encoding ---- */

/* Where ids go: counted always, written while there is room. */
typedef struct csi_id_sink {
    int32_t *ids;     /* or */
    cs_token *tokens; /* with offsets */
    int64_t capacity, count;
} csi_id_sink;

static inline void csi_id_sink_add(csi_id_sink *sink, int32_t id, csi_span span)
{
    if (sink->count < sink->capacity && sink->tokens != NULL) {
        sink->tokens[sink->count] =
            (cs_token){.id = id, .begin = span.begin, .end = span.end};
    } else if (sink->count < sink->capacity) {
        sink->ids[sink->count] = id;
    }
    sink->count++;
}

/* Working memory of merges, kept over the pieces of one text. */
typedef struct csi_bpe_scratch {
    struct csi_bpe_symbol *symbols; /* owned */
    struct csi_bpe_pair *heap;      /* owned */
    size_t capacity;                /* symbols that both hold */
    csi_str letters;
} csi_bpe_scratch;

void csi_bpe_scratch_fini(csi_bpe_scratch *scratch);
CS_NODISCARD cs_status csi_bpe_encode(const cs_tokenizer *tokenizer,
                                      csi_bpe_scratch *scratch,
                                      const csi_view *piece, csi_id_sink *sink);

/* What the text of an encoding is allowed to do. */
typedef struct csi_encode_options {
    bool parse_special;
    /* [n_bytes] or NULL: 1 = a user wrote this byte, which therefore is part
     * of no special token whatever parse_special says */
    const uint8_t *is_user;
    csi_place place;
} csi_encode_options;

CS_NODISCARD cs_status csi_tokenizer_run(const cs_tokenizer *tokenizer,
                                         const char *text, size_t n_bytes,
                                         const csi_encode_options *options,
                                         csi_id_sink *sink);

/* One part of a text that added tokens cut. id -1 = what lies between. */
typedef struct csi_cut {
    int32_t id;
    size_t begin, end;
} csi_cut;

typedef cs_status (*csi_cut_fn)(void *context, const csi_view *view,
                                const csi_cut *cut);
/* Cuts a view at the tokens of a table. With options->is_user the view has
 * spans, which lead to the bytes that is_user speaks of. */
CS_NODISCARD cs_status csi_added_cut(const cs_tokenizer *tokenizer,
                                     const csi_added_table *table,
                                     const csi_view *view,
                                     const csi_encode_options *options,
                                     csi_cut_fn fn, void *context);

/* As cs_tokenizer_decode, with the length (texts may hold NUL). */
CS_NODISCARD cs_status csi_tokenizer_decode(const cs_tokenizer *tokenizer,
                                            const int32_t *ids, int64_t count,
                                            bool skip_special, char **text,
                                            size_t *n_bytes);
#endif
