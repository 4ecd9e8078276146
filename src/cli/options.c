/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table of options for all commands: what it is called, which commands
 * take it, where its value goes. `key.path=value` words are overrides of the
 * recipe; a word that starts with `-` and is not in the table is an error that
 * names the nearest one.
 */
#include "cornstarch/comm.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum value_kind {
    VALUE_NONE,   /* sets a bool */
    VALUE_TEXT,   /* sets a const char * */
    VALUE_INT,    /* sets an int64_t */
    VALUE_INT32,  /* sets an int32_t */
    VALUE_DOUBLE, /* sets a double */
    VALUE_LIST,   /* appends to images or audios */
    VALUE_RESUME, /* --resume or --resume=STEP */
    VALUE_FORMAT, /* text | json */
    VALUE_DEVICE  /* cpu | cuda */
} value_kind;

typedef struct option_row {
    const char *name;
    const char *commands; /* "" = all */
    const char *value;    /* how help calls the value; NULL = none */
    value_kind kind;
    size_t offset;
    const char *help;
} option_row;

#define FIELD(name) offsetof(cli_options, name)

static const option_row OPTIONS[] = {
    {"--ranks", "train forward plan simulate inspect", "N", VALUE_INT32,
     FIELD(n_ranks),
     "ranks as threads of this process; default 1 (mpirun: as started)"},
    {"-o", "train", "DIR", VALUE_TEXT, FIELD(output),
     "run folder instead of <output_dir>/<name>"},
    {"-o", "plan profile", "FILE", VALUE_TEXT, FIELD(output), "file to write"},
    {"--input", "forward", "FILE", VALUE_TEXT, FIELD(input),
     "safetensors file with the tensors"},
    {"--output", "forward", "FILE", VALUE_TEXT, FIELD(output),
     "safetensors file to write"},
    {"--grad", "forward", NULL, VALUE_NONE, FIELD(with_gradients),
     "gradients of the loss, too"},
    {"--precision", "forward", "f32|bf16", VALUE_TEXT, FIELD(precision),
     "over the recipe's; a folder's is f32"},
    {"--resume", "train", "[=STEP]", VALUE_RESUME, FIELD(resume),
     "go on from the newest (or the given) checkpoint"},
    {"--overwrite", "train", NULL, VALUE_NONE, FIELD(overwrite),
     "remove what the run folder holds"},
    {"--dry-run", "train", NULL, VALUE_NONE, FIELD(is_dry_run),
     "check recipe, weights, data, plan; train nothing"},
    {"--to", "convert", "llava|modules", VALUE_TEXT, FIELD(to), "which form"},
    {"--checkpoint", "eval generate forward convert", "STEP", VALUE_INT,
     FIELD(checkpoint), "a checkpoint instead of model/"},
    {"--checkpoint", "inspect", "STEP", VALUE_INT, FIELD(checkpoint),
     "one checkpoint of the run instead of all"},
    {"--data", "eval", "FILE", VALUE_TEXT, FIELD(data),
     "a LLaVA JSON file instead of the recipe's sets"},
    {"--max-samples", "eval", "N", VALUE_INT, FIELD(max_samples),
     "of each set; default all"},
    {"--prompt", "generate", "TEXT", VALUE_TEXT, FIELD(prompt),
     "what the user says"},
    {"--image", "generate", "FILE", VALUE_LIST, FIELD(images),
     "a picture; may be given again"},
    {"--audio", "generate", "FILE", VALUE_LIST, FIELD(audios),
     "a recording; may be given again"},
    {"--max-new-tokens", "generate", "N", VALUE_INT, FIELD(max_new_tokens),
     "default 128"},
    {"--temperature", "generate", "X", VALUE_DOUBLE, FIELD(temperature),
     "0 (default) takes the likeliest token"},
    {"--top-p", "generate", "X", VALUE_DOUBLE, FIELD(top_p),
     "nucleus sampling; default 1"},
    {"--seed", "generate", "N", VALUE_INT, FIELD(seed), "of sampling"},
    {"--params", "inspect", NULL, VALUE_NONE, FIELD(with_params),
     "graph: list parameters"},
    {"--markdown", "explain", NULL, VALUE_NONE, FIELD(is_markdown),
     "as docs/recipe.md"},
    {"--format", "", "text|json", VALUE_FORMAT, FIELD(is_json),
     "how results are printed"},
    {"--quiet", "", NULL, VALUE_NONE, FIELD(is_quiet),
     "results and errors only"},
    {"--log", "", "LEVEL", VALUE_TEXT, FIELD(log_level),
     "error, warn, info, debug, trace; also info,comm=trace"},
    {"--device", "", "cpu|cuda", VALUE_DEVICE, 0, "over the recipe's device"},
    {"--threads", "", "N", VALUE_INT32, FIELD(n_threads),
     "of a rank; default 1 with several ranks, else all cores"},
    {"--help", "", NULL, VALUE_NONE, FIELD(is_help), "this text"},
};

