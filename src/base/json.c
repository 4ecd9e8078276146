/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jansson behind statuses. Its allocator is replaced by ours before main()
 * runs, because jansson must not free with one allocator what it made with
 * another, and callers may build objects before their first call here.
 */
#include "base/json.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include <inttypes.h>
#include <string.h>

/* jansson reports a failed allocation under many names, often as a syntax
 * error without text; this remembers what really happened. */
static _Thread_local bool heap_failed;

static void *allocate(size_t n_bytes)
{
    void *const p = csi_malloc(n_bytes);

    heap_failed = heap_failed || p == NULL;
    return p;
}

__attribute__((constructor)) static void use_our_heap(void)
{
    json_set_alloc_funcs(allocate, csi_free);
}

static cs_status parse(const char *text, size_t n_bytes, const char *where,
                       size_t flags, json_t **out, size_t *consumed)
{
    json_error_t error = {.line = 0};

    heap_failed = false;
    json_t *const json =
        json_loadb(text, n_bytes,
                   flags | JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

    if (json == NULL) {
        CS_CHECK(!heap_failed, CS_ERR_NOMEM,
                 "%s: out of memory while reading JSON", where);
        return CS_FAIL(CS_ERR_FORMAT, "%s:%d:%d: %s", where, error.line,
                       error.column, error.text);
    }
    *consumed = (size_t)error.position;
    *out = json;
    return CS_OK;
}

cs_status csi_json_parse(const char *text, size_t n_bytes, const char *where,
                         json_t **out)
{
    size_t consumed;

    CS_TRY(parse(text, n_bytes, where, 0, out, &consumed));
    return CS_OK;
}

cs_status csi_json_parse_prefix(const char *text, size_t n_bytes,
                                const char *where, json_t **out,
                                size_t *consumed)
{
    CS_TRY(parse(text, n_bytes, where, JSON_DISABLE_EOF_CHECK, out, consumed));
    return CS_OK;
}

cs_status csi_json_load(const char *path, int64_t max_bytes, json_t **out)
{
    char *text = NULL;
    size_t n_bytes = 0;
    cs_status st = CS_OK;

    CS_TRY(csi_file_read(path, max_bytes, &text, &n_bytes));
    CS_TRY_GOTO(done, csi_json_parse(text, n_bytes, path, out));
done:
    csi_free(text);
    return st;
}

static int add_to_str(const char *bytes, size_t n_bytes, void *opaque)
{
    csi_str *const text = opaque;

    csi_str_add_bytes(text, bytes, n_bytes);
    return text->failed ? -1 : 0;
}

cs_status csi_json_print(const json_t *json, const char *where, char **out)
{
    csi_str text = {0};
    cs_status st = CS_OK;
    const int refused = json_dump_callback(json, add_to_str, &text,
                                           JSON_INDENT(2) | JSON_ENCODE_ANY);

    csi_str_add(&text, "\n");
    CS_TRY_GOTO(undo, csi_str_check(&text));
    CS_CHECK_GOTO(undo, refused == 0, CS_ERR_NOMEM,
                  "%s: out of memory while printing JSON", where);
    *out = text.data;
    return CS_OK;
undo:
    csi_str_fini(&text);
    return st;
}

cs_status csi_json_save(const char *path, const json_t *json)
{
    char *text = NULL;

    CS_TRY(csi_json_print(json, path, &text));
    const cs_status st = csi_file_write(path, text, strlen(text));

    csi_free(text);
    CS_TRY(st);
    return CS_OK;
}

static const char *name_type(const json_t *json)
{
    if (json == NULL) {
        return "nothing";
    }
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return "object";
    case JSON_ARRAY:
        return "array";
    case JSON_STRING:
        return "string";
    case JSON_INTEGER:
        return "integer";
    case JSON_REAL:
        return "number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    default:
        return "null";
    }
}

static cs_status find(const json_t *object, const char *key, const char *where,
                      const char *wanted, json_t **out)
{
    CS_CHECK(json_is_object(object), CS_ERR_FORMAT,
             "%s: wanted an object with key '%s', got %s", where, key,
             name_type(object));
    json_t *const value = json_object_get(object, key);

    CS_CHECK(value != NULL, CS_ERR_FORMAT, "%s: key '%s' is missing: wanted %s",
             where, key, wanted);
    *out = value;
    return CS_OK;
}

static bool is_absent(const json_t *object, const char *key)
{
    const json_t *const value = json_object_get(object, key);

    return json_is_object(object) && (value == NULL || json_is_null(value));
}

