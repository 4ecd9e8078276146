/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json of a language model or an encoder: whatever it says, a graph is
 * built that its own check accepts, or there is a sentence. The first byte
 * says which of the two the rest is ('e' an encoder).
 */
#include "cornstarch/zoo.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static const char RECIPE[] =
    "version: 1\n"
    "model:\n"
    "  attention: causal\n"
    "  encoders:\n"
    "    x:\n"
    "      placeholder: \"<x>\"\n"
    "      config: {model_type: siglip_vision_model, hidden_size: 8, "
    "intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2, "
    "image_size: 8, patch_size: 4}\n"
    "  language_model:\n"
    "    config: {model_type: llama, hidden_size: 8, intermediate_size: 8, "
    "num_hidden_layers: 1, num_attention_heads: 2, vocab_size: 8}\n"
    "data: {train: [{path: none.json}]}\n"
    "training: {max_steps: 1}\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const int64_t live = csi_alloc_live();
    cs_config *config = NULL;
    cs_graph *graph = NULL;
    char *text = malloc(n_bytes + 1);

    if (text == NULL || cs_config_parse(RECIPE, sizeof RECIPE - 1, ".", NULL, 0,
                                        &config) != CS_OK) {
        abort();
    }
    if (n_bytes > 0) {
        memcpy(text, data + 1, n_bytes - 1);
        text[n_bytes - 1] = '\0';
        if (data[0] == 'e') {
            config->model.encoders[0].hf_config_json = text;
        } else {
            config->model.language_model.hf_config_json = text;
        }
    }
    if (cs_zoo_build(config, &graph) == CS_OK) {
        if (cs_graph_check(graph) != CS_OK ||
            cs_graph_param_count(graph, -1, false) <= 0) {
            abort();
        }
        cs_graph_destroy(&graph);
    } else if (cs_error_message()[0] == '\0') {
        abort();
    }
    cs_config_destroy(&config);
    free(text);
    if (csi_alloc_live() != live) {
        abort();
    }
    return 0;
}