enum {
    N_OPTIONS = sizeof OPTIONS / sizeof OPTIONS[0]
};

static bool takes(const option_row *row, const char *command)
{
    const size_t n = strlen(command);
    const char *at = row->commands;

    if (at[0] == '\0') {
        return true;
    }
    while ((at = strstr(at, command)) != NULL) {
        const bool begins = at == row->commands || at[-1] == ' ';
        if (begins && (at[n] == ' ' || at[n] == '\0')) {
            return true;
        }
        at += n;
    }
    return false;
}

static cs_status parse_int(const option_row *row, const char *text,
                           int64_t *out)
{
    char *end = NULL;

    errno = 0;
    const long long value = strtoll(text, &end, 10);
    CS_CHECK(errno == 0 && end != text && *end == '\0' && value >= 0,
             CS_ERR_ARG, "%s: wanted a number, got '%s'", row->name, text);
    *out = value;
    return CS_OK;
}

static cs_status set_list(const option_row *row, const char *text,
                          cli_options *o)
{
    const bool is_image = row->offset == FIELD(images);
    int32_t *n = is_image ? &o->n_images : &o->n_audios;
    const char **list = is_image ? o->images : o->audios;

    CS_CHECK(*n < CLI_MAX_WORDS, CS_ERR_ARG, "%s: more than %d", row->name,
             CLI_MAX_WORDS);
    list[(*n)++] = text;
    return CS_OK;
}

static cs_status set_value(const option_row *row, const char *text,
                           cli_options *o)
{
    char *field = (char *)o + row->offset;
    char *end = NULL;
    int64_t integer = 0;

    switch (row->kind) {
    case VALUE_NONE:
        *(bool *)field = true;
        return CS_OK;
    case VALUE_TEXT:
        *(const char **)field = text;
        return CS_OK;
    case VALUE_INT:
        return parse_int(row, text, (int64_t *)field);
    case VALUE_INT32:
        CS_TRY(parse_int(row, text, &integer));
        CS_CHECK(integer >= 1 && integer <= 4096, CS_ERR_ARG,
                 "%s: wanted 1..4096, got '%s'", row->name, text);
        *(int32_t *)field = (int32_t)integer;
        return CS_OK;
    case VALUE_DOUBLE:
        *(double *)field = strtod(text, &end);
        CS_CHECK(end != text && *end == '\0', CS_ERR_ARG,
                 "%s: wanted a number, got '%s'", row->name, text);
        return CS_OK;
    case VALUE_LIST:
        return set_list(row, text, o);
    case VALUE_RESUME:
        o->resume = true;
        if (text != NULL) {
            CS_TRY(parse_int(row, text, &o->resume_step));
            CS_CHECK(o->resume_step > 0, CS_ERR_ARG,
                     "--resume: wanted a step from 1 on, got '%s'", text);
        }
        return CS_OK;
    case VALUE_FORMAT:
        CS_CHECK(strcmp(text, "text") == 0 || strcmp(text, "json") == 0,
                 CS_ERR_ARG, "--format: wanted text or json, got '%s'", text);
        o->is_json = strcmp(text, "json") == 0;
        return CS_OK;
    case VALUE_DEVICE:
        CS_CHECK(strcmp(text, "cpu") == 0 || strcmp(text, "cuda") == 0,
                 CS_ERR_ARG, "--device: wanted cpu or cuda, got '%s'", text);
        CS_CHECK(strcmp(text, "cpu") == 0, CS_ERR_UNSUPPORTED,
                 "unsupported: --device cuda: this build computes on cpu only");
        return CS_OK;
    }
    return CS_OK;
}

