/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measurements -> lines. Three coefficients, none negative, squares of
 * relative errors least: so few that every subset of them is solved exactly
 * and the best feasible one kept. Subsets are tried from the likely to the
 * odd; a later one must be clearly better, so that two measurements of a block
 * mean rows and pairs, and one means rows.
 */
#include "base/alloc.h"

#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    N_COEFFICIENTS = 3 /* base, row, pair */
};

/* Normal equations of one quantity, columns scaled to their largest. */
typedef struct equations {
    double a[N_COEFFICIENTS][N_COEFFICIENTS];
    double b[N_COEFFICIENTS];
    double c; /* sum of squares of the right side */
    double scale[N_COEFFICIENTS];
} equations;

typedef double (*quantity_fn)(const cs_cost_sample *sample);

static double forward_of(const cs_cost_sample *sample)
{
    return sample->forward_s;
}

static double backward_input_of(const cs_cost_sample *sample)
{
    return sample->backward_input_s;
}

static double backward_weight_of(const cs_cost_sample *sample)
{
    return sample->backward_weight_s;
}

static void columns_of(const cs_cost_sample *sample, double x[N_COEFFICIENTS])
{
    x[0] = 1.0;
    x[1] = sample->rows;
    x[2] = sample->pairs;
}

static bool is_of(const cs_cost_sample *s, int32_t module, int32_t layer)
{
    return s->module == module && s->layer == layer;
}

/* Sums over the samples of one layer. Times are weighed by their inverse, but
 * never more than a thousandth of the largest would be. */
static equations gather(const cs_cost_table *t, int32_t module, int32_t layer,
                        quantity_fn quantity)
{
    equations e = {0};
    double largest = 0.0;

    for (int32_t i = 0; i < t->n_samples; i++) {
        double x[N_COEFFICIENTS];
        if (!is_of(&t->samples[i], module, layer)) {
            continue;
        }
        columns_of(&t->samples[i], x);
        for (int k = 0; k < N_COEFFICIENTS; k++) {
            e.scale[k] = fmax(e.scale[k], x[k]);
        }
        largest = fmax(largest, quantity(&t->samples[i]));
    }
    for (int32_t i = 0; i < t->n_samples && largest > 0.0; i++) {
        double x[N_COEFFICIENTS];
        if (!is_of(&t->samples[i], module, layer)) {
            continue;
        }
        const double y = quantity(&t->samples[i]);
        const double weight = 1.0 / fmax(y, 1e-3 * largest);

        columns_of(&t->samples[i], x);
        for (int k = 0; k < N_COEFFICIENTS; k++) {
            x[k] = e.scale[k] > 0.0 ? weight * x[k] / e.scale[k] : 0.0;
        }
        for (int k = 0; k < N_COEFFICIENTS; k++) {
            for (int j = 0; j < N_COEFFICIENTS; j++) {
                e.a[k][j] += x[k] * x[j];
            }
            e.b[k] += x[k] * weight * y;
        }
        e.c += weight * y * weight * y;
    }
    return e;
}

/* Gaussian elimination with pivots over the chosen columns; false when they
 * depend on each other. */
static bool solve(const equations *e, unsigned chosen,
                  double out[N_COEFFICIENTS])
{
    double m[N_COEFFICIENTS][N_COEFFICIENTS + 1];
    int column[N_COEFFICIENTS];
    int n = 0;

    for (int k = 0; k < N_COEFFICIENTS; k++) {
        out[k] = 0.0;
        if ((chosen >> k & 1U) != 0) {
            column[n++] = k;
        }
    }
    for (int r = 0; r < n; r++) {
        for (int c = 0; c < n; c++) {
            m[r][c] = e->a[column[r]][column[c]];
        }
        m[r][n] = e->b[column[r]];
    }
    for (int c = 0; c < n; c++) {
        int pivot = c;
        for (int r = c + 1; r < n; r++) {
            pivot = fabs(m[r][c]) > fabs(m[pivot][c]) ? r : pivot;
        }
        if (fabs(m[pivot][c]) <= 1e-9 * e->a[column[c]][column[c]]) {
            return false;
        }
        for (int k = 0; k <= n && pivot != c; k++) {
            const double swap = m[c][k];
            m[c][k] = m[pivot][k];
            m[pivot][k] = swap;
        }
        for (int r = 0; r < n; r++) {
            const double factor = r != c ? m[r][c] / m[c][c] : 0.0;
            for (int k = c; k <= n && r != c; k++) {
                m[r][k] -= factor * m[c][k];
            }
        }
    }
    for (int c = 0; c < n; c++) {
        out[column[c]] = m[c][n] / m[c][c];
    }
    return true;
}

