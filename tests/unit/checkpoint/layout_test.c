/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders whose tensors lie otherwise than memory: transposed products, rows
 * dealt out by head, experts apart, a head that is the embedding. What export
 * writes, import reads, and the next export writes the same bytes.
 */
#include "base/file.h"
#include "base/str.h"

#include "tiny_model.h"

enum {
    EMBED,
    HEAD, /* tied to EMBED */
    FLIPPED,
    GROUPS,
    EXPERTS,
    N_PARAMS,
    N_EXPERTS = 3
};

static const struct {
    const char *name;
    cs_shape shape;
    cs_param_layout layout;
    int32_t tied_to;
} PARAMS[N_PARAMS] = {
    {"embed.weight", {2, {10, 6}}, CS_LAYOUT_PLAIN, -1},
    {"lm_head.weight", {2, {10, 6}}, CS_LAYOUT_PLAIN, EMBED},
    {"c_fc.weight", {2, {4, 6}}, CS_LAYOUT_TRANSPOSED, -1},
    /* 4 heads of 2 columns, 2 of them with keys and values: 8 + 4 + 4 rows */
    {"wqkv.weight", {2, {16, 3}}, CS_LAYOUT_QKV_GROUPS, -1},
    {"experts.*.w1.weight", {3, {N_EXPERTS, 2, 5}}, CS_LAYOUT_EXPERTS, -1},
};

static cs_graph *make_graph(const char *from, bool freeze)
{
    cs_graph *g = csi_calloc(1, sizeof *g);

    g->n_modules = 1;
    g->modules = csi_calloc(1, sizeof *g->modules);
    g->modules[0] = (cs_module){
        .name = tiny_copy("language_model"),
        .source = tiny_copy(from),
        .hf_config = tiny_copy("{}\n"),
        .n_layers = 1,
        .layers = csi_calloc(1, sizeof(cs_layer)),
    };
    g->modules[0].layers[0].heads = 4;
    g->modules[0].layers[0].kv_heads = 2;
    g->modules[0].layers[0].head_dim = 2;
    g->params = csi_calloc(N_PARAMS, sizeof *g->params);
    g->n_params = N_PARAMS;
    for (int32_t i = 0; i < N_PARAMS; i++) {
        char global[128];
        (void)snprintf(global, sizeof global, "language_model.%s",
                       PARAMS[i].name);
        g->params[i] = (cs_param){
            .name = tiny_copy(PARAMS[i].name),
            .global_name = tiny_copy(global),
            .shape = PARAMS[i].shape,
            .layout = PARAMS[i].layout,
            .tied_to = PARAMS[i].tied_to,
            .init = CS_INIT_NORMAL,
            .init_std = 1.0,
            .is_trainable = !freeze,
        };
    }
    return g;
}

typedef struct job {
    cs_graph *graph;
    const char *folder;
    int64_t max_shard_bytes;
    cs_dtype dtype;
} job;

/* Rank r holds the parameters with number r modulo the ranks. */
static cs_status export_rank(cs_comm *comm, void *arg)
{
    const job *j = arg;
    const cs_export_extras extras = {
        .cornstarch_json = "{}\n",
        .max_shard_bytes = j->max_shard_bytes,
    };
    cs_param_set *set = NULL;
    bool held[N_PARAMS];
    cs_status st = CS_OK;

    for (int32_t i = 0; i < N_PARAMS; i++) {
        held[i] = i % comm->n_ranks == comm->rank;
    }
    CS_TRY_GOTO(done,
                cs_param_set_create(j->graph, held, j->dtype, true, &set));
    CS_TRY_GOTO(done, cs_weights_load(set, TINY_SEED));
    CS_TRY_GOTO(done,
                cs_model_export(set, TINY_SEED, comm, &extras, j->folder));
done:
    cs_param_set_destroy(&set);
    return st;
}

static void export_to(const char *from, const char *folder, int32_t n_ranks,
                      bool freeze, int64_t max_shard_bytes)
{
    job j = {.graph = make_graph(from, freeze),
             .folder = folder,
             .max_shard_bytes = max_shard_bytes,
             .dtype = CS_F32};

    assert_ok(cs_comm_local_run(n_ranks, 10.0, export_rank, &j));
    cs_graph_destroy(&j.graph);
}

static cs_param_set *load(cs_graph *graph, cs_dtype dtype)
{
    const bool held[N_PARAMS] = {true, true, true, true, true};
    cs_param_set *set = NULL;

    assert_ok(cs_param_set_create(graph, held, dtype, false, &set));
    assert_ok(cs_weights_load(set, TINY_SEED));
    return set;
}

