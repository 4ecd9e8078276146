/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CLI_CLI_H
#define CS_CLI_CLI_H
/* The command line: one table of commands, one of options, a function per
 * command. */
#include "cornstarch/config.h"
#include "cornstarch/status.h"

#include "base/str.h"

enum {
    CLI_MAX_WORDS = 64
};

typedef struct cli_options {
    const char *command;
    const char *words[CLI_MAX_WORDS]; /* what is no option and no override */
    int32_t n_words;
    const char *overrides[CLI_MAX_WORDS]; /* dotted.key=value */
    int32_t n_overrides;
    bool is_help, is_json, is_quiet;
    bool is_dry_run, overwrite, resume, with_params, is_markdown;
    int64_t resume_step;
    const char *log_level;
    const char *output; /* -o */
    int32_t n_threads, n_ranks;
    int64_t checkpoint;
    const char *data;
    const char *prompt;
    const char *images[CLI_MAX_WORDS];
    const char *audios[CLI_MAX_WORDS];
    int32_t n_images, n_audios;
    const char *input, *precision, *to;
    bool with_gradients;
    int64_t max_new_tokens, max_samples, seed;
    double temperature, top_p;
} cli_options;

/* *exit_status is 0 unless a command that succeeded sets it (signals). */
typedef cs_status (*cli_command_fn)(const cli_options *options,
                                    int *exit_status);

typedef struct cli_command {
    const char *name;
    const char *usage; /* words after the name */
    const char *help;  /* in the list of commands */
    const char *about; /* in the command's own help */
    bool takes_overrides;
    cli_command_fn run; /* NULL = not offered */
} cli_command;

/* argv[1] is the command's name. */
cs_status cli_parse(const cli_command *command, int argc, char **argv,
                    cli_options *out);
/* The options that a command takes, one line each. */
void cli_print_options(FILE *out, const char *command);
/* The name of the backend that computes; the recipe has checked its device. */
#define CLI_BACKEND "auto"
/* Recipe of the first word, with the overrides. */
cs_status cli_load_recipe(const cli_options *options, cs_config **out);
/* ARG error unless there are exactly n words after the command. */
cs_status cli_want_words(const cli_options *options, int32_t n,
                         const char *usage);
/* UNSUPPORTED with --format json. */
cs_status cli_want_text(const cli_options *options);
/* Run folder: -o, else <output_dir>/<name>. [out,own] csi_free. */
cs_status cli_run_folder(const cli_options *options, const cs_config *config,
                         char **out);
/* Where `profile` writes and train reads. [out,own] csi_free. */
cs_status cli_profile_path(const cs_config *config, char **out);

/* print.c: members of a JSON object that is being written; a number that is
 * not finite is null. */
void cli_add_text(csi_str *json, const char *key, const char *text);
void cli_add_number(csi_str *json, const char *key, double value);
void cli_add_int(csi_str *json, const char *key, int64_t value);
void cli_add_bool(csi_str *json, const char *key, bool value);
/* Prints a text that was built, or says that it could not be. */
cs_status cli_print(const csi_str *text);

cs_status cli_train(const cli_options *options, int *exit_status);
cs_status cli_eval(const cli_options *options, int *exit_status);
cs_status cli_generate(const cli_options *options, int *exit_status);
cs_status cli_forward(const cli_options *options, int *exit_status);
cs_status cli_convert(const cli_options *options, int *exit_status);
cs_status cli_index(const cli_options *options, int *exit_status);
cs_status cli_plan(const cli_options *options, int *exit_status);
cs_status cli_simulate(const cli_options *options, int *exit_status);
cs_status cli_profile(const cli_options *options, int *exit_status);
cs_status cli_inspect(const cli_options *options, int *exit_status);
/* Of `inspect mask FILE`. [out,own] csi_free. */
cs_status cli_inspect_mask(const cli_options *options, const char *path,
                           char **text);
cs_status cli_models(const cli_options *options, int *exit_status);
cs_status cli_explain(const cli_options *options, int *exit_status);
cs_status cli_doctor(const cli_options *options, int *exit_status);
#endif
