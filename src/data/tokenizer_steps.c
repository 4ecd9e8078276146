/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the steps of tokenizer.json: normalizer, pre-tokenizer, decoder and
 * post-processor, each one object or a Sequence of them. A type that is not
 * offered is refused by name.
 */
#include "base/json.h"

#include "tokenizer.h"

#include <inttypes.h>
#include <string.h>

static const json_t *find(const json_t *root, const char *key)
{
    const json_t *const json = json_object_get(root, key);

    return json_is_null(json) ? NULL : json;
}

cs_status csi_tokenizer_steps(const json_t *object, const char *list,
                              const char *where,
                              const json_t *steps[CSI_MAX_STEPS],
                              int32_t *n_steps)
{
    const char *type = NULL;
    json_t *array = NULL;

    *n_steps = 0;
    if (object == NULL) {
        return CS_OK;
    }
    CS_TRY(csi_json_string(object, "type", where, &type));
    if (strcmp(type, "Sequence") != 0) {
        steps[(*n_steps)++] = object;
        return CS_OK;
    }
    CS_TRY(csi_json_array(object, list, where, &array));
    CS_CHECK(json_array_size(array) <= CSI_MAX_STEPS, CS_ERR_UNSUPPORTED,
             "%s: unsupported: a Sequence of %zu %s, at most %d", where,
             json_array_size(array), list, CSI_MAX_STEPS);
    for (size_t i = 0; i < json_array_size(array); i++) {
        steps[(*n_steps)++] = json_array_get(array, i);
    }
    return CS_OK;
}

static cs_status keep(cs_tokenizer *t, const char *text, const char *where,
                      const char **out)
{
    *out = csi_arena_strdup(&t->arena, text);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "%s: no memory for steps", where);
    return CS_OK;
}

/* {"pattern": {"String": FROM}, "content": TO} */
static cs_status read_replace(cs_tokenizer *t, const json_t *json,
                              const char *where, const char **from,
                              const char **to)
{
    json_t *pattern = NULL;
    const char *text = NULL;

    CS_TRY(csi_json_object(json, "pattern", where, &pattern));
    CS_CHECK(json_object_get(pattern, "Regex") == NULL, CS_ERR_UNSUPPORTED,
             "%s: unsupported: Replace with a Regex pattern (offered: String)",
             where);
    CS_TRY(csi_json_string(pattern, "String", where, &text));
    CS_CHECK(text[0] != '\0', CS_ERR_FORMAT, "%s: Replace of an empty text",
             where);
    CS_TRY(keep(t, text, where, from));
    CS_TRY(csi_json_string(json, "content", where, &text));
    return keep(t, text, where, to);
}

/* ---- normalizer ---- */

static cs_status read_normal(cs_tokenizer *t, const json_t *json,
                             const char *where, csi_normal *out)
{
    const char *type = NULL;
    const char *text = NULL;

    CS_TRY(csi_json_string(json, "type", where, &type));
    if (strcmp(type, "NFC") == 0) {
        *out = (csi_normal){.kind = CSI_NORMAL_NFC};
        return CS_OK;
    }
    if (strcmp(type, "Prepend") == 0) {
        out->kind = CSI_NORMAL_PREPEND;
        CS_TRY(csi_json_string(json, "prepend", where, &text));
        CS_TRY(keep(t, text, where, &out->to));
    } else if (strcmp(type, "Replace") == 0) {
        out->kind = CSI_NORMAL_REPLACE;
        CS_TRY(read_replace(t, json, where, &out->from, &out->to));
        out->n_from = strlen(out->from);
    } else {
        return CS_FAIL(CS_ERR_UNSUPPORTED,
                       "%s: unsupported: normalizer '%.40s' (offered: NFC, "
                       "Prepend, Replace, Sequence, null)",
                       where, type);
    }
    out->n_to = strlen(out->to);
    return CS_OK;
}

