/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generation's way through the layers: keys and values of past tokens in
 * caches, logits of chosen rows. Token by token must give what one forward
 * over all tokens gives, in every family that has something of its own there:
 * windows, caps, learned positions, experts, long documents.
 */
#include "tiny.h"

#include <math.h>

/* Products and softmax of a row do not depend on the rows beside it; only the
 * order of keys within a tile may. */
#define TOLERANCE 1e-12

typedef struct decoder {
    by_hand *h;
    cs_kv_cache *caches;
    cs_tile_map tiles, window_tiles;
    uint8_t *is_long; /* [capacity]: ones */
    cs_value *logits;
} decoder;

static void make_caches(decoder *d, const tiny *t, int64_t capacity)
{
    const cs_module *lm = &t->graph->modules[t->graph->n_modules - 1];
    tiny *memory = (tiny *)(uintptr_t)t;

    d->is_long = tiny_take(memory, capacity, sizeof *d->is_long);
    memset(d->is_long, 1, (size_t)capacity);
    d->caches = tiny_take(memory, lm->n_layers, sizeof *d->caches);
    for (int32_t i = 0; i < lm->n_layers; i++) {
        const int64_t count =
            capacity * lm->layers[i].kv_heads * lm->layers[i].head_dim;
        d->caches[i].k = tiny_take(memory, count, sizeof(double));
        d->caches[i].v = tiny_take(memory, count, sizeof(double));
    }
}

/* Tokens [first, first + rows) of microbatch 0; logits of the last one. */
static cs_status decode(decoder *d, int64_t first, int64_t rows)
{
    by_hand *h = d->h;
    const cs_graph *graph = h->t->graph;
    const cs_microbatch *mb = &h->t->plan->microbatches[0];
    const int32_t lm = cs_graph_language_model(graph);
    const int32_t last_row = (int32_t)rows - 1;
    const int64_t after = cs_module_long_after(&graph->modules[lm]);
    cs_value *out = NULL;
    cs_nn_batch b = {
        .rows = rows,
        .mask = {rows, mb->word + first, mb->position + first},
        .key_mask = {first + rows, mb->word, mb->position},
        .tiles = &d->tiles,
        .window_tiles = &d->window_tiles,
        .is_long = after > 0 && first + rows > after ? d->is_long : NULL,
        .caches = d->caches,
        .position = mb->rope_position + first,
        .ids = h->t->data[0].ids + first,
        .n_features = first == 0 ? lm : 0,
        .features = h->feature,
        .merge_index = h->batch[lm].nn.merge_index,
        .logit_rows = &last_row,
        .n_logit_rows = 1,
    };

    CS_TRY(cs_tile_map_build(&d->tiles, &b.mask, &b.key_mask, 0,
                             h->backend->q_block, h->backend->k_block));
    CS_TRY(cs_tile_map_build(&d->window_tiles, &b.mask, &b.key_mask,
                             cs_module_window(&graph->modules[lm]),
                             h->backend->q_block, h->backend->k_block));
    by_hand_clear_workspace(h);
    if (first > 0) { /* the features live on the tape of the first forward */
        cs_tape_reset(h->tape[lm], false);
    }
    cs_tape_begin(h->tape[lm]);
    const cs_nn nn = {h->tape[lm], graph, h->params, lm, &b};
    CS_TRY(cs_nn_forward(&nn, 0, graph->modules[lm].n_layers, NULL, &out));
    for (int32_t i = 0; i < graph->modules[lm].n_layers; i++) {
        d->caches[i].n_tokens = first + rows;
    }
    d->logits = b.logits;
    return CS_OK;
}

/* Logits of all rows in one forward. */
static double *all_logits(by_hand *h, int64_t n, int64_t vocab)
{
    tiny *t = (tiny *)(uintptr_t)h->t;
    const int32_t lm = cs_graph_language_model(t->graph);
    int32_t *rows = tiny_take(t, n, sizeof *rows);
    double *copy = tiny_take(t, n * vocab, sizeof *copy);

    for (int64_t i = 0; i < n; i++) {
        rows[i] = (int32_t)i;
    }
    h->logit_rows = rows;
    h->n_logit_rows = n;
    assert_ok(by_hand_forward(h, 0, false));
    memcpy(copy, h->nn_batch[lm].logits->t.data,
           (size_t)(n * vocab) * sizeof *copy);
    h->n_logit_rows = 0;
    return copy;
}

/* A prompt with a picture and a recording, then one token at a time. */
static void tokens_one_by_one_give_the_logits_of_all_at_once(void **state)
{
    (void)state;
    enum {
        PROMPT = 16
    };
    tiny t;
    by_hand h;

    tiny_build(&t, TINY_BOTH, NULL, 0);
    tiny_plan(&t, "tvtatT", 1, 1);
    by_hand_begin(&h, &t, "ref", CS_F64);
    const int64_t n = t.plan->microbatches[0].n_tokens;
    const int64_t vocab = TINY_VOCAB;
    decoder d = {.h = &h};
    const double *wanted = all_logits(&h, n, vocab);
    assert_true(n > PROMPT + 4);
    make_caches(&d, &t, n);
    /* leaves the features as inputs of the language model's tape */
    assert_ok(by_hand_forward(&h, 0, false));
    for (int64_t first = 0; first < n;) {
        const int64_t rows = first == 0 ? PROMPT : 1;
        assert_ok(decode(&d, first, rows));
        first += rows;
        for (int64_t k = 0; k < vocab; k++) {
            assert_near(cs_tensor_get(&d.logits->t, k),
                        wanted[(first - 1) * vocab + k], TOLERANCE);
        }
        assert_int_equal(d.caches[1].n_tokens, first);
        assert_int_equal(cs_tape_records(h.tape[2]), 0);
    }
    cs_tile_map_fini(&d.tiles);
    cs_tile_map_fini(&d.window_tiles);
    by_hand_end(&h);
    tiny_end(&t);
}

