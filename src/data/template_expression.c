/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jinja's expressions, loosest first: x if c else y, or, and, not, comparison,
 * + -, ~, * / // %, **, sign, then what follows a value: .name [item] (call)
 * | filter, is test.
 */
#include "template_node.h"

#include <string.h>

static const csi_lexeme_kind OP = CSI_LEXEME_OPERATOR;
static const csi_lexeme_kind WORD = CSI_LEXEME_NAME;

cs_status csi_node_new(csi_lexer *lexer, csi_node_kind kind, csi_node **out)
{
    csi_node *const node = csi_arena_calloc(&lexer->jinja->arena, sizeof *node);

    CS_CHECK(node != NULL, CS_ERR_NOMEM, "%s: no memory for a template",
             lexer->jinja->where);
    node->kind = kind;
    node->line = lexer->now.line;
    *out = node;
    return CS_OK;
}

cs_status csi_parse_enter(csi_lexer *lexer)
{
    if (++lexer->depth > CSI_JINJA_MAX_DEPTH) {
        return csi_lexer_fail(lexer, CS_ERR_FORMAT,
                              "the template is nested more than %d deep",
                              CSI_JINJA_MAX_DEPTH);
    }
    return CS_OK;
}

static cs_status parse_unary(csi_lexer *l, bool with_filters, csi_node **out);

static cs_status new_binary(csi_lexer *l, csi_node_kind kind, const char *name,
                            csi_node *a, csi_node **out)
{
    csi_node *node = NULL;

    CS_TRY(csi_node_new(l, kind, &node));
    node->name = name;
    node->a = a;
    *out = node;
    return CS_OK;
}

/* ---- lists ---- */

/* Arguments up to ")", which is taken. */
static cs_status parse_arguments(csi_lexer *l, csi_node **list)
{
    bool done = false;

    *list = NULL;
    CS_TRY(csi_lexer_take(l, OP, ")", &done));
    while (!done) {
        csi_node *node = NULL;

        if (csi_lexer_is(l, OP, "*") || csi_lexer_is(l, OP, "**")) {
            return csi_lexer_fail(l, CS_ERR_UNSUPPORTED,
                                  "unsupported: * and ** in arguments");
        }
        if (csi_lexer_is(l, WORD, NULL) && l->next.kind == OP &&
            strcmp(l->next.name, "=") == 0) {
            CS_TRY(csi_node_new(l, CSI_NODE_KEYWORD, &node));
            node->name = l->now.name;
            CS_TRY(csi_lexer_advance(l));
            CS_TRY(csi_lexer_advance(l));
            CS_TRY(csi_parse_expression(l, &node->a));
        } else {
            CS_TRY(csi_parse_expression(l, &node));
        }
        *list = node;
        list = &node->next;
        CS_TRY(csi_lexer_take(l, OP, ")", &done));
        if (!done) {
            CS_TRY(csi_lexer_expect(l, OP, ","));
            CS_TRY(csi_lexer_take(l, OP, ")", &done));
        }
    }
    return CS_OK;
}

static cs_status parse_list(csi_lexer *l, csi_node **out)
{
    bool done = false;
    csi_node *node = NULL;

    CS_TRY(csi_node_new(l, CSI_NODE_LIST, &node));
    csi_node **to = &node->list;

    CS_TRY(csi_lexer_expect(l, OP, "["));
    CS_TRY(csi_lexer_take(l, OP, "]", &done));
    while (!done) {
        CS_TRY(csi_parse_expression(l, to));
        to = &(*to)->next;
        CS_TRY(csi_lexer_take(l, OP, "]", &done));
        if (!done) {
            CS_TRY(csi_lexer_expect(l, OP, ","));
            CS_TRY(csi_lexer_take(l, OP, "]", &done));
        }
    }
    *out = node;
    return CS_OK;
}

static cs_status parse_dict(csi_lexer *l, csi_node **out)
{
    bool done = false;
    csi_node *node = NULL;

    CS_TRY(csi_node_new(l, CSI_NODE_DICT, &node));
    csi_node **to = &node->list;

    CS_TRY(csi_lexer_expect(l, OP, "{"));
    CS_TRY(csi_lexer_take(l, OP, "}", &done));
    while (!done) {
        CS_TRY(csi_node_new(l, CSI_NODE_PAIR, to));
        CS_TRY(csi_parse_expression(l, &(*to)->a));
        CS_TRY(csi_lexer_expect(l, OP, ":"));
        CS_TRY(csi_parse_expression(l, &(*to)->b));
        to = &(*to)->next;
        CS_TRY(csi_lexer_take(l, OP, "}", &done));
        if (!done) {
            CS_TRY(csi_lexer_expect(l, OP, ","));
            CS_TRY(csi_lexer_take(l, OP, "}", &done));
        }
    }
    *out = node;
    return CS_OK;
}

