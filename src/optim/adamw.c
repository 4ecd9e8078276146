/* SPDX-License-Identifier: Apache-2.0 */
/* AdamW over a parameter set: which parameter learns how fast, the norm, the
 * update. */
#include "cornstarch/optim.h"

#include "base/alloc.h"

#include <math.h>
#include <regex.h>
#include <string.h>

enum {
    N_EXTRA_SUMS = 3
};

struct cs_optim {
    const cs_config *config; /* borrowed */
    const cs_graph *graph;   /* borrowed */
    cs_param_set *params;    /* borrowed */
    cs_backend *backend;     /* borrowed */
    double *rate_factor;     /* owned, [params->n]: times the recipe's rate */
    double *weight_decay;    /* owned, [params->n] */
    cs_adamw_item *items;    /* owned, [params->n] */
    double *sums;            /* owned, [graph->n_params + N_EXTRA_SUMS +
                                n_balance_sums] */
};

static int32_t n_balance_sums(const cs_graph *graph)
{
    return graph->modules[cs_graph_language_model(graph)].n_layers;
}

/* A tied parameter decays like the one whose values it shares. */
static double default_decay(const cs_config *config, const cs_graph *graph,
                            const cs_param *spec)
{
    const cs_param *p =
        spec->tied_to < 0 ? spec : &graph->params[spec->tied_to];
    const bool is_free =
        (p->role == CS_PARAM_BIAS && config->training.no_decay_bias) ||
        (p->role == CS_PARAM_NORM && config->training.no_decay_norm) ||
        (p->role == CS_PARAM_EMBEDDING && config->training.no_decay_embedding);

    return is_free ? 0.0 : config->training.weight_decay;
}

/* An override names a module, or is a regex over global parameter names. */
static cs_status match_override(const cs_graph *graph, const char *pattern,
                                bool *matches)
{
    regex_t regex;
    int64_t n = 0;
    const int32_t module = cs_graph_find_module(graph, pattern);

    if (module < 0) {
        CS_CHECK(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) == 0,
                 CS_ERR_ARG,
                 "training.modules: '%s' is neither a module nor a regular "
                 "expression",
                 pattern);
    }
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *p = &graph->params[i];
        matches[i] = module >= 0
                         ? p->module == module
                         : regexec(&regex, p->global_name, 0, NULL, 0) == 0;
        n += matches[i];
    }
    if (module < 0) {
        regfree(&regex);
    }
    CS_CHECK(n > 0, CS_ERR_ARG,
             "training.modules: '%s' matches no module and no parameter",
             pattern);
    return CS_OK;
}

static cs_status apply_overrides(cs_optim *o)
{
    cs_status st = CS_OK;
    const cs_config *config = o->config;
    bool *matches = csi_calloc((size_t)o->graph->n_params, sizeof *matches);

    CS_CHECK(matches != NULL, CS_ERR_NOMEM, "optimizer");
    for (int32_t k = 0; k < config->training.n_overrides; k++) {
        const cs_optimizer_override *v = &config->training.overrides[k];
        CS_TRY_GOTO(done, match_override(o->graph, v->pattern, matches));
        for (int32_t i = 0; i < o->graph->n_params; i++) {
            const int32_t item = o->params->item_of[i];
            const int32_t tied_to = o->graph->params[i].tied_to;
            if (!matches[tied_to < 0 ? i : tied_to] || item < 0) {
                continue;
            }
            if (!isnan(v->learning_rate)) {
                o->rate_factor[item] =
                    v->learning_rate / config->training.learning_rate;
            }
            if (!isnan(v->weight_decay)) {
                o->weight_decay[item] = v->weight_decay;
            }
        }
    }
done:
    csi_free(matches);
    return st;
}

