/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluates expressions of a template, with Python's and Jinja's rules. */
#include "template_value.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- operators ---- */

static cs_status fail_operands(csi_eval *e, const char *op, const csi_value *a,
                               const csi_value *b)
{
    const csi_value *const nothing = a->kind == CSI_VALUE_UNDEFINED   ? a
                                     : b->kind == CSI_VALUE_UNDEFINED ? b
                                                                      : NULL;

    if (nothing != NULL) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "'%.80s' is undefined",
                              nothing->name);
    }
    return CSI_JINJA_FAIL(e, CS_ERR_ARG, "%s does not work on a %s and a %s",
                          op, csi_value_type(a), csi_value_type(b));
}

/* Python's // and % go towards minus infinity. */
static cs_status divide(csi_eval *e, char op, int64_t a, int64_t b,
                        csi_value *out)
{
    if (b == 0 || (a == INT64_MIN && b == -1)) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "division by zero");
    }
    const int64_t rest = a % b;
    const bool is_below = rest != 0 && (rest < 0) != (b < 0);

    *out =
        csi_value_int(op == '%' ? rest + (is_below ? b : 0) : a / b - is_below);
    return CS_OK;
}

static cs_status power(csi_eval *e, int64_t a, int64_t b, csi_value *out)
{
    int64_t result = 1;

    if (b < 0 || b > 64) {
        return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED, "unsupported: ** %" PRId64,
                              b);
    }
    for (int64_t i = 0; i < b; i++) {
        if (__builtin_mul_overflow(result, a, &result)) {
            return CSI_JINJA_FAIL(e, CS_ERR_ARG, "a number beyond 64 bits");
        }
    }
    *out = csi_value_int(result);
    return CS_OK;
}

static cs_status integers(csi_eval *e, const char *op, int64_t a, int64_t b,
                          csi_value *out)
{
    int64_t result = 0;
    bool overflow = false;

    if (strcmp(op, "//") == 0 || op[0] == '%') {
        return divide(e, op[0], a, b, out);
    }
    if (strcmp(op, "**") == 0) {
        return power(e, a, b, out);
    }
    switch (op[0]) {
    case '+':
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case '-':
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    default:
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    }
    *out = csi_value_int(result);
    return overflow ? CSI_JINJA_FAIL(e, CS_ERR_ARG, "a number beyond 64 bits")
                    : CS_OK;
}

static cs_status numbers(csi_eval *e, const char *op, const csi_value *a,
                         const csi_value *b, csi_value *out)
{
    const double x = csi_value_number(a);
    const double y = csi_value_number(b);
    double result = 0.0;

    if (a->kind != CSI_VALUE_FLOAT && b->kind != CSI_VALUE_FLOAT &&
        strcmp(op, "/") != 0) {
        return integers(e, op, a->integer, b->integer, out);
    }
    if ((op[0] == '/' || op[0] == '%') && y == 0.0) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "division by zero");
    }
    if (strcmp(op, "//") == 0) {
        result = floor(x / y);
    } else if (strcmp(op, "**") == 0) {
        result = pow(x, y);
    } else {
        result = op[0] == '+'   ? x + y
                 : op[0] == '-' ? x - y
                 : op[0] == '*' ? x * y
                 : op[0] == '/' ? x / y
                                : x - y * floor(x / y);
    }
    *out = (csi_value){.kind = CSI_VALUE_FLOAT, .number = result};
    return CS_OK;
}

static cs_status join_strings(csi_eval *e, csi_jstr a, csi_jstr b,
                              int64_t times, csi_value *out)
{
    csi_jinja_text text = {.n_bytes = 0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_jinja_write(e, &text, a));
    for (int64_t i = 0; i < times && b.n > 0; i++) {
        CS_TRY_GOTO(done, csi_jinja_step(e));
        CS_TRY_GOTO(done, csi_jinja_write(e, &text, b));
    }
    CS_TRY_GOTO(done, csi_jinja_text_string(e, &text, out));
done:
    csi_jinja_text_fini(&text);
    return st;
}

