/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to the table: find a key, name the nearest one, say in words what
 * a value must be. Errors and the manual use the same words.
 */
#include "field.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_GROUP_FIELDS = 64
};

const csi_field *csi_field_find(const csi_field_group *group, const char *name)
{
    for (int32_t i = 0; i < group->n_fields; i++) {
        if (strcmp(group->fields[i].name, name) == 0) {
            return &group->fields[i];
        }
    }
    return NULL;
}

const char *csi_field_nearest(const csi_field_group *group, const char *name)
{
    const char *names[MAX_GROUP_FIELDS];
    int n = 0;

    for (; n < group->n_fields && n < MAX_GROUP_FIELDS; n++) {
        names[n] = group->fields[n].name;
    }
    const char *const nearest = csi_str_nearest(name, names, n);

    /* Half of a word changed is another word. */
    if (nearest != NULL &&
        2 * csi_str_distance(name, nearest) > (int)strlen(nearest)) {
        return NULL;
    }
    return nearest;
}

typedef struct level {
    const csi_field_group *group;
    int32_t at;
} level;

const char *csi_field_elsewhere(const char *name, char buf[128])
{
    enum {
        MAX_LEVELS = 8
    };
    level open[MAX_LEVELS] = {{.group = &csi_recipe_group}};
    int32_t depth = 1;

    buf[0] = '\0';
    while (depth > 0) {
        level *const top = &open[depth - 1];

        if (top->at == top->group->n_fields) {
            depth--;
            if (depth > 0) {
                open[depth - 1].at++;
            }
            continue;
        }
        const csi_field *const field = &top->group->fields[top->at];

        if (strcmp(field->name, name) == 0) {
            break;
        }
        if (field->group != NULL && depth < MAX_LEVELS) {
            open[depth++] = (level){.group = field->group};
        } else {
            top->at++;
        }
    }
    for (int32_t i = 0; i < depth; i++) {
        const csi_field *const field = &open[i].group->fields[open[i].at];
        const bool has_more = i + 1 < depth;
        const size_t used = strlen(buf);

        (void)snprintf(buf + used, 128 - used, "%s%s%s%s", i > 0 ? "." : "",
                       field->name,
                       has_more && field->type == CSI_FIELD_MAP ? "." : "",
                       !has_more                       ? ""
                       : field->type == CSI_FIELD_MAP  ? field->group->key_name
                       : field->type == CSI_FIELD_LIST ? "[]"
                                                       : "");
    }
    return buf;
}

bool csi_field_is_offered(const csi_field *field, int32_t word)
{
    return field->offered == 0 || (field->offered >> word & 1U) != 0;
}

static void append(char *buf, size_t capacity, const char *text)
{
    const size_t used = strlen(buf);

    (void)snprintf(buf + used, capacity - used, "%s", text);
}

/* "a, b and c" from the words that are offered, or from all. */
static void append_words(char buf[CSI_WANTED_BYTES], const csi_field *field,
                         bool only_offered, const char *last_joint)
{
    int32_t n_left = 0;
    bool is_first = true;

    for (int32_t i = 0; field->words[i] != NULL; i++) {
        n_left += !only_offered || csi_field_is_offered(field, i);
    }
    for (int32_t i = 0; field->words[i] != NULL; i++) {
        if (only_offered && !csi_field_is_offered(field, i)) {
            continue;
        }
        n_left--;
        if (!is_first) {
            append(buf, CSI_WANTED_BYTES, n_left == 0 ? last_joint : ", ");
        }
        append(buf, CSI_WANTED_BYTES, field->words[i]);
        is_first = false;
    }
}

/* " >= 1", " > 0 and < 1"; limits that only guard against overflow are not
 * said. */
static void append_range(char buf[CSI_WANTED_BYTES], const csi_field *field)
{
    const bool is_above = (field->flags & CSI_FIELD_ABOVE) != 0;
    const bool is_below = (field->flags & CSI_FIELD_BELOW) != 0;
    char part[64];

    (void)snprintf(part, sizeof part, " %s %.15g",
                   is_above ? ">" : ">=", field->min);
    append(buf, CSI_WANTED_BYTES, part);
    if (field->max < 1e9) {
        (void)snprintf(part, sizeof part, " and %s %.15g",
                       is_below ? "<" : "<=", field->max);
        append(buf, CSI_WANTED_BYTES, part);
    }
}

