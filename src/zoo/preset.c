/* SPDX-License-Identifier: Apache-2.0 */
/* Presets by name and number, and their sizes as the builder makes them. */
#include "preset.h"

#include "base/json.h"

#include "family.h"

#include <string.h>

static const csi_preset_table *const TABLES[] = {&csi_language_presets,
                                                 &csi_vision_presets,
                                                 &csi_audio_presets};

enum {
    N_TABLES = sizeof TABLES / sizeof TABLES[0]
};

/* An encoder is built in front of it. */
static const char SMALLEST[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 8, \"intermediate_size\": 8, "
    "\"num_hidden_layers\": 1, \"num_attention_heads\": 1, \"vocab_size\": 8}";

static const cs_zoo_preset *get(int32_t index)
{
    for (int t = 0; t < N_TABLES && index >= 0; t++) {
        if (index < TABLES[t]->n) {
            return &TABLES[t]->rows[index];
        }
        index -= TABLES[t]->n;
    }
    return NULL;
}

const cs_zoo_preset *csi_preset_find(const char *name)
{
    const cs_zoo_preset *p = NULL;

    for (int32_t i = 0; (p = get(i)) != NULL; i++) {
        if (strcmp(p->name, name) == 0) {
            return p;
        }
    }
    return NULL;
}

bool cs_zoo_preset_get(int32_t index, cs_zoo_preset *out)
{
    const cs_zoo_preset *p = get(index);

    if (p != NULL) {
        *out = *p;
    }
    return p != NULL;
}

static cs_status find_family(const cs_zoo_preset *p, const csi_family **out)
{
    json_t *config = NULL;
    const char *type = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_json_parse(p->config, strlen(p->config), p->name, &config));
    CS_TRY_GOTO(done, csi_json_string(config, "model_type", p->name, &type));
    *out = csi_family_find(type);
    CS_CHECK_GOTO(done, *out != NULL, CS_ERR_INTERNAL,
                  "preset %s: model_type '%s'", p->name, type);
done:
    json_decref(config);
    return st;
}

cs_status cs_zoo_preset_size(const cs_zoo_preset *preset, cs_zoo_size *out)
{
    const csi_family *family = NULL;
    cs_graph *graph = NULL;
    cs_zoo_size size = {.n_params = 0};

    CS_TRY(find_family(preset, &family));
    const bool is_encoder = family->modality != CS_MODALITY_TEXT;
    char name[] = "encoder";
    cs_encoder_config encoder = {
        .name = name,
        .hf_config_json = preset->config,
        .feature_layer = -1,
        .pool = 1,
        .projector = {.type = CS_PROJECTOR_LINEAR},
    };
    const cs_config config = {
        .model =
            {
                .n_encoders = is_encoder ? 1 : 0,
                .encoders = &encoder,
                .language_model =
                    {
                        .hf_config_json =
                            is_encoder ? SMALLEST : preset->config,
                    },
            },
    };
    CS_TRY(cs_zoo_build(&config, &graph));
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *p = &graph->params[i];
        if (p->module == 0 && !p->in_projector && p->tied_to < 0) {
            size.n_params += cs_shape_count(&p->shape);
        }
    }
    cs_graph_destroy(&graph);
    size.family = family->id;
    size.modality = family->modality;
    *out = size;
    return CS_OK;
}
