/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every language model family beside transformers: tiny models loaded from the
 * folders that it saved must give its logits, loss and gradients, under its
 * names, all of them and no others. tools/golden/zoo_language.py wrote the
 * numbers, in f32.
 *
 * Errors are of vectors: |got - wanted| <= t |wanted|. A gradient may be as
 * small as rounding leaves of a 0 (a key's bias): there the norm of the
 * module's gradient counts, times 1e-6. In bf16 all gradients are one vector,
 * and where transformers' own bf16 is farther from its f32 than the tolerance,
 * ours may be half as far again.
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/safetensors.h"

#include "tiny.h"

#include <math.h>

static const char *const CASES[] = {
    "llama",
    "llama_linear",
    "llama_llama3",
    "llama_yarn",
    "llama_dynamic",
    "mistral",
    "mistral_full",
    "mixtral",
    "mixtral_balance",
    "mixtral_one",
    "qwen2",
    "qwen2_window",
    "qwen2_published",
    "qwen3",
    "qwen3_tied",
    "qwen3_moe",
    "qwen3_moe_sparse",
    "gemma",
    "gemma_gelu",
    "gemma2",
    "gemma2_untied",
    "gemma3",
    "gemma3_v4",
    "phi3",
    "phi3_long",
    "phi3_partial",
    "internlm2",
    "internlm2_bias",
    "gpt2",
    "gpt2_untied",
};

enum {
    N_CASES = sizeof CASES / sizeof CASES[0],
    MAX_NAME = 160
};

typedef struct tolerances {
    double logits, loss, gradients;
} tolerances;

static const tolerances F32 = {1e-5, 1e-5, 1e-4};
static const tolerances BF16 = {2e-2, 2e-2, 2e-2};

typedef struct zoo {
    const char *name;
    tolerances t;
    bool is_bf16;
    tiny tiny;
    by_hand h;
    cs_safetensors *file, *weights;
    double all_error, all_wanted; /* squares, of all gradients */
} zoo;

/* --- the folder ------------------------------------------------------------- */

static cs_safetensors *open_file(const char *name, const char *file)
{
    char path[300];
    cs_safetensors *out = NULL;

    assert_ok(csi_format(path, sizeof path, "tests/golden/zoo/language/%s/%s",
                         name, file));
    assert_ok(cs_safetensors_open(cst_source_path(path), &out));
    return out;
}

static void *take_tensor(zoo *z, const char *name, cs_dtype dtype,
                         int64_t *count)
{
    const cs_safetensor *tensor = cs_safetensors_find(z->file, name);

    if (tensor == NULL) {
        fail_msg("%s: golden.safetensors has no %s", z->name, name);
    }
    *count = cs_shape_count(&tensor->shape);
    void *data = tiny_take(&z->tiny, *count, sizeof(double));
    assert_ok(cs_safetensors_read(tensor, NULL, dtype, data));
    return data;
}

static cs_status build_graph(const char *name, cs_config **config,
                             cs_graph **graph)
{
    csi_str yaml = {0};

    csi_str_addf(&yaml,
                 "version: 1\nmodel:\n  attention: causal\n  language_model: "
                 "{from: tests/golden/zoo/language/%s}\n"
                 "data:\n  train: [{path: t.json}]\n"
                 "training: {max_steps: 1}\n",
                 name);
    CS_TRY(csi_str_check(&yaml));
    const cs_status st = cs_config_parse(yaml.data, yaml.length, CST_SOURCE_DIR,
                                         NULL, 0, config);
    csi_str_fini(&yaml);
    CS_TRY(st);
    return cs_zoo_build(*config, graph);
}

/* All documents in one microbatch. */
static void make_plan(zoo *z)
{
    tiny *t = &z->tiny;
    int64_t n = 0;
    const int32_t *lengths = take_tensor(z, "lengths", CS_I32, &n);
    const cs_batch_settings settings = {
        .global_batch_size = n,
        .max_tokens_per_microbatch = 1000,
        .packing = true,
        .min_microbatches = 1,
        .n_replicas = 1,
        .attention = t->graph->attention,
    };

    for (int64_t i = 0; i < n; i++) {
        t->runs[i] = (cs_index_run){.modality = -1, .llm_rows = lengths[i]};
        t->samples[i] = (cs_index_sample){.first_run = (int32_t)i,
                                          .n_runs = 1,
                                          .n_tokens = lengths[i]};
    }
    t->n_runs = (int32_t)n;
    t->n_samples = (int32_t)n;
    t->view = (cs_index_view){
        .n_samples = n,
        .n_runs = n,
        .samples = t->samples,
        .runs = t->runs,
    };
    assert_ok(cs_batch_plan_create(&t->plan));
    assert_ok(cs_batch_plan_range(t->plan, &t->view, &settings, 0, n));
    assert_int_equal(t->plan->n_microbatches, 1);
}

/* Token of the golden file (documents one after the other) that a row of the
 * microbatch is. */
static int64_t source_token(const zoo *z, int64_t row)
{
    const cs_microbatch *mb = &z->tiny.plan->microbatches[0];
    int32_t i = 0;
    int64_t token = 0;

    while (row >= mb->token_begin[i + 1]) {
        i++;
    }
    for (int64_t s = 0; s < mb->samples[i]; s++) {
        token += z->tiny.samples[s].n_tokens;
    }
    return token + row - mb->token_begin[i];
}

static void fill_data(zoo *z)
{
    tiny *t = &z->tiny;
    cs_microbatch *mb = &t->plan->microbatches[0];
    int64_t n = 0;
    const int32_t *all_ids = take_tensor(z, "ids", CS_I32, &n);
    const int32_t *all_labels = take_tensor(z, "labels", CS_I32, &n);
    int32_t *ids = tiny_take(t, n, sizeof *ids);
    int32_t *labels = tiny_take(t, n, sizeof *labels);
    int64_t *of_sample = tiny_take(t, mb->n_samples, sizeof *of_sample);

    assert_int_equal(n, mb->n_tokens);
    t->plan->label_tokens = 0;
    for (int32_t s = 0; s < mb->n_samples; s++) {
        for (int64_t row = mb->token_begin[s]; row < mb->token_begin[s + 1];
             row++) {
            ids[row] = all_ids[source_token(z, row)];
            labels[row] = all_labels[source_token(z, row)];
            of_sample[s] += labels[row] != -100;
        }
        t->plan->label_tokens += of_sample[s];
    }
    mb->sample_labels = of_sample;
    t->data = tiny_take(t, 1, sizeof *t->data);
    t->data[0] = (cs_microbatch_data){ids, labels, NULL};
}

static void choose_tolerances(zoo *z)
{
    int64_t n = 0;
    const float *own = take_tensor(z, "bf16", CS_F32, &n);

    z->t = z->is_bf16 ? BF16 : F32;
    if (z->is_bf16) {
        z->t.logits = fmax(z->t.logits, 1.5 * (double)own[0]);
        z->t.gradients = fmax(z->t.gradients, 1.5 * (double)own[1]);
    }
}

/* Everything before weights: the model and its text. */
static void zoo_open_graph(zoo *z, const char *name, cs_dtype dtype)
{
    *z = (zoo){.name = name, .is_bf16 = dtype == CS_BF16};
    csi_arena_init(&z->tiny.arena, 0);
    assert_ok(build_graph(name, &z->tiny.config, &z->tiny.graph));
    z->file = open_file(name, "golden.safetensors");
    z->weights = open_file(name, "model.safetensors");
    choose_tolerances(z);
    make_plan(z);
    fill_data(z);
}

static void zoo_open(zoo *z, const char *name, const char *backend,
                     cs_dtype dtype)
{
    zoo_open_graph(z, name, dtype);
    by_hand_begin(&z->h, &z->tiny, backend, dtype);
    assert_ok(cs_weights_load(z->h.params, 1));
}

static void zoo_close(zoo *z)
{
    by_hand_end(&z->h);
    cs_safetensors_close(&z->file);
    cs_safetensors_close(&z->weights);
    tiny_end(&z->tiny);
}

/* --- comparisons ------------------------------------------------------------ */

/* |got - wanted|, |wanted| */
typedef struct distance {
    double error, wanted;
} distance;

static distance measure(const cs_tensor *got, const float *wanted)
{
    distance d = {0};

    for (int64_t i = 0; i < cs_tensor_count(got); i++) {
        const double error = cs_tensor_get(got, i) - (double)wanted[i];
        d.error += error * error;
        d.wanted += (double)wanted[i] * (double)wanted[i];
    }
    d.error = isfinite(d.error) ? sqrt(d.error) : INFINITY;
    d.wanted = sqrt(d.wanted);
    return d;
}

static void compare_logits(zoo *z)
{
    const tiny *t = &z->tiny;
    const int64_t rows = t->plan->microbatches[0].n_tokens;
    const int64_t vocab = t->graph->modules[0].vocab;
    int64_t n = 0;
    const float *all = take_tensor(z, "logits", CS_F32, &n);
    float *wanted = tiny_take(&z->tiny, n, sizeof *wanted);
    int32_t *every = tiny_take(&z->tiny, rows, sizeof *every);

    assert_int_equal(n, rows * vocab);
    for (int64_t row = 0; row < rows; row++) {
        every[row] = (int32_t)row;
        memcpy(wanted + row * vocab, all + source_token(z, row) * vocab,
               (size_t)vocab * sizeof *wanted);
    }
    z->h.logit_rows = every;
    z->h.n_logit_rows = rows;
    assert_ok(by_hand_forward(&z->h, 0, false));
    const distance d = measure(&z->h.nn_batch[0].logits->t, wanted);
    if (!(d.error <= z->t.logits * d.wanted)) {
        fail_msg("%s: logits are off by %g of %g", z->name, d.error, d.wanted);
    }
    z->h.n_logit_rows = 0;
}

static void compare_loss(zoo *z)
{
    int64_t n = 0;
    const float *loss = take_tensor(z, "loss", CS_F32, &n);
    double sum = z->h.loss_sum;

    for (int32_t i = 0; i < TINY_MAX_LAYERS; i++) {
        sum += z->h.balance_sums[i];
    }
    const double got = sum / (double)z->tiny.plan->label_tokens;

    if (!(fabs(got - (double)*loss) <= z->t.loss * fabs((double)*loss))) {
        fail_msg("%s: loss wanted %.9g, got %.9g", z->name, (double)*loss, got);
    }
}

/* The gradient of a parameter and of those tied to it. */
static void add_tied(zoo *z, int32_t index, const cs_tensor *sum)
{
    for (int32_t i = 0; i < z->tiny.graph->n_params; i++) {
        const cs_param_state *p = cs_param_find(z->h.params, i);
        if (p->spec->tied_to != index) {
            continue;
        }
        const cs_tensor g = {p->grad, z->h.params->real, p->spec->shape};
        for (int64_t k = 0; k < p->count; k++) {
            cs_tensor_set(sum, k, cs_tensor_get(sum, k) + cs_tensor_get(&g, k));
        }
    }
}

static double module_norm(zoo *z)
{
    double sum = 0.0;

    for (int64_t i = 0; i < cs_safetensors_count(z->file); i++) {
        const cs_safetensor *t = cs_safetensors_at(z->file, i);
        int64_t n = 0;
        if (strncmp(t->name, "grad.", 5) != 0) {
            continue;
        }
        const float *x = take_tensor(z, t->name, CS_F32, &n);
        for (int64_t k = 0; k < n; k++) {
            sum += (double)x[k] * (double)x[k];
        }
    }
    return sqrt(sum);
}

static void compare_gradient(zoo *z, int32_t index, double floor)
{
    const cs_param_state *p = cs_param_find(z->h.params, index);
    const cs_tensor sum = {p->grad, z->h.params->real, p->spec->shape};

    assert_non_null(p->grad);
    add_tied(z, index, &sum);
    for (int32_t k = 0; k < cs_param_file_count(p->spec); k++) {
        char name[MAX_NAME];
        char grad[MAX_NAME + 8];
        cs_tensor got = {NULL, sum.dtype, {0}};
        int64_t n = 0;
        assert_ok(cs_param_file_tensor(p->spec, k, name, sizeof name,
                                       &got.shape));
        assert_ok(csi_format(grad, sizeof grad, "grad.%s", name));
        const float *wanted = take_tensor(z, grad, CS_F32, &n);
        assert_int_equal(n, cs_shape_count(&got.shape));
        got.data = tiny_take(&z->tiny, n, sizeof(double));
        cs_param_to_file(z->tiny.graph, p->spec, k, cs_dtype_bytes(got.dtype),
                         sum.data, got.data);
        const distance d = measure(&got, wanted);
        const double size = fmax(d.wanted, floor);
        z->all_error += d.error * d.error;
        z->all_wanted += d.wanted * d.wanted;
        if (!z->is_bf16 && !(d.error <= z->t.gradients * size)) {
            fail_msg("%s: gradient of %s is off by %g of %g", z->name, name,
                     d.error, d.wanted);
        }
    }
}

static void compare_gradients(zoo *z)
{
    const double floor = 1e-6 * module_norm(z);

    for (int32_t i = 0; i < z->tiny.graph->n_params; i++) {
        if (z->tiny.graph->params[i].tied_to < 0) {
            compare_gradient(z, i, floor);
        }
    }
    const double all = sqrt(z->all_error / z->all_wanted);
    if (!(all <= z->t.gradients)) {
        fail_msg("%s: gradients are off by %g", z->name, all);
    }
}

static void check_case(const char *name, const char *backend, cs_dtype dtype)
{
    zoo z;

    zoo_open(&z, name, backend, dtype);
    compare_logits(&z);
    assert_ok(by_hand_step(&z.h, true));
    compare_loss(&z);
    compare_gradients(&z);
    zoo_close(&z);
}

static bool has_cpu(void)
{
    cs_backend *backend = NULL;
    const bool has = cs_backend_create("cpu", 1, &backend) == CS_OK;

    cs_backend_destroy(&backend);
    return has;
}

static void ref_is_transformers(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        check_case(CASES[i], "ref", CS_F32);
    }
}

