/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch train, index, profile: the commands that write files. */
#include "cornstarch/train.h"

#include "cornstarch/checkpoint.h"

#include "base/alloc.h"
#include "base/file.h"

#include "cli.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

enum {
    MAX_PROFILE_BYTES = 64 << 20
};

/* A signal that the parent ignores (nohup, background jobs of a shell) stays
 * ignored. A reader of progress lines that goes away (train | head) must not
 * end the run. */
static void catch_signals(void)
{
    static const int SIGNALS[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    struct sigaction action = {.sa_handler = cs_train_on_signal,
                               .sa_flags = SA_RESTART};

    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof SIGNALS / sizeof SIGNALS[0]; i++) {
        struct sigaction before;
        if (sigaction(SIGNALS[i], NULL, &before) == 0 &&
            before.sa_handler != SIG_IGN) {
            (void)sigaction(SIGNALS[i], &action, NULL);
        }
    }
    (void)signal(SIGPIPE, SIG_IGN);
}

static void add_result(const cli_options *o, const char *folder,
                       const cs_train_result *r, csi_str *json)
{
    csi_str_add(json, "{");
    cli_add_text(json, "run", folder);
    if (o->is_dry_run) {
        cli_add_bool(json, "dry_run", true);
    } else {
        cli_add_int(json, "steps", r->steps);
        cli_add_number(json, "first_loss", r->first_loss);
        cli_add_number(json, "last_loss", r->last_loss);
        cli_add_int(json, "skipped_samples", r->skipped_samples);
        cli_add_number(json, "train_s", r->train_s);
        cli_add_number(json, "median_step_s", r->median_step_s);
        cli_add_number(json, "start_s", r->start_s);
        cli_add_number(json, "product_s", r->product_s);
        cli_add_number(json, "attention_s", r->attention_s);
        cli_add_int(json, "peak_rss_bytes", r->peak_rss_bytes);
        cli_add_int(json, "stopped_by_signal", r->stopped_by_signal);
        cli_add_bool(json, "stopped_early", r->stopped_early);
    }
    csi_str_add(json, "}\n");
}

/* The command that goes on, with what the one that was given said. */
static void add_resume_command(const cli_options *o, csi_str *text)
{
    const cs_launch launch = cs_comm_launch();

    csi_str_add(text, "go on with: ");
    if (launch.n_processes > 1) {
        csi_str_addf(text, "%s -n %d ", launch.launcher, launch.n_processes);
    }
    csi_str_addf(text, "cornstarch train %s", o->words[0]);
    if (o->output != NULL) {
        csi_str_addf(text, " -o %s", o->output);
    }
    if (o->n_ranks > 1 && launch.n_processes == 1) {
        csi_str_addf(text, " --ranks %d", o->n_ranks);
    }
    if (o->n_threads > 0) {
        csi_str_addf(text, " --threads %d", o->n_threads);
    }
    for (int32_t i = 0; i < o->n_overrides; i++) {
        csi_str_addf(text, " '%s'", o->overrides[i]);
    }
    csi_str_add(text, " --resume\n");
}

static void add_summary(const cli_options *o, const cs_train_result *r,
                        csi_str *text)
{
    char time[32];

    csi_str_addf(text, "%s%s after %" PRId64 " steps in %s: loss %.4f -> %.4f",
                 o->is_quiet ? "" : "\n",
                 r->stopped_by_signal != 0 ? "stopped by a signal, saved,"
                 : r->stopped_early        ? "stopped early"
                                           : "done",
                 r->steps, csi_human_seconds(time, r->train_s), r->first_loss,
                 r->last_loss);
    if (r->skipped_samples > 0) {
        csi_str_addf(text, "; bad samples skipped: %" PRId64,
                     r->skipped_samples);
    }
    csi_str_add(text, "\n");
}

static void add_lines(const cli_options *o, const cs_config *config,
                      const char *folder, const cs_train_result *r,
                      csi_str *text)
{
    if (o->is_dry_run) {
        csi_str_add(text, "dry run: recipe, weights, data and plan are in "
                          "order; nothing was trained\n");
        return;
    }
    if (r->train_s == 0.0 && r->stopped_by_signal == 0) {
        csi_str_addf(text,
                     "nothing is left to train: step %" PRId64
                     " was the last\n",
                     r->steps);
    } else {
        add_summary(o, r, text);
    }
    if (r->stopped_by_signal != 0) {
        add_resume_command(o, text);
        return;
    }
    if (config->export_.at_end) {
        csi_str_addf(text, "model  %s/model\n", folder);
    }
    if (config->logging.report) {
        csi_str_addf(text, "report %s/report.html\n", folder);
    }
}

static cs_status print_result(const cli_options *o, const cs_config *config,
                              const char *folder, const cs_train_result *r)
{
    csi_str text = {0};

    if (o->is_json) {
        add_result(o, folder, r, &text);
    } else {
        add_lines(o, config, folder, r, &text);
    }
    const cs_status st = cli_print(&text);
    csi_str_fini(&text);
    return st;
}

typedef struct train_job {
    const cli_options *o;
    int *exit_status;
} train_job;

