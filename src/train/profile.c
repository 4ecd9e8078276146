/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures every layer of a recipe's model on this machine: forward, input
 * half and weight half apart, on microbatches as large as training's and on
 * smaller ones, so that a line can be fitted. Sizes are those of the real
 * data; values are drawn, because time does not depend on them. Everything is
 * measured as trainable: the frozen rules decide later what runs.
 */
#include "cornstarch/version.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"

#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    N_SIZES = 3,
    N_REPEATS = 5,
    MAX_SAMPLES = 4096
};

typedef struct profiler {
    csi_run run;
    cs_backend *backend;
    cs_param_set *params;
    cs_tape *tape;
    cs_batch_plan *plan;
    csi_arena workspace, arena;
    cs_cost_sample *samples; /* [MAX_SAMPLES] */
    int32_t n_samples;
} profiler;

static cs_status take(profiler *p, int64_t count, size_t size, void **out)
{
    *out = csi_arena_calloc(&p->arena, (size_t)(count + 1) * size);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "profile");
    return CS_OK;
}

/* Fills a batch of drawn values for the module. */
static cs_status make_batch(profiler *p, int32_t module,
                            const cs_microbatch *mb, cs_module_batch *batch,
                            cs_nn_batch *out)
{
    const cs_graph *g = p->run.graph;
    const cs_module *m = &g->modules[module];
    void *memory = NULL;

    CS_TRY(cs_module_batch_build(g, module, mb, p->backend, &p->arena, batch));
    *out = cs_module_batch_nn(batch);
    if (module != cs_graph_language_model(g)) {
        const int64_t count = out->input_rows * m->layers[0].in_dim;
        CS_TRY(take(p, count, sizeof(float), &memory));
        float *input = memory;
        for (int64_t i = 0; i < count; i++) {
            input[i] = (float)csi_rng_normal(1, 2, (uint64_t)i);
        }
        out->input = input;
        return CS_OK;
    }
    CS_TRY(take(p, 2 * out->rows, sizeof(int32_t), &memory));
    int32_t *ids = memory;
    for (int64_t i = 0; i < 2 * out->rows; i++) {
        ids[i] = (int32_t)csi_rng_below(1, 3, (uint64_t)i, (uint64_t)m->vocab);
    }
    CS_TRY(take(p, 1, sizeof(double), &memory));
    out->ids = ids;
    out->merge_index = NULL;
    out->loss = (cs_tape_loss_args){
        .labels = ids + out->rows,
        .loss_scale = 1.0 / (double)out->rows,
        .loss_sum = memory,
    };
    return CS_OK;
}

/* The hidden state before `layer`, drawn. */
static cs_status make_input(profiler *p, const cs_layer *layer, int64_t rows,
                            void **data)
{
    const int64_t count = rows * layer->in_dim;
    cs_tensor t = {0};

    CS_TRY(take(p, count, cs_dtype_bytes(p->params->dtype), data));
    t = cs_tensor_2d(*data, p->params->dtype, rows, layer->in_dim);
    for (int64_t i = 0; i < count; i++) {
        cs_tensor_set(&t, i, csi_rng_normal(1, 4, (uint64_t)i));
    }
    return CS_OK;
}

typedef struct times {
    double forward_s, backward_input_s, backward_weight_s, saved_bytes;
} times;

