/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_NN_TINY_H
#define CST_NN_TINY_H
/*
 * Whole multimodal models, a few hundred times smaller than the smallest real
 * ones, and a step's data made by hand: samples with no, one or several items
 * of different lengths. And the step computed by hand: one tape per module,
 * one module after the other, as plainly as can be. It is what the runtime
 * must reproduce bit by bit.
 */
#include "cornstarch/runtime.h"
#include "cornstarch/zoo.h"

#include "base/arena.h"
#include "base/rng.h"
#include "base/str.h"

#include "support/test.h"

#include <string.h>

enum {
    TINY_IMAGE_SIDE = 3,
    TINY_IMAGE_ROWS = 9, /* patches of a picture */
    TINY_VOCAB = 30,
    TINY_MAX_SAMPLES = 24,
    TINY_MAX_RUNS = 120,
    TINY_MAX_MODULES = 3,
    TINY_MAX_LAYERS = 8
};

#define TINY_VISION                                                 \
    "    vision: {config: {model_type: siglip_vision_model, "       \
    "hidden_size: 8, intermediate_size: 12, num_hidden_layers: 2, " \
    "num_attention_heads: 2, image_size: 12, patch_size: 4, "       \
    "num_channels: 1}, placeholder: \"<image>\", pool: 2, "         \
    "projector: {type: mlp, hidden_size: 10}}\n"
#define TINY_AUDIO                                                      \
    "    audio: {config: {model_type: whisper, d_model: 8, "            \
    "encoder_layers: 1, encoder_attention_heads: 2, "                   \
    "encoder_ffn_dim: 12, num_mel_bins: 5, max_source_positions: 16}, " \
    "placeholder: \"<audio>\", pool: 1, projector: {type: linear}}\n"
/* 4 heads of 4 in a width of 12; 2 heads of keys */
#define TINY_LLAMA                                                     \
    "  language_model: {config: {model_type: llama, hidden_size: 12, " \
    "intermediate_size: 14, num_hidden_layers: 3, "                    \
    "num_attention_heads: 4, num_key_value_heads: 2, head_dim: 4, "    \
    "vocab_size: 30, max_position_embeddings: 64}}\n"
#define TINY_BOTH                                                         \
    "version: 1\nmodel:\n  attention: islands\n  encoders:\n" TINY_VISION \
        TINY_AUDIO TINY_LLAMA                                             \
    "data:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n"

/* One word per sample, one letter per run: t = 3 tokens of text, T = 5,
 * v = a picture, a = 7 mel frames, A = 12, . = next sample. */
#define TINY_SAMPLES "tvT.T.tat.vtT.tvtvT.AT.tvtatAt.Tt.tT.vat"

typedef struct tiny {
    cs_config *config;
    cs_graph *graph;
    cs_batch_plan *plan;
    bool is_unpacked; /* a sample per microbatch */
    int32_t n_runs, n_samples;
    cs_index_run runs[TINY_MAX_RUNS];
    cs_index_sample samples[TINY_MAX_SAMPLES];
    cs_index_view view;
    csi_arena arena;          /* of the data */
    cs_microbatch_data *data; /* [n_replicas * n_microbatches] */
} tiny;

/* --- samples ----------------------------------------------------------- */

static inline uint64_t tiny_key(int64_t sample, int64_t what)
{
    return (uint64_t)(sample * 1000 + what);
}

/* Token t of a sample, were it text. */
static inline int32_t tiny_id(int64_t sample, int64_t t)
{
    return (int32_t)csi_rng_below(5, tiny_key(sample, t), 0, TINY_VOCAB);
}

/* Whether text token t is an answer's. */
static inline bool tiny_is_answer(int64_t sample, int64_t t)
{
    return csi_rng_below(6, tiny_key(sample, t), 0, 3) > 0;
}

