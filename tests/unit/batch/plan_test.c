/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about batch plans, over random indices: what an epoch covers, what a
 * microbatch may hold, what must not depend on the layout. */
#include "cornstarch/batch.h"

#include "base/alloc.h"
#include "base/rng.h"

#include "support/test.h"

#include <string.h>

enum {
    N_SAMPLES = 103,
    MAX_RUNS = 7,
    N_MODALITIES = 2,
    CAP = 200
};

typedef struct world {
    cs_index_sample samples[N_SAMPLES];
    cs_index_run runs[N_SAMPLES * MAX_RUNS];
    cs_index_view view;
} world;

static uint32_t draw(uint64_t seed, uint64_t index, uint32_t n)
{
    return csi_rng_u32(seed, 7, index) % n;
}

/* Samples of alternating text and items, 1..120 tokens each. */
static void make_world(world *w, uint64_t seed)
{
    uint64_t at = 0;

    memset(w, 0, sizeof *w);
    for (int64_t s = 0; s < N_SAMPLES; s++) {
        cs_index_sample *const sample = &w->samples[s];
        int32_t n_items[N_MODALITIES] = {0};

        sample->first_run = w->view.n_runs;
        sample->n_runs = 1 + (int32_t)draw(seed, at++, MAX_RUNS);
        for (int32_t r = 0; r < sample->n_runs; r++) {
            cs_index_run *const run = &w->runs[w->view.n_runs++];

            run->modality = r % 2 == 0 ? -1 : (int32_t)draw(seed, at++, 2);
            run->llm_rows = 1 + (int32_t)draw(seed, at++, 17);
            run->is_prompt = r < 2;
            if (run->modality >= 0) {
                run->item = n_items[run->modality]++;
                run->encoder_rows = run->llm_rows * 2;
                run->input_rows = run->llm_rows * 4;
            } else {
                run->label_tokens = r < 2 ? 0 : run->llm_rows;
            }
            sample->n_tokens += run->llm_rows;
            sample->label_tokens += run->label_tokens;
        }
    }
    w->view.n_samples = N_SAMPLES;
    w->view.samples = w->samples;
    w->view.runs = w->runs;
    w->view.n_modalities = N_MODALITIES;
}

static const cs_batch_settings BASE = {
    .seed = 11,
    .shuffle = true,
    .packing = true,
    .global_batch_size = 24,
    .max_tokens_per_microbatch = CAP,
    .min_microbatches = 1,
    .n_replicas = 1,
    .attention = CS_MASK_ISLANDS,
};

static int64_t microbatch_count(const cs_batch_plan *plan)
{
    return (int64_t)plan->n_replicas * plan->n_microbatches;
}

static void each_sample_comes_once_per_epoch(void **state)
{
    static world w;
    cs_batch_plan *plan = NULL;
    int32_t seen[N_SAMPLES] = {0};
    cs_batch_settings settings = BASE;
    int64_t place = 0;

    (void)state;
    make_world(&w, 1);
    settings.global_batch_size = 10; /* 103 = 10.3 batches: epochs share one */
    assert_ok(cs_batch_plan_create(&plan));
    for (int64_t step = 1; place < (int64_t)3 * N_SAMPLES; step++) {
        assert_ok(cs_batch_plan_build(plan, &w.view, &settings, step, NULL, 0));
        assert_int_equal(plan->n_samples, 10);
        assert_near(plan->epoch, (double)step * 10.0 / 103.0, 1e-12);
        for (int64_t i = 0; i < plan->n_samples; i++) {
            seen[plan->samples[i]]++;
            place++;
            for (int64_t s = 0; place % N_SAMPLES == 0 && s < N_SAMPLES; s++) {
                assert_int_equal(seen[s], place / N_SAMPLES);
            }
        }
    }
    cs_batch_plan_destroy(&plan);
}

