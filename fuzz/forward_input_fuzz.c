/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that `cornstarch forward` reads, for a model with every kind of
 * encoder: it becomes documents and a batch that agree with each other, or a
 * sentence. The file lies in memory.
 */
#include "cornstarch/zoo.h"

#include "base/alloc.h"

#include "infer/forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

#define TOWER                                                      \
    "hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, " \
    "num_attention_heads: 2, image_size: 8, patch_size: 4"

static const char RECIPE[] =
    "version: 1\n"
    "model:\n"
    "  attention: islands\n"
    "  encoders:\n"
    "    v: {placeholder: \"<v>\", config: {model_type: "
    "clip_vision_model, " TOWER "}}\n"
    "    p: {placeholder: \"<p>\", config: {model_type: pixtral, " TOWER "}}\n"
    "    a: {placeholder: \"<a>\", config: {model_type: whisper, d_model: 8, "
    "encoder_layers: 1, encoder_attention_heads: 2, encoder_ffn_dim: 8, "
    "num_mel_bins: 2, max_source_positions: 4}}\n"
    "  language_model:\n"
    "    config: {model_type: llama, hidden_size: 8, intermediate_size: 8, "
    "num_hidden_layers: 1, num_attention_heads: 2, vocab_size: 8}\n"
    "data: {train: [{path: none.json}]}\n"
    "training: {max_steps: 1}\n";

static const int64_t PLACEHOLDERS[] = {8, 9, 10};

static void check_batch(const csi_forward_input *input, const cs_config *config)
{
    csi_forward_batch batch = {0};

    if (csi_forward_batch_build(input, config, 2, &batch) != CS_OK) {
        if (cs_error_message()[0] == '\0') {
            abort();
        }
        return;
    }
    if (batch.plan->n_tokens != input->token_begin[input->view.n_samples] ||
        batch.plan->label_tokens != input->label_tokens) {
        abort();
    }
    csi_forward_batch_fini(&batch);
}

static void read_input(const cs_config *config, const cs_graph *graph,
                       const char *path)
{
    const csi_model_source source = {0};
    csi_forward_input input = {.placeholder = PLACEHOLDERS};

    if (csi_forward_read(&input, &source, graph, path) == CS_OK) {
        check_batch(&input, config);
    } else if (cs_error_message()[0] == '\0') {
        abort();
    }
    csi_forward_input_fini(&input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    char path[64];
    cs_config *config = NULL;
    cs_graph *graph = NULL;
    const int64_t live = csi_alloc_live();
    const int fd = memfd_create("forward", MFD_CLOEXEC);

    if (fd < 0 || write(fd, data, n_bytes) != (ssize_t)n_bytes ||
        cs_config_parse(RECIPE, sizeof RECIPE - 1, ".", NULL, 0, &config) !=
            CS_OK ||
        cs_zoo_build(config, &graph) != CS_OK) {
        (void)fprintf(stderr, "%s\n", cs_error_message());
        abort();
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    read_input(config, graph, path);
    (void)close(fd);
    cs_graph_destroy(&graph);
    cs_config_destroy(&config);
    if (csi_alloc_live() != live) {
        abort();
    }
    return 0;
}
