/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about data sets: which tokens and labels a sample becomes, what is
 * refused and with which sentence, what is skipped and counted. */
#include "cornstarch/log.h"

#include "base/alloc.h"

#include "world.h"

static const char PAIR[] =
    "[{\"id\": \"x\", \"image\": \"a.png\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\\nWhat?\"},"
    "{\"from\": \"gpt\", \"value\": \"ok\"}]},\n"
    " {\"id\": 7, \"audio\": [\"b.wav\"], \"images\": [\"a.png\"],"
    " \"source\": {\"ignored\": true}, \"conversations\": ["
    "{\"from\": \"system\", \"value\": \"S\"},"
    "{\"from\": \"user\", \"value\": \"<audio><image>Hm\"},"
    "{\"from\": \"assistant\", \"value\": \"a\"},"
    "{\"from\": \"user\", \"value\": \"q\"},"
    "{\"from\": \"assistant\", \"value\": \"b\"}]}]\n";

static cs_dataset *open_text(world *w, const char *json)
{
    cs_dataset *dataset = NULL;

    (void)cst_write_text(&w->dir, "train.json", json);
    assert_ok(cs_dataset_open(&w->options, &dataset));
    return dataset;
}

static cs_status try_text(world *w, const char *json)
{
    cs_dataset *dataset = NULL;

    (void)cst_write_text(&w->dir, "train.json", json);
    const cs_status st = cs_dataset_open(&w->options, &dataset);

    cs_dataset_destroy(&dataset);
    return st;
}

static void check_run(const cs_index_run *run, int32_t modality,
                      int32_t llm_rows, int32_t label_tokens, int32_t is_prompt)
{
    assert_int_equal(run->modality, modality);
    assert_int_equal(run->llm_rows, llm_rows);
    assert_int_equal(run->label_tokens, label_tokens);
    assert_int_equal(run->is_prompt, is_prompt);
}

