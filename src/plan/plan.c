/* SPDX-License-Identifier: Apache-2.0 */
/* The plan object: life, check, and the choice of who makes it. */
#include "cornstarch/plan.h"

#include "base/alloc.h"
#include "base/str.h"

#include "internal.h"

#include <string.h>

void cs_plan_destroy(cs_plan **plan)
{
    cs_plan *const p = *plan;

    if (p == NULL) {
        return;
    }
    for (int32_t i = 0; i < p->n_modules && p->modules != NULL; i++) {
        csi_free(p->modules[i].name);
        csi_free(p->modules[i].cuts);
        csi_free(p->modules[i].ranks);
        csi_free(p->modules[i].stage_s);
    }
    for (int32_t i = 0; i < p->n_runners_up && p->runners_up != NULL; i++) {
        csi_free(p->runners_up[i].text);
    }
    csi_free(p->modules);
    csi_free(p->runners_up);
    csi_free(p->reason);
    csi_free(p);
    *plan = NULL;
}

cs_status csi_plan_new(const cs_graph *graph, int32_t n_ranks, int32_t dp,
                       cs_plan **out)
{
    cs_status st = CS_OK;
    cs_plan *p = csi_calloc(1, sizeof *p);

    CS_CHECK(p != NULL, CS_ERR_NOMEM, "no memory for a plan");
    p->n_ranks = n_ranks;
    p->dp = dp;
    p->placement = CS_PLACEMENT_MODALITY_PARALLEL;
    p->schedule = CS_SCHEDULE_1F1B;
    p->n_microbatches = 1;
    p->modules = csi_calloc((size_t)graph->n_modules, sizeof *p->modules);
    CS_CHECK_GOTO(undo, p->modules != NULL, CS_ERR_NOMEM,
                  "no memory for a plan of %d modules", graph->n_modules);
    p->n_modules = graph->n_modules;
    for (int32_t i = 0; i < p->n_modules; i++) {
        p->modules[i].name = csi_strdup(graph->modules[i].name);
        CS_CHECK_GOTO(undo, p->modules[i].name != NULL, CS_ERR_NOMEM,
                      "no memory for a plan of %d modules", graph->n_modules);
    }
    *out = p;
    return CS_OK;

undo:
    cs_plan_destroy(&p);
    return st;
}

cs_status csi_plan_add_stages(cs_plan_module *module, int32_t pp)
{
    module->cuts = csi_calloc((size_t)pp, sizeof *module->cuts);
    module->ranks = csi_calloc((size_t)pp, sizeof *module->ranks);
    module->stage_s = csi_calloc((size_t)pp, sizeof *module->stage_s);
    CS_CHECK(module->cuts != NULL && module->ranks != NULL &&
                 module->stage_s != NULL,
             CS_ERR_NOMEM, "no memory for %d stages of %s", pp, module->name);
    module->pp = pp;
    return CS_OK;
}

void csi_plan_place(cs_plan *plan)
{
    int32_t next = 0;

    for (int32_t m = 0; m < plan->n_modules; m++) {
        for (int32_t s = 0; s < plan->modules[m].pp; s++) {
            plan->modules[m].ranks[s] =
                plan->placement == CS_PLACEMENT_SINGLE ? 0 : next++;
        }
    }
}

const char *csi_placement_name(cs_placement placement)
{
    return placement == CS_PLACEMENT_SINGLE ? "single" : "modality_parallel";
}

const char *csi_schedule_name(cs_schedule_kind kind)
{
    return kind == CS_SCHEDULE_GPIPE ? "gpipe" : "1f1b";
}

cs_status csi_plan_list_modules(const cs_graph *graph, char **out)
{
    csi_str text = {0};

    for (int32_t m = 0; m < graph->n_modules; m++) {
        csi_str_addf(&text, "%s%s", m > 0 ? ", " : "", graph->modules[m].name);
    }
    if (text.failed) {
        csi_str_fini(&text);
    }
    CS_CHECK(text.data != NULL, CS_ERR_NOMEM, "no memory for module names");
    *out = text.data;
    return CS_OK;
}

/* --- check ------------------------------------------------------------ */

