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
#include "decoder.h"
#include "preset.h"

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

/* What the inner config of a whole model is where it does not say so, and what
 * its model_type means where it says something else. */
static const struct {
    const char *outer, *inner;
} INNER_TYPES[] = {
    {"clip", "clip_vision_model"},
    {"siglip", "siglip_vision_model"},
    {"qwen2_vl", "qwen2_vl_vision"},
    {"qwen2_audio", "qwen2_audio_encoder"},
};

static const char *inner_type(const char *type)
{
    for (size_t i = 0; i < sizeof INNER_TYPES / sizeof INNER_TYPES[0]; i++) {
        if (type != NULL && strcmp(type, INNER_TYPES[i].outer) == 0) {
            return INNER_TYPES[i].inner;
        }
    }
    return type;
}

/* The file of a whole model (contrastive, or vision or audio with language)
 * holds its encoder's config inside. */
static cs_status descend_to_encoder(json_t **config, const char *where)
{
    json_t *const vision = json_object_get(*config, "vision_config");
    json_t *const audio = json_object_get(*config, "audio_config");
    const char *const outer =
        json_string_value(json_object_get(*config, "model_type"));
    json_t *const inner = vision != NULL ? vision : audio;

    if (inner == NULL) {
        return CS_OK;
    }
    CS_CHECK(vision == NULL || audio == NULL, CS_ERR_UNSUPPORTED,
             "unsupported: %s: both vision_config and audio_config; give a "
             "folder of one encoder",
             where);
    CS_CHECK(json_is_object(inner), CS_ERR_FORMAT,
             "%s: key '%s': wanted an object", where,
             vision != NULL ? "vision_config" : "audio_config");
    const char *type = json_string_value(json_object_get(inner, "model_type"));
    type = inner_type(type != NULL ? type : outer);
    CS_CHECK(type == NULL || json_object_set_new(inner, "model_type",
                                                 json_string(type)) == 0,
             CS_ERR_NOMEM, "%s: no memory for model_type", where);
    json_incref(inner);
    json_decref(*config);
    *config = inner;
    return CS_OK;
}

/* EVA-CLIP's remote code calls itself CLIP; it has keys of its own. */
static const char *family_name(const json_t *config, const char *model_type)
{
    const bool is_eva = json_object_get(config, "k_bias") != NULL ||
                        json_object_get(config, "post_layernorm") != NULL ||
                        json_object_get(config, "use_rms_norm") != NULL;

    return is_eva && strcmp(model_type, "clip_vision_model") == 0 ? "evaclip"
                                                                  : model_type;
}

/* The text of a config.json that is in no folder. */
static cs_status find_text(const char *name, const char *preset,
                           const char *hf_config_json, const char **out)
{
    const cs_zoo_preset *p = NULL;

    if (preset != NULL) {
        p = csi_preset_find(preset);
        CS_CHECK(p != NULL, CS_ERR_ARG,
                 "model %s: there is no preset '%.60s' (`cornstarch models` "
                 "lists them)",
                 name, preset);
    }
    *out = p != NULL ? p->config : hf_config_json;
    CS_CHECK(*out != NULL, CS_ERR_ARG,
             "model %s: wanted one of from, preset and config", name);
    return CS_OK;
}

static cs_status open_source(const char *name, const char *from,
                             const char *preset, const char *hf_config_json,
                             bool is_language_model, module_source *s)
{
    const char *model_type = NULL;
    const char *text = NULL;
    csi_str where = {0};

    if (from != NULL) {
        CS_TRY(csi_path_join(from, "config.json", &s->where));
        CS_TRY(csi_json_load(s->where, MAX_CONFIG_BYTES, &s->config));
    } else {
        CS_TRY(find_text(name, preset, hf_config_json, &text));
        csi_str_addf(&where, "%s%sconfig of %s", preset != NULL ? preset : "",
                     preset != NULL ? ", " : "", name);
        s->where = where.data;
        CS_CHECK(!where.failed, CS_ERR_NOMEM, "config of %s", name);
        CS_TRY(csi_json_parse(text, strlen(text), s->where, &s->config));
    }
    CS_CHECK(json_is_object(s->config), CS_ERR_FORMAT,
             "%s: wanted a JSON object", s->where);
    CS_TRY(is_language_model ? csi_inner_text(&s->config, s->where)
                             : descend_to_encoder(&s->config, s->where));
    CS_TRY(csi_json_string(s->config, "model_type", s->where, &model_type));
    s->family = csi_family_find(family_name(s->config, model_type));
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
    if (strcmp(source->family->id, "siglip") == 0) { /* no pooling head */
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

/* A tied parameter trains if the one whose values it shares does. */
static void freeze_tied(cs_graph *graph)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        cs_param *p = &graph->params[i];
        if (p->tied_to >= 0) {
            p->is_trainable = graph->params[p->tied_to].is_trainable;
        }
    }
}

