/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "dotted.key[0]=value" from the command line, put into the tree before
 * anything is checked: an override is a recipe line that remembers its
 * origin, so unknown keys, wrong types and ranges need no second code path.
 * Missing mappings and lists on the way are made; null counts as missing.
 */
#include "base/str.h"

#include "node.h"

#include <string.h>

typedef struct step {
    const char *key; /* NULL: an index */
    int32_t index;
} step;

typedef struct override {
    csi_arena *arena;
    const char *path; /* of the recipe, for errors */
    const char *text; /* the whole override */
    step steps[CSI_NODE_MAX_DEPTH];
    int32_t n_steps;
} override;

static cs_status add_step(override *o, step s)
{
    CS_CHECK(o->n_steps < CSI_NODE_MAX_DEPTH, CS_ERR_ARG,
             "override '%.80s': more than %d levels", o->text,
             (int)CSI_NODE_MAX_DEPTH);
    o->steps[o->n_steps++] = s;
    return CS_OK;
}

/* The digits of "[12]"; leaves *at behind the bracket. */
static cs_status take_index(override *o, const char **at)
{
    const char *c = *at + 1;
    int32_t index = 0;

    for (; *c >= '0' && *c <= '9' && index < CSI_NODE_MAX_COUNT; c++) {
        index = index * 10 + (*c - '0');
    }
    CS_CHECK(*c == ']' && c > *at + 1, CS_ERR_ARG,
             "override '%.80s': wanted an index such as [0]", o->text);
    *at = c + 1;
    return add_step(o, (step){.index = index});
}

/* A name and the indices behind it; leaves *at behind them. */
static cs_status take_name(override *o, const char **at)
{
    const size_t n_bytes = strcspn(*at, ".[=");

    CS_CHECK(n_bytes > 0 && n_bytes <= CSI_NODE_MAX_KEY, CS_ERR_ARG,
             "override '%.80s': a key of %zu bytes; wanted 1 to %d", o->text,
             n_bytes, (int)CSI_NODE_MAX_KEY);
    char *const key = csi_arena_alloc(o->arena, n_bytes + 1);

    CS_CHECK(key != NULL, CS_ERR_NOMEM, "out of memory for an override");
    memcpy(key, *at, n_bytes);
    key[n_bytes] = '\0';
    CS_TRY(add_step(o, (step){.key = key}));
    *at += n_bytes;
    while (**at == '[') {
        CS_TRY(take_index(o, at));
    }
    return CS_OK;
}

/* Splits what stands before '='. Returns where the value begins. */
static cs_status split_path(override *o, const char **value)
{
    const char *at = o->text;

    CS_CHECK(strchr(o->text, '=') != NULL, CS_ERR_ARG,
             "override '%.80s': wanted key=value, got no '='", o->text);
    CS_TRY(take_name(o, &at));
    while (*at == '.') {
        at++;
        CS_TRY(take_name(o, &at));
    }
    CS_CHECK(*at == '=', CS_ERR_ARG,
             "override '%.80s': wanted '.', '[' or '=' before '%.20s'", o->text,
             at);
    *value = at + 1;
    return CS_OK;
}

/* Makes `node` the wanted kind if it is null, or says what it is. */
static cs_status become(const override *o, csi_node *node, csi_node_kind kind)
{
    const bool is_null =
        node->kind == CSI_NODE_PLAIN && strcmp(node->text, "null") == 0;
    char got[CSI_GOT_BYTES];

    if (node->kind == kind) {
        return CS_OK;
    }
    CS_CHECK(is_null, CS_ERR_ARG, "override '%.80s': %s%s%s is %s, not a %s",
             o->text, node->key != NULL ? "'" : "",
             node->key != NULL ? node->key : "an entry",
             node->key != NULL ? "'" : "", csi_node_got(node, got),
             kind == CSI_NODE_MAP ? "mapping" : "list");
    node->kind = kind;
    node->text = NULL;
    node->origin = o->text;
    return CS_OK;
}

/* The child that the step names; a missing one is made as null. */
static cs_status enter(const override *o, csi_node *parent, const step *s,
                       csi_node **out)
{
    csi_node *child = NULL;
    const csi_node at = {.origin = o->text};

    if (s->key != NULL) {
        CS_TRY(become(o, parent, CSI_NODE_MAP));
        child = csi_node_find(parent, s->key);
    } else {
        CS_TRY(become(o, parent, CSI_NODE_LIST));
        CS_CHECK(s->index <= parent->n_children, CS_ERR_ARG,
                 "override '%.80s': index %d, but the list has %d entries",
                 o->text, s->index, parent->n_children);
        child = csi_node_entry(parent, s->index);
    }
    if (child == NULL) {
        CS_TRY(csi_node_scalar(o->arena, &at, "null", &child));
        child->key = s->key;
        csi_node_append(parent, child);
    }
    *out = child;
    return CS_OK;
}

cs_status csi_override_apply(csi_arena *arena, const char *path,
                             const char *text, csi_node *root)
{
    override o = {.arena = arena, .path = path};
    const char *yaml = NULL;
    csi_node *value = NULL;
    csi_node *node = root;

    o.text = csi_arena_strdup(arena, text);
    CS_CHECK(o.text != NULL, CS_ERR_NOMEM, "out of memory for an override");
    CS_TRY(split_path(&o, &yaml));

    const csi_node_source source = {.arena = arena,
                                    .path = path,
                                    .origin = o.text,
                                    .yaml = yaml,
                                    .n_bytes = strlen(yaml),
                                    .depth = o.n_steps};

    CS_TRY(csi_node_parse(&source, &value));
    for (int32_t i = 0; i < o.n_steps; i++) {
        CS_TRY(enter(&o, node, &o.steps[i], &node));
    }
    value->key = node->key;
    value->next = node->next;
    *node = *value;
    return CS_OK;
}
