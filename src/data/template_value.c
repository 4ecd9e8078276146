/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a running template: made, asked, compared. */
#include "template_value.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <string.h>

static const size_t MAX_VALUE_BYTES = (size_t)64 << 20;
static const size_t MAX_TEXT_BYTES = (size_t)16 << 20;

enum {
    MAX_STEPS = 2000000,
    BYTES_PER_STEP = 256,
    MAX_DEPTH = 400,
    MAX_VALUE_DEPTH = 200,
    MAX_MESSAGES = UINT16_MAX - 1
};

cs_status csi_jinja_fail(const csi_eval *e, cs_status code, const char *format,
                         ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return CS_FAIL(code, "%s:%" PRId32 ": %s", e->jinja->where, e->line, text);
}

cs_status csi_jinja_alloc(csi_eval *e, size_t n_bytes, void **out)
{
    if (n_bytes > MAX_VALUE_BYTES - e->n_bytes) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG,
                              "the template makes more than %zu MiB of values",
                              MAX_VALUE_BYTES >> 20);
    }
    *out = csi_arena_alloc(&e->arena, n_bytes);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "%s: no memory for %zu bytes",
             e->jinja->where, n_bytes);
    e->n_bytes += n_bytes + 64;
    e->n_bytes = e->n_bytes < MAX_VALUE_BYTES ? e->n_bytes : MAX_VALUE_BYTES;
    return CS_OK;
}

cs_status csi_jinja_step(csi_eval *e)
{
    if (++e->n_steps > MAX_STEPS) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG,
                              "the template takes more than %d steps",
                              MAX_STEPS);
    }
    return CS_OK;
}

cs_status csi_jinja_charge(csi_eval *e, size_t n_bytes, size_t times)
{
    const size_t steps = n_bytes / BYTES_PER_STEP;

    if (times > 0 && steps > MAX_STEPS / times) {
        e->n_steps = MAX_STEPS;
    } else {
        e->n_steps += (int64_t)(steps * times);
    }
    return csi_jinja_step(e);
}

cs_status csi_jinja_enter(csi_eval *e)
{
    if (++e->depth > MAX_DEPTH) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG,
                              "the template nests more than %d deep",
                              MAX_DEPTH);
    }
    return csi_jinja_step(e);
}

/* ---- output ---- */

void csi_jinja_text_fini(csi_jinja_text *text)
{
    csi_free(text->bytes);
    csi_free(text->marks);
    csi_free(text->spans);
    *text = (csi_jinja_text){.n_bytes = 0};
}

static cs_status reserve(csi_eval *e, csi_jinja_text *t, size_t n_more)
{
    const size_t wanted = t->n_bytes + n_more + 1;

    if (wanted > MAX_TEXT_BYTES) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG,
                              "the template writes more than %zu MiB",
                              MAX_TEXT_BYTES >> 20);
    }
    if (wanted <= t->capacity) {
        return CS_OK;
    }
    const size_t capacity = 2 * wanted + 256;
    char *const bytes = csi_realloc(t->bytes, capacity);

    t->bytes = bytes != NULL ? bytes : t->bytes;
    uint16_t *const marks =
        bytes != NULL ? csi_realloc(t->marks, capacity * sizeof *marks) : NULL;

    t->marks = marks != NULL ? marks : t->marks;
    CS_CHECK(bytes != NULL && marks != NULL, CS_ERR_NOMEM,
             "%s: no memory for %zu bytes", e->jinja->where, capacity);
    t->capacity = capacity;
    return CS_OK;
}

cs_status csi_jinja_write(csi_eval *e, csi_jinja_text *to, csi_jstr text)
{
    e->n_steps += (int64_t)(text.n / BYTES_PER_STEP);
    CS_TRY(reserve(e, to, text.n));
    if (text.n > 0) {
        memcpy(to->bytes + to->n_bytes, text.bytes, text.n);
        if (text.marks != NULL) {
            memcpy(to->marks + to->n_bytes, text.marks,
                   text.n * sizeof *text.marks);
        } else {
            memset(to->marks + to->n_bytes, 0, text.n * sizeof *to->marks);
        }
    }
    to->n_bytes += text.n;
    to->bytes[to->n_bytes] = '\0';
    return CS_OK;
}