static cs_status join_lists(csi_eval *e, const csi_value *a, const csi_value *b,
                            csi_value *out)
{
    csi_value *items = NULL;
    const size_t n = a->list->n;

    CS_TRY(csi_value_list(e, a->kind, n + b->list->n, out, &items));
    if (n > 0) {
        memcpy(items, a->list->items, n * sizeof *items);
    }
    if (b->list->n > 0) {
        memcpy(items + n, b->list->items, b->list->n * sizeof *items);
    }
    return CS_OK;
}

static cs_status compare(csi_eval *e, const char *op, const csi_value *a,
                         const csi_value *b, bool *out)
{
    int order = 0;

    if (strcmp(op, "==") == 0 || strcmp(op, "!=") == 0) {
        *out = csi_value_equal(a, b) == (op[0] == '=');
        return CS_OK;
    }
    if (strcmp(op, "in") == 0 || strcmp(op, "not in") == 0) {
        CS_TRY(csi_value_contains(e, b, a, out));
        *out = *out == (op[0] == 'i');
        return CS_OK;
    }
    if (a->kind == CSI_VALUE_UNDEFINED || b->kind == CSI_VALUE_UNDEFINED) {
        return fail_operands(e, op, a, b);
    }
    CS_TRY(csi_value_compare(e, a, b, &order));
    *out = op[0] == '<' ? order < 0 || (op[1] == '=' && order == 0)
                        : order > 0 || (op[1] == '=' && order == 0);
    return CS_OK;
}

cs_status csi_eval_binary(csi_eval *e, const char *op, const csi_value *a,
                          const csi_value *b, csi_value *out)
{
    const bool is_string = a->kind == CSI_VALUE_STRING;
    csi_jstr left;
    csi_jstr right;

    if (strcmp(op, "~") == 0) {
        CS_TRY(csi_value_to_string(e, a, &left));
        CS_TRY(csi_value_to_string(e, b, &right));
        return join_strings(e, left, right, 1, out);
    }
    if (strchr("=!<>in", op[0]) != NULL) {
        bool holds = false;

        CS_TRY(compare(e, op, a, b, &holds));
        *out = csi_value_bool(holds);
        return CS_OK;
    }
    if (csi_value_is_number(a) && csi_value_is_number(b)) {
        return numbers(e, op, a, b, out);
    }
    if (op[0] == '+' && is_string && b->kind == CSI_VALUE_STRING) {
        return join_strings(e, a->string, b->string, 1, out);
    }
    if (op[0] == '+' && csi_value_is_sequence(a) && a->kind == b->kind) {
        return join_lists(e, a, b, out);
    }
    if (strcmp(op, "*") == 0 && is_string && b->kind == CSI_VALUE_INT) {
        return join_strings(e, csi_jstr_of(""), a->string, b->integer, out);
    }
    if (op[0] == '%' && is_string) {
        return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED,
                              "unsupported: %% formats a string");
    }
    return fail_operands(e, op, a, b);
}

/* ---- parts of values ---- */

static cs_status loop_attribute(csi_eval *e, const csi_jloop *loop,
                                const char *name, csi_value *out)
{
    const int64_t at = (int64_t)loop->at;
    const int64_t n = (int64_t)loop->items->n;
    const struct {
        const char *name;
        csi_value value;
    } ATTRIBUTES[] = {
        {"index", csi_value_int(at + 1)},
        {"index0", csi_value_int(at)},
        {"revindex", csi_value_int(n - at)},
        {"revindex0", csi_value_int(n - at - 1)},
        {"first", csi_value_bool(at == 0)},
        {"last", csi_value_bool(at == n - 1)},
        {"length", csi_value_int(n)},
        {"depth", csi_value_int(1)},
        {"depth0", csi_value_int(0)},
        {"previtem", at > 0 ? loop->items->items[at - 1]
                            : csi_value_undefined("loop.previtem")},
        {"nextitem", at + 1 < n ? loop->items->items[at + 1]
                                : csi_value_undefined("loop.nextitem")},
    };

    for (size_t i = 0; i < sizeof ATTRIBUTES / sizeof *ATTRIBUTES; i++) {
        if (strcmp(name, ATTRIBUTES[i].name) == 0) {
            *out = ATTRIBUTES[i].value;
            return CS_OK;
        }
    }
    return CSI_JINJA_FAIL(e, CS_ERR_ARG, "a loop has no '%.40s'", name);
}

