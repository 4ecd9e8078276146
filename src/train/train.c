/* SPDX-License-Identifier: Apache-2.0 */
/* A whole run: what is shared, the ranks, what is left behind. */
#include "cornstarch/train.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#include "internal.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static cs_status has_entry(const char *folder, const char *name, bool *has)
{
    char *path = NULL;

    CS_TRY(csi_path_join(folder, name, &path));
    *has = csi_file_exists(path);
    csi_free(path);
    return CS_OK;
}

/* The checkpoint would refuse another recipe too, but knows hashes only. */
static cs_status check_resumed_recipe(const cs_train_options *o)
{
    char *path = NULL;
    char *difference = NULL;
    cs_config *was = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_path_join(o->run_folder, "recipe.yaml", &path));
    if (csi_file_exists(path)) {
        CS_TRY_GOTO(done, cs_config_load(path, NULL, 0, &was));
        CS_TRY_GOTO(done, cs_config_compare(o->config, was, &difference));
        CS_CHECK_GOTO(done, difference[0] == '\0', CS_ERR_ARG,
                      "%s: --resume goes on with the recipe that the run began "
                      "with: %s",
                      path, difference);
    }
done:
    csi_free(path);
    csi_free(difference);
    cs_config_destroy(&was);
    return st;
}

/* What must be known before anything is read. */
static cs_status check_run_folder(const cs_train_options *o)
{
    bool is_empty = false;
    bool has_recipe = false;
    bool has_plan = false;

    CS_TRY(csi_dir_is_empty(o->run_folder, &is_empty));
    if (o->is_dry_run) {
        return CS_OK;
    }
    if (o->resume) {
        CS_CHECK(cs_checkpoint_latest(o->run_folder) > 0, CS_ERR_ARG,
                 "%s: --resume, but there is no complete checkpoint",
                 o->run_folder);
        return check_resumed_recipe(o);
    }
    CS_CHECK(is_empty || o->overwrite, CS_ERR_ARG,
             "%s: the run folder is not empty: --resume goes on, --overwrite "
             "starts anew",
             o->run_folder);
    CS_TRY(has_entry(o->run_folder, "recipe.yaml", &has_recipe));
    CS_TRY(has_entry(o->run_folder, "plan.json", &has_plan));
    CS_CHECK(is_empty || (has_recipe && has_plan), CS_ERR_ARG,
             "%s: --overwrite removes runs only, and this folder has no "
             "recipe.yaml and plan.json: nothing was removed",
             o->run_folder);
    return CS_OK;
}

/* Whether `path` lies in `folder`, once links are followed. */
static bool is_inside(const char *path, const char *folder)
{
    char inner[PATH_MAX];
    char outer[PATH_MAX];

    if (realpath(path, inner) == NULL || realpath(folder, outer) == NULL) {
        return false;
    }
    const size_t n = strlen(outer);
    return strncmp(inner, outer, n) == 0 &&
           (inner[n] == '/' || inner[n] == '\0');
}

static cs_status check_source(const cs_train_options *o, const char *source)
{
    CS_CHECK(source == NULL || !is_inside(source, o->run_folder), CS_ERR_ARG,
             "%s: the recipe reads it, and --overwrite would remove it with %s",
             source, o->run_folder);
    return CS_OK;
}

/* Removes what a run writes and leaves all else. The old run goes only when
 * the new one is known to be able to start, and needs nothing of it. */
static cs_status remove_old_run(const cs_train_options *o)
{
    static const char *const NAMES[] = {
        "metrics.jsonl", "trace.json",  "report.html", "tensorboard",
        "checkpoints",   "model",       "model.tmp",   "model.old",
        "plan.json",     "recipe.yaml", ".index",
    };
    const cs_config *c = o->config;

    CS_TRY(check_source(o, c->model.language_model.from));
    CS_TRY(check_source(o, c->model.language_model.tokenizer));
    for (int32_t i = 0; i < c->model.n_encoders; i++) {
        CS_TRY(check_source(o, c->model.encoders[i].from));
        CS_TRY(check_source(o, c->model.encoders[i].projector.from));
    }
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char *path = NULL;
        CS_TRY(csi_path_join(o->run_folder, NAMES[i], &path));
        const cs_status st = csi_dir_remove(path);
        csi_free(path);
        CS_TRY(st);
    }
    return CS_OK;
}

