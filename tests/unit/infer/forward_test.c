/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cornstarch forward` beside transformers: the folders that it saved, the
 * tensors that its own forward() takes, and its logits, loss and gradients
 * (tools/golden/forward.py). And the same numbers in every layout.
 *
 * Tolerances are the project's: 1e-5 of the largest logit, 1e-5 of the loss,
 * 1e-4 of a gradient's norm; where that is below 1e-6 of the norm of all (a key
 * bias without rotary positions: 0 but for rounding), below that it must be.
 */
#include "cornstarch/infer.h"
#include "cornstarch/safetensors.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include "support/test.h"

#include <math.h>
#include <string.h>

typedef struct outcome {
    cst_tmpdir dir;
    cs_forward_result result;
    cs_safetensors *file;
} outcome;

static cs_forward_options options_of(const outcome *o, const char *model,
                                     const char *input)
{
    return (cs_forward_options){
        .model = model,
        .input = input,
        .output = cst_path(&o->dir, "out.safetensors"),
        .with_gradients = true,
        .n_ranks = 1,
        .backend = "ref",
        .n_threads = 1,
    };
}

static void outcome_end(outcome *o)
{
    cs_safetensors_close(&o->file);
    cst_tmpdir_remove(&o->dir);
}

/* Values of a tensor as f32; free with csi_free. */
static float *values_of(const cs_safetensors *file, const char *name,
                        int64_t *count)
{
    const cs_safetensor *t = cs_safetensors_find(file, name);

    if (t == NULL) {
        fail_msg("%s has no %s", cs_safetensors_path(file), name);
        return NULL;
    }
    *count = cs_shape_count(&t->shape);
    float *values = csi_malloc((size_t)(*count + 1) * sizeof *values);
    assert_ok(cs_safetensors_read(t, NULL, CS_F32, values));
    return values;
}

/* Norms of a tensor, of its largest element, and of its difference. */
typedef struct distance {
    double norm, largest, error, worst;
} distance;

static distance measure(const cs_safetensors *got, const cs_safetensors *wanted,
                        const char *name)
{
    distance d = {0};
    int64_t n = 0;
    int64_t n_got = 0;
    float *w = values_of(wanted, name, &n);
    float *g = values_of(got, name, &n_got);

    assert_true(cs_shape_equal(&cs_safetensors_find(got, name)->shape,
                               &cs_safetensors_find(wanted, name)->shape));
    for (int64_t i = 0; i < n; i++) {
        const double e = fabs((double)g[i] - (double)w[i]);
        d.norm += (double)w[i] * (double)w[i];
        d.error += e * e;
        d.largest = fmax(d.largest, fabs((double)w[i]));
        d.worst = isnan(e) ? INFINITY : fmax(d.worst, e);
    }
    d.norm = sqrt(d.norm);
    d.error = isfinite(d.worst) ? sqrt(d.error) : INFINITY;
    csi_free(w);
    csi_free(g);
    return d;
}

static bool is_gradient(const char *name)
{
    return strncmp(name, "grad.", 5) == 0;
}

/* All that transformers has, and no other gradient. */
static void compare(const cs_safetensors *got, const cs_safetensors *wanted,
                    double relative)
{
    double total = 0.0;
    int64_t n_wanted = 0;
    int64_t n_got = 0;

    for (int64_t i = 0; i < cs_safetensors_count(wanted); i++) {
        const char *name = cs_safetensors_at(wanted, i)->name;
        if (is_gradient(name)) {
            const distance d = measure(got, wanted, name);
            total += d.norm * d.norm;
            n_wanted++;
        }
    }
    for (int64_t i = 0; i < cs_safetensors_count(wanted); i++) {
        const char *name = cs_safetensors_at(wanted, i)->name;
        const distance d = measure(got, wanted, name);
        const double small = 1e-6 * sqrt(total);
        const bool fits =
            is_gradient(name)
                ? d.error <= (d.norm > small ? 10.0 * relative * d.norm : small)
                : d.worst <= relative * d.largest;
        if (!fits || (d.norm == 0.0 && !is_gradient(name))) {
            fail_msg("%s: off by %g of %g (norm %g)", name,
                     is_gradient(name) ? d.error : d.worst, d.largest, d.norm);
        }
    }
    for (int64_t i = 0; i < cs_safetensors_count(got); i++) {
        n_got += is_gradient(cs_safetensors_at(got, i)->name);
    }
    assert_int_equal(n_got, n_wanted);
}

static void check_case(const char *name)
{
    outcome o = {0};
    cs_safetensors *wanted = NULL;
    char path[3][128];

    cst_tmpdir_make(&o.dir);
    assert_ok(csi_format(path[0], sizeof path[0],
                         "tests/golden/forward/%s/model", name));
    assert_ok(csi_format(path[1], sizeof path[1],
                         "tests/golden/forward/%s/input.safetensors", name));
    assert_ok(csi_format(path[2], sizeof path[2],
                         "tests/golden/forward/%s/wanted.safetensors", name));
    const cs_forward_options options =
        options_of(&o, cst_source_path(path[0]), cst_source_path(path[1]));
    assert_ok(cs_forward(&options, &o.result));
    assert_ok(cs_safetensors_open(options.output, &o.file));
    assert_ok(cs_safetensors_open(cst_source_path(path[2]), &wanted));
    compare(o.file, wanted, 1e-5);
    cs_safetensors_close(&wanted);
    outcome_end(&o);
}

static void rows_padded_on_either_side_are_transformers(void **state)
{
    (void)state;
    check_case("llama");
}

static void packed_and_flat_rows_are_transformers(void **state)
{
    (void)state;
    check_case("llama_packed");
    check_case("llama_flat");
}

static void tied_and_capped_heads_are_transformers(void **state)
{
    (void)state;
    check_case("gemma2_tied");
}

static void gradients_have_the_layout_of_their_files(void **state)
{
    (void)state;
    check_case("gpt2");
    check_case("mixtral");
}

static void encoders_alone_are_transformers(void **state)
{
    (void)state;
    check_case("siglip");
    check_case("clip");
    check_case("whisper");
}

static void pictures_of_any_size_are_transformers(void **state)
{
    (void)state;
    check_case("pixtral");
    check_case("qwen2_vl");
}

/* ---- layouts ---- */

/* The case's two results must be the same bits, except that gradients summed
 * over replicas may differ by `relative`. */
static void same_results(const cs_safetensors *got,
                         const cs_safetensors *wanted, double relative)
{
    assert_int_equal(cs_safetensors_count(got), cs_safetensors_count(wanted));
    for (int64_t i = 0; i < cs_safetensors_count(wanted); i++) {
        const cs_safetensor *w = cs_safetensors_at(wanted, i);
        const cs_safetensor *g = cs_safetensors_find(got, w->name);
        assert_non_null(g);
        if (relative > 0.0 && is_gradient(w->name)) {
            const distance d = measure(got, wanted, w->name);
            if (d.error > relative * fmax(d.norm, 1e-3)) {
                fail_msg("%s: off by %g of %g", w->name, d.error, d.norm);
            }
            continue;
        }
        assert_int_equal(g->n_bytes, w->n_bytes);
        if (memcmp(g->data, w->data, (size_t)w->n_bytes) != 0) {
            fail_msg("%s differs", w->name);
        }
    }
}

typedef struct layout {
    const char *what;
    int32_t n_ranks;
    double relative; /* of gradients; 0 = bitwise */
    const char *overrides[6];
} layout;

static void check_layouts(const char *model, const char *input,
                          const layout *layouts, size_t n)
{
    outcome one = {0};

    cst_tmpdir_make(&one.dir);
    const cs_forward_options options =
        options_of(&one, cst_source_path(model), cst_source_path(input));
    assert_ok(cs_forward(&options, &one.result));
    assert_ok(cs_safetensors_open(options.output, &one.file));
    for (size_t i = 0; i < n; i++) {
        const layout *l = &layouts[i];
        outcome o = {0};
        cst_tmpdir_make(&o.dir);
        cs_forward_options many =
            options_of(&o, cst_source_path(model), cst_source_path(input));
        many.n_ranks = l->n_ranks;
        many.overrides = l->overrides;
        while (l->overrides[many.n_overrides] != NULL) {
            many.n_overrides++;
        }
        assert_ok(cs_forward(&many, &o.result));
        assert_ok(cs_safetensors_open(many.output, &o.file));
        assert_true(o.result.loss == one.result.loss);
        same_results(o.file, one.file, l->relative);
        outcome_end(&o);
    }
    outcome_end(&one);
}

static void a_language_model_has_the_same_bits_in_every_layout(void **state)
{
    (void)state;
    static const layout LAYOUTS[] = {
        {"one microbatch per document", 1, 1e-5, {"data.packing=false"}},
        {"stages",
         2,
         0.0,
         {"parallel.plan=manual", "parallel.modules.language_model.pp=2"}},
        {"replicas", 2, 1e-5, {"parallel.placement=single"}},
        {"replicas of stages",
         4,
         1e-5,
         {"parallel.plan=manual", "parallel.dp=2",
          "parallel.modules.language_model.pp=2"}},
        {"auto", 3, 1e-5, {"data.packing=false"}},
    };

    check_layouts("tests/golden/forward/gemma2_tied/model",
                  "tests/golden/forward/gemma2_tied/input.safetensors", LAYOUTS,
                  sizeof LAYOUTS / sizeof LAYOUTS[0]);
}

static void a_whole_run_is_transformers(void **state)
{
    (void)state;
    outcome o = {0};
    cs_safetensors *wanted = NULL;

    cst_tmpdir_make(&o.dir);
    const cs_forward_options options =
        options_of(&o, cst_source_path("tests/golden/forward/llava/run"),
                   cst_source_path("tests/golden/forward/llava/"
                                   "input.safetensors"));
    assert_ok(cs_forward(&options, &o.result));
    assert_int_equal(o.result.n_items, 3);
    assert_int_equal(o.result.n_documents, 3);
    assert_ok(cs_safetensors_open(options.output, &o.file));
    assert_ok(cs_safetensors_open(cst_source_path("tests/golden/forward/llava/"
                                                  "wanted.safetensors"),
                                  &wanted));
    compare(o.file, wanted, 1e-5);
    cs_safetensors_close(&wanted);
    outcome_end(&o);
}

static void a_whole_run_has_the_same_bits_in_every_layout(void **state)
{
    (void)state;
    static const layout LAYOUTS[] = {
        {"encoder beside", 2, 0.0, {"parallel.placement=modality_parallel"}},
        {"encoder beside stages",
         3,
         0.0,
         {"parallel.plan=manual", "parallel.modules.vision.pp=1",
          "parallel.modules.language_model.pp=2"}},
        {"replicas", 2, 1e-5, {"parallel.placement=single"}},
        {"replicas of branches",
         4,
         1e-5,
         {"parallel.placement=modality_parallel", "parallel.dp=2"}},
    };

    check_layouts("tests/golden/forward/llava/run",
                  "tests/golden/forward/llava/input.safetensors", LAYOUTS,
                  sizeof LAYOUTS / sizeof LAYOUTS[0]);
}

/* Half the digits of bf16 are an eighth of a percent. */
static void bf16_is_near(void **state)
{
    (void)state;
    outcome o = {0};
    cs_safetensors *wanted = NULL;

    cst_tmpdir_make(&o.dir);
    cs_forward_options options =
        options_of(&o, cst_source_path("tests/golden/forward/llama/model"),
                   cst_source_path("tests/golden/forward/llama/"
                                   "input.safetensors"));
    options.precision = "bf16";
    assert_ok(cs_forward(&options, &o.result));
    assert_ok(cs_safetensors_open(options.output, &o.file));
    assert_ok(cs_safetensors_open(cst_source_path("tests/golden/forward/llama/"
                                                  "wanted.safetensors"),
                                  &wanted));
    const distance d = measure(o.file, wanted, "logits");
    assert_true(d.worst <= 2e-2 * d.largest);
    assert_true(d.worst > 1e-5 * d.largest);
    cs_safetensors_close(&wanted);
    outcome_end(&o);
}

/* ---- bad input ---- */

typedef struct tensor {
    const char *name;
    cs_dtype dtype;
    cs_shape shape;
} tensor;

static const char *write_input(const cst_tmpdir *dir, const tensor *tensors,
                               const int64_t *values)
{
    const char *path = cst_path(dir, "in.safetensors");
    cs_safetensors_writer *w = NULL;
    static const float zeros[4096] = {0};

    assert_ok(cs_safetensors_writer_create(path, NULL, 0, &w));
    for (int i = 0; tensors[i].name != NULL; i++) {
        assert_ok(cs_safetensors_writer_add(w, tensors[i].name,
                                            tensors[i].dtype,
                                            &tensors[i].shape));
    }
    for (int i = 0; tensors[i].name != NULL; i++) {
        const int64_t n = cs_shape_count(&tensors[i].shape);
        assert_true(n <= 1024);
        assert_ok(cs_safetensors_writer_write(
            w, tensors[i].name,
            tensors[i].dtype == CS_I64 ? (const void *)values : zeros,
            n * (int64_t)cs_dtype_bytes(tensors[i].dtype)));
        values += tensors[i].dtype == CS_I64 ? n : 0;
    }
    assert_ok(cs_safetensors_writer_commit(w));
    cs_safetensors_writer_destroy(&w);
    return path;
}

typedef struct refusal {
    tensor tensors[4];
    int64_t values[16];
    cs_status code;
    const char *part;
} refusal;

static void check_refusals(const char *model, const refusal *cases, size_t n)
{
    cst_tmpdir dir;
    cs_forward_result result;
    outcome o = {0};

    cst_tmpdir_make(&dir);
    cst_tmpdir_make(&o.dir);
    for (size_t i = 0; i < n; i++) {
        cs_forward_options options =
            options_of(&o, cst_source_path(model),
                       write_input(&dir, cases[i].tensors, cases[i].values));
        options.with_gradients = false;
        assert_fails(cs_forward(&options, &result), cases[i].code,
                     cases[i].part);
        assert_contains(cs_error_message(), "in.safetensors");
        assert_false(csi_file_exists(options.output));
    }
    outcome_end(&o);
    cst_tmpdir_remove(&dir);
}

static void text_that_does_not_fit_is_named(void **state)
{
    (void)state;
    static const refusal CASES[] = {
        {{{"labels", CS_I64, {1, {2}}}},
         {0},
         CS_ERR_FORMAT,
         "'input_ids' is missing"},
        {{{"input_ids", CS_F32, {1, {2}}}},
         {0},
         CS_ERR_DTYPE,
         "tensor 'input_ids': wanted i64, i32 or u8, got f32"},
        {{{"input_ids", CS_I64, {3, {1, 1, 2}}}},
         {0},
         CS_ERR_SHAPE,
         "wanted [T] or [B, T], got [1, 1, 2]"},
        {{{"input_ids", CS_I64, {1, {2}}}},
         {3, 40},
         CS_ERR_FORMAT,
         "row 0, column 1: wanted 0..39 or a placeholder, got 40"},
        {{{"input_ids", CS_I64, {1, {1}}}, {"labels", CS_I64, {1, {2}}}},
         {0},
         CS_ERR_SHAPE,
         "tensor 'labels': wanted [1] as input_ids, got [2]"},
        {{{"input_ids", CS_I64, {1, {2}}}, {"labels", CS_I64, {1, {2}}}},
         {1, 1, -100, -7},
         CS_ERR_FORMAT,
         "wanted 0..39 or -100, got -7"},
        {{{"input_ids", CS_I64, {2, {1, 2}}},
          {"attention_mask", CS_I64, {2, {1, 2}}}},
         {1, 1, 0, 0},
         CS_ERR_FORMAT,
         "leaves nothing of row 0"},
        {{{"input_ids", CS_I64, {1, {2}}}, {"position_ids", CS_I64, {1, {2}}}},
         {1, 1, 0, -1},
         CS_ERR_FORMAT,
         "position -1 at row 0, column 1"},
        {{{"input_ids", CS_I64, {1, {2}}}, {"inputs", CS_F32, {1, {2}}}},
         {1, 1},
         CS_ERR_ARG,
         "tensor 'inputs' means nothing to this model"},
        {{{"input_ids", CS_I64, {1, {2}}},
          {"pixel_values", CS_F32, {4, {1, 3, 12, 12}}}},
         {1, 1},
         CS_ERR_ARG,
         "tensor 'pixel_values' means nothing"},
    };

    check_refusals("tests/golden/forward/llama/model", CASES,
                   sizeof CASES / sizeof CASES[0]);
}

static void media_that_do_not_fit_are_named(void **state)
{
    (void)state;
    static const refusal CASES[] = {
        {{{"input_ids", CS_I64, {1, {2}}},
          {"pixel_values", CS_F32, {4, {1, 3, 12, 8}}}},
         {1, 1},
         CS_ERR_SHAPE,
         "'pixel_values': wanted [N, 3, 12, 12], got [1, 3, 12, 8]"},
        {{{"input_ids", CS_I64, {1, {2}}},
          {"vision.pixel_values", CS_F32, {4, {1, 3, 12, 12}}}},
         {1, 1},
         CS_ERR_FORMAT,
         "'vision.pixel_values' has 1 items, input_ids has placeholders (39) "
         "for 0"},
        {{{"input_ids", CS_I64, {1, {2}}}},
         {39, 1},
         CS_ERR_FORMAT,
         "a placeholder of vision (39) at row 0, column 0, but the file has "
         "only 0 items"},
        {{{"input_ids", CS_I64, {1, {3}}},
          {"pixel_values", CS_F32, {4, {1, 3, 12, 12}}}},
         {39, 39, 1},
         CS_ERR_FORMAT,
         "item 0 of 'pixel_values' has 9 features, but input_ids has 2"},
        {{{"input_ids", CS_I64, {1, {2}}}, {"pixel_values", CS_I64, {4, {1}}}},
         {1, 1},
         CS_ERR_SHAPE,
         "'pixel_values': wanted [N, 3, 12, 12]"},
    };

    check_refusals("tests/golden/forward/llava/run", CASES,
                   sizeof CASES / sizeof CASES[0]);
}

static void what_is_not_offered_says_so(void **state)
{
    (void)state;
    outcome o = {0};
    cs_forward_result result;

    cst_tmpdir_make(&o.dir);
    cs_forward_options options =
        options_of(&o, cst_source_path("tests/golden/forward/siglip/model"),
                   cst_source_path("tests/golden/forward/siglip/"
                                   "input.safetensors"));
    options.n_ranks = 2;
    assert_fails(cs_forward(&options, &result), CS_ERR_UNSUPPORTED,
                 "one encoder on 2 ranks");
    options = options_of(&o, o.dir.path, "x");
    assert_fails(cs_forward(&options, &result), CS_ERR_ARG,
                 "wanted a run folder (recipe.yaml) or a model's folder");
    options =
        options_of(&o, cst_source_path("tests/golden/forward/llama/model"),
                   cst_source_path("tests/golden/forward/siglip/"
                                   "input.safetensors"));
    options.precision = "f16";
    assert_fails(cs_forward(&options, &result), CS_ERR_ARG,
                 "wanted f32 or bf16, got 'f16'");
    outcome_end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(rows_padded_on_either_side_are_transformers),
        CST_TEST(packed_and_flat_rows_are_transformers),
        CST_TEST(tied_and_capped_heads_are_transformers),
        CST_TEST(gradients_have_the_layout_of_their_files),
        CST_TEST(encoders_alone_are_transformers),
        CST_TEST(pictures_of_any_size_are_transformers),
        CST_TEST(a_language_model_has_the_same_bits_in_every_layout),
        CST_TEST(a_whole_run_is_transformers),
        CST_TEST(a_whole_run_has_the_same_bits_in_every_layout),
        CST_TEST(bf16_is_near),
        CST_TEST(text_that_does_not_fit_is_named),
        CST_TEST(media_that_do_not_fit_are_named),
        CST_TEST(what_is_not_offered_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
