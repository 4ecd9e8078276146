/* SPDX-License-Identifier: Apache-2.0 */
/* Saving under one layout, resuming under another; damage, rotation, faults. */
#include "cornstarch/log.h"

#include "base/file.h"

#include "tiny_model.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

enum {
    MAX_STEPS = 8
};

/* What a rank does: load (step >= 0), then train and save the steps. */
typedef struct job {
    cs_graph *graph;
    const char *run;
    cs_dtype dtype;
    bool is_async;
    int32_t dp;               /* replicas; 0 = 1 */
    bool last_writes;         /* of two replicas, the other one */
    int64_t steps[MAX_STEPS]; /* 0 ends the list */
    int32_t keep;
    int64_t keep_step;
    double salt;             /* values of step s: salt + s */
    int64_t load;            /* step to load; -1 = latest */
    const char *recipe_hash; /* wanted when loading */
    double loaded_salt;      /* what must be found; NAN = anything */
    char fallback[512];
    cs_train_state loaded; /* of rank 0; dropped is taken away */
    int64_t n_dropped;
} job;

static int64_t DROPPED[] = {3, 5, 900000000000};

static cs_train_state state_of(int64_t step)
{
    cs_train_state s = {
        .step = step,
        .update = step - 1,
        .epoch = 1.0 / 3.0,
        .sample_hash = 0xfedcba9876543210u,
        .skipped_samples = 4,
        .non_finite_in_a_row = 1,
        .best_metric = step % 2 == 0 ? NAN : 0.1,
        .best_step = 1,
        .n_stale_evaluations = 2,
        .n_dropped = 3,
        .dropped = DROPPED,
        .metrics_bytes = 100 * step,
    };
    (void)snprintf(s.recipe_hash, sizeof s.recipe_hash, "00112233aabbccdd");
    return s;
}

static cs_status load_on(const job *j, cs_param_set *set, job *result,
                         bool is_main)
{
    char fallback[512] = "unset";
    cs_train_state state = {0};
    cs_param_set *wanted = NULL;
    bool held[TINY_PARAMS] = {false};
    cs_status st = CS_OK;

    CS_TRY(cs_checkpoint_load(j->run, j->load < 0 ? 0 : j->load, j->recipe_hash,
                              set, &state, fallback));
    for (int32_t i = 0; i < TINY_PARAMS; i++) {
        held[i] = set->item_of[i] >= 0;
    }
    CS_TRY_GOTO(done,
                cs_param_set_create(set->graph, held, j->dtype, true, &wanted));
    CS_TRY_GOTO(done, cs_weights_load(wanted, TINY_SEED));
    if (!isnan(j->loaded_salt)) {
        CS_TRY_GOTO(done, tiny_train(wanted, j->loaded_salt));
        CS_TRY_GOTO(done, tiny_compare(set, wanted));
    }
    if (is_main) {
        memcpy(result->fallback, fallback, sizeof fallback);
        result->n_dropped = state.n_dropped;
        for (int64_t i = 0; i < state.n_dropped; i++) {
            CS_CHECK(state.dropped[i] == DROPPED[i], CS_ERR_INTERNAL,
                     "dropped samples differ");
        }
        result->loaded = state;
        result->loaded.dropped = NULL;
    }
done:
    csi_free(state.dropped);
    cs_param_set_destroy(&wanted);
    return st;
}

static cs_status save_on(const job *j, cs_comm *world, cs_param_set *set,
                         bool is_first)
{
    cs_checkpoint_writer *writer = NULL;
    cs_status st = CS_OK;
    const cs_checkpoint_options options = {
        .run_folder = j->run,
        .recipe_hash = "00112233aabbccdd",
        .plan_hash = "plan",
        .keep = j->keep,
        .keep_step = j->keep_step,
    };

    CS_TRY(cs_checkpoint_writer_create(set, world, is_first, j->is_async,
                                       &writer));
    for (int i = 0; i < MAX_STEPS && j->steps[i] > 0; i++) {
        const cs_train_state state = state_of(j->steps[i]);
        CS_TRY_GOTO(done, tiny_train(set, j->salt + (double)j->steps[i]));
        CS_TRY_GOTO(done, cs_checkpoint_save(writer, &options, &state));
        /* Training goes on while the files are written. */
        CS_TRY_GOTO(done, tiny_train(set, 1e6));
    }
    CS_TRY_GOTO(done, cs_checkpoint_finish(writer));
done:
    cs_checkpoint_writer_destroy(&writer);
    return st;
}

