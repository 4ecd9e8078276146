/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk over table and tree: every key of the tree must be in the table,
 * every field of the table gets a value (the tree's or its default), through
 * the same reader, so that a default can be nothing the reader would refuse.
 * The recursion follows the table, whose depth is ours, never the tree's.
 */
#include "field.h"

#include <string.h>

void csi_reader_fail(const csi_reader *reader, const csi_node *node,
                     bool of_key, cs_status code, const char *format, ...)
{
    char place[CSI_PLACE_BYTES];
    char sentence[CS_ERROR_MESSAGE_BYTES - CSI_PLACE_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    (void)cs_fail_at(__FILE__, __LINE__, __func__, code, "%s%s",
                     csi_node_place(node, reader->path, of_key, place),
                     sentence);
}

static cs_status refuse_key(const csi_reader *reader,
                            const csi_field_group *group, const csi_node *node,
                            const csi_key *key)
{
    const csi_key here = {.parent = key, .name = node->key};
    char name[CSI_KEY_BYTES];
    char buf[128];
    const char *hint = csi_field_elsewhere(node->key, buf);

    if (hint[0] == '\0') {
        hint = csi_field_nearest(group, node->key);
    }
    return CSI_READER_FAIL(reader, node, true, CS_ERR_ARG,
                           "unknown key '%s'%s%s%s", csi_key_text(&here, name),
                           hint != NULL ? "; did you mean '" : "",
                           hint != NULL ? hint : "", hint != NULL ? "'?" : "");
}

/* A node for the default of a field, at the place of its mapping. */
static cs_status make_fallback(const csi_reader *reader, const csi_field *field,
                               const csi_node *map, csi_node **out)
{
    const char *const text = field->fallback;

    if (field->type == CSI_FIELD_GROUP || field->type == CSI_FIELD_MAP) {
        return csi_node_empty(reader->scratch, CSI_NODE_MAP, map, out);
    }
    if (strcmp(text, "[]") == 0) {
        return csi_node_empty(reader->scratch, CSI_NODE_LIST, map, out);
    }
    if (text[0] == '[') {
        const csi_node_source source = {.arena = reader->scratch,
                                        .path = field->name,
                                        .yaml = text,
                                        .n_bytes = strlen(text)};
        return csi_node_parse(&source, out);
    }
    CS_TRY(csi_node_scalar(reader->scratch, map, text, out));
    (*out)->origin = NULL; /* a path in a default is the recipe's */
    return CS_OK;
}

static cs_status check_key(const csi_reader *reader,
                           const csi_field_group *group, const csi_node *node,
                           const csi_key *key)
{
    enum {
        MAX_NAME = 63
    };
    const char *const name = node->key;
    const size_t n_good = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    char text[CSI_KEY_BYTES];

    if (group->key_rule == CSI_KEY_PATTERN ||
        (name[0] >= 'a' && name[0] <= 'z' && name[n_good] == '\0' &&
         n_good <= MAX_NAME)) {
        return CS_OK;
    }
    return CSI_READER_FAIL(reader, node, true, CS_ERR_ARG,
                           "%s: wanted a name [a-z][a-z0-9_]* of at most %d "
                           "bytes, got '%.80s'",
                           csi_key_text(key, text), (int)MAX_NAME, name);
}

/* One entry of a MAP or LIST into its zeroed place. */
static cs_status read_entry(const csi_reader *reader, const csi_field *field,
                            const csi_node *node, const csi_key *key,
                            char *entry)
{
    const csi_field_group *const group = field->group;

    if (field->type == CSI_FIELD_MAP) {
        char *const name = csi_arena_strdup(reader->arena, node->key);

        CS_CHECK(name != NULL, CS_ERR_NOMEM, "out of memory for a key");
        *(const char **)(void *)(entry + group->key_offset) = name;
        CS_TRY(check_key(reader, group, node, key->parent));
    }
    CS_TRY(csi_read_group(reader, group, node, key, entry));
    return CS_OK;
}

static cs_status read_entries(const csi_reader *reader, const csi_field *field,
                              const csi_node *node, const csi_key *key,
                              char *owner)
{
    const size_t n_bytes = field->group->bytes;
    const bool is_map = field->type == CSI_FIELD_MAP;
    char name[CSI_KEY_BYTES];
    int32_t index = 0;

    if (node->kind != (is_map ? CSI_NODE_MAP : CSI_NODE_LIST)) {
        return csi_read_refuse(reader, field, node, key);
    }
    if (node->n_children < (int32_t)field->min ||
        node->n_children > (int32_t)field->max) {
        return CSI_READER_FAIL(reader, node, false, CS_ERR_ARG,
                               "%s: wanted %d to %d entries, got %d",
                               csi_key_text(key, name), (int)field->min,
                               (int)field->max, node->n_children);
    }
    char *const entries =
        csi_arena_calloc(reader->arena, (size_t)node->n_children * n_bytes);

    CS_CHECK(entries != NULL, CS_ERR_NOMEM, "out of memory for recipe '%s'",
             field->name);
    for (const csi_node *c = node->first; c != NULL; c = c->next, index++) {
        const csi_key here = {.parent = key,
                              .name = is_map ? c->key : NULL,
                              .index = index};

        CS_TRY(read_entry(reader, field, c, &here,
                          entries + (size_t)index * n_bytes));
    }
    *(void **)(void *)(owner + field->offset) = entries;
    *(int32_t *)(void *)(owner + field->count_offset) = index;
    return CS_OK;
}

static cs_status read_field(const csi_reader *reader, const csi_field *field,
                            const csi_node *map, const csi_key *parent,
                            void *owner)
{
    const csi_key key = {.parent = parent, .name = field->name};
    csi_node *node = csi_node_find(map, field->name);
    char name[CSI_KEY_BYTES];
    char wanted[CSI_WANTED_BYTES];

    if (node == NULL && (field->flags & CSI_FIELD_REQUIRED) != 0) {
        return CSI_READER_FAIL(reader, map, true, CS_ERR_ARG,
                               "%s: missing; wanted %s",
                               csi_key_text(&key, name),
                               csi_field_wanted(field, wanted));
    }
    if (node == NULL) {
        CS_TRY(make_fallback(reader, field, map, &node));
    }
    switch (field->type) {
    case CSI_FIELD_GROUP:
        return csi_read_group(reader, field->group, node, &key, owner);
    case CSI_FIELD_MAP:
    case CSI_FIELD_LIST:
        return read_entries(reader, field, node, &key, owner);
    default:
        return csi_read_value(reader, field, node, &key, owner);
    }
}

cs_status csi_read_group(const csi_reader *reader, const csi_field_group *group,
                         const csi_node *node, const csi_key *key, void *owner)
{
    char name[CSI_KEY_BYTES];
    char got[CSI_GOT_BYTES];

    if (node->kind != CSI_NODE_MAP) {
        return CSI_READER_FAIL(reader, node, false, CS_ERR_ARG,
                               "%s%swanted a mapping, got %s",
                               csi_key_text(key, name), key != NULL ? ": " : "",
                               csi_node_got(node, got));
    }
    for (const csi_node *c = node->first; c != NULL; c = c->next) {
        if (csi_field_find(group, c->key) == NULL) {
            return refuse_key(reader, group, c, key);
        }
    }
    for (int32_t i = 0; i < group->n_fields; i++) {
        CS_TRY(read_field(reader, &group->fields[i], node, key, owner));
    }
    return CS_OK;
}
