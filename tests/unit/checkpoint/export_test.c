/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of weights: written by one or several ranks, and read again. */
#include "cornstarch/log.h"

#include "base/file.h"

#include "tiny_model.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

typedef struct job {
    cs_graph *graph;
    const char *folder;
    cs_dtype dtype;
    double salt;
    bool loads; /* from the sources before it is "trained" */
} job;

static const char *const PREPROCESSORS[] = {"{\"size\": 1}\n"};

static cs_status export_rank(cs_comm *comm, void *arg)
{
    const job *j = arg;
    cs_param_set *set = NULL;
    cs_status st = CS_OK;
    const cs_export_extras extras = {
        .cornstarch_json = "{\"format\": \"cornstarch.model\"}\n",
        .preprocessor_json = PREPROCESSORS,
        .generation_config_json = "{}\n",
    };

    CS_TRY_GOTO(done,
                tiny_set(j->graph, comm->rank, comm->n_ranks, j->dtype, &set));
    if (j->loads) {
        CS_TRY_GOTO(done, cs_weights_load(set, TINY_SEED));
    } else {
        cs_param_set_init(set, TINY_SEED);
    }
    if (j->salt != 0.0) {
        CS_TRY_GOTO(done, tiny_train(set, j->salt));
    }
    CS_TRY_GOTO(done,
                cs_model_export(set, TINY_SEED, comm, &extras, j->folder));
done:
    cs_param_set_destroy(&set);
    return st;
}

static void export_by(int32_t n_ranks, job *j)
{
    assert_ok(cs_comm_local_run(n_ranks, 10.0, export_rank, j));
}

static bool same_file(const cst_tmpdir *dir, const char *a, const char *b)
{
    size_t n_a = 0;
    size_t n_b = 0;
    char *x = cst_read(cst_path(dir, a), &n_a);
    char *y = cst_read(cst_path(dir, b), &n_b);
    const bool same = n_a == n_b && memcmp(x, y, n_a) == 0;

    cst_free(x);
    cst_free(y);
    return same;
}

/* A folder of the three parts, trained with `salt`, at dir/name. */
static void make_sources(const cst_tmpdir *dir, const char *name, double salt)
{
    const tiny_options options = {0};
    cs_graph *graph = tiny_graph(&options);
    job j = {.graph = graph,
             .folder = cst_path(dir, name),
             .dtype = CS_F32,
             .salt = salt};

    export_by(1, &j);
    cs_graph_destroy(&graph);
}

static void every_number_of_ranks_writes_the_same_model(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    static const char *const FILES[] = {
        "cornstarch.json",
        "vision/config.json",
        "vision/preprocessor_config.json",
        "vision/model.safetensors",
        "vision/projector/config.json",
        "vision/projector/model.safetensors",
        "language_model/config.json",
        "language_model/generation_config.json",
        "language_model/model.safetensors",
    };
    for (int32_t n = 1; n <= 3; n++) {
        char name[8];
        (void)snprintf(name, sizeof name, "m%d", n);
        const tiny_options options = {.freeze_vision = n == 2};
        cs_graph *graph = tiny_graph(&options);
        job j = {.graph = graph,
                 .folder = cst_path(&dir, name),
                 .dtype = CS_F32,
                 .salt = n == 2 ? 0.0 : 2.5};
        export_by(n, &j);
        cs_graph_destroy(&graph);
    }
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        char a[128];
        char b[128];
        (void)snprintf(a, sizeof a, "m1/%s", FILES[i]);
        (void)snprintf(b, sizeof b, "m3/%s", FILES[i]);
        assert_true(same_file(&dir, a, b));
    }
    assert_false(same_file(&dir, "m1/vision/model.safetensors",
                           "m2/vision/model.safetensors"));
    assert_false(csi_dir_exists(cst_path(&dir, "m1.tmp")));
    cst_tmpdir_remove(&dir);
}

