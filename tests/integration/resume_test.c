/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run that was stopped and resumed, under the same or another number of
 * ranks, writes the metrics and the model of a run that was not, bit for bit.
 * Data and media are a dozen tiny samples made here of the repository's own
 * golden pictures and recordings; a step takes milliseconds.
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/log.h"
#include "cornstarch/train.h"

#include "base/file.h"
#include "base/str.h"

#include "support/test.h"

#include <signal.h>
#include <stdlib.h>

enum {
    N_STEPS = 6,
    MAX_OVERRIDES = 8
};

static const char RECIPE[] =
    "version: 1\n"
    "name: tiny\n"
    "output_dir: runs\n"
    "model:\n"
    "  encoders:\n"
    "    vision:\n"
    "      config: {model_type: siglip_vision_model, hidden_size: 16,\n"
    "               intermediate_size: 32, num_hidden_layers: 1,\n"
    "               num_attention_heads: 2, image_size: 16, patch_size: 8,\n"
    "               vision_use_head: false}\n"
    "      placeholder: \"<image>\"\n"
    "    audio:\n"
    "      config: {model_type: whisper, d_model: 16, encoder_layers: 1,\n"
    "               encoder_attention_heads: 2, encoder_ffn_dim: 32,\n"
    "               num_mel_bins: 80, max_source_positions: 64}\n"
    "      placeholder: \"<audio>\"\n"
    "      pool: 4\n"
    "      processor: {max_seconds: 1}\n"
    "      projector: {type: linear}\n"
    "  language_model:\n"
    "    config: {model_type: llama, hidden_size: 16, intermediate_size: 32,\n"
    "             num_hidden_layers: 2, num_attention_heads: 2,\n"
    "             num_key_value_heads: 1, vocab_size: 260,\n"
    "             max_position_embeddings: 256, bos_token_id: 257,\n"
    "             eos_token_id: 256}\n"
    "    tokenizer: %s\n"
    "data:\n"
    "  template: plain\n"
    "  train:\n"
    "    - {path: train.json, format: llava, media_root: media}\n"
    "  eval:\n"
    "    - {name: heldout, path: heldout.json, format: llava,\n"
    "       media_root: media}\n"
    "  max_length: 128\n"
    "  max_tokens_per_microbatch: 128\n"
    "training:\n"
    "  max_steps: 6\n"
    "  global_batch_size: 4\n"
    "  microbatches: 2\n"
    "  precision: f32\n"
    "  optimizer: {learning_rate: 1.0e-2}\n"
    "evaluation: {every: 2, generate: 0}\n"
    "checkpoint: {every: 2, keep: 9}\n"
    "logging: {trace_steps: [], report: false, tensorboard: false}\n";

static const char *const MEDIA[] = {
    "rgb.png",  "gray.png",       "palette.png", "rgba.png",
    "bits.png", "interlaced.png", "mono16k.wav",
};

/* ---- the world: data, media, recipe ---- */

static void add_sample(csi_str *text, const char *id, const char *media,
                       const char *kind, const char *answer)
{
    csi_str_addf(text, "%s{\"id\": \"%s\", ", text->length > 2 ? ",\n" : "",
                 id);
    if (kind != NULL) {
        csi_str_addf(text, "\"%s\": \"%s\", ", kind, media);
    }
    csi_str_addf(text,
                 "\"conversations\": [{\"from\": \"human\", \"value\": "
                 "\"%s%s%sWhat is it?\"}, {\"from\": \"gpt\", \"value\": "
                 "\"%s\"}]}",
                 kind != NULL ? "<" : "", kind != NULL ? kind : "",
                 kind != NULL ? ">\\n" : "", answer);
}

static void write_samples(const cst_tmpdir *dir, bool with_broken)
{
    csi_str text = {0};

    csi_str_add(&text, "[\n");
    for (size_t i = 0; i < 6; i++) {
        add_sample(&text, MEDIA[i], MEDIA[i], "image", "A picture.");
    }
    add_sample(&text, "tone", "mono16k.wav", "audio", "A tone.");
    add_sample(&text, "again", "mono16k.wav", "audio", "The same tone.");
    add_sample(&text, "yes", "", NULL, "Yes.");
    add_sample(&text, "no", "", NULL, "Surely not.");
    if (with_broken) {
        add_sample(&text, "broken", "broken.png", "image", "Not seen.");
    }
    csi_str_add(&text, "\n]\n");
    assert_ok(csi_str_check(&text));
    (void)cst_write_text(dir, "train.json", text.data);
    csi_str_clear(&text);
    csi_str_add(&text, "[\n");
    add_sample(&text, "held1", "rgb.png", "image", "Colours.");
    add_sample(&text, "held2", "", NULL, "Words.");
    csi_str_add(&text, "\n]\n");
    assert_ok(csi_str_check(&text));
    (void)cst_write_text(dir, "heldout.json", text.data);
    csi_str_fini(&text);
}

