/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A recipe's model section -> one graph: encoders in recipe order, each with
 * its projector as its last layer, then the language model. Decides which
 * parameters are trainable.
 */
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include "build_encoder.h"

#include <regex.h>
#include <string.h>

enum {
    MAX_CONFIG_BYTES = 4 << 20
};

/* One module's config.json, from the recipe or from its folder. */
typedef struct module_source {
    json_t *config; /* owned */
    char *where;    /* owned: what errors call it */
    const csi_family *family;
} module_source;

static void close_source(module_source *source)
{
    json_decref(source->config);
    csi_free(source->where);
    *source = (module_source){0};
}

/* A contrastive model's file holds two towers; ours is its vision_config, with
 * or without a model_type of its own. */
static cs_status descend_to_vision(json_t *config, const char *where,
                                   json_t **out)
{
    const char *const type =
        json_string_value(json_object_get(config, "model_type"));
    json_t *const vision = json_object_get(config, "vision_config");

    if (type == NULL || strcmp(type, "siglip") != 0 || vision == NULL) {
        return CS_OK;
    }
    CS_CHECK(json_is_object(vision), CS_ERR_FORMAT,
             "%s: key 'vision_config': wanted an object", where);
    CS_CHECK(json_object_set_new(vision, "model_type",
                                 json_string("siglip_vision_model")) == 0,
             CS_ERR_NOMEM, "no memory for a vision_config");
    json_incref(vision);
    json_decref(config);
    *out = vision;
    return CS_OK;
}

static cs_status open_source(const char *name, const char *from,
                             const char *hf_config_json, bool is_language_model,
                             module_source *s)
{
    const char *model_type = NULL;
    csi_str where = {0};

    if (from != NULL) {
        CS_TRY(csi_path_join(from, "config.json", &s->where));
        CS_TRY(csi_json_load(s->where, MAX_CONFIG_BYTES, &s->config));
    } else {
        CS_CHECK(hf_config_json != NULL, CS_ERR_UNSUPPORTED,
                 "unsupported: model %s: preset (give from or config)", name);
        csi_str_addf(&where, "config of %s", name);
        s->where = where.data;
        CS_CHECK(!where.failed, CS_ERR_NOMEM, "config of %s", name);
        CS_TRY(csi_json_parse(hf_config_json, strlen(hf_config_json), s->where,
                              &s->config));
    }
    CS_CHECK(json_is_object(s->config), CS_ERR_FORMAT,
             "%s: wanted a JSON object", s->where);
    CS_TRY(descend_to_vision(s->config, s->where, &s->config));
    CS_TRY(csi_json_string(s->config, "model_type", s->where, &model_type));
    s->family = csi_family_find(model_type);
    CS_CHECK(s->family != NULL, CS_ERR_UNSUPPORTED,
             "unsupported: %s: model_type '%s' (`cornstarch models` lists what "
             "is offered)",
             s->where, model_type);
    CS_CHECK((s->family->modality == CS_MODALITY_TEXT) == is_language_model,
             CS_ERR_ARG, "%s: model_type '%s' is %s, wanted %s", s->where,
             model_type, is_language_model ? "an encoder" : "a language model",
             is_language_model ? "a language model" : "an encoder");
    return CS_OK;
}

/* config.json of the export: the module's own keys, made loadable. */
static cs_status print_hf_config(const module_source *source, char **out)
{
    json_t *copy = json_deep_copy(source->config);
    cs_status st = CS_OK;

    CS_CHECK_GOTO(done, copy != NULL, CS_ERR_NOMEM, "%s", source->where);
    CS_CHECK_GOTO(done,
                  json_object_set_new(copy, "architectures",
                                      json_pack("[s]", source->family
                                                           ->architecture)) ==
                      0,
                  CS_ERR_NOMEM, "%s", source->where);
    if (source->family->modality == CS_MODALITY_VISION) {
        CS_CHECK_GOTO(done,
                      json_object_set_new(copy, "vision_use_head",
                                          json_false()) == 0,
                      CS_ERR_NOMEM, "%s", source->where);
    }
    *out = json_dumps(copy, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    CS_CHECK_GOTO(done, *out != NULL, CS_ERR_NOMEM, "%s", source->where);
done:
    json_decref(copy);
    return st;
}

static cs_status copy_text(const char *text, char **out)
{
    if (text != NULL) {
        *out = csi_strdup(text);
        CS_CHECK(*out != NULL, CS_ERR_NOMEM, "copy of '%.60s'", text);
    }
    return CS_OK;
}

/* Marks parameters of `module` (projector or not) frozen as asked. */
static cs_status apply_freeze(cs_graph *graph, int32_t module,
                              bool in_projector, const cs_freeze *freeze)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        cs_param *p = &graph->params[i];
        if (freeze->all && p->module == module &&
            p->in_projector == in_projector) {
            p->is_trainable = false;
        }
    }
    for (int32_t k = 0; k < freeze->n_patterns; k++) {
        regex_t regex;
        int64_t n_matches = 0;
        CS_CHECK(regcomp(&regex, freeze->patterns[k], REG_EXTENDED) == 0,
                 CS_ERR_ARG, "freeze of %s: '%s' is not a regular expression",
                 graph->modules[module].name, freeze->patterns[k]);
        for (int32_t i = 0; i < graph->n_params; i++) {
            cs_param *p = &graph->params[i];
            if (p->module == module && p->in_projector == in_projector &&
                regexec(&regex, p->name, 0, NULL, 0) == 0) {
                p->is_trainable = false;
                n_matches++;
            }
        }
        regfree(&regex);
        CS_CHECK(n_matches > 0, CS_ERR_ARG,
                 "freeze of %s: '%s' matches no parameter",
                 graph->modules[module].name, freeze->patterns[k]);
    }
    return CS_OK;
}