static cs_status load_and_compare(cs_comm *comm, void *arg)
{
    const job *j = arg;
    cs_param_set *got = NULL;
    cs_param_set *wanted = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done,
                tiny_set(j->graph, comm->rank, comm->n_ranks, j->dtype, &got));
    CS_TRY_GOTO(done, tiny_set(j->graph, comm->rank, comm->n_ranks, j->dtype,
                               &wanted));
    cs_param_set_init(wanted, TINY_SEED);
    CS_TRY_GOTO(done, tiny_train(wanted, j->salt));
    CS_TRY_GOTO(done, cs_weights_load(got, TINY_SEED));
    for (int32_t i = 0; i < got->n; i++) { /* weights only: no m, v */
        cs_param_state *p = &wanted->items[i];
        if (p->m != NULL) {
            memset(p->m, 0, (size_t)p->count * cs_dtype_bytes(got->real));
            memset(p->v, 0, (size_t)p->count * cs_dtype_bytes(got->real));
        }
    }
    CS_TRY_GOTO(done, tiny_compare(got, wanted));
done:
    cs_param_set_destroy(&got);
    cs_param_set_destroy(&wanted);
    return st;
}

static void what_was_exported_is_loaded_again(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    make_sources(&dir, "a", 1.5);
    const tiny_options options = {
        .vision_from = cst_path(&dir, "a/vision"),
        .projector_from = cst_path(&dir, "a/vision/projector"),
        .language_model_from = cst_path(&dir, "a/language_model"),
    };
    for (int dtype = 0; dtype < 2; dtype++) {
        cs_graph *graph = tiny_graph(&options);
        job j = {.graph = graph,
                 .dtype = dtype == 0 ? CS_F32 : CS_BF16,
                 .salt = 1.5};
        for (int32_t n = 1; n <= 3; n++) {
            assert_ok(cs_comm_local_run(n, 10.0, load_and_compare, &j));
        }
        cs_graph_destroy(&graph);
    }
    cst_tmpdir_remove(&dir);
}

static void frozen_parts_keep_their_very_bytes(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    make_sources(&dir, "a", 1.5);
    const tiny_options options = {
        .freeze_vision = true,
        .freeze_language_model = true,
        .vision_from = cst_path(&dir, "a/vision"),
        .language_model_from = cst_path(&dir, "a/language_model"),
    };
    cs_graph *graph = tiny_graph(&options);
    job j = {.graph = graph,
             .folder = cst_path(&dir, "b"),
             .dtype = CS_BF16,
             .salt = 9.25,
             .loads = true};
    export_by(2, &j);
    cs_graph_destroy(&graph);
    assert_true(same_file(&dir, "a/vision/model.safetensors",
                          "b/vision/model.safetensors"));
    assert_true(same_file(&dir, "a/language_model/model.safetensors",
                          "b/language_model/model.safetensors"));
    assert_false(same_file(&dir, "a/vision/projector/model.safetensors",
                           "b/vision/projector/model.safetensors"));
    cst_tmpdir_remove(&dir);
}

/* embed in bf16, the others in f32, as a mixed source may have them. */
static void write_mixed_source(const cst_tmpdir *dir)
{
    cs_safetensors_writer *writer = NULL;
    uint8_t bytes[512] = {0};
    char path[CST_PATH_BYTES];

    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i % 61);
    }
    assert_ok(csi_dir_create(cst_path(dir, "mixed")));
    (void)snprintf(path, sizeof path, "%s",
                   cst_path(dir, "mixed/model.safetensors"));
    assert_ok(cs_safetensors_writer_create(path, NULL, 0, &writer));
    for (int32_t i = 9; i >= 6; i--) {
        assert_ok(cs_safetensors_writer_add(writer, TINY[i].name,
                                            i == 6 ? CS_BF16 : CS_F32,
                                            &TINY[i].shape));
    }
    for (int32_t i = 9; i >= 6; i--) {
        assert_ok(cs_safetensors_writer_write(writer, TINY[i].name, bytes,
                                              cs_shape_count(&TINY[i].shape) *
                                                  (i == 6 ? 2 : 4)));
    }
    assert_ok(cs_safetensors_writer_commit(writer));
    cs_safetensors_writer_destroy(&writer);
}