static void epochs_have_different_orders_and_any_step_stands_alone(void **state)
{
    static world w;
    cs_batch_plan *plan = NULL;
    cs_batch_plan *other = NULL;
    cs_batch_settings settings = BASE;

    (void)state;
    make_world(&w, 1);
    settings.global_batch_size = N_SAMPLES;
    settings.max_tokens_per_microbatch = 1 << 20;
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_create(&other));
    assert_ok(cs_batch_plan_build(plan, &w.view, &settings, 1, NULL, 0));
    assert_ok(cs_batch_plan_build(other, &w.view, &settings, 2, NULL, 0));
    assert_memory_not_equal(plan->samples, other->samples,
                            N_SAMPLES * sizeof(int64_t));
    assert_true(plan->sample_hash != other->sample_hash);
    /* Back from a later step: the same as when it was planned first. */
    assert_ok(cs_batch_plan_build(other, &w.view, &settings, 1, NULL, 0));
    assert_memory_equal(plan->samples, other->samples,
                        N_SAMPLES * sizeof(int64_t));
    assert_true(plan->sample_hash == other->sample_hash);
    settings.seed++;
    assert_ok(cs_batch_plan_build(other, &w.view, &settings, 1, NULL, 0));
    assert_true(plan->sample_hash != other->sample_hash);
    settings.shuffle = false;
    assert_ok(cs_batch_plan_build(other, &w.view, &settings, 2, NULL, 0));
    for (int64_t i = 0; i < N_SAMPLES; i++) {
        assert_int_equal(other->samples[i], i);
    }
    cs_batch_plan_destroy(&plan);
    cs_batch_plan_destroy(&other);
}

/* Every sample of the plan sits in one microbatch, none is added. */
static void check_partition(const cs_batch_plan *plan)
{
    int32_t want[N_SAMPLES] = {0};
    int32_t got[N_SAMPLES] = {0};
    int64_t n_tokens = 0;
    int64_t label_tokens = 0;

    for (int64_t i = 0; i < plan->n_samples; i++) {
        want[plan->samples[i]]++;
    }
    for (int64_t m = 0; m < microbatch_count(plan); m++) {
        const cs_microbatch *const mb = &plan->microbatches[m];

        assert_int_equal(mb->replica, m / plan->n_microbatches);
        assert_true(mb->n_tokens <= CAP);
        n_tokens += mb->n_tokens;
        label_tokens += mb->label_tokens;
        for (int32_t i = 0; i < mb->n_samples; i++) {
            got[mb->samples[i]]++;
        }
    }
    assert_memory_equal(want, got, sizeof want);
    assert_int_equal(n_tokens, plan->n_tokens);
    assert_int_equal(label_tokens, plan->label_tokens);
}

/* The words of sample i, built alone, are those in the microbatch. */
static void check_words(const world *w, const cs_microbatch *mb, int32_t i,
                        cs_mask_policy policy)
{
    const cs_index_sample *const s = &w->samples[mb->samples[i]];
    const int64_t begin = mb->token_begin[i];
    cs_mask_run runs[MAX_RUNS];
    uint64_t word[CAP];

    assert_int_equal(mb->token_begin[i + 1] - begin, s->n_tokens);
    for (int32_t r = 0; r < s->n_runs; r++) {
        const cs_index_run *const run = &w->runs[s->first_run + r];

        runs[r] = (cs_mask_run){.n_tokens = run->llm_rows,
                                .modality = run->modality,
                                .item = run->item,
                                .branch = run->branch,
                                .is_prompt = run->is_prompt != 0};
    }
    assert_ok(cs_mask_build(policy, N_MODALITIES, (uint32_t)i + 1, runs,
                            s->n_runs, word));
    assert_memory_equal(word, mb->word + begin,
                        (size_t)s->n_tokens * sizeof *word);
    for (int32_t t = 0; t < s->n_tokens; t++) {
        assert_int_equal(mb->position[begin + t], begin + t);
        assert_int_equal(mb->rope_position[begin + t], t);
    }
}

/* Features arrive in the order of items and fill exactly the rows of their
 * runs: following routes writes each media token once, no text token. */
static void check_routes(const world *w, const cs_microbatch *mb)
{
    int32_t written[CAP] = {0};

    for (int32_t m = 0; m < N_MODALITIES; m++) {
        const cs_batch_modality *const modality = &mb->modality[m];
        int64_t input = 0;
        int64_t encoder = 0;
        int64_t feature = 0;

        for (int64_t i = 0; i < modality->n_items; i++) {
            const cs_batch_item *const item = &modality->items[i];
            const cs_index_run *const run = &w->runs[item->run];

            assert_int_equal(run->modality, m);
            assert_int_equal(run->item, item->item);
            assert_int_equal(item->input_begin, input);
            assert_int_equal(item->encoder_begin, encoder);
            assert_int_equal(item->feature_begin, feature);
            input += run->input_rows;
            encoder += run->encoder_rows;
            feature += run->llm_rows;
            for (int32_t row = 0; row < run->llm_rows; row++) {
                written[item->llm_begin + row] += 1 + m;
            }
        }
        assert_int_equal(modality->input_rows, input);
        assert_int_equal(modality->encoder_rows, encoder);
        assert_int_equal(modality->feature_rows, feature);
    }
    for (int64_t t = 0; t < mb->n_tokens; t++) {
        const uint64_t kind = mb->word[t] & 0xffffU;

        assert_int_equal(written[t], kind == 1 ? 0 : kind == 2 ? 1 : 2);
    }
}

