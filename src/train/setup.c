/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all ranks share: graph, tokenizer, datasets with their indexes, costs,
 * plan. Read top to bottom it is the chain of ARCHITECTURE.md.
 */
#include "cornstarch/log.h"
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#include "internal.h"

#include <string.h>

/* Rate that estimates start from until `cornstarch profile` has measured. */
static const double ESTIMATE_FLOPS_PER_S = 50e9;

static cs_status open_tokenizer(csi_run *run)
{
    const cs_language_model_config *lm = &run->config->model.language_model;
    const char *folder = lm->tokenizer != NULL ? lm->tokenizer : lm->from;
    const cs_module *m = &run->graph->modules[run->graph->n_modules - 1];

    CS_CHECK(folder != NULL, CS_ERR_ARG,
             "%s: model.language_model.tokenizer: a model from scratch needs "
             "the folder of a tokenizer",
             run->config->path);
    CS_TRY(cs_tokenizer_load(folder, &run->tokenizer));
    CS_CHECK(cs_tokenizer_size(run->tokenizer) <= m->vocab, CS_ERR_ARG,
             "%s: the tokenizer has %d tokens, the language model's "
             "vocab_size is %lld",
             folder, cs_tokenizer_size(run->tokenizer), (long long)m->vocab);
    return CS_OK;
}

static cs_status open_dataset(csi_run *run, const cs_dataset_config *files,
                              int32_t n_files, cs_dataset **out)
{
    char *folder = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_path_join(run->config->output_dir, ".index", &folder));
    const cs_dataset_options options = {
        .config = run->config,
        .graph = run->graph,
        .tokenizer = run->tokenizer,
        .files = files,
        .n_files = n_files,
        .index_folder = folder,
        .quiet = run->options->quiet || !csi_is_first_process(run),
    };
    CS_TRY_GOTO(done, csi_dir_create(folder));
    CS_TRY_GOTO(done, cs_dataset_open(&options, out));
done:
    csi_free(folder);
    return st;
}

static cs_status open_data(csi_run *run)
{
    const cs_config *c = run->config;

    CS_TRY(open_dataset(run, c->data.train, c->data.n_train, &run->train));
    CS_CHECK(cs_dataset_index(run->train)->n_samples > 0, CS_ERR_ARG,
             "%s: data.train has no usable sample", c->path);
    run->eval = csi_calloc((size_t)c->data.n_eval + 1, sizeof *run->eval);
    run->evaluations =
        csi_calloc((size_t)c->data.n_eval + 1, sizeof *run->evaluations);
    CS_CHECK(run->eval != NULL && run->evaluations != NULL, CS_ERR_NOMEM,
             "evaluation sets");
    for (int32_t i = 0; i < c->data.n_eval; i++) {
        CS_TRY(open_dataset(run, &c->data.eval[i], 1, &run->eval[i]));
    }
    return CS_OK;
}

cs_status csi_plan_work(const cs_graph *graph, const cs_batch_plan *plan,
                        cs_work **out)
{
    const int32_t n_modules = graph->n_modules;
    cs_work *work =
        csi_calloc((size_t)plan->n_microbatches * (size_t)n_modules + 1,
                   sizeof *work);

    CS_CHECK(work != NULL, CS_ERR_NOMEM, "work of %d microbatches",
             plan->n_microbatches);
    for (int32_t b = 0; b < plan->n_microbatches; b++) {
        const cs_microbatch *mb = &plan->microbatches[b];
        const cs_mask mask = {mb->n_tokens, mb->word, mb->position};
        for (int32_t e = 0; e < n_modules - 1; e++) {
            const cs_batch_modality *modality = &mb->modality[e];
            cs_work *w = &work[b * n_modules + e];
            w->rows = (double)modality->encoder_rows;
            w->feature_rows = (double)modality->feature_rows;
            for (int64_t i = 0; i < modality->n_items; i++) {
                const int64_t end = i + 1 < modality->n_items
                                        ? modality->items[i + 1].encoder_begin
                                        : modality->encoder_rows;
                const cs_batch_item *item = &modality->items[i];
                const double n = (double)(end - item->encoder_begin);
                w->pairs +=
                    n * n / (1.0 + item->tile_rows * item->tile_columns);
            }
        }
        cs_work *w = &work[b * n_modules + n_modules - 1];
        w->rows = (double)mb->n_tokens;
        w->feature_rows = w->rows;
        w->pairs = (double)cs_mask_visible_pairs(&mask, &mask, 0);
    }
    *out = work;
    return CS_OK;
}