/* A picture whose header is whole and whose data is not. */
static void break_picture(const cst_tmpdir *dir)
{
    int64_t n_bytes = 0;
    char path[CST_PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s", cst_path(dir, "media/broken.png"));
    assert_ok(csi_file_copy(cst_path(dir, "media/rgb.png"), path));
    assert_ok(csi_file_size(path, &n_bytes));
    assert_ok(csi_file_truncate(path, n_bytes / 2));
}

static void make_world(cst_tmpdir *dir, bool with_broken)
{
    char recipe[4096];

    static const int PARTS[] = {CS_HAVE_PNG, CS_HAVE_SNDFILE, CS_HAVE_KISSFFT};
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        if (PARTS[i] == 0) {
            cst_skip("built without PNG, sound files or mel spectrograms");
        }
    }
    cst_tmpdir_make(dir);
    assert_ok(csi_dir_create(cst_path(dir, "media")));
    for (size_t i = 0; i < sizeof MEDIA / sizeof MEDIA[0]; i++) {
        char from[128];
        char to[128];
        (void)snprintf(from, sizeof from, "tests/golden/processor/%s",
                       MEDIA[i]);
        (void)snprintf(to, sizeof to, "media/%s", MEDIA[i]);
        assert_ok(csi_file_copy(cst_source_path(from), cst_path(dir, to)));
    }
    if (with_broken) {
        break_picture(dir);
    }
    write_samples(dir, with_broken);
    assert_true((size_t)snprintf(recipe, sizeof recipe, RECIPE,
                                 cst_source_path("examples/stamps/tokenizer")) <
                sizeof recipe);
    (void)cst_write_text(dir, "recipe.yaml", recipe);
}

/* ---- runs ---- */

typedef struct trained {
    const cst_tmpdir *dir;
    const char *name;
    int32_t n_ranks;
    const char *overrides[MAX_OVERRIDES]; /* NULL ends them */
    int stop_after; /* step after which SIGTERM comes; 0 = never */
    bool resume;
    int64_t resume_step;
} trained;

/* A stream for progress lines that raises SIGTERM when it sees a step. */
typedef struct stopper {
    char wanted[32];
    bool is_done;
} stopper;

static ssize_t watch_lines(void *cookie, const char *bytes, size_t n)
{
    stopper *s = cookie;

    if (!s->is_done && memmem(bytes, n, s->wanted, strlen(s->wanted)) != NULL) {
        s->is_done = true;
        cs_train_on_signal(SIGTERM);
    }
    return (ssize_t)n;
}

static cs_status train(const trained *t, cs_train_result *result)
{
    stopper stop = {.wanted = ""};
    cs_config *config = NULL;
    FILE *progress = NULL;
    int32_t n = 0;
    char folder[CST_PATH_BYTES];

    while (n < MAX_OVERRIDES && t->overrides[n] != NULL) {
        n++;
    }
    (void)snprintf(folder, sizeof folder, "%s", cst_path(t->dir, t->name));
    CS_TRY(cs_config_load(cst_path(t->dir, "recipe.yaml"), t->overrides, n,
                          &config));
    if (t->stop_after > 0) {
        (void)snprintf(stop.wanted, sizeof stop.wanted, "step %4d/",
                       t->stop_after);
        progress = fopencookie(&stop, "w",
                               (cookie_io_functions_t){
                                   .write = watch_lines,
                               });
        assert_non_null(progress);
        (void)setvbuf(progress, NULL, _IOLBF, BUFSIZ);
    }
    const cs_train_options options = {
        .config = config,
        .run_folder = folder,
        .n_ranks = t->n_ranks,
        .n_threads = 1,
        .backend = "ref",
        .resume = t->resume,
        .resume_step = t->resume_step,
        .quiet = true,
        .progress = progress,
    };
    const cs_status st = cs_train(&options, result);

    if (progress != NULL) {
        (void)fclose(progress);
    }
    cs_config_destroy(&config);
    return st;
}