cs_status csi_eval_attribute(csi_eval *e, const csi_value *of, const char *name,
                             csi_value *out)
{
    const csi_value key = csi_value_text(name);
    bool is_method = false;

    if (of->kind == CSI_VALUE_UNDEFINED) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "'%.80s' is undefined", of->name);
    }
    CS_TRY(csi_eval_has_method(e, of, name, &is_method));
    if (is_method) {
        void *self = NULL;

        CS_TRY(csi_jinja_alloc(e, sizeof *of, &self));
        *(csi_value *)self = *of;
        *out =
            (csi_value){.kind = CSI_VALUE_METHOD, .name = name, .self = self};
        return CS_OK;
    }
    if (of->kind == CSI_VALUE_LOOP) {
        return loop_attribute(e, of->loop, name, out);
    }
    if ((of->kind == CSI_VALUE_DICT || of->kind == CSI_VALUE_NAMESPACE) &&
        csi_dict_get(of->dict, &key, out)) {
        return CS_OK;
    }
    *out = csi_value_undefined(name);
    return CS_OK;
}

/* A letter or an item; negative places count from the end. */
static cs_status item_at(csi_eval *e, const csi_value *of, int64_t at,
                         csi_value *out)
{
    const bool is_string = of->kind == CSI_VALUE_STRING;
    const int64_t n =
        is_string ? (int64_t)csi_jstr_length(of->string) : (int64_t)of->list->n;

    (void)e;
    at += at < 0 ? n : 0;
    if (at < 0 || at >= n) {
        *out = csi_value_undefined("an item beyond the end");
    } else if (is_string) {
        const size_t begin = csi_jstr_offset(of->string, (size_t)at);
        int n_letter = 0;

        (void)csi_utf8_get(of->string.bytes + begin, &n_letter);
        *out = csi_value_string(csi_jstr_part(of->string, begin,
                                              begin + (size_t)n_letter));
    } else {
        *out = of->list->items[at];
    }
    return CS_OK;
}

cs_status csi_eval_item(csi_eval *e, const csi_value *of, const csi_value *key,
                        csi_value *out)
{
    if (of->kind == CSI_VALUE_UNDEFINED) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "'%.80s' is undefined", of->name);
    }
    if (of->kind == CSI_VALUE_DICT && csi_dict_get(of->dict, key, out)) {
        return CS_OK;
    }
    if ((of->kind == CSI_VALUE_STRING || csi_value_is_sequence(of)) &&
        (key->kind == CSI_VALUE_INT || key->kind == CSI_VALUE_BOOL)) {
        return item_at(e, of, key->integer, out);
    }
    if (key->kind == CSI_VALUE_STRING) {
        void *name = NULL;

        CS_TRY(csi_jinja_alloc(e, key->string.n + 1, &name));
        if (key->string.n > 0) {
            memcpy(name, key->string.bytes, key->string.n);
        }
        ((char *)name)[key->string.n] = '\0';
        return csi_eval_attribute(e, of, name, out);
    }
    *out = csi_value_undefined("an item");
    return CS_OK;
}

