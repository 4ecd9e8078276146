/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a trained model: RUN/recipe.yaml says what it is, RUN/model (or a
 * checkpoint) what it has learned. */
#include "cornstarch/checkpoint.h"
#include "cornstarch/log.h"
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include "internal.h"

#include <inttypes.h>

/* A path that lives as long as the model. */
static cs_status keep_path(cs_model *m, const char *run, const char *tail,
                           const char *name, const char **out)
{
    csi_str path = {0};

    csi_str_addf(&path, "%s/model/%s%s", run, name, tail);
    m->folders[m->n_folders++] = path.data; /* owned, also when it failed */
    CS_TRY(csi_str_check(&path));
    *out = path.data;
    return CS_OK;
}

/* Points every module of the recipe at the run's own model folder, so that a
 * run can be used wherever it is and whatever became of its sources. */
static cs_status use_model_folder(cs_model *m, const char *run)
{
    cs_config *c = m->config;
    cs_language_model_config *lm = &c->model.language_model;

    for (int32_t i = 0; i < c->model.n_encoders; i++) {
        cs_encoder_config *e = &c->model.encoders[i];
        e->hf_config_json = NULL;
        e->preset = NULL;
        CS_TRY(keep_path(m, run, "", e->name, &e->from));
        CS_TRY(keep_path(m, run, "/projector", e->name, &e->projector.from));
    }
    lm->hf_config_json = NULL;
    lm->preset = NULL;
    CS_TRY(keep_path(m, run, "", "language_model", &lm->from));
    lm->tokenizer = lm->from;
    return CS_OK;
}

static cs_status open_config(cs_model *m, const cs_model_options *o,
                             int64_t *checkpoint)
{
    char *recipe = NULL;
    char *weights = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_path_join(o->run_folder, "recipe.yaml", &recipe));
    CS_CHECK_GOTO(done, csi_file_exists(recipe), CS_ERR_ARG,
                  "%s: not a run folder (no recipe.yaml in it)", o->run_folder);
    CS_TRY_GOTO(done, cs_config_load(recipe, NULL, 0, &m->config));
    m->folders =
        csi_calloc((size_t)m->config->model.n_encoders * 2 + 2, sizeof(char *));
    CS_CHECK_GOTO(done, m->folders != NULL, CS_ERR_NOMEM, "model");
    CS_TRY_GOTO(done, csi_path_join(o->run_folder, "model", &weights));
    *checkpoint = o->checkpoint;
    if (o->checkpoint == 0 && csi_dir_exists(weights)) {
        CS_TRY_GOTO(done, use_model_folder(m, o->run_folder));
    } else if (o->checkpoint == 0) {
        *checkpoint = cs_checkpoint_latest(o->run_folder);
        CS_CHECK_GOTO(done, *checkpoint > 0, CS_ERR_ARG,
                      "%s: neither a model folder nor a checkpoint",
                      o->run_folder);
    }
done:
    csi_free(recipe);
    csi_free(weights);
    return st;
}

static cs_status load_weights(cs_model *m, const char *run_folder,
                              int64_t checkpoint)
{
    cs_train_state state = {0};
    char fallback[512] = "";

    CS_TRY(cs_weights_load(m->params, m->config->seed));
    if (checkpoint > 0) {
        CS_TRY(cs_checkpoint_load(run_folder, checkpoint, NULL, m->params,
                                  &state, fallback));
        csi_free(state.dropped);
        if (fallback[0] != '\0') {
            cs_log(CS_LOG_WARN, "infer", "%s", fallback);
        }
    }
    return CS_OK;
}

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
    int64_t checkpoint = 0;
    cs_model *m = csi_calloc(1, sizeof *m);

    CS_CHECK(m != NULL, CS_ERR_NOMEM, "model");
    csi_arena_init(&m->workspace, 0);
    CS_TRY_GOTO(undo, open_config(m, o, &checkpoint));
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
    CS_TRY_GOTO(undo, load_weights(m, o->run_folder, checkpoint));
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
    cs_config_destroy(&m->config);
    for (int32_t i = 0; i < m->n_folders; i++) {
        csi_free(m->folders[i]);
    }
    csi_free(m->folders);
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