static void check_microbatch(const world *w, const cs_microbatch *mb,
                             const cs_batch_settings *settings)
{
    assert_true(settings->packing || mb->n_samples <= 1);
    for (int32_t i = 0; i < mb->n_samples; i++) {
        check_words(w, mb, i, settings->attention);
    }
    check_routes(w, mb);
}

static void microbatches_hold_what_they_promise(void **state)
{
    static world w;
    cs_batch_plan *plan = NULL;
    cs_batch_settings settings = BASE;

    (void)state;
    assert_ok(cs_batch_plan_create(&plan));
    for (uint64_t seed = 1; seed <= 20; seed++) {
        make_world(&w, seed);
        settings.seed = seed;
        settings.n_replicas = 1 + (int32_t)(seed % 4);
        settings.packing = seed % 5 != 0;
        for (int64_t step = 1; step <= 6; step++) {
            assert_ok(cs_batch_plan_build(plan, &w.view, &settings, step, NULL,
                                          0));
            check_partition(plan);
            for (int64_t m = 0; m < microbatch_count(plan); m++) {
                check_microbatch(&w, &plan->microbatches[m], &settings);
            }
        }
    }
    cs_batch_plan_destroy(&plan);
}

/* First member of each bin with its count, in a form that sorts. */
static void list_bins(const cs_batch_plan *plan, uint64_t *hashes, int64_t *n)
{
    *n = 0;
    for (int64_t m = 0; m < microbatch_count(plan); m++) {
        const cs_microbatch *const mb = &plan->microbatches[m];

        if (mb->n_samples > 0) {
            hashes[(*n)++] =
                csi_hash64_bytes(mb->samples,
                                 (uint64_t)mb->n_samples * sizeof(int64_t));
        }
    }
    for (int64_t i = 1; i < *n; i++) {
        for (int64_t j = i; j > 0 && hashes[j] < hashes[j - 1]; j--) {
            const uint64_t kept = hashes[j];

            hashes[j] = hashes[j - 1];
            hashes[j - 1] = kept;
        }
    }
}

static void composition_does_not_depend_on_replicas(void **state)
{
    static world w;
    cs_batch_plan *plan = NULL;
    uint64_t want[24];
    uint64_t got[24];
    int64_t n_want = 0;
    int64_t n_got = 0;

    (void)state;
    make_world(&w, 3);
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_build(plan, &w.view, &BASE, 2, NULL, 0));
    list_bins(plan, want, &n_want);
    assert_true(n_want > 4);
    for (int32_t n_replicas = 2; n_replicas <= 7; n_replicas++) {
        cs_batch_settings settings = BASE;
        int64_t least = INT64_MAX;
        int64_t most = 0;

        settings.n_replicas = n_replicas;
        assert_ok(cs_batch_plan_build(plan, &w.view, &settings, 2, NULL, 0));
        list_bins(plan, got, &n_got);
        assert_int_equal(n_got, n_want);
        assert_memory_equal(got, want, (size_t)n_want * sizeof *want);
        /* no replica runs more microbatches than an even deal needs */
        assert_int_equal(plan->n_microbatches,
                         (n_want + n_replicas - 1) / n_replicas);
        for (int32_t r = 0; r < n_replicas; r++) {
            int64_t n_tokens = 0;

            for (int32_t m = 0; m < plan->n_microbatches; m++) {
                n_tokens +=
                    plan->microbatches[r * plan->n_microbatches + m].n_tokens;
            }
            least = n_tokens < least ? n_tokens : least;
            most = n_tokens > most ? n_tokens : most;
        }
        assert_true(most - least <= CAP);
    }
    cs_batch_plan_destroy(&plan);
}

