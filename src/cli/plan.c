/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch plan and simulate. */
#include "cornstarch/plan.h"

#include "cornstarch/sim.h"
#include "cornstarch/train.h"

#include "base/alloc.h"
#include "base/thread.h"

#include "cli.h"

enum {
    COLUMNS = 100 /* of the drawn timeline */
};

static cs_status print_plan(const cli_options *o, const cs_planned *p)
{
    char *text = NULL;

    if (o->is_json) {
        CS_TRY(cs_plan_print_json(p->plan, &text));
    } else {
        CS_TRY(cs_plan_print(p->plan, p->graph, &text));
    }
    printf("%s", text);
    csi_free(text);
    return CS_OK;
}

cs_status cli_plan(const cli_options *o, int *exit_status)
{
    cs_config *config = NULL;
    cs_planned planned = {0};
    cs_status st = CS_OK;

    (void)exit_status;
    CS_TRY(cli_load_recipe(o, &config));
    CS_TRY_GOTO(done, cs_train_plan(config, o->n_ranks, &planned));
    CS_TRY_GOTO(done, print_plan(o, &planned));
    if (o->output != NULL) {
        CS_TRY_GOTO(done, cs_plan_save(planned.plan, o->output));
        if (!o->is_json && !o->is_quiet) {
            printf("\nwritten to %s\n", o->output);
        }
    }
done:
    cs_planned_fini(&planned);
    cs_config_destroy(&config);
    return st;
}

static cs_status print_simulation(const cli_options *o, const cs_planned *p,
                                  const cs_schedule *schedule,
                                  const cs_sim_result *result)
{
    const cs_sim_input drawn = {.schedule = schedule};
    csi_str text = {0};
    char *timeline = NULL;
    cs_status st = CS_OK;

    if (o->is_json) {
        csi_str_add(&text, "{");
        cli_add_number(&text, "step_s", result->step_s);
        cli_add_number(&text, "bubble", result->bubble);
        cli_add_int(&text, "microbatches", schedule->n_microbatches);
        cli_add_text(&text, "costs", p->costs->source);
        csi_str_add(&text, "}\n");
    } else {
        CS_TRY_GOTO(done, cs_sim_draw(&drawn, result, COLUMNS, &timeline));
        csi_str_addf(&text, "%sthe first step, %d microbatches; costs: %s\n",
                     timeline, schedule->n_microbatches, p->costs->source);
    }
    CS_TRY_GOTO(done, cli_print(&text));
done:
    csi_free(timeline);
    csi_str_fini(&text);
    return st;
}

static cs_status simulate(const cli_options *o, const cs_planned *p)
{
    cs_stage_graph stages = {0};
    int32_t *ranges = NULL;
    cs_schedule *schedule = NULL;
    cs_sim_result result = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, cs_plan_stage_graph(p->plan, p->graph, &stages, &ranges));
    CS_TRY_GOTO(done,
                cs_schedule_create(&stages, p->plan->schedule,
                                   p->batch->n_microbatches, true, &schedule));
    CS_TRY_GOTO(done, cs_plan_simulate(p->plan, p->graph, p->costs, p->work,
                                       schedule, csi_cpu_count(), &result));
    CS_TRY_GOTO(done, print_simulation(o, p, schedule, &result));
done:
    csi_free(ranges);
    cs_sim_result_fini(&result);
    cs_schedule_destroy(&schedule);
    cs_stage_graph_fini(&stages);
    return st;
}

cs_status cli_simulate(const cli_options *o, int *exit_status)
{
    cs_config *config = NULL;
    cs_planned planned = {0};
    cs_status st = CS_OK;

    (void)exit_status;
    CS_TRY(cli_load_recipe(o, &config));
    CS_TRY_GOTO(done, cs_train_plan(config, o->n_ranks, &planned));
    CS_TRY_GOTO(done, simulate(o, &planned));
done:
    cs_planned_fini(&planned);
    cs_config_destroy(&config);
    return st;
}
