/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaves: one YAML value into one member. Scalars mean what YAML 1.2's core
 * schema says and nothing more: `yes` is a text, 1e-4 a number, 010 a text.
 * Numbers take strtod, which follows LC_NUMERIC: the program never sets it.
 */
#include "field.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot { /* where a value goes; the table has done the types */
    char *owner;
    const csi_field *field;
} slot;

static void *at(const slot *s)
{
    return s->owner + s->field->offset;
}

csi_scalar csi_scalar_of_text(const char *plain)
{
    const char *c = plain;
    bool has_point = false;
    bool has_exponent = false;

    if (*c == '\0') {
        return CSI_SCALAR_EMPTY;
    }
    if (strcmp(c, "null") == 0) {
        return CSI_SCALAR_NULL;
    }
    if (strcmp(c, "true") == 0 || strcmp(c, "false") == 0) {
        return CSI_SCALAR_BOOL;
    }
    c += *c == '-' || *c == '+';

    const size_t n_whole = strspn(c, "0123456789");
    size_t n_digits = n_whole;

    if (n_whole > 1 && *c == '0') {
        return CSI_SCALAR_TEXT;
    }
    c += n_whole;
    if (*c == '.') {
        has_point = true;
        c++;
        n_digits += strspn(c, "0123456789");
        c += strspn(c, "0123456789");
    }
    if (n_digits > 0 && (*c == 'e' || *c == 'E')) {
        has_exponent = true;
        c++;
        c += *c == '-' || *c == '+';
        if (*c < '0' || *c > '9') {
            return CSI_SCALAR_TEXT;
        }
        c += strspn(c, "0123456789");
    }
    if (n_digits == 0 || *c != '\0') {
        return CSI_SCALAR_TEXT;
    }
    return has_point || has_exponent ? CSI_SCALAR_FLOAT : CSI_SCALAR_INT;
}

csi_scalar csi_scalar_of(const csi_node *node)
{
    return node->kind == CSI_NODE_QUOTED ? CSI_SCALAR_TEXT
                                         : csi_scalar_of_text(node->text);
}

static bool is_scalar(const csi_node *node)
{
    return node->kind == CSI_NODE_PLAIN || node->kind == CSI_NODE_QUOTED;
}

cs_status csi_read_refuse(const csi_reader *reader, const csi_field *field,
                          const csi_node *node, const csi_key *key)
{
    char name[CSI_KEY_BYTES];
    char wanted[CSI_WANTED_BYTES];
    char got[CSI_GOT_BYTES];

    return CSI_READER_FAIL(reader, node, false, CS_ERR_ARG,
                           "%s: wanted %s, got %s", csi_key_text(key, name),
                           csi_field_wanted(field, wanted),
                           csi_node_got(node, got));
}

static cs_status refuse_unoffered(const csi_reader *reader,
                                  const csi_field *field, const csi_node *node,
                                  const csi_key *key)
{
    char name[CSI_KEY_BYTES];
    char offered[CSI_WANTED_BYTES];
    const char *const words = csi_field_offered(field, offered);

    return CSI_READER_FAIL(reader, node, false, CS_ERR_UNSUPPORTED,
                           "unsupported: %s: only %s %s offered",
                           csi_key_text(key, name), words,
                           strstr(words, " and ") != NULL ? "are" : "is");
}

static bool is_in_range(const csi_field *field, double value)
{
    const bool is_above = (field->flags & CSI_FIELD_ABOVE) != 0;
    const bool is_below = (field->flags & CSI_FIELD_BELOW) != 0;

    return (is_above ? value > field->min : value >= field->min) &&
           (is_below ? value < field->max : value <= field->max);
}

/* An integer of the field's range; false: something else. */
static bool parse_integer(const csi_field *field, const csi_node *node,
                          int64_t *out)
{
    if (!is_scalar(node) || csi_scalar_of(node) != CSI_SCALAR_INT) {
        return false;
    }
    errno = 0;
    *out = strtoll(node->text, NULL, 10);
    return errno == 0 && is_in_range(field, (double)*out);
}

static bool parse_unsigned(const csi_node *node, uint64_t *out)
{
    if (!is_scalar(node) || csi_scalar_of(node) != CSI_SCALAR_INT ||
        node->text[0] == '-') {
        return false;
    }
    errno = 0;
    *out = strtoull(node->text, NULL, 10);
    return errno == 0;
}

