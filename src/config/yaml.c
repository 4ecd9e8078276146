/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libyaml events into nodes. Events, not libyaml's document loader: the
 * nesting is checked while events arrive, before anything deep is built
 * (libyaml alone takes minutes for 200 KB of '['), and each event carries its
 * place. The stack of open mappings and lists is explicit:
 *
 *     scalar        hangs under the open node, or becomes the pending key
 *     start, end    open a node under the open node, close it
 */
#include "base/hash_map.h"

#include "node.h"

#include <string.h>
#include <yaml.h>

typedef struct builder {
    const csi_node_source *source;
    csi_hash_map *seen; /* owned: number of the mapping + key */
    csi_node *root;
    csi_node *open[CSI_NODE_MAX_DEPTH];
    int32_t map_number[CSI_NODE_MAX_DEPTH];
    const char *key[CSI_NODE_MAX_DEPTH]; /* pending, of a mapping */
    yaml_mark_t key_mark[CSI_NODE_MAX_DEPTH];
    int32_t depth;
    int32_t n_nodes;
    int32_t n_maps;
    bool is_done;
} builder;

/* On the command line it is the user's mistake, not a file's. */
#define CODE_OF(b)            ((b)->source->origin != NULL ? CS_ERR_ARG : CS_ERR_FORMAT)
#define REFUSE(b, mark, what) (refuse((b), (mark), (what)), CODE_OF(b))

static void refuse(const builder *b, yaml_mark_t mark, const char *what)
{
    const csi_node at = {.line = (int32_t)mark.line + 1,
                         .column = (int32_t)mark.column + 1,
                         .origin = b->source->origin};
    char place[CSI_PLACE_BYTES];

    (void)cs_fail_at(__FILE__, __LINE__, __func__, CODE_OF(b), "%s%s",
                     csi_node_place(&at, b->source->path, false, place), what);
}

static cs_status refuse_syntax(const builder *b, const yaml_parser_t *parser)
{
    char what[384];

    CS_CHECK(parser->error != YAML_MEMORY_ERROR, CS_ERR_NOMEM,
             "%s: out of memory while reading YAML", b->source->path);
    if (parser->error == YAML_READER_ERROR) {
        return CS_FAIL(CS_ERR_FORMAT, "%s: byte %zu: not YAML: %s",
                       b->source->path, parser->problem_offset,
                       parser->problem);
    }
    (void)snprintf(what, sizeof what, "not YAML: %s%s%s%s",
                   parser->problem != NULL ? parser->problem : "no reason",
                   parser->context != NULL ? " (" : "",
                   parser->context != NULL ? parser->context : "",
                   parser->context != NULL ? ")" : "");
    return REFUSE(b, parser->problem_mark, what);
}

/* Copies a scalar; text from outside may hold NUL bytes and be long. */
static cs_status copy_scalar(const builder *b, const yaml_event_t *event,
                             const char **out)
{
    const size_t n_bytes = event->data.scalar.length;
    char *const text = csi_arena_alloc(b->source->arena, n_bytes + 1);

    CS_CHECK(text != NULL, CS_ERR_NOMEM, "out of memory for a recipe value");
    if (n_bytes > 0 &&
        memchr(event->data.scalar.value, '\0', n_bytes) != NULL) {
        return REFUSE(b, event->start_mark, "a NUL byte in a text");
    }
    memcpy(text, event->data.scalar.value, n_bytes);
    text[n_bytes] = '\0';
    *out = text;
    return CS_OK;
}

static cs_status take_key(builder *b, const yaml_event_t *event)
{
    const int32_t top = b->depth - 1;
    const size_t n_bytes = event->data.scalar.length;
    char seen_key[sizeof(int32_t) + CSI_NODE_MAX_KEY];
    char what[128];
    int64_t unused = 0;

    if (n_bytes == 0 || n_bytes > CSI_NODE_MAX_KEY) {
        (void)snprintf(what, sizeof what,
                       "a key of %zu bytes; wanted 1 to %d bytes", n_bytes,
                       (int)CSI_NODE_MAX_KEY);
        return REFUSE(b, event->start_mark, what);
    }
    CS_TRY(copy_scalar(b, event, &b->key[top]));
    memcpy(seen_key, &b->map_number[top], sizeof(int32_t));
    memcpy(seen_key + sizeof(int32_t), event->data.scalar.value, n_bytes);
    if (csi_hash_map_get(b->seen, seen_key, sizeof(int32_t) + n_bytes,
                         &unused)) {
        (void)snprintf(what, sizeof what, "duplicate key '%.80s'", b->key[top]);
        return REFUSE(b, event->start_mark, what);
    }
    CS_TRY(csi_hash_map_put(b->seen, seen_key, sizeof(int32_t) + n_bytes, 1));
    b->key_mark[top] = event->start_mark;
    return CS_OK;
}

