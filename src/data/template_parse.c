/* SPDX-License-Identifier: Apache-2.0 */
/* Jinja's statements: a template becomes a tree. */
#include "base/alloc.h"

#include "template_node.h"

#include <inttypes.h>
#include <string.h>

static const csi_lexeme_kind OP = CSI_LEXEME_OPERATOR;
static const csi_lexeme_kind WORD = CSI_LEXEME_NAME;

static cs_status parse_body(csi_lexer *l, const char *const *ends,
                            size_t n_ends, csi_node **out);

/* "%}" */
static cs_status close_tag(csi_lexer *l)
{
    return csi_lexer_expect(l, CSI_LEXEME_CLOSE, NULL);
}

/* The name of the tag that ended a body, taken. */
static cs_status take_word(csi_lexer *l, const char **name)
{
    *name = l->now.name;
    return csi_lexer_expect(l, WORD, NULL);
}

/* "endfor %}" after a body that ended there. */
static cs_status close_block(csi_lexer *l, const char *name)
{
    CS_TRY(csi_lexer_expect(l, WORD, name));
    return close_tag(l);
}

static cs_status parse_target(csi_lexer *l, bool may_have_attribute,
                              csi_node **out)
{
    csi_node *first = NULL;
    csi_node *tuple = NULL;
    csi_node **to = NULL;
    bool more = false;

    if (!csi_lexer_is(l, WORD, NULL)) {
        return csi_lexer_fail(l, CS_ERR_FORMAT, "wanted a name to set");
    }
    CS_TRY(csi_parse_primary(l, &first));
    if (may_have_attribute && csi_lexer_is(l, OP, ".")) {
        csi_node *node = NULL;

        CS_TRY(csi_node_new(l, CSI_NODE_ATTRIBUTE, &node));
        CS_TRY(csi_lexer_advance(l));
        node->a = first;
        CS_TRY(take_word(l, &node->name));
        *out = node;
        return CS_OK;
    }
    CS_TRY(csi_lexer_take(l, OP, ",", &more));
    if (!more) {
        *out = first;
        return first->kind == CSI_NODE_NAME
                   ? CS_OK
                   : csi_lexer_fail(l, CS_ERR_FORMAT, "wanted a name to set");
    }
    CS_TRY(csi_node_new(l, CSI_NODE_TUPLE, &tuple));
    tuple->list = first;
    to = &first->next;
    while (more && csi_lexer_is(l, WORD, NULL)) {
        CS_TRY(csi_parse_primary(l, to));
        to = &(*to)->next;
        CS_TRY(csi_lexer_take(l, OP, ",", &more));
    }
    for (const csi_node *name = first; name != NULL; name = name->next) {
        if (name->kind != CSI_NODE_NAME) {
            return csi_lexer_fail(l, CS_ERR_FORMAT, "wanted names to set");
        }
    }
    *out = tuple;
    return CS_OK;
}

static cs_status parse_for(csi_lexer *l, csi_node **out)
{
    static const char *const ENDS[] = {"endfor", "else"};
    csi_node *node = NULL;
    bool found = false;

    CS_TRY(csi_node_new(l, CSI_NODE_FOR, &node));
    CS_TRY(parse_target(l, false, &node->a));
    CS_TRY(csi_lexer_expect(l, WORD, "in"));
    CS_TRY(csi_parse_or(l, &node->b));
    CS_TRY(csi_lexer_take(l, WORD, "if", &found));
    if (found) {
        CS_TRY(csi_parse_expression(l, &node->c));
    }
    if (csi_lexer_is(l, WORD, "recursive")) {
        return csi_lexer_fail(l, CS_ERR_UNSUPPORTED,
                              "unsupported: a recursive loop");
    }
    CS_TRY(close_tag(l));
    CS_TRY(parse_body(l, ENDS, 2, &node->body));
    CS_TRY(csi_lexer_take(l, WORD, "else", &found));
    if (found) {
        CS_TRY(close_tag(l));
        CS_TRY(parse_body(l, ENDS, 1, &node->other));
    }
    *out = node;
    return close_block(l, "endfor");
}

