/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a chat template: refused, or rendered within its bounds into
 * valid UTF-8, with marks that only name messages and spans that lie in order
 * inside of the text.
 */
#include "base/json.h"
#include "base/str.h"

#include "data/template_jinja.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void check(const csi_jinja_text *text, size_t n_messages)
{
    int32_t last = 0;

    if (!csi_utf8_valid(text->bytes, text->n_bytes)) {
        __builtin_trap();
    }
    for (size_t i = 0; i < text->n_bytes; i++) {
        if (text->marks[i] > n_messages) {
            __builtin_trap();
        }
    }
    for (int32_t i = 0; i < text->n_spans; i++) {
        if (text->spans[i].begin > text->spans[i].end ||
            text->spans[i].end < last ||
            (size_t)text->spans[i].end > text->n_bytes) {
            __builtin_trap();
        }
        last = text->spans[i].end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char CONTEXT[] =
        "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"n\": 3, "
        "\"add_generation_prompt\": true, \"tools\": null, \"x\": [1, 2.5, "
        "\"\\u00e9\"], \"messages\": [{\"role\": \"user\", \"content\": "
        "\" Hi \\u732b\\n\"}, {\"role\": \"assistant\", \"content\": \"yo\"}]}";
    static json_t *context; /* made once, kept */
    csi_jinja *jinja = NULL;
    csi_jinja_text text = {.n_bytes = 0};

    if (context == NULL &&
        csi_json_parse(CONTEXT, sizeof CONTEXT - 1, "c", &context) != CS_OK) {
        abort();
    }
    if (csi_jinja_compile((const char *)data, n_bytes, "t", &jinja) != CS_OK) {
        return 0;
    }
    if (csi_jinja_render(jinja, context, 0, &text) == CS_OK) {
        check(&text, 2);
    }
    csi_jinja_text_fini(&text);
    csi_jinja_destroy(&jinja);
    return 0;
}
