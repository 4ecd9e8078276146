/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest's layout, what its reader refuses, and tensors in slices. */
#include "base/alloc.h"
#include "base/file.h"

#include "folders.h"
#include "manifest.h"
#include "state.h"
#include "stored.h"
#include "test.h"

#include <stdio.h>

#define HASH "0123456789abcdef0123456789abcdef"

/* One of everything. This is the format: a change needs a new version. */
static const char GOLDEN[] =
    "{\n"
    "  \"format\": \"cornstarch.checkpoint\",\n"
    "  \"version\": 1,\n"
    "  \"step\": 200,\n"
    "  \"recipe_hash\": \"r\",\n"
    "  \"plan_hash\": \"p\",\n"
    "  \"files\": [\n"
    "    {\"name\": \"a.0.safetensors\", \"bytes\": 12, \"xxh3_128\": "
    "\"" HASH "\"},\n"
    "    {\"name\": \"optimizer.1.safetensors\", \"bytes\": 0, \"xxh3_128\": "
    "\"" HASH "\"}\n"
    "  ],\n"
    "  \"tensors\": {\n"
    "    \"a.w\": {\"shape\": [4, 3], \"dtype\": \"f32\", \"slices\": ["
    "{\"begin\": [0, 0], \"end\": [3, 3], \"file\": \"a.0.safetensors\"}, "
    "{\"begin\": [3, 0], \"end\": [4, 3], \"file\": "
    "\"optimizer.1.safetensors\"}]},\n"
    "    \"b.w\": {\"shape\": [], \"dtype\": \"bf16\", \"ref\": "
    "\"step-00000100\"},\n"
    "    \"c.w\": {\"shape\": [2], \"source\": \"../si\\\"glip\"}\n"
    "  },\n"
    "  \"optimizer\": {\n"
    "    \"a.w\": {\"shape\": [4, 3], \"dtype\": \"f64\", \"slices\": ["
    "{\"begin\": [0, 0], \"end\": [4, 3], \"file\": "
    "\"optimizer.1.safetensors\"}]}\n"
    "  }\n"
    "}\n";

static void the_layout_is_what_it_was(void **state)
{
    (void)state;
    csi_manifest m;
    csi_str text = {0};

    assert_ok(csi_manifest_parse(GOLDEN, sizeof GOLDEN - 1, "golden", &m));
    assert_int_equal(m.step, 200);
    assert_int_equal(m.n_files, 2);
    const csi_stored_tensor *a = csi_stored_find(&m.tensors, "a.w");
    const csi_stored_tensor *b = csi_stored_find(&m.tensors, "b.w");
    const csi_stored_tensor *c = csi_stored_find(&m.tensors, "c.w");
    assert_int_equal(a->n_slices, 2);
    assert_int_equal(a->slices[1].slice.begin[0], 3);
    assert_int_equal(a->slices[1].file, 1);
    assert_int_equal(b->ref_step, 100);
    assert_int_equal(b->dtype, CS_BF16);
    assert_string_equal(c->source, "../si\"glip");
    assert_null(csi_stored_find(&m.tensors, "d.w"));
    csi_manifest_print(&m, &text);
    assert_string_equal(csi_str_get(&text), GOLDEN);
    csi_str_fini(&text);
    csi_manifest_fini(&m);
}

