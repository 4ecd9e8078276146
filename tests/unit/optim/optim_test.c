/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AdamW beside PyTorch's, which parameter learns how fast, the course of the
 * learning rate by hand, and a gradient norm whose bits do not depend on who
 * holds what.
 */
#include "cornstarch/optim.h"
#include "cornstarch/safetensors.h"

#include "unit/nn/tiny.h"

#include <math.h>
#include <stdlib.h>

/* --- beside PyTorch -------------------------------------------------------- */

#define LLAMA_FOLDER "tests/golden/nn/llama"

/* As in tools/golden/nn.py: pseudo_gradient(). */
static double pseudo_gradient(int64_t i, int64_t param, int64_t step)
{
    const int64_t n = (i * 7 + step * 3 + param) % 11 - 5;
    const double g = (double)n / 16.0 * pow(2.0, -(double)(param % 5));

    return step == 4 ? g * 0.001 : g;
}

static int compare_names(const void *a, const void *b)
{
    const cs_param_state *const *x = a;
    const cs_param_state *const *y = b;

    return strcmp((*x)->spec->name, (*y)->spec->name);
}

/* Loads the values that the golden run began with. */
static void load_llama(cs_param_set *params)
{
    cs_safetensors *file = NULL;

    assert_ok(cs_safetensors_open_folder(cst_source_path(LLAMA_FOLDER), &file));
    for (int32_t i = 0; i < params->n; i++) {
        const cs_safetensor *t =
            cs_safetensors_find(file, params->items[i].spec->name);
        assert_non_null(t);
        assert_ok(cs_param_store(params, i, t->dtype, t->data));
    }
    cs_safetensors_close(&file);
}

static void check_golden(cs_dtype dtype, double tolerance)
{
    static const char YAML[] =
        "version: 1\nmodel:\n  language_model: {from: " LLAMA_FOLDER "}\n"
        "data:\n  train: [{path: t.json}]\n"
        "training: {max_steps: 6, optimizer: {learning_rate: 0.01, betas: "
        "[0.9, 0.98], eps: 1.0e-6, weight_decay: 0.1, no_decay: [norm]}}\n";
    enum {
        MAX_PARAMS = 64
    };
    tiny t = {0};
    cs_param_set *params = NULL;
    cs_backend *backend = NULL;
    cs_optim *optim = NULL;
    cs_safetensors *golden = NULL;
    cs_comm *world = NULL;
    double norms[6];
    cs_param_state *sorted[MAX_PARAMS];

    csi_arena_init(&t.arena, 0);
    assert_ok(cs_config_parse(YAML, strlen(YAML), CST_SOURCE_DIR, NULL, 0,
                              &t.config));
    assert_ok(cs_zoo_build(t.config, &t.graph));
    tiny_params(&t, dtype, &params);
    load_llama(params);
    assert_ok(cs_backend_create("ref", 1, &backend));
    assert_ok(cs_comm_local_create(1, 10.0, &world));
    assert_ok(cs_optim_create(t.config, t.graph, params, backend, &optim));
    assert_ok(cs_safetensors_open(
        cst_source_path("tests/golden/nn/adamw/golden.safetensors"), &golden));
    assert_ok(cs_safetensors_read(cs_safetensors_find(golden, "norms"), NULL,
                                  CS_F64, norms));
    assert_true(params->n <= MAX_PARAMS);
    for (int32_t i = 0; i < params->n; i++) {
        sorted[i] = &params->items[i];
    }
    qsort(sorted, (size_t)params->n, sizeof *sorted, compare_names);
    for (int64_t step = 1; step <= 6; step++) {
        for (int32_t k = 0; k < params->n; k++) {
            const cs_tensor grad = {sorted[k]->grad, params->real,
                                    sorted[k]->spec->shape};
            for (int64_t i = 0; i < sorted[k]->count; i++) {
                cs_tensor_set(&grad, i, pseudo_gradient(i, k, step));
            }
        }
        cs_step_sums sums = {0};
        assert_ok(cs_optim_reduce_sums(optim, world, true, NULL, &sums));
        assert_near(sums.grad_norm, norms[step - 1], 1e-6);
        const double scale = fmin(1.0, 1.0 / (norms[step - 1] + 1e-6));
        assert_ok(cs_optim_step(optim, step, 0.01, scale));
    }
    for (int32_t i = 0; i < params->n; i++) {
        char name[256];
        double *wanted = NULL;
        assert_ok(csi_format(name, sizeof name, "after.%s",
                             params->items[i].spec->name));
        wanted = tiny_take(&t, params->items[i].count, sizeof *wanted);
        assert_ok(cs_safetensors_read(cs_safetensors_find(golden, name), NULL,
                                      CS_F64, wanted));
        for (int64_t k = 0; k < params->items[i].count; k++) {
            assert_near(cs_tensor_get(&params->items[i].working, k), wanted[k],
                        tolerance);
        }
    }
    cs_safetensors_close(&golden);
    cs_optim_destroy(&optim);
    cs_comm_destroy(&world);
    cs_backend_destroy(&backend);
    cs_param_set_destroy(&params);
    tiny_end(&t);
}

