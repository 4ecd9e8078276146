/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Beside PyTorch and transformers: tiny models are loaded from the folders
 * that transformers saved, by their Hugging Face names, and must give its
 * outputs, losses and gradients. tools/golden/nn.py wrote the numbers, in f32;
 * here they are computed in f32 and, to see on which side the rounding is, in
 * f64.
 *
 * Tolerances are relative to the largest element of a tensor. Values are sums
 * of at most 48 products, twice a layer, over four layers: about
 * 48 sqrt(8) / 2 epsilons of 6e-8 at worst, measured 3e-6.
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/safetensors.h"

#include "tiny.h"

#include <math.h>

#define TOLERANCE 4e-6

typedef struct golden {
    tiny t;
    by_hand h;
    cs_safetensors *file;
} golden;

/* A tensor of golden.safetensors, whole. */
static void *take_tensor(golden *g, const char *name, cs_dtype dtype,
                         int64_t *count)
{
    const cs_safetensor *tensor = cs_safetensors_find(g->file, name);

    if (tensor == NULL) {
        fail_msg("golden.safetensors has no %s", name);
    }
    *count = cs_shape_count(&tensor->shape);
    void *data = tiny_take(&g->t, *count, sizeof(double));
    assert_ok(cs_safetensors_read(tensor, NULL, dtype, data));
    return data;
}

/* --- the step ------------------------------------------------------------- */

static void add_run(golden *g, int32_t modality, int32_t item, int32_t rows,
                    int32_t input_rows)
{
    tiny *t = &g->t;

    assert_true(t->n_runs < TINY_MAX_RUNS);
    t->runs[t->n_runs++] = (cs_index_run){
        .modality = modality,
        .item = item,
        .llm_rows = rows,
        .encoder_rows = modality >= 0 ? rows : 0,
        .input_rows = input_rows,
    };
    t->samples[t->n_samples].n_runs++;
    t->samples[t->n_samples].n_tokens += rows;
}

static void end_sample(golden *g)
{
    tiny *t = &g->t;

    assert_true(t->n_samples + 1 < TINY_MAX_SAMPLES);
    t->samples[++t->n_samples].first_run = t->n_runs;
}

/* All samples in one microbatch; its order is the plan's. */
static void make_plan(golden *g)
{
    tiny *t = &g->t;
    const cs_batch_settings settings = {
        .global_batch_size = t->n_samples,
        .max_tokens_per_microbatch = 1000,
        .packing = true,
        .min_microbatches = 1,
        .n_replicas = 1,
        .attention = t->graph->attention,
    };

    t->view = (cs_index_view){
        .n_samples = t->n_samples,
        .n_runs = t->n_runs,
        .samples = t->samples,
        .runs = t->runs,
        .n_modalities = t->graph->n_modules - 1,
    };
    assert_ok(cs_batch_plan_create(&t->plan));
    assert_ok(cs_batch_plan_range(t->plan, &t->view, &settings, 0,
                                  t->n_samples));
    assert_int_equal(t->plan->n_microbatches, 1);
}

/* Token of the golden file (documents one after the other) that a row of the
 * microbatch is. */
static int64_t source_token(const golden *g, int64_t row)
{
    const cs_microbatch *mb = &g->t.plan->microbatches[0];
    int32_t i = 0;
    int64_t token = 0;

    while (row >= mb->token_begin[i + 1]) {
        i++;
    }
    for (int64_t s = 0; s < mb->samples[i]; s++) {
        token += g->t.samples[s].n_tokens;
    }
    return token + row - mb->token_begin[i];
}

/* The same for input rows of an item. */
static int64_t source_input(const golden *g, const cs_batch_item *item)
{
    int64_t row = 0;

    for (int32_t r = 0; r < item->run; r++) {
        row += g->t.runs[r].input_rows;
    }
    return row;
}