static bool ends_tuple(const csi_lexer *l)
{
    return l->now.kind == CSI_LEXEME_CLOSE ||
           l->now.kind == CSI_LEXEME_PRINT_END || csi_lexer_is(l, OP, ")") ||
           csi_lexer_is(l, OP, "=") || csi_lexer_is(l, WORD, "in");
}

/* After a first expression: a tuple if a comma follows. */
static cs_status parse_tuple_rest(csi_lexer *l, csi_node *first, csi_node **out)
{
    csi_node *node = NULL;
    csi_node **to = NULL;
    bool more = false;

    CS_TRY(csi_lexer_take(l, OP, ",", &more));
    if (!more) {
        *out = first;
        return CS_OK;
    }
    CS_TRY(csi_node_new(l, CSI_NODE_TUPLE, &node));
    node->list = first;
    to = &first->next;
    while (more && !ends_tuple(l)) {
        CS_TRY(csi_parse_expression(l, to));
        to = &(*to)->next;
        CS_TRY(csi_lexer_take(l, OP, ",", &more));
    }
    *out = node;
    return CS_OK;
}

cs_status csi_parse_tuple(csi_lexer *lexer, csi_node **out)
{
    csi_node *first = NULL;

    CS_TRY(csi_parse_expression(lexer, &first));
    return parse_tuple_rest(lexer, first, out);
}

/* ---- values ---- */

static cs_status parse_parentheses(csi_lexer *l, csi_node **out)
{
    CS_TRY(csi_lexer_expect(l, OP, "("));
    if (csi_lexer_is(l, OP, ")")) {
        CS_TRY(csi_node_new(l, CSI_NODE_TUPLE, out));
        return csi_lexer_advance(l);
    }
    CS_TRY(csi_parse_tuple(l, out));
    return csi_lexer_expect(l, OP, ")");
}

/* Strings that stand side by side are one. */
static cs_status parse_string(csi_lexer *l, csi_node **out)
{
    csi_node *node = NULL;

    CS_TRY(csi_node_new(l, CSI_NODE_STRING, &node));
    while (l->now.kind == CSI_LEXEME_STRING) {
        char *const text =
            csi_arena_alloc(&l->jinja->arena, node->n_text + l->now.n_text + 1);

        CS_CHECK(text != NULL, CS_ERR_NOMEM, "%s: no memory", l->jinja->where);
        if (node->n_text > 0) {
            memcpy(text, node->text, node->n_text);
        }
        memcpy(text + node->n_text, l->now.text, l->now.n_text);
        node->text = text;
        node->n_text += l->now.n_text;
        CS_TRY(csi_lexer_advance(l));
    }
    *out = node;
    return CS_OK;
}

static cs_status parse_name(csi_lexer *l, csi_node **out)
{
    static const struct {
        const char *name;
        csi_node_kind kind;
        int64_t value;
    } CONSTANTS[] = {
        {"true", CSI_NODE_BOOL, 1},  {"True", CSI_NODE_BOOL, 1},
        {"false", CSI_NODE_BOOL, 0}, {"False", CSI_NODE_BOOL, 0},
        {"none", CSI_NODE_NONE, 0},  {"None", CSI_NODE_NONE, 0},
    };
    csi_node *node = NULL;

    CS_TRY(csi_node_new(l, CSI_NODE_NAME, &node));
    node->name = l->now.name;
    for (size_t i = 0; i < sizeof CONSTANTS / sizeof *CONSTANTS; i++) {
        if (strcmp(node->name, CONSTANTS[i].name) == 0) {
            node->kind = CONSTANTS[i].kind;
            node->integer = CONSTANTS[i].value;
        }
    }
    *out = node;
    return csi_lexer_advance(l);
}

