/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients of whole models: some elements of every parameter against central
 * differences of the loss in f64; and whatever is frozen, what still trains
 * gets the same bits.
 */
#include "tiny.h"

#include <math.h>

/* loss rounding / h = 1e-10, h^2 = 1e-10, of gradients around 1e-2 */
#define STEP      1e-5
#define TOLERANCE 1e-6
#define FLOOR     1e-3

static double loss_of(by_hand *h)
{
    assert_ok(by_hand_step(h, false));
    return h->loss_sum / (double)h->t->plan->label_tokens;
}

static double difference(by_hand *h, const cs_param_state *p, int64_t k)
{
    double *const x = &((double *)p->working.data)[k];
    const double centre = *x;

    *x = centre + STEP;
    const double above = loss_of(h);
    *x = centre - STEP;
    const double below = loss_of(h);
    *x = centre;
    return (above - below) / (2.0 * STEP);
}

static int64_t largest_of(const double *grad, int64_t n)
{
    int64_t best = 0;

    for (int64_t k = 1; k < n; k++) {
        best = fabs(grad[k]) > fabs(grad[best]) ? k : best;
    }
    return best;
}

/* The largest element, and some others. */
static bool check_param(by_hand *h, const cs_param_state *p, const double *grad)
{
    enum {
        N_OTHERS = 3
    };
    const uint64_t stream = csi_hash64(p->spec->global_name);
    bool is_right = true;

    for (int i = 0; i <= N_OTHERS; i++) {
        const int64_t k = i == 0
                              ? largest_of(grad, p->count)
                              : (int64_t)csi_rng_below(9, stream, (uint64_t)i,
                                                       (uint64_t)p->count);
        const double wanted = difference(h, p, k);
        if (!(fabs(grad[k] - wanted) <=
              TOLERANCE * fmax(fabs(wanted), FLOOR))) {
            print_error("%s[%lld]: wanted %.12g, got %.12g\n",
                        p->spec->global_name, (long long)k, wanted, grad[k]);
            is_right = false;
        }
    }
    return is_right;
}

static void check_model(const char *yaml, const char *const *overrides,
                        int32_t n_overrides, const char *samples)
{
    tiny t;
    by_hand h;
    bool is_right = true;

    tiny_build(&t, yaml, overrides, n_overrides);
    tiny_plan(&t, samples, 4, 1);
    by_hand_begin(&h, &t, "ref", CS_F64);
    assert_ok(by_hand_step(&h, true));
    for (int32_t i = 0; i < h.params->n; i++) {
        const cs_param_state *p = &h.params->items[i];
        const double *grad = p->grad;
        if (grad == NULL) {
            assert_int_equal(p->spec->init, CS_INIT_SINUSOID);
            continue;
        }
        if (fabs(grad[largest_of(grad, p->count)]) < 1e-9) {
            /* softmax does not see what all keys share */
            assert_int_equal(p->spec->slot, CS_SLOT_K_B);
        }
        is_right = check_param(&h, p, grad) && is_right;
    }
    assert_true(is_right);
    by_hand_end(&h);
    tiny_end(&t);
}

static void two_encoders_and_a_language_model(void **state)
{
    (void)state;
    check_model(TINY_BOTH, NULL, 0, "tvT.T.tat.tvtvT.AT.tvtatAt");
}

static void a_linear_projector_and_no_pooling(void **state)
{
    (void)state;
    static const char *const OVERRIDES[] = {
        "model.encoders.vision.pool=1",
        "model.encoders.vision.projector.hidden_size=null",
        "model.encoders.vision.projector.type=linear",
        "model.encoders.audio.pool=3",
        "model.encoders.audio.projector.type=mlp",
        "model.encoders.audio.projector.activation=gelu_pytorch_tanh",
        "model.attention=image_sees_prompt",
    };
    check_model(TINY_BOTH, OVERRIDES, 7, "tvT.T.tvtatAt");
}

#define ONLY_TEXT                     \
    "version: 1\nmodel:\n" TINY_LLAMA \
    "data:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n"

static void a_language_model_alone(void **state)
{
    (void)state;
    check_model(ONLY_TEXT, NULL, 0, "tT.T.ttt");
}

/* Biases of every product, one head of keys per head of queries, another
 * activation. */