/* --- families ------------------------------------------------------------- */

#define MODEL(config)                                                       \
    "version: 1\nmodel:\n  attention: causal\n  language_model: {config: {" \
    "hidden_size: 12, intermediate_size: 14, num_hidden_layers: 3, "        \
    "num_attention_heads: 4, num_key_value_heads: 2, vocab_size: 30, "      \
    "max_position_embeddings: 64, " config                                  \
    "}}\ndata:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n"
#define MISTRAL MODEL("model_type: mistral, head_dim: 4, sliding_window: 3")
#define MIXTRAL MODEL("model_type: mixtral, head_dim: 4, num_local_experts: 4")
#define GEMMA2                                                          \
    MODEL("model_type: gemma2, head_dim: 4, sliding_window: 4, "        \
          "attn_logit_softcapping: 2.0, final_logit_softcapping: 1.5, " \
          "query_pre_attn_scalar: 5")
#define GEMMA3                                                        \
    MODEL("model_type: gemma3_text, head_dim: 4, sliding_window: 4, " \
          "sliding_window_pattern: 3, rope_local_base_freq: 50.0")
#define QWEN3 MODEL("model_type: qwen3, head_dim: 4, tie_word_embeddings: true")
#define PHI3                                                           \
    MODEL("model_type: phi3, head_dim: 4, sliding_window: 7, "         \
          "original_max_position_embeddings: 9, rope_scaling: {type: " \
          "longrope, short_factor: [1.0, 1.5], long_factor: [2.0, 5.0]}")
#define GPT2                                                                 \
    "version: 1\nmodel:\n  attention: causal\n  language_model: {config: {"  \
    "model_type: gpt2, n_embd: 12, n_layer: 2, n_head: 2, n_positions: 40, " \
    "vocab_size: 30, attn_pdrop: 0.0, embd_pdrop: 0.0, resid_pdrop: 0.0}}\n" \
    "data:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n"

enum {
    SHORT_TOKENS = 9, /* of "ttt": as long as PHI3's short documents get */
    LONG_TOKENS = 19  /* of "tttTT" */
};

/* Logits of all rows of a document in one forward. */
static double *logits_of(const char *yaml, const char *samples, tiny *t,
                         by_hand *h)
{
    tiny_build(t, yaml, NULL, 0);
    tiny_plan(t, samples, 1, 1);
    by_hand_begin(h, t, "ref", CS_F64);
    return all_logits(h, t->plan->microbatches[0].n_tokens, TINY_VOCAB);
}

static void check_family(const char *yaml)
{
    tiny short_t;
    tiny t;
    by_hand short_h;
    by_hand h;
    const double *short_wanted = logits_of(yaml, "ttt", &short_t, &short_h);
    const double *wanted = logits_of(yaml, "tttTT", &t, &h);
    const int64_t after = cs_module_long_after(&t.graph->modules[0]);
    decoder d = {.h = &h};

    assert_int_equal(short_t.plan->microbatches[0].n_tokens, SHORT_TOKENS);
    assert_int_equal(t.plan->microbatches[0].n_tokens, LONG_TOKENS);
    assert_true((short_wanted[TINY_VOCAB] != wanted[TINY_VOCAB]) ==
                (after > 0));
    make_caches(&d, &t, LONG_TOKENS);
    for (int64_t n = 5; n <= LONG_TOKENS; n++) {
        /* the document becomes a long one: its keys are made anew */
        if (after > 0 && n == after + 1) {
            for (int32_t i = 0; i < t.graph->modules[0].n_layers; i++) {
                d.caches[i].n_tokens = 0;
            }
        }
        const int64_t first = d.caches[1].n_tokens;
        assert_ok(decode(&d, first, n - first));
        const double *row = n <= SHORT_TOKENS
                                ? short_wanted + (n - 1) * TINY_VOCAB
                                : wanted + (n - 1) * TINY_VOCAB;
        for (int64_t k = 0; k < TINY_VOCAB; k++) {
            assert_near(cs_tensor_get(&d.logits->t, k), row[k], TOLERANCE);
        }
    }
    cs_tile_map_fini(&d.tiles);
    cs_tile_map_fini(&d.window_tiles);
    by_hand_end(&h);
    by_hand_end(&short_h);
    tiny_end(&t);
    tiny_end(&short_t);
}

static void every_family_decodes_as_it_trains(void **state)
{
    (void)state;
    check_family(MISTRAL);
    check_family(MIXTRAL);
    check_family(GEMMA2);
    check_family(GEMMA3);
    check_family(QWEN3);
    check_family(PHI3);
    check_family(GPT2);
}

/* The loss of a forward without training is that of one with. */
static void training_does_not_change_the_loss(void **state)
{
    (void)state;
    static const cs_dtype DTYPES[] = {CS_F64, CS_F32, CS_BF16};
    tiny t;

    tiny_begin(&t, TINY_BOTH, NULL, 0);
    for (size_t i = 0; i < 3; i++) {
        by_hand h;
        by_hand_begin(&h, &t, "ref", DTYPES[i]);
        assert_ok(by_hand_step(&h, true));
        const double loss_sum = h.loss_sum;
        assert_ok(by_hand_step(&h, false));
        assert_true(h.loss_sum == loss_sum);
        assert_int_equal(h.n_records, 0);
        by_hand_end(&h);
    }
    tiny_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(tokens_one_by_one_give_the_logits_of_all_at_once),
        CST_TEST(every_family_decodes_as_it_trains),
        CST_TEST(training_does_not_change_the_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
