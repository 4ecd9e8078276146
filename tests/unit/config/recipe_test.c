/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a good recipe becomes: defaults, every shape of the format, overrides,
 * paths, the printed form and the hash.
 */
#include "cornstarch/config.h"

#include "base/alloc.h"
#include "base/file.h"

#include "support/test.h"

#include <math.h>
#include <string.h>

static const char SMALL[] =
    "version: 1\n"
    "model:\n"
    "  encoders:\n"
    "    vision: {from: ../siglip, placeholder: \"<image>\"}\n"
    "  language_model: {from: lm}\n"
    "data:\n"
    "  train: [{path: train.json}]\n"
    "training: {max_steps: 100}\n";

/* Every key of the format, with what is offered of it. */
static const char WHOLE[] =
    "# a comment\n"
    "version: 1\n"
    "name: stamps-listen\n"
    "output_dir: runs\n"
    "seed: 18446744073709551615\n"
    "device: cpu\n"
    "model:\n"
    "  attention: prefix_lm\n"
    "  encoders:\n"
    "    vision:\n"
    "      from: ../siglip\n"
    "      freeze: [\"layers\\\\.[0-3]\\\\.\", embeddings]\n"
    "      placeholder: \"<image>\"\n"
    "      feature_layer: -2\n"
    "      feature_select: default\n"
    "      pool: 2\n"
    "      stack: 3\n"
    "      processor: {image_size: 224, min_pixels: 16, max_pixels: null}\n"
    "      gradient_checkpointing: none\n"
    "      lora: null\n"
    "      projector: {from: null, type: mlp, activation: relu,\n"
    "                  hidden_size: 96, freeze: true}\n"
    "    audio:\n"
    "      config: {model_type: whisper, d_model: 192, eps: 1e-5,\n"
    "               deep: {a: [1, 2.5, \"x\\ty\", null, true]}}\n"
    "      placeholder: \"<audio>\"\n"
    "      processor: {sampling_rate: 16000, max_seconds: 30}\n"
    "      projector: {type: linear}\n"
    "  language_model:\n"
    "    from: ../runs/caption/model/language_model\n"
    "    tokenizer: tok\n"
    "    freeze: true\n"
    "    dropout: 0.0\n"
    "    gradient_checkpointing: none\n"
    "    lora: null\n"
    "data:\n"
    "  template: chatml\n"
    "  train_on_prompt: true\n"
    "  train:\n"
    "    - {path: a.json, format: llava, media_root: images, weight: 1.0,\n"
    "       max_samples: 10}\n"
    "    - path: sub/b.json\n"
    "  mixing: concat\n"
    "  eval:\n"
    "    - {name: heldout, path: heldout.json, media_root: /media}\n"
    "  max_length: 1024\n"
    "  too_long: truncate\n"
    "  bad_sample: skip\n"
    "  packing: false\n"
    "  max_tokens_per_microbatch: 512\n"
    "  shuffle: false\n"
    "  num_workers: 0\n"
    "training:\n"
    "  num_train_epochs: 1.5\n"
    "  global_batch_size: 8\n"
    "  microbatches: 4\n"
    "  precision: bf16\n"
    "  max_grad_norm: null\n"
    "  optimizer: {name: adamw, learning_rate: 2e-4, betas: [0.8, 0.95],\n"
    "              eps: 1.0e-6, weight_decay: 0, no_decay: [norm]}\n"
    "  lr_scheduler: {name: linear, warmup_ratio: 0.1, min_lr_ratio: 0.5}\n"
    "  modules:\n"
    "    audio: {learning_rate: 5.0e-4}\n"
    "    \"vision\\\\.projector\\\\..*\": {weight_decay: 0.5}\n"
    "  non_finite: skip\n"
    "evaluation: {every: 50, at_end: false, max_samples: 9, generate: 0}\n"
    "early_stop: {metric: heldout.eval_loss, patience: 3, min_delta: 0.01}\n"
    "checkpoint: {every: null, keep: 1, keep_best: heldout.eval_loss,\n"
    "             async: false, resume: auto}\n"
    "export: {at_end: false, what: best, merge_lora: false}\n"
    "logging: {every: 5, tensorboard: false, trace_steps: [2, 7],\n"
    "          report: false}\n"
    "parallel:\n"
    "  plan: manual\n"
    "  placement: single\n"
    "  schedule: gpipe\n"
    "  dp: 2\n"
    "  zero: 0\n"
    "  peer_timeout_s: 10\n"
    "  action_timeout_s: 60\n"
    "  modules:\n"
    "    vision: {tp: 1, cp: 1, pp: 1, cuts: null}\n"
    "    language_model: {pp: 2, cuts: [0, 12], distribution: balanced,\n"
    "                     exchange: needed, sequence_parallel: true}\n";

