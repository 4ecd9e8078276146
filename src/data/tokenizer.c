/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tokenizer as its callers see it: loaded from a folder, text to ids and
 * back, saved beside an exported model. What a user wrote must never become a
 * special token, so those are looked for only when the caller says so.
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
    tokenizer->bos = tokenizer->eos = tokenizer->unknown = -1;
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

/* chat_template.jinja, which goes before tokenizer_config.json's. */
static cs_status read_template_file(cs_tokenizer *t, const char *path)
{
    char *text = NULL;
    size_t n_bytes = 0;

    CS_TRY(read_optional(path, &text, &n_bytes));
    if (text != NULL) {
        csi_free(t->chat_template);
        t->chat_template = text;
        t->has_template_file = true;
        t->hash = XXH3_64bits_withSeed(text, n_bytes, t->hash);
        CS_CHECK(strlen(text) == n_bytes, CS_ERR_FORMAT, "%s: has a NUL byte",
                 path);
    }
    return CS_OK;
}

cs_status cs_tokenizer_load(const char *folder, cs_tokenizer **out)
{
    cs_status st = CS_OK;
    cs_tokenizer *tokenizer = NULL;
    char *path = NULL;
    char *config_path = NULL;
    char *template_path = NULL;

    CS_TRY_GOTO(done, csi_path_join(folder, "tokenizer.json", &path));
    CS_TRY_GOTO(done,
                csi_path_join(folder, "tokenizer_config.json", &config_path));
    CS_TRY_GOTO(done,
                csi_path_join(folder, "chat_template.jinja", &template_path));
    CS_TRY_GOTO(done, load_files(path, config_path, &tokenizer));
    CS_TRY_GOTO(done, read_template_file(tokenizer, template_path));
    *out = tokenizer;
    tokenizer = NULL;
done:
    cs_tokenizer_destroy(&tokenizer);
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
    for (int32_t i = 0; i < t->n_pre; i++) {
        csi_pattern_destroy(&t->pre[i].pattern);
    }
    csi_pattern_destroy(&t->word);
    csi_hash_map_destroy(&t->merges);
    csi_hash_map_destroy(&t->vocab);
    csi_arena_fini(&t->arena);
    csi_free(t->json);
    csi_free(t->config_json);
    csi_free(t->chat_template);
    csi_free(t);
    *tokenizer = NULL;
}

int32_t cs_tokenizer_size(const cs_tokenizer *tokenizer)
{
    return tokenizer->size;
}

static int32_t find_added(const csi_added_table *table, const char *text,
                          size_t n_bytes)
{
    for (int32_t i = 0; i < table->n_items; i++) {
        const csi_added *const item = &table->items[i];

        if ((size_t)item->n_content == n_bytes &&
            memcmp(item->content, text, n_bytes) == 0) {
            return item->id;
        }
    }
    return -1;
}

int32_t cs_tokenizer_special(const cs_tokenizer *tokenizer, const char *text)
{
    const size_t n_bytes = strlen(text);
    const int32_t id = find_added(&tokenizer->added_raw, text, n_bytes);

    return id >= 0 ? id : find_added(&tokenizer->added_normal, text, n_bytes);
}

int32_t cs_tokenizer_bos(const cs_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t cs_tokenizer_eos(const cs_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

cs_token_frame cs_tokenizer_frame(const cs_tokenizer *tokenizer)
{
    return (cs_token_frame){.before = tokenizer->before,
                            .after = tokenizer->after,
                            .n_before = tokenizer->n_before,
                            .n_after = tokenizer->n_after};
}

cs_status cs_tokenizer_encode(const cs_tokenizer *tokenizer, const char *text,
                              size_t n_bytes, bool parse_special, int32_t *ids,
                              int64_t capacity, int64_t *count)
{
    const csi_encode_options options = {.parse_special = parse_special};
    csi_id_sink sink = {.ids = ids, .capacity = capacity};

    CS_TRY(csi_tokenizer_run(tokenizer, text, n_bytes, &options, &sink));
    *count = sink.count;
    return CS_OK;
}

cs_status cs_tokenizer_locate(const cs_tokenizer *tokenizer, const char *text,
                              size_t n_bytes, bool parse_special,
                              cs_token *tokens, int64_t capacity,
                              int64_t *count)
{
    const csi_encode_options options = {.parse_special = parse_special};
    csi_id_sink sink = {.tokens = tokens, .capacity = capacity};

    CS_TRY(csi_tokenizer_run(tokenizer, text, n_bytes, &options, &sink));
    *count = sink.count;
    return CS_OK;
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
    if (tokenizer->has_template_file) {
        CS_TRY(save_file(folder, "chat_template.jinja",
                         tokenizer->chat_template,
                         strlen(tokenizer->chat_template)));
    }
    return CS_OK;
}
