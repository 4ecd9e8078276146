/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a bad recipe is told: one case a line, the exact sentence. Cases give
 * the lines of a recipe that differ from a good one:
 *
 *     1 version    2 model    3 data    4 training    5 anything more
 */
#include "cornstarch/config.h"

#include "base/alloc.h"

#include "support/test.h"

#include <string.h>

#define AT          "<memory>:"
#define LM          "language_model: {from: lm}"
#define VISION      "vision: {from: v, placeholder: <i>}"
#define TRAIN       "train: [{path: t.json}]"
#define EVAL        "eval: [{name: held, path: e.json}]"
#define UNSUPPORTED CS_ERR_UNSUPPORTED

typedef struct refusal {
    cs_status code;
    const char *sentence;
    const char *lines[5]; /* NULL: the good one */
} refusal;

static const char *const GOOD[] = {"version: 1", "model: {" LM "}",
                                   "data: {" TRAIN "}",
                                   "training: {max_steps: 9}", ""};

static void check(const refusal *r)
{
    char yaml[4096];
    size_t used = 0;
    cs_config *c = NULL;

    for (int i = 0; i < 5; i++) {
        used += (size_t)snprintf(yaml + used, sizeof yaml - used, "%s\n",
                                 r->lines[i] != NULL ? r->lines[i] : GOOD[i]);
    }
    const cs_status st = cs_config_parse(yaml, used, ".", NULL, 0, &c);

    assert_string_equal(st == CS_OK ? "accepted" : cs_error_message(),
                        r->sentence);
    assert_int_equal(st, r->code);
    assert_null(c);
}

static void check_all(const refusal *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check(&all[i]);
    }
}

#define CHECK_ALL(all) check_all((all), sizeof(all) / sizeof((all)[0]))

static void yaml_outside_the_subset_is_refused(void **state)
{
    (void)state;
    static const refusal all[] = {
        {CS_ERR_FORMAT,
         AT "5:7: anchors are not offered",
         {[4] = "seed: &a 5"}},
        {CS_ERR_FORMAT,
         AT "5:7: anchors are not offered",
         {[4] = "name: &a {}"}},
        {CS_ERR_FORMAT, AT "5:7: aliases are not offered", {[4] = "name: *a"}},
        {CS_ERR_FORMAT,
         AT "5:7: tags are not offered",
         {[4] = "seed: !!int 5"}},
        {CS_ERR_FORMAT, AT "5:7: tags are not offered", {[4] = "name: !x [1]"}},
        {CS_ERR_FORMAT,
         AT "5:1: duplicate key 'version'",
         {[4] = "version: 1"}},
        {CS_ERR_FORMAT,
         AT "4:26: duplicate key 'max_steps'",
         {[3] = "training: {max_steps: 1, max_steps: 1}"}},
        {CS_ERR_FORMAT,
         AT "5:1: a second document; wanted one",
         {[4] = "---\nseed: 1"}},
        {CS_ERR_FORMAT,
         AT "1:1: directives are not offered",
         {[0] = "%YAML 1.1\n---\nversion: 1"}},
        {CS_ERR_FORMAT,
         AT "5:3: a mapping or list as key; wanted a text",
         {[4] = "? [a]\n: 1"}},
        {CS_ERR_FORMAT,
         AT "5:1: a key of 0 bytes; wanted 1 to 128 bytes",
         {[4] = "\"\": 1"}},
        {CS_ERR_FORMAT,
         AT "5:7: a NUL byte in a text",
         {[4] = "name: \"a\\0b\""}},
        {CS_ERR_FORMAT,
         AT "7:1: not YAML: did not find expected ',' or '}' (while parsing a "
            "flow mapping)",
         {[4] = "seed: {a: 1\n"}},
        {CS_ERR_FORMAT,
         "<memory>: byte 110: not YAML: invalid leading UTF-8 octet",
         {[4] = "name: \xff"}},
    };
    CHECK_ALL(all);
}

