/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same bits wherever modules and stages are placed and whatever the
 * schedule: losses and gradients of a step are compared with the step computed
 * by hand, without runtime, schedule or messages.
 */
#include "world.h"

#include <math.h>

#define ONE_ENCODER                                                       \
    "version: 1\nmodel:\n  attention: islands\n  encoders:\n" TINY_VISION \
        TINY_LLAMA                                                        \
    "data:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n"
#define NO_ENCODER                    \
    "version: 1\nmodel:\n" TINY_LLAMA \
    "data:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n"

#define TIED_MIXTURE                                                     \
    "version: 1\nmodel:\n"                                               \
    "  language_model: {config: {model_type: mixtral, hidden_size: 16, " \
    "intermediate_size: 10, num_hidden_layers: 2, "                      \
    "num_attention_heads: 4, num_key_value_heads: 2, vocab_size: 30, "   \
    "num_local_experts: 3, num_experts_per_tok: 2, "                     \
    "tie_word_embeddings: true, output_router_logits: true, "            \
    "router_aux_loss_coef: 0.1, max_position_embeddings: 64}}\n"         \
    "data:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n"

typedef struct layout {
    const char *name;
    const char *recipe;
    const char *samples;
    int32_t n_ranks;
    const char *overrides[6];
} layout;

#define PICTURES "tvT.T.tvt.vtT.tvtvT.tT.tvtvt.Tt.tT.vtt"
#define TEXTS    "tT.T.tt.ttT.Tt"

#define FROZEN_VISION           "model.encoders.vision.freeze=true"
#define FROZEN_AUDIO            "model.encoders.audio.freeze=true"
#define FROZEN_VISION_PROJECTOR "model.encoders.vision.projector.freeze=true"
#define FROZEN_AUDIO_PROJECTOR  "model.encoders.audio.projector.freeze=true"
#define FROZEN_LM               "model.language_model.freeze=true"

static const layout LAYOUTS[] = {
    {"both, single", TINY_BOTH, TINY_SAMPLES, 1, {WORLD_SINGLE}},
    {"text, single", NO_ENCODER, TEXTS, 1, {WORLD_SINGLE}},
    {"text, pp 3",
     NO_ENCODER,
     TEXTS,
     3,
     {WORLD_PARALLEL("1f1b", "language_model: {pp: 3}")}},
    {"vision beside LM, 1f1b",
     ONE_ENCODER,
     PICTURES,
     2,
     {WORLD_PARALLEL("1f1b", "")}},
    {"vision beside LM, gpipe",
     ONE_ENCODER,
     PICTURES,
     2,
     {WORLD_PARALLEL("gpipe", "")}},
    {"vision, LM pp 2, 1f1b",
     ONE_ENCODER,
     PICTURES,
     3,
     {WORLD_PARALLEL("1f1b", "language_model: {pp: 2}")}},
    {"vision, LM pp 3, 1f1b",
     ONE_ENCODER,
     PICTURES,
     4,
     {WORLD_PARALLEL("1f1b", "language_model: {pp: 3}")}},
    {"vision, LM pp 3, gpipe",
     ONE_ENCODER,
     PICTURES,
     4,
     {WORLD_PARALLEL("gpipe", "language_model: {pp: 3}")}},
    {"vision pp 2, LM pp 2 with embedding and head apart",
     ONE_ENCODER,
     PICTURES,
     5,
     {WORLD_PARALLEL("1f1b", "vision: {pp: 2, cuts: [0, 4]}, "
                             "language_model: {pp: 3, cuts: [0, 1, 4]}")}},
    {"vision cut before the last norm",
     ONE_ENCODER,
     PICTURES,
     4,
     {WORLD_PARALLEL("gpipe", "vision: {pp: 3, cuts: [0, 1, 3]}")}},
    {"both, LM pp 1", TINY_BOTH, TINY_SAMPLES, 3, {WORLD_PARALLEL("1f1b", "")}},
    {"both, LM pp 2, 1f1b",
     TINY_BOTH,
     TINY_SAMPLES,
     4,
     {WORLD_PARALLEL("1f1b", "language_model: {pp: 2}")}},
    {"both, LM pp 2, gpipe",
     TINY_BOTH,
     TINY_SAMPLES,
     4,
     {WORLD_PARALLEL("gpipe", "language_model: {pp: 2}")}},
    {"both, vision pp 2, LM pp 3",
     TINY_BOTH,
     TINY_SAMPLES,
     6,
     {WORLD_PARALLEL("1f1b", "vision: {pp: 2}, language_model: {pp: 3}")}},
    {"both, vision and LM frozen, single",
     TINY_BOTH,
     TINY_SAMPLES,
     1,
     {WORLD_SINGLE, FROZEN_VISION, FROZEN_LM}},
    {"both, vision and LM frozen, LM pp 2",
     TINY_BOTH,
     TINY_SAMPLES,
     4,
     {WORLD_PARALLEL("1f1b", "language_model: {pp: 2}"), FROZEN_VISION,
      FROZEN_LM}},
    {"both, only audio's projector trains, audio pp 2",
     TINY_BOTH,
     TINY_SAMPLES,
     5,
     {WORLD_PARALLEL("1f1b", "audio: {pp: 2}, language_model: {pp: 2}"),
      FROZEN_AUDIO, FROZEN_VISION, FROZEN_VISION_PROJECTOR, FROZEN_LM}},
    {"both, only the LM trains, LM pp 2",
     TINY_BOTH,
     TINY_SAMPLES,
     4,
     {WORLD_PARALLEL("1f1b", "language_model: {pp: 2}"),
      FROZEN_VISION_PROJECTOR, FROZEN_VISION, FROZEN_AUDIO,
      FROZEN_AUDIO_PROJECTOR}},
    {"only the head trains, LM pp 3, gpipe",
     ONE_ENCODER,
     PICTURES,
     4,
     {WORLD_PARALLEL("gpipe", "language_model: {pp: 3}"),
      "model.language_model.freeze=[^model\\.]", FROZEN_VISION_PROJECTOR,
      FROZEN_VISION}},
    {"experts and a tied head, single", TIED_MIXTURE, TEXTS, 1, {WORLD_SINGLE}},
    {"experts and a tied head, pp 3",
     TIED_MIXTURE,
     TEXTS,
     3,
     {WORLD_PARALLEL("1f1b", "language_model: {pp: 3, cuts: [0, 1, 3]}")}},
};

