/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing safetensors: round trips, hostile headers, faults. */
#include "cornstarch/safetensors.h"

#include "base/alloc.h"
#include "base/file.h"

#include "support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const cs_safetensors_pair METADATA[] = {{"format", "pt"},
                                               {"note", "a \"quoted\"\nline"}};

/* Two tensors, a scalar and an empty one, written in odd pieces. */
static cs_status write_example(const char *path)
{
    const float matrix[6] = {1, 2, 3, 4, 5, 6};
    const uint16_t half[3] = {0x3f80, 0x4000, 0xc040};
    const float scalar = 0.5f;
    cs_safetensors_writer *w = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_safetensors_writer_create(path, METADATA, 2, &w));
    CS_TRY_GOTO(done, cs_safetensors_writer_add(w, "a.matrix", CS_F32,
                                                &CS_SHAPE(2, 3)));
    CS_TRY_GOTO(done, cs_safetensors_writer_add(w, "a.scalar", CS_F32,
                                                &(cs_shape){0}));
    CS_TRY_GOTO(done, cs_safetensors_writer_add(w, "a.empty", CS_F32,
                                                &CS_SHAPE(4, 0)));
    CS_TRY_GOTO(done,
                cs_safetensors_writer_add(w, "b\"half", CS_BF16, &CS_SHAPE(3)));
    CS_TRY_GOTO(done, cs_safetensors_writer_write(w, "a.matrix", matrix, 10));
    CS_TRY_GOTO(done,
                cs_safetensors_writer_write(w, "a.matrix",
                                            (const char *)matrix + 10, 14));
    CS_TRY_GOTO(done, cs_safetensors_writer_write(w, "a.scalar", &scalar, 4));
    CS_TRY_GOTO(done, cs_safetensors_writer_write(w, "b\"half", half, 6));
    CS_TRY_GOTO(done, cs_safetensors_writer_commit(w));
done:
    cs_safetensors_writer_destroy(&w);
    return st;
}