static cs_status run_layer(profiler *p, const cs_nn *nn, int32_t layer,
                           void *input, int64_t rows, times *out)
{
    const cs_layer *l = &p->run.graph->modules[nn->module].layers[layer];
    cs_value *x = NULL;
    cs_value *y = NULL;

    csi_arena_reset(&p->workspace);
    cs_tape_reset(p->tape, true);
    if (layer > 0) {
        CS_TRY(cs_tape_input(p->tape,
                             cs_tensor_2d(input, p->params->dtype, rows,
                                          l->in_dim),
                             true, &x));
    }
    cs_tape_begin(p->tape);
    const double start = csi_clock_s();
    CS_TRY(cs_nn_forward(nn, layer, layer + 1, x, &y));
    const double forward_end = csi_clock_s();
    if (y != NULL) {
        y->grad = NULL;
        CS_TRY(cs_tape_alloc(p->tape, CS_KEEP_PRODUCT, cs_tensor_bytes(&y->t),
                             &y->grad));
        memset(y->grad, 0, cs_tensor_bytes(&y->t));
        y->grad_where = CS_KEEP_PRODUCT;
    }
    const size_t saved =
        cs_tape_saved_bytes(p->tape) + cs_tape_deferred_bytes(p->tape);
    csi_arena_reset(&p->workspace);
    const double backward_start = csi_clock_s();
    CS_TRY(cs_tape_backward_input(p->tape, y));
    const double backward_end = csi_clock_s();
    CS_TRY(cs_tape_backward_weight(p->tape));
    *out = (times){
        .forward_s = forward_end - start,
        .backward_input_s = backward_end - backward_start,
        .backward_weight_s = csi_clock_s() - backward_end,
        .saved_bytes = (double)saved,
    };
    return CS_OK;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The fastest repetition: other load on the machine only ever adds. Sorts. */
static double fastest(double *values)
{
    qsort(values, N_REPEATS, sizeof *values, compare_doubles);
    return values[0];
}

static cs_status measure_layer(profiler *p, const cs_nn *nn, int32_t layer,
                               void *input, int64_t rows, double pairs)
{
    double forward[N_REPEATS];
    double backward_input[N_REPEATS];
    double backward_weight[N_REPEATS];
    times t = {0};

    CS_TRY(run_layer(p, nn, layer, input, rows, &t)); /* warm-up */
    for (int i = 0; i < N_REPEATS; i++) {
        CS_TRY(run_layer(p, nn, layer, input, rows, &t));
        forward[i] = t.forward_s;
        backward_input[i] = t.backward_input_s;
        backward_weight[i] = t.backward_weight_s;
    }
    CS_CHECK(p->n_samples < MAX_SAMPLES, CS_ERR_UNSUPPORTED,
             "unsupported: profile of more than %d layers", MAX_SAMPLES);
    cs_cost_sample *s = &p->samples[p->n_samples++];
    *s = (cs_cost_sample){
        .module = nn->module,
        .layer = layer,
        .rows = (double)rows,
        .pairs = pairs,
        .forward_s = fastest(forward),
        .backward_input_s = fastest(backward_input),
        .backward_weight_s = fastest(backward_weight),
        .saved_bytes = t.saved_bytes,
    };
    s->spread = (forward[N_REPEATS - 1] - forward[0]) / s->forward_s;
    return CS_OK;
}

static cs_status measure_module(profiler *p, int32_t module,
                                const cs_microbatch *mb, const cs_work *work)
{
    const cs_graph *g = p->run.graph;
    const cs_module *m = &g->modules[module];
    cs_module_batch batch = {0};
    cs_nn_batch nn_batch;
    cs_status st = CS_OK;

    csi_arena_reset(&p->arena);
    CS_TRY_GOTO(done, make_batch(p, module, mb, &batch, &nn_batch));
    const cs_nn nn = {
        .tape = p->tape,
        .graph = g,
        .params = p->params,
        .module = module,
        .batch = &nn_batch,
    };
    for (int32_t i = 0; i < m->n_layers; i++) {
        const bool is_projector = m->layers[i].kind == CS_LAYER_PROJECTOR;
        const int64_t rows =
            is_projector ? nn_batch.feature_rows : nn_batch.rows;
        void *input = NULL;
        CS_TRY_GOTO(done, make_input(p, &m->layers[i], rows, &input));
        CS_TRY_GOTO(done,
                    measure_layer(p, &nn, i, input, rows,
                                  cs_layer_pairs(&m->layers[i], (double)rows,
                                                 work->pairs)));
    }
done:
    cs_module_batch_fini(&batch);
    return st;
}

static cs_status measure_size(profiler *p, int64_t max_tokens)
{
    const cs_graph *g = p->run.graph;
    cs_batch_settings settings = p->run.settings;
    cs_work *work = NULL;
    cs_status st = CS_OK;

    settings.n_replicas = 1;
    settings.max_tokens_per_microbatch = max_tokens;
    CS_TRY(cs_batch_plan_build(p->plan, cs_dataset_index(p->run.train),
                               &settings, 1, NULL, 0));
    CS_TRY(csi_plan_work(g, p->plan, &work));
    for (int32_t m = 0; m < g->n_modules; m++) {
        int32_t best = 0;
        for (int32_t b = 1; b < p->plan->n_microbatches; b++) {
            if (work[b * g->n_modules + m].rows >
                work[best * g->n_modules + m].rows) {
                best = b;
            }
        }
        const cs_work *w = &work[best * g->n_modules + m];
        if (w->rows > 0.0) {
            CS_TRY_GOTO(done,
                        measure_module(p, m, &p->plan->microbatches[best], w));
        }
    }
done:
    csi_free(work);
    return st;
}

static cs_status measure(profiler *p, const char *backend, int32_t n_threads)
{
    cs_graph *g = p->run.graph;
    const cs_dtype dtype =
        p->run.config->training.precision == CS_PRECISION_BF16 ? CS_BF16
                                                               : CS_F32;
    cs_status st = CS_OK;
    int64_t longest = 1;
    bool *held = csi_calloc((size_t)g->n_params, sizeof *held);

    CS_CHECK(held != NULL, CS_ERR_NOMEM, "profile");
    for (int32_t i = 0; i < g->n_params; i++) {
        held[i] = true;
        g->params[i].is_trainable = g->params[i].init != CS_INIT_SINUSOID;
    }
    CS_TRY_GOTO(done, cs_backend_create(backend, n_threads, &p->backend));
    CS_TRY_GOTO(done, cs_param_set_create(g, held, dtype, true, &p->params));
    cs_param_set_init(p->params, 1);
    CS_TRY_GOTO(done,
                cs_tape_create(p->backend, &p->workspace, dtype, &p->tape));
    CS_TRY_GOTO(done, cs_batch_plan_create(&p->plan));
    const cs_index_view *view = cs_dataset_index(p->run.train);
    for (int64_t i = 0; i < view->n_samples; i++) {
        longest = view->samples[i].n_tokens > longest
                      ? view->samples[i].n_tokens
                      : longest;
    }
    for (int i = 0; i < N_SIZES; i++) {
        const int64_t cap = p->run.settings.max_tokens_per_microbatch >> i;
        CS_TRY_GOTO(done, measure_size(p, cap > longest ? cap : longest));
    }
done:
    csi_free(held);
    return st;
}

static cs_status print_table(const profiler *p, char **out)
{
    const cs_graph *g = p->run.graph;
    csi_str text = {0};

    csi_str_addf(&text, "%-16s %5s %7s %12s %12s %12s %7s\n", "module", "layer",
                 "rows", "forward ms", "input ms", "weight ms", "spread");
    for (int32_t i = 0; i < p->n_samples; i++) {
        const cs_cost_sample *s = &p->samples[i];
        csi_str_addf(&text, "%-16s %5d %7.0f %12.3f %12.3f %12.3f %6.0f%%\n",
                     g->modules[s->module].name, s->layer, s->rows,
                     s->forward_s * 1e3, s->backward_input_s * 1e3,
                     s->backward_weight_s * 1e3, s->spread * 100.0);
    }
    const cs_status st = csi_str_check(&text);
    if (st != CS_OK) {
        csi_str_fini(&text);
        return cs_pass_at(__FILE__, __LINE__, __func__, st);
    }
    *out = text.data;
    return CS_OK;
}

static cs_status save(const profiler *p, const char *path)
{
    cs_cost_table *table = NULL;
    char machine[128];
    char *folder = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_format(machine, sizeof machine, "%s %s, %d threads",
                      p->backend->name, p->backend->detail,
                      p->backend->n_threads));
    CS_TRY(cs_cost_fit(p->run.graph, p->run.config->training.precision,
                       p->samples, p->n_samples, machine, &table));
    CS_TRY_GOTO(done, csi_path_dir(path, &folder));
    CS_TRY_GOTO(done, csi_dir_create(folder));
    CS_TRY_GOTO(done, cs_cost_save(table, p->run.graph, machine,
                                   CORNSTARCH_COMMIT, path));
done:
    csi_free(folder);
    cs_cost_destroy(&table);
    return st;
}

