/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads Hugging Face's tokenizer.json around its model (tokenizer_model.c):
 * split patterns, added tokens, and from tokenizer_config.json the names of bos
 * and eos. What would change ids and is not offered is refused by name;
 * post_processor is not, because it only says which special tokens a caller
 * puts around text, and here templates do that.
 */
#include "base/json.h"

#include "tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Added tokens that take the blanks around them, or only whole words. */
static cs_status refuse_flags(const json_t *item, const char *where)
{
    CS_TRY(csi_tokenizer_refuse_flag(item, "single_word", where));
    CS_TRY(csi_tokenizer_refuse_flag(item, "lstrip", where));
    return csi_tokenizer_refuse_flag(item, "rstrip", where);
}

/* One of "added_tokens". */
static cs_status read_added(cs_tokenizer *t, const json_t *item,
                            const char *where)
{
    const char *content = NULL;
    int64_t id = 0;
    bool is_special = false;

    CS_TRY(csi_json_i64(item, "id", where, 0, CSI_MAX_TOKEN_ID, &id));
    CS_TRY(csi_json_string(item, "content", where, &content));
    CS_TRY(csi_json_opt_bool(item, "special", where, &is_special));
    CS_TRY(refuse_flags(item, where));
    CS_CHECK(strlen(content) <= INT32_MAX && !t->tokens[id].is_added,
             CS_ERR_FORMAT, "%s: two added tokens have id %" PRId64, where, id);
    CS_TRY(csi_tokenizer_place(t, where, (int32_t)id, content,
                               (int32_t)strlen(content)));
    t->tokens[id].is_added = true;
    t->tokens[id].is_special = is_special;
    t->n_added++;
    return CS_OK;
}

typedef struct added_key {
    const char *bytes;
    int32_t n_bytes, id;
} added_key;

