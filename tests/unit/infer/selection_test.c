/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about samples with somebody else's media: the text stays, the item
 * is the donor's with its length, and a loader reads it so. */
#include "selection.h"
#include "unit/data/world.h"

enum {
    N_SAMPLES = 5,
    LONG_ROWS = 2 * AUDIO_ROWS,
    MAX_TOKENS = 128
};

/* Two short recordings of the same content, a text, two long recordings. */
static cs_dataset *make_dataset(world *w)
{
    cs_dataset *dataset = NULL;

    write_wav(&w->dir, "long.wav", 3200);
    (void)cst_write_text(
        &w->dir, "train.json",
        "[{\"audio\": \"b.wav\", \"conversations\": [{\"from\": \"human\", "
        "\"value\": \"<audio>one\"}, {\"from\": \"gpt\", \"value\": \"a\"}]},\n"
        "{\"audio\": \"b.wav\", \"conversations\": [{\"from\": \"human\", "
        "\"value\": \"<audio>\"}, {\"from\": \"gpt\", \"value\": \"bb\"}]},\n"
        "{\"conversations\": [{\"from\": \"human\", "
        "\"value\": \"text\"}, {\"from\": \"gpt\", \"value\": \"c\"}]},\n"
        "{\"audio\": \"long.wav\", \"conversations\": [{\"from\": \"human\", "
        "\"value\": \"<audio>two\"}, {\"from\": \"gpt\", \"value\": \"d\"}]},\n"
        "{\"audio\": \"long.wav\", \"conversations\": [{\"from\": \"human\", "
        "\"value\": \"<audio>x\"}, {\"from\": \"gpt\", \"value\": \"ee\"}]}]");
    assert_ok(cs_dataset_open(&w->options, &dataset));
    return dataset;
}