cs_status csi_parse_primary(csi_lexer *l, csi_node **out)
{
    switch (l->now.kind) {
    case CSI_LEXEME_NAME:
        return parse_name(l, out);
    case CSI_LEXEME_STRING:
        return parse_string(l, out);
    case CSI_LEXEME_INT:
        CS_TRY(csi_node_new(l, CSI_NODE_INT, out));
        (*out)->integer = l->now.integer;
        return csi_lexer_advance(l);
    case CSI_LEXEME_FLOAT:
        CS_TRY(csi_node_new(l, CSI_NODE_FLOAT, out));
        (*out)->number = l->now.number;
        return csi_lexer_advance(l);
    default:
        break;
    }
    if (csi_lexer_is(l, OP, "(")) {
        return parse_parentheses(l, out);
    }
    if (csi_lexer_is(l, OP, "[")) {
        return parse_list(l, out);
    }
    if (csi_lexer_is(l, OP, "{")) {
        return parse_dict(l, out);
    }
    return csi_lexer_fail(l, CS_ERR_FORMAT, "wanted an expression%s%s%s",
                          l->now.kind == OP ? ", got '" : "",
                          l->now.kind == OP ? l->now.name : "",
                          l->now.kind == OP ? "'" : "");
}

/* Inside of [ ]: an expression or begin:end:step. */
static cs_status parse_subscript(csi_lexer *l, csi_node **out)
{
    csi_node *parts[3] = {NULL, NULL, NULL};
    int n_colons = 0;
    csi_node *slice = NULL;

    while (!csi_lexer_is(l, OP, "]")) {
        if (csi_lexer_is(l, OP, ":") && n_colons < 2) {
            n_colons++;
            CS_TRY(csi_lexer_advance(l));
        } else if (parts[n_colons] == NULL) {
            CS_TRY(csi_parse_expression(l, &parts[n_colons]));
        } else {
            return csi_lexer_fail(l, CS_ERR_FORMAT, "wanted ']'");
        }
    }
    if (n_colons == 0) {
        if (parts[0] == NULL) {
            return csi_lexer_fail(l, CS_ERR_FORMAT, "wanted an expression");
        }
        *out = parts[0];
        return CS_OK;
    }
    CS_TRY(csi_node_new(l, CSI_NODE_SLICE, &slice));
    slice->a = parts[0];
    slice->b = parts[1];
    slice->c = parts[2];
    *out = slice;
    return CS_OK;
}

static cs_status parse_call(csi_lexer *l, csi_node *value, csi_node **out)
{
    csi_node *node = NULL;

    CS_TRY(new_binary(l, CSI_NODE_CALL, NULL, value, &node));
    CS_TRY(csi_lexer_expect(l, OP, "("));
    CS_TRY(parse_arguments(l, &node->list));
    *out = node;
    return CS_OK;
}

/* .name .0 [item] (call) */
static cs_status parse_postfix(csi_lexer *l, csi_node *value, csi_node **out)
{
    csi_node *node = NULL;

    while (true) {
        if (csi_lexer_is(l, OP, ".")) {
            CS_TRY(new_binary(l, CSI_NODE_ATTRIBUTE, NULL, value, &node));
            CS_TRY(csi_lexer_advance(l));
            node->name = l->now.name;
            if (l->now.kind == CSI_LEXEME_INT) {
                node->kind = CSI_NODE_ITEM;
                CS_TRY(csi_parse_primary(l, &node->b));
            } else {
                CS_TRY(csi_lexer_expect(l, WORD, NULL));
            }
        } else if (csi_lexer_is(l, OP, "[")) {
            CS_TRY(new_binary(l, CSI_NODE_ITEM, NULL, value, &node));
            CS_TRY(csi_lexer_advance(l));
            CS_TRY(parse_subscript(l, &node->b));
            CS_TRY(csi_lexer_expect(l, OP, "]"));
        } else if (csi_lexer_is(l, OP, "(")) {
            CS_TRY(parse_call(l, value, &node));
        } else {
            *out = value;
            return CS_OK;
        }
        value = node;
    }
}

static cs_status parse_filter(csi_lexer *l, csi_node *value, csi_node **out)
{
    csi_node *node = NULL;

    CS_TRY(csi_lexer_expect(l, OP, "|"));
    CS_TRY(new_binary(l, CSI_NODE_FILTER, l->now.name, value, &node));
    CS_TRY(csi_lexer_expect(l, WORD, NULL));
    if (csi_lexer_is(l, OP, "(")) {
        CS_TRY(csi_lexer_advance(l));
        CS_TRY(parse_arguments(l, &node->list));
    }
    *out = node;
    return CS_OK;
}

