/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tokenizer as its callers see it: loaded from a folder, text to ids and
 * back, saved beside an exported model. Text goes through four sieves:
 *
 *     text --added tokens--> --normal form--> --split patterns--> pieces
 *          --merges--> ids
 *
 * What a user wrote must never become a special token, so those are looked for
 * only when the caller says so; templates put theirs in by id.
 */
#include "tokenizer.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

static const int64_t MAX_FILE_BYTES = (int64_t)256 << 20;

static cs_status copy_text(const char *text, size_t n_bytes, char **out)
{
    char *const copy = csi_malloc(n_bytes + 1);

    CS_CHECK(copy != NULL, CS_ERR_NOMEM, "tokenizer: no memory for %zu bytes",
             n_bytes);
    memcpy(copy, text, n_bytes);
    copy[n_bytes] = '\0';
    *out = copy;
    return CS_OK;
}

cs_status csi_tokenizer_parse(const char *json, size_t n_bytes,
                              const char *where, const char *config_json,
                              size_t config_bytes, const char *where_config,
                              cs_tokenizer **out)
{
    cs_status st = CS_OK;
    cs_tokenizer *tokenizer = csi_calloc(1, sizeof *tokenizer);

    CS_CHECK(tokenizer != NULL, CS_ERR_NOMEM, "tokenizer object");
    csi_arena_init(&tokenizer->arena, 0);
    tokenizer->bos = tokenizer->eos = -1;
    CS_TRY_GOTO(undo, copy_text(json, n_bytes, &tokenizer->json));
    tokenizer->json_bytes = n_bytes;
    tokenizer->hash = XXH3_64bits(json, n_bytes);
    CS_TRY_GOTO(undo, csi_tokenizer_read(tokenizer, where));
    if (config_json != NULL) {
        CS_TRY_GOTO(undo, copy_text(config_json, config_bytes,
                                    &tokenizer->config_json));
        tokenizer->config_bytes = config_bytes;
        tokenizer->hash =
            XXH3_64bits_withSeed(config_json, config_bytes, tokenizer->hash);
        CS_TRY_GOTO(undo, csi_tokenizer_read_config(tokenizer, where_config));
    }
    *out = tokenizer;
    return CS_OK;

undo:
    cs_tokenizer_destroy(&tokenizer);
    return st;
}

/* The file's text; *text stays NULL when there is no such file. */
static cs_status read_optional(const char *path, char **text, size_t *n_bytes)
{
    if (csi_file_exists(path)) {
        CS_TRY(csi_file_read(path, MAX_FILE_BYTES, text, n_bytes));
    }
    return CS_OK;
}

static cs_status load_files(const char *path, const char *config_path,
                            cs_tokenizer **out)
{
    cs_status st = CS_OK;
    char *json = NULL;
    char *config_json = NULL;
    size_t n_bytes = 0;
    size_t config_bytes = 0;

    CS_TRY(csi_file_read(path, MAX_FILE_BYTES, &json, &n_bytes));
    CS_TRY_GOTO(done, read_optional(config_path, &config_json, &config_bytes));
    CS_TRY_GOTO(done, csi_tokenizer_parse(json, n_bytes, path, config_json,
                                          config_bytes, config_path, out));
done:
    csi_free(json);
    csi_free(config_json);
    return st;
}

cs_status cs_tokenizer_load(const char *folder, cs_tokenizer **out)
{
    cs_status st = CS_OK;
    char *path = NULL;
    char *config_path = NULL;
    char *template_path = NULL;

    CS_TRY_GOTO(done, csi_path_join(folder, "tokenizer.json", &path));
    CS_TRY_GOTO(done,
                csi_path_join(folder, "tokenizer_config.json", &config_path));
    CS_TRY_GOTO(done,
                csi_path_join(folder, "chat_template.jinja", &template_path));
    CS_TRY_GOTO(done, load_files(path, config_path, out));
    if (csi_file_exists(template_path)) {
        (*out)->has_chat_template = true;
    }
done:
    csi_free(path);
    csi_free(config_path);
    csi_free(template_path);
    return st;
}

