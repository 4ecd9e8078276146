/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_TEMPLATE_VALUE_H
#define CS_DATA_TEMPLATE_VALUE_H
/*
 * What a running Jinja template computes with: Python's values, as far as chat
 * templates use them. All memory of a run is one arena, freed when it ends;
 * values are never changed after they are made, except for a namespace.
 */
#include "template_node.h"

typedef struct csi_jstr {
    const char *bytes;     /* valid UTF-8 */
    const uint16_t *marks; /* of each byte, whose words they are; NULL = 0 */
    size_t n;
} csi_jstr;

typedef enum csi_value_kind {
    CSI_VALUE_UNDEFINED, /* name */
    CSI_VALUE_NONE,
    CSI_VALUE_BOOL, /* integer */
    CSI_VALUE_INT,
    CSI_VALUE_FLOAT,
    CSI_VALUE_STRING,
    CSI_VALUE_LIST,
    CSI_VALUE_TUPLE,     /* list */
    CSI_VALUE_DICT,      /* dict */
    CSI_VALUE_NAMESPACE, /* dict */
    CSI_VALUE_LOOP,
    CSI_VALUE_MACRO,
    CSI_VALUE_FUNCTION, /* name: a global */
    CSI_VALUE_METHOD    /* name, of *self */
} csi_value_kind;

typedef struct csi_value {
    csi_value_kind kind;
    const char *name;
    union {
        int64_t integer;
        double number;
        csi_jstr string;
        const struct csi_jlist *list;
        struct csi_jdict *dict;
        struct csi_jloop *loop;
        const struct csi_jmacro *macro;
        const struct csi_value *self;
    };
} csi_value;

typedef struct csi_jlist {
    csi_value *items;
    size_t n;
} csi_jlist;

/* In the order of insertion. */
typedef struct csi_jdict {
    csi_value *keys, *values;
    size_t n, capacity;
} csi_jdict;

typedef struct csi_jloop {
    const csi_jlist *items;
    size_t at;
    int32_t depth;
    csi_value changed; /* what loop.changed was asked last */
    bool has_changed;
} csi_jloop;

typedef struct csi_scope {
    struct csi_scope *outer;
    struct csi_variable *first;
} csi_scope;

typedef struct csi_variable {
    const char *name;
    csi_value value;
    struct csi_variable *next;
} csi_variable;

typedef struct csi_jmacro {
    const csi_node *node;
    csi_scope *scope; /* where it was defined */
} csi_jmacro;

/* One run. */
typedef struct csi_eval {
    const csi_jinja *jinja;
    csi_arena arena;
    size_t n_bytes; /* taken from the arena */
    int64_t n_steps;
    int32_t depth, n_loops;
    int32_t line;
    int64_t now_s;
    csi_scope *scope;
    csi_jinja_text *out; /* where output goes at present */
} csi_eval;

typedef struct csi_arguments {
    csi_value *values;
    const char **names; /* NULL = by place */
    size_t n;
} csi_arguments;

/* ---- errors, memory, bounds ---- */

/* "<where>:<line>: sentence"; the code, so that checkers see that it is one. */
#define CSI_JINJA_FAIL(e, code, ...) \
    ((void)csi_jinja_fail((e), (code), __VA_ARGS__), (code))
cs_status csi_jinja_fail(const csi_eval *e, cs_status code, const char *format,
                         ...) CS_PRINTF(3, 4);
CS_NODISCARD cs_status csi_jinja_alloc(csi_eval *e, size_t n_bytes, void **out);
CS_NODISCARD cs_status csi_jinja_step(csi_eval *e);
/* Work that is in proportion to a string, as steps. */
CS_NODISCARD cs_status csi_jinja_charge(csi_eval *e, size_t n_bytes,
                                        size_t times);
/* A step that goes one level down; e->depth-- on the way back. */
CS_NODISCARD cs_status csi_jinja_enter(csi_eval *e);

/* ---- output ---- */

CS_NODISCARD cs_status csi_jinja_write(csi_eval *e, csi_jinja_text *to,
                                       csi_jstr text);
/* The text's content as a string value. */
CS_NODISCARD cs_status csi_jinja_text_string(csi_eval *e,
                                             const csi_jinja_text *text,
                                             csi_value *out);

/* ---- making values ---- */

csi_jstr csi_jstr_of(const char *text);
csi_jstr csi_jstr_part(csi_jstr s, size_t begin, size_t end);
csi_value csi_value_string(csi_jstr s);
csi_value csi_value_text(const char *text); /* a literal */
csi_value csi_value_int(int64_t i);
csi_value csi_value_bool(bool b);
csi_value csi_value_none(void);
csi_value csi_value_undefined(const char *name);
CS_NODISCARD cs_status csi_value_list(csi_eval *e, csi_value_kind kind,
                                      size_t n, csi_value *out,
                                      csi_value **items);
CS_NODISCARD cs_status csi_value_dict(csi_eval *e, csi_value_kind kind,
                                      csi_value *out);
CS_NODISCARD cs_status csi_dict_set(csi_eval *e, csi_jdict *dict, csi_value key,
                                    csi_value value);
bool csi_dict_get(const csi_jdict *dict, const csi_value *key, csi_value *out);
/* mark 0: the strings of element i of an array under "messages" get i + 1. */
CS_NODISCARD cs_status csi_value_from_json(csi_eval *e, const json_t *json,
                                           uint16_t mark, csi_value *out);

/* ---- asking values ---- */

