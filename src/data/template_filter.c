/* SPDX-License-Identifier: Apache-2.0 */
/* Jinja's filters, those that chat templates use. */
#include "template_value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- arguments ---- */

const csi_value *csi_argument(const csi_arguments *args, size_t place,
                              const char *name)
{
    for (size_t i = 0; i < args->n; i++) {
        if (args->names[i] == NULL
                ? i == place
                : name != NULL && strcmp(args->names[i], name) == 0) {
            return &args->values[i];
        }
    }
    return NULL;
}

cs_status csi_check_arguments(const csi_eval *e, const csi_arguments *args,
                              const char *what, size_t n,
                              const char *const *names)
{
    for (size_t i = 0; i < args->n; i++) {
        bool known = args->names[i] == NULL && i < n;

        for (size_t k = 0; args->names[i] != NULL && k < n && names != NULL;
             k++) {
            known = known || strcmp(args->names[i], names[k]) == 0;
        }
        if (!known) {
            return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED,
                                  "unsupported: %s with argument %s%zu", what,
                                  args->names[i] != NULL ? args->names[i] : "",
                                  i + 1);
        }
    }
    return CS_OK;
}

cs_status csi_argument_int(const csi_eval *e, const csi_value *v,
                           const char *what, int64_t *out)
{
    if (v->kind != CSI_VALUE_INT && v->kind != CSI_VALUE_BOOL) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "%s: wanted an integer, got %s",
                              what, csi_value_type(v));
    }
    *out = v->integer;
    return CS_OK;
}

cs_status csi_argument_string(const csi_eval *e, const csi_value *v,
                              const char *what, csi_jstr *out)
{
    if (v->kind != CSI_VALUE_STRING) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "%s: wanted a string, got %s",
                              what, csi_value_type(v));
    }
    *out = v->string;
    return CS_OK;
}

/* ---- filters of one value ---- */

typedef cs_status (*filter_fn)(csi_eval *e, const csi_value *value,
                               const csi_arguments *args, csi_value *out);

static cs_status filter_trim(csi_eval *e, const csi_value *value,
                             const csi_arguments *args, csi_value *out)
{
    static const char *const NAMES[] = {"chars"};
    const csi_value *const given = csi_argument(args, 0, "chars");
    csi_jstr s;
    csi_jstr letters = {.n = 0};

    CS_TRY(csi_check_arguments(e, args, "trim", 1, NAMES));
    CS_TRY(csi_value_to_string(e, value, &s));
    if (given != NULL && given->kind != CSI_VALUE_NONE) {
        CS_TRY(csi_argument_string(e, given, "trim", &letters));
        CS_TRY(csi_jinja_charge(e, s.n, letters.n));
        *out = csi_value_string(csi_jstr_strip(s, &letters, true, true));
    } else {
        *out = csi_value_string(csi_jstr_strip(s, NULL, true, true));
    }
    return CS_OK;
}

static cs_status change_case(csi_eval *e, const csi_value *value, csi_case to,
                             csi_value *out)
{
    csi_jstr s;

    CS_TRY(csi_value_to_string(e, value, &s));
    return csi_jstr_case(e, s, to, out);
}

static cs_status filter_upper(csi_eval *e, const csi_value *value,
                              const csi_arguments *args, csi_value *out)
{
    CS_TRY(csi_check_arguments(e, args, "upper", 0, NULL));
    return change_case(e, value, CSI_CASE_UPPER, out);
}

static cs_status filter_lower(csi_eval *e, const csi_value *value,
                              const csi_arguments *args, csi_value *out)
{
    CS_TRY(csi_check_arguments(e, args, "lower", 0, NULL));
    return change_case(e, value, CSI_CASE_LOWER, out);
}

static cs_status filter_capitalize(csi_eval *e, const csi_value *value,
                                   const csi_arguments *args, csi_value *out)
{
    CS_TRY(csi_check_arguments(e, args, "capitalize", 0, NULL));
    return change_case(e, value, CSI_CASE_CAPITAL, out);
}

static cs_status filter_title(csi_eval *e, const csi_value *value,
                              const csi_arguments *args, csi_value *out)
{
    CS_TRY(csi_check_arguments(e, args, "title", 0, NULL));
    return change_case(e, value, CSI_CASE_TITLE, out);
}

