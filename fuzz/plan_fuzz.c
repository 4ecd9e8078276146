/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.json and profile.json: any bytes may be read; a plan that is let
 * through is sound: it has stages that can be scheduled, costs and a table.
 */
#include "cornstarch/plan.h"
#include "cornstarch/zoo.h"

#include "base/alloc.h"

#include "cost/internal.h"
#include "plan/internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static const char RECIPE[] =
    "version: 1\n"
    "model:\n"
    "  encoders:\n"
    "    vision: {config: {model_type: siglip_vision_model, hidden_size: 8,\n"
    "      intermediate_size: 16, num_hidden_layers: 4,\n"
    "      num_attention_heads: 2, image_size: 8, patch_size: 4},\n"
    "      freeze: true, placeholder: \"<image>\"}\n"
    "  language_model: {config: {model_type: llama, hidden_size: 12,\n"
    "    intermediate_size: 20, num_hidden_layers: 3,\n"
    "    num_attention_heads: 6, vocab_size: 30}}\n"
    "data: {train: [{path: t.json}]}\n"
    "training: {max_steps: 1}\n";

static void demand(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void use_costs(const cs_graph *graph, const cs_cost_table *costs)
{
    const cs_work work = {.rows = 10.0, .pairs = 100.0, .feature_rows = 10.0};

    for (int32_t m = 0; m < graph->n_modules; m++) {
        const cs_range_cost c =
            cs_cost_range(costs, graph, m, 0, graph->modules[m].n_layers, false,
                          work);

        demand(c.forward_s >= 0.0 && c.backward_input_s >= 0.0 &&
               c.backward_weight_s >= 0.0);
    }
}

static void use_plan(const cs_graph *graph, const cs_plan *plan)
{
    cs_stage_graph stages = {0};
    int32_t *layer_range = NULL;
    cs_schedule *schedule = NULL;
    char *text = NULL;

    demand(cs_plan_check(plan, graph) == CS_OK);
    demand(cs_plan_print(plan, graph, &text) == CS_OK);
    demand(cs_plan_stage_graph(plan, graph, &stages, &layer_range) == CS_OK);
    demand(layer_range[0] == 0);
    demand(cs_schedule_create(&stages, plan->schedule, 3, true, &schedule) ==
           CS_OK);
    cs_schedule_destroy(&schedule);
    csi_free(text);
    csi_free(layer_range);
    cs_stage_graph_fini(&stages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static cs_graph *graph;
    cs_plan *plan = NULL;
    cs_cost_table *costs = NULL;

    if (graph == NULL) {
        cs_config *config = NULL;

        demand(cs_config_parse(RECIPE, sizeof RECIPE - 1, ".", NULL, 0,
                               &config) == CS_OK);
        demand(cs_zoo_build(config, &graph) == CS_OK);
        cs_config_destroy(&config);
    }
    if (csi_plan_parse((const char *)data, n_bytes, "plan", graph, &plan) ==
        CS_OK) {
        use_plan(graph, plan);
        cs_plan_destroy(&plan);
    }
    if (csi_cost_parse((const char *)data, n_bytes, "profile", graph, &costs) ==
        CS_OK) {
        use_costs(graph, costs);
        cs_cost_destroy(&costs);
    }
    return 0;
}
