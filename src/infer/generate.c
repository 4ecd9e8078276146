/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generation with a key/value cache: encoders once, the prompt in one forward,
 * then one token at a time. Words, positions and rotary positions of all
 * tokens to come are made at once: the prompt's runs and one more text run.
 */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/rng.h"

#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct generation {
    cs_model *m;
    const cs_generate_options *o;
    cs_prompt prompt;
    cs_index_run *runs; /* the prompt's and one for the answer */
    cs_index_sample sample;
    cs_index_view view;
    cs_batch_plan *plan;
    csi_arena arena;
    cs_tape *tape;
    cs_value **features; /* [n_encoders], values of input_tape */
    cs_tape *input_tape; /* holds the features */
    cs_kv_cache *caches; /* [language model layers] */
    cs_tile_map tiles, window_tiles;
    uint8_t *is_long; /* [capacity]: ones */
    int32_t *ids;     /* [capacity] */
    int64_t n_ids;
    int64_t capacity;
} generation;

static cs_status make_plan(generation *g, int32_t max_new)
{
    const cs_config *c = g->m->config;
    const int64_t n_runs = g->prompt.n_runs + 1;
    const cs_index_run *last =
        g->prompt.n_runs > 0 ? &g->prompt.runs[g->prompt.n_runs - 1] : NULL;

    g->runs = csi_calloc((size_t)n_runs, sizeof *g->runs);
    CS_CHECK(g->runs != NULL, CS_ERR_NOMEM, "prompt");
    memcpy(g->runs, g->prompt.runs, (size_t)g->prompt.n_runs * sizeof *g->runs);
    g->runs[n_runs - 1] = (cs_index_run){
        .modality = -1,
        .llm_rows = max_new,
        .branch = last != NULL ? last->branch : 0,
    };
    g->capacity = g->prompt.n_tokens + max_new;
    g->sample = (cs_index_sample){
        .n_runs = (int32_t)n_runs,
        .n_tokens = (int32_t)g->capacity,
    };
    g->view = (cs_index_view){
        .n_samples = 1,
        .n_runs = n_runs,
        .samples = &g->sample,
        .runs = g->runs,
        .n_modalities = c->model.n_encoders,
    };
    const cs_batch_settings settings = {
        .global_batch_size = 1,
        .max_tokens_per_microbatch = g->capacity,
        .min_microbatches = 1,
        .n_replicas = 1,
        .attention = c->model.attention,
    };
    CS_TRY(cs_batch_plan_create(&g->plan));
    return cs_batch_plan_range(g->plan, &g->view, &settings, 0, 1);
}

static cs_status take(generation *g, int64_t count, size_t size, void **out)
{
    *out = csi_arena_calloc(&g->arena, (size_t)(count + 1) * size);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "generation");
    return CS_OK;
}

static cs_status read_items(generation *g, int32_t encoder,
                            const cs_batch_modality *items, float **out)
{
    cs_processor processor;
    void *rows = NULL;

    CS_TRY(cs_processor_init(&g->m->graph->modules[encoder],
                             &g->m->config->model.encoders[encoder],
                             &processor));
    CS_TRY(take(g, items->input_rows * processor.columns, sizeof(float),
                &rows));
    for (int64_t i = 0; i < items->n_items; i++) {
        const cs_batch_item *item = &items->items[i];
        CS_TRY(cs_media_read(&processor, g->prompt.run_path[item->run],
                             g->prompt.runs[item->run].input_rows,
                             (float *)rows +
                                 item->input_begin * processor.columns));
    }
    *out = rows;
    return CS_OK;
}