static cs_status filter_string(csi_eval *e, const csi_value *value,
                               const csi_arguments *args, csi_value *out)
{
    csi_jstr s;

    CS_TRY(csi_check_arguments(e, args, "string", 0, NULL));
    CS_TRY(csi_value_to_string(e, value, &s));
    *out = csi_value_string(s);
    return CS_OK;
}

/* Nothing is escaped, so everything is safe. */
static cs_status filter_safe(csi_eval *e, const csi_value *value,
                             const csi_arguments *args, csi_value *out)
{
    return filter_string(e, value, args, out);
}

static cs_status filter_length(csi_eval *e, const csi_value *value,
                               const csi_arguments *args, csi_value *out)
{
    CS_TRY(csi_check_arguments(e, args, "length", 0, NULL));
    switch (value->kind) {
    case CSI_VALUE_UNDEFINED:
        *out = csi_value_int(0);
        return CS_OK;
    case CSI_VALUE_STRING:
        *out = csi_value_int((int64_t)csi_jstr_length(value->string));
        return CS_OK;
    case CSI_VALUE_LIST:
    case CSI_VALUE_TUPLE:
        *out = csi_value_int((int64_t)value->list->n);
        return CS_OK;
    case CSI_VALUE_DICT:
        *out = csi_value_int((int64_t)value->dict->n);
        return CS_OK;
    default:
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "a %s has no length",
                              csi_value_type(value));
    }
}

static cs_status filter_default(csi_eval *e, const csi_value *value,
                                const csi_arguments *args, csi_value *out)
{
    static const char *const NAMES[] = {"default_value", "boolean"};
    const csi_value *const other = csi_argument(args, 0, "default_value");
    const csi_value *const is_bool = csi_argument(args, 1, "boolean");

    CS_TRY(csi_check_arguments(e, args, "default", 2, NAMES));
    const bool replaces = value->kind == CSI_VALUE_UNDEFINED ||
                          (is_bool != NULL && csi_value_truth(is_bool) &&
                           !csi_value_truth(value));

    *out = !replaces ? *value : other != NULL ? *other : csi_value_text("");
    return CS_OK;
}

static cs_status filter_tojson(csi_eval *e, const csi_value *value,
                               const csi_arguments *args, csi_value *out)
{
    static const char *const NAMES[] = {"ensure_ascii", "indent", "separators",
                                        "sort_keys"};
    const csi_value *const ascii = csi_argument(args, 0, NAMES[0]);
    const csi_value *const indent = csi_argument(args, 1, NAMES[1]);
    const csi_value *const separators = csi_argument(args, 2, NAMES[2]);
    const csi_value *const sorts = csi_argument(args, 3, NAMES[3]);
    csi_json_style style = {.indent = -1,
                            .item_separator = csi_jstr_of(", "),
                            .key_separator = csi_jstr_of(": ")};
    csi_jinja_text text = {.n_bytes = 0};
    cs_status st = CS_OK;

    CS_TRY(csi_check_arguments(e, args, "tojson", 4, NAMES));
    if (sorts != NULL && csi_value_truth(sorts)) {
        return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED,
                              "unsupported: tojson with sort_keys");
    }
    style.ascii = ascii != NULL && csi_value_truth(ascii);
    if (indent != NULL && indent->kind != CSI_VALUE_NONE) {
        CS_TRY(csi_argument_int(e, indent, "tojson indent", &style.indent));
        style.indent = style.indent < 0 ? 0 : style.indent;
        style.item_separator = csi_jstr_of(",");
    }
    if (separators != NULL && csi_value_is_sequence(separators) &&
        separators->list->n == 2) {
        CS_TRY(csi_argument_string(e, &separators->list->items[0], "separators",
                                   &style.item_separator));
        CS_TRY(csi_argument_string(e, &separators->list->items[1], "separators",
                                   &style.key_separator));
    }
    CS_TRY_GOTO(done, csi_value_print_json(e, &text, value, &style, 0));
    CS_TRY_GOTO(done, csi_jinja_text_string(e, &text, out));
done:
    csi_jinja_text_fini(&text);
    return st;
}