static cs_status get_bound(csi_eval *e, const csi_value *v, int64_t unset,
                           int64_t *out)
{
    *out = unset;
    return v->kind == CSI_VALUE_NONE
               ? CS_OK
               : csi_argument_int(e, v, "bound of a slice", out);
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

cs_status csi_eval_slice(csi_eval *e, const csi_value *of,
                         const csi_value bounds[3], csi_value *out)
{
    const bool is_string = of->kind == CSI_VALUE_STRING;
    csi_jlist from;
    csi_value *items = NULL;
    int64_t begin = 0;
    int64_t end = 0;
    int64_t step = 1;
    int64_t count = 0;
    int64_t n = 0;

    if (!is_string && !csi_value_is_sequence(of)) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "a %s has no slices",
                              csi_value_type(of));
    }
    CS_TRY(csi_value_items(e, of, &from));
    n = (int64_t)from.n;
    CS_TRY(get_bound(e, &bounds[2], 1, &step));
    CS_TRY(get_bound(e, &bounds[0], step > 0 ? 0 : n - 1, &begin));
    CS_TRY(get_bound(e, &bounds[1], step > 0 ? n : -n - 1, &end));
    if (step == 0) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "a slice with step 0");
    }
    step = clamp(step, -n - 1, n + 1);
    begin = clamp(begin < 0 ? begin + n : begin, step > 0 ? 0 : -1,
                  step > 0 ? n : n - 1);
    end =
        clamp(end < 0 ? end + n : end, step > 0 ? 0 : -1, step > 0 ? n : n - 1);
    for (int64_t at = begin; step > 0 ? at < end : at > end; at += step) {
        count++;
    }
    CS_TRY(csi_value_list(e, is_string ? CSI_VALUE_LIST : of->kind,
                          (size_t)count, out, &items));
    for (int64_t i = 0; i < count; i++) {
        items[i] = from.items[begin + i * step];
    }
    if (is_string) {
        const csi_value list = *out;

        return csi_eval_filter(e, "join", &list, &(csi_arguments){.n = 0}, out);
    }
    return CS_OK;
}

/* ---- nodes ---- */

static cs_status eval_list(csi_eval *e, const csi_node *node, csi_value *out)
{
    csi_value *items = NULL;
    size_t n = 0;

    for (const csi_node *item = node->list; item != NULL; item = item->next) {
        n++;
    }
    CS_TRY(csi_value_list(e,
                          node->kind == CSI_NODE_LIST ? CSI_VALUE_LIST
                                                      : CSI_VALUE_TUPLE,
                          n, out, &items));
    for (const csi_node *item = node->list; item != NULL; item = item->next) {
        CS_TRY(csi_eval_node(e, item, items++));
    }
    return CS_OK;
}

static cs_status eval_dict(csi_eval *e, const csi_node *node, csi_value *out)
{
    csi_value key;
    csi_value value;

    CS_TRY(csi_value_dict(e, CSI_VALUE_DICT, out));
    for (const csi_node *pair = node->list; pair != NULL; pair = pair->next) {
        CS_TRY(csi_eval_node(e, pair->a, &key));
        CS_TRY(csi_eval_node(e, pair->b, &value));
        CS_TRY(csi_dict_set(e, out->dict, key, value));
    }
    return CS_OK;
}

static cs_status eval_arguments(csi_eval *e, const csi_node *list,
                                csi_arguments *out)
{
    void *values = NULL;
    void *names = NULL;
    size_t n = 0;

    for (const csi_node *item = list; item != NULL; item = item->next) {
        n++;
    }
    CS_TRY(csi_jinja_alloc(e, (n + 1) * sizeof *out->values, &values));
    CS_TRY(csi_jinja_alloc(e, (n + 1) * sizeof *out->names, &names));
    *out = (csi_arguments){.values = values, .names = names, .n = n};
    n = 0;
    for (const csi_node *item = list; item != NULL; item = item->next) {
        const bool is_named = item->kind == CSI_NODE_KEYWORD;

        out->names[n] = is_named ? item->name : NULL;
        CS_TRY(csi_eval_node(e, is_named ? item->a : item, &out->values[n]));
        n++;
    }
    return CS_OK;
}

