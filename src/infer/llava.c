/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LlavaForConditionalGeneration: one picture encoder, a projector of two
 * products, a language model, everything causal. Its config holds those of its
 * parts; its weights are theirs under prefixes:
 *
 *     vision_tower. + vision_model...        multi_modal_projector. + linear_1
 *     language_model. + model..., lm_head
 */
#include "cornstarch/checkpoint.h"

#include "base/alloc.h"
#include "base/checked.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include "convert.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_TOKENIZER_BYTES = 256 << 20
};

/* ---- what fits ---- */

static const cs_layer *projector_of(const cs_module *vision)
{
    return &vision->layers[vision->n_layers - 1];
}

static cs_status check_vision(const cs_config *c, const cs_module *m)
{
    const cs_encoder_config *e = &c->model.encoders[0];
    const cs_layer *norm = &m->layers[m->n_layers - 2];
    const cs_layer *projector = projector_of(m);
    const bool is_clip = strcmp(m->family, "clip") == 0;

    CS_CHECK(is_clip || strcmp(m->family, "siglip") == 0, CS_ERR_UNSUPPORTED,
             "unsupported: convert --to llava: encoder %s is %s, wanted clip "
             "or siglip",
             m->name, m->family);
    CS_CHECK(m->pool == 1 && m->stack == 1, CS_ERR_UNSUPPORTED,
             "unsupported: convert --to llava: encoder %s pools %d rows and "
             "stacks %d, wanted 1 and 1",
             m->name, m->pool, m->stack);
    CS_CHECK(norm->param[CS_SLOT_NORM1_W] < 0, CS_ERR_UNSUPPORTED,
             "unsupported: convert --to llava: encoder %s: feature_layer %d is "
             "through the last norm of %s, which LLaVA does not apply (wanted "
             "a layer below, such as -2)",
             m->name, e->feature_layer, m->family);
    CS_CHECK(m->layers[0].position_side == 0, CS_ERR_UNSUPPORTED,
             "unsupported: convert --to llava: encoder %s takes pictures of "
             "%d, its positions are those of another size",
             m->name, m->image_size);
    CS_CHECK(projector->kind == CS_LAYER_PROJECTOR &&
                 projector->mlp_dim == projector->out_dim,
             CS_ERR_UNSUPPORTED,
             "unsupported: convert --to llava: projector of %s: wanted an mlp "
             "with hidden_size %" PRId64,
             m->name, projector->out_dim);
    return CS_OK;
}

static cs_status check_language_model(const cs_graph *graph)
{
    const int32_t index = cs_graph_language_model(graph);
    const cs_module *m = &graph->modules[index];
    const double scale = m->layers[0].embed_scale;

    CS_CHECK(scale == 0.0 || scale == 1.0, CS_ERR_UNSUPPORTED,
             "unsupported: convert --to llava: language_model %s multiplies "
             "its embedding by %g, LLaVA would do so with features, too",
             m->family, scale);
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *p = &graph->params[i];
        CS_CHECK(p->module != index || strncmp(p->name, "model.", 6) == 0 ||
                     strcmp(p->name, "lm_head.weight") == 0,
                 CS_ERR_UNSUPPORTED,
                 "unsupported: convert --to llava: language_model %s has a "
                 "tensor '%s', wanted 'model. ...' and 'lm_head.weight'",
                 m->family, p->name);
    }
    return CS_OK;
}

cs_status csi_llava_check(const csi_convert_job *j)
{
    const cs_config *c = j->source.config;

    CS_CHECK(j->graph->n_modules == 2, CS_ERR_UNSUPPORTED,
             "unsupported: convert --to llava: the model has %d encoders, "
             "wanted 1",
             j->graph->n_modules - 1);
    CS_CHECK(c->model.attention == CS_MASK_CAUSAL, CS_ERR_UNSUPPORTED,
             "unsupported: convert --to llava: model.attention is %s, LLaVA's "
             "is causal",
             cs_mask_policy_name(c->model.attention));
    CS_TRY(check_vision(c, &j->graph->modules[0]));
    return check_language_model(j->graph);
}

/* ---- weights ---- */

/* The image token may lie behind the vocabulary: then it grows by rows of
 * zeros. */