/* The golden text with one piece replaced, and what is then wrong with it. */
static const struct hostile {
    const char *piece, *by, *sentence;
} HOSTILE[] = {
    {"\"version\": 1", "\"version\": 2", "wanted version 1"},
    {"cornstarch.checkpoint", "cornstarch.plan", "wanted format"},
    {"\"step\": 200", "\"step\": 0", "key 'step': wanted 1.."},
    {"\"step\": 200", "\"step\": 100", "is no step before this one"},
    {"\"name\": \"a.0", "\"name\": \"../a.0", "not the plain name of a file"},
    {"\"name\": \"a.0.safetensors", "\"name\": \"optimizer.1.safetensors",
     "is listed twice"},
    {"\"bytes\": 12", "\"bytes\": -1", "key 'bytes'"},
    {HASH "\"},", "0123\"},", "is not 32 hex digits"},
    {"\"shape\": [4, 3]", "\"shape\": [4, -3]", "is no index"},
    {"\"shape\": [4, 3]", "\"shape\": [4294967296, 4294967296, 3]",
     "its dims are no shape"},
    {"\"shape\": [4, 3]", "\"shape\": [1,1,1,1,1,1,1]", "at most 6"},
    {"\"shape\": [4, 3]", "\"shape\": [5, 3]", "do not tile it"},
    {"\"begin\": [3, 0]", "\"begin\": [2, 0]", "do not tile it"},
    {"\"begin\": [3, 0]", "\"begin\": [3]", "slice of 1 and 2 indices"},
    {"\"end\": [4, 3]", "\"end\": [9223372036854775807, 3]", "do not tile it"},
    {"\"file\": \"a.0", "\"file\": \"b.0", "is not among the files"},
    {"\"dtype\": \"f32\"", "\"dtype\": \"i32\"", "is no float type"},
    {"\"dtype\": \"f32\"", "\"dtype\": \"x\"", "is no float type"},
    {"step-00000100", "step-100", "is no step before this one"},
    {"step-00000100", "step-00000200", "is no step before this one"},
    {"\"ref\": ", "\"source\": \"x\", \"ref\": ", "wanted one of slices"},
    {"\"source\": ", "\"sauce\": ", "wanted one of slices"},
    {"\"slices\": [{\"begin\": [0, 0], \"end\": [4, 3], \"file\": "
     "\"optimizer.1.safetensors\"}]",
     "\"slices\": []", "0 slices, wanted 1.."},
    {"\"optimizer\": {", "\"optimiser\": {", "'optimizer' is missing"},
    {"\"b.w\"", "\"a.w\"", "duplicate"},
};

static void a_hostile_manifest_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof HOSTILE / sizeof HOSTILE[0]; i++) {
        const struct hostile *h = &HOSTILE[i];
        const char *at = strstr(GOLDEN, h->piece);
        csi_str text = {0};
        csi_manifest m;
        csi_manifest_init(&m);
        assert_non_null(at);
        csi_str_add_bytes(&text, GOLDEN, (size_t)(at - GOLDEN));
        csi_str_add(&text, h->by);
        csi_str_add(&text, at + strlen(h->piece));
        assert_fails(csi_manifest_parse(text.data, text.length, "m.json", &m),
                     CS_ERR_FORMAT, h->sentence);
        assert_contains(cs_error_message(), "m.json");
        assert_null(m.files);
        csi_str_fini(&text);
    }
}

static void a_truncated_manifest_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n + 2 < sizeof GOLDEN; n++) {
        csi_manifest m;
        assert_int_equal(csi_manifest_parse(GOLDEN, n, "m.json", &m),
                         CS_ERR_FORMAT);
    }
}

static void a_hostile_state_is_refused(void **state)
{
    (void)state;
    cs_train_state s = {.step = 3};
    csi_str text = {0};
    static const struct hostile CASES[] = {
        {"\"step\": 3", "\"step\": \"3\"", "wanted integer, got string"},
        {"\"update\": 0", "\"update\": -1", "key 'update'"},
        {"\"0000000000000000\"", "\"0x00000000000000\"", "16 hex digits"},
        {"\"recipe_hash\": \"", "\"recipe_hash\": \"0123456789abcdefg",
         "longer than 16"},
        {"\"dropped\": []", "\"dropped\": [1, \"a\"]", "dropped[1]"},
        {"\"dropped\": []", "\"dropped\": [-4]", "dropped[0]"},
        {"\"epoch\": 0", "\"epoch\": null", "wanted number, got null"},
    };

    csi_state_print(&s, &text);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *at = strstr(text.data, CASES[i].piece);
        csi_str bad = {0};
        assert_non_null(at);
        csi_str_add_bytes(&bad, text.data, (size_t)(at - text.data));
        csi_str_add(&bad, CASES[i].by);
        csi_str_add(&bad, at + strlen(CASES[i].piece));
        assert_fails(csi_state_parse(bad.data, bad.length, "s.json", &s),
                     CS_ERR_FORMAT, CASES[i].sentence);
        csi_str_fini(&bad);
    }
    csi_str_fini(&text);
}

