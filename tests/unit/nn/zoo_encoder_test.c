/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every encoder family beside PyTorch and transformers: tiny models are loaded
 * from the folders that transformers saved, by their Hugging Face names, and
 * must give its features, loss and gradients, tensor by tensor, and hold no
 * tensor less or more. tools/golden/zoo_encoder.py wrote the numbers, in f32.
 *
 * Tolerances: features 1e-5 of the largest, gradients 1e-4 of their own norm
 * (or 1e-6 of the norm of all of them), both in f32 and f64; in bf16 2e-2 and, of
 * all gradients together, 4e-2.
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/safetensors.h"

#include "tiny.h"

#include <math.h>

enum {
    MAX_ITEMS = 4,
    ITEM_COLUMNS = 5
};

typedef struct zoo_case {
    const char *name;
    const char *recipe; /* keys of the encoder's entry */
    bool has_projector; /* in the golden features */
} zoo_case;

#define DROP    "feature_select: default, "
#define BELOW   "feature_layer: -2, "
#define SIDE(n) "processor: {image_size: " #n "}, "
#define FROZEN  "projector: {type: linear, freeze: true}"
#define ANY_MLP \
    "projector: {from: tests/golden/zoo/encoder/siglip_mlp/projector}"
#define LINES  "projector: {from: tests/golden/zoo/encoder/llava_next/projector}"
#define MERGER "projector: {type: merger}"

static const zoo_case CASES[] = {
    {"clip", FROZEN, false},
    {"clip_below", DROP BELOW FROZEN, false},
    {"clip_resampled", SIDE(20) FROZEN, false},
    {"clip_whole", DROP "feature_layer: 0, " FROZEN, false},
    {"vit", DROP FROZEN, false},
    {"vit_below", "feature_layer: 1, " FROZEN, false},
    {"vit_pooled", DROP "pool: 4, " FROZEN, false},
    {"dinov2", FROZEN, false},
    {"dinov2_gated", DROP FROZEN, false},
    {"dinov2_larger", DROP SIDE(20) FROZEN, false},
    {"dinov2_smaller", FROZEN, false},
    {"siglip_rest", FROZEN, false},
    {"siglip_rest_resampled", SIDE(18) FROZEN, false},
    {"siglip_resampled", SIDE(16) FROZEN, false},
    {"siglip_below", BELOW FROZEN, false},
    {"siglip_stack", "stack: 4, " FROZEN, false},
    {"siglip_mlp", "pool: 2, stack: 2, " ANY_MLP, true},
    {"intern_vit_300m", DROP FROZEN, false},
    {"intern_vit_6b", FROZEN, false},
    {"intern_vit_resampled", BELOW SIDE(20) FROZEN, false},
    {"evaclip_8b", DROP FROZEN, false},
    {"evaclip_18b", FROZEN, false},
    {"evaclip_below", DROP BELOW FROZEN, false},
    {"llava_next", DROP BELOW LINES, true},
    {"pixtral", FROZEN, false},
    {"pixtral_below", BELOW FROZEN, false},
    {"qwen2_vl", FROZEN, false},
    {"qwen2_vl_merger", MERGER, true},
    {"qwen2_vl_whole", MERGER, true},
    {"whisper", FROZEN, false},
    {"whisper_padded", FROZEN, false},
    {"qwen2_audio", FROZEN, false},
    {"qwen2_audio_padded", FROZEN, false},
    {"qwen2_audio_masked", FROZEN, false},
    {"qwen2_audio_below", BELOW "pool: 3, " FROZEN, false},
};

enum {
    N_CASES = sizeof CASES / sizeof CASES[0]
};

typedef struct zoo {
    const zoo_case *c;
    tiny t;
    by_hand h;
    cs_safetensors *file;
    cs_batch_plan plan;
    cs_microbatch microbatch;
    cs_batch_modality modality;
    cs_batch_item items[MAX_ITEMS];
    float *input[1];
    cs_microbatch_data data;
} zoo;

/* --- the model and its items ------------------------------------------------ */

static void open_graph(zoo *z, const zoo_case *c)
{
    csi_str yaml = {0};

    *z = (zoo){.c = c};
    csi_arena_init(&z->t.arena, 0);
    csi_str_addf(&yaml,
                 "version: 1\nmodel:\n  attention: causal\n  encoders:\n"
                 "    encoder: {from: tests/golden/zoo/encoder/%s, "
                 "placeholder: \"<x>\", %s}\n"
                 "  language_model: {freeze: true, config: {model_type: llama, "
                 "hidden_size: 4, intermediate_size: 4, num_hidden_layers: 1, "
                 "num_attention_heads: 2, vocab_size: 4}}\n"
                 "data:\n  train: [{path: t.json}]\n"
                 "training: {max_steps: 1}\n",
                 c->name, c->recipe);
    assert_ok(csi_str_check(&yaml));
    assert_ok(cs_config_parse(yaml.data, yaml.length, CST_SOURCE_DIR, NULL, 0,
                              &z->t.config));
    csi_str_fini(&yaml);
    assert_ok(cs_zoo_build(z->t.config, &z->t.graph));
}