static void train_whole(const trained *t)
{
    cs_train_result result = {0};

    assert_ok(train(t, &result));
    assert_int_equal(result.steps, N_STEPS);
    assert_int_equal(result.stopped_by_signal, 0);
}

static void train_and_stop(const trained *t)
{
    cs_train_result result = {0};

    assert_ok(train(t, &result));
    assert_int_equal(result.steps, t->stop_after);
    assert_int_equal(result.stopped_by_signal, SIGTERM);
    assert_int_equal(cs_checkpoint_latest(cst_path(t->dir, t->name)),
                     t->stop_after);
}

/* ---- what two runs have in common ---- */

/* metrics.jsonl without what a clock measured. [own] csi_str_fini. */
static void read_metrics(const cst_tmpdir *dir, const char *run, csi_str *out)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s/metrics.jsonl", run);
    char *text = cst_read(cst_path(dir, name), NULL);
    char *rest = text;

    for (char *line = strsep(&rest, "\n"); line != NULL;
         line = strsep(&rest, "\n")) {
        char *measured = strstr(line, ", \"step_s\"");
        char *after = strstr(line, ", \"skipped_samples\"");
        if (measured != NULL && after != NULL) {
            csi_str_add_bytes(out, line, (size_t)(measured - line));
            csi_str_add(out, after);
        } else {
            csi_str_add(out, line);
        }
        csi_str_add(out, "\n");
    }
    cst_free(text);
    assert_ok(csi_str_check(out));
}

static void assert_same_file(const cst_tmpdir *dir, const char *a,
                             const char *b)
{
    size_t n_a = 0;
    size_t n_b = 0;
    char *x = cst_read(cst_path(dir, a), &n_a);
    char *y = cst_read(cst_path(dir, b), &n_b);
    const bool same = n_a == n_b && memcmp(x, y, n_a) == 0;

    cst_free(x);
    cst_free(y);
    if (!same) {
        fail_msg("%s and %s differ", a, b);
    }
}

static const char *const WEIGHTS[] = {
    "vision/model.safetensors",         "vision/projector/model.safetensors",
    "audio/model.safetensors",          "audio/projector/model.safetensors",
    "language_model/model.safetensors",
};

static void assert_same_run(const cst_tmpdir *dir, const char *run,
                            const char *wanted)
{
    csi_str a = {0};
    csi_str b = {0};

    read_metrics(dir, run, &a);
    read_metrics(dir, wanted, &b);
    assert_string_equal(csi_str_get(&a), csi_str_get(&b));
    csi_str_fini(&a);
    csi_str_fini(&b);
    for (size_t i = 0; i < sizeof WEIGHTS / sizeof WEIGHTS[0]; i++) {
        char x[128];
        char y[128];
        (void)snprintf(x, sizeof x, "%s/model/%s", run, WEIGHTS[i]);
        (void)snprintf(y, sizeof y, "%s/model/%s", wanted, WEIGHTS[i]);
        assert_same_file(dir, x, y);
    }
}

/* ---- tests ---- */

static const struct layout {
    int32_t before, after; /* ranks */
    int stop_after;
    const char *is_async;
    const char *precision;
} LAYOUTS[] = {
    {1, 1, 3, "checkpoint.async=true", "training.precision=f32"},
    {1, 3, 1, "checkpoint.async=false", "training.precision=f32"},
    {3, 1, 5, "checkpoint.async=true", "training.precision=f32"},
    {3, 4, 2, "checkpoint.async=false", "training.precision=bf16"},
    {4, 3, 4, "checkpoint.async=true", "training.precision=bf16"},
};