#define WITH_BIASES                                                       \
    "version: 1\nmodel:\n  language_model: {config: {model_type: llama, " \
    "hidden_size: 12, intermediate_size: 14, num_hidden_layers: 1, "      \
    "num_attention_heads: 2, vocab_size: 30, attention_bias: true, "      \
    "mlp_bias: true, hidden_act: gelu}}\n"                                \
    "data:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n"

static void a_language_model_with_biases(void **state)
{
    (void)state;
    check_model(WITH_BIASES, NULL, 0, "tT.T.ttt");
}

/* --- freezing ----------------------------------------------------------- */

/* Gradients of everything, then of a model of which a part is frozen. */
typedef struct frozen {
    tiny t;
    by_hand all;
    double loss_sum;
} frozen;

static void frozen_begin(frozen *f)
{
    tiny_begin(&f->t, TINY_BOTH, NULL, 0);
    by_hand_begin(&f->all, &f->t, "ref", CS_F64);
    assert_ok(by_hand_step(&f->all, true));
    f->loss_sum = f->all.loss_sum;
    assert_true(f->loss_sum > 0.0);
}

static void frozen_end(frozen *f)
{
    by_hand_end(&f->all);
    tiny_end(&f->t);
}

/* trains[i] of each graph parameter is given to the graph; frozen ones have
 * no gradient, the others the same as in a run without frozen ones. */
static void check_frozen(frozen *f, const bool *trains)
{
    by_hand h;
    bool any = false;

    for (int32_t i = 0; i < f->t.graph->n_params; i++) {
        f->t.graph->params[i].is_trainable = trains[i];
        any = any || trains[i];
    }
    by_hand_begin(&h, &f->t, "ref", CS_F64);
    assert_ok(by_hand_step(&h, true));
    assert_true(h.loss_sum == f->loss_sum);
    assert_int_equal(h.n_records > 0, any);
    for (int32_t i = 0; i < f->t.graph->n_params; i++) {
        const cs_param_state *p = cs_param_find(h.params, i);
        const cs_param_state *q = cs_param_find(f->all.params, i);
        if (!trains[i]) {
            assert_null(p->grad);
            assert_null(p->m);
        } else if (memcmp(p->grad, q->grad,
                          (size_t)p->count * sizeof(double)) != 0) {
            fail_msg("%s: frozen others changed its gradient",
                     p->spec->global_name);
        }
    }
    by_hand_end(&h);
}

enum {
    MAX_PARAMS = 120
};

static void each_parameter_trains_alone(void **state)
{
    (void)state;
    frozen f;

    frozen_begin(&f);
    assert_in_range(f.t.graph->n_params, 50, MAX_PARAMS);
    for (int32_t i = 0; i < f.t.graph->n_params; i++) {
        bool trains[MAX_PARAMS] = {false};
        if (f.t.graph->params[i].init != CS_INIT_SINUSOID) {
            trains[i] = true;
            check_frozen(&f, trains);
        }
    }
    frozen_end(&f);
}

static void any_mix_of_frozen_parameters_is_right(void **state)
{
    (void)state;
    frozen f;

    frozen_begin(&f);
    for (uint64_t trial = 0; trial < 40; trial++) {
        bool trains[MAX_PARAMS] = {false};
        for (int32_t i = 0; i < f.t.graph->n_params; i++) {
            trains[i] =
                f.t.graph->params[i].init != CS_INIT_SINUSOID &&
                csi_rng_below(11, trial, (uint64_t)i, 5) < 1 + trial % 4;
        }
        check_frozen(&f, trains);
    }
    frozen_end(&f);
}

static void nothing_trains_and_nothing_is_recorded(void **state)
{
    (void)state;
    frozen f;
    static const bool TRAINS[MAX_PARAMS] = {false};

    frozen_begin(&f);
    check_frozen(&f, TRAINS);
    frozen_end(&f);
}

typedef struct freeze_case {
    const char *name;
    const char *overrides[4];
    /* one letter a module: encoder, projector of vision, of audio, language
     * model; F frozen, t trains */
    const char *wanted;
} freeze_case;