/* What one projector is. */
typedef struct projector_sizes {
    cs_projector_type type;
    const char *activation; /* borrowed */
    int64_t hidden;
} projector_sizes;

/* A folder with weights says what they are; it wins over the recipe. */
static cs_status read_projector(const json_t *config, const char *where,
                                int64_t width, int64_t language_width,
                                projector_sizes *out)
{
    const char *type = NULL;
    int64_t features = 0;

    CS_TRY(csi_json_check_format(config, "cornstarch.projector", where));
    CS_TRY(csi_json_string(config, "type", where, &type));
    out->type =
        strcmp(type, "linear") == 0 ? CS_PROJECTOR_LINEAR : CS_PROJECTOR_MLP;
    CS_CHECK(out->type == CS_PROJECTOR_LINEAR || strcmp(type, "mlp") == 0,
             CS_ERR_UNSUPPORTED,
             "unsupported: %s: key 'type': wanted mlp or linear, got '%.40s'",
             where, type);
    CS_TRY(csi_json_string(config, "activation", where, &out->activation));
    CS_TRY(csi_json_i64(config, "hidden_size", where,
                        out->type == CS_PROJECTOR_MLP ? 1 : 0, CSI_MAX_SIZE,
                        &out->hidden));
    CS_TRY(csi_json_i64(config, "in_features", where, 1, CSI_MAX_SIZE,
                        &features));
    CS_CHECK(features == width, CS_ERR_FORMAT,
             "%s: key 'in_features': wanted %lld, got %lld", where,
             (long long)width, (long long)features);
    CS_TRY(csi_json_i64(config, "out_features", where, 1, CSI_MAX_SIZE,
                        &features));
    CS_CHECK(features == language_width, CS_ERR_FORMAT,
             "%s: key 'out_features': wanted %lld, got %lld", where,
             (long long)language_width, (long long)features);
    return CS_OK;
}

static cs_status add_projector(csi_builder *b, const char *where,
                               const projector_sizes *z, int64_t language_width)
{
    cs_module *m = &b->graph->modules[b->module];
    cs_activation activation = CS_ACT_NONE;
    csi_str text = {0};

    CS_TRY(csi_activation_parse(z->activation, where, &activation));
    CS_TRY(csi_build_projector(b, z->type, activation, m->width, z->hidden,
                               language_width));
    csi_str_addf(&text,
                 "{\n  \"format\": \"cornstarch.projector\",\n"
                 "  \"version\": 1,\n  \"type\": \"%s\",\n"
                 "  \"in_features\": %lld,\n  \"hidden_size\": %lld,\n"
                 "  \"out_features\": %lld,\n  \"activation\": \"%s\"\n}\n",
                 z->type == CS_PROJECTOR_MLP ? "mlp" : "linear",
                 (long long)m->width,
                 (long long)(z->type == CS_PROJECTOR_MLP ? z->hidden : 0),
                 (long long)language_width, z->activation);
    m->projector_config = text.data;
    CS_CHECK(!text.failed, CS_ERR_NOMEM, "projector of %s", m->name);
    return CS_OK;
}

