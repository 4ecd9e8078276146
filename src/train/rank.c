/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rank: set-up, the loop over steps, the end. A rank that fails alone
 * returns; whoever runs the ranks then ends every wait of the others, and its
 * sentence becomes the run's.
 */
#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"

#include "internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static cs_status create_loaders(csi_rank *r)
{
    const cs_config *c = r->run->config;
    cs_loader_options options = {
        .dataset = r->run->train,
        .n_workers = c->data.num_workers > 0 ? c->data.num_workers : 1,
        .replica = r->shard->replica,
        .want_tokens = r->shard->embeds || r->shard->scores,
        .want_modalities = r->shard->encodes,
    };

    CS_TRY(cs_loader_create(&options, &r->loader));
    r->eval_loader =
        csi_calloc((size_t)c->data.n_eval + 1, sizeof(cs_loader *));
    CS_CHECK(r->eval_loader != NULL, CS_ERR_NOMEM, "evaluation loaders");
    options.replica = 0;
    for (int32_t i = 0; i < c->data.n_eval && r->shard->replica == 0; i++) {
        options.dataset = r->run->eval[i];
        CS_TRY(cs_loader_create(&options, &r->eval_loader[i]));
    }
    return CS_OK;
}

static cs_status create_model(csi_rank *r)
{
    const csi_run *run = r->run;
    const cs_dtype dtype =
        run->config->training.precision == CS_PRECISION_BF16 ? CS_BF16 : CS_F32;

    CS_TRY(cs_shard_create(run->graph, run->plan, r->world->rank, &r->shard));
    CS_TRY(cs_comm_split(r->world, r->shard->replica, r->shard->pipeline_rank,
                         &r->pipeline));
    CS_TRY(cs_comm_split(r->world, r->shard->pipeline_rank, r->shard->replica,
                         &r->replicas));
    CS_TRY(cs_backend_create(run->options->backend, run->n_threads,
                             &r->backend));
    CS_TRY(cs_param_set_create(run->graph, r->shard->held, dtype, true,
                               &r->params));
    CS_TRY(cs_weights_load(r->params, run->config->seed));
    CS_TRY(cs_optim_create(run->config, run->graph, r->params, r->backend,
                           &r->optim));
    const cs_runtime_options options = {
        .shard = r->shard,
        .pipeline = r->pipeline,
        .replicas = r->replicas,
        .backend = r->backend,
        .params = r->params,
        .hook = csi_step_hook,
        .hook_context = r,
    };
    return cs_runtime_create(&options, &r->runtime);
}

static cs_status resume(csi_rank *r)
{
    char fallback[512] = "";

    if (!r->run->options->resume) {
        return CS_OK;
    }
    CS_TRY(cs_checkpoint_load(r->run->folder, r->run->options->resume_step,
                              r->run->recipe_hash, r->params, &r->state,
                              fallback));
    if (csi_is_main(r)) {
        if (fallback[0] != '\0') {
            cs_log(CS_LOG_WARN, "train", "%s", fallback);
        }
        if (csi_file_exists(r->run->metrics_path)) {
            CS_TRY(csi_file_truncate(r->run->metrics_path,
                                     r->state.metrics_bytes));
        }
    }
    return CS_OK;
}

static cs_status create_rank(csi_rank *r)
{
    const csi_run *run = r->run;
    const size_t n = (size_t)run->settings.global_batch_size;

    r->state.best_metric = NAN;
    memcpy(r->state.recipe_hash, run->recipe_hash, sizeof r->state.recipe_hash);
    CS_TRY(create_model(r));
    CS_TRY(create_loaders(r));
    for (int i = 0; i < 2; i++) {
        CS_TRY(cs_batch_plan_create(&r->plan[i]));
    }
    CS_TRY(cs_batch_plan_create(&r->eval_plan));
    r->bad = csi_calloc(n + 1, 1);
    r->flags = csi_calloc(n + 2, sizeof *r->flags);
    CS_CHECK(r->bad != NULL && r->flags != NULL, CS_ERR_NOMEM, "rank");
    CS_TRY(cs_checkpoint_writer_create(r->params, r->world,
                                       r->shard->replica == 0,
                                       run->config->checkpoint.async,
                                       &r->writer));
    if (csi_is_main(r) && run->config->logging.tensorboard) {
        char *folder = NULL;
        CS_TRY(csi_path_join(run->folder, "tensorboard", &folder));
        const cs_status st = cs_tensorboard_create(folder, &r->tensorboard);
        csi_free(folder);
        CS_TRY(st);
    }
    return resume(r);
}