static cs_status run_rank(cs_comm *world, void *arg)
{
    job *j = arg;
    const int32_t per_replica = world->n_ranks / (j->dp > 0 ? j->dp : 1);
    cs_param_set *set = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, tiny_set(j->graph, world->rank % per_replica, per_replica,
                               j->dtype, &set));
    CS_TRY_GOTO(done, cs_weights_load(set, TINY_SEED));
    if (j->load != 0) {
        CS_TRY_GOTO(done,
                    cs_comm_agree(world, load_on(j, set, j, world->rank == 0)));
    }
    CS_TRY_GOTO(done, save_on(j, world, set,
                              (world->rank < per_replica) != j->last_writes));
done:
    cs_param_set_destroy(&set);
    return st;
}

static cs_status run(int32_t n_ranks, job *j)
{
    CS_TRY(cs_comm_local_run(n_ranks, 20.0, run_rank, j));
    return CS_OK;
}

typedef struct bench {
    cst_tmpdir dir;
    cs_graph *graph;
} bench;

static void begin(bench *b, const tiny_options *options)
{
    cst_tmpdir_make(&b->dir);
    b->graph = tiny_graph(options);
}

static void end(bench *b)
{
    cs_graph_destroy(&b->graph);
    cst_tmpdir_remove(&b->dir);
}

static job job_of(const bench *b)
{
    return (job){.graph = b->graph,
                 .run = b->dir.path,
                 .dtype = CS_F32,
                 .loaded_salt = NAN};
}

/* Saves steps 1..n under `n_ranks`. */
static void save_steps(const bench *b, int32_t n_ranks, int64_t n)
{
    job j = job_of(b);

    for (int64_t s = 1; s <= n; s++) {
        j.steps[s - 1] = s;
    }
    assert_ok(run(n_ranks, &j));
}

static bool has(const bench *b, const char *name)
{
    return csi_file_exists(cst_path(&b->dir, name));
}

static void flip_byte(const bench *b, const char *name, size_t at)
{
    size_t n = 0;
    char *data = cst_read(cst_path(&b->dir, name), &n);

    assert_true(at < n);
    data[at] = (char)(data[at] ^ 0x10);
    (void)cst_write_bytes(&b->dir, name, data, n);
    cst_free(data);
}

/* ---- layouts ---- */

static void what_one_layout_saved_another_resumes_bitwise(void **state)
{
    (void)state;
    static const cs_dtype DTYPES[] = {CS_F32, CS_BF16, CS_F64};

    for (int k = 0; k < 3 * 3 * 3 * 2; k++) {
        bench b;
        begin(&b, &(tiny_options){.freeze_vision = k % 2 == 1});
        job j = job_of(&b);
        j.dtype = DTYPES[k / 18];
        j.is_async = k % 2 == 1;
        j.salt = 0.25;
        j.steps[0] = 1;
        j.steps[1] = 200;
        assert_ok(run(k / 6 % 3 + 1, &j));
        memset(j.steps, 0, sizeof j.steps);
        j.load = -1;
        j.loaded_salt = 200.25;
        j.recipe_hash = "00112233aabbccdd";
        assert_ok(run(k / 2 % 3 + 1, &j));
        assert_string_equal(j.fallback, "");
        assert_int_equal(j.loaded.step, 200);
        end(&b);
    }
}

static void only_the_first_replica_writes(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){0});
    job j = job_of(&b);
    j.dp = 2;
    j.steps[0] = 4;
    assert_ok(run(4, &j));
    assert_true(has(&b, "checkpoints/step-00000004/vision.0.safetensors"));
    assert_true(has(&b,
                    "checkpoints/step-00000004/language_model.1.safetensors"));
    assert_true(has(&b, "checkpoints/step-00000004/optimizer.1.safetensors"));
    assert_false(has(&b, "checkpoints/step-00000004/optimizer.2.safetensors"));
    assert_false(has(&b, "checkpoints/step-00000004/rank-1.json"));
    j.steps[0] = 5;
    j.last_writes = true;
    assert_ok(run(4, &j));
    assert_true(has(&b, "checkpoints/step-00000005/optimizer.2.safetensors"));
    assert_false(has(&b, "checkpoints/step-00000005/optimizer.0.safetensors"));
    memset(j.steps, 0, sizeof j.steps);
    j.load = 4;
    j.loaded_salt = 4.0;
    assert_ok(run(4, &j));
    end(&b);
}

