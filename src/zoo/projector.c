/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An encoder's projector: one linear; linear, activation, linear; or Qwen2-VL's
 * merger: layer norm of every row, neighbouring rows side by side, and an mlp
 * as wide inside as they are. The merger's norm runs in the layer before, where
 * rows are stacked.
 */
#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include "build_encoder.h"

#include <math.h>
#include <string.h>

enum {
    MAX_CONFIG_BYTES = 4 << 20
};

static const char *const TYPES[] = {[CS_PROJECTOR_MLP] = "mlp",
                                    [CS_PROJECTOR_LINEAR] = "linear",
                                    [CS_PROJECTOR_MERGER] = "merger"};

enum {
    N_TYPES = sizeof TYPES / sizeof TYPES[0]
};

/* Names of the two products, weight then bias. */
typedef struct product_names {
    const char *first[2], *second[2];
} product_names;

static const product_names NAMES[N_TYPES] = {
    [CS_PROJECTOR_MLP] = {{"linear_1.weight", "linear_1.bias"},
                          {"linear_2.weight", "linear_2.bias"}},
    [CS_PROJECTOR_LINEAR] = {{"linear.weight", "linear.bias"}, {NULL, NULL}},
    [CS_PROJECTOR_MERGER] = {{"mlp.0.weight", "mlp.0.bias"},
                             {"mlp.2.weight", "mlp.2.bias"}},
};

void csi_projector_fini(csi_projector *p)
{
    csi_free(p->activation);
    csi_free(p->where);
    *p = (csi_projector){0};
}

static cs_status copy_text(const char *text, char **out)
{
    *out = csi_strdup(text);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "copy of '%.60s'", text);
    return CS_OK;
}

static cs_status read_config(const json_t *config, csi_projector *p)
{
    const char *type = NULL;
    const char *activation = NULL;
    int t = 0;

    CS_TRY(csi_json_check_format(config, "cornstarch.projector", p->where));
    CS_TRY(csi_json_string(config, "type", p->where, &type));
    while (t < N_TYPES && strcmp(type, TYPES[t]) != 0) {
        t++;
    }
    CS_CHECK(t < N_TYPES, CS_ERR_UNSUPPORTED,
             "unsupported: %s: key 'type': wanted mlp, linear or merger, got "
             "'%.40s'",
             p->where, type);
    p->type = (cs_projector_type)t;
    CS_TRY(csi_json_string(config, "activation", p->where, &activation));
    CS_TRY(copy_text(activation, &p->activation));
    CS_TRY(csi_json_i64(config, "hidden_size", p->where,
                        p->type == CS_PROJECTOR_LINEAR ? 0 : 1, CSI_MAX_SIZE,
                        &p->hidden));
    CS_TRY(csi_json_i64(config, "in_features", p->where, 1, CSI_MAX_SIZE,
                        &p->in));
    CS_TRY(csi_json_i64(config, "out_features", p->where, 1, CSI_MAX_SIZE,
                        &p->out));
    return CS_OK;
}

cs_status csi_projector_read(const cs_encoder_config *e, csi_projector *out)
{
    const cs_projector_config *c = &e->projector;
    csi_projector p = {.type = c->type, .hidden = c->hidden_size};
    json_t *config = NULL;
    cs_status st = CS_OK;

    if (c->from == NULL) {
        CS_TRY_GOTO(undo, copy_text(e->name, &p.where));
        CS_TRY_GOTO(undo,
                    copy_text(c->activation != NULL ? c->activation : "gelu",
                              &p.activation));
    } else {
        CS_TRY_GOTO(undo, csi_path_join(c->from, "config.json", &p.where));
        CS_TRY_GOTO(undo, csi_json_load(p.where, MAX_CONFIG_BYTES, &config));
        CS_TRY_GOTO(undo, read_config(config, &p));
    }
    json_decref(config);
    *out = p;
    return CS_OK;

undo:
    json_decref(config);
    csi_projector_fini(&p);
    return st;
}

/* The merger's norm, built where the names of a projector are and moved into
 * the layer that stacks. */
