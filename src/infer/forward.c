/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cs_forward: one step over the documents of a file, run by ranks that are
 * threads, in any layout that training offers. Two passes: an evaluation for
 * logits and loss, whose sum per document does not depend on the layout; and,
 * for gradients, a training step without an update.
 */
#include "forward.h"

#include "cornstarch/log.h"
#include "cornstarch/plan.h"
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/checked.h"
#include "base/thread.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_OVERRIDES = 128
};

static const double ESTIMATE_FLOPS_PER_S = 50e9;

/* What all ranks share. They write to disjoint parts of `logits` and `nll`,
 * each to its own part of `balance` and `sets`. */
typedef struct forward_job {
    const cs_forward_options *o;
    csi_model_source source; /* owned, as all below */
    cs_graph *graph;
    int64_t *placeholder;
    csi_forward_input input;
    csi_forward_batch batch;
    cs_plan *plan;
    float *logits;       /* [B * T, vocab] */
    double *nll;         /* [documents] */
    double *balance;     /* [n_ranks, layers]: balance losses of experts */
    cs_param_set **sets; /* [n_ranks] */
} forward_job;

static cs_status find_placeholders(forward_job *j)
{
    j->placeholder =
        csi_calloc((size_t)j->graph->n_modules, sizeof *j->placeholder);
    CS_CHECK(j->placeholder != NULL, CS_ERR_NOMEM, "placeholders");
    CS_TRY(csi_source_placeholders(&j->source, j->graph, j->placeholder));
    for (int32_t e = 0; e < j->graph->n_modules - 1; e++) {
        cs_log(CS_LOG_INFO, "infer", "%s: placeholder id %" PRId64,
               j->graph->modules[e].name, j->placeholder[e]);
    }
    j->input.placeholder = j->placeholder;
    return CS_OK;
}

/* ---- the plan ---- */

static cs_status make_plan(forward_job *j)
{
    cs_config *c = j->source.config;
    cs_cost_table *costs = NULL;
    cs_status st = CS_OK;
    cs_work *work = csi_calloc((size_t)j->graph->n_modules, sizeof *work);

    CS_CHECK(work != NULL, CS_ERR_NOMEM, "plan");
    if (j->o->n_ranks == 1) { /* a recipe of many ranks is run by one, too */
        c->parallel.plan = CS_PLAN_AUTO;
        c->parallel.placement = CS_PLACEMENT_AUTO;
        c->parallel.dp = 0;
    }
    c->parallel.zero = 0; /* there is no optimizer */
    CS_TRY_GOTO(done, csi_forward_batch_build(&j->input, c, 1, &j->batch));
    csi_forward_work(j->graph, j->batch.plan, work);
    CS_TRY_GOTO(done, cs_cost_estimate(j->graph, ESTIMATE_FLOPS_PER_S, &costs));
    const cs_plan_input input = {
        .config = c,
        .graph = j->graph,
        .costs = costs,
        .n_ranks = j->o->n_ranks,
        .n_cores = csi_cpu_count(),
        .n_microbatches = j->batch.plan->n_microbatches,
        .work = work,
    };
    CS_TRY_GOTO(done, cs_plan_create(&input, &j->plan));
    if (j->plan->dp > 1) {
        csi_forward_batch_fini(&j->batch);
        CS_TRY_GOTO(done, csi_forward_batch_build(&j->input, c, j->plan->dp,
                                                  &j->batch));
    }
    /* Without labels the loss is 0 / 1. */
    j->batch.plan->label_tokens = csi_max_i64(j->batch.plan->label_tokens, 1);
done:
    csi_free(work);
    cs_cost_destroy(&costs);
    return st;
}

/* ---- one rank ---- */

typedef struct forward_rank {
    forward_job *job;
    cs_comm *world, *pipeline, *replicas;
    cs_shard *shard;
    cs_backend *backend;
    cs_runtime *runtime;
} forward_rank;

static cs_status create_rank(forward_rank *r)
{
    const forward_job *j = r->job;
    const cs_dtype dtype =
        j->source.config->training.precision == CS_PRECISION_BF16 ? CS_BF16
                                                                  : CS_F32;
    cs_param_set **set = &j->sets[r->world->rank];

    CS_TRY(cs_shard_create(j->graph, j->plan, r->world->rank, &r->shard));
    CS_TRY(cs_comm_split(r->world, r->shard->replica, r->shard->pipeline_rank,
                         &r->pipeline));
    CS_TRY(cs_comm_split(r->world, r->shard->pipeline_rank, r->shard->replica,
                         &r->replicas));
    CS_TRY(cs_backend_create(j->o->backend, j->o->n_threads, &r->backend));
    CS_TRY(cs_param_set_create(j->graph, r->shard->held, dtype,
                               j->o->with_gradients, set));
    CS_TRY(csi_source_load(&j->source, *set));
    const cs_runtime_options options = {
        .shard = r->shard,
        .pipeline = r->pipeline,
        .replicas = r->replicas,
        .backend = r->backend,
        .params = *set,
    };
    return cs_runtime_create(&options, &r->runtime);
}