static cs_status check_frame(const cs_plan *plan, const cs_graph *graph)
{
    CS_CHECK(plan->n_ranks >= 1 && plan->n_ranks <= CSI_PLAN_MAX_RANKS,
             CS_ERR_ARG, "plan: n_ranks wanted 1..%d, got %d",
             CSI_PLAN_MAX_RANKS, plan->n_ranks);
    CS_CHECK(plan->dp >= 1 && plan->n_ranks % plan->dp == 0, CS_ERR_ARG,
             "plan: dp wanted a divisor of %d ranks, got %d", plan->n_ranks,
             plan->dp);
    CS_CHECK(plan->placement == CS_PLACEMENT_SINGLE ||
                 plan->placement == CS_PLACEMENT_MODALITY_PARALLEL,
             CS_ERR_ARG, "plan: placement wanted single or modality_parallel");
    CS_CHECK(plan->schedule == CS_SCHEDULE_GPIPE ||
                 plan->schedule == CS_SCHEDULE_1F1B,
             CS_ERR_ARG, "plan: schedule wanted gpipe or 1f1b");
    CS_CHECK(plan->n_microbatches >= 1 &&
                 plan->n_microbatches <= CSI_PLAN_MAX_MICROBATCHES,
             CS_ERR_ARG, "plan: microbatches wanted 1..%d, got %d",
             CSI_PLAN_MAX_MICROBATCHES, plan->n_microbatches);
    CS_CHECK(plan->n_modules == graph->n_modules, CS_ERR_ARG,
             "plan: the model has %d modules, got %d", graph->n_modules,
             plan->n_modules);
    return CS_OK;
}

static cs_status check_module(const cs_plan *plan, const cs_module *wanted,
                              const cs_plan_module *m)
{
    const int32_t n_pipeline_ranks = plan->n_ranks / plan->dp;

    CS_CHECK(m->name != NULL && strcmp(m->name, wanted->name) == 0, CS_ERR_ARG,
             "plan: wanted module %s here, got %s", wanted->name,
             m->name != NULL ? m->name : "none");
    CS_CHECK(m->pp >= 1 && m->pp <= wanted->n_layers, CS_ERR_ARG,
             "plan: %s has %d layers: pp wanted 1..%d, got %d", m->name,
             wanted->n_layers, wanted->n_layers, m->pp);
    for (int32_t s = 0; s < m->pp; s++) {
        const int32_t least = s == 0 ? 0 : m->cuts[s - 1] + 1;
        const int32_t most = s == 0 ? 0 : wanted->n_layers - 1;

        CS_CHECK(m->cuts[s] >= least && m->cuts[s] <= most, CS_ERR_ARG,
                 "plan: %s: cut %d wanted %d..%d (first layers of the stages, "
                 "rising from 0), got %d",
                 m->name, s, least, most, m->cuts[s]);
        CS_CHECK(m->ranks[s] >= 0 && m->ranks[s] < n_pipeline_ranks, CS_ERR_ARG,
                 "plan: %s: rank of stage %d wanted 0..%d, got %d", m->name, s,
                 n_pipeline_ranks - 1, m->ranks[s]);
    }
    return CS_OK;
}

/* single: one rank does all. modality_parallel: each rank one stage. */
static cs_status check_ranks(const cs_plan *plan)
{
    const int32_t n_pipeline_ranks = plan->n_ranks / plan->dp;
    int32_t n_stages = 0;
    cs_status st = CS_OK;
    bool *is_taken = csi_calloc((size_t)n_pipeline_ranks, sizeof *is_taken);

    CS_CHECK(is_taken != NULL, CS_ERR_NOMEM, "no memory for %d ranks",
             n_pipeline_ranks);
    for (int32_t m = 0; m < plan->n_modules; m++) {
        n_stages += plan->modules[m].pp;
    }
    if (plan->placement == CS_PLACEMENT_SINGLE) {
        CS_CHECK_GOTO(done, n_pipeline_ranks == 1, CS_ERR_ARG,
                      "plan: placement single has 1 rank per replica, got %d",
                      n_pipeline_ranks);
        goto done;
    }
    CS_CHECK_GOTO(done, n_stages == n_pipeline_ranks, CS_ERR_ARG,
                  "plan: %d stages want %d ranks per replica, got %d", n_stages,
                  n_stages, n_pipeline_ranks);
    for (int32_t m = 0; m < plan->n_modules; m++) {
        for (int32_t s = 0; s < plan->modules[m].pp; s++) {
            const int32_t rank = plan->modules[m].ranks[s];

            CS_CHECK_GOTO(done, !is_taken[rank], CS_ERR_ARG,
                          "plan: rank %d has two stages, the second is stage "
                          "%d of %s",
                          rank, s, plan->modules[m].name);
            is_taken[rank] = true;
        }
    }
done:
    csi_free(is_taken);
    return st;
}