cs_status csi_jinja_text_string(csi_eval *e, const csi_jinja_text *text,
                                csi_value *out)
{
    void *bytes = NULL;
    void *marks = NULL;

    if (text->n_bytes == 0) {
        *out = csi_value_text("");
        return CS_OK;
    }
    CS_TRY(csi_jinja_alloc(e, text->n_bytes, &bytes));
    CS_TRY(csi_jinja_alloc(e, text->n_bytes * sizeof(uint16_t), &marks));
    memcpy(bytes, text->bytes, text->n_bytes);
    memcpy(marks, text->marks, text->n_bytes * sizeof(uint16_t));
    *out = csi_value_string((csi_jstr){.bytes = bytes,
                                       .marks = marks,
                                       .n = text->n_bytes});
    return CS_OK;
}

/* ---- making ---- */

csi_jstr csi_jstr_of(const char *text)
{
    return (csi_jstr){.bytes = text, .n = strlen(text)};
}

csi_jstr csi_jstr_part(csi_jstr s, size_t begin, size_t end)
{
    return (csi_jstr){.bytes = s.bytes + begin,
                      .marks = s.marks != NULL ? s.marks + begin : NULL,
                      .n = end - begin};
}

csi_value csi_value_string(csi_jstr s)
{
    return (csi_value){.kind = CSI_VALUE_STRING, .string = s};
}

csi_value csi_value_text(const char *text)
{
    return csi_value_string(csi_jstr_of(text));
}

csi_value csi_value_int(int64_t i)
{
    return (csi_value){.kind = CSI_VALUE_INT, .integer = i};
}

csi_value csi_value_bool(bool b)
{
    return (csi_value){.kind = CSI_VALUE_BOOL, .integer = b};
}

csi_value csi_value_none(void)
{
    return (csi_value){.kind = CSI_VALUE_NONE};
}

csi_value csi_value_undefined(const char *name)
{
    return (csi_value){.kind = CSI_VALUE_UNDEFINED, .name = name};
}

cs_status csi_value_list(csi_eval *e, csi_value_kind kind, size_t n,
                         csi_value *out, csi_value **items)
{
    void *list = NULL;
    void *memory = NULL;

    CS_TRY(csi_jinja_alloc(e, sizeof(csi_jlist), &list));
    CS_TRY(csi_jinja_alloc(e, n * sizeof(csi_value), &memory));
    *(csi_jlist *)list = (csi_jlist){.items = memory, .n = n};
    *out = (csi_value){.kind = kind, .list = list};
    *items = memory;
    return CS_OK;
}

cs_status csi_value_dict(csi_eval *e, csi_value_kind kind, csi_value *out)
{
    void *dict = NULL;

    CS_TRY(csi_jinja_alloc(e, sizeof(csi_jdict), &dict));
    *(csi_jdict *)dict = (csi_jdict){.n = 0};
    *out = (csi_value){.kind = kind, .dict = dict};
    return CS_OK;
}

static size_t find_key(const csi_jdict *dict, const csi_value *key)
{
    size_t i = 0;

    while (i < dict->n && !csi_value_equal(&dict->keys[i], key)) {
        i++;
    }
    return i;
}

cs_status csi_dict_set(csi_eval *e, csi_jdict *dict, csi_value key,
                       csi_value value)
{
    const size_t at = find_key(dict, &key);

    if (key.kind == CSI_VALUE_LIST || key.kind == CSI_VALUE_DICT) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "a %s cannot be a key",
                              csi_value_type(&key));
    }
    e->n_steps += (int64_t)(at / 8);
    CS_TRY(csi_jinja_step(e));
    if (at < dict->n) {
        dict->values[at] = value;
        return CS_OK;
    }
    if (dict->n == dict->capacity) {
        const size_t capacity = 2 * dict->capacity + 8;
        void *keys = NULL;
        void *values = NULL;

        CS_TRY(csi_jinja_alloc(e, capacity * sizeof key, &keys));
        CS_TRY(csi_jinja_alloc(e, capacity * sizeof value, &values));
        if (dict->n > 0) {
            memcpy(keys, dict->keys, dict->n * sizeof key);
            memcpy(values, dict->values, dict->n * sizeof value);
        }
        dict->keys = keys;
        dict->values = values;
        dict->capacity = capacity;
    }
    dict->keys[dict->n] = key;
    dict->values[dict->n++] = value;
    return CS_OK;
}