static void only_samples_with_the_item_count(void **state)
{
    world w;
    csi_selection s;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = make_dataset(&w);

    assert_ok(csi_selection_init(dataset, 0, -1, -1, &s));
    assert_int_equal(s.n, N_SAMPLES);
    csi_selection_fini(&s);
    assert_ok(csi_selection_init(dataset, 3, 1, -1, &s));
    assert_int_equal(s.n, 3);
    assert_int_equal(s.sample[2], 3);
    csi_selection_fini(&s);
    assert_fails(csi_selection_init(dataset, 0, 0, -1, &s), CS_ERR_ARG,
                 "no sample has an item of that modality");
    assert_fails(csi_selection_init(dataset, 1, -1, 1, &s), CS_ERR_ARG,
                 "one sample has nobody to swap with");
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

/* Ids without media, and the labels that are there: both must survive. */
typedef struct words {
    int32_t ids[MAX_TOKENS], labels[MAX_TOKENS];
    int64_t n_ids, n_labels, n_media;
} words;

static void take_words(const csi_selection *s, int64_t i, words *out)
{
    int32_t ids[MAX_TOKENS];
    int32_t labels[MAX_TOKENS];
    const int64_t n = s->samples[i].n_tokens;

    assert_true(n <= MAX_TOKENS);
    assert_ok(csi_selection_tokens(s, i, ids, labels));
    *out = (words){.n_ids = 0};
    for (int64_t t = 0; t < n; t++) {
        if (ids[t] >= 0) {
            out->ids[out->n_ids++] = ids[t];
        } else {
            out->n_media++;
        }
        if (labels[t] >= 0) { /* what must follow does follow */
            assert_true(t + 1 < n && labels[t] == ids[t + 1]);
            out->labels[out->n_labels++] = labels[t];
        }
    }
}

static void swapping_changes_the_item_and_no_word(void **state)
{
    world w;
    csi_selection right;
    csi_selection swapped;
    words a;
    words b;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = make_dataset(&w);

    assert_ok(csi_selection_init(dataset, 0, 1, -1, &right));
    assert_ok(csi_selection_init(dataset, 0, -1, 1, &swapped));
    assert_int_equal(swapped.n, 4);
    for (int64_t i = 0; i < swapped.n; i++) {
        take_words(&right, i, &a);
        take_words(&swapped, i, &b);
        assert_int_equal(a.n_media, i < 2 ? AUDIO_ROWS : LONG_ROWS);
        assert_int_equal(b.n_media, i < 2 ? LONG_ROWS : AUDIO_ROWS);
        assert_int_equal(a.n_ids, b.n_ids);
        assert_memory_equal(a.ids, b.ids, sizeof a.ids);
        assert_true(a.n_labels > 0 && a.n_labels == b.n_labels);
        assert_memory_equal(a.labels, b.labels, sizeof a.labels);
    }
    csi_selection_fini(&right);
    csi_selection_fini(&swapped);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

static cs_status tokens_of(const void *context, int64_t sample, int32_t *ids,
                           int32_t *labels)
{
    return csi_selection_tokens(context, sample, ids, labels);
}

static cs_status media_of(const void *context, int64_t sample, int32_t run,
                          float *rows)
{
    (void)sample;
    return csi_selection_media(context, run, rows);
}

static int32_t find_audio(const cs_index_view *view, int64_t sample)
{
    for (int32_t k = 0; k < view->samples[sample].n_runs; k++) {
        const int32_t run = (int32_t)(view->samples[sample].first_run + k);
        if (view->runs[run].modality == 1) {
            return run;
        }
    }
    fail();
    return -1;
}

static void a_loader_reads_the_donors_item(void **state)
{
    static const int64_t DONORS[] = {3, 4, 0, 1}; /* of samples 0 1 3 4 */
    static float rows[2 * LONG_ROWS * N_MELS];
    const cs_batch_settings settings = {.packing = true,
                                        .global_batch_size = 4,
                                        .max_tokens_per_microbatch = 1000,
                                        .min_microbatches = 1,
                                        .n_replicas = 1};
    const cs_loaded_microbatch *batch = NULL;
    cs_batch_plan *plan = NULL;
    cs_loader *loader = NULL;
    csi_selection s;
    cs_error error;
    world w;

    (void)state;
    world_open(&w);
    cs_dataset *dataset = make_dataset(&w);

    assert_ok(csi_selection_init(dataset, 0, -1, 1, &s));
    const cs_loader_options options = {
        .dataset = dataset,
        .source = {&s, &s.view, tokens_of, media_of},
        .n_workers = 2,
        .want_tokens = true,
        .want_modalities = 3,
    };
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_range(plan, &s.view, &settings, 0, s.n));
    assert_ok(cs_loader_create(&options, &loader));
    assert_ok(cs_loader_begin(loader, plan));
    assert_ok(cs_loader_finish(loader, &batch, NULL, &error));
    assert_int_equal(error.status, CS_OK);
    assert_int_equal(plan->n_microbatches, 1);
    const cs_batch_modality *const audio = &plan->microbatches[0].modality[1];
    assert_int_equal(audio->n_items, 4);
    for (int64_t i = 0; i < audio->n_items; i++) {
        const int64_t donor = DONORS[audio->items[i].sample];
        const int32_t run = find_audio(cs_dataset_index(dataset), donor);
        const int32_t n_rows = cs_dataset_index(dataset)->runs[run].input_rows;

        assert_ok(cs_dataset_media(dataset, donor, run, rows));
        assert_memory_equal(rows,
                            batch[0].input[1] +
                                audio->items[i].input_begin * N_MELS,
                            (size_t)n_rows * N_MELS * sizeof *rows);
    }
    cs_loader_destroy(&loader);
    cs_batch_plan_destroy(&plan);
    csi_selection_fini(&s);
    cs_dataset_destroy(&dataset);
    world_close(&w);
}

int main(void)
{
    const bool reads_sound = CS_HAVE_SNDFILE;
    const bool has_fft = CS_HAVE_KISSFFT;

    if (!reads_sound || !has_fft) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        CST_TEST(only_samples_with_the_item_count),
        CST_TEST(swapping_changes_the_item_and_no_word),
        CST_TEST(a_loader_reads_the_donors_item),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
