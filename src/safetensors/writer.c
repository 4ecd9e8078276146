/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a safetensors file in one pass. The header needs all sizes, so the
 * tensors are declared before the first byte of data:
 *
 *     declaring --first write or commit--> writing --commit--> committed
 *
 * The header is padded with spaces so that the data begins on 8 bytes; a type
 * wider than what went before would lie askew and is refused when declared.
 */
#include "cornstarch/safetensors.h"

#include "base/alloc.h"
#include "base/checked.h"
#include "base/file.h"
#include "base/hash_map.h"
#include "base/str.h"

#include <inttypes.h>
#include <string.h>

enum {
    LENGTH_BYTES = 8,
    FIRST_TENSORS = 64
};

typedef struct declared {
    char *name; /* owned */
    int64_t n_bytes;
} declared;

struct cs_safetensors_writer {
    char *path;            /* owned */
    csi_file_writer *file; /* owned */
    csi_str header;        /* JSON text, without its closing brace */
    csi_hash_map *names;   /* owned; refuses a name used twice */
    declared *tensors;     /* owned */
    int64_t n_tensors;
    int64_t capacity;
    int64_t data_bytes; /* declared so far */
    int64_t current;    /* tensor that the next bytes belong to */
    int64_t n_written;  /* bytes of it */
    bool is_writing;
};

static void add_quoted(csi_str *s, const char *text)
{
    csi_str_add(s, "\"");
    csi_str_add_json(s, text);
    csi_str_add(s, "\"");
}

static void add_metadata(csi_str *s, const cs_safetensors_pair *pairs,
                         int64_t n_pairs)
{
    csi_str_add(s, "\"__metadata__\":{");
    for (int64_t i = 0; i < n_pairs; i++) {
        csi_str_add(s, i == 0 ? "" : ",");
        add_quoted(s, pairs[i].key);
        csi_str_add(s, ":");
        add_quoted(s, pairs[i].value);
    }
    csi_str_add(s, "}");
}

/* Pair `last` is text, and its key is none of those before it. */
static cs_status check_pair(const char *path, const cs_safetensors_pair *pairs,
                            int64_t last)
{
    const cs_safetensors_pair *const pair = &pairs[last];

    CS_CHECK(csi_utf8_valid(pair->key, strlen(pair->key)) &&
                 csi_utf8_valid(pair->value, strlen(pair->value)),
             CS_ERR_ARG, "%s: metadata %" PRId64 " is not valid UTF-8", path,
             last);
    for (int64_t i = 0; i < last; i++) {
        CS_CHECK(strcmp(pair->key, pairs[i].key) != 0, CS_ERR_ARG,
                 "%s: metadata key '%s' is given twice", path, pair->key);
    }
    return CS_OK;
}

cs_status cs_safetensors_writer_create(const char *path,
                                       const cs_safetensors_pair *metadata,
                                       int64_t n_metadata,
                                       cs_safetensors_writer **out)
{
    cs_safetensors_writer *writer = NULL;
    cs_status st = CS_OK;

    for (int64_t i = 0; i < n_metadata; i++) {
        CS_TRY(check_pair(path, metadata, i));
    }
    writer = csi_calloc(1, sizeof *writer);
    CS_CHECK(writer != NULL, CS_ERR_NOMEM, "%s: out of memory", path);
    writer->path = csi_strdup(path);
    CS_CHECK_GOTO(undo, writer->path != NULL, CS_ERR_NOMEM, "%s: out of memory",
                  path);
    csi_str_add(&writer->header, "{");
    if (n_metadata > 0) {
        add_metadata(&writer->header, metadata, n_metadata);
    }
    CS_TRY_GOTO(undo, csi_hash_map_create(&writer->names));
    CS_TRY_GOTO(undo, csi_file_writer_create(path, &writer->file));
    *out = writer;
    return CS_OK;
undo:
    cs_safetensors_writer_destroy(&writer);
    return st;
}