static void what_was_written_is_read_back(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors *file = NULL;
    const cs_safetensor *tensor = NULL;
    float values[6] = {0};
    uint16_t raw[3] = {0};

    cst_tmpdir_make(&dir);
    const char *path = cst_path(&dir, "x.safetensors");
    assert_ok(write_example(path));
    assert_ok(cs_safetensors_open(path, &file));
    assert_string_equal(cs_safetensors_path(file), path);
    assert_int_equal(cs_safetensors_count(file), 4);
    assert_string_equal(cs_safetensors_at(file, 0)->name, "a.matrix");
    assert_string_equal(cs_safetensors_at(file, 3)->name, "b\"half");
    assert_int_equal((uintptr_t)cs_safetensors_at(file, 0)->data % 8, 0);
    assert_ok(cs_safetensors_require(file, "a.matrix", &CS_SHAPE(2, 3),
                                     &tensor));
    assert_int_equal(tensor->dtype, CS_F32);
    assert_int_equal(tensor->n_bytes, 24);
    assert_ok(cs_safetensors_read(tensor, NULL, CS_F32, values));
    for (int i = 0; i < 6; i++) {
        assert_true(values[i] == (float)(i + 1));
    }
    assert_ok(cs_safetensors_require(file, "b\"half", NULL, &tensor));
    assert_ok(cs_safetensors_read(tensor, NULL, CS_F32, values));
    assert_true(values[0] == 1 && values[1] == 2 && values[2] == -3);
    assert_ok(cs_safetensors_read(tensor, NULL, CS_BF16, raw));
    assert_int_equal(raw[2], 0xc040);
    assert_int_equal(cs_safetensors_find(file, "a.empty")->n_bytes, 0);
    assert_ok(cs_safetensors_read(cs_safetensors_find(file, "a.scalar"), NULL,
                                  CS_F32, values));
    assert_true(values[0] == 0.5f);
    assert_string_equal(cs_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(cs_safetensors_metadata(file, "note"),
                        METADATA[1].value);
    assert_null(cs_safetensors_metadata(file, "other"));
    assert_null(cs_safetensors_find(file, "a"));
    cs_safetensors_close(&file);
    assert_null(file);
    cs_safetensors_close(&file);
    cst_tmpdir_remove(&dir);
}

static void a_box_of_a_tensor_is_read_alone(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors *file = NULL;
    double values[2] = {0};
    const cs_slice box = {.n_dims = 2, .begin = {0, 1}, .end = {2, 2}};
    const cs_slice outside = {.n_dims = 2, .begin = {0, 1}, .end = {2, 4}};

    cst_tmpdir_make(&dir);
    const char *path = cst_path(&dir, "x.safetensors");
    assert_ok(write_example(path));
    assert_ok(cs_safetensors_open(path, &file));
    const cs_safetensor *tensor = cs_safetensors_find(file, "a.matrix");
    assert_ok(cs_safetensors_read(tensor, &box, CS_F64, values));
    assert_true(values[0] == 2 && values[1] == 5);
    assert_fails(cs_safetensors_read(tensor, &outside, CS_F64, values),
                 CS_ERR_SHAPE, "'a.matrix': wanted [0:2, 1:4] of shape [2, 3]");
    assert_fails(cs_safetensors_read(tensor, &box, CS_I32, values),
                 CS_ERR_DTYPE, "'a.matrix': wanted i32, got f32");
    cs_safetensors_close(&file);
    cst_tmpdir_remove(&dir);
}

static void a_missing_or_misshapen_tensor_is_named(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors *file = NULL;
    const cs_safetensor *tensor = NULL;

    cst_tmpdir_make(&dir);
    assert_ok(write_example(cst_path(&dir, "x.safetensors")));
    assert_ok(cs_safetensors_open(cst_path(&dir, "x.safetensors"), &file));
    assert_fails(cs_safetensors_require(file, "c", NULL, &tensor),
                 CS_ERR_FORMAT, "x.safetensors: tensor 'c' is missing");
    assert_fails(cs_safetensors_require(file, "a.matrix", &CS_SHAPE(3, 2),
                                        &tensor),
                 CS_ERR_SHAPE,
                 "tensor 'a.matrix': wanted shape [3, 2], got [2, 3]");
    assert_null(tensor);
    cs_safetensors_close(&file);
    cst_tmpdir_remove(&dir);
}

/* Opens a file made of this header and n_data bytes; header_bytes < 0: as
 * long as the text. */
static cs_status open_made(const char *header, int64_t header_bytes,
                           size_t n_data, cs_safetensors **out)
{
    cst_tmpdir dir;
    uint8_t bytes[4096] = {0};
    const size_t n_text = strlen(header);
    const uint64_t n =
        header_bytes < 0 ? (uint64_t)n_text : (uint64_t)header_bytes;

    assert_true(8 + n_text + n_data <= sizeof bytes);
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(n >> (8 * i));
    }
    for (size_t i = 0; i < n_text; i++) {
        bytes[8 + i] = (uint8_t)header[i];
    }
    cst_tmpdir_make(&dir);
    const char *path =
        cst_write_bytes(&dir, "x.safetensors", bytes, 8 + n_text + n_data);
    const cs_status st = cs_safetensors_open(path, out);
    cst_tmpdir_remove(&dir);
    return st;
}