/* Runs after the step by hand: the embedding takes the sum of its gradient and
 * that of the head that is tied to it. */
static void add_tied(const by_hand *h)
{
    for (int32_t i = 0; i < h->t->graph->n_params; i++) {
        const cs_param_state *head = cs_param_find(h->params, i);
        const cs_param_state *table =
            cs_param_find(h->params, head->spec->tied_to);
        for (int64_t k = 0; table != NULL && k < head->count; k++) {
            csi_dtype_set(table->grad, h->params->real, k,
                          csi_dtype_get(table->grad, h->params->real, k) +
                              csi_dtype_get(head->grad, h->params->real, k));
        }
    }
}

static void compare(const world *w, const by_hand *h, int32_t replica)
{
    for (int32_t i = 0; i < w->t->graph->n_params; i++) {
        const cs_param_state *p = cs_param_find(h->params, i);
        const void *got = w->grad[replica][i];
        if (p->grad == NULL) {
            assert_null(got);
            continue;
        }
        assert_non_null(got);
        const size_t n_bytes =
            (size_t)p->count * cs_dtype_bytes(h->params->real);
        /* a tied head that is apart from its embedding holds the sum */
        const cs_param_state *table =
            cs_param_find(h->params, p->spec->tied_to);
        if (memcmp(got, p->grad, n_bytes) != 0 &&
            (table == NULL || memcmp(got, table->grad, n_bytes) != 0)) {
            fail_msg("%s: other bits", p->spec->global_name);
        }
    }
}

static void check_layout(const layout *l, const char *backend, cs_dtype dtype)
{
    int32_t n = 0;
    tiny t;
    by_hand h;

    while (n < 6 && l->overrides[n] != NULL) {
        n++;
    }
    tiny_build(&t, l->recipe, l->overrides, n);
    tiny_plan(&t, l->samples, 8, 1);
    by_hand_begin(&h, &t, backend, dtype);
    assert_ok(by_hand_step(&h, true));
    add_tied(&h);
    world w = {.t = &t,
               .backend = backend,
               .dtype = dtype,
               .steps = world_two_steps};
    assert_ok(world_run(&w, l->n_ranks));
    const int32_t scorer = world_scorer(&w);
    assert_true(h.loss_sum > 0.0);
    assert_true(w.loss_sum[scorer] == h.loss_sum);
    assert_memory_equal(w.balance_sums, h.balance_sums, sizeof h.balance_sums);
    assert_int_equal(h.balance_sums[1] > 0.0,
                     strcmp(l->recipe, TIED_MIXTURE) == 0);
    assert_int_equal(w.n_correct[scorer], h.n_correct);
    assert_int_equal(w.label_tokens[scorer], t.plan->label_tokens);
    for (int32_t r = 0; r < l->n_ranks; r++) {
        assert_true(w.bytes_sent[r] > 0 || r == scorer);
    }
    compare(&w, &h, 0);
    world_end(&w);
    by_hand_end(&h);
    tiny_end(&t);
}

static void bits_do_not_depend_on_the_layout(void **state)
{
    const layout *l = *state;

    check_layout(l, "ref", CS_F64);
    check_layout(l, "ref", CS_F32);
    check_layout(l, "ref", CS_BF16);
}