static void fill_data(golden *g, bool has_text, bool has_input)
{
    tiny *t = &g->t;
    const cs_microbatch *mb = &t->plan->microbatches[0];
    int32_t *ids = tiny_take(t, mb->n_tokens, sizeof *ids);
    int32_t *labels = tiny_take(t, mb->n_tokens, sizeof *labels);
    float **input = tiny_take(t, 1, sizeof *input);
    int64_t n = 0;

    t->data = tiny_take(t, 1, sizeof *t->data);
    t->data[0] = (cs_microbatch_data){ids, labels, input};
    if (has_text) {
        const int32_t *all_ids = take_tensor(g, "ids", CS_I32, &n);
        const int32_t *all_labels = take_tensor(g, "labels", CS_I32, &n);
        assert_int_equal(n, mb->n_tokens);
        t->plan->label_tokens = 0;
        for (int64_t row = 0; row < n; row++) {
            ids[row] = all_ids[source_token(g, row)];
            labels[row] = all_labels[source_token(g, row)];
            t->plan->label_tokens += labels[row] != -100;
        }
    }
    if (has_input) {
        const int64_t columns = t->graph->modules[0].layers[0].in_dim;
        const cs_batch_modality *m = &mb->modality[0];
        const float *all = take_tensor(g, "input", CS_F32, &n);
        assert_int_equal(n, m->input_rows * columns);
        input[0] = tiny_take(t, n, sizeof(float));
        for (int64_t i = 0; i < m->n_items; i++) {
            const int64_t rows = t->runs[m->items[i].run].input_rows;
            memcpy(input[0] + m->items[i].input_begin * columns,
                   all + source_input(g, &m->items[i]) * columns,
                   (size_t)(rows * columns) * sizeof(float));
        }
    }
}

/* --- begin and end -------------------------------------------------------- */

static void golden_open(golden *g, const char *folder, const char *model)
{
    csi_str yaml = {0};
    char path[300];

    *g = (golden){0};
    csi_arena_init(&g->t.arena, 0);
    csi_str_addf(&yaml,
                 "version: 1\nmodel:\n  attention: causal\n%s"
                 "data:\n  train: [{path: t.json}]\n"
                 "training: {max_steps: 1}\n",
                 model);
    assert_ok(csi_str_check(&yaml));
    assert_ok(cs_config_parse(yaml.data, yaml.length, CST_SOURCE_DIR, NULL, 0,
                              &g->t.config));
    csi_str_fini(&yaml);
    assert_ok(cs_zoo_build(g->t.config, &g->t.graph));
    assert_ok(csi_format(path, sizeof path,
                         "tests/golden/nn/%s/golden.safetensors", folder));
    assert_ok(cs_safetensors_open(cst_source_path(path), &g->file));
}

static void golden_begin(golden *g, cs_dtype dtype)
{
    by_hand_begin(&g->h, &g->t, "ref", dtype);
    assert_ok(cs_weights_load(g->h.params, 1));
}

static void golden_close(golden *g)
{
    by_hand_end(&g->h);
    cs_safetensors_close(&g->file);
    tiny_end(&g->t);
}

/* --- comparisons ------------------------------------------------------------- */

static void compare(const char *what, const cs_tensor *got, const float *wanted)
{
    const int64_t n = cs_tensor_count(got);
    double largest = 0.0;
    double worst = 0.0;

    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)wanted[i]));
    }
    for (int64_t i = 0; i < n; i++) {
        const double error = fabs(cs_tensor_get(got, i) - (double)wanted[i]);
        worst = isnan(error) ? INFINITY : fmax(worst, error);
    }
    if (!(largest > 0.0) || worst > TOLERANCE * largest) {
        fail_msg("%s: off by %g of %g", what, worst, largest);
    }
}

/* Every gradient that PyTorch has and no other, of the modules named in the
 * file. */
static void compare_gradients(golden *g)
{
    int64_t n_compared = 0;
    int64_t n_wanted = 0;

    for (int64_t i = 0; i < cs_safetensors_count(g->file); i++) {
        n_wanted +=
            strncmp(cs_safetensors_at(g->file, i)->name, "grad.", 5) == 0;
    }
    for (int32_t i = 0; i < g->h.params->n; i++) {
        const cs_param_state *p = &g->h.params->items[i];
        char name[256];
        int64_t n = 0;
        assert_ok(csi_format(name, sizeof name, "grad.%s",
                             p->spec->global_name));
        if (cs_safetensors_find(g->file, name) == NULL) {
            continue;
        }
        const float *wanted = take_tensor(g, name, CS_F32, &n);
        const cs_tensor got = {p->grad, g->h.params->real, p->spec->shape};
        assert_non_null(p->grad);
        assert_int_equal(n, p->count);
        /* 0 but for rounding without rotary positions: softmax does not see
         * what all keys share */
        if (p->spec->slot != CS_SLOT_K_B) {
            compare(name, &got, wanted);
        }
        n_compared++;
    }
    assert_int_equal(n_compared, n_wanted);
}

/* --- encoders ------------------------------------------------------------------ */

/* The language model is only there because a graph has one. */
#define ENCODER(folder, more)                                       \
    "  encoders:\n    encoder: {from: tests/golden/nn/" folder      \
    ", placeholder: \"<x>\", projector: {freeze: true}" more "}\n"  \
    "  language_model: {freeze: true, config: {model_type: llama, " \
    "hidden_size: 4, intermediate_size: 4, num_hidden_layers: 1, "  \
    "num_attention_heads: 2, vocab_size: 4}}\n"

