/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of Python's strings and dicts, and Jinja's global functions. */
#include "template_value.h"

#include <string.h>
#include <time.h>

enum {
    MAX_RANGE = 100000 /* jinja2's sandbox */
};

static bool is_one_of(const char *name, const char *const *names)
{
    while (*names != NULL) {
        if (strcmp(name, *names++) == 0) {
            return true;
        }
    }
    return false;
}

cs_status csi_eval_has_method(csi_eval *e, const csi_value *of,
                              const char *name, bool *out)
{
    static const char *const STRINGS[] =
        {"strip",    "lstrip",       "rstrip",       "split",  "startswith",
         "endswith", "upper",        "lower",        "title",  "capitalize",
         "replace",  "find",         "count",        "join",   "splitlines",
         "isdigit",  "removeprefix", "removesuffix", "rsplit", NULL};
    static const char *const STRINGS_REFUSED[] =
        {"format",  "rfind",      "index",     "rindex",     "partition",
         "zfill",   "rpartition", "center",    "ljust",      "rjust",
         "isalpha", "isalnum",    "isspace",   "isupper",    "islower",
         "istitle", "isnumeric",  "isdecimal", "swapcase",   "casefold",
         "encode",  "expandtabs", "translate", "format_map", NULL};
    static const char *const DICTS[] = {"items", "keys", "values",
                                        "get",   "copy", NULL};
    static const char *const DICTS_REFUSED[] = {"update",     "pop",
                                                "popitem",    "clear",
                                                "setdefault", "fromkeys",
                                                NULL};
    static const char *const LISTS_REFUSED[] = {"append", "extend", "insert",
                                                "pop",    "remove", "reverse",
                                                "sort",   "clear",  "index",
                                                "copy",   "count",  NULL};
    const bool is_string = of->kind == CSI_VALUE_STRING;
    const bool is_dict = of->kind == CSI_VALUE_DICT;

    *out = (is_string && is_one_of(name, STRINGS)) ||
           (is_dict && is_one_of(name, DICTS)) ||
           (of->kind == CSI_VALUE_LOOP &&
            (strcmp(name, "cycle") == 0 || strcmp(name, "changed") == 0));
    if ((is_string && is_one_of(name, STRINGS_REFUSED)) ||
        (is_dict && is_one_of(name, DICTS_REFUSED)) ||
        (csi_value_is_sequence(of) && is_one_of(name, LISTS_REFUSED))) {
        return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED, "unsupported: %s.%s",
                              csi_value_type(of), name);
    }
    return CS_OK;
}

/* ---- strings ---- */

static cs_status string_strip(csi_eval *e, csi_jstr s, const char *name,
                              const csi_arguments *args, csi_value *out)
{
    const csi_value *const given = csi_argument(args, 0, NULL);
    csi_jstr letters;
    const bool has_letters = given != NULL && given->kind != CSI_VALUE_NONE;

    CS_TRY(csi_check_arguments(e, args, name, 1, NULL));
    if (has_letters) {
        CS_TRY(csi_argument_string(e, given, name, &letters));
        CS_TRY(csi_jinja_charge(e, s.n, letters.n));
    }
    *out = csi_value_string(csi_jstr_strip(s, has_letters ? &letters : NULL,
                                           name[0] != 'r', name[0] != 'l'));
    return CS_OK;
}

/* Grows by doubling; the list of parts of a split. */
typedef struct parts {
    csi_value *items;
    size_t n, capacity;
} parts;

static cs_status add_part(csi_eval *e, parts *p, csi_jstr part)
{
    CS_TRY(csi_jinja_step(e));
    if (p->n == p->capacity) {
        const size_t capacity = 2 * p->capacity + 8;
        void *grown = NULL;

        CS_TRY(csi_jinja_alloc(e, capacity * sizeof *p->items, &grown));
        if (p->n > 0) {
            memcpy(grown, p->items, p->n * sizeof *p->items);
        }
        p->items = grown;
        p->capacity = capacity;
    }
    p->items[p->n++] = csi_value_string(part);
    return CS_OK;
}

static cs_status parts_value(csi_eval *e, const parts *p, csi_value *out)
{
    csi_value *items = NULL;

    CS_TRY(csi_value_list(e, CSI_VALUE_LIST, p->n, out, &items));
    if (p->n > 0) {
        memcpy(items, p->items, p->n * sizeof *items);
    }
    return CS_OK;
}

