/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cornstarch forward` on the folders of every language model family
 * (tools/golden/zoo_language.py), documents as padded rows, on two ranks: a
 * pipeline whose last stage has a head that may be tied to the first stage's
 * embedding, and experts whose balance losses lie on both. Loss and gradients
 * are those of transformers.
 */
#include "cornstarch/infer.h"
#include "cornstarch/safetensors.h"

#include "base/alloc.h"
#include "base/str.h"

#include "support/test.h"

#include <math.h>
#include <string.h>

static const char *const CASES[] = {
    "llama",  "llama_yarn",   "mistral",   "mixtral_balance", "mixtral_one",
    "qwen2",  "qwen2_window", "qwen3",     "qwen3_moe",       "gemma",
    "gemma2", "gemma3_v4",    "phi3_long", "phi3_partial",    "internlm2_bias",
    "gpt2",   "gpt2_untied",
};

enum {
    N_CASES = sizeof CASES / sizeof CASES[0],
    MAX_TOKENS = 128
};

static cs_safetensors *open_golden(const char *name)
{
    char path[160];
    cs_safetensors *file = NULL;

    assert_ok(csi_format(path, sizeof path,
                         "tests/golden/zoo/language/%s/golden.safetensors",
                         name));
    assert_ok(cs_safetensors_open(cst_source_path(path), &file));
    return file;
}

static void read_i32(const cs_safetensors *file, const char *name,
                     int32_t *values, int64_t *count)
{
    const cs_safetensor *t = cs_safetensors_find(file, name);

    assert_non_null(t);
    *count = cs_shape_count(&t->shape);
    assert_in_range(*count, 1, MAX_TOKENS);
    assert_ok(cs_safetensors_read(t, NULL, CS_I32, values));
}

/* The three tensors of the input, [documents, longest]; a token's label is
 * that of the golden token before it. */
typedef struct rows {
    int64_t ids[MAX_TOKENS], labels[MAX_TOKENS], mask[MAX_TOKENS];
} rows;

static cs_shape fill_rows(const cs_safetensors *golden, rows *out)
{
    int32_t lengths[MAX_TOKENS];
    int32_t ids[MAX_TOKENS];
    int32_t labels[MAX_TOKENS];
    int64_t n = 0;
    int64_t n_tokens = 0;
    int64_t longest = 0;
    int64_t at = 0;

    read_i32(golden, "lengths", lengths, &n);
    read_i32(golden, "ids", ids, &n_tokens);
    read_i32(golden, "labels", labels, &n_tokens);
    *out = (rows){0};
    for (int64_t i = 0; i < n; i++) {
        longest = lengths[i] > longest ? lengths[i] : longest;
    }
    assert_in_range(n * longest, 1, MAX_TOKENS);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t t = 0; t < longest; t++) {
            const int64_t k = i * longest + t;
            const bool is_token = t < lengths[i];
            out->ids[k] = is_token ? ids[at + t] : 0;
            out->labels[k] = is_token && t > 0 ? labels[at + t - 1] : -100;
            out->mask[k] = is_token;
        }
        at += lengths[i];
    }
    return CS_SHAPE(n, longest);
}

static void write_input(const cs_safetensors *golden, const char *path)
{
    rows r;
    const cs_shape shape = fill_rows(golden, &r);
    const struct {
        const char *name;
        const int64_t *data;
    } TENSORS[] = {{"attention_mask", r.mask},
                   {"input_ids", r.ids},
                   {"labels", r.labels}};
    cs_safetensors_writer *writer = NULL;

    assert_ok(cs_safetensors_writer_create(path, NULL, 0, &writer));
    for (int i = 0; i < 3; i++) {
        assert_ok(cs_safetensors_writer_add(writer, TENSORS[i].name, CS_I64,
                                            &shape));
    }
    for (int i = 0; i < 3; i++) {
        assert_ok(cs_safetensors_writer_write(writer, TENSORS[i].name,
                                              TENSORS[i].data,
                                              cs_shape_count(&shape) *
                                                  (int64_t)sizeof(int64_t)));
    }
    assert_ok(cs_safetensors_writer_commit(writer));
    cs_safetensors_writer_destroy(&writer);
}

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

static void compare_gradient(const cs_safetensors *got,
                             const cs_safetensors *wanted, const char *name)
{
    int64_t n = 0;
    int64_t n_got = 0;
    double error = 0.0;
    double norm = 0.0;
    float *w = values_of(wanted, name, &n);
    float *g = values_of(got, name, &n_got);

    assert_int_equal(n, n_got);
    for (int64_t i = 0; i < n; i++) {
        const double e = (double)g[i] - (double)w[i];
        error += e * e;
        norm += (double)w[i] * (double)w[i];
    }
    if (!(sqrt(error) <= 1e-4 * fmax(sqrt(norm), 1e-5))) {
        fail_msg("%s: %s is off by %g of %g", cs_safetensors_path(wanted), name,
                 sqrt(error), sqrt(norm));
    }
    csi_free(w);
    csi_free(g);
}

static void check_case(const char *name)
{
    cst_tmpdir dir;
    char folder[160];
    cs_forward_result result;
    cs_safetensors *golden = open_golden(name);
    cs_safetensors *got = NULL;
    int64_t n = 0;
    int64_t n_gradients = 0;

    cst_tmpdir_make(&dir);
    assert_ok(csi_format(folder, sizeof folder, "tests/golden/zoo/language/%s",
                         name));
    char *input = csi_strdup(cst_path(&dir, "in.safetensors"));
    char *output = csi_strdup(cst_path(&dir, "out.safetensors"));
    write_input(golden, input);
    const cs_forward_options options = {
        .model = cst_source_path(folder),
        .input = input,
        .output = output,
        .with_gradients = true,
        .n_ranks = 2,
        .backend = "ref",
        .n_threads = 1,
    };
    assert_ok(cs_forward(&options, &result));
    assert_ok(cs_safetensors_open(output, &got));
    float *loss = values_of(golden, "loss", &n);
    assert_near(result.loss / (double)loss[0], 1.0, 1e-5);
    csi_free(loss);
    for (int64_t i = 0; i < cs_safetensors_count(golden); i++) {
        const char *tensor = cs_safetensors_at(golden, i)->name;
        if (strncmp(tensor, "grad.", 5) == 0) {
            compare_gradient(got, golden, tensor);
            n_gradients++;
        }
    }
    assert_int_equal(cs_safetensors_count(got), n_gradients + 2);
    csi_free(input);
    csi_free(output);
    cs_safetensors_close(&got);
    cs_safetensors_close(&golden);
    cst_tmpdir_remove(&dir);
}

static void every_family_on_two_ranks_is_transformers(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        check_case(CASES[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(every_family_on_two_ranks_is_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
