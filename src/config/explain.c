/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manual, out of the table: one key, one part or all, as text for a
 * terminal or as the Markdown page docs/recipe.md.
 */
#include "field.h"

#include <string.h>

enum {
    MAX_DOTTED = 256,
    TEXT_WIDTH = 78
};

typedef struct writer {
    csi_str *out;
    bool markdown;
} writer;

static const char PAGE_HEAD[] =
    "# The recipe\n"
    "\n"
    "A recipe is one YAML file that says what `cornstarch train` does. This "
    "page is made\n"
    "from the field table in `src/config/` (`cornstarch explain` prints the "
    "same, also for\n"
    "one key: `cornstarch explain training.optimizer`); a test fails when it "
    "is stale.\n"
    "\n"
    "The smallest recipe:\n"
    "\n"
    "```yaml\n"
    "version: 1\n"
    "model:\n"
    "  encoders:\n"
    "    vision: {from: ../siglip, placeholder: \"<image>\"}\n"
    "  language_model: {from: ../llama}\n"
    "data:\n"
    "  train: [{path: train.json}]\n"
    "training: {max_steps: 100}\n"
    "```\n"
    "\n"
    "- **YAML subset.** At most 1 MiB and 32 levels, one document, UTF-8; no "
    "anchors, aliases,\n"
    "  tags or duplicate keys. `1e-4` is a number; only `true` and `false` "
    "are booleans; only\n"
    "  `null` is null; a text that looks like one of these needs quotes.\n"
    "- **Errors** name file, line, column and key, what was wanted and what "
    "was found, and for\n"
    "  an unknown key the nearest one.\n"
    "- **Overrides** on the command line are dotted and are read as YAML: "
    "`training.max_steps=20`,\n"
    "  `data.eval[0].path=x.json`. They are put into the recipe before it is "
    "checked.\n"
    "- **Paths** in a recipe start at the recipe's folder, paths in an "
    "override at the working\n"
    "  folder.\n"
    "- **Offered now.** Where a default is marked *only*, or the values are "
    "followed by *offered:*,\n"
    "  everything else is understood and answered with `unsupported: ...`.\n"
    "- **Required** keys have no default.\n";

static const char TABLE_HEAD[] = "| key | value | default | meaning |\n"
                                 "|---|---|---|---|\n";

static void add_default(const writer *w, const csi_field *field)
{
    const char *const mark = w->markdown ? "`" : "";

    if ((field->flags & CSI_FIELD_REQUIRED) != 0) {
        csi_str_add(w->out, w->markdown ? "**required**" : "required");
        return;
    }
    csi_str_addf(w->out, "%s%s%s%s", w->markdown ? "" : "default ", mark,
                 field->fallback, mark);
    if ((field->flags & CSI_FIELD_ONLY) != 0) {
        csi_str_add(w->out, w->markdown ? " *only*"
                                        : ", nothing else is "
                                          "offered");
    }
}

static void add_kind(const writer *w, const csi_field *field)
{
    char text[CSI_WANTED_BYTES];

    csi_str_add(w->out, csi_field_wanted(field, text));
    if (field->unit != NULL) {
        csi_str_addf(w->out, " (%s)", field->unit);
    }
    if (field->offered != 0) {
        csi_str_addf(w->out, "; %s %s", w->markdown ? "*offered:*" : "offered:",
                     csi_field_offered(field, text));
    }
}

/* Words of `text`, wrapped, each line after `indent` spaces. */
static void add_wrapped(const writer *w, const char *text, int indent)
{
    int column = 0;

    while (*text != '\0') {
        const int n = (int)strcspn(text, " ");

        if (column == 0 || column + 1 + n > TEXT_WIDTH) {
            csi_str_addf(w->out, "%s%*s", column > 0 ? "\n" : "", indent, "");
            column = indent;
        } else {
            csi_str_add(w->out, " ");
            column++;
        }
        csi_str_add_bytes(w->out, text, (size_t)n);
        column += n;
        text += n;
        text += *text == ' ';
    }
    csi_str_add(w->out, "\n");
}

/* Table cells and words in angle brackets, safe in Markdown. */
static void add_cell(const writer *w, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|') {
            csi_str_add(w->out, "\\|");
        } else if (*text == '<') {
            csi_str_add(w->out, "&lt;");
        } else {
            csi_str_add_bytes(w->out, text, 1);
        }
    }
}

static void add_leaf(const writer *w, const csi_field *field,
                     const char *dotted)
{
    if (w->markdown) {
        csi_str_addf(w->out, "| `%s` | ", field->name);
        csi_str part = {0};
        const writer inner = {.out = &part, .markdown = true};

        add_kind(&inner, field);
        add_cell(w, csi_str_get(&part));
        w->out->failed |= part.failed;
        csi_str_fini(&part);
        csi_str_add(w->out, " | ");
        add_default(w, field);
        csi_str_add(w->out, " | ");
        add_cell(w, field->help);
        csi_str_add(w->out, " |\n");
        return;
    }
    csi_str_addf(w->out, "%s\n    ", dotted);
    add_kind(w, field);
    csi_str_add(w->out, "; ");
    add_default(w, field);
    csi_str_add(w->out, "\n");
    add_wrapped(w, field->help, 4);
}