static cs_status parse_with(const char *yaml, const char *override,
                            cs_config **out)
{
    return cs_config_parse(yaml, strlen(yaml), "dir", &override,
                           override != NULL ? 1 : 0, out);
}

static void what_is_not_given_has_its_default(void **state)
{
    (void)state;
    cs_config *c = NULL;

    assert_ok(parse_with(SMALL, NULL, &c));
    assert_string_equal(c->name, "run");
    assert_string_equal(c->output_dir, "dir/runs");
    assert_int_equal(c->seed, 42);
    assert_int_equal(c->device, CS_DEVICE_AUTO);
    assert_int_equal(c->model.attention, CS_MASK_ISLANDS);
    assert_int_equal(c->model.n_encoders, 1);

    const cs_encoder_config *const e = c->model.encoders;
    assert_string_equal(e->name, "vision");
    assert_string_equal(e->from, "dir/../siglip");
    assert_null(e->preset);
    assert_null(e->hf_config_json);
    assert_false(e->freeze.all);
    assert_int_equal(e->feature_layer, -1);
    assert_int_equal(e->feature_select, CS_FEATURE_FULL);
    assert_int_equal(e->pool, 1);
    assert_int_equal(e->stack, 0);
    assert_int_equal(e->processor.image_size, 0);
    assert_true(e->processor.max_seconds == 0);
    assert_int_equal(e->projector.type, CS_PROJECTOR_MLP);
    assert_string_equal(e->projector.activation, "gelu");
    assert_int_equal(e->projector.hidden_size, 0);
    assert_null(c->model.language_model.tokenizer);

    assert_string_equal(c->data.template_name, "auto");
    assert_int_equal(c->data.n_train, 1);
    assert_string_equal(c->data.train[0].path, "dir/train.json");
    assert_string_equal(c->data.train[0].media_root, "dir");
    assert_true(c->data.train[0].weight == 1.0);
    assert_int_equal(c->data.n_eval, 0);
    assert_int_equal(c->data.max_length, 2048);
    assert_true(c->data.packing);
    assert_true(c->data.shuffle);

    assert_int_equal(c->training.max_steps, 100);
    assert_true(c->training.num_train_epochs == 0);
    assert_int_equal(c->training.global_batch_size, 64);
    assert_int_equal(c->training.microbatches, 0);
    assert_int_equal(c->training.precision, CS_PRECISION_F32);
    assert_true(c->training.learning_rate == 1e-4);
    assert_true(c->training.beta1 == 0.9 && c->training.beta2 == 0.999);
    assert_true(c->training.no_decay_bias && c->training.no_decay_norm &&
                c->training.no_decay_embedding);
    assert_true(c->training.warmup_ratio < 0);
    assert_int_equal(c->evaluation.every, 200);
    assert_null(c->early_stop.metric);
    assert_int_equal(c->checkpoint.keep, 3);
    assert_null(c->checkpoint.keep_best);
    assert_int_equal(c->logging.n_trace_steps, 1);
    assert_int_equal(c->logging.trace_steps[0], 5);
    assert_int_equal(c->parallel.plan, CS_PLAN_AUTO);
    assert_int_equal(c->parallel.placement, CS_PLACEMENT_MODALITY_PARALLEL);
    assert_int_equal(c->parallel.schedule, CS_SCHEDULE_1F1B);
    assert_int_equal(c->parallel.dp, 0);
    assert_int_equal(c->parallel.zero, 1);
    assert_true(c->parallel.action_timeout_s == 600);
    cs_config_destroy(&c);
    assert_null(c);
    cs_config_destroy(&c);
}