static void destroy_rank(csi_rank *r)
{
    cs_checkpoint_writer_destroy(&r->writer);
    cs_tensorboard_destroy(&r->tensorboard);
    cs_loader_destroy(&r->loader);
    for (int32_t i = 0;
         r->eval_loader != NULL && i < r->run->config->data.n_eval; i++) {
        cs_loader_destroy(&r->eval_loader[i]);
    }
    csi_free(r->eval_loader);
    cs_batch_plan_destroy(&r->plan[0]);
    cs_batch_plan_destroy(&r->plan[1]);
    cs_batch_plan_destroy(&r->eval_plan);
    cs_runtime_destroy(&r->runtime);
    cs_optim_destroy(&r->optim);
    cs_param_set_destroy(&r->params);
    cs_backend_destroy(&r->backend);
    cs_shard_destroy(&r->shard);
    cs_comm_destroy(&r->pipeline);
    cs_comm_destroy(&r->replicas);
    csi_free(r->data);
    csi_free(r->bad);
    csi_free(r->flags);
    csi_free(r->state.dropped);
}

static bool is_due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

static bool is_traced(const csi_rank *r, int64_t step)
{
    const cs_config *c = r->run->config;

    for (int32_t i = 0; i < c->logging.n_trace_steps; i++) {
        if (c->logging.trace_steps[i] == step) {
            return true;
        }
    }
    return false;
}

static cs_status save(csi_rank *r)
{
    const cs_config *c = r->run->config;
    const cs_checkpoint_options options = {
        .run_folder = r->run->folder,
        .recipe_hash = r->run->recipe_hash,
        .plan_hash = "",
        .keep = c->checkpoint.keep,
        .keep_step = c->checkpoint.keep_best != NULL ? r->state.best_step : 0,
    };
    double metrics_bytes = 0.0;

    if (csi_is_main(r)) {
        int64_t n_bytes = 0;
        CS_TRY(csi_file_size(r->run->metrics_path, &n_bytes));
        metrics_bytes = (double)n_bytes;
    }
    CS_TRY(cs_comm_all_reduce(r->world, &metrics_bytes, 1, CS_F64));
    r->state.metrics_bytes = (int64_t)metrics_bytes;
    r->wants_save = false;
    return cs_checkpoint_save(r->writer, &options, &r->state);
}

/* Evaluates, and decides from it what is best and whether to stop early. */
static cs_status evaluate(csi_rank *r)
{
    const cs_config *c = r->run->config;
    const char *stop_metric =
        c->early_stop.patience > 0 ? c->early_stop.metric : NULL;
    const char *metric =
        stop_metric != NULL ? stop_metric : c->checkpoint.keep_best;
    double value = 0.0;

    CS_TRY(csi_evaluate(r));
    if (metric == NULL || c->data.n_eval == 0) {
        return CS_OK;
    }
    CS_TRY(csi_find_metric(r, metric, &value));
    if (isnan(r->state.best_metric) ||
        value < r->state.best_metric - c->early_stop.min_delta) {
        r->state.best_metric = value;
        r->state.best_step = r->state.step;
        r->state.n_stale_evaluations = 0;
    } else {
        r->state.n_stale_evaluations++;
    }
    r->stopped_early = stop_metric != NULL &&
                       r->state.n_stale_evaluations >= c->early_stop.patience;
    return CS_OK;
}

/* Steps the chain over sample ids (FNV over the step's own hash). */
static uint64_t chain_hash(uint64_t chain, uint64_t step_hash)
{
    return (chain ^ step_hash) * 0x100000001b3ULL + 0x9e3779b97f4a7c15ULL;
}

static cs_status run_step(csi_rank *r)
{
    const int64_t step = r->state.step + 1;
    cs_batch_plan *plan = r->plan[step % 2];
    cs_batch_plan *next = r->plan[(step + 1) % 2];
    const bool has_next = step < r->run->n_steps;

    r->step_start_ns = csi_clock_ns();
    r->loaded = r->next_loaded;
    if (has_next) {
        CS_TRY(csi_begin_load(r, (int)((step + 1) % 2), step + 1));
    }
    CS_TRY(csi_take_data(r, plan, r->loaded));
    const cs_step_input input = {
        .plan = plan,
        .data = r->data,
        .is_training = true,
        .trace = is_traced(r, step),
    };
    CS_TRY(cs_runtime_step(r->runtime, &input, &r->result));
    r->state.step = step;
    r->state.epoch = plan->epoch;
    r->state.sample_hash = chain_hash(r->state.sample_hash, plan->sample_hash);
    r->step_s = (double)(csi_clock_ns() - r->step_start_ns) * 1e-9;
    if (csi_is_main(r)) {
        CS_TRY(csi_write_step(r, plan));
    }
    if (input.trace) {
        CS_TRY(csi_keep_trace(r, plan));
    }
    return has_next ? csi_finish_load(r, next) : CS_OK;
}