cs_status cs_profile(const cs_config *config, const char *backend,
                     int32_t n_threads, const char *path, char **table)
{
    const cs_train_options options = {
        .config = config,
        .run_folder = config->output_dir,
        .n_ranks = 1,
        .backend = backend,
        .quiet = true,
    };
    profiler p = {0};
    cs_status st = CS_OK;

    csi_arena_init(&p.workspace, 0);
    csi_arena_init(&p.arena, 0);
    p.samples = csi_calloc(MAX_SAMPLES, sizeof *p.samples);
    CS_CHECK(p.samples != NULL, CS_ERR_NOMEM, "profile");
    CS_TRY_GOTO(done, csi_run_create(&p.run, &options));
    CS_TRY_GOTO(done, measure(&p, backend, n_threads));
    CS_TRY_GOTO(done, save(&p, path));
    CS_TRY_GOTO(done, print_table(&p, table));
done:
    csi_free(p.samples);
    cs_tape_destroy(&p.tape);
    cs_batch_plan_destroy(&p.plan);
    cs_param_set_destroy(&p.params);
    cs_backend_destroy(&p.backend);
    csi_arena_fini(&p.workspace);
    csi_arena_fini(&p.arena);
    if (p.run.config != NULL) {
        csi_run_destroy(&p.run);
    }
    return st;
}
