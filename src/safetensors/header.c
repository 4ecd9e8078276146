/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header of a safetensors file, believed only where it proves itself:
 *
 *     | n: u64 little endian | n bytes of JSON | data ...                  |
 *
 *     {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
 *      "__metadata__": {"text": "text"}}
 *
 * Sorted by offset, the tensors must cover the data exactly: each begins where
 * the one before it ends. That one rule excludes overlaps, holes and tails.
 */
#include "header.h"

#include "base/checked.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    LENGTH_BYTES = 8,
    MIN_HEADER_BYTES = 2
};

static const char METADATA_KEY[] = "__metadata__";

cs_status csi_safetensors_parse(csi_safetensors_bytes file, json_t **header,
                                int64_t *header_bytes)
{
    uint64_t n = 0;
    json_t *json = NULL;

    CS_CHECK(file.n_bytes >= LENGTH_BYTES, CS_ERR_FORMAT,
             "%s: wanted at least %d bytes of header length, got %zu",
             file.path, (int)LENGTH_BYTES, file.n_bytes);
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) {
        n = n << 8 | file.data[i];
    }
    CS_CHECK(n >= MIN_HEADER_BYTES && n <= CSI_SAFETENSORS_MAX_HEADER_BYTES,
             CS_ERR_FORMAT,
             "%s: header says it has %" PRIu64 " bytes, wanted %d..%d",
             file.path, n, (int)MIN_HEADER_BYTES,
             (int)CSI_SAFETENSORS_MAX_HEADER_BYTES);
    CS_CHECK(n <= file.n_bytes - LENGTH_BYTES, CS_ERR_FORMAT,
             "%s: header says it has %" PRIu64
             " bytes, but only %zu follow: the file is truncated",
             file.path, n, file.n_bytes - LENGTH_BYTES);
    const char *const text = (const char *)file.data + LENGTH_BYTES;

    CS_CHECK(text[0] == '{', CS_ERR_FORMAT,
             "%s: header begins with byte 0x%02x, wanted '{'", file.path,
             (unsigned)(unsigned char)text[0]);
    CS_TRY(csi_json_parse(text, (size_t)n, file.path, &json));
    *header = json;
    *header_bytes = (int64_t)n;
    return CS_OK;
}

int64_t csi_safetensors_header_count(const json_t *header)
{
    const bool has_metadata = json_object_get(header, METADATA_KEY) != NULL;

    return (int64_t)json_object_size(header) - has_metadata;
}

/* Types of files that we can pass over but not read, with their bytes. */
static const struct foreign_type {
    const char *name;
    int64_t n_bytes;
} FOREIGN_TYPES[] = {
    {"BOOL", 1},    {"I8", 1},      {"I16", 2},     {"U16", 2}, {"U32", 4},
    {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"C64", 8},
};

/* *foreign is NULL for a type of ours; else it is a literal, and *out is no
 * type at all. */
static cs_status read_dtype(const char *where, json_t *json, cs_dtype *out,
                            const struct foreign_type **foreign)
{
    const char *name = NULL;

    CS_TRY(csi_json_string(json, "dtype", where, &name));
    *foreign = NULL;
    if (cs_dtype_from_safetensors(name, out)) {
        return CS_OK;
    }
    *out = CS_DTYPE_COUNT;
    for (size_t i = 0; i < sizeof FOREIGN_TYPES / sizeof FOREIGN_TYPES[0];
         i++) {
        if (strcmp(name, FOREIGN_TYPES[i].name) == 0) {
            *foreign = &FOREIGN_TYPES[i];
            return CS_OK;
        }
    }
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "unsupported: %s has dtype '%.40s', wanted one of F32, F64, "
                   "BF16, F16, I32, I64, U64, U8",
                   where, name);
}