/* At white space; none at the ends. */
static cs_status split_blanks(csi_eval *e, csi_jstr s, int64_t most, parts *p)
{
    s = csi_jstr_strip(s, NULL, true, false);
    while (s.n > 0) {
        size_t end = 0;
        int n = 0;

        while (end < s.n &&
               !csi_jinja_is_space(csi_utf8_get(s.bytes + end, &n))) {
            end += (size_t)n;
        }
        if (most >= 0 && (int64_t)p->n == most) {
            s = csi_jstr_strip(s, NULL, false, true);
            end = s.n;
        }
        CS_TRY(add_part(e, p, csi_jstr_part(s, 0, end)));
        s = csi_jstr_strip(csi_jstr_part(s, end, s.n), NULL, true, false);
    }
    return CS_OK;
}

static cs_status split_at(csi_eval *e, csi_jstr s, csi_jstr at, int64_t most,
                          parts *p)
{
    size_t begin = 0;

    if (at.n == 0) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "split at an empty string");
    }
    while (most != 0) {
        const size_t found = csi_jstr_find(s, at, begin);

        if (found == SIZE_MAX) {
            break;
        }
        CS_TRY(add_part(e, p, csi_jstr_part(s, begin, found)));
        begin = found + at.n;
        most--;
    }
    return add_part(e, p, csi_jstr_part(s, begin, s.n));
}

/* Last place of `part` before `end`. */
static size_t find_last(csi_jstr s, csi_jstr part, size_t end)
{
    while (end >= part.n) {
        if (memcmp(s.bytes + end - part.n, part.bytes, part.n) == 0) {
            return end - part.n;
        }
        end--;
    }
    return SIZE_MAX;
}

/* rsplit with a separator: cuts from the end, parts in order. */
static cs_status split_from_end(csi_eval *e, csi_jstr s, csi_jstr at,
                                int64_t most, parts *p)
{
    size_t end = s.n;

    if (at.n == 0) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "split at an empty string");
    }
    while (most != 0) {
        CS_TRY(csi_jinja_charge(e, s.n, 1 + at.n / 16));
        const size_t found = find_last(s, at, end);

        if (found == SIZE_MAX) {
            break;
        }
        CS_TRY(add_part(e, p, csi_jstr_part(s, found + at.n, end)));
        end = found;
        most--;
    }
    CS_TRY(add_part(e, p, csi_jstr_part(s, 0, end)));
    for (size_t i = 0; i < p->n / 2; i++) {
        const csi_value kept = p->items[i];

        p->items[i] = p->items[p->n - 1 - i];
        p->items[p->n - 1 - i] = kept;
    }
    return CS_OK;
}

static cs_status string_split(csi_eval *e, csi_jstr s, const char *name,
                              const csi_arguments *args, csi_value *out)
{
    static const char *const NAMES[] = {"sep", "maxsplit"};
    const csi_value *const at = csi_argument(args, 0, "sep");
    const csi_value *const limit = csi_argument(args, 1, "maxsplit");
    const bool from_end = name[0] == 'r';
    parts p = {.n = 0};
    csi_jstr separator;
    int64_t most = -1;

    CS_TRY(csi_check_arguments(e, args, name, 2, NAMES));
    if (limit != NULL) {
        CS_TRY(csi_argument_int(e, limit, name, &most));
    }
    if (at == NULL || at->kind == CSI_VALUE_NONE) {
        if (from_end) {
            return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED,
                                  "unsupported: rsplit without a separator");
        }
        CS_TRY(split_blanks(e, s, most, &p));
    } else {
        CS_TRY(csi_argument_string(e, at, name, &separator));
        CS_TRY(from_end ? split_from_end(e, s, separator, most, &p)
                        : split_at(e, s, separator, most, &p));
    }
    return parts_value(e, &p, out);
}

static cs_status string_splitlines(csi_eval *e, csi_jstr s, csi_value *out)
{
    parts p = {.n = 0};

    while (s.n > 0) {
        const size_t newline = csi_jstr_find(s, csi_jstr_of("\n"), 0);
        const size_t end = newline != SIZE_MAX ? newline : s.n;

        CS_TRY(add_part(e, &p,
                        csi_jstr_part(s, 0,
                                      end - (end > 0 && end < s.n &&
                                             s.bytes[end - 1] == '\r'))));
        s = csi_jstr_part(s, end < s.n ? end + 1 : end, s.n);
    }
    return parts_value(e, &p, out);
}

static bool has_at(csi_jstr s, csi_jstr part, bool at_end)
{
    return part.n <= s.n && memcmp(s.bytes + (at_end ? s.n - part.n : 0),
                                   part.bytes, part.n) == 0;
}