cs_status cs_plan_check(const cs_plan *plan, const cs_graph *graph)
{
    cs_stage_graph stages = {0};
    int32_t *layer_range = NULL;

    CS_TRY(check_frame(plan, graph));
    for (int32_t m = 0; m < plan->n_modules; m++) {
        CS_TRY(check_module(plan, &graph->modules[m], &plan->modules[m]));
    }
    CS_TRY(check_ranks(plan));
    CS_TRY(cs_plan_stage_graph(plan, graph, &stages, &layer_range));
    const cs_status st = cs_stage_graph_check(&stages);

    csi_free(layer_range);
    cs_stage_graph_fini(&stages);
    return st;
}

/* --- create ----------------------------------------------------------- */

static cs_status check_input(const cs_plan_input *input)
{
    const cs_config *const c = input->config;

    CS_CHECK(input->n_ranks >= 1 && input->n_ranks <= CSI_PLAN_MAX_RANKS,
             CS_ERR_ARG, "plan: ranks wanted 1..%d, got %d", CSI_PLAN_MAX_RANKS,
             input->n_ranks);
    CS_CHECK(input->n_microbatches >= 1 &&
                 input->n_microbatches <= CSI_PLAN_MAX_MICROBATCHES,
             CS_ERR_ARG, "plan: microbatches wanted 1..%d, got %d",
             CSI_PLAN_MAX_MICROBATCHES, input->n_microbatches);
    CS_CHECK(c->parallel.dp == 0 || input->n_ranks % c->parallel.dp == 0,
             CS_ERR_ARG, "parallel.dp: wanted a divisor of %d ranks, got %d",
             input->n_ranks, c->parallel.dp);
    CS_CHECK(c->parallel.dp <= 1 || c->parallel.zero == 0, CS_ERR_UNSUPPORTED,
             "unsupported: parallel.zero 1 with dp %d: set parallel.zero: 0",
             c->parallel.dp);
    return CS_OK;
}

static cs_status load_file(const cs_plan_input *input, cs_plan **out)
{
    const char *const path = input->config->parallel.plan_path;
    cs_plan *p = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_plan_load(path, input->graph, &p));
    CS_CHECK_GOTO(undo, p->n_ranks == input->n_ranks, CS_ERR_ARG,
                  "%s: is for %d ranks, got %d", path, p->n_ranks,
                  input->n_ranks);
    CS_CHECK_GOTO(undo, p->dp == 1 || input->config->parallel.zero == 0,
                  CS_ERR_UNSUPPORTED,
                  "unsupported: %s: parallel.zero 1 with dp %d: set "
                  "parallel.zero: 0",
                  path, p->dp);
    p->n_microbatches = csi_microbatches_of_replica(input, p->dp);
    CS_TRY_GOTO(undo, csi_plan_predict(input, p));
    *out = p;
    return CS_OK;

undo:
    cs_plan_destroy(&p);
    return st;
}

cs_status cs_plan_create(const cs_plan_input *input, cs_plan **out)
{
    cs_plan *p = NULL;

    CS_TRY(check_input(input));
    switch (input->config->parallel.plan) {
    case CS_PLAN_MANUAL:
        CS_TRY(csi_plan_manual(input, &p));
        break;
    case CS_PLAN_FILE:
        CS_TRY(load_file(input, &p));
        break;
    default:
        CS_TRY(csi_plan_search(input, &p));
        break;
    }
    cs_config_hash(input->config, p->recipe_hash);
    *out = p;
    return CS_OK;
}