static inline cs_index_run tiny_run(const tiny *t, char letter, int32_t item)
{
    cs_index_run run = {.modality = -1, .item = item};
    const int32_t module =
        cs_graph_find_module(t->graph, letter == 'v' ? "vision" : "audio");

    if (letter == 't' || letter == 'T') {
        run.item = 0;
        run.llm_rows = letter == 't' ? 3 : 5;
        return run;
    }
    assert_in_range(module, 0, t->graph->n_modules - 1);
    const cs_module *m = &t->graph->modules[module];
    run.modality = module;
    run.input_rows = letter == 'v' ? TINY_IMAGE_ROWS : letter == 'a' ? 7 : 12;
    run.encoder_rows = letter == 'v' ? TINY_IMAGE_ROWS + m->class_rows
                                     : (run.input_rows + 1) / 2;
    if (letter == 'v') {
        run.grid_rows = TINY_IMAGE_SIDE;
        run.grid_columns = TINY_IMAGE_SIDE;
    }
    const int32_t per_token = m->pool * m->stack;
    run.llm_rows =
        (run.encoder_rows - m->feature_skip + per_token - 1) / per_token;
    return run;
}

/* Token u of a sample is text; false past its end. */
static inline bool tiny_is_text(const tiny *t, int64_t sample, int64_t u)
{
    const cs_index_sample *s = &t->samples[sample];

    for (int32_t r = 0; r < s->n_runs; r++) {
        const cs_index_run *run = &t->runs[s->first_run + r];
        if (u < run->llm_rows) {
            return run->modality < 0;
        }
        u -= run->llm_rows;
    }
    return false;
}

static inline int32_t tiny_label(const tiny *t, int64_t sample, int64_t u)
{
    return tiny_is_text(t, sample, u + 1) && tiny_is_answer(sample, u + 1)
               ? tiny_id(sample, u + 1)
               : -100;
}

static inline void tiny_add_samples(tiny *t, const char *letters)
{
    int32_t n_items[TINY_MAX_MODULES] = {0};
    cs_index_sample *s = &t->samples[0];

    for (const char *c = letters;; c++) {
        if (*c != '.' && *c != '\0') {
            assert_true(t->n_runs < TINY_MAX_RUNS);
            cs_index_run run = tiny_run(t, *c, 0);
            if (run.modality >= 0) {
                run.item = n_items[run.modality]++;
            }
            t->runs[t->n_runs++] = run;
            s->n_runs++;
            s->n_tokens += run.llm_rows;
            continue;
        }
        for (int64_t u = 0; u < s->n_tokens; u++) {
            s->label_tokens += tiny_label(t, t->n_samples, u) != -100;
        }
        t->n_samples++;
        memset(n_items, 0, sizeof n_items);
        if (*c == '\0') {
            break;
        }
        assert_true(t->n_samples < TINY_MAX_SAMPLES);
        s = &t->samples[t->n_samples];
        s->first_run = t->n_runs;
    }
    t->view = (cs_index_view){
        .n_samples = t->n_samples,
        .n_runs = t->n_runs,
        .samples = t->samples,
        .runs = t->runs,
        .n_modalities = t->graph->n_modules - 1,
    };
}

/* --- data of a microbatch ---------------------------------------------- */

static inline void *tiny_take(tiny *t, int64_t count, size_t size)
{
    void *memory = csi_arena_calloc(&t->arena, (size_t)(count + 1) * size);

    assert_non_null(memory);
    return memory;
}

static inline void tiny_fill_text(const tiny *t, const cs_microbatch *mb,
                                  int32_t *ids, int32_t *labels)
{
    for (int32_t i = 0; i < mb->n_samples; i++) {
        const int64_t sample = mb->samples[i];
        const int64_t begin = mb->token_begin[i];
        for (int64_t u = 0; begin + u < mb->token_begin[i + 1]; u++) {
            ids[begin + u] =
                tiny_is_text(t, sample, u) ? tiny_id(sample, u) : -1;
            labels[begin + u] = tiny_label(t, sample, u);
        }
    }
}