/* In every process that was started together with this one. */
static cs_status train_in(cs_comm *processes, void *opaque)
{
    const train_job *job = opaque;
    const cli_options *o = job->o;
    const bool speaks = cs_comm_speaks();
    cs_config *config = NULL;
    char *folder = NULL;
    cs_train_result result = {0};
    cs_status st = CS_OK;

    CS_TRY(cli_load_recipe(o, &config));
    cs_comm_set_peer_timeout(processes, config->parallel.peer_timeout_s);
    CS_TRY_GOTO(done, cli_run_folder(o, config, &folder));
    const cs_train_options options = {
        .config = config,
        .run_folder = folder,
        .n_ranks = o->n_ranks,
        .n_threads = o->n_threads,
        .backend = CLI_BACKEND,
        .resume =
            o->resume || (config->checkpoint.resume_auto && !o->overwrite &&
                          cs_checkpoint_latest(folder) > 0),
        .resume_step = o->resume_step,
        .overwrite = o->overwrite,
        .is_dry_run = o->is_dry_run,
        .quiet = o->is_quiet,
        .progress = o->is_quiet || o->is_json || !speaks ? NULL : stdout,
        .processes = processes,
    };
    CS_TRY_GOTO(done, cs_train(&options, &result));
    if (speaks) {
        CS_TRY_GOTO(done, print_result(o, config, folder, &result));
    }
    if (result.stopped_by_signal != 0) {
        *job->exit_status = 128 + result.stopped_by_signal;
    }
done:
    csi_free(folder);
    cs_config_destroy(&config);
    return st;
}

cs_status cli_train(const cli_options *o, int *exit_status)
{
    train_job job = {.o = o, .exit_status = exit_status};

    catch_signals();
    return cs_comm_processes_run(train_in, &job);
}

static void add_counts(const cli_options *o, const char *name, bool is_first,
                       const cs_dataset_counts *n, csi_str *text)
{
    if (o->is_json) {
        csi_str_addf(text, "%s\n  {", is_first ? "" : ",");
        cli_add_text(text, "set", name);
        cli_add_int(text, "n_samples", n->n_samples);
        cli_add_int(text, "n_items", n->n_items);
        cli_add_int(text, "n_tokens", n->n_tokens);
        cli_add_int(text, "label_tokens", n->label_tokens);
        cli_add_int(text, "n_skipped", n->n_skipped);
        cli_add_int(text, "n_too_long", n->n_too_long);
        cli_add_int(text, "n_truncated", n->n_truncated);
        cli_add_bool(text, "was_stale", n->was_stale);
        csi_str_add(text, "}");
    } else {
        csi_str_addf(text,
                     "%-10s %" PRId64 " samples, %" PRId64 " items, %" PRId64
                     " tokens, %" PRId64 " with labels; left out: %" PRId64
                     " bad, %" PRId64 " too long; %" PRId64 " truncated; %s\n",
                     name, n->n_samples, n->n_items, n->n_tokens,
                     n->label_tokens, n->n_skipped, n->n_too_long,
                     n->n_truncated, n->was_stale ? "read now" : "up to date");
    }
}

cs_status cli_index(const cli_options *o, int *exit_status)
{
    cs_config *config = NULL;
    cs_dataset_counts *counts = NULL;
    csi_str text = {0};
    cs_status st = CS_OK;

    (void)exit_status;
    CS_TRY(cli_load_recipe(o, &config));
    counts = csi_calloc((size_t)config->data.n_eval + 1, sizeof *counts);
    CS_CHECK_GOTO(done, counts != NULL, CS_ERR_NOMEM, "index");
    CS_TRY_GOTO(done, cs_train_index(config, o->is_quiet, counts));
    csi_str_add(&text, o->is_json ? "[" : "");
    add_counts(o, "train", true, &counts[0], &text);
    for (int32_t i = 0; i < config->data.n_eval; i++) {
        add_counts(o, config->data.eval[i].name, false, &counts[i + 1], &text);
    }
    if (o->is_json) {
        csi_str_add(&text, "\n]\n");
    } else {
        csi_str_addf(&text, "kept in %s/.index\n", config->output_dir);
    }
    CS_TRY_GOTO(done, cli_print(&text));
done:
    csi_str_fini(&text);
    csi_free(counts);
    cs_config_destroy(&config);
    return st;
}

cs_status cli_profile(const cli_options *o, int *exit_status)
{
    cs_config *config = NULL;
    char *table = NULL;
    char *path = NULL;
    char *json = NULL;
    size_t n_bytes = 0;
    cs_status st = CS_OK;

    (void)exit_status;
    CS_TRY(cli_load_recipe(o, &config));
    if (o->output != NULL) {
        path = csi_strdup(o->output);
        CS_CHECK_GOTO(done, path != NULL, CS_ERR_NOMEM, "profile");
    } else {
        CS_TRY_GOTO(done, cli_profile_path(config, &path));
    }
    CS_TRY_GOTO(done,
                cs_profile(config, CLI_BACKEND,
                           o->n_threads > 0 ? o->n_threads : 1, path, &table));
    if (o->is_json) {
        CS_TRY_GOTO(done,
                    csi_file_read(path, MAX_PROFILE_BYTES, &json, &n_bytes));
        printf("%s", json);
    } else {
        printf("%s\nwritten to %s%s\n", table, path,
               o->output == NULL ? "; plan, simulate and train read it" : "");
    }
done:
    csi_free(json);
    csi_free(table);
    csi_free(path);
    cs_config_destroy(&config);
    return st;
}