static void the_whole_state_comes_back(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){0});
    save_steps(&b, 1, 2);
    for (int64_t step = 1; step <= 2; step++) {
        const cs_train_state want = state_of(step);
        job j = job_of(&b);
        j.load = step;
        assert_ok(run(1, &j));
        const cs_train_state *got = &j.loaded;
        assert_int_equal(got->step, want.step);
        assert_int_equal(got->update, want.update);
        assert_memory_equal(&got->epoch, &want.epoch, sizeof got->epoch);
        assert_true(got->sample_hash == want.sample_hash);
        assert_int_equal(got->skipped_samples, want.skipped_samples);
        assert_int_equal(got->non_finite_in_a_row, want.non_finite_in_a_row);
        assert_true(isnan(got->best_metric) == isnan(want.best_metric));
        if (!isnan(want.best_metric)) {
            assert_memory_equal(&got->best_metric, &want.best_metric,
                                sizeof(double));
        }
        assert_int_equal(got->best_step, want.best_step);
        assert_int_equal(got->n_stale_evaluations, want.n_stale_evaluations);
        assert_int_equal(j.n_dropped, 3);
        assert_int_equal(got->metrics_bytes, want.metrics_bytes);
        assert_string_equal(got->recipe_hash, want.recipe_hash);
    }
    end(&b);
}

static void a_set_without_optimizer_takes_the_weights_alone(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){0});
    save_steps(&b, 2, 1);
    bool held[TINY_PARAMS];
    cs_param_set *set = NULL;
    cs_train_state loaded = {0};
    char fallback[512];

    memset(held, 1, sizeof held);
    assert_ok(cs_param_set_create(b.graph, held, CS_BF16, false, &set));
    assert_ok(cs_checkpoint_load(b.dir.path, 0, NULL, set, &loaded, fallback));
    assert_near(cs_tensor_get(&set->items[7].working, 0), 1.0 + 7.0, 0.05);
    csi_free(loaded.dropped);
    cs_param_set_destroy(&set);
    end(&b);
}

/* ---- frozen parameters ---- */

static void frozen_modules_of_a_source_are_named_not_written(void **state)
{
    (void)state;
    bench a;
    bench b;
    begin(&a, &(tiny_options){0});
    job j = job_of(&a);
    /* A source: any folder with the right names. */
    cs_safetensors_writer *writer = NULL;
    float values[128];
    for (int i = 0; i < 128; i++) {
        values[i] = (float)i;
    }
    assert_ok(cs_safetensors_writer_create(cst_path(&a.dir,
                                                    "model.safetensors"),
                                           NULL, 0, &writer));
    for (int i = 0; i < 4; i++) {
        assert_ok(cs_safetensors_writer_add(writer, TINY[i].name, CS_F32,
                                            &TINY[i].shape));
    }
    for (int i = 0; i < 4; i++) {
        assert_ok(cs_safetensors_writer_write(writer, TINY[i].name, values,
                                              4 * cs_shape_count(&TINY[i]
                                                                      .shape)));
    }
    assert_ok(cs_safetensors_writer_commit(writer));
    cs_safetensors_writer_destroy(&writer);

    begin(&b,
          &(tiny_options){.freeze_vision = true, .vision_from = a.dir.path});
    j = job_of(&b);
    j.steps[0] = 1;
    assert_ok(run(3, &j));
    const char *manifest = cst_path(&b.dir, "checkpoints/step-00000001/"
                                            "manifest.json");
    char *text = cst_read(manifest, NULL);
    char part[CST_PATH_BYTES + 64];
    (void)snprintf(part, sizeof part,
                   "\"vision.norm.bias\": {\"shape\": [4], \"source\": "
                   "\"%s\"}",
                   a.dir.path);
    assert_contains(text, part);
    cst_free(text);
    memset(j.steps, 0, sizeof j.steps);
    j.load = -1;
    j.loaded_salt = 1.0;
    assert_ok(run(2, &j));

    /* A model without that source cannot go on from here. */
    bench c;
    begin(&c, &(tiny_options){.freeze_vision = true});
    j.graph = c.graph;
    assert_fails(run(1, &j), CS_ERR_FORMAT, "no source");
    end(&a);
    end(&b);
    end(&c);
}