static void only_exact_names_are_steps(void **state)
{
    (void)state;
    char name[CSI_STEP_NAME_BYTES];

    csi_step_name(200, name);
    assert_string_equal(name, "step-00000200");
    assert_int_equal(csi_step_of_name("step-00000200"), 200);
    assert_int_equal(csi_step_of_name("step-1234567890"), 1234567890);
    static const char *const NONE[] = {
        "step-200",
        "step-00000200.tmp",
        "step-000000200",
        "step-00000000",
        "Step-00000200",
        "step-0000020x",
        "step-",
        "",
        "step-99999999999999999999",
    };
    for (size_t i = 0; i < sizeof NONE / sizeof NONE[0]; i++) {
        assert_int_equal(csi_step_of_name(NONE[i]), 0);
    }
}

/* Writes a file of one tensor: the box `slice` of the tensor whose element
 * (i, j) is 10 i + j. */
static void write_box(const char *folder, const char *name,
                      const cs_slice *slice, csi_stored_file *out)
{
    float values[64];
    cs_safetensors_writer *writer = NULL;
    char path[1024];
    const cs_shape shape = cs_slice_shape(slice);
    int64_t n = 0;

    for (int64_t i = slice->begin[0]; i < slice->end[0]; i++) {
        for (int64_t j = slice->begin[1]; j < slice->end[1]; j++) {
            values[n++] = (float)(10 * i + j);
        }
    }
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(cs_safetensors_writer_create(path, NULL, 0, &writer));
    assert_ok(cs_safetensors_writer_add(writer, "m.w", CS_F32, &shape));
    assert_ok(cs_safetensors_writer_write(writer, "m.w", values, 4 * n));
    assert_ok(cs_safetensors_writer_commit(writer));
    cs_safetensors_writer_destroy(&writer);
    assert_ok(csi_stored_file_measure(folder, name, out));
}

/* What tensor parallel ranks will write: a tensor in boxes. */
static void a_tensor_in_slices_is_put_together(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cst_tmpdir_make(&dir);
    char folder[600];
    csi_stored_file files[4];
    csi_str text = {0};
    csi_stored *stored = NULL;
    csi_stored *where = NULL;
    const csi_stored_tensor *t = NULL;
    float values[5 * 6];
    csi_stored_slice slices[3] = {
        {.slice = {2, {0, 0}, {2, 6}}, .file = 0},
        {.slice = {2, {2, 0}, {5, 4}}, .file = 1},
        {.slice = {2, {2, 4}, {5, 6}}, .file = 2},
    };
    csi_stored_tensor tensor = {.name = "m.w",
                                .shape = CS_SHAPE(5, 6),
                                .dtype = CS_F32,
                                .n_slices = 3,
                                .slices = slices};
    const csi_manifest m = {.step = 1,
                            .recipe_hash = "",
                            .plan_hash = "",
                            .n_files = 4,
                            .files = files,
                            .tensors = {.n = 1, .tensors = &tensor}};

    (void)snprintf(folder, sizeof folder, "%s",
                   cst_path(&dir, "step-00000001"));
    assert_ok(csi_dir_create(folder));
    write_box(folder, "m.0.safetensors", &slices[0].slice, &files[0]);
    write_box(folder, "m.1.safetensors", &slices[1].slice, &files[1]);
    write_box(folder, "m.2.safetensors", &slices[2].slice, &files[2]);
    (void)cst_write_text(&dir, "step-00000001/state.json", "{}");
    assert_ok(csi_stored_file_measure(folder, "state.json", &files[3]));
    csi_manifest_print(&m, &text);
    (void)cst_write_text(&dir, "step-00000001/manifest.json", text.data);

    assert_ok(csi_stored_open(dir.path, 1, &stored));
    assert_ok(csi_stored_resolve(stored,
                                 csi_stored_find(&stored->manifest.tensors,
                                                 "m.w"),
                                 &where, &t));
    assert_ok(csi_stored_read(where, t, "m.w", CS_F32, values));
    for (int i = 0; i < 30; i++) {
        assert_int_equal((int)values[i], 10 * (i / 6) + i % 6);
    }
    csi_stored_close(&stored);
    csi_str_fini(&text);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(the_layout_is_what_it_was),
        CST_TEST(a_hostile_manifest_is_refused_by_name),
        CST_TEST(a_truncated_manifest_is_refused),
        CST_TEST(a_hostile_state_is_refused),
        CST_TEST(only_exact_names_are_steps),
        CST_TEST(a_tensor_in_slices_is_put_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