static double probe(int64_t i)
{
    return (double)(i * 7 % 11) * 0.25 - 1.0;
}

/* Row of the golden output that row `row` of the microbatch is. */
static int64_t source_row(const golden *g, const cs_batch_modality *m,
                          int64_t row)
{
    int64_t i = m->n_items - 1;
    int64_t source = 0;

    while (m->items[i].encoder_begin > row) {
        i--;
    }
    for (int32_t r = 0; r < m->items[i].run; r++) {
        source += g->t.runs[r].encoder_rows;
    }
    return source + row - m->items[i].encoder_begin;
}

static void check_encoder(const char *folder, const char *model, cs_dtype dtype,
                          bool halves)
{
    golden g;
    int64_t n = 0;

    golden_open(&g, folder, model);
    const int32_t *lengths = take_tensor(&g, "lengths", CS_I32, &n);
    for (int64_t i = 0; i < n; i++) {
        const int32_t rows = halves ? (lengths[i] + 1) / 2 : lengths[i];
        add_run(&g, 0, 0, rows, lengths[i]);
        end_sample(&g);
    }
    make_plan(&g);
    fill_data(&g, false, true);
    golden_begin(&g, dtype);
    g.h.stops_before_projector = true;
    assert_ok(by_hand_module(&g.h, 0, 0, true));
    cs_value *output = g.h.output[0];
    const cs_batch_modality *m = &g.t.plan->microbatches[0].modality[0];
    const int64_t columns = cs_tensor_columns(&output->t);
    const float *all = take_tensor(&g, "output", CS_F32, &n);
    float *wanted = tiny_take(&g.t, n, sizeof *wanted);
    cs_tensor grad = output->t;
    assert_int_equal(n, cs_tensor_count(&output->t));
    grad.data = tiny_take(&g.t, n, sizeof(double));
    for (int64_t k = 0; k < n; k++) {
        const int64_t source =
            source_row(&g, m, k / columns) * columns + k % columns;
        wanted[k] = all[source];
        cs_tensor_set(&grad, k, probe(source));
    }
    compare("output", &output->t, wanted);
    output->grad = grad.data;
    output->grad_where = CS_KEEP_PRODUCT;
    assert_ok(by_hand_backward_module(&g.h, 0, output));
    compare_gradients(&g);
    golden_close(&g);
}

static void siglip_is_transformers(void **state)
{
    (void)state;
    check_encoder("siglip", ENCODER("siglip", ""), CS_F32, false);
    check_encoder("siglip", ENCODER("siglip", ""), CS_F64, false);
}

/* Recordings of any length, where transformers pads to one. */
static void whisper_is_transformers(void **state)
{
    (void)state;
    check_encoder("whisper", ENCODER("whisper", ""), CS_F32, true);
    check_encoder("whisper", ENCODER("whisper", ""), CS_F64, true);
}

/* --- language models ------------------------------------------------------------ */

static void check_language_model(golden *g, cs_dtype dtype)
{
    const int32_t lm = cs_graph_language_model(g->t.graph);
    int64_t n = 0;

    make_plan(g);
    fill_data(g, true, lm > 0);
    golden_begin(g, dtype);
    const int64_t rows = g->t.plan->microbatches[0].n_tokens;
    const int64_t vocab = g->t.graph->modules[lm].vocab;
    const float *all = take_tensor(g, "logits", CS_F32, &n);
    float *wanted = tiny_take(&g->t, n, sizeof *wanted);
    int32_t *every = tiny_take(&g->t, rows, sizeof *every);
    assert_int_equal(n, rows * vocab);
    for (int64_t row = 0; row < rows; row++) {
        every[row] = (int32_t)row;
        memcpy(wanted + row * vocab, all + source_token(g, row) * vocab,
               (size_t)vocab * sizeof *wanted);
    }
    g->h.logit_rows = every;
    g->h.n_logit_rows = rows;
    assert_ok(by_hand_forward(&g->h, 0, false));
    compare("logits", &g->h.nn_batch[lm].logits->t, wanted);
    g->h.n_logit_rows = 0;
    assert_ok(by_hand_step(&g->h, true));
    const float *loss = take_tensor(g, "loss", CS_F32, &n);
    assert_near(g->h.loss_sum / (double)g->t.plan->label_tokens, (double)*loss,
                TOLERANCE);
    compare_gradients(g);
}

