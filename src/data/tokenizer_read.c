/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads Hugging Face's tokenizer.json (its parts: tokenizer_model.c,
 * tokenizer_steps.c, tokenizer_added.c) and, from tokenizer_config.json, the
 * names of bos and eos and the chat template. What would change ids and is not
 * offered is refused by name.
 */
#include "base/alloc.h"
#include "base/json.h"

#include "tokenizer.h"

#include <inttypes.h>
#include <string.h>

static cs_status refuse_object(const json_t *root, const char *key,
                               const char *where)
{
    const json_t *const json = json_object_get(root, key);

    CS_CHECK(json == NULL || json_is_null(json), CS_ERR_UNSUPPORTED,
             "%s: unsupported: %s (offered: null)", where, key);
    return CS_OK;
}

static cs_status check_rest(const json_t *root, const char *where)
{
    const char *version = "1.0";

    CS_TRY(refuse_object(root, "truncation", where));
    CS_TRY(refuse_object(root, "padding", where));
    CS_TRY(csi_json_opt_string(root, "version", where, &version));
    CS_CHECK(strcmp(version, "1.0") == 0, CS_ERR_UNSUPPORTED,
             "%s: unsupported: version '%.40s' (offered: 1.0)", where, version);
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
    CS_TRY(csi_tokenizer_read_normalizer(t, root, where));
    CS_TRY(csi_tokenizer_read_pre(t, root, where));
    CS_TRY(csi_tokenizer_read_decoder(t, root, where));
    CS_TRY(csi_tokenizer_read_model(t, root, where));
    CS_TRY(csi_tokenizer_read_added(t, added, where));
    return csi_tokenizer_read_post(t, root, where);
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
    CS_CHECK(id >= 0 || csi_hash_map_get(t->vocab, text, strlen(text), &id),
             CS_ERR_FORMAT, "%s: %s '%.40s' is no token of tokenizer.json",
             where, key, text);
    *out = (int32_t)id;
    return CS_OK;
}

/* A text, or a list of {"name", "template"} of which "default" is taken. */
static cs_status read_chat_template(cs_tokenizer *t, const json_t *root,
                                    const char *where)
{
    const json_t *const chat = json_object_get(root, "chat_template");
    const char *text = json_string_value(chat);

    if (chat == NULL || json_is_null(chat)) {
        return CS_OK;
    }
    for (size_t i = 0; text == NULL && i < json_array_size(chat); i++) {
        const json_t *const item = json_array_get(chat, i);
        const char *name = NULL;

        CS_TRY(csi_json_string(item, "name", where, &name));
        if (strcmp(name, "default") == 0) {
            CS_TRY(csi_json_string(item, "template", where, &text));
        }
    }
    CS_CHECK(text != NULL, CS_ERR_FORMAT,
             "%s: chat_template: wanted a text, or a list with one named "
             "'default'",
             where);
    t->chat_template = csi_strdup(text);
    CS_CHECK(t->chat_template != NULL, CS_ERR_NOMEM,
             "%s: no memory for chat_template", where);
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
    CS_TRY_GOTO(done, read_chat_template(t, root, where));
done:
    json_decref(root);
    return st;
}