/* Bytes that shape and type want. */
static cs_status count_bytes(const char *where, const cs_safetensor *tensor,
                             const struct foreign_type *foreign, int64_t *out)
{
    if (foreign == NULL) {
        return cs_shape_bytes(&tensor->shape, tensor->dtype, out);
    }
    CS_CHECK(csi_mul_i64(out, cs_shape_count(&tensor->shape), foreign->n_bytes),
             CS_ERR_SHAPE, "%s: its bytes do not fit 63 bits", where);
    return CS_OK;
}

static cs_status read_shape(const char *where, json_t *json, cs_shape *out)
{
    json_t *dims = NULL;
    cs_shape shape = {0};

    CS_TRY(csi_json_array(json, "shape", where, &dims));
    const size_t n_dims = json_array_size(dims);

    CS_CHECK(n_dims <= CS_MAX_DIMS, CS_ERR_UNSUPPORTED,
             "unsupported: %s has %zu dims, wanted at most %d", where, n_dims,
             (int)CS_MAX_DIMS);
    shape.n_dims = (int32_t)n_dims;
    for (size_t i = 0; i < n_dims; i++) {
        const json_t *const dim = json_array_get(dims, i);
        CS_CHECK(json_is_integer(dim) && json_integer_value(dim) >= 0,
                 CS_ERR_FORMAT, "%s: dim %zu is no integer of 0 or more", where,
                 i);
        shape.dim[i] = json_integer_value(dim);
    }
    CS_CHECK(cs_shape_count(&shape) >= 0, CS_ERR_FORMAT,
             "%s: the product of its dims does not fit 63 bits", where);
    *out = shape;
    return CS_OK;
}

static cs_status read_offsets(const char *where, json_t *json,
                              int64_t data_bytes, int64_t offsets[2])
{
    json_t *pair = NULL;

    CS_TRY(csi_json_array(json, "data_offsets", where, &pair));
    CS_CHECK(json_array_size(pair) == 2, CS_ERR_FORMAT,
             "%s: data_offsets has %zu numbers, wanted 2", where,
             json_array_size(pair));
    for (size_t i = 0; i < 2; i++) {
        CS_CHECK(json_is_integer(json_array_get(pair, i)), CS_ERR_FORMAT,
                 "%s: data_offsets holds something that is no integer", where);
        offsets[i] = json_integer_value(json_array_get(pair, i));
    }
    CS_CHECK(offsets[0] >= 0 && offsets[0] <= offsets[1] &&
                 offsets[1] <= data_bytes,
             CS_ERR_FORMAT,
             "%s: data_offsets are [%" PRId64 ", %" PRId64
             "], the file has %" PRId64 " bytes of data",
             where, offsets[0], offsets[1], data_bytes);
    return CS_OK;
}

/* Checks one member of the header and turns it into an entry. */
static cs_status read_entry(const char *where, json_t *json,
                            const uint8_t *data, int64_t data_bytes,
                            cs_safetensor *out)
{
    char text[CS_SHAPE_TEXT_BYTES];
    const struct foreign_type *foreign = NULL;
    int64_t offsets[2] = {0, 0};
    int64_t wanted = 0;

    CS_CHECK(json_is_object(json), CS_ERR_FORMAT, "%s: wanted an object",
             where);
    CS_CHECK(json_object_size(json) == 3, CS_ERR_FORMAT,
             "%s: has %zu members, wanted dtype, shape and data_offsets", where,
             json_object_size(json));
    CS_TRY(read_dtype(where, json, &out->dtype, &foreign));
    CS_TRY(read_shape(where, json, &out->shape));
    CS_TRY(read_offsets(where, json, data_bytes, offsets));
    out->n_bytes = offsets[1] - offsets[0];
    out->data = data + offsets[0];
    out->dtype_name =
        foreign != NULL ? foreign->name : cs_dtype_name(out->dtype);
    CS_TRY(count_bytes(where, out, foreign, &wanted));
    CS_CHECK(wanted == out->n_bytes, CS_ERR_FORMAT,
             "%s: %s of %s wants %" PRId64 " bytes, data_offsets give %" PRId64,
             where, cs_shape_print(&out->shape, text), out->dtype_name, wanted,
             out->n_bytes);
    return CS_OK;
}

