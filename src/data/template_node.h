/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_TEMPLATE_NODE_H
#define CS_DATA_TEMPLATE_NODE_H
/*
 * A parsed Jinja template: a tree of nodes in one arena. template_lex.c cuts the
 * source into tokens, template_expression.c and template_parse.c build the
 * tree, template_eval.c and template_run.c walk it (template_filter.c, template_is.c,
 * template_method.c hold what they call).
 */
#include "template_jinja.h"

enum {
    CSI_JINJA_MAX_BYTES = 1 << 20,
    CSI_JINJA_MAX_DEPTH = 100
};

typedef enum csi_node_kind {
    /* statements; `body` and `other` are lists */
    CSI_NODE_TEXT,   /* text */
    CSI_NODE_OUTPUT, /* a */
    CSI_NODE_FOR,    /* a: target, b: what, c: filter or NULL */
    CSI_NODE_IF,     /* a: condition */
    CSI_NODE_SET,    /* a: target, b: value, or body */
    CSI_NODE_MACRO,  /* name, list of PARAMETER, body */
    CSI_NODE_BREAK,
    CSI_NODE_CONTINUE,
    CSI_NODE_GENERATION, /* body */
    /* expressions */
    CSI_NODE_NAME,   /* name */
    CSI_NODE_STRING, /* text */
    CSI_NODE_INT,    /* integer */
    CSI_NODE_FLOAT,  /* number */
    CSI_NODE_BOOL,   /* integer */
    CSI_NODE_NONE,
    CSI_NODE_LIST,       /* list */
    CSI_NODE_TUPLE,      /* list */
    CSI_NODE_DICT,       /* list of PAIR */
    CSI_NODE_PAIR,       /* a: key, b: value */
    CSI_NODE_ATTRIBUTE,  /* a, name */
    CSI_NODE_ITEM,       /* a, b: key or SLICE */
    CSI_NODE_SLICE,      /* a, b, c: begin, end, step or NULL */
    CSI_NODE_CALL,       /* a: what, list of arguments */
    CSI_NODE_KEYWORD,    /* name, a: value of an argument */
    CSI_NODE_PARAMETER,  /* name, a: default or NULL */
    CSI_NODE_FILTER,     /* a: value or NULL (of a set block), name, list */
    CSI_NODE_TEST,       /* a: value, name, list */
    CSI_NODE_NOT,        /* a */
    CSI_NODE_NEGATIVE,   /* a */
    CSI_NODE_POSITIVE,   /* a */
    CSI_NODE_BINARY,     /* name: + - * / // % ** ~, a, b */
    CSI_NODE_AND,        /* a, b */
    CSI_NODE_OR,         /* a, b */
    CSI_NODE_COMPARE,    /* a, list of OPERAND */
    CSI_NODE_OPERAND,    /* name: == != < <= > >= in not in, a */
    CSI_NODE_CONDITIONAL /* a: condition, b: then, c: else or NULL */
} csi_node_kind;

typedef struct csi_node {
    csi_node_kind kind;
    int32_t line;
    const char *name;
    const char *text;
    size_t n_text;
    int64_t integer;
    double number;
    struct csi_node *a, *b, *c;
    struct csi_node *list, *body, *other; /* first of linked lists */
    struct csi_node *next;
} csi_node;

struct csi_jinja {
    csi_arena arena;
    char *where;    /* in the arena */
    csi_node *root; /* first statement */
    bool has_generation;
};

/* ---- tokens ---- */

typedef enum csi_lexeme_kind {
    CSI_LEXEME_END,   /* of the template */
    CSI_LEXEME_TEXT,  /* between tags */
    CSI_LEXEME_OPEN,  /* {% */
    CSI_LEXEME_CLOSE, /* %} */
    CSI_LEXEME_PRINT, /* {{ */
    CSI_LEXEME_PRINT_END,
    CSI_LEXEME_NAME,
    CSI_LEXEME_STRING, /* text, escapes resolved */
    CSI_LEXEME_INT,
    CSI_LEXEME_FLOAT,
    CSI_LEXEME_OPERATOR /* name */
} csi_lexeme_kind;

typedef struct csi_lexeme {
    csi_lexeme_kind kind;
    int32_t line;
    const char *name; /* NAME, OPERATOR: in the arena */
    const char *text; /* TEXT, STRING */
    size_t n_text;
    int64_t integer;
    double number;
} csi_lexeme;

typedef struct csi_lexer {
    csi_jinja *jinja;
    const char *source; /* in the arena, one kind of newline */
    size_t n_source, at;
    int32_t line;
    enum {
        CSI_LEX_TEXT,
        CSI_LEX_BLOCK,
        CSI_LEX_PRINT
    } state;
    int32_t n_open;       /* brackets inside of a tag */
    bool line_starting;   /* what was read last ended with a newline */
    csi_lexeme now, next; /* one token ahead */
    int32_t depth;        /* of the parser */
} csi_lexer;

CS_NODISCARD cs_status csi_lexer_init(csi_lexer *lexer, csi_jinja *jinja,
                                      const char *text, size_t n_bytes);
CS_NODISCARD cs_status csi_lexer_advance(csi_lexer *lexer);
/* "<where>:<line>: sentence" at the present token. */
cs_status csi_lexer_fail(const csi_lexer *lexer, cs_status code,
                         const char *format, ...) CS_PRINTF(3, 4);
bool csi_lexer_is(const csi_lexer *lexer, csi_lexeme_kind kind,
                  const char *name);
/* Takes the token if it is this operator or name. */
CS_NODISCARD cs_status csi_lexer_take(csi_lexer *lexer, csi_lexeme_kind kind,
                                      const char *name, bool *taken);
CS_NODISCARD cs_status csi_lexer_expect(csi_lexer *lexer, csi_lexeme_kind kind,
                                        const char *name);

/* ---- parser ---- */

CS_NODISCARD cs_status csi_node_new(csi_lexer *lexer, csi_node_kind kind,
                                    csi_node **out);
/* Every level of recursion passes here. */
CS_NODISCARD cs_status csi_parse_enter(csi_lexer *lexer);
CS_NODISCARD cs_status csi_parse_expression(csi_lexer *lexer, csi_node **out);
/* Without "x if y": what a loop goes over. */
CS_NODISCARD cs_status csi_parse_or(csi_lexer *lexer, csi_node **out);
CS_NODISCARD cs_status csi_parse_primary(csi_lexer *lexer, csi_node **out);
/* One or more expressions; with commas a TUPLE. */
CS_NODISCARD cs_status csi_parse_tuple(csi_lexer *lexer, csi_node **out);
/* Filters behind a value (NULL for a set block). */
CS_NODISCARD cs_status csi_parse_filters(csi_lexer *lexer, csi_node *value,
                                         csi_node **out);
#endif