#define TENSOR(dtype, shape, offsets) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct hostile {
    const char *header;
    size_t n_data;
    const char *part; /* of the sentence */
    cs_status code;
} HOSTILE[] = {
    {"", 0, "header says it has 0 bytes", CS_ERR_FORMAT},
    {"[]", 0, "wanted '{'", CS_ERR_FORMAT},
    {" {}", 0, "wanted '{'", CS_ERR_FORMAT},
    {"{\"a\":", 0, "x.safetensors:1:", CS_ERR_FORMAT},
    {"{} x", 0, "x.safetensors:1:", CS_ERR_FORMAT},
    {"{}", 1, "end at byte 0 of the data, wanted 1", CS_ERR_FORMAT},
    {"{\"a\":1}", 0, "tensor 'a': wanted an object", CS_ERR_FORMAT},
    {"{\"a\":{}}", 0, "tensor 'a': has 0 members", CS_ERR_FORMAT},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"offsets\":[0,4]}}", 4,
     "'data_offsets' is missing", CS_ERR_FORMAT},
    {"{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "'dtype': wanted string, got integer", CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F4", "[4]", "[0,2]") "}", 2, "dtype 'F4'",
     CS_ERR_UNSUPPORTED},
    {"{\"a\":" TENSOR("F8_E4M3", "[4]", "[0,3]") "}", 3,
     "tensor 'a': [4] of F8_E4M3 wants 4 bytes", CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "4", "[0,4]") "}", 4, "wanted array",
     CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[-1]", "[0,4]") "}", 4, "dim 0", CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[1.0]", "[0,4]") "}", 4, "dim 0", CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("U8", "[1,1,1,1,1,1,1]", "[0,1]") "}", 1, "7 dims",
     CS_ERR_UNSUPPORTED},
    {"{\"a\":" TENSOR("U8", "[4294967296,4294967296]", "[0,0]") "}", 0,
     "does not fit 63 bits", CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F64", "[2305843009213693952]", "[0,0]") "}", 0,
     "does not fit 63 bits", CS_ERR_SHAPE},
    {"{\"a\":" TENSOR("F32", "[99999999999999999999]", "[0,0]") "}", 0,
     "x.safetensors:1:", CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[2]", "[0,4]") "}", 4,
     "tensor 'a': [2] of f32 wants 8 bytes, data_offsets give 4",
     CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[1]", "[0,4]") "}", 3,
     "[0, 4], the file has 3 bytes", CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[1]", "[4,0]") "}", 4, "[4, 0]", CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[1]", "[-4,0]") "}", 4, "[-4, 0]", CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[1]", "[0]") "}", 4, "has 1 numbers, wanted 2",
     CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[1]", "[0,\"4\"]") "}", 4, "no integer",
     CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[1]", "[0,4]") ",\"b\":" TENSOR("F32", "[1]",
                                                              "[2,6]") "}",
     6, "tensor 'b' begins at byte 2 of the data, wanted 4: it overlaps",
     CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[1]", "[0,4]") ",\"b\":" TENSOR("F32", "[1]",
                                                              "[8,12]") "}",
     12, "tensor 'b' begins at byte 8 of the data, wanted 4: there is a hole",
     CS_ERR_FORMAT},
    {"{\"a\":" TENSOR("F32", "[1]", "[0,4]") ",\"a\":" TENSOR("F32", "[1]",
                                                              "[4,8]") "}",
     8, "duplicate object key", CS_ERR_FORMAT},
    {"{\"__metadata__\":1}", 0, "__metadata__: wanted an object",
     CS_ERR_FORMAT},
    {"{\"__metadata__\":{\"k\":1}}", 0, "key 'k': wanted string",
     CS_ERR_FORMAT},
    {"{\"\xff\":" TENSOR("U8", "[0]", "[0,0]") "}", 0,
     "x.safetensors:1:", CS_ERR_FORMAT},
};

static void hostile_headers_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof HOSTILE / sizeof HOSTILE[0]; i++) {
        cs_safetensors *file = NULL;
        assert_fails(open_made(HOSTILE[i].header, -1, HOSTILE[i].n_data, &file),
                     HOSTILE[i].code, HOSTILE[i].part);
        assert_null(file);
    }
}

static void lengths_beyond_the_file_or_the_limit_are_refused(void **state)
{
    (void)state;
    cs_safetensors *file = NULL;

    assert_fails(open_made("{}", 3, 0, &file), CS_ERR_FORMAT,
                 "only 2 follow: the file is truncated");
    assert_fails(open_made("{}", INT64_MAX, 0, &file), CS_ERR_FORMAT,
                 "wanted 2..104857600");
    assert_fails(open_made("{}", 100 * 1024 * 1024 + 1, 0, &file),
                 CS_ERR_FORMAT, "wanted 2..104857600");
}