static void *take_tensor(zoo *z, const char *name, cs_dtype dtype,
                         int64_t *count)
{
    const cs_safetensor *tensor = cs_safetensors_find(z->file, name);

    if (tensor == NULL) {
        fail_msg("%s: golden.safetensors has no %s", z->c->name, name);
    }
    *count = cs_shape_count(&tensor->shape);
    void *data = tiny_take(&z->t, *count, sizeof(double));
    assert_ok(cs_safetensors_read(tensor, NULL, dtype, data));
    return data;
}

/* The golden items in their order, as one microbatch. */
static void take_items(zoo *z)
{
    char path[300];
    int64_t n = 0;
    cs_batch_modality *m = &z->modality;

    assert_ok(csi_format(path, sizeof path,
                         "tests/golden/zoo/encoder/%s/golden.safetensors",
                         z->c->name));
    assert_ok(cs_safetensors_open(cst_source_path(path), &z->file));
    const bool has_tiles = cs_safetensors_find(z->file, "tiles") != NULL;
    const int32_t *tiles =
        has_tiles ? take_tensor(z, "tiles", CS_I32, &n) : NULL;
    const int32_t *items = take_tensor(z, "items", CS_I32, &n);
    m->items = z->items;
    m->n_items = n / ITEM_COLUMNS;
    assert_true(m->n_items <= MAX_ITEMS);
    for (int64_t i = 0; i < m->n_items; i++) {
        const int32_t *item = items + i * ITEM_COLUMNS;
        z->items[i] = (cs_batch_item){
            .input_begin = m->input_rows,
            .encoder_begin = m->encoder_rows,
            .feature_begin = m->feature_rows,
            .grid_rows = item[2],
            .grid_columns = item[3],
            .tile_rows = has_tiles ? tiles[2 * i] : 0,
            .tile_columns = has_tiles ? tiles[2 * i + 1] : 0,
        };
        m->input_rows += item[0];
        m->encoder_rows += item[1];
        m->feature_rows += item[4];
    }
    z->input[0] = take_tensor(z, "input", CS_F32, &n);
    assert_int_equal(n,
                     m->input_rows * z->t.graph->modules[0].layers[0].in_dim);
    z->data = (cs_microbatch_data){NULL, NULL, z->input};
    z->microbatch.modality = m;
    z->plan.microbatches = &z->microbatch;
    z->plan.n_microbatches = 1;
    z->t.plan = &z->plan;
    z->t.data = &z->data;
}

static void zoo_close(zoo *z)
{
    by_hand_end(&z->h);
    cs_safetensors_close(&z->file);
    z->t.plan = NULL;
    tiny_end(&z->t);
}

/* --- comparisons ------------------------------------------------------------ */

static double probe(int64_t i)
{
    return (double)(i * 7 % 11) * 0.25 - 1.0;
}

/* Sums of squares of the difference and of what is wanted. */
typedef struct distance {
    double error, wanted, worst, largest;
} distance;

static distance measure(const cs_tensor *got, const float *wanted)
{
    distance d = {0};

    for (int64_t i = 0; i < cs_tensor_count(got); i++) {
        const double error = cs_tensor_get(got, i) - (double)wanted[i];
        d.error += error * error;
        d.wanted += (double)wanted[i] * (double)wanted[i];
        d.worst = isnan(error) ? INFINITY : fmax(d.worst, fabs(error));
        d.largest = fmax(d.largest, fabs((double)wanted[i]));
    }
    return d;
}

static void check_features(const zoo *z, const cs_tensor *got,
                           const float *wanted, const float *loss)
{
    const bool is_bf16 = got->dtype == CS_BF16;
    const distance d = measure(got, wanted);
    double sum = 0.0;
    double size = 0.0;

    for (int64_t i = 0; i < cs_tensor_count(got); i++) {
        sum += probe(i) * cs_tensor_get(got, i);
        size += fabs(probe(i) * cs_tensor_get(got, i));
    }
    assert_true(d.largest > 0.0);
    if (is_bf16 ? !(sqrt(d.error / d.wanted) <= 2e-2)
                : d.worst > 1e-5 * d.largest) {
        fail_msg("%s: features off by %g of %g", z->c->name, d.worst,
                 d.largest);
    }
    assert_near(sum / size, (double)*loss / size, is_bf16 ? 2e-2 : 1e-5);
}