bool csi_dict_get(const csi_jdict *dict, const csi_value *key, csi_value *out)
{
    const size_t at = find_key(dict, key);

    if (at < dict->n) {
        *out = dict->values[at];
    }
    return at < dict->n;
}

static cs_status string_from_json(csi_eval *e, const json_t *json,
                                  uint16_t mark, csi_value *out)
{
    csi_jstr s = {.bytes = json_string_value(json),
                  .n = json_string_length(json)};
    void *marks = NULL;

    if (mark > 0) {
        CS_TRY(csi_jinja_alloc(e, (s.n + 1) * sizeof(uint16_t), &marks));
        for (size_t i = 0; i < s.n; i++) {
            ((uint16_t *)marks)[i] = mark;
        }
        s.marks = marks;
    }
    *out = csi_value_string(s);
    return CS_OK;
}

static cs_status list_from_json(csi_eval *e, const json_t *json, uint16_t mark,
                                bool are_messages, csi_value *out)
{
    csi_value *items = NULL;
    const size_t n = json_array_size(json);

    if (are_messages && n > MAX_MESSAGES) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "%zu messages, at most %d", n,
                              MAX_MESSAGES);
    }
    CS_TRY(csi_value_list(e, CSI_VALUE_LIST, n, out, &items));
    for (size_t i = 0; i < n; i++) {
        CS_TRY(csi_value_from_json(e, json_array_get(json, i),
                                   are_messages ? (uint16_t)(i + 1) : mark,
                                   &items[i]));
    }
    return CS_OK;
}

static cs_status dict_from_json(csi_eval *e, const json_t *json, uint16_t mark,
                                csi_value *out)
{
    json_t *const object = json_incref((json_t *)(uintptr_t)json);
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_value_dict(e, CSI_VALUE_DICT, out));
    for (void *it = json_object_iter(object); it != NULL;
         it = json_object_iter_next(object, it)) {
        const char *const key = json_object_iter_key(it);
        const json_t *const from = json_object_iter_value(it);
        const bool are_messages =
            mark == 0 && json_is_array(from) && strcmp(key, "messages") == 0;
        const bool is_role = strcmp(key, "role") == 0;
        csi_value value;

        if (are_messages) {
            CS_TRY_GOTO(done, list_from_json(e, from, 0, true, &value));
        } else {
            CS_TRY_GOTO(done, csi_value_from_json(e, from, is_role ? 0 : mark,
                                                  &value));
        }
        CS_TRY_GOTO(done,
                    csi_dict_set(e, out->dict, csi_value_text(key), value));
    }
done:
    json_decref(object);
    return st;
}

cs_status csi_value_from_json(csi_eval *e, const json_t *json, uint16_t mark,
                              csi_value *out)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return dict_from_json(e, json, mark, out);
    case JSON_ARRAY:
        return list_from_json(e, json, mark, false, out);
    case JSON_STRING:
        return string_from_json(e, json, mark, out);
    case JSON_INTEGER:
        *out = csi_value_int(json_integer_value(json));
        return CS_OK;
    case JSON_REAL:
        *out = (csi_value){.kind = CSI_VALUE_FLOAT,
                           .number = json_real_value(json)};
        return CS_OK;
    case JSON_NULL:
        *out = csi_value_none();
        return CS_OK;
    default:
        *out = csi_value_bool(json_is_true(json));
        return CS_OK;
    }
}

/* ---- asking ---- */

