/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a trained model on one rank that holds everything. */
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/file.h"

#include "internal.h"

/* One rank that holds everything. */
static cs_status create_rank(cs_model *m)
{
    cs_status st = CS_OK;
    cs_cost_table *costs = NULL;
    cs_work *work = csi_calloc((size_t)m->graph->n_modules, sizeof *work);

    CS_CHECK(work != NULL, CS_ERR_NOMEM, "model");
    m->config->parallel.plan = CS_PLAN_AUTO;
    m->config->parallel.placement = CS_PLACEMENT_AUTO;
    m->config->parallel.dp = 0;
    CS_TRY_GOTO(done, cs_cost_estimate(m->graph, 1e9, &costs));
    const cs_plan_input input = {
        .config = m->config,
        .graph = m->graph,
        .costs = costs,
        .n_ranks = 1,
        .n_cores = 1,
        .n_microbatches = 1,
        .work = work,
    };
    CS_TRY_GOTO(done, cs_plan_create(&input, &m->plan));
    CS_TRY_GOTO(done, cs_shard_create(m->graph, m->plan, 0, &m->shard));
    CS_TRY_GOTO(done, cs_comm_local_create(1, 600.0, &m->world));
    CS_TRY_GOTO(done, cs_comm_split(m->world, 0, 0, &m->pipeline));
    CS_TRY_GOTO(done, cs_comm_split(m->world, 0, 0, &m->replicas));
done:
    csi_free(work);
    cs_cost_destroy(&costs);
    return st;
}

static cs_status create_runtime(cs_model *m)
{
    const cs_runtime_options options = {
        .shard = m->shard,
        .pipeline = m->pipeline,
        .replicas = m->replicas,
        .backend = m->backend,
        .params = m->params,
    };
    return cs_runtime_create(&options, &m->runtime);
}

cs_status cs_model_open(const cs_model_options *o, cs_model **out)
{
    cs_status st = CS_OK;
    cs_model *m = csi_calloc(1, sizeof *m);

    CS_CHECK(m != NULL, CS_ERR_NOMEM, "model");
    csi_arena_init(&m->workspace, 0);
    CS_TRY_GOTO(undo, csi_source_open_run(o->run_folder, o->checkpoint,
                                          (csi_overrides){0}, &m->source));
    m->config = m->source.config;
    CS_TRY_GOTO(undo, cs_zoo_build(m->config, &m->graph));
    const cs_language_model_config *lm = &m->config->model.language_model;
    CS_TRY_GOTO(undo, cs_tokenizer_load(lm->tokenizer != NULL ? lm->tokenizer
                                                              : lm->from,
                                        &m->tokenizer));
    CS_TRY_GOTO(undo, cs_backend_create(o->backend, o->n_threads, &m->backend));
    CS_TRY_GOTO(undo, create_rank(m));
    CS_TRY_GOTO(undo, cs_param_set_create(m->graph, m->shard->held,
                                          m->config->training.precision ==
                                                  CS_PRECISION_BF16
                                              ? CS_BF16
                                              : CS_F32,
                                          false, &m->params));
    CS_TRY_GOTO(undo, csi_source_load(&m->source, m->params));
    CS_TRY_GOTO(undo, create_runtime(m));
    CS_TRY_GOTO(undo, csi_path_join(o->run_folder, ".index", &m->index_folder));
    *out = m;
    return CS_OK;

undo:
    cs_model_close(&m);
    return st;
}

void cs_model_close(cs_model **model)
{
    cs_model *m = *model;

    if (m == NULL) {
        return;
    }
    cs_runtime_destroy(&m->runtime);
    cs_shard_destroy(&m->shard);
    cs_plan_destroy(&m->plan);
    cs_comm_destroy(&m->pipeline);
    cs_comm_destroy(&m->replicas);
    cs_comm_destroy(&m->world);
    cs_param_set_destroy(&m->params);
    cs_backend_destroy(&m->backend);
    cs_tokenizer_destroy(&m->tokenizer);
    cs_graph_destroy(&m->graph);
    csi_source_close(&m->source);
    csi_free(m->index_folder);
    csi_arena_fini(&m->workspace);
    csi_free(m);
    *model = NULL;
}

const cs_config *cs_model_config(const cs_model *model)
{
    return model->config;
}

const cs_graph *cs_model_graph(const cs_model *model)
{
    return model->graph;
}

const cs_tokenizer *cs_model_tokenizer(const cs_model *model)
{
    return model->tokenizer;
}

cs_status cs_model_dataset(const cs_model *model,
                           const cs_dataset_config *files, int32_t n_files,
                           cs_dataset **out)
{
    const cs_dataset_options options = {
        .config = model->config,
        .graph = model->graph,
        .tokenizer = model->tokenizer,
        .files = files,
        .n_files = n_files,
        .index_folder = model->index_folder,
        .quiet = true,
    };
    CS_TRY(csi_dir_create(model->index_folder));
    return cs_dataset_open(&options, out);
}
