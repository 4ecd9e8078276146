/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A config as a recipe: every key in the table's order, defaults included, so
 * that reading the text gives the same config. The hash is taken over the
 * same text without the keys that cannot change numbers, and with only the
 * last part of each path: a run that is moved is the same run, and what a
 * file holds is watched by the index and by checkpoints.
 */
#include "field.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct printer {
    csi_str *out;
    bool for_hash;
    int32_t indent;
    bool has_dash;      /* the next line begins an entry of a list */
    char cwd[PATH_MAX]; /* in front of relative paths */
} printer;

static bool is_plain(const char *text)
{
    const size_t n_good =
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                     "0123456789_./-");

    return text[0] != '\0' && text[0] != '-' && text[n_good] == '\0' &&
           csi_scalar_of_text(text) == CSI_SCALAR_TEXT;
}

static void add_text(const printer *p, const char *text)
{
    if (is_plain(text)) {
        csi_str_add(p->out, text);
    } else {
        csi_quote(p->out, text);
    }
}

static void add_path(const printer *p, const char *path)
{
    const char *const slash = strrchr(path, '/');
    csi_str whole = {0};

    if (p->for_hash) {
        add_text(p, slash != NULL && slash[1] != '\0' ? slash + 1 : path);
        return;
    }
    if (path[0] != '/') {
        csi_str_add(&whole, p->cwd);
        csi_str_add(&whole, strcmp(p->cwd, "/") == 0 ? "" : "/");
    }
    csi_str_add(&whole, path);
    add_text(p, csi_str_get(&whole));
    p->out->failed |= whole.failed;
    csi_str_fini(&whole);
}

static void add_key(printer *p, const char *name)
{
    csi_str_addf(p->out, "%*s%s",
                 (int)(p->has_dash ? p->indent - 2 : p->indent), "",
                 p->has_dash ? "- " : "");
    p->has_dash = false;
    add_text(p, name);
    csi_str_add(p->out, ":");
}

static void add_integers(const printer *p, const csi_field *field,
                         const char *owner)
{
    const void *const values =
        *(const void *const *)(const void *)(owner + field->offset);
    const int32_t n =
        *(const int32_t *)(const void *)(owner + field->count_offset);

    if (n == 0 && field->empty != NULL) {
        csi_str_add(p->out, field->empty);
        return;
    }
    csi_str_add(p->out, "[");
    for (int32_t i = 0; i < n; i++) {
        const int64_t value = field->type == CSI_FIELD_I64_LIST
                                  ? ((const int64_t *)values)[i]
                                  : ((const int32_t *)values)[i];
        csi_str_addf(p->out, "%s%" PRId64, i > 0 ? ", " : "", value);
    }
    csi_str_add(p->out, "]");
}

static void add_freeze(const printer *p, const cs_freeze *freeze)
{
    if (freeze->n_patterns == 0) {
        csi_str_add(p->out, freeze->all ? "true" : "false");
        return;
    }
    csi_str_add(p->out, "[");
    for (int32_t i = 0; i < freeze->n_patterns; i++) {
        csi_str_add(p->out, i > 0 ? ", " : "");
        csi_quote(p->out, freeze->patterns[i]);
    }
    csi_str_add(p->out, "]");
}

static void add_words(const printer *p, const csi_field *field,
                      const bool *given)
{
    bool is_first = true;

    csi_str_add(p->out, "[");
    for (int32_t i = 0; field->words[i] != NULL; i++) {
        if (given[i]) {
            csi_str_addf(p->out, "%s%s", is_first ? "" : ", ", field->words[i]);
            is_first = false;
        }
    }
    csi_str_add(p->out, "]");
}

static void add_number(const printer *p, const csi_field *field, double value)
{
    const bool is_empty =
        field->empty != NULL && (value == field->empty_value ||
                                 (isnan(value) && isnan(field->empty_value)));
    char text[32];

    if (is_empty) {
        csi_str_add(p->out, field->empty);
    } else if (field->type == CSI_FIELD_F64 ||
               field->type == CSI_FIELD_F64_PAIR) {
        csi_str_add(p->out, csi_number_text(value, text));
    } else {
        csi_str_addf(p->out, "%.0f", value); /* integers here are < 2^53 */
    }
}

static void add_pointer(const printer *p, const csi_field *field,
                        const char *text)
{
    if (text == NULL) {
        csi_str_add(p->out, field->empty);
    } else if (field->type == CSI_FIELD_JSON) {
        csi_str_add(p->out, text);
    } else if (field->type == CSI_FIELD_PATH ||
               ((field->flags & CSI_FIELD_OR_FILE) != 0 &&
                strstr(text, ".jinja") != NULL)) {
        add_path(p, text);
    } else {
        add_text(p, text);
    }
}