/* f64: rounding of six updates. f32: each update is 0.01 at most and right to
 * 1e-5, values near 1 are right to 6e-8 each time. */
static void adamw_is_pytorchs(void **state)
{
    (void)state;
    check_golden(CS_F64, 1e-14);
    check_golden(CS_F32, 1e-6);
}

/* --- rates and decays of single parameters ---------------------------------- */

typedef struct world {
    tiny t;
    cs_param_set *params;
    cs_backend *backend;
    cs_optim *optim;
} world;

#define TRAINING(more)                                         \
    "training={max_steps: 1, optimizer: {learning_rate: 0.5, " \
    "weight_decay: 0.25, eps: 1.0e-12" more "}}"
#define OVERRIDES(modules)                                     \
    "training={max_steps: 1, optimizer: {learning_rate: 0.5, " \
    "weight_decay: 0.25, eps: 1.0e-12}, modules: {" modules "}}"

static void begin(world *w, const char *const *overrides, int32_t n,
                  cs_dtype dtype)
{
    *w = (world){0};
    tiny_build(&w->t, TINY_BOTH, overrides, n);
    tiny_params(&w->t, dtype, &w->params);
    assert_ok(cs_backend_create("ref", 1, &w->backend));
    assert_ok(cs_optim_create(w->t.config, w->t.graph, w->params, w->backend,
                              &w->optim));
}

static void end(world *w)
{
    cs_optim_destroy(&w->optim);
    cs_backend_destroy(&w->backend);
    cs_param_set_destroy(&w->params);
    tiny_end(&w->t);
}

static const cs_param_state *find(const world *w, const char *name)
{
    const int32_t i = cs_graph_find_param(w->t.graph, name);

    assert_true(i >= 0);
    return cs_param_find(w->params, i);
}

/* The first update of AdamW moves each element by rate x sign of its gradient:
 * from the first two elements, with gradients 1 and 0, follow rate and decay. */
static void check_rates(world *w, const char *name, double rate, double decay)
{
    const cs_param_state *p = find(w, name);
    const double before[2] = {((double *)p->master)[0],
                              ((double *)p->master)[1]};

    cs_param_set_zero_grads(w->params);
    memset(p->m, 0, (size_t)p->count * sizeof(double));
    memset(p->v, 0, (size_t)p->count * sizeof(double));
    ((double *)p->grad)[0] = 1.0;
    assert_ok(cs_optim_step(w->optim, 1, 0.5, 1.0));
    const double *after = p->master;
    assert_near(before[1] - after[1], rate * decay * before[1], 1e-12);
    assert_near(before[0] - after[0], rate * (1.0 + decay * before[0]), 1e-9);
}

#define WEIGHT    "language_model.model.layers.0.self_attn.q_proj.weight"
#define NORM      "language_model.model.norm.weight"
#define EMBEDDING "language_model.model.embed_tokens.weight"
#define HEAD      "language_model.lm_head.weight"
#define BIAS      "vision.vision_model.encoder.layers.0.mlp.fc1.bias"
#define POSITIONS "vision.vision_model.embeddings.position_embedding.weight"
#define PROJECTOR "vision.projector.linear_1.weight"
#define AUDIO     "audio.layers.0.fc1.weight"