static cs_status build_projector(csi_builder *b, const cs_encoder_config *e,
                                 int64_t language_width)
{
    cs_module *m = &b->graph->modules[b->module];
    const cs_projector_config *c = &e->projector;
    projector_sizes sizes = {
        .type = c->type,
        .activation = c->activation != NULL ? c->activation : "gelu",
        .hidden = c->hidden_size > 0 ? c->hidden_size : language_width,
    };
    json_t *config = NULL;
    char *where = NULL;
    cs_status st = CS_OK;

    if (c->from == NULL) {
        return add_projector(b, m->name, &sizes, language_width);
    }
    CS_TRY_GOTO(done, copy_text(c->from, &m->projector_source));
    CS_TRY_GOTO(done, csi_path_join(c->from, "config.json", &where));
    CS_TRY_GOTO(done, csi_json_load(where, MAX_CONFIG_BYTES, &config));
    CS_TRY_GOTO(done, read_projector(config, where, m->width, language_width,
                                     &sizes));
    CS_TRY_GOTO(done, add_projector(b, where, &sizes, language_width));
done:
    json_decref(config);
    csi_free(where);
    return st;
}

static cs_status build_encoder(csi_builder *b, const cs_encoder_config *e,
                               int64_t language_width)
{
    cs_graph *g = b->graph;
    cs_module *m = &g->modules[b->module];
    module_source source = {0};
    csi_sizes sizes;
    cs_status st = CS_OK;
    const cs_freeze projector_freeze = {.all = e->projector.freeze};

    CS_TRY_GOTO(done, copy_text(e->name, &m->name));
    CS_TRY_GOTO(done, open_source(e->name, e->from, e->hf_config_json, false,
                                  &source));
    CS_TRY_GOTO(done, csi_sizes_read(source.family, source.config, source.where,
                                     &sizes));
    m->modality = source.family->modality;
    CS_TRY_GOTO(done, copy_text(source.family->id, &m->family));
    if (source.family->prefix[0] != NULL) {
        m->name_prefixes = source.family->prefix;
    }
    CS_TRY_GOTO(done, copy_text(e->from, &m->source));
    CS_TRY_GOTO(done, print_hf_config(&source, &m->hf_config));
    CS_TRY_GOTO(done, csi_build_encoder(b, source.family, &sizes, e->pool));
    CS_TRY_GOTO(done, build_projector(b, e, language_width));
    CS_TRY_GOTO(done, apply_freeze(g, b->module, false, &e->freeze));
    CS_TRY_GOTO(done, apply_freeze(g, b->module, true, &projector_freeze));
done:
    close_source(&source);
    return st;
}

static cs_status build_language_model(csi_builder *b,
                                      const cs_language_model_config *c,
                                      const module_source *source,
                                      const csi_sizes *sizes)
{
    cs_module *m = &b->graph->modules[b->module];

    CS_TRY(copy_text("language_model", &m->name));
    m->modality = CS_MODALITY_TEXT;
    CS_TRY(copy_text(source->family->id, &m->family));
    CS_TRY(copy_text(c->from, &m->source));
    CS_TRY(print_hf_config(source, &m->hf_config));
    CS_TRY(csi_build_language_model(b, source->family, sizes));
    CS_TRY(apply_freeze(b->graph, b->module, false, &c->freeze));
    return CS_OK;
}

cs_status cs_zoo_build(const cs_config *config, cs_graph **out)
{
    const cs_language_model_config *lm = &config->model.language_model;
    const int32_t n_encoders = config->model.n_encoders;
    cs_status st = CS_OK;
    module_source source = {0};
    csi_sizes sizes;
    cs_graph *g = csi_calloc(1, sizeof *g);
    csi_builder b = {.graph = g};

    CS_CHECK_GOTO(undo, g != NULL, CS_ERR_NOMEM, "graph");
    g->modules = csi_calloc((size_t)n_encoders + 1, sizeof *g->modules);
    CS_CHECK_GOTO(undo, g->modules != NULL, CS_ERR_NOMEM, "graph");
    g->n_modules = n_encoders + 1;
    g->attention = config->model.attention;
    CS_TRY_GOTO(undo, open_source("language_model", lm->from,
                                  lm->hf_config_json, true, &source));
    CS_TRY_GOTO(undo, csi_sizes_read(source.family, source.config, source.where,
                                     &sizes));
    for (int32_t i = 0; i < n_encoders; i++) {
        b.module = i;
        CS_TRY_GOTO(undo,
                    build_encoder(&b, &config->model.encoders[i], sizes.width));
    }
    b.module = n_encoders;
    CS_TRY_GOTO(undo, build_language_model(&b, lm, &source, &sizes));
    CS_TRY_GOTO(undo, cs_graph_check(g));
    close_source(&source);
    *out = g;
    return CS_OK;

undo:
    close_source(&source);
    cs_graph_destroy(&g);
    return st;
}
