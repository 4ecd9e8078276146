/* SPDX-License-Identifier: Apache-2.0 */
/* RUN/model: the weights, and beside them what says how its folders fit
 * together. */
#include "cornstarch/checkpoint.h"
#include "cornstarch/infer.h"

#include "base/alloc.h"
#include "base/str.h"

/* model/cornstarch.json: how the folders fit together. */
static cs_status print_model(const cs_config *c, const cs_graph *graph,
                             const cs_tokenizer *tokenizer, csi_str *text)
{
    csi_str_addf(text,
                 "{\n  \"format\": \"cornstarch.model\",\n  \"version\": 1,\n"
                 "  \"attention\": \"%s\",\n  \"template\": \"",
                 cs_mask_policy_name(c->model.attention));
    csi_str_add_json(text, c->data.template_name);
    csi_str_add(text, "\",\n  \"language_model\": \"language_model\",\n"
                      "  \"encoders\": [");
    for (int32_t i = 0; i < c->model.n_encoders; i++) {
        const cs_encoder_config *e = &c->model.encoders[i];
        csi_str_addf(text, "%s\n    {\"folder\": \"%s\", \"placeholder\": \"",
                     i > 0 ? "," : "", e->name);
        csi_str_add_json(text, e->placeholder);
        csi_str_addf(text,
                     "\", \"placeholder_id\": %d, \"feature_layer\": %d, "
                     "\"feature_select\": \"%s\", \"pool\": %d, \"stack\": "
                     "%d}",
                     cs_tokenizer_size(tokenizer) + i, e->feature_layer,
                     e->feature_select == CS_FEATURE_FULL ? "full" : "default",
                     e->pool, graph->modules[i].stack);
    }
    csi_str_add(text, "\n  ]\n}\n");
    return csi_str_check(text);
}

static cs_status print_generation(const cs_tokenizer *tokenizer, csi_str *text)
{
    csi_str_addf(text,
                 "{\n  \"bos_token_id\": %d,\n  \"eos_token_id\": %d\n}\n",
                 cs_tokenizer_bos(tokenizer), cs_tokenizer_eos(tokenizer));
    return csi_str_check(text);
}

static cs_status print_processors(const cs_config *c, const cs_graph *graph,
                                  char **texts)
{
    for (int32_t i = 0; i < c->model.n_encoders; i++) {
        cs_processor processor;
        CS_TRY(cs_processor_init(&graph->modules[i], &c->model.encoders[i],
                                 &processor));
        CS_TRY(cs_processor_print(&processor, &texts[i]));
    }
    return CS_OK;
}

cs_status cs_model_write(const cs_config *config, const cs_tokenizer *tokenizer,
                         const cs_param_set *params, cs_comm *replica,
                         const char *folder)
{
    const cs_language_model_config *lm = &config->model.language_model;
    const int32_t n = config->model.n_encoders;
    cs_status st = CS_OK;
    csi_str model = {0};
    csi_str generation = {0};
    char **processors = csi_calloc((size_t)n + 1, sizeof *processors);

    CS_CHECK(processors != NULL, CS_ERR_NOMEM, "export");
    CS_TRY_GOTO(done, print_processors(config, params->graph, processors));
    CS_TRY_GOTO(done, print_model(config, params->graph, tokenizer, &model));
    CS_TRY_GOTO(done, print_generation(tokenizer, &generation));
    const cs_export_extras extras = {
        .cornstarch_json = model.data,
        .preprocessor_json = (const char *const *)processors,
        .tokenizer_folder = lm->tokenizer != NULL ? lm->tokenizer : lm->from,
        .generation_config_json = generation.data,
    };
    CS_TRY_GOTO(done, cs_model_export(params, config->seed, replica, &extras,
                                      folder));
done:
    for (int32_t i = 0; i < n; i++) {
        csi_free(processors[i]);
    }
    csi_free(processors);
    csi_str_fini(&model);
    csi_str_fini(&generation);
    return st;
}