static void nesting_is_refused_while_it_is_read(void **state)
{
    (void)state;
    enum {
        N = 200 * 1024
    };
    char *const yaml = csi_malloc(N);
    cs_config *c = NULL;

    assert_non_null(yaml);
    memset(yaml, '[', N);
    assert_fails(cs_config_parse(yaml, N, ".", NULL, 0, &c), CS_ERR_FORMAT,
                 "<memory>:1:33: nested deeper than 32 mappings and lists");
    for (int i = 0; i + 1 < N; i += 2) {
        memcpy(yaml + i, "- ", 2);
    }
    assert_fails(cs_config_parse(yaml, N, ".", NULL, 0, &c), CS_ERR_FORMAT,
                 "<memory>:1:65: nested deeper");
    csi_free(yaml);

    const char *const deep[] = {"a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
                                "a.a.a.a.a.a.a=[[[1]]]"};
    assert_fails(cs_config_parse("a: 1", 4, ".", deep, 1, &c), CS_ERR_ARG,
                 "nested deeper than 32");
}

static void size_is_refused(void **state)
{
    (void)state;
    enum {
        TOO_BIG = (1 << 20) + 1
    };
    char *const yaml = csi_malloc(TOO_BIG);
    cs_config *c = NULL;

    assert_non_null(yaml);
    memset(yaml, ' ', TOO_BIG);
    assert_fails(cs_config_parse(yaml, TOO_BIG, ".", NULL, 0, &c),
                 CS_ERR_FORMAT,
                 "<memory>: 1048577 bytes; a recipe has at most 1048576");
    assert_fails(cs_config_parse(yaml, TOO_BIG - 1, ".", NULL, 0, &c),
                 CS_ERR_FORMAT, "wanted a value, got none");
    memcpy(yaml, "a: [", 4);
    for (int i = 4; i + 1 < TOO_BIG; i += 2) {
        memcpy(yaml + i, "x,", 2);
    }
    assert_fails(cs_config_parse(yaml, TOO_BIG - 1, ".", NULL, 0, &c),
                 CS_ERR_FORMAT, "more than 65536 values");
    csi_free(yaml);
}

static void unknown_and_missing_keys_are_named(void **state)
{
    (void)state;
    static const refusal all[] = {
        {CS_ERR_ARG,
         AT "5:1: unknown key 'sed'; did you mean 'seed'?",
         {[4] = "sed: 5"}},
        {CS_ERR_ARG, AT "5:1: unknown key 'zzzzzz'", {[4] = "zzzzzz: 5"}},
        {CS_ERR_ARG,
         AT "4:25: unknown key 'training.optimizer.learning_rte'; did you mean "
            "'learning_rate'?",
         {[3] = "training: {optimizer:  {learning_rte: 1}}"}},
        {CS_ERR_ARG,
         AT "4:12: unknown key 'training.learning_rate'; did you mean "
            "'training.optimizer.learning_rate'?",
         {[3] = "training: {learning_rate: 1}"}},
        {CS_ERR_ARG,
         AT "2:39: unknown key 'model.encoders.vision.pol'; did you mean "
            "'pool'?",
         {[1] = "model: {encoders: {vision: {from: v,  pol: 2}}}"}},
        {CS_ERR_ARG,
         AT "3:30: unknown key 'data.train[0].nam'",
         {[2] = "data: {train: [{path: t.json,nam: 3}]}"}},
        {CS_ERR_ARG, AT "1:1: version: missing; wanted 1", {[0] = "seed: 3"}},
        {CS_ERR_ARG,
         AT "3:1: data.train: missing; wanted a list of mappings",
         {[2] = "data: {}"}},
        {CS_ERR_ARG,
         AT "3:16: data.train[0].path: missing; wanted a path",
         {[2] = "data: {train: [{format: llava}]}"}},
        {CS_ERR_ARG,
         AT "3:15: data.train: wanted 1 to 1024 entries, got 0",
         {[2] = "data: {train: []}"}},
        {CS_ERR_ARG,
         AT "2:20: model.encoders.vision.placeholder: missing; wanted a text",
         {[1] = "model: {encoders: {vision: {from: v}}}"}},
    };
    CHECK_ALL(all);
}

