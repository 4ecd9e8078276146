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

/* What one prediction allocates. */
typedef struct prediction {
    cs_stage_graph stages;
    int32_t *layer_range;
    cs_schedule *schedule;
    cs_work *work;
    cs_stage_cost *cost;
    double *edge_bytes;
    double *optimizer_s;
    cs_sim_result result;
} prediction;

static void end_prediction(prediction *p)
{
    cs_sim_result_fini(&p->result);
    csi_free(p->optimizer_s);
    csi_free(p->edge_bytes);
    csi_free(p->cost);
    csi_free(p->work);
    cs_schedule_destroy(&p->schedule);
    csi_free(p->layer_range);
    cs_stage_graph_fini(&p->stages);
}

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

/* Update and, over replicas, reduction of what each rank trains. */
static cs_status price_step_end(const cs_plan_input *input, const cs_plan *plan,
                                const prediction *p, double **out)
{
    const double dp = plan->dp;
    const double per_element =
        OPTIMIZER_BYTES / MEMORY_BYTES_PER_S +
        2.0 * (dp - 1.0) / dp * GRADIENT_BYTES / LINK_BYTES_PER_S;
    double *const seconds =
        csi_calloc((size_t)p->stages.n_ranks, sizeof *seconds);

    CS_CHECK(seconds != NULL, CS_ERR_NOMEM, "no memory for %d ranks",
             p->stages.n_ranks);
    for (int32_t i = 0; i < input->graph->n_params; i++) {
        const cs_param *const q = &input->graph->params[i];

        for (int32_t s = 0; s < p->stages.n_stages && q->is_trainable; s++) {
            if (p->stages.stages[s].module == q->module &&
                q->layer >= p->layer_range[2 * s] &&
                q->layer < p->layer_range[2 * s + 1]) {
                seconds[p->stages.stages[s].rank] +=
                    (double)cs_shape_count(&q->shape) * per_element;
            }
        }
    }
    *out = seconds;
    return CS_OK;
}

/* More replicas than cores: each replica has a share of one. */
static void share_cores(const cs_plan_input *input, const cs_plan *plan,
                        const prediction *p, cs_sim_input *sim)
{
    if (input->n_cores <= 0) {
        return;
    }
    sim->n_cores = input->n_cores / plan->dp;
    if (sim->n_cores > 0) {
        return;
    }
    sim->n_cores = 1;
    const double slower = (double)plan->dp / input->n_cores;

    for (int64_t i = 0; i < (int64_t)p->stages.n_stages * plan->n_microbatches;
         i++) {
        p->cost[i].forward_s *= slower;
        p->cost[i].backward_input_s *= slower;
        p->cost[i].backward_weight_s *= slower;
    }
}

/* Before cores are shared: what a stage computes, not how long it takes. */
static void note_stages(const prediction *p, cs_plan *plan)
{
    for (int32_t s = 0; s < p->stages.n_stages; s++) {
        const cs_stage_cost *const c = &p->cost[s * plan->n_microbatches];
        const cs_stage *const stage = &p->stages.stages[s];

        plan->modules[stage->module].stage_s[stage->position] =
            c->forward_s + c->backward_input_s + c->backward_weight_s;
    }
}

static cs_status predict(const cs_plan_input *input, cs_plan *plan,
                         prediction *p)
{
    const int32_t n = plan->n_microbatches;

    CS_TRY(cs_plan_stage_graph(plan, input->graph, &p->stages,
                               &p->layer_range));
    CS_TRY(cs_schedule_create(&p->stages, plan->schedule, n, true,
                              &p->schedule));
    CS_TRY(repeat_work(input, n, &p->work));
    CS_TRY(cs_plan_costs(plan, input->graph, input->costs, p->work, n, &p->cost,
                         &p->edge_bytes));
    CS_TRY(price_step_end(input, plan, p, &p->optimizer_s));
    note_stages(p, plan);

    cs_sim_input sim = {
        .graph = &p->stages,
        .schedule = p->schedule,
        .cost = p->cost,
        .edge_bytes = p->edge_bytes,
        .link_bytes_per_s = LINK_BYTES_PER_S,
        .link_latency_s = LINK_LATENCY_S,
        .optimizer_s = p->optimizer_s,
    };
    share_cores(input, plan, p, &sim);
    CS_TRY(cs_sim_run(&sim, &p->result));
    plan->predicted_step_s = p->result.step_s;
    plan->predicted_bubble = p->result.bubble;
    return CS_OK;
}

cs_status csi_plan_predict(const cs_plan_input *input, cs_plan *plan)
{
    prediction p = {0};
    const cs_status st = predict(input, plan, &p);

    end_prediction(&p);
    return st;
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
