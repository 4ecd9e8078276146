/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the statements of a template. Scopes are Jinja's: a loop's body, a macro
 * and a set block have their own, an if has not; what a loop sets is gone after
 * it, which is what namespaces are for.
 */
#include "base/alloc.h"

#include "template_value.h"

#include <string.h>

typedef enum flow {
    FLOW_ON,
    FLOW_BREAK,
    FLOW_CONTINUE
} flow;

static cs_status run_body(csi_eval *e, const csi_node *body, flow *out);

/* ---- scopes ---- */

bool csi_scope_get(const csi_scope *scope, const char *name, csi_value *out)
{
    for (; scope != NULL; scope = scope->outer) {
        for (const csi_variable *v = scope->first; v != NULL; v = v->next) {
            if (strcmp(v->name, name) == 0) {
                *out = v->value;
                return true;
            }
        }
    }
    return false;
}

cs_status csi_scope_set(csi_eval *e, csi_scope *scope, const char *name,
                        csi_value value)
{
    void *memory = NULL;

    for (csi_variable *v = scope->first; v != NULL; v = v->next) {
        if (strcmp(v->name, name) == 0) {
            v->value = value;
            return CS_OK;
        }
    }
    CS_TRY(csi_jinja_alloc(e, sizeof(csi_variable), &memory));
    *(csi_variable *)memory =
        (csi_variable){.name = name, .value = value, .next = scope->first};
    scope->first = memory;
    return CS_OK;
}

static cs_status new_scope(csi_eval *e, csi_scope *outer, csi_scope **out)
{
    void *memory = NULL;

    CS_TRY(csi_jinja_alloc(e, sizeof(csi_scope), &memory));
    *out = memory;
    **out = (csi_scope){.outer = outer};
    return CS_OK;
}

/* A name, names of a tuple, or an attribute of a namespace. */
static cs_status assign(csi_eval *e, const csi_node *target, csi_value value)
{
    csi_value space;
    csi_jlist items;
    size_t i = 0;

    if (target->kind == CSI_NODE_NAME) {
        return csi_scope_set(e, e->scope, target->name, value);
    }
    if (target->kind == CSI_NODE_ATTRIBUTE) {
        CS_TRY(csi_eval_node(e, target->a, &space));
        if (space.kind != CSI_VALUE_NAMESPACE) {
            return CSI_JINJA_FAIL(e, CS_ERR_ARG,
                                  "only a namespace has attributes to set");
        }
        return csi_dict_set(e, space.dict, csi_value_text(target->name), value);
    }
    CS_TRY(csi_value_items(e, &value, &items));
    for (const csi_node *name = target->list; name != NULL; name = name->next) {
        if (i < items.n) {
            CS_TRY(csi_scope_set(e, e->scope, name->name, items.items[i]));
        }
        i++;
    }
    return i == items.n
               ? CS_OK
               : CSI_JINJA_FAIL(e, CS_ERR_ARG, "%zu values for %zu names",
                                items.n, i);
}

/* ---- output that is kept ---- */

/* Runs a body with its own output, which becomes a string. */
static cs_status capture(csi_eval *e, const csi_node *body, csi_value *out)
{
    csi_jinja_text text = {.n_bytes = 0};
    csi_jinja_text *const outer = e->out;
    cs_status st = CS_OK;
    flow now = FLOW_ON;

    e->out = &text;
    CS_TRY_GOTO(done, run_body(e, body, &now));
    CS_TRY_GOTO(done, csi_jinja_text_string(e, &text, out));
done:
    e->out = outer;
    csi_jinja_text_fini(&text);
    return st;
}

