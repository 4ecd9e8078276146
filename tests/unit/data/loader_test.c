/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about the loader: everything lands where the batch plan says, bad
 * samples are reported and nothing else suffers, nothing hangs. */
#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include "world.h"

enum {
    N_SAMPLES = 24,
    BATCH = 10
};

static const cs_batch_settings SETTINGS = {
    .seed = 5,
    .shuffle = true,
    .packing = true,
    .global_batch_size = BATCH,
    .max_tokens_per_microbatch = 60,
    .min_microbatches = 1,
    .n_replicas = 1,
    .attention = CS_MASK_ISLANDS,
};

/* Samples of text, picture, recording and both, in turn. */
static cs_dataset *make_dataset(world *w)
{
    static const char *const MEDIA[] =
        {"", "\"image\": \"a.png\",", "\"audio\": \"b.wav\",",
         "\"image\": [\"a.png\", \"a.png\"], \"audio\": \"b.wav\","};
    static const char *const PLACES[] = {"", "<image>", "<audio>",
                                         "<image><audio><image>"};
    cs_dataset *dataset = NULL;
    csi_str json = {0};

    csi_str_add(&json, "[");
    for (int i = 0; i < N_SAMPLES; i++) {
        csi_str_addf(&json,
                     "%s{%s \"conversations\": [{\"from\": \"human\", "
                     "\"value\": \"%s%d\"}, {\"from\": \"gpt\", \"value\": "
                     "\"answer %d\"}]}",
                     i > 0 ? ",\n" : "", MEDIA[i % 4], PLACES[i % 4], i, i * i);
    }
    csi_str_add(&json, "]");
    (void)cst_write_text(&w->dir, "train.json", csi_str_get(&json));
    csi_str_fini(&json);
    assert_ok(cs_dataset_open(&w->options, &dataset));
    return dataset;
}

static void check_tokens(const cs_dataset *dataset, const cs_microbatch *mb,
                         const cs_loaded_microbatch *loaded)
{
    int32_t ids[64];
    int32_t labels[64];
    int64_t n_labels = 0;

    for (int32_t s = 0; s < mb->n_samples; s++) {
        const int64_t begin = mb->token_begin[s];
        const size_t n_bytes =
            (size_t)(mb->token_begin[s + 1] - begin) * sizeof *ids;

        assert_ok(cs_dataset_tokens(dataset, mb->samples[s], ids, labels));
        assert_memory_equal(ids, loaded->ids + begin, n_bytes);
        assert_memory_equal(labels, loaded->labels + begin, n_bytes);
    }
    for (int64_t t = 0; t < mb->n_tokens; t++) {
        const uint64_t kind = mb->word[t] & 0xffffU;

        assert_int_equal(loaded->ids[t] < 0, kind != CS_MASK_TEXT);
        n_labels += loaded->labels[t] != -100;
    }
    assert_int_equal(n_labels, mb->label_tokens);
}

static void check_items(const cs_dataset *dataset, const cs_microbatch *mb,
                        const cs_loaded_microbatch *loaded, int32_t modality)
{
    static float rows[2 * AUDIO_ROWS * N_MELS + IMAGE_ROWS * 12];
    const int64_t columns = cs_dataset_processor(dataset, modality)->columns;

    for (int64_t i = 0; i < mb->modality[modality].n_items; i++) {
        const cs_batch_item *const item = &mb->modality[modality].items[i];
        const int64_t n =
            cs_dataset_index(dataset)->runs[item->run].input_rows * columns;

        assert_ok(cs_dataset_media(dataset, item->sample, item->run, rows));
        assert_memory_equal(rows,
                            loaded->input[modality] +
                                item->input_begin * columns,
                            (size_t)n * sizeof *rows);
    }
}