static void wrong_types_and_ranges_are_named(void **state)
{
    (void)state;
    static const refusal all[] = {
        {CS_ERR_ARG,
         AT "1:10: version: wanted 1, got '2'",
         {[0] = "version: 2"}},
        {CS_ERR_ARG,
         AT "5:7: seed: wanted an integer >= 0, got '1.0'",
         {[4] = "seed: 1.0"}},
        {CS_ERR_ARG,
         AT "5:7: seed: wanted an integer >= 0, got '-1'",
         {[4] = "seed: -1"}},
        {CS_ERR_ARG,
         AT "5:7: seed: wanted an integer >= 0, got '18446744073709551616'",
         {[4] = "seed: 18446744073709551616"}},
        {CS_ERR_ARG,
         AT "5:7: seed: wanted an integer >= 0, got '010'",
         {[4] = "seed: 010"}},
        {CS_ERR_ARG,
         AT "5:7: seed: wanted an integer >= 0, got the text \"5\"",
         {[4] = "seed: \"5\""}},
        {CS_ERR_ARG,
         AT "5:6: seed: wanted an integer >= 0, got nothing",
         {[4] = "seed:"}},
        {CS_ERR_ARG,
         AT "5:9: device: wanted auto, cpu or cuda, got 'gpu'",
         {[4] = "device: gpu"}},
        {CS_ERR_ARG,
         AT "5:9: device: wanted auto, cpu or cuda, got a list",
         {[4] = "device: [cpu]"}},
        {CS_ERR_ARG,
         AT "5:7: name: wanted a text or null, got '12'; a text needs quotes "
            "here",
         {[4] = "name: 12"}},
        {CS_ERR_ARG,
         AT "5:1: name: wanted the name of a folder, got 'a/b'",
         {[4] = "name: a/b"}},
        {CS_ERR_ARG,
         AT "5:13: output_dir: wanted a path, got null; a text needs quotes "
            "here",
         {[4] = "output_dir: null"}},
        {CS_ERR_ARG,
         AT "5:18: export.at_end: wanted true or false, got 'yes'",
         {[4] = "export: {at_end: yes}"}},
        {CS_ERR_ARG,
         AT "5:9: export: wanted a mapping, got null",
         {[4] = "export: null"}},
        {CS_ERR_ARG,
         AT "4:23: training.max_steps: wanted an integer >= 1 or null, got '0'",
         {[3] = "training: {max_steps: 0}"}},
        {CS_ERR_ARG,
         AT "4:23: training.max_steps: wanted an integer >= 1 or null, got "
            "'1e3'",
         {[3] = "training: {max_steps: 1e3}"}},
        {CS_ERR_ARG,
         AT "4:39: training.optimizer.learning_rate: wanted a number > 0 and "
            "<= 1000, got '0'",
         {[3] = "training: {optimizer: {learning_rate: 0}}"}},
        {CS_ERR_ARG,
         AT "4:39: training.optimizer.learning_rate: wanted a number > 0 and "
            "<= 1000, got '.inf'",
         {[3] = "training: {optimizer: {learning_rate: .inf}}"}},
        {CS_ERR_ARG,
         AT "4:31: training.optimizer.betas: wanted a list of two numbers >= 0 "
            "and < 1, got a list",
         {[3] = "training: {optimizer: {betas: [0.9, 1]}}"}},
        {CS_ERR_ARG,
         AT "4:35: training.optimizer.no_decay: wanted a list of bias, norm or "
            "embedding, got 'head'",
         {[3] = "training: {optimizer: {no_decay: [head]}}"}},
        {CS_ERR_ARG,
         AT "5:25: logging.trace_steps: wanted a list of integers >= 1, got "
            "'0'",
         {[4] = "logging: {trace_steps: [0]}"}},
        {CS_ERR_ARG,
         AT "2:42: model.language_model.freeze: wanted true, false or a list "
            "of regular expressions, got 'no'",
         {[1] = "model: {language_model: {from: a,freeze: no}}"}},
        {CS_ERR_ARG,
         AT "2:34: model.language_model.config: wanted a mapping or null, got "
            "'x'",
         {[1] = "model: {language_model: {config: x}}"}},
        {CS_ERR_ARG,
         AT "2:53: model.language_model.config.n: wanted a value (nothing is "
            "written null), got nothing",
         {[1] = "model: {language_model: {config: {model_type: a, n: }}}"}},
        {CS_ERR_ARG,
         AT "2:38: model.language_model.config.n: wanted an integer of at most "
            "64 bits, got '9223372036854775808'",
         {[1] = "model: {language_model: {config: {n: 9223372036854775808}}}"}},
        {CS_ERR_ARG,
         AT "2:20: model.encoders: wanted a name [a-z][a-z0-9_]* of at most 63 "
            "bytes, got 'Vision'",
         {[1] = "model: {encoders: {Vision: {}}}"}},
        {CS_ERR_ARG,
         AT "3:16: data.train[0]: wanted a mapping, got 't.json'",
         {[2] = "data: {train: [t.json]}"}},
        {CS_ERR_ARG,
         AT "3:42: data.template: wanted auto, plain, chatml, llama3, vicuna "
            "or a .jinja file, got 'foo'",
         {[2] = "data: {" TRAIN ",template: foo}"}},
    };
    CHECK_ALL(all);
}