/* A new node at the event's place, hung under the open node. */
static cs_status add_node(builder *b, const yaml_event_t *event,
                          csi_node_kind kind, csi_node **out)
{
    const int32_t top = b->depth - 1;
    csi_node *node = NULL;

    if (b->n_nodes >= CSI_NODE_MAX_COUNT) {
        return REFUSE(b, event->start_mark, "more than 65536 values");
    }
    b->n_nodes++;
    CS_TRY(csi_node_empty(b->source->arena, kind, NULL, &node));
    node->line = (int32_t)event->start_mark.line + 1;
    node->column = (int32_t)event->start_mark.column + 1;
    node->origin = b->source->origin;
    *out = node;
    if (b->depth == 0) {
        b->root = node;
        return CS_OK;
    }
    if (b->open[top]->kind == CSI_NODE_MAP) {
        node->key = b->key[top];
        node->key_line = (int32_t)b->key_mark[top].line + 1;
        node->key_column = (int32_t)b->key_mark[top].column + 1;
        b->key[top] = NULL;
    }
    csi_node_append(b->open[top], node);
    return CS_OK;
}

static bool wants_key(const builder *b)
{
    return b->depth > 0 && b->open[b->depth - 1]->kind == CSI_NODE_MAP &&
           b->key[b->depth - 1] == NULL;
}

static cs_status take_scalar(builder *b, const yaml_event_t *event)
{
    const bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    csi_node *node = NULL;

    if (event->data.scalar.anchor != NULL) {
        return REFUSE(b, event->start_mark, "anchors are not offered");
    }
    if (event->data.scalar.tag != NULL) {
        return REFUSE(b, event->start_mark, "tags are not offered");
    }
    if (wants_key(b)) {
        return take_key(b, event);
    }
    CS_TRY(add_node(b, event, is_plain ? CSI_NODE_PLAIN : CSI_NODE_QUOTED,
                    &node));
    return copy_scalar(b, event, &node->text);
}

static cs_status open_node(builder *b, const yaml_event_t *event,
                           csi_node_kind kind)
{
    const bool is_map = kind == CSI_NODE_MAP;
    const void *const anchor = is_map ? event->data.mapping_start.anchor
                                      : event->data.sequence_start.anchor;
    const void *const tag =
        is_map ? event->data.mapping_start.tag : event->data.sequence_start.tag;
    csi_node *node = NULL;

    if (anchor != NULL) {
        return REFUSE(b, event->start_mark, "anchors are not offered");
    }
    if (tag != NULL) {
        return REFUSE(b, event->start_mark, "tags are not offered");
    }
    if (wants_key(b)) {
        return REFUSE(b, event->start_mark,
                      "a mapping or list as key; wanted a text");
    }
    if (b->source->depth + b->depth >= CSI_NODE_MAX_DEPTH) {
        return REFUSE(b, event->start_mark,
                      "nested deeper than 32 mappings and lists");
    }
    CS_TRY(add_node(b, event, kind, &node));
    b->open[b->depth] = node;
    b->key[b->depth] = NULL;
    b->map_number[b->depth] = b->n_maps++;
    b->depth++;
    return CS_OK;
}

static cs_status take_event(builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->root != NULL) {
            return REFUSE(b, event->start_mark,
                          "a second document; wanted one");
        }
        if (event->data.document_start.version_directive != NULL ||
            event->data.document_start.tag_directives.start !=
                event->data.document_start.tag_directives.end) {
            return REFUSE(b, event->start_mark, "directives are not offered");
        }
        return CS_OK;
    case YAML_ALIAS_EVENT:
        return REFUSE(b, event->start_mark, "aliases are not offered");
    case YAML_SCALAR_EVENT:
        return take_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_node(b, event, CSI_NODE_LIST);
    case YAML_MAPPING_START_EVENT:
        return open_node(b, event, CSI_NODE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return CS_OK;
    case YAML_STREAM_END_EVENT:
        b->is_done = true;
        return CS_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return CS_OK;
    }
    return CS_FAIL(CS_ERR_INTERNAL, "libyaml event %d is unknown",
                   (int)event->type);
}

static cs_status take_events(builder *b, yaml_parser_t *parser)
{
    while (!b->is_done) {
        yaml_event_t event;

        if (yaml_parser_parse(parser, &event) == 0) {
            return refuse_syntax(b, parser);
        }
        const cs_status st = take_event(b, &event);

        yaml_event_delete(&event);
        CS_TRY(st);
    }
    const yaml_mark_t start = {0};

    if (b->root == NULL) {
        return REFUSE(b, start, "wanted a value, got none");
    }
    return CS_OK;
}

cs_status csi_node_parse(const csi_node_source *source, csi_node **out)
{
    builder b = {.source = source};
    yaml_parser_t parser;

    CS_CHECK(source->n_bytes <= CSI_NODE_MAX_BYTES, CS_ERR_FORMAT,
             "%s: %zu bytes; a recipe has at most %d", source->path,
             source->n_bytes, (int)CSI_NODE_MAX_BYTES);
    CS_TRY(csi_hash_map_create(&b.seen));
    if (yaml_parser_initialize(&parser) == 0) {
        csi_hash_map_destroy(&b.seen);
        return CS_FAIL(CS_ERR_NOMEM, "out of memory for the YAML parser");
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)source->yaml,
                                 source->n_bytes);

    const cs_status st = take_events(&b, &parser);

    yaml_parser_delete(&parser);
    csi_hash_map_destroy(&b.seen);
    CS_TRY(st);
    *out = b.root;
    return CS_OK;
}