static void everything_lands_where_the_plan_says(void **state)
{
    world w;
    cs_batch_plan *plan = NULL;
    cs_loader *loader = NULL;
    cs_batch_settings settings = SETTINGS;
    const cs_loaded_microbatch *batch = NULL;
    uint8_t bad[BATCH];
    cs_error error;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = make_dataset(&w);

    settings.n_replicas = 2;
    settings.min_microbatches = 7; /* some are empty */
    assert_ok(cs_batch_plan_create(&plan));
    for (int32_t replica = 0; replica < 2; replica++) {
        const cs_loader_options options = {.dataset = dataset,
                                           .n_workers = 3,
                                           .replica = replica,
                                           .want_tokens = true,
                                           .want_modalities = 3};

        assert_ok(cs_loader_create(&options, &loader));
        for (int64_t step = 1; step <= 5; step++) {
            assert_ok(cs_batch_plan_build(plan, cs_dataset_index(dataset),
                                          &settings, step, NULL, 0));
            assert_ok(cs_loader_begin(loader, plan));
            assert_ok(cs_loader_finish(loader, &batch, bad, &error));
            assert_int_equal(error.status, CS_OK);
            for (int32_t m = 0; m < plan->n_microbatches; m++) {
                const cs_microbatch *const mb =
                    &plan->microbatches[replica * plan->n_microbatches + m];

                check_tokens(dataset, mb, &batch[m]);
                check_items(dataset, mb, &batch[m], 0);
                check_items(dataset, mb, &batch[m], 1);
            }
        }
        cs_loader_destroy(&loader);
    }
    cs_batch_plan_destroy(&plan);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void only_what_was_asked_for_is_loaded(void **state)
{
    world w;
    cs_batch_plan *plan = NULL;
    cs_loader *loader = NULL;
    const cs_loaded_microbatch *batch = NULL;
    cs_error error;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = make_dataset(&w);
    const cs_loader_options options = {.dataset = dataset,
                                       .n_workers = 1,
                                       .want_modalities = 2};

    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_build(plan, cs_dataset_index(dataset), &SETTINGS, 1,
                                  NULL, 0));
    assert_ok(cs_loader_create(&options, &loader));
    assert_fails(cs_loader_finish(loader, &batch, NULL, &error), CS_ERR_ARG,
                 "no load is under way");
    assert_ok(cs_loader_begin(loader, plan));
    assert_fails(cs_loader_begin(loader, plan), CS_ERR_ARG, "under way");
    assert_ok(cs_loader_finish(loader, &batch, NULL, &error));
    assert_null(batch[0].ids);
    assert_null(batch[0].input[0]);
    assert_non_null(batch[0].input[1]);
    cs_loader_destroy(&loader);
    cs_batch_plan_destroy(&plan);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void a_batch_stays_while_the_next_two_are_made(void **state)
{
    world w;
    cs_batch_plan *plans[3] = {NULL, NULL, NULL};
    cs_loader *loader = NULL;
    const cs_loaded_microbatch *batch[3] = {NULL, NULL, NULL};
    cs_error error;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = make_dataset(&w);
    const cs_loader_options options = {.dataset = dataset,
                                       .n_workers = 2,
                                       .want_tokens = true};

    assert_ok(cs_loader_create(&options, &loader));
    for (int64_t i = 0; i < 3; i++) {
        assert_ok(cs_batch_plan_create(&plans[i]));
        assert_ok(cs_batch_plan_build(plans[i], cs_dataset_index(dataset),
                                      &SETTINGS, i + 1, NULL, 0));
        assert_ok(cs_loader_begin(loader, plans[i]));
        if (i > 0) {
            check_tokens(dataset, &plans[i - 1]->microbatches[0],
                         &batch[i - 1][0]);
        }
        if (i < 2) {
            assert_ok(cs_loader_finish(loader, &batch[i], NULL, &error));
        }
    }
    check_tokens(dataset, &plans[0]->microbatches[0], &batch[0][0]);
    cs_loader_destroy(&loader); /* with a load under way */
    for (int i = 0; i < 3; i++) {
        cs_batch_plan_destroy(&plans[i]);
    }
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void bad_samples_are_reported_and_nothing_else_suffers(void **state)
{
    world w;
    cs_batch_plan *plan = NULL;
    cs_loader *loader = NULL;
    cs_batch_settings settings = SETTINGS;
    const cs_loaded_microbatch *batch = NULL;
    uint8_t bad[N_SAMPLES];
    cs_error error;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = make_dataset(&w);
    const cs_loader_options options = {.dataset = dataset,
                                       .n_workers = 2,
                                       .want_tokens = true,
                                       .want_modalities = 3};

    /* after indexing, the recording becomes another file */
    (void)cst_write_text(&w.dir, "b.wav", "not a recording any more");
    settings.global_batch_size = N_SAMPLES;
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_build(plan, cs_dataset_index(dataset), &settings, 1,
                                  NULL, 0));
    assert_ok(cs_loader_create(&options, &loader));
    assert_ok(cs_loader_begin(loader, plan));
    assert_ok(cs_loader_finish(loader, &batch, bad, &error));
    assert_int_not_equal(error.status, CS_OK);
    assert_contains(error.message, "b.wav");
    for (int64_t i = 0; i < plan->n_samples; i++) {
        assert_int_equal(bad[i], plan->samples[i] % 4 >= 2);
    }
    for (int32_t m = 0; m < plan->n_microbatches; m++) {
        const cs_microbatch *const mb = &plan->microbatches[m];

        check_tokens(dataset, mb, &batch[m]);
        check_items(dataset, mb, &batch[m], 0);
        for (int64_t i = 0; i < mb->modality[1].input_rows * N_MELS; i++) {
            assert_true(batch[m].input[1][i] == 0.0F);
        }
    }
    /* the next load starts clean */
    settings.global_batch_size = 1;
    settings.shuffle = false;
    assert_ok(cs_batch_plan_build(plan, cs_dataset_index(dataset), &settings, 1,
                                  NULL, 0));
    assert_ok(cs_loader_begin(loader, plan));
    assert_ok(cs_loader_finish(loader, &batch, bad, &error));
    assert_int_equal(error.status, CS_OK);
    assert_int_equal(bad[0], 0);
    cs_loader_destroy(&loader);
    cs_batch_plan_destroy(&plan);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void an_empty_batch_loads_at_once(void **state)
{
    world w;
    cs_batch_plan *plan = NULL;
    cs_loader *loader = NULL;
    const cs_loaded_microbatch *batch = NULL;
    int64_t all[N_SAMPLES];
    cs_error error;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = make_dataset(&w);
    const cs_loader_options options = {.dataset = dataset,
                                       .n_workers = 2,
                                       .want_tokens = true};

    for (int64_t i = 0; i < N_SAMPLES; i++) {
        all[i] = i;
    }
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_build(plan, cs_dataset_index(dataset), &SETTINGS, 1,
                                  all, N_SAMPLES));
    assert_ok(cs_loader_create(&options, &loader));
    assert_ok(cs_loader_begin(loader, plan));
    assert_ok(cs_loader_finish(loader, &batch, NULL, &error));
    assert_int_equal(error.status, CS_OK);
    cs_loader_destroy(&loader);
    cs_batch_plan_destroy(&plan);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static void tokens_in_a_steady_state_allocate_nothing(void **state)
{
    world w;
    cs_batch_plan *plan = NULL;
    cs_loader *loader = NULL;
    const cs_loaded_microbatch *batch = NULL;
    cs_error error;
    int64_t before = 0;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = make_dataset(&w);
    const cs_loader_options options = {.dataset = dataset,
                                       .n_workers = 2,
                                       .want_tokens = true};

    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_loader_create(&options, &loader));
    for (int64_t step = 1; step <= 20; step++) {
        if (step == 5) {
            before = csi_alloc_count();
        }
        assert_ok(cs_batch_plan_build(plan, cs_dataset_index(dataset),
                                      &SETTINGS, step, NULL, 0));
        assert_ok(cs_loader_begin(loader, plan));
        assert_ok(cs_loader_finish(loader, &batch, NULL, &error));
    }
    assert_int_equal(csi_alloc_count(), before);
    cs_loader_destroy(&loader);
    cs_batch_plan_destroy(&plan);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

typedef struct load {
    cs_loader_options options;
    const cs_batch_plan *plan;
} load;

static cs_status create_and_load(void *arg)
{
    const load *const l = arg;
    cs_loader *loader = NULL;
    const cs_loaded_microbatch *batch = NULL;
    cs_error error = {.status = CS_OK};
    cs_status st = CS_OK;

    CS_TRY(cs_loader_create(&l->options, &loader));
    CS_TRY_GOTO(done, cs_loader_begin(loader, l->plan));
    CS_TRY_GOTO(done, cs_loader_finish(loader, &batch, NULL, &error));
    if (error.status != CS_OK) { /* a decoder met the fault */
        cs_error_set(&error);
        st = error.status;
    }
done:
    cs_loader_destroy(&loader);
    return st;
}

static void every_failed_call_is_reported(void **state)
{
    world w;
    cs_batch_plan *plan = NULL;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = make_dataset(&w);
    load l = {.options = {.dataset = dataset,
                          .n_workers = 2,
                          .want_tokens = true,
                          .want_modalities = 3}};
    cs_batch_settings settings = SETTINGS;

    settings.global_batch_size = 4;
    settings.shuffle = false;
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_build(plan, cs_dataset_index(dataset), &settings, 1,
                                  NULL, 0));
    l.plan = plan;
    assert_true(cst_torture(create_and_load, &l) > 5);
    cs_batch_plan_destroy(&plan);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(everything_lands_where_the_plan_says),
        CST_TEST(only_what_was_asked_for_is_loaded),
        CST_TEST(a_batch_stays_while_the_next_two_are_made),
        CST_TEST(bad_samples_are_reported_and_nothing_else_suffers),
        CST_TEST(an_empty_batch_loads_at_once),
        CST_TEST(tokens_in_a_steady_state_allocate_nothing),
        CST_TEST(every_failed_call_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
