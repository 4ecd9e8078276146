/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest as text and back. It may have been written by anybody, so the
 * reader believes nothing that it has not checked. */
#include "manifest.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"

#include "folders.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_MANIFEST_BYTES = 256 * 1024 * 1024,
    MAX_SLICES = 1024 /* of one tensor */
};

void csi_manifest_init(csi_manifest *manifest)
{
    memset(manifest, 0, sizeof *manifest);
    csi_arena_init(&manifest->arena, 0);
}

void csi_manifest_fini(csi_manifest *manifest)
{
    csi_hash_map_destroy(&manifest->tensors.by_name);
    csi_hash_map_destroy(&manifest->optimizer.by_name);
    csi_arena_fini(&manifest->arena);
    csi_manifest_init(manifest);
}

const csi_stored_tensor *csi_stored_find(const csi_stored_table *table,
                                         const char *name)
{
    int64_t i = 0;

    return table->by_name != NULL &&
                   csi_hash_map_get(table->by_name, name, strlen(name), &i)
               ? &table->tensors[i]
               : NULL;
}

int32_t csi_manifest_find_file(const csi_manifest *manifest, const char *name)
{
    for (int32_t i = 0; i < manifest->n_files; i++) {
        if (strcmp(manifest->files[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

cs_status csi_stored_index(csi_stored_table *table, const char *where)
{
    CS_TRY(csi_hash_map_create(&table->by_name));
    for (int64_t i = 0; i < table->n; i++) {
        const char *name = table->tensors[i].name;
        CS_CHECK(csi_stored_find(table, name) == NULL, CS_ERR_FORMAT,
                 "%s: tensor '%.200s' is listed twice", where, name);
        CS_TRY(csi_hash_map_put(table->by_name, name, strlen(name), i));
    }
    return CS_OK;
}

/* ---- reading ---- */

static cs_status copy_string(csi_manifest *m, const json_t *json,
                             const char *key, const char *where,
                             const char **out)
{
    const char *text = NULL;

    CS_TRY(csi_json_string(json, key, where, &text));
    *out = csi_arena_strdup(&m->arena, text);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "%s: out of memory", where);
    return CS_OK;
}

static cs_status parse_files(csi_manifest *m, const json_t *json,
                             const char *where)
{
    json_t *files = NULL;

    CS_TRY(csi_json_array(json, "files", where, &files));
    const size_t n = json_array_size(files);

    CS_CHECK(n < INT32_MAX / sizeof *m->files, CS_ERR_FORMAT,
             "%s: lists %zu files", where, n);
    m->files = csi_arena_calloc(&m->arena, n * sizeof *m->files);
    CS_CHECK(m->files != NULL, CS_ERR_NOMEM, "%s: out of memory", where);
    for (size_t i = 0; i < n; i++) {
        csi_stored_file file;
        CS_TRY(csi_stored_file_parse(json_array_get(files, i), where, &file));
        CS_CHECK(csi_manifest_find_file(m, file.name) < 0, CS_ERR_FORMAT,
                 "%s: file '%s' is listed twice", where, file.name);
        m->files[m->n_files++] = file;
    }
    return CS_OK;
}

/* An array of at most CS_MAX_DIMS integers of 0 or more. */
static cs_status parse_indices(const json_t *json, const char *key,
                               const char *where, int64_t *out, int32_t *n_out)
{
    json_t *array = NULL;

    CS_TRY(csi_json_array(json, key, where, &array));
    const size_t n = json_array_size(array);

    CS_CHECK(n <= CS_MAX_DIMS, CS_ERR_FORMAT,
             "%s: key '%s': %zu numbers, wanted at most %d", where, key, n,
             (int)CS_MAX_DIMS);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(array, i);
        CS_CHECK(json_is_integer(value) && json_integer_value(value) >= 0,
                 CS_ERR_FORMAT, "%s: key '%s': number %zu is no index", where,
                 key, i);
        out[i] = json_integer_value(value);
    }
    *n_out = (int32_t)n;
    return CS_OK;
}

static cs_status parse_slice(const csi_manifest *m, const json_t *json,
                             const char *where, const cs_shape *shape,
                             csi_stored_slice *out)
{
    const char *file = NULL;
    int32_t n_begin = 0;
    int32_t n_end = 0;

    CS_TRY(parse_indices(json, "begin", where, out->slice.begin, &n_begin));
    CS_TRY(parse_indices(json, "end", where, out->slice.end, &n_end));
    CS_CHECK(n_begin == shape->n_dims && n_end == shape->n_dims, CS_ERR_FORMAT,
             "%s: a slice of %d and %d indices, wanted %d", where, n_begin,
             n_end, shape->n_dims);
    out->slice.n_dims = shape->n_dims;
    CS_TRY(csi_json_string(json, "file", where, &file));
    out->file = csi_manifest_find_file(m, file);
    CS_CHECK(out->file >= 0, CS_ERR_FORMAT,
             "%s: file '%.100s' is not among the files", where, file);
    return CS_OK;
}

static cs_status parse_slices(csi_manifest *m, const json_t *json,
                              const char *where, csi_stored_tensor *t)
{
    json_t *slices = NULL;
    cs_slice boxes_on_stack[16];
    cs_slice *boxes = boxes_on_stack;
    const cs_slice whole = cs_slice_whole(&t->shape);

    CS_TRY(csi_json_array(json, "slices", where, &slices));
    const size_t n = json_array_size(slices);

    CS_CHECK(n >= 1 && n <= MAX_SLICES, CS_ERR_FORMAT,
             "%s: %zu slices, wanted 1..%d", where, n, (int)MAX_SLICES);
    t->slices = csi_arena_calloc(&m->arena, n * sizeof *t->slices);
    if (n > sizeof boxes_on_stack / sizeof boxes_on_stack[0]) {
        boxes = csi_arena_calloc(&m->arena, n * sizeof *boxes);
    }
    CS_CHECK(t->slices != NULL && boxes != NULL, CS_ERR_NOMEM,
             "%s: out of memory", where);
    t->n_slices = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        CS_TRY(parse_slice(m, json_array_get(slices, i), where, &t->shape,
                           &t->slices[i]));
        boxes[i] = t->slices[i].slice;
    }
    const cs_status st = cs_slices_tile(&whole, boxes, (int64_t)n);

    CS_CHECK(st == CS_OK, CS_ERR_FORMAT, "%s: the slices do not tile it",
             where);
    return CS_OK;
}

static cs_status parse_dtype(const json_t *json, const char *where,
                             cs_dtype *out)
{
    const char *name = NULL;

    CS_TRY(csi_json_string(json, "dtype", where, &name));
    CS_CHECK(cs_dtype_parse(name, out) == CS_OK && cs_dtype_is_float(*out),
             CS_ERR_FORMAT, "%s: dtype '%.64s' is no float type", where, name);
    return CS_OK;
}

static cs_status parse_place(csi_manifest *m, const json_t *json,
                             const char *where, csi_stored_tensor *t)
{
    const bool has_slices = json_object_get(json, "slices") != NULL;
    const bool has_ref = json_object_get(json, "ref") != NULL;
    const bool has_source = json_object_get(json, "source") != NULL;
    const char *ref = NULL;

    CS_CHECK(has_slices + has_ref + has_source == 1, CS_ERR_FORMAT,
             "%s: wanted one of slices, ref and source, got %d", where,
             has_slices + has_ref + has_source);
    if (has_source) {
        return copy_string(m, json, "source", where, &t->source);
    }
    CS_TRY(parse_dtype(json, where, &t->dtype));
    if (has_slices) {
        return parse_slices(m, json, where, t);
    }
    CS_TRY(csi_json_string(json, "ref", where, &ref));
    t->ref_step = csi_step_of_name(ref);
    CS_CHECK(t->ref_step > 0 && t->ref_step < m->step, CS_ERR_FORMAT,
             "%s: '%.64s' is no step before this one", where, ref);
    return CS_OK;
}

static cs_status parse_tensor(csi_manifest *m, const char *name,
                              const json_t *json, const char *path,
                              csi_stored_tensor *t)
{
    csi_str where = {0};
    cs_status st = CS_OK;
    int64_t dims[CS_MAX_DIMS];
    int32_t n_dims = 0;

    csi_str_addf(&where, "%s: tensor '%.200s'", path, name);
    CS_TRY_GOTO(done, csi_str_check(&where));
    t->name = csi_arena_strdup(&m->arena, name);
    CS_CHECK_GOTO(done, t->name != NULL, CS_ERR_NOMEM, "%s: out of memory",
                  path);
    CS_TRY_GOTO(done, parse_indices(json, "shape", where.data, dims, &n_dims));
    CS_CHECK_GOTO(done, cs_shape_make(n_dims, dims, &t->shape) == CS_OK,
                  CS_ERR_FORMAT, "%s: its dims are no shape", where.data);
    CS_TRY_GOTO(done, parse_place(m, json, where.data, t));
done:
    csi_str_fini(&where);
    return st;
}

static cs_status parse_table(csi_manifest *m, const json_t *json,
                             const char *key, const char *where,
                             csi_stored_table *table)
{
    json_t *object = NULL;
    json_t *value = NULL;
    const char *name = NULL;

    CS_TRY(csi_json_object(json, key, where, &object));
    table->tensors = csi_arena_calloc(&m->arena, json_object_size(object) *
                                                     sizeof *table->tensors);
    CS_CHECK(table->tensors != NULL, CS_ERR_NOMEM, "%s: out of memory", where);
    json_object_foreach(object, name, value)
    {
        CS_TRY(parse_tensor(m, name, value, where, &table->tensors[table->n]));
        table->n++;
    }
    return csi_stored_index(table, where);
}

cs_status csi_manifest_parse(const char *text, size_t n_bytes,
                             const char *where, csi_manifest *out)
{
    cs_status st = CS_OK;
    json_t *json = NULL;
    csi_manifest m;

    csi_manifest_init(&m);
    CS_TRY_GOTO(undo, csi_json_parse(text, n_bytes, where, &json));
    CS_TRY_GOTO(undo, csi_json_check_format(json, CSI_MANIFEST_FORMAT, where));
    CS_TRY_GOTO(undo, csi_json_i64(json, "step", where, 1, INT64_MAX, &m.step));
    CS_TRY_GOTO(undo,
                copy_string(&m, json, "recipe_hash", where, &m.recipe_hash));
    CS_TRY_GOTO(undo, copy_string(&m, json, "plan_hash", where, &m.plan_hash));
    CS_TRY_GOTO(undo, parse_files(&m, json, where));
    CS_TRY_GOTO(undo, parse_table(&m, json, "tensors", where, &m.tensors));
    CS_TRY_GOTO(undo, parse_table(&m, json, "optimizer", where, &m.optimizer));
    json_decref(json);
    *out = m;
    return CS_OK;
undo:
    json_decref(json);
    csi_manifest_fini(&m);
    return st;
}

cs_status csi_manifest_read(const char *folder, csi_manifest *out)
{
    cs_status st = CS_OK;
    char *path = NULL;
    char *text = NULL;
    size_t n_bytes = 0;

    CS_TRY_GOTO(done, csi_path_join(folder, CSI_MANIFEST_FILE, &path));
    CS_TRY_GOTO(done, csi_file_read(path, MAX_MANIFEST_BYTES, &text, &n_bytes));
    CS_TRY_GOTO(done, csi_manifest_parse(text, n_bytes, path, out));
done:
    csi_free(path);
    csi_free(text);
    return st;
}

/* ---- printing ---- */

static void print_indices(const char *key, const int64_t *values, int32_t n,
                          csi_str *text)
{
    csi_str_addf(text, "\"%s\": [", key);
    for (int32_t i = 0; i < n; i++) {
        csi_str_addf(text, "%s%" PRId64, i > 0 ? ", " : "", values[i]);
    }
    csi_str_add(text, "]");
}

static void print_string(const char *key, const char *value, csi_str *text)
{
    csi_str_addf(text, "\"%s\": \"", key);
    csi_str_add_json(text, value);
    csi_str_add(text, "\"");
}

static void print_place(const csi_manifest *m, const csi_stored_tensor *t,
                        csi_str *text)
{
    if (t->source != NULL) {
        print_string("source", t->source, text);
        return;
    }
    print_string("dtype", cs_dtype_name(t->dtype), text);
    csi_str_add(text, ", ");
    if (t->ref_step > 0) {
        char step[CSI_STEP_NAME_BYTES];
        csi_step_name(t->ref_step, step);
        print_string("ref", step, text);
        return;
    }
    csi_str_add(text, "\"slices\": [");
    for (int32_t i = 0; i < t->n_slices; i++) {
        const csi_stored_slice *s = &t->slices[i];
        csi_str_add(text, i > 0 ? ", {" : "{");
        print_indices("begin", s->slice.begin, s->slice.n_dims, text);
        csi_str_add(text, ", ");
        print_indices("end", s->slice.end, s->slice.n_dims, text);
        csi_str_add(text, ", ");
        print_string("file", m->files[s->file].name, text);
        csi_str_add(text, "}");
    }
    csi_str_add(text, "]");
}

static void print_table(const csi_manifest *m, const char *key,
                        const csi_stored_table *table, csi_str *text)
{
    csi_str_addf(text, ",\n  \"%s\": {", key);
    for (int64_t i = 0; i < table->n; i++) {
        const csi_stored_tensor *t = &table->tensors[i];
        csi_str_add(text, i > 0 ? ",\n    \"" : "\n    \"");
        csi_str_add_json(text, t->name);
        csi_str_add(text, "\": {");
        print_indices("shape", t->shape.dim, t->shape.n_dims, text);
        csi_str_add(text, ", ");
        print_place(m, t, text);
        csi_str_add(text, "}");
    }
    csi_str_add(text, "\n  }");
}

void csi_manifest_print(const csi_manifest *m, csi_str *text)
{
    csi_str_addf(text,
                 "{\n  \"format\": \"" CSI_MANIFEST_FORMAT
                 "\",\n  \"version\": 1,\n  \"step\": %" PRId64 ",\n  ",
                 m->step);
    print_string("recipe_hash", m->recipe_hash, text);
    csi_str_add(text, ",\n  ");
    print_string("plan_hash", m->plan_hash, text);
    csi_str_add(text, ",\n  \"files\": [");
    for (int32_t i = 0; i < m->n_files; i++) {
        csi_str_add(text, i > 0 ? ",\n    " : "\n    ");
        csi_stored_file_print(&m->files[i], text);
    }
    csi_str_add(text, "\n  ]");
    print_table(m, "tensors", &m->tensors, text);
    print_table(m, "optimizer", &m->optimizer, text);
    csi_str_add(text, "\n}\n");
}