static void the_plain_template_gives_these_tokens_and_labels(void **state)
{
    /* bos, 4 rows, "\nWhat?\n", "ok", eos; what is learned is "ok" and eos */
    static const int32_t IDS[] = {BOS, -1,  -1,  -1,   -1,  '\n', 'W', 'h',
                                  'a', 't', '?', '\n', 'o', 'k',  EOS};
    static const int32_t LABELS[] = {-100, -100, -100, -100, -100,
                                     -100, -100, -100, -100, -100,
                                     -100, 'o',  'k',  EOS,  -100};
    world w;
    int32_t ids[15];
    int32_t labels[15];

    (void)state;
    world_open(&w);
    cs_dataset *dataset = open_text(&w, PAIR);
    const cs_index_view *const view = cs_dataset_index(dataset);

    assert_int_equal(view->n_samples, 2);
    assert_int_equal(view->n_modalities, 2);
    assert_int_equal(view->samples[0].n_tokens, 15);
    assert_int_equal(view->samples[0].label_tokens, 3);
    assert_int_equal(view->samples[0].n_runs, 4);
    check_run(&view->runs[0], -1, 1, 0, 1);
    check_run(&view->runs[1], 0, IMAGE_ROWS, 0, 1);
    check_run(&view->runs[2], -1, 7, 1, 1); /* "\n" predicts "o" */
    check_run(&view->runs[3], -1, 3, 2, 0);
    assert_int_equal(view->runs[1].encoder_rows, IMAGE_ROWS);
    assert_true(view->runs[1].content_hash != 0);
    assert_ok(cs_dataset_tokens(dataset, 0, ids, labels));
    assert_memory_equal(ids, IDS, sizeof IDS);
    assert_memory_equal(labels, LABELS, sizeof LABELS);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void turns_and_items_keep_their_order(void **state)
{
    /* bos "S\n" audio image "Hm\n" "a" eos "q\n" "b" eos */
    static const int32_t IDS[] = {BOS,  'S', '\n', -1,  -1,   -1,  -1,
                                  -1,   -1,  -1,   -1,  -1,   'H', 'm',
                                  '\n', 'a', EOS,  'q', '\n', 'b', EOS};
    world w;
    int32_t ids[21];
    int32_t labels[21];
    int32_t n_labels = 0;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = open_text(&w, PAIR);
    const cs_index_view *const view = cs_dataset_index(dataset);
    const cs_index_sample *const s = &view->samples[1];
    const cs_index_run *const runs = view->runs + s->first_run;

    assert_int_equal(s->n_tokens, 21);
    assert_int_equal(s->label_tokens, 4);
    assert_int_equal(s->n_runs, 5);
    check_run(&runs[0], -1, 3, 0, 1);
    check_run(&runs[1], 1, AUDIO_ROWS, 0, 1);
    check_run(&runs[2], 0, IMAGE_ROWS, 0, 1);
    check_run(&runs[3], -1, 3, 1, 1);
    check_run(&runs[4], -1, 6, 3, 0);
    assert_int_equal(runs[1].input_rows, 2 * AUDIO_ROWS);
    assert_ok(cs_dataset_tokens(dataset, 1, ids, labels));
    assert_memory_equal(ids, IDS, sizeof IDS);
    assert_int_equal(labels[14], 'a');
    assert_int_equal(labels[15], EOS);
    assert_int_equal(labels[16], -100);
    assert_int_equal(labels[18], 'b');
    for (int i = 0; i < 21; i++) {
        n_labels += labels[i] != -100;
    }
    assert_int_equal(n_labels, 4);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void training_on_the_prompt_learns_all_text(void **state)
{
    world w;
    int32_t ids[15];
    int32_t labels[15];

    (void)state;
    world_open(&w);
    w.config.data.train_on_prompt = true;
    cs_dataset *dataset = open_text(&w, PAIR);
    const cs_index_view *const view = cs_dataset_index(dataset);

    /* all but bos, also the first text after the picture */
    assert_int_equal(view->samples[0].label_tokens, 10);
    check_run(&view->runs[1], 0, IMAGE_ROWS, 1, 1);
    assert_ok(cs_dataset_tokens(dataset, 0, ids, labels));
    assert_int_equal(labels[0], -100);
    assert_int_equal(labels[4], '\n');
    assert_int_equal(labels[5], 'W');
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void media_come_back_as_rows(void **state)
{
    world w;
    float picture[IMAGE_ROWS * 12];
    float sound[2 * AUDIO_ROWS * N_MELS];
    char *path = NULL;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = open_text(&w, PAIR);

    assert_int_equal(cs_dataset_processor(dataset, 0)->columns, 12);
    assert_int_equal(cs_dataset_processor(dataset, 1)->columns, N_MELS);
    assert_null(cs_dataset_processor(dataset, 2));
    assert_ok(cs_dataset_media(dataset, 0, 1, picture));
    assert_near(picture[0], 1.0, 0.3); /* red on the left, green right */
    assert_ok(cs_dataset_media(dataset, 1, 5, sound));
    assert_ok(cs_dataset_media_path(dataset, 1, 5, &path));
    assert_string_equal(path, cst_path(&w.dir, "b.wav"));
    csi_free(path);
    assert_fails(cs_dataset_media(dataset, 0, 2, picture), CS_ERR_ARG,
                 "run 2 is no picture or recording of sample 0");
    assert_fails(cs_dataset_media(dataset, 0, 5, picture), CS_ERR_ARG,
                 "of sample 0");
    assert_fails(cs_dataset_media(dataset, 2, 5, picture), CS_ERR_ARG,
                 "sample 2 of a dataset of 2");
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void samples_are_described_in_their_own_words(void **state)
{
    world w;
    char *id = NULL;
    char *prompt = NULL;
    char *answer = NULL;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = open_text(&w, PAIR);

    assert_ok(cs_dataset_describe(dataset, 0, &id, &prompt, &answer));
    assert_string_equal(id, "x");
    assert_string_equal(prompt, "<image>\nWhat?");
    assert_string_equal(answer, "ok");
    csi_free(id);
    csi_free(prompt);
    csi_free(answer);
    assert_ok(cs_dataset_describe(dataset, 1, &id, &prompt, &answer));
    assert_string_equal(id, "7");
    assert_string_equal(prompt, "<audio><image>Hm");
    assert_string_equal(answer, "a");
    csi_free(id);
    csi_free(prompt);
    csi_free(answer);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

#define TURNS                                               \
    "\"conversations\": [{\"from\": \"human\", \"value\": " \
    "\"<image>?\"}, {\"from\": \"gpt\", \"value\": \"ok\"}]"

static void bad_samples_are_named(void **state)
{
    static const struct {
        const char *json, *part;
    } CASES[] = {
        {"[{\"id\": \"x\", \"image\": \"a.png\", \"conversations\": "
         "[{\"from\": "
         "\"human\", \"value\": \"<image><image>\"}, {\"from\": \"gpt\", "
         "\"value\": \"ok\"}]}]",
         "train.json:1: sample 0 (id \"x\"): 2 <image> placeholders, 1 image"},
        {"[\n\n{\"id\": 3, " TURNS "}]",
         "train.json:3: sample 0 (id 3): 1 <image> placeholder, 0 images"},
        {"[{\"image\": \"none.png\", " TURNS "}]", "none.png"},
        {"[{\"image\": \"train.json\", " TURNS "}]",
         "train.json:1: sample 0: "},
        {"[{\"image\": 3, " TURNS "}]",
         "key 'image': wanted a path or a list of paths"},
        {"[{\"image\": [\"a.png\", 4], " TURNS "}]", "key 'image'"},
        {"[{\"conversations\": []}]", "'conversations' is empty"},
        {"[{\"conversations\": {}}]", "wanted array"},
        {"[{\"id\": \"y\"}]", "sample 0 (id \"y\"): key 'conversations'"},
        {"[{\"conversations\": [{\"from\": \"cat\", \"value\": \"x\"}]}]",
         "got 'cat'"},
        {"[{\"conversations\": [{\"from\": \"gpt\", \"value\": \" \\n\"}]}]",
         "an answer is empty"},
        {"[{\"conversations\": [{\"from\": \"human\", \"value\": \"x\"}]}]",
         "no label tokens (nothing that the assistant says)"},
        {"[{\"conversations\": [{\"from\": \"human\"}]}]", "'value'"},
        {"[3]", "wanted a sample ('{'), got '3'"},
        {"{\"image\": \"a.png\", " TURNS "},",
         "after 1 samples: wanted a sample ('{'), got ','"},
        {"[{\"image\": \"a.png\", " TURNS "}", "the file ends after 1 samples"},
        {"[{\"image\": \"a.png\", " TURNS "}\n {",
         "wanted ',' or ']', got '{'"},
        {"[{\"image\": \"a.png\", " TURNS "}] x",
         "wanted the end of the file, got 'x'"},
        {"[{\"image\": \"a.png\", " TURNS "},\n\n{\"id\"\n: }]",
         "train.json:4:"},
        {"", "train.json:1: the file ends after 0 samples: wanted '[' or '{'"},
        {"[]", "no samples to train on"},
        {"\x01", "got byte 0x01"},
    };
    world w;

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const cs_status st = try_text(&w, CASES[i].json);

        if (st != CS_ERR_FORMAT && st != CS_ERR_IO) {
            print_error("case %zu\n", i);
        }
        assert_true(st == CS_ERR_FORMAT || st == CS_ERR_IO);
        assert_contains(cs_error_message(), CASES[i].part);
        assert_contains(cs_error_message(), "train.json");
    }
    world_close(&w);
}

static void media_without_an_encoder_are_an_error(void **state)
{
    world w;

    (void)state;
    world_open(&w);
    w.config.model.n_encoders = 1; /* vision, and the language model */
    w.modules[1] = w.modules[2];
    w.graph.n_modules = 2;
    assert_fails(try_text(&w, PAIR), CS_ERR_FORMAT,
                 "sample 1 (id 7): key 'audio': the model has no audio "
                 "encoder");
    world_close(&w);
}

static const char THREE[] =
    "[{\"conversations\": [{\"from\": \"gpt\", \"value\": \"one\"}]},\n"
    "{\"conversations\": [{\"from\": \"gpt\", \"value\": \"\"}]},\n"
    "{\"conversations\": [{\"from\": \"gpt\", \"value\": \"quite long\"}]},\n"
    "{\"image\": \"none.png\", " TURNS "}]";

static void bad_samples_can_be_skipped_and_are_counted(void **state)
{
    world w;

    (void)state;
    world_open(&w);
    w.config.data.bad_sample = CS_BAD_SAMPLE_SKIP;
    cs_log_set_sink(NULL);
    cs_dataset *dataset = open_text(&w, THREE);
    cs_dataset_counts counts = cs_dataset_counts_get(dataset);

    assert_int_equal(counts.n_samples, 2);
    assert_int_equal(counts.n_skipped, 2);
    assert_int_equal(counts.n_tokens, 5 + 12);
    assert_int_equal(counts.label_tokens, 4 + 11);
    assert_int_equal(counts.n_items, 0);
    cs_dataset_destroy(&dataset);
    /* the counts are kept with the index */
    assert_ok(cs_dataset_open(&w.options, &dataset));
    counts = cs_dataset_counts_get(dataset);
    assert_false(counts.was_stale);
    assert_int_equal(counts.n_skipped, 2);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static const char LONG[] =
    "[{\"conversations\": [{\"from\": \"gpt\", \"value\": \"one\"}]},\n"
    "{\"id\": \"L\", \"image\": \"a.png\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\"},"
    "{\"from\": \"gpt\", \"value\": \"quite long\"}]}]";

static void samples_that_are_too_long_follow_the_recipe(void **state)
{
    world w;
    cs_dataset *dataset = NULL;
    int32_t ids[8];
    int32_t labels[8];

    (void)state;
    world_open(&w);
    cs_log_set_sink(NULL);
    w.config.data.max_length = 16; /* bos, 4 rows, \n, 10 letters, eos: 17 */
    assert_fails(try_text(&w, LONG), CS_ERR_ARG,
                 "train.json:2: sample 1 (id \"L\"): 17 tokens, "
                 "data.max_length is 16");
    w.config.data.bad_sample = CS_BAD_SAMPLE_SKIP; /* is about other things */
    assert_fails(try_text(&w, LONG), CS_ERR_ARG, "17 tokens");
    w.config.data.too_long = CS_TOO_LONG_SKIP;
    dataset = open_text(&w, LONG);
    assert_int_equal(cs_dataset_counts_get(dataset).n_too_long, 1);
    assert_int_equal(cs_dataset_counts_get(dataset).n_samples, 1);
    cs_dataset_destroy(&dataset);

    w.config.data.too_long = CS_TOO_LONG_TRUNCATE;
    w.config.data.max_length = 8;
    dataset = open_text(&w, LONG);
    assert_int_equal(cs_dataset_counts_get(dataset).n_truncated, 1);
    assert_int_equal(cs_dataset_index(dataset)->samples[1].n_tokens, 8);
    assert_int_equal(cs_dataset_index(dataset)->samples[1].label_tokens, 2);
    assert_ok(cs_dataset_tokens(dataset, 1, ids, labels));
    assert_int_equal(ids[6], 'q');
    assert_int_equal(ids[7], 'u');
    assert_int_equal(labels[6], 'u');
    assert_int_equal(labels[7], -100);
    cs_dataset_destroy(&dataset);

    w.config.data.bad_sample = CS_BAD_SAMPLE_ERROR;
    w.config.data.max_length = 6; /* no answer is left */
    assert_fails(try_text(&w, LONG), CS_ERR_FORMAT, "no label tokens left");
    w.config.data.max_length = 4;
    assert_fails(try_text(&w, LONG), CS_ERR_ARG, "cannot be cut to 4 tokens");
    world_close(&w);
}

static void the_model_limits_samples_too(void **state)
{
    world w;

    (void)state;
    world_open(&w);
    w.modules[2].max_positions = 10;
    assert_fails(try_text(&w, PAIR), CS_ERR_ARG,
                 "15 tokens, the language model holds 10");
    w.modules[2].max_positions = 0;
    w.modules[0].max_positions = 3;
    assert_fails(try_text(&w, PAIR), CS_ERR_ARG,
                 "has 4 encoder rows, vision holds 3");
    w.modules[0].max_positions = 0;
    w.modules[2].vocab = 256;
    assert_fails(try_text(&w, PAIR), CS_ERR_ARG,
                 "token id 257 is outside the language model's vocabulary");
    world_close(&w);
}

static void questions_are_branches_where_the_mask_wants_them(void **state)
{
    world w;

    (void)state;
    world_open(&w);
    w.graph.attention = CS_MASK_BRANCHES;
    cs_dataset *dataset = open_text(&w, PAIR);
    const cs_index_view *const view = cs_dataset_index(dataset);
    const cs_index_sample *const s = &view->samples[1];
    const cs_index_run *const runs = view->runs + s->first_run;

    assert_int_equal(s->n_runs, 6);
    assert_int_equal(runs[0].branch, 0); /* bos, system */
    assert_int_equal(runs[1].branch, 0); /* media are shared */
    assert_int_equal(runs[3].branch, 1);
    assert_int_equal(runs[4].branch, 1);
    assert_int_equal(runs[5].branch, 2);
    assert_int_equal(runs[5].llm_rows, 4);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void one_sample_per_line_reads_the_same(void **state)
{
    world w;

    (void)state;
    world_open(&w);
    cs_dataset *dataset =
        open_text(&w, "{\"image\": \"a.png\", " TURNS "}\n{\"conversations\": "
                      "[{\"from\": \"gpt\", \"value\": \"x\"}]}\n\n");

    assert_int_equal(cs_dataset_index(dataset)->n_samples, 2);
    cs_dataset_destroy(&dataset);
    w.file.max_samples = 1;
    assert_ok(cs_dataset_open(&w.options, &dataset));
    assert_true(cs_dataset_counts_get(dataset).was_stale);
    assert_int_equal(cs_dataset_index(dataset)->n_samples, 1);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void lists_of_files_follow_each_other(void **state)
{
    world w;
    cs_dataset_config files[2];
    cs_dataset *dataset = NULL;
    char *id = NULL;
    char *prompt = NULL;
    char *answer = NULL;
    char other[CST_PATH_BYTES];

    (void)state;
    world_open(&w);
    (void)cst_write_text(&w.dir, "train.json", PAIR);
    name_part(other, cst_write_text(&w.dir, "more.jsonl",
                                    "{\"conversations\": [{\"from\": \"gpt\","
                                    " \"value\": \"third\"}]}"));
    files[0] = files[1] = w.file;
    files[1].path = other;
    w.options.files = files;
    w.options.n_files = 2;
    assert_ok(cs_dataset_open(&w.options, &dataset));
    assert_int_equal(cs_dataset_index(dataset)->n_samples, 3);
    assert_int_equal(cs_dataset_index(dataset)->samples[2].dataset, 1);
    assert_ok(cs_dataset_describe(dataset, 2, &id, &prompt, &answer));
    assert_string_equal(answer, "third");
    assert_string_equal(prompt, "");
    assert_string_equal(id, "#2");
    csi_free(id);
    csi_free(prompt);
    csi_free(answer);
    cs_dataset_destroy(&dataset);
    w.config.data.mixing = CS_MIXING_WEIGHTED;
    assert_fails(cs_dataset_open(&w.options, &dataset), CS_ERR_UNSUPPORTED,
                 "unsupported: data.mixing weighted");
    w.config.data.mixing = CS_MIXING_CONCAT;
    files[1].format = CS_DATA_WEBDATASET;
    assert_fails(cs_dataset_open(&w.options, &dataset), CS_ERR_UNSUPPORTED,
                 "unsupported: format webdataset");
    world_close(&w);
}

static cs_status open_and_read(void *arg)
{
    world *const w = arg;
    cs_dataset *dataset = NULL;
    cs_status st = CS_OK;
    char *id = NULL;
    char *prompt = NULL;
    char *answer = NULL;

    CS_TRY(cs_dataset_open(&w->options, &dataset));
    CS_TRY_GOTO(done, cs_dataset_describe(dataset, 0, &id, &prompt, &answer));
done:
    csi_free(id);
    csi_free(prompt);
    csi_free(answer);
    cs_dataset_destroy(&dataset);
    return st;
}

static cs_status build_anew(void *arg)
{
    world *const w = arg;

    w->config.data.max_length++; /* so that the index is stale each time */
    return open_and_read(arg);
}

static void every_failed_call_is_reported(void **state)
{
    world w;

    (void)state;
    world_open(&w);
    (void)cst_write_text(&w.dir, "train.json", PAIR);
    assert_true(cst_torture(build_anew, &w) > 50);
    w.config.data.num_workers = 1;
    assert_true(cst_torture(build_anew, &w) > 50);
    assert_ok(open_and_read(&w));
    assert_true(cst_torture(open_and_read, &w) > 10);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(the_plain_template_gives_these_tokens_and_labels),
        CST_TEST(turns_and_items_keep_their_order),
        CST_TEST(training_on_the_prompt_learns_all_text),
        CST_TEST(media_come_back_as_rows),
        CST_TEST(samples_are_described_in_their_own_words),
        CST_TEST(bad_samples_are_named),
        CST_TEST(media_without_an_encoder_are_an_error),
        CST_TEST(bad_samples_can_be_skipped_and_are_counted),
        CST_TEST(samples_that_are_too_long_follow_the_recipe),
        CST_TEST(the_model_limits_samples_too),
        CST_TEST(questions_are_branches_where_the_mask_wants_them),
        CST_TEST(one_sample_per_line_reads_the_same),
        CST_TEST(lists_of_files_follow_each_other),
        CST_TEST(every_failed_call_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