static void bins_are_as_few_as_first_fit_decreasing_gives(void **state)
{
    /* 120 + 80, 110 + 90, 100 + 60 + 40: three full bins of 200 */
    static const int32_t N_TOKENS[] = {40, 80, 110, 60, 120, 90, 100};
    cs_index_sample samples[7] = {0};
    cs_index_run runs[7] = {0};
    const cs_index_view view = {.n_samples = 7,
                                .n_runs = 7,
                                .samples = samples,
                                .runs = runs};
    cs_batch_settings settings = BASE;
    cs_batch_plan *plan = NULL;

    (void)state;
    for (int32_t i = 0; i < 7; i++) {
        samples[i] = (cs_index_sample){.first_run = i,
                                       .n_runs = 1,
                                       .n_tokens = N_TOKENS[i]};
        runs[i] = (cs_index_run){.modality = -1, .llm_rows = N_TOKENS[i]};
    }
    settings.shuffle = false;
    settings.global_batch_size = 7;
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_build(plan, &view, &settings, 1, NULL, 0));
    assert_int_equal(plan->n_microbatches, 3);
    /* bins by their first sample, samples rising */
    assert_int_equal(plan->microbatches[0].n_samples, 3);
    assert_int_equal(plan->microbatches[0].samples[0], 0);
    assert_int_equal(plan->microbatches[0].samples[1], 3);
    assert_int_equal(plan->microbatches[0].samples[2], 6);
    assert_int_equal(plan->microbatches[1].samples[0], 1);
    assert_int_equal(plan->microbatches[1].samples[1], 4);
    assert_int_equal(plan->microbatches[2].samples[0], 2);
    assert_int_equal(plan->microbatches[2].samples[1], 5);
    cs_batch_plan_destroy(&plan);
}

static void extra_microbatches_are_empty(void **state)
{
    static world w;
    cs_batch_plan *plan = NULL;
    cs_batch_settings settings = BASE;
    int64_t n_empty = 0;

    (void)state;
    make_world(&w, 4);
    settings.min_microbatches = 30;
    settings.n_replicas = 2;
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_build(plan, &w.view, &settings, 1, NULL, 0));
    assert_int_equal(plan->n_microbatches, 30);
    check_partition(plan);
    for (int64_t m = 0; m < microbatch_count(plan); m++) {
        const cs_microbatch *const mb = &plan->microbatches[m];

        if (mb->n_samples == 0) {
            n_empty++;
            assert_int_equal(mb->n_tokens, 0);
            assert_int_equal(mb->token_begin[0], 0);
            assert_int_equal(mb->modality[1].n_items, 0);
        }
    }
    assert_true(n_empty > 30);
    cs_batch_plan_destroy(&plan);
}

static void dropped_samples_are_left_out(void **state)
{
    static world w;
    cs_batch_plan *plan = NULL;
    cs_batch_plan *whole = NULL;
    int64_t dropped[3] = {0};

    (void)state;
    make_world(&w, 5);
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_create(&whole));
    assert_ok(cs_batch_plan_build(whole, &w.view, &BASE, 1, NULL, 0));
    dropped[0] = whole->samples[5];
    dropped[1] = whole->samples[0];
    dropped[2] = whole->samples[23];
    for (int32_t i = 1; i < 3; i++) {
        for (int32_t j = i; j > 0 && dropped[j] < dropped[j - 1]; j--) {
            const int64_t kept = dropped[j];

            dropped[j] = dropped[j - 1];
            dropped[j - 1] = kept;
        }
    }
    assert_ok(cs_batch_plan_build(plan, &w.view, &BASE, 1, dropped, 3));
    assert_int_equal(plan->n_dropped, 3);
    assert_int_equal(plan->n_samples, 21);
    assert_true(plan->sample_hash != whole->sample_hash);
    check_partition(plan);
    for (int64_t i = 0, j = 0; i < whole->n_samples; i++) {
        if (i != 5 && i != 0 && i != 23) {
            assert_int_equal(plan->samples[j++], whole->samples[i]);
        }
    }
    cs_batch_plan_destroy(&plan);
    cs_batch_plan_destroy(&whole);
}

static void a_batch_of_dropped_samples_is_empty_but_runs(void **state)
{
    static world w;
    static int64_t all[N_SAMPLES];
    cs_batch_plan *plan = NULL;

    (void)state;
    make_world(&w, 5);
    for (int64_t i = 0; i < N_SAMPLES; i++) {
        all[i] = i;
    }
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_build(plan, &w.view, &BASE, 1, all, N_SAMPLES));
    assert_int_equal(plan->n_samples, 0);
    assert_int_equal(plan->n_microbatches, 1);
    assert_int_equal(plan->label_tokens, 0);
    cs_batch_plan_destroy(&plan);
}