static cs_status load_costs(csi_run *run)
{
    csi_str path = {0};
    cs_status st = CS_OK;

    csi_str_addf(&path, "%s/%s.profile.json", run->config->output_dir,
                 run->config->name);
    CS_TRY_GOTO(done, csi_str_check(&path));
    if (csi_file_exists(path.data)) {
        CS_TRY_GOTO(done, cs_cost_load(path.data, run->graph, &run->costs));
    } else {
        CS_TRY_GOTO(done, cs_cost_estimate(run->graph, ESTIMATE_FLOPS_PER_S,
                                           &run->costs));
    }
done:
    csi_str_fini(&path);
    return st;
}

/* The mean microbatch of the first step stands for all. */
static cs_status make_plan(csi_run *run)
{
    cs_batch_plan *batch = NULL;
    cs_work *work = NULL;
    cs_status st = CS_OK;
    const int32_t n_modules = run->graph->n_modules;
    cs_batch_settings settings = run->settings;
    cs_work *mean = csi_calloc((size_t)n_modules, sizeof *mean);

    CS_CHECK(mean != NULL, CS_ERR_NOMEM, "plan");
    settings.n_replicas = 1;
    CS_TRY_GOTO(done, cs_batch_plan_create(&batch));
    CS_TRY_GOTO(done, cs_batch_plan_build(batch, cs_dataset_index(run->train),
                                          &settings, 1, NULL, 0));
    CS_TRY_GOTO(done, csi_plan_work(run->graph, batch, &work));
    for (int32_t b = 0; b < batch->n_microbatches; b++) {
        for (int32_t m = 0; m < n_modules; m++) {
            const cs_work *w = &work[b * n_modules + m];
            mean[m].rows += w->rows / batch->n_microbatches;
            mean[m].pairs += w->pairs / batch->n_microbatches;
            mean[m].feature_rows += w->feature_rows / batch->n_microbatches;
        }
    }
    const cs_plan_input input = {
        .config = run->config,
        .graph = run->graph,
        .costs = run->costs,
        .n_ranks = run->options->n_ranks,
        .n_cores = run->n_cores,
        .n_microbatches = batch->n_microbatches,
        .work = mean,
    };
    CS_TRY_GOTO(done, cs_plan_create(&input, &run->plan));
done:
    csi_free(work);
    csi_free(mean);
    cs_batch_plan_destroy(&batch);
    return st;
}

static void set_batch(csi_run *run)
{
    const cs_config *c = run->config;

    run->settings = (cs_batch_settings){
        .seed = c->seed,
        .shuffle = c->data.shuffle,
        .packing = c->data.packing,
        .global_batch_size = c->training.global_batch_size,
        .max_tokens_per_microbatch = c->data.max_tokens_per_microbatch,
        .min_microbatches =
            c->training.microbatches > 0 ? c->training.microbatches : 1,
        .n_replicas = 1,
        .attention = c->model.attention,
    };
}

