/* SPDX-License-Identifier: Apache-2.0 */
/* A plan as a table for people: who holds what, what it costs, and why. */
#include "cornstarch/plan.h"

#include "base/alloc.h"
#include "base/str.h"

#include "internal.h"

static int64_t count_params(const cs_graph *graph, int32_t module,
                            int32_t first, int32_t last, bool trainable_only)
{
    int64_t count = 0;

    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *const p = &graph->params[i];

        if (p->module == module && p->layer >= first && p->layer < last &&
            (p->is_trainable || !trainable_only)) {
            count += cs_shape_count(&p->shape);
        }
    }
    return count;
}

static double sum_stages(const cs_plan *plan)
{
    double sum = 0.0;

    for (int32_t m = 0; m < plan->n_modules; m++) {
        for (int32_t s = 0; s < plan->modules[m].pp; s++) {
            sum += plan->modules[m].stage_s[s];
        }
    }
    return sum;
}

static void print_stage(const cs_plan *plan, const cs_graph *graph,
                        const cs_stage *stage, const int32_t *range,
                        csi_str *text)
{
    const cs_plan_module *const m = &plan->modules[stage->module];
    const double seconds = m->stage_s[stage->position];
    const double sum = sum_stages(plan);
    char layers[32];
    char all[32];
    char trainable[32];
    char cost[32];

    (void)snprintf(layers, sizeof layers, "%d..%d", range[0], range[1] - 1);
    csi_str_addf(text, "  %4d  %-16s %5d  %-9s %9s %9s  %-22s", stage->rank,
                 m->name, stage->position, layers,
                 csi_human_count(all, (double)count_params(graph, stage->module,
                                                           range[0], range[1],
                                                           false)),
                 csi_human_count(trainable,
                                 (double)count_params(graph, stage->module,
                                                      range[0], range[1],
                                                      true)),
                 stage->has_backward_weight  ? "forward, input, weight"
                 : stage->has_backward_input ? "forward, input"
                                             : "forward");
    if (sum > 0.0) {
        csi_str_addf(text, " %10s %4.0f %%", csi_human_seconds(cost, seconds),
                     100.0 * seconds / sum);
    }
    csi_str_add(text, "\n");
}

static void print_summary(const cs_plan *plan, csi_str *text)
{
    char step[32];

    csi_str_addf(text,
                 "plan  %d ranks, dp %d, %s, %s, %d microbatches per replica\n",
                 plan->n_ranks, plan->dp, csi_placement_name(plan->placement),
                 csi_schedule_name(plan->schedule), plan->n_microbatches);
    if (plan->predicted_step_s > 0.0) {
        csi_str_addf(text, "predicted  %s a step, ranks wait %.0f %% of it\n",
                     csi_human_seconds(step, plan->predicted_step_s),
                     100.0 * plan->predicted_bubble);
    }
    csi_str_addf(text, "  %4s  %-16s %5s  %-9s %9s %9s  %-22s %10s %6s\n",
                 "rank", "module", "stage", "layers", "params", "trained",
                 "runs", "cost", "share");
}

static void print_reasons(const cs_plan *plan, csi_str *text)
{
    char step[32];

    if (plan->reason != NULL) {
        csi_str_addf(text, "why  %s\n", plan->reason);
    }
    for (int32_t i = 0; i < plan->n_runners_up; i++) {
        csi_str_addf(text, "%s %10s  %s\n", i == 0 ? "next" : "    ",
                     csi_human_seconds(step, plan->runners_up[i].step_s),
                     plan->runners_up[i].text);
    }
}

cs_status cs_plan_print(const cs_plan *plan, const cs_graph *graph, char **out)
{
    csi_str text = {0};
    cs_stage_graph stages = {0};
    int32_t *layer_range = NULL;

    CS_TRY(cs_plan_stage_graph(plan, graph, &stages, &layer_range));
    print_summary(plan, &text);
    for (int32_t s = 0; s < stages.n_stages; s++) {
        print_stage(plan, graph, &stages.stages[s], &layer_range[2 * s], &text);
    }
    print_reasons(plan, &text);
    csi_free(layer_range);
    cs_stage_graph_fini(&stages);
    const cs_status st = csi_str_check(&text);

    if (st != CS_OK) {
        csi_str_fini(&text);
        return st;
    }
    *out = text.data;
    return CS_OK;
}