static int compare_added(const void *a, const void *b)
{
    const added_key *const x = a;
    const added_key *const y = b;
    const int first = (unsigned char)x->bytes[0] - (unsigned char)y->bytes[0];

    if (first != 0) {
        return first;
    }
    if (x->n_bytes != y->n_bytes) {
        return x->n_bytes > y->n_bytes ? -1 : 1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

/* Lists added tokens by first byte, long ones first: the first that matches
 * is the longest. */
static cs_status sort_added(cs_tokenizer *t, const char *where)
{
    const size_t n = (size_t)t->n_added;
    added_key *const keys = csi_arena_alloc(&t->arena, n * sizeof *keys);
    size_t at = 0;

    t->added = csi_arena_alloc(&t->arena, n * sizeof *t->added);
    CS_CHECK(keys != NULL && t->added != NULL, CS_ERR_NOMEM,
             "%s: no memory for %zu added tokens", where, n);
    for (int32_t id = 0; id < t->size; id++) {
        if (t->tokens[id].is_added) {
            keys[at++] = (added_key){.bytes = t->tokens[id].bytes,
                                     .n_bytes = t->tokens[id].n_bytes,
                                     .id = id};
        }
    }
    qsort(keys, n, sizeof *keys, compare_added);
    for (size_t i = 0; i < n; i++) {
        t->added[i] = keys[i].id;
        t->added_begin[(unsigned char)keys[i].bytes[0] + 1]++;
    }
    for (int byte = 0; byte < 256; byte++) {
        t->added_begin[byte + 1] += t->added_begin[byte];
    }
    return CS_OK;
}

static cs_status add_pattern(cs_tokenizer *t, const char *pattern,
                             const char *where)
{
    if (t->split == NULL) {
        CS_TRY(csi_split_create(&t->split));
    }
    CS_TRY(csi_split_add(t->split, pattern, where));
    return CS_OK;
}

static cs_status read_byte_level(cs_tokenizer *t, const json_t *json,
                                 const char *where)
{
    bool use_regex = true;
    bool add_prefix_space = true;

    CS_TRY(csi_json_opt_bool(json, "use_regex", where, &use_regex));
    CS_TRY(csi_json_opt_bool(json, "add_prefix_space", where,
                             &add_prefix_space));
    CS_CHECK(!add_prefix_space, CS_ERR_UNSUPPORTED,
             "%s: unsupported: pre_tokenizer ByteLevel with add_prefix_space "
             "true",
             where);
    if (use_regex) {
        CS_TRY(add_pattern(t,
                           "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"
                           "| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
                           where));
    }
    return CS_OK;
}

static cs_status read_split(cs_tokenizer *t, const json_t *json,
                            const char *where)
{
    json_t *pattern = NULL;
    const char *regex = NULL;
    const char *behavior = NULL;

    CS_TRY(csi_json_object(json, "pattern", where, &pattern));
    CS_CHECK(json_object_get(pattern, "String") == NULL, CS_ERR_UNSUPPORTED,
             "%s: unsupported: pre_tokenizer Split with a String pattern "
             "(offered: Regex)",
             where);
    CS_TRY(csi_json_string(pattern, "Regex", where, &regex));
    CS_TRY(csi_json_string(json, "behavior", where, &behavior));
    CS_CHECK(strcmp(behavior, "Isolated") == 0, CS_ERR_UNSUPPORTED,
             "%s: unsupported: pre_tokenizer Split with behavior '%.40s' "
             "(offered: Isolated)",
             where, behavior);
    CS_TRY(csi_tokenizer_refuse_flag(json, "invert", where));
    CS_TRY(add_pattern(t, regex, where));
    return CS_OK;
}

/* One step of a pre-tokenizer; *is_byte_level is set by the last one. */
static cs_status read_step(cs_tokenizer *t, const json_t *json,
                           const char *where, bool *is_byte_level)
{
    const char *type = NULL;

    CS_TRY(csi_json_string(json, "type", where, &type));
    CS_CHECK(!*is_byte_level, CS_ERR_UNSUPPORTED,
             "%s: unsupported: pre_tokenizer %.40s after ByteLevel", where,
             type);
    if (strcmp(type, "ByteLevel") == 0) {
        *is_byte_level = true;
        CS_TRY(read_byte_level(t, json, where));
    } else if (strcmp(type, "Split") == 0) {
        CS_TRY(read_split(t, json, where));
    } else {
        return CS_FAIL(CS_ERR_UNSUPPORTED,
                       "%s: unsupported: pre_tokenizer '%.40s' (offered: "
                       "ByteLevel, Split)",
                       where, type);
    }
    return CS_OK;
}

static cs_status read_pre_tokenizer(cs_tokenizer *t, const json_t *root,
                                    const char *where)
{
    json_t *json = NULL;
    json_t *steps = NULL;
    const char *type = NULL;
    bool is_byte_level = false;
    size_t n_steps = 1;

    CS_TRY(csi_json_object(root, "pre_tokenizer", where, &json));
    CS_TRY(csi_json_string(json, "type", where, &type));
    if (strcmp(type, "Sequence") == 0) {
        CS_TRY(csi_json_array(json, "pretokenizers", where, &steps));
        n_steps = json_array_size(steps);
    }
    for (size_t i = 0; i < n_steps; i++) {
        CS_TRY(read_step(t, steps != NULL ? json_array_get(steps, i) : json,
                         where, &is_byte_level));
    }
    CS_CHECK(is_byte_level, CS_ERR_UNSUPPORTED,
             "%s: unsupported: a pre_tokenizer without ByteLevel", where);
    return CS_OK;
}

static cs_status read_normalizer(cs_tokenizer *t, const json_t *root,
                                 const char *where)
{
    const json_t *const json = json_object_get(root, "normalizer");
    const char *type = NULL;

    if (json == NULL || json_is_null(json)) {
        return CS_OK;
    }
    CS_TRY(csi_json_string(json, "type", where, &type));
    CS_CHECK(strcmp(type, "NFC") == 0, CS_ERR_UNSUPPORTED,
             "%s: unsupported: normalizer '%.40s' (offered: NFC, null)", where,
             type);
    t->is_nfc = true;
    return CS_OK;
}

static cs_status refuse_object(const json_t *root, const char *key,
                               const char *where)
{
    const json_t *const json = json_object_get(root, key);

    CS_CHECK(json == NULL || json_is_null(json), CS_ERR_UNSUPPORTED,
             "%s: unsupported: %s (offered: null)", where, key);
    return CS_OK;
}

/* decoder, truncation, padding, version. */
static cs_status check_rest(const json_t *root, const char *where)
{
    const json_t *const decoder = json_object_get(root, "decoder");
    const char *version = "1.0";
    const char *type = "none";

    CS_TRY(refuse_object(root, "truncation", where));
    CS_TRY(refuse_object(root, "padding", where));
    CS_TRY(csi_json_opt_string(root, "version", where, &version));
    CS_CHECK(strcmp(version, "1.0") == 0, CS_ERR_UNSUPPORTED,
             "%s: unsupported: version '%.40s' (offered: 1.0)", where, version);
    if (json_is_object(decoder)) {
        CS_TRY(csi_json_string(decoder, "type", where, &type));
    }
    CS_CHECK(strcmp(type, "ByteLevel") == 0, CS_ERR_UNSUPPORTED,
             "%s: unsupported: decoder '%.40s' (offered: ByteLevel)", where,
             type);
    return CS_OK;
}

static cs_status read_root(cs_tokenizer *t, const json_t *root,
                           const char *where)
{
    const json_t *const added = json_object_get(root, "added_tokens");

    CS_CHECK(json_is_object(root), CS_ERR_FORMAT, "%s: wanted an object",
             where);
    CS_CHECK(added == NULL || json_is_array(added), CS_ERR_FORMAT,
             "%s: key 'added_tokens': wanted an array", where);
    CS_TRY(check_rest(root, where));
    CS_TRY(read_normalizer(t, root, where));
    CS_TRY(read_pre_tokenizer(t, root, where));
    CS_TRY(csi_tokenizer_read_model(t, root, where));
    for (size_t i = 0; i < json_array_size(added); i++) {
        CS_TRY(read_added(t, json_array_get(added, i), where));
    }
    return sort_added(t, where);
}

cs_status csi_tokenizer_read(cs_tokenizer *t, const char *where)
{
    cs_status st = CS_OK;
    json_t *root = NULL;

    CS_TRY(csi_json_parse(t->json, t->json_bytes, where, &root));
    CS_TRY_GOTO(done, read_root(t, root, where));
done:
    json_decref(root);
    return st;
}

/* "eos_token": "</s>" or {"content": "</s>", ...} or null. */
static cs_status read_named(const cs_tokenizer *t, const json_t *root,
                            const char *key, const char *where, int32_t *out)
{
    const json_t *const value = json_object_get(root, key);
    const char *text = NULL;
    int64_t id = -1;

    if (value == NULL || json_is_null(value)) {
        return CS_OK;
    }
    if (json_is_object(value)) {
        CS_TRY(csi_json_string(value, "content", where, &text));
    } else {
        CS_TRY(csi_json_string(root, key, where, &text));
    }
    id = cs_tokenizer_special(t, text);
    CS_CHECK(id >= 0, CS_ERR_FORMAT,
             "%s: %s '%.40s' is not among the added tokens of tokenizer.json",
             where, key, text);
    *out = (int32_t)id;
    return CS_OK;
}

cs_status csi_tokenizer_read_config(cs_tokenizer *t, const char *where)
{
    cs_status st = CS_OK;
    json_t *root = NULL;

    CS_TRY(csi_json_parse(t->config_json, t->config_bytes, where, &root));
    CS_CHECK_GOTO(done, json_is_object(root), CS_ERR_FORMAT,
                  "%s: wanted an object", where);
    CS_TRY_GOTO(done, read_named(t, root, "bos_token", where, &t->bos));
    CS_TRY_GOTO(done, read_named(t, root, "eos_token", where, &t->eos));
    const json_t *const chat = json_object_get(root, "chat_template");

    t->has_chat_template = chat != NULL && !json_is_null(chat);
done:
    json_decref(root);
    return st;
}