/* elif is an if inside of else. */
static cs_status parse_if(csi_lexer *l, csi_node **out)
{
    static const char *const ENDS[] = {"endif", "else", "elif"};
    csi_node *node = NULL;
    bool is_else = false;
    bool is_elif = false;

    CS_TRY(csi_node_new(l, CSI_NODE_IF, out));
    node = *out;
    CS_TRY(csi_parse_tuple(l, &node->a));
    CS_TRY(close_tag(l));
    CS_TRY(parse_body(l, ENDS, 3, &node->body));
    CS_TRY(csi_lexer_take(l, WORD, "elif", &is_elif));
    while (is_elif) {
        CS_TRY(csi_node_new(l, CSI_NODE_IF, &node->other));
        node = node->other;
        CS_TRY(csi_parse_tuple(l, &node->a));
        CS_TRY(close_tag(l));
        CS_TRY(parse_body(l, ENDS, 3, &node->body));
        CS_TRY(csi_lexer_take(l, WORD, "elif", &is_elif));
    }
    CS_TRY(csi_lexer_take(l, WORD, "else", &is_else));
    if (is_else) {
        CS_TRY(close_tag(l));
        CS_TRY(parse_body(l, ENDS, 1, &node->other));
    }
    return close_block(l, "endif");
}

static cs_status parse_set(csi_lexer *l, csi_node **out)
{
    static const char *const ENDS[] = {"endset"};
    csi_node *node = NULL;
    bool is_value = false;

    CS_TRY(csi_node_new(l, CSI_NODE_SET, &node));
    *out = node;
    CS_TRY(parse_target(l, true, &node->a));
    CS_TRY(csi_lexer_take(l, OP, "=", &is_value));
    if (is_value) {
        CS_TRY(csi_parse_tuple(l, &node->b));
        return close_tag(l);
    }
    CS_TRY(csi_parse_filters(l, NULL, &node->c));
    CS_TRY(close_tag(l));
    CS_TRY(parse_body(l, ENDS, 1, &node->body));
    return close_block(l, "endset");
}

static cs_status parse_macro(csi_lexer *l, csi_node **out)
{
    static const char *const ENDS[] = {"endmacro"};
    csi_node *node = NULL;
    csi_node **to = NULL;
    bool done = false;

    CS_TRY(csi_node_new(l, CSI_NODE_MACRO, &node));
    *out = node;
    to = &node->list;
    CS_TRY(take_word(l, &node->name));
    CS_TRY(csi_lexer_expect(l, OP, "("));
    CS_TRY(csi_lexer_take(l, OP, ")", &done));
    while (!done) {
        bool has_default = false;

        CS_TRY(csi_node_new(l, CSI_NODE_PARAMETER, to));
        CS_TRY(take_word(l, &(*to)->name));
        CS_TRY(csi_lexer_take(l, OP, "=", &has_default));
        if (has_default) {
            CS_TRY(csi_parse_expression(l, &(*to)->a));
        }
        to = &(*to)->next;
        CS_TRY(csi_lexer_take(l, OP, ")", &done));
        if (!done) {
            CS_TRY(csi_lexer_expect(l, OP, ","));
        }
    }
    CS_TRY(close_tag(l));
    CS_TRY(parse_body(l, ENDS, 1, &node->body));
    return close_block(l, "endmacro");
}

static cs_status parse_generation(csi_lexer *l, csi_node **out)
{
    static const char *const ENDS[] = {"endgeneration"};

    CS_TRY(csi_node_new(l, CSI_NODE_GENERATION, out));
    CS_TRY(close_tag(l));
    CS_TRY(parse_body(l, ENDS, 1, &(*out)->body));
    l->jinja->has_generation = true;
    return close_block(l, "endgeneration");
}

static cs_status parse_single(csi_lexer *l, csi_node_kind kind, csi_node **out)
{
    CS_TRY(csi_node_new(l, kind, out));
    return close_tag(l);
}