static void assert_same_folder(const char *a, const char *b)
{
    char **names = NULL;
    int64_t count = 0;

    assert_ok(csi_dir_list(a, &names, &count));
    assert_true(count >= 2);
    for (int64_t i = 0; i < count; i++) {
        char path[2][CST_PATH_BYTES];
        size_t n[2] = {0, 0};
        assert_ok(csi_format(path[0], sizeof path[0], "%s/%s", a, names[i]));
        assert_ok(csi_format(path[1], sizeof path[1], "%s/%s", b, names[i]));
        char *x = cst_read(path[0], &n[0]);
        char *y = cst_read(path[1], &n[1]);
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(x, y, n[0]);
        cst_free(x);
        cst_free(y);
        csi_free(names[i]);
    }
    csi_free(names);
}

/* The tensors of a file against the parameters in memory, by hand. */
static void check_layouts(const char *folder, const cs_param_set *set)
{
    cs_safetensors *file = NULL;
    const cs_safetensor *t = NULL;
    char name[64];

    assert_ok(cs_safetensors_open_folder(folder, &file));
    assert_int_equal(cs_safetensors_count(file), 3 + N_EXPERTS);
    assert_null(cs_safetensors_find(file, "lm_head.weight"));
    assert_ok(cs_safetensors_require(file, "c_fc.weight", &CS_SHAPE(6, 4), &t));
    const cs_tensor *flipped = &set->items[FLIPPED].working;
    for (int64_t o = 0; o < 4; o++) {
        for (int64_t i = 0; i < 6; i++) {
            assert_near(csi_dtype_get(t->data, CS_F32, i * 4 + o),
                        cs_tensor_get(flipped, o * 6 + i), 0.0);
        }
    }
    assert_ok(cs_safetensors_require(file, "wqkv.weight", &CS_SHAPE(16, 3),
                                     &t));
    /* group 1 begins with head 2: row 8 of the file, row 4 of memory; its key
     * is row 12 of the file, row 8 + 2 of memory */
    const cs_tensor *groups = &set->items[GROUPS].working;
    assert_near(csi_dtype_get(t->data, CS_F32, 8 * 3 + 1),
                cs_tensor_get(groups, 4 * 3 + 1), 0.0);
    assert_near(csi_dtype_get(t->data, CS_F32, 12 * 3 + 2),
                cs_tensor_get(groups, 10 * 3 + 2), 0.0);
    for (int64_t e = 0; e < N_EXPERTS; e++) {
        (void)snprintf(name, sizeof name, "experts.%d.w1.weight", (int)e);
        assert_ok(cs_safetensors_require(file, name, &CS_SHAPE(2, 5), &t));
        assert_near(csi_dtype_get(t->data, CS_F32, 7),
                    cs_tensor_get(&set->items[EXPERTS].working, e * 10 + 7),
                    0.0);
    }
    cs_safetensors_close(&file);
}

static void export_import_export_is_the_same(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    export_to(NULL, cst_path(&dir, "a"), 1, false, 0);
    for (int32_t n = 1; n <= 3; n++) {
        char out[16];
        (void)snprintf(out, sizeof out, "b%d", n);
        export_to(cst_path(&dir, "a/language_model"), cst_path(&dir, out), n,
                  n == 2, 0);
        assert_same_folder(cst_path(&dir, "a/language_model"),
                           cst_path(&dir, "b1/language_model"));
    }
    cs_graph *graph = make_graph(cst_path(&dir, "b1/language_model"), false);
    cs_param_set *set = load(graph, CS_F32);
    check_layouts(cst_path(&dir, "b1/language_model"), set);
    assert_true(set->items[HEAD].is_alias);
    cs_param_set_destroy(&set);
    cs_graph_destroy(&graph);
    cst_tmpdir_remove(&dir);
}

