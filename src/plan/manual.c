/* SPDX-License-Identifier: Apache-2.0 */
/* parallel.plan: manual. The recipe says how many stages each module has and,
 * if it wants, where they start; modules that it does not name have one. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/str.h"

#include "internal.h"

#include <string.h>

static const cs_module_parallel *find_entry(const cs_config *config,
                                            const char *name)
{
    for (int32_t i = 0; i < config->parallel.n_modules; i++) {
        if (strcmp(config->parallel.modules[i].name, name) == 0) {
            return &config->parallel.modules[i];
        }
    }
    return NULL;
}

static int64_t count_stages(const cs_plan_input *input)
{
    int64_t n_stages = 0;

    for (int32_t m = 0; m < input->graph->n_modules; m++) {
        const cs_module_parallel *const entry =
            find_entry(input->config, input->graph->modules[m].name);

        n_stages += entry != NULL ? entry->pp : 1;
    }
    return n_stages;
}

static cs_status check_entries(const cs_plan_input *input)
{
    const cs_config *const c = input->config;

    for (int32_t i = 0; i < c->parallel.n_modules; i++) {
        const cs_module_parallel *const e = &c->parallel.modules[i];
        const int32_t m = cs_graph_find_module(input->graph, e->name);

        CS_CHECK(m >= 0, CS_ERR_ARG,
                 "parallel.modules.%s: the model has no such module", e->name);
        CS_CHECK(e->tp == 1 && e->cp == 1, CS_ERR_UNSUPPORTED,
                 "unsupported: parallel.modules.%s: tp %d, cp %d (only 1)",
                 e->name, e->tp, e->cp);
        const int32_t n_layers = input->graph->modules[m].n_layers;

        CS_CHECK(e->pp >= 1 && e->pp <= n_layers, CS_ERR_ARG,
                 "parallel.modules.%s.pp: wanted 1..%d (it has %d layers), got "
                 "%d",
                 e->name, n_layers, n_layers, e->pp);
        CS_CHECK(e->n_cuts == 0 || e->n_cuts == e->pp, CS_ERR_ARG,
                 "parallel.modules.%s.cuts: wanted the first layers of %d "
                 "stages, got %d",
                 e->name, e->pp, e->n_cuts);
    }
    return CS_OK;
}

/* Ranks of one replica, and how many replicas that makes. */
static cs_status count_ranks(const cs_plan_input *input, bool is_single,
                             int32_t *dp)
{
    const cs_config *const c = input->config;
    const int64_t n_stages = count_stages(input);

    CS_CHECK(!is_single || n_stages == input->graph->n_modules, CS_ERR_ARG,
             "parallel.modules: placement single wants one stage per module, "
             "got %lld stages of %d modules",
             (long long)n_stages, input->graph->n_modules);
    const int64_t per_replica = is_single ? 1 : csi_max_i64(n_stages, 1);
    const int64_t replicas =
        c->parallel.dp > 0 ? c->parallel.dp : input->n_ranks / per_replica;

    CS_CHECK(replicas >= 1 && per_replica * replicas == input->n_ranks,
             CS_ERR_ARG,
             "parallel.modules: %lld stages and dp %lld want %lld ranks, got "
             "%d",
             (long long)n_stages, (long long)(replicas >= 1 ? replicas : 1),
             (long long)(per_replica * (replicas >= 1 ? replicas : 1)),
             input->n_ranks);
    CS_CHECK(replicas == 1 || c->parallel.zero == 0, CS_ERR_UNSUPPORTED,
             "unsupported: parallel.zero 1 with dp %lld: set parallel.zero: 0",
             (long long)replicas);
    *dp = (int32_t)replicas;
    return CS_OK;
}

static cs_status cut_modules(const cs_plan_input *input,
                             const csi_partition *partitions, cs_plan *p)
{
    for (int32_t m = 0; m < p->n_modules; m++) {
        cs_plan_module *const module = &p->modules[m];
        const cs_module_parallel *const entry =
            find_entry(input->config, module->name);
        const int32_t pp = entry != NULL ? entry->pp : 1;

        CS_TRY(csi_plan_add_stages(module, pp));
        if (entry != NULL && entry->n_cuts > 0) {
            memcpy(module->cuts, entry->cuts,
                   (size_t)pp * sizeof *module->cuts);
        } else {
            csi_partition_cuts(&partitions[m], pp, module->cuts);
        }
    }
    return CS_OK;
}

cs_status csi_plan_manual(const cs_plan_input *input, cs_plan **out)
{
    const cs_config *const c = input->config;
    const bool is_single =
        c->parallel.placement == CS_PLACEMENT_SINGLE ||
        (input->n_ranks == 1 && count_stages(input) == input->graph->n_modules);
    csi_partition *partitions = NULL;
    cs_plan *p = NULL;
    int32_t dp = 1;
    cs_status st = CS_OK;

    CS_TRY(check_entries(input));
    CS_TRY(count_ranks(input, is_single, &dp));
    CS_TRY(csi_plan_new(input->graph, input->n_ranks, dp, &p));
    p->placement =
        is_single ? CS_PLACEMENT_SINGLE : CS_PLACEMENT_MODALITY_PARALLEL;
    p->n_microbatches = csi_microbatches_of_replica(input, dp);
    CS_TRY_GOTO(undo,
                csi_partition_modules(input, input->n_ranks, &partitions));
    CS_TRY_GOTO(undo, cut_modules(input, partitions, p));
    csi_plan_place(p);
    CS_TRY_GOTO(undo, cs_plan_check(p, input->graph));
    CS_TRY_GOTO(undo, csi_plan_choose_schedule(input, p));
    CS_TRY_GOTO(undo, csi_plan_explain(input->graph, input->costs->source, p));
    csi_partitions_free(&partitions, input->graph->n_modules);
    *out = p;
    return CS_OK;

undo:
    csi_partitions_free(&partitions, input->graph->n_modules);
    cs_plan_destroy(&p);
    return st;
}