static void every_shape_of_the_format_is_read(void **state)
{
    (void)state;
    cs_config *c = NULL;

    assert_ok(parse_with(WHOLE, NULL, &c));
    assert_true(c->seed == UINT64_MAX);
    assert_int_equal(c->device, CS_DEVICE_CPU);
    assert_int_equal(c->model.attention, CS_MASK_PREFIX_LM);
    assert_int_equal(c->model.n_encoders, 2);

    const cs_encoder_config *const v = &c->model.encoders[0];
    assert_int_equal(v->freeze.n_patterns, 2);
    assert_string_equal(v->freeze.patterns[0], "layers\\.[0-3]\\.");
    assert_int_equal(v->feature_select, CS_FEATURE_DEFAULT);
    assert_int_equal(v->pool, 2);
    assert_int_equal(v->stack, 3);
    assert_int_equal(v->feature_layer, -2);
    assert_int_equal(v->processor.image_size, 224);
    assert_int_equal(v->processor.max_pixels, 0);
    assert_int_equal(v->projector.hidden_size, 96);
    assert_true(v->projector.freeze);

    const cs_encoder_config *const a = &c->model.encoders[1];
    assert_string_equal(a->name, "audio");
    assert_string_equal(
        a->hf_config_json,
        "{\"model_type\": \"whisper\", \"d_model\": 192, \"eps\": 1e-05, "
        "\"deep\": {\"a\": [1, 2.5, \"x\\u0009y\", null, true]}}");
    assert_int_equal(a->processor.sampling_rate, 16000);
    assert_true(a->processor.max_seconds == 30);
    assert_int_equal(a->projector.type, CS_PROJECTOR_LINEAR);
    assert_true(c->model.language_model.freeze.all);
    assert_string_equal(c->model.language_model.tokenizer, "dir/tok");

    assert_int_equal(c->data.n_train, 2);
    assert_int_equal(c->data.train[0].max_samples, 10);
    assert_string_equal(c->data.train[0].media_root, "dir/images");
    assert_string_equal(c->data.train[1].media_root, "dir/sub");
    assert_string_equal(c->data.eval[0].media_root, "/media");
    assert_int_equal(c->data.too_long, CS_TOO_LONG_TRUNCATE);
    assert_int_equal(c->data.bad_sample, CS_BAD_SAMPLE_SKIP);
    assert_true(c->training.num_train_epochs == 1.5);
    assert_true(c->training.max_grad_norm == 0);
    assert_true(c->training.no_decay_norm && !c->training.no_decay_bias);
    assert_true(c->training.warmup_ratio == 0.1);
    assert_int_equal(c->training.n_overrides, 2);
    assert_string_equal(c->training.overrides[1].pattern,
                        "vision\\.projector\\..*");
    assert_true(isnan(c->training.overrides[1].learning_rate));
    assert_true(c->training.overrides[1].weight_decay == 0.5);
    assert_int_equal(c->checkpoint.every, 0);
    assert_true(c->checkpoint.resume_auto && c->export_.best);
    assert_int_equal(c->logging.trace_steps[1], 7);
    assert_int_equal(c->parallel.plan, CS_PLAN_MANUAL);
    assert_int_equal(c->parallel.modules[1].n_cuts, 2);
    assert_int_equal(c->parallel.modules[1].cuts[1], 12);
    cs_config_destroy(&c);
}

static void printed_recipe_reads_back_as_itself(void **state)
{
    (void)state;
    const char *const recipes[] = {SMALL, WHOLE};

    for (int i = 0; i < 2; i++) {
        cs_config *first = NULL;
        cs_config *second = NULL;
        char *text = NULL;
        char *again = NULL;
        char hash[2][17];

        assert_ok(parse_with(recipes[i], NULL, &first));
        assert_ok(cs_config_print(first, &text));
        assert_ok(parse_with(text, NULL, &second));
        assert_ok(cs_config_print(second, &again));
        assert_string_equal(text, again);
        cs_config_hash(first, hash[0]);
        cs_config_hash(second, hash[1]);
        assert_string_equal(hash[0], hash[1]);
        csi_free(text);
        csi_free(again);
        cs_config_destroy(&first);
        cs_config_destroy(&second);
    }
}

static void awkward_texts_survive_printing(void **state)
{
    (void)state;
    static const char *const texts[] = {"\"null\"",
                                        "\"1e-4\"",
                                        "\"true\"",
                                        "\"a: b # c\"",
                                        "\"\\u2028\\u0085\\uFEFF\\x7f\"",
                                        "\"\\\\ \\\" '\"",
                                        "\"\\U0001F600 \\n\"",
                                        "\"- x\""};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char override[128];
        cs_config *first = NULL;
        cs_config *second = NULL;
        char *text = NULL;

        (void)snprintf(override, sizeof override,
                       "model.encoders.vision.placeholder=%s", texts[i]);
        assert_ok(parse_with(SMALL, override, &first));
        assert_ok(cs_config_print(first, &text));
        assert_ok(parse_with(text, NULL, &second));
        assert_string_equal(first->model.encoders[0].placeholder,
                            second->model.encoders[0].placeholder);
        csi_free(text);
        cs_config_destroy(&first);
        cs_config_destroy(&second);
    }
}

