/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files: one part per file, one table of tensors over all parts, one map
 * from name to table. A sharded model is the same thing with more parts.
 */
#include "cornstarch/safetensors.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash_map.h"

#include "header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_INDEX_BYTES = 100 * 1024 * 1024
};

static const char SINGLE_FILE[] = "model.safetensors";
static const char INDEX_FILE[] = "model.safetensors.index.json";

typedef struct part {
    const char *path; /* borrowed from the arena */
    csi_file_map map; /* owned */
    json_t *header;   /* owned; kept for its metadata */
    int64_t header_bytes;
    int64_t n_tensors;
} part;

struct cs_safetensors {
    csi_arena arena; /* paths and names */
    char *path;      /* borrowed from the arena */
    part *parts;     /* owned */
    int64_t n_parts;
    cs_safetensor *tensors; /* owned */
    int64_t n_tensors;
    csi_hash_map *by_name; /* owned */
};

static cs_status create(const char *path, int64_t n_parts, cs_safetensors **out)
{
    cs_safetensors *file = csi_calloc(1, sizeof *file);
    cs_status st = CS_OK;

    CS_CHECK(file != NULL, CS_ERR_NOMEM, "%s: out of memory", path);
    csi_arena_init(&file->arena, 0);
    file->path = csi_arena_strdup(&file->arena, path);
    file->parts = csi_calloc((size_t)n_parts, sizeof *file->parts);
    CS_CHECK_GOTO(undo, file->path != NULL && file->parts != NULL, CS_ERR_NOMEM,
                  "%s: out of memory", path);
    file->n_parts = n_parts;
    CS_TRY_GOTO(undo, csi_hash_map_create(&file->by_name));
    *out = file;
    return CS_OK;
undo:
    cs_safetensors_close(&file);
    return st;
}

void cs_safetensors_close(cs_safetensors **file_holder)
{
    cs_safetensors *const file = *file_holder;

    if (file == NULL) {
        return;
    }
    for (int64_t i = 0; file->parts != NULL && i < file->n_parts; i++) {
        json_decref(file->parts[i].header);
        csi_file_map_close(&file->parts[i].map);
    }
    csi_hash_map_destroy(&file->by_name);
    csi_free(file->tensors);
    csi_free(file->parts);
    csi_arena_fini(&file->arena);
    csi_free(file);
    *file_holder = NULL;
}

static csi_safetensors_bytes bytes_of(const part *p)
{
    return (csi_safetensors_bytes){.path = p->path,
                                   .data = p->map.data,
                                   .n_bytes = p->map.n_bytes};
}

static cs_status open_part(cs_safetensors *file, part *p, const char *path)
{
    p->path = csi_arena_strdup(&file->arena, path);
    CS_CHECK(p->path != NULL, CS_ERR_NOMEM, "%s: out of memory", path);
    CS_TRY(csi_file_map_open(path, &p->map));
    CS_TRY(csi_safetensors_parse(bytes_of(p), &p->header, &p->header_bytes));
    p->n_tensors = csi_safetensors_header_count(p->header);
    return CS_OK;
}

static cs_status index_name(cs_safetensors *file, int64_t i)
{
    const cs_safetensor *const tensor = &file->tensors[i];
    const size_t n_bytes = strlen(tensor->name);
    int64_t other = 0;

    if (csi_hash_map_get(file->by_name, tensor->name, n_bytes, &other)) {
        return CS_FAIL(CS_ERR_FORMAT, "%s: tensor '%s' is in %s too",
                       tensor->path, tensor->name, file->tensors[other].path);
    }
    CS_TRY(csi_hash_map_put(file->by_name, tensor->name, n_bytes, i));
    return CS_OK;
}

/* Builds the table of tensors from the headers of all parts. */
static cs_status read_tensors(cs_safetensors *file)
{
    int64_t total = 0;

    for (int64_t i = 0; i < file->n_parts; i++) {
        total += file->parts[i].n_tensors;
    }
    file->tensors = csi_calloc((size_t)total, sizeof *file->tensors);
    CS_CHECK(file->tensors != NULL, CS_ERR_NOMEM,
             "%s: out of memory for %" PRId64 " tensors", file->path, total);
    for (int64_t i = 0; i < file->n_parts; i++) {
        part *const p = &file->parts[i];
        CS_TRY(csi_safetensors_read_entries(bytes_of(p), p->header,
                                            p->header_bytes, &file->arena,
                                            file->tensors + file->n_tensors));
        file->n_tensors += p->n_tensors;
    }
    for (int64_t i = 0; i < file->n_tensors; i++) {
        CS_TRY(index_name(file, i));
    }
    return CS_OK;
}

static cs_status open_single(const char *path, const char *shown,
                             cs_safetensors **out)
{
    cs_safetensors *file = NULL;
    cs_status st = CS_OK;

    CS_TRY(create(shown, 1, &file));
    CS_TRY_GOTO(undo, open_part(file, &file->parts[0], path));
    CS_TRY_GOTO(undo, read_tensors(file));
    *out = file;
    return CS_OK;
undo:
    cs_safetensors_close(&file);
    return st;
}