static void random_frozen_modules_are_written_once(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){.freeze_vision = true});
    job j = job_of(&b);
    for (int i = 0; i < 4; i++) {
        j.steps[i] = i + 1;
    }
    j.keep = 1;
    assert_ok(run(2, &j));
    /* Step 1 stays: 4 refers to it. */
    assert_true(has(&b, "checkpoints/step-00000001/vision.0.safetensors"));
    assert_false(csi_dir_exists(cst_path(&b.dir, "checkpoints/step-00000002")));
    assert_false(csi_dir_exists(cst_path(&b.dir, "checkpoints/step-00000003")));
    char *text =
        cst_read(cst_path(&b.dir, "checkpoints/step-00000004/manifest.json"),
                 NULL);
    assert_contains(text, "\"vision.norm.bias\": {\"shape\": [4], \"dtype\": "
                          "\"f32\", \"ref\": \"step-00000001\"}");
    cst_free(text);
    memset(j.steps, 0, sizeof j.steps);
    j.load = -1;
    j.loaded_salt = 4.0;
    assert_ok(run(3, &j));
    /* Damage over there is damage here. */
    flip_byte(&b, "checkpoints/step-00000001/vision.0.safetensors", 700);
    j.load = 4;
    assert_fails(run(1, &j), CS_ERR_FORMAT,
                 "step-00000001/vision.0.safetensors: wanted checksum");
    end(&b);
}

/* ---- rotation ---- */

static void the_best_and_the_newest_are_kept(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){0});
    /* Whisper-like positions are frozen without a source: they would keep
     * step 1 alive. Train them here. */
    b.graph->params[1].is_trainable = true;
    job j = job_of(&b);
    for (int i = 0; i < 6; i++) {
        j.steps[i] = 10 * (i + 1);
    }
    j.keep = 2;
    j.keep_step = 20;
    assert_ok(run(1, &j));
    static const bool KEPT[] = {false, true, false, false, true, true};
    for (int i = 0; i < 6; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "checkpoints/step-%08d",
                       10 * (i + 1));
        assert_int_equal(csi_dir_exists(cst_path(&b.dir, name)), KEPT[i]);
    }
    assert_int_equal(cs_checkpoint_latest(b.dir.path), 60);
    end(&b);
}

static void steps_of_a_left_line_of_training_go(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){0});
    save_steps(&b, 1, 3);
    job j = job_of(&b);
    j.load = 1;
    j.loaded_salt = 1.0;
    j.steps[0] = 2;
    j.salt = 0.5;
    assert_ok(run(1, &j));
    assert_int_equal(cs_checkpoint_latest(b.dir.path), 2);
    assert_false(csi_dir_exists(cst_path(&b.dir, "checkpoints/step-00000003")));
    memset(j.steps, 0, sizeof j.steps);
    j.load = -1;
    j.loaded_salt = 2.5;
    assert_ok(run(1, &j));
    end(&b);
}

/* After a crash between the rename of step 3 and of `latest`. */
static void what_latest_names_counts(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){0});
    save_steps(&b, 1, 3);
    (void)cst_write_text(&b.dir, "checkpoints/latest", "step-00000002\n");
    assert_int_equal(cs_checkpoint_latest(b.dir.path), 2);
    job j = job_of(&b);
    j.load = -1;
    j.loaded_salt = 2.0;
    assert_ok(run(1, &j));
    assert_int_equal(remove(cst_path(&b.dir, "checkpoints/latest")), 0);
    assert_int_equal(cs_checkpoint_latest(b.dir.path), 3);
    end(&b);
}

/* ---- damage ---- */

static void a_damaged_checkpoint_falls_back_and_says_so(void **state)
{
    (void)state;
    static const char *const FILES[] = {
        "vision.0.safetensors",    "language_model.1.safetensors",
        "optimizer.1.safetensors", "state.json",
        "manifest.json",
    };
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        for (int how = 0; how < 3; how++) {
            bench b;
            char name[128];
            begin(&b, &(tiny_options){0});
            save_steps(&b, 2, 2);
            (void)snprintf(name, sizeof name, "checkpoints/step-00000002/%s",
                           FILES[i]);
            if (how == 0) {
                flip_byte(&b, name, 2);
            } else if (how == 1) {
                assert_ok(csi_file_truncate(cst_path(&b.dir, name), 20));
            } else {
                assert_int_equal(remove(cst_path(&b.dir, name)), 0);
            }
            job j = job_of(&b);
            j.load = -1;
            j.loaded_salt = 1.0;
            assert_ok(run(3, &j));
            assert_int_equal(j.loaded.step, 1);
            if (i + 1 < sizeof FILES / sizeof FILES[0] || how < 2) {
                assert_contains(j.fallback, "checkpoint of step 2 is damaged, "
                                            "going on from step 1: ");
                assert_contains(j.fallback, FILES[i]);
                j.load = 2;
                const cs_status st = run(1, &j);
                assert_true(st == CS_ERR_FORMAT || st == CS_ERR_IO);
            } else {
                /* Without a manifest it never was a checkpoint. */
                assert_string_equal(j.fallback, "");
            }
            end(&b);
        }
    }
}