static cs_status prepare_run_folder(const cs_train_options *o)
{
    if (o->overwrite) {
        CS_TRY(remove_old_run(o));
    }
    return csi_dir_create(o->run_folder);
}

/* recipe.yaml as resolved, and plan.json. */
static cs_status write_run_files(const csi_run *run)
{
    cs_status st = CS_OK;
    char *recipe = NULL;
    csi_str text = {0};
    char *path = NULL;

    CS_TRY(cs_config_print(run->config, &recipe));
    csi_str_add(&text, recipe);
    CS_TRY_GOTO(done, csi_str_check(&text));
    CS_TRY_GOTO(done, csi_path_join(run->folder, "recipe.yaml", &path));
    CS_TRY_GOTO(done, csi_file_write(path, text.data, text.length));
    csi_free(path);
    path = NULL;
    CS_TRY_GOTO(done, csi_path_join(run->folder, "plan.json", &path));
    CS_TRY_GOTO(done, cs_plan_save(run->plan, path));
done:
    csi_free(recipe);
    csi_free(path);
    csi_str_fini(&text);
    return st;
}

/* The run folder as the ranks expect it; of several processes, the first one
 * writes it. */
static cs_status prepare_run(csi_run *run)
{
    if (csi_is_first_process(run)) {
        CS_TRY(prepare_run_folder(run->options));
        CS_TRY(write_run_files(run));
    }
    return CS_OK;
}

static cs_status describe_run(const csi_run *run)
{
    FILE *out = run->options->progress;
    char *model = NULL;
    char *plan = NULL;
    cs_status st = CS_OK;
    const cs_dataset_counts n = cs_dataset_counts_get(run->train);

    if (out == NULL) {
        return CS_OK;
    }
    CS_TRY_GOTO(done, cs_graph_print(run->graph, false, &model));
    CS_TRY_GOTO(done, cs_plan_print(run->plan, run->graph, &plan));
    (void)fprintf(out, "%s\n", model);
    (void)fprintf(out,
                  "data   %" PRId64 " samples, %" PRId64 " items, %" PRId64
                  " tokens, %" PRId64 " with labels; left out: %" PRId64
                  " bad, %" PRId64 " too long; %" PRId64 " truncated\n\n",
                  n.n_samples, n.n_items, n.n_tokens, n.label_tokens,
                  n.n_skipped, n.n_too_long, n.n_truncated);
    (void)fprintf(out, "%s\n", plan);
    (void)fprintf(out, "run    %s, %" PRId64 " steps\n", run->folder,
                  run->n_steps);
    (void)fflush(out);
done:
    csi_free(model);
    csi_free(plan);
    return st;
}

/* Ranks are the processes that were started, or threads of this one. */
static cs_status run_ranks(csi_run *run)
{
    const cs_train_options *o = run->options;
    cs_status st = CS_OK;

    csi_signal_begin();
    if (o->processes != NULL && o->processes->n_ranks > 1) {
        st = csi_rank_main(o->processes, run);
        o->processes->timeout_s = CS_COMM_FOREVER_S;
    } else {
        st = cs_comm_local_run(o->n_ranks,
                               run->config->parallel.action_timeout_s,
                               csi_rank_main, run);
    }
    csi_signal_end();
    return st;
}

cs_status cs_train(const cs_train_options *options, cs_train_result *result)
{
    cs_status st = CS_OK;
    csi_run run = {.options = options, .processes = options->processes};
    const bool is_first = csi_is_first_process(&run);

    csi_signal_reset();
    run.result.first_loss = NAN;
    run.result.last_loss = NAN;
    CS_TRY_GOTO(done, csi_processes_check_start(&run));
    CS_TRY_GOTO(done, is_first ? check_run_folder(options) : CS_OK);
    CS_TRY_GOTO(done, csi_run_create(&run, options));
    CS_TRY_GOTO(done, cs_weights_check(run.graph));
    CS_TRY_GOTO(done, is_first ? describe_run(&run) : CS_OK);
    if (options->is_dry_run) {
        goto done;
    }
    CS_TRY_GOTO(done, csi_processes_in_turn(&run, prepare_run));
    CS_TRY_GOTO(done, run_ranks(&run));
    CS_TRY_GOTO(done, is_first ? csi_write_report(&run) : CS_OK);
    CS_TRY_GOTO(done, csi_processes_share_result(&run));
    *result = run.result;
done:
    csi_run_destroy(&run);
    return st;
}
