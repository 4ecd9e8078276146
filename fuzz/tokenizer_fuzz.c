/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as tokenizer.json: refused, or a tokenizer that brings a text back
 * byte for byte. Bytes after the first NUL are tokenizer_config.json.
 */
#include "base/alloc.h"

#include "data/tokenizer.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void check_round_trip(const cs_tokenizer *tokenizer)
{
    static const char TEXT[] = "The cat's 12345 mats,\n\n  aaaa <|x|> \xc3\xa9"
                               "\xe7\x8c\xab \xf0\x9f\x99\x82!";
    int32_t ids[sizeof TEXT];
    int64_t count = 0;
    char *text = NULL;

    if (cs_tokenizer_encode(tokenizer, TEXT, sizeof TEXT - 1, true, ids,
                            sizeof TEXT, &count) != CS_OK) {
        return; /* a split pattern that gives up */
    }
    if (count > (int64_t)sizeof TEXT) {
        __builtin_trap();
    }
    if (cs_tokenizer_decode(tokenizer, ids, count, false, &text) != CS_OK ||
        strcmp(text, TEXT) != 0) {
        __builtin_trap();
    }
    csi_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const char *const json = (const char *)data;
    const char *const nul = n_bytes > 0 ? memchr(json, '\0', n_bytes) : NULL;
    const size_t n_json = nul != NULL ? (size_t)(nul - json) : n_bytes;
    cs_tokenizer *tokenizer = NULL;

    if (csi_tokenizer_parse(json, n_json, "tokenizer.json",
                            nul != NULL ? nul + 1 : NULL,
                            nul != NULL ? n_bytes - n_json - 1 : 0,
                            "tokenizer_config.json", &tokenizer) == CS_OK) {
        check_round_trip(tokenizer);
        cs_tokenizer_destroy(&tokenizer);
    }
    return 0;
}
