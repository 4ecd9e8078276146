/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The "model" of tokenizer.json: vocabulary and merges of a byte-level BPE. In
 * the file, bytes are written as letters (GPT-2's alphabet): printable ones of
 * Latin-1 stand for themselves, the other 68 are U+0100 onwards. Tokens are
 * turned back into bytes here, so that nothing else knows the alphabet.
 */
#include "base/alloc.h"
#include "base/json.h"

#include "tokenizer.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_MERGES = 1 << 24
};

static bool stands_for_itself(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) ||
           byte >= 174;
}

/* byte_of[code point] = byte, -1 = not in the alphabet. */
typedef struct alphabet {
    int16_t byte_of[512];
} alphabet;

static void make_alphabet(alphabet *a)
{
    int next = 256;

    for (size_t i = 0; i < 512; i++) {
        a->byte_of[i] = -1;
    }
    for (int byte = 0; byte < 256; byte++) {
        a->byte_of[stands_for_itself(byte) ? byte : next++] = (int16_t)byte;
    }
}

/* Letters to bytes. A text with other letters (an added token inside the
 * vocabulary) is taken as it is. bytes holds strlen(text). */
static int32_t to_bytes(const alphabet *a, const char *text, size_t n_text,
                        char *bytes)
{
    const unsigned char *const p = (const unsigned char *)text;
    int32_t n = 0;

    for (size_t i = 0; i < n_text; n++) {
        unsigned code = p[i];
        size_t n_letter = 1;

        if (code >= 0xc2 && code <= 0xc7) { /* U+0080 .. U+01FF */
            code = (code & 0x1fU) << 6 | (p[i + 1] & 0x3fU);
            n_letter = 2;
        }
        if (code >= 512 || (n_letter == 1 && code >= 0x80) ||
            a->byte_of[code] < 0) {
            memcpy(bytes, text, n_text);
            return (int32_t)n_text;
        }
        bytes[n] = (char)a->byte_of[code];
        i += n_letter;
    }
    return n;
}

cs_status csi_tokenizer_place(cs_tokenizer *t, const char *where, int32_t id,
                              const char *bytes, int32_t n_bytes)
{
    csi_token *const token = &t->tokens[id];

    CS_CHECK(n_bytes > 0, CS_ERR_FORMAT, "%s: token %" PRId32 " is empty",
             where, id);
    CS_CHECK(token->bytes == NULL ||
                 (token->n_bytes == n_bytes &&
                  memcmp(token->bytes, bytes, (size_t)n_bytes) == 0),
             CS_ERR_FORMAT, "%s: two tokens have id %" PRId32, where, id);
    char *const kept = csi_arena_alloc(&t->arena, (size_t)n_bytes);

    CS_CHECK(kept != NULL, CS_ERR_NOMEM, "%s: no memory for tokens", where);
    memcpy(kept, bytes, (size_t)n_bytes);
    token->bytes = kept;
    token->n_bytes = n_bytes;
    return CS_OK;
}

/* Largest id of the vocabulary and the added tokens, so that the table of
 * tokens is made once. */
static cs_status find_size(json_t *vocab, const json_t *added,
                           const char *where, int32_t *size)
{
    const char *key = NULL;
    const json_t *value = NULL;
    int64_t most = -1;

    for (void *it = json_object_iter(vocab); it != NULL;
         it = json_object_iter_next(vocab, it)) {
        key = json_object_iter_key(it);
        value = json_object_iter_value(it);
        const int64_t id = json_integer_value(value);

        CS_CHECK(json_is_integer(value) && id >= 0 && id <= CSI_MAX_TOKEN_ID,
                 CS_ERR_FORMAT,
                 "%s: token '%.40s': wanted an id from 0 to %d, got %" PRId64,
                 where, key, CSI_MAX_TOKEN_ID, id);
        most = id > most ? id : most;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        int64_t id = 0;

        CS_TRY(csi_json_i64(json_array_get(added, i), "id", where, 0,
                            CSI_MAX_TOKEN_ID, &id));
        most = id > most ? id : most;
    }
    *size = (int32_t)(most + 1);
    return CS_OK;
}