/* "is divisibleby 3": an argument without parentheses. */
static bool starts_argument(const csi_lexer *l)
{
    switch (l->now.kind) {
    case CSI_LEXEME_NAME:
        return !csi_lexer_is(l, WORD, "else") && !csi_lexer_is(l, WORD, "or") &&
               !csi_lexer_is(l, WORD, "and") && !csi_lexer_is(l, WORD, "is") &&
               !csi_lexer_is(l, WORD, "if") && !csi_lexer_is(l, WORD, "in") &&
               !csi_lexer_is(l, WORD, "not");
    case CSI_LEXEME_STRING:
    case CSI_LEXEME_INT:
    case CSI_LEXEME_FLOAT:
        return true;
    case CSI_LEXEME_OPERATOR:
        return csi_lexer_is(l, OP, "[") || csi_lexer_is(l, OP, "{");
    default:
        return false;
    }
}

static cs_status parse_test(csi_lexer *l, csi_node *value, csi_node **out)
{
    csi_node *node = NULL;
    bool negated = false;

    CS_TRY(csi_lexer_expect(l, WORD, "is"));
    CS_TRY(csi_lexer_take(l, WORD, "not", &negated));
    CS_TRY(new_binary(l, CSI_NODE_TEST, l->now.name, value, &node));
    CS_TRY(csi_lexer_expect(l, WORD, NULL));
    if (csi_lexer_is(l, OP, "(")) {
        CS_TRY(csi_lexer_advance(l));
        CS_TRY(parse_arguments(l, &node->list));
    } else if (starts_argument(l)) {
        csi_node *argument = NULL;

        CS_TRY(csi_parse_primary(l, &argument));
        CS_TRY(parse_postfix(l, argument, &node->list));
    }
    *out = node;
    return negated ? new_binary(l, CSI_NODE_NOT, NULL, node, out) : CS_OK;
}

cs_status csi_parse_filters(csi_lexer *lexer, csi_node *value, csi_node **out)
{
    while (true) {
        if (csi_lexer_is(lexer, OP, "|")) {
            CS_TRY(parse_filter(lexer, value, &value));
        } else if (value != NULL && csi_lexer_is(lexer, WORD, "is")) {
            CS_TRY(parse_test(lexer, value, &value));
        } else if (value != NULL && csi_lexer_is(lexer, OP, "(")) {
            CS_TRY(parse_call(lexer, value, &value));
        } else {
            *out = value;
            return CS_OK;
        }
    }
}

/* ---- operators ---- */

static cs_status parse_unary(csi_lexer *l, bool with_filters, csi_node **out)
{
    csi_node *node = NULL;

    CS_TRY(csi_parse_enter(l));
    if (csi_lexer_is(l, OP, "-") || csi_lexer_is(l, OP, "+")) {
        const csi_node_kind kind =
            csi_lexer_is(l, OP, "-") ? CSI_NODE_NEGATIVE : CSI_NODE_POSITIVE;

        CS_TRY(csi_node_new(l, kind, &node));
        CS_TRY(csi_lexer_advance(l));
        CS_TRY(parse_unary(l, false, &node->a));
    } else {
        CS_TRY(csi_parse_primary(l, &node));
    }
    CS_TRY(parse_postfix(l, node, &node));
    if (with_filters) {
        CS_TRY(csi_parse_filters(l, node, &node));
    }
    l->depth--;
    *out = node;
    return CS_OK;
}

typedef cs_status (*parse_fn)(csi_lexer *l, csi_node **out);

/* Left-associative operators of one level. */
static cs_status parse_level(csi_lexer *l, const char *const *names,
                             size_t n_names, parse_fn parse, csi_node **out)
{
    csi_node *left = NULL;
    bool found = true;

    CS_TRY(parse(l, &left));
    while (found) {
        found = false;
        for (size_t i = 0; i < n_names && !found; i++) {
            csi_node *node = NULL;

            CS_TRY(csi_lexer_take(l, OP, names[i], &found));
            if (found) {
                CS_TRY(new_binary(l, CSI_NODE_BINARY, names[i], left, &node));
                CS_TRY(parse(l, &node->b));
                left = node;
            }
        }
    }
    *out = left;
    return CS_OK;
}

static cs_status parse_operand(csi_lexer *l, csi_node **out)
{
    return parse_unary(l, true, out);
}

static cs_status parse_power(csi_lexer *l, csi_node **out)
{
    static const char *const NAMES[] = {"**"};

    return parse_level(l, NAMES, 1, parse_operand, out);
}

static cs_status parse_product(csi_lexer *l, csi_node **out)
{
    static const char *const NAMES[] = {"*", "/", "//", "%"};

    return parse_level(l, NAMES, 4, parse_power, out);
}

static cs_status parse_concat(csi_lexer *l, csi_node **out)
{
    static const char *const NAMES[] = {"~"};

    return parse_level(l, NAMES, 1, parse_product, out);
}