static inline void tiny_fill_items(const cs_batch_modality *m, int64_t columns,
                                   float *rows)
{
    for (int64_t i = 0; i < m->n_items; i++) {
        const cs_batch_item *item = &m->items[i];
        const int64_t end =
            i + 1 < m->n_items ? m->items[i + 1].input_begin : m->input_rows;
        for (int64_t k = item->input_begin * columns; k < end * columns; k++) {
            rows[k] = (float)
                csi_rng_normal(7, tiny_key(item->sample, 500 + item->run),
                               (uint64_t)(k - item->input_begin * columns));
        }
    }
}

static inline void tiny_fill(tiny *t)
{
    const int64_t n = (int64_t)t->plan->n_replicas * t->plan->n_microbatches;
    const int32_t n_encoders = t->graph->n_modules - 1;

    t->data = tiny_take(t, n, sizeof *t->data);
    for (int64_t b = 0; b < n; b++) {
        const cs_microbatch *mb = &t->plan->microbatches[b];
        int32_t *ids = tiny_take(t, mb->n_tokens, sizeof *ids);
        int32_t *labels = tiny_take(t, mb->n_tokens, sizeof *labels);
        float **input = tiny_take(t, n_encoders, sizeof *input);
        tiny_fill_text(t, mb, ids, labels);
        for (int32_t e = 0; e < n_encoders; e++) {
            const int64_t columns = t->graph->modules[e].layers[0].in_dim;
            input[e] = tiny_take(t, mb->modality[e].input_rows * columns,
                                 sizeof(float));
            tiny_fill_items(&mb->modality[e], columns, input[e]);
        }
        t->data[b] = (cs_microbatch_data){ids, labels, input};
    }
}

/* --- model and step ------------------------------------------------------ */

static inline void tiny_build(tiny *t, const char *yaml,
                              const char *const *overrides, int32_t n_overrides)
{
    *t = (tiny){0};
    csi_arena_init(&t->arena, 0);
    assert_ok(cs_config_parse(yaml, strlen(yaml), ".", overrides, n_overrides,
                              &t->config));
    assert_ok(cs_zoo_build(t->config, &t->graph));
    assert_true(t->graph->n_modules <= TINY_MAX_MODULES);
}

/* A step of all `samples`: at least min_microbatches per replica. */
static inline void tiny_plan(tiny *t, const char *samples,
                             int32_t min_microbatches, int32_t n_replicas)
{
    tiny_add_samples(t, samples);
    const cs_batch_settings settings = {
        .seed = 1,
        .global_batch_size = t->n_samples,
        .max_tokens_per_microbatch = 40,
        .packing = !t->is_unpacked,
        .min_microbatches = min_microbatches,
        .n_replicas = n_replicas,
        .attention = t->graph->attention,
    };
    assert_ok(cs_batch_plan_create(&t->plan));
    if (n_replicas == 1) {
        assert_ok(cs_batch_plan_range(t->plan, &t->view, &settings, 0,
                                      t->n_samples));
    } else {
        assert_ok(cs_batch_plan_build(t->plan, &t->view, &settings, 1, NULL,
                                      0));
    }
    tiny_fill(t);
}

static inline void tiny_begin(tiny *t, const char *yaml,
                              const char *const *overrides, int32_t n_overrides)
{
    tiny_build(t, yaml, overrides, n_overrides);
    tiny_plan(t, TINY_SAMPLES, 8, 1);
}

static inline void tiny_end(tiny *t)
{
    cs_batch_plan_destroy(&t->plan);
    csi_arena_fini(&t->arena);
    cs_graph_destroy(&t->graph);
    cs_config_destroy(&t->config);
}

/* Initial values, and noise on top: biases of 0 and norms of 1 hide faults. */
static inline void tiny_init(cs_param_set *params)
{
    cs_param_set_init(params, 3);
    for (int32_t i = 0; i < params->n; i++) {
        const cs_param_state *p = &params->items[i];
        const cs_tensor master = {p->master, params->real, p->spec->shape};
        const cs_param *source = p->spec->tied_to < 0
                                     ? p->spec
                                     : &params->graph->params[p->spec->tied_to];
        if (p->is_alias) {
            continue;
        }
        for (int64_t k = 0; k < p->count && p->master != NULL; k++) {
            const double noise =
                csi_rng_normal(4, csi_hash64(source->global_name), (uint64_t)k);
            const double value = cs_tensor_get(&master, k) + 0.1 * noise;
            cs_tensor_set(&master, k, value);
            cs_tensor_set(&p->working, k, value);
        }
    }
}