static void destroy_rank(forward_rank *r)
{
    cs_runtime_destroy(&r->runtime);
    cs_backend_destroy(&r->backend);
    cs_shard_destroy(&r->shard);
    cs_comm_destroy(&r->pipeline);
    cs_comm_destroy(&r->replicas);
}

/* Logits of rows of a microbatch go to their places in [B, T, vocab]. */
static cs_status keep_logits(void *context, int32_t microbatch,
                             int64_t first_row, int64_t rows,
                             const float *logits)
{
    const forward_rank *r = context;
    const forward_job *j = r->job;
    const cs_batch_plan *plan = j->batch.plan;
    const cs_microbatch *mb =
        &plan->microbatches[(int64_t)r->shard->replica * plan->n_microbatches +
                            microbatch];
    const int64_t vocab =
        j->graph->modules[cs_graph_language_model(j->graph)].vocab;
    int32_t s = 0;

    for (int64_t row = first_row; row < first_row + rows; row++) {
        while (row >= mb->token_begin[s + 1]) {
            s++;
        }
        const int64_t token =
            j->input.token_begin[mb->samples[s]] + row - mb->token_begin[s];
        memcpy(j->logits + j->input.place[token] * vocab,
               logits + (row - first_row) * vocab,
               (size_t)vocab * sizeof *logits);
    }
    if (j->o->on_progress != NULL) {
        j->o->on_progress(j->o->context, rows);
    }
    return CS_OK;
}

static int64_t language_layers(const forward_job *j)
{
    return j->graph->modules[cs_graph_language_model(j->graph)].n_layers;
}

static cs_status run_rank(forward_rank *r)
{
    forward_job *j = r->job;
    double *balance = j->balance + r->world->rank * language_layers(j);
    cs_step_result result;
    const cs_batch_plan *plan = j->batch.plan;
    cs_step_input input = {
        .plan = plan,
        .data =
            &j->batch.data[(int64_t)r->shard->replica * plan->n_microbatches],
        .on_logits = keep_logits,
        .logits_context = r,
    };

    CS_TRY(cs_runtime_step(r->runtime, &input, &result));
    for (int64_t i = 0; i < result.n_samples; i++) {
        j->nll[result.sample_index[i]] = result.sample_nll[i];
    }
    memcpy(balance, result.balance_sums,
           (size_t)language_layers(j) * sizeof *balance);
    if (j->o->with_gradients) {
        input.is_training = true;
        input.on_logits = NULL;
        CS_TRY(cs_runtime_step(r->runtime, &input, &result));
    }
    return CS_OK;
}

static cs_status rank_main(cs_comm *world, void *job)
{
    forward_rank r = {.job = job, .world = world};
    const double timeout_s = r.job->source.config->parallel.action_timeout_s;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, create_rank(&r));
    CS_TRY_GOTO(done, cs_comm_barrier(world));
    world->timeout_s = timeout_s;
    r.pipeline->timeout_s = timeout_s;
    r.replicas->timeout_s = timeout_s;
    CS_TRY_GOTO(done, run_rank(&r));
done:
    destroy_rank(&r);
    return st;
}

/* ---- all of it ---- */

static cs_status check_model(const forward_job *j)
{
    const cs_forward_options *o = j->o;

    CS_CHECK(j->source.config->model.attention != CS_MASK_BRANCHES,
             CS_ERR_UNSUPPORTED,
             "unsupported: forward with model.attention: branches (a file of "
             "ids does not say where a question begins)");
    CS_CHECK(!o->with_gradients || j->input.label_tokens > 0, CS_ERR_ARG,
             "%s: gradients are those of the loss: wanted labels, found none",
             o->input);
    return CS_OK;
}

static cs_status take_results(forward_job *j)
{
    const int64_t vocab =
        j->graph->modules[cs_graph_language_model(j->graph)].vocab;
    int64_t count = 0;

    CS_CHECK(csi_mul_i64(&count, j->input.n_rows * j->input.row_tokens, vocab),
             CS_ERR_ARG, "%s: its logits do not fit 63 bits", j->o->input);
    j->logits = csi_calloc((size_t)count, sizeof *j->logits);
    j->nll = csi_calloc((size_t)j->input.view.n_samples, sizeof *j->nll);
    j->sets = csi_calloc((size_t)j->o->n_ranks, sizeof(cs_param_set *));
    j->balance = csi_calloc((size_t)(j->o->n_ranks * language_layers(j)),
                            sizeof(double));
    CS_CHECK(j->logits != NULL && j->nll != NULL && j->sets != NULL &&
                 j->balance != NULL,
             CS_ERR_NOMEM, "%s: out of memory for %" PRId64 " logits",
             j->o->input, count);
    return CS_OK;
}