static void ref_in_bf16_is_near_transformers(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        check_case(CASES[i], "ref", CS_BF16);
    }
}

static void cpu_is_transformers(void **state)
{
    (void)state;
    if (!has_cpu()) {
        skip();
    }
    for (int i = 0; i < N_CASES; i++) {
        check_case(CASES[i], "cpu", CS_F32);
        check_case(CASES[i], "cpu", CS_BF16);
    }
}

/* --- what trains ------------------------------------------------------------- */

/* Freezes all but parameter `index` and those tied to it (or only these). */
static void freeze_around(cs_graph *graph, int32_t index, bool only_these)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        cs_param *p = &graph->params[i];
        const bool is_it = i == index || p->tied_to == index;
        p->is_trainable = is_it != only_these;
    }
}

/* The gradients that are left are the same numbers. */
static void check_frozen(zoo *z)
{
    const tiny *t = &z->tiny;

    by_hand_begin(&z->h, t, "ref", CS_F32);
    assert_ok(cs_weights_load(z->h.params, 1));
    assert_ok(by_hand_step(&z->h, true));
    for (int32_t i = 0; i < t->graph->n_params; i++) {
        const cs_param *p = &t->graph->params[i];
        if (p->is_trainable && p->tied_to < 0) {
            compare_gradient(z, i, 1e-6);
        }
        if (!p->is_trainable) {
            assert_null(cs_param_find(z->h.params, i)->grad);
        }
    }
    by_hand_end(&z->h);
}

