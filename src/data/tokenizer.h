/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_TOKENIZER_H
#define CS_DATA_TOKENIZER_H
/*
 * Inside of a tokenizer, shared by its reader (tokenizer_read.c), its merges
 * (tokenizer_bpe.c) and its text functions (tokenizer.c, tokenizer_split.c).
 * Immutable after load: share freely.
 */
#include "cornstarch/data.h"

#include "base/arena.h"
#include "base/hash_map.h"
#include "base/json.h"

/* Patterns come from pcre2, which only tokenizer_split.c sees. */
typedef struct csi_split csi_split;

typedef struct csi_token {
    const char *bytes; /* in the arena; NULL = no token has this id */
    int32_t n_bytes;
    bool is_added;   /* found in text before anything else looks at it */
    bool is_special; /* an added token that only templates may write */
} csi_token;

struct cs_tokenizer {
    csi_arena arena;
    int32_t size;         /* largest id + 1 */
    csi_token *tokens;    /* [size], in the arena */
    int32_t byte_id[256]; /* the token of each single byte */
    csi_hash_map *merges; /* owned: (left id, right id) -> rank, merged id */
    csi_hash_map *vocab;  /* owned: bytes of a token -> id */
    bool is_nfc;          /* text is normalised (Unicode NFC) first */
    bool is_whole_first;  /* HF ignore_merges: a piece that is a token is one */
    int32_t *added;       /* [n_added] ids, by first byte, long ones first */
    int32_t n_added;
    int32_t added_begin[257]; /* where the ones of a first byte lie */
    csi_split *split;         /* owned; NULL = text is one piece */
    int32_t bos, eos;         /* -1 = none */
    bool has_chat_template;
    char *json, *config_json; /* owned: the files, for save; config or NULL */
    size_t json_bytes, config_bytes;
    uint64_t hash; /* of both files */
};

/* From the texts of tokenizer.json and tokenizer_config.json (NULL = none);
 * errors call them where and where_config. */
CS_NODISCARD cs_status csi_tokenizer_parse(const char *json, size_t n_bytes,
                                           const char *where,
                                           const char *config_json,
                                           size_t config_bytes,
                                           const char *where_config,
                                           cs_tokenizer **out);

enum {
    CSI_MAX_TOKEN_ID = (1 << 24) - 1
};

/* Fills the tokenizer from the two documents (tokenizer_read.c,
 * tokenizer_model.c). */
CS_NODISCARD cs_status csi_tokenizer_read_model(cs_tokenizer *tokenizer,
                                                const json_t *root,
                                                const char *where);
/* Gives an id its bytes; two different ones are an error. */
CS_NODISCARD cs_status csi_tokenizer_place(cs_tokenizer *tokenizer,
                                           const char *where, int32_t id,
                                           const char *bytes, int32_t n_bytes);
/* UNSUPPORTED when a flag is true. */
CS_NODISCARD cs_status csi_tokenizer_refuse_flag(const json_t *object,
                                                 const char *key,
                                                 const char *where);
CS_NODISCARD cs_status csi_tokenizer_read(cs_tokenizer *tokenizer,
                                          const char *where);
CS_NODISCARD cs_status csi_tokenizer_read_config(cs_tokenizer *tokenizer,
                                                 const char *where);

/* Where ids go: counted always, written while there is room. */
typedef struct csi_id_sink {
    int32_t *ids;
    int64_t capacity, count;
} csi_id_sink;

static inline void csi_id_sink_add(csi_id_sink *sink, int32_t id)
{
    if (sink->count < sink->capacity) {
        sink->ids[sink->count] = id;
    }
    sink->count++;
}

/* Working memory of merges, kept over the pieces of one text. */
typedef struct csi_bpe_scratch {
    struct csi_bpe_symbol *symbols; /* owned */
    struct csi_bpe_pair *heap;      /* owned */
    size_t capacity;                /* bytes of text that both hold */
} csi_bpe_scratch;

void csi_bpe_scratch_fini(csi_bpe_scratch *scratch);
CS_NODISCARD cs_status csi_bpe_encode(const cs_tokenizer *tokenizer,
                                      csi_bpe_scratch *scratch,
                                      const char *piece, size_t n_bytes,
                                      csi_id_sink *sink);

/* Patterns applied one after another; matches and what lies between them
 * become pieces (HF behaviour "Isolated"). */
CS_NODISCARD cs_status csi_split_create(csi_split **out);
void csi_split_destroy(csi_split **split);
CS_NODISCARD cs_status csi_split_add(csi_split *split, const char *pattern,
                                     const char *where);

/* Unicode NFC. [out,own] csi_free. text is valid UTF-8. */
CS_NODISCARD cs_status csi_normalize_nfc(const char *text, size_t n_bytes,
                                         char **out, size_t *out_bytes);

typedef cs_status (*csi_piece_fn)(void *context, const char *piece,
                                  size_t n_bytes);
/* text is valid UTF-8. split may be NULL. */
CS_NODISCARD cs_status csi_split_run(const csi_split *split, const char *text,
                                     size_t n_bytes, csi_piece_fn fn,
                                     void *context);
#endif