static cs_status encode(generation *g, int32_t encoder)
{
    const cs_graph *graph = g->m->graph;
    const cs_microbatch *mb = &g->plan->microbatches[0];
    cs_module_batch batch = {0};
    cs_value *out = NULL;
    float *input = NULL;
    cs_status st = CS_OK;
    void *copy = NULL;

    CS_TRY(read_items(g, encoder, &mb->modality[encoder], &input));
    CS_TRY_GOTO(done, cs_module_batch_build(graph, encoder, mb, g->m->backend,
                                            &g->arena, &batch));
    cs_nn_batch nn_batch = cs_module_batch_nn(&batch);
    nn_batch.input = input;
    const cs_nn nn = {
        .tape = g->tape,
        .graph = graph,
        .params = g->m->params,
        .module = encoder,
        .batch = &nn_batch,
    };
    csi_arena_reset(&g->m->workspace);
    cs_tape_reset(g->tape, false);
    cs_tape_begin(g->tape);
    CS_TRY_GOTO(done, cs_nn_forward(&nn, 0, graph->modules[encoder].n_layers,
                                    NULL, &out));
    CS_TRY_GOTO(done, take(g, cs_tensor_count(&out->t),
                           cs_dtype_bytes(out->t.dtype), &copy));
    memcpy(copy, out->t.data, cs_tensor_bytes(&out->t));
    cs_tensor t = out->t;
    t.data = copy;
    CS_TRY_GOTO(done,
                cs_tape_input(g->input_tape, t, false, &g->features[encoder]));
done:
    cs_module_batch_fini(&batch);
    return st;
}

static cs_status make_caches(generation *g)
{
    const cs_module *m = &g->m->graph->modules[g->m->graph->n_modules - 1];
    const size_t element = cs_dtype_bytes(g->m->params->dtype);
    void *memory = NULL;

    CS_TRY(take(g, m->n_layers, sizeof *g->caches, &memory));
    g->caches = memory;
    for (int32_t i = 0; i < m->n_layers; i++) {
        const int64_t count = g->capacity * m->layers[i].kv_heads *
                              (int64_t)m->layers[i].head_dim;
        CS_TRY(take(g, count, element, &g->caches[i].k));
        CS_TRY(take(g, count, element, &g->caches[i].v));
    }
    return CS_OK;
}

/* Whether a document of n tokens turns by the long frequencies. */
static bool is_long(const generation *g, int64_t n)
{
    const cs_graph *graph = g->m->graph;
    const int64_t after =
        cs_module_long_after(&graph->modules[graph->n_modules - 1]);

    return after > 0 && n > after;
}

/* Keys turned by the short frequencies are of no use to a long document. */
static void forget(generation *g)
{
    const cs_graph *graph = g->m->graph;

    for (int32_t i = 0; i < graph->modules[graph->n_modules - 1].n_layers;
         i++) {
        g->caches[i].n_tokens = 0;
    }
}

/* Runs tokens [first, first + rows); leaves the logits of the last one. */
static cs_status forward_tokens(generation *g, const cs_module_batch *batch,
                                int64_t first, int64_t rows, cs_value **logits)
{
    const cs_graph *graph = g->m->graph;
    const int32_t lm = cs_graph_language_model(graph);
    const cs_microbatch *mb = &g->plan->microbatches[0];
    const int32_t n_layers = graph->modules[lm].n_layers;
    const int32_t last_row = (int32_t)rows - 1;
    cs_value *out = NULL;
    cs_nn_batch b = {
        .rows = rows,
        .mask = {rows, mb->word + first, mb->position + first},
        .key_mask = {first + rows, mb->word, mb->position},
        .tiles = &g->tiles,
        .window_tiles = &g->window_tiles,
        .is_long = is_long(g, first + rows) ? g->is_long : NULL,
        .caches = g->caches,
        .position = mb->rope_position + first,
        .ids = g->ids + first,
        .n_features = first == 0 ? graph->n_modules - 1 : 0,
        .features = g->features,
        .merge_index = batch->nn.merge_index,
        .logit_rows = &last_row,
        .n_logit_rows = 1,
    };

    CS_TRY(cs_tile_map_build(&g->tiles, &b.mask, &b.key_mask, 0,
                             g->m->backend->q_block, g->m->backend->k_block));
    CS_TRY(cs_tile_map_build(&g->window_tiles, &b.mask, &b.key_mask,
                             cs_module_window(&graph->modules[lm]),
                             g->m->backend->q_block, g->m->backend->k_block));
    const cs_nn nn = {
        .tape = g->tape,
        .graph = graph,
        .params = g->m->params,
        .module = lm,
        .batch = &b,
    };
    csi_arena_reset(&g->m->workspace);
    cs_tape_reset(g->tape, false);
    cs_tape_begin(g->tape);
    CS_TRY(cs_nn_forward(&nn, 0, n_layers, NULL, &out));
    for (int32_t i = 0; i < n_layers; i++) {
        g->caches[i].n_tokens = first + rows;
    }
    *logits = b.logits;
    return CS_OK;
}