/* Every gradient that PyTorch has and no other. In bf16 their size is compared
 * as one vector. */
static void check_gradients(zoo *z, cs_dtype dtype)
{
    const cs_param_set *params = z->h.params;
    double all = 0.0;
    double error = 0.0;
    int64_t n_wanted = 0;
    int64_t n = 0;

    for (int64_t i = 0; i < cs_safetensors_count(z->file); i++) {
        const char *name = cs_safetensors_at(z->file, i)->name;
        if (strncmp(name, "grad.", 5) == 0) {
            const float *wanted = take_tensor(z, name, CS_F32, &n);
            for (int64_t k = 0; k < n; k++) {
                all += (double)wanted[k] * (double)wanted[k];
            }
            n_wanted++;
        }
    }
    for (int32_t i = 0; i < params->n; i++) {
        const cs_param_state *p = &params->items[i];
        char name[256];
        if (p->grad == NULL) {
            continue;
        }
        assert_ok(csi_format(name, sizeof name, "grad.%s",
                             p->spec->global_name));
        const float *wanted = take_tensor(z, name, CS_F32, &n);
        const cs_tensor got = {p->grad, params->real, p->spec->shape};
        assert_int_equal(n, p->count);
        const distance d = measure(&got, wanted);
        /* without rotary positions softmax does not see what all keys share:
         * the gradient is 0 but for rounding */
        const bool is_zero = p->spec->slot == CS_SLOT_K_B;
        const double allowed =
            fmax(sqrt(d.wanted), (is_zero ? 1e-2 : 1e-6) * sqrt(all));
        error += d.error;
        if (dtype != CS_BF16 && !(sqrt(d.error) <= 1e-4 * allowed)) {
            fail_msg("%s: %s off by %g of %g", z->c->name, name, sqrt(d.error),
                     allowed);
        }
        n_wanted--;
    }
    assert_int_equal(n_wanted, 0);
    if (!(sqrt(error) <= (dtype == CS_BF16 ? 4e-2 : 1e-4) * sqrt(all))) {
        fail_msg("%s: gradients off by %g of %g", z->c->name, sqrt(error),
                 sqrt(all));
    }
}

static void check_case(const zoo_case *c, const char *backend, cs_dtype dtype)
{
    zoo z;
    int64_t n = 0;

    open_graph(&z, c);
    take_items(&z);
    by_hand_begin(&z.h, &z.t, backend, dtype);
    assert_ok(cs_weights_load(z.h.params, 1));
    z.h.stops_before_projector = !c->has_projector;
    const cs_status st = by_hand_module(&z.h, 0, 0, true);
    if (st != CS_OK) {
        print_message("%s:\n", c->name);
    }
    assert_ok(st);
    cs_value *output = z.h.output[0];
    const float *wanted = take_tensor(&z, "output", CS_F32, &n);
    assert_int_equal(n, cs_tensor_count(&output->t));
    int64_t one = 0;
    check_features(&z, &output->t, wanted,
                   take_tensor(&z, "loss", CS_F32, &one));
    cs_tensor grad = output->t;
    grad.data = tiny_take(&z.t, n, sizeof(double));
    for (int64_t k = 0; k < n; k++) {
        cs_tensor_set(&grad, k, probe(k));
    }
    output->grad = grad.data;
    output->grad_where = CS_KEEP_PRODUCT;
    assert_ok(by_hand_backward_module(&z.h, 0, output));
    check_gradients(&z, dtype);
    zoo_close(&z);
}

static void check_all(const char *backend, cs_dtype dtype)
{
    for (int i = 0; i < N_CASES; i++) {
        check_case(&CASES[i], backend, dtype);
    }
}

static void every_family_is_transformers(void **state)
{
    (void)state;
    check_all("ref", CS_F32);
    check_all("ref", CS_F64);
}

static void bf16_is_near_transformers(void **state)
{
    (void)state;
    check_all("ref", CS_BF16);
}

static void every_family_is_transformers_on_the_cpu_backend(void **state)
{
    (void)state;
    cs_backend *backend = NULL;

    if (cs_backend_create("cpu", 1, &backend) != CS_OK) {
        cst_skip("the cpu module does not open");
    }
    cs_backend_destroy(&backend);
    check_all("cpu", CS_F32);
    check_all("cpu", CS_BF16);
}

/* --- a frozen tower -------------------------------------------------------- */

/* Gradients of the projector behind a tower, frozen or not: the same bits. A
 * frozen CLIP ends in a layer without any step, whose rows the projector's
 * products must still find in their backward. */