cs_status cs_safetensors_open(const char *path, cs_safetensors **out)
{
    CS_TRY(open_single(path, path, out));
    return CS_OK;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct file names of a weight map, sorted. [out,own]: csi_free; the
 * names are borrowed from the map. */
static cs_status list_files(const char *index_path, json_t *weight_map,
                            const char ***names, int64_t *count)
{
    const size_t n_tensors = json_object_size(weight_map);
    const char **const list = csi_calloc(n_tensors, sizeof *list);
    const char *tensor = NULL;
    json_t *value = NULL;
    size_t n = 0;
    cs_status st = CS_OK;

    CS_CHECK(list != NULL, CS_ERR_NOMEM, "%s: out of memory", index_path);
    json_object_foreach(weight_map, tensor, value)
    {
        const char *const name = json_string_value(value);
        CS_CHECK_GOTO(undo,
                      name != NULL && name[0] != '\0' && name[0] != '.' &&
                          strchr(name, '/') == NULL,
                      CS_ERR_FORMAT,
                      "%s: weight_map: tensor '%s': wanted the name of a file "
                      "in the same folder, got '%s'",
                      index_path, tensor, name != NULL ? name : "no string");
        list[n++] = name;
    }
    if (n > 0) {
        qsort(list, n, sizeof *list, compare_texts);
    }
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(list[i], list[i - 1]) != 0) {
            list[(*count)++] = list[i];
        }
    }
    *names = list;
    return CS_OK;
undo:
    csi_free(list);
    return st;
}

static cs_status open_parts(cs_safetensors *file, const char *folder,
                            const char *const *names)
{
    for (int64_t i = 0; i < file->n_parts; i++) {
        char *path = NULL;
        CS_TRY(csi_path_join(folder, names[i], &path));
        const cs_status st = open_part(file, &file->parts[i], path);
        csi_free(path);
        CS_TRY(st);
    }
    CS_TRY(read_tensors(file));
    return CS_OK;
}

/* The last part of a path. */
static const char *base_name(const char *path)
{
    const char *const slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* Each tensor is where the index says. Files may hold more than the index
 * names, as other programs allow it. */
static cs_status check_weight_map(const cs_safetensors *file,
                                  const char *index_path, json_t *weight_map)
{
    const char *name = NULL;
    json_t *value = NULL;

    json_object_foreach(weight_map, name, value)
    {
        const cs_safetensor *const tensor = cs_safetensors_find(file, name);
        CS_CHECK(tensor != NULL, CS_ERR_FORMAT, "%s: tensor '%s' is not in %s",
                 index_path, name, json_string_value(value));
        CS_CHECK(strcmp(base_name(tensor->path), json_string_value(value)) == 0,
                 CS_ERR_FORMAT, "%s: tensor '%s': wanted in %s, is in %s",
                 index_path, name, json_string_value(value), tensor->path);
    }
    return CS_OK;
}

static cs_status open_sharded(const char *folder, const char *index_path,
                              json_t *index, cs_safetensors **out)
{
    cs_safetensors *file = NULL;
    json_t *weight_map = NULL;
    const char **names = NULL;
    int64_t n_files = 0;
    cs_status st = CS_OK;

    CS_TRY(csi_json_object(index, "weight_map", index_path, &weight_map));
    CS_TRY(list_files(index_path, weight_map, &names, &n_files));
    CS_TRY_GOTO(undo, create(folder, n_files, &file));
    CS_TRY_GOTO(undo, open_parts(file, folder, names));
    CS_TRY_GOTO(undo, check_weight_map(file, index_path, weight_map));
    csi_free(names);
    *out = file;
    return CS_OK;
undo:
    csi_free(names);
    cs_safetensors_close(&file);
    return st;
}

/* Says what is there instead, where that is weights of another kind. */
static cs_status fail_without_weights(const char *folder)
{
    static const char *const PICKLED[] = {"pytorch_model.bin",
                                          "pytorch_model.bin.index.json"};

    for (size_t i = 0; i < sizeof PICKLED / sizeof PICKLED[0]; i++) {
        char *path = NULL;
        CS_TRY(csi_path_join(folder, PICKLED[i], &path));
        const bool is_there = csi_file_exists(path);
        csi_free(path);
        CS_CHECK(!is_there, CS_ERR_UNSUPPORTED,
                 "unsupported: %s: %s is pickled by PyTorch, wanted %s "
                 "(transformers writes it: from_pretrained() this folder, "
                 "then save_pretrained())",
                 folder, PICKLED[i], SINGLE_FILE);
    }
    return CS_FAIL(CS_ERR_IO, "%s: wanted %s or %s in it, found neither",
                   folder, SINGLE_FILE, INDEX_FILE);
}

cs_status cs_safetensors_open_folder(const char *folder, cs_safetensors **out)
{
    char *single = NULL;
    char *index_path = NULL;
    json_t *index = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_path_join(folder, SINGLE_FILE, &single));
    CS_TRY_GOTO(done, csi_path_join(folder, INDEX_FILE, &index_path));
    if (csi_file_exists(single)) {
        CS_TRY_GOTO(done, open_single(single, folder, out));
        goto done;
    }
    if (!csi_file_exists(index_path)) {
        CS_TRY_GOTO(done, fail_without_weights(folder));
    }
    CS_TRY_GOTO(done, csi_json_load(index_path, MAX_INDEX_BYTES, &index));
    CS_TRY_GOTO(done, open_sharded(folder, index_path, index, out));
done:
    json_decref(index);
    csi_free(index_path);
    csi_free(single);
    return st;
}