/* ---- filters of lists ---- */

static cs_status filter_first(csi_eval *e, const csi_value *value,
                              const csi_arguments *args, csi_value *out)
{
    csi_jlist items;

    CS_TRY(csi_check_arguments(e, args, "first", 0, NULL));
    CS_TRY(csi_value_items(e, value, &items));
    *out = items.n > 0 ? items.items[0] : csi_value_undefined("first");
    return CS_OK;
}

static cs_status filter_last(csi_eval *e, const csi_value *value,
                             const csi_arguments *args, csi_value *out)
{
    csi_jlist items;

    CS_TRY(csi_check_arguments(e, args, "last", 0, NULL));
    CS_TRY(csi_value_items(e, value, &items));
    *out = items.n > 0 ? items.items[items.n - 1] : csi_value_undefined("last");
    return CS_OK;
}

static cs_status copy_items(csi_eval *e, const csi_jlist *from, bool reversed,
                            csi_value *out)
{
    csi_value *items = NULL;

    CS_TRY(csi_value_list(e, CSI_VALUE_LIST, from->n, out, &items));
    for (size_t i = 0; i < from->n; i++) {
        items[i] = from->items[reversed ? from->n - 1 - i : i];
    }
    return CS_OK;
}

static cs_status filter_list(csi_eval *e, const csi_value *value,
                             const csi_arguments *args, csi_value *out)
{
    csi_jlist items;

    CS_TRY(csi_check_arguments(e, args, "list", 0, NULL));
    CS_TRY(csi_value_items(e, value, &items));
    return copy_items(e, &items, false, out);
}

static cs_status filter_reverse(csi_eval *e, const csi_value *value,
                                const csi_arguments *args, csi_value *out)
{
    csi_jinja_text text = {.n_bytes = 0};
    csi_jlist items;
    cs_status st = CS_OK;

    CS_TRY(csi_check_arguments(e, args, "reverse", 0, NULL));
    CS_TRY(csi_value_items(e, value, &items));
    if (value->kind != CSI_VALUE_STRING) {
        return copy_items(e, &items, true, out);
    }
    for (size_t i = items.n; i > 0; i--) {
        CS_TRY_GOTO(done, csi_jinja_write(e, &text, items.items[i - 1].string));
    }
    CS_TRY_GOTO(done, csi_jinja_text_string(e, &text, out));
done:
    csi_jinja_text_fini(&text);
    return st;
}

/* "a.b" of a value, as attribute= arguments write it. */
static cs_status get_path(csi_eval *e, const csi_value *of,
                          const csi_value *path, csi_value *out)
{
    csi_jstr rest;

    *out = *of;
    if (path->kind == CSI_VALUE_INT) {
        return csi_eval_item(e, of, path, out);
    }
    CS_TRY(csi_argument_string(e, path, "attribute", &rest));
    while (true) {
        const size_t dot = csi_jstr_find(rest, csi_jstr_of("."), 0);
        const csi_value key =
            csi_value_string(csi_jstr_part(rest, 0,
                                           dot != SIZE_MAX ? dot : rest.n));
        const csi_value now = *out;

        if (now.kind == CSI_VALUE_UNDEFINED) {
            return CSI_JINJA_FAIL(e, CS_ERR_ARG, "an attribute of nothing");
        }
        CS_TRY(csi_eval_item(e, &now, &key, out));
        if (dot == SIZE_MAX) {
            return CS_OK;
        }
        rest = csi_jstr_part(rest, dot + 1, rest.n);
    }
}

static cs_status filter_join(csi_eval *e, const csi_value *value,
                             const csi_arguments *args, csi_value *out)
{
    static const char *const NAMES[] = {"d", "attribute"};
    const csi_value *const between = csi_argument(args, 0, "d");
    const csi_value *const path = csi_argument(args, 1, "attribute");
    csi_jinja_text text = {.n_bytes = 0};
    csi_jlist items;
    csi_jstr glue = csi_jstr_of("");
    cs_status st = CS_OK;

    CS_TRY(csi_check_arguments(e, args, "join", 2, NAMES));
    CS_TRY(csi_value_items(e, value, &items));
    if (between != NULL) {
        CS_TRY(csi_value_to_string(e, between, &glue));
    }
    for (size_t i = 0; i < items.n; i++) {
        csi_value item = items.items[i];

        if (i > 0) {
            CS_TRY_GOTO(done, csi_jinja_write(e, &text, glue));
        }
        if (path != NULL) {
            CS_TRY_GOTO(done, get_path(e, &items.items[i], path, &item));
        }
        CS_TRY_GOTO(done, csi_value_print(e, &text, &item));
    }
    CS_TRY_GOTO(done, csi_jinja_text_string(e, &text, out));
done:
    csi_jinja_text_fini(&text);
    return st;
}

