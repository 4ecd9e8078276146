/* SPDX-License-Identifier: Apache-2.0 */
/* Cost tables: life, and the estimate from multiply-adds for machines that
 * nobody has measured. */
#include "base/alloc.h"

#include "internal.h"

#include <math.h>
#include <stdio.h>

/* Calls, checks and small kernels of one layer, whatever its size. */
#define LAYER_BASE_S 5e-6
/* Softmax's input gradient needs the scores again, then four products. */
#define ATTENTION_INPUT_HALF 2.5
/* The head has no weight half: logits again, dx, dw. */
#define HEAD_INPUT_HALF 3.0

cs_status csi_cost_new(const cs_graph *graph, cs_cost_table **out)
{
    const size_t n_modules = (size_t)graph->n_modules;
    cs_status st = CS_OK;
    cs_cost_table *t = csi_calloc(1, sizeof *t);

    CS_CHECK(t != NULL, CS_ERR_NOMEM, "no memory for a cost table");
    t->n_modules = graph->n_modules;
    t->n_layers = csi_calloc(n_modules, sizeof *t->n_layers);
    t->layer = csi_calloc(n_modules, sizeof *t->layer);
    CS_CHECK_GOTO(undo, t->n_layers != NULL && t->layer != NULL, CS_ERR_NOMEM,
                  "no memory for the costs of %d modules", graph->n_modules);
    for (int32_t m = 0; m < graph->n_modules; m++) {
        const int32_t n_layers = graph->modules[m].n_layers;

        t->layer[m] = csi_calloc((size_t)n_layers, sizeof **t->layer);
        CS_CHECK_GOTO(undo, t->layer[m] != NULL, CS_ERR_NOMEM,
                      "no memory for the costs of %d layers", n_layers);
        t->n_layers[m] = n_layers;
    }
    *out = t;
    return CS_OK;

undo:
    cs_cost_destroy(&t);
    return st;
}

void cs_cost_destroy(cs_cost_table **table)
{
    cs_cost_table *const t = *table;

    if (t == NULL) {
        return;
    }
    for (int32_t m = 0; m < t->n_modules && t->layer != NULL; m++) {
        csi_free(t->layer[m]);
    }
    csi_free(t->layer);
    csi_free(t->n_layers);
    csi_free(t->samples);
    csi_free(t);
    *table = NULL;
}

static bool has_products(const cs_layer *l)
{
    return l->kind != CS_LAYER_HEAD && l->kind != CS_LAYER_EMBED &&
           l->kind != CS_LAYER_NORM;
}

/* Stems give no gradient of their input: only what lies behind the first
 * product is left of the input half. */
static double input_half_flops(const cs_layer *l, double row_flops)
{
    switch (l->kind) {
    case CS_LAYER_PATCH_STEM:
        return 0.0;
    case CS_LAYER_CONV_STEM:
        return 2.0 * l->kernel * (double)l->out_dim * (double)l->out_dim;
    case CS_LAYER_HEAD:
        return HEAD_INPUT_HALF * row_flops;
    default:
        return row_flops;
    }
}

static cs_layer_cost estimate_layer(const cs_layer *l, double flops_per_s)
{
    const double row_flops = cs_layer_forward_flops(l, 1.0, 0.0);
    const double pair_flops = cs_layer_forward_flops(l, 0.0, 1.0);

    return (cs_layer_cost){
        .forward = {.base_s = LAYER_BASE_S,
                    .row_s = row_flops / flops_per_s,
                    .pair_s = pair_flops / flops_per_s},
        .backward_input = {.base_s = LAYER_BASE_S,
                           .row_s =
                               input_half_flops(l, row_flops) / flops_per_s,
                           .pair_s =
                               ATTENTION_INPUT_HALF * pair_flops / flops_per_s},
        .backward_weight = {.base_s = has_products(l) ? LAYER_BASE_S : 0.0,
                            .row_s = has_products(l) ? row_flops / flops_per_s
                                                     : 0.0},
    };
}

cs_status cs_cost_estimate(const cs_graph *graph, double flops_per_s,
                           cs_cost_table **out)
{
    cs_cost_table *t = NULL;

    CS_CHECK(isfinite(flops_per_s) && flops_per_s > 0.0, CS_ERR_ARG,
             "cost estimate: flops_per_s wanted above 0, got %g", flops_per_s);
    CS_TRY(csi_cost_new(graph, &t));
    for (int32_t m = 0; m < graph->n_modules; m++) {
        for (int32_t i = 0; i < graph->modules[m].n_layers; i++) {
            t->layer[m][i] =
                estimate_layer(&graph->modules[m].layers[i], flops_per_s);
        }
    }
    (void)snprintf(t->source, sizeof t->source, "estimate at %.4g GFLOP/s",
                   flops_per_s / 1e9);
    *out = t;
    return CS_OK;
}