static inline void tiny_params(const tiny *t, cs_dtype dtype,
                               cs_param_set **out)
{
    bool *held = csi_arena_calloc((csi_arena *)(uintptr_t)&t->arena,
                                  (size_t)t->graph->n_params);

    assert_non_null(held);
    memset(held, 1, (size_t)t->graph->n_params);
    assert_ok(cs_param_set_create(t->graph, held, dtype, true, out));
    tiny_init(*out);
}

/* --- the step by hand ---------------------------------------------------- */

typedef struct by_hand {
    const tiny *t;
    cs_param_set *params;
    cs_backend *backend; /* owned, as all below */
    csi_arena workspace, arena;
    cs_tape *tape[TINY_MAX_MODULES];
    cs_module_batch batch[TINY_MAX_MODULES];
    cs_nn_batch nn_batch[TINY_MAX_MODULES];
    cs_value *output[TINY_MAX_MODULES];
    cs_value *feature[TINY_MAX_MODULES]; /* inputs of the last tape */
    double loss_sum;
    double balance_sums[TINY_MAX_LAYERS]; /* of the language model's layers */
    int64_t n_correct, n_records;
    bool stops_before_projector; /* encoders alone */
    const int32_t *logit_rows;   /* instead of the loss */
    int64_t n_logit_rows;
} by_hand;

static inline void by_hand_begin(by_hand *h, const tiny *t, const char *backend,
                                 cs_dtype dtype)
{
    *h = (by_hand){.t = t};
    assert_ok(cs_backend_create(backend, 1, &h->backend));
    csi_arena_init(&h->workspace, 0);
    csi_arena_init(&h->arena, 0);
    tiny_params(t, dtype, &h->params);
    for (int32_t m = 0; m < t->graph->n_modules; m++) {
        assert_ok(cs_tape_create(h->backend, &h->workspace, dtype,
                                 &h->tape[m]));
    }
}

static inline void by_hand_end(by_hand *h)
{
    for (int32_t m = 0; m < TINY_MAX_MODULES; m++) {
        cs_tape_destroy(&h->tape[m]);
        cs_module_batch_fini(&h->batch[m]);
    }
    cs_param_set_destroy(&h->params);
    csi_arena_fini(&h->workspace);
    csi_arena_fini(&h->arena);
    cs_backend_destroy(&h->backend);
}

/* Overwrites what the workspace held with NaN: later actions may not see it. */
static inline void by_hand_clear_workspace(by_hand *h)
{
    const size_t n_bytes = h->workspace.peak_bytes;

    csi_arena_reset(&h->workspace);
    void *all = csi_arena_alloc(&h->workspace, n_bytes);
    assert_non_null(all);
    memset(all, 0xff, n_bytes);
    csi_arena_reset(&h->workspace);
}