static cs_status read_token(cs_tokenizer *t, const alphabet *letters,
                            const char *where, const char *text, int32_t id)
{
    cs_status st = CS_OK;
    const size_t n_text = strlen(text);
    char *const bytes = csi_malloc(n_text + 1);

    CS_CHECK(bytes != NULL, CS_ERR_NOMEM, "%s: no memory for a token", where);
    const int32_t n_bytes = to_bytes(letters, text, n_text, bytes);

    CS_TRY_GOTO(done, csi_tokenizer_place(t, where, id, bytes, n_bytes));
    CS_TRY_GOTO(done, csi_hash_map_put(t->vocab, bytes, (size_t)n_bytes, id));
    if (n_bytes == 1) {
        t->byte_id[(unsigned char)bytes[0]] = id;
    }
done:
    csi_free(bytes);
    return st;
}

static cs_status read_vocab(cs_tokenizer *t, json_t *vocab, const char *where)
{
    alphabet letters;

    make_alphabet(&letters);
    for (int byte = 0; byte < 256; byte++) {
        t->byte_id[byte] = -1;
    }
    for (void *it = json_object_iter(vocab); it != NULL;
         it = json_object_iter_next(vocab, it)) {
        CS_TRY(read_token(t, &letters, where, json_object_iter_key(it),
                          (int32_t)
                              json_integer_value(json_object_iter_value(it))));
    }
    for (int byte = 0; byte < 256; byte++) {
        CS_CHECK(t->byte_id[byte] >= 0, CS_ERR_FORMAT,
                 "%s: the vocabulary has no token for byte 0x%02x: wanted all "
                 "256 of byte-level BPE",
                 where, (unsigned)byte);
    }
    return CS_OK;
}

/* "a b" or ["a", "b"]. *left points into the merge or, split, into scratch. */
static cs_status split_merge(const json_t *merge, const char *where,
                             const char **left, size_t *n_left,
                             const char **right)
{
    if (json_is_array(merge) && json_array_size(merge) == 2 &&
        json_is_string(json_array_get(merge, 0)) &&
        json_is_string(json_array_get(merge, 1))) {
        *left = json_string_value(json_array_get(merge, 0));
        *n_left = strlen(*left);
        *right = json_string_value(json_array_get(merge, 1));
        return CS_OK;
    }
    const char *const text = json_string_value(merge);
    const char *const space = text != NULL ? strchr(text, ' ') : NULL;

    CS_CHECK(space != NULL, CS_ERR_FORMAT,
             "%s: a merge is neither \"a b\" nor [\"a\", \"b\"]", where);
    *left = text;
    *n_left = (size_t)(space - text);
    *right = space + 1;
    return CS_OK;
}

/* Ids of left, right and both together. */
static cs_status find_merge(const cs_tokenizer *t, const alphabet *letters,
                            const json_t *merge, const char *where,
                            int32_t ids[3])
{
    cs_status st = CS_OK;
    const char *left = NULL;
    const char *right = NULL;
    size_t n_left = 0;

    CS_TRY(split_merge(merge, where, &left, &n_left, &right));
    const size_t n_right = strlen(right);
    char *const bytes = csi_malloc(n_left + n_right + 1);

    CS_CHECK(bytes != NULL, CS_ERR_NOMEM, "%s: no memory for a merge", where);
    const int32_t n_a = to_bytes(letters, left, n_left, bytes);
    const int32_t n_b = to_bytes(letters, right, n_right, bytes + n_a);
    const char *const part[3] = {bytes, bytes + n_a, bytes};
    const int32_t n_part[3] = {n_a, n_b, n_a + n_b};

    for (int i = 0; i < 3; i++) {
        int64_t id = 0;

        CS_CHECK_GOTO(done,
                      csi_hash_map_get(t->vocab, part[i], (size_t)n_part[i],
                                       &id),
                      CS_ERR_FORMAT,
                      "%s: merge '%.*s %.40s': its %s is not in the vocabulary",
                      where, (int)(n_left < 40 ? n_left : 40), left, right,
                      i == 0   ? "left side"
                      : i == 1 ? "right side"
                               : "result");
        ids[i] = (int32_t)id;
    }
done:
    csi_free(bytes);
    return st;
}