static void check_frozen(const zoo_case *trained, const zoo_case *frozen)
{
    const zoo_case *cases[] = {trained, frozen};
    zoo z[2];

    for (int i = 0; i < 2; i++) {
        open_graph(&z[i], cases[i]);
        take_items(&z[i]);
        by_hand_begin(&z[i].h, &z[i].t, "ref", CS_F32);
        assert_ok(cs_weights_load(z[i].h.params, 1));
        assert_ok(by_hand_module(&z[i].h, 0, 0, true));
        cs_value *output = z[i].h.output[0];
        const int64_t n = cs_tensor_count(&output->t);
        cs_tensor grad = output->t;
        grad.data = tiny_take(&z[i].t, n, sizeof(double));
        for (int64_t k = 0; k < n; k++) {
            cs_tensor_set(&grad, k, probe(k));
        }
        output->grad = grad.data;
        output->grad_where = CS_KEEP_PRODUCT;
        assert_ok(by_hand_backward_module(&z[i].h, 0, output));
    }
    for (int32_t i = 0; i < z[0].h.params->n; i++) {
        const cs_param_state *p = &z[0].h.params->items[i];
        const cs_param_state *q = &z[1].h.params->items[i];
        if (p->spec->in_projector) {
            assert_non_null(p->grad);
            assert_memory_equal(p->grad, q->grad,
                                (size_t)p->count * sizeof(float));
        } else {
            assert_null(q->grad);
        }
    }
    zoo_close(&z[1]);
    zoo_close(&z[0]);
}

static void a_projector_trains_behind_a_frozen_tower(void **state)
{
    static const zoo_case CLIPS[] = {
        {"clip", "projector: {type: mlp}", true},
        {"clip", "freeze: true, projector: {type: mlp}", true},
    };
    static const zoo_case MERGERS[] = {
        {"qwen2_vl_merger", MERGER, true},
        {"qwen2_vl_merger", "freeze: true, " MERGER, true},
    };

    (void)state;
    check_frozen(&CLIPS[0], &CLIPS[1]);
    check_frozen(&MERGERS[0], &MERGERS[1]);
}

/* --- names ------------------------------------------------------------------ */

static bool begins_with(const char *name, const char *beginning)
{
    return strncmp(name, beginning, strlen(beginning)) == 0;
}

/* Whether the family says that a tensor may be there and is not used. */
static bool is_ignored(const cs_module *m, const char *name)
{
    for (const char *const *i = m->ignored_names; *i != NULL; i++) {
        if (begins_with(name, *i)) {
            return true;
        }
        for (const char *const *p = m->name_prefixes; *p != NULL; p++) {
            if (begins_with(name, *p) && begins_with(name + strlen(*p), *i)) {
                return true;
            }
        }
    }
    return false;
}

/* A missing tensor fails in every test above; here none may be left over. */
static void no_tensor_of_a_file_is_unknown(void **state)
{
    (void)state;
    for (int c = 0; c < N_CASES; c++) {
        zoo z;
        char path[300];
        int64_t n_tensors = 0;
        int64_t n_params = 0;

        open_graph(&z, &CASES[c]);
        assert_ok(csi_format(path, sizeof path, "tests/golden/zoo/encoder/%s",
                             CASES[c].name));
        assert_ok(cs_safetensors_open_folder(cst_source_path(path), &z.file));
        for (int64_t i = 0; i < cs_safetensors_count(z.file); i++) {
            n_tensors += !is_ignored(&z.t.graph->modules[0],
                                     cs_safetensors_at(z.file, i)->name);
        }
        for (int32_t i = 0; i < z.t.graph->n_params; i++) {
            const cs_param *p = &z.t.graph->params[i];
            n_params += p->module == 0 && !p->in_projector;
        }
        if (n_tensors != n_params) {
            fail_msg("%s: %d tensors, %d parameters", CASES[c].name,
                     (int)n_tensors, (int)n_params);
        }
        cs_safetensors_close(&z.file);
        tiny_end(&z.t);
    }
}

static void sound_is_padded_unless_the_folder_says_no(void **state)
{
    (void)state;
    for (int c = 0; c < N_CASES; c++) {
        zoo z;

        open_graph(&z, &CASES[c]);
        const cs_module *m = &z.t.graph->modules[0];
        if (m->modality == CS_MODALITY_AUDIO) {
            assert_int_equal(m->pads_audio,
                             strcmp(CASES[c].name, "whisper") != 0 &&
                                 strcmp(CASES[c].name, "qwen2_audio") != 0);
        } else {
            assert_false(m->pads_audio);
        }
        tiny_end(&z.t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(every_family_is_transformers),
        CST_TEST(every_family_is_transformers_on_the_cpu_backend),
        CST_TEST(bf16_is_near_transformers),
        CST_TEST(a_projector_trains_behind_a_frozen_tower),
        CST_TEST(no_tensor_of_a_file_is_unknown),
        CST_TEST(sound_is_padded_unless_the_folder_says_no),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
