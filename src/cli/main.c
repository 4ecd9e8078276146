/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cornstarch: the table of commands, help, errors and exit status. What a
 * command prints goes to stdout, everything that went wrong to stderr, in one
 * sentence.
 */
#include "cornstarch/comm.h"
#include "cornstarch/log.h"
#include "cornstarch/version.h"

#include "base/str.h"

#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const cli_command COMMANDS[] = {
    {"index", "RECIPE [key=value ...]", "read the data once",
     "Reads the data of a recipe, checks every sample and keeps what training "
     "needs\nto know in <output_dir>/.index; train does so itself when the "
     "data has changed.",
     true, cli_index},
    {"train", "RECIPE [--ranks N] [-o DIR] [key=value ...]", "train a recipe",
     "Trains. The run folder is -o or <output_dir>/<name>; SIGINT and SIGTERM "
     "end the\nrun after a clean save, SIGUSR1 saves and goes on.",
     true, cli_train},
    {"eval", "RUN [--data FILE]", "losses with right and swapped media",
     "Losses of a run's model with standard errors: over all samples, and, "
     "for each\nkind of media, with the right ones and with somebody else's.",
     false, cli_eval},
    {"generate", "RUN --prompt TEXT [--image FILE ...] [--audio FILE ...]",
     "answer a prompt",
     "Answers a prompt. Placeholders of media that TEXT does not name are put "
     "before it.",
     false, cli_generate},
    {"forward",
     "RECIPE|RUN|FOLDER --input FILE --output FILE [--grad] [key=value ...]",
     "logits, loss and gradients of tensors",
     "Computes a model's logits and loss for the tensors of a safetensors "
     "file\n(input_ids, labels, pixel_values, ...: docs/formats.md), or an "
     "encoder's last hidden\nstate, as transformers would. FOLDER is a Hugging "
     "Face folder of one model.",
     true, cli_forward},
    {"plan", "RECIPE [--ranks N] [-o FILE] [key=value ...]",
     "how ranks would be divided",
     "The plan that train would follow, and why. -o writes plan.json, which "
     "may be\nedited and given as parallel.plan.",
     true, cli_plan},
    {"simulate", "RECIPE [--ranks N] [key=value ...]",
     "the timeline that the plan predicts",
     "Draws the first step of the plan's schedule in virtual time.", true,
     cli_simulate},
    {"profile", "RECIPE [-o FILE] [key=value ...]",
     "measure the layers on this machine",
     "Measures every layer of the model and writes "
     "<output_dir>/<name>.profile.json,\nwhich plan, simulate and train read.",
     true, cli_profile},
    {"inspect", "[KIND] FILE [key=value ...]", "print an object",
     "KIND is recipe, graph, plan, shard, schedule or mask (of a recipe), "
     "checkpoint (of\na run folder) or safetensors; without it FILE decides: "
     "a recipe, a plan.json, a\n.safetensors file, a run folder.",
     true, cli_inspect},
    {"convert", "--to llava|modules RUN OUT", "a run's model for others",
     "Writes a run's model into folder OUT: modules, a Hugging Face folder of "
     "each module,\nor llava, one folder for transformers' "
     "LlavaForConditionalGeneration where the model\nis of that form.",
     false, cli_convert},
    {"models", "", "the model families and published sizes",
     "The families that are offered: what model_type of a config.json may be. "
     "The presets:\npublished sizes by name, for `preset:` in a recipe.",
     false, cli_models},
    {"explain", "[KEY]", "the manual of the recipe",
     "What a key of the recipe means, of a part of the recipe, of all.", false,
     cli_explain},
    {"doctor", "", "what this build and this machine have",
     "What this program was built with and what it finds on this machine.",
     false, cli_doctor},
    {"bench", NULL, "not offered here: make bench runs the benchmarks", NULL,
     false, NULL},
};

enum {
    N_COMMANDS = sizeof COMMANDS / sizeof COMMANDS[0]
};

static void print_usage(FILE *out)
{
    (void)fprintf(out,
                  "usage: cornstarch COMMAND ...   (cornstarch COMMAND --help "
                  "says more)\n\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        (void)fprintf(out, "  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].help);
    }
    (void)fprintf(out,
                  "\nexit status: 0 ok, 1 run-time error, 2 usage, 3 numeric "
                  "failure, 4 lost peer,\n128+n after a clean save on signal "
                  "n\n");
}

static void print_help(const cli_command *command)
{
    if (command->run == NULL) {
        printf("cornstarch %s: %s\n", command->name, command->help);
        return;
    }
    printf("usage: cornstarch %s%s%s\n\n%s\n\n", command->name,
           command->usage[0] != '\0' ? " " : "", command->usage,
           command->about);
    cli_print_options(stdout, command->name);
}

static cs_status find_command(const char *name, const cli_command **out)
{
    const char *names[N_COMMANDS];

    for (int i = 0; i < N_COMMANDS; i++) {
        if (strcmp(COMMANDS[i].name, name) == 0) {
            *out = &COMMANDS[i];
            return CS_OK;
        }
        names[i] = COMMANDS[i].name;
    }
    const char *nearest = csi_str_nearest(name, names, N_COMMANDS);
    return CS_FAIL(CS_ERR_ARG, "no command '%s'%s%s%s", name,
                   nearest != NULL ? "; did you mean '" : "",
                   nearest != NULL ? nearest : "",
                   nearest != NULL ? "'?" : "; cornstarch --help lists them");
}

/* What a command has printed is its result: a full disk behind stdout is an
 * error as any other. */
static cs_status check_stdout(void)
{
    CS_CHECK(fflush(stdout) == 0 && ferror(stdout) == 0, CS_ERR_IO,
             "standard output: cannot write: %s", strerror(errno));
    return CS_OK;
}

static cs_status run(int argc, char **argv, int *exit_status)
{
    const cli_command *command = NULL;
    cli_options options;

    CS_TRY(find_command(argv[1], &command));
    CS_TRY(cli_parse(command, argc, argv, &options));
    if (options.is_help) {
        print_help(command);
        return check_stdout();
    }
    CS_CHECK(command->run != NULL, CS_ERR_UNSUPPORTED,
             "unsupported: cornstarch %s: %s", command->name, command->help);
    const char *level = options.log_level != NULL ? options.log_level
                                                  : getenv("CORNSTARCH_LOG");
    CS_TRY(cs_log_configure(level != NULL      ? level
                            : options.is_quiet ? "error"
                                               : "warn"));
    CS_CHECK(command->run == cli_train || cs_comm_launch().n_processes == 1,
             CS_ERR_ARG,
             "%s runs in one process, and %s started %d: only train takes more",
             command->name, cs_comm_launch().launcher,
             cs_comm_launch().n_processes);
    CS_TRY(command->run(&options, exit_status));
    return check_stdout();
}

int main(int argc, char **argv)
{
    int exit_status = 0;

    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("cornstarch %s (%s)\n", CORNSTARCH_VERSION, CORNSTARCH_COMMIT);
        return 0;
    }
    /* A file over the limit of its size is an error of write(2), as a full
     * disk is, so that what can be saved is saved. */
    (void)signal(SIGXFSZ, SIG_IGN);
    const cs_status st = run(argc, argv, &exit_status);
    if (st != CS_OK) {
        (void)fflush(stdout);
        if (cs_comm_speaks()) {
            cs_error_print(stderr, cs_log_enabled(CS_LOG_DEBUG, "cli"));
        }
        exit_status = cs_status_exit_code(st);
    }
    cs_comm_leave(exit_status);
    return exit_status;
}
