/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch: the subcommand table, errors and exit codes. */
#include "cornstarch/log.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>

typedef struct command_row {
    const char *name;
    const char *usage;
    const char *help;
    cli_command_fn run;
} command_row;

static const command_row COMMANDS[] = {
    {"index", "RECIPE", "read the data once, build the index", cli_index},
    {"train", "RECIPE [--ranks N] [key=value ...]", "train", cli_train},
    {"eval", "RUN", "loss with the right and with swapped media", cli_eval},
    {"generate", "RUN --prompt TEXT [--image FILE] [--audio FILE]",
     "answer a prompt", cli_generate},
    {"forward", "", "(not offered yet)", cli_not_offered},
    {"plan", "RECIPE --ranks N", "how ranks would be divided, and why",
     cli_plan},
    {"simulate", "RECIPE --ranks N", "timeline of one predicted step",
     cli_simulate},
    {"profile", "RECIPE", "measure the model's layers on this machine",
     cli_profile},
    {"inspect", "KIND FILE",
     "KIND: recipe graph plan shard schedule mask checkpoint safetensors",
     cli_inspect},
    {"convert", "", "(not offered yet)", cli_not_offered},
    {"models", "", "model families that are offered", cli_models},
    {"explain", "[KEY]", "the manual of the recipe", cli_explain},
    {"doctor", "", "what this build and this machine can do", cli_doctor},
    {"bench", "", "(see make bench)", cli_not_offered},
};

enum {
    N_COMMANDS = sizeof COMMANDS / sizeof COMMANDS[0]
};

static void print_usage(FILE *out)
{
    fprintf(out, "usage: cornstarch COMMAND ... (cornstarch COMMAND --help "
                 "says more)\n\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        fprintf(out, "  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].help);
    }
    fprintf(out, "\nexit codes: 0 ok, 1 run-time error, 2 usage, 3 numeric "
                 "failure, 4 lost peer, 128+n signal n\n");
}

static const command_row *find_command(const char *name)
{
    for (int i = 0; i < N_COMMANDS; i++) {
        if (strcmp(COMMANDS[i].name, name) == 0) {
            return &COMMANDS[i];
        }
    }
    return NULL;
}

static cs_status run(const command_row *command, int argc, char **argv)
{
    cli_options options;

    CS_TRY(cli_parse(argc, argv, &options));
    const char *level = options.log_level != NULL ? options.log_level
                                                  : getenv("CORNSTARCH_LOG");
    CS_TRY(cs_log_configure(level != NULL      ? level
                            : options.is_quiet ? "error"
                                               : "warn"));
    return command->run(&options);
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    const command_row *command = find_command(argv[1]);
    if (command == NULL) {
        if (wants_help(argc, argv)) {
            print_usage(stdout);
            return 0;
        }
        fprintf(stderr, "cornstarch: error ARG: no command '%s'\n", argv[1]);
        print_usage(stderr);
        return 2;
    }
    if (wants_help(argc, argv)) {
        printf("usage: cornstarch %s %s\n\n%s\n\n", command->name,
               command->usage, command->help);
        cli_print_options(stdout, command->name);
        return 0;
    }
    const cs_status st = run(command, argc, argv);
    if (st != CS_OK) {
        cs_error_print(stderr, cs_log_enabled(CS_LOG_DEBUG, "cli"));
    }
    return cs_status_exit_code(st);
}