static cs_status find_option(const char *word, const char *command,
                             const option_row **out, const char **value)
{
    const char *names[N_OPTIONS];
    const char *equals = strchr(word, '=');
    const size_t n = equals != NULL ? (size_t)(equals - word) : strlen(word);
    int n_names = 0;

    for (int i = 0; i < N_OPTIONS; i++) {
        if (!takes(&OPTIONS[i], command)) {
            continue;
        }
        names[n_names++] = OPTIONS[i].name;
        if (strlen(OPTIONS[i].name) == n &&
            strncmp(OPTIONS[i].name, word, n) == 0) {
            *out = &OPTIONS[i];
            *value = equals != NULL ? equals + 1 : NULL;
            return CS_OK;
        }
    }
    const char *nearest = csi_str_nearest(word, names, n_names);
    return CS_FAIL(CS_ERR_ARG, "%s has no option '%.*s'%s%s%s", command, (int)n,
                   word, nearest != NULL ? "; did you mean '" : "",
                   nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
}

/* An override has a key path before its `=`. */
static bool is_override(const char *word)
{
    const char *equals = strchr(word, '=');

    return equals != NULL && equals != word &&
           strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789_.[]") == (size_t)(equals - word);
}

static cs_status add_word(const cli_command *command, const char *word,
                          cli_options *o)
{
    const bool overrides = command->takes_overrides && is_override(word);
    int32_t *n = overrides ? &o->n_overrides : &o->n_words;

    CS_CHECK(*n < CLI_MAX_WORDS, CS_ERR_ARG, "more than %d words",
             CLI_MAX_WORDS);
    (overrides ? o->overrides : o->words)[(*n)++] = word;
    return CS_OK;
}

cs_status cli_parse(const cli_command *command, int argc, char **argv,
                    cli_options *out)
{
    cli_options o = {
        .command = command->name,
        .max_new_tokens = 128,
        .top_p = 1.0,
    };

    for (int i = 2; i < argc && !o.is_help; i++) {
        const option_row *row = NULL;
        const char *value = NULL;
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            CS_TRY(add_word(command, argv[i], &o));
            continue;
        }
        const char *word = strcmp(argv[i], "-h") == 0 ? "--help" : argv[i];
        CS_TRY(find_option(word, o.command, &row, &value));
        const bool needs_value =
            row->kind != VALUE_NONE && row->kind != VALUE_RESUME;
        CS_CHECK(row->kind != VALUE_NONE || value == NULL, CS_ERR_ARG,
                 "%s takes no value, got '%s'", row->name, value);
        if (needs_value && value == NULL) {
            CS_CHECK(i + 1 < argc, CS_ERR_ARG, "%s wants %s", row->name,
                     row->value);
            value = argv[++i];
        }
        CS_TRY(set_value(row, value, &o));
    }
    if (o.n_ranks == 0) {
        o.n_ranks = cs_comm_launch().n_processes;
    }
    CS_CHECK(!o.resume || !o.overwrite, CS_ERR_ARG,
             "--resume and --overwrite exclude each other");
    *out = o;
    return CS_OK;
}

void cli_print_options(FILE *out, const char *command)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        const option_row *row = &OPTIONS[i];
        char name[64];
        if (takes(row, command)) {
            (void)snprintf(name, sizeof name, "%s%s%s", row->name,
                           row->value != NULL && row->value[0] != '[' ? " "
                                                                      : "",
                           row->value != NULL ? row->value : "");
            (void)fprintf(out, "  %-24s %s\n", name, row->help);
        }
    }
}

cs_status cli_want_words(const cli_options *options, int32_t n,
                         const char *usage)
{
    const int32_t got = options->n_words;

    CS_CHECK(got <= n, CS_ERR_ARG,
             "%s: one word too many: '%s'; usage: "
             "cornstarch %s%s%s",
             options->command, options->words[n], options->command,
             usage[0] != '\0' ? " " : "", usage);
    CS_CHECK(got == n, CS_ERR_ARG, "usage: cornstarch %s %s", options->command,
             usage);
    return CS_OK;
}

cs_status cli_want_text(const cli_options *options)
{
    CS_CHECK(!options->is_json, CS_ERR_UNSUPPORTED,
             "unsupported: %s --format json", options->command);
    return CS_OK;
}

cs_status cli_load_recipe(const cli_options *options, cs_config **out)
{
    CS_TRY(cli_want_words(options, 1, "RECIPE [key=value ...]"));
    return cs_config_load(options->words[0], options->overrides,
                          options->n_overrides, out);
}

/* The folder as a person would write it: without `x/../`, and relative to the
 * working folder if it lies there. As it is where it does not exist yet. */
static const char *shorten(const char *folder, char real[PATH_MAX])
{
    char here[PATH_MAX];

    if (realpath(folder, real) == NULL || getcwd(here, sizeof here) == NULL) {
        return folder;
    }
    const size_t n = strlen(here);
    return strncmp(real, here, n) == 0 && real[n] == '/' ? real + n + 1 : real;
}

cs_status cli_run_folder(const cli_options *options, const cs_config *config,
                         char **out)
{
    char real[PATH_MAX];

    if (options->output != NULL) {
        *out = csi_strdup(options->output);
        CS_CHECK(*out != NULL, CS_ERR_NOMEM, "run folder");
        return CS_OK;
    }
    return csi_path_join(shorten(config->output_dir, real), config->name, out);
}

cs_status cli_profile_path(const cs_config *config, char **out)
{
    csi_str name = {0};
    cs_status st = CS_OK;

    csi_str_addf(&name, "%s.profile.json", config->name);
    CS_TRY_GOTO(done, csi_str_check(&name));
    CS_TRY_GOTO(done, csi_path_join(config->output_dir, name.data, out));
done:
    csi_str_fini(&name);
    return st;
}