void cs_tokenizer_destroy(cs_tokenizer **tokenizer)
{
    cs_tokenizer *const t = *tokenizer;

    if (t == NULL) {
        return;
    }
    csi_split_destroy(&t->split);
    csi_hash_map_destroy(&t->merges);
    csi_hash_map_destroy(&t->vocab);
    csi_arena_fini(&t->arena);
    csi_free(t->json);
    csi_free(t->config_json);
    csi_free(t);
    *tokenizer = NULL;
}

int32_t cs_tokenizer_size(const cs_tokenizer *tokenizer)
{
    return tokenizer->size;
}

int32_t cs_tokenizer_special(const cs_tokenizer *tokenizer, const char *text)
{
    const size_t n_bytes = strlen(text);

    for (int32_t i = 0; i < tokenizer->n_added; i++) {
        const csi_token *const token = &tokenizer->tokens[tokenizer->added[i]];

        if ((size_t)token->n_bytes == n_bytes &&
            memcmp(token->bytes, text, n_bytes) == 0) {
            return tokenizer->added[i];
        }
    }
    return -1;
}

int32_t cs_tokenizer_bos(const cs_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t cs_tokenizer_eos(const cs_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

/* The longest added token at the start of text; -1 = none. */
static int32_t match_added(const cs_tokenizer *tokenizer, const char *text,
                           size_t n_bytes, bool parse_special)
{
    const unsigned char first = (unsigned char)text[0];

    for (int32_t i = tokenizer->added_begin[first];
         i < tokenizer->added_begin[first + 1]; i++) {
        const csi_token *const token = &tokenizer->tokens[tokenizer->added[i]];

        if ((parse_special || !token->is_special) &&
            (size_t)token->n_bytes <= n_bytes &&
            memcmp(token->bytes, text, (size_t)token->n_bytes) == 0) {
            return tokenizer->added[i];
        }
    }
    return -1;
}

typedef struct encoding {
    const cs_tokenizer *tokenizer;
    csi_bpe_scratch scratch;
    csi_id_sink sink;
} encoding;

static cs_status encode_piece(void *context, const char *piece, size_t n_bytes)
{
    encoding *const e = context;

    CS_TRY(csi_bpe_encode(e->tokenizer, &e->scratch, piece, n_bytes, &e->sink));
    return CS_OK;
}

static bool is_ascii(const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        if ((unsigned char)text[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

/* Text without added tokens. */
static cs_status encode_text(encoding *e, const char *text, size_t n_bytes)
{
    const cs_tokenizer *const t = e->tokenizer;
    cs_status st = CS_OK;
    char *normal = NULL;
    size_t n_normal = 0;

    if (!t->is_nfc || is_ascii(text, n_bytes)) {
        return csi_split_run(t->split, text, n_bytes, encode_piece, e);
    }
    CS_TRY(csi_normalize_nfc(text, n_bytes, &normal, &n_normal));
    CS_TRY_GOTO(done,
                csi_split_run(t->split, normal, n_normal, encode_piece, e));
done:
    csi_free(normal);
    return st;
}

cs_status cs_tokenizer_encode(const cs_tokenizer *tokenizer, const char *text,
                              size_t n_bytes, bool parse_special, int32_t *ids,
                              int64_t capacity, int64_t *count)
{
    cs_status st = CS_OK;
    encoding e = {.tokenizer = tokenizer, .sink = {.capacity = capacity}};
    size_t begin = 0;
    size_t at = 0;

    e.sink.ids = ids;
    CS_CHECK(csi_utf8_valid(text, n_bytes), CS_ERR_ARG,
             "tokenizer: text is not valid UTF-8");
    while (at < n_bytes) {
        const int32_t id =
            match_added(tokenizer, text + at, n_bytes - at, parse_special);

        if (id < 0) {
            at++;
            continue;
        }
        CS_TRY_GOTO(done, encode_text(&e, text + begin, at - begin));
        csi_id_sink_add(&e.sink, id);
        at += (size_t)tokenizer->tokens[id].n_bytes;
        begin = at;
    }
    CS_TRY_GOTO(done, encode_text(&e, text + begin, n_bytes - begin));
    *count = e.sink.count;
done:
    csi_bpe_scratch_fini(&e.scratch);
    return st;
}

/* Bytes of the well-formed sequence at p, or minus the bytes of the longest
 * start of one (at least 1): what one U+FFFD stands for (Unicode 3.9). */
static int scan_sequence(const unsigned char *p, size_t n)
{
    const unsigned lead = p[0];
    unsigned low = 0x80;
    unsigned high = 0xbf;
    int n_bytes = 0;

    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        n_bytes = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        n_bytes = 3;
        low = lead == 0xe0 ? 0xa0 : low;
        high = lead == 0xed ? 0x9f : high;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        n_bytes = 4;
        low = lead == 0xf0 ? 0x90 : low;
        high = lead == 0xf4 ? 0x8f : high;
    } else {
        return -1;
    }
    for (int i = 1; i < n_bytes; i++) {
        if ((size_t)i >= n || p[i] < low || p[i] > high) {
            return -i;
        }
        low = 0x80;
        high = 0xbf;
    }
    return n_bytes;
}

static void add_repaired(csi_str *out, const char *bytes, size_t n_bytes)
{
    const unsigned char *const p = (const unsigned char *)bytes;
    size_t at = 0;

    while (at < n_bytes) {
        const int n = scan_sequence(p + at, n_bytes - at);

        if (n > 0) {
            csi_str_add_bytes(out, bytes + at, (size_t)n);
            at += (size_t)n;
        } else {
            csi_str_add(out, "\xef\xbf\xbd");
            at += (size_t)-n;
        }
    }
}

cs_status cs_tokenizer_decode(const cs_tokenizer *tokenizer, const int32_t *ids,
                              int64_t count, bool skip_special, char **text)
{
    cs_status st = CS_OK;
    csi_str raw = {0};
    csi_str repaired = {0};

    for (int64_t i = 0; i < count; i++) {
        CS_CHECK_GOTO(done,
                      ids[i] >= 0 && ids[i] < tokenizer->size &&
                          tokenizer->tokens[ids[i]].bytes != NULL,
                      CS_ERR_ARG,
                      "tokenizer: id %" PRId32 " at place %" PRId64
                      " is no token (there are %" PRId32 ")",
                      ids[i], i, tokenizer->size);
        const csi_token *const token = &tokenizer->tokens[ids[i]];

        if (!skip_special || !token->is_special) {
            csi_str_add_bytes(&raw, token->bytes, (size_t)token->n_bytes);
        }
    }
    CS_TRY_GOTO(done, csi_str_check(&raw));
    add_repaired(&repaired, csi_str_get(&raw), raw.length);
    CS_TRY_GOTO(done, csi_str_check(&repaired));
    CS_TRY_GOTO(done, copy_text(csi_str_get(&repaired), repaired.length, text));
done:
    csi_str_fini(&raw);
    csi_str_fini(&repaired);
    return st;
}

static cs_status save_file(const char *folder, const char *name,
                           const char *data, size_t n_bytes)
{
    char *path = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_path_join(folder, name, &path));
    CS_TRY_GOTO(done, csi_file_write(path, data, n_bytes));
done:
    csi_free(path);
    return st;
}

cs_status cs_tokenizer_save(const cs_tokenizer *tokenizer, const char *folder)
{
    CS_TRY(save_file(folder, "tokenizer.json", tokenizer->json,
                     tokenizer->json_bytes));
    if (tokenizer->config_json != NULL) {
        CS_TRY(save_file(folder, "tokenizer_config.json",
                         tokenizer->config_json, tokenizer->config_bytes));
    }
    return CS_OK;
}