static inline cs_status by_hand_module(by_hand *h, int32_t m, int64_t b,
                                       bool is_training)
{
    const cs_graph *graph = h->t->graph;
    const cs_microbatch *mb = &h->t->plan->microbatches[b];
    const bool is_lm = m == cs_graph_language_model(graph);
    cs_nn_batch *batch = &h->nn_batch[m];

    CS_TRY(cs_module_batch_build(graph, m, mb, h->backend, &h->arena,
                                 &h->batch[m]));
    *batch = cs_module_batch_nn(&h->batch[m]);
    if (is_lm) {
        batch->ids = h->t->data[b].ids;
        batch->n_features = graph->n_modules - 1;
        batch->features = h->feature;
        batch->loss = (cs_tape_loss_args){
            .labels = h->t->data[b].labels,
            .loss_scale = 1.0 / (double)h->t->plan->label_tokens,
            .loss_sum = &h->loss_sum,
            .n_correct = &h->n_correct,
        };
        batch->balance_sums = h->balance_sums;
        batch->logit_rows = h->logit_rows;
        batch->n_logit_rows = h->n_logit_rows;
    } else {
        batch->input = h->t->data[b].input[m];
    }
    if (!is_lm) {
        cs_tape_reset(h->tape[m], is_training);
    }
    by_hand_clear_workspace(h);
    cs_tape_begin(h->tape[m]);
    const cs_nn nn = {h->tape[m], graph, h->params, m, batch};
    const int32_t last =
        graph->modules[m].n_layers - (h->stops_before_projector ? 1 : 0);
    CS_TRY(cs_nn_forward(&nn, 0, last, NULL, &h->output[m]));
    h->n_records += cs_tape_records(h->tape[m]);
    return CS_OK;
}

/* Forward of microbatch b: encoders, then the language model. */
static inline cs_status by_hand_forward(by_hand *h, int64_t b, bool is_training)
{
    const cs_microbatch *mb = &h->t->plan->microbatches[b];
    const int32_t lm = cs_graph_language_model(h->t->graph);

    csi_arena_reset(&h->arena);
    cs_tape_reset(h->tape[lm], is_training);
    for (int32_t e = 0; e < lm; e++) {
        h->feature[e] = NULL;
        if (mb->modality[e].n_items == 0) {
            continue;
        }
        CS_TRY(by_hand_module(h, e, b, is_training));
        cs_tensor copy = h->output[e]->t;
        copy.data = csi_arena_alloc(&h->arena, cs_tensor_bytes(&copy));
        CS_CHECK(copy.data != NULL, CS_ERR_NOMEM, "features");
        memcpy(copy.data, h->output[e]->t.data, cs_tensor_bytes(&copy));
        CS_TRY(cs_tape_input(h->tape[lm], copy, h->output[e]->needs_grad,
                             &h->feature[e]));
    }
    return mb->n_tokens > 0 ? by_hand_module(h, lm, b, is_training) : CS_OK;
}

static inline cs_status by_hand_backward_module(by_hand *h, int32_t m,
                                                cs_value *output)
{
    by_hand_clear_workspace(h);
    CS_TRY(cs_tape_backward_input(h->tape[m], output));
    by_hand_clear_workspace(h);
    return cs_tape_backward_weight(h->tape[m]);
}

static inline cs_status by_hand_backward(by_hand *h, int64_t b)
{
    const int32_t lm = cs_graph_language_model(h->t->graph);

    if (h->t->plan->microbatches[b].n_tokens == 0) {
        return CS_OK;
    }
    CS_TRY(by_hand_backward_module(h, lm, NULL));
    for (int32_t e = lm - 1; e >= 0; e--) {
        if (h->feature[e] == NULL || !h->feature[e]->needs_grad) {
            continue;
        }
        CS_CHECK(h->feature[e]->grad != NULL, CS_ERR_INTERNAL,
                 "features of encoder %d got no gradient", e);
        h->output[e]->grad = h->feature[e]->grad;
        h->output[e]->grad_where = CS_KEEP_PRODUCT;
        CS_TRY(by_hand_backward_module(h, e, h->output[e]));
    }
    return CS_OK;
}

/* The whole step (of one replica). Training starts gradients from 0; without
 * it they stay. */
static inline cs_status by_hand_step(by_hand *h, bool is_training)
{
    h->loss_sum = 0.0;
    memset(h->balance_sums, 0, sizeof h->balance_sums);
    h->n_correct = 0;
    h->n_records = 0;
    if (is_training) {
        cs_param_set_zero_grads(h->params);
    }
    for (int32_t b = 0; b < h->t->plan->n_microbatches; b++) {
        CS_TRY(by_hand_forward(h, b, is_training));
        if (is_training) {
            CS_TRY(by_hand_backward(h, b));
        }
    }
    return CS_OK;
}
#endif