static void check_llama(cs_dtype dtype)
{
    golden g;
    int64_t n = 0;

    golden_open(&g, "llama",
                "  language_model: {from: tests/golden/nn/llama, tokenizer: "
                "tests/golden/nn/llama}\n");
    const int32_t *lengths = take_tensor(&g, "lengths", CS_I32, &n);
    for (int64_t i = 0; i < n; i++) {
        add_run(&g, -1, 0, lengths[i], 0);
        end_sample(&g);
    }
    check_language_model(&g, dtype);
    golden_close(&g);
}

static void llama_is_transformers(void **state)
{
    (void)state;
    check_llama(CS_F32);
    check_llama(CS_F64);
}

static void check_llava(cs_dtype dtype)
{
    golden g;
    int64_t n = 0;
    int32_t item = 0;

    golden_open(&g, "llava",
                "  encoders:\n    vision: {from: tests/golden/nn/llava/vision, "
                "placeholder: \"<image>\", projector: {from: "
                "tests/golden/nn/llava/vision/projector}}\n"
                "  language_model: {from: "
                "tests/golden/nn/llava/language_model}\n");
    const int32_t *runs = take_tensor(&g, "runs", CS_I32, &n);
    for (int64_t i = 0; i < n; i++) {
        if (runs[i] < 0) {
            item = 0;
            end_sample(&g);
        } else if (runs[i] == 0) {
            add_run(&g, 0, item++, TINY_IMAGE_ROWS, TINY_IMAGE_ROWS);
        } else {
            add_run(&g, -1, 0, runs[i], 0);
        }
    }
    check_language_model(&g, dtype);
    golden_close(&g);
}

static void llava_is_transformers(void **state)
{
    (void)state;
    check_llava(CS_F32);
    check_llava(CS_F64);
}

/* The file was saved by transformers with the positions that it computes. */
static void fixed_positions_are_transformers(void **state)
{
    (void)state;
    static const char YAML[] =
        "version: 1\nmodel:\n  encoders:\n    audio: {from: "
        "tests/golden/nn/whisper, placeholder: \"<a>\"}\n" TINY_LLAMA
        "data:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n";
    tiny t = {0};
    cs_param_set *set = NULL;
    cs_safetensors *file = NULL;
    float wanted[8 * 16];

    csi_arena_init(&t.arena, 0);
    assert_ok(cs_config_parse(YAML, strlen(YAML), CST_SOURCE_DIR, NULL, 0,
                              &t.config));
    assert_ok(cs_zoo_build(t.config, &t.graph));
    tiny_params(&t, CS_F32, &set);
    cs_param_set_init(set, 1);
    assert_ok(cs_safetensors_open_folder(
        cst_source_path("tests/golden/nn/whisper"), &file));
    const cs_safetensor *tensor =
        cs_safetensors_find(file, "embed_positions.weight");
    const cs_param_state *p =
        cs_param_find(set, cs_graph_find_param(t.graph,
                                               "audio.embed_positions.weight"));
    assert_int_equal(p->count, 8 * 16);
    assert_int_equal(tensor->n_bytes, sizeof wanted);
    memcpy(wanted, tensor->data, sizeof wanted);
    for (int64_t k = 0; k < p->count; k++) {
        assert_near(cs_tensor_get(&p->working, k), wanted[k], 1e-6);
    }
    assert_null(p->grad);
    cs_safetensors_close(&file);
    cs_param_set_destroy(&set);
    tiny_end(&t);
}

/* --- folders ---------------------------------------------------------------------- */

/* A copy of a golden folder whose names begin with `prefix`. */
static void copy_folder(const cst_tmpdir *dir, const char *folder,
                        const char *prefix)
{
    cs_safetensors *from = NULL;
    cs_safetensors_writer *to = NULL;
    size_t n_bytes = 0;
    char name[256];

    assert_ok(csi_format(name, sizeof name, "tests/golden/nn/%s/config.json",
                         folder));
    char *config = cst_read(cst_source_path(name), &n_bytes);
    (void)cst_write_bytes(dir, "config.json", config, n_bytes);
    cst_free(config);
    assert_ok(csi_format(name, sizeof name, "tests/golden/nn/%s", folder));
    assert_ok(cs_safetensors_open_folder(cst_source_path(name), &from));
    assert_ok(cs_safetensors_writer_create(cst_path(dir, "model.safetensors"),
                                           NULL, 0, &to));
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < cs_safetensors_count(from); i++) {
            const cs_safetensor *t = cs_safetensors_at(from, i);
            assert_ok(csi_format(name, sizeof name, "%s%s", prefix, t->name));
            if (pass == 0) {
                assert_ok(cs_safetensors_writer_add(to, name, t->dtype,
                                                    &t->shape));
            } else {
                assert_ok(cs_safetensors_writer_write(to, name, t->data,
                                                      t->n_bytes));
            }
        }
    }
    assert_ok(cs_safetensors_writer_commit(to));
    cs_safetensors_writer_destroy(&to);
    cs_safetensors_close(&from);
}