static void bits_do_not_depend_on_it_on_the_fast_backend_either(void **state)
{
    (void)state;
    cs_backend *backend = NULL;

    if (cs_backend_create("cpu", 1, &backend) != CS_OK) {
        cst_skip("the cpu module does not open");
    }
    cs_backend_destroy(&backend);
    for (size_t i = 0; i < sizeof LAYOUTS / sizeof LAYOUTS[0]; i++) {
        check_layout(&LAYOUTS[i], "cpu", CS_F32);
        check_layout(&LAYOUTS[i], "cpu", CS_BF16);
    }
}

/* The step above has what it should: empty microbatches, microbatches without
 * items, several items. */
static void the_step_covers_the_corners(void **state)
{
    (void)state;
    tiny t;
    int32_t n_empty = 0;
    int32_t n_without_items = 0;
    int64_t most_items = 0;

    tiny_begin(&t, TINY_BOTH, NULL, 0);
    for (int32_t b = 0; b < t.plan->n_microbatches; b++) {
        const cs_microbatch *mb = &t.plan->microbatches[b];
        const int64_t n = mb->modality[0].n_items;
        n_empty += mb->n_tokens == 0;
        n_without_items += mb->n_tokens > 0 && n == 0;
        most_items = n > most_items ? n : most_items;
    }
    assert_int_equal(t.plan->n_microbatches, 8);
    assert_true(n_empty >= 1);
    assert_true(n_without_items >= 1);
    assert_true(most_items >= 2);
    tiny_end(&t);
}

/* --- data parallel --------------------------------------------------------- */

static double element(const void *data, cs_dtype dtype, int64_t k)
{
    return dtype == CS_F64 ? ((const double *)data)[k]
                           : (double)((const float *)data)[k];
}

/* Replicas end with the same bits; beside one replica, sums are taken in
 * another order. */
static void check_replicas(const char *parallel, int32_t n_ranks,
                           cs_dtype dtype, double tolerance)
{
    const char *const overrides[] = {parallel};
    tiny two;
    tiny one;
    by_hand h;

    tiny_build(&two, ONE_ENCODER, overrides, 1);
    tiny_plan(&two, PICTURES, 3, 2);
    tiny_build(&one, ONE_ENCODER, NULL, 0);
    tiny_plan(&one, PICTURES, 8, 1);
    assert_int_equal(two.plan->label_tokens, one.plan->label_tokens);
    by_hand_begin(&h, &one, "ref", dtype);
    assert_ok(by_hand_step(&h, true));
    world w = {.t = &two,
               .backend = "ref",
               .dtype = dtype,
               .steps = world_two_steps};
    assert_ok(world_run(&w, n_ranks));
    assert_int_equal(w.plan->dp, 2);
    const int32_t scorer = world_scorer(&w);
    const int32_t other = scorer + n_ranks / 2;
    assert_near(w.loss_sum[scorer] + w.loss_sum[other], h.loss_sum, tolerance);
    assert_int_equal(w.n_correct[scorer] + w.n_correct[other], h.n_correct);
    assert_int_equal(w.label_tokens[scorer] + w.label_tokens[other],
                     one.plan->label_tokens);
    for (int32_t i = 0; i < two.graph->n_params; i++) {
        const cs_param_state *p = cs_param_find(h.params, i);
        assert_memory_equal(w.grad[0][i], w.grad[1][i],
                            (size_t)p->count * cs_dtype_bytes(dtype));
        for (int64_t k = 0; k < p->count; k++) {
            assert_near(element(w.grad[0][i], dtype, k),
                        element(p->grad, dtype, k), tolerance);
        }
    }
    world_end(&w);
    by_hand_end(&h);
    tiny_end(&one);
    tiny_end(&two);
}

static void two_replicas_take_the_same_step(void **state)
{
    (void)state;
    static const char *const SINGLE =
        "parallel={plan: manual, placement: single, dp: 2, zero: 0}";
    static const char *const PIPELINES =
        "parallel={plan: manual, placement: modality_parallel, dp: 2, zero: "
        "0, modules: {language_model: {pp: 2}}}";

    check_replicas(SINGLE, 2, CS_F64, 1e-14);
    check_replicas(SINGLE, 2, CS_F32, 1e-6);
    check_replicas(PIPELINES, 6, CS_F64, 1e-14);
    check_replicas(PIPELINES, 6, CS_F32, 1e-6);
}

int main(void)
{
    enum {
        N = sizeof LAYOUTS / sizeof LAYOUTS[0]
    };
    struct CMUnitTest tests[N + 3];

    for (int i = 0; i < N; i++) {
        tests[i] = (struct CMUnitTest){
            .name = LAYOUTS[i].name,
            .test_func = bits_do_not_depend_on_the_layout,
            .initial_state = (void *)(uintptr_t)&LAYOUTS[i],
        };
    }
    tests[N] = (struct CMUnitTest)
        CST_TEST(bits_do_not_depend_on_it_on_the_fast_backend_either);
    tests[N + 1] = (struct CMUnitTest)CST_TEST(the_step_covers_the_corners);
    tests[N + 2] = (struct CMUnitTest)CST_TEST(two_replicas_take_the_same_step);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