/* The arguments behind the first n. */
static csi_arguments rest_of(const csi_arguments *args, size_t n)
{
    n = n < args->n ? n : args->n;
    return (csi_arguments){.values = args->values + n,
                           .names = args->names + n,
                           .n = args->n - n};
}

/* select, reject, selectattr, rejectattr. */
static cs_status pick(csi_eval *e, const csi_value *value,
                      const csi_arguments *args, bool by_attribute, bool wanted,
                      csi_value *out)
{
    const size_t at = by_attribute ? 1 : 0;
    const csi_value *const test = csi_argument(args, at, NULL);
    const csi_arguments rest = rest_of(args, at + 1);
    csi_jstr name = {.n = 0};
    csi_jlist from;
    csi_value *items = NULL;
    char buffer[32];
    size_t n = 0;

    if (by_attribute && args->n == 0) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "wanted the name of an attribute");
    }
    if (test != NULL) {
        CS_TRY(csi_argument_string(e, test, "test", &name));
    }
    CS_TRY(csi_format(buffer, sizeof buffer, "%.*s",
                      (int)(name.n < 30 ? name.n : 30), name.bytes));
    CS_TRY(csi_value_items(e, value, &from));
    CS_TRY(csi_value_list(e, CSI_VALUE_LIST, from.n, out, &items));
    for (size_t i = 0; i < from.n; i++) {
        csi_value asked = from.items[i];
        bool holds = false;

        CS_TRY(csi_jinja_step(e));
        if (by_attribute) {
            CS_TRY(get_path(e, &from.items[i], &args->values[0], &asked));
        }
        if (test != NULL) {
            CS_TRY(csi_eval_test(e, buffer, &asked, &rest, &holds));
        } else {
            holds = csi_value_truth(&asked);
        }
        if (holds == wanted) {
            items[n++] = from.items[i];
        }
    }
    return copy_items(e, &(csi_jlist){.items = items, .n = n}, false, out);
}

static cs_status filter_select(csi_eval *e, const csi_value *value,
                               const csi_arguments *args, csi_value *out)
{
    return pick(e, value, args, false, true, out);
}

static cs_status filter_reject(csi_eval *e, const csi_value *value,
                               const csi_arguments *args, csi_value *out)
{
    return pick(e, value, args, false, false, out);
}

static cs_status filter_selectattr(csi_eval *e, const csi_value *value,
                                   const csi_arguments *args, csi_value *out)
{
    return pick(e, value, args, true, true, out);
}

static cs_status filter_rejectattr(csi_eval *e, const csi_value *value,
                                   const csi_arguments *args, csi_value *out)
{
    return pick(e, value, args, true, false, out);
}

static cs_status filter_map(csi_eval *e, const csi_value *value,
                            const csi_arguments *args, csi_value *out)
{
    const csi_value *const path = csi_argument(args, SIZE_MAX, "attribute");
    const csi_value *const other = csi_argument(args, SIZE_MAX, "default");
    const csi_arguments rest = rest_of(args, 1);
    csi_jlist from;
    csi_value *items = NULL;
    csi_jstr name = {.n = 0};
    char buffer[32];

    if (path == NULL && args->n == 0) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "map: wanted a filter");
    }
    if (path == NULL) {
        CS_TRY(csi_argument_string(e, &args->values[0], "map", &name));
    }
    CS_TRY(csi_format(buffer, sizeof buffer, "%.*s",
                      (int)(name.n < 30 ? name.n : 30), name.bytes));
    CS_TRY(csi_value_items(e, value, &from));
    CS_TRY(csi_value_list(e, CSI_VALUE_LIST, from.n, out, &items));
    for (size_t i = 0; i < from.n; i++) {
        CS_TRY(csi_jinja_step(e));
        if (path == NULL) {
            CS_TRY(csi_eval_filter(e, buffer, &from.items[i], &rest,
                                   &items[i]));
            continue;
        }
        CS_TRY(get_path(e, &from.items[i], path, &items[i]));
        if (items[i].kind == CSI_VALUE_UNDEFINED && other != NULL) {
            items[i] = *other;
        }
    }
    return CS_OK;
}