const char *csi_value_type(const csi_value *v)
{
    static const char *const NAMES[] = {
        [CSI_VALUE_UNDEFINED] = "undefined",
        [CSI_VALUE_NONE] = "NoneType",
        [CSI_VALUE_BOOL] = "bool",
        [CSI_VALUE_INT] = "int",
        [CSI_VALUE_FLOAT] = "float",
        [CSI_VALUE_STRING] = "str",
        [CSI_VALUE_LIST] = "list",
        [CSI_VALUE_TUPLE] = "tuple",
        [CSI_VALUE_DICT] = "dict",
        [CSI_VALUE_NAMESPACE] = "namespace",
        [CSI_VALUE_LOOP] = "loop",
        [CSI_VALUE_MACRO] = "macro",
        [CSI_VALUE_FUNCTION] = "function",
        [CSI_VALUE_METHOD] = "method",
    };

    return NAMES[v->kind];
}

bool csi_value_is(const csi_value *v, const char *text)
{
    const size_t n = strlen(text);

    return v->kind == CSI_VALUE_STRING && v->string.n == n &&
           memcmp(v->string.bytes, text, n) == 0;
}

bool csi_value_is_number(const csi_value *v)
{
    return v->kind == CSI_VALUE_INT || v->kind == CSI_VALUE_FLOAT ||
           v->kind == CSI_VALUE_BOOL;
}

double csi_value_number(const csi_value *v)
{
    return v->kind == CSI_VALUE_FLOAT ? v->number : (double)v->integer;
}

bool csi_value_is_sequence(const csi_value *v)
{
    return v->kind == CSI_VALUE_LIST || v->kind == CSI_VALUE_TUPLE;
}

bool csi_value_truth(const csi_value *v)
{
    switch (v->kind) {
    case CSI_VALUE_UNDEFINED:
    case CSI_VALUE_NONE:
        return false;
    case CSI_VALUE_BOOL:
    case CSI_VALUE_INT:
        return v->integer != 0;
    case CSI_VALUE_FLOAT:
        return v->number != 0.0;
    case CSI_VALUE_STRING:
        return v->string.n > 0;
    case CSI_VALUE_LIST:
    case CSI_VALUE_TUPLE:
        return v->list->n > 0;
    case CSI_VALUE_DICT:
        return v->dict->n > 0;
    default:
        return true;
    }
}

static bool equal_at(const csi_value *a, const csi_value *b, int32_t depth);

static bool dict_equal(const csi_jdict *a, const csi_jdict *b, int32_t depth)
{
    bool equal = a->n == b->n;

    for (size_t i = 0; equal && i < a->n; i++) {
        csi_value other;

        equal = csi_dict_get(b, &a->keys[i], &other) &&
                equal_at(&a->values[i], &other, depth);
    }
    return equal;
}

/* Values that are nested too deep for the stack are not equal. */
static bool equal_at(const csi_value *a, const csi_value *b, int32_t depth)
{
    if (depth > MAX_VALUE_DEPTH) {
        return false;
    }
    if (csi_value_is_number(a) && csi_value_is_number(b)) {
        return a->kind == CSI_VALUE_FLOAT || b->kind == CSI_VALUE_FLOAT
                   ? csi_value_number(a) == csi_value_number(b)
                   : a->integer == b->integer;
    }
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case CSI_VALUE_STRING:
        return a->string.n == b->string.n &&
               (a->string.n == 0 ||
                memcmp(a->string.bytes, b->string.bytes, a->string.n) == 0);
    case CSI_VALUE_LIST:
    case CSI_VALUE_TUPLE: {
        bool equal = a->list->n == b->list->n;

        for (size_t i = 0; equal && i < a->list->n; i++) {
            equal = equal_at(&a->list->items[i], &b->list->items[i], depth + 1);
        }
        return equal;
    }
    case CSI_VALUE_DICT:
        return dict_equal(a->dict, b->dict, depth + 1);
    case CSI_VALUE_NAMESPACE:
        return a->dict == b->dict;
    case CSI_VALUE_LOOP:
        return a->loop == b->loop;
    case CSI_VALUE_MACRO:
        return a->macro == b->macro;
    case CSI_VALUE_FUNCTION:
    case CSI_VALUE_METHOD:
        return a->name == b->name;
    default:
        return true; /* undefined, none */
    }
}