static double residual(const equations *e, const double x[N_COEFFICIENTS])
{
    double sum = e->c;

    for (int k = 0; k < N_COEFFICIENTS; k++) {
        sum -= 2.0 * x[k] * e->b[k];
        for (int j = 0; j < N_COEFFICIENTS; j++) {
            sum += x[k] * x[j] * e->a[k][j];
        }
    }
    return fmax(sum, 0.0);
}

static cs_cost_line fit_line(const cs_cost_table *t, int32_t module,
                             int32_t layer, quantity_fn quantity)
{
    /* bit 0 base, bit 1 row, bit 2 pair */
    static const unsigned SUBSETS[] = {2, 6, 3, 7, 4, 5, 1};
    const equations e = gather(t, module, layer, quantity);
    double best = e.c;
    double x[N_COEFFICIENTS] = {0};

    for (size_t i = 0; i < sizeof SUBSETS / sizeof SUBSETS[0]; i++) {
        double y[N_COEFFICIENTS];

        if (!solve(&e, SUBSETS[i], y) || y[0] < 0.0 || y[1] < 0.0 ||
            y[2] < 0.0) {
            continue;
        }
        const double error = residual(&e, y);

        if (error < best - 1e-9 * e.c) {
            best = error;
            memcpy(x, y, sizeof x);
        }
    }
    return (cs_cost_line){
        .base_s = x[0],
        .row_s = e.scale[1] > 0.0 ? x[1] / e.scale[1] : 0.0,
        .pair_s = e.scale[2] > 0.0 ? x[2] / e.scale[2] : 0.0,
    };
}

static bool has_samples(const cs_cost_table *t, int32_t module, int32_t layer)
{
    for (int32_t i = 0; i < t->n_samples; i++) {
        if (is_of(&t->samples[i], module, layer)) {
            return true;
        }
    }
    return false;
}

/* Norms, biases and scales cost time too; so do fused products. */
static bool have_equal_slots(const cs_layer *a, const cs_layer *b)
{
    for (int s = 0; s < CS_SLOT_COUNT; s++) {
        if ((a->param[s] < 0) != (b->param[s] < 0)) {
            return false;
        }
    }
    return true;
}

static bool are_equal_layers(const cs_layer *a, const cs_layer *b)
{
    return a->kind == b->kind && a->in_dim == b->in_dim &&
           a->out_dim == b->out_dim && a->mlp_dim == b->mlp_dim &&
           a->vocab == b->vocab && a->heads == b->heads &&
           a->kv_heads == b->kv_heads && a->head_dim == b->head_dim &&
           a->has_mlp_gate == b->has_mlp_gate && a->is_causal == b->is_causal &&
           a->n_experts == b->n_experts && a->top_k == b->top_k &&
           a->window == b->window && a->rotary_dim == b->rotary_dim &&
           (a->attention_softcap > 0.0) == (b->attention_softcap > 0.0) &&
           have_equal_slots(a, b);
}

/* The layer itself, else the nearest equal one below or above it. */
static int32_t find_measured(const cs_cost_table *t, const cs_graph *graph,
                             int32_t module, int32_t layer)
{
    const cs_module *const m = &graph->modules[module];

    for (int32_t away = 0; away < m->n_layers; away++) {
        for (int32_t side = -1; side <= 1; side += 2) {
            const int32_t other = layer + side * away;
            if (other >= 0 && other < m->n_layers &&
                are_equal_layers(&m->layers[layer], &m->layers[other]) &&
                has_samples(t, module, other)) {
                return other;
            }
        }
    }
    return -1;
}

