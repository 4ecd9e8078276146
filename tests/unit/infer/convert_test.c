/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run's model in other forms. That transformers loads the llava form and
 * computes the same logits is recorded in tests/golden/forward/llava's
 * provenance (tools/golden/forward.py); here: names, bytes, texts, refusals.
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/infer.h"
#include "cornstarch/safetensors.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include "support/test.h"

#include <string.h>

#define RUN "tests/golden/forward/llava/run"

static const char *const FILES[] = {
    "recipe.yaml",
    "model/cornstarch.json",
    "model/language_model/config.json",
    "model/language_model/model.safetensors",
    "model/vision/config.json",
    "model/vision/model.safetensors",
    "model/vision/projector/config.json",
    "model/vision/projector/model.safetensors",
};

/* A copy of the golden run at dir/run, whose texts a test may change. */
static void copy_run(const cst_tmpdir *dir)
{
    assert_ok(csi_dir_create(cst_path(dir, "run/model/vision/projector")));
    assert_ok(csi_dir_create(cst_path(dir, "run/model/language_model")));
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        char from[256];
        char to[256];
        assert_ok(csi_format(from, sizeof from, RUN "/%s", FILES[i]));
        assert_ok(csi_format(to, sizeof to, "run/%s", FILES[i]));
        assert_ok(csi_file_copy(cst_source_path(from), cst_path(dir, to)));
    }
}

/* Puts `with` in the place of `what` in a text of the run. */
static void change(const cst_tmpdir *dir, const char *file, const char *what,
                   const char *with)
{
    size_t n = 0;
    csi_str text = {0};
    char *old = cst_read(cst_path(dir, file), &n);
    const char *at = strstr(old, what);

    assert_non_null(at);
    csi_str_add_bytes(&text, old, (size_t)(at - old));
    csi_str_add(&text, with);
    csi_str_add(&text, at + strlen(what));
    (void)cst_write_text(dir, file, text.data);
    csi_str_fini(&text);
    cst_free(old);
}

static cs_convert_options options_of(const cst_tmpdir *dir, const char *to)
{
    return (cs_convert_options){
        .run_folder = cst_path(dir, "run"),
        .to = to,
        .output = cst_path(dir, "out"),
    };
}

/* Every tensor of a module is in the whole, under its prefix, bit by bit. */
static int64_t check_part(const cst_tmpdir *dir, const cs_safetensors *whole,
                          const char *module, const char *prefix)
{
    cs_safetensors *part = NULL;
    char path[128];

    assert_ok(csi_format(path, sizeof path, "run/model/%s", module));
    assert_ok(cs_safetensors_open_folder(cst_path(dir, path), &part));
    const int64_t n = cs_safetensors_count(part);
    for (int64_t i = 0; i < n; i++) {
        const cs_safetensor *t = cs_safetensors_at(part, i);
        char name[256];
        assert_ok(csi_format(name, sizeof name, "%s%s", prefix, t->name));
        const cs_safetensor *got = cs_safetensors_find(whole, name);
        if (got == NULL) {
            fail_msg("no %s", name);
            return 0;
        }
        assert_int_equal(got->dtype, t->dtype);
        assert_true(got->n_bytes >= t->n_bytes);
        assert_memory_equal(got->data, t->data, (size_t)t->n_bytes);
    }
    cs_safetensors_close(&part);
    return n;
}

static void assert_text(const cst_tmpdir *dir, const char *file,
                        const char *part)
{
    size_t n = 0;
    char *text = cst_read(cst_path(dir, file), &n);

    assert_contains(text, part);
    cst_free(text);
}

static void a_run_becomes_one_llava_folder(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors *whole = NULL;

    cst_tmpdir_make(&dir);
    copy_run(&dir);
    (void)
        cst_write_text(&dir, "run/model/language_model/tokenizer.json",
                       "{\"added_tokens\": [{\"id\": 0, \"content\": \"a\"}]}");
    (void)cst_write_text(&dir, "run/model/vision/preprocessor_config.json",
                         "{\"do_resize\": true}");
    const cs_convert_options options = options_of(&dir, "llava");
    assert_ok(cs_convert(&options));
    assert_ok(cs_safetensors_open_folder(options.output, &whole));
    int64_t n = check_part(&dir, whole, "vision", "vision_tower.");
    n += check_part(&dir, whole, "vision/projector", "multi_modal_projector.");
    n += check_part(&dir, whole, "language_model", "language_model.");
    assert_int_equal(cs_safetensors_count(whole), n);
    cs_safetensors_close(&whole);
    assert_text(&dir, "out/config.json", "\"image_token_index\": 39");
    assert_text(&dir, "out/config.json", "\"vision_feature_layer\": -2");
    assert_text(&dir, "out/config.json", "\"clip_vision_model\"");
    assert_text(&dir, "out/config.json",
                "\"vision_feature_select_strategy\": \"default\"");
    assert_text(&dir, "out/tokenizer.json", "\"content\": \"<image>\"");
    assert_text(&dir, "out/processor_config.json",
                "\"num_additional_image_tokens\": 1");
    assert_text(&dir, "out/preprocessor_config.json", "do_resize");
    assert_false(csi_dir_exists(cst_path(&dir, "out.tmp")));
    cs_convert_options again = options_of(&dir, "llava");
    assert_fails(cs_convert(&again), CS_ERR_ARG, "out: is not empty");
    again.to = "gguf";
    assert_fails(cs_convert(&again), CS_ERR_ARG, "wanted llava or modules");
    cst_tmpdir_remove(&dir);
}