static void any_parameter_may_train_alone_or_be_frozen_alone(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"gemma3",          "gemma2",
                                        "mixtral_balance", "qwen3_moe",
                                        "phi3_partial",    "gpt2",
                                        "internlm2_bias"};

    for (size_t k = 0; k < sizeof NAMES / sizeof NAMES[0]; k++) {
        zoo z;
        zoo_open_graph(&z, NAMES[k], CS_F32);
        cs_graph *graph = z.tiny.graph;
        for (int32_t i = 0; i < graph->n_params; i++) {
            if (graph->params[i].tied_to >= 0) {
                continue;
            }
            freeze_around(graph, i, false);
            check_frozen(&z);
            freeze_around(graph, i, true);
            check_frozen(&z);
        }
        cs_safetensors_close(&z.file);
        cs_safetensors_close(&z.weights);
        tiny_end(&z.tiny);
    }
}

/* --- names -------------------------------------------------------------------- */

static void check_names(const char *case_name)
{
    cs_config *config = NULL;
    cs_graph *graph = NULL;
    cs_safetensors *file = open_file(case_name, "model.safetensors");
    const bool is_hub = strcmp(case_name, "gpt2_untied") == 0;
    int64_t n = 0;

    assert_ok(build_graph(case_name, &config, &graph));
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *p = &graph->params[i];
        for (int32_t k = 0; p->tied_to < 0 && k < cs_param_file_count(p); k++) {
            char name[MAX_NAME];
            cs_shape shape;
            assert_ok(cs_param_file_tensor(p, k, name, sizeof name, &shape));
            const char *short_name =
                is_hub && strncmp(name, "transformer.", 12) == 0 ? name + 12
                                                                 : name;
            const cs_safetensor *t = cs_safetensors_find(file, short_name);
            if (t == NULL) {
                fail_msg("%s: transformers has no %s", case_name, name);
            }
            assert_true(cs_shape_equal(&t->shape, &shape));
            n++;
        }
    }
    assert_int_equal(n, cs_safetensors_count(file));
    cs_safetensors_close(&file);
    cs_graph_destroy(&graph);
    cs_config_destroy(&config);
}

static void names_and_shapes_are_those_of_the_file(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        check_names(CASES[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(names_and_shapes_are_those_of_the_file),
        CST_TEST(ref_is_transformers),
        CST_TEST(ref_in_bf16_is_near_transformers),
        CST_TEST(cpu_is_transformers),
        CST_TEST(any_parameter_may_train_alone_or_be_frozen_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