cs_status csi_tokenizer_read_normalizer(cs_tokenizer *t, const json_t *root,
                                        const char *where)
{
    const json_t *steps[CSI_MAX_STEPS];
    int32_t n = 0;

    CS_TRY(csi_tokenizer_steps(find(root, "normalizer"), "normalizers", where,
                               steps, &n));
    for (int32_t i = 0; i < n; i++) {
        CS_TRY(read_normal(t, steps[i], where, &t->normal[t->n_normal]));
        t->n_normal++;
    }
    return CS_OK;
}

/* ---- pre-tokenizer ---- */

static cs_status add_pre(cs_tokenizer *t, const char *where, csi_pre **out)
{
    CS_CHECK(t->n_pre < CSI_MAX_STEPS, CS_ERR_UNSUPPORTED,
             "%s: unsupported: a pre_tokenizer of more than %d steps", where,
             CSI_MAX_STEPS);
    *out = &t->pre[t->n_pre++];
    return CS_OK;
}

static cs_status read_byte_level(cs_tokenizer *t, const json_t *json,
                                 const char *where)
{
    bool use_regex = true;
    bool add_prefix_space = true;
    csi_pre *step = NULL;

    CS_TRY(csi_json_opt_bool(json, "use_regex", where, &use_regex));
    CS_TRY(csi_json_opt_bool(json, "add_prefix_space", where,
                             &add_prefix_space));
    if (add_prefix_space) {
        CS_TRY(add_pre(t, where, &step));
        *step = (csi_pre){.kind = CSI_PRE_SPACE,
                          .prefix = CSI_PREFIX_ALWAYS,
                          .space = " "};
    }
    if (use_regex) {
        CS_TRY(add_pre(t, where, &step));
        CS_TRY(csi_pattern_create("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+"
                                  "| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                                  "|\\s+(?!\\S)|\\s+",
                                  where, &step->pattern));
    }
    return CS_OK;
}

static cs_status read_behavior(const json_t *json, const char *where,
                               csi_behavior *out)
{
    static const char *const NAMES[] = {
        [CSI_SPLIT_ISOLATED] = "Isolated",
        [CSI_SPLIT_REMOVED] = "Removed",
        [CSI_SPLIT_CONTIGUOUS] = "Contiguous",
        [CSI_SPLIT_WITH_PREVIOUS] = "MergedWithPrevious",
        [CSI_SPLIT_WITH_NEXT] = "MergedWithNext",
    };
    const char *behavior = NULL;

    CS_TRY(csi_json_string(json, "behavior", where, &behavior));
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strcmp(behavior, NAMES[i]) == 0) {
            *out = (csi_behavior)i;
            return CS_OK;
        }
    }
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "%s: unsupported: pre_tokenizer Split with behavior "
                   "'%.40s'",
                   where, behavior);
}

static cs_status read_split(cs_tokenizer *t, const json_t *json,
                            const char *where)
{
    csi_pre *step = NULL;
    json_t *pattern = NULL;
    const char *text = NULL;

    CS_TRY(add_pre(t, where, &step));
    CS_TRY(read_behavior(json, where, &step->behavior));
    CS_TRY(csi_json_opt_bool(json, "invert", where, &step->is_inverted));
    CS_TRY(csi_json_object(json, "pattern", where, &pattern));
    if (json_object_get(pattern, "String") != NULL) {
        CS_TRY(csi_json_string(pattern, "String", where, &text));
        CS_CHECK(text[0] != '\0', CS_ERR_FORMAT, "%s: Split at an empty text",
                 where);
        return csi_pattern_create_literal(text, &step->pattern);
    }
    CS_TRY(csi_json_string(pattern, "Regex", where, &text));
    return csi_pattern_create(text, where, &step->pattern);
}

