/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The "model" of tokenizer.json: vocabulary and merges of a BPE. Tokens are
 * known by the text that the file writes. A byte-level file writes bytes as
 * letters (GPT-2's alphabet): printable ones of Latin-1 stand for themselves,
 * the other 68 are U+0100 onwards; what such a token decodes to is turned back
 * into bytes here.
 */
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

static void make_alphabet(csi_alphabet *a)
{
    int next = 256;

    memset(a->byte_of, 0xff, sizeof a->byte_of); /* -1 */
    for (int byte = 0; byte < 256; byte++) {
        const int code = stands_for_itself(byte) ? byte : next++;
        char *const letter = a->letter[byte];

        a->byte_of[code] = (int16_t)byte;
        letter[0] = (char)(code < 0x80 ? code : 0xc0 | code >> 6);
        letter[1] = (char)(code < 0x80 ? 0 : 0x80 | (code & 0x3f));
        letter[2] = '\0';
    }
}

/* Letters to bytes. A text with other letters is taken as it is. bytes holds
 * n_text. */
static size_t to_bytes(const csi_alphabet *a, const char *text, size_t n_text,
                       char *bytes)
{
    size_t n = 0;
    int n_letter = 0;

    for (size_t i = 0; i < n_text; i += (size_t)n_letter) {
        const uint32_t code = csi_utf8_get(text + i, &n_letter);

        if (code >= 512 || a->byte_of[code] < 0) {
            memcpy(bytes, text, n_text);
            return n_text;
        }
        bytes[n++] = (char)a->byte_of[code];
    }
    return n;
}

cs_status csi_tokenizer_place(cs_tokenizer *t, const char *where, int32_t id,
                              const char *text, size_t n_bytes)
{
    csi_token *const token = &t->tokens[id];

    CS_CHECK(n_bytes > 0, CS_ERR_FORMAT, "%s: token %" PRId32 " is empty",
             where, id);
    CS_CHECK(n_bytes <= CSI_MAX_TEXT_BYTES, CS_ERR_FORMAT,
             "%s: token %" PRId32 " has %zu bytes, at most %d fit", where, id,
             n_bytes, CSI_MAX_TEXT_BYTES);
    char *const bytes = csi_arena_alloc(&t->arena, n_bytes);

    CS_CHECK(bytes != NULL, CS_ERR_NOMEM, "%s: no memory for tokens", where);
    size_t n = n_bytes;

    if (t->is_byte_level) {
        n = to_bytes(&t->alphabet, text, n_bytes, bytes);
    } else {
        memcpy(bytes, text, n_bytes);
    }
    CS_CHECK(token->bytes == NULL || ((size_t)token->n_bytes == n &&
                                      memcmp(token->bytes, bytes, n) == 0),
             CS_ERR_FORMAT, "%s: two tokens have id %" PRId32, where, id);
    token->bytes = bytes;
    token->n_bytes = (int32_t)n;
    return CS_OK;
}

/* Largest id of the vocabulary and the added tokens, so that the table of
 * tokens is made once. */
static cs_status find_size(json_t *vocab, const json_t *added,
                           const char *where, int32_t *size)
{
    int64_t most = -1;

    for (void *it = json_object_iter(vocab); it != NULL;
         it = json_object_iter_next(vocab, it)) {
        const json_t *const value = json_object_iter_value(it);
        const int64_t id = json_integer_value(value);

        CS_CHECK(json_is_integer(value) && id >= 0 && id <= CSI_MAX_TOKEN_ID,
                 CS_ERR_FORMAT,
                 "%s: token '%.40s': wanted an id from 0 to %d, got %" PRId64,
                 where, json_object_iter_key(it), CSI_MAX_TOKEN_ID, id);
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

/* byte_id: of each byte's letter, or of <0x00> ... <0xFF>. */
static cs_status find_bytes(cs_tokenizer *t, const char *where)
{
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        const char *key = t->alphabet.letter[byte];
        int64_t id = -1;

        if (!t->is_byte_level) {
            CS_TRY(csi_format(name, sizeof name, "<0x%02X>", (unsigned)byte));
            key = name;
        }
        (void)csi_hash_map_get(t->vocab, key, strlen(key), &id);
        CS_CHECK(id >= 0 || !t->is_byte_level, CS_ERR_FORMAT,
                 "%s: the vocabulary has no token for byte 0x%02x: wanted all "
                 "256 of byte-level BPE",
                 where, (unsigned)byte);
        t->byte_id[byte] = (int32_t)id;
    }
    return CS_OK;
}

static cs_status read_vocab(cs_tokenizer *t, json_t *vocab, const char *where)
{
    for (void *it = json_object_iter(vocab); it != NULL;
         it = json_object_iter_next(vocab, it)) {
        const char *const text = json_object_iter_key(it);
        const size_t n = strlen(text);
        const int32_t id =
            (int32_t)json_integer_value(json_object_iter_value(it));

        CS_CHECK(t->tokens[id].bytes == NULL, CS_ERR_FORMAT,
                 "%s: two tokens have id %" PRId32, where, id);
        CS_TRY(csi_tokenizer_place(t, where, id, text, n));
        CS_TRY(csi_hash_map_put(t->vocab, text, n, id));
    }
    return find_bytes(t, where);
}

/* "a b" or ["a", "b"]; the two, one after another, into `both`. */
static cs_status split_merge(const json_t *merge, const char *where,
                             csi_str *both, size_t *n_left)
{
    csi_str_clear(both);
    if (json_array_size(merge) == 2 &&
        json_is_string(json_array_get(merge, 0)) &&
        json_is_string(json_array_get(merge, 1))) {
        csi_str_add(both, json_string_value(json_array_get(merge, 0)));
        *n_left = both->length;
        csi_str_add(both, json_string_value(json_array_get(merge, 1)));
        return csi_str_check(both);
    }
    const char *const text = json_string_value(merge);
    const char *const space = text != NULL ? strchr(text, ' ') : NULL;

    CS_CHECK(space != NULL && strchr(space + 1, ' ') == NULL, CS_ERR_FORMAT,
             "%s: a merge is neither \"a b\" nor [\"a\", \"b\"]", where);
    *n_left = (size_t)(space - text);
    csi_str_add_bytes(both, text, *n_left);
    csi_str_add(both, space + 1);
    return csi_str_check(both);
}

/* Ids of left, right and both together. */
static cs_status find_merge(const cs_tokenizer *t, const json_t *merge,
                            const char *where, csi_str *both, int32_t ids[3])
{
    static const char *const NAMES[] = {"left side", "right side", "result"};
    size_t n_left = 0;

    CS_TRY(split_merge(merge, where, both, &n_left));
    const char *const text = csi_str_get(both);
    const size_t begin[3] = {0, n_left, 0};
    const size_t end[3] = {n_left, both->length, both->length};

    for (int i = 0; i < 3; i++) {
        int64_t id = 0;

        CS_CHECK(csi_hash_map_get(t->vocab, text + begin[i], end[i] - begin[i],
                                  &id),
                 CS_ERR_FORMAT,
                 "%s: merge '%.*s %.40s': its %s is not in the vocabulary",
                 where, (int)(n_left < 40 ? n_left : 40), text, text + n_left,
                 NAMES[i]);
        ids[i] = (int32_t)id;
    }
    return CS_OK;
}

static cs_status read_merges(cs_tokenizer *t, const json_t *merges,
                             const char *where)
{
    const size_t n = json_array_size(merges);
    cs_status st = CS_OK;
    csi_str both = {0};

    CS_CHECK(n <= MAX_MERGES, CS_ERR_FORMAT, "%s: %zu merges, at most %d fit",
             where, n, MAX_MERGES);
    for (size_t rank = 0; rank < n; rank++) {
        int32_t ids[3] = {0};

        CS_TRY_GOTO(done, find_merge(t, json_array_get(merges, rank), where,
                                     &both, ids));
        CS_TRY_GOTO(done, csi_hash_map_put(t->merges, ids, 2 * sizeof ids[0],
                                           (int64_t)rank << 32 | ids[2]));
    }
done:
    csi_str_fini(&both);
    return st;
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
    return CS_OK;
}

/* What becomes of letters that are no token. A byte-level vocabulary knows
 * every byte, so there are none. */
static cs_status read_unknown(cs_tokenizer *t, const json_t *model,
                              const char *where)
{
    const char *unknown = "";
    int64_t id = -1;

    CS_TRY(csi_json_opt_string(model, "unk_token", where, &unknown));
    CS_TRY(csi_json_opt_bool(model, "fuse_unk", where, &t->fuses_unknown));
    CS_TRY(csi_json_opt_bool(model, "byte_fallback", where,
                             &t->has_byte_fallback));
    if (t->is_byte_level) {
        return CS_OK;
    }
    CS_CHECK(unknown[0] == '\0' ||
                 csi_hash_map_get(t->vocab, unknown, strlen(unknown), &id),
             CS_ERR_FORMAT, "%s: unk_token '%.40s' is not in the vocabulary",
             where, unknown);
    t->unknown = (int32_t)id;
    return CS_OK;
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

    make_alphabet(&t->alphabet);
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
    CS_TRY(read_unknown(t, model, where));
    return read_merges(t, merges, where);
}
