/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a LLaVA data file: every sample is refused, or rendered with as
 * many items as it has files, in each template. Media are not looked at.
 */
#include "base/alloc.h"

#include "data/llava.h"
#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* All 256 bytes, one merge-free token each, and the tokens templates need. */
static cs_tokenizer *make_tokenizer(void)
{
    static const char *const ADDED[] = {"<eos>",
                                        "<|im_start|>",
                                        "<|im_end|>",
                                        "<|eot_id|>",
                                        "<|begin_of_text|>",
                                        "<|start_header_id|>",
                                        "<|end_header_id|>"};
    static const char CONFIG[] = "{\"eos_token\": \"<eos>\"}";
    csi_str json = {0};
    cs_tokenizer *tokenizer = NULL;
    int next = 256;

    csi_str_add(&json, "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", "
                       "\"add_prefix_space\": false, \"use_regex\": true}, "
                       "\"decoder\": {\"type\": \"ByteLevel\"}, "
                       "\"added_tokens\": [");
    for (int i = 0; i < 7; i++) {
        csi_str_addf(&json,
                     "%s{\"id\": %d, \"content\": \"%s\", "
                     "\"special\": true}",
                     i > 0 ? ", " : "", 256 + i, ADDED[i]);
    }
    csi_str_add(&json, "], \"model\": {\"merges\": [], \"vocab\": {");
    for (int byte = 0; byte < 256; byte++) {
        const bool is_itself = (byte >= 33 && byte <= 126) ||
                               (byte >= 161 && byte <= 172) || byte >= 174;

        csi_str_addf(&json, "%s\"\\u%04x\": %d", byte > 0 ? ", " : "",
                     (unsigned)(is_itself ? byte : next++), byte);
    }
    csi_str_add(&json, "}}}");
    if (csi_tokenizer_parse(csi_str_get(&json), json.length, "t", CONFIG,
                            sizeof CONFIG - 1, "c", &tokenizer) != CS_OK) {
        abort();
    }
    csi_str_fini(&json);
    return tokenizer;
}

static void render(csi_chat_format *format, const csi_llava_sample *sample,
                   csi_draft *draft)
{
    static const char *const NAMES[] = {"plain", "vicuna", "chatml", "llama3"};

    for (int i = 0; i < 4; i++) {
        int32_t n_items = 0;

        if (csi_template_find(NAMES[i], format->tokenizer, &format->chat) !=
            CS_OK) {
            abort();
        }
        if (csi_template_render(format, sample->turns, sample->n_turns,
                                sample->media, false, sample->where,
                                draft) != CS_OK) {
            continue;
        }
        for (int32_t r = 0; r < draft->n_runs; r++) {
            n_items += draft->runs[r].modality >= 0;
        }
        if (n_items != sample->n_paths) {
            __builtin_trap();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static cs_tokenizer *tokenizer; /* made once, kept */
    if (tokenizer == NULL) {
        tokenizer = make_tokenizer();
    }
    csi_chat_format format = {.tokenizer = tokenizer,
                              .vocab = 263,
                              .n_modalities = 2,
                              .modality = {{.name = "vision",
                                            .placeholder = "<image>",
                                            .is_first_of_kind = true},
                                           {.name = "audio",
                                            .placeholder = "<audio>",
                                            .is_first_of_kind = true}}};
    csi_llava_reader reader = {.path = "fuzz",
                               .data = (const char *)data,
                               .n_bytes = n_bytes};
    csi_llava_element element = {.json = NULL};
    csi_llava_sample sample = {0};
    csi_draft draft = {0};

    format.modality[0].processor.modality = CS_MODALITY_VISION;
    format.modality[1].processor.modality = CS_MODALITY_AUDIO;
    while (csi_llava_next(&reader, &element) == CS_OK && element.json != NULL) {
        if (csi_llava_read(&format, "fuzz", &element, &sample) == CS_OK) {
            render(&format, &sample, &draft);
        }
        json_decref(element.json);
    }
    csi_draft_fini(&draft);
    csi_llava_sample_fini(&sample);
    return 0;
}