static void what_has_not_landed_says_what_is_offered(void **state)
{
    (void)state;
    static const refusal all[] = {
        {UNSUPPORTED,
         AT "5:9: unsupported: device: only auto and cpu are offered",
         {[4] = "device: cuda"}},
        {UNSUPPORTED,
         AT
         "2:40: unsupported: model.language_model.lora: only null is offered",
         {[1] = "model: {language_model: {from: a,lora: {r: 8}}}"}},
        {UNSUPPORTED,
         AT "2:43: unsupported: model.language_model.dropout: only 0.0 is "
            "offered",
         {[1] = "model: {language_model: {from: a,dropout: 0.1}}"}},
        {UNSUPPORTED,
         AT "2:58: unsupported: model.language_model.gradient_checkpointing: "
            "only none is offered",
         {[1] = "model: {language_model: {from: a,gradient_checkpointing: "
                "full}}"}},
        {UNSUPPORTED,
         AT "2:57: unsupported: model.encoders.v.lora: only null is offered",
         {[1] = "model: {encoders: {v: {from: v,  placeholder: x,  lora: "
                "{}}}}"}},
        {UNSUPPORTED,
         AT "3:38: unsupported: data.train[0].format: only llava is offered",
         {[2] = "data: {train: [{path: t.json,format: sharegpt}]}"}},
        {UNSUPPORTED,
         AT "3:38: unsupported: data.train[0].weight: only 1.0 is offered",
         {[2] = "data: {train: [{path: t.json,weight: 2}]}"}},
        {UNSUPPORTED,
         AT "3:41: unsupported: data.mixing: only concat is offered",
         {[2] = "data: {train: [{path: t.json}], mixing: weighted}"}},
        {UNSUPPORTED,
         AT "5:22: unsupported: export.merge_lora: only false is offered",
         {[4] = "export: {merge_lora: true}"}},
        {UNSUPPORTED,
         AT "5:23: unsupported: parallel.placement: only single, "
            "modality_parallel and auto are offered",
         {[4] = "parallel: {placement: sharded}"}},
        {UNSUPPORTED,
         AT "5:22: unsupported: parallel.schedule: only gpipe, 1f1b and auto "
            "are offered",
         {[4] = "parallel: {schedule: zero_bubble}"}},
        {UNSUPPORTED,
         AT "5:43: unsupported: parallel.modules.language_model.tp: only 1 is "
            "offered",
         {[4] = "parallel: {modules: {language_model: {tp: 2}}}"}},
        {UNSUPPORTED,
         AT "5:53: unsupported: parallel.modules.language_model.distribution: "
            "only balanced is offered",
         {[4] = "parallel: {modules: {language_model: {distribution: "
                "zigzag}}}"}},
    };
    CHECK_ALL(all);
}