static void add_plan(const printer *p, const struct cs_config *config)
{
    if (config->parallel.plan == CS_PLAN_FILE) {
        add_path(p, config->parallel.plan_path);
    } else {
        csi_str_add(p->out,
                    config->parallel.plan == CS_PLAN_AUTO ? "auto" : "manual");
    }
}

static void add_value(const printer *p, const csi_field *field,
                      const char *owner)
{
    const void *const at = owner + field->offset;

    switch (field->type) {
    case CSI_FIELD_BOOL:
        csi_str_add(p->out, *(const bool *)at ? "true" : "false");
        break;
    case CSI_FIELD_I32:
        add_number(p, field, *(const int32_t *)at);
        break;
    case CSI_FIELD_I64:
        add_number(p, field, (double)*(const int64_t *)at);
        break;
    case CSI_FIELD_U64:
        csi_str_addf(p->out, "%" PRIu64, *(const uint64_t *)at);
        break;
    case CSI_FIELD_F64:
        add_number(p, field, *(const double *)at);
        break;
    case CSI_FIELD_F64_PAIR:
        csi_str_add(p->out, "[");
        add_number(p, field, ((const double *)at)[0]);
        csi_str_add(p->out, ", ");
        add_number(p, field, ((const double *)at)[1]);
        csi_str_add(p->out, "]");
        break;
    case CSI_FIELD_TEXT:
    case CSI_FIELD_PATH:
    case CSI_FIELD_WORD_TEXT:
    case CSI_FIELD_JSON:
        add_pointer(p, field, *(const char *const *)at);
        break;
    case CSI_FIELD_WORD:
        csi_str_add(p->out, field->words[*(const int32_t *)at]);
        break;
    case CSI_FIELD_WORD_BOOL:
        csi_str_add(p->out, field->words[*(const bool *)at ? 1 : 0]);
        break;
    case CSI_FIELD_WORD_SET:
        add_words(p, field, at);
        break;
    case CSI_FIELD_I32_LIST:
    case CSI_FIELD_I64_LIST:
        add_integers(p, field, owner);
        break;
    case CSI_FIELD_FREEZE:
        add_freeze(p, at);
        break;
    case CSI_FIELD_PLAN:
        add_plan(p, (const struct cs_config *)(const void *)owner);
        break;
    case CSI_FIELD_GROUP:
    case CSI_FIELD_MAP:
    case CSI_FIELD_LIST:
    case CSI_FIELD_ABSENT:
        break;
    }
}

static void add_group(printer *p, const csi_field_group *group,
                      const char *owner);

static void add_entries(printer *p, const csi_field *field, const char *owner)
{
    const bool is_map = field->type == CSI_FIELD_MAP;
    const char *const entries =
        *(const char *const *)(const void *)(owner + field->offset);
    const int32_t n =
        *(const int32_t *)(const void *)(owner + field->count_offset);

    if (n == 0) {
        csi_str_add(p->out, is_map ? " {}\n" : " []\n");
        return;
    }
    csi_str_add(p->out, "\n");
    for (int32_t i = 0; i < n; i++) {
        const char *const entry = entries + (size_t)i * field->group->bytes;

        p->indent += 2;
        if (is_map) {
            add_key(p, *(const char *const *)(const void *)(entry +
                                                            field->group
                                                                ->key_offset));
            csi_str_add(p->out, "\n");
        }
        p->indent += 2;
        p->has_dash = !is_map;
        add_group(p, field->group, entry);
        p->indent -= 4;
    }
}

/* Recurses along the table, whose depth is fixed. */
static void add_group(printer *p, const csi_field_group *group,
                      const char *owner)
{
    for (int32_t i = 0; i < group->n_fields; i++) {
        const csi_field *const field = &group->fields[i];

        if (p->for_hash && (field->flags & CSI_FIELD_SILENT) != 0) {
            continue;
        }
        add_key(p, field->name);
        if (field->type == CSI_FIELD_GROUP) {
            csi_str_add(p->out, "\n");
            p->indent += 2;
            add_group(p, field->group, owner);
            p->indent -= 2;
        } else if (field->type == CSI_FIELD_MAP ||
                   field->type == CSI_FIELD_LIST) {
            add_entries(p, field, owner);
        } else {
            csi_str_add(p->out, " ");
            if ((field->flags & CSI_FIELD_UNSTORED) != 0) {
                csi_str_add(p->out, field->fallback);
            } else {
                add_value(p, field, owner);
            }
            csi_str_add(p->out, "\n");
        }
    }
}

cs_status csi_print_config(const cs_config *config, bool for_hash, csi_str *out)
{
    printer p = {.out = out, .for_hash = for_hash};

    CS_CHECK(for_hash || realpath(".", p.cwd) != NULL, CS_ERR_IO,
             "the working folder has no path: it may have been removed");
    add_group(&p, &csi_recipe_group, (const char *)config);
    return csi_str_check(out);
}