static cs_status write_weights(const csi_convert_job *j, int64_t vocab,
                               const char *folder)
{
    static const char *const PADDED[] = {
        "language_model.model.embed_tokens.weight",
        "language_model.lm_head.weight",
    };
    const char *vision = j->graph->modules[0].name;
    char *folders[3] = {NULL};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_path_join(j->modules, vision, &folders[0]));
    CS_TRY_GOTO(done, csi_path_join(folders[0], "projector", &folders[1]));
    CS_TRY_GOTO(done, csi_path_join(j->modules, "language_model", &folders[2]));
    const cs_merge_part parts[] = {
        {folders[0], "vision_tower."},
        {folders[1], "multi_modal_projector."},
        {folders[2], "language_model."},
    };
    const cs_merge_options options = {
        .n_parts = 3,
        .parts = parts,
        .n_padded = 2,
        .padded = PADDED,
        .padded_rows = vocab,
        .max_shard_bytes = j->o->max_shard_bytes,
    };
    CS_TRY_GOTO(done, cs_weights_merge(&options, folder));
done:
    for (int i = 0; i < 3; i++) {
        csi_free(folders[i]);
    }
    return st;
}

/* ---- texts ---- */

static cs_status save(const char *folder, const char *name, const json_t *json)
{
    char *path = NULL;

    CS_TRY(csi_path_join(folder, name, &path));
    const cs_status st = csi_json_save(path, json);

    csi_free(path);
    CS_TRY(st);
    return CS_OK;
}

/* A module's own config.json without what only the whole has. */
static cs_status parse_config(const cs_module *m, json_t **out)
{
    CS_TRY(csi_json_parse(m->hf_config, strlen(m->hf_config), m->name, out));
    (void)json_object_del(*out, "architectures");
    return CS_OK;
}

static const char *select_of(const cs_module *vision)
{
    return vision->class_rows > 0 && vision->feature_skip > 0 ? "default"
                                                              : "full";
}

static cs_status make_config(const csi_convert_job *j, int64_t image_token,
                             int64_t vocab, json_t **out)
{
    const cs_module *vision = &j->graph->modules[0];
    const cs_encoder_config *e = &j->source.config->model.encoders[0];
    const int64_t side = vision->image_size / vision->patch_size;
    const int64_t n_rows =
        side * side + vision->class_rows - vision->feature_skip;
    json_t *vision_config = NULL;
    json_t *text_config = NULL;
    json_t *projector = NULL;
    const char *activation = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, parse_config(vision, &vision_config));
    CS_TRY_GOTO(done, parse_config(&j->graph->modules[1], &text_config));
    CS_TRY_GOTO(done, csi_json_parse(vision->projector_config,
                                     strlen(vision->projector_config),
                                     "projector", &projector));
    CS_TRY_GOTO(done, csi_json_string(projector, "activation", "projector",
                                      &activation));
    const json_t *tied = json_object_get(text_config, "tie_word_embeddings");
    CS_CHECK_GOTO(done,
                  json_object_set_new(text_config, "vocab_size",
                                      json_integer(vocab)) == 0,
                  CS_ERR_NOMEM, "config.json");
    *out =
        json_pack("{s:[s], s:s, s:I, s:I, s:b, s:s, s:b, s:i, s:s, s:O, s:O}",
                  "architectures", "LlavaForConditionalGeneration",
                  "model_type", "llava", "image_token_index",
                  (json_int_t)image_token, "image_seq_length",
                  (json_int_t)n_rows, "multimodal_projector_bias", 1,
                  "projector_hidden_act", activation, "tie_word_embeddings",
                  json_is_true(tied) ? 1 : 0, "vision_feature_layer",
                  e->feature_layer, "vision_feature_select_strategy",
                  select_of(vision), "vision_config", vision_config,
                  "text_config", text_config);
    CS_CHECK_GOTO(done, *out != NULL, CS_ERR_NOMEM, "config.json");
done:
    json_decref(vision_config);
    json_decref(text_config);
    json_decref(projector);
    return st;
}

static cs_status write_config(const csi_convert_job *j, int64_t image_token,
                              int64_t vocab, const char *folder)
{
    json_t *config = NULL;

    CS_TRY(make_config(j, image_token, vocab, &config));
    const cs_status st = save(folder, "config.json", config);

    json_decref(config);
    CS_TRY(st);
    return CS_OK;
}