cs_status csi_run_macro(csi_eval *e, const csi_jmacro *macro,
                        const csi_arguments *args, csi_value *out)
{
    csi_scope *const kept = e->scope;
    csi_scope *scope = NULL;
    size_t i = 0;
    size_t n_used = 0;

    CS_TRY(csi_jinja_enter(e));
    CS_TRY(new_scope(e, macro->scope, &scope));
    for (const csi_node *p = macro->node->list; p != NULL; p = p->next, i++) {
        const csi_value *const given = csi_argument(args, i, p->name);
        csi_value value = csi_value_undefined(p->name);

        n_used += given != NULL;
        if (given != NULL) {
            value = *given;
        } else if (p->a != NULL) {
            e->scope = scope;
            CS_TRY(csi_eval_node(e, p->a, &value));
        }
        CS_TRY(csi_scope_set(e, scope, p->name, value));
    }
    if (n_used != args->n) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG,
                              "macro %.40s: %zu arguments, %zu of them fit",
                              macro->node->name, args->n, n_used);
    }
    e->scope = scope;
    CS_TRY(capture(e, macro->node->body, out));
    e->scope = kept;
    e->depth--;
    return CS_OK;
}

/* ---- statements ---- */

/* What the loop goes over: all items, or those that its "if" takes. */
static cs_status loop_items(csi_eval *e, const csi_node *node, csi_jlist *out)
{
    csi_value all;
    csi_jlist from;
    csi_value list;
    csi_value *items = NULL;
    csi_scope *const outer = e->scope;
    csi_scope *scope = NULL;
    csi_value taken;
    size_t n = 0;

    CS_TRY(csi_eval_node(e, node->b, &all));
    CS_TRY(csi_value_items(e, &all, &from));
    *out = from;
    if (node->c == NULL) {
        return CS_OK;
    }
    CS_TRY(csi_value_list(e, CSI_VALUE_LIST, from.n, &list, &items));
    CS_TRY(new_scope(e, outer, &scope));
    e->scope = scope;
    for (size_t i = 0; i < from.n; i++) {
        CS_TRY(assign(e, node->a, from.items[i]));
        CS_TRY(csi_eval_node(e, node->c, &taken));
        if (csi_value_truth(&taken)) {
            items[n++] = from.items[i];
        }
    }
    e->scope = outer;
    *out = (csi_jlist){.items = items, .n = n};
    return CS_OK;
}

static cs_status run_for(csi_eval *e, const csi_node *node)
{
    csi_scope *const outer = e->scope;
    void *memory = NULL;
    csi_jlist *items = NULL;
    csi_jloop *loop = NULL;
    flow now = FLOW_ON;

    CS_TRY(csi_jinja_alloc(e, sizeof *items, &memory));
    items = memory;
    CS_TRY(csi_jinja_alloc(e, sizeof *loop, &memory));
    loop = memory;
    *loop = (csi_jloop){.items = items};
    CS_TRY(loop_items(e, node, items));
    if (items->n == 0) {
        return run_body(e, node->other, &now);
    }
    for (; loop->at < items->n && now != FLOW_BREAK; loop->at++) {
        CS_TRY(csi_jinja_step(e));
        CS_TRY(csi_jinja_alloc(e, sizeof(csi_scope), &memory));
        e->scope = memory;
        *e->scope = (csi_scope){.outer = outer};
        CS_TRY(csi_scope_set(e, e->scope, "loop",
                             (csi_value){.kind = CSI_VALUE_LOOP,
                                         .loop = loop}));
        CS_TRY(assign(e, node->a, items->items[loop->at]));
        now = FLOW_ON;
        CS_TRY(run_body(e, node->body, &now));
    }
    e->scope = outer;
    return CS_OK;
}

static cs_status run_set(csi_eval *e, const csi_node *node)
{
    csi_scope *const outer = e->scope;
    csi_value value;

    if (node->b != NULL) {
        CS_TRY(csi_eval_node(e, node->b, &value));
    } else {
        CS_TRY(new_scope(e, outer, &e->scope));
        CS_TRY(capture(e, node->body, &value));
        e->scope = outer;
        if (node->c != NULL) {
            CS_TRY(csi_scope_set(e, e->scope, "(set)", value));
            CS_TRY(csi_eval_node(e, node->c, &value));
        }
    }
    return assign(e, node->a, value);
}

