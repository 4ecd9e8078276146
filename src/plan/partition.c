/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting a chain of layers into stages so that the dearest stage is as cheap
 * as can be: dynamic programming over (stages, layers), all stage counts at
 * once. Of equally good cuts the more even one wins (least sum of squares), so
 * that layers without cost do not get a stage of their own for nothing. A
 * layer's cost does not depend on the cuts, because what is trainable upstream
 * of it does not: prefix sums suffice.
 */
#include "base/alloc.h"

#include "internal.h"

#include <math.h>
#include <string.h>

typedef struct score {
    double worst, squares;
} score;

static bool is_better(score a, score b)
{
    return a.worst < b.worst || (a.worst == b.worst && a.squares < b.squares);
}

static score with_stage(score below, double stage_s)
{
    return (score){.worst = fmax(below.worst, stage_s),
                   .squares = below.squares + stage_s * stage_s};
}

/* Row `stages` from row `stages - 1`: best[j] = layers [0, j). */
static void extend(const double *prefix, int32_t n_layers, int32_t stages,
                   const score *below, score *best, int32_t *choice)
{
    for (int32_t j = 0; j <= n_layers; j++) {
        best[j] = (score){INFINITY, INFINITY};
        choice[j] = -1;
        for (int32_t i = stages - 1; i < j; i++) {
            const score with = with_stage(below[i], prefix[j] - prefix[i]);

            if (is_better(with, best[j])) {
                best[j] = with;
                choice[j] = i;
            }
        }
    }
}

cs_status csi_partition_init(const double *layer_s, int32_t n_layers,
                             int32_t max_stages, csi_partition *out)
{
    const size_t width = (size_t)n_layers + 1;
    csi_partition p = {.n_layers = n_layers,
                       .max_stages =
                           max_stages < n_layers ? max_stages : n_layers};
    double *const prefix = csi_calloc(width, sizeof *prefix);
    score *below = csi_calloc(width, sizeof *below);
    score *best = csi_calloc(width, sizeof *best);
    cs_status st = CS_OK;

    p.worst = csi_calloc((size_t)p.max_stages, sizeof *p.worst);
    p.choice = csi_calloc((size_t)p.max_stages * width, sizeof *p.choice);
    CS_CHECK_GOTO(done,
                  prefix != NULL && below != NULL && best != NULL &&
                      p.worst != NULL && p.choice != NULL,
                  CS_ERR_NOMEM, "no memory to cut %d layers into %d stages",
                  n_layers, p.max_stages);
    for (int32_t i = 0; i < n_layers; i++) {
        prefix[i + 1] = prefix[i] + layer_s[i];
        below[i + 1] = (score){INFINITY, INFINITY}; /* no stage, some layers */
    }
    for (int32_t s = 1; s <= p.max_stages; s++) {
        score *const swap = below;

        extend(prefix, n_layers, s, below, best,
               &p.choice[(size_t)(s - 1) * width]);
        p.worst[s - 1] = best[n_layers].worst;
        below = best;
        best = swap;
    }
    *out = p;
done:
    if (st != CS_OK) {
        csi_partition_fini(&p);
    }
    csi_free(prefix);
    csi_free(below);
    csi_free(best);
    return st;
}

void csi_partition_fini(csi_partition *partition)
{
    csi_free(partition->worst);
    csi_free(partition->choice);
    *partition = (csi_partition){0};
}

void csi_partition_cuts(const csi_partition *partition, int32_t n_stages,
                        int32_t *cuts)
{
    const size_t width = (size_t)partition->n_layers + 1;
    int32_t end = partition->n_layers;

    for (int32_t s = n_stages - 1; s >= 0; s--) {
        end = partition->choice[(size_t)s * width + (size_t)end];
        cuts[s] = end;
    }
}

static cs_status cut_module(const cs_plan_input *input, int32_t module,
                            int32_t max_stages, csi_partition *out)
{
    const int32_t n_layers = input->graph->modules[module].n_layers;
    double *const layer_s = csi_calloc((size_t)n_layers, sizeof *layer_s);

    CS_CHECK(layer_s != NULL, CS_ERR_NOMEM, "no memory for %d layers",
             n_layers);
    for (int32_t i = 0; i < n_layers; i++) {
        const cs_range_cost c =
            cs_cost_range(input->costs, input->graph, module, i, i + 1,
                          csi_trainable_upstream(input->graph, module, i),
                          input->work[module]);

        layer_s[i] = c.forward_s + c.backward_input_s + c.backward_weight_s;
    }
    const cs_status st = csi_partition_init(layer_s, n_layers, max_stages, out);

    csi_free(layer_s);
    return st;
}

cs_status csi_partition_modules(const cs_plan_input *input, int32_t max_stages,
                                csi_partition **out)
{
    const int32_t n_modules = input->graph->n_modules;
    cs_status st = CS_OK;
    csi_partition *p = csi_calloc((size_t)n_modules, sizeof *p);

    CS_CHECK(p != NULL, CS_ERR_NOMEM, "no memory to cut %d modules", n_modules);
    for (int32_t m = 0; m < n_modules; m++) {
        CS_TRY_GOTO(undo, cut_module(input, m, max_stages, &p[m]));
    }
    *out = p;
    return CS_OK;

undo:
    csi_partitions_free(&p, n_modules);
    return st;
}

void csi_partitions_free(csi_partition **partitions, int32_t n_modules)
{
    for (int32_t m = 0; m < n_modules && *partitions != NULL; m++) {
        csi_partition_fini(&(*partitions)[m]);
    }
    csi_free(*partitions);
    *partitions = NULL;
}