static cs_status eval_call(csi_eval *e, const csi_node *node, csi_value *out)
{
    csi_value what;
    csi_arguments args;

    CS_TRY(csi_eval_node(e, node->a, &what));
    CS_TRY(eval_arguments(e, node->list, &args));
    e->line = node->line;
    switch (what.kind) {
    case CSI_VALUE_METHOD:
        return csi_eval_method(e, what.self, what.name, &args, out);
    case CSI_VALUE_FUNCTION:
        return csi_eval_function(e, what.name, &args, out);
    case CSI_VALUE_MACRO:
        return csi_run_macro(e, what.macro, &args, out);
    case CSI_VALUE_UNDEFINED:
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "'%.80s' is undefined", what.name);
    default:
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "a %s cannot be called",
                              csi_value_type(&what));
    }
}

static cs_status eval_name(csi_eval *e, const csi_node *node, csi_value *out)
{
    static const char *const REFUSED[] = {"lipsum", "cycler",  "joiner",
                                          "caller", "varargs", "kwargs"};

    if (csi_scope_get(e->scope, node->name, out)) {
        return CS_OK;
    }
    if (csi_is_function(node->name)) {
        *out = (csi_value){.kind = CSI_VALUE_FUNCTION, .name = node->name};
        return CS_OK;
    }
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        if (strcmp(node->name, REFUSED[i]) == 0) {
            return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED, "unsupported: %s",
                                  node->name);
        }
    }
    *out = csi_value_undefined(node->name);
    return CS_OK;
}

static cs_status eval_item(csi_eval *e, const csi_node *node, csi_value *out)
{
    csi_value of;
    csi_value key;

    CS_TRY(csi_eval_node(e, node->a, &of));
    if (node->b->kind == CSI_NODE_SLICE) {
        const csi_node *const parts[] = {node->b->a, node->b->b, node->b->c};
        csi_value bounds[3];

        for (int i = 0; i < 3; i++) {
            bounds[i] = csi_value_none();
            if (parts[i] != NULL) {
                CS_TRY(csi_eval_node(e, parts[i], &bounds[i]));
            }
        }
        return csi_eval_slice(e, &of, bounds, out);
    }
    CS_TRY(csi_eval_node(e, node->b, &key));
    e->line = node->line;
    return csi_eval_item(e, &of, &key, out);
}

static cs_status eval_compare(csi_eval *e, const csi_node *node, csi_value *out)
{
    csi_value left;
    csi_value right;
    bool holds = true;

    CS_TRY(csi_eval_node(e, node->a, &left));
    for (const csi_node *op = node->list; op != NULL && holds; op = op->next) {
        CS_TRY(csi_eval_node(e, op->a, &right));
        CS_TRY(compare(e, op->name, &left, &right, &holds));
        left = right;
    }
    *out = csi_value_bool(holds);
    return CS_OK;
}

/* and, or: the operand that decides. */
static cs_status eval_logic(csi_eval *e, const csi_node *node, csi_value *out)
{
    CS_TRY(csi_eval_node(e, node->a, out));
    return csi_value_truth(out) == (node->kind == CSI_NODE_AND)
               ? csi_eval_node(e, node->b, out)
               : CS_OK;
}

static cs_status eval_sign(csi_eval *e, const csi_node *node, csi_value *out)
{
    const csi_value zero = csi_value_int(0);
    csi_value value;

    CS_TRY(csi_eval_node(e, node->a, &value));
    return csi_eval_binary(e, node->kind == CSI_NODE_NEGATIVE ? "-" : "+",
                           &zero, &value, out);
}