static void
frozen_tensors_of_a_trained_module_keep_bytes_and_dtype(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    write_mixed_source(&dir);
    const tiny_options options = {
        .freeze_embed = true,
        .language_model_from = cst_path(&dir, "mixed"),
    };
    cs_graph *graph = tiny_graph(&options);
    job j = {.graph = graph,
             .folder = cst_path(&dir, "out"),
             .dtype = CS_F32,
             .salt = 3.0,
             .loads = true};
    cs_safetensors *file = NULL;
    const cs_safetensor *embed = NULL;
    const cs_safetensor *up = NULL;

    export_by(3, &j);
    assert_ok(cs_safetensors_open_folder(cst_path(&dir, "out/language_model"),
                                         &file));
    assert_string_equal(cs_safetensors_metadata(file, "format"), "pt");
    assert_ok(cs_safetensors_require(file, TINY[6].name, &TINY[6].shape,
                                     &embed));
    assert_int_equal(embed->dtype, CS_BF16);
    for (int64_t i = 0; i < embed->n_bytes; i++) {
        assert_int_equal(((const uint8_t *)embed->data)[i], i % 61);
    }
    assert_ok(cs_safetensors_require(file, TINY[7].name, &TINY[7].shape, &up));
    assert_int_equal(up->dtype, CS_F32);
    assert_near(csi_dtype_get(up->data, CS_F32, 0), 3.0 + 7.0 + 0.001 / 3.0,
                1e-7);
    cs_safetensors_close(&file);
    cs_graph_destroy(&graph);
    cst_tmpdir_remove(&dir);
}

static void everything_that_does_not_fit_is_named_at_once(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    cs_safetensors_writer *writer = NULL;
    const float six[6] = {0};

    assert_ok(csi_dir_create(cst_path(&dir, "v")));
    assert_ok(cs_safetensors_writer_create(cst_path(&dir,
                                                    "v/model.safetensors"),
                                           NULL, 0, &writer));
    assert_ok(cs_safetensors_writer_add(writer, "norm.weight", CS_F32,
                                        &CS_SHAPE(2, 3)));
    assert_ok(cs_safetensors_writer_write(writer, "norm.weight", six, 24));
    assert_ok(cs_safetensors_writer_commit(writer));
    cs_safetensors_writer_destroy(&writer);

    const tiny_options options = {.vision_from = cst_path(&dir, "v")};
    cs_graph *graph = tiny_graph(&options);
    cs_param_set *set = NULL;
    assert_ok(tiny_set(graph, 0, 1, CS_F32, &set));
    const cs_status st = cs_weights_load(set, TINY_SEED);
    assert_int_equal(st, CS_ERR_FORMAT);
    assert_contains(cs_error_message(), "3 of the tensors of vision");
    assert_contains(cs_error_message(), "'stem.weight' is missing");
    assert_contains(cs_error_message(),
                    "'norm.weight' in model.safetensors is [2, 3], wanted [4]");
    assert_contains(cs_error_message(), "'norm.bias' is missing");
    cs_param_set_destroy(&set);
    cs_graph_destroy(&graph);
    cst_tmpdir_remove(&dir);
}

static void fixed_positions_may_be_missing(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    cs_safetensors_writer *writer = NULL;
    const float zeros[48] = {0};
    static const int32_t STORED[] = {0, 2, 3};

    assert_ok(csi_dir_create(cst_path(&dir, "v")));
    assert_ok(cs_safetensors_writer_create(cst_path(&dir,
                                                    "v/model.safetensors"),
                                           NULL, 0, &writer));
    for (size_t k = 0; k < 3; k++) {
        const tiny_spec *s = &TINY[STORED[k]];
        assert_ok(cs_safetensors_writer_add(writer, s->name, CS_F32,
                                            &s->shape));
    }
    for (size_t k = 0; k < 3; k++) {
        const tiny_spec *s = &TINY[STORED[k]];
        assert_ok(cs_safetensors_writer_write(writer, s->name, zeros,
                                              4 * cs_shape_count(&s->shape)));
    }
    assert_ok(cs_safetensors_writer_commit(writer));
    cs_safetensors_writer_destroy(&writer);

    const tiny_options options = {.vision_from = cst_path(&dir, "v")};
    cs_graph *graph = tiny_graph(&options);
    cs_param_set *set = NULL;
    assert_ok(tiny_set(graph, 0, 1, CS_F32, &set));
    assert_ok(cs_weights_load(set, TINY_SEED));
    assert_near(cs_tensor_get(&set->items[1].working, 2), 1.0, 1e-7); /* cos */
    assert_near(cs_tensor_get(&set->items[2].working, 0), 0.0, 0.0);
    cs_param_set_destroy(&set);
    cs_graph_destroy(&graph);
    cst_tmpdir_remove(&dir);
}