const char *csi_value_type(const csi_value *v); /* Python's name */
bool csi_value_is(const csi_value *v, const char *text);
bool csi_value_truth(const csi_value *v);
bool csi_value_equal(const csi_value *a, const csi_value *b);
bool csi_value_is_number(const csi_value *v); /* bool too */
double csi_value_number(const csi_value *v);
bool csi_value_is_sequence(const csi_value *v); /* LIST or TUPLE */
/* < 0, 0, > 0; an error where Python has none. */
CS_NODISCARD cs_status csi_value_compare(csi_eval *e, const csi_value *a,
                                         const csi_value *b, int *out);
CS_NODISCARD cs_status csi_value_contains(csi_eval *e, const csi_value *in,
                                          const csi_value *item, bool *out);
/* str(v) and repr(v), appended. */
CS_NODISCARD cs_status csi_value_print(csi_eval *e, csi_jinja_text *to,
                                       const csi_value *v);
CS_NODISCARD cs_status csi_value_to_string(csi_eval *e, const csi_value *v,
                                           csi_jstr *out);
/* What a loop goes over: items, keys, letters. */
CS_NODISCARD cs_status csi_value_items(csi_eval *e, const csi_value *v,
                                       csi_jlist *out);

typedef struct csi_json_style {
    int64_t indent; /* -1 = one line */
    csi_jstr item_separator, key_separator;
    bool ascii;
} csi_json_style;
CS_NODISCARD cs_status csi_value_print_json(csi_eval *e, csi_jinja_text *to,
                                            const csi_value *v,
                                            const csi_json_style *style,
                                            int32_t depth);

/* ---- letters ---- */

bool csi_jinja_is_space(uint32_t code); /* Python's str.isspace */
size_t csi_jstr_length(csi_jstr s);     /* letters */
/* Byte at which letter `index` begins; s.n beyond the end. */
size_t csi_jstr_offset(csi_jstr s, size_t index);
/* First place of `part` at or behind `from`; SIZE_MAX = none. */
size_t csi_jstr_find(csi_jstr s, csi_jstr part, size_t from);
csi_jstr csi_jstr_strip(csi_jstr s, const csi_jstr *letters, bool left,
                        bool right);
typedef enum csi_case {
    CSI_CASE_LOWER,
    CSI_CASE_UPPER,
    CSI_CASE_CAPITAL, /* the first letter upper, the others lower */
    CSI_CASE_TITLE    /* so every word */
} csi_case;
CS_NODISCARD cs_status csi_jstr_case(csi_eval *e, csi_jstr s, csi_case to,
                                     csi_value *out);
CS_NODISCARD cs_status csi_jstr_replace(csi_eval *e, csi_jstr s, csi_jstr from,
                                        csi_jstr to, int64_t most,
                                        csi_value *out);
/* Simple case mapping of one letter; two for U+00DF upper. */
int csi_letter_case(uint32_t code, bool upper, char bytes[8]);

/* ---- evaluating (template_eval.c and its parts) ---- */

CS_NODISCARD cs_status csi_eval_node(csi_eval *e, const csi_node *node,
                                     csi_value *out);
CS_NODISCARD cs_status csi_eval_binary(csi_eval *e, const char *op,
                                       const csi_value *a, const csi_value *b,
                                       csi_value *out);
CS_NODISCARD cs_status csi_eval_attribute(csi_eval *e, const csi_value *of,
                                          const char *name, csi_value *out);
CS_NODISCARD cs_status csi_eval_item(csi_eval *e, const csi_value *of,
                                     const csi_value *key, csi_value *out);
CS_NODISCARD cs_status csi_eval_slice(csi_eval *e, const csi_value *of,
                                      const csi_value bounds[3],
                                      csi_value *out);
CS_NODISCARD cs_status csi_eval_filter(csi_eval *e, const char *name,
                                       const csi_value *value,
                                       const csi_arguments *args,
                                       csi_value *out);
CS_NODISCARD cs_status csi_eval_test(csi_eval *e, const char *name,
                                     const csi_value *value,
                                     const csi_arguments *args, bool *out);
CS_NODISCARD cs_status csi_eval_method(csi_eval *e, const csi_value *self,
                                       const char *name,
                                       const csi_arguments *args,
                                       csi_value *out);
/* Whether a string or dict has such a method; UNSUPPORTED for Python's others. */
CS_NODISCARD cs_status csi_eval_has_method(csi_eval *e, const csi_value *of,
                                           const char *name, bool *out);
CS_NODISCARD cs_status csi_eval_function(csi_eval *e, const char *name,
                                         const csi_arguments *args,
                                         csi_value *out);
bool csi_is_function(const char *name);
CS_NODISCARD cs_status csi_run_macro(csi_eval *e, const csi_jmacro *macro,
                                     const csi_arguments *args, csi_value *out);
/* A scope's variable; false = none of this name. */
bool csi_scope_get(const csi_scope *scope, const char *name, csi_value *out);
CS_NODISCARD cs_status csi_scope_set(csi_eval *e, csi_scope *scope,
                                     const char *name, csi_value value);

/* Argument `place` or `name`; NULL = not given. */
const csi_value *csi_argument(const csi_arguments *args, size_t place,
                              const char *name);
/* No more than n by place, names only from `names`. */
CS_NODISCARD cs_status csi_check_arguments(const csi_eval *e,
                                           const csi_arguments *args,
                                           const char *what, size_t n,
                                           const char *const *names);
CS_NODISCARD cs_status csi_argument_int(const csi_eval *e, const csi_value *v,
                                        const char *what, int64_t *out);
CS_NODISCARD cs_status csi_argument_string(const csi_eval *e,
                                           const csi_value *v, const char *what,
                                           csi_jstr *out);
#endif