static void large_models_are_cut_into_shards(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors *file = NULL;
    size_t n_bytes = 0;

    cst_tmpdir_make(&dir);
    export_to(NULL, cst_path(&dir, "a"), 2, false, 300);
    assert_false(csi_file_exists(cst_path(&dir, "a/language_model/"
                                                "model.safetensors")));
    assert_true(csi_file_exists(
        cst_path(&dir, "a/language_model/model-00003-of-00003.safetensors")));
    char *index =
        cst_read(cst_path(&dir,
                          "a/language_model/model.safetensors.index.json"),
                 &n_bytes);
    assert_contains(index, "\"total_size\": 648");
    cst_free(index);
    export_to(cst_path(&dir, "a/language_model"), cst_path(&dir, "b"), 1, true,
              300);
    assert_same_folder(cst_path(&dir, "a/language_model"),
                       cst_path(&dir, "b/language_model"));
    cs_graph *graph = make_graph(cst_path(&dir, "a/language_model"), false);
    cs_param_set *set = load(graph, CS_BF16);
    assert_ok(cs_safetensors_open_folder(cst_path(&dir, "a/language_model"),
                                         &file));
    assert_int_equal(cs_safetensors_count(file), 3 + N_EXPERTS);
    cs_safetensors_close(&file);
    cs_param_set_destroy(&set);
    cs_graph_destroy(&graph);
    cst_tmpdir_remove(&dir);
}

/* A folder with the embedding, and a head that is `scale` times it. */
static void write_with_head(const cst_tmpdir *dir, float scale)
{
    cs_safetensors_writer *w = NULL;
    float values[60];

    assert_ok(csi_dir_create(cst_path(dir, "f")));
    assert_ok(cs_safetensors_writer_create(cst_path(dir, "f/model.safetensors"),
                                           NULL, 0, &w));
    assert_ok(cs_safetensors_writer_add(w, "embed.weight", CS_F32,
                                        &CS_SHAPE(10, 6)));
    assert_ok(cs_safetensors_writer_add(w, "lm_head.weight", CS_F32,
                                        &CS_SHAPE(10, 6)));
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 60; i++) {
            values[i] = (float)(i + 1) * (k == 0 ? 1.0F : scale);
        }
        assert_ok(cs_safetensors_writer_write(w,
                                              k == 0 ? "embed.weight"
                                                     : "lm_head.weight",
                                              values, sizeof values));
    }
    assert_ok(cs_safetensors_writer_commit(w));
    cs_safetensors_writer_destroy(&w);
}

/* Also where the embedding lives on another rank. */
static void a_tied_head_in_a_file_must_be_the_embedding(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    const bool held[N_PARAMS] = {[HEAD] = true};

    for (int k = 0; k < 2; k++) {
        cs_param_set *set = NULL;
        cs_graph *graph = make_graph(cst_path(&dir, "f"), false);
        write_with_head(&dir, k == 0 ? 1.0F : 1.001F);
        assert_ok(cs_param_set_create(graph, held, CS_F32, false, &set));
        if (k == 0) {
            assert_ok(cs_weights_load(set, TINY_SEED));
            assert_near(cs_tensor_get(&set->items[0].working, 59), 60.0, 0.0);
        } else {
            assert_fails(cs_weights_load(set, TINY_SEED), CS_ERR_FORMAT,
                         "'lm_head.weight' differs from 'embed.weight'");
        }
        cs_param_set_destroy(&set);
        cs_graph_destroy(&graph);
    }
    cst_tmpdir_remove(&dir);
}

static void a_missing_expert_is_named(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    cs_graph *graph = make_graph(cst_path(&dir, "f"), false);

    write_with_head(&dir, 1.0F);
    assert_fails(cs_weights_check(graph), CS_ERR_FORMAT,
                 "'experts.1.w1.weight' is missing");
    assert_contains(cs_error_message(), "5 of the tensors of language_model");
    cs_graph_destroy(&graph);
    cst_tmpdir_remove(&dir);
}

static cs_status round_trip(void *arg)
{
    job *j = arg;
    cs_comm *comm = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, cs_comm_local_create(1, 10.0, &comm));
    CS_TRY_GOTO(done, export_rank(comm, j));
done:
    cs_comm_destroy(&comm);
    return st;
}

static void no_fault_leaks_or_is_swallowed(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    export_to(NULL, cst_path(&dir, "a"), 1, false, 0);
    job j = {.graph = make_graph(cst_path(&dir, "a/language_model"), false),
             .folder = cst_path(&dir, "c"),
             .max_shard_bytes = 300,
             .dtype = CS_BF16};
    assert_in_range(cst_torture(round_trip, &j), 40, 1000);
    cs_graph_destroy(&j.graph);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(export_import_export_is_the_same),
        CST_TEST(large_models_are_cut_into_shards),
        CST_TEST(a_tied_head_in_a_file_must_be_the_embedding),
        CST_TEST(a_missing_expert_is_named),
        CST_TEST(no_fault_leaks_or_is_swallowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