/* Text inside of {% generation %} is what the assistant says. */
static cs_status run_generation(csi_eval *e, const csi_node *node, flow *out)
{
    csi_jinja_text *const t = e->out;
    const size_t begin = t->n_bytes;

    CS_TRY(run_body(e, node->body, out));
    if (t->n_spans == t->spans_capacity) {
        const int32_t capacity = 2 * t->spans_capacity + 8;
        csi_span *const grown =
            csi_realloc(t->spans, (size_t)capacity * sizeof *grown);

        CS_CHECK(grown != NULL, CS_ERR_NOMEM, "%s: no memory", e->jinja->where);
        t->spans = grown;
        t->spans_capacity = capacity;
    }
    t->spans[t->n_spans++] =
        (csi_span){.begin = (int32_t)begin, .end = (int32_t)t->n_bytes};
    return CS_OK;
}

static cs_status define_macro(csi_eval *e, const csi_node *node)
{
    void *macro = NULL;

    CS_TRY(csi_jinja_alloc(e, sizeof(csi_jmacro), &macro));
    *(csi_jmacro *)macro = (csi_jmacro){.node = node, .scope = e->scope};
    return csi_scope_set(e, e->scope, node->name,
                         (csi_value){.kind = CSI_VALUE_MACRO, .macro = macro});
}

static cs_status run_if(csi_eval *e, const csi_node *node, flow *out)
{
    csi_value condition;

    CS_TRY(csi_eval_node(e, node->a, &condition));
    return run_body(e, csi_value_truth(&condition) ? node->body : node->other,
                    out);
}

static cs_status run_node(csi_eval *e, const csi_node *node, flow *out)
{
    csi_value value;

    e->line = node->line;
    switch (node->kind) {
    case CSI_NODE_TEXT:
        return csi_jinja_write(e, e->out,
                               (csi_jstr){.bytes = node->text,
                                          .n = node->n_text});
    case CSI_NODE_OUTPUT:
        CS_TRY(csi_eval_node(e, node->a, &value));
        return csi_value_print(e, e->out, &value);
    case CSI_NODE_FOR:
        return run_for(e, node);
    case CSI_NODE_IF:
        return run_if(e, node, out);
    case CSI_NODE_SET:
        return run_set(e, node);
    case CSI_NODE_MACRO:
        return define_macro(e, node);
    case CSI_NODE_GENERATION:
        return run_generation(e, node, out);
    default:
        *out = node->kind == CSI_NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
        return CS_OK;
    }
}

static cs_status run_body(csi_eval *e, const csi_node *body, flow *out)
{
    CS_TRY(csi_jinja_enter(e));
    for (const csi_node *node = body; node != NULL && *out == FLOW_ON;
         node = node->next) {
        CS_TRY(csi_jinja_step(e));
        CS_TRY(run_node(e, node, out));
    }
    e->depth--;
    return CS_OK;
}

static cs_status set_context(csi_eval *e, const json_t *context)
{
    csi_value all;

    CS_TRY(csi_value_from_json(e, context, 0, &all));
    if (all.kind != CSI_VALUE_DICT) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "the context is no object");
    }
    for (size_t i = 0; i < all.dict->n; i++) {
        CS_TRY(csi_scope_set(e, e->scope, all.dict->keys[i].string.bytes,
                             all.dict->values[i]));
    }
    return CS_OK;
}

cs_status csi_jinja_render(const csi_jinja *jinja, const json_t *context,
                           int64_t now_s, csi_jinja_text *out)
{
    cs_status st = CS_OK;
    csi_scope scope = {.first = NULL};
    csi_jinja_text text = {.n_bytes = 0};
    csi_eval e = {.jinja = jinja,
                  .now_s = now_s,
                  .scope = &scope,
                  .out = &text};
    flow now = FLOW_ON;

    csi_arena_init(&e.arena, 0);
    CS_TRY_GOTO(done, set_context(&e, context));
    CS_TRY_GOTO(done, csi_jinja_write(&e, &text, csi_jstr_of("")));
    CS_TRY_GOTO(done, run_body(&e, jinja->root, &now));
    *out = text;
    text = (csi_jinja_text){.n_bytes = 0};
done:
    csi_jinja_text_fini(&text);
    csi_arena_fini(&e.arena);
    return st;
}