static void when_all_are_damaged_the_newest_is_blamed(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){0});
    save_steps(&b, 1, 2);
    flip_byte(&b, "checkpoints/step-00000001/state.json", 30);
    flip_byte(&b, "checkpoints/step-00000002/vision.0.safetensors", 30);
    job j = job_of(&b);
    j.load = -1;
    assert_fails(run(1, &j), CS_ERR_FORMAT,
                 "step-00000002/vision.0.safetensors: wanted checksum");
    end(&b);
}

static void what_does_not_fit_is_said(void **state)
{
    (void)state;
    bench b;
    bench other;
    begin(&b, &(tiny_options){0});
    job j = job_of(&b);
    j.load = -1;
    assert_fails(run(1, &j), CS_ERR_ARG, "there is no complete checkpoint");
    assert_int_equal(cs_checkpoint_latest(b.dir.path), 0);
    save_steps(&b, 1, 2);
    j.load = 7;
    assert_fails(run(1, &j), CS_ERR_ARG,
                 "no checkpoint of step 7, only of 1, "
                 "2");
    j.load = -1;
    j.recipe_hash = "ffffffffffffffff";
    assert_fails(run(1, &j), CS_ERR_FORMAT,
                 "was saved by recipe 00112233aabbccdd, this is recipe "
                 "ffffffffffffffff");
    j.recipe_hash = NULL;

    begin(&other, &(tiny_options){0});
    j.graph = other.graph;
    other.graph->params[9].shape = CS_SHAPE(11, 6);
    assert_fails(run(1, &j), CS_ERR_FORMAT,
                 "language_model.lm_head.weight is [10, 6], wanted [11, 6]");
    csi_free(other.graph->params[9].global_name);
    other.graph->params[9].global_name = tiny_copy("language_model.new");
    assert_fails(run(1, &j), CS_ERR_FORMAT,
                 "has no values of language_model.new");
    end(&other);
    end(&b);
}

/* ---- what goes wrong while saving ---- */

static void leftovers_of_a_crash_are_swept(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){0});
    save_steps(&b, 1, 1);
    assert_ok(csi_dir_create(cst_path(&b.dir,
                                      "checkpoints/step-00000002.tmp/deep")));
    assert_ok(csi_dir_create(cst_path(&b.dir,
                                      "checkpoints/step-00000009.failed")));
    (void)cst_write_text(&b.dir, "checkpoints/latest", "step-00000005\n");
    assert_int_equal(cs_checkpoint_latest(b.dir.path), 1);
    job j = job_of(&b);
    j.steps[0] = 2;
    assert_ok(run(2, &j));
    assert_int_equal(cs_checkpoint_latest(b.dir.path), 2);
    assert_false(csi_dir_exists(cst_path(&b.dir,
                                         "checkpoints/step-00000009.failed")));
    assert_false(csi_dir_exists(cst_path(&b.dir,
                                         "checkpoints/step-00000002/deep")));
    end(&b);
}

/* The limit on file sizes stands for a full disk: only rank 2's optimizer
 * state is larger than it. */
static void a_full_disk_leaves_the_checkpoint_before(void **state)
{
    (void)state;
    for (int is_async = 0; is_async < 2; is_async++) {
        bench b;
        begin(&b, &(tiny_options){0});
        b.graph->params[9].shape = CS_SHAPE(10, 100);
        save_steps(&b, 3, 1);
        struct rlimit old;
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
        const struct rlimit small = {.rlim_cur = 6000,
                                     .rlim_max = old.rlim_max};
        job j = job_of(&b);
        j.steps[0] = 2;
        j.is_async = is_async == 1;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        const cs_status st = run(3, &j);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        (void)signal(SIGXFSZ, handler);
        assert_int_equal(st, CS_ERR_IO);
        assert_contains(cs_error_message(), "optimizer.2.safetensors: cannot");
        assert_int_equal(cs_checkpoint_latest(b.dir.path), 1);
        assert_false(csi_dir_exists(cst_path(&b.dir,
                                             "checkpoints/step-00000002.tmp")));
        assert_false(csi_dir_exists(cst_path(&b.dir, "checkpoints/"
                                                     "step-00000002.failed")));
        memset(j.steps, 0, sizeof j.steps);
        j.load = -1;
        j.loaded_salt = 1.0;
        assert_ok(run(2, &j));
        end(&b);
    }
}