static cs_status parse_sum(csi_lexer *l, csi_node **out)
{
    static const char *const NAMES[] = {"+", "-"};

    return parse_level(l, NAMES, 2, parse_concat, out);
}

/* The comparison at hand, taken; NULL = none. */
static cs_status take_comparison(csi_lexer *l, const char **name)
{
    static const char *const NAMES[] = {"==", "!=", "<", "<=", ">", ">="};
    bool taken = false;

    *name = NULL;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        CS_TRY(csi_lexer_take(l, OP, NAMES[i], &taken));
        if (taken) {
            *name = NAMES[i];
            return CS_OK;
        }
    }
    CS_TRY(csi_lexer_take(l, WORD, "in", &taken));
    if (taken) {
        *name = "in";
    } else if (csi_lexer_is(l, WORD, "not") && l->next.kind == WORD &&
               strcmp(l->next.name, "in") == 0) {
        CS_TRY(csi_lexer_advance(l));
        CS_TRY(csi_lexer_advance(l));
        *name = "not in";
    }
    return CS_OK;
}

static cs_status parse_compare(csi_lexer *l, csi_node **out)
{
    csi_node *value = NULL;
    csi_node *node = NULL;
    csi_node **to = NULL;
    const char *name = NULL;

    CS_TRY(parse_sum(l, &value));
    CS_TRY(take_comparison(l, &name));
    if (name == NULL) {
        *out = value;
        return CS_OK;
    }
    CS_TRY(new_binary(l, CSI_NODE_COMPARE, NULL, value, &node));
    to = &node->list;
    while (name != NULL) {
        CS_TRY(new_binary(l, CSI_NODE_OPERAND, name, NULL, to));
        CS_TRY(parse_sum(l, &(*to)->a));
        to = &(*to)->next;
        CS_TRY(take_comparison(l, &name));
    }
    *out = node;
    return CS_OK;
}

static cs_status parse_not(csi_lexer *l, csi_node **out)
{
    csi_node *node = NULL;

    if (!csi_lexer_is(l, WORD, "not")) {
        return parse_compare(l, out);
    }
    CS_TRY(csi_parse_enter(l));
    CS_TRY(csi_node_new(l, CSI_NODE_NOT, &node));
    CS_TRY(csi_lexer_advance(l));
    CS_TRY(parse_not(l, &node->a));
    l->depth--;
    *out = node;
    return CS_OK;
}

static cs_status parse_and(csi_lexer *l, csi_node **out)
{
    csi_node *left = NULL;
    bool found = false;

    CS_TRY(parse_not(l, &left));
    CS_TRY(csi_lexer_take(l, WORD, "and", &found));
    while (found) {
        csi_node *node = NULL;

        CS_TRY(new_binary(l, CSI_NODE_AND, NULL, left, &node));
        CS_TRY(parse_not(l, &node->b));
        left = node;
        CS_TRY(csi_lexer_take(l, WORD, "and", &found));
    }
    *out = left;
    return CS_OK;
}

cs_status csi_parse_or(csi_lexer *l, csi_node **out)
{
    csi_node *left = NULL;
    bool found = false;

    CS_TRY(csi_parse_enter(l));
    CS_TRY(parse_and(l, &left));
    CS_TRY(csi_lexer_take(l, WORD, "or", &found));
    while (found) {
        csi_node *node = NULL;

        CS_TRY(new_binary(l, CSI_NODE_OR, NULL, left, &node));
        CS_TRY(parse_and(l, &node->b));
        left = node;
        CS_TRY(csi_lexer_take(l, WORD, "or", &found));
    }
    l->depth--;
    *out = left;
    return CS_OK;
}

cs_status csi_parse_expression(csi_lexer *lexer, csi_node **out)
{
    csi_node *value = NULL;
    bool found = false;

    CS_TRY(csi_parse_enter(lexer));
    CS_TRY(csi_parse_or(lexer, &value));
    CS_TRY(csi_lexer_take(lexer, WORD, "if", &found));
    while (found) {
        csi_node *node = NULL;

        CS_TRY(csi_node_new(lexer, CSI_NODE_CONDITIONAL, &node));
        node->b = value;
        CS_TRY(csi_parse_or(lexer, &node->a));
        CS_TRY(csi_lexer_take(lexer, WORD, "else", &found));
        if (found) {
            CS_TRY(csi_parse_expression(lexer, &node->c));
        }
        value = node;
        CS_TRY(csi_lexer_take(lexer, WORD, "if", &found));
    }
    lexer->depth--;
    *out = value;
    return CS_OK;
}