static void biases_norms_and_embeddings_do_not_decay(void **state)
{
    (void)state;
    static const char *const DEFAULT[] = {TRAINING("")};
    static const char *const NONE[] = {TRAINING(", no_decay: []")};
    world w;

    begin(&w, DEFAULT, 1, CS_F64);
    check_rates(&w, WEIGHT, 0.5, 0.25);
    check_rates(&w, HEAD, 0.5, 0.25);
    check_rates(&w, PROJECTOR, 0.5, 0.25);
    check_rates(&w, NORM, 0.5, 0.0);
    check_rates(&w, EMBEDDING, 0.5, 0.0);
    check_rates(&w, POSITIONS, 0.5, 0.0);
    check_rates(&w, BIAS, 0.5, 0.0);
    end(&w);
    begin(&w, NONE, 1, CS_F64);
    check_rates(&w, NORM, 0.5, 0.25);
    check_rates(&w, EMBEDDING, 0.5, 0.25);
    check_rates(&w, BIAS, 0.5, 0.25);
    end(&w);
}

static void overrides_apply_in_their_order(void **state)
{
    (void)state;
    static const char *const SOME[] = {OVERRIDES(
        "vision: {learning_rate: 0.1}, "
        "\"^vision\\\\.projector\": {learning_rate: 0.2, weight_decay: 0.5}, "
        "\"norm\": {weight_decay: 0.125}, "
        "\"\\\\.fc1\\\\.\": {learning_rate: 0.05}")};
    world w;

    begin(&w, SOME, 1, CS_F64);
    check_rates(&w, WEIGHT, 0.5, 0.25);
    check_rates(&w, NORM, 0.5, 0.125);
    check_rates(&w, POSITIONS, 0.1, 0.0);
    check_rates(&w, PROJECTOR, 0.2, 0.5);
    check_rates(&w, BIAS, 0.05, 0.0);
    check_rates(&w, AUDIO, 0.05, 0.25);
    /* with the schedule, overrides scale alike */
    const cs_param_state *p = find(&w, PROJECTOR);
    const double before = ((double *)p->master)[1];
    cs_param_set_zero_grads(w.params);
    assert_ok(cs_optim_step(w.optim, 2, 0.25, 1.0));
    const double *m = p->m;
    assert_true(m[1] == 0.0);
    assert_near(before - ((double *)p->master)[1], 0.1 * 0.5 * before, 1e-12);
    end(&w);
}

/* A head whose embedding is on another rank must make the same update. */
static void a_tied_parameter_moves_like_its_twin(void **state)
{
    (void)state;
    static const char *const RATE[] = {
        OVERRIDES("\"embed_tokens\": {learning_rate: 0.1}")};
    world w = {0};
    bool held[256];

    tiny_build(&w.t, TINY_BOTH, RATE, 1);
    const int32_t table = cs_graph_find_param(w.t.graph, EMBEDDING);
    const int32_t head = cs_graph_find_param(w.t.graph, HEAD);
    assert_true(table >= 0 && head >= 0 && w.t.graph->n_params <= 256);
    w.t.graph->params[head].tied_to = table;
    for (int32_t i = 0; i < w.t.graph->n_params; i++) {
        held[i] = i != table;
    }
    assert_ok(cs_param_set_create(w.t.graph, held, CS_F64, true, &w.params));
    tiny_init(w.params);
    assert_ok(cs_backend_create("ref", 1, &w.backend));
    assert_ok(cs_optim_create(w.t.config, w.t.graph, w.params, w.backend,
                              &w.optim));
    check_rates(&w, HEAD, 0.1, 0.0);
    end(&w);
}

static void an_override_of_nothing_is_refused(void **state)
{
    (void)state;
    static const char *const NOBODY[] = {
        OVERRIDES("vizion: {learning_rate: 0.1}")};
    static const char *const BROKEN[] = {
        OVERRIDES("\"vision(\": {learning_rate: 0.1}")};
    world w;

    for (int i = 0; i < 2; i++) {
        w = (world){0};
        cs_optim *optim = NULL;
        tiny_build(&w.t, TINY_BOTH, i == 0 ? NOBODY : BROKEN, 1);
        tiny_params(&w.t, CS_F32, &w.params);
        assert_ok(cs_backend_create("ref", 1, &w.backend));
        assert_fails(cs_optim_create(w.t.config, w.t.graph, w.params, w.backend,
                                     &optim),
                     CS_ERR_ARG,
                     i == 0 ? "'vizion' matches no module and no parameter"
                            : "'vision(' is neither");
        assert_null(optim);
        end(&w);
    }
}

