/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree itself: making nodes, finding them, and saying where and what they
 * are. Children are a linked list, because every lookup is either by one of a
 * few known keys or a walk over all.
 */
#include "node.h"

#include <ctype.h>
#include <string.h>

enum {
    MAX_SHOWN = 48 /* bytes of a value that an error quotes */
};

cs_status csi_node_empty(csi_arena *arena, csi_node_kind kind,
                         const csi_node *at, csi_node **out)
{
    csi_node *const node = csi_arena_calloc(arena, sizeof *node);

    CS_CHECK(node != NULL, CS_ERR_NOMEM, "out of memory for a recipe value");
    node->kind = kind;
    if (at != NULL) {
        node->line = at->line;
        node->column = at->column;
        node->origin = at->origin;
    }
    *out = node;
    return CS_OK;
}

cs_status csi_node_scalar(csi_arena *arena, const csi_node *at,
                          const char *text, csi_node **out)
{
    csi_node *node = NULL;

    CS_TRY(csi_node_empty(arena, CSI_NODE_PLAIN, at, &node));
    node->text = csi_arena_strdup(arena, text);
    CS_CHECK(node->text != NULL, CS_ERR_NOMEM,
             "out of memory for a recipe value");
    *out = node;
    return CS_OK;
}

void csi_node_append(csi_node *parent, csi_node *child)
{
    if (parent->last == NULL) {
        parent->first = child;
    } else {
        parent->last->next = child;
    }
    parent->last = child;
    parent->n_children++;
}

csi_node *csi_node_find(const csi_node *map, const char *key)
{
    csi_node *child = map->kind == CSI_NODE_MAP ? map->first : NULL;

    while (child != NULL && strcmp(child->key, key) != 0) {
        child = child->next;
    }
    return child;
}

csi_node *csi_node_entry(const csi_node *list, int32_t index)
{
    csi_node *child = list->kind == CSI_NODE_LIST ? list->first : NULL;

    while (child != NULL && index > 0) {
        child = child->next;
        index--;
    }
    return child;
}

/* Copies text for an error: shortened at a character, nothing invisible. */
static void copy_shown(char *out, size_t capacity, const char *text)
{
    size_t n = strlen(text);
    const bool is_long = n > MAX_SHOWN;

    if (is_long) {
        n = MAX_SHOWN;
        while (n > 0 && ((unsigned char)text[n] & 0xc0U) == 0x80U) {
            n--;
        }
    }
    if (n + 4 > capacity) {
        n = capacity - 4;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
    }
    memcpy(out + n, is_long ? "..." : "", is_long ? 4 : 1);
}

const char *csi_node_place(const csi_node *node, const char *path, bool of_key,
                           char buf[CSI_PLACE_BYTES])
{
    char shown[MAX_SHOWN + 4];
    const bool at_key = of_key && node->key_line > 0;

    if (node->origin != NULL) {
        copy_shown(shown, sizeof shown, node->origin);
        (void)snprintf(buf, CSI_PLACE_BYTES, "override '%s': ", shown);
    } else {
        (void)snprintf(buf, CSI_PLACE_BYTES, "%.200s:%d:%d: ", path,
                       at_key ? node->key_line : node->line,
                       at_key ? node->key_column : node->column);
    }
    return buf;
}

const char *csi_node_got(const csi_node *node, char buf[CSI_GOT_BYTES])
{
    char shown[MAX_SHOWN + 4];

    switch (node->kind) {
    case CSI_NODE_MAP:
        (void)snprintf(buf, CSI_GOT_BYTES, "a mapping");
        break;
    case CSI_NODE_LIST:
        (void)snprintf(buf, CSI_GOT_BYTES, "a list");
        break;
    case CSI_NODE_QUOTED:
        copy_shown(shown, sizeof shown, node->text);
        (void)snprintf(buf, CSI_GOT_BYTES, "the text \"%s\"", shown);
        break;
    case CSI_NODE_PLAIN:
        copy_shown(shown, sizeof shown, node->text);
        if (node->text[0] == '\0') {
            (void)snprintf(buf, CSI_GOT_BYTES, "nothing");
        } else if (strcmp(node->text, "null") == 0) {
            (void)snprintf(buf, CSI_GOT_BYTES, "null");
        } else {
            (void)snprintf(buf, CSI_GOT_BYTES, "'%s'", shown);
        }
        break;
    }
    return buf;
}