static void a_stopped_run_ends_on_the_same_bits(void **state)
{
    (void)state;
    cst_tmpdir dir;
    make_world(&dir, false);
    train_whole(&(trained){.dir = &dir, .name = "f32", .n_ranks = 1});
    train_whole(&(trained){.dir = &dir,
                           .name = "bf16",
                           .n_ranks = 1,
                           .overrides = {"training.precision=bf16"}});
    for (size_t i = 0; i < sizeof LAYOUTS / sizeof LAYOUTS[0]; i++) {
        const struct layout *l = &LAYOUTS[i];
        char name[32];
        (void)snprintf(name, sizeof name, "layout%zu", i);
        trained t = {.dir = &dir,
                     .name = name,
                     .n_ranks = l->before,
                     .overrides = {l->is_async, l->precision},
                     .stop_after = l->stop_after};
        train_and_stop(&t);
        t.n_ranks = l->after;
        t.stop_after = 0;
        t.resume = true;
        train_whole(&t);
        assert_same_run(&dir, name,
                        strstr(l->precision, "bf16") ? "bf16" : "f32");
    }
    cst_tmpdir_remove(&dir);
}

static void an_older_step_can_be_gone_on_from(void **state)
{
    (void)state;
    cst_tmpdir dir;
    make_world(&dir, false);
    trained t = {.dir = &dir, .name = "whole", .n_ranks = 4};
    train_whole(&t);
    t.name = "again";
    train_whole(&t);
    t.n_ranks = 3;
    t.resume = true;
    t.resume_step = 2;
    train_whole(&t);
    assert_same_run(&dir, "again", "whole");
    t.resume_step = 5;
    cs_train_result result;
    assert_fails(train(&t, &result), CS_ERR_ARG,
                 "there is no checkpoint of step 5, only of 2, 4, 6");
    cst_tmpdir_remove(&dir);
}

static void a_damaged_checkpoint_costs_steps_but_no_bits(void **state)
{
    (void)state;
    cst_tmpdir dir;
    make_world(&dir, false);
    trained t = {.dir = &dir, .name = "whole", .n_ranks = 1};
    train_whole(&t);
    t.name = "hurt";
    t.n_ranks = 3;
    train_whole(&t);
    const char *file =
        "hurt/checkpoints/step-00000006/language_model.2.safetensors";
    size_t n = 0;
    char *data = cst_read(cst_path(&dir, file), &n);
    data[n - 1] = (char)(data[n - 1] ^ 1);
    (void)cst_write_bytes(&dir, file, data, n);
    cst_free(data);
    FILE *log = tmpfile();
    char line[1024] = "";
    assert_non_null(log);
    cs_log_set_sink(log);
    t.resume = true;
    t.n_ranks = 4;
    train_whole(&t);
    cs_log_set_sink(stderr);
    rewind(log);
    while (strstr(line, "warn") == NULL) {
        assert_non_null(fgets(line, sizeof line, log));
    }
    (void)fclose(log);
    assert_contains(line, "checkpoint of step 6 is damaged, going on from "
                          "step 4: ");
    assert_contains(line, "language_model.2.safetensors: wanted checksum");
    assert_same_run(&dir, "hurt", "whole");
    cst_tmpdir_remove(&dir);
}

static void samples_found_bad_stay_dropped(void **state)
{
    (void)state;
    cst_tmpdir dir;
    make_world(&dir, true);
    trained t = {.dir = &dir,
                 .name = "whole",
                 .n_ranks = 1,
                 .overrides = {"data.bad_sample=skip"}};
    csi_str metrics = {0};
    cs_log_set_sink(NULL); /* each bad sample is named there */
    train_whole(&t);
    read_metrics(&dir, "whole", &metrics);
    assert_contains(csi_str_get(&metrics), "\"skipped_samples\": 1");
    csi_str_fini(&metrics);
    t.name = "parts";
    for (int step = 2; step <= 4; step += 2) {
        t.stop_after = step;
        train_and_stop(&t);
        t.resume = true;
        t.n_ranks = step + 1;
    }
    t.stop_after = 0;
    train_whole(&t);
    cs_log_set_sink(stderr);
    assert_same_run(&dir, "parts", "whole");
    cst_tmpdir_remove(&dir);
}

/* The second stage of a real project: encoder and language model come from an
 * earlier run and are frozen, the projector goes on, audio is new. */