static bool parse_number(const csi_field *field, const csi_node *node,
                         double *out)
{
    if (!is_scalar(node) || (csi_scalar_of(node) != CSI_SCALAR_INT &&
                             csi_scalar_of(node) != CSI_SCALAR_FLOAT)) {
        return false;
    }
    *out = strtod(node->text, NULL);
    return isfinite(*out) && is_in_range(field, *out);
}

/* Index among the words, or -1. */
static int32_t find_word(const csi_field *field, const csi_node *node)
{
    if (!is_scalar(node)) {
        return -1;
    }
    for (int32_t i = 0; field->words[i] != NULL; i++) {
        if (strcmp(field->words[i], node->text) == 0) {
            return i;
        }
    }
    return -1;
}

/* A text in the config's arena; plain scalars that YAML reads as something
 * else than text are refused, so that 010 and "010" never mix. */
static cs_status read_text(const csi_reader *reader, const csi_field *field,
                           const csi_node *node, const csi_key *key,
                           const char **out)
{
    char name[CSI_KEY_BYTES];
    char wanted[CSI_WANTED_BYTES];
    char got[CSI_GOT_BYTES];

    if (!is_scalar(node) || node->text[0] == '\0') {
        return csi_read_refuse(reader, field, node, key);
    }
    if (csi_scalar_of(node) != CSI_SCALAR_TEXT) {
        return CSI_READER_FAIL(reader, node, false, CS_ERR_ARG,
                               "%s: wanted %s, got %s; a text needs quotes "
                               "here",
                               csi_key_text(key, name),
                               csi_field_wanted(field, wanted),
                               csi_node_got(node, got));
    }
    *out = csi_arena_strdup(reader->arena, node->text);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "out of memory for a recipe text");
    return CS_OK;
}

/* Paths of the recipe start at its folder, paths of overrides at ours. */
static cs_status read_path(const csi_reader *reader, const csi_field *field,
                           const csi_node *node, const csi_key *key,
                           const char **out)
{
    const char *text = NULL;

    CS_TRY(read_text(reader, field, node, key, &text));
    if (node->origin == NULL && text[0] != '/' &&
        strcmp(reader->base_dir, ".") != 0) {
        const size_t n_dir = strlen(reader->base_dir);
        const size_t n_text = strlen(text);
        const bool has_slash = n_dir > 0 && reader->base_dir[n_dir - 1] == '/';
        char *const joined = csi_arena_alloc(reader->arena, n_dir + n_text + 2);

        CS_CHECK(joined != NULL, CS_ERR_NOMEM,
                 "out of memory for a recipe path");
        (void)snprintf(joined, n_dir + n_text + 2, "%s%s%s", reader->base_dir,
                       has_slash || n_dir == 0 ? "" : "/", text);
        text = joined;
    }
    *out = text;
    return CS_OK;
}

static cs_status read_word(const csi_reader *reader, const csi_node *node,
                           const csi_key *key, const slot *s)
{
    const csi_field *const field = s->field;
    const int32_t word = find_word(field, node);

    if (word < 0 && (field->flags & CSI_FIELD_OR_FILE) != 0 &&
        is_scalar(node) && strlen(node->text) > strlen(".jinja") &&
        strcmp(node->text + strlen(node->text) - strlen(".jinja"), ".jinja") ==
            0) {
        return read_path(reader, field, node, key, (const char **)at(s));
    }
    if (word < 0) {
        return csi_read_refuse(reader, field, node, key);
    }
    if (!csi_field_is_offered(field, word)) {
        return refuse_unoffered(reader, field, node, key);
    }
    if ((field->flags & CSI_FIELD_UNSTORED) != 0) {
        return CS_OK;
    }
    if (field->type == CSI_FIELD_WORD) {
        *(int32_t *)at(s) = word;
    } else if (field->type == CSI_FIELD_WORD_BOOL) {
        *(bool *)at(s) = word == 1;
    } else {
        *(const char **)at(s) = field->words[word];
    }
    return CS_OK;
}

static cs_status read_word_set(const csi_reader *reader, const csi_node *node,
                               const csi_key *key, const slot *s)
{
    if (node->kind != CSI_NODE_LIST) {
        return csi_read_refuse(reader, s->field, node, key);
    }
    for (const csi_node *c = node->first; c != NULL; c = c->next) {
        const int32_t word = find_word(s->field, c);

        if (word < 0) {
            return csi_read_refuse(reader, s->field, c, key);
        }
        ((bool *)at(s))[word] = true;
    }
    return CS_OK;
}