static cs_status run_once(void *arg)
{
    CS_TRY(run(1, arg));
    return CS_OK;
}

static void no_fault_leaks_or_is_swallowed(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){.freeze_vision = true});
    cs_log_set_sink(NULL); /* a faulty system cannot clean up: that warns */
    for (int is_async = 0; is_async < 2; is_async++) {
        job j = job_of(&b);
        j.is_async = is_async == 1;
        j.steps[0] = 2;
        j.keep = 1;
        (void)cst_torture(run_once, &j);
        memset(j.steps, 0, sizeof j.steps);
        j.load = 2;
        j.loaded_salt = 2.0;
        (void)cst_torture(run_once, &j);
    }
    cs_log_set_sink(stderr);
    end(&b);
}

static void a_writer_wants_optimizer_state(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){0});
    bool held[TINY_PARAMS];
    cs_param_set *set = NULL;
    cs_comm *world = NULL;
    cs_checkpoint_writer *writer = NULL;

    memset(held, 1, sizeof held);
    assert_ok(cs_comm_local_create(1, 1.0, &world));
    assert_ok(cs_param_set_create(b.graph, held, CS_F32, false, &set));
    assert_fails(cs_checkpoint_writer_create(set, world, true, false, &writer),
                 CS_ERR_ARG, "vision.stem.weight has no optimizer state");
    assert_fails(cs_checkpoint_writer_create(set, world, false, false, &writer),
                 CS_ERR_ARG, "vision.stem.weight has no optimizer state");
    cs_param_set_destroy(&set);
    cs_comm_destroy(&world);
    end(&b);
}

static void checkpoints_print_as_tables(void **state)
{
    (void)state;
    bench b;
    begin(&b, &(tiny_options){.freeze_vision = true});
    char *text = NULL;
    assert_fails(cs_checkpoint_print(b.dir.path, 0, &text), CS_ERR_ARG,
                 "no complete checkpoint");
    save_steps(&b, 2, 2);
    assert_ok(cs_checkpoint_print(b.dir.path, 0, &text));
    assert_contains(text, "         1 ");
    assert_contains(text, "00112233aabbccdd  latest\n");
    csi_free(text);
    assert_ok(cs_checkpoint_print(b.dir.path, 2, &text));
    assert_contains(text, "step 2, recipe 00112233aabbccdd, plan plan");
    assert_contains(text, "optimizer.1.safetensors");
    assert_contains(text, "f32 frozen, in step 1");
    assert_contains(text, "language_model.1.safetensors, with optimizer state");
    csi_free(text);
    flip_byte(&b, "checkpoints/step-00000001/manifest.json", 2);
    assert_ok(cs_checkpoint_print(b.dir.path, 0, &text));
    assert_contains(text, "1  damaged: ");
    csi_free(text);
    end(&b);
}

int main(void)
{
    /* Thousands of small files, each flushed: a disk would take minutes. */
    if (csi_dir_exists("/dev/shm")) {
        (void)setenv("TMPDIR", "/dev/shm", 0);
    }
    const struct CMUnitTest tests[] = {
        CST_TEST(what_one_layout_saved_another_resumes_bitwise),
        CST_TEST(only_the_first_replica_writes),
        CST_TEST(the_whole_state_comes_back),
        CST_TEST(a_set_without_optimizer_takes_the_weights_alone),
        CST_TEST(frozen_modules_of_a_source_are_named_not_written),
        CST_TEST(random_frozen_modules_are_written_once),
        CST_TEST(the_best_and_the_newest_are_kept),
        CST_TEST(steps_of_a_left_line_of_training_go),
        CST_TEST(what_latest_names_counts),
        CST_TEST(a_damaged_checkpoint_falls_back_and_says_so),
        CST_TEST(when_all_are_damaged_the_newest_is_blamed),
        CST_TEST(what_does_not_fit_is_said),
        CST_TEST(leftovers_of_a_crash_are_swept),
        CST_TEST(a_full_disk_leaves_the_checkpoint_before),
        CST_TEST(no_fault_leaks_or_is_swallowed),
        CST_TEST(a_writer_wants_optimizer_state),
        CST_TEST(checkpoints_print_as_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
