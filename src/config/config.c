/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a config: text -> tree -> overrides -> table -> rules -> frozen
 * object. All its memory is one arena, so nothing is freed one by one and a
 * half-read recipe is destroyed like a whole one.
 */
#include "cornstarch/config.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"

#include "field.h"

#include <inttypes.h>
#include <string.h>

typedef struct loaded_config {
    cs_config config; /* first: a pointer to it is a pointer to this */
    csi_arena arena;  /* owned: everything that config points to */
    uint64_t hash;
} loaded_config;

/* What a load starts from; all borrowed. */
typedef struct request {
    const char *path;
    const char *base_dir;
    const char *yaml;
    size_t n_bytes;
    const char *const *overrides;
    int32_t n_overrides;
} request;

void cs_config_destroy(cs_config **config)
{
    loaded_config *const loaded = (loaded_config *)*config;

    if (loaded == NULL) {
        return;
    }
    csi_arena_fini(&loaded->arena);
    csi_free(loaded);
    *config = NULL;
}

static cs_status set_hash(loaded_config *loaded)
{
    csi_str text = {0};
    const cs_status st = csi_print_config(&loaded->config, true, &text);

    if (st == CS_OK) {
        loaded->hash = csi_hash64_bytes(csi_str_get(&text), text.length);
    }
    csi_str_fini(&text);
    return st;
}

static cs_status read_recipe(const request *from, csi_arena *scratch,
                             loaded_config *loaded)
{
    const csi_node_source source = {.arena = scratch,
                                    .path = from->path,
                                    .yaml = from->yaml,
                                    .n_bytes = from->n_bytes};
    const csi_reader reader = {.path = from->path,
                               .base_dir = from->base_dir,
                               .arena = &loaded->arena,
                               .scratch = scratch};
    csi_node *root = NULL;

    CS_TRY(csi_node_parse(&source, &root));
    CS_CHECK(root->kind == CSI_NODE_MAP, CS_ERR_ARG,
             "%s:%d:%d: wanted a mapping, as in 'version: 1'", from->path,
             root->line, root->column);
    for (int32_t i = 0; i < from->n_overrides; i++) {
        CS_TRY(csi_override_apply(scratch, from->path, from->overrides[i],
                                  root));
    }
    loaded->config.path = csi_arena_strdup(&loaded->arena, from->path);
    loaded->config.base_dir = csi_arena_strdup(&loaded->arena, from->base_dir);
    CS_CHECK(loaded->config.path != NULL && loaded->config.base_dir != NULL,
             CS_ERR_NOMEM, "out of memory for a recipe text");
    CS_TRY(csi_read_group(&reader, &csi_recipe_group, root, NULL,
                          &loaded->config));
    CS_TRY(csi_check_config(&reader, root, &loaded->config));
    return set_hash(loaded);
}

static cs_status create(const request *from, cs_config **out)
{
    csi_arena scratch;
    loaded_config *const loaded = csi_calloc(1, sizeof *loaded);

    CS_CHECK(loaded != NULL, CS_ERR_NOMEM, "out of memory for a recipe");
    csi_arena_init(&loaded->arena, 0);
    csi_arena_init(&scratch, 0);

    const cs_status st = read_recipe(from, &scratch, loaded);
    cs_config *config = &loaded->config;

    csi_arena_fini(&scratch);
    if (st != CS_OK) {
        cs_config_destroy(&config);
        CS_TRY(st);
    }
    *out = config;
    return CS_OK;
}

cs_status cs_config_parse(const char *yaml, size_t n_bytes,
                          const char *base_dir, const char *const *overrides,
                          int32_t n_overrides, cs_config **out)
{
    const request from = {.path = "<memory>",
                          .base_dir = base_dir,
                          .yaml = yaml,
                          .n_bytes = n_bytes,
                          .overrides = overrides,
                          .n_overrides = n_overrides};

    CS_TRY(create(&from, out));
    return CS_OK;
}

cs_status cs_config_load(const char *path, const char *const *overrides,
                         int32_t n_overrides, cs_config **out)
{
    request from = {.path = path,
                    .overrides = overrides,
                    .n_overrides = n_overrides};
    char *yaml = NULL;
    char *base_dir = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done,
                csi_file_read(path, CSI_NODE_MAX_BYTES, &yaml, &from.n_bytes));
    CS_TRY_GOTO(done, csi_path_dir(path, &base_dir));
    from.yaml = yaml;
    from.base_dir = base_dir;
    CS_TRY_GOTO(done, create(&from, out));
done:
    csi_free(base_dir);
    csi_free(yaml);
    return st;
}

cs_status cs_config_print(const cs_config *config, char **out)
{
    csi_str text = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(undo, csi_print_config(config, false, &text));
    *out = text.data;
    return CS_OK;

undo:
    csi_str_fini(&text);
    return st;
}

void cs_config_hash(const cs_config *config, char out[17])
{
    const loaded_config *const loaded = (const loaded_config *)config;

    (void)snprintf(out, 17, "%016" PRIx64, loaded->hash);
}

static size_t line_length(const char *text)
{
    return strcspn(text, "\n");
}

static bool is_same_line(const char *a, const char *b)
{
    const size_t n = line_length(a);

    return n == line_length(b) && memcmp(a, b, n) == 0;
}

static void add_line(csi_str *out, const char *line)
{
    const size_t n_spaces = strspn(line, " ");

    csi_str_add_bytes(out, line + n_spaces, line_length(line) - n_spaces);
}

/* Both texts have one key a line, sections begin at the margin. */
static void compare_lines(const char *now, const char *was, csi_str *out)
{
    const char *section = "";

    while (is_same_line(now, was) && *now != '\0') {
        section = *now != ' ' && *now != '-' ? now : section;
        now += line_length(now);
        was += line_length(was);
        now += *now == '\n';
        was += *was == '\n';
    }
    if (*now == '\0' && *was == '\0') {
        return;
    }
    if (*now == ' ' || *was == ' ') {
        add_line(out, section);
        csi_str_add(out, " ");
    }
    csi_str_add(out, "'");
    add_line(out, now);
    csi_str_add(out, "' was '");
    add_line(out, was);
    csi_str_add(out, "'");
}

cs_status cs_config_compare(const cs_config *now, const cs_config *was,
                            char **out)
{
    csi_str texts[2] = {{0}, {0}};
    csi_str difference = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_print_config(now, true, &texts[0]));
    CS_TRY_GOTO(done, csi_print_config(was, true, &texts[1]));
    csi_str_add(&difference, "");
    compare_lines(csi_str_get(&texts[0]), csi_str_get(&texts[1]), &difference);
    CS_TRY_GOTO(done, csi_str_check(&difference));
    *out = csi_strdup(csi_str_get(&difference));
    CS_CHECK_GOTO(done, *out != NULL, CS_ERR_NOMEM,
                  "no memory to compare recipes");
done:
    csi_str_fini(&texts[0]);
    csi_str_fini(&texts[1]);
    csi_str_fini(&difference);
    return st;
}