static void a_range_is_planned_in_order(void **state)
{
    static world w;
    cs_batch_plan *plan = NULL;
    cs_batch_settings settings = BASE;

    (void)state;
    make_world(&w, 6);
    settings.n_replicas = 3;
    assert_ok(cs_batch_plan_create(&plan));
    assert_ok(cs_batch_plan_range(plan, &w.view, &settings, 90, 13));
    assert_int_equal(plan->n_replicas, 1);
    assert_int_equal(plan->n_samples, 13);
    for (int64_t i = 0; i < 13; i++) {
        assert_int_equal(plan->samples[i], 90 + i);
    }
    check_partition(plan);
    assert_fails(cs_batch_plan_range(plan, &w.view, &settings, 91, 13),
                 CS_ERR_ARG, "samples 91 + 13, the index has 103");
    cs_batch_plan_destroy(&plan);
}

static void a_sample_over_the_cap_is_named(void **state)
{
    static world w;
    cs_batch_plan *plan = NULL;
    cs_batch_settings settings = BASE;

    (void)state;
    make_world(&w, 6);
    w.samples[17].n_tokens = 5;
    settings.global_batch_size = N_SAMPLES;
    settings.max_tokens_per_microbatch = 4;
    assert_ok(cs_batch_plan_create(&plan));
    assert_fails(cs_batch_plan_build(plan, &w.view, &settings, 1, NULL, 0),
                 CS_ERR_ARG, "a microbatch holds 1..4");
    settings.max_tokens_per_microbatch = 1000;
    w.samples[17].n_tokens = w.samples[17].n_tokens + 100;
    assert_fails(cs_batch_plan_build(plan, &w.view, &settings, 1, NULL, 0),
                 CS_ERR_FORMAT, "index: sample 17 claims 105 tokens");
    assert_int_equal(plan->n_microbatches, 0);
    w.samples[17].first_run = w.view.n_runs;
    assert_fails(cs_batch_plan_build(plan, &w.view, &settings, 1, NULL, 0),
                 CS_ERR_FORMAT, "index: sample 17 has runs");
    assert_fails(cs_batch_plan_build(plan, &w.view, &settings, 0, NULL, 0),
                 CS_ERR_ARG, "step 0");
    cs_batch_plan_destroy(&plan);
}

static void steps_of_epochs_are_rounded_up(void **state)
{
    static world w;
    cs_batch_settings settings = BASE;

    (void)state;
    make_world(&w, 6);
    settings.global_batch_size = 10;
    assert_int_equal(cs_batch_steps(&w.view, &settings, 1.0), 11);
    assert_int_equal(cs_batch_steps(&w.view, &settings, 10.0), 103);
    assert_int_equal(cs_batch_steps(&w.view, &settings, 0.1), 2);
    w.view.n_samples = 100;
    assert_int_equal(cs_batch_steps(&w.view, &settings, 0.3), 3);
}

static void a_steady_state_allocates_nothing(void **state)
{
    static world w;
    cs_batch_plan *plan = NULL;
    cs_batch_settings settings = BASE;
    int64_t before = 0;

    (void)state;
    make_world(&w, 8);
    settings.n_replicas = 2;
    assert_ok(cs_batch_plan_create(&plan));
    for (int64_t step = 1; step <= 40; step++) {
        if (step == 20) {
            before = csi_alloc_count();
        }
        assert_ok(cs_batch_plan_build(plan, &w.view, &settings, step, NULL, 0));
    }
    assert_int_equal(csi_alloc_count(), before);
    cs_batch_plan_destroy(&plan);
}

static cs_status build_once(void *arg)
{
    const world *const w = arg;
    cs_batch_plan *plan = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_batch_plan_create(&plan));
    CS_TRY_GOTO(done, cs_batch_plan_build(plan, &w->view, &BASE, 1, NULL, 0));
done:
    cs_batch_plan_destroy(&plan);
    return st;
}

static void every_failed_allocation_is_reported(void **state)
{
    static world w;

    (void)state;
    make_world(&w, 9);
    (void)cst_torture(build_once, &w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(each_sample_comes_once_per_epoch),
        CST_TEST(epochs_have_different_orders_and_any_step_stands_alone),
        CST_TEST(microbatches_hold_what_they_promise),
        CST_TEST(composition_does_not_depend_on_replicas),
        CST_TEST(bins_are_as_few_as_first_fit_decreasing_gives),
        CST_TEST(extra_microbatches_are_empty),
        CST_TEST(dropped_samples_are_left_out),
        CST_TEST(a_batch_of_dropped_samples_is_empty_but_runs),
        CST_TEST(a_range_is_planned_in_order),
        CST_TEST(a_sample_over_the_cap_is_named),
        CST_TEST(steps_of_epochs_are_rounded_up),
        CST_TEST(a_steady_state_allocates_nothing),
        CST_TEST(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
