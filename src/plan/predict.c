/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plan costs: the schedule that it would run, in virtual time, with the
 * microbatches of a typical step. Also the sentence that says why.
 */
#include "base/alloc.h"
#include "base/str.h"

#include "internal.h"

#include <string.h>

/* Ranks are threads of one machine: a message is a copy. */
#define LINK_BYTES_PER_S   5e9
#define LINK_LATENCY_S     5e-6
#define MEMORY_BYTES_PER_S 8e9
/* AdamW reads and writes value, gradient and both moments in f32. */
#define OPTIMIZER_BYTES 28.0
#define GRADIENT_BYTES  4.0

int32_t csi_microbatches_of_replica(const cs_plan_input *input, int32_t dp)
{
    const int32_t share = (input->n_microbatches + dp - 1) / dp;
    const int32_t least = input->config->training.microbatches;

    return share > least ? share : least;
}

/* What one simulation allocates. */
typedef struct simulation {
    cs_stage_graph stages;
    int32_t *layer_range;
    cs_schedule *schedule;
    cs_stage_cost *cost;
    double *edge_bytes;
    double *optimizer_s;
} simulation;

static void end_simulation(simulation *s)
{
    csi_free(s->optimizer_s);
    csi_free(s->edge_bytes);
    csi_free(s->cost);
    cs_schedule_destroy(&s->schedule);
    csi_free(s->layer_range);
    cs_stage_graph_fini(&s->stages);
}

/* Update and, over replicas, reduction of what each rank trains. */
static cs_status price_step_end(const cs_plan *plan, const cs_graph *graph,
                                simulation *s)
{
    const double dp = plan->dp;
    const double per_element =
        OPTIMIZER_BYTES / MEMORY_BYTES_PER_S +
        2.0 * (dp - 1.0) / dp * GRADIENT_BYTES / LINK_BYTES_PER_S;
    double *const seconds =
        csi_calloc((size_t)s->stages.n_ranks, sizeof *seconds);

    CS_CHECK(seconds != NULL, CS_ERR_NOMEM, "no memory for %d ranks",
             s->stages.n_ranks);
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *const p = &graph->params[i];

        for (int32_t k = 0; k < s->stages.n_stages && p->is_trainable; k++) {
            if (s->stages.stages[k].module == p->module &&
                p->layer >= s->layer_range[2 * k] &&
                p->layer < s->layer_range[2 * k + 1]) {
                seconds[s->stages.stages[k].rank] +=
                    (double)cs_shape_count(&p->shape) * per_element;
            }
        }
    }
    s->optimizer_s = seconds;
    return CS_OK;
}

/* How many cores a replica has. With more replicas than cores each has a
 * share of one: everything takes longer. */
static int32_t share_cores(int32_t n_cores, int32_t dp, int64_t n_costs,
                           cs_stage_cost *cost)
{
    if (n_cores <= 0 || n_cores >= dp) {
        return n_cores / dp;
    }
    const double slower = (double)dp / n_cores;

    for (int64_t i = 0; i < n_costs; i++) {
        cost[i].forward_s *= slower;
        cost[i].backward_input_s *= slower;
        cost[i].backward_weight_s *= slower;
    }
    return 1;
}

static cs_status simulate(const cs_plan *plan, const cs_graph *graph,
                          const cs_schedule *schedule, int32_t n_cores,
                          simulation *s, cs_sim_result *out)
{
    CS_TRY(price_step_end(plan, graph, s));
    const cs_sim_input input = {
        .graph = &s->stages,
        .schedule = schedule,
        .cost = s->cost,
        .edge_bytes = s->edge_bytes,
        .link_bytes_per_s = LINK_BYTES_PER_S,
        .link_latency_s = LINK_LATENCY_S,
        .optimizer_s = s->optimizer_s,
        .n_cores =
            share_cores(n_cores, plan->dp,
                        (int64_t)s->stages.n_stages * schedule->n_microbatches,
                        s->cost),
    };
    CS_TRY(cs_sim_run(&input, out));
    return CS_OK;
}

cs_status cs_plan_simulate(const cs_plan *plan, const cs_graph *graph,
                           const cs_cost_table *costs, const cs_work *work,
                           const cs_schedule *schedule, int32_t n_cores,
                           cs_sim_result *out)
{
    simulation s = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done,
                cs_plan_stage_graph(plan, graph, &s.stages, &s.layer_range));
    if (schedule == NULL) {
        CS_TRY_GOTO(done, cs_schedule_create(&s.stages, plan->schedule,
                                             plan->n_microbatches, true,
                                             &s.schedule));
        schedule = s.schedule;
    }
    CS_TRY_GOTO(done, cs_plan_costs(plan, graph, costs, work,
                                    schedule->n_microbatches, &s.cost,
                                    &s.edge_bytes));
    CS_TRY_GOTO(done, simulate(plan, graph, schedule, n_cores, &s, out));
