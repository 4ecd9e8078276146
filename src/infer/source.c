/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RUN/recipe.yaml says what a run's model is, RUN/model (or a checkpoint) what
 * it has learned. A plain folder gets a recipe of its own, so that behind this
 * file there are only recipes.
 */
#include "source.h"

#include "cornstarch/checkpoint.h"
#include "cornstarch/log.h"
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <string.h>

enum {
    MAX_CONFIG_BYTES = 4 << 20
};

/* A path that lives as long as the source. */
static cs_status keep_path(csi_model_source *s, const char *tail,
                           const char *name, const char **out)
{
    csi_str path = {0};

    csi_str_addf(&path, "%s/model/%s%s", s->run_folder, name, tail);
    s->folders[s->n_folders++] = path.data; /* owned, also when it failed */
    CS_TRY(csi_str_check(&path));
    *out = path.data;
    return CS_OK;
}

/* Points every module of the recipe at the run's own model folder, so that a
 * run can be used wherever it is and whatever became of its sources. */
static cs_status use_model_folder(csi_model_source *s)
{
    cs_config *c = s->config;
    cs_language_model_config *lm = &c->model.language_model;

    for (int32_t i = 0; i < c->model.n_encoders; i++) {
        cs_encoder_config *e = &c->model.encoders[i];
        e->hf_config_json = NULL;
        e->preset = NULL;
        CS_TRY(keep_path(s, "", e->name, &e->from));
        CS_TRY(keep_path(s, "/projector", e->name, &e->projector.from));
    }
    lm->hf_config_json = NULL;
    lm->preset = NULL;
    CS_TRY(keep_path(s, "", "language_model", &lm->from));
    lm->tokenizer = lm->from;
    return CS_OK;
}

static cs_status open_run(csi_model_source *s, int64_t checkpoint,
                          csi_overrides overrides)
{
    char *recipe = NULL;
    char *weights = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_path_join(s->run_folder, "recipe.yaml", &recipe));
    CS_CHECK_GOTO(done, csi_file_exists(recipe), CS_ERR_ARG,
                  "%s: not a run folder (no recipe.yaml in it)", s->run_folder);
    CS_TRY_GOTO(done, cs_config_load(recipe, overrides.texts, overrides.n,
                                     &s->config));
    s->folders =
        csi_calloc((size_t)s->config->model.n_encoders * 2 + 2, sizeof(char *));
    CS_CHECK_GOTO(done, s->folders != NULL, CS_ERR_NOMEM, "model");
    CS_TRY_GOTO(done, csi_path_join(s->run_folder, "model", &weights));
    s->checkpoint = checkpoint;
    if (checkpoint == 0 && csi_dir_exists(weights)) {
        CS_TRY_GOTO(done, use_model_folder(s));
    } else if (checkpoint == 0) {
        s->checkpoint = cs_checkpoint_latest(s->run_folder);
        CS_CHECK_GOTO(done, s->checkpoint > 0, CS_ERR_ARG,
                      "%s: neither a model folder nor a checkpoint",
                      s->run_folder);
    }
done:
    csi_free(recipe);
    csi_free(weights);
    return st;
}

cs_status csi_source_open_run(const char *run_folder, int64_t checkpoint,
                              csi_overrides overrides, csi_model_source *out)
{
    csi_model_source s = {.run_folder = run_folder};
    const cs_status st = open_run(&s, checkpoint, overrides);

    if (st != CS_OK) {
        csi_source_close(&s);
        return cs_pass_at(__FILE__, __LINE__, __func__, st);
    }
    *out = s;
    return CS_OK;
}

/* ---- one folder ---- */

/* What a config.json describes. One whose model_type nobody knows is left to
 * whoever builds the model and says so. */
static cs_status read_modality(const char *config_path, cs_modality *out)
{
    json_t *config = NULL;
    const char *type = NULL;
    cs_zoo_family family;

    CS_TRY(csi_json_load(config_path, MAX_CONFIG_BYTES, &config));
    *out = json_object_get(config, "vision_config") != NULL ? CS_MODALITY_VISION
                                                            : CS_MODALITY_TEXT;
    type = json_string_value(json_object_get(config, "model_type"));
    for (int32_t i = 0; type != NULL && cs_zoo_get(i, &family); i++) {
        if (strcmp(family.model_type, type) == 0) {
            *out = family.modality;
        }
    }
    json_decref(config);
    return CS_OK;
}

