/* SPDX-License-Identifier: Apache-2.0 */
/* A whole run: what is shared, the ranks, what is left behind. */
#include "cornstarch/train.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#include "internal.h"

#include <inttypes.h>

static cs_status check_run_folder(const cs_train_options *o)
{
    bool is_empty = false;

    CS_TRY(csi_dir_is_empty(o->run_folder, &is_empty));
    if (o->is_dry_run) {
        return CS_OK;
    }
    if (o->resume) {
        CS_CHECK(cs_checkpoint_latest(o->run_folder) > 0, CS_ERR_ARG,
                 "%s: --resume, but there is no complete checkpoint",
                 o->run_folder);
        return CS_OK;
    }
    CS_CHECK(is_empty || o->overwrite, CS_ERR_ARG,
             "%s: the run folder is not empty: --resume goes on, --overwrite "
             "starts anew",
             o->run_folder);
    if (!is_empty) {
        CS_TRY(csi_dir_remove(o->run_folder));
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
    fprintf(out, "%s\n", model);
    fprintf(out,
            "data   %" PRId64 " samples, %" PRId64 " items, %" PRId64
            " tokens, %" PRId64 " with labels; left out: %" PRId64
            " bad, %" PRId64 " too long; %" PRId64 " truncated\n\n",
            n.n_samples, n.n_items, n.n_tokens, n.label_tokens, n.n_skipped,
            n.n_too_long, n.n_truncated);
    fprintf(out, "%s\n", plan);
    fprintf(out, "run    %s, %" PRId64 " steps\n", run->folder, run->n_steps);
    fflush(out);
done:
    csi_free(model);
    csi_free(plan);
    return st;
}

cs_status cs_train(const cs_train_options *options, cs_train_result *result)
{
    cs_status st = CS_OK;
    csi_run run = {.options = options};

    csi_signal_reset();
    CS_TRY_GOTO(done, check_run_folder(options));
    CS_TRY_GOTO(done, csi_run_create(&run, options));
    CS_TRY_GOTO(done, describe_run(&run));
    if (options->is_dry_run) {
        goto done;
    }
    CS_TRY_GOTO(done, write_run_files(&run));
    CS_TRY_GOTO(done, cs_comm_local_run(options->n_ranks,
                                        run.config->parallel.action_timeout_s,
                                        csi_rank_main, &run));
    CS_TRY_GOTO(done, csi_write_report(&run));
    *result = run.result;
done:
    csi_run_destroy(&run);
    return st;
}
