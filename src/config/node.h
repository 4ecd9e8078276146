/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CONFIG_NODE_H
#define CS_CONFIG_NODE_H
/*
 * A recipe as a tree of nodes that know where they were written, so that
 * overrides can be put into the tree and every later error can still name the
 * place. Built from libyaml events within fixed limits; lives in an arena.
 */
#include "cornstarch/status.h"

#include "base/arena.h"

enum {
    CSI_NODE_MAX_BYTES = 1 << 20,
    CSI_NODE_MAX_DEPTH = 32, /* mappings and lists inside each other */
    CSI_NODE_MAX_COUNT = 65536,
    CSI_NODE_MAX_KEY = 128 /* bytes; libyaml reads 1024 characters at most */
};

typedef enum csi_node_kind {
    CSI_NODE_PLAIN,  /* a scalar without quotes: number, word, null, ... */
    CSI_NODE_QUOTED, /* a scalar in quotes or a block scalar: always text */
    CSI_NODE_MAP,
    CSI_NODE_LIST
} csi_node_kind;

typedef struct csi_node csi_node;
struct csi_node {
    csi_node_kind kind;
    int32_t line, column;         /* of the value, from 1 */
    int32_t key_line, key_column; /* of the key, inside a mapping */
    const char *origin;           /* the override it comes from, or NULL */
    const char *key;              /* inside a mapping, else NULL */
    const char *text;             /* of a scalar, else NULL */
    csi_node *first, *last;       /* children of a mapping or list */
    csi_node *next;               /* the following sibling */
    int32_t n_children;
};

/* Where YAML text comes from. All pointers are borrowed. */
typedef struct csi_node_source {
    csi_arena *arena;
    const char *path;   /* for errors */
    const char *origin; /* the override whose value this is, or NULL */
    const char *yaml;
    size_t n_bytes;
    int32_t depth; /* mappings and lists that will be around it */
} csi_node_source;

/* One YAML document. Errors: FORMAT with place, for text that is not YAML or
 * is outside the subset (limits, anchors, aliases, tags, duplicate keys). */
CS_NODISCARD cs_status csi_node_parse(const csi_node_source *source,
                                      csi_node **out);
/* A new scalar node at the place of `at` (which may be NULL). */
CS_NODISCARD cs_status csi_node_scalar(csi_arena *arena, const csi_node *at,
                                       const char *text, csi_node **out);
/* A new empty mapping or list at the place of `at`. */
CS_NODISCARD cs_status csi_node_empty(csi_arena *arena, csi_node_kind kind,
                                      const csi_node *at, csi_node **out);
void csi_node_append(csi_node *parent, csi_node *child);
/* Child of a mapping, or NULL. */
csi_node *csi_node_find(const csi_node *map, const char *key);
/* Entry of a list, or NULL. */
csi_node *csi_node_entry(const csi_node *list, int32_t index);

enum {
    CSI_PLACE_BYTES = 256,
    CSI_GOT_BYTES = 96
};
/* "recipe.yaml:3:5: " or "override 'a.b=c': "; the place of the key when
 * `of_key`. Returns buf. */
const char *csi_node_place(const csi_node *node, const char *path, bool of_key,
                           char buf[CSI_PLACE_BYTES]);
/* What an error says it got: "null", "a list", "'abc'". Returns buf. */
const char *csi_node_got(const csi_node *node, char buf[CSI_GOT_BYTES]);

/* Applies one "dotted.key[0]=value" to the tree. Errors: ARG or FORMAT. */
CS_NODISCARD cs_status csi_override_apply(csi_arena *arena, const char *path,
                                          const char *text, csi_node *root);
#endif