/* Bounds keep sums and products of amounts finite. */
#define MAX_COUNT   1e18
#define MAX_SECONDS 1e6

static bool is_amount(double x, double most)
{
    return x >= 0.0 && x <= most;
}

static cs_status check_sample(const cs_graph *graph, const cs_cost_sample *s,
                              int32_t index)
{
    CS_CHECK(s->module >= 0 && s->module < graph->n_modules, CS_ERR_ARG,
             "cost sample %d: module %d of %d", index, s->module,
             graph->n_modules);
    CS_CHECK(s->layer >= 0 && s->layer < graph->modules[s->module].n_layers,
             CS_ERR_ARG, "cost sample %d: %s has %d layers, got layer %d",
             index, graph->modules[s->module].name,
             graph->modules[s->module].n_layers, s->layer);
    CS_CHECK(s->rows >= 1.0 && s->rows <= MAX_COUNT, CS_ERR_ARG,
             "cost sample %d: rows wanted 1..%g, got %g", index, MAX_COUNT,
             s->rows);
    CS_CHECK(is_amount(s->forward_s, MAX_SECONDS) &&
                 is_amount(s->backward_input_s, MAX_SECONDS) &&
                 is_amount(s->backward_weight_s, MAX_SECONDS),
             CS_ERR_ARG, "cost sample %d: times wanted 0..%g s, got %g, %g, %g",
             index, MAX_SECONDS, s->forward_s, s->backward_input_s,
             s->backward_weight_s);
    CS_CHECK(is_amount(s->pairs, MAX_COUNT) &&
                 is_amount(s->saved_bytes, MAX_COUNT) &&
                 is_amount(s->spread, MAX_COUNT),
             CS_ERR_ARG,
             "cost sample %d: pairs, bytes and spread wanted 0..%g, got %g, "
             "%g, %g",
             index, MAX_COUNT, s->pairs, s->saved_bytes, s->spread);
    return CS_OK;
}

static cs_status take_samples(const cs_graph *graph,
                              const cs_cost_sample *samples, int32_t n_samples,
                              cs_cost_table *t)
{
    CS_CHECK(n_samples > 0, CS_ERR_ARG, "cost fit: no samples");
    for (int32_t i = 0; i < n_samples; i++) {
        CS_TRY(check_sample(graph, &samples[i], i));
    }
    t->samples = csi_calloc((size_t)n_samples, sizeof *t->samples);
    CS_CHECK(t->samples != NULL, CS_ERR_NOMEM, "no memory for %d samples",
             n_samples);
    memcpy(t->samples, samples, (size_t)n_samples * sizeof *samples);
    t->n_samples = n_samples;
    return CS_OK;
}

static cs_status fit_module(const cs_graph *graph, int32_t module,
                            cs_cost_table *t)
{
    for (int32_t i = 0; i < t->n_layers[module]; i++) {
        const int32_t from = find_measured(t, graph, module, i);

        CS_CHECK(from >= 0, CS_ERR_ARG,
                 "costs: nothing measured for %s layer %d, nor for an equal "
                 "one",
                 graph->modules[module].name, i);
        t->layer[module][i] = (cs_layer_cost){
            .forward = fit_line(t, module, from, forward_of),
            .backward_input = fit_line(t, module, from, backward_input_of),
            .backward_weight = fit_line(t, module, from, backward_weight_of),
        };
    }
    return CS_OK;
}

cs_status cs_cost_fit(const cs_graph *graph, cs_precision precision,
                      const cs_cost_sample *samples, int32_t n_samples,
                      const char *source, cs_cost_table **out)
{
    cs_cost_table *t = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_cost_new(graph, &t));
    t->is_measured = true;
    t->precision = precision;
    (void)snprintf(t->source, sizeof t->source, "%s", source);
    CS_TRY_GOTO(undo, take_samples(graph, samples, n_samples, t));
    for (int32_t m = 0; m < graph->n_modules; m++) {
        CS_TRY_GOTO(undo, fit_module(graph, m, t));
    }
    *out = t;
    return CS_OK;

undo:
    cs_cost_destroy(&t);
    return st;
}