static cs_status parse_statement(csi_lexer *l, csi_node **out)
{
    static const char *const REFUSED[] = {"include",    "import", "from",
                                          "extends",    "block",  "call",
                                          "filter",     "with",   "do",
                                          "autoescape", "trans",  "debug"};
    const char *name = NULL;

    CS_TRY(take_word(l, &name));
    if (strcmp(name, "for") == 0) {
        return parse_for(l, out);
    }
    if (strcmp(name, "if") == 0) {
        return parse_if(l, out);
    }
    if (strcmp(name, "set") == 0) {
        return parse_set(l, out);
    }
    if (strcmp(name, "macro") == 0) {
        return parse_macro(l, out);
    }
    if (strcmp(name, "generation") == 0) {
        return parse_generation(l, out);
    }
    if (strcmp(name, "break") == 0) {
        return parse_single(l, CSI_NODE_BREAK, out);
    }
    if (strcmp(name, "continue") == 0) {
        return parse_single(l, CSI_NODE_CONTINUE, out);
    }
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        if (strcmp(name, REFUSED[i]) == 0) {
            return csi_lexer_fail(l, CS_ERR_UNSUPPORTED,
                                  "unsupported: {%% %s %%}", name);
        }
    }
    return csi_lexer_fail(l, CS_ERR_FORMAT, "unknown tag '%.40s'", name);
}

static cs_status parse_node(csi_lexer *l, csi_node **out)
{
    if (l->now.kind == CSI_LEXEME_TEXT) {
        CS_TRY(csi_node_new(l, CSI_NODE_TEXT, out));
        (*out)->text = l->now.text;
        (*out)->n_text = l->now.n_text;
        return csi_lexer_advance(l);
    }
    if (l->now.kind == CSI_LEXEME_PRINT) {
        CS_TRY(csi_node_new(l, CSI_NODE_OUTPUT, out));
        CS_TRY(csi_lexer_advance(l));
        CS_TRY(csi_parse_tuple(l, &(*out)->a));
        return csi_lexer_expect(l, CSI_LEXEME_PRINT_END, NULL);
    }
    CS_TRY(csi_lexer_expect(l, CSI_LEXEME_OPEN, NULL));
    return parse_statement(l, out);
}

/* Statements up to "{%" and one of the ends; "{%" is taken, the end's name is
 * not. Without ends: up to the end of the template. */
static cs_status parse_body(csi_lexer *l, const char *const *ends,
                            size_t n_ends, csi_node **out)
{
    CS_TRY(csi_parse_enter(l));
    while (l->now.kind != CSI_LEXEME_END) {
        for (size_t i = 0; i < n_ends; i++) {
            if (l->now.kind == CSI_LEXEME_OPEN && l->next.kind == WORD &&
                strcmp(l->next.name, ends[i]) == 0) {
                l->depth--;
                return csi_lexer_advance(l);
            }
        }
        CS_TRY(parse_node(l, out));
        out = &(*out)->next;
    }
    l->depth--;
    return n_ends == 0 ? CS_OK
                       : csi_lexer_fail(l, CS_ERR_FORMAT,
                                        "the template ends, wanted {%% %s %%}",
                                        ends[0]);
}

cs_status csi_jinja_compile(const char *text, size_t n_bytes, const char *where,
                            csi_jinja **out)
{
    cs_status st = CS_OK;
    csi_lexer lexer;
    csi_jinja *jinja = csi_calloc(1, sizeof *jinja);

    CS_CHECK(jinja != NULL, CS_ERR_NOMEM, "%s: no memory", where);
    csi_arena_init(&jinja->arena, 0);
    jinja->where = csi_arena_strdup(&jinja->arena, where);
    CS_CHECK_GOTO(done, jinja->where != NULL, CS_ERR_NOMEM, "%s: no memory",
                  where);
    CS_CHECK_GOTO(done, n_bytes <= CSI_JINJA_MAX_BYTES, CS_ERR_FORMAT,
                  "%s: a template of %zu bytes, at most %d", where, n_bytes,
                  CSI_JINJA_MAX_BYTES);
    CS_TRY_GOTO(done, csi_lexer_init(&lexer, jinja, text, n_bytes));
    CS_TRY_GOTO(done, parse_body(&lexer, NULL, 0, &jinja->root));
    *out = jinja;
    jinja = NULL;
done:
    csi_jinja_destroy(&jinja);
    return st;
}

void csi_jinja_destroy(csi_jinja **jinja)
{
    if (*jinja != NULL) {
        csi_arena_fini(&(*jinja)->arena);
        csi_free(*jinja);
        *jinja = NULL;
    }
}

bool csi_jinja_has_generation(const csi_jinja *jinja)
{
    return jinja->has_generation;
}