static cs_status build_merger_norm(csi_builder *b, int32_t layer, int64_t width)
{
    static const char *const LN_Q[CS_SLOT_COUNT] = {
        [CS_SLOT_NORM2_W] = "ln_q.weight",
        [CS_SLOT_NORM2_B] = "ln_q.bias",
    };
    cs_layer *layers = b->graph->modules[b->module].layers;

    CS_TRY(csi_builder_norm(b, layer, CS_SLOT_NORM2_W, CS_SLOT_NORM2_B, LN_Q,
                            width));
    for (int s = CS_SLOT_NORM2_W; s <= CS_SLOT_NORM2_B; s++) {
        const int32_t i = layers[layer].param[s];
        layers[layer].param[s] = -1;
        layers[layer - 1].param[s] = i;
        b->graph->params[i].layer = layer - 1;
    }
    return CS_OK;
}

/* The projector's own config.json. */
static cs_status print_config(const csi_projector *p, int64_t in,
                              int64_t hidden, int64_t out, cs_module *m)
{
    csi_str text = {0};

    csi_str_addf(&text,
                 "{\n  \"format\": \"cornstarch.projector\",\n"
                 "  \"version\": 1,\n  \"type\": \"%s\",\n"
                 "  \"in_features\": %lld,\n  \"hidden_size\": %lld,\n"
                 "  \"out_features\": %lld,\n  \"activation\": \"%s\"\n}\n",
                 TYPES[p->type], (long long)in, (long long)hidden,
                 (long long)out, p->activation);
    m->projector_config = text.data;
    CS_CHECK(!text.failed, CS_ERR_NOMEM, "projector of %s", m->name);
    return CS_OK;
}

static cs_status check_features(const csi_projector *p, const char *key,
                                int64_t wanted, int64_t got)
{
    CS_CHECK(got == 0 || got == wanted, CS_ERR_FORMAT,
             "%s: key '%s': wanted %lld, got %lld", p->where, key,
             (long long)wanted, (long long)got);
    return CS_OK;
}

cs_status csi_build_projector(csi_builder *b, const csi_projector *p,
                              int64_t out)
{
    cs_module *m = &b->graph->modules[b->module];
    const int32_t layer = m->n_layers - 1;
    const product_names *n = &NAMES[p->type];
    cs_layer *l = &m->layers[layer];
    const int64_t in = m->width * m->stack;
    const bool is_mlp = p->type != CS_PROJECTOR_LINEAR;
    const int64_t hidden = p->type == CS_PROJECTOR_MERGER ? in
                           : p->hidden > 0                ? p->hidden
                                                          : out;

    CS_TRY(check_features(p, "in_features", in, p->in));
    CS_TRY(check_features(p, "out_features", out, p->out));
    if (p->type == CS_PROJECTOR_MERGER) {
        CS_TRY(check_features(p, "hidden_size", hidden, p->hidden));
    }
    l->kind = CS_LAYER_PROJECTOR;
    l->in_dim = in;
    l->out_dim = out;
    l->mlp_dim = is_mlp ? hidden : 0;
    l->activation = CS_ACT_NONE;
    if (is_mlp) {
        CS_TRY(csi_activation_parse(p->activation, p->where, &l->activation));
    }
    if (p->type == CS_PROJECTOR_MERGER) {
        CS_TRY(build_merger_norm(b, layer, m->width));
    }
    const int64_t first_out = is_mlp ? hidden : out;
    CS_TRY(csi_builder_weight(b, layer, CS_SLOT_PROJ1_W, n->first[0],
                              CS_SHAPE(first_out, in), 0.0));
    CS_TRY(csi_builder_vector(b, layer, CS_SLOT_PROJ1_B, n->first[1], first_out,
                              CS_INIT_ZEROS));
    CS_TRY(csi_builder_weight(b, layer, CS_SLOT_PROJ2_W, n->second[0],
                              CS_SHAPE(out, hidden), 0.0));
    CS_TRY(csi_builder_vector(b, layer, CS_SLOT_PROJ2_B, n->second[1], out,
                              CS_INIT_ZEROS));
    if (m->is_tiled) { /* Hugging Face draws it as wide */
        CS_TRY(csi_builder_param(b, layer, CS_SLOT_NEWLINE, "image_newline",
                                 CS_SHAPE(out), CS_INIT_NORMAL,
                                 1.0 / sqrt((double)out)));
    }
    return print_config(p, in, is_mlp ? hidden : 0, out, m);
}
