/* SPDX-License-Identifier: Apache-2.0 */
/* Which ids stand for media. */
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"

#include "source.h"

enum {
    MAX_MODEL_JSON_BYTES = 1 << 20
};

/* What a run's cornstarch.json says. */
static cs_status read_placeholders(const char *path, int32_t n, int64_t *ids)
{
    json_t *model = NULL;
    json_t *encoders = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_json_load(path, MAX_MODEL_JSON_BYTES, &model));
    CS_TRY_GOTO(done, csi_json_check_format(model, "cornstarch.model", path));
    CS_TRY_GOTO(done, csi_json_array(model, "encoders", path, &encoders));
    CS_CHECK_GOTO(done, json_array_size(encoders) == (size_t)n, CS_ERR_FORMAT,
                  "%s: %zu encoders, the recipe has %d", path,
                  json_array_size(encoders), n);
    for (int32_t e = 0; e < n; e++) {
        CS_TRY_GOTO(done, csi_json_i64(json_array_get(encoders, (size_t)e),
                                       "placeholder_id", path, 0, INT32_MAX,
                                       &ids[e]));
    }
done:
    json_decref(model);
    return st;
}

/* The tokenizer of a recipe, NULL where it has none. */
static cs_status load_tokenizer(const cs_config *c, cs_tokenizer **out)
{
    const cs_language_model_config *lm = &c->model.language_model;
    const char *folder = lm->tokenizer != NULL ? lm->tokenizer : lm->from;
    char *path = NULL;

    if (folder == NULL) {
        return CS_OK;
    }
    CS_TRY(csi_path_join(folder, "tokenizer.json", &path));
    const bool is_there = csi_file_exists(path);

    csi_free(path);
    return is_there ? cs_tokenizer_load(folder, out) : CS_OK;
}

static cs_status choose_placeholders(const cs_config *c, const cs_graph *graph,
                                     int64_t *ids)
{
    const int32_t language_model = cs_graph_language_model(graph);
    cs_tokenizer *tokenizer = NULL;

    CS_TRY(load_tokenizer(c, &tokenizer));
    const int64_t next = tokenizer != NULL
                             ? cs_tokenizer_size(tokenizer)
                             : graph->modules[language_model].vocab;

    for (int32_t e = 0; e < language_model; e++) {
        const char *text = c->model.encoders[e].placeholder;
        const int32_t own = tokenizer != NULL && text != NULL
                                ? cs_tokenizer_special(tokenizer, text)
                                : -1;
        ids[e] = own >= 0 ? own : next + e;
    }
    cs_tokenizer_destroy(&tokenizer);
    return CS_OK;
}

cs_status csi_source_placeholders(const csi_model_source *source,
                                  const cs_graph *graph, int64_t *ids)
{
    char *folder = NULL;
    char *path = NULL;
    cs_status st = CS_OK;

    if (source->run_folder != NULL) {
        CS_TRY_GOTO(done, csi_path_join(source->run_folder, "model", &folder));
        CS_TRY_GOTO(done, csi_path_join(folder, "cornstarch.json", &path));
    }
    CS_TRY_GOTO(done, path != NULL && csi_file_exists(path)
                          ? read_placeholders(path, graph->n_modules - 1, ids)
                          : choose_placeholders(source->config, graph, ids));
done:
    csi_free(folder);
    csi_free(path);
    return st;
}