/* The sum of the loss in the order of the file, then of layers and ranks. */
static double sum_loss(const forward_job *j)
{
    double sum = 0.0;

    for (int64_t s = 0; s < j->input.view.n_samples; s++) {
        sum += j->nll[s];
    }
    for (int64_t layer = 0; layer < language_layers(j); layer++) {
        for (int64_t rank = 0; rank < j->o->n_ranks; rank++) {
            sum += j->balance[rank * language_layers(j) + layer];
        }
    }
    return sum;
}

static cs_status write_results(const forward_job *j, cs_forward_result *out)
{
    const csi_forward_input *in = &j->input;
    const int64_t vocab =
        j->graph->modules[cs_graph_language_model(j->graph)].vocab;
    const csi_forward_result result = {
        .states_name = "logits",
        .states = j->logits,
        .states_shape = in->is_flat
                            ? CS_SHAPE(in->row_tokens, vocab)
                            : CS_SHAPE(in->n_rows, in->row_tokens, vocab),
        .has_loss = in->label_tokens > 0,
        .loss = sum_loss(j) / (double)csi_max_i64(in->label_tokens, 1),
        .n_sets = j->o->with_gradients ? j->o->n_ranks : 0,
        .sets = j->sets,
        .names_modules = j->graph->n_modules > 1,
    };
    *out = (cs_forward_result){
        .has_loss = result.has_loss,
        .loss = result.loss,
        .n_documents = in->view.n_samples,
        .n_tokens = in->token_begin[in->view.n_samples],
        .label_tokens = in->label_tokens,
    };
    for (int32_t e = 0; e < j->graph->n_modules - 1; e++) {
        out->n_items += in->media[e].n_items;
    }
    return csi_forward_write(&result, j->graph, j->o->output, &out->n_tensors);
}

static cs_status run_step(forward_job *j, cs_forward_result *out)
{
    CS_TRY(check_model(j));
    CS_TRY(make_plan(j));
    CS_TRY(take_results(j));
    CS_TRY(cs_comm_local_run(j->o->n_ranks,
                             j->source.config->parallel.action_timeout_s,
                             rank_main, j));
    return write_results(j, out);
}

static void job_fini(forward_job *j)
{
    for (int32_t r = 0; j->sets != NULL && r < j->o->n_ranks; r++) {
        cs_param_set_destroy(&j->sets[r]);
    }
    csi_free(j->sets);
    csi_free(j->nll);
    csi_free(j->balance);
    csi_free(j->logits);
    cs_plan_destroy(&j->plan);
    csi_forward_batch_fini(&j->batch);
    csi_forward_input_fini(&j->input);
    csi_free(j->placeholder);
    cs_graph_destroy(&j->graph);
    csi_source_close(&j->source);
}

/* --precision is an override like any other. */
static cs_status open_source(forward_job *j)
{
    const cs_forward_options *o = j->o;
    const char *texts[MAX_OVERRIDES];
    csi_overrides overrides = {texts, o->n_overrides};

    CS_CHECK(o->n_overrides < MAX_OVERRIDES, CS_ERR_ARG,
             "forward: more than %d overrides", MAX_OVERRIDES);
    for (int32_t i = 0; i < o->n_overrides; i++) {
        texts[i] = o->overrides[i];
    }
    if (o->precision != NULL) {
        CS_CHECK(strcmp(o->precision, "f32") == 0 ||
                     strcmp(o->precision, "bf16") == 0,
                 CS_ERR_ARG, "forward: precision: wanted f32 or bf16, got '%s'",
                 o->precision);
        texts[overrides.n++] = strcmp(o->precision, "f32") == 0
                                   ? "training.precision=f32"
                                   : "training.precision=bf16";
    }
    return csi_source_open(o->model, o->checkpoint, overrides, &j->source);
}

cs_status cs_forward(const cs_forward_options *options, cs_forward_result *out)
{
    forward_job j = {.o = options};
    cs_forward_result result = {0};
    cs_status st = CS_OK;

    CS_CHECK(options->n_ranks >= 1, CS_ERR_ARG,
             "forward: %d ranks, wanted at least 1", options->n_ranks);
    CS_TRY_GOTO(done, open_source(&j));
    CS_TRY_GOTO(done, cs_zoo_build(j.source.config, &j.graph));
    CS_TRY_GOTO(done, find_placeholders(&j));
    CS_TRY_GOTO(done,
                csi_forward_read(&j.input, &j.source, j.graph, options->input));
    CS_TRY_GOTO(done,
                j.source.is_encoder_alone
                    ? csi_forward_encoder(options, &j.source, &j.input, &result)
                    : run_step(&j, &result));
    *out = result;
done:
    job_fini(&j);
    return st;
}