static void every_truncation_of_a_file_is_refused(void **state)
{
    (void)state;
    cst_tmpdir dir;
    size_t n_bytes = 0;
    cs_safetensors *file = NULL;

    cst_tmpdir_make(&dir);
    assert_ok(write_example(cst_path(&dir, "x.safetensors")));
    char *data = cst_read(cst_path(&dir, "x.safetensors"), &n_bytes);
    for (size_t n = 0; n < n_bytes; n++) {
        const char *path = cst_write_bytes(&dir, "cut.safetensors", data, n);
        assert_fails(cs_safetensors_open(path, &file), CS_ERR_FORMAT,
                     "cut.safetensors");
    }
    cst_free(data);
    cst_tmpdir_remove(&dir);
}

static void an_unaligned_foreign_file_is_read_right(void **state)
{
    (void)state;
    cs_safetensors *file = NULL;
    float value = 1;

    /* 63 + 8 bytes before the data. */
    assert_ok(open_made("{\"ab\":" TENSOR("F32", "[2]", "[0,8]") "}", -1, 8,
                        &file));
    assert_ok(cs_safetensors_read(cs_safetensors_find(file, "ab"),
                                  &(cs_slice){.n_dims = 1,
                                              .begin = {1},
                                              .end = {2}},
                                  CS_F32, &value));
    assert_true(value == 0);
    cs_safetensors_close(&file);
}

static cs_status write_one(const char *path, const char *name, float value)
{
    cs_safetensors_writer *w = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_safetensors_writer_create(path, NULL, 0, &w));
    CS_TRY_GOTO(done, cs_safetensors_writer_add(w, name, CS_F32, &CS_SHAPE(1)));
    CS_TRY_GOTO(done,
                cs_safetensors_writer_write(w, name, &value, sizeof value));
    CS_TRY_GOTO(done, cs_safetensors_writer_commit(w));
done:
    cs_safetensors_writer_destroy(&w);
    return st;
}

static void make_shards(const cst_tmpdir *dir, const char *weight_map)
{
    char text[512];

    assert_ok(write_one(cst_path(dir, "m-1.safetensors"), "a", 1));
    assert_ok(write_one(cst_path(dir, "m-2.safetensors"), "b", 2));
    (void)snprintf(text, sizeof text,
                   "{\"metadata\":{\"total_size\":8},\"weight_map\":%s}",
                   weight_map);
    (void)cst_write_text(dir, "model.safetensors.index.json", text);
}

static void a_folder_opens_its_single_file(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors *file = NULL;

    cst_tmpdir_make(&dir);
    assert_fails(cs_safetensors_open_folder(dir.path, &file), CS_ERR_IO,
                 "found neither");
    assert_ok(write_one(cst_path(&dir, "model.safetensors"), "a", 1));
    assert_ok(cs_safetensors_open_folder(dir.path, &file));
    assert_string_equal(cs_safetensors_path(file), dir.path);
    assert_non_null(cs_safetensors_find(file, "a"));
    cs_safetensors_close(&file);
    cst_tmpdir_remove(&dir);
}

static void a_folder_opens_all_files_of_its_index(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors *file = NULL;
    float value = 0;

    cst_tmpdir_make(&dir);
    make_shards(&dir, "{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}");
    assert_ok(cs_safetensors_open_folder(dir.path, &file));
    assert_int_equal(cs_safetensors_count(file), 2);
    const cs_safetensor *tensor = cs_safetensors_find(file, "b");
    assert_contains(tensor->path, "m-2.safetensors");
    assert_ok(cs_safetensors_read(tensor, NULL, CS_F32, &value));
    assert_true(value == 2);
    cs_safetensors_close(&file);
    cst_tmpdir_remove(&dir);
}