/* What Metaspace writes for a blank: one letter. */
static cs_status read_replacement(cs_tokenizer *t, const json_t *json,
                                  const char *where, const char **out)
{
    const char *text = NULL;
    int n = 0;

    CS_TRY(csi_json_string(json, "replacement", where, &text));
    if (text[0] != '\0') {
        (void)csi_utf8_get(text, &n);
    }
    CS_CHECK(text[0] != '\0' && text[n] == '\0', CS_ERR_FORMAT,
             "%s: Metaspace: wanted one letter as replacement, got '%.40s'",
             where, text);
    return keep(t, text, where, out);
}

static cs_status read_prefix(const json_t *json, const char *where,
                             csi_prefix *out)
{
    static const char *const NAMES[] = {
        [CSI_PREFIX_NEVER] = "never",
        [CSI_PREFIX_FIRST] = "first",
        [CSI_PREFIX_ALWAYS] = "always",
    };
    const char *scheme = "always";
    bool add_prefix_space = true;

    CS_TRY(csi_json_opt_string(json, "prepend_scheme", where, &scheme));
    CS_TRY(csi_json_opt_bool(json, "add_prefix_space", where,
                             &add_prefix_space));
    CS_CHECK(add_prefix_space ||
                 json_object_get(json, "prepend_scheme") == NULL ||
                 strcmp(scheme, "never") == 0,
             CS_ERR_FORMAT,
             "%s: Metaspace: add_prefix_space false and prepend_scheme "
             "'%.40s' contradict each other",
             where, scheme);
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strcmp(scheme, NAMES[i]) == 0) {
            *out = add_prefix_space ? (csi_prefix)i : CSI_PREFIX_NEVER;
            return CS_OK;
        }
    }
    return CS_FAIL(CS_ERR_FORMAT,
                   "%s: Metaspace: prepend_scheme: wanted always, first or "
                   "never, got '%.40s'",
                   where, scheme);
}

static cs_status read_metaspace(cs_tokenizer *t, const json_t *json,
                                const char *where)
{
    csi_pre *step = NULL;
    bool splits = true;

    CS_TRY(add_pre(t, where, &step));
    step->kind = CSI_PRE_SPACE;
    CS_TRY(read_replacement(t, json, where, &step->space));
    CS_TRY(read_prefix(json, where, &step->prefix));
    CS_TRY(csi_json_opt_bool(json, "split", where, &splits));
    const char *const space = step->space;

    if (splits) {
        CS_TRY(add_pre(t, where, &step));
        step->behavior = CSI_SPLIT_WITH_NEXT;
        CS_TRY(csi_pattern_create_literal(space, &step->pattern));
    }
    return CS_OK;
}

static cs_status read_pre(cs_tokenizer *t, const json_t *json,
                          const char *where)
{
    const char *type = NULL;

    CS_TRY(csi_json_string(json, "type", where, &type));
    CS_CHECK(!t->is_byte_level, CS_ERR_UNSUPPORTED,
             "%s: unsupported: pre_tokenizer %.40s after ByteLevel", where,
             type);
    if (strcmp(type, "ByteLevel") == 0) {
        t->is_byte_level = true;
        return read_byte_level(t, json, where);
    }
    if (strcmp(type, "Split") == 0) {
        return read_split(t, json, where);
    }
    if (strcmp(type, "Metaspace") == 0) {
        return read_metaspace(t, json, where);
    }
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "%s: unsupported: pre_tokenizer '%.40s' (offered: "
                   "ByteLevel, Split, Metaspace, Sequence, null)",
                   where, type);
}

cs_status csi_tokenizer_read_pre(cs_tokenizer *t, const json_t *root,
                                 const char *where)
{
    const json_t *steps[CSI_MAX_STEPS];
    int32_t n = 0;

    CS_TRY(csi_tokenizer_steps(find(root, "pre_tokenizer"), "pretokenizers",
                               where, steps, &n));
    for (int32_t i = 0; i < n; i++) {
        CS_TRY(read_pre(t, steps[i], where));
    }
    return CS_OK;
}

/* ---- decoder ---- */