const char *cs_safetensors_path(const cs_safetensors *file)
{
    return file->path;
}

int64_t cs_safetensors_count(const cs_safetensors *file)
{
    return file->n_tensors;
}

const cs_safetensor *cs_safetensors_at(const cs_safetensors *file, int64_t i)
{
    return &file->tensors[i];
}

const cs_safetensor *cs_safetensors_find(const cs_safetensors *file,
                                         const char *name)
{
    int64_t i = 0;

    return csi_hash_map_get(file->by_name, name, strlen(name), &i)
               ? &file->tensors[i]
               : NULL;
}

cs_status cs_safetensors_require(const cs_safetensors *file, const char *name,
                                 const cs_shape *shape,
                                 const cs_safetensor **out)
{
    char wanted[CS_SHAPE_TEXT_BYTES];
    char got[CS_SHAPE_TEXT_BYTES];
    const cs_safetensor *const tensor = cs_safetensors_find(file, name);

    CS_CHECK(tensor != NULL, CS_ERR_FORMAT,
             "%s: tensor '%s' is missing (it holds %" PRId64 " others)",
             file->path, name, file->n_tensors);
    CS_CHECK(shape == NULL || cs_shape_equal(shape, &tensor->shape),
             CS_ERR_SHAPE, "%s: tensor '%s': wanted shape %s, got %s",
             tensor->path, name, cs_shape_print(shape, wanted),
             cs_shape_print(&tensor->shape, got));
    *out = tensor;
    return CS_OK;
}

const char *cs_safetensors_metadata(const cs_safetensors *file, const char *key)
{
    for (int64_t i = 0; i < file->n_parts; i++) {
        const json_t *const metadata =
            json_object_get(file->parts[i].header, "__metadata__");
        const json_t *const value = json_object_get(metadata, key);
        if (value != NULL) {
            return json_string_value(value);
        }
    }
    return NULL;
}

/* The box in the file's type, then converted. A whole tensor that lies as its
 * type wants it is converted where it is. */
static cs_status read_converted(const cs_safetensor *tensor,
                                const cs_slice *whole, const cs_slice *slice,
                                cs_dtype dtype, void *dst)
{
    const int64_t count = cs_slice_count(slice);
    const int64_t each = (int64_t)cs_dtype_bytes(tensor->dtype);
    void *staged = NULL;
    cs_status st = CS_OK;

    if (cs_slice_equal(whole, slice) &&
        (uintptr_t)tensor->data % (uintptr_t)each == 0) {
        return csi_dtype_convert(tensor->data, tensor->dtype, dst, dtype,
                                 count);
    }
    staged = csi_aligned((size_t)(count * each));
    CS_CHECK(staged != NULL, CS_ERR_NOMEM,
             "%s: tensor '%s': out of memory for %" PRId64 " bytes",
             tensor->path, tensor->name, count * each);
    CS_TRY_GOTO(done, csi_slice_copy(tensor->data, whole, staged, slice, slice,
                                     each));
    CS_TRY_GOTO(done,
                csi_dtype_convert(staged, tensor->dtype, dst, dtype, count));
done:
    csi_free(staged);
    return st;
}

cs_status cs_safetensors_read(const cs_safetensor *tensor,
                              const cs_slice *slice, cs_dtype dtype, void *dst)
{
    char wanted[CS_SHAPE_TEXT_BYTES];
    char got[CS_SHAPE_TEXT_BYTES];
    const cs_slice whole = cs_slice_whole(&tensor->shape);
    const cs_slice *const box = slice != NULL ? slice : &whole;

    CS_CHECK(cs_slice_contains(&whole, box), CS_ERR_SHAPE,
             "%s: tensor '%s': wanted %s of shape %s", tensor->path,
             tensor->name, cs_slice_print(box, wanted),
             cs_shape_print(&tensor->shape, got));
    CS_CHECK(tensor->dtype != CS_DTYPE_COUNT, CS_ERR_UNSUPPORTED,
             "unsupported: %s: tensor '%s' has dtype '%s'", tensor->path,
             tensor->name, tensor->dtype_name);
    if (dtype == tensor->dtype) {
        CS_TRY(csi_slice_copy(tensor->data, &whole, dst, box, box,
                              (int64_t)cs_dtype_bytes(dtype)));
        return CS_OK;
    }
    CS_CHECK(cs_dtype_is_float(dtype) && cs_dtype_is_float(tensor->dtype),
             CS_ERR_DTYPE, "%s: tensor '%s': wanted %s, got %s", tensor->path,
             tensor->name, cs_dtype_name(dtype), cs_dtype_name(tensor->dtype));
    CS_TRY(read_converted(tensor, &whole, box, dtype, dst));
    return CS_OK;
}