static const freeze_case FREEZES[] = {
    {"all train", {NULL}, "ttttt"},
    {"vision is frozen", {"model.encoders.vision.freeze=true"}, "Ftttt"},
    {"vision and the language model are frozen",
     {"model.encoders.vision.freeze=true", "model.language_model.freeze=true"},
     "FtttF"},
    {"projectors train",
     {"model.encoders.vision.freeze=true", "model.encoders.audio.freeze=true",
      "model.language_model.freeze=true"},
     "FtFtF"},
    {"the language model trains",
     {"model.encoders.vision.freeze=true", "model.encoders.audio.freeze=true",
      "model.encoders.vision.projector.freeze=true",
      "model.encoders.audio.projector.freeze=true"},
     "FFFFt"},
    {"a frozen projector above a trainable encoder",
     {"model.encoders.vision.projector.freeze=true",
      "model.language_model.freeze=true"},
     "tFttF"},
};

static bool wants_training(const cs_graph *graph, const cs_param *p,
                           const char *wanted)
{
    const int part = p->module == cs_graph_language_model(graph)
                         ? 4
                         : 2 * p->module + p->in_projector;

    return wanted[part] == 't' && p->init != CS_INIT_SINUSOID;
}

static void recipes_freeze_what_they_say(void **state)
{
    (void)state;
    frozen f;

    frozen_begin(&f);
    for (size_t c = 0; c < sizeof FREEZES / sizeof FREEZES[0]; c++) {
        const freeze_case *what = &FREEZES[c];
        bool trains[MAX_PARAMS] = {false};
        int32_t n = 0;
        tiny t;

        while (n < 4 && what->overrides[n] != NULL) {
            n++;
        }
        tiny_build(&t, TINY_BOTH, what->overrides, n);
        for (int32_t i = 0; i < t.graph->n_params; i++) {
            const cs_param *p = &t.graph->params[i];
            trains[i] = p->is_trainable;
            if (trains[i] != wants_training(t.graph, p, what->wanted)) {
                fail_msg("%s: %s %s", what->name, p->global_name,
                         trains[i] ? "trains" : "is frozen");
            }
        }
        tiny_end(&t);
        check_frozen(&f, trains);
    }
    frozen_end(&f);
}

/* --- microbatches --------------------------------------------------------- */

/* Packing changes nothing but rounding: a sample's loss does not depend on
 * its neighbours, and gradients add up. */
static void microbatches_do_not_change_the_sum(void **state)
{
    (void)state;
    tiny packed;
    tiny alone;
    by_hand a;
    by_hand b;

    tiny_begin(&packed, TINY_BOTH, NULL, 0);
    tiny_build(&alone, TINY_BOTH, NULL, 0);
    tiny_plan(&alone, TINY_SAMPLES, 10, 1);
    by_hand_begin(&a, &packed, "ref", CS_F64);
    by_hand_begin(&b, &alone, "ref", CS_F64);
    assert_ok(by_hand_step(&a, true));
    assert_ok(by_hand_step(&b, true));
    assert_near(a.loss_sum, b.loss_sum, 1e-13);
    assert_int_equal(a.n_correct, b.n_correct);
    for (int32_t i = 0; i < a.params->n; i++) {
        const cs_param_state *p = &a.params->items[i];
        const double *x = p->grad;
        const double *y = b.params->items[i].grad;
        for (int64_t k = 0; x != NULL && k < p->count; k++) {
            assert_near(x[k], y[k], 1e-13);
        }
    }
    by_hand_end(&a);
    by_hand_end(&b);
    tiny_end(&packed);
    tiny_end(&alone);
}

static void an_error_names_module_and_layer(void **state)
{
    (void)state;
    tiny t;
    by_hand h;

    tiny_begin(&t, TINY_BOTH, NULL, 0);
    by_hand_begin(&h, &t, "ref", CS_F64);
    ((int32_t *)(uintptr_t)t.data[0].labels)[0] = TINY_VOCAB;
    assert_fails(by_hand_step(&h, true), CS_ERR_ARG,
                 "language_model layer 4: ");
    by_hand_end(&h);
    tiny_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(two_encoders_and_a_language_model),
        CST_TEST(a_linear_projector_and_no_pooling),
        CST_TEST(a_language_model_alone),
        CST_TEST(a_language_model_with_biases),
        CST_TEST(each_parameter_trains_alone),
        CST_TEST(any_mix_of_frozen_parameters_is_right),
        CST_TEST(nothing_trains_and_nothing_is_recorded),
        CST_TEST(recipes_freeze_what_they_say),
        CST_TEST(microbatches_do_not_change_the_sum),
        CST_TEST(an_error_names_module_and_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