cs_status cs_optim_create(const cs_config *config, const cs_graph *graph,
                          cs_param_set *params, cs_backend *backend,
                          cs_optim **out)
{
    cs_status st = CS_OK;
    const size_t n = (size_t)params->n + 1;
    cs_optim *o = csi_calloc(1, sizeof *o);

    CS_CHECK(o != NULL, CS_ERR_NOMEM, "optimizer");
    *o = (cs_optim){config, graph, params, backend, NULL, NULL, NULL, NULL};
    o->rate_factor = csi_calloc(n, sizeof *o->rate_factor);
    o->weight_decay = csi_calloc(n, sizeof *o->weight_decay);
    o->items = csi_calloc(n, sizeof *o->items);
    o->sums = csi_calloc((size_t)graph->n_params + N_EXTRA_SUMS +
                             (size_t)n_balance_sums(graph),
                         sizeof *o->sums);
    CS_CHECK_GOTO(undo,
                  o->rate_factor != NULL && o->weight_decay != NULL &&
                      o->items != NULL && o->sums != NULL,
                  CS_ERR_NOMEM, "optimizer");
    for (int32_t i = 0; i < params->n; i++) {
        o->rate_factor[i] = 1.0;
        o->weight_decay[i] =
            default_decay(config, graph, params->items[i].spec);
    }
    CS_TRY_GOTO(undo, apply_overrides(o));
    *out = o;
    return CS_OK;

undo:
    cs_optim_destroy(&o);
    return st;
}

void cs_optim_destroy(cs_optim **optim)
{
    cs_optim *o = *optim;

    if (o == NULL) {
        return;
    }
    csi_free(o->rate_factor);
    csi_free(o->weight_decay);
    csi_free(o->items);
    csi_free(o->sums);
    csi_free(o);
    *optim = NULL;
}

cs_status cs_optim_reduce_sums(cs_optim *o, cs_comm *world,
                               bool is_first_replica,
                               const double *balance_sums, cs_step_sums *sums)
{
    const int32_t n = o->graph->n_params;
    const int32_t n_layers = n_balance_sums(o->graph);
    double *const balance = &o->sums[n + N_EXTRA_SUMS];
    double total = 0.0;

    memset(o->sums, 0, (size_t)(n + N_EXTRA_SUMS) * sizeof *o->sums);
    memset(balance, 0, (size_t)n_layers * sizeof *balance);
    if (balance_sums != NULL) {
        memcpy(balance, balance_sums, (size_t)n_layers * sizeof *balance);
    }
    for (int32_t i = 0; i < n && is_first_replica; i++) {
        const cs_param_state *item = cs_param_find(o->params, i);
        if (item != NULL && item->grad != NULL && item->spec->tied_to < 0) {
            CS_TRY(cs_op_sum_squares(o->backend, o->params->real, item->grad,
                                     item->count, &o->sums[i]));
        }
    }
    o->sums[n] = sums->loss_sum;
    o->sums[n + 1] = sums->n_correct;
    o->sums[n + 2] = sums->label_tokens;
    CS_TRY(cs_comm_all_reduce(world, o->sums, n + N_EXTRA_SUMS + n_layers,
                              CS_F64));
    for (int32_t i = 0; i < n; i++) {
        total += o->sums[i];
    }
    sums->grad_norm = sqrt(total);
    sums->loss_sum = o->sums[n];
    for (int32_t i = 0; i < n_layers; i++) {
        sums->loss_sum += balance[i];
    }
    sums->n_correct = o->sums[n + 1];
    sums->label_tokens = o->sums[n + 2];
    return CS_OK;
}

cs_status cs_optim_step(cs_optim *o, int64_t update, double learning_rate,
                        double grad_scale)
{
    int64_t n_items = 0;

    for (int32_t i = 0; i < o->params->n; i++) {
        const cs_param_state *p = &o->params->items[i];
        if (p->grad == NULL || p->is_alias) {
            continue;
        }
        o->items[n_items++] = (cs_adamw_item){
            .count = p->count,
            .master = p->master,
            .m = p->m,
            .v = p->v,
            .grad = p->grad,
            .working = p->master != p->working.data ? p->working.data : NULL,
            .learning_rate = learning_rate * o->rate_factor[i],
            .weight_decay = o->weight_decay[i],
        };
    }
    const cs_adamw_args args = {
        .dtype = o->params->real,
        .n_items = n_items,
        .items = o->items,
        .beta1 = o->config->training.beta1,
        .beta2 = o->config->training.beta2,
        .eps = o->config->training.eps,
        .grad_scale = grad_scale,
        .step = update,
    };
    return cs_op_adamw(o->backend, &args);
}