static void keys_that_contradict_each_other_are_named(void **state)
{
    (void)state;
    static const refusal all[] = {
        {CS_ERR_ARG,
         AT "2:9: model.language_model: wanted exactly one of from, preset and "
            "config, got none",
         {[1] = "model: {language_model: {}}"}},
        {CS_ERR_ARG,
         AT "2:9: model.language_model: wanted exactly one of from, preset and "
            "config, got from and config",
         {[1] = "model: {language_model: {from: a, config: {model_type: b}}}"}},
        {CS_ERR_ARG,
         AT "2:26: model.language_model.config.model_type: wanted a text such "
            "as siglip_vision_model",
         {[1] = "model: {language_model: {config: {n: 1}}}"}},
        {CS_ERR_ARG,
         AT "2:20: model.encoders.language_model: the name is taken",
         {[1] = "model: {encoders: {language_model: {from: a, placeholder: "
                "b}}}"}},
        {CS_ERR_ARG,
         AT "2:67: model.encoders.b.placeholder: '<im' and '<img>' of 'a' "
            "cannot be told apart",
         {[1] = "model: {encoders: {a: {from: a, placeholder: <img>}, b: "
                "{from: a, placeholder: <im}}}"}},
        {CS_ERR_ARG,
         AT
         "2:75: model.encoders.a.projector.hidden_size: wanted null, because "
         "a linear projector has no inner width",
         {[1] = "model: {encoders: {a: {from: a, placeholder: x, projector: "
                "{type: linear, hidden_size: 8}}}}"}},
        {CS_ERR_ARG,
         AT "2:61: model.encoders.a.processor.min_pixels: 9 is more than "
            "max_pixels, 8",
         {[1] = "model: {encoders: {a: {from: a, placeholder: x, processor: "
                "{min_pixels: 9, max_pixels: 8}}}}"}},
        {CS_ERR_ARG,
         AT "4:1: training: wanted one of max_steps and num_train_epochs, got "
            "none",
         {[3] = "training: {}"}},
        {CS_ERR_ARG,
         AT "4:26: training.num_train_epochs: wanted exactly one of max_steps "
            "and num_train_epochs, got both",
         {[3] = "training: {max_steps: 1, num_train_epochs: 1}"}},
        {CS_ERR_ARG,
         AT "4:58: training.lr_scheduler.warmup_ratio: wanted at most one of "
            "warmup_steps and warmup_ratio, got both",
         {[3] = "training: {max_steps: 1, lr_scheduler: {warmup_steps: 1, "
                "warmup_ratio: 0}}"}},
        {CS_ERR_ARG,
         AT "3:33: data.max_length: 4097 tokens do not fit in a microbatch of "
            "data.max_tokens_per_microbatch, 4096",
         {[2] = "data: {train: [{path: t.json}], max_length: 4097}"}},
        {CS_ERR_ARG,
         AT "3:69: data.eval[1].name: 'h' is the name of another set",
         {[2] = "data: {" TRAIN ",eval: [{name: h, path: x},{path: y,  name: "
                "h}]}"}},
        {CS_ERR_ARG,
         AT "3:41: data.eval[0].name: wanted letters, digits, _ and -, got "
            "'a b'",
         {[2] = "data: {" TRAIN ",eval: [{ name: a b, path: x}]}"}},
        {CS_ERR_ARG,
         AT "5:14: early_stop.metric: wanted <name of a set of "
            "data.eval>.eval_loss, got 'x.eval_loss'",
         {[2] = "data: {" TRAIN "," EVAL "}",
          [4] = "early_stop: {metric: x.eval_loss}"}},
        {CS_ERR_ARG,
         AT "5:1: early_stop.metric: missing; patience needs it",
         {[4] = "early_stop: {patience: 3}"}},
        {CS_ERR_ARG,
         AT "5:38: early_stop.patience: wanted null, because evaluation.every "
            "is null",
         {[2] = "data: {" TRAIN "," EVAL "}",
          [4] = "early_stop: {metric: held.eval_loss, patience: 3}\n"
                "evaluation: {every: null}"}},
        {CS_ERR_ARG,
         AT "5:10: export.what: best needs a metric in checkpoint.keep_best, "
            "got null",
         {[4] = "export: {what: best}"}},
        {CS_ERR_ARG,
         AT "5:12: parallel.modules: only with parallel.plan: manual",
         {[4] = "parallel: {modules: {language_model: {}}}"}},
        {CS_ERR_ARG,
         AT "5:36: parallel.modules.x: wanted language_model or the name of an "
            "encoder",
         {[4] = "parallel: {plan: manual, modules: {x: {}}}"}},
        {CS_ERR_ARG,
         AT "5:61: parallel.modules.language_model.cuts: wanted the first "
            "layers of 2 stages, got 1",
         {[4] = "parallel: {plan: manual, modules: {language_model: {pp: 2,  "
                "cuts: [0]}}}"}},
        {CS_ERR_ARG,
         AT "5:60: parallel.modules.language_model.cuts: wanted 0 and then "
            "rising layers, got 0 at index 1",
         {[4] = "parallel: {plan: manual, modules: {language_model: {pp: 2, "
                "cuts: [0, 0]}}}"}},
    };
    CHECK_ALL(all);
}