cs_status csi_run_create(csi_run *run, const cs_train_options *options)
{
    const cs_config *c = options->config;

    run->options = options;
    run->processes = options->processes;
    run->config = c;
    CS_TRY(csi_processes_count_cores(run));
    run->n_threads = options->n_threads > 0 ? options->n_threads
                     : options->n_ranks > 1 ? 1
                                            : run->n_cores;
    cs_config_hash(c, run->recipe_hash);
    CS_TRY(csi_path_join(options->run_folder, "metrics.jsonl",
                         &run->metrics_path));
    CS_TRY(csi_path_join(options->run_folder, ".", &run->folder));
    run->folder[strlen(run->folder) - 2] = '\0';
    CS_TRY(cs_zoo_build(c, &run->graph));
    CS_TRY(open_tokenizer(run));
    CS_TRY(csi_processes_in_turn(run, open_data));
    CS_TRY(csi_processes_check_data(run));
    set_batch(run);
    CS_TRY(load_costs(run));
    CS_TRY(make_plan(run));
    CS_TRY(csi_processes_check_plan(run));
    run->settings.n_replicas = run->plan->dp;
    memcpy(run->plan->recipe_hash, run->recipe_hash,
           sizeof run->plan->recipe_hash);
    run->n_steps =
        c->training.max_steps > 0
            ? c->training.max_steps
            : cs_batch_steps(cs_dataset_index(run->train), &run->settings,
                             c->training.num_train_epochs);
    return CS_OK;
}

void csi_run_destroy(csi_run *run)
{
    csi_traces_fini(run);
    cs_plan_destroy(&run->plan);
    cs_cost_destroy(&run->costs);
    for (int32_t i = 0; run->eval != NULL && i < run->config->data.n_eval;
         i++) {
        cs_dataset_destroy(&run->eval[i]);
    }
    csi_free(run->eval);
    csi_free(run->evaluations);
    cs_dataset_destroy(&run->train);
    cs_tokenizer_destroy(&run->tokenizer);
    cs_graph_destroy(&run->graph);
    csi_free(run->step_s);
    csi_free(run->metrics_path);
    csi_free(run->folder);
}

cs_status cs_train_index(const cs_config *config, bool quiet,
                         cs_dataset_counts *counts)
{
    const cs_train_options options = {.config = config, .quiet = quiet};
    csi_run run = {.options = &options, .config = config};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, cs_zoo_build(config, &run.graph));
    CS_TRY_GOTO(done, open_tokenizer(&run));
    CS_TRY_GOTO(done, open_data(&run));
    counts[0] = cs_dataset_counts_get(run.train);
    for (int32_t i = 0; i < config->data.n_eval; i++) {
        counts[1 + i] = cs_dataset_counts_get(run.eval[i]);
    }
done:
    csi_run_destroy(&run);
    return st;
}

/* The shared part of a run without ranks, for `plan` and `inspect`. */
cs_status cs_train_plan(const cs_config *config, int32_t n_ranks,
                        cs_planned *out)
{
    const cs_train_options options = {
        .config = config,
        .run_folder = config->output_dir,
        .n_ranks = n_ranks,
        .backend = "ref",
        .quiet = true,
    };
    csi_run run = {0};
    cs_planned p = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_run_create(&run, &options));
    CS_TRY_GOTO(done, cs_batch_plan_create(&p.batch));
    CS_TRY_GOTO(done, cs_batch_plan_build(p.batch, cs_dataset_index(run.train),
                                          &run.settings, 1, NULL, 0));
    CS_TRY_GOTO(done, csi_plan_work(run.graph, p.batch, &p.work));
    p.graph = run.graph;
    p.costs = run.costs;
    p.plan = run.plan;
    run.graph = NULL;
    run.costs = NULL;
    run.plan = NULL;
    *out = p;
    p = (cs_planned){0};
done:
    cs_planned_fini(&p);
    if (run.config != NULL) {
        csi_run_destroy(&run);
    }
    return st;
}

void cs_planned_fini(cs_planned *p)
{
    cs_plan_destroy(&p->plan);
    cs_cost_destroy(&p->costs);
    csi_free(p->work);
    cs_batch_plan_destroy(&p->batch);
    cs_graph_destroy(&p->graph);
}