void cs_safetensors_writer_destroy(cs_safetensors_writer **writer_holder)
{
    cs_safetensors_writer *const writer = *writer_holder;

    if (writer == NULL) {
        return;
    }
    for (int64_t i = 0; i < writer->n_tensors; i++) {
        csi_free(writer->tensors[i].name);
    }
    csi_free(writer->tensors);
    csi_hash_map_destroy(&writer->names);
    csi_str_fini(&writer->header);
    csi_file_writer_destroy(&writer->file);
    csi_free(writer->path);
    csi_free(writer);
    *writer_holder = NULL;
}

static cs_status check_declaration(const cs_safetensors_writer *writer,
                                   const char *name, cs_dtype dtype,
                                   const cs_shape *shape, int64_t *n_bytes)
{
    const int64_t each = (int64_t)cs_dtype_bytes(dtype);
    int64_t end = 0;

    CS_CHECK(!writer->is_writing, CS_ERR_INTERNAL,
             "%s: tensor '%s' is declared after the first data", writer->path,
             name);
    CS_CHECK(each > 0, CS_ERR_DTYPE, "%s: tensor '%s': %d is no dtype",
             writer->path, name, (int)dtype);
    CS_CHECK(name[0] != '\0' && csi_utf8_valid(name, strlen(name)) &&
                 strcmp(name, "__metadata__") != 0,
             CS_ERR_ARG, "%s: '%s' cannot be the name of a tensor",
             writer->path, name);
    CS_TRY(cs_shape_bytes(shape, dtype, n_bytes));
    CS_CHECK(csi_add_i64(&end, writer->data_bytes, *n_bytes), CS_ERR_SHAPE,
             "%s: tensor '%s': the file's size does not fit 63 bits",
             writer->path, name);
    CS_CHECK(writer->data_bytes % each == 0, CS_ERR_ARG,
             "%s: tensor '%s': %s would begin at byte %" PRId64
             " of the data: declare wider element types first",
             writer->path, name, cs_dtype_name(dtype), writer->data_bytes);
    return CS_OK;
}

static cs_status reserve(cs_safetensors_writer *writer)
{
    if (writer->n_tensors < writer->capacity) {
        return CS_OK;
    }
    const int64_t capacity =
        writer->capacity != 0 ? writer->capacity * 2 : FIRST_TENSORS;
    declared *const tensors =
        csi_realloc(writer->tensors, (size_t)capacity * sizeof *tensors);

    CS_CHECK(tensors != NULL, CS_ERR_NOMEM,
             "%s: out of memory for %" PRId64 " tensors", writer->path,
             capacity);
    writer->tensors = tensors;
    writer->capacity = capacity;
    return CS_OK;
}

static void add_declaration(csi_str *s, const char *name, cs_dtype dtype,
                            const cs_shape *shape, const int64_t offsets[2])
{
    csi_str_add(s, s->length > 1 ? "," : "");
    add_quoted(s, name);
    csi_str_addf(s, ":{\"dtype\":\"%s\",\"shape\":[",
                 cs_dtype_safetensors(dtype));
    for (int32_t i = 0; i < shape->n_dims; i++) {
        csi_str_addf(s, "%s%" PRId64, i == 0 ? "" : ",", shape->dim[i]);
    }
    csi_str_addf(s, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", offsets[0],
                 offsets[1]);
}