static cs_status read_strip(cs_tokenizer *t, const json_t *json,
                            const char *where, csi_decode *out)
{
    const char *text = NULL;
    int64_t start = 0;
    int64_t stop = 0;

    out->kind = CSI_DECODE_STRIP;
    CS_TRY(csi_json_string(json, "content", where, &text));
    CS_CHECK(text[0] != '\0', CS_ERR_FORMAT, "%s: Strip of an empty text",
             where);
    CS_TRY(csi_json_i64(json, "start", where, 0, INT32_MAX, &start));
    CS_TRY(csi_json_i64(json, "stop", where, 0, INT32_MAX, &stop));
    out->n_start = (int32_t)start;
    out->n_stop = (int32_t)stop;
    return keep(t, text, where, &out->from);
}

static cs_status read_decode(cs_tokenizer *t, const json_t *json,
                             const char *where, csi_decode *out)
{
    const char *type = NULL;
    csi_prefix prefix = CSI_PREFIX_NEVER;

    CS_TRY(csi_json_string(json, "type", where, &type));
    if (strcmp(type, "Replace") == 0) {
        out->kind = CSI_DECODE_REPLACE;
        return read_replace(t, json, where, &out->from, &out->to);
    }
    if (strcmp(type, "ByteFallback") == 0) {
        out->kind = CSI_DECODE_BYTE_FALLBACK;
        return CS_OK;
    }
    if (strcmp(type, "Fuse") == 0) {
        out->kind = CSI_DECODE_FUSE;
        return CS_OK;
    }
    if (strcmp(type, "Strip") == 0) {
        return read_strip(t, json, where, out);
    }
    CS_CHECK(strcmp(type, "Metaspace") == 0, CS_ERR_UNSUPPORTED,
             "%s: unsupported: decoder '%.40s' here (offered: ByteLevel with "
             "pre_tokenizer ByteLevel; Replace, ByteFallback, Fuse, Strip, "
             "Metaspace, Sequence)",
             where, type);
    out->kind = CSI_DECODE_METASPACE;
    CS_TRY(read_replacement(t, json, where, &out->from));
    CS_TRY(read_prefix(json, where, &prefix));
    out->drops_first = prefix != CSI_PREFIX_NEVER;
    return keep(t, " ", where, &out->to);
}

cs_status csi_tokenizer_read_decoder(cs_tokenizer *t, const json_t *root,
                                     const char *where)
{
    const json_t *steps[CSI_MAX_STEPS];
    const char *type = "null";
    int32_t n = 0;

    CS_TRY(csi_tokenizer_steps(find(root, "decoder"), "decoders", where, steps,
                               &n));
    if (t->is_byte_level) {
        if (n > 0) {
            CS_TRY(csi_json_string(steps[0], "type", where, &type));
        }
        CS_CHECK(n == 1 && strcmp(type, "ByteLevel") == 0, CS_ERR_UNSUPPORTED,
                 "%s: unsupported: decoder '%.40s' with pre_tokenizer "
                 "ByteLevel (offered: ByteLevel)",
                 where, type);
        return CS_OK;
    }
    CS_CHECK(n > 0, CS_ERR_UNSUPPORTED, "%s: unsupported: decoder null", where);
    for (int32_t i = 0; i < n; i++) {
        CS_TRY(read_decode(t, steps[i], where, &t->decode[t->n_decode]));
        t->n_decode++;
    }
    return CS_OK;
}

/* ---- post-processor ---- */