static void an_image_token_behind_the_vocabulary_gets_a_row(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors *whole = NULL;
    const cs_safetensor *t = NULL;

    cst_tmpdir_make(&dir);
    copy_run(&dir);
    change(&dir, "run/model/cornstarch.json", "\"placeholder_id\": 39",
           "\"placeholder_id\": 42");
    cs_convert_options options = options_of(&dir, "llava");
    options.max_shard_bytes = 20000;
    assert_ok(cs_convert(&options));
    assert_true(csi_file_exists(cst_path(&dir,
                                         "out/model.safetensors.index.json")));
    assert_ok(cs_safetensors_open_folder(options.output, &whole));
    assert_ok(cs_safetensors_require(whole,
                                     "language_model.model.embed_tokens.weight",
                                     &CS_SHAPE(43, 16), &t));
    for (int64_t i = 40 * 16; i < 43 * 16; i++) {
        assert_near(csi_dtype_get(t->data, CS_F32, i), 0.0, 0.0);
    }
    assert_ok(cs_safetensors_require(whole, "language_model.lm_head.weight",
                                     &CS_SHAPE(43, 16), &t));
    assert_int_equal(check_part(&dir, whole, "language_model",
                                "language_model."),
                     21);
    cs_safetensors_close(&whole);
    assert_text(&dir, "out/config.json", "\"vocab_size\": 43");
    cst_tmpdir_remove(&dir);
}

static void what_llava_has_no_place_for_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *what, *with, *part;
    } CASES[] = {
        {"attention: causal", "attention: islands",
         "model.attention is islands, LLaVA's is causal"},
        {"feature_layer: -2", "pool: 2\n      feature_layer: -2",
         "encoder vision pools 2 rows and stacks 1"},
    };

    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cst_tmpdir dir;
        cst_tmpdir_make(&dir);
        copy_run(&dir);
        change(&dir, "run/recipe.yaml", CASES[i].what, CASES[i].with);
        const cs_convert_options options = options_of(&dir, "llava");
        assert_fails(cs_convert(&options), CS_ERR_UNSUPPORTED, CASES[i].part);
        assert_false(csi_dir_exists(cst_path(&dir, "out")));
        cst_tmpdir_remove(&dir);
    }
}

static void modules_are_the_same_bytes_again(void **state)
{
    (void)state;
    static const char *const WEIGHTS[] = {"language_model", "vision",
                                          "vision/projector"};
    cst_tmpdir dir;

    cst_tmpdir_make(&dir);
    copy_run(&dir);
    assert_ok(csi_file_copy(cst_source_path("tests/golden/tokenizer/gpt2.json"),
                            cst_path(&dir, "run/model/language_model/"
                                           "tokenizer.json")));
    const cs_convert_options options = options_of(&dir, "modules");
    assert_ok(cs_convert(&options));
    for (size_t i = 0; i < sizeof WEIGHTS / sizeof WEIGHTS[0]; i++) {
        char path[2][128];
        assert_ok(csi_format(path[0], sizeof path[0],
                             "run/model/%s/model.safetensors", WEIGHTS[i]));
        assert_ok(csi_format(path[1], sizeof path[1],
                             "out/%s/model.safetensors", WEIGHTS[i]));
        cs_safetensors *a = NULL;
        cs_safetensors *b = NULL;
        assert_ok(cs_safetensors_open(cst_path(&dir, path[0]), &a));
        assert_ok(cs_safetensors_open(cst_path(&dir, path[1]), &b));
        assert_int_equal(cs_safetensors_count(a), cs_safetensors_count(b));
        for (int64_t k = 0; k < cs_safetensors_count(a); k++) {
            const cs_safetensor *x = cs_safetensors_at(a, k);
            const cs_safetensor *y = cs_safetensors_find(b, x->name);
            assert_non_null(y);
            assert_int_equal(x->n_bytes, y->n_bytes);
            assert_memory_equal(x->data, y->data, (size_t)x->n_bytes);
        }
        cs_safetensors_close(&a);
        cs_safetensors_close(&b);
    }
    assert_text(&dir, "out/cornstarch.json", "\"feature_layer\": -2");
    assert_true(csi_file_exists(cst_path(&dir, "out/vision/"
                                               "preprocessor_config.json")));
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_run_becomes_one_llava_folder),
        CST_TEST(an_image_token_behind_the_vocabulary_gets_a_row),
        CST_TEST(what_llava_has_no_place_for_is_named),
        CST_TEST(modules_are_the_same_bytes_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