const char *csi_field_wanted(const csi_field *field, char buf[CSI_WANTED_BYTES])
{
    static const char *const KINDS[] = {
        [CSI_FIELD_GROUP] = "a mapping",
        [CSI_FIELD_MAP] = "a mapping",
        [CSI_FIELD_LIST] = "a list of mappings",
        [CSI_FIELD_BOOL] = "true or false",
        [CSI_FIELD_I32] = "an integer",
        [CSI_FIELD_I64] = "an integer",
        [CSI_FIELD_U64] = "an integer >= 0",
        [CSI_FIELD_F64] = "a number",
        [CSI_FIELD_TEXT] = "a text",
        [CSI_FIELD_PATH] = "a path",
        [CSI_FIELD_WORD] = "",
        [CSI_FIELD_WORD_BOOL] = "",
        [CSI_FIELD_WORD_TEXT] = "",
        [CSI_FIELD_WORD_SET] = "a list of ",
        [CSI_FIELD_I32_LIST] = "a list of integers",
        [CSI_FIELD_I64_LIST] = "a list of integers",
        [CSI_FIELD_F64_PAIR] = "a list of two numbers",
        [CSI_FIELD_FREEZE] = "true, false or a list of regular expressions",
        [CSI_FIELD_JSON] = "a mapping",
        [CSI_FIELD_PLAN] = "auto, manual or a path",
        [CSI_FIELD_ABSENT] = "a mapping",
    };

    const bool has_more =
        field->empty != NULL || (field->flags & CSI_FIELD_OR_FILE) != 0;

    (void)snprintf(buf, CSI_WANTED_BYTES, "%s", KINDS[field->type]);
    switch (field->type) {
    case CSI_FIELD_I32:
    case CSI_FIELD_I64:
    case CSI_FIELD_F64:
        if (field->min == field->max) {
            (void)snprintf(buf, CSI_WANTED_BYTES, "%.15g", field->min);
            break;
        }
        append_range(buf, field);
        break;
    case CSI_FIELD_I32_LIST:
    case CSI_FIELD_I64_LIST:
    case CSI_FIELD_F64_PAIR:
        append_range(buf, field);
        break;
    case CSI_FIELD_WORD:
    case CSI_FIELD_WORD_BOOL:
    case CSI_FIELD_WORD_TEXT:
    case CSI_FIELD_WORD_SET:
        append_words(buf, field, false, has_more ? ", " : " or ");
        break;
    default:
        break;
    }
    if ((field->flags & CSI_FIELD_OR_FILE) != 0) {
        append(buf, CSI_WANTED_BYTES, " or a .jinja file");
    }
    if (field->empty != NULL) {
        append(buf, CSI_WANTED_BYTES, " or ");
        append(buf, CSI_WANTED_BYTES, field->empty);
    }
    return buf;
}

const char *csi_field_offered(const csi_field *field,
                              char buf[CSI_WANTED_BYTES])
{
    buf[0] = '\0';
    if ((field->flags & CSI_FIELD_ONLY) != 0) {
        append(buf, CSI_WANTED_BYTES, field->fallback);
    } else {
        append_words(buf, field, true, " and ");
    }
    return buf;
}

const char *csi_key_text(const csi_key *key, char buf[CSI_KEY_BYTES])
{
    enum {
        MAX_LEVELS = 16
    };
    const csi_key *levels[MAX_LEVELS];
    int32_t n = 0;

    for (; key != NULL && n < MAX_LEVELS; key = key->parent) {
        levels[n++] = key;
    }
    buf[0] = '\0';
    while (n-- > 0) {
        const size_t used = strlen(buf);

        if (levels[n]->name == NULL) {
            (void)snprintf(buf + used, CSI_KEY_BYTES - used, "[%d]",
                           levels[n]->index);
        } else {
            (void)snprintf(buf + used, CSI_KEY_BYTES - used, "%s%s",
                           used > 0 ? "." : "", levels[n]->name);
        }
    }
    return buf;
}

const char *csi_number_text(double value, char buf[32])
{
    int digits = 1;

    for (; digits <= 17; digits++) {
        (void)snprintf(buf, 32, "%.*e", digits - 1, value);
        if (strtod(buf, NULL) == value) {
            break;
        }
    }
    const char *const e = strchr(buf, 'e');
    const int exponent = e != NULL ? (int)strtol(e + 1, NULL, 10) : 0;

    if (exponent >= -4 && exponent <= 15) {
        const int decimals = digits - 1 - exponent;

        (void)snprintf(buf, 32, "%.*f", decimals > 1 ? decimals : 1, value);
    }
    return buf;
}

/* Code point of the valid UTF-8 sequence at p; *n_bytes = its length. */
static uint32_t decode(const unsigned char *p, size_t *n_bytes)
{
    if (p[0] < 0x80U) {
        *n_bytes = 1;
        return p[0];
    }
    if (p[0] < 0xe0U) {
        *n_bytes = 2;
        return (p[0] & 0x1fU) << 6 | (p[1] & 0x3fU);
    }
    if (p[0] < 0xf0U) {
        *n_bytes = 3;
        return (p[0] & 0x0fU) << 12 | (p[1] & 0x3fU) << 6 | (p[2] & 0x3fU);
    }
    *n_bytes = 4;
    return (p[0] & 0x07U) << 18 | (p[1] & 0x3fU) << 12 | (p[2] & 0x3fU) << 6 |
           (p[3] & 0x3fU);
}

/* What YAML refuses or folds when it stands bare, JSON too. */
static bool needs_escape(uint32_t c)
{
    return c < 0x20U || (c >= 0x7fU && c <= 0xa0U) || c == 0x2028U ||
           c == 0x2029U || c == 0xfeffU || c == 0xfffeU || c == 0xffffU;
}

void csi_quote(csi_str *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    csi_str_add(out, "\"");
    while (*at != '\0') {
        size_t n_bytes = 1;
        const uint32_t c = decode(at, &n_bytes);

        if (c == '"' || c == '\\') {
            csi_str_addf(out, "\\%c", (int)c);
        } else if (needs_escape(c)) {
            csi_str_addf(out, "\\u%04x", (unsigned int)c);
        } else {
            csi_str_add_bytes(out, at, n_bytes);
        }
        at += n_bytes;
    }
    csi_str_add(out, "\"");
}