static void bad_overrides_are_named(void **state)
{
    (void)state;
    static const struct {
        cs_status code;
        const char *override, *sentence;
    } all[] = {
        {CS_ERR_ARG, "a", "override 'a': wanted key=value, got no '='"},
        {CS_ERR_ARG, "=1", "override '=1': a key of 0 bytes; wanted 1 to 128"},
        {CS_ERR_ARG, "data.=1",
         "override 'data.=1': a key of 0 bytes; wanted 1 to 128"},
        {CS_ERR_ARG, "data.train[x]=1",
         "override 'data.train[x]=1': wanted an index such as [0]"},
        {CS_ERR_ARG, "data.train[0]x=1",
         "override 'data.train[0]x=1': wanted '.', '[' or '=' before 'x=1'"},
        {CS_ERR_ARG, "data.train[2].path=x",
         "override 'data.train[2].path=x': index 2, but the list has 1 "
         "entries"},
        {CS_ERR_ARG, "data[0]=x",
         "override 'data[0]=x': 'data' is a mapping, not a list"},
        {CS_ERR_ARG, "version.x=1",
         "override 'version.x=1': 'version' is '1', not a mapping"},
        {CS_ERR_ARG, "training.max_stps=3",
         "override 'training.max_stps=3': unknown key 'training.max_stps'; did "
         "you mean 'max_steps'?"},
        {CS_ERR_ARG, "training.max_steps=x",
         "override 'training.max_steps=x': training.max_steps: wanted an "
         "integer >= 1 or null, got 'x'"},
        {CS_ERR_ARG, "seed=", "override 'seed=': wanted a value, got none"},
        {CS_ERR_ARG, "seed=&a 1",
         "override 'seed=&a 1': anchors are not offered"},
        {CS_ERR_ARG, "training.num_train_epochs=1",
         "override 'training.num_train_epochs=1': training.num_train_epochs: "
         "wanted exactly one of max_steps and num_train_epochs, got both"},
        {UNSUPPORTED, "device=cuda",
         "override 'device=cuda': unsupported: device: only auto and cpu are "
         "offered"},
    };
    char yaml[1024];
    cs_config *c = NULL;

    (void)snprintf(yaml, sizeof yaml, "%s\n%s\n%s\n%s\n", GOOD[0], GOOD[1],
                   GOOD[2], GOOD[3]);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const cs_status st =
            cs_config_parse(yaml, strlen(yaml), ".", &all[i].override, 1, &c);

        assert_string_equal(st == CS_OK ? "accepted" : cs_error_message(),
                            all[i].sentence);
        assert_int_equal(st, all[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(yaml_outside_the_subset_is_refused),
        CST_TEST(nesting_is_refused_while_it_is_read),
        CST_TEST(size_is_refused),
        CST_TEST(unknown_and_missing_keys_are_named),
        CST_TEST(wrong_types_and_ranges_are_named),
        CST_TEST(what_has_not_landed_says_what_is_offered),
        CST_TEST(keys_that_contradict_each_other_are_named),
        CST_TEST(bad_overrides_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