/* A string, or a tuple of which one will do. */
static cs_status string_starts(csi_eval *e, csi_jstr s, const char *name,
                               const csi_arguments *args, csi_value *out)
{
    const csi_value *const given = csi_argument(args, 0, NULL);
    const bool at_end = name[0] == 'e';
    csi_jstr part;

    CS_TRY(csi_check_arguments(e, args, name, 1, NULL));
    *out = csi_value_bool(false);
    if (given != NULL && given->kind == CSI_VALUE_TUPLE) {
        for (size_t i = 0; i < given->list->n; i++) {
            CS_TRY(csi_argument_string(e, &given->list->items[i], name, &part));
            if (has_at(s, part, at_end)) {
                *out = csi_value_bool(true);
            }
        }
        return CS_OK;
    }
    if (given == NULL) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "%s: wanted a string", name);
    }
    CS_TRY(csi_argument_string(e, given, name, &part));
    *out = csi_value_bool(has_at(s, part, at_end));
    return CS_OK;
}

static cs_status string_remove(csi_eval *e, csi_jstr s, const char *name,
                               csi_jstr part, csi_value *out)
{
    const bool at_end = strcmp(name, "removesuffix") == 0;

    (void)e;
    if (has_at(s, part, at_end)) {
        s = at_end ? csi_jstr_part(s, 0, s.n - part.n)
                   : csi_jstr_part(s, part.n, s.n);
    }
    *out = csi_value_string(s);
    return CS_OK;
}

static cs_status string_count(csi_eval *e, csi_jstr s, csi_jstr part,
                              csi_value *out)
{
    int64_t n = 0;
    size_t at = csi_jstr_find(s, part, 0);

    if (part.n == 0) {
        *out = csi_value_int((int64_t)csi_jstr_length(s) + 1);
        return CS_OK;
    }
    while (at != SIZE_MAX) {
        CS_TRY(csi_jinja_step(e));
        n++;
        at = csi_jstr_find(s, part, at + part.n);
    }
    *out = csi_value_int(n);
    return CS_OK;
}

static cs_status string_replace(csi_eval *e, csi_jstr s,
                                const csi_arguments *args, csi_value *out)
{
    csi_jstr from;
    csi_jstr to;
    int64_t most = -1;

    CS_TRY(csi_check_arguments(e, args, "replace", 3, NULL));
    if (args->n < 2) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "replace: wanted two strings");
    }
    CS_TRY(csi_argument_string(e, &args->values[0], "replace", &from));
    CS_TRY(csi_argument_string(e, &args->values[1], "replace", &to));
    if (args->n > 2) {
        CS_TRY(csi_argument_int(e, &args->values[2], "replace", &most));
    }
    return csi_jstr_replace(e, s, from, to, most, out);
}

static cs_status string_is_digit(csi_jstr s, csi_value *out)
{
    bool is_digit = s.n > 0;

    for (size_t i = 0; i < s.n; i++) {
        is_digit = is_digit && s.bytes[i] >= '0' && s.bytes[i] <= '9';
    }
    *out = csi_value_bool(is_digit);
    return CS_OK;
}

static cs_status string_case(csi_eval *e, csi_jstr s, const char *name,
                             const csi_arguments *args, csi_value *out)
{
    CS_TRY(csi_check_arguments(e, args, name, 0, NULL));
    return csi_jstr_case(e, s,
                         name[0] == 'u'   ? CSI_CASE_UPPER
                         : name[0] == 'l' ? CSI_CASE_LOWER
                         : name[0] == 'c' ? CSI_CASE_CAPITAL
                                          : CSI_CASE_TITLE,
                         out);
}

static cs_status string_join(csi_eval *e, csi_jstr s, const csi_arguments *args,
                             csi_value *out)
{
    csi_value glue = csi_value_string(s);
    const char *names[1] = {NULL};
    const csi_arguments one = {.values = &glue, .names = names, .n = 1};

    CS_TRY(csi_check_arguments(e, args, "join", 1, NULL));
    if (args->n != 1) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "join: wanted a list");
    }
    return csi_eval_filter(e, "join", &args->values[0], &one, out);
}

