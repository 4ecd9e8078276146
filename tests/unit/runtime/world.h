/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_RUNTIME_WORLD_H
#define CST_RUNTIME_WORLD_H
/*
 * A tiny model run by the runtime on rank threads, as a recipe's `parallel`
 * lays it out. Ranks leave their gradients and results where the main thread
 * can look at them: cmocka's assertions do not work in threads.
 */
#include "cornstarch/plan.h"

#include "base/alloc.h"

#include "unit/nn/tiny.h"

#include <stdlib.h>

enum {
    WORLD_MAX_RANKS = 8,
    WORLD_MAX_PARAMS = 120,
    WORLD_MAX_HOOKS = 8
};

typedef struct world world;

/* What one rank owns; made and destroyed by its thread. */
typedef struct world_rank {
    world *w;
    cs_comm *comm, *pipeline, *replicas;
    cs_shard *shard;
    cs_backend *backend;
    cs_param_set *params;
    cs_runtime *runtime;
    cs_step_input input;
    cs_step_result result;
    int n_hooks;
    cs_action_kind hooks[WORLD_MAX_HOOKS];
} world_rank;

/* Steps of a rank; between them it may look around. */
typedef cs_status (*world_steps_fn)(world_rank *r);

struct world {
    const tiny *t;
    const char *backend;
    cs_dtype dtype;
    world_steps_fn steps;
    void *context;
    double timeout_s;
    cs_plan *plan;
    /* filled by the ranks: of replica r, parameter i (plain heap) */
    void *grad[WORLD_MAX_RANKS][WORLD_MAX_PARAMS];
    double loss_sum[WORLD_MAX_RANKS];     /* by world rank */
    double balance_sums[TINY_MAX_LAYERS]; /* of all ranks */
    int64_t n_correct[WORLD_MAX_RANKS], label_tokens[WORLD_MAX_RANKS];
    int64_t bytes_sent[WORLD_MAX_RANKS];
};

/* `parallel` of the recipe must say plan: manual. */
static inline cs_status world_plan(const tiny *t, int32_t n_ranks,
                                   cs_plan **out)
{
    cs_cost_table *costs = NULL;
    cs_work work[TINY_MAX_MODULES] = {{0}};

    for (int32_t m = 0; m < t->graph->n_modules; m++) {
        work[m] = (cs_work){.rows = 30, .pairs = 200, .feature_rows = 20};
    }
    CS_TRY(cs_cost_estimate(t->graph, 1e9, &costs));
    const cs_plan_input input = {
        .config = t->config,
        .graph = t->graph,
        .costs = costs,
        .n_ranks = n_ranks,
        .n_cores = n_ranks,
        .n_microbatches = 8,
        .work = work,
    };
    const cs_status st = cs_plan_create(&input, out);
    cs_cost_destroy(&costs);
    return st;
}

static inline cs_status world_hook(void *context, cs_action_kind kind)
{
    world_rank *r = context;

    CS_CHECK(r->n_hooks < WORLD_MAX_HOOKS, CS_ERR_INTERNAL, "too many hooks");
    r->hooks[r->n_hooks++] = kind;
    return CS_OK;
}

static inline cs_status world_create_rank(world_rank *r)
{
    world *w = r->w;
    const cs_graph *graph = w->t->graph;

    CS_TRY(cs_shard_create(graph, w->plan, r->comm->rank, &r->shard));
    CS_TRY(cs_comm_split(r->comm, r->shard->replica, r->shard->pipeline_rank,
                         &r->pipeline));
    CS_TRY(cs_comm_split(r->comm, r->shard->pipeline_rank, r->shard->replica,
                         &r->replicas));
    CS_TRY(cs_backend_create(w->backend, 1, &r->backend));
    CS_TRY(cs_param_set_create(graph, r->shard->held, w->dtype, true,
                               &r->params));
    tiny_init(r->params);
    const cs_runtime_options options = {
        .shard = r->shard,
        .pipeline = r->pipeline,
        .replicas = r->replicas,
        .backend = r->backend,
        .params = r->params,
        .hook = world_hook,
        .hook_context = r,
    };
    CS_TRY(cs_runtime_create(&options, &r->runtime));
    const cs_batch_plan *plan = w->t->plan;
    r->input = (cs_step_input){
        .plan = plan,
        .data = &w->t->data[(int64_t)r->shard->replica * plan->n_microbatches],
        .is_training = true,
    };
    return CS_OK;
}