/* bf16: the master is f32, the working copy its rounding. Frozen ones stay. */
static void working_copies_follow_and_frozen_ones_stay(void **state)
{
    (void)state;
    static const char *const FROZEN[] = {TRAINING(""),
                                         "model.language_model.freeze=true"};
    world w;

    begin(&w, FROZEN, 2, CS_BF16);
    const cs_param_state *frozen = find(&w, WEIGHT);
    const cs_param_state *p = find(&w, PROJECTOR);
    const double before = cs_tensor_get(&frozen->working, 0);
    assert_null(frozen->grad);
    for (int64_t i = 0; i < p->count; i++) {
        ((float *)p->grad)[i] = i % 2 == 0 ? 1.0F : -3.0F;
    }
    assert_ok(cs_optim_step(w.optim, 1, 0.5, 0.5));
    assert_true(cs_tensor_get(&frozen->working, 0) == before);
    for (int64_t i = 0; i < p->count; i++) {
        const cs_tensor working = p->working;
        uint16_t rounded = 0;
        const cs_tensor one = cs_tensor_1d(&rounded, CS_BF16, 1);
        cs_tensor_set(&one, 0, (double)((float *)p->master)[i]);
        assert_true(cs_tensor_get(&working, i) == cs_tensor_get(&one, 0));
        assert_near(((float *)p->m)[i], i % 2 == 0 ? 0.05 : -0.15, 1e-6);
    }
    end(&w);
}

/* --- sums ---------------------------------------------------------------------- */

typedef struct split {
    const tiny *t;
    int32_t
        n_parts; /* ranks of a replica: parameter i is of rank i % n_parts */
    cs_step_sums sums[8];
} split;

static void fill_gradient(const cs_param_state *p)
{
    for (int64_t k = 0; k < p->count; k++) {
        ((float *)p->grad)[k] =
            (float)csi_rng_normal(8, csi_hash64(p->spec->global_name),
                                  (uint64_t)k);
    }
}

static cs_status sum_part(cs_comm *comm, void *arg)
{
    split *s = arg;
    const cs_graph *graph = s->t->graph;
    bool held[256] = {false};
    cs_param_set *params = NULL;
    cs_backend *backend = NULL;
    cs_optim *optim = NULL;
    const bool is_first = comm->rank < s->n_parts;
    cs_step_sums sums = {.loss_sum = 1.5 + comm->rank,
                         .n_correct = comm->rank,
                         .label_tokens = 10};
    cs_status st = CS_OK;

    for (int32_t i = 0; i < graph->n_params; i++) {
        held[i] = i % s->n_parts == comm->rank % s->n_parts;
    }
    CS_TRY_GOTO(done, cs_param_set_create(graph, held, CS_F32, true, &params));
    CS_TRY_GOTO(done, cs_backend_create("ref", 1, &backend));
    CS_TRY_GOTO(done,
                cs_optim_create(s->t->config, graph, params, backend, &optim));
    for (int32_t i = 0; i < params->n; i++) {
        if (params->items[i].grad != NULL) {
            fill_gradient(&params->items[i]);
        }
    }
    CS_TRY_GOTO(done, cs_optim_reduce_sums(optim, comm, is_first, NULL, &sums));
    s->sums[comm->rank] = sums;
done:
    cs_optim_destroy(&optim);
    cs_backend_destroy(&backend);
    cs_param_set_destroy(&params);
    return st;
}

static void the_norm_does_not_depend_on_who_holds_what(void **state)
{
    (void)state;
    static const int32_t RANKS[][2] = {{2, 2}, {3, 3}, {5, 5}, {4, 2}, {6, 3}};
    static const char *const FROZEN[] = {"model.encoders.vision.freeze=true"};
    tiny t;
    split one = {.n_parts = 1};
    double squares = 0.0;

    tiny_build(&t, TINY_BOTH, FROZEN, 1);
    one.t = &t;
    assert_ok(cs_comm_local_run(1, 10.0, sum_part, &one));
    for (int32_t i = 0; i < t.graph->n_params; i++) {
        const cs_param *p = &t.graph->params[i];
        for (int64_t k = 0; p->is_trainable && k < cs_shape_count(&p->shape);
             k++) {
            const double g =
                csi_rng_normal(8, csi_hash64(p->global_name), (uint64_t)k);
            squares += g * g;
        }
    }
    assert_near(one.sums[0].grad_norm, sqrt(squares), 1e-6);
    for (size_t r = 0; r < sizeof RANKS / sizeof RANKS[0]; r++) {
        const int32_t n = RANKS[r][0];
        split s = {.t = &t, .n_parts = RANKS[r][1]};
        assert_ok(cs_comm_local_run(n, 10.0, sum_part, &s));
        for (int32_t i = 0; i < n; i++) {
            assert_true(s.sums[i].grad_norm == one.sums[0].grad_norm);
            assert_true(s.sums[i].loss_sum == 1.5 * n + n * (n - 1) / 2.0);
            assert_true(s.sums[i].n_correct == n * (n - 1) / 2.0);
            assert_true(s.sums[i].label_tokens == 10.0 * n);
        }
    }
    tiny_end(&t);
}