static void unexpected_tensors_are_named_on_the_log(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    make_sources(&dir, "a", 1.0);
    const tiny_options options = {
        .projector_from = cst_path(&dir, "a/vision/projector"),
    };
    cs_graph *graph = tiny_graph(&options);
    bool held[TINY_PARAMS] = {false};
    cs_param_set *set = NULL;
    FILE *log = tmpfile();
    char line[256] = "";

    csi_free(graph->params[5].name);
    graph->params[5].name = tiny_copy("linear.other");
    held[4] = true;
    assert_non_null(log);
    assert_ok(cs_param_set_create(graph, held, CS_F32, false, &set));
    cs_log_set_sink(log);
    assert_ok(cs_weights_load(set, TINY_SEED));
    cs_log_set_sink(stderr);
    rewind(log);
    assert_non_null(fgets(line, sizeof line, log));
    assert_contains(line, "1 tensors that vision does not use: linear.bias");
    assert_null(fgets(line, sizeof line, log));
    (void)fclose(log);
    cs_param_set_destroy(&set);
    cs_graph_destroy(&graph);
    cst_tmpdir_remove(&dir);
}

static void an_old_model_is_replaced_whole(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    make_sources(&dir, "a", 1.0);
    (void)cst_write_text(&dir, "a/stale.txt", "x");
    make_sources(&dir, "a", 2.0);
    assert_false(csi_file_exists(cst_path(&dir, "a/stale.txt")));
    assert_false(csi_dir_exists(cst_path(&dir, "a.old")));
    cst_tmpdir_remove(&dir);
}

/* The limit on file sizes stands for a full disk: rank 0's write is refused
 * by the system in the middle, while others still send. */
static void a_full_disk_is_one_error_on_all_ranks(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    make_sources(&dir, "a", 1.0);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    const struct rlimit small = {.rlim_cur = 300, .rlim_max = old.rlim_max};
    const tiny_options options = {0};
    cs_graph *graph = tiny_graph(&options);
    job j = {.graph = graph,
             .folder = cst_path(&dir, "a"),
             .dtype = CS_F32,
             .salt = 4.0};

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const cs_status st = cs_comm_local_run(3, 10.0, export_rank, &j);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(st, CS_ERR_IO);
    assert_contains(cs_error_message(), "vision/model.safetensors");
    assert_false(csi_dir_exists(cst_path(&dir, "a.tmp")));
    assert_true(csi_file_exists(cst_path(&dir, "a/cornstarch.json")));
    cs_graph_destroy(&graph);
    cst_tmpdir_remove(&dir);
}

static cs_status export_once(void *arg)
{
    CS_TRY(cs_comm_local_run(1, 10.0, export_rank, arg));
    return CS_OK;
}

static void no_fault_leaks_or_is_swallowed(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    make_sources(&dir, "a", 1.5);
    const tiny_options options = {
        .freeze_vision = true,
        .freeze_embed = true,
        .vision_from = cst_path(&dir, "a/vision"),
        .language_model_from = cst_path(&dir, "a/language_model"),
    };
    cs_graph *graph = tiny_graph(&options);
    job j = {.graph = graph,
             .folder = cst_path(&dir, "b"),
             .dtype = CS_F32,
             .loads = true};
    cs_log_set_sink(NULL); /* a faulty system cannot clean up: that warns */
    (void)cst_torture(export_once, &j);
    cs_log_set_sink(stderr);
    cs_graph_destroy(&graph);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    /* Thousands of small files, each flushed: a disk would take minutes. */
    if (csi_dir_exists("/dev/shm")) {
        (void)setenv("TMPDIR", "/dev/shm", 0);
    }
    const struct CMUnitTest tests[] = {
        CST_TEST(every_number_of_ranks_writes_the_same_model),
        CST_TEST(what_was_exported_is_loaded_again),
        CST_TEST(frozen_parts_keep_their_very_bytes),
        CST_TEST(frozen_tensors_of_a_trained_module_keep_bytes_and_dtype),
        CST_TEST(everything_that_does_not_fit_is_named_at_once),
        CST_TEST(fixed_positions_may_be_missing),
        CST_TEST(unexpected_tensors_are_named_on_the_log),
        CST_TEST(an_old_model_is_replaced_whole),
        CST_TEST(a_full_disk_is_one_error_on_all_ranks),
        CST_TEST(no_fault_leaks_or_is_swallowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