static inline void world_destroy_rank(world_rank *r)
{
    cs_runtime_destroy(&r->runtime);
    cs_param_set_destroy(&r->params);
    cs_backend_destroy(&r->backend);
    cs_comm_destroy(&r->replicas);
    cs_comm_destroy(&r->pipeline);
    cs_shard_destroy(&r->shard);
}

static inline cs_status world_step(world_rank *r)
{
    r->n_hooks = 0;
    return cs_runtime_step(r->runtime, &r->input, &r->result);
}

/* Gradients and totals go to the world. */
static inline cs_status world_keep(world_rank *r)
{
    world *w = r->w;
    const int32_t rank = r->comm->rank;
    const cs_graph *graph = w->t->graph;
    const cs_module *lm = &graph->modules[cs_graph_language_model(graph)];

    w->loss_sum[rank] = r->result.loss_sum;
    for (int32_t i = 0; i < lm->n_layers; i++) {
        if (r->result.balance_sums[i] != 0.0) {
            w->balance_sums[i] = r->result.balance_sums[i];
        }
    }
    w->n_correct[rank] = r->result.n_correct;
    w->label_tokens[rank] = r->result.label_tokens;
    w->bytes_sent[rank] = r->result.bytes_sent;
    for (int32_t i = 0; i < w->t->graph->n_params; i++) {
        const cs_param_state *p = cs_param_find(r->params, i);
        if (p == NULL || p->grad == NULL) {
            continue;
        }
        const size_t n_bytes =
            (size_t)p->count * cs_dtype_bytes(r->params->real);
        void **grad = &w->grad[r->shard->replica][i];
        CS_CHECK(*grad == NULL, CS_ERR_INTERNAL, "%s is held twice",
                 p->spec->global_name);
        *grad = malloc(n_bytes);
        CS_CHECK(*grad != NULL, CS_ERR_NOMEM, "gradient");
        memcpy(*grad, p->grad, n_bytes);
    }
    return CS_OK;
}

static inline cs_status world_body(cs_comm *comm, void *arg)
{
    world_rank r = {.w = arg, .comm = comm};
    cs_status st = world_create_rank(&r);

    if (st == CS_OK) {
        st = r.w->steps(&r);
    }
    world_destroy_rank(&r);
    return st;
}

/* Two equal steps: the second must not see anything of the first. */
static inline cs_status world_two_steps(world_rank *r)
{
    CS_TRY(world_step(r));
    CS_TRY(world_step(r));
    return world_keep(r);
}

static inline cs_status world_run(world *w, int32_t n_ranks)
{
    assert_ok(world_plan(w->t, n_ranks, &w->plan));
    assert_in_range(w->t->graph->n_params, 1, WORLD_MAX_PARAMS);
    return cs_comm_local_run(n_ranks, w->timeout_s > 0.0 ? w->timeout_s : 20.0,
                             world_body, w);
}

static inline void world_end(world *w)
{
    for (int32_t r = 0; r < WORLD_MAX_RANKS; r++) {
        for (int32_t i = 0; i < WORLD_MAX_PARAMS; i++) {
            free(w->grad[r][i]);
        }
    }
    cs_plan_destroy(&w->plan);
}

/* The rank of replica 0 that scores. */
static inline int32_t world_scorer(const world *w)
{
    const cs_plan_module *lm = &w->plan->modules[w->plan->n_modules - 1];

    return lm->ranks[lm->pp - 1];
}

#define WORLD_SINGLE "parallel={plan: manual, placement: single}"
#define WORLD_PARALLEL(schedule, modules)                    \
    "parallel={plan: manual, placement: modality_parallel, " \
    "schedule: " schedule ", modules: {" modules "}}"
#endif