done:
    end_simulation(&s);
    return st;
}

/* --- prediction ------------------------------------------------------- */

/* The same typical work in every microbatch. */
static cs_status repeat_work(const cs_plan_input *input, int32_t n,
                             cs_work **out)
{
    const size_t n_modules = (size_t)input->graph->n_modules;
    cs_work *const work = csi_calloc((size_t)n * n_modules, sizeof *work);

    CS_CHECK(work != NULL, CS_ERR_NOMEM, "no memory for %d microbatches", n);
    for (size_t i = 0; i < (size_t)n * n_modules; i++) {
        work[i] = input->work[i % n_modules];
    }
    *out = work;
    return CS_OK;
}

/* What each stage computes; not how long that takes on shared cores. */
static void note_stages(const cs_plan_input *input, cs_plan *plan)
{
    for (int32_t m = 0; m < plan->n_modules; m++) {
        cs_plan_module *const module = &plan->modules[m];

        for (int32_t s = 0; s < module->pp; s++) {
            const int32_t first = module->cuts[s];
            const int32_t last = s + 1 < module->pp
                                     ? module->cuts[s + 1]
                                     : input->graph->modules[m].n_layers;
            const cs_range_cost c =
                cs_cost_range(input->costs, input->graph, m, first, last,
                              csi_trainable_upstream(input->graph, m, first),
                              input->work[m]);

            module->stage_s[s] =
                c.forward_s + c.backward_input_s + c.backward_weight_s;
        }
    }
}

cs_status csi_plan_predict(const cs_plan_input *input, cs_plan *plan)
{
    cs_work *work = NULL;
    cs_sim_result result = {0};

    note_stages(input, plan);
    CS_TRY(repeat_work(input, plan->n_microbatches, &work));
    const cs_status st = cs_plan_simulate(plan, input->graph, input->costs,
                                          work, NULL, input->n_cores, &result);

    csi_free(work);
    CS_TRY(st);
    plan->predicted_step_s = result.step_s;
    plan->predicted_bubble = result.bubble;
    cs_sim_result_fini(&result);
    return CS_OK;
}

cs_status csi_plan_choose_schedule(const cs_plan_input *input, cs_plan *plan)
{
    const cs_schedule_kind wanted = input->config->parallel.schedule;

    plan->schedule = wanted == CS_SCHEDULE_GPIPE ? wanted : CS_SCHEDULE_1F1B;
    CS_TRY(csi_plan_predict(input, plan));
    if (wanted != CS_SCHEDULE_AUTO) {
        return CS_OK;
    }
    const double step_s = plan->predicted_step_s;

    plan->schedule = CS_SCHEDULE_GPIPE;
    CS_TRY(csi_plan_predict(input, plan));
    if (plan->predicted_step_s < step_s) {
        return CS_OK;
    }
    plan->schedule = CS_SCHEDULE_1F1B;
    CS_TRY(csi_plan_predict(input, plan));
    return CS_OK;
}

cs_status csi_plan_explain(const cs_graph *graph, const char *source,
                           cs_plan *plan)
{
    double sum = 0.0;
    double largest = -1.0;
    int32_t module = 0;
    int32_t stage = 0;
    char dearest[32];
    char whole[32];
    csi_str text = {0};

    for (int32_t m = 0; m < plan->n_modules; m++) {
        for (int32_t s = 0; s < plan->modules[m].pp; s++) {
            const double seconds = plan->modules[m].stage_s[s];

            sum += seconds;
            if (seconds > largest) {
                largest = seconds;
                module = m;
                stage = s;
            }
        }
    }
    csi_str_addf(&text,
                 "%s is the bottleneck: its stage %d takes %s of the %s that a "
                 "microbatch takes in all (%.0f %%); ranks wait %.0f %% of a "
                 "step; costs: %s",
                 graph->modules[module].name, stage,
                 csi_human_seconds(dearest, largest),
                 csi_human_seconds(whole, sum),
                 sum > 0.0 ? 100.0 * largest / sum : 0.0,
                 100.0 * plan->predicted_bubble, source);
    if (text.failed) {
        csi_str_fini(&text);
    }
    CS_CHECK(text.data != NULL, CS_ERR_NOMEM, "no memory for a reason");
    csi_free(plan->reason);
    plan->reason = text.data;
    return CS_OK;
}