/* --- the learning rate -------------------------------------------------------- */

typedef struct course {
    const char *scheduler;
    int64_t n_steps;
    double rate[8]; /* of steps 1, 2, ...; highest 1 */
} course;

/* Worked out with pencil and paper. */
static const course COURSES[] = {
    {"{name: constant}", 4, {1, 1, 1, 1}},
    {"{name: constant, warmup_steps: 3, min_lr_ratio: 0.5}",
     5,
     {0.25, 0.5, 0.75, 1, 1}},
    {"{name: linear}", 4, {1, 0.75, 0.5, 0.25}},
    {"{name: linear, min_lr_ratio: 0.2}", 4, {1, 0.8, 0.6, 0.4}},
    {"{name: linear, warmup_steps: 1}", 5, {0.5, 1, 0.75, 0.5, 0.25}},
    /* cos 0, 60, 120 degrees */
    {"{name: cosine}", 3, {1, 0.75, 0.25}},
    {"{name: cosine, min_lr_ratio: 0.1}", 3, {1, 0.775, 0.325}},
    {"{name: cosine, warmup_steps: 1}", 4, {0.5, 1, 0.75, 0.25}},
    {"{name: cosine, warmup_ratio: 0.4}", 5, {1 / 3.0, 2 / 3.0, 1, 0.75, 0.25}},
    {"{name: cosine, warmup_ratio: 0.3}", 5, {1 / 3.0, 2 / 3.0, 1, 0.75, 0.25}},
    /* the warm-up is all there is */
    {"{name: cosine, warmup_steps: 3}", 3, {0.25, 0.5, 0.75}},
    {"{name: cosine, warmup_steps: 9}", 3, {0.1, 0.2, 0.3}},
};

static cs_config *scheduled(const char *scheduler)
{
    char override[200];
    const char *const overrides[] = {override};
    cs_config *config = NULL;

    assert_ok(csi_format(override, sizeof override,
                         "training={max_steps: 1, optimizer: {learning_rate: "
                         "1.0}, lr_scheduler: %s}",
                         scheduler));
    assert_ok(cs_config_parse(TINY_BOTH, strlen(TINY_BOTH), ".", overrides, 1,
                              &config));
    return config;
}

static void the_learning_rate_runs_as_worked_out(void **state)
{
    (void)state;

    for (size_t i = 0; i < sizeof COURSES / sizeof COURSES[0]; i++) {
        const course *c = &COURSES[i];
        cs_config *config = scheduled(c->scheduler);
        for (int64_t step = 1; step <= c->n_steps; step++) {
            const double got = cs_learning_rate(config, step, c->n_steps);
            if (fabs(got - c->rate[step - 1]) > 1e-12) {
                fail_msg("%s, step %lld: wanted %g, got %g", c->scheduler,
                         (long long)step, c->rate[step - 1], got);
            }
        }
        cs_config_destroy(&config);
    }
}

/* 7 % of 300 steps are 21, although 0.07 * 300 is 21.000000000000004. */
static void a_warm_up_ratio_is_not_rounded_up_by_its_own_rounding(void **state)
{
    (void)state;
    cs_config *config = scheduled("{name: constant, warmup_ratio: 0.07}");

    assert_near(cs_learning_rate(config, 21, 300), 21 / 22.0, 1e-12);
    assert_near(cs_learning_rate(config, 22, 300), 1.0, 1e-12);
    cs_config_destroy(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(adamw_is_pytorchs),
        CST_TEST(biases_norms_and_embeddings_do_not_decay),
        CST_TEST(overrides_apply_in_their_order),
        CST_TEST(a_tied_parameter_moves_like_its_twin),
        CST_TEST(an_override_of_nothing_is_refused),
        CST_TEST(working_copies_follow_and_frozen_ones_stay),
        CST_TEST(the_norm_does_not_depend_on_who_holds_what),
        CST_TEST(the_learning_rate_runs_as_worked_out),
        CST_TEST(a_warm_up_ratio_is_not_rounded_up_by_its_own_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