/* The recipe of one folder. An encoder needs a language model to be a model;
 * it gets the smallest, which is never run. */
static void print_recipe(csi_str *yaml, const char *folder, bool is_encoder)
{
    csi_str_add(yaml, "version: 1\nmodel:\n  attention: causal\n");
    if (is_encoder) {
        csi_str_add(yaml, "  encoders:\n    encoder:\n      from: \"");
        csi_str_add_json(yaml, folder);
        csi_str_add(yaml, "\"\n      placeholder: \"<item>\"\n"
                          "      feature_select: full\n"
                          "      projector: {type: linear, freeze: true}\n"
                          "  language_model:\n    freeze: true\n"
                          "    config: {model_type: llama, hidden_size: 4, "
                          "intermediate_size: 4, num_hidden_layers: 1, "
                          "num_attention_heads: 2, vocab_size: 4}\n");
    } else {
        csi_str_add(yaml, "  language_model:\n    from: \"");
        csi_str_add_json(yaml, folder);
        csi_str_add(yaml, "\"\n");
    }
    csi_str_add(yaml, "data:\n  train: [{path: none.json}]\n"
                      "training: {max_steps: 1, precision: f32}\n");
}

static cs_status open_folder(const char *folder, const char *config_path,
                             csi_overrides overrides, csi_model_source *s)
{
    cs_modality modality = CS_MODALITY_TEXT;
    csi_str yaml = {0};
    cs_status st = CS_OK;

    CS_TRY(read_modality(config_path, &modality));
    s->is_encoder_alone = modality != CS_MODALITY_TEXT;
    print_recipe(&yaml, folder, s->is_encoder_alone);
    CS_TRY_GOTO(done, csi_str_check(&yaml));
    CS_TRY_GOTO(done,
                cs_config_parse(yaml.data, yaml.length, ".", overrides.texts,
                                overrides.n, &s->config));
done:
    csi_str_fini(&yaml);
    return st;
}

cs_status csi_source_open(const char *path, int64_t checkpoint,
                          csi_overrides overrides, csi_model_source *out)
{
    char *recipe = NULL;
    char *config = NULL;
    csi_model_source s = {0};
    cs_status st = CS_OK;

    if (!csi_dir_exists(path)) {
        CS_CHECK(checkpoint == 0, CS_ERR_ARG,
                 "%s: a checkpoint is of a run folder, this is a recipe", path);
        CS_TRY(cs_config_load(path, overrides.texts, overrides.n, &s.config));
        *out = s;
        return CS_OK;
    }
    CS_TRY_GOTO(done, csi_path_join(path, "recipe.yaml", &recipe));
    CS_TRY_GOTO(done, csi_path_join(path, "config.json", &config));
    if (csi_file_exists(recipe)) {
        CS_TRY_GOTO(done, csi_source_open_run(path, checkpoint, overrides, &s));
    } else {
        CS_CHECK_GOTO(done, csi_file_exists(config), CS_ERR_ARG,
                      "%s: wanted a run folder (recipe.yaml) or a model's "
                      "folder (config.json), found neither",
                      path);
        CS_TRY_GOTO(done, open_folder(path, config, overrides, &s));
    }
    *out = s;
    s = (csi_model_source){0};
done:
    csi_source_close(&s);
    csi_free(recipe);
    csi_free(config);
    return st;
}

void csi_source_close(csi_model_source *source)
{
    cs_config_destroy(&source->config);
    for (int32_t i = 0; i < source->n_folders; i++) {
        csi_free(source->folders[i]);
    }
    csi_free(source->folders);
    *source = (csi_model_source){0};
}

cs_status csi_source_load(const csi_model_source *source, cs_param_set *set)
{
    cs_train_state state = {0};
    char fallback[512] = "";

    CS_TRY(cs_weights_load(set, source->config->seed));
    if (source->checkpoint > 0) {
        CS_TRY(cs_checkpoint_load(source->run_folder, source->checkpoint, NULL,
                                  set, &state, fallback));
        csi_free(state.dropped);
        if (fallback[0] != '\0') {
            cs_log(CS_LOG_WARN, "infer", "%s", fallback);
        }
    }
    return CS_OK;
}
