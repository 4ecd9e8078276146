/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_PLAN_PLANNING_H
#define CST_PLAN_PLANNING_H
/* Everything that a plan is made from, for one recipe: eight microbatches of
 * work that suits the small models of recipes.h, one core per rank. */
#include "cornstarch/plan.h"

#include "unit/graph/recipes.h"

typedef struct planning {
    cs_config *config;
    cs_graph *graph;
    cs_cost_table *costs;
    int32_t n_ranks, n_cores, n_microbatches;
    cs_work work[4];
} planning;

static inline planning begin(const char *model, const char *parallel,
                             int32_t n_ranks)
{
    planning p = {.n_ranks = n_ranks, .n_microbatches = 8};

    assert_ok(cst_recipe_parse(model, parallel, &p.config));
    assert_ok(cs_zoo_build(p.config, &p.graph));
    assert_ok(cs_cost_estimate(p.graph, 1e9, &p.costs));
    for (int32_t m = 0; m < 4; m++) {
        p.work[m] =
            (cs_work){.rows = 400.0, .pairs = 4000.0, .feature_rows = 200.0};
    }
    return p;
}

static inline cs_plan_input input_of(const planning *p)
{
    return (cs_plan_input){
        .config = p->config,
        .graph = p->graph,
        .costs = p->costs,
        .n_ranks = p->n_ranks,
        .n_cores = p->n_cores,
        .n_microbatches = p->n_microbatches,
        .work = p->work,
    };
}

static inline cs_plan *create(const planning *p)
{
    const cs_plan_input input = input_of(p);
    cs_plan *plan = NULL;

    assert_ok(cs_plan_create(&input, &plan));
    return plan;
}

static inline void end(planning *p, cs_plan **plan)
{
    cs_plan_destroy(plan);
    cs_cost_destroy(&p->costs);
    cs_graph_destroy(&p->graph);
    cs_config_destroy(&p->config);
}
#endif