/* "crop_size" where the picture is cropped, else "size": a number, or an
 * object of sides. 0 = not said. */
static int64_t picture_of(const json_t *config)
{
    const json_t *size = json_object_get(config, "size");
    const json_t *const crop = json_object_get(config, "crop_size");

    if (json_is_true(json_object_get(config, "do_center_crop")) &&
        crop != NULL) {
        size = crop;
    }
    if (json_is_object(size)) {
        const json_t *const height = json_object_get(size, "height");
        size = height != NULL ? height : json_object_get(size, "shortest_edge");
    }
    return json_is_integer(size) ? json_integer_value(size) : 0;
}

/* The folder's processor, or NULL: a file of its own, or (transformers 5) a
 * member of one. */
static cs_status open_processor(const char *folder, json_t **out)
{
    static const char *const FILES[] = {"preprocessor_config.json",
                                        "processor_config.json"};
    static const char *const PARTS[] = {"image_processor", "feature_extractor"};
    json_t *json = NULL;

    for (int i = 0; i < 2 && json == NULL; i++) {
        char *path = NULL;
        cs_status st = CS_OK;
        CS_TRY(csi_path_join(folder, FILES[i], &path));
        if (csi_file_exists(path)) {
            st = csi_json_load(path, MAX_CONFIG_BYTES, &json);
        }
        csi_free(path);
        CS_TRY(st);
    }
    for (int i = 0; i < 2; i++) {
        json_t *part = json_object_get(json, PARTS[i]);
        if (json_is_object(part)) {
            json_incref(part);
            json_decref(json);
            json = part;
        }
    }
    *out = json;
    return CS_OK;
}

/* What the encoder's processor will make of a picture or a recording: side of
 * pictures (0 = not said), whether they come in tiles, whether sound is padded
 * to all positions. Whisper's own processor pads; a folder that does not want
 * it says "padding": false. */
typedef struct processor_facts {
    int64_t picture;
    bool is_tiled, pads;
} processor_facts;

static cs_status read_processor(const cs_encoder_config *e,
                                processor_facts *out)
{
    static const char TILED[] = "LlavaNextImageProcessor";
    json_t *json = NULL;

    *out = (processor_facts){.picture = e->processor.image_size,
                             .pads = e->from != NULL};
    if (e->from == NULL) {
        return CS_OK;
    }
    CS_TRY(open_processor(e->from, &json));
    const char *const type =
        json_string_value(json_object_get(json, "image_processor_type"));

    out->picture = out->picture != 0 ? out->picture : picture_of(json);
    out->is_tiled = type != NULL && strncmp(type, TILED, sizeof TILED - 1) == 0;
    out->pads = !json_is_false(json_object_get(json, "padding"));
    json_decref(json);
    return CS_OK;
}

/* Rows side by side: as asked, or as a merger takes them. */
static int32_t stack_of(const cs_encoder_config *e, const csi_encoder *encoder,
                        const csi_projector *projector)
{
    if (e->stack > 0) {
        return e->stack;
    }
    if (projector->type != CS_PROJECTOR_MERGER) {
        return 1;
    }
    return encoder->merge > 1 ? encoder->merge * encoder->merge : 4;
}

/* A merger's weights are in the encoder's own folder where it has one. */
static cs_status place_projector(const cs_encoder_config *e,
                                 const csi_encoder *encoder,
                                 const csi_projector *projector, cs_module *m)
{
    const char *const *merger = encoder->family.encoder->merger_prefixes;

    if (e->projector.from != NULL) {
        return copy_text(e->projector.from, &m->projector_source);
    }
    if (projector->type == CS_PROJECTOR_MERGER && merger != NULL) {
        m->projector_prefixes = merger;
        return copy_text(e->from, &m->projector_source);
    }
    return CS_OK;
}