static cs_status eval_filter(csi_eval *e, const csi_node *node, bool is_test,
                             csi_value *out)
{
    csi_value value = csi_value_none();
    csi_arguments args;
    bool holds = false;

    if (node->a != NULL) {
        CS_TRY(csi_eval_node(e, node->a, &value));
    } else { /* the text of a set block */
        (void)csi_scope_get(e->scope, "(set)", &value);
    }
    CS_TRY(eval_arguments(e, node->list, &args));
    e->line = node->line;
    if (!is_test) {
        return csi_eval_filter(e, node->name, &value, &args, out);
    }
    CS_TRY(csi_eval_test(e, node->name, &value, &args, &holds));
    *out = csi_value_bool(holds);
    return CS_OK;
}

static cs_status eval_conditional(csi_eval *e, const csi_node *node,
                                  csi_value *out)
{
    csi_value condition;

    CS_TRY(csi_eval_node(e, node->a, &condition));
    if (csi_value_truth(&condition)) {
        return csi_eval_node(e, node->b, out);
    }
    *out = csi_value_undefined("the other side of an if");
    return node->c != NULL ? csi_eval_node(e, node->c, out) : CS_OK;
}

static cs_status eval_binary(csi_eval *e, const csi_node *node, csi_value *out)
{
    csi_value left;
    csi_value right;

    CS_TRY(csi_eval_node(e, node->a, &left));
    CS_TRY(csi_eval_node(e, node->b, &right));
    e->line = node->line;
    return csi_eval_binary(e, node->name, &left, &right, out);
}

static cs_status eval_constant(const csi_node *node, csi_value *out)
{
    switch (node->kind) {
    case CSI_NODE_STRING:
        *out = csi_value_string((csi_jstr){.bytes = node->text,
                                           .n = node->n_text});
        break;
    case CSI_NODE_INT:
        *out = csi_value_int(node->integer);
        break;
    case CSI_NODE_FLOAT:
        *out = (csi_value){.kind = CSI_VALUE_FLOAT, .number = node->number};
        break;
    case CSI_NODE_BOOL:
        *out = csi_value_bool(node->integer != 0);
        break;
    default:
        *out = csi_value_none();
        break;
    }
    return CS_OK;
}

static cs_status eval_any(csi_eval *e, const csi_node *node, csi_value *out)
{
    csi_value value;

    switch (node->kind) {
    case CSI_NODE_NAME:
        return eval_name(e, node, out);
    case CSI_NODE_LIST:
    case CSI_NODE_TUPLE:
        return eval_list(e, node, out);
    case CSI_NODE_DICT:
        return eval_dict(e, node, out);
    case CSI_NODE_ATTRIBUTE:
        CS_TRY(csi_eval_node(e, node->a, &value));
        e->line = node->line;
        return csi_eval_attribute(e, &value, node->name, out);
    case CSI_NODE_ITEM:
        return eval_item(e, node, out);
    case CSI_NODE_CALL:
        return eval_call(e, node, out);
    case CSI_NODE_FILTER:
    case CSI_NODE_TEST:
        return eval_filter(e, node, node->kind == CSI_NODE_TEST, out);
    case CSI_NODE_NOT:
        CS_TRY(csi_eval_node(e, node->a, &value));
        *out = csi_value_bool(!csi_value_truth(&value));
        return CS_OK;
    case CSI_NODE_NEGATIVE:
    case CSI_NODE_POSITIVE:
        return eval_sign(e, node, out);
    case CSI_NODE_BINARY:
        return eval_binary(e, node, out);
    case CSI_NODE_AND:
    case CSI_NODE_OR:
        return eval_logic(e, node, out);
    case CSI_NODE_COMPARE:
        return eval_compare(e, node, out);
    case CSI_NODE_CONDITIONAL:
        return eval_conditional(e, node, out);
    default:
        return eval_constant(node, out);
    }
}

cs_status csi_eval_node(csi_eval *e, const csi_node *node, csi_value *out)
{
    CS_TRY(csi_jinja_enter(e));
    e->line = node->line;
    CS_TRY(eval_any(e, node, out));
    if (out->kind == CSI_VALUE_STRING) {
        CS_TRY(csi_jinja_charge(e, out->string.n, 1));
    }
    e->depth--;
    return CS_OK;
}