static cs_status fail_type(const json_t *value, const char *key,
                           const char *where, const char *wanted)
{
    return CS_FAIL(CS_ERR_FORMAT, "%s: key '%s': wanted %s, got %s", where, key,
                   wanted, name_type(value));
}

cs_status csi_json_i64(const json_t *object, const char *key, const char *where,
                       int64_t min, int64_t max, int64_t *out)
{
    json_t *value = NULL;

    CS_TRY(find(object, key, where, "integer", &value));
    if (!json_is_integer(value)) {
        return fail_type(value, key, where, "integer");
    }
    const int64_t number = json_integer_value(value);

    CS_CHECK(number >= min && number <= max, CS_ERR_FORMAT,
             "%s: key '%s': wanted %" PRId64 "..%" PRId64 ", got %" PRId64,
             where, key, min, max, number);
    *out = number;
    return CS_OK;
}

cs_status csi_json_f64(const json_t *object, const char *key, const char *where,
                       double *out)
{
    json_t *value = NULL;

    CS_TRY(find(object, key, where, "number", &value));
    if (!json_is_number(value)) {
        return fail_type(value, key, where, "number");
    }
    *out = json_number_value(value);
    return CS_OK;
}

cs_status csi_json_bool(const json_t *object, const char *key,
                        const char *where, bool *out)
{
    json_t *value = NULL;

    CS_TRY(find(object, key, where, "boolean", &value));
    if (!json_is_boolean(value)) {
        return fail_type(value, key, where, "boolean");
    }
    *out = json_is_true(value);
    return CS_OK;
}

cs_status csi_json_string(const json_t *object, const char *key,
                          const char *where, const char **out)
{
    json_t *value = NULL;

    CS_TRY(find(object, key, where, "string", &value));
    if (!json_is_string(value)) {
        return fail_type(value, key, where, "string");
    }
    *out = json_string_value(value);
    return CS_OK;
}

cs_status csi_json_object(const json_t *object, const char *key,
                          const char *where, json_t **out)
{
    json_t *value = NULL;

    CS_TRY(find(object, key, where, "object", &value));
    if (!json_is_object(value)) {
        return fail_type(value, key, where, "object");
    }
    *out = value;
    return CS_OK;
}

cs_status csi_json_array(const json_t *object, const char *key,
                         const char *where, json_t **out)
{
    json_t *value = NULL;

    CS_TRY(find(object, key, where, "array", &value));
    if (!json_is_array(value)) {
        return fail_type(value, key, where, "array");
    }
    *out = value;
    return CS_OK;
}

cs_status csi_json_opt_i64(const json_t *object, const char *key,
                           const char *where, int64_t min, int64_t max,
                           int64_t *out)
{
    return is_absent(object, key)
               ? CS_OK
               : csi_json_i64(object, key, where, min, max, out);
}

cs_status csi_json_opt_f64(const json_t *object, const char *key,
                           const char *where, double *out)
{
    return is_absent(object, key) ? CS_OK
                                  : csi_json_f64(object, key, where, out);
}

cs_status csi_json_opt_bool(const json_t *object, const char *key,
                            const char *where, bool *out)
{
    return is_absent(object, key) ? CS_OK
                                  : csi_json_bool(object, key, where, out);
}

cs_status csi_json_opt_string(const json_t *object, const char *key,
                              const char *where, const char **out)
{
    return is_absent(object, key) ? CS_OK
                                  : csi_json_string(object, key, where, out);
}

cs_status csi_json_check_format(const json_t *object, const char *format,
                                const char *where)
{
    const char *found = NULL;
    int64_t version = 0;

    CS_TRY(csi_json_string(object, "format", where, &found));
    CS_CHECK(found != NULL && strcmp(found, format) == 0, CS_ERR_FORMAT,
             "%s: wanted format '%s', got '%s'", where, format,
             found != NULL ? found : "");
    CS_TRY(csi_json_i64(object, "version", where, INT64_MIN, INT64_MAX,
                        &version));
    CS_CHECK(version == 1, CS_ERR_FORMAT,
             "%s: wanted version 1 of %s, got %" PRId64, where, format,
             version);
    return CS_OK;
}

cs_status csi_json_new(const char *format, json_t **out)
{
    json_t *const json = json_object();

    if (json == NULL ||
        json_object_set_new(json, "format", json_string(format)) != 0 ||
        json_object_set_new(json, "version", json_integer(1)) != 0) {
        json_decref(json);
        return CS_FAIL(CS_ERR_NOMEM, "out of memory for a %s object", format);
    }
    *out = json;
    return CS_OK;
}
