/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as tokenizer.json: refused, or a tokenizer whose tokens lie inside
 * of the text and decode; a byte-level one that changes nothing brings the text
 * back byte for byte. Bytes after the first NUL are tokenizer_config.json.
 */
#include "base/alloc.h"

#include "data/tokenizer.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum {
    MAX_TOKENS = 512
};

/* Whether nothing but merges and cuts happens to a text. */
static bool changes_nothing(const cs_tokenizer *t)
{
    bool is_plain = t->is_byte_level && t->n_normal == 0;

    for (int32_t i = 0; i < t->n_pre; i++) {
        is_plain = is_plain && t->pre[i].kind == CSI_PRE_SPLIT &&
                   t->pre[i].behavior != CSI_SPLIT_REMOVED;
    }
    /* Added tokens may take blanks, or hold letters that stand for bytes. */
    return is_plain && t->added_raw.n_items + t->added_normal.n_items == 0;
}

static void check_text(const cs_tokenizer *tokenizer, const char *given,
                       size_t n_given, bool is_utf8)
{
    cs_token tokens[MAX_TOKENS];
    int32_t ids[MAX_TOKENS];
    int64_t count = 0;
    char *text = NULL;

    if (cs_tokenizer_locate(tokenizer, given, n_given, true, tokens, MAX_TOKENS,
                            &count) != CS_OK) {
        return; /* a split pattern that gives up, a text that grows too long */
    }
    count = count < MAX_TOKENS ? count : MAX_TOKENS;
    for (int64_t i = 0; i < count; i++) {
        ids[i] = tokens[i].id;
        if (tokens[i].begin < 0 || tokens[i].begin > tokens[i].end ||
            (size_t)tokens[i].end > n_given) {
            __builtin_trap();
        }
    }
    if (cs_tokenizer_decode(tokenizer, ids, count, false, &text) != CS_OK ||
        (is_utf8 && count < MAX_TOKENS && changes_nothing(tokenizer) &&
         strcmp(text, given) != 0)) {
        __builtin_trap();
    }
    csi_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char TEXT[] = "The cat's 12345 mats,\n\n  aaaa <|x|> e\xcc\x81"
                               "\xcc\xa7 \xe7\x8c\xab \xf0\x9f\x99\x82<s> !";
    static const char BROKEN[] = " \xff<|x|>\xe2\x82  \xed\xa0\x80z\xf0\x9f";
    const char *const json = (const char *)data;
    const char *const nul = n_bytes > 0 ? memchr(json, '\0', n_bytes) : NULL;
    const size_t n_json = nul != NULL ? (size_t)(nul - json) : n_bytes;
    cs_tokenizer *tokenizer = NULL;

    if (csi_tokenizer_parse(json, n_json, "tokenizer.json",
                            nul != NULL ? nul + 1 : NULL,
                            nul != NULL ? n_bytes - n_json - 1 : 0,
                            "tokenizer_config.json", &tokenizer) == CS_OK) {
        check_text(tokenizer, TEXT, sizeof TEXT - 1, true);
        check_text(tokenizer, BROKEN, sizeof BROKEN - 1, false);
        cs_tokenizer_destroy(&tokenizer);
    }
    return 0;
}