static cs_status build_encoder(csi_builder *b, const cs_encoder_config *e,
                               int64_t language_width)
{
    cs_graph *g = b->graph;
    cs_module *m = &g->modules[b->module];
    module_source source = {0};
    csi_projector projector = {0};
    csi_encoder encoder;
    processor_facts facts = {0};
    cs_status st = CS_OK;
    const cs_freeze projector_freeze = {.all = e->projector.freeze};

    CS_TRY_GOTO(done, copy_text(e->name, &m->name));
    CS_TRY_GOTO(done, open_source(e->name, e->from, e->preset,
                                  e->hf_config_json, false, &source));
    CS_TRY_GOTO(done, read_processor(e, &facts));
    CS_TRY_GOTO(done, csi_encoder_read(source.family, source.config,
                                       source.where, facts.picture, &encoder));
    CS_TRY_GOTO(done, csi_projector_read(e, &projector));
    m->modality = source.family->modality;
    m->pads_audio = m->modality == CS_MODALITY_AUDIO && facts.pads;
    m->is_tiled = m->modality == CS_MODALITY_VISION && facts.is_tiled;
    CS_TRY_GOTO(done, copy_text(source.family->id, &m->family));
    CS_TRY_GOTO(done, copy_text(e->from, &m->source));
    CS_TRY_GOTO(done, print_hf_config(&source, &m->hf_config));
    const csi_feature_choice choice = {
        .layer = e->feature_layer,
        .drops_class = e->feature_select == CS_FEATURE_DEFAULT,
        .pool = e->pool,
        .stack = stack_of(e, &encoder, &projector),
    };
    CS_TRY_GOTO(done, csi_build_encoder(b, &encoder, &choice));
    CS_TRY_GOTO(done, place_projector(e, &encoder, &projector, m));
    CS_TRY_GOTO(done, csi_build_projector(b, &projector, language_width));
    CS_TRY_GOTO(done, apply_freeze(g, b->module, false, &e->freeze));
    CS_TRY_GOTO(done, apply_freeze(g, b->module, true, &projector_freeze));
done:
    csi_projector_fini(&projector);
    close_source(&source);
    return st;
}

static cs_status build_language_model(csi_builder *b,
                                      const cs_language_model_config *c,
                                      const module_source *source,
                                      const csi_decoder *decoder)
{
    cs_module *m = &b->graph->modules[b->module];

    CS_TRY(copy_text("language_model", &m->name));
    m->modality = CS_MODALITY_TEXT;
    CS_TRY(copy_text(source->family->id, &m->family));
    CS_TRY(copy_text(c->from, &m->source));
    CS_TRY(print_hf_config(source, &m->hf_config));
    CS_TRY(csi_build_language_model(b, decoder));
    CS_TRY(apply_freeze(b->graph, b->module, false, &c->freeze));
    freeze_tied(b->graph);
    return CS_OK;
}

cs_status cs_zoo_build(const cs_config *config, cs_graph **out)
{
    const cs_language_model_config *lm = &config->model.language_model;
    const int32_t n_encoders = config->model.n_encoders;
    cs_status st = CS_OK;
    module_source source = {0};
    csi_decoder decoder;
    cs_graph *g = csi_calloc(1, sizeof *g);
    csi_builder b = {.graph = g};

    CS_CHECK_GOTO(undo, g != NULL, CS_ERR_NOMEM, "graph");
    g->modules = csi_calloc((size_t)n_encoders + 1, sizeof *g->modules);
    CS_CHECK_GOTO(undo, g->modules != NULL, CS_ERR_NOMEM, "graph");
    g->n_modules = n_encoders + 1;
    g->attention = config->model.attention;
    CS_TRY_GOTO(undo, open_source("language_model", lm->from, lm->preset,
                                  lm->hf_config_json, true, &source));
    CS_TRY_GOTO(undo, csi_decoder_read(source.family, source.config,
                                       source.where, &decoder));
    for (int32_t i = 0; i < n_encoders; i++) {
        b.module = i;
        CS_TRY_GOTO(undo, build_encoder(&b, &config->model.encoders[i],
                                        decoder.sizes.width));
    }
    b.module = n_encoders;
    CS_TRY_GOTO(undo, build_language_model(&b, lm, &source, &decoder));
    CS_TRY_GOTO(undo, cs_graph_check(g));
    close_source(&source);
    *out = g;
    return CS_OK;

undo:
    close_source(&source);
    cs_graph_destroy(&g);
    return st;
}