static cs_status filter_items(csi_eval *e, const csi_value *value,
                              const csi_arguments *args, csi_value *out)
{
    csi_value *items = NULL;

    CS_TRY(csi_check_arguments(e, args, "items", 0, NULL));
    if (value->kind == CSI_VALUE_UNDEFINED) {
        return csi_value_list(e, CSI_VALUE_LIST, 0, out, &items);
    }
    if (value->kind != CSI_VALUE_DICT) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "items: wanted a dict, got %s",
                              csi_value_type(value));
    }
    return csi_eval_method(e, value, "items", args, out);
}

/* ---- numbers ---- */

static cs_status filter_int(csi_eval *e, const csi_value *value,
                            const csi_arguments *args, csi_value *out)
{
    static const char *const NAMES[] = {"default"};
    const csi_value *const other = csi_argument(args, 0, "default");
    char text[64];
    char *end = NULL;

    CS_TRY(csi_check_arguments(e, args, "int", 1, NAMES));
    *out = other != NULL ? *other : csi_value_int(0);
    if (csi_value_is_number(value)) {
        const double number = csi_value_number(value);

        if (fabs(number) < 9e18) {
            *out =
                csi_value_int(value->kind == CSI_VALUE_FLOAT ? (int64_t)number
                                                             : value->integer);
        }
    } else if (value->kind == CSI_VALUE_STRING) {
        const csi_jstr s = csi_jstr_strip(value->string, NULL, true, true);

        if (s.n > 0 && s.n < 19) {
            memcpy(text, s.bytes, s.n);
            text[s.n] = '\0';
            const double number = strtod(text, &end);

            *out = *end == '\0' ? csi_value_int((int64_t)number) : *out;
        }
    }
    return CS_OK;
}

static cs_status filter_float(csi_eval *e, const csi_value *value,
                              const csi_arguments *args, csi_value *out)
{
    char text[64];
    char *end = NULL;

    CS_TRY(csi_check_arguments(e, args, "float", 0, NULL));
    *out = (csi_value){.kind = CSI_VALUE_FLOAT};
    if (csi_value_is_number(value)) {
        out->number = csi_value_number(value);
    } else if (value->kind == CSI_VALUE_STRING && value->string.n > 0 &&
               value->string.n < sizeof text) {
        memcpy(text, value->string.bytes, value->string.n);
        text[value->string.n] = '\0';
        const double number = strtod(text, &end);

        out->number = *end == '\0' ? number : 0.0;
    }
    return CS_OK;
}

static cs_status filter_abs(csi_eval *e, const csi_value *value,
                            const csi_arguments *args, csi_value *out)
{
    CS_TRY(csi_check_arguments(e, args, "abs", 0, NULL));
    if (!csi_value_is_number(value)) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "abs: wanted a number, got %s",
                              csi_value_type(value));
    }
    *out = *value;
    if (value->kind == CSI_VALUE_FLOAT) {
        out->number = fabs(value->number);
    } else if (value->integer < 0 && value->integer > INT64_MIN) {
        *out = csi_value_int(-value->integer);
    }
    return CS_OK;
}

static cs_status filter_replace(csi_eval *e, const csi_value *value,
                                const csi_arguments *args, csi_value *out)
{
    csi_jstr s;
    csi_jstr from;
    csi_jstr to;
    int64_t most = -1;
    const csi_value *const count = csi_argument(args, 2, "count");

    CS_TRY(csi_check_arguments(e, args, "replace", 3, NULL));
    CS_TRY(csi_value_to_string(e, value, &s));
    if (args->n < 2) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "replace: wanted two strings");
    }
    CS_TRY(csi_value_to_string(e, &args->values[0], &from));
    CS_TRY(csi_value_to_string(e, &args->values[1], &to));
    if (count != NULL && count->kind != CSI_VALUE_NONE) {
        CS_TRY(csi_argument_int(e, count, "replace", &most));
    }
    return csi_jstr_replace(e, s, from, to, most, out);
}

