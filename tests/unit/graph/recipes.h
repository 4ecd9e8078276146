/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_GRAPH_RECIPES_H
#define CST_GRAPH_RECIPES_H
/*
 * Recipes as text and the graphs that they build, for the tests of everything
 * between recipe and shard. CAPTION and LISTEN have the shape of the two
 * recipes in examples/stamps, small enough to count by hand.
 */
#include "cornstarch/zoo.h"

#include "base/str.h"

#include "support/test.h"

#include <string.h>

/* vision 8 layers: stem, 4 blocks of width 8, norm, projector; n = 7
 * language model: embed, 3 blocks of width 12, head; n = 5 */
#define CST_VISION_CONFIG                                \
    "{model_type: siglip_vision_model, hidden_size: 8, " \
    "intermediate_size: 16, num_hidden_layers: 4, "      \
    "num_attention_heads: 2, image_size: 8, patch_size: 4}"
#define CST_AUDIO_CONFIG                                                  \
    "{model_type: whisper, d_model: 8, encoder_layers: 2, "               \
    "encoder_attention_heads: 2, encoder_ffn_dim: 16, num_mel_bins: 10, " \
    "max_source_positions: 20}"
#define CST_LLAMA_CONFIG                                           \
    "{model_type: llama, hidden_size: 12, intermediate_size: 20, " \
    "num_hidden_layers: 3, num_attention_heads: 6, "               \
    "num_key_value_heads: 3, vocab_size: 30}"

#define CST_CAPTION_MODEL                                                     \
    "  encoders:\n"                                                           \
    "    vision: {config: " CST_VISION_CONFIG ", placeholder: \"<image>\"}\n" \
    "  language_model: {config: " CST_LLAMA_CONFIG "}\n"
#define CST_LISTEN_MODEL                          \
    "  encoders:\n"                               \
    "    vision: {config: " CST_VISION_CONFIG     \
    ", freeze: true, placeholder: \"<image>\"}\n" \
    "    audio: {config: " CST_AUDIO_CONFIG       \
    ", placeholder: \"<audio>\", pool: 2}\n"      \
    "  language_model: {config: " CST_LLAMA_CONFIG ", freeze: true}\n"

enum {
    CST_VISION_LAYERS = 7,
    CST_AUDIO_LAYERS = 5,
    CST_LLAMA_LAYERS = 5
};

/* A whole recipe around a model section and lines of `parallel:`. */
static inline cs_status cst_recipe_parse(const char *model,
                                         const char *parallel, cs_config **out)
{
    csi_str yaml = {0};

    csi_str_addf(&yaml,
                 "version: 1\nmodel:\n%sdata:\n  train: [{path: t.json}]\n"
                 "training: {max_steps: 1}\nparallel:\n%s",
                 model, parallel);
    cs_status st = csi_str_check(&yaml);

    if (st == CS_OK) {
        st = cs_config_parse(yaml.data, yaml.length, ".", NULL, 0, out);
    }
    csi_str_fini(&yaml);
    return st;
}

/* Only the graph of a model section. */
static inline cs_status cst_recipe_graph(const char *model, cs_graph **out)
{
    cs_config *config = NULL;
    cs_status st = cst_recipe_parse(model, "  plan: auto\n", &config);

    if (st == CS_OK) {
        st = cs_zoo_build(config, out);
        cs_config_destroy(&config);
    }
    return st;
}
#endif