static void check_prefix(const char *folder, const char *prefix)
{
    cst_tmpdir dir;
    char model[CST_PATH_BYTES + 400];
    golden one;
    golden other;

    cst_tmpdir_make(&dir);
    copy_folder(&dir, folder, prefix);
    for (int i = 0; i < 2; i++) {
        assert_ok(csi_format(
            model, sizeof model,
            "  encoders:\n    encoder: {from: %s%s, placeholder: \"<x>\"}\n"
            "  language_model: {config: {model_type: llama, hidden_size: 4, "
            "intermediate_size: 4, num_hidden_layers: 1, "
            "num_attention_heads: 2, vocab_size: 4}}\n",
            i == 0 ? "tests/golden/nn/" : "", i == 0 ? folder : dir.path));
        golden_open(i == 0 ? &one : &other, folder, model);
        golden_begin(i == 0 ? &one : &other, CS_F32);
    }
    for (int32_t i = 0; i < one.h.params->n; i++) {
        const cs_param_state *p = &one.h.params->items[i];
        assert_string_equal(p->spec->name, other.h.params->items[i].spec->name);
        assert_memory_equal(p->working.data,
                            other.h.params->items[i].working.data,
                            cs_tensor_bytes(&p->working));
    }
    golden_close(&other);
    golden_close(&one);
    cst_tmpdir_remove(&dir);
}

/* The hub's SigLIP and transformers 5 name tensors differently; Whisper's
 * encoder comes alone or inside a whole model. */
static void names_may_begin_as_in_other_checkpoints(void **state)
{
    (void)state;
    check_prefix("siglip", "vision_model.");
    check_prefix("whisper", "model.encoder.");
    check_prefix("whisper", "encoder.");
}

#define ROPE(keys)                                                        \
    "version: 1\nmodel:\n  language_model: {config: {model_type: llama, " \
    "hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, "        \
    "num_attention_heads: 2, vocab_size: 8, " keys "}}\n"                 \
    "data:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n"

static cs_status theta_of(const char *yaml, double *theta)
{
    cs_config *config = NULL;
    cs_graph *graph = NULL;

    CS_TRY(cs_config_parse(yaml, strlen(yaml), ".", NULL, 0, &config));
    const cs_status st = cs_zoo_build(config, &graph);
    if (st == CS_OK) { /* the second pair turns theta^(-2 / head_dim) */
        const cs_layer *l = &graph->modules[0].layers[1];
        *theta = pow(l->rope_frequency[1], -0.5 * l->head_dim);
    }
    cs_graph_destroy(&graph);
    cs_config_destroy(&config);
    return st;
}

static void rotary_parameters_of_both_versions_are_read(void **state)
{
    (void)state;
    double theta = 0.0;

    assert_ok(theta_of(ROPE("rope_theta: 300.0"), &theta));
    assert_near(theta, 300.0, 1e-9 * 300.0);
    assert_ok(theta_of(ROPE("rope_parameters: {rope_theta: 400.0, rope_type: "
                            "default}"),
                       &theta));
    assert_near(theta, 400.0, 1e-9 * 400.0);
    assert_ok(theta_of(ROPE("rope_parameters: null"), &theta));
    assert_near(theta, 10000.0, 1e-9 * 10000.0);
    assert_fails(theta_of(ROPE("rope_parameters: {rope_type: spiral, factor: "
                               "8.0}"),
                          &theta),
                 CS_ERR_UNSUPPORTED, "rope_type 'spiral'");
    assert_fails(theta_of(ROPE("rope_parameters: {mrope_section: [1, 1]}"),
                          &theta),
                 CS_ERR_UNSUPPORTED, "mrope_section");
    assert_fails(theta_of(ROPE("rope_theta: 0"), &theta), CS_ERR_FORMAT,
                 "above 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(siglip_is_transformers),
        CST_TEST(whisper_is_transformers),
        CST_TEST(llama_is_transformers),
        CST_TEST(llava_is_transformers),
        CST_TEST(fixed_positions_are_transformers),
        CST_TEST(names_may_begin_as_in_other_checkpoints),
        CST_TEST(rotary_parameters_of_both_versions_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