static void an_index_that_lies_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *weight_map;
        const char *part;
        cs_status code;
    } CASES[] = {
        {"{\"a\":\"m-2.safetensors\",\"b\":\"m-2.safetensors\"}",
         "tensor 'a' is not in m-2.safetensors", CS_ERR_FORMAT},
        {"{\"a\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\"}",
         "tensor 'a': wanted in m-2.safetensors", CS_ERR_FORMAT},
        {"{\"a\":\"../m-1.safetensors\"}", "wanted the name of a file",
         CS_ERR_FORMAT},
        {"{\"a\":\"/etc/passwd\"}", "wanted the name of a file", CS_ERR_FORMAT},
        {"{\"a\":7}", "wanted the name of a file", CS_ERR_FORMAT},
        {"[]", "'weight_map': wanted object, got array", CS_ERR_FORMAT},
        {"{\"a\":\"m-3.safetensors\"}", "m-3.safetensors: cannot open",
         CS_ERR_IO},
    };
    cst_tmpdir dir;
    cs_safetensors *file = NULL;

    cst_tmpdir_make(&dir);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        make_shards(&dir, CASES[i].weight_map);
        assert_fails(cs_safetensors_open_folder(dir.path, &file), CASES[i].code,
                     CASES[i].part);
    }
    assert_ok(write_one(cst_path(&dir, "m-3.safetensors"), "a", 3));
    make_shards(&dir, "{\"a\":\"m-1.safetensors\",\"c\":\"m-3.safetensors\"}");
    assert_fails(cs_safetensors_open_folder(dir.path, &file), CS_ERR_FORMAT,
                 "tensor 'a' is in ");
    assert_null(file);
    cst_tmpdir_remove(&dir);
}

static void the_writer_refuses_what_does_not_fit(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors_writer *w = NULL;
    const cs_safetensors_pair twice[] = {{"k", "1"}, {"k", "2"}};
    const float value = 1;

    cst_tmpdir_make(&dir);
    const char *path = cst_path(&dir, "x.safetensors");
    assert_fails(cs_safetensors_writer_create(path, twice, 2, &w), CS_ERR_ARG,
                 "'k' is given twice");
    assert_ok(cs_safetensors_writer_create(path, NULL, 0, &w));
    assert_ok(cs_safetensors_writer_add(w, "a", CS_F32, &CS_SHAPE(1)));
    assert_fails(cs_safetensors_writer_add(w, "a", CS_F32, &CS_SHAPE(1)),
                 CS_ERR_ARG, "'a' is declared twice");
    assert_fails(cs_safetensors_writer_add(w, "d", CS_F64, &CS_SHAPE(1)),
                 CS_ERR_ARG, "declare wider element types first");
    assert_fails(cs_safetensors_writer_add(w, "__metadata__", CS_F32,
                                           &CS_SHAPE(1)),
                 CS_ERR_ARG, "cannot be the name");
    assert_ok(cs_safetensors_writer_add(w, "b", CS_F32, &CS_SHAPE(1)));
    assert_fails(cs_safetensors_writer_write(w, "b", &value, 4),
                 CS_ERR_INTERNAL, "but 'a' still wants 4 bytes");
    assert_fails(cs_safetensors_writer_add(w, "c", CS_F32, &CS_SHAPE(1)),
                 CS_ERR_INTERNAL, "after the first data");
    assert_fails(cs_safetensors_writer_write(w, "a", &value, 5),
                 CS_ERR_INTERNAL, "got 5 bytes, wanted at most 4");
    assert_ok(cs_safetensors_writer_write(w, "a", &value, 4));
    assert_fails(cs_safetensors_writer_commit(w), CS_ERR_INTERNAL,
                 "'b' still wants 4 bytes");
    cs_safetensors_writer_destroy(&w);
    assert_false(csi_file_exists(path));
    cst_tmpdir_remove(&dir);
}

static cs_status write_body(void *arg)
{
    const cst_tmpdir *dir = arg;

    CS_TRY(write_example(cst_path(dir, "x.safetensors")));
    return CS_OK;
}

static cs_status read_body(void *arg)
{
    const cst_tmpdir *dir = arg;
    cs_safetensors *file = NULL;
    float values[3] = {0};
    cs_status st = CS_OK;

    CS_TRY(cs_safetensors_open(cst_path(dir, "x.safetensors"), &file));
    st = cs_safetensors_read(cs_safetensors_find(file, "b\"half"), NULL, CS_F32,
                             values);
    cs_safetensors_close(&file);
    CS_TRY(st);
    return CS_OK;
}