static cs_status filter_indent(csi_eval *e, const csi_value *value,
                               const csi_arguments *args, csi_value *out)
{
    static const char *const NAMES[] = {"width", "first", "blank"};
    const csi_value *const width = csi_argument(args, 0, "width");
    const csi_value *const first = csi_argument(args, 1, "first");
    const csi_value *const blank = csi_argument(args, 2, "blank");
    csi_jinja_text text = {.n_bytes = 0};
    char spaces[65] = "    ";
    csi_jstr s;
    csi_jstr prefix = csi_jstr_of(spaces);
    cs_status st = CS_OK;
    bool is_first = true;

    CS_TRY(csi_check_arguments(e, args, "indent", 3, NAMES));
    CS_TRY(csi_value_to_string(e, value, &s));
    if (width != NULL && width->kind == CSI_VALUE_STRING) {
        prefix = width->string;
    } else if (width != NULL) {
        int64_t n = 0;

        CS_TRY(csi_argument_int(e, width, "indent", &n));
        if (n < 0 || n >= (int64_t)sizeof spaces) {
            return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED,
                                  "unsupported: indent by more than 64");
        }
        memset(spaces, ' ', (size_t)n);
        spaces[n] = '\0';
        prefix = csi_jstr_of(spaces);
    }
    for (size_t at = 0; at <= s.n;) {
        const size_t newline = csi_jstr_find(s, csi_jstr_of("\n"), at);
        const size_t end = newline != SIZE_MAX ? newline : s.n;
        const bool wants =
            is_first ? first != NULL && csi_value_truth(first)
                     : end > at || (blank != NULL && csi_value_truth(blank));

        if (wants) {
            CS_TRY_GOTO(done, csi_jinja_write(e, &text, prefix));
        }
        CS_TRY_GOTO(done,
                    csi_jinja_write(e, &text,
                                    csi_jstr_part(s, at,
                                                  end < s.n ? end + 1 : end)));
        is_first = false;
        at = end + 1;
    }
    CS_TRY_GOTO(done, csi_jinja_text_string(e, &text, out));
done:
    csi_jinja_text_fini(&text);
    return st;
}

cs_status csi_eval_filter(csi_eval *e, const char *name, const csi_value *value,
                          const csi_arguments *args, csi_value *out)
{
    static const struct {
        const char *name;
        filter_fn run;
    } FILTERS[] = {
        {"trim", filter_trim},
        {"upper", filter_upper},
        {"lower", filter_lower},
        {"capitalize", filter_capitalize},
        {"title", filter_title},
        {"string", filter_string},
        {"safe", filter_safe},
        {"length", filter_length},
        {"count", filter_length},
        {"default", filter_default},
        {"d", filter_default},
        {"tojson", filter_tojson},
        {"first", filter_first},
        {"last", filter_last},
        {"list", filter_list},
        {"reverse", filter_reverse},
        {"join", filter_join},
        {"select", filter_select},
        {"reject", filter_reject},
        {"selectattr", filter_selectattr},
        {"rejectattr", filter_rejectattr},
        {"map", filter_map},
        {"items", filter_items},
        {"int", filter_int},
        {"float", filter_float},
        {"abs", filter_abs},
        {"replace", filter_replace},
        {"indent", filter_indent},
    };

    for (size_t i = 0; i < sizeof FILTERS / sizeof *FILTERS; i++) {
        if (strcmp(name, FILTERS[i].name) == 0) {
            CS_TRY(csi_jinja_enter(e));
            CS_TRY(csi_jinja_charge(e,
                                    value->kind == CSI_VALUE_STRING
                                        ? value->string.n
                                        : 0,
                                    1));
            CS_TRY(FILTERS[i].run(e, value, args, out));
            e->depth--;
            return CS_OK;
        }
    }
    return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED, "unsupported: filter '%.40s'",
                          name);
}