static cs_status call_string(csi_eval *e, csi_jstr s, const char *name,
                             const csi_arguments *args, csi_value *out)
{
    static const char *const CASES[] = {"upper", "lower", "title", "capitalize",
                                        NULL};
    csi_jstr part;

    if (strcmp(name, "strip") == 0 || strcmp(name + 1, "strip") == 0) {
        return string_strip(e, s, name, args, out);
    }
    if (strcmp(name, "split") == 0 || strcmp(name, "rsplit") == 0) {
        return string_split(e, s, name, args, out);
    }
    if (strcmp(name, "startswith") == 0 || strcmp(name, "endswith") == 0) {
        return string_starts(e, s, name, args, out);
    }
    if (is_one_of(name, CASES)) {
        return string_case(e, s, name, args, out);
    }
    if (strcmp(name, "replace") == 0) {
        return string_replace(e, s, args, out);
    }
    if (strcmp(name, "join") == 0) {
        return string_join(e, s, args, out);
    }
    if (strcmp(name, "splitlines") == 0 || strcmp(name, "isdigit") == 0) {
        CS_TRY(csi_check_arguments(e, args, name, 0, NULL));
        return name[0] == 's' ? string_splitlines(e, s, out)
                              : string_is_digit(s, out);
    }
    CS_TRY(csi_check_arguments(e, args, name, 1, NULL));
    if (args->n != 1) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "%s: wanted a string", name);
    }
    CS_TRY(csi_argument_string(e, &args->values[0], name, &part));
    if (strcmp(name, "count") == 0) {
        return string_count(e, s, part, out);
    }
    if (strcmp(name, "find") == 0) {
        const size_t at = csi_jstr_find(s, part, 0);

        *out = csi_value_int(at == SIZE_MAX
                                 ? -1
                                 : (int64_t)csi_jstr_length(csi_jstr_part(s, 0,
                                                                          at)));
        return CS_OK;
    }
    return string_remove(e, s, name, part, out);
}

/* ---- dicts, loops ---- */

static cs_status call_dict(csi_eval *e, const csi_jdict *dict, const char *name,
                           const csi_arguments *args, csi_value *out)
{
    csi_value *items = NULL;

    if (strcmp(name, "get") == 0) {
        CS_TRY(csi_check_arguments(e, args, name, 2, NULL));
        if (args->n == 0) {
            return CSI_JINJA_FAIL(e, CS_ERR_ARG, "get: wanted a key");
        }
        if (!csi_dict_get(dict, &args->values[0], out)) {
            *out = args->n > 1 ? args->values[1] : csi_value_none();
        }
        return CS_OK;
    }
    CS_TRY(csi_check_arguments(e, args, name, 0, NULL));
    if (strcmp(name, "copy") == 0) {
        CS_TRY(csi_value_dict(e, CSI_VALUE_DICT, out));
        *out->dict = *dict;
        out->dict->capacity = dict->n;
        return CS_OK;
    }
    CS_TRY(csi_value_list(e, CSI_VALUE_LIST, dict->n, out, &items));
    for (size_t i = 0; i < dict->n; i++) {
        if (name[0] != 'i') {
            items[i] = name[0] == 'k' ? dict->keys[i] : dict->values[i];
            continue;
        }
        csi_value *pair = NULL;

        CS_TRY(csi_value_list(e, CSI_VALUE_TUPLE, 2, &items[i], &pair));
        pair[0] = dict->keys[i];
        pair[1] = dict->values[i];
    }
    return CS_OK;
}

static cs_status call_loop(csi_eval *e, csi_jloop *loop, const char *name,
                           const csi_arguments *args, csi_value *out)
{
    CS_TRY(csi_check_arguments(e, args, name, SIZE_MAX, NULL));
    if (args->n == 0) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "loop.%s: wanted values", name);
    }
    if (strcmp(name, "cycle") == 0) {
        *out = args->values[loop->at % args->n];
        return CS_OK;
    }
    *out = csi_value_bool(!loop->has_changed ||
                          !csi_value_equal(&loop->changed, &args->values[0]));
    loop->has_changed = true;
    loop->changed = args->values[0];
    return CS_OK;
}

cs_status csi_eval_method(csi_eval *e, const csi_value *self, const char *name,
                          const csi_arguments *args, csi_value *out)
{
    if (self->kind == CSI_VALUE_STRING) {
        return call_string(e, self->string, name, args, out);
    }
    return self->kind == CSI_VALUE_DICT
               ? call_dict(e, self->dict, name, args, out)
               : call_loop(e, self->loop, name, args, out);
}

/* ---- global functions ---- */

static const char *const FUNCTIONS[] = {"range",        "namespace",
                                        "dict",         "raise_exception",
                                        "strftime_now", NULL};

bool csi_is_function(const char *name)
{
    return is_one_of(name, FUNCTIONS);
}