static void overrides_reach_every_kind_of_place(void **state)
{
    (void)state;
    static const char *const overrides[] =
        {"training.max_steps=20",
         "data.train[0].path=x.json",
         "data.train[1]={path: y.json, media_root: m}",
         "data.eval[0].name=held",
         "data.eval[0].path=z.json",
         "model.encoders.audio.config.model_type=whisper",
         "model.encoders.audio.config.sizes[0]=7",
         "model.encoders.audio.placeholder=<audio>",
         "training.optimizer={learning_rate: 1e-3}",
         "name=override",
         "output_dir=out"};
    cs_config *c = NULL;

    assert_ok(cs_config_parse(SMALL, strlen(SMALL), "dir", overrides, 11, &c));
    assert_int_equal(c->training.max_steps, 20);
    assert_int_equal(c->data.n_train, 2);
    assert_string_equal(c->data.train[0].path, "x.json");
    assert_string_equal(c->data.train[0].media_root, ".");
    assert_string_equal(c->data.train[1].media_root, "m");
    assert_string_equal(c->data.eval[0].path, "z.json");
    assert_int_equal(c->model.n_encoders, 2);
    assert_string_equal(c->model.encoders[1].hf_config_json,
                        "{\"model_type\": \"whisper\", \"sizes\": [7]}");
    assert_true(c->training.learning_rate == 1e-3);
    assert_true(c->training.weight_decay == 0.01);
    assert_string_equal(c->name, "override");
    assert_string_equal(c->output_dir, "out");
    /* What the recipe itself says still starts at its folder. */
    assert_string_equal(c->model.language_model.from, "dir/lm");
    cs_config_destroy(&c);
}

static void the_file_gives_name_and_folder(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_config *c = NULL;
    char wanted[CST_PATH_BYTES + 32];

    cst_tmpdir_make(&dir);
    const char *const path = cst_write_text(&dir, "1-caption.yaml", SMALL);

    assert_ok(cs_config_load(path, NULL, 0, &c));
    assert_string_equal(c->name, "1-caption");
    assert_string_equal(c->path, path);
    assert_string_equal(c->base_dir, dir.path);
    (void)snprintf(wanted, sizeof wanted, "%s/train.json", dir.path);
    assert_string_equal(c->data.train[0].path, wanted);
    cs_config_destroy(&c);
    assert_fails(cs_config_load(cst_path(&dir, "none.yaml"), NULL, 0, &c),
                 CS_ERR_IO, "none.yaml");
    cst_tmpdir_remove(&dir);
}

static void hash_of(const char *override, char out[17])
{
    cs_config *c = NULL;

    assert_ok(parse_with(SMALL, override, &c));
    cs_config_hash(c, out);
    cs_config_destroy(&c);
}

static void hash_follows_the_numbers_only(void **state)
{
    (void)state;
    static const char *const same[] =
        {"name=other",
         "output_dir=x",
         "device=cpu",
         "logging.every=7",
         "checkpoint.every=null",
         "parallel.dp=2",
         "evaluation.every=3",
         "data.num_workers=0",
         "training.max_steps=100",
         "data.train[0].path=elsewhere/train.json"};
    static const char *const other[] = {"seed=43",
                                        "training.max_steps=101",
                                        "data.train[0].path=other.json",
                                        "data.max_length=2047",
                                        "model.attention=causal",
                                        "model.encoders.vision.freeze=true",
                                        "model.encoders.vision.from=clip",
                                        "training.optimizer.betas=[0.9, 0.99]",
                                        "training.precision=bf16"};
    char base[17];
    char got[17];

    hash_of(NULL, base);
    assert_int_equal(strlen(base), 16);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        hash_of(same[i], got);
        assert_string_equal(got, base);
    }
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        hash_of(other[i], got);
        assert_string_not_equal(got, base);
    }
}

static cs_status load_print_explain(void *arg)
{
    const char *const override = "training.modules.audio.weight_decay=0.1";
    cs_config *c = NULL;
    char *text = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_config_load(arg, &override, 1, &c));
    CS_TRY_GOTO(done, cs_config_print(c, &text));
    csi_free(text);
    text = NULL;
    CS_TRY_GOTO(done, cs_config_explain("logging", true, &text));
    csi_free(text);
done:
    cs_config_destroy(&c);
    return st;
}

static void every_failed_allocation_leaves_nothing_behind(void **state)
{
    (void)state;
    cst_tmpdir dir;
    char path[CST_PATH_BYTES];

    cst_tmpdir_make(&dir);
    (void)snprintf(path, sizeof path, "%s",
                   cst_write_text(&dir, "whole.yaml", WHOLE));
    assert_true(cst_torture(load_print_explain, path) > 20);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(what_is_not_given_has_its_default),
        CST_TEST(every_shape_of_the_format_is_read),
        CST_TEST(printed_recipe_reads_back_as_itself),
        CST_TEST(awkward_texts_survive_printing),
        CST_TEST(overrides_reach_every_kind_of_place),
        CST_TEST(the_file_gives_name_and_folder),
        CST_TEST(hash_follows_the_numbers_only),
        CST_TEST(every_failed_allocation_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
