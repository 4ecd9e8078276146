/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CLI_CLI_H
#define CS_CLI_CLI_H
/* The command line: one table of options, one function per command. */
#include "cornstarch/config.h"
#include "cornstarch/status.h"

enum {
    CLI_MAX_WORDS = 64
};

typedef struct cli_options {
    const char *command;
    const char *words[CLI_MAX_WORDS]; /* what is no option and no override */
    int32_t n_words;
    const char *overrides[CLI_MAX_WORDS]; /* dotted.key=value */
    int32_t n_overrides;
    bool is_json, is_quiet, is_dry_run, overwrite, resume, with_params;
    int64_t resume_step;
    const char *log_level;
    const char *device; /* NULL | cpu | cuda */
    const char *output; /* -o */
    const char *kind;   /* inspect: what FILE is */
    int32_t n_threads, n_ranks;
    int64_t checkpoint;
    const char *data;
    const char *prompt;
    const char *images[CLI_MAX_WORDS];
    const char *audios[CLI_MAX_WORDS];
    int32_t n_images, n_audios;
    int64_t max_new_tokens, max_samples, seed;
    double temperature, top_p;
    int64_t explain_rank;
    bool is_markdown;
} cli_options;

/* A command; exit code by the status it returns. */
typedef cs_status (*cli_command_fn)(const cli_options *options);

cs_status cli_parse(int argc, char **argv, cli_options *out);
/* The options that a command takes, one line each. */
void cli_print_options(FILE *out, const char *command);
/* What --device and the configuration ask for, as a backend's name. */
cs_status cli_backend(const cli_options *options, const cs_config *config,
                      const char **out);
/* Recipe of the first word, with the overrides. */
cs_status cli_load_recipe(const cli_options *options, cs_config **out);
/* ARG error unless there are exactly n words after the command. */
cs_status cli_want_words(const cli_options *options, int32_t n,
                         const char *usage);
/* Run folder: -o, else <output_dir>/<name>. [out,own] csi_free. */
cs_status cli_run_folder(const cli_options *options, const cs_config *config,
                         char **out);

cs_status cli_train(const cli_options *options);
cs_status cli_eval(const cli_options *options);
cs_status cli_generate(const cli_options *options);
cs_status cli_index(const cli_options *options);
cs_status cli_plan(const cli_options *options);
cs_status cli_simulate(const cli_options *options);
cs_status cli_profile(const cli_options *options);
cs_status cli_inspect(const cli_options *options);
cs_status cli_models(const cli_options *options);
cs_status cli_explain(const cli_options *options);
cs_status cli_doctor(const cli_options *options);
cs_status cli_not_offered(const cli_options *options);
#endif