/* LlavaProcessor: how many image tokens a picture of the given size has. */
static cs_status write_processor(const csi_convert_job *j, const char *folder)
{
    const cs_module *vision = &j->graph->modules[0];
    json_t *json =
        json_pack("{s:s, s:s, s:i, s:i, s:s}", "processor_class",
                  "LlavaProcessor", "image_token",
                  j->source.config->model.encoders[0].placeholder, "patch_size",
                  vision->patch_size, "num_additional_image_tokens",
                  vision->class_rows, "vision_feature_select_strategy",
                  select_of(vision));

    CS_CHECK(json != NULL, CS_ERR_NOMEM, "processor_config.json");
    const cs_status st = save(folder, "processor_config.json", json);

    json_decref(json);
    CS_TRY(st);
    return CS_OK;
}

/* Adds the image token to the tokenizer's own list, unless it is there. */
static cs_status add_image_token(json_t *tokenizer, const char *where,
                                 const char *text, int64_t id)
{
    json_t *added = NULL;

    CS_TRY(csi_json_array(tokenizer, "added_tokens", where, &added));
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        const char *content =
            json_string_value(json_object_get(token, "content"));
        const json_t *own = json_object_get(token, "id");
        if (content != NULL && strcmp(content, text) == 0) {
            CS_CHECK(json_integer_value(own) == id, CS_ERR_FORMAT,
                     "%s: '%s' has id %lld, the run's placeholder %" PRId64,
                     where, text, (long long)json_integer_value(own), id);
            return CS_OK;
        }
    }
    json_t *token =
        json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id,
                  "content", text, "single_word", 0, "lstrip", 0, "rstrip", 0,
                  "normalized", 0, "special", 1);

    CS_CHECK(token != NULL && json_array_append_new(added, token) == 0,
             CS_ERR_NOMEM, "%s: the image token", where);
    return CS_OK;
}

static cs_status write_tokenizer(const csi_convert_job *j, const char *from,
                                 int64_t image_token, const char *folder)
{
    json_t *tokenizer = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_json_load(from, MAX_TOKENIZER_BYTES, &tokenizer));
    CS_TRY_GOTO(done,
                add_image_token(tokenizer, from,
                                j->source.config->model.encoders[0].placeholder,
                                image_token));
    CS_TRY_GOTO(done, save(folder, "tokenizer.json", tokenizer));
done:
    json_decref(tokenizer);
    return st;
}

static bool is_weights(const char *name)
{
    return strstr(name, ".safetensors") != NULL;
}

/* What stands beside a module's weights, but for its config. */
static cs_status copy_texts(const csi_convert_job *j, const char *module,
                            int64_t image_token, const char *folder)
{
    char *from = NULL;
    char **names = NULL;
    int64_t n = 0;
    cs_status st = CS_OK;

    CS_TRY(csi_path_join(j->modules, module, &from));
    CS_TRY_GOTO(done, csi_dir_list(from, &names, &n));
    for (int64_t i = 0; i < n; i++) {
        char *source = NULL;
        char *target = NULL;
        CS_TRY_GOTO(done, csi_path_join(from, names[i], &source));
        st = csi_path_join(folder, names[i], &target);
        if (st == CS_OK && strcmp(names[i], "tokenizer.json") == 0) {
            st = write_tokenizer(j, source, image_token, folder);
        } else if (st == CS_OK && !is_weights(names[i]) &&
                   strcmp(names[i], "config.json") != 0 &&
                   csi_file_exists(source)) {
            st = csi_file_copy(source, target);
        }
        csi_free(source);
        csi_free(target);
        CS_TRY_GOTO(done, st);
    }
done:
    for (int64_t i = 0; i < n; i++) {
        csi_free(names[i]);
    }
    csi_free(names);
    csi_free(from);
    return st;
}

cs_status csi_llava_write(const csi_convert_job *j, const char *folder)
{
    const cs_graph *graph = j->graph;
    int64_t image_token = 0;

    CS_TRY(csi_source_placeholders(&j->source, graph, &image_token));
    const int64_t vocab = csi_max_i64(graph->modules[1].vocab, image_token + 1);

    CS_TRY(write_config(j, image_token, vocab, folder));
    CS_TRY(write_processor(j, folder));
    CS_TRY(copy_texts(j, graph->modules[0].name, image_token, folder));
    CS_TRY(copy_texts(j, "language_model", image_token, folder));
    return write_weights(j, vocab, folder);
}