/* "a.b" + field, with "<name>" or "[]" behind what has entries. */
static void extend(const char *dotted, const csi_field *field, bool with_entry,
                   char out[MAX_DOTTED])
{
    const bool is_map = with_entry && field->type == CSI_FIELD_MAP;
    const bool is_list = with_entry && field->type == CSI_FIELD_LIST;

    (void)snprintf(out, MAX_DOTTED, "%s%s%s%s%s", dotted,
                   dotted[0] != '\0' ? "." : "", field->name,
                   is_list  ? "[]"
                   : is_map ? "."
                            : "",
                   is_map ? field->group->key_name : "");
}

static void add_part(const writer *w, const csi_field_group *group,
                     const csi_field *of, const char *dotted);

/* First the values of a group, then its parts, each with a heading. */
static void add_group(const writer *w, const csi_field_group *group,
                      const char *dotted)
{
    char below[MAX_DOTTED];
    bool has_head = false;

    for (int32_t i = 0; i < group->n_fields; i++) {
        const csi_field *const field = &group->fields[i];

        if (field->group != NULL) {
            continue;
        }
        if (w->markdown && !has_head) {
            csi_str_add(w->out, "\n");
            csi_str_add(w->out, TABLE_HEAD);
            has_head = true;
        }
        extend(dotted, field, false, below);
        add_leaf(w, field, below);
    }
    for (int32_t i = 0; i < group->n_fields; i++) {
        const csi_field *const field = &group->fields[i];

        if (field->group != NULL) {
            extend(dotted, field, true, below);
            add_part(w, field->group, field, below);
        }
    }
}

static void add_part(const writer *w, const csi_field_group *group,
                     const csi_field *of, const char *dotted)
{
    const bool has_entries =
        of->type == CSI_FIELD_MAP || of->type == CSI_FIELD_LIST;
    const char *const kind = of->type == CSI_FIELD_LIST ? "List" : "Mapping";

    if (w->markdown) {
        csi_str_addf(w->out, "\n## `%s`\n\n", dotted);
        if (has_entries) {
            csi_str_addf(w->out, "%s, %s. ", kind,
                         (of->flags & CSI_FIELD_REQUIRED) != 0
                             ? "**required**"
                             : "may be empty");
        }
        add_cell(w, of->help);
        csi_str_add(w->out, "\n");
    } else {
        csi_str_addf(w->out, "%s\n", dotted);
        if (has_entries) {
            csi_str_addf(w->out, "    %s, %s.\n", kind,
                         (of->flags & CSI_FIELD_REQUIRED) != 0
                             ? "required"
                             : "may be empty");
        }
        add_wrapped(w, of->help, 4);
    }
    add_group(w, group, dotted);
}

typedef struct found {
    const csi_field *field; /* NULL: the whole recipe */
    char dotted[MAX_DOTTED];
} found;

/* The next name of a dotted key, without an index behind it. */
static const char *take_name(const char *at, char name[CSI_NODE_MAX_KEY + 1])
{
    size_t n_bytes = strcspn(at, ".[");

    n_bytes = n_bytes > CSI_NODE_MAX_KEY ? CSI_NODE_MAX_KEY : n_bytes;
    memcpy(name, at, n_bytes);
    name[n_bytes] = '\0';
    at += strcspn(at, ".");
    return *at == '.' ? at + 1 : at;
}

static cs_status refuse_key(const csi_field_group *group, const char *key,
                            const char *name)
{
    char buf[128];
    const char *hint = csi_field_elsewhere(name, buf);

    if (hint[0] == '\0') {
        hint = group != NULL ? csi_field_nearest(group, name) : NULL;
    }
    return CS_FAIL(CS_ERR_ARG, "unknown key '%.100s'%s%s%s", key,
                   hint != NULL ? "; did you mean '" : "",
                   hint != NULL ? hint : "", hint != NULL ? "'?" : "");
}

/* Names of encoders, modules and patterns may be given or left out. */
static cs_status find(const char *key, found *out)
{
    const csi_field_group *group = &csi_recipe_group;
    char around[MAX_DOTTED] = ""; /* dotted key of `group` */
    bool may_skip = false;        /* an entry's name may come now */

    out->field = NULL;
    out->dotted[0] = '\0';
    for (const char *at = key; *at != '\0';) {
        char name[CSI_NODE_MAX_KEY + 1];
        char below[MAX_DOTTED];

        at = take_name(at, name);

        const csi_field *const child =
            group != NULL ? csi_field_find(group, name) : NULL;

        if (child == NULL && may_skip) {
            may_skip = false;
            continue;
        }
        if (child == NULL) {
            return refuse_key(group, key, name);
        }
        extend(around, child, true, below);
        (void)snprintf(around, sizeof around, "%s", below);
        (void)snprintf(out->dotted, sizeof out->dotted, "%s", below);
        may_skip = child->type == CSI_FIELD_MAP;
        out->field = child;
        group = child->group;
    }
    return CS_OK;
}

cs_status cs_config_explain(const char *key, bool markdown, char **out)
{
    csi_str text = {0};
    const writer w = {.out = &text, .markdown = markdown};
    found f;
    cs_status st = CS_OK;

    CS_TRY(find(key != NULL ? key : "", &f));
    if (f.field == NULL) {
        csi_str_add(&text, markdown ? PAGE_HEAD : "");
        add_group(&w, &csi_recipe_group, "");
    } else if (f.field->group != NULL) {
        add_part(&w, f.field->group, f.field, f.dotted);
    } else {
        csi_str_add(&text, markdown ? TABLE_HEAD : "");
        add_leaf(&w, f.field, f.dotted);
    }
    CS_TRY_GOTO(undo, csi_str_check(&text));
    *out = text.data;
    return CS_OK;

undo:
    csi_str_fini(&text);
    return st;
}