bool csi_value_equal(const csi_value *a, const csi_value *b)
{
    return equal_at(a, b, 0);
}

static int compare_strings(csi_jstr a, csi_jstr b)
{
    const size_t n = a.n < b.n ? a.n : b.n;
    const int order = n > 0 ? memcmp(a.bytes, b.bytes, n) : 0;

    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

cs_status csi_value_compare(csi_eval *e, const csi_value *a, const csi_value *b,
                            int *out)
{
    if (csi_value_is_number(a) && csi_value_is_number(b)) {
        const double x = csi_value_number(a);
        const double y = csi_value_number(b);

        *out = (x > y) - (x < y);
        return CS_OK;
    }
    if (a->kind == CSI_VALUE_STRING && b->kind == CSI_VALUE_STRING) {
        *out = compare_strings(a->string, b->string);
        return CS_OK;
    }
    if (csi_value_is_sequence(a) && a->kind == b->kind) {
        for (size_t i = 0; i < a->list->n && i < b->list->n; i++) {
            if (!csi_value_equal(&a->list->items[i], &b->list->items[i])) {
                CS_TRY(csi_jinja_enter(e));
                CS_TRY(csi_value_compare(e, &a->list->items[i],
                                         &b->list->items[i], out));
                e->depth--;
                return CS_OK;
            }
        }
        *out = (a->list->n > b->list->n) - (a->list->n < b->list->n);
        return CS_OK;
    }
    return CSI_JINJA_FAIL(e, CS_ERR_ARG, "a %s and a %s have no order",
                          csi_value_type(a), csi_value_type(b));
}

cs_status csi_value_contains(csi_eval *e, const csi_value *in,
                             const csi_value *item, bool *out)
{
    csi_value unused;

    *out = false;
    if (in->kind == CSI_VALUE_STRING) {
        if (item->kind != CSI_VALUE_STRING) {
            return CSI_JINJA_FAIL(e, CS_ERR_ARG, "a %s cannot be in a string",
                                  csi_value_type(item));
        }
        *out = csi_jstr_find(in->string, item->string, 0) != SIZE_MAX;
        return CS_OK;
    }
    if (csi_value_is_sequence(in)) {
        for (size_t i = 0; i < in->list->n && !*out; i++) {
            CS_TRY(csi_jinja_charge(e,
                                    item->kind == CSI_VALUE_STRING
                                        ? item->string.n
                                        : 0,
                                    1));
            *out = csi_value_equal(&in->list->items[i], item);
        }
        return CS_OK;
    }
    if (in->kind == CSI_VALUE_DICT) {
        *out = csi_dict_get(in->dict, item, &unused);
        return CS_OK;
    }
    if (in->kind == CSI_VALUE_UNDEFINED) {
        return CS_OK;
    }
    return CSI_JINJA_FAIL(e, CS_ERR_ARG, "nothing can be in a %s",
                          csi_value_type(in));
}

cs_status csi_value_items(csi_eval *e, const csi_value *v, csi_jlist *out)
{
    csi_value list;
    csi_value *items = NULL;
    size_t n = 0;

    switch (v->kind) {
    case CSI_VALUE_LIST:
    case CSI_VALUE_TUPLE:
        *out = *v->list;
        return CS_OK;
    case CSI_VALUE_UNDEFINED:
        *out = (csi_jlist){.n = 0};
        return CS_OK;
    case CSI_VALUE_DICT:
        *out = (csi_jlist){.items = v->dict->keys, .n = v->dict->n};
        return CS_OK;
    case CSI_VALUE_STRING:
        CS_TRY(csi_value_list(e, CSI_VALUE_LIST, csi_jstr_length(v->string),
                              &list, &items));
        for (size_t at = 0; at < v->string.n;) {
            int n_letter = 0;

            (void)csi_utf8_get(v->string.bytes + at, &n_letter);
            items[n++] = csi_value_string(csi_jstr_part(v->string, at,
                                                        at + (size_t)n_letter));
            at += (size_t)n_letter;
        }
        *out = *list.list;
        return CS_OK;
    default:
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "a %s is no list",
                              csi_value_type(v));
    }
}