static void frozen_modules_pass_through_a_resumed_run_untouched(void **state)
{
    (void)state;
    cst_tmpdir dir;
    make_world(&dir, false);
    train_whole(&(trained){.dir = &dir, .name = "first", .n_ranks = 1});
    char from[3][CST_PATH_BYTES + 64];
    (void)snprintf(from[0], sizeof from[0], "model.encoders.vision.from=%s",
                   cst_path(&dir, "first/model/vision"));
    (void)snprintf(from[1], sizeof from[1],
                   "model.encoders.vision.projector.from=%s",
                   cst_path(&dir, "first/model/vision/projector"));
    (void)snprintf(from[2], sizeof from[2], "model.language_model.from=%s",
                   cst_path(&dir, "first/model/language_model"));
    trained t = {.dir = &dir,
                 .name = "whole",
                 .n_ranks = 1,
                 .overrides = {"model.encoders.vision.config=null", from[0],
                               from[1], "model.encoders.vision.freeze=true",
                               "model.language_model.config=null", from[2],
                               "model.language_model.freeze=true"}};
    train_whole(&t);
    t.name = "parts";
    t.n_ranks = 3;
    t.stop_after = 3;
    train_and_stop(&t);
    assert_false(csi_file_exists(cst_path(&dir,
                                          "parts/checkpoints/step-00000003/"
                                          "language_model.2.safetensors")));
    t.n_ranks = 4;
    t.stop_after = 0;
    t.resume = true;
    train_whole(&t);
    assert_same_run(&dir, "parts", "whole");
    assert_same_file(&dir, "parts/model/vision/model.safetensors",
                     "first/model/vision/model.safetensors");
    assert_same_file(&dir, "parts/model/language_model/model.safetensors",
                     "first/model/language_model/model.safetensors");
    cst_tmpdir_remove(&dir);
}

/* What is best is remembered over a stop. */
static void the_best_step_is_exported_after_a_stop(void **state)
{
    (void)state;
    cst_tmpdir dir;
    make_world(&dir, false);
    trained t = {.dir = &dir,
                 .name = "whole",
                 .n_ranks = 1,
                 .overrides = {"checkpoint.keep_best=heldout.eval_loss",
                               "checkpoint.keep=1", "export.what=best",
                               "training.optimizer.learning_rate=0.3"}};
    train_whole(&t);
    t.name = "parts";
    t.stop_after = 3;
    train_and_stop(&t);
    t.resume = true;
    t.n_ranks = 3;
    t.stop_after = 0;
    train_whole(&t);
    assert_same_run(&dir, "parts", "whole");
    cst_tmpdir_remove(&dir);
}

/* Evaluations fall between checkpoints: the best step is saved for itself. */
static void the_best_step_is_saved_wherever_it_falls(void **state)
{
    (void)state;
    cst_tmpdir dir;
    make_world(&dir, false);
    trained t = {.dir = &dir,
                 .name = "run",
                 .n_ranks = 1,
                 .overrides = {"checkpoint.keep_best=heldout.eval_loss",
                               "checkpoint.every=4", "evaluation.every=1",
                               "export.what=best",
                               "training.optimizer.learning_rate=0.3"}};
    train_whole(&t);
    assert_int_equal(cs_checkpoint_latest(cst_path(&dir, "run")), N_STEPS);
    assert_true(csi_dir_exists(cst_path(&dir,
                                        "run/checkpoints/step-00000005")));
    cst_tmpdir_remove(&dir);
}

static void another_recipe_is_not_gone_on_with(void **state)
{
    (void)state;
    cst_tmpdir dir;
    make_world(&dir, false);
    trained t = {.dir = &dir, .name = "run", .n_ranks = 1, .stop_after = 2};
    cs_train_result result;
    train_and_stop(&t);
    t.stop_after = 0;
    assert_fails(train(&t, &result), CS_ERR_ARG, "--resume");
    t.resume = true;
    t.overrides[0] = "training.optimizer.learning_rate=0.5";
    assert_fails(train(&t, &result), CS_ERR_ARG, "learning_rate");
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    /* Many small files, each flushed: a disk would take its time. */
    if (csi_dir_exists("/dev/shm")) {
        (void)setenv("TMPDIR", "/dev/shm", 0);
    }
    const struct CMUnitTest tests[] = {
        CST_TEST(a_stopped_run_ends_on_the_same_bits),
        CST_TEST(an_older_step_can_be_gone_on_from),
        CST_TEST(a_damaged_checkpoint_costs_steps_but_no_bits),
        CST_TEST(samples_found_bad_stay_dropped),
        CST_TEST(frozen_modules_pass_through_a_resumed_run_untouched),
        CST_TEST(the_best_step_is_exported_after_a_stop),
        CST_TEST(the_best_step_is_saved_wherever_it_falls),
        CST_TEST(another_recipe_is_not_gone_on_with),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