static cs_status open_folder_body(void *arg)
{
    const cst_tmpdir *dir = arg;
    cs_safetensors *file = NULL;

    CS_TRY(cs_safetensors_open_folder(dir->path, &file));
    cs_safetensors_close(&file);
    return CS_OK;
}

static void reader_and_writer_survive_every_fault(void **state)
{
    (void)state;
    cst_tmpdir dir;
    char **names = NULL;
    int64_t count = 0;

    cst_tmpdir_make(&dir);
    assert_in_range(cst_torture(write_body, &dir), 10, 1000);
    assert_in_range(cst_torture(read_body, &dir), 10, 1000);
    make_shards(&dir, "{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}");
    assert_in_range(cst_torture(open_folder_body, &dir), 20, 1000);
    /* No temporary file is left behind. */
    assert_ok(csi_dir_list(dir.path, &names, &count));
    assert_int_equal(count, 4);
    for (int64_t i = 0; i < count; i++) {
        csi_free(names[i]);
    }
    csi_free(names);
    cst_tmpdir_remove(&dir);
}

/* GPT-2's masks and quantised weights lie beside tensors that we want. */
static void foreign_types_are_passed_over_and_named_when_read(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors *file = NULL;
    float value = 0;
    static const char HEADER[] =
        "{\"mask\":" TENSOR("BOOL", "[4]",
                            "[0,4]") ",\"w\":" TENSOR("F32", "[1]",
                                                      "[4,8]") "}";
    uint8_t bytes[8 + sizeof HEADER - 1 + 8] = {sizeof HEADER - 1};

    memcpy(bytes + 8, HEADER, sizeof HEADER - 1);
    bytes[sizeof bytes - 1] = 0x40; /* 2.0F */
    cst_tmpdir_make(&dir);
    assert_ok(cs_safetensors_open(cst_write_bytes(&dir, "x.safetensors", bytes,
                                                  sizeof bytes),
                                  &file));
    assert_ok(cs_safetensors_read(cs_safetensors_find(file, "w"), NULL, CS_F32,
                                  &value));
    assert_near((double)value, 2.0, 0.0);
    assert_string_equal(cs_safetensors_find(file, "mask")->dtype_name, "BOOL");
    assert_fails(cs_safetensors_read(cs_safetensors_find(file, "mask"), NULL,
                                     CS_F32, &value),
                 CS_ERR_UNSUPPORTED, "tensor 'mask' has dtype 'BOOL'");
    cs_safetensors_close(&file);
    cst_tmpdir_remove(&dir);
}

static void pickled_weights_say_what_to_do(void **state)
{
    (void)state;
    cst_tmpdir dir;
    cs_safetensors *file = NULL;

    cst_tmpdir_make(&dir);
    (void)cst_write_text(&dir, "pytorch_model.bin", "x");
    assert_fails(cs_safetensors_open_folder(dir.path, &file),
                 CS_ERR_UNSUPPORTED, "save_pretrained()");
    assert_null(file);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(what_was_written_is_read_back),
        CST_TEST(a_box_of_a_tensor_is_read_alone),
        CST_TEST(a_missing_or_misshapen_tensor_is_named),
        CST_TEST(hostile_headers_are_refused),
        CST_TEST(lengths_beyond_the_file_or_the_limit_are_refused),
        CST_TEST(every_truncation_of_a_file_is_refused),
        CST_TEST(an_unaligned_foreign_file_is_read_right),
        CST_TEST(a_folder_opens_its_single_file),
        CST_TEST(a_folder_opens_all_files_of_its_index),
        CST_TEST(an_index_that_lies_is_refused),
        CST_TEST(foreign_types_are_passed_over_and_named_when_read),
        CST_TEST(pickled_weights_say_what_to_do),
        CST_TEST(the_writer_refuses_what_does_not_fit),
        CST_TEST(reader_and_writer_survive_every_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
