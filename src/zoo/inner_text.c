/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole vision- or audio-language model's file holds its language model's
 * config inside. It says only what differs from the defaults of transformers'
 * class; the sizes among them are filled in here, and only here: a config that
 * stands alone must say its sizes.
 */
#include "decoder.h"

#include <string.h>

static const struct {
    const char *model_type, *key;
    json_int_t value;
} DEFAULTS[] = {
    {"llama", "hidden_size", 4096},
    {"llama", "num_hidden_layers", 32},
    {"llama", "num_attention_heads", 32},
    {"llama", "intermediate_size", 11008},
    {"llama", "vocab_size", 32000},
    {"mistral", "hidden_size", 4096},
    {"mistral", "num_hidden_layers", 32},
    {"mistral", "num_attention_heads", 32},
    {"mistral", "intermediate_size", 14336},
    {"mistral", "vocab_size", 32000},
    {"qwen2", "hidden_size", 4096},
    {"qwen2", "num_hidden_layers", 32},
    {"qwen2", "num_attention_heads", 32},
    {"qwen2", "intermediate_size", 22016},
    {"qwen2", "vocab_size", 151936},
};

cs_status csi_inner_text(json_t **config, const char *where)
{
    static const char *const KEYS[] = {"text_config", "llm_config"};
    json_t *inner = NULL;

    for (int i = 0; i < 2 && inner == NULL; i++) {
        inner = json_object_get(*config, KEYS[i]);
        CS_CHECK(inner == NULL || json_is_object(inner), CS_ERR_FORMAT,
                 "%s: key '%s': wanted an object", where, KEYS[i]);
    }
    if (inner == NULL) {
        return CS_OK;
    }
    const char *type = json_string_value(json_object_get(inner, "model_type"));

    for (size_t i = 0; i < sizeof DEFAULTS / sizeof DEFAULTS[0]; i++) {
        if (type != NULL && strcmp(type, DEFAULTS[i].model_type) == 0 &&
            json_object_get(inner, DEFAULTS[i].key) == NULL) {
            CS_CHECK(json_object_set_new(inner, DEFAULTS[i].key,
                                         json_integer(DEFAULTS[i].value)) == 0,
                     CS_ERR_NOMEM, "%s: no memory for defaults", where);
        }
    }
    json_incref(inner);
    json_decref(*config);
    *config = inner;
    return CS_OK;
}