static cs_status check_metadata(const char *path, json_t *metadata)
{
    const char *key = NULL;
    json_t *value = NULL;

    CS_CHECK(json_is_object(metadata), CS_ERR_FORMAT,
             "%s: %s: wanted an object", path, METADATA_KEY);
    json_object_foreach(metadata, key, value)
    {
        CS_CHECK(json_is_string(value), CS_ERR_FORMAT,
                 "%s: %s: key '%s': wanted string", path, METADATA_KEY, key);
    }
    return CS_OK;
}

/* By begin; tensors without bytes before the one that begins there. */
static int compare_entries(const void *a, const void *b)
{
    const cs_safetensor *const x = a;
    const cs_safetensor *const y = b;
    const uintptr_t at_x = (uintptr_t)x->data;
    const uintptr_t at_y = (uintptr_t)y->data;

    if (at_x != at_y) {
        return at_x < at_y ? -1 : 1;
    }
    if (x->n_bytes != y->n_bytes) {
        return x->n_bytes < y->n_bytes ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

static cs_status check_cover(const char *path, const uint8_t *data,
                             int64_t data_bytes, const cs_safetensor *entries,
                             int64_t count)
{
    int64_t end = 0;

    for (int64_t i = 0; i < count; i++) {
        const int64_t begin = (const uint8_t *)entries[i].data - data;
        CS_CHECK(begin == end, CS_ERR_FORMAT,
                 "%s: tensor '%s' begins at byte %" PRId64
                 " of the data, wanted %" PRId64 ": %s",
                 path, entries[i].name, begin, end,
                 begin < end ? "it overlaps the one before it"
                             : "there is a hole before it");
        end = begin + entries[i].n_bytes;
    }
    CS_CHECK(end == data_bytes, CS_ERR_FORMAT,
             "%s: the tensors end at byte %" PRId64
             " of the data, wanted %" PRId64,
             path, end, data_bytes);
    return CS_OK;
}

static cs_status add_entry(csi_safetensors_bytes file, const char *name,
                           json_t *json, int64_t data_at, csi_arena *arena,
                           cs_safetensor *entry)
{
    csi_str where = {0};
    cs_status st = CS_OK;

    entry->name = csi_arena_strdup(arena, name);
    entry->path = file.path;
    csi_str_addf(&where, "%s: tensor '%s'", file.path, name);
    CS_CHECK_GOTO(done, entry->name != NULL && !where.failed, CS_ERR_NOMEM,
                  "%s: out of memory for tensor names", file.path);
    CS_TRY_GOTO(done, read_entry(csi_str_get(&where), json, file.data + data_at,
                                 (int64_t)file.n_bytes - data_at, entry));
done:
    csi_str_fini(&where);
    return st;
}

cs_status csi_safetensors_read_entries(csi_safetensors_bytes file,
                                       json_t *header, int64_t header_bytes,
                                       csi_arena *arena, cs_safetensor *entries)
{
    const int64_t data_at = LENGTH_BYTES + header_bytes;
    const char *name = NULL;
    json_t *json = NULL;
    int64_t count = 0;

    json_object_foreach(header, name, json)
    {
        const bool is_metadata = strcmp(name, METADATA_KEY) == 0;
        const cs_status st = is_metadata ? check_metadata(file.path, json)
                                         : add_entry(file, name, json, data_at,
                                                     arena, &entries[count]);
        CS_TRY(st);
        count += !is_metadata;
    }
    if (count > 0) {
        qsort(entries, (size_t)count, sizeof *entries, compare_entries);
    }
    CS_TRY(check_cover(file.path, file.data + data_at,
                       (int64_t)file.n_bytes - data_at, entries, count));
    return CS_OK;
}