typedef struct candidate {
    double p;
    int32_t id;
} candidate;

static int compare_candidates(const void *a, const void *b)
{
    const candidate *x = a;
    const candidate *y = b;

    if (x->p != y->p) {
        return x->p < y->p ? 1 : -1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

/* Greedy at temperature 0; else nucleus sampling (Holtzman et al. 2020): the
 * smallest set of most likely tokens whose probability reaches top_p. */
static cs_status choose(generation *g, const cs_tensor *logits, int64_t draw,
                        int32_t *out)
{
    const int32_t n = cs_tokenizer_size(g->m->tokenizer);
    const double temperature = g->o->temperature;
    cs_status st = CS_OK;
    candidate *c = csi_calloc((size_t)n, sizeof *c);
    double sum = 0.0;
    double kept = 0.0;
    int32_t best = 0;

    CS_CHECK(c != NULL, CS_ERR_NOMEM, "sampling");
    for (int32_t i = 0; i < n; i++) {
        c[i] = (candidate){cs_tensor_get(logits, i), i};
        best = c[i].p > c[best].p ? i : best;
    }
    CS_CHECK_GOTO(done, isfinite(c[best].p), CS_ERR_NUMERIC,
                  "generation: a logit is not finite");
    *out = best;
    if (temperature <= 0.0) {
        goto done;
    }
    const double top = c[best].p;
    for (int32_t i = 0; i < n; i++) {
        c[i].p = exp((c[i].p - top) / temperature);
        sum += c[i].p;
    }
    qsort(c, (size_t)n, sizeof *c, compare_candidates);
    int32_t n_kept = 0;
    while (n_kept < n && kept < g->o->top_p * sum) {
        kept += c[n_kept++].p;
    }
    double left =
        csi_rng_uniform(g->o->seed, csi_hash64("generate"), (uint64_t)draw) *
        kept;
    *out = c[n_kept - 1].id;
    for (int32_t i = 0; i < n_kept; i++) {
        left -= c[i].p;
        if (left < 0.0) {
            *out = c[i].id;
            break;
        }
    }
done:
    csi_free(c);
    return st;
}

/* Bytes of text that end on a whole character. */
static size_t whole_bytes(const char *text)
{
    size_t n = strlen(text);

    for (int back = 0; back < 3 && n > 0; back++) {
        if (n >= 3 && memcmp(text + n - 3, "\xef\xbf\xbd", 3) == 0) {
            n -= 3;
        }
    }
    return n;
}

static cs_status show_text(generation *g, size_t *shown, char **text)
{
    const int64_t from = g->prompt.n_tokens;

    csi_free(*text);
    *text = NULL;
    CS_TRY(cs_tokenizer_decode(g->m->tokenizer, g->ids + from, g->n_ids - from,
                               true, text));
    const size_t n = whole_bytes(*text);
    if (g->o->on_text != NULL && n > *shown) {
        char saved = (*text)[n];
        (*text)[n] = '\0';
        g->o->on_text(g->o->context, *text + *shown);
        (*text)[n] = saved;
        *shown = n;
    }
    return CS_OK;
}

static cs_status generate_tokens(generation *g, char **text)
{
    const cs_graph *graph = g->m->graph;
    const int32_t lm = cs_graph_language_model(graph);
    const int32_t eos = cs_tokenizer_eos(g->m->tokenizer);
    cs_module_batch batch = {0};
    cs_status st = CS_OK;
    int64_t first = 0;
    size_t shown = 0;

    CS_TRY_GOTO(done,
                cs_module_batch_build(graph, lm, &g->plan->microbatches[0],
                                      g->m->backend, &g->arena, &batch));
    CS_TRY_GOTO(done, show_text(g, &shown, text));
    while (g->n_ids < g->capacity) {
        cs_value *logits = NULL;
        int32_t id = 0;
        CS_TRY_GOTO(done, forward_tokens(g, &batch, first, g->n_ids - first,
                                         &logits));
        CS_TRY_GOTO(done, choose(g, &logits->t, g->n_ids, &id));
        first = g->n_ids;
        if (is_long(g, first + 1) && !is_long(g, first)) {
            forget(g);
            first = 0;
        }
        if (id == eos) {
            break;
        }
        g->ids[g->n_ids++] = id;
        CS_TRY_GOTO(done, show_text(g, &shown, text));
    }
done:
    cs_module_batch_fini(&batch);
    return st;
}

static cs_status prepare(generation *g, const cs_prompt_input *input)
{
    cs_model *m = g->m;
    const cs_module *lm = &m->graph->modules[m->graph->n_modules - 1];
    void *memory = NULL;

    CS_TRY(cs_prompt_create(m->config, m->graph, m->tokenizer, input,
                            &g->prompt));
    const int64_t room = lm->max_positions - g->prompt.n_tokens;
    CS_CHECK(room > 0, CS_ERR_ARG,
             "generate: the prompt has %lld tokens, the model's context %lld",
             (long long)g->prompt.n_tokens, (long long)lm->max_positions);
    CS_TRY(make_plan(g, (int32_t)csi_min_i64(g->o->max_new_tokens, room)));
    CS_TRY(take(g, g->capacity, sizeof(int32_t), &memory));
    g->ids = memory;
    memcpy(g->ids, g->prompt.ids, (size_t)g->prompt.n_tokens * sizeof *g->ids);
    g->n_ids = g->prompt.n_tokens;
    CS_TRY(take(g, g->capacity, sizeof(uint8_t), &memory));
    g->is_long = memory;
    memset(g->is_long, 1, (size_t)g->capacity);
    CS_TRY(take(g, m->graph->n_modules, sizeof(cs_value *), &memory));
    g->features = memory;
    CS_TRY(cs_tape_create(m->backend, &m->workspace, m->params->dtype,
                          &g->tape));
    CS_TRY(cs_tape_create(m->backend, &m->workspace, m->params->dtype,
                          &g->input_tape));
    cs_tape_reset(g->input_tape, false);
    for (int32_t e = 0; e < m->graph->n_modules - 1; e++) {
        if (g->plan->microbatches[0].modality[e].n_items > 0) {
            CS_TRY(encode(g, e));
        }
    }
    return make_caches(g);
}

cs_status cs_model_generate(cs_model *model, const cs_prompt_input *input,
                            const cs_generate_options *options, char **text)
{
    generation g = {.m = model, .o = options};
    cs_status st = CS_OK;
    char *answer = NULL;

    CS_CHECK(options->max_new_tokens >= 1, CS_ERR_ARG,
             "generate: max_new_tokens wanted at least 1, got %d",
             options->max_new_tokens);
    CS_CHECK(options->temperature >= 0.0 && options->top_p > 0.0 &&
                 options->top_p <= 1.0,
             CS_ERR_ARG,
             "generate: wanted temperature >= 0 and 0 < top_p <= 1, got %g and "
             "%g",
             options->temperature, options->top_p);
    csi_arena_init(&g.arena, 1 << 20);
    CS_TRY_GOTO(done, prepare(&g, input));
    CS_TRY_GOTO(done, generate_tokens(&g, &answer));
    *text = answer;
    answer = NULL;
done:
    csi_free(answer);
    csi_free(g.runs);
    cs_tape_destroy(&g.tape);
    cs_tape_destroy(&g.input_tape);
    cs_tile_map_fini(&g.tiles);
    cs_tile_map_fini(&g.window_tiles);
    cs_batch_plan_destroy(&g.plan);
    cs_prompt_fini(&g.prompt);
    csi_arena_fini(&g.arena);
    return st;
}