static cs_status read_integers(const csi_reader *reader, const csi_node *node,
                               const csi_key *key, const slot *s)
{
    enum {
        MAX_ENTRIES = 4096
    };
    const bool is_wide = s->field->type == CSI_FIELD_I64_LIST;
    const size_t n_bytes = is_wide ? sizeof(int64_t) : sizeof(int32_t);
    int32_t n = 0;

    if (node->kind != CSI_NODE_LIST || node->n_children > MAX_ENTRIES) {
        return csi_read_refuse(reader, s->field, node, key);
    }
    void *const values =
        csi_arena_calloc(reader->arena, (size_t)node->n_children * n_bytes);

    CS_CHECK(values != NULL, CS_ERR_NOMEM, "out of memory for a recipe list");
    for (const csi_node *c = node->first; c != NULL; c = c->next, n++) {
        int64_t value = 0;

        if (!parse_integer(s->field, c, &value)) {
            return csi_read_refuse(reader, s->field, c, key);
        }
        if (is_wide) {
            ((int64_t *)values)[n] = value;
        } else {
            ((int32_t *)values)[n] = (int32_t)value;
        }
    }
    *(void **)at(s) = values;
    *(int32_t *)(void *)(s->owner + s->field->count_offset) = n;
    return CS_OK;
}

static cs_status read_pair(const csi_reader *reader, const csi_node *node,
                           const csi_key *key, const slot *s)
{
    double pair[2];

    if (node->kind != CSI_NODE_LIST || node->n_children != 2 ||
        !parse_number(s->field, node->first, &pair[0]) ||
        !parse_number(s->field, node->last, &pair[1])) {
        return csi_read_refuse(reader, s->field, node, key);
    }
    memcpy(at(s), pair, sizeof pair);
    return CS_OK;
}

static cs_status read_freeze(const csi_reader *reader, const csi_node *node,
                             const csi_key *key, const slot *s)
{
    enum {
        MAX_PATTERNS = 256
    };
    cs_freeze *const freeze = at(s);

    if (is_scalar(node) && csi_scalar_of(node) == CSI_SCALAR_BOOL) {
        freeze->all = strcmp(node->text, "true") == 0;
        return CS_OK;
    }
    if (node->kind != CSI_NODE_LIST || node->n_children > MAX_PATTERNS) {
        return csi_read_refuse(reader, s->field, node, key);
    }
    freeze->patterns =
        csi_arena_calloc(reader->arena,
                         (size_t)node->n_children * sizeof(char *));
    CS_CHECK(freeze->patterns != NULL, CS_ERR_NOMEM,
             "out of memory for a recipe list");
    for (const csi_node *c = node->first; c != NULL; c = c->next) {
        if (!is_scalar(c) || c->text[0] == '\0' ||
            csi_scalar_of(c) != CSI_SCALAR_TEXT) {
            return csi_read_refuse(reader, s->field, c, key);
        }
        char *const pattern = csi_arena_strdup(reader->arena, c->text);

        CS_CHECK(pattern != NULL, CS_ERR_NOMEM,
                 "out of memory for a recipe text");
        freeze->patterns[freeze->n_patterns++] = pattern;
    }
    return CS_OK;
}

static cs_status read_plan(const csi_reader *reader, const csi_node *node,
                           const csi_key *key, const slot *s)
{
    struct cs_config *const config = (struct cs_config *)(void *)s->owner;

    if (node->kind == CSI_NODE_PLAIN && strcmp(node->text, "auto") == 0) {
        config->parallel.plan = CS_PLAN_AUTO;
        return CS_OK;
    }
    if (node->kind == CSI_NODE_PLAIN && strcmp(node->text, "manual") == 0) {
        config->parallel.plan = CS_PLAN_MANUAL;
        return CS_OK;
    }
    config->parallel.plan = CS_PLAN_FILE;
    return read_path(reader, s->field, node, key, &config->parallel.plan_path);
}

static cs_status read_bool(const csi_reader *reader, const csi_node *node,
                           const csi_key *key, const slot *s)
{
    if (!is_scalar(node) || csi_scalar_of(node) != CSI_SCALAR_BOOL) {
        return csi_read_refuse(reader, s->field, node, key);
    }
    *(bool *)at(s) = strcmp(node->text, "true") == 0;
    return CS_OK;
}