static cs_status call_range(csi_eval *e, const csi_arguments *args,
                            csi_value *out)
{
    int64_t bounds[3] = {0, 0, 1};
    csi_value *items = NULL;
    int64_t n = 0;

    CS_TRY(csi_check_arguments(e, args, "range", 3, NULL));
    for (size_t i = 0; i < args->n; i++) {
        CS_TRY(csi_argument_int(e, &args->values[i], "range",
                                &bounds[args->n == 1 ? 1 : i]));
    }
    const int64_t most = (int64_t)1 << 40;

    if (args->n == 0 || bounds[2] == 0 || bounds[0] < -most ||
        bounds[0] > most || bounds[1] < -most || bounds[1] > most ||
        bounds[2] < -most || bounds[2] > most) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "range: wrong bounds");
    }
    if (bounds[2] > 0 && bounds[1] > bounds[0]) {
        n = (bounds[1] - bounds[0] + bounds[2] - 1) / bounds[2];
    } else if (bounds[2] < 0 && bounds[1] < bounds[0]) {
        n = (bounds[0] - bounds[1] - bounds[2] - 1) / -bounds[2];
    }
    if (n > MAX_RANGE) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "range: more than %d numbers",
                              MAX_RANGE);
    }
    CS_TRY(csi_value_list(e, CSI_VALUE_LIST, (size_t)n, out, &items));
    for (int64_t i = 0; i < n; i++) {
        items[i] = csi_value_int(bounds[0] + i * bounds[2]);
    }
    return CS_OK;
}

static cs_status call_dict_of(csi_eval *e, csi_value_kind kind,
                              const csi_arguments *args, csi_value *out)
{
    CS_TRY(csi_value_dict(e, kind, out));
    for (size_t i = 0; i < args->n; i++) {
        if (args->names[i] == NULL) {
            const csi_value *const from = &args->values[i];

            if (from->kind != CSI_VALUE_DICT) {
                return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED,
                                      "unsupported: a dict made of a %s",
                                      csi_value_type(from));
            }
            for (size_t k = 0; k < from->dict->n; k++) {
                CS_TRY(csi_dict_set(e, out->dict, from->dict->keys[k],
                                    from->dict->values[k]));
            }
            continue;
        }
        CS_TRY(csi_dict_set(e, out->dict, csi_value_text(args->names[i]),
                            args->values[i]));
    }
    return CS_OK;
}

static cs_status call_strftime(csi_eval *e, const csi_arguments *args,
                               csi_value *out)
{
    char format[128];
    char text[256];
    void *copy = NULL;
    csi_jstr given;
    struct tm parts_of_now;
    const time_t now = (time_t)e->now_s;

    CS_TRY(csi_check_arguments(e, args, "strftime_now", 1, NULL));
    if (args->n != 1) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "strftime_now: wanted a format");
    }
    CS_TRY(csi_argument_string(e, &args->values[0], "strftime_now", &given));
    if (given.n >= sizeof format || localtime_r(&now, &parts_of_now) == NULL) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "strftime_now: wrong format");
    }
    memcpy(format, given.bytes, given.n);
    format[given.n] = '\0';
    const size_t n = strftime(text, sizeof text, format, &parts_of_now);

    CS_TRY(csi_jinja_alloc(e, n + 1, &copy));
    memcpy(copy, text, n);
    *out = csi_value_string((csi_jstr){.bytes = copy, .n = n});
    return CS_OK;
}

cs_status csi_eval_function(csi_eval *e, const char *name,
                            const csi_arguments *args, csi_value *out)
{
    csi_jstr sentence;

    if (strcmp(name, "range") == 0) {
        return call_range(e, args, out);
    }
    if (strcmp(name, "namespace") == 0 || strcmp(name, "dict") == 0) {
        return call_dict_of(e,
                            name[0] == 'n' ? CSI_VALUE_NAMESPACE
                                           : CSI_VALUE_DICT,
                            args, out);
    }
    if (strcmp(name, "strftime_now") == 0) {
        return call_strftime(e, args, out);
    }
    CS_TRY(csi_check_arguments(e, args, name, 1, NULL));
    if (args->n != 1) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "%s: wanted a sentence", name);
    }
    CS_TRY(csi_value_to_string(e, &args->values[0], &sentence));
    return CSI_JINJA_FAIL(e, CS_ERR_ARG, "the template refuses: %.*s",
                          (int)(sentence.n < 300 ? sentence.n : 300),
                          sentence.bytes);
}