cs_status cs_safetensors_writer_add(cs_safetensors_writer *writer,
                                    const char *name, cs_dtype dtype,
                                    const cs_shape *shape)
{
    int64_t n_bytes = 0;
    int64_t other = 0;

    CS_TRY(check_declaration(writer, name, dtype, shape, &n_bytes));
    CS_CHECK(!csi_hash_map_get(writer->names, name, strlen(name), &other),
             CS_ERR_ARG, "%s: tensor '%s' is declared twice", writer->path,
             name);
    CS_TRY(reserve(writer));
    CS_TRY(csi_hash_map_put(writer->names, name, strlen(name),
                            writer->n_tensors));
    char *const copy = csi_strdup(name);

    CS_CHECK(copy != NULL, CS_ERR_NOMEM, "%s: out of memory for names",
             writer->path);
    const int64_t offsets[2] = {writer->data_bytes,
                                writer->data_bytes + n_bytes};

    add_declaration(&writer->header, name, dtype, shape, offsets);
    writer->tensors[writer->n_tensors++] =
        (declared){.name = copy, .n_bytes = n_bytes};
    writer->data_bytes += n_bytes;
    CS_TRY(csi_str_check(&writer->header));
    return CS_OK;
}

/* Closes the declarations: writes length and header. */
static cs_status begin_data(cs_safetensors_writer *writer)
{
    uint8_t length[LENGTH_BYTES];

    csi_str_add(&writer->header, "}");
    while (writer->header.length % LENGTH_BYTES != 0 &&
           !writer->header.failed) {
        csi_str_add(&writer->header, " ");
    }
    CS_TRY(csi_str_check(&writer->header));
    for (size_t i = 0; i < LENGTH_BYTES; i++) {
        length[i] = (uint8_t)((uint64_t)writer->header.length >> (8 * i));
    }
    CS_TRY(csi_file_writer_write(writer->file, length, sizeof length));
    CS_TRY(csi_file_writer_write(writer->file, writer->header.data,
                                 writer->header.length));
    writer->is_writing = true;
    return CS_OK;
}

/* Goes on to the next tensor that still wants bytes, or to `name`. */
static void skip_done(cs_safetensors_writer *writer, const char *name)
{
    while (writer->current < writer->n_tensors) {
        const declared *const t = &writer->tensors[writer->current];
        if (writer->n_written < t->n_bytes || strcmp(t->name, name) == 0) {
            return;
        }
        writer->current++;
        writer->n_written = 0;
    }
}

cs_status cs_safetensors_writer_write(cs_safetensors_writer *writer,
                                      const char *name, const void *data,
                                      int64_t n_bytes)
{
    if (!writer->is_writing) {
        CS_TRY(begin_data(writer));
    }
    skip_done(writer, name);
    CS_CHECK(writer->current < writer->n_tensors, CS_ERR_INTERNAL,
             "%s: data for tensor '%s' after the last declared one",
             writer->path, name);
    const declared *const t = &writer->tensors[writer->current];

    CS_CHECK(strcmp(t->name, name) == 0, CS_ERR_INTERNAL,
             "%s: data for tensor '%s', but '%s' still wants %" PRId64 " bytes",
             writer->path, name, t->name, t->n_bytes - writer->n_written);
    CS_CHECK(n_bytes >= 0 && n_bytes <= t->n_bytes - writer->n_written,
             CS_ERR_INTERNAL,
             "%s: tensor '%s': got %" PRId64 " bytes, wanted at most %" PRId64,
             writer->path, name, n_bytes, t->n_bytes - writer->n_written);
    CS_TRY(csi_file_writer_write(writer->file, data, (size_t)n_bytes));
    writer->n_written += n_bytes;
    return CS_OK;
}

cs_status cs_safetensors_writer_commit(cs_safetensors_writer *writer)
{
    if (!writer->is_writing) {
        CS_TRY(begin_data(writer));
    }
    skip_done(writer, "");
    CS_CHECK(writer->current == writer->n_tensors ||
                 writer->n_written == writer->tensors[writer->current].n_bytes,
             CS_ERR_INTERNAL, "%s: tensor '%s' still wants %" PRId64 " bytes",
             writer->path, writer->tensors[writer->current].name,
             writer->tensors[writer->current].n_bytes - writer->n_written);
    CS_TRY(csi_file_writer_commit(writer->file));
    return CS_OK;
}