/* {"id": NAME, "ids": [...]} of one special token, appended to a list. */
static cs_status add_frame(cs_tokenizer *t, const json_t *specials,
                           const char *name, const char *where, int32_t **list,
                           int32_t *n_list)
{
    json_t *special = NULL;
    json_t *ids = NULL;

    CS_TRY(csi_json_object(specials, name, where, &special));
    CS_TRY(csi_json_array(special, "ids", where, &ids));
    const size_t n = json_array_size(ids);

    CS_CHECK(n <= (size_t)t->size, CS_ERR_FORMAT,
             "%s: special token '%.40s' of the post_processor has %zu ids",
             where, name, n);
    int32_t *const grown =
        csi_arena_alloc(&t->arena, ((size_t)*n_list + n) * sizeof *grown);

    CS_CHECK(grown != NULL, CS_ERR_NOMEM, "%s: no memory for a post_processor",
             where);
    if (*n_list > 0) {
        memcpy(grown, *list, (size_t)*n_list * sizeof *grown);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *const value = json_array_get(ids, i);
        const int64_t id = json_integer_value(value);

        CS_CHECK(json_is_integer(value) && id >= 0 && id < t->size &&
                     t->tokens[id].bytes != NULL,
                 CS_ERR_FORMAT,
                 "%s: special token '%.40s' of the post_processor: id %" PRId64
                 " is no token (there are %" PRId32 ")",
                 where, name, id, t->size);
        grown[(*n_list)++] = (int32_t)id;
    }
    *list = grown;
    return CS_OK;
}

static cs_status read_template(cs_tokenizer *t, const json_t *json,
                               const char *where)
{
    json_t *single = NULL;
    json_t *specials = NULL;
    bool is_behind = false;

    CS_TRY(csi_json_array(json, "single", where, &single));
    CS_TRY(csi_json_object(json, "special_tokens", where, &specials));
    CS_CHECK(json_array_size(single) <= 64, CS_ERR_UNSUPPORTED,
             "%s: unsupported: a post_processor of %zu parts, at most 64",
             where, json_array_size(single));
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *const part = json_array_get(single, i);
        const json_t *const token = json_object_get(part, "SpecialToken");
        const char *name = NULL;

        if (token == NULL) {
            json_t *sequence = NULL;

            CS_TRY(csi_json_object(part, "Sequence", where, &sequence));
            CS_CHECK(!is_behind, CS_ERR_UNSUPPORTED,
                     "%s: unsupported: a post_processor that writes a text "
                     "twice",
                     where);
            is_behind = true;
            continue;
        }
        CS_TRY(csi_json_string(token, "id", where, &name));
        CS_TRY(is_behind
                   ? add_frame(t, specials, name, where, &t->after, &t->n_after)
                   : add_frame(t, specials, name, where, &t->before,
                               &t->n_before));
    }
    return CS_OK;
}

cs_status csi_tokenizer_read_post(cs_tokenizer *t, const json_t *root,
                                  const char *where)
{
    const json_t *steps[CSI_MAX_STEPS];
    int32_t n = 0;

    CS_TRY(csi_tokenizer_steps(find(root, "post_processor"), "processors",
                               where, steps, &n));
    for (int32_t i = 0; i < n; i++) {
        const char *type = NULL;

        CS_TRY(csi_json_string(steps[i], "type", where, &type));
        if (strcmp(type, "TemplateProcessing") == 0) {
            CS_CHECK(t->n_before + t->n_after == 0, CS_ERR_UNSUPPORTED,
                     "%s: unsupported: two TemplateProcessing", where);
            CS_TRY(read_template(t, steps[i], where));
            continue;
        }
        CS_CHECK(strcmp(type, "ByteLevel") == 0, CS_ERR_UNSUPPORTED,
                 "%s: unsupported: post_processor '%.40s' (offered: ByteLevel, "
                 "TemplateProcessing, Sequence, null)",
                 where, type);
        CS_CHECK(t->is_byte_level, CS_ERR_UNSUPPORTED,
                 "%s: unsupported: post_processor ByteLevel without "
                 "pre_tokenizer ByteLevel",
                 where);
        t->trims_offsets = true;
        t->trims_after_prefix = true;
        CS_TRY(csi_json_opt_bool(steps[i], "trim_offsets", where,
                                 &t->trims_offsets));
        CS_TRY(csi_json_opt_bool(steps[i], "add_prefix_space", where,
                                 &t->trims_after_prefix));
    }
    return CS_OK;
}