static cs_status read_merges(cs_tokenizer *t, const json_t *merges,
                             const char *where)
{
    alphabet letters;
    const size_t n = json_array_size(merges);

    make_alphabet(&letters);
    CS_CHECK(n <= MAX_MERGES, CS_ERR_FORMAT, "%s: %zu merges, at most %d fit",
             where, n, MAX_MERGES);
    for (size_t rank = 0; rank < n; rank++) {
        int32_t ids[3] = {0};

        CS_TRY(find_merge(t, &letters, json_array_get(merges, rank), where,
                          ids));
        CS_TRY(csi_hash_map_put(t->merges, ids, 2 * sizeof ids[0],
                                (int64_t)rank << 32 | ids[2]));
    }
    return CS_OK;
}

cs_status csi_tokenizer_refuse_flag(const json_t *object, const char *key,
                                    const char *where)
{
    bool value = false;

    CS_TRY(csi_json_opt_bool(object, key, where, &value));
    CS_CHECK(!value, CS_ERR_UNSUPPORTED, "%s: unsupported: %s: true", where,
             key);
    return CS_OK;
}

/* What would change ids and is not offered. */
static cs_status check_options(const json_t *model, const char *where)
{
    static const char *const AFFIXES[] = {"continuing_subword_prefix",
                                          "end_of_word_suffix"};
    const char *type = "BPE";
    double dropout = 0.0;

    CS_TRY(csi_json_opt_string(model, "type", where, &type));
    CS_CHECK(strcmp(type, "BPE") == 0, CS_ERR_UNSUPPORTED,
             "%s: unsupported: model type '%.40s' (offered: BPE)", where, type);
    for (size_t i = 0; i < sizeof AFFIXES / sizeof AFFIXES[0]; i++) {
        const char *affix = "";

        CS_TRY(csi_json_opt_string(model, AFFIXES[i], where, &affix));
        CS_CHECK(affix[0] == '\0', CS_ERR_UNSUPPORTED,
                 "%s: unsupported: %s '%.40s'", where, AFFIXES[i], affix);
    }
    CS_TRY(csi_json_opt_f64(model, "dropout", where, &dropout));
    CS_CHECK(dropout <= 0.0, CS_ERR_UNSUPPORTED, "%s: unsupported: dropout %g",
             where, dropout);
    return csi_tokenizer_refuse_flag(model, "byte_fallback", where);
}

static cs_status make_tables(cs_tokenizer *t, const char *where)
{
    t->tokens =
        csi_arena_calloc(&t->arena, (size_t)t->size * sizeof *t->tokens);
    CS_CHECK(t->tokens != NULL, CS_ERR_NOMEM,
             "%s: no memory for %" PRId32 " tokens", where, t->size);
    CS_TRY(csi_hash_map_create(&t->vocab));
    return csi_hash_map_create(&t->merges);
}

cs_status csi_tokenizer_read_model(cs_tokenizer *t, const json_t *root,
                                   const char *where)
{
    json_t *model = NULL;
    json_t *vocab = NULL;
    json_t *merges = NULL;

    CS_TRY(csi_json_object(root, "model", where, &model));
    CS_TRY(check_options(model, where));
    CS_TRY(csi_json_opt_bool(model, "ignore_merges", where,
                             &t->is_whole_first));
    CS_TRY(csi_json_object(model, "vocab", where, &vocab));
    CS_TRY(csi_json_array(model, "merges", where, &merges));
    CS_TRY(find_size(vocab, json_object_get(root, "added_tokens"), where,
                     &t->size));
    CS_TRY(make_tables(t, where));
    CS_TRY(read_vocab(t, vocab, where));
    return read_merges(t, merges, where);
}