/* What was trained is saved before an unreadable evaluation ends the run. */
static cs_status save_and_fail(csi_rank *r)
{
    cs_error error;

    cs_error_get(&error);
    CS_TRY(save(r));
    CS_TRY(cs_checkpoint_finish(r->writer));
    cs_error_set(&error);
    return error.status;
}

/* The best step must be on the disk, wherever its evaluation fell. */
static bool is_new_best(const csi_rank *r)
{
    return r->run->config->checkpoint.keep_best != NULL &&
           r->state.best_step == r->state.step;
}

static cs_status train_loop(csi_rank *r)
{
    const cs_config *c = r->run->config;
    const int64_t first = r->state.step + 1;

    if (first <= r->run->n_steps) {
        CS_TRY(csi_begin_load(r, (int)(first % 2), first));
        CS_TRY(csi_finish_load(r, r->plan[first % 2]));
    }
    while (r->state.step < r->run->n_steps && !r->wants_stop &&
           !r->stopped_early) {
        CS_TRY(run_step(r));
        const int64_t step = r->state.step;
        const bool is_last = step == r->run->n_steps;
        if (is_due(step, c->evaluation.every) ||
            (is_last && c->evaluation.at_end)) {
            const cs_status st = evaluate(r);
            CS_TRY(st != CS_OK && r->has_bad_evaluation ? save_and_fail(r)
                                                        : st);
        }
        if (is_due(step, c->checkpoint.every) || is_last || is_new_best(r) ||
            r->wants_save || r->wants_stop || r->stopped_early) {
            CS_TRY(save(r));
        }
    }
    return cs_checkpoint_finish(r->writer);
}

/* What the run reports of itself; op times are summed over ranks. */
static cs_status book_result(csi_rank *r)
{
    cs_train_result *result = &r->run->result;
    double op_s[CS_OP_FAMILY_COUNT];

    memcpy(op_s, r->backend->op_s, sizeof op_s);
    CS_TRY(cs_comm_all_reduce(r->world, op_s, CS_OP_FAMILY_COUNT, CS_F64));
    if (csi_is_main(r)) {
        result->steps = r->state.step;
        result->skipped_samples = r->state.skipped_samples;
        result->stopped_by_signal = r->stop_signal;
        result->stopped_early = r->stopped_early;
        result->product_s = op_s[CS_OP_PRODUCT];
        result->attention_s = op_s[CS_OP_ATTENTION];
        result->median_step_s = csi_median_step_s(r->run);
        result->peak_rss_bytes = csi_peak_rss_bytes();
    }
    return CS_OK;
}

static cs_status finish_rank(csi_rank *r)
{
    const cs_config *c = r->run->config;
    cs_status st = CS_OK;

    CS_TRY(book_result(r));
    if (c->export_.best && c->export_.at_end && r->state.best_step > 0 &&
        r->state.best_step != r->state.step) {
        char fallback[512] = "";
        cs_train_state ignored = {0};
        st = cs_checkpoint_load(r->run->folder, r->state.best_step, NULL,
                                r->params, &ignored, fallback);
        csi_free(ignored.dropped);
        CS_TRY(cs_comm_agree(r->world, st));
    }
    if (c->export_.at_end && !r->wants_stop) {
        st = r->shard->replica == 0 ? csi_export(r) : CS_OK;
        CS_TRY(cs_comm_agree(r->world, st));
    }
    return CS_OK;
}

cs_status csi_rank_main(cs_comm *world, void *run)
{
    csi_rank r = {.run = run, .world = world};
    cs_status st = CS_OK;
    const cs_config *c = r.run->config;

    CS_TRY_GOTO(done, create_rank(&r));
    CS_TRY_GOTO(done, cs_comm_barrier(world));
    world->timeout_s = c->parallel.action_timeout_s;
    r.pipeline->timeout_s = c->parallel.action_timeout_s;
    r.replicas->timeout_s = c->parallel.action_timeout_s;
    if (csi_is_main(&r)) {
        r.run->start_step = r.state.step;
        r.run->result.start_s = csi_process_age_s();
        cs_log(CS_LOG_INFO, "train", "backend %s (%s), first step after %.2f s",
               r.backend->name, r.backend->detail, r.run->result.start_s);
    }
    CS_TRY_GOTO(done, train_loop(&r));
    CS_TRY_GOTO(done, finish_rank(&r));
done:
    destroy_rank(&r);
    return st;
}
