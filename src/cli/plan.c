/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch plan and simulate. */
#include "cornstarch/plan.h"

#include "cornstarch/sim.h"
#include "cornstarch/train.h"

#include "base/alloc.h"
#include "base/thread.h"

#include "cli.h"

cs_status cli_plan(const cli_options *o)
{
    cs_config *config = NULL;
    cs_planned planned = {0};
    char *text = NULL;
    cs_status st = CS_OK;

    CS_TRY(cli_load_recipe(o, &config));
    CS_TRY_GOTO(done, cs_train_plan(config, o->n_ranks, &planned));
    CS_TRY_GOTO(done, cs_plan_print(planned.plan, planned.graph, &text));
    if (!o->is_quiet) {
        printf("%s", text);
    }
    if (o->output != NULL) {
        CS_TRY_GOTO(done, cs_plan_save(planned.plan, o->output));
        printf("written to %s\n", o->output);
    }
done:
    csi_free(text);
    cs_planned_fini(&planned);
    cs_config_destroy(&config);
    return st;
}

static cs_status simulate(const cli_options *o, const cs_planned *p)
{
    cs_stage_graph stages = {0};
    int32_t *ranges = NULL;
    cs_schedule *schedule = NULL;
    cs_stage_cost *cost = NULL;
    double *bytes = NULL;
    cs_sim_result result = {0};
    char *text = NULL;
    cs_status st = CS_OK;
    const int32_t n = p->batch->n_microbatches;

    CS_TRY_GOTO(done, cs_plan_stage_graph(p->plan, p->graph, &stages, &ranges));
    CS_TRY_GOTO(done, cs_schedule_create(&stages, p->plan->schedule, n, true,
                                         &schedule));
    CS_TRY_GOTO(done, cs_plan_costs(p->plan, p->graph, p->costs, p->work, n,
                                    &cost, &bytes));
    const cs_sim_input input = {
        .graph = &stages,
        .schedule = schedule,
        .cost = cost,
        .edge_bytes = bytes,
        .link_bytes_per_s = 10e9,
        .link_latency_s = 5e-6,
        .n_cores = csi_cpu_count(),
    };
    CS_TRY_GOTO(done, cs_sim_run(&input, &result));
    if (o->is_json) {
        printf("{\"step_s\": %.9g, \"bubble\": %.9g, \"costs\": \"%s\"}\n",
               result.step_s, result.bubble, p->costs->source);
    } else {
        CS_TRY_GOTO(done, cs_sim_draw(&input, &result, 100, &text));
        printf("%ssimulated step %.1f ms, bubble %.1f %%, %d microbatches, "
               "costs: %s\n",
               text, result.step_s * 1e3, result.bubble * 100.0, n,
               p->costs->source);
    }
done:
    csi_free(text);
    csi_free(ranges);
    csi_free(cost);
    csi_free(bytes);
    cs_sim_result_fini(&result);
    cs_schedule_destroy(&schedule);
    cs_stage_graph_fini(&stages);
    return st;
}

cs_status cli_simulate(const cli_options *o)
{
    cs_config *config = NULL;
    cs_planned planned = {0};
    cs_status st = CS_OK;

    CS_TRY(cli_load_recipe(o, &config));
    CS_TRY_GOTO(done, cs_train_plan(config, o->n_ranks, &planned));
    CS_TRY_GOTO(done, simulate(o, &planned));
done:
    cs_planned_fini(&planned);
    cs_config_destroy(&config);
    return st;
}
