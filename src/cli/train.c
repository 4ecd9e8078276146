/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch train, index, profile. */
#include "cornstarch/train.h"

#include "cornstarch/checkpoint.h"

#include "base/alloc.h"
#include "base/str.h"

#include "cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = cs_train_on_signal};

    (void)sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGUSR1, &action, NULL);
}

static void print_result(const cli_options *o, const char *folder,
                         const cs_train_result *r)
{
    char text[32];

    if (o->is_json) {
        printf("{\"run\": \"%s\", \"steps\": %" PRId64
               ", \"first_loss\": %.9g, \"last_loss\": %.9g, "
               "\"train_s\": %.3f, \"median_step_s\": %.6f, \"start_s\": %.3f, "
               "\"product_s\": %.3f, \"attention_s\": %.3f, "
               "\"peak_rss_bytes\": %" PRId64 "}\n",
               folder, r->steps, r->first_loss, r->last_loss, r->train_s,
               r->median_step_s, r->start_s, r->product_s, r->attention_s,
               r->peak_rss_bytes);
    } else if (!o->is_quiet) {
        printf("\n%s after %" PRId64 " steps in %s: loss %.4f -> %.4f\n",
               r->stopped_by_signal != 0 ? "stopped by a signal, saved,"
               : r->stopped_early        ? "stopped early"
                                         : "done",
               r->steps, csi_human_seconds(text, r->train_s), r->first_loss,
               r->last_loss);
        if (r->stopped_by_signal != 0) {
            printf("go on with: cornstarch train %s --resume\n", o->words[0]);
        } else {
            printf("model  %s/model\nreport %s/report.html\n", folder, folder);
        }
    }
}

cs_status cli_train(const cli_options *o)
{
    cs_config *config = NULL;
    char *folder = NULL;
    const char *backend = NULL;
    cs_train_result result = {0};
    cs_status st = CS_OK;

    CS_TRY(cli_load_recipe(o, &config));
    CS_TRY_GOTO(done, cli_backend(o, config, &backend));
    CS_TRY_GOTO(done, cli_run_folder(o, config, &folder));
    const cs_train_options options = {
        .config = config,
        .run_folder = folder,
        .n_ranks = o->n_ranks,
        .n_threads = o->n_threads,
        .backend = backend,
        .resume = o->resume || (config->checkpoint.resume_auto &&
                                cs_checkpoint_latest(folder) > 0),
        .resume_step = o->resume_step,
        .overwrite = o->overwrite,
        .is_dry_run = o->is_dry_run,
        .quiet = o->is_quiet,
        .progress = o->is_quiet || o->is_json ? NULL : stdout,
    };
    catch_signals();
    CS_TRY_GOTO(done, cs_train(&options, &result));
    if (o->is_dry_run) {
        printf("dry run: recipe, data, plan are in order\n");
    } else {
        print_result(o, folder, &result);
    }
done:
    csi_free(folder);
    cs_config_destroy(&config);
    if (st == CS_OK && result.stopped_by_signal != 0) {
        exit(128 + result.stopped_by_signal);
    }
    return st;
}

cs_status cli_index(const cli_options *o)
{
    cs_config *config = NULL;
    cs_train_result result = {0};
    cs_status st = CS_OK;
    char *folder = NULL;

    CS_TRY(cli_load_recipe(o, &config));
    CS_TRY_GOTO(done, cli_run_folder(o, config, &folder));
    const cs_train_options options = {
        .config = config,
        .run_folder = folder,
        .n_ranks = 1,
        .backend = "ref",
        .is_dry_run = true,
        .quiet = o->is_quiet,
        .progress = o->is_quiet ? NULL : stdout,
    };
    CS_TRY_GOTO(done, cs_train(&options, &result));
done:
    csi_free(folder);
    cs_config_destroy(&config);
    return st;
}

cs_status cli_profile(const cli_options *o)
{
    cs_config *config = NULL;
    const char *backend = NULL;
    char *table = NULL;
    csi_str path = {0};
    cs_status st = CS_OK;

    CS_TRY(cli_load_recipe(o, &config));
    CS_TRY_GOTO(done, cli_backend(o, config, &backend));
    if (o->output != NULL) {
        csi_str_add(&path, o->output);
    } else {
        csi_str_addf(&path, "%s/%s.profile.json", config->output_dir,
                     config->name);
    }
    CS_TRY_GOTO(done, csi_str_check(&path));
    CS_TRY_GOTO(done,
                cs_profile(config, backend, o->n_threads > 0 ? o->n_threads : 1,
                           path.data, &table));
    if (!o->is_quiet) {
        printf("%s\nwritten to %s: train and plan use it from now on\n", table,
               path.data);
    }
done:
    csi_free(table);
    csi_str_fini(&path);
    cs_config_destroy(&config);
    return st;
}