static cs_status read_number(const csi_reader *reader, const csi_node *node,
                             const csi_key *key, const slot *s)
{
    int64_t integer = 0;
    bool is_right = false;

    switch (s->field->type) {
    case CSI_FIELD_I32:
        is_right = parse_integer(s->field, node, &integer);
        *(int32_t *)at(s) = (int32_t)integer;
        break;
    case CSI_FIELD_I64:
        is_right = parse_integer(s->field, node, &integer);
        *(int64_t *)at(s) = integer;
        break;
    case CSI_FIELD_U64:
        is_right = parse_unsigned(node, at(s));
        break;
    default:
        is_right = parse_number(s->field, node, at(s));
        break;
    }
    return is_right ? CS_OK : csi_read_refuse(reader, s->field, node, key);
}

/* The word for "not given" goes in as the table says. */
static void store_empty(const slot *s)
{
    switch (s->field->type) {
    case CSI_FIELD_I32:
        *(int32_t *)at(s) = (int32_t)s->field->empty_value;
        break;
    case CSI_FIELD_I64:
        *(int64_t *)at(s) = (int64_t)s->field->empty_value;
        break;
    case CSI_FIELD_F64:
        *(double *)at(s) = s->field->empty_value;
        break;
    default: /* pointers and lists: the owner is zeroed */
        break;
    }
}

static cs_status read_stored(const csi_reader *reader, const csi_node *node,
                             const csi_key *key, const slot *s)
{
    const csi_field *const field = s->field;

    switch (field->type) {
    case CSI_FIELD_BOOL:
        return read_bool(reader, node, key, s);
    case CSI_FIELD_I32:
    case CSI_FIELD_I64:
    case CSI_FIELD_U64:
    case CSI_FIELD_F64:
        return read_number(reader, node, key, s);
    case CSI_FIELD_TEXT:
        return read_text(reader, field, node, key, at(s));
    case CSI_FIELD_PATH:
        return read_path(reader, field, node, key, at(s));
    case CSI_FIELD_WORD:
    case CSI_FIELD_WORD_BOOL:
    case CSI_FIELD_WORD_TEXT:
        return read_word(reader, node, key, s);
    case CSI_FIELD_WORD_SET:
        return read_word_set(reader, node, key, s);
    case CSI_FIELD_I32_LIST:
    case CSI_FIELD_I64_LIST:
        return read_integers(reader, node, key, s);
    case CSI_FIELD_F64_PAIR:
        return read_pair(reader, node, key, s);
    case CSI_FIELD_FREEZE:
        return read_freeze(reader, node, key, s);
    case CSI_FIELD_JSON:
        return node->kind == CSI_NODE_MAP
                   ? csi_read_json(reader, node, key, at(s))
                   : csi_read_refuse(reader, field, node, key);
    case CSI_FIELD_PLAN:
        return read_plan(reader, node, key, s);
    case CSI_FIELD_ABSENT:
        return node->kind == CSI_NODE_MAP
                   ? refuse_unoffered(reader, field, node, key)
                   : csi_read_refuse(reader, field, node, key);
    case CSI_FIELD_GROUP:
    case CSI_FIELD_MAP:
    case CSI_FIELD_LIST:
        break;
    }
    return CS_FAIL(CS_ERR_INTERNAL, "recipe field '%s' is no value",
                   field->name);
}

/* Whether a checked value is the default; numbers compare as numbers. */
static bool is_fallback(const csi_field *field, const csi_node *node)
{
    if (field->type == CSI_FIELD_TEXT) {
        return false; /* its only value is the word for "not given" */
    }
    if (field->type == CSI_FIELD_BOOL) {
        return strcmp(node->text, field->fallback) == 0;
    }
    return strtod(node->text, NULL) == strtod(field->fallback, NULL);
}

cs_status csi_read_value(const csi_reader *reader, const csi_field *field,
                         const csi_node *node, const csi_key *key, void *owner)
{
    union {
        double number;
        void *pointer;
        int64_t integer;
    } unstored = {0};
    const bool is_unstored = (field->flags & CSI_FIELD_UNSTORED) != 0;
    csi_field moved = *field;
    slot s = {.owner = owner, .field = field};

    if (is_unstored) {
        moved.offset = 0;
        s = (slot){.owner = (char *)&unstored, .field = &moved};
    }
    if (field->empty != NULL && node->kind == CSI_NODE_PLAIN &&
        strcmp(node->text, field->empty) == 0) {
        store_empty(&s);
        return CS_OK;
    }
    CS_TRY(read_stored(reader, node, key, &s));
    if ((field->flags & CSI_FIELD_ONLY) != 0 && !is_fallback(field, node)) {
        return refuse_unoffered(reader, field, node, key);
    }
    return CS_OK;
}
